//! `anyport bench rooms`: one client publishes; measures when all others have received it.
//!
//! ```text
//!   publisher ── bursts ──► server ──► members, which count bytes
//!                                └───► slow members, which never read
//! ```
//!
//! One thread and epoll serve all of them. Input is not parsed while it is timed: all messages of a
//! run have one size, which is measured before; and before and after each round one message is
//! compared at every member. A byte too many or too few ends the benchmark without a figure.

mod clients;
mod track;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use anyport_console::{Exit, Failure, lines_to_stdout};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use self::clients::{Clients, Ready};
use self::track::Track;
use super::environment::VERSION;
use super::flags::Rooms;
use super::stats::Spread;
use super::{counted, cpu, websocket};

pub(super) fn run(flags: &Rooms) -> Result<Exit, Failure> {
    let loads = loads(flags)?;
    let target = websocket::target(&flags.url)?;
    websocket::raise_file_limit(flags.members.saturating_add(flags.slow).saturating_add(1))?;
    if let Some(pid) = flags.pid
        && cpu::of_process(pid).is_none()
    {
        let error = anyhow!("cannot read the CPU time of process {pid}");
        return Err(
            Failure::new(Exit::Usage, error).with_hint("use --pid with a process on this machine")
        );
    }
    let mut clients = Clients::enter(&target, flags)?;
    clients.probe()?;
    let mut found: Vec<Found> =
        loads.iter().map(|load| Found::new(*load)).collect::<Result<_>>()?;
    // Round by round, so that what disturbs the machine for a while disturbs all of them.
    for _ in 0..flags.rounds {
        for found in &mut found {
            clients.send_pongs();
            round(&mut clients, flags, found)?;
            clients.probe()?;
        }
    }
    if flags.json {
        for found in &found {
            lines_to_stdout(&found.json(flags, &clients).to_string())
                .context("cannot write to stdout")?;
        }
    } else {
        lines_to_stdout(&report(&found, flags, &clients)).context("cannot write to stdout")?;
    }
    Ok(Exit::Done)
}

/// The load of a run: messages in flight and per burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Load {
    /// Messages that not all members have.
    in_flight: u32,
    /// Messages that go out with one write.
    burst: u32,
}

/// Each number in flight with its burst.
fn loads(flags: &Rooms) -> Result<Vec<Load>, Failure> {
    let usage = |error| Err(Failure::new(Exit::Usage, error));
    let pair = |(in_flight, burst)| Load { in_flight, burst };
    let (in_flight, bursts) = (&flags.in_flight, &flags.burst);
    if in_flight.is_empty() && bursts.is_empty() {
        return Ok([(1, 1), (16, 16), (64, 1), (256, 64)].map(pair).to_vec());
    }
    if !bursts.is_empty() && bursts.len() != in_flight.len() {
        let (in_flight, bursts) = (in_flight.len(), bursts.len());
        return usage(anyhow!("--burst has {bursts} numbers, but --in-flight has {in_flight}"));
    }
    let bursts = bursts.iter().copied().chain(std::iter::repeat(1));
    let loads: Vec<Load> = in_flight.iter().copied().zip(bursts).map(pair).collect();
    match loads.iter().find(|load| load.burst > load.in_flight) {
        Some(Load { in_flight, burst }) => {
            usage(anyhow!("a burst of {burst} exceeds the {in_flight} in flight"))
        }
        None => Ok(loads),
    }
}

/// The result of the rounds with one load.
#[derive(Debug)]
struct Found {
    load: Load,
    /// Of each round: messages that reached a member, per second.
    rates: Vec<f64>,
    deliveries: u64,
    /// Until the slowest member had a message.
    last: Histogram<u64>,
    /// Of one core: this process, and the server's.
    client: Vec<f64>,
    server: Vec<f64>,
}

impl Found {
    fn new(load: Load) -> Result<Self> {
        Ok(Self {
            load,
            rates: Vec::new(),
            deliveries: 0,
            last: Histogram::new_with_bounds(1, LONGEST, 3).context("a histogram")?,
            client: Vec::new(),
            server: Vec::new(),
        })
    }
}

fn round(clients: &mut Clients, flags: &Rooms, found: &mut Found) -> Result<(), Failure> {
    let Load { in_flight, burst } = found.load;
    let mut track = Track::new(clients.members.len(), clients.frame);
    let begin = Instant::now();
    let from = begin + flags.duration / 10;
    let until = from + flags.duration;
    let (client, server) = (cpu::of_this_thread(), flags.pid.and_then(cpu::of_process));
    let (mut deliveries, mut last_received) = (0, begin);
    loop {
        let now = Instant::now();
        // After the end no message is published, and those in flight must still arrive.
        while now < until && track.in_flight() + burst as usize <= in_flight as usize {
            clients.publisher.say(burst)?;
            (0..burst).for_each(|_| track.publish(now));
        }
        clients.flush()?;
        if track.in_flight() == 0 {
            break;
        }
        for ready in clients.ready(Duration::from_millis(100))? {
            let count = clients.count(ready)?;
            let Ready::Member(member) = ready else { continue };
            let now = Instant::now();
            last_received = now;
            let received = track.received(member, count, now).map_err(|error| {
                Failure::new(Exit::Mismatch, error).with_hint("use a room without other messages")
            })?;
            if now >= from && now < until {
                deliveries += received.delivered;
                for took in received.finished {
                    let nanos = u64::try_from(took.as_nanos()).unwrap_or(LONGEST);
                    found.last.saturating_record(nanos);
                }
            }
        }
        if last_received.elapsed() > flags.timeout {
            let (member, got, most) =
                track.first_incomplete().context("some member lacks messages")?;
            let error = anyhow!("messages lost: member {member} received {got} of {most} bytes");
            return Err(Failure::new(Exit::Mismatch, error));
        }
    }
    let elapsed = begin.elapsed().as_secs_f64();
    let share =
        |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() / elapsed;
    found.client.push(share(client, cpu::of_this_thread()));
    found.server.extend(server.zip(flags.pid.and_then(cpu::of_process)).map(|(a, b)| share(a, b)));
    found.rates.push(deliveries as f64 / flags.duration.as_secs_f64());
    found.deliveries += deliveries;
    Ok(())
}

impl Found {
    fn micros(&self, quantile: f64) -> f64 {
        self.last.value_at_quantile(quantile) as f64 / 1000.0
    }

    fn spread(numbers: &[f64]) -> Option<Spread> {
        Spread::of(numbers.iter().copied())
    }

    fn json(&self, flags: &Rooms, clients: &Clients) -> Value {
        let spread = |numbers: &[f64], digits: f64| {
            let round = |number: f64| (number * digits).round() / digits;
            Self::spread(numbers).map(|Spread { min, median, max }| {
                json!({ "min": round(min), "median": round(median), "max": round(max) })
            })
        };
        json!({
            "event": "rooms", "url": flags.url, "version": VERSION, "members": flags.members,
            "slow": flags.slow, "payload": flags.payload, "frame": clients.frame,
            "in_flight": self.load.in_flight, "burst": self.load.burst,
            "rounds": flags.rounds, "seconds": flags.duration.as_secs_f64(),
            "deliveries": self.deliveries, "deliveries_per_second": spread(&self.rates, 1.0),
            "last_microseconds": {
                "p50": self.micros(0.5), "p99": self.micros(0.99),
                "max": self.last.max() as f64 / 1000.0,
            },
            "client_busy": spread(&self.client, 100.0), "server_busy": spread(&self.server, 100.0),
        })
    }

    fn line(&self) -> String {
        let Load { in_flight, burst } = self.load;
        let busy = |shares: &[f64]| match Self::spread(shares) {
            Some(share) => format!("{:.2}", share.median),
            None => "-".to_owned(),
        };
        let Spread { min, median, max } =
            Self::spread(&self.rates).unwrap_or(Spread { min: 0.0, median: 0.0, max: 0.0 });
        format!(
            "{in_flight:>9} {burst:>6} {median:>14.0} {:>21} {:>9.2} {:>9.2} {:>7} {:>7}",
            format!("{min:.0}-{max:.0}"),
            self.micros(0.5) / 1000.0,
            self.micros(0.99) / 1000.0,
            busy(&self.server),
            busy(&self.client),
        )
    }
}

fn report(found: &[Found], flags: &Rooms, clients: &Clients) -> String {
    let Rooms { url, members, payload, rounds, duration, slow, .. } = flags;
    let mut lines = vec![format!(
        "{url}: 1 sender of {payload} bytes, {members} members receive {} each; {} of \
        {duration:?}, no message lost",
        clients.frame,
        counted(*rounds, "round"),
    )];
    if *slow > 0 {
        lines.push(format!("{slow} more members never read; the figures are those of the others"));
    }
    lines.push(
        "in flight  burst   deliveries/s              (spread)  last p50  last p99  server  client"
            .to_owned(),
    );
    lines.extend(found.iter().map(Found::line));
    lines.push(
        "last: milliseconds until the slowest member had a message; server, client: cores"
            .to_owned(),
    );
    let busiest = found.iter().flat_map(|found| &found.client).copied().fold(0.0, f64::max);
    if busiest > 0.9 {
        lines.push(format!(
            "the client itself kept {:.0} % of a core busy: the server may be faster than this",
            busiest * 100.0
        ));
    }
    lines.join("\n")
}

/// A minute in nanoseconds; longer latencies count as this.
const LONGEST: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &[&str]) -> Rooms {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            rooms: Rooms,
        }
        <Line as clap::Parser>::parse_from([&["rooms", "ws://h:1/rooms/a"][..], words].concat())
            .rooms
    }

    fn pairs(words: &[&str]) -> Vec<(u32, u32)> {
        let loads = loads(&flags(words)).unwrap();
        loads.iter().map(|load| (load.in_flight, load.burst)).collect()
    }

    #[test]
    fn each_number_in_flight_has_its_burst() {
        assert_eq!(pairs(&[]), [(1, 1), (16, 16), (64, 1), (256, 64)]);
        assert_eq!(pairs(&["--in-flight", "1,16"]), [(1, 1), (16, 1)]);
        assert_eq!(pairs(&["--in-flight", "1,16", "--burst", "1,4"]), [(1, 1), (16, 4)]);
        for words in [&["--in-flight", "4", "--burst", "5"][..], &["--burst", "5"]] {
            assert!(loads(&flags(words)).is_err(), "{words:?}");
        }
    }
}
