//! Unix sockets: listening at a path, connecting to one, and differences from TCP.
//!
//! A connection is a `TcpStream` that owns a Unix socket, because reading, writing, polling,
//! splicing and shutting down are the same system calls. What only TCP has is unsupported:
//! addresses, TCP options and statistics.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{AddressFamily, sockopt};
use socket2::{Domain, SockAddr, Socket, Type};

/// Mode of a socket: its user and its group may connect.
pub const MODE: u32 = 0o660;

/// Maximum length of a path in bytes: `sun_path` has 108, and the last one is 0 (unix(7)).
pub const LONGEST_PATH: usize = 107;

/// A socket in the file system, removed when it is dropped unless another one replaced it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    made: Option<Made>,
}

/// The identity of a file. An inode number is used again, a time of creation is not; `chown` and
/// `chmod` do not change that time.
type Made = (u64, u64, Option<SystemTime>);

fn made(path: &Path) -> Option<Made> {
    let there = path.symlink_metadata().ok()?;
    Some((there.dev(), there.ino(), there.modified().ok()))
}

/// Listens at `path`.
///
/// From its creation on, the socket admits only the users whom `mode` permits. A socket that
/// refuses connections is left over from an earlier server and is replaced; any other file is not.
///
/// # Errors
/// `AddrInUse`: a server listens there. `AlreadyExists`: the file is not a socket. `InvalidInput`:
/// the path cannot be one of a socket. Others: the error of the system.
pub fn listen(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    check(path)?;
    // On an error the lock is released first, because the removal takes it too.
    let mut file = SocketFile { path: path.to_owned(), made: None };
    let _lock = lock(path);
    match path.symlink_metadata() {
        Ok(there) if !there.file_type().is_socket() => {
            let error = "the file exists and is not a socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, error));
        }
        Ok(_) if !is_left_over(path) => return Err(Errno::ADDRINUSE.into()),
        Ok(_) => std::fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Before bind, which gives the file the mode of the socket without the bits of the umask.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    socket.bind(&SockAddr::unix(path)?)?;
    file.made = made(path);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((OwnedFd::from(socket).into(), file))
}

/// Connects to the socket at `path`; `timeout` is for a server whose backlog is full.
///
/// # Errors
/// `InvalidInput`: the path cannot be one of a socket. Others: the error of the system.
pub fn connect(path: &Path, timeout: Duration) -> io::Result<TcpStream> {
    check(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(timeout))?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"))
        }
        Err(error) => Err(error),
        Ok(()) => Ok(OwnedFd::from(socket).into()),
    }
}

/// Checks that `path` can be the path of a socket.
///
/// # Errors
/// `InvalidInput`, which names the rule.
pub fn check(path: &Path) -> io::Result<()> {
    let bytes = path.as_os_str().as_bytes();
    let reason = match bytes {
        [] => "the path is empty".to_owned(),
        [b'@', ..] => "abstract sockets are not supported: they have no permissions".to_owned(),
        bytes if bytes.contains(&0) => "the path contains a zero byte".to_owned(),
        bytes if bytes.len() > LONGEST_PATH => {
            let length = bytes.len();
            format!("the path has {length} bytes; the path of a socket has at most {LONGEST_PATH}")
        }
        _ => return Ok(()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// Returns whether a socket is a Unix socket.
pub fn is_unix(socket: impl AsFd) -> bool {
    sockopt::socket_domain(socket) == Ok(AddressFamily::UNIX)
}

/// Returns whether output may be discarded: the peer of a Unix socket closed, and sent input before
/// that was not read yet. A TCP socket accepts such output by itself.
pub(crate) fn is_closed_with_input(socket: impl AsFd, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
        && is_unix(&socket)
        && ioctl_fionread(&socket).is_ok_and(|unread| unread > 0)
}

/// Returns whether the socket at `path` belongs to no process.
fn is_left_over(path: &Path) -> bool {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // The backlog of a live server may be full.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    connect().is_err_and(|error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Locks the directory of `path`, so that no server removes the new socket of another one that
/// starts or ends at the same time. Without permission to read it there is no lock, nor while
/// another process holds it for long: any user who can read the directory can.
fn lock(path: &Path) -> Option<File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(parent.unwrap_or_else(|| Path::new("."))).ok()?;
    for _ in 0..LOCK_ATTEMPTS {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            // A file system without locks.
            Err(_) => return None,
            Ok(()) => return Some(directory),
        }
    }
    None
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.made.is_none() {
            return;
        }
        let _lock = lock(&self.path);
        if made(&self.path) == self.made {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Maximum number of completed connections that wait for accept.
const BACKLOG: i32 = 1024;

/// Attempts to lock a directory, for about 0.1 s in total: a start or an end takes microseconds.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_socket_has_its_mode_and_is_removed_with_its_owner() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s");
        for wanted in [MODE, 0o600, 0o777] {
            let (listener, file) = listen(&path, wanted).unwrap();
            assert_eq!(mode(&path), wanted);
            connect(&path, Duration::from_secs(1)).unwrap();
            listener.accept().unwrap();
            drop((listener, file));
            assert!(!path.exists());
        }
    }

    #[test]
    fn only_a_socket_that_refuses_connections_is_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let (listener, first) = listen(&path, MODE).unwrap();
        assert_eq!(listen(&path, MODE).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // The first server has ended its listener, and a second one takes its place.
        drop(listener);
        let (_listener, _second) = listen(&path, MODE).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
        for other in ["file", "link"] {
            let path = scratch.path().join(other);
            match other {
                "file" => std::fs::write(&path, "content").unwrap(),
                _ => std::os::unix::fs::symlink("s", &path).unwrap(),
            }
            assert_eq!(listen(&path, MODE).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert!(path.symlink_metadata().is_ok(), "{other}");
        }
    }

    #[test]
    fn a_process_that_locks_the_directory_stops_neither_the_start_nor_the_end() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("s");
        let directory = File::open(scratch.path()).unwrap();
        flock(&directory, FlockOperation::LockExclusive).unwrap();
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let listening = listen(&path, MODE).unwrap();
            assert!(path.exists());
            drop(listening);
            ended.send(path.exists())
        });
        assert_eq!(end.recv_timeout(Duration::from_secs(60)), Ok(false));
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_named() {
        let long = "/".repeat(LONGEST_PATH + 1);
        for (path, words) in [
            (&*long, "has 108 bytes; the path of a socket has at most 107"),
            ("@name", "abstract sockets"),
            ("", "empty"),
        ] {
            let error = listen(Path::new(path), MODE).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert_eq!(connect(Path::new(path), TIMEOUT).unwrap_err().to_string(), error);
        }
        let error = listen(Path::new("/nonexistent/s"), MODE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    const TIMEOUT: Duration = Duration::from_secs(1);
}
