//! The control socket: a Unix socket on which a running server answers requests of its own user and
//! root.
//!
//! ```text
//!   status␊                 ──►  {"event":"status",…}␊
//!   reload␊                 ──►  {"event":"reloaded","ok":true,"line":"…"}␊
//!   stop␊  or  stop now␊    ──►  {"event":"stopping"}␊ … end of stream when the process ends
//! ```
//!
//! Access is checked twice: by the mode of the socket, and by the credentials of the peer from the
//! kernel.

pub(crate) mod client;
mod server;

pub(crate) use server::Control;

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// Returns the default directories of control sockets: a client searches all of them, and a server
/// uses the first in which it can create one.
fn directories() -> Vec<PathBuf> {
    let first = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        std::env::split_paths(&value).next().filter(|path| path.is_absolute())
    };
    // Within a systemd service, only that service is meant.
    if let Some(service) = first("RUNTIME_DIRECTORY") {
        return vec![service];
    }
    let user = PathBuf::from(format!("/run/user/{}", geteuid().as_raw()));
    let user = [first("XDG_RUNTIME_DIR"), Some(user)].into_iter().flatten();
    let mut all: Vec<_> = user.map(|path| path.join("anyport")).collect();
    all.extend([PathBuf::from("/run/anyport"), below_tmp()]);
    all.dedup();
    all
}

/// The place where there is no directory for the user's sockets, as for a service that cron or `su`
/// starts.
fn below_tmp() -> PathBuf {
    PathBuf::from(format!("/tmp/anyport-{}", geteuid().as_raw()))
}

/// Returns whether sockets in `directory` belong to this user and root. In `/tmp` another user may
/// have created it first.
fn is_safe(directory: &Path) -> bool {
    directory != below_tmp()
        || directory.symlink_metadata().is_ok_and(|there| {
            let is_ours = there.is_dir() && there.uid() == geteuid().as_raw();
            is_ours && there.mode() & 0o077 == 0
        })
}

/// Returns whether it has a generated name: `PORT.sock`, or `PORT-PROCESS.sock`.
fn has_generated_name(path: &Path) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(".sock"));
    name.is_some_and(|name| name.splitn(2, '-').all(is_number))
}

/// Returns whether a process of this user may send requests.
fn may_control(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

/// Bytes of the longest request.
const LONGEST_REQUEST: u64 = 64;

/// Bytes of the longest answer that is believed.
const LONGEST_ANSWER: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_for_another_process_are_ignored() {
        for ours in ["8331.sock", "8331-4711.sock"] {
            assert!(has_generated_name(&Path::new("/run/anyport").join(ours)), "{ours}");
        }
        for other in ["other.sock", "8331", "8331-.sock", "-1.sock", ".sock", "8331-1-2.sock"] {
            assert!(!has_generated_name(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn only_the_own_user_and_root_may_control_the_server() {
        assert!(may_control(0));
        assert!(may_control(geteuid().as_raw()));
        assert!(!may_control(geteuid().as_raw().wrapping_add(54_321)));
    }
}
