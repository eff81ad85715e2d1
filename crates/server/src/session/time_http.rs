//! The local time over HTTP/1.1, at any path: one response, then the connection closes.

use std::time::Instant;

use anyport_net::copy::{Event, Interest, Session};
use anyport_proto::http1::{HeadReader, Pushed, RequestHead, plain_response};
use http::{Method, StatusCode};

use super::about::{SERVER, about};
use super::due::Due;
use super::http::check_host;
use super::{Context, Next, ServerSession, Successor};
use crate::events::Why;
use crate::service::time::now_line;

pub(crate) struct TimeHttp {
    context: Context,
    reader: HeadReader,
    /// Time limit of the head.
    due: Due,
}

impl TimeHttp {
    pub(crate) fn new(context: Context) -> Self {
        let due = Due::new(context.config.timeouts.handshake);
        Self { context, reader: HeadReader::new(), due }
    }

    fn bytes(&mut self, bytes: &[u8], at: Instant, replies: &mut Vec<u8>) -> Next {
        self.due.begin(at);
        match self.reader.push(bytes, &self.context.config.limits) {
            Ok(Pushed::NeedMore) => Next::Continue,
            Ok(Pushed::Done { head, .. }) => self.answer(&head, replies),
            Err(error) => {
                self.refused(error.to_string());
                replies.extend_from_slice(&error.response());
                Next::Finish
            }
        }
    }

    fn answer(&self, head: &RequestHead, replies: &mut Vec<u8>) -> Next {
        if let Err(refusal) = check_host(&self.context, head) {
            self.context.refused_as(Why::Host, "http", &refusal.message);
            let hint = refusal.hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
            let text = format!("{}\n{hint}", refusal.message);
            replies.extend(plain_response(StatusCode::MISDIRECTED_REQUEST, &[], &text, true));
            return Next::Finish;
        }
        let with_body = match head.method {
            Method::OPTIONS if head.path() == "*" => {
                let fields = [("Allow", "GET, HEAD, OPTIONS"), ("Server", SERVER)];
                let text = format!("{}\n", about(&self.context).to_json());
                replies.extend(plain_response(StatusCode::OK, &fields, &text, true));
                return Next::Finish;
            }
            Method::GET => true,
            Method::HEAD => false,
            _ => {
                let reason = format!("{} is not allowed; allowed: GET, HEAD", head.method);
                let allow = [("Allow", "GET, HEAD")];
                return self.refuse(StatusCode::METHOD_NOT_ALLOWED, &allow, reason, replies);
            }
        };
        tracing::info!(peer = %self.context.peer, service = "time", "time sent");
        let line = format!("{}\n", now_line());
        // RFC 9111 §5.2.2.5: the next response differs.
        let extra = [("Cache-Control", "no-store")];
        replies.extend(plain_response(StatusCode::OK, &extra, &line, with_body));
        Next::Finish
    }

    fn refuse(
        &self,
        status: StatusCode,
        extra: &[(&str, &str)],
        reason: String,
        replies: &mut Vec<u8>,
    ) -> Next {
        replies.extend(plain_response(status, extra, &format!("{reason}\n"), true));
        self.refused(reason);
        Next::Finish
    }

    fn refused(&self, reason: String) {
        self.context.refused("http", reason);
    }
}

impl ServerSession for TimeHttp {}

impl Session for TimeHttp {
    type Successor = Successor;

    fn interest(&self) -> Interest {
        Interest::input(self.due.idle_timeout(self.context.config.timeouts.idle))
    }

    fn handle(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<u8>) -> Next {
        match event {
            Event::Bytes(bytes) if !self.due.is_late(now) => self.bytes(bytes, now, out),
            Event::Bytes(_) | Event::Idle => {
                let reason = self.due.reason("the request head");
                self.refuse(StatusCode::REQUEST_TIMEOUT, &[], reason, out)
            }
            Event::EndOfStream => {
                self.refused("the stream ended inside a request head".to_owned());
                Next::Finish
            }
            // Nothing is in progress before a head is complete.
            Event::Shutdown => {
                let line = "the server is stopping\n";
                out.extend(plain_response(StatusCode::SERVICE_UNAVAILABLE, &[], line, true));
                Next::Finish
            }
            Event::Timer | Event::Spliced(_) | Event::Sent(_) | Event::Lost(_) => Next::Continue,
        }
    }
}
