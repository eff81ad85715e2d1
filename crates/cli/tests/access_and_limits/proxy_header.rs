//! PROXY protocol headers in front of what a proxy's client sends, on a server that does not accept
//! them.

use std::io::Write;
use std::net::Shutdown;

use anyport_testkit::harness::tls::TlsPeer;
use anyport_testkit::harness::wire::{connect, converse, read_text};
use anyport_testkit::harness::{Server, wait_until};

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb";

/// What stands behind each, as a browser sends it.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic c2VjcmV0\r\n\r\n";

const ERROR: &str = "ANYPORT/1 ERROR not-supported PROXY protocol header: ";

#[test]
fn a_proxy_header_is_refused_by_name_and_never_stored() {
    for flags in [&[][..], &["--only", "raw,http"], &["--only", "http"], &["--only", "frames"]] {
        let server = Server::start(flags);
        for header in [
            V1,
            V2,
            b"PROXY UNKNOWN\r\n",
            b"PROXY TCP6 ::1 2001:db8::1 1 2\r\n",
            // With a fault, and the same request behind it.
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
            b"PROXY UNKNOWN\n",
            &[b"PROXY TCP6 ", &[b'1'; 200][..], b"\r\n"].concat(),
        ] {
            let answer = converse(&mut connect(server.port()), &[header, REQUEST].concat());
            assert!(answer.starts_with(ERROR), "{flags:?} {header:?}: {answer}");
            let refused = server.next_refused();
            assert_eq!(refused["protocol"], "proxy", "{refused}");
            assert!(!refused.to_string().contains("c2VjcmV0"), "{refused}");
        }
        // In pieces, as a slow network brings it.
        let mut stream = connect(server.port());
        for piece in V1.chunks(7) {
            stream.write_all(piece).unwrap();
        }
        stream.write_all(REQUEST).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(read_text(&mut stream).starts_with(ERROR));
        assert_eq!(server.names(), [""; 0]);
    }
}

#[test]
fn a_proxy_header_within_tls_is_refused_too() {
    let server = Server::start(&[]);
    for header in [V1, V2] {
        let mut secured = TlsPeer::connect(server.port());
        secured.write(&[header, REQUEST].concat());
        secured.receives(ERROR);
        assert_eq!(server.next_refused()["protocol"], "proxy");
    }
    assert_eq!(server.names(), [""; 0]);
}

#[test]
fn where_every_input_is_raw_a_proxy_header_is_content() {
    for flags in [&["--no-detect"][..], &["--only", "raw"]] {
        let server = Server::start(flags);
        for header in [V1, V2] {
            let content = [header, REQUEST].concat();
            let answer = converse(&mut connect(server.port()), &content);
            assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
            assert_eq!(server.stored(&server.next_receipt()), content);
        }
    }
}

#[test]
fn a_file_that_only_resembles_a_proxy_header_is_stored() {
    let server = Server::start(&[]);
    for content in [
        &b"PROXY wars\r\n"[..],
        b"PROXY TCP44 192.0.2.1\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"proxy tcp4 192.0.2.1 192.0.2.2 56324 443\r\n",
        b"\r\n\r\ntext",
    ] {
        let answer = converse(&mut connect(server.port()), content);
        assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
        assert_eq!(server.stored(&server.next_receipt()), content);
    }
}

#[test]
fn a_proxy_header_slower_than_the_detection_deadline_is_refused_and_never_stored() {
    let flags = ["--detect-timeout", "100ms"];
    for only in [&[][..], &["--only", "raw,http"], &["--only", "http"]] {
        let server = Server::start(&[&flags, only].concat());
        for part in [&V1[..11], &V1[..V1.len() - 1], b"PROXY UNKNOWN", &V2[..5], &V2[..11]] {
            let mut stream = connect(server.port());
            stream.write_all(part).unwrap();
            let answer = read_text(&mut stream);
            assert!(answer.starts_with(ERROR), "{only:?} {part:?}: {answer}");
            assert_eq!(server.next_refused()["protocol"], "proxy");
        }
        if only.is_empty() {
            let mut secured = TlsPeer::connect(server.port());
            secured.write(&V1[..11]);
            secured.receives(ERROR);
            assert_eq!(server.next_refused()["protocol"], "proxy");
        }
        assert_eq!(server.names(), [""; 0]);
    }
}

#[test]
fn slow_content_that_is_no_candidate_for_a_proxy_header_is_stored() {
    for (flags, first, rest) in [
        (&[][..], &b"PROXY "[..], &b"wars\r\n"[..]),
        (&[], b"PROXY TCP", b"4 is a word\r\n"),
        (&[], b"\r\n\r\n", b"text"),
        (&["--only", "raw"], &V1[..20], &V1[20..]),
    ] {
        let server = Server::start(&[&["--detect-timeout", "100ms"], flags].concat());
        let mut stream = connect(server.port());
        stream.write_all(first).unwrap();
        wait_until("a partial file", || {
            server.names().iter().any(|name| name.ends_with(".part")).then_some(())
        });
        let answer = converse(&mut stream, rest);
        assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
        assert_eq!(server.stored(&server.next_receipt()), [first, rest].concat());
    }
}
