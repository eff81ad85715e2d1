//! Encoding of events: each kind of session has a form, and a room encodes an event once for
//! each form in use.

use anyport_proto::rooms::Event;
use anyport_proto::setting::SLOW_READER;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::{CloseCode, Kind, Sender};

use super::history::Stored;

/// The encoding that a member reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) carrier: Carrier,
    pub(crate) json: bool,
}

/// The framing around an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// A WebSocket text message, not compressed: all members share its bytes.
    Message,
    /// A line.
    Line,
    /// A server-sent event (WHATWG HTML §9.2).
    Event,
}

impl Form {
    /// In the order of their indexes.
    pub(super) const ALL: [Self; FORMS] = [
        Self::new(Carrier::Message, false),
        Self::new(Carrier::Message, true),
        Self::new(Carrier::Line, false),
        Self::new(Carrier::Line, true),
        Self::new(Carrier::Event, false),
        Self::new(Carrier::Event, true),
    ];

    pub(crate) const fn new(carrier: Carrier, json: bool) -> Self {
        Self { carrier, json }
    }

    pub(super) const fn index(self) -> usize {
        2 * self.carrier as usize + self.json as usize
    }

    /// Appends an event that is sent to one member only.
    pub(crate) fn encode(self, event: &Event, out: &mut Vec<u8>) {
        self.wrap(None, self.text(event).as_bytes(), out);
    }

    /// Returns the text of an event without the framing of its carrier.
    pub(super) fn text(self, event: &Event) -> String {
        if self.json { event.to_json() } else { event.to_text() }
    }

    /// Returns the final response to a member that reads too slowly.
    pub(super) fn goodbye(self) -> Vec<u8> {
        let mut out = Vec::new();
        let reason = format!("you read too slowly ({SLOW_READER} close)");
        match self.carrier {
            Carrier::Message => {
                Sender::server().close(Some(CloseCode::TRY_AGAIN_LATER), &reason, &mut out);
            }
            Carrier::Line | Carrier::Event => {
                let refusal = Refusal::new(RefusalCode::Busy, reason);
                self.encode(&Event::Error(refusal), &mut out);
            }
        }
        out
    }

    /// Appends an event that is sent to all members. `text` is a scratch buffer.
    pub(super) fn encode_stored(self, stored: &Stored, text: &mut String, out: &mut Vec<u8>) {
        text.clear();
        if self.json {
            stored.push_json(text);
        } else {
            stored.push_text(text);
        }
        self.wrap(Some(stored), text.as_bytes(), out);
    }

    /// Text never has a line end.
    fn wrap(self, stored: Option<&Stored>, text: &[u8], out: &mut Vec<u8>) {
        match self.carrier {
            Carrier::Message => {
                // A new sender has closed nothing.
                let _ = Sender::server().message(Kind::Text, text, out);
            }
            Carrier::Line => {
                out.extend_from_slice(text);
                out.push(b'\n');
            }
            Carrier::Event => {
                if let Some(stored) = stored {
                    out.extend_from_slice(format!("id: {}\n", stored.id).as_bytes());
                }
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(text);
                out.extend_from_slice(b"\n\n");
            }
        }
    }
}

/// Number of forms.
pub(super) const FORMS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_stand_at_their_indexes() {
        assert!(Form::ALL.iter().enumerate().all(|(at, form)| form.index() == at));
    }

    #[test]
    fn an_event_is_wrapped_as_its_reader_expects() {
        let event = Event::Lost { count: Some(2) };
        for (carrier, expected) in [
            (Carrier::Message, &b"\x81\x0f* 2 events lost"[..]),
            (Carrier::Line, b"* 2 events lost\n"),
            (Carrier::Event, b"data: * 2 events lost\n\n"),
        ] {
            let mut out = Vec::new();
            Form::new(carrier, false).encode(&event, &mut out);
            assert_eq!(out, expected);
        }
    }
}
