//! Why a file to send cannot be opened.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};

/// Why a source cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file system reported an error.
    #[error("cannot open {path}", path = path.display())]
    Open {
        /// Returns the path as given.
        path: PathBuf,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// A directory holds no bytes.
    #[error("{path} is a directory", path = path.display())]
    Directory {
        /// Returns the path as given.
        path: PathBuf,
    },
    /// A pipe, a socket or a device below a directory.
    #[error("{path} is neither a file nor a directory", path = path.display())]
    Special {
        /// Returns the path as given.
        path: PathBuf,
    },
    /// A link to a directory above it.
    #[error("symbolic link loop: {path} leads to one of \
        its parent directories", path = path.display())]
    Loop {
        /// Returns the path as given.
        path: PathBuf,
    },
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        Self::from(ErrorKind::Open).because(error)
    }
}

impl OpenError {
    /// Returns the path that cannot be sent.
    pub fn path(&self) -> &Path {
        match self {
            Self::Open { path, .. }
            | Self::Directory { path }
            | Self::Special { path }
            | Self::Loop { path } => path,
        }
    }
}
