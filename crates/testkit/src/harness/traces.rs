//! What `anyport trace --json` prints.

use serde_json::Value;

use super::process::Outcome;

/// Returns the lines of the trace itself, which follow those of the command.
///
/// # Panics
/// When there is no trace, or its last line is no diagnosis.
#[track_caller]
pub fn trace(outcome: &Outcome) -> Vec<Value> {
    let mut lines = outcome.json();
    let at = lines.iter().position(|line| line["event"] == "trace").unwrap();
    let lines = lines.split_off(at);
    assert_eq!(lines.last().unwrap()["event"], "diagnosis", "{outcome:?}");
    lines
}

/// Returns the names of the events.
pub fn names(trace: &[Value]) -> Vec<&str> {
    trace.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

/// Asserts that events of these names follow each other, with others between them.
#[track_caller]
pub fn follow(trace: &[Value], expected: &[&str]) {
    let names = names(trace);
    let mut rest = names.iter();
    for expected in expected {
        assert!(rest.any(|name| name == expected), "no {expected} in its place: {names:?}");
    }
}
