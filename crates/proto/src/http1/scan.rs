//! The incremental scan for the end of a head (RFC 9112 §2.1, §2.2).
//!
//! Each byte is scanned once, in any segmentation; parsing happens once, when the head is complete.
//! What the lines alone show to be invalid is refused at the byte that decides, so every
//! segmentation gets the same error: bare line feeds, stray carriage returns, control bytes, folded
//! fields, and all limits.

use super::error::HeadError;
use crate::limits::Limits;

/// Result of pushing input into a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed<H> {
    /// The head is incomplete; all input was consumed.
    NeedMore,
    /// The head is complete, and the reader is ready for the next one.
    Done {
        /// The head.
        head: H,
        /// Bytes of this input that belong to it.
        used: usize,
    },
}

/// Keeps the bytes of one head until its empty line.
#[derive(Debug, Default)]
pub(super) struct Scan {
    bytes: Vec<u8>,
    /// Lines that have ended, the start line included.
    lines: usize,
    line_start: usize,
    after_carriage_return: bool,
    /// A violation is terminal: the start of the next head is unknown.
    failed: Option<HeadError>,
}

impl Scan {
    /// Returns a scan for fields without a start line: trailers.
    pub(super) fn of_fields() -> Self {
        Self { lines: 1, ..Self::default() }
    }

    /// Returns whether no byte has arrived.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Consumes bytes up to the end of the head; then calls `parse` with the whole head, and
    /// resets.
    pub(super) fn push<H>(
        &mut self,
        input: &[u8],
        limits: &Limits,
        start_line: usize,
        parse: impl FnOnce(Vec<u8>, &Limits) -> Result<H, HeadError>,
    ) -> Result<Pushed<H>, HeadError> {
        let pushed = match &self.failed {
            Some(error) => Err(error.clone()),
            None => self.find_end(input, limits, start_line),
        };
        let pushed = pushed.and_then(|used| match used {
            None => Ok(Pushed::NeedMore),
            Some(used) => {
                let whole = std::mem::take(self).bytes;
                Ok(Pushed::Done { head: parse(whole, limits)?, used })
            }
        });
        if let Err(error) = &pushed {
            *self = Self { failed: Some(error.clone()), ..Self::default() };
        }
        pushed
    }

    /// Returns the number of bytes in memory.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    fn find_end(
        &mut self,
        input: &[u8],
        limits: &Limits,
        start_line: usize,
    ) -> Result<Option<usize>, HeadError> {
        let held = self.bytes.len();
        for (index, byte) in input.iter().enumerate() {
            if self.take(held + index, *byte, limits, start_line)? {
                let used = index + 1;
                self.bytes.extend_from_slice(&input[..used]);
                return Ok(Some(used));
            }
        }
        self.bytes.extend_from_slice(input);
        Ok(None)
    }

    /// Scans the byte at offset `at` of the head; returns whether it is the last one.
    fn take(
        &mut self,
        at: usize,
        byte: u8,
        limits: &Limits,
        start_line: usize,
    ) -> Result<bool, HeadError> {
        if at >= limits.head {
            return Err(HeadError::TooLong { limit: limits.head });
        }
        if self.lines == 0 && at >= start_line {
            return Err(HeadError::StartLineTooLong { limit: start_line });
        }
        let first_of_line = at == self.line_start;
        match byte {
            b'\n' if self.after_carriage_return => return self.end_line(at),
            _ if self.after_carriage_return => return Err(HeadError::StrayCarriageReturn),
            b'\n' => return Err(HeadError::BareLineFeed),
            b'\r' => self.after_carriage_return = true,
            b' ' | b'\t' if first_of_line && self.lines > 0 => return Err(HeadError::FoldedField),
            b'\t' => {}
            _ if byte.is_ascii_control() => return Err(HeadError::ControlByte(byte)),
            _ if first_of_line && self.lines > limits.fields => {
                return Err(HeadError::TooManyFields { limit: limits.fields });
            }
            _ => {}
        }
        Ok(false)
    }

    /// Returns whether the line that ends at `at` is the empty one after the fields.
    fn end_line(&mut self, at: usize) -> Result<bool, HeadError> {
        let empty = at == self.line_start + 1;
        if empty && self.lines == 0 {
            return Err(HeadError::EmptyStartLine);
        }
        self.lines += 1;
        self.line_start = at + 1;
        self.after_carriage_return = false;
        Ok(empty)
    }
}
