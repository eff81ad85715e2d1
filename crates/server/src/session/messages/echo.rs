//! The echo service with messages: each must be complete within `Timeouts::message`, because it is
//! buffered until then.

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
    /// Whether a message ended in the current bytes.
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
        // A message in one read is returned from the read buffer, without another copy.
        if piece.end && self.echo.is_idle() {
            return outlet.message(piece.kind, piece.data);
        }
        match self.echo.data(piece.data, piece.end) {
            Ok(Some(message)) => outlet.owned_message(piece.kind, message),
            Ok(None) => {}
            Err(OutOfMemory) => outlet.close(Some(CloseCode::TRY_AGAIN_LATER), OUT_OF_MEMORY),
        }
    }

    /// Records that earlier replies were written.
    pub(in crate::session) fn replied(&mut self) {
        self.echo.replied();
    }

    /// Records that all bytes that were read at `at` were handled.
    pub(in crate::session) fn taken(&mut self, between_messages: bool, at: Instant) {
        let answered = std::mem::take(&mut self.answered);
        if between_messages {
            self.due.end();
        } else if !answered {
            // The time of a message after the end of another one counts from the next read: nothing
            // is read until the reply is written, which the peer could not influence.
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
