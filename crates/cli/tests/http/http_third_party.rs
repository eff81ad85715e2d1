//! `http://` and third-party servers: nginx and Python, and hand-written servers that interrupt,
//! lie, or never end.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use anyport_testkit::noise;
use tempfile::TempDir;

use anyport_testkit::harness::http::{respond, scripted_server};
use anyport_testkit::harness::wire::wait_until_read;
use anyport_testkit::harness::{
    Outcome, Running, Sample, anyport, anyport_command, assert_same_bytes, peer, wait_until,
};

const LARGE: usize = 3 * 1024 * 1024 + 7;

/// A third-party program that serves a directory, ended when dropped.
struct ThirdParty {
    child: Child,
    address: SocketAddr,
    scratch: TempDir,
}

impl ThirdParty {
    /// Starts it on a port that was free a moment ago: neither can say which one it got.
    fn start(command: impl FnOnce(&Path, SocketAddr) -> Command) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("served")).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = command(scratch.path(), address);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("a server of others", || TcpStream::connect(address).ok());
        Self { child, address, scratch }
    }

    fn python() -> Option<Self> {
        peer("python3")?;
        Some(Self::start(|scratch, address| {
            let mut python = Command::new("python3");
            python.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]);
            python.arg(scratch.join("served")).arg(address.port().to_string());
            python
        }))
    }

    /// With what stands behind the address of `listen`, such as `ssl http2`.
    fn nginx(listen: &str) -> Option<Self> {
        Self::nginx_with(|address, path| {
            format!(
                "server {{ listen {address} {listen}; root {path}/served;
                     location / {{ dav_methods PUT; create_full_put_path on; }} }}"
            )
        })
    }

    /// With the block `server` of this address and directory.
    fn nginx_with(server: impl FnOnce(SocketAddr, &str) -> String) -> Option<Self> {
        peer("nginx")?;
        Some(Self::start(|scratch, address| {
            let path = scratch.to_str().unwrap();
            // Its workers would not be let into our directory, if it is started by root.
            let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
            let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let places = places.map(|place| format!("{place}_temp_path {path}/{place};")).concat();
            let identity =
                rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            std::fs::write(scratch.join("cert"), identity.cert.pem()).unwrap();
            std::fs::write(scratch.join("key"), identity.signing_key.serialize_pem()).unwrap();
            let server = server(address, path);
            let config = format!(
                "daemon off; master_process off; {user} pid {path}/pid; error_log {path}/error.log;
                 events {{}}
                 http {{ log_format reported '$connection $server_protocol $request';
                   access_log {path}/access.log reported; {places} client_max_body_size 4m;
                   ssl_certificate {path}/cert; ssl_certificate_key {path}/key;
                   {server} }}"
            );
            let file = scratch.join("nginx.conf");
            std::fs::write(&file, config).unwrap();
            let mut nginx = Command::new("nginx");
            nginx.arg("-c").arg(file).args(["-e", &format!("{path}/error.log")]);
            nginx
        }))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn served(&self, name: &str) -> PathBuf {
        self.scratch.path().join("served").join(name)
    }

    fn here(&self, name: &str) -> String {
        self.scratch.path().join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for ThirdParty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// HTTP/1.0: each request has a connection of its own, and there are no parts.
#[test]
fn a_file_of_python_is_received_and_its_listing_is_none() {
    let Some(python) = ThirdParty::python() else { return };
    let content = noise(LARGE, 1);
    std::fs::create_dir(python.served("d")).unwrap();
    std::fs::write(python.served("50% a.bin"), &content).unwrap();
    std::fs::write(python.served("empty"), b"").unwrap();
    let here = format!("{}/", python.here("here"));
    for _ in 0..2 {
        let urls = [python.url("50%25%20a.bin"), python.url("empty")];
        anyport(&["get", &urls[0], &urls[1], "-o", &here]).succeeds();
    }
    assert_same_bytes(&std::fs::read(format!("{here}/50% a.bin")).unwrap(), &content);
    assert_eq!(std::fs::read(format!("{here}/empty")).unwrap(), b"");
    anyport(&["get", &python.url("d"), "-o", &here]).exits(1).says("end the URL with /");
    let listing = anyport(&["get", &python.url("d/"), "-o", &here]).exits(4);
    listing.says("cannot list /d/ on ").says("text/html").says("URL of one file");
    anyport(&["ls", &python.url("")]).exits(4).says("cannot list / on ");
    anyport(&["get", &python.url("none"), "-o", &here]).exits(4).says("404 ");
    let sample = Sample::new("x", b"content");
    anyport(&["send", sample.path(), &python.url("")]).exits(4).says("501 ").says("check the URL");
}

#[test]
fn nginx_accepts_and_serves_files_unchanged() {
    let Some(nginx) = ThirdParty::nginx("") else { return };
    let content = noise(LARGE, 2);
    let sample = Sample::new("50% a.bin", &content);
    let help = Sample::new("help", b"");
    let url = nginx.url("dav/in/");
    let reported = anyport(&["send", sample.path(), help.path(), &url]).succeeds();
    reported.says("bytes to ").says("it sends no receipt");
    assert_same_bytes(&std::fs::read(nginx.served("dav/in/50% a.bin")).unwrap(), &content);
    assert_eq!(std::fs::read(nginx.served("dav/in/help")).unwrap(), b"");
    // One connection for both.
    let command = anyport_command(&["send", "-", &nginx.url("stdin.bin")]);
    Running::start(command, Some(content.clone())).outcome().succeeds();
    assert_same_bytes(&std::fs::read(nginx.served("stdin.bin")).unwrap(), &content);

    let too_large = Sample::sparse("large", 9_000_000);
    let reported = anyport(&["send", too_large.path(), help.path(), &nginx.url("more/")]).exits(4);
    reported.says("413 ").says("1 of 2 files were not sent");
    assert!(nginx.served("more/help").exists());

    let back = nginx.here("back");
    let url = nginx.url("dav/in/50%25 a.bin");
    anyport(&["get", &url, "-o", &back]).succeeds();
    assert_same_bytes(&std::fs::read(back).unwrap(), &content);
}

#[test]
fn nginx_selects_the_protocol_by_alpn() {
    for (listen, version) in [("ssl http2", "HTTP/2.0"), ("ssl", "HTTP/1.1")] {
        let Some(nginx) = ThirdParty::nginx(listen) else { return };
        let contents: Vec<_> = (0..20).map(|n| noise(10_000 * n, n as u64)).collect();
        let samples: Vec<_> = contents
            .iter()
            .enumerate()
            .map(|(number, content)| Sample::new(&number.to_string(), content))
            .collect();
        let files: Vec<_> = samples.iter().map(Sample::path).collect();
        let url = nginx.url("in/").replace("http:", "https:");
        anyport(&[&["send", "-k"], &files[..], &[&url]].concat()).succeeds();
        let log = std::fs::read_to_string(nginx.scratch.path().join("access.log")).unwrap();
        let asked: Vec<_> = log.lines().map(|line| line.split_once(" PUT ").unwrap().0).collect();
        assert_eq!(asked.len(), 20, "{log}");
        // All over the connection that the first one was sent over.
        assert!(asked.iter().all(|each| *each == asked[0] && each.ends_with(version)), "{log}");
        for (number, content) in contents.iter().enumerate() {
            let back = nginx.here(&format!("back-{number}"));
            let url = format!("{url}{number}");
            anyport(&["get", "-k", &url, "-o", &back]).succeeds();
            assert_same_bytes(&std::fs::read(back).unwrap(), content);
        }
    }
}

/// The value of a field that a client sent.
fn field(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned()).next()
}

/// Runs `anyport get` into a directory of its own; what is there then.
fn get(address: SocketAddr, path: &str, flags: &[&str]) -> (Outcome, Vec<(String, Vec<u8>)>) {
    let scratch = tempfile::tempdir().unwrap();
    let (url, into) = (format!("http://{address}/{path}"), scratch.path().to_str().unwrap());
    let outcome = anyport(&[&["get", &url, "-o", into], flags].concat());
    let mut files: Vec<_> = std::fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    (outcome, files)
}

#[test]
fn an_interrupted_download_resumes_with_the_same_version() {
    let content = Arc::new(noise(300_000, 3));
    let served = content.clone();
    let (address, asked) = scripted_server(move |head, stream| {
        let tag = "ETag: \"one\"\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
        if let Some(range) = field(head, "range") {
            assert_eq!(field(head, "if-range").as_deref(), Some("\"one\""));
            let from: usize =
                range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
            let last = served.len() - 1;
            let range = format!("Content-Range: bytes {from}-{last}/{}", served.len());
            let length = served.len() - from;
            let head =
                format!("HTTP/1.1 206 Partial Content\n{tag}\n{range}\nContent-Length: {length}");
            return respond(stream, &head, &served[from..]);
        }
        let head = format!("HTTP/1.1 200 OK\n{tag}\nContent-Length: {}", served.len());
        respond(stream, &head, &served[..100_000]);
        false
    });
    let (outcome, files) = get(address, "x.bin", &["--json"]);
    let outcome = outcome.succeeds();
    assert_eq!(outcome.json()[0]["offset"], 100_000, "{outcome:?}");
    assert!(outcome.stderr.contains("lost after 100000 bytes"), "{outcome:?}");
    assert_eq!(files, [("x.bin".to_owned(), content.to_vec())]);
    let ranges =
        asked.lock().unwrap().iter().filter(|(_, head)| head.contains("bytes=100000-")).count();
    assert_eq!(ranges, 1);
}

#[test]
fn a_version_that_changed_is_never_pasted_to_another() {
    let rounds = Arc::new(Mutex::new(0));
    let (address, _) = scripted_server(move |_, stream| {
        let mut round = rounds.lock().unwrap();
        *round += 1;
        let (tag, letter) = if *round == 1 { ("one", b'a') } else { ("two", b'b') };
        let content = [letter; 1000];
        let sent = if *round == 1 { 600 } else { 1000 };
        // It knows ranges, and gives all where the tag is another one (RFC 9110 §13.1.5).
        respond(
            stream,
            &format!("HTTP/1.1 200 OK\nETag: \"{tag}\"\nContent-Length: 1000"),
            &content[..sent],
        );
        false
    });
    let (outcome, files) = get(address, "x", &[]);
    outcome.succeeds();
    assert_eq!(files, [("x".to_owned(), vec![b'b'; 1000])]);
}

#[test]
fn without_ranges_the_whole_file_is_sent_again() {
    let content = Arc::new(noise(50_000, 4));
    let served = content.clone();
    let rounds = Arc::new(Mutex::new(0));
    let (address, _) = scripted_server(move |_, stream| {
        let mut round = rounds.lock().unwrap();
        *round += 1;
        let sent = if *round == 1 { 20_000 } else { served.len() };
        let fields = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\nContent-Length: 50000";
        respond(stream, &format!("HTTP/1.0 200 OK\n{fields}"), &served[..sent]);
        false
    });
    let (outcome, files) = get(address, "x", &["--json"]);
    assert_eq!(outcome.succeeds().json()[0]["offset"], 0);
    assert_eq!(files, [("x".to_owned(), content.to_vec())]);
}

#[test]
fn a_truncated_download_is_kept_and_not_shown() {
    let (address, _) = scripted_server(|_, stream| {
        respond(stream, "HTTP/1.1 200 OK\nETag: \"one\"\nContent-Length: 100", &[7; 40]);
        false
    });
    let (outcome, files) = get(address, "x", &["--retry", "0"]);
    outcome.exits(6).says("lost after 40 bytes").says("the partial file is kept");
    assert!(
        files.len() == 1 && files[0].0.starts_with(".anyport-") && files[0].1 == [7; 40],
        "{files:?}"
    );
}

#[test]
fn content_of_an_unknown_length_is_received_to_its_end() {
    let (address, _) = scripted_server(|head, stream| {
        if head.starts_with("GET /cut ") {
            respond(stream, "HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"5\r\nhello\r\n");
            return false;
        }
        if head.starts_with("GET /untold ") {
            respond(stream, "HTTP/1.0 200 OK", b"hello");
            return false;
        }
        respond(
            stream,
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked",
            b"5\r\nhello\r\n3\r\n, w\r\n0\r\n\r\n",
        )
    });
    let (outcome, files) = get(address, "whole", &[]);
    outcome.succeeds();
    assert_eq!(files, [("whole".to_owned(), b"hello, w".to_vec())]);
    // If the end of the connection ends the file, its completeness is unknown.
    let (outcome, files) = get(address, "untold", &[]);
    assert!(outcome.succeeds().stdout.contains("size not announced"));
    assert_eq!(files, [("untold".to_owned(), b"hello".to_vec())]);
    let out = anyport(&["get", &format!("http://{address}/whole"), "-o", "-"]).succeeds();
    assert_eq!(out.stdout, "hello, w");
    let (outcome, files) = get(address, "cut", &["--retry", "0"]);
    outcome.exits(6).says("lost after 5 bytes");
    assert!(files.iter().all(|(name, _)| name.starts_with(".anyport-")), "{files:?}");
}

/// As Apache declares a stored .tgz (`AddEncoding x-gzip`), and curl saves it.
#[test]
fn a_file_with_a_content_coding_is_saved_as_it_is_sent() {
    const STORED: &[u8] = b"\x1f\x8bstored like this";
    for coding in ["x-gzip", "gzip", "br", "Identity", ""] {
        let (address, asked) = scripted_server(move |_, stream| {
            let length = STORED.len();
            let head =
                format!("HTTP/1.1 200 OK\nContent-Encoding: {coding}\nContent-Length: {length}");
            respond(stream, &head, STORED)
        });
        let here = tempfile::tempdir().unwrap();
        let to = here.path().join("file.tgz");
        let url = format!("http://{address}/file.tgz");
        anyport(&["get", &url, "-o", to.to_str().unwrap()]).succeeds();
        assert_same_bytes(&std::fs::read(&to).unwrap(), STORED);
        // So a resumed download continues the same bytes.
        let head = &asked.lock().unwrap()[0].1;
        assert_eq!(field(head, "accept-encoding").as_deref(), Some("identity"), "{head}");
    }
}

#[test]
fn a_listing_leads_nowhere_else() {
    let entry = |name: &str, kind: &str| {
        format!(r#"{{"name":"{name}","kind":"{kind}","size":1,"mtime":0,"mode":"644"}}"#)
    };
    for (path, name) in [
        ("", "../x"),
        ("", "/etc/passwd"),
        ("", "a/../../x"),
        ("", "d/x"),
        ("d/", "e/x"),
        ("d/", "d"),
        ("d/", "d/e/x"),
        ("", ".anyport-1.part"),
    ] {
        let listing = format!(r#"{{"entries":[{}]}}"#, entry(name, "file"));
        let (address, asked) = scripted_server(move |_, stream| {
            let length = listing.len();
            let head = format!(
                "HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: {length}"
            );
            respond(stream, &head, listing.as_bytes())
        });
        let (outcome, files) = get(address, path, &["--retry", "0"]);
        assert_ne!(outcome.code, Some(0), "{name}: {outcome:?}");
        assert_eq!((files.len(), asked.lock().unwrap().len()), (0, 1), "{name}");
        let listed = anyport(&["ls", "-R", &format!("http://{address}/{path}")]);
        assert!(listed.code != Some(0) && listed.stdout.is_empty(), "{name}: {listed:?}");
    }
}

#[test]
fn a_response_without_an_end_is_not_read_completely() {
    let (address, _) = scripted_server(|head, stream| {
        let kind = if head.starts_with("GET /fields") {
            let mut head = "HTTP/1.1 200 OK\r\n".to_owned();
            while stream.write_all(head.as_bytes()).is_ok() {
                head = format!("X-Field: {}\r\n", "x".repeat(1000));
            }
            return false;
        } else if head.starts_with("PUT") {
            "201 Created\nContent-Type: text/plain"
        } else {
            "200 OK\nContent-Type: application/json"
        };
        respond(stream, &format!("HTTP/1.1 {kind}"), b"{\"entries\":[");
        // Ends when the client has had enough.
        while stream.write_all(&[b' '; 65_536]).is_ok() {}
        false
    });
    let sample = Sample::new("x", b"content");
    let reported = anyport(&["send", sample.path(), &format!("http://{address}/")]).succeeds();
    reported.says("no receipt");
    let listed = anyport(&["ls", &format!("http://{address}/")]).exits(4);
    listed.says("an entry of it is longer than 65536 bytes").says("tcp:// or ws://");
    let (outcome, files) = get(address, "fields", &["--retry", "0"]);
    assert_ne!(outcome.code, Some(0), "{outcome:?}");
    assert!(files.is_empty());
}

#[test]
fn a_silent_server_is_given_up_after_the_timeout() {
    let (address, _) = scripted_server(|_, stream| {
        std::thread::sleep(anyport_testkit::harness::DEADLINE);
        drop(stream.read(&mut [0]));
        false
    });
    let url = format!("http://{address}/x");
    let sample = Sample::sparse("x", 64 * 1024 * 1024);
    let wait_limit = ["--timeout", "300ms", "--retry", "0"];
    let reported = anyport(&[&["send"], &wait_limit[..], &[sample.path(), &url]].concat()).exits(6);
    reported.says("neither accepted data nor replied for too long (--timeout)");
    let reported = anyport(&[&["get", &url, "-o", "-"], &wait_limit[..]].concat()).exits(6);
    reported.says("no data from the server for too long (--timeout)");
}

#[test]
fn a_server_without_http_is_an_error_without_retry() {
    let (address, _) = scripted_server(|_, stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        // Closing with unread bytes resets the connection, and the client might read nothing.
        wait_until_read(stream);
        false
    });
    let sample = Sample::new("x", b"content");
    let url = format!("http://{address}/x");
    let reported = anyport(&["send", sample.path(), &url]).exits(4).says("does not speak HTTP");
    assert!(!reported.stderr.contains("retrying"), "{reported:?}");
    anyport(&["get", &url, "-o", "-"]).exits(4).says("does not speak HTTP");
}

#[test]
fn a_redirect_target_is_named_and_not_requested() {
    let (other, asked_there) =
        scripted_server(|_, stream| respond(stream, "HTTP/1.1 200 OK\nContent-Length: 0", b""));
    let (address, _) = scripted_server(move |_, stream| {
        let place = format!("Location: http://{other}/secret/");
        respond(stream, &format!("HTTP/1.1 302 Found\n{place}\nContent-Length: 0"), b"");
        false
    });
    let sample = Sample::new("x", b"content");
    let url = format!("http://{address}/secret");
    for outcome in [
        anyport(&["send", sample.path(), &url]),
        anyport(&["get", &url, "-o", "-"]),
        anyport(&["ls", &url]),
        anyport(&["ls", &format!("{url}/")]),
    ] {
        outcome.exits(4).says("302 Found with the location").says(&other.to_string());
    }
    assert!(asked_there.lock().unwrap().is_empty());
}

/// The server has said no, and takes nothing more: what it said is worth more than a broken
/// connection.
#[test]
fn an_early_response_is_read_while_content_is_sent() {
    let (address, _) = scripted_server(|_, stream| {
        let mut some = vec![0; 300_000];
        let _ = stream.read_exact(&mut some);
        let text = "text/plain\nConnection: close\nContent-Length: 12";
        respond(
            stream,
            &format!("HTTP/1.1 507 Insufficient Storage\nContent-Type: {text}"),
            b"disk is full",
        );
        let _ = stream.shutdown(Shutdown::Write);
        // Until the client has gone; else its bytes would be answered with a reset.
        while stream.read(&mut some).is_ok_and(|count| count > 0) {}
        false
    });
    let sample = Sample::sparse("x", 256 * 1024 * 1024);
    let reported = anyport(&["send", sample.path(), &format!("http://{address}/x")]).exits(4);
    reported.says("507 Insufficient Storage: disk is full");
}

#[test]
fn a_long_file_waits_for_permission_and_is_not_sent_without() {
    let (address, asked) = scripted_server(|head, stream| {
        assert_eq!(field(head, "expect").is_some(), field(head, "content-length").unwrap() != "7");
        if head.starts_with("PUT /granted ") {
            respond(stream, "HTTP/1.1 100 Continue", b"");
            let mut content = vec![0; LARGE];
            stream.read_exact(&mut content).unwrap();
            return respond(stream, "HTTP/1.1 201 Created\nContent-Length: 0", b"");
        }
        respond(
            stream,
            "HTTP/1.1 403 Forbidden\nContent-Type: text/plain\nContent-Length: 2",
            b"no",
        );
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() <= 7, "{} bytes came without permission", rest.len());
        false
    });
    let sample = Sample::new("x", &noise(LARGE, 5));
    anyport(&["send", sample.path(), &format!("http://{address}/granted")]).succeeds();
    let refused = anyport(&["send", sample.path(), &format!("http://{address}/refused")]);
    refused.exits(4).says("403 Forbidden: no");
    let small = Sample::new("x", b"content");
    anyport(&["send", small.path(), &format!("http://{address}/refused")]).exits(4);
    assert_eq!(asked.lock().unwrap().len(), 3);
}
