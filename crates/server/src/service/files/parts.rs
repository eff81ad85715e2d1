//! What an earlier attempt left of a file: who may go on with it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::Offer;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use super::{Files, Source, storage_refusal};
use crate::link::Link;
use crate::sink::{Directory, FileSink, PartKey};

impl Files {
    /// What an earlier attempt left of the offered file, or an empty part.
    pub(super) fn part(
        self: &Arc<Self>,
        source: &Source,
        path: Option<&FilePath>,
        offer: &Offer,
        algorithm: Algorithm,
    ) -> Result<Part, Refusal> {
        let cannot = |error| storage_refusal("cannot create a file", &error);
        let directory = self.directory.now();
        let fresh = || {
            let sink = directory.create_part(offer.mode).map_err(cannot)?;
            Ok(Part { sink, held: None, without_id: false })
        };
        // To go on with a small file costs more than to send it again.
        let worth = offer.resume || offer.size.is_some_and(|size| size >= WORTH_RESUMING);
        // Where clients may not read, a partial file belongs to the one that knows its upload id.
        let worth = worth && (self.may_read() || offer.id.is_some());
        let Some(path) = path.filter(|_| worth) else { return fresh() };
        let with_id = PartKey::of(offer, path, algorithm);
        let without_id = PartKey::without_id(offer, path, algorithm, &source.owner());
        let own = with_id.as_ref().or(without_id.as_ref());
        // Without an id nothing says that what is there is of the same client, so it stays, and this
        // attempt leaves nothing.
        if !offer.resume && with_id.is_none() && own.is_some_and(|key| directory.has_part(key)) {
            let Part { sink, .. } = fresh()?;
            return Ok(Part { sink: sink.not_kept(), held: None, without_id: false });
        }
        let mut found = None;
        if offer.resume
            && self.may_read()
            && let Some((own, other)) = with_id.as_ref().zip(without_id.as_ref())
            && !directory.has_part(own)
            && directory.has_part(other)
        {
            // Begun by somebody who gave no id, and left: the end digest will tell whether it is the same.
            found = directory
                .open_part(other, true, offer.mode)
                .map_err(cannot)?
                .map(|sink| (sink, other));
        }
        if found.is_none()
            && let Some(own) = own
        {
            let mut sink = directory.open_part(own, offer.resume, offer.mode).map_err(cannot)?;
            if sink.is_none() && offer.resume && with_id.is_some() {
                sink = self.take_over(&directory, own, offer.mode).map_err(cannot)?;
                if sink.is_none() {
                    let message = format!("{path} is being sent over another connection");
                    return Err(
                        Refusal::new(RefusalCode::Busy, message).with_hint("try again later")
                    );
                }
            }
            found = sink.map(|sink| (sink, own));
        }
        // Two senders that cannot be told apart: nobody can go on with the second one's.
        let Some((mut sink, key)) = found else { return fresh() };
        if offer.size.is_some_and(|size| sink.length() > size) {
            // Nothing of ours writes more than was announced.
            let message = "the partial file is longer than the file";
            return Err(Refusal::new(RefusalCode::Storage, message).with_hint("send it again"));
        }
        sink.describe(path, offer);
        let link = source.link.clone();
        self.writers().insert(key.clone(), link.clone());
        let held = Some(Writing { files: self.clone(), key: key.clone(), link });
        Ok(Part { sink, held, without_id: Some(key) == without_id.as_ref() })
    }

    /// The part of a sender that is back: its last connection broke, and we have not noticed yet.
    fn take_over(
        &self,
        directory: &Arc<Directory>,
        key: &PartKey,
        mode: Option<u32>,
    ) -> io::Result<Option<FileSink>> {
        let Some(link) = self.writers().get(key).cloned() else { return Ok(None) };
        link.shut();
        // Each waits on a thread of the pool for disks, which others need.
        let Ok(_waiting) = self.taking_over.try_acquire() else { return Ok(None) };
        let deadline = Instant::now() + TAKE_OVER;
        loop {
            if let Some(part) = directory.open_part(key, true, mode)? {
                return Ok(Some(part));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn writers(&self) -> MutexGuard<'_, HashMap<PartKey, Link>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part, and by which right it is written to.
pub(super) struct Part {
    pub(super) sink: FileSink,
    pub(super) held: Option<Writing>,
    /// It was found by path, size, algorithm and owner alone.
    pub(super) without_id: bool,
}

/// A connection's right to a part.
pub(super) struct Writing {
    files: Arc<Files>,
    key: PartKey,
    link: Link,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut writers = self.files.writers();
        // Somebody may have taken over.
        if writers.get(&self.key).is_some_and(|link| link.is(&self.link)) {
            writers.remove(&self.key);
        }
    }
}

/// Bytes from which on a file whose sender does not ask to go on keeps a part that another attempt can go on with.
const WORTH_RESUMING: u64 = 1024 * 1024;

/// Senders that wait for that at a time; a further one is told to try again.
pub(super) const TAKING_OVER: usize = 8;

/// What a connection gets to let go of its part, once its sender has come back over another one.
const TAKE_OVER: Duration = Duration::from_secs(2);
