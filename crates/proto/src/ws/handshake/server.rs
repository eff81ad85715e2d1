//! The server's side of the opening handshake (RFC 6455 §4.2).
//!
//! A refusal is a complete HTTP response with one line that names the rule, for the author of the
//! client. An extension is selected only if the policy has one.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

use super::VERSION;
use super::extensions::{self, Malformed};
use super::key::Key;
use super::origin::{Origin, split_port};
use crate::http1::{RequestHead, plain_response};
use crate::ws::DeflateParameters;

/// Requirements of a server beyond the RFC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy<'a> {
    /// Supported subprotocols, in order of preference.
    pub subprotocols: &'a [&'a str],
    /// The web pages that may connect.
    pub origin: OriginPolicy<'a>,
    /// Whether to accept permessage-deflate (RFC 7692).
    pub deflate: bool,
}

/// The web pages that may connect.
///
/// Browsers send the cookies of a host with each handshake, whatever page starts it, and name the
/// page in `Origin` (RFC 6455 §10.2); other programs send no Origin and are not concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OriginPolicy<'a> {
    /// Pages of this host and port, and programs.
    #[default]
    SameHost,
    /// As `SameHost`, and pages of these origins; `null` is never one of them.
    SameHostOr(&'a [Origin]),
    /// Any page.
    Any,
}

/// An accepted handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// The head to send; frames follow it.
    pub response: Vec<u8>,
    /// The selected subprotocol, one of the policy's.
    pub subprotocol: Option<String>,
    /// Parameters of compression, if it was negotiated.
    pub deflate: Option<DeflateParameters>,
}

/// Checks an opening handshake, and returns the response.
///
/// Bytes after the head are the client's first frames, which need not wait for the response.
///
/// # Errors
/// The request is not an opening handshake of RFC 6455, or the policy forbids it.
pub fn accept(head: &RequestHead, policy: &Policy<'_>) -> Result<Acceptance, Refusal> {
    check_upgrade(head)?;
    let key = sole_key(&head.fields)?;
    check_no_content(head)?;
    check_origin(head, policy.origin)?;
    let subprotocol = choose_subprotocol(head, policy.subprotocols);
    let offers = extensions::parse(&head.fields).map_err(|Malformed| Refusal::Extensions)?;
    let deflate = if policy.deflate { extensions::choose(&offers) } else { None };
    let response = switching_protocols(&key, subprotocol, deflate.as_ref());
    Ok(Acceptance { response, subprotocol: subprotocol.map(str::to_owned), deflate })
}

/// Why an opening handshake is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The method is not GET.
    #[error("method of a WebSocket handshake is GET, not {method} (RFC 6455 §4.1)")]
    Method {
        /// The received value.
        method: Method,
    },
    /// The version of HTTP is not 1.1.
    #[error("WebSocket handshake needs HTTP/1.1, not {version:?} (RFC 6455 §4.1)")]
    HttpVersion {
        /// The received value.
        version: Version,
    },
    /// `Upgrade` does not list `websocket`.
    #[error("Upgrade does not list websocket (RFC 6455 §4.2.1)")]
    NoUpgrade,
    /// `Connection` does not list `upgrade`.
    #[error("Connection does not list upgrade (RFC 6455 §4.2.1)")]
    NoConnectionUpgrade,
    /// `Sec-WebSocket-Version` is absent, repeated or not 13.
    #[error("Sec-WebSocket-Version is not 13 (RFC 6455 §4.4)")]
    WebSocketVersion,
    /// No `Sec-WebSocket-Key`.
    #[error("no Sec-WebSocket-Key (RFC 6455 §4.2.1)")]
    MissingKey,
    /// More than one `Sec-WebSocket-Key`.
    #[error("more than one Sec-WebSocket-Key (RFC 6455 §11.3.1)")]
    RepeatedKey,
    /// A `Sec-WebSocket-Key` that is not base64 of 16 bytes.
    #[error("Sec-WebSocket-Key is not base64 of 16 bytes (RFC 6455 §4.2.1)")]
    MalformedKey,
    /// `Sec-WebSocket-Extensions` does not follow its grammar.
    #[error("Sec-WebSocket-Extensions is malformed (RFC 6455 §9.1)")]
    Extensions,
    /// The request announces content, which another reader might interpret as frames.
    #[error("WebSocket handshake announces content (RFC 9110 §7.8)")]
    Content,
    /// A page of another host opened the connection.
    #[error("origin {origin} is neither this host, {host}, nor an allowed origin (RFC 6455 §10.2)")]
    CrossOrigin {
        /// The received value; `null` if it is not text.
        origin: String,
        /// Host and port of the request.
        host: String,
    },
}

impl Refusal {
    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoUpgrade | Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::CrossOrigin { .. } => StatusCode::FORBIDDEN,
            Self::HttpVersion { .. }
            | Self::NoConnectionUpgrade
            | Self::MissingKey
            | Self::RepeatedKey
            | Self::MalformedKey
            | Self::Extensions
            | Self::Content => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns the complete response to send before closing.
    pub fn response(&self) -> Vec<u8> {
        let extra: &[(&str, &str)] = match self {
            Self::Method { .. } => &[("Allow", "GET")],
            Self::NoUpgrade | Self::WebSocketVersion => &UPGRADE_REQUIRED,
            _ => &[],
        };
        let with_body = !matches!(self, Self::Method { method } if *method == Method::HEAD);
        plain_response(self.status(), extra, &format!("{self}\n"), with_body)
    }
}

fn check_upgrade(head: &RequestHead) -> Result<(), Refusal> {
    if head.method != Method::GET {
        return Err(Refusal::Method { method: head.method.clone() });
    }
    if head.version != Version::HTTP_11 {
        return Err(Refusal::HttpVersion { version: head.version });
    }
    if !head.is_websocket_upgrade() {
        return Err(Refusal::NoUpgrade);
    }
    // RFC 6455 §4.2.1: a list, not a word. Firefox sends `keep-alive, Upgrade`.
    if !head.has_token(header::CONNECTION, "upgrade") {
        return Err(Refusal::NoConnectionUpgrade);
    }
    let version = sole(&head.fields, header::SEC_WEBSOCKET_VERSION);
    if !matches!(version, Sole::One(value) if value == VERSION) {
        return Err(Refusal::WebSocketVersion);
    }
    Ok(())
}

fn sole_key(fields: &HeaderMap) -> Result<Key, Refusal> {
    match sole(fields, header::SEC_WEBSOCKET_KEY) {
        Sole::None => Err(Refusal::MissingKey),
        Sole::Many => Err(Refusal::RepeatedKey),
        Sole::One(value) => Key::from_field(value.as_bytes()).ok_or(Refusal::MalformedKey),
    }
}

fn check_no_content(head: &RequestHead) -> Result<(), Refusal> {
    let length = head.content_length().unwrap_or(0);
    if length != 0 || head.fields.contains_key(header::TRANSFER_ENCODING) {
        return Err(Refusal::Content);
    }
    Ok(())
}

/// Checks that the page that sends a request may do so.
///
/// Not only for handshakes: a page of any host can make a browser POST.
///
/// # Errors
/// The page is of another host, and not allowed by `policy`.
pub fn check_origin(head: &RequestHead, policy: OriginPolicy<'_>) -> Result<(), Refusal> {
    let allowed = match policy {
        OriginPolicy::Any => return Ok(()),
        OriginPolicy::SameHost => &[],
        OriginPolicy::SameHostOr(allowed) => allowed,
    };
    let origin = match sole(&head.fields, header::ORIGIN) {
        Sole::None => return Ok(()),
        Sole::One(origin) => origin.to_str().unwrap_or("null"),
        Sole::Many => "null",
    };
    let is_allowed = || origin.parse().is_ok_and(|origin: Origin| allowed.contains(&origin));
    if is_same_origin(origin, head) || is_allowed() {
        return Ok(());
    }
    Err(Refusal::CrossOrigin { origin: origin.to_owned(), host: head.host().to_owned() })
}

/// Returns whether the page that sends a request states that it is of this server: its only
/// `Origin` has the scheme as far as it is known, host and port of the URL that the client used.
pub fn is_own_origin(head: &RequestHead, is_encrypted: bool) -> bool {
    let Sole::One(origin) = sole(&head.fields, header::ORIGIN) else { return false };
    let is_own = |origin: &str| {
        let is_https = origin.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
        is_same_origin(origin, head) && (is_https || !is_encrypted)
    };
    origin.to_str().is_ok_and(is_own)
}

/// Returns whether a page from `origin` is of the URL that the client used: scheme too, where a
/// trusted proxy states it.
fn is_same_origin(origin: &str, head: &RequestHead) -> bool {
    let is_scheme = |scheme: &str| {
        origin.split_once("://").is_some_and(|(other, _)| other.eq_ignore_ascii_case(scheme))
    };
    is_same_host(origin, head.host()) && head.forwarded_scheme().is_none_or(is_scheme)
}

/// Returns whether a page from `origin` is of `host`. A missing port is the default of the origin's
/// scheme: the scheme of the request is unknown here, because a proxy may have terminated TLS.
fn is_same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => 80,
        _ if scheme.eq_ignore_ascii_case("https") => 443,
        _ => return false,
    };
    let (Some(page), Some(ours)) = (split_port(authority), split_port(host)) else { return false };
    !ours.0.is_empty()
        && page.0.eq_ignore_ascii_case(ours.0)
        && page.1.unwrap_or(default) == ours.1.unwrap_or(default)
}

/// Returns the server's own text, so that a response never contains an unsupported name.
fn choose_subprotocol<'a>(head: &RequestHead, ours: &[&'a str]) -> Option<&'a str> {
    let offered = |name: &str| {
        head.field_tokens(header::SEC_WEBSOCKET_PROTOCOL).any(|element| element == name)
    };
    ours.iter().copied().find(|name| offered(name))
}

fn switching_protocols(
    key: &Key,
    subprotocol: Option<&str>,
    deflate: Option<&DeflateParameters>,
) -> Vec<u8> {
    let mut text = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n",
        key.accept(),
    );
    if let Some(name) = subprotocol {
        text.push_str(&format!("Sec-WebSocket-Protocol: {name}\r\n"));
    }
    if let Some(agreed) = deflate {
        text.push_str(&format!("Sec-WebSocket-Extensions: {}\r\n", extensions::answer(agreed)));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// A field that must not be repeated.
pub(super) enum Sole<'a> {
    None,
    One(&'a HeaderValue),
    Many,
}

pub(super) fn sole(fields: &HeaderMap, name: HeaderName) -> Sole<'_> {
    let mut values = fields.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (None, _) => Sole::None,
        (Some(value), None) => Sole::One(value),
        (Some(_), Some(_)) => Sole::Many,
    }
}

/// RFC 9110 §15.5.22: a 426 names the protocol to upgrade to, and RFC 6455 §4.4 the version.
const UPGRADE_REQUIRED: [(&str, &str); 3] =
    [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", VERSION)];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::{HeadReader, Pushed, ResponseHead, ResponseHeadReader};
    use crate::limits::Limits;

    const GOOD: [&str; 5] = [
        "Host: server.example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ];

    fn head(start: &str, fields: &[&str]) -> RequestHead {
        let wire = format!("{start}\r\n{}\r\n\r\n", fields.join("\r\n"));
        match HeadReader::new().push(wire.as_bytes(), &Limits::default()) {
            Ok(Pushed::Done { head, .. }) => head,
            other => panic!("{wire:?} gave {other:?}"),
        }
    }

    fn answer(fields: &[&str], policy: &Policy<'_>) -> Result<Acceptance, Refusal> {
        accept(&head("GET /chat HTTP/1.1", fields), policy)
    }

    /// The valid handshake with the field of that name replaced, or removed if `field` is only a
    /// name.
    fn with(field: &str) -> Result<Acceptance, Refusal> {
        let (name, value) = field.split_once(':').unwrap_or((field, ""));
        let mut fields = GOOD.to_vec();
        fields.retain(|good| !good.starts_with(name));
        if !value.is_empty() {
            fields.push(field);
        }
        answer(&fields, &Policy::default())
    }

    /// The valid handshake with more fields.
    fn and(more: &[&str], policy: &Policy<'_>) -> Result<Acceptance, Refusal> {
        answer(&[&GOOD[..], more].concat(), policy)
    }

    fn refused(answer: Result<Acceptance, Refusal>) -> (Refusal, ResponseHead) {
        let refusal = answer.expect_err("refused");
        let wire = refusal.response();
        match ResponseHeadReader::new().push(&wire, &Limits::default()) {
            Ok(Pushed::Done { head, used }) => {
                assert_eq!(head.status, refusal.status());
                let body = String::from_utf8(wire[used..].to_vec()).expect("text");
                assert_eq!(body, format!("{refusal}\n"));
                assert!(body.contains("RFC"), "{body}");
                (refusal, head)
            }
            other => panic!("{refusal} is answered with {other:?}"),
        }
    }

    #[test]
    fn hs_4_handshake_of_the_rfc_is_accepted_with_its_answer() {
        let acceptance = answer(&GOOD, &Policy::default()).expect("accepted");
        let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(String::from_utf8(acceptance.response).expect("text"), expected);
        assert_eq!(acceptance.subprotocol, None);
    }

    #[test]
    fn hs_1_upgrade_and_connection_are_lists_without_case() {
        for field in [
            "Connection: keep-alive, Upgrade",
            "Connection: UPGRADE",
            "Connection: a,\tupgrade ,b",
            "Upgrade: WebSocket",
            "Upgrade: h2c, websocket",
        ] {
            assert!(with(field).is_ok(), "{field}");
        }
        assert!(and(&["Connection: keep-alive"], &Policy::default()).is_ok());
        assert_eq!(refused(with("Connection")).0, Refusal::NoConnectionUpgrade);
        assert_eq!(refused(with("Connection: keep-alive")).0, Refusal::NoConnectionUpgrade);
        assert_eq!(refused(with("Connection: upgrades")).0, Refusal::NoConnectionUpgrade);
        assert_eq!(refused(with("Upgrade: h2c")).0, Refusal::NoUpgrade);
        assert_eq!(refused(with("Upgrade")).1.status, StatusCode::UPGRADE_REQUIRED);
    }

    #[test]
    fn hs_1_only_get_of_http_1_1() {
        let posted = accept(&head("POST / HTTP/1.1", &GOOD), &Policy::default());
        let (refusal, response) = refused(posted);
        assert_eq!(refusal, Refusal::Method { method: Method::POST });
        assert_eq!(
            (response.status.as_u16(), &response.fields["allow"]),
            (405, &"GET".parse().unwrap())
        );
        let old = accept(&head("GET / HTTP/1.0", &GOOD), &Policy::default());
        assert_eq!(refused(old).1.status, StatusCode::BAD_REQUEST);
        let probed = accept(&head("HEAD / HTTP/1.1", &GOOD), &Policy::default()).unwrap_err();
        assert!(probed.response().ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn hs_2_key_is_exactly_one_of_16_bytes() {
        assert_eq!(refused(with("Sec-WebSocket-Key")).0, Refusal::MissingKey);
        assert_eq!(refused(with("Sec-WebSocket-Key: c2hvcnQ=")).0, Refusal::MalformedKey);
        let twice = and(&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="], &Policy::default());
        let (refusal, response) = refused(twice);
        assert_eq!((refusal, response.status), (Refusal::RepeatedKey, StatusCode::BAD_REQUEST));
    }

    #[test]
    fn pd_1_extensions_are_answered_by_policy_and_checked_by_grammar() {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
        let silent = and(&[offer], &Policy::default()).expect("accepted");
        assert_eq!(silent.deflate, None);
        assert!(!String::from_utf8_lossy(&silent.response).contains("Extensions"));
        let policy = Policy { deflate: true, ..Policy::default() };
        let agreed = and(&[offer], &policy).expect("accepted");
        assert!(agreed.deflate.is_some());
        let text = String::from_utf8(agreed.response).expect("text");
        assert!(text.contains("\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"), "{text}");
        let malformed = and(&["Sec-WebSocket-Extensions: a;;b"], &Policy::default());
        assert_eq!(refused(malformed).0, Refusal::Extensions);
    }

    #[test]
    fn hs_3_other_versions_are_answered_with_426_and_ours() {
        for field in [
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Version: 8",
            "Sec-WebSocket-Version: 013",
            "Sec-WebSocket-Version: 13, 8",
        ] {
            let (refusal, response) = refused(with(field));
            assert_eq!(refusal, Refusal::WebSocketVersion, "{field}");
            assert_eq!(response.status, StatusCode::UPGRADE_REQUIRED);
            assert_eq!(response.fields["sec-websocket-version"], "13");
            assert!(response.has_token(header::UPGRADE, "websocket"));
            assert!(response.has_token(header::CONNECTION, "close"));
        }
        let twice = and(&["Sec-WebSocket-Version: 13"], &Policy::default());
        assert_eq!(refused(twice).0, Refusal::WebSocketVersion);
    }

    #[test]
    fn hs_5_at_most_one_subprotocol_and_only_if_offered() {
        let policy = Policy { subprotocols: &["anyport.2", "anyport.1"], ..Policy::default() };
        let chosen = |offer: &[&str]| and(offer, &policy).expect("accepted");
        let acceptance = chosen(&[
            "Sec-WebSocket-Protocol: chat, anyport.1",
            "sec-websocket-protocol: mqtt ,anyport.2",
        ]);
        assert_eq!(acceptance.subprotocol.as_deref(), Some("anyport.2"));
        let text = String::from_utf8(acceptance.response).expect("text");
        assert_eq!(text.matches("Sec-WebSocket-Protocol: anyport.2\r\n").count(), 1);
        assert_eq!(
            chosen(&["Sec-WebSocket-Protocol: anyport.1"]).subprotocol.unwrap(),
            "anyport.1"
        );
        for offer in ["chat", "ANYPORT.1", "anyport.11", "\"anyport.1\""] {
            let acceptance = chosen(&[&format!("Sec-WebSocket-Protocol: {offer}")]);
            assert_eq!(acceptance.subprotocol, None, "{offer}");
        }
        assert_eq!(chosen(&[]).subprotocol, None);
    }

    /// ws CVE-2021-32640: a value made to be parsed slowly. A head of maximum size is scanned once.
    #[test]
    fn hs_5_lists_as_long_as_a_head_are_read_and_answered_by_one_word() {
        let policy = Policy { subprotocols: &["anyport.1"], ..Policy::default() };
        for filler in [" ", ",", "a,", "a ,\t", "\t , "] {
            let list = filler.repeat(7000 / filler.len());
            let field = format!("Sec-WebSocket-Protocol: x,{list},anyport.1");
            let acceptance = and(&[&field, &field], &policy).expect("accepted");
            assert_eq!(acceptance.subprotocol.as_deref(), Some("anyport.1"), "{filler:?}");
            let field = format!("Connection: x{}y,{list},upgrade", " ".repeat(5000));
            assert!(with(&field).is_ok(), "{filler:?}");
        }
    }

    #[test]
    fn hs_6_no_extension_is_answered() {
        let offer = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-y"];
        let text = String::from_utf8(and(&offer, &Policy::default()).unwrap().response).unwrap();
        assert!(!text.to_lowercase().contains("extensions"), "{text}");
    }

    #[test]
    fn hs_9_upgrade_with_content_is_refused() {
        for field in ["Content-Length: 1", "Transfer-Encoding: chunked", "Transfer-Encoding: x"] {
            let (refusal, response) = refused(and(&[field], &Policy::default()));
            assert_eq!((refusal, response.status.as_u16()), (Refusal::Content, 400), "{field}");
        }
        assert!(and(&["Content-Length: 0"], &Policy::default()).is_ok());
    }

    #[test]
    fn hs_10_origin_is_this_host_or_absent() {
        let table = [
            ("server.example.com", "http://server.example.com", true),
            ("server.example.com", "https://Server.Example.COM", true),
            ("server.example.com", "http://server.example.com:80", true),
            ("server.example.com:443", "https://server.example.com", true),
            ("server.example.com:8331", "http://server.example.com:8331", true),
            ("[::1]:8331", "http://[::1]:8331", true),
            ("[::1]", "http://[::1]:80", true),
            ("server.example.com", "http://server.example.com:8331", false),
            ("server.example.com:8331", "http://server.example.com", false),
            ("server.example.com:443", "http://server.example.com", false),
            ("[::1]:8331", "http://[::2]:8331", false),
            ("server.example.com", "http://evil.com", false),
            ("server.example.com", "http://evilserver.example.com", false),
            ("server.example.com", "http://server.example.com.evil.com", false),
            ("server.example.com", "http://x@server.example.com", false),
            ("server.example.com", "http://server.example.com/", false),
            ("server.example.com", "http://server.example.com:80:80", false),
            ("server.example.com", "http://server.example.com:65616", false),
            ("server.example.com", "server.example.com", false),
            ("server.example.com", "chrome-extension://server.example.com", false),
            ("server.example.com", "file://", false),
            ("server.example.com", "null", false),
            ("server.example.com", "http://server.example.com http://evil.com", false),
            ("server.example.com", "http://ü", false),
            ("", "http://", false),
        ];
        for (host, origin, same) in table {
            let host = format!("Host: {host}");
            let origin = format!("Origin: {origin}");
            let fields = [&[host.as_str(), &origin][..], &GOOD[1..]].concat();
            let any = Policy { origin: OriginPolicy::Any, ..Policy::default() };
            assert!(answer(&fields, &any).is_ok(), "{host} {origin}");
            let strict = answer(&fields, &Policy::default());
            assert_eq!(strict.is_ok(), same, "{host} {origin}");
            if !same {
                assert_eq!(refused(strict).1.status, StatusCode::FORBIDDEN);
            }
        }
        let twice = ["Origin: http://server.example.com", "Origin: http://server.example.com"];
        assert_eq!(refused(and(&twice, &Policy::default())).1.status, StatusCode::FORBIDDEN);
    }

    #[test]
    fn hs_10_the_own_origin_is_stated_once_with_its_scheme() {
        let is_own = |start: &str, origins: &[&str], is_encrypted| {
            let origins: Vec<_> =
                origins.iter().map(|origin| format!("Origin: {origin}")).collect();
            let mut fields = vec!["Host: a.example:8331"];
            fields.retain(|_| start.ends_with("1.1"));
            fields.extend(origins.iter().map(String::as_str));
            is_own_origin(&head(start, &fields), is_encrypted)
        };
        let (get, plain, tls) =
            ("GET / HTTP/1.1", "http://a.example:8331", "https://A.example:8331");
        for (origins, is_encrypted, expected) in [
            (&[plain][..], false, true),
            // A proxy that the server does not trust may have terminated TLS.
            (&[tls], false, true),
            (&[tls], true, true),
            (&[plain], true, false),
            (&[], false, false),
            (&["null"], false, false),
            (&["http://a.example:8332"], false, false),
            (&["http://a.example"], false, false),
            (&["http://a.example.:8331"], false, false),
            (&["http://b.a.example:8331"], false, false),
            (&[plain, plain], false, false),
        ] {
            assert_eq!(is_own(get, origins, is_encrypted), expected, "{origins:?}");
        }
        assert!(!is_own("GET / HTTP/1.0", &["http://"], false));
        let mut forwarded = head(get, &["Host: 127.0.0.1:1", "Origin: http://a.example"]);
        forwarded.set_forwarded(Some("a.example".to_owned()), Some(true));
        assert!(!is_own_origin(&forwarded, true));
        forwarded.set_forwarded(Some("a.example".to_owned()), Some(false));
        assert!(is_own_origin(&forwarded, false));
    }

    #[test]
    fn hs_10_listed_origins_are_compared_whole() {
        let listed: Vec<Origin> = ["http://example.com", "https://App.Example.com:8443"]
            .map(|origin| origin.parse().expect("an origin"))
            .to_vec();
        let policy = Policy { origin: OriginPolicy::SameHostOr(&listed), ..Policy::default() };
        for (origin, taken) in [
            ("http://example.com", true),
            ("http://example.com:80", true),
            ("HTTP://EXAMPLE.COM", true),
            ("https://app.example.com:8443", true),
            // The same host.
            ("http://server.example.com", true),
            ("http://example.com.evil.org", false),
            ("http://evil-example.com", false),
            ("http://sub.example.com", false),
            ("http://example.com:8080", false),
            ("https://example.com", false),
            ("https://app.example.com", false),
            ("http://app.example.com:8443", false),
            ("http://example.com/", false),
            ("http://example.com@evil.org", false),
            ("http://evil.org http://example.com", false),
            ("null", false),
        ] {
            let answer = and(&[&format!("Origin: {origin}")], &policy);
            assert_eq!(answer.is_ok(), taken, "{origin}");
            if !taken {
                assert_eq!(refused(answer).1.status, StatusCode::FORBIDDEN, "{origin}");
            }
        }
        let twice = ["Origin: http://example.com", "Origin: http://example.com"];
        assert!(and(&twice, &policy).is_err());
        assert!(and(&[], &policy).is_ok(), "programs send no origin");
    }

    proptest! {
        #[test]
        fn arbitrary_fields_never_panic_and_the_answer_is_one_head(
            fields in prop::collection::vec(
                (
                    prop::sample::select(vec![
                        "Upgrade", "Connection", "Origin", "Sec-WebSocket-Key",
                        "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "X",
                    ]),
                    "[ -~ü:\\[\\]/,]{0,40}",
                ),
                0..8,
            ),
        ) {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let policy = Policy { subprotocols: &["a", "b"], ..Policy::default() };
            for all in [[&GOOD[..], &fields[..]].concat(), [&GOOD[..1], &fields[..]].concat()] {
                let (wire, bodiless) = match answer(&all, &policy) {
                    Ok(acceptance) => (acceptance.response, true),
                    Err(refusal) => (refusal.response(), false),
                };
                let pushed = ResponseHeadReader::new().push(&wire, &Limits::default());
                let Ok(Pushed::Done { head, used }) = pushed else {
                    return Err(TestCaseError::fail(format!("{pushed:?}")));
                };
                let length = head.content_length().unwrap_or(0);
                prop_assert_eq!(length, u64::try_from(wire.len() - used).unwrap());
                prop_assert_eq!(bodiless, head.status == StatusCode::SWITCHING_PROTOCOLS);
            }
        }
    }
}
