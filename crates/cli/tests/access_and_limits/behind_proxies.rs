//! The shipped configurations of nginx, haproxy and Caddy, each run by its program in front of a
//! server. Only their addresses are replaced.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyport_testkit::harness::http::{curl, request};
use anyport_testkit::harness::wire::{connect_from, converse};
use anyport_testkit::harness::{
    Running, Sample, Server, anyport, assert_same_bytes, blake3, lines, peer, wait_until,
};
use anyport_testkit::noise;
use tempfile::TempDir;

/// The flags that the configurations name.
const TRUSTED: [&str; 2] = ["--trusted-proxy", "127.0.0.1"];

/// A proxy in front of `server`, ended when dropped.
struct Proxy {
    child: Child,
    port: u16,
    #[expect(dead_code, reason = "removed when it is dropped")]
    scratch: TempDir,
}

impl Proxy {
    /// Starts the program with a shipped file in which these texts are replaced. `command` gets the
    /// directory and the text of the file.
    fn start(
        file: &str,
        replaced: &[(&str, &str)],
        port: u16,
        command: impl FnOnce(&Path, String) -> Command,
    ) -> Self {
        let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
        let mut text = std::fs::read_to_string(packaging.join(file)).unwrap();
        for (shipped, here) in replaced {
            assert!(text.contains(shipped), "no {shipped:?} in {file}");
            text = text.replace(shipped, here);
        }
        let scratch = tempfile::tempdir().unwrap();
        let mut command = command(scratch.path(), text);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.spawn().unwrap();
        let proxy = Self { child, port, scratch };
        wait_until("the proxy", || TcpStream::connect(("127.0.0.1", port)).ok());
        proxy
    }

    /// Starts nginx with a file of its `http` block, or of its top level.
    fn nginx(backend: &str, file: &str, listen: &str) -> Option<Self> {
        peer("nginx")?;
        let (port, is_http) = (free_port(), file == "nginx/anyport.conf");
        let (here, backend) = (format!("listen 127.0.0.1:{port};"), format!("{backend};"));
        let replaced = [(listen, &*here), ("127.0.0.1:8331;", &*backend)];
        Some(Self::start(file, &replaced, port, |scratch, text| {
            let path = scratch.to_str().unwrap();
            let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
            let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let places = places.map(|place| format!("{place}_temp_path {path}/{place};")).concat();
            let (module, body) = match is_http {
                true => ("", format!("http {{ access_log off; {places}\n{text}\n}}")),
                false => ("load_module modules/ngx_stream_module.so;", text),
            };
            let top = "daemon off; master_process off;";
            let config = format!("{top} {user} pid {path}/pid;\n{module}\nevents {{}}\n{body}");
            let file = scratch.join("nginx.conf");
            std::fs::write(&file, config).unwrap();
            let mut nginx = Command::new("nginx");
            nginx.arg("-c").arg(file).args(["-e", &format!("{path}/error.log")]);
            nginx.args(["-p", "/usr/lib/nginx"]);
            nginx
        }))
    }

    /// Starts haproxy in front of a server for HTTP and one for the PROXY protocol; returns it and
    /// the port for TCP.
    fn haproxy(http: u16, tcp: u16) -> Option<(Self, u16)> {
        peer("haproxy")?;
        let (port, other) = (free_port(), free_port());
        let texts = [
            format!("bind 127.0.0.1:{port} "),
            format!("bind 127.0.0.1:{other}\n"),
            format!("127.0.0.1:{http} "),
            format!("127.0.0.1:{tcp} send"),
        ];
        let shipped = ["bind :80 ", "bind :8330\n", "127.0.0.1:8331 ", "127.0.0.1:8332 send"];
        let replaced: Vec<_> = shipped.into_iter().zip(texts.iter().map(String::as_str)).collect();
        let proxy = Self::start("haproxy/haproxy.cfg", &replaced, port, |scratch, text| {
            let file = scratch.join("haproxy.cfg");
            std::fs::write(&file, text).unwrap();
            let mut haproxy = Command::new("haproxy");
            haproxy.arg("-f").arg(file);
            haproxy
        });
        Some((proxy, other))
    }

    fn caddy(server: &Server) -> Option<Self> {
        peer("caddy")?;
        let (port, backend) = (free_port(), format!("127.0.0.1:{} {{", server.port()));
        let site = format!("\nhttp://:{port} {{\n bind 127.0.0.1");
        let replaced = [("\nfiles.example {", &*site), ("127.0.0.1:8331 {", &*backend)];
        Some(Self::start("caddy/Caddyfile", &replaced, port, |scratch, text| {
            // Without TLS, clients can speak HTTP/2 only if that is permitted.
            let global = "{\n admin off\n servers {\n protocols h1 h2 h2c\n }\n}\n";
            let file = scratch.join("Caddyfile");
            std::fs::write(&file, format!("{global}{text}")).unwrap();
            let mut caddy = Command::new("caddy");
            caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
            caddy.env("HOME", scratch).env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
            caddy
        }))
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs curl; returns its output.
#[track_caller]
fn curl_says(arguments: &[&str]) -> Option<String> {
    let mut curl = curl()?;
    curl.arg("-f").args(arguments);
    Some(Running::start(curl, None).outcome().succeeds().stdout)
}

/// Waits until the proxy forwards: the first health check may not have run.
fn wait_for(proxy: &Proxy) {
    wait_until("a healthy server", || {
        let response = request(proxy.port, "GET /readyz", "", b"");
        (response.status() == 200).then_some(())
    });
}

/// What clients of HTTP do, through a proxy, which may also speak HTTP/2 with them.
fn serves_http(server: &Server, proxy: &Proxy, http2: bool) {
    wait_for(proxy);
    let content = noise(5_000_000, 9);
    let sample = Sample::new("big.bin", &content);
    // The first half is stored before the second one is sent: the proxy does not buffer content.
    if let Some(mut curl) = curl() {
        curl.args(["-f", "--interface", "127.0.0.2", "-T", "-", &proxy.url("streamed.bin")]);
        let child = curl.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut child = child.unwrap();
        let mut input = child.stdin.take().unwrap();
        let (first, second) = content.split_at(content.len() / 2);
        input.write_all(first).unwrap();
        wait_until("the first half", || {
            let length = std::fs::metadata(server.growing_part()).ok()?.len();
            // The rest may be in a buffer of curl.
            (length > first.len() as u64 / 2).then_some(())
        });
        input.write_all(second).unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());
        let receipt = server.next_receipt();
        assert_same_bytes(&server.stored(&receipt), &content);
        assert_eq!(receipt["peer"], "127.0.0.2", "not the address of the proxy");
    }
    let large = Sample::sparse("large.bin", 100_000_000);
    if curl_says(&["-T", large.path(), &proxy.url("large.bin")]).is_some() {
        assert_eq!(server.next_receipt()["bytes"], 100_000_000);
        let got = tempfile::tempdir().unwrap();
        let got = got.path().join("got");
        curl_says(&["-o", got.to_str().unwrap(), &proxy.url("large.bin")]);
        assert_eq!(std::fs::metadata(got).unwrap().len(), 100_000_000);
        assert_eq!(server.next_event()["event"], "sent");
    }
    let http2_flags = ["--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_version}"];
    if http2 && let Some(version) = curl_says(&[&http2_flags[..], &[&proxy.url("livez")]].concat())
    {
        assert_eq!(version, "2");
    }
    anyport(&["send", sample.path(), &proxy.url("")]).succeeds();
    assert_eq!(server.next_receipt()["digest"], blake3(&content));
    let got = tempfile::tempdir().unwrap();
    let got = got.path().join("got");
    anyport(&["get", &proxy.url("big.bin"), "-o", got.to_str().unwrap()]).succeeds();
    assert_same_bytes(&std::fs::read(&got).unwrap(), &content);
    assert_eq!(server.next_event()["event"], "sent");
    resumes_by_tus(server, proxy);
    forwards_websocket_and_events(server, proxy, &content);
}

fn resumes_by_tus(server: &Server, proxy: &Proxy) {
    let tus = "Tus-Resumable: 1.0.0\n";
    let name = "Upload-Metadata: filename dHVz\n";
    let created = request(proxy.port, "POST /", &format!("{tus}{name}Upload-Length: 10\n"), b"");
    assert_eq!(created.status(), 201, "{}", created.head);
    let place = created.field("Location");
    let media = "Content-Type: application/offset+octet-stream\n";
    for (offset, half) in [(0, b"hello"), (5, b"world")] {
        let head = request(proxy.port, &format!("HEAD {place}"), tus, b"");
        assert_eq!(head.field("Upload-Offset"), offset.to_string(), "{}", head.head);
        let fields = format!("{tus}{media}Upload-Offset: {offset}\n");
        let patched = request(proxy.port, &format!("PATCH {place}"), &fields, half);
        assert_eq!(patched.status(), 204, "{}", patched.head);
    }
    assert_eq!(server.stored(&server.next_receipt()), b"helloworld");
}

fn forwards_websocket_and_events(server: &Server, proxy: &Proxy, content: &[u8]) {
    if let Some(mut websocat) = peer("websocat") {
        let url = format!("ws://127.0.0.1:{}/files/ws.bin", proxy.port);
        websocat.args(["-b", "-B", "1048576", &url]);
        Running::start(websocat, Some(content.to_vec())).outcome().succeeds();
        let receipt = server.next_receipt();
        assert_eq!(
            (&receipt["protocol"], &receipt["digest"]),
            (&"ws".into(), &blake3(content).into())
        );
    }
    let Some(mut listener) = curl() else { return };
    listener.args(["-N", &proxy.url("rooms/lobby")]).stdout(Stdio::piped());
    let mut listener = listener.spawn().unwrap();
    let events = lines(listener.stdout.take().unwrap());
    // A room without a member yet delivers nothing.
    wait_until("an event", || {
        curl_says(&["-d", "hello", &proxy.url("rooms/lobby?as=alice")]);
        events.try_iter().any(|line| line.contains("alice: hello")).then_some(())
    });
    listener.kill().unwrap();
    listener.wait().unwrap();
}

/// What every client does, through a proxy that forwards connections and states the address of the
/// client.
fn forwards_connections(server: &Server, port: u16) {
    let content = noise(5_000_000, 10);
    let mut stream = connect_from("127.0.0.2", port);
    let answer = converse(&mut stream, b"ANYPORT/1 PUT named size=4\nnameEND\n");
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    let receipt = server.next_receipt();
    assert!(receipt["peer"].as_str().unwrap().starts_with("127.0.0.2:"), "{receipt}");
    // Its half-close reaches the server, and the receipt comes back.
    if let Some(mut nc) = peer("nc") {
        nc.args(["-N", "127.0.0.1", &port.to_string()]);
        let outcome = Running::start(nc, Some(content.clone())).outcome().succeeds();
        assert!(outcome.stdout.contains(" RECEIPT "), "{outcome:?}");
        assert_same_bytes(&server.stored(&server.next_receipt()), &content);
    }
    for scheme in ["tcp", "tls", "ws", "frames", "http", "https"] {
        let sample = Sample::new(&format!("{scheme}.bin"), &content);
        let url = format!("{scheme}://127.0.0.1:{port}/");
        anyport(&["send", "-k", sample.path(), &url]).succeeds();
        let receipt = server.next_receipt();
        assert_eq!(receipt["digest"], blake3(&content), "{receipt}");
        let got = tempfile::tempdir().unwrap();
        let got = got.path().join("got");
        anyport(&["get", "-k", &format!("{url}{scheme}.bin"), "-o", got.to_str().unwrap()])
            .succeeds();
        assert_same_bytes(&std::fs::read(&got).unwrap(), &content);
        assert_eq!(server.next_event()["event"], "sent");
    }
}

#[test]
fn nginx_forwards_connections() {
    let server = Server::start(&["--proxy-protocol-from", "127.0.0.1"]);
    let backend = format!("127.0.0.1:{}", server.port());
    let file = "nginx/anyport-stream.conf";
    let Some(proxy) = Proxy::nginx(&backend, file, "listen 8330;") else { return };
    forwards_connections(&server, proxy.port);
}

#[test]
fn haproxy_forwards_connections() {
    let server = Server::start(&["--proxy-protocol-from", "127.0.0.1"]);
    let Some((_proxy, port)) = Proxy::haproxy(free_port(), server.port()) else { return };
    forwards_connections(&server, port);
}

#[test]
fn nginx_forwards_http() {
    let server = Server::start(&TRUSTED);
    let backend = format!("127.0.0.1:{}", server.port());
    let Some(proxy) = Proxy::nginx(&backend, "nginx/anyport.conf", "listen 80;") else { return };
    // Without TLS, this nginx speaks either version on a port.
    serves_http(&server, &proxy, false);
}

#[test]
fn haproxy_forwards_http_and_stops_when_the_server_is_not_ready() {
    let server = Server::start(&[&TRUSTED[..], &["--drain-delay", "10m"]].concat());
    let Some((proxy, _)) = Proxy::haproxy(server.port(), free_port()) else { return };
    serves_http(&server, &proxy, true);
    server.signal("TERM");
    wait_until("a server that gets no more clients", || {
        let response = request(proxy.port, "GET /livez", "", b"");
        (response.status() == 503).then_some(())
    });
}

#[test]
fn caddy_forwards_http() {
    let server = Server::start(&TRUSTED);
    let Some(proxy) = Proxy::caddy(&server) else { return };
    serves_http(&server, &proxy, true);
}

/// A proxy on the same machine reaches a server that no port leads to.
#[test]
fn nginx_forwards_to_a_unix_socket() {
    let scratch = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", scratch.path().join("a.sock").display());
    let server = Server::start_on(&[&address], &["--trusted-proxy", "unix"]);
    let Some(proxy) = Proxy::nginx(&address, "nginx/anyport.conf", "listen 80;") else { return };
    serves_http(&server, &proxy, false);
}
