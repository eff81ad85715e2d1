//! All errors, and their consequences: the text, the exit code, the retry and the hint.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use anyport_net::address::UNIX;
use anyport_net::dial::DialError;
use anyport_net::resolve::address_text;
use anyport_proto::rooms;
use anyport_proto::setting::{
    BINARY, BIND, CONGESTION, NO_RESUME, ON_EXISTS, OUTPUT, PLAIN, PROXY, Setting, TOKEN_FILE,
};
use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::file_path::PathError;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode, Retry};
use anyport_proto::ws::Violation;
use anyport_proto::ws::handshake::ResponseError;
use anyport_store::LocalError;
use anyport_tls::TlsError;
use http::StatusCode;

use super::consequence::{Consequence, ErrorOrigin};
use super::trust;
use crate::proxy::{ProxyError, ProxyUrlError};
use crate::target::{Target, TargetError};

/// The kind of an error.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No address of the server could be connected to, or its name does not resolve.
    Dial(DialError),
    /// A proxy opened no tunnel to the server.
    Proxy {
        /// The host and port of the server.
        target: String,
        /// The host and port of the proxy.
        proxy: String,
        /// The reason.
        reason: Box<ProxyError>,
    },
    /// The variable that applies to the target names no proxy.
    ProxyUrl(ProxyUrlError),
    /// The URL, or its path, names nothing.
    Target(TargetError),
    /// The URL names no room.
    RoomTarget(rooms::TargetError),
    /// The congestion control of this name could not be set.
    Congestion(String),
    /// The runtime could not be started.
    Runtime,
    /// The server is not trusted, or TLS failed.
    Tls(Box<TlsError>),
    /// The server closed the connection instead of answering the ClientHello.
    NoTls,
    /// The server did not answer the handshake of this protocol in time.
    NoHandshake(&'static str),
    /// The connection was lost.
    Lost(Transferred),
    /// A source could not be opened.
    Open,
    /// A file could not be read.
    Read(PathBuf),
    /// A file became shorter than announced.
    Shrank {
        /// The file.
        path: PathBuf,
        /// Its size when it was opened.
        announced: u64,
        /// The bytes that could be read.
        read: u64,
    },
    /// A local file is another one than when sending it began.
    Changed(PathBuf),
    /// A file whose name the protocol does not allow.
    Name(PathBuf, PathError),
    /// Two files would be stored under one name.
    SameName {
        /// The name.
        name: String,
        /// The first file on the command line.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// The server changed the name of this file to one that another of these files has already.
    NotApart {
        /// The name that was offered.
        name: String,
        /// The name that the server made of it.
        stored: String,
    },
    /// Some of several files were not transferred; each has been reported.
    Some {
        /// Number of failed files.
        failed: usize,
        /// Number of all files.
        of: usize,
        /// The operation that failed.
        what: &'static str,
        /// The origin of the first error.
        origin: ErrorOrigin,
    },
    /// The URL cannot stand in the request for a WebSocket.
    Request,
    /// The response to the handshake does not accept it; with the text of its body, if it has one.
    Handshake(ResponseError, String),
    /// The response to the handshake is not HTTP.
    NotHttp,
    /// The server broke a rule of RFC 6455.
    Violation {
        /// The rule.
        rule: Violation,
        /// Whether the connection was interactive, instead of one for transfers.
        interactive: bool,
    },
    /// The WebSocket library reported an error.
    Library,
    /// The server refused.
    Refused(Refusal),
    /// The server closed the WebSocket; code 1005 stands for a Close without a code.
    Closed(u16, String),
    /// A reply that is not a receipt, cut.
    NoReceipt(String),
    /// A reply that violates the protocol, shortened, or the reason.
    Answer(String),
    /// A reply that is not HTTP, or breaks its rules.
    NoHttp(String),
    /// The server redirects to another location.
    Elsewhere {
        /// The status of its response.
        status: String,
        /// The location.
        location: String,
    },
    /// The server announced resumable uploads, but does not follow their protocol.
    NoResource(String),
    /// A third-party server accepted a file under a path that is not that of the URL.
    Renamed(String),
    /// The path of a URL cannot stand in a request.
    BadPath {
        /// The path.
        path: String,
        /// The reason.
        reason: String,
    },
    /// An option that is not supported over HTTP.
    NoWords(Setting, Option<&'static str>),
    /// An interactive connection to an `http://` URL.
    NoChannel,
    /// A server that sends no receipts replied before everything was sent.
    Early {
        /// Content bytes handed to the kernel.
        sent: u64,
        /// The reply.
        answer: String,
    },
    /// The receipt has another count of bytes.
    BytesDiffer {
        /// The client's.
        ours: u64,
        /// The receipt's.
        theirs: u64,
    },
    /// The receipt has another digest.
    DigestDiffers {
        /// The client's.
        ours: Digest,
        /// The receipt's.
        theirs: Digest,
    },
    /// The URL names this directory, but the command needs one file.
    Directory(String),
    /// The server accepts WebSocket, but not the subprotocol of transfers.
    NoFiles,
    /// A listing with more entries than this limit.
    TooMany(u64),
    /// A listing whose names exceed this limit, in bytes.
    TooLong(usize),
    /// A second remote file would be stored under this path.
    SamePath(PathBuf),
    /// A path for which the server sent no listing of anyport.
    NoListing {
        /// The path of the request.
        path: String,
        /// The kind of the existing entry.
        reason: String,
    },
    /// The remote file of this name is no longer the one that was listed.
    ChangedThere(String),
    /// The received content has another digest than the server's.
    ReceivedDiffers {
        /// The file's path on the server.
        name: String,
        /// The digest of the received content.
        ours: Digest,
        /// The digest of the sent content.
        theirs: Digest,
    },
    /// A file cannot be stored at a local path.
    Local(LocalError),
    /// This operation on the output failed.
    Output(&'static str),
    /// The input cannot be read.
    Input,
    /// A room at a URL of this scheme, whose protocol has no rooms.
    NoRooms(&'static str),
    /// The server accepts WebSocket, but not the subprotocol of rooms.
    NoRoom,
    /// The reply to JOIN is not a line of the protocol.
    NoJoin,
    /// An event that is not one of a room.
    Event,
    /// An event longer than this limit, in bytes.
    LongEvent(usize),
    /// A path in a URL of this scheme, whose protocol has no paths.
    NoPath(&'static str, Target),
    /// UDP through a proxy, which forwards streams only.
    NoDatagrams,
    /// No process listens on that UDP port.
    NoPort,
    /// The input line of this number, from 1, cannot be a text message.
    NotText(u64),
    /// The input line of this number exceeds a limit, in bytes.
    LongLine(u64, usize),
}

/// The content transferred over a connection that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transferred {
    /// Content bytes handed to the kernel.
    Sent(u64),
    /// As [`Self::Sent`], over HTTP to a server that continues no upload of another command.
    SentOverHttp(u64),
    /// As [`Self::Sent`], over HTTP to an anyport server, which continues it.
    SentToResume(u64),
    /// Content bytes of the current file.
    Received(u64),
    /// Messages, which are not counted.
    Messages,
}

type Hint = Option<Cow<'static, str>>;

impl ErrorKind {
    /// Returns the consequences of the error and the hint: the one table for every command and
    /// protocol. `cause` is the error of the operating system, if there is one.
    pub(super) fn meaning(&self, cause: Option<&io::Error>) -> (Consequence, Hint) {
        const LOCAL: Consequence = Consequence::LOCAL;
        const LOST: Consequence = Consequence::LOST;
        const FILE: Consequence = Consequence { one_file: true, ..LOCAL };
        const REFUSED: Consequence = Consequence::new(ErrorOrigin::Refused, Retry::Never);
        const UNREACHABLE: Consequence =
            Consequence::new(ErrorOrigin::Unreachable, Retry::Repeatedly);
        const MISMATCH: Consequence = Consequence::new(ErrorOrigin::Mismatch, Retry::Never);
        match self {
            Self::Dial(error) => of_dial(error),
            Self::Proxy { reason, .. } => {
                let retry = if reason.may_pass() { Retry::Repeatedly } else { Retry::Never };
                (Consequence { retry, ..UNREACHABLE }, hint(reason.hint()))
            }
            Self::ProxyUrl(error) => (LOCAL, hint(error.hint())),
            Self::Target(error) => (LOCAL, error.hint().map(Cow::Owned)),
            Self::RoomTarget(_) | Self::NoRooms(_) => {
                (LOCAL, hint("use tcp://HOST:PORT/rooms/NAME or ws://HOST:PORT/rooms/NAME"))
            }
            Self::Congestion(_) => (LOCAL, hint(congestion_hint())),
            Self::Tls(error) => {
                (Consequence::new(ErrorOrigin::Untrusted, Retry::Never), trust::hint_of(error))
            }
            // Either a server without TLS, or a connection that was cut at its beginning.
            Self::NoTls => (
                Consequence::new(ErrorOrigin::Untrusted, Retry::Once),
                hint("without TLS use tcp://, ws://, frames:// or http://"),
            ),
            Self::NoHandshake(_) => {
                (LOST, hint("check that this is an anyport server and the scheme that it accepts"))
            }
            Self::Lost(moved) => (
                LOST,
                match moved {
                    Transferred::Sent(_) if cause.is_some_and(is_own_limit) => hint(format!(
                        "no receipt: is this an anyport server? to send plain bytes: {PLAIN}"
                    )),
                    Transferred::Received(0) if cause.is_some_and(is_own_limit) => {
                        hint("no answer: is this an anyport server?")
                    }
                    Transferred::Received(0) => hint("run the same command again"),
                    Transferred::Sent(_) | Transferred::SentToResume(_) => hint(RESUME_HINT),
                    Transferred::SentOverHttp(_) => {
                        hint("run the same command again; it starts from the beginning")
                    }
                    Transferred::Received(_) => {
                        hint("the partial file is kept; run the same command again to resume")
                    }
                    Transferred::Messages => None,
                },
            ),
            Self::Open | Self::Read(_) => (FILE, None),
            Self::Shrank { .. } | Self::Changed(_) => {
                (FILE, hint("send it again when no other program writes to it"))
            }
            Self::Name(..) => (FILE, hint("give another name in the target: tcp://HOST:PORT/NAME")),
            Self::SameName { .. } => (
                LOCAL,
                hint("send them one by one, each into its own directory: tcp://HOST:PORT/DIR/"),
            ),
            Self::NotApart { .. } => (
                Consequence::of(RefusalCode::Exists),
                hint("send it under another name: tcp://HOST:PORT/NAME"),
            ),
            Self::Some { origin, .. } => (Consequence::new(*origin, Retry::Never), None),
            Self::Handshake(ResponseError::Status { status }, body) => {
                let code = RefusalCode::of_status(*status);
                let hint = match code {
                    RefusalCode::Unauthorized => hint(token_hint()),
                    _ if is_explained(*status, body) => None,
                    _ => hint("no WebSocket at this path; for files try http://"),
                };
                // It concerns the connection, whichever file was to be the first.
                (Consequence { one_file: false, ..Consequence::of(code) }, hint)
            }
            Self::Handshake(..) => (REFUSED, None),
            Self::NotHttp | Self::NoFiles => (REFUSED, hint(ANYPORT_HINT)),
            Self::Violation { interactive: true, .. } | Self::Event | Self::LongEvent(_) => {
                (REFUSED, None)
            }
            Self::Refused(refusal) => (Consequence::of(refusal.code), hint_of(refusal)),
            Self::Closed(code, reason) => {
                let frames = format!(
                    "frames:// cannot carry a token: use ws:// or tcp:// with {TOKEN_FILE} FILE"
                );
                let hint = hint(frames).filter(|_| reason.starts_with("a token is required"));
                (Consequence::of_close(*code), hint)
            }
            Self::NoReceipt(answer) | Self::Answer(answer) => {
                let is_http = answer.starts_with("HTTP/") || answer.starts_with('<');
                let http = hint("this looks like an HTTP server; use http://");
                (LOCAL, http.filter(|_| is_http))
            }
            Self::NoHttp(_) => (REFUSED, hint("check that this is an HTTP server, or try tcp://")),
            Self::Elsewhere { location, .. } => {
                let use_it = location.starts_with("http").then(|| format!("use {location}"));
                (REFUSED, use_it.map(Cow::Owned))
            }
            Self::NoResource(_) => (REFUSED, hint(format!("send it as one request: {NO_RESUME}"))),
            Self::Renamed(_) => {
                (FILE, hint("write the whole path in the URL: http://HOST/PATH/NAME"))
            }
            Self::NoWords(ON_EXISTS, Some("overwrite")) => (
                LOCAL,
                hint(format!(
                    "leave it out: a server started with {ON_EXISTS} overwrite replaces files"
                )),
            ),
            Self::NoWords(..) => {
                (LOCAL, hint("leave it out, or use tcp:// or ws:// (tls://, wss://)"))
            }
            Self::NoChannel => (LOCAL, hint("use tcp:// or ws:// (tls://, wss://)")),
            Self::Early { .. } => (Consequence { retry: Retry::Never, ..LOST }, None),
            Self::BytesDiffer { .. } | Self::DigestDiffers { .. } => {
                (MISMATCH, hint("do not trust the stored file; send it again"))
            }
            Self::Directory(_) => {
                (LOCAL, hint("end the URL with / to receive the whole directory"))
            }
            Self::SamePath(_) => (
                FILE,
                hint(format!("receive them one by one with {OUTPUT}, or use {ON_EXISTS} rename")),
            ),
            Self::NoListing { .. } => (
                REFUSED,
                hint(
                    "over HTTP only anyport servers list files; try tcp:// or ws://, or the URL of \
                     one file",
                ),
            ),
            // A source that changed is received from its first byte.
            Self::ChangedThere(_) => {
                (Consequence { one_file: true, ..LOST }, hint("run the same command again"))
            }
            Self::ReceivedDiffers { .. } => (
                Consequence { one_file: true, retry: Retry::Once, ..MISMATCH },
                hint(
                    "the file changed during the transfer or was corrupted; run the same command \
                     again",
                ),
            ),
            Self::Local(LocalError::Exists(_)) => (
                FILE,
                hint(format!(
                    "use {ON_EXISTS} overwrite to replace it, or {ON_EXISTS} rename to keep both"
                )),
            ),
            Self::Local(LocalError::NotReplaced(..)) => (
                LOCAL,
                hint(format!("only regular files are replaced; give another name with {OUTPUT}")),
            ),
            Self::Local(LocalError::StoredAs(..)) => (
                FILE,
                hint(format!(
                    "receive it into another directory, or use {ON_EXISTS} rename to keep both"
                )),
            ),
            // A full disk concerns every file that is stored there.
            Self::Local(LocalError::Io(_, _, error)) if is_of_disk(error) => (LOCAL, None),
            Self::Local(LocalError::Io(..) | LocalError::Busy(_)) => (FILE, None),
            Self::NoRoom | Self::NoJoin => (
                REFUSED,
                hint("check that this is an anyport server; for other servers use anyport cat"),
            ),
            Self::NoPath("udp", _) => (LOCAL, hint("leave out the path")),
            Self::NoPath(_, target) => (
                LOCAL,
                Some(Cow::Owned(format!(
                    "use {}://{}{}, or leave out the path and send ANYPORT/1 ECHO as the first \
                     line",
                    if target.encrypted { "wss" } else { "ws" },
                    target.address(),
                    target.path
                ))),
            ),
            Self::NoDatagrams => (LOCAL, hint(format!("leave out {PROXY}, or use tcp://"))),
            Self::NoPort => (Consequence { retry: Retry::Never, ..UNREACHABLE }, None),
            Self::NotText(_) | Self::LongLine(..) => (
                LOCAL,
                hint(format!("use {BINARY} to send the input unchanged, in binary messages")),
            ),
            Self::Runtime
            | Self::Request
            | Self::Violation { interactive: false, .. }
            | Self::Library
            | Self::BadPath { .. }
            | Self::TooMany(_)
            | Self::TooLong(_)
            | Self::Output(_)
            | Self::Input => (LOCAL, None),
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a column of the table")]
fn hint(text: impl Into<Cow<'static, str>>) -> Hint {
    Some(text.into())
}

fn of_dial(error: &DialError) -> (Consequence, Hint) {
    let unreachable = Consequence::new(ErrorOrigin::Unreachable, Retry::Repeatedly);
    match error {
        // A connection that was made, and reset before it could be used.
        DialError::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionReset => {
            (Consequence::LOST, None)
        }
        DialError::Connect { address, source, .. }
            if source.kind() == io::ErrorKind::ConnectionRefused =>
        {
            let address = address_text(*address);
            let hint = format!("is a server running there? try: anyport serve {BIND} {address}");
            (unreachable, Some(Cow::Owned(hint)))
        }
        DialError::Unix { path, source } => (unreachable, hint_of_path(path, source)),
        DialError::Resolve { host, .. } => {
            let hint = format!("check the spelling, or try: anyport resolve {host}");
            (unreachable, Some(Cow::Owned(hint)))
        }
        _ => (unreachable, None),
    }
}

/// Returns the hint for a Unix socket that cannot be connected to.
fn hint_of_path(path: &Path, error: &io::Error) -> Hint {
    let shown = path.display();
    Some(Cow::Owned(match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("only the user and the group of the socket may connect: ls -l {shown}")
        }
        io::ErrorKind::NotFound => {
            format!("is a server running there? try: anyport serve {BIND} {UNIX}{shown}")
        }
        io::ErrorKind::ConnectionRefused => format!(
            "the server has ended, and left its socket; try: anyport serve {BIND} {UNIX}{shown}"
        ),
        io::ErrorKind::NotADirectory => {
            format!("a path on the server follows the socket after a colon: {UNIX}SOCKET:/PATH")
        }
        _ => return None,
    }))
}

/// Returns the hint for a refusal. A server explains how to send a token in the protocol, which is
/// useless on a command line.
fn hint_of(refusal: &Refusal) -> Hint {
    match refusal.code {
        RefusalCode::Unauthorized => hint(token_hint()),
        RefusalCode::NotFound if refusal.message.starts_with("no such file or directory: ") => {
            hint(LIST_HINT)
        }
        _ => refusal.hint.clone().map(Cow::Owned),
    }
}

/// Returns whether a time limit of the client has passed, and not one of the kernel.
fn is_own_limit(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
}

/// Returns whether an error of the local file system affects all files that are stored there.
fn is_of_disk(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// After an interrupted transfer, the next attempt resumes.
pub const RESUME_HINT: &str = "run the same command again to resume";

/// Hint if a server responds, but not like an anyport server.
const ANYPORT_HINT: &str = "check that this is an anyport server, or try tcp://";

/// After a path that the server does not have; the URL of the server follows.
pub const LIST_HINT: &str = "list the files with anyport ls";

/// Returns how a token is given to the commands of the client.
pub(crate) fn token_hint() -> String {
    format!("give the token of this server with {TOKEN_FILE} FILE or in ANYPORT_TOKEN")
}

/// Returns the hint for an algorithm of congestion control that the system does not allow.
pub fn congestion_hint() -> String {
    format!("see sysctl net.ipv4.tcp_allowed_congestion_control, or use {CONGESTION} auto")
}

/// Returns whether the body of a response is an explanation, and not a page.
pub(super) fn is_explained(status: StatusCode, body: &str) -> bool {
    !status.is_success() && !body.trim_start().starts_with('<')
}
