//! From measurements to the main limit.
//!
//! A transfer is a chain: source → this end → socket → path → receiver. A full buffer between two
//! links shows that the later one is slower, an empty one that the earlier one is.

use std::collections::BTreeMap;
use std::time::Duration;

use anyport_proto::counted::counted;
use anyport_proto::transfer::units::format_bytes;

use super::path::{is_of_path, of_arrival, of_path, ratio, ratio_of};
use super::words::{advice, advice_after};
use super::{Arrived, Diagnosis, Direction, Ended, Evidence, Limit, Remote, TcpTimes};
use crate::sample::Sample;

/// Returns the main limit of a transfer, its evidence, and what to change.
///
/// [`Limit::Unknown`] where no part has most of the time.
#[must_use]
pub fn diagnosis(evidence: &Evidence) -> Diagnosis {
    if evidence.elapsed.is_zero() {
        return unknown(vec!["no time was measured".to_owned()]);
    }
    let judge = Judge::new(evidence);
    match evidence.direction {
        Direction::Sending => judge.sending(),
        Direction::Receiving => judge.receiving(),
        Direction::Both => judge.interactive(),
    }
}

/// Returns the diagnosis of a command that did not complete: how it ended, in words too, and the
/// limit of the part that was measured.
///
/// `is_any_complete`: whether one of several transfers is complete.
pub(crate) fn concluded(
    evidence: Option<&Evidence>,
    is_any_complete: bool,
    (ended, text): (Ended, String),
) -> Diagnosis {
    let none = || unknown(vec!["no content was transferred".to_owned()]);
    let mut found = evidence.map_or_else(none, diagnosis);
    // An end within the first round trips shows no limit.
    if found.main == Limit::Handshakes && !is_any_complete {
        found = unknown(vec!["too little was transferred to measure a limit".to_owned()]);
    }
    // The error of a lost connection has the number.
    if let Some(evidence) = evidence.filter(|evidence| evidence.bytes > 0)
        && !matches!(ended, Ended::Lost | Ended::TimedOut)
    {
        found.evidence.insert(0, moved(evidence));
    }
    found.evidence.insert(0, text);
    let advice = advice_after(ended, evidence, found.advice.take());
    Diagnosis { ended: Some(ended), advice, ..found }
}

/// Returns how much was moved. What was written may wait in buffers of this end, so it has what
/// the other end acknowledged beside it.
fn moved(evidence: &Evidence) -> String {
    let bytes = counted(evidence.bytes, "byte");
    match (evidence.direction, acknowledged(evidence)) {
        (Direction::Sending, Some(acked)) => format!(
            "wrote {bytes} of content before; {} acknowledged, with those of the protocols",
            counted(acked, "byte")
        ),
        (Direction::Sending, None) => format!("wrote {bytes} of content before"),
        (Direction::Receiving, _) => format!("received {bytes} of content before"),
        (Direction::Both, _) => format!("sent and received {bytes} before"),
    }
}

/// Returns the bytes that were acknowledged on all connections; `None` without a sample.
fn acknowledged(evidence: &Evidence) -> Option<u64> {
    let mut latest = BTreeMap::new();
    let acked = |sample: &Sample| Some((sample.connection, sample.acked?));
    latest.extend(evidence.samples.iter().filter_map(acked));
    (!latest.is_empty()).then(|| latest.into_values().sum())
}

/// The share of the time that makes something the main limit.
const MOST: f64 = 0.4;

/// The share of waiting that shows a full buffer behind this end, or an empty one before it.
const WAITS: f64 = 0.25;

/// The share of time with data in the socket at which the socket is never empty.
const NEVER_EMPTY: f64 = 0.9;

/// Round trips of a transfer that is too short for its rate to matter.
const FEW_ROUNDS: f64 = 4.0;

/// The share of the time at the end of a window or of a buffer that shows it to be the limit of a
/// sender that paces.
const PACED: f64 = 0.2;

/// Samples that are too few to count.
const FEW_SAMPLES: u64 = 8;

/// Bytes of such a transfer: those that a sender may send before the first acknowledgement, and
/// twice as many after it.
const FEW_BYTES: u64 = 3 * 10 * 1460;

/// The share of the window that a round trip uses if the window is the limit. Windows that the
/// kernel adapts have room for two round trips.
const WINDOW_USED: f64 = 0.6;

struct Judge<'e> {
    evidence: &'e Evidence,
    handshakes: f64,
    reading: f64,
    hashing: f64,
    pausing: f64,
    tls: f64,
    storing: f64,
    tcp: Option<Tcp<'e>>,
}

/// Shares of the time from the statistics of a connection.
struct Tcp<'e> {
    times: &'e TcpTimes,
    busy: f64,
    window: f64,
    buffer: f64,
}

impl<'e> Judge<'e> {
    fn new(evidence: &'e Evidence) -> Self {
        let share = |part: Duration| share(part, evidence.elapsed);
        let tcp = evidence.tcp.as_ref().map(|times| Tcp {
            times,
            busy: share(times.busy),
            window: share(times.rwnd_limited),
            buffer: share(times.sndbuf_limited),
        });
        // Without room in the socket the kernel waits for that, not for the file.
        let waits = tcp.as_ref().map_or(0.0, |tcp| tcp.window + tcp.buffer);
        let starved = share(evidence.by_kernel) - waits;
        Self {
            evidence,
            handshakes: share(evidence.handshakes),
            reading: (share(evidence.reading) + starved.max(0.0)).min(1.0),
            hashing: share(evidence.hashing),
            pausing: share(evidence.pausing),
            tls: share(evidence.tls),
            storing: share(evidence.storing),
            tcp,
        }
    }

    fn sending(&self) -> Diagnosis {
        let own = self.largest(&[
            (Limit::Handshakes, self.handshakes),
            (self.source(), self.reading),
            (Limit::Hashing, self.hashing),
            (Limit::RateLimit, self.pausing),
            (Limit::Tls, self.tls),
        ]);
        // Time in which this end waits for the socket, or for the reply.
        let waiting = self.rest(&[self.reading, self.hashing, self.pausing, self.tls]);
        if let Some(rounds) = self.few_rounds(waiting) {
            return rounds;
        }
        // The receipt counts what the receiver did; the kernel here sees only its effect, and over
        // HTTP/2 not even that.
        let Remote { hashing, storing, syncing } = self.evidence.remote.unwrap_or_default();
        let remote = self.share(hashing.max(storing + syncing));
        if remote >= MOST && waiting >= WAITS && waiting + remote >= 2.0 * own.1 {
            return self.at_receiver(waiting);
        }
        // While content is written, a wait with an empty socket is one for this CPU.
        let waiting = self
            .tcp
            .as_ref()
            .map_or(waiting, |tcp| waiting.min(tcp.busy + self.share(self.evidence.replying)));
        let is_full = self.tcp.as_ref().is_some_and(|tcp| tcp.busy >= NEVER_EMPTY);
        let behind = (waiting >= MOST && waiting >= own.1) || (is_full && waiting >= WAITS);
        if !behind && own.1 < MOST {
            return self.unknown();
        }
        if behind {
            return self.behind(waiting);
        }
        self.found(own)
    }

    /// Returns the limit of a transfer that waits for its socket or its receiver.
    fn behind(&self, waiting: f64) -> Diagnosis {
        let Some(tcp) = &self.tcp else {
            return match self.at_receiver(waiting) {
                // It may be the path too.
                Diagnosis { main: Limit::Receiver, .. } => self.unknown(),
                found => found,
            };
        };
        let replying = (waiting - tcp.busy).clamp(0.0, self.share(self.evidence.replying));
        let path = (tcp.busy - tcp.window - tcp.buffer).max(0.0);
        // Pacing (BBR) finds the rate that a window or a buffer permits, and rarely meets its end.
        if tcp.window >= PACED && tcp.window >= tcp.buffer && self.fills(tcp.times.peer_window) {
            return self.found((Limit::ReceiveWindow, tcp.window + path));
        }
        let closed = self.closed().min(waiting);
        let receiver = (tcp.window + replying).max(closed).min(1.0);
        if receiver.max(path).max(tcp.buffer) < WAITS {
            return self.unknown();
        }
        if closed >= MOST || receiver >= path.max(tcp.buffer) {
            return self.at_receiver(receiver);
        }
        if tcp.buffer >= PACED {
            return self.found((Limit::SendBuffer, tcp.buffer + path));
        }
        match of_path(tcp.times) {
            // Loopback has neither a slow link nor traffic of others: its ends share the CPU. A
            // tunnel may be behind it.
            Limit::Congestion if self.evidence.is_local => {
                let mut found = self.unknown();
                found.evidence.push(format!(
                    "data waited in the socket for {:.0} % of the time; it ends on this machine, \
                     at a server that shares its CPU or at a tunnel",
                    path.min(1.0) * 100.0
                ));
                found
            }
            what => self.found((what, path)),
        }
    }

    /// Returns the part of the receiver that has `share` of the time, as far as it reports it.
    fn at_receiver(&self, share: f64) -> Diagnosis {
        let Remote { hashing, storing, syncing } = self.evidence.remote.unwrap_or_default();
        let (hashing, storing) = (self.share(hashing), self.share(storing + syncing));
        let main = hashing.max(storing);
        if main >= MOST || main >= share / 3.0 {
            let what = if storing >= hashing { Limit::Storing } else { Limit::ReceiverHashing };
            return self.found((what, main));
        }
        self.found((Limit::Receiver, share))
    }

    /// Returns the share of samples with a receive window of less than half of what it was: the
    /// receiver has not read what is in its kernel.
    fn closed(&self) -> f64 {
        let (mut most, mut closed, mut of) = (0, 0, 0);
        for window in self.evidence.samples.iter().filter_map(|sample| sample.peer_window) {
            most = most.max(window);
            closed += u64::from(window < most / 2);
            of += 1;
        }
        if of < FEW_SAMPLES { 0.0 } else { ratio(closed, of) }
    }

    fn receiving(&self) -> Diagnosis {
        let output = if self.evidence.output_is_stream { Limit::Receiver } else { Limit::Storing };
        let own = self.largest(&[
            (Limit::Handshakes, self.handshakes),
            (Limit::ReceiverHashing, self.hashing),
            (output, self.storing),
            (Limit::RateLimit, self.pausing),
            (Limit::Tls, self.tls),
        ]);
        let waiting = self.rest(&[self.hashing, self.storing, self.pausing, self.tls]);
        if let Some(rounds) = self.few_rounds(waiting) {
            return rounds;
        }
        if own.1 >= MOST && own.1 >= waiting {
            return self.found(own);
        }
        if waiting < MOST {
            return self.unknown();
        }
        let times = self.tcp.as_ref().map(|tcp| tcp.times);
        let what = match times {
            Some(times) => match of_arrival(times, self.evidence.arrived) {
                Limit::Congestion if self.fills(times.own_window) => Limit::ReceiveWindow,
                Limit::Congestion => Limit::SenderOrPath,
                found => found,
            },
            None => Limit::SenderOrPath,
        };
        self.found((what, waiting))
    }

    fn interactive(&self) -> Diagnosis {
        let Some(tcp) = &self.tcp else { return self.unknown() };
        let idle = (1.0 - self.handshakes - tcp.busy).max(0.0);
        if idle >= MOST { self.found((Limit::Idle, idle)) } else { self.sending() }
    }

    /// Returns a diagnosis if the transfer took a few round trips only.
    fn few_rounds(&self, waiting: f64) -> Option<Diagnosis> {
        let is_short = self.evidence.bytes / u64::from(self.transfers()) <= FEW_BYTES;
        let share = self.handshakes + waiting;
        let is_found = is_short && share >= MOST && self.rounds()? <= FEW_ROUNDS;
        is_found.then(|| self.found((Limit::Handshakes, share.min(1.0))))
    }

    /// Returns how many round trips followed the handshakes, for each transfer.
    fn rounds(&self) -> Option<f64> {
        let rtt = self.evidence.tcp.as_ref().map(|tcp| tcp.min_rtt).filter(|rtt| !rtt.is_zero())?;
        let after = self.evidence.elapsed.saturating_sub(self.evidence.handshakes);
        Some(after.as_secs_f64() / rtt.as_secs_f64() / f64::from(self.transfers()))
    }

    /// Returns whether a round trip transfers most of `window`.
    fn fills(&self, window: u64) -> bool {
        window > 0 && self.in_a_round() >= WINDOW_USED * window as f64
    }

    /// Returns the bytes of a round trip.
    fn in_a_round(&self) -> f64 {
        let rtt = self.evidence.tcp.as_ref().map_or(Duration::ZERO, |tcp| tcp.min_rtt);
        let after = self.evidence.elapsed.saturating_sub(self.evidence.handshakes);
        ratio_of(self.evidence.bytes as f64, after.as_secs_f64()) * rtt.as_secs_f64()
    }

    fn source(&self) -> Limit {
        if self.evidence.source_is_stream { Limit::Sender } else { Limit::Reading }
    }

    fn transfers(&self) -> u32 {
        self.evidence.transfers.max(1)
    }

    fn share(&self, part: Duration) -> f64 {
        share(part, self.evidence.elapsed)
    }

    fn rest(&self, parts: &[f64]) -> f64 {
        (1.0 - self.handshakes - parts.iter().sum::<f64>()).max(0.0)
    }

    fn largest(&self, candidates: &[(Limit, f64)]) -> (Limit, f64) {
        let unknown = (Limit::Unknown, 0.0);
        candidates.iter().copied().fold(unknown, |a, b| if b.1 > a.1 { b } else { a })
    }

    fn unknown(&self) -> Diagnosis {
        unknown(self.evidence_of(Limit::Unknown))
    }

    fn found(&self, (main, share): (Limit, f64)) -> Diagnosis {
        if share < WAITS || main == Limit::Unknown {
            return self.unknown();
        }
        let advice = advice(main, self.evidence).to_owned();
        let evidence = self.evidence_of(main);
        let (share, direction) = (Some(share.min(1.0)), Some(self.evidence.direction));
        Diagnosis { main, ended: None, share, direction, evidence, advice: Some(advice) }
    }

    /// Returns the measurements that show `main`.
    fn evidence_of(&self, main: Limit) -> Vec<String> {
        let Evidence { bytes, elapsed, .. } = self.evidence;
        let mut said = Vec::new();
        let mut say = |what: &str, share: f64| {
            // 0 % is no evidence, but that nothing was to be sent.
            if share < 0.005 && main != Limit::Idle {
                return;
            }
            said.push(format!("{what} for {:.0} % of the time", share.min(1.0) * 100.0));
        };
        let remote = self.evidence.remote.unwrap_or_default();
        match main {
            Limit::Sender => say("the input had nothing to read", self.reading),
            Limit::Reading => say("reading the file took this end", self.reading),
            Limit::Hashing | Limit::ReceiverHashing if self.hashing > 0.0 && self.is_here(main) => {
                say("this end hashed", self.hashing);
            }
            Limit::RateLimit => say("this end paused to keep the requested rate", self.pausing),
            Limit::Tls => say("this end encrypted or decrypted", self.tls),
            Limit::ReceiverHashing => say("the receiver hashed", self.share(remote.hashing)),
            Limit::Storing if self.is_here(main) => say("this end stored", self.storing),
            Limit::Storing => {
                say("the receiver wrote", self.share(remote.storing));
                if !remote.syncing.is_zero() {
                    say("the receiver waited for fsync", self.share(remote.syncing));
                }
            }
            Limit::Receiver if self.is_here(main) => {
                say("the reader of the output did not read", self.storing);
            }
            _ => {}
        }
        if is_of_tcp(main) && self.evidence.direction == Direction::Receiving {
            let waiting = self.rest(&[self.hashing, self.storing, self.pausing, self.tls]);
            say("this end waited for input", waiting);
        }
        if let (Some(tcp), true) = (&self.tcp, is_of_tcp(main)) {
            let times = tcp.times;
            if self.evidence.direction != Direction::Receiving {
                say("data waited in the socket", tcp.busy);
                if tcp.window > 0.005 || main == Limit::ReceiveWindow {
                    say("the receive window blocked the sender", tcp.window);
                }
                if tcp.buffer > 0.005 {
                    say("the send buffer limited the sender", tcp.buffer);
                }
                if times.segments > 0 && is_of_path(main) {
                    let TcpTimes { retransmits, segments, arrived_twice, overtaken, .. } = times;
                    said.push(format!("{retransmits} of {segments} segments were sent again"));
                    if *arrived_twice > 0 {
                        let twice = counted(*arrived_twice, "segment");
                        said.push(format!("{twice} arrived twice: late, not lost (D-SACK)"));
                    }
                    if *overtaken > 0 {
                        let times = counted(*overtaken, "time");
                        said.push(format!("later segments overtook earlier ones {times}"));
                    }
                }
            } else {
                if times.received_segments > 0 && times.out_of_order > 0 {
                    let TcpTimes { out_of_order, received_segments, .. } = times;
                    said.push(format!(
                        "{out_of_order} of {received_segments} segments arrived out of order"
                    ));
                }
                if let Some(Arrived { again: again @ 1.., twice }) = self.evidence.arrived {
                    let again = counted(again, "segment");
                    said.push(format!("{again} sent again, of which {twice} had only been late"));
                }
            }
            let window = match self.evidence.direction {
                Direction::Receiving => times.own_window,
                _ => times.peer_window,
            };
            if window > 0 && main == Limit::ReceiveWindow {
                said.push(format!(
                    "{:.0} bytes in a round trip of {} fill a window of {window} bytes",
                    self.in_a_round(),
                    milliseconds(times.min_rtt)
                ));
            } else if !times.rtt.is_zero() {
                let (rtt, min) = (milliseconds(times.rtt), milliseconds(times.min_rtt));
                said.push(format!("round trip {rtt} at the end, {min} at least"));
            }
        }
        match main {
            Limit::Handshakes => {
                let handshakes = self.evidence.handshakes;
                said.push(format!(
                    "{} of {} passed before the first byte of content",
                    milliseconds(handshakes),
                    milliseconds(*elapsed)
                ));
                if let Some(rounds) = self.rounds().filter(|rounds| *rounds <= FEW_ROUNDS) {
                    let rtt = self.evidence.tcp.as_ref().map_or(Duration::ZERO, |tcp| tcp.min_rtt);
                    let rtt = milliseconds(rtt);
                    said.push(format!("the rest took {rounds:.1} round trips of {rtt}"));
                }
            }
            Limit::Unknown => {
                let (ms, size) = (milliseconds(*elapsed), format_bytes(*bytes));
                said.push(format!("no part of {ms} for {size} took most of the time"));
            }
            _ => {}
        }
        said
    }

    /// Returns whether this end does what `main` names.
    fn is_here(&self, main: Limit) -> bool {
        main == Limit::Hashing || self.evidence.direction == Direction::Receiving
    }
}

const fn is_of_tcp(main: Limit) -> bool {
    is_of_path(main)
        || matches!(
            main,
            Limit::ReceiveWindow
                | Limit::SendBuffer
                | Limit::Receiver
                | Limit::Storing
                | Limit::ReceiverHashing
                | Limit::Idle
                | Limit::SenderOrPath
        )
}

fn unknown(evidence: Vec<String>) -> Diagnosis {
    let (main, share, direction) = (Limit::Unknown, None, None);
    Diagnosis { main, ended: None, share, direction, evidence, advice: None }
}

fn share(part: Duration, whole: Duration) -> f64 {
    ratio_of(part.as_secs_f64(), whole.as_secs_f64()).min(1.0)
}

fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        ..0.1 => format!("{:.0} µs", ms * 1000.0),
        ..10.0 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}
