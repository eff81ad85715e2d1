//! The upgrade to WebSocket, on any request of a connection; bytes behind the head are the first
//! frames.

use anyport_proto::access::PLAIN_SUBPROTOCOL;
use anyport_proto::http1::RequestHead;
use anyport_proto::rooms::{self, TargetError};
use anyport_proto::transfer::messages::FILE_SUBPROTOCOL;
use anyport_proto::transfer::receipt::Engine;
use anyport_proto::ws::handshake::{Acceptance, OriginPolicy, Policy, Refusal, accept};
use anyport_trace::SYN_FIELD;
use http::StatusCode;

use super::Http1;
use super::write::{Exchange, dated};
use crate::events::Why;
use crate::session::http::{Admission, LIVE, asks_for_syn, check_access, refuse, service};
#[cfg(feature = "library-engine")]
use crate::session::library::Upgrade;
use crate::session::live::Opening;
use crate::session::refusing::not_accepted;
use crate::session::route::{Route, RouteError};
use crate::session::ws::Ws;
use crate::session::{AnySession, Detached, Next, Successor};

/// Returns whether a client offered one of the subprotocols of this program.
fn is_announced(subprotocol: Option<&str>) -> bool {
    subprotocol.is_some_and(|agreed| agreed != PLAIN_SUBPROTOCOL)
}

/// Adds a field to a head.
fn with_field(mut head: Vec<u8>, name: &str, value: &str) -> Vec<u8> {
    head.truncate(head.len() - 2);
    head.extend_from_slice(format!("{name}: {value}\r\n\r\n").as_bytes());
    head
}

impl Http1 {
    /// Answers an opening handshake. A refusal ends the connection.
    pub(super) fn upgrade(
        &mut self,
        head: &RequestHead,
        rest: &[u8],
        replies: &mut Vec<u8>,
    ) -> Next {
        if !self.context.listener.allowed.ws {
            let reason = not_accepted(self.context.listener.allowed);
            self.refuse(StatusCode::FORBIDDEN, &reason, replies);
            return Next::Finish;
        }
        let mut exchange = Exchange::unread();
        match check_access(&self.context, head, Admission::WEB_SOCKET, &exchange.asked) {
            Ok(grant) => self.context.grant = grant,
            Err(answer) => {
                exchange.answer(answer, replies);
                return Next::Finish;
            }
        }
        let route = match service(head.path(), head.query()) {
            _ if head.path() == LIVE => None,
            Ok(route) => Some(route),
            Err(error) => {
                let status = match &error {
                    RouteError::NotFound(_) | RouteError::BadRoom(TargetError::NoRoom) => {
                        StatusCode::NOT_FOUND
                    }
                    RouteError::BadName { .. } | RouteError::BadRoom(_) => StatusCode::BAD_REQUEST,
                };
                self.refuse(status, &error.to_string(), replies);
                return Next::Finish;
            }
        };
        if let Some(Route::Room(_)) = route
            && let Err(refusal) = self.context.participant()
        {
            let answer = refuse(&self.context, &exchange.asked, StatusCode::FORBIDDEN, refusal);
            exchange.answer(answer, replies);
            return Next::Finish;
        }
        let config = &self.context.config;
        let subprotocols: &[&str] = match route {
            Some(Route::Files { .. }) => &[FILE_SUBPROTOCOL, PLAIN_SUBPROTOCOL],
            Some(Route::Room(_)) => &[rooms::SUBPROTOCOL, PLAIN_SUBPROTOCOL],
            Some(Route::Echo) | None => &[PLAIN_SUBPROTOCOL],
        };
        // The library engine knows no compression, and members of a room share their frames.
        let deflate = config.deflate && config.engine == Engine::Own && route.is_some();
        let origin = OriginPolicy::SameHostOr(&config.allowed_origins);
        let Acceptance { response, subprotocol, deflate } =
            match accept(head, &Policy { subprotocols, origin, deflate }) {
                Ok(acceptance) => acceptance,
                Err(refusal) => {
                    let why = match &refusal {
                        Refusal::CrossOrigin { .. } => Why::Origin,
                        _ => Why::Request,
                    };
                    let reason = refusal.to_string();
                    self.context.refused_as(why, "http", reason);
                    dated(&refusal.response(), replies);
                    return Next::Finish;
                }
            };
        let response = match asks_for_syn(head) {
            true => with_field(response, SYN_FIELD, &self.context.reported_syn().to_string()),
            false => response,
        };
        let Some(route) = route else {
            return match Opening::new(&self.context, head, rest) {
                Ok(opening) => {
                    self.context.record.speaks("ws");
                    replies.extend_from_slice(&response);
                    Next::Become(Successor::Detached(Detached::Live(Box::new(opening))))
                }
                Err(refusal) => {
                    let status = StatusCode::SERVICE_UNAVAILABLE;
                    let answer = refuse(&self.context, &exchange.asked, status, refusal);
                    exchange.answer(answer, replies);
                    Next::Finish
                }
            };
        };
        self.context.record.speaks("ws");
        let announced = is_announced(subprotocol.as_deref());
        // A room sends frames of the built-in implementation to its members.
        #[cfg(feature = "library-engine")]
        if config.engine == Engine::Library && !matches!(route, Route::Room(_)) {
            let (head, rest) = (head.raw().to_vec(), rest.to_vec());
            let context = self.context.clone();
            let upgrade = Upgrade { context, head, rest, route, subprotocol, announced };
            return Next::Become(Successor::Detached(Detached::Library(Box::new(upgrade))));
        }
        replies.extend_from_slice(&response);
        let ws = Ws::handshaken(self.context.clone(), route, announced, deflate.as_ref());
        Successor::session(AnySession::of(ws), rest.to_vec())
    }
}
