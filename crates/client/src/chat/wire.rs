//! The transport of a chat: WebSocket messages of `anyport.chat.1`, or the same JSON in lines of
//! raw TCP.
//!
//! No sockets here: bytes in, events out; commands in, bytes out.

use anyport_proto::peer::Peer;
use anyport_proto::preface::Reply;
use anyport_proto::rooms::{Command, Event};
use anyport_proto::ws::{CloseCode, Event as Frame, Kind, Receiver, Sender};

use crate::error::{Error, ErrorKind, NO_CODE};

/// The encoder and decoder of one connection.
pub(super) struct Wire {
    peer: Peer,
    /// Input after the response to the handshake, which [`Self::handle`] has not parsed yet.
    pub(super) early: Vec<u8>,
    /// The bytes of an incomplete event.
    partial: Vec<u8>,
    kind: Carrier,
}

enum Carrier {
    WebSocket { receiver: Box<Receiver>, sender: Sender },
    Lines { joined: bool },
}

impl Wire {
    pub(super) fn messages(peer: Peer, receiver: Receiver, sender: Sender) -> Self {
        let receiver = Box::new(receiver);
        Self {
            peer,
            early: Vec::new(),
            partial: Vec::new(),
            kind: Carrier::WebSocket { receiver, sender },
        }
    }

    /// Returns the transport after the JOIN line was sent, and before its reply.
    pub(super) const fn lines(peer: Peer) -> Self {
        Self {
            peer,
            early: Vec::new(),
            partial: Vec::new(),
            kind: Carrier::Lines { joined: false },
        }
    }

    /// Appends a command, or nothing after a Close.
    pub(super) fn encode(&mut self, command: &Command, out: &mut Vec<u8>) {
        let json = command.to_json();
        match &mut self.kind {
            Carrier::WebSocket { sender, .. } => {
                let _ = sender.message(Kind::Text, json.as_bytes(), out);
            }
            Carrier::Lines { .. } => {
                out.extend_from_slice(json.as_bytes());
                out.push(b'\n');
            }
        }
    }

    /// Appends a Close frame; over raw TCP, nothing, because there a FIN ends the chat.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if let Carrier::WebSocket { sender, .. } = &mut self.kind {
            sender.close(Some(CloseCode::NORMAL), "", out);
        }
    }

    /// Parses received bytes: appends their events to `events`, and replies to pings and Close
    /// frames to `out`.
    pub(super) fn handle(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        match self.kind {
            Carrier::WebSocket { .. } => self.read_messages(bytes, out, events),
            Carrier::Lines { .. } => self.read_lines(bytes, events),
        }
    }

    fn read_messages(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let Self { peer, partial, early: _, kind: Carrier::WebSocket { receiver, sender } } = self
        else {
            return Ok(());
        };
        let peer = *peer;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (used, frame) = match receiver.feed(rest) {
                Ok(fed) => fed,
                Err(violation) => {
                    // The close code names the violation (RFC 6455 §7.1.7).
                    sender.close(Some(violation.close_code()), &violation.to_string(), out);
                    return Err(Error::violation(peer, violation, true));
                }
            };
            match frame {
                Some(Frame::Data { data, end, .. }) => {
                    append(partial, data, peer)?;
                    if end {
                        events.push(event(&std::mem::take(partial), peer)?);
                    }
                }
                Some(Frame::Ping(payload)) => sender.pong(payload, out),
                Some(Frame::Close { code, reason }) => {
                    let reason = reason.to_owned();
                    sender.close(code, "", out);
                    let code = code.map_or(NO_CODE, CloseCode::value);
                    return Err(Error::at(peer, ErrorKind::Closed(code, reason)));
                }
                Some(Frame::Pong(_)) | None => {}
            }
            rest = &mut std::mem::take(&mut rest)[used..];
        }
        Ok(())
    }

    fn read_lines(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Error> {
        let peer = self.peer;
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            append(&mut self.partial, &bytes[..end], peer)?;
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.partial);
            let Carrier::Lines { joined } = &mut self.kind else { return Ok(()) };
            if *joined {
                events.push(event(&line, peer)?);
                continue;
            }
            match Reply::parse(&line) {
                Ok(Reply::Error(refusal)) => {
                    return Err(Error::at(peer, ErrorKind::Refused(refusal)));
                }
                // The same content arrives as an event.
                Ok(_) => *joined = true,
                Err(source) => return Err(Error::at(peer, ErrorKind::NoJoin).because(source)),
            }
        }
        append(&mut self.partial, bytes, peer)
    }
}

fn append(partial: &mut Vec<u8>, bytes: &[u8], peer: Peer) -> Result<(), Error> {
    if partial.len() + bytes.len() > LONGEST_EVENT {
        return Err(Error::at(peer, ErrorKind::LongEvent(LONGEST_EVENT)));
    }
    partial.extend_from_slice(bytes);
    Ok(())
}

fn event(json: &[u8], peer: Peer) -> Result<Event, Error> {
    let event = Event::from_json(&String::from_utf8_lossy(json));
    event.map_err(|source| Error::at(peer, ErrorKind::Event).because(source))
}

/// Maximum size of one event: far more than a message of 64 KiB or a thousand nicknames need.
const LONGEST_EVENT: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use anyport_proto::limits::Limits;
    use anyport_proto::transfer::refusal::Retry;
    use anyport_proto::ws::Role;

    use super::*;
    use crate::keys::RandomKeys;

    const PEER: Peer = Peer::Unix;
    const LOST: &str = r#"{"lost":{"count":2}}"#;
    const JOINED: &str = "ANYPORT/1 JOINED room=lobby as=alice members=1\n";

    fn messages() -> Wire {
        let receiver = Receiver::new(Role::Client, &Limits::default());
        Wire::messages(PEER, receiver, Sender::client(RandomKeys::new()))
    }

    /// Returns the events of `bytes`, which are the same in every segmentation.
    fn received(wire: fn() -> Wire, bytes: &[u8]) -> Vec<Event> {
        let mut all = Vec::new();
        for step in 1..=bytes.len() {
            let (mut wire, mut events) = (wire(), Vec::new());
            for piece in bytes.chunks(step) {
                wire.handle(&mut piece.to_vec(), &mut Vec::new(), &mut events).unwrap();
            }
            assert!(all.is_empty() || all == events, "pieces of {step}");
            all = events;
        }
        all
    }

    #[test]
    fn events_are_read_from_messages_and_lines_in_every_segmentation() {
        let mut frames = Vec::new();
        for _ in 0..2 {
            Sender::server().message(Kind::Text, LOST.as_bytes(), &mut frames).unwrap();
        }
        let expected = [(); 2].map(|()| Event::Lost { count: Some(2) });
        assert_eq!(received(messages, &frames), expected);
        let lines = format!("{JOINED}{LOST}\n{LOST}\n");
        assert_eq!(received(|| Wire::lines(PEER), lines.as_bytes()), expected);
    }

    fn may_pass(error: &Error) -> bool {
        error.consequence().retry != Retry::Never
    }

    #[test]
    fn a_refusal_before_the_room_is_one() {
        let mut wire = Wire::lines(PEER);
        let mut line = b"ANYPORT/1 ERROR busy too many rooms\n".to_vec();
        let error = wire.handle(&mut line, &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Refused(_)) && may_pass(&error), "{error}");
        let mut line = b"SSH-2.0-x\n".to_vec();
        let error =
            Wire::lines(PEER).handle(&mut line, &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NoJoin) && !may_pass(&error), "{error}");
    }

    #[test]
    fn a_close_code_determines_the_retry() {
        for (code, passes) in [(1001, true), (1013, true), (1008, false), (1009, false)] {
            let (mut close, mut out) = (Vec::new(), Vec::new());
            let code = CloseCode::from_wire(code).unwrap();
            Sender::server().close(Some(code), "why", &mut close);
            let error = messages().handle(&mut close, &mut out, &mut Vec::new()).unwrap_err();
            assert_eq!(may_pass(&error), passes, "{error}");
            assert!(error.to_string().ends_with(": why"), "{error}");
            assert_eq!(out.len(), 8, "the Close is answered with its code");
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_kept() {
        let mut wire = Wire::lines(PEER);
        let mut out = (Vec::new(), Vec::new());
        wire.handle(&mut JOINED.as_bytes().to_vec(), &mut out.0, &mut out.1).unwrap();
        let mut piece = vec![b'x'; LONGEST_EVENT];
        wire.handle(&mut piece, &mut out.0, &mut out.1).unwrap();
        let error = wire.handle(&mut [b'x'], &mut out.0, &mut out.1).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::LongEvent(LONGEST_EVENT)), "{error}");
    }
}
