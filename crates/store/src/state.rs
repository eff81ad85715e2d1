//! The state file beside a partial file.
//!
//! ```text
//!   .anyport-<key>.part     content, from the first byte on
//!   .anyport-<key>.state    a line for each of these:
//!     {"boot":…,"name":…,"size":…,"mtime":…,"source":…}   the first line
//!     {"offer":{…}}                                       of an upload that has an id
//!     {"synced":"…","verified":"…"}                       lengths, overwritten in place
//!     {"size":…}                                          a size that was announced later
//!     {"digest":"sha256:…","metadata":"…"}                of the request that created it
//!     blake3 8388608 …                                    a checkpoint of the digest
//!     {"begun":true}                                      sent from its first byte on
//!     {"publishing":…}, {"stored":{…}}                    the end of an upload that has an id
//! ```

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::Checkpoint;
use anyport_proto::transfer::messages::FileMessage;
use anyport_proto::transfer::offer::Offer;
use rustix::fs::{AtFlags, Mode, OFlags, renameat};
use serde_json::{Value, json};

use crate::disk;
use crate::key::{SourceKey, TransferKey, boot_id};
use crate::names;

/// A state file, which need not exist.
#[derive(Debug)]
pub(crate) struct StateFile {
    name: String,
    /// The lines that begin a new file.
    header: String,
    /// Opened when there is something to write.
    file: Option<File>,
    /// Position of the lengths in the file.
    lengths_at: Option<u64>,
}

/// The content of a state file.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// Whether the machine runs since the content was written. After another boot it is unknown
    /// which of it reached the disk.
    pub(crate) is_same_boot: bool,
    /// The file whose content it is, for attempts over other protocols.
    pub(crate) source: Option<SourceKey>,
    /// Modification time of that file, in seconds.
    pub(crate) mtime: Option<i64>,
    /// The offer of an upload that has an id.
    pub(crate) offer: Option<Offer>,
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) announced: Announced,
    /// Bytes that reached the disk before any crash of the machine.
    pub(crate) synced: u64,
    /// Bytes before content whose checksum is not verified yet; `None` if all is verified.
    pub(crate) verified: Option<u64>,
    /// Whether a client has begun to send it from its first byte.
    pub(crate) is_begun: bool,
    /// The size of the content when it was about to be published.
    pub(crate) publishing: Option<u64>,
    /// The path and the size of the published file.
    pub(crate) stored: Option<(FilePath, u64)>,
    lengths_at: Option<u64>,
}

/// The statements of the request that creates an upload, which later requests need not repeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announced {
    /// The digest of the whole content.
    pub digest: Option<Digest>,
    /// Properties of the file, for its clients.
    pub metadata: Option<String>,
}

/// The lengths of [`Saved`], as they are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) synced: u64,
    pub(crate) verified: Option<u64>,
}

impl StateFile {
    pub(crate) fn new(key: &TransferKey) -> Self {
        Self { name: key.state_name(), header: String::new(), file: None, lengths_at: None }
    }

    /// Sets the beginning of a new file: a line for an operator who finds it, and for attempts over
    /// other protocols; for an upload that has an id, all that its next request does not repeat.
    pub(crate) fn describe(
        &mut self,
        path: Option<&FilePath>,
        offer: &Offer,
        source: Option<&SourceKey>,
        has_id: bool,
    ) {
        let (size, mtime) = (offer.size, offer.mtime.map(|mtime| mtime.seconds));
        let (boot, source) = (boot_id(), source.map(SourceKey::as_str));
        let first =
            json!({ "boot": boot, "name": path, "size": size, "mtime": mtime, "source": source });
        self.header = format!("{first}\n");
        if has_id {
            // A token in a file would admit other clients.
            let offer = FileMessage::Offer(Offer { token: None, ..offer.clone() }).to_json();
            self.header.push_str(&format!("{offer}\n"));
            self.lengths_at.get_or_insert(self.header.len() as u64);
            let lengths = Lengths { synced: 0, verified: None };
            self.header.push_str(&format!("{lengths}\n"));
        }
    }

    /// Returns the content of the state file, as far as it can be read; `None` without one.
    pub(crate) fn read(&mut self, directory: &File) -> Option<Saved> {
        let saved = Saved::parse(&self.text(directory)?);
        self.lengths_at = saved.lengths_at;
        Some(saved)
    }

    fn text(&self, directory: &File) -> Option<String> {
        let opened = disk::open_owned_at(directory, &self.name, OFlags::RDONLY, Mode::empty());
        let mut text = String::new();
        opened.ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Replaces the content by what the creation of the upload stated, and `line`: without
    /// checkpoints, for content that is no longer here.
    ///
    /// # Errors
    /// The kernel's error.
    pub(crate) fn restart(&mut self, directory: &File, line: Option<&Value>) -> io::Result<()> {
        let text = self.text(directory).ok_or(io::ErrorKind::NotFound)?;
        let is_kept = |line: &&str| {
            ["boot", "offer", "size", "digest"]
                .iter()
                .any(|key| line.strip_prefix("{\"").is_some_and(|rest| rest.starts_with(key)))
        };
        let kept: Vec<&str> = text.lines().filter(is_kept).collect();
        let lengths = Lengths { synced: 0, verified: None };
        let line = line.map(|line| format!("{line}\n")).unwrap_or_default();
        let name = names::random()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = disk::open_owned_at(directory, &name, flags, Mode::from_raw_mode(0o600))?;
        file.write_all(format!("{}\n{lengths}\n{line}", kept.join("\n")).as_bytes())?;
        renameat(directory, name.as_str(), directory, self.name.as_str())?;
        self.file = None;
        Ok(())
    }

    /// Appends `checkpoints`, after the header if that is missing. Without them a resumed
    /// transfer only hashes more of the partial file again, so an error is logged.
    pub(crate) fn append(&mut self, directory: &File, checkpoints: &[Checkpoint]) {
        let mut lines = String::new();
        for checkpoint in checkpoints {
            let _ = writeln!(lines, "{checkpoint}");
        }
        if let Err(error) = self.try_append(directory, &lines) {
            tracing::warn!(state = self.name, %error, "cannot save the state of a transfer");
        }
    }

    /// Creates the file.
    ///
    /// # Errors
    /// The kernel's error.
    pub(crate) fn create(&mut self, directory: &File) -> io::Result<()> {
        self.try_append(directory, "")
    }

    /// Appends a line that must not be lost.
    ///
    /// # Errors
    /// The kernel's error.
    pub(crate) fn record(&mut self, directory: &File, line: &Value) -> io::Result<()> {
        self.try_append(directory, &format!("{line}\n"))
    }

    /// Overwrites the lengths.
    ///
    /// # Errors
    /// The kernel's error, or the file has none.
    pub(crate) fn set_lengths(&self, directory: &File, lengths: Lengths) -> io::Result<()> {
        let at = self.lengths_at.ok_or(io::ErrorKind::NotFound)?;
        let file = disk::open_owned_at(directory, &self.name, OFlags::RDWR, Mode::empty())?;
        file.write_all_at(lengths.to_string().as_bytes(), at)
    }

    fn try_append(&mut self, directory: &File, lines: &str) -> io::Result<()> {
        let mut text = String::new();
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
                let mode = Mode::from_raw_mode(0o600);
                let file = disk::open_owned_at(directory, &self.name, flags, mode)?;
                text = match file.metadata()?.len() {
                    0 => self.header.clone(),
                    // Each request of an upload comes here, and a longer file takes longer to read.
                    _ if lines.is_empty() => return Ok(()),
                    // A crash may have cut the last line.
                    _ => "\n".to_owned(),
                };
                none.insert(file)
            }
        };
        text.push_str(lines);
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

impl Saved {
    fn parse(text: &str) -> Self {
        let (mut saved, mut at) = (Self::default(), 0);
        for line in text.lines() {
            // A line that a crash cut is skipped; the hasher checks that the checkpoints are
            // consecutive.
            match line.parse() {
                Ok(checkpoint) => saved.checkpoints.push(checkpoint),
                Err(_) => saved.line(line, at),
            }
            at += line.len() as u64 + 1;
        }
        if !saved.is_same_boot {
            // Which bytes before a checkpoint reached the disk is unknown.
            saved.checkpoints.clear();
        }
        saved
    }

    fn line(&mut self, line: &str, at: u64) {
        let Ok(value) = serde_json::from_str::<Value>(line) else { return };
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        if let Some(boot) = value.get("boot").and_then(Value::as_str) {
            let was_same = std::mem::replace(&mut self.is_same_boot, boot == boot_id());
            if !was_same {
                self.checkpoints.clear();
            }
        }
        if let Some(source) = value.get("source").and_then(Value::as_str) {
            self.source = SourceKey::parse(source);
            self.mtime = value.get("mtime").and_then(Value::as_i64);
        }
        if value.get("offer").is_some()
            && let Ok(FileMessage::Offer(offer)) = FileMessage::from_json(line)
        {
            self.offer = Some(offer);
        }
        if let (None, Some(size), Some(offer)) =
            (value.get("boot"), number("size"), &mut self.offer)
        {
            offer.size = Some(size);
        }
        if let Some(digest) = value.get("digest") {
            let metadata = value.get("metadata").and_then(Value::as_str).map(str::to_owned);
            let digest = digest.as_str().and_then(|digest| digest.parse().ok());
            self.announced = Announced { digest, metadata };
        }
        if let Some((synced, verified)) = lengths(&value) {
            (self.synced, self.verified, self.lengths_at) = (synced, verified, Some(at));
        }
        self.is_begun |= value.get("begun").is_some();
        if let Some(publishing) = value.get("publishing") {
            self.publishing = publishing.as_u64();
        }
        if let Some(stored) = value.get("stored") {
            let path = stored.get("path").and_then(Value::as_str);
            let path = path.and_then(|path| FilePath::parse_percent_encoded(path).ok());
            self.stored = path.zip(stored.get("bytes").and_then(Value::as_u64));
        }
    }
}

fn lengths(value: &Value) -> Option<(u64, Option<u64>)> {
    let number = |key: &str| value.get(key)?.as_str()?.parse().ok();
    let (synced, verified) = (number("synced")?, number("verified")?);
    Some((synced, (verified != u64::MAX).then_some(verified)))
}

/// As many characters for all lengths, so that they can be overwritten.
impl std::fmt::Display for Lengths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (synced, verified) = (self.synced, self.verified.unwrap_or(u64::MAX));
        write!(f, r#"{{"synced":"{synced:020}","verified":"{verified:020}"}}"#)
    }
}

/// Maximum length of a state file, in bytes: one line for every 8 MiB of a file of a terabyte.
const LONGEST: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use anyport_proto::transfer::digest::Algorithm;
    use anyport_proto::transfer::hasher::Hasher;

    use super::*;

    #[test]
    fn a_state_file_is_read_back_and_its_lengths_are_overwritten() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = File::open(scratch.path()).unwrap();
        let key = TransferKey::of_upload("id");
        let mut state = StateFile::new(&key);
        assert!(state.read(&directory).is_none());
        let path = FilePath::sanitize("d/x").unwrap();
        let offer = Offer { name: Some("d/x".to_owned()), ..Offer::default() };
        let source = SourceKey::new(&path, 9, "token a");
        state.describe(Some(&path), &offer, Some(&source), true);
        state.append(&directory, &[]);
        state.record(&directory, &json!({ "size": 9 })).unwrap();
        let lengths = Lengths { synced: 5, verified: Some(7) };
        state.set_lengths(&directory, lengths).unwrap();
        let saved = state.read(&directory).unwrap();
        assert!(saved.is_same_boot && saved.publishing.is_none() && saved.stored.is_none());
        assert_eq!((saved.source, saved.synced, saved.verified), (Some(source), 5, Some(7)));
        assert_eq!(saved.offer, Some(Offer { size: Some(9), ..offer.clone() }));
        state.set_lengths(&directory, Lengths { synced: 9, verified: None }).unwrap();
        let stored = json!({ "stored": { "path": path.percent_encoded(), "bytes": 9 } });
        state.record(&directory, &stored).unwrap();
        let saved = state.read(&directory).unwrap();
        assert_eq!((saved.synced, saved.verified, saved.stored), (9, None, Some((path, 9))));
        let length = || std::fs::metadata(scratch.path().join(key.state_name())).unwrap().len();
        let before = length();
        StateFile::new(&key).append(&directory, &[]);
        state.append(&directory, &[]);
        assert_eq!(length(), before);
        // As many checkpoints as a file of 40 GB has hide nothing behind them.
        let mut hasher = Hasher::new(Algorithm::Sha256);
        (0..3).for_each(|_| hasher.update(&vec![0; 8 << 20]));
        let checkpoints = hasher.take_checkpoints();
        (0..5000).for_each(|_| state.append(&directory, &checkpoints));
        state.record(&directory, &json!({ "publishing": 9 })).unwrap();
        let saved = state.read(&directory).unwrap();
        assert_eq!((saved.publishing, saved.checkpoints.len()), (Some(9), 5000));
        state.restart(&directory, Some(&json!({ "begun": true }))).unwrap();
        let saved = state.read(&directory).unwrap();
        assert!(saved.is_begun && saved.checkpoints.is_empty() && saved.stored.is_none());
        assert_eq!((saved.synced, saved.publishing), (0, None));
        assert_eq!(saved.offer, Some(Offer { size: Some(9), ..offer }));
        state.set_lengths(&directory, lengths).unwrap();
        assert_eq!(state.read(&directory).unwrap().verified, Some(7));
    }
}
