//! `anyport probe` and peers for it.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::Value;

use super::process::Outcome;
use super::program::anyport;

/// Time limits for a peer that answers: only a broken one takes that long.
pub const PATIENT: [&str; 2] = ["--timeout", "20s"];

/// Time limits for a peer that sends a greeting.
pub const GREETED: [&str; 2] = ["--greeting-timeout", "20s"];

/// Serves each connection on a thread of its own; returns the port.
pub fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Reads until the peer ends.
pub fn drain(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// Runs a probe.
#[track_caller]
pub fn probe(url: &str, flags: &[&str]) -> Outcome {
    anyport(&[&["probe", url], flags].concat())
}

/// Runs a probe with `--json`, and returns its events.
#[track_caller]
pub fn events(url: &str, flags: &[&str], exit: i32) -> Vec<Value> {
    probe(url, &[&["--json"], flags].concat()).exits(exit).json()
}

/// Returns the first event whose `key` has this value.
#[track_caller]
pub fn event<'a>(events: &'a [Value], key: &str, value: &str) -> &'a Value {
    let found = events.iter().find(|event| event[key] == value);
    found.unwrap_or_else(|| panic!("no {key} {value} in {events:#?}"))
}

/// Returns the last event.
#[track_caller]
pub fn result(events: &[Value]) -> &Value {
    event(events, "event", "result")
}

/// Returns the names of the probes that were sent.
pub fn probes(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["probe"].as_str()).collect()
}
