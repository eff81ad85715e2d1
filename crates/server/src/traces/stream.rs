//! A stream that another owner reads and writes, such as a library, with the trace of its bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Traced;

/// A plaintext stream whose bytes are traced, if its connection is.
pub(crate) struct Tapped<Io> {
    io: Io,
    traced: Option<Traced>,
}

impl<Io> Tapped<Io> {
    pub(crate) const fn new(io: Io, traced: Option<Traced>) -> Self {
        Self { io, traced }
    }

    /// Reports the error of an attempt to write.
    fn reported<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let (Some(traced), Poll::Ready(Err(error))) = (&self.traced, &polled) {
            traced.failed(error);
        }
        polled
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Tapped<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, is_room) = (buffer.filled().len(), buffer.remaining() > 0);
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        let Some(traced) = &self.traced else { return polled };
        match &polled {
            Poll::Ready(Ok(())) => match &buffer.filled()[before..] {
                [] if is_room => traced.end_of_stream(),
                [] => {}
                bytes => traced.received(Instant::now(), bytes),
            },
            Poll::Ready(Err(error)) => traced.failed(error),
            Poll::Pending => {}
        }
        polled
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Tapped<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(context, bytes);
        if let (Some(traced), Poll::Ready(Ok(count))) = (&self.traced, &polled) {
            traced.sent(&bytes[..*count]);
        }
        self.reported(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        if let (Some(traced), Poll::Ready(Ok(count))) = (&self.traced, &polled) {
            traced.sent_slices(slices, *count);
        }
        self.reported(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(context);
        self.reported(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(context);
        if let (Some(traced), Poll::Ready(Ok(()))) = (&self.traced, &polled) {
            traced.finished();
        }
        self.reported(polled)
    }
}
