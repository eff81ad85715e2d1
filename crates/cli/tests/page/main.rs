//! The page in a real browser: Chromium, driven by playwright-core.
//!
//! Each test starts a server and runs one script of this directory in Node. The script fails by
//! its own assertions, on a violation of the Content Security Policy and on an error that the page
//! does not catch; its last line is a report in JSON.
//!
//! - `foreign_pages.mjs` pages of other origins, of a rebound name, and a frame
//! - `without_javascript.mjs` the form and the table of the same address

#![expect(clippy::unwrap_used, reason = "tests")]

use anyport_testkit::harness::{Running, Server, node_with, peer, program_path};
use serde_json::{Value, json};

/// Runs a script against a server; returns its report, or `None` where a peer is missing.
#[track_caller]
fn run(server: &Server, script: &str, facts: &Value) -> Option<Value> {
    peer("chromium")?;
    let mut node = node_with("playwright-core")?;
    let path = format!("{}/tests/page/{script}.mjs", env!("CARGO_MANIFEST_DIR"));
    let given = json!({
        "url": server.url("http", ""),
        "dir": server.dir(),
        "anyport": program_path(),
        "facts": facts,
    });
    // A module of a file sees the packages only through the working directory.
    node.arg(format!("await import({})", json!(path)));
    node.env("SCENARIO", given.to_string()).env("SCRIPT", script);
    let outcome = Running::start(node, None).outcome().succeeds();
    let report = outcome.stdout.lines().last().unwrap_or_else(|| panic!("no report of {script}"));
    Some(serde_json::from_str(report).unwrap())
}

#[test]
fn without_javascript_the_page_is_a_form_and_a_table() {
    let server = Server::start(&[]);
    let Some(report) = run(&server, "without_javascript", &Value::Null) else { return };
    assert_eq!(report["rows"], 2, "{report}");
    assert_eq!(server.next_receipt()["path"], "one.txt");
}

/// What a page of another origin tries fails, and its forms are refused.
#[track_caller]
fn nothing_is_achieved(report: &Value) {
    for origin in ["port", "host"] {
        for (attempt, outcome) in report[origin].as_object().unwrap() {
            assert_eq!(outcome, "failed", "{origin}: {attempt}");
        }
        for (attempt, status) in report[format!("{origin} form")].as_object().unwrap() {
            assert_eq!(status, 403, "{origin}: form to {attempt}");
        }
    }
    for (attempt, outcome) in report["rebound"].as_object().unwrap() {
        let refused = outcome == 421 || outcome == "failed";
        assert!(refused, "rebound name: {attempt}: {outcome}");
    }
}

#[test]
fn pages_of_other_origins_and_rebound_names_change_and_read_nothing() {
    let server = Server::start(&["--allow", "read,write,talk,delete"]);
    let Some(report) = run(&server, "foreign_pages", &Value::Null) else { return };
    nothing_is_achieved(&report);
    // The requests reached the server: the browser did not stop them.
    let refused = std::iter::from_fn(|| server.try_event());
    assert!(refused.filter(|event| event["event"] == "refused").count() >= 24);
}
