//! The receiving half: bytes in any segmentation → events.
//!
//! Payload is unmasked in the caller's buffer and lent back; nothing is assembled, and an announced
//! length allocates no memory. Compressed payload is lent from the inflater's window instead, a
//! piece at a time. Control frames are delivered once complete, from the receiver's 125 bytes. A
//! violation is terminal: every later call returns it.

use super::deflate::{DeflateParameters, Inflated, Inflater, NotDeflate};
use super::header::{self, Decoded, MAX_HEADER, Rsv1};
use super::utf8::{NotUtf8, Utf8};
use super::{CloseCode, Header, Kind, Mask, Opcode, Role, Violation, close};
use crate::limits::Limits;

/// An event of the peer.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A piece of a data message: unmasked, and validated if it is text.
    Data {
        /// Text or binary, the same for each piece of a message.
        kind: Kind,
        /// Whether this piece is the message's first.
        start: bool,
        /// The payload; empty for an empty frame.
        data: &'a [u8],
        /// Whether this piece is the message's last.
        end: bool,
    },
    /// To be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// A reply to a ping, or an unsolicited pong.
    Pong(&'a [u8]),
    /// The peer sends nothing more; to be answered, unless it is a reply itself.
    Close {
        /// `None`: the frame had no payload (locally 1005).
        code: Option<CloseCode>,
        /// Empty if there is none.
        reason: &'a str,
    },
}

/// Reads frames as one end of the connection.
///
/// Buffers no payload, and allocates no memory before a compressed message.
#[derive(Debug)]
pub struct Receiver {
    role: Role,
    max_frame: u64,
    max_message: u64,
    max_inflated: u64,
    deflate: Option<Box<Deflate>>,
    state: State,
    /// The first bytes of an incomplete header.
    partial: [u8; MAX_HEADER],
    partial_len: usize,
    message: Option<Message>,
    control: [u8; 125],
    headers: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// At a frame boundary or inside a header.
    Header,
    /// Inside a data frame.
    Payload { fin: bool, left: u64, mask: Option<Mask> },
    /// Inside a control frame.
    Control { opcode: Opcode, length: usize, filled: usize, mask: Option<Mask> },
    /// The peer closed; further input is ignored (RFC 6455 §5.5.1).
    Closed,
    /// The peer violated the protocol.
    Failed(Violation),
}

/// The receiving side of permessage-deflate.
struct Deflate {
    /// Whether messages may refer to earlier ones.
    takeover: bool,
    /// Created at the first compressed message.
    inflater: Option<Inflater>,
}

impl std::fmt::Debug for Deflate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflate").field("takeover", &self.takeover).finish_non_exhaustive()
    }
}

/// A data message that has begun and not ended.
#[derive(Debug)]
struct Message {
    kind: Kind,
    /// Inflated size so far, if the payload is compressed.
    inflated: Option<u64>,
    /// Payload announced so far, this frame included.
    announced: u64,
    /// Whether a piece of it was delivered.
    delivered: bool,
    utf8: Utf8,
}

impl Receiver {
    /// Returns a receiver before the first frame.
    pub const fn new(role: Role, limits: &Limits) -> Self {
        Self {
            role,
            max_frame: limits.frame,
            max_message: limits.message,
            max_inflated: limits.inflated_message,
            deflate: None,
            state: State::Header,
            partial: [0; MAX_HEADER],
            partial_len: 0,
            message: None,
            control: [0; 125],
            headers: 0,
        }
    }

    /// Returns the receiver with another limit for one message, inflated if it is compressed.
    #[must_use]
    pub const fn with_message_limit(mut self, limit: u64) -> Self {
        self.max_message = limit;
        self.max_inflated = limit;
        self
    }

    /// Returns the receiver with permessage-deflate, after it was negotiated.
    #[must_use]
    pub fn with_deflate(mut self, agreed: &DeflateParameters) -> Self {
        let takeover = match self.role {
            Role::Server => !agreed.client_no_context_takeover,
            Role::Client => !agreed.server_no_context_takeover,
        };
        self.deflate = Some(Box::new(Deflate { takeover, inflater: None }));
        self
    }

    /// Reads from the front of `input`; returns the number of bytes used, and at most one event.
    ///
    /// Call it again with the rest until there is no event: then all input is used. A few
    /// compressed bytes may become many pieces, so there may be another event although `input` is
    /// used up.
    ///
    /// # Errors
    /// The first violation of the peer; each later call repeats it.
    pub fn feed<'a>(
        &'a mut self,
        input: &'a mut [u8],
    ) -> Result<(usize, Option<Event<'a>>), Violation> {
        match self.advance(input) {
            Ok((used, event)) => Ok((used, event.map(|event| self.event(event, input)))),
            Err(violation) => {
                self.state = State::Failed(violation);
                // Undelivered compressed bytes are dropped with their memory.
                self.deflate = None;
                Err(violation)
            }
        }
    }

    /// Returns how many bytes of the current frame need no validation because they are binary: a
    /// reader that does not need them may skip up to this many with [`Self::skip`].
    pub const fn skippable(&self) -> u64 {
        match (&self.state, &self.message) {
            (
                State::Payload { left, .. },
                Some(Message { kind: Kind::Binary, inflated: None, .. }),
            ) => *left,
            _ => 0,
        }
    }

    /// Skips `count` bytes of binary payload.
    ///
    /// They cause no event, so the end of a message may not be reported.
    pub fn skip(&mut self, count: u64) {
        debug_assert!(count <= self.skippable(), "skipped past the frame");
        if let State::Payload { left, mask, fin } = &mut self.state {
            *left = left.saturating_sub(count);
            if let Some(mask) = mask {
                mask.skip(count);
            }
            if *left == 0 {
                if *fin {
                    self.message = None;
                }
                self.state = State::Header;
            }
        }
    }

    /// Returns the number of valid frame headers so far.
    pub const fn headers(&self) -> u64 {
        self.headers
    }

    /// Returns whether the input so far is complete frames.
    pub const fn at_frame_border(&self) -> bool {
        matches!(self.state, State::Closed)
            || (matches!(self.state, State::Header) && self.partial_len == 0)
    }

    /// Returns whether the input so far is complete messages and control frames.
    pub const fn at_message_border(&self) -> bool {
        self.at_frame_border() && self.message.is_none()
    }

    /// Returns whether the peer's Close was read.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    fn advance(&mut self, input: &mut [u8]) -> Result<(usize, Option<EventAt>), Violation> {
        let mut used = 0;
        // Staged bytes precede the rest of the input.
        if let Some(event) = self.inflate()? {
            return Ok((0, Some(event)));
        }
        if matches!(self.state, State::Header) {
            match self.read_header(input)? {
                Decoded::NeedMore { .. } => return Ok((input.len(), None)),
                Decoded::Done { value, used: header_len } => {
                    used = header_len;
                    self.enter_frame(&value)?;
                }
            }
        }
        let (_, rest) = input.split_at_mut(used);
        let event = match self.state {
            State::Header => None,
            State::Payload { fin, left, mask } if self.is_compressed() => {
                let (taken, event) = self.read_compressed(rest, fin, left, mask)?;
                used += taken;
                event
            }
            State::Payload { fin, left, mask } => {
                let (taken, event) = self.read_payload(rest, fin, left, mask)?;
                let start = used;
                used += taken;
                event.map(|(first, end)| EventAt::Data { start, taken, first, end })
            }
            State::Control { opcode, length, filled, mask } => {
                let taken = rest.len().min(length - filled);
                self.control[filled..filled + taken].copy_from_slice(&rest[..taken]);
                used += taken;
                let filled = filled + taken;
                if filled < length {
                    self.state = State::Control { opcode, length, filled, mask };
                    None
                } else {
                    Some(self.finish_control(opcode, length, mask)?)
                }
            }
            State::Closed => {
                used = input.len();
                None
            }
            State::Failed(violation) => return Err(violation),
        };
        Ok((used, event))
    }

    const fn rsv1(&self) -> Rsv1 {
        if self.deflate.is_some() { Rsv1::Deflate } else { Rsv1::Reserved }
    }

    fn is_compressed(&self) -> bool {
        self.message.as_ref().is_some_and(|message| message.inflated.is_some())
    }

    /// Parses a header at the front of `input`, after the bytes kept from earlier reads. `used`
    /// counts bytes of `input`.
    fn read_header(&mut self, input: &[u8]) -> Result<Decoded<Header>, Violation> {
        if self.partial_len == 0 {
            let decoded = header::decode(input, self.role, self.rsv1())?;
            if let Decoded::NeedMore { .. } = decoded {
                self.partial[..input.len()].copy_from_slice(input);
                self.partial_len = input.len();
            }
            return Ok(decoded);
        }
        let before = self.partial_len;
        for (taken, byte) in input.iter().enumerate() {
            self.partial[self.partial_len] = *byte;
            self.partial_len += 1;
            let partial = &self.partial[..self.partial_len];
            let decoded = header::decode(partial, self.role, self.rsv1())?;
            if let Decoded::Done { value, used } = decoded {
                debug_assert_eq!(used, before + taken + 1);
                self.partial_len = 0;
                return Ok(Decoded::Done { value, used: taken + 1 });
            }
        }
        Ok(Decoded::NeedMore { at_least: self.partial_len + 1 })
    }

    /// Checks a header in its context, and continues with its payload.
    fn enter_frame(&mut self, header: &Header) -> Result<(), Violation> {
        let mask = header.key.map(Mask::new);
        if header.opcode.is_control() {
            // `decode` accepts a control header only with a length of at most 125.
            let length = usize::try_from(header.length).unwrap_or(self.control.len());
            self.state = State::Control { opcode: header.opcode, length, filled: 0, mask };
            self.headers += 1;
            return Ok(());
        }
        let kind = match (header.opcode, &self.message) {
            (Opcode::Continuation, None) => return Err(Violation::ContinuationWithoutStart),
            (Opcode::Continuation, Some(message)) => message.kind,
            (opcode, Some(_)) => return Err(Violation::MessageInsideMessage(opcode)),
            (Opcode::Text, None) => Kind::Text,
            (_, None) => Kind::Binary,
        };
        if header.length > self.max_frame {
            let announced = header.length;
            return Err(Violation::FrameTooLong { announced, limit: self.max_frame });
        }
        let message = self.message.get_or_insert_with(|| Message {
            kind,
            inflated: header.compressed.then_some(0),
            announced: 0,
            delivered: false,
            utf8: Utf8::default(),
        });
        message.announced = message.announced.saturating_add(header.length);
        let limit = match message.inflated {
            Some(_) => longest_compressed(self.max_inflated),
            None => self.max_message,
        };
        if message.announced > limit {
            return Err(Violation::MessageTooLong { announced: message.announced, limit });
        }
        if header.compressed
            && let Some(deflate) = &mut self.deflate
        {
            deflate.inflater.get_or_insert_with(|| Inflater::new(deflate.takeover)).begin();
        }
        self.state = State::Payload { fin: header.fin, left: header.length, mask };
        self.headers += 1;
        Ok(())
    }

    /// Unmasks and validates the bytes of the current frame in `input`: returns the bytes used, and
    /// (first, end) if there is a piece.
    fn read_payload(
        &mut self,
        input: &mut [u8],
        fin: bool,
        left: u64,
        mut mask: Option<Mask>,
    ) -> Result<(usize, Option<(bool, bool)>), Violation> {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        if taken == 0 && left > 0 {
            return Ok((0, None));
        }
        let (piece, _) = input.split_at_mut(taken);
        if let Some(mask) = &mut mask {
            mask.apply(piece);
        }
        let left = left - taken as u64;
        let end = fin && left == 0;
        // `enter_frame` opened a message before.
        let Some(message) = &mut self.message else { return Ok((taken, None)) };
        if message.kind == Kind::Text {
            message.utf8.push(piece).map_err(not_utf8)?;
            if end {
                message.utf8.finish().map_err(not_utf8)?;
            }
        }
        let first = !std::mem::replace(&mut message.delivered, true);
        self.state = if left == 0 { State::Header } else { State::Payload { fin, left, mask } };
        Ok((taken, Some((first, end))))
    }

    /// Reads compressed payload: returns the bytes used, and the piece that they inflate to.
    fn read_compressed(
        &mut self,
        input: &[u8],
        fin: bool,
        mut left: u64,
        mut mask: Option<Mask>,
    ) -> Result<(usize, Option<EventAt>), Violation> {
        let mut used = 0;
        loop {
            // `enter_frame` created one when the message began.
            let Some(inflater) = self.deflate.as_mut().and_then(|it| it.inflater.as_mut()) else {
                return Ok((used, None));
            };
            let longest = usize::try_from(left).unwrap_or(usize::MAX).min(inflater.room());
            let piece = &input[used..];
            let piece = &piece[..piece.len().min(longest)];
            if piece.is_empty() && left > 0 {
                self.state = State::Payload { fin, left, mask };
                return Ok((used, None));
            }
            if !piece.is_empty() {
                inflater.stage(piece, |bytes| {
                    if let Some(mask) = &mut mask {
                        mask.apply(bytes);
                    }
                });
            }
            used += piece.len();
            left -= piece.len() as u64;
            if left == 0 && fin {
                inflater.end();
            }
            self.state = if left == 0 { State::Header } else { State::Payload { fin, left, mask } };
            if let Some(event) = self.inflate()? {
                return Ok((used, Some(event)));
            }
            if left == 0 {
                // A frame without a byte of the message is delivered as an empty one.
                let first = self
                    .message
                    .as_mut()
                    .is_some_and(|it| !std::mem::replace(&mut it.delivered, true));
                return Ok((
                    used,
                    Some(EventAt::Inflated { start: 0, end: 0, first, last: false }),
                ));
            }
        }
    }

    /// Returns the next piece of a compressed message; `None` if all were delivered.
    fn inflate(&mut self) -> Result<Option<EventAt>, Violation> {
        let Some(inflater) = self.deflate.as_mut().and_then(|it| it.inflater.as_mut()) else {
            return Ok(None);
        };
        while inflater.is_pending() {
            let inflated = inflater.inflate().map_err(|NotDeflate| Violation::NotDeflate)?;
            let Inflated { start, end, last } = inflated;
            let Some(message) = &mut self.message else { return Ok(None) };
            let piece = &inflater.window()[start..end];
            let sum = message.inflated.unwrap_or_default();
            let room = usize::try_from(self.max_inflated - sum).unwrap_or(usize::MAX);
            let within = &piece[..piece.len().min(room)];
            message.inflated = Some(sum + within.len() as u64);
            if message.kind == Kind::Text {
                message.utf8.push(within).map_err(not_utf8)?;
            }
            if within.len() < piece.len() {
                return Err(Violation::InflatedTooLong { limit: self.max_inflated });
            }
            if message.kind == Kind::Text && last {
                message.utf8.finish().map_err(not_utf8)?;
            }
            // An empty piece reports work without output, so that the caller can bound its work in
            // one turn.
            if start < end || last || inflater.is_pending() {
                let first = !std::mem::replace(&mut message.delivered, true);
                return Ok(Some(EventAt::Inflated { start, end, first, last }));
            }
        }
        Ok(None)
    }

    fn finish_control(
        &mut self,
        opcode: Opcode,
        length: usize,
        mask: Option<Mask>,
    ) -> Result<EventAt, Violation> {
        let payload = &mut self.control[..length];
        if let Some(mut mask) = mask {
            mask.apply(payload);
        }
        self.state = State::Header;
        if opcode == Opcode::Close {
            close::decode(payload)?;
            self.state = State::Closed;
        }
        Ok(EventAt::Control { opcode, length })
    }

    /// Returns the kind of the current message, and ends it if `end` is set.
    fn leave_message(&mut self, end: bool) -> Kind {
        let kind = self.message.as_ref().map_or(Kind::Binary, |message| message.kind);
        if end {
            self.message = None;
        }
        kind
    }

    /// Returns the event that `advance` found; separate, so that no borrow of it is held while
    /// state changes.
    fn event<'a>(&'a mut self, event: EventAt, input: &'a [u8]) -> Event<'a> {
        match event {
            EventAt::Data { start, taken, first, end } => {
                let kind = self.leave_message(end);
                Event::Data { kind, start: first, data: &input[start..start + taken], end }
            }
            EventAt::Inflated { start, end, first, last } => {
                let kind = self.leave_message(last);
                let inflater = self.deflate.as_ref().and_then(|it| it.inflater.as_ref());
                let data = inflater.map_or(&[][..], |inflater| &inflater.window()[start..end]);
                Event::Data { kind, start: first, data, end: last }
            }
            EventAt::Control { opcode, length } => {
                let payload = &self.control[..length];
                match opcode {
                    Opcode::Ping => Event::Ping(payload),
                    Opcode::Pong => Event::Pong(payload),
                    // `finish_control` has decoded it before, so it decodes again.
                    _ => {
                        let (code, reason) = close::decode(payload).unwrap_or((None, ""));
                        Event::Close { code, reason }
                    }
                }
            }
        }
    }
}

/// An event by position, before anything is borrowed.
#[derive(Debug, Clone, Copy)]
enum EventAt {
    Data {
        start: usize,
        taken: usize,
        first: bool,
        end: bool,
    },
    /// A piece of the inflater's window.
    Inflated {
        start: usize,
        end: usize,
        first: bool,
        last: bool,
    },
    Control {
        opcode: Opcode,
        length: usize,
    },
}

/// Returns the maximum compressed size of a message of `limit` bytes: incompressible data grows,
/// and each flush adds a few bytes.
const fn longest_compressed(limit: u64) -> u64 {
    limit.saturating_mul(2).saturating_add(1024)
}

const fn not_utf8(_: NotUtf8) -> Violation {
    Violation::NotUtf8
}
