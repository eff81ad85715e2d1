//! Values that several commands accept.

use clap::ValueEnum;

/// Storage backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sink {
    /// Discard received bytes
    Discard,
    /// Keep files in memory until the receipt is sent
    Memory,
    /// Store files on disk
    File,
}

impl Sink {
    /// Returns the value as on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discard => "discard",
            Self::Memory => "memory",
            Self::File => "file",
        }
    }
}

/// What to fsync before sending the receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fsync {
    /// The file and its directory entry
    File,
    /// The receipt does not wait for the disk
    None,
}

impl Fsync {
    /// Returns the value as on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::None => "none",
        }
    }
}

/// WebSocket implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The built-in implementation
    Own,
    /// tokio-tungstenite, for comparison
    #[value(hide = !Engine::Library.is_built())]
    Library,
}

impl Engine {
    /// Returns whether this build has the implementation.
    pub const fn is_built(self) -> bool {
        matches!(self, Self::Own) || cfg!(feature = "library-engine")
    }

    /// Returns the value as on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Library => "library",
        }
    }
}
