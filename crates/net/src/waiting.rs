//! Reads and writes descriptors that may be non-blocking.
//!
//! Standard input and output are shared with other processes, any of which may have set
//! `O_NONBLOCK` on them; clearing it would surprise those processes, so `EAGAIN` is answered by
//! waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};

/// A descriptor whose reads and writes wait where a non-blocking one would fail with `EAGAIN`.
///
/// It has no buffer.
#[derive(Debug)]
pub struct Waiting<D>(pub D);

impl<D: AsFd> Waiting<D> {
    fn until_ready<T>(
        &self,
        flags: PollFlags,
        mut attempt: impl FnMut(&D) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match attempt(&self.0).map_err(io::Error::from) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match poll(&mut [PollFd::new(&self.0, flags)], None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                done => return done,
            }
        }
    }
}

impl<D: AsFd> Read for Waiting<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.until_ready(PollFlags::IN, |from| rustix::io::read(from, &mut *buffer))
    }
}

impl<D: AsFd> Write for Waiting<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until_ready(PollFlags::OUT, |to| rustix::io::write(to, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_non_blocking_descriptor_is_waited_for_in_both_directions() {
        let (mut slow, fast) = UnixStream::pair().unwrap();
        fast.set_nonblocking(true).unwrap();
        // More than a socket holds, so the writer has to wait as well.
        let content = vec![7; 4 << 20];
        let expected = content.clone();
        let peer = std::thread::spawn(move || {
            let mut received = vec![0; expected.len()];
            std::thread::sleep(Duration::from_millis(20));
            slow.read_exact(&mut received).unwrap();
            assert!(received == expected);
            slow.write_all(b"done").unwrap();
        });
        let mut fast = Waiting(fast);
        fast.write_all(&content).unwrap();
        let mut answer = String::new();
        fast.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "done");
        peer.join().unwrap();
    }
}
