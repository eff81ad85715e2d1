//! What is sent: a file or standard input, digested while it is read.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyport_proto::transfer::digest::{Algorithm, Digest, Hasher};

use crate::error::SendError;

/// An open source of bytes.
#[derive(Debug)]
pub struct Source {
    file: File,
    /// As the user wrote it, for messages.
    label: PathBuf,
    size: Option<u64>,
    name: Option<String>,
}

/// Why a source could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file system said no.
    #[error("cannot open {path}", path = path.display())]
    Open {
        /// As the user wrote it.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A directory holds no bytes.
    #[error("{path} is a directory", path = path.display())]
    Directory {
        /// As the user wrote it.
        path: PathBuf,
    },
}

impl Source {
    /// A file by its path, or standard input for `-`. A regular file's size is announced and exactly so much is sent;
    /// pipes and devices are sent until they end.
    ///
    /// # Errors
    /// The file cannot be opened, or is a directory.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open { path: path.to_owned(), source };
        let from_stdin = path == Path::new("-");
        let file = if from_stdin {
            File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?)
        } else {
            File::open(path).map_err(failed)?
        };
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(OpenError::Directory { path: path.to_owned() });
        }
        // Standard input may stand anywhere in a file, so only its end tells how long it is.
        let size = (metadata.is_file() && !from_stdin).then(|| metadata.size());
        let name = path.file_name().filter(|_| !from_stdin);
        let name = name.map(|name| name.to_string_lossy().into_owned());
        Ok(Self { file, label: path.to_owned(), size, name })
    }

    /// Bytes to be sent, where that is known.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// The last component of its path; `None` for standard input.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn into_content(self, digest: Algorithm) -> Content {
        Content { source: self, hasher: Hasher::new(digest), bytes: 0 }
    }
}

/// A source while it is being sent.
pub(crate) struct Content {
    source: Source,
    hasher: Hasher,
    bytes: u64,
}

impl Content {
    pub(crate) fn size(&self) -> Option<u64> {
        self.source.size
    }

    /// Bytes still to be read, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.source.size.map(|size| size - self.bytes)
    }

    /// Bytes read so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads what is there, at most `buffer` and at most what was announced. 0 is the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SendError> {
        let wanted =
            self.left().map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let (buffer, _) = buffer.split_at_mut(wanted.min(buffer.len()));
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.source.file.read(buffer) {
                Ok(0) if self.source.size.is_some() => return Err(self.shrank()),
                Ok(count) => {
                    self.hasher.update(&buffer[..count]);
                    self.bytes += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(SendError::Read { path: self.source.label.clone(), source });
                }
            }
        }
    }

    /// Fills `buffer`, which must not be more than what is left of the announced size.
    pub(crate) fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<(), SendError> {
        while !buffer.is_empty() {
            match self.read(buffer)? {
                0 => return Err(self.shrank()),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(())
    }

    /// The digest of what was read.
    pub(crate) fn finish(self) -> (u64, Option<Digest>) {
        (self.bytes, self.hasher.finish())
    }

    pub(crate) fn digest_so_far(&self) -> Option<Digest> {
        self.hasher.clone().finish()
    }

    fn shrank(&self) -> SendError {
        SendError::Shrank {
            path: self.source.label.clone(),
            announced: self.source.size.unwrap_or_default(),
            read: self.bytes,
        }
    }
}
