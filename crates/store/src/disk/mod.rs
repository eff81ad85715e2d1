//! Differences between file systems, for the server, the client and the daemon.
//!
//! - [`rename_no_replace`]: give a file a name that must be free
//! - [`sync`]: fsync, where the file system has it
//! - [`probe`]: find out which features a file system lacks, before there is content
//! - [`lock`]: lock a file, where the file system has locks
//! - [`open_owned`], [`is_shared`]: open a file that another user may have put there
//! - [`stored_as`]: the name of an entry that was found under another spelling; [`NameComparison`]
//!   keeps how an open directory compares names
//! - [`umask`], [`limited_mode`]: permissions that a peer asks for

mod lock;
mod names;
mod owned;
mod probe;
mod publish;

pub use lock::{Lock, lock};
pub use names::{NameComparison, stored_as};
pub(crate) use owned::open_owned_at;
pub use owned::{is_shared, open_owned};
pub use probe::{Lack, probe};
pub use publish::{At, Way, rename_no_replace, sync};

use std::sync::OnceLock;

/// Returns the permission bits that this process withholds from new files.
pub fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    // Setting it to read it would race with files that other threads create.
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o077)
    })
}

/// Returns the permissions of a file whose sender requests `mode`: never set-user-id or the like,
/// and beyond the umask only with `exact`.
pub fn limited_mode(mode: u32, exact: bool) -> u32 {
    let withheld = if exact { 0 } else { umask() };
    mode & 0o777 & !withheld
}

/// Returns the permissions of the partial file of such a file: never wider, but always readable and
/// writable for its owner.
pub const fn partial_mode(mode: Option<u32>) -> u32 {
    match mode {
        Some(mode) => (mode & 0o777) | 0o600,
        None => 0o666,
    }
}
