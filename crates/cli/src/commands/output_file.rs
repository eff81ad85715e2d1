//! Output files that are not regular: standard output, devices and named pipes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Returns whether `path` names standard output. That may be a socket, which cannot be opened.
pub(super) fn leads_to_stdout(path: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].map(Path::new).contains(&path)
}

/// A file that is written in place: no downloaded file replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    Stream,
    BlockDevice,
}

/// Opens a FIFO or a device for writing, and waits up to `timeout` for the reader of a FIFO.
pub(super) fn open_special(path: &Path, timeout: Duration) -> io::Result<File> {
    let deadline = Instant::now() + timeout;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    loop {
        let opened = OpenOptions::new().write(true).custom_flags(flags).open(path);
        let no_reader =
            opened.as_ref().is_err_and(|error| Errno::from_io_error(error) == Some(Errno::NXIO));
        if !no_reader {
            let file = opened?;
            // Only opening must not block.
            rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
            return Ok(file);
        }
        if Instant::now() > deadline {
            let message = "no process opened it for reading in time (--connect-timeout)";
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        std::thread::sleep(FIFO_PAUSE);
    }
}

/// Time between two attempts to open a FIFO.
const FIFO_PAUSE: Duration = Duration::from_millis(20);

/// Returns the kind of special file at `path`, if there is one.
pub(super) fn special(path: &Path) -> Option<Special> {
    let kind = std::fs::metadata(path).ok()?.file_type();
    match kind {
        _ if kind.is_char_device() || kind.is_fifo() => Some(Special::Stream),
        _ if kind.is_block_device() => Some(Special::BlockDevice),
        _ => None,
    }
}
