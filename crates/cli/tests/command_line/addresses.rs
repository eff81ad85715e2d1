//! Addresses and ports as people type them, for servers and for clients.

use std::path::Path;
use std::process::Command;

use anyport_testkit::harness::{
    Running, Sample, Server, anyport, anyport_command, has_ipv6, peer, skip,
};

/// `anyport` in a network of its own, where the loopback interface has a link-local address too.
fn in_own_network(script: &str) -> Option<Running> {
    let network = "ip link set lo up && ip -6 addr add fe80::1234/64 dev lo nodad";
    peer("ip")?;
    let mut probe = peer("unshare")?;
    if !probe.args(["-n", "sh", "-c", network]).output().unwrap().status.success() {
        skip("no network namespace may be made");
        return None;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_anyport"));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-euc", &format!("{network}; {script}")]);
    command.env("PATH", format!("{}:{path}", program.parent().unwrap().display()));
    for variable in ["XDG_STATE_HOME", "XDG_CONFIG_HOME"] {
        command.env(variable, env!("CARGO_TARGET_TMPDIR"));
    }
    Some(Running::start(command, None))
}

#[test]
fn a_port_alone_is_on_both_default_addresses() {
    for flags in [["--bind", "0"], ["--port", "0"], ["--bind", ":0"], ["-p", "0"]] {
        let server = Server::start_on(&[], &flags);
        let first = server.addresses()[0];
        assert_eq!(first.ip().to_string(), "127.0.0.1", "{flags:?}");
        if has_ipv6() {
            let second = server.next_event();
            assert_eq!(second["addr"], format!("[::1]:{}", first.port()), "{second}");
        }
    }
    let server = Server::start_on(&["127.0.0.1"], &["--port", "0"]);
    assert_eq!(server.addresses()[0].ip().to_string(), "127.0.0.1");
    let refused = anyport(&["serve", "--bind", "127.0.0.1:0", "--port", "9", "/nonexistent/dir"]);
    refused.exits(2).says("--port 9 has no effect: every --bind has a port of its own");
}

/// Kubernetes gives it to each pod beside a service that is called anyport.
#[test]
fn a_service_link_of_kubernetes_is_not_a_port() {
    let mut command = anyport_command(&[]);
    command.env("ANYPORT_PORT", "tcp://10.0.0.1:8331");
    let server = Server::start_as(command, &["127.0.0.1:0"], &[]);
    server.takes_a_good_file();
    let mut command = anyport_command(&[]);
    command.env("ANYPORT_PORT", "0");
    Server::start_as(command, &["127.0.0.1"], &[]).takes_a_good_file();
}

#[test]
fn a_target_is_a_port_or_an_ipv6_address_as_it_is_typed() {
    let (server, sample) = (Server::start_on(&[], &["--port", "0"]), Sample::new("x", b"six"));
    let port = server.port().to_string();
    anyport(&["send", sample.path(), &port]).succeeds();
    let get = |url: &str| anyport(&["get", "-o", "-", url]).succeeds().stdout;
    assert_eq!(get(&format!(":{port}/x")), "six");
    assert_eq!(get(&format!("{port}/x")), "six");
    if has_ipv6() {
        assert_eq!(get(&format!("[::1]:{port}/x")), "six");
        let outcome = anyport(&["get", "::1/no/such/file"]);
        // A user's server on the default port has no such file.
        if outcome.code != Some(4) {
            outcome.exits(3).says("cannot connect to [::1]:8331");
        }
    }
}

#[test]
fn an_error_names_the_host_as_it_was_typed_beside_its_address() {
    let server = Server::start(&[]);
    let (port, sample) = (server.port(), Sample::new("x", b"six"));
    let refused = anyport(&["get", &format!("localhost:{port}/nothing")]).exits(4);
    assert!(refused.stderr.contains("localhost"), "{refused:?}");
    assert!(refused.stderr.contains(&format!("127.0.0.1:{port}")), "{refused:?}");
    let refused = anyport(&["get", &format!("127.0.0.1:{port}/nothing")]).exits(4);
    let error = refused.stderr.lines().next().unwrap();
    assert_eq!(error.matches("127.0.0.1").count(), 1, "{refused:?}");
    drop(server);
    for arguments in [
        vec!["send", sample.path(), "TARGET", "--retry", "0"],
        vec!["ls", "TARGET"],
        vec!["cat", "TARGET"],
        vec!["chat", "TARGET/rooms/lobby", "--retry", "0"],
        vec!["get", "TARGET/x", "--retry", "0"],
    ] {
        let target = format!("localhost:{port}");
        let arguments: Vec<_> =
            arguments.iter().map(|argument| argument.replace("TARGET", &target)).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        anyport(&arguments).exits(3).says("cannot connect to localhost (");
    }
}

#[test]
fn a_mistyped_target_gets_a_hint_that_fits() {
    let sample = Sample::new("x", b"six");
    let file = sample.path();
    for (arguments, code, words) in [
        (vec!["send", file], 2, "hint: anyport send FILE HOST:PORT"),
        (vec!["send", file, "http:/h/x"], 2, "hint: write http://h/x"),
        (vec!["get", "ftp://h/x"], 2, "curl ftp://h/x"),
        (vec!["ls", "udp://h:1"], 2, "anyport cat udp://h:1"),
        (vec!["cat", "gopher://h:1"], 2, "hint: use tcp://HOST:PORT"),
        (vec!["ls", "1:2:3"], 2, "[ADDRESS]:PORT"),
        (vec!["send", file, file], 2, "is a local file; the last argument is the URL"),
        (vec!["send", "--retry", "0", file, "Cargo.toml"], 3, "Cargo.toml is a local file"),
    ] {
        anyport(&arguments).exits(code).says(words);
    }
}

/// One rule for the path of a URL, whatever its scheme.
#[test]
fn a_directory_of_a_url_is_the_same_over_every_scheme() {
    let server = Server::start(&[]);
    for (number, (scheme, path)) in [
        ("tcp", "d/"),
        ("ws", "d/"),
        ("frames", "d/"),
        ("http", "d/"),
        ("tls", "d/"),
        ("wss", "d/"),
        ("tcp", "files/d/"),
        ("ws", "files/d/"),
        ("frames", "files/d/"),
        ("http", "files/d/"),
    ]
    .into_iter()
    .enumerate()
    {
        let content = number.to_string();
        let sample = Sample::new(&format!("x{number}"), content.as_bytes());
        let url = server.url(scheme, path);
        anyport(&["send", "-k", sample.path(), &url]).succeeds();
        let stored = server.dir().join(format!("d/x{number}"));
        assert_eq!(std::fs::read_to_string(&stored).ok(), Some(content.clone()), "{url}");
        let file = format!("{url}x{number}");
        let got = anyport(&["get", "-k", "-o", "-", &file]).succeeds();
        assert_eq!(got.stdout, content, "{file}");
        let listed = anyport(&["ls", "-k", &url]).succeeds();
        assert!(listed.stdout.contains(&format!("x{number}")), "{url}: {listed:?}");
        // A file by its whole name.
        let named = format!("{url}named{number}");
        anyport(&["send", "-k", sample.path(), &named]).succeeds();
        assert!(server.dir().join(format!("d/named{number}")).is_file(), "{named}");
    }
}

#[test]
fn link_local_addresses_work_with_their_zone() {
    let script = "
        cd $(mktemp -d); mkdir in; echo six > in/x
        anyport serve in --open --bind 'fe80::1234%lo' --port 0 --control none > log 2>&1 &
        server=$!; trap 'kill $server; cat log' EXIT
        until grep -q OPEN log; do sleep 0.05; done
        port=$(sed -n 's/.*listening on .fe80::1234%lo.:\\([0-9]*\\).*/\\1/p' log)
        pin=$(grep -o 'sha256:[0-9a-f]*' log | head -n 1)
        for url in \"tcp://[fe80::1234%lo]:$port\" \"tcp://[fe80::1234%25lo]:$port\" \\
            \"ws://[fe80::1234%25lo]:$port\" \"http://[fe80::1234%lo]:$port\" \\
            \"tls://[fe80::1234%lo]:$port\" \"https://[fe80::1234%25lo]:$port\"; do
            case $url in tls*|https*) set -- --pin $pin;; *) set --;; esac
            test \"$(anyport get -q -o - \"$@\" \"$url/x\")\" = six || { echo \"no $url\"; exit 1; }
        done
        anyport ls 'fe80::1234%lo' 2>&1 | grep 'cannot connect to .fe80::1234%lo.:8331'
        # Commands of the banner, as they are printed.
        sed -n 's/^  \\(nc\\|curl\\|anyport\\) /\\1 /p' log > printed
        n=0
        while read -r line; do
            n=$((n + 1)); echo content $n > new$n
            echo \"$line\" | sed \"s/FILE/new$n/\" > run; cat run; sh -e run < /dev/null
            grep -rqx \"content $n\" in || { echo \"nothing stored by $line\"; exit 1; }
        done < printed
        test $n = 3 || { echo \"$n commands\"; exit 1; }
        for bind in 'fe80::1234%lo' '[fe80::1234%25lo]'; do
            timeout 1 anyport serve in --open --bind \"$bind\" --control none 2> other || true
            grep 'listening on .fe80::1234%lo.:8331' other
        done";
    let Some(running) = in_own_network(script) else { return };
    running.outcome().succeeds();
}

#[test]
fn a_refused_http_url_without_a_port_gets_a_hint_at_the_default_port() {
    // In a network of its own nothing listens on port 80.
    let script = "for command in ls 'get --retry 0'; do
            anyport $command http://127.0.0.1/ 2> said && exit 1
            grep \"http:// uses port 80, but anyport listens on 8331 by default: try \
                http://127.0.0.1:8331/\" said
        done; rm said; anyport ls https://127.0.0.1/ 2>&1 | grep 'https:// uses port 443'";
    let script = format!("cd $(mktemp -d); {script}");
    let Some(running) = in_own_network(&script) else { return };
    running.outcome().succeeds();
}
