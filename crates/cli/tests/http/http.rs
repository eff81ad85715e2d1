//! HTTP/1.1 as it is spoken: requests one after the other, their framing, their limits, and what
//! cannot be trusted.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::http::curl;
use anyport_testkit::harness::http::{curl_says, statuses};
use anyport_testkit::harness::wire::{
    BINARY, TEXT, close_frame, connect, converse, frame, read_close, read_frame, wait_until_read,
};
use anyport_testkit::harness::wire::{read_head, read_line, read_text, upgrade};
use anyport_testkit::harness::{Running, Sample, Server, blake3, engines, wait_until};

/// One answer: its head, and the content that its length tells.
fn read_answer(stream: &mut TcpStream) -> (String, String) {
    let head = read_head(stream);
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    let mut content = vec![0; length];
    stream.read_exact(&mut content).unwrap();
    (head, String::from_utf8(content).unwrap())
}

#[test]
fn ht_1_a_connection_is_reused_as_its_version_requires() {
    let server = Server::start(&[]);
    for (request, persistent) in [
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false),
        ("GET /healthz HTTP/1.0\r\n\r\n", false),
        ("GET /healthz HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
    ] {
        let mut stream = connect(server.port());
        for _ in 0..3 {
            stream.write_all(request.as_bytes()).unwrap();
            let (head, content) = read_answer(&mut stream);
            assert!(head.starts_with("HTTP/1.1 200 OK\r\nDate: "), "{head}");
            assert_eq!(content, "ok\n");
            assert_eq!(head.contains("Connection: close\r\n"), !persistent, "{request}{head}");
            let asked = request.contains("Keep-Alive");
            assert_eq!(head.contains("Connection: keep-alive\r\n"), asked, "{request}{head}");
            if !persistent {
                assert_eq!(read_text(&mut stream), "", "{request}");
                break;
            }
        }
    }
    assert_eq!(server.stop(), Vec::<Value>::new());
}

/// Three requests in one write, an upload between two others, and the answers in their order.
#[test]
fn ht_1_pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]);
    let content = "x".repeat(100_000);
    let wire = format!(
        "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n\
         PUT /middle HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{content}\
         GET /middle HTTP/1.1\r\nHost: a\r\n\r\n\
         HEAD /middle HTTP/1.1\r\nHost: a\r\n\r\n\
         GET / HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        content.len(),
    );
    for cut in [0, 30, 90, 200, wire.len() - 40] {
        let mut stream = connect(server.port());
        let (first, second) = wire.as_bytes().split_at(cut);
        stream.write_all(first).unwrap();
        let answers = converse(&mut stream, second);
        assert_eq!(statuses(&answers), [404, 201, 200, 200, 200, 200], "{cut}: {answers:.300}");
        assert!(answers.ends_with("ok\n"), "{cut}");
        assert_eq!(answers.matches(&content).count(), 1, "{cut}");
        server.next_refused();
        let receipt = server.next_receipt();
        assert_eq!(receipt["protocol"], "http", "{receipt}");
        assert_eq!(server.next_event()["event"], "sent");
        std::fs::remove_file(server.dir().join("middle")).unwrap();
    }
}

/// A client that sends many requests before it reads a response gets all of them.
#[test]
fn ht_1_a_flood_of_pipelined_requests_is_answered_whole() {
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("x"), b"hello").unwrap();
    let requests = 20_000;
    let both = "GET /help HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let wire = both.repeat(requests / 2);
    let mut stream = connect(server.port());
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(wire.as_bytes()).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let answers = read_text(&mut stream);
    writing.join().unwrap();
    assert_eq!(statuses(&answers).len(), requests);
    assert!(answers.ends_with("hello"));
}

/// RFC 9112 §6.1, §6.3, §5, §2.2, §7.1: what two readers could understand in two ways is refused
/// and ends the connection; the request that is hidden behind it is never seen.
#[test]
fn ht_2_nothing_can_be_smuggled() {
    let server = Server::start(&[]);
    let hidden = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let fields = [
        (format!("Content-Length: 5\r\n{chunked}"), 400),
        (format!("{chunked}Content-Length: 5\r\n"), 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n".to_owned(), 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n".to_owned(), 400),
        ("Content-Length: 5, 5\r\n".to_owned(), 400),
        ("Content-Length: +5\r\n".to_owned(), 400),
        ("Content-Length: -5\r\n".to_owned(), 400),
        ("Content-Length: 5 5\r\n".to_owned(), 400),
        ("Content-Length: 0x5\r\n".to_owned(), 400),
        ("Content-Length : 5\r\n".to_owned(), 400),
        ("Content-Length: 5\n".to_owned(), 400),
        ("Content-Length:\r\n 5\r\n".to_owned(), 400),
        ("Content-Length: 99999999999999999999\r\n".to_owned(), 400),
        ("Content-Length: 9999999999999999999\r\n".to_owned(), 413),
        ("Transfer-Encoding: chunked, identity\r\n".to_owned(), 400),
        (format!("{chunked}{chunked}"), 400),
        ("Transfer-Encoding: gzip, chunked\r\n".to_owned(), 501),
        ("Transfer-Encoding : chunked\r\n".to_owned(), 400),
        ("Transfer-Encoding:\u{b}chunked\r\n".to_owned(), 400),
        ("X: y\r\n folded\r\nContent-Length: 5\r\n".to_owned(), 400),
        ("X: y\rContent-Length: 5\r\n".to_owned(), 400),
    ];
    for (fields, status) in fields {
        let wire =
            format!("PUT /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n5\r\nhello\r\n0\r\n\r\n{hidden}");
        let answers = converse(&mut connect(server.port()), wire.as_bytes());
        assert_eq!(statuses(&answers), [status], "{fields:?}: {answers}");
        assert!(
            answers.contains("Connection: close\r\n") && answers.contains("RFC 9"),
            "{answers}"
        );
        server.next_refused();
    }
    for chunks in [
        "5 \r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5;\nx\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\nA: b\n\r\n",
        "5\r\nhello\r\n0\r\n A: b\r\n\r\n",
    ] {
        let wire = format!("PUT /x HTTP/1.1\r\nHost: a\r\n{chunked}\r\n{chunks}{hidden}");
        let answers = converse(&mut connect(server.port()), wire.as_bytes());
        assert_eq!(statuses(&answers), [400], "{chunks:?}: {answers}");
        let event = server.next_interrupted();
        assert!(event["reason"].as_str().unwrap().contains("RFC 9112"), "{event}");
    }
    assert_eq!(server.published(), Vec::<String>::new());
    server.takes_a_good_file();
}

#[test]
fn ht_2_content_where_it_has_no_meaning_ends_the_connection() {
    let server = Server::start(&[]);
    for (method, status) in [("GET", 400), ("HEAD", 400), ("OPTIONS", 400)] {
        let hidden = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        let length = hidden.len();
        let wire =
            format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{hidden}");
        let answers = converse(&mut connect(server.port()), wire.as_bytes());
        assert_eq!(statuses(&answers), [status], "{answers}");
        server.next_refused();
    }
}

#[test]
fn ht_3_trailers_and_extensions_have_the_limits_of_a_head() {
    let server = Server::start(&[]);
    for (behind, status) in [
        ("0\r\nA: b\r\nC: d\r\n\r\n".to_owned(), 201),
        (format!("0\r\n{}\r\n", "A: b\r\n".repeat(101)), 431),
        (format!("0\r\nA: {}\r\n\r\n", "x".repeat(17_000)), 431),
        (format!("0;{}\r\n\r\n", "x".repeat(5000)), 400),
    ] {
        let wire = format!(
            "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n{behind}"
        );
        let answers = converse(&mut connect(server.port()), wire.as_bytes());
        assert_eq!(statuses(&answers), [status], "{behind:.40}: {answers}");
        server.next_event();
    }
    assert_eq!(server.published(), ["x"]);
}

/// RFC 9110 §10.1.1: permission where the content will be taken, and a refusal at once where not.
#[test]
fn ht_4_a_waiting_client_gets_100_continue_or_a_refusal() {
    let server = Server::start(&["--max-size", "1MiB"]);
    let mut stream = connect(server.port());
    let expects = "Expect: 100-continue\r\n";
    let head = format!("PUT /x HTTP/1.1\r\nHost: a\r\n{expects}Content-Length: 5\r\n\r\n");
    for _ in 0..2 {
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_head(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hello").unwrap();
        assert!(read_answer(&mut stream).0.starts_with("HTTP/1.1 201 "));
        server.next_receipt();
    }
    for (fields, status) in [
        (format!("{expects}Content-Length: 2000000\r\n"), 413),
        (format!("{expects}Content-Length: 5\r\nOrigin: http://evil.example\r\n"), 403),
        (format!("{expects}Content-Length: 5\r\nContent-Range: bytes 0-4/9\r\n"), 400),
        ("Expect: tea\r\nContent-Length: 5\r\n".to_owned(), 417),
        (format!("{expects}Expect: tea\r\nContent-Length: 5\r\n"), 417),
    ] {
        let mut stream = connect(server.port());
        stream.write_all(format!("PUT /y HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).unwrap();
        let (head, _) = read_answer(&mut stream);
        assert_eq!(statuses(&head), [status], "{fields}: {head}");
        // The client may send the content or not, so the start of a next request is unknown.
        assert!(head.contains("Connection: close\r\n"), "{fields}: {head}");
        assert_eq!(read_text(&mut stream), "", "{fields}");
        server.next_refused();
    }
    // HTTP/1.0 knows no interim answers (§10.1.1), and content that is there already needs no
    // permission.
    for (version, content) in [("1.0", ""), ("1.1", "hello")] {
        let mut stream = connect(server.port());
        let wire = format!(
            "PUT /z HTTP/{version}\r\nHost: a\r\n{expects}Content-Length: 5\r\n\r\n{content}"
        );
        stream.write_all(wire.as_bytes()).unwrap();
        if content.is_empty() {
            stream.write_all(b"hello").unwrap();
        }
        assert_eq!(statuses(&read_answer(&mut stream).0), [201], "{version}");
        server.next_receipt();
    }
}

#[test]
fn ht_4_short_content_of_a_refused_request_is_discarded_and_long_content_ends_the_connection() {
    let server = Server::start(&[]);
    let origin = "Origin: http://evil.example\r\n";
    for (length, continues) in [(5, true), (64 * 1024, true), (64 * 1024 + 1, false)] {
        let content = "x".repeat(length);
        let wire = format!(
            "PUT /x HTTP/1.1\r\nHost: a\r\n{origin}Content-Length: {length}\r\n\r\n{content}\
             GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let answers = converse(&mut connect(server.port()), wire.as_bytes());
        let expected: &[u16] = if continues { &[403, 200] } else { &[403] };
        assert_eq!(statuses(&answers), expected, "{length}: {answers}");
        assert_eq!(answers.contains("Connection: close\r\n"), !continues, "{length}");
        server.next_refused();
    }
    let chunked = format!(
        "PUT /x HTTP/1.1\r\nHost: a\r\n{origin}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    );
    assert_eq!(statuses(&converse(&mut connect(server.port()), chunked.as_bytes())), [403]);
    server.next_refused();
    assert_eq!(server.names(), Vec::<String>::new());
}

#[test]
fn ht_6_methods_are_refused_by_what_is_known_of_them() {
    let server = Server::start(&[]);
    for (request, status, allow) in [
        ("PATCH /x", 405, "GET, HEAD, PUT, POST, MKCOL, OPTIONS"),
        ("TRACE /", 405, "GET, HEAD, PUT, POST, MKCOL, OPTIONS"),
        ("CONNECT a:80", 405, "GET, HEAD, PUT, POST, MKCOL, OPTIONS"),
        ("BREW /x", 501, "GET, HEAD, PUT, POST, MKCOL, OPTIONS"),
        ("GET /echo", 405, "POST, OPTIONS"),
        ("PUT /time", 405, "GET, HEAD, OPTIONS"),
        ("OPTIONS *", 204, "GET, HEAD, PUT, POST, MKCOL, OPTIONS"),
        ("OPTIONS /echo", 204, "POST, OPTIONS"),
    ] {
        let wire = format!(
            "{request} HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let answers = converse(&mut connect(server.port()), wire.as_bytes());
        assert_eq!(statuses(&answers), [status, 200], "{request}: {answers}");
        assert!(answers.contains(&format!("Allow: {allow}\r\n")), "{request}: {answers}");
        assert!(!answers.contains("Access-Control"), "{answers}");
        if status != 204 {
            server.next_refused();
        }
    }
    // A method that a right allows lacks the right.
    let wire = b"DELETE /x HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let answers = converse(&mut connect(server.port()), wire);
    assert_eq!(statuses(&answers), [403, 200], "{answers}");
    assert!(answers.contains("lacks the right delete"), "{answers}");
}

#[test]
fn ht_12_the_upgrade_works_behind_other_requests() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        std::fs::write(server.dir().join("x"), b"hello").unwrap();
        let first = "GET /x HTTP/1.1\r\nHost: a\r\n\r\nPUT /y HTTP/1.1\r\nHost: \
            a\r\nContent-Length: 1\r\n\r\ny";
        let handshake = upgrade("/files/z", "");
        let frames = [frame(BINARY, b"content"), close_frame(1000, "")].concat();
        for at_once in [true, false] {
            let mut stream = connect(server.port());
            let pieces = [first.as_bytes(), handshake.as_bytes(), &frames];
            if at_once {
                stream.write_all(&pieces.concat()).unwrap();
            }
            for (number, piece) in pieces.iter().enumerate() {
                if !at_once {
                    stream.write_all(piece).unwrap();
                }
                match number {
                    0 => {
                        assert_eq!(read_answer(&mut stream).1, "hello");
                        assert!(read_answer(&mut stream).0.starts_with("HTTP/1.1 201 "));
                    }
                    1 => assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "), "{engine}"),
                    _ => assert_eq!(read_close(&mut stream).0, Some(1000), "{engine}"),
                }
            }
            assert_eq!(server.next_event()["event"], "sent");
            assert_eq!(server.next_receipt()["protocol"], "http");
            let receipt = server.next_receipt();
            assert_eq!((&receipt["protocol"], &receipt["engine"]), (&"ws".into(), &engine.into()));
            assert_eq!(server.stored(&receipt), b"content");
        }
        // After a large upload, too, which has had a thread of its own where there is one.
        let mut stream = connect(server.port());
        let large = vec![7; 3 * 1024 * 1024];
        let head = format!("PUT /l HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", large.len());
        stream.write_all(&[head.as_bytes(), &large].concat()).unwrap();
        assert!(read_answer(&mut stream).0.starts_with("HTTP/1.1 201 "));
        stream.write_all(upgrade("/echo", "").as_bytes()).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "), "{engine}");
        stream.write_all(&frame(TEXT, b"there?")).unwrap();
        assert_eq!(read_frame(&mut stream), (TEXT, b"there?".to_vec()));
    }
}

/// Row 1 of what must not bring a server down: counted from the first byte of each head.
#[test]
fn ht_5_a_slow_head_times_out_on_every_request() {
    let server = Server::start(&["--handshake-timeout", "1s"]);
    for before in [0, 2] {
        let mut stream = connect(server.port());
        for _ in 0..before {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            read_answer(&mut stream);
        }
        // Between two requests the clock stands.
        std::thread::sleep(Duration::from_millis(if before > 0 { 1200 } else { 0 }));
        let began = Instant::now();
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
        let mut writer = stream.try_clone().unwrap();
        let send_slowly = std::thread::spawn(move || {
            while writer.write_all(b"A: b\r\n").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let answer = read_head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
        drop(stream);
        send_slowly.join().unwrap();
        server.next_refused();
    }
}

#[test]
fn ht_5_an_idle_connection_is_closed_without_a_response() {
    let server = Server::start(&["--idle-timeout", "300ms"]);
    let mut stream = connect(server.port());
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let answer = read_text(&mut stream);
    assert_eq!(statuses(&answer), [200], "{answer}");
    assert!(answer.ends_with("ok\n"));
    // Inside a head or content there is a reason to report.
    for (wire, event) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n", "refused"),
        ("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell", "interrupted"),
    ] {
        let mut stream = connect(server.port());
        stream.write_all(wire.as_bytes()).unwrap();
        let answer = read_text(&mut stream);
        assert_eq!(statuses(&answer), [408], "{answer}");
        assert_eq!(server.next_event()["event"], event);
    }
    assert_eq!(server.stop(), Vec::<Value>::new());
}

/// A page of any origin can send it, so it must not become a file.
#[test]
fn ht_13_a_request_line_beyond_its_limit_is_414_and_never_stored() {
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length));
    let server = Server::start(&[]);
    for long in [line(8200), line(8200).replace("GET", "POST").replace("\r\n\r\n", "\r\n\r\nx")] {
        let answer = converse(&mut connect(server.port()), long.as_bytes());
        assert_eq!(statuses(&answer), [414], "{answer}");
        server.next_refused();
    }
    let receipt =
        converse(&mut connect(server.port()), line(8200).replace("GET", "BREW").as_bytes());
    assert!(receipt.starts_with("ANYPORT/1 RECEIPT "), "{receipt}");
    assert_eq!(server.next_receipt()["protocol"], "raw");
    assert_eq!(statuses(&converse(&mut connect(server.port()), line(8000).as_bytes())), [400]);
    server.next_refused();
    // On a connection that speaks HTTP already there is nothing to guess.
    let both = format!("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n{}", line(8200));
    let answers = converse(&mut connect(server.port()), both.as_bytes());
    assert_eq!(statuses(&answers), [200, 414]);
    let only = Server::start(&["--only", "http,ws"]);
    let answer = converse(&mut connect(only.port()), line(8200).as_bytes());
    assert_eq!(statuses(&answer), [414], "{answer}");
}

#[test]
fn plain_http_that_is_not_accepted_is_refused_with_the_accepted_protocols() {
    let server = Server::start(&["--only", "ws,raw"]);
    let Some((said, status)) = curl_says(&[&server.url("http", "")]) else { return };
    assert_eq!(status, 403);
    assert!(said.contains("--only") && said.contains("websocat"), "{said}");
    server.next_refused();
    let mut stream = connect(server.port());
    stream.write_all(upgrade("/echo", "").as_bytes()).unwrap();
    assert_eq!(read_line(&mut stream), "HTTP/1.1 101 Switching Protocols\r");
}

#[test]
fn ht_5_a_stopping_server_answers_the_current_request_as_the_last() {
    let mut server = Server::start(&[]);
    // An upload under way, an idle connection, and a head that is half here.
    let mut busy = connect(server.port());
    busy.write_all(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel").unwrap();
    server.growing_part();
    let mut idle = connect(server.port());
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    read_answer(&mut idle);
    let mut half = connect(server.port());
    half.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    half.write_all(b"Host: a\r\n").unwrap();
    wait_until_read(&half);
    server.signal("TERM");
    assert_eq!(read_text(&mut idle), "");
    assert_eq!(statuses(&read_text(&mut half)), [503]);
    busy.write_all(b"lo").unwrap();
    let answer = read_text(&mut busy);
    assert_eq!(statuses(&answer), [201], "{answer}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
    assert_eq!(server.stored(&server.next_receipt()), b"hello");
    assert_eq!(server.wait().code(), Some(0));
}

/// A connection that had a thread of its own for a large file waits for its next request among the
/// others: it neither holds the thread nor keeps a server from stopping.
#[test]
fn ht_5_a_connection_that_is_idle_after_a_large_file_holds_nothing_up() {
    let mut server = Server::start(&["--bulk-threads", "1"]);
    let large = noise(5_000_000, 1);
    let mut streams: Vec<TcpStream> = (0..3).map(|_| connect(server.port())).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        for _ in 0..2 {
            let path = format!("f{number}");
            let head =
                format!("PUT /{path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n");
            stream.write_all(&[head.as_bytes(), &large].concat()).unwrap();
            assert!(read_answer(stream).0.starts_with("HTTP/1.1 201 "));
            assert_eq!(server.next_receipt()["digest"], blake3(&large));
        }
        let get = format!(
            "GET /f{number} HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        stream.write_all(get.as_bytes()).unwrap();
        let mut content = vec![0; large.len()];
        assert!(read_head(stream).contains("Content-Length: 5000000\r\n"));
        stream.read_exact(&mut content).unwrap();
        assert!(content == large);
        assert_eq!(read_answer(stream).1, "ok\n");
        assert_eq!(server.next_event()["event"], "sent");
    }
    server.signal("TERM");
    for stream in &mut streams {
        assert_eq!(read_text(stream), "");
    }
    // Sooner than --drain-timeout, which is longer than the deadline of tests.
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn echo_returns_input_immediately() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    stream
        .write_all(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n",
        )
        .unwrap();
    let head = read_head(&mut stream);
    assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
    // Back before the rest has come.
    assert_eq!(read_line(&mut stream), "5\r");
    assert_eq!(read_line(&mut stream), "hello\r");
    stream.write_all(b"1\r\n!\r\n0\r\nTrailer: x\r\n\r\n").unwrap();
    let mut rest = [0; 6 + 5];
    stream.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b"1\r\n!\r\n0\r\n\r\n");
    for length in ["0\r\n\r\n", "4\r\n\r\nquit"] {
        let request = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}");
        stream.write_all(request.as_bytes()).unwrap();
        let (head, content) = read_answer(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(length.ends_with(&content) && !head.contains("chunked"), "{head}{content}");
    }
    let large = Sample::new("large", &noise(3_000_000, 1));
    let url = server.url("http", "echo");
    for coding in ["Transfer-Encoding: chunked", "Transfer-Encoding:"] {
        let content = format!("@{}", large.path());
        let Some(mut curl) = curl() else { return };
        let copy = Sample::new("copy", b"");
        curl.args([
            "-H",
            coding,
            "-H",
            "Expect:",
            "--data-binary",
            &content,
            "-o",
            copy.path(),
            &url,
        ]);
        Running::start(curl, None).outcome().succeeds();
        let same = std::fs::read(copy.path()).unwrap() == std::fs::read(large.path()).unwrap();
        assert!(same, "{coding}");
    }
    assert_eq!(server.stop(), Vec::<Value>::new(), "an echo is no transfer");
}

/// BP-1: what an echo holds is one read, however slowly its client reads.
#[test]
fn bp_1_an_echo_over_http_that_is_not_read_holds_one_read() {
    let server = Server::start(&[]);
    let mut stream = connect(server.port());
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let before = server.memory();
    let content = vec![7; 1024 * 1024];
    let mut written = 0;
    while written < 500 && stream.write_all(&content).is_ok() {
        written += 1;
    }
    assert!(written < 500, "the server reads on while nobody takes its answer");
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 4 * 1024 * 1024, "{grown} bytes");
}

#[test]
fn help_and_time_are_for_people() {
    let server = Server::start(&["-v"]);
    let Some((help, 200)) = curl_says(&[&server.url("http", "help")]) else { return };
    let port = server.port();
    for line in [
        format!("curl -T FILE http://127.0.0.1:{port}/"),
        format!("nc -N 127.0.0.1 {port} < FILE"),
        format!("ncat 127.0.0.1 {port} < FILE"),
        format!("websocat -b ws://127.0.0.1:{port}/files/NAME < FILE"),
    ] {
        assert!(help.contains(&line), "no {line:?} in {help}");
    }
    let (time, status) = curl_says(&[&server.url("http", "time")]).unwrap();
    assert_eq!(status, 200);
    assert!(time.starts_with("Local time is: "), "{time}");
    server.says("time sent");
    server.says("peer=127.0.0.1:");
    // A file may have any name.
    std::fs::write(server.dir().join("help"), b"a file").unwrap();
    let (file, status) = curl_says(&[&server.url("http", "files/help")]).unwrap();
    assert_eq!((file.as_str(), status), ("a file", 200));
    assert_eq!(server.next_event()["event"], "sent");
}

/// By `Accept-Language` (RFC 9110 §12.5.4), over both versions of HTTP.
#[test]
fn help_is_in_the_language_that_the_client_prefers() {
    let server = Server::start(&[]);
    let url = server.url("http", "help");
    for (accepted, language) in [
        (None, "en"),
        (Some("ko"), "ko"),
        (Some("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7"), "ko"),
        (Some("en;q=0.9, ko;q=0.8"), "en"),
        (Some("en;q=0.5, ko;q=0.50"), "en"),
        (Some("*"), "en"),
        (Some("en;q=0, *;q=0.1"), "ko"),
        (Some("ko;q=0, *"), "en"),
        (Some("ko;q=high,;;=,*;q"), "en"),
        (Some("\u{d55c}\u{ad6d}\u{c5b4}"), "en"),
    ] {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let field = accepted.map(|accepted| format!("Accept-Language: {accepted}"));
            let mut arguments = vec!["-i", version, url.as_str()];
            arguments.extend(field.iter().flat_map(|field| ["-H", field]));
            let Some((answer, 200)) = curl_says(&arguments) else { return };
            let (head, text) = answer.split_once("\r\n\r\n").unwrap();
            let head = head.to_ascii_lowercase();
            assert!(
                head.contains(&format!("content-language: {language}\r\n")),
                "{accepted:?}: {head}"
            );
            assert!(head.contains("vary: accept-language"), "{head}");
            assert_eq!(text.is_ascii(), language == "en", "{accepted:?}: {text}");
            assert!(text.contains(&format!("curl -T FILE http://127.0.0.1:{}/", server.port())));
        }
    }
}

/// A hundred files over one connection of curl.
#[test]
fn ht_1_one_connection_accepts_many_small_files() {
    let Some(mut curl) = curl() else { return };
    let server = Server::start(&["--fsync", "none"]);
    let directory = tempfile::tempdir().unwrap();
    let mut list = Vec::new();
    for number in 0..100 {
        let path = directory.path().join(format!("f{number}"));
        std::fs::write(&path, format!("content {number}")).unwrap();
        list.push(path.to_str().unwrap().to_owned());
    }
    curl.args(["-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null"]);
    curl.args(["-T", &format!("{{{}}}", list.join(",")), &server.url("http", "")]);
    let outcome = Running::start(curl, None).outcome().succeeds();
    let connects: u32 = outcome
        .stdout
        .lines()
        .filter_map(|line| line.split_once("201 "))
        .map(|(_, connects)| connects.parse::<u32>().unwrap())
        .sum();
    assert_eq!(connects, 1, "{outcome:#?}");
    for number in 0..100 {
        let receipt = server.next_receipt();
        assert_eq!(receipt["path"], format!("f{number}"));
        assert_eq!(receipt["digest"], blake3(format!("content {number}").as_bytes()));
    }
    wait_until("all files", || (server.published().len() == 100).then_some(()));
}
