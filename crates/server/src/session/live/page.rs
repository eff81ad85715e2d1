//! What one live connection shows: its directory and its room, by the rights of its client.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyport_proto::http1::RequestHead;
use anyport_proto::live::{Connection, Message, Request, RequestError};
use anyport_proto::rooms::{Command, CommandError, Join, MessageKey};
use anyport_proto::transfer::download::List;
use anyport_proto::transfer::receipt::Protocol;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::CloseCode;
use http::header;

use super::directory::Directory;
use super::socket::Socket;
use crate::config::Config;
use crate::service::rooms::{Carrier, Listener, Rate, guest};
use crate::session::Context;
use crate::session::http::{Admission, Asked, check_access};

/// The state of a live connection.
pub(super) struct Page {
    context: Context,
    /// Checked again when settings change; with a cookie at each look, as its session may end.
    head: RequestHead,
    settings: Arc<Config>,
    rate: Rate,
    looked_at: Instant,
    /// The client has sent a request since the last look, other than about the connection.
    is_used: bool,
    /// A request to list, which replaces the listing before it.
    wanted: Option<(List, Option<u64>)>,
    directory: Option<Directory>,
    room: Option<Room>,
}

/// The room of a live connection.
struct Room {
    listener: Listener,
    /// Whether it has no nickname.
    listens: bool,
}

impl Page {
    pub(super) fn new(context: Context, head: RequestHead) -> Self {
        Self {
            settings: context.access.settings(),
            rate: Rate::new(context.config.rooms.rate),
            looked_at: Instant::now(),
            is_used: false,
            wanted: None,
            directory: None,
            room: None,
            context,
            head,
        }
    }

    /// Returns whether the rate limit permits a request.
    pub(super) fn may_request(&self, now: Instant) -> bool {
        self.rate.wake(now).is_none()
    }

    /// Handles a request.
    pub(super) fn request(&mut self, message: &[u8], now: Instant, socket: &mut Socket) {
        self.rate.spend(now);
        let most = self.context.config.limits.room_message;
        let not_utf8 = |_| Box::new(RequestError::new(CommandError::NotUtf8));
        // The receiver has validated UTF-8.
        let text = std::str::from_utf8(message).map_err(not_utf8);
        let request = match text.and_then(|text| Request::from_json(text, most)) {
            Ok(request) => request,
            Err(error) => {
                let refusal = error.refusal();
                return refuse(socket, &refusal, error.of, error.id, error.key.as_ref());
            }
        };
        let of = Some(request.of());
        // A page asks for it by itself, to learn that the server is still there.
        self.is_used |= request != Request::Connection;
        match request {
            Request::List { list, id } => self.wanted = Some((list, id)),
            Request::Join { join, listens } => {
                // Left first, so that it can join again with its nickname.
                self.room = None;
                match self.join(join, listens, socket) {
                    Ok(room) => self.room = Some(room),
                    Err(refusal) => refuse(socket, &refusal, of, None, None),
                }
            }
            Request::Leave => self.room = None,
            Request::Room(command) => {
                if let Err((refusal, key)) = self.say(command, now, socket) {
                    refuse(socket, &refusal, of, None, key.as_ref());
                }
            }
            Request::Connection => {
                socket.say(&Message::Connection(&connection(&self.context)).to_json());
            }
        }
    }

    fn join(&self, mut join: Join, listens: bool, socket: &mut Socket) -> Result<Room, Refusal> {
        if !listens {
            join.nick.get_or_insert_with(guest);
        }
        let participant = self.context.participant()?;
        let listeners = &self.context.room_listeners;
        let listener = listeners.listen(participant, &join, Carrier::Message)?;
        if listens {
            let (members, last) =
                self.context.rooms.look(participant, &join.room).unwrap_or_default();
            let room = &join.room;
            socket.say(&Message::Listening { room, members: &members, last }.to_json());
        }
        Ok(Room { listener, listens })
    }

    fn say(
        &mut self,
        command: Command,
        now: Instant,
        socket: &mut Socket,
    ) -> Result<(), (Refusal, Option<MessageKey>)> {
        let what = match (&self.room, &command) {
            (None, _) => "this connection is in no room",
            (Some(Room { listens: true, .. }), Command::Say { .. }) => "a listener says nothing",
            (Some(_), _) => "",
        };
        match &mut self.room {
            Some(room) if what.is_empty() => {
                room.listener.handle(command, now, &mut |text| socket.say(text));
                Ok(())
            }
            _ => {
                let key = if let Command::Say { key, .. } = command { key } else { None };
                let refusal = Refusal::new(RefusalCode::BadRequest, what);
                Err((refusal.with_hint(r#"join first: {"join":{"room":"lobby"}}"#), key))
            }
        }
    }

    /// Checks the rights again, and looks for changes, now and then. Returns false if the client is
    /// not admitted any longer.
    pub(super) async fn check(&mut self, now: Instant, socket: &mut Socket) -> bool {
        if now < self.looked_at + LOOK_EVERY {
            return true;
        }
        self.looked_at = now;
        let settings = self.context.access.settings();
        let has_session = self.head.fields.contains_key(header::COOKIE);
        if has_session || !Arc::ptr_eq(&settings, &self.settings) {
            self.settings = settings;
            let asked = Asked::unread(Protocol::Http);
            let is_use = std::mem::take(&mut self.is_used);
            let admission = Admission { is_use, ..Admission::WEB_SOCKET };
            match check_access(&self.context, &self.head, admission, &asked) {
                Ok(grant) => self.context.grant = grant,
                Err(_) => {
                    socket.close(CloseCode::POLICY, "the token or the session has ended");
                    return false;
                }
            }
            let grant = &self.context.grant;
            if let Some(Err(refusal)) = self.directory.as_ref().map(|it| it.check(grant)) {
                self.directory = None;
                refuse(socket, &refusal, Some("list"), None, None);
            }
            if let Err(refusal) = self.context.participant()
                && self.room.take().is_some()
            {
                refuse(socket, &refusal, Some("join"), None, None);
            }
        }
        if let Some(directory) = &mut self.directory {
            directory.look(&self.context, now).await;
        }
        true
    }

    /// Appends what there is for a client that has accepted everything before. Returns false after
    /// a Close.
    pub(super) async fn produce(&mut self, now: Instant, socket: &mut Socket) -> bool {
        if let Some(room) = &self.room {
            match room.listener.poll() {
                Poll::Ready(Some(frames)) => socket.append(&frames),
                // The last frame was a Close.
                Poll::Ready(None) => return false,
                Poll::Pending => {}
            }
        }
        if let Some((list, id)) = self.wanted.take() {
            let before = self.directory.take().map(Directory::without_listing);
            match Directory::open(&self.context, list, id, before).await {
                Ok(directory) => self.directory = Some(directory),
                Err(refusal) => refuse(socket, &refusal, Some("list"), id, None),
            }
        }
        if let Some(directory) = &mut self.directory {
            directory.produce(&self.context, now, socket).await;
        }
        true
    }

    /// Returns when to continue without a change. `has_request`: the rate limit delays a request;
    /// `is_waiting`: the client has accepted everything.
    pub(super) fn wake(&self, now: Instant, has_request: bool, is_waiting: bool) -> Instant {
        let request = self.rate.wake(now).filter(|_| has_request);
        let directory = self.directory.as_ref().filter(|_| is_waiting).and_then(Directory::wake);
        let look = self.looked_at + LOOK_EVERY;
        [request, directory].into_iter().flatten().fold(look, Instant::min)
    }

    /// Waits for a change of the directory or the room.
    ///
    /// Cancel safe: yes.
    pub(super) async fn changed(&mut self) {
        let Self { directory, room, .. } = self;
        let of_directory = async {
            match directory {
                Some(directory) => directory.changed().await,
                None => std::future::pending().await,
            }
        };
        let of_room = async {
            match room {
                Some(room) => room.listener.gate().opened().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = of_directory => {}
            () = of_room => {}
        }
    }
}

fn refuse(
    socket: &mut Socket,
    refusal: &Refusal,
    of: Option<&str>,
    id: Option<u64>,
    key: Option<&MessageKey>,
) {
    socket.say(&Message::Error { refusal, of, id, key }.to_json());
}

fn connection(context: &Context) -> Connection {
    let (_, tcp) = context.link.seen();
    Connection {
        peer: context.peer.to_string(),
        protocol: "http/1.1",
        encrypted: context.is_encrypted,
        tls: context.record.encryption(),
        rtt_ms: tcp.rtt_us.map(|us| us as f64 / 1000.0),
        rate: tcp.delivery_rate,
    }
}

/// Time between two looks for changes of other programs, and at the rights of the client.
const LOOK_EVERY: Duration = Duration::from_secs(2);
