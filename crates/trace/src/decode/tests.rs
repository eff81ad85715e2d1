use anyport_testkit::{every_cut, hex, noise};
use proptest::prelude::*;

use super::*;
use crate::event::{Event, Time, What};
use crate::recorder::{Limits, Recorder};
use crate::tap::Tap;

use Side::{Client, Server};

/// Bytes in the order in which they were sent.
type Script<'a> = &'a [(Side, &'a [u8])];

fn limits(payload: usize) -> Limits {
    Limits { payload, ..Limits::default() }
}

/// Returns the events of a script whose pieces are cut by `cut`, without times.
fn events_of<'a>(
    protocol: Protocol,
    limits: Limits,
    script: Script<'a>,
    cut: impl Fn(usize, &'a [u8]) -> Vec<&'a [u8]>,
) -> Vec<Event> {
    let recorder = Recorder::new(limits);
    let tap = Tap::new(&recorder, Client, protocol);
    for (index, (from, bytes)) in script.iter().enumerate() {
        for piece in cut(index, bytes) {
            match from {
                Client => tap.sent(piece),
                Server => tap.received(piece),
            }
        }
    }
    without_times(&recorder)
}

fn without_times(recorder: &Recorder) -> Vec<Event> {
    let mut events = recorder.finish().events;
    for event in &mut events {
        (event.at, event.took) = (Time::default(), None);
    }
    events
}

/// Returns the events of a script as text, and checks that they do not depend on its segmentation.
fn shown(protocol: Protocol, script: Script<'_>) -> Vec<String> {
    let events = events_of(protocol, limits(0), script, |_, bytes| vec![bytes]);
    for (cut_one, (_, whole)) in script.iter().enumerate() {
        every_cut(whole, |pieces| {
            let recorder = Recorder::new(limits(0));
            let tap = Tap::new(&recorder, Client, protocol);
            for (index, (from, bytes)) in script.iter().enumerate() {
                let whole = [*bytes];
                let pieces = if index == cut_one { pieces } else { &whole };
                for piece in pieces {
                    if *from == Client { tap.sent(piece) } else { tap.received(piece) }
                }
            }
            assert_eq!(without_times(&recorder), events);
        });
    }
    events.iter().map(brief).collect()
}

/// Returns an event in one line.
fn brief(event: &Event) -> String {
    let from = match event.from {
        Some(Client) => "→",
        Some(Server) => "←",
        None => "-",
    };
    let text = match &event.what {
        What::Line { text } => text.clone(),
        What::Content { bytes, payload: None } => format!("content {bytes}"),
        What::Content { bytes, payload: Some(payload) } => format!("content {bytes} {payload}"),
        What::Head { start, fields } => format!("head {start} ({} fields)", fields.len()),
        What::Frame(frame) => format!(
            "{} {}{}×{}{}",
            frame.opcode,
            frame.length,
            if frame.fin { "" } else { " more" },
            frame.count,
            frame.code.map(|code| format!(" {code}")).unwrap_or_default()
                + &frame.text.as_ref().map(|text| format!(" {text}")).unwrap_or_default(),
        ),
        What::Http2(frame) => {
            let values: Vec<_> = frame.values.iter().map(|(n, v)| format!("{n}={v}")).collect();
            let parts = [frame.flags.join("+"), values.join(" ")];
            let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            format!(
                "{}@{} {}×{} {}",
                frame.kind,
                frame.stream,
                frame.length,
                frame.count,
                parts.join(" ")
            )
            .trim_end()
            .to_owned()
        }
        What::Note { text } => format!("note {text}"),
        What::WebSocketAccept { equal, .. } => format!("accept {equal}"),
        What::TlsRecords { kind, count, bytes } => format!("{kind} {bytes}×{count}"),
        What::TlsMessage(message) => {
            format!("{} {}", message.name, message.version.clone().unwrap_or_default())
                .trim_end()
                .to_owned()
        }
        other => format!("{other:?}"),
    };
    format!("{from} {text}")
}

#[test]
fn lines_are_found_behind_content_of_their_size() {
    let script: Script<'_> = &[
        (Client, b"ANYPORT/1 PUT a size=5\nhelloEND\nANYPORT/1 PUT b size=0\nEND blake3:00\n"),
        (Server, b"ANYPORT/1 RECEIPT a\nANYPORT/1 RECEIPT b\n"),
        (Client, b"ANYPORT/1 GET a\r\n"),
        (
            Server,
            b"ANYPORT/1 FILE name=a size=9 offset=4 mtime=0 mode=644\nlo\n\n\nEND sha256:00\n",
        ),
        (Client, b"ANYPORT/1 LIST\n"),
        (Server, b"ANYPORT/1 ENTRY name=a\nANYPORT/1 END entries=1\n"),
        (Client, b"ANYPORT/1 PUT c\nANYPORT/1 is content here\n"),
    ];
    assert_eq!(
        shown(Protocol::Preface, script),
        [
            "→ ANYPORT/1 PUT a size=5",
            "→ content 5",
            "→ END",
            "→ ANYPORT/1 PUT b size=0",
            "→ END blake3:00",
            "← ANYPORT/1 RECEIPT a",
            "← ANYPORT/1 RECEIPT b",
            "→ ANYPORT/1 GET a",
            "← ANYPORT/1 FILE name=a size=9 offset=4 mtime=0 mode=644",
            "← content 5",
            "← END sha256:00",
            "→ ANYPORT/1 LIST",
            "← ANYPORT/1 ENTRY name=a",
            "← ANYPORT/1 END entries=1",
            "→ ANYPORT/1 PUT c",
            "→ content 26",
        ]
    );
}

#[test]
fn a_resumed_upload_sends_what_is_missing() {
    let script: Script<'_> = &[
        (Client, b"ANYPORT/1 PUT x size=1\naEND\nANYPORT/1 PUT a size=9 id=x resume\n"),
        (Server, b"ANYPORT/1 RECEIPT x\n"),
        (Server, b"ANYPORT/1 GO offset=6\n"),
        (Client, b"abcEND\nANYPORT/1 PUT b size=4 id=y resume\n"),
        (Server, b"ANYPORT/1 RECEIPT a\nANYPORT/1 ERROR exists no\n"),
        (Client, b"ANYPORT/1 PUT c size=4 id=z resume\n"),
        (Server, b"ANYPORT/1 GO offset=4\n"),
        (Client, b"END\n"),
    ];
    let shown = shown(Protocol::Preface, script);
    let sent: Vec<_> = shown.iter().filter(|line| line.starts_with('→')).collect();
    assert_eq!(
        sent,
        [
            "→ ANYPORT/1 PUT x size=1",
            "→ content 1",
            "→ END",
            "→ ANYPORT/1 PUT a size=9 id=[redacted] resume",
            "→ content 3",
            "→ END",
            "→ ANYPORT/1 PUT b size=4 id=[redacted] resume",
            "→ ANYPORT/1 PUT c size=4 id=[redacted] resume",
            "→ END",
        ]
        .iter()
        .collect::<Vec<_>>()
    );
}

#[test]
fn plain_bytes_echo_rooms_and_pipes_are_content() {
    let cases: [(Script<'_>, &[&str]); 5] = [
        (&[(Client, b"ANY file\n"), (Server, b"hi")], &["→ content 9", "← content 2"]),
        (
            &[(Client, b"ANYPORT/1 ECHO\nANYPORT/1 x\n"), (Server, b"ANYPORT/1 x\n")],
            &["→ ANYPORT/1 ECHO", "→ content 12", "← content 12"],
        ),
        (
            &[
                (Client, b"ANYPORT/1 JOIN lobby\nhello\n"),
                (Server, b"ANYPORT/1 JOINED room=lobby as=a members=1\na: hello\n"),
            ],
            &[
                "→ ANYPORT/1 JOIN lobby",
                "→ content 6",
                "← ANYPORT/1 JOINED room=lobby as=a members=1",
                "← content 9",
            ],
        ),
        (
            &[(Client, b"ANYPORT/1 TAKE k head\n"), (Server, b"ANYPORT/1 CONTENT size=3\nabc")],
            &["→ ANYPORT/1 TAKE [redacted] head", "← ANYPORT/1 CONTENT size=3", "← content 3"],
        ),
        (
            &[(Client, b"ANYPORT/1 TAKE k\n"), (Server, b"ANYPORT/1 ERROR timeout late\n")],
            &["→ ANYPORT/1 TAKE [redacted]", "← ANYPORT/1 ERROR timeout late"],
        ),
    ];
    for (script, expected) in cases {
        assert_eq!(shown(Protocol::Preface, script), expected);
    }
}

#[test]
fn http1_content_is_framed_by_its_head() {
    let script: Script<'_> = &[
        (
            Client,
            b"PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        ),
        (Server, b"HTTP/1.1 100 Continue\r\n\r\n"),
        (
            Client,
            b"abcdHEAD /b HTTP/1.1\r\n\r\nPOST /c HTTP/1.1\r\ntransfer-encoding: gzip\r\n\
              transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ),
        (
            Server,
            b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\
              Content-Length: 99\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
        ),
        (Client, b"GET /d HTTP/1.0\r\n\r\n"),
        (Server, b"HTTP/1.0 200 OK\r\n\r\nuntil FIN\r\n\r\n"),
    ];
    assert_eq!(
        shown(Protocol::Http, script),
        [
            "→ head PUT /a HTTP/1.1 (3 fields)",
            "← head HTTP/1.1 100 Continue (0 fields)",
            "→ content 4",
            "→ head HEAD /b HTTP/1.1 (0 fields)",
            "→ head POST /c HTTP/1.1 (2 fields)",
            "→ content 2",
            "← head HTTP/1.1 201 Created (1 fields)",
            "← content 2",
            "← head HTTP/1.1 200 OK (1 fields)",
            "← head HTTP/1.1 204 No (0 fields)",
            "→ head GET /d HTTP/1.0 (0 fields)",
            "← head HTTP/1.0 200 OK (0 fields)",
            "← content 13",
        ]
    );
}

#[test]
fn a_websocket_handshake_is_computed_and_its_frames_follow() {
    let close = masked(0x88, b"\x03\xe8bye");
    let offer = masked(0x81, br#"{"offer":{"name":"a","token":"0123456789"}}"#);
    let binary = [masked(0x82, &[7; 300]), masked(0x82, &[8; 300])].concat();
    let script: Script<'_> = &[
        (
            Client,
            b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        ),
        (
            Server,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x89\x01p",
        ),
        (Client, &offer),
        (Client, &binary),
        (Server, b"\x81\x05hello\xc1\x02zz"),
        (Client, &close),
    ];
    assert_eq!(
        shown(Protocol::Http, script),
        [
            "→ head GET /ws HTTP/1.1 (2 fields)",
            "← head HTTP/1.1 101 Switching Protocols (2 fields)",
            "← accept true",
            "← ping 1×1",
            r#"→ text 43×1 {"offer":{"name":"a","token":"[redacted]"}}"#,
            "→ binary 600×2",
            "← text 5×1",
            "← text 2×1",
            "→ close 5×1 1000 bye",
        ]
    );
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0xfe);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    let key = [1, 2, 3, 4];
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

#[test]
fn http2_frames_show_streams_settings_and_heads() {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, stream]);
        frame.extend(payload);
        frame
    };
    // RFC 7541 C.3.1, with a literal `authorization: secret` and one `cookie` in a continuation.
    let head = hex("828684 41 0f 7777772e6578616d706c652e636f6d 1f08 06 736563726574");
    let more = hex("0f11 06 736563726574");
    let client = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &hex("0004 00010000 0002 00000000")),
        frame(1, 0, 1, &head),
        frame(9, 4, 1, &more),
        frame(0, 0, 1, &[1; 50]),
        frame(0, 0, 3, &[2; 20]),
        frame(0, 0, 1, &[3; 30]),
        frame(0, 1, 1, b""),
        frame(7, 0, 0, &hex("00000001 00000000")),
    ]
    .concat();
    let server = [
        frame(4, 0, 0, b""),
        frame(4, 1, 0, b""),
        frame(8, 0, 0, &hex("00001000")),
        frame(8, 0, 1, &hex("00001000")),
        frame(8, 0, 0, &hex("00001000")),
        frame(3, 0, 1, &hex("00000008")),
    ]
    .concat();
    let expected = [
        "→ head PRI * HTTP/2.0 (0 fields)",
        "→ SETTINGS@0 12×1 INITIAL_WINDOW_SIZE=65536 ENABLE_PUSH=0",
        "→ HEADERS@1 29×1 :method=GET :scheme=http :path=/ :authority=www.example.com \
         authorization=[redacted] cookie=[redacted]",
        "→ CONTINUATION@1 9×1 END_HEADERS",
        "→ DATA@1 80×2",
        "→ DATA@3 20×1",
        "→ DATA@1 0×1 END_STREAM",
        "→ GOAWAY@0 8×1 last-stream=1 error=NO_ERROR",
        "← SETTINGS@0 0×1",
        "← SETTINGS@0 0×1 ACK",
        "← WINDOW_UPDATE@0 8×2 increment=8192",
        "← WINDOW_UPDATE@1 4×1 increment=4096",
        "← RST_STREAM@1 4×1 error=CANCEL",
    ];
    assert_eq!(shown(Protocol::Http, &[(Client, &client), (Server, &server)]), expected);
    // A server may send its settings before it reads the preface.
    let mut first = shown(Protocol::Http, &[(Server, &server), (Client, &client)]);
    first.rotate_left(5);
    assert_eq!(first, expected);
}

#[test]
fn content_that_the_kernel_moved_is_counted_with_the_rest() {
    let recorder = Recorder::new(limits(0));
    let tap = Tap::new(&recorder, Client, Protocol::Preface);
    tap.sent(b"ANYPORT/1 PUT a size=1000000\nab");
    tap.sent_by_kernel(400_000);
    tap.sent_by_kernel(599_998);
    tap.sent(b"END\n");
    tap.sent_by_kernel(7);
    // Plain bytes, without any line.
    tap.received_by_kernel(5);
    let shown: Vec<_> = without_times(&recorder).iter().map(brief).collect();
    assert_eq!(shown[1..3], ["→ content 1000000", "→ END"]);
    assert!(shown[3].starts_with("→ note the kernel moved"), "{shown:?}");
    assert_eq!(shown[4..], ["→ content 7", "← content 5"]);
}

#[test]
fn a_payload_is_kept_only_if_asked_for_and_escaped() {
    let script: Script<'_> =
        &[(Client, b"ANYPORT/1 PUT a size=6\n\x1b[2Jabc"), (Client, b"END\nANYPORT/1 PUT b\nxyz")];
    let events =
        events_of(Protocol::Preface, limits(5), script, |_, bytes| bytes.chunks(1).collect());
    let shown: Vec<_> = events.iter().map(brief).collect();
    assert_eq!(shown[1], "→ content 6 \\x1b[2Ja");
    let frames = masked(0x82, b"binary");
    let events =
        events_of(Protocol::Frames, limits(4), &[(Client, &frames)], |_, bytes| vec![bytes]);
    let What::Frame(frame) = &events[0].what else { panic!() };
    assert_eq!(frame.payload.as_deref(), Some("bina"));
}

#[test]
fn bytes_of_another_protocol_are_remarked_once_and_counted() {
    for protocol in [Protocol::Http, Protocol::Frames] {
        let bytes = noise(200_000, 3);
        let shown: Vec<_> =
            events_of(protocol, limits(0), &[(Client, &bytes)], |_, bytes| vec![bytes])
                .iter()
                .map(brief)
                .collect();
        assert_eq!(shown.len(), 2, "{protocol:?}: {shown:?}");
        assert!(shown[0].contains("only counted"));
        assert_eq!(shown[1], "→ content 200000");
    }
}

#[test]
fn nothing_longer_than_the_limit_is_buffered() {
    let long = [b"GET /".to_vec(), vec![b'a'; 200_000]].concat();
    let shown: Vec<_> =
        events_of(Protocol::Http, limits(0), &[(Client, &long)], |_, bytes| vec![bytes])
            .iter()
            .map(brief)
            .collect();
    assert_eq!(shown[1], "→ content 200005");
    let mut preface = b"ANYPORT/1 PUT ".to_vec();
    preface.extend(vec![b'a'; MAX_ELEMENT]);
    let mut decoder = Decoder::new(Protocol::Preface);
    let recorder = Recorder::new(limits(0));
    let now = Time::default();
    let output = Output { recorder: &recorder, connection: 1, from: Client, now };
    preface.chunks(1000).for_each(|piece| decoder.push(piece, &output));
    assert!(matches!(decoder.client, Layer::Content(_)));
}

#[test]
fn tls_shows_hello_messages_and_counts_records() {
    let client = hex(CLIENT_HELLO);
    let server = hex(SERVER_HELLO);
    let data =
        hex("1703030002aabb 1703030003aabbcc 1503030013000000000000000000000000000000000000000000");
    let alert = hex("15030300020228");
    let shown = |script: Script<'_>| {
        let run = |step: usize| {
            let recorder = Recorder::new(limits(0));
            let tap = Tap::new(&recorder, Client, Protocol::Http);
            for (from, bytes) in script {
                bytes.chunks(step).for_each(|piece| tap.wire(*from, piece));
            }
            without_times(&recorder)
        };
        let events = run(usize::MAX);
        for step in [1, 2, 3, 7, 50] {
            assert_eq!(run(step), events, "pieces of {step}");
        }
        events
    };
    let events = shown(&[(Client, &client), (Server, &server), (Server, &data)]);
    let What::TlsMessage(hello) = &events[0].what else { panic!("{events:?}") };
    assert_eq!(hello.version.as_deref(), Some("TLSv1.3"));
    assert_eq!(hello.server_name.as_deref(), Some("example.com"));
    assert_eq!(hello.alpn, ["h2", "http/1.1"]);
    assert_eq!(hello.suites, ["TLS_AES_128_GCM_SHA256", "0xc0ff"]);
    let lines: Vec<_> = events.iter().map(brief).collect();
    assert_eq!(
        lines[1..],
        [
            "← ServerHello TLSv1.3",
            "← change-cipher-spec 1×1",
            "← application-data 5×2",
            "← alert 19×1",
        ]
    );
    let events = shown(&[(Client, &client), (Server, &alert), (Server, b"HTTP/1.1 400")]);
    let lines: Vec<_> = events.iter().map(brief).collect();
    assert_eq!(lines[1], "← Alert (fatal: handshake_failure)");
    assert!(lines[2].starts_with("← note not a record"));
}

/// A ClientHello with GREASE, SNI, ALPN and TLS 1.3.
const CLIENT_HELLO: &str = "16 0301 0069 01 000065 0303
    0000000000000000000000000000000000000000000000000000000000000000 00
    0006 0a0a 1301 c0ff 01 00 0036
    0000 0010 000e 00 000b 6578616d706c652e636f6d
    0010 000e 000c 02 6832 08 687474702f312e31
    002b 0007 06 1a1a 0304 0303 ff01 0001 00";

/// A ServerHello that selects TLS 1.3, and a ChangeCipherSpec.
const SERVER_HELLO: &str = "16 0303 0032 02 00002e 0303
    0000000000000000000000000000000000000000000000000000000000000001 00
    1301 00 0006 002b 0002 0304
    14 0303 0001 01";

proptest! {
    #[test]
    fn no_bytes_panic_and_no_segmentation_changes_an_event(
        pieces in prop::collection::vec((any::<bool>(), any_bytes()), 0..6),
        step in 1..40usize,
        which in 0..3usize,
    ) {
        let protocol = [Protocol::Preface, Protocol::Http, Protocol::Frames][which];
        let script: Vec<(Side, &[u8])> = pieces
            .iter()
            .map(|(client, bytes)| (if *client { Client } else { Server }, bytes.as_slice()))
            .collect();
        let whole = events_of(protocol, limits(8), &script, |_, bytes| vec![bytes]);
        let cut = events_of(protocol, limits(8), &script, |_, bytes| bytes.chunks(step).collect());
        prop_assert_eq!(whole, cut);
    }
}

/// Returns bytes that are often a part of a protocol.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::sample::select(vec![
        b"ANYPORT/1 PUT a size=3\n".to_vec(),
        b"ANYPORT/1 PUT a size=30 id=x resume\n".to_vec(),
        b"ANYPORT/1 GO offset=4\n".to_vec(),
        b"ANYPORT/1 TAKE abcd\nEND\n".to_vec(),
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n".to_vec(),
        b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        hex("000006 04 00 00000000 000400010000"),
        hex("000003 01 04 00000001 828684"),
        hex("000003 00 00 00000001 828684"),
        masked(0x82, b"abc"),
        masked(0x81, b"{\"end\":{}}"),
        hex("8203616263"),
    ]);
    let part = prop_oneof![4 => parts, 1 => prop::collection::vec(any::<u8>(), 0..20)];
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

/// Text that looks like a message of a file transfer, to a room and to a file transfer.
#[test]
fn a_server_records_text_of_file_transfers_only() {
    let offer = br#"{"offer":{"name":"x"}}"#;
    let mut client = vec![0x81, 0x80 | offer.len() as u8, 0, 0, 0, 0];
    client.extend_from_slice(offer);
    client.extend([0x88, 0x84, 0, 0, 0, 0, 0x03, 0xe8, b'h', b'i']);
    let texts = |server: bool, subprotocol: &str| {
        let (limits, now) = (Limits::default(), std::time::Instant::now());
        let (recorder, ours) = match server {
            true => (Recorder::of_server(limits, now), Server),
            false => (Recorder::new(limits), Client),
        };
        let tap = Tap::new(&recorder, ours, Protocol::Http);
        let push = |from: Side, bytes: &[u8]| match from == ours {
            true => tap.sent(bytes),
            false => tap.received(bytes),
        };
        push(Client, b"GET /x HTTP/1.1\r\nSec-WebSocket-Key: a\r\n\r\n");
        let field = format!("Sec-WebSocket-Protocol: {subprotocol}\r\n");
        let answer = format!("HTTP/1.1 101 OK\r\nUpgrade: websocket\r\n{field}\r\n");
        push(Server, answer.as_bytes());
        client.chunks(5).for_each(|piece| push(Client, piece));
        let trace = recorder.finish();
        assert_eq!(trace.header.recorded_by, ours);
        let text = |event: Event| match event.what {
            What::Frame(frame) => Some((frame.text.is_some(), frame.code)),
            _ => None,
        };
        trace.events.into_iter().filter_map(text).collect::<Vec<_>>()
    };
    let all = [(true, None), (true, Some(1000))];
    assert_eq!(texts(true, "anyport.file.1"), [(true, None), (false, Some(1000))]);
    assert_eq!(texts(true, "anyport.1"), [(false, None), (false, Some(1000))]);
    assert_eq!(texts(false, "other"), all);
}

#[test]
fn a_server_records_no_debug_data_of_a_client_and_few_fields_of_a_head() {
    let (limits, now) = (Limits::default(), std::time::Instant::now());
    let recorder = Recorder::of_server(limits, now);
    let tap = Tap::new(&recorder, Server, Protocol::Http);
    tap.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, stream]);
        frame.extend_from_slice(payload);
        frame
    };
    // An empty field in the table, and then its index.
    let head = [&[0x40, 0, 0][..], &[0xbe; 60_000]].concat();
    tap.received(&frame(1, 5, 1, &head));
    tap.received(&frame(7, 0, 0, b"\0\0\0\0\0\0\0\x01secret"));
    tap.received(&frame(6, 0, 0, b"secretly"));
    tap.sent(&frame(6, 1, 0, b"secretly"));
    tap.sent(&frame(7, 0, 0, b"\0\0\0\0\0\0\0\x01reason"));
    let values = |event: Event| match event.what {
        What::Http2(frame) => Some(frame.values),
        _ => None,
    };
    let values: Vec<_> = recorder.finish().events.into_iter().filter_map(values).collect();
    let [head, goaway, ping, ack, reason] = values.as_slice() else { panic!("{values:?}") };
    assert!((100..2000).contains(&head.len()), "{}", head.len());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(goaway[2..], [pair("debug-bytes", "6")]);
    assert_eq!((ping.len(), ack.len()), (0, 0));
    assert_eq!(reason[2..], [pair("debug", "reason")]);
}

/// The session of a server says when its output is content.
#[test]
fn a_server_records_no_line_of_echoed_content() {
    let recorder = Recorder::of_server(Limits::default(), std::time::Instant::now());
    let tap = Tap::new(&recorder, Server, Protocol::Preface);
    let content = b"ANYPORT/1 ERROR busy secret\nANYPORT/1 secret\n";
    tap.received(b"ANYPORT/1 TIME\nANYPORT/1 ECHO\n");
    tap.sent(b"ANYPORT/1 TIME now\n");
    tap.sends_content();
    tap.received(content);
    tap.sent(content);
    let events: Vec<_> = without_times(&recorder).iter().map(brief).collect();
    let size = content.len();
    assert_eq!(
        events,
        [
            "→ ANYPORT/1 TIME".to_owned(),
            "→ ANYPORT/1 ECHO".to_owned(),
            "← ANYPORT/1 TIME now".to_owned(),
            format!("→ content {size}"),
            format!("← content {size}"),
        ]
    );
}
