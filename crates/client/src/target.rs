//! Where to send, as people write it: `host:port`, `ws://host:port/files/NAME`, `https://host/NAME`.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use anyport_proto::access::Token;
use anyport_proto::transfer::file_path::FilePath;

/// The scheme that leaves it to us.
const ANYPORT: &str = "anyport";

/// The port where none is written.
const DEFAULT_PORT: u16 = 8331;

/// The same where the scheme is one of the whole web (RFC 9110 §4.2): somebody who copies `https://host/file` from a
/// browser means what the browser meant.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// How bytes travel.
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
    /// As it stands in a URL.
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
    /// How bytes travel.
    pub scheme: Scheme,
    /// Whether that is under TLS.
    pub encrypted: bool,
    /// A name or a numeric address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path, beginning with `/`, percent-encoded as written; with the query, if there is one.
    pub path: String,
    /// What is shown to be let in. Never a part of the URL, which everybody may see.
    pub token: Option<Token>,
}

/// What the path of a target is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Everything, each under its own name.
    Top,
    /// What is, or goes, below this directory.
    Directory(FilePath),
    /// One file.
    File(FilePath),
}

impl Place {
    /// The path; none at the top.
    pub const fn path(&self) -> Option<&FilePath> {
        match self {
            Self::Top => None,
            Self::Directory(path) | Self::File(path) => Some(path),
        }
    }

    /// Whether it stands for what is below it.
    pub const fn is_directory(&self) -> bool {
        matches!(self, Self::Top | Self::Directory(_))
    }

    /// The path there of what is called `own` here, without the slash of a directory.
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

/// Why a URL is none that can be sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A scheme of another world.
    #[error(
        "scheme {0:?} is not known; known are tcp, ws, frames, http, under TLS tls, wss, frames+tls, https, and none at all"
    )]
    UnknownScheme(String),
    /// Somebody's name or a secret before the host.
    #[error("a URL carries no user and no token: others on this machine see it")]
    UserInfo,
    /// Nothing between `://` and `/`.
    #[error("{0:?} names no host")]
    NoHost(String),
    /// A port that is no number from 1 to 65535.
    #[error("port {0:?} is no number from 1 to 65535")]
    BadPort(String),
    /// A path that names no file.
    #[error("{path:?} cannot be a file's name: {reason}")]
    BadName {
        /// The path as written.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        // Nothing of ours beats raw TCP with the preface, so that is the best way there is.
        let (scheme, rest) = url.split_once("://").unwrap_or((ANYPORT, url));
        let (scheme, encrypted) = match scheme.to_ascii_lowercase().as_str() {
            ANYPORT | "tcp" => (Scheme::Tcp, false),
            "tls" => (Scheme::Tcp, true),
            "ws" => (Scheme::Ws, false),
            "wss" => (Scheme::Ws, true),
            "frames" => (Scheme::Frames, false),
            "frames+tls" => (Scheme::Frames, true),
            "http" => (Scheme::Http, false),
            "https" => (Scheme::Http, true),
            _ => return Err(TargetError::UnknownScheme(scheme.to_owned())),
        };
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.contains('@') {
            return Err(TargetError::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        let port = port.unwrap_or_else(|| scheme.default_port(encrypted));
        if host.is_empty() {
            return Err(TargetError::NoHost(url.to_owned()));
        }
        // A fragment never leaves the client (RFC 6455 §3).
        let path = path.split('#').next().unwrap_or("/");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let path = format!("{slash}{path}");
        Ok(Self { scheme, encrypted, host: host.to_owned(), port, path, token: None })
    }
}

impl Target {
    /// The scheme as it stands in the URL.
    pub const fn scheme_name(&self) -> &'static str {
        match (self.scheme, self.encrypted) {
            (scheme, false) => scheme.as_str(),
            (Scheme::Tcp, true) => "tls",
            (Scheme::Ws, true) => "wss",
            (Scheme::Frames, true) => "frames+tls",
            (Scheme::Http, true) => "https",
        }
    }

    /// The host field of a request: brackets around an IPv6 address, the port always.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// What the path is about: `/NAME` a file, `/NAME/` a directory; over all but raw TCP also with `/files` before it.
    ///
    /// # Errors
    /// [`TargetError::BadName`].
    pub fn place(&self) -> Result<Place, TargetError> {
        let path = self.path.split('?').next().unwrap_or("/");
        // Raw TCP has no services in its paths, so there `files` is a directory like others.
        let below = path.strip_prefix("/files/").filter(|_| self.scheme != Scheme::Tcp);
        let name = below.or_else(|| path.strip_prefix('/')).unwrap_or(path);
        if name.is_empty() {
            return Ok(Place::Top);
        }
        let directory = name.strip_suffix('/');
        match FilePath::parse_percent_encoded(directory.unwrap_or(name)) {
            Ok(path) if directory.is_some() => Ok(Place::Directory(path)),
            Ok(path) => Ok(Place::File(path)),
            Err(error) => {
                Err(TargetError::BadName { path: path.to_owned(), reason: error.to_string() })
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.path)
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), TargetError> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None => None,
        Some(text) => match text.parse() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(TargetError::BadPort(text.to_owned())),
        },
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        url.parse().unwrap()
    }

    #[test]
    fn urls_are_read_as_people_write_them() {
        let full = target("ws://example.org:9000/files/a%20b.txt?x=1#part");
        assert_eq!((full.scheme, full.host.as_str(), full.port), (Scheme::Ws, "example.org", 9000));
        assert_eq!(full.path, "/files/a%20b.txt?x=1");
        assert_eq!(full.place(), Ok(Place::File(FilePath::parse("a b.txt").unwrap())));
        assert_eq!(target("tcp://localhost").to_string(), "tcp://localhost:8331/");
        assert_eq!(target("frames://[::1]:8332/").authority(), "[::1]:8332");
        assert_eq!(target("tcp://[::1]").host, "::1");
        assert_eq!(
            target("tcp://h/x.bin").place().unwrap().name(None).as_deref(),
            Some(&b"x.bin"[..])
        );
        let own = Some(OsStr::new("z"));
        assert_eq!(target("h/x/y/").place().unwrap().name(own).as_deref(), Some(&b"x/y/z"[..]));
        assert_eq!(target("anyport://h").place(), Ok(Place::Top));
        assert_eq!(target("localhost:8331"), target("tcp://localhost"));
        assert_eq!(target("ws://h:1?q").path, "/?q");
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
    fn what_is_wrong_is_named() {
        for (url, message) in [
            (
                "ftp://h",
                r#"scheme "ftp" is not known; known are tcp, ws, frames, http, under TLS tls, wss, frames+tls, https, and none at all"#,
            ),
            ("ws:///x", r#""ws:///x" names no host"#),
            ("ws://h:0/", r#"port "0" is no number from 1 to 65535"#),
            (
                "ws://alice:s3cret@h/",
                "a URL carries no user and no token: others on this machine see it",
            ),
            ("ws://h:http/", r#"port "http" is no number from 1 to 65535"#),
        ] {
            assert_eq!(url.parse::<Target>().unwrap_err().to_string(), message);
        }
        assert!(target("tcp://h/..").place().is_err());
        assert!(target("tcp://h/a//b").place().is_err());
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
            ("tcp://h/files/a.txt", Some("files/a.txt"), false),
            ("tcp://h/a?x=y", Some("a"), false),
        ] {
            let place = target(url).place().unwrap();
            assert_eq!(place.path().map(FilePath::text).as_deref(), expected, "{url}");
            assert_eq!(place.is_directory(), is_directory, "{url}");
        }
        for url in ["tcp://h/../x", "tcp://h//etc/passwd", "tcp://h/%2e%2e/x", "tcp://h/a//b"] {
            assert!(target(url).place().is_err(), "{url}");
        }
    }
}
