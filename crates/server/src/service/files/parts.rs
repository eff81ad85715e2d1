//! Resuming: which client may continue a partial file.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use anyport_net::copy::Gate;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::Offer;
use anyport_proto::transfer::receipt::Protocol;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_store::{Directory, PartialFile, SourceKey, TransferKey};

use super::waiting::{Complete, Identity, NotBegun, Released, Waiting};
use super::{Files, Source, storage_refusal};
use crate::link::Link;

/// An offer whose name and size were checked.
#[derive(Clone, Copy)]
pub(super) struct Checked<'a> {
    pub(super) source: &'a Source,
    pub(super) path: Option<&'a FilePath>,
    pub(super) offer: &'a Offer,
    pub(super) algorithm: Algorithm,
}

impl Checked<'_> {
    /// Returns the key of the file for attempts over other protocols; `None` without a name or a
    /// size.
    fn source_key(&self) -> Option<SourceKey> {
        let (path, size) = self.path.zip(self.offer.size)?;
        Some(SourceKey::new(path, size, &self.source.owner()))
    }

    fn is_complete(&self, length: u64) -> bool {
        self.offer.size.is_some_and(|size| length >= size)
    }
}

impl Files {
    /// Opens the partial file that an earlier attempt left of the offered file, or an empty one.
    /// `waited`: this is not the first attempt to take it over.
    pub(super) fn part(
        self: &Arc<Self>,
        checked: Checked<'_>,
        identity: &Identity,
        waited: Option<&Waiting>,
    ) -> Result<Part, NotBegun> {
        let Checked { path, offer, .. } = checked;
        let directory = self.store.now();
        let (mut sink, own) = match identity {
            Identity::New(own) => {
                return self.written(checked, self.created(checked, own)?, own, false, true);
            }
            Identity::Upload(own, from) => {
                let opened = directory.open_partial(own, true, offer.mode).map_err(cannot)?;
                let Some(sink) = opened else { return Err(self.busy(checked, own, waited)) };
                if let Some((path, bytes)) = sink.completed() {
                    return Err(NotBegun::Complete(Complete { bytes, path }));
                }
                let sink = match *from {
                    // A client that begins with the first byte does not know of another attempt.
                    Some(0) => sink,
                    from => self.adopt(checked, sink, own, from, waited)?,
                };
                (sink, own.clone())
            }
            Identity::Offset(from) => {
                let own = path.and_then(|path| {
                    let owner = checked.source.owner();
                    TransferKey::without_id(offer, path, checked.algorithm, &owner)
                });
                let wanted = Wanted { from: Some(*from), first: own, ..Wanted::evicting(waited) };
                let found = match checked.source.grant.may_read() {
                    true => self.found(checked, &wanted)?,
                    false => None,
                };
                let Some(found) = found else { return fresh(&directory, offer) };
                found
            }
            Identity::Offer => return self.by_offer(checked, waited),
        };
        sink.distrust().map_err(cannot)?;
        let without_id = identity.key().is_none();
        let is_brief = matches!(identity, Identity::Upload(_, None));
        self.written(checked, sink, &own, without_id, is_brief)
    }

    /// Creates an upload that requests continue by an id.
    pub(super) fn created(
        &self,
        checked: Checked<'_>,
        key: &TransferKey,
    ) -> Result<PartialFile, Refusal> {
        let (path, source) = (checked.path, checked.source_key());
        let directory = self.store.now();
        directory.create_upload(key, path, checked.offer, source.as_ref()).map_err(cannot)
    }

    /// Opens a partial file for an offer whose sender reads the offset from the reply.
    fn by_offer(
        self: &Arc<Self>,
        checked: Checked<'_>,
        waited: Option<&Waiting>,
    ) -> Result<Part, NotBegun> {
        let Checked { source, path, offer, algorithm } = checked;
        let directory = self.store.now();
        // Resuming a small file costs more than sending it again.
        let worth = offer.resume || offer.size.is_some_and(|size| size >= WORTH_RESUMING);
        // Where clients may not read, a partial file belongs to the client that knows its upload
        // id.
        let worth = worth && (source.grant.may_read() || offer.id.is_some());
        let Some(path) = path.filter(|_| worth) else { return fresh(&directory, offer) };
        let with_id = TransferKey::of(offer, path, algorithm);
        let without_id = TransferKey::without_id(offer, path, algorithm, &source.owner());
        let own = with_id.as_ref().or(without_id.as_ref());
        // Without an id the partial file may be another client's, so it stays, and this attempt
        // leaves none.
        if !offer.resume && with_id.is_none() && own.is_some_and(|key| directory.has_partial(key)) {
            let Part { sink, .. } = fresh(&directory, offer)?;
            return Ok(Part { sink: sink.not_kept(), held: None, key: None, without_id: false });
        }
        if offer.resume
            && algorithm != Algorithm::None
            && source.grant.may_read()
            && own.is_some_and(|own| with_id.is_none() || !directory.has_partial(own))
            && let Some((sink, key)) =
                self.found(checked, &Wanted::first(without_id.clone(), waited))?
        {
            // It was begun with another id, or without one: the digest at the end decides whether
            // it is the same file.
            return self.written(checked, sink, &key, true, false);
        }
        let Some(own) = own else { return fresh(&directory, offer) };
        match directory.open_partial(own, offer.resume, offer.mode).map_err(cannot)? {
            Some(sink) => self.written(checked, sink, own, with_id.is_none(), false),
            None if offer.resume && with_id.is_some() => Err(self.busy(checked, own, waited)),
            // Two senders without ids: the second one's partial file cannot be resumed.
            None => fresh(&directory, offer),
        }
    }

    /// Makes the connection the writer of `sink`; `is_brief`: it has no content to send.
    fn written(
        self: &Arc<Self>,
        checked: Checked<'_>,
        mut sink: PartialFile,
        key: &TransferKey,
        without_id: bool,
        is_brief: bool,
    ) -> Result<Part, NotBegun> {
        let Checked { source, path, offer, .. } = checked;
        if offer.size.is_some_and(|size| sink.length() > size) {
            // The server never writes more than was announced.
            sink.cancel();
            let message = "the partial file is longer than the file";
            let refusal = Refusal::new(RefusalCode::Storage, message).with_hint("send it again");
            return Err(refusal.into());
        }
        if let Some(path) = path {
            sink.describe(path, offer, checked.source_key().as_ref());
        }
        let is_shut = source.protocol != Protocol::Http2 && !is_brief;
        let link = is_shut.then(|| source.link.clone());
        let owner = Owner { link, released: Arc::default(), evicted: Arc::default() };
        self.writers().insert(key.clone(), owner.clone());
        let held = Some(Writing { files: self.clone(), key: key.clone(), owner });
        let key = sink.has_id().then(|| key.clone());
        Ok(Part { sink, held, key, without_id })
    }

    /// Finds the content of another attempt to send the same file, over any protocol.
    fn found(
        &self,
        checked: Checked<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<Option<(PartialFile, TransferKey)>, NotBegun> {
        let directory = self.store.now();
        let from = wanted.from;
        // Content that may not have reached the disk counts only where a digest verifies it.
        let length_of = |sink: &PartialFile| match from {
            Some(_) => sink.trusted_length(),
            None => sink.length(),
        };
        let mut longest: Option<(PartialFile, TransferKey)> = None;
        let same = checked.source_key();
        let same = same.map(|key| directory.partials_of(&key, checked.offer.mtime));
        let first = wanted.first.clone().filter(|key| directory.has_partial(key));
        let others = first.into_iter().chain(same.into_iter().flatten());
        let others = others.filter(|key| wanted.not.is_none_or(|own| own != key));
        for key in others.take(MOST_ATTEMPTS) {
            if longest.as_ref().is_some_and(|(_, known)| *known == key) {
                continue;
            }
            let Some(sink) = directory.open_partial(&key, true, None).map_err(cannot)? else {
                let Some(waited) = wanted.evicts else { continue };
                // Without a token its writer may be another client, or the lost connection of this
                // one whose end is not noticed yet.
                let released = match checked.source.grant.user() {
                    Some(_) => self.take_over(&key, waited),
                    None if waited.is_none_or(Waiting::is_new) => Some(Released::Soon),
                    None => None,
                };
                if let Some(released) = released {
                    return Err(NotBegun::Owned(released));
                }
                continue;
            };
            let digest = sink.announced().digest;
            if digest.is_some_and(|digest| digest.algorithm() != checked.algorithm) {
                // Its digest could not be compared at the end.
                continue;
            }
            let length = length_of(&sink);
            // An upload that was only created has no content to continue, also not at offset 0.
            let is_exact = length > 0 && from == Some(length);
            let is_wanted =
                is_exact || longest.as_ref().is_none_or(|(known, _)| length_of(known) < length);
            // The other one is dropped, and so stays as it is.
            if is_wanted {
                longest = Some((sink, key));
            }
            if is_exact {
                break;
            }
        }
        Ok(longest.filter(|(sink, _)| length_of(sink) > 0))
    }

    /// Moves the content of another attempt to send the same file to `sink`, that of an upload
    /// without content: if the client states its length, or asks for the offset.
    fn adopt(
        &self,
        checked: Checked<'_>,
        sink: PartialFile,
        own: &TransferKey,
        from: Option<u64>,
        waited: Option<&Waiting>,
    ) -> Result<PartialFile, NotBegun> {
        if sink.length() > 0 || sink.is_begun() || !checked.source.grant.may_read() {
            return Ok(sink);
        }
        let from_it = from.or(Some(0));
        let wanted = Wanted { from: from_it, not: Some(own), ..Wanted::evicting(waited) };
        let Some((mut other, _)) = self.found(checked, &wanted)? else { return Ok(sink) };
        let length = other.trusted_length();
        // The client of a complete one would send nothing, and no request would publish it.
        let is_usable = length > 0 && !checked.is_complete(length);
        if is_usable && from.is_none_or(|from| from == length) {
            other.distrust().map_err(cannot)?;
            return sink.adopt(other).map_err(|error| cannot(error).into());
        }
        Ok(sink)
    }

    /// Returns the offset at which another attempt to send the same file could be continued.
    /// Evicts no writer.
    pub(super) fn adoptable(&self, checked: Checked<'_>, own: &TransferKey) -> u64 {
        if !checked.source.grant.may_read() {
            return 0;
        }
        let wanted = Wanted { from: Some(0), first: None, not: Some(own), evicts: None };
        let found = self.found(checked, &wanted);
        let Ok(Some((sink, _))) = found else { return 0 };
        let length = sink.trusted_length();
        if checked.is_complete(length) { 0 } else { length }
    }

    fn busy(&self, checked: Checked<'_>, key: &TransferKey, waited: Option<&Waiting>) -> NotBegun {
        if let Some(released) = self.take_over(key, waited) {
            return NotBegun::Owned(released);
        }
        let name = checked.path.map_or_else(|| "the file".to_owned(), ToString::to_string);
        let message = format!("{name} is being sent over another connection");
        Refusal::new(RefusalCode::Busy, message).with_hint("try again later").into()
    }

    /// Ends the connection that writes to a partial file whose sender is back, and returns when to
    /// try again; `None` where this attempt does not wait (any longer).
    fn take_over(&self, key: &TransferKey, waited: Option<&Waiting>) -> Option<Released> {
        if waited.is_some_and(|waited| Instant::now() >= waited.until) {
            return None;
        }
        // A request that only looks at the file is no writer, and has it for a moment.
        let Some(owner) = self.writers().get(key).cloned() else { return Some(Released::Soon) };
        // Another connection of the sender may have been faster; it may end in time, but not for
        // this one.
        if waited.is_none() {
            owner.evict();
        }
        Some(Released::When(owner.released))
    }

    fn writers(&self) -> MutexGuard<'_, HashMap<TransferKey, Owner>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cannot(error: std::io::Error) -> Refusal {
    storage_refusal("cannot create a file", &error)
}

/// Creates a partial file that no attempt resumes.
fn fresh(directory: &Arc<Directory>, offer: &Offer) -> Result<Part, NotBegun> {
    let sink = directory.create_partial(offer.mode).map_err(cannot)?;
    Ok(Part { sink, held: None, key: None, without_id: false })
}

/// The attempt to look for.
struct Wanted<'a> {
    /// The offset that the client states; the longest attempt, if there is none of that length. Its
    /// content is not verified by a digest at the end.
    from: Option<u64>,
    /// The first one to look at.
    first: Option<TransferKey>,
    /// The client's own one, which it has open.
    not: Option<&'a TransferKey>,
    /// Whether writers with the same token are ended; then, what the client waited for.
    evicts: Option<Option<&'a Waiting>>,
}

impl<'a> Wanted<'a> {
    const fn evicting(waited: Option<&'a Waiting>) -> Self {
        Self::first(None, waited)
    }

    const fn first(first: Option<TransferKey>, waited: Option<&'a Waiting>) -> Self {
        Self { from: None, first, not: None, evicts: Some(waited) }
    }
}

/// A partial file, and the right to write to it.
pub(super) struct Part {
    pub(super) sink: PartialFile,
    pub(super) held: Option<Writing>,
    /// The key of an upload that requests continue by an id, also if another protocol does.
    pub(super) key: Option<TransferKey>,
    /// Whether it was found by path, size, algorithm and owner alone.
    pub(super) without_id: bool,
}

/// The connection that writes to a partial file.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    /// The connection to shut; `None` for a stream of a connection that others use, and for a
    /// request that ends by itself before it could be shut.
    link: Option<Link>,
    /// Opens when it no longer writes.
    released: Arc<Gate>,
    /// Opens when it is to end.
    evicted: Arc<Gate>,
}

impl Owner {
    /// Lets the connection end, so that its sender can continue over another one.
    fn evict(&self) {
        self.evicted.open();
        if let Some(link) = &self.link {
            link.shut();
        }
    }
}

/// A connection's right to write to a partial file.
pub(super) struct Writing {
    files: Arc<Files>,
    key: TransferKey,
    owner: Owner,
}

impl Writing {
    /// Returns the gate that opens when another request continues the upload.
    pub(super) fn evicted(&self) -> Arc<Gate> {
        self.owner.evicted.clone()
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut writers = self.files.writers();
        // Another connection may have taken over.
        let is_own = |owner: &Owner| Arc::ptr_eq(&owner.released, &self.owner.released);
        if writers.get(&self.key).is_some_and(is_own) {
            writers.remove(&self.key);
        }
        drop(writers);
        self.owner.released.open();
    }
}

/// Minimum size of a file that can be resumed although its sender does not ask for that.
const WORTH_RESUMING: u64 = 1024 * 1024;

/// Maximum number of attempts to send one file whose content is compared; each is a file to open.
const MOST_ATTEMPTS: usize = 8;
