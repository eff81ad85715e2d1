//! Clients behind proxies: CONNECT of HTTP, SOCKS5, and the variables that name them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use anyport_testkit::noise;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use anyport_testkit::harness::{
    Outcome, Running, Sample, Server, anyport, anyport_command, anyport_with_input, python_with,
    wait_until,
};

/// A host that only the proxy knows: it is this machine.
const HOST: &str = "files-host";

const SCHEMES: [&str; 8] = ["tcp", "tls", "ws", "wss", "frames", "frames+tls", "http", "https"];

/// A proxy that speaks CONNECT and SOCKS5, and opens each tunnel to this machine.
struct Proxy {
    address: SocketAddr,
    /// The targets that were asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts a proxy; with `credentials` (`USER:PASSWORD`), it refuses clients without them.
    fn start(credentials: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::default());
        let log = Arc::clone(&asked);
        spawn(move || {
            for client in listener.incoming() {
                let (client, log) = (client.unwrap(), Arc::clone(&log));
                spawn(move || serve(client, credentials, &log));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Plays one tunnel. A client that breaks the protocol ends it.
fn serve(mut client: TcpStream, credentials: Option<&str>, log: &Mutex<Vec<String>>) -> Option<()> {
    let mut first = [0];
    client.read_exact(&mut first).ok()?;
    let target = match first {
        [5] => socks5(&mut client, credentials)?,
        _ => connect(&mut client, credentials)?,
    };
    log.lock().unwrap().push(target.clone());
    let (_, port) = target.rsplit_once(':')?;
    let Ok(server) = TcpStream::connect(("127.0.0.1", port.parse().ok()?)) else {
        let refused: &[u8] = match first {
            [5] => b"\x05\x05\x00\x01\0\0\0\0\0\0",
            _ => b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        };
        return client.write_all(refused).ok();
    };
    let opened: &[u8] = match first {
        [5] => b"\x05\x00\x00\x01\0\0\0\0\0\0",
        _ => b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n",
    };
    client.write_all(opened).ok()?;
    let (mut up, mut to) = (client.try_clone().ok()?, server.try_clone().ok()?);
    spawn(move || copy(&mut up, &mut to));
    let (mut from, mut down) = (server, client);
    copy(&mut from, &mut down);
    Some(())
}

fn copy(from: &mut TcpStream, to: &mut TcpStream) {
    let _ = std::io::copy(from, to);
    let _ = to.shutdown(Shutdown::Write);
}

fn connect(client: &mut TcpStream, credentials: Option<&str>) -> Option<String> {
    let (mut head, mut byte) = (b"C".to_vec(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).ok()?;
    let shown = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: Basic "));
    if shown.map(str::to_owned) != credentials.map(|known| BASE64_STANDARD.encode(known)) {
        let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        return None;
    }
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    assert!(head.contains(&format!("\r\nHost: {target}\r\n")), "{head}");
    Some(target)
}

fn socks5(client: &mut TcpStream, credentials: Option<&str>) -> Option<String> {
    let methods = block(client)?;
    let method = if credentials.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        let _ = client.write_all(&[5, 0xff]);
        return None;
    }
    client.write_all(&[5, method]).ok()?;
    if let Some(credentials) = credentials {
        client.read_exact(&mut [0]).ok()?;
        let (user, password) = (block(client)?, block(client)?);
        let shown = [user, password].join(&b':');
        let status = u8::from(shown != credentials.as_bytes());
        client.write_all(&[1, status]).ok()?;
        if status != 0 {
            return None;
        }
    }
    let mut request = [0; 4];
    client.read_exact(&mut request).ok()?;
    let host = match request {
        [5, 1, 0, 3] => String::from_utf8(block(client)?).ok()?,
        [5, 1, 0, 1] => {
            let mut address = [0; 4];
            client.read_exact(&mut address).ok()?;
            std::net::Ipv4Addr::from(address).to_string()
        }
        _ => return None,
    };
    let mut port = [0; 2];
    client.read_exact(&mut port).ok()?;
    Some(format!("{host}:{}", u16::from_be_bytes(port)))
}

/// Bytes behind their count.
fn block(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut count = [0];
    client.read_exact(&mut count).ok()?;
    let mut bytes = vec![0; usize::from(count[0])];
    client.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

trait Prints {
    /// Checks that these words are on stdout.
    fn prints(&self, words: &str);
}

impl Prints for Outcome {
    fn prints(&self, words: &str) {
        assert!(self.stdout.contains(words), "no {words:?} in {self:#?}");
    }
}

/// A URL of `server` at a host that only the proxy knows.
fn url(server: &Server, scheme: &str, path: &str) -> String {
    format!("{scheme}://{HOST}:{}/{path}", server.port())
}

/// Runs the program with these variables.
fn anyport_in(variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let mut command: Command = anyport_command(arguments);
    command.envs(variables.iter().copied());
    Running::start(command, None).outcome()
}

/// Sends, lists and receives one file over each scheme, with what leads through the proxy.
fn over_each_scheme(proxy: &Proxy, through: &str) {
    let server = Server::start(&["--fsync", "none"]);
    let content = noise(300_000, 5);
    for scheme in SCHEMES {
        let sample = Sample::new(&format!("{}.bin", scheme.replace('+', "-")), &content);
        let name = sample.path().rsplit('/').next().unwrap().to_owned();
        anyport(&["send", "-k", "-x", through, sample.path(), &url(&server, scheme, "")])
            .succeeds()
            .prints("verified");
        assert!(std::fs::read(server.dir().join(&name)).unwrap() == content, "{scheme}");
        anyport(&["ls", "-k", "-x", through, &url(&server, scheme, "")]).succeeds().prints(&name);
        let here = tempfile::tempdir().unwrap();
        let to = here.path().join("got");
        let variables = [("all_proxy", through), ("http_proxy", ""), ("https_proxy", "")];
        let source = url(&server, scheme, &name);
        anyport_in(&variables, &["get", "-k", "-o", to.to_str().unwrap(), &source]).succeeds();
        assert!(std::fs::read(&to).unwrap() == content, "{scheme}");
        let asked = proxy.asked();
        assert!(asked.len() >= 3, "{scheme}: {asked:?}");
        let expected = format!("{HOST}:{}", server.port());
        assert!(asked.iter().all(|target| *target == expected), "{scheme}: {asked:?}");
    }
}

#[test]
fn files_go_through_a_connect_proxy_over_every_scheme() {
    let proxy = Proxy::start(None);
    over_each_scheme(&proxy, &format!("http://{}", proxy.address));
}

#[test]
fn files_go_through_a_socks_proxy_that_asks_for_a_password_over_every_scheme() {
    let proxy = Proxy::start(Some("me:p@ss"));
    over_each_scheme(&proxy, &format!("socks5h://me:p%40ss@{}", proxy.address));
}

#[test]
fn chat_cat_and_pipes_go_through_a_proxy() {
    let (proxy, server) = (Proxy::start(Some("me:secret")), Server::start(&[]));
    let through = format!("http://me:secret@{}", proxy.address);
    for scheme in ["tcp", "wss"] {
        let room = url(&server, scheme, "rooms/lobby");
        anyport_with_input(&["chat", "-k", "-x", &through, "--as", "ann", &room], b"hello\n")
            .succeeds();
        assert_eq!(proxy.asked().len(), 1, "{scheme}");
    }
    let echo = b"ANYPORT/1 ECHO\nhello\n";
    anyport_with_input(&["cat", "-x", &through, &url(&server, "tcp", "")], echo)
        .succeeds()
        .prints("hello");
    assert_eq!(proxy.asked().len(), 1);
    let sample = Sample::new("piped.bin", b"piped");
    let at = format!("{HOST}:{}", server.port());
    let sender = {
        let (through, at) = (through.clone(), at.clone());
        spawn(move || {
            anyport(&["send", "-x", &through, sample.path(), &at, "--pipe", "key"]).succeeds();
        })
    };
    wait_until("the sender", || (!proxy.asked.lock().unwrap().is_empty()).then_some(()));
    anyport(&["get", "-x", &through, &at, "--pipe", "key", "-o", "-"]).succeeds().prints("piped");
    sender.join().unwrap();
    assert_eq!(proxy.asked().len(), 2);
}

#[test]
fn datagrams_are_not_sent_beside_a_proxy_that_was_asked_for() {
    anyport(&["cat", "-x", "http://127.0.0.1:9", "udp://127.0.0.1:9"])
        .exits(1)
        .says("not supported through a proxy")
        .says("hint: leave out -x");
}

#[test]
fn variables_choose_the_proxy_and_no_proxy_exempts_a_host() {
    let (proxy, server) = (Proxy::start(None), Server::start(&[]));
    let through = format!("http://{}", proxy.address);
    let list = |variables: &[(&str, &str)], scheme: &str| {
        anyport_in(variables, &["ls", "-k", &url(&server, scheme, "")])
    };
    list(&[("http_proxy", &through)], "http").succeeds();
    list(&[("HTTPS_PROXY", &through)], "wss").succeeds();
    list(&[("ALL_PROXY", &through)], "tcp").succeeds();
    assert_eq!(proxy.asked().len(), 3);
    // The name does not resolve here, so these went past the proxy.
    list(&[("HTTP_PROXY", &through)], "http").exits(3).says("cannot resolve");
    list(&[("http_proxy", &through)], "tcp").exits(3).says("cannot resolve");
    let exempt = [("all_proxy", through.as_str()), ("no_proxy", "a.example,files-host")];
    list(&exempt, "tcp").exits(3).says("cannot resolve");
    anyport_in(&[("all_proxy", &through)], &["ls", "-x", "", &url(&server, "tcp", "")]).exits(3);
    assert_eq!(proxy.asked(), Vec::<String>::new());
}

#[test]
fn this_machine_is_reached_directly_but_with_x() {
    let (proxy, server) = (Proxy::start(None), Server::start(&[]));
    let variables = [("all_proxy", "http://127.0.0.1:9"), ("http_proxy", "http://127.0.0.1:9")];
    for scheme in ["tcp", "http"] {
        anyport_in(&variables, &["ls", &server.url(scheme, "")]).succeeds();
    }
    let through = proxy.address.to_string();
    anyport(&["ls", "-x", &through, &server.url("tcp", "")]).succeeds();
    assert_eq!(proxy.asked(), [format!("127.0.0.1:{}", server.port())]);
}

#[test]
fn no_output_shows_the_password_of_a_proxy() {
    let proxy = Proxy::start(Some("me:secret"));
    let sample = Sample::new("a.bin", b"a");
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in ["http", "socks5h"] {
        for (address, reason, hint) in [
            (proxy.address, "the proxy refused the client's credentials", "USER:PASSWORD@HOST"),
            (dead, "Connection refused", "-x '' connects directly"),
        ] {
            let through = format!("{scheme}://me:hidden@{address}");
            let url = format!("http://{HOST}:9/");
            let outcome = anyport(&["-vvv", "send", "--json", "-x", &through, sample.path(), &url]);
            let outcome = outcome.exits(3).says(reason).says(hint);
            let text = format!("cannot connect to {HOST}:9 through proxy {address}: ");
            assert!(outcome.stderr.contains(&text), "{outcome:#?}");
            let outcome = format!("{outcome:?}");
            assert!(!outcome.contains("hidden") && !outcome.contains("bWU6"), "{outcome}");
        }
    }
    assert_eq!(proxy.asked(), Vec::<String>::new());
    for wrong in
        ["ftp://me:hidden@h", "http://me:hidden@", "socks5://me:hidden@h", "https://me:hidden@h"]
    {
        let outcome = anyport(&["ls", "-x", wrong, "tcp://h/"]).exits(2).says("invalid proxy URL");
        assert!(!format!("{outcome:?}").contains("hidden"), "{outcome:#?}");
    }
}

/// The server is named, as well as the proxy whose address stands in the server's place.
#[test]
fn an_error_behind_a_proxy_names_the_server() {
    let (proxy, server) = (Proxy::start(None), Server::start(&[]));
    let through = proxy.address.to_string();
    let at = format!("{HOST}:{}", server.port());
    anyport(&["get", "-x", &through, &format!("{at}/missing")])
        .exits(4)
        .says(&format!("{at} through proxy {through}: "))
        .says("no such file or directory: missing");
    let unreachable = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (scheme, reason) in [("http", "502 Bad Gateway"), ("socks5h", "connection refused")] {
        anyport(&["ls", "-x", &format!("{scheme}://{through}"), &format!("{HOST}:{unreachable}")])
            .exits(3)
            .says(&format!("the proxy cannot reach the target: {reason}"));
    }
}

/// pproxy speaks both protocols on one port.
#[test]
fn files_go_through_pproxy() {
    let Some(mut python) = python_with("pproxy") else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("http+socks5://127.0.0.1:{port}#me:secret");
    python.args(["-m", "pproxy", "-l", &listen]);
    let mut pproxy = Running::start(python, None);
    wait_until("pproxy", || TcpStream::connect(("127.0.0.1", port)).ok());
    let server = Server::start(&[]);
    let sample = Sample::new("a.bin", &noise(300_000, 7));
    // It knows a client again by its address, so the wrong password comes first.
    for through in ["http", "socks5h"] {
        let wrong = format!("{through}://me:wrong@127.0.0.1:{port}");
        anyport(&["ls", "-x", &wrong, &server.url("tcp", "")]).exits(3);
    }
    for through in ["http", "socks5h"] {
        for scheme in SCHEMES {
            let through = format!("{through}://me:secret@127.0.0.1:{port}");
            let target = server.url(scheme, &format!("{}-{scheme}.bin", &through[..4]));
            anyport(&["send", "-k", "-x", &through, sample.path(), &target])
                .succeeds()
                .prints("verified");
        }
    }
    pproxy.kill();
}
