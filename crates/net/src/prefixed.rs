//! Bytes that were already read, then the socket: for libraries that want to read a stream from its
//! start.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose first bytes come from memory, piece by piece: no read returns bytes of two
/// pieces, so a reader that stops at the end of a head gets nothing beyond it.
///
/// Memory is released as it is read.
#[derive(Debug)]
pub struct Prefixed<S> {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that have been read.
    read: usize,
    inner: S,
}

impl<S> Prefixed<S> {
    /// Returns a stream of `pieces`, in order, followed by `inner`.
    pub fn new(pieces: impl IntoIterator<Item = Vec<u8>>, inner: S) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self { pieces, read: 0, inner }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(piece) = this.pieces.front() else {
            return Pin::new(&mut this.inner).poll_read(context, buffer);
        };
        let left = &piece[this.read..];
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        this.read += count;
        if this.read == piece.len() {
            this.pieces.pop_front();
            this.read = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn dt_4_pieces_come_first_one_by_one_and_once() {
        let pieces = [b"head".to_vec(), Vec::new(), b"frames".to_vec()];
        let mut stream = Prefixed::new(pieces, &b" and the rest"[..]);
        let mut buffer = [0; 100];
        assert_eq!(stream.read(&mut buffer[..2]).await.unwrap(), 2);
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 2);
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 6);
        assert_eq!(&buffer[..6], b"frames");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, " and the rest");
    }
}
