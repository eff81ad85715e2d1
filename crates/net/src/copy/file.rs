//! sendfile(2): from a file to a socket without copying through this process.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

/// Sends at most `count` bytes of `file`, from `offset` on, over `socket`: sendfile(2).
///
/// Returns how many were sent, 0 at the end of the file; `None` if the file or the system does not
/// support that, and nothing was sent.
///
/// # Errors
/// The error of the system, for the socket or for the file.
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
            // The file is not in the page cache, or the kernel lacks the call.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::SPIPE) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}
