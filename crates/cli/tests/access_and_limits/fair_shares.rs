//! Totals that all peers share: one address cannot use them up.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use anyport_testkit::harness::wire::{
    BINARY, CONTINUATION, TEXT, converse, fragment, frame, read_close, read_frame, read_head,
    read_line, upgrade,
};
use anyport_testkit::harness::{DEADLINE, Server};

/// A connection from 127.0.0.`host`.
pub(crate) fn connect_from(host: u8, server: &Server) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)).into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], server.port())).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn websocket_from(host: u8, server: &Server, path: &str) -> TcpStream {
    let mut stream = connect_from(host, server);
    stream.write_all(upgrade(path, "").as_bytes()).unwrap();
    read_head(&mut stream);
    stream
}

/// Unfinished messages on `/echo` take all that one address may have of `--max-buffered`.
#[test]
fn one_address_cannot_use_all_memory_for_incomplete_messages() {
    let server = Server::start(&["--max-buffered", "4MiB"]);
    let mut hoarders = Vec::new();
    loop {
        let mut hoarder = websocket_from(2, &server, "/echo");
        hoarder.write_all(&fragment(BINARY, &[7; 512 * 1024])).unwrap();
        hoarder.write_all(&frame(9, b"?")).unwrap();
        match read_frame(&mut hoarder) {
            (10, _) => hoarders.push(hoarder),
            (8, payload) => {
                assert_eq!(payload[..2], 1013_u16.to_be_bytes());
                break;
            }
            other => panic!("{other:?}"),
        }
        assert!(hoarders.len() < 8, "one address has all of it");
    }
    // Another address lists, and its messages may come in fragments; so do clients of the same
    // address, as behind a proxy.
    std::fs::write(server.dir().join("x"), b"hello").unwrap();
    for host in [3, 2] {
        let listing = converse(&mut connect_from(host, &server), b"ANYPORT/1 LIST\n");
        assert!(listing.contains("name=x"), "{listing}");
        let mut listener = connect_from(host, &server);
        listener.write_all(format!("ANYPORT/1 JOIN r{host} as l history=0\n").as_bytes()).unwrap();
        (0..2).for_each(|_| drop(read_line(&mut listener)));
        let mut member = websocket_from(host, &server, &format!("/rooms/r{host}?as=m&history=0"));
        let said = [fragment(TEXT, b"in "), frame(CONTINUATION, b"pieces")].concat();
        member.write_all(&said).unwrap();
        assert_eq!(read_line(&mut listener), "* m joined");
        assert_eq!(read_line(&mut listener), "m: in pieces");
    }
    let mut echo = websocket_from(4, &server, "/echo");
    let message = [fragment(BINARY, &[1; 100_000]), frame(CONTINUATION, &[2; 100_000])].concat();
    echo.write_all(&message).unwrap();
    assert_eq!(read_frame(&mut echo).1.len(), 200_000);
}

#[test]
fn one_address_cannot_use_all_rooms() {
    let server = Server::start(&["--max-rooms", "8"]);
    let post = |host: u8, room: usize| {
        let request = format!(
            "POST /rooms/r{room} HTTP/1.1\r\nHost: a\r\nContent-Length: \
            2\r\nConnection: close\r\n\r\nhi"
        );
        converse(&mut connect_from(host, &server), request.as_bytes())
    };
    let opened = (0..8).take_while(|room| post(2, *room).starts_with("HTTP/1.1 200 ")).count();
    assert_eq!(opened, 6);
    let refused = post(2, 7);
    assert!(
        refused.contains("your address already uses its share of 8 rooms (--max-rooms)"),
        "{refused}"
    );
    // By every way in.
    let line = converse(&mut connect_from(2, &server), b"ANYPORT/1 JOIN r7\n");
    assert!(line.starts_with("ANYPORT/1 ERROR busy "), "{line}");
    let mut member = websocket_from(2, &server, "/rooms/r7");
    assert_eq!(read_close(&mut member).0, Some(1013));
    let stream = b"GET /rooms/r7 HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(converse(&mut connect_from(2, &server), stream).starts_with("HTTP/1.1 503 "));
    // Rooms that are there stay open to it, and another address opens its own.
    assert!(post(2, 0).starts_with("HTTP/1.1 200 "));
    assert!(post(3, 7).starts_with("HTTP/1.1 200 "));
}

#[test]
fn one_address_cannot_use_all_keys_of_pipes() {
    let server = Server::start(&["--max-pipes", "8", "-v"]);
    let take = |host: u8, key: usize| {
        let mut pipe_receiver = connect_from(host, &server);
        let request = format!("GET /pipe/k{key} HTTP/1.1\r\nHost: a\r\n\r\n");
        pipe_receiver.write_all(request.as_bytes()).unwrap();
        pipe_receiver
    };
    let mut pipe_receivers: Vec<_> = (0..6).map(|key| take(2, key)).collect();
    server.says_often("pipe receiver connected", 6);
    for request in
        ["GET /pipe/k6 HTTP/1.1\r\nHost: a\r\n\r\n", "ANYPORT/1 TAKE k6\n", "ANYPORT/1 PIPE k6\n"]
    {
        let refused = converse(&mut connect_from(2, &server), request.as_bytes());
        assert!(refused.contains("your address already uses its share of 8 pipes"), "{refused}");
    }
    // A key that is there may be used, and another address has its own.
    pipe_receivers.push(take(2, 0));
    server.says_often("pipe receiver connected", 7);
    let mut pipe_receiver = take(3, 6);
    server.says_often("pipe receiver connected", 8);
    let put = b"PUT /pipe/k6 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let mut pipe_sender = connect_from(3, &server);
    pipe_sender.write_all(put).unwrap();
    read_head(&mut pipe_receiver);
    let mut content = [0; 2];
    pipe_receiver.read_exact(&mut content).unwrap();
    assert_eq!(&content, b"hi");
}

/// Many silent connections from one address evict none of another.
#[test]
fn a_flood_of_silent_connections_evicts_those_of_its_own_address() {
    let server = Server::start(&["--max-unclassified", "4"]);
    let mut first = connect_from(3, &server);
    let mut flood: Vec<_> = (0..12).map(|_| connect_from(2, &server)).collect();
    // All but the last four at most have been closed.
    assert!(flood[..8].iter_mut().all(|silent| silent.read(&mut [0]).unwrap() == 0));
    let answer = converse(&mut first, b"ANYPORT/1 TIME\n");
    assert!(answer.starts_with("ANYPORT/1 TIME "), "{answer}");
}

/// An upload that announces all of the quota and then hardly sends anything.
#[test]
fn an_upload_that_is_not_sent_reserves_no_more_than_a_fair_share_of_the_quota() {
    const QUOTA: usize = 4_000_000;
    let server = Server::start(&["--quota", "4000000", "--digest", "none"]);
    let put = |host: u8, name: &str, size: usize| {
        let line = format!("ANYPORT/1 PUT {name} size={size}\n");
        let mut stream = connect_from(host, &server);
        // Refused before its content it may be cut while it writes.
        let _ = stream.write_all(&[line.as_bytes(), &vec![7; size], b"END\n"].concat());
        read_line(&mut stream)
    };
    let announced = QUOTA - 100_000;
    let mut slow = connect_from(2, &server);
    slow.write_all(format!("ANYPORT/1 PUT slow size={announced}\nfirst bytes").as_bytes()).unwrap();
    server.growing_part();
    // While no other address needs it: all. Its own address has nothing left, and another one its
    // half at most.
    let refused = put(2, "own", 1_000_000);
    assert!(refused.starts_with("ANYPORT/1 ERROR no-space "), "{refused}");
    let refused = put(3, "more", QUOTA / 2 + 100_000);
    assert!(refused.starts_with("ANYPORT/1 ERROR no-space "), "{refused}");
    let taken = put(3, "half", 1_500_000);
    assert!(taken.starts_with("ANYPORT/1 RECEIPT "), "{taken}");
    // The slow one gets what is left, and then it is refused; nothing exceeds the quota.
    let _ = slow.write_all(&vec![7; announced]);
    let reported = read_line(&mut slow);
    assert!(reported.starts_with("ANYPORT/1 ERROR no-space "), "{reported}");
    let lengths = std::fs::read_dir(server.dir()).unwrap();
    let stored: u64 = lengths.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!((1_500_000..=QUOTA as u64).contains(&stored), "{stored}");
}
