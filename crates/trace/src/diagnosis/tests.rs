use std::time::Duration;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Returns a transfer of ten seconds over a path with a round trip of 10 ms.
fn whole() -> Evidence {
    let tcp = TcpTimes {
        segments: 10_000,
        rtt: 10 * MS,
        min_rtt: 10 * MS,
        peer_window: 6_000_000,
        own_window: 6_000_000,
        received_segments: 10_000,
        ..TcpTimes::default()
    };
    let (elapsed, bytes) = (10_000 * MS, 100_000_000);
    Evidence { elapsed, bytes, tcp: Some(tcp), transfers: 1, ..Evidence::default() }
}

/// Returns a transfer with these tenths of the time: data in the socket, blocked by the window, by
/// the buffer.
fn tcp(busy: u32, window: u32, buffer: u32) -> Evidence {
    let mut whole = whole();
    let tcp = whole.tcp.as_mut().unwrap();
    tcp.busy = 1000 * MS * busy;
    tcp.rwnd_limited = 1000 * MS * window;
    tcp.sndbuf_limited = 1000 * MS * buffer;
    whole
}

fn remote(hashing: u32, storing: u32, syncing: u32) -> Option<Remote> {
    let [hashing, storing, syncing] = [hashing, storing, syncing].map(|tenths| 1000 * MS * tenths);
    Some(Remote { hashing, storing, syncing })
}

fn main_of(evidence: &Evidence) -> Limit {
    let found = diagnosis(evidence);
    assert!(found.share.is_none_or(|share| (0.0..=1.0).contains(&share)), "{found:?}");
    assert_eq!(found.share.is_none(), found.main == Limit::Unknown, "{found:?}");
    assert_eq!(found.advice.is_none(), found.main == Limit::Unknown, "{found:?}");
    assert!(!found.evidence.is_empty(), "{found:?}");
    for text in &found.evidence {
        assert!(!text.contains("NaN") && !text.contains("inf "), "{found:?}");
    }
    found.main
}

#[test]
fn the_longest_work_of_this_end_is_the_limit() {
    let took = 6000 * MS;
    let table = [
        (Evidence { reading: took, ..tcp(3, 0, 0) }, Limit::Reading),
        (Evidence { reading: took, source_is_stream: true, ..tcp(3, 0, 0) }, Limit::Sender),
        (Evidence { hashing: took, ..tcp(3, 0, 0) }, Limit::Hashing),
        (Evidence { pausing: took, ..tcp(3, 0, 0) }, Limit::RateLimit),
        (Evidence { tls: took, ..tcp(3, 0, 0) }, Limit::Tls),
        (Evidence { handshakes: took, ..tcp(3, 0, 0) }, Limit::Handshakes),
        // On a long path each piece is in the socket for a round trip, and yet it waits for none.
        (Evidence { pausing: 9500 * MS, ..tcp(10, 0, 0) }, Limit::RateLimit),
        // sendfile waits for the file while the socket has nothing, or a piece of a segment.
        (Evidence { by_kernel: 9900 * MS, ..tcp(9, 0, 0) }, Limit::Reading),
    ];
    for (evidence, expected) in table {
        assert_eq!(main_of(&evidence), expected, "{evidence:?}");
    }
}

#[test]
fn a_socket_that_is_never_empty_shows_a_limit_behind_it() {
    let hashing = 5500 * MS;
    let table = [
        (tcp(10, 0, 0), Limit::Congestion),
        (tcp(10, 0, 9), Limit::SendBuffer),
        (tcp(10, 9, 0), Limit::Receiver),
        // The digest needs half of the time, and would be ready sooner on a faster path.
        (Evidence { hashing, ..tcp(10, 0, 0) }, Limit::Congestion),
        // sendfile waits for room.
        (Evidence { by_kernel: 9900 * MS, ..tcp(10, 0, 9) }, Limit::SendBuffer),
    ];
    for (evidence, expected) in table {
        assert_eq!(main_of(&evidence), expected, "{evidence:?}");
    }
}

#[test]
fn the_receipt_says_what_a_slow_receiver_did() {
    let table = [
        (remote(0, 8, 0), Limit::Storing),
        (remote(0, 2, 6), Limit::Storing),
        (remote(8, 1, 0), Limit::ReceiverHashing),
        (remote(0, 0, 0), Limit::Receiver),
        (None, Limit::Receiver),
    ];
    for (remote, expected) in table {
        // Its window is closed, or all is in its kernel and only the receipt is missing.
        let replying = 8000 * MS;
        for evidence in [tcp(10, 9, 0), Evidence { replying, ..tcp(1, 0, 0) }] {
            let evidence = Evidence { remote, ..evidence };
            assert_eq!(main_of(&evidence), expected, "{evidence:?}");
        }
    }
}

#[test]
fn a_receiver_that_stores_most_of_the_time_is_slow_though_its_window_is_open() {
    assert_eq!(main_of(&Evidence { remote: remote(0, 6, 0), ..tcp(10, 1, 0) }), Limit::Storing);
    assert_eq!(main_of(&Evidence { remote: remote(0, 2, 0), ..tcp(10, 1, 0) }), Limit::Congestion);
    // Over HTTP/2 its flow control leaves the socket empty.
    assert_eq!(main_of(&Evidence { remote: remote(0, 9, 0), ..tcp(1, 0, 0) }), Limit::Storing);
}

#[test]
fn a_window_is_the_limit_if_each_round_trip_fills_it() {
    let with_window = |window| {
        let mut evidence = tcp(10, 9, 0);
        evidence.tcp.as_mut().unwrap().peer_window = window;
        evidence
    };
    // 10 MB/s and 10 ms are 100,000 bytes.
    assert_eq!(main_of(&with_window(100_000)), Limit::ReceiveWindow);
    assert_eq!(main_of(&with_window(160_000)), Limit::ReceiveWindow);
    assert_eq!(main_of(&with_window(180_000)), Limit::Receiver);
    assert_eq!(main_of(&with_window(0)), Limit::Receiver, "an unknown window");
}

#[test]
fn pacing_hides_the_end_of_a_window_and_of_a_buffer() {
    let mut window = tcp(10, 4, 0);
    window.tcp.as_mut().unwrap().peer_window = 110_000;
    assert_eq!(main_of(&window), Limit::ReceiveWindow);
    assert_eq!(main_of(&tcp(10, 0, 4)), Limit::SendBuffer);
    let mut closed = tcp(10, 1, 0);
    let sample = |peer_window| Sample { peer_window: Some(peer_window), ..Sample::default() };
    closed.samples = [600_000, 600_000, 90_000, 40_000].repeat(3).into_iter().map(sample).collect();
    assert_eq!(main_of(&closed), Limit::Receiver);
    closed.samples = [70_000, 200_000, 600_000, 600_000].into_iter().map(sample).collect();
    assert_eq!(main_of(&closed), Limit::Congestion, "a window that grows");
}

#[test]
fn lost_segments_are_the_limit_only_without_a_queue() {
    let with = |retransmits, rtt| {
        let mut evidence = tcp(10, 0, 0);
        let tcp = evidence.tcp.as_mut().unwrap();
        (tcp.retransmits, tcp.rtt) = (retransmits, rtt);
        evidence
    };
    assert_eq!(main_of(&with(100, 11 * MS)), Limit::Loss);
    assert_eq!(main_of(&with(30, 11 * MS)), Limit::Congestion);
    assert_eq!(main_of(&with(100, 80 * MS)), Limit::Congestion, "a queue overflows");
}

#[test]
fn segments_that_were_late_and_not_lost_show_another_order() {
    let with = |retransmits, arrived_twice| {
        let mut evidence = tcp(10, 0, 0);
        let tcp = evidence.tcp.as_mut().unwrap();
        (tcp.retransmits, tcp.arrived_twice, tcp.overtaken) = (retransmits, arrived_twice, 1);
        evidence
    };
    assert_eq!(main_of(&with(100, 90)), Limit::Reordering);
    assert_eq!(main_of(&with(100, 40)), Limit::Loss);
    // Late ones are no limit if there are few, nor reports without a retransmission.
    assert_eq!(main_of(&with(30, 30)), Limit::Congestion);
    assert_eq!(main_of(&with(0, 900)), Limit::Congestion);
    let found = diagnosis(&with(100, 90));
    let expected =
        ["90 segments arrived twice: late, not lost (D-SACK)", "overtook earlier ones 1 time"];
    for text in expected {
        assert!(found.evidence.iter().any(|line| line.contains(text)), "{found:?}");
    }
    let mut windowed = with(100, 90);
    windowed.tcp.as_mut().unwrap().rwnd_limited = 9000 * MS;
    windowed.tcp.as_mut().unwrap().peer_window = 100_000;
    assert_eq!(main_of(&windowed), Limit::ReceiveWindow, "another limit");
}

#[test]
fn a_short_transfer_is_limited_by_its_round_trips() {
    let (elapsed, handshakes) = (31 * MS, 20 * MS);
    let short = Evidence { bytes: 1000, elapsed, handshakes, ..whole() };
    assert_eq!(main_of(&short), Limit::Handshakes);
    // The reply took longer than round trips do.
    assert_ne!(main_of(&Evidence { elapsed: 120 * MS, ..short.clone() }), Limit::Handshakes);
    let mut many = short.clone();
    for _ in 1..50 {
        many.add(&short);
    }
    assert_eq!((many.transfers, many.bytes), (50, 50_000));
    assert_eq!(main_of(&many), Limit::Handshakes);
}

#[test]
fn a_download_is_limited_by_this_end_or_by_what_is_before_it() {
    let took = 6000 * MS;
    let receiving = || Evidence { direction: Direction::Receiving, ..tcp(0, 0, 0) };
    let table = [
        (Evidence { hashing: took, ..receiving() }, Limit::ReceiverHashing),
        (Evidence { storing: took, ..receiving() }, Limit::Storing),
        (Evidence { storing: took, output_is_stream: true, ..receiving() }, Limit::Receiver),
        (Evidence { pausing: took, ..receiving() }, Limit::RateLimit),
        (Evidence { tls: took, ..receiving() }, Limit::Tls),
        (Evidence { handshakes: took, ..receiving() }, Limit::Handshakes),
        (receiving(), Limit::SenderOrPath),
    ];
    for (evidence, expected) in table {
        assert_eq!(main_of(&evidence), expected, "{evidence:?}");
    }
    let mut lossy = receiving();
    lossy.tcp.as_mut().unwrap().out_of_order = 300;
    assert_eq!(main_of(&lossy), Limit::Loss);
    lossy.tcp.as_mut().unwrap().receive_rtt = 80 * MS;
    assert_eq!(main_of(&lossy), Limit::SenderOrPath, "a queue overflows");
    lossy.tcp.as_mut().unwrap().receive_rtt = 10 * MS;
    // A capture tells what was late from what was lost.
    for (again, twice, expected) in [
        (300, 0, Limit::Loss),
        (300, 290, Limit::Reordering),
        (3, 3, Limit::SenderOrPath),
        (0, 0, Limit::SenderOrPath),
    ] {
        let arrived = Some(Arrived { again, twice });
        assert_eq!(main_of(&Evidence { arrived, ..lossy.clone() }), expected, "{again} {twice}");
    }
    let mut small = receiving();
    small.tcp.as_mut().unwrap().own_window = 110_000;
    assert_eq!(main_of(&small), Limit::ReceiveWindow);
}

#[test]
fn an_interactive_connection_without_data_is_idle() {
    assert_eq!(main_of(&Evidence { direction: Direction::Both, ..tcp(1, 0, 0) }), Limit::Idle);
    assert_ne!(main_of(&Evidence { direction: Direction::Both, ..tcp(10, 0, 0) }), Limit::Idle);
}

#[test]
fn without_measurements_or_without_a_main_part_it_is_unknown() {
    assert_eq!(main_of(&Evidence::default()), Limit::Unknown);
    for direction in [Direction::Sending, Direction::Receiving, Direction::Both] {
        let nothing = Evidence { elapsed: MS, direction, ..Evidence::default() };
        main_of(&nothing);
        let zero = Evidence { tcp: Some(TcpTimes::default()), ..nothing };
        main_of(&zero);
        // More than all of the time, from clocks that differ.
        let third = 3500 * MS;
        let spread = Evidence {
            direction,
            reading: third,
            hashing: third,
            storing: third,
            pausing: third,
            ..tcp(9, 0, 0)
        };
        assert_eq!(main_of(&spread), Limit::Unknown, "{direction:?}");
    }
    // Neither this end, nor the path, nor the receiver: a busy CPU.
    assert_eq!(main_of(&tcp(1, 0, 0)), Limit::Unknown);
}

#[test]
fn names_in_json_are_those_of_the_limits() {
    for (limit, name) in [
        (Limit::RateLimit, "rate-limit"),
        (Limit::SenderOrPath, "sender-or-path"),
        (Limit::Storing, "storing"),
    ] {
        assert_eq!(serde_json::to_value(limit).unwrap(), name);
        assert_eq!(limit.as_str(), name);
    }
}

/// A download has its receiver here, and its sender at the other end.
#[test]
fn words_name_the_end_where_the_limit_is() {
    let took = 9000 * MS;
    let receiving = || Evidence { direction: Direction::Receiving, ..tcp(0, 0, 0) };
    for (evidence, limit, advice) in [
        (Evidence { hashing: took, ..receiving() }, "hashing on this machine", "--digest"),
        (Evidence { storing: took, ..receiving() }, "on this machine", "a faster disk"),
        (receiving(), "the server or the path", "of the server"),
        (Evidence { handshakes: took, ..receiving() }, "handshakes", "Fetch many files"),
        (Evidence { hashing: took, ..tcp(3, 0, 0) }, "hashing on this machine", "--digest"),
        (Evidence { handshakes: took, ..tcp(3, 0, 0) }, "handshakes", "Send many files"),
    ] {
        let found = diagnosis(&evidence);
        assert!(found.limit().contains(limit), "{found:?}");
        assert!(found.advice.as_ref().is_some_and(|text| text.contains(advice)), "{found:?}");
    }
    let found = diagnosis(&Evidence { remote: remote(9, 0, 0), ..tcp(10, 0, 0) });
    assert_eq!(found.limit(), "hashing on the receiver");
}

#[test]
fn a_command_that_did_not_complete_has_its_end_and_the_limit_of_its_part() {
    let concluded = |evidence: Option<&Evidence>, is_any_complete, ended| {
        let found = concluded(evidence, is_any_complete, (ended, "how it ended".to_owned()));
        assert_eq!((found.ended, &*found.evidence[0]), (Some(ended), "how it ended"));
        assert_eq!(found.share.is_none(), found.main == Limit::Unknown, "{found:?}");
        found
    };
    let none = concluded(None, false, Ended::Unreachable);
    assert_eq!((none.main, none.evidence.len()), (Limit::Unknown, 2), "{none:?}");
    let part = Evidence { pausing: 9500 * MS, ..tcp(1, 0, 0) };
    let part = concluded(Some(&part), false, Ended::Interrupted);
    assert_eq!(part.main, Limit::RateLimit, "{part:?}");
    assert_eq!(part.evidence[1], "wrote 100000000 bytes of content before");
    // The error of a lost connection has the number.
    let lost = Evidence { pausing: 9500 * MS, ..tcp(1, 0, 0) };
    let lost = concluded(Some(&lost), false, Ended::Lost);
    assert!(lost.evidence.iter().all(|text| !text.contains("before")), "{lost:?}");
    // A few round trips show that there was no more, unless a transfer is complete.
    let mut few = Evidence { bytes: 100, elapsed: 30 * MS, handshakes: 20 * MS, ..whole() };
    few.tcp = whole().tcp;
    let of_few = |complete| concluded(Some(&few), complete, Ended::Refused).main;
    assert_eq!([of_few(false), of_few(true)], [Limit::Unknown, Limit::Handshakes]);
}

/// What was written may still be in buffers of this end.
#[test]
fn a_part_that_was_written_has_what_was_acknowledged_beside_it() {
    let says = |direction, samples: &[(u32, Option<u64>)]| {
        let sample = |&(connection, acked)| Sample { connection, acked, ..Sample::default() };
        let samples = samples.iter().map(sample).collect();
        let part = Evidence { direction, samples, bytes: 5000, ..tcp(1, 0, 0) };
        let ended = (Ended::Interrupted, "how it ended".to_owned());
        concluded(Some(&part), false, ended).evidence.swap_remove(1)
    };
    let sending = Direction::Sending;
    assert_eq!(says(sending, &[]), "wrote 5000 bytes of content before");
    assert_eq!(says(sending, &[(1, None)]), "wrote 5000 bytes of content before");
    // The latest sample of each connection.
    assert_eq!(
        says(sending, &[(1, Some(100)), (2, Some(40)), (1, Some(3000)), (2, Some(50))]),
        "wrote 5000 bytes of content before; 3050 bytes acknowledged, with those of the protocols"
    );
    let samples = [(1, Some(100))];
    assert_eq!(says(Direction::Receiving, &samples), "received 5000 bytes of content before");
    assert_eq!(says(Direction::Both, &samples), "sent and received 5000 bytes before");
}

/// For a server, the other end of an upload is no server.
#[test]
fn a_server_that_receives_names_the_sender() {
    let recorder = crate::Recorder::of_server(crate::Limits::default(), std::time::Instant::now());
    let (elapsed, bytes) = (Duration::from_secs(10), 100_000_000);
    let direction = Direction::Receiving;
    recorder.measured(&Evidence { direction, elapsed, bytes, ..Evidence::default() });
    let found = recorder.finish().diagnosis.unwrap();
    assert_eq!((found.main, found.direction), (Limit::SenderOrPath, None));
    assert_eq!(found.limit(), "the sender or the path");
    assert!(found.advice.unwrap().starts_with("Look at the sender, "));
}

/// Its ends share the CPU; a loss there would be one.
#[test]
fn loopback_is_not_blamed_as_a_path() {
    let local = diagnosis(&Evidence { is_local: true, ..tcp(10, 0, 0) });
    assert_eq!(local.main, Limit::Unknown);
    assert!(local.evidence.concat().contains("it ends on this machine"), "{local:?}");
    assert_eq!(main_of(&Evidence { is_local: true, ..tcp(10, 9, 0) }), Limit::Receiver);
}

#[test]
fn the_advice_for_a_command_that_did_not_complete_is_about_its_end() {
    let advice = |ended| concluded(Some(&tcp(10, 9, 0)), false, (ended, "why".to_owned())).advice;
    assert!(advice(Ended::Lost).unwrap().starts_with("Run the same command again"));
    assert!(advice(Ended::Unreachable).unwrap().starts_with("anyport probe"));
    assert_eq!(advice(Ended::Local), None, "the disk is full, and not slow");
    assert!(advice(Ended::TimedOut).unwrap().contains("receiver"));
}
