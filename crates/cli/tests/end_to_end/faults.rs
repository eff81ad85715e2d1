//! One fault, every protocol: the same outcome, exit code and partial file, as docs/faults.md says.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyport_proto::transfer::refusal::{Failure, Keeps, Meaning, RefusalCode, Retry};
use anyport_testkit::noise;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{
    DEADLINE, Outcome, Running, Sample, Server, SmallDisk, anyport, anyport_command,
    assert_same_bytes, lines, wait_until,
};

/// `https` is HTTP/2, `http` HTTP/1.1.
const SCHEMES: [&str; 8] = ["tcp", "tls", "ws", "wss", "frames", "frames+tls", "http", "https"];

/// A row of the table in docs/faults.md, and what the tests below expect.
struct Fault {
    name: &'static str,
    /// What the client meets over tcp, ws and frames, and http.
    signs: [&'static str; 3],
    retry: &'static str,
    exit: i32,
    keeps: &'static str,
    words: &'static str,
}

const STOPPED: Fault = Fault {
    name: "client stopped (SIGSTOP) or silent for longer than `--idle-timeout`",
    signs: [
        "`ERROR interrupted`, then FIN",
        "`{\"error\":{\"code\":\"interrupted\"}}`, then Close 1008",
        "408 with `interrupted`; HTTP/2: the same, or the connection ends",
    ],
    retry: "yes",
    exit: 6,
    keeps: "partial file",
    words: "no data for 60s (--idle-timeout)",
};
const SILENT: Fault = Fault {
    name: "server silent for longer than `--timeout` (a handshake: `--connect-timeout`)",
    signs: ["nothing", "nothing", "nothing"],
    retry: "yes",
    exit: 6,
    keeps: "partial file",
    words: "(--timeout)",
};
const LOST: Fault = Fault {
    name: "reset, or FIN in the middle: of content, a handshake or an answer",
    signs: [
        "end of stream, also within a line",
        "end of stream without a Close",
        "end of stream, a content that is cut; HTTP/2: reset stream too",
    ],
    retry: "yes",
    exit: 6,
    keeps: "partial file",
    words: "connection to PEER lost after N bytes",
};
const TRUNCATED: Fault = Fault {
    name: "TLS truncated: no close_notify",
    signs: ["end of stream without close_notify"; 3],
    retry: "yes",
    exit: 6,
    keeps: "partial file",
    words: "no close_notify",
};
const DRAINS: Fault = Fault {
    name: "server drains, between two files",
    signs: ["`ERROR busy`", "Close 1001", "503, or the connection ends"],
    retry: "yes",
    exit: 3,
    keeps: "nothing is under way",
    words: "the server is stopping",
};
const KILLED: Fault = Fault {
    name: "server killed, or drained for longer than `--drain-timeout`, during a transfer",
    signs: ["reset, then connection refused"; 3],
    retry: "yes",
    exit: 6,
    keeps: "partial file",
    words: "connection to PEER lost after N bytes",
};
const FULL: Fault = Fault {
    name: "disk full, or `--quota` reached",
    signs: ["`ERROR no-space`", "error `no-space`, Close 1011", "507"],
    retry: "no",
    exit: 4,
    keeps: "partial file, if it can be resumed",
    words: "No space left on device; (--quota)",
};
const TOKEN: Fault = Fault {
    name: "token missing or wrong",
    signs: ["`ERROR unauthorized`", "401; frames carry no token: Close 1008", "401"],
    retry: "no",
    exit: 4,
    keeps: "nothing",
    words: "a token is required",
};
const NAME: Fault = Fault {
    name: "name refused",
    signs: ["`ERROR bad-name`", "error `bad-name`, Close 1008", "400"],
    retry: "no; other files of the command follow",
    exit: 4,
    keeps: "nothing",
    words: "cannot store NAME: REASON",
};
const DIGEST: Fault = Fault {
    name: "digest differs from the one that the sender names",
    signs: ["`ERROR digest-mismatch`", "error `digest-mismatch`, Close 1007", "422"],
    retry: "once, from the first byte",
    exit: 5,
    keeps: "partial file, apart: no attempt continues it",
    words: "digest differs: the sender's is A, the received content has B",
};

const FAULTS: [Fault; 10] =
    [STOPPED, SILENT, LOST, TRUNCATED, DRAINS, KILLED, FULL, TOKEN, NAME, DIGEST];

/// The tables of docs/faults.md: the rows above, and what the code makes of each refusal.
fn tables() -> String {
    let mut page = "| fault | tcp, tls | ws, wss, frames | http, https | retried | exit code at the end | kept | words |\n\
        |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for fault in FAULTS {
        let Fault { name, signs: [tcp, ws, http], retry, exit, keeps, words } = fault;
        let row = [name, tcp, ws, http, retry, &exit.to_string(), keeps, words].join(" | ");
        let _ = writeln!(page, "| {row} |");
    }
    page.push_str(
        "\n| code | Close | status | retried | exit code | other files follow | kept |\n\
        |---|---|---|---|---|---|---|\n",
    );
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
        let follow = if one_file { "yes" } else { "no" };
        let status = status.as_u16();
        let _ = writeln!(
            page,
            "| `{code}` | {close} | {status} | {retry} | {exit} | {follow} | {keeps} |"
        );
    }
    page
}

#[test]
fn the_page_of_faults_is_what_the_code_does() {
    let page = include_str!("../../../../docs/faults.md");
    for line in tables().lines() {
        assert!(page.contains(line), "docs/faults.md lacks the line\n{line}\nof\n{}", tables());
    }
}

/// Runs `test` for each scheme at once: most of each is waiting.
fn for_each_scheme(test: impl Fn(&'static str) + Sync) {
    let test = &test;
    std::thread::scope(|scope| {
        for scheme in SCHEMES {
            std::thread::Builder::new()
                .name(scheme.to_owned())
                .spawn_scoped(scope, move || test(scheme))
                .unwrap();
        }
    });
}

/// Whether a fault over `scheme` leaves something that the next attempt continues.
fn resumes(scheme: &str) -> bool {
    !scheme.starts_with("http")
}

fn signal(name: &str, id: u32) {
    let kill = format!("kill -{name} {id}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

const LARGE: usize = 24 * 1024 * 1024;

/// So slow that there is time to stop it.
const SLOW: [&str; 4] = ["-k", "--json", "--limit-rate", "12MiB"];

fn start_slow_send(file: &Sample, url: &str) -> Running {
    let arguments = [&["send"], &SLOW[..], &[file.path(), url]].concat();
    Running::start(anyport_command(&arguments), None)
}

fn start_slow_get(url: &str, into: &Path) -> Running {
    let mut command = anyport_command(&[&["get"], &SLOW[..], &[url]].concat());
    command.current_dir(into);
    Running::start(command, None)
}

/// The bytes of the longest partial file in a directory.
fn partial(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap();
    let parts = entries.flatten().filter(|e| e.file_name().to_string_lossy().ends_with(".part"));
    parts.filter_map(|part| Some(part.metadata().ok()?.len())).max().unwrap_or(0)
}

fn wait_for_partial(directory: &Path) {
    wait_until("a partial file", || (partial(directory) > 1_000_000).then_some(()));
}

#[test]
fn a_sender_stopped_for_longer_than_the_idle_timeout_finishes_over_every_protocol() {
    for_each_scheme(|scheme| {
        let server = Server::start(&["--idle-timeout", "1s"]);
        let content = noise(LARGE, 1);
        let file = Sample::new("x", &content);
        let sender = start_slow_send(&file, &server.url(scheme, ""));
        wait_for_partial(server.dir());
        signal("STOP", sender.id());
        let reason = server.next_interrupted()["reason"].as_str().unwrap().to_owned();
        signal("CONT", sender.id());
        let sent = sender.outcome().succeeds().says("retrying in");
        // Of an HTTP/2 connection the stream may be given up first.
        let told = scheme == "https" || reason.contains("no data for 1s (--idle-timeout)");
        assert!(told, "{scheme}: {reason}");
        let resumed = sent.json()[0]["resumed"].as_u64().unwrap_or(0);
        assert_eq!(resumed > 0, resumes(scheme), "{scheme}: {sent:?}");
        assert_same_bytes(&std::fs::read(server.dir().join("x")).unwrap(), &content);
    });
}

#[test]
fn a_receiver_stopped_for_longer_than_the_idle_timeout_finishes_over_every_protocol() {
    for_each_scheme(|scheme| {
        let server = Server::start(&["--idle-timeout", "1s"]);
        let content = noise(LARGE, 2);
        std::fs::write(server.dir().join("x"), &content).unwrap();
        let here = tempfile::tempdir().unwrap();
        let receiver = start_slow_get(&server.url(scheme, "x"), here.path());
        wait_for_partial(here.path());
        signal("STOP", receiver.id());
        let broken = server.next_event();
        signal("CONT", receiver.id());
        assert_eq!(broken["event"], "unsent", "{scheme}: {broken}");
        let got = receiver.outcome().succeeds().says("retrying in");
        assert!(got.json()[0]["offset"].as_u64().unwrap() > 0, "{scheme}: {got:?}");
        assert_same_bytes(&std::fs::read(here.path().join("x")).unwrap(), &content);
    });
}

#[test]
fn a_server_that_drains_or_is_killed_is_tried_again_over_every_protocol() {
    for_each_scheme(|scheme| {
        let served = tempfile::tempdir().unwrap();
        let flags = ["--drain-timeout", "200ms", "--fsync", "none"];
        let start = |address: &str| Server::start_in(served.path(), &[address], &flags);
        let mut server = start("127.0.0.1:0");
        let address = server.addresses()[0].to_string();
        let content = noise(LARGE, 3);
        let file = Sample::new("sent", &content);
        let sender = start_slow_send(&file, &server.url(scheme, ""));
        wait_for_partial(served.path());
        server.signal("TERM");
        server.wait();
        server = start(&address);
        sender.outcome().succeeds().says("retrying in");
        assert_same_bytes(&std::fs::read(served.path().join("sent")).unwrap(), &content);
        let here = tempfile::tempdir().unwrap();
        let receiver = start_slow_get(&server.url(scheme, "sent"), here.path());
        wait_for_partial(here.path());
        server.kill();
        let _server = start(&address);
        receiver.outcome().succeeds().says("retrying in");
        assert_same_bytes(&std::fs::read(here.path().join("sent")).unwrap(), &content);
    });
}

/// A server that was there a file ago is worth waiting for.
#[test]
fn a_server_that_restarts_between_two_files_gets_both_over_every_protocol() {
    for_each_scheme(|scheme| {
        let served = tempfile::tempdir().unwrap();
        let start = |address: &str| Server::start_in(served.path(), &[address], &[]);
        let mut server = start("127.0.0.1:0");
        let address = server.addresses()[0].to_string();
        let first = Sample::new("first", &noise(4_000_000, 11));
        let last = Sample::new("last", &noise(4_000_000, 12));
        let url = server.url(scheme, "");
        let arguments = [&["send"], &SLOW[..], &[first.path(), last.path(), &url]].concat();
        let mut command = anyport_command(&arguments);
        let mut sender = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = lines(sender.stderr.take().unwrap());
        assert_eq!(server.next_receipt()["path"], "first", "{scheme}");
        signal("STOP", sender.id());
        server.signal("TERM");
        server.says("stopping");
        // What has begun of the second file is not waited for.
        server.signal("TERM");
        server.wait();
        signal("CONT", sender.id());
        while !said.recv_timeout(DEADLINE).unwrap().contains("cannot connect") {}
        let _server = start(&address);
        assert!(sender.wait().unwrap().success(), "{scheme}");
        assert!(served.path().join("last").exists(), "{scheme}");
    });
}

/// The last error is that nobody listens, which is not what stopped the transfer.
#[test]
fn a_server_that_stays_away_is_a_lost_connection_over_every_protocol() {
    for_each_scheme(|scheme| {
        let mut server = Server::start(&[]);
        let file = Sample::new("x", &noise(LARGE, 4));
        let url = server.url(scheme, "");
        let few = ["send", "-k", "--limit-rate", "12MiB", "--retry", "1", file.path(), &url];
        let sender = Running::start(anyport_command(&few), None);
        wait_for_partial(server.dir());
        server.kill();
        sender.outcome().exits(KILLED.exit).says("lost after");
    });
}

#[test]
fn a_full_disk_is_the_same_refusal_over_every_protocol() {
    let Some(disk) = SmallDisk::mount() else { return };
    let file = Sample::new("x", &noise(6_000_000, 5));
    for scheme in SCHEMES {
        let server = Server::start_in(disk.path(), &["127.0.0.1:0"], &[]);
        let url = server.url(scheme, "");
        anyport(&["send", "-k", file.path(), &url]).exits(FULL.exit).says("are free");
    }
}

#[test]
fn a_quota_is_the_same_refusal_over_every_protocol() {
    for_each_scheme(|scheme| {
        let server = Server::start(&["--quota", "1MiB"]);
        let file = Sample::new("x", &noise(3_000_000, 6));
        let url = server.url(scheme, "");
        anyport(&["send", "-k", file.path(), &url]).exits(FULL.exit).says("(--quota)");
    });
}

#[test]
fn a_missing_token_is_the_same_refusal_over_every_protocol() {
    let tokens = Sample::new("tokens", b"alice alices-token-0123456789\n");
    std::fs::set_permissions(tokens.path(), PermissionsExt::from_mode(0o600)).unwrap();
    let server = Server::start(&["--token-file", tokens.path()]);
    let file = Sample::new("x", &noise(100_000, 7));
    for scheme in SCHEMES {
        let url = server.url(scheme, "x");
        let frames = scheme.starts_with("frames");
        for arguments in [&["send", "-k", file.path(), &url][..], &["get", "-k", &url]] {
            let refused = anyport(arguments).exits(TOKEN.exit);
            assert!(refused.stderr.contains("a token is required"), "{scheme}: {refused:?}");
            // Advice for the command line, and not how a token is written on the wire.
            let advice = "hint: give the token of this server with --token-file FILE";
            assert!(frames || refused.stderr.contains(advice), "{scheme}: {refused:?}");
        }
    }
}

#[test]
fn a_name_that_is_refused_stops_no_other_file_over_every_protocol() {
    for_each_scheme(|scheme| {
        let server = Server::start(&[]);
        let deep = "d/".repeat(40);
        let there = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(there.path().join("t").join(&deep)).unwrap();
        std::fs::write(there.path().join("t").join(&deep).join("deep"), "deep").unwrap();
        std::fs::write(there.path().join("t/z"), "fine").unwrap();
        let mut command = anyport_command(&["send", "-k", "t", &server.url(scheme, "")]);
        command.current_dir(there.path());
        // Of a name that no server takes the client does not ask.
        let sent = Running::start(command, None).outcome().exits(1);
        assert!(sent.stderr.contains("were not sent"), "{scheme}: {sent:?}");
        assert_eq!(std::fs::read(server.dir().join("t/z")).unwrap(), b"fine", "{scheme}");
    });
}

/// How a [`Relay`] breaks a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Fin,
    Reset,
    /// Nothing more is forwarded, and nothing is closed.
    Stall,
}

/// Whose bytes a [`Relay`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// Forwards connections to a server, and breaks the first one behind a number of bytes.
struct Relay {
    address: SocketAddr,
    broke: Arc<AtomicBool>,
}

impl Relay {
    fn start(server: &Server, side: Side, bytes: usize, how: How) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = server.addresses()[0];
        let broke = Arc::new(AtomicBool::new(false));
        let tell = broke.clone();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            for number in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                let Ok(server) = TcpStream::connect(upstream).await else { return };
                let limit = |of| (number == 0 && of == side).then_some(bytes);
                let limits = (limit(Side::Client), limit(Side::Server));
                let tell = tell.clone();
                tokio::spawn(async move { relay(client, server, limits, how, &tell).await });
            }
        };
        std::thread::spawn(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(serve);
        });
        Self { address, broke }
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}/{path}", self.address)
    }

    fn broke(&self) -> bool {
        self.broke.load(Ordering::Acquire)
    }
}

async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    limits: (Option<usize>, Option<usize>),
    how: How,
    broke: &AtomicBool,
) {
    let is_cut = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let up = forward(&mut from_client, &mut to_server, limits.0);
        let down = forward(&mut from_server, &mut to_client, limits.1);
        tokio::pin!(up, down);
        let (mut up_ended, mut down_ended, mut cut) = (false, false, false);
        while !(cut || up_ended && down_ended) {
            tokio::select! {
                limit = &mut up, if !up_ended => (up_ended, cut) = (true, limit),
                limit = &mut down, if !down_ended => (down_ended, cut) = (true, limit),
            }
        }
        cut
    };
    if !is_cut {
        return;
    }
    broke.store(true, Ordering::Release);
    for stream in [&mut client, &mut server] {
        match how {
            How::Reset => {
                socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            How::Stall => std::future::pending().await,
            How::Fin => {
                let _ = stream.shutdown().await;
                // Else unread bytes make a reset of it.
                let rest = async { while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {} };
                let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
            }
        }
    }
}

/// Copies until the end of the stream, or to the limit, which it returns.
async fn forward(
    reader: &mut (impl AsyncReadExt + Unpin),
    writer: &mut (impl AsyncWriteExt + Unpin),
    limit: Option<usize>,
) -> bool {
    let (mut left, mut buffer) = (limit.unwrap_or(usize::MAX), vec![0; 64 * 1024]);
    loop {
        let Ok(count @ 1..) = reader.read(&mut buffer).await else {
            let _ = writer.shutdown().await;
            return false;
        };
        let now = count.min(left);
        if writer.write_all(&buffer[..now]).await.is_err() {
            return false;
        }
        left -= now;
        if left == 0 {
            return true;
        }
    }
}

/// In the handshakes, in the answer lines, in the content.
const PLACES: [usize; 8] = [0, 1, 40, 150, 700, 1500, 2300, 150_000];

#[test]
fn a_connection_that_breaks_anywhere_while_a_file_is_sent_is_tried_again() {
    let content = noise(300_000, 8);
    for_each_scheme(|scheme| {
        let server = Server::start(&[]);
        for (number, bytes) in PLACES.into_iter().enumerate() {
            for side in [Side::Client, Side::Server] {
                let how = if number % 2 == 0 { How::Fin } else { How::Reset };
                let relay = Relay::start(&server, side, bytes, how);
                let name = format!("{number}-{side:?}");
                let file = Sample::new(&name, &content);
                let sent = anyport(&["send", "-k", file.path(), &relay.url(scheme, "")]);
                let what = format!("{scheme}, {bytes} bytes of {side:?}, {how:?}");
                assert_eq!(sent.code, Some(0), "{what}: {sent:#?}");
                let again = sent.stderr.contains("retrying in");
                // A reset behind the receipt changes nothing.
                assert!(again || !relay.broke() || sent.stdout.contains("stored"), "{what}");
                assert_same_bytes(&std::fs::read(server.dir().join(&name)).unwrap(), &content);
            }
        }
    });
}

#[test]
fn a_connection_that_breaks_anywhere_while_a_file_is_received_is_tried_again() {
    let content = noise(300_000, 9);
    for_each_scheme(|scheme| {
        let server = Server::start(&[]);
        std::fs::write(server.dir().join("x"), &content).unwrap();
        for (number, bytes) in PLACES.into_iter().enumerate() {
            for side in [Side::Client, Side::Server] {
                let how = if number % 2 == 0 { How::Reset } else { How::Fin };
                let relay = Relay::start(&server, side, bytes, how);
                let here = tempfile::tempdir().unwrap();
                let mut command = anyport_command(&["get", "-k", &relay.url(scheme, "x")]);
                command.current_dir(here.path());
                let got = Running::start(command, None).outcome();
                let what = format!("{scheme}, {bytes} bytes of {side:?}, {how:?}");
                assert_eq!(got.code, Some(0), "{what}: {got:#?}");
                assert_same_bytes(&std::fs::read(here.path().join("x")).unwrap(), &content);
            }
        }
    });
}

#[test]
fn a_server_that_falls_silent_is_tried_again_over_every_protocol() {
    let content = noise(300_000, 10);
    let impatient = ["-k", "--timeout", "1s", "--connect-timeout", "1s"];
    for_each_scheme(|scheme| {
        let server = Server::start(&[]);
        std::fs::write(server.dir().join("there"), &content).unwrap();
        // Of each side's bytes: in a handshake, in an answer, in the content.
        for (number, bytes) in [1, 150, 2300, 150_000].into_iter().enumerate() {
            let side = if number % 2 == 0 { Side::Server } else { Side::Client };
            let name = format!("{number}");
            let file = Sample::new(&name, &content);
            let relay = Relay::start(&server, side, bytes, How::Stall);
            let url = relay.url(scheme, "");
            let sent = anyport(&[&["send"], &impatient[..], &[file.path(), &url]].concat());
            let what = format!("{scheme}, {bytes} bytes of {side:?}");
            assert_eq!(sent.code, Some(0), "{what}: {sent:#?}");
            assert_same_bytes(&std::fs::read(server.dir().join(&name)).unwrap(), &content);
            let here = tempfile::tempdir().unwrap();
            let relay = Relay::start(&server, Side::Server, bytes, How::Stall);
            let url = relay.url(scheme, "there");
            let mut command = anyport_command(&[&["get"], &impatient[..], &[&url]].concat());
            command.current_dir(here.path());
            let got = Running::start(command, None).outcome();
            assert_eq!(got.code, Some(0), "{what}: {got:#?}");
            assert!(got.stderr.contains(SILENT.words) || !relay.broke(), "{what}: {got:#?}");
            assert_same_bytes(&std::fs::read(here.path().join("there")).unwrap(), &content);
        }
    });
}

/// A line that is cut may look whole.
#[test]
fn a_receipt_that_is_cut_is_no_receipt() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for end in ["", " end=size confirmed=true path=x\n"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; "content".len()];
            crate::wire::read_line(&mut stream);
            stream.read_exact(&mut asked).unwrap();
            crate::wire::read_line(&mut stream);
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
