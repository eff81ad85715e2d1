//! One file from the server to its place: already here, or received, checked and published.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::file_time::FileTime;
use anyport_proto::transfer::hasher::Hasher;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::receipt::Outcome;
use anyport_store::disk::limited_mode;
use anyport_store::{LocalError, LocalFile, Published, VersionKey, set_modified};
use anyport_trace::{Side, What};

use super::file::{RemoteFile, Sink};
use super::folders::Folders;
use super::wire::Wire;
use super::{GetOptions, Got, Progress, Received, agree, stored};
use crate::attempts::Attempts;
use crate::error::{Error, ErrorKind};
use crate::measure::{Measuring, diagnosed};
use crate::spent::{Intake, Work};

/// The progress of a file.
pub(super) struct Count<'a> {
    pub(super) attempts: &'a Attempts,
    /// Bytes that an earlier attempt reported, which are not reported again.
    pub(super) before: u64,
    pub(super) bytes: u64,
}

impl Count<'_> {
    fn add(&mut self, bytes: u64, tell: &mut dyn FnMut(Progress<'_>)) {
        let known = self.bytes.max(self.before);
        self.bytes += bytes;
        self.attempts.progressed(self.bytes);
        if self.bytes > known {
            tell(Progress::Bytes(self.bytes - known));
        }
    }
}

/// Receives file after file over one connection.
pub(super) struct Receiver<'a> {
    pub(super) wire: Wire,
    pub(super) host: &'a str,
    pub(super) options: &'a GetOptions,
    pub(super) tell: &'a mut dyn FnMut(Progress<'_>),
    pub(super) folders: Folders,
    /// Content of a file is on its way.
    pub(super) in_content: bool,
}

impl Receiver<'_> {
    /// Receives one file; returns where it is.
    pub(super) fn receive(
        &mut self,
        file: &RemoteFile,
        target: &Path,
        received: &Received,
        count: &mut Count<'_>,
    ) -> Result<PathBuf, Error> {
        if self.options.on_exists != OnExists::Rename && received.has(target) {
            return Err(Error::from(ErrorKind::SamePath(target.to_owned())));
        }
        if let Some(got) = self.already_here(file, target)? {
            count.add(got.size, self.tell);
            (self.tell)(Progress::Got(&got));
            return Ok(target.to_owned());
        }
        if let Some(folder) = target.parent() {
            self.folders.create(folder)?;
        }
        let RemoteFile { name, size, mtime, tag, .. } = file;
        let key = VersionKey::new(self.host, name, target, *size, *mtime, tag.as_deref());
        let mut local = LocalFile::open(&key, target, *size, file.mode)?;
        let started = Instant::now();
        let measuring = self.wire.socket().map(Measuring::begin);
        let (head, offset) = match self.wire.get(file, local.length(), self.options.digest) {
            Ok(begun) => begun,
            Err(error) => {
                // An empty partial file is of no use.
                if local.length() == 0 {
                    local.discard();
                }
                return Err(error);
            }
        };
        self.in_content = true;
        if !head.agrees(file) {
            return Err(Error::from(ErrorKind::ChangedThere(file.name.to_string())));
        }
        if offset == 0 && local.length() > 0 {
            local.truncate()?;
        }
        count.add(offset, self.tell);
        // Content of an earlier attempt is hashed with the rest, at the end.
        let hasher = (offset == 0).then(|| Hasher::new(self.options.digest));
        let (first, intake) = (Instant::now(), Intake::default());
        let connect = &self.options.connect;
        let measuring = measuring
            .zip(self.wire.socket())
            .map(|(measuring, socket)| measuring.receives(connect, socket, &intake, false));
        let mut incoming =
            Incoming { local, hasher, count, tell: &mut *self.tell, intake: intake.clone() };
        let left = head.size.map(|size| size - offset);
        let size = offset + self.wire.content(left, &mut incoming)?;
        let seconds = started.elapsed().as_secs_f64();
        let end = self.wire.file_end(size)?;
        self.in_content = false;
        let Incoming { local, hasher, .. } = incoming;
        let began = Instant::now();
        let digest = match hasher {
            Some(hasher) => hasher.finish(),
            None => {
                let digest = local.digest(self.options.digest)?;
                if let (Some(trace), Some(_)) = (&connect.trace, digest) {
                    trace.add_since(began, Some(Side::Client), What::Hashed { bytes: size });
                }
                digest
            }
        };
        intake.add(Work { hashing: began.elapsed(), ..Work::default() });
        if let Err(error) = agree(&head, digest, &end) {
            local.discard();
            return Err(error);
        }
        // The listing applies if the response says nothing.
        let (mtime, mode) = (head.mtime.or(file.mtime), head.mode.or(file.mode));
        let size_announced = head.size.is_some();
        let mode = mode.map(|mode| limited_mode(mode, self.options.permissions));
        let began = Instant::now();
        let Published { path, syncing } = local.publish(mode, mtime, self.options.on_exists)?;
        stored(connect, began, size, syncing);
        intake.add(Work { storing: began.elapsed(), ..Work::default() });
        if let (Some(measuring), Some(socket)) = (measuring, self.wire.socket()) {
            diagnosed(connect, &measuring.received(socket, first, intake.get(), false));
        }
        let got = Got {
            peer: self.wire.peer,
            name: file.name.clone(),
            path: Some(path.clone()),
            size,
            offset,
            seconds,
            digest,
            verified: end.digest.is_some(),
            size_announced,
            outcome: Outcome::Stored,
        };
        (self.tell)(Progress::Got(&got));
        Ok(path)
    }

    /// The file, if it is at its place already.
    fn already_here(&mut self, file: &RemoteFile, target: &Path) -> Result<Option<Got>, Error> {
        // A link that leads nowhere is something too.
        let exists = match std::fs::symlink_metadata(target) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // A name that this file system cannot have, or below a file: not after all content.
            Err(error) => return Err(Error::local("store", target, error)),
        };
        if !exists || self.options.on_exists == OnExists::Rename {
            return Ok(None);
        }
        anyport_store::check_name(target)?;
        if let Some((size, (ours, mtime))) =
            file.size.and_then(|size| Some((size, anyport_store::present(target, size)?)))
        {
            if !self.options.checksum && file.mtime.is_some_and(|theirs| theirs.identifies(mtime)) {
                return Ok(Some(self.present(file, target, size, None)));
            }
            if self.is_worth_comparing(file, mtime)
                && let Some(digest) = self.same_digest(file, size, &ours)?
            {
                // The next comparison then needs no digest. A file of another user keeps its time.
                if let Some(mtime) = file.mtime {
                    let _ = set_modified(&ours, mtime);
                }
                return Ok(Some(self.present(file, target, size, Some(digest))));
            }
        }
        match self.options.on_exists {
            OnExists::Error => Err(LocalError::Exists(target.to_owned()).into()),
            OnExists::Overwrite => Ok(anyport_store::check_replaceable(target).map(|()| None)?),
            OnExists::Rename => Ok(None),
        }
    }

    /// Returns whether a file of the same size is to be compared by digest. What differs in time is
    /// probably another file: one that may be replaced is then received without that round trip.
    fn is_worth_comparing(&self, file: &RemoteFile, ours: FileTime) -> bool {
        let may_equal = file.mtime.is_some_and(|theirs| theirs.may_equal(ours));
        self.options.on_exists == OnExists::Error || self.options.checksum || may_equal
    }

    /// Returns the digest of the server's file, if `ours` is equal.
    fn same_digest(
        &mut self,
        file: &RemoteFile,
        size: u64,
        ours: &File,
    ) -> Result<Option<Digest>, Error> {
        let algorithm = match self.options.digest {
            Algorithm::None => Algorithm::default(),
            algorithm => algorithm,
        };
        // The local one first: the server must not wait for the local disk.
        let Ok(Some(ours)) = anyport_store::hashing::digest(ours, size, algorithm, || false) else {
            return Ok(None);
        };
        Ok(self.wire.digest(file, size, algorithm)?.filter(|theirs| *theirs == ours))
    }

    fn present(&self, file: &RemoteFile, target: &Path, size: u64, digest: Option<Digest>) -> Got {
        let outcome = if digest.is_some() { Outcome::SameDigest } else { Outcome::SameTime };
        Got {
            peer: self.wire.peer,
            name: file.name.clone(),
            path: Some(target.to_owned()),
            size,
            offset: 0,
            seconds: 0.0,
            digest,
            verified: false,
            size_announced: true,
            outcome,
        }
    }
}

/// Content on its way into a local file.
struct Incoming<'a, 'b> {
    local: LocalFile,
    /// `None` where all content is hashed at the end.
    hasher: Option<Hasher>,
    count: &'a mut Count<'b>,
    tell: &'a mut dyn FnMut(Progress<'_>),
    intake: Intake,
}

impl Sink for Incoming<'_, '_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let began = Instant::now();
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        let hashed = Instant::now();
        self.local.write(bytes)?;
        let (hashing, storing, count) = (hashed - began, hashed.elapsed(), bytes.len() as u64);
        self.intake.add(Work { bytes: count, hashing, storing, ..Work::default() });
        self.count.add(count, self.tell);
        Ok(())
    }

    fn paused(&mut self, pausing: Duration) {
        self.intake.add(Work { pausing, ..Work::default() });
    }

    fn splice_target(&self) -> Option<(&Arc<File>, u64)> {
        let seen = self.hasher.as_ref().is_some_and(Hasher::wants_content);
        (!seen).then(|| self.local.splice_target())
    }

    fn put(&mut self, count: u64) {
        self.local.spliced(count);
        self.intake.add(Work { bytes: count, ..Work::default() });
        self.count.add(count, self.tell);
    }
}
