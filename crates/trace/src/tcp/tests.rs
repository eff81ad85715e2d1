use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use pcap_file::pcapng::{Block, PcapNgReader};

use super::*;
use crate::diagnosis::{Direction, Evidence, Limit, TcpTimes};
use crate::recorder::{Limits, Trace};
use crate::segment::Checksum;

const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 1], 40_000);
const SERVER: ([u8; 4], u16) = ([192, 0, 2, 2], 80);

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80);

fn address((ip, port): ([u8; 4], u16)) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

struct Test {
    flows: Flows,
    recorder: Recorder,
    at: Instant,
}

impl Test {
    fn new(events: usize, pcap: Option<PcapWriter>) -> Self {
        let recorder = Recorder::new(Limits { events, ..Limits::default() });
        let at = Instant::now();
        Self { flows: Flows::new(&recorder, pcap), recorder, at }
    }

    /// A packet from one end to the other, on an interface.
    fn add(
        &mut self,
        (from, to): (([u8; 4], u16), ([u8; 4], u16)),
        interface: u32,
        flags: &str,
        (seq, ack): (u32, u32),
        payload: &[u8],
    ) {
        self.at += Duration::from_millis(1);
        let mut tcp = PacketBuilder::ipv4(from.0, to.0, 64).tcp(from.1, to.1, seq, 500);
        for flag in flags.chars() {
            tcp = match flag {
                'S' => tcp.syn(),
                'F' => tcp.fin(),
                'R' => tcp.rst(),
                'A' => tcp.ack(ack),
                other => panic!("{other}"),
            };
        }
        let mut bytes = Vec::new();
        tcp.write(&mut bytes, payload).unwrap();
        self.flows.add(Packet {
            at: self.at,
            since_1970: Duration::from_secs(1_700_000_000),
            interface,
            outgoing: from == CLIENT || from.1 > 50_000,
            bytes: &bytes,
            length: u32::try_from(bytes.len()).unwrap(),
            checksum: Checksum::Unknown,
        });
    }

    fn handshake(&mut self) {
        self.flows.dialing(3, &[ANY]);
        self.open();
    }

    fn open(&mut self) {
        self.add((CLIENT, SERVER), 1, "S", (9, 0), b"");
        self.add((SERVER, CLIENT), 1, "SA", (99, 10), b"");
        self.flows.connected(3, address(CLIENT), address(SERVER));
        self.add((CLIENT, SERVER), 1, "A", (10, 100), b"");
    }

    fn finish(&mut self) -> Trace {
        self.flows.finish(0).unwrap();
        self.recorder.finish()
    }
}

/// Side, flags and relative number of each segment.
fn segments(trace: &Trace) -> Vec<(Side, String, u64)> {
    let segment = |event: &Event| match &event.what {
        What::Segment(s) => Some((event.from?, s.flags.join(" "), s.relative_seq)),
        _ => None,
    };
    trace.events.iter().filter_map(segment).collect()
}

fn notes(trace: &Trace) -> Vec<&str> {
    let note = |event: &'_ Event| matches!(event.what, What::Note { .. });
    let notes = trace.events.iter().filter(|event| note(event));
    notes.map(|event| if let What::Note { text } = &event.what { &**text } else { "" }).collect()
}

#[test]
fn packets_before_the_connection_is_known_belong_to_it_and_those_of_others_do_not() {
    let mut test = Test::new(100, None);
    test.add((CLIENT, SERVER), 1, "S", (1, 0), b"");
    test.flows.dialing(3, &[address(SERVER)]);
    let other = (CLIENT.0, 41_000);
    test.add((other, SERVER), 1, "S", (5, 0), b"");
    test.add((CLIENT, (SERVER.0, 81)), 1, "S", (5, 0), b"");
    test.open();
    test.add((SERVER, other), 1, "A", (1, 2), b"x");
    test.add((CLIENT, SERVER), 1, "FA", (10, 100), b"");
    assert!(!test.flows.is_over());
    test.add((SERVER, CLIENT), 1, "FA", (100, 11), b"");
    test.add((CLIENT, SERVER), 1, "A", (11, 101), b"");
    assert!(test.flows.is_over());
    let trace = test.finish();
    let expected = [
        (Side::Client, "SYN", 0),
        (Side::Server, "SYN ACK", 0),
        (Side::Client, "ACK", 1),
        (Side::Client, "FIN ACK", 1),
        (Side::Server, "FIN ACK", 1),
        (Side::Client, "ACK", 2),
    ];
    let found = segments(&trace);
    let found: Vec<_> = found.iter().map(|(side, flags, seq)| (*side, &**flags, *seq)).collect();
    assert_eq!(found, expected);
    let summary = "captured 4 segments of the client with 0 bytes, 2 of the server with 0 bytes";
    assert_eq!(notes(&trace), [summary]);
}

#[test]
fn attempts_that_failed_have_their_segments() {
    let mut test = Test::new(100, None);
    test.flows.dialing(1, &[ANY]);
    test.add((CLIENT, SERVER), 1, "S", (9, 0), b"");
    test.add((SERVER, CLIENT), 1, "RA", (0, 10), b"");
    let trace = test.finish();
    let flags: Vec<_> = segments(&trace).into_iter().map(|(_, flags, _)| flags).collect();
    assert_eq!(flags, ["SYN", "RST ACK"]);
    assert!(trace.events.iter().all(|event| event.connection == Some(1)));
}

#[test]
fn a_packet_that_passes_several_interfaces_is_one_segment() {
    for receives in [2, 1] {
        let mut test = Test::new(100, None);
        test.flows.dialing(3, &[ANY]);
        // A VLAN: sent on its interface 1, then on 2; received on 2, then on 1.
        for interface in [1, 2] {
            test.add((CLIENT, SERVER), interface, "S", (9, 0), b"");
        }
        test.flows.connected(3, address(CLIENT), address(SERVER));
        // Or the way back is another one, and only interface 2 receives.
        for interface in (receives..=2).rev() {
            test.add((SERVER, CLIENT), interface, "SA", (99, 10), b"");
        }
        for interface in [1, 2] {
            test.add((CLIENT, SERVER), interface, "A", (10, 100), b"");
        }
        for interface in (receives..=2).rev() {
            test.add((SERVER, CLIENT), interface, "A", (100, 10), b"hello");
        }
        let trace = test.finish();
        let flags: Vec<_> = segments(&trace).into_iter().map(|(_, flags, _)| flags).collect();
        assert_eq!(flags, ["SYN", "SYN ACK", "ACK", "ACK"], "{receives}");
    }
}

#[test]
fn of_a_long_transfer_handshake_marked_segments_and_the_end_remain() {
    let mut test = Test::new(200, None);
    test.handshake();
    let mut seq = 10_u32;
    for index in 0..5000 {
        test.add((CLIENT, SERVER), 1, "A", (seq, 100), &[0; 10]);
        if index % 500 == 0 {
            test.add((CLIENT, SERVER), 1, "A", (seq, 100), &[0; 10]);
        }
        seq += 10;
    }
    test.add((CLIENT, SERVER), 1, "FA", (seq, 100), b"");
    let trace = test.finish();
    let found = segments(&trace);
    assert!((50..=100).contains(&found.len()), "{}", found.len());
    let flags: Vec<_> = found.iter().map(|(_, flags, _)| &**flags).collect();
    assert_eq!(flags[..2], ["SYN", "SYN ACK"]);
    assert_eq!(*flags.last().unwrap(), "FIN ACK");
    let marked = trace.events.iter().filter(|event| {
        matches!(&event.what, What::Segment(segment) if segment.marks == [Mark::Retransmission])
    });
    assert_eq!(marked.count(), 10);
    assert_eq!(trace.left_out, 5014 - found.len() as u64);
    let expected = "captured 5013 segments of the client with 50100 bytes, 1 of the server with 0 \
                    bytes, 10 retransmissions";
    assert_eq!(notes(&trace), [expected]);
}

#[test]
fn packets_of_a_server_that_wait_are_bounded() {
    let mut test = Test::new(100, None);
    test.flows.dialing(1, &[ANY]);
    for _ in 0..MAX_PENDING + 7 {
        test.add(((CLIENT.0, 41_000), SERVER), 1, "A", (1, 1), b"");
    }
    assert_eq!(test.flows.pending.len(), MAX_PENDING);
    let trace = test.finish();
    assert_eq!(notes(&trace), ["7 packets not captured: they arrived too fast"]);
}

#[test]
fn a_count_of_one_is_singular() {
    let mut test = Test::new(100, None);
    test.flows.dialing(3, &[ANY]);
    test.add((CLIENT, SERVER), 1, "S", (9, 0), b"");
    test.flows.connected(3, address(CLIENT), address(SERVER));
    let flow = test.flows.flows.first_mut().unwrap();
    let ones = flow.summary();
    assert_eq!(ones, "captured 1 segment of the client with 0 bytes, 0 of the server with 0 bytes");
    flow.payload = [1, 2];
    flow.marks = [[1, 1, 1, 0, 1, 1, 2, 0], [0, 0, 0, 1, 0, 0, 0, 0]];
    assert_eq!(
        flow.summary(),
        "captured 1 segment of the client with 1 byte, 0 of the server with 2 bytes, \
         1 retransmission, 1 of them spurious, 1 out of order, 1 duplicate acknowledgement, \
         1 report of bytes that arrived twice, 1 window of 0, 2 probes"
    );
}

/// A writer whose bytes a test reads afterwards.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_pcapng_file_has_the_packets_of_the_connection() {
    let file = Shared::default();
    let pcap = PcapWriter::new(Box::new(file.clone()), "anyport trace send a", 256).unwrap();
    let mut test = Test::new(100, Some(pcap));
    test.handshake();
    test.add((CLIENT, (SERVER.0, 81)), 1, "A", (1, 1), b"other");
    test.add((CLIENT, SERVER), 1, "A", (10, 100), b"hello");
    let packets = test.flows.finish(0).unwrap();
    assert_eq!(packets, 4);
    let bytes = file.0.lock().unwrap().clone();
    let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
    let comments = format!("{:?}", reader.section().options);
    assert!(comments.contains("anyport trace send a"), "{comments}");
    let mut payloads = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap() {
            assert_eq!(packet.timestamp, Duration::from_secs(1_700_000_000));
            payloads.push(packet.data[40..].to_vec());
        }
    }
    assert_eq!(payloads, [&b""[..], b"", b"", b"hello"]);
}

/// The kernel counts what arrived, also where the capture shows nothing, or a part.
#[test]
fn a_capture_that_lacks_packets_hides_no_loss() {
    for (is_captured, lost, expected) in
        [(false, 0, Limit::Loss), (true, 3, Limit::Loss), (true, 0, Limit::SenderOrPath)]
    {
        let mut test = Test::new(100, None);
        test.flows.dialing(3, &[ANY]);
        match is_captured {
            true => test.open(),
            false => test.flows.connected(3, address(CLIENT), address(SERVER)),
        }
        let counts = TcpTimes { out_of_order: 100, received_segments: 1000, ..TcpTimes::default() };
        test.recorder.measured(&Evidence {
            direction: Direction::Receiving,
            elapsed: Duration::from_secs(10),
            bytes: 100_000_000,
            tcp: Some(counts),
            ..Evidence::default()
        });
        test.flows.finish(lost).unwrap();
        let found = test.recorder.finish().diagnosis.unwrap();
        assert_eq!(found.main, expected, "{is_captured} {lost}: {found:?}");
    }
}
