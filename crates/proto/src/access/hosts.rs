//! Names that a request may be for (RFC 9110 §7.2).
//!
//! A hostile page can be served under a name that first resolves to its own server and then to this
//! machine (DNS rebinding). For the browser that is the same origin, so only the name in the
//! request reveals it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An allowed name of a request, in lower case and without a trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostName(String);

/// Why a text is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a host name such as files.example.org, without scheme and port, not {0:?}")]
pub struct HostNameError(String);

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(HostNameError(text.to_owned()));
        }
        Ok(Self(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HostName {
    /// Returns whether no page of the public internet can have this name.
    ///
    /// A machine of the same network may.
    ///
    /// `localhost` and names below it are loopback (RFC 6761 §6.3). A name without a dot belongs to
    /// the local network, if to any: top-level domains have no addresses by the rules of ICANN.
    /// `.local` is multicast DNS (RFC 6762 §3), and `.home.arpa` (RFC 8375) and `.lan` are names of
    /// home networks that no public server can have.
    pub fn is_local(&self) -> bool {
        !self.0.contains('.') || LOCAL.iter().any(|domain| self.0.ends_with(domain))
    }

    /// Returns whether it is `localhost` or a name below it, which are loopback (RFC 6761 §6.3).
    pub fn is_loopback(&self) -> bool {
        self.0 == "localhost" || self.0.ends_with(".localhost")
    }

    /// Returns whether a name in a certificate, such as `files.example.org` or `*.example.org`,
    /// is for this one (RFC 9525 §6.3).
    pub fn is_named_by(&self, certificate: &str) -> bool {
        match certificate.strip_prefix("*.") {
            None => self.0.eq_ignore_ascii_case(certificate),
            Some(domain) => self.0.split_once('.').is_some_and(|(first, rest)| {
                !first.is_empty() && rest.eq_ignore_ascii_case(domain)
            }),
        }
    }
}

/// Domains whose names no public server has.
const LOCAL: [&str; 4] = [".localhost", ".local", ".lan", ".home.arpa"];

/// Returns the name that a request is for, from its authority; `None` for an address or an empty
/// authority, because an address cannot be rebound.
///
/// Anything else is an error, and not allowed.
pub fn host_of(authority: &str) -> Option<Result<HostName, HostNameError>> {
    let (host, _) = crate::ws::handshake::split_port(authority).unwrap_or((authority, None));
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || address.parse::<IpAddr>().is_ok() {
        return None;
    }
    Some(host.parse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_no_names_and_local_names_cannot_be_rebound() {
        for address in ["127.0.0.1:8331", "[::1]:8331", "[::1]", "192.168.1.5", ""] {
            assert_eq!(host_of(address), None, "{address}");
        }
        for (authority, local) in [
            ("localhost:8331", true),
            ("LOCALHOST.", true),
            ("a.localhost", true),
            ("nas", true),
            ("nas.local:8331", true),
            ("NAS.lan", true),
            ("nas.home.arpa.", true),
            ("home.arpa", false),
            ("local.evil.example", false),
            ("evil-local.example", false),
            ("nas.lan.example", false),
            ("evil.example:8331", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("notlocalhost.example", false),
        ] {
            let name = host_of(authority).unwrap().unwrap();
            assert_eq!(name.is_local(), local, "{authority}");
            let loopback = ["localhost:8331", "LOCALHOST.", "a.localhost"].contains(&authority);
            assert_eq!(name.is_loopback(), loopback, "{authority}");
        }
        assert!(host_of("a b").unwrap().is_err());
        assert!(host_of("h:port").unwrap().is_err());
    }

    #[test]
    fn a_wildcard_of_a_certificate_is_for_one_label() {
        let name: HostName = "files.example.org".parse().unwrap();
        for (certificate, expected) in [
            ("files.example.org", true),
            ("Files.Example.org", true),
            ("*.example.org", true),
            ("*.org", false),
            ("example.org", false),
            ("*.files.example.org", false),
            ("*", false),
            ("f*.example.org", false),
        ] {
            assert_eq!(name.is_named_by(certificate), expected, "{certificate}");
        }
    }

    #[test]
    fn names_are_alike_after_case_and_the_dot_at_their_end() {
        let name = |text: &str| text.parse::<HostName>();
        assert_eq!(name("Files.Example.ORG."), name("files.example.org"));
        for wrong in ["", ".", "http://a", "a:80", "a/b", "*"] {
            assert_eq!(name(wrong), Err(HostNameError(wrong.to_owned())));
        }
    }
}
