//! Receives files and listings: `target → connect → wire (lines, messages or HTTP) → local file`.
//!
//! ```text
//!   list the path        names, sizes and times; a WebSocket server gets the path in the message
//!   already here?        same size and time: nothing to do
//!   partial file beside  content that an earlier attempt received of the same version
//!   get from there on    content, then the digest of the whole file
//!   publish              digest checked, fsync, renamed without replacing another file
//! ```
//!
//! New content is hashed as it arrives. A resumed file is hashed completely at its end, so that the
//! server never waits for the local disk.

mod file;
mod folders;
mod http;
mod lines;
mod listing;
mod messages;
pub(crate) mod pipe;
mod receiver;
mod transport;
mod wire;
mod written;

pub use anyport_proto::transfer::listing::Listed;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyport_proto::peer::Peer;
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::download::{EntryKind, FileEnd, LeftOut, LeftOutReason, ListEnd};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::Hasher;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::receipt::Outcome;
use anyport_proto::transfer::refusal::Retry;
use anyport_trace::{Recorder, Side, Time, What};

use crate::attempts::Attempts;
use crate::connect::ConnectOptions;
use crate::error::{Consequence, Error, ErrorKind, ErrorOrigin};
use crate::target::{Scope, Target};
use crate::trace::failed;
use file::RemoteFile;
use folders::Folders;
use receiver::{Count, Receiver};
use wire::{MOST_LISTED_BYTES, Wire};
use written::Written;

/// The options of a download.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GetOptions {
    /// The digest that both sides compute.
    pub digest: Algorithm,
    /// Whether a local file with the same size and time is compared by digest.
    pub checksum: bool,
    /// Action if another file exists.
    ///
    /// One of the same size and exact time, or of the same digest, counts as received, but for
    /// `Rename`.
    pub on_exists: OnExists,
    /// Whether received files get the permissions that they have on the server, even beyond the
    /// umask.
    pub permissions: bool,
    /// Options of the connection.
    pub connect: ConnectOptions,
    /// Bytes per second that are not to be passed.
    pub limit_rate: Option<u64>,
    /// Maximum number of attempts in a row without progress.
    pub retries: u32,
    /// Maximum total time without progress.
    pub retry_max_time: Duration,
}

impl Default for GetOptions {
    fn default() -> Self {
        Self {
            digest: Algorithm::default(),
            checksum: false,
            on_exists: OnExists::Error,
            permissions: false,
            connect: ConnectOptions::default(),
            limit_rate: None,
            retries: 10,
            retry_max_time: Duration::from_secs(600),
        }
    }
}

/// The destination of content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Under its own name into this directory; of a directory, all with its own name before it.
    Directory(PathBuf),
    /// Under this name.
    File(PathBuf),
}

/// A file that was received.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Got {
    /// The server.
    pub peer: Peer,
    /// Its path there.
    pub name: FilePath,
    /// Path of the local file; `None` if it went to a writer.
    pub path: Option<PathBuf>,
    /// Bytes of the whole file.
    pub size: u64,
    /// Bytes that were here before.
    pub offset: u64,
    /// From the question to the last byte of content.
    pub seconds: f64,
    /// Of the whole file.
    pub digest: Option<Digest>,
    /// The server said the same digest.
    ///
    /// Over HTTP it says none, and the length alone was compared.
    pub verified: bool,
    /// The server said beforehand how many bytes there are.
    ///
    /// Where it did not, and is not under TLS, its end in the middle looks like that of the file.
    pub size_announced: bool,
    /// The outcome: received and stored here, or already here.
    pub outcome: Outcome,
}

impl Got {
    /// Returns the number of bytes received over the network.
    pub fn received(&self) -> u64 {
        if self.outcome == Outcome::Stored { self.size - self.offset } else { 0 }
    }

    /// Returns the bytes per second; `None` if nothing was received, or no time was measured.
    pub fn rate(&self) -> Option<f64> {
        let rate = self.received() as f64 / self.seconds;
        Some(rate).filter(|rate| rate.is_finite() && *rate > 0.0)
    }
}

/// Progress of a download.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The file of this name is about to be received.
    Begins(&'a FilePath),
    /// This many bytes are expected in addition.
    Expect(u64),
    /// This many bytes were received, or were here already.
    Bytes(u64),
    /// A file is whole.
    Got(&'a Got),
    /// One of several entries was not received; the others follow.
    Failed(&'a FilePath, &'a Error),
    /// The server left an entry out of its listing.
    LeftOut(&'a LeftOut),
    /// The server omitted this many symbolic links from its listing.
    Links(u64),
    /// The connection was lost; another attempt follows after this time.
    Retrying(&'a Error, Duration),
}

/// The files that one command has received, so that none of them counts as another one that is to
/// have its name.
///
/// They are known by inode: file systems may have two names for one file.
#[derive(Debug, Default)]
pub struct Received {
    inodes: HashSet<(u64, u64)>,
    /// Files with several links, of which another one is not the same file.
    paths: HashSet<PathBuf>,
}

impl Received {
    fn add(&mut self, path: &Path) {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.nlink() == 1 => {
                self.inodes.insert((metadata.dev(), metadata.ino()));
            }
            _ => {
                self.paths.insert(path.to_owned());
            }
        }
    }

    fn has(&self, path: &Path) -> bool {
        let is_known = |metadata: std::fs::Metadata| {
            metadata.nlink() == 1 && self.inodes.contains(&(metadata.dev(), metadata.ino()))
        };
        self.paths.contains(path) || std::fs::symlink_metadata(path).is_ok_and(is_known)
    }
}

/// Receives the file or directory that `target` names, telling `tell` how it goes.
///
/// Returns the number of files. A lost connection is replaced, and the transfer resumes; a file
/// that changed on the server starts again. An entry of a directory that cannot be received does
/// not stop the others.
///
/// # Errors
/// An error that retries do not fix; files before it have been reported. An interrupted file is
/// kept, and the same call resumes it. After all files of a directory, [`ErrorKind::Some`] if some
/// entries failed.
pub fn get(
    target: &Target,
    into: &Destination,
    options: &GetOptions,
    received: &mut Received,
    tell: &mut dyn FnMut(Progress<'_>),
) -> Result<u64, Error> {
    let scope = target.scope()?;
    let mut attempts =
        Attempts::new(options.retries, options.retry_max_time, options.connect.trace.as_ref());
    let mut so_far = SoFar::new(received, options.connect.trace.as_ref());
    loop {
        let done = attempt(target, &scope, into, options, &mut attempts, &mut so_far, tell);
        let Err(error) = done else { return so_far.outcome() };
        let Err(error) = attempts.again(error, &mut retrying(tell)) else { continue };
        let is_one = scope.is_directory() && error.consequence().one_file;
        let Some(file) = so_far.current.take().filter(|_| is_one) else { return Err(error) };
        so_far.fail(file, &error, tell);
        attempts.reset();
    }
}

/// The result of earlier attempts.
struct SoFar<'a> {
    /// Whether expected bytes and omissions were reported.
    expected: bool,
    /// Files that are whole, or have failed.
    done: HashSet<FilePath>,
    /// Reported bytes of the interrupted file.
    reported: u64,
    /// The file that is being received.
    current: Option<FilePath>,
    /// Number of entries that were not received, and the origin of the first error.
    failed: usize,
    origin: Option<ErrorOrigin>,
    /// Entries that were left out of the listing.
    left_out: usize,
    received: &'a mut Received,
    trace: Option<&'a Recorder>,
}

impl<'a> SoFar<'a> {
    fn new(received: &'a mut Received, trace: Option<&'a Recorder>) -> Self {
        Self {
            expected: false,
            done: HashSet::new(),
            reported: 0,
            current: None,
            failed: 0,
            origin: None,
            left_out: 0,
            received,
            trace,
        }
    }

    fn outcome(self) -> Result<u64, Error> {
        let (failed, of) = (self.failed + self.left_out, self.done.len() + self.left_out);
        match self.origin {
            None => Ok(self.done.len() as u64),
            Some(origin) => {
                let what = "entries were not received";
                Err(ErrorKind::Some { failed, of, what, origin }.into())
            }
        }
    }

    /// Reports the counts of a listing, once.
    fn tell_of(&mut self, listing: &Listing, tell: &mut dyn FnMut(Progress<'_>)) {
        if std::mem::replace(&mut self.expected, true) {
            return;
        }
        tell(Progress::Expect(listing.files.iter().filter_map(|file| file.size).sum()));
        for left_out in &listing.left_out {
            tell(Progress::LeftOut(left_out));
        }
        // A server may count more than it names.
        let count = listing.end.left_out.unwrap_or(0).max(listing.left_out.len() as u64);
        self.left_out = usize::try_from(count).unwrap_or(usize::MAX);
        if count > 0 {
            self.origin.get_or_insert(ErrorOrigin::Local);
        }
        if let Some(links) = listing.end.links.filter(|links| *links > 0) {
            tell(Progress::Links(links));
        }
    }

    /// Leaves an entry that cannot be received.
    fn fail(&mut self, name: FilePath, error: &Error, tell: &mut dyn FnMut(Progress<'_>)) {
        if self.done.insert(name.clone()) {
            failed(self.trace, error);
            self.failed += 1;
            self.origin.get_or_insert_with(|| error.origin());
            tell(Progress::Failed(&name, error));
        }
        self.reported = 0;
    }
}

/// Requests the listing, and receives missing files.
fn attempt(
    target: &Target,
    asked: &Scope,
    into: &Destination,
    options: &GetOptions,
    attempts: &mut Attempts,
    so_far: &mut SoFar<'_>,
    tell: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Error> {
    attempts.repeatable = true;
    let mut wire = Wire::open(target, options)?;
    attempts.connected();
    let listing = files(&mut wire, target, options, asked)?;
    so_far.tell_of(&listing, tell);
    let Listing { files, directories, .. } = listing;
    let folders = Folders::new(asked, into);
    let host = &target.host;
    let mut receiver = Receiver { wire, host, options, tell, folders, in_content: false };
    for directory in directories {
        let path = destination(asked, into, &directory);
        if let Err(error) = receiver.folders.create(&path) {
            so_far.fail(directory, &error, receiver.tell);
        }
    }
    for file in files {
        if so_far.done.contains(&file.name) {
            continue;
        }
        (receiver.tell)(Progress::Begins(&file.name));
        let path = destination(asked, into, &file.name);
        so_far.current = Some(file.name.clone());
        let mut count = Count { attempts, before: so_far.reported, bytes: 0 };
        let received = receiver.receive(&file, &path, so_far.received, &mut count);
        so_far.reported = count.before.max(count.bytes);
        match received {
            Ok(path) => {
                so_far.received.add(&path);
                so_far.reported = 0;
                so_far.done.insert(file.name);
            }
            Err(error) => {
                let Consequence { one_file, retry, .. } = error.consequence();
                if !(asked.is_directory() && one_file && retry == Retry::Never) {
                    return Err(error);
                }
                so_far.fail(file.name, &error, receiver.tell);
            }
        }
        so_far.current = None;
        attempts.reset();
        if std::mem::take(&mut receiver.in_content) {
            // The rest of the failed file may still be in transit.
            receiver.wire = Wire::open(target, options)?;
        }
    }
    receiver.wire.close();
    Ok(())
}

/// Reports the attempts that follow a lost connection.
fn retrying(
    tell: &mut dyn FnMut(Progress<'_>),
) -> impl FnMut(&Error, Duration) -> Result<(), Error> {
    move |error, delay| {
        tell(Progress::Retrying(error, delay));
        Ok(())
    }
}

/// Records in the trace that a file was stored, from `began` on.
fn stored(connect: &ConnectOptions, began: Instant, bytes: u64, syncing: Duration) {
    if let Some(trace) = &connect.trace {
        let sync = Some(Time(syncing));
        trace.add_since(began, Some(Side::Client), What::Stored { bytes, sync });
    }
}

fn not_written(cause: std::io::Error) -> Error {
    Error::output("write the received content", cause)
}

/// Receives one file into `out`, and checks its digest at the end.
///
/// A lost connection is replaced, and the transfer resumes.
///
/// # Errors
/// An error that retries do not fix, such as a file that changed meanwhile. Written output remains.
pub fn get_into(
    target: &Target,
    out: &mut dyn Write,
    options: &GetOptions,
    tell: &mut dyn FnMut(Progress<'_>),
) -> Result<Got, Error> {
    let scope = target.scope()?;
    let Scope::File(name) = scope else {
        return Err(Error::from(ErrorKind::Directory(target.path.clone())));
    };
    let mut attempts =
        Attempts::new(options.retries, options.retry_max_time, options.connect.trace.as_ref());
    let started = Instant::now();
    let hasher = Hasher::new(options.digest);
    let mut written = Written { out, hasher, bytes: 0, head: None };
    let (wire, head, end, seconds) = loop {
        match written.attempt(target, &name, options, started, &mut attempts, tell) {
            Ok(done) => break done,
            // Written output cannot be undone.
            Err(error) if matches!(error.kind(), ErrorKind::ChangedThere(_)) => return Err(error),
            Err(error) => attempts.again(error, &mut retrying(tell))?,
        }
    };
    let digest = written.hasher.finish();
    agree(&head, digest, &end)?;
    let (peer, size, verified) = (wire.peer, end.bytes, end.digest.is_some());
    wire.close();
    let got = Got {
        peer,
        name,
        path: None,
        size,
        offset: 0,
        seconds,
        digest,
        verified,
        size_announced: head.size.is_some(),
        outcome: Outcome::Stored,
    };
    tell(Progress::Got(&got));
    Ok(got)
}

/// Lists what `target` names: a directory, or one file.
///
/// Returns the counts.
///
/// # Errors
/// The first error; entries before it have been delivered.
pub fn list(
    target: &Target,
    recursive: bool,
    options: &GetOptions,
    each: &mut dyn FnMut(Listed) -> Result<(), Error>,
) -> Result<ListEnd, Error> {
    let scope = target.scope()?;
    let mut wire = Wire::open(target, options)?;
    let end = wire.list(target, options, &scope, recursive, each)?;
    wire.close();
    Ok(end)
}

/// The files to receive.
#[derive(Default)]
struct Listing {
    files: Vec<RemoteFile>,
    directories: Vec<FilePath>,
    left_out: Vec<LeftOut>,
    end: ListEnd,
}

/// Asks what there is at `asked`.
fn files(
    wire: &mut Wire,
    target: &Target,
    options: &GetOptions,
    asked: &Scope,
) -> Result<Listing, Error> {
    let mut listing = Listing::default();
    if let Some(file) = wire.look(asked)? {
        listing.files.push(file);
        return Ok(listing);
    }
    let (peer, mut held) = (wire.peer, 0);
    let end = wire.list(target, options, asked, asked.is_directory(), &mut |listed| {
        held += size_of::<RemoteFile>();
        held += match &listed {
            Listed::Entry(entry) => entry.name.as_bytes().len(),
            Listed::LeftOut(left_out) => left_out.name_raw.len(),
        };
        if held > MOST_LISTED_BYTES {
            return Err(Error::at(peer, ErrorKind::TooLong(MOST_LISTED_BYTES)));
        }
        let entry = match listed {
            Listed::Entry(entry) => entry,
            // Links are counted alone.
            Listed::LeftOut(LeftOut { reason: LeftOutReason::Link, .. }) => return Ok(()),
            Listed::LeftOut(left_out) => {
                listing.left_out.push(left_out);
                return Ok(());
            }
        };
        match asked.path() {
            // Of a directory its content is listed, and not itself.
            Some(path) if !asked.is_directory() && entry.name != *path => {}
            // Entries outside of the requested path are refused, whatever the server lists.
            Some(path) if entry.name != *path && !entry.name.is_below(path) => {
                let answer = format!("{} in the listing of {path}", entry.name);
                return Err(Error::at(peer, ErrorKind::Answer(answer)));
            }
            _ if entry.kind == EntryKind::File => listing.files.push(entry.into()),
            _ => listing.directories.push(entry.name),
        }
        Ok(())
    })?;
    listing.end = end;
    // A file may be asked for with a slash.
    if let Scope::Directory(path) = asked
        && !listing.files.iter().any(|file| file.name == *path)
    {
        listing.directories.push(path.clone());
    }
    match asked.path() {
        Some(path) if !asked.is_directory() && listing.files.is_empty() => {
            Err(Error::from(ErrorKind::Directory(path.to_string())))
        }
        _ => Ok(listing),
    }
}

/// Returns the local path of a file: the content of a directory keeps the directory's name.
fn destination(asked: &Scope, into: &Destination, name: &FilePath) -> PathBuf {
    let directory = match into {
        Destination::File(path) if !asked.is_directory() => return path.clone(),
        Destination::File(path) | Destination::Directory(path) => path,
    };
    let Some(path) = asked.path() else { return directory.join(name) };
    let above = path.components().count() - 1;
    // All are file names, and the first is the last of the requested path.
    let names = name.components().skip(above).map(OsStr::from_bytes);
    names.fold(directory.clone(), |path, name| path.join(name))
}

/// Compares the local digest with the server's. Without a digest from the server none was
/// requested.
fn agree(head: &RemoteFile, ours: Option<Digest>, end: &FileEnd) -> Result<(), Error> {
    match (ours, end.digest) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            Err(ErrorKind::ReceivedDiffers { name: head.name.to_string(), ours, theirs }.into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str) -> Scope {
        url.parse::<Target>().unwrap().scope().unwrap()
    }

    fn path(text: &str) -> FilePath {
        FilePath::parse(text).unwrap()
    }

    #[test]
    fn received_files_go_below_their_directory() {
        let into = Destination::Directory(PathBuf::from("out"));
        let at = |url: &str, name: &str| destination(&asked(url), &into, &path(name));
        assert_eq!(at("tcp://h/a/b/c", "a/b/c"), Path::new("out/c"));
        assert_eq!(at("tcp://h/a/b/", "a/b/c/d"), Path::new("out/b/c/d"));
        assert_eq!(at("tcp://h/", "a/b"), Path::new("out/a/b"));
        let into = Destination::File(PathBuf::from("x"));
        assert_eq!(destination(&asked("tcp://h/a"), &into, &path("a")), Path::new("x"));
    }

    #[test]
    fn names_beside_a_directory_are_not_below_it() {
        assert!(path("a/b").is_below(&path("a")));
        assert!(!path("ab").is_below(&path("a")));
        assert!(!path("b").is_below(&path("a")));
    }

    #[test]
    fn a_file_is_known_again_unless_it_has_several_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut received = Received::default();
        for name in ["a", "b"] {
            std::fs::write(at(name), b"x").unwrap();
        }
        std::fs::hard_link(at("b"), at("c")).unwrap();
        received.add(&at("a"));
        received.add(&at("b"));
        assert!(received.has(&at("a")) && received.has(&folder.path().join("./a")));
        assert!(received.has(&at("b")) && !received.has(&at("c")) && !received.has(&at("d")));
    }
}
