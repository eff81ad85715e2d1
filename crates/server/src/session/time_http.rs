//! The local time over HTTP/1.1, at any path: one answer, then the connection closes.

use std::time::Instant;

use anyport_net::copy::{Flow, Input, Interest};
use anyport_proto::http1::{HeadReader, Pushed, RequestHead, plain_response};
use http::{Method, StatusCode};

use super::Context;
use super::due::Due;
use crate::service::time::now_line;

pub(crate) struct TimeHttp {
    context: Context,
    reader: HeadReader,
    /// When the head must be whole.
    due: Due,
}

impl TimeHttp {
    pub(crate) fn new(context: Context) -> Self {
        let due = Due::new(context.config.timeouts.handshake);
        Self { context, reader: HeadReader::new(), due }
    }

    pub(super) fn interest(&self) -> Interest {
        Interest::input(self.due.patience(self.context.config.timeouts.idle))
    }

    pub(super) fn step(&mut self, input: Input<'_>, replies: &mut Vec<u8>) -> Flow {
        match input {
            Input::Bytes(bytes, at) if !self.due.is_late(at) => self.bytes(bytes, at, replies),
            Input::Bytes(..) | Input::Silence => {
                let reason = self.due.reason("the request head");
                self.refuse(StatusCode::REQUEST_TIMEOUT, &[], reason, replies)
            }
            Input::EndOfStream => {
                self.refused("the stream ended inside a request head".to_owned());
                Flow::Finish
            }
            Input::Stopping | Input::Timer(_) | Input::Unseen(..) => Flow::Continue,
        }
    }

    /// Nothing runs before a head is whole.
    pub(super) fn stop(replies: &mut Vec<u8>) {
        let line = "the server is stopping\n";
        replies.extend(plain_response(StatusCode::SERVICE_UNAVAILABLE, &[], line, true));
    }

    fn bytes(&mut self, bytes: &[u8], at: Instant, replies: &mut Vec<u8>) -> Flow {
        self.due.begin(at);
        match self.reader.push(bytes, &self.context.config.limits) {
            Ok(Pushed::NeedMore) => Flow::Continue,
            Ok(Pushed::Done { head, .. }) => self.answer(&head, replies),
            Err(error) => {
                self.refused(error.to_string());
                replies.extend_from_slice(&error.response());
                Flow::Finish
            }
        }
    }

    fn answer(&self, head: &RequestHead, replies: &mut Vec<u8>) -> Flow {
        let with_body = match head.method {
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
        // RFC 9111 §5.2.2.5: the next question has another answer.
        let extra = [("Cache-Control", "no-store")];
        replies.extend(plain_response(StatusCode::OK, &extra, &line, with_body));
        Flow::Finish
    }

    fn refuse(
        &self,
        status: StatusCode,
        extra: &[(&str, &str)],
        reason: String,
        replies: &mut Vec<u8>,
    ) -> Flow {
        replies.extend(plain_response(status, extra, &format!("{reason}\n"), true));
        self.refused(reason);
        Flow::Finish
    }

    fn refused(&self, reason: String) {
        self.context.files.refused("http", self.context.peer, reason);
    }
}
