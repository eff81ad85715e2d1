//! Delivery of messages to members in one round.
//!
//! All members receive the same messages in the same order, in frames of one size, so the number of
//! received bytes determines which messages a member has. A message is finished when the last
//! member has received it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The received bytes and unfinished messages of one round.
#[derive(Debug)]
pub(super) struct Track {
    /// Size of a message's frame, in bytes.
    frame: u64,
    /// Number of bytes that each member has received.
    bytes: Vec<u64>,
    /// Number of messages that all members have.
    finished: u64,
    /// Number of members that have 0, 1, 2 … messages more than `finished`.
    ahead: VecDeque<usize>,
    /// Time at which each unfinished message was published.
    sent: VecDeque<Instant>,
}

/// The result of one read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// Number of messages that the read completed for this member.
    pub(super) delivered: u64,
    /// Latency of each message that the read finished.
    pub(super) finished: Vec<Duration>,
}

/// More bytes arrived than were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("member {member} received {bytes} bytes, but only {most} were sent to it")]
pub(super) struct TooMuch {
    pub(super) member: usize,
    pub(super) bytes: u64,
    pub(super) most: u64,
}

impl Track {
    pub(super) fn new(members: usize, frame: u64) -> Self {
        Self {
            frame,
            bytes: vec![0; members],
            finished: 0,
            ahead: VecDeque::from([members]),
            sent: VecDeque::new(),
        }
    }

    /// Records that a message is published at `now`.
    pub(super) fn publish(&mut self, now: Instant) {
        self.sent.push_back(now);
        self.ahead.push_back(0);
    }

    /// Returns the number of unfinished messages.
    pub(super) fn in_flight(&self) -> usize {
        self.sent.len()
    }

    /// Records that a member received more bytes.
    pub(super) fn received(
        &mut self,
        member: usize,
        count: usize,
        now: Instant,
    ) -> Result<Received, TooMuch> {
        let before = self.bytes[member];
        let bytes = before + count as u64;
        let most = (self.finished + self.sent.len() as u64) * self.frame;
        if bytes > most {
            return Err(TooMuch { member: member + 1, bytes, most });
        }
        self.bytes[member] = bytes;
        let (had, has) = (before / self.frame, bytes / self.frame);
        let index = |messages: u64| usize::try_from(messages - self.finished).unwrap_or(usize::MAX);
        let (from, to) = (index(had), index(has));
        self.ahead[from] -= 1;
        self.ahead[to] += 1;
        let mut finished = Vec::new();
        while self.ahead.len() > 1 && self.ahead[0] == 0 {
            self.ahead.pop_front();
            self.finished += 1;
            finished.extend(self.sent.pop_front().map(|sent| now.duration_since(sent)));
        }
        Ok(Received { delivered: has - had, finished })
    }

    /// Returns the first member with missing bytes, its received bytes and the sent bytes.
    pub(super) fn first_incomplete(&self) -> Option<(usize, u64, u64)> {
        let most = (self.finished + self.sent.len() as u64) * self.frame;
        let at = self.bytes.iter().position(|bytes| *bytes < most)?;
        Some((at + 1, self.bytes[at], most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        static BEGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *BEGIN.get_or_init(Instant::now) + Duration::from_millis(millis)
    }

    fn finished(millis: &[u64]) -> Vec<Duration> {
        millis.iter().map(|millis| Duration::from_millis(*millis)).collect()
    }

    #[test]
    fn a_message_is_finished_when_the_slowest_member_has_all_of_it() {
        let mut track = Track::new(2, 10);
        track.publish(at(0));
        track.publish(at(5));
        let received =
            |delivered, millis: &[u64]| Ok(Received { delivered, finished: finished(millis) });
        assert_eq!(track.received(0, 20, at(6)), received(2, &[]));
        assert_eq!(track.received(1, 9, at(7)), received(0, &[]));
        assert_eq!(track.in_flight(), 2);
        assert_eq!(track.first_incomplete(), Some((2, 9, 20)));
        assert_eq!(track.received(1, 1, at(8)), received(1, &[8]));
        assert_eq!(track.in_flight(), 1);
        assert_eq!(track.received(1, 10, at(9)), received(1, &[4]));
        assert_eq!((track.in_flight(), track.first_incomplete()), (0, None));
    }

    #[test]
    fn one_read_may_finish_many_messages() {
        let mut track = Track::new(1, 7);
        for millis in 0..100 {
            track.publish(at(millis));
        }
        let received = track.received(0, 699, at(200)).unwrap();
        assert_eq!((received.delivered, received.finished.len()), (99, 99));
        assert_eq!(received.finished[98], Duration::from_millis(102));
        assert_eq!(track.in_flight(), 1);
        assert_eq!(track.received(0, 1, at(201)).unwrap().finished, finished(&[102]));
    }

    #[test]
    fn more_bytes_than_were_sent_are_an_error() {
        let mut track = Track::new(3, 10);
        track.publish(at(0));
        let error = TooMuch { member: 3, bytes: 11, most: 10 };
        assert_eq!(track.received(2, 11, at(1)), Err(error));
        assert_eq!(error.to_string(), "member 3 received 11 bytes, but only 10 were sent to it");
    }

    /// Compares with a naive count of the messages of each member.
    #[test]
    fn track_agrees_with_a_naive_count() {
        let (members, frame) = (5, 13_usize);
        let mut track = Track::new(members, frame as u64);
        let mut got = vec![0_usize; members];
        let (mut said, mut all, mut delivered, mut seed) = (0, 0, 0, 7_u64);
        for step in 0..5000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = usize::try_from(seed >> 40).unwrap();
            if step % 3 == 0 {
                track.publish(at(step));
                said += 1;
                continue;
            }
            let member = random % members;
            let count = (random / members % 40).min(said * frame - got[member]);
            let before = got[member] / frame;
            got[member] += count;
            let received = track.received(member, count, at(step)).unwrap();
            assert_eq!(received.delivered, (got[member] / frame - before) as u64);
            delivered += received.delivered;
            all += received.finished.len();
            let slowest = got.iter().map(|bytes| bytes / frame).min().unwrap();
            assert_eq!((all, track.in_flight()), (slowest, said - slowest), "step {step}");
        }
        assert!(all > 100 && delivered > 500, "{all}, {delivered}");
    }
}
