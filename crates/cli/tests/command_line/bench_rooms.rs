//! `bench rooms` against a third-party room: a few lines of Python `websockets`. And the baseline
//! of `bench echo`.

use std::process::Command;

use serde_json::Value;

use anyport_testkit::harness::{Outcome, Running, Server, anyport, python_with, wait_until};

/// A room that prefixes what is said and sends it to all others. With `lose` it forgets each
/// message with a 7 at its front; with `grow` it counts, so that messages become longer; with
/// `chatter` it never is silent.
const ROOM: &str = r#"
import asyncio, sys
from websockets.asyncio.server import broadcast, serve

kind, members, said = sys.argv[1], set(), 0

async def member(socket):
    global said
    members.add(socket)
    broadcast(members - {socket}, '* somebody joined')
    try:
        async for text in socket:
            said += 1
            if kind == 'lose' and said % 5 == 0:
                continue
            number = '.' * said if kind == 'grow' else ''
            broadcast(members - {socket}, 'somebody: ' + number + text)
    finally:
        members.discard(socket)

async def main():
    async with serve(member, '127.0.0.1', 0, compression=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        if kind == 'chatter':
            while True:
                broadcast(members, 'tick')
                await asyncio.sleep(0.02)
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"#;

/// The room's process, and its URL.
struct Room {
    _process: Running,
    pid: u32,
    url: String,
}

impl Room {
    fn start(kind: &str) -> Option<Self> {
        python_with("websockets.asyncio.server")?;
        let scratch = tempfile::tempdir().unwrap();
        let reported = scratch.path().join("port");
        let mut command = Command::new("sh");
        let line = r#"exec python3 -c "$1" "$2" > "$3""#;
        command.args(["-c", line, "sh", ROOM, kind]).arg(&reported);
        let process = Running::start(command, None);
        let port = wait_until("the room listens", || {
            let text = std::fs::read_to_string(&reported).ok()?;
            text.strip_suffix('\n')?.parse::<u16>().ok()
        });
        let url = format!("ws://127.0.0.1:{port}/rooms/lobby");
        Some(Self { pid: process.id(), _process: process, url })
    }

    fn bench(&self, more: &[&str]) -> Outcome {
        let flags = ["bench", "rooms", &self.url, "-d", "100ms", "-n", "2", "--timeout", "2s"];
        anyport(&[&flags[..], more].concat())
    }
}

#[test]
fn rooms_are_measured_and_every_delivery_is_counted() {
    let Some(room) = Room::start("plain") else { return };
    let pid = room.pid.to_string();
    let outcome = room.bench(&["-m", "7", "--json", "--pid", &pid]).succeeds();
    let runs = outcome.json();
    let loads: Vec<(u64, u64)> = runs
        .iter()
        .map(|run| (run["in_flight"].as_u64().unwrap(), run["burst"].as_u64().unwrap()))
        .collect();
    assert_eq!(loads, [(1, 1), (16, 16), (64, 1), (256, 64)]);
    for run in &runs {
        // Two bytes of header, two of length, and what the room puts before the 128.
        assert_eq!(run["frame"], 4 + "somebody: ".len() + 128, "{run}");
        let rates = &run["deliveries_per_second"];
        let [min, median, max] = ["min", "median", "max"].map(|name| rates[name].as_f64().unwrap());
        // A machine that has other things to do may leave nothing of a tenth of a second.
        assert!(0.0 < max && min <= median && median <= max, "{run}");
        // Two rounds of a tenth of a second.
        let deliveries = run["deliveries"].as_f64().unwrap();
        assert!((deliveries - (min + max) / 10.0).abs() < 1.0, "{run}");
        let last = &run["last_microseconds"];
        let [p50, p99, most] = ["p50", "p99", "max"].map(|name| last[name].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99 && p99 <= most, "{run}");
    }
    // CPU time is counted in ticks, of which a busy machine may leave a short run none.
    for program in ["client_busy", "server_busy"] {
        let busy = |run: &Value| run[program]["max"].as_f64().unwrap() > 0.0;
        assert!(runs.iter().any(busy), "{program}: {runs:?}");
    }
}

#[test]
fn members_that_never_read_are_beside_those_that_are_measured() {
    let Some(room) = Room::start("plain") else { return };
    let more = ["-m", "3", "--slow", "2", "--in-flight", "4", "--burst", "2", "--payload", "1000"];
    let outcome = room.bench(&more).succeeds();
    let reported = &outcome.stdout;
    assert!(reported.contains("1 sender of 1000 bytes, 3 members receive 1014 each"), "{reported}");
    assert!(reported.contains("2 more members never read"), "{reported}");
    assert!(reported.contains("no message lost"), "{reported}");
}

/// Without nicknames each member is a guest.
#[test]
fn anyport_rooms_are_measured_with_slow_members() {
    let server = Server::start(&["--room-rate", "1000000"]);
    let pid = server.pid().to_string();
    let url = server.url("ws", "rooms/bench");
    let flags = ["bench", "rooms", &url, "-m", "20", "-d", "100ms", "-n", "2", "--json"];
    let more = ["--slow", "2", "--pid", &pid, "--in-flight", "1,64", "--burst", "1,32"];
    for run in anyport(&[&flags[..], &more].concat()).succeeds().json() {
        assert_eq!(run["frame"], 4 + "guest-abcd: ".len() + 128, "{run}");
        assert!(run["deliveries"].as_u64().unwrap() > 20, "{run}");
    }
}

#[test]
fn a_room_that_loses_messages_gets_no_figure() {
    let Some(room) = Room::start("lose") else { return };
    let outcome = room.bench(&["-m", "3", "--in-flight", "8"]).exits(5);
    assert!(outcome.stdout.is_empty(), "{outcome:#?}");
    outcome.says("messages lost: member 1 received");
}

#[test]
fn messages_that_change_their_size_get_no_figure() {
    let Some(room) = Room::start("grow") else { return };
    let outcome = room.bench(&["-m", "3", "--in-flight", "1"]).exits(5);
    assert!(outcome.stdout.is_empty(), "{outcome:#?}");
    outcome.says("but only ");
}

#[test]
fn a_room_that_is_never_idle_is_not_measured() {
    let Some(room) = Room::start("chatter") else { return };
    room.bench(&["-m", "2"]).exits(1).says("the room still sends messages 2s after all members");
}

#[test]
fn an_invalid_room_is_an_error() {
    let server = Server::start(&[]);
    let url = server.url("ws", "echo");
    let flags = ["bench", "rooms", &url, "-m", "2", "--timeout", "500ms"];
    anyport(&flags)
        .exits(5)
        .says("a message did not reach member 1")
        .says("check that it is a room");
    anyport(&["bench", "rooms", &server.url("tcp", "")]).exits(2);
    anyport(&["bench", "rooms", &url, "--in-flight", "2", "--burst", "3"]).exits(2);
    anyport(&["bench", "rooms", &url, "--pid", "4000000"]).exits(2).says("process 4000000");
    anyport(&["bench", "rooms", "ws://127.0.0.1:1/rooms/a", "-m", "1"]).exits(3);
}

#[test]
fn a_bare_loop_is_measured_beside_an_echo() {
    let server = Server::start(&[]);
    let url = server.url("ws", "echo");
    for payload in ["64", "300000"] {
        let flags = ["bench", "echo", &url, "-c", "3", "-d", "100ms", "--json", "--yardstick"];
        let more = ["--in-flight", "1,4", "--payload", payload];
        let runs = anyport(&[&flags[..], &more].concat()).succeeds().json();
        assert_eq!(runs.iter().map(|run| &run["in_flight"]).collect::<Vec<_>>(), [1, 4]);
        for run in &runs {
            assert_eq!(run["rounds"], 3, "{run}");
            let of = |side: &Value| side["per_second"].as_f64().unwrap();
            assert!(of(run) > 0.0 && of(&run["yardstick"]) > 0.0, "{run}");
            let ratio = &run["ratio"];
            let [low, median, high] = ["low", "median", "high"].map(|name| ratio[name].as_f64());
            assert!(0.0 < low.unwrap() && low <= median && median <= high, "{run}");
        }
    }
    let outcome = anyport(&["bench", "echo", &url, "-c", "2", "-d", "100ms", "--yardstick"]);
    let reported = outcome.succeeds().stdout;
    assert!(reported.contains("a bare epoll loop, plain bytes of the same size"), "{reported}");
}
