//! Where the content of a request goes, but for an echo and a pipe, which answer while it comes.

use std::time::Instant;

use anyport_net::copy::Splice;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::StatusCode;

use super::answer::{Answer, Asked, Form};
use super::room::Posting;
use super::upload::Receiving;

/// What takes content, and answers at its end.
#[expect(clippy::large_enum_variant, reason = "there is one a request")]
pub(crate) enum Taker {
    File(Receiving),
    Room(Posting),
}

impl Taker {
    pub(crate) fn may_block(&self) -> bool {
        match self {
            Self::File(receiving) => receiving.upload.may_block(),
            Self::Room(_) => true,
        }
    }

    pub(crate) const fn is_upload(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Returns where the next bytes may be spliced.
    pub(crate) fn splice(&self) -> Option<Splice> {
        match self {
            Self::File(receiving) => receiving.upload.splice(),
            Self::Room(_) => None,
        }
    }

    /// Records that `count` bytes were spliced.
    pub(crate) fn put(&mut self, count: u64, at: Instant) {
        if let Self::File(receiving) = self {
            receiving.upload.put(count, at);
        }
    }

    /// Takes a piece that was read at `at`.
    ///
    /// # Errors
    /// It is not taken: then [`Self::abandon`] gives the answer.
    pub(crate) fn write(&mut self, piece: &[u8], at: Instant) -> Result<(), Refusal> {
        match self {
            Self::File(receiving) => receiving.upload.write(piece, at),
            Self::Room(posting) => posting.write(piece),
        }
    }

    /// Ends what was refused on the way.
    pub(crate) fn abandon(self, refusal: Refusal, asked: &Asked) -> Answer {
        match self {
            Self::File(receiving) => receiving.abandon(refusal, asked.form),
            Self::Room(posting) => posting.abandon(refusal),
        }
    }

    /// All of the content is here.
    pub(crate) fn finish(self, asked: &Asked) -> Answer {
        match self {
            Self::File(receiving) => receiving.finish(asked.form),
            Self::Room(posting) => posting.finish(),
        }
    }

    /// No more comes, and it was not all; gives the answer that is owed.
    pub(crate) fn give_up(self, status: StatusCode, reason: &str, form: Form) -> Answer {
        if let Self::File(receiving) = self {
            receiving.upload.interrupt(reason);
        }
        Answer::refusal(Refusal::new(RefusalCode::Interrupted, reason), form).with_status(status)
    }
}
