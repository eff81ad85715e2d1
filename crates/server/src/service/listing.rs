//! Lists files for a client (see [`Listing`]).

pub(crate) use anyport_proto::transfer::listing::Listed;
use std::sync::Arc;

use anyport_proto::transfer::download::{List, ListEnd};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_store::ListError;

use super::download::{cannot_open, stored_path};
use super::files::{Files, Source};
use crate::access::{Grant, Operation};
use crate::budget::Share;

/// A running listing.
pub(crate) struct Listing(anyport_store::Listing);

impl Files {
    /// Begins to list a directory, or one file. It buffers at most `limit` bytes of names, which
    /// count against `share`.
    ///
    /// # Errors
    /// A path that cannot be a stored one, no such entry, or no memory for names. The refusal was
    /// reported.
    pub(crate) fn list(
        self: &Arc<Self>,
        source: Source,
        list: &List,
        limit: usize,
        share: Share,
    ) -> Result<Listing, Refusal> {
        self.try_list(&source.grant, list, limit, share).inspect_err(|refusal| {
            self.refused(&source, refusal);
        })
    }

    fn try_list(
        &self,
        grant: &Grant,
        list: &List,
        limit: usize,
        share: Share,
    ) -> Result<Listing, Refusal> {
        grant.check_right(Operation::List, None)?;
        let asked = list.path.as_deref();
        let path = asked.map(|asked| stored_path(asked, list.path_raw.as_deref())).transpose()?;
        grant.check(Operation::List, path.as_ref())?;
        self.check_directory()?;
        let scope = grant.scope().cloned();
        let (store, recursive, left_out) = (self.store.clone(), list.recursive, list.left_out);
        anyport_store::Listing::begin(store, path, scope, recursive, left_out, limit, share)
            .map(Listing)
            .map_err(refusal)
    }
}

impl Listing {
    /// Returns the next entry; `None` at the end.
    ///
    /// # Errors
    /// The server has no memory for more names, or cannot read the directory. The listing ends
    /// there.
    pub(crate) fn next(&mut self) -> Result<Option<Listed>, Refusal> {
        self.0.next_entry().map_err(refusal)
    }

    /// Returns the counts for the end of the listing.
    pub(crate) const fn end(&self) -> ListEnd {
        self.0.end()
    }
}

fn refusal(error: ListError) -> Refusal {
    match error {
        ListError::NoMemory => {
            let message = "memory limit for listings reached";
            Refusal::new(RefusalCode::Busy, message).with_hint("try again later")
        }
        ListError::Open(path, error) => cannot_open(&path, &error),
        ListError::Read(error) => {
            let message = format!("cannot read the directory: {error}");
            Refusal::new(RefusalCode::Storage, message)
        }
    }
}
