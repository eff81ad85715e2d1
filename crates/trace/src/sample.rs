//! Measurements of a connection's kernel state.

use std::io;
use std::os::fd::AsFd;

use anyport_net::queues::{unacknowledged, unread};
use anyport_net::tcp_info::TcpInfo;
use serde::{Deserialize, Serialize};

use crate::event::Time;

/// `TCP_INFO` and the queues of a socket at one time.
///
/// Fields that the kernel does not report are absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken.
    pub at: Time,
    /// The connection, counted from 1.
    pub connection: u32,
    /// Smoothed round-trip time, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// Its variation, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rttvar_us: Option<u64>,
    /// The shortest one of the connection, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_rtt_us: Option<u64>,
    /// Congestion window, in segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwnd: Option<u64>,
    /// Slow-start threshold, in segments; absent before the first loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssthresh: Option<u64>,
    /// Maximum segment size of what we send, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mss: Option<u64>,
    /// Segments sent and not acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u64>,
    /// Rate of delivery that the kernel measured, in bytes per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_rate: Option<u64>,
    /// Whether that rate was limited by the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_limited: Option<bool>,
    /// Bytes that the peer's kernel acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked: Option<u64>,
    /// Bytes received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Segments sent more than once, since the connection began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    /// Segments that the peer reported as arrived twice (D-SACK), since the connection began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived_twice: Option<u64>,
    /// Times that a segment was acknowledged after later ones, since the connection began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overtaken: Option<u64>,
    /// Segments of data sent, since the connection began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<u64>,
    /// Receive window of the peer, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_window: Option<u64>,
    /// Our receive space, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_space: Option<u64>,
    /// Time with data to send, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_us: Option<u64>,
    /// Part of it limited by the peer's receive window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rwnd_limited_us: Option<u64>,
    /// Part of it limited by the send buffer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sndbuf_limited_us: Option<u64>,
    /// Received bytes that the recording end has not read (SIOCINQ).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<u64>,
    /// Written bytes that the peer's kernel has not acknowledged (SIOCOUTQ).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unacked: Option<u64>,
    /// State of the connection by its number in tcp_states.h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<u8>,
}

impl Sample {
    /// Reads the state of `socket`, as of `at`.
    ///
    /// # Errors
    /// The socket is not a TCP socket.
    pub fn of(socket: &impl AsFd, at: Time, connection: u32) -> io::Result<Self> {
        let tcp = TcpInfo::of(socket)?;
        Ok(Self {
            at,
            connection,
            rtt_us: tcp.rtt_us,
            rttvar_us: tcp.rttvar_us,
            min_rtt_us: tcp.min_rtt_us,
            cwnd: tcp.cwnd,
            ssthresh: tcp.ssthresh,
            mss: tcp.mss,
            in_flight: tcp.in_flight,
            delivery_rate: tcp.delivery_rate,
            app_limited: tcp.app_limited,
            acked: tcp.acked,
            received: tcp.received,
            retransmits: tcp.retransmits,
            arrived_twice: tcp.arrived_twice,
            overtaken: tcp.overtaken,
            segments: tcp.segments,
            peer_window: tcp.peer_window,
            receive_space: tcp.receive_space,
            busy_us: tcp.busy_us,
            rwnd_limited_us: tcp.rwnd_limited_us,
            sndbuf_limited_us: tcp.sndbuf_limited_us,
            unread: unread(socket).ok(),
            unacked: unacknowledged(socket).ok(),
            state: tcp.state,
        })
    }
}
