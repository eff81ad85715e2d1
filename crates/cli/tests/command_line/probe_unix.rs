//! `anyport probe` of a Unix socket: what its program speaks, and why it does not work.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::thread;

use anyport_testkit::harness::probe::{GREETED, PATIENT, event, events, probe, probes, result};
use anyport_testkit::harness::{Running, Server, anyport_command};

fn url(path: &Path) -> String {
    format!("unix:{}", path.display())
}

#[test]
fn an_anyport_server_on_a_unix_socket_is_probed_as_on_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("a.sock");
    let url = url(&socket);
    let server = Server::start_on(&[&url], &[]);
    let events = events(&url, &PATIENT, 0);
    let address = event(&events, "event", "address");
    assert_eq!((&address["address"], &address["outcome"]), (&(*url).into(), &"silent".into()));
    assert!(address["rtt_us"].is_null() && address["path_mtu"].is_null(), "{address}");
    assert!(events.iter().all(|event| event["event"] != "resolved"), "{events:#?}");
    assert!(probes(&events).contains(&"tls-1.3"));
    let speaks = r#"["anyport","http","http2","websocket","tls","raw","frames"]"#;
    assert_eq!(result(&events)["speaks"].to_string(), speaks);
    assert_eq!(result(&events)["address"], url);
    let text = probe(&url, &PATIENT).succeeds().stdout;
    assert!(text.contains(&format!("{url} is anyport ")), "{text}");
    assert!(text.ends_with(&format!("hint: use anyport send FILE {url}\n")), "{text}");
    assert!(!text.contains("RTT"), "{text}");
    let socket = socket.display().to_string();
    let text = probe("ws://localhost/", &[&PATIENT[..], &["--unix-socket", &socket]].concat());
    assert!(text.succeeds().stdout.contains(&format!("{url} is anyport ")));
    assert_eq!(server.published(), [""; 0], "a probe stores nothing");
}

#[test]
fn a_program_that_speaks_first_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ssh.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
        }
    });
    let text = probe(&url(&path), &GREETED).succeeds().stdout;
    assert!(text.contains(&format!("{} is an SSH server.", url(&path))), "{text}");
    assert!(text.contains(&format!("anyport cat {}", url(&path))), "no port for ssh -p: {text}");
}

#[test]
fn a_socket_that_accepts_no_connection_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    drop(UnixListener::bind(path("left")).unwrap());
    fs::write(path("file"), "").unwrap();
    let _datagram = UnixDatagram::bind(path("datagram")).unwrap();
    for (name, outcome, line, sentence) in [
        ("left", "refused", "the program that made this socket has ended", "Nothing listens on"),
        ("none", "no-file", "no such file", "There is no file"),
        ("file/x", "no-file", "no such file", "There is no file"),
        ("file", "not-a-socket", "not a socket", "is not a socket."),
        ("datagram", "failed", "a socket of another type than stream", "cannot be connected to"),
    ] {
        let url = url(&path(name));
        let events = events(&url, &[], 3);
        assert_eq!(event(&events, "event", "address")["outcome"], outcome, "{name}");
        let text = probe(&url, &[]).exits(3).stdout;
        assert!(text.contains(line) && text.contains(sentence), "{name}: {text}");
        assert!(text.contains("hint: "), "{text}");
    }
}

/// Root may connect to every socket, so another user does it.
#[test]
fn a_socket_for_other_users_says_that_the_permission_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("private");
    let _listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = anyport_command(&["probe", &url(&path)]);
    if rustix::process::geteuid().is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    } else {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let text = Running::start(command, None).outcome().exits(3).stdout;
    assert!(text.contains("permission denied: the socket, or its directory"), "{text}");
    assert!(text.contains("This user may not connect to unix:"), "{text}");
}
