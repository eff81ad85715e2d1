//! The head of a request: request line and fields, under strict rules (RFC 9112 §2 to §6).
//!
//! [`HeadReader`] accepts bytes in any segmentation and keeps at most [`Limits::head`] of them. It
//! scans each byte once, so a peer that sends single bytes costs no more than one that sends the
//! whole head. `used` is the length of the head: the bytes after it are frames or content, and stay
//! with the caller.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Uri, Version};

use super::error::HeadError;
use super::fields::{self, field_error, field_slots, version};
use super::scan::{Pushed, Scan};
use crate::limits::Limits;

/// Reads the head of one request, then of the next.
#[derive(Debug, Default)]
pub struct HeadReader {
    scan: Scan,
}

impl HeadReader {
    /// Returns a reader at the first byte of a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns whether it is between two heads.
    pub const fn is_empty(&self) -> bool {
        self.scan.is_empty()
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
    ) -> Result<Pushed<RequestHead>, HeadError> {
        self.scan.push(input, limits, limits.request_line, RequestHead::parse)
    }
}

/// A valid head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, as sent.
    pub method: Method,
    /// The request target, as sent; [`RequestHead::path`] and [`RequestHead::query`] split it.
    pub target: String,
    /// HTTP/1.0, HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// All fields, repeated ones in their order.
    pub fields: HeaderMap,
    raw: Vec<u8>,
    forwarded: Forwarded,
}

/// What a trusted proxy states about the URL of the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Forwarded {
    host: Option<String>,
    scheme: Option<&'static str>,
}

impl RequestHead {
    /// Returns the path of the target, percent-encoded as sent: the text before `?`, without scheme
    /// and host. `*` for the server as a whole, empty for the target of a CONNECT.
    pub fn path(&self) -> &str {
        let path = self.target_parts().path_and_query.split('?').next().unwrap_or_default();
        if path.is_empty() && self.method != Method::CONNECT { "/" } else { path }
    }

    /// Returns whether the target has no path at all, which [`RequestHead::path`] returns as `/`.
    pub fn is_without_path(&self) -> bool {
        let path = self.target_parts().path_and_query;
        self.method != Method::CONNECT && (path.is_empty() || path.starts_with('?'))
    }

    /// Returns the query of the target, without its `?`; `None` without a `?`.
    pub fn query(&self) -> Option<&str> {
        self.target_parts().path_and_query.split_once('?').map(|(_, query)| query)
    }

    /// Returns host and port that the request is for: those of an absolute target, else the Host
    /// field (RFC 9112 §3.2.2).
    ///
    /// A trusted proxy may state another one ([`Self::set_forwarded`]). Empty if an HTTP/1.0 client
    /// named none.
    pub fn host(&self) -> &str {
        if let Some(host) = &self.forwarded.host {
            return host;
        }
        let named = self.fields.get(header::HOST).and_then(|value| value.to_str().ok());
        self.target_parts().authority.or(named).unwrap_or_default()
    }

    /// Sets host and scheme of the client's URL as a trusted proxy states them.
    pub fn set_forwarded(&mut self, host: Option<String>, is_https: Option<bool>) {
        let scheme = is_https.map(|is_https| if is_https { "https" } else { "http" });
        self.forwarded = Forwarded { host, scheme };
    }

    /// Returns the scheme of the client's URL, if a trusted proxy states it.
    pub const fn forwarded_scheme(&self) -> Option<&'static str> {
        self.forwarded.scheme
    }

    /// Returns scheme, host and port of the client's URL, if a trusted proxy states them.
    pub fn forwarded_origin(&self) -> Option<String> {
        let Forwarded { host, scheme } = &self.forwarded;
        Some(format!("{}://{}", (*scheme)?, host.as_ref()?))
    }

    /// Returns whether the client requests an upgrade to WebSocket (RFC 6455 §4.2.1).
    /// [`crate::ws::handshake`] checks the rest of the opening handshake.
    pub fn is_websocket_upgrade(&self) -> bool {
        self.has_token(header::UPGRADE, "websocket")
    }

    /// Returns the comma-separated elements of all fields of that name, in order, without empty
    /// ones (RFC 9110 §5.6.1).
    ///
    /// Fields with bytes above ASCII are omitted: they are not tokens.
    pub fn field_tokens(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        fields::tokens(&self.fields, name)
    }

    /// Returns whether the fields of that name list `token`, ignoring case.
    pub fn has_token(&self, name: HeaderName, token: &str) -> bool {
        fields::has_token(&self.fields, name, token)
    }

    /// Returns the content codings other than `identity`, in the order in which they were applied
    /// (RFC 9110 §8.4).
    pub fn content_codings(&self) -> impl Iterator<Item = &str> {
        fields::tokens(&self.fields, header::CONTENT_ENCODING)
            .filter(|coding| !coding.eq_ignore_ascii_case("identity"))
    }

    /// Returns the announced content length; `None` without such a field.
    pub fn content_length(&self) -> Option<u64> {
        self.fields.get(header::CONTENT_LENGTH).and_then(fields::content_length)
    }

    /// Returns the bytes of the head as received, empty line included; empty for HTTP/2.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Returns the head of an HTTP/2 request, whose pseudo-header fields are in `uri` (RFC 9113
    /// §8.3.1).
    ///
    /// It gets a Host field.
    ///
    /// # Errors
    /// As for a textual head, for rules that HTTP/2 framing has not checked; or two different
    /// hosts.
    pub fn from_http2(
        method: Method,
        uri: &Uri,
        mut fields: HeaderMap,
        limits: &Limits,
    ) -> Result<Self, HeadError> {
        let authority = uri.authority().map(Authority::as_str);
        let target = match method {
            Method::CONNECT => authority.unwrap_or_default().to_owned(),
            _ => uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned(),
        };
        if target.len() > limits.request_line {
            return Err(HeadError::StartLineTooLong { limit: limits.request_line });
        }
        if fields.len() > limits.fields {
            return Err(HeadError::TooManyFields { limit: limits.fields });
        }
        if let Some(authority) = authority {
            let is_other =
                |host: &HeaderValue| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
            if fields.get_all(header::HOST).iter().any(is_other) {
                return Err(HeadError::OtherHost);
            }
            let host = HeaderValue::from_str(authority).map_err(|_| HeadError::Host)?;
            fields.insert(header::HOST, host);
        }
        check_target(&method, &target)?;
        // A host is required as in HTTP/1.1.
        check_host(&fields, Version::HTTP_11)?;
        fields::check_content(&fields, Version::HTTP_2)?;
        let (version, raw) = (Version::HTTP_2, Vec::new());
        Ok(Self { method, target, version, fields, raw, forwarded: Forwarded::default() })
    }

    fn parse(raw: Vec<u8>, limits: &Limits) -> Result<Self, HeadError> {
        let mut slots = vec![httparse::EMPTY_HEADER; field_slots(&raw, limits)];
        let mut parsed = httparse::Request::new(&mut slots);
        let complete = parsed.parse(&raw).map_err(|error| request_error(error, &raw, limits))?;
        let (httparse::Status::Complete(length), Some(method), Some(target), Some(minor)) =
            (complete, parsed.method, parsed.path, parsed.version)
        else {
            return Err(HeadError::RequestLine);
        };
        // The scan found one head and nothing after it; if the parser disagrees, refuse the head.
        if length != raw.len() {
            return Err(HeadError::RequestLine);
        }
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::RequestLine)?;
        let version = version(minor);
        let target = target.to_owned();
        let fields = fields::collect(parsed.headers, limits)?;
        check_target(&method, &target)?;
        check_host(&fields, version)?;
        fields::check_content(&fields, version)?;
        Ok(Self { method, target, version, fields, raw, forwarded: Forwarded::default() })
    }

    fn target_parts(&self) -> TargetParts<'_> {
        if self.method == Method::CONNECT {
            return TargetParts { authority: Some(&self.target), path_and_query: "" };
        }
        split_absolute(&self.target)
            .unwrap_or(TargetParts { authority: None, path_and_query: &self.target })
    }
}

struct TargetParts<'a> {
    authority: Option<&'a str>,
    path_and_query: &'a str,
}

/// Splits `http://host:port/path?query`; `None` for any other form.
fn split_absolute(target: &str) -> Option<TargetParts<'_>> {
    let (scheme, rest) = target.split_once("://")?;
    if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    Some(TargetParts { authority: Some(authority), path_and_query })
}

/// Checks for the four forms of RFC 9112 §3.2. A fragment is never part of a target.
fn check_target(method: &Method, target: &str) -> Result<(), HeadError> {
    let fits = if *method == Method::CONNECT {
        is_authority(target)
    } else if let Some(absolute) = split_absolute(target) {
        absolute.authority.is_some_and(is_authority)
    } else {
        target.starts_with('/') || (target == "*" && *method == Method::OPTIONS)
    };
    if fits && !target.contains('#') { Ok(()) } else { Err(HeadError::Target) }
}

fn check_host(fields: &HeaderMap, version: Version) -> Result<(), HeadError> {
    let mut hosts = fields.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => Err(HeadError::MissingHost),
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err(HeadError::RepeatedHost),
        (Some(host), None) if is_host(host) => Ok(()),
        (Some(_), None) => Err(HeadError::Host),
    }
}

/// Returns whether a Host field is valid. It may be empty: the target then has no host.
fn is_host(value: &HeaderValue) -> bool {
    value.is_empty() || value.to_str().is_ok_and(is_authority)
}

/// Returns whether the text is a host with an optional port. User information is deprecated, as it
/// is used for deception (RFC 9110 §4.2.4).
pub(crate) fn is_authority(text: &str) -> bool {
    !text.contains('@') && text.parse::<Authority>().is_ok()
}

fn request_error(error: httparse::Error, raw: &[u8], limits: &Limits) -> HeadError {
    match error {
        httparse::Error::Version if names_other_version(raw) => HeadError::Version,
        other => field_error(other, limits).unwrap_or(HeadError::RequestLine),
    }
}

/// Returns whether the third and last word is `HTTP/d.d`. The parser only reports that the version
/// is invalid.
fn names_other_version(raw: &[u8]) -> bool {
    let line = raw.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    let (Some(version), None) = (words.next(), words.next()) else { return false };
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use anyport_testkit::{cut_at, every_cut};
    use proptest::prelude::*;

    use super::*;

    fn push_all(
        pieces: &[&[u8]],
        limits: &Limits,
    ) -> Result<Option<(RequestHead, usize)>, HeadError> {
        let mut reader = HeadReader::new();
        let mut before = 0;
        for piece in pieces {
            if let Pushed::Done { head, used } = reader.push(piece, limits)? {
                return Ok(Some((head, before + used)));
            }
            before += piece.len();
        }
        Ok(None)
    }

    fn read(wire: &str) -> RequestHead {
        match push_all(&[wire.as_bytes()], &Limits::default()) {
            Ok(Some((head, _))) => head,
            other => panic!("{wire:?} gave {other:?}"),
        }
    }

    /// Returns the error, which must be the same in every segmentation.
    fn error(wire: &str) -> HeadError {
        let whole = match push_all(&[wire.as_bytes()], &Limits::default()) {
            Err(error) => error,
            other => panic!("{wire:?} gave {other:?}"),
        };
        every_cut(wire.as_bytes(), |pieces| {
            assert_eq!(push_all(pieces, &Limits::default()), Err(whole.clone()), "{wire:?}");
        });
        whole
    }

    #[test]
    fn io_3_bytes_after_the_head_stay_with_the_caller_in_every_segmentation() {
        let head = b"GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nX: \t 1 \r\nx: 2\r\n\r\n";
        let wire = [&head[..], b"\x81\x80\x00\x00\x00\x00"].concat();
        every_cut(&wire, |pieces| {
            let (read, used) = push_all(pieces, &Limits::default()).unwrap().unwrap();
            assert_eq!(used, head.len());
            assert_eq!(read.raw(), head);
            assert_eq!((read.method, read.version), (Method::GET, Version::HTTP_11));
            assert_eq!(read.target, "/a?b=c");
            assert_eq!(read.fields.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
        });
    }

    #[test]
    fn h2_2_a_head_of_http_2_has_the_rules_of_a_textual_one() {
        let limits = Limits { fields: 3, request_line: 64, ..Limits::default() };
        let head = |method: Method, uri: &str, fields: &[(HeaderName, &'static str)]| {
            let fields = fields.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v)));
            RequestHead::from_http2(method, &uri.parse().unwrap(), fields.collect(), &limits)
        };
        let found = head(Method::GET, "http://a:1/x%20y?z", &[]).unwrap();
        assert_eq!((found.path(), found.query(), found.host()), ("/x%20y", Some("z"), "a:1"));
        let found = head(Method::OPTIONS, "*", &[(header::HOST, "b")]).unwrap();
        assert_eq!((found.path(), found.host()), ("*", "b"));
        assert_eq!(head(Method::CONNECT, "a:1", &[]).unwrap().path(), "");
        assert!(head(Method::GET, "http://A/", &[(header::HOST, "a")]).is_ok());
        let long = format!("http://a/{}", "x".repeat(64));
        let twice = [(header::CONTENT_LENGTH, "5"), (header::CONTENT_LENGTH, "5")];
        let many = [(); 4].map(|()| (header::COOKIE, "a"));
        for (uri, fields, error) in [
            ("http://a/", &[(header::HOST, "b")][..], HeadError::OtherHost),
            ("/", &[], HeadError::MissingHost),
            ("http://a/", &twice, HeadError::RepeatedContentLength),
            ("http://a/", &[(header::CONTENT_LENGTH, "+5")], HeadError::ContentLength),
            ("http://a/", &many, HeadError::TooManyFields { limit: 3 }),
            (&long, &[], HeadError::StartLineTooLong { limit: 64 }),
            ("http://u@a/", &[], HeadError::Host),
        ] {
            assert_eq!(head(Method::PUT, uri, fields), Err(error), "{uri} {fields:?}");
        }
    }

    #[test]
    fn reader_is_ready_for_the_next_request() {
        let limits = Limits::default();
        let wire = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut reader = HeadReader::new();
        let Ok(Pushed::Done { head, used }) = reader.push(wire, &limits) else { panic!("no head") };
        assert_eq!(head.target, "/1");
        let Ok(Pushed::Done { head, .. }) = reader.push(&wire[used..], &limits) else {
            panic!("no second head")
        };
        assert_eq!(head.target, "/2");
    }

    #[test]
    fn an_error_is_terminal() {
        let mut reader = HeadReader::new();
        let limits = Limits::default();
        assert_eq!(reader.push(b"GET / HTTP/1.1\n", &limits), Err(HeadError::BareLineFeed));
        let good = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(reader.push(good, &limits), Err(HeadError::BareLineFeed));
        let mut reader = HeadReader::new();
        let lonely = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(reader.push(lonely, &limits), Err(HeadError::MissingHost));
        assert_eq!(reader.push(good, &limits), Err(HeadError::MissingHost));
    }

    #[test]
    fn a_target_is_split() {
        let table = [
            ("GET /", "/", None, "field"),
            ("GET /a/b?c?d", "/a/b", Some("c?d"), "field"),
            ("GET /a?", "/a", Some(""), "field"),
            ("GET /?x=http://y/z", "/", Some("x=http://y/z"), "field"),
            ("GET http://h/p?q", "/p", Some("q"), "h"),
            ("GET HTTP://h:81", "/", None, "h:81"),
            ("GET ws://h?q", "/", Some("q"), "h"),
            ("OPTIONS *", "*", None, "field"),
            ("CONNECT h:443", "", None, "h:443"),
        ];
        for (start, path, query, host) in table {
            let head = read(&format!("{start} HTTP/1.1\r\nHost: field\r\n\r\n"));
            assert_eq!((head.path(), head.query(), head.host()), (path, query, host), "{start}");
        }
    }

    #[test]
    fn hs_5_tokens_of_comma_lists_and_repeated_fields_are_merged() {
        let head = read(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, \
            Upgrade\r\nConnection: ,\tx ,,\r\n\
             Upgrade: h2c, WebSocket\r\n\r\n",
        );
        let tokens: Vec<&str> = head.field_tokens(header::CONNECTION).collect();
        assert_eq!(tokens, ["keep-alive", "Upgrade", "x"]);
        assert!(head.is_websocket_upgrade());
        assert!(
            !read("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websockets\r\n\r\n")
                .is_websocket_upgrade()
        );
    }

    #[test]
    fn hs_9_malformed_heads_are_refused_by_rule_in_every_segmentation() {
        let host = "GET / HTTP/1.1\r\nHost: a\r\n";
        let table = [
            ("GET / HTTP/1.1\n".to_owned(), HeadError::BareLineFeed),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n".to_owned(), HeadError::BareLineFeed),
            (format!("{host}\n"), HeadError::BareLineFeed),
            (format!("{host}A: b\rc\r\n\r\n"), HeadError::StrayCarriageReturn),
            (format!("{host}A: b\r\r\n\r\n"), HeadError::StrayCarriageReturn),
            (format!("{host}A: b\0\r\n\r\n"), HeadError::ControlByte(0)),
            (format!("{host}A: b\x7f\r\n\r\n"), HeadError::ControlByte(0x7f)),
            ("GET /\x01 HTTP/1.1\r\n\r\n".to_owned(), HeadError::ControlByte(1)),
            ("\r\nGET / HTTP/1.1\r\n\r\n".to_owned(), HeadError::EmptyStartLine),
            (format!("{host} A: b\r\n\r\n"), HeadError::FoldedField),
            (format!("{host}\tb\r\n\r\n"), HeadError::FoldedField),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_owned(), HeadError::FoldedField),
            (" GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), HeadError::RequestLine),
            ("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), HeadError::RequestLine),
            ("GET /\r\nHost: a\r\n\r\n".to_owned(), HeadError::RequestLine),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), HeadError::RequestLine),
            ("GET / me HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), HeadError::RequestLine),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n".to_owned(), HeadError::RequestLine),
            ("GET / FTP/1.1\r\nHost: a\r\n\r\n".to_owned(), HeadError::RequestLine),
            ("PRI * HTTP/2.0\r\n\r\n".to_owned(), HeadError::Version),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(), HeadError::Version),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), HeadError::Target),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), HeadError::Target),
            ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), HeadError::Target),
            ("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), HeadError::Target),
            ("GET http://u@h/a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), HeadError::Target),
            ("CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), HeadError::Target),
            (format!("{host}A : b\r\n\r\n"), HeadError::FieldName),
            (format!("{host}: b\r\n\r\n"), HeadError::FieldName),
            (format!("{host}A\r\n\r\n"), HeadError::FieldName),
            (format!("{host}A(: b\r\n\r\n"), HeadError::FieldName),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), HeadError::MissingHost),
            (format!("{host}Host: a\r\n\r\n"), HeadError::RepeatedHost),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), HeadError::Host),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(), HeadError::Host),
            ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".to_owned(), HeadError::Host),
            (format!("{host}Content-Length: +5\r\n\r\n"), HeadError::ContentLength),
            (format!("{host}Content-Length: 5, 5\r\n\r\n"), HeadError::ContentLength),
            (format!("{host}Content-Length:\r\n\r\n"), HeadError::ContentLength),
            (
                format!("{host}Content-Length: 18446744073709551616\r\n\r\n"),
                HeadError::ContentLength,
            ),
            (
                format!("{host}Content-Length: 5\r\ncontent-length: 5\r\n\r\n"),
                HeadError::RepeatedContentLength,
            ),
            (
                format!("{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
                HeadError::LengthBesideEncoding,
            ),
            (
                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
                HeadError::EncodingInHttp10,
            ),
        ];
        for (wire, expected) in table {
            assert_eq!(error(&wire), expected, "{wire:?}");
        }
    }

    #[test]
    fn strict_rules_allow_valid_heads() {
        assert_eq!(read("GET / HTTP/1.0\r\n\r\n").host(), "");
        assert_eq!(read("GET / HTTP/1.1\r\nHost:\r\n\r\n").host(), "");
        for host in ["[::1]:8331", "localhost:8331", "a_b.example", "192.0.2.1"] {
            assert_eq!(read(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).host(), host);
        }
        let head = read("PUT /ü HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\nX: ü\r\nY:\r\n\r\n");
        assert_eq!((head.path(), head.content_length()), ("/ü", Some(7)));
        assert_eq!(head.fields["x"].as_bytes(), "ü".as_bytes());
    }

    #[test]
    fn each_refusal_names_its_rule_and_its_status() {
        let table = [
            (HeadError::BareLineFeed, 400),
            (HeadError::Version, 505),
            (HeadError::StartLineTooLong { limit: 1 }, 414),
            (HeadError::TooLong { limit: 1 }, 431),
            (HeadError::TooManyFields { limit: 1 }, 431),
        ];
        for (error, status) in table {
            assert_eq!(error.status().as_u16(), status);
            let response = String::from_utf8(error.response()).unwrap();
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
            assert!(response.contains("RFC"), "{response}");
        }
    }

    /// tungstenite CVE-2023-43669: parsing from 0 on each read made this quadratic.
    #[test]
    fn hs_7_ten_mebibytes_of_head_in_single_bytes_are_refused_at_the_cap() {
        let limits = Limits::default();
        let mut wire = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: ".to_vec();
        wire.resize(10 * 1024 * 1024, b'x');
        let mut reader = HeadReader::new();
        let mut taken = 0;
        for byte in &wire {
            match reader.push(std::slice::from_ref(byte), &limits) {
                Ok(pushed) => {
                    assert_eq!(pushed, Pushed::NeedMore);
                    taken += 1;
                }
                Err(error) => assert_eq!(error, HeadError::TooLong { limit: limits.head }),
            }
            assert!(reader.scan.held() <= limits.head);
        }
        assert_eq!(taken, limits.head);
        assert_eq!(push_all(&[&wire], &limits), Err(HeadError::TooLong { limit: limits.head }));
    }

    #[test]
    fn hs_7_head_may_fill_its_limits_exactly() {
        let limits = Limits::default();
        let head = |length: usize| {
            let frame = "GET / HTTP/1.1\r\nHost: a\r\nA: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(length - frame))
        };
        assert_eq!(read(&head(limits.head)).raw().len(), limits.head);
        let too_long = push_all(&[head(limits.head + 1).as_bytes()], &limits);
        assert_eq!(too_long, Err(HeadError::TooLong { limit: limits.head }));

        let line = |length: usize| {
            let frame = "GET / HTTP/1.1\r\n".len();
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - frame))
        };
        let limit = limits.request_line;
        assert_eq!(read(&line(limit)).target.len(), limit - "GET  HTTP/1.1\r\n".len());
        let too_long = push_all(&[line(limit + 1).as_bytes()], &limits);
        assert_eq!(too_long, Err(HeadError::StartLineTooLong { limit }));
    }

    #[test]
    fn hs_8_one_field_too_many_is_refused_with_431() {
        let limits = Limits::default();
        let head = |fields: usize| {
            let fields: String = (1..fields).map(|number| format!("X-{number}: y\r\n")).collect();
            format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
        };
        assert_eq!(read(&head(limits.fields)).fields.len(), limits.fields);
        for fields in [limits.fields + 1, limits.fields + 500] {
            let expected = Err(HeadError::TooManyFields { limit: limits.fields });
            assert_eq!(push_all(&[head(fields).as_bytes()], &limits), expected, "{fields}");
        }
        let mut none = limits;
        none.fields = 0;
        let expected = Err(HeadError::TooManyFields { limit: 0 });
        assert_eq!(push_all(&[head(1).as_bytes()], &none), expected);
        let generous = Limits { fields: usize::MAX, head: usize::MAX, ..limits };
        assert!(matches!(
            push_all(&[head(40_000).as_bytes()], &generous),
            Err(HeadError::TooManyFields { .. })
        ));
    }

    /// Generates input that gets far in the parser: pieces of heads in any order, and noise between
    /// them.
    fn head_like() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"GET / HTTP/1.1\r\n".to_vec()),
            Just(b"POST http://a/b?c HTTP/1.0\r\n".to_vec()),
            Just(b"Host: a\r\n".to_vec()),
            Just(b"Content-Length: 3\r\n".to_vec()),
            Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
            Just(b"A: b, c\r\n".to_vec()),
            Just(b"\r\n".to_vec()),
            "[A-Za-z]{1,8}:[ -~]{0,12}\r\n".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn io_1_segmentation_never_changes_the_response_and_memory_is_bounded(
            wire in head_like(),
            places in prop::collection::vec(any::<usize>(), 0..6),
            cap in 0_usize..200,
        ) {
            let limits = Limits { head: cap, fields: 3, ..Limits::default() };
            let whole = push_all(&[&wire], &limits);
            prop_assert_eq!(&push_all(&cut_at(&wire, &places), &limits), &whole);
            let single: Vec<&[u8]> = wire.chunks(1).collect();
            prop_assert_eq!(&push_all(&single, &limits), &whole);
            if let Ok(Some((head, used))) = whole {
                prop_assert_eq!(head.raw(), &wire[..used]);
                prop_assert!(used <= cap);
                prop_assert!(head.fields.len() <= 3);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(wire in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = HeadReader::new();
            let limits = Limits { head: 100, ..Limits::default() };
            let _answer = reader.push(&wire, &limits);
            prop_assert!(reader.scan.held() <= 100);
        }
    }
}
