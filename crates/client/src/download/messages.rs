//! Downloads over WebSocket, with an opening handshake or as bare frames: requests and replies are
//! text messages, content is binary.

use std::io::{self, Read, Write};
use std::time::Duration;

use anyport_proto::peer::Peer;
use anyport_proto::transfer::download::{FileEnd, FileHead, ListEnd};
use anyport_proto::transfer::listing::Listed;
use anyport_proto::transfer::messages::{FileMessage, FileReply};
use anyport_proto::ws::{CloseCode, Event, Kind};

use super::file::Sink;
use super::transport::{Ask, Dialogue};
use crate::channel::ws::Parts;
use crate::error::{Error, ErrorKind, LONGEST_ANSWER, NO_CODE, Transferred, cut};
use crate::stream::{BUFFER, ended};

pub(super) struct Messages {
    parts: Parts,
    peer: Peer,
    buffer: Vec<u8>,
    /// Input that is not parsed yet.
    start: usize,
    end: usize,
    /// An incomplete text message.
    text: Vec<u8>,
}

/// A received message.
enum Reply {
    Content(u64),
    Reply(Box<FileReply>),
}

impl Dialogue for Messages {
    fn peer(&self) -> Peer {
        self.peer
    }

    fn ask(&mut self, ask: &Ask<'_>) -> Result<(), Error> {
        let message = match ask {
            Ask::Get(get) => FileMessage::Get((*get).clone()),
            Ask::List(list) => FileMessage::List((*list).clone()),
        };
        let json = message.to_json();
        let Parts { sender, pending, .. } = &mut self.parts;
        if let Err(closing) = sender.message(Kind::Text, json.as_bytes(), pending) {
            return Err(self.broken(io::Error::other(closing)));
        }
        self.flush()
    }

    fn head(&mut self) -> Result<FileHead, Error> {
        match self.reply()? {
            FileReply::File(head) => Ok(head),
            other => Err(self.unexpected(other)),
        }
    }

    fn piece(&mut self, left: u64, _: usize, sink: &mut dyn Sink) -> Result<u64, Error> {
        match self.read_reply(left, sink)? {
            Reply::Content(count) => Ok(count),
            Reply::Reply(reply) => Err(self.unexpected(*reply)),
        }
    }

    fn end(&mut self, _: u64) -> Result<FileEnd, Error> {
        match self.reply()? {
            FileReply::FileEnd(end) => Ok(end),
            other => Err(self.unexpected(other)),
        }
    }

    fn listed(&mut self, listed: &mut Vec<Listed>) -> Result<Option<ListEnd>, Error> {
        match self.reply()? {
            FileReply::Entries(entries) => {
                listed.extend(entries.into_iter().map(Listed::Entry));
                Ok(None)
            }
            FileReply::LeftOut(left_out) => {
                listed.extend(left_out.into_iter().map(Listed::LeftOut));
                Ok(None)
            }
            FileReply::ListEnd(end) => Ok(Some(end)),
            other => Err(self.unexpected(other)),
        }
    }

    fn leave(&mut self) {
        let Parts { stream, sender, pending, .. } = &mut self.parts;
        sender.close(Some(CloseCode::NORMAL), "", pending);
        let _ = stream.socket().set_read_timeout(Some(CLOSE_TIMEOUT));
        if self.flush().is_ok() {
            // Until the server's Close or FIN.
            while self.read_reply(0, &mut Nowhere).is_ok() {}
        }
    }
}

impl Messages {
    pub(super) fn new(parts: Parts, peer: Peer) -> Self {
        let mut buffer = vec![0; BUFFER];
        // Bytes behind the handshake's response, at most one small read.
        let end = parts.early.len().min(BUFFER);
        buffer[..end].copy_from_slice(&parts.early[..end]);
        Self { parts, peer, buffer, start: 0, end, text: Vec::new() }
    }

    fn reply(&mut self) -> Result<FileReply, Error> {
        let peer = self.peer;
        match self.read_reply(0, &mut Nowhere)? {
            Reply::Reply(reply) => Ok(*reply),
            Reply::Content(_) => {
                let answer = "content instead of a reply".to_owned();
                Err(Error::at(peer, ErrorKind::Answer(answer)))
            }
        }
    }

    fn unexpected(&self, reply: FileReply) -> Error {
        let peer = self.peer;
        match reply {
            FileReply::Error(refusal) => Error::at(peer, ErrorKind::Refused(refusal)),
            other => Error::at(peer, ErrorKind::Answer(cut(other.to_json().as_bytes()))),
        }
    }

    /// Reads until content has arrived, at most `left` bytes, or a reply is complete.
    fn read_reply(&mut self, left: u64, sink: &mut dyn Sink) -> Result<Reply, Error> {
        let mut taken = 0;
        loop {
            if self.start == self.end {
                if taken > 0 {
                    return Ok(Reply::Content(taken));
                }
                self.fill()?;
            }
            let peer = self.peer;
            let unread = &mut self.buffer[self.start..self.end];
            let length = unread.len();
            let Parts { receiver, sender, pending, .. } = &mut self.parts;
            let (used, event) = match receiver.feed(unread) {
                Ok((_, None)) => (length, None),
                Ok((used, event)) => (used, event),
                Err(violation) => return Err(Error::violation(peer, violation, false)),
            };
            self.start += used;
            match event {
                Some(Event::Data { kind: Kind::Binary, data, .. }) => {
                    taken += data.len() as u64;
                    if taken > left {
                        let answer = "more content than was announced".to_owned();
                        return Err(Error::at(peer, ErrorKind::Answer(answer)));
                    }
                    sink.take(data)?;
                    if taken == left && taken > 0 {
                        return Ok(Reply::Content(taken));
                    }
                }
                Some(Event::Data { kind: Kind::Text, data, end, .. }) => {
                    if self.text.len() + data.len() > LONGEST_MESSAGE {
                        let answer = format!("a text message of more than {LONGEST_MESSAGE} bytes");
                        return Err(Error::at(peer, ErrorKind::Answer(answer)));
                    }
                    self.text.extend_from_slice(data);
                    if end {
                        let text = std::mem::take(&mut self.text);
                        return parse(peer, &text).map(|reply| Reply::Reply(Box::new(reply)));
                    }
                }
                Some(Event::Ping(payload)) => {
                    sender.pong(payload, pending);
                    self.flush()?;
                }
                Some(Event::Close { code, reason }) => {
                    let code = code.map_or(NO_CODE, CloseCode::value);
                    return Err(Error::at(peer, ErrorKind::Closed(code, reason.to_owned())));
                }
                Some(Event::Pong(_)) | None => {}
            }
        }
    }

    fn fill(&mut self) -> Result<(), Error> {
        (self.start, self.end) = (0, 0);
        loop {
            match self.parts.stream.read(&mut self.buffer) {
                Ok(0) => return Err(self.broken(ended())),
                Ok(count) => {
                    self.end = count;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let Parts { stream, pending, .. } = &mut self.parts;
        let written = stream.write_all(pending);
        pending.clear();
        written.map_err(|error| self.broken(error))
    }

    fn broken(&self, error: io::Error) -> Error {
        Error::lost(self.peer, Transferred::Received(0), error)
    }
}

/// A sink where no content is due.
struct Nowhere;

impl Sink for Nowhere {
    fn take(&mut self, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

fn parse(peer: Peer, text: &[u8]) -> Result<FileReply, Error> {
    let text = String::from_utf8_lossy(text);
    FileReply::from_json(&text)
        .map_err(|error| Error::at(peer, ErrorKind::Answer(error.to_string())))
}

/// A piece of a listing may be longer than other replies: its entries name paths.
const LONGEST_MESSAGE: usize = 16 * LONGEST_ANSWER;

/// Maximum time for the server's Close (RFC 6455 §7.1.1).
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
