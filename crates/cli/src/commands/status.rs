//! `anyport status`.

use std::time::Duration;

use anyhow::Context;
use anyport_console::{Exit, Failure, values::size_text, write_stdout};
use anyport_proto::transfer::units::format_bytes;
use anyport_proto::visible::{escape_json, make_visible};
use clap::Command;
use serde_json::Value;

use crate::daemon::control::client::Server;
use crate::daemon::flags;
use crate::layers;

pub(crate) fn run(flags: &flags::Status) -> Result<Exit, Failure> {
    let servers = Server::all(flags.instance.control.as_deref())?;
    let several = servers.len() > 1;
    let mut text = String::new();
    let mut failed = None;
    for mut server in servers {
        match server.ask("status") {
            Ok(status) if flags.instance.json => {
                text.push_str(&escape_json(&status.to_string()));
                text.push('\n');
            }
            Ok(status) => {
                text.push_str(&for_people(&status));
                if several {
                    // The argument of anyport stop and reload.
                    text.push_str(&format!("  --control {}\n", server.path().display()));
                }
            }
            // One that stops meanwhile does not hide the others.
            Err(failure) => failed = Some(failure),
        }
    }
    write_stdout(&text).context("cannot write to stdout")?;
    failed.map_or(Ok(Exit::Done), Err)
}

fn for_people(status: &Value) -> String {
    let mut lines = vec![format!(
        "anyport {}, process {}, {} for {}, {}",
        word(&status["version"]),
        status["pid"],
        word(&status["state"]),
        duration(number(&status["uptime"])),
        word(&status["directory"]),
    )];
    if let Some(error) = status["storage_error"].as_str() {
        lines.push(format!("  storage: {}", make_visible(error)));
    }
    for listener in items(&status["listening"]) {
        let service = match &listener["service"] {
            Value::Null => String::new(),
            service => format!(", {}", word(service)),
        };
        lines.push(format!("  listening on {}{service}", word(&listener["addr"])));
    }
    let since = &status["since_start"];
    lines.push(format!(
        "  connections: {} open{}, {} since the start",
        members(&status["open"]).map(|(_, count)| number(count)).sum::<u64>(),
        counts(&status["open"], " (", ")"),
        since["connections"],
    ));
    let already_there = number(&since["already_there"]);
    let received = number(&since["bytes"]).saturating_sub(number(&since["already_there_bytes"]));
    lines.push(format!(
        "  files: {} received ({}){}, {} sent ({}); interrupted uploads {}, interrupted \
        downloads {}, refused {}",
        number(&since["receipts"]).saturating_sub(already_there),
        format_bytes(received),
        if already_there > 0 { format!(", {already_there} already there") } else { String::new() },
        since["sent"],
        format_bytes(number(&since["bytes_sent"])),
        since["interrupted"],
        since["unsent"],
        since["refused"],
    ));
    let detected = members(&since["decisions"]).map(|(protocol, classes)| {
        let count: u64 = members(classes).map(|(_, count)| number(count)).sum();
        format!("{protocol} {count}")
    });
    let detected = detected.collect::<Vec<_>>().join(", ");
    if !detected.is_empty() {
        lines.push(format!("  detected: {detected}"));
    }
    lines.push(format!("  rooms: {}", status["rooms"]));
    let limits = members(&status["limits"]).filter(|(_, limit)| !limit.is_null());
    let program = layers::program();
    let limits: Vec<_> = limits.map(|(key, limit)| flag(&program, key, limit)).collect();
    lines.push(format!("  limits: {}", limits.join(", ")));
    lines.push(match &status["last_reload"] {
        Value::Null => "  settings: not reloaded since the start".to_owned(),
        reload => {
            let how = if reload["ok"] == true {
                "reloaded"
            } else {
                "reload rejected, previous settings kept,"
            };
            format!("  settings: {how} at {}: {}", word(&reload["at"]), word(&reload["line"]))
        }
    });
    lines.push(format!("  transfers: {}", status["transfers"]));
    let listed = items(&status["first_transfers"]);
    lines.extend(listed.map(|transfer| format!("    {}", one_transfer(transfer))));
    let text = lines.join("\n");
    text + "\n"
}

fn one_transfer(transfer: &Value) -> String {
    let name = transfer["name"].as_str().map_or_else(|| "(no name)".to_owned(), quoted);
    let of = match &transfer["size"] {
        Value::Null => String::new(),
        size => format!(" of {}", format_bytes(number(size))),
    };
    format!(
        "{:<3} {name}  {}{of}  {} {}  {}",
        word(&transfer["direction"]),
        format_bytes(number(&transfer["bytes"])),
        word(&transfer["protocol"]),
        word(&transfer["peer"]),
        duration(number(&transfer["seconds"])),
    )
}

/// `raw 1, http1 2` between two words, or nothing.
fn counts(value: &Value, before: &str, after: &str) -> String {
    let shown = |name: &String| name.replace("frame-candidate", "perhaps frames");
    let counts = members(value).map(|(name, count)| format!("{} {count}", shown(name)));
    let list: Vec<_> = counts.collect();
    if list.is_empty() { String::new() } else { format!("{before}{}{after}", list.join(", ")) }
}

/// A limit as the flag that sets it: `--idle-timeout 60s`.
fn flag(program: &Command, key: &str, limit: &Value) -> String {
    let value = match key {
        "max_size" | "quota" | "limit_rate" => size_text(number(limit)),
        _ if key.ends_with("_timeout") || key.ends_with("_delay") => {
            format!("{:?}", Duration::from_secs_f64(limit.as_f64().unwrap_or_default()))
        }
        _ => limit.to_string(),
    };
    // The key may be a former name of the flag, and may be unknown to this version.
    let name = layers::current_name(program, "serve", key);
    format!("--{} {value}", name.unwrap_or_else(|| key.replace('_', "-")))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Returns a value without control characters.
fn word(value: &Value) -> String {
    make_visible(value.as_str().unwrap_or_default()).into_owned()
}

/// Names are a peer's words, and may hold blanks.
fn quoted(name: &str) -> String {
    format!("\"{}\"", make_visible(name))
}

fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_two_largest_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (61, "1m 1s"), (7260, "2h 1m"), (90_000, "1d 1h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn limits_are_flags_of_serve_that_could_be_typed() {
        let mut config = anyport_server::Config::new("inbox");
        (config.quota, config.limit_rate) = (Some(5_000_000_000), Some(1_250_000));
        config.timeouts.drain = Duration::from_millis(1500);
        let limits = crate::daemon::limits(&config);
        let program = layers::program();
        let all = limits.as_object().unwrap();
        let mut line = vec!["anyport".to_owned(), "serve".to_owned()];
        for (key, limit) in all.iter().filter(|(_, limit)| !limit.is_null()) {
            line.extend(flag(&program, key, limit).split(' ').map(ToOwned::to_owned));
        }
        program.try_get_matches_from(&line).unwrap();
        let line = line.join(" ");
        for flag in [
            "--max-unclassified 256",
            "--idle-timeout 60s",
            "--drain-timeout 1.5s",
            "--quota 5GB",
            "--limit-rate 1250kB",
        ] {
            assert!(line.contains(flag), "{flag}: {line}");
        }
    }

    #[test]
    fn files_that_were_already_there_do_not_count_as_received() {
        let mut status = serde_json::json!({});
        status["since_start"] = serde_json::json!({
            "receipts": 3, "bytes": 15_000_000, "already_there": 2,
            "already_there_bytes": 10_000_000,
        });
        let text = for_people(&status);
        assert!(text.contains("files: 1 received (5.00 MB), 2 already there, "), "{text}");
    }

    #[test]
    fn a_name_steers_no_terminal() {
        let transfer = serde_json::json!({
            "direction": "in", "protocol": "raw", "peer": "192.0.2.1:5", "name": "a\u{1b}[2J",
            "size": null, "bytes": 5, "seconds": 1,
        });
        let line = one_transfer(&transfer);
        assert!(!line.contains('\u{1b}') && line.contains("[2J"), "{line:?}");
    }
}
