//! Forms with files without sockets (`multipart/form-data`, RFC 7578 and RFC 2046 §5.1): pieces of
//! content become parts.
//!
//! ```text
//!   --BOUNDARY␍␊ head ␍␊␍␊ content ␍␊--BOUNDARY␍␊ head … ␍␊--BOUNDARY--
//!   Preamble ──► Head ──► Content ──► Head ──► … ──► Epilogue
//! ```
//!
//! Content is lent from the input. At the end of a piece only the beginning of a delimiter is held
//! back, which need not be copied.

pub(crate) mod disposition;
#[cfg(test)]
mod tests;

use memchr::memmem::{Finder, find};
use memchr::memrchr;

use crate::limits::Limits;
use disposition::Quoting;

/// Reads the content of a form piece by piece.
#[derive(Debug)]
pub struct FormReader {
    /// Line break, two hyphens and the boundary. Only its first byte is a carriage return, so after
    /// a mismatch no other of the matched bytes can begin it.
    delimiter: Finder<'static>,
    state: State,
    /// Bytes of the delimiter that the last piece ended with.
    held: usize,
    /// What follows a delimiter, until the head of the part is complete.
    head: Vec<u8>,
    /// Bytes before the first delimiter, or behind the last one.
    discarded: usize,
    parts: usize,
    limits: Limits,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Preamble,
    /// The rest of the line of a delimiter that may end a part.
    Line,
    Head,
    Content,
    Epilogue,
    Failed(FormError),
}

/// A piece of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A part begins.
    Part(Part),
    /// Content of the part.
    Content(&'a [u8]),
    /// The part is complete.
    PartEnd,
}

/// The head of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Name of the field.
    pub name: String,
    /// Name of the file, not safe yet; `None` or empty for a field without a file.
    pub file_name: Option<Vec<u8>>,
    /// A transfer encoding that changes the content (RFC 7578 §4.7 deprecates them).
    pub encoding: Option<String>,
}

/// Why a form cannot be read further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// The media type names no boundary, or none that is valid.
    #[error("Content-Type has no boundary of 1 to 70 visible characters (RFC 2046 §5.1.1)")]
    Boundary,
    /// A delimiter is followed by other bytes than its line break.
    #[error("a boundary is not the end of its line (RFC 2046 §5.1.1)")]
    Delimiter,
    /// The head of a part is malformed.
    #[error("the head of part {0} is malformed (RFC 7578 §4.2)")]
    Head(usize),
    /// The head of a part is too long.
    #[error("the head of part {part} has more than {limit} bytes")]
    LongHead {
        /// Number of the part, from 1.
        part: usize,
        /// The limit.
        limit: usize,
    },
    /// There are too many parts.
    #[error("the form has more than {0} parts")]
    Parts(usize),
    /// Too many bytes are in no part.
    #[error("more than {0} bytes are outside of all parts of the form")]
    Outside(usize),
    /// The content ends before the form does.
    #[error("the form ends without its last boundary (RFC 2046 §5.1.1)")]
    Incomplete,
}

impl FormReader {
    /// Creates a reader for the value of `Content-Type`.
    ///
    /// # Errors
    /// It has no valid boundary.
    pub fn new(content_type: &[u8], limits: &Limits) -> Result<Self, FormError> {
        let boundary = boundary(content_type).ok_or(FormError::Boundary)?;
        let delimiter = [b"\r\n--", boundary.as_slice()].concat();
        Ok(Self {
            delimiter: Finder::new(&delimiter).into_owned(),
            state: State::Preamble,
            // The first delimiter needs no line break before it.
            held: 2,
            head: Vec::new(),
            discarded: 0,
            parts: 0,
            limits: *limits,
        })
    }

    /// Reads from `input`; returns the number of bytes that were used, and the next event. Without
    /// an event all bytes were used.
    ///
    /// # Errors
    /// The form is malformed or exceeds a limit; all later calls return the same error.
    pub fn read<'a>(
        &'a mut self,
        input: &'a [u8],
    ) -> Result<(usize, Option<Event<'a>>), FormError> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match &self.state {
                State::Failed(error) => return Err(error.clone()),
                _ if rest.is_empty() => return Ok((used, None)),
                State::Preamble | State::Content => {
                    let scanned = self.scan(rest);
                    used += scanned.used;
                    let is_content = self.state == State::Content;
                    if scanned.is_delimiter {
                        self.state = if is_content { State::Line } else { State::Head };
                        continue;
                    }
                    let (held, count) = (scanned.held, scanned.content);
                    if !is_content {
                        self.outside(held + count)?;
                    } else if held > 0 {
                        return Ok((used, Some(Event::Content(&self.delimiter.needle()[..held]))));
                    } else if count > 0 {
                        return Ok((used, Some(Event::Content(&rest[..count]))));
                    }
                }
                State::Line => {
                    // Content ends only where the whole line is a delimiter.
                    let (count, is_complete) = match self.read_line(rest) {
                        Ok(read) => read,
                        Err(error) => return self.fail(error),
                    };
                    used += count;
                    if is_complete {
                        return Ok((used, Some(Event::PartEnd)));
                    }
                }
                State::Head => {
                    let (count, part) = match self.read_head(rest) {
                        Ok(read) => read,
                        Err(error) => return self.fail(error),
                    };
                    used += count;
                    if let Some(part) = part {
                        self.state = State::Content;
                        return Ok((used, Some(Event::Part(part))));
                    }
                }
                State::Epilogue => {
                    self.outside(rest.len())?;
                    return Ok((input.len(), None));
                }
            }
        }
    }

    /// Checks that the form is complete at the end of the content.
    ///
    /// # Errors
    /// It is not.
    pub fn finish(&self) -> Result<(), FormError> {
        match &self.state {
            State::Epilogue => Ok(()),
            State::Failed(error) => Err(error.clone()),
            _ => Err(FormError::Incomplete),
        }
    }

    /// Scans for the delimiter. Exactly one of content, held bytes that are content after all, and
    /// the delimiter is found, or none of them if all bytes are held.
    fn scan(&mut self, input: &[u8]) -> Scanned {
        let needle = self.delimiter.needle();
        if self.held > 0 {
            let left = &needle[self.held..];
            let same = left.iter().zip(input).take_while(|(one, other)| one == other).count();
            if same == left.len() {
                self.held = 0;
                return Scanned { used: same, is_delimiter: true, ..Scanned::default() };
            }
            if same == input.len() {
                self.held += same;
                return Scanned { used: same, ..Scanned::default() };
            }
            let held = std::mem::take(&mut self.held) + same;
            return Scanned { used: same, held, ..Scanned::default() };
        }
        match self.delimiter.find(input) {
            Some(0) => Scanned { used: needle.len(), is_delimiter: true, ..Scanned::default() },
            Some(at) => Scanned { used: at, content: at, ..Scanned::default() },
            None => {
                let from = input.len().saturating_sub(needle.len() - 1);
                let begun = memrchr(b'\r', &input[from..]).map(|at| from + at);
                let begun = begun.filter(|at| needle.starts_with(&input[*at..]));
                let content = begun.unwrap_or(input.len());
                self.held = input.len() - content;
                Scanned { used: input.len(), content, ..Scanned::default() }
            }
        }
    }

    /// Reads the rest of the line of a delimiter behind content; returns the number of bytes, and
    /// whether the line is complete.
    fn read_line(&mut self, input: &[u8]) -> Result<(usize, bool), FormError> {
        for (at, byte) in input.iter().enumerate() {
            // Before it are only blanks, unless the last byte says otherwise.
            let last = self.head.last().copied();
            self.head.push(*byte);
            match (last, *byte) {
                (None | Some(b' ' | b'\t'), b' ' | b'\t' | b'\r') | (None, b'-') => {}
                (Some(b'-'), b'-') => {
                    self.head.clear();
                    self.state = State::Epilogue;
                    return Ok((at + 1, true));
                }
                (Some(b'\r'), b'\n') => {
                    self.state = State::Head;
                    return Ok((at + 1, true));
                }
                _ => return Err(FormError::Delimiter),
            }
            let (part, limit) = (self.parts + 1, self.limits.part_head);
            if self.head.len() > limit {
                return Err(FormError::LongHead { part, limit });
            }
        }
        Ok((input.len(), false))
    }

    /// Reads what follows a delimiter: the head of a part, or the end of the form.
    fn read_head(&mut self, input: &[u8]) -> Result<(usize, Option<Part>), FormError> {
        let (limit, before) = (self.limits.part_head, self.head.len());
        let room = (limit + BREAKS.len()).saturating_sub(before);
        self.head.extend_from_slice(&input[..input.len().min(room)]);
        if self.head.starts_with(b"--") {
            self.head.clear();
            self.state = State::Epilogue;
            return Ok((2 - before, None));
        }
        // Of one hyphen it is not known yet whether it is the end.
        let is_line = self.head.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
        if is_line.is_some_and(|byte| *byte != b'\r' && self.head != b"-") {
            return Err(FormError::Delimiter);
        }
        let part = self.parts + 1;
        let Some(end) = find(&self.head[before.saturating_sub(3)..], BREAKS) else {
            return match input.len() < room {
                true => Ok((input.len(), None)),
                false => Err(FormError::LongHead { part, limit }),
            };
        };
        let end = before.saturating_sub(3) + end + BREAKS.len();
        if part > self.limits.parts {
            return Err(FormError::Parts(self.limits.parts));
        }
        self.parts = part;
        let parsed = parse_head(&self.head[..end]).ok_or(FormError::Head(part))?;
        self.head.clear();
        Ok((end - before, Some(parsed)))
    }

    /// Counts bytes that are in no part.
    fn outside(&mut self, count: usize) -> Result<(), FormError> {
        self.discarded = self.discarded.saturating_add(count);
        let limit = self.limits.part_head;
        if self.discarded > limit {
            return self.fail(FormError::Outside(limit));
        }
        Ok(())
    }

    fn fail<T>(&mut self, error: FormError) -> Result<T, FormError> {
        self.state = State::Failed(error.clone());
        Err(error)
    }
}

/// The result of a scan.
#[derive(Debug, Default)]
struct Scanned {
    used: usize,
    /// Bytes of the input that are content.
    content: usize,
    /// Bytes of the delimiter that are content.
    held: usize,
    is_delimiter: bool,
}

/// Returns the boundary in a media type.
fn boundary(content_type: &[u8]) -> Option<Vec<u8>> {
    let found = disposition::boundary(content_type)?;
    let is_visible = found.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let fits = (1..=LONGEST_BOUNDARY).contains(&found.len()) && !found.ends_with(b" ");
    (is_visible && fits).then_some(found)
}

/// Parses the head of a part, with the rest of the line of its delimiter before it.
fn parse_head(text: &[u8]) -> Option<Part> {
    let line = find(text, b"\r\n")?;
    let fields = &text[line + 2..];
    if !text[..line].iter().all(|byte| matches!(byte, b' ' | b'\t')) {
        return None;
    }
    let mut parsed = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let status = httparse::parse_headers(fields, &mut parsed).ok()?;
    let httparse::Status::Complete((used, parsed)) = status else { return None };
    if used != fields.len() {
        return None;
    }
    let value = |name: &str| {
        let mut found = parsed.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        found.next().map(|field| field.value)
    };
    let found = disposition::parse(value("content-disposition")?, Quoting::Form)?;
    let encoding = value("content-transfer-encoding").map(String::from_utf8_lossy);
    let encoding = encoding.map(|encoding| encoding.trim().to_ascii_lowercase());
    Some(Part {
        name: String::from_utf8_lossy(&found.name.unwrap_or_default()).into_owned(),
        file_name: found.file_name,
        encoding: encoding.filter(|encoding| !UNCHANGED.contains(&encoding.as_str())),
    })
}

/// The end of a line and an empty one.
const BREAKS: &[u8] = b"\r\n\r\n";

/// Maximum length of a boundary (RFC 2046 §5.1.1).
const LONGEST_BOUNDARY: usize = 70;

/// Maximum number of fields of a part. Three are defined (RFC 7578 §4.8); some clients add others.
const MOST_FIELDS: usize = 16;

/// The transfer encodings that leave content as it is (RFC 2045 §6.2).
const UNCHANGED: [&str; 3] = ["7bit", "8bit", "binary"];
