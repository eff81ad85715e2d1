//! The client's side of the opening handshake (RFC 6455 §4.1).
//!
//! All input of the caller is checked, so that no host, path or field can inject a line. The
//! server's response is checked before the first frame, so that no other protocol is mistaken for
//! WebSocket.

use http::StatusCode;
use http::header::{self, HeaderName};

use super::VERSION;
use super::extensions::{self, Disagreement, Malformed};
use super::key::Key;
use super::server::{Sole, sole};
use crate::http1::head::is_authority;
use crate::http1::{ResponseHead, is_field};
use crate::ws::DeflateParameters;

/// The request of a client, beyond the handshake itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTarget<'a> {
    /// Host, and port unless it is the default of the scheme.
    pub host: &'a str,
    /// Path and query, percent-encoded; begins with `/`.
    pub path: &'a str,
    /// Subprotocols to offer, in order of preference.
    pub subprotocols: &'a [&'a str],
    /// Further fields: credentials, an origin.
    pub fields: &'a [(&'a str, &'a str)],
    /// Whether to offer permessage-deflate (RFC 7692).
    pub deflate: bool,
}

/// Returns the head of an opening handshake. `key` must be new for each connection.
///
/// # Errors
/// A part of `target` would break or contradict the request.
pub fn request(target: &ClientTarget<'_>, key: &Key) -> Result<Vec<u8>, RequestError> {
    check_target(target)?;
    let mut text = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {VERSION}\r\n",
        target.path, target.host,
    );
    if !target.subprotocols.is_empty() {
        let offer = target.subprotocols.join(", ");
        text.push_str(&format!("Sec-WebSocket-Protocol: {offer}\r\n"));
    }
    if target.deflate {
        text.push_str(&format!("Sec-WebSocket-Extensions: {}\r\n", extensions::OFFER));
    }
    for (name, value) in target.fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    Ok(text.into_bytes())
}

/// The result of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The selected subprotocol, if any.
    pub subprotocol: Option<String>,
    /// Parameters of compression, if it was negotiated.
    pub deflate: Option<DeflateParameters>,
}

/// Checks the response to [`request`] with the same `target` and `key`.
///
/// Bytes after the head are frames.
///
/// # Errors
/// The response is not that of a WebSocket server to this request; the connection must then be
/// closed.
pub fn verify(
    head: &ResponseHead,
    key: &Key,
    target: &ClientTarget<'_>,
) -> Result<Verified, ResponseError> {
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ResponseError::Status { status: head.status });
    }
    if !head.has_token(header::UPGRADE, "websocket") {
        return Err(ResponseError::NoUpgrade);
    }
    if !head.has_token(header::CONNECTION, "upgrade") {
        return Err(ResponseError::NoConnectionUpgrade);
    }
    match sole(&head.fields, header::SEC_WEBSOCKET_ACCEPT) {
        Sole::None => return Err(ResponseError::MissingAccept),
        Sole::Many => return Err(ResponseError::RepeatedAccept),
        Sole::One(accept) if accept != key.accept().as_str() => {
            return Err(ResponseError::WrongAccept);
        }
        Sole::One(_) => {}
    }
    let answered =
        extensions::parse(&head.fields).map_err(|Malformed| ResponseError::MalformedExtensions)?;
    let deflate = extensions::agreed(&answered, target.deflate)?;
    Ok(Verified { subprotocol: agreed_subprotocol(head, target.subprotocols)?, deflate })
}

/// Why an opening handshake cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not `host` or `host:port`.
    #[error("host {host:?} is not a host with an optional port (RFC 9112 §3.2)")]
    Host {
        /// The given value.
        host: String,
    },
    /// Not an absolute path in visible ASCII without fragment.
    #[error(
        "path {path:?} does not begin with / or has bytes to be percent-encoded (RFC 9112 §3.2.1)"
    )]
    Path {
        /// The given value.
        path: String,
    },
    /// Not a token.
    #[error("subprotocol {name:?} is not a token (RFC 6455 §4.1)")]
    Subprotocol {
        /// The given value.
        name: String,
    },
    /// A subprotocol is repeated.
    #[error("subprotocol {name:?} is offered twice (RFC 6455 §4.1)")]
    RepeatedSubprotocol {
        /// The given value.
        name: String,
    },
    /// Not a field: an invalid name, or a value with control bytes. The value may be a secret and
    /// is not shown.
    #[error("field {name:?} has a malformed name or value (RFC 9110 §5)")]
    Field {
        /// The given name.
        name: String,
    },
    /// A field that the handshake sets itself, or one that announces content.
    #[error("field {name:?} belongs to the handshake (RFC 6455 §4.1)")]
    ReservedField {
        /// The given name.
        name: String,
    },
}

/// Why the response of a server is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The server did not switch. The content of its response may say why; the caller reads it.
    #[error("server answered {status} instead of 101 (RFC 6455 §4.1)")]
    Status {
        /// The received value.
        status: StatusCode,
    },
    /// `Upgrade` does not list `websocket`.
    #[error("response: Upgrade does not list websocket (RFC 6455 §4.1)")]
    NoUpgrade,
    /// `Connection` does not list `upgrade`.
    #[error("response: Connection does not list upgrade (RFC 6455 §4.1)")]
    NoConnectionUpgrade,
    /// No `Sec-WebSocket-Accept`.
    #[error("response: no Sec-WebSocket-Accept (RFC 6455 §4.1)")]
    MissingAccept,
    /// More than one `Sec-WebSocket-Accept`.
    #[error("response: more than one Sec-WebSocket-Accept (RFC 6455 §11.3.3)")]
    RepeatedAccept,
    /// `Sec-WebSocket-Accept` belongs to another key: a cached response, or not a WebSocket server.
    #[error("response: Sec-WebSocket-Accept does not match the key (RFC 6455 §4.1)")]
    WrongAccept,
    /// An extension that was not offered.
    #[error("server uses an extension that was not offered (RFC 6455 §4.1)")]
    Extension,
    /// More than the offered extension.
    #[error("server uses more extensions than were offered (RFC 6455 §4.1)")]
    RepeatedExtension,
    /// permessage-deflate with unknown, repeated or impossible parameters.
    #[error("response: unsupported permessage-deflate parameters (RFC 7692 §7.1)")]
    DeflateParameters,
    /// `Sec-WebSocket-Extensions` does not follow its grammar.
    #[error("response: malformed Sec-WebSocket-Extensions (RFC 6455 §9.1)")]
    MalformedExtensions,
    /// More than one subprotocol.
    #[error("server chose more than one subprotocol (RFC 6455 §11.3.4)")]
    RepeatedSubprotocol,
    /// A subprotocol that was not offered.
    #[error("server chose subprotocol {name:?} that was not offered (RFC 6455 §4.1)")]
    UnofferedSubprotocol {
        /// The received value.
        name: String,
    },
}

impl From<Disagreement> for ResponseError {
    fn from(disagreement: Disagreement) -> Self {
        match disagreement {
            Disagreement::NotOffered => Self::Extension,
            Disagreement::Many => Self::RepeatedExtension,
            Disagreement::Parameters => Self::DeflateParameters,
        }
    }
}

fn check_target(target: &ClientTarget<'_>) -> Result<(), RequestError> {
    if !is_authority(target.host) {
        return Err(RequestError::Host { host: target.host.to_owned() });
    }
    if !is_origin_form(target.path) {
        return Err(RequestError::Path { path: target.path.to_owned() });
    }
    for (index, name) in target.subprotocols.iter().enumerate() {
        // A field name is a token, too.
        if name.parse::<HeaderName>().is_err() {
            return Err(RequestError::Subprotocol { name: (*name).to_owned() });
        }
        if target.subprotocols.iter().take(index).any(|earlier| earlier == name) {
            return Err(RequestError::RepeatedSubprotocol { name: (*name).to_owned() });
        }
    }
    for (name, value) in target.fields {
        if !is_field(name, value) {
            return Err(RequestError::Field { name: (*name).to_owned() });
        }
        if is_reserved(name) {
            return Err(RequestError::ReservedField { name: (*name).to_owned() });
        }
    }
    Ok(())
}

fn is_origin_form(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("sec-websocket-") || RESERVED.contains(&name.as_str())
}

fn agreed_subprotocol(
    head: &ResponseHead,
    offered: &[&str],
) -> Result<Option<String>, ResponseError> {
    match sole(&head.fields, header::SEC_WEBSOCKET_PROTOCOL) {
        Sole::None => Ok(None),
        Sole::Many => Err(ResponseError::RepeatedSubprotocol),
        Sole::One(name) => match offered.iter().find(|ours| name == **ours) {
            Some(ours) => Ok(Some((*ours).to_owned())),
            None => {
                let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
                Err(ResponseError::UnofferedSubprotocol { name })
            }
        },
    }
}

const RESERVED: [&str; 5] =
    ["host", "upgrade", "connection", "content-length", "transfer-encoding"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::{HeadReader, Pushed, RequestHead, ResponseHeadReader};
    use crate::limits::Limits;
    use crate::ws::handshake::{Policy, accept};

    const TARGET: ClientTarget<'_> = ClientTarget {
        host: "server.example.com:8331",
        path: "/chat?room=1",
        subprotocols: &[],
        fields: &[],
        deflate: false,
    };

    fn key() -> Key {
        Key::from_bytes(*b"the sample nonce")
    }

    fn read_request(wire: &[u8]) -> Option<RequestHead> {
        match HeadReader::new().push(wire, &Limits::default()) {
            Ok(Pushed::Done { head, used }) if used == wire.len() => Some(head),
            _ => None,
        }
    }

    fn read_response(wire: &[u8]) -> ResponseHead {
        match ResponseHeadReader::new().push(wire, &Limits::default()) {
            Ok(Pushed::Done { head, .. }) => head,
            other => panic!("{:?} gave {other:?}", wire.escape_ascii().to_string()),
        }
    }

    fn answer(fields: &[&str], offered: &[&str]) -> Result<Verified, ResponseError> {
        let wire = format!("HTTP/1.1 101 Switching\r\n{}\r\n\r\n", fields.join("\r\n"));
        let target = ClientTarget { subprotocols: offered, ..TARGET };
        verify(&read_response(wire.as_bytes()), &key(), &target)
    }

    const GOOD: [&str; 3] = [
        "Upgrade: WebSocket",
        "Connection: keep-alive, upgrade",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ];

    #[test]
    fn our_request_is_accepted_by_our_server() {
        let offered = ["b", "a"];
        let fields = [("Authorization", "Bearer ü"), ("Origin", "http://server.example.com:8331")];
        let target = ClientTarget { subprotocols: &offered, fields: &fields, ..TARGET };
        let head = read_request(&request(&target, &key()).unwrap()).unwrap();
        assert_eq!((head.path(), head.query()), ("/chat", Some("room=1")));
        assert_eq!(head.fields["authorization"].as_bytes(), "Bearer ü".as_bytes());
        let policy = Policy { subprotocols: &["a", "b"], ..Policy::default() };
        let acceptance = accept(&head, &policy).unwrap();
        let verified = verify(&read_response(&acceptance.response), &key(), &target).unwrap();
        assert_eq!(verified.subprotocol.as_deref(), Some("a"));
    }

    #[test]
    fn hs_6_answer_must_be_that_of_a_websocket_server_to_this_key() {
        assert_eq!(answer(&GOOD, &[]), Ok(Verified { subprotocol: None, deflate: None }));
        let [upgrade, connection, accept] = GOOD;
        let table: &[(&[&str], ResponseError)] = &[
            (&[connection, accept], ResponseError::NoUpgrade),
            (&["Upgrade: h2c", connection, accept], ResponseError::NoUpgrade),
            (&[upgrade, accept], ResponseError::NoConnectionUpgrade),
            (&[upgrade, connection], ResponseError::MissingAccept),
            (&[upgrade, connection, accept, accept], ResponseError::RepeatedAccept),
            (
                &[upgrade, connection, "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo="],
                ResponseError::WrongAccept,
            ),
            (
                &[upgrade, connection, accept, "Sec-WebSocket-Extensions: permessage-deflate"],
                ResponseError::Extension,
            ),
        ];
        for (fields, expected) in table {
            assert_eq!(answer(fields, &[]).as_ref(), Err(expected), "{fields:?}");
        }
    }

    #[test]
    fn pd_1_the_servers_policy_decides_on_the_clients_offer() {
        let target = ClientTarget { deflate: true, ..TARGET };
        let head = read_request(&request(&target, &key()).unwrap()).unwrap();
        for deflate in [true, false] {
            let policy = Policy { deflate, ..Policy::default() };
            let acceptance = accept(&head, &policy).unwrap();
            let verified = verify(&read_response(&acceptance.response), &key(), &target).unwrap();
            assert_eq!(verified.deflate, acceptance.deflate);
            assert_eq!(verified.deflate.is_some(), deflate);
        }
        let malformed = [&GOOD[..], &["Sec-WebSocket-Extensions: a;"]].concat();
        assert_eq!(answer(&malformed, &[]), Err(ResponseError::MalformedExtensions));
    }

    #[test]
    fn hs_6_another_status_is_reported() {
        let head = read_response(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n");
        let error = verify(&head, &key(), &TARGET).unwrap_err();
        assert_eq!(error, ResponseError::Status { status: StatusCode::FORBIDDEN });
        assert!(error.to_string().contains("403 Forbidden"));
    }

    #[test]
    fn hs_5_subprotocol_must_be_one_that_was_offered() {
        let with = |more: &[&str]| answer(&[&GOOD[..], more].concat(), &["a", "b"]);
        assert_eq!(with(&["Sec-WebSocket-Protocol: b"]).unwrap().subprotocol.unwrap(), "b");
        assert_eq!(with(&[]).unwrap().subprotocol, None);
        for name in ["c", "A", "a, b", ""] {
            let field = format!("Sec-WebSocket-Protocol: {name}");
            let expected = Err(ResponseError::UnofferedSubprotocol { name: name.to_owned() });
            assert_eq!(with(&[&field]), expected);
        }
        let twice = with(&["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: a"]);
        assert_eq!(twice, Err(ResponseError::RepeatedSubprotocol));
    }

    #[test]
    fn hs_9_no_part_of_the_target_can_add_a_line() {
        for host in ["", "a\r\nX: y", "a b", "a/b", "u@a", "a\n", "a?b", "a#b", "a:b:c"] {
            let error = request(&ClientTarget { host, ..TARGET }, &key()).unwrap_err();
            assert_eq!(error, RequestError::Host { host: host.to_owned() });
        }
        for path in ["", "a", "/a b", "/a\r\nX: y", "/a\n", "/\0", "/#a", "/ü", "http://a/"] {
            let error = request(&ClientTarget { path, ..TARGET }, &key()).unwrap_err();
            assert_eq!(error, RequestError::Path { path: path.to_owned() });
        }
        for name in ["", "a b", "a,b", "a\r\n", "ü", "a/b"] {
            let target = ClientTarget { subprotocols: &["fine", name], ..TARGET };
            let error = request(&target, &key()).unwrap_err();
            assert_eq!(error, RequestError::Subprotocol { name: name.to_owned() });
        }
        let twice = ClientTarget { subprotocols: &["a", "a"], ..TARGET };
        let error = request(&twice, &key()).unwrap_err();
        assert_eq!(error, RequestError::RepeatedSubprotocol { name: "a".to_owned() });
        for (name, value) in [("", "b"), ("a b", "c"), ("a:", "b"), ("a", "b\r\nc: d"), ("a", "\0")]
        {
            let target = ClientTarget { fields: &[(name, value)], ..TARGET };
            let error = request(&target, &key()).unwrap_err();
            assert_eq!(error, RequestError::Field { name: name.to_owned() });
            assert!(value.is_empty() || !error.to_string().contains("d\""), "{error}");
        }
        for name in ["Host", "UPGRADE", "Content-Length", "Sec-WebSocket-Extensions"] {
            let target = ClientTarget { fields: &[(name, "x")], ..TARGET };
            let error = request(&target, &key()).unwrap_err();
            assert_eq!(error, RequestError::ReservedField { name: name.to_owned() });
        }
    }

    #[test]
    fn hs_11_each_key_of_the_caller_is_sent_as_it_is() {
        let wires = [[0; 16], [255; 16]].map(|bytes| {
            let key = Key::from_bytes(bytes);
            let head = read_request(&request(&TARGET, &key).unwrap()).unwrap();
            assert_eq!(head.fields["sec-websocket-key"], key.as_str());
            head
        });
        assert_ne!(wires[0], wires[1]);
    }

    /// Redirects are not followed, so no credentials are sent to another server.
    #[test]
    fn hs_12_a_redirect_is_a_refusal_like_others() {
        for status in [301, 302, 303, 307, 308] {
            let wire = format!("HTTP/1.1 {status} Moved\r\nLocation: ws://evil.com/\r\n\r\n");
            let secret = [("Authorization", "Bearer secret")];
            let target = ClientTarget { fields: &secret, ..TARGET };
            let error = verify(&read_response(wire.as_bytes()), &key(), &target).unwrap_err();
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(error, ResponseError::Status { status });
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn hs_7_an_endless_answer_is_refused_at_the_cap() {
        let limits = Limits::default();
        let mut reader = ResponseHeadReader::new();
        let mut taken = 0;
        let answer = b"HTTP/1.1 101 Switching\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
        for byte in answer.take(1 << 20) {
            if reader.push(std::slice::from_ref(byte), &limits).is_err() {
                break;
            }
            taken += 1;
        }
        assert_eq!(taken, limits.head);
    }

    proptest! {
        /// Accepted input gives one head with exactly the intended fields.
        #[test]
        fn hs_9_arbitrary_targets_give_one_whole_head_or_an_error(
            host in "[a-z:\\[\\]\\r\\n @]{0,8}",
            path in "/[ -~\\r\\nü]{0,8}",
            name in "[A-Za-z:\\r\\n -]{0,8}",
            value in "[ -~\\r\\n\\tü]{0,8}",
        ) {
            let fields = [(name.as_str(), value.as_str())];
            let (host, path, fields) = (&host[..], &path[..], &fields[..]);
            let target =
                ClientTarget { host, path, fields, subprotocols: &["a"], deflate: false };
            if let Ok(wire) = request(&target, &key()) {
                let head = read_request(&wire);
                prop_assert!(head.is_some(), "{:?}", wire.escape_ascii().to_string());
                prop_assert_eq!(head.map(|head| head.fields.len()), Some(7));
            }
        }
    }
}
