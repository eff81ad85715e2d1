//! A second opinion on heads and content: hyper reads the same requests.
//!
//! What we take, hyper takes with the same content; so no reader behind or before us that is as
//! strict as hyper sees another request than we do. Where we refuse what hyper takes, the rule is
//! one of those that are listed here, on purpose.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use anyport_proto::http1::{BodyError, BodyReader, Framing, HeadError, HeadReader, Pushed};
use anyport_proto::limits::Limits;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::io::AsyncWriteExt;

/// What a reader makes of the first request of a stream that ends behind `wire`.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Taken {
        method: String,
        target: String,
        content: Vec<u8>,
    },
    /// It needs more bytes.
    Cut,
    Refused(&'static str),
}

fn ours(wire: &[u8]) -> Read {
    let limits = Limits::default();
    let (head, used) = match HeadReader::new().push(wire, &limits) {
        Ok(Pushed::Done { head, used }) => (head, used),
        Ok(Pushed::NeedMore) => return Read::Cut,
        Err(error) => return Read::Refused(of_head(&error)),
    };
    let mut body = match Framing::of(&head) {
        Ok(framing) => BodyReader::new(framing),
        Err(error) => return Read::Refused(of_body(&error)),
    };
    let (mut content, mut rest) = (Vec::new(), &wire[used..]);
    while !body.is_done() && !rest.is_empty() {
        match body.read(rest, &limits) {
            Ok(piece) => {
                content.extend_from_slice(piece.content);
                rest = &rest[piece.used..];
            }
            Err(error) => return Read::Refused(of_body(&error)),
        }
    }
    let (method, target) = (head.method.to_string(), head.target);
    if body.is_done() { Read::Taken { method, target, content } } else { Read::Cut }
}

fn of_head(error: &HeadError) -> &'static str {
    match error {
        HeadError::BareLineFeed => "a bare line feed",
        HeadError::StrayCarriageReturn => "a stray carriage return",
        HeadError::ControlByte(_) => "a control byte",
        HeadError::EmptyStartLine => "an empty line first",
        HeadError::FoldedField => "a folded field",
        HeadError::Version => "another version",
        HeadError::Target => "a target that does not fit",
        HeadError::MissingHost => "no host",
        HeadError::RepeatedHost => "two hosts",
        HeadError::Host => "a malformed host",
        HeadError::RepeatedContentLength => "two lengths",
        HeadError::LengthBesideEncoding => "a length beside chunks",
        HeadError::ContentLength => "a malformed length",
        HeadError::EncodingInHttp10 => "chunks in HTTP/1.0",
        _ => "another rule of heads",
    }
}

fn of_body(error: &BodyError) -> &'static str {
    match error {
        BodyError::UnknownCoding => "an unknown coding",
        BodyError::NotChunked => "not one chunked",
        BodyError::ChunkSize => "a malformed chunk size",
        BodyError::ChunkTooLong => "a long chunk size",
        BodyError::ControlByte(_) => "a control byte in an extension",
        BodyError::Trailer(error) => of_head(error),
        BodyError::BareLineFeed => "a bare line feed between chunks",
        BodyError::StrayCarriageReturn => "a stray carriage return between chunks",
        _ => "another rule of content",
    }
}

/// Where we are stricter than hyper, each by its rule.
const STRICTER: [(&str, &str); 13] = [
    ("a bare line feed", "RFC 9112 §2.2 lets a recipient take it; smuggling uses it"),
    ("an empty line first", "RFC 9112 §2.2 lets a server skip it"),
    ("a target that does not fit", "RFC 9112 §3.2 knows four forms, each with its methods"),
    ("no host", "RFC 9112 §3.2: must be answered with 400"),
    ("two hosts", "RFC 9112 §3.2: must be answered with 400"),
    ("a malformed host", "RFC 9112 §3.2: must be answered with 400"),
    ("two lengths", "RFC 9112 §6.3: equal ones may be taken for one"),
    ("a length beside chunks", "RFC 9112 §6.1: may be refused, and ought to be"),
    ("an unknown coding", "RFC 9112 §6.1: 501"),
    ("not one chunked", "RFC 9112 §6.1: chunked is applied once"),
    ("a malformed chunk size", "RFC 9112 §7.1: no white space stands beside it"),
    ("a long chunk size", "RFC 9112 §7.1: leading zeros beyond 16 digits"),
    ("a control byte in an extension", "RFC 9112 §7.1.1: no token or string holds one"),
];

async fn hypers(wire: &[u8]) -> Read {
    let seen = Arc::new(Mutex::new(None));
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(wire).await.unwrap();
    client.shutdown().await.unwrap();
    let reported = seen.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let reported = reported.clone();
        async move {
            let (method, target) = (request.method().to_string(), request.uri().to_string());
            let read = match request.into_body().collect().await {
                Ok(whole) => Read::Taken { method, target, content: whole.to_bytes().to_vec() },
                Err(_) => Read::Refused("content"),
            };
            reported.lock().unwrap().get_or_insert(read);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .keep_alive(false)
        .serve_connection(TokioIo::new(server), service)
        .await;
    let read = seen.lock().unwrap().take();
    read.unwrap_or(match served {
        Ok(()) => Read::Cut,
        Err(_) => Read::Refused("head"),
    })
}

/// Requests that are mostly right, and wrong in one place or two.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => Just("POST /a HTTP/1.1\r\n"),
        2 => Just("GET /b?c HTTP/1.1\r\n"),
        1 => prop::sample::select(vec![
            "PUT http://a/x HTTP/1.1\r\n", "POST /a HTTP/1.0\r\n", "OPTIONS * HTTP/1.1\r\n",
            "GET * HTTP/1.1\r\n", "CONNECT a:1 HTTP/1.1\r\n", "POST  /a HTTP/1.1\r\n",
            "POST /a HTTP/1.1\n", "\r\nPOST /a HTTP/1.1\r\n", "POST /a HTTP/1.2\r\n",
            "POST /a HTTP/1.1 \r\n", "POST /a\tHTTP/1.1\r\n", "P(ST /a HTTP/1.1\r\n",
            "POST /a#b HTTP/1.1\r\n", "POST a HTTP/1.1\r\n", "POST /\u{7f} HTTP/1.1\r\n",
        ]),
    ];
    let host = prop_oneof![
        8 => Just("Host: a\r\n"),
        1 => prop::sample::select(vec![
                "", "Host: a\r\nHost: a\r\n", "Host: a/b\r\n", "Host : a\r\n",
            ]),
    ];
    let framing = prop_oneof![
        4 => Just("Transfer-Encoding: chunked\r\n"),
        3 => Just("Content-Length: 5\r\n"),
        1 => Just(""),
        4 => prop::sample::select(vec![
            "Content-Length: 0\r\n", "Content-Length: +5\r\n", "Content-Length: 5 5\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: \
            5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n", "Content-Length: 0x5\r\n", "Content-Length: -1\r\n",
            "Content-Length: 05\r\n", "Content-Length: \r\n", "Content-Length : 5\r\n",
            "Content-Length: 5\n", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 18446744073709551616\r\n", "Content-Length: 18446744073709551615\r\n",
            "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked, identity\r\n", "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: xchunked\r\n", "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding:\r\n chunked\r\n", "Transfer-Encoding: \u{b}chunked\r\n",
            "Transfer-Encoding: ,chunked\r\n", "Transfer-Encoding: chunked,\r\n",
        ]),
    ];
    let field = prop_oneof![
        6 => Just(""),
        1 => prop::sample::select(vec![
            "A: b\r\n", "A: b\r\n c\r\n", "A: b\rc\r\n", "A: b\0\r\n", "A:\tb \r\n", ": b\r\n",
            "A b\r\n", "A\r\n", "A: b\n", "A: \u{e9}\r\n", "A: \u{7f}\r\n", "\u{e9}: b\r\n",
        ]),
    ];
    let good = prop_oneof![
        Just("5\r\nhello\r\n"),
        Just("1\r\nx\r\n"),
        Just("0A;n=v\r\n0123456789\r\n"),
        Just("3;a;b=\"c\"\r\nabc\r\n"),
    ];
    let odd = prop::sample::select(vec![
        "5 \r\nhello\r\n",
        " 5\r\nhello\r\n",
        "5\nhello\r\n",
        "5\r\nhello\n",
        "5\r\nhell\r\n",
        "5\r\nhello!\r\n",
        "+5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "00000000000000005\r\nhello\r\n",
        "10000000000000000\r\nhello\r\n",
        "ffffffffffffffff\r\nhello\r\n",
        "5;a\nb\r\nhello\r\n",
        "5;\0\r\nhello\r\n",
        "5\r\r\nhello\r\n",
        "\r\n",
        "5;a\rb\r\nhello\r\n",
        "5\t;a\r\nhello\r\n",
        "g\r\n",
    ]);
    let chunk = prop_oneof![12 => good, 1 => odd];
    let end = prop_oneof![
        6 => Just("0\r\n\r\n"),
        3 => prop::sample::select(vec![
            "0\r\nA: b\r\n\r\n", "000;x\r\n\r\n", "0\n\n", "0\r\n\n", "0\r\nA: b\n\r\n",
            "0\r\nA : b\r\n\r\n",
            "0\r\n A: b\r\n\r\n", "0\r\nA: b\r\n c\r\n\r\n", "0\r\nnonsense\r\n\r\n",
            "0\r\nA: \0\r\n\r\n", "0\r\n", "0", "",
            "0\r\nContent-Length: 7\r\n\r\n",
        ]),
    ];
    let body = prop_oneof![
        2 => (prop::collection::vec(chunk, 0..4), end)
            .prop_map(|(chunks, end)| chunks.concat() + end),
        1 => Just("hello".to_owned()),
        1 => Just("hel".to_owned()),
    ];
    let behind = prop_oneof![2 => Just(""), 1 => Just("GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n")];
    let parts = (line, host, framing, field, body, behind);
    parts.prop_map(|(line, host, framing, field, body, behind)| {
        format!("{line}{host}{field}{framing}\r\n{body}{behind}").into_bytes()
    })
}

#[tokio::test]
async fn ht_2_nothing_that_hyper_refuses_is_accepted_and_stricter_rules_are_named() {
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let strategy = requests();
    let (mut taken, mut refused) = (0, 0);
    let mut stricter: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..20_000 {
        let wire = strategy.new_tree(&mut runner).unwrap().current();
        let text = String::from_utf8_lossy(&wire);
        match (ours(&wire), hypers(&wire).await) {
            (ours @ Read::Taken { .. }, hypers) => {
                assert_eq!(ours, hypers, "{text:?}");
                taken += 1;
            }
            (Read::Refused(rule), Read::Taken { .. }) => {
                let known = STRICTER.iter().any(|(name, _)| *name == rule);
                assert!(known, "refused for {rule}, and hyper takes it: {text:?}");
                *stricter.entry(rule).or_default() += 1;
            }
            (Read::Cut, hypers @ Read::Taken { .. }) => panic!("cut for us, {hypers:?}: {text:?}"),
            _ => refused += 1,
        }
    }
    assert!(taken > 3000 && refused > 1000, "{taken} taken, {refused} refused by both");
    for (rule, why) in STRICTER {
        assert!(
            stricter.contains_key(rule),
            "hyper is as strict with {rule} ({why}): {stricter:?}"
        );
    }
}
