//! Bare frames on proof (DESIGN section 5): frames with no opening handshake, told from raw bytes
//! that look like them.
//!
//! Raw bytes are ambiguous by nature, and a file must never be damaged by a guess: the Shift-JIS
//! text `こんにちは` begins `82 b1`, a masked binary header. So a candidate is raw until one of four
//! things is seen, and stays raw for ever once a byte contradicts it. The bytes are only read here;
//! whoever holds them decodes them after the proof, from the start.

use super::{Event, Receiver, Role, Violation};
use crate::limits::Limits;

/// With this masked ping anyport's own sender of bare frames begins.
pub const GREETING: &[u8] = b"anyport/1";

/// Consecutive valid headers that prove frames. Seven more 16-bit patterns in a row, at places that
/// the lengths themselves choose, do not happen by chance.
pub const HEADERS_THAT_PROVE: u64 = 8;

/// What proved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// Eight consecutive valid headers.
    Headers,
    /// The stream ended exactly where a message ended.
    EndOfMessage,
    /// Silence at the border of a frame.
    Silence,
    /// The first frame is a ping with [`GREETING`].
    Greeting,
}

impl Evidence {
    /// In words, for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "eight valid frame headers in a row",
            Self::EndOfMessage => "the stream ended at the end of a message",
            Self::Silence => "a pause at a frame boundary",
            Self::Greeting => "the first frame is a ping with anyport/1",
        }
    }
}

/// Why a candidate is raw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refutation {
    /// A rule of RFC 6455 is broken, so these are no frames.
    #[error("not frames: {0}")]
    Violation(#[from] Violation),
    /// Bytes follow a Close frame.
    #[error("not frames: data after a Close")]
    BytesAfterClose,
    /// The stream ended inside a frame or message, or with no message at all.
    #[error("not confirmed as frames: the stream ended inside a message")]
    Unfinished,
}

/// Where a candidate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Raw so far, and not contradicted.
    Open,
    /// Frames: decode from the first byte on.
    Proven(Evidence),
    /// Raw, for ever.
    Refuted(Refutation),
}

/// Watches a candidate's bytes without changing them.
#[derive(Debug)]
pub struct Proof {
    receiver: Receiver,
    messages: u64,
    standing: Standing,
}

impl Proof {
    /// Before the candidate's first byte. A frame that announces more than `largest_file` bytes
    /// refutes.
    pub fn new(limits: &Limits, largest_file: u64) -> Self {
        let limits = Limits { frame: limits.frame.min(largest_file), ..*limits };
        Self {
            receiver: Receiver::new(Role::Server, &limits),
            messages: 0,
            standing: Standing::Open,
        }
    }

    /// Where it stands after these bytes, which follow those of the calls before.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Standing {
        let mut scratch = [0; SCRATCH];
        while !bytes.is_empty() && self.standing == Standing::Open {
            if self.receiver.is_closed() {
                self.standing = Standing::Refuted(Refutation::BytesAfterClose);
                break;
            }
            // Binary payload proves nothing and needs no look; only its end matters, and `feed`
            // tells it. So all but one byte of it is gone over unseen.
            let unseen = self.receiver.skippable().saturating_sub(1);
            let unseen = usize::try_from(unseen).unwrap_or(usize::MAX).min(bytes.len());
            self.receiver.skip(unseen as u64);
            bytes = &bytes[unseen..];

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
                        self.standing = Standing::Proven(Evidence::Greeting);
                    } else if headers >= HEADERS_THAT_PROVE {
                        self.standing = Standing::Proven(Evidence::Headers);
                    }
                }
                // The eighth header proves before its payload comes, so what the payload breaks in
                // the same bytes comes too late: else the verdict would depend on the cut.
                Err(_) if headers >= HEADERS_THAT_PROVE => {
                    self.standing = Standing::Proven(Evidence::Headers);
                }
                Err(violation) => self.standing = Standing::Refuted(violation.into()),
            }
        }
        self.standing
    }

    /// Where it stands when the stream ends here.
    pub fn end_of_stream(&mut self) -> Standing {
        if self.standing == Standing::Open {
            self.standing = if self.messages > 0 && self.receiver.at_message_border() {
                Standing::Proven(Evidence::EndOfMessage)
            } else {
                Standing::Refuted(Refutation::Unfinished)
            };
        }
        self.standing
    }

    /// Where it stands when nothing came for the detection time.
    pub fn silence(&mut self) -> Standing {
        let border = self.receiver.headers() > 0 && self.receiver.at_frame_border();
        if self.standing == Standing::Open && border {
            self.standing = Standing::Proven(Evidence::Silence);
        }
        self.standing
    }

    /// Whether silence now would prove it, so that it is worth a timer.
    pub fn awaits_silence(&self) -> bool {
        self.standing == Standing::Open
            && self.receiver.headers() > 0
            && self.receiver.at_frame_border()
    }
}

/// Text and control frames are copied here to be unmasked, as the candidate's bytes must stay what
/// they are.
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

    fn standing(pieces: &[&[u8]]) -> Standing {
        let mut proof = Proof::new(&Limits::default(), u64::MAX);
        pieces.iter().for_each(|piece| {
            proof.feed(piece);
        });
        proof.standing
    }

    fn at_end(pieces: &[&[u8]]) -> Standing {
        let mut proof = Proof::new(&Limits::default(), u64::MAX);
        pieces.iter().for_each(|piece| {
            proof.feed(piece);
        });
        proof.end_of_stream()
    }

    #[test]
    fn dt_1_eight_headers_prove_and_seven_do_not() {
        let eight = messages(8, 30);
        every_cut(&eight, |pieces| {
            assert_eq!(standing(pieces), Standing::Proven(Evidence::Headers));
        });
        let mut seven = messages(7, 300);
        assert_eq!(standing(&[&seven]), Standing::Open);
        seven.extend_from_slice(b"\x00\x00 a raw file goes on");
        every_cut(&seven, |pieces| {
            let Standing::Refuted(Refutation::Violation(_)) = standing(pieces) else { panic!() };
        });
    }

    /// Found by the fuzzer: in one piece the payload was judged before the header was counted.
    #[test]
    fn the_eighth_header_proves_whatever_its_payload_is() {
        let mut wire = messages(7, 3);
        wire.extend(hex("81 81 00000000 ff"));
        every_cut(&wire, |pieces| {
            assert_eq!(standing(pieces), Standing::Proven(Evidence::Headers));
        });
    }

    #[test]
    fn dt_1_a_stream_that_ends_with_a_message_is_frames_and_elsewhere_raw() {
        let one = messages(1, 1000);
        every_cut(&one, |pieces| {
            assert_eq!(at_end(pieces), Standing::Proven(Evidence::EndOfMessage));
        });
        for short in 1..one.len() {
            assert_eq!(at_end(&[&one[..short]]), Standing::Refuted(Refutation::Unfinished));
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
        assert_eq!(at_end(&[&wire]), Standing::Refuted(Refutation::Unfinished));
    }

    #[test]
    fn dt_1_silence_proves_only_at_a_border() {
        let one = messages(1, 10);
        let mut proof = Proof::new(&Limits::default(), u64::MAX);
        proof.feed(&one[..one.len() - 1]);
        assert!(!proof.awaits_silence());
        assert_eq!(proof.silence(), Standing::Open);
        proof.feed(&one[one.len() - 1..]);
        assert!(proof.awaits_silence());
        assert_eq!(proof.silence(), Standing::Proven(Evidence::Silence));
    }

    #[test]
    fn dt_1_the_greeting_proves_at_once_and_only_as_the_first_frame() {
        let mut sender = Sender::client(Keys(3));
        let mut wire = Vec::new();
        sender.ping(GREETING, &mut wire);
        every_cut(&wire, |pieces| {
            assert_eq!(standing(pieces), Standing::Proven(Evidence::Greeting));
        });
        let mut late = messages(1, 4);
        late.extend_from_slice(&wire);
        assert_eq!(standing(&[&late]), Standing::Open);
    }

    #[test]
    fn text_must_be_utf_8() {
        // "hello" as a masked text frame passes, the same with one byte broken does not.
        let good = hex("81 85 37fa213d 7f9f4d5158");
        let bad = hex("81 85 37fa213d 7f9f4d51ff");
        assert_eq!(at_end(&[&good]), Standing::Proven(Evidence::EndOfMessage));
        assert_eq!(standing(&[&bad]), Standing::Refuted(Violation::NotUtf8.into()));
    }

    #[test]
    fn a_length_beyond_the_largest_file_is_raw() {
        let one = messages(1, 1000);
        let mut proof = Proof::new(&Limits::default(), 999);
        let refuted = Violation::FrameTooLong { announced: 1000, limit: 999 };
        assert_eq!(proof.feed(&one), Standing::Refuted(refuted.into()));
        let mut proof = Proof::new(&Limits::default(), 1000);
        assert_eq!(proof.feed(&one), Standing::Open);
    }

    #[test]
    fn nothing_may_follow_a_close() {
        let mut wire = messages(1, 5);
        let mut sender = Sender::client(Keys(4));
        sender.close(None, "", &mut wire);
        assert_eq!(at_end(&[&wire]), Standing::Proven(Evidence::EndOfMessage));
        wire.push(0x81);
        assert_eq!(standing(&[&wire]), Standing::Refuted(Refutation::BytesAfterClose));
    }

    #[test]
    fn dt_2_shift_jis_text_that_begins_with_hiragana_stays_raw() {
        // "こんにちは。これはファイルです。" and on: 82 b1 is FIN, binary, MASK, length 49.
        let text = hex("82b182f182c982bf82cd814282b182ea82cd8374834083438 38b82c582b78142 \
            0d0a82a082a282a482a682a8");
        let file = text.repeat(40);
        let Standing::Refuted(_) = at_end(&[&file]) else { panic!("taken for frames") };
    }
}
