//! Both directions of a connection: relative numbers, scaled windows, marks.

use std::time::Duration;

use crate::event::Side;
use crate::segment::{Mark, Segment, TcpOption};

/// The state of a connection, as its segments show it.
///
/// Positions in a direction's bytes are 64-bit numbers that continue where sequence numbers wrap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Track {
    client: End,
    server: End,
    /// From the SYN to its answer.
    round_trip: Option<Duration>,
    syn_at: Option<Duration>,
    is_reset: bool,
}

/// What one end sent.
#[derive(Debug, Clone, Default)]
struct End {
    /// The position of its SYN; without one, that before the first byte seen.
    start: Option<u64>,
    /// The position behind the last byte seen.
    next: u64,
    /// The shift of its window; with the option absent, none.
    scale: Option<Option<u8>>,
    /// Its last acknowledgement, as position of the other end, and its window.
    acked: Option<(u64, u64)>,
    window: Option<u64>,
    /// The blocks of its latest SACK, as positions of the other end.
    sacked: Vec<(u64, u64)>,
    /// Positions not seen before later ones.
    gaps: Vec<Gap>,
    /// Those that were seen since.
    filled: Vec<Gap>,
    /// Its first timestamp, and when it was seen.
    clock: Option<(Duration, u32)>,
    /// The position behind its FIN.
    end: Option<u64>,
    /// Whether it sent a probe that is not answered.
    is_probing: bool,
}

/// Positions of a direction that were not seen before later ones.
#[derive(Debug, Clone, Copy)]
struct Gap {
    from: u64,
    to: u64,
    /// The segment behind it that was seen first.
    later: Seen,
}

/// When a segment was seen, and its timestamp: when it was sent.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Duration,
    clock: Option<u32>,
}

/// Maximum number of gaps of either kind that are remembered for each direction; the first ones are
/// forgotten.
const MAX_GAPS: usize = 512;
/// Without timestamps and a measured round-trip time, a segment that is later than this was sent
/// again.
const REORDERING: Duration = Duration::from_millis(3);

impl Track {
    /// Adds a segment that was seen `at` this time, and fills in what follows from those before.
    pub(crate) fn add(&mut self, at: Duration, from: Side, segment: &mut Segment) {
        let has = |name: &str| segment.flags.iter().any(|flag| flag == name);
        let (syn, fin, rst) = (has("SYN"), has("FIN"), has("RST"));
        self.measure(at, from, syn, segment.ack.is_some());
        let (ours, theirs) = match from {
            Side::Client => (&mut self.client, &mut self.server),
            Side::Server => (&mut self.server, &mut self.client),
        };
        let begin = ours.place(segment.seq, syn);
        let length = segment.payload + u64::from(syn) + u64::from(fin);
        if syn {
            ours.scale = Some(segment.options.iter().find_map(|option| match option {
                TcpOption::WindowScale(scale) => Some((*scale).min(MAX_SCALE)),
                _ => None,
            }));
        }
        let seen = Seen { at, clock: segment.clock() };
        ours.clock = ours.clock.or_else(|| seen.clock.map(|clock| (at, clock)));
        let acked = segment.ack.map(|ack| theirs.place_acknowledged(ack));
        let (sacked, is_twice) = theirs.blocks(acked, segment.sacked());
        segment.relative_seq = ours.relative(begin);
        segment.relative_ack = acked.map(|acked| theirs.relative(acked));
        segment.window_bytes = ours.window_bytes(theirs, segment.window, syn);
        self.is_reset |= rst;
        if rst {
            return;
        }
        let window = segment.window_bytes.unwrap_or_else(|| segment.window.into());
        let same_ack = |acked: u64| ours.acked.is_some_and(|(last, _)| last == acked);
        let control = syn || fin;
        let marks = &mut segment.marks;
        if window == 0 && !syn {
            marks.push(Mark::ZeroWindow);
        }
        let is_keepalive = segment.payload <= 1
            && !control
            && begin + 1 == ours.next
            && theirs.acked.is_none_or(|(acked, _)| acked >= ours.next);
        let fills_no_window =
            segment.payload == 1 && begin == ours.next && theirs.window == Some(0);
        let is_probe = !control && (is_keepalive || fills_no_window);
        if is_probe {
            marks.push(Mark::Probe);
            ours.is_probing = true;
        } else if length > 0 {
            ours.is_probing = false;
            let reordering = self.round_trip.unwrap_or(REORDERING);
            let end = begin + length;
            let mark = ours.mark(begin, end, seen, reordering);
            marks.extend(mark);
            if mark == Some(Mark::Retransmission) && theirs.acknowledged(begin, end) {
                marks.push(Mark::Spurious);
            }
        } else if let Some(acked) = acked.filter(|acked| same_ack(*acked) && !is_twice) {
            let same_window = ours.acked.is_some_and(|(_, last)| last == window);
            // A receiver may adapt its window to what is out of order (RFC 6675 §2).
            let is_sack = !sacked.is_empty() && sacked != ours.sacked;
            if !same_window && !is_sack {
                marks.push(Mark::WindowUpdate);
            } else if theirs.next > acked && !theirs.is_probing {
                marks.push(Mark::DuplicateAck);
            }
        } else if acked.is_some_and(|acked| ours.acked.is_some_and(|(last, _)| acked < last)) {
            marks.push(Mark::OutOfOrder);
        }
        if is_twice {
            marks.push(Mark::DuplicateSack);
        }
        if !is_probe {
            ours.next = ours.next.max(begin + length);
        }
        if fin {
            ours.end = Some(begin + length);
        }
        ours.window = Some(window);
        if let Some(acked) = acked {
            theirs.is_probing = false;
            if ours.acked.is_none_or(|(last, _)| last <= acked) {
                ours.acked = Some((acked, window));
                ours.sacked = sacked;
            }
        }
    }

    /// Measures the round-trip time of a SYN that was sent once.
    fn measure(&mut self, at: Duration, from: Side, syn: bool, ack: bool) {
        match (from, syn, ack) {
            (Side::Client, true, false) if self.client.start.is_none() => self.syn_at = Some(at),
            (Side::Client, true, false) => self.syn_at = None,
            (Side::Server, true, true) => {
                // A repeated one measures nothing.
                if let Some(began) = self.syn_at.take() {
                    self.round_trip = at.checked_sub(began);
                }
            }
            _ => {}
        }
    }

    /// Returns whether nothing follows: both ends sent FIN, which the other one acknowledged, or
    /// one sent RST.
    pub(crate) fn is_over(&self) -> bool {
        let ended = |ours: &End, theirs: &End| {
            ours.end.is_some_and(|end| theirs.acked.is_some_and(|(acked, _)| acked >= end))
        };
        self.is_reset || ended(&self.client, &self.server) && ended(&self.server, &self.client)
    }
}

/// RFC 7323 §2.3.
const MAX_SCALE: u8 = 14;

impl End {
    /// Returns the position of a sequence number.
    fn place(&mut self, seq: u32, syn: bool) -> u64 {
        let place = match self.start {
            Some(_) => near(self.next, seq),
            None => FIRST + u64::from(seq),
        };
        if self.start.is_none() {
            self.next = place;
        }
        if syn || self.start.is_none() {
            self.start = Some(if syn { place } else { place - 1 });
        }
        place
    }

    /// Returns the position of a number that the other end acknowledges.
    fn place_acknowledged(&mut self, ack: u32) -> u64 {
        match self.start {
            Some(_) => near(self.next, ack),
            None => self.place(ack, false),
        }
    }

    fn relative(&self, place: u64) -> u64 {
        place.saturating_sub(self.start.unwrap_or_default())
    }

    /// Returns a window in bytes; `None` if the SYNs with the scale were not seen.
    fn window_bytes(&self, theirs: &Self, window: u16, syn: bool) -> Option<u64> {
        let window = u64::from(window);
        match (self.scale, theirs.scale) {
            _ if syn => Some(window),
            (Some(Some(scale)), Some(Some(_))) => Some(window << scale),
            (Some(None), _) | (_, Some(None)) => Some(window),
            _ => None,
        }
    }

    /// Returns the positions of blocks that the other end reports beside `acked`, and whether one
    /// more says that bytes arrived twice (RFC 2883 §4).
    fn blocks(&self, acked: Option<u64>, blocks: &[(u32, u32)]) -> (Vec<(u64, u64)>, bool) {
        let (Some(acked), Some(_)) = (acked, self.start) else { return (Vec::new(), false) };
        let place = |(from, to): &(u32, u32)| (near(self.next, *from), near(self.next, *to));
        let mut blocks: Vec<_> = blocks.iter().map(place).collect();
        let is_twice = match blocks[..] {
            [first, second, ..] if second.0 <= first.0 && first.1 <= second.1 => true,
            [first, ..] => first.1 <= acked,
            [] => false,
        };
        if is_twice {
            blocks.remove(0);
        }
        (blocks, is_twice)
    }

    /// Returns whether this end acknowledged these positions of the other end.
    fn acknowledged(&self, begin: u64, end: u64) -> bool {
        self.acked.is_some_and(|(acked, _)| acked >= end)
            || self.sacked.iter().any(|(from, to)| *from <= begin && end <= *to)
    }

    /// Returns the mark of bytes at `begin`, and remembers gaps.
    fn mark(&mut self, begin: u64, end: u64, seen: Seen, reordering: Duration) -> Option<Mark> {
        if begin > self.next {
            remember(&mut self.gaps, Gap { from: self.next, to: begin, later: seen });
        }
        if begin >= self.next {
            return None;
        }
        let overlaps = |gap: &Gap| begin < gap.to && gap.from < end;
        let gaps = std::mem::take(&mut self.gaps);
        let filled: Vec<_> = gaps.iter().copied().filter(overlaps).collect();
        for gap in gaps {
            if !overlaps(&gap) {
                remember(&mut self.gaps, gap);
                continue;
            }
            if gap.from < begin {
                remember(&mut self.gaps, Gap { to: begin, ..gap });
            }
            if end < gap.to {
                remember(&mut self.gaps, Gap { from: end, ..gap });
            }
        }
        // Bytes that fill a gap were overtaken, or lost and sent again. If they were sent again,
        // the first ones may still arrive.
        let is_overtaken = match filled.last() {
            Some(gap) => self
                .is_sent_before(seen, gap.later, reordering)
                .unwrap_or_else(|| seen.at.saturating_sub(gap.later.at) < reordering),
            None => {
                let gap = self.filled.iter().rev().find(|gap| overlaps(gap));
                gap.and_then(|gap| self.is_sent_before(seen, gap.later, reordering)) == Some(true)
            }
        };
        for gap in filled {
            let (from, to) = (gap.from.max(begin), gap.to.min(end));
            remember(&mut self.filled, Gap { from, to, ..gap });
        }
        Some(if is_overtaken { Mark::OutOfOrder } else { Mark::Retransmission })
    }

    /// Returns whether `one` was sent before `later`, by their timestamps (RFC 7323 §3).
    ///
    /// A clock that ticks in each round trip also tells it from equal ones: nothing is sent again
    /// within one.
    fn is_sent_before(&self, one: Seen, later: Seen, round_trip: Duration) -> Option<bool> {
        let (clock, (began, first)) = (one.clock?, self.clock?);
        match later.clock?.wrapping_sub(clock).cast_signed() {
            1.. => Some(true),
            ..0 => Some(false),
            0 => {
                // At least as many were whole.
                let ticks = clock.wrapping_sub(first).saturating_sub(1);
                let time = one.at.checked_sub(began)?;
                (ticks > 0 && time / ticks < round_trip).then_some(true)
            }
        }
    }
}

/// Keeps a gap.
fn remember(gaps: &mut Vec<Gap>, gap: Gap) {
    if gaps.len() == MAX_GAPS {
        gaps.remove(0);
    }
    gaps.push(gap);
}

/// The first positions are far enough from 0 for segments that arrive in another order.
const FIRST: u64 = 1 << 32;

/// Returns the position of `number` that is nearest to `place`.
fn near(place: u64, number: u32) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "sequence numbers are modulo 2^32")]
    let distance = number.wrapping_sub(place as u32).cast_signed();
    place.saturating_add_signed(distance.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::Mark::*;

    const MS: Duration = Duration::from_millis(1);

    fn flags(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn segment(names: &[&str], seq: u32, ack: u32, payload: u64, window: u16) -> Segment {
        let ack = names.contains(&"ACK").then_some(ack);
        Segment { flags: flags(names), seq, ack, payload, window, ..Segment::default() }
    }

    /// A connection whose client begins at `seq` and whose server begins at `ack`.
    struct Connection {
        track: Track,
        at: Duration,
        seq: u32,
        ack: u32,
    }

    impl Connection {
        fn open(seq: u32, ack: u32) -> Self {
            let mut connection = Self { track: Track::default(), at: Duration::ZERO, seq, ack };
            let options = vec![TcpOption::WindowScale(7)];
            let mut syn = segment(&["SYN"], seq, 0, 0, 64_240);
            syn.options.clone_from(&options);
            assert_eq!(connection.add(Side::Client, syn).marks, []);
            connection.at += 10 * MS;
            let mut answer = segment(&["SYN", "ACK"], ack, seq.wrapping_add(1), 0, 65_160);
            answer.options = options;
            assert_eq!(connection.add(Side::Server, answer).marks, []);
            connection
        }

        /// The client's clock is 0 now.
        fn open_with_clock(seq: u32, ack: u32) -> Self {
            let mut connection = Self::open(seq, ack);
            connection.client_at(0, 1, 0);
            connection
        }

        /// The client's segment that was sent when its clock was this.
        fn client_at(&mut self, clock: u32, seq: u32, payload: u64) -> Segment {
            let (seq, ack) = (self.seq.wrapping_add(seq), self.ack.wrapping_add(1));
            let mut segment = segment(&["ACK"], seq, ack, payload, 9);
            // Beside the end of its numbers.
            let clock = clock.wrapping_sub(100);
            segment.options = vec![TcpOption::Timestamps(clock, 0)];
            self.add(Side::Client, segment)
        }

        /// The server's ACK with these blocks of SACK.
        fn server_sack(&mut self, ack: u32, window: u16, blocks: &[(u32, u32)]) -> Segment {
            let (seq, first) = (self.ack.wrapping_add(1), self.seq);
            let mut segment = segment(&["ACK"], seq, first.wrapping_add(ack), 0, window);
            let absolute = |(from, to): &(u32, u32)| (first + from, first + to);
            segment.options = vec![TcpOption::Sack(blocks.iter().map(absolute).collect())];
            self.add(Side::Server, segment)
        }

        fn add(&mut self, from: Side, mut segment: Segment) -> Segment {
            self.track.add(self.at, from, &mut segment);
            segment
        }

        /// The client's segment with these relative numbers.
        fn client(&mut self, seq: u32, ack: u32, payload: u64, window: u16) -> Segment {
            let (seq, ack) = (self.seq.wrapping_add(seq), self.ack.wrapping_add(ack));
            self.add(Side::Client, segment(&["ACK"], seq, ack, payload, window))
        }

        fn server(&mut self, seq: u32, ack: u32, payload: u64, window: u16) -> Segment {
            let (seq, ack) = (self.ack.wrapping_add(seq), self.seq.wrapping_add(ack));
            self.add(Side::Server, segment(&["ACK"], seq, ack, payload, window))
        }
    }

    #[test]
    fn numbers_are_relative_to_the_syn_and_windows_are_scaled() {
        let mut c = Connection::open(u32::MAX - 2, 5);
        let segment = c.client(1, 1, 10, 502);
        assert_eq!((segment.relative_seq, segment.relative_ack), (1, Some(1)));
        assert_eq!(segment.window_bytes, Some(502 * 128));
        let segment = c.server(1, 11, 0, 509);
        assert_eq!((segment.relative_seq, segment.relative_ack), (1, Some(11)));
        assert_eq!(segment.marks, []);
    }

    #[test]
    fn bytes_again_are_a_retransmission_and_bytes_that_were_overtaken_are_out_of_order() {
        let mut c = Connection::open(1000, 2000);
        assert_eq!(c.client(1, 1, 100, 9).marks, []);
        assert_eq!(c.client(1, 1, 100, 9).marks, [Retransmission]);
        assert_eq!(c.client(301, 1, 100, 9).marks, []);
        c.at += 5 * MS;
        assert_eq!(c.client(101, 1, 100, 9).marks, [OutOfOrder]);
        c.at += 20 * MS;
        assert_eq!(c.client(201, 1, 100, 9).marks, [Retransmission], "longer than a round trip");
        assert_eq!(c.client(401, 1, 100, 9).marks, []);
        let again = segment(&["SYN"], 1000, 0, 0, 64_240);
        assert_eq!(c.add(Side::Client, again).marks, [Retransmission, Spurious]);
    }

    #[test]
    fn bytes_again_that_were_acknowledged_are_a_spurious_retransmission() {
        let mut c = Connection::open(1000, 2000);
        c.client(1, 1, 300, 9);
        assert_eq!(c.client(1, 1, 100, 9).marks, [Retransmission]);
        c.server(1, 101, 0, 9);
        assert_eq!(c.client(1, 1, 100, 9).marks, [Retransmission, Spurious]);
        assert_eq!(c.client(1, 1, 200, 9).marks, [Retransmission], "only a part");
        c.server_sack(101, 9, &[(201, 301)]);
        assert_eq!(c.client(201, 1, 100, 9).marks, [Retransmission, Spurious]);
        assert_eq!(c.client(101, 1, 100, 9).marks, [Retransmission]);
    }

    /// Longer than a round trip, as a segment that takes another path may need.
    #[test]
    fn timestamps_tell_a_segment_that_was_overtaken_from_one_that_was_sent_again() {
        let mut c = Connection::open_with_clock(1000, 2000);
        c.at += 90 * MS;
        assert_eq!(c.client_at(100, 201, 100).marks, []);
        c.at += 50 * MS;
        assert_eq!(c.client_at(100, 101, 100).marks, [OutOfOrder], "the same millisecond");
        assert_eq!(c.client_at(99, 1, 100).marks, [OutOfOrder]);
        assert_eq!(c.client_at(150, 401, 100).marks, []);
        c.at += 2 * MS;
        assert_eq!(c.client_at(151, 301, 100).marks, [Retransmission], "sooner than a round trip");
        assert_eq!(c.client_at(149, 301, 100).marks, [OutOfOrder], "the first one, late");
        assert_eq!(c.client_at(152, 301, 100).marks, [Retransmission]);
        assert_eq!(c.client_at(152, 501, 100).marks, []);
    }

    #[test]
    fn a_clock_that_is_as_coarse_as_a_round_trip_leaves_it_to_the_time() {
        let mut c = Connection::open_with_clock(1000, 2000);
        // In 90 ms 10 ticks.
        c.at += 90 * MS;
        assert_eq!(c.client_at(11, 201, 100).marks, []);
        c.at += 9 * MS;
        assert_eq!(c.client_at(11, 101, 100).marks, [OutOfOrder]);
        c.at += 9 * MS;
        assert_eq!(c.client_at(11, 1, 100).marks, [Retransmission]);
    }

    #[test]
    fn an_acknowledgement_that_was_overtaken_is_out_of_order() {
        let mut c = Connection::open(1000, 2000);
        c.client(1, 1, 300, 9);
        assert_eq!(c.server(1, 301, 0, 9).marks, []);
        assert_eq!(c.server(1, 201, 0, 9).marks, [OutOfOrder]);
        assert_eq!(c.server(1, 301, 0, 9).marks, [], "all is acknowledged");
    }

    #[test]
    fn blocks_of_sack_are_duplicates_with_any_window_and_bytes_that_arrived_twice_are_none() {
        let mut c = Connection::open(1000, 2000);
        c.client(1, 1, 1000, 9);
        assert_eq!(c.server_sack(101, 9, &[]).marks, []);
        assert_eq!(c.server_sack(101, 10, &[(201, 301)]).marks, [DuplicateAck]);
        assert_eq!(c.server_sack(101, 11, &[(201, 301)]).marks, [WindowUpdate]);
        assert_eq!(c.server_sack(101, 11, &[(201, 301)]).marks, [DuplicateAck]);
        assert_eq!(c.server_sack(101, 12, &[(201, 401)]).marks, [DuplicateAck]);
        // RFC 2883 §4.1: below the acknowledgement; §4.2: within the second block.
        assert_eq!(c.server_sack(101, 12, &[(1, 101), (201, 401)]).marks, [DuplicateSack]);
        assert_eq!(c.server_sack(101, 12, &[(201, 301), (201, 401)]).marks, [DuplicateSack]);
        assert_eq!(c.server_sack(101, 12, &[(501, 601), (201, 401)]).marks, [DuplicateAck]);
        assert_eq!(c.server_sack(601, 12, &[(101, 201)]).marks, [DuplicateSack], "with progress");
        assert_eq!(c.server_sack(601, 13, &[(101, 201)]).marks, [DuplicateSack]);
    }

    #[test]
    fn acknowledgements_again_are_duplicates_only_without_data_or_a_new_window() {
        let mut c = Connection::open(1000, 2000);
        assert_eq!(c.client(1, 1, 0, 9).marks, []);
        assert_eq!(c.client(1, 1, 0, 9).marks, [], "the server sent nothing");
        assert_eq!(c.server(101, 1, 100, 9).marks, []);
        assert_eq!(c.client(1, 1, 0, 9).marks, [DuplicateAck]);
        assert_eq!(c.client(1, 1, 0, 10).marks, [WindowUpdate]);
        assert_eq!(c.client(1, 1, 50, 10).marks, []);
        assert_eq!(c.client(51, 201, 0, 10).marks, []);
    }

    #[test]
    fn a_closed_window_its_probe_and_its_opening_are_marked() {
        let mut c = Connection::open(1000, 2000);
        c.client(1, 1, 100, 9);
        assert_eq!(c.server(1, 101, 0, 0).marks, [ZeroWindow]);
        assert_eq!(c.client(100, 1, 0, 9).marks, [Probe], "of Linux: an old byte");
        assert_eq!(c.server(1, 101, 0, 0).marks, [ZeroWindow]);
        assert_eq!(c.client(101, 1, 1, 9).marks, [Probe], "of others: the next byte");
        assert_eq!(c.server(1, 101, 0, 0).marks, [ZeroWindow], "an answer is no duplicate");
        assert_eq!(c.server(1, 101, 0, 50).marks, [WindowUpdate]);
    }

    #[test]
    fn a_connection_is_over_after_both_fins_are_acknowledged_or_after_a_reset() {
        let mut c = Connection::open(1000, 2000);
        c.add(Side::Client, segment(&["FIN", "ACK"], 1001, 2001, 0, 9));
        c.add(Side::Server, segment(&["FIN", "ACK"], 2001, 1002, 0, 9));
        assert!(!c.track.is_over());
        let last = c.add(Side::Client, segment(&["ACK"], 1002, 2002, 0, 9));
        assert!(c.track.is_over());
        assert_eq!((last.relative_seq, last.marks), (2, vec![]));
        let mut c = Connection::open(1000, 2000);
        c.add(Side::Server, segment(&["RST"], 2001, 0, 0, 0));
        assert!(c.track.is_over());
    }

    #[test]
    fn without_the_syns_windows_are_unknown_and_numbers_begin_at_1() {
        let mut track = Track::default();
        let mut first = segment(&["ACK"], 77, 99, 10, 5);
        track.add(MS, Side::Client, &mut first);
        assert_eq!((first.relative_seq, first.relative_ack), (1, Some(1)));
        assert_eq!(first.window_bytes, None);
    }

    proptest! {
        #[test]
        fn relative_numbers_continue_where_sequence_numbers_wrap(
            seq: u32,
            ack: u32,
            sizes in proptest::collection::vec(1_u64..1_000_000_000, 1..40),
        ) {
            let mut c = Connection::open(seq, ack);
            let mut sent = 0;
            for size in sizes {
                let at = u32::try_from((sent + 1) % (1 << 32)).unwrap();
                let segment = c.client(at, 1, size, 9);
                prop_assert_eq!(segment.relative_seq, sent + 1);
                prop_assert_eq!(segment.marks, vec![]);
                sent += size;
                let at = u32::try_from((sent + 1) % (1 << 32)).unwrap();
                let answer = c.server(1, at, 0, 9);
                prop_assert_eq!(answer.relative_ack, Some(sent + 1));
                prop_assert_eq!(answer.marks, vec![]);
            }
        }

        #[test]
        fn in_any_order_each_number_is_right_and_only_earlier_bytes_are_marked(
            seq: u32,
            order in Just((0_u32..60).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut c = Connection::open(seq, 1);
            let mut highest = 0;
            for index in order {
                let segment = c.client(1 + index * 1000, 1, 1000, 9);
                prop_assert_eq!(segment.relative_seq, u64::from(1 + index * 1000));
                let is_late = index + 1 < highest;
                prop_assert_eq!(segment.marks, vec![OutOfOrder; usize::from(is_late)]);
                highest = highest.max(index + 1);
            }
            prop_assert!(c.track.client.gaps.is_empty());
        }

        #[test]
        fn with_timestamps_no_order_and_no_delay_makes_a_retransmission(
            order in Just((0_u32..60).collect::<Vec<_>>()).prop_shuffle(),
            pause in 0_u32..1000,
        ) {
            let mut c = Connection::open_with_clock(1, 1);
            c.at += 60 * MS;
            let mut highest = 0;
            for index in order {
                c.at += MS * pause;
                let segment = c.client_at(60 + index, 1 + index * 1000, 1000);
                let is_late = index + 1 < highest;
                prop_assert_eq!(segment.marks, vec![OutOfOrder; usize::from(is_late)]);
                highest = highest.max(index + 1);
            }
        }

        #[test]
        fn any_segments_are_tracked_without_a_panic_and_in_bounded_memory(
            segments in proptest::collection::vec(
                (any::<bool>(), any::<u32>(), any::<u32>(), 0_u64..70_000, any::<u16>(), 0_u8..64),
                0..300,
            ),
        ) {
            let mut track = Track::default();
            for (client, seq, ack, payload, window, bits) in segments {
                let names = ["SYN", "FIN", "RST", "ACK"];
                let names: Vec<_> =
                    (0..4).filter(|bit| bits >> bit & 1 == 1).map(|bit| names[bit]).collect();
                let mut segment = segment(&names, seq, ack, payload, window);
                if bits & 16 > 0 {
                    segment.options.push(TcpOption::Timestamps(ack, seq));
                }
                if bits & 32 > 0 {
                    segment.options.push(TcpOption::Sack(vec![(seq, ack), (ack, seq)]));
                }
                let from = if client { Side::Client } else { Side::Server };
                track.add(MS, from, &mut segment);
                for end in [&track.client, &track.server] {
                    prop_assert!(end.gaps.len().max(end.filled.len()) <= MAX_GAPS);
                }
            }
        }
    }

    #[test]
    fn a_repeated_syn_ack_keeps_the_round_trip() {
        let mut connection = Connection::open(9, 99);
        assert_eq!(connection.track.round_trip, Some(10 * MS));
        connection.at += 1000 * MS;
        let answer = segment(&["SYN", "ACK"], 99, 10, 0, 65_160);
        assert_eq!(connection.add(Side::Server, answer).marks, [Retransmission]);
        assert_eq!(connection.track.round_trip, Some(10 * MS));
    }
}
