//! HTTP/1.1 (RFC 9112): heads of both directions, and content by its framing; the switch to
//! WebSocket or HTTP/2.

use anyport_proto::http1::{BodyReader, Framing};
use anyport_proto::limits::Limits;
use anyport_proto::transfer::messages::FILE_SUBPROTOCOL;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::content::Content;
use super::http2::Http2;
use super::output::Output;
use super::{Layer, MAX_ELEMENT, Shared, Step, Switch};
use crate::event::{Side, Time, What};

/// Maximum number of requests without a response that are remembered; a client that pipelines more
/// gets responses without their request.
const MAX_REQUESTS: usize = 64;

/// The heads and content of one direction.
#[derive(Debug)]
pub(super) struct Http1 {
    from: Side,
    head: Vec<u8>,
    /// Where its last line begins.
    line: usize,
    began: Time,
    body: Option<Body>,
    content: Content,
}

#[derive(Debug)]
enum Body {
    Framed(BodyReader),
    UntilFin,
}

/// The properties of a request that its response depends on.
#[derive(Debug, Default)]
pub(super) struct Request {
    head: bool,
    connect: bool,
    key: Option<String>,
}

struct Head {
    start: String,
    fields: Vec<(String, String)>,
}

impl Http1 {
    pub(super) fn new(from: Side) -> Self {
        let (began, content) = (Time::default(), Content::default());
        Self { from, head: Vec::new(), line: 0, began, body: None, content }
    }

    pub(super) fn push(&mut self, bytes: &[u8], shared: &mut Shared, output: &Output<'_>) -> Step {
        match &mut self.body {
            None => self.read_head(bytes, shared, output),
            Some(Body::UntilFin) => {
                self.content.count(bytes, output);
                Step::Used(bytes.len())
            }
            Some(Body::Framed(reader)) => {
                // Byte by byte, so that an error is at the same byte in each segmentation.
                let framing = if reader.is_in_content() { bytes.len() } else { 1 };
                let bytes = bytes.get(..framing).unwrap_or(bytes);
                match reader.read(bytes, &Limits::default()) {
                    Ok(piece) => {
                        self.content.count(piece.content, output);
                        let used = piece.used;
                        self.end_if_done();
                        Step::Used(used)
                    }
                    Err(error) => Step::unknown(output, &error.to_string(), &[]),
                }
            }
        }
    }

    /// Counts content that the kernel moved; returns how many bytes it can be.
    pub(super) fn skip(&mut self, count: u64, output: &Output<'_>) -> u64 {
        let skipped = match &mut self.body {
            Some(Body::UntilFin) => count,
            Some(Body::Framed(reader)) => {
                let skipped = reader.left().unwrap_or(0).min(count);
                reader.pass(skipped);
                skipped
            }
            None => 0,
        };
        if skipped > 0 {
            self.content.add(skipped, output);
            self.end_if_done();
        }
        skipped
    }

    fn end_if_done(&mut self) {
        if matches!(&self.body, Some(Body::Framed(reader)) if reader.is_done()) {
            self.body = None;
            self.content.end();
        }
    }

    fn read_head(&mut self, bytes: &[u8], shared: &mut Shared, output: &Output<'_>) -> Step {
        if self.head.is_empty() {
            self.began = output.now;
            // The first byte of HTTP/2's SETTINGS, which a server may send first.
            if self.from == Side::Server && bytes.first() == Some(&0) {
                return Step::Become(Layer::Http2(Box::new(Http2::new(self.from))));
            }
        }
        let room = MAX_ELEMENT - self.head.len();
        let window = bytes.get(..room).unwrap_or(bytes);
        let end = window.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(window.len(), |end| end + 1);
        self.head.extend_from_slice(window.get(..used).unwrap_or_default());
        if self.line == 0 && !self.begins_like_http(end.is_some()) {
            return self.not_http(used, output);
        }
        if end.is_none() {
            if self.head.len() == MAX_ELEMENT {
                return self.not_http(used, output);
            }
            return Step::Used(used);
        }
        let line = self.head.get(self.line..).unwrap_or_default();
        let is_empty = matches!(line, b"\n" | b"\r\n");
        if is_empty && self.line == 0 {
            // RFC 9112 §2.2: empty lines before a request line are ignored.
            self.head.clear();
            return Step::Used(used);
        }
        self.line = self.head.len();
        if is_empty {
            self.line = 0;
            let head = Head::parse(&std::mem::take(&mut self.head));
            self.complete(head, shared, output);
        }
        Step::Used(used)
    }

    /// Returns whether the first line may be that of HTTP.
    fn begins_like_http(&self, is_complete: bool) -> bool {
        let line = self.head.as_slice();
        match self.from {
            _ if line.first().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) => line.len() <= 2,
            Side::Server => line.iter().zip(b"HTTP/").all(|(byte, expected)| byte == expected),
            Side::Client => {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
                line.iter().all(|byte| *byte >= b' ' || *byte == b'\r')
                    && (!is_complete || version.starts_with(b"HTTP/"))
            }
        }
    }

    fn not_http(&self, used: usize, output: &Output<'_>) -> Step {
        let earlier = self.head.get(..self.head.len() - used).unwrap_or_default();
        Step::unknown(output, "not a head of HTTP/1", earlier)
    }

    fn complete(&mut self, head: Head, shared: &mut Shared, output: &Output<'_>) {
        let body = match self.from {
            Side::Client => self.request(&head, shared, output.recorder.is_of_server()),
            Side::Server => response(&head, shared, output),
        };
        let accept = head.field("sec-websocket-accept").map(ToOwned::to_owned);
        let Head { start, fields } = head;
        output.syn_of(&fields);
        output.event_since(self.began, What::Head { start, fields });
        self.body = match body {
            Next::Framed(framing) if framing.is_empty() => None,
            Next::Framed(framing) => Some(Body::Framed(BodyReader::new(framing))),
            Next::UntilFin => Some(Body::UntilFin),
            Next::Switch(switch, key) => {
                if let (Some(key), Some(accept)) = (key, accept) {
                    output.event(websocket_accept(key, accept));
                }
                shared.switch = Some(switch);
                None
            }
        };
    }

    fn request(&self, head: &Head, shared: &mut Shared, is_of_server: bool) -> Next {
        let method = head.start.split(' ').next().unwrap_or_default();
        if method == "PRI" {
            return Next::Switch(Switch::Http2, None);
        }
        if shared.requests.len() < MAX_REQUESTS {
            let key = head.field("sec-websocket-key").map(ToOwned::to_owned);
            let (head, connect) = (method == "HEAD", method == "CONNECT");
            shared.requests.push_back(Request { head, connect, key });
        }
        if is_of_server && head.is_ambiguous() {
            // The server refuses it: what follows is no request.
            return Next::UntilFin;
        }
        Next::Framed(head.framing().unwrap_or(Framing::None))
    }
}

/// What follows a head.
enum Next {
    Framed(Framing),
    UntilFin,
    /// Another protocol; with the key of the WebSocket handshake.
    Switch(Switch, Option<String>),
}

fn response(head: &Head, shared: &mut Shared, output: &Output<'_>) -> Next {
    let status = head.start.split(' ').nth(1).unwrap_or_default();
    if status.starts_with('1') && status != "101" {
        return Next::Framed(Framing::None);
    }
    let request = shared.requests.pop_front().unwrap_or_default();
    let is_websocket =
        head.field("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    // In a trace of a server, a message of a room must not pass for one of a file transfer.
    let texts = !output.recorder.is_of_server()
        || head.field("sec-websocket-protocol") == Some(FILE_SUBPROTOCOL);
    match status {
        "101" if is_websocket => Next::Switch(Switch::Frames { texts }, request.key),
        "101" => Next::Switch(Switch::Content, None),
        _ if request.connect && status.starts_with('2') => Next::Switch(Switch::Content, None),
        "204" | "304" => Next::Framed(Framing::None),
        _ if request.head => Next::Framed(Framing::None),
        _ => head.framing().map_or(Next::UntilFin, Next::Framed),
    }
}

/// RFC 6455 §4.2.2, step by step.
fn websocket_accept(key: String, received: String) -> What {
    let concatenation = format!("{key}{GUID}");
    let digest = Sha1::digest(concatenation.as_bytes());
    let sha1 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = STANDARD.encode(digest);
    let equal = expected == received;
    What::WebSocketAccept { key, concatenation, sha1, expected, received, equal }
}

/// The GUID of RFC 6455 §1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

impl Head {
    /// Splits a head, without checks: invalid parts are shown unchanged.
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        // Some recipients end a line at a CR too.
        let mut lines = text.split(['\r', '\n']).filter(|line| !line.is_empty());
        let start = lines.next().unwrap_or_default().to_owned();
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines {
            match (line.split_once(':'), fields.last_mut()) {
                // A continuation (RFC 9112 §5.2), of a field that may be secret.
                (_, Some((_, value))) if line.starts_with([' ', '\t']) => {
                    value.push(' ');
                    value.push_str(line.trim());
                }
                (Some((name, value)), _) => {
                    fields.push((name.to_owned(), value.trim().to_owned()));
                }
                (None, _) => fields.push((String::new(), line.trim().to_owned())),
            }
        }
        Self { start, fields }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields.find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1.as_str())
    }

    /// Returns whether it announces content whose length is not clear.
    fn is_ambiguous(&self) -> bool {
        let of = |name: &str| {
            let is_it = |field: &&(String, String)| field.0.trim().eq_ignore_ascii_case(name);
            self.fields.iter().filter(is_it).count()
        };
        let (lengths, codings) = (of("content-length"), of("transfer-encoding"));
        lengths + codings > 1 || lengths + codings == 1 && self.framing().is_none()
    }

    /// Returns the framing that the fields announce (RFC 9112 §6.3).
    fn framing(&self) -> Option<Framing> {
        let is_coding =
            |field: &&(String, String)| field.0.eq_ignore_ascii_case("transfer-encoding");
        if let Some((_, coding)) = self.fields.iter().rfind(is_coding) {
            let last = coding.rsplit(',').next().unwrap_or_default().trim();
            return last.eq_ignore_ascii_case("chunked").then_some(Framing::Chunked);
        }
        self.field("content-length")?.parse().ok().map(Framing::Length)
    }
}
