//! Directories as archives, which are made while they are sent.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyport_testkit::harness::http::{curl, curl_says, request};
use anyport_testkit::harness::wire::{connect, read_head};
use anyport_testkit::harness::{Running, Server, assert_same_bytes, peer};
use anyport_testkit::noise;

/// Enough to become a bulk transfer, and some more.
const LARGE: usize = 5_000_011;

const THEN: Duration = Duration::from_secs(784_111_777);

/// A server of the directory `d` with all kinds of entries, and a secret beside it.
fn served() -> (Server, Vec<u8>) {
    let server = Server::start(&[]);
    let (root, large) = (server.dir(), noise(LARGE, 41));
    std::fs::create_dir_all(root.join("d/e/empty")).unwrap();
    std::fs::write(root.parent().unwrap().join("secret"), "secret").unwrap();
    let long = format!("d/e/{}.txt", "long-".repeat(40));
    for (name, content) in [
        ("d/large.bin", &large[..]),
        ("d/e/ü \"q\".txt", b"hello"),
        ("d/nothing", b""),
        (&long, b"long"),
        ("other", b"not in d"),
    ] {
        std::fs::write(root.join(name), content).unwrap();
        let file = File::options().write(true).open(root.join(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + THEN).unwrap();
    }
    std::fs::write(root.join(OsStr::from_bytes(b"d/caf\xe9")), "latin").unwrap();
    symlink("large.bin", root.join("d/inside")).unwrap();
    symlink("../../secret", root.join("d/outside")).unwrap();
    symlink("e", root.join("d/link")).unwrap();
    (server, large)
}

/// Downloads to `file` in `directory`; returns whether curl can be run.
fn download(arguments: &[&str], directory: &Path) -> bool {
    let Some(mut curl) = curl() else { return false };
    curl.args(arguments).current_dir(directory);
    Running::start(curl, None).outcome().succeeds();
    true
}

fn run(mut command: Command, directory: &Path, arguments: &[&str]) -> String {
    command.args(arguments).current_dir(directory);
    Running::start(command, None).outcome().succeeds().stdout
}

/// The entries that every archive of `d` has.
#[track_caller]
fn check_extracted(directory: &Path, large: &[u8]) {
    assert_same_bytes(&std::fs::read(directory.join("d/large.bin")).unwrap(), large);
    assert_same_bytes(&std::fs::read(directory.join("d/inside")).unwrap(), large);
    assert_eq!(std::fs::read(directory.join("d/e/ü \"q\".txt")).unwrap(), b"hello");
    assert_eq!(std::fs::read(directory.join("d/nothing")).unwrap(), b"");
    assert!(directory.join("d/e/empty").is_dir());
    let long = directory.join(format!("d/e/{}.txt", "long-".repeat(40)));
    assert_eq!(std::fs::read(long).unwrap(), b"long");
    assert!(!directory.join("d/outside").exists() && !directory.join("d/link").exists());
    let modified = std::fs::metadata(directory.join("d/large.bin")).unwrap().modified().unwrap();
    assert_eq!(modified, SystemTime::UNIX_EPOCH + THEN);
}

#[test]
fn a_directory_is_one_zip_that_others_read() {
    let (server, large) = served();
    for (scheme, version) in [
        ("http", "--http1.1"),
        ("http", "--http1.0"),
        ("http", "--http2-prior-knowledge"),
        ("https", "--http2"),
    ] {
        let here = tempfile::tempdir().unwrap();
        let url = server.url(scheme, "files/d/?zip");
        if !download(&["-k", version, "-O", "-J", &url], here.path()) {
            return;
        }
        // The name is that of Content-Disposition.
        if let Some(unzip) = peer("unzip") {
            let listed = run(unzip, here.path(), &["-t", "d.zip"]);
            // A name that is no text, a link that leads out, a link to a directory.
            assert!(listed.contains("3 entries left out"), "{listed}");
            assert!(listed.contains("No errors detected"), "{listed}");
            run(peer("unzip").unwrap(), here.path(), &["-q", "d.zip"]);
            check_extracted(here.path(), &large);
        }
        let Some(python) = peer("python3") else { return };
        let program = "import zipfile; z = zipfile.ZipFile('d.zip'); print(z.testzip()); \
                       print(z.read('d/large.bin') == z.read('d/inside'), len(z.namelist()), \
                       z.getinfo('d/e/ü \"q\".txt').file_size)";
        assert_eq!(run(python, here.path(), &["-c", program]), "None\nTrue 7 5\n");
    }
}

/// A client that stores such a name attacks the one who extracts the archive on Windows.
#[test]
fn a_zip_has_no_name_that_leaves_its_directory() {
    let server = Server::start(&[]);
    for name in ["..\\..\\evil.bat", "C:evil", "a\\b", "good:name"] {
        std::fs::write(server.dir().join(name), "x").unwrap();
    }
    std::fs::create_dir(server.dir().join("D:")).unwrap();
    std::fs::write(server.dir().join("D:/below"), "x").unwrap();
    let here = tempfile::tempdir().unwrap();
    if !download(&["-o", "z.zip", &server.url("http", "?zip")], here.path()) {
        return;
    }
    let Some(python) = peer("python3") else { return };
    let program = "import zipfile; z = zipfile.ZipFile('z.zip'); print(z.namelist(), z.comment)";
    let names = "['files/good:name'] b'5 entries left out'\n";
    assert_eq!(run(python, here.path(), &["-c", program]), names);
}

#[test]
fn a_directory_is_one_tar_that_others_read() {
    let (server, large) = served();
    for (program, version) in [("tar", "--http1.1"), ("bsdtar", "--http2-prior-knowledge")] {
        let here = tempfile::tempdir().unwrap();
        let url = server.url("http", "d?tar");
        let Some(tar) = peer(program) else { return };
        if !download(&[version, "-O", "-J", &url], here.path()) {
            return;
        }
        run(tar, here.path(), &["-xf", "d.tar"]);
        check_extracted(here.path(), &large);
        // Names of any bytes.
        let latin = here.path().join(OsStr::from_bytes(b"d/caf\xe9"));
        assert_eq!(std::fs::read(latin).unwrap(), b"latin");
    }
}

#[test]
fn an_archive_of_a_selection_has_nothing_else() {
    let (server, _) = served();
    let here = tempfile::tempdir().unwrap();
    let url = server.url("http", "files/d/?zip&name=e&name=nothing&name=gone");
    if !download(&["-o", "s.zip", &url], here.path()) {
        return;
    }
    if let Some(python) = peer("python3") {
        let program = "import zipfile; z = zipfile.ZipFile('s.zip'); \
                       print(sorted({n.split('/')[1] for n in z.namelist()}), z.comment)";
        let listed = run(python, here.path(), &["-c", program]);
        assert_eq!(listed, "['e', 'nothing'] b'1 entries left out'\n");
    }
    for wrong in ["", "..", "%2e%2e/secret", "%"] {
        let request_line = format!("GET /files/d/?zip&name={wrong}");
        assert_eq!(request(server.port(), &request_line, "", b"").status(), 400, "{wrong}");
    }
}

#[test]
fn all_files_are_one_archive_and_head_describes_it() {
    let (server, _) = served();
    for (path, media, name) in [
        ("/?zip", "application/zip", "files.zip"),
        ("/files/?tar", "application/x-tar", "files.tar"),
        ("/d/e/?zip", "application/zip", "e.zip"),
    ] {
        let head = request(server.port(), &format!("HEAD {path}"), "", b"");
        assert_eq!((head.status(), head.field("Content-Type")), (200, media), "{}", head.head);
        let name = format!("attachment; filename=\"{name}\"; filename*=UTF-8''{name}");
        assert_eq!((head.field("Content-Disposition"), &head.content[..]), (&*name, &b""[..]));
    }
    assert_eq!(request(server.port(), "GET /none/?zip", "", b"").status(), 404);
    // The query of a file means nothing.
    assert_eq!(request(server.port(), "GET /other?zip", "", b"").text(), "not in d");
    let here = tempfile::tempdir().unwrap();
    let Some(unzip) = peer("unzip") else { return };
    if download(&["-o", "all.zip", &server.url("http", "?zip")], here.path()) {
        let listed = run(unzip, here.path(), &["-l", "all.zip"]);
        assert!(listed.contains(" files/d/nothing\n") && listed.contains(" files/other\n"));
    }
    std::fs::create_dir(server.dir().join("größe \"1\"")).unwrap();
    let head = request(server.port(), "HEAD /gr%C3%B6%C3%9Fe%20%221%22/?zip", "", b"");
    let name = head.field("Content-Disposition");
    assert!(name.contains("filename=\"gr__e _1_.zip\""), "{name}");
    assert!(name.ends_with("filename*=UTF-8''gr%C3%B6%C3%9Fe%20%221%22.zip"), "{name}");
}

/// An archive that is complete has whole files only.
#[test]
fn a_file_that_changes_while_it_is_sent_breaks_the_archive() {
    for format in ["zip", "tar"] {
        let server = Server::start(&[]);
        let (size, path) = (200 * 1024 * 1024, server.dir().join("x"));
        File::create(&path).unwrap().set_len(size).unwrap();
        let mut stream = connect(server.port());
        let head = format!("GET /?{format} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        assert!(read_head(&mut stream).contains("Transfer-Encoding: chunked"));
        // Only then is the file open.
        let mut got = vec![0; 100_000];
        stream.read_exact(&mut got).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
        let _ = stream.read_to_end(&mut got);
        assert!((got.len() as u64) < size && !got.ends_with(b"0\r\n\r\n"), "{format}");
        let event = server.next_event();
        assert_eq!(event["event"], "unsent", "{event}");
    }
}

#[test]
fn an_archive_needs_the_right_to_read() {
    let server = Server::start(&["--upload-only"]);
    std::fs::write(server.dir().join("x"), "secret").unwrap();
    for path in ["?zip", "?tar", "d/?zip"] {
        let Some((said, status)) = curl_says(&[&server.url("http", path)]) else { return };
        assert!(status == 403 && said.contains("--upload-only"), "{said}");
    }
}

#[test]
fn a_zip_of_more_entries_than_memory_breaks() {
    let server = Server::start(&["--max-buffered", "1MiB"]);
    for number in 0..3000 {
        File::create(server.dir().join(format!("{number}"))).unwrap();
    }
    let get = |path: &str| {
        let mut stream = connect(server.port());
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        let mut got = Vec::new();
        let mut buffer = [0; 65536];
        loop {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => got.extend_from_slice(&buffer[..count]),
                _ => return false,
            }
            if got.ends_with(b"\r\n0\r\n\r\n") {
                return true;
            }
        }
    };
    assert!(!get("/?zip"));
    assert!(get("/?tar"));
}
