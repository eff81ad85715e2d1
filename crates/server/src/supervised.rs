//! A session as the loops drive it: it hears when the server stops, and keeps to a rate.

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;

use anyport_net::copy::{Flow, Input, Interest, Outgoing, Read, Step};
use anyport_net::pace::Pace;

use crate::record::{Record, Tally};
use crate::session::Session;
use crate::shutdown::Stop;

/// An abort shuts its socket, which must not look like
/// the sender's FIN.
pub(crate) struct Supervised {
    pub(crate) session: Session,
    pub(crate) stop: Stop,
    /// The session has heard that the server stops.
    told: bool,
    /// What it may move each second, both ways together; `None` costs nothing.
    pace: Option<Pace>,
    tally: Tally,
}

impl Supervised {
    pub(crate) fn new(
        session: Session,
        stop: Stop,
        limit_rate: Option<u64>,
        record: Arc<Record>,
    ) -> Self {
        let (pace, tally) = (limit_rate.map(Pace::new), Tally::new(record));
        Self { session, stop, told: false, pace, tally }
    }

    /// A loop's buffer: at a low rate a small one, so that bytes go evenly.
    pub(crate) fn buffer(&self, wanted: usize) -> Vec<u8> {
        let most = self.pace.as_ref().map_or(usize::MAX, Pace::most);
        vec![0; wanted.min(most)]
    }

    fn received(&mut self, count: u64) {
        self.tally.received(count);
        self.moved(count);
    }

    /// Bytes that others had for this peer.
    pub(crate) fn delivered(&mut self, count: u64) {
        self.tally.sent(count);
    }

    fn moved(&mut self, count: u64) {
        if let Some(pace) = &mut self.pace {
            pace.moved(count);
        }
    }

    /// Tells the session that the server stops.
    fn tell(&mut self, replies: &mut Vec<u8>) -> Flow {
        self.told = true;
        self.session.step(Input::Stopping, replies)
    }

    /// Ends the session of a lost connection. May wait for the disk, as what it buffered becomes a partial file.
    pub(crate) fn broken(&mut self, error: &io::Error) {
        let reason = if self.stop.is_aborted() {
            STOPPED.to_owned()
        } else {
            format!("connection lost: {error}")
        };
        self.tally.record.broken(&reason);
        self.session.broken(&reason);
    }
}

impl Step for Supervised {
    fn interest(&self) -> Interest {
        let mut interest = self.session.interest();
        if let Some(pace) = &self.pace {
            // `None` is less than any instant, so the later of both wins.
            interest.wake = pace.wake().max(interest.wake);
            if let Read::Splice(splice) = &mut interest.read {
                let most = NonZeroU64::new(pace.most() as u64).unwrap_or(NonZeroU64::MIN);
                splice.limit = splice.limit.min(most);
            }
        }
        // An abort waits for nothing, and neither does a stop of which the session has not been
        // notified: one on a thread of its own finds out in its next call, also where an answer
        // ends.
        if self.stop.is_aborted() || (self.stop.is_draining() && !self.told) {
            interest.produce = true;
            interest.wait = None;
        }
        if self.stop.is_aborted() {
            interest.wake = None;
        }
        interest
    }

    fn step(&mut self, input: Input<'_>, replies: &mut Vec<u8>) -> Flow {
        if self.stop.is_aborted() {
            self.session.broken(STOPPED);
            return Flow::Finish;
        }
        match &input {
            Input::Bytes(bytes, _) => self.received(bytes.len() as u64),
            Input::Unseen(count, _) => self.received(*count),
            Input::EndOfStream | Input::Silence | Input::Stopping | Input::Timer(_) => {}
        }
        let stops = self.stop.is_draining();
        if stops {
            self.session.hears_of_stop();
        }
        let before = replies.len();
        let flow = match self.session.step(input, replies) {
            // Between two files is a good place to stop.
            Flow::Continue if stops => self.tell(replies),
            flow => flow,
        };
        self.tally.sent((replies.len() - before) as u64);
        flow
    }

    fn outgoing(&mut self, buffer: &mut [u8], replies: &mut Vec<u8>) -> io::Result<Outgoing> {
        if self.stop.is_aborted() {
            return Err(io::Error::other(STOPPED));
        }
        if self.stop.is_draining() {
            self.session.hears_of_stop();
        }
        let before = replies.len();
        let mut outgoing = self.session.outgoing(buffer, replies)?;
        // What it says of the stop would go before content, so not where some goes out. Where none does it may wait for
        // another session, and is held again only when it has been told.
        if matches!(outgoing, Outgoing::Nothing | Outgoing::Bytes(0))
            && self.stop.is_draining()
            && self.tell(replies) == Flow::Finish
        {
            outgoing = Outgoing::Finish;
        }
        self.tally.sent((replies.len() - before) as u64);
        match outgoing {
            Outgoing::Bytes(count) => {
                self.tally.sent(count as u64);
                self.moved(count as u64);
                Ok(Outgoing::Bytes(count))
            }
            Outgoing::File(mut piece) => {
                if let Some(pace) = &self.pace {
                    piece.count = piece.count.min(pace.most() as u64);
                }
                Ok(Outgoing::File(piece))
            }
            outgoing => Ok(outgoing),
        }
    }

    fn sent(&mut self, count: u64) {
        self.tally.sent(count);
        self.moved(count);
        self.session.sent(count);
    }
}

pub(crate) const STOPPED: &str = "the server stopped";
