//! Where bytes rest: a file, memory, or nowhere. A sink sees neither protocol nor service.
//!
//! `write` appends; `finish` makes the bytes visible under a name. A sink that is dropped without `finish` leaves
//! nothing visible. Sinks that can be read back can also be rewritten in place: what was stored raw is decoded, and as
//! decoding only drops bytes, the write position never overtakes the read position.

pub(crate) mod beneath;
pub(crate) mod digest_memory;
mod directory;
mod discard;
mod file;
mod memory;
mod part;
mod partials;
mod served;
mod target;
mod usage;

pub(crate) use directory::{Directory, Present};
pub(crate) use file::{FileSink, date};
pub(crate) use part::PartKey;
pub(crate) use served::Served;
pub(crate) use target::{Impossible, Target, not_distinguished};
pub(crate) use usage::{Usage, in_blocks, usage_below};

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::Checkpoint;
use anyport_proto::transfer::offer::{Offer, OnExists};

use crate::budget::Share;

/// Which sink; an enum, so that the bulk path is one visible call.
#[derive(Debug)]
pub(crate) enum AnySink {
    File(FileSink),
    Memory(memory::MemorySink),
    Discard,
}

/// An empty sink in memory, within `share`.
pub(crate) const fn memory_sink(share: Share) -> AnySink {
    AnySink::Memory(memory::MemorySink::new(share))
}

/// What `finish` made of a sink.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// The path under which it can now be found; `None` where nothing is kept.
    pub(crate) path: Option<FilePath>,
    /// It survives a crash of the machine.
    pub(crate) is_durable: bool,
}

impl AnySink {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(sink) => sink.write(bytes),
            Self::Memory(sink) => sink.write(bytes),
            Self::Discard => discard::write(bytes),
        }
    }

    /// The file and the place in it that the next bytes may be put into without [`Self::write`].
    pub(crate) const fn next_place(&self) -> Option<(&Arc<File>, u64)> {
        match self {
            Self::File(sink) => Some(sink.next_place()),
            Self::Memory(_) | Self::Discard => None,
        }
    }

    /// So many bytes were put there.
    pub(crate) const fn put(&mut self, count: u64) {
        if let Self::File(sink) = self {
            sink.put(count);
        }
    }

    /// Whether `write` may wait for a disk.
    pub(crate) const fn may_block(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Whether what was written can be read back and rewritten.
    pub(crate) const fn can_rewrite(&self) -> bool {
        !matches!(self, Self::Discard)
    }

    /// Turns both positions to the start: from now on `write` overwrites, and `read_back` gives what stood there.
    pub(crate) const fn begin_rewrite(&mut self) {
        match self {
            Self::File(sink) => sink.begin_rewrite(),
            Self::Memory(sink) => sink.begin_rewrite(),
            Self::Discard => {}
        }
    }

    /// The next bytes that were written before `begin_rewrite`; 0 at their end.
    pub(crate) fn read_back(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(sink) => sink.read_back(buffer),
            Self::Memory(sink) => Ok(sink.read_back(buffer)),
            Self::Discard => Ok(0),
        }
    }

    /// Keeps what the digest can go on from after a break.
    pub(crate) fn save(&mut self, checkpoints: &[Checkpoint]) {
        match self {
            Self::File(sink) => sink.save(checkpoints),
            Self::Memory(_) | Self::Discard => {}
        }
    }

    /// Makes the bytes visible as `path`, with the times and permissions of the offer; if that is taken, what
    /// `on_exists` says is done. After an error what is there can still be kept.
    pub(crate) fn finish(
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

    /// Whether another attempt can go on with what is there.
    pub(crate) const fn can_be_resumed(&self) -> bool {
        match self {
            Self::File(sink) => sink.can_be_resumed(),
            Self::Memory(_) | Self::Discard => false,
        }
    }

    /// Keeps what is there hidden, for a later resume of `owner`, and says where; `None` where nothing is kept.
    pub(crate) fn keep_part(self, owner: IpAddr) -> Option<String> {
        match self {
            Self::File(sink) => sink.keep_part(owner),
            Self::Memory(_) | Self::Discard => None,
        }
    }

    /// Keeps what is there hidden, where no resume goes on with it, and says where.
    pub(crate) fn keep_apart(self, owner: IpAddr) -> Option<String> {
        match self {
            Self::File(sink) => sink.keep_apart(owner),
            Self::Memory(_) | Self::Discard => None,
        }
    }
}
