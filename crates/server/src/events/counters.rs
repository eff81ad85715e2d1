//! Counters: connections, detection results with the class of their reason, and transfers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyport_proto::counted::counted;
use anyport_proto::detect::{Decision, DetectedProtocol, End, Reason};
use anyport_proto::transfer::receipt::{Outcome, Receipt};
use anyport_proto::transfer::units::format_bytes;

use super::histogram::{Durations, Histogram};
use super::observer::{Sent, Why};
use super::requests::Requests;
use crate::config::Service;

/// The counters of a running server. [`Self::snapshot`] may be called at any time, on any thread.
#[derive(Debug, Default)]
pub struct Counters {
    connections: AtomicU64,
    silent: [AtomicU64; SilentEnd::ALL.len()],
    decisions: [[AtomicU64; Class::ALL.len()]; Decided::ALL.len()],
    encrypted: AtomicU64,
    handshakes_failed: AtomicU64,
    receipts: AtomicU64,
    bytes: AtomicU64,
    already_there: AtomicU64,
    already_there_bytes: AtomicU64,
    interrupted: AtomicU64,
    refused: [AtomicU64; Why::ALL.len()],
    forwarding_ignored: AtomicU64,
    untraced: AtomicU64,
    open: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    connection_durations: Histogram,
    upload_durations: Histogram,
    download_durations: Histogram,
    pub(crate) requests: Requests,
    sent: AtomicU64,
    bytes_sent: AtomicU64,
    unsent: AtomicU64,
    served: [AtomicU64; Service::ALL.len()],
    datagrams: [AtomicU64; Service::ALL.len()],
    dropped: [AtomicU64; Dropped::ALL.len()],
}

/// The values of the counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Accepted connections.
    pub connections: u64,
    /// Connections that closed without sending data, by their end; without zeros.
    pub silent: Vec<(SilentEnd, u64)>,
    /// Decisions, by protocol and class of reason; only those that are not 0.
    ///
    /// A candidate for bare frames is decided twice: as one by its first bytes, and later as frames
    /// or raw.
    pub decisions: Vec<(Decided, Class, u64)>,
    /// Connections with TLS.
    pub encrypted: u64,
    /// TLS handshakes that failed.
    pub handshakes_failed: u64,
    /// Receipts: files that were stored or already there.
    pub receipts: u64,
    /// Their content bytes.
    pub bytes: u64,
    /// Receipts of files that were already there, so that nothing was received.
    pub already_there: u64,
    /// Their content bytes.
    pub already_there_bytes: u64,
    /// Uploads that were interrupted.
    pub interrupted: u64,
    /// Refusals.
    pub refused: u64,
    /// Refusals of each kind; without zeros.
    pub refusals: Vec<(Why, u64)>,
    /// Requests whose `Forwarded` and `X-Forwarded-*` fields were ignored, as no trusted proxy sent
    /// them.
    pub forwarding_ignored: u64,
    /// Connections without a trace, as there were too many, if [`crate::Startup::trace`] is set.
    pub untraced: u64,
    /// Connections that are open now.
    pub open: u64,
    /// Bytes received over all connections and in datagrams.
    pub bytes_in: u64,
    /// Bytes sent over all connections and in datagrams.
    pub bytes_out: u64,
    /// Files that were sent completely, from the requested byte on.
    pub sent: u64,
    /// Their content bytes.
    pub bytes_sent: u64,
    /// Files whose sending was interrupted.
    pub unsent: u64,
    /// Connections to listeners of each service; without zeros.
    pub served: Vec<(Service, u64)>,
    /// Datagrams that each service answered; without zeros.
    pub datagrams: Vec<(Service, u64)>,
    /// Datagrams without an answer; without zeros.
    pub dropped: Vec<(Dropped, u64)>,
}

/// Why a datagram is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dropped {
    /// The answer would be longer, and the source address may be forged.
    TooShort,
    /// Its source port belongs to a service that would answer in turn, or is 0.
    Source,
    /// It was longer than a datagram can be.
    TooLong,
    /// Its address exceeded the number of answers per second.
    TooMany,
    /// The kernel did not accept the answer.
    Unsent,
}

/// A detection result, as counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decided {
    /// The result for the first bytes.
    As(DetectedProtocol),
    /// A candidate for bare frames that was confirmed.
    Frames,
}

/// The class of the reason of a detection result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// The first bytes.
    FirstBytes,
    /// The deadline.
    Deadline,
    /// The end of the stream.
    EndOfStream,
    /// It was evicted: too many unclassified connections.
    Evicted,
    /// The protocol is not accepted, or detection is disabled.
    Forced,
    /// A candidate for bare frames was confirmed.
    Confirmed,
    /// A candidate for bare frames was ruled out.
    RuledOut,
    /// A candidate for bare frames ended before it was confirmed.
    Unconfirmed,
}

/// The end of a connection that sent no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SilentEnd {
    /// The peer closed it.
    Closed,
    /// The idle timeout.
    Idle,
    /// It was evicted for another connection.
    Evicted,
}

impl Counters {
    /// Returns the values of all counters.
    pub fn snapshot(&self) -> Snapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let silent = SilentEnd::ALL.into_iter().zip(self.silent.iter().map(load));
        let decisions = Decided::ALL.into_iter().zip(&self.decisions).flat_map(|(decided, row)| {
            let classes = Class::ALL.into_iter().zip(row.iter().map(load));
            classes.map(move |(class, count)| (decided, class, count))
        });
        let some = |counters: &[AtomicU64]| {
            let counts = Service::ALL.into_iter().zip(counters.iter().map(load));
            counts.filter(|(_, count)| *count > 0).collect()
        };
        let dropped = Dropped::ALL.into_iter().zip(self.dropped.iter().map(load));
        let refusals = Why::ALL.into_iter().zip(self.refused.iter().map(load));
        Snapshot {
            connections: load(&self.connections),
            silent: silent.filter(|(_, count)| *count > 0).collect(),
            decisions: decisions.filter(|(.., count)| *count > 0).collect(),
            encrypted: load(&self.encrypted),
            handshakes_failed: load(&self.handshakes_failed),
            receipts: load(&self.receipts),
            bytes: load(&self.bytes),
            already_there: load(&self.already_there),
            already_there_bytes: load(&self.already_there_bytes),
            interrupted: load(&self.interrupted),
            refused: self.refused.iter().map(load).sum(),
            refusals: refusals.filter(|(_, count)| *count > 0).collect(),
            forwarding_ignored: load(&self.forwarding_ignored),
            untraced: load(&self.untraced),
            open: load(&self.open),
            bytes_in: load(&self.bytes_in),
            bytes_out: load(&self.bytes_out),
            sent: load(&self.sent),
            bytes_sent: load(&self.bytes_sent),
            unsent: load(&self.unsent),
            served: some(&self.served),
            datagrams: some(&self.datagrams),
            dropped: dropped.filter(|(_, count)| *count > 0).collect(),
        }
    }

    pub(crate) fn accepted(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a file that was received completely, or was already there.
    pub(super) fn received(&self, receipt: &Receipt) {
        if receipt.outcome() != Outcome::Stored {
            self.already_there.fetch_add(1, Ordering::Relaxed);
            self.already_there_bytes.fetch_add(receipt.bytes, Ordering::Relaxed);
        }
        self.receipts.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(receipt.bytes, Ordering::Relaxed);
        self.upload_durations.add(receipt.seconds);
    }

    /// Counts an upload that was interrupted.
    pub(super) fn interrupted(&self) {
        self.interrupted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a file that was sent, completely or in part.
    pub(super) fn sent(&self, file: &Sent) {
        if file.broken.is_some() {
            self.unsent.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.bytes_sent.fetch_add(file.bytes, Ordering::Relaxed);
        self.download_durations.add(file.seconds);
    }

    /// Counts a peer that was refused.
    pub(super) fn refused(&self, why: Why) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn forwarding_ignored(&self) {
        self.forwarding_ignored.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection without a trace, as there were too many.
    pub(crate) fn untraced(&self) {
        self.untraced.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection as open.
    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection as closed.
    pub(crate) fn closed(&self, lasted: Duration) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.connection_durations.add(lasted.as_secs_f64());
    }

    /// Returns the durations of connections, uploads and downloads.
    pub(crate) fn durations(&self) -> [Durations; 3] {
        [&self.connection_durations, &self.upload_durations, &self.download_durations]
            .map(Histogram::durations)
    }

    /// Counts bytes of connections and datagrams.
    pub(crate) fn moved(&self, received: u64, sent: u64) {
        self.bytes_in.fetch_add(received, Ordering::Relaxed);
        self.bytes_out.fetch_add(sent, Ordering::Relaxed);
    }

    /// Counts a TLS handshake.
    pub(crate) fn handshake_ended(&self, succeeded: bool) {
        let counter = if succeeded { &self.encrypted } else { &self.handshakes_failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn silent(&self, end: SilentEnd) {
        self.silent[end as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection to a listener of one service.
    pub(crate) fn served(&self, service: Service) {
        self.served[service as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a datagram that was answered.
    pub(crate) fn answered(&self, service: Service) {
        self.datagrams[service as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a datagram that was not answered.
    pub(crate) fn dropped(&self, why: Dropped) {
        self.dropped[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn decided(&self, decision: &Decision) {
        self.count(Decided::As(decision.protocol), Class::of(&decision.reason));
    }

    /// Counts the second decision about a candidate for bare frames.
    pub(crate) fn candidate_decided(&self, class: Class) {
        let decided = match class {
            Class::Confirmed => Decided::Frames,
            _ => Decided::As(DetectedProtocol::Raw),
        };
        self.count(decided, class);
    }

    fn count(&self, decided: Decided, class: Class) {
        let row = Decided::ALL.iter().position(|row| *row == decided);
        if let Some(row) = row.and_then(|row| self.decisions.get(row)) {
            row[class as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Class {
    /// In the order of their discriminants.
    const ALL: [Self; 8] = [
        Self::FirstBytes,
        Self::Deadline,
        Self::EndOfStream,
        Self::Evicted,
        Self::Forced,
        Self::Confirmed,
        Self::RuledOut,
        Self::Unconfirmed,
    ];

    const fn of(reason: &Reason) -> Self {
        match reason {
            Reason::Ended { end: End::OfStream, .. } => Self::EndOfStream,
            Reason::Ended { end: End::Evicted, .. } => Self::Evicted,
            Reason::Ended { .. } => Self::Deadline,
            Reason::Forced { .. } => Self::Forced,
            _ => Self::FirstBytes,
        }
    }

    /// Returns the name in summaries and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstBytes => "first-bytes",
            Self::Deadline => "deadline",
            Self::EndOfStream => "end-of-stream",
            Self::Evicted => "no-place",
            Self::Forced => "forced",
            Self::Confirmed => "proof",
            Self::RuledOut => "refuted",
            Self::Unconfirmed => "unproven",
        }
    }
}

impl Decided {
    /// As in [`DetectedProtocol::ALL`], with confirmed frames before raw.
    const ALL: [Self; DetectedProtocol::ALL.len() + 1] = {
        let last = DetectedProtocol::ALL.len() - 1;
        let mut all = [Self::Frames; DetectedProtocol::ALL.len() + 1];
        let mut at = 0;
        while at < last {
            all[at] = Self::As(DetectedProtocol::ALL[at]);
            at += 1;
        }
        all[last + 1] = Self::As(DetectedProtocol::ALL[last]);
        all
    };

    /// Returns the name in summaries and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::As(protocol) => protocol.as_str(),
            Self::Frames => "frames",
        }
    }
}

impl Dropped {
    /// In the order of their discriminants.
    const ALL: [Self; 5] =
        [Self::TooShort, Self::Source, Self::TooLong, Self::TooMany, Self::Unsent];

    /// Returns the name in summaries and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "too-short",
            Self::Source => "source",
            Self::TooLong => "too-long",
            Self::TooMany => "too-many",
            Self::Unsent => "unsent",
        }
    }
}

impl SilentEnd {
    /// In the order of their discriminants.
    const ALL: [Self; 3] = [Self::Closed, Self::Idle, Self::Evicted];

    /// Returns the name in summaries and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Evicted => "gave-way",
        }
    }
}

/// A summary for people, on one line.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, interrupted, refused, already_there, .. } = self;
        let Self { sent, bytes_sent, unsent, .. } = self;
        // Counters are read one after the other.
        let received = self.receipts.saturating_sub(*already_there);
        let bytes_received = format_bytes(self.bytes.saturating_sub(self.already_there_bytes));
        let bytes_sent = format_bytes(*bytes_sent);
        let interrupted = interrupted + unsent;
        let (connections, files) = (counted(*connections, "connection"), counted(received, "file"));
        write!(f, "{connections}: received {files} ({bytes_received})")?;
        if *already_there > 0 {
            write!(f, ", {already_there} already there")?;
        }
        write!(f, ", sent {sent} ({bytes_sent}), interrupted {interrupted}, refused {refused}")?;
        let Self { encrypted, handshakes_failed, .. } = self;
        if encrypted + handshakes_failed > 0 {
            write!(f, "; under TLS {encrypted}, handshakes failed {handshakes_failed}")?;
        }
        let mut before = "; detected";
        for (decided, class, count) in &self.decisions {
            write!(f, "{before} {} {count} ({})", decided.as_str(), class.as_str())?;
            before = ",";
        }
        let mut before = "; without data";
        for (end, count) in &self.silent {
            write!(f, "{before} {count} ({})", end.as_str())?;
            before = ",";
        }
        let mut before = "; served";
        for (service, count) in &self.served {
            write!(f, "{before} {} {count}", service.as_str())?;
            before = ",";
        }
        let mut before = "; datagrams";
        for (service, count) in &self.datagrams {
            write!(f, "{before} {} {count}", service.as_str())?;
            before = ",";
        }
        for (why, count) in &self.dropped {
            write!(f, "{before} dropped {count} ({})", why.as_str())?;
            before = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anyport_proto::detect::{Allowed, decide};
    use anyport_proto::limits::Limits;

    use super::*;

    #[test]
    fn decisions_are_counted_by_protocol_and_class() {
        let counters = Counters::default();
        for (prefix, end, allowed) in [
            (&b"GET / HTTP/1.1\r\n"[..], None, Allowed::ALL),
            (b"GET / HTTP/1.1\r\n", None, Allowed::ALL),
            (b"\xff", None, Allowed::ALL),
            (b"GET", Some(End::Deadline), Allowed::ALL),
            (b"GET", Some(End::OfStream), Allowed::ALL),
            (b"GET", Some(End::Evicted), Allowed::ALL),
            (b"GET", None, Allowed::UNDETECTED),
        ] {
            counters.decided(&decide(prefix, &Limits::default(), allowed, end).unwrap());
        }
        for class in [Class::Confirmed, Class::RuledOut, Class::Unconfirmed] {
            counters.candidate_decided(class);
        }
        counters.silent(SilentEnd::Evicted);
        let raw = Decided::As(DetectedProtocol::Raw);
        let snapshot = counters.snapshot();
        assert_eq!(
            snapshot.decisions,
            [
                (Decided::As(DetectedProtocol::Http1), Class::FirstBytes, 2),
                (Decided::Frames, Class::Confirmed, 1),
                (raw, Class::FirstBytes, 1),
                (raw, Class::Deadline, 1),
                (raw, Class::EndOfStream, 1),
                (raw, Class::Evicted, 1),
                (raw, Class::Forced, 1),
                (raw, Class::RuledOut, 1),
                (raw, Class::Unconfirmed, 1),
            ]
        );
        let snapshot = Snapshot {
            receipts: 3,
            bytes: 15_000_000,
            already_there: 2,
            already_there_bytes: 10_000_000,
            ..snapshot
        };
        let line = snapshot.to_string();
        assert!(line.contains(": received 1 file (5.00 MB), 2 already there, sent 0"), "{line}");
        assert!(line.contains("; detected http1 2 (first-bytes), frames 1 (proof), "), "{line}");
        assert!(line.ends_with("; without data 1 (gave-way)"), "{line}");
    }

    #[test]
    fn the_order_of_each_list_is_that_of_its_discriminants() {
        assert!(Class::ALL.iter().enumerate().all(|(at, class)| at == *class as usize));
        assert!(SilentEnd::ALL.iter().enumerate().all(|(at, end)| at == *end as usize));
        assert!(Service::ALL.iter().enumerate().all(|(at, service)| at == *service as usize));
        assert!(Why::ALL.iter().enumerate().all(|(at, why)| at == *why as usize));
        assert!(Dropped::ALL.iter().enumerate().all(|(at, why)| at == *why as usize));
    }
}
