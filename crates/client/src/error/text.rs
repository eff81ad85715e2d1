//! The text of each kind of error.

use std::fmt::Display;

use anyport_proto::counted::counted;
use anyport_proto::rooms;
use anyport_proto::setting::{CONNECT_TIMEOUT, PROXY};
use anyport_proto::ws::handshake::ResponseError;

use super::kind::{ErrorKind, Transferred, is_explained};

impl ErrorKind {
    /// Returns the text, without the cause.
    pub(super) fn text(&self, peer: &dyn Display) -> String {
        match self {
            Self::Dial(error) => error.to_string(),
            Self::Proxy { target, proxy, .. } => {
                format!("cannot connect to {target} through proxy {proxy}")
            }
            Self::ProxyUrl(error) => error.to_string(),
            Self::Target(error) => error.to_string(),
            Self::RoomTarget(error) => error.to_string(),
            Self::Congestion(name) => format!("cannot set the congestion control {name}"),
            Self::Runtime => "cannot start the runtime".to_owned(),
            Self::Tls(_) => format!("TLS handshake with {peer} failed"),
            Self::NoTls => {
                format!("{peer} does not speak TLS: it closed the connection during the handshake")
            }
            Self::NoHandshake(protocol) => {
                format!(
                    "no answer from {peer} to the {protocol} handshake for too long \
                     ({CONNECT_TIMEOUT})"
                )
            }
            Self::Lost(Transferred::Received(0)) => {
                format!("connection to {peer} lost before any content")
            }
            Self::Lost(
                Transferred::Sent(bytes)
                | Transferred::SentOverHttp(bytes)
                | Transferred::SentToResume(bytes),
            ) => {
                format!("connection to {peer} lost after {}", counted(*bytes, "byte"))
            }
            Self::Lost(Transferred::Received(bytes)) => {
                format!("connection to {peer} lost after {} of content", counted(*bytes, "byte"))
            }
            Self::Lost(Transferred::Messages) => format!("connection to {peer} lost"),
            // Its cause has the whole text.
            Self::Open => "cannot open the file".to_owned(),
            Self::Read(path) => format!("cannot read {}", path.display()),
            Self::Shrank { path, announced, read } => format!(
                "{} shrank from {announced} to {read} bytes during the transfer",
                path.display()
            ),
            Self::Changed(path) => format!("{} changed during the transfer", path.display()),
            Self::Name(path, error) => {
                format!("cannot send {}: {}", path.display(), error.reason())
            }
            Self::SameName { name, first, second } => format!(
                "{} and {} would both be stored as {name}",
                first.display(),
                second.display()
            ),
            Self::NotApart { name, stored } => format!(
                "cannot store {name} on {peer}: it would be renamed to {stored}, which exists"
            ),
            Self::Some { failed, of, what, .. } => format!("{failed} of {of} {what}"),
            Self::Request => "cannot request a WebSocket".to_owned(),
            Self::Handshake(answer, body) => {
                format!("WebSocket handshake with {peer} failed: {}", declined(answer, body))
            }
            Self::NotHttp => format!("{peer} does not speak HTTP"),
            Self::Violation { rule, .. } => {
                format!("{peer} violated the WebSocket protocol: {rule} ({})", rule.section())
            }
            Self::Library => format!("the WebSocket library lost the connection to {peer}"),
            Self::Refused(refusal) => format!("{peer} refused: {refusal}"),
            Self::Closed(super::NO_CODE, _) => {
                format!("{peer} closed the WebSocket without a status code")
            }
            Self::Closed(code, reason) => {
                format!("{peer} closed the WebSocket with code {code}{}", quoted(reason))
            }
            Self::NoReceipt(answer) => {
                format!("unexpected reply from {peer}, not a receipt: {answer:?}")
            }
            Self::Answer(answer) => format!("unexpected reply from {peer}: {answer:?}"),
            Self::NoHttp(reason) => format!("{peer} does not speak HTTP: {reason}"),
            Self::Elsewhere { status, location } => format!(
                "redirects are not followed: {peer} answered {status} with the location {location}"
            ),
            Self::NoResource(reason) => {
                format!("cannot create or continue an upload on {peer}: {reason}")
            }
            Self::Renamed(path) => format!(
                "{peer} is not an anyport server (no receipt); it accepted the file as {path}"
            ),
            Self::BadPath { path, reason } => format!("cannot request {path}: {reason}"),
            Self::NoWords(setting, None) => format!("{setting} is not supported over http://"),
            Self::NoWords(setting, Some(value)) => {
                format!("{setting} {value} is not supported over http://")
            }
            Self::NoChannel => "http:// and https:// support file transfers only".to_owned(),
            Self::Early { sent, answer } => format!(
                "{peer} replied before the upload was complete, after {}{}",
                counted(*sent, "byte"),
                quoted(answer)
            ),
            Self::BytesDiffer { ours, theirs } => {
                format!("{peer} received {}, but {ours} were sent", counted(*theirs, "byte"))
            }
            Self::DigestDiffers { ours, theirs } => {
                format!("digest differs: {peer} received {theirs}, but {ours} was sent")
            }
            Self::Directory(name) => format!("{name} is a directory"),
            Self::NoFiles => format!("{peer} does not serve files over WebSocket"),
            Self::TooMany(limit) => {
                format!("listing from {peer} has more than {limit} entries")
            }
            Self::TooLong(limit) => {
                format!("names in the listing from {peer} exceed {limit} bytes in total")
            }
            Self::SamePath(path) => format!(
                "cannot store a second file as {}: this command already received one under this \
                 name",
                path.display()
            ),
            Self::NoListing { path, reason } => format!("cannot list {path} on {peer}: {reason}"),
            Self::ChangedThere(name) => format!("{name} changed on the server during the transfer"),
            Self::ReceivedDiffers { name, ours, theirs } => {
                format!("digest of {name} differs: received {ours}, the server sent {theirs}")
            }
            Self::Local(error) => error.to_string(),
            Self::Output(what) => format!("cannot {what}"),
            Self::Input => "cannot read the input".to_owned(),
            Self::NoRooms(scheme) => format!("rooms are not supported over {scheme}://"),
            Self::NoRoom => format!(
                "{peer} does not support the WebSocket subprotocol {} at this path",
                rooms::SUBPROTOCOL
            ),
            Self::NoJoin => format!("unexpected reply to JOIN from {peer}"),
            Self::Event => format!("invalid room event from {peer}"),
            Self::LongEvent(limit) => {
                format!("room event from {peer} is longer than {limit} bytes")
            }
            Self::NoPath(scheme, _) => format!("{scheme}:// has no paths in cat"),
            Self::NoDatagrams => format!("udp:// is not supported through a proxy ({PROXY})"),
            Self::NoPort => format!("no UDP service at {peer}"),
            Self::NotText(line) => format!("input line {line} is not UTF-8"),
            Self::LongLine(line, limit) => {
                format!("input line {line} is longer than {limit} bytes")
            }
        }
    }
}

/// Returns why a handshake failed, in the server's words if it explained its status.
fn declined(answer: &ResponseError, body: &str) -> String {
    match (answer, quoted(body).strip_prefix(": ")) {
        (ResponseError::Status { status }, _) if !is_explained(*status, body) => {
            format!("the server answered {status} instead of a WebSocket upgrade")
        }
        (ResponseError::Status { status }, Some(said)) => format!("{said} ({status})"),
        _ => answer.to_string(),
    }
}

/// The first line of a peer's text behind a colon, cut: it may be a page.
fn quoted(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let shown = line.chars().filter(|c| !c.is_control()).collect::<String>();
    if shown.is_empty() { String::new() } else { format!(": {}", super::cut(shown.as_bytes())) }
}
