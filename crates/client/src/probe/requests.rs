//! The requests of the probes, and the parsers of the answers: bytes in, an answer out.

use anyport_proto::about::About;
use anyport_proto::http1::{Pushed, ResponseHead, ResponseHeadReader};
use anyport_proto::limits::Limits;
use anyport_proto::preface::Reply;
use anyport_proto::transfer::messages::FILE_SUBPROTOCOL;
use anyport_proto::transfer::refusal::RefusalCode;
use anyport_proto::ws::handshake::{ClientTarget, Key, ResponseError, request, verify};
use anyport_trace::redact_text;
use http::header::{self, HeaderName};

use super::{Answer, HttpAnswer, PrefaceAnswer, SHOWN, WebSocketAnswer};
use crate::keys::handshake_key;
use crate::target::Target;

/// What a probe sends.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// The request in words, without what only frames it.
    pub(super) text: String,
    pub(super) bytes: Vec<u8>,
    /// Sent after an answer in the same protocol, so that the connection ends as it should.
    pub(super) farewell: Vec<u8>,
    /// Key of an opening handshake.
    key: Option<Key>,
}

impl Request {
    pub(super) fn new(text: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let (text, bytes) = (text.into(), bytes.into());
        Self { text, bytes, farewell: Vec::new(), key: None }
    }
}

/// Understands the input so far; `whole` if nothing follows it. `None`: not yet, or not at all.
pub(super) type Understand = fn(&Target, &Request, &[u8], whole: bool) -> Option<Answer>;

/// `OPTIONS *`: asks a server about itself (RFC 9110 §9.3.7).
pub(super) fn options(target: &Target) -> Option<Request> {
    Some(options_of(target, "*"))
}

/// `OPTIONS` of the target's path, if it has one.
pub(super) fn options_of_path(target: &Target) -> Option<Request> {
    (target.path != "/").then(|| options_of(target, &target.path))
}

fn options_of(target: &Target, path: &str) -> Request {
    let line = format!("OPTIONS {path} HTTP/1.1");
    let head = format!(
        "{line}\r\nHost: {}\r\nUser-Agent: {AGENT}\r\nAccept: application/json, */*;q=0.1\r\n\
         Connection: close\r\n\r\n",
        target.authority()
    );
    Request::new(line, head)
}

pub(super) fn understand_http(
    _: &Target,
    _: &Request,
    bytes: &[u8],
    whole: bool,
) -> Option<Answer> {
    let (head, used) = match read_head(bytes) {
        Ok(read) => read?,
        Err(reason) if bytes.starts_with(b"HTTP/") => return malformed(bytes, &reason, whole),
        Err(_) => return None,
    };
    let body = &bytes[used..];
    let media = field(&head, header::CONTENT_TYPE).unwrap_or_default();
    let is_json = media.starts_with("application/json") || media.starts_with("text/plain");
    let length = head.content_length().unwrap_or(0);
    if is_json && (body.len() as u64) < length && !whole {
        return None;
    }
    Some(Answer::Http(Box::new(http_answer(&head, body))))
}

/// Returns the head of a response and its size; `None` as long as it is incomplete.
fn read_head(bytes: &[u8]) -> Result<Option<(ResponseHead, usize)>, String> {
    match ResponseHeadReader::new().push(bytes, &Limits::default()) {
        Ok(Pushed::Done { head, used }) => Ok(Some((head, used))),
        Ok(Pushed::NeedMore) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn http_answer(head: &ResponseHead, body: &[u8]) -> HttpAnswer {
    let body = String::from_utf8_lossy(&body[..body.len().min(LONGEST_REPORT)]);
    let line = body.trim_start().lines().next().unwrap_or_default();
    // A page or JSON has no useful first line.
    let line = if line.starts_with(['<', '{']) { "" } else { line };
    HttpAnswer {
        version: format!("{:?}", head.version),
        status: head.status.as_u16(),
        reason: head.status.canonical_reason().unwrap_or_default(),
        server: field(head, header::SERVER),
        allow: field(head, header::ALLOW),
        location: field(head, header::LOCATION),
        says: line.chars().take(SHOWN).collect(),
        about: About::from_json(&body),
        fault: None,
    }
}

/// An answer that begins like HTTP and breaks a rule of it.
fn malformed(bytes: &[u8], reason: &str, whole: bool) -> Option<Answer> {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    if !text.contains('\n') && !whole {
        return None;
    }
    let mut words = text.lines().next().unwrap_or_default().splitn(3, ' ');
    let version = words.next().unwrap_or_default().to_owned();
    let status = words.next().and_then(|code| code.parse().ok()).unwrap_or(0);
    let (fault, says) = (Some(reason.to_owned()), words.next().unwrap_or_default().to_owned());
    Some(Answer::Http(Box::new(HttpAnswer {
        version,
        status,
        says,
        fault,
        ..HttpAnswer::default()
    })))
}

fn field(head: &ResponseHead, name: HeaderName) -> Option<String> {
    let value = String::from_utf8_lossy(head.fields.get(name)?.as_bytes()).into_owned();
    // Also a location may have a token.
    Some(redact_text(&value).chars().take(SHOWN).collect())
}

/// The opening handshake of WebSocket (RFC 6455 §4.1).
pub(super) fn websocket(target: &Target) -> Option<Request> {
    let key = Key::from_bytes(handshake_key());
    let authority = target.authority();
    let bytes = request(&handshake(target, &authority), &key).ok()?;
    let text = format!("GET {} HTTP/1.1, Upgrade: websocket", target.path);
    let mut request = Request { key: Some(key), ..Request::new(text, bytes) };
    // A Close frame with 1000, masked.
    let mask = handshake_key();
    let code = [mask[0] ^ 0x03, mask[1] ^ 0xe8];
    request.farewell = [&[0x88, 0x82][..], &mask[..4], &code].concat();
    Some(request)
}

fn handshake<'a>(target: &'a Target, authority: &'a str) -> ClientTarget<'a> {
    let (host, path) = (authority, target.path.as_str());
    ClientTarget { host, path, subprotocols: &[FILE_SUBPROTOCOL], fields: &FIELDS, deflate: false }
}

pub(super) fn understand_websocket(
    target: &Target,
    request: &Request,
    bytes: &[u8],
    whole: bool,
) -> Option<Answer> {
    let Ok(Some((head, used))) = read_head(bytes) else {
        return understand_http(target, request, bytes, whole);
    };
    let authority = target.authority();
    Some(match verify(&head, request.key.as_ref()?, &handshake(target, &authority)) {
        Ok(verified) => Answer::WebSocket(WebSocketAnswer {
            subprotocol: verified.subprotocol,
            server: field(&head, header::SERVER),
            fault: None,
        }),
        Err(ResponseError::Status { .. }) => {
            return understand_http(target, request, bytes, whole)
                .or_else(|| Some(Answer::Http(Box::new(http_answer(&head, &bytes[used..])))));
        }
        Err(error) => Answer::WebSocket(WebSocketAnswer {
            subprotocol: None,
            server: field(&head, header::SERVER),
            fault: Some(error.to_string()),
        }),
    })
}

/// A line of anyport's preface that stores nothing.
pub(super) fn preface(_: &Target) -> Option<Request> {
    Some(Request::new("ANYPORT/1 HELP", "ANYPORT/1 HELP\n"))
}

pub(super) fn understand_preface(
    target: &Target,
    request: &Request,
    bytes: &[u8],
    whole: bool,
) -> Option<Answer> {
    if bytes.starts_with(b"HTTP/") {
        return understand_http(target, request, bytes, whole);
    }
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let line = &bytes[..end.or_else(|| whole.then_some(bytes.len()))?];
    let (says, is_refused, needs_token) = match Reply::parse(line) {
        Ok(Reply::Error(refusal)) => {
            let needs_token = refusal.code == RefusalCode::Unauthorized;
            (refusal.message, true, needs_token)
        }
        Ok(Reply::Help(help)) => (help, false, false),
        Ok(_) => (String::new(), false, false),
        Err(_) => return None,
    };
    Some(Answer::Preface(PrefaceAnswer { says, is_refused, needs_token }))
}

/// CONNECT of MQTT 3.1.1 with a clean session and without a name (§3.1); then DISCONNECT.
pub(super) fn mqtt(_: &Target) -> Option<Request> {
    let connect = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 10, 0, 0];
    let mut request = Request::new("CONNECT of MQTT 3.1.1 with a clean session", connect);
    request.farewell = vec![0xe0, 0];
    Some(request)
}

pub(super) fn understand_mqtt(_: &Target, _: &Request, bytes: &[u8], _: bool) -> Option<Answer> {
    match bytes {
        [0x20, 2, _, code, ..] => Some(Answer::Mqtt { code: *code }),
        _ => None,
    }
}

/// The user agent of the probes.
const AGENT: &str = concat!("anyport/", env!("CARGO_PKG_VERSION"));

const FIELDS: [(&str, &str); 1] = [("User-Agent", AGENT)];

/// Maximum size of a report that is parsed, in bytes.
const LONGEST_REPORT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        "127.0.0.1:1".parse().unwrap()
    }

    #[test]
    fn answers_are_cut_before_they_are_kept() {
        let long = "x".repeat(10_000);
        let head = format!("HTTP/1.1 200 OK\r\nServer: {long}\r\nContent-Length: 0\r\n\r\n{long}");
        let request = options(&target()).unwrap();
        let answer = understand_http(&target(), &request, head.as_bytes(), true);
        let Some(Answer::Http(answer)) = answer else { panic!("{answer:?}") };
        assert_eq!((answer.server.unwrap().len(), answer.says.len()), (SHOWN, SHOWN));
    }

    #[test]
    fn an_answer_is_understood_in_every_segmentation() {
        let request = preface(&target()).unwrap();
        let line = b"ANYPORT/1 ERROR unauthorized a token is required\n";
        for count in 0..line.len() {
            assert!(understand_preface(&target(), &request, &line[..count], false).is_none());
        }
        let answer = understand_preface(&target(), &request, line, false);
        let Some(Answer::Preface(answer)) = answer else { panic!("{answer:?}") };
        assert!(answer.is_refused && answer.needs_token, "{answer:?}");
        let connack = [0x20, 2, 0, 5];
        assert!(understand_mqtt(&target(), &request, &connack[..3], false).is_none());
        let answer = understand_mqtt(&target(), &request, &connack, false);
        assert!(matches!(answer, Some(Answer::Mqtt { code: 5 })), "{answer:?}");
    }
}
