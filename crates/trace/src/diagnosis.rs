//! What limited a transfer, from what both ends measured.

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
    /// The receive window is smaller than what the path holds.
    ReceiveWindow,
    /// The send buffer is smaller than what the path holds.
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
    /// The measurements name no limit.
    Unknown,
}

/// The main limit, its evidence and what to change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The main limit.
    pub main: Limit,
    /// Its share of the time, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Measurements that show it, each a short phrase.
    pub evidence: Vec<String>,
    /// One sentence on what to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// The direction of most content, seen from here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// Time in which this end hashed.
    pub hashing: Duration,
    /// Time in which this end waited to keep to the requested rate.
    pub pausing: Duration,
    /// Time in which this end encrypted or decrypted.
    pub tls: Duration,
    /// Time in which this end wrote to its storage, and waited for fsync.
    pub storing: Duration,
    /// TCP statistics of the transfer.
    pub tcp: Option<TcpTimes>,
    /// What the receiver reported in its receipt; `None` from third-party receivers.
    pub remote: Option<Remote>,
    /// Measurements of the kernel on a clock; empty without a trace.
    pub samples: Vec<Sample>,
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
    /// Segments of data sent.
    pub segments: u64,
    /// Smoothed round-trip time at the end.
    pub rtt: Duration,
    /// The shortest round-trip time.
    pub min_rtt: Duration,
}

/// What the receiver reported.
#[derive(Debug, Clone, Copy, Default)]
pub struct Remote {
    /// Time in which it hashed.
    pub hashing: Duration,
    /// Time in which it wrote.
    pub storing: Duration,
    /// Time in which it waited for fsync.
    pub syncing: Duration,
}
