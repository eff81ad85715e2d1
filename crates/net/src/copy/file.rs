//! From a file to a socket without a way through our memory.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

/// Sends at most `count` bytes of `file`, from `offset` on, over `socket`: sendfile(2). Gives how
/// many were sent, 0 at the end of the file; `None` where the file or the system cannot do that,
/// and nothing was sent.
///
/// # Errors
/// What the kernel said, of the socket or of the file.
pub fn send_file(
    socket: &impl AsFd,
    file: &File,
    mut offset: u64,
    count: usize,
) -> io::Result<Option<usize>> {
    loop {
        match rustix::fs::sendfile(socket, file, Some(&mut offset), count) {
            Ok(sent) => return Ok(Some(sent)),
            Err(Errno::INTR) => {}
            // A file that is not kept in pages, or a kernel without the call.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::SPIPE) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}
