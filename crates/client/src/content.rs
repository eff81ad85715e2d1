//! The content to send: a file or standard input, hashed while it is read, or in parallel if the
//! server has the beginning.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use anyport_net::copy::send_file;
use anyport_net::pace::Pace;
use anyport_net::tcp_info::TcpInfo;
use anyport_net::waiting::Waiting;
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::file_time::{FileTime, GRANULARITY};
use anyport_proto::transfer::hasher::Hasher;
use anyport_proto::transfer::offer::Offer;

use crate::aside::Aside;
use crate::error::{Error, ErrorKind, Stopped};
pub use crate::open_error::OpenError;
use crate::spent::{SoFar, Spent};

/// A file to send: examined first, and opened when its turn comes.
#[derive(Debug, Clone)]
pub struct Source {
    /// Returns the path as given.
    path: PathBuf,
    /// Its name on the server; `None` for standard input.
    name: Option<OsString>,
    /// Bytes to be sent, where that is known before it is opened.
    size: Option<u64>,
}

impl Source {
    /// Returns a file by its path, or standard input for `-`.
    ///
    /// # Errors
    /// There is no such file, or it is a directory.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        if is_stdin(&path) {
            return Ok(Self { path, name: None, size: None });
        }
        let name = path.file_name().map(OsStr::to_owned);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Err(OpenError::Directory { path }),
            Ok(metadata) => Ok(Self { path, name, size: regular_size(&metadata) }),
            Err(source) => Err(OpenError::Open { path, source }),
        }
    }

    /// Returns a file found below a directory: `name` is relative to the given directory.
    pub(crate) fn found(path: PathBuf, name: OsString, metadata: &Metadata) -> Self {
        Self { path, name: Some(name), size: regular_size(metadata) }
    }

    /// Returns the path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes to be sent, where that is known.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// A directory that holds nothing; its name ends in `/`.
    pub(crate) const fn directory(path: PathBuf, name: OsString) -> Self {
        Self { path, name: Some(name), size: Some(0) }
    }

    /// Returns its name on the server: the last component of its path, after the directories that
    /// were walked.
    ///
    /// `None` for standard input.
    pub fn name(&self) -> Option<&OsStr> {
        self.name.as_deref()
    }

    /// Opens it. A regular file's size is announced as it is now, and exactly so much is sent;
    /// pipes and devices are sent until they end.
    pub(crate) fn open(&self, digest: Algorithm) -> Result<Content, OpenError> {
        let failed = |source| OpenError::Open { path: self.path.clone(), source };
        let mut ctime = None;
        let (file, size, identity) = if is_stdin(&self.path) {
            // Standard input may begin anywhere in a file, so its size is known only at its end.
            (File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?), None, None)
        } else {
            let file = File::open(&self.path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            let size = regular_size(&metadata).or_else(|| metadata.is_dir().then_some(0));
            let size = size.filter(|_| !metadata.is_file() || has_its_size(&file, &metadata));
            ctime = settled_ctime(&metadata);
            (file, size, size.map(|_| Identity::of(&self.path, &metadata)))
        };
        Ok(Content {
            file,
            label: self.path.clone(),
            size,
            identity,
            digest,
            hashing: Hashing::Passing(Hasher::new(digest)),
            bytes: 0,
            checked: false,
            grown: false,
            ctime,
            spent: Spent::default(),
            so_far: SoFar::default(),
            pace: None,
        })
    }
}

/// Returns the change time of a file, if a later change gets another one: the clock of the kernel's
/// times has ticked since, or on a file system with whole seconds the second is over.
fn settled_ctime(metadata: &Metadata) -> Option<(i64, i64)> {
    let ctime = FileTime::exact(metadata.ctime(), u32::try_from(metadata.ctime_nsec()).ok()?);
    let step = if metadata.ctime_nsec() == 0 { GRANULARITY } else { TICK };
    let age = SystemTime::now().duration_since(ctime.to_system_time()?).ok()?;
    (age > step).then_some((metadata.ctime(), metadata.ctime_nsec()))
}

/// The longest step of the clock that files get their times from: 10 ms at 100 Hz, and some more.
const TICK: Duration = Duration::from_millis(20);

/// Returns whether the size in a regular file's metadata is true. In `/proc` it is 0 and in `/sys`
/// a page, whatever the content, and without blocks; such files are read to their end.
fn has_its_size(file: &File, metadata: &Metadata) -> bool {
    if metadata.blocks() > 0 || metadata.len() > LARGEST_VIRTUAL {
        return true;
    }
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    // Some of these files, such as /proc/PID/pagemap, can be read in whole records only.
    let mut buffer = vec![0; size.saturating_add(PAGE)];
    let mut filled = 0;
    while filled <= size {
        match file.read_at(&mut buffer[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Without a size it is read to its end, and the error is reported then.
            Err(_) => return false,
        }
    }
    filled == size
}

/// Maximum size of a file without blocks that is read to learn its size: an attribute of `/sys` has
/// at most a page, and a larger file without blocks is sparse.
const LARGEST_VIRTUAL: u64 = 64 * 1024;

/// Additional bytes that are read to see whether a file continues after its size.
const PAGE: usize = 4096;

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn regular_size(metadata: &Metadata) -> Option<u64> {
    metadata.is_file().then_some(metadata.len())
}

/// The identity of a regular file, to check that it is still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    mtime: FileTime,
    mode: u32,
}

impl Identity {
    fn of(path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            mtime: mtime(metadata),
            mode: metadata.mode() & PERMISSIONS,
        }
    }

    /// For the server, which knows nothing else of this machine.
    fn id(&self) -> String {
        // Two machines may well have files of one inode, path, size and time.
        static MACHINE: LazyLock<Vec<u8>> =
            LazyLock::new(|| std::fs::read("/etc/machine-id").unwrap_or_default());
        let mut hasher = blake3::Hasher::new_derive_key("anyport 2026-11 identity of a source");
        hasher.update(&MACHINE);
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        hasher.update(path.as_os_str().as_encoded_bytes());
        for fact in [self.device, self.inode, self.size] {
            hasher.update(&fact.to_le_bytes());
        }
        let nanoseconds = i64::from(self.mtime.nanoseconds.unwrap_or(0));
        for fact in [self.mtime.seconds, nanoseconds] {
            hasher.update(&fact.to_le_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

/// The exact modification time of a local file.
pub(crate) fn mtime(metadata: &Metadata) -> FileTime {
    FileTime::exact(metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or(0))
}

/// The result of examining a source again, after its content was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    Unchanged,
    /// The sent content may still be its beginning: it has grown, or only its change time differs.
    Compare,
    Changed,
}

/// Bytes that wait for a digest that is made beside.
const HELD_BACK: u64 = 64 * 1024;

/// Maximum time for which the receiver gets no data meanwhile.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// Bytes of less than a segment, which the kernel keeps for the next call.
const UNSENT: u64 = 2048;

/// The bits of a mode that are sent: neither the kind of the file nor set-user-id and the like.
const PERMISSIONS: u32 = 0o777;

/// A source while it is being sent.
pub(crate) struct Content {
    file: File,
    /// As the user wrote it, for messages.
    label: PathBuf,
    size: Option<u64>,
    /// Of a regular file.
    identity: Option<Identity>,
    digest: Algorithm,
    hashing: Hashing,
    /// Offset of the next read.
    bytes: u64,
    /// Whether the source was examined again after its last byte, and was unchanged.
    checked: bool,
    /// It has more bytes by now than were sent.
    grown: bool,
    /// Change time of its inode before it was read; `None` if it was so recent that another change
    /// could have the same time.
    ctime: Option<(i64, i64)>,
    spent: Spent,
    so_far: SoFar,
    pace: Option<Pace>,
}

enum Hashing {
    /// While it is read.
    Passing(Hasher),
    /// The whole file, in parallel.
    Aside(Aside),
    Done(Option<Digest>),
}

impl Content {
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    pub(crate) const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Returns the offer, without name and options.
    pub(crate) fn offer(&self) -> Offer {
        let identity = self.identity.as_ref();
        Offer {
            size: self.size,
            digest: Some(self.digest),
            mtime: identity.map(|identity| identity.mtime.announced(SystemTime::now())),
            mode: identity.map(|identity| identity.mode),
            ..Offer::default()
        }
    }

    /// Returns the ID by which the server recognizes the file after an interruption.
    pub(crate) fn id(&self) -> Option<String> {
        self.identity.as_ref().map(Identity::id)
    }

    /// Bytes that should go out before more are read, so that they go evenly at a rate.
    pub(crate) fn at_once(&self) -> usize {
        let pace = self.pace.as_ref().map_or(usize::MAX, Pace::most);
        match &self.hashing {
            // While the digest of a long beginning is still being computed, the last bytes are kept
            // back, and one is sent from time to time: a receiver without input would time out.
            Hashing::Aside(aside) if self.left().is_some_and(|left| left <= HELD_BACK) => {
                if aside.is_made(KEEPALIVE_EVERY) { pace } else { 1 }
            }
            Hashing::Aside(_) => {
                let ahead = self.left().unwrap_or(u64::MAX).saturating_sub(HELD_BACK);
                usize::try_from(ahead).unwrap_or(usize::MAX).min(pace)
            }
            _ => pace,
        }
    }

    /// From now on no more than `rate` bytes per second are read.
    pub(crate) fn keep_to(&mut self, rate: u64) {
        self.pace = Some(Pace::new(rate));
    }

    /// Returns the time that it took so far.
    pub(crate) const fn spent(&self) -> Spent {
        Spent { is_stream: self.size.is_none(), ..self.spent }
    }

    /// Returns what was read at any later time, and the time that it took.
    pub(crate) fn so_far(&self) -> SoFar {
        self.so_far.clone()
    }

    /// Continues at `offset`, because the server has the content before it. The whole file is then
    /// hashed in parallel.
    pub(crate) fn resume_at(&mut self, offset: u64) -> Result<(), Error> {
        if offset == 0 {
            return Ok(());
        }
        let failed = |source| Error::from(ErrorKind::Read(self.label.clone())).because(source);
        let size = self.size.filter(|size| offset <= *size);
        let size = size.ok_or_else(|| {
            failed(io::Error::other("the server's partial file is longer than this file"))
        })?;
        self.file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        self.bytes = offset;
        if self.digest != Algorithm::None {
            let file = self.file.try_clone().map_err(failed)?;
            let aside = Aside::start(file, size, self.digest).map_err(failed)?;
            self.hashing = Hashing::Aside(aside);
        }
        Ok(())
    }

    /// Bytes still to be read, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.size.map(|size| size - self.bytes)
    }

    /// Bytes read so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads available content, at most `buffer` and at most the announced size. Returns 0 at the
    /// end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let wanted =
            self.left().map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let most = self.most();
        let (buffer, _) = buffer.split_at_mut(wanted.min(buffer.len()).min(most));
        if buffer.is_empty() {
            return Ok(0);
        }
        let began = Instant::now();
        loop {
            match Waiting(&self.file).read(buffer) {
                Ok(0) if self.size.is_some() => return Err(self.shrank()),
                Ok(count) => {
                    let read = Instant::now();
                    self.spent.reading += read - began;
                    if let Hashing::Passing(hasher) = &mut self.hashing {
                        hasher.update(&buffer[..count]);
                        self.spent.hashing += read.elapsed();
                    }
                    self.bytes += count as u64;
                    if self.left() == Some(0) {
                        // Without its last bytes no receiver considers it complete.
                        self.check_source()?;
                    }
                    self.pause(count as u64);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::from(ErrorKind::Read(self.label.clone())).because(source));
                }
            }
        }
    }

    /// Sends the next content over `stream` by sendfile, if no digest was requested: at most
    /// `count` bytes, 0 at the end. `None`: it must be read instead.
    pub(crate) fn send_by_kernel(
        &mut self,
        stream: &TcpStream,
        count: usize,
    ) -> Result<Option<usize>, Stopped> {
        let wanted = matches!(&self.hashing, Hashing::Passing(hasher) if hasher.wants_content());
        let Some(left) = self.left().filter(|_| !wanted) else { return Ok(None) };
        let most = self.most();
        // The last byte is read, as the source is looked at again before it goes.
        let whole = usize::try_from(left.saturating_sub(1)).unwrap_or(usize::MAX);
        let count = whole.min(count).min(most);
        if left == 0 || most == 0 {
            return Ok(Some(0));
        }
        // A source with a size was opened by us, and its first byte is the content's.
        let began = Instant::now();
        let sent = match count {
            0 => None,
            count => send_file(stream, &self.file, self.bytes, count)?,
        };
        if TcpInfo::of(stream).is_ok_and(|tcp| tcp.unsent.is_some_and(|bytes| bytes < UNSENT)) {
            self.spent.by_kernel += began.elapsed();
        }
        let Some(sent) = sent else {
            // Reading continues where sending stopped.
            let at = SeekFrom::Start(self.bytes);
            self.file.seek(at).map_err(|source| {
                Stopped::Local(Error::from(ErrorKind::Read(self.label.clone())).because(source))
            })?;
            return Ok(None);
        };
        if sent == 0 {
            return Err(Stopped::Local(self.shrank()));
        }
        self.bytes += sent as u64;
        self.pause(sent as u64);
        Ok(Some(sent))
    }

    /// Returns [`Self::at_once`], and records the wait for a digest as hashing.
    fn most(&mut self) -> usize {
        let began = Instant::now();
        self.spent.first.get_or_insert(began);
        let most = self.at_once();
        if matches!(self.hashing, Hashing::Aside(_)) {
            self.spent.hashing += began.elapsed();
        }
        most
    }

    /// Waits until more than the `moved` bytes are due.
    fn pause(&mut self, moved: u64) {
        self.spent.last = Some(Instant::now());
        if let Some(pace) = &mut self.pace {
            pace.moved(moved);
            let began = Instant::now();
            std::thread::sleep(pace.pause());
            self.spent.pausing += began.elapsed();
        }
        self.so_far.set(self.bytes, self.spent());
    }

    /// Fills `buffer`, which must not exceed the rest of the announced size.
    pub(crate) fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<(), Error> {
        while !buffer.is_empty() {
            match self.read(buffer)? {
                0 => return Err(self.shrank()),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(())
    }

    /// The digest of everything, once everything has been read. Waits for one that is made beside.
    ///
    /// # Errors
    /// The source cannot be read, or differs from the sent content.
    pub(crate) fn digest(&mut self) -> Result<Option<Digest>, Error> {
        if self.left() == Some(0) {
            self.check_source()?;
        }
        self.finish_digest()
    }

    /// Returns whether the source has more bytes now than were sent.
    pub(crate) const fn has_grown(&self) -> bool {
        self.grown
    }

    /// Examines the source again: the sent content may be half old and half new.
    fn check_source(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.checked, true) {
            return Ok(());
        }
        let path = self.label.clone();
        let failed = |source| Error::from(ErrorKind::Read(path.clone())).because(source);
        let changed = || ErrorKind::Changed(path.clone()).into();
        match self.look_again().map_err(failed)? {
            Second::Unchanged => Ok(()),
            Second::Changed => Err(changed()),
            Second::Compare => match self.finish_digest()? {
                Some(digest) if self.rehash().map_err(failed)? == Some(digest) => Ok(()),
                // There is no digest of the sent content.
                None if !self.grown => Ok(()),
                _ => Err(changed()),
            },
        }
    }

    fn look_again(&mut self) -> io::Result<Second> {
        let Some(identity) = &self.identity else { return Ok(Second::Unchanged) };
        let now = self.file.metadata()?;
        let same_file = |found: &Metadata| (found.dev(), found.ino()) == (now.dev(), now.ino());
        // A source that was only removed or renamed is still the opened one.
        if std::fs::metadata(&identity.path).is_ok_and(|found| !same_file(&found)) {
            return Ok(Second::Changed);
        }
        if now.is_dir() {
            return Ok(Second::Unchanged);
        }
        self.grown = now.len() > identity.size;
        let modified = mtime(&now) != identity.mtime;
        Ok(match now.len().cmp(&identity.size) {
            Ordering::Less => Second::Changed,
            Ordering::Equal if modified => Second::Changed,
            Ordering::Greater => Second::Compare,
            Ordering::Equal if self.ctime == Some((now.ctime(), now.ctime_nsec())) => {
                Second::Unchanged
            }
            Ordering::Equal => Second::Compare,
        })
    }

    /// Hashes the sent range of the current source.
    fn rehash(&self) -> io::Result<Option<Digest>> {
        let (file, size) = (self.file.try_clone()?, self.size.unwrap_or_default());
        Aside::start(file, size, self.digest)?.finish()
    }

    fn finish_digest(&mut self) -> Result<Option<Digest>, Error> {
        let began = Instant::now();
        let digest = match std::mem::replace(&mut self.hashing, Hashing::Done(None)) {
            Hashing::Passing(hasher) => hasher.finish(),
            Hashing::Aside(aside) => aside.finish().map_err(|source| {
                Error::from(ErrorKind::Read(self.label.clone())).because(source)
            })?,
            Hashing::Done(digest) => digest,
        };
        self.hashing = Hashing::Done(digest);
        self.spent.hashing += began.elapsed();
        Ok(digest)
    }

    fn shrank(&self) -> Error {
        ErrorKind::Shrank {
            path: self.label.clone(),
            announced: self.size.unwrap_or_default(),
            read: self.bytes,
        }
        .into()
    }
}
