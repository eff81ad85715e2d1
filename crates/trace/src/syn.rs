//! The SYN of a client as its anyport server reports it: in the HTTP field `Anyport-Syn`, in the
//! line `ANYPORT/1 SYN`, and in a pong of bare frames.

use std::fmt;
use std::str::FromStr;

use anyport_proto::ws::candidate::SYN_PING;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::event::What;
use crate::segment::Syn;

/// The field with which a client asks for its SYN, and the server reports it.
pub const SYN_FIELD: &str = "anyport-syn";

/// The report of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedSyn {
    /// The headers of IP and TCP.
    Bytes(Vec<u8>),
    /// The server is behind a proxy, whose SYN it received.
    Proxied,
    /// The kernel has none, or the server reported it before.
    None,
}

impl ReportedSyn {
    /// Returns the report of a SYN, without its addresses: they are those of this network if the
    /// client reaches the server through a proxy.
    #[must_use]
    pub fn of(mut bytes: Vec<u8>) -> Self {
        let addresses = match bytes.first().map(|byte| byte >> 4) {
            Some(4) => 12..20,
            Some(6) => 8..40,
            _ => return Self::None,
        };
        match bytes.get_mut(addresses) {
            Some(addresses) => {
                addresses.fill(0);
                Self::Bytes(bytes)
            }
            None => Self::None,
        }
    }
}

impl ReportedSyn {
    /// Returns the payload of the pong that reports it to a client of bare frames: binary, as a
    /// control frame has at most 125 bytes (RFC 6455 §5.5).
    #[must_use]
    pub fn to_pong(&self) -> Vec<u8> {
        let value: &[u8] = match self {
            Self::Bytes(bytes) if SYN_PING.len() + 1 + bytes.len() <= MAX_CONTROL => bytes,
            Self::Proxied => PROXIED.as_bytes(),
            Self::Bytes(_) | Self::None => NONE.as_bytes(),
        };
        [SYN_PING, b" ", value].concat()
    }

    /// Parses the payload of a pong; `None` if it is another one.
    pub(crate) fn of_pong(payload: &[u8]) -> Option<Self> {
        let value = payload.strip_prefix(SYN_PING)?.strip_prefix(b" ")?;
        Some(match value {
            _ if value == PROXIED.as_bytes() => Self::Proxied,
            _ if value == NONE.as_bytes() => Self::None,
            _ => Self::Bytes(value.to_owned()),
        })
    }
}

const PROXIED: &str = "proxied";
const NONE: &str = "none";

/// Maximum payload of a control frame.
const MAX_CONTROL: usize = 125;

impl fmt::Display for ReportedSyn {
    /// A byte sequence or a token of RFC 8941 §3.3.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, ":{}:", STANDARD.encode(bytes)),
            Self::Proxied => f.write_str(PROXIED),
            Self::None => f.write_str(NONE),
        }
    }
}

/// The text is none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotReported;

/// Maximum size of the headers in Base64; those of a SYN have at most 140 bytes, but for extension
/// headers.
const LONGEST: usize = 1024;

impl FromStr for ReportedSyn {
    type Err = NotReported;

    fn from_str(text: &str) -> Result<Self, NotReported> {
        match text.trim() {
            PROXIED => Ok(Self::Proxied),
            NONE => Ok(Self::None),
            text => {
                let inner = text.strip_prefix(':').and_then(|text| text.strip_suffix(':'));
                let inner = inner.filter(|inner| inner.len() <= LONGEST);
                let bytes = inner.and_then(|inner| STANDARD.decode(inner).ok());
                bytes.map(Self::Bytes).ok_or(NotReported)
            }
        }
    }
}

/// Returns the event of the report of a server to a client with this port; `None` if there is
/// nothing to say.
pub(crate) fn syn_event(
    reported: Result<ReportedSyn, NotReported>,
    port: Option<u16>,
) -> Option<What> {
    let note = |text: &str| Some(What::Note { text: text.to_owned() });
    match reported {
        Ok(ReportedSyn::Bytes(bytes)) => match Syn::decode(&bytes) {
            Some(syn) if port.is_some_and(|port| !syn.source.ends_with(&format!(":{port}"))) => {
                note(
                    "the server received a SYN with another port: a router translated it, or it \
                     is that of a proxy",
                )
            }
            Some(syn) => Some(What::Syn(syn)),
            None => note("the server reported a SYN that is malformed"),
        },
        Ok(ReportedSyn::Proxied) => {
            note("the server received the SYN of a proxy; that of this client is not known")
        }
        Ok(ReportedSyn::None) => None,
        Err(NotReported) => note("the server reported a SYN that is malformed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_parsed_and_other_text_is_malformed() {
        for reported in
            [ReportedSyn::Bytes(vec![0x45, 0, 0xff]), ReportedSyn::Proxied, ReportedSyn::None]
        {
            assert_eq!(reported.to_string().parse(), Ok(reported));
        }
        assert_eq!(ReportedSyn::Bytes(vec![0x45, 0]).to_string(), ":RQA=:");
        for other in ["", ":", ":RQA=", "RQA=", ":!:", "?1"] {
            assert_eq!(other.parse::<ReportedSyn>(), Err(NotReported), "{other}");
        }
        let cut = syn_event(":RQA=:".parse(), None);
        assert!(matches!(cut, Some(What::Note { .. })), "{cut:?}");
        assert_eq!(syn_event("none".parse(), None), None);
    }

    #[test]
    fn a_pong_reports_a_syn_in_a_control_frame() {
        // The longest headers of IPv6 and TCP.
        let longest = ReportedSyn::Bytes(vec![0x60; 100]);
        for reported in [longest, ReportedSyn::Proxied, ReportedSyn::None] {
            let payload = reported.to_pong();
            assert!(payload.len() <= MAX_CONTROL, "{payload:?}");
            assert_eq!(ReportedSyn::of_pong(&payload), Some(reported));
        }
        let too_long = ReportedSyn::Bytes(vec![0x60; 112]).to_pong();
        assert_eq!(ReportedSyn::of_pong(&too_long), Some(ReportedSyn::None));
        for other in [&b""[..], b"anyport/1", b"anyport/1 syn", b"anyport/1 synonym"] {
            assert_eq!(ReportedSyn::of_pong(other), None);
        }
    }
}
