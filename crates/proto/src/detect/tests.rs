use anyport_testkit::{cut_at, every_cut, hex, noise};
use proptest::prelude::*;

use super::*;

fn limits() -> Limits {
    Limits::default()
}

fn known(prefix: &[u8]) -> Option<DetectedProtocol> {
    match detect(prefix, &limits()) {
        Detection::Known(protocol) => Some(protocol),
        Detection::NeedMore { at_least } => {
            assert!(at_least > prefix.len(), "{at_least} bytes asked for after {prefix:02x?}");
            None
        }
    }
}

/// Works like a driver: classifies after each piece, until there is a result.
fn detect_pieces(pieces: &[&[u8]], limits: &Limits) -> DetectedProtocol {
    let mut prefix = Vec::new();
    for piece in pieces {
        prefix.extend_from_slice(piece);
        if let Detection::Known(protocol) = detect(&prefix, limits) {
            return protocol;
        }
    }
    detect_at_end(&prefix, limits)
}

/// Returns the result, and the number of bytes after which it was known.
fn decided_at(wire: &[u8]) -> (DetectedProtocol, usize) {
    (0..=wire.len())
        .find_map(|length| Some((known(&wire[..length])?, length)))
        .unwrap_or_else(|| panic!("open after all of {wire:02x?}"))
}

#[test]
fn each_protocol_is_detected_at_the_earliest_byte() {
    let table: &[(&[u8], DetectedProtocol, usize)] = &[
        (&hex("16 03 01 02 00 01 00 01 fc 03 03"), DetectedProtocol::Tls, 10),
        (&hex("16 03 03 00 80 01 00 00 7c 03 03"), DetectedProtocol::Tls, 10),
        (&hex("16 03 01 02 00 02"), DetectedProtocol::Raw, 6),
        (&hex("16 03 01 02 00 01 00 01 fc 02"), DetectedProtocol::Raw, 10),
        (&hex("16 04"), DetectedProtocol::Raw, 2),
        (&hex("15 03"), DetectedProtocol::Raw, 1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", DetectedProtocol::Http2, 14),
        (b"PRI * HTTP/2.1", DetectedProtocol::Raw, 14),
        (b"PRI * HTTP/1.1\r\n", DetectedProtocol::Http1, 16),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", DetectedProtocol::Http1, 16),
        (b"GET / HTTP/1.0\r\n", DetectedProtocol::Http1, 16),
        (b"GET / HTTP/1.1\n", DetectedProtocol::Http1, 15),
        (b"get * HTTP/1.1\r\n", DetectedProtocol::Http1, 16),
        (b"M-SEARCH * HTTP/1.1\r\n", DetectedProtocol::Http1, 21),
        (b"GET /\xc3\xa9 HTTP/1.1\r\n", DetectedProtocol::Http1, 18),
        (b"ANYPORT/1 PUT name\n", DetectedProtocol::Preface, 10),
        (b"ANYPORT/2 PUT name\n", DetectedProtocol::Preface, 10),
        (b"ANYPORT/123 x", DetectedProtocol::Preface, 12),
        (b"ANYPORT/1234 x", DetectedProtocol::Raw, 12),
        (b"ANYPORT/ x", DetectedProtocol::Raw, 9),
        (b"ANYPORT/1\n", DetectedProtocol::Raw, 10),
        (b"ANYPORT / HTTP/1.1\r\n", DetectedProtocol::Http1, 20),
        (b"anyport/1 PUT", DetectedProtocol::Raw, 8),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nGET", DetectedProtocol::Proxy, 12),
        (b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", DetectedProtocol::Proxy, 12),
        (b"PROXY UNKNOWN\r\n", DetectedProtocol::Proxy, 14),
        (b"PROXY UNKNOWN\n", DetectedProtocol::Proxy, 14),
        (b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n", DetectedProtocol::Proxy, 15),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", DetectedProtocol::Proxy, 12),
        (b"PROXY UNKNOWN HTTP/1.1\r\n", DetectedProtocol::Http1, 24),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n", DetectedProtocol::Proxy, 12),
        (b"PROXY TCP4 \n", DetectedProtocol::Proxy, 12),
        (&[b"PROXY TCP4 ", &[b'x'; 200][..]].concat(), DetectedProtocol::Proxy, 12),
        (b"PROXY TCP4\r\n", DetectedProtocol::Proxy, 11),
        (b"PROXY TCP4 HTTP/1.1\r\n", DetectedProtocol::Http1, 21),
        (b"PROXY TCP44\r\n", DetectedProtocol::Raw, 12),
        (b"PROXY UNKNOWNS\r\n", DetectedProtocol::Raw, 15),
        (b"PROXY wars\n", DetectedProtocol::Raw, 11),
        (b"\r\n\r\n\r\n", DetectedProtocol::Raw, 5),
    ];
    for (wire, protocol, length) in table {
        assert_eq!(decided_at(wire), (*protocol, *length), "{:?}", wire.escape_ascii().to_string());
    }
}

#[test]
fn text_that_only_begins_like_a_request_is_raw_at_the_first_impossible_byte() {
    let table: &[(&[u8], usize)] = &[
        (b"GET me a coffee\n", 8),
        (b" GET / HTTP/1.1\r\n", 1),
        (b"\r\nGET / HTTP/1.1\r\n", 3),
        (b"GET  / HTTP/1.1\r\n", 5),
        (b"GET /  HTTP/1.1\r\n", 7),
        (b"GET / HTTP/1.1 \r\n", 15),
        (b"GET / HTTP/1.2\r\n", 14),
        (b"GET / HTTP/1.1\rX", 16),
        (b"GET / HTTP/1.1\r\r\n", 16),
        (b"GET /\r\n", 6),
        (b"GET /\n", 6),
        (b"GET\n", 4),
        (b"G\x00T / HTTP/1.1", 2),
        (b"GET /\x7f HTTP/1.1", 6),
        (b"GET /\t HTTP/1.1", 6),
        (b"{\"json\": true}", 1),
        (b"name,age\n", 5),
        ("Grüße".as_bytes(), 3),
        (&[b'A'; 33], 33),
    ];
    for (wire, length) in table {
        let shown = wire.escape_ascii().to_string();
        assert_eq!(decided_at(wire), (DetectedProtocol::Raw, *length), "{shown:?}");
    }
    assert_eq!(known(&[b'A'; 32]), None);
    assert_eq!(
        known(&[&[b'A'; 32][..], b" / HTTP/1.1\r\n"].concat()),
        Some(DetectedProtocol::Http1)
    );
}

#[test]
fn request_line_may_fill_its_limit_exactly() {
    let line = |length: usize, end: &str| {
        let frame = "GET / HTTP/1.1".len() + end.len();
        format!("GET /{} HTTP/1.1{end}", "a".repeat(length - frame)).into_bytes()
    };
    let limit = limits().request_line;
    for end in ["\r\n", "\n"] {
        assert_eq!(decided_at(&line(limit, end)), (DetectedProtocol::Http1, limit), "{end:?}");
        assert_eq!(decided_at(&line(limit + 1, end)), (DetectedProtocol::Http1, limit), "{end:?}");
    }
    for (begin, expected) in [
        ("GET /", DetectedProtocol::Http1),
        ("POST /?", DetectedProtocol::Http1),
        ("BREW /", DetectedProtocol::Raw),
        ("GET a", DetectedProtocol::Raw),
        ("GETS /", DetectedProtocol::Raw),
    ] {
        let long = [begin.as_bytes(), &vec![b'a'; limit][..]].concat();
        assert_eq!(decided_at(&long), (expected, limit), "{begin}");
    }
}

#[test]
fn dt_1_only_a_masked_client_frame_is_a_candidate() {
    let table: &[(&str, DetectedProtocol, usize)] = &[
        ("81 85 37fa213d 7f9f4d5158", DetectedProtocol::FrameCandidate, 2),
        ("01 80", DetectedProtocol::FrameCandidate, 2),
        ("02 fd", DetectedProtocol::FrameCandidate, 2),
        ("82 80", DetectedProtocol::FrameCandidate, 2),
        ("89 89", DetectedProtocol::FrameCandidate, 2),
        ("89 fd", DetectedProtocol::FrameCandidate, 2),
        ("82 fe 01", DetectedProtocol::FrameCandidate, 3),
        ("82 fe 00 7e", DetectedProtocol::FrameCandidate, 4),
        ("82 ff 01", DetectedProtocol::FrameCandidate, 3),
        ("82 ff 00 00 00 00 00 01", DetectedProtocol::FrameCandidate, 8),
        ("82 ff 7f", DetectedProtocol::FrameCandidate, 3),
        // The length is not in its shortest form.
        ("82 fe 00 7d", DetectedProtocol::Raw, 4),
        ("82 ff 00 00 00 00 00 00 ff ff", DetectedProtocol::Raw, 8),
        // The top bit of the length is set.
        ("82 ff 80", DetectedProtocol::Raw, 3),
        // A ping of more than 125 bytes, or in fragments.
        ("89 fe", DetectedProtocol::Raw, 2),
        ("89 ff", DetectedProtocol::Raw, 2),
        ("09 80", DetectedProtocol::Raw, 1),
        // Not masked.
        ("81 05", DetectedProtocol::Raw, 2),
        // Continuation, pong, close, reserved opcodes, reserved bits.
        ("80 80", DetectedProtocol::Raw, 1),
        ("00 80", DetectedProtocol::Raw, 1),
        ("8a 80", DetectedProtocol::Raw, 1),
        ("88 80", DetectedProtocol::Raw, 1),
        ("83 80", DetectedProtocol::Raw, 1),
        ("c2 80", DetectedProtocol::Raw, 1),
        ("a1 80", DetectedProtocol::Raw, 1),
        ("92 80", DetectedProtocol::Raw, 1),
    ];
    for (wire, protocol, length) in table {
        assert_eq!(decided_at(&hex(wire)), (*protocol, *length), "{wire}");
    }
}

#[test]
fn dt_2_files_stay_raw() {
    let files: &[(&str, Vec<u8>)] = &[
        ("PNG", hex("89 50 4e 47 0d 0a 1a 0a")),
        ("zip", hex("50 4b 03 04 14 00")),
        ("gzip", hex("1f 8b 08 00")),
        ("ELF", hex("7f 45 4c 46 02 01")),
        ("PDF", b"%PDF-1.7\n".to_vec()),
        ("DER", hex("30 82 04 a2")),
        ("PEM", b"-----BEGIN CERTIFICATE-----\n".to_vec()),
        ("UTF-16 LE", hex("ff fe 68 00")),
        ("UTF-16 BE", hex("fe ff 00 68")),
        ("UTF-8 BOM", hex("ef bb bf 68")),
        ("mp4", hex("00 00 00 20 66 74 79 70 69 73 6f 6d")),
        ("zstd", hex("28 b5 2f fd")),
        ("xz", hex("fd 37 7a 58 5a 00")),
        ("bzip2", b"BZh91AY&SY\x00".to_vec()),
        ("7z", hex("37 7a bc af 27 1c")),
        ("JPEG", hex("ff d8 ff e0")),
        ("GIF", b"GIF89a\x01\x00".to_vec()),
        ("RIFF", b"RIFF\x24\x00\x00\x00WAVE".to_vec()),
        ("Mach-O", hex("cf fa ed fe")),
        ("PE", hex("4d 5a 90 00")),
        ("Java class", hex("ca fe ba be")),
        ("SQLite", b"SQLite format 3\0".to_vec()),
        ("script", b"#!/bin/sh\n".to_vec()),
        ("XML", b"<?xml version=\"1.0\"?>".to_vec()),
        ("JSON", b"{\"a\":1}".to_vec()),
        ("CSV", b"name;age\n".to_vec()),
        ("HTTP log", b"GET / HTTP/1.1 200 512\n".to_vec()),
        ("HTTP response", b"HTTP/1.1 200 OK\r\n".to_vec()),
        ("TLS alert", hex("15 03 03 00 02 02 28")),
        ("MessagePack map", hex("81 a1 61 01")),
        ("tar", b"photo.jpg\0\0\0\0".to_vec()),
        ("WebAssembly", hex("00 61 73 6d 01 00 00 00")),
        ("Matroska", hex("1a 45 df a3 01 00")),
        ("Ogg", b"OggS\x00\x02".to_vec()),
        ("FLAC", b"fLaC\x00\x00".to_vec()),
        ("MP3", hex("ff fb 90 64")),
        ("TIFF", hex("49 49 2a 00")),
        ("LZ4", hex("04 22 4d 18")),
        ("pcap", hex("d4 c3 b2 a1 02 00")),
        ("OLE", hex("d0 cf 11 e0 a1 b1 1a e1")),
        ("UTF-32 BE", hex("00 00 fe ff")),
        ("gettext", hex("de 12 04 95")),
        ("Windows cursor", hex("00 00 02 00 01 00")),
        ("WebSocket frame without a mask", hex("82 05 68 65 6c 6c 6f")),
        ("zeros", vec![0; 16]),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
    ];
    for (name, wire) in files {
        // A map of one short string is the known ambiguity: a candidate, raw unless confirmed.
        let expected = if *name == "MessagePack map" {
            DetectedProtocol::FrameCandidate
        } else {
            DetectedProtocol::Raw
        };
        assert_eq!(known(wire), Some(expected), "{name}");
    }
}

#[test]
fn dt_2_shift_jis_text_is_a_candidate_and_nothing_more() {
    assert_eq!(
        known(&hex("82 b1 82 f1 82 c9 82 bf 82 cd")),
        Some(DetectedProtocol::FrameCandidate)
    );
}

#[test]
fn unclassified_input_is_raw_at_the_end_of_the_stream() {
    let open: [&[u8]; 10] = [
        b"PROXY TCP4 ",
        b"\r\n\r\n\0\r\nQUIT",
        b"",
        b"GET",
        b"GET / HTTP/1.1\r",
        b"PRI * HTTP/2.",
        b"ANYPORT/1",
        b"\x82",
        b"\x16\x03\x01",
        b"hello",
    ];
    for prefix in open {
        assert_eq!(known(prefix), None, "{prefix:02x?}");
        assert_eq!(detect_at_end(prefix, &limits()), DetectedProtocol::Raw, "{prefix:02x?}");
    }
    assert_eq!(detect_at_end(b"\x81\x80", &limits()), DetectedProtocol::FrameCandidate);
}

#[test]
fn tls_asks_for_the_byte_that_decides_next() {
    let hello = hex("16 03 01 02 00 01 00 01 fc 03 03");
    for (length, at_least) in [(0, 1), (1, 2), (2, 6), (4, 6), (6, 10), (9, 10)] {
        assert_eq!(detect(&hello[..length], &limits()), Detection::NeedMore { at_least });
    }
}

#[test]
fn every_segmentation_of_an_opening_gives_the_same_result() {
    let wires: [&[u8]; 7] = [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21",
        b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"ANYPORT/1 PUT name\n",
        &hex("16 03 01 02 00 01 00 01 fc 03 03"),
        &hex("82 ff 00 00 00 00 00 01 00 00 37fa213d"),
    ];
    for wire in wires {
        let whole = detect_at_end(wire, &limits());
        assert_ne!(whole, DetectedProtocol::Raw);
        every_cut(wire, |pieces| assert_eq!(detect_pieces(pieces, &limits()), whole));
    }
}

#[test]
fn a_detected_protocol_is_shown_by_its_name() {
    assert_eq!(format!("{:>6}", DetectedProtocol::Tls), "   tls");
    assert_eq!(DetectedProtocol::FrameCandidate.to_string(), "frame-candidate");
}

/// Generates openings that keep several probes open for long, and noise of files.
fn prefix() -> impl Strategy<Value = Vec<u8>> {
    let opening = prop_oneof![
        Just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        Just(b"ANYPORT/1 PUT a\n".to_vec()),
        Just(b"ANYPORT/12".to_vec()),
        Just(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec()),
        Just(b"PROXY UNKNOWN HTTP/1.1\r\n".to_vec()),
        Just(b"\r\n\r\n\0\r\nQUIT\n".to_vec()),
        "PROXY (TCP4|TCP6|UNKNOWN)[ -~]{0,90}\r?\n?".prop_map(String::into_bytes),
        Just(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        Just(b"GET / HTTP/1.0\n".to_vec()),
        Just(b"GET / HTTP/1.1\r".to_vec()),
        Just(hex("16 03 01 02 00 01 00 01 fc 03 03")),
        Just(hex("82 ff 00 00 00 00 00 01 00 00 37fa213d")),
        Just(hex("81 fe 00 7e 37fa213d")),
        Just(hex("89 89 37fa213d")),
        "[A-Z]{1,4} [a-z/]{1,60} HTTP/1[.][012]\r?\n?".prop_map(String::into_bytes),
        "[ -~]{0,40}".prop_map(String::into_bytes),
    ]
    .boxed();
    let opening = (opening, any::<prop::sample::Index>(), any::<Option<u8>>()).prop_map(
        |(mut opening, at, changed)| {
            if let Some(byte) = changed.filter(|_| !opening.is_empty()) {
                let at = at.index(opening.len());
                opening.truncate(at);
                opening.push(byte);
            }
            opening
        },
    );
    (opening, prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(opening, tail)| [opening, tail].concat())
}

/// A limit that short lines reach, so that the properties cross it.
fn short_limits() -> Limits {
    Limits { request_line: 24, ..Limits::default() }
}

proptest! {
    /// Law 1.
    #[test]
    fn segmentation_never_changes_the_result(
        wire in prefix(),
        places in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        for limits in [limits(), short_limits()] {
            let whole = detect_at_end(&wire, &limits);
            prop_assert_eq!(detect_pieces(&cut_at(&wire, &places), &limits), whole);
            let single: Vec<&[u8]> = wire.chunks(1).collect();
            prop_assert_eq!(detect_pieces(&single, &limits), whole);
        }
    }

    /// Law 2, and its other half: nothing is known before `at_least`.
    #[test]
    fn a_known_result_stays(
        wire in prefix(),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        for limits in [limits(), short_limits()] {
            let longer = [wire.clone(), tail.clone()].concat();
            match detect(&wire, &limits) {
                Detection::Known(protocol) => {
                    prop_assert_eq!(detect(&longer, &limits), Detection::Known(protocol));
                }
                Detection::NeedMore { at_least } => {
                    prop_assert!(at_least > wire.len());
                    let too_short = &longer[..longer.len().min(at_least - 1)];
                    let detection = detect(too_short, &limits);
                let open = matches!(detection, Detection::NeedMore { .. });
                    prop_assert!(open);
                }
            }
        }
    }

    #[test]
    fn the_longest_prefix_always_decides(
        wire in prefix(),
        filler in any::<u8>(),
        limit in 0_usize..64,
    ) {
        let limits = Limits { request_line: limit, ..Limits::default() };
        let mut wire = wire;
        wire.resize(max_prefix(&limits), filler);
        prop_assert!(matches!(detect(&wire, &limits), Detection::Known(_)));
    }
}

#[test]
fn noise_of_the_longest_length_always_decides() {
    let limits = limits();
    for seed in 0..50 {
        let known = detect(&noise(max_prefix(&limits), seed), &limits);
        assert!(matches!(known, Detection::Known(_)), "seed {seed}");
    }
    assert_eq!(max_prefix(&limits), limits.request_line);
}
