//! Events of a trace, on one time axis.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::segment::{Segment, Syn};

/// Time since the trace began.
///
/// In JSON: seconds, with nanoseconds behind the point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds).map(Self).map_err(serde::de::Error::custom)
    }
}

/// One end of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The end that connected.
    #[default]
    Client,
    /// The end that accepted.
    Server,
}

impl Side {
    /// Returns the other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// Returns whether it is the end that connected.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    pub(crate) const fn is_client(&self) -> bool {
        matches!(self, Self::Client)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// The source of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// It was read from the socket, from a packet or from the kernel.
    Observed,
    /// It must have happened, as the protocol has no other way to what was observed.
    Inferred,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened, or began.
    pub at: Time,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<Time>,
    /// The connection, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u32>,
    /// The end that sent, or did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Side>,
    /// Its source.
    pub basis: Basis,
    /// The event itself.
    #[serde(flatten)]
    pub what: What,
}

/// The event itself.
///
/// In JSON its name is the key `event`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum What {
    /// The resolver answered.
    Resolved {
        /// The name.
        host: String,
        /// Its addresses, in the order in which they are tried.
        addresses: Vec<String>,
    },
    /// An attempt to connect began: the kernel sends a SYN.
    Attempt {
        /// Address and port.
        address: String,
    },
    /// An attempt failed, or was given up for another one.
    AttemptFailed {
        /// Address and port.
        address: String,
        /// Why, in words.
        reason: String,
    },
    /// The three-way handshake is complete.
    Connected {
        /// Address and port of the client.
        local: String,
        /// Address and port of the server.
        peer: String,
        /// The congestion control of the recording end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        congestion: Option<String>,
    },
    /// A captured TCP segment.
    Segment(Segment),
    /// The client's SYN as it arrived at the server, which recorded it or sent it back.
    Syn(Syn),
    /// A TLS handshake message that is not encrypted.
    TlsMessage(TlsMessage),
    /// TLS records whose content is encrypted or not decoded.
    TlsRecords {
        /// `handshake`, `application-data`, `alert` or `change-cipher-spec`.
        kind: String,
        /// How many follow each other.
        count: u64,
        /// Bytes of all, without their headers of 5 bytes.
        bytes: u64,
    },
    /// The TLS handshake is complete.
    TlsDone {
        /// `TLSv1.3` or `TLSv1.2`.
        version: String,
        /// The cipher suite.
        suite: String,
        /// The key exchange group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// The protocol of ALPN.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alpn: Option<String>,
        /// The certificate of the server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<Certificate>,
    },
    /// The head of an HTTP/1 message.
    Head {
        /// The request line or the status line.
        start: String,
        /// Its fields in order, with secret values redacted.
        fields: Vec<(String, String)>,
    },
    /// The computation of `Sec-WebSocket-Accept` (RFC 6455 §4.2.2).
    WebSocketAccept {
        /// The key of the client.
        key: String,
        /// The key followed by the GUID of the RFC.
        concatenation: String,
        /// SHA-1 of it, in hex.
        sha1: String,
        /// Base64 of that.
        expected: String,
        /// The value of the server.
        received: String,
        /// Whether both are equal.
        equal: bool,
    },
    /// A WebSocket frame.
    Frame(WebSocketFrame),
    /// A frame of HTTP/2.
    Http2(Http2Frame),
    /// A line of the preface protocol (`ANYPORT/1 …`), with secret values redacted.
    Line {
        /// The line without its end.
        text: String,
    },
    /// Content: bytes of files, and others that no layer above describes.
    Content {
        /// Bytes in this direction since the event before.
        bytes: u64,
        /// Their beginning, if payloads were asked for; escaped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload: Option<String>,
    },
    /// The end of a direction: FIN.
    Fin,
    /// The connection was reset: RST.
    Reset,
    /// The connection failed, or the command did.
    Failed {
        /// The error.
        text: String,
    },
    /// Work of the end that records, which explains a pause: the file was hashed.
    Hashed {
        /// Bytes that were hashed.
        bytes: u64,
    },
    /// The received file was stored: written out, renamed and synced to disk.
    Stored {
        /// Size of the file.
        bytes: u64,
        /// The part of the time in which the disk was waited for (fsync).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sync: Option<Time>,
    },
    /// Events that the trace leaves out, as there are more than [`crate::Limits::events`]: those
    /// before and after them are kept.
    Gap {
        /// How many.
        events: u64,
    },
    /// A remark about the trace: what it lacks, and why.
    Note {
        /// One sentence.
        text: String,
    },
}

/// A TLS handshake message in the clear.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsMessage {
    /// `ClientHello`, `ServerHello`, ….
    pub name: String,
    /// Size of the message.
    pub bytes: u64,
    /// The highest version offered, or the one selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The name of the server (SNI, RFC 6066 §3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Protocols offered or selected (ALPN, RFC 7301).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// Cipher suites offered or selected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suites: Vec<String>,
}

/// A certificate of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Names it is valid for.
    pub names: Vec<String>,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// Why it is trusted, or is not.
    pub verification: String,
}

/// The header of a WebSocket frame (RFC 6455 §5.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebSocketFrame {
    /// `text`, `binary`, `continuation`, `close`, `ping` or `pong`.
    pub opcode: String,
    /// Whether it is the last of its message.
    pub fin: bool,
    /// RSV1: the message is compressed.
    pub compressed: bool,
    /// The mask key, in hex; the first one of several frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// Payload bytes, of all `count` frames together.
    pub length: u64,
    /// The encoding of the length.
    pub length_form: LengthForm,
    /// The header as sent, in hex; the first one of several frames.
    pub header: String,
    /// Code of a Close frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Reason of a Close frame; or the text of a message of the preface protocol, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The beginning of the payload, unmasked, if payloads were asked for; escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// How many equal ones this event stands for (data frames of one transfer).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
}

/// The encoding of a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LengthForm {
    /// In the second byte.
    #[serde(rename = "7-bit")]
    Short,
    /// 126, and two bytes.
    #[serde(rename = "16-bit")]
    Medium,
    /// 127, and eight bytes.
    #[serde(rename = "64-bit")]
    Long,
}

/// The header of an HTTP/2 frame (RFC 9113 §4.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http2Frame {
    /// `DATA`, `HEADERS`, `SETTINGS`, ….
    pub kind: String,
    /// Names of its flags.
    pub flags: Vec<String>,
    /// The stream; 0 is the connection.
    pub stream: u32,
    /// Payload bytes, of all `count` frames together.
    pub length: u64,
    /// Its content: fields, settings, increment, error code; redacted.
    ///
    /// The increments of several WINDOW_UPDATE frames are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<(String, String)>,
    /// The beginning of the content of DATA frames, if payloads were asked for; escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// How many equal ones this event stands for (DATA or WINDOW_UPDATE frames of one stream).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
}

const fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_one(count: &u64) -> bool {
    *count == 1
}
