//! Where decoders write: events of one direction, at the time of the current bytes.

use std::time::Duration;

use crate::event::{Basis, Event, Side, Time, What};
use crate::recorder::Recorder;
use crate::syn::{NotReported, ReportedSyn, SYN_FIELD, syn_event};

/// A pause that ends a run of content, so that a person sees it. Shorter ones are usual between
/// the writes of a slow sender.
const PAUSE: Duration = Duration::from_secs(1);

/// The recorder, and the properties of the current bytes.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    pub(crate) recorder: &'a Recorder,
    pub(crate) connection: u32,
    /// The end that sent the bytes.
    pub(crate) from: Side,
    /// When they were written or read.
    pub(crate) now: Time,
}

/// An event that grows while equal ones follow it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Run {
    /// Its number in the recorder.
    event: Option<usize>,
    last: Time,
}

impl Output<'_> {
    /// Records an event whose bytes began at `began`; returns its number in the recorder.
    pub(crate) fn event_since(&self, began: Time, what: What) -> usize {
        let took = self.took(began);
        let (connection, from) = (Some(self.connection), Some(self.from));
        let event = Event { at: began, took, connection, from, basis: Basis::Observed, what };
        self.recorder.push(event)
    }

    /// Records an event of the current bytes.
    pub(crate) fn event(&self, what: What) -> usize {
        self.event_since(self.now, what)
    }

    /// Records a remark.
    pub(crate) fn note(&self, text: &str) {
        self.event(What::Note { text: text.to_owned() });
    }

    /// Records the SYN that a server reports in a head, or that the client asks for it.
    pub(crate) fn syn_of(&self, fields: &[(String, String)]) {
        let field = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(SYN_FIELD));
        match (field, self.from) {
            (Some(_), Side::Client) => self.recorder.asks_for_syn(self.connection),
            (Some((_, value)), Side::Server) => self.syn(value.parse()),
            (None, _) => {}
        }
    }

    /// Records the SYN that a server reports.
    pub(crate) fn syn(&self, reported: Result<ReportedSyn, NotReported>) {
        if self.recorder.has_syn(self.connection)
            && let Some(what) = syn_event(reported, self.recorder.port_of(self.connection))
        {
            let (connection, from) = (Some(self.connection), Some(Side::Client));
            let basis = Basis::Observed;
            self.recorder.record(Event { at: self.now, took: None, connection, from, basis, what });
        }
    }

    /// Adds text to an event, whose secrets are removed.
    pub(crate) fn amend_text(&self, number: usize, change: impl FnOnce(&mut What)) {
        self.recorder.amend_text(number, |event| change(&mut event.what));
    }

    /// Returns how many bytes of a payload are kept.
    pub(crate) fn payload(&self) -> usize {
        self.recorder.limits().payload
    }

    fn took(&self, began: Time) -> Option<Time> {
        let took = self.now.0.saturating_sub(began.0);
        (!took.is_zero()).then_some(Time(took))
    }
}

impl Run {
    /// Returns whether the next piece belongs to this event. One that the trace has left out does
    /// not grow: the piece begins another one.
    pub(crate) fn is_open(&self, output: &Output<'_>) -> bool {
        self.event.is_some_and(|number| output.recorder.has(number))
            && output.now.0.saturating_sub(self.last.0) <= PAUSE
    }

    /// Begins an event.
    pub(crate) fn open(output: &Output<'_>, what: What) -> Self {
        Self { event: Some(output.event(what)), last: output.now }
    }

    /// Returns the number of the event in the recorder.
    pub(crate) const fn event(&self) -> Option<usize> {
        self.event
    }

    /// Changes the event, which lasts until now.
    pub(crate) fn grow(&mut self, output: &Output<'_>, change: impl FnOnce(&mut What)) {
        self.last = output.now;
        let Some(number) = self.event else { return };
        output.recorder.amend(number, |event| {
            event.took = output.took(event.at);
            change(&mut event.what);
        });
    }

    /// Ends the event: the next piece begins another one.
    pub(crate) const fn close(&mut self) {
        self.event = None;
    }
}
