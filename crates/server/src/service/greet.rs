//! Lines that peers send after a greeting, reported to the observer.

use std::sync::Arc;

use anyport_proto::peer::Peer;
use anyport_proto::visible::make_visible;

use crate::events::{Answered, Events};

/// The lines of one peer.
pub(crate) struct Answers {
    events: Arc<Events>,
    peer: Peer,
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    /// Whether its rest was discarded.
    cut: bool,
    /// Number of complete lines.
    lines: usize,
}

impl Answers {
    pub(crate) const fn new(events: Arc<Events>, peer: Peer) -> Self {
        Self { events, peer, line: Vec::new(), cut: false, lines: 0 }
    }

    /// Returns whether a line has begun and is incomplete.
    pub(crate) const fn is_in_line(&self) -> bool {
        !self.line.is_empty()
    }

    /// Reads the next bytes; returns whether more are wanted.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> bool {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece {
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            let kept = text.len().min(MAX_LINE - self.line.len());
            self.line.extend_from_slice(&text[..kept]);
            self.cut |= kept < text.len();
            if ends {
                self.end();
                self.lines += 1;
            }
            if self.lines == MAX_LINES {
                return false;
            }
        }
        true
    }

    /// Ends the input: the last line may lack its line end.
    pub(crate) fn end(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let text = match std::mem::take(&mut self.cut) {
            // The cut may have split a character.
            true => {
                format!("{}…", make_visible(text.trim_end_matches(char::REPLACEMENT_CHARACTER)))
            }
            false => make_visible(text.trim_end_matches('\r')).into_owned(),
        };
        self.line.clear();
        if !text.is_empty() {
            self.events.answered(&Answered { peer: self.peer, text });
        }
    }
}

/// Maximum size of a line, more than a person types; the rest is discarded.
const MAX_LINE: usize = 1024;

/// Maximum number of lines of a peer.
const MAX_LINES: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use anyport_proto::transfer::receipt::Receipt;

    use super::*;
    use crate::events::{Interrupted, Observer, Refused};

    #[derive(Default)]
    struct Book(Mutex<Vec<String>>);

    impl Observer for Arc<Book> {
        fn receipt(&self, _: &Receipt) {}
        fn interrupted(&self, _: &Interrupted) {}
        fn refused(&self, _: &Refused) {}
        fn answered(&self, answer: &Answered) {
            self.0.lock().unwrap().push(answer.text.clone());
        }
    }

    /// Returns the reported lines, and whether more were wanted after each piece.
    fn reported(pieces: &[&[u8]]) -> (Vec<String>, Vec<bool>) {
        let book = Arc::new(Book::default());
        let mut answers = Answers::new(Events::new(book.clone()), "[::1]:1".parse().unwrap());
        let wanted = pieces.iter().map(|piece| answers.data(piece)).collect();
        answers.end();
        (std::mem::take(&mut book.0.lock().unwrap()), wanted)
    }

    #[test]
    fn complete_lines_and_the_last_incomplete_one_are_reported() {
        let (lines, wanted) = reported(&[b"he", b"llo\r\n\nyou", b" there\nbye"]);
        assert_eq!(lines, ["hello", "you there", "bye"]);
        assert_eq!(wanted, [true; 3]);
    }

    #[test]
    fn nothing_in_an_answer_steers_a_terminal() {
        assert_eq!(reported(&[b"\x1b[31mred\rgreen\xff\n"]).0, ["␛[31mred␍green�"]);
    }

    #[test]
    fn a_line_is_cut_and_keeps_no_more_than_its_limit() {
        let fits = [&b"x".repeat(MAX_LINE)[..], b"\nnext\n"].concat();
        assert_eq!(reported(&[&fits]).0, ["x".repeat(MAX_LINE), "next".to_owned()]);
        let long = [&b"x".repeat(MAX_LINE - 1)[..], "üü".as_bytes(), b"\nnext\n"].concat();
        let expected = ["x".repeat(MAX_LINE - 1) + "…", "next".to_owned()];
        assert_eq!(reported(&[&long]).0, expected);
        let bytes: Vec<&[u8]> = long.chunks(1).collect();
        assert_eq!(reported(&bytes).0, expected);
    }

    #[test]
    fn lines_are_counted_empty_ones_too() {
        let (lines, wanted) = reported(&[&b"\n".repeat(MAX_LINES - 2), b"one\n", b"two\nthree\n"]);
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(wanted, [true, true, false]);
    }
}
