//! Finding the partial file of an interrupted transfer: by a hash of the offer.
//!
//! So no directory is searched, and a partial file is found after a crash that left no time to
//! write anything (docs/decisions/0004).

use std::fmt::Write as _;

use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::Offer;

use crate::names;

/// What makes two offers the same transfer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransferKey(String);

impl TransferKey {
    /// Returns the key of an offer that has an id and a size. Its other properties count too, as
    /// the sender may change them without changing the id.
    pub fn of(offer: &Offer, path: &FilePath, algorithm: Algorithm) -> Option<Self> {
        let (id, size) = (offer.id.as_ref()?, offer.size?);
        // Without a digest the length of the partial file alone says which bytes were stored, and
        // that does not hold after a crash of the machine.
        let boot = if algorithm == Algorithm::None { boot_id() } else { String::new() };
        let mtime = format!("{:?}", offer.mtime.map(|mtime| mtime.seconds));
        let (size, algorithm) = (size.to_string(), algorithm.as_str());
        let texts = [&size, algorithm, id, &mtime, &boot];
        Some(Self::hash(path, &texts))
    }

    /// Returns the key of an offer without an id: the digest at the end must confirm that it is the
    /// same file, so there must be one. `owner` may resume it; no other client can plant a
    /// beginning.
    pub fn without_id(
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
        for field in std::iter::once(path.as_bytes()).chain(texts) {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        let mut key = String::new();
        for byte in &hasher.finalize().as_bytes()[..16] {
            let _ = write!(key, "{byte:02x}");
        }
        Self(key)
    }

    pub(crate) fn partial_name(&self) -> String {
        names::partial(&self.0)
    }

    pub(crate) fn state_name(&self) -> String {
        names::state(&self.0)
    }
}

/// The kernel's id of this boot.
pub(crate) fn boot_id() -> String {
    // Where it cannot be read, each start of the server counts as another boot: nothing is resumed.
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_else(|_| format!("{:?}", std::time::SystemTime::now()))
}
