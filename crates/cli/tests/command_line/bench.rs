//! The comparison: its rows and outputs, and what it does when a part of it fails.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyport_testkit::noise;
use serde_json::Value;
use tempfile::TempDir;

use anyport_testkit::harness::{
    DEADLINE, Outcome, Running, Sample, Server, anyport, blake3, engines, program, start,
    wait_until,
};

const ROWS: [&str; 34] = [
    "bare tcp",
    "bare tcp, reads file",
    "bare ws",
    "bare ws, reads file",
    "bare tcp → file",
    "bare tcp → own",
    "bare ws → own",
    "bare ws → library",
    "raw → own",
    "ws → own",
    "frames → own",
    "library → own",
    "library → library",
    "ws → library",
    "raw → own → file",
    "ws → own → file",
    "raw → own, BLAKE3",
    "raw → own, TLS",
    "ws → own, TLS",
    "library → library, TLS",
    "bare ws, 64 KiB",
    "bare ws, reads file, 64 KiB",
    "bare ws → own, 64 KiB",
    "ws → own, 64 KiB",
    "library → library, 64 KiB",
    "ws → own, TLS, 64 KiB",
    "library → library, TLS, 64 KiB",
    "bare ws, 1 MiB",
    "bare ws, reads file, 1 MiB",
    "bare ws → own, 1 MiB",
    "ws → own, 1 MiB",
    "library → library, 1 MiB",
    "ws → own, TLS, 1 MiB",
    "library → library, TLS, 1 MiB",
];

/// More than one buffer, so that there is something to time.
const SMALL: &[&str] = &["bench", "--size", "3000007", "-n", "2"];

/// Runs a comparison: dozens of programs one after the other, seconds on an idle machine.
fn compare(arguments: &[&str]) -> Outcome {
    start(arguments).outcome_within(4 * DEADLINE)
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

#[track_caller]
fn check_figures(row: &Value) {
    let seconds = &row["seconds"];
    let [min, median, max] = ["min", "median", "max"].map(|name| seconds[name].as_f64().unwrap());
    assert!(0.0 < min && min <= median && median <= max, "{row}");
    assert!(row["rate"].as_f64().unwrap() > 0.0, "{row}");
    assert!(row["cpu_seconds"]["sender"].as_f64().unwrap() > 0.0, "{row}");
    assert!(row["broken"].is_null(), "{row}");
}

#[test]
fn bench_measures_every_row_of_the_table() {
    let outcome = compare(&[SMALL, &["--json"]].concat()).succeeds();
    let events = outcome.json();
    let facts = &events[0];
    assert_eq!(facts["event"], "bench");
    for name in ["version", "date", "kernel", "cpu", "cores", "congestion", "command"] {
        assert!(!facts[name].is_null(), "no {name} in {facts}");
    }
    let settings = &facts["settings"];
    assert_eq!((&settings["frame_size"], &settings["sink"]), (&262_144.into(), &"discard".into()));
    assert_eq!((&facts["bytes"], &facts["runs"]), (&3_000_007.into(), &2.into()));
    let rows = of_kind(&events, "row");
    assert_eq!(rows.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>(), ROWS);
    for row in &rows {
        check_figures(row);
        assert_eq!(row["bytes"], 3_000_007, "{row}");
        assert_eq!(row["runs"], 2, "{row}");
        assert_eq!(row["digest"], facts["digest"], "{row}");
        assert!(row["cpu_seconds"]["receiver"].as_f64().unwrap() > 0.0, "{row}");
        let memory = &row["receiver_memory"];
        assert!(memory["peak"].as_u64() >= memory["idle"].as_u64(), "{row}");
        assert!(memory["idle"].as_u64().unwrap() > 500_000, "{row}");
        for name in ["times_base", "times_yardstick"] {
            let times = &row[name];
            let [low, median, high] = ["low", "median", "high"].map(|name| times[name].as_f64());
            assert_eq!(times.is_null(), name == "times_yardstick" && row["id"] == "bare-tcp");
            assert!(low <= median && median <= high, "{row}");
        }
    }
    assert_eq!(rows.iter().filter(|row| row["kind"] == "pair").count(), 6);
    let base = rows.iter().find(|row| row["id"] == "raw-own").unwrap();
    assert_eq!(base["times_base"]["median"], 1.0);
    assert_eq!(of_kind(&events, "layer").len(), 23);
    assert!(facts["digest"].as_str().unwrap().starts_with("blake3:"));
}

#[test]
fn bench_on_a_file_prints_a_table_and_draws_it() {
    let sample = Sample::new("a<b>&'\"c.bin", &noise(600_000, 1));
    let out = tempfile::tempdir().unwrap();
    let path = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    let (svg, html) = (path("bench.svg"), path("bench.html"));
    let flags = ["bench", "--file", sample.path(), "-n", "2", "--svg", &svg, "--html", &html];
    let outcome = compare(&flags).succeeds();
    assert!(outcome.stdout.contains(&blake3(&noise(600_000, 1))), "{outcome:#?}");
    let svg = std::fs::read_to_string(svg).unwrap();
    let html = std::fs::read_to_string(html).unwrap();
    let tree = roxmltree::Document::parse(&svg).unwrap();
    let texts: BTreeSet<&str> = tree
        .descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")))
        .filter_map(|node| node.text())
        .collect();
    for row in ROWS {
        assert!(outcome.stdout.contains(row), "no {row:?} in {outcome:#?}");
        assert!(texts.contains(row), "no {row:?} in {texts:?}");
        assert!(html.contains(row), "no {row:?} in the page");
    }
    assert!(texts.iter().any(|text| text.contains("a<b>&'\"c.bin")), "{texts:?}");
    assert!(!html.contains("a<b>"), "a file name is markup");
    // Self-contained: nothing is loaded from elsewhere.
    for word in ["src=", "href=", "url(", "@import"] {
        assert!(!html.contains(word), "{word}");
    }
    let bars = tree.descendants().filter(|node| node.attribute("class") == Some("pair"));
    assert_eq!(bars.count(), 6);
}

#[test]
fn values_separated_by_commas_have_as_many_fields_in_every_line() {
    let flags = ["--csv", "--pairs", "ws-own,raw-own-blake3"];
    let outcome = compare(&[SMALL, &flags].concat()).succeeds();
    let mut lines = outcome.stdout.lines();
    let columns = lines.next().unwrap().split(',').count();
    // The comma of "raw → own, BLAKE3" stands in quotes.
    let fields = |line: &str| line.replace("own, BLAKE3", "own BLAKE3").split(',').count();
    let lines: Vec<&str> = lines.collect();
    let ids: Vec<&str> = lines.iter().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(ids, ["bare-tcp", "bare-ws", "raw-own", "ws-own", "raw-own-blake3"]);
    assert!(lines.iter().all(|line| fields(line) == columns), "{lines:#?}");
}

#[test]
fn concurrent_senders_are_distinguished() {
    let flags = ["--json", "-P", "3", "--pairs", "ws-own,bare-ws", "--sink", "memory"];
    let outcome = compare(&[SMALL, &flags].concat()).succeeds();
    let events = outcome.json();
    let rows = of_kind(&events, "row");
    assert_eq!(rows.len(), 4, "two, the yardstick of one of them, and the base");
    for row in rows {
        check_figures(row);
        assert!(row["slowest_over_mean"].as_f64().unwrap() >= 1.0, "{row}");
    }
}

#[test]
fn stored_runs_leave_nothing_behind() {
    let disk = tempfile::tempdir().unwrap();
    let flags = ["--json", "--sink", "file", "--fsync", "file", "--disk"];
    let flags = [SMALL, &flags, &[disk.path().to_str().unwrap()]].concat();
    let outcome = compare(&flags).succeeds();
    let events = outcome.json();
    let rows = of_kind(&events, "row");
    assert_eq!(rows.len(), ROWS.len() - 3, "rows that would repeat others");
    rows.iter().for_each(|row| check_figures(row));
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
}

#[test]
fn running_servers_are_measured_by_their_receipts() {
    let server = Server::start(&["--sink", "discard", "--digest", "none"]);
    let urls = ["tcp", "ws", "frames"].map(|scheme| server.url(scheme, ""));
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let outcome = compare(&[SMALL, &["--json"], &urls].concat()).succeeds();
    let events = outcome.json();
    let rows = of_kind(&events, "row");
    assert_eq!(rows.len(), 4, "{rows:#?}");
    for row in rows {
        check_figures(row);
        assert_eq!(row["kind"], "server");
        assert!(!row["times_base"].is_null(), "{row}");
    }
    let outcome = compare(&[SMALL, &["--json", "tcp://127.0.0.1:1/"]].concat()).exits(1);
    assert_broken(&outcome, "tcp://127.0.0.1:1/", "refused");
}

#[test]
fn a_running_server_on_its_defaults_is_measured_again_and_again() {
    let server = Server::start(&[]);
    for scheme in ["ws", "ws", "tcp"] {
        let outcome = compare(&[SMALL, &["--json", &server.url(scheme, "")]].concat()).succeeds();
        for row in of_kind(&outcome.json(), "row") {
            assert!(row["broken"].is_null(), "{row}");
        }
    }
}

/// No figure, but the reason.
#[track_caller]
fn assert_broken(outcome: &Outcome, name: &str, reason: &str) {
    let events = outcome.json();
    let rows = of_kind(&events, "row");
    let row = rows.iter().find(|row| row["name"] == name);
    let row = row.unwrap_or_else(|| panic!("no {name:?} in {outcome:#?}"));
    assert!(row["broken"].as_str().unwrap().contains(reason), "{row}");
    for name in ["seconds", "rate", "times_base", "times_yardstick", "runs", "digest"] {
        assert!(row[name].is_null(), "{name} of a broken row: {row}");
    }
}

/// A directory with a program called nc that does this when it receives, and that when it sends.
fn fake_nc(receive: &str, send: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "#!/bin/bash\ncase $1 in\n-h) echo 'OpenBSD netcat (fake)' >&2; exit 1 ;;\n-d) {receive} \
        ;;\n-N) {send} ;;\nesac\n"
    );
    let program = directory.path().join("nc.openbsd");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn bench_with_path(path: &Path, flags: &[&str]) -> Outcome {
    let mut command = program();
    // Only for our own fake: what it calls stands in the usual places.
    command.args(SMALL).args(["--json", "--against"]).args(flags).env("PATH", path);
    Running::start(command, None).outcome()
}

#[test]
fn tools_that_are_absent_are_named_with_the_way_to_get_them() {
    let empty = tempfile::tempdir().unwrap();
    let outcome = bench_with_path(empty.path(), &["--pairs", "raw-own"]).succeeds();
    let events = outcome.json();
    let skipped = of_kind(&events, "skipped");
    assert_eq!(skipped.len(), 9, "{skipped:#?}");
    for (name, install) in [
        ("iperf3", "apt-get install iperf3"),
        ("ws (npm)", "npm install"),
        ("libwebsockets (C)", "scripts/bench-peers"),
    ] {
        let skipped = skipped.iter().find(|event| event["name"] == name).unwrap();
        assert!(skipped["reason"].as_str().unwrap().contains(install), "{skipped}");
    }
    assert_eq!(of_kind(&events, "row").len(), 2);
}

/// Whatever this machine has: `scripts/test` brings most of them.
#[test]
fn installed_tools_are_measured_and_return_the_same_file() {
    let outcome = compare(&["bench", "--size", "3000007", "-n", "1", "--json", "--against"]);
    let events = outcome.json();
    let rows = of_kind(&events, "row");
    for row in rows.iter().filter(|row| row["kind"] == "peer") {
        // Of so little, iperf3 may have counted next to nothing when its sender was done.
        if row["id"] == "iperf3-iperf3" && row["broken"].is_string() {
            assert!(row["broken"].as_str().unwrap().contains("counted"), "{row}");
            continue;
        }
        check_figures(row);
        if row["id"] != "iperf3-iperf3" {
            assert_eq!(row["digest"], events[0]["digest"], "{row}");
        }
    }
    assert!(!events[0]["peers"].as_array().unwrap().is_empty() || rows.len() == ROWS.len());
}

#[test]
fn a_pair_that_loses_bytes_or_hangs_shows_no_number_and_the_others_do() {
    let loses = "exec 3<>\"/dev/tcp/$2/$3\"; echo 'far too little' >&3";
    let tools = fake_nc("exec /bin/sleep 1000", loses);
    let flags = ["--pairs", "nc-own,bare-tcp-nc", "--timeout", "5s"];
    let outcome = bench_with_path(tools.path(), &flags).exits(5);
    assert_broken(&outcome, "nc → own", "received 15 of 3000007 bytes");
    assert_broken(&outcome, "bare tcp → nc", "within 5s (--timeout)");
    let events = outcome.json();
    let rows = of_kind(&events, "row");
    let good: Vec<_> = rows.iter().filter(|row| row["broken"].is_null()).collect();
    assert_eq!(good.len(), 2);
    good.iter().for_each(|row| check_figures(row));
}

#[test]
fn a_stopped_bench_takes_its_processes_and_files_with_it() {
    let disk = tempfile::tempdir().unwrap();
    let scratch = disk.path().to_str().unwrap();
    let tools = fake_nc("exec /bin/sleep 1000", "exec /bin/sleep 1000");
    let path = format!("{}:/usr/bin:/bin", tools.path().display());
    // It would hang on the fake for minutes.
    let mut bench = program()
        .args(SMALL)
        .args(["--against", "--pairs", "nc-own", "--disk", scratch])
        .env("PATH", path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let id = bench.id().to_string();
    let children = || std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let sleeps = |child: &&str| {
        let command = std::fs::read_to_string(format!("/proc/{child}/cmdline"));
        command.is_ok_and(|command| command.contains("sleep"))
    };
    let running = wait_until("the fake tool", || {
        let children = children();
        let ids: Vec<&str> = children.split_whitespace().collect();
        ids.iter().any(sleeps).then(|| children.clone())
    });
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let status = wait_until("the end of the bench", || bench.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
    for child in running.split_whitespace() {
        wait_until("the end of its processes", || {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat"));
            state.map_or(true, |state| state.contains(") Z ")).then_some(())
        });
    }
}

#[test]
fn echo_is_measured_with_every_answer_compared() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        let url = server.url("ws", "echo");
        for more in [["--in-flight", "1"], ["--in-flight", "16"], ["--payload", "100000"]] {
            let flags = ["bench", "echo", &url, "-c", "3", "-d", "200ms", "--json"];
            let outcome = anyport(&[&flags[..], &more].concat()).succeeds();
            let found = &outcome.json()[0];
            assert!(found["messages"].as_u64().unwrap() > 0, "{found}");
            let micros = &found["microseconds"];
            let [p50, p99, p999] = ["p50", "p99", "p99.9"].map(|p| micros[p].as_f64().unwrap());
            assert!(0.0 < p50 && p50 <= p99 && p99 <= p999, "{found}");
        }
        // No echo: it takes files, and says nothing until a Close.
        let flags = ["-d", "100ms", "--timeout", "300ms", "-c", "1"];
        let silent = server.url("ws", "files/x");
        anyport(&[&["bench", "echo", &silent][..], &flags].concat()).exits(1).says("not echoed");
        anyport(&["bench", "echo", &server.url("tcp", "")]).exits(2);
    }
}

#[test]
fn idle_connections_are_counted_alive_and_weighed() {
    let server = Server::start(&[]);
    let url = server.url("ws", "echo");
    let pid = server.pid().to_string();
    let flags = ["bench", "idle", &url, "-c", "50", "--settle", "100ms", "--json"];
    let outcome = anyport(&[&flags[..], &["--pid", &pid]].concat()).succeeds();
    let found = &outcome.json()[0];
    assert_eq!(found["connections"], 50);
    assert!(found["server_memory"]["after"].as_u64().unwrap() > 1_000_000, "{found}");
    assert!(found["bytes_per_connection"].is_number(), "{found}");
    let found = &anyport(&flags).succeeds().json()[0];
    assert!(found["bytes_per_connection"].is_null(), "{found}");
    let outcome = anyport(&["bench", "idle", &url, "-c", "2"]).succeeds();
    assert!(outcome.stdout.contains("memory not measured"), "{outcome:#?}");
    anyport(&["bench", "idle", &url, "-c", "2", "--pid", "4000000"]).exits(2);
}

#[test]
fn a_wrong_row_or_congestion_control_is_a_usage_error() {
    let outcome = anyport(&["bench", "--pairs", "carrier-pigeon"]).exits(2);
    outcome.says("carrier-pigeon").says("library-library");
    anyport(&["bench", "--congestion", "no-such-algorithm"]).exits(2);
    anyport(&["bench", "gopher://127.0.0.1/"]).exits(2);
    anyport(&["bench", "--svg", "/no/such/directory/bench.svg"]).exits(2);
    let empty = Sample::new("empty", b"");
    anyport(&["bench", "--file", empty.path()]).exits(1).says("nothing to measure");
}
