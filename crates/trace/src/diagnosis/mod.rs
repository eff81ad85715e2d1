//! What limited a transfer, from what both ends measured.

mod judge;
mod path;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use judge::concluded;
pub use judge::diagnosis;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sample::Sample;

/// The main limit of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Limit {
    /// The program that sends had nothing to send: its input was slow.
    Sender,
    /// The file was not read sooner.
    Reading,
    /// The sender hashed.
    Hashing,
    /// The requested rate.
    RateLimit,
    /// The path: its rate, or how congestion control sees it.
    Congestion,
    /// Lost segments.
    Loss,
    /// Segments that the path delivered in another order, so that the sender took them for lost.
    Reordering,
    /// The receive window is smaller than the bandwidth-delay product of the path.
    ReceiveWindow,
    /// The send buffer is smaller than the bandwidth-delay product of the path.
    SendBuffer,
    /// The program that receives read slowly.
    Receiver,
    /// The receiver hashed.
    ReceiverHashing,
    /// The receiver wrote, or waited for fsync.
    Storing,
    /// Encryption or decryption.
    Tls,
    /// Resolving, connecting and the handshakes before content.
    Handshakes,
    /// Nothing was to be sent most of the time.
    Idle,
    /// Input was read as soon as it arrived: the program that sends, or the path to here.
    SenderOrPath,
    /// The measurements name no limit.
    Unknown,
}

impl Limit {
    /// Returns the name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Reading => "reading",
            Self::Hashing => "hashing",
            Self::RateLimit => "rate-limit",
            Self::Congestion => "congestion",
            Self::Loss => "loss",
            Self::Reordering => "reordering",
            Self::ReceiveWindow => "receive-window",
            Self::SendBuffer => "send-buffer",
            Self::Receiver => "receiver",
            Self::ReceiverHashing => "receiver-hashing",
            Self::Storing => "storing",
            Self::Tls => "tls",
            Self::Handshakes => "handshakes",
            Self::Idle => "idle",
            Self::SenderOrPath => "sender-or-path",
            Self::Unknown => "unknown",
        }
    }
}

/// The words for an upload; [`Diagnosis::limit`] has those of the direction.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sender => "the program that writes the input",
            Self::Reading => "reading the file",
            Self::Hashing => "hashing on this machine",
            Self::RateLimit => "the requested rate (--limit-rate)",
            Self::Congestion => "the path (its rate, or congestion)",
            Self::Loss => "lost segments",
            Self::Reordering => "segments that were late, or in another order (the path)",
            Self::ReceiveWindow => "the receive window (net.ipv4.tcp_rmem)",
            Self::SendBuffer => "the send buffer of this machine (net.ipv4.tcp_wmem)",
            Self::Receiver => "the receiver",
            Self::ReceiverHashing => "hashing on the receiver",
            Self::Storing => "the receiver's storage",
            Self::Tls => "TLS on this machine",
            Self::Handshakes => "handshakes and round trips",
            Self::Idle => "nothing to send",
            Self::SenderOrPath => "the sender or the path",
            Self::Unknown => "unknown",
        })
    }
}

/// How a command ended that did not complete all its transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ended {
    /// The server refused.
    Refused,
    /// The connection was lost.
    Lost,
    /// The server neither read nor sent within a time limit.
    TimedOut,
    /// The name does not resolve, or no server accepts a connection.
    Unreachable,
    /// TLS failed, or the server is not trusted.
    Untrusted,
    /// The content that arrived is not the content that was sent.
    Mismatch,
    /// The answer violates the protocol: as a rule the server is not anyport.
    Unexpected,
    /// An error of this machine: a file, the disk, the output.
    Local,
    /// A signal ended the command: the user, or this system.
    Interrupted,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the server refused",
            Self::Lost => "the connection was lost",
            Self::TimedOut => "a time limit expired",
            Self::Unreachable => "there was no connection",
            Self::Untrusted => "TLS failed, or the server is not trusted",
            Self::Mismatch => "the content that arrived differs from the content that was sent",
            Self::Unexpected => "the answer violates the protocol",
            Self::Local => "an error of this machine",
            Self::Interrupted => "interrupted by a signal",
        })
    }
}

/// The main limit, its evidence and what to change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The main limit: of the part that was transferred, if the command did not complete.
    pub main: Limit,
    /// How the command ended, if it did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// The share of the limit in the time, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The direction of the content, by which an end is named; absent if nothing was found, and in
    /// the trace of a server, whose words are those of an upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Measurements that show it, each a short phrase.
    pub evidence: Vec<String>,
    /// One sentence on what to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// The direction of most content, from this end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// We send.
    #[default]
    Sending,
    /// We receive.
    Receiving,
    /// Both, as in a room.
    Both,
}

/// Measurements of one transfer.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The direction of the content.
    pub direction: Direction,
    /// Number of transfers that these are the measurements of; 0 counts as 1.
    pub transfers: u32,
    /// From the first step of the command to the end of the transfer.
    pub elapsed: Duration,
    /// Part of it before the first byte of content: resolving, connecting, TLS, handshakes.
    pub handshakes: Duration,
    /// Bytes of content.
    pub bytes: u64,
    /// Time in which this end read its file.
    pub reading: Duration,
    /// Whether the source is a pipe or a terminal, whose writer determines `reading`.
    pub source_is_stream: bool,
    /// Time in calls that had the kernel send the file (sendfile) and left nothing to send: they
    /// waited for the file, or for room in the socket.
    pub by_kernel: Duration,
    /// Time in which this end hashed.
    pub hashing: Duration,
    /// Time in which this end waited to keep to the requested rate.
    pub pausing: Duration,
    /// Time between the last content and the reply of the receiver.
    pub replying: Duration,
    /// Time in which this end encrypted or decrypted.
    pub tls: Duration,
    /// Time in which this end wrote to its storage or output, and waited for fsync.
    pub storing: Duration,
    /// Whether the output is not a file, so that its reader determines `storing`.
    pub output_is_stream: bool,
    /// Whether the socket ends on this machine, whose loopback has no rate of its own.
    pub is_local: bool,
    /// TCP statistics of the transfer.
    pub tcp: Option<TcpTimes>,
    /// Measurements of the receiver from its receipt; `None` from third-party receivers.
    pub remote: Option<Remote>,
    /// What a capture shows of the segments that this end received; `None` without one.
    pub arrived: Option<Arrived>,
    /// Measurements of the kernel on a clock; empty without a trace.
    pub samples: Vec<Sample>,
}

/// Received segments in a capture, by which a receiver tells those that were lost from late ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Segments that were sent again.
    pub again: u64,
    /// Times that this end reported a segment that arrived twice (D-SACK).
    pub twice: u64,
}

/// Statistics of a connection from the first byte of content to its end.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpTimes {
    /// Time with data to send.
    pub busy: Duration,
    /// Part of it limited by the peer's receive window.
    pub rwnd_limited: Duration,
    /// Part of it limited by the send buffer.
    pub sndbuf_limited: Duration,
    /// Segments sent more than once.
    pub retransmits: u64,
    /// Those of them that were late and not lost: the peer reported that they arrived twice.
    pub arrived_twice: u64,
    /// Segments that were acknowledged after later ones.
    pub overtaken: u64,
    /// Segments of data sent.
    pub segments: u64,
    /// Smoothed round-trip time at the end.
    pub rtt: Duration,
    /// The shortest round-trip time.
    pub min_rtt: Duration,
    /// Receive window of the peer at the end, in bytes; 0 if unknown.
    pub peer_window: u64,
    /// Our receive window at the end, in bytes; 0 if unknown.
    pub own_window: u64,
    /// Round-trip time as a receiver, with the queues on the path; 0 if unknown.
    pub receive_rtt: Duration,
    /// Segments of data received.
    pub received_segments: u64,
    /// Those of them that arrived before an earlier one.
    pub out_of_order: u64,
}

impl Evidence {
    /// Adds the measurements of another transfer of the same command.
    pub fn add(&mut self, other: &Self) {
        // Properties that cannot be added are those of the longer transfer.
        if other.elapsed > self.elapsed {
            self.direction = other.direction;
            self.source_is_stream = other.source_is_stream;
            self.output_is_stream = other.output_is_stream;
        }
        self.is_local &= other.is_local;
        self.transfers = self.transfers.max(1) + other.transfers.max(1);
        self.bytes += other.bytes;
        self.elapsed += other.elapsed;
        self.handshakes += other.handshakes;
        self.reading += other.reading;
        self.by_kernel += other.by_kernel;
        self.hashing += other.hashing;
        self.pausing += other.pausing;
        self.replying += other.replying;
        self.tls += other.tls;
        self.storing += other.storing;
        self.tcp = match (self.tcp, other.tcp) {
            (Some(one), Some(other)) => Some(one.and(&other)),
            (one, other) => one.or(other),
        };
        self.remote = match (self.remote, other.remote) {
            (Some(one), Some(other)) => Some(Remote {
                hashing: one.hashing + other.hashing,
                storing: one.storing + other.storing,
                syncing: one.syncing + other.syncing,
            }),
            (one, other) => one.or(other),
        };
    }
}

impl TcpTimes {
    /// Returns the statistics of both, with those of the end from `later`.
    fn and(&self, later: &Self) -> Self {
        Self {
            busy: self.busy + later.busy,
            rwnd_limited: self.rwnd_limited + later.rwnd_limited,
            sndbuf_limited: self.sndbuf_limited + later.sndbuf_limited,
            retransmits: self.retransmits + later.retransmits,
            arrived_twice: self.arrived_twice + later.arrived_twice,
            overtaken: self.overtaken + later.overtaken,
            segments: self.segments + later.segments,
            received_segments: self.received_segments + later.received_segments,
            out_of_order: self.out_of_order + later.out_of_order,
            ..*later
        }
    }
}

/// Measurements of the receiver.
#[derive(Debug, Clone, Copy, Default)]
pub struct Remote {
    /// Time in which it hashed.
    pub hashing: Duration,
    /// Time in which it wrote.
    pub storing: Duration,
    /// Time in which it waited for fsync.
    pub syncing: Duration,
}
