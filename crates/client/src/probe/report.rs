//! The findings of a probe, as data.

use std::net::SocketAddr;
use std::time::Duration;

use anyport_net::address::Address;
use anyport_proto::about::About;
use anyport_tls::client::Presented;

/// One finding, in the order in which they are made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProbeFinding<'a> {
    /// The name was resolved. A Unix socket has none.
    Resolved(&'a Resolved),
    /// An address was connected to, or not.
    Reached(&'a Reached),
    /// A probe was sent.
    Probed(&'a Probed),
}

/// The addresses of a name.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The addresses, in the order in which clients try them.
    pub addresses: Vec<SocketAddr>,
    /// Number of further addresses, which are not probed.
    pub left_out: usize,
    /// Time that resolving took.
    pub took: Duration,
}

/// The first connection to an address, on which nothing is sent.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The address.
    pub address: Address,
    /// The result.
    pub outcome: Outcome,
    /// Time until the connection was established.
    pub connect: Option<Duration>,
    /// Time from then on until the server's first byte.
    pub first_byte: Option<Duration>,
    /// The path, if a connection of TCP was established.
    pub path: Option<PathReport>,
}

impl Reached {
    pub(super) const fn failed(address: Address, outcome: Outcome) -> Self {
        Self { address, outcome, connect: None, first_byte: None, path: None }
    }
}

/// The result of the first connection to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Connected; the server waits for the client.
    Silent,
    /// Connected; the server speaks first.
    Speaks {
        /// Its protocol in words, if it is known.
        name: Option<&'static str>,
        /// The first bytes.
        greeting: Vec<u8>,
        /// Whether it closed the connection behind them.
        closes: bool,
    },
    /// Connected, and closed by the server before any byte.
    Closes,
    /// Reset by the server before any byte.
    Resets,
    /// The address refuses connections to the port.
    Refused,
    /// No answer.
    TimedOut,
    /// The network has no route to the address.
    NoRoute,
    /// A router or the link reports that the host is not there, or a firewall rejects.
    NoHost,
    /// This machine does not permit the connection.
    Forbidden,
    /// The path of a Unix socket names no file.
    NoFile,
    /// The path of a Unix socket names another kind of file.
    NotASocket,
    /// Another error of the system.
    Failed(String),
}

impl Outcome {
    /// Returns whether a connection was established.
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Silent | Self::Speaks { .. } | Self::Closes | Self::Resets)
    }

    /// Returns its word in JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Speaks { .. } => "speaks-first",
            Self::Closes => "closed",
            Self::Resets => "reset",
            Self::Refused => "refused",
            Self::TimedOut => "timed-out",
            Self::NoRoute => "no-route",
            Self::NoHost => "host-unreachable",
            Self::Forbidden => "not-permitted",
            Self::NoFile => "no-file",
            Self::NotASocket => "not-a-socket",
            Self::Failed(_) => "failed",
        }
    }
}

/// The kernel's statistics of the path to an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathReport {
    /// Smoothed round-trip time, in microseconds.
    pub rtt_us: Option<u64>,
    /// Largest packet that is sent in one piece, in bytes.
    pub mtu: Option<u32>,
    /// Maximum segment size, in bytes.
    pub mss: Option<u32>,
    /// Congestion control of a transfer.
    pub congestion: Option<String>,
}

/// A probe and its answer.
#[derive(Debug, Clone)]
pub struct Probed {
    /// Its name: `http`, `tls-1.3`, `path`, `http2`, `websocket`, `preface` or `mqtt`.
    pub name: &'static str,
    /// Whether it was sent inside TLS.
    pub inside_tls: bool,
    /// The sent request, in words.
    pub sent: String,
    /// Time from the begin of its connection to the answer.
    pub took: Duration,
    /// The answer.
    pub answer: Answer,
}

/// The answer to a probe.
///
/// Bytes and texts are those of the server: make them visible.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Answer {
    /// A response of HTTP/1.1.
    Http(Box<HttpAnswer>),
    /// A completed handshake.
    Tls(Box<TlsAnswer>),
    /// TLS, which failed for this reason.
    TlsRefused(String),
    /// TLS, but not this version.
    TlsVersionRefused,
    /// An alert of TLS to a request in the clear.
    TlsAlert,
    /// The settings of an HTTP/2 server, by number.
    Http2 {
        /// Numbers and values.
        settings: Vec<(u16, u32)>,
        /// The rule of HTTP/2 that the settings or the frames behind them break.
        fault: Option<String>,
    },
    /// A response to the opening handshake with status 101.
    WebSocket(WebSocketAnswer),
    /// A reply of anyport's preface.
    Preface(PrefaceAnswer),
    /// CONNACK of MQTT.
    Mqtt {
        /// 0: accepted.
        code: u8,
    },
    /// An answer of another protocol.
    Known {
        /// The protocol in words.
        name: &'static str,
        /// The first bytes.
        bytes: Vec<u8>,
    },
    /// The request itself.
    Echo,
    /// Bytes of no known protocol.
    Other(Vec<u8>),
    /// The server closed the connection.
    Closed,
    /// The server reset the connection.
    Reset,
    /// No answer within the time limit.
    Silent,
    /// The server accepts no further connection.
    NotConnected(Outcome),
    /// The probe failed on this side.
    Failed(String),
}

/// A response of HTTP.
#[derive(Debug, Clone, Default)]
pub struct HttpAnswer {
    /// `HTTP/1.1`.
    pub version: String,
    /// The status.
    pub status: u16,
    /// Its usual words.
    pub reason: &'static str,
    /// The field `Server`.
    pub server: Option<String>,
    /// The field `Allow`.
    pub allow: Option<String>,
    /// The field `Location`.
    pub location: Option<String>,
    /// The first line of a text.
    pub says: String,
    /// The report of an anyport server.
    pub about: Option<About>,
    /// The rule of HTTP that the response breaks.
    pub fault: Option<String>,
}

impl HttpAnswer {
    /// Returns whether the response serves the request, rather than pointing to TLS.
    fn is_usable(&self) -> bool {
        let to_tls = self.location.as_deref().is_some_and(|place| place.starts_with("https:"));
        !to_tls && !matches!(self.status, 400 | 426 | 497)
    }

    /// Returns whether it may be from an anyport server that reports nothing about itself.
    pub(super) fn may_be_anyport(&self) -> bool {
        self.server.as_deref().is_none_or(|server| server.starts_with("anyport"))
    }
}

/// A TLS handshake.
#[derive(Debug, Clone)]
pub struct TlsAnswer {
    /// `TLS 1.3` or `TLS 1.2`.
    pub version: &'static str,
    /// The cipher suite.
    pub suite: Option<String>,
    /// The selected protocol (ALPN).
    pub alpn: Option<String>,
    /// The certificate, and why it is trusted or not.
    pub presented: Option<Presented>,
    /// Whether the server requests a certificate of the client.
    pub requests_certificate: bool,
    /// Time that the handshake took.
    pub took: Duration,
    /// The protocol of a server that speaks first inside TLS, if it is known.
    pub protocol: Option<&'static str>,
    /// The first bytes of such a server.
    pub greeting: Vec<u8>,
    /// Why the server ended TLS after the handshake.
    pub fault: Option<String>,
}

/// A response to the opening handshake of WebSocket with status 101.
#[derive(Debug, Clone)]
pub struct WebSocketAnswer {
    /// The selected subprotocol.
    pub subprotocol: Option<String>,
    /// The field `Server`.
    pub server: Option<String>,
    /// The rule that the response breaks, such as a wrong Sec-WebSocket-Accept.
    pub fault: Option<String>,
}

/// A reply of anyport's preface.
#[derive(Debug, Clone)]
pub struct PrefaceAnswer {
    /// Its text.
    pub says: String,
    /// Whether it is an error.
    pub is_refused: bool,
    /// Whether a token would help.
    pub needs_token: bool,
}

/// All findings together.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Found {
    /// All addresses.
    pub reached: Vec<Reached>,
    /// The address that was probed: the first one that accepts connections.
    pub used: Option<Address>,
    /// The best response of HTTP/1.1.
    pub http: Option<HttpAnswer>,
    /// The report of an anyport server.
    pub about: Option<About>,
    /// The first completed TLS handshake.
    pub tls: Option<TlsAnswer>,
    /// The versions of TLS that the server accepts.
    pub versions: Vec<&'static str>,
    /// Why TLS failed, if the server speaks it.
    pub tls_fault: Option<String>,
    /// Why this side could not begin a handshake.
    pub tls_error: Option<String>,
    /// Whether the server speaks HTTP/2.
    pub http2: bool,
    /// The rule that an answer like HTTP/2 breaks.
    pub http2_fault: Option<String>,
    /// The WebSocket server at the path.
    pub websocket: Option<WebSocketAnswer>,
    /// The reply to the preface.
    pub preface: Option<PrefaceAnswer>,
    /// The code of CONNACK.
    pub mqtt: Option<u8>,
    /// The protocol of an answer that none of the probes is for.
    pub other: Option<&'static str>,
    /// Whether the protocol was found inside TLS.
    pub inside_tls: bool,
    /// Whether the last probe in the clear had no answer.
    pub is_silent: bool,
    /// Whether the server ends TLS for lack of a certificate of the client.
    pub needs_certificate: bool,
    /// Why no further connection was accepted.
    pub refuses_more: Option<Outcome>,
    /// Whether an answer had no known protocol.
    pub is_unknown: bool,
    pub(super) is_plain_usable: bool,
    pub(super) is_without_tls: bool,
}

impl Found {
    pub(super) fn selects_h2(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.alpn.as_deref() == Some("h2"))
    }

    /// Returns whether nothing more is sent to the server.
    pub(super) fn is_final(&self) -> bool {
        let speaks = self.tls.as_ref().is_some_and(|tls| !tls.greeting.is_empty());
        let is_known = self.other.is_some() || self.mqtt.is_some();
        speaks || is_known || self.needs_certificate || self.refuses_more.is_some()
    }

    /// Adds an answer.
    pub(super) fn learn(&mut self, probe: &str, inside_tls: bool, answer: &Answer) {
        let is_handshake = probe.starts_with("tls");
        if !is_handshake {
            self.is_silent = matches!(answer, Answer::Silent);
        }
        let is_answer = !matches!(answer, Answer::Closed | Answer::Reset | Answer::Silent);
        self.inside_tls |= inside_tls
            && is_answer
            && !matches!(answer, Answer::Failed(_) | Answer::NotConnected(_));
        match answer {
            Answer::Http(http) if probe == "http" => {
                self.is_plain_usable |= !inside_tls && http.is_usable();
                if http.about.is_some() {
                    self.about.clone_from(&http.about);
                }
                self.http = Some(HttpAnswer::clone(http));
            }
            // A server that only speaks WebSocket may answer other requests with an error.
            Answer::Http(http) if probe == "websocket" && self.http.is_none() => {
                self.http = Some(HttpAnswer::clone(http));
            }
            Answer::Tls(tls) => {
                self.versions.push(tls.version);
                self.needs_certificate |= tls.requests_certificate && tls.fault.is_some();
                self.inside_tls |= !tls.greeting.is_empty();
                self.tls.get_or_insert_with(|| TlsAnswer::clone(tls));
            }
            Answer::TlsRefused(reason) => {
                self.tls_fault.get_or_insert_with(|| reason.clone());
            }
            Answer::Failed(reason) if is_handshake => self.tls_error = Some(reason.clone()),
            Answer::TlsVersionRefused => {
                let reason = "the server accepts neither TLS 1.3 nor 1.2";
                self.tls_fault.get_or_insert_with(|| reason.to_owned());
            }
            Answer::NotConnected(outcome) => self.refuses_more = Some(outcome.clone()),
            Answer::TlsAlert => self.is_plain_usable = false,
            Answer::Http2 { fault: Some(fault), .. } => self.http2_fault = Some(fault.clone()),
            Answer::Http2 { .. } => {
                self.http2 = true;
                self.is_plain_usable |= !inside_tls;
            }
            Answer::WebSocket(answer) => self.websocket = Some(answer.clone()),
            Answer::Preface(answer) => self.preface = Some(answer.clone()),
            Answer::Mqtt { code } => self.mqtt = Some(*code),
            Answer::Known { name, .. } => self.other = Some(name),
            Answer::Echo => self.other = Some("echo"),
            Answer::Other(_) => self.is_unknown = true,
            _ => {}
        }
        if probe == "tls-1.3" {
            // A server without TLS gets no second ClientHello; one without this version does.
            self.is_without_tls =
                matches!(answer, Answer::Silent | Answer::Other(_) | Answer::Known { .. });
        }
    }
}
