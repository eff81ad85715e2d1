//! What `serve` prints at its start is true for its flags: each command is run as it is printed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use anyport_testkit::harness::tokens::{ALICE, both, token_file};
use anyport_testkit::harness::{DEADLINE, Running, Sample, anyport_command, has_ipv6, lines, peer};

/// A server without `--json`, killed when dropped.
struct Announced {
    child: Child,
    directory: tempfile::TempDir,
    said: String,
    stderr: Receiver<String>,
}

impl Announced {
    fn start(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = anyport_command(&["serve", "--control", "none"])
            .args(flags)
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = lines(child.stderr.take().unwrap());
        let mut server = Self { child, directory, said: String::new(), stderr };
        let is_last = |line: &str| {
            ["reachable from this machine only", "OPEN", "TOKENS"]
                .iter()
                .any(|last| line.starts_with(last))
        };
        loop {
            let line = server.stderr.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("only {}", server.said));
            server.said.push_str(&format!("{line}\n"));
            if is_last(&line) {
                return server;
            }
        }
    }

    /// What is printed to be tried.
    fn commands(&self) -> Vec<String> {
        let behind = self.said.lines().skip_while(|line| !line.starts_with("try,"));
        let commands = behind.skip(1).map_while(|line| line.strip_prefix("  "));
        commands.map(str::to_owned).collect()
    }

    /// Runs a printed command with a file; false where its program is not installed.
    fn runs(&self, command: &str, number: usize) -> bool {
        let program = command.split(' ').next().unwrap();
        if program != "anyport" && peer(program).is_none() {
            return false;
        }
        let content = format!("by {command}\n");
        let sample = Sample::new(&format!("sample{number}"), content.as_bytes());
        let token = token_file(ALICE);
        let filled = command
            .replace("TOKENFILE", token.path())
            .replace("TOKEN", ALICE)
            .replace("HOST", "127.0.0.1")
            .replace("NAME", &format!("name{number}"))
            .replace("FILE", sample.path());
        let own = Path::new(env!("CARGO_BIN_EXE_anyport")).parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell.args(["-c", &filled]).env("PATH", format!("{}:{path}", own.display()));
        shell.env("XDG_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR"));
        let outcome = Running::start(shell, None).outcome();
        assert_eq!(outcome.code, Some(0), "{filled}: {outcome:?}\n{}", self.said);
        let stored = std::fs::read_dir(self.directory.path()).unwrap().any(|entry| {
            std::fs::read(entry.unwrap().path()).is_ok_and(|found| found == content.as_bytes())
        });
        assert!(stored, "nothing stored by {filled}: {outcome:?}\n{}", self.said);
        true
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn each_printed_command_works_as_it_is_printed() {
    let file = both();
    let tokens = ["--token-file", file.path()];
    let here = ["--bind", "127.0.0.1:0"];
    let wide = ["--bind", "0.0.0.0:0", "--open"];
    let (all, ws_only) = (&["nc", "curl", "websocat", "anyport"][..], &["websocat", "anyport"][..]);
    let mut combinations: Vec<(Vec<&str>, &[&str])> = vec![
        (here.to_vec(), all),
        (wide.to_vec(), all),
        ([&here[..], &["--tls", "off"]].concat(), all),
        ([&here[..], &["--engine", "library"]].concat(), all),
        ([&here[..], &["--tls", "required"]].concat(), &["curl", "websocat", "anyport"]),
        ([&wide[..], &["--tls", "required"]].concat(), &["curl", "websocat", "anyport"]),
        ([&here[..], &["--only", "tls"]].concat(), &["curl", "websocat", "anyport"]),
        ([&here[..], &["--only", "raw"]].concat(), &["nc", "anyport"]),
        ([&here[..], &["--upload-only"]].concat(), all),
        ([&here[..], &["--only", "http"]].concat(), &["curl", "anyport"]),
        ([&here[..], &["--only", "http,tls", "--tls", "required"]].concat(), &["curl", "anyport"]),
        ([&here[..], &["--only", "ws"]].concat(), ws_only),
        ([&here[..], &["--only", "frames"]].concat(), &["anyport"]),
        ([&here[..], &["--no-detect"]].concat(), &["nc", "anyport"]),
        ([&here[..], &tokens].concat(), &["curl", "websocat", "anyport"]),
        ([&here[..], &tokens, &["--only", "ws"]].concat(), ws_only),
        ([&here[..], &tokens, &["--only", "frames"]].concat(), &[]),
        ([&here[..], &tokens, &["--tls", "required"]].concat(), &["curl", "anyport"]),
        // Beyond this machine no command shows a token in clear text.
        (["--bind", "0.0.0.0:0"].into_iter().chain(tokens).collect(), &["curl", "anyport"]),
    ];
    if has_ipv6() {
        combinations.push((vec!["--bind", "[::1]:0"], all));
        let required = vec!["--bind", "[::1]:0", "--tls", "required"];
        combinations.push((required, &["curl", "anyport"]));
    }
    let mut number = 0;
    for (flags, programs) in combinations {
        let server = Announced::start(&flags);
        let commands = server.commands();
        let printed: Vec<_> =
            commands.iter().map(|command| command.split(' ').next().unwrap()).collect();
        assert_eq!(printed, programs, "{flags:?}\n{}", server.said);
        for command in &commands {
            number += 1;
            server.runs(command, number);
        }
        let note = server.said.contains("BusyBox");
        assert_eq!(note, programs.contains(&"nc"), "{}", server.said);
    }
}

#[test]
fn a_read_only_server_prints_how_to_download() {
    for (flags, scheme) in
        [(&[][..], "tcp"), (&["--tls", "required"], "tls"), (&["--only", "ws"], "ws")]
    {
        let server = Announced::start(&[&["--bind", "127.0.0.1:0", "--read-only"], flags].concat());
        std::fs::write(server.directory.path().join("kept"), "content").unwrap();
        let commands = server.commands();
        let (get, others) = commands.split_last().unwrap();
        assert!(others.iter().all(|command| command.starts_with("curl ")), "{}", server.said);
        assert!(!server.said.contains("FILE"), "{}", server.said);
        let arguments = get.replace("NAME", "kept");
        let arguments: Vec<_> = arguments.split(' ').skip(1).chain(["-o", "-"]).collect();
        assert!(get.contains(&format!("{scheme}://")), "{get}");
        let got = anyport_testkit::harness::anyport(&arguments).succeeds();
        assert_eq!(got.stdout, "content", "{get}");
    }
}

#[test]
fn busybox_sends_without_the_flag_that_it_does_not_have() {
    let Some(mut busybox) = peer("busybox") else { return };
    if !busybox.arg("nc").output().is_ok_and(|said| said.stderr.starts_with(b"BusyBox")) {
        return anyport_testkit::harness::skip("no nc in busybox");
    }
    let server = Announced::start(&["--bind", "127.0.0.1:0"]);
    assert!(server.said.contains("leave out -N for BusyBox nc and ncat"), "{}", server.said);
    let commands = server.commands();
    let nc = commands[0].strip_prefix("nc -N ").unwrap();
    server.runs(&format!("busybox nc {nc}"), 1);
}

#[test]
fn the_announcement_names_the_url_for_a_browser() {
    let file = both();
    for (flags, scheme) in [
        (&[][..], Some("http")),
        (&["--tls", "required"], Some("https")),
        (&["--only", "tls"], Some("https")),
        (&["--token-file", file.path()], Some("http")),
        (&["--only", "raw"], None),
        (&["--no-detect"], None),
        (&["--upload-only"], None),
        (&["--read-only"], Some("http")),
    ] {
        let server = Announced::start(&[&["--bind", "127.0.0.1:0"], flags].concat());
        let url = server
            .said
            .lines()
            .find_map(|line| line.strip_prefix("or open ")?.strip_suffix(" in a browser"));
        let Some(scheme) = scheme else {
            assert_eq!(url, None, "{}", server.said);
            continue;
        };
        let url = url.unwrap_or_else(|| panic!("no URL in\n{}", server.said));
        assert!(url.starts_with(&format!("{scheme}://127.0.0.1:")), "{url}");
        let user = format!(":{ALICE}");
        let arguments = ["-sk", "-u", &user, "-H", "Accept: text/html", url];
        let Some((page, status)) = anyport_testkit::harness::http::curl_says(&arguments) else {
            continue;
        };
        assert!(status == 200 && page.contains("<html"), "{url}: {status} {page}");
    }
}
