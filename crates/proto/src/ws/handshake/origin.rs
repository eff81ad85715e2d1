//! A web page's origin: scheme, host and port (RFC 6454 §4), always compared as a whole.

use std::fmt;
use std::str::FromStr;

/// An origin as browsers write it, with the case of scheme and host and a default port normalized.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    /// `None` if the scheme has no default port and none is given.
    port: Option<u16>,
}

/// Why a text is not an origin that can be allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// `null`, which sandboxed frames and local files send.
    #[error("the origin null cannot be allowed: any page can have it")]
    Null,
    /// Not `scheme://host` or `scheme://host:port`.
    #[error("expected SCHEME://HOST or SCHEME://HOST:PORT and nothing after it, not {0:?}")]
    Malformed(String),
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("null") {
            return Err(OriginError::Null);
        }
        parse(text).ok_or_else(|| OriginError::Malformed(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Origin> {
    let (scheme, authority) = text.split_once("://")?;
    let (host, port) = split_port(authority)?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    // Browsers write names in ASCII (`xn--…`); any other character begins a path, a user or a
    // second origin.
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    if scheme.is_empty() || host.is_empty() {
        return None;
    }
    if !scheme.bytes().all(is_scheme) || !host.bytes().all(is_host) {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    let default = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    Some(Origin { host: host.to_ascii_lowercase(), port: port.or(default), scheme })
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Splits `host:port`; returns `None` if the text after the colon is not a port.
pub(crate) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    // An IPv6 address is in brackets and contains colons.
    let name_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = authority[name_end..].find(':').map(|at| name_end + at) else {
        return Some((authority, None));
    };
    let (name, port) = (&authority[..colon], &authority[colon + 1..]);
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if port.is_empty() { Some((name, None)) } else { Some((name, Some(port.parse().ok()?))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hs_10_origins_are_alike_after_case_and_default_port() {
        let same = |one: &str, other: &str| one.parse::<Origin>() == other.parse::<Origin>();
        assert!(same("https://App.Example.COM", "HTTPS://app.example.com:443"));
        assert!(same("http://app.example.com:80", "http://app.example.com"));
        assert!(!same("http://app.example.com", "https://app.example.com"));
        assert!(!same("http://app.example.com:443", "https://app.example.com:443"));
        assert!(!same("http://app.example.com", "http://app.example.com:8080"));
        assert!(!same("http://app.example.com", "http://app.example.com."));
        let shown = "https://[::1]".parse::<Origin>().unwrap().to_string();
        assert_eq!(shown, "https://[::1]:443");
    }

    #[test]
    fn hs_10_an_invalid_origin_cannot_be_allowed() {
        for text in [
            "",
            "example.com",
            "://example.com",
            "http://",
            "http://:80",
            "http://example.com/",
            "http://example.com/path",
            "http://user@example.com",
            "http://example.com:65536",
            "http://example.com:80:80",
            "http://example.com http://example.org",
            "http://*.example.com",
            "http://m\u{fc}ller.example",
        ] {
            let malformed = OriginError::Malformed(text.to_owned());
            assert_eq!(text.parse::<Origin>(), Err(malformed));
        }
        assert_eq!("null".parse::<Origin>(), Err(OriginError::Null));
        assert_eq!("NULL".parse::<Origin>(), Err(OriginError::Null));
    }
}
