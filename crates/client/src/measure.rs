//! The measurements of a transfer, from which its main limit follows.
//!
//! TCP statistics say how long there was data to send, and how long the peer's window blocked it;
//! the receipt says how long the receiver hashed and stored; and the client measures what it does
//! itself.

use std::time::{Duration, Instant};

use anyport_net::tcp_info::TcpInfo;
use anyport_proto::transfer::receipt::Receipt;
use anyport_trace::{Diagnosis, Direction, Evidence, Limit, Remote, TcpTimes, UnderWay, diagnosis};

use crate::connect::{ConnectOptions, Counters, Socket};
use crate::spent::{Intake, Spent, Work};

/// A transfer that is being measured. If it does not complete, a trace has what was measured so
/// far.
#[derive(Debug)]
pub(crate) struct Measuring {
    start: Start,
    under_way: Option<UnderWay>,
}

/// A transfer at its beginning.
#[derive(Debug, Clone, Copy)]
struct Start {
    /// Its first step.
    began: Instant,
    /// When its connection was open.
    opened: Instant,
    /// Of its connection, before its content.
    before: State,
    /// Reading and hashing before `began`.
    earlier: Spent,
}

/// What a connection has counted.
#[derive(Debug, Clone, Copy)]
struct State {
    tcp: TcpInfo,
    tls: Duration,
}

impl State {
    fn of(counters: &Counters) -> Self {
        Self { tcp: counters.tcp(), tls: counters.tls() }
    }
}

impl Measuring {
    /// Begins with a connection that is open. Its first transfer includes the time of opening it.
    pub(crate) fn begin(socket: &Socket) -> Self {
        let began = socket.take_began().unwrap_or_else(Instant::now);
        let (opened, before) = (Instant::now(), State::of(&socket.counters()));
        let start = Start { began, opened, before, earlier: Spent::default() };
        Self { start, under_way: None }
    }

    /// Includes the time of hashing the content in advance.
    pub(crate) fn after(mut self, hashed: Option<Spent>) -> Self {
        self.start.earlier = hashed.unwrap_or_default();
        self
    }

    /// Measures an upload, also if it does not complete: `so_far` returns the bytes and their
    /// time.
    pub(crate) fn sends(
        mut self,
        connect: &ConnectOptions,
        socket: &Socket,
        so_far: impl Fn() -> (u64, Spent) + Send + 'static,
    ) -> Self {
        let (start, counters) = (self.start, socket.counters());
        let measure = move || {
            let (bytes, spent) = so_far();
            start.sent(&counters, bytes, &spent, None)
        };
        self.under_way = connect.trace.as_ref().map(|trace| trace.under_way(measure));
        self
    }

    /// Measures a download, also if it does not complete. `is_stream`: whether the output is
    /// no file.
    pub(crate) fn receives(
        mut self,
        connect: &ConnectOptions,
        socket: &Socket,
        intake: &Intake,
        is_stream: bool,
    ) -> Self {
        let (start, counters, intake) = (self.start, socket.counters(), intake.clone());
        let first = Instant::now();
        let measure = move || start.received(&counters, first, intake.get(), is_stream);
        self.under_way = connect.trace.as_ref().map(|trace| trace.under_way(measure));
        self
    }

    /// Leaves out a transfer that was not accepted: nothing of it was passed on.
    pub(crate) fn not_accepted(self) {
        self.under_way.into_iter().for_each(UnderWay::complete);
    }

    /// Returns the measurements of content that was sent, after its receipt.
    pub(crate) fn sent(
        self,
        socket: &Socket,
        bytes: u64,
        spent: &Spent,
        receipt: Option<&Receipt>,
    ) -> Evidence {
        self.under_way.into_iter().for_each(UnderWay::complete);
        self.start.sent(&socket.counters(), bytes, spent, receipt)
    }

    /// Returns the measurements of content that was received from `first` on.
    pub(crate) fn received(
        self,
        socket: &Socket,
        first: Instant,
        work: Work,
        is_stream: bool,
    ) -> Evidence {
        self.under_way.into_iter().for_each(UnderWay::complete);
        self.start.received(&socket.counters(), first, work, is_stream)
    }
}

impl Start {
    /// Returns the measurements of an interactive connection, whose bytes the kernel counts.
    fn both(&self, counters: &Counters) -> Evidence {
        let moved = |tcp: &TcpInfo| tcp.acked.unwrap_or(0) + tcp.received.unwrap_or(0);
        let bytes = moved(&counters.tcp()).saturating_sub(moved(&self.before.tcp));
        self.evidence(Direction::Both, counters, bytes, self.opened)
    }

    fn sent(
        &self,
        counters: &Counters,
        bytes: u64,
        spent: &Spent,
        receipt: Option<&Receipt>,
    ) -> Evidence {
        let first = spent.first.unwrap_or(self.began);
        let evidence = self.evidence(Direction::Sending, counters, bytes, first);
        let Spent { reading, hashing, .. } = self.earlier;
        Evidence {
            elapsed: evidence.elapsed + reading + hashing,
            reading: spent.reading + reading,
            source_is_stream: spent.is_stream,
            by_kernel: spent.by_kernel,
            hashing: spent.hashing + hashing,
            pausing: spent.pausing,
            replying: spent.last.map_or(Duration::ZERO, |last| last.elapsed()),
            remote: receipt.map(remote),
            ..evidence
        }
    }

    fn received(
        &self,
        counters: &Counters,
        first: Instant,
        work: Work,
        output_is_stream: bool,
    ) -> Evidence {
        let Work { bytes, hashing, storing, pausing } = work;
        let evidence = self.evidence(Direction::Receiving, counters, bytes, first);
        Evidence { hashing, storing, pausing, output_is_stream, ..evidence }
    }

    fn evidence(
        &self,
        direction: Direction,
        counters: &Counters,
        bytes: u64,
        first: Instant,
    ) -> Evidence {
        let now = State::of(counters);
        Evidence {
            direction,
            transfers: 1,
            elapsed: self.began.elapsed(),
            handshakes: first.saturating_duration_since(self.began),
            bytes,
            is_local: counters.is_local(),
            tls: now.tls.saturating_sub(self.before.tls),
            tcp: times(&self.before.tcp, &now.tcp),
            ..Evidence::default()
        }
    }
}

/// An interactive connection of a trace. Its measurements are added when it is dropped.
pub(crate) struct Interactive {
    /// Before the socket, which it reads when it is dropped.
    _under_way: UnderWay,
    _socket: Socket,
}

impl Interactive {
    /// Begins behind the handshakes; `None` without a trace.
    pub(crate) fn begin(connect: &ConnectOptions, socket: Socket) -> Option<Self> {
        let trace = connect.trace.as_ref()?;
        let (start, counters) = (Measuring::begin(&socket).start, socket.counters());
        let under_way = trace.under_way(move || start.both(&counters));
        Some(Self { _under_way: under_way, _socket: socket })
    }
}

/// Adds `evidence` to the trace. Returns the diagnosis of a slow transfer whose limit is known.
pub(crate) fn diagnosed(connect: &ConnectOptions, evidence: &Evidence) -> Option<Diagnosis> {
    let slow = (evidence.elapsed >= WORTH_ASKING && evidence.tcp.is_some())
        .then(|| diagnosis(evidence))
        .filter(|found| found.main != Limit::Unknown);
    if let Some(trace) = &connect.trace {
        trace.measured(evidence);
    }
    slow
}

/// A transfer that took less was not slow.
const WORTH_ASKING: Duration = Duration::from_secs(1);

fn remote(receipt: &Receipt) -> Remote {
    let seconds = |seconds: Option<f64>| {
        Duration::try_from_secs_f64(seconds.unwrap_or_default()).unwrap_or_default()
    };
    let durable = receipt.durable_seconds.map(|durable| durable - receipt.seconds);
    Remote {
        hashing: seconds(receipt.hashing_seconds),
        storing: seconds(receipt.storing_seconds),
        syncing: seconds(durable.filter(|durable| *durable >= 0.0)),
    }
}

/// Returns the statistics of the time between two states; `None` where the kernel has none.
fn times(before: &TcpInfo, after: &TcpInfo) -> Option<TcpTimes> {
    let during = |fact: fn(&TcpInfo) -> Option<u64>| {
        fact(after).map(|after| after.saturating_sub(fact(before).unwrap_or_default()))
    };
    let count = |fact| during(fact).unwrap_or_default();
    let time = |fact| Duration::from_micros(count(fact));
    let micros = |micros: Option<u64>| Duration::from_micros(micros.unwrap_or_default());
    during(|tcp| tcp.busy_us)?;
    Some(TcpTimes {
        busy: time(|tcp| tcp.busy_us),
        rwnd_limited: time(|tcp| tcp.rwnd_limited_us),
        sndbuf_limited: time(|tcp| tcp.sndbuf_limited_us),
        retransmits: count(|tcp| tcp.retransmits),
        arrived_twice: count(|tcp| tcp.arrived_twice),
        overtaken: count(|tcp| tcp.overtaken),
        segments: count(|tcp| tcp.segments),
        rtt: micros(after.rtt_us),
        min_rtt: micros(after.min_rtt_us),
        peer_window: after.peer_window.unwrap_or_default(),
        own_window: after.own_window.unwrap_or_default(),
        receive_rtt: micros(after.rcv_rtt_us),
        received_segments: count(|tcp| tcp.received_segments),
        out_of_order: count(|tcp| tcp.out_of_order),
    })
}
