//! What people see: receipts, listings, names, the progress bar, and the word on Ctrl-C.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use anyport_testkit::noise;

use anyport_testkit::harness::http::curl_says;
use anyport_testkit::harness::wire::{connect, converse};
use anyport_testkit::harness::{
    DEADLINE, Running, Sample, Server, anyport, anyport_command, blake3, lines, start, wait_until,
};

fn kill(signal: &str, pid: u32) {
    let kill = format!("kill -{signal} {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// Waits for a partial file in `directory` that has content.
fn growing_file_in(directory: &Path) {
    wait_until("a growing partial file", || {
        let entry = std::fs::read_dir(directory).unwrap().next()?.unwrap();
        (entry.metadata().ok()?.len() > 0).then_some(())
    });
}

#[test]
fn after_ctrl_c_the_same_command_resumes() {
    let content = noise(4_000_000, 1);
    let sample = Sample::new("x", &content);
    for scheme in ["tcp", "ws", "frames", "http"] {
        let server = Server::start(&[]);
        let url = server.url(scheme, "");
        let send = start(&["send", "--limit-rate", "2MB", sample.path(), &url]);
        server.growing_part();
        kill("INT", send.id());
        let outcome =
            send.outcome().exits(130).says("interrupted\nhint: run the same command again");
        let if_supported = "it resumes if the server supports resumable uploads";
        let hint = if scheme == "http" { if_supported } else { "again to resume" };
        let again = anyport(&["send", "--json", sample.path(), &url]).succeeds();
        let resumed = again.json()[0]["resumed"].as_u64().unwrap_or_default();
        assert!(resumed > 0, "{scheme}: {again:?}");
        outcome.says(hint);
        assert_eq!(server.published(), ["x"]);
    }
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("x"), &content).unwrap();
    for scheme in ["tcp", "ws", "frames", "http"] {
        let here = tempfile::tempdir().unwrap();
        let to = here.path().join("x");
        let url = server.url(scheme, "x");
        let get = ["get", "--json", "-o", to.to_str().unwrap(), &url];
        let slow = start(&[&get[..], &["--limit-rate", "2MB"]].concat());
        growing_file_in(here.path());
        kill("INT", slow.id());
        slow.outcome().exits(130).says("interrupted\nhint: run the same command again to resume");
        assert!(!to.exists());
        let again = anyport(&get).succeeds();
        assert!(again.json()[0]["offset"].as_u64().unwrap() > 0, "{scheme}: {again:?}");
        assert!(std::fs::read(&to).unwrap() == content);
    }
}

#[test]
fn lines_of_a_resumed_transfer_have_its_size_and_the_transferred_bytes() {
    let content = noise(4_000_000, 1);
    let sample = Sample::new("x", &content);
    let is_resumed = |line: &str| line.contains(": 4.00 MB (") && line.contains(" MB now) in ");
    for scheme in ["tcp", "ws", "frames"] {
        let server = Server::start(&[]);
        let url = server.url(scheme, "");
        let send = start(&["send", "--limit-rate", "2MB", sample.path(), &url]);
        server.growing_part();
        kill("INT", send.id());
        send.outcome().exits(130);
        let again = anyport(&["send", sample.path(), &url]).succeeds();
        assert!(is_resumed(&again.stdout), "{scheme}: {again:?}");
        let here = tempfile::tempdir().unwrap();
        let (to, from) = (here.path().join("x"), server.url(scheme, "x"));
        let get = ["get", "-o", to.to_str().unwrap(), &from];
        let slow = start(&[&get[..], &["--limit-rate", "2MB"]].concat());
        growing_file_in(here.path());
        kill("INT", slow.id());
        slow.outcome().exits(130);
        let again = anyport(&get).succeeds();
        assert!(is_resumed(&again.stdout), "{scheme}: {again:?}");
    }
}

#[test]
fn an_ignored_ctrl_c_stays_ignored_by_a_client() {
    let server = Server::start(&[]);
    let sample = Sample::new("x", &noise(2_000_000, 2));
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_anyport"), "send"]);
    command.args(["--limit-rate", "2MB", sample.path(), &server.url("tcp", "")]);
    let send = Running::start(command, None);
    server.growing_part();
    kill("INT", send.id());
    send.outcome().succeeds();
}

/// A terminal of 100 columns, and a program whose stderr it is.
fn on_a_terminal(mut command: Command) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&pty).unwrap();
    unlockpt(&pty).unwrap();
    let name = ptsname(&pty, Vec::new()).unwrap().into_string().unwrap();
    let terminal = File::options().read(true).write(true).open(name).unwrap();
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal, size).unwrap();
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::null()).stderr(terminal);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut pty = File::from(pty);
    let reading = std::thread::spawn(move || {
        let mut said = Vec::new();
        // The end of the last program on a terminal is an error to its reader.
        let _ = pty.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    assert!(wait_until("its end", || child.try_wait().unwrap()).success());
    reading.join().unwrap()
}

#[test]
fn the_progress_bar_has_the_name_the_per_cent_and_the_remaining_time() {
    let sample = Sample::new("holiday.mp4", &noise(2_000_000, 3));
    for scheme in ["tcp", "ws", "frames", "http"] {
        let server = Server::start(&[]);
        let (up, down) = (server.url(scheme, ""), server.url(scheme, "holiday.mp4"));
        let here = tempfile::tempdir().unwrap();
        let to = format!("{}/", here.path().display());
        let send = ["send", "--limit-rate", "2MB", sample.path(), &up];
        let get = ["get", "--limit-rate", "2MB", "-o", &to, &down];
        let shown = [on_a_terminal(anyport_command(&send)), on_a_terminal(anyport_command(&get))];
        for shown in shown {
            for words in ["holiday.mp4", " 50%", "ETA ", "/2.00 MB"] {
                let found = match words {
                    // Each per cent may be missed, and not all of them.
                    " 50%" => (30..70).any(|percent| shown.contains(&format!(" {percent}%"))),
                    words => shown.contains(words),
                };
                assert!(found, "{scheme}: no {words:?} in {shown:?}");
            }
        }
    }
}

#[test]
fn listings_for_people_are_in_local_time_with_its_zone() {
    let scratch = tempfile::tempdir().unwrap();
    let file = File::create(scratch.path().join("x")).unwrap();
    // 1994-11-06 08:49:37 in UTC.
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(784_111_777);
    file.set_modified(modified).unwrap();
    let mut command = anyport_command(&[]);
    command.env("TZ", "XYZ-5:30");
    let served = Server::start_as(command, &["127.0.0.1:0"], &[]);
    std::fs::copy(scratch.path().join("x"), served.dir().join("x")).unwrap();
    let copied = File::options().write(true).open(served.dir().join("x")).unwrap();
    copied.set_modified(modified).unwrap();
    let mut ls = anyport_command(&["ls", &served.url("tcp", "")]);
    ls.env("TZ", "XYZ4");
    let listed = Running::start(ls, None).outcome().succeeds().stdout;
    assert_eq!(listed, "             0  1994-11-06 04:49:37 -04:00  x\n");
    if let Some((listed, _)) = curl_says(&[&served.url("http", "")]) {
        assert_eq!(listed, "             0  1994-11-06 14:19:37 +05:30  x\n");
    }
    let json = anyport(&["ls", "--json", &served.url("tcp", "")]).succeeds().json();
    assert_eq!(json[0]["mtime"], 784_111_777, "{json:?}");
}

#[test]
fn generated_names_have_their_time_in_utc() {
    let server = Server::start(&[]);
    converse(&mut connect(server.port()), b"no name");
    let name = server.next_receipt()["path"].as_str().unwrap().to_owned();
    let (time, rest) = name.split_once("Z-raw-").unwrap_or_else(|| panic!("{name}"));
    assert!(time.len() == 15 && time.as_bytes()[8] == b'-' && rest.ends_with(".bin"), "{name}");
}

/// Lines of a server for people, and of a client, about one file.
fn receipts(flags: &[&str], name: &str, protocol: &str) -> Vec<String> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().to_str().unwrap();
    let serve = ["serve", path, "--bind", "[::1]:0", "--control", "none"];
    let mut command = anyport_command(&[&serve[..], flags].concat());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stderr = lines(child.stderr.take().unwrap());
    let said = lines(child.stdout.take().unwrap());
    let address = wait_until("the address", || {
        let line = stderr.try_recv().ok()?;
        line.trim().strip_prefix("listening on ").map(str::to_owned)
    });
    let sample = Sample::new(name, b"content");
    let url = format!("{protocol}://{address}/d/");
    let url = if protocol == "ws" { format!("ws://{address}/files/d/") } else { url };
    let send = anyport(&[&["send", sample.path(), &url], flags].concat()).succeeds();
    let here = format!("{}/", scratch.path().display());
    let from = format!("{url}{}", percent_encoded(name));
    let get = anyport(&[&["get", &from, "-o", &here], flags].concat()).succeeds();
    let mut reported = vec![send.stdout.trim_end().to_owned(), get.stdout.trim_end().to_owned()];
    reported.extend((0..2).map(|_| said.recv_timeout(DEADLINE).unwrap()));
    child.kill().unwrap();
    child.wait().unwrap();
    reported
}

fn percent_encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn a_receipt_in_a_pipe_is_one_line_with_its_name_and_eight_digits_of_the_digest() {
    let digest = blake3(b"content");
    let (short, all) = digest.split_at("blake3:".len() + 8);
    let long = format!("{}-{}.jpg", "long".repeat(50), "漢".repeat(10));
    for protocol in ["tcp", "ws", "frames", "http"] {
        for name in ["photo.jpg", &long] {
            for line in receipts(&[], name, protocol) {
                assert!(line.contains(name) && !line.contains('\n'), "{line}");
                assert!(!line.contains(all), "{line}");
                // Over HTTP the kernel sends a file without hashing.
                let is_hashed = !line.contains(" sent: ") || protocol != "http";
                assert_eq!(line.contains(short), is_hashed, "{line}");
            }
            for line in receipts(&["-v"], name, protocol) {
                let is_hashed = !line.contains(" sent ") || protocol != "http";
                assert!(line.contains(&digest) == is_hashed && line.contains(name), "{line}");
            }
        }
    }
}
