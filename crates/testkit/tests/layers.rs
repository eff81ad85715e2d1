//! Who may import whom (docs/ARCHITECTURE.md): fails on a forbidden edge, between crates and inside the server.
//!
//! Prints the longest files too; run with `--nocapture` to see them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each crate, and the crates of the workspace that its code may use.
const CRATES: [(&str, &[&str]); 8] = [
    ("disk", &[]),
    ("proto", &[]),
    ("net", &[]),
    ("testkit", &[]),
    ("tls", &[]),
    ("server", &["disk", "net", "proto", "tls"]),
    ("client", &["disk", "net", "proto", "tls"]),
    ("cli", &["server", "client", "disk", "net", "proto", "tls"]),
];

/// Each module of the server, and the modules of it that it may use. `config` is plain data for all.
const SERVER: [(&str, &[&str]); 16] = [
    ("accept", &["access", "connection", "driving", "events", "service", "session"]),
    ("access", &["events", "tokens"]),
    ("connection", &["driving", "layers", "opening", "session", "shutdown", "tls"]),
    ("datagram", &["events", "service"]),
    ("detect", &["events"]),
    ("driving", &["detect", "layers", "session", "shutdown"]),
    ("events", &["tokens"]),
    ("layers", &["events", "session", "shutdown"]),
    ("opening", &["detect", "events", "service", "session", "tls"]),
    ("route", &["service"]),
    ("service", &["events", "sink"]),
    ("session", &["access", "events", "route", "service", "shutdown", "tls"]),
    ("shutdown", &[]),
    ("sink", &[]),
    ("tls", &["detect", "session"]),
    ("tokens", &[]),
];

/// A file that grows beyond this is two rooms: split it, or say here why not.
const LONGEST: usize = 500;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn sources(name: &str) -> Vec<PathBuf> {
    let mut files = rust_files(&workspace().join("crates").join(name).join("src"));
    files.retain(|file| !file.ends_with("tests.rs"));
    files
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Product code: what stands before the tests of a file, without comments.
fn product(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let product = text.split("#[cfg(test)]").next().unwrap();
    let lines = product.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Words that follow `prefix` anywhere in `text`: `crate::` gives the modules that are used by their path.
fn words_after<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(prefix).filter_map(move |(at, _)| {
        let rest = &text[at + prefix.len()..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })
}

/// What `files` of the room `name` use beyond `allowed`, among `rooms`.
fn forbidden(
    name: &str,
    files: &[PathBuf],
    prefix: &str,
    rooms: &[(&str, &[&str])],
    allowed: &[&str],
) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for used in words_after(&product(file), prefix) {
            let known = rooms.iter().any(|(other, _)| *other == used);
            if known && used != name && !allowed.contains(&used) {
                found.push(format!("{} uses {used}", file.display()));
            }
        }
    }
    found
}

#[test]
fn crates_import_downwards_only() {
    for (name, allowed) in CRATES {
        let found = forbidden(name, &sources(name), "anyport_", &CRATES, allowed);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn manifests_name_no_forbidden_crate() {
    for (name, allowed) in CRATES {
        let manifest = workspace().join("crates").join(name).join("Cargo.toml");
        let text = fs::read_to_string(manifest).unwrap();
        let dependencies = text.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap();
        for used in words_after(dependencies, "anyport-") {
            assert!(allowed.contains(&used), "crate {name} must not depend on {used}");
        }
    }
}

#[test]
fn modules_of_the_server_import_in_one_direction() {
    let source = workspace().join("crates/server/src");
    for (name, allowed) in SERVER {
        let file = source.join(format!("{name}.rs"));
        let files = if file.exists() { vec![file] } else { rust_files(&source.join(name)) };
        let found = forbidden(name, &files, "crate::", &SERVER, allowed);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn the_wire_knows_neither_sockets_nor_clocks_nor_tasks() {
    for file in sources("proto") {
        let text = product(&file);
        for word in ["std::fs", "std::net::Tcp", "std::time::Instant", "std::thread", "tokio::"] {
            assert!(!text.contains(word), "{} uses {word}", file.display());
        }
    }
}

#[test]
fn unsafe_stands_in_net_only() {
    for (name, _) in CRATES {
        for file in sources(name) {
            let text = product(&file);
            let has =
                ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|word| text.contains(word));
            assert!(name == "net" || !has, "{} holds unsafe code", file.display());
        }
    }
}

#[test]
fn files_are_rooms_and_not_halls() {
    let mut lengths: Vec<(usize, PathBuf)> = CRATES
        .iter()
        .flat_map(|(name, _)| sources(name))
        .map(|file| (product(&file).lines().count(), file))
        .collect();
    lengths.sort();
    for (lines, file) in lengths.iter().rev().take(10) {
        println!("{lines:5} {}", file.display());
    }
    let (lines, file) = lengths.last().unwrap();
    assert!(*lines <= LONGEST, "{} has {lines} lines of code", file.display());
}

/// BP-1: what a peer can fill has a bound, so no channel is without one.
#[test]
fn bp_1_no_channel_is_unbounded() {
    for (name, _) in CRATES {
        for file in sources(name) {
            let text = product(&file);
            for unbounded in ["unbounded", "mpsc::channel()", "mpsc::channel::<"] {
                assert!(!text.contains(unbounded), "{unbounded} in {}", file.display());
            }
        }
    }
}
