//! Offers, and those that wait until the last connection of their sender has ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::copy::{Gate, Wait};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::Offer;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_store::TransferKey;
use tokio::sync::OwnedSemaphorePermit;

use super::{Files, Source, Upload};

impl Files {
    /// Begins to receive a file that no other connection can be sending, after checking the offer.
    ///
    /// # Errors
    /// A name that cannot be made safe, a size above the limit or the free space, or a directory
    /// that cannot be written to. The refusal was reported.
    pub(crate) fn begin(self: &Arc<Self>, source: Source, offer: Offer) -> Result<Upload, Refusal> {
        match self.offered(source, offer)? {
            Begun::Upload(upload) => Ok(*upload),
            Begun::Waiting(_) => {
                Err(Refusal::new(RefusalCode::Busy, "another connection sends this file"))
            }
        }
    }

    /// Does the same where the sender may be back before its last connection has ended.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(crate) fn offered(
        self: &Arc<Self>,
        source: Source,
        offer: Offer,
    ) -> Result<Begun, Refusal> {
        Ok(self.attempt(source, offer, Identity::Offer, None)?)
    }

    /// Does the same for a client that states the offset; that of the upload may be another one.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(crate) fn offered_from(
        self: &Arc<Self>,
        source: Source,
        offer: Offer,
        from: u64,
    ) -> Result<Begun, Refusal> {
        Ok(self.attempt(source, offer, Identity::Offset(from), None)?)
    }

    /// Tries a waiting offer again.
    ///
    /// # Errors
    /// As [`Self::begin`], and that the other connection has not ended in time.
    pub(crate) fn retry(self: &Arc<Self>, waiting: Box<Waiting>) -> Result<Begun, Refusal> {
        Ok(self.again(waiting)?)
    }

    pub(super) fn again(self: &Arc<Self>, waiting: Box<Waiting>) -> Result<Begun, Stopped> {
        let Waiting { source, offer, identity, .. } = &*waiting;
        self.attempt(source.clone(), offer.clone(), identity.clone(), Some(*waiting))
    }

    pub(super) fn attempt(
        self: &Arc<Self>,
        source: Source,
        offer: Offer,
        identity: Identity,
        last: Option<Waiting>,
    ) -> Result<Begun, Stopped> {
        let begun = self.try_begin(source.clone(), offer.clone(), &identity, last.as_ref());
        let refusal = match begun {
            Ok(upload) => return Ok(Begun::Upload(Box::new(upload))),
            Err(NotBegun::Refused(refusal)) => refusal,
            Err(NotBegun::Complete(complete)) => return Err(Stopped::Complete(complete)),
            Err(NotBegun::Owned(released)) => {
                match Waiting::new(self, released, source.clone(), offer, identity, last) {
                    Some(waiting) => return Ok(Begun::Waiting(Box::new(waiting))),
                    None => {
                        let message = "too many senders wait for their last connection to end";
                        Refusal::new(RefusalCode::Busy, message).with_hint("try again later")
                    }
                }
            }
        };
        self.refused(&source, &refusal);
        Err(Stopped::Refused(source.without_directory(refusal)))
    }
}

/// How an upload finds its partial file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// By the id of the offer, or by path, size and owner; the digest at the end decides.
    Offer,
    /// By path, size and owner; the client states this offset.
    Offset(u64),
    /// By a new id.
    New(TransferKey),
    /// By the id of an upload; the client may state an offset.
    Upload(TransferKey, Option<u64>),
}

impl Identity {
    /// Returns the key of the upload that requests continue by an id.
    pub(super) const fn key(&self) -> Option<&TransferKey> {
        match self {
            Self::New(key) | Self::Upload(key, _) => Some(key),
            Self::Offer | Self::Offset(_) => None,
        }
    }
}

/// The result of an offer that was not refused.
pub(crate) enum Begun {
    Upload(Box<Upload>),
    /// An offer for [`Files::retry`], when no other connection writes to its partial file.
    Waiting(Box<Waiting>),
}

/// An upload that an earlier request completed.
#[derive(Debug)]
pub(crate) struct Complete {
    /// Size of the file.
    pub(crate) bytes: u64,
    /// The path that it was stored as, if that was recorded.
    pub(crate) path: Option<FilePath>,
}

/// The reason why an attempt does not begin, and does not wait.
pub(super) enum Stopped {
    Refused(Refusal),
    Complete(Complete),
}

impl From<Stopped> for Refusal {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Refused(refusal) => refusal,
            // Only requests with an id learn more.
            Stopped::Complete(_) => Self::new(RefusalCode::Exists, "the upload is complete"),
        }
    }
}

/// The reason why an upload has not begun.
pub(super) enum NotBegun {
    Refused(Refusal),
    /// Another connection writes to its partial file.
    Owned(Released),
    Complete(Complete),
}

/// When a partial file can be written to again.
pub(super) enum Released {
    /// When this gate opens: its writer is being ended.
    When(Arc<Gate>),
    /// After [`SOON`].
    Soon,
}

impl From<Refusal> for NotBegun {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// An upload of a sender that is back, until its last connection has ended. It holds no thread: its
/// session waits for the gate.
pub(crate) struct Waiting {
    pub(super) source: Source,
    pub(super) offer: Offer,
    identity: Identity,
    gate: Arc<Gate>,
    /// The time of its next attempt, unless the gate opens before.
    next: Instant,
    /// The time of its last attempt.
    pub(super) until: Instant,
    permit: OwnedSemaphorePermit,
}

impl Waiting {
    /// Returns `None` beyond the limit of waiting senders.
    pub(super) fn new(
        files: &Files,
        released: Released,
        source: Source,
        offer: Offer,
        identity: Identity,
        last: Option<Self>,
    ) -> Option<Self> {
        let (until, permit) = match last {
            Some(last) => (last.until, last.permit),
            None => {
                let permit = files.taking_over.clone().try_acquire_owned().ok()?;
                (Instant::now() + TAKE_OVER, permit)
            }
        };
        let (gate, next) = match released {
            Released::When(gate) => (gate, until),
            Released::Soon => (Arc::default(), until.min(Instant::now() + SOON)),
        };
        Some(Self { source, offer, identity, gate, next, until, permit })
    }

    /// Returns whether a lost connection may have ended without being noticed yet.
    pub(super) fn is_new(&self) -> bool {
        Instant::now() + TAKE_OVER < self.until + UNNOTICED
    }

    /// Returns what its session waits for; after that time it tries again.
    pub(crate) fn wait(&self) -> Option<Wait> {
        let (gate, until) = (self.gate.clone(), Some(self.next));
        (!self.gate.is_open()).then_some(Wait { gate, until, gone_below: 0 })
    }
}

/// Maximum number of senders that wait; another one is refused as busy. They hold no thread, but
/// each that waits for one partial file tries once whenever its writer changes.
pub(super) const TAKING_OVER: usize = 64;

/// Time in which the end of a connection is noticed on a busy machine.
const UNNOTICED: Duration = Duration::from_millis(500);

/// Time after which a partial file that a request only looks at is free.
const SOON: Duration = Duration::from_millis(20);

/// Time in which a connection ends whose sender is back over another one.
const TAKE_OVER: Duration = Duration::from_secs(2);
