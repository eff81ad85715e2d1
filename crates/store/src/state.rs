//! The state file beside a partial file.
//!
//! ```text
//!   .anyport-<key>.part     content, from the first byte on
//!   .anyport-<key>.state    name, size, time for the operator; then a digest checkpoint per line
//! ```

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};

use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::{Checkpoint, UNIT};
use anyport_proto::transfer::offer::Offer;
use rustix::fs::{AtFlags, Mode, OFlags};
use serde_json::{Value, json};

use crate::disk;
use crate::key::{TransferKey, boot_id};

/// A state file, which need not exist.
#[derive(Debug)]
pub(crate) struct StateFile {
    name: String,
    /// The first line.
    header: String,
    /// Opened when there is something to write.
    file: Option<File>,
}

impl StateFile {
    pub(crate) fn new(key: &TransferKey) -> Self {
        Self { name: key.state_name(), header: String::new(), file: None }
    }

    /// Sets the first line, for an operator who finds the hidden file.
    pub(crate) fn describe(&mut self, path: &FilePath, offer: &Offer) {
        let (size, mtime) = (offer.size, offer.mtime.map(|mtime| mtime.seconds));
        let boot = boot_id();
        self.header =
            json!({ "boot": boot, "name": path, "size": size, "mtime": mtime }).to_string();
    }

    /// Returns the checkpoints of a partial file of `length` bytes, as far as they can be read.
    pub(crate) fn read(&self, directory: &File, length: u64) -> Vec<Checkpoint> {
        let opened = disk::open_owned_at(directory, &self.name, OFlags::RDONLY, Mode::empty());
        let Ok(file) = opened else { return Vec::new() };
        // A longer file has more lines than there can be checkpoints.
        let most = LONGEST_LINE * (2 + length / UNIT);
        let mut text = String::new();
        if file.take(most).read_to_string(&mut text).is_err() {
            return Vec::new();
        }
        // After another boot it is unknown which bytes before a checkpoint reached the disk.
        let boot = |line: &str| {
            Some(serde_json::from_str::<Value>(line).ok()?["boot"].as_str()? == boot_id())
        };
        if text.lines().next().and_then(boot) != Some(true) {
            return Vec::new();
        }
        // A line that a crash cut is skipped; the hasher checks that the others are consecutive.
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Appends `checkpoints`, after the first line if that is missing. Without them a resumed
    /// transfer only hashes more of the partial file again, so an error is logged.
    pub(crate) fn append(&mut self, directory: &File, checkpoints: &[Checkpoint]) {
        if let Err(error) = self.try_append(directory, checkpoints) {
            tracing::warn!(state = self.name, %error, "cannot save the state of a transfer");
        }
    }

    fn try_append(&mut self, directory: &File, checkpoints: &[Checkpoint]) -> io::Result<()> {
        let mut text = String::new();
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
                let mode = Mode::from_raw_mode(0o600);
                let file = disk::open_owned_at(directory, &self.name, flags, mode)?;
                // A crash may have cut the last line.
                text = match file.metadata()?.len() {
                    0 => format!("{}\n", self.header),
                    _ => "\n".to_owned(),
                };
                none.insert(file)
            }
        };
        for checkpoint in checkpoints {
            let _ = writeln!(text, "{checkpoint}");
        }
        // One write: a crash cuts at most the last line.
        let written = file.write_all(text.as_bytes());
        if written.is_err() {
            // Some of this line may have been written.
            self.file = None;
        }
        written
    }

    pub(crate) fn remove(&mut self, directory: &File) {
        self.file = None;
        match rustix::fs::unlinkat(directory, self.name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => {
                tracing::warn!(state = self.name, %error, "cannot remove the state of a transfer");
            }
        }
    }
}

/// Maximum length of a line of a state file, in bytes: a header with a long path.
const LONGEST_LINE: u64 = 8 * 1024;
