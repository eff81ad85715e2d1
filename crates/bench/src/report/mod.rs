//! Reports of a benchmark: text, JSON, and pictures.

mod html;
mod machine;
mod svg;
mod table;

pub(super) use html::html;
pub(super) use machine::{csv, json};
pub(super) use svg::svg;
pub(super) use table::table;

use anyport_console::choices::{FSYNC, SINKS};
use anyport_console::values::word;
use serde_json::{Value, json};

use super::environment::Environment;
use super::flags::Bench;
use super::rows::{BASE, LAYERS, Receiver, Row, Sender, Skipped};
use super::run::{Broken, Sample};
use super::stats::{Ratio, Spread};
use super::{DEBUG_BUILD, counted};

/// A row and its measurements.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) row: Row,
    /// In the order of the rounds.
    pub(super) samples: Vec<Sample>,
    /// Digest of the file that the untimed run stored; `None` if there is none.
    pub(super) digest: Option<String>,
    pub(super) broken: Option<Broken>,
}

/// The content of a report.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) environment: Environment,
    /// An object: name and value.
    pub(super) settings: Value,
    /// The name of the row that all are compared to.
    pub(super) base: Option<String>,
    pub(super) runs: u32,
    pub(super) parallel: u32,
    /// The value of `--frame-size`.
    pub(super) frame_size: usize,
    pub(super) bytes: u64,
    pub(super) digest: String,
    pub(super) rows: Vec<Line>,
    pub(super) layers: Vec<LayerCost>,
    /// Versions of third-party programs.
    pub(super) versions: Vec<String>,
    /// Skipped rows, with reasons.
    pub(super) skipped: Vec<Skipped>,
}

/// A row of the report: figures, or the reason why there are none.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) row: Row,
    pub(super) digest: Option<String>,
    pub(super) figures: Result<Figures, String>,
    /// Congestion control of the sender.
    pub(super) congestion: String,
}

/// The figures of one row.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) seconds: Spread,
    /// Total rate of all senders in bytes per second, for the median time.
    pub(super) rate: f64,
    pub(super) runs: usize,
    pub(super) over_base: Option<Ratio>,
    /// Name of the baseline, and the ratio to it.
    pub(super) over_baseline: Option<(String, Ratio)>,
    /// Median CPU time of all senders, in seconds.
    pub(super) sender_cpu: f64,
    /// Median CPU time of the receiver, in seconds.
    pub(super) receiver_cpu: Option<f64>,
    /// Maximum memory of the idle receiver over all runs, in bytes.
    pub(super) idle: Option<u64>,
    /// Maximum peak memory of the receiver over all runs, in bytes.
    pub(super) peak: Option<u64>,
    /// Median of [`Sample::slowest_over_mean`].
    pub(super) slowest_over_mean: Option<f64>,
}

/// The cost of one layer.
#[derive(Debug)]
pub(super) struct LayerCost {
    pub(super) name: &'static str,
    pub(super) row: String,
    pub(super) over: String,
    pub(super) ratio: Ratio,
}

impl Report {
    pub(super) fn new(
        environment: Environment,
        flags: &Bench,
        (bytes, digest, label): (u64, String, &str),
        measured: &[Measured],
        versions: Vec<String>,
        skipped: Vec<Skipped>,
    ) -> Self {
        let find = |id: &str| measured.iter().find(|other| other.row.id == id);
        // Of running servers, the first is the base.
        let base = if flags.urls.is_empty() { find(BASE) } else { measured.first() };
        let rows = measured.iter().map(|one| Line {
            row: one.row.clone(),
            digest: one.digest.clone().filter(|_| one.broken.is_none()),
            figures: match &one.broken {
                Some(broken) => Err(broken.reason.clone()),
                None => figures(one, bytes, base, one.row.baseline.as_deref().and_then(find))
                    .ok_or_else(|| "no run was measured".to_owned()),
            },
            congestion: match &one.row.sender {
                Sender::Tool(tool) if !tool.sets_congestion() => {
                    environment.system_congestion.clone()
                }
                _ => environment.congestion.clone(),
            },
        });
        let rows = rows.collect();
        let layers = LAYERS.iter().filter_map(|layer| {
            let (row, over) = (find(layer.row)?, find(layer.over)?);
            Some(LayerCost {
                name: layer.name,
                row: row.row.name.clone(),
                over: over.row.name.clone(),
                ratio: ratio(row, over)?,
            })
        });
        let layers = layers.collect();
        Self {
            settings: settings(flags, label),
            base: base.map(|base| base.row.name.clone()),
            runs: flags.runs,
            parallel: flags.parallel,
            frame_size: flags.frame_size,
            bytes,
            digest,
            rows,
            layers,
            versions,
            skipped,
            environment,
        }
    }

    /// Payload of a frame of this row; `None` where there are no frames.
    pub(super) fn frame_size(&self, row: &Row) -> Option<usize> {
        row.is_framed().then(|| row.frame_size.unwrap_or(self.frame_size))
    }

    /// Environment, settings and versions, a line each.
    pub(super) fn preamble(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if cfg!(debug_assertions) {
            lines.push(DEBUG_BUILD.to_owned());
        }
        lines.extend(self.environment.lines());
        let settings = self.settings.as_object().into_iter().flatten();
        let settings = settings.map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{} {value}", name.replace('_', " "))
        });
        lines.push(settings.collect::<Vec<_>>().join(", "));
        if !self.versions.is_empty() {
            lines.push(format!("with {}", self.versions.join("; ")));
        }
        lines
    }

    /// Returns the conditions of the figures, printed below them.
    pub(super) fn footnotes(&self) -> Vec<String> {
        let mut notes = vec![format!(
            "{} after a warm-up round, rows shuffled in each; {} bytes counted in every run; \
             [95 % bootstrap interval] of the median of per-round ratios.",
            counted(self.runs, "measured round"),
            self.bytes
        )];
        if self.parallel > 1 {
            notes.push(format!(
                "{} concurrent senders: seconds from starting the first to the last \
                receipt, total rate.",
                self.parallel
            ));
        }
        let names = |wanted: &dyn Fn(&Line) -> bool| -> Option<String> {
            let rows = self.rows.iter().filter(|line| line.figures.is_ok() && wanted(line));
            let names: Vec<&str> = rows.map(|line| line.row.name.as_str()).collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        let same = self.rows.iter().filter(|line| line.digest.is_some()).count();
        notes.push(format!(
            "{} delivered the file byte-identical: {}",
            counted(same, "row"),
            self.digest
        ));
        if let Some(names) = names(&|line| line.digest.is_none() && !line.row.is_estimated()) {
            notes.push(format!("Bytes counted, but no digest to compare: {names}."));
        }
        if let Some(names) = names(&|line| line.row.is_estimated()) {
            notes.push(format!(
                "Sends generated bytes, and stops its clock when it has written the last byte; \
                its time is scaled to the size of the file: {names}."
            ));
        }
        if let Some(names) = names(&|line| line.row.clock() == "sender") {
            notes.push(format!("Timed by the sender, until the receiver has closed: {names}."));
        }
        if let Some(names) = names(&|line| line.congestion != self.environment.congestion) {
            let system = &self.environment.system_congestion;
            notes.push(format!("Senders that always use the system's {system}: {names}."));
        }
        for Skipped { name, reason } in &self.skipped {
            notes.push(format!("skipped {name}: {reason}"));
        }
        notes
    }
}

fn figures(
    one: &Measured,
    bytes: u64,
    base: Option<&Measured>,
    baseline: Option<&Measured>,
) -> Option<Figures> {
    let spread = |pick: fn(&Sample) -> Option<f64>| Spread::of(one.samples.iter().filter_map(pick));
    let maximum = |pick: fn(&Sample) -> Option<u64>| one.samples.iter().filter_map(pick).max();
    let seconds = spread(|sample| Some(sample.seconds))?;
    // Only several senders have a slowest one.
    let slowest_over_mean = spread(|sample| sample.slowest_over_mean).map(|spread| spread.median);
    let senders = one.samples.first()?.senders;
    Some(Figures {
        seconds,
        rate: bytes as f64 * f64::from(senders) / seconds.median,
        runs: one.samples.len(),
        over_base: base.and_then(|base| ratio(one, base)),
        over_baseline: baseline
            .and_then(|baseline| Some((baseline.row.name.clone(), ratio(one, baseline)?))),
        sender_cpu: spread(|sample| Some(sample.sender_cpu))?.median,
        receiver_cpu: spread(|sample| sample.receiver_cpu).map(|spread| spread.median),
        idle: maximum(|sample| sample.idle),
        peak: maximum(|sample| sample.peak),
        slowest_over_mean,
    })
}

/// Returns the ratio of the times, round by round; `None` if one of the rows is broken.
fn ratio(one: &Measured, over: &Measured) -> Option<Ratio> {
    if one.broken.is_some() || over.broken.is_some() {
        return None;
    }
    let seconds = |of: &Measured| of.samples.iter().map(|s| s.seconds).collect::<Vec<_>>();
    Ratio::of(&seconds(one), &seconds(over))
}

fn settings(flags: &Bench, label: &str) -> Value {
    let mut settings = json!({
        "content": label, "frame_size": flags.frame_size, "digest": flags.digest.to_string(),
    });
    if flags.urls.is_empty() {
        settings["buffer"] = json!(flags.buffer);
        settings["sink"] = json!(word(SINKS, flags.sink));
        settings["fsync"] = json!(word(FSYNC, flags.fsync));
    }
    settings
}

/// Returns the versions of the tools in `rows`, without duplicates.
pub(super) fn versions(rows: &[Row]) -> Vec<String> {
    let mut versions = Vec::new();
    for row in rows {
        let tools = [
            if let Sender::Tool(tool) = &row.sender { Some(tool) } else { None },
            if let Receiver::Tool(tool) = &row.receiver { Some(tool) } else { None },
        ];
        for tool in tools.into_iter().flatten() {
            if !versions.contains(&tool.version) {
                versions.push(tool.version.clone());
            }
        }
    }
    versions
}

/// Formats seconds with at least three significant digits: `0.415`, `12.3`, `0.00271`.
fn seconds(seconds: f64) -> String {
    match seconds {
        long if long >= 10.0 => format!("{long:.1}"),
        usual if usual >= 0.1 => format!("{usual:.3}"),
        short if short >= 0.01 => format!("{short:.4}"),
        short => format!("{short:.5}"),
    }
}

/// Formats bytes in MiB; `-` if there is no value.
fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{:.1}", bytes as f64 / 1_048_576.0))
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use clap::{Args, FromArgMatches};

    use super::*;
    use anyport_console::SinkKind;

    fn environment() -> Environment {
        Environment {
            date: "2026-11-21".to_owned(),
            kernel: "6.18 <&>".to_owned(),
            cpu: "a \"CPU\"".to_owned(),
            cores: 2,
            congestion: "reno".to_owned(),
            system_congestion: "bbr".to_owned(),
            command: "anyport bench 'a b'".to_owned(),
        }
    }

    fn sample(seconds: f64) -> Sample {
        Sample {
            seconds,
            sender_cpu: 0.25,
            receiver_cpu: Some(0.5),
            idle: Some(1 << 20),
            peak: Some(2 << 20),
            senders: 1,
            slowest_over_mean: None,
        }
    }

    /// All rows of the table: each twice as slow as the first one, but for `ws → own`, which is
    /// broken after it was timed.
    fn report() -> Report {
        let measured: Vec<Measured> = rows::rows(SinkKind::Discard, false, 256 * 1024)
            .into_iter()
            .enumerate()
            .map(|(index, row)| {
                let broken = (row.id == "ws-own")
                    .then(|| Broken { reason: "<lost> & \"found\", 1".to_owned(), mismatch: true });
                let seconds = if broken.is_some() {
                    7.7777
                } else if index == 0 {
                    1.0
                } else {
                    2.0
                };
                let digest = Some("blake3:77".to_owned());
                Measured { row, samples: vec![sample(seconds); 3], digest, broken }
            })
            .collect();
        let flags = clap::Command::new("bench").no_binary_name(true);
        let flags = Bench::augment_args(flags).get_matches_from(["x"; 0]);
        let flags = Bench::from_arg_matches(&flags).unwrap();
        let skipped = Skipped { name: "iperf3".to_owned(), reason: "not installed".to_owned() };
        let content = (1_000_000_000, "blake3:88".to_owned(), "<content>");
        Report::new(environment(), &flags, content, &measured, Vec::new(), vec![skipped])
    }

    #[test]
    fn ratios_are_to_the_base_and_to_the_baseline() {
        let report = report();
        let bare = report.rows[0].figures.as_ref().unwrap();
        assert_eq!(bare.over_base.unwrap().median, 0.5);
        assert_eq!((bare.rate, bare.over_baseline.is_none()), (1e9, true));
        let raw = report.rows.iter().find(|line| line.row.id == "raw-own").unwrap();
        let raw = raw.figures.as_ref().unwrap();
        let (baseline, ratio) = raw.over_baseline.as_ref().unwrap();
        assert_eq!((baseline.as_str(), ratio.median), ("bare tcp", 2.0));
        assert_eq!(raw.over_base, Some(Ratio { median: 1.0, low: 1.0, high: 1.0 }));
        let layers: Vec<&str> = report.layers.iter().map(|layer| layer.name).collect();
        assert!(layers.contains(&"keeping a file"), "{layers:?}");
        assert!(
            !layers.iter().any(|name| name.contains("handshake")),
            "of a broken row: {layers:?}"
        );
    }

    #[test]
    fn a_broken_row_shows_its_reason_and_no_number_anywhere() {
        let report = report();
        for reported in [table(&report), json(&report), csv(&report), svg(&report), html(&report)] {
            assert!(reported.contains("lost"), "no reason in {reported}");
            for number in ["7.77", "7.78", "7777"] {
                assert!(!reported.contains(number), "{number} in {reported}");
            }
            assert!(
                reported.contains("iperf3") || reported.starts_with("id,"),
                "skipped: {reported}"
            );
        }
    }

    #[test]
    fn the_picture_is_well_formed_and_has_every_row() {
        let (svg, html) = (svg(&report()), html(&report()));
        let tree = roxmltree::Document::parse(&svg).unwrap();
        let texts: Vec<&str> = tree.descendants().filter_map(|node| node.text()).collect();
        for row in rows::rows(SinkKind::Discard, false, 256 * 1024) {
            assert!(texts.contains(&row.name.as_str()), "{}", row.name);
            assert!(html.contains(&row.name), "{}", row.name);
        }
        assert!(texts.iter().any(|text| text.contains("6.18 <&>")), "{texts:?}");
        let bars = |class| tree.descendants().filter(move |n| n.attribute("class") == Some(class));
        assert_eq!(bars("pair").count(), 5, "one of six is broken");
        assert_eq!(
            bars("broken small").filter(|n| n.text().unwrap().contains("<lost>")).count(),
            1
        );
    }
}
