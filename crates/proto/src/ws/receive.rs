//! The receiving half: bytes in any cut → events.
//!
//! Payload is unmasked in the caller's buffer and lent back; nothing is assembled, and a declared length allocates
//! nothing. Control frames are whole before they are told, in 125 bytes that the receiver keeps. One violation is
//! terminal: from then on every call gives the same answer.

use super::header::{self, Decoded, MAX_HEADER};
use super::utf8::{NotUtf8, Utf8};
use super::{CloseCode, Header, Kind, Mask, Opcode, Role, Violation, close};
use crate::limits::Limits;

/// What the peer sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A piece of a data message, already unmasked, and checked if it is text.
    Data {
        /// Text or binary, the same for each piece of a message.
        kind: Kind,
        /// This piece is the message's first.
        start: bool,
        /// The payload; empty for an empty frame.
        data: &'a mut [u8],
        /// This piece is the message's last.
        end: bool,
    },
    /// To be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// An answer to a ping of ours, or an unasked sign of life.
    Pong(&'a [u8]),
    /// The peer will send nothing more; to be answered, unless it is an answer.
    Close {
        /// `None`: the frame had no payload (locally 1005).
        code: Option<CloseCode>,
        /// Empty if the peer gave none.
        reason: &'a str,
    },
}

/// Reads frames as one end of the connection. Holds no payload and no heap memory.
#[derive(Debug)]
pub struct Receiver {
    role: Role,
    max_frame: u64,
    max_message: u64,
    state: State,
    /// The first bytes of a header that a read cut.
    partial: [u8; MAX_HEADER],
    partial_len: usize,
    message: Option<Message>,
    control: [u8; 125],
    headers: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// At the border of a frame or inside a header.
    Header,
    /// Inside a data frame.
    Payload { fin: bool, left: u64, mask: Option<Mask> },
    /// Inside a control frame.
    Control { opcode: Opcode, length: usize, filled: usize, mask: Option<Mask> },
    /// The peer closed; what comes now is ignored (RFC 6455 §5.5.1).
    Closed,
    /// The peer broke a rule.
    Failed(Violation),
}

/// A data message that has begun and not ended.
#[derive(Debug)]
struct Message {
    kind: Kind,
    /// Payload announced so far, this frame included.
    announced: u64,
    /// Whether a piece of it has been told.
    told: bool,
    utf8: Utf8,
}

impl Receiver {
    /// A receiver at the border before the first frame.
    pub const fn new(role: Role, limits: &Limits) -> Self {
        Self {
            role,
            max_frame: limits.frame,
            max_message: limits.message,
            state: State::Header,
            partial: [0; MAX_HEADER],
            partial_len: 0,
            message: None,
            control: [0; 125],
            headers: 0,
        }
    }

    /// The same with another limit for one message.
    #[must_use]
    pub const fn with_message_limit(mut self, limit: u64) -> Self {
        self.max_message = limit;
        self
    }

    /// Takes bytes from the front of `input` and says how many it took and what they mean, one event at most.
    /// Call again with the rest until all is taken. `None` beside a count: nothing is complete yet.
    ///
    /// # Errors
    /// The first rule that the peer broke, and the same again on each further call.
    pub fn feed<'a>(
        &'a mut self,
        input: &'a mut [u8],
    ) -> Result<(usize, Option<Event<'a>>), Violation> {
        match self.advance(input) {
            Ok((used, told)) => Ok((used, told.map(|told| self.event(told, input)))),
            Err(violation) => {
                self.state = State::Failed(violation);
                Err(violation)
            }
        }
    }

    /// Bytes of the current frame that need no check because they are binary: a reader that does not want the payload
    /// may go over up to so many with [`Self::skip`] instead of handing them in.
    pub const fn skippable(&self) -> u64 {
        match (&self.state, &self.message) {
            (State::Payload { left, .. }, Some(Message { kind: Kind::Binary, .. })) => *left,
            _ => 0,
        }
    }

    /// Goes over `count` bytes of binary payload unseen. No event tells of them, so a message may end untold.
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

    /// Valid frame headers read so far.
    pub const fn headers(&self) -> u64 {
        self.headers
    }

    /// Whether everything received so far is whole frames.
    pub const fn at_frame_border(&self) -> bool {
        matches!(self.state, State::Closed)
            || (matches!(self.state, State::Header) && self.partial_len == 0)
    }

    /// Whether everything received so far is whole messages and control frames.
    pub const fn at_message_border(&self) -> bool {
        self.at_frame_border() && self.message.is_none()
    }

    /// Whether the peer's Close has been read.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    fn advance(&mut self, input: &mut [u8]) -> Result<(usize, Option<Told>), Violation> {
        let mut used = 0;
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
        let told = match self.state {
            State::Header => None,
            State::Payload { fin, left, mask } => {
                let (taken, told) = self.read_payload(rest, fin, left, mask)?;
                let start = used;
                used += taken;
                told.map(|(first, end)| Told::Data { start, taken, first, end })
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
        Ok((used, told))
    }

    /// A header at the front of `input`, together with what earlier reads left of it. `used` counts bytes of `input`.
    fn read_header(&mut self, input: &[u8]) -> Result<Decoded<Header>, Violation> {
        if self.partial_len == 0 {
            let decoded = header::decode(input, self.role)?;
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
            let decoded = header::decode(&self.partial[..self.partial_len], self.role)?;
            if let Decoded::Done { value, used } = decoded {
                debug_assert_eq!(used, before + taken + 1);
                self.partial_len = 0;
                return Ok(Decoded::Done { value, used: taken + 1 });
            }
        }
        Ok(Decoded::NeedMore { at_least: self.partial_len + 1 })
    }

    /// Checks what a header alone can break in its place in the stream, and turns to its payload.
    fn enter_frame(&mut self, header: &Header) -> Result<(), Violation> {
        let mask = header.key.map(Mask::new);
        if header.opcode.is_control() {
            // A control header passes `decode` only with a length of at most 125.
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
            announced: 0,
            told: false,
            utf8: Utf8::default(),
        });
        message.announced = message.announced.saturating_add(header.length);
        if message.announced > self.max_message {
            let announced = message.announced;
            return Err(Violation::MessageTooLong { announced, limit: self.max_message });
        }
        self.state = State::Payload { fin: header.fin, left: header.length, mask };
        self.headers += 1;
        Ok(())
    }

    /// Unmasks and checks what `input` holds of the current frame: bytes taken, and (first, end) if there is a piece.
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
        // `enter_frame` opened a message before it turned to payload.
        let Some(message) = &mut self.message else { return Ok((taken, None)) };
        if message.kind == Kind::Text {
            message.utf8.push(piece).map_err(not_utf8)?;
            if end {
                message.utf8.finish().map_err(not_utf8)?;
            }
        }
        let first = !std::mem::replace(&mut message.told, true);
        self.state = if left == 0 { State::Header } else { State::Payload { fin, left, mask } };
        Ok((taken, Some((first, end))))
    }

    fn finish_control(
        &mut self,
        opcode: Opcode,
        length: usize,
        mask: Option<Mask>,
    ) -> Result<Told, Violation> {
        let payload = &mut self.control[..length];
        if let Some(mut mask) = mask {
            mask.apply(payload);
        }
        self.state = State::Header;
        if opcode == Opcode::Close {
            close::decode(payload)?;
            self.state = State::Closed;
        }
        Ok(Told::Control { opcode, length })
    }

    /// Lends out what `advance` found. Apart from it, so that no borrow of the event is held while state changes.
    fn event<'a>(&'a mut self, told: Told, input: &'a mut [u8]) -> Event<'a> {
        match told {
            Told::Data { start, taken, first, end } => {
                let kind = self.message.as_ref().map_or(Kind::Binary, |message| message.kind);
                if end {
                    self.message = None;
                }
                Event::Data { kind, start: first, data: &mut input[start..start + taken], end }
            }
            Told::Control { opcode, length } => {
                let payload = &self.control[..length];
                match opcode {
                    Opcode::Ping => Event::Ping(payload),
                    Opcode::Pong => Event::Pong(payload),
                    // `finish_control` has decoded it once, so it decodes again.
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
enum Told {
    Data { start: usize, taken: usize, first: bool, end: bool },
    Control { opcode: Opcode, length: usize },
}

const fn not_utf8(_: NotUtf8) -> Violation {
    Violation::NotUtf8
}
