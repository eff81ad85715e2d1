//! The bottleneck of a slow transfer, as far as the two ends can determine it.
//!
//! TCP statistics say how long there was data to send, and how long the peer's window blocked it;
//! the receipt says how long the receiver hashed and stored; and the client measures how long it
//! read its file.

use std::fmt;
use std::time::Duration;

use anyport_net::tcp_info::TcpInfo;
use anyport_proto::setting::LIMIT_RATE;
use anyport_proto::transfer::receipt::Receipt;

/// The bottleneck of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bottleneck {
    /// Our file was not read, or hashed, sooner.
    Reading,
    /// The rate that we were to keep to.
    LimitRate,
    /// We had nothing to send most of the time, though the file was read soon enough.
    Sender,
    /// The receiver hashed.
    ReceiverHashing,
    /// The receiver's storage took the bytes no sooner.
    ReceiverStorage,
    /// The receiver read slowly, and does not report why.
    Receiver,
    /// Our send buffer was too small for the path.
    SendBuffer,
    /// The path: its rate, its losses, or how congestion control sees it.
    Network,
}

impl Bottleneck {
    /// Returns the name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::LimitRate => "limit-rate",
            Self::Sender => "sender",
            Self::ReceiverHashing => "receiver-hashing",
            Self::ReceiverStorage => "receiver-storage",
            Self::Receiver => "receiver",
            Self::SendBuffer => "send-buffer",
            Self::Network => "network",
        }
    }
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reading => "reading and hashing the file on this machine",
            Self::LimitRate => return write!(f, "the requested rate ({LIMIT_RATE})"),
            Self::Sender => "this machine (no data ready to send)",
            Self::ReceiverHashing => "hashing on the receiver",
            Self::ReceiverStorage => "the receiver's storage",
            Self::Receiver => "the receiver",
            Self::SendBuffer => "the send buffer of this machine (net.ipv4.tcp_wmem)",
            Self::Network => "the network",
        })
    }
}

/// Measurements of one transfer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measurements {
    /// From the first byte to the receipt.
    pub(crate) elapsed: Duration,
    pub(crate) reading: Duration,
    /// Whether the rate was limited (`--limit-rate`).
    pub(crate) limited: bool,
    /// Before the first byte, and after the receipt.
    pub(crate) tcp: (TcpInfo, TcpInfo),
}

impl Measurements {
    /// Returns what took most of the time, and its share; `None` for a transfer that was not slow,
    /// or without statistics of the kernel.
    pub(crate) fn bottleneck(&self, receipt: &Receipt) -> Option<(Bottleneck, f64)> {
        if self.elapsed < WORTH_ASKING {
            return None;
        }
        let elapsed = self.elapsed.as_secs_f64();
        let share = |seconds: f64| (seconds / elapsed).clamp(0.0, 1.0);
        let during = |fact: fn(&TcpInfo) -> Option<u64>| {
            let (before, after) = (fact(&self.tcp.0)?, fact(&self.tcp.1)?);
            Some(share(after.saturating_sub(before) as f64 / 1e6))
        };
        let busy = during(|tcp| tcp.busy_us)?;
        let window = during(|tcp| tcp.rwnd_limited_us)?;
        let buffer = during(|tcp| tcp.sndbuf_limited_us)?;
        let reading = share(self.reading.as_secs_f64());
        let hashing = share(receipt.hashing_seconds.unwrap_or_default());
        let storing = share(receipt.storing_seconds.unwrap_or_default());
        Some(if window >= MOST {
            match (hashing, storing) {
                _ if storing >= MOST && storing >= hashing => {
                    (Bottleneck::ReceiverStorage, storing)
                }
                _ if hashing >= MOST => (Bottleneck::ReceiverHashing, hashing),
                _ => (Bottleneck::Receiver, window),
            }
        } else if reading >= MOST {
            (Bottleneck::Reading, reading)
        } else if busy < MOST {
            let what = if self.limited { Bottleneck::LimitRate } else { Bottleneck::Sender };
            (what, 1.0 - busy)
        } else if buffer >= MOST {
            (Bottleneck::SendBuffer, buffer)
        } else {
            (Bottleneck::Network, busy - window - buffer)
        })
    }
}

/// A transfer that took less was not slow.
const WORTH_ASKING: Duration = Duration::from_secs(1);

/// The share of the time that makes something the bottleneck.
const MOST: f64 = 0.4;

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(hashing: f64, storing: f64) -> Receipt {
        let line = format!(
            "ANYPORT/1 RECEIPT protocol=raw engine=own peer=127.0.0.1:5 bytes=1 seconds=10 \
            hashing_seconds={hashing} storing_seconds={storing} end=size confirmed=true"
        );
        match anyport_proto::preface::Reply::parse(line.as_bytes()) {
            Ok(anyport_proto::preface::Reply::Receipt(receipt)) => receipt,
            other => panic!("{other:?}"),
        }
    }

    /// Returns the bottleneck for these times of ten seconds: busy, blocked by the window, by the
    /// buffer, reading; hashing and storing at the receiver.
    fn found(ours: [u64; 4], hashing: f64, storing: f64) -> Option<Bottleneck> {
        let [busy, window, buffer, reading] = ours;
        let mut before = TcpInfo::default();
        (before.busy_us, before.rwnd_limited_us) = (Some(7), Some(7));
        before.sndbuf_limited_us = Some(7);
        let mut after = before;
        after.busy_us = Some(7 + busy * 1_000_000);
        after.rwnd_limited_us = Some(7 + window * 1_000_000);
        after.sndbuf_limited_us = Some(7 + buffer * 1_000_000);
        let (elapsed, reading) = (Duration::from_secs(10), Duration::from_secs(reading));
        let measured = Measurements { elapsed, reading, limited: false, tcp: (before, after) };
        measured.bottleneck(&receipt(hashing, storing)).map(|(what, _)| what)
    }

    #[test]
    fn the_wait_for_the_other_side_is_reported() {
        assert_eq!(found([9, 0, 0, 1], 1.0, 1.0), Some(Bottleneck::Network));
        assert_eq!(found([9, 8, 0, 1], 1.0, 7.0), Some(Bottleneck::ReceiverStorage));
        assert_eq!(found([9, 8, 0, 1], 8.0, 1.0), Some(Bottleneck::ReceiverHashing));
        assert_eq!(found([9, 8, 0, 1], 1.0, 1.0), Some(Bottleneck::Receiver));
        assert_eq!(found([2, 0, 0, 8], 1.0, 1.0), Some(Bottleneck::Reading));
        assert_eq!(found([2, 0, 0, 1], 1.0, 1.0), Some(Bottleneck::Sender));
        assert_eq!(found([9, 0, 8, 1], 1.0, 1.0), Some(Bottleneck::SendBuffer));
    }

    #[test]
    fn a_fast_transfer_has_none_and_so_has_one_of_which_nothing_is_known() {
        let tcp = (TcpInfo::default(), TcpInfo::default());
        let measured = Measurements {
            elapsed: Duration::from_secs(9),
            reading: Duration::ZERO,
            limited: false,
            tcp,
        };
        assert_eq!(measured.bottleneck(&receipt(1.0, 1.0)), None);
        let measured = Measurements { elapsed: Duration::from_millis(999), ..measured };
        assert_eq!(measured.bottleneck(&receipt(1.0, 1.0)), None);
    }
}
