//! Floods, storms and shortages: the same process serves the next client, and releases its
//! resources.
//!
//! The rows are those of the fault matrix. Those that take long are run by `--ignored`; beside each
//! is a short one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyport_testkit::noise;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use anyport_testkit::harness::rooms::join;
use anyport_testkit::harness::tls::TlsPeer;
use anyport_testkit::harness::wire::{
    TEXT, connect, converse, frame, read_frame, read_line, read_text, websocket,
};
use anyport_testkit::harness::{
    DEADLINE, Server, anyport, anyport_command, peer, skip, wait_until,
};

/// The state before the flood.
struct Before {
    descriptors: usize,
}

impl Before {
    fn of(server: &Server) -> Self {
        // Memory of the first transfer is not counted.
        server.takes_a_good_file();
        Self { descriptors: descriptors(server) }
    }

    /// The same process, as many descriptors, and no panic.
    fn is_restored(&self, server: &Server) {
        wait_until("closed descriptors", || {
            (descriptors(server) <= self.descriptors).then_some(())
        });
        server.takes_a_good_file();
        let said = server.said();
        assert!(!said.contains("panicked") && !said.contains("ERROR"), "{said}");
    }
}

fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// Returns the wanted number, or what the limit on open files permits: a server needs two for each
/// connection, a quarter for streams, and a few for itself.
fn bearable(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).unwrap();
    let most = limit.maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap());
    wanted.min(most.saturating_sub(500) / 3)
}

fn is_closed(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 1024];
    match stream.read(&mut answer) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(_) => true,
    }
}

/// A fresh client is served; gives how many were refused meanwhile.
fn serves(server: &Server) -> usize {
    let answer = converse(&mut connect(server.port()), b"ANYPORT/1 PUT good size=4\ngoodEND\n");
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer:?}");
    let events = std::iter::repeat_with(|| server.next_event());
    events.take_while(|event| event["event"] != "receipt").count()
}

/// Rows 1 and 2: slow heads, and silent clients. The former time out when a head must be complete,
/// the latter after the idle timeout, and neither delays other clients.
fn slow_clients(each: usize, handshake: Duration, idle: Duration, pause: Duration) {
    let seconds = |time: Duration| format!("{}ms", time.as_millis());
    let flags = ["--handshake-timeout", &seconds(handshake), "--idle-timeout", &seconds(idle)];
    let flags = [&flags[..], &["--max-unclassified", "1000"]].concat();
    let server = Server::start(&flags);
    let before = Before::of(&server);
    let open = || {
        let stream = connect(server.port());
        stream.set_nonblocking(true).unwrap();
        (stream, Instant::now())
    };
    let mut silent: Vec<(TcpStream, Instant)> = (0..each).map(|_| open()).collect();
    let mut sending_slowly: Vec<(TcpStream, Instant)> = (0..each)
        .map(|_| {
            let (mut stream, began) = open();
            stream.write_all(b"GET / HTTP/1.1\r\nSlow: ").unwrap();
            (stream, began)
        })
        .collect();
    let (mut heads_cut, mut silent_cut, mut refused) = (Vec::new(), Vec::new(), 0);
    let deadline = Instant::now() + idle.max(handshake) + DEADLINE;
    while !(silent.is_empty() && sending_slowly.is_empty()) {
        assert!(
            Instant::now() < deadline,
            "{} and {} are left",
            sending_slowly.len(),
            silent.len()
        );
        refused += serves(&server);
        sending_slowly.retain_mut(|(stream, began)| {
            let ended = is_closed(stream) || stream.write_all(b"x").is_err();
            if ended {
                heads_cut.push(began.elapsed());
            }
            !ended
        });
        silent.retain_mut(|(stream, began)| {
            let ended = is_closed(stream);
            if ended {
                silent_cut.push(began.elapsed());
            }
            !ended
        });
        std::thread::sleep(pause);
    }
    let early = Duration::from_millis(100);
    assert!(heads_cut.iter().all(|took| *took + early >= handshake), "{heads_cut:?}");
    assert!(silent_cut.iter().all(|took| *took + early >= idle), "{silent_cut:?}");
    while refused < each {
        assert_eq!(server.next_refused()["protocol"], "http");
        refused += 1;
    }
    before.is_restored(&server);
}

#[test]
fn slow_heads_and_silent_clients_time_out() {
    let [handshake, idle] = [1500, 2500].map(Duration::from_millis);
    slow_clients(60, handshake, idle, Duration::from_millis(50));
}

/// Rows 1 and 21: while handshakes are stalled, in TLS and in HTTP, other clients are served
/// without delay.
#[test]
fn five_hundred_stalled_handshakes_delay_no_client() {
    let many_clients = bearable(500);
    let flags = ["--handshake-timeout", "10m", "--max-unclassified", "1000", "--max-conns", "2000"];
    let server = Server::start(&flags);
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.extend(noise(100, 1));
    let mut standing: Vec<TcpStream> = (0..many_clients)
        .map(|number| {
            let mut stream = connect(server.port());
            let begun: &[u8] = if number % 2 == 0 { &hello } else { b"GET / HTTP/1.1\r\nSlow: " };
            stream.write_all(begun).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    let mut took: Vec<Duration> = (0..50)
        .map(|number| {
            let began = Instant::now();
            if number % 2 == 0 {
                assert_eq!(serves(&server), 0);
            } else {
                let mut fresh = TlsPeer::connect(server.port());
                fresh.write(b"ANYPORT/1 TIME\n");
                fresh.receives("Local time is");
            }
            began.elapsed()
        })
        .collect();
    took.sort();
    // If one of them waited for another, it would take minutes.
    assert!(took[49] < DEADLINE, "{took:?}");
    assert!(!standing.iter_mut().any(is_closed), "all of them still stood");
}

#[test]
#[ignore = "takes a minute: the defaults, with 200 of each"]
fn two_hundred_slow_clients_of_each_kind_time_out() {
    let [handshake, idle] = [10, 20].map(Duration::from_secs);
    slow_clients(200, handshake, idle, Duration::from_millis(500));
}

/// Without a FIN, whatever is unread.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Row 4.
fn storm_of_resets(count: usize) {
    let server = Server::start(&["--fsync", "none", "--bulk-threads", "2"]);
    let before = Before::of(&server);
    for number in 0..count {
        let mut stream = connect(server.port());
        match number % 4 {
            0 => {
                let preface = format!("ANYPORT/1 PUT storm-{number} size=5000000\n");
                stream.write_all(&[preface.as_bytes(), &noise(1000, 1)].concat()).unwrap();
            }
            1 => {
                let request = "PUT /storm HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n";
                stream.write_all(request.as_bytes()).unwrap();
                stream.write_all(&noise(800_000, 1)).unwrap();
            }
            2 => {
                let mut stream = websocket(server.port(), "/echo");
                stream.write_all(&frame(TEXT, b"x")).unwrap();
                reset(stream);
            }
            _ => {}
        }
        reset(stream);
    }
    // Those that had begun, and only those.
    let mut interrupted = 0;
    while interrupted < count / 2 {
        let event = server.next_event();
        if event["event"] == "interrupted" {
            assert!(event["reason"].as_str().unwrap().contains("connection lost"), "{event}");
            interrupted += 1;
        }
    }
    before.is_restored(&server);
    assert_eq!(server.published(), Vec::<String>::new());
}

#[test]
fn a_storm_of_resets_leaves_nothing_but_parts() {
    storm_of_resets(120);
}

#[test]
#[ignore = "half a minute: 500 of them"]
fn a_storm_of_five_hundred_resets_leaves_nothing_but_parts() {
    storm_of_resets(500);
}

/// Row 21.
fn noise_on_the_port(count: u64) {
    let server = Server::start(&["--sink", "discard", "--fsync", "none"]);
    let before = Before::of_discarding(&server);
    for seed in 0..count {
        let mut stream = connect(server.port());
        // Refused in the middle, it may be reset.
        let _ = stream.write_all(&noise(4096, seed));
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        server.next_event();
    }
    wait_until("closed descriptors", || (descriptors(&server) <= before.descriptors).then_some(()));
    assert!(!server.said().contains("panicked"), "{}", server.said());
    let mut stream = connect(server.port());
    let answer = converse(&mut stream, b"ANYPORT/1 PUT good size=4\ngoodEND\n");
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
}

impl Before {
    /// Where nothing is stored.
    fn of_discarding(server: &Server) -> Self {
        let mut stream = connect(server.port());
        converse(&mut stream, b"ANYPORT/1 PUT good size=4\ngoodEND\n");
        server.next_receipt();
        Self { descriptors: descriptors(server) }
    }
}

#[test]
fn noise_is_raw_or_refused_and_nothing_breaks() {
    noise_on_the_port(150);
}

#[test]
#[ignore = "4 KiB of it, a thousand times"]
fn a_thousand_times_noise_is_raw_or_refused_and_nothing_breaks() {
    noise_on_the_port(1000);
}

/// Row 22: many waiting clients cost a known amount of memory, and no CPU time.
fn idle_clients(wanted: usize, rest: Duration) {
    let count = bearable(wanted);
    let many = (count + 100).to_string();
    let flags = ["--max-conns", &many, "--max-unclassified", &many, "--idle-timeout", "10m"];
    let server = Server::start(&flags);
    let before = Before::of(&server);
    let memory = server.memory();
    let mut many_clients: Vec<TcpStream> = (0..count / 2).map(|_| connect(server.port())).collect();
    many_clients.extend((0..count - count / 2).map(|_| websocket(server.port(), "/echo")));
    server.takes_a_good_file();
    let each = server.memory().saturating_sub(memory) / count as u64;
    assert!(each < 8 * 1024, "{each} bytes for one");
    let processor = server.processor_time();
    // CPU time of an idle server is what is measured, so it must be idle for a time.
    std::thread::sleep(rest);
    let took = server.processor_time() - processor;
    assert!(took <= rest / 100, "{took:?} of {rest:?}");
    server.takes_a_good_file();
    // None was closed meanwhile, and each is served.
    for stream in many_clients.iter_mut().skip(count / 2).step_by(97) {
        stream.write_all(&frame(TEXT, b"there?")).unwrap();
        assert_eq!(read_frame(stream), (TEXT, b"there?".to_vec()));
    }
    for stream in many_clients.iter_mut().take(count / 2).step_by(97) {
        let answer = converse(stream, b"ANYPORT/1 PUT late size=1\nxEND\n");
        assert!(answer.starts_with("ANYPORT/1 "), "{answer}");
        server.next_event();
    }
    drop(many_clients);
    before.is_restored(&server);
}

#[test]
fn idle_connections_cost_little_memory_and_no_cpu_time() {
    idle_clients(1500, Duration::from_secs(4));
}

#[test]
#[ignore = "a minute: ten thousand of them"]
fn ten_thousand_idle_connections_cost_little_memory_and_no_processor() {
    idle_clients(10_000, Duration::from_secs(30));
}

/// Row 23, foreseen: no more connections are taken than the descriptors bear, so none of them fails
/// for want of one.
#[test]
fn a_limit_on_open_files_bounds_the_connections_and_not_the_transfers() {
    let Some(mut command) = peer("prlimit") else { return };
    command.args(["--nofile=128:128", env!("CARGO_BIN_EXE_anyport")]);
    let scratch = tempfile::tempdir().unwrap();
    let control = scratch.path().join("control");
    let control = control.to_str().unwrap();
    let flags = ["--bulk-threads", "2", "--control", control];
    let server = Server::start_as(command, &["127.0.0.1:0"], &flags);
    server.says("warning: --max-conns lowered from 1024 to 24: the limit is 128 open files");
    server.says("hint: raise the limit of open files (ulimit -n, LimitNOFILE=)");
    // Settings that are read anew know no more of it than those at the start.
    anyport(&["reload", "--control", control]).succeeds();
    let status = anyport(&["status", "--json", "--control", control]).succeeds().json().remove(0);
    assert_eq!(status["limits"]["max_conns"], 24, "{status}");
    server.takes_a_good_file();
    let mut running = connect(server.port());
    running.write_all(b"ANYPORT/1 PUT running size=10\nhello").unwrap();
    server.growing_part();
    let processor = server.processor_time();
    let began = Instant::now();
    let many_clients: Vec<TcpStream> = (0..300).map(|_| connect(server.port())).collect();
    // A client with input gets the permit of a silent one, and a descriptor for its file.
    for _ in 0..10 {
        server.takes_a_good_file();
    }
    // A loop that spins shows in CPU time, which load of the machine does not change.
    std::thread::sleep(Duration::from_secs(2));
    let took = server.processor_time() - processor;
    assert!(took < began.elapsed() / 4, "{took:?} of {:?}", began.elapsed());
    assert!(descriptors(&server) <= 128);
    assert!(converse(&mut running, b"worldEND\n").starts_with("ANYPORT/1 RECEIPT "));
    assert_eq!(server.stored(&server.next_receipt()), b"helloworld");
    assert!(!server.said().contains("cannot accept"), "{}", server.said());
    drop(many_clients);
    server.takes_a_good_file();
}

/// Row 23, unforeseen: the limit is lowered while it serves, so accepting fails. It is reported
/// once, waiting costs nothing, running transfers continue, and the server recovers when
/// connections have ended.
#[test]
fn without_descriptors_running_transfers_continue_and_new_clients_wait() {
    let Some(mut prlimit) = peer("prlimit") else { return };
    let server = Server::start(&[]);
    let before = Before::of(&server);
    let mut running = connect(server.port());
    running.write_all(b"ANYPORT/1 PUT running size=10\nhello").unwrap();
    server.growing_part();
    let limit = descriptors(&server) + 20;
    prlimit.args(["--pid", &server.pid().to_string(), &format!("--nofile={limit}:{limit}")]);
    assert!(prlimit.status().unwrap().success());
    let processor = server.processor_time();
    let many_clients: Vec<TcpStream> = (0..300).map(|_| connect(server.port())).collect();
    server.says("cannot accept connections; waiting for open ones to end");
    let began = Instant::now();
    // A loop that spins shows in CPU time, which load of the machine does not change.
    std::thread::sleep(Duration::from_secs(3));
    let took = server.processor_time() - processor;
    assert!(took < Duration::from_millis(300), "{took:?}");
    let reported = server.said().matches("cannot accept").count();
    let most = 1 + usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(reported <= most, "{reported} lines");
    assert!(converse(&mut running, b"worldEND\n").starts_with("ANYPORT/1 RECEIPT "));
    assert_eq!(server.stored(&server.next_receipt()), b"helloworld");
    let mut waiting = connect(server.port());
    drop(many_clients);
    // One that came meanwhile is served without coming again. It sends no file: those that were
    // accepted before it may still hold the last descriptors.
    let answer = converse(&mut waiting, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    wait_until("closed descriptors", || (descriptors(&server) <= before.descriptors).then_some(()));
    server.takes_a_good_file();
}

/// Row 24: the wall clock jumps, and timeouts continue.
#[test]
fn a_clock_that_jumps_ends_no_connection() {
    let Some(library) = faketime() else { return skip("no libfaketime") };
    let scratch = tempfile::tempdir().unwrap();
    let clock = scratch.path().join("clock");
    let jump = |to: &str| {
        let new = scratch.path().join("new");
        std::fs::write(&new, to).unwrap();
        std::fs::rename(&new, &clock).unwrap();
    };
    jump("+0");
    let mut command = anyport_command(&[]);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &clock);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let server = Server::start_as(command, &["127.0.0.1:0"], &[]);
    server.takes_a_good_file();
    let year_and_more = || {
        let mut stream = connect(server.port());
        let answer = converse(&mut stream, b"GET /healthz HTTP/1.0\r\n\r\n");
        let date = answer.lines().find_map(|line| line.strip_prefix("Date: ")).unwrap();
        date[..16].to_owned()
    };
    let today = year_and_more();
    let mut echo = websocket(server.port(), "/echo");
    let mut room = join(&server, "lobby as alice self");
    let mut transfer = connect(server.port());
    transfer.write_all(b"ANYPORT/1 PUT x size=10\nhello").unwrap();
    server.growing_part();
    let mut head = connect(server.port());
    head.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    for to in ["+40d", "-40d", "+1h", "-1h"] {
        jump(to);
        if to.ends_with('d') {
            wait_until("another day", || (year_and_more() != today).then_some(()));
        }
        echo.write_all(&frame(TEXT, to.as_bytes())).unwrap();
        assert_eq!(read_frame(&mut echo), (TEXT, to.as_bytes().to_vec()));
        writeln!(room, "{to}").unwrap();
        let said = format!("alice: {to}");
        while read_line(&mut room) != said {}
        server.takes_a_good_file();
    }
    head.write_all(b"Host: a\r\nConnection: close\r\n\r\n").unwrap();
    assert!(read_text(&mut head).starts_with("HTTP/1.1 200 "));
    assert!(converse(&mut transfer, b"worldEND\n").starts_with("ANYPORT/1 RECEIPT "));
    let receipt = server.next_receipt();
    assert!(receipt["seconds"].as_f64().unwrap() < 1000.0, "{receipt}");
}

/// Where Debian has it.
fn faketime() -> Option<PathBuf> {
    let libraries = Path::new("/usr/lib").read_dir().ok()?.flatten();
    let places = libraries.map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    places.into_iter().find(|path| path.is_file())
}

/// Row 26: settings are read anew in the middle of everything, again and again.
#[test]
fn a_reload_ends_no_connection() {
    let server = Server::start(&[]);
    let mut echo = websocket(server.port(), "/echo");
    let transfers: Vec<TcpStream> = (0..50)
        .map(|number| {
            let mut stream = connect(server.port());
            let preface = format!("ANYPORT/1 PUT t-{number} size=10\nhello");
            stream.write_all(preface.as_bytes()).unwrap();
            stream
        })
        .collect();
    for number in 1..=5 {
        server.signal("HUP");
        wait_until("a reload", || {
            (server.said().matches("reloaded").count() >= number).then_some(())
        });
        echo.write_all(&frame(TEXT, b"there?")).unwrap();
        assert_eq!(read_frame(&mut echo), (TEXT, b"there?".to_vec()));
    }
    for mut stream in transfers {
        assert!(converse(&mut stream, b"worldEND\n").starts_with("ANYPORT/1 RECEIPT "));
        server.next_receipt();
    }
    server.takes_a_good_file();
}

/// Row 3: a peer vanishes without a word, as by a cable that is pulled.
#[test]
fn a_peer_that_vanishes_is_missed_within_the_idle_time() {
    let Some(net) = BlackHole::dig() else { return };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &net.server, env!("CARGO_BIN_EXE_anyport")]);
    let flags = ["--open", "--idle-timeout", "3s"];
    let server = Server::start_as(command, &["10.213.7.1:0"], &flags);
    let port = server.port();
    let before = descriptors(&server);
    let Some(mut python) = peer("ip") else { return };
    python.args(["netns", "exec", &net.client, "python3", "-c", VANISHING, &port.to_string()]);
    let mut running = python.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    running.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    wait_until("all connections", || (descriptors(&server) >= before + 4).then_some(()));
    server.growing_part();
    net.cut();
    let interrupted = server.next_interrupted();
    assert_eq!(interrupted["bytes"], 5, "{interrupted}");
    wait_until("closed descriptors", || (descriptors(&server) <= before).then_some(()));
    running.kill().unwrap();
    running.wait().unwrap();
}

/// A transfer, a room, an echo and one that says nothing.
const VANISHING: &str = "
import socket, sys, time
def peer(words):
    one = socket.create_connection(('10.213.7.1', int(sys.argv[1])))
    one.sendall(words)
    return one
key = (b'Upgrade: websocket\\r\\nConnection: Upgrade\\r\\n'
    b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\nSec-WebSocket-Version: 13\\r\\n')
held = [peer(b'ANYPORT/1 PUT x size=10\\nhello'), peer(b'ANYPORT/1 JOIN lobby as alice\\n'),
        peer(b'GET /echo HTTP/1.1\\r\\nHost: a\\r\\n' + key + b'\\r\\n'), peer(b'')]
held[1].recv(10)
held[2].recv(10)
print('ready', flush=True)
time.sleep(600)
";

/// Two network namespaces and a cable between them.
struct BlackHole {
    server: String,
    client: String,
}

impl BlackHole {
    fn dig() -> Option<Self> {
        peer("ip")?;
        let id = std::process::id();
        let hole = Self { server: format!("any-s-{id}"), client: format!("any-c-{id}") };
        let Self { server, client } = &hole;
        let steps = [
            format!("netns add {server}"),
            format!("netns add {client}"),
            format!("-n {server} link add cable type veth peer name cable netns {client}"),
            format!("-n {server} addr add 10.213.7.1/24 dev cable"),
            format!("-n {client} addr add 10.213.7.2/24 dev cable"),
            format!("-n {server} link set cable up"),
            format!("-n {client} link set cable up"),
            format!("-n {server} link set lo up"),
        ];
        for step in steps {
            let done = Command::new("ip").args(step.split(' ')).output().unwrap();
            if !done.status.success() {
                skip(&format!("ip {step}: {}", String::from_utf8_lossy(&done.stderr)));
                return None;
            }
        }
        Some(hole)
    }

    /// Drops all data of both directions from now on.
    fn cut(&self) {
        let cut = ["-n", &self.client, "link", "set", "cable", "down"];
        assert!(Command::new("ip").args(cut).status().unwrap().success());
    }
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        for name in [&self.server, &self.client] {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}
