//! What messages mean, whichever engine received them: the services of WebSocket, and the outlet of
//! their answers.

mod echo;
mod room;
mod upload;

use std::time::{Duration, Instant};

use anyport_net::copy::Wait;
use anyport_proto::transfer::refusal::Refusal;
use anyport_proto::ws::close::MAX_REASON;
use anyport_proto::ws::{CloseCode, Kind};

use self::echo::MessageEcho;
use self::room::MessageRoom;
use self::upload::MessageUpload;
use super::Context;
use super::due::Due;
use crate::service::files::Source;
use crate::session::route::Route;

/// What is done with messages, whichever engine receives them.
pub(super) enum MessageService {
    Upload(Box<MessageUpload>),
    Echo(Box<MessageEcho>),
    Room(Box<MessageRoom>),
}

impl MessageService {
    /// The service of a route. `announced`: the client speaks the subprotocol of transfers.
    pub(super) fn new(context: &Context, source: Source, route: Route, announced: bool) -> Self {
        match route {
            Route::Upload { path } => {
                Self::Upload(Box::new(MessageUpload::new(context, source, path, announced)))
            }
            Route::Echo => Self::Echo(Box::new(MessageEcho::new(context, source))),
            Route::Room(join) => Self::Room(Box::new(MessageRoom::new(context, source, join))),
        }
    }

    /// A piece of a message.
    pub(super) fn data(&mut self, piece: Piece<'_>, outlet: &mut dyn Outlet) {
        match self {
            Self::Upload(upload) => upload.data(piece, outlet),
            Self::Echo(echo) => echo.data(&piece, outlet),
            Self::Room(room) => room.data(&piece, outlet),
        }
    }

    /// All bytes that were read at `at` have been taken.
    pub(super) fn taken(&mut self, between_messages: bool, at: Instant) {
        match self {
            // What streams may take its time; an offer tells itself when it begins.
            Self::Upload(_) => {}
            Self::Echo(echo) => echo.taken(between_messages, at),
            Self::Room(room) => room.taken(between_messages, at),
        }
    }

    /// How long to wait for more bytes.
    pub(super) fn patience(&self, idle: Duration) -> Duration {
        self.due().patience(idle)
    }

    /// Refuses what was begun and is late at `now`. False where nothing is.
    pub(super) fn refuse_late(&mut self, now: Instant, outlet: &mut dyn Outlet) -> bool {
        let late = self.due().is_late(now);
        if late {
            match self {
                Self::Upload(upload) => upload.late(outlet),
                Self::Echo(echo) => echo.late(outlet),
                Self::Room(room) => room.late(outlet),
            }
        }
        late
    }

    const fn due(&self) -> &Due {
        match self {
            Self::Upload(upload) => &upload.due,
            Self::Echo(echo) => &echo.due,
            Self::Room(room) => &room.due,
        }
    }

    /// What the outlet was given before has been written.
    pub(super) fn replied(&mut self) {
        match self {
            Self::Upload(_) | Self::Room(_) => {}
            Self::Echo(echo) => echo.replied(),
        }
    }

    /// Whether nothing runs that the server should wait for when it stops.
    pub(super) const fn is_idle(&self) -> bool {
        match self {
            Self::Upload(upload) => upload.is_idle(),
            Self::Echo(echo) => echo.is_idle(),
            Self::Room(_) => true,
        }
    }

    /// Whether something goes out that was asked for, so that nothing is listened to.
    pub(super) const fn is_sending(&self) -> bool {
        match self {
            Self::Upload(upload) => upload.is_sending(),
            Self::Echo(_) | Self::Room(_) => false,
        }
    }

    /// Whether a message that was received is not answered yet, so that no other one is handled.
    pub(super) const fn is_answering(&self) -> bool {
        match self {
            Self::Upload(upload) => upload.is_sending() || upload.is_waiting(),
            Self::Echo(_) | Self::Room(_) => false,
        }
    }

    /// The upload, if its offer waits for another connection.
    pub(super) fn waiting(&mut self) -> Option<&mut MessageUpload> {
        match self {
            Self::Upload(upload) if upload.is_waiting() => Some(upload),
            _ => None,
        }
    }

    /// What an offer waits for.
    pub(super) fn wait(&self) -> Option<Wait> {
        match self {
            Self::Upload(upload) => upload.wait(),
            Self::Echo(_) | Self::Room(_) => None,
        }
    }

    /// Whether little is said and long is waited.
    pub(super) const fn is_conversation(&self) -> bool {
        match self {
            Self::Upload(_) => false,
            Self::Echo(_) | Self::Room(_) => true,
        }
    }

    /// Returns the instant before which no further message is handled, as its member exceeded the
    /// rate of a room.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Room(room) => room.wake(now),
            Self::Upload(_) | Self::Echo(_) => None,
        }
    }

    /// Records `work` of inflating a message, in bytes.
    pub(super) fn inflated(&mut self, work: usize, at: Instant) {
        match self {
            Self::Room(room) => room.inflated(work, at),
            Self::Upload(_) | Self::Echo(_) => {}
        }
    }

    /// The peer's Close.
    pub(super) fn closed(
        &mut self,
        code: Option<CloseCode>,
        reason: &str,
        outlet: &mut dyn Outlet,
    ) {
        match self {
            Self::Upload(upload) => upload.closed(code, reason, outlet),
            Self::Echo(_) | Self::Room(_) => outlet.close(code, ""),
        }
    }

    /// The peer's FIN without a Close. `between_messages`: nothing is cut.
    pub(super) fn end_of_stream(&mut self, between_messages: bool, outlet: &mut dyn Outlet) {
        match self {
            Self::Upload(upload) => upload.end_of_stream(between_messages, outlet),
            Self::Echo(_) | Self::Room(_) => {}
        }
    }

    /// Ends the session of a peer that sent nothing for too long: a client of this program reads
    /// an error that it may try again after, every peer a Close.
    pub(super) fn idle(&mut self, reason: &str, outlet: &mut dyn Outlet) {
        match self {
            Self::Upload(upload) => upload.idle(reason, outlet),
            Self::Room(room) => room.idle(reason, outlet),
            Self::Echo(_) => outlet.close(Some(CloseCode::POLICY), reason),
        }
    }

    /// The connection is given up for `reason`. False where no transfer ran that tells of it.
    pub(super) fn broken(&mut self, reason: &str) -> bool {
        match self {
            Self::Upload(upload) => upload.broken(reason),
            Self::Echo(_) | Self::Room(_) => false,
        }
    }
}

/// A piece of a data message.
pub(super) struct Piece<'a> {
    pub(super) kind: Kind,
    pub(super) data: &'a [u8],
    pub(super) end: bool,
    /// When it was read.
    pub(super) at: Instant,
}

/// Where a service's answers go; the engine encodes them.
pub(super) trait Outlet {
    /// Sends a whole message.
    fn message(&mut self, kind: Kind, payload: &[u8]);
    /// The same for a message that is not needed here any more.
    fn owned_message(&mut self, kind: Kind, payload: Vec<u8>) {
        self.message(kind, &payload);
    }
    /// Begins the closing handshake, or answers the peer's.
    fn close(&mut self, code: Option<CloseCode>, reason: &str);
    /// Closes, with the code that the refusal means.
    fn refuse(&mut self, refusal: &Refusal) {
        let whole = refusal.hint.as_ref().map(|hint| format!("{}; {hint}", refusal.message));
        // A hint is no use without its end.
        let reason = whole.filter(|whole| whole.len() <= MAX_REASON);
        let reason = reason.unwrap_or_else(|| refusal.message.clone());
        self.close(Some(refusal.code.meaning().close), &reason);
    }
}

/// Why a message is refused that alone is not too long.
pub(super) const OUT_OF_MEMORY: &str = "memory limit for incomplete messages reached";
