//! What a bench found, as a table or as JSON lines.

use std::fmt::Write;

use serde_json::json;

use super::Pair;
use super::stats::Spread;
use super::work::Workplace;
use crate::flags;

/// One pair's figures.
pub(super) struct Row {
    pair: Pair,
    seconds: Spread,
    /// To raw TCP of the same round.
    ratio: Spread,
    runs: usize,
    bytes: u64,
    digest: String,
}

impl Row {
    pub(super) fn new(
        pair: Pair,
        seconds: &[f64],
        raw: &[f64],
        work: &Workplace,
        digest: String,
    ) -> Self {
        let ratios = seconds.iter().zip(raw).map(|(ours, raw)| ours / raw);
        Self {
            pair,
            seconds: Spread::of(seconds.iter().copied()),
            ratio: Spread::of(ratios),
            runs: seconds.len(),
            bytes: work.size,
            digest,
        }
    }

    /// Bytes per second at the median.
    #[expect(clippy::cast_precision_loss, reason = "a rate to be read needs no 53 bits")]
    fn rate(&self) -> f64 {
        self.bytes as f64 / self.seconds.median
    }
}

pub(super) fn table(rows: &[Row], flags: &flags::Bench) -> String {
    let mut table = facts(flags);
    let _ = writeln!(table, "{:<18}  seconds at the receiver    GB/s  times raw TCP", "pair");
    let _ = writeln!(table, "{:<18}    min  median     max          median (min to max)", "");
    for row in rows {
        let Spread { min, median, max } = row.seconds;
        let (rate, ratio) = (row.rate() / 1e9, row.ratio);
        let _ = writeln!(
            table,
            "{:<18}  {min:.3}   {median:.3}   {max:.3}  {rate:>6.2}  {:.2} ({:.2} to {:.2})",
            row.pair.name(),
            ratio.median,
            ratio.min,
            ratio.max,
        );
    }
    if let Some(row) = rows.first() {
        let (runs, bytes) = (row.runs, row.bytes);
        let _ = writeln!(
            table,
            "{runs} runs a pair, {bytes} bytes in each; stored byte-identical by every pair:"
        );
        let _ = writeln!(table, "{}", row.digest);
    }
    table
}

pub(super) fn json(rows: &[Row], flags: &flags::Bench) -> String {
    let mut lines = String::new();
    for row in rows {
        let Spread { min, median, max } = row.seconds;
        let ratio = row.ratio;
        let object = json!({
            "pair": row.pair.name(),
            "client": row.pair.client.as_str(),
            "server": row.pair.server.as_str(),
            "bytes": row.bytes,
            "runs": row.runs,
            "seconds": { "min": min, "median": median, "max": max },
            "rate": row.rate().round(),
            "times_raw": { "min": ratio.min, "median": ratio.median, "max": ratio.max },
            "digest": row.digest,
            "sink": flags.sink.as_str(),
            "frame_size": flags.frame_size,
            "congestion": congestion(flags),
            "kernel": kernel(),
            "cpu": cpu(),
            "cores": cores(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        let _ = writeln!(lines, "{object}");
    }
    lines
}

fn facts(flags: &flags::Bench) -> String {
    format!(
        "anyport {}, Linux {}, {} × {}\nsink {}, frames of {} bytes, congestion control {}\n\n",
        env!("CARGO_PKG_VERSION"),
        kernel(),
        cores(),
        cpu(),
        flags.sink.as_str(),
        flags.frame_size,
        congestion(flags),
    )
}

/// The algorithm that the senders' sockets got, asked from a socket of our own.
fn congestion(flags: &flags::Bench) -> String {
    let ask = || -> std::io::Result<String> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let socket = std::net::TcpStream::connect(listener.local_addr()?)?;
        flags.congestion.apply(&socket, socket.local_addr()?, socket.peer_addr()?)
    };
    ask().unwrap_or_else(|_| flags.congestion.to_string())
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|rest| rest.split_once(':')).map(|(_, model)| model.trim());
    model.unwrap_or("unknown CPU").to_owned()
}
