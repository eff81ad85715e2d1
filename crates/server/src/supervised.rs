//! A session as the loops drive it: it hears when the server stops, and keeps to a rate.

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use anyport_net::copy::{Event, Interest, Next, Produced, Read, Session};
use anyport_net::pace::Pace;

use crate::record::{Record, Tally};
use crate::session::{AnySession, Upgrade};
use crate::shutdown::Stop;

/// An abort shuts its socket, which must not look like
/// the sender's FIN.
pub(crate) struct Supervised {
    pub(crate) session: AnySession,
    pub(crate) stop: Stop,
    /// The session has heard that the server stops.
    told: bool,
    /// What it may move each second, both ways together; `None` costs nothing.
    pace: Option<Pace>,
    tally: Tally,
}

impl Supervised {
    pub(crate) fn new(
        session: AnySession,
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

    fn moved(&mut self, count: u64) {
        if let Some(pace) = &mut self.pace {
            pace.moved(count);
        }
    }

    /// Tells the session that the server stops.
    fn tell(&mut self, now: Instant, out: &mut Vec<u8>) -> Next<Upgrade> {
        self.told = true;
        self.session.handle(Event::Shutdown, now, out)
    }

    /// Ends the session of a lost connection. May wait for the disk, as what it buffered becomes a partial file.
    pub(crate) fn broken(&mut self, error: &io::Error) {
        let reason = if self.stop.is_aborted() {
            STOPPED.to_owned()
        } else {
            format!("connection lost: {error}")
        };
        self.tally.record.broken(&reason);
        self.lose(&reason);
    }

    fn lose(&mut self, reason: &str) {
        // Nothing is sent any more.
        self.session.handle(Event::Lost(reason), Instant::now(), &mut Vec::new());
    }
}

impl Session for Supervised {
    type Successor = Upgrade;

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

    fn handle(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<u8>) -> Next<Upgrade> {
        if self.stop.is_aborted() {
            self.lose(STOPPED);
            return Next::Finish;
        }
        match &event {
            Event::Bytes(bytes) => self.received(bytes.len() as u64),
            Event::Spliced(count) => self.received(*count),
            Event::Sent(count) => {
                self.tally.sent(*count);
                self.moved(*count);
                // The rest of the content follows, so nothing else may.
                return self.session.handle(event, now, out);
            }
            Event::EndOfStream | Event::Idle | Event::Shutdown | Event::Timer | Event::Lost(_) => {}
        }
        let stops = self.stop.is_draining();
        let before = out.len();
        let next = match self.session.handle(event, now, out) {
            // Between two files is a good place to stop.
            Next::Continue if stops => self.tell(now, out),
            next => next,
        };
        self.tally.sent((out.len() - before) as u64);
        next
    }

    fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced<Upgrade>> {
        if self.stop.is_aborted() {
            return Err(io::Error::other(STOPPED));
        }
        let stops = self.stop.is_draining();
        let before = out.len();
        let mut produced = if stops && !self.session.interest().produce {
            Produced::Next(Next::Continue)
        } else {
            self.session.produce(buffer, out)?
        };
        // What it says of the stop would go before content, so not where some goes out. Where none
        // does it may wait for another session, and waits again only once it has been notified.
        if matches!(produced, Produced::Next(Next::Continue) | Produced::Bytes(0)) && stops {
            produced = Produced::Next(self.tell(Instant::now(), out));
        }
        self.tally.sent((out.len() - before) as u64);
        match &mut produced {
            Produced::Bytes(count) => {
                self.tally.sent(*count as u64);
                self.moved(*count as u64);
            }
            Produced::File(piece) => {
                if let Some(pace) = &self.pace {
                    piece.count = piece.count.min(pace.most() as u64);
                }
            }
            Produced::Next(_) => {}
        }
        Ok(produced)
    }

    fn relay(&mut self, bytes: &[u8], _: bool) -> Option<io::Result<Vec<u8>>> {
        self.tally.sent(bytes.len() as u64);
        None
    }
}

pub(crate) const STOPPED: &str = "the server stopped";
