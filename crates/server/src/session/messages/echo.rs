//! The echo service behind messages: each must be whole within `Timeouts::message`, as it is kept
//! until then.

use std::time::Instant;

use anyport_proto::ws::CloseCode;

use super::{OUT_OF_MEMORY, Outlet, Piece};
use crate::service::echo::{Echo, OutOfMemory};
use crate::service::files::Source;
use crate::session::Context;
use crate::session::due::Due;

pub(crate) struct MessageEcho {
    context: Context,
    source: Source,
    echo: Echo,
    pub(in crate::session) due: Due,
    /// A message ended in the bytes at hand.
    answered: bool,
}

impl MessageEcho {
    pub(in crate::session) fn new(context: &Context, source: Source) -> Self {
        Self {
            context: context.clone(),
            source,
            echo: Echo::new(context.buffer_share()),
            due: Due::new(context.config.timeouts.message),
            answered: false,
        }
    }

    pub(in crate::session) const fn is_idle(&self) -> bool {
        self.echo.is_idle()
    }

    pub(in crate::session) fn data(&mut self, piece: &Piece<'_>, outlet: &mut dyn Outlet) {
        if piece.end {
            self.due.end();
            self.answered = true;
        }
        // What came whole in one read goes back from where it is: no more of it is held than of
        // that read.
        if piece.end && self.echo.is_idle() {
            return outlet.message(piece.kind, piece.data);
        }
        match self.echo.data(piece.data, piece.end) {
            Ok(Some(message)) => outlet.owned_message(piece.kind, message),
            Ok(None) => {}
            Err(OutOfMemory) => outlet.close(Some(CloseCode::TRY_AGAIN_LATER), OUT_OF_MEMORY),
        }
    }

    /// What was answered before is on the wire.
    pub(in crate::session) fn replied(&mut self) {
        self.echo.replied();
    }

    /// All bytes that were read at `at` have been taken.
    pub(in crate::session) fn taken(&mut self, between_messages: bool, at: Instant) {
        let answered = std::mem::take(&mut self.answered);
        if between_messages {
            self.due.end();
        } else if !answered {
            // A message that began behind the end of another one counts from the next read: until
            // the answer to that one is taken nothing is read, and the peer could not help being
            // late.
            self.due.begin(at);
        }
    }

    pub(in crate::session) fn late(&mut self, outlet: &mut dyn Outlet) {
        let reason = self.due.reason("a message");
        self.due.end();
        outlet.close(Some(CloseCode::POLICY), &reason);
        let protocol = self.source.protocol.as_str();
        self.context.refused(protocol, reason);
    }
}
