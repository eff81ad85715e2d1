//! `anyport send`, `get` and `ls` over `http://` and `https://`, against our own server.

use std::path::Path;
use std::time::Duration;

use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::{
    Expected, Outcome, Running, Sample, Server, anyport, anyport_command, assert_same_bytes,
    wait_until,
};

/// Each scheme, and what its receipts call it.
const SCHEMES: [(&str, &str); 2] = [("http", "http"), ("https", "http2")];

const LARGE: usize = 3 * 1024 * 1024 + 7;

/// Runs `anyport`; who the server is, is another test's matter.
fn client(arguments: &[&str]) -> Outcome {
    anyport(&[arguments, &["-k"]].concat())
}

/// A directory of files, each of this many bytes.
fn tree(name: &str, sizes: &[(&str, usize)]) -> (tempfile::TempDir, String) {
    let scratch = tempfile::tempdir().unwrap();
    for (number, (file, size)) in sizes.iter().enumerate() {
        let path = scratch.path().join(name).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, noise(*size, number as u64)).unwrap();
    }
    let path = scratch.path().join(name).to_str().unwrap().to_owned();
    (scratch, path)
}

/// Sends what is in a directory, without its own name.
fn send_inside(directory: &str, flags: &[&str], url: &str) -> Outcome {
    let mut command = anyport_command(&[&["send", "-k"], flags, &[".", url]].concat());
    command.current_dir(directory);
    Running::start(command, None).outcome()
}

/// All files below two directories are the same, and there are as many.
#[track_caller]
fn assert_same_tree(one: &Path, other: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(one).unwrap() {
        let (here, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        let there = other.join(name);
        if here.is_dir() {
            count += assert_same_tree(&here, &there);
        } else {
            assert_same_bytes(&std::fs::read(&there).unwrap(), &std::fs::read(&here).unwrap());
            count += 1;
        }
    }
    count
}

/// Gives everything below a directory a time at which it cannot be changing
/// (`FileTime::announced`), so that two listings say the same.
fn make_old(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            make_old(&path);
        }
        let time = std::time::SystemTime::now() - Duration::from_secs(3600);
        std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
    }
}

/// Lines of the server's log that tell the end of a connection.
fn connections(server: &Server, protocol: &str) -> Vec<Value> {
    let said = server.said();
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ended = lines.filter(|line| line["message"] == "connection ended");
    ended.filter(|line| line["protocol"] == protocol).collect()
}

#[test]
fn files_travel_by_both_schemes_there_and_back() {
    for (scheme, protocol) in SCHEMES {
        let server = Server::start(&[]);
        let scratch = tempfile::tempdir().unwrap();
        for (number, (name, size)) in
            [("empty", 0), ("help", 5), ("50% of ü.bin", 65_537), ("large", LARGE)]
                .iter()
                .enumerate()
        {
            let content = noise(*size, number as u64);
            let sample = Sample::new(name, &content);
            let url = server.url(scheme, "");
            let sent = client(&["send", "--json", sample.path(), &url]).succeeds();
            let receipt = server.next_receipt();
            let (engine, end) = ("own", "size");
            Expected { protocol, engine, end, content: &content }.check(&server, &receipt);
            assert_eq!(receipt["path"], *name);
            assert_eq!(sent.json()[0]["digest"], receipt["digest"], "{sent:?}");
            // The time travels too, so the server knows it again.
            client(&["send", sample.path(), &url]).succeeds();
            assert_eq!(server.next_receipt()["end"], "already-here");

            let encoded = name.replace('%', "%25");
            let url = server.url(scheme, &format!("files/{encoded}"));
            let back = scratch.path().join(name);
            let got = client(&["get", "--json", &url, "-o", back.to_str().unwrap()]).succeeds();
            assert_same_bytes(&std::fs::read(&back).unwrap(), &content);
            // There is no digest over HTTP, and the client reports its own.
            assert_eq!(got.json()[0]["verified"], false, "{got:?}");
            assert_eq!(got.json()[0]["digest"], receipt["digest"], "{got:?}");
            let modified = |path: &Path| {
                let since = path.metadata().unwrap().modified().unwrap();
                since.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
            };
            assert_eq!(modified(&back), modified(Path::new(sample.path())));
            assert_eq!(server.next_event()["event"], "sent");
        }
        assert_eq!(server.published(), ["50% of ü.bin", "empty", "help", "large"]);
    }
}

#[test]
fn many_files_go_at_once_over_one_connection_each_with_its_receipt() {
    // All streams of a connection share the rate, so that they are seen side by side.
    let server = Server::start(&["-v", "--log-format", "json", "--limit-rate", "4MiB"]);
    let large: Vec<String> = (0..8).map(|n| format!("large/{n}")).collect();
    let small: Vec<String> = (0..200).map(|n| format!("small/{n}")).collect();
    let sizes = large.iter().map(|name| (name.as_str(), 1024 * 1024));
    let sizes: Vec<_> = sizes.chain(small.iter().map(|name| (name.as_str(), 4096))).collect();
    let (_scratch, path) = tree("many", &sizes);
    let url = server.url("https", "");
    let command = anyport_command(&["send", "-k", "--json", &path, &url]);
    let sending = Running::start(command, None);
    wait_until("several parts at once", || {
        let parts = server.names().iter().filter(|name| name.ends_with(".part")).count();
        (parts >= 4).then_some(())
    });
    let sent = sending.outcome().succeeds();
    let receipts = sent.json();
    assert_eq!(receipts.len(), 208);
    assert!(receipts.iter().all(|receipt| receipt["protocol"] == "http2"), "{receipts:?}");
    assert_eq!(assert_same_tree(Path::new(&path), &server.dir().join("many")), 208);
    wait_until("the connection's end", || {
        (!connections(&server, "http2").is_empty()).then_some(())
    });
    let ended = connections(&server, "http2");
    assert_eq!(ended.len(), 1, "{ended:?}");
    // The client leaves with the last receipt, perhaps while the server still writes a frame of the
    // connection.
    let (files, close) = (&ended[0]["files"], ended[0]["close"].as_str());
    let is_whole = matches!(close, Some("clean" | "connection error: broken pipe"));
    assert!(*files == 208 && is_whole, "{ended:?}");
}

#[test]
fn without_tls_one_follows_the_other_over_one_connection() {
    let server = Server::start(&["-v", "--log-format", "json"]);
    let small: Vec<String> = (0..50).map(|n| format!("{n}")).collect();
    let sizes: Vec<_> = small.iter().map(|name| (name.as_str(), 4096)).collect();
    let (_scratch, path) = tree("many", &sizes);
    client(&["send", &path, &server.url("http", "")]).succeeds();
    assert_eq!(assert_same_tree(Path::new(&path), &server.dir().join("many")), 50);
    wait_until("the connection's end", || {
        (!connections(&server, "http1").is_empty()).then_some(())
    });
    let ended = connections(&server, "http1");
    assert_eq!((ended.len(), &ended[0]["files"]), (1, &50.into()), "{ended:?}");
}

/// A stream beyond the limit would be refused.
#[test]
fn no_more_concurrent_uploads_than_the_server_permits() {
    let server = Server::start(&["--max-streams", "2"]);
    let small: Vec<String> = (0..60).map(|n| format!("{n}")).collect();
    let sizes: Vec<_> = small.iter().map(|name| (name.as_str(), 70_000)).collect();
    let (_scratch, path) = tree("many", &sizes);
    let sent = client(&["send", &path, &server.url("https", "")]).succeeds();
    assert!(!sent.stderr.contains("retrying"), "{sent:?}");
    assert_eq!(assert_same_tree(Path::new(&path), &server.dir().join("many")), 60);
}

#[test]
fn directories_come_back_as_they_were_sent() {
    for (scheme, _) in SCHEMES {
        let server = Server::start(&[]);
        let (scratch, path) = tree(
            "d",
            &[("a/b/c 1", 5), ("a/files/x", 6), ("pipe/key", 7), ("rooms/r", 8), ("z%", 9)],
        );
        std::fs::create_dir(Path::new(&path).join("hollow")).unwrap();
        // Sent as what is in it: `pipe/key` is then a path that our server has other uses for.
        send_inside(&path, &[], &server.url(scheme, "")).succeeds();
        assert_eq!(assert_same_tree(Path::new(&path), server.dir()), 5, "{scheme}");
        assert!(server.dir().join("hollow").is_dir());
        client(&["send", &path, &server.url(scheme, "files/deep/er/")]).succeeds();
        assert_same_tree(Path::new(&path), &server.dir().join("deep/er/d"));

        let back = scratch.path().join("back");
        let into = format!("{}/", back.to_str().unwrap());
        client(&["get", &server.url(scheme, "deep/"), "-o", &into]).succeeds();
        assert_same_tree(Path::new(&path), &back.join("deep/er/d"));
        let again =
            client(&["get", "--json", &server.url(scheme, "deep/"), "-o", &into]).succeeds();
        assert!(again.json().iter().all(|got| got["already_here"] == true), "{again:?}");

        make_old(server.dir());
        let listed = client(&["ls", "-R", "--json", &server.url(scheme, "deep/er")]).succeeds();
        // Over HTTP each directory is a request of its own, so its files come before its
        // subdirectories.
        let mut names: Vec<_> =
            listed.json().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names[..2], ["deep/er/d", "deep/er/d/z%"], "{scheme}");
        names.sort();
        let expected = [
            "deep/er/d",
            "deep/er/d/a",
            "deep/er/d/a/b",
            "deep/er/d/a/b/c 1",
            "deep/er/d/a/files",
            "deep/er/d/a/files/x",
            "deep/er/d/hollow",
            "deep/er/d/pipe",
            "deep/er/d/pipe/key",
            "deep/er/d/rooms",
            "deep/er/d/rooms/r",
            "deep/er/d/z%",
        ];
        assert_eq!(names, expected, "{scheme}");
        // The same over the way that lists by itself.
        let listed_raw = client(&["ls", "-R", "--json", &server.url("tcp", "deep/er")]).succeeds();
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&listed.stdout), sorted(&listed_raw.stdout));
        let one = client(&["ls", &server.url(scheme, "deep/er/d/z%25")]).succeeds();
        assert!(
            one.stdout.ends_with("deep/er/d/z%25\n") && one.stdout.lines().count() == 1,
            "{one:?}"
        );
        client(&["get", &server.url(scheme, "deep")]).exits(1).says("end the URL with /");
        client(&["ls", &server.url(scheme, "nowhere/")]).exits(4).says("nowhere");
    }
}

#[test]
fn a_source_without_a_size_is_sent_to_its_end() {
    for (scheme, protocol) in SCHEMES {
        let server = Server::start(&[]);
        let content = noise(LARGE, 3);
        for path in ["", "named.bin"] {
            let command = anyport_command(&["send", "-k", "-", &server.url(scheme, path)]);
            Running::start(command, Some(content.clone())).outcome().succeeds();
            let receipt = server.next_receipt();
            let (engine, end) = ("own", "close");
            Expected { protocol, engine, end, content: &content }.check(&server, &receipt);
            assert!(path.is_empty() || receipt["path"] == path, "{receipt}");
        }
    }
}

#[test]
fn a_digest_that_the_server_can_check_is_named_beforehand() {
    for (scheme, _) in SCHEMES {
        let server = Server::start(&[]);
        let sample = Sample::new("x", &noise(200_000, 4));
        let url = server.url(scheme, "");
        let sent = client(&["send", "--digest", "sha256", sample.path(), &url]).succeeds();
        assert!(sent.stdout.contains("sha256:") && sent.stdout.contains("verified"), "{sent:?}");
        assert!(server.next_receipt()["digest"].as_str().unwrap().starts_with("sha256:"));
    }
}

#[test]
fn a_file_that_is_refused_does_not_stop_the_others() {
    for (scheme, _) in SCHEMES {
        let server = Server::start(&["--max-size", "2MiB"]);
        std::fs::write(server.dir().join("b"), "somebody else's").unwrap();
        let (_scratch, path) = tree("d", &[("a", 5), ("b", 2_000_000), ("c", LARGE), ("e", 7)]);
        let sent = send_inside(&path, &["--json"], &server.url(scheme, "")).exits(4);
        let mut failed = sent.failed_files();
        failed.sort();
        assert_eq!(failed, ["./b", "./c"], "{sent:?}");
        let sent = sent.says("2 of 4 files were not sent").says("exists with 15 bytes");
        sent.says("exceeds the server's limit of 2097152 bytes (--max-size)");
        assert_eq!(server.published(), ["a", "b", "e"]);
        assert_eq!(std::fs::read(server.dir().join("b")).unwrap(), b"somebody else's");
    }
}

#[test]
fn refusals_have_the_servers_words() {
    for (scheme, _) in SCHEMES {
        let large = Sample::new("large", &noise(LARGE, 5));
        let server = Server::start(&["--max-size", "1MiB"]);
        let url = server.url(scheme, "");
        client(&["send", large.path(), &url]).exits(4).says("(--max-size)");
        client(&["get", &server.url(scheme, "nothing")])
            .exits(4)
            .says("no such file or directory: nothing");
        let sample = Sample::new("x", b"one");
        client(&["send", sample.path(), &url]).succeeds();
        // What has neither a time nor a size to be known by is refused for its name alone.
        let strict = ["send", "--on-exists", "error", "--no-times", sample.path(), &url];
        client(&strict).exits(4).says("precondition failed");

        let server = Server::start(&["--quota", "1MiB"]);
        let url = server.url(scheme, "");
        client(&["send", large.path(), &url]).exits(4).says("(--quota)").says("remove some files");
    }
}

#[test]
fn only_clients_with_a_token_are_admitted() {
    use std::os::unix::fs::PermissionsExt;
    let token = Sample::new("token", b"alices-token-0123456789\n");
    std::fs::set_permissions(token.path(), PermissionsExt::from_mode(0o600)).unwrap();
    let server = Server::start(&["--token-file", token.path()]);
    let sample = Sample::new("x", &noise(LARGE, 6));
    for (scheme, _) in SCHEMES {
        let url = server.url(scheme, "");
        client(&["send", sample.path(), &url]).exits(4).says("token");
        client(&["ls", &url]).exits(4).says("token");
        let name = format!("{scheme}.bin");
        let (to, scratch) = (server.url(scheme, &name), tempfile::tempdir().unwrap());
        client(&["send", "--token-file", token.path(), sample.path(), &to]).succeeds();
        let back = scratch.path().join("back");
        let get = ["get", "--token-file", token.path(), &to, "-o", back.to_str().unwrap()];
        client(&get).succeeds();
        assert_same_bytes(&std::fs::read(back).unwrap(), &noise(LARGE, 6));
    }
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn options_unsupported_over_http_are_errors_before_sending() {
    let server = Server::start(&[]);
    let sample = Sample::new("x", b"content");
    let url = server.url("http", "");
    for (flags, words) in [
        (&["--perms"][..], "--perms is not supported over http"),
        (&["--on-exists", "rename"], "--on-exists rename is not supported over http"),
        (&["--on-exists", "overwrite"], "--on-exists overwrite is not supported over http"),
        (&["--plain"], "--plain is supported over tcp:// only"),
        (&["--deflate"], "--deflate is supported over ws:// and wss:// only"),
        (&["--engine", "library"], "--engine library supports ws:// and wss:// only"),
        (&["--pipe", "key"], "pipes are not supported over http"),
    ] {
        let reported = client(&[&["send"], flags, &[sample.path(), &url]].concat()).exits(2);
        assert!(reported.says(words).stderr.contains("hint: "));
    }
    anyport(&["chat", &server.url("http", "rooms/r")])
        .exits(2)
        .says("rooms are not supported over http");
    anyport(&["cat", &url]).exits(2).says("file transfers only").says("tcp:// or ws://");
    client(&["get", "--pipe", "key", &url]).exits(2).says("pipes are not supported over http");
    assert!(server.published().is_empty());
}

#[test]
fn an_untrusted_server_is_neither_given_nor_asked_anything() {
    let server = Server::start(&[]);
    let sample = Sample::new("x", b"content");
    let pin = format!("sha256:{}", "00".repeat(32));
    let url = server.url("https", "");
    anyport(&["send", "--pin", &pin, sample.path(), &url]).exits(7);
    anyport(&["get", "--pin", &pin, &server.url("https", "x")]).exits(7);
    anyport(&["ls", "--pin", &pin, &url]).exits(7);
    assert!(server.published().is_empty());
}

#[test]
fn redirects_are_not_followed() {
    let server = Server::start(&["--tls", "required"]);
    let sample = Sample::new("x", &noise(LARGE, 7));
    let place = server.url("https", "");
    client(&["send", sample.path(), &server.url("http", "")]).exits(4).says(&place);
    client(&["get", &server.url("http", "x")])
        .exits(4)
        .says(&place)
        .says("redirects are not followed");
    assert!(server.published().is_empty());
}

/// A server whose transfers take some seconds.
fn slow_server(directory: &Path, address: &str) -> Server {
    Server::start_in(directory, &[address], &["--limit-rate", "8MiB", "--fsync", "none"])
}

#[test]
fn a_download_resumes_after_its_server_restarts() {
    for (scheme, _) in SCHEMES {
        let scratch = tempfile::tempdir().unwrap();
        let (served, here) = (scratch.path().join("served"), scratch.path().join("here"));
        std::fs::create_dir(&served).unwrap();
        std::fs::create_dir(&here).unwrap();
        let content = noise(12 * 1024 * 1024, 8);
        std::fs::write(served.join("large.bin"), &content).unwrap();
        let mut server = slow_server(&served, "127.0.0.1:0");
        let address = server.addresses()[0].to_string();
        let into = format!("{}/", here.to_str().unwrap());
        let url = server.url(scheme, "large.bin");
        let command = anyport_command(&["get", "-k", "--json", &url, "-o", &into]);
        let getting = Running::start(command, None);
        let length = || {
            let parts = std::fs::read_dir(&here).unwrap().flatten();
            parts.filter_map(|part| Some(part.metadata().ok()?.len())).max().unwrap_or(0)
        };
        for _ in 0..2 {
            let before = length();
            wait_until("progress", || (length() > before + 500_000).then_some(()));
            server.kill();
            server = slow_server(&served, &address);
        }
        let got = getting.outcome().succeeds();
        assert!(got.json()[0]["offset"].as_u64().unwrap() > 500_000, "{scheme}: {got:?}");
        assert!(got.stderr.contains("retrying in"), "{got:?}");
        assert_same_bytes(&std::fs::read(here.join("large.bin")).unwrap(), &content);
        assert_eq!(std::fs::read_dir(&here).unwrap().count(), 1, "no part is left");
    }
}

#[test]
fn standard_output_gets_every_byte_once_though_the_server_dies() {
    let scratch = tempfile::tempdir().unwrap();
    let content = noise(8 * 1024 * 1024, 9);
    std::fs::write(scratch.path().join("large.bin"), &content).unwrap();
    let mut server = slow_server(scratch.path(), "127.0.0.1:0");
    let address = server.addresses()[0].to_string();
    let url = server.url("https", "large.bin");
    let mut child = anyport_command(&["get", "-k", &url, "-o", "-"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut came = vec![0; 2_000_000];
    std::io::Read::read_exact(&mut stdout, &mut came).unwrap();
    server.kill();
    let _server = slow_server(scratch.path(), &address);
    std::io::Read::read_to_end(&mut stdout, &mut came).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_same_bytes(&came, &content);
}

#[test]
fn an_upload_outlives_its_server_and_resumes() {
    for (scheme, _) in SCHEMES {
        let scratch = tempfile::tempdir().unwrap();
        let mut server = slow_server(scratch.path(), "127.0.0.1:0");
        let address = server.addresses()[0].to_string();
        let content = noise(8 * 1024 * 1024, 10);
        let sample = Sample::new("large.bin", &content);
        let url = server.url(scheme, "");
        let command = anyport_command(&["send", "-k", "--json", sample.path(), &url]);
        let sending = Running::start(command, None);
        let part = server.growing_part();
        wait_until("progress", || (part.metadata().ok()?.len() > 1_000_000).then_some(()));
        server.kill();
        server = slow_server(scratch.path(), &address);
        let sent = sending.outcome().succeeds();
        assert!(sent.stderr.contains("retrying in"), "{sent:?}");
        assert!(sent.json()[0]["resumed"].as_u64().unwrap() > 0, "{sent:?}");
        assert_same_bytes(&std::fs::read(scratch.path().join("large.bin")).unwrap(), &content);
        assert_eq!(server.published(), ["large.bin"]);
    }
}

#[test]
fn an_unreachable_server_is_an_error_with_a_hint() {
    let mut server = Server::start(&["--limit-rate", "1MiB", "--fsync", "none"]);
    let sample = Sample::new("large.bin", &noise(4 * 1024 * 1024, 11));
    let url = server.url("https", "");
    let arguments = ["send", "-k", "--retry", "1", sample.path(), &url];
    let sending = Running::start(anyport_command(&arguments), None);
    server.growing_part();
    server.kill();
    let reported = sending.outcome().exits(6).says(" lost after ");
    reported.says("hint: run the same command again to resume");
}

#[test]
fn a_rate_is_kept_to_both_ways() {
    let server = Server::start(&[]);
    let (_scratch, path) = tree("d", &[("a", 150_000), ("b", 150_000)]);
    for (scheme, _) in SCHEMES {
        let began = std::time::Instant::now();
        let to = server.url(scheme, &format!("{scheme}/"));
        client(&["send", "--limit-rate", "300000", &path, &to]).succeeds();
        assert!(began.elapsed() > Duration::from_millis(800), "{:?}", began.elapsed());
        let (began, scratch) = (std::time::Instant::now(), tempfile::tempdir().unwrap());
        let into = format!("{}/", scratch.path().to_str().unwrap());
        client(&["get", "--limit-rate", "300000", &to, "-o", &into]).succeeds();
        assert!(began.elapsed() > Duration::from_millis(600), "{:?}", began.elapsed());
    }
}

/// Most resident memory of a process until its end, in bytes.
fn peak_memory(process: &Running) -> u64 {
    let status = format!("/proc/{}/status", process.id());
    let mut peak = 0;
    wait_until("a client's end", || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:")) else {
            return Some(());
        };
        peak = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        None
    });
    peak * 1024
}

#[test]
fn a_client_holds_pieces_and_no_files() {
    const EACH: u64 = 32 * 1024 * 1024;
    let server = Server::start(&["--fsync", "none"]);
    let scratch = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..8).map(|n| n.to_string()).collect();
    for name in &names {
        let file = std::fs::File::create(scratch.path().join(name)).unwrap();
        file.set_len(EACH).unwrap();
    }
    for (scheme, _) in SCHEMES {
        let url = server.url(scheme, &format!("{scheme}/"));
        let mut command = anyport_command(&["send", "-k", ".", &url]);
        command.current_dir(&scratch);
        let sending = Running::start(command, None);
        let peak = peak_memory(&sending);
        sending.outcome().succeeds();
        assert!(peak < 96 * 1024 * 1024, "{scheme}: {peak} bytes to send 256 MiB");

        let back = tempfile::tempdir().unwrap();
        let into = format!("{}/", back.path().to_str().unwrap());
        let command = anyport_command(&["get", "-k", &url, "-o", &into]);
        let getting = Running::start(command, None);
        let peak = peak_memory(&getting);
        getting.outcome().succeeds();
        assert!(peak < 96 * 1024 * 1024, "{scheme}: {peak} bytes to receive 256 MiB");
        assert_eq!(back.path().join(scheme).join("7").metadata().unwrap().len(), EACH);
    }
}
