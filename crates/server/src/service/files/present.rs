//! An offered file that may be stored already.

use std::io;

use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::file_time::FileTime;
use anyport_proto::transfer::offer::{Offer, OnExists};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_store::{Found, Kind};

use super::upload::Here;
use super::{Files, Source, another_name, exists, storage_refusal};
use crate::config::SinkKind;

impl Files {
    /// Returns the policy for a file whose name had to be changed: it never counts as present, and
    /// never replaces another file, which may be one of the same sender whose name was mapped to
    /// the same.
    pub(super) fn only_apart(
        &self,
        path: Option<&FilePath>,
        offer: &Offer,
        on_exists: OnExists,
    ) -> Result<OnExists, Refusal> {
        let Some(path) = path.filter(|_| self.sink == SinkKind::File) else { return Ok(on_exists) };
        if on_exists == OnExists::Rename {
            return Ok(on_exists);
        }
        let present = self.store.now().present(path);
        match present.map_err(|error| storage_refusal(&format!("cannot stat {path}"), &error))? {
            Some(_) => {
                let asked = offer.name.as_deref().unwrap_or_default();
                let message = format!(
                    "cannot store {asked:?}: the name would be changed to {path}, which exists"
                );
                Err(Refusal::new(RefusalCode::Exists, message).with_hint(another_name()))
            }
            None => Ok(OnExists::Error),
        }
    }

    /// Checks that no entry has the name, if that is an error.
    ///
    /// # Errors
    /// One has it.
    pub(super) fn is_free(
        &self,
        path: Option<&FilePath>,
        on_exists: OnExists,
    ) -> Result<(), Refusal> {
        let Some(path) = path.filter(|_| self.sink == SinkKind::File) else { return Ok(()) };
        if on_exists != OnExists::Error || matches!(self.store.now().present(path), Ok(None)) {
            return Ok(());
        }
        let message = format!("cannot store {path}: the name is in use");
        Err(Refusal::new(RefusalCode::Exists, message))
    }

    /// Returns whether the offered file may be stored already. One that certainly differs is
    /// refused now, before any content, unless it is to be replaced.
    pub(super) fn is_here(
        &self,
        path: Option<&FilePath>,
        offer: &Offer,
        on_exists: OnExists,
        algorithm: Algorithm,
    ) -> Result<Option<Here>, Refusal> {
        let Some(path) = path.filter(|_| self.sink == SinkKind::File) else { return Ok(None) };
        if on_exists == OnExists::Rename {
            return Ok(None);
        }
        let present = self.store.now().present(path);
        let Some(present) =
            present.map_err(|error| storage_refusal(&format!("cannot stat {path}"), &error))?
        else {
            return Ok(None);
        };
        let file = match present {
            Kind::File(file) => Some(file),
            _ => None,
        };
        let same_size = file.filter(|file| Some(file.size) == offer.size);
        let (offered, mtime) = (offer.mtime, same_size.map(|file| file.mtime));
        if offered.zip(mtime).is_some_and(|(offered, mtime)| offered.identifies(mtime)) {
            return Ok(Some(Here::SameTime));
        }
        // A file with another time probably differs: where it is replaced anyway, requesting the
        // digest first only pays if the times could be the same.
        let worth_comparing = match on_exists {
            OnExists::Error => true,
            OnExists::Overwrite => {
                offer.resume
                    && offered.zip(mtime).is_some_and(|(offered, mtime)| offered.may_equal(mtime))
            }
            OnExists::Rename => false,
        };
        if same_size.is_some() && worth_comparing && algorithm != Algorithm::None {
            return Ok(Some(Here::SameSize));
        }
        match on_exists {
            OnExists::Error => Err(exists(path, offer, Some(present))),
            OnExists::Overwrite if file.is_none() => Err(exists(path, offer, Some(present))),
            OnExists::Overwrite | OnExists::Rename => Ok(None),
        }
    }

    /// Returns whether the file at `path` has this digest. Then it gets the announced time, which
    /// the next comparison needs.
    ///
    /// # Errors
    /// The error of the store.
    pub(super) fn is_stored(
        &self,
        path: &FilePath,
        digest: &Digest,
        mtime: Option<FileTime>,
        source: &Source,
    ) -> io::Result<bool> {
        let Found::File(content) = self.store.now().open(path)? else { return Ok(false) };
        let stored = content.digest(digest.algorithm(), || source.is_gone())?;
        let is_stored = stored.as_ref() == Some(digest);
        if is_stored {
            content.confirm(digest, mtime);
        }
        Ok(is_stored)
    }
}
