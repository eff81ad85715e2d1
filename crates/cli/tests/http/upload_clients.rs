//! Third-party clients of resumable uploads: tuspy and aiotus (Python), tus-js-client and Uppy
//! (Node), and a client of each version of the IETF drafts.

use std::process::Command;

use anyport_testkit::harness::http::request;
use anyport_testkit::harness::{
    Outcome, Running, Sample, Server, assert_same_bytes, node_with, python_with,
};
use anyport_testkit::noise;
use serde_json::Value;

/// More than a socket holds, so that an interrupted request is interrupted within its content.
const LARGE: usize = 12 * 1024 * 1024 + 7;

/// Runs a client that uploads `content` under several names; returns its last line.
fn run(client: Command, server: &Server, content: &[u8], arguments: &[&str]) -> Value {
    run_at(&server.url("http", "files/"), client, content, arguments)
}

/// Does the same with the URL of another directory.
fn run_at(url: &str, mut client: Command, content: &[u8], arguments: &[&str]) -> Value {
    let sample = Sample::new("source", content);
    client.arg(url).arg(sample.path()).args(arguments);
    let outcome: Outcome = Running::start(client, None).outcome().succeeds();
    serde_json::from_str(outcome.stdout.lines().last().unwrap()).unwrap()
}

/// The server has exactly these files, complete, and files named `empty` or `…-empty` without
/// content.
fn stored(server: &Server, content: &[u8], names: &[&str]) {
    let mut expected: Vec<_> = names.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(server.published(), expected);
    for name in names {
        let found = std::fs::read(server.dir().join(name)).unwrap();
        let empty = *name == "empty" || name.ends_with("-empty");
        assert_same_bytes(&found, if empty { b"" } else { content });
    }
}

#[test]
fn tuspy_and_aiotus_upload_and_resume() {
    let Some(mut python) = python_with("tusclient, aiotus") else { return };
    let (server, content) = (Server::start(&[]), noise(LARGE, 21));
    python.args(["-c", include_str!("clients/python_tus.py")]);
    let reported = run(python, &server, &content, &[]);
    assert_eq!(reported["tuspy-stopped"], 2 * LARGE.div_ceil(5));
    assert_eq!(reported["aiotus-configuration"][0], serde_json::json!(["1.0.0"]));
    // Parts that the server joins are an extension of tus that is not offered.
    assert_eq!(reported["aiotus-parts"], "None");
    let several =
        (0..4).flat_map(|n| [format!("tuspy-several-{n}"), format!("aiotus-several-{n}")]);
    let several: Vec<_> = several.collect();
    let mut names = vec!["tuspy-whole", "tuspy-stopped", "tuspy-checked", "tuspy-empty"];
    names.extend(["aiotus-whole", "aiotus-interrupted"]);
    names.extend(several.iter().map(String::as_str));
    stored(&server, &content, &names);
}

#[test]
fn tus_js_client_uploads_and_resumes() {
    let Some(mut node) = node_with("tus-js-client") else { return };
    let (server, content) = (Server::start(&[]), noise(LARGE, 22));
    node.arg(include_str!("clients/tus.mjs"));
    let reported = run(node, &server, &content, &[]);
    let refused = reported["parallel_parts"].as_str().unwrap();
    assert!(refused.contains("concatenation"), "{refused}");
    let refused = reported["ietf_5"].as_str().unwrap();
    assert!(refused.contains("supported: 3, 6, 8"), "{refused}");
    let several: Vec<_> = (0..6).map(|n| format!("at_the_same_time-{n}")).collect();
    let mut names = vec!["whole", "during_creation", "between_chunks", "in_a_request"];
    names.extend(["deferred_length", "empty", "ietf_6"]);
    names.extend(several.iter().map(String::as_str));
    stored(&server, &content, &names);
}

#[test]
fn tus_js_client_uploads_to_a_drop_box_and_resumes() {
    let Some(mut node) = node_with("tus-js-client") else { return };
    let (server, content) = (Server::start(&["--allow", "share"]), noise(LARGE, 22));
    let made = request(server.port(), "POST /.anyport/shares", "", br#"{"kind":"drop"}"#);
    let made: Value = serde_json::from_slice(&made.content).unwrap();
    let path = made["share"]["url"].as_str().unwrap();
    let url = server.url("http", path.trim_start_matches('/'));
    node.arg(include_str!("clients/tus.mjs"));
    let mut names = vec!["whole", "during_creation", "between_chunks", "in_a_request"];
    names.extend(["deferred_length", "empty", "ietf_6", "terminated"]);
    run_at(&url, node, &content, &names);
    names.pop();
    let names: Vec<_> = names.iter().map(|name| format!("drop/{name}")).collect();
    for name in names {
        let found = std::fs::read(server.dir().join(&name)).unwrap();
        assert_same_bytes(&found, if name.ends_with("empty") { b"" } else { &content });
    }
    assert_eq!(std::fs::read_dir(server.dir().join("drop")).unwrap().count(), 7);
}

#[test]
fn uppy_pauses_resumes_and_uploads_several_files() {
    let Some(mut node) = node_with("@uppy/tus") else { return };
    let (server, content) = (Server::start(&[]), noise(LARGE, 23));
    node.arg(include_str!("clients/uppy.mjs"));
    let reported = run(node, &server, &content, &[]);
    assert!(reported["paused"].as_u64().unwrap() > 0, "{reported}");
    let several: Vec<_> = (0..6).map(|n| format!("several-{n}")).collect();
    let mut names = vec!["paused"];
    names.extend(several.iter().map(String::as_str));
    stored(&server, &content, &names);
}

/// Interim responses are read from the socket before the final one.
#[test]
fn clients_of_each_ietf_version_upload_and_resume() {
    let Some(_) = python_with("select") else { return };
    let (server, content) = (Server::start(&[]), noise(LARGE, 24));
    let mut names = Vec::new();
    for version in ["3", "6", "8"] {
        let mut python = Command::new("python3");
        python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/clients/ietf.py"));
        run(python, &server, &content, &[version]);
        // Requests that name another version, or none, are ordinary uploads.
        let kinds = "whole interrupted appended empty-first completed unknown empty posted \
                     other-1 other-7 other-99 other-None";
        names.extend(kinds.split(' ').map(|kind| format!("ietf-{version}-{kind}")));
    }
    stored(&server, &content, &names.iter().map(String::as_str).collect::<Vec<_>>());
}
