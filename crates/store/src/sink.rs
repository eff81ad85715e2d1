//! Content on its way into a storage backend: a file, memory, or none.
//!
//! `write` appends; `finish` makes the content visible under a name. A sink that is dropped without
//! `finish` or `keep` leaves nothing visible. Backends that can be read back can also be rewritten
//! in place: content that was stored raw is decoded, and as decoding only removes bytes, the write
//! position never passes the read position.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::Checkpoint;
use anyport_proto::transfer::offer::{Offer, OnExists};

use crate::memory::{Memory, Reserve};
use crate::partial::PartialFile;
use crate::quota::StoreError;

/// Content on its way into a storage backend; an enum, so that the bulk path is one visible call.
#[derive(Debug)]
pub enum Sink {
    /// A partial file in the served directory.
    File(PartialFile),
    /// Memory, for benchmarks.
    Memory(Memory),
    /// Nothing is stored, for benchmarks.
    Discard,
}

/// A storage backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SinkKind {
    /// A file in the served directory.
    #[default]
    File,
    /// Memory, until the receipt is sent, for benchmarks.
    Memory,
    /// Nothing is stored, for benchmarks.
    Discard,
}

/// The data that is on disk before a receipt is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fsync {
    /// The file and its directory entry.
    #[default]
    File,
    /// The receipt does not wait for the disk.
    None,
}

/// The result of [`Sink::finish`].
#[derive(Debug, Default)]
pub struct Stored {
    /// The path of the stored file; `None` where the backend keeps nothing.
    pub path: Option<FilePath>,
    /// Whether it survives a crash of the machine.
    pub is_durable: bool,
}

impl Sink {
    /// Returns an empty sink in memory, within `reserve`.
    pub fn memory(reserve: impl Reserve + 'static) -> Self {
        Self::Memory(Memory::new(reserve))
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// The quota or the memory limit is reached, or the error of the file system.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::File(sink) => sink.write(bytes),
            Self::Memory(sink) => Ok(sink.write(bytes)?),
            Self::Discard => Ok(()),
        }
    }

    /// Returns the file and the position for content that is spliced instead of passed to
    /// [`Self::write`], and how many bytes may be spliced; `None` where the backend accepts none.
    pub fn splice_target(&self) -> Option<(&Arc<File>, u64, u64)> {
        match self {
            Self::File(sink) => Some(sink.splice_target()),
            Self::Memory(_) | Self::Discard => None,
        }
    }

    /// Records that `count` bytes were spliced to [`Self::splice_target`].
    pub fn spliced(&mut self, count: u64) {
        if let Self::File(sink) = self {
            sink.spliced(count);
        }
    }

    /// Returns whether `write` may wait for a disk.
    pub const fn may_block(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Returns whether the content can be read back and rewritten.
    pub const fn can_rewrite(&self) -> bool {
        !matches!(self, Self::Discard)
    }

    /// Sets both positions to the start: from now on `write` overwrites, and `read_back` returns
    /// the content that was written before.
    pub const fn begin_rewrite(&mut self) {
        match self {
            Self::File(sink) => sink.begin_rewrite(),
            Self::Memory(sink) => sink.begin_rewrite(),
            Self::Discard => {}
        }
    }

    /// Reads the next bytes that were written before `begin_rewrite`; returns 0 at their end.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn read_back(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(sink) => sink.read_back(buffer),
            Self::Memory(sink) => Ok(sink.read_back(buffer)),
            Self::Discard => Ok(0),
        }
    }

    /// Saves checkpoints of the digest for a later resume.
    pub fn save(&mut self, checkpoints: &[Checkpoint]) {
        match self {
            Self::File(sink) => sink.save(checkpoints),
            Self::Memory(_) | Self::Discard => {}
        }
    }

    /// Makes the content visible as `path`, with the time and permissions of the offer; `on_exists`
    /// decides where that name is taken.
    ///
    /// After an error the content can still be kept.
    ///
    /// # Errors
    /// `AlreadyExists`, or the error of the file system.
    pub fn finish(
        &mut self,
        path: &FilePath,
        offer: &Offer,
        on_exists: OnExists,
        digest: Option<&Digest>,
    ) -> io::Result<Stored> {
        match self {
            Self::File(sink) => {
                let (path, is_durable) = sink.finish(path, offer, on_exists, digest)?;
                Ok(Stored { path: Some(path), is_durable })
            }
            Self::Memory(_) | Self::Discard => Ok(Stored::default()),
        }
    }

    /// Returns whether another attempt can resume it.
    pub const fn can_be_resumed(&self) -> bool {
        match self {
            Self::File(sink) => sink.can_be_resumed(),
            Self::Memory(_) | Self::Discard => false,
        }
    }

    /// Keeps the content hidden for a later resume by `owner`; returns the name of the partial
    /// file, or `None` where nothing is kept.
    pub fn keep(self, owner: IpAddr) -> Option<String> {
        match self {
            Self::File(sink) => sink.keep(owner),
            Self::Memory(_) | Self::Discard => None,
        }
    }

    /// Keeps the content between two requests of an upload; see [`PartialFile::pause`].
    ///
    /// # Errors
    /// The content cannot be made durable.
    pub fn pause(self) -> io::Result<()> {
        match self {
            Self::File(sink) => sink.pause(),
            Self::Memory(_) | Self::Discard => Ok(()),
        }
    }

    /// Keeps the content hidden where no attempt resumes it; returns the name of the partial file.
    pub fn keep_apart(self, owner: IpAddr) -> Option<String> {
        match self {
            Self::File(sink) => sink.keep_apart(owner),
            Self::Memory(_) | Self::Discard => None,
        }
    }
}
