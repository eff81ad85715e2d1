//! Resuming: which client may continue a partial file.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use anyport_net::copy::Gate;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::Offer;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_store::{PartialFile, TransferKey};

use super::waiting::{NotBegun, Waiting};
use super::{Files, Source, storage_refusal};
use crate::link::Link;

impl Files {
    /// Opens the partial file that an earlier attempt left of the offered file, or an empty one.
    /// `waited`: this is not the first attempt to take it over.
    pub(super) fn part(
        self: &Arc<Self>,
        source: &Source,
        path: Option<&FilePath>,
        offer: &Offer,
        algorithm: Algorithm,
        waited: Option<&Waiting>,
    ) -> Result<Part, NotBegun> {
        let cannot = |error| storage_refusal("cannot create a file", &error);
        let directory = self.store.now();
        let fresh = || {
            let sink = directory.create_partial(offer.mode).map_err(cannot)?;
            Ok(Part { sink, held: None, without_id: false })
        };
        // Resuming a small file costs more than sending it again.
        let worth = offer.resume || offer.size.is_some_and(|size| size >= WORTH_RESUMING);
        // Where clients may not read, a partial file belongs to the client that knows its upload
        // id.
        let worth = worth && (self.may_read() || offer.id.is_some());
        let Some(path) = path.filter(|_| worth) else { return fresh() };
        let with_id = TransferKey::of(offer, path, algorithm);
        let without_id = TransferKey::without_id(offer, path, algorithm, &source.owner());
        let own = with_id.as_ref().or(without_id.as_ref());
        // Without an id the partial file may be another client's, so it stays, and this attempt
        // leaves none.
        if !offer.resume && with_id.is_none() && own.is_some_and(|key| directory.has_partial(key)) {
            let Part { sink, .. } = fresh()?;
            return Ok(Part { sink: sink.not_kept(), held: None, without_id: false });
        }
        let mut found = None;
        if offer.resume
            && self.may_read()
            && let Some((own, other)) = with_id.as_ref().zip(without_id.as_ref())
            && !directory.has_partial(own)
            && directory.has_partial(other)
        {
            // It was begun without an id: the digest at the end decides whether it is the same
            // file.
            found = directory
                .open_partial(other, true, offer.mode)
                .map_err(cannot)?
                .map(|sink| (sink, other));
        }
        if found.is_none()
            && let Some(own) = own
        {
            let sink = directory.open_partial(own, offer.resume, offer.mode).map_err(cannot)?;
            if sink.is_none() && offer.resume && with_id.is_some() {
                return Err(self.take_over(own, waited).map_or_else(
                    || {
                        let message = format!("{path} is being sent over another connection");
                        let refusal = Refusal::new(RefusalCode::Busy, message);
                        NotBegun::Refused(refusal.with_hint("try again later"))
                    },
                    NotBegun::Owned,
                ));
            }
            found = sink.map(|sink| (sink, own));
        }
        // Two senders without ids: the second one's partial file cannot be resumed.
        let Some((mut sink, key)) = found else { return fresh() };
        if offer.size.is_some_and(|size| sink.length() > size) {
            // The server never writes more than was announced.
            let message = "the partial file is longer than the file";
            let refusal = Refusal::new(RefusalCode::Storage, message).with_hint("send it again");
            return Err(refusal.into());
        }
        sink.describe(path, offer);
        let owner = Owner { link: source.link.clone(), released: Arc::default() };
        self.writers().insert(key.clone(), owner.clone());
        let held = Some(Writing { files: self.clone(), key: key.clone(), owner });
        Ok(Part { sink, held, without_id: Some(key) == without_id.as_ref() })
    }

    /// Ends the connection that writes to a partial file whose sender is back, and returns the gate
    /// that opens when it has ended; `None` where this attempt does not wait (any longer).
    fn take_over(&self, key: &TransferKey, waited: Option<&Waiting>) -> Option<Arc<Gate>> {
        let owner = self.writers().get(key).cloned();
        match (waited, owner) {
            (Some(waited), _) if Instant::now() >= waited.until => None,
            // Another connection of the sender was faster; it may end in time, but not for this
            // one.
            (Some(_), owner) => Some(owner.map(|owner| owner.released).unwrap_or_default()),
            (None, owner) => {
                let owner = owner?;
                owner.link.shut();
                Some(owner.released)
            }
        }
    }

    fn writers(&self) -> MutexGuard<'_, HashMap<TransferKey, Owner>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A partial file, and the right to write to it.
pub(super) struct Part {
    pub(super) sink: PartialFile,
    pub(super) held: Option<Writing>,
    /// Whether it was found by path, size, algorithm and owner alone.
    pub(super) without_id: bool,
}

/// The connection that writes to a partial file.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    link: Link,
    /// Opens when it no longer writes.
    released: Arc<Gate>,
}

/// A connection's right to write to a partial file.
pub(super) struct Writing {
    files: Arc<Files>,
    key: TransferKey,
    owner: Owner,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut writers = self.files.writers();
        // Another connection may have taken over.
        if writers.get(&self.key).is_some_and(|owner| owner.link.is(&self.owner.link)) {
            writers.remove(&self.key);
        }
        drop(writers);
        self.owner.released.open();
    }
}

/// Minimum size of a file that can be resumed although its sender does not ask for that.
const WORTH_RESUMING: u64 = 1024 * 1024;
