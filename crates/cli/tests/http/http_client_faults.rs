//! Faults of servers that an HTTP client must handle: interruptions, refusals, third-party
//! responses.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyport_testkit::noise;
use bytes::Bytes;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use anyport_testkit::harness::http::{respond, scripted_server};
use anyport_testkit::harness::{
    Outcome, Running, Sample, Server, anyport, anyport_command, assert_same_bytes, peer, wait_until,
};

/// The path of a request, and the connection that it came over.
type Stored = Arc<Mutex<Vec<(usize, String)>>>;

/// Starts a server that accepts files over HTTP/2 under TLS. When `count` streams are open on its
/// first connection, it refuses the first one, which may be retried because nothing was done with
/// it (RFC 9113 §8.7), and then answers the others.
fn refusing_one_stream(count: usize) -> (SocketAddr, Stored) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let stored = Stored::default();
    let tell = stored.clone();
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, tell) = (acceptor.clone(), tell.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut open = Vec::new();
                while let Some(Ok(stream)) = connection.accept().await {
                    open.push(stream);
                    if number == 0 {
                        if open.len() < count {
                            continue;
                        }
                        open.remove(0).1.send_reset(h2::Reason::REFUSED_STREAM);
                    }
                    for (request, mut respond) in open.drain(..) {
                        let tell = tell.clone();
                        tokio::spawn(async move {
                            let (head, mut content) = request.into_parts();
                            while let Some(Ok(piece)) = content.data().await {
                                let _ = content.flow_control().release_capacity(piece.len());
                            }
                            tell.lock().unwrap().push((number, head.uri.path().to_owned()));
                            let created = http::Response::builder().status(201).body(()).unwrap();
                            let _: h2::SendStream<Bytes> =
                                respond.send_response(created, true).unwrap();
                        });
                    }
                }
            });
        }
    };
    std::thread::spawn(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(serve);
    });
    (address, stored)
}

#[test]
fn a_refused_stream_ends_no_other() {
    let names = ["a", "b", "c", "d"];
    let (address, stored) = refusing_one_stream(names.len());
    let directory = tempfile::tempdir().unwrap();
    for (number, name) in names.iter().enumerate() {
        std::fs::write(directory.path().join(name), noise(1000, number as u64)).unwrap();
    }
    let mut command = anyport_command(&["send", "-k"]);
    command.args(names).arg(format!("https://{address}/")).current_dir(directory.path());
    let sent = Running::start(command, None).outcome().succeeds();
    assert_eq!(sent.stderr.matches("no receipt").count(), 4, "{sent:#?}");
    let mut stored = stored.lock().unwrap().clone();
    stored.sort_by(|one, other| one.1.cmp(&other.1));
    let paths: Vec<_> = stored.iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(paths, ["/a", "/b", "/c", "/d"], "each once");
    assert_eq!(stored.iter().filter(|(connection, _)| *connection == 0).count(), 3);
}

#[test]
fn a_long_first_file_keeps_no_other_waiting() {
    let server = Server::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let slow = directory.path().join("slow");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &slow, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let quick = Sample::new("quick", &noise(100_000, 1));
    let (slow, url) = (slow.to_str().unwrap(), server.url("https", ""));
    let sending = ["send", "-k", "--digest", "sha256", slow, quick.path(), &url];
    let sending = anyport_testkit::harness::start(&sending);
    let mut pipe = std::fs::File::options().write(true).open(slow).unwrap();
    pipe.write_all(b"begun").unwrap();
    // Before the first one has ended.
    assert_eq!(server.next_receipt()["path"], "quick");
    pipe.write_all(b" and ended").unwrap();
    drop(pipe);
    assert_eq!(server.next_receipt()["bytes"], 15);
    sending.outcome().succeeds();
}

#[test]
fn a_connection_that_is_closed_at_once_is_tried_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        drop(listener.accept().unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        anyport_testkit::harness::wire::read_head(&mut stream);
        std::io::Read::read_exact(&mut stream, &mut [0; 7]).unwrap();
        respond(&mut stream, "HTTP/1.1 201 Created\nContent-Length: 0", b"")
    });
    let sample = Sample::new("x", b"content");
    anyport(&["send", sample.path(), &format!("http://{address}/x")]).succeeds();
    assert!(server.join().unwrap());
}

/// What waits for its own input does not wait for the server.
#[test]
fn a_pause_of_the_source_is_not_an_idle_server() {
    let server = Server::start(&[]);
    for scheme in ["http", "https"] {
        let url = server.url(scheme, "paused");
        let mut command = anyport_command(&["send", "-k", "--timeout", "1s", "-", &url]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"one, ").unwrap();
        // Longer than the client waits for an early response.
        std::thread::sleep(Duration::from_millis(2500));
        // A client that has given up has closed it.
        let _ = stdin.write_all(b"two");
        drop(stdin);
        let status = wait_until("its end", || child.try_wait().unwrap());
        assert!(status.success(), "{scheme}: {status}");
        assert_eq!(server.next_receipt()["bytes"], 8);
    }
}

#[test]
fn an_incomplete_receipt_is_an_interruption() {
    let json = "HTTP/1.1 201 Created\nContent-Type: application/json\nContent-Length: 300";
    let (address, _) = scripted_server(move |head, stream| {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut content = vec![0; length.unwrap().parse().unwrap()];
        std::io::Read::read_exact(stream, &mut content).unwrap();
        respond(stream, json, b"{\"rece");
        false
    });
    let sample = Sample::new("x", b"content");
    let url = format!("http://{address}/x");
    anyport(&["send", "--retry", "0", sample.path(), &url]).exits(6).says(" lost after ");
}

/// JSON text sequences (RFC 7464) are another format than JSON, and media types have no case.
#[test]
fn only_the_media_type_of_json_makes_a_listing_or_a_receipt() {
    let (address, _) = scripted_server(|head, stream| {
        if head.starts_with("PUT") {
            // An anyport server that names the type gave no valid receipt.
            let json = if head.starts_with("PUT /seq") { "application/json-seq" } else { JSON };
            let head = format!("HTTP/1.1 201 Created\nContent-Type: {json}\nContent-Length: 12");
            return respond(stream, &head, b"{\"receipt\":?");
        }
        let json = if head.starts_with("GET /seq/") { "application/json-seq" } else { JSON };
        let head = format!("HTTP/1.1 200 OK\nContent-Type: {json}\nContent-Length: 14");
        respond(stream, &head, b"{\"entries\":[]}")
    });
    let url = |path: &str| format!("http://{address}/{path}");
    anyport(&["ls", &url("d/")]).succeeds();
    anyport(&["ls", &url("seq/")]).exits(4).says("cannot list /seq/").says("application/json-seq");
    let sample = Sample::new("x", b"content");
    anyport(&["send", sample.path(), &url("seq")]).succeeds().says("no receipt");
    let outcome = anyport(&["send", sample.path(), &url("x")]);
    assert_ne!(outcome.code, Some(0), "{outcome:?}");
}

const JSON: &str = "Application/JSON ; charset=utf-8";

#[test]
fn a_listing_requests_directories_and_receives_from_no_pipe() {
    let (address, asked) = scripted_server(|_, stream| {
        respond(
            stream,
            "HTTP/1.1 404 Not Found\nContent-Type: text/plain\nContent-Length: 4",
            b"none",
        )
    });
    anyport(&["ls", &format!("http://{address}/pipe/KEY")]).exits(4);
    let asked = asked.lock().unwrap().clone();
    assert!(!asked.is_empty());
    for (_, head) in asked {
        assert!(!head.contains(" /pipe/KEY "), "{head}");
    }
    let server = Server::start(&[]);
    std::fs::create_dir(server.dir().join("d")).unwrap();
    std::fs::write(server.dir().join("d/x"), b"content").unwrap();
    let list = |path| anyport(&["ls", &server.url("http", path)]);
    assert!(list("d/x").succeeds().stdout.ends_with(" d/x\n"));
    assert!(list("d").succeeds().stdout.ends_with(" d/x\n"));
    list("d/y").exits(4).says("d/y");
}

#[test]
fn listings_within_each_other_are_bounded_together() {
    let (address, _) = scripted_server(|head, stream| {
        let path = head.split(' ').nth(1).unwrap().trim_matches('/');
        let directory = path.strip_prefix("files").unwrap_or("").trim_start_matches('/');
        let name = |name: &str| match directory {
            "" => name.to_owned(),
            directory => format!("{directory}/{name}"),
        };
        let entry = |name: &str, kind: &str| {
            format!(r#"{{"name":"{name}","kind":"{kind}","size":1,"mtime":0,"mode":"644"}}"#)
        };
        let mut listing = format!(r#"{{"entries":[{}"#, entry(&name("d"), "directory"));
        for number in 0.. {
            listing.push_str(&format!(",{}", entry(&name(&format!("{number:0250}")), "directory")));
            if listing.len() > 15 * 1024 * 1024 {
                break;
            }
        }
        listing.push_str("]}");
        let length = listing.len();
        let head =
            format!("HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: {length}");
        respond(stream, &head, listing.as_bytes())
    });
    let listed = anyport(&["ls", "-R", &format!("http://{address}/")]).exits(4);
    listed.says("its directories and those of its parents exceed 32 MiB");
}

/// Runs `anyport` with 128 MiB of memory, which includes the stacks of its threads.
fn with_little_memory(arguments: &[&str]) -> Option<Outcome> {
    let mut prlimit = peer("prlimit")?;
    let command = anyport_command(arguments);
    prlimit.arg("--data=134217728").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        value.map(|value| prlimit.env(name, value));
    }
    Some(Running::start(prlimit, None).outcome())
}

/// A server that answers each request with a listing: `entries` until it returns none, or the
/// client hangs up.
fn lists(entries: impl Fn(u64) -> Option<String> + Send + Sync + 'static) -> SocketAddr {
    let (address, _) = scripted_server(move |_, stream| {
        let head = "HTTP/1.1 200 OK\nContent-Type: application/json\nConnection: close";
        respond(stream, head, b"{\"entries\":[");
        let written =
            (0..).map_while(&entries).try_for_each(|piece| stream.write_all(piece.as_bytes()));
        written.is_ok() && stream.write_all(b"]}").is_err()
    });
    address
}

#[test]
fn a_listing_of_any_length_is_listed_in_little_memory() {
    let hundred = |from: u64| {
        let entry = |number| {
            let comma = if number == 0 { "" } else { "," };
            format!(
                r#"{comma}{{"name":"{number:0250}","kind":"file","size":1,"mtime":0,"mode":"644"}}"#
            )
        };
        (100 * from..100 * (from + 1)).map(entry).collect::<String>()
    };
    // 46 MiB.
    let address = lists(move |piece| (piece < 1500).then(|| hundred(piece)));
    let url = format!("http://{address}/");
    for arguments in [&["ls", &url][..], &["ls", "-R", &url]] {
        let Some(listed) = with_little_memory(arguments) else { return };
        assert_eq!(listed.succeeds().stdout.lines().count(), 150_000);
    }
}

#[test]
fn a_part_of_a_listing_that_never_ends_is_bounded_in_memory() {
    for (beginning, more, words) in [
        (r#"{"name":""#, "x", "an entry of it is longer than 65536 bytes"),
        ("", " ", "an entry of it is longer than 65536 bytes"),
        ("{}", ",0", "\"name\" is missing in \"entries\""),
        ("], \"later\":[0", ",0", "an entry of it is longer than 65536 bytes"),
    ] {
        let address = lists(move |piece| {
            Some(if piece == 0 { beginning.to_owned() } else { more.repeat(10_000) })
        });
        let scratch = tempfile::tempdir().unwrap();
        let (url, into) = (format!("http://{address}/"), scratch.path().to_str().unwrap());
        for arguments in [&["ls", &url][..], &["get", &url, "-o", into]] {
            let Some(outcome) = with_little_memory(arguments) else { return };
            outcome.exits(4).says(words).says("hint: ");
        }
    }
}

#[test]
fn a_token_is_sent_only_to_a_server_that_requires_one_like_anyport() {
    let token = "a-token-of-some-other-server-0123456789";
    let get = |address: SocketAddr| {
        let scratch = tempfile::tempdir().unwrap();
        let (url, into) = (format!("http://{address}/x"), scratch.path().to_str().unwrap());
        let mut command = anyport_command(&["get", &url, "-o", into]);
        command.env("ANYPORT_TOKEN", token);
        Running::start(command, None).outcome().succeeds();
    };
    let content = "HTTP/1.1 200 OK\nContent-Length: 7";
    let (third_party, asked) = scripted_server(move |head, stream| {
        let content: &[u8] = if head.starts_with("HEAD ") { b"" } else { b"content" };
        respond(stream, "HTTP/1.1 200 OK\nContent-Length: 7", content)
    });
    get(third_party);
    assert!(asked.lock().unwrap().iter().all(|(_, head)| !head.contains(token)));
    let (ours, asked) = scripted_server(move |head, stream| {
        if head.contains(token) {
            return respond(stream, content, b"content");
        }
        assert!(head.starts_with("HEAD /healthz "), "{head}");
        let asks = "HTTP/1.1 200 OK\nWWW-Authenticate: Bearer realm=\"anyport\"";
        respond(stream, &format!("{asks}\nContent-Length: 0"), b"")
    });
    get(ours);
    assert_eq!(asked.lock().unwrap().len(), 2);
    // And where one is asked for, no request is refused for it.
    let file = Sample::new("token", format!("{token}\n").as_bytes());
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).unwrap();
    let server = Server::start(&["--token-file", file.path()]);
    let sample = Sample::new("x", b"content");
    let send = ["send", "--token-file", file.path(), sample.path(), &server.url("http", "")];
    anyport(&send).succeeds();
    assert_eq!(server.next_event()["event"], "receipt");
}

#[test]
fn the_same_file_once_more_is_there_already_and_another_one_is_refused() {
    let server = Server::start(&[]);
    let sample = Sample::new("x", b"content");
    let url = server.url("http", "");
    let flags = ["send", "--on-exists", "error"];
    for _ in 0..2 {
        anyport(&[&flags[..], &[sample.path(), &url]].concat()).succeeds();
    }
    let other = Sample::new("x", b"another");
    anyport(&[&flags[..], &[other.path(), &url]].concat()).exits(4).says("exists");
    anyport(&[&flags[..], &["--no-times", sample.path(), &url]].concat()).exits(4);
}

#[test]
fn a_path_of_an_anyport_server_is_named_in_errors_of_other_servers() {
    let (address, _) = scripted_server(|_, stream| {
        std::io::Read::read_exact(stream, &mut [0; 7]).unwrap();
        respond(stream, "HTTP/1.1 201 Created\nContent-Length: 0", b"")
    });
    let sample = Sample::new("help", b"content");
    let reported = anyport(&["send", sample.path(), &format!("http://{address}/")]).exits(1);
    reported.says("accepted the file as /files/help").says("write the whole path");
}

#[test]
fn standard_output_gets_only_the_rest_of_a_repeated_file() {
    let content = Arc::new(noise(50_001, 4));
    let served = content.clone();
    let rounds = Arc::new(Mutex::new(0));
    let (address, _) = scripted_server(move |_, stream| {
        let mut round = rounds.lock().unwrap();
        *round += 1;
        let sent = if *round == 1 { 20_003 } else { served.len() };
        let fields = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\nContent-Length: 50001";
        respond(stream, &format!("HTTP/1.0 200 OK\n{fields}"), &served[..sent]);
        false
    });
    let mut command = anyport_command(&["get", &format!("http://{address}/x"), "-o", "-"]);
    let got = command.stdin(Stdio::null()).output().unwrap();
    assert!(got.status.success(), "{got:?}");
    assert_same_bytes(&got.stdout, &content);
}

#[test]
fn a_timeout_of_any_length_can_be_waited_for() {
    let server = Server::start(&[]);
    let sample = Sample::new("x", &noise(2_000_000, 1));
    let flags = ["send", "--timeout", "9223372036854775807s", sample.path()];
    anyport(&[&flags[..], &[&server.url("http", "")]].concat()).succeeds();
}
