//! Names to addresses and back, as the system resolves them (getaddrinfo and getnameinfo, RFC 3493
//! §6).
//!
//! Both may wait for a name server for as long as they like, so each runs on a thread of its own,
//! and whoever asked goes on without it after a while.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use dns_lookup::{AddrInfoHints, LookupError, getaddrinfo, getnameinfo};
use rustix::net::{AddressFamily, SocketType, netdevice, socket};

/// What is asked of getaddrinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// A name, or a numeric address.
    pub host: String,
    /// The port that all addresses get, by number or by the name of a service over TCP.
    pub port: Port,
    /// Which addresses are wanted.
    pub family: Family,
}

/// A port as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// `80`; 0 if none was named.
    Number(u16),
    /// `http`.
    Service(String),
}

/// Which addresses are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Family {
    /// All.
    #[default]
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// What getaddrinfo found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Each once, in its order: the best first (RFC 6724).
    pub addresses: Vec<SocketAddr>,
    /// The canonical name; of an alias, the name that it stands for.
    pub canonical: Option<String>,
}

/// Why a name has no address, or an address no name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The resolver said no.
    #[error("{words} ({code})")]
    Refused {
        /// The name of its error code, as in `EAI_NONAME`.
        code: &'static str,
        /// What that means.
        words: &'static str,
    },
    /// getaddrinfo would take another port for it, modulo 65536.
    #[error("port {0} exceeds 65535")]
    Port(String),
    /// It takes too long.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The system failed otherwise.
    #[error("the resolver failed")]
    Failed(#[source] io::Error),
}

impl ResolveError {
    /// The name of the resolver's error code, where it gave one.
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

impl Query {
    /// `HOST`, `HOST:PORT` or `HOST:SERVICE`; an IPv6 address with a port stands in brackets.
    ///
    /// # Errors
    /// [`ResolveError::Port`].
    pub fn parse(text: &str) -> Result<Self, ResolveError> {
        let (host, port) = split_port(text);
        let port = port.map_or(Ok(Port::Number(0)), str::parse)?;
        Ok(Self { host: host.into_owned(), port, family: Family::Any })
    }
}

/// Splits `HOST:PORT`. Removes the brackets around an IPv6 address, and writes the `%25` before its
/// zone as `%`.
pub fn split_port(text: &str) -> (Cow<'_, str>, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        match rest.strip_prefix(':') {
            Some(port) => return (decode_zone(host), Some(port)),
            None if rest.is_empty() => return (decode_zone(host), None),
            // Not an address: the resolver reports it.
            None => return (text.into(), None),
        }
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address without a port.
        Some((host, port)) if !port.contains(':') => (host.into(), Some(port)),
        _ => (text.into(), None),
    }
}

/// In a URL the zone `eth0` is written `%25eth0` (RFC 6874 §2).
fn decode_zone(host: &str) -> Cow<'_, str> {
    match host.split_once("%25") {
        Some((address, zone)) if !zone.is_empty() => format!("{address}%{zone}").into(),
        _ => host.into(),
    }
}

/// An IPv6 address without its zone, which means nothing to another machine (RFC 6874 §4). Other
/// hosts stay as they are.
pub fn without_zone(host: &str) -> &str {
    if host.contains(':') { host.split('%').next().unwrap_or(host) } else { host }
}

/// Whether a host is a numeric address; of IPv6, also with a zone.
pub fn is_address(host: &str) -> bool {
    let zone = host.split_once('%').map_or("zone", |(_, zone)| zone);
    let is_zone = !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_graphic());
    is_zone && without_zone(host).parse::<IpAddr>().is_ok()
}

/// The address without its port, for people: a zone by the name of its interface, no brackets.
pub fn ip_text(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => {
            let zone = zone_name(v6.scope_id()).unwrap_or_else(|| v6.scope_id().to_string());
            format!("{}%{zone}", v6.ip())
        }
        other => other.ip().to_string(),
    }
}

/// `IP:PORT` for people: as [`ip_text`], an IPv6 address in brackets.
pub fn address_text(address: SocketAddr) -> String {
    let (ip, port) = (ip_text(address), address.port());
    if address.is_ipv6() { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn zone_name(index: u32) -> Option<String> {
    // Any socket will do to ask the kernel.
    let socket = socket(AddressFamily::INET6, SocketType::DGRAM, None).ok()?;
    netdevice::index_to_name(socket, index).ok()
}

impl std::str::FromStr for Port {
    type Err = ResolveError;

    fn from_str(text: &str) -> Result<Self, ResolveError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Service(text.to_owned()));
        }
        text.parse().map(Self::Number).map_err(|_| ResolveError::Port(text.to_owned()))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The addresses of a name, waited for at most `patience`.
///
/// # Errors
/// There are none, or they are not known in time.
pub fn resolve(query: &Query, patience: Duration) -> Result<Found, ResolveError> {
    let query = query.clone();
    within(patience, move || look_up(&query))
}

/// The name of an address, if it has one.
///
/// # Errors
/// Nobody can say, or not in time.
pub fn name_of(address: IpAddr, patience: Duration) -> Result<Option<String>, ResolveError> {
    let address = SocketAddr::new(address, 0);
    within(patience, move || match getnameinfo(&address, libc::NI_NAMEREQD) {
        Ok((name, _)) => Ok(Some(name)),
        Err(error) if error.error_num() == libc::EAI_NONAME => Ok(None),
        Err(error) => Err(explain(error)),
    })
}

fn look_up(query: &Query) -> Result<Found, ResolveError> {
    let (number, service) = match &query.port {
        Port::Number(number) => (Some(*number), None),
        Port::Service(service) => (None, Some(service.as_str())),
    };
    let hints = AddrInfoHints {
        flags: libc::AI_CANONNAME,
        address: match query.family {
            Family::Any => libc::AF_UNSPEC,
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        },
        // Each address would else come once for each type of socket.
        socktype: libc::SOCK_STREAM,
        protocol: 0,
    };
    let answers = getaddrinfo(Some(&query.host), service, Some(hints)).map_err(explain)?;
    let mut found = Found { addresses: Vec::new(), canonical: None };
    for answer in answers {
        let answer = answer.map_err(ResolveError::Failed)?;
        let mut address = answer.sockaddr;
        if let Some(number) = number {
            address.set_port(number);
        }
        if !found.addresses.contains(&address) {
            found.addresses.push(address);
        }
        // Told with the first one alone.
        found.canonical = found.canonical.or(answer.canonname);
    }
    Ok(found)
}

/// Does `work` on a thread of its own. One that is late is left to itself: nothing ends a
/// getaddrinfo.
fn within<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> Result<T, ResolveError> + Send + 'static,
) -> Result<T, ResolveError> {
    let (tell, told) = sync_channel(1);
    std::thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(move || {
            // Nobody may be waiting any more.
            let _ = tell.send(work());
        })
        .map_err(ResolveError::Failed)?;
    told.recv_timeout(patience).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(ResolveError::Late(patience)),
        RecvTimeoutError::Disconnected => Err(ResolveError::Failed(io::Error::other(
            "internal error: no result from the resolver thread",
        ))),
    })
}

fn explain(error: LookupError) -> ResolveError {
    let known = CODES.iter().find(|(number, ..)| *number == error.error_num());
    match known {
        Some((_, code, words)) => ResolveError::Refused { code, words },
        None => ResolveError::Failed(error.into()),
    }
}

/// Text for a name that resolves to nothing.
pub const NO_ADDRESS: &str = "the name has no address";

/// What the codes of RFC 3493 §6.1 mean to whoever asked. `EAI_SYSTEM` has a reason of its own.
const CODES: [(i32, &str, &str); 9] = [
    (libc::EAI_NONAME, "EAI_NONAME", "name or service not known"),
    (libc::EAI_AGAIN, "EAI_AGAIN", "no reply from a name server"),
    (libc::EAI_FAIL, "EAI_FAIL", "the name server failed"),
    (libc::EAI_NODATA, "EAI_NODATA", NO_ADDRESS),
    (EAI_ADDRFAMILY, "EAI_ADDRFAMILY", "the name has no address of this family"),
    (libc::EAI_FAMILY, "EAI_FAMILY", "address family not supported by this system"),
    (libc::EAI_SERVICE, "EAI_SERVICE", "unknown service for TCP"),
    (libc::EAI_MEMORY, "EAI_MEMORY", "the resolver is out of memory"),
    (libc::EAI_OVERFLOW, "EAI_OVERFLOW", "the name is too long"),
];

/// As glibc has it; libc does not name it.
const EAI_ADDRFAMILY: i32 = -9;

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV6;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn ask(text: &str) -> Result<Found, ResolveError> {
        resolve(&Query::parse(text)?, PATIENCE)
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (text, host, port) in [
            ("h", "h", None),
            ("h:80", "h", Some("80")),
            ("h:http", "h", Some("http")),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[::1]:80", "::1", Some("80")),
            ("[::1]x", "[::1]x", None),
            ("fe80::1%lo", "fe80::1%lo", None),
            ("[fe80::1%lo]:80", "fe80::1%lo", Some("80")),
            ("[fe80::1%25lo]:80", "fe80::1%lo", Some("80")),
            ("[fe80::1%25]", "fe80::1%25", None),
        ] {
            assert_eq!(split_port(text), (host.into(), port), "{text}");
        }
    }

    #[test]
    fn a_zone_is_shown_by_the_name_of_its_interface() {
        let address =
            |zone| SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, zone));
        assert_eq!(address_text(address(0)), "[fe80::1]:80");
        assert_eq!(address_text(address(1)), "[fe80::1%lo]:80");
        assert_eq!(ip_text(address(u32::MAX)), format!("fe80::1%{}", u32::MAX));
        assert_eq!(address_text("127.0.0.1:80".parse().unwrap()), "127.0.0.1:80");
        assert_eq!(without_zone("fe80::1%lo"), "fe80::1");
        assert_eq!(without_zone("a%b"), "a%b");
        for (host, is) in [
            ("127.0.0.1", true),
            ("fe80::1%lo", true),
            ("fe80::1%", false),
            ("fe80::1%a b", false),
            ("127.0.0.1%lo", false),
            ("localhost", false),
        ] {
            assert_eq!(is_address(host), is, "{host}");
        }
    }

    #[test]
    fn numbers_and_services_are_ports_and_no_port_wraps_around() {
        assert_eq!(ask("127.0.0.1:80").unwrap().addresses, ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(ask("[::1]:65535").unwrap().addresses, ["[::1]:65535".parse().unwrap()]);
        assert!(matches!(ask("127.0.0.1:65536"), Err(ResolveError::Port(port)) if port == "65536"));
        let unknown = ask("127.0.0.1:no-such-service").unwrap_err();
        assert!(unknown.code().is_some(), "{unknown}");
    }

    #[test]
    fn names_have_addresses_of_the_family_that_is_asked_for() {
        let found = ask("localhost:7").unwrap();
        assert!(!found.addresses.is_empty());
        assert!(found.addresses.iter().all(|address| address.ip().is_loopback()));
        assert!(found.addresses.iter().all(|address| address.port() == 7));
        assert!(found.canonical.is_some());
        let v4 = Query { family: Family::V4, ..Query::parse("localhost").unwrap() };
        let found = resolve(&v4, PATIENCE).unwrap();
        assert_eq!(found.addresses, ["127.0.0.1:0".parse().unwrap()]);
        let wrong = Query { family: Family::V6, ..Query::parse("127.0.0.1").unwrap() };
        let error = resolve(&wrong, PATIENCE).unwrap_err();
        assert!(error.code().is_some_and(|code| code.starts_with("EAI_")), "{error}");
    }

    #[test]
    fn what_is_not_known_is_told_by_its_code() {
        let error = ask("no such name").unwrap_err();
        assert_eq!(error.code(), Some("EAI_NONAME"), "{error}");
        assert_eq!(error.to_string(), "name or service not known (EAI_NONAME)");
        let nul = Query { host: "a\0b".to_owned(), ..Query::parse("h").unwrap() };
        assert!(matches!(resolve(&nul, PATIENCE), Err(ResolveError::Failed(_))));
    }

    #[test]
    fn one_that_does_not_answer_is_not_waited_for() {
        let (hold, held) = sync_channel::<()>(0);
        let late: Result<(), _> = within(Duration::from_millis(10), move || {
            let _ = held.recv();
            Ok(())
        });
        assert!(matches!(late, Err(ResolveError::Late(_))));
        drop(hold);
    }
}
