//! The driver for a thread of its own.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};

use super::gate::Waited;
use super::outgoing::{in_time, send_content, send_piece_blocking, send_replies, try_recv};
use super::pipe::Pipe;
use super::{
    Event, Interest, Next, Placement, Produced, Pumped, Read, Session, Splice, sleep_blocking, trim,
};

/// Drives `session` on a blocking socket until it finishes or belongs elsewhere: a thread is not
/// for waiting.
///
/// Ended early by `shutdown()` on the socket. [`Session`] has the calling order.
///
/// # Errors
/// The error of reading or writing the socket; the session has not been notified.
pub fn pump<S: Session>(
    socket: &TcpStream,
    buffer: &mut [u8],
    session: &mut S,
) -> io::Result<Pumped<S::Successor>> {
    let mut out = Vec::new();
    let mut idle = None;
    let mut source = Source::default();
    let mut produced = false;
    loop {
        let Interest { read, produce, idle: wanted, wake, wait, place, .. } = session.interest();
        limit(socket, wanted, &mut idle)?;
        send_replies(socket, &out)?;
        trim(&mut out);
        let next = if produce {
            if std::mem::take(&mut produced) && matches!(read, Read::WhileProducing) {
                match try_recv(socket, buffer) {
                    0 => continue,
                    count => session.handle(bytes(buffer, count), Instant::now(), &mut out),
                }
            } else if let Some(wait) = wait {
                in_time(wait.blocking(socket)?)?;
                continue;
            } else if wake.is_none_or(sleep_blocking) {
                produced = true;
                send(socket, buffer, session, &mut out)?
            } else {
                continue;
            }
        } else {
            match place {
                Placement::Reactor if !source.holds_bytes() => return Ok(Pumped::Interactive),
                // Waiting for the next of many small files needs no thread.
                Placement::Runtime if !source.holds_bytes() && !is_readable(socket) => {
                    return Ok(Pumped::Small);
                }
                _ => {}
            }
            let event = match (wait, wake) {
                (Some(wait), _) => match wait.blocking(socket)? {
                    Waited::AskAgain => continue,
                    Waited::Late => Event::Idle,
                    Waited::Gone => Event::EndOfStream,
                },
                (None, Some(at)) if sleep_blocking(at) => Event::Timer,
                (None, Some(_)) => continue,
                (None, None) => match source.event(socket, buffer, read)? {
                    Some(event) => event,
                    None => continue,
                },
            };
            session.handle(event, Instant::now(), &mut out)
        };
        let pumped = match next {
            Next::Continue => continue,
            Next::Finish => Pumped::Finished,
            Next::Become(successor) => Pumped::Became(successor),
        };
        limit(socket, session.interest().idle, &mut idle)?;
        send_replies(socket, &out)?;
        return Ok(pumped);
    }
}

/// Sends one piece of content. The bytes that go before it are written with it; those without
/// content are left in `out`.
fn send<S: Session>(
    socket: &TcpStream,
    buffer: &mut [u8],
    session: &mut S,
    out: &mut Vec<u8>,
) -> io::Result<Next<S::Successor>> {
    match session.produce(buffer, out)? {
        Produced::Next(next) => return Ok(next),
        Produced::Bytes(count) => {
            send_content(socket, out, count > 0)?;
            send_content(socket, &buffer[..count], false)?;
        }
        Produced::File(piece) => {
            send_content(socket, out, true)?;
            trim(out);
            let sent = send_piece_blocking(socket, buffer, &piece)?;
            return Ok(session.handle(Event::Sent(sent), Instant::now(), out));
        }
    }
    trim(out);
    Ok(Next::Continue)
}

fn bytes(buffer: &mut [u8], count: usize) -> Event<'_> {
    Event::Bytes(buffer.split_at_mut(count).0)
}

/// Returns whether a read would not block.
fn is_readable(socket: &TcpStream) -> bool {
    recv(socket, &mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK).is_ok()
}

/// Sets the timeout of reads and writes.
fn limit(socket: &TcpStream, wanted: Duration, set: &mut Option<Duration>) -> io::Result<()> {
    if set.replace(wanted) != Some(wanted) {
        socket.set_read_timeout(Some(wanted))?;
        socket.set_write_timeout(Some(wanted))?;
    }
    Ok(())
}

/// Input of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Number of bytes in the buffer.
    Bytes(usize),
    /// Number of bytes that were spliced to their destination.
    Spliced(u64),
    /// The end of the stream.
    Fin,
}

/// Reads a blocking socket, or splices it to a file.
///
/// One for each socket, because it may hold bytes.
#[derive(Debug)]
pub struct Source {
    /// Created at the first splice.
    pipe: Option<Pipe>,
    splices: bool,
}

impl Default for Source {
    fn default() -> Self {
        Self { pipe: None, splices: true }
    }
}

impl Source {
    /// Returns whether it holds bytes that were read from the socket and not returned yet.
    fn holds_bytes(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    /// Waits for the next input of a session; `None` if the wait was interrupted.
    fn event<'b>(
        &mut self,
        socket: &TcpStream,
        buffer: &'b mut [u8],
        read: Read,
    ) -> io::Result<Option<Event<'b>>> {
        let splice = match &read {
            Read::Splice(splice) => Some(splice),
            Read::Bytes | Read::WhileProducing => None,
        };
        Ok(Some(match self.next(socket, buffer, splice) {
            Ok(Received::Fin) => Event::EndOfStream,
            Ok(Received::Bytes(count)) => bytes(buffer, count),
            Ok(Received::Spliced(count)) => Event::Spliced(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            // A blocking socket returns this when its read timeout has passed.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Event::Idle,
            Err(error) => return Err(error),
        }))
    }

    /// Waits for input.
    ///
    /// Bytes that `splice` does not accept are read into `buffer`.
    ///
    /// # Errors
    /// The error of reading the socket, from which nothing was removed.
    pub fn next(
        &mut self,
        socket: &TcpStream,
        buffer: &mut [u8],
        splice: Option<&Splice>,
    ) -> io::Result<Received> {
        if let Some(pipe) = &mut self.pipe
            && pipe.held() > 0
        {
            return pipe.take(buffer).map(Received::Bytes);
        }
        if let Some(into) = splice.filter(|_| self.splices) {
            match self.splice(socket, into) {
                // Some file systems and sockets cannot do it.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.splices = false,
                came => return came,
            }
        }
        match (&mut &*socket).read(buffer)? {
            0 => Ok(Received::Fin),
            count => Ok(Received::Bytes(count)),
        }
    }

    fn splice(&mut self, socket: &TcpStream, into: &Splice) -> io::Result<Received> {
        let pipe = match &mut self.pipe {
            Some(pipe) => pipe,
            none => none.insert(Pipe::new()?),
        };
        let Some(stored) = pipe.turn(socket, into)? else { return Ok(Received::Fin) };
        if pipe.held() == 0 {
            return Ok(Received::Spliced(stored));
        }
        // The file does not accept splicing; the rest is written like other bytes.
        self.splices = false;
        Ok(Received::Spliced(stored))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::net::{Shutdown, TcpListener};
    use std::num::NonZeroU64;
    use std::sync::Arc;

    use super::*;

    /// Stores its input, and reports which bytes arrived which way.
    struct Store {
        file: Arc<File>,
        most: u64,
        spliced: u64,
        seen: Vec<u8>,
    }

    impl Session for Store {
        type Successor = ();

        fn interest(&self) -> Interest {
            let limit = self.most.checked_sub(self.spliced).and_then(NonZeroU64::new);
            let splice = |limit| Splice { file: self.file.clone(), at: self.spliced, limit };
            let read = limit.map_or(Read::Bytes, |limit| Read::Splice(splice(limit)));
            let (idle, place) = (Duration::from_secs(20), Placement::Thread);
            Interest { read, may_block: true, place, ..Interest::input(idle) }
        }

        fn handle(&mut self, event: Event<'_>, _: Instant, _: &mut Vec<u8>) -> Next<()> {
            match event {
                Event::Bytes(bytes) => self.seen.extend_from_slice(bytes),
                Event::Spliced(count) => self.spliced += count,
                Event::EndOfStream => return Next::Finish,
                other => panic!("{other:?}"),
            }
            Next::Continue
        }
    }

    fn store(file: File, most: u64, content: &[u8]) -> Store {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sent = content.to_vec();
        let sender = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let (socket, _) = listener.accept().unwrap();
        let mut store = Store { file: Arc::new(file), most, spliced: 0, seen: Vec::new() };
        pump(&socket, &mut [0; 4096], &mut store).unwrap();
        sender.join().unwrap();
        store
    }

    fn content() -> Vec<u8> {
        anyport_testkit::noise(5_000_011, 3)
    }

    #[test]
    fn spliced_bytes_go_straight_into_the_file_and_no_byte_further() {
        let content = content();
        for most in [1, 4_000_000, u64::MAX] {
            let path = tempfile::NamedTempFile::new().unwrap();
            let store = store(path.reopen().unwrap(), most, &content);
            let spliced = usize::try_from(most).unwrap_or(usize::MAX).min(content.len());
            assert_eq!(store.spliced, spliced as u64);
            assert!(std::fs::read(path.path()).unwrap() == content[..spliced]);
            assert!(store.seen == content[spliced..]);
        }
    }

    #[test]
    fn bytes_that_cannot_be_spliced_are_received() {
        let content = content();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        // A file in append mode has no offsets, and splice(2) rejects it.
        let appended = tempfile::NamedTempFile::new().unwrap();
        let appended = OpenOptions::new().append(true).open(appended.path()).unwrap();
        for file in [full, appended] {
            let store = store(file, u64::MAX, &content);
            assert_eq!(store.spliced, 0);
            assert!(store.seen == content);
        }
    }
}
