//! A TLS connection as a stream of the runtime, for detection and for libraries.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::TRUNCATED;
use crate::machine::{Machine, Side};

/// A stream under TLS.
///
/// It ends with close_notify; without one, reading fails with `UnexpectedEof`. Shutting it down
/// sends close_notify and then shuts down the stream below.
#[derive(Debug)]
pub struct Stream<Io, S> {
    io: Io,
    machine: Machine<S>,
    /// Decrypted bytes, of which those from `read` on were not read yet.
    plain: Vec<u8>,
    read: usize,
    /// Ciphertext, of which the bytes from `written` on were not written yet.
    out: Vec<u8>,
    written: usize,
    /// Buffer for ciphertext that is read; empty while a read is pending.
    wire: Vec<u8>,
}

/// The parts of a stream.
#[derive(Debug)]
pub struct Parts<Io, S> {
    /// The stream below TLS.
    pub io: Io,
    /// The connection.
    pub machine: Machine<S>,
    /// Decrypted bytes that were not read yet.
    pub plain: Vec<u8>,
}

/// Performs the handshake over `io`; `first` is input that was read before.
///
/// Sends the alert of a failed handshake. Returns the plaintext that followed the handshake in the
/// same read.
///
/// Cancel safe: no; the connection must then be closed.
///
/// # Errors
/// As [`Machine::open`], as an error that contains the [`crate::TlsError`]; the stream ends during
/// the handshake.
pub async fn handshake<Io: AsyncRead + AsyncWrite + Unpin, S: Side>(
    io: &mut Io,
    machine: &mut Machine<S>,
    first: &mut [u8],
) -> io::Result<Vec<u8>> {
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let mut opened = machine.open(first, &mut plain, &mut out);
    let mut wire = Vec::new();
    loop {
        if !out.is_empty() {
            io.write_all(&out).await?;
            io.flush().await?;
            out.clear();
        }
        opened?;
        if !machine.is_handshaking() {
            return Ok(plain);
        }
        wire.resize(HANDSHAKE_READ, 0);
        let count = io.read(&mut wire).await?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, INCOMPLETE));
        }
        opened = machine.open(&mut wire[..count], &mut plain, &mut out);
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin, S: Side> Stream<Io, S> {
    /// Returns the stream of an established connection.
    pub fn new(parts: Parts<Io, S>) -> Self {
        let Parts { io, machine, plain } = parts;
        let (out, wire) = (Vec::new(), Vec::new());
        Self { io, machine, plain, read: 0, out, written: 0, wire }
    }

    /// Returns the state of TLS.
    pub const fn machine(&self) -> &Machine<S> {
        &self.machine
    }

    /// Returns the stream below TLS.
    pub const fn io(&self) -> &Io {
        &self.io
    }

    /// Returns its parts.
    ///
    /// Unwritten output is lost, so flush before.
    pub fn into_parts(mut self) -> Parts<Io, S> {
        self.plain.drain(..self.read);
        Parts { io: self.io, machine: self.machine, plain: self.plain }
    }

    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let polled = Pin::new(&mut self.io).poll_write(context, &self.out[self.written..]);
            match ready!(polled)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin, S: Side + Unpin> AsyncRead for Stream<Io, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let unread = &this.plain[this.read..];
            if !unread.is_empty() {
                let count = unread.len().min(buffer.remaining());
                buffer.put_slice(&unread[..count]);
                this.read += count;
                if this.read == this.plain.len() {
                    this.plain.clear();
                    this.read = 0;
                }
                return Poll::Ready(Ok(()));
            }
            if this.machine.is_ended() || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            this.wire.reserve_exact(MAX_IO);
            let mut wire = ReadBuf::uninit(this.wire.spare_capacity_mut());
            match Pin::new(&mut this.io).poll_read(context, &mut wire) {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    // A waiting reader needs no buffer.
                    this.wire = Vec::new();
                    return Poll::Pending;
                }
            }
            let ciphertext = wire.filled_mut();
            if ciphertext.is_empty() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, TRUNCATED)));
            }
            let opened = this.machine.open(ciphertext, &mut this.plain, &mut this.out);
            // Pending alerts and keys are sent now if possible, else before the next output, which
            // then reports the error: a peer that no longer reads may have sent data before.
            let _ = this.poll_out(context);
            opened?;
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin, S: Side + Unpin> AsyncWrite for Stream<Io, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // Output that the stream below does not accept is buffered once.
        ready!(this.poll_out(context))?;
        let count = bytes.len().min(MAX_IO);
        this.machine.seal(&bytes[..count], &mut this.out)?;
        match this.poll_out(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // Buffered; sent by the next flush.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
        }
    }

    /// Encrypts each slice by itself, and writes them together.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_out(context))?;
        let mut accepted = 0;
        for slice in slices {
            let count = slice.len().min(MAX_IO - accepted);
            if count > 0 {
                this.machine.seal(&slice[..count], &mut this.out)?;
            }
            accepted += count;
        }
        match this.poll_out(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(accepted)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.machine.close(&mut this.out);
        ready!(this.poll_out(context))?;
        Pin::new(&mut this.io).poll_shutdown(context)
    }
}

/// A stream that may be under TLS.
#[derive(Debug)]
pub enum MaybeTls<Io, S> {
    /// Plaintext.
    Plain(Io),
    /// TLS.
    Tls(Box<Stream<Io, S>>),
}

impl<Io: AsyncRead + AsyncWrite + Unpin, S: Side> MaybeTls<Io, S> {
    /// Returns the state of TLS, if there is TLS.
    pub fn machine(&self) -> Option<&Machine<S>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream.machine()),
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin, S: Side + Unpin> AsyncRead for MaybeTls<Io, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin, S: Side + Unpin> AsyncWrite for MaybeTls<Io, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

const INCOMPLETE: &str = "connection closed during the TLS handshake";

/// Size of one read during the handshake.
const HANDSHAKE_READ: usize = 4 * 1024;

/// Size of one read, and maximum plaintext of one write.
const MAX_IO: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::machine::tests::pair;

    /// A socket whose peer stopped reading, and has sent data before.
    struct FullSocket {
        pending: Vec<u8>,
        /// At first the socket is only full.
        full: bool,
    }

    impl AsyncRead for FullSocket {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buffer.put_slice(&std::mem::take(&mut self.pending));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for FullSocket {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.full {
                Poll::Pending
            } else {
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn pending_data_is_read_after_the_peer_stops_reading() {
        let (client, mut server) = pair();
        let mut pending = Vec::new();
        server.seal(b"the disk is full", &mut pending).unwrap();
        let io = FullSocket { pending, full: true };
        let mut stream = Stream::new(Parts { io, machine: client, plain: Vec::new() });
        let mut context = Context::from_waker(Waker::noop());
        let accepted = Pin::new(&mut stream).poll_write(&mut context, b"content");
        assert!(matches!(accepted, Poll::Ready(Ok(7))), "{accepted:?}");
        stream.io.full = false;
        let mut room = [0; 100];
        let mut buffer = ReadBuf::new(&mut room);
        let read = Pin::new(&mut stream).poll_read(&mut context, &mut buffer);
        assert!(matches!(read, Poll::Ready(Ok(()))), "{read:?}");
        assert_eq!(buffer.filled(), b"the disk is full");
        // The writer gets the error.
        let written = Pin::new(&mut stream).poll_write(&mut context, b"more");
        assert!(matches!(written, Poll::Ready(Err(_))), "{written:?}");
    }
}
