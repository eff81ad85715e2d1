//! The upgrade to WebSocket, on any request of a connection; bytes behind the head are the first frames.

use std::time::Instant;

use anyport_net::copy::{Flow, Input};
use anyport_proto::http1::RequestHead;
use anyport_proto::rooms;
use anyport_proto::transfer::offer::FILE_SUBPROTOCOL;
use anyport_proto::transfer::receipt::Engine;
use anyport_proto::ws::handshake::{Acceptance, OriginPolicy, Policy, accept};
use http::StatusCode;

use super::Http1;
use super::answer::dated;
use crate::route::{Route, RouteError, route};
use crate::session::ws::Ws;
use crate::session::{Next, Session};

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
    /// Answers an opening handshake. A refusal ends the connection.
    pub(super) fn upgrade(
        &mut self,
        head: &RequestHead,
        rest: &mut [u8],
        at: Instant,
        replies: &mut Vec<u8>,
    ) -> Next {
        let finish = Next::Flow(Flow::Finish);
        if !self.context.listener.allowed.ws {
            self.refuse(StatusCode::FORBIDDEN, "WebSocket is not taken here (--only)", replies);
            return finish;
        }
        let route = match route(head.path(), head.query()) {
            Ok(route) => route,
            Err(error) => {
                let status = match &error {
                    RouteError::NotFound(_) => StatusCode::NOT_FOUND,
                    RouteError::BadName { .. } | RouteError::BadRoom(_) => StatusCode::BAD_REQUEST,
                };
                self.refuse(status, &error.to_string(), replies);
                return finish;
            }
        };
        let config = &self.context.config;
        let subprotocols: &[&str] = match route {
            Route::Upload { .. } => &[FILE_SUBPROTOCOL],
            Route::Room(_) => &[rooms::SUBPROTOCOL],
            Route::Echo => &[],
        };
        // The library engine knows no compression.
        let deflate = config.deflate && config.engine == Engine::Own;
        let origin = OriginPolicy::SameHostOr(&config.allowed_origins);
        let Acceptance { response, subprotocol, deflate } =
            match accept(head, &Policy { subprotocols, origin, deflate }) {
                Ok(acceptance) => acceptance,
                Err(refusal) => {
                    self.refused(refusal.to_string());
                    dated(&refusal.response(), replies);
                    return finish;
                }
            };
        // A room writes to its members by itself, and knows the frames of the own engine.
        if config.engine == Engine::Library && !matches!(route, Route::Room(_)) {
            let (head, rest) = (head.raw().to_vec(), rest.to_vec());
            self.upgrade = Some(Upgrade { head, rest, route, subprotocol });
            return finish;
        }
        replies.extend_from_slice(&response);
        let mut ws =
            Ws::handshaken(self.context.clone(), route, subprotocol.is_some(), deflate.as_ref());
        let flow =
            if rest.is_empty() { Flow::Continue } else { ws.step(Input::Bytes(rest, at), replies) };
        Next::Become(Session::Ws(Box::new(ws)), flow)
    }
}
