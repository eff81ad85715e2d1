//! Machine-readable reports: JSON Lines and CSV.

use std::fmt::Write;

use serde_json::{Value, json};

use super::super::stats::Ratio;
use super::{Line, Report};

/// Returns one JSON object per line: the environment, the rows, the layers, the skipped rows.
pub(crate) fn json(report: &Report) -> String {
    let mut environment = json!({ "event": "bench" });
    merge(&mut environment, report.environment.json());
    merge(
        &mut environment,
        json!({
            "settings": report.settings.clone(),
            "bytes": report.bytes, "digest": report.digest, "runs": report.runs,
            "parallel": report.parallel, "base": report.base, "peers": report.versions,
            "debug_build": cfg!(debug_assertions),
        }),
    );
    let mut lines = vec![environment];
    lines.extend(report.rows.iter().map(|line| row(line, report)));
    lines.extend(report.layers.iter().map(|layer| {
        json!({
            "event": "layer", "name": layer.name, "row": layer.row, "over": layer.over,
            "times": ratio(layer.ratio),
        })
    }));
    lines.extend(
        report
            .skipped
            .iter()
            .map(|it| json!({ "event": "skipped", "name": it.name, "reason": it.reason })),
    );
    lines.iter().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{line}");
        all
    })
}

fn row(line: &Line, report: &Report) -> Value {
    let row = &line.row;
    let mut object = json!({
        "event": "row", "id": row.id, "name": row.name, "kind": row.kind.as_str(),
        "clock": row.clock(), "congestion": line.congestion, "bytes": report.bytes,
        "frame_size": report.frame_size(row),
    });
    match &line.figures {
        Err(reason) => merge(&mut object, json!({ "broken": reason })),
        Ok(figures) => {
            let seconds = figures.seconds;
            let baseline = figures.over_baseline.as_ref();
            merge(
                &mut object,
                json!({
                    "runs": figures.runs,
                    "seconds": {
                        "min": seconds.min, "median": seconds.median, "max": seconds.max,
                    },
                    "rate": figures.rate.round(),
                    "times_base": figures.over_base.map(ratio),
                    "yardstick": baseline.map(|(name, _)| name),
                    "times_yardstick": baseline.map(|(_, times)| ratio(*times)),
                    "cpu_seconds": {
                        "sender": figures.sender_cpu, "receiver": figures.receiver_cpu,
                    },
                    "receiver_memory": { "idle": figures.idle, "peak": figures.peak },
                    "slowest_over_mean": figures.slowest_over_mean,
                    "digest": line.digest,
                }),
            );
        }
    }
    object
}

fn ratio(ratio: Ratio) -> Value {
    json!({ "median": ratio.median, "low": ratio.low, "high": ratio.high })
}

fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

/// Returns CSV: a header, and a line per row. A broken row has id, name, kind and its reason only.
pub(crate) fn csv(report: &Report) -> String {
    let mut out = format!("{}\n", COLUMNS.join(","));
    for line in &report.rows {
        let number =
            |value: Option<f64>| value.map(|value| format!("{value:.6}")).unwrap_or_default();
        let count = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        let mut fields =
            vec![line.row.id.clone(), line.row.name.clone(), line.row.kind.as_str().to_owned()];
        let times = |ratio: Option<Ratio>| {
            [ratio.map(|r| r.median), ratio.map(|r| r.low), ratio.map(|r| r.high)].map(number)
        };
        match &line.figures {
            Err(reason) => {
                fields.resize(COLUMNS.len() - 1, String::new());
                fields.push(reason.clone());
            }
            Ok(figures) => {
                let seconds = figures.seconds;
                let baseline = figures.over_baseline.as_ref();
                fields.extend([report.bytes.to_string(), figures.runs.to_string()]);
                fields.extend([seconds.min, seconds.median, seconds.max].map(|s| number(Some(s))));
                fields.push(format!("{:.0}", figures.rate));
                fields.extend(times(figures.over_base));
                fields.push(baseline.map(|(name, _)| name.clone()).unwrap_or_default());
                fields.extend(times(baseline.map(|(_, ratio)| *ratio)));
                fields.extend([number(Some(figures.sender_cpu)), number(figures.receiver_cpu)]);
                fields.extend([
                    count(figures.idle),
                    count(figures.peak),
                    number(figures.slowest_over_mean),
                ]);
                fields.extend([line.row.clock().to_owned(), line.congestion.clone()]);
                fields.push(count(report.frame_size(&line.row).map(|size| size as u64)));
                fields.extend([line.digest.clone().unwrap_or_default(), String::new()]);
            }
        }
        let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
        let _ = writeln!(out, "{}", fields.join(","));
    }
    out
}

const COLUMNS: [&str; 26] = [
    "id",
    "name",
    "kind",
    "bytes",
    "runs",
    "seconds_min",
    "seconds_median",
    "seconds_max",
    "rate",
    "times_base",
    "times_base_low",
    "times_base_high",
    "yardstick",
    "times_yardstick",
    "times_yardstick_low",
    "times_yardstick_high",
    "sender_cpu",
    "receiver_cpu",
    "receiver_idle_memory",
    "receiver_peak_memory",
    "slowest_over_mean",
    "clock",
    "congestion",
    "frame_size",
    "digest",
    "broken",
];

/// Returns the field, quoted as in RFC 4180 if necessary.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(quoted("raw → own"), "raw → own");
        assert_eq!(quoted("raw → own, \"BLAKE3\""), "\"raw → own, \"\"BLAKE3\"\"\"");
    }
}
