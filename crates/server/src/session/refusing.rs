//! Protocols that are recognised and not served here: told so in their own language, rather than stored as a
//! file.

use std::time::Duration;

use anyport_net::copy::Flow;

use super::Context;

/// Answers once and ends.
pub(crate) struct Refusing {
    context: Context,
    protocol: &'static str,
    reason: &'static str,
    answer: &'static [u8],
}

impl Refusing {
    /// A line, for whoever looks at what came back.
    pub(crate) const fn raw(context: Context) -> Self {
        Self {
            context,
            protocol: "raw",
            reason: "raw bytes are not taken here (--only)",
            answer: b"ANYPORT/1 ERROR not-supported raw bytes are not taken here\n",
        }
    }

    /// A fatal alert, `handshake_failure` (RFC 8446 §6): what a TLS client understands before any handshake.
    pub(crate) const fn tls(context: Context) -> Self {
        Self {
            context,
            protocol: "tls",
            reason: "TLS is not spoken here (--tls off)",
            answer: &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28],
        }
    }

    /// A line, where a client says in plain text what it should say under TLS.
    pub(crate) const fn without_tls(context: Context) -> Self {
        Self {
            context,
            protocol: "raw",
            reason: "not under TLS (--tls required)",
            answer: b"ANYPORT/1 ERROR not-supported TLS is required here: use tls:// (openssl s_client, ncat --ssl, anyport)\n",
        }
    }

    /// A Close with 1008 (RFC 6455 §5.5.1).
    pub(crate) const fn frames_without_tls(context: Context) -> Self {
        Self {
            context,
            protocol: "frames",
            reason: "not under TLS (--tls required)",
            answer: b"\x88\x1a\x03\xf0TLS is required: use wss",
        }
    }

    /// An empty SETTINGS frame, then GOAWAY with HTTP_1_1_REQUIRED (RFC 9113 §6.8, §7).
    pub(crate) const fn http2(context: Context) -> Self {
        Self {
            context,
            protocol: "http2",
            reason: "HTTP/2 is not served yet",
            answer: &[
                0, 0, 0, 4, 0, 0, 0, 0, 0, // SETTINGS, no payload
                0, 0, 8, 7, 0, 0, 0, 0, 0, // GOAWAY, 8 bytes
                0, 0, 0, 0, 0, 0, 0, 0x0d, // last stream 0, HTTP_1_1_REQUIRED
            ],
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.context.config.timeouts.handshake
    }

    pub(super) fn step(&self, replies: &mut Vec<u8>) -> Flow {
        replies.extend_from_slice(self.answer);
        self.context.files.refused(self.protocol, self.context.peer, self.reason.to_owned());
        Flow::Finish
    }
}
