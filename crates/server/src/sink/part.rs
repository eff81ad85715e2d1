//! What is kept of a transfer that broke off: its part, and beside it what its digest can go on from.
//!
//! ```text
//!   .anyport-<key>.part     the bytes, from the first one on
//!   .anyport-<key>.state    whose they are, for the operator; then a checkpoint of the digest a line
//! ```
//!
//! The key is a hash of what the sender offered, so nothing must be searched, and a part is found again after a crash
//! that left no time to write anything. Parts lie at the top of the served directory, whatever directory their file is
//! for (docs/decisions/0004).

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};

use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::{Checkpoint, UNIT};
use anyport_proto::transfer::offer::Offer;
use rustix::fs::{AtFlags, Mode, OFlags, openat};
use serde_json::{Value, json};

const PREFIX: &str = ".anyport-";
const PART: &str = ".part";
const STATE: &str = ".state";

/// Whether a name is a part's or a state's.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) && (name.ends_with(PART) || name.ends_with(STATE))
}

/// Whether a name is a state's.
pub(super) fn is_state(name: &str) -> bool {
    is_ours(name) && name.ends_with(STATE)
}

/// The part that a state belongs to; `None` for what is no state.
pub(super) fn part_of(name: &str) -> Option<String> {
    name.strip_suffix(STATE).map(|key| format!("{key}{PART}"))
}

/// The state that belongs to a part; `None` for what is no part.
pub(super) fn state_of(name: &str) -> Option<String> {
    name.strip_suffix(PART).map(|key| format!("{key}{STATE}"))
}

/// A name for a part that nobody can go on with.
pub(super) fn random_name() -> io::Result<String> {
    let mut id = [0; 8];
    getrandom::fill(&mut id)?;
    Ok(format!("{PREFIX}{:016x}{PART}", u64::from_be_bytes(id)))
}

/// What makes two offers the same transfer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PartKey(String);

impl PartKey {
    /// The key of an offer with an id. An id alone does not do: the same sender may change its mind about the rest.
    pub(crate) fn of(offer: &Offer, path: &FilePath, algorithm: Algorithm) -> Option<Self> {
        let (id, size) = (offer.id.as_ref()?, offer.size?);
        // Without a digest only the kernel's word says what of the part is there, and that does not survive a crash of the
        // machine.
        let boot = if algorithm == Algorithm::None { boot_id() } else { String::new() };
        let mtime = format!("{:?}", offer.mtime.map(|mtime| mtime.seconds));
        let (size, algorithm) = (size.to_string(), algorithm.as_str());
        let texts = [&size, algorithm, id, &mtime, &boot];
        Some(Self::hash(path, &texts))
    }

    /// The key of an offer without an id: the end digest must tell whether it is the same file, so there must be one.
    /// `owner` is who may continue it, so that nobody else can plant a beginning.
    pub(crate) fn without_id(
        offer: &Offer,
        path: &FilePath,
        algorithm: Algorithm,
        owner: &str,
    ) -> Option<Self> {
        let size = offer.size.filter(|_| algorithm != Algorithm::None)?;
        Some(Self::hash(path, &[&size.to_string(), algorithm.as_str(), owner]))
    }

    fn hash(path: &FilePath, texts: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("anyport 2026-11 part of a transfer");
        let texts = texts.iter().map(|text| text.as_bytes());
        for fact in std::iter::once(path.as_bytes()).chain(texts) {
            hasher.update(&(fact.len() as u64).to_le_bytes());
            hasher.update(fact);
        }
        let mut key = String::new();
        for byte in &hasher.finalize().as_bytes()[..16] {
            let _ = write!(key, "{byte:02x}");
        }
        Self(key)
    }

    pub(super) fn part_name(&self) -> String {
        format!("{PREFIX}{}{PART}", self.0)
    }

    fn state_name(&self) -> String {
        format!("{PREFIX}{}{STATE}", self.0)
    }
}

fn boot_id() -> String {
    // Where it cannot be read, every start of the server counts as another boot: nothing is gone on with.
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_else(|_| format!("{:?}", std::time::SystemTime::now()))
}

/// The file beside a part.
#[derive(Debug)]
pub(super) struct StateFile {
    name: String,
    /// The first line.
    header: String,
    /// Opened when there is something to write.
    file: Option<File>,
}

impl StateFile {
    pub(super) fn new(key: &PartKey) -> Self {
        Self { name: key.state_name(), header: String::new(), file: None }
    }

    /// For the operator, who finds a hidden file.
    pub(super) fn describe(&mut self, path: &FilePath, offer: &Offer) {
        let (size, mtime) = (offer.size, offer.mtime.map(|mtime| mtime.seconds));
        let boot = boot_id();
        self.header =
            json!({ "boot": boot, "name": path, "size": size, "mtime": mtime }).to_string();
    }

    /// The checkpoints of a part of `length` bytes, as far as they can be read.
    pub(super) fn read(&self, directory: &File, length: u64) -> Vec<Checkpoint> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = openat(directory, self.name.as_str(), flags, Mode::empty()) else {
            return Vec::new();
        };
        // No more than so many checkpoints would take.
        let most = LONGEST_LINE * (2 + length / UNIT);
        let mut text = String::new();
        if File::from(file).take(most).read_to_string(&mut text).is_err() {
            return Vec::new();
        }
        // After another boot nobody knows which of the bytes before a checkpoint reached the disk.
        let boot = |line: &str| {
            Some(serde_json::from_str::<Value>(line).ok()?["boot"].as_str()? == boot_id())
        };
        if text.lines().next().and_then(boot) != Some(true) {
            return Vec::new();
        }
        // A line that a crash cut is skipped; the hasher sees whether what is left goes together.
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Writes the first line if it is not there, and `checkpoints` behind it. What cannot be written is only missed when the
    /// transfer goes on after a break: more is read again then.
    pub(super) fn append(&mut self, directory: &File, checkpoints: &[Checkpoint]) {
        if let Err(error) = self.try_append(directory, checkpoints) {
            tracing::warn!(state = self.name, %error, "cannot save the state of a transfer");
        }
    }

    fn try_append(&mut self, directory: &File, checkpoints: &[Checkpoint]) -> io::Result<()> {
        let mut text = String::new();
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::APPEND
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file =
                    openat(directory, self.name.as_str(), flags, Mode::from_raw_mode(0o600))?;
                let file = File::from(file);
                // Behind what is there, which a crash may have cut.
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
            // The next line begins anew, behind whatever of this one is there.
            self.file = None;
        }
        written
    }

    pub(super) fn remove(&mut self, directory: &File) {
        self.file = None;
        match rustix::fs::unlinkat(directory, self.name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => {
                tracing::warn!(state = self.name, %error, "cannot remove the state of a transfer");
            }
        }
    }
}

/// Bytes of a line of a state file: a header with a long path, percent-free JSON.
const LONGEST_LINE: u64 = 8 * 1024;
