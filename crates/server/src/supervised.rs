//! A session as the loops drive it: it hears when the server stops, and keeps to a rate.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::copy::{Flow, Held, Input, Outgoing, Step, Unseen};
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
            format!("the connection broke: {error}")
        };
        self.tally.record.broken(&reason);
        self.session.broken(&reason);
    }
}

impl Step for Supervised {
    fn patience(&self) -> Duration {
        self.session.patience()
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

    fn is_sending(&self) -> bool {
        // A stop is met where an answer ends, too.
        self.session.is_sending() || self.stop.is_draining()
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

    fn hears_while_sending(&self) -> bool {
        self.session.hears_while_sending()
    }

    fn sent(&mut self, count: u64) {
        self.tally.sent(count);
        self.moved(count);
        self.session.sent(count);
    }

    fn unseen(&self) -> Option<Unseen<'_>> {
        let unseen = self.session.unseen()?;
        let most = self.pace.as_ref().map_or(u64::MAX, |pace| pace.most() as u64);
        Some(Unseen { most: unseen.most.min(most), ..unseen })
    }

    fn wake(&self) -> Option<Instant> {
        // An abort does not wait.
        if self.stop.is_aborted() {
            return None;
        }
        // `None` is less than any instant, so the later of both wins.
        self.pace.as_ref().and_then(Pace::wake).max(self.session.wake())
    }

    fn held(&self) -> Option<Held> {
        // An abort is met in the next step, and so is a stop of which nobody on a thread of its own has told it.
        let is_due = self.stop.is_aborted() || (self.stop.is_draining() && !self.told);
        self.session.held().filter(|_| !is_due)
    }

    fn is_gone_with_fin(&self, unread: u64) -> bool {
        self.session.is_gone_with_fin(unread)
    }

    fn may_block(&self) -> bool {
        self.session.may_block()
    }

    fn is_bulk(&self) -> bool {
        self.session.is_bulk()
    }

    fn is_conversation(&self) -> bool {
        self.session.is_conversation()
    }
}

pub(crate) const STOPPED: &str = "the server stopped";
