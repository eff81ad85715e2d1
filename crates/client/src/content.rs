//! What is sent: a file or standard input, digested while it is read.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyport_net::copy::send_file;
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::hasher::Hasher;

use crate::channel::Stopped;
use crate::error::SendError;

/// Something to send: looked at, and opened when its turn comes.
#[derive(Debug, Clone)]
pub struct Source {
    /// As the user wrote it.
    path: PathBuf,
    /// Bytes to be sent, where that is known before it is opened.
    size: Option<u64>,
}

/// Why a source cannot be sent.
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
    /// A file by its path, or standard input for `-`.
    ///
    /// # Errors
    /// There is no such file, or it is a directory.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        if is_stdin(&path) {
            return Ok(Self { path, size: None });
        }
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Err(OpenError::Directory { path }),
            Ok(metadata) => Ok(Self { path, size: regular_size(&metadata) }),
            Err(source) => Err(OpenError::Open { path, source }),
        }
    }

    /// Bytes to be sent, where that is known.
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// The last component of its path; `None` for standard input.
    pub fn name(&self) -> Option<String> {
        let name = self.path.file_name().filter(|_| !is_stdin(&self.path));
        name.map(|name| name.to_string_lossy().into_owned())
    }

    /// Opens it. A regular file's size is announced as it is now, and exactly so much is sent; pipes and devices are sent
    /// until they end.
    pub(crate) fn open(self, digest: Algorithm) -> Result<Content, OpenError> {
        let failed = |source| OpenError::Open { path: self.path.clone(), source };
        let (file, size) = if is_stdin(&self.path) {
            // Standard input may stand anywhere in a file, so only its end tells how long it is.
            (File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?), None)
        } else {
            let file = File::open(&self.path).map_err(failed)?;
            let size = regular_size(&file.metadata().map_err(failed)?);
            // Files of /proc and /sys say they are empty, and are not.
            let lies = size == Some(0) && file.read_at(&mut [0], 0).is_ok_and(|count| count > 0);
            (file, size.filter(|_| !lies))
        };
        Ok(Content { file, label: self.path, size, hasher: Hasher::new(digest), bytes: 0 })
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn regular_size(metadata: &Metadata) -> Option<u64> {
    metadata.is_file().then_some(metadata.len())
}

/// A source while it is being sent.
pub(crate) struct Content {
    file: File,
    /// As the user wrote it, for messages.
    label: PathBuf,
    size: Option<u64>,
    hasher: Hasher,
    bytes: u64,
}

impl Content {
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Bytes still to be read, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.size.map(|size| size - self.bytes)
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
            match self.file.read(buffer) {
                Ok(0) if self.size.is_some() => return Err(self.shrank()),
                Ok(count) => {
                    self.hasher.update(&buffer[..count]);
                    self.bytes += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(SendError::Read { path: self.label.clone(), source });
                }
            }
        }
    }

    /// Sends what is next over `stream` without looking at it, if nobody asked for a digest: at most `count` bytes, 0 at
    /// the end. `None`: it must be read after all.
    pub(crate) fn send_unseen(
        &mut self,
        stream: &TcpStream,
        count: usize,
    ) -> Result<Option<usize>, Stopped> {
        let Some(left) = self.left().filter(|_| !self.hasher.wants_content()) else {
            return Ok(None);
        };
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        if count == 0 {
            return Ok(Some(0));
        }
        // A source with a size was opened by us, and is read from its first byte on.
        let Some(sent) = send_file(stream, &self.file, self.bytes, count)? else {
            // Reading goes on where sending stopped.
            let at = SeekFrom::Start(self.bytes);
            self.file.seek(at).map_err(|source| {
                Stopped::Local(SendError::Read { path: self.label.clone(), source })
            })?;
            return Ok(None);
        };
        if sent == 0 {
            return Err(Stopped::Local(self.shrank()));
        }
        self.bytes += sent as u64;
        Ok(Some(sent))
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
            path: self.label.clone(),
            announced: self.size.unwrap_or_default(),
            read: self.bytes,
        }
    }
}
