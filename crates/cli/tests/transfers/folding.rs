//! Names that the file system of the receiver does not distinguish: each is a file of its own, or
//! refused by name.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyport_testkit::harness::folding_disk::FoldingDisk;
use anyport_testkit::harness::http::request;
use anyport_testkit::harness::{Outcome, Server, anyport};

/// Two names of one entry there, in both directions.
const PAIRS: [[&str; 2]; 3] =
    [["README", "Readme"], ["caf\u{e9}", "cafe\u{301}"], ["\u{416}", "\u{436}"]];

/// Files of these names and contents, all of one time that no change can get any more.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = scratch.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
    scratch
}

/// All files below `directory`, with their contents.
fn files(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
            found.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
    found.sort();
    found
}

fn pair(name: &str, content: &str) -> (String, String) {
    (name.to_owned(), content.to_owned())
}

fn send(server: &Server, scheme: &str, flags: &[&str], from: &Path) -> Outcome {
    let (url, from) = (server.url(scheme, ""), from.to_str().unwrap());
    anyport(&[&["send"], flags, &[from, url.as_str()]].concat())
}

#[test]
fn an_upload_is_not_already_there_under_a_name_of_another_case() {
    for scheme in ["tcp", "ws", "frames", "http"] {
        for [one, other] in PAIRS {
            let Some(disk) = FoldingDisk::mount() else { return };
            let server =
                Server::start_in(disk.path(), &["127.0.0.1:0"], &["--on-exists", "overwrite"]);
            // Of one size and time, so that the name alone distinguishes them.
            let sources = tree(&[(one, "one"), (other, "two")]);
            let from = |name| sources.path().join(name);
            send(&server, scheme, &[], &from(one)).succeeds();
            let refused = send(&server, scheme, &[], &from(other));
            let refused = refused.exits(4);
            let words = format!("{other} exists as {one}");
            assert!(refused.stderr.contains(&words), "{scheme}: {refused:?}");
            assert_eq!(files(disk.path()), [pair(one, "one")], "{scheme}");
            // The same name still is.
            let again = send(&server, scheme, &[], &from(one)).succeeds();
            assert!(again.stdout.contains("already there"), "{scheme}: {again:?}");
        }
    }
}

#[test]
fn an_upload_replaces_no_file_of_another_case() {
    let Some(disk) = FoldingDisk::mount() else { return };
    let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &["--on-exists", "overwrite"]);
    let sources = tree(&[("README", "one"), ("Readme", "other content")]);
    let from = |name| sources.path().join(name);
    server.says("no case in names");
    send(&server, "tcp", &[], &from("README")).succeeds();
    send(&server, "tcp", &["--on-exists", "overwrite"], &from("Readme")).exits(4);
    send(&server, "tcp", &["--on-exists", "error"], &from("Readme")).exits(4);
    assert_eq!(files(disk.path()), [pair("README", "one")]);
    send(&server, "tcp", &["--on-exists", "rename"], &from("Readme")).succeeds();
    let kept = [pair("README", "one"), pair("Readme-1", "other content")];
    assert_eq!(files(disk.path()), kept);
    // Its own name is replaced.
    std::fs::write(from("README"), "three").unwrap();
    send(&server, "tcp", &[], &from("README")).succeeds();
    assert_eq!(files(disk.path())[0], pair("README", "three"));
}

#[test]
fn a_directory_is_not_merged_with_one_of_another_case() {
    let Some(disk) = FoldingDisk::mount() else { return };
    let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &[]);
    // Beside a file, an empty directory is one of each pair.
    let sources = tree(&[("t/A/x", "one"), ("t/a/x", "two"), ("t/b/x", "three")]);
    std::fs::create_dir(sources.path().join("t/B")).unwrap();
    let sent = send(&server, "tcp", &[], &sources.path().join("t")).exits(4);
    assert!(sent.stderr.contains("the file system does not distinguish these names"), "{sent:?}");
    // In either order one of each pair is stored, and the other one named.
    for name in ["a", "b"] {
        let stored = std::fs::read_dir(disk.path().join("t")).unwrap();
        let stored = stored
            .filter(|entry| entry.as_ref().unwrap().file_name().to_ascii_lowercase() == *name);
        assert_eq!(stored.count(), 1, "{name}");
    }
}

#[test]
fn a_download_is_not_already_here_under_a_name_of_another_case() {
    for scheme in ["tcp", "ws", "http"] {
        for [one, other] in PAIRS {
            let Some(disk) = FoldingDisk::mount() else { return };
            let sources = tree(&[(one, "one"), (other, "two")]);
            let server = Server::start_in(sources.path(), &["127.0.0.1:0"], &[]);
            let to = disk.path().to_str().unwrap();
            let get = |name: &str, flags: &[&str]| {
                let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
                let url = server.url(scheme, &encoded);
                anyport(&[&["get", "-o", &format!("{to}/")], flags, &[url.as_str()]].concat())
            };
            get(one, &[]).succeeds();
            for flags in [&[][..], &["--on-exists", "overwrite"]] {
                let refused = get(other, flags).exits(1);
                let words = format!("{other} exists as {one}");
                assert!(refused.stderr.contains(&words), "{scheme}: {refused:?}");
            }
            assert_eq!(files(disk.path()), [pair(one, "one")], "{scheme}");
            let again = get(one, &[]).succeeds();
            assert!(again.stdout.contains("already there"), "{scheme}: {again:?}");
            get(other, &["--on-exists", "rename"]).succeeds();
            assert_eq!(files(disk.path()).len(), 2);
        }
    }
}

#[test]
fn a_downloaded_directory_names_each_entry_that_another_one_hides() {
    let Some(disk) = FoldingDisk::mount() else { return };
    let sources = tree(&[("A/x", "one"), ("a/x", "two"), ("f", "one"), ("F", "two"), ("g", "g")]);
    let server = Server::start_in(sources.path(), &["127.0.0.1:0"], &[]);
    let to = disk.path().to_str().unwrap();
    for _ in 0..2 {
        let got = anyport(&["get", "-o", &format!("{to}/"), &server.url("tcp", "")]).exits(1);
        assert!(got.stderr.contains("3 of 6 entries"), "{got:?}");
        let found = files(disk.path());
        assert_eq!(found.len(), 3, "{got:?} {found:?}");
    }
}

#[test]
fn no_file_is_deleted_or_replaced_under_another_spelling() {
    let Some(disk) = FoldingDisk::mount() else { return };
    let flags = ["--allow", "delete", "--on-exists", "overwrite"];
    let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &flags);
    for name in ["README", "d/Notes", "other"] {
        let path = disk.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    let before = files(disk.path());
    for (line, to, status) in [
        ("DELETE /Readme", "/x", 404),
        ("DELETE /D/Notes", "/x", 404),
        ("MOVE /Readme", "/x", 404),
        ("MOVE /other", "/ReadMe", 412),
        ("MOVE /other", "/D/x", 409),
        ("MKCOL /D", "/x", 405),
    ] {
        let fields = format!("Destination: {to}\nOverwrite: T\n");
        let answer = request(server.port(), line, &fields, b"");
        assert_eq!(answer.status(), status, "{line} {to}: {}", answer.text());
    }
    assert_eq!(files(disk.path()), before);
    // Another spelling of its own name is given, or refused with the reason.
    let answer = request(server.port(), "MOVE /README", "Destination: /Readme\n", b"");
    let names: Vec<String> = files(disk.path()).into_iter().map(|(name, _)| name).collect();
    let expected = if answer.status() == 201 { "Readme" } else { "README" };
    assert!(names.contains(&expected.to_owned()), "{} {names:?}", answer.text());
    assert_eq!(names.len(), 3);
}
