//! The control socket: a Unix socket on which a running server is asked and told, by its own user
//! and root alone.
//!
//! ```text
//!   status␊                 ──►  {"event":"status",…}␊
//!   reload␊                 ──►  {"event":"reloaded","ok":true,"line":"…"}␊
//!   stop␊  or  stop now␊    ──►  {"event":"stopping"}␊ … end of stream when the process ends
//! ```
//!
//! Who may connect is settled twice: by the mode of the socket, and by asking the kernel who is
//! there.

pub(crate) mod client;
mod server;

pub(crate) use server::Control;

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// Where control sockets are when nobody says otherwise: those who look for a server look in all of
/// them, and a server takes the first in which it may make one.
fn directories() -> Vec<PathBuf> {
    let first = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        std::env::split_paths(&value).next().filter(|path| path.is_absolute())
    };
    // Within a service of systemd's nobody else's server is meant.
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

/// Whether sockets in `directory` are those of this user and root. In `/tmp` another user may have
/// created it first.
fn is_safe(directory: &Path) -> bool {
    directory != below_tmp()
        || directory.symlink_metadata().is_ok_and(|there| {
            let is_ours = there.is_dir() && there.uid() == geteuid().as_raw();
            is_ours && there.mode() & 0o077 == 0
        })
}

/// Whether it is named as those that servers make by themselves: `PORT.sock`, or
/// `PORT-PROCESS.sock`.
fn is_named_as_ours(path: &Path) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(".sock"));
    name.is_some_and(|name| name.splitn(2, '-').all(is_number))
}

/// Whether a process of this user may ask and tell us.
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
    fn sockets_of_others_are_none_of_ours() {
        for ours in ["8331.sock", "8331-4711.sock"] {
            assert!(is_named_as_ours(&Path::new("/run/anyport").join(ours)), "{ours}");
        }
        for other in ["other.sock", "8331", "8331-.sock", "-1.sock", ".sock", "8331-1-2.sock"] {
            assert!(!is_named_as_ours(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn our_user_and_root_may_control_us_and_nobody_else() {
        assert!(may_control(0));
        assert!(may_control(geteuid().as_raw()));
        assert!(!may_control(geteuid().as_raw().wrapping_add(54_321)));
    }
}
