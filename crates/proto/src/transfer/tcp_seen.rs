//! What one end's TCP knew of a connection when a file ended. Each end sees its own half: how long
//! its segments took to be acknowledged, and which it had to send again.

use serde::{Deserialize, Serialize};

/// A kernel's account of one connection; what it did not say is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpSeen {
    /// Smoothed round-trip time of this end's segments, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// The same as a receiver estimates it from what comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rcv_rtt_us: Option<u64>,
    /// Segments that this end sent more than once, since the connection began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    /// The congestion window, in segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwnd: Option<u64>,
    /// Bytes per second at which this end's segments were last delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_rate: Option<u64>,
}

impl TcpSeen {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The facts by the keys that a line gives them.
    pub(crate) const fn keys(&self) -> [(&'static str, Option<u64>); 5] {
        [
            ("rtt_us", self.rtt_us),
            ("rcv_rtt_us", self.rcv_rtt_us),
            ("retransmits", self.retransmits),
            ("cwnd", self.cwnd),
            ("delivery_rate", self.delivery_rate),
        ]
    }
}
