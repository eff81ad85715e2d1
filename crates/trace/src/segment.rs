//! Captured TCP segments, and the SYN that a server kept.

use serde::{Deserialize, Serialize};

/// A TCP segment (RFC 9293 §3.1), decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Flags by name, as `SYN`, `ACK`, `PSH`, `FIN`, `RST`, `ECE`, `CWR`.
    pub flags: Vec<String>,
    /// Sequence number as sent.
    pub seq: u32,
    /// Acknowledgement number as sent; absent without ACK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<u32>,
    /// Sequence number relative to the SYN of that side.
    pub relative_seq: u64,
    /// Acknowledgement number relative to the SYN of the other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_ack: Option<u64>,
    /// The window field as sent.
    pub window: u16,
    /// The window in bytes, with the scale of the SYN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_bytes: Option<u64>,
    /// Payload bytes.
    ///
    /// With offloading one event stands for several segments on the wire.
    pub payload: u64,
    /// Options in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<TcpOption>,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// The checksum.
    pub checksum: Checksum,
    /// Unusual properties.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
}

impl Segment {
    /// Returns the mark that says most.
    pub(crate) fn mark(&self) -> Option<Mark> {
        let is_spurious = self.marks.contains(&Mark::Spurious);
        is_spurious.then_some(Mark::Spurious).or_else(|| self.marks.first().copied())
    }

    /// Returns the blocks of SACK.
    pub(crate) fn sacked(&self) -> &[(u32, u32)] {
        let blocks = self.options.iter().find_map(|option| match option {
            TcpOption::Sack(blocks) => Some(blocks.as_slice()),
            _ => None,
        });
        blocks.unwrap_or_default()
    }

    /// Returns the clock of its sender, from the timestamps.
    pub(crate) fn clock(&self) -> Option<u32> {
        self.options.iter().find_map(|option| match option {
            TcpOption::Timestamps(value, _) => Some(*value),
            _ => None,
        })
    }
}

/// An option of TCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcpOption {
    /// Maximum segment size (RFC 9293 §3.7.1).
    Mss(u16),
    /// Window scale (RFC 7323 §2).
    WindowScale(u8),
    /// SACK permitted (RFC 2018 §2).
    SackPermitted,
    /// Blocks that arrived (RFC 2018 §3).
    Sack(Vec<(u32, u32)>),
    /// Timestamp and its echo (RFC 7323 §3).
    Timestamps(u32, u32),
    /// Another one: kind and data in hex.
    Other(u8, String),
}

/// The state of a checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// It is that of the segment.
    Verified,
    /// The network card computes it later, or it is never sent (loopback).
    Offloaded,
    /// It is wrong.
    Wrong,
    /// Not all of the segment was captured.
    #[default]
    Unknown,
}

/// An unusual property of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// Bytes that were sent before.
    Retransmission,
    /// Of a retransmission: the other end had acknowledged these bytes, so it was not needed.
    Spurious,
    /// Bytes before others that arrived earlier.
    OutOfOrder,
    /// The same acknowledgement again, without new data; the window may differ only if SACK reports
    /// bytes that arrived.
    DuplicateAck,
    /// SACK reports bytes that arrived twice (D-SACK).
    DuplicateSack,
    /// The window is 0.
    ZeroWindow,
    /// A probe of an idle connection or of a window of 0.
    Probe,
    /// Only the window changed.
    WindowUpdate,
}

/// The SYN of a client, as its server received it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syn {
    /// 4 or 6.
    pub ip_version: u8,
    /// Time to live, or hop limit, on arrival.
    pub ttl: u8,
    /// Address and port that the server saw; `*` for an address that it does not report.
    pub source: String,
    /// Address and port that the server saw; `*` for an address that it does not report.
    pub destination: String,
    /// Bits of ECN, `DF` and others that are set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_flags: Vec<String>,
    /// The TCP header.
    pub segment: Segment,
    /// All bytes, in hex.
    pub bytes: String,
}
