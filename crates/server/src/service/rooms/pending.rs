//! What the members on one thread have not been sent yet: all that was said since its last turn.

use super::form::{FORMS, Form};
use super::history::Stored;

/// Bytes for each form, and where in them each event ends.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) bytes: [Vec<u8>; FORMS],
    pub(super) events: Vec<Told>,
}

/// An event of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// Its number in the room; the next one of a batch has the next.
    pub(super) number: u64,
    /// The member whose event it is; [`super::room::NOBODY`]'s are told to all.
    pub(super) author: u64,
    /// Where it ends, in the bytes of each form.
    pub(super) ends: [usize; FORMS],
}

impl Pending {
    /// Appends an event, spelled in each form that `read` counts a reader of.
    pub(super) fn push(
        &mut self,
        stored: &Stored,
        author: u64,
        read: &[u32; FORMS],
        text: &mut String,
    ) {
        for form in Form::ALL {
            if read[form.index()] > 0 {
                form.spell_stored(stored, text, &mut self.bytes[form.index()]);
            }
        }
        let ends = self.bytes.each_ref().map(Vec::len);
        self.events.push(Told { number: stored.id.number, author, ends });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}
