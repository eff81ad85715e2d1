//! The page in a real browser: Chromium, driven by playwright-core.
//!
//! Each test starts a server and runs one script of this directory in Node. The script fails by
//! its own assertions, on a violation of the Content Security Policy and on an error that the page
//! does not catch; its last line is a report in JSON.
//!
//! - `sending.mjs` files are chosen, dropped, pasted, chosen as a folder, and many at a time
//! - `continuing.mjs` uploads after a pause, a lost connection, a restart, a reload, a refusal
//! - `listing.mjs` the list, and what this page and others change in it
//! - `entry.mjs` a token is entered and ends; rights; the same without JavaScript
//! - `together.mjs` the room with nc and curl, and four tabs
//! - `terminal.mjs` the lines for a terminal, and languages
//! - `shares.mjs` links to a file and drop boxes, for people without a token
//! - `hostile_names.mjs` names and texts that look like HTML, and stored files that are
//! - `foreign_pages.mjs` pages of other origins, of a rebound name, and a frame
//! - `quality.mjs` axe, and a window of 360 pixels; `keyboard.mjs` the keyboard alone
//! - `without_javascript.mjs` the form and the table of the same address
//! - `drill.mjs` (`scripts/drill page`), `bench.mjs` (`scripts/bench-page`) and `pictures.mjs`
//!   (`scripts/page-pictures`) run by hand

#![expect(clippy::unwrap_used, reason = "tests")]

use anyport_testkit::harness::tokens::token_file;
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
    let outcome = Running::start(node, None).outcome_within(LIMIT).succeeds();
    let report = outcome.stdout.lines().last().unwrap_or_else(|| panic!("no report of {script}"));
    Some(serde_json::from_str(report).unwrap())
}

/// Several scenarios at the same time, and a busy machine.
const LIMIT: std::time::Duration = std::time::Duration::from_mins(5);

/// What all may do that the page can show.
const ALL: [&str; 2] = ["--allow", "read,write,delete,talk"];

#[test]
fn files_are_sent_by_choosing_dropping_pasting_and_as_a_folder() {
    let server = Server::start(&[]);
    let Some(report) = run(&server, "sending", &Value::Null) else { return };
    // The page computed the digest that the server has.
    let receipt = server.next_receipt();
    assert_eq!(receipt["path"], "holiday.mov", "{receipt}");
    assert_eq!(receipt["digest"], report["digest"], "{receipt}");
}

#[test]
fn uploads_continue_after_a_pause_a_lost_connection_a_restart_and_a_reload() {
    let server = Server::start(&[]);
    let Some(report) = run(&server, "continuing", &Value::Null) else { return };
    assert!(report["refused"].as_u64().unwrap() > 0, "chunks are halved after 413: {report}");
    assert!(report["requests"].as_u64().unwrap() > 5, "{report}");
    let wrong = report["wrong"].as_str().unwrap();
    assert!(wrong.contains("Nothing was stored"), "a wrong digest is loud: {wrong}");
    let refused = report["too_large"].as_str().unwrap();
    assert!(refused.contains("--max-size"), "the sentence of the server: {refused}");
}

#[test]
fn the_list_follows_what_this_page_and_others_change() {
    let server = Server::start(&ALL);
    let Some(report) = run(&server, "listing", &Value::Null) else { return };
    assert!(report["refusal"].as_str().unwrap().contains("a2.txt"), "{report}");
}

#[test]
fn a_token_is_entered_once_and_its_session_ends_with_it() {
    let [alice, reader, guest] = ['a', 'r', 'g'].map(|letter| letter.to_string().repeat(43));
    let lines = format!(
        "alice {alice} read,write,delete,talk\nreader {reader} read\nguest {guest} write\n"
    );
    let tokens = token_file(&lines);
    let server = Server::start(&["--token-file", tokens.path()]);
    let facts = json!({
        "alice": alice, "reader": reader, "guest": guest,
        "tokens": tokens.path(), "pid": server.pid(),
    });
    let Some(report) = run(&server, "entry", &facts) else { return };
    let cookie = &report["cookie"];
    assert_eq!(cookie["httpOnly"], true, "{cookie}");
    assert_eq!(cookie["sameSite"], "Strict", "{cookie}");
}

#[test]
fn the_room_and_four_tabs_work_beside_uploads() {
    let server = Server::start(&[]);
    let Some(report) = run(&server, "together", &Value::Null) else { return };
    assert!(report["by_curl"].as_str().unwrap().contains("from the page"), "{report}");
}

#[test]
fn a_link_shows_one_file_and_a_drop_box_shows_nothing_of_others() {
    let alice = "a".repeat(43);
    let tokens = token_file(&format!("alice {alice} read,write,share\n"));
    let server = Server::start(&["--token-file", tokens.path()]);
    run(&server, "shares", &json!({ "token": alice }));
}

#[test]
fn lines_for_a_terminal_run_as_they_are_shown() {
    let server = Server::start(&[]);
    let Some(report) = run(&server, "terminal", &Value::Null) else { return };
    assert_eq!(report["lines"].as_array().unwrap().len(), 4, "{report}");
}

#[test]
fn names_and_texts_of_others_run_no_script() {
    let server = Server::start(&ALL);
    let Some(report) = run(&server, "hostile_names", &Value::Null) else { return };
    assert!(report["violations"].as_u64().unwrap() > 0, "the policy refused them: {report}");
}

#[test]
fn every_state_passes_axe_and_fits_into_360_pixels() {
    let server = Server::start(&ALL);
    run(&server, "quality", &Value::Null);
}

#[test]
fn every_action_is_reached_by_the_keyboard() {
    let server = Server::start(&ALL);
    run(&server, "keyboard", &Value::Null);
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
            // The cookie is not sent by a page of another site.
            let refused = status == 403 || (status == 401 && origin == "host");
            assert!(refused, "{origin}: form to {attempt}: {status}");
        }
    }
    for (attempt, outcome) in report["rebound"].as_object().unwrap() {
        // A token that is missing is reported first.
        let refused = outcome == 421 || outcome == 401 || outcome == "failed";
        assert!(refused, "rebound name: {attempt}: {outcome}");
    }
}

#[test]
fn pages_of_other_origins_and_rebound_names_change_and_read_nothing() {
    let server = Server::start(&ALL);
    let Some(report) = run(&server, "foreign_pages", &Value::Null) else { return };
    nothing_is_achieved(&report);
    // The requests reached the server: the browser did not stop them.
    let refused = std::iter::from_fn(|| server.try_event());
    assert!(refused.filter(|event| event["event"] == "refused").count() >= 24);
}

/// Cookies ignore ports: a page of another port of this host is of the same site.
#[test]
fn pages_of_other_origins_cannot_use_a_session() {
    let alice = "a".repeat(43);
    let tokens = token_file(&format!("alice {alice} read,write,delete,talk,share\n"));
    let server = Server::start(&["--token-file", tokens.path()]);
    let facts = json!({ "token": alice });
    let Some(report) = run(&server, "foreign_pages", &facts) else { return };
    nothing_is_achieved(&report);
}
