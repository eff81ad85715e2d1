//! Finding the partial file of an interrupted transfer: by a hash of the offer, or of the source.
//!
//! So no directory is searched, and a partial file is found after a crash that left no time to
//! write anything (docs/decisions/0004).

use std::path::Path;

use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::file_time::FileTime;
use anyport_proto::transfer::offer::Offer;

use crate::names;

/// The identity of a transfer: equal for two offers of the same file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferKey(String);

impl TransferKey {
    /// Returns the key of an offer that has an id and a size.
    ///
    /// Its other properties count too, as the sender may change them without changing the id.
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

    /// Returns the key of the upload whose id is `id`.
    ///
    /// The id is a secret of its client; the key is not one, as it is the name of a file.
    pub fn of_upload(id: &str) -> Self {
        let hasher = blake3::Hasher::new_derive_key("anyport 2026-11 upload resource");
        Self(hash(hasher, std::iter::once(id.as_bytes()), 16))
    }

    fn hash(path: &FilePath, texts: &[&str]) -> Self {
        let hasher = blake3::Hasher::new_derive_key("anyport 2026-11 part of a transfer");
        let texts = texts.iter().map(|text| text.as_bytes());
        Self(hash(hasher, std::iter::once(path.as_bytes()).chain(texts), 16))
    }

    /// Returns the key that `name`, that of a partial file, was made from.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        names::key_of(name).map(|key| Self(key.to_owned()))
    }

    pub(crate) fn partial_name(&self) -> String {
        names::partial(&self.0)
    }

    pub(crate) fn state_name(&self) -> String {
        names::state(&self.0)
    }
}

/// The identity of an uploaded file that all protocols have in common: path, size and owner.
///
/// Attempts with equal keys may continue each other's partial files, though their [`TransferKey`]s
/// differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey(String);

impl SourceKey {
    /// Returns the key of a file of `size` bytes that `owner` sends to `path`.
    pub fn new(path: &FilePath, size: u64, owner: &str) -> Self {
        let hasher = blake3::Hasher::new_derive_key("anyport 2026-11 source of an upload");
        let size = size.to_le_bytes();
        Self(hash(hasher, [path.as_bytes(), &size, owner.as_bytes()].into_iter(), 16))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_key = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_key.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The identity of a download: the source, the target and the version of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionKey {
    origin: String,
    version: String,
}

impl VersionKey {
    /// Returns the key of the file `name` on `host` for `target`; the other properties tell its
    /// versions apart.
    pub fn new(
        host: &str,
        name: &FilePath,
        target: &Path,
        size: Option<u64>,
        mtime: Option<FileTime>,
        tag: Option<&str>,
    ) -> Self {
        let hash = |fields: &[&[u8]]| hash(blake3::Hasher::new(), fields.iter().copied(), 8);
        let target = target.file_name().unwrap_or_default().as_encoded_bytes();
        let size = size.unwrap_or_default().to_le_bytes();
        let mtime = mtime.map_or(0, |mtime| mtime.seconds).to_le_bytes();
        let mut version: Vec<&[u8]> = vec![&size, &mtime];
        version.extend(tag.map(str::as_bytes));
        let origin = hash(&[host.as_bytes(), name.as_bytes(), target]);
        Self { origin, version: hash(&version) }
    }

    pub(crate) fn partial_name(&self) -> String {
        names::partial(&format!("{}-{}", self.origin, self.version))
    }

    /// Returns whether `name` is the partial file of another version of the same source.
    pub(crate) fn is_other_version(&self, name: &str) -> bool {
        names::is_version_of(name, &self.origin) && name != self.partial_name()
    }
}

/// Returns the hash of `fields` in hexadecimal digits, of `bytes` bytes.
fn hash<'a>(
    mut hasher: blake3::Hasher,
    fields: impl Iterator<Item = &'a [u8]>,
    bytes: usize,
) -> String {
    for field in fields {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    hasher.finalize().to_hex()[..2 * bytes].to_owned()
}

/// The kernel's id of this boot.
pub(crate) fn boot_id() -> String {
    // Where it cannot be read, each start of the server counts as another boot: nothing is resumed.
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_else(|_| format!("{:?}", std::time::SystemTime::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that earlier versions gave their partial files, which are resumed after an update.
    #[test]
    fn keys_do_not_change_between_versions_of_the_program() {
        let path = FilePath::parse("a/b").unwrap();
        let offer = Offer { size: Some(7), id: Some("id".to_owned()), ..Offer::default() };
        let key = TransferKey::of(&offer, &path, Algorithm::Blake3).unwrap();
        assert_eq!(key.partial_name(), ".anyport-9da1345ece1ad04ed19daf8167c5f960.part");
        let key = VersionKey::new("host", &path, Path::new("out/b"), Some(7), None, Some("tag"));
        assert_eq!(key.partial_name(), ".anyport-c2e514286e9ea8e5-df159c49919bfc5c.part");
        assert!(!key.is_other_version(&key.partial_name()));
        let other = VersionKey::new("host", &path, Path::new("out/b"), Some(8), None, None);
        assert!(key.is_other_version(&other.partial_name()));
        let another = VersionKey::new("host", &path, Path::new("c"), Some(8), None, None);
        assert!(!key.is_other_version(&another.partial_name()));
    }
}
