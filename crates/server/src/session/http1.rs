//! HTTP/1.1: an opening handshake of WebSocket, or one helpful line (until files are served over plain HTTP).

use std::time::{Duration, Instant};

use anyport_net::copy::{Flow, Input};
use anyport_proto::http1::{HeadReader, Pushed, RequestHead, plain_response};
use anyport_proto::rooms;
use anyport_proto::transfer::offer::FILE_SUBPROTOCOL;
use anyport_proto::transfer::receipt::Engine;
use anyport_proto::ws::handshake::{Acceptance, OriginPolicy, Policy, accept};
use http::{Method, StatusCode};

use super::due::AT_ONCE;
use super::ws::Ws;
use super::{Context, Next, Session};
use crate::route::{Route, RouteError, route};

pub(crate) struct Http1 {
    context: Context,
    reader: HeadReader,
    /// When the head must be whole: counted from its first byte, so that trickling does not help.
    deadline: Option<Instant>,
    upgrade: Option<Upgrade>,
}

/// An upgrade that this session checked and another engine answers.
pub(crate) struct Upgrade {
    /// The head as it came.
    pub(crate) head: Vec<u8>,
    /// What followed it in the same read.
    pub(crate) rest: Vec<u8>,
    pub(crate) route: Route,
    pub(crate) subprotocol: Option<String>,
}

impl Http1 {
    pub(super) fn new(context: Context) -> Self {
        Self { context, reader: HeadReader::new(), deadline: None, upgrade: None }
    }

    pub(super) fn patience(&self) -> Duration {
        match self.deadline {
            Some(deadline) => deadline.saturating_duration_since(Instant::now()).max(AT_ONCE),
            None => self.context.config.timeouts.handshake,
        }
    }

    pub(super) const fn take_upgrade(&mut self) -> Option<Upgrade> {
        self.upgrade.take()
    }

    pub(super) fn step(&mut self, input: Input<'_>, replies: &mut Vec<u8>) -> Next {
        match input {
            Input::Bytes(bytes, at) => self.bytes(bytes, at, replies),
            Input::EndOfStream => {
                self.refused("the stream ended inside a request head".to_owned());
                Next::Flow(Flow::Finish)
            }
            Input::Silence => self.late(replies),
            Input::Stopping | Input::Unseen(..) => Next::Flow(Flow::Continue),
        }
    }

    /// Nothing runs before a head is whole.
    #[expect(clippy::unused_self, reason = "asked of each session alike")]
    pub(super) fn stop(&self, replies: &mut Vec<u8>) -> bool {
        let line = "the server is stopping\n";
        replies.extend(plain_response(StatusCode::SERVICE_UNAVAILABLE, &[], line, true));
        true
    }

    fn bytes(&mut self, bytes: &mut [u8], at: Instant, replies: &mut Vec<u8>) -> Next {
        let timeout = self.context.config.timeouts.handshake;
        if at > *self.deadline.get_or_insert(at + timeout) {
            return self.late(replies);
        }
        match self.reader.push(bytes, &self.context.config.limits) {
            Ok(Pushed::NeedMore) => Next::Flow(Flow::Continue),
            Ok(Pushed::Done { head, used }) => {
                let (_, rest) = bytes.split_at_mut(used);
                self.answer(&head, rest, at, replies)
            }
            Err(error) => {
                self.refused(error.to_string());
                replies.extend_from_slice(&error.response());
                Next::Flow(Flow::Finish)
            }
        }
    }

    fn answer(
        &mut self,
        head: &RequestHead,
        rest: &mut [u8],
        at: Instant,
        replies: &mut Vec<u8>,
    ) -> Next {
        if !head.is_websocket_upgrade() {
            self.refused(format!("plain HTTP {} {}", head.method, head.path()));
            let with_body = head.method != Method::HEAD;
            let line = self.helpful_line();
            replies.extend(plain_response(StatusCode::NOT_IMPLEMENTED, &[], &line, with_body));
            return Next::Flow(Flow::Finish);
        }
        if !self.context.listener.allowed.ws {
            let reason = "WebSocket is not taken here (--only)";
            self.refused(reason.to_owned());
            let line = format!("{reason}\n");
            replies.extend(plain_response(StatusCode::FORBIDDEN, &[], &line, true));
            return Next::Flow(Flow::Finish);
        }
        let route = match route(head.path(), head.query()) {
            Ok(route) => route,
            Err(error) => {
                let status = match &error {
                    RouteError::NotFound(_) => StatusCode::NOT_FOUND,
                    RouteError::BadName { .. } | RouteError::BadRoom(_) => StatusCode::BAD_REQUEST,
                };
                self.refused(error.to_string());
                replies.extend(plain_response(status, &[], &format!("{error}\n"), true));
                return Next::Flow(Flow::Finish);
            }
        };
        let subprotocols: &[&str] = match route {
            Route::Upload { .. } => &[FILE_SUBPROTOCOL],
            Route::Room(_) => &[rooms::SUBPROTOCOL],
            Route::Echo => &[],
        };
        // The library engine knows no compression.
        let deflate = self.context.config.deflate && self.context.config.engine == Engine::Own;
        let origin = OriginPolicy::SameHostOr(&self.context.config.allowed_origins);
        let policy = Policy { subprotocols, origin, deflate };
        let Acceptance { response, subprotocol, deflate } = match accept(head, &policy) {
            Ok(acceptance) => acceptance,
            Err(refusal) => {
                self.refused(refusal.to_string());
                replies.extend(refusal.response());
                return Next::Flow(Flow::Finish);
            }
        };
        // A room writes to its members by itself, and knows the frames of the own engine.
        let is_room = matches!(route, Route::Room(_));
        if self.context.config.engine == Engine::Library && !is_room {
            let (head, rest) = (head.raw().to_vec(), rest.to_vec());
            self.upgrade = Some(Upgrade { head, rest, route, subprotocol });
            return Next::Flow(Flow::Finish);
        }
        replies.extend_from_slice(&response);
        let mut ws =
            Ws::handshaken(self.context.clone(), route, subprotocol.is_some(), deflate.as_ref());
        // Frames that came with the head in one read are the first input.
        let flow =
            if rest.is_empty() { Flow::Continue } else { ws.step(Input::Bytes(rest, at), replies) };
        Next::Become(Session::Ws(Box::new(ws)), flow)
    }

    fn late(&self, replies: &mut Vec<u8>) -> Next {
        let timeout = self.context.config.timeouts.handshake;
        self.refused(format!("the request head was not whole within {timeout:?}"));
        let line = format!("the request head must be whole within {timeout:?}\n");
        replies.extend(plain_response(StatusCode::REQUEST_TIMEOUT, &[], &line, true));
        Next::Flow(Flow::Finish)
    }

    fn refused(&self, reason: String) {
        self.context.files.refused("http", self.context.peer, reason);
    }

    fn helpful_line(&self) -> String {
        "anyport does not serve plain HTTP yet: send a file with `nc -N HOST PORT < FILE`, \
         `websocat -b ws://HOST:PORT/files/NAME < FILE` or `anyport send FILE tcp://HOST:PORT/`\n"
            .to_owned()
    }
}
