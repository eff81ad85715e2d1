//! Offers, and those that wait for the last connection of their sender to let go of the partial
//! file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::copy::{Gate, Wait};
use anyport_proto::transfer::offer::Offer;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use tokio::sync::OwnedSemaphorePermit;

use super::{Files, Source, Upload};

impl Files {
    /// Begins to receive a file that no other connection can be sending. What the offer says is
    /// checked here, before any content.
    ///
    /// # Errors
    /// A name that cannot be made safe, a size above the limit or the free space, a directory that cannot be written.
    /// The refusal has been told to the observer.
    pub(crate) fn begin(self: &Arc<Self>, source: Source, offer: Offer) -> Result<Upload, Refusal> {
        match self.offered(source, offer)? {
            Begun::Upload(upload) => Ok(*upload),
            Begun::Waiting(_) => {
                Err(Refusal::new(RefusalCode::Busy, "another connection sends this file"))
            }
        }
    }

    /// The same where the sender may be back before its last connection has ended: only those
    /// offers resume, with an id.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(crate) fn offered(
        self: &Arc<Self>,
        source: Source,
        offer: Offer,
    ) -> Result<Begun, Refusal> {
        self.attempt(source, offer, None)
    }

    /// Tries again what waited.
    ///
    /// # Errors
    /// As [`Self::begin`], and that the other connection has not let go in time.
    pub(crate) fn retry(self: &Arc<Self>, waiting: Box<Waiting>) -> Result<Begun, Refusal> {
        self.attempt(waiting.source.clone(), waiting.offer.clone(), Some(*waiting))
    }

    fn attempt(
        self: &Arc<Self>,
        source: Source,
        offer: Offer,
        last: Option<Waiting>,
    ) -> Result<Begun, Refusal> {
        let refusal = match self.try_begin(source.clone(), offer.clone(), last.as_ref()) {
            Ok(upload) => return Ok(Begun::Upload(Box::new(upload))),
            Err(NotBegun::Refused(refusal)) => refusal,
            Err(NotBegun::Owned(gate)) => {
                match Waiting::new(self, gate, source.clone(), offer, last) {
                    Some(waiting) => return Ok(Begun::Waiting(Box::new(waiting))),
                    None => {
                        let message = "too many senders wait for their last connection to end";
                        Refusal::new(RefusalCode::Busy, message).with_hint("try again later")
                    }
                }
            }
        };
        self.refused(&source, &refusal);
        Err(refusal)
    }
}

/// What became of an offer that was not refused.
pub(crate) enum Begun {
    Upload(Box<Upload>),
    /// To be tried again, by [`Files::retry`], when nothing holds it any more.
    Waiting(Box<Waiting>),
}

/// Why an upload has not begun.
pub(super) enum NotBegun {
    Refused(Refusal),
    /// Another connection writes to its partial file, and was ended; this gate opens when it has
    /// let go.
    Owned(Arc<Gate>),
}

impl From<Refusal> for NotBegun {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// An upload of a sender that is back, until its last connection has let go of the partial file. It
/// holds no thread: the session that has it is held by the gate.
pub(crate) struct Waiting {
    pub(super) source: Source,
    pub(super) offer: Offer,
    gate: Arc<Gate>,
    /// When it tries for the last time.
    pub(super) until: Instant,
    permit: OwnedSemaphorePermit,
}

impl Waiting {
    /// Returns `None` where as many wait as may.
    pub(super) fn new(
        files: &Files,
        gate: Arc<Gate>,
        source: Source,
        offer: Offer,
        last: Option<Self>,
    ) -> Option<Self> {
        let (until, permit) = match last {
            Some(last) => (last.until, last.permit),
            None => {
                let permit = files.taking_over.clone().try_acquire_owned().ok()?;
                (Instant::now() + TAKE_OVER, permit)
            }
        };
        Some(Self { source, offer, gate, until, permit })
    }

    /// What its session waits for; when the time is over, it tries for the last time.
    pub(crate) fn wait(&self) -> Option<Wait> {
        let (gate, until) = (self.gate.clone(), Some(self.until));
        (!self.gate.is_open()).then_some(Wait { gate, until, gone_below: 0 })
    }
}

/// Senders that wait for that concurrently; a further one is refused as busy. They hold no thread,
/// but of those that wait for one partial file each tries once whenever its owner changes.
pub(super) const TAKING_OVER: usize = 64;

/// Time in which a connection lets go of its partial file, once its sender is back over another
/// one.
const TAKE_OVER: Duration = Duration::from_secs(2);
