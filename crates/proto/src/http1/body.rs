//! The content of a request: its framing, and its end (RFC 9112 §6, §7.1).
//!
//! [`BodyReader`] accepts bytes in any segmentation and lends the content in them back, piece by
//! piece: nothing is copied, and no announced size allocates memory. The framing of chunked content
//! is as strict as a head: sizes are only hexadecimal digits, lines end in CR LF, trailers have the
//! rules and limits of fields and are dropped.
//!
//! ```text
//!   Size ──► (Extension) ──► SizeEnd ──► Data ──► DataCr ──► DataLf ──► Size …
//!                               └ size 0 ──► Trailers ──► Done
//! ```

use http::StatusCode;
use http::header;

use super::error::HeadError;
use super::fields::{self, field_error, field_slots};
use super::head::RequestHead;
use super::scan::{Pushed, Scan};
use crate::limits::Limits;

/// The framing that a head announces for its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No content.
    None,
    /// This many bytes, possibly none.
    Length(u64),
    /// Chunks until an empty one, then trailers; or HTTP/2 frames.
    Chunked,
}

impl Framing {
    /// Returns the framing of a request's content (RFC 9112 §6.3).
    ///
    /// Both fields in one head, or one of them repeated, was refused with the head.
    ///
    /// # Errors
    /// A transfer coding other than `chunked` alone, or a length beyond [`MAX_LENGTH`].
    pub fn of(head: &RequestHead) -> Result<Self, BodyError> {
        let mut codings = head.fields.get_all(header::TRANSFER_ENCODING).iter();
        match (codings.next(), codings.next()) {
            (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
                Ok(Self::Chunked)
            }
            (Some(coding), None) if ends_in_chunked(coding.as_bytes()) => {
                Err(BodyError::UnknownCoding)
            }
            (Some(_), _) => Err(BodyError::NotChunked),
            (None, _) => match head.content_length() {
                Some(length) if length > MAX_LENGTH => Err(BodyError::Length),
                Some(length) => Ok(Self::Length(length)),
                None => Ok(Self::None),
            },
        }
    }

    /// Returns the framing of HTTP/2 content (RFC 9113 §8.1.1); `ended`: the stream ended with the
    /// head.
    ///
    /// The framing layer enforces the length of the field.
    ///
    /// # Errors
    /// A length beyond [`MAX_LENGTH`].
    pub fn of_http2(head: &RequestHead, ended: bool) -> Result<Self, BodyError> {
        match head.content_length() {
            Some(length) if length > MAX_LENGTH => Err(BodyError::Length),
            Some(length) => Ok(Self::Length(length)),
            // A method that should have content has empty content.
            None if ended => Ok(Self::Length(0)),
            None => Ok(Self::Chunked),
        }
    }

    /// Returns whether no byte of content follows the head.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// Finds the content of one request in the bytes after its head.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    /// Size in the chunk line that is being read.
    size: u64,
    /// Bytes of extensions so far, in all chunks.
    extensions: usize,
}

/// The result of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Content; empty only if the input is used up, or the content has ended.
    pub content: &'a [u8],
    /// Number of input bytes that were used, for content and framing.
    pub used: usize,
}

#[derive(Debug)]
enum State {
    /// Content of an announced length.
    Length { left: u64 },
    /// The digits of a chunk's size.
    Size { digits: u8 },
    /// The extension after a size, which is ignored.
    Extension,
    /// The LF of a size's line.
    SizeEnd,
    /// Content of a chunk, at least one byte.
    Data { left: u64 },
    /// The CR after it.
    DataCr,
    /// The LF after it.
    DataLf,
    /// The trailers, up to the empty line.
    Trailers(Scan),
    /// The content is complete.
    Done,
    /// A violation is terminal: the start of the next request is unknown.
    Failed(BodyError),
}

impl BodyReader {
    /// Returns a reader at the first byte after the head.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(left) => length(left),
            Framing::Chunked => State::Size { digits: 0 },
        };
        Self { state, size: 0, extensions: 0 }
    }

    /// Returns whether the content and its framing are complete.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Returns whether the next byte is content, and not framing.
    pub const fn is_in_content(&self) -> bool {
        matches!(self.state, State::Length { .. } | State::Data { .. })
    }

    /// Returns how many bytes are missing, if the head announced their number.
    pub const fn left(&self) -> Option<u64> {
        match self.state {
            State::Length { left } => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Records that `count` bytes of content arrived without [`Self::read`].
    pub fn pass(&mut self, count: u64) {
        if let State::Length { left } = self.state {
            self.state = length(left.saturating_sub(count));
        }
    }

    /// Returns the next content in `input`.
    ///
    /// Call it again with the unused rest until that is empty or the content is complete.
    ///
    /// # Errors
    /// The first byte that violates a rule. An error is terminal: each later call repeats it.
    pub fn read<'a>(&mut self, input: &'a [u8], limits: &Limits) -> Result<Piece<'a>, BodyError> {
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            match &mut self.state {
                State::Length { left } => {
                    let content = front(rest, *left);
                    self.state = length(left.saturating_sub(content.len() as u64));
                    return Ok(Piece { content, used: used + content.len() });
                }
                State::Data { left } => {
                    let content = front(rest, *left);
                    let left = left.saturating_sub(content.len() as u64);
                    self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                    return Ok(Piece { content, used: used + content.len() });
                }
                State::Trailers(scan) => match scan.push(rest, limits, limits.head, check_trailers)
                {
                    Ok(Pushed::NeedMore) => used = input.len(),
                    Ok(Pushed::Done { head: (), used: of_trailers }) => {
                        self.state = State::Done;
                        used += of_trailers;
                    }
                    Err(error) => return Err(self.fail(BodyError::Trailer(error))),
                },
                State::Done => break,
                State::Failed(error) => return Err(error.clone()),
                _ => {
                    self.line_byte(rest[0], limits).map_err(|error| self.fail(error))?;
                    used += 1;
                }
            }
        }
        Ok(Piece { content: &[], used })
    }

    /// Reads one byte of the lines around a chunk.
    fn line_byte(&mut self, byte: u8, limits: &Limits) -> Result<(), BodyError> {
        let next = match (&self.state, byte) {
            (State::Size { digits }, _) if byte.is_ascii_hexdigit() => {
                if *digits == MAX_SIZE_DIGITS {
                    return Err(BodyError::ChunkTooLong);
                }
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                self.size = self.size << 4 | digit;
                State::Size { digits: digits + 1 }
            }
            (State::Size { digits: 1.. }, b'\r') => State::SizeEnd,
            (State::Size { digits: 1.. }, b';') => State::Extension,
            (State::Size { digits: 1.. } | State::Extension | State::DataCr, b'\n') => {
                return Err(BodyError::BareLineFeed);
            }
            (State::Size { .. }, _) => return Err(BodyError::ChunkSize),
            (State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extensions += 1;
                if self.extensions > limits.chunk_extensions {
                    return Err(BodyError::ExtensionsTooLong { limit: limits.chunk_extensions });
                }
                State::Extension
            }
            (State::Extension, _) => return Err(BodyError::ControlByte(byte)),
            (State::SizeEnd, b'\n') if self.size == 0 => State::Trailers(Scan::of_fields()),
            (State::SizeEnd, b'\n') => State::Data { left: self.size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.size = 0;
                State::Size { digits: 0 }
            }
            (State::SizeEnd | State::DataLf, _) => return Err(BodyError::StrayCarriageReturn),
            // Only the ends of chunks are left; everything else is read in larger pieces.
            _ => return Err(BodyError::ChunkEnd),
        };
        self.state = next;
        Ok(())
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        self.state = State::Failed(error.clone());
        error
    }
}

/// Why content is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// A transfer coding before `chunked`.
    #[error("unsupported transfer coding; expected chunked (RFC 9112 §6.1)")]
    UnknownCoding,
    /// The last transfer coding is not `chunked`, or there is more than one field.
    #[error("Transfer-Encoding does not end with a single chunked (RFC 9112 §6.3)")]
    NotChunked,
    /// A length beyond [`MAX_LENGTH`].
    #[error("Content-Length exceeds {MAX_LENGTH} (RFC 9110 §8.6)")]
    Length,
    /// A chunk line does not begin with hexadecimal digits, or something else than an extension
    /// follows them.
    #[error("malformed chunk size (RFC 9112 §7.1)")]
    ChunkSize,
    /// More digits than a number of 64 bits has.
    #[error("chunk size of more than {MAX_SIZE_DIGITS} digits (RFC 9112 §7.1)")]
    ChunkTooLong,
    /// More extensions than [`Limits::chunk_extensions`].
    #[error("chunk extensions exceed the limit of {limit} bytes (RFC 9112 §7.1.1)")]
    ExtensionsTooLong {
        /// The limit, of all chunks together.
        limit: usize,
    },
    /// A control byte in an extension.
    #[error("control byte 0x{0:02x} in a chunk extension (RFC 9112 §7.1.1)")]
    ControlByte(u8),
    /// A line ends in LF without CR.
    #[error("chunk line ends in a bare line feed (RFC 9112 §7.1)")]
    BareLineFeed,
    /// A CR that no LF follows.
    #[error("carriage return without line feed in chunked framing (RFC 9112 §7.1)")]
    StrayCarriageReturn,
    /// No line end after the content of a chunk.
    #[error("chunk is longer than its size (RFC 9112 §7.1)")]
    ChunkEnd,
    /// A trailer violates a rule of fields.
    #[error("trailers: {0}")]
    Trailer(#[source] HeadError),
}

impl BodyError {
    /// Returns the status of the refusal.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::Length => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Trailer(error) => error.status(),
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Maximum content length: the largest file size of Linux, and sums with it do not overflow.
pub const MAX_LENGTH: u64 = i64::MAX as u64;

/// Digits of the largest chunk size; leading zeros count.
const MAX_SIZE_DIGITS: u8 = 16;

fn length(left: u64) -> State {
    if left == 0 { State::Done } else { State::Length { left } }
}

/// Returns whether the coding is like `gzip, chunked`, and not `chunked, chunked` (RFC 9112 §6.1).
fn ends_in_chunked(coding: &[u8]) -> bool {
    let is_chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let mut codings = coding.rsplit(|byte| *byte == b',');
    codings.next().is_some_and(is_chunked) && !codings.any(is_chunked)
}

fn front(bytes: &[u8], most: u64) -> &[u8] {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    &bytes[..bytes.len().min(most)]
}

/// Checks trailers against the rules of fields; they are then dropped.
fn check_trailers(raw: Vec<u8>, limits: &Limits) -> Result<(), HeadError> {
    let mut slots = vec![httparse::EMPTY_HEADER; field_slots(&raw, limits)];
    match httparse::parse_headers(&raw, &mut slots) {
        Ok(httparse::Status::Complete((length, parsed))) if length == raw.len() => {
            fields::collect(parsed, limits).map(|_| ())
        }
        Ok(_) => Err(HeadError::FieldName),
        Err(error) => Err(field_error(error, limits).unwrap_or(HeadError::FieldName)),
    }
}

#[cfg(test)]
mod tests {
    use anyport_testkit::{cut_at, every_cut, noise};
    use proptest::prelude::*;

    use super::super::HeadReader;
    use super::*;

    /// Returns the content, the bytes it took with its framing, and whether it was complete.
    fn read_all(
        framing: Framing,
        pieces: &[&[u8]],
        limits: &Limits,
    ) -> Result<(Vec<u8>, usize, bool), BodyError> {
        let mut reader = BodyReader::new(framing);
        let (mut content, mut taken) = (Vec::new(), 0);
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() && !reader.is_done() {
                let read = reader.read(rest, limits).inspect_err(|error| {
                    assert_eq!(reader.read(b"0", limits).as_ref(), Err(error), "terminal");
                })?;
                assert!(read.used > 0, "no step in {rest:02x?}");
                content.extend_from_slice(read.content);
                taken += read.used;
                rest = &rest[read.used..];
            }
        }
        Ok((content, taken, reader.is_done()))
    }

    fn chunked(wire: &str) -> Result<(Vec<u8>, usize, bool), BodyError> {
        let limits = Limits::default();
        let whole = read_all(Framing::Chunked, &[wire.as_bytes()], &limits);
        every_cut(wire.as_bytes(), |pieces| {
            assert_eq!(read_all(Framing::Chunked, pieces, &limits), whole, "{pieces:02x?}");
        });
        whole
    }

    fn framing(fields: &str) -> Result<Framing, BodyError> {
        let wire = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        match HeadReader::new().push(wire.as_bytes(), &Limits::default()) {
            Ok(Pushed::Done { head, .. }) => Framing::of(&head),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ht_2_a_head_determines_the_framing_of_its_content() {
        assert_eq!(framing(""), Ok(Framing::None));
        assert_eq!(framing("Content-Length: 0\r\n"), Ok(Framing::Length(0)));
        assert_eq!(framing("Content-Length: 17\r\n"), Ok(Framing::Length(17)));
        assert_eq!(framing("Transfer-Encoding: chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        let most = format!("Content-Length: {MAX_LENGTH}\r\n");
        assert_eq!(framing(&most), Ok(Framing::Length(MAX_LENGTH)));
        let more = format!("Content-Length: {}\r\n", MAX_LENGTH + 1);
        assert_eq!(framing(&more), Err(BodyError::Length));
    }

    /// RFC 9112 §6.1: framing that another reader may interpret differently is refused.
    #[test]
    fn ht_2_a_coding_that_is_not_chunked_alone_is_refused() {
        for coding in [
            "gzip",
            "chunked, chunked",
            "chunked, identity",
            "identity",
            "chunked,",
            "\"chunked\"",
            "chunked;q=1",
            "xchunked",
            "",
        ] {
            let fields = format!("Transfer-Encoding: {coding}\r\n");
            assert_eq!(framing(&fields), Err(BodyError::NotChunked), "{coding:?}");
        }
        let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(framing(twice), Err(BodyError::NotChunked));
        for coding in ["gzip, chunked", "identity,chunked", ", chunked"] {
            let fields = format!("Transfer-Encoding: {coding}\r\n");
            assert_eq!(framing(&fields), Err(BodyError::UnknownCoding), "{coding:?}");
        }
    }

    #[test]
    fn content_has_its_announced_length_and_leaves_the_rest() {
        let limits = Limits::default();
        every_cut(b"helloGET /", |pieces| {
            let read = read_all(Framing::Length(5), pieces, &limits);
            assert_eq!(read, Ok((b"hello".to_vec(), 5, true)), "{pieces:02x?}");
        });
        let short = read_all(Framing::Length(6), &[b"hello"], &limits);
        assert_eq!(short, Ok((b"hello".to_vec(), 5, false)));
        for none in [Framing::None, Framing::Length(0)] {
            assert_eq!(read_all(none, &[b"GET /"], &limits), Ok((Vec::new(), 0, true)));
        }
    }

    #[test]
    fn content_received_elsewhere_is_not_waited_for() {
        let mut reader = BodyReader::new(Framing::Length(10));
        reader.pass(4);
        assert_eq!(reader.left(), Some(6));
        let piece = reader.read(b"abcdefGET", &Limits::default()).unwrap();
        assert_eq!((piece.content, reader.is_done()), (&b"abcdef"[..], true));
        let mut reader = BodyReader::new(Framing::Length(10));
        reader.pass(10);
        assert!(reader.is_done());
        let mut reader = BodyReader::new(Framing::Chunked);
        reader.pass(10);
        assert_eq!((reader.left(), reader.is_done()), (None, false));
    }

    #[test]
    fn ht_3_chunks_are_joined_in_every_segmentation() {
        for (wire, content) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("2\r\nhe\r\n3\r\nllo\r\n000\r\n\r\n", "hello"),
            ("A\r\n0123456789\r\n1\r\n\n\r\n0\r\n\r\n", "0123456789\n"),
            ("a;b=\"c; d\";e\r\n0123456789\r\n0;last\r\n\r\n", "0123456789"),
            ("1\r\nx\r\n0\r\nA: b\r\nDigest-Of-It: c\r\n\r\n", "x"),
        ] {
            let read = chunked(&format!("{wire}GET /"));
            assert_eq!(read, Ok((content.as_bytes().to_vec(), wire.len(), true)), "{wire:?}");
        }
        assert_eq!(chunked("5\r\nhello\r\n0\r\n\r"), Ok((b"hello".to_vec(), 14, false)));
    }

    #[test]
    fn ht_3_each_violated_rule_of_chunks_is_named() {
        for (wire, error) in [
            ("\r\n", BodyError::ChunkSize),
            ("\n", BodyError::ChunkSize),
            (";a\r\n", BodyError::ChunkSize),
            ("g\r\n", BodyError::ChunkSize),
            ("0x5\r\n", BodyError::ChunkSize),
            ("+5\r\n", BodyError::ChunkSize),
            ("-5\r\n", BodyError::ChunkSize),
            (" 5\r\n", BodyError::ChunkSize),
            ("5 \r\n", BodyError::ChunkSize),
            ("5\t;a\r\n", BodyError::ChunkSize),
            ("5_0\r\n", BodyError::ChunkSize),
            ("5\n", BodyError::BareLineFeed),
            ("5;a\n", BodyError::BareLineFeed),
            ("5;a\0\r\n", BodyError::ControlByte(0)),
            ("5;\u{7f}\r\n", BodyError::ControlByte(0x7f)),
            ("5\rx", BodyError::StrayCarriageReturn),
            ("5;a\rb\n", BodyError::StrayCarriageReturn),
            ("5\r\r\n", BodyError::StrayCarriageReturn),
            ("5\r\nhello0\r\n\r\n", BodyError::ChunkEnd),
            ("5\r\nhello\n0\r\n\r\n", BodyError::BareLineFeed),
            ("5\r\nhello\rx", BodyError::StrayCarriageReturn),
            ("5\r\nhello\r\n\r\n", BodyError::ChunkSize),
            ("00000000000000001\r\n", BodyError::ChunkTooLong),
            ("fffffffffffffffff\r\n", BodyError::ChunkTooLong),
            ("0\r\nA: b\n\r\n", BodyError::Trailer(HeadError::BareLineFeed)),
            ("0\r\n\n", BodyError::Trailer(HeadError::BareLineFeed)),
            ("0\r\nA : b\r\n\r\n", BodyError::Trailer(HeadError::FieldName)),
            ("0\r\nnonsense\r\n\r\n", BodyError::Trailer(HeadError::FieldName)),
            ("0\r\nA: b\r\n c\r\n\r\n", BodyError::Trailer(HeadError::FoldedField)),
            ("0\r\n A: b\r\n\r\n", BodyError::Trailer(HeadError::FoldedField)),
            ("0\r\nA: \u{1}\r\n\r\n", BodyError::Trailer(HeadError::ControlByte(1))),
        ] {
            assert_eq!(chunked(wire), Err(error), "{wire:?}");
        }
    }

    #[test]
    fn ht_3_the_largest_chunk_size_overflows_nothing() {
        let wire = "ffffffffffffffff\r\nxyz";
        assert_eq!(chunked(wire), Ok((b"xyz".to_vec(), wire.len(), false)));
    }

    #[test]
    fn ht_3_extensions_and_trailers_have_limits() {
        let limits = Limits { chunk_extensions: 10, head: 50, fields: 2, ..Limits::default() };
        let read =
            |wire: &str| read_all(Framing::Chunked, &[wire.as_bytes()], &limits).map(|r| r.2);
        assert_eq!(read("1;12345\r\nx\r\n0;12345\r\n\r\n"), Ok(true));
        let error = BodyError::ExtensionsTooLong { limit: 10 };
        assert_eq!(read("1;12345\r\nx\r\n0;123456\r\n\r\n"), Err(error));
        assert_eq!(read("0\r\na: b\r\nc: d\r\n\r\n"), Ok(true));
        let many = BodyError::Trailer(HeadError::TooManyFields { limit: 2 });
        assert_eq!(many.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(read("0\r\na: b\r\nc: d\r\ne: f\r\n\r\n"), Err(many));
        let long = BodyError::Trailer(HeadError::TooLong { limit: 50 });
        assert_eq!(read(&format!("0\r\na: {}", "x".repeat(48))), Err(long));
    }

    proptest! {
        /// Written chunks are read unchanged, whatever the segmentation.
        #[test]
        fn io_1_chunks_written_are_chunks_read(
            length in 0_usize..2000,
            seed in any::<u64>(),
            borders in prop::collection::vec(any::<usize>(), 0..6),
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            let content = noise(length, seed);
            let mut wire = Vec::new();
            for chunk in cut_at(&content, &borders).into_iter().filter(|chunk| !chunk.is_empty()) {
                wire.extend_from_slice(format!("{:X};n={seed}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
            let end = wire.len();
            wire.extend_from_slice(b"GET / HTTP/1.1\r\n");
            let read = read_all(Framing::Chunked, &cut_at(&wire, &cuts), &Limits::default());
            prop_assert_eq!(read, Ok((content, end, true)));
        }

        #[test]
        fn io_1_segmentation_never_changes_the_result(
            wire in prop::collection::vec(
                prop::sample::select(vec!["\r\n", "0", "3", "1f", ";a", "abc", "A: b", "\n", " "]),
                0..20,
            ),
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            let wire = wire.concat().into_bytes();
            let limits = Limits { chunk_extensions: 3, head: 12, fields: 1, ..Limits::default() };
            let whole = read_all(Framing::Chunked, &[&wire], &limits);
            prop_assert_eq!(read_all(Framing::Chunked, &cut_at(&wire, &cuts), &limits), whole);
        }
    }
}
