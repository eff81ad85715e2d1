//! What the segments that were sent again show of a path.

use std::time::Duration;

use super::{Arrived, Limit, TcpTimes};

/// The share of segments sent again that limits a sender whose path has no queue.
const LOSSY: f64 = 0.004;

/// A queue of this length is one that a path fills.
const QUEUE: Duration = Duration::from_millis(4);

/// Returns how a path limits its sender: segments that were lost, or late and taken for lost,
/// without a queue that overflowed, or its rate.
pub(super) fn of_path(times: &TcpTimes) -> Limit {
    if is_queue(times.rtt, times.min_rtt) {
        return Limit::Congestion;
    }
    again(times.retransmits, times.arrived_twice, times.segments)
}

/// Returns the same as a receiver sees it: without a capture it cannot tell loss from another
/// order.
pub(super) fn of_arrival(times: &TcpTimes, arrived: Option<Arrived>) -> Limit {
    if is_queue(times.receive_rtt, times.min_rtt) {
        return Limit::Congestion;
    }
    match arrived {
        Some(arrived) => again(arrived.again, arrived.twice, times.received_segments),
        None => again(times.out_of_order, 0, times.received_segments),
    }
}

pub(super) const fn is_of_path(main: Limit) -> bool {
    matches!(main, Limit::Congestion | Limit::Loss | Limit::Reordering)
}

/// Returns what segments that were sent again show, some of which had only been late.
fn again(again: u64, late: u64, of: u64) -> Limit {
    match ratio(again, of) >= LOSSY {
        true if late.saturating_mul(2) > again => Limit::Reordering,
        true => Limit::Loss,
        false => Limit::Congestion,
    }
}

/// Returns whether most of a round trip is waiting in a queue of the path.
fn is_queue(rtt: Duration, least: Duration) -> bool {
    rtt.saturating_sub(least) > (least * 2).max(QUEUE)
}

pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    ratio_of(part as f64, whole as f64)
}

pub(super) fn ratio_of(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
