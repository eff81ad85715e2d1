//! Tools that other people wrote, and that know nothing of anyport.

use anyport_testkit::noise;
use serde_json::Value;

use anyport_testkit::harness::http::curl;
use anyport_testkit::harness::python::{python_websockets, sent};
use anyport_testkit::harness::wire::{ACCEPT, KEY};
use anyport_testkit::harness::{Expected, Running, Server, blake3, engines, peer, skip};

/// More than a socket buffer, and no round number.
const SIZE: usize = 3 * 1024 * 1024 + 7;

fn raw(content: &[u8]) -> Expected<'_> {
    Expected { protocol: "raw", engine: "own", end: "fin", content }
}

#[test]
fn nc_brings_a_file_and_reads_its_receipt() {
    let Some(mut nc) = peer("nc") else { return };
    let content = noise(SIZE, 1);
    let server = Server::start(&[]);
    nc.args(["-N", "127.0.0.1", &server.port().to_string()]);
    let outcome = Running::start(nc, Some(content.clone())).outcome().succeeds();
    let receipt = server.next_receipt();
    raw(&content).check(&server, &receipt);

    // The reply is one line, equal to what the server printed.
    let fields = outcome.stdout.strip_prefix("ANYPORT/1 RECEIPT ").unwrap_or_default();
    let fields = fields.strip_suffix('\n').unwrap_or_default();
    assert!(!fields.contains('\n'), "{outcome:#?}");
    for key in ["protocol", "engine", "peer", "digest", "end", "path"] {
        let field = format!("{key}={}", receipt[key].as_str().unwrap());
        assert!(fields.split(' ').any(|found| found == field), "no {field} in {fields}");
    }
    for key in ["bytes", "confirmed"] {
        let field = format!("{key}={}", receipt[key]);
        assert!(fields.split(' ').any(|found| found == field), "no {field} in {fields}");
    }
    let seconds = fields.split(' ').find_map(|field| field.strip_prefix("seconds=")).unwrap();
    assert_eq!(seconds.parse::<f64>().unwrap(), receipt["seconds"].as_f64().unwrap());
}

#[test]
fn nc_brings_a_file_over_ipv6() {
    let Some(mut nc) = peer("nc") else { return };
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("no IPv6");
    }
    let content = noise(70_000, 6);
    let server = Server::start_on(&["[::1]:0"], &[]);
    nc.args(["-N", "::1", &server.port().to_string()]);
    Running::start(nc, Some(content.clone())).outcome().succeeds();
    let receipt = server.next_receipt();
    raw(&content).check(&server, &receipt);
    assert!(receipt["peer"].as_str().unwrap().starts_with("[::1]:"), "{receipt}");
}

#[test]
fn a_person_with_nc_can_type_the_preface() {
    let Some(mut nc) = peer("nc") else { return };
    let server = Server::start(&[]);
    nc.args(["-N", "127.0.0.1", &server.port().to_string()]);
    let typed = b"ANYPORT/1 PUT one.txt size=4\r\none\nEND\nANYPORT/1 PUT two.txt\ntwo\n".to_vec();
    let outcome = Running::start(nc, Some(typed)).outcome().succeeds();
    let (one, two) = (server.next_receipt(), server.next_receipt());
    Expected { end: "size", ..raw(b"one\n") }.check(&server, &one);
    raw(b"two\n").check(&server, &two);
    assert_eq!(server.published(), ["one.txt", "two.txt"]);
    assert_eq!(outcome.stdout.matches("ANYPORT/1 RECEIPT ").count(), 2, "{outcome:#?}");
}

#[test]
fn ncat_brings_a_file() {
    let Some(mut ncat) = peer("ncat") else { return };
    let content = noise(SIZE, 2);
    let server = Server::start(&[]);
    ncat.args(["--send-only", "127.0.0.1", &server.port().to_string()]);
    Running::start(ncat, Some(content.clone())).outcome().succeeds();
    raw(&content).check(&server, &server.next_receipt());
}

#[test]
fn socat_brings_a_file() {
    let Some(mut socat) = peer("socat") else { return };
    let content = noise(SIZE, 3);
    let server = Server::start(&[]);
    socat.args(["-u", "-", &format!("TCP:127.0.0.1:{}", server.port())]);
    Running::start(socat, Some(content.clone())).outcome().succeeds();
    raw(&content).check(&server, &server.next_receipt());
}

#[test]
fn websocat_brings_a_named_file() {
    for engine in engines() {
        let Some(mut websocat) = peer("websocat") else { return };
        let content = noise(SIZE, 4);
        let server = Server::start(&["--engine", engine]);
        let url = server.url("ws", "files/a%20name.bin");
        websocat.args(["-b", "-B", "1048576", &url]);
        Running::start(websocat, Some(content.clone())).outcome().succeeds();
        let receipt = server.next_receipt();
        let expected = Expected { protocol: "ws", engine, end: "close", content: &content };
        expected.check(&server, &receipt);
        assert_eq!(receipt["path"], "a name.bin");
    }
}

/// Runs a script that leaves `ws` open and what it sent in `data`.
fn python_brings_a_file(script: &str) {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        let Some(outcome) = python_websockets(&server, &format!("{script}{THE_END}")) else {
            return;
        };
        let content = sent(&server);
        let receipt = server.next_receipt();
        let expected = Expected { protocol: "ws", engine, end: "close", content: &content };
        expected.check(&server, &receipt);
        assert_eq!(receipt["path"], "py.bin");
        if engine == "own" {
            let reason = format!("1000 whole {} {}\n", content.len(), blake3(&content));
            assert_eq!(outcome.stdout, reason);
        } else {
            // The library answers a Close by itself, without a reason.
            assert!(outcome.stdout.starts_with("1000"), "{outcome:#?}");
        }
    }
}

const THE_END: &str = r"
out(data)
ws.close(1000)
print(ws.close_code, ws.close_reason)
";

#[test]
fn python_websockets_brings_a_file_in_several_messages() {
    python_brings_a_file(
        r"
ws = connect('/files/py.bin')
data = noise(3 * 1024 * 1024 + 7)
for at in range(0, len(data), 100_000):
    ws.send(data[at:at + 100_000])
",
    );
}

#[test]
fn fg_6_python_websockets_brings_a_text_message() {
    python_brings_a_file(
        r"
ws = connect('/files/py.bin')
text = 'Grüße, こんにちは\n' * 5000
ws.send(text)
data = text.encode()
",
    );
}

#[test]
fn python_websockets_brings_a_fragmented_message_with_pings_between() {
    python_brings_a_file(
        r"
ws = connect('/files/py.bin')
data = noise(1_000_000)
def parts():
    for at in range(0, len(data), 70_000):
        ws.ping()
        yield data[at:at + 70_000]
ws.send(parts())
",
    );
}

#[test]
fn python_websockets_closing_with_1001_has_brought_nothing() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        let script = "ws = connect('/')\nws.send(noise(5000))\nws.close(1001)\n";
        if python_websockets(&server, script).is_none() {
            return;
        }
        let event = server.next_interrupted();
        assert_eq!(event["bytes"], 5000, "{event}");
        assert_eq!(server.published(), Vec::<String>::new());
        server.takes_a_good_file();
    }
}

#[test]
fn echo_returns_text_and_binary() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        let script = r"
with connect('/echo') as ws:
    for message in ['', 'hello', 'ü' * 70_000, b'', b'x', noise(1024 * 1024)]:
        ws.send(message)
        got = ws.recv()
        assert type(got) is type(message) and got == message, (type(got), len(got))
    ws.send(iter(['frag', 'men', 'ted']))
    assert ws.recv() == 'fragmented'
    assert ws.ping().wait(10)
print(ws.close_code)
";
        let Some(outcome) = python_websockets(&server, script) else { return };
        assert_eq!(outcome.stdout, "1000\n", "{engine}");
        assert_eq!(server.names(), Vec::<String>::new());
        assert_eq!(server.stop(), Vec::<Value>::new(), "an echo is no transfer");
    }
}

#[test]
fn two_files_follow_each_other_by_offer_and_end() {
    for engine in engines() {
        let server = Server::start(&["--engine", engine]);
        let script = r"
with connect('/', subprotocols=['anyport.file.1']) as ws:
    assert ws.subprotocol == 'anyport.file.1'
    for name in ['a ü.bin', 'b.bin']:
        data = noise(200_000)
        ws.send(json.dumps({'offer': {'name': name, 'size': len(data)}}))
        for at in range(0, len(data), 50_000):
            ws.send(data[at:at + 50_000])
        ws.send(json.dumps({'end': {'bytes': len(data)}}))
        print(ws.recv())
        out(data)
";
        let Some(outcome) = python_websockets(&server, script) else { return };
        let content = sent(&server);
        let lines = outcome.json();
        assert_eq!(lines.len(), 2, "{outcome:#?}");
        for (line, name) in lines.iter().zip(["a ü.bin", "b.bin"]) {
            let receipt = server.next_receipt();
            let expected = Expected { protocol: "ws", engine, end: "size", content: &content };
            expected.check(&server, &receipt);
            assert_eq!(receipt["path"], name);
            for (key, reported) in line["receipt"].as_object().unwrap() {
                assert_eq!(reported, &receipt[key], "{key}");
            }
        }
        assert_eq!(server.published(), ["a ü.bin", "b.bin"]);
    }
}

#[test]
fn curl_with_the_fields_of_an_upgrade_gets_101() {
    for engine in engines() {
        let Some(mut curl) = curl() else { return };
        let server = Server::start(&["--engine", engine, "--idle-timeout", "300ms"]);
        for field in ["Connection: keep-alive, Upgrade", "Upgrade: websocket"] {
            curl.args(["-H", field]);
        }
        curl.args(["-H", "Sec-WebSocket-Version: 13", "-H", &format!("Sec-WebSocket-Key: {KEY}")]);
        curl.args(["-i", "--http1.1", &server.url("http", "echo")]);
        // curl knows nothing of WebSocket and waits for content; the server's idle time ends that.
        let outcome = Running::start(curl, None).outcome();
        let head: Vec<&str> = outcome.stdout.lines().take_while(|line| !line.is_empty()).collect();
        assert!(head[0].starts_with("HTTP/1.1 101"), "{head:?}");
        let accept = format!("sec-websocket-accept: {ACCEPT}").to_lowercase();
        assert!(head.iter().any(|line| line.to_lowercase() == accept), "{head:?}");
    }
}
