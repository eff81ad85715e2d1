//! The id of a share, which is the secret in its link.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;

/// The id of a share: 256 random bits.
pub(crate) struct ShareId(String);

impl ShareId {
    /// Returns a new id.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut id = [0; BYTES];
        getrandom::fill(&mut id)?;
        Ok(Self(BASE64URL_NOPAD.encode(&id)))
    }

    /// Parses an id; `None` if it cannot be one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let id = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        (id.len() == BYTES).then(|| Self(text.to_owned()))
    }

    /// Returns its hash: the id has as many random bits, so no key or salt is needed.
    pub(super) fn hash(&self) -> blake3::Hash {
        blake3::derive_key("anyport 2026-11 share", self.0.as_bytes()).into()
    }

    /// Returns the path of its link.
    pub(crate) fn path(&self) -> String {
        format!("/.anyport/s/{}/", self.0)
    }
}

impl fmt::Debug for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareId(…)")
    }
}

const BYTES: usize = 32;
