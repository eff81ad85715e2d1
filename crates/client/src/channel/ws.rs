//! WebSocket on the built-in implementation, with an opening handshake or as bare frames.
//!
//! Content is sent as binary messages of one frame each: several small frames in one write, a large
//! one in several. Payload is read into the outgoing buffer and masked there, so nothing is copied.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use anyport_net::linger::close_blocking;
use anyport_proto::limits::Limits;
use anyport_proto::peer::Peer;
use anyport_proto::transfer::messages::{FILE_SUBPROTOCOL, FileMessage, FileReply};
use anyport_proto::transfer::offer::{End, Offer};
use anyport_proto::transfer::receipt::Receipt;
use anyport_proto::ws::candidate::{GREETING, SYN_PING};
use anyport_proto::ws::header::{MAX_HEADER, encoded_len};
use anyport_proto::ws::{
    CloseCode, Event, Fragment, Kind, Mask, Receiver, Role, Sender, Violation,
};

use super::handshake::{Upgraded, upgrade};
use super::{Transport, Written};
use crate::content::Content;
use crate::error::{Error, ErrorKind, LONGEST_ANSWER, NO_CODE, Stopped, Transferred, cut};
use crate::keys::RandomKeys;
use crate::stream::{BUFFER, Stream, ended};
use crate::target::Target;

pub(crate) struct WsChannel {
    stream: Stream,
    peer: Peer,
    receiver: Receiver,
    sender: Sender,
    /// Whether the server accepts offers and sends receipts.
    announced: bool,
    /// Payload bytes of one frame.
    frame_size: usize,
    /// Small frames to send before the next content: the greeting, offers, pongs.
    pending: Vec<u8>,
    /// A frame is incomplete, so no other may be sent.
    inside_frame: bool,
    /// Bytes behind the handshake's response.
    early: Vec<u8>,
    inbox: Inbox,
}

/// A connection after its handshake, for uploads and downloads.
pub(crate) struct Parts {
    pub(crate) stream: Stream,
    pub(crate) receiver: Receiver,
    pub(crate) sender: Sender,
    /// Whether the server accepts the subprotocol of transfers.
    pub(crate) announced: bool,
    /// Small frames to send first.
    pub(crate) pending: Vec<u8>,
    /// Bytes behind the handshake's response.
    pub(crate) early: Vec<u8>,
}

/// Messages from the server.
#[derive(Default)]
struct Inbox {
    /// An incomplete text message.
    partial: Vec<u8>,
    texts: VecDeque<Vec<u8>>,
    closed: Option<(Option<CloseCode>, String)>,
}

impl Parts {
    /// Returns a connection without a handshake. A ping that names the client goes first, so that
    /// the server need not guess.
    pub(crate) fn bare(stream: Stream) -> Self {
        let mut parts = Self::new(stream, true, Vec::new());
        parts.sender.ping(GREETING, &mut parts.pending);
        if parts.stream.traced().is_some() {
            // A server that does not know it answers as to every ping.
            parts.sender.ping(SYN_PING, &mut parts.pending);
        }
        parts
    }

    pub(crate) fn handshake(
        mut stream: Stream,
        peer: Peer,
        target: &Target,
        deflate: bool,
    ) -> Result<Self, Error> {
        let Upgraded { verified, early } =
            upgrade(&mut stream, peer, target, &[FILE_SUBPROTOCOL], deflate)?;
        let mut parts = Self::new(stream, verified.subprotocol.is_some(), early);
        if let Some(agreed) = &verified.deflate {
            parts.receiver = parts.receiver.with_deflate(agreed);
            parts.sender = parts.sender.with_deflate(agreed);
        }
        Ok(parts)
    }

    fn new(stream: Stream, announced: bool, early: Vec<u8>) -> Self {
        let receiver = Receiver::new(Role::Client, &Limits::default());
        let sender = Sender::client(RandomKeys::new());
        Self { stream, receiver, sender, announced, pending: Vec::new(), early }
    }
}

impl Transport for WsChannel {
    fn put(
        &mut self,
        offer: &Offer,
        content: &mut Content,
        progress: &dyn Fn(u64),
    ) -> Result<Option<Receipt>, Error> {
        if offer.resume
            && let Some(receipt) = self.ask(offer, content)?
        {
            return Ok(Some(receipt));
        }
        let written = self.write(offer, content, progress);
        if let Err(Stopped::Local(error)) = written {
            return Err(error);
        }
        let peer = self.peer;
        // A server without the subprotocol sends nothing to wait for before its Close.
        if !self.announced && matches!(written, Ok(Written::All)) {
            return Ok(None);
        }
        // If the write failed because the server refused, its reply says so.
        match (self.answer(), written) {
            (Ok(answer), _) if !self.announced => {
                Err(Error::at(peer, ErrorKind::Early { sent: content.bytes(), answer }))
            }
            (Ok(text), _) => self.understand(&text),
            (Err(NoReply::Broken(_)), Err(Stopped::Broken(source)))
            | (Err(NoReply::Broken(source)), _) => {
                Err(Error::lost(peer, Transferred::Sent(content.bytes()), source))
            }
            (Err(NoReply::Reported(error)), _) => Err(error),
        }
    }

    fn accepts_more(&self) -> bool {
        self.announced
    }

    fn can_resume(&self) -> bool {
        self.announced
    }

    /// Performs the closing handshake; the server closes TCP first (RFC 6455 §7.1.1).
    fn close(mut self: Box<Self>) -> Result<(), Error> {
        let mut close = Vec::new();
        self.sender.close(Some(CloseCode::NORMAL), "", &mut close);
        let peer = self.peer;
        let broken = |source| Error::lost(peer, Transferred::Sent(0), source);
        let _ = self.stream.socket().set_read_timeout(Some(CLOSE_TIMEOUT));
        if self.announced {
            // All receipts were checked, so the outcome does not matter.
            if self.stream.write_all(&close).is_ok() {
                while self.inbox.closed.is_none() && self.read_reply().is_ok() {}
                self.await_fin();
            }
            return Ok(());
        }
        self.stream.write_all(&close).map_err(broken)?;
        while self.inbox.closed.is_none() {
            match self.read_reply() {
                Ok(()) => {}
                Err(NoReply::Broken(source)) => return Err(broken(source)),
                Err(NoReply::Reported(error)) => return Err(error),
            }
        }
        self.await_fin();
        match self.inbox.closed.take() {
            Some((Some(code), reason)) if code != CloseCode::NORMAL => {
                Err(Error::at(peer, ErrorKind::Closed(code.value(), reason)))
            }
            _ => Ok(()),
        }
    }
}

impl WsChannel {
    pub(crate) fn new(parts: Parts, peer: Peer, frame_size: usize) -> Self {
        let Parts { stream, receiver, sender, announced, pending, early } = parts;
        let (inside_frame, inbox) = (false, Inbox::default());
        Self {
            stream,
            peer,
            receiver,
            sender,
            announced,
            frame_size,
            pending,
            inside_frame,
            early,
            inbox,
        }
    }

    /// Offers the content and waits for its offset. Returns the receipt of a file that the server
    /// has.
    fn ask(&mut self, offer: &Offer, content: &mut Content) -> Result<Option<Receipt>, Error> {
        let peer = self.peer;
        let broken = |source| Error::lost(peer, Transferred::Sent(0), source);
        let written = self.say(&FileMessage::Offer(offer.clone())).and_then(|()| Ok(self.flush()?));
        // A server that closed may have sent its reason.
        let text = match (self.answer(), written) {
            (Ok(text), _) => text,
            (Err(NoReply::Reported(error)), _) | (_, Err(Stopped::Local(error))) => {
                return Err(error);
            }
            (_, Err(Stopped::Broken(source))) | (Err(NoReply::Broken(source)), _) => {
                return Err(broken(source));
            }
        };
        match FileReply::from_json(&text) {
            Ok(FileReply::Go { offset }) => content.resume_at(offset).map(|()| None),
            _ => self.understand(&text),
        }
    }

    fn understand(&self, text: &str) -> Result<Option<Receipt>, Error> {
        let peer = self.peer;
        match FileReply::from_json(text) {
            Ok(FileReply::Receipt(receipt)) => Ok(Some(receipt)),
            Ok(FileReply::Error(refusal)) => Err(Error::at(peer, ErrorKind::Refused(refusal))),
            Ok(_) | Err(_) => Err(Error::at(peer, ErrorKind::NoReceipt(cut(text.as_bytes())))),
        }
    }

    fn write(
        &mut self,
        offer: &Offer,
        content: &mut Content,
        progress: &dyn Fn(u64),
    ) -> Result<Written, Stopped> {
        if self.announced && !offer.resume {
            self.say(&FileMessage::Offer(offer.clone()))?;
        }
        self.flush()?;
        let mut framer = Framer::new(self.frame_size);
        loop {
            let batch = framer.fill(content, &mut self.sender).map_err(Stopped::Local)?;
            if batch.bytes.is_empty() {
                break;
            }
            self.stream.write_all(batch.bytes)?;
            progress(content.bytes());
            self.inside_frame = !batch.ends_a_frame;
            if self.stream.has_something_to_say() {
                // Pings are answered at the end of a frame. Text from a server that knows no offers
                // is ignored.
                if self.read_reply().is_err() || self.inbox.interrupts(self.announced) {
                    return Ok(Written::UntilInterrupted);
                }
            }
            self.flush()?;
        }
        if self.announced {
            let digest = content.digest().map_err(Stopped::Local)?;
            let bytes = Some(content.bytes());
            self.say(&FileMessage::End(End { bytes, digest }))?;
            self.flush()?;
        }
        Ok(Written::All)
    }

    fn say(&mut self, message: &FileMessage) -> Result<(), Stopped> {
        let closing = |error| Stopped::Broken(io::Error::other(error));
        let text = message.to_json();
        self.sender.message(Kind::Text, text.as_bytes(), &mut self.pending).map_err(closing)
    }

    /// Sends pending frames, unless a frame is incomplete.
    fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() && !self.inside_frame {
            self.stream.write_all(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Returns the server's next text message.
    fn answer(&mut self) -> Result<String, NoReply> {
        loop {
            if let Some(text) = self.inbox.texts.pop_front() {
                // The receiver has checked that it is UTF-8.
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            if let Some((code, reason)) = self.inbox.closed.take() {
                let code = code.map_or(NO_CODE, CloseCode::value);
                return Err(NoReply::Reported(Error::at(
                    self.peer,
                    ErrorKind::Closed(code, reason),
                )));
            }
            self.read_reply()?;
            self.flush().map_err(NoReply::Broken)?;
        }
    }

    /// Reports the violated rule to the server (RFC 6455 §7.1.7), unless a Close was sent.
    fn fail(&mut self, violation: Violation) {
        if !self.sender.close_sent() && !self.inside_frame {
            let reason = violation.to_string();
            self.sender.close(Some(violation.close_code()), &reason, &mut self.pending);
            if self.flush().is_ok() {
                close_blocking(self.stream.socket(), &mut [0; 4096]);
            }
        }
    }

    /// Waits for the server's FIN after its Close (RFC 6455 §7.1.1).
    fn await_fin(&mut self) {
        let deadline = Instant::now() + FIN_TIMEOUT;
        let _ = self.stream.socket().set_read_timeout(Some(FIN_TIMEOUT));
        let mut ignored = [0; 4096];
        while matches!(self.stream.read(&mut ignored), Ok(1..)) && Instant::now() < deadline {}
    }

    /// Reads input and sorts it into the inbox.
    fn read_reply(&mut self) -> Result<(), NoReply> {
        let mut piece = [0; 4096];
        let mut early = std::mem::take(&mut self.early);
        let mut bytes = if early.is_empty() {
            let count = loop {
                match self.stream.read(&mut piece) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read.map_err(NoReply::Broken)?,
                }
            };
            if count == 0 {
                return Err(NoReply::Broken(ended()));
            }
            &mut piece[..count]
        } else {
            &mut early[..]
        };
        loop {
            let (used, event) = match self.receiver.feed(bytes) {
                Ok((_, None)) => return Ok(()),
                Ok((used, Some(event))) => (used, event),
                Err(violation) => {
                    self.fail(violation);
                    return Err(NoReply::Reported(Error::violation(self.peer, violation, false)));
                }
            };
            match event {
                Event::Data { kind: Kind::Text, data, end, .. } => {
                    let room = LONGEST_ANSWER.saturating_sub(self.inbox.partial.len());
                    self.inbox.partial.extend_from_slice(&data[..data.len().min(room)]);
                    if end {
                        self.inbox.texts.push_back(std::mem::take(&mut self.inbox.partial));
                    }
                }
                Event::Ping(payload) => self.sender.pong(payload, &mut self.pending),
                Event::Close { code, reason } => {
                    self.inbox.closed = Some((code, reason.to_owned()));
                }
                // Content that was not requested.
                Event::Data { kind: Kind::Binary, .. } | Event::Pong(_) => {}
            }
            bytes = &mut std::mem::take(&mut bytes)[used..];
        }
    }
}

impl Inbox {
    /// Returns whether the upload must stop. Discards replies that no request was sent for.
    fn interrupts(&mut self, announced: bool) -> bool {
        if !announced {
            self.texts.clear();
        }
        !self.texts.is_empty() || self.closed.is_some()
    }
}

/// A buffer of frames that is written in one call.
struct Framer {
    buffer: Vec<u8>,
    frame_size: usize,
    /// Remaining payload of the current frame.
    left: u64,
    mask: Option<Mask>,
    /// Complete frames of compressed messages.
    compressed: Vec<u8>,
}

/// The bytes of one write.
struct Batch<'a> {
    bytes: &'a [u8],
    ends_a_frame: bool,
}

impl Framer {
    fn new(frame_size: usize) -> Self {
        let frames = (BUFFER / frame_size.max(1)).clamp(1, BUFFER / MAX_HEADER);
        let payload = BUFFER.min(frame_size * frames);
        let buffer = vec![0; payload + frames * MAX_HEADER];
        Self { buffer, frame_size, left: 0, mask: None, compressed: Vec::new() }
    }

    /// Returns the next batch; empty at the end of the content.
    fn fill(&mut self, content: &mut Content, sender: &mut Sender) -> Result<Batch<'_>, Error> {
        if sender.compresses() {
            return self.fill_compressed(content, sender);
        }
        if content.left().is_none() {
            return self.fill_unsized(content, sender);
        }
        let (mut at, most) = (0, content.at_once());
        while at < most {
            if self.left == 0 {
                let length = content.left().unwrap_or_default().min(self.frame_size as u64);
                let header_len = encoded_len(length, true);
                if length == 0 || self.buffer.len() - at <= header_len {
                    break;
                }
                at += self.begin(sender, length, at);
            }
            let room = (self.buffer.len() - at).min(most) as u64;
            let count = self.left.min(room);
            if count == 0 {
                break;
            }
            // At most the buffer's length.
            let end = at + usize::try_from(count).unwrap_or(0);
            content.read_exact(&mut self.buffer[at..end])?;
            if let Some(mask) = &mut self.mask {
                mask.apply(&mut self.buffer[at..end]);
            }
            self.left -= count;
            at = end;
        }
        Ok(Batch { bytes: &self.buffer[..at], ends_a_frame: self.left == 0 })
    }

    /// Frames the result of one read; its header is written afterwards, because its size is unknown
    /// before.
    fn fill_unsized(
        &mut self,
        content: &mut Content,
        sender: &mut Sender,
    ) -> Result<Batch<'_>, Error> {
        let room = self.frame_size.min(self.buffer.len() - MAX_HEADER);
        let count = content.read(&mut self.buffer[MAX_HEADER..MAX_HEADER + room])?;
        if count == 0 {
            return Ok(Batch { bytes: &[], ends_a_frame: true });
        }
        let start = MAX_HEADER - encoded_len(count as u64, true);
        self.begin(sender, count as u64, start);
        self.left = 0;
        let end = MAX_HEADER + count;
        if let Some(mask) = &mut self.mask {
            mask.apply(&mut self.buffer[MAX_HEADER..end]);
        }
        Ok(Batch { bytes: &self.buffer[start..end], ends_a_frame: true })
    }

    /// Compresses each message separately, at most a frame size of content.
    fn fill_compressed(
        &mut self,
        content: &mut Content,
        sender: &mut Sender,
    ) -> Result<Batch<'_>, Error> {
        self.compressed.clear();
        let room = self.frame_size.min(self.buffer.len());
        let count = content.read(&mut self.buffer[..room])?;
        if count > 0 {
            // The Close follows all content.
            let _ = sender.message(Kind::Binary, &self.buffer[..count], &mut self.compressed);
        }
        Ok(Batch { bytes: &self.compressed, ends_a_frame: true })
    }

    /// Writes a header at `at` and returns its length.
    fn begin(&mut self, sender: &mut Sender, length: u64, at: usize) -> usize {
        // The Close follows all content.
        let Ok((header, mask)) = sender.begin(Kind::Binary, Fragment::Whole, length) else {
            return 0;
        };
        self.buffer[at..at + header.len()].copy_from_slice(&header);
        self.left = length;
        self.mask = mask;
        header.len()
    }
}

/// Why there is no reply.
enum NoReply {
    Reported(Error),
    Broken(io::Error),
}

/// Maximum time for the server's Close (RFC 6455 §7.1.1).
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time for the server to close TCP after its Close. Some wait for the client.
const FIN_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Source;
    use anyport_proto::transfer::digest::Algorithm;

    /// All frames of `bytes` as the server would receive them: payload lengths, and the payload.
    fn framed(bytes: &[u8], frame_size: usize) -> (Vec<usize>, Vec<u8>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut content = Source::new(file.path()).unwrap().open(Algorithm::None).unwrap();
        let mut sender = Sender::client(RandomKeys::new());
        let mut framer = Framer::new(frame_size);
        let mut receiver = Receiver::new(Role::Server, &Limits::default());
        let (mut lengths, mut received, mut frame) = (Vec::new(), Vec::new(), 0);
        loop {
            let batch = framer.fill(&mut content, &mut sender).unwrap();
            if batch.bytes.is_empty() {
                assert!(receiver.at_message_border());
                return (lengths, received);
            }
            let ends_a_frame = batch.ends_a_frame;
            let mut wire = batch.bytes.to_vec();
            let mut rest = &mut wire[..];
            while !rest.is_empty() {
                let (used, event) = receiver.feed(rest).unwrap();
                if let Some(Event::Data { data, end, .. }) = event {
                    received.extend_from_slice(data);
                    frame += data.len();
                    if end {
                        lengths.push(std::mem::take(&mut frame));
                    }
                }
                rest = &mut std::mem::take(&mut rest)[used..];
            }
            assert_eq!(receiver.at_frame_border(), ends_a_frame);
        }
    }

    #[test]
    fn frames_hold_the_content_in_the_size_asked() {
        let bytes = anyport_testkit::noise(1_000_003, 8);
        for frame_size in [1000, 65_535, 65_536, BUFFER, BUFFER + 1, 700_000, 10_000_000] {
            let (lengths, received) = framed(&bytes, frame_size);
            assert_eq!(received, bytes, "frames of {frame_size}");
            let (last, full) = lengths.split_last().unwrap();
            assert!(full.iter().all(|length| *length == frame_size), "frames of {frame_size}");
            assert_eq!(*last, bytes.len() - full.len() * frame_size);
        }
        assert_eq!(framed(&bytes[..10], 1).0, [1; 10]);
        assert_eq!(framed(&[], 65_536), (vec![], vec![]));
    }

    #[test]
    fn mk_5_each_frame_of_content_has_a_key_of_its_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0; 64]).unwrap();
        let mut content = Source::new(file.path()).unwrap().open(Algorithm::None).unwrap();
        let mut framer = Framer::new(4);
        let mut sender = Sender::client(RandomKeys::new());
        let wire = framer.fill(&mut content, &mut sender).unwrap().bytes.to_vec();
        // Two bytes, the key, and four zeros that it masks: the key again.
        let keys: std::collections::HashSet<&[u8]> =
            wire.chunks(10).map(|frame| &frame[2..6]).collect();
        assert!(wire.chunks(10).all(|frame| frame[2..6] == frame[6..10]));
        assert_eq!((wire.len(), keys.len()), (160, 16));
    }

    #[test]
    fn mk_7_the_file_that_is_sent_is_not_modified() {
        let bytes = anyport_testkit::noise(100_000, 9);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let mut content = Source::new(file.path()).unwrap().open(Algorithm::None).unwrap();
        let mut sender = Sender::client(RandomKeys::new());
        let mut framer = Framer::new(30_000);
        while !framer.fill(&mut content, &mut sender).unwrap().bytes.is_empty() {}
        assert!(std::fs::read(file.path()).unwrap() == bytes);
    }
}
