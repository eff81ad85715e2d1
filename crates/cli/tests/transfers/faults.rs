//! One fault, every protocol: plays each row of docs/faults.md over each scheme and with each
//! command.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyport_proto::transfer::refusal::{Failure, Keeps, Meaning, RefusalCode, Retry};
use anyport_testkit::noise;
use socket2::SockRef;

use anyport_testkit::harness::{
    Outcome, Running, Sample, Server, SmallDisk, anyport, anyport_command, assert_same_bytes,
    signal, wait_until,
};

/// `https` is HTTP/2, `http` HTTP/1.1.
const SCHEMES: [&str; 8] = ["tcp", "tls", "ws", "wss", "frames", "frames+tls", "http", "https"];

const PAGE: &str = include_str!("../../../../docs/faults.md");

/// The cells of the table of [`PAGE`] whose header begins so.
fn table(header: &str) -> Vec<Vec<&'static str>> {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    let cells = |row: &'static str| row.trim_matches('|').split('|').map(str::trim).collect();
    rows.take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// The part of a cell that holds for `scheme`: parts are separated by `;`, and one may name its
/// schemes.
fn part_for(cell: &'static str, scheme: &str) -> &'static str {
    let named = cell.split("; ").filter_map(|part| {
        let (schemes, part) = part.split_once(": ")?;
        schemes.split(", ").any(|named| named == scheme).then_some(part)
    });
    named.last().unwrap_or_else(|| cell.split("; ").next().unwrap_or_default())
}

/// Whether `text` contains `phrase`, in which words in capitals stand for anything.
fn contains(text: &str, phrase: &str) -> bool {
    let open = [" PEER ", " N ", " NAME", " REASON", " A,", " B"];
    let mut fixed = phrase.replace("60s", "1s");
    open.iter().for_each(|word| fixed = fixed.replace(word, "\0"));
    let mut rest = Some(text);
    fixed.split('\0').for_each(|part| rest = rest.and_then(|r| Some(r.split_once(part)?.1)));
    rest.is_some()
}

/// What a server says over a plaintext protocol, as a cell names it: a line, a message, a Close, a
/// status.
fn is_said(said: &[u8], cell: &str) -> bool {
    let words: Vec<_> = cell.split([' ', ',']).map(|word| word.trim_matches('`')).collect();
    let words = [&words[..], &[""]].concat();
    let has = |bytes: &[u8]| said.windows(bytes.len()).any(|window| window == bytes);
    words.windows(2).all(|pair| match (pair[0], pair[1]) {
        ("ERROR", code) => has(format!("ANYPORT/1 ERROR {code} ").as_bytes()),
        ("error", code) => has(format!("\"code\":\"{code}\"").as_bytes()),
        ("Close", code) => code.parse::<u16>().map_or(true, |code| {
            said.windows(4).any(|frame| frame[0] == 0x88 && frame[2..] == code.to_be_bytes())
        }),
        (status, _) if status.parse::<u16>().is_ok_and(|status| status < 1000) => {
            has(format!("HTTP/1.1 {status} ").as_bytes())
        }
        _ => true,
    })
}

/// How a fault is played.
struct Fault {
    /// The beginning of its name on the page.
    name: &'static str,
    schemes: &'static [&'static str],
    server: &'static [&'static str],
    /// Bytes of a file.
    size: usize,
    play: fn(&mut Case) -> Outcome,
}

macro_rules! faults {
    ($($test:ident: $fault:expr;)*) => {
        $(#[test] fn $test() { $fault.over_every_protocol() })*

        #[test]
        fn each_row_of_the_page_is_played() {
            let played = [$($fault.name),*];
            let mut rows: Vec<_> = table("| fault | command").iter().map(|row| row[0]).collect();
            rows.dedup();
            assert_eq!(rows, played);
            let signs: Vec<_> = table("| fault | tcp").iter().map(|row| row[0]).collect();
            assert!(signs.iter().zip(rows).all(|(sign, row)| sign.starts_with(row)), "{signs:?}");
        }
    };
}

const ANY: Fault = Fault { name: "", schemes: &SCHEMES, server: &[], size: SIZE, play: Case::run };
const TLS: &[&str] = &["tls", "wss", "frames+tls", "https"];
const PLAIN: &[&str] = &["tcp", "ws", "frames", "http"];
/// Those that name a digest, and that a relay can read.
const DIGESTS: &[&str] = &["tcp", "ws", "frames"];

faults! {
    a_stopped_client: Fault {
        name: "client stopped",
        server: &["--idle-timeout", "1s"],
        size: 4 * SIZE,
        play: stop,
        ..ANY
    };
    a_silent_server: Fault { name: "server silent", play: |case| case.through(How::Stall), ..ANY };
    a_lost_connection: Fault {
        name: "connection lost",
        play: |case| case.through(if case.passes { How::Reset } else { How::Fin }),
        ..ANY
    };
    a_truncated_tls_connection: Fault {
        name: "TLS truncated",
        schemes: TLS,
        play: |case| case.through(How::Fin),
        ..ANY
    };
    a_server_that_drains: Fault { name: "server drains", play: drain, ..ANY };
    a_server_that_is_killed: Fault { name: "server killed", size: 4 * SIZE, play: kill, ..ANY };
    a_full_disk: Fault { name: "disk of the receiver full", play: fill, ..ANY };
    a_quota: Fault { name: "`--quota` reached", server: &["--quota", "1MiB"], ..ANY };
    a_missing_token: Fault {
        name: "token missing or wrong",
        server: &["--token-file", TOKENS],
        ..ANY
    };
    a_refused_name: Fault { name: "name refused", play: obstruct, ..ANY };
    another_digest: Fault {
        name: "digest differs",
        schemes: DIGESTS,
        play: |case| case.through(How::Flip),
        ..ANY
    };
}

/// Replaced by the path of a file of tokens.
const TOKENS: &str = "TOKENS";

impl Fault {
    /// Plays all rows of the fault over all its schemes at once: most of each is waiting.
    fn over_every_protocol(&self) {
        std::thread::scope(|scope| {
            for row in table("| fault | command").into_iter().filter(|row| row[0] == self.name) {
                for scheme in self.schemes {
                    let row = row.clone();
                    std::thread::Builder::new()
                        .name(format!("{scheme} {}", row[1]))
                        .spawn_scoped(scope, move || self.over(scheme, &row))
                        .unwrap();
                }
            }
        });
    }

    /// Plays it so that few retries help, and then, if they may, once more so that it passes by
    /// itself.
    fn over(&self, scheme: &'static str, row: &[&'static str]) {
        let &[name, command, retried, exit, kept, words, event] = row else { panic!("{row:?}") };
        let what = format!("{name}, {command} over {scheme}");
        let Some(mut case) = Case::new(self, scheme, command, false) else { return };
        let outcome = (self.play)(&mut case);
        assert_eq!(outcome.code, Some(exit.parse().unwrap()), "{what}: {outcome:#?}");
        let mut words = part_for(words, scheme).split(" or ");
        assert!(words.any(|words| contains(&outcome.stderr, words)), "{what}: {outcome:#?}");
        let again = outcome.stderr.matches("retrying in").count();
        let expected = match retried {
            "no" => again == 0,
            "once" => again == 1,
            _ => true,
        };
        assert!(expected, "{what}: {outcome:#?}");
        let is_kept = partial(&case.receiver()) > 0;
        let keeps = part_for(kept, scheme).starts_with("partial file");
        assert_eq!(is_kept, keeps, "{what}: {outcome:#?}");
        if event != "-" {
            case.prints(event);
        }
        if command == "send" && PLAIN.contains(&scheme) {
            let signs = table("| fault | tcp").into_iter().find(|row| row[0].starts_with(name));
            let column = ["tcp", "ws frames", "http"].iter().position(|all| all.contains(scheme));
            let cell = part_for(signs.unwrap()[1 + column.unwrap()], scheme);
            let said = case.said.lock().unwrap();
            let text = || String::from_utf8_lossy(&said[said.len().saturating_sub(2000)..]);
            assert!(is_said(&said, cell), "{what}: no {cell:?} in {:?}", text());
        }
        if retried != "yes" {
            return;
        }
        let Some(mut case) = Case::new(self, scheme, command, true) else { return };
        let outcome = (self.play)(&mut case);
        assert_eq!(outcome.code, Some(0), "{what}: {outcome:#?}");
        // Between two files another connection may do.
        let again = outcome.stderr.contains("retrying in") || !is_kept;
        assert!(again, "{what}: {outcome:#?}");
        let first = &outcome.json()[0];
        let resumed = first["resumed"].as_u64().or_else(|| first["offset"].as_u64()).unwrap_or(0);
        assert_eq!(resumed > 0, is_kept, "{what}: {outcome:#?}");
        for name in case.names {
            let (receiver, source) = (case.receiver().join(name), case.source().join(name));
            assert_same_bytes(&std::fs::read(receiver).unwrap(), &std::fs::read(source).unwrap());
        }
    }
}

/// A server, a command, and the files that it is to send or receive.
struct Case {
    scheme: &'static str,
    command: &'static str,
    server: Server,
    served: PathBuf,
    here: PathBuf,
    names: &'static [&'static str],
    /// Whether the fault passes by itself, so that the command succeeds in the end.
    passes: bool,
    /// The directory of the file in its URL.
    below: &'static str,
    /// Events that the server printed.
    printed: Vec<serde_json::Value>,
    /// All that the server said through a relay.
    said: Arc<Mutex<Vec<u8>>>,
    _tokens: Sample,
    _disk: Option<SmallDisk>,
    _scratch: tempfile::TempDir,
}

impl Case {
    fn new(
        fault: &Fault,
        scheme: &'static str,
        command: &'static str,
        passes: bool,
    ) -> Option<Self> {
        let scratch = tempfile::tempdir().unwrap();
        let disk = match fault.name.contains("disk") {
            true => Some(SmallDisk::mount_with("size=9m")?),
            false => None,
        };
        let mut directories = [scratch.path().join("served"), scratch.path().join("here")];
        let is_send = command == "send";
        if let Some(disk) = &disk {
            directories[usize::from(!is_send)] = disk.path().join("small");
        }
        let [served, here] = directories;
        let names: &[_] = if fault.name.contains("drains") { &["d/a", "d/b"] } else { &["x"] };
        for (name, number) in names.iter().zip(1..) {
            std::fs::create_dir_all(served.join(name).parent().unwrap()).unwrap();
            std::fs::create_dir_all(here.join(name).parent().unwrap()).unwrap();
            let source = if is_send { &here } else { &served };
            std::fs::write(source.join(name), noise(fault.size, number)).unwrap();
        }
        let tokens = Sample::new("tokens", b"alice alices-token-0123456789\n");
        std::fs::set_permissions(tokens.path(), PermissionsExt::from_mode(0o600)).unwrap();
        let flag = |flag: &&'static str| if *flag == TOKENS { tokens.path() } else { *flag };
        let flags: Vec<_> = fault.server.iter().map(flag).chain(["--fsync", "none"]).collect();
        let server = Server::start_in(&served, &["127.0.0.1:0"], &flags);
        Some(Self {
            scheme,
            command,
            server,
            served,
            here,
            names,
            passes,
            below: "",
            printed: Vec::new(),
            said: Arc::default(),
            _tokens: tokens,
            _disk: disk,
            _scratch: scratch,
        })
    }

    /// Starts the server again, on its address.
    fn restart(&mut self) {
        let address = self.server.addresses()[0].to_string();
        self.server = Server::start_in(&self.served, &[&address], &["--fsync", "none"]);
    }

    fn source(&self) -> &Path {
        if self.command == "send" { &self.here } else { &self.served }
    }

    fn receiver(&self) -> PathBuf {
        if self.command == "send" { self.served.clone() } else { self.here.clone() }
    }

    fn begin(&self, address: SocketAddr, flags: &[&str]) -> Running {
        let name = if self.names.len() > 1 { "d" } else { "x" };
        let url = format!("{}://{address}/{}", self.scheme, self.below);
        let mut command = anyport_command(&[self.command, "-k", "--json"]);
        match self.command {
            "send" => command.args([name, &url]),
            _ => command.arg(format!("{url}{}", if name == "d" { "d/" } else { name })),
        };
        command.args(flags).current_dir(&self.here);
        Running::start(command, None)
    }

    /// A command in the middle of a file, so slow that there is time to do something to it.
    /// `retries`, unless the fault passes.
    fn middle(&self, address: SocketAddr, retries: &str) -> Running {
        let retries = if self.passes { "10" } else { retries };
        let flags = ["--limit-rate", "4MiB", "--retry", retries];
        let running = self.begin(address, &flags);
        wait_until("a partial file", || (partial(&self.receiver()) > 500_000).then_some(()));
        running
    }

    /// Waits until the server has printed such an event.
    fn prints(&mut self, event: &str) {
        wait_until(event, || {
            self.printed.extend(self.server.try_event());
            self.printed.iter().any(|printed| printed["event"] == event).then_some(())
        });
    }

    /// The server behind a relay that takes one connection; where the fault passes, the server
    /// itself.
    fn relayed(&mut self) -> SocketAddr {
        if self.passes {
            return self.server.addresses()[0];
        }
        let relay = Relay::start(&self.server, Side::Client, usize::MAX, How::Pass, 1);
        self.said = relay.said;
        relay.address
    }

    /// Nothing is done to the connection.
    fn run(&mut self) -> Outcome {
        self.through(How::Pass)
    }

    /// Runs the command through a relay that does `how` in the middle of a file: always, or to the
    /// first connection.
    fn through(&mut self, how: How) -> Outcome {
        let side = if self.command == "send" { Side::Client } else { Side::Server };
        let times = if self.passes { 1 } else { usize::MAX };
        let relay = Relay::start(&self.server, side, SIZE / 3, how, times);
        self.said = relay.said.clone();
        let is_endless = !self.passes && !matches!(how, How::Flip | How::Pass);
        let retries = if is_endless { "2" } else { "10" };
        let flags = ["--timeout", "1s", "--connect-timeout", "2s", "--retry", retries];
        self.begin(relay.address, &flags).outcome()
    }
}

/// Large enough to be interrupted in the middle.
const SIZE: usize = 6_000_000;

fn stop(case: &mut Case) -> Outcome {
    let address = case.relayed();
    let client = case.middle(address, "0");
    signal("STOP", client.id());
    case.prints(if case.command == "send" { "interrupted" } else { "unsent" });
    signal("CONT", client.id());
    client.outcome()
}

fn kill(case: &mut Case) -> Outcome {
    let client = case.middle(case.server.addresses()[0], "1");
    case.server.kill();
    if case.passes {
        case.restart();
    }
    client.outcome()
}

fn drain(case: &mut Case) -> Outcome {
    let address = case.relayed();
    let client = case.middle(address, "1");
    case.server.signal("TERM");
    if case.passes {
        case.server.wait();
        case.restart();
    }
    client.outcome()
}

/// Another program fills the disk of the receiver meanwhile.
fn fill(case: &mut Case) -> Outcome {
    let address = case.relayed();
    let client = case.middle(address, "10");
    let mut other = std::fs::File::create(case.receiver().join("other")).unwrap();
    while other.write_all(&[0; 4096]).is_ok() {}
    client.outcome()
}

/// A file stands where a directory of the name would be.
fn obstruct(case: &mut Case) -> Outcome {
    case.below = "taken/";
    std::fs::write(case.served.join("taken"), "a file").unwrap();
    case.run()
}

/// The bytes of the largest partial file in and below a directory.
fn partial(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
        true => partial(&entry.path()),
        false if entry.file_name().to_string_lossy().ends_with(".part") => {
            entry.metadata().map_or(0, |metadata| metadata.len())
        }
        false => 0,
    };
    entries.map(size).max().unwrap_or(0)
}

/// What a [`Relay`] does to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Pass,
    Fin,
    Reset,
    /// Nothing more is forwarded in this direction, and nothing is closed.
    Stall,
    /// One byte is another one.
    Flip,
}

/// Whose bytes a [`Relay`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// Forwards connections to a server, and does something to the first ones behind a number of bytes.
struct Relay {
    address: SocketAddr,
    did: Arc<AtomicUsize>,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Relay {
    /// Does `how` to the first `times` connections; with [`How::Pass`] it takes no others.
    fn start(server: &Server, side: Side, bytes: usize, how: How, times: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        hold_little(SockRef::from(&listener));
        let address = listener.local_addr().unwrap();
        let upstream = server.addresses()[0];
        let (did, said) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let relay = Self { address, did: did.clone(), said: Arc::clone(&said) };
        std::thread::spawn(move || {
            let takes = if how == How::Pass { times } else { usize::MAX };
            for client in listener.incoming().flatten().take(takes) {
                let Ok(server) = TcpStream::connect(upstream) else { continue };
                hold_little(SockRef::from(&server));
                let before = did.load(Ordering::Acquire);
                let how = if before < times { how } else { How::Pass };
                let ends = Arc::new([client, server]);
                for (from, to, of) in [(0, 1, Side::Client), (1, 0, Side::Server)] {
                    // A later connection does not get so far.
                    let limit = if before == 0 || how == How::Flip { bytes } else { 0 };
                    let limit = if of == side && how != How::Pass { limit } else { usize::MAX };
                    let said = (of == Side::Server).then(|| Arc::clone(&said));
                    let (ends, did) = (ends.clone(), did.clone());
                    std::thread::spawn(move || {
                        forward(&ends[from], &ends[to], limit, how, &did, said.as_deref());
                    });
                }
            }
        });
        relay
    }
}

/// Bounds the socket's buffers: by itself the kernel lets them grow to more than a whole file.
fn hold_little(socket: SockRef<'_>) {
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.set_send_buffer_size(64 * 1024).unwrap();
}

/// Copies until the end of the stream, and does `how` behind `limit` bytes.
fn forward(
    mut from: &TcpStream,
    mut to: &TcpStream,
    limit: usize,
    how: How,
    did: &AtomicUsize,
    said: Option<&Mutex<Vec<u8>>>,
) {
    let (mut left, mut buffer, mut is_taken) = (limit, vec![0; 64 * 1024], true);
    let mut flips = false;
    loop {
        if left == 0 {
            left = usize::MAX;
            did.fetch_add(1, Ordering::AcqRel);
            match how {
                How::Fin => {
                    [from, to].into_iter().for_each(|end| drop(end.shutdown(Shutdown::Write)))
                }
                // The other direction ends too, and the last to close resets.
                How::Reset => {
                    return [from, to].iter().for_each(|end| {
                        SockRef::from(*end).set_linger(Some(Duration::ZERO)).unwrap();
                        let _ = end.shutdown(Shutdown::Read);
                    });
                }
                How::Stall => std::thread::sleep(Duration::MAX),
                How::Pass | How::Flip => flips = true,
            };
        }
        let most = buffer.len().min(left);
        let Ok(count @ 1..) = from.read(&mut buffer[..most]) else {
            let is_reset = how == How::Reset && did.load(Ordering::Acquire) > 0;
            if !is_reset {
                let _ = to.shutdown(Shutdown::Write);
            }
            return;
        };
        left -= count;
        buffer[0] ^= u8::from(std::mem::take(&mut flips));
        if let Some(said) = said {
            said.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
        // Discarded input is read all the same: unread bytes would turn a FIN into a reset.
        is_taken = is_taken && to.write_all(&buffer[..count]).is_ok();
    }
}

/// The table of refusal codes is what the code does.
#[test]
fn the_page_has_each_refusal_code() {
    let mut rows = String::new();
    for code in RefusalCode::ALL {
        let Meaning { close, status, retry, failure, one_file, keeps } = code.meaning();
        let retry = match retry {
            Retry::Never => "no",
            Retry::Once => "once",
            Retry::Repeatedly => "yes",
        };
        let exit = match failure {
            Failure::Refused => 4,
            Failure::Mismatch => 5,
            Failure::Interrupted => 6,
        };
        let keeps = match keeps {
            Keeps::Nothing => "nothing",
            Keeps::Partial => "partial file",
            Keeps::Apart => "apart",
        };
        let (status, follow) = (status.as_u16(), if one_file { "yes" } else { "no" });
        let row = format!("`{code}` | {close} | {status} | {retry} | {exit} | {follow} | {keeps}");
        let _ = writeln!(rows, "{row}");
    }
    let page = table("| code |").into_iter().map(|row| row.join(" | ") + "\n");
    assert_eq!(page.collect::<String>(), rows);
}

/// In the handshakes, in the answer lines, in the content.
const PLACES: [usize; 8] = [0, 1, 40, 150, 700, 1500, 2300, 150_000];

/// Sends and receives a file through relays that do `how` once, in each of these places and to each
/// side.
fn everywhere(places: &[usize], hows: [How; 2]) {
    let content = noise(300_000, 8);
    let over = |scheme: &str| {
        let server = Server::start(&[]);
        std::fs::write(server.dir().join("there"), &content).unwrap();
        let there = tempfile::tempdir().unwrap();
        for (number, bytes) in places.iter().copied().enumerate() {
            for (side, how) in
                [(Side::Client, hows[number % 2]), (Side::Server, hows[1 - number % 2])]
            {
                let name = format!("{number}-{side:?}");
                std::fs::write(there.path().join(&name), &content).unwrap();
                for command in ["send", "get"] {
                    let relay = Relay::start(&server, side, bytes, how, 1);
                    let url = format!("{scheme}://{}/", relay.address);
                    let here = tempfile::tempdir().unwrap();
                    let file = there.path().join(&name);
                    let impatient = ["-k", "--timeout", "1s", "--connect-timeout", "1s"];
                    let mut run = anyport_command(&[&[command], &impatient[..]].concat());
                    match command {
                        "send" => run.arg(file).arg(url),
                        _ => run.arg(format!("{url}there")),
                    };
                    run.current_dir(here.path());
                    let outcome = Running::start(run, None).outcome();
                    let what =
                        format!("{command} over {scheme}: {how:?} after {bytes} of {side:?}");
                    assert_eq!(outcome.code, Some(0), "{what}: {outcome:#?}");
                    // Behind the receipt a fault changes nothing.
                    let again = outcome.stderr.contains("retrying in")
                        || command == "send" && outcome.stdout.contains("stored");
                    assert!(
                        again || command == "get" || relay.did.load(Ordering::Acquire) == 0,
                        "{what}: {outcome:#?}"
                    );
                    let copy = match command {
                        "send" => server.dir().join(&name),
                        _ => here.path().join("there"),
                    };
                    assert_same_bytes(&std::fs::read(copy).unwrap(), &content);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let over = &over;
        for scheme in SCHEMES {
            scope.spawn(move || over(scheme));
        }
    });
}

#[test]
fn a_connection_that_breaks_anywhere_is_tried_again() {
    everywhere(&PLACES, [How::Fin, How::Reset]);
}

#[test]
fn an_idle_server_is_retried_at_any_step() {
    everywhere(&[1, 150, 2300, 150_000], [How::Stall, How::Stall]);
}

/// Of a name that no server accepts the client does not ask.
#[test]
fn a_name_that_the_client_refuses_stops_no_other_file_over_every_protocol() {
    let there = tempfile::tempdir().unwrap();
    let deep = there.path().join("t").join("d/".repeat(40));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("deep"), "deep").unwrap();
    std::fs::write(there.path().join("t/z"), "fine").unwrap();
    for scheme in SCHEMES {
        let server = Server::start(&[]);
        let mut command = anyport_command(&["send", "-k", "t", &server.url(scheme, "")]);
        command.current_dir(there.path());
        Running::start(command, None).outcome().exits(1).says("1 of 2 files were not sent");
        assert_eq!(std::fs::read(server.dir().join("t/z")).unwrap(), b"fine", "{scheme}");
    }
}

/// A line that is cut may look whole.
#[test]
fn a_truncated_receipt_is_no_receipt() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for end in ["", " end=size confirmed=true path=x\n"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; "content".len()];
            anyport_testkit::harness::wire::read_line(&mut stream);
            stream.read_exact(&mut asked).unwrap();
            anyport_testkit::harness::wire::read_line(&mut stream);
            let receipt = "ANYPORT/1 RECEIPT protocol=raw engine=own peer=127.0.0.1:1 bytes=7 \
                seconds=0.1 end=size confirmed=true";
            let receipt = receipt.strip_suffix(" end=size confirmed=true").unwrap();
            stream.write_all(format!("{receipt}{end}").as_bytes()).unwrap();
        }
    });
    let file = Sample::new("x", b"content");
    let url = format!("tcp://{address}/");
    let Outcome { stderr, .. } = anyport(&["send", file.path(), &url]).succeeds();
    assert_eq!(stderr.matches("retrying in").count(), 1, "{stderr}");
    server.join().unwrap();
}
