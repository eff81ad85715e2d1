//! Proxies: which one leads to a target, and the handshake that opens a tunnel through it.
//!
//! ```text
//!   http://      CONNECT HOST:PORT ──► 200       then the bytes are the server's
//!   socks5h://   methods ─ user ─ request ──► 0  the proxy resolves the name
//! ```
//!
//! A handshake reads not one byte behind its end: a server may send first.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyport_net::dial::DialError;
use anyport_net::resolve::without_zone;
use anyport_proto::http1::{HeadError, Pushed, ResponseHeadReader};
use anyport_proto::limits::Limits;
use anyport_proto::setting::CONNECT_TIMEOUT;
use http::{StatusCode, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use crate::target::{Scheme, Target, authority};

/// The proxies of a client.
#[derive(Debug, Clone, Default)]
pub enum Proxies {
    /// None: each target is connected to directly.
    #[default]
    Direct,
    /// One proxy for every target, also for loopback addresses.
    All(Proxy),
    /// The proxies of the environment, by the target's scheme; none for loopback addresses.
    Environment(ProxyVariables),
}

/// The variables that name proxies, as curl reads them.
#[derive(Clone)]
pub struct ProxyVariables {
    http: String,
    https: String,
    all: String,
    no: String,
}

impl Proxies {
    /// Reads `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` with `get`; all but the first
    /// in capitals too, because a CGI server sets `HTTP_PROXY` to what its client sends.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Self {
        let either =
            |name: &str| get(name).or_else(|| get(&name.to_ascii_uppercase())).unwrap_or_default();
        Self::Environment(ProxyVariables {
            http: get("http_proxy").unwrap_or_default(),
            https: either("https_proxy"),
            all: either("all_proxy"),
            no: either("no_proxy"),
        })
    }

    /// Returns the proxy that leads to `target`.
    ///
    /// # Errors
    /// The variable for the target's scheme is not the URL of a proxy.
    pub fn of(&self, target: &Target) -> Result<Option<Proxy>, ProxyUrlError> {
        match self {
            _ if target.socket.is_some() => Ok(None),
            Self::Direct => Ok(None),
            Self::All(proxy) => Ok(Some(proxy.clone())),
            Self::Environment(variables) => variables.of(target),
        }
    }
}

impl ProxyVariables {
    fn of(&self, target: &Target) -> Result<Option<Proxy>, ProxyUrlError> {
        let (name, own) = match (target.scheme, target.encrypted) {
            (Scheme::Http | Scheme::Ws, false) => ("http_proxy", self.http.as_str()),
            (Scheme::Http | Scheme::Ws, true) => ("https_proxy", self.https.as_str()),
            (Scheme::Tcp | Scheme::Frames, _) => ("", ""),
        };
        let variables = [(name, own), ("all_proxy", self.all.as_str())];
        let Some((name, url)) = variables.into_iter().find(|(_, url)| !url.is_empty()) else {
            return Ok(None);
        };
        if target.is_loopback() || self.exempts(target) {
            return Ok(None);
        }
        url.parse().map(Some).map_err(|error| ProxyUrlError { given_in: Some(name), ..error })
    }

    /// Returns whether `no_proxy` names the target's host.
    fn exempts(&self, target: &Target) -> bool {
        let proxied = Matcher::builder().all("http://proxy").no(self.no.as_str()).build();
        let uri = Uri::builder().scheme("http").authority(target.authority()).path_and_query("/");
        let is_exempt = uri.build().is_ok_and(|uri| proxied.intercept(&uri).is_none());
        // The matcher compares an asterisk with names, but not with addresses.
        is_exempt || self.no.split(',').any(|entry| entry.trim() == "*")
    }
}

impl fmt::Debug for ProxyVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The others may hold passwords.
        f.debug_struct("ProxyVariables").field("no", &self.no).finish_non_exhaustive()
    }
}

/// A proxy.
///
/// It is displayed as `HOST:PORT`, without its user and password.
#[derive(Clone)]
pub struct Proxy {
    protocol: Protocol,
    pub(crate) host: String,
    pub(crate) port: u16,
    credentials: Intercept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Connect,
    Socks5,
}

impl FromStr for Proxy {
    type Err = ProxyUrlError;

    /// Parses `http://[USER:PASSWORD@]HOST[:PORT]` or the same with `socks5h://`.
    fn from_str(url: &str) -> Result<Self, ProxyUrlError> {
        let invalid = |reason| ProxyUrlError { given_in: None, reason };
        let scheme = url.split_once("://").map_or("http", |(scheme, _)| scheme);
        let protocol = match scheme {
            "http" => Protocol::Connect,
            "socks5h" => Protocol::Socks5,
            "socks5" => return Err(invalid(UrlReason::ResolvesHere)),
            _ => return Err(invalid(UrlReason::Scheme)),
        };
        let target = Uri::from_static("http://target/");
        let credentials = Matcher::builder().all(url).build().intercept(&target);
        let credentials = credentials.ok_or_else(|| invalid(UrlReason::Syntax))?;
        let uri = credentials.uri();
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(DEFAULT_PORT);
        let fits = |text: &str| (1..=usize::from(u8::MAX)).contains(&text.len());
        let too_long = credentials.raw_auth().is_some_and(|(u, p)| !fits(u) || !fits(p));
        if host.is_empty() || too_long {
            return Err(invalid(UrlReason::Syntax));
        }
        Ok(Self { protocol, host, port, credentials })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {self}", self.protocol)
    }
}

/// Why a URL is not that of a proxy.
///
/// It never shows the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("invalid proxy URL{}: {reason}", origin(*given_in))]
pub struct ProxyUrlError {
    given_in: Option<&'static str>,
    reason: UrlReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum UrlReason {
    #[error("the scheme is neither http nor socks5h")]
    Scheme,
    #[error("socks5 resolves names on this machine, which is not supported")]
    ResolvesHere,
    #[error("it is not http://HOST:PORT or socks5h://HOST:PORT")]
    Syntax,
}

fn origin(variable: Option<&str>) -> String {
    variable.map_or_else(String::new, |name| format!(" in {name}"))
}

impl ProxyUrlError {
    /// Returns what the user can write instead.
    pub const fn hint(&self) -> &'static str {
        match self.reason {
            UrlReason::ResolvesHere => "write socks5h://HOST:PORT; the proxy then resolves names",
            _ => "write http://HOST:PORT or socks5h://HOST:PORT, with USER:PASSWORD@ before HOST",
        }
    }
}

/// Why a proxy opened no tunnel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// No connection to the proxy itself.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection ended before the proxy's reply.
    #[error("connection to the proxy lost")]
    Lost(#[from] io::Error),
    /// The proxy accepts no client without credentials, or not these.
    #[error("the proxy refused the client's credentials: {0}")]
    Unauthorized(String),
    /// The proxy refuses this target.
    #[error("the proxy refused the target: {0}")]
    Forbidden(String),
    /// The proxy cannot reach the target.
    #[error("the proxy cannot reach the target: {0}")]
    Unreachable(String),
    /// The reply is not of the proxy's protocol.
    #[error("not an HTTP proxy")]
    NotHttp(#[from] HeadError),
    /// The reply is not of the proxy's protocol.
    #[error("not a SOCKS5 proxy")]
    NotSocks,
    /// The name cannot be sent to a proxy.
    #[error("the host name cannot be sent to a proxy")]
    Host,
}

impl ProxyError {
    /// Returns whether a later attempt may succeed.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::Dial(_) | Self::Lost(_) | Self::Unreachable(_))
    }

    /// Returns what the user can try.
    pub(crate) const fn hint(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => {
                "put them into the proxy's URL: http://USER:PASSWORD@HOST:PORT (in all_proxy or -x)"
            }
            Self::NotHttp(_) => "for a SOCKS5 proxy write socks5h://HOST:PORT",
            Self::NotSocks => "for an HTTP proxy write http://HOST:PORT",
            _ => {
                "the proxy is that of -x, http_proxy, https_proxy or all_proxy; -x '' connects \
                 directly"
            }
        }
    }
}

/// Opens a tunnel to `target` through the proxy at the other end of `stream`.
pub(crate) fn tunnel(
    stream: &TcpStream,
    proxy: &Proxy,
    target: &Target,
    timeout: Duration,
) -> Result<(), ProxyError> {
    let until = Instant::now().checked_add(timeout);
    let mut handshake = Handshake { stream, until };
    match proxy.protocol {
        Protocol::Connect => handshake.connect(proxy, target),
        Protocol::Socks5 => handshake.socks5(proxy, target),
    }
}

struct Handshake<'a> {
    stream: &'a TcpStream,
    /// The end of the time for all of it.
    until: Option<Instant>,
}

impl Handshake<'_> {
    /// RFC 9110 §9.3.6.
    fn connect(&mut self, proxy: &Proxy, target: &Target) -> Result<(), ProxyError> {
        let to = target.authority();
        if !to.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ProxyError::Host);
        }
        let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
        if let Some(basic) = proxy.credentials.basic_auth() {
            request.extend([b"Proxy-Authorization: ", basic.as_bytes(), b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        self.stream.write_all(&request)?;
        let (mut reader, limits) = (ResponseHeadReader::new(), Limits::default());
        loop {
            let byte = self.read::<1>()?;
            let Pushed::Done { head, .. } = reader.push(&byte, &limits)? else { continue };
            let status = head.status.to_string();
            return Err(match head.status {
                status if status.is_informational() => continue,
                status if status.is_success() => return Ok(()),
                StatusCode::PROXY_AUTHENTICATION_REQUIRED => ProxyError::Unauthorized(status),
                other if other.is_server_error() => ProxyError::Unreachable(status),
                _ => ProxyError::Forbidden(status),
            });
        }
    }

    /// RFC 1928, RFC 1929.
    fn socks5(&mut self, proxy: &Proxy, target: &Target) -> Result<(), ProxyError> {
        let credentials = proxy.credentials.raw_auth();
        self.stream.write_all(match credentials {
            Some(_) => &[SOCKS, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
            None => &[SOCKS, 1, NO_AUTHENTICATION],
        })?;
        let refused = |what: &str| ProxyError::Unauthorized(what.to_owned());
        match (self.read::<2>()?, credentials) {
            ([SOCKS, NO_AUTHENTICATION], _) => {}
            ([SOCKS, USER_AND_PASSWORD], Some((user, password))) => {
                let mut sent = vec![1];
                text(user, &mut sent).and_then(|()| text(password, &mut sent))?;
                self.stream.write_all(&sent)?;
                if self.read::<2>()? != [1, 0] {
                    return Err(refused("user or password"));
                }
            }
            ([SOCKS, _], Some(_)) => return Err(refused("it accepts no user and password")),
            ([SOCKS, _], None) => return Err(refused("it requires them")),
            _ => return Err(ProxyError::NotSocks),
        }
        let mut request = vec![SOCKS, CONNECT, 0];
        let host = without_zone(&target.host);
        match host.parse() {
            Ok(IpAddr::V4(address)) => {
                request.push(IPV4);
                request.extend(address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(IPV6);
                request.extend(address.octets());
            }
            Err(_) => {
                request.push(NAME);
                text(host, &mut request)?;
            }
        }
        request.extend(target.port.to_be_bytes());
        self.stream.write_all(&request)?;
        let [SOCKS, reply, _, form] = self.read::<4>()? else {
            return Err(ProxyError::NotSocks);
        };
        match reply {
            0 => {}
            2 => return Err(ProxyError::Forbidden("not allowed by its rules".to_owned())),
            other => return Err(ProxyError::Unreachable(said(other))),
        }
        // The address that the proxy connects from, and its port.
        let bound = match form {
            IPV4 => 4,
            IPV6 => 16,
            NAME => u16::from(self.read::<1>()?[0]),
            _ => return Err(ProxyError::NotSocks),
        };
        for _ in 0..bound + 2 {
            self.read::<1>()?;
        }
        Ok(())
    }

    fn read<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], ProxyError> {
        let mut bytes = [0; COUNT];
        let late = self.until.is_some_and(|until| Instant::now() >= until);
        let read = if late { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) };
        read.and_then(|()| self.stream.read_exact(&mut bytes)).map_err(|error| {
            match error.kind() {
                io::ErrorKind::WouldBlock => {
                    let reason = format!("the proxy did not answer in time ({CONNECT_TIMEOUT})");
                    io::Error::new(io::ErrorKind::TimedOut, reason)
                }
                io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "the proxy closed it"),
                _ => error,
            }
        })?;
        Ok(bytes)
    }
}

/// Appends a text behind its length.
fn text(text: &str, to: &mut Vec<u8>) -> Result<(), ProxyError> {
    to.push(u8::try_from(text.len()).map_err(|_| ProxyError::Host)?);
    to.extend(text.as_bytes());
    Ok(())
}

/// Returns the meaning of a SOCKS5 reply (RFC 1928 §6).
fn said(reply: u8) -> String {
    match reply {
        3 => "network unreachable".to_owned(),
        4 => "host unreachable".to_owned(),
        5 => "connection refused".to_owned(),
        6 => "TTL expired".to_owned(),
        other => format!("SOCKS reply {other}"),
    }
}

/// The port of a proxy whose URL has none, as in curl.
const DEFAULT_PORT: u16 = 1080;

/// The version of SOCKS.
const SOCKS: u8 = 5;

const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn environment(variables: &'static [(&str, &str)]) -> Proxies {
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Proxies::from_environment(value)
    }

    fn proxy(proxies: &Proxies, url: &str) -> Option<String> {
        proxies.of(&url.parse().unwrap()).unwrap().map(|proxy| proxy.to_string())
    }

    #[test]
    fn variables_name_the_proxy_of_a_scheme() {
        let proxies = environment(&[("http_proxy", "h:1"), ("HTTPS_PROXY", "http://s:2")]);
        for (url, expected) in [
            ("http://a/", Some("h:1")),
            ("ws://a/", Some("h:1")),
            ("https://a/", Some("s:2")),
            ("wss://a/", Some("s:2")),
            ("tcp://a/", None),
            ("tls://a/", None),
            ("frames://a/", None),
        ] {
            assert_eq!(proxy(&proxies, url).as_deref(), expected, "{url}");
        }
        let all = environment(&[("http_proxy", "h:1"), ("all_proxy", "socks5h://a")]);
        assert_eq!(proxy(&all, "http://a/").as_deref(), Some("h:1"));
        assert_eq!(proxy(&all, "https://a/").as_deref(), Some("a:1080"));
        assert_eq!(proxy(&all, "tcp://a/").as_deref(), Some("a:1080"));
    }

    #[test]
    fn the_name_http_proxy_in_capitals_is_ignored() {
        assert_eq!(proxy(&environment(&[("HTTP_PROXY", "h:1")]), "http://a/"), None);
    }

    #[test]
    fn no_proxy_and_loopback_addresses_exempt_a_target() {
        let proxies = environment(&[
            ("all_proxy", "p:1"),
            ("no_proxy", "example.com, .example.org,10.0.0.0/8, 2001:db8::1"),
        ]);
        for (host, expected) in [
            ("example.com", None),
            ("A.EXAMPLE.com", None),
            ("a.example.org", None),
            ("10.1.2.3", None),
            ("[2001:db8::1]", None),
            ("localhost", None),
            ("a.localhost", None),
            ("127.8.0.1", None),
            ("[::1]", None),
            ("notexample.com", Some("p:1")),
            ("11.1.2.3", Some("p:1")),
        ] {
            assert_eq!(proxy(&proxies, &format!("tcp://{host}:9")).as_deref(), expected, "{host}");
        }
        let none = environment(&[("all_proxy", "p:1"), ("no_proxy", "*")]);
        assert_eq!(proxy(&none, "tcp://11.1.2.3"), None);
        let all = Proxies::All("p:1".parse().unwrap());
        assert_eq!(proxy(&all, "tcp://localhost").as_deref(), Some("p:1"));
    }

    #[test]
    fn no_text_of_a_proxy_shows_its_password() {
        for url in ["http://me:s3cret@p:1", "socks5h://me:s3cret@p:1"] {
            let all = Proxies::All(url.parse().unwrap());
            assert!(!format!("{all:?}").contains("s3cret"), "{all:?}");
            assert_eq!(proxy(&all, "tcp://h").as_deref(), Some("p:1"));
        }
        for url in
            ["ftp://me:s3cret@p", "socks5://me:s3cret@p", "http://me:s3cret@", "http://s3cret p"]
        {
            let error = url.parse::<Proxy>().unwrap_err();
            assert!(!format!("{error} {error:?} {}", error.hint()).contains("s3cret"), "{error}");
        }
        let wrong = environment(&[("all_proxy", "ftp://me:s3cret@p")]);
        assert!(!format!("{wrong:?}").contains("s3cret"));
        let error = wrong.of(&"tcp://h".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "invalid proxy URL in all_proxy: the scheme is neither http nor socks5h");
    }

    /// Plays a proxy that sends `replies`, and the server's first bytes behind them.
    fn tunneled(url: &str, replies: &'static [u8]) -> Result<Vec<u8>, ProxyError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(replies).unwrap();
        server.shutdown(std::net::Shutdown::Write).unwrap();
        let target = "tcp://h:9".parse().unwrap();
        tunnel(&client, &url.parse().unwrap(), &target, Duration::from_secs(20))?;
        let mut rest = Vec::new();
        (&client).read_to_end(&mut rest).unwrap();
        Ok(rest)
    }

    #[test]
    fn bytes_behind_the_reply_of_a_proxy_are_the_servers() {
        let first = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nVia: x\r\n\r\nhello";
        assert_eq!(tunneled("http://p", first).unwrap(), b"hello");
        let socks = b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x09hello";
        assert_eq!(tunneled("socks5h://p", socks).unwrap(), b"hello");
        let named = b"\x05\x02\x01\x00\x05\x00\x00\x03\x01x\x00\x09hello";
        assert_eq!(tunneled("socks5h://u:p@p", named).unwrap(), b"hello");
    }

    #[test]
    fn a_proxy_has_one_time_limit_and_a_longest_reply() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = "tcp://h:9".parse().unwrap();
        let tunnel = |pause: Duration, timeout| {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let proxy = std::thread::spawn(move || {
                while server.write_all(b"HTTP/1.1 200 OK\r\nx: ").is_ok() {
                    while server.write_all(b"x").is_ok() {
                        std::thread::sleep(pause);
                    }
                }
            });
            let error = tunnel(&client, &"http://p".parse().unwrap(), &target, timeout);
            drop(client);
            proxy.join().unwrap();
            error.unwrap_err()
        };
        let late = tunnel(Duration::from_millis(1), Duration::from_millis(100));
        assert!(matches!(late, ProxyError::Lost(e) if e.kind() == io::ErrorKind::TimedOut));
        let long = tunnel(Duration::ZERO, Duration::from_secs(3600));
        assert!(matches!(long, ProxyError::NotHttp(_)));
    }

    #[test]
    fn a_reply_that_opens_no_tunnel_is_an_error() {
        let connect = |reply| tunneled("http://p", reply).unwrap_err();
        assert!(matches!(connect(b"HTTP/1.1 407 x\r\n\r\n"), ProxyError::Unauthorized(_)));
        assert!(matches!(connect(b"HTTP/1.1 403 x\r\n\r\n"), ProxyError::Forbidden(_)));
        assert!(matches!(connect(b"HTTP/1.1 503 x\r\n\r\n"), ProxyError::Unreachable(_)));
        assert!(matches!(connect(b"SSH-2.0-x\r\n\r\n"), ProxyError::NotHttp(_)));
        assert!(matches!(connect(b"HTTP/1.1 20"), ProxyError::Lost(_)));
        let socks = |reply| tunneled("socks5h://p", reply).unwrap_err();
        assert!(matches!(socks(b"\x05\xff"), ProxyError::Unauthorized(_)));
        assert!(matches!(socks(b"\x05\x00\x05\x02\x00\x01"), ProxyError::Forbidden(_)));
        assert!(matches!(socks(b"\x05\x00\x05\x05\x00\x01"), ProxyError::Unreachable(_)));
        assert!(matches!(socks(b"HTTP/1.1 400"), ProxyError::NotSocks));
        assert!(matches!(socks(b"\x05"), ProxyError::Lost(_)));
    }
}
