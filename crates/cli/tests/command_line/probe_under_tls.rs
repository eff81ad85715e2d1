//! `anyport probe` of ports that speak TLS.

use std::net::{TcpListener, TcpStream};
use std::path::Path;

use anyport_testkit::harness::probe::{PATIENT, event, events, probe, probes, result};
use anyport_testkit::harness::proxies::Proxy;
use anyport_testkit::harness::{Running, Server, peer, state_home, wait_until};

#[test]
fn a_listener_that_requires_tls_is_probed_inside_tls() {
    let server = Server::start(&["--tls", "required"]);
    let address = server.addresses()[0];
    let events = events(&address.to_string(), &PATIENT, 0);
    assert_eq!(result(&events)["inside_tls"], true);
    assert_eq!(result(&events)["anyport"]["tls"], "required");
    for name in ["http2", "websocket", "preface"] {
        assert_eq!(event(&events, "probe", name)["inside_tls"], true, "{name}");
    }
    let tls = event(&events, "probe", "tls-1.3");
    assert_eq!(tls["alpn"], "h2");
    assert!(tls["suite"].as_str().unwrap().starts_with("TLS13_"), "{tls}");
    assert!(tls["fingerprint"].as_str().unwrap().starts_with("sha256:"), "{tls}");
    assert!(tls["certificate"]["names"].to_string().contains("localhost"), "{tls}");
    let text = probe(&format!("http://{address}/"), &PATIENT).exits(1).stdout;
    assert!(text.contains(&format!("hint: use https://{address}/")), "{text}");
}

#[test]
fn a_certificate_is_verified_as_by_the_other_commands_and_nothing_is_remembered() {
    let server = Server::start(&[]);
    let known = tempfile::tempdir().unwrap();
    let known = known.path().join("known_hosts");
    let flags = [&PATIENT[..], &["--known-hosts", known.to_str().unwrap()]].concat();
    let url = server.url("tls", "");
    let new = events(&url, &flags, 0);
    let new = event(&new, "probe", "tls-1.3");
    assert_eq!(new["trusted"], true);
    assert!(new["verification"].as_str().unwrap().contains("on first use"), "{new}");
    assert!(!known.exists(), "a probe remembers a server");
    let fingerprint = new["fingerprint"].as_str().unwrap();
    let place = server.addresses()[0];
    std::fs::write(&known, format!("{place} {fingerprint}\n")).unwrap();
    let seen = events(&url, &flags, 0);
    let seen = event(&seen, "probe", "tls-1.3")["verification"].to_string();
    assert!(seen.contains("file of known hosts"), "{seen}");
    let other = format!("sha256:{}", "0".repeat(64));
    std::fs::write(&known, format!("{place} {other}\n")).unwrap();
    let changed = probe(&url, &flags).exits(7).stdout;
    assert!(changed.contains("certificate changed"), "{changed}");
    assert!(changed.contains("remove the line of"), "{changed}");
    probe(&url, &[&PATIENT[..], &["--pin", &other]].concat()).exits(7);
    probe(&url, &[&PATIENT[..], &["--pin", fingerprint]].concat()).succeeds();
    std::fs::write(&known, "nonsense\n").unwrap();
    let unreadable = probe(&url, &flags).exits(7).stdout;
    assert!(unreadable.contains("known_hosts:1: expected HOST:PORT"), "{unreadable}");
}

#[test]
fn a_server_that_requires_a_client_certificate_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let Some((key, certificate)) = certificate(directory.path()) else { return };
    let server = Server::start(&["--tls-client-ca", &certificate]);
    let url = server.url("https", "");
    let text = probe(&url, &["--greeting-timeout", "4s"]).exits(7).stdout;
    assert!(text.contains("requires a certificate of the client"), "{text}");
    assert!(text.contains("with --cert FILE"), "{text}");
    let flags = [&PATIENT[..], &["--cert", &certificate, "--key", &key]].concat();
    let events = events(&url, &flags, 0);
    assert_eq!(event(&events, "probe", "tls-1.3")["requests_certificate"], true);
    assert!(result(&events)["anyport"].is_object(), "{events:#?}");
}

#[test]
fn a_server_that_speaks_first_under_tls_gets_nothing_but_the_handshake() {
    let directory = tempfile::tempdir().unwrap();
    let Some((key, certificate)) = certificate(directory.path()) else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut python = peer("python3").unwrap();
    python.args(["-c", IMAPS, &port.to_string(), &certificate, &key]);
    let _server = Running::start(python, None);
    wait_until("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    let flags = ["-k", "--greeting-timeout", "4s"];
    let events = events(&format!("tls://127.0.0.1:{port}"), &[&flags[..], &PATIENT].concat(), 0);
    assert_eq!(probes(&events), ["tls-1.3"]);
    let text = result(&events)["text"].as_str().unwrap();
    assert!(text.contains("is an IMAP (mail) server under TLS."), "{text}");
}

const IMAPS: &str = "
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
while True:
    connection, _ = listener.accept()
    try:
        connection = context.wrap_socket(connection, server_side=True)
        connection.sendall(b'* OK IMAP4rev1 ready\\r\\n')
        connection.recv(1)
    except OSError:
        pass
";

/// It sends its settings before the client.
#[test]
fn a_web_server_with_http_2_under_tls_is_recognized() {
    let directory = tempfile::tempdir().unwrap();
    let Some((key, certificate)) = certificate(directory.path()) else { return };
    let nginx = Proxy::nginx_with(|address| {
        format!(
            "server {{ listen {address} ssl http2; ssl_certificate {certificate};
               ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
               location / {{ return 204; }} }}"
        )
    });
    let Some(nginx) = nginx else { return };
    let port = nginx.address().port();
    let flags = ["-k", "--greeting-timeout", "2s"];
    let events = events(&format!("127.0.0.1:{port}"), &[&flags[..], &PATIENT].concat(), 0);
    assert_eq!(event(&events, "probe", "tls-1.3")["alpn"], "h2");
    assert_eq!(event(&events, "probe", "http2")["answer"], "http2");
    let text = result(&events)["text"].as_str().unwrap();
    assert!(text.contains("is a web server"), "{text}");
}

/// Makes a certificate and its key; returns their files.
fn certificate(directory: &Path) -> Option<(String, String)> {
    let mut make = peer("openssl")?;
    let (key, certificate) = (directory.join("key"), directory.join("certificate"));
    make.args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"]);
    make.args(["ec_paramgen_curve:prime256v1", "-subj", "/CN=probe-test", "-days", "2"]);
    make.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    make.args(["-addext", "subjectAltName=DNS:localhost"]);
    make.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    Running::start(make, None).outcome().succeeds();
    Some((key.to_str().unwrap().to_owned(), certificate.to_str().unwrap().to_owned()))
}

/// `s_server` serves one connection after the other.
#[test]
fn a_server_with_tls_1_2_only_is_recognized() {
    let directory = tempfile::tempdir().unwrap();
    let Some((key, certificate)) = certificate(directory.path()) else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut openssl = peer("openssl").unwrap();
    openssl.args(["s_server", "-www", "-tls1_2", "-accept", &format!("127.0.0.1:{port}")]);
    openssl.args(["-key", &key, "-cert", &certificate]);
    let _server = Running::start(openssl, None);
    wait_until("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    let home = state_home();
    let known = home.join("known-of-probe");
    let flags = ["--timeout", "4s", "--known-hosts", known.to_str().unwrap()];
    let events = events(&format!("https://localhost:{port}/"), &flags, 0);
    assert_eq!(result(&events)["tls_versions"].to_string(), r#"["TLS 1.2"]"#, "{events:#?}");
    assert_eq!(event(&events, "probe", "tls-1.3")["answer"], "tls-version-refused");
    assert_eq!(event(&events, "probe", "tls-1.2")["certificate"]["subject"], "CN=probe-test");
}
