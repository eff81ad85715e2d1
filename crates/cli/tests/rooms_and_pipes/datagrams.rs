//! UDP: what is answered, and above all what is not.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use anyport_testkit::harness::wire::{connect, converse};
use anyport_testkit::harness::{
    DEADLINE, Running, Server, anyport, peer, program, skip, wait_until,
};

fn socket(bind: &str) -> UdpSocket {
    let socket = UdpSocket::bind(bind).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// The next datagram that comes to `socket`.
fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let (count, _) = socket.recv_from(&mut buffer).unwrap();
    buffer.truncate(count);
    buffer
}

/// What `server` answers, where it must answer: a second question shows that a first one got
/// nothing.
fn ask(server: SocketAddr, socket: &UdpSocket, question: &[u8]) -> Vec<u8> {
    socket.send_to(question, server).unwrap();
    receive(socket)
}

#[test]
fn datagrams_come_back_as_they_were_the_longest_and_the_empty_one_too() {
    let server = Server::start_listening(&["echo://127.0.0.1:0"], &[]);
    assert_eq!(server.listening()[0]["udp"], true);
    let socket = socket("127.0.0.1:0");
    for question in [&b"hello"[..], b"", &[0; 65_507], b"ANYPORT/1 GREET\n"] {
        assert_eq!(ask(server.addresses()[0], &socket, question), question);
    }
    // The same port speaks TCP.
    assert_eq!(converse(&mut connect(server.port()), b"by TCP"), "by TCP");
    let (_, summary) = server.stop_with_summary();
    assert_eq!(summary["datagrams"], json!({ "echo": 4 }));
    assert_eq!(summary["dropped"], json!(null));
    assert_eq!(summary["served"], json!({ "echo": 1 }));
}

#[test]
fn ncat_and_python_get_their_datagrams_back() {
    let server = Server::start_listening(&["echo://127.0.0.1:0", "rfc868://127.0.0.1:0"], &[]);
    let [echo, time] = [0, 1].map(|i| server.addresses()[i].port().to_string());
    if peer("ncat").is_some() {
        let mut shell = Command::new("sh");
        // It ends with its input, before the answer is there.
        shell.args(["-c", &format!("(echo by ncat; sleep 1) | ncat -u 127.0.0.1 {echo}")]);
        let outcome = Running::start(shell, None).outcome();
        assert_eq!(outcome.stdout, "by ncat\n");
    }
    let Some(mut python) = peer("python3") else { return };
    python.args(["-c", PYTHON, &echo, &time]);
    let outcome = Running::start(python, None).outcome().succeeds();
    assert_eq!(outcome.stdout, "b'by python' True\n");
}

const PYTHON: &str = "
import socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.sendto(b'by python', ('127.0.0.1', int(sys.argv[1])))
echo, _ = s.recvfrom(100)
s.sendto(bytes(4), ('127.0.0.1', int(sys.argv[2])))
seconds, = struct.unpack('!I', s.recvfrom(100)[0])
print(echo, abs(seconds - 2208988800 - time.time()) < 60)
";

/// A forged datagram is at least as long as its reply.
#[test]
fn a_datagram_shorter_than_its_reply_gets_none() {
    let server = Server::start_listening(&["rfc868://127.0.0.1:0", "daytime://127.0.0.1:0"], &[]);
    let socket = socket("127.0.0.1:0");
    let [time, daytime] = [0, 1].map(|i| server.addresses()[i]);
    for short in [&b""[..], b"x", b"xxx"] {
        socket.send_to(short, time).unwrap();
        socket.send_to(&[short, b"shorter than a line"].concat(), daytime).unwrap();
    }
    assert_eq!(ask(time, &socket, b"xxxx").len(), 4);
    let line = ask(daytime, &socket, &[b' '; 64]);
    assert!(line.len() > 30 && line.ends_with(b"\r\n"), "{line:?}");
    let (_, summary) = server.stop_with_summary();
    assert_eq!(summary["dropped"], json!({ "too-short": 6 }));
    assert_eq!(summary["datagrams"], json!({ "rfc868": 1, "daytime": 1 }));
}

/// CVE-1999-0103: two services that answer each other never end.
#[test]
fn a_datagram_from_a_service_port_gets_no_reply() {
    let server = Server::start_listening(&["echo://127.0.0.1:0", "rfc868://127.0.0.1:0"], &[]);
    let [echo, time] = [0, 1].map(|i| server.addresses()[i]);
    for source in [echo, time] {
        // Its port at another address, which is the same to a machine that cannot know who is
        // there.
        let service = socket(&format!("127.0.0.2:{}", source.port()));
        service.send_to(b"question", echo).unwrap();
        service.send_to(b"question", time).unwrap();
        // Sockets answer in order, so once these have nothing else was on its way.
        let other = socket("127.0.0.1:0");
        assert_eq!(ask(echo, &other, b"mark"), b"mark");
        assert_eq!(ask(time, &other, b"mark").len(), 4);
        service.set_nonblocking(true).unwrap();
        assert!(service.recv_from(&mut [0; 10]).is_err());
    }
    let (_, summary) = server.stop_with_summary();
    assert_eq!(summary["dropped"], json!({ "source": 4 }));
}

/// What is left of two services that a forged datagram has set on each other.
#[test]
fn answers_to_one_address_are_bounded_in_number() {
    let server = Server::start_listening(&["echo://127.0.0.1:0"], &[]);
    let socket = socket("127.0.0.1:0");
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let again = || {
        socket.send_to(b"again", server.addresses()[0]).unwrap();
        socket.recv_from(&mut [0; 10]).is_ok()
    };
    // Any machine asks faster than a thousand times a second.
    let answered = (0..100_000).take_while(|_| again()).count();
    assert!((1000..100_000).contains(&answered), "{answered}");
    wait_until("an answer in another second", || again().then_some(()));
    let (_, summary) = server.stop_with_summary();
    assert!(summary["dropped"]["too-many"].as_u64().unwrap() > 0, "{summary}");
}

#[test]
fn datagrams_by_ipv6_and_by_name_have_the_port_of_the_streams() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return skip("no IPv6");
    }
    let server = Server::start_listening(&["echo://[::1]:0"], &[]);
    assert_eq!(ask(server.addresses()[0], &socket("[::1]:0"), b"by IPv6"), b"by IPv6");
    let server = Server::start_listening(&["echo://localhost:0"], &[]);
    let bind = if server.addresses()[0].is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" };
    assert_eq!(ask(server.addresses()[0], &socket(bind), b"by name"), b"by name");
}

#[test]
fn a_datagram_port_in_use_is_an_error() {
    let taken = socket("127.0.0.1:0");
    let listen = format!("echo://{}", taken.local_addr().unwrap());
    anyport(&["serve", "--listen", &listen])
        .exits(1)
        .says("cannot listen on 127.0.0.1:")
        .says("choose another port: --listen echo://127.0.0.1:");
}

/// Also without a connection.
#[test]
fn datagrams_are_in_the_summary_for_people() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = program()
        .args(["serve", "--listen", "rfc868://127.0.0.1:0"])
        .arg(directory.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = said.find(|line| line.contains("listening on ")).unwrap();
    let address = line.trim().trim_start_matches("listening on ").split(',').next().unwrap();
    let (address, socket) = (address.parse().unwrap(), socket("127.0.0.1:0"));
    socket.send_to(b"", address).unwrap();
    assert_eq!(ask(address, &socket, b"long enough").len(), 4);
    let kill = format!("kill -TERM {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let summary = said.find(|line| line.starts_with("served ")).unwrap();
    assert!(summary.ends_with("; datagrams rfc868 1, dropped 1 (too-short)"), "{summary}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// HTTP is not for datagrams, and a greeting would be longer than what asks for it.
#[test]
fn other_services_have_no_datagrams() {
    let server = Server::start_listening(&["time://127.0.0.1:0", "greet://127.0.0.1:0"], &[]);
    for address in server.addresses() {
        UdpSocket::bind(address).unwrap();
    }
    assert!(server.listening().iter().all(|event| event["udp"] == false));
}
