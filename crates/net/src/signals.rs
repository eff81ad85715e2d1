//! The end of this process by a signal that it handles: signal(7).

use std::io;

use rustix::process::{Signal, getpid, kill_process};

/// Ends this process by `signal` as if it were not handled, so that its parent sees the signal.
///
/// # Errors
/// The signal cannot be sent. The process continues then; it also does for a short time after a
/// success.
pub fn end_by(signal: Signal) -> io::Result<()> {
    #[expect(unsafe_code, reason = "neither std nor rustix changes the action of a signal")]
    // SAFETY: the default action replaces a handler, and no code of this process runs in it.
    let before = unsafe { libc::signal(signal.as_raw(), libc::SIG_DFL) };
    if before == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(kill_process(getpid(), signal)?)
}
