//! Targets as people write them: `host:port`, `ws://host:port/NAME`, `https://host/NAME`,
//! `fe80::1%eth0`, `:8331`, `unix:/run/anyport.sock`.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyport_net::address::UNIX;
use anyport_net::resolve::{is_address, split_port, without_zone};
use anyport_proto::access::Token;
use anyport_proto::setting::TOKEN_FILE;
use anyport_proto::transfer::file_path::FilePath;

/// The scheme that leaves the protocol to the client, as does no scheme: raw TCP with the preface
/// is the fastest.
const ANYPORT: &str = "anyport";

/// The schemes, and whether they are under TLS.
const SCHEMES: [(&str, Scheme, bool); 9] = [
    (ANYPORT, Scheme::Tcp, false),
    ("tcp", Scheme::Tcp, false),
    ("tls", Scheme::Tcp, true),
    ("ws", Scheme::Ws, false),
    ("wss", Scheme::Ws, true),
    ("frames", Scheme::Frames, false),
    ("frames+tls", Scheme::Frames, true),
    ("http", Scheme::Http, false),
    ("https", Scheme::Http, true),
];

/// The port where none is written, and where `serve` listens by default.
pub const DEFAULT_PORT: u16 = 8331;

/// The host of a target that is a port alone.
const THIS_MACHINE: &str = "localhost";

/// The default ports of HTTP (RFC 9110 §4.2), so that a URL copied from a browser means the same
/// here.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// The scheme of a URL, which selects the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// Raw TCP with the preface.
    Tcp,
    /// WebSocket with an opening handshake.
    Ws,
    /// WebSocket frames without one.
    Frames,
    /// Requests of HTTP: PUT and GET.
    Http,
}

impl Scheme {
    /// Returns its name in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Ws => "ws",
            Self::Frames => "frames",
            Self::Http => "http",
        }
    }

    /// The port where none is written.
    const fn default_port(self, encrypted: bool) -> u16 {
        match (self, encrypted) {
            (Self::Http, false) => HTTP_PORT,
            (Self::Http, true) => HTTPS_PORT,
            _ => DEFAULT_PORT,
        }
    }
}

/// A parsed URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The scheme of a URL, which selects the transport.
    pub scheme: Scheme,
    /// Whether it is under TLS.
    pub encrypted: bool,
    /// A name or a numeric address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The Unix socket to connect to, instead of host and port.
    pub socket: Option<PathBuf>,
    /// The path, beginning with `/`, percent-encoded as written; with the query, if there is one.
    pub path: String,
    /// The token for this server.
    ///
    /// Never a part of the URL, which others can see.
    pub token: Option<Token>,
}

/// The remote files that the path of a target names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All, each with its own name.
    Top,
    /// Those below this directory.
    Directory(FilePath),
    /// One file.
    File(FilePath),
}

impl Scope {
    /// Returns the path; `None` at the top.
    pub const fn path(&self) -> Option<&FilePath> {
        match self {
            Self::Top => None,
            Self::Directory(path) | Self::File(path) => Some(path),
        }
    }

    /// Returns whether it names the files below it.
    pub const fn is_directory(&self) -> bool {
        matches!(self, Self::Top | Self::Directory(_))
    }

    /// Returns the remote path of the local name `own`, without the slash of a directory.
    pub fn name(&self, own: Option<&OsStr>) -> Option<Vec<u8>> {
        let own = own.map(OsStr::as_encoded_bytes);
        let own = own.map(|own| own.strip_suffix(b"/").unwrap_or(own));
        match self {
            Self::Top => own.map(<[u8]>::to_vec),
            Self::Directory(directory) => own.map(|own| [directory.as_bytes(), own].join(&b'/')),
            Self::File(path) => Some(path.as_bytes().to_vec()),
        }
    }
}

/// Why a URL is not a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A scheme of another protocol.
    #[error(
        "unknown scheme {scheme:?}; expected tcp, ws, frames or http, with TLS tls, wss, \
        frames+tls or https, or no scheme"
    )]
    UnknownScheme {
        /// As written.
        scheme: String,
        /// The whole URL.
        url: String,
    },
    /// A known scheme without `//` behind its colon.
    #[error("{url:?}: missing // after {scheme}:")]
    NoSlashes {
        /// As written.
        url: String,
        /// Its scheme.
        scheme: &'static str,
    },
    /// A user or a secret before the host.
    #[error("user names and tokens are not accepted in a URL")]
    UserInfo,
    /// Nothing between `://` and `/`.
    #[error("{0:?} has no host")]
    NoHost(String),
    /// Several colons, and not an IPv6 address.
    #[error("{0:?} is neither HOST:PORT nor an IPv6 address")]
    BadAddress(String),
    /// A colon, and no port after it.
    #[error("{0:?} has a colon, but no port after it")]
    NoPort(String),
    /// A port that is not a number from 1 to 65535.
    #[error("port {0:?} is not a number from 1 to 65535")]
    BadPort(String),
    /// A character that would end the path, though only requests of HTTP have what follows.
    #[error("{0} is not allowed in a path")]
    InPath(char),
    /// A path that names no file.
    #[error("invalid path in the URL: {reason}")]
    BadName {
        /// The path as written.
        path: String,
        /// The reason.
        reason: String,
    },
}

impl TargetError {
    /// Returns what the user can write instead, if that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownScheme { scheme, url } => match scheme.to_ascii_lowercase().as_str() {
                "udp" => Some(format!("udp:// works with: anyport cat {url}")),
                "ftp" | "ftps" | "sftp" | "scp" | "tftp" => {
                    Some(format!("try curl {url}; the target of an anyport server is HOST:PORT"))
                }
                _ => None,
            },
            Self::NoSlashes { url, scheme } => {
                let rest = url.split_once(':').map_or("", |(_, rest)| rest);
                Some(format!("write {scheme}://{}", rest.trim_start_matches('/')))
            }
            Self::UserInfo => Some(format!(
                "leave out all up to the @; a token goes into a {TOKEN_FILE} or into \
                 ANYPORT_TOKEN, as other users of this machine can see a URL"
            )),
            Self::BadPort(port) if is_number(port) => None,
            Self::BadPort(port) if is_service(port) => Some(
                "names of services are not accepted: write the number of the port, or a path \
                 after a slash: HOST/PATH"
                    .to_owned(),
            ),
            Self::NoPort(_) | Self::BadPort(_) => {
                Some("a path follows a slash: HOST/PATH or HOST:PORT/PATH".to_owned())
            }
            Self::BadAddress(_) => {
                Some("write an IPv6 address with a port as [ADDRESS]:PORT".to_owned())
            }
            Self::InPath('#') => Some("write it as %23".to_owned()),
            Self::InPath(_) => Some("write it as %3F".to_owned()),
            Self::NoHost(_) | Self::BadName { .. } => None,
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = url.strip_prefix(UNIX) {
            return Self::of_socket(url, rest);
        }
        let (scheme, rest) = split_scheme(url)?;
        let known = SCHEMES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(scheme));
        let Some(&(_, scheme, encrypted)) = known else {
            let (scheme, url) = (scheme.to_owned(), url.to_owned());
            return Err(TargetError::UnknownScheme { scheme, url });
        };
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.contains('@') {
            return Err(TargetError::UserInfo);
        }
        // As for `serve --bind`: a number alone is a port of this machine.
        let is_port = !url.contains("://") && is_number(authority);
        let (host, port) = match is_port {
            true => (Cow::from(""), Some(authority)),
            false => split_port(authority),
        };
        let port = match port {
            None => scheme.default_port(encrypted),
            Some("") => return Err(TargetError::NoPort(authority.to_owned())),
            Some(text) => match text.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(TargetError::BadPort(text.to_owned())),
            },
        };
        let host = match &*host {
            "" if authority.is_empty() => return Err(TargetError::NoHost(url.to_owned())),
            // A path of this machine.
            "." | ".." => return Err(TargetError::NoHost(url.to_owned())),
            "" => THIS_MACHINE.to_owned(),
            host if host.contains(['[', ']']) || host.contains(':') && !is_address(host) => {
                return Err(TargetError::BadAddress(authority.to_owned()));
            }
            host => host.to_owned(),
        };
        if scheme != Scheme::Http && path.contains('#') {
            return Err(TargetError::InPath('#'));
        }
        // A fragment never leaves the client (RFC 9110 §7.1).
        let path = path.split('#').next().unwrap_or("/");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let path = format!("{slash}{path}");
        Ok(Self { scheme, encrypted, host, port, socket: None, path, token: None })
    }
}

/// The scheme of a URL, and what follows `://`.
fn split_scheme(url: &str) -> Result<(&str, &str), TargetError> {
    let is_scheme = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    if let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
        return Ok((scheme, rest));
    }
    if let Some((word, rest)) = url.split_once(':')
        && let Some((scheme, ..)) =
            SCHEMES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(word))
        // `http:8080` may be a port of a host that is called so.
        && !rest.split('/').next().is_some_and(is_number)
    {
        return Err(TargetError::NoSlashes { url: url.to_owned(), scheme });
    }
    Ok((ANYPORT, url))
}

/// Returns whether a word is the name of a service, which would be a path in the syntax of scp.
fn is_service(text: &str) -> bool {
    ["http", "https", "http-alt", "ssh", "ftp"].contains(&text)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Target {
    /// Parses `SOCKET[:/PATH]`: as in nginx, the path on the server follows a colon.
    fn of_socket(url: &str, rest: &str) -> Result<Self, TargetError> {
        let (socket, path) = match rest.split_once(":/") {
            Some((socket, path)) => (socket, path),
            None => (rest, ""),
        };
        if socket.is_empty() {
            return Err(TargetError::NoHost(url.to_owned()));
        }
        let local: Self = format!("{ANYPORT}://{THIS_MACHINE}/{path}").parse()?;
        Ok(Self { socket: Some(socket.into()), ..local })
    }

    /// Returns the scheme as it stands in the URL.
    pub const fn scheme_name(&self) -> &'static str {
        match (self.scheme, self.encrypted) {
            (scheme, false) => scheme.as_str(),
            (Scheme::Tcp, true) => "tls",
            (Scheme::Ws, true) => "wss",
            (Scheme::Frames, true) => "frames+tls",
            (Scheme::Http, true) => "https",
        }
    }

    /// Returns the host field of a request: brackets around an IPv6 address, its zone left out (RFC
    /// 6874 §4), the port always.
    pub fn authority(&self) -> String {
        authority(without_zone(&self.host), self.port)
    }

    /// Returns the port, where it is the one that `http://` or `https://` stands for.
    pub fn web_port(&self) -> Option<u16> {
        let is_web =
            self.scheme == Scheme::Http && self.port == self.scheme.default_port(self.encrypted);
        is_web.then_some(self.port)
    }

    /// Returns whether the host is this machine, by name or address (RFC 6761 §6.3).
    pub(crate) fn is_loopback(&self) -> bool {
        if self.socket.is_some() {
            return true;
        }
        let host = without_zone(&self.host).trim_end_matches('.').to_ascii_lowercase();
        let is_address = |ip: IpAddr| ip.to_canonical().is_loopback();
        host == THIS_MACHINE || host.ends_with(".localhost") || host.parse().is_ok_and(is_address)
    }

    /// Returns host and port for people and for the file of known hosts, with the zone of an IPv6
    /// address.
    pub fn address(&self) -> String {
        if let Some(socket) = &self.socket {
            return format!("{UNIX}{}", socket.display());
        }
        authority(&self.host, self.port)
    }

    /// Returns what the path names, the same with every scheme: `/NAME` a file, `/NAME/` a
    /// directory, both also below `/files`.
    ///
    /// # Errors
    /// [`TargetError::BadName`], or [`TargetError::InPath`]: only HTTP has queries for files.
    pub fn scope(&self) -> Result<Scope, TargetError> {
        if self.scheme != Scheme::Http && self.path.contains('?') {
            return Err(TargetError::InPath('?'));
        }
        let path = self.path.split('?').next().unwrap_or("/");
        let below = if path == "/files" { Some("") } else { path.strip_prefix("/files/") };
        let name = below.or_else(|| path.strip_prefix('/')).unwrap_or(path);
        if name.is_empty() {
            return Ok(Scope::Top);
        }
        let directory = name.strip_suffix('/');
        match FilePath::parse_percent_encoded(directory.unwrap_or(name)) {
            Ok(path) if directory.is_some() => Ok(Scope::Directory(path)),
            Ok(path) => Ok(Scope::File(path)),
            Err(error) => {
                Err(TargetError::BadName { path: path.to_owned(), reason: error.to_string() })
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(socket) = &self.socket {
            let path = if self.path == "/" { "" } else { &self.path };
            let colon = if path.is_empty() { "" } else { ":" };
            return write!(f, "{UNIX}{}{colon}{path}", socket.display());
        }
        // RFC 6874 §2.
        let host = self.host.replace('%', "%25");
        write!(f, "{}://{}{}", self.scheme_name(), authority(&host, self.port), self.path)
    }
}

pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn target(url: &str) -> Target {
        url.parse().unwrap()
    }

    #[test]
    fn urls_are_read_as_people_write_them() {
        let full = target("http://example.org:9000/files/a%20b.txt?x=1#part");
        assert_eq!(
            (full.scheme, full.host.as_str(), full.port),
            (Scheme::Http, "example.org", 9000)
        );
        assert_eq!(full.path, "/files/a%20b.txt?x=1");
        assert_eq!(full.scope(), Ok(Scope::File(FilePath::parse("a b.txt").unwrap())));
        assert_eq!(target("tcp://localhost").to_string(), "tcp://localhost:8331/");
        assert_eq!(target("frames://[::1]:8332/").authority(), "[::1]:8332");
        assert_eq!(target("tcp://[::1]").host, "::1");
        assert_eq!(
            target("tcp://h/x.bin").scope().unwrap().name(None).as_deref(),
            Some(&b"x.bin"[..])
        );
        let own = Some(OsStr::new("z"));
        assert_eq!(target("h/x/y/").scope().unwrap().name(own).as_deref(), Some(&b"x/y/z"[..]));
        assert_eq!(target("anyport://h").scope(), Ok(Scope::Top));
        assert_eq!(target("localhost:8331"), target("tcp://localhost"));
        assert_eq!(target("ws://h:1?q").path, "/?q");
        assert_eq!(target("h/x?y=a://b").path, "/x?y=a://b");
    }

    #[test]
    fn ipv6_addresses_need_no_brackets_and_may_have_a_zone() {
        for (url, host, port, path) in [
            ("::1", "::1", 8331, "/"),
            ("::1/a.txt", "::1", 8331, "/a.txt"),
            ("2001:db8::5", "2001:db8::5", 8331, "/"),
            ("http://2001:db8::5/", "2001:db8::5", 80, "/"),
            ("fe80::1%eth0", "fe80::1%eth0", 8331, "/"),
            ("fe80::1%eth0/d/", "fe80::1%eth0", 8331, "/d/"),
            ("[fe80::1%eth0]:80", "fe80::1%eth0", 80, "/"),
            ("https://[fe80::1%25eth0]:80/x", "fe80::1%eth0", 80, "/x"),
            ("tls://[fe80::1%25eth0]", "fe80::1%eth0", 8331, "/"),
        ] {
            let target = target(url);
            let found = (target.host.as_str(), target.port, target.path.as_str());
            assert_eq!(found, (host, port, path), "{url}");
        }
        for url in ["h:1:2", "::g", "[h]x", "[::1", "a]"] {
            let error = url.parse::<Target>().unwrap_err();
            assert!(matches!(error, TargetError::BadAddress(_)), "{url}: {error}");
            assert!(error.hint().unwrap().contains("[ADDRESS]:PORT"));
        }
    }

    #[test]
    fn a_zone_is_for_people_and_not_for_the_server() {
        let target = target("tls://[fe80::1%25eth0]:80/x");
        assert_eq!(target.authority(), "[fe80::1]:80");
        assert_eq!(target.address(), "[fe80::1%eth0]:80");
        assert_eq!(target.to_string(), "tls://[fe80::1%25eth0]:80/x");
    }

    #[test]
    fn a_port_alone_is_of_this_machine() {
        for url in [":9000", "9000", "tcp://:9000"] {
            assert_eq!(target(url), target("tcp://localhost:9000"), "{url}");
        }
        assert_eq!(target(":9000/a"), target("tcp://localhost:9000/a"));
        assert_eq!(target("tcp://9000").host, "9000");
        assert_eq!("99999".parse::<Target>(), Err(TargetError::BadPort("99999".to_owned())));
    }

    #[test]
    fn a_unix_socket_has_the_path_on_its_server_after_a_colon() {
        for (url, socket, path) in [
            ("unix:/run/a.sock", "/run/a.sock", "/"),
            ("unix:/run/a.sock:/d/x%20y", "/run/a.sock", "/d/x%20y"),
            ("unix:a:b", "a:b", "/"),
        ] {
            let target = target(url);
            assert_eq!((target.socket.as_deref(), &*target.path), (Some(Path::new(socket)), path));
            assert_eq!((&*target.host, target.scheme), ("localhost", Scheme::Tcp));
            assert_eq!(target.to_string(), url);
        }
        assert_eq!(target("unix:///run/a.sock").address(), "unix:///run/a.sock");
        let no_socket = TargetError::NoHost("unix:".to_owned());
        assert_eq!("unix:".parse::<Target>(), Err(no_socket));
    }

    #[test]
    fn a_mistyped_url_gets_a_hint_that_fits() {
        for (url, hint) in [
            ("http:/host/x", "write http://host/x"),
            ("https:host", "write https://host"),
            ("udp://h:1", "udp:// works with: anyport cat udp://h:1"),
            ("ftp://h/x", "try curl ftp://h/x; the target of an anyport server is HOST:PORT"),
        ] {
            assert_eq!(url.parse::<Target>().unwrap_err().hint().as_deref(), Some(hint), "{url}");
        }
        assert_eq!(target("http:8080/x").host, "http");
    }

    #[test]
    fn a_scheme_of_the_web_has_the_port_of_the_web() {
        for (url, port, name) in [
            ("http://h/x", 80, "http"),
            ("https://h/x", 443, "https"),
            ("https://h:8331/x", 8331, "https"),
            ("wss://h/x", 8331, "wss"),
        ] {
            let target = target(url);
            assert_eq!((target.port, target.scheme_name()), (port, name), "{url}");
        }
    }

    #[test]
    fn errors_name_the_fault() {
        for (url, message) in [
            (
                "ftp://h",
                r#"unknown scheme "ftp"; expected tcp, ws, frames or http, with TLS tls, wss, frames+tls or https, or no scheme"#,
            ),
            ("ws:///x", r#""ws:///x" has no host"#),
            ("ws://h:0/", r#"port "0" is not a number from 1 to 65535"#),
            ("ws://alice:s3cret@h/", "user names and tokens are not accepted in a URL"),
            ("ws://h:http/", r#"port "http" is not a number from 1 to 65535"#),
        ] {
            assert_eq!(url.parse::<Target>().unwrap_err().to_string(), message);
        }
        for scheme in ["tcp", "ws", "frames", "tls"] {
            let query = target(&format!("{scheme}://h/x?y")).scope();
            assert_eq!(query, Err(TargetError::InPath('?')), "{scheme}");
            let fragment = format!("{scheme}://h/x#y").parse::<Target>();
            assert_eq!(fragment, Err(TargetError::InPath('#')), "{scheme}");
        }
        assert!(target("tcp://h/..").scope().is_err());
        assert!(target("tcp://h/a//b").scope().is_err());
        assert_eq!(target("TCP://h").scheme, Scheme::Tcp);
    }

    #[test]
    fn a_path_names_a_file_or_with_a_slash_a_directory() {
        for (url, expected, is_directory) in [
            ("tcp://h/a%20b/c.txt", Some("a b/c.txt"), false),
            ("tcp://h/photos/", Some("photos"), true),
            ("tcp://h/", None, true),
            ("tcp://h", None, true),
            ("ws://h/files/a.txt", Some("a.txt"), false),
            ("ws://h/files/", None, true),
            ("https://h/files/a%20b", Some("a b"), false),
            ("ws://h/filesystem", Some("filesystem"), false),
            ("tcp://h/files/a.txt", Some("a.txt"), false),
            ("frames://h/files/files/a.txt", Some("files/a.txt"), false),
            ("ws://h/a/", Some("a"), true),
            ("http://h/files", None, true),
            ("http://h/a?x=y", Some("a"), false),
        ] {
            let scope = target(url).scope().unwrap();
            assert_eq!(scope.path().map(FilePath::text).as_deref(), expected, "{url}");
            assert_eq!(scope.is_directory(), is_directory, "{url}");
        }
        for url in ["tcp://h/../x", "tcp://h//etc/passwd", "tcp://h/%2e%2e/x", "tcp://h/a//b"] {
            assert!(target(url).scope().is_err(), "{url}");
        }
    }
}
