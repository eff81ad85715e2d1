//! One request, and its answer.

use std::sync::Arc;

use anyport_net::blocking;
use anyport_proto::http1::{Framing, RequestHead};
use anyport_proto::transfer::receipt::Protocol;
use http::header::HeaderValue;
use http::{Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};

use super::Connection;
use super::body::{self, Body};
use super::serving::Serving;
use super::watch::Open;
use crate::events::Timed;
use crate::session::http::{self as routes, Answer, Asked, Head, Opened, to_https};

/// Serves a request. Dropped before it is ready, its client has cancelled it.
pub(super) async fn answer(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Response<Body> {
    let mut open = connection.watch.open();
    let context = &connection.context;
    let (parts, incoming) = request.into_parts();
    let head =
        RequestHead::from_http2(parts.method, &parts.uri, parts.headers, &context.config.limits);
    let config = &connection.context.config;
    let mut head = match head {
        Ok(mut head) => {
            config.base_path.strip(&mut head);
            head
        }
        Err(error) => {
            return refuse(&connection, open, incoming, error.status(), &error.to_string());
        }
    };
    context.record.request();
    let timed = Timed::begin(&context.events.counters, Protocol::Http2);
    let forwarded;
    let context = match routes::client(context, &mut head) {
        Ok(None) => context,
        Ok(Some(client)) => {
            open.admitted.clone_from(&client.admitted);
            let mut context = context.clone();
            client.apply(&mut context);
            forwarded = context;
            &forwarded
        }
        Err(answer) => {
            connection.discard(incoming);
            open.is_timed(timed);
            let asked = Asked::of(&head, config, connection.stop.is_draining());
            return whole(answer, &asked, open);
        }
    };
    if let Some(answer) = to_https(context, &head) {
        connection.discard(incoming);
        open.is_timed(timed);
        return whole(answer, &Asked::of(&head, config, connection.stop.is_draining()), open);
    }
    let framing = match Framing::of_http2(&head, incoming.is_end_stream()) {
        Ok(framing) => framing,
        Err(error) => {
            return refuse(&connection, open, incoming, error.status(), &error.to_string());
        }
    };
    open.is_timed(timed);
    let asked = Asked::of(&head, config, connection.stop.is_draining());
    if let Err(refusal) = connection.admit(context, &mut open, &head) {
        connection.discard(incoming);
        let answer = routes::refuse(context, &asked, StatusCode::SERVICE_UNAVAILABLE, refusal);
        return whole(answer, &asked, open);
    }
    // It may open or create a file.
    let opened = blocking::run(|| routes::open(context, &head, framing, &asked)).await;
    let (handler, is_endless) = match opened {
        Opened::Answer(answer) => {
            connection.discard(incoming);
            return whole(answer, &asked, open);
        }
        Opened::Handler(handler) => (handler, false),
        Opened::Events(events) => match routes::subscribe(&events.0, &events.1, &asked) {
            Ok(handler) => (handler, true),
            Err(answer) => return whole(answer, &asked, open),
        },
    };
    match Serving::new(connection.clone(), handler, incoming).response(&mut open).await {
        Ok((head, serving)) => begun(head, &asked, open, |mut open| {
            if is_endless {
                open.is_timed_until_here();
            }
            body::flowing(serving.pieces(), open)
        }),
        Err(answer) => whole(answer, &asked, open),
    }
}

/// Returns a response whose content follows.
fn begun(
    head: Head,
    asked: &Asked,
    mut open: Open,
    body: impl FnOnce(Open) -> Body,
) -> Response<Body> {
    open.answered(head.status);
    let mut response = Response::new(body(open));
    set_head(&mut response, head, asked);
    response
}

fn whole(answer: Answer, asked: &Asked, mut open: Open) -> Response<Body> {
    let answer = answer.for_client(asked);
    open.answered(answer.head.status);
    let content = if asked.without_content { bytes::Bytes::new() } else { answer.content };
    let mut response = Response::new(body::whole(content, open));
    set_head(&mut response, answer.head, asked);
    response
}

fn set_head(response: &mut Response<Body>, head: Head, asked: &Asked) {
    *response.status_mut() = head.status;
    for (name, value) in head.fields(asked) {
        // Values from a peer were sanitized before.
        if let Ok(value) = HeaderValue::from_maybe_shared(value) {
            response.headers_mut().append(name, value);
        }
    }
}

/// Refuses input that is no request.
fn refuse(
    connection: &Connection,
    open: Open,
    incoming: Incoming,
    status: StatusCode,
    reason: &str,
) -> Response<Body> {
    let context = &connection.context;
    connection.discard(incoming);
    context.refused(Protocol::Http2.as_str(), reason);
    let answer = Answer::text(status, format!("{reason}\n"));
    whole(answer, &Asked::unread(Protocol::Http2), open)
}
