//! Which protocols a listener takes: what is not asked for cannot be mistaken for anything.

use std::str::FromStr;

use super::Verdict;

/// What a listener takes, as people write it: `raw,http,ws,frames,tls`.
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
    /// Whether the first bytes are looked at; without, every byte is raw, also a preface.
    pub detect: bool,
}

impl Allowed {
    /// Everything, found out from the first bytes.
    pub const ALL: Self =
        Self { raw: true, http: true, ws: true, frames: true, tls: true, detect: true };

    /// Nothing yet; [`Self::allow`] adds to it.
    pub const NONE: Self =
        Self { raw: false, http: false, ws: false, frames: false, tls: false, detect: true };

    /// Every byte as it comes: nothing is looked at.
    pub const UNDETECTED: Self = Self { raw: true, detect: false, ..Self::NONE };

    /// The same and one more.
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

    /// Whether nothing but TLS is taken.
    #[must_use]
    pub fn is_only_tls(self) -> bool {
        self == Self::NONE.allow(ProtocolName::Tls)
    }

    /// Whether a probe for `verdict` is worth asking.
    pub(super) const fn probes(self, verdict: Verdict) -> bool {
        self.detect
            && match verdict {
                Verdict::Tls => self.tls,
                Verdict::Http2 => self.http,
                // An opening handshake is an HTTP request; its session refuses what is not taken.
                Verdict::Http1 => self.http || self.ws,
                Verdict::Preface | Verdict::Raw => self.raw,
                Verdict::FrameCandidate => self.frames,
                // Where every input is raw bytes, such a header is content like any other.
                Verdict::Proxy => self.http || self.ws || self.frames || self.tls,
            }
    }
}

impl Allowed {
    /// The names of what is taken, as people write them.
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

/// One word of a list of protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolName {
    /// `raw`
    Raw,
    /// `http`
    Http,
    /// `ws`
    Ws,
    /// `frames`
    Frames,
    /// `tls`
    Tls,
}

/// A word that names no protocol.
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
    use super::super::{Verdict, detect_at_end_among};
    use super::*;
    use crate::limits::Limits;

    fn verdict(prefix: &[u8], names: &[ProtocolName]) -> Verdict {
        let allowed = names.iter().fold(Allowed::NONE, |allowed, name| allowed.allow(*name));
        detect_at_end_among(prefix, &Limits::default(), allowed)
    }

    #[test]
    fn dt_3_what_is_not_taken_is_not_found() {
        let request = b"GET / HTTP/1.1\r\n";
        let frame = b"\x82\xb1\x82\xf1";
        assert_eq!(verdict(request, &[ProtocolName::Raw]), Verdict::Raw);
        assert_eq!(verdict(request, &[ProtocolName::Raw, ProtocolName::Ws]), Verdict::Http1);
        assert_eq!(verdict(frame, &[ProtocolName::Raw, ProtocolName::Ws]), Verdict::Raw);
        assert_eq!(verdict(frame, &[ProtocolName::Frames]), Verdict::FrameCandidate);
        assert_eq!(verdict(b"ANYPORT/1 PUT", &[ProtocolName::Raw]), Verdict::Preface);
        let blind = detect_at_end_among(b"ANYPORT/1 PUT", &Limits::default(), Allowed::UNDETECTED);
        assert_eq!(blind, Verdict::Raw);
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
