//! `anyport cat`, a pipe to any server: what nc and websocat do, both directions at once, to the
//! end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyport_testkit::noise;

use anyport_testkit::harness::wire::wait_until_read;
use anyport_testkit::harness::{
    Outcome, Running, Server, anyport, anyport_command, anyport_with_input, peer, python_with,
    wait_until,
};

/// More than the buffers of both kernels hold.
const LARGE: usize = 32 * 1024 * 1024;

/// A server of one connection, and the URL it is at.
fn serve<T: Send + 'static>(
    answer: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    (url, std::thread::spawn(move || answer(listener.accept().unwrap().0)))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Until the peer listens.
fn cat_when_it_listens(arguments: &[&str], input: &[u8]) -> Outcome {
    wait_until("the peer listens", || {
        let outcome = anyport_with_input(&[&["cat"][..], arguments].concat(), input);
        (outcome.code != Some(3)).then_some(outcome)
    })
}

#[test]
fn nc_sends_and_receives() {
    let Some(mut nc) = peer("nc") else { return };
    let port = free_port().to_string();
    nc.args(["-l", "-N", "127.0.0.1", &port]);
    let nc = Running::start(nc, Some(b"from nc\n".to_vec()));
    let url = format!("tcp://127.0.0.1:{port}");
    let outcome = cat_when_it_listens(&[&url], b"from cat\n").succeeds();
    assert_eq!(outcome.stdout, "from nc\n");
    assert_eq!(nc.outcome().succeeds().stdout, "from cat\n");
}

/// A server that replies at the end of its input: a client that closes both directions then never
/// reads the reply.
#[test]
fn the_end_of_the_input_is_sent_and_the_reply_awaited() {
    let (url, server) = serve(|mut stream| {
        let mut question = String::new();
        stream.read_to_string(&mut question).unwrap();
        // A client that does not wait would have exited by then.
        std::thread::sleep(Duration::from_millis(200));
        stream.write_all(b"a late answer").unwrap();
        question
    });
    let outcome = anyport_with_input(&["cat", &url], b"a question").succeeds();
    assert_eq!(outcome.stdout, "a late answer");
    assert_eq!(server.join().unwrap(), "a question");
}

/// The output is not read while more than all buffers hold goes the other way, and comes.
#[test]
fn input_continues_while_the_output_is_not_read() {
    let (url, server) = serve(|mut stream| {
        let mut says = stream.try_clone().unwrap();
        let said = std::thread::spawn(move || {
            says.write_all(&noise(LARGE, 1)).unwrap();
            says.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        said.join().unwrap();
        received
    });
    let (mut child, said) = both_ways(&url);
    wait_until("the input is taken", || said.is_finished().then_some(()));
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    assert!(received == noise(LARGE, 1), "{} bytes came", received.len());
    assert!(child.wait().unwrap().success());
    assert!(server.join().unwrap() == noise(LARGE, 2));
}

/// The server reads nothing before it has said all.
#[test]
fn output_continues_while_the_server_does_not_read() {
    let (url, server) = serve(|mut stream| {
        stream.write_all(&noise(LARGE, 1)).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received
    });
    let (mut child, said) = both_ways(&url);
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    assert!(received == noise(LARGE, 1), "{} bytes came", received.len());
    said.join().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(server.join().unwrap() == noise(LARGE, 2));
}

/// A cat whose input is being written.
fn both_ways(url: &str) -> (std::process::Child, JoinHandle<()>) {
    let mut command = anyport_command(&["cat", url]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let said = std::thread::spawn(move || stdin.write_all(&noise(LARGE, 2)).unwrap());
    (child, said)
}

/// A server that has said all and still listens.
#[test]
fn after_the_servers_fin_the_rest_of_the_input_is_sent() {
    let (url, server) = serve(|mut stream| {
        stream.write_all(b"all").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received
    });
    let mut command = anyport_command(&["cat", &url]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 3]).unwrap();
    // A client that ends with the server's FIN would have exited by then.
    std::thread::sleep(Duration::from_millis(100));
    stdin.write_all(&noise(LARGE, 4)).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert!(server.join().unwrap() == noise(LARGE, 4));
}

#[test]
fn the_end_of_the_input_is_kept_to_itself_if_asked() {
    let (url, server) = serve(|mut stream| {
        let mut received = [0; 5];
        stream.read_exact(&mut received).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let silence = stream.read(&mut received).unwrap_err().kind();
        (silence, stream.write_all(b"bye\n"))
    });
    let outcome = anyport_with_input(&["cat", "--no-shutdown", &url], b"hello").succeeds();
    assert_eq!(outcome.stdout, "bye\n");
    let (silence, said) = server.join().unwrap();
    assert_eq!(silence, std::io::ErrorKind::WouldBlock);
    said.unwrap();
}

#[test]
fn a_server_that_never_closes_is_waited_for_as_long_as_is_asked() {
    let (url, server) = serve(|mut stream| {
        let mut received = Vec::new();
        stream.write_all(b"hello").unwrap();
        stream.read_to_end(&mut received).unwrap();
        // Open until the client has gone.
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
        received
    });
    let outcome = anyport_with_input(&["cat", "-q", "200ms", &url], b"all").succeeds();
    assert!(outcome.stdout.starts_with("hello"), "{outcome:#?}");
    assert_eq!(server.join().unwrap(), b"all");
}

#[test]
fn a_closed_output_is_no_error() {
    let (url, server) = serve(|mut stream| while stream.write_all(&[b'y'; 4096]).is_ok() {});
    let mut command = anyport_command(&["cat", &url]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    child.stdout.take().unwrap().read_exact(&mut [0; 100]).unwrap();
    let status = wait_until("cat ends", || child.try_wait().unwrap());
    drop(stdin);
    server.join().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success() && said.is_empty(), "{status}: {said}");
}

#[test]
fn a_reset_is_an_error_and_earlier_data_is_written() {
    let (url, server) = serve(|mut stream| {
        stream.write_all(b"before").unwrap();
        let mut received = [0; 5];
        stream.read_exact(&mut received).unwrap();
        // A reset discards what the peer has not read.
        wait_until_read(&stream);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let outcome = anyport_with_input(&["cat", "--no-shutdown", &url], b"hello").exits(6);
    assert_eq!(outcome.stdout, "before");
    outcome.says("lost");
    server.join().unwrap();
}

#[test]
fn lines_are_text_messages_and_bytes_are_binary_ones() {
    let server = Server::start(&[]);
    let url = server.url("ws", "echo");
    let outcome = anyport_with_input(&["cat", &url], "one\n\nzwei ü\nno end".as_bytes());
    assert_eq!(outcome.succeeds().stdout, "one\n\nzwei ü\nno end\n");
    let content = noise(LARGE / 8, 3);
    let mut child = anyport_command(&["cat", "--binary", &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let said = content.clone();
    let said = std::thread::spawn(move || stdin.write_all(&said).unwrap());
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    said.join().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(received == content, "{} bytes came back", received.len());
}

#[test]
fn input_that_is_no_text_is_named_with_the_way_out() {
    let server = Server::start(&[]);
    let url = server.url("ws", "echo");
    let outcome = anyport_with_input(&["cat", &url], b"one\ntwo \xff\nthree\n").exits(1);
    outcome.says("input line 2 is not UTF-8").says("--binary");
}

#[test]
fn websocat_sends_and_receives() {
    let Some(mut websocat) = peer("websocat") else { return };
    let port = free_port().to_string();
    websocat.args(["-t", "-E", &format!("ws-l:127.0.0.1:{port}"), "-"]);
    let mut websocat = websocat
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(websocat.stdin.as_mut().unwrap(), "from websocat").unwrap();
    let url = format!("ws://127.0.0.1:{port}/");
    // The input stays open for a moment: at its end websocat may close before it sends its line.
    let script = r#"(echo from cat; sleep 1) | "$0" cat -q 2 "$1""#;
    let output = wait_until("websocat listens", || {
        let mut cat = Command::new("sh");
        cat.args(["-c", script, env!("CARGO_BIN_EXE_anyport"), &url]);
        let output = cat.output().unwrap();
        (output.status.code() != Some(3)).then_some(output)
    });
    assert_eq!(String::from_utf8_lossy(&output.stdout), "from websocat\n", "{output:?}");
    let mut received = [0; 8];
    websocat.stdout.take().unwrap().read_exact(&mut received).unwrap();
    // It waits for the next client.
    websocat.kill().unwrap();
    websocat.wait().unwrap();
    assert_eq!(&received, b"from cat");
}

#[test]
fn a_close_of_python_websockets_ends_it_with_its_code() {
    for (code, reason, exit) in [(1000, "done", 0), (1001, "", 0), (1008, "not today", 4)] {
        let Some(mut python) = python_with("websockets.sync.server") else { return };
        let port = free_port();
        let script = format!(
            r"
from websockets.sync.server import serve
def talk(socket):
    assert socket.recv() == 'hello'
    socket.ping(b'are you there?').wait(5)
    socket.send('a text')
    socket.send(b'bytes,')
    socket.close({code}, '{reason}')
serve(talk, '127.0.0.1', {port}).serve_forever()
"
        );
        python.args(["-W", "ignore", "-c", &script]);
        let _server = Running::start(python, None);
        let url = format!("ws://127.0.0.1:{port}/");
        let outcome = cat_when_it_listens(&["--no-shutdown", &url], b"hello\n").exits(exit);
        assert_eq!(outcome.stdout, "a text\nbytes,", "{outcome:#?}");
        if exit != 0 {
            outcome.says(&format!("closed the WebSocket with code {code}: {reason}"));
        }
    }
}

#[test]
fn datagrams_go_to_ncat_and_back() {
    let Some(mut ncat) = peer("ncat") else { return };
    let port = free_port();
    ncat.args(["-u", "-l", "127.0.0.1", &port.to_string()]);
    let mut ncat = Running::start(ncat, Some(b"from ncat\n".to_vec()));
    let url = format!("udp://127.0.0.1:{port}");
    let outcome = cat_when_it_listens(&["-q", "1", &url], b"from cat\n").succeeds();
    assert_eq!(outcome.stdout, "from ncat\n");
    ncat.kill();
    assert_eq!(ncat.outcome().stdout, "from cat\n");
}

#[test]
fn a_port_without_anybody_is_unreachable_by_stream_and_by_datagram() {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("udp://{free}");
    anyport_with_input(&["cat", "-q", "5", &url], b"x").exits(3).says("no UDP service");
    anyport(&["cat", "tcp://127.0.0.1:1"]).exits(3);
    anyport(&["cat", "gopher://127.0.0.1"]).exits(2).says("gopher").says("udp://HOST:PORT");
}

#[test]
fn a_running_server_is_found_by_its_port() {
    let server = Server::start_listening(&["greet://127.0.0.1:0"], &["--greeting", "Welcome!"]);
    let url = format!("localhost:{}", server.port());
    let outcome = anyport_with_input(&["cat", &url], b"good morning\n").succeeds();
    assert_eq!(outcome.stdout, "Welcome!\n");
    assert_eq!(server.next_event()["text"], "good morning");
    let server = Server::start_listening(&["echo://127.0.0.1:0"], &[]);
    for scheme in ["udp", "tcp"] {
        let url = format!("{scheme}://127.0.0.1:{}", server.port());
        let outcome = anyport_with_input(&["cat", "-q", "300ms", &url], b"echo me").succeeds();
        assert_eq!(outcome.stdout, "echo me", "{scheme}");
    }
}

#[test]
fn bare_frames_are_messages_without_a_handshake() {
    let server = Server::start(&[]);
    let content = noise(100_000, 5);
    anyport_with_input(&["cat", "--binary", &server.url("frames", "")], &content).succeeds();
    let receipt = server.next_receipt();
    assert_eq!((&receipt["protocol"], &receipt["end"]), (&"frames".into(), &"close".into()));
    assert!(server.stored(&receipt) == content);
}
