//! The client as a library: how a program sends and receives files, and what errors tell it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyport_client::{
    Capture, CaptureError, Error, ErrorKind, ErrorOrigin, GetOptions, HEADERS, MAX_SNAPLEN,
    Observer, Options, Sent, Source, Target, get_into, send,
};
use anyport_proto::access::{Named, Token};
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::receipt::{Outcome, Receipt};
use anyport_proto::transfer::refusal::RefusalCode;
use anyport_server::{Config, Interrupted, Refused, Server, Tokens};
use anyport_testkit::noise;
use anyport_trace::{
    Event, Limits, PcapWriter, Recorder, Segment, Side, Syn, TcpOption, Trace, What,
};
use tempfile::TempDir;

/// An observer that ignores all events.
struct Ignore;

impl anyport_server::Observer for Ignore {
    fn receipt(&self, _receipt: &Receipt) {}
    fn interrupted(&self, _transfer: &Interrupted) {}
    fn refused(&self, _peer: &Refused) {}
}

/// Runs a server of this configuration in this process, until the process ends.
fn serve(config: Config) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let server = Server::new(config, vec![socket.into()], Ignore).unwrap();
            server.run(std::future::pending(), std::future::pending()).await;
        });
    });
    address
}

/// Collects the reports of a transfer.
#[derive(Default)]
struct Reports {
    sent: Mutex<Vec<Sent>>,
    retries: Mutex<Vec<String>>,
}

impl Observer for Reports {
    fn position(&self, _bytes: u64) {}

    fn sent(&self, sent: Sent) {
        self.sent.lock().unwrap().push(sent);
    }

    fn failed(&self, source: &Source, error: &Error) {
        panic!("{}: {error}", source.path().display());
    }

    fn retrying(&self, error: &Error, _delay: Duration) {
        self.retries.lock().unwrap().push(error.to_string());
    }
}

/// A directory with one file.
fn sample(name: &str, content: &[u8]) -> (TempDir, Source) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    let source = Source::new(path).unwrap();
    (directory, source)
}

fn target(scheme: &str, address: SocketAddr, path: &str) -> Target {
    format!("{scheme}://{address}/{path}").parse().unwrap()
}

fn stored(directory: &Path, name: &str) -> Vec<u8> {
    std::fs::read(directory.join(name)).unwrap()
}

#[test]
fn a_file_is_sent_and_received_over_each_scheme_with_its_digest() {
    let served = tempfile::tempdir().unwrap();
    let address = serve(Config::new(served.path()));
    let content = noise(500_000, 1);
    let (_scratch, source) = sample("photo.jpg", &content);
    for scheme in ["tcp", "ws", "frames", "http"] {
        let path = if scheme == "ws" { "files/" } else { "" };
        let directory = target(scheme, address, &format!("{path}{scheme}/"));
        let reports = Reports::default();
        send(std::slice::from_ref(&source), &directory, &Options::default(), &reports).unwrap();
        let sent = reports.sent.into_inner().unwrap().remove(0);
        // The receipt was compared with what was sent.
        assert_eq!(sent.receipt.unwrap().bytes, 500_000, "{scheme}");
        assert!(stored(served.path(), &format!("{scheme}/photo.jpg")) == content, "{scheme}");

        let file = target(scheme, address, &format!("{path}{scheme}/photo.jpg"));
        let mut received = Vec::new();
        let got = get_into(&file, &mut received, &GetOptions::default(), &mut |_| {}).unwrap();
        assert!(received == content, "{scheme}: {got:?}");
        // The digests of HTTP are SHA-256, and the server has none of that kind.
        assert_eq!(got.verified, scheme != "http", "{scheme}: {got:?}");
        assert_eq!(got.outcome, Outcome::Stored, "{scheme}");
    }
}

/// The code of a refusal, or a panic with the error that is none.
#[track_caller]
fn refusal(result: Result<(), Error>) -> RefusalCode {
    let error = result.unwrap_err();
    assert_eq!(error.origin(), ErrorOrigin::Refused, "{error:?}");
    match error.kind() {
        ErrorKind::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_is_a_typed_error() {
    let served = tempfile::tempdir().unwrap();
    let mut config = Config::new(served.path());
    config.max_size = 1000;
    let address = serve(config);
    std::fs::write(served.path().join("name"), b"another file").unwrap();
    let (_scratch, source) = sample("name", b"a file");
    let (_scratch, large) = sample("large", &noise(1001, 2));
    for scheme in ["tcp", "http"] {
        let top = target(scheme, address, "");
        let mut options = Options::default();
        // HTTP has no field for it; a server's default for PUT replaces the file.
        if scheme == "tcp" {
            options.on_exists = Some(OnExists::Error);
            let result = send(std::slice::from_ref(&source), &top, &options, &Reports::default());
            assert_eq!(refusal(result), RefusalCode::Exists);
        }
        let result =
            send(std::slice::from_ref(&large), &top, &Options::default(), &Reports::default());
        assert_eq!(refusal(result), RefusalCode::TooLarge, "{scheme}");
        assert_eq!(stored(served.path(), "name"), b"another file");
    }
}

#[test]
fn a_server_that_requires_a_token_refuses_another_one() {
    let served = tempfile::tempdir().unwrap();
    let mut config = Config::new(served.path());
    let token = "a-token-of-16-bytes-or-more";
    let named = Named::new("alice".to_owned(), Token::parse(token).unwrap());
    config.tokens = Some(Tokens::new(vec![named]));
    let address = serve(config);
    let (_scratch, source) = sample("name", b"content");
    let mut target = target("tcp", address, "");
    for wrong in [None, Some(Token::new("another-token-of-16-bytes"))] {
        target.token = wrong;
        let sources = std::slice::from_ref(&source);
        let result = send(sources, &target, &Options::default(), &Reports::default());
        assert_eq!(refusal(result), RefusalCode::Unauthorized);
    }
    target.token = Some(Token::new(token));
    send(&[source], &target, &Options::default(), &Reports::default()).unwrap();
    assert_eq!(stored(served.path(), "name"), b"content");
}

/// Forwards connections to `server`, and cuts the first one after `limit` bytes of the client.
fn cutting_relay(server: SocketAddr, limit: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let (mut back, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut back, &mut to);
            });
            let most = if number == 0 { limit } else { u64::MAX };
            let _ = std::io::copy(&mut (&client).take(most), &mut &server);
            let _ = (&server).flush();
            let _ = server.shutdown(Shutdown::Write);
            if number == 0 {
                let _ = client.shutdown(Shutdown::Both);
            }
        }
    });
    address
}

#[test]
fn a_connection_that_is_lost_is_replaced_and_the_upload_resumes() {
    for scheme in ["tcp", "ws", "frames"] {
        let served = tempfile::tempdir().unwrap();
        let relay = cutting_relay(serve(Config::new(served.path())), 1_000_000);
        let content = noise(3_000_000, 3);
        let (_scratch, source) = sample("film.mkv", &content);
        let path = if scheme == "ws" { "files/" } else { "" };
        let reports = Reports::default();
        let to = target(scheme, relay, path);
        send(&[source], &to, &Options::default(), &reports).unwrap();
        assert!(stored(served.path(), "film.mkv") == content, "{scheme}");
        assert_eq!(reports.retries.into_inner().unwrap().len(), 1, "{scheme}");
        let sent = reports.sent.into_inner().unwrap().remove(0);
        let receipt = sent.receipt.unwrap();
        assert_eq!(receipt.digest, sent.digest, "{scheme}");
        assert!(receipt.resumed > 0, "{scheme}: {receipt:?}");
    }
}

#[test]
fn an_error_that_no_retry_can_fix_is_returned_immediately() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut options = Options::default();
    options.retries = 0;
    let (_scratch, source) = sample("name", b"content");
    let error = send(&[source], &target("tcp", address, ""), &options, &Reports::default());
    let error = error.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Dial(_)), "{error:?}");
    assert_eq!(error.origin(), ErrorOrigin::Unreachable);
    let nowhere = "ftp://host/".parse::<Target>();
    assert!(nowhere.is_err());
}

/// Sends a file over `scheme` with a trace; captures it where that is permitted, to `pcap` too.
fn traced(scheme: &str, address: SocketAddr, pcap: Option<&Path>) -> (Trace, Option<u64>) {
    let (_scratch, source) = sample("photo.jpg", &noise(500_000, 1));
    let recorder = Recorder::new(Limits::default());
    let writer = pcap.map(|path| {
        let file = std::fs::File::create(path).unwrap();
        PcapWriter::new(Box::new(file), "anyport trace send photo.jpg", MAX_SNAPLEN).unwrap()
    });
    let snaplen = if pcap.is_some() { MAX_SNAPLEN } else { HEADERS };
    let capture = match Capture::start(&recorder, snaplen, writer) {
        Ok(capture) => Some(capture),
        Err(CaptureError::NotPermitted) => None,
        Err(error) => panic!("{error:?}"),
    };
    let mut options = Options::default();
    options.connect.trace = Some(recorder.clone());
    options.connect.capture.clone_from(&capture);
    let path = if scheme == "ws" { "files/" } else { "" };
    let directory = target(scheme, address, &format!("{path}{scheme}-traced/"));
    send(&[source], &directory, &options, &Reports::default()).unwrap();
    let packets = capture.map(|capture| capture.finish().unwrap());
    (recorder.finish(), packets)
}

fn syns(trace: &Trace) -> Vec<&Syn> {
    let mut syns = Vec::new();
    for event in &trace.events {
        if let What::Syn(syn) = &event.what {
            syns.push(syn);
        }
    }
    syns
}

fn notes(trace: &Trace) -> String {
    let note = |event: &Event| match &event.what {
        What::Note { text } => Some(format!("{text}\n")),
        _ => None,
    };
    trace.events.iter().filter_map(note).collect()
}

#[test]
fn a_traced_connection_has_its_segments_and_the_syn_that_the_server_kept() {
    let served = tempfile::tempdir().unwrap();
    let address = serve(Config::new(served.path()));
    // The kernel keeps the SYN of connections that begin after the server has its socket.
    traced("frames", address, None);
    std::fs::remove_dir_all(served.path().join("frames-traced")).unwrap();
    for scheme in ["tcp", "ws", "http", "frames"] {
        let (trace, packets) = traced(scheme, address, None);
        let syns = syns(&trace);
        assert_eq!(syns.len(), 1, "{scheme}: {}", notes(&trace));
        assert_eq!(syns[0].destination, format!("*:{}", address.port()));
        assert_eq!(syns[0].segment.flags, ["SYN"]);
        assert!(syns[0].segment.options.iter().any(|o| matches!(o, TcpOption::Mss(_))));
        if packets.is_none() {
            continue;
        }
        let segments: Vec<_> = trace
            .events
            .iter()
            .filter_map(|event| match &event.what {
                What::Segment(segment) => Some((event.from.unwrap(), segment)),
                _ => None,
            })
            .collect();
        let flags: Vec<_> = segments.iter().map(|(_, segment)| segment.flags.join(" ")).collect();
        assert_eq!(flags[..3], ["SYN", "SYN ACK", "ACK"], "{scheme}");
        assert_eq!(segments[0].1.seq, syns[0].segment.seq, "{scheme}");
        let sides = [Side::Client, Side::Server];
        for side in sides {
            let ends = |(from, s): &(Side, &Segment)| {
                *from == side && s.flags.iter().any(|flag| flag == "FIN")
            };
            assert!(segments.iter().any(ends), "{scheme}: {side} in {flags:?}");
        }
        let sent = segments.iter().filter(|(from, _)| *from == Side::Client);
        let sent: u64 = sent.map(|(_, segment)| segment.payload).sum();
        assert!(sent > 500_000, "{scheme}: {sent}");
        let last = segments.iter().filter_map(|(_, segment)| segment.relative_ack).max();
        assert!(last.unwrap() > 500_000, "{scheme}: {last:?}");
    }
}

#[test]
fn a_server_that_does_not_know_the_field_reports_no_syn_and_transfers_succeed() {
    let old = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = old.local_addr().unwrap();
    std::thread::spawn(move || old_server(&old));
    let (_scratch, source) = sample("photo.jpg", b"a file");
    let recorder = Recorder::new(Limits::default());
    let mut options = Options::default();
    options.connect.trace = Some(recorder.clone());
    options.resume = false;
    send(&[source], &target("http", address, ""), &options, &Reports::default()).unwrap();
    let notes = notes(&recorder.finish());
    assert!(notes.contains("the server does not report the SYN"), "{notes}");
}

/// Answers each request as a third-party server of HTTP does.
fn old_server(listener: &TcpListener) {
    let (mut socket, _) = listener.accept().unwrap();
    let mut input = Vec::new();
    let mut piece = [0; 65536];
    loop {
        let count = socket.read(&mut piece).unwrap();
        if count == 0 {
            return;
        }
        input.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&input);
        let answer = if text.contains("HTTP/1.1") && text.ends_with("a file") {
            "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
        } else {
            continue;
        };
        input.clear();
        socket.write_all(answer.as_bytes()).unwrap();
    }
}

/// Without options, tshark finds WebSocket on any port by the handshake.
#[test]
fn tshark_reads_as_many_packets_as_were_captured_with_the_websocket_frames() {
    let served = tempfile::tempdir().unwrap();
    let address = serve(Config::new(served.path()));
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("ws.pcapng");
    let (_, Some(packets)) = traced("ws", address, Some(&file)) else { return };
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("skipped: no tshark");
        return;
    }
    let read = |filter: &str| {
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&file).args(["-Y", filter, "-T", "fields", "-e", "frame.number"]);
        let output = tshark.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    assert_eq!(read("tcp"), usize::try_from(packets).unwrap());
    assert_eq!(read("tcp.flags.syn == 1"), 2);
    assert!(read("websocket") > 0, "no frame of WebSocket in {packets} packets");
}
