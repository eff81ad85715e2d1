//! Outgoing content of a session: pieces of files and listings, as fast as the peer reads them.
//!
//! A driver asks for one piece a turn and writes it. While a peer accepts nothing, nothing is
//! produced and nothing is read, so memory holds one piece. A piece of a file that need not be read
//! goes by sendfile(2), behind the bytes that precede it.

use std::io;
use std::net::TcpStream as BlockingStream;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Piece;
use super::file::send_file;
use super::gate::Waited;
use crate::blocking;
use crate::tcp_info::Delivery;
use crate::unix::is_closed_with_input;

/// Writes replies to a peer that accepts some of them within each `idle_timeout`, however slowly.
///
/// They are discarded if the peer has closed and its input is unread, as that must be handled.
///
/// Cancel safe: no; some bytes may have been written.
///
/// # Errors
/// The error of writing the socket, or `TimedOut`.
pub async fn write(socket: &TcpStream, bytes: &[u8], idle_timeout: Duration) -> io::Result<()> {
    unless_closed_with_input(socket, write_content(socket, bytes, idle_timeout).await)
}

/// Like [`write`], for content, which never counts as sent to a peer that has closed.
///
/// Cancel safe: no, as [`write`].
///
/// # Errors
/// As [`write`].
pub(super) async fn write_content(
    socket: &TcpStream,
    mut bytes: &[u8],
    idle_timeout: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                writable(socket, idle_timeout).await?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Turns the error of writing replies into success where they are to be discarded.
fn unless_closed_with_input(socket: impl AsFd, written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if is_closed_with_input(socket, &error) => Ok(()),
        written => written,
    }
}

/// Sends some bytes of a file over a socket of the runtime, and returns how many: at least one.
///
/// # Errors
/// As [`write`]; the file became shorter.
pub(super) async fn send_piece(
    socket: &TcpStream,
    buffer: &mut [u8],
    piece: &Piece,
    idle_timeout: Duration,
) -> io::Result<u64> {
    loop {
        let send = || send_file(socket, &piece.file, piece.at, most_of(piece));
        // The pages may have to be read from a disk.
        match blocking::run(|| socket.try_io(Interest::WRITABLE, send)).await {
            Ok(Some(sent)) => return some(sent),
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                writable(socket, idle_timeout).await?;
            }
            Err(error) => return Err(error),
        }
    }
    let count = blocking::run(|| read(piece, buffer)).await?;
    write_content(socket, &buffer[..count], idle_timeout).await?;
    some(count)
}

/// Like [`send_piece`], over a blocking socket with a timeout.
///
/// # Errors
/// As [`send_piece`].
pub(super) fn send_piece_blocking(
    socket: &BlockingStream,
    buffer: &mut [u8],
    piece: &Piece,
) -> io::Result<u64> {
    let send = || send_file(socket, &piece.file, piece.at, most_of(piece));
    let sent = while_delivered(socket, send).map_err(unread)?;
    some(match sent {
        Some(sent) => sent,
        None => {
            let count = read(piece, buffer)?;
            send_content(socket, &buffer[..count], false)?;
            count
        }
    })
}

/// Reads input that has arrived already, if there is any.
pub(super) fn try_recv(socket: &BlockingStream, buffer: &mut [u8]) -> usize {
    recv(socket, &mut *buffer, RecvFlags::DONTWAIT).map_or(0, |(count, _)| count)
}

/// Waits until the socket is writable, as long as the peer reads from the socket buffers: it
/// becomes writable only when a third of its buffer is free, which takes long with a slow peer.
async fn writable(socket: &TcpStream, idle_timeout: Duration) -> io::Result<()> {
    let mut before = Delivery::of(socket)?;
    loop {
        if let Ok(ready) = timeout(idle_timeout, socket.writable()).await {
            return ready;
        }
        let now = Delivery::of(socket)?;
        if !now.has_advanced_since(&before) {
            return Err(unread(io::ErrorKind::WouldBlock.into()));
        }
        before = now;
    }
}

/// Like [`writable`], for a blocking socket with a timeout: repeats `send` as long as the peer
/// reads.
fn while_delivered<T>(
    socket: &BlockingStream,
    mut send: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let mut before = Delivery::of(socket)?;
    loop {
        match send() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let now = Delivery::of(socket)?;
                if !now.has_advanced_since(&before) {
                    return Err(error);
                }
                before = now;
            }
            sent => return sent,
        }
    }
}

/// Like [`write`], over a blocking socket with a timeout.
///
/// # Errors
/// As [`write`].
pub(super) fn send_replies(socket: &BlockingStream, bytes: &[u8]) -> io::Result<()> {
    unless_closed_with_input(socket, send_content(socket, bytes, false))
}

/// Like [`send_replies`], for content; with `more`, it may wait for what follows.
///
/// # Errors
/// As [`write`].
pub(super) fn send_content(
    socket: &BlockingStream,
    mut bytes: &[u8],
    more: bool,
) -> io::Result<()> {
    let more = if more { SendFlags::MORE } else { SendFlags::empty() };
    while !bytes.is_empty() {
        let send = || {
            let sent = rustix::net::send(socket.as_fd(), bytes, SendFlags::NOSIGNAL | more);
            sent.map_err(io::Error::from)
        };
        match while_delivered(socket, send) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unread(error)),
        }
    }
    Ok(())
}

fn read(piece: &Piece, buffer: &mut [u8]) -> io::Result<usize> {
    let most = most_of(piece).min(buffer.len());
    let (wanted, _) = buffer.split_at_mut(most);
    piece.read(wanted)
}

impl Piece {
    /// Reads the first of its bytes, for a caller that cannot use sendfile; 0 if the file became
    /// shorter.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.count).unwrap_or(usize::MAX).min(buffer.len());
        let (wanted, _) = buffer.split_at_mut(most);
        loop {
            match self.file.read_at(wanted, self.at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

fn most_of(piece: &Piece) -> usize {
    usize::try_from(piece.count).unwrap_or(TURN).min(TURN)
}

/// Between two pieces of content there is no way to report a failed wait to the peer.
pub(super) fn in_time(waited: Waited) -> io::Result<()> {
    match waited {
        Waited::AskAgain => Ok(()),
        Waited::Late => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the content to send was not available in time",
        )),
        Waited::Gone => {
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the peer disconnected"))
        }
    }
}

/// Announced content cannot be sent any more, and nothing else may replace it.
fn some(sent: usize) -> io::Result<u64> {
    match sent {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, SHRANK)),
        some => Ok(some as u64),
    }
}

/// Replaces the error of a socket timeout by one in words.
fn unread(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            io::Error::new(io::ErrorKind::TimedOut, "the peer does not read the replies")
        }
        _ => error,
    }
}

const SHRANK: &str = "the file was truncated while it was sent";

/// Maximum bytes of one turn, so that an abort is noticed.
const TURN: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Instant;

    use super::super::{
        Event, Interest, Next, Placement, Produced, Pumped, Session, pump_blocking,
        pump_cooperative,
    };
    use super::*;

    /// Sends a greeting, the file, and a goodbye, once, and ends when the peer does.
    struct FileSender {
        piece: Piece,
        looks: bool,
        greeted: bool,
        said_goodbye: bool,
    }

    impl FileSender {
        fn new(content: &[u8], count: u64, looks: bool) -> Self {
            let file = tempfile::tempfile().unwrap();
            (&mut &file).write_all(content).unwrap();
            let piece = Piece { file: Arc::new(file), at: 0, count };
            Self { piece, looks, greeted: false, said_goodbye: false }
        }
    }

    impl Session for FileSender {
        type Successor = ();

        fn interest(&self) -> Interest {
            let (produce, place) = (!self.said_goodbye, Placement::Thread);
            Interest { produce, may_block: true, place, ..Interest::input(IDLE) }
        }

        fn handle(&mut self, event: Event<'_>, _: Instant, _: &mut Vec<u8>) -> Next<()> {
            match event {
                Event::Sent(count) => {
                    self.piece.at += count;
                    self.piece.count -= count;
                    Next::Continue
                }
                Event::EndOfStream => Next::Finish,
                _ => Next::Continue,
            }
        }

        fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced<()>> {
            if !std::mem::replace(&mut self.greeted, true) {
                out.extend_from_slice(b"hello ");
            }
            if self.piece.count > 0 && !self.looks {
                return Ok(Produced::File(self.piece.clone()));
            }
            if self.piece.count > 0 {
                let count = some(read(&self.piece, buffer)?)?;
                self.piece.at += count;
                self.piece.count -= count;
                return Ok(Produced::Bytes(usize::try_from(count).unwrap()));
            }
            if !std::mem::replace(&mut self.said_goodbye, true) {
                out.extend_from_slice(b" goodbye");
            }
            Ok(Produced::Next(Next::Continue))
        }
    }

    const IDLE: Duration = Duration::from_millis(500);

    fn pair() -> (BlockingStream, BlockingStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = BlockingStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    async fn pump(
        server: BlockingStream,
        session: &mut FileSender,
        bulk: u64,
    ) -> io::Result<Pumped<()>> {
        server.set_nonblocking(true).unwrap();
        let server = TcpStream::from_std(server).unwrap();
        let pumped =
            pump_cooperative(&server, &mut [0; 4096], session, bulk, std::future::pending())
                .await?;
        if pumped == Pumped::Bulk {
            let server = server.into_std().unwrap();
            server.set_nonblocking(false).unwrap();
            server.set_write_timeout(Some(IDLE)).unwrap();
            pump_blocking(&server, &mut [0; 4096], session)?;
        }
        Ok(pumped)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn produced_content_is_sent_whole_and_in_order() {
        let content = anyport_testkit::noise(5_000_011, 3);
        let expected = [b"hello ", &content[..], b" goodbye"].concat();
        for looks in [false, true] {
            for bulk in [1, 3_000_000, u64::MAX] {
                let (mut client, server) = pair();
                let reader = std::thread::spawn(move || {
                    let mut received = vec![0; 5_000_011 + 14];
                    client.read_exact(&mut received).unwrap();
                    received
                });
                let mut session = FileSender::new(&content, content.len() as u64, looks);
                pump(server, &mut session, bulk).await.unwrap();
                assert!(reader.join().unwrap() == expected, "looks {looks}, bulk {bulk}");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_ends_too_early_is_an_error_and_is_not_padded() {
        for bulk in [1, u64::MAX] {
            let (mut client, server) = pair();
            let error =
                pump(server, &mut FileSender::new(b"short", 9, false), bulk).await.unwrap_err();
            assert_eq!(error.to_string(), SHRANK);
            let mut received = Vec::new();
            let _ = client.read_to_end(&mut received);
            assert_eq!(received, b"hello short");
        }
    }

    /// The socket becomes writable only when a third of the send buffer is free, for which this
    /// peer needs longer than the timeout.
    #[tokio::test(flavor = "multi_thread")]
    async fn bp_1_a_peer_that_reads_slowly_from_its_kernel_gets_everything() {
        let slow = |bulk| async move {
            let (mut client, server) = pair();
            socket2::SockRef::from(&client).set_recv_buffer_size(16 * 1024).unwrap();
            socket2::SockRef::from(&server).set_send_buffer_size(200_000).unwrap();
            let reader = std::thread::spawn(move || {
                let (mut piece, mut count) = ([0; 16 * 1024], 0);
                while count < 900_000 + 14 {
                    let some = client.read(&mut piece).unwrap();
                    assert!(some > 0, "ended after {count} bytes");
                    count += some;
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
            let mut session = FileSender::new(&vec![0; 900_000], 900_000, false);
            pump(server, &mut session, bulk).await.unwrap();
            reader.join().unwrap();
        };
        tokio::join!(slow(1), slow(u64::MAX));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bp_1_a_peer_that_accepts_no_output_is_disconnected() {
        for (looks, bulk) in [(false, 1), (true, 1), (false, u64::MAX), (true, u64::MAX)] {
            let (_client, server) = pair();
            let mut session = FileSender::new(&vec![0; 64 * 1024 * 1024], 64 * 1024 * 1024, looks);
            let error = pump(server, &mut session, bulk).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        }
    }

    /// Returns a Unix socket whose peer has closed and left unread input.
    fn closed_with_input() -> BlockingStream {
        let (server, mut client) = std::os::unix::net::UnixStream::pair().unwrap();
        client.write_all(b"input").unwrap();
        std::os::fd::OwnedFd::from(server).into()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn only_replies_are_discarded_for_a_peer_that_closed_with_unread_input() {
        for looks in [false, true] {
            for bulk in [1, u64::MAX] {
                let mut session = FileSender::new(b"content", 7, looks);
                let error = pump(closed_with_input(), &mut session, bulk).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "looks {looks}, bulk {bulk}");
            }
            let mut session = FileSender::new(b"content", 7, looks);
            pump_blocking(&closed_with_input(), &mut [0; 4096], &mut session).unwrap_err();
        }
        let socket = closed_with_input();
        send_replies(&socket, b"reply").unwrap();
        socket.set_nonblocking(true).unwrap();
        write(&TcpStream::from_std(socket).unwrap(), b"reply", IDLE).await.unwrap();
    }
}
