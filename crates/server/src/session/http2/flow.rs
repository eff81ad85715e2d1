//! The flow of one response to its client: a progress clock, and a limit on data that is read
//! ahead.
//!
//! ```text
//!   file, pipe, room ──► Outflow ──► Piece ──► hyper, h2 ──► socket ──► kernel ──► client
//!                           │           │                                 │
//!                      └── Flow ◄──┴── bytes accepted by the socket  └── Watch: delivered bytes
//! ```
//!
//! h2 hands the bytes of a [`Piece`] to the socket when the client's windows and the other streams
//! allow it, and does not report when; so the piece itself does. The body ends only when its last
//! byte is with the socket: until then the stream has a task, and dropping that task resets the
//! stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use anyport_proto::peer::Peer;
use bytes::{Buf, Bytes};
use futures_util::Stream;
use futures_util::task::AtomicWaker;
use hyper::body::Frame;

use super::progress::Progress;
use super::watch::{Open, Watch};
use crate::budget::{Budget, Share};

tokio::task_local! {
    /// The flow of the stream that a task serves. Task-local, because hyper passes no argument
    /// from its executor, which starts the task, to the service that runs in it.
    pub(super) static FLOW: Arc<Flow>;
}

/// The state that a stream, its response and the pieces of the response share.
#[derive(Debug)]
pub(super) struct Flow {
    watch: Arc<Watch>,
    peer: Peer,
    progress: Arc<Progress>,
    next: AtomicUsize,
    room: AtomicWaker,
    /// Budget of the connection in addition to [`SMALL_PIECE`] for each stream, and of all
    /// connections.
    ahead: Arc<Budget>,
    buffered: Arc<Budget>,
}

impl Flow {
    pub(super) fn new(
        watch: Arc<Watch>,
        peer: Peer,
        ahead: Arc<Budget>,
        buffered: Arc<Budget>,
    ) -> Self {
        let progress = Arc::new(Progress::new(watch.now()));
        let (next, room) = (AtomicUsize::new(PIECE), AtomicWaker::new());
        Self { watch, peer, progress, next, room, ahead, buffered }
    }

    /// Bytes that the next piece may have.
    pub(super) fn next_piece(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    /// Returns the progress of the response.
    pub(super) const fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Waits until the socket has accepted all pieces. Only for the content of an [`Outflow`],
    /// whose task a release wakes.
    ///
    /// Cancel safe: yes.
    pub(super) async fn drained(&self) {
        let is_drained = || self.progress.held.load(Ordering::Acquire) == 0;
        poll_fn(|_| if is_drained() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn moved(&self) {
        self.progress.moved.store(self.watch.now(), Ordering::Relaxed);
        self.watch.moved();
    }

    /// The socket accepted `count` bytes, or they were dropped with their stream.
    fn released(&self, count: usize) {
        self.progress.held.fetch_sub(count, Ordering::AcqRel);
        self.room.wake();
    }

    /// Memory for a piece beyond the first one.
    fn more(&self) -> Option<Shares> {
        let (mut ahead, mut buffered) =
            (self.ahead.share(self.peer), self.buffered.share(self.peer));
        let grown = ahead.grow(PIECE) && buffered.grow_if_plenty(PIECE);
        grown.then_some(Shares { _ahead: ahead, _buffered: buffered })
    }
}

#[derive(Debug)]
struct Shares {
    _ahead: Share,
    _buffered: Share,
}

/// Some bytes of a response, which report how far they are.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    flow: Arc<Flow>,
    /// Kept until the last byte is with the socket, also for a stream whose content is one piece.
    _shares: Option<Shares>,
    _open: Option<Open>,
}

impl Piece {
    fn new(bytes: Bytes, flow: Arc<Flow>, shares: Option<Shares>, open: Option<Open>) -> Self {
        flow.progress.held.fetch_add(bytes.len(), Ordering::AcqRel);
        flow.moved();
        Self { bytes, flow, _shares: shares, _open: open }
    }

    /// A content that is so short that h2 may keep it after its stream has no task any more.
    pub(super) fn only(bytes: Bytes, flow: Arc<Flow>, open: Open) -> Self {
        Self::new(bytes, flow, None, Some(open))
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.flow.moved();
        self.flow.released(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.flow.released(self.bytes.len());
    }
}

/// The pieces of a response, read no further ahead of its client than memory allows.
pub(super) struct Outflow<S> {
    flow: Arc<Flow>,
    /// `None` at the end.
    content: Option<Pin<Box<S>>>,
    /// Memory for the next piece.
    shares: Option<Shares>,
    _open: Open,
}

impl<S> Outflow<S> {
    pub(super) fn new(flow: Arc<Flow>, content: S, open: Open) -> Self {
        Self { flow, content: Some(Box::pin(content)), shares: None, _open: open }
    }
}

impl<S: Stream<Item = io::Result<Bytes>>> Stream for Outflow<S> {
    type Item = io::Result<Frame<Piece>>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Piece>>>> {
        let this = &mut *self;
        let flow = &this.flow;
        // Before the check: a byte that is released after it wakes this task.
        flow.room.register(context.waker());
        loop {
            let held = flow.progress.held.load(Ordering::Acquire);
            let Some(content) = &mut this.content else {
                flow.progress.waits.store(held > 0, Ordering::Release);
                return if held == 0 { Poll::Ready(None) } else { Poll::Pending };
            };
            if this.shares.is_none() {
                this.shares = flow.more();
            }
            if this.shares.is_none() && held > 0 {
                flow.progress.waits.store(true, Ordering::Release);
                return Poll::Pending;
            }
            flow.progress.waits.store(false, Ordering::Release);
            let next = if this.shares.is_some() { PIECE } else { SMALL_PIECE };
            flow.next.store(next, Ordering::Relaxed);
            match content.as_mut().poll_next(context) {
                Poll::Pending => {
                    // A room may be idle for long.
                    if held == 0 {
                        this.shares = None;
                    }
                    return Poll::Pending;
                }
                Poll::Ready(None) => {
                    this.content = None;
                    this.shares = None;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(bytes))) if bytes.is_empty() => {}
                Poll::Ready(Some(Ok(bytes))) => {
                    let piece = Piece::new(bytes, flow.clone(), this.shares.take(), None);
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
            }
        }
    }
}

/// Size of one read of a file if memory permits.
pub(super) const PIECE: usize = 64 * 1024;

/// Memory that every stream has.
pub(super) const SMALL_PIECE: usize = 16 * 1024;

/// The longest content that leaves its stream without a task, and so without a clock: 128 of them
/// are half a mebibyte.
pub(super) const SHORT: usize = 4 * 1024;

/// Maximum response data of one connection that is read ahead of its client, in addition to
/// [`SMALL_PIECE`] each.
pub(super) const AHEAD: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::link::Link;

    /// `HOUR` in milliseconds.
    const LIMIT: u64 = 3_600_000;
    const HOUR: Duration = Duration::from_secs(3600);

    /// The time counts from when nothing but the client could make progress.
    #[test]
    fn a_response_without_progress_is_cancelled_after_the_idle_timeout() {
        let watch = Arc::new(Watch::new(HOUR, HOUR, Link::new()));
        // The connection itself is not idle.
        let _patient = watch.patient();
        let budget = Arc::new(Budget::new(1));
        let peer = Peer::from(SocketAddr::from(([127, 0, 0, 1], 1)));
        let flow = Arc::new(Flow::new(watch.clone(), peer, budget.clone(), budget));
        let _tracking = watch.track(flow.progress().clone());
        let is_cancelled = |at| {
            watch.check(at).unwrap();
            flow.progress().cancelled().now_or_never().is_some()
        };
        assert!(!is_cancelled(2 * LIMIT), "the response waits for the server");
        flow.progress.waits.store(true, Ordering::Release);
        assert!(!is_cancelled(3 * LIMIT - 1));
        assert!(is_cancelled(3 * LIMIT));
        flow.progress.moved.store(3 * LIMIT, Ordering::Relaxed);
        assert!(!is_cancelled(4 * LIMIT - 1), "the client accepted something");
        assert!(is_cancelled(4 * LIMIT));
    }
}
