//! A file that is offered again: whether it has the digest of the one that is stored.

use std::io;

use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::file_time::FileTime;

use super::{Files, Source, hashing};
use crate::sink::beneath::{self, Found};
use crate::sink::{date, digest_memory};

impl Files {
    /// Returns whether the file at `path` has this digest. Then it gets the time that the sender
    /// announced, as that is what the next comparison needs.
    ///
    /// # Errors
    /// The file system's error.
    pub(super) fn is_stored(
        &self,
        path: &FilePath,
        digest: &Digest,
        mtime: Option<FileTime>,
        source: &Source,
    ) -> io::Result<bool> {
        let Found::File(file, facts) = beneath::open(self.directory.now().handle(), path)? else {
            return Ok(false);
        };
        let algorithm = digest.algorithm();
        let stored = match digest_memory::recall(&file, algorithm) {
            None => hashing::digest(&file, facts.size, algorithm, source)?,
            known => known,
        };
        if stored.as_ref() != Some(digest) {
            return Ok(false);
        }
        if mtime.is_some_and(|mtime| mtime != facts.mtime) {
            date(&file, mtime);
        }
        digest_memory::remember(&file, digest);
        Ok(true)
    }
}
