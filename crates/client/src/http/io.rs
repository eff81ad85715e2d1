//! The socket as hyper sees it: what broke it is kept, and a write that fails waits for the
//! server's last word.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use anyport_tls::TlsError;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::AsyncStream;

/// The error that ended a connection, for all its requests. hyper's own errors contain less.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broken(Arc<Mutex<Option<(io::ErrorKind, Fault)>>>);

#[derive(Debug, Clone)]
enum Fault {
    Tls(TlsError),
    Command(String),
}

impl Broken {
    /// The first error of the socket, if there was one.
    pub(crate) fn error(&self) -> Option<io::Error> {
        let kept = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (kind, fault) = kept.clone()?;
        Some(match fault {
            Fault::Tls(error) => error.into(),
            Fault::Command(text) => io::Error::new(kind, text),
        })
    }

    fn keep(&self, error: &io::Error) {
        let mut kept = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let tls = error.get_ref().and_then(|error| error.downcast_ref::<TlsError>());
        let fault =
            tls.map_or_else(|| Fault::Command(error.to_string()), |e| Fault::Tls(e.clone()));
        kept.get_or_insert((error.kind(), fault));
    }
}

/// A stream that keeps what broke it.
pub(crate) struct Io {
    stream: AsyncStream,
    broken: Broken,
    /// Whether the server no longer reads. It may have sent the reason, which is worth more than
    /// the local error.
    deaf: bool,
    /// Nothing more is to be read.
    ended: bool,
    /// Woken when all input has been handled.
    handled: Arc<AtomicWaker>,
    /// Input was read, and may not have been handled yet.
    has_read: bool,
    /// It is read while a write waits: by hyper over HTTP/1, but not by h2, which reads nothing
    /// until its write is done.
    reads_beside: bool,
}

impl Io {
    pub(crate) const fn new(
        stream: AsyncStream,
        broken: Broken,
        handled: Arc<AtomicWaker>,
        reads_beside: bool,
    ) -> Self {
        let (deaf, ended, has_read) = (false, false, false);
        Self { stream, broken, deaf, ended, handled, has_read, reads_beside }
    }

    /// After a write that failed: pending while there may be something to read.
    fn refuse<T>(&self) -> Poll<io::Result<T>> {
        if self.ended { Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) } else { Poll::Pending }
    }

    /// Turns a failed write into a pending one: hyper gives up a connection at the first failed
    /// write, and reads before each; so it reads once more, and finds the response or the same
    /// error.
    fn written<T>(
        &mut self,
        context: &Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match done {
            Poll::Ready(Err(error)) if !self.ended => {
                self.broken.keep(&error);
                if !self.reads_beside {
                    return Poll::Ready(Err(error));
                }
                self.deaf = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            done => done,
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        match &read {
            Poll::Ready(Err(error)) => {
                self.broken.keep(error);
                self.ended = true;
            }
            Poll::Ready(Ok(())) if buffer.filled().len() == before => self.ended = true,
            Poll::Ready(Ok(())) => self.has_read = true,
            // hyper reads again only after it has handled the earlier input.
            Poll::Pending if std::mem::take(&mut self.has_read) => self.handled.wake(),
            Poll::Pending => {}
        }
        read
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return self.refuse();
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return self.refuse();
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, written)
    }

    /// Else hyper copies all content behind its heads.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return self.refuse();
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
