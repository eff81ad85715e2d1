//! Whole sessions of a receiver, and the frames of its peer.

use anyport_proto::limits::Limits;
use anyport_proto::ws::{
    CloseCode, Event, Fragment, KeySource, Kind, Opcode, Receiver, Role, Sender, Violation,
};
use anyport_testkit::{every_cut, noise};

/// Events with the pieces of a message put together, so that they do not depend on the cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, String),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) seen: Vec<Seen>,
    pub(crate) violation: Option<Violation>,
    pub(crate) at_message_border: bool,
}

pub(crate) fn receive(mut receiver: Receiver, pieces: &[&[u8]]) -> Session {
    let mut seen = Vec::new();
    let mut message = Vec::new();
    let mut open = false;
    let mut violation = None;
    'stream: for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            let length = rest.len();
            let (used, event) = match receiver.feed(rest) {
                Ok(fed) => fed,
                Err(broken) => {
                    violation = Some(broken);
                    break 'stream;
                }
            };
            match event {
                Some(Event::Data { kind, start, data, end }) => {
                    assert_eq!(start, !open, "the first piece of a message says so");
                    open = !end;
                    message.extend_from_slice(data);
                    if end {
                        seen.push(Seen::Message(kind, std::mem::take(&mut message)));
                    }
                }
                Some(Event::Ping(payload)) => seen.push(Seen::Ping(payload.to_vec())),
                Some(Event::Pong(payload)) => seen.push(Seen::Pong(payload.to_vec())),
                Some(Event::Close { code, reason }) => seen.push(Seen::Close(code, reason.into())),
                None if used == length => break,
                None => {}
            }
            rest = &mut rest[used..];
        }
    }
    if let Some(violation) = violation {
        assert_eq!(receiver.feed(&mut [0x81]), Err(violation), "a violation is terminal");
    }
    Session { seen, violation, at_message_border: receiver.at_message_border() }
}

pub(crate) fn server() -> Receiver {
    Receiver::new(Role::Server, &Limits::default())
}

/// The events of `wire` are `expected`, however the network cuts it.
#[track_caller]
pub(crate) fn tells(wire: &[u8], expected: &[Seen]) {
    every_cut(wire, |pieces| {
        let session = receive(server(), pieces);
        assert_eq!((session.seen.as_slice(), session.violation), (expected, None));
    });
}

#[track_caller]
pub(crate) fn refuses(wire: &[u8], violation: Violation, close_code: CloseCode) {
    every_cut(wire, |pieces| {
        assert_eq!(receive(server(), pieces).violation, Some(violation));
    });
    assert_eq!(violation.close_code(), close_code);
}

pub(crate) struct Keys(pub(crate) u64);
impl KeySource for Keys {
    fn next_key(&mut self) -> [u8; 4] {
        self.0 += 1;
        noise(4, self.0).try_into().unwrap()
    }
}

/// A client's frame.
pub(crate) fn frame(kind: Kind, fragment: Fragment, payload: &[u8]) -> Vec<u8> {
    let (header, mask) = Sender::client(Keys(payload.len() as u64))
        .begin(kind, fragment, payload.len() as u64)
        .unwrap();
    let mut payload = payload.to_vec();
    mask.unwrap().apply(&mut payload);
    [header.to_vec(), payload].concat()
}

pub(crate) fn ping(payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    Sender::client(Keys(5)).ping(payload, &mut wire);
    wire
}

pub(crate) fn binary(payload: &[u8]) -> Seen {
    Seen::Message(Kind::Binary, payload.to_vec())
}

/// A client's control frame.
pub(crate) fn control(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut wire = frame(Kind::Binary, Fragment::Whole, payload);
    wire[0] = 0x80 | opcode as u8;
    wire
}
