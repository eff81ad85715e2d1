//! Traces as a client records them, for the tests of the renderings.

use std::time::Duration;

use crate::diagnosis::{Diagnosis, Limit};
use crate::event::{
    Basis, Certificate, Event, Http2Frame, LengthForm, Side, Time, TlsMessage, WebSocketFrame, What,
};
use crate::recorder::{Header, Trace};
use crate::sample::Sample;
use crate::segment::{Checksum, Mark, Segment, Syn, TcpOption};

use Side::{Client, Server};

pub(crate) struct Script(pub(crate) Trace);

impl Script {
    fn new(command: &str) -> Self {
        let header = Header {
            version: 1,
            command: command.to_owned(),
            began: 1.8e9,
            captured: false,
            recorded_by: Client,
        };
        Self(Trace { header, ..Trace::default() })
    }

    fn add(&mut self, us: u64, took: u64, from: Option<Side>, what: What) {
        let took = (took > 0).then(|| Time(Duration::from_micros(took)));
        let (at, connection) = (Time(Duration::from_micros(us)), Some(1));
        self.0.events.push(Event { at, took, connection, from, basis: Basis::Observed, what });
    }

    fn inferred(&mut self, us: u64, from: Side, what: What) {
        self.add(us, 0, Some(from), what);
        self.0.events.last_mut().unwrap().basis = Basis::Inferred;
    }

    fn connect(&mut self, us: u64, took: u64, peer: &str) {
        self.add(us, 0, Some(Client), What::Attempt { address: peer.to_owned() });
        let congestion = Some("cubic".to_owned());
        let (local, peer) = ("192.0.2.7:40312".to_owned(), peer.to_owned());
        self.add(us, took, None, What::Connected { local, peer, congestion });
    }

    fn head(&mut self, us: u64, from: Side, start: &str, fields: &[(&str, &str)]) {
        let fields = fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        self.add(
            us,
            0,
            Some(from),
            What::Head { start: start.to_owned(), fields: fields.collect() },
        );
    }

    fn http2(
        &mut self,
        us: u64,
        from: Side,
        frame: (&str, u32, u64),
        flags: &str,
        v: &[(&str, &str)],
    ) {
        let values = v.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let frame = Http2Frame {
            kind: frame.0.to_owned(),
            flags: flags.split_whitespace().map(str::to_owned).collect(),
            stream: frame.1,
            length: frame.2,
            values: values.collect(),
            payload: None,
            count: 1,
        };
        self.add(us, 0, Some(from), What::Http2(frame));
    }

    fn samples(&mut self, count: u64, from: u64, to: u64, total: u64, cwnd: &dyn Fn(u64) -> u64) {
        for step in 0..count {
            let at = from + (to - from) * step / (count - 1);
            self.0.samples.push(Sample {
                at: Time(Duration::from_micros(at)),
                connection: 1,
                rtt_us: Some(12_000 + cwnd(step) * 80),
                cwnd: Some(cwnd(step)),
                acked: Some(total * step / (count - 1)),
                peer_window: Some(65_536 + step * 3_000),
                ..Sample::default()
            });
        }
    }
}

fn frame(header: &str, opcode: &str, length: u64, count: u64) -> WebSocketFrame {
    let second = u8::from_str_radix(&header[2..4], 16).unwrap();
    WebSocketFrame {
        opcode: opcode.to_owned(),
        fin: true,
        compressed: false,
        mask: (second >> 7 == 1).then(|| header[header.len() - 8..].to_owned()),
        length,
        length_form: match second & 127 {
            126 => LengthForm::Medium,
            127 => LengthForm::Long,
            _ => LengthForm::Short,
        },
        header: header.to_owned(),
        code: None,
        text: None,
        payload: None,
        count,
    }
}

/// A file sent over WebSocket, without a capture; the server sent the SYN back.
pub(crate) fn websocket() -> Trace {
    let mut script = Script::new("anyport trace send photo.jpg ws://127.0.0.1:8331");
    script.connect(210, 47, "127.0.0.1:8331");
    script.head(
        330,
        Client,
        "GET /photo.jpg HTTP/1.1",
        &[
            ("Host", "127.0.0.1:8331"),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Protocol", "anyport.v1, anyport.token.[redacted]"),
        ],
    );
    script.head(
        520,
        Server,
        "HTTP/1.1 101 Switching Protocols",
        &[
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "anyport.v1"),
        ],
    );
    let text = str::to_owned;
    script.add(
        525,
        0,
        None,
        What::WebSocketAccept {
            key: text("dGhlIHNhbXBsZSBub25jZQ=="),
            concatenation: text("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11"),
            sha1: text("b37a4f2cc0624f1690f64606cf385945b2bec4ea"),
            expected: text("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            received: text("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            equal: true,
        },
    );
    let mut put = frame("81ba37fa213d", "text", 58, 1);
    put.text = Some(text("ANYPORT/1 PUT name=photo.jpg size=3000007 digest=blake3"));
    script.add(610, 0, Some(Client), What::Frame(put));
    let mut go = frame("811d", "text", 29, 1);
    go.text = Some(text("ANYPORT/1 GO offset=0"));
    script.add(790, 0, Some(Server), What::Frame(go));
    let data = frame("82ff000000000001000037fa213d", "binary", 2_949_120, 45);
    script.add(840, 2_300, Some(Client), What::Frame(data));
    script.add(3_150, 0, Some(Client), What::Frame(frame("82feC6c737fa213d", "binary", 50_887, 1)));
    let mut receipt = frame("817e0090", "text", 144, 1);
    receipt.text = Some(text(
        "ANYPORT/1 RECEIPT protocol=ws bytes=3000007 seconds=0.002401 digest=blake3:a0c08d4b \
         confirmed=true path=photo.jpg",
    ));
    script.add(4_020, 0, Some(Server), What::Frame(receipt));
    let mut close = frame("888237fa213d", "close", 2, 1);
    close.code = Some(1000);
    script.add(4_100, 0, Some(Client), What::Frame(close));
    let mut close = frame("8802", "close", 2, 1);
    close.code = Some(1000);
    script.add(4_190, 0, Some(Server), What::Frame(close));
    script.add(4_200, 0, Some(Server), What::Fin);
    script.inferred(4_230, Client, What::Fin);
    script.add(4_300, 0, None, What::Syn(syn()));
    script.samples(12, 300, 4_200, 3_000_007, &|step| 10 + step);
    script.0.diagnosis = Some(Diagnosis {
        main: Limit::Hashing,
        ended: None,
        share: Some(0.61),
        direction: None,
        evidence: vec![
            text("2.1 ms of 3.4 ms were spent hashing"),
            text("the socket was never full"),
        ],
        advice: Some(text("Send with --no-digest to leave the hash out, or accept the price.")),
    });
    script.0
}

fn syn() -> Syn {
    let options = vec![
        TcpOption::Mss(65_495),
        TcpOption::SackPermitted,
        TcpOption::Timestamps(2_818_375_301, 0),
        TcpOption::WindowScale(7),
    ];
    let segment = Segment {
        flags: vec!["SYN".to_owned()],
        seq: 3_141_592_653,
        window: 65_495,
        options,
        ttl: 64,
        checksum: Checksum::Offloaded,
        ..Segment::default()
    };
    Syn {
        ip_version: 4,
        ttl: 64,
        source: "127.0.0.1:40312".to_owned(),
        destination: "127.0.0.1:8331".to_owned(),
        ip_flags: vec!["DF".to_owned()],
        segment,
        bytes: "4500003c1a2b40004006229a7f0000017f0000019d78208bbb40e64d00000000a002ffd7fe30000002\
                04ffd70402080aa7fd08c50000000001030307"
            .to_owned(),
    }
}

/// 16 files over HTTP/2 under TLS.
pub(crate) fn http2() -> Trace {
    let mut script = Script::new("anyport trace send photos/ https://files.example.org:8331");
    let text = str::to_owned;
    let addresses = vec![text("2001:db8::5"), text("192.0.2.5")];
    script.add(0, 3_100, None, What::Resolved { host: text("files.example.org"), addresses });
    script.connect(3_150, 11_900, "192.0.2.5:8331");
    let hello = |name: &str, bytes, version: &str| TlsMessage {
        name: name.to_owned(),
        bytes,
        version: Some(version.to_owned()),
        ..TlsMessage::default()
    };
    let suites = ["TLS13_AES_256_GCM_SHA384", "TLS13_AES_128_GCM_SHA256"].map(text).to_vec();
    script.add(
        15_300,
        0,
        Some(Client),
        What::TlsMessage(TlsMessage {
            server_name: Some(text("files.example.org")),
            alpn: vec![text("h2"), text("http/1.1")],
            suites: suites.clone(),
            ..hello("ClientHello", 512, "TLSv1.3")
        }),
    );
    let suites = vec![text("TLS13_AES_256_GCM_SHA384")];
    script.add(
        27_800,
        0,
        Some(Server),
        What::TlsMessage(TlsMessage { suites, ..hello("ServerHello", 122, "TLSv1.3") }),
    );
    let records = |count, bytes| What::TlsRecords { kind: text("application-data"), count, bytes };
    script.add(27_900, 0, Some(Server), records(4, 1_310));
    script.add(
        29_000,
        0,
        None,
        What::TlsDone {
            version: text("TLSv1.3"),
            suite: text("TLS13_AES_256_GCM_SHA384"),
            group: Some(text("X25519MLKEM768")),
            alpn: Some(text("h2")),
            certificate: Some(Certificate {
                names: vec![text("files.example.org"), text("*.example.org")],
                fingerprint: text("SHA256:0970443f2c…"),
                verification: text("signed by a trusted CA"),
            }),
        },
    );
    let (magic, own): (_, &[_]) =
        ("SETTINGS", &[("MAX_CONCURRENT_STREAMS", "0"), ("INITIAL_WINDOW_SIZE", "2097152")]);
    script.head(29_050, Client, "PRI * HTTP/2.0", &[]);
    script.http2(29_060, Client, (magic, 0, 24), "", own);
    script.http2(29_070, Client, ("WINDOW_UPDATE", 0, 4), "", &[("increment", "5177345")]);
    for file in 0..16_u32 {
        let (id, at) = (file * 2 + 1, 29_100 + u64::from(file) * 40);
        let path = format!("/photos/{:04}.jpg", 1200 + file);
        let request = [(":method", "PUT"), (":scheme", "https"), (":path", path.as_str())];
        script.http2(at, Client, ("HEADERS", id, 96), "END_HEADERS", &request);
        for piece in 0..6 + u64::from(file % 5) * 3 {
            let at = at + 3_000 + piece * 4_000 + u64::from(file) * 260;
            script.http2(at, Client, ("DATA", id, 16_384), "", &[]);
        }
        let end = at + 40_000 + u64::from(file % 5) * 9_000 + u64::from(file) * 900;
        script.http2(end - 12_000, Client, ("DATA", id, 0), "END_STREAM", &[]);
        script.http2(end - 9_000, Server, ("WINDOW_UPDATE", 0, 4), "", &[("increment", "131072")]);
        script.http2(end, Server, ("HEADERS", id, 90), "END_HEADERS", &[(":status", "201")]);
        script.http2(end + 10, Server, ("DATA", id, 140), "END_STREAM", &[]);
    }
    script.http2(42_000, Server, (magic, 0, 18), "", &[("MAX_CONCURRENT_STREAMS", "100")]);
    script.http2(42_050, Client, (magic, 0, 0), "ACK", &[]);
    script.http2(140_000, Client, ("GOAWAY", 0, 8), "", &[("error", "NO_ERROR"), ("last", "0")]);
    script.inferred(140_200, Client, What::Fin);
    script.add(152_000, 0, Some(Server), What::Fin);
    script.0.events.sort_by_key(|event| event.at);
    script.samples(60, 16_000, 140_000, 3_100_000, &|step| 10 + step * 2);
    script.0.diagnosis = Some(Diagnosis {
        main: Limit::Congestion,
        ended: None,
        share: Some(0.7),
        direction: None,
        evidence: vec![text("98 of 140 ms busy"), text("24 MB/s at a round trip of 12.8 ms")],
        advice: Some(text("The path carries no more: use a shorter one, or compress the files.")),
    });
    script.0
}

/// A captured upload over a path that loses segments.
pub(crate) fn lossy() -> Trace {
    let mut script = Script::new("anyport trace --pcap out.pcapng send film.mkv 10.9.0.2:8331");
    script.0.header.captured = true;
    script.connect(200, 20_400, "10.9.0.2:8331");
    let segment = |flags: &str, seq: u64, ack: u64, payload: u64| Segment {
        flags: flags.split(' ').map(str::to_owned).collect(),
        seq: 2_814_751_028_u32.wrapping_add(seq as u32),
        ack: flags.contains("ACK").then(|| 931_002_111_u32.wrapping_add(ack as u32)),
        relative_seq: seq,
        relative_ack: flags.contains("ACK").then_some(ack),
        window: 502,
        window_bytes: Some(64_256),
        payload,
        ttl: 64,
        checksum: Checksum::Offloaded,
        ..Segment::default()
    };
    let options = vec![TcpOption::Mss(1460), TcpOption::SackPermitted, TcpOption::WindowScale(7)];
    let syn = Segment {
        options: options.clone(),
        window: 64_240,
        window_bytes: None,
        ..segment("SYN", 0, 0, 0)
    };
    script.add(210, 0, Some(Client), What::Segment(syn));
    let syn_ack =
        Segment { options, window: 65_160, window_bytes: None, ..segment("SYN ACK", 0, 1, 0) };
    script.add(20_500, 0, Some(Server), What::Segment(syn_ack));
    script.add(20_540, 0, Some(Client), What::Segment(segment("ACK", 1, 1, 0)));
    script.add(
        20_700,
        0,
        Some(Client),
        What::Line { text: "ANYPORT/1 PUT name=film.mkv size=4344000 digest=blake3".to_owned() },
    );
    script.add(20_710, 0, Some(Client), What::Segment(segment("PSH ACK", 1, 1, 56)));
    script.add(41_000, 0, Some(Server), What::Segment(segment("ACK", 1, 57, 0)));
    script.add(41_200, 0, Some(Server), What::Line { text: "ANYPORT/1 GO offset=0".to_owned() });
    let content = What::Content { bytes: 4_344_000, payload: None };
    script.add(41_300, 1_930_000, Some(Client), content);
    let mut seq = 57;
    for step in 0..3_000_u64 {
        let at = 41_300 + step * 640;
        let lost = step % 160 == 91;
        script.add(at, 0, Some(Client), What::Segment(segment("ACK", seq, 23, 1_448)));
        if step % 2 == 1 {
            let ack = Segment {
                marks: if step % 160 > 93 && step % 160 < 100 {
                    vec![Mark::DuplicateAck]
                } else {
                    vec![]
                },
                ..segment("ACK", 23, seq, 0)
            };
            script.add(at + 20_300, 0, Some(Server), What::Segment(ack));
        }
        if lost {
            let again =
                Segment { marks: vec![Mark::Retransmission], ..segment("ACK", seq, 23, 1_448) };
            script.add(at + 24_000, 0, Some(Client), What::Segment(again));
        }
        seq += 1_448;
    }
    script.add(1_990_000, 0, Some(Server), What::Line {
        text: "ANYPORT/1 RECEIPT protocol=preface bytes=4344000 seconds=1.94 digest=blake3:77aa01f0"
            .to_owned(),
    });
    script.add(1_990_400, 0, Some(Client), What::Segment(segment("FIN ACK", seq, 140, 0)));
    script.add(2_010_800, 0, Some(Server), What::Segment(segment("FIN ACK", 140, seq + 1, 0)));
    script.add(2_010_840, 0, Some(Client), What::Segment(segment("ACK", seq + 1, 141, 0)));
    script.0.events.sort_by_key(|event| event.at);
    script.samples(120, 21_000, 1_990_000, 4_344_000, &|step| 12 + (step * 7) % 60);
    script.0.samples.last_mut().unwrap().retransmits = Some(19);
    script.0.diagnosis = Some(Diagnosis {
        main: Limit::Loss,
        ended: None,
        share: Some(0.83),
        direction: None,
        evidence: vec![
            "19 of 3,000 segments were sent again (0.63 %)".to_owned(),
            "the congestion window was halved 18 times".to_owned(),
        ],
        advice: Some("Find where the path loses segments: a full queue, or a bad link.".to_owned()),
    });
    script.0
}

/// Texts that a peer could send to act on a terminal, a page or a picture.
pub(crate) fn hostile() -> Trace {
    let mut script = Script::new("anyport trace get <script>\u{1b}[2J");
    let text = || {
        "</text><script>alert(1)</script>\"'&\u{202e}evil\u{1b}]0;x\u{7}\u{9b}2J\r\n\u{fffe}"
            .to_owned()
    };
    script.add(0, 5, None, What::Resolved { host: text(), addresses: vec![text()] });
    script.add(1, 0, None, What::AttemptFailed { address: text(), reason: text() });
    script.connect(2, 3, &text());
    script.add(
        3,
        0,
        Some(Server),
        What::Segment(Segment { flags: vec![text()], ..Segment::default() }),
    );
    script.add(3, 0, None, What::Syn(Syn { source: text(), bytes: text(), ..syn() }));
    script.add(
        4,
        0,
        Some(Server),
        What::TlsMessage(TlsMessage { name: text(), alpn: vec![text()], ..TlsMessage::default() }),
    );
    script.add(4, 0, Some(Server), What::TlsRecords { kind: text(), count: 1, bytes: 2 });
    script.head(5, Server, &text(), &[(&text(), &text())]);
    let mut bad = frame("81ba37fa213d", "text", 58, 1);
    (bad.opcode, bad.header, bad.text, bad.payload) = (text(), text(), Some(text()), Some(text()));
    script.add(6, 0, Some(Server), What::Frame(bad));
    let name = text();
    script.http2(7, Client, ("HEADERS", 1, 9), "", &[(":method", &name), (":path", &name)]);
    script.http2(8, Server, (&name, 1, 9), &name, &[(":status", &name)]);
    script.add(9, 0, Some(Server), What::Line { text: text() });
    script.add(10, 0, Some(Server), What::Content { bytes: 1, payload: Some(text()) });
    script.add(11, 0, None, What::Failed { text: text() });
    script.add(12, 0, None, What::Note { text: text() });
    let evidence = vec![text()];
    script.0.diagnosis = Some(Diagnosis {
        main: Limit::Unknown,
        ended: None,
        share: None,
        direction: None,
        evidence,
        advice: Some(text()),
    });
    script.0
}
