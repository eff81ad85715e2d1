//! A connection for tasks of a runtime, under TLS if the target requires it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use anyport_tls::{ClientMachine, ClientSide, MaybeTls, Parts, Stream};
use anyport_trace::Side;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::trace::{TlsTime, Traced};

/// A stream for tasks of a runtime.
pub(crate) struct AsyncStream {
    stream: MaybeTls<Wire, ClientSide>,
    traced: Option<Traced>,
    time: Option<TlsTime>,
}

/// TLS after its handshake.
pub(crate) struct Established {
    pub(crate) machine: ClientMachine,
    /// Decrypted input that was not read yet.
    pub(crate) plain: Vec<u8>,
    pub(crate) time: TlsTime,
}

impl AsyncStream {
    /// Returns whether the connection is traced.
    pub(crate) const fn is_traced(&self) -> bool {
        self.traced.is_some()
    }

    pub(crate) fn new(
        io: tokio::net::TcpStream,
        traced: Option<Traced>,
        tls: Option<Established>,
    ) -> Self {
        let Some(Established { machine, plain, time }) = tls else {
            let stream = MaybeTls::Plain(Wire { io, tls: None });
            return Self { stream, traced, time: None };
        };
        let io = Wire { io, tls: Some((time.clone(), traced.clone())) };
        let stream = MaybeTls::Tls(Box::new(Stream::new(Parts { io, machine, plain })));
        Self { stream, traced, time: Some(time) }
    }

    /// Returns the state of TLS, if there is TLS.
    pub(crate) fn machine(&self) -> Option<&ClientMachine> {
        self.stream.machine()
    }

    fn poll<T>(&mut self, poll: impl FnOnce(Pin<&mut MaybeTls<Wire, ClientSide>>) -> T) -> T {
        let stream = Pin::new(&mut self.stream);
        match &self.time {
            Some(time) => time.measure(|| poll(stream)),
            None => poll(stream),
        }
    }
}

impl AsyncRead for AsyncStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let is_room = buffer.remaining() > 0;
        let polled = self.poll(|stream| stream.poll_read(context, buffer));
        if let (Some(traced), Poll::Ready(read)) = (&self.traced, &polled)
            && is_room
        {
            traced.read(read.as_ref().map(|()| &buffer.filled()[before..]));
        }
        polled
    }
}

impl AsyncWrite for AsyncStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.poll(|stream| stream.poll_write(context, bytes));
        if let (Some(traced), Poll::Ready(Ok(count))) = (&self.traced, &polled) {
            traced.sent(&bytes[..*count]);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.poll(|stream| stream.poll_write_vectored(context, slices));
        if let (Some(traced), Poll::Ready(Ok(count))) = (&self.traced, &polled) {
            traced.sent_slices(slices, *count);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.poll(|stream| stream.poll_shutdown(context));
        if let (Some(traced), Poll::Ready(Ok(()))) = (&self.traced, &polled) {
            traced.finished();
        }
        polled
    }
}

/// A socket, whose time is not that of TLS above it, and whose bytes are then ciphertext.
#[derive(Debug)]
struct Wire {
    io: tokio::net::TcpStream,
    tls: Option<(TlsTime, Option<Traced>)>,
}

impl Wire {
    fn poll<T>(&mut self, poll: impl FnOnce(Pin<&mut tokio::net::TcpStream>) -> T) -> T {
        let io = Pin::new(&mut self.io);
        match &self.tls {
            Some((time, _)) => time.except(|| poll(io)),
            None => poll(io),
        }
    }

    fn tap(&self, from: Side, bytes: &[u8]) {
        if let Some((_, Some(traced))) = &self.tls
            && !bytes.is_empty()
        {
            traced.wire(from, bytes);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.poll(|io| io.poll_read(context, buffer));
        self.tap(Side::Server, &buffer.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.poll(|io| io.poll_write(context, bytes));
        if let Poll::Ready(Ok(count)) = &polled {
            self.tap(Side::Client, &bytes[..*count]);
        }
        polled
    }

    /// Only plaintext is written so, which is not tapped here.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(|io| io.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
