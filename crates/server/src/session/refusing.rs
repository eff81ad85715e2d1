//! Detected protocols that are not served here: refused in their own language, instead of stored as
//! a file.

use std::borrow::Cow;
use std::time::Instant;

use anyport_net::copy::{Event, Interest, Session};
use anyport_proto::detect::Allowed;
use anyport_proto::preface::Reply;
use anyport_proto::setting::{ONLY, PROXY_PROTOCOL_FROM, TLS};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::{CloseCode, Sender};

use super::{Context, Next, ServerSession, Successor};
use crate::access::{Denied, Means};

/// Responds once and ends.
pub(crate) struct Refusing {
    context: Context,
    protocol: &'static str,
    reason: Cow<'static, str>,
    answer: Cow<'static, [u8]>,
    /// Whether a token would admit it.
    needs_token: bool,
}

/// Returns why a client without TLS is refused, for the operator.
pub(super) fn tls_required() -> String {
    format!("no TLS, but TLS is required ({TLS} required)")
}

/// Returns why a listener with `--only` refuses every other protocol.
pub(super) fn not_accepted(allowed: Allowed) -> String {
    let names: Vec<_> = allowed.names().collect();
    let are = if names.len() == 1 { "is" } else { "are" };
    let scheme = match *names.first().unwrap_or(&"tls") {
        "raw" => "tcp",
        name => name,
    };
    format!("only {allowed} {are} accepted ({ONLY}); use {scheme}://HOST:PORT/")
}

/// Returns the same reason as a line for a client of an unknown protocol.
pub(super) fn not_accepted_line(allowed: Allowed) -> String {
    Reply::Error(Refusal::new(RefusalCode::NotSupported, not_accepted(allowed))).to_line()
}

impl Refusing {
    /// Refuses with a line of text.
    pub(crate) fn raw(context: Context) -> Self {
        let allowed = context.listener.allowed;
        let reason = Cow::Owned(not_accepted(allowed));
        let answer = Cow::Owned(not_accepted_line(allowed).into_bytes());
        Self { context, protocol: "raw", reason, answer, needs_token: false }
    }

    /// Refuses a PROXY protocol header, which a proxy sends before its client's input. That input
    /// may contain credentials, so none of it may be stored.
    pub(crate) fn proxy(context: Context) -> Self {
        let reason = match context.peer.is_forwarded() {
            true => "second PROXY protocol header".to_owned(),
            false => format!(
                "PROXY protocol header from an address that {PROXY_PROTOCOL_FROM} does not list"
            ),
        };
        Self {
            context,
            protocol: "proxy",
            reason: Cow::Owned(reason),
            answer: Cow::Borrowed(
                b"ANYPORT/1 ERROR not-supported PROXY protocol header: this \
                server does not accept one\n",
            ),
            needs_token: false,
        }
    }

    /// Refuses with a fatal alert, `handshake_failure` (RFC 8446 §6), which a TLS client
    /// understands before any handshake.
    pub(crate) fn tls(context: Context) -> Self {
        Self {
            context,
            protocol: "tls",
            reason: Cow::Owned(format!("TLS is not enabled ({TLS} off)")),
            answer: Cow::Borrowed(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28]),
            needs_token: false,
        }
    }

    /// Refuses a client without TLS with a line of text.
    pub(crate) fn without_tls(context: Context) -> Self {
        Self {
            context,
            protocol: "raw",
            reason: Cow::Owned(tls_required()),
            answer: Cow::Borrowed(
                b"ANYPORT/1 ERROR not-supported TLS is required: use tls:// \
                (openssl s_client, ncat --ssl, anyport)\n",
            ),
            needs_token: false,
        }
    }

    /// Refuses with a Close with 1008 (RFC 6455 §5.5.1).
    pub(crate) fn frames_without_tls(context: Context) -> Self {
        Self {
            context,
            protocol: "frames",
            reason: Cow::Owned(tls_required()),
            answer: Cow::Borrowed(b"\x88\x1a\x03\xf0TLS is required: use wss"),
            needs_token: false,
        }
    }

    /// Refuses raw bytes where a token is required.
    pub(crate) fn without_token(context: Context) -> Self {
        let line = Reply::Error(Denied::Missing.refusal(Means::None)).to_line();
        let answer = Cow::Owned(line.into_bytes());
        Self { context, protocol: "raw", reason: Cow::Borrowed(""), answer, needs_token: true }
    }

    /// Refuses bare frames where a token is required, with an unmasked Close with 1008 (RFC 6455
    /// §5.5.1, §7.4.1), whose reason a raw client can read too.
    pub(crate) fn frames_without_token(context: Context) -> Self {
        let reason = "a token is required: ANYPORT/1 PUT NAME token=TOKEN, or ws:// with a token";
        let mut answer = Vec::new();
        Sender::server().close(Some(CloseCode::POLICY), reason, &mut answer);
        let (reason, answer) = (Cow::Borrowed(reason), Cow::Owned(answer));
        Self { context, protocol: "frames", reason, answer, needs_token: true }
    }
}

impl ServerSession for Refusing {}

impl Session for Refusing {
    type Successor = Successor;

    fn interest(&self) -> Interest {
        Interest::input(self.context.config.timeouts.handshake)
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, out: &mut Vec<u8>) -> Next {
        match event {
            Event::Bytes(_) | Event::EndOfStream | Event::Idle => {}
            Event::Shutdown => return Next::Finish,
            Event::Spliced(_) | Event::Sent(_) | Event::Timer | Event::Lost(_) => {
                return Next::Continue;
            }
        }
        out.extend_from_slice(&self.answer);
        if self.needs_token {
            // Without a token this fails, which is counted and logged like every such failure.
            let _ = self.context.admit(self.protocol, None);
        } else {
            self.context.refused(self.protocol, &self.reason);
        }
        Next::Finish
    }
}
