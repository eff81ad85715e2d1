//! Events that the members on one thread have not received yet: those since its last turn.

use super::form::{FORMS, Form};
use super::history::Stored;

/// Bytes for each form, and where in them each event ends.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) bytes: [Vec<u8>; FORMS],
    pub(super) events: Vec<PendingEvent>,
}

/// An event of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingEvent {
    /// Its number in the room; the next one of a batch has the next.
    pub(super) number: u64,
    /// The member that caused the event; events of [`super::room::NO_MEMBER`] are sent to all.
    pub(super) author: u64,
    /// Offset of its end in the bytes of each form.
    pub(super) ends: [usize; FORMS],
}

impl Pending {
    /// Appends an event, encoded in each form that has a reader according to `read`.
    pub(super) fn push(
        &mut self,
        stored: &Stored,
        author: u64,
        read: &[u32; FORMS],
        text: &mut String,
    ) {
        for form in Form::ALL {
            if read[form.index()] > 0 {
                form.encode_stored(stored, text, &mut self.bytes[form.index()]);
            }
        }
        let ends = self.bytes.each_ref().map(Vec::len);
        self.events.push(PendingEvent { number: stored.id.number, author, ends });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}
