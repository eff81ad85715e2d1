//! The loop on a thread of its own.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::gate::{Waited, wait_blocking};
use super::outgoing::{say, send_blocking};
use super::unseen::{Pipe, Unseen};
use super::{Flow, Input, Pumped, Step, sleep_blocking, trim};

/// Moves bytes between a blocking socket and `step` until it finishes, becomes a conversation, or is no bulk transfer any more:
/// a thread is not for waiting. Ended early by `shutdown()` on the socket.
///
/// # Errors
/// What reading or writing the socket said; the step has not been told.
pub fn pump(socket: &TcpStream, buffer: &mut [u8], step: &mut impl Step) -> io::Result<Pumped> {
    let mut replies = Vec::new();
    let mut patience = None;
    let mut source = Source::default();
    loop {
        wait_for(socket, step.patience(), &mut patience)?;
        // Asked before: what opens a gate while it is found that nothing is to be sent may be something to send.
        let was_held = step.held().is_some();
        if send_blocking(socket, buffer, &mut replies, step)? == Flow::Finish {
            return Ok(Pumped::Finished);
        }
        if step.is_conversation() && !source.holds_bytes() {
            return Ok(Pumped::Conversation);
        }
        if !step.is_bulk() && !source.holds_bytes() {
            return Ok(Pumped::Small);
        }
        // What was sent may have been the answer to a question that waits no longer.
        wait_for(socket, step.patience(), &mut patience)?;
        let was_held = was_held || step.held().is_some();
        let flow = match wait_blocking(socket, step)? {
            // Who waited may have something to send now.
            Waited::Free if was_held => continue,
            Waited::Free if sleep_blocking(step) => {
                step.step(Input::Timer(Instant::now()), &mut replies)
            }
            Waited::Free => read(socket, buffer, step, &mut source, &mut replies)?,
            Waited::Late => step.step(Input::Silence, &mut replies),
            Waited::Gone => step.step(Input::EndOfStream, &mut replies),
        };
        if !replies.is_empty() {
            say(socket, &replies, false)?;
            trim(&mut replies);
        }
        if flow == Flow::Finish {
            return Ok(Pumped::Finished);
        }
    }
}

/// Waits for what comes next, and hands it over.
fn read(
    socket: &TcpStream,
    buffer: &mut [u8],
    step: &mut impl Step,
    source: &mut Source,
    replies: &mut Vec<u8>,
) -> io::Result<Flow> {
    Ok(match source.next(socket, buffer, step.unseen()) {
        Ok(Came::Fin) => step.step(Input::EndOfStream, replies),
        Ok(Came::Bytes(count)) => {
            let (bytes, _) = buffer.split_at_mut(count);
            step.step(Input::Bytes(bytes, Instant::now()), replies)
        }
        Ok(Came::Unseen(count)) => step.step(Input::Unseen(count, Instant::now()), replies),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Flow::Continue,
        // A blocking socket says so when its read timeout has passed.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            step.step(Input::Silence, replies)
        }
        Err(error) => return Err(error),
    })
}

fn wait_for(
    socket: &TcpStream,
    wanted: Duration,
    patience: &mut Option<Duration>,
) -> io::Result<()> {
    if patience.replace(wanted) != Some(wanted) {
        socket.set_read_timeout(Some(wanted))?;
        socket.set_write_timeout(Some(wanted))?;
    }
    Ok(())
}

/// What came from a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// So many bytes, in the buffer.
    Bytes(usize),
    /// So many bytes, and they are where they belong.
    Unseen(u64),
    /// The end of the stream.
    Fin,
}

/// Reads a blocking socket, or splices it where its bytes may go unseen. One for each socket, as bytes may be held.
#[derive(Debug)]
pub struct Source {
    /// Made when it is first needed.
    pipe: Option<Pipe>,
    splices: bool,
}

impl Default for Source {
    fn default() -> Self {
        Self { pipe: None, splices: true }
    }
}

impl Source {
    /// Whether something was taken from the socket that has not been given yet.
    fn holds_bytes(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    /// Waits for what comes next. Bytes that `unseen` does not take come in `buffer` after all.
    ///
    /// # Errors
    /// What reading the socket said; nothing was taken from it.
    pub fn next(
        &mut self,
        socket: &TcpStream,
        buffer: &mut [u8],
        unseen: Option<Unseen<'_>>,
    ) -> io::Result<Came> {
        if let Some(pipe) = &mut self.pipe
            && pipe.held() > 0
        {
            return pipe.take(buffer).map(Came::Bytes);
        }
        if let Some(unseen) = unseen.filter(|_| self.splices) {
            match self.splice(socket, unseen) {
                // Some file systems and sockets cannot do it.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.splices = false,
                came => return came,
            }
        }
        match (&mut &*socket).read(buffer)? {
            0 => Ok(Came::Fin),
            count => Ok(Came::Bytes(count)),
        }
    }

    fn splice(&mut self, socket: &TcpStream, unseen: Unseen<'_>) -> io::Result<Came> {
        let pipe = match &mut self.pipe {
            Some(pipe) => pipe,
            none => none.insert(Pipe::new()?),
        };
        let Some(stored) = pipe.turn(socket, unseen)? else { return Ok(Came::Fin) };
        if pipe.held() == 0 {
            return Ok(Came::Unseen(stored));
        }
        // The file takes no more this way; what it did not take is written as other bytes are.
        self.splices = false;
        Ok(Came::Unseen(stored))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::net::{Shutdown, TcpListener};

    use super::*;

    /// Stores what comes, and tells what came which way.
    struct Store {
        file: File,
        most: u64,
        unseen: u64,
        seen: Vec<u8>,
    }

    impl Step for Store {
        fn patience(&self) -> Duration {
            Duration::from_secs(20)
        }

        fn step(&mut self, input: Input<'_>, _: &mut Vec<u8>) -> Flow {
            match input {
                Input::Bytes(bytes, _) => self.seen.extend_from_slice(bytes),
                Input::Unseen(count, _) => self.unseen += count,
                Input::EndOfStream => return Flow::Finish,
                Input::Silence | Input::Stopping | Input::Timer(_) => panic!("{input:?}"),
            }
            Flow::Continue
        }

        fn unseen(&self) -> Option<Unseen<'_>> {
            let most = self.most.checked_sub(self.unseen).filter(|most| *most > 0)?;
            Some(Unseen { file: &self.file, at: self.unseen, most })
        }

        fn may_block(&self) -> bool {
            true
        }

        fn is_bulk(&self) -> bool {
            true
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
        let mut store = Store { file, most, unseen: 0, seen: Vec::new() };
        pump(&socket, &mut [0; 4096], &mut store).unwrap();
        sender.join().unwrap();
        store
    }

    fn content() -> Vec<u8> {
        anyport_testkit::noise(5_000_011, 3)
    }

    #[test]
    fn what_nobody_looks_at_goes_straight_into_the_file_and_no_byte_further() {
        let content = content();
        for most in [1, 4_000_000, u64::MAX] {
            let path = tempfile::NamedTempFile::new().unwrap();
            let store = store(path.reopen().unwrap(), most, &content);
            let unseen = usize::try_from(most).unwrap_or(usize::MAX).min(content.len());
            assert_eq!(store.unseen, unseen as u64);
            assert!(std::fs::read(path.path()).unwrap() == content[..unseen]);
            assert!(store.seen == content[unseen..]);
        }
    }

    #[test]
    fn what_the_file_does_not_take_is_seen_after_all() {
        let content = content();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        // A file that is only appended to has no places, and splice says so.
        let appended = tempfile::NamedTempFile::new().unwrap();
        let appended = OpenOptions::new().append(true).open(appended.path()).unwrap();
        for file in [full, appended] {
            let store = store(file, u64::MAX, &content);
            assert_eq!(store.unseen, 0);
            assert!(store.seen == content);
        }
    }
}
