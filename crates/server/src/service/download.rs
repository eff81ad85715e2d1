//! Sends files over all protocols: hashed while they are sent, with one event at the end.
//!
//! Without a digest the kernel sends the content. With one it is read, hashed and written in
//! pieces. The digest is that of the whole file, also for a receiver that has its beginning
//! already: sending starts at the requested offset, and hashing at 0. With each piece that is sent,
//! twice as many bytes are hashed, until hashing has reached the offset of sending.

use std::cmp::Ordering;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyport_net::copy::Piece;
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::download::{FileEnd, FileHead, Get};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::Hasher;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_store::{Attributes, Content, Found, Kind};

use super::files::{Files, Source};
use crate::access::{Grant, Operation};
use crate::events::{Direction, Sent, Transfer, Underway};

/// A download. It ends by [`Self::finish`] or [`Self::broken`]; dropped without either, it counts
/// as aborted by the server.
pub(crate) struct Download {
    files: Arc<Files>,
    source: Source,
    head: FileHead,
    content: Content,
    /// The offset of the next byte.
    position: u64,
    /// The offset after the last byte.
    until: u64,
    /// Bytes of earlier ranges.
    earlier: u64,
    /// Hashes the file from its first byte; never beyond `position`.
    hasher: Hasher,
    /// Hashes the beginning of a file that has grown a second time, to compare it with the sent
    /// content: the file may have been rewritten.
    second_hasher: Option<Hasher>,
    began: Instant,
    /// When the last content was sent.
    last: Instant,
    end: Option<FileEnd>,
    /// Whether its event was delivered.
    reported: bool,
    /// Its entry in the list of running transfers.
    underway: Underway,
}

/// The next output of a download.
#[derive(Debug)]
pub(crate) enum DownloadOutput {
    /// This many bytes of the buffer; 0 if only some content was hashed.
    Bytes(usize),
    /// Content for the kernel to send; the session calls [`Download::sent`].
    Kernel(Piece),
    /// The end, after all content.
    End(FileEnd),
}

impl Files {
    /// Opens a requested file.
    ///
    /// # Errors
    /// A name that no stored file can have, no such file, or an offset beyond its end. The refusal
    /// was reported.
    pub(crate) fn open_download(
        self: &Arc<Self>,
        source: Source,
        get: &Get,
    ) -> Result<Download, Refusal> {
        self.try_open_download(source.clone(), get).inspect_err(|refusal| {
            self.refused(&source, refusal);
        })
    }

    fn try_open_download(self: &Arc<Self>, source: Source, get: &Get) -> Result<Download, Refusal> {
        let name = stored_path(&get.name, get.name_raw.as_deref())?;
        let opened = match self.try_find(source, name)? {
            Located::File(opened) => opened,
            Located::Directory(name) => {
                let message = format!("{name} is a directory");
                let hint = format!("list it with LIST {}", name.percent_encoded());
                return Err(Refusal::new(RefusalCode::NotFound, message).with_hint(hint));
            }
        };
        let Opened { name, attributes, .. } = &opened;
        if get.offset > attributes.size {
            let (offset, size) = (get.offset, attributes.size);
            let message = format!("offset {offset} exceeds the size of {name}, {size} bytes");
            return Err(Refusal::new(RefusalCode::BadRequest, message)
                .with_hint("the file has changed or is a different one; start at offset 0"));
        }
        let until = attributes.size;
        Ok(opened.into_download(get.offset..until, get.digest.unwrap_or(self.digest)))
    }

    /// Opens the requested file or directory.
    ///
    /// # Errors
    /// There is nothing that can be sent. The refusal was reported.
    pub(crate) fn find(
        self: &Arc<Self>,
        source: Source,
        path: FilePath,
    ) -> Result<Located, Refusal> {
        self.try_find(source.clone(), path).inspect_err(|refusal| {
            self.refused(&source, refusal);
        })
    }

    /// Returns whether the server may not read the entry at `path`.
    pub(crate) fn is_unreadable(&self, path: &FilePath) -> bool {
        let opened = self.store.now().open(path);
        opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Returns the attributes of the file at `path`, if there is one that the client may read.
    pub(crate) fn look_at(&self, grant: &Grant, path: &FilePath) -> Option<Attributes> {
        grant.check(Operation::Download, Some(path)).ok()?;
        match self.store.now().look_at(path) {
            Ok(Kind::File(attributes)) => Some(attributes),
            _ => None,
        }
    }

    fn try_find(self: &Arc<Self>, source: Source, name: FilePath) -> Result<Located, Refusal> {
        // A directory above the scope can be listed.
        source.grant.check(Operation::List, Some(&name))?;
        self.check_directory()?;
        match self.store.now().open(&name) {
            Ok(Found::File(content)) => {
                source.grant.check(Operation::Download, Some(&name))?;
                let attributes = content.attributes;
                Ok(Located::File(Opened { files: self.clone(), source, name, content, attributes }))
            }
            Ok(Found::Directory) => Ok(Located::Directory(name)),
            Ok(Found::Other) => {
                let message = format!("{name} is not a regular file");
                Err(Refusal::new(RefusalCode::NotFound, message))
            }
            Err(error) => Err(cannot_open(&name, &error)),
        }
    }
}

/// The file or the directory at a path.
pub(crate) enum Located {
    File(Opened),
    Directory(FilePath),
}

/// An open file of which nothing has been sent; dropping it reports nothing.
pub(crate) struct Opened {
    files: Arc<Files>,
    source: Source,
    pub(crate) name: FilePath,
    content: Content,
    pub(crate) attributes: Attributes,
}

impl Opened {
    /// Returns the digest of the file, by the first of the `wanted` algorithms for which it is
    /// known. Without one a short file is hashed if the client named algorithms.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn digest(&self, wanted: Option<&[Algorithm]>) -> io::Result<Option<Digest>> {
        let algorithms = wanted.unwrap_or(&[Algorithm::Blake3, Algorithm::Sha256]);
        let mut known = algorithms.iter().filter_map(|each| self.content.known_digest(*each));
        if let Some(digest) = known.next() {
            return Ok(Some(digest));
        }
        match wanted.and_then(<[Algorithm]>::first) {
            Some(algorithm) if self.attributes.size <= HASHED_ON_REQUEST => {
                self.content.digest(*algorithm, || self.source.is_gone())
            }
            _ => Ok(None),
        }
    }

    /// Returns the digest of the file for a person who compares it; `None` for a long file of which
    /// it is not known.
    pub(crate) fn digest_to_show(&self) -> Option<Digest> {
        if self.attributes.size > HASHED_TO_SHOW {
            return self.content.known_digest(Algorithm::Blake3);
        }
        let digest =
            self.content.digest(Algorithm::Blake3, || self.source.is_gone()).ok().flatten();
        digest.inspect(|digest| self.content.confirm(digest, None))
    }

    /// Begins a download of `bytes`, which exist. The digest is that of the whole file, so only a
    /// range to its end can have one.
    pub(crate) fn into_download(self, bytes: Range<u64>, digest: Algorithm) -> Download {
        let Self { files, source, name, content, attributes } = self;
        let now = Instant::now();
        let underway = files.events.running.begin(
            Transfer {
                direction: Direction::Out,
                protocol: source.protocol,
                peer: source.peer,
                name: Some(name.to_string()),
                size: Some(attributes.size),
                bytes: bytes.start,
                elapsed: Duration::ZERO,
            },
            None,
        );
        Download {
            underway,
            files,
            source,
            head: FileHead {
                name,
                size: attributes.size,
                offset: bytes.start,
                mtime: attributes.mtime.announced(SystemTime::now()),
                mode: attributes.mode,
            },
            content,
            position: bytes.start,
            until: bytes.end,
            earlier: 0,
            hasher: Hasher::new(digest),
            second_hasher: None,
            began: now,
            last: now,
            end: None,
            reported: false,
        }
    }
}

impl Download {
    /// Returns the head, which precedes the content.
    pub(crate) const fn head(&self) -> &FileHead {
        &self.head
    }

    /// Continues with another range, after the end of the last one.
    pub(crate) fn next_range(&mut self, bytes: Range<u64>) {
        self.earlier += self.position - self.head.offset;
        (self.head.offset, self.position, self.until) = (bytes.start, bytes.start, bytes.end);
        self.end = None;
    }

    /// Returns the next output, which may be in `buffer`.
    ///
    /// # Errors
    /// The file cannot be read, or was truncated: the connection must be aborted.
    pub(crate) fn next(&mut self, buffer: &mut [u8]) -> io::Result<DownloadOutput> {
        let left = self.until - self.position;
        if left == 0 {
            if self.hasher.wants_content() && self.hasher.bytes() < self.head.size {
                self.catch_up(HASHED_AT_ONCE)?;
                return Ok(DownloadOutput::Bytes(0));
            }
            if self.end.is_none() && !self.is_unchanged()? {
                return Ok(DownloadOutput::Bytes(0));
            }
            return Ok(DownloadOutput::End(self.end()));
        }
        if !self.hasher.wants_content() {
            // The last bytes are sent after the file was checked again: with a length alone the
            // receiver could accept half old and half new content.
            if left > TAIL
                && let Some(file) = self.content.file()
            {
                let (file, at) = (file.clone(), self.position);
                return Ok(DownloadOutput::Kernel(Piece { file, at, count: left - TAIL }));
            }
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = self.content.read_at(&mut buffer[..most], self.position)?;
            if count as u64 == left {
                self.is_unchanged()?;
            }
            self.sent(count as u64);
            return Ok(DownloadOutput::Bytes(count));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.catch_up(2 * most as u64)?;
        let count = self.content.read_at(&mut buffer[..most], self.position)?;
        if self.hasher.bytes() == self.position {
            self.hasher.update(&buffer[..count]);
        }
        self.sent(count as u64);
        Ok(DownloadOutput::Bytes(count))
    }

    /// Records that `count` bytes of [`DownloadOutput::Kernel`] were sent.
    pub(crate) fn sent(&mut self, count: u64) {
        self.position += count;
        self.underway.at(self.position);
        self.last = Instant::now();
    }

    /// Ends a download of which everything was sent.
    pub(crate) fn finish(mut self) {
        self.report(None);
    }

    /// Ends a download whose connection was lost.
    pub(crate) fn broken(mut self, reason: &str) {
        self.report(Some(reason.to_owned()));
    }

    fn end(&mut self) -> FileEnd {
        let hasher = self.hasher.clone();
        let bytes = self.head.size;
        self.end.get_or_insert_with(|| FileEnd { bytes, digest: hasher.finish() }).clone()
    }

    /// Checks after the last byte that the file is still the one that was opened. Returns `false`
    /// if it has grown and more of the sent content must be compared: call it again.
    ///
    /// # Errors
    /// It was rewritten or truncated while it was read: the receiver must not accept it as
    /// complete.
    fn is_unchanged(&mut self) -> io::Result<bool> {
        let (now, opened) = (self.content.current()?, self.content.attributes);
        let changed = || io::Error::other("the file changed during the transfer");
        match now.size.cmp(&opened.size) {
            Ordering::Less => return Err(changed()),
            Ordering::Equal if now.mtime != opened.mtime => return Err(changed()),
            Ordering::Equal => return Ok(true),
            // Without a digest the sent content is unknown; a log that grows is served
            // nevertheless.
            Ordering::Greater if self.hasher.algorithm() == Algorithm::None => return Ok(true),
            Ordering::Greater => {}
        }
        let algorithm = self.hasher.algorithm();
        let again = self.second_hasher.get_or_insert_with(|| Hasher::new(algorithm));
        let until = self.head.size.min(again.bytes().saturating_add(HASHED_AT_ONCE));
        self.content.hash(again, until, || self.source.is_gone())?;
        if again.bytes() < self.head.size {
            return Ok(false);
        }
        let same = again.clone().finish() == self.hasher.clone().finish();
        if same { Ok(true) } else { Err(changed()) }
    }

    /// Hashes content that was sent before it could be hashed, or that was not requested; at most
    /// `most` bytes.
    fn catch_up(&mut self, most: u64) -> io::Result<()> {
        let until = self.position.min(self.hasher.bytes().saturating_add(most));
        self.content.hash(&mut self.hasher, until, || self.source.is_gone())
    }

    fn report(&mut self, broken: Option<String>) {
        if std::mem::replace(&mut self.reported, true) {
            return;
        }
        if broken.is_none() {
            self.source.record.file();
        }
        let digest: Option<Digest> = self.end.take().and_then(|end| end.digest);
        self.files.events.sent(&Sent {
            protocol: self.source.protocol,
            engine: self.source.engine,
            peer: self.source.peer,
            name: self.head.name.clone(),
            size: self.head.size,
            offset: self.head.offset,
            bytes: self.earlier + self.position - self.head.offset,
            seconds: in_microseconds(self.last - self.began),
            digest,
            broken,
        });
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.report(Some("the server aborted the transfer".to_owned()));
    }
}

/// Returns the requested path, if a stored file can have it.
pub(crate) fn stored_path(asked: &str, raw: Option<&str>) -> Result<FilePath, Refusal> {
    FilePath::of_peer(asked, raw)
        .map_err(|error| Refusal::new(RefusalCode::BadName, error.to_string()))
}

/// Refuses a path that cannot be opened: for a client it does not exist, unless the disk fails.
pub(super) fn cannot_open(path: &FilePath, error: &io::Error) -> Refusal {
    match rustix::io::Errno::from_io_error(error) {
        Some(
            rustix::io::Errno::NOENT
            | rustix::io::Errno::NOTDIR
            // A link out of the directory, or in a circle; a socket; a device without a driver.
            | rustix::io::Errno::XDEV
            | rustix::io::Errno::LOOP
            | rustix::io::Errno::NXIO
            | rustix::io::Errno::NODEV,
        ) => Refusal::new(RefusalCode::NotFound, format!("no such file or directory: {path}"))
            .with_hint("list the files with anyport ls, curl http://HOST:PORT/ or ANYPORT/1 LIST"),
        _ => Refusal::new(RefusalCode::Storage, format!("cannot open {path}: {error}")),
    }
}

/// Rounds to the precision of receipts.
fn in_microseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

/// Bytes at the end of a file that are read even without a digest.
const TAIL: u64 = 16 * 1024;

/// Size of the largest file that is hashed for a response without content: hashing more would cost
/// the server far more than the request costs the client.
const HASHED_ON_REQUEST: u64 = 1024 * 1024;

/// Bytes that one call hashes after all content was sent: few, so that the other tasks of the
/// thread are not delayed.
const HASHED_AT_ONCE: u64 = 8 * 1024 * 1024;

/// Maximum size of a file that is hashed when it is shared: a second of work.
const HASHED_TO_SHOW: u64 = 1 << 30;
