//! The table for people.

use std::fmt::Write;

use super::super::stats::Ratio;
use super::{Figures, Line, Report, mebibytes, seconds as show_seconds};

pub(crate) fn table(report: &Report) -> String {
    let mut table = String::new();
    for line in report.preamble() {
        let _ = writeln!(table, "{line}");
    }
    let width = report.rows.iter().map(|line| line.row.name.chars().count()).max().unwrap_or(0);
    let width = width.max(18);
    let base = report.base.as_deref().unwrap_or("the base");
    // The address of a running server is longer than its column.
    let base = if base.chars().count() > 13 { "the first row" } else { base };
    let over_base = format!("times {base}");
    let _ = writeln!(
        table,
        "\n{:width$}  {:^29}  {:>5}  {:<20} {:<20} {:^11}  {:^13}",
        "", "seconds", "", over_base, "times baseline", "CPU s", "memory MiB"
    );
    let _ = writeln!(
        table,
        "{:width$}  {:>7}  {:<20}  {:>5}  {:<20} {:<20} {:>5} {:>5}  {:>6} {:>6}{}",
        "row",
        "median",
        "(min to max)",
        "GB/s",
        "median [95 %]",
        "median [95 %]",
        "send",
        "recv",
        "idle",
        "peak",
        if report.parallel > 1 { "  slowest/mean" } else { "" },
    );
    let mut kind = None;
    for line in &report.rows {
        if kind.replace(line.row.kind) != Some(line.row.kind) {
            let _ = writeln!(table, "- {}", line.row.kind.heading());
        }
        let _ = writeln!(table, "{}", row(line, width));
    }
    if !report.layers.is_empty() {
        let _ = writeln!(table, "\nwhat each layer costs");
        for layer in &report.layers {
            let (ratio, change) = (show(layer.ratio), percent(layer.ratio.median));
            let (row, over) = (&layer.row, &layer.over);
            let _ = writeln!(table, "{:<32} {change:>7}  {ratio:<18} {row} / {over}", layer.name);
        }
    }
    table.push('\n');
    for note in report.footnotes() {
        let _ = writeln!(table, "{note}");
    }
    table
}

fn row(line: &Line, width: usize) -> String {
    let name = &line.row.name;
    let figures = match &line.figures {
        Ok(figures) => figures,
        Err(reason) => return format!("{name:width$}  FAILED: {reason}"),
    };
    let Figures { seconds, rate, sender_cpu, .. } = figures;
    let spread = format!("({} to {})", show_seconds(seconds.min), show_seconds(seconds.max));
    let over_base = figures.over_base.map_or_else(|| "-".to_owned(), show);
    let over_baseline = figures.over_baseline.as_ref();
    let over_baseline = over_baseline.map_or_else(|| "-".to_owned(), |(_, ratio)| show(*ratio));
    let receiver_cpu =
        figures.receiver_cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.2}"));
    let slowest =
        figures.slowest_over_mean.map(|slowest| format!("  {slowest:.2}")).unwrap_or_default();
    format!(
        "{name:width$}  {:>7}  {spread:<20}  {:>5.2}  {over_base:<20} {over_baseline:<20} \
        {sender_cpu:>5.2} {receiver_cpu:>5}  {:>6} {:>6}{slowest}",
        show_seconds(seconds.median),
        rate / 1e9,
        mebibytes(figures.idle),
        mebibytes(figures.peak),
    )
}

/// `1.15 [1.01-1.24]`
pub(super) fn show(ratio: Ratio) -> String {
    let Ratio { median, low, high } = ratio;
    format!("{median:.2} [{low:.2}-{high:.2}]")
}

/// Returns the overhead of a ratio: `+15 %`.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:+.0} %", (ratio - 1.0) * 100.0)
}
