//! Names to addresses and back, as the system resolves them (getaddrinfo and getnameinfo, RFC 3493
//! §6).
//!
//! Both may block for a name server for an unlimited time, so each runs on a thread of its own, and
//! the caller stops waiting after a timeout.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use dns_lookup::{AddrInfoHints, LookupError, getaddrinfo, getnameinfo};
use rustix::net::{AddressFamily, SocketType, netdevice, socket};

/// A request to getaddrinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Host name or numeric address.
    pub host: String,
    /// Port of all addresses: a number, or the name of a TCP service.
    pub port: Port,
    /// An address family, or both.
    pub family: Family,
}

/// A port, as users write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// `80`; 0 if there is none.
    Number(u16),
    /// `http`.
    Service(String),
}

/// An address family, or both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Family {
    /// Both families.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// The result of getaddrinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Distinct addresses, the best first (RFC 6724).
    pub addresses: Vec<SocketAddr>,
    /// The canonical name; of an alias, the name that it stands for.
    pub canonical: Option<String>,
}

/// Why a name has no address, or an address no name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The resolver reported an error.
    #[error("{words} ({code})")]
    Refused {
        /// The name of its error code, as in `EAI_NONAME`.
        code: &'static str,
        /// Its meaning.
        words: &'static str,
    },
    /// The port is not a number up to 65535; getaddrinfo would reduce it modulo 65536.
    #[error("port {0} exceeds 65535")]
    Port(String),
    /// The resolver did not answer in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The system reported another error.
    #[error("the resolver failed")]
    Failed(#[source] io::Error),
}

impl ResolveError {
    /// Returns the name of the resolver's error code, if there is one.
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

impl Query {
    /// Parses `HOST`, `HOST:PORT` or `HOST:SERVICE`; an IPv6 address with a port needs brackets.
    ///
    /// # Errors
    /// [`ResolveError::Port`].
    pub fn parse(text: &str) -> Result<Self, ResolveError> {
        let (host, port) = split_port(text);
        let port = port.map_or(Ok(Port::Number(0)), str::parse)?;
        Ok(Self { host: host.into_owned(), port, family: Family::Any })
    }
}

/// Splits `HOST:PORT`.
///
/// Removes the brackets around an IPv6 address, and writes the `%25` before its zone as `%`.
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

/// Decodes the zone of a URL, where `eth0` is written `%25eth0` (RFC 6874 §2).
fn decode_zone(host: &str) -> Cow<'_, str> {
    match host.split_once("%25") {
        Some((address, zone)) if !zone.is_empty() => format!("{address}%{zone}").into(),
        _ => host.into(),
    }
}

/// Returns an IPv6 address without its zone, which has no meaning on another machine (RFC 6874 §4).
///
/// Other hosts stay as they are.
pub fn without_zone(host: &str) -> &str {
    if host.contains(':') { host.split('%').next().unwrap_or(host) } else { host }
}

/// Returns whether a host is a numeric address; an IPv6 address may have a zone.
pub fn is_address(host: &str) -> bool {
    let zone = host.split_once('%').map_or("zone", |(_, zone)| zone);
    let is_zone = !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_graphic());
    is_zone && without_zone(host).parse::<IpAddr>().is_ok()
}

/// Returns the address without its port, for output: the zone is the name of its interface, without
/// brackets.
pub fn ip_text(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => {
            let zone = zone_name(v6.scope_id()).unwrap_or_else(|| v6.scope_id().to_string());
            format!("{}%{zone}", v6.ip())
        }
        other => other.ip().to_string(),
    }
}

/// Returns `IP:PORT` for output: like [`ip_text`], with an IPv6 address in brackets.
pub fn address_text(address: SocketAddr) -> String {
    let (ip, port) = (ip_text(address), address.port());
    if address.is_ipv6() { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn zone_name(index: u32) -> Option<String> {
    // Any socket can make this request.
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

/// Returns the addresses of a name, waiting at most `timeout`.
///
/// # Errors
/// There are no addresses, or the resolver did not answer in time.
pub fn resolve(query: &Query, timeout: Duration) -> Result<Found, ResolveError> {
    let query = query.clone();
    within(timeout, move || look_up(&query))
}

/// Returns the name of an address, if it has one.
///
/// # Errors
/// The resolver fails, or does not answer in time.
pub fn name_of(address: IpAddr, timeout: Duration) -> Result<Option<String>, ResolveError> {
    let address = SocketAddr::new(address, 0);
    within(timeout, move || match getnameinfo(&address, libc::NI_NAMEREQD) {
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
        // Otherwise each address is returned once for each socket type.
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
        // Only the first entry has it.
        found.canonical = found.canonical.or(answer.canonname);
    }
    Ok(found)
}

/// Runs `work` on a thread of its own. A late one keeps its thread, because getaddrinfo cannot be
/// cancelled.
fn within<T: Send + 'static>(
    timeout: Duration,
    work: impl FnOnce() -> Result<T, ResolveError> + Send + 'static,
) -> Result<T, ResolveError> {
    let (sender, receiver) = sync_channel(1);
    std::thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(move || {
            // The caller may have stopped waiting.
            let _ = sender.send(work());
        })
        .map_err(ResolveError::Failed)?;
    receiver.recv_timeout(timeout).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(ResolveError::Late(timeout)),
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

/// The reason text for a name without addresses.
pub const NO_ADDRESS: &str = "the name has no address";

/// Meanings of the codes of RFC 3493 §6.1, for the user. `EAI_SYSTEM` has a reason of its own.
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

/// Value of glibc, which the libc crate does not export.
const EAI_ADDRFAMILY: i32 = -9;

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV6;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    fn ask(text: &str) -> Result<Found, ResolveError> {
        resolve(&Query::parse(text)?, TIMEOUT)
    }

    #[test]
    fn hosts_and_ports_are_separated() {
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
        let found = resolve(&v4, TIMEOUT).unwrap();
        assert_eq!(found.addresses, ["127.0.0.1:0".parse().unwrap()]);
        let wrong = Query { family: Family::V6, ..Query::parse("127.0.0.1").unwrap() };
        let error = resolve(&wrong, TIMEOUT).unwrap_err();
        assert!(error.code().is_some_and(|code| code.starts_with("EAI_")), "{error}");
    }

    #[test]
    fn an_unknown_error_is_reported_by_its_code() {
        let error = ask("no such name").unwrap_err();
        assert_eq!(error.code(), Some("EAI_NONAME"), "{error}");
        assert_eq!(error.to_string(), "name or service not known (EAI_NONAME)");
        let nul = Query { host: "a\0b".to_owned(), ..Query::parse("h").unwrap() };
        assert!(matches!(resolve(&nul, TIMEOUT), Err(ResolveError::Failed(_))));
    }

    #[test]
    fn a_resolver_that_does_not_answer_is_not_waited_for() {
        let (hold, held) = sync_channel::<()>(0);
        let late: Result<(), _> = within(Duration::from_millis(10), move || {
            let _ = held.recv();
            Ok(())
        });
        assert!(matches!(late, Err(ResolveError::Late(_))));
        drop(hold);
    }
}
