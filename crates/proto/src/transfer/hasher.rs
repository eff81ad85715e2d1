//! Hashes content as it passes, and can continue later from a checkpoint.
//!
//! An interrupted transfer resumes, and its digest still covers the whole content. Reading all of
//! it again would take minutes for a large file, so the state is stored every [`UNIT`] bytes as a
//! line of text, a [`Checkpoint`]. SHA-256 has a state that can be saved. BLAKE3 is a tree: each
//! aligned unit is a subtree of its own, and what is saved is the subtree's chaining value
//! (`blake3::hazmat`).
//!
//! ```text
//!             root
//!           ╱      ╲
//!        ·            ╲
//!      ╱   ╲            ╲
//!   unit 0  unit 1   the last unit, never empty once there is content; hashed again after a break
//! ```

use std::fmt;
use std::str::FromStr;

use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};
use data_encoding::HEXLOWER;
use sha2::Digest as _;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

use super::digest::{Algorithm, Digest, decode_hex};

/// Bytes between two checkpoints: what is hashed again after a break, at most.
///
/// A client can ask for that with one line, so it is some milliseconds; a checkpoint takes 90 bytes
/// of the state file.
pub const UNIT: u64 = 8 * 1024 * 1024;

/// Hashes content as it passes.
#[derive(Debug, Clone)]
pub struct Hasher {
    state: State,
    bytes: u64,
    /// A power of two of at least a chunk of BLAKE3; [`UNIT`] but in tests.
    unit: u64,
    /// Bytes before the last unit, which begins as soon as it has a byte.
    closed: u64,
    /// Units whose checkpoints have been taken.
    taken: u64,
}

#[derive(Debug, Clone)]
enum State {
    // Nearly 2 KiB: boxed, so that those who hash otherwise, or not, do not carry it about.
    Blake3(Box<Tree>),
    Sha256(Box<Stream>),
    None,
}

#[derive(Debug, Clone, Default)]
struct Stream {
    hasher: sha2::Sha256,
    /// The last border between units, and the state there.
    saved: Option<(u64, SerializedState<sha2::Sha256>)>,
}

#[derive(Debug, Clone, Default)]
struct Tree {
    /// The chaining values of all units but the last.
    units: Vec<ChainingValue>,
    last: blake3::Hasher,
}

impl Hasher {
    /// Returns a hasher that has seen nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self::with_unit(algorithm, UNIT)
    }

    fn with_unit(algorithm: Algorithm, unit: u64) -> Self {
        let state = match algorithm {
            Algorithm::Blake3 => State::Blake3(Box::default()),
            Algorithm::Sha256 => State::Sha256(Box::default()),
            Algorithm::None => State::None,
        };
        Self { state, bytes: 0, unit, closed: 0, taken: 0 }
    }

    /// Returns a hasher that has seen as much of the first `length` bytes as `checkpoints` cover:
    /// at least all but the last [`UNIT`] of them, if none is missing. [`Self::bytes`] says how
    /// much.
    pub fn resume(algorithm: Algorithm, checkpoints: &[Checkpoint], length: u64) -> Self {
        Self::resume_with_unit(algorithm, checkpoints, length, UNIT)
    }

    fn resume_with_unit(
        algorithm: Algorithm,
        checkpoints: &[Checkpoint],
        length: u64,
        unit: u64,
    ) -> Self {
        let mut resumed = Self::with_unit(algorithm, unit);
        for checkpoint in checkpoints {
            // The last unit stays open: it may be the root.
            // What does not fit is of an attempt that began earlier, or was cut.
            if checkpoint.bytes < length {
                resumed.go_to(checkpoint);
            }
        }
        resumed.taken = resumed.bytes / unit;
        resumed
    }

    fn go_to(&mut self, checkpoint: &Checkpoint) {
        let bytes = checkpoint.bytes;
        match (&mut self.state, &checkpoint.state) {
            // Every subtree is needed.
            (State::Blake3(tree), Saved::Blake3(value)) if bytes == self.bytes + self.unit => {
                tree.close(*value, bytes);
            }
            (State::Sha256(stream), Saved::Sha256(state)) if bytes > self.bytes => {
                let Ok(hasher) = sha2::Sha256::deserialize(state) else { return };
                stream.hasher = hasher;
            }
            _ => return,
        }
        self.bytes = bytes;
        self.closed = bytes;
    }

    /// Returns whether it wants to see the content at all: not for [`Algorithm::None`].
    pub const fn wants_content(&self) -> bool {
        !matches!(self.state, State::None)
    }

    /// Bytes that it has seen; nothing is counted for [`Algorithm::None`].
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next bytes of the content.
    pub fn update(&mut self, mut content: &[u8]) {
        while self.wants_content() && !content.is_empty() {
            if self.bytes == self.closed + self.unit {
                self.close_unit();
            }
            let room = self.closed + self.unit - self.bytes;
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let (now, later) = content.split_at(room.min(content.len()));
            match &mut self.state {
                State::Blake3(tree) => _ = tree.last.update(now),
                State::Sha256(stream) => stream.hasher.update(now),
                State::None => {}
            }
            self.bytes += now.len() as u64;
            content = later;
        }
    }

    /// The last unit is full, and it is known that another byte follows.
    fn close_unit(&mut self) {
        self.closed = self.bytes;
        match &mut self.state {
            State::Blake3(tree) => {
                let value = tree.last.finalize_non_root();
                tree.close(value, self.bytes);
            }
            State::Sha256(stream) => stream.saved = Some((self.bytes, stream.hasher.serialize())),
            State::None => {}
        }
    }

    /// Returns the checkpoints that came since the last call, to be kept in this order.
    pub fn take_checkpoints(&mut self) -> Vec<Checkpoint> {
        let taken = std::mem::replace(&mut self.taken, self.closed / self.unit);
        match &self.state {
            State::Blake3(tree) => {
                let new = tree.units.iter().zip(1..).skip(usize::try_from(taken).unwrap_or(0));
                new.map(|(value, units)| Checkpoint {
                    bytes: units * self.unit,
                    state: Saved::Blake3(*value),
                })
                .collect()
            }
            // A state stands for all before it.
            State::Sha256(stream) if taken < self.taken => {
                let checkpoint = |(bytes, state)| Checkpoint { bytes, state: Saved::Sha256(state) };
                stream.saved.map(checkpoint).into_iter().collect()
            }
            State::Sha256(_) | State::None => Vec::new(),
        }
    }

    /// Returns the digest of all that was taken; none for [`Algorithm::None`].
    pub fn finish(self) -> Option<Digest> {
        match self.state {
            State::Blake3(tree) => Some(Digest::blake3(tree.root())),
            State::Sha256(stream) => Some(Digest::sha256(stream.hasher.finalize().into())),
            State::None => None,
        }
    }

    /// Returns its algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        match self.state {
            State::Blake3(_) => Algorithm::Blake3,
            State::Sha256(_) => Algorithm::Sha256,
            State::None => Algorithm::None,
        }
    }
}

impl Tree {
    /// The last unit is whole and has this chaining value; the next one begins at `end`.
    fn close(&mut self, value: ChainingValue, end: u64) {
        self.units.push(value);
        self.last = blake3::Hasher::new();
        self.last.set_input_offset(end);
    }

    fn root(&self) -> [u8; blake3::OUT_LEN] {
        if self.units.is_empty() {
            return *self.last.finalize().as_bytes();
        }
        let mut leaves = self.units.clone();
        leaves.push(self.last.finalize_non_root());
        let (left, right) = halves(&leaves);
        *hazmat::merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes()
    }
}

/// The chaining value over `leaves`, of which there is at least one.
fn subtree(leaves: &[ChainingValue]) -> ChainingValue {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = halves(leaves);
            hazmat::merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// The left subtree of BLAKE3 is the largest complete one that leaves something to the right.
fn halves(leaves: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    leaves.split_at(leaves.len().next_power_of_two() / 2)
}

/// The state of a [`Hasher`] between two units; a line of text without its line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Bytes before it.
    bytes: u64,
    state: Saved,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Saved {
    /// Of the unit that ends here.
    Blake3(ChainingValue),
    /// Of everything before.
    Sha256(SerializedState<sha2::Sha256>),
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (algorithm, state) = match &self.state {
            Saved::Blake3(value) => (Algorithm::Blake3, value.as_slice()),
            Saved::Sha256(state) => (Algorithm::Sha256, state.as_slice()),
        };
        write!(f, "{algorithm} {} ", self.bytes)?;
        HEXLOWER.encode_write(state, f)
    }
}

/// A text is no checkpoint: it was cut, or is of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no checkpoint of a digest")]
pub struct NoCheckpoint;

impl FromStr for Checkpoint {
    type Err = NoCheckpoint;

    fn from_str(text: &str) -> Result<Self, NoCheckpoint> {
        let mut words = text.split(' ');
        let (Some(algorithm), Some(bytes), Some(hex), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(NoCheckpoint);
        };
        let bytes = bytes.parse().map_err(|_| NoCheckpoint)?;
        let state = match algorithm.parse() {
            Ok(Algorithm::Blake3) => Saved::Blake3(decode_hex(hex).ok_or(NoCheckpoint)?),
            Ok(Algorithm::Sha256) => Saved::Sha256(decode_hex(hex).ok_or(NoCheckpoint)?),
            _ => return Err(NoCheckpoint),
        };
        Ok(Self { bytes, state })
    }
}

#[cfg(test)]
mod tests {
    use anyport_testkit::{every_cut, noise};
    use proptest::prelude::*;

    use super::*;

    const ALGORITHMS: [Algorithm; 2] = [Algorithm::Blake3, Algorithm::Sha256];

    fn reference(algorithm: Algorithm, content: &[u8]) -> Digest {
        match algorithm {
            Algorithm::Blake3 => Digest::blake3(*blake3::hash(content).as_bytes()),
            _ => Digest::sha256(sha2::Sha256::digest(content).into()),
        }
    }

    fn digest_of(algorithm: Algorithm, pieces: &[&[u8]]) -> Option<Digest> {
        let mut hasher = Hasher::new(algorithm);
        assert_eq!(hasher.algorithm(), algorithm);
        pieces.iter().for_each(|piece| hasher.update(piece));
        hasher.finish()
    }

    #[test]
    fn a_digest_does_not_depend_on_segmentation() {
        let content = noise(300, 1);
        for algorithm in ALGORITHMS {
            every_cut(&content, |pieces| {
                assert_eq!(digest_of(algorithm, pieces), Some(reference(algorithm, &content)));
            });
        }
        assert_eq!(digest_of(Algorithm::None, &[b"abc"]), None);
    }

    #[test]
    fn units_of_every_count_join_to_the_same_root() {
        let content = noise(20 * 1024, 2);
        for length in (0..=content.len()).step_by(512) {
            let mut hasher = Hasher::with_unit(Algorithm::Blake3, 1024);
            hasher.update(&content[..length]);
            let expected = reference(Algorithm::Blake3, &content[..length]);
            assert_eq!(hasher.finish(), Some(expected), "{length} bytes");
        }
    }

    #[test]
    fn the_real_unit_joins_too() {
        let piece = noise(1024 * 1024, 3);
        let (mut ours, mut theirs) = (Hasher::new(Algorithm::Blake3), blake3::Hasher::new());
        for _ in 0..19 {
            ours.update(&piece);
            theirs.update(&piece);
        }
        assert_eq!(ours.take_checkpoints().len(), 2);
        assert_eq!(ours.finish(), Some(Digest::blake3(*theirs.finalize().as_bytes())));
    }

    #[test]
    fn an_invalid_checkpoint_is_ignored() {
        let mut hasher = Hasher::with_unit(Algorithm::Blake3, 1024);
        hasher.update(&noise(2000, 4));
        let line = hasher.take_checkpoints()[0].to_string();
        assert!(line.parse::<Checkpoint>().is_ok());
        for bad in [
            "",
            "blake3",
            "none 1024 00",
            &line[..line.len() - 1],
            &format!("{line}0"),
            &format!("{line} "),
            &line.replace("1024", "-1"),
            &line.replace("blake3", "sha256"),
        ] {
            assert_eq!(bad.parse::<Checkpoint>(), Err(NoCheckpoint), "{bad:?}");
        }
    }

    #[test]
    fn checkpoints_out_of_order_or_of_another_algorithm_are_not_used() {
        let content = noise(5 * 1024, 5);
        let mut hasher = Hasher::with_unit(Algorithm::Blake3, 1024);
        hasher.update(&content);
        let mut checkpoints = hasher.take_checkpoints();
        let covered = |algorithm, checkpoints: &[Checkpoint]| {
            Hasher::resume_with_unit(algorithm, checkpoints, 5 * 1024, 1024).bytes()
        };
        // The last unit is always hashed again.
        assert_eq!(covered(Algorithm::Blake3, &checkpoints), 4 * 1024);
        assert_eq!(covered(Algorithm::Sha256, &checkpoints), 0);
        checkpoints.remove(1);
        assert_eq!(covered(Algorithm::Blake3, &checkpoints), 1024);
    }

    proptest! {
        #[test]
        fn a_digest_continues_after_an_interruption_anywhere(
            length in 0_usize..12_000,
            cuts in prop::collection::vec(0_usize..12_000, 0..4),
            sha: bool,
        ) {
            let algorithm = if sha { Algorithm::Sha256 } else { Algorithm::Blake3 };
            let content = noise(length, 6);
            let mut hasher = Hasher::with_unit(algorithm, 1024);
            let mut state = Vec::new();
            let mut stored = 0;
            for cut in cuts.into_iter().map(|cut| cut.min(length)).filter(|cut| *cut > 0) {
                if cut <= stored {
                    continue;
                }
                for piece in content[stored..cut].chunks(700) {
                    hasher.update(piece);
                    // As often as a receiver would: after every write.
                    state.extend(hasher.take_checkpoints().iter().map(Checkpoint::to_string));
                }
                stored = cut;
                // The break: lines and stored bytes are all that is left.
                let lines: Vec<Checkpoint> =
                state.iter().map(|line| line.parse().unwrap()).collect();
                hasher = Hasher::resume_with_unit(algorithm, &lines, stored as u64, 1024);
                let from = usize::try_from(hasher.bytes()).unwrap();
                prop_assert!(stored - from <= 1024);
                hasher.update(&content[from..stored]);
            }
            hasher.update(&content[stored..]);
            prop_assert_eq!(hasher.finish(), Some(reference(algorithm, &content)));
        }

        #[test]
        fn no_text_panics_the_parser(text in ".*") {
            let _ = text.parse::<Checkpoint>();
        }
    }
}
