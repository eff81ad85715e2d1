//! Lines of a stream: buffered only while they are incomplete, and never beyond a limit.

use std::borrow::Cow;

/// Finds the end of a line in any segmentation, and buffers no more than the line.
#[derive(Debug, Clone)]
pub struct LineReader {
    held: Vec<u8>,
    limit: usize,
}

/// The result of [`LineReader::push`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed<'a> {
    /// Bytes of the input that belong to the line, its line feed included; the rest is what follows
    /// it.
    pub used: usize,
    /// The line without its line feed and a CR before it; `None` if it is incomplete.
    ///
    /// Borrowed unless it arrived in pieces.
    pub line: Option<Cow<'a, [u8]>>,
}

/// A line exceeds its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no line feed within {limit} bytes")]
pub struct LineTooLong {
    /// Maximum size of a line, line feed included.
    pub limit: usize,
}

impl LineReader {
    /// Returns a reader of lines of at most `limit` bytes, line feed included.
    pub fn new(limit: usize) -> Self {
        Self { held: Vec::new(), limit }
    }

    /// Returns whether it is between two lines.
    pub const fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Reads the next bytes.
    ///
    /// After a line the reader is ready for another; an error is terminal.
    pub fn push<'a>(&mut self, input: &'a [u8]) -> Result<Pushed<'a>, LineTooLong> {
        let room = self.limit - self.held.len();
        let window = &input[..input.len().min(room)];
        if let Some(at) = window.iter().position(|byte| *byte == b'\n') {
            let line = if self.held.is_empty() {
                Cow::Borrowed(without_cr(&window[..at]))
            } else {
                let mut line = std::mem::take(&mut self.held);
                line.extend_from_slice(&window[..at]);
                line.truncate(without_cr(&line).len());
                Cow::Owned(line)
            };
            return Ok(Pushed { used: at + 1, line: Some(line) });
        }
        self.held.extend_from_slice(window);
        // A line feed would now be one byte too many, so waiting is useless.
        if self.held.len() == self.limit {
            return Err(LineTooLong { limit: self.limit });
        }
        Ok(Pushed { used: window.len(), line: None })
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use anyport_testkit::{cut_at, every_cut};
    use proptest::prelude::*;

    use super::*;

    /// Pushes all pieces; returns the lines, and the bytes after the last one.
    fn lines_of(limit: usize, pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, LineTooLong> {
        let mut reader = LineReader::new(limit);
        let mut lines = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let pushed = reader.push(rest)?;
                lines.extend(pushed.line.map(Cow::into_owned));
                rest = &rest[pushed.used..];
            }
        }
        Ok(lines)
    }

    #[test]
    fn lines_do_not_depend_on_segmentation() {
        every_cut(b"one\r\ntw\ro\n\n\r\nrest", |pieces| {
            let lines = lines_of(5, pieces).unwrap();
            assert_eq!(lines, [&b"one"[..], b"tw\ro", b"", b""]);
        });
    }

    #[test]
    fn bytes_after_a_line_stay_with_the_caller() {
        let mut reader = LineReader::new(64);
        let pushed = reader.push(b"END\ncontent\n").unwrap();
        assert_eq!(pushed, Pushed { used: 4, line: Some(Cow::Borrowed(b"END")) });
        assert_eq!(reader.push(b"").unwrap(), Pushed { used: 0, line: None });
    }

    #[test]
    fn a_line_of_the_limit_passes_and_one_byte_more_does_not() {
        every_cut(b"abcd\n", |pieces| {
            assert_eq!(lines_of(5, pieces), Ok(vec![b"abcd".to_vec()]));
            assert_eq!(lines_of(4, pieces), Err(LineTooLong { limit: 4 }));
        });
        assert_eq!(LineTooLong { limit: 4 }.to_string(), "no line feed within 4 bytes");
    }

    #[test]
    fn a_line_too_long_stays_too_long_and_is_not_buffered() {
        let mut reader = LineReader::new(4);
        assert!(reader.push(&[b'a'; 1 << 20]).is_err());
        assert!(reader.push(b"\n").is_err());
        assert!(reader.push(b"").is_err());
        assert!(reader.held.capacity() <= 8);
        assert!(LineReader::new(0).push(b"\n").is_err());
    }

    #[test]
    fn a_reader_allocates_nothing_ahead() {
        let mut reader = LineReader::new(1 << 30);
        reader.push(b"ANY").unwrap();
        assert!(reader.held.capacity() <= 8);
    }

    proptest! {
        #[test]
        fn any_segmentation_gives_the_same_lines_or_the_same_refusal(
            wire in prop::collection::vec(prop::sample::select(b"\r\nab".to_vec()), 0..40),
            places in prop::collection::vec(any::<usize>(), 0..6),
            limit in 1..8usize,
        ) {
            // The oracle: complete lines, and no line, complete or not, beyond the limit.
            let mut lines: Vec<&[u8]> = wire.split(|byte| *byte == b'\n').collect();
            let unended = lines.pop().unwrap();
            let expected = if lines.iter().chain([&unended]).any(|line| line.len() >= limit) {
                Err(LineTooLong { limit })
            } else {
                Ok(lines.into_iter().map(|line| without_cr(line).to_vec()).collect())
            };
            prop_assert_eq!(lines_of(limit, &cut_at(&wire, &places)), expected);
        }
    }
}
