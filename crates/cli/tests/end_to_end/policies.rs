//! What an operator allows one peer, and all of them together: connections of an address, room, rates.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::{DEADLINE, Server, wait_until};
use crate::wire::{connect, converse};

/// A connection from another address of this machine; the standard library cannot choose one.
fn connect_from(source: &str, port: u16) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let source: SocketAddr = format!("{source}:0").parse().unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

const PUT: &[u8] = b"ANYPORT/1 PUT x size=4\ngoodEND\n";

#[test]
fn an_address_with_too_many_connections_is_refused_and_another_one_is_not() {
    let server = Server::start(&["--max-conns-per-ip", "2"]);
    let mut held = [connect(server.port()), connect(server.port())];
    for _ in 0..3 {
        assert!(is_closed(&mut connect(server.port())));
    }
    let refused = server.next_refused();
    assert_eq!(refused["protocol"], "tcp", "{refused}");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("2 connections already (--max-conns-per-ip)"), "{reason}");
    // Neither those that are there nor another address notice.
    let mut other = connect_from("127.0.0.2", server.port());
    assert!(converse(&mut other, PUT).starts_with("ANYPORT/1 RECEIPT "));
    server.next_receipt();
    assert!(converse(&mut held[0], PUT).starts_with("ANYPORT/1 RECEIPT "));
    server.next_receipt();
    // One that ended makes room.
    drop(held);
    wait_until("a free place", || {
        let answer = converse_if_open(server.port())?;
        answer.starts_with("ANYPORT/1 RECEIPT ").then_some(())
    });
    let (_, summary) = server.stop_with_summary();
    // The flood is counted whole, though it was told of once a second.
    assert!(summary["refused"].as_u64().unwrap() >= 3, "{summary}");
}

/// What a connection that may be refused is answered.
fn converse_if_open(port: u16) -> Option<String> {
    let mut stream = connect(port);
    stream.write_all(PUT).ok()?;
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn this_machine_has_no_such_limit_unless_it_is_given() {
    let server = Server::start(&[]);
    let held: Vec<_> = (0..300).map(|_| connect(server.port())).collect();
    server.takes_a_good_file();
    drop(held);
}
