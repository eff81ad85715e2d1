//! What is set for one listener alone holds for its connections and for no others.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::json;

use anyport_testkit::harness::announcement;
use anyport_testkit::harness::wire::{
    BINARY, PING, PONG, connect, converse, frame, read_frame, upgrade,
};
use anyport_testkit::harness::{Server, anyport, skip};

#[test]
fn dt_3_each_listener_accepts_its_own_protocols() {
    let server = Server::start_listening(
        &["any://127.0.0.1:0?only=raw", "any://127.0.0.1:0?only=http,ws", "any://127.0.0.1:0"],
        &[],
    );
    let [raw, http, all] = [0, 1, 2].map(|i| server.addresses()[i].port());
    let request = upgrade("/help", "");
    converse(&mut connect(raw), request.as_bytes());
    assert_eq!(server.stored(&server.next_receipt()), request.as_bytes());
    let answer = converse(&mut connect(http), b"a raw file\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    server.next_refused();
    let answer = converse(&mut connect(all), request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer:?}");
    server.next_refused();
    converse(&mut connect(all), b"a raw file\r\n\r\n");
    assert_eq!(server.stored(&server.next_receipt()), b"a raw file\r\n\r\n");
    let reported: Vec<_> = server.listening().iter().map(|event| event["only"].clone()).collect();
    assert_eq!(reported, [json!(["raw"]), json!(["http", "ws"]), json!(null)]);
}

/// The global flags say what holds where a listener says nothing.
#[test]
fn global_flags_are_the_defaults_of_all_listeners() {
    let wire = b"ANYPORT/1 PUT x size=1\n";
    let listen = ["any://127.0.0.1:0", "any://127.0.0.1:0?detect=on", "any://127.0.0.1:0?only=ws"];
    let server = Server::start_listening(&listen, &["--no-detect"]);
    let [blind, seeing, ws] = [0, 1, 2].map(|i| server.addresses()[i].port());
    converse(&mut connect(blind), wire);
    assert_eq!(server.stored(&server.next_receipt()), wire);
    assert_eq!(server.listening()[0]["detect"], false);
    converse(&mut connect(seeing), wire);
    assert_eq!(server.next_interrupted()["name"], "x");
    assert!(converse(&mut connect(ws), b"raw\r\n\r\n").starts_with("HTTP/1.1 400 "));
    server.next_refused();

    let listen = ["any://127.0.0.1:0", "any://127.0.0.1:0?detect=off"];
    let server = Server::start_listening(&listen, &["--only", "http"]);
    let [http, blind] = [0, 1].map(|i| server.addresses()[i].port());
    assert!(converse(&mut connect(http), wire).starts_with("HTTP/1.1 400 "));
    server.next_refused();
    converse(&mut connect(blind), wire);
    assert_eq!(server.stored(&server.next_receipt()), wire);
}

/// The silence that proves frames is the listener's own.
#[test]
fn a_listener_has_its_own_detection_time() {
    let listen = ["any://127.0.0.1:0?detect-timeout=200ms"];
    let server = Server::start_listening(&listen, &["--detect-timeout", "1h"]);
    let mut stream = connect(server.port());
    stream.write_all(&[frame(BINARY, b"one "), frame(PING, b"proven?")].concat()).unwrap();
    assert_eq!(read_frame(&mut stream), (PONG, b"proven?".to_vec()));
    drop(stream);
    assert_eq!(server.next_receipt()["protocol"], "frames");
    let mut stream = connect(server.port());
    stream.write_all(b"GET ").unwrap();
    server.growing_part();
}

#[test]
fn a_listener_has_a_free_port_of_its_own_also_by_name_and_by_ipv6() {
    let server = Server::start_listening(
        &["any://127.0.0.1:0", "any://127.0.0.1:0"],
        &["--bind", "127.0.0.1:0"],
    );
    // The address of --bind is first; the third one is not announced yet.
    let third: SocketAddr = server.next_event()["addr"].as_str().unwrap().parse().unwrap();
    let mut ports = vec![server.addresses()[0].port(), server.addresses()[1].port(), third.port()];
    ports.dedup();
    assert_eq!(ports.len(), 3, "{ports:?}");
    assert!(ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()));

    if TcpListener::bind("[::1]:0").is_err() {
        return skip("no IPv6");
    }
    let server = Server::start_listening(&["any://[::1]:0?only=raw"], &[]);
    let [address] = server.addresses() else { panic!() };
    assert!(address.is_ipv6() && address.ip().is_loopback(), "{address}");
    converse(&mut TcpStream::connect(address).unwrap(), b"by IPv6");
    assert_eq!(server.stored(&server.next_receipt()), b"by IPv6");
    // A name may have addresses of both families, which then share a port.
    let server = Server::start_listening(&["any://localhost:0"], &[]);
    assert!(server.addresses()[0].ip().is_loopback());
}

#[test]
fn an_impossible_listener_is_an_error_with_a_hint() {
    for (flags, words) in [
        (&["--listen", "127.0.0.1:0"][..], "expected SERVICE://ADDR"),
        (
            &["--listen", "ftp://127.0.0.1:0"],
            "expected one of any, echo, greet, time, rfc868, daytime",
        ),
        (&["--listen", "echo://127.0.0.1:0?only=raw"], "echo:// has no settings"),
        (&["--listen", "time://127.0.0.1:0?detect-timeout=1s"], "has no settings"),
        (&["--listen", "echo://0.0.0.0:0"], "every client use echo"),
        (
            &["--listen", "any://127.0.0.1:0?color=red"],
            "expected one of only, detect, detect-timeout, on-timeout",
        ),
        (&["--listen", "any://127.0.0.1:0?only=raw&detect=off"], "detect=off"),
        (&["--listen", "any://0.0.0.0:0"], "add --open"),
    ] {
        anyport(&[&["serve"], flags].concat()).exits(2).says(words);
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("any://{}", taken.local_addr().unwrap());
    anyport(&["serve", "--listen", &listen])
        .exits(1)
        .says("hint: ")
        .says("choose another port: --listen any://127.0.0.1:");
    drop(taken);
    anyport(&["serve", "--listen", &listen, "--listen", &listen]).exits(2).says("given twice");
    anyport(&["serve", "--listen", "any://no.such.host.invalid"])
        .exits(1)
        .says("--listen any://HOST");
}

#[test]
fn the_announcement_names_the_protocols_of_a_listener() {
    let flags = [
        "--listen",
        "any://127.0.0.1:0?only=ws,http",
        "--listen",
        "any://127.0.0.1:0?detect=off",
        "--listen",
        "any://127.0.0.1:0",
    ];
    let said = announcement(&flags, "reachable from this machine only");
    let lines: Vec<&str> =
        said.lines().filter_map(|line| line.trim().strip_prefix("listening on ")).collect();
    let [ws, blind, all] = lines[..] else { panic!("{said}") };
    assert!(ws.ends_with(", only http, ws"), "{said}");
    assert!(blind.ends_with(", raw bytes only (no detection)"), "{said}");
    let address = ws.split(',').next().unwrap();
    assert!(said.contains(&format!("ws://{address}/files/NAME")), "{said}");
    let (ip, port) = blind.split(',').next().unwrap().split_once(':').unwrap();
    assert!(said.contains(&format!("nc -N {ip} {port} < FILE")), "{said}");
    assert!(said.contains(&format!("anyport send FILE tcp://{all}/")), "{said}");
}

#[test]
fn the_announcement_names_the_other_services() {
    let listen = ["--listen", "any://127.0.0.1:0", "--listen", "echo://127.0.0.1:0"];
    let said = announcement(&listen, "reachable from this machine only");
    let lines: Vec<&str> =
        said.lines().filter_map(|line| line.trim().strip_prefix("listening on ")).collect();
    let [any, echo] = lines[..] else { panic!("{said}") };
    assert!(echo.ends_with(", echo, TCP and UDP"), "{said}");
    assert!(
        said.contains(&format!("--bind 0.0.0.0:{}", any.rsplit(':').next().unwrap())),
        "{said}"
    );
    // No file goes there, so no example names it.
    assert_eq!(said.matches(echo.split(',').next().unwrap()).count(), 1, "{said}");
}
