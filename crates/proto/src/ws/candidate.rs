//! Candidates for bare frames: frames without an opening handshake, distinguished from raw bytes
//! that look like them (docs/PROTOCOLS.md).
//!
//! Raw bytes are ambiguous by nature, and a guess must never damage a file: the Shift-JIS text
//! `こんにちは` begins `82 b1`, a masked binary header. So a candidate is raw until one of four things
//! confirms it, and stays raw once a byte rules it out. The bytes are only inspected here; the
//! caller keeps them, and decodes them from the start after the confirmation.

use super::{Event, Receiver, Role, Violation};
use crate::limits::Limits;

/// Payload of the masked ping with which anyport's own sender of bare frames begins.
pub const GREETING: &[u8] = b"anyport/1";

/// The ping with which a client of bare frames asks for its SYN.
///
/// The server sends a pong that begins with these bytes and a blank, and then the pong that every
/// ping gets; one that does not know it sends only that.
pub const SYN_PING: &[u8] = b"anyport/1 syn";

/// Number of consecutive valid headers that confirm frames.
///
/// Seven more 16-bit patterns in a row, at offsets that the lengths themselves determine, do not
/// occur by chance.
pub const HEADERS_THAT_CONFIRM: u64 = 8;

/// The evidence that confirmed a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// Eight consecutive valid headers.
    Headers,
    /// The stream ended exactly at the end of a message.
    EndOfMessage,
    /// The peer was idle at the boundary of a frame.
    Idle,
    /// The first frame is a ping with [`GREETING`].
    Greeting,
}

impl Evidence {
    /// Returns the evidence in words, for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "eight valid frame headers in a row",
            Self::EndOfMessage => "the stream ended at the end of a message",
            Self::Idle => "a pause at a frame boundary",
            Self::Greeting => "the first frame is a ping with anyport/1",
        }
    }
}

/// Why a candidate is raw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Contradiction {
    /// A rule of RFC 6455 is violated, so these are not frames.
    #[error("not frames: {0}")]
    Violation(#[from] Violation),
    /// Bytes follow a Close frame.
    #[error("not frames: data after a Close")]
    BytesAfterClose,
    /// The stream ended inside a frame or message, or without a message.
    #[error("not confirmed as frames: the stream ended inside a message")]
    Unfinished,
}

/// The state of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateState {
    /// Neither confirmed nor ruled out; raw so far.
    Open,
    /// Confirmed: decode from the first byte on.
    Confirmed(Evidence),
    /// Ruled out: raw.
    RuledOut(Contradiction),
}

/// Inspects a candidate's bytes without changing them.
#[derive(Debug)]
pub struct Confirmation {
    receiver: Receiver,
    messages: u64,
    standing: CandidateState,
}

impl Confirmation {
    /// Returns the state before the candidate's first byte.
    ///
    /// A frame that announces more than `largest_file` bytes rules it out.
    pub fn new(limits: &Limits, largest_file: u64) -> Self {
        let limits = Limits { frame: limits.frame.min(largest_file), ..*limits };
        Self {
            receiver: Receiver::new(Role::Server, &limits),
            messages: 0,
            standing: CandidateState::Open,
        }
    }

    /// Returns the state after these bytes, which follow those of earlier calls.
    pub fn feed(&mut self, mut bytes: &[u8]) -> CandidateState {
        let mut scratch = [0; SCRATCH];
        while !bytes.is_empty() && self.standing == CandidateState::Open {
            if self.receiver.is_closed() {
                self.standing = CandidateState::RuledOut(Contradiction::BytesAfterClose);
                break;
            }
            // Binary payload confirms nothing and needs no check; only its end matters, and `feed`
            // reports it. So all but one byte of it is skipped.
            let skipped = self.receiver.skippable().saturating_sub(1);
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(bytes.len());
            self.receiver.skip(skipped as u64);
            bytes = &bytes[skipped..];

            let piece = &mut scratch[..bytes.len().min(SCRATCH)];
            piece.copy_from_slice(&bytes[..piece.len()]);
            let fed = self.receiver.feed(piece).map(|(used, event)| {
                let greeted = event == Some(Event::Ping(GREETING));
                (used, greeted, matches!(event, Some(Event::Data { end: true, .. })))
            });
            let headers = self.receiver.headers();
            match fed {
                Ok((used, greeted, message_ended)) => {
                    bytes = &bytes[used..];
                    self.messages += u64::from(message_ended);
                    if greeted && headers == 1 {
                        self.standing = CandidateState::Confirmed(Evidence::Greeting);
                    } else if headers >= HEADERS_THAT_CONFIRM {
                        self.standing = CandidateState::Confirmed(Evidence::Headers);
                    }
                }
                // The eighth header confirms before its payload arrives, so a violation in the
                // payload in the same bytes is too late: otherwise the result would depend on the
                // segmentation.
                Err(_) if headers >= HEADERS_THAT_CONFIRM => {
                    self.standing = CandidateState::Confirmed(Evidence::Headers);
                }
                Err(violation) => self.standing = CandidateState::RuledOut(violation.into()),
            }
        }
        self.standing
    }

    /// Returns the state if the stream ends here.
    pub fn end_of_stream(&mut self) -> CandidateState {
        if self.standing == CandidateState::Open {
            self.standing = if self.messages > 0 && self.receiver.at_message_border() {
                CandidateState::Confirmed(Evidence::EndOfMessage)
            } else {
                CandidateState::RuledOut(Contradiction::Unfinished)
            };
        }
        self.standing
    }

    /// Returns the state if the peer was idle for the detection time.
    pub fn idle(&mut self) -> CandidateState {
        let border = self.receiver.headers() > 0 && self.receiver.at_frame_border();
        if self.standing == CandidateState::Open && border {
            self.standing = CandidateState::Confirmed(Evidence::Idle);
        }
        self.standing
    }

    /// Returns whether an idle peer would confirm it now, which needs a timer.
    pub fn needs_idle_timer(&self) -> bool {
        self.standing == CandidateState::Open
            && self.receiver.headers() > 0
            && self.receiver.at_frame_border()
    }
}

/// Text and control frames are unmasked in a copy, because the candidate's bytes must not change.
const SCRATCH: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::{Fragment, KeySource, Kind, Sender};
    use anyport_testkit::{every_cut, hex, noise};

    struct Keys(u8);
    impl KeySource for Keys {
        fn next_key(&mut self) -> [u8; 4] {
            self.0 = self.0.wrapping_add(77);
            [self.0, self.0 ^ 0x5a, 3, self.0.wrapping_mul(5)]
        }
    }

    fn messages(count: usize, length: usize) -> Vec<u8> {
        let mut sender = Sender::client(Keys(1));
        let mut wire = Vec::new();
        for i in 0..count {
            sender.message(Kind::Binary, &noise(length, i as u64), &mut wire).unwrap();
        }
        wire
    }

    fn standing(pieces: &[&[u8]]) -> CandidateState {
        let mut confirmation = Confirmation::new(&Limits::default(), u64::MAX);
        pieces.iter().for_each(|piece| {
            confirmation.feed(piece);
        });
        confirmation.standing
    }

    fn at_end(pieces: &[&[u8]]) -> CandidateState {
        let mut confirmation = Confirmation::new(&Limits::default(), u64::MAX);
        pieces.iter().for_each(|piece| {
            confirmation.feed(piece);
        });
        confirmation.end_of_stream()
    }

    #[test]
    fn dt_1_eight_headers_confirm_and_seven_do_not() {
        let eight = messages(8, 30);
        every_cut(&eight, |pieces| {
            assert_eq!(standing(pieces), CandidateState::Confirmed(Evidence::Headers));
        });
        let mut seven = messages(7, 300);
        assert_eq!(standing(&[&seven]), CandidateState::Open);
        seven.extend_from_slice(b"\x00\x00 a raw file goes on");
        every_cut(&seven, |pieces| {
            let CandidateState::RuledOut(Contradiction::Violation(_)) = standing(pieces) else {
                panic!()
            };
        });
    }

    /// Found by the fuzzer: in one piece the payload was checked before the header was counted.
    #[test]
    fn the_eighth_header_confirms_whatever_its_payload_is() {
        let mut wire = messages(7, 3);
        wire.extend(hex("81 81 00000000 ff"));
        every_cut(&wire, |pieces| {
            assert_eq!(standing(pieces), CandidateState::Confirmed(Evidence::Headers));
        });
    }

    #[test]
    fn dt_1_a_stream_that_ends_with_a_message_is_frames_and_elsewhere_raw() {
        let one = messages(1, 1000);
        every_cut(&one, |pieces| {
            assert_eq!(at_end(pieces), CandidateState::Confirmed(Evidence::EndOfMessage));
        });
        for short in 1..one.len() {
            assert_eq!(
                at_end(&[&one[..short]]),
                CandidateState::RuledOut(Contradiction::Unfinished)
            );
        }
    }

    #[test]
    fn an_open_fragmented_message_at_the_end_is_raw() {
        let mut sender = Sender::client(Keys(9));
        let (header, mask) = sender.begin(Kind::Binary, Fragment::First, 3).unwrap();
        let mut wire = header.to_vec();
        let mut payload = *b"abc";
        mask.unwrap().apply(&mut payload);
        wire.extend_from_slice(&payload);
        assert_eq!(at_end(&[&wire]), CandidateState::RuledOut(Contradiction::Unfinished));
    }

    #[test]
    fn dt_1_an_idle_peer_confirms_only_at_a_frame_boundary() {
        let one = messages(1, 10);
        let mut confirmation = Confirmation::new(&Limits::default(), u64::MAX);
        confirmation.feed(&one[..one.len() - 1]);
        assert!(!confirmation.needs_idle_timer());
        assert_eq!(confirmation.idle(), CandidateState::Open);
        confirmation.feed(&one[one.len() - 1..]);
        assert!(confirmation.needs_idle_timer());
        assert_eq!(confirmation.idle(), CandidateState::Confirmed(Evidence::Idle));
    }

    #[test]
    fn dt_1_the_greeting_confirms_only_as_the_first_frame() {
        let mut sender = Sender::client(Keys(3));
        let mut wire = Vec::new();
        sender.ping(GREETING, &mut wire);
        every_cut(&wire, |pieces| {
            assert_eq!(standing(pieces), CandidateState::Confirmed(Evidence::Greeting));
        });
        let mut late = messages(1, 4);
        late.extend_from_slice(&wire);
        assert_eq!(standing(&[&late]), CandidateState::Open);
    }

    #[test]
    fn text_must_be_utf_8() {
        // "hello" as a masked text frame passes, the same with one byte broken does not.
        let good = hex("81 85 37fa213d 7f9f4d5158");
        let bad = hex("81 85 37fa213d 7f9f4d51ff");
        assert_eq!(at_end(&[&good]), CandidateState::Confirmed(Evidence::EndOfMessage));
        assert_eq!(standing(&[&bad]), CandidateState::RuledOut(Violation::NotUtf8.into()));
    }

    #[test]
    fn a_length_beyond_the_largest_file_is_raw() {
        let one = messages(1, 1000);
        let mut confirmation = Confirmation::new(&Limits::default(), 999);
        let ruled_out = Violation::FrameTooLong { announced: 1000, limit: 999 };
        assert_eq!(confirmation.feed(&one), CandidateState::RuledOut(ruled_out.into()));
        let mut confirmation = Confirmation::new(&Limits::default(), 1000);
        assert_eq!(confirmation.feed(&one), CandidateState::Open);
    }

    #[test]
    fn nothing_may_follow_a_close() {
        let mut wire = messages(1, 5);
        let mut sender = Sender::client(Keys(4));
        sender.close(None, "", &mut wire);
        assert_eq!(at_end(&[&wire]), CandidateState::Confirmed(Evidence::EndOfMessage));
        wire.push(0x81);
        assert_eq!(standing(&[&wire]), CandidateState::RuledOut(Contradiction::BytesAfterClose));
    }

    #[test]
    fn dt_2_shift_jis_text_that_begins_with_hiragana_stays_raw() {
        // "こんにちは。これはファイルです。" and more: 82 b1 is FIN, binary, MASK, length 49.
        let text = hex("82b182f182c982bf82cd814282b182ea82cd8374834083438 38b82c582b78142 \
            0d0a82a082a282a482a682a8");
        let file = text.repeat(40);
        let CandidateState::RuledOut(_) = at_end(&[&file]) else { panic!("taken for frames") };
    }
}
