//! The socket under HTTP/2: observes input for unfinished elements, and limits the rate of both
//! directions.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use anyport_net::pace::Pace;
use anyport_proto::http2::Frames;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::watch::Watch;
use crate::events::Tally;

pub(super) struct Watched<Io> {
    inner: Io,
    frames: Frames,
    watch: Arc<Watch>,
    pace: Option<Paced>,
    tally: Tally,
}

struct Paced {
    pace: Pace,
    /// Until when the rate limit delays.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<Io> Watched<Io> {
    pub(super) fn new(inner: Io, watch: Arc<Watch>, pace: Option<Pace>, tally: Tally) -> Self {
        // The preface has begun, or will have to.
        watch.begin();
        let pace = pace.map(|pace| Paced { pace, pause: None });
        Self { inner, frames: Frames::new(), watch, pace, tally }
    }

    /// Notes what became of bytes that are to go out, and how many did.
    fn written(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.watch.is_unwritten(polled.is_pending());
        let count = ready!(polled)?;
        self.watch.wrote();
        self.tally.sent(count as u64);
        Poll::Ready(Ok(count))
    }

    fn look(&mut self, bytes: &[u8]) {
        let before = (self.frames.is_unfinished(), self.frames.finished());
        let grants = self.frames.grants();
        self.frames.push(bytes);
        // A client makes room when it has read something, which may have been in its kernel for
        // long.
        if self.frames.grants() > grants {
            self.watch.moved();
        }
        let after = (self.frames.is_unfinished(), self.frames.finished());
        match after.0 {
            true if before != after => self.watch.begin(),
            false if before.0 => self.watch.whole(),
            true | false => {}
        }
    }
}

impl Paced {
    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            let left = self.pace.pause();
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.pause = Some(Box::pin(sleep(left)));
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let from = buffer.filled().len();
        let inner = Pin::new(&mut this.inner);
        if let Some(paced) = &mut this.pace {
            ready!(paced.poll_pause(context));
            let most = buffer.remaining().min(paced.pace.most());
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
            ready!(inner.poll_read(context, &mut part))?;
            let count = part.filled().len();
            buffer.advance(count);
            paced.pace.moved(count as u64);
        } else {
            ready!(inner.poll_read(context, buffer))?;
        }
        let came = &buffer.filled()[from..];
        this.tally.received(came.len() as u64);
        this.look(came);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> Watched<Io> {
    fn poll_paced(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let inner = Pin::new(&mut self.inner);
        let Some(paced) = &mut self.pace else { return inner.poll_write(context, bytes) };
        ready!(paced.poll_pause(context));
        let most = bytes.len().min(paced.pace.most());
        let count = ready!(inner.poll_write(context, &bytes[..most]))?;
        paced.pace.moved(count as u64);
        Poll::Ready(Ok(count))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = this.poll_paced(context, bytes);
        this.written(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.pace.is_none() {
            let this = self.get_mut();
            let inner = Pin::new(&mut this.inner);
            let polled = inner.poll_write_vectored(context, pieces);
            return this.written(polled);
        }
        let first = pieces.iter().find(|piece| !piece.is_empty());
        self.poll_write(context, first.map_or(&[], |piece| piece))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Under TLS, accepted output may be buffered here.
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_flush(context);
        this.watch.is_unwritten(polled.is_pending());
        if polled.is_ready() {
            this.watch.flushed();
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}
