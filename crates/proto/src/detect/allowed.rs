//! The protocols that a listener accepts; others are not detected.

use std::str::FromStr;

/// The protocols that a listener accepts, written as `raw,http,ws,frames,tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Raw bytes, and raw TCP with the preface.
    pub raw: bool,
    /// Plain HTTP requests.
    pub http: bool,
    /// WebSocket with an opening handshake.
    pub ws: bool,
    /// Bare frames.
    pub frames: bool,
    /// TLS.
    pub tls: bool,
    /// Whether to detect the protocol; if not, all input is raw, also a preface.
    pub detect: bool,
}

impl Allowed {
    /// All protocols, by detection.
    pub const ALL: Self =
        Self { raw: true, http: true, ws: true, frames: true, tls: true, detect: true };

    /// No protocol; [`Self::allow`] adds to it.
    pub const NONE: Self =
        Self { raw: false, http: false, ws: false, frames: false, tls: false, detect: true };

    /// Raw bytes only, without detection.
    pub const UNDETECTED: Self = Self { raw: true, detect: false, ..Self::NONE };

    /// Returns the protocols with one more.
    #[must_use]
    pub const fn allow(mut self, name: ProtocolName) -> Self {
        match name {
            ProtocolName::Raw => self.raw = true,
            ProtocolName::Http => self.http = true,
            ProtocolName::Ws => self.ws = true,
            ProtocolName::Frames => self.frames = true,
            ProtocolName::Tls => self.tls = true,
        }
        self
    }

    /// Returns whether only TLS is accepted.
    #[must_use]
    pub fn is_only_tls(self) -> bool {
        self == Self::NONE.allow(ProtocolName::Tls)
    }
}

impl Allowed {
    /// Returns the names of the accepted protocols.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let names = [
            (self.raw, "raw"),
            (self.http, "http"),
            (self.ws, "ws"),
            (self.frames, "frames"),
            (self.tls, "tls"),
        ];
        names.into_iter().filter(|(on, _)| *on).map(|(_, name)| name)
    }
}

impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(", "))
    }
}

/// The name of a protocol in such a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolName {
    /// `raw`.
    Raw,
    /// `http`.
    Http,
    /// `ws`.
    Ws,
    /// `frames`.
    Frames,
    /// `tls`.
    Tls,
}

/// Why a word is not the name of a protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol {0:?}; expected one of raw, http, ws, frames, tls")]
pub struct UnknownProtocol(String);

impl FromStr for ProtocolName {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "raw" => Self::Raw,
            "http" => Self::Http,
            "ws" => Self::Ws,
            "frames" => Self::Frames,
            "tls" => Self::Tls,
            other => return Err(UnknownProtocol(other.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DetectedProtocol, detect_at_end_among};
    use super::*;
    use crate::limits::Limits;

    fn protocol(prefix: &[u8], names: &[ProtocolName]) -> DetectedProtocol {
        let allowed = names.iter().fold(Allowed::NONE, |allowed, name| allowed.allow(*name));
        detect_at_end_among(prefix, &Limits::default(), allowed)
    }

    #[test]
    fn dt_3_a_protocol_that_is_not_accepted_is_not_detected() {
        let request = b"GET / HTTP/1.1\r\n";
        let frame = b"\x82\xb1\x82\xf1";
        assert_eq!(protocol(request, &[ProtocolName::Raw]), DetectedProtocol::Raw);
        assert_eq!(
            protocol(request, &[ProtocolName::Raw, ProtocolName::Ws]),
            DetectedProtocol::Http1
        );
        assert_eq!(protocol(frame, &[ProtocolName::Raw, ProtocolName::Ws]), DetectedProtocol::Raw);
        assert_eq!(protocol(frame, &[ProtocolName::Frames]), DetectedProtocol::FrameCandidate);
        assert_eq!(protocol(b"ANYPORT/1 PUT", &[ProtocolName::Raw]), DetectedProtocol::Preface);
        let blind = detect_at_end_among(b"ANYPORT/1 PUT", &Limits::default(), Allowed::UNDETECTED);
        assert_eq!(blind, DetectedProtocol::Raw);
    }

    #[test]
    fn words_are_known_or_named() {
        assert_eq!("frames".parse(), Ok(ProtocolName::Frames));
        assert_eq!(
            "ftp".parse::<ProtocolName>().unwrap_err().to_string(),
            r#"unknown protocol "ftp"; expected one of raw, http, ws, frames, tls"#
        );
        assert_eq!(Allowed::ALL.to_string(), "raw, http, ws, frames, tls");
    }
}
