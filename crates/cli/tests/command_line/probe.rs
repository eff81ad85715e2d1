//! `anyport probe`: what a port speaks, and why it does not work, with real peers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};

use anyport_testkit::harness::probe::{
    GREETED, PATIENT, drain, event, events, listen, probe, probes, result,
};
use anyport_testkit::harness::proxies::Proxy;
use anyport_testkit::harness::tokens::{ALICE, ask, guarded};
use anyport_testkit::harness::{
    Running, Server, anyport_command, has_ipv6, peer, python_with, wait_until,
};

#[test]
fn an_anyport_server_reports_version_protocols_limits_and_that_no_token_is_required() {
    let server = Server::start(&["--max-size", "1GiB"]);
    let url = server.addresses()[0].to_string();
    let events = events(&url, &PATIENT, 0);
    let about = &result(&events)["anyport"];
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(about["protocols"].to_string(), r#"["raw","http","ws","frames","tls"]"#);
    assert_eq!((&about["tls"], &about["token"]), (&"optional".into(), &false.into()));
    assert_eq!(about["limits"]["max_size"], 1 << 30);
    let address = event(&events, "event", "address");
    assert_eq!(address["outcome"], "silent");
    for key in ["connect_seconds", "rtt_us", "path_mtu", "mss", "congestion"] {
        assert!(!address[key].is_null(), "{key}: {address}");
    }
    for (name, answer) in [("http2", "http2"), ("websocket", "websocket"), ("preface", "preface")] {
        assert_eq!(event(&events, "probe", name)["answer"], answer);
    }
    assert_eq!(event(&events, "probe", "websocket")["accept_is_right"], true);
    assert_eq!(result(&events)["tls_versions"].to_string(), r#"["TLS 1.3","TLS 1.2"]"#);
    let text = probe(&url, &PATIENT).succeeds().stdout;
    assert!(text.contains(ACCEPTS), "{text}");
    assert!(text.contains(REPORTS), "{text}");
    assert_eq!(result(&events)["speaks"].to_string(), SPEAKS);
    assert!(text.contains("no token is required; files of at most 1GiB."), "{text}");
    assert!(text.ends_with(&format!("hint: use anyport send FILE {url}\n")), "{text}");
    assert_eq!(server.published(), [""; 0], "a probe stores nothing");
}

const ACCEPTS: &str = "It accepts raw bytes, HTTP, WebSocket and bare WebSocket frames, \
                       with or without TLS; ";
const REPORTS: &str = "reports that it accepts raw bytes, HTTP, WebSocket and bare WebSocket \
                       frames; TLS optional; token not required";
const SPEAKS: &str = r#"["anyport","http","http2","websocket","tls","raw","frames"]"#;

#[test]
fn a_server_with_tokens_says_so_and_reports_no_limit_of_its_files() {
    let (server, _file) = guarded(&["--max-size", "1GiB"]);
    let url = server.addresses()[0].to_string();
    let events = events(&url, &PATIENT, 0);
    let about = &result(&events)["anyport"];
    assert_eq!(about["token"], true);
    assert!(about["limits"]["max_size"].is_null(), "{about}");
    assert!(!probes(&events).contains(&"preface"), "it would fail for lack of a token");
    let text = probe(&url, &PATIENT).succeeds().stdout;
    assert!(text.contains("a token is required"), "{text}");
    assert!(text.contains("--token-file FILE"), "{text}");
}

/// RFC 9110 §9.3.7.
#[test]
fn options_of_the_server_itself_need_no_token() {
    let (server, _file) = guarded(&["--allow-host", "files.example"]);
    let options = |fields: &str| {
        let host = "Host: 127.0.0.1\r\nConnection: close";
        ask(&server, &format!("OPTIONS * HTTP/1.1\r\n{host}\r\n{fields}\r\n"))
    };
    let plain = options("");
    assert!(plain.starts_with("HTTP/1.1 204 No Content\r\n"), "{plain}");
    let plain = plain.to_ascii_lowercase();
    assert!(plain.contains("\r\nallow: options\r\n"), "no right, so nothing else: {plain}");
    assert!(plain.contains("\r\nserver: anyport/"), "{plain}");
    assert!(!plain.contains("tus-"), "{plain}");
    let with_token = options(&format!("Authorization: Bearer {ALICE}\r\n")).to_ascii_lowercase();
    assert!(with_token.contains("allow: get, head, put"), "{with_token}");
    let wrong = options("Authorization: Bearer a-wrong-token-0123456789\r\n");
    assert!(wrong.starts_with("HTTP/1.1 401 "), "{wrong}");
    let json = options("Accept: application/json\r\n");
    assert!(json.starts_with("HTTP/1.1 200 OK\r\n"), "{json}");
    let report = json.split("\r\n\r\n").nth(1).unwrap();
    let report: Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["anyport"]["token"], true);
}

#[test]
fn a_probe_sends_no_token_whatever_the_environment_has() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let all = received.clone();
    let port = listen(move |stream| all.lock().unwrap().extend(drain(&stream)));
    let mut command = anyport_command(&["probe", "--timeout", "300ms"]);
    command.arg(format!("127.0.0.1:{port}")).env("ANYPORT_TOKEN", ALICE);
    Running::start(command, None).outcome().exits(1);
    let received = received.lock().unwrap().clone();
    let text = String::from_utf8_lossy(&received);
    assert!(text.contains("OPTIONS * HTTP/1.1\r\n"), "{text}");
    for secret in [ALICE, "Authorization", "Cookie"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn listeners_for_one_service_are_named() {
    let listeners = ["time://127.0.0.1:0", "echo://127.0.0.1:0", "greet://127.0.0.1:0"];
    let more = ["daytime://127.0.0.1:0", "rfc868://127.0.0.1:0"];
    let server = Server::start_listening(&[&listeners[..], &more].concat(), &[]);
    for (address, (flags, words)) in server.addresses().iter().zip([
        (PATIENT, "the time service of anyport"),
        (PATIENT, "is an echo server"),
        (GREETED, "speaks first, in an unknown protocol: \"Welcome to anyport!"),
        (GREETED, "speaks first, in an unknown protocol: "),
        (GREETED, "is a time (RFC 868) server"),
    ]) {
        let exit = i32::from(words.contains("unknown"));
        let text = probe(&address.to_string(), &flags).exits(exit).stdout;
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn a_listener_with_few_protocols_reports_them() {
    for (only, protocols) in [("http", r#"["http"]"#), ("ws", r#"["ws"]"#)] {
        let server = Server::start(&["--only", only]);
        let url = server.addresses()[0].to_string();
        let events = events(&url, &PATIENT, 0);
        assert_eq!(result(&events)["anyport"]["protocols"].to_string(), protocols);
    }
}

/// A reset interrupts what a FIN would complete.
#[test]
fn a_receiver_of_raw_bytes_stores_no_file_of_a_probe() {
    let server = Server::start(&["--only", "raw"]);
    let url = server.addresses()[0].to_string();
    let text = probe(&url, &["--timeout", "2s"]).succeeds().stdout;
    assert!(text.contains("is an anyport server"), "{text}");
    assert_eq!(server.published(), [""; 0]);
}

#[test]
fn a_server_that_speaks_first_gets_nothing_and_is_named() {
    let received = Arc::new(Mutex::new(Vec::new()));
    for (greeting, name, hint) in [
        (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], "an SSH server", "ssh -p "),
        (b"220 mail.example ESMTP\r\n", "an SMTP (mail) server", "anyport cat tcp://"),
        (b"220 FTP server ready\r\n", "an FTP server", "curl ftp://"),
        (b"RFB 003.008\n", "a VNC (RFB) server", "anyport cat"),
    ] {
        let all = received.clone();
        let port = listen(move |mut stream| {
            stream.write_all(greeting).unwrap();
            all.lock().unwrap().extend(drain(&stream));
        });
        let text = probe(&format!("127.0.0.1:{port}"), &GREETED).succeeds().stdout;
        assert!(text.contains(name) && text.contains(hint), "{text}");
        assert!(!text.contains("sent:"), "{text}");
    }
    assert_eq!(*received.lock().unwrap(), b"");
}

/// A name server that answers slowly delays the greeting of many sshd.
#[test]
fn a_late_greeting_ends_the_probe() {
    let port = listen(|mut stream| {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) > 0 {
            stream.write_all(b"SSH-2.0-late\r\n").unwrap();
            drain(&stream);
        }
    });
    let events = events(&format!("127.0.0.1:{port}"), &PATIENT, 0);
    assert_eq!(probes(&events), ["http"]);
    assert_eq!(result(&events)["speaks"][0], "SSH");
}

#[test]
fn garbage_of_a_server_is_escaped() {
    let garbage = b"\x1b]0;evil\x07\x1b[2J\xff\x9b31m\r\n";
    let first = listen(|mut stream| {
        let _ = stream.write_all(garbage);
        drain(&stream);
    });
    let answering = listen(|mut stream| {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) > 0 {
            let _ = stream.write_all(garbage);
        }
    });
    for (port, flags, exit) in [(first, GREETED, 1), (answering, ["--timeout", "2s"], 1)] {
        let url = format!("127.0.0.1:{port}");
        let text = probe(&url, &flags).exits(exit).stdout;
        assert!(text.contains(r"\x1b]0;evil\x07\x1b[2J\xff\x9b31m"), "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        let json = probe(&url, &[&flags[..], &["--json"]].concat()).exits(exit).stdout;
        assert!(!json.contains(|c: char| c.is_control() && c != '\n'), "{json:?}");
    }
}

#[test]
fn fields_of_a_response_are_made_visible() {
    let port = listen(|mut stream| {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) > 0 {
            let head =
                "HTTP/1.1 200 OK\r\nServer: a\u{9b}31m\u{202e}b\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
        }
    });
    let text = probe(&format!("127.0.0.1:{port}"), &PATIENT).succeeds().stdout;
    assert!(text.contains("Server: a�31m�b"), "{text}");
}

#[test]
fn an_endless_answer_and_a_slow_one_end_in_time() {
    let endless = listen(|mut stream| {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) > 0 {
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        }
    });
    let slow = listen(|mut stream| {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) > 0 {
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        }
    });
    // Of an endless greeting only the beginning is read.
    let speaking = listen(|mut stream| while stream.write_all(&[b'y'; 4096]).is_ok() {});
    for (port, exit) in [(endless, 1), (slow, 1), (speaking, 1)] {
        let flags = ["--timeout", "1s", "--greeting-timeout", "1s"];
        let events = events(&format!("127.0.0.1:{port}"), &flags, exit);
        for event in &events {
            assert!(event.to_string().len() < 8 * 1024, "{event}");
        }
    }
}

#[test]
fn a_port_without_a_server_is_refused_and_the_hint_is_to_start_one() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = probe(&format!("127.0.0.1:{port}"), &[]).exits(3).stdout;
    assert!(text.contains("connection refused"), "{text}");
    assert!(text.contains(&format!("Nothing listens on 127.0.0.1:{port}")), "{text}");
    assert!(text.contains("hint: start the server"), "{text}");
}

#[test]
fn closing_resetting_and_not_answering_differ() {
    let closes = listen(drop);
    let resets = listen(|stream| {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    for (port, outcome, words) in [
        (closes, "closed", "closes each connection before any byte"),
        (resets, "reset", "resets each connection before any byte"),
    ] {
        let events = events(&format!("127.0.0.1:{port}"), &GREETED, 6);
        assert_eq!(event(&events, "event", "address")["outcome"], outcome);
        assert!(result(&events)["text"].as_str().unwrap().contains(words), "{events:#?}");
    }
    let (_held, silent) = black_hole();
    let flags = ["--connect-timeout", "300ms"];
    let events = events(&silent.to_string(), &flags, 3);
    assert_eq!(event(&events, "event", "address")["outcome"], "timed-out");
    let text = probe(&silent.to_string(), &flags).exits(3).stdout;
    assert!(text.contains("a firewall drops the packets"), "{text}");
}

/// Returns an address whose SYNs get no answer, because its accept queue is full.
fn black_hole() -> (Vec<Socket>, SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = vec![listener];
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let full = socket.connect_timeout(&address, Duration::from_millis(200)).is_err();
        held.push(socket);
        if full {
            return (held, address.as_socket().unwrap());
        }
    }
}

#[test]
fn a_name_that_does_not_resolve_is_an_error_of_the_other_commands() {
    probe("no-such-host.invalid", &[]).exits(3).says("cannot resolve no-such-host.invalid");
    let events = events("no-such-host.invalid", &[], 3);
    assert_eq!((&result(&events)["exit"], &result(&events)["address"]), (&3.into(), &Value::Null));
    probe("a:b:c", &[]).exits(2);
}

#[test]
fn all_addresses_of_a_name_are_connected_to() {
    if !has_ipv6() {
        return;
    }
    let server = Server::start_on(&["[::1]:0"], &[]);
    let url = server.addresses()[0].to_string();
    let events = events(&url, &PATIENT, 0);
    assert_eq!(result(&events)["address"], url);
    assert_eq!(event(&events, "event", "address")["address"], url);
    assert!(event(&events, "event", "address")["path_mtu"].as_u64().unwrap() >= 1280);
}

/// What is printed as sent is what a receiver of raw bytes gets.
#[test]
fn a_raw_receiver_gets_what_is_printed_as_sent() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let all = received.clone();
    let port = listen(move |stream| {
        let bytes = drain(&stream);
        all.lock().unwrap().push(bytes);
    });
    let url = format!("127.0.0.1:{port}");
    let text = probe(&url, &["--timeout", "300ms", "--mqtt"]).exits(1).stdout;
    assert!(text.contains("accepts connections, and answers nothing"), "{text}");
    assert!(text.contains(&format!("hint: use anyport send --plain FILE tcp://{url}")), "{text}");
    let sent: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("sent: ")).collect();
    let expected = [
        ("OPTIONS * HTTP/1.1", &b"OPTIONS * HTTP/1.1\r\n"[..]),
        ("ClientHello of TLS 1.3", b"\x16\x03\x01"),
        ("ANYPORT/1 HELP", b"ANYPORT/1 HELP\n"),
        ("CONNECT of MQTT 3.1.1 with a clean session", b"\x10\x0c\0\x04MQTT"),
    ];
    assert_eq!(sent, expected.map(|(words, _)| words), "{text}");
    // The silent connection, and one for each probe.
    let received = wait_until("all connections to end", || {
        let received = received.lock().unwrap().clone();
        (received.len() == 1 + expected.len()).then_some(received)
    });
    let mut received: Vec<_> = received.into_iter().filter(|bytes| !bytes.is_empty()).collect();
    assert_eq!(received.len(), expected.len());
    for (words, bytes) in expected {
        let at = received.iter().position(|received| received.starts_with(bytes));
        received.remove(at.unwrap_or_else(|| panic!("{words}: not in {received:?}")));
    }
}

#[test]
fn mqtt_is_asked_for_only_on_request() {
    let port = listen(|mut stream| {
        let mut packet = [0; 14];
        if stream.read_exact(&mut packet).is_ok() && packet[0] == 0x10 {
            assert_eq!(&packet[4..8], b"MQTT");
            stream.write_all(&[0x20, 2, 0, 5]).unwrap();
            assert_eq!(drain(&stream), [0xe0, 0], "a client says that it leaves");
        }
    });
    let url = format!("127.0.0.1:{port}");
    let flags = ["--timeout", "2s"];
    assert!(!probes(&events(&url, &flags, 1)).contains(&"mqtt"));
    let text = probe(&url, &[&flags[..], &["--mqtt"]].concat()).succeeds().stdout;
    assert!(text.contains("is an MQTT broker: the broker requires credentials."), "{text}");
}

/// `nc -l` without `-k`.
#[test]
fn a_receiver_of_one_connection_is_recognized() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(listener);
        drain(&stream);
    });
    let text = probe(&format!("127.0.0.1:{port}"), &PATIENT).exits(1).stdout;
    assert!(text.contains("accepted one connection and no other"), "{text}");
    assert_eq!(text.matches("sent:").count(), 1, "{text}");
}

#[test]
fn mosquitto_is_an_mqtt_broker() {
    let Some(mut mosquitto) = peer("mosquitto") else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    mosquitto.args(["-p", &port.to_string()]);
    let _broker = Running::start(mosquitto, None);
    wait_until("the broker to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    let events = events(&format!("127.0.0.1:{port}"), &["--mqtt"], 0);
    assert_eq!(event(&events, "probe", "mqtt")["code"], 0);
    assert_eq!(result(&events)["speaks"].to_string(), r#"["mqtt"]"#);
}

#[test]
fn a_wrong_accept_value_of_a_websocket_server_is_named() {
    let port = listen(|mut stream| {
        let mut request = [0; 4096];
        let count = stream.read(&mut request).unwrap_or(0);
        let is_upgrade = String::from_utf8_lossy(&request[..count]).contains("Upgrade: websocket");
        let answer = match is_upgrade {
            true => {
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
            }
            false => "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n",
        };
        let _ = stream.write_all(answer.as_bytes());
        drain(&stream);
    });
    let events = events(&format!("ws://127.0.0.1:{port}/x"), &["--timeout", "4s"], 1);
    let websocket = event(&events, "probe", "websocket");
    assert_eq!(websocket["accept_is_right"], false, "{websocket}");
    assert_eq!(websocket["sent"], "GET /x HTTP/1.1, Upgrade: websocket");
    assert_eq!(event(&events, "probe", "path")["sent"], "OPTIONS /x HTTP/1.1");
}

/// Bytes that look like SETTINGS, and then another protocol.
#[test]
fn settings_followed_by_garbage_are_no_http2() {
    let port = listen(|mut stream| {
        let mut request = [0; 4096];
        let count = stream.read(&mut request).unwrap_or(0);
        let answer: &[u8] = match request[..count].starts_with(b"PRI * HTTP/2.0") {
            true => b"\0\0\0\x04\0\0\0\0\0and then something else",
            false => b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n",
        };
        let _ = stream.write_all(answer);
        drain(&stream);
    });
    let url = format!("127.0.0.1:{port}");
    let events = events(&url, &["--timeout", "4s"], 0);
    let error = event(&events, "probe", "http2")["error"].as_str().unwrap();
    assert!(error.starts_with("a frame of 6385252 bytes"), "{error}");
    assert_eq!(result(&events)["speaks"].to_string(), r#"["http"]"#);
    let text = probe(&url, &["--timeout", "4s"]).succeeds().stdout;
    assert!(text.contains("the preface of HTTP/2, then it breaks the protocol"), "{text}");
    assert!(text.contains("is a web server: HTTP/1.1."), "{text}");
}

#[test]
fn python_websockets_is_a_websocket_server() {
    let Some(mut python) = python_with("websockets.sync.server") else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    python.args(["-c", WEBSOCKETS, &port.to_string()]);
    let _server = Running::start(python, None);
    wait_until("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    let events = events(&format!("ws://127.0.0.1:{port}/"), &PATIENT, 0);
    assert_eq!(event(&events, "probe", "websocket")["accept_is_right"], true);
    assert!(result(&events)["text"].as_str().unwrap().contains("WebSocket server"), "{events:#?}");
}

const WEBSOCKETS: &str = "
import sys
from websockets.sync.server import serve
def hold(connection):
    for _ in connection:
        pass
serve(hold, '127.0.0.1', int(sys.argv[1])).serve_forever()
";

#[test]
fn nginx_is_a_web_server() {
    let Some(nginx) = Proxy::nginx_with(|address| format!("server {{ listen {address}; }}")) else {
        return;
    };
    let events = events(&nginx.url(""), &PATIENT, 0);
    let server = event(&events, "probe", "http")["server"].as_str().unwrap().to_owned();
    assert!(server.starts_with("nginx"), "{server}");
    assert!(!probes(&events).contains(&"preface"), "it is no anyport server");
}

#[test]
fn a_proxy_of_the_environment_is_named_and_not_used() {
    let mut command = anyport_command(&["probe", "http://192.0.2.1/", "--connect-timeout", "50ms"]);
    command.env("http_proxy", "http://proxy.invalid:3128").env_remove("no_proxy");
    let outcome = Running::start(command, None).outcome().exits(3);
    assert!(outcome.stderr.contains("not through the proxy proxy.invalid:3128"), "{outcome:?}");
}
