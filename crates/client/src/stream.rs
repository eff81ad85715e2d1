//! A connection to a server, under TLS if the target requires it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyport_proto::peer::Peer;
use anyport_tls::client::{Client, Inspection, NewServer, Trust, TrustedBy, Version};
use anyport_tls::{ClientMachine, Fingerprint, TRUNCATED, TlsError, certificate_names};
use anyport_trace::{Certificate, Side, What};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};

pub(crate) use crate::async_stream::AsyncStream;
use crate::async_stream::Established;
use crate::error::{Error, ErrorKind};
use crate::target::{Scheme, Target};
use crate::trace::{TlsTime, Traced};

/// The servers to trust, and an observer of each trusted one.
#[derive(Clone)]
pub struct Encryption {
    client: Arc<Client>,
    met: Arc<Tell>,
}

type Tell = dyn Fn(&Target, &TrustedBy) + Send + Sync;

impl Encryption {
    /// Returns settings whose `met` observes each completed handshake.
    pub fn new(client: Client, met: impl Fn(&Target, &TrustedBy) + Send + Sync + 'static) -> Self {
        Self { client: Arc::new(client), met: Arc::new(met) }
    }

    /// Returns a handshake that continues with a server that is not trusted, and remembers none.
    pub(crate) fn inspect(
        &self,
        target: &Target,
        alpn: &[&[u8]],
        versions: &[Version],
    ) -> Result<(ClientMachine, Inspection), TlsError> {
        let new = new_server(target.scheme);
        self.client.inspect(&target.host, target.port, alpn, new, versions)
    }
}

/// Trusts servers with a certificate of a CA of this system.
impl Default for Encryption {
    fn default() -> Self {
        // Only files can be missing, and this names none.
        let client = Client::new(Trust::default()).unwrap_or_else(|_| unreachable!());
        Self::new(client, |_, _| {})
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

/// Returns what the certificate of a new server must name: users expect of a web URL what a browser
/// checks.
const fn new_server(scheme: Scheme) -> NewServer {
    match scheme {
        Scheme::Http => NewServer::SameName,
        _ => NewServer::AnyName,
    }
}

/// A blocking stream; reading and writing obey the time-outs of its socket.
pub(crate) struct Stream {
    socket: TcpStream,
    tls: Option<Box<Tls>>,
    traced: Option<Traced>,
}

struct Tls {
    machine: ClientMachine,
    /// Decrypted input, from `read` on.
    plain: Vec<u8>,
    read: usize,
    wire: Vec<u8>,
    out: Vec<u8>,
    /// An error that occurred between reads.
    error: Option<TlsError>,
    time: TlsTime,
}

impl Stream {
    /// Shakes hands where `target` is under TLS; `alpn`: what will be spoken then (RFC 7301).
    pub(crate) fn open(
        socket: TcpStream,
        peer: Peer,
        target: &Target,
        alpn: &[&[u8]],
        encryption: &Encryption,
        traced: Option<Traced>,
    ) -> Result<Self, Error> {
        let mut stream = Self { socket, tls: None, traced };
        if !target.encrypted {
            return Ok(stream);
        }
        let failed = |source| Error::at(peer, ErrorKind::Tls(Box::new(source)));
        let new = new_server(target.scheme);
        let (machine, verification) =
            encryption.client.connect(&target.host, target.port, alpn, new).map_err(failed)?;
        let (plain, wire, out) = (Vec::new(), vec![0; WIRE], Vec::new());
        let time = TlsTime::default();
        let mut tls = Box::new(Tls { machine, plain, read: 0, wire, out, error: None, time });
        let broken = |source| Error::in_handshake(peer, "TLS", source);
        let (mut count, mut is_tls) = (0, false);
        loop {
            let Tls { machine, plain, wire, out, .. } = &mut *tls;
            stream.tap_wire(Side::Server, &wire[..count]);
            let opened = machine.open(&mut wire[..count], plain, out);
            stream.tap_wire(Side::Client, out);
            // Includes the alert of a failed handshake.
            let written = stream.socket.write_all(out);
            out.clear();
            opened.map_err(failed)?;
            written.map_err(broken)?;
            if !machine.is_handshaking() {
                break;
            }
            count = read(&stream.socket, wire).map_err(broken)?;
            if count == 0 {
                // One that has begun to answer does speak it, and may be back.
                return Err(if is_tls {
                    broken(ended())
                } else {
                    Error::at(peer, ErrorKind::NoTls)
                });
            }
            is_tls = true;
        }
        let met = verification.conclude();
        if let Some(traced) = &stream.traced {
            traced.tls_done(agreed(&tls.machine, met.as_ref()));
        }
        if let Some(met) = met {
            (encryption.met)(target, &met);
        }
        stream.tls = Some(tls);
        Ok(stream)
    }

    /// To be asked what TCP knows.
    pub(crate) const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Returns the socket if the kernel may read and write it directly: not under TLS.
    pub(crate) const fn plain(&self) -> Option<&TcpStream> {
        if self.tls.is_none() { Some(&self.socket) } else { None }
    }

    /// Returns the trace of the connection, if there is one.
    pub(crate) const fn traced(&self) -> Option<&Traced> {
        self.traced.as_ref()
    }

    /// Returns the time that TLS took so far.
    pub(crate) fn tls_time(&self) -> Option<TlsTime> {
        self.tls.as_ref().map(|tls| tls.time.clone())
    }

    fn tap_wire(&self, from: Side, bytes: &[u8]) {
        if let Some(traced) = &self.traced
            && !bytes.is_empty()
        {
            traced.wire(from, bytes);
        }
    }

    /// Ends the sending direction; the server's data can still be read.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.machine.close(&mut tls.out);
            if let Some(traced) = &self.traced {
                traced.wire(Side::Client, &tls.out);
            }
            let written = self.socket.write_all(&tls.out);
            tls.out.clear();
            written?;
        }
        self.socket.shutdown(Shutdown::Write)?;
        if let Some(traced) = &self.traced {
            traced.finished();
        }
        Ok(())
    }

    /// Makes any end of this connection, also the death of this process, a reset to the server: a
    /// FIN would mean the end of the content. Until [`Self::ends_in_order`].
    pub(crate) fn resets_at_end(&self) -> io::Result<()> {
        if let Some(traced) = &self.traced {
            traced.resets(true);
        }
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO))
    }

    /// Makes the end of this connection a FIN again, after all content was sent.
    pub(crate) fn ends_in_order(&self) -> io::Result<()> {
        if let Some(traced) = &self.traced {
            traced.resets(false);
        }
        SockRef::from(&self.socket).set_linger(None)
    }

    /// Returns whether the server has sent something, or has gone, without waiting for it.
    pub(crate) fn has_something_to_say(&mut self) -> bool {
        loop {
            if self.tls.as_ref().is_some_and(|tls| tls.has_something()) {
                return true;
            }
            let mut byte = [0; 1];
            match recv(&self.socket, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
                Err(Errno::AGAIN | Errno::INTR) => return false,
                // The next read reports the end, or the error, in full.
                Ok((0, _)) | Err(_) => return true,
                Ok(_) => {}
            }
            let Some(tls) = &mut self.tls else { return true };
            // It may be TLS's own talk: a ticket, a new key.
            let Ok((count, _)) = recv(&self.socket, &mut tls.wire[..], RecvFlags::DONTWAIT) else {
                return true;
            };
            if count == 0 {
                return true;
            }
            let Tls { machine, plain, wire, out, error, .. } = &mut **tls;
            if let Some(traced) = &self.traced {
                traced.wire(Side::Server, &wire[..count]);
            }
            *error = machine.open(&mut wire[..count], plain, out).err();
        }
    }

    /// Returns the stream for a runtime, in which this must be called.
    pub(crate) fn into_async(self) -> io::Result<AsyncStream> {
        self.socket.set_nonblocking(true)?;
        let io = tokio::net::TcpStream::from_std(self.socket)?;
        Ok(AsyncStream::new(io, self.traced, self.tls.map(|tls| tls.established())))
    }
}

/// Returns what the handshake agreed on, as an event.
fn agreed(machine: &ClientMachine, met: Option<&TrustedBy>) -> What {
    let (version, suite) = machine.agreed().map_or_else(Default::default, |(version, suite)| {
        (version.replace("TLS ", "TLSv"), format!("{:?}", suite.suite()))
    });
    let verification = match met {
        Some(TrustedBy::Authority) => "signed by a trusted CA",
        Some(TrustedBy::Pinned) => "pinned",
        Some(TrustedBy::Known) => "known from an earlier connection",
        Some(TrustedBy::New { .. }) => "trusted on first use",
        Some(TrustedBy::Unchecked { .. }) => "not verified (-k)",
        _ => "unknown",
    };
    let certificate = machine.certificate().map(|certificate| Certificate {
        names: certificate_names(certificate),
        fingerprint: Fingerprint::of(certificate).to_string(),
        verification: verification.to_owned(),
    });
    let alpn = machine.alpn().map(|name| String::from_utf8_lossy(name).into_owned());
    What::TlsDone { version, suite, group: machine.group(), alpn, certificate }
}

impl Tls {
    fn established(mut self) -> Established {
        self.plain.drain(..self.read);
        Established { machine: self.machine, plain: self.plain, time: self.time }
    }

    fn has_something(&self) -> bool {
        self.read < self.plain.len() || self.machine.is_ended() || self.error.is_some()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.read_plain(buffer);
        if let Some(traced) = &self.traced
            && !buffer.is_empty()
        {
            traced.read(read.as_ref().map(|count| &buffer[..*count]));
        }
        read
    }
}

impl Stream {
    fn read_plain(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(buffer) };
        loop {
            if tls.read == tls.plain.len()
                && let Some(error) = tls.error.take()
            {
                return Err(error.into());
            }
            if tls.has_something() || buffer.is_empty() {
                let unread = &tls.plain[tls.read..];
                let count = unread.len().min(buffer.len());
                buffer[..count].copy_from_slice(&unread[..count]);
                tls.read += count;
                if tls.read == tls.plain.len() {
                    tls.plain.clear();
                    tls.read = 0;
                }
                return Ok(count);
            }
            let count = read(&self.socket, &mut tls.wire)?;
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, TRUNCATED));
            }
            let Tls { machine, plain, wire, out, time, .. } = &mut **tls;
            if let Some(traced) = &self.traced {
                traced.wire(Side::Server, &wire[..count]);
            }
            let opened = time.measure(|| machine.open(&mut wire[..count], plain, out));
            if !out.is_empty() {
                // An alert, or a new key; its loss does not change the received data.
                let _ = self.socket.write_all(out);
                out.clear();
            }
            opened?;
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.write_plain(bytes);
        if let (Some(traced), Ok(count)) = (&self.traced, &written) {
            traced.sent(&bytes[..*count]);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    fn write_plain(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.write(bytes) };
        let count = bytes.len().min(WIRE);
        let Tls { machine, out, time, .. } = &mut **tls;
        time.measure(|| machine.seal(&bytes[..count], out))?;
        if let Some(traced) = &self.traced {
            traced.wire(Side::Client, out);
        }
        let written = self.socket.write_all(out);
        out.clear();
        written.map(|()| count)
    }
}

fn read(mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// An [`AsyncStream`] with both directions in one wait, and its pending output.
pub(crate) struct Duplex {
    pub(crate) reader: ReadHalf<AsyncStream>,
    pub(crate) writer: Outbox,
}

pub(crate) struct Outbox {
    stream: WriteHalf<AsyncStream>,
    /// Output that the stream has not accepted yet.
    pub(crate) out: Vec<u8>,
    /// Whether the stream may buffer accepted output.
    unflushed: bool,
}

impl Duplex {
    pub(crate) fn new(stream: AsyncStream, out: Vec<u8>) -> Self {
        let (reader, stream) = tokio::io::split(stream);
        Self { reader, writer: Outbox { stream, out, unflushed: false } }
    }
}

impl Outbox {
    /// Returns whether no output is pending.
    pub(crate) const fn is_empty(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    /// Writes some of what waits.
    ///
    /// Cancel safe: yes; accepted output is removed from `out`.
    pub(crate) async fn push(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            self.stream.flush().await?;
            self.unflushed = false;
            return Ok(());
        }
        let count = self.stream.write(&self.out).await?;
        self.unflushed = true;
        self.out.drain(..count);
        Ok(())
    }

    /// Writes all that waits. Cancel safe: no.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while !self.is_empty() {
            self.push().await?;
        }
        Ok(())
    }

    /// Ends the sending direction. Cancel safe: no.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.stream.shutdown().await
    }

    /// Drops the pending output, which the server does not accept.
    pub(crate) fn give_up(&mut self) {
        self.out.clear();
        self.unflushed = false;
    }
}

/// Size of one read or encryption: that of one write of a transfer.
const WIRE: usize = BUFFER;

/// Bytes of the buffer that content is read into and sent from. About the size of the L2 cache.
pub(crate) const BUFFER: usize = 256 * 1024;

/// The end of a stream where a reply was due.
pub(crate) fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")
}
