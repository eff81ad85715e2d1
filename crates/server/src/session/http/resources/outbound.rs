//! A file or a listing as the content of a response.

use std::io;
use std::time::{Duration, Instant};

use anyport_net::copy::{Interest, Placement};
use anyport_proto::transfer::refusal::Refusal;

use super::listing::Page;
use crate::session::http::answer::Head;
use crate::session::http::handler::{Event, Handler, Next, Produced};
use crate::session::sending::{Output, Sending};

pub(super) struct Outbound {
    head: Option<Head>,
    /// `None` once all of it was sent.
    sending: Option<Sending>,
    /// The form of a listing.
    page: Option<Page>,
    idle: Duration,
}

impl Outbound {
    pub(super) const fn new(
        head: Head,
        sending: Sending,
        page: Option<Page>,
        idle: Duration,
    ) -> Self {
        Self { head: Some(head), sending: Some(sending), page, idle }
    }
}

impl Handler for Outbound {
    fn interest(&self) -> Interest {
        let place = Placement::Thread;
        Interest { produce: true, may_block: true, place, ..Interest::input(self.idle) }
    }

    fn head(&mut self) -> Option<Head> {
        self.head.take()
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, _: &mut Vec<u8>) -> Next {
        match event {
            Event::Sent(count) => {
                if let Some(sending) = &mut self.sending {
                    sending.sent(count);
                }
            }
            Event::Lost(reason) => {
                if let Some(sending) = self.sending.take() {
                    sending.broken(reason);
                }
            }
            _ => {}
        }
        Next::Continue
    }

    fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced> {
        let sent = self.sending.take().map(|sending| sending.next(buffer)).transpose()?.flatten();
        let Some((say, rest)) = sent else { return Ok(Produced::Next(Next::End)) };
        self.sending = rest;
        let next = match (say, &mut self.page) {
            (Output::Content(count), _) => return Ok(Produced::Bytes(count)),
            (Output::Kernel(piece), _) => return Ok(Produced::File(piece)),
            (Output::FileEnd(_), _) => return Ok(Produced::Flush),
            // The head announced success, so only an interrupted connection can report the failure.
            (Output::Refusal(Refusal { message, .. }), _) => return Err(io::Error::other(message)),
            (Output::Listed(entries, left_out), Some(page)) => {
                out.extend_from_slice(page.listed(&entries, left_out).as_bytes());
                Next::Continue
            }
            (Output::ListEnd(end), Some(page)) => {
                out.extend_from_slice(page.close(&end).as_bytes());
                Next::End
            }
            (Output::Listed(..) | Output::ListEnd(_), None) => Next::Continue,
        };
        Ok(Produced::Next(next))
    }
}
