//! The result of the rounds of an echo, as text and as JSON.

use anyhow::{Context, Result};
use anyport_proto::counted::counted;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::Found;
use crate::environment::VERSION;
use crate::flags::Echo;
use crate::stats::{Ratio, Spread};

/// The rounds with one number of messages in flight.
pub(super) struct Run {
    pub(super) in_flight: u32,
    pub(super) server: Vec<Found>,
    /// As many, or none.
    pub(super) baseline: Vec<Found>,
}

/// Some rounds as one.
struct Sum {
    answered: u64,
    seconds: f64,
    rates: Vec<f64>,
    latencies: Histogram<u64>,
    busiest: f64,
}

impl Run {
    pub(super) fn new(in_flight: u32) -> Self {
        Self { in_flight, server: Vec::new(), baseline: Vec::new() }
    }

    pub(super) fn json(&self, flags: &Echo) -> Result<String> {
        let Echo { url, connections, payload, .. } = flags;
        let mut report = json!({
            "event": "echo", "url": url, "version": VERSION, "connections": connections,
            "in_flight": self.in_flight, "payload": payload, "rounds": self.server.len(),
        });
        let server = Sum::of(&self.server)?;
        for (key, value) in server.keys() {
            report[key] = value;
        }
        if let Some(ratio) = self.ratio()? {
            let baseline = Sum::of(&self.baseline)?;
            report["yardstick"] = baseline.keys().into_iter().collect();
            report["ratio"] =
                json!({ "median": ratio.median, "low": ratio.low, "high": ratio.high });
        }
        Ok(report.to_string())
    }

    pub(super) fn report(&self, flags: &Echo) -> Result<String> {
        let Echo { url, connections, payload, .. } = flags;
        let in_flight = self.in_flight;
        let server = Sum::of(&self.server)?;
        let mut report = format!(
            "{url}: {}, {in_flight} in flight on each, {} a message\n{}",
            counted(u64::from(*connections), "connection"),
            counted(*payload, "byte"),
            server.line()
        );
        let mut busiest = server.busiest;
        if let Some(ratio) = self.ratio()? {
            let baseline = Sum::of(&self.baseline)?;
            busiest = busiest.max(baseline.busiest);
            let Ratio { median, low, high } = ratio;
            report.push_str(&format!(
                "\nbaseline: a bare epoll loop, plain bytes of the same size\n{}\n\
                 the server echoes {median:.2} times as many ({low:.2} to {high:.2})",
                baseline.line()
            ));
        }
        if busiest > 0.9 {
            report.push_str(&format!(
                "\nthe client itself kept {:.0} % of a core busy: the server \
                may be faster than this",
                busiest * 100.0
            ));
        }
        Ok(report)
    }

    /// Returns the ratio of the server's rates to the baseline's, round by round.
    fn ratio(&self) -> Result<Option<Ratio>> {
        if self.baseline.is_empty() {
            return Ok(None);
        }
        let ratio = Ratio::of(&Sum::of(&self.server)?.rates, &Sum::of(&self.baseline)?.rates);
        Ok(Some(ratio.context("the baseline echoed nothing")?))
    }
}

impl Sum {
    fn of(rounds: &[Found]) -> Result<Self> {
        let first = rounds.first().context("no round")?;
        let mut latencies = first.latencies.clone();
        for round in &rounds[1..] {
            latencies.add(&round.latencies).context("a histogram")?;
        }
        Ok(Self {
            answered: rounds.iter().map(|round| round.answered).sum(),
            seconds: (rounds.iter().map(|round| round.seconds).sum::<f64>() * 1e6).round() / 1e6,
            rates: rounds.iter().map(|round| round.answered as f64 / round.seconds).collect(),
            latencies,
            busiest: rounds.iter().map(|round| round.busy).fold(0.0, f64::max),
        })
    }

    fn micros(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// In the middle of the rounds.
    fn rate(&self) -> Spread {
        let none = Spread { min: 0.0, median: 0.0, max: 0.0 };
        Spread::of(self.rates.iter().copied()).unwrap_or(none)
    }

    fn keys(&self) -> Vec<(String, Value)> {
        let micros = json!({
            "p50": self.micros(0.5), "p99": self.micros(0.99), "p99.9": self.micros(0.999),
            "max": self.latencies.max() as f64 / 1000.0,
        });
        let Spread { min, median, max } = self.rate();
        [
            ("seconds", json!(self.seconds)),
            ("messages", json!(self.answered)),
            ("per_second", json!(median.round())),
            ("per_second_spread", json!([min.round(), max.round()])),
            ("microseconds", micros),
            ("client_busy", json!(self.busiest)),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec()
    }

    fn line(&self) -> String {
        let Spread { min, median, max } = self.rate();
        let spread = match self.rates.len() {
            1 => String::new(),
            rounds => format!(" ({min:.0} to {max:.0} in {rounds} rounds)"),
        };
        format!(
            "{median:.0} messages per second{spread}, each one compared\n\
             p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, max {:.1} us",
            self.micros(0.5),
            self.micros(0.99),
            self.micros(0.999),
            self.latencies.max() as f64 / 1000.0
        )
    }
}
