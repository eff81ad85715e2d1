//! Values and arguments that cannot work: the error names what was typed and a way out.

use std::net::TcpListener;
use std::process::Command;

use anyport_testkit::harness::anyport_with_input;
use anyport_testkit::harness::tokens::ask;
use anyport_testkit::harness::{Running, Sample, Server, anyport, anyport_command};

#[test]
fn an_address_in_place_of_the_directory_is_refused_and_creates_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    for (typed, bind) in [("9000", "9000"), (":9000", "9000"), ("0.0.0.0:9000", "0.0.0.0:9000")] {
        let mut command = anyport_command(&["serve", typed, "--bind", "127.0.0.1:0"]);
        command.current_dir(scratch.path());
        let refused = Running::start(command, None).outcome().exits(2);
        refused.says("looks like an address").says(&format!("--bind {bind}; for a directory: ./"));
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    let file = scratch.path().join("anyport.toml");
    std::fs::write(&file, "directory = \"9000\"\n").unwrap();
    anyport(&["config", "check", file.to_str().unwrap()]).exits(2).says("looks like an address");
}

#[test]
fn an_address_that_cannot_be_bound_is_quoted_with_one_that_can() {
    for (bind, words) in [
        ("*:8080", "--bind 0.0.0.0:8080"),
        ("*", "--bind 0.0.0.0"),
        ("tcp://127.0.0.1:80", "--bind takes no scheme"),
        ("tcp://127.0.0.1:80", "use --bind 127.0.0.1:80"),
        ("echo://127.0.0.1:7", "use --listen echo://127.0.0.1:7"),
    ] {
        anyport(&["serve", "--bind", bind]).exits(2).says(bind).says(words);
    }
    let twice = ["serve", "--bind", "127.0.0.1:1", "--bind", "127.0.0.1:1"];
    anyport(&twice).exits(2).says("127.0.0.1:1 is given twice");
}

#[test]
fn a_setting_that_admits_no_client_is_refused_and_one_without_effect_is_reported() {
    anyport(&["serve", "--tls", "off", "--only", "tls"]).exits(2).says("leave out --tls off");
    for flag in [
        "--max-size",
        "--quota",
        "--max-memory",
        "--max-partial-bytes",
        "--max-buffered",
        "--limit-rate",
    ] {
        anyport(&["serve", flag, "0"]).exits(2).says("must be greater than zero");
    }
    anyport(&["serve", "--max-entries", "0"]).exits(2).says("expected a number from 1 to");
    anyport(&["serve", "--port", "99999"]).exits(2).says("expected a number from 0 to 65535");
    let server = Server::start(&["--open"]);
    server.says("warning: --open has no effect: all addresses are loopback");
    server.says("hint: add --bind 0.0.0.0");
}

#[test]
fn no_hidden_flag_or_command_is_suggested() {
    let tip = anyport(&["serve", "--conversation-thread", "2"]).exits(2);
    assert!(!tip.stderr.contains("conversation-threads"), "{tip:?}");
    anyport(&["serve", "--max-con", "2"]).exits(2).says("'--max-conns'");
    let missing = anyport(&["bench-pee"]).exits(2);
    assert!(!missing.stderr.contains("bench-peer"), "{missing:?}");
    let tip = anyport(&["send", "-r", "d", "h"]).exits(2).says("without a flag");
    assert!(!tip.stderr.contains("-- -r"), "{tip:?}");
}

#[test]
fn a_path_has_no_query_and_cat_over_tcp_has_no_path() {
    let sample = Sample::new("x", b"content");
    for (path, hint) in [("x?y", "%3F"), ("x#y", "%23")] {
        for scheme in ["", "ws://", "frames://"] {
            let url = format!("{scheme}localhost:1/{path}");
            let outcome = anyport(&["send", sample.path(), &url]).exits(2);
            outcome.says("is not allowed in a path").says(hint);
        }
    }
    anyport(&["cat", "tcp://h:1/echo"]).exits(2).says("use ws://h:1/echo");
    anyport(&["cat", "udp://h:1/echo"]).exits(2).says("leave out the path");
}

#[test]
fn a_missing_file_and_an_argument_in_the_wrong_place_get_a_hint() {
    let server = Server::start(&[]);
    for scheme in ["tcp", "ws", "http"] {
        let url = server.url(scheme, "nosuch");
        let outcome = anyport(&["get", &url]).exits(4).says("no such file or directory: nosuch");
        let top = server.url(scheme, "");
        assert!(outcome.stderr.ends_with(&format!("with anyport ls {top}\n")), "{outcome:?}");
    }
    let metrics = ask(&server, "GET /metrics HTTP/1.0\r\n\r\n");
    assert!(metrics.contains("the server's owner can enable it with --metrics"), "{metrics}");
    let sample = Sample::new("out.invalid", b"content");
    let (url, there) = (server.url("tcp", "nosuch"), server.url("tcp", "d"));
    anyport(&["get", &url, "out.invalid"]).says("hint: to write to out.invalid use -o out.invalid");
    let send = ["send", sample.path(), "host.invalid", "--retry", "0"];
    anyport(&send).exits(3).says("hint: the last argument is the URL of the server");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("f"), "f").unwrap();
    let directory = directory.path().to_str().unwrap();
    anyport(&["send", directory, &there])
        .exits(2)
        .says("is a directory")
        .says("end the URL with /");
    let http = server.url("http", "taken");
    let other = Sample::new("other", b"other content");
    anyport(&["send", sample.path(), &http]).succeeds();
    anyport(&["send", other.path(), &http]).exits(4).says("over tcp:// with --on-exists rename");
}

#[test]
fn a_host_and_a_port_apart_are_refused_before_anything_is_sent() {
    let server = Server::start(&[]);
    let sample = Sample::new("f", b"content");
    let port = server.port().to_string();
    let one = format!("localhost:{port}");
    let path = sample.path();
    let send = anyport(&["send", path, "localhost", &port]).exits(2);
    send.says("there is no file localhost")
        .says(&format!("hint: if localhost is the server, host and port are one argument: {one}"));
    let send = anyport(&["send", "-p", &port, path, "localhost"]).exits(2);
    send.says(&format!("there is no file {port}")).says("-p keeps permissions").says(&one);
    anyport(&["cat", "localhost", &port]).exits(2).says("tip:").says(&one);
    anyport(&["ls", "localhost", &port]).exits(2).says("tip:").says(&one);
    anyport(&["get", "localhost", &port]).exits(2).says("are two servers").says(&one);
    assert_eq!(server.published(), [""; 0]);
    // A port alone stays a server of this machine.
    anyport(&["send", path, &port]).succeeds();
    let stdin = Running::start(anyport_command(&["send", "-", &port]), Some(b"input".to_vec()));
    stdin.outcome().succeeds();
}

#[test]
fn a_target_as_scp_and_rsync_have_it_gets_a_hint() {
    let sample = Sample::new("f", b"content");
    let send = |target: &str| anyport(&["send", sample.path(), target]).exits(2);
    send("h:/tmp/x")
        .says("has a colon, but no port")
        .says("hint: a path follows a slash: HOST/PATH");
    send("h:tmp").says("hint: a path follows a slash: HOST/PATH");
    send("root@h:/tmp/x").says("hint: leave out all up to the @; a token goes into");
}

#[test]
fn a_server_that_requires_tls_is_named_with_the_scheme_that_works() {
    let server = Server::start(&["--tls", "required"]);
    let sample = Sample::new("f", b"content");
    for (scheme, encrypted) in
        [("tcp", "tls"), ("ws", "wss"), ("frames", "frames+tls"), ("http", "https")]
    {
        let url = server.url(scheme, "f");
        let hint = format!("hint: use {encrypted}://");
        anyport(&["send", sample.path(), &url]).exits(4).says(&hint);
        anyport(&["get", &url]).exits(4).says(&hint);
    }
}

#[test]
fn a_shell_pattern_is_not_expanded_and_the_hint_explains_it() {
    let server = Server::start(&[]);
    for scheme in ["tcp", "ws", "http"] {
        for command in ["ls", "get"] {
            let outcome = anyport(&[command, &server.url(scheme, "x/*.txt")]).exits(4);
            outcome.says("hint: a server does not expand patterns");
        }
    }
}

#[test]
fn a_hint_for_the_operator_is_marked_for_clients() {
    let server = Server::start(&[]);
    std::fs::write(server.dir().join("f"), "old").unwrap();
    let sample = Sample::new("f", b"content");
    let overwrite = ["send", "--on-exists", "overwrite", sample.path(), &server.url("tcp", "f")];
    anyport(&overwrite).exits(4).says("hint: only the server's owner can allow it (anyport serve");
    let missing = ask(&server, "GET /nosuch HTTP/1.0\r\n\r\n");
    assert!(missing.contains("hint: list the files with anyport ls, curl http://"), "{missing}");
}

#[test]
fn a_wrong_file_is_reported_with_the_flag_or_argument_that_names_it() {
    let sample = Sample::new("f.txt", b"content");
    let file = sample.path();
    for (flags, words) in [
        (&["--tls-cert", "nofile"][..], "cannot use --tls-cert: nofile: No such file"),
        (&["--tls-cert", file, "--tls-key", "nofile"], "cannot use --tls-"),
        (&["--tls-client-ca", "nofile"], "cannot use --tls-client-ca: nofile: No such file"),
    ] {
        anyport(&[&["serve"], flags].concat()).exits(2).says(words);
    }
    for flag in ["--cert", "--cacert"] {
        let words = format!("cannot use {flag}: nofile: No such file");
        anyport(&["get", flag, "nofile", "tls://localhost:1/f"]).exits(2).says(&words);
    }
    let serve = anyport(&["serve", file, "--port", "0"]).exits(1);
    serve
        .says("is a file, DIR must be a directory")
        .says(&format!("hint: to send it: anyport send {file} HOST"));
    let listen = anyport(&["serve", "--listen", "0.0.0.0:9000"]).exits(2);
    listen.says("expected SERVICE://ADDR").says("for files: --bind 0.0.0.0:9000");
    anyport(&["serve", "--listen", "tcp://:9000"]).exits(2).says("any accepts files");
}

#[test]
fn a_rate_in_bits_is_refused_and_the_bytes_are_named() {
    for command in [&["send", "f", "h"][..], &["get", "h/f"], &["serve"]] {
        let outcome = anyport(&[command, &["--limit-rate", "10Mb"]].concat()).exits(2);
        outcome.says("the unit is bytes per second, not bits: write 1250kB for 10 Mbit/s");
    }
}

#[test]
fn a_flag_that_promises_protection_is_refused_without_tls() {
    let server = Server::start(&[]);
    let sample = Sample::new("f", b"content");
    let pin = "0".repeat(64);
    for scheme in ["tcp", "ws", "frames", "http"] {
        let (url, room) = (server.url(scheme, "f"), server.url(scheme, "rooms/r"));
        let pipe = ["--pipe", "k"];
        for command in [
            &["send", sample.path(), &url][..],
            &["get", &url],
            &["ls", &url],
            &["chat", &room],
            &["cat", &url],
            &[&["send", sample.path(), &url][..], &pipe].concat(),
            &[&["get", &url][..], &pipe].concat(),
        ] {
            for (flag, value) in
                [("--pin", &*pin), ("--cacert", sample.path()), ("--cert", sample.path())]
            {
                let outcome = anyport(&[command, &[flag, value]].concat()).exits(2);
                if !command.contains(&"--pipe") {
                    outcome.says(&format!("{flag} has no effect on ")).says("hint: use ");
                }
            }
        }
        let insecure = anyport(&["send", "-k", sample.path(), &url, "--on-exists", "error"]);
        insecure.says("warning: -k has no effect on ");
    }
    anyport(&["cat", "udp://localhost:1", "--pin", &pin]).exits(2).says("--pin has no effect");
    let both = ["get", &server.url("tls", "f"), &server.url("tcp", "f"), "--pin", &pin];
    anyport(&both).exits(2).says(&format!("hint: use {}", server.url("tls", "f")));
    assert_eq!(server.published(), ["f"]);
}

#[test]
fn an_argument_of_stop_status_and_reload_gets_the_flag_that_selects_a_server() {
    for command in ["stop", "status", "reload"] {
        let outcome = anyport(&[command, "36311"]).exits(2);
        outcome.says("tip: --control PATH selects a server; anyport status shows the paths");
    }
}

#[test]
fn a_port_that_is_none_is_explained_in_urls_and_addresses() {
    let sample = Sample::new("f", b"content");
    let service = anyport(&["send", sample.path(), "localhost:http"]).exits(2);
    service.says("hint: names of services are not accepted: write the number of the port");
    let high = anyport(&["send", sample.path(), "localhost:99999"]).exits(2);
    let high = high.says("from 1 to 65535");
    assert!(high.stderr.ends_with("HOST:PORT\n"), "{high:?}");
    for bind in ["::1:36408", "[::1:36408]"] {
        let words = "hint: write an IPv6 address with a port as [ADDRESS]:PORT";
        anyport(&["serve", "--bind", bind]).exits(2).says(words);
        anyport(&["serve", "--listen", &format!("echo://{bind}")]).exits(2).says(words);
    }
    anyport(&["serve", "--bind", "localhost:abc"]).exits(2).says("\"abc\" is not a port");
    anyport(&["serve", "--bind", "localhost:99999"]).exits(2).says("\"99999\" is not a port");
}

#[test]
fn a_pipe_names_the_scheme_or_the_file_that_it_cannot_use() {
    let sample = Sample::new("f", b"content");
    let http = anyport(&["send", sample.path(), "http://localhost:1", "--pipe", "k"]).exits(2);
    http.says("pipes are not supported over http://").says("hint: use tcp://localhost:1/");
    let get = anyport(&["get", "wss://localhost:1", "--pipe", "k"]).exits(2);
    get.says("pipes are not supported over wss://").says("hint: use tls://localhost:1/");
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_str().unwrap();
    let send = anyport(&["send", directory, "localhost:1", "--pipe", "k"]).exits(2);
    send.says("is a directory").says(&format!("hint: tar c {directory} | anyport send - "));
}

#[test]
fn a_fraction_is_refused_with_a_whole_number() {
    for (flag, value) in [("--max-size", "1.5G"), ("--limit-rate", "1.5M"), ("--quota", ".5GB")] {
        let outcome = anyport(&["serve", flag, value]).exits(2);
        outcome.says("expected a whole number, such as 1500MB in place of 1.5GB");
    }
}

#[test]
fn resolve_refuses_a_url_and_notes_a_port_apart() {
    anyport(&["resolve", "http://localhost/"]).exits(2).says("is a URL").says("write localhost");
    let apart = anyport(&["resolve", "127.0.0.1", "80"]);
    apart.says("note: 80 is resolved as a name; for a port write 127.0.0.1:80");
    anyport(&["resolve", "-p", "80", "localhost"]).exits(2).says("tip: the port is a part");
}

#[test]
fn a_listener_with_only_names_what_it_accepts_to_every_other_protocol() {
    let server = Server::start(&["--only", "ws"]);
    let sample = Sample::new("f", b"content");
    let words = "only ws is accepted (--only); use ws://HOST:PORT/";
    for scheme in ["tcp", "http"] {
        anyport(&["send", sample.path(), &server.url(scheme, "f")]).exits(4).says(words);
        anyport(&["get", &server.url(scheme, "f")]).exits(4).says(words);
    }
    assert!(ask(&server, "hello\n").contains(words));
    assert!(ask(&server, "GET / HTTP/1.0\r\n\r\n").contains(words));
    anyport(&["send", sample.path(), &server.url("ws", "f")]).succeeds();
    let frames = Server::start(&["--only", "frames,tls"]);
    let words = "only frames, tls are accepted (--only); use frames://HOST:PORT/";
    anyport(&["send", sample.path(), &frames.url("tcp", "f")]).exits(4).says(words);
    assert!(ask(&frames, "GET / HTTP/1.0\r\n\r\n").contains(words));
    assert_eq!(frames.published(), [""; 0]);
}

#[test]
fn a_server_that_does_not_answer_is_reported_with_the_limit_that_passed() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let sample = Sample::new("f", b"content");
    let limits = ["--connect-timeout", "300ms", "--retry", "0", "--timeout", "300ms"];
    let send = |scheme: &str| {
        let url = format!("{scheme}://{address}/f");
        anyport(&[&["send", sample.path(), &url][..], &limits].concat()).exits(6)
    };
    let words = "handshake for too long (--connect-timeout)";
    send("tls").says(&format!("to the TLS {words}")).says("hint: check that");
    send("ws").says(&format!("to the WebSocket {words}")).says("hint: check that");
    send("tcp").says("(--timeout)").says("no receipt: is this an anyport server?").says("--plain");
    let url = format!("tcp://{address}");
    let ls = ["ls", &url, "--timeout", "300ms"];
    let ls = anyport(&ls).exits(6).says("hint: no answer: is this an anyport server?");
    assert!(!ls.stderr.contains("partial file"), "{ls:?}");
}

#[test]
fn a_page_in_place_of_a_websocket_is_not_quoted() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut client, _) = server.accept().unwrap();
        let _ = client.read(&mut [0; 4096]);
        let page = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<!DOCTYPE html>";
        client.write_all(page.as_bytes()).unwrap();
    });
    let outcome = anyport(&["cat", &format!("ws://{address}/")]).exits(4);
    outcome
        .says("the server answered 200 OK instead of a WebSocket upgrade")
        .says("hint: no WebSocket at this path; for files try http://");
}

#[test]
fn frames_that_a_server_refuses_get_a_whole_hint_or_none() {
    let server = Server::start(&[]);
    let text = anyport_with_input(&["cat", &server.url("frames", "")], b"hello\n").exits(4);
    assert!(!text.stderr.contains(r#"{"offer""#), "{text:?}");
    let (tokens, _file) = anyport_testkit::harness::tokens::guarded(&[]);
    let sample = Sample::new("f", b"content");
    let send = anyport(&["send", sample.path(), &tokens.url("frames", "f")]).exits(4);
    send.says("hint: frames:// cannot carry a token: use ws:// or tcp:// with --token-file FILE");
}

#[test]
fn cat_reports_that_a_server_has_stored_its_input() {
    let server = Server::start(&[]);
    let cat = anyport_with_input(&["cat", &server.url("ws", "kept")], b"hello\n").succeeds();
    cat.says("note: the server closed with: whole 5 ");
    assert_eq!(server.published(), ["kept"]);
}

#[test]
fn arguments_in_the_wrong_order_or_of_another_kind_get_the_right_form() {
    let server = Server::start(&[]);
    std::fs::create_dir(server.dir().join("d")).unwrap();
    let sample = Sample::new("f", b"content");
    let (file, url) = (sample.path(), server.url("tcp", "f"));
    let swapped = anyport(&["send", &url, file]).exits(2);
    swapped.says(&format!("hint: the URL comes last: anyport send {file} {url}"));
    let there = server.url("tcp", "d");
    let into = anyport(&["send", file, &there]).exits(4);
    into.says(&format!("hint: end the URL with / to store it in the directory: {there}/"));
    anyport(&["get", &url, "/tmp"]).exits(2).says("hint: to write to /tmp use -o /tmp");
    anyport(&["send", file, "./x"]).exits(2).says("\"./x\" has no host");
    anyport(&["cat", file]).says("to print a file use cat");
    let missing = ["serve", "--port", "0", "nosuch.invalid", "--read-only"];
    anyport(&missing).says("--read-only does not create DIR");
    let missing = anyport(&["serve", "--token-file", "none.invalid"]).exits(2);
    missing.says("hint: create it: (umask 077; anyport token > none.invalid)");
    anyport(&["serve", "-c", "none.toml"]).exits(2).says("anyport config example > FILE");
}

#[test]
fn a_receipt_in_a_file_has_the_whole_name() {
    let server = Server::start(&[]);
    let name = format!("{}.txt", "n".repeat(150));
    let sample = Sample::new("f", b"content");
    let sent = anyport(&["send", sample.path(), &server.url("tcp", &name)]).succeeds();
    assert!(sent.stdout.starts_with(&name), "{sent:?}");
    let got = tempfile::tempdir().unwrap();
    let mut command: Command = anyport_command(&["get", &server.url("tcp", &name)]);
    command.current_dir(got.path());
    let got = Running::start(command, None).outcome().succeeds();
    assert!(got.stdout.starts_with(&name), "{got:?}");
}
