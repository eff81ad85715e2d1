//! The directory of traces: who may read it, the names in it, and how much it contains.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyport_proto::detect::DetectedProtocol;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, statat, unlinkat};
use rustix::io::Errno;

use crate::config::Service;

/// Why a directory cannot contain traces.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceDirectoryError {
    /// One of the two directories contains the other one, or they are equal.
    #[error("cannot write traces to {path}: it overlaps the served directory {served}")]
    Served {
        /// The directory of traces.
        path: PathBuf,
        /// The served directory.
        served: PathBuf,
    },
    /// It is a symbolic link.
    #[error("cannot write traces to {0}: it is a symbolic link")]
    Link(PathBuf),
    /// Other users may read it, or write to it.
    #[error("cannot write traces to {path}: other users have access to it (mode {mode:04o})")]
    Shared {
        /// The directory of traces.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Another user owns it.
    #[error("cannot write traces to {0}: it belongs to another user")]
    OtherOwner(PathBuf),
    /// Another server writes its traces to it.
    #[error("cannot write traces to {0}: another server writes its traces there")]
    InUse(PathBuf),
    /// The error of the system.
    #[error("cannot write traces to {path}: {error}")]
    System {
        /// The directory of traces.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
}

impl TraceDirectoryError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Served { .. } => {
                "clients could download traces, or fill their directory: name one elsewhere"
                    .to_owned()
            }
            Self::Link(_) => "name the directory itself".to_owned(),
            Self::Shared { path, .. } => format!("chmod 700 {}", path.display()),
            Self::OtherOwner(_) | Self::InUse(_) => {
                "name another directory; it is created if it does not exist".to_owned()
            }
            Self::System { .. } => {
                "its parent directory must exist; the directory itself is created".to_owned()
            }
        }
    }
}

/// Checks a directory of traces without creating it.
///
/// # Errors
/// Traces cannot be written to it.
pub fn check(path: &Path, served: &Path) -> Result<(), TraceDirectoryError> {
    let path = without_slash(path);
    let system = |error| TraceDirectoryError::System { path: path.clone(), error };
    if path.is_symlink() {
        return Err(TraceDirectoryError::Link(path));
    }
    let (own, other) = (resolved(&path).map_err(system)?, resolved(served).map_err(system)?);
    if own.starts_with(&other) || other.starts_with(&own) {
        return Err(TraceDirectoryError::Served { path: own, served: other });
    }
    match open(&path) {
        Err(TraceDirectoryError::System { error, .. })
            if error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        opened => opened.map(drop),
    }
}

/// Opens an existing directory that this user alone may read.
fn open(path: &Path) -> Result<OwnedFd, TraceDirectoryError> {
    let system = |error: Errno| {
        let (path, error) = (path.to_owned(), error.into());
        TraceDirectoryError::System { path, error }
    };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(system)?;
    let stat = rustix::fs::fstat(&handle).map_err(system)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(TraceDirectoryError::OtherOwner(path.to_owned()));
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TraceDirectoryError::Shared { path: path.to_owned(), mode });
    }
    Ok(handle)
}

/// Returns the path without links; its last component need not exist.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    match (path.canonicalize(), path.file_name()) {
        (Err(error), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty());
            Ok(above.unwrap_or_else(|| Path::new(".")).canonicalize()?.join(name))
        }
        (resolved, _) => resolved,
    }
}

/// A slash at the end would follow a link.
fn without_slash(path: &Path) -> PathBuf {
    path.components().collect()
}

/// How much a directory of traces contains.
#[derive(Debug, Clone, Copy)]
struct Limits {
    files: usize,
    bytes: u64,
}

/// As many as a person can search, and few enough that listing them is fast. Together with the
/// size of one file they determine what a flood can write.
const LIMITS: Limits = Limits { files: 1_000, bytes: 64 << 20 };

/// A directory of traces, in which this server alone writes.
#[derive(Debug)]
pub(super) struct Directory {
    handle: OwnedFd,
    /// Names and sizes of its traces, in the order in which they were written: that of a long
    /// connection is new at its end.
    files: VecDeque<(String, u64)>,
    bytes: u64,
    limits: Limits,
}

impl Directory {
    /// Opens a directory, which is created if it is missing.
    ///
    /// # Errors
    /// Traces cannot be written to it.
    pub(super) fn open(path: &Path, served: &Path) -> Result<Self, TraceDirectoryError> {
        check(path, served)?;
        let path = without_slash(path);
        let system = |error| TraceDirectoryError::System { path: path.clone(), error };
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(system(error));
            }
            _ => {}
        }
        let handle = open(&path)?;
        // Each server counts only the files that it writes itself.
        match rustix::fs::flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(TraceDirectoryError::InUse(path)),
            locked => locked.map_err(|error| system(error.into()))?,
        }
        Self::of(handle, LIMITS).map_err(system)
    }

    fn of(handle: OwnedFd, limits: Limits) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in Dir::read_from(&handle)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if !Name::is_one(name) {
                continue;
            }
            // It may be removed meanwhile.
            let Ok(stat) = statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                files.push((stat.st_mtime, stat.st_mtime_nsec, name.to_owned(), size));
            }
        }
        files.sort_unstable();
        let files: VecDeque<_> = files.into_iter().map(|(_, _, name, size)| (name, size)).collect();
        let bytes = files.iter().map(|(_, size)| size).sum();
        Ok(Self { handle, files, bytes, limits })
    }

    /// Writes a trace, after the oldest ones were removed to make room for it.
    ///
    /// # Errors
    /// The error of the system; the directory then has no part of the trace.
    pub(super) fn write(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let length = content.len() as u64;
        while self.files.len() >= self.limits.files
            || self.bytes.saturating_add(length) > self.limits.bytes
        {
            if !self.remove_oldest()? {
                break;
            }
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.handle, name, flags, Mode::from_raw_mode(0o600))?;
        if let Err(error) = File::from(file).write_all(content) {
            let _ = unlinkat(&self.handle, name, AtFlags::empty());
            return Err(error);
        }
        self.bytes += length;
        self.files.push_back((name.to_owned(), length));
        Ok(())
    }

    /// Removes the oldest trace; returns whether there was one.
    fn remove_oldest(&mut self) -> io::Result<bool> {
        let Some((name, _)) = self.files.front() else { return Ok(false) };
        match unlinkat(&self.handle, name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some((_, length)) = self.files.pop_front() {
            self.bytes = self.bytes.saturating_sub(length);
        }
        Ok(true)
    }
}

/// The name of a file: the time at which its connection was accepted, its number, its protocol and
/// the address of its client, as `20261130T051500.123Z-000001-http1-192.0.2.7.trace`.
///
/// No byte of it is one that a client chose.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) at: SystemTime,
    pub(super) number: u64,
    pub(super) protocol: &'static str,
    /// `None` for a Unix socket.
    pub(super) client: Option<IpAddr>,
}

impl Name {
    /// Returns whether a name is one of a trace.
    fn is_one(name: &str) -> bool {
        let Some(name) = name.strip_suffix(SUFFIX) else { return false };
        let mut parts = name.splitn(4, '-');
        let mut next = || parts.next().unwrap_or_default();
        let (time, number, protocol, client) = (next(), next(), next(), next());
        let is_time = time.len() == TIME.len()
            && time.bytes().zip(TIME.bytes()).all(|(byte, of)| match of {
                b'0' => byte.is_ascii_digit(),
                of => byte == of,
            });
        let is_number = number.len() >= 6 && number.bytes().all(|byte| byte.is_ascii_digit());
        let detected = DetectedProtocol::ALL.map(DetectedProtocol::as_str);
        let services = Service::ALL.map(Service::as_str);
        let mut protocols = detected.into_iter().chain(services).chain(["none"]);
        // A copy that a person kept under another name is not one.
        let address = client.parse().or_else(|_| client.replace('-', ":").parse());
        is_time
            && is_number
            && protocols.any(|word| word.replace('-', "") == protocol)
            && (client == UNIX || address.is_ok_and(|address| client_part(address) == client))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, number, protocol, client } = self;
        let at = jiff::Timestamp::try_from(*at).unwrap_or_default();
        let at = at.strftime("%Y%m%dT%H%M%S%.3fZ");
        let protocol = protocol.replace('-', "");
        write!(f, "{at}-{number:06}-{protocol}-")?;
        match client {
            Some(client) => f.write_str(&client_part(*client))?,
            None => f.write_str(UNIX)?,
        }
        f.write_str(SUFFIX)
    }
}

/// Returns an address in a name: not all file systems and tools accept a colon.
fn client_part(client: IpAddr) -> String {
    client.to_canonical().to_string().replace(':', "-")
}

const UNIX: &str = "unix";

const SUFFIX: &str = ".trace";

/// The form of a time, with 0 for a digit.
const TIME: &str = "00000000T000000.000Z";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::Duration;

    use super::*;

    fn name(number: u64) -> String {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_796_015_700_000 + number);
        let client = Some("2001:db8::7".parse().unwrap());
        Name { at, number, protocol: "frame-candidate", client }.to_string()
    }

    #[test]
    fn a_name_has_time_number_protocol_and_client() {
        assert_eq!(name(123), "20261130T051500.123Z-000123-framecandidate-2001-db8--7.trace");
        assert!(Name::is_one(&name(1_234_567)));
        let unix = Name { at: SystemTime::UNIX_EPOCH, number: 1, protocol: "raw", client: None };
        assert!(Name::is_one(&unix.to_string()), "{unix}");
        for other in [
            "",
            ".trace",
            "notes.trace",
            "20261130T051500.123Z-000001-raw-127.0.0.1",
            "20261130T051500.123Z-000001-raw-.trace",
            "20261130T051500.123Z-1-raw-127.0.0.1.trace",
            "20261130T051500.123Z-000001-raw-192.0.2.7-keep.trace",
            "20261130T051500.123Z-000001-raw-192.0.2.7.1.trace",
            "20261130T051500.123Z-000001-raw-2001-db8--7-keep.trace",
            "20261130T051500.123Z-000001-raw-unix2.trace",
            "20261130T051500.123Z-000001-mine-192.0.2.7.trace",
            "2026113xT051500.123Z-000001-raw-127.0.0.1.trace",
            "20261130T051500.123Z-000001-raw-../etc.trace",
        ] {
            assert!(!Name::is_one(other), "{other}");
        }
    }

    /// The names in a directory, in order.
    fn names(path: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(path).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_traces_are_removed_also_those_of_an_earlier_server_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path();
        std::fs::write(path.join("notes.trace"), [0; 5000]).unwrap();
        std::fs::create_dir(path.join(name(0))).unwrap();
        let open = |limits| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)).unwrap();
            Directory::of(open(path).unwrap(), limits).unwrap()
        };
        let mut directory = open(Limits { files: 3, bytes: 1000 });
        for number in 1..=5 {
            directory.write(&name(number), &[b'x'; 100]).unwrap();
        }
        let kept = |numbers: &[u64]| {
            let others = ["notes.trace".to_owned(), name(0)];
            let mut all: Vec<_> = numbers.iter().map(|&n| name(n)).chain(others).collect();
            all.sort();
            assert_eq!(names(path), all);
        };
        kept(&[3, 4, 5]);
        // After a restart, a large one needs the room of two.
        let mut directory = open(Limits { files: 10, bytes: 1000 });
        directory.write(&name(6), &[b'x'; 850]).unwrap();
        kept(&[5, 6]);
        // That of a connection which was accepted before all others is the newest one at its end,
        // also for another server.
        directory.write(&name(1), &[b'x'; 100]).unwrap();
        kept(&[1, 6]);
        let older = File::options().append(true).open(path.join(name(6))).unwrap();
        older.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let mut directory = open(Limits { files: 2, bytes: 1000 });
        directory.write(&name(2), &[b'x'; 10]).unwrap();
        kept(&[1, 2]);
        // One that is larger than all of it is the only one.
        directory.write(&name(7), &[b'x'; 2000]).unwrap();
        kept(&[7]);
        // A trace that another program removed takes no room.
        std::fs::remove_file(path.join(name(7))).unwrap();
        directory.write(&name(8), &[b'x'; 500]).unwrap();
        kept(&[8]);
    }

    #[test]
    fn a_directory_that_others_can_read_or_that_is_served_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let served = at("served");
        std::fs::create_dir_all(served.join("below")).unwrap();
        let refused = |path: &Path| {
            let error = Directory::open(path, &served).unwrap_err();
            assert!(!error.hint().is_empty());
            error.to_string()
        };
        for path in [served.clone(), served.join("traces"), served.join("below"), at("")] {
            let error = refused(&path);
            let words = format!(": it overlaps the served directory {}", served.display());
            assert!(error.ends_with(&words), "{error}");
        }
        assert!(!served.join("traces").exists(), "it is not created either");
        // By way of a link too.
        symlink(&served, at("link")).unwrap();
        assert!(refused(&at("link/traces")).contains(": it overlaps the served directory "));
        assert!(refused(&at("link")).ends_with("it is a symbolic link"));
        assert!(refused(&at("link/")).ends_with("it is a symbolic link"));
        std::fs::create_dir(at("open")).unwrap();
        std::fs::set_permissions(at("open"), PermissionsExt::from_mode(0o750)).unwrap();
        let error = refused(&at("open"));
        assert!(error.ends_with("other users have access to it (mode 0750)"), "{error}");
        std::fs::write(at("file"), "").unwrap();
        assert!(refused(&at("file")).contains("Not a directory"));
        assert!(refused(&at("no/such")).contains("No such file or directory"));
        let opened = Directory::open(&at("traces"), &served).unwrap();
        let mode = at("traces").metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
        assert!(refused(&at("traces")).contains("another server"));
        drop(opened);
        Directory::open(&at("traces/"), &served).unwrap();
    }
}
