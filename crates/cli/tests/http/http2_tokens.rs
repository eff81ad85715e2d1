//! Tokens over HTTP/2: each stream shows its own, and one that shows none takes no other with it.

use anyport_testkit::harness::http::curl;
use anyport_testkit::harness::http2::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Http2Peer, field, head,
};
use anyport_testkit::harness::tokens::{ALICE, BOB, both, guarded};
use anyport_testkit::harness::{Expected, Running, Sample, Server, wait_until};

/// What is asked, and by whom, in one connection: each with its status and the challenge.
#[test]
fn each_request_of_a_connection_shows_its_own_token() {
    let (server, _file) = guarded(&[]);
    let sample = Sample::new("x", b"hello");
    let bearer = |token: &str| vec!["-H".to_owned(), format!("Authorization: Bearer {token}")];
    let basic = |password: &str| vec!["-u".to_owned(), password.to_owned()];
    let upload = |mut who: Vec<String>| {
        who.extend(["-T".to_owned(), sample.path().to_owned()]);
        who
    };
    let asked = [
        (bearer(ALICE), 200),
        (vec![], 401),
        (basic(&format!(":{BOB}")), 200),
        (bearer("x0123456789abcdefghi"), 401),
        (basic(&format!("{ALICE}:")), 200),
        (basic("alice:wrong"), 401),
        (upload(vec![]), 401),
        (upload(bearer(BOB)), 201),
        (bearer(ALICE), 200),
    ];
    let Some(mut curl) = curl() else { return };
    for (number, (who, _)) in asked.iter().enumerate() {
        // Under TLS: curl 7.88 cannot reuse a connection in clear text.
        curl.args(if number == 0 { &["--http2", "-k"][..] } else { &["--next", "--http2", "-k"] });
        let format = "%{http_code} %{num_connects} %header{www-authenticate}\n";
        curl.args(["-sS", "-o", "/dev/null", "-w", format]).args(who);
        curl.arg(server.url("https", ""));
    }
    let said = Running::start(curl, None).outcome().succeeds().stdout;
    let expected: Vec<String> = (asked.iter().enumerate())
        .map(|(number, (_, status))| {
            let challenge = if *status == 401 { "Basic realm=\"anyport\"" } else { "" };
            format!("{status} {} {challenge}", u8::from(number == 0))
        })
        .collect();
    let said: Vec<&str> =
        said.lines().map(|line| line.trim_end_matches(", charset=\"UTF-8\"")).collect();
    assert_eq!(said, expected);
    assert_eq!(server.published(), ["x"]);
}

/// Among concurrent streams: those with a token continue, whatever happens to those without.
#[test]
fn a_refused_stream_ends_no_other() {
    let (server, _file) = guarded(&[]);
    let mut wire = Http2Peer::open(&server, &[]);
    let put = |path: &str, token: Option<&str>| {
        let fields = head("PUT", path, Some(10));
        let token = token.map(|token| field("authorization", &format!("Bearer {token}")));
        [fields, token.unwrap_or_default()].concat()
    };
    wire.send(HEADERS, END_HEADERS, 1, &put("/first", Some(ALICE)));
    wire.send(DATA, 0, 1, b"hello");
    wait_until("its part", || {
        server.names().iter().any(|name| name.ends_with(".part")).then_some(())
    });
    for (stream, token) in [(3, None), (5, Some("x0123456789abcdefghi"))] {
        wire.send(HEADERS, END_HEADERS, stream, &put("/refused", token));
        wire.send(DATA, 0, stream, b"hello");
        let answer = wire.until(DATA, stream);
        let said = String::from_utf8(answer.payload).unwrap();
        assert!(said.contains("token"), "{said}");
    }
    // Further ones of an address are counted, and not reported.
    assert_eq!(server.next_refused()["protocol"], "http2");
    wire.send(HEADERS, END_HEADERS, 7, &put("/second", Some(BOB)));
    wire.send(DATA, END_STREAM, 7, b"helloworld");
    wire.send(DATA, END_STREAM, 1, b"world");
    for _ in 0..2 {
        let receipt = server.next_receipt();
        assert_eq!(server.stored(&receipt), b"helloworld", "{receipt}");
    }
    // Content of the refused ones is discarded, and then they get their response.
    wire.send(DATA, END_STREAM, 3, b"world");
    wire.get(9, "/healthz");
    assert_eq!(wire.until(DATA, 9).payload, b"ok\n");
    assert_eq!(server.published(), ["first", "second"]);
    assert!(server.try_event().is_none());
}

/// Under TLS too, where a browser would show it.
#[test]
fn a_token_is_shown_under_tls_and_its_user_stands_in_the_log() {
    let file = both();
    let server = Server::start(&["-v", "--token-file", file.path()]);
    let content = b"hello";
    let sample = Sample::new("x", content);
    let Some(mut curl) = curl() else { return };
    curl.args(["--http2", "-sSk", "-u", &format!(":{ALICE}"), "-T", sample.path()]);
    curl.arg(server.url("https", ""));
    Running::start(curl, None).outcome().succeeds();
    Expected { protocol: "http2", engine: "own", end: "size", content }
        .check(&server, &server.next_receipt());
    server.says("user=\"alice\"");
    assert!(!server.said().contains(ALICE));
}
