//! `anyport send` to servers that announce resumable uploads, by the IETF's draft or by tus, and to
//! servers that announce none.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyport_testkit::harness::http::{Requests, respond, server_of_all_methods};
use anyport_testkit::harness::{
    Outcome, Sample, Server, anyport, anyport_command, anyport_with_input, assert_same_bytes,
    node_with, start, wait_until,
};
use anyport_testkit::noise;
use serde_json::Value;

const SIZE: usize = 3_000_000;

/// So slow that there is time to kill one side in the middle.
const RATE: &str = "--limit-rate=2MiB";

const IETF: &str = "Upload-Limit: max-age=86400\nAccept-Patch: application/partial-upload";
const TUS: &str = "Tus-Resumable: 1.0.0\nTus-Version: 1.0.0\nTus-Extension: creation";

/// A server of one upload.
struct Uploads {
    announces: &'static str,
    /// The location of the upload.
    location: String,
    /// The offset after which it resets the connection, one for each append.
    resets: Vec<usize>,
    /// Responses, each in place of one; the first word is the method.
    instead: Vec<(&'static str, &'static str)>,
}

/// What such a server has received.
type Received = Arc<Mutex<Vec<u8>>>;

/// The value of a field that the client sent.
fn field(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(field, _)| *field == name).map(|(_, value)| value.trim().to_owned()).next()
}

impl Default for Uploads {
    fn default() -> Self {
        let location = "/uploads/1".to_owned();
        Self { announces: IETF, location, resets: Vec::new(), instead: Vec::new() }
    }
}

impl Uploads {
    fn start(self) -> (SocketAddr, Requests, Received) {
        let received = Received::default();
        let (content, this) = (received.clone(), Mutex::new(self));
        let (address, requests) = server_of_all_methods(move |_, head, stream| {
            this.lock().unwrap().answer(head, stream, &mut content.lock().unwrap())
        });
        (address, requests, received)
    }

    fn answer(&mut self, head: &str, stream: &mut TcpStream, content: &mut Vec<u8>) -> bool {
        let method = head.split(' ').next().unwrap();
        let instead = self.instead.first().filter(|(expected, _)| *expected == method).copied();
        if let Some((_, response)) = instead {
            self.instead.remove(0);
            return match response {
                "" => false,
                response => {
                    respond(stream, &format!("HTTP/1.1 {response}\nContent-Length: 0"), b"")
                }
            };
        }
        let empty = |stream: &mut TcpStream, status: &str, fields: &str| {
            respond(stream, &format!("HTTP/1.1 {status}\n{fields}\nContent-Length: 0"), b"")
        };
        match method {
            "OPTIONS" => {
                respond(stream, &format!("HTTP/1.1 204 No Content\n{}", self.announces), b"")
            }
            "PUT" | "POST" => {
                assert_eq!(field(head, "content-length").unwrap(), "0", "{head}");
                assert_eq!(field(head, "upload-length").unwrap(), SIZE.to_string(), "{head}");
                let place = format!("Location: {}", self.location);
                empty(stream, "201 Created", &place)
            }
            "HEAD" => {
                let complete = if content.len() == SIZE { "?1" } else { "?0" };
                let fields =
                    format!("Upload-Offset: {}\nUpload-Complete: {complete}", content.len());
                empty(stream, "200 OK", &fields)
            }
            "PATCH" => self.append(head, stream, content),
            _ => panic!("{head}"),
        }
    }

    fn append(&mut self, head: &str, stream: &mut TcpStream, content: &mut Vec<u8>) -> bool {
        let number = |name| field(head, name).unwrap().parse::<usize>().unwrap();
        assert_eq!(number("upload-offset"), content.len(), "{head}");
        assert_eq!(number("content-length"), SIZE - content.len(), "{head}");
        if field(head, "expect").is_some() {
            respond(stream, "HTTP/1.1 100 Continue", b"");
        }
        let end = if self.resets.is_empty() { SIZE } else { self.resets.remove(0) };
        let mut piece = vec![0; end - content.len()];
        stream.read_exact(&mut piece).unwrap();
        content.extend(piece);
        if end < SIZE {
            // Closing with unread bytes resets the connection.
            stream.peek(&mut [0]).unwrap();
            return false;
        }
        let offset = format!("Upload-Offset: {SIZE}");
        respond(stream, &format!("HTTP/1.1 204 No Content\n{offset}"), b"")
    }
}

fn sample() -> Sample {
    let sample = Sample::new("x.bin", &noise(SIZE, 1));
    set_time(sample.path());
    sample
}

/// So long ago that no other content has the same time.
fn set_time(path: impl AsRef<Path>) {
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

fn send(address: SocketAddr, sample: &Sample, flags: &[&str]) -> Outcome {
    let url = format!("http://{address}/in/");
    anyport(&[&["send"], flags, &[sample.path(), &url]].concat())
}

/// The requests, each with its method, its path and the offset in it.
fn asked(requests: &Requests) -> Vec<String> {
    let line = |head: &str| {
        let words: Vec<_> = head.split(' ').take(2).collect();
        let offset = field(head, "upload-offset").map(|offset| format!(" {offset}"));
        format!("{}{}", words.join(" "), offset.unwrap_or_default())
    };
    requests.lock().unwrap().iter().map(|(_, head)| line(head)).collect()
}

#[test]
fn an_interrupted_upload_continues_at_the_offset_of_the_server() {
    for (announces, creates) in [(IETF, "PUT /in/x.bin"), (TUS, "POST /in/")] {
        let resets = vec![700_001, 700_001 + 900_000];
        let (address, requests, received) =
            Uploads { announces, resets, ..Uploads::default() }.start();
        let sample = sample();
        let sent = send(address, &sample, &[]).succeeds();
        assert_eq!(sent.stderr.matches("retrying in").count(), 2, "{sent:#?}");
        assert_same_bytes(&received.lock().unwrap(), &noise(SIZE, 1));
        let again = |offset| {
            ["OPTIONS /in/x.bin", "HEAD /uploads/1", &format!("PATCH /uploads/1 {offset}")]
                .map(str::to_owned)
        };
        let first = ["OPTIONS /in/x.bin", creates, "PATCH /uploads/1 0"].map(str::to_owned);
        assert_eq!(asked(&requests), [first, again(700_001), again(1_600_001)].concat());
    }
}

/// A server answers that an upload is complete as often as it is asked.
#[test]
fn a_complete_upload_is_not_sent_again_if_its_response_was_lost() {
    for (announces, completes) in [(IETF, true), (TUS, false)] {
        let instead = vec![("HEAD", "200 OK\nUpload-Offset: 3000000\nUpload-Complete: ?1")];
        let gone = [("PATCH", "404 Not Found")];
        let uploads = Uploads {
            announces,
            instead: [vec![("PATCH", "")], instead, gone.to_vec()].concat(),
            ..Uploads::default()
        };
        let (address, requests, received) = uploads.start();
        send(address, &sample(), &[]).succeeds().says("it sends no receipt");
        assert!(received.lock().unwrap().is_empty());
        let last = asked(&requests).pop().unwrap();
        let expected = if completes { "PATCH /uploads/1 3000000" } else { "HEAD /uploads/1" };
        assert_eq!(last, expected);
    }
}

#[test]
fn an_upload_that_the_server_removed_is_created_again() {
    for status in ["404 Not Found", "410 Gone"] {
        let instead = vec![("HEAD", status)];
        let uploads = Uploads { resets: vec![0], instead, ..Uploads::default() };
        let (address, requests, received) = uploads.start();
        send(address, &sample(), &[]).succeeds();
        assert_same_bytes(&received.lock().unwrap(), &noise(SIZE, 1));
        assert_eq!(asked(&requests).iter().filter(|line| line.starts_with("PUT")).count(), 2);
    }
}

/// Another request for the same upload was faster.
#[test]
fn another_offset_is_asked_for_and_continued() {
    let conflict = ("PATCH", "409 Conflict\nUpload-Offset: 0");
    for (announces, response) in [
        (IETF, conflict),
        (IETF, ("PATCH", "204 No Content\nUpload-Complete: ?0")),
        (TUS, conflict),
        (TUS, ("PATCH", "204 No Content\nUpload-Offset: 0")),
        (TUS, ("PATCH", "404 Not Found")),
    ] {
        let uploads = Uploads { announces, instead: vec![response], ..Uploads::default() };
        let (address, requests, received) = uploads.start();
        let sent = send(address, &sample(), &[]).succeeds();
        assert_same_bytes(&received.lock().unwrap(), &noise(SIZE, 1));
        assert_eq!(sent.stderr.matches("retrying in").count(), 1, "{sent:#?}");
        assert_eq!(asked(&requests).last().unwrap(), "PATCH /uploads/1 0");
    }
}

#[test]
fn a_file_that_changed_since_the_interruption_is_not_continued() {
    let sample = sample();
    let path = sample.path().to_owned();
    let (address, _) = server_of_all_methods(move |_, head, stream| {
        let uploads = &mut Uploads::default();
        if !head.starts_with("PATCH ") {
            return uploads.answer(head, stream, &mut Vec::new());
        }
        std::fs::write(&path, noise(SIZE, 2)).unwrap();
        false
    });
    send(address, &sample, &[]).exits(1).says("changed during the transfer");
}

#[test]
fn a_server_that_announces_no_uploads_gets_one_put() {
    let put = |head: &str, stream: &mut TcpStream| {
        assert!(head.starts_with("PUT "), "{head}");
        assert_eq!(field(head, "upload-complete"), None, "{head}");
        if field(head, "expect").is_some() {
            respond(stream, "HTTP/1.1 100 Continue", b"");
        }
        stream.read_exact(&mut vec![0; SIZE]).unwrap();
        respond(stream, "HTTP/1.1 201 Created\nContent-Length: 0", b"")
    };
    let empty = "Content-Length: 0";
    for response in [
        "HTTP/1.1 204 No Content\nAllow: GET, PUT, PATCH".to_owned(),
        "HTTP/1.1 204 No Content\nAccept-Patch: */*".to_owned(),
        "HTTP/1.1 204 No Content\nUpload-Limit: max-append-size=2999999".to_owned(),
        "HTTP/1.1 204 No Content\nTus-Version: 1.0.0\nTus-Extension: expiration".to_owned(),
        format!("HTTP/1.1 405 Method Not Allowed\n{IETF}\n{empty}"),
        format!("HTTP/1.1 302 Found\nLocation: /other\n{IETF}\n{empty}"),
        format!("HTTP/1.0 501 Not Implemented\n{empty}"),
        format!("HTTP/1.1 204 No Content\n{IETF}\nConnection: close"),
        String::new(),
    ] {
        let is_cut = response.is_empty();
        let (address, requests) = server_of_all_methods(move |_, head, stream| {
            if !head.starts_with("OPTIONS ") {
                return put(head, stream);
            }
            let is_closed = response.starts_with("HTTP/1.0") || response.ends_with("close");
            !response.is_empty() && respond(stream, &response, b"") && !is_closed
        });
        let sent = send(address, &sample(), &[]).succeeds();
        let unanswered = if is_cut { 3 } else { 1 };
        assert_eq!(asked(&requests).len(), 1 + unanswered, "{:?} {sent:#?}", asked(&requests));
        assert_eq!(sent.stderr.contains("retrying"), is_cut, "{sent:#?}");
    }
    // Small content, content that cannot be sent twice, and a user who wants no more.
    let (address, requests) = server_of_all_methods(|_, head, stream| {
        let length = field(head, "content-length").map_or(6, |length| length.parse().unwrap());
        if field(head, "expect").is_some() {
            respond(stream, "HTTP/1.1 100 Continue", b"");
        }
        let mut content = Vec::new();
        stream.take(length).read_to_end(&mut content).unwrap();
        respond(stream, "HTTP/1.1 201 Created\nContent-Length: 0", b"");
        stream.flush().unwrap();
        false
    });
    send(address, &Sample::new("small", &noise(1_000_000, 1)), &[]).succeeds();
    send(address, &sample(), &["--no-resume"]).succeeds();
    let url = format!("http://{address}/in/stdin");
    anyport_with_input(&["send", "-", &url], b"1").succeeds();
    assert_eq!(asked(&requests), ["PUT /in/small", "PUT /in/x.bin", "PUT /in/stdin"]);
}

#[test]
fn a_server_that_breaks_the_protocol_is_refused_and_the_fault_is_named() {
    let (other, asked_there) = server_of_all_methods(|_, _, _| false);
    let elsewhere = format!("http://{other}/uploads/1");
    let (named, beyond) =
        (Uploads::default().location, "Upload-Offset 3000001 is beyond the size, 3000000");
    for (location, instead, words) in [
        (elsewhere.as_str(), vec![], elsewhere.as_str()),
        ("//127.0.0.1:1/x", vec![], "another server's: //127.0.0.1:1/x"),
        ("/in/x.bin", vec![], "201 Created with the Location of the file"),
        (&named, vec![("PUT", "201 Created")], "201 Created without a Location"),
        (&named, vec![("PUT", "201 Created\nLocation: /u\nUpload-Offset: 3000001")], beyond),
        (&named, vec![("PATCH", ""), ("HEAD", "200 OK\nUpload-Offset: 3000001")], beyond),
        (&named, vec![("PATCH", ""), ("HEAD", "200 OK")], "200 OK without an Upload-Offset"),
    ] {
        let location = location.to_owned();
        let (address, _, received) = Uploads { location, instead, ..Uploads::default() }.start();
        let outcome = send(address, &sample(), &[]).exits(4).says(words);
        outcome.says("cannot create or continue an upload on ").says("hint: ").says("--no-resume");
        assert!(received.lock().unwrap().is_empty());
    }
    assert!(asked_there.lock().unwrap().is_empty());
}

/// As with one PUT: the status has a code, and the code an outcome.
#[test]
fn a_refused_creation_has_the_outcome_of_a_refused_put() {
    for (status, exit) in [
        ("401 Unauthorized", 4),
        ("409 Conflict", 4),
        ("412 Precondition Failed", 4),
        ("413 Payload Too Large", 4),
        ("507 Insufficient Storage", 4),
        ("308 Permanent Redirect\nLocation: /other", 4),
    ] {
        let instead = vec![("PUT", status)];
        let (address, requests, received) = Uploads { instead, ..Uploads::default() }.start();
        let outcome = send(address, &sample(), &[]).exits(exit);
        outcome.says(status.split('\n').next().unwrap());
        assert!(received.lock().unwrap().is_empty());
        assert_eq!(asked(&requests), ["OPTIONS /in/x.bin", "PUT /in/x.bin"]);
    }
}

/// `@tus/server`, the reference implementation in JavaScript; ended when dropped.
struct TusServer {
    child: Child,
    address: SocketAddr,
    stored: tempfile::TempDir,
}

impl TusServer {
    fn start() -> Option<Self> {
        let stored = tempfile::tempdir().unwrap();
        let mut node = node_with("@tus/server")?;
        node.arg(
            "import { Server } from '@tus/server';
             import { FileStore } from '@tus/file-store';
             const datastore = new FileStore({ directory: process.argv[1] });
             const server = new Server({ path: '/files', datastore }).listen(
               { host: '127.0.0.1', port: 0 }, () => console.log(server.address().port));",
        );
        node.arg(stored.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = node.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap()));
        Some(Self { child, address, stored })
    }
}

impl Drop for TusServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Forwards connections to `server`; one of `cuts` ends each of the first ones, after that number
/// of the client's bytes. Returns its address, and the bytes that it forwarded over each
/// connection.
fn cutting_relay(server: SocketAddr, cuts: &[u64]) -> (SocketAddr, Arc<Mutex<Vec<u64>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, cuts) = (listener.local_addr().unwrap(), cuts.to_vec());
    let forwarded = Arc::new(Mutex::new(Vec::new()));
    let counts = forwarded.clone();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let (client, upstream) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let back = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &back.0, &mut &back.1);
                let _ = back.1.shutdown(Shutdown::Both);
            });
            let limit = cuts.get(number).copied().unwrap_or(u64::MAX);
            let copied = std::io::copy(&mut (&client).take(limit), &mut &upstream);
            counts.lock().unwrap().push(copied.unwrap_or_default());
            let _ = upstream.shutdown(Shutdown::Write);
            let _ = client.shutdown(Shutdown::Both);
        }
    });
    (address, forwarded)
}

#[test]
fn an_upload_to_the_reference_server_of_tus_resumes() {
    let Some(server) = TusServer::start() else { return };
    let (relay, forwarded) = cutting_relay(server.address, &[1_000_000, 1_100_000]);
    let sample = sample();
    let url = format!("http://{relay}/files/");
    let sent = anyport(&["send", sample.path(), &url]).succeeds();
    assert_eq!(sent.stderr.matches("retrying in").count(), 2, "{sent:#?}");
    let entries = std::fs::read_dir(server.stored.path()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let stored: Vec<_> = paths.filter(|path| path.extension().is_none()).collect();
    assert_eq!(stored.len(), 1, "one upload");
    assert_same_bytes(&std::fs::read(&stored[0]).unwrap(), &noise(SIZE, 1));
    // The third one had the rest only.
    wait_until("its end", || (forwarded.lock().unwrap().len() == 3).then_some(()));
    assert!(forwarded.lock().unwrap()[2] < 1_500_000, "{forwarded:?}");
}

fn server_in(directory: &Path, address: &str) -> Server {
    Server::start_in(directory, &[address], &["--fsync", "none"])
}

fn partial_file_grows(server: &Server, bytes: u64) {
    wait_until("a partial file", || {
        let names = server.names().into_iter().filter(|name| name.ends_with(".part"));
        let length = |name| std::fs::metadata(server.dir().join(name)).map_or(0, |part| part.len());
        names.map(length).max().filter(|length| *length >= bytes)
    });
}

#[test]
fn a_sender_over_http_outlives_its_server() {
    for scheme in ["http", "https"] {
        let served = tempfile::tempdir().unwrap();
        let mut server = server_in(served.path(), "127.0.0.1:0");
        let address = server.addresses()[0].to_string();
        let sample = sample();
        let url = server.url(scheme, "");
        let sending = start(&["send", "-k", "--json", RATE, sample.path(), &url]);
        partial_file_grows(&server, 1_000_000);
        server.kill();
        let server = server_in(served.path(), &address);
        let sent = sending.outcome().succeeds();
        let resumed = sent.json()[0]["resumed"].as_u64().unwrap();
        assert!(resumed >= 1_000_000, "{scheme}: {sent:#?}");
        let receipt = server.next_receipt();
        assert_eq!(receipt["resumed"], resumed, "{receipt}");
        assert_same_bytes(&server.stored(&receipt), &noise(SIZE, 1));
        assert_eq!(server.published(), ["x.bin"]);
    }
}

/// Whichever of our transports began it.
#[test]
fn a_killed_sender_is_continued_over_http() {
    for (began, continues) in
        [("http", "http"), ("https", "https"), ("tcp", "https"), ("https", "ws"), ("http", "tcp")]
    {
        let served = tempfile::tempdir().unwrap();
        let server = server_in(served.path(), "127.0.0.1:0");
        let sample = sample();
        let mut sending = start(&["send", "-k", RATE, sample.path(), &server.url(began, "")]);
        partial_file_grows(&server, 1_000_000);
        sending.kill();
        sending.outcome();
        let kept = server.next_interrupted()["bytes"].as_u64().unwrap();
        let again = ["send", "-k", "--json", sample.path(), &server.url(continues, "")];
        let sent = anyport(&again).succeeds();
        assert_eq!(sent.json()[0]["resumed"], kept, "{began}, {continues}: {sent:#?}");
        assert_same_bytes(&server.stored(&server.next_receipt()), &noise(SIZE, 1));
        assert_eq!(server.published(), ["x.bin"]);
    }
}

/// As over tcp: the partial file of another sender, or of other content, is found by path, size and
/// time.
#[test]
fn a_wrong_beginning_costs_one_more_attempt_and_is_not_published() {
    for scheme in ["http", "https"] {
        let served = tempfile::tempdir().unwrap();
        let server = server_in(served.path(), "127.0.0.1:0");
        let sample = sample();
        let url = server.url(scheme, "");
        let mut sending = start(&["send", "-k", RATE, sample.path(), &url]);
        partial_file_grows(&server, 1_000_000);
        sending.kill();
        sending.outcome();
        server.next_interrupted();
        let another = noise(SIZE, 2);
        std::fs::write(sample.path(), &another).unwrap();
        set_time(sample.path());
        let sent = anyport(&["send", "-k", "--json", sample.path(), &url]).succeeds();
        assert_eq!(sent.stderr.matches("retrying in").count(), 1, "{sent:#?}");
        assert_eq!(sent.json()[0]["resumed"], Value::Null, "{sent:#?}");
        let receipt = wait_until("a receipt", || {
            server.try_event().filter(|event| event["event"] == "receipt")
        });
        assert_same_bytes(&server.stored(&receipt), &another);
        assert_eq!(server.published(), ["x.bin"]);
    }
}

#[test]
fn without_times_or_digest_no_earlier_attempt_is_continued() {
    for flags in [&["--no-times"][..], &["--digest", "none"], &["--no-resume"]] {
        let served = tempfile::tempdir().unwrap();
        let server = server_in(served.path(), "127.0.0.1:0");
        let sample = sample();
        let url = server.url("http", "");
        let mut sending = start(&[&["send", RATE], flags, &[sample.path(), &url]].concat());
        partial_file_grows(&server, 1_000_000);
        sending.kill();
        sending.outcome();
        server.next_interrupted();
        let sent = anyport(&[&["send", "--json"], flags, &[sample.path(), &url]].concat());
        assert_eq!(sent.succeeds().json()[0]["resumed"], Value::Null, "{flags:?}");
        assert_same_bytes(&server.stored(&server.next_receipt()), &noise(SIZE, 1));
    }
}

#[test]
fn a_large_file_that_the_server_has_is_not_sent_again() {
    let server = Server::start(&["--limit-rate", "1MiB"]);
    let sample = sample();
    std::fs::copy(sample.path(), server.dir().join("x.bin")).unwrap();
    set_time(server.dir().join("x.bin"));
    for scheme in ["http", "https"] {
        let (relay, forwarded) = cutting_relay(server.addresses()[0], &[]);
        let url = format!("{scheme}://{relay}/");
        let sent = anyport(&["send", "-k", "--json", sample.path(), &url]).succeeds();
        assert_eq!(sent.json()[0]["end"], "already-here", "{sent:#?}");
        wait_until("its end", || (!forwarded.lock().unwrap().is_empty()).then_some(()));
        assert!(forwarded.lock().unwrap()[0] < 50_000, "{forwarded:?}");
        assert_eq!(server.published(), ["x.bin"]);
    }
}

#[test]
fn another_file_of_the_same_size_and_time_is_refused_if_digests_are_compared() {
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("x.bin"), noise(SIZE, 2)).unwrap();
    set_time(server.dir().join("x.bin"));
    let sample = sample();
    for scheme in ["http", "https"] {
        let send = ["send", "-k", "--checksum", sample.path(), &server.url(scheme, "")];
        anyport(&send).exits(4).says("x.bin exists with different content");
        // The upload is removed too.
        assert_eq!(server.names(), ["x.bin"], "{scheme}");
    }
}

/// A proxy between them passes all of the file, and nothing of the response.
#[test]
fn a_lost_receipt_does_not_send_the_file_again() {
    let server = Server::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (relay, upstream) = (listener.local_addr().unwrap(), server.addresses()[0]);
    let sample = sample();
    let sending = start(&["send", "--json", sample.path(), &format!("http://{relay}/")]);
    // Everything up to the final response; then nothing until the file is stored.
    let (client, _) = listener.accept().unwrap();
    let first = TcpStream::connect(upstream).unwrap();
    let (mut there, mut here) = (client.try_clone().unwrap(), first.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut there, &mut here));
    let mut answers = Vec::new();
    let mut byte = [0];
    while !answers.ends_with(b"HTTP/1.1 100 Continue\r\n\r\n") {
        (&first).read_exact(&mut byte).unwrap();
        (&client).write_all(&byte).unwrap();
        answers.push(byte[0]);
    }
    let receipt = server.next_receipt();
    client.shutdown(Shutdown::Both).unwrap();
    let (again, _) = listener.accept().unwrap();
    let second = TcpStream::connect(upstream).unwrap();
    let (mut there, mut here) = (second.try_clone().unwrap(), again.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut there, &mut here));
    let forwarded = std::io::copy(&mut &again, &mut &second).unwrap();
    let sent = sending.outcome().succeeds();
    assert!(forwarded < 50_000, "{forwarded} bytes");
    assert_eq!(sent.json()[0]["end"], "already-here", "{sent:#?}");
    assert_same_bytes(&server.stored(&receipt), &noise(SIZE, 1));
    assert_eq!(server.published(), ["x.bin"]);
}

/// Beside each other on one connection.
#[test]
fn concurrent_uploads_resume_each_at_its_offset() {
    let served = tempfile::tempdir().unwrap();
    let flags = ["--limit-rate", "2MiB", "--fsync", "none"];
    let serve = |address: &str| Server::start_in(served.path(), &[address], &flags);
    let mut server = serve("127.0.0.1:0");
    let address = server.addresses()[0].to_string();
    let directory = tempfile::tempdir().unwrap();
    let names = ["a", "b", "c", "small"];
    for (name, number) in names.iter().zip(1..) {
        let size = if *name == "small" { 1000 } else { 1_500_000 };
        std::fs::write(directory.path().join(name), noise(size, number)).unwrap();
    }
    let mut command = anyport_command(&["send", "-k", "--json"]);
    command.args(names).arg(server.url("https", "")).current_dir(directory.path());
    let sending = anyport_testkit::harness::Running::start(command, None);
    partial_file_grows(&server, 500_000);
    server.kill();
    let server = serve(&address);
    let sent = sending.outcome().succeeds();
    for (name, number) in names.iter().zip(1..) {
        let size = if *name == "small" { 1000 } else { 1_500_000 };
        let stored = std::fs::read(server.dir().join(name)).unwrap();
        assert_same_bytes(&stored, &noise(size, number));
    }
    let resumed = |receipt: &Value| receipt["resumed"].as_u64().unwrap_or(0);
    assert!(sent.json().iter().map(resumed).max().unwrap() >= 500_000, "{sent:#?}");
    assert_eq!(server.published(), names);
}
