//! A live connection (docs/live.md): listings, changes and running uploads of one directory, and
//! one room, over one WebSocket.
//!
//! ```text
//!   Socket ──request──► Page ──┬─ Directory: a listing, then its changes and uploads
//!     ▲                        └─ Listener: a member of a room
//!     └── queue ◄── produce ◄──┘    only while the queue is empty
//! ```
//!
//! It owns its stream, because it waits for several things. Each source keeps a bounded state until
//! the client has accepted all earlier output: a flag for changes, the last progress of uploads,
//! the queue of a room (`--room-queue`), and the names of a listing.

mod directory;
mod page;
mod socket;

use std::time::{Duration, Instant};

use anyport_net::linger;
use anyport_proto::http1::RequestHead;
use anyport_proto::setting::MAX_CONNS;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::CloseCode;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::page::Page;
use self::socket::{Input, Socket};
use super::Context;
use crate::budget::Share;
use crate::shutdown::Stop;
use crate::tls::SharedWire;

/// A live connection after its opening handshake.
pub(crate) struct Opening {
    /// That of the request: it has its own client and rights.
    context: Context,
    /// The request, by which rights are checked again.
    head: RequestHead,
    /// Its permit among those of all live connections.
    permit: Share,
    /// Input that followed the request in the same read.
    rest: Vec<u8>,
}

impl Opening {
    /// Opens a live connection.
    ///
    /// # Errors
    /// There are too many, or too many of this address.
    pub(super) fn new(context: &Context, head: &RequestHead, rest: &[u8]) -> Result<Self, Refusal> {
        let mut permit = context.live.share(context.peer);
        if !permit.grow(1) {
            let limit = permit.limit();
            let message = format!(
                "all {limit} live connections, or the share of your address, are in use \
                 ({MAX_CONNS})"
            );
            return Err(Refusal::new(RefusalCode::Busy, message).with_hint("try again later"));
        }
        Ok(Self { context: context.clone(), head: head.clone(), permit, rest: rest.to_vec() })
    }
}

/// Returns how many of a server's connections may be live ones: a page keeps one open for as long
/// as it is shown, so transfers must have the others.
pub(crate) const fn most(max_connections: usize) -> u64 {
    (max_connections as u64).div_ceil(2)
}

/// Serves a live connection until it is closed.
///
/// Cancel safe: yes; nothing is stored.
pub(crate) async fn serve(wire: SharedWire, opening: Opening, stop: &Stop) {
    let Opening { context, head, permit: _permit, rest } = opening;
    let mut socket = Socket::new(wire, context.clone(), rest);
    let mut page = Page::new(context, head);
    tokio::select! {
        biased;
        () = stop.aborted.cancelled() => return,
        () = run(&mut socket, &mut page, &stop.draining) => {}
    }
    // Its nickname in a room is free before the close.
    drop(page);
    let _ = timeout(GOODBYE, socket.flush()).await;
    linger::close(&mut socket.into_wire()).await;
}

/// Handles requests and sends what they ask for; returns when a Close is queued or the client is
/// gone.
async fn run(socket: &mut Socket, page: &mut Page, draining: &CancellationToken) {
    loop {
        let now = Instant::now();
        while socket.has_input() && page.may_request(now) {
            match socket.next() {
                Some(Input::Message(message)) => page.request(&message, now, socket),
                Some(Input::End) => return,
                None => {}
            }
        }
        if !socket.check(now) || !page.check(now, socket).await {
            return;
        }
        let is_written = socket.is_written();
        if is_written && !page.produce(now, socket).await {
            return;
        }
        // A source that has produced waits for the client.
        let is_waiting = socket.is_written();
        let wake = socket.wake().min(page.wake(now, socket.has_input(), is_waiting));
        tokio::select! {
            biased;
            () = draining.cancelled() => {
                return socket.close(CloseCode::GOING_AWAY, "the server is stopping");
            }
            moved = socket.moved() => if moved.is_err() { return },
            () = page.changed(), if is_waiting => {}
            () = sleep_until(wake.into()) => {}
        }
    }
}

/// Time for the final output.
const GOODBYE: Duration = Duration::from_secs(1);
