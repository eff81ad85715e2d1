//! TCP statistics of one end when a file ended. Each end sees its own half: how long its segments
//! took to be acknowledged, and which it had to send again.

use serde::Deserialize;

use super::codec::kind::Count;
use super::codec::{Optional, record};

/// TCP statistics of one connection; what the kernel does not report is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TcpSeen {
    /// Smoothed round-trip time of this end's segments, in microseconds.
    pub rtt_us: Option<u64>,
    /// The receiver's estimate of the same from what it receives.
    pub rcv_rtt_us: Option<u64>,
    /// Segments that this end sent more than once, since the connection began.
    pub retransmits: Option<u64>,
    /// The congestion window, in segments.
    pub cwnd: Option<u64>,
    /// Bytes per second at which this end's segments were last delivered.
    pub delivery_rate: Option<u64>,
}

record!(TcpSeen {
    rtt_us: Optional<Count>,
    rcv_rtt_us: Optional<Count>,
    retransmits: Optional<Count>,
    cwnd: Optional<Count>,
    delivery_rate: Optional<Count>,
});
