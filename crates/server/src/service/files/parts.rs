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
use crate::sink::{FileSink, PartKey};

impl Files {
    /// What an earlier attempt left of the offered file, or an empty part.
    pub(super) fn part(
        self: &Arc<Self>,
        source: &Source,
        path: Option<&FilePath>,
        offer: &Offer,
        algorithm: Algorithm,
    ) -> Result<(FileSink, Option<Writing>), Refusal> {
        let cannot = |error| storage_refusal("cannot create a file", &error);
        if let Some(path) = path.filter(|path| self.directory.is_elsewhere(path)) {
            let message = format!("{path} lies in another file system than the served directory");
            return Err(Refusal::new(RefusalCode::Storage, message));
        }
        let fresh = || Ok((self.directory.create_part().map_err(cannot)?, None));
        // To go on with a small file costs more than to send it again.
        let worth = offer.resume || offer.size.is_some_and(|size| size >= WORTH_RESUMING);
        let Some(path) = path.filter(|_| worth) else { return fresh() };
        let without_id = PartKey::without_id(offer, path, algorithm);
        let key = match (PartKey::of(offer, path, algorithm), without_id) {
            // Begun by somebody who gave no id: the end digest will tell whether it is the same.
            (Some(key), Some(other))
                if !self.directory.has_part(&key) && self.directory.has_part(&other) =>
            {
                other
            }
            (Some(key), _) | (None, Some(key)) => key,
            (None, None) => return fresh(),
        };
        let mut part = self.directory.open_part(&key, offer.resume).map_err(cannot)?;
        if part.is_none() && offer.resume && offer.id.is_some() {
            part = self.take_over(&key).map_err(cannot)?;
            if part.is_none() {
                let message = format!("{path} is being sent over another connection");
                return Err(Refusal::new(RefusalCode::Busy, message).with_hint("try again later"));
            }
        }
        // Two senders that cannot be told apart: nobody can go on with the second one's.
        let Some(mut part) = part else { return fresh() };
        if offer.size.is_some_and(|size| part.length() > size) {
            // Nothing of ours writes more than was announced.
            let message = "the part of this file is longer than the file";
            return Err(Refusal::new(RefusalCode::Storage, message));
        }
        part.describe(path, offer);
        let link = source.link.clone();
        self.writers().insert(key.clone(), link.clone());
        Ok((part, Some(Writing { files: self.clone(), key, link })))
    }

    /// The part of a sender that is back: its last connection broke, and we have not noticed yet.
    fn take_over(&self, key: &PartKey) -> io::Result<Option<FileSink>> {
        let Some(link) = self.writers().get(key).cloned() else { return Ok(None) };
        link.shut();
        let deadline = Instant::now() + TAKE_OVER;
        loop {
            if let Some(part) = self.directory.open_part(key, true)? {
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

/// What a connection gets to let go of its part, once its sender has come back over another one.
const TAKE_OVER: Duration = Duration::from_secs(2);
