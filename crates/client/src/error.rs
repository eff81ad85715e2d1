//! Why sending failed, and whose fault it was.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyport_net::congestion;
use anyport_net::dial::DialError;
use anyport_net::resolve::address_text;
use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::file_path::PathError;
use anyport_proto::transfer::refusal::{self, Refusal, RefusalCode, Retry};
use anyport_proto::ws::Violation;
use anyport_proto::ws::handshake::{RequestError, ResponseError};
use anyport_tls::TlsError;

use crate::content::OpenError;
use crate::proxy::{ProxyError, ProxyUrlError};
use crate::target::TargetError;

/// Who is to blame, from which the exit code follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blame {
    /// Something on our side.
    Local,
    /// The name does not resolve, or nobody listens.
    Unreachable,
    /// The server said no.
    Refused,
    /// What arrived is not what was sent.
    Mismatch,
    /// The connection broke off; sending again may work.
    BrokenOff,
    /// TLS failed, or the server is not trusted.
    Untrusted,
}

/// Why sending failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No connection came about.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A proxy opened no tunnel to the server.
    #[error("cannot connect to {target} through proxy {proxy}")]
    Proxy {
        /// The host and port of the server.
        target: String,
        /// The host and port of the proxy.
        proxy: String,
        /// Why not.
        #[source]
        source: Box<ProxyError>,
    },
    /// The variable that applies to the target names no proxy.
    #[error(transparent)]
    ProxyUrl(#[from] ProxyUrlError),
    /// The path of the URL is no name.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A socket option could not be set.
    #[error("cannot set the congestion control {name}")]
    Congestion {
        /// As asked.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The runtime of the library engine could not be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// A file could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file could not be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// A file became shorter than announced.
    #[error(
        "{path} shrank from {announced} to {read} bytes during the transfer",
        path = path.display()
    )]
    Shrank {
        /// Which.
        path: PathBuf,
        /// Its size when it was opened.
        announced: u64,
        /// What could be read.
        read: u64,
    },
    /// A file is another one than when sending it began.
    #[error("{path} changed during the transfer", path = path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// A name that cannot be stored as it is.
    #[error("cannot send {path}: {reason}", path = path.display(), reason = source.reason())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with its name there.
        source: PathError,
    },
    /// Two files would be stored under one name.
    #[error("{first} and {second} would both be stored as {name}", first = first.display(), second = second.display())]
    SameName {
        /// The name.
        name: String,
        /// The file that comes first on the command line.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// The server has another file under the name that it made of this one's.
    #[error("cannot store {name} on {peer}: it would be renamed to {stored}, which exists")]
    NotApart {
        /// The server.
        peer: SocketAddr,
        /// The name that was offered.
        name: String,
        /// The name that the server made of it.
        stored: String,
    },
    /// Some of several files were not sent; each has been told of.
    #[error("{failed} of {of} files were not sent")]
    Some {
        /// How many.
        failed: usize,
        /// How many there were.
        of: usize,
        /// Who is to blame for the first.
        blame: Blame,
    },
    /// The URL cannot stand in a request.
    #[error("cannot request a WebSocket")]
    Request(#[from] RequestError),
    /// The server's answer to the handshake is no acceptance.
    #[error("WebSocket handshake with {peer} failed: {}", declined(answer, body))]
    Handshake {
        /// The server.
        peer: SocketAddr,
        /// Its explanation, if it gave one.
        body: String,
        /// What is wrong with its answer.
        answer: ResponseError,
    },
    /// What came back is no HTTP at all.
    #[error("{peer} does not speak HTTP")]
    NotHttp {
        /// The server.
        peer: SocketAddr,
        /// What is wrong with its answer.
        #[source]
        source: anyport_proto::http1::HeadError,
    },
    /// The server broke a rule of RFC 6455.
    #[error("{peer} {}", violated(violation))]
    Violation {
        /// The server.
        peer: SocketAddr,
        /// The rule.
        violation: Violation,
    },
    /// The library engine gave up.
    #[error("the WebSocket library lost the connection to {peer}")]
    Library {
        /// The server.
        peer: SocketAddr,
        /// What it said.
        #[source]
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    /// The server is not trusted, or TLS failed.
    #[error("TLS handshake with {peer} failed")]
    Tls {
        /// The server.
        peer: SocketAddr,
        /// Why not.
        source: Box<TlsError>,
    },
    /// The server closed the connection instead of answering the ClientHello.
    #[error("{peer} does not speak TLS: it closed the connection during the handshake")]
    NoTls {
        /// The server.
        peer: SocketAddr,
    },
    /// The server refused, in its own words.
    #[error("{peer} refused: {refusal}")]
    Refused {
        /// The server.
        peer: SocketAddr,
        /// What it said.
        refusal: Refusal,
    },
    /// The server closed the WebSocket before it gave a receipt.
    #[error("{peer} {}", closed(*code, reason))]
    Closed {
        /// The server.
        peer: SocketAddr,
        /// Its close code; 1005 stands for none.
        code: u16,
        /// Its reason.
        reason: String,
    },
    /// The server's answer is not of the protocol.
    #[error("unexpected reply from {peer}, not a receipt: {answer:?}")]
    Answer {
        /// The server.
        peer: SocketAddr,
        /// What it said, cut.
        answer: String,
    },
    /// The connection ended.
    #[error("connection to {peer} lost after {sent} bytes")]
    BrokenOff {
        /// The server.
        peer: SocketAddr,
        /// Content bytes handed to the kernel.
        sent: u64,
        /// What the kernel said; an unexpected end of the stream if it was closed in order.
        #[source]
        source: io::Error,
    },
    /// The same over HTTP, where no upload is gone on with.
    #[error("connection to {peer} lost after {sent} bytes")]
    Interrupted {
        /// The server.
        peer: SocketAddr,
        /// Content bytes of the file at hand that were taken.
        sent: u64,
        /// What the kernel or hyper said.
        #[source]
        source: io::Error,
    },
    /// What came back is no HTTP, or breaks its rules.
    #[error("{peer} does not speak HTTP: {reason}")]
    NoHttp {
        /// The server.
        peer: SocketAddr,
        /// What is wrong with it.
        reason: String,
    },
    /// The server wants something else to be asked, which may be of somebody else.
    #[error("redirects are not followed: {peer} answered {status} with the location {location}")]
    Elsewhere {
        /// The server.
        peer: SocketAddr,
        /// The status of its answer.
        status: String,
        /// Where it sends.
        location: String,
    },
    /// A server that is none of ours took a file under a path that nobody wrote.
    #[error("{peer} is not an anyport server (no receipt); it accepted the file as {path}")]
    Renamed {
        /// The server.
        peer: SocketAddr,
        /// The path that was asked for.
        path: String,
    },
    /// The path of a URL cannot stand in a request.
    #[error("cannot request {path}: {reason}")]
    BadPath {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option that no field of HTTP says.
    #[error("{what} is not supported over http://")]
    NoWords {
        /// The option.
        what: &'static str,
    },
    /// Requests are no channel for this.
    #[error("http:// and https:// support file transfers only")]
    NoChannel,
    /// A server that gives no receipts spoke before everything was sent.
    #[error("{peer} replied before the upload was complete, after {sent} bytes{said}", said = quoted(answer))]
    Early {
        /// The server.
        peer: SocketAddr,
        /// Content bytes handed to the kernel.
        sent: u64,
        /// What it said.
        answer: String,
    },
    /// The receipt says another count.
    #[error("{peer} received {theirs} bytes, but {ours} were sent")]
    BytesDiffer {
        /// The server.
        peer: SocketAddr,
        /// Ours.
        ours: u64,
        /// The receipt's.
        theirs: u64,
    },
    /// The receipt says another digest.
    #[error("digest differs: {peer} received {theirs}, but {ours} was sent")]
    DigestDiffers {
        /// The server.
        peer: SocketAddr,
        /// Ours.
        ours: Digest,
        /// The receipt's.
        theirs: Digest,
    },
}

impl SendError {
    /// The connection ended; a time-out of ours is called so. What TLS said is no accident, and would be said again.
    pub(crate) fn broken_off(peer: SocketAddr, sent: u64, source: io::Error) -> Self {
        let tls = source.get_ref().and_then(|error| error.downcast_ref::<TlsError>());
        if let Some(tls) = tls {
            return Self::Tls { peer, source: Box::new(tls.clone()) };
        }
        let source = match source.kind() {
            // What a blocking socket says when its time-out has passed.
            io::ErrorKind::WouldBlock => io::Error::new(
                io::ErrorKind::TimedOut,
                "the server neither accepted data nor replied for too long (--timeout)",
            ),
            _ => source,
        };
        Self::BrokenOff { peer, sent, source }
    }

    /// Returns the origin of the error, from which the exit code follows.
    pub fn blame(&self) -> Blame {
        self.consequence().blame
    }

    /// Returns what follows from the error, whichever protocol reported it.
    pub(crate) fn consequence(&self) -> Consequence {
        match self {
            Self::Some { blame, .. } => Consequence::new(*blame, Retry::Never),
            // A connection that was made, and reset before it could be used.
            Self::Dial(DialError::Connect { source, .. })
                if source.kind() == io::ErrorKind::ConnectionReset =>
            {
                Consequence::LOST
            }
            Self::Dial(_) => Consequence::new(Blame::Unreachable, Retry::Repeatedly),
            Self::Proxy { source, .. } => {
                let may_pass = matches!(
                    **source,
                    ProxyError::Dial(_) | ProxyError::Lost(_) | ProxyError::Unreachable(_)
                );
                let retry = if may_pass { Retry::Repeatedly } else { Retry::Never };
                Consequence::new(Blame::Unreachable, retry)
            }
            Self::BrokenOff { .. } | Self::Interrupted { .. } => Consequence::LOST,
            Self::Early { .. } => Consequence::new(Blame::BrokenOff, Retry::Never),
            Self::Refused { refusal, .. } => Consequence::of(refusal.code),
            Self::Closed { code, .. } => Consequence::of_close(*code),
            Self::Handshake { answer: ResponseError::Status { status }, .. } => {
                // It concerns the connection, whichever file was to be the first.
                let of_status = Consequence::of(RefusalCode::of_status(*status));
                Consequence { one_file: false, ..of_status }
            }
            Self::Handshake { .. }
            | Self::NotHttp { .. }
            | Self::NoHttp { .. }
            | Self::Elsewhere { .. } => Consequence::new(Blame::Refused, Retry::Never),
            Self::NotApart { .. } => Consequence::of(RefusalCode::Exists),
            Self::BytesDiffer { .. } | Self::DigestDiffers { .. } => {
                Consequence::new(Blame::Mismatch, Retry::Never)
            }
            Self::Tls { .. } => Consequence::new(Blame::Untrusted, Retry::Never),
            // Either a server without TLS, or a connection that was cut at its beginning.
            Self::NoTls { .. } => Consequence::new(Blame::Untrusted, Retry::Once),
            Self::Open(_)
            | Self::Read { .. }
            | Self::Shrank { .. }
            | Self::Changed { .. }
            | Self::Renamed { .. }
            | Self::Name { .. } => Consequence { one_file: true, ..Consequence::LOCAL },
            _ => Consequence::LOCAL,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Dial(DialError::Connect { address, source, .. })
                if source.kind() == io::ErrorKind::ConnectionRefused =>
            {
                let address = address_text(*address);
                Some(format!("is a server running there? try: anyport serve --bind {address}"))
            }
            Self::Dial(DialError::Resolve { host, .. }) => {
                Some(format!("check the spelling, or try: anyport resolve {host}"))
            }
            Self::Proxy { source, .. } => Some(source.hint().to_owned()),
            Self::ProxyUrl(error) => Some(error.hint().to_owned()),
            Self::Refused { refusal, .. } => hint_of(refusal),
            Self::Handshake { answer: ResponseError::Status { status }, .. }
                if RefusalCode::of_status(*status) == RefusalCode::Unauthorized =>
            {
                Some(TOKEN_HINT.to_owned())
            }
            Self::Changed { .. } | Self::Shrank { .. } => {
                Some("send it again when no other program writes to it".to_owned())
            }
            Self::Congestion { .. } => Some(
                congestion::HINT.to_owned(),
            ),
            Self::Tls { source, .. } => source.hint(),
            Self::Answer { answer, .. } => hint_of_answer(answer),
            Self::NoTls { .. } => Some("without TLS use tcp://, ws://, frames:// or http://".to_owned()),
            Self::NotHttp { .. } => Some(ANYPORT_HINT.to_owned()),
            Self::BrokenOff { .. } => {
                Some(RESUME_HINT.to_owned())
            }
            Self::Interrupted { .. } => {
                Some("run the same command again; uploads over HTTP start from the beginning, over tcp:// they resume".to_owned())
            }
            Self::NoHttp { .. } => Some("check that this is an HTTP server, or try tcp://".to_owned()),
            Self::Elsewhere { location, .. } if location.starts_with("http") => {
                Some(format!("use {location}"))
            }
            Self::Renamed { .. } => {
                Some("write the whole path in the URL: http://HOST/PATH/NAME".to_owned())
            }
            Self::NoWords { what: "--on-exists overwrite" } => Some(
                "leave it out: a server started with --on-exists overwrite replaces files".to_owned(),
            ),
            Self::NoWords { .. } => {
                Some("leave it out, or use tcp:// or ws:// (tls://, wss://)".to_owned())
            }
            Self::NoChannel => Some("use tcp:// or ws:// (tls://, wss://)".to_owned()),
            Self::Name { .. } => {
                Some("give another name in the target: tcp://HOST:PORT/NAME".to_owned())
            }
            Self::SameName { .. } => Some(
                "send them one by one, each into its own directory: tcp://HOST:PORT/DIR/".to_owned(),
            ),
            Self::NotApart { .. } => {
                Some("send it under another name: tcp://HOST:PORT/NAME".to_owned())
            }
            Self::BytesDiffer { .. } | Self::DigestDiffers { .. } => {
                Some("do not trust the stored file; send it again".to_owned())
            }
            _ => None,
        }
    }
}

/// Why content was not sent completely.
pub(crate) enum Stopped {
    /// An error on this machine.
    Local(SendError),
    /// An error of the connection. A refusal that the server has sent explains it better.
    Broken(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// The longest reply that is read: a receipt, a refusal, the response to a handshake.
pub(crate) const LONGEST_ANSWER: usize = 64 * 1024;

/// What follows from an error: the exit code, whether to try again, and whether other files are
/// concerned. Every error of sending and receiving is classified by one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Consequence {
    pub(crate) blame: Blame,
    pub(crate) retry: Retry,
    /// Other files of the same command are not concerned.
    pub(crate) one_file: bool,
}

impl Consequence {
    /// Something on this side.
    pub(crate) const LOCAL: Self = Self::new(Blame::Local, Retry::Never);
    /// The connection was lost.
    pub(crate) const LOST: Self = Self::new(Blame::BrokenOff, Retry::Repeatedly);

    pub(crate) const fn new(blame: Blame, retry: Retry) -> Self {
        Self { blame, retry, one_file: false }
    }

    /// A refusal by its code.
    pub(crate) const fn of(code: RefusalCode) -> Self {
        let refusal::Meaning { retry, failure, one_file, .. } = code.meaning();
        let blame = match failure {
            refusal::Failure::Refused => Blame::Refused,
            refusal::Failure::Mismatch => Blame::Mismatch,
            refusal::Failure::Interrupted => Blame::BrokenOff,
        };
        Self { blame, retry, one_file }
    }

    /// A Close of the server before its answer; 1005 stands for a Close without a code.
    pub(crate) const fn of_close(code: u16) -> Self {
        match code {
            // Going away, service restart, try again later.
            1001 | 1012 | 1013 => Self::of(RefusalCode::Busy),
            1000 | 1005 => Self::LOST,
            _ => Self::new(Blame::Refused, Retry::Never),
        }
    }
}

/// What the user can do about a refusal. A server advises how to show a token on the wire, which is
/// of no use on a command line.
pub(crate) fn hint_of(refusal: &Refusal) -> Option<String> {
    match refusal.code {
        RefusalCode::Unauthorized => Some(TOKEN_HINT.to_owned()),
        RefusalCode::NotFound if refusal.message.starts_with("no such file or directory: ") => {
            Some(LIST_HINT.to_owned())
        }
        _ => refusal.hint.clone(),
    }
}

/// After an interrupted transfer, the next attempt resumes.
pub const RESUME_HINT: &str = "run the same command again to resume";

/// Where a server answers, and not as an anyport server would.
pub(crate) const ANYPORT_HINT: &str = "check that this is an anyport server, or try tcp://";

/// What the client offers where a server has no such file.
pub(crate) const LIST_HINT: &str = "list the files with anyport ls";

/// What to use where a server that speaks HTTP answered another protocol.
pub(crate) fn hint_of_answer(answer: &str) -> Option<String> {
    let is_http = answer.starts_with("HTTP/") || answer.starts_with('<');
    is_http.then(|| "this looks like an HTTP server; use http://".to_owned())
}

/// How a token is given to the commands of the client.
pub(crate) const TOKEN_HINT: &str =
    "give the token of this server with --token-file FILE or in ANYPORT_TOKEN";

/// Why a handshake failed: in the server's words, where it explained its status.
fn declined(answer: &ResponseError, body: &str) -> String {
    match (answer, quoted(body).strip_prefix(": ")) {
        (ResponseError::Status { status }, Some(said)) => format!("{said} ({status})"),
        _ => answer.to_string(),
    }
}

/// How a server closed a WebSocket; 1005 stands for a Close without a code.
pub(crate) fn closed(code: u16, reason: &str) -> String {
    match code {
        1005 => "closed the WebSocket without a status code".to_owned(),
        code => format!("closed the WebSocket with code {code}{}", quoted(reason)),
    }
}

/// Which rule of RFC 6455 a server broke.
pub(crate) fn violated(violation: &Violation) -> String {
    format!("violated the WebSocket protocol: {violation} ({})", violation.section())
}

/// The first line of a peer's text, at most 200 characters: it may be a page.
fn quoted(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let shown: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
    if shown.is_empty() { String::new() } else { format!(": {shown}") }
}
