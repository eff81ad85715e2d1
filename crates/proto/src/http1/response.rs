//! Responses: the head that a client receives (RFC 9112 §4).
//!
//! The reader is the same state machine as for requests, with the same rules on lines, fields and
//! content length.

use http::header::{self, HeaderMap, HeaderName};
use http::{StatusCode, Version};

use super::error::HeadError;
use super::fields::{self, field_error, field_slots, version};
use super::scan::{Pushed, Scan};
use crate::limits::Limits;

/// Reads the head of one response, then of the next.
#[derive(Debug, Default)]
pub struct ResponseHeadReader {
    scan: Scan,
}

impl ResponseHeadReader {
    /// Returns a reader at the first byte of a response.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next bytes of the stream.
    ///
    /// # Errors
    /// The first byte that violates a rule or, for rules of the complete head, its end. An error is
    /// terminal: each later call repeats it.
    pub fn push(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Pushed<ResponseHead>, HeadError> {
        self.scan.push(input, limits, limits.head, ResponseHead::parse)
    }
}

/// A valid head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status.
    ///
    /// The reason phrase has no meaning and is dropped.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// All fields, repeated ones in their order.
    pub fields: HeaderMap,
    raw: Vec<u8>,
}

impl ResponseHead {
    /// Returns the comma-separated elements of all fields of that name, in order, without empty
    /// ones (RFC 9110 §5.6.1).
    pub fn field_tokens(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        fields::tokens(&self.fields, name)
    }

    /// Returns whether the fields of that name list `token`, ignoring case.
    pub fn has_token(&self, name: HeaderName, token: &str) -> bool {
        fields::has_token(&self.fields, name, token)
    }

    /// Returns the announced content length; `None` without such a field.
    pub fn content_length(&self) -> Option<u64> {
        self.fields.get(header::CONTENT_LENGTH).and_then(fields::content_length)
    }

    /// Returns the bytes of the head as received, empty line included.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    fn parse(raw: Vec<u8>, limits: &Limits) -> Result<Self, HeadError> {
        let mut slots = vec![httparse::EMPTY_HEADER; field_slots(&raw, limits)];
        let mut parsed = httparse::Response::new(&mut slots);
        let complete = parsed.parse(&raw).map_err(|error| match error {
            httparse::Error::Version if raw.starts_with(b"HTTP/") => HeadError::Version,
            other => field_error(other, limits).unwrap_or(HeadError::StatusLine),
        })?;
        let (httparse::Status::Complete(length), Some(code), Some(minor)) =
            (complete, parsed.code, parsed.version)
        else {
            return Err(HeadError::StatusLine);
        };
        if length != raw.len() {
            return Err(HeadError::StatusLine);
        }
        let status = StatusCode::from_u16(code).map_err(|_| HeadError::StatusLine)?;
        let version = version(minor);
        let fields = fields::collect(parsed.headers, limits)?;
        fields::check_content(&fields, version)?;
        Ok(Self { status, version, fields, raw })
    }
}

#[cfg(test)]
mod tests {
    use anyport_testkit::every_cut;

    use super::*;

    fn read(wire: &[u8]) -> Result<Pushed<ResponseHead>, HeadError> {
        ResponseHeadReader::new().push(wire, &Limits::default())
    }

    fn error(wire: &str) -> HeadError {
        match read(wire.as_bytes()) {
            Err(error) => error,
            Ok(pushed) => panic!("{wire:?} was taken as {pushed:?}"),
        }
    }

    #[test]
    fn response_head_is_the_same_in_every_segmentation_and_leaves_the_rest() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        let wire = [&head[..], b"\x81\x00"].concat();
        every_cut(&wire, |pieces| {
            let mut reader = ResponseHeadReader::new();
            let mut before = 0;
            for piece in pieces {
                if let Pushed::Done { head: read, used } =
                    reader.push(piece, &Limits::default()).unwrap()
                {
                    assert_eq!(read.status, StatusCode::SWITCHING_PROTOCOLS);
                    assert!(read.has_token(header::UPGRADE, "WebSocket"));
                    assert_eq!(read.raw(), head);
                    assert_eq!(before + used, head.len());
                    return;
                }
                before += piece.len();
            }
            panic!("no head in {pieces:02x?}");
        });
    }

    #[test]
    fn malformed_responses_are_refused_by_rule() {
        assert_eq!(error("HTTP/1.1 099 x\r\n\r\n"), HeadError::StatusLine);
        assert_eq!(error("HTTP/1.1 20 OK\r\n\r\n"), HeadError::StatusLine);
        assert_eq!(error("HTTP/2.0 200 OK\r\n\r\n"), HeadError::Version);
        assert_eq!(error("SSH-2.0-OpenSSH_9.6\r\n\r\n"), HeadError::StatusLine);
        assert_eq!(error("HTTP/1.1 200 OK\nA: b\n\n"), HeadError::BareLineFeed);
        assert_eq!(error("HTTP/1.1 200 OK\r\nA : b\r\n\r\n"), HeadError::FieldName);
        assert_eq!(error("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"), HeadError::FoldedField);
        let twice = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n";
        assert_eq!(error(twice), HeadError::RepeatedContentLength);
    }

    #[test]
    fn reason_phrase_may_be_absent() {
        assert!(matches!(read(b"HTTP/1.1 200\r\n\r\n"), Ok(Pushed::Done { used: 16, .. })));
    }
}
