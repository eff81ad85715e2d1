//! Follows the frames that a client sends (RFC 9113 §4.1), only to notice something that has begun
//! and must be completed: the preface, a head with its continuations, any frame but DATA, whose
//! content may be slow.
//!
//! ```text
//!   Preface ──► Header ──► Payload ──► Header …      a head: HEADERS … END_HEADERS
//! ```
//!
//! A library that reads complete frames only notices that the stream is idle.

use super::frame::{CONTINUATION, DATA, END_HEADERS, HEADER, HEADERS, WINDOW_UPDATE};

/// The position of a client within its frames.
#[derive(Debug, Clone)]
pub struct Frames {
    state: State,
    /// A head has begun and not ended.
    in_head: bool,
    /// Number of completed elements.
    finished: u64,
    /// Number of complete WINDOW_UPDATE frames.
    grants: u64,
}

#[derive(Debug, Clone)]
enum State {
    /// The rest of the preface, then the first frame.
    Preface { left: usize },
    /// A frame header, of which some bytes arrived.
    Header { bytes: [u8; HEADER], filled: usize },
    /// The rest of a payload.
    Payload { left: usize, kind: Kind },
}

/// The relevance of a frame here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    /// HEADERS or CONTINUATION; whether it is the last one of a head.
    Head {
        ends: bool,
    },
    WindowUpdate,
    Other,
}

impl Frames {
    /// Returns the state before the first byte of the preface.
    pub const fn new() -> Self {
        Self { state: State::Preface { left: PREFACE }, in_head: false, finished: 0, grants: 0 }
    }

    /// Reads the next bytes of the stream.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            match &mut self.state {
                State::Preface { left } => {
                    let used = bytes.len().min(*left);
                    *left = left.saturating_sub(used);
                    bytes = bytes.get(used..).unwrap_or_default();
                    if *left == 0 {
                        self.state = State::BETWEEN;
                    }
                }
                State::Header { bytes: header, filled } => {
                    if let Some(place) = header.get_mut(*filled) {
                        *place = *first;
                    }
                    *filled = filled.saturating_add(1);
                    bytes = bytes.get(1..).unwrap_or_default();
                    if *filled == HEADER {
                        let header = *header;
                        self.begin(header);
                    }
                }
                State::Payload { left, kind } => {
                    let used = bytes.len().min(*left);
                    *left = left.saturating_sub(used);
                    bytes = bytes.get(used..).unwrap_or_default();
                    if *left == 0 {
                        let kind = *kind;
                        self.end(kind);
                    }
                }
            }
        }
    }

    /// Returns whether something has begun that must be completed.
    pub const fn is_unfinished(&self) -> bool {
        self.in_head
            || match &self.state {
                State::Preface { .. } => true,
                State::Header { filled, .. } => *filled > 0,
                State::Payload { kind, .. } => !matches!(kind, Kind::Data),
            }
    }

    /// Returns the number of completed elements: if it changed, the unfinished one is another.
    pub const fn finished(&self) -> u64 {
        self.finished
    }

    /// Returns how often the peer made room for content, which it does when it has read some.
    pub const fn grants(&self) -> u64 {
        self.grants
    }

    fn begin(&mut self, header: [u8; HEADER]) {
        let [high, middle, low, kind, flags, ..] = header;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let ends = flags & END_HEADERS != 0;
        let kind = match kind {
            DATA => Kind::Data,
            HEADERS | CONTINUATION => Kind::Head { ends },
            WINDOW_UPDATE => Kind::WindowUpdate,
            _ => Kind::Other,
        };
        self.in_head |= matches!(kind, Kind::Head { .. });
        if length == 0 {
            return self.end(kind);
        }
        self.state = State::Payload { left: length, kind };
    }

    fn end(&mut self, kind: Kind) {
        if kind == (Kind::Head { ends: true }) {
            self.in_head = false;
        }
        if kind == Kind::WindowUpdate {
            self.grants = self.grants.saturating_add(1);
        }
        if !self.in_head {
            self.finished = self.finished.saturating_add(1);
        }
        self.state = State::BETWEEN;
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    const BETWEEN: Self = Self::Header { bytes: [0; HEADER], filled: 0 };
}

/// Size of a client's preface (§3.4).
const PREFACE: usize = 24;

#[cfg(test)]
mod tests {
    use anyport_testkit::every_cut;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = (payload as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.resize(HEADER + payload, b'x');
        frame
    }

    /// Returns the preface and SETTINGS, then `frames`.
    fn after_the_preface(frames: &[&[u8]]) -> Vec<u8> {
        let settings = frame(4, 0, 6);
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], &frames.concat()].concat()
    }

    /// Returns whether something is unfinished at the end, in every segmentation.
    fn unfinished(wire: &[u8]) -> bool {
        let mut whole = Frames::new();
        whole.push(wire);
        every_cut(wire, |pieces| {
            let mut frames = Frames::new();
            pieces.iter().for_each(|piece| frames.push(piece));
            assert_eq!(frames.is_unfinished(), whole.is_unfinished());
            assert_eq!(frames.finished(), whole.finished());
            assert_eq!(frames.grants(), whole.grants());
        });
        whole.is_unfinished()
    }

    #[test]
    fn h2_1_a_head_is_unfinished_until_end_headers() {
        assert!(unfinished(b"PRI * HTTP/2.0"));
        assert!(!unfinished(&after_the_preface(&[])));
        let begun = frame(HEADERS, 0, 5);
        assert!(unfinished(&after_the_preface(&[&begun])));
        let more = frame(CONTINUATION, 0, 5);
        assert!(unfinished(&after_the_preface(&[&begun, &more])));
        let last = frame(CONTINUATION, END_HEADERS, 0);
        assert!(!unfinished(&after_the_preface(&[&begun, &more, &last])));
        assert!(!unfinished(&after_the_preface(&[&frame(HEADERS, END_HEADERS, 5)])));
        assert!(unfinished(&after_the_preface(&[&frame(HEADERS, END_HEADERS, 5)[..12]])));
    }

    #[test]
    fn h2_1_only_content_may_be_slow() {
        let data = frame(DATA, 0, 100);
        assert!(!unfinished(&after_the_preface(&[&data[..50]])));
        assert!(unfinished(&after_the_preface(&[&data[..5]])));
        let ping = frame(6, 0, 8);
        assert!(unfinished(&after_the_preface(&[&ping[..12]])));
        assert!(!unfinished(&after_the_preface(&[&ping])));
    }

    #[test]
    fn a_window_update_counts_when_its_frame_is_complete() {
        let grant = frame(WINDOW_UPDATE, 0, 4);
        let mut frames = Frames::new();
        frames.push(&after_the_preface(&[&frame(DATA, 0, 4), &grant, &grant[..12]]));
        assert_eq!(frames.grants(), 1);
        frames.push(&grant[12..]);
        assert_eq!(frames.grants(), 2);
    }

    #[test]
    fn a_new_unfinished_element_is_distinguished() {
        let head = frame(HEADERS, END_HEADERS, 5);
        let mut frames = Frames::new();
        frames.push(&after_the_preface(&[&head, &head[..10]]));
        let before = frames.finished();
        assert!(frames.is_unfinished());
        frames.push(&head[10..]);
        frames.push(&head[..10]);
        assert!(frames.is_unfinished());
        assert_eq!(frames.finished(), before + 1);
    }
}
