//! The services of WebSocket, which handle messages of either engine, and the outlet of their
//! replies.

mod echo;
mod files;
mod room;

use std::time::{Duration, Instant};

use anyport_net::copy::Wait;
use anyport_proto::transfer::refusal::Refusal;
use anyport_proto::ws::close::MAX_REASON;
use anyport_proto::ws::{CloseCode, Kind};

use self::echo::MessageEcho;
use self::files::MessageFiles;
use self::room::MessageRoom;
use super::Context;
use super::due::Due;
use crate::service::files::Source;
use crate::session::route::Route;

/// The service that handles the messages of a connection.
pub(super) enum MessageService {
    Files(Box<MessageFiles>),
    Echo(Box<MessageEcho>),
    Room(Box<MessageRoom>),
}

impl MessageService {
    /// Returns the service of a route. `announced`: the client agreed to the subprotocol of
    /// transfers.
    pub(super) fn new(context: &Context, source: Source, route: Route, announced: bool) -> Self {
        match route {
            Route::Files { path } => {
                Self::Files(Box::new(MessageFiles::new(context, source, path, announced)))
            }
            Route::Echo => Self::Echo(Box::new(MessageEcho::new(context, source))),
            Route::Room(join) => Self::Room(Box::new(MessageRoom::new(context, source, join))),
        }
    }

    /// Handles a piece of a message.
    pub(super) fn data(&mut self, piece: Piece<'_>, outlet: &mut dyn Outlet) {
        match self {
            Self::Files(files) => files.data(piece, outlet),
            Self::Echo(echo) => echo.data(&piece, outlet),
            Self::Room(room) => room.data(&piece, outlet),
        }
    }

    /// Records that all bytes that were read at `at` were handled.
    pub(super) fn taken(&mut self, between_messages: bool, at: Instant) {
        match self {
            // Content has no deadline; an offer sets its own when it begins.
            Self::Files(_) => {}
            Self::Echo(echo) => echo.taken(between_messages, at),
            Self::Room(room) => room.taken(between_messages, at),
        }
    }

    /// Returns the idle timeout: `idle`, or the rest of an earlier deadline.
    pub(super) fn idle_timeout(&self, idle: Duration) -> Duration {
        self.due().idle_timeout(idle)
    }

    /// Refuses an incomplete message whose deadline has passed at `now`; returns whether there is
    /// one.
    pub(super) fn refuse_late(&mut self, now: Instant, outlet: &mut dyn Outlet) -> bool {
        let late = self.due().is_late(now);
        if late {
            match self {
                Self::Files(files) => files.late(outlet),
                Self::Echo(echo) => echo.late(outlet),
                Self::Room(room) => room.late(outlet),
            }
        }
        late
    }

    const fn due(&self) -> &Due {
        match self {
            Self::Files(files) => &files.due,
            Self::Echo(echo) => &echo.due,
            Self::Room(room) => &room.due,
        }
    }

    /// Records that all earlier replies were written.
    pub(super) fn replied(&mut self) {
        match self {
            Self::Files(_) | Self::Room(_) => {}
            Self::Echo(echo) => echo.replied(),
        }
    }

    /// Returns whether no transfer runs that a stopping server should wait for.
    pub(super) const fn is_idle(&self) -> bool {
        match self {
            Self::Files(files) => files.is_idle(),
            Self::Echo(echo) => echo.is_idle(),
            Self::Room(_) => true,
        }
    }

    /// Returns whether a file or a listing is being sent, so that no input is handled.
    pub(super) const fn is_sending(&self) -> bool {
        match self {
            Self::Files(files) => files.is_sending(),
            Self::Echo(_) | Self::Room(_) => false,
        }
    }

    /// Returns whether a received message has no complete reply yet, so that no other one is
    /// handled.
    pub(super) const fn is_answering(&self) -> bool {
        match self {
            Self::Files(files) => files.is_sending() || files.is_waiting(),
            Self::Echo(_) | Self::Room(_) => false,
        }
    }

    /// Returns the service if its offer waits for another connection.
    pub(super) fn waiting(&mut self) -> Option<&mut MessageFiles> {
        match self {
            Self::Files(files) if files.is_waiting() => Some(files),
            _ => None,
        }
    }

    /// Returns the condition that an offer waits for.
    pub(super) fn wait(&self) -> Option<Wait> {
        match self {
            Self::Files(files) => files.wait(),
            Self::Echo(_) | Self::Room(_) => None,
        }
    }

    /// Returns whether the service is interactive: few bytes, long waits.
    pub(super) const fn is_interactive(&self) -> bool {
        match self {
            Self::Files(_) => false,
            Self::Echo(_) | Self::Room(_) => true,
        }
    }

    /// Returns when the next message is handled, if its member exceeded the rate limit of a room.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Room(room) => room.wake(now),
            Self::Files(_) | Self::Echo(_) => None,
        }
    }

    /// Records `work` of inflating a message, in bytes.
    pub(super) fn inflated(&mut self, work: usize, at: Instant) {
        match self {
            Self::Room(room) => room.inflated(work, at),
            Self::Files(_) | Self::Echo(_) => {}
        }
    }

    /// Handles the peer's Close.
    pub(super) fn closed(
        &mut self,
        code: Option<CloseCode>,
        reason: &str,
        outlet: &mut dyn Outlet,
    ) {
        match self {
            Self::Files(files) => files.closed(code, reason, outlet),
            Self::Echo(_) | Self::Room(_) => outlet.close(code, ""),
        }
    }

    /// Handles the peer's FIN without a Close. `between_messages`: no message is incomplete.
    pub(super) fn end_of_stream(&mut self, between_messages: bool, outlet: &mut dyn Outlet) {
        match self {
            Self::Files(files) => files.end_of_stream(between_messages, outlet),
            Self::Echo(_) | Self::Room(_) => {}
        }
    }

    /// Ends the session of an idle peer: an anyport client gets an error after which it may retry,
    /// every peer a Close.
    pub(super) fn idle(&mut self, reason: &str, outlet: &mut dyn Outlet) {
        match self {
            Self::Files(files) => files.idle(reason, outlet),
            Self::Room(room) => room.idle(reason, outlet),
            Self::Echo(_) => outlet.close(Some(CloseCode::POLICY), reason),
        }
    }

    /// Records that the connection is lost for `reason`; returns whether a running transfer
    /// reported it.
    pub(super) fn broken(&mut self, reason: &str) -> bool {
        match self {
            Self::Files(files) => files.broken(reason),
            Self::Echo(_) | Self::Room(_) => false,
        }
    }
}

/// A piece of a data message.
pub(super) struct Piece<'a> {
    pub(super) kind: Kind,
    pub(super) data: &'a [u8],
    pub(super) end: bool,
    /// The instant at which it was read.
    pub(super) at: Instant,
}

/// The replies of a service; the engine encodes them.
pub(super) trait Outlet {
    /// Sends a complete message.
    fn message(&mut self, kind: Kind, payload: &[u8]);
    /// Sends a whole message without copying it, where the engine can.
    fn owned_message(&mut self, kind: Kind, payload: Vec<u8>) {
        self.message(kind, &payload);
    }
    /// Begins or completes the closing handshake.
    fn close(&mut self, code: Option<CloseCode>, reason: &str);
    /// Closes with the code of the refusal.
    fn refuse(&mut self, refusal: &Refusal) {
        let whole = refusal.hint.as_ref().map(|hint| format!("{}; {hint}", refusal.message));
        // A truncated hint is useless.
        let reason = whole.filter(|whole| whole.len() <= MAX_REASON);
        let reason = reason.unwrap_or_else(|| refusal.message.clone());
        self.close(Some(refusal.code.meaning().close), &reason);
    }
}

/// The reason to refuse a message within the limit for one message.
pub(super) const OUT_OF_MEMORY: &str = "memory limit for incomplete messages reached";
