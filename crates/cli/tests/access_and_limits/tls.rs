//! Every protocol under TLS on the same port, and whom clients trust; against openssl, curl, ncat,
//! socat, Python and our own.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyport_testkit::noise;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use serde_json::Value;
use tempfile::TempDir;

use anyport_testkit::harness::http::request;
use anyport_testkit::harness::tls::TlsPeer;
use anyport_testkit::harness::wire::{
    TEXT, connect, converse, frame, read_close, read_line, upgrade,
};
use anyport_testkit::harness::{
    Outcome, Running, Sample, Server, anyport, anyport_command, peer, python_with, start,
    wait_until,
};

/// A server with an identity of its own, and a client's file of known hosts.
struct Meeting {
    server: Server,
    scratch: TempDir,
}

impl Meeting {
    fn new(flags: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let tls = scratch.path().join("tls");
        let flags = [&["--tls-dir", tls.to_str().unwrap()], flags].concat();
        Self { server: Server::start(&flags), scratch }
    }

    fn identity(&self) -> PathBuf {
        self.scratch.path().join("tls/tls-identity.pem")
    }

    fn known_hosts(&self) -> PathBuf {
        self.scratch.path().join("config/known_hosts")
    }

    fn fingerprint(&self) -> String {
        self.server.listening()[0]["fingerprint"].as_str().unwrap().to_owned()
    }

    /// A client that trusts this server as a stranger would.
    fn client(&self, arguments: &[&str]) -> Outcome {
        let known = self.known_hosts();
        anyport(&[arguments, &["--known-hosts", known.to_str().unwrap()]].concat())
    }
}

/// Returns the next receipt, skipping other events.
fn receipt(server: &Server) -> Value {
    std::iter::repeat_with(|| server.next_event())
        .find(|event| event["event"] == "receipt")
        .unwrap()
}

/// Why the next one is refused.
fn refusal(server: &Server) -> String {
    let mut events = std::iter::repeat_with(|| server.next_event());
    let refused = events.find(|event| event["event"] == "refused").unwrap();
    refused["reason"].as_str().unwrap().to_owned()
}

/// What a command prints on stdout, and whether it succeeded.
fn run(mut command: Command, input: &[u8]) -> (bool, String, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_first_start_makes_a_key_that_is_kept_secret_and_known_again() {
    let meeting = Meeting::new(&[]);
    let identity = meeting.identity();
    assert_eq!(fs::metadata(&identity).unwrap().permissions().mode() & 0o777, 0o600);
    if let Some(mut openssl) = peer("openssl") {
        openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(&identity);
        let (_, said, _) = run(openssl, b"");
        let digits = said.trim().split_once('=').unwrap().1.replace(':', "").to_ascii_lowercase();
        assert_eq!(meeting.fingerprint(), format!("sha256:{digits}"));
    }
    let directory = identity.parent().unwrap().to_str().unwrap();
    let again = Server::start(&["--tls-dir", directory]);
    assert_eq!(again.listening()[0]["fingerprint"], *meeting.fingerprint());
}

/// As in a systemd service whose state directory is the served one.
#[test]
fn a_generated_key_in_the_served_directory_can_be_neither_read_nor_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().to_str().unwrap();
    let flags = ["--tls-dir", here, "--allow", "delete", "--on-exists", "overwrite"];
    let server = Server::start_in(directory.path(), &["127.0.0.1:0"], &flags);
    let key = fs::read(directory.path().join("tls-identity.pem")).unwrap();
    assert!(String::from_utf8_lossy(&key).contains("PRIVATE KEY"));
    for line in [
        "GET /files/tls-identity.pem",
        "GET /files/TLS-Identity.pem",
        "GET /files/tls%2didentity.pem",
        "GET /files/?tar",
        "GET /files/",
    ] {
        let response = request(server.port(), line, "", b"");
        let text = response.text();
        assert!(!text.contains("PRIVATE KEY"), "{line}: {text}");
        assert!(!line.contains(".pem") || response.status() >= 400, "{line}: {text}");
    }
    // As a partial file, it is not mentioned.
    let listing = anyport(&["ls", &server.url("tcp", "")]).succeeds();
    assert_eq!((listing.stdout.as_str(), listing.stderr.as_str()), ("", ""));
    for scheme in ["tcp", "ws", "http"] {
        let outcome = anyport(&["get", &server.url(scheme, "tls-identity.pem"), "-o", "-"]);
        assert!(outcome.code != Some(0) && outcome.stdout.is_empty(), "{scheme}: {outcome:?}");
    }
    request(server.port(), "PUT /files/tls-identity.pem", "", b"forged");
    request(server.port(), "DELETE /files/tls-identity.pem", "", b"");
    assert_eq!(fs::read(directory.path().join("tls-identity.pem")).unwrap(), key);
    assert_eq!(fs::read(directory.path().join("_tls-identity.pem")).unwrap(), b"forged");
}

#[test]
fn a_server_is_met_once_and_known_from_then_on() {
    let meeting = Meeting::new(&[]);
    let sample = Sample::new("x", b"hello");
    let url = meeting.server.url("tls", "");
    let send = |url: &str| meeting.client(&["send", sample.path(), url]);
    send(&url).succeeds().says("on first use").says(&meeting.fingerprint());
    let again = send(&meeting.server.url("wss", "")).succeeds();
    assert!(!again.stderr.contains("on first use"), "{}", again.stderr);
    let known = fs::read_to_string(meeting.known_hosts()).unwrap();
    let line = format!("127.0.0.1:{} {}\n", meeting.server.port(), meeting.fingerprint());
    assert_eq!(known, line);
    // Another server at the same place is another server.
    let other = "sha256:".to_owned() + &"ab".repeat(32);
    fs::write(meeting.known_hosts(), known.replace(&meeting.fingerprint(), &other)).unwrap();
    let changed =
        send(&url).exits(7).says("certificate changed").says(&other).says("remove the line");
    changed.says(&meeting.fingerprint());
    // A server that had a certificate signed by a CA is not accepted with a self-signed one.
    fs::write(meeting.known_hosts(), line.replace(&meeting.fingerprint(), "authority")).unwrap();
    send(&url).exits(7).says("it was signed by a trusted CA");
    fs::write(meeting.known_hosts(), "nonsense\n").unwrap();
    send(&url).exits(7).says("known_hosts:1: expected HOST:PORT and a fingerprint");
    assert_eq!(meeting.server.published().len(), 1, "what was refused was not sent");
}

#[test]
fn pins_cas_and_insecure_mode_decide_on_trust() {
    let meeting = Meeting::new(&[]);
    let sample = Sample::new("x", b"hello");
    let url = meeting.server.url("tls", "");
    let send = |flags: &[&str]| meeting.client(&[&["send", sample.path(), &url], flags].concat());
    send(&["--pin", &meeting.fingerprint()]).succeeds();
    let openssl_style = meeting.fingerprint()["sha256:".len()..].to_ascii_uppercase();
    send(&["--pin", &openssl_style]).succeeds();
    let other = "00".repeat(32);
    send(&["--pin", &other]).exits(7).says("does not match the pinned one").says("--pin sha256:");
    send(&["--pin", "12"]).exits(2).says("64 hexadecimal digits");
    send(&["-k"]).succeeds().says("not verified (-k)").says(&meeting.fingerprint());
    assert!(!meeting.known_hosts().exists(), "nobody was met");
    // The certificate is its own authority, and is for this address.
    send(&["--cacert", meeting.identity().to_str().unwrap()]).succeeds();
    let third_party = Authority::new();
    send(&["--cacert", third_party.file("ca.pem")]).exits(7).says("not signed by a CA in ");
    send(&["--cacert", "/nowhere"]).exits(2).says("/nowhere: No such file");
    send(&["--cacert", sample.path()]).exits(2).says("no certificate");
}

/// A certificate authority.
struct Authority {
    scratch: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A CA of the same name would be tried as the signer, and fail in another way.
        let directory = tempfile::tempdir().unwrap();
        let name = format!("an authority of {}", directory.path().display());
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { scratch: tempfile::tempdir().unwrap(), issuer };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn file(&self, name: &str) -> &'static str {
        Box::leak(self.path(name).to_str().unwrap().to_owned().into_boxed_str())
    }

    fn write(&self, name: &str, pem: &str) {
        fs::write(self.path(name), pem).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A file with a certificate for `name`, valid in these years, and its key.
    fn sign(&self, file: &str, name: &str, from: i32, to: i32) -> &'static str {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(file, &format!("{}{}", certificate.pem(), key.serialize_pem()));
        self.file(file)
    }
}

#[test]
fn a_certificate_that_is_wrong_is_refused_by_name() {
    let authority = Authority::new();
    let sample = Sample::new("x", b"hello");
    for (name, from, to, said) in [
        ("127.0.0.1", 2020, 2120, None),
        ("127.0.0.1", 2020, 2021, Some("expired on 2021-01-01")),
        ("127.0.0.1", 2110, 2120, Some("not valid before 2110-01-01")),
        (
            "other.example",
            2020,
            2120,
            Some("is not valid for 127.0.0.1; it is valid for other.example"),
        ),
    ] {
        let certificate = authority.sign("server.pem", name, from, to);
        let server = Server::start(&["--tls-cert", certificate]);
        let (url, ca) = (server.url("tls", ""), authority.file("ca.pem"));
        let trusting = anyport(&["send", sample.path(), &url, "--cacert", ca]);
        match said {
            None => drop(trusting.succeeds()),
            Some(said) => drop(trusting.exits(7).says(said).says("hint: ")),
        }
        // Without the CA its servers are not trusted on first use.
        let known = authority.path("known_hosts");
        let stranger =
            anyport(&["send", sample.path(), &url, "--known-hosts", known.to_str().unwrap()]);
        let wrong = said.unwrap_or("signed by a CA that is not trusted");
        let stranger = stranger.exits(7);
        // Its dates and names do not help it, whichever is looked at first.
        let third_party = stranger.stderr.contains("a CA that is not trusted");
        assert!(third_party || stranger.stderr.contains(wrong), "{}", stranger.stderr);
        assert!(!known.exists());
        if let Some(mut curl) = peer("curl") {
            curl.args(["-sS", "--cacert", ca, &server.url("https", "healthz")]);
            assert_eq!(run(curl, b"").0, said.is_none(), "curl on {name} {from}");
        }
    }
}

/// A self-signed certificate is trusted on first use only while it is valid.
#[test]
fn a_new_server_with_an_expired_certificate_is_not_trusted() {
    let scratch = Authority::new();
    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = is_ca;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        scratch.write("self.pem", &format!("{}{}", certificate.pem(), key.serialize_pem()));
        let server = Server::start(&["--tls-cert", scratch.file("self.pem")]);
        let sample = Sample::new("x", b"hello");
        let known = scratch.file("known_hosts");
        anyport(&["send", sample.path(), &server.url("tls", ""), "--known-hosts", known])
            .exits(7)
            .says("expired on 2021-01-01");
    }
}

/// `openssl req -x509` as people type it: its certificate may sign others.
fn by_openssl(directory: &Path, name: &str, more: &[&str]) -> Option<String> {
    let path = |suffix: &str| directory.join(format!("{name}.{suffix}")).display().to_string();
    let (certificate, key) = (path("pem"), path("key"));
    let mut openssl = peer("openssl")?;
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]);
    openssl.args(["-keyout", &key, "-out", &certificate]).args(more);
    let (succeeded, _, said) = run(openssl, b"");
    assert!(succeeded, "{said}");
    let both = [fs::read(&certificate).unwrap(), fs::read(key).unwrap()].concat();
    fs::write(&certificate, both).unwrap();
    fs::set_permissions(&certificate, fs::Permissions::from_mode(0o600)).unwrap();
    Some(certificate)
}

#[test]
fn a_certificate_that_openssl_made_is_met_and_known_again() {
    let scratch = tempfile::tempdir().unwrap();
    let by_openssl = |name: &str, more: &[&str]| by_openssl(scratch.path(), name, more);
    let Some(certificate) = by_openssl("server", &[]) else { return };
    let server = Server::start(&["--tls-cert", &certificate]);
    let fingerprint = server.listening()[0]["fingerprint"].as_str().unwrap().to_owned();
    let known = scratch.path().join("known_hosts");
    let known = known.to_str().unwrap();
    let sample = Sample::new("x", b"hello");
    let send = |server: &Server, flags: &[&str]| {
        let url = server.url("tls", "");
        let to = ["send", sample.path(), &url, "--on-exists", "rename", "--known-hosts", known];
        anyport(&[&to, flags].concat())
    };
    send(&server, &["--pin", &fingerprint]).succeeds();
    send(&server, &["--cacert", &certificate]).succeeds();
    assert!(fs::read(known).is_err(), "nobody was met");
    let other = by_openssl("other", &[]).unwrap();
    send(&server, &["--cacert", &other]).exits(7).says("or leave out --cacert");
    send(&server, &[]).succeeds().says("on first use").says(&fingerprint);
    let again = send(&server, &[]).succeeds();
    assert!(!again.stderr.contains("on first use"), "{}", again.stderr);

    // Another server at the same place.
    let port = server.port();
    drop(server);
    let address = format!("127.0.0.1:{port}");
    let served = scratch.path().join("served");
    fs::create_dir(&served).unwrap();
    let server = Server::start_in(&served, &[&address], &["--tls-cert", &other]);
    send(&server, &[]).exits(7).says("certificate changed").says(&fingerprint);

    let unwanted = [
        (
            &["-subj", "/CN=other.example"][..],
            "is not valid for 127.0.0.1; it is valid for other.example",
        ),
        (&["-subj", "/O=Somebody"], "is not valid for 127.0.0.1\nhint: use --pin"),
        (
            &["-addext", "subjectAltName=DNS:a.example"],
            "is not valid for 127.0.0.1; it is valid for a.example",
        ),
    ];
    for (number, (flags, said)) in unwanted.into_iter().enumerate() {
        let certificate = by_openssl(&number.to_string(), flags).unwrap();
        let server = Server::start(&["--tls-cert", &certificate]);
        send(&server, &[]).exits(7).says(said);
        send(&server, &["--cacert", &certificate]).exits(7).says(said);
    }
}

#[test]
fn https_meets_no_new_server_whose_certificate_is_for_another_name() {
    let scratch = Authority::new();
    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let mut params = CertificateParams::new(["other.example".to_owned()]).unwrap();
        params.is_ca = is_ca;
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        scratch.write("self.pem", &format!("{}{}", certificate.pem(), key.serialize_pem()));
        let server = Server::start(&["--tls-cert", scratch.file("self.pem")]);
        let fingerprint = server.listening()[0]["fingerprint"].as_str().unwrap().to_owned();
        let sample = Sample::new("x", b"hello");
        let known = scratch.path("known_by_name");
        let client = |scheme: &str, flags: &[&str]| {
            let url = server.url(scheme, "");
            let known = ["--known-hosts", known.to_str().unwrap()];
            anyport(&[&["send", sample.path(), &url], &known[..], flags].concat())
        };
        let refused = client("https", &[])
            .exits(7)
            .says("is not valid for 127.0.0.1; it is valid for other.example");
        refused.says("--pin FINGERPRINT");
        assert!(!known.exists(), "the server was remembered");
        client("https", &["--pin", &fingerprint]).succeeds();
        // As ssh has it, another scheme goes by the fingerprint alone.
        if is_ca == IsCa::NoCa {
            client("tls", &[]).succeeds().says("on first use");
            client("https", &[]).succeeds();
            fs::remove_file(&known).unwrap();
        }
    }
}

/// As developers make them: for `localhost`, added to the certificates of the system or not.
#[test]
fn a_self_signed_certificate_for_localhost_works_beside_those_of_the_system() {
    let scratch = Authority::new();
    let system = scratch.file("ca.pem");
    for (number, more) in [
        &["-subj", "/CN=localhost"][..],
        &["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        &["-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE"],
        &[
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "extendedKeyUsage=serverAuth",
        ],
    ]
    .into_iter()
    .enumerate()
    {
        let directory = scratch.path(&format!("self{number}"));
        fs::create_dir(&directory).unwrap();
        let Some(own) = by_openssl(&directory, "self", more) else { return };
        let server = Server::start(&["--tls-cert", &own]);
        let both = directory.join("both.pem");
        let bundle = [fs::read(system).unwrap(), fs::read(&own).unwrap()].concat();
        fs::write(&both, bundle).unwrap();
        let get = |anchors: &Path, known: &str| {
            let url = format!("https://localhost:{}/", server.port());
            let known = directory.join(known);
            let mut command = anyport_command(&["ls", &url, "--known-hosts"]);
            command.arg(known).env("SSL_CERT_FILE", anchors).env_remove("SSL_CERT_DIR");
            Running::start(command, None).outcome().succeeds()
        };
        let stranger = get(Path::new(system), "strangers");
        assert!(stranger.stderr.contains("on first use"), "{more:?}: {stranger:?}");
        let again = get(Path::new(system), "strangers");
        assert!(!again.stderr.contains("on first use"), "{more:?}: {again:?}");
        let trusted = get(&both, "trusted");
        assert!(!trusted.stderr.contains("on first use"), "{more:?}: {trusted:?}");
        let both_ways = get(&both, "strangers");
        assert_eq!(both_ways.stderr, "", "{more:?}");
    }
}

#[test]
fn a_server_that_requires_certificates_admits_no_other_client() {
    let (authority, third_party) = (Authority::new(), Authority::new());
    let meeting = Meeting::new(&["--tls-client-ca", authority.file("ca.pem")]);
    let sample = Sample::new("x", b"hello");
    let url = meeting.server.url("tls", "");
    let send = |flags: &[&str]| meeting.client(&[&["send", sample.path(), &url], flags].concat());
    send(&["--cert", authority.sign("me.pem", "me", 2020, 2120)]).succeeds();
    for (wrong, said) in [
        (vec![], "CertificateRequired"),
        (vec!["--cert", third_party.sign("me.pem", "me", 2020, 2120)], "UnknownCA"),
        (vec!["--cert", authority.sign("old.pem", "me", 2020, 2021)], "CertificateExpired"),
    ] {
        // The server says so after its part of the handshake (RFC 8446 §4.4.2.4).
        let refused = send(&[wrong.as_slice(), &["--retry", "0"]].concat());
        assert_ne!(refused.code, Some(0), "{wrong:?}");
        let reason = refusal(&meeting.server);
        assert!(reason.starts_with("TLS handshake failed"), "{reason}");
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    assert_eq!(meeting.server.published().len(), 1);
}

#[test]
fn own_files_travel_under_tls_by_every_scheme_there_and_back() {
    let meeting = Meeting::new(&[]);
    let content = noise(9_000_017, 1);
    let scratch = tempfile::tempdir().unwrap();
    for (number, scheme) in ["tls", "wss", "frames+tls"].into_iter().enumerate() {
        let name = format!("file-{number}");
        let sample = Sample::new(&name, &content);
        meeting.client(&["send", sample.path(), &meeting.server.url(scheme, "")]).succeeds();
        let receipt = receipt(&meeting.server);
        assert!(meeting.server.stored(&receipt) == content);
        let place = if scheme == "wss" { "files/" } else { "" };
        let url = meeting.server.url(scheme, &format!("{place}{name}"));
        let back = scratch.path().join(&name);
        meeting.client(&["get", &url, "-o", back.to_str().unwrap()]).succeeds();
        assert!(fs::read(&back).unwrap() == content, "{scheme}");
        let listed = meeting.client(&["ls", &meeting.server.url(scheme, place)]).succeeds();
        assert!(listed.stdout.contains(&name), "{}", listed.stdout);
    }
    let sample = Sample::new("plain", &content);
    meeting.client(&["send", "--plain", sample.path(), &meeting.server.url("tls", "")]).succeeds();
    assert!(meeting.server.stored(&receipt(&meeting.server)) == content);
    let library = meeting.server.url("wss", "files/by-the-library");
    meeting.client(&["send", "--engine", "library", sample.path(), &library]).succeeds();
    assert!(meeting.server.stored(&receipt(&meeting.server)) == content);
}

#[test]
#[cfg_attr(not(feature = "library-engine"), ignore = "needs library-engine")]
fn the_library_engine_works_under_tls_too() {
    let meeting = Meeting::new(&["--engine", "library"]);
    let content = noise(3_000_000, 2);
    let sample = Sample::new("x", &content);
    meeting.client(&["send", sample.path(), &meeting.server.url("wss", "files/x")]).succeeds();
    assert!(meeting.server.stored(&receipt(&meeting.server)) == content);
}

#[test]
fn a_pipe_goes_from_tls_to_plain_and_back() {
    let meeting = Meeting::new(&[]);
    let content = noise(5_000_000, 3);
    let sample = Sample::new("x", &content);
    let scratch = tempfile::tempdir().unwrap();
    let known = meeting.known_hosts();
    for (number, (give, take)) in [("tls", "tcp"), ("tcp", "tls")].into_iter().enumerate() {
        let url = meeting.server.url(give, "");
        let mut arguments = vec!["send", sample.path(), &url, "--pipe", "k"];
        arguments.extend(["--known-hosts", known.to_str().unwrap()]);
        let giving = start(&arguments);
        let path = scratch.path().join(number.to_string());
        let url = meeting.server.url(take, "");
        meeting.client(&["get", &url, "--pipe", "k", "-o", path.to_str().unwrap()]).succeeds();
        giving.outcome().succeeds();
        assert!(fs::read(path).unwrap() == content);
    }
}

#[test]
fn openssl_curl_and_ncat_are_served_under_tls() {
    let meeting = Meeting::new(&[]);
    let (port, address) = (meeting.server.port(), meeting.server.addresses()[0].to_string());
    for version in ["-tls1_2", "-tls1_3"] {
        let Some(mut openssl) = peer("openssl") else { break };
        openssl.args(["s_client", "-quiet", "-no_ign_eof", version, "-connect", &address]);
        let put = b"ANYPORT/1 PUT by-openssl size=5\nhelloEND\nANYPORT/1 TIME\n";
        let (_, said, _) = run_slowly(openssl, put, "Local time is");
        assert!(said.contains("ANYPORT/1 RECEIPT protocol=raw"), "{version}: {said:?}");
    }
    if let Some(mut curl) = peer("curl") {
        let sample = Sample::new("by-curl", b"hello");
        let url = format!("https://localhost:{port}/");
        let ca = meeting.identity();
        curl.args(["-sS", "--cacert", ca.to_str().unwrap(), "-T", sample.path(), &url]);
        let (succeeded, said, stderr) = run(curl, b"");
        assert!(succeeded && said.contains("blake3:"), "{said} {stderr}");
        let mut curl = peer("curl").unwrap();
        curl.args(["-sSk", "-r", "1-3", &format!("https://127.0.0.1:{port}/by-curl")]);
        assert_eq!(run(curl, b"").1, "ell");
    }
    if let Some(mut ncat) = peer("ncat") {
        ncat.args(["--ssl", "127.0.0.1", &port.to_string()]);
        let (_, said, _) = run_slowly(ncat, b"ANYPORT/1 ECHO\nhello", "hello");
        assert!(said.ends_with("hello"), "{said:?}");
    }
}

/// Keeps stdin open until `expected` has been said: openssl and ncat go at the end of their input,
/// whatever still comes.
fn run_slowly(mut command: Command, input: &[u8], expected: &str) -> (bool, String, String) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    stdin.flush().unwrap();
    let (mut stdout, mut said, mut piece) = (child.stdout.take().unwrap(), Vec::new(), [0; 4096]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !String::from_utf8_lossy(&said).contains(expected) && Instant::now() < deadline {
        match stdout.read(&mut piece).unwrap() {
            0 => break,
            count => said.extend_from_slice(&piece[..count]),
        }
    }
    drop(stdin);
    let _ = child.kill();
    let status = child.wait().unwrap();
    (status.success(), String::from_utf8_lossy(&said).into_owned(), String::new())
}

#[test]
fn a_room_is_one_whether_its_members_are_under_tls_or_not() {
    let meeting = Meeting::new(&[]);
    let mut alice = connect(meeting.server.port());
    alice.write_all(b"ANYPORT/1 JOIN r as alice history=0\n").unwrap();
    assert!(read_line(&mut alice).starts_with("ANYPORT/1 JOINED "));
    read_line(&mut alice);
    let known = meeting.known_hosts();
    let known = known.to_str().unwrap();
    for scheme in ["tls", "wss"] {
        let url = meeting.server.url(scheme, "rooms/r");
        let chat = Running::start(
            anyport_command(&["chat", &url, "--as", scheme, "--known-hosts", known]),
            Some(b"hello\n".to_vec()),
        );
        let name = scheme;
        assert_eq!(read_line(&mut alice), format!("* {name} joined"));
        assert_eq!(read_line(&mut alice), format!("{name}: hello"));
        assert_eq!(read_line(&mut alice), format!("* {name} left"));
        chat.outcome().succeeds();
    }
    // What is said to all is sealed for each.
    let Some(mut websockets) = python_with("websockets") else { return };
    let code = r#"
import asyncio, ssl, sys
import websockets
async def main():
    context = ssl.create_default_context(cafile=sys.argv[1])
    url = f"wss://localhost:{sys.argv[2]}/rooms/r?as=python&history=0"
    async with websockets.connect(url, ssl=context) as ws:
        heard = ""
        while heard != "alice: three":
            heard = await ws.recv()
            print(heard, flush=True)
        await ws.send("over and out")
asyncio.run(main())
"#;
    let identity = meeting.identity();
    let port = meeting.server.port().to_string();
    websockets.args(["-c", code, identity.to_str().unwrap(), &port]);
    let python = std::thread::spawn(move || run(websockets, b""));
    assert_eq!(read_line(&mut alice), "* python joined");
    for text in ["one", "two", "three"] {
        alice.write_all(format!("{text}\n").as_bytes()).unwrap();
    }
    let (succeeded, said, stderr) = python.join().unwrap();
    assert!(succeeded, "{stderr}");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "* you are python in r; here: alice");
    let alice_said: Vec<_> = lines.iter().filter(|line| line.starts_with("alice: ")).collect();
    assert_eq!(alice_said, [&"alice: one", &"alice: two", &"alice: three"]);
    assert_eq!(read_line(&mut alice), "python: over and out");
}

#[test]
fn an_interrupted_upload_is_incomplete() {
    let Some(_) = peer("python3") else { return };
    let meeting = Meeting::new(&[]);
    let content = noise(200_000, 5);
    let code = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
tls = context.wrap_socket(socket.create_connection(("localhost", int(sys.argv[2]))), server_hostname="localhost")
tls.sendall(sys.stdin.buffer.read())
if sys.argv[3] == "whole":
    plain = tls.unwrap()
else:
    plain = socket.socket(fileno=tls.detach())
    plain.shutdown(socket.SHUT_WR)
    plain.recv(1000)
"#;
    for (how, whole) in [("cut", false), ("whole", true)] {
        let mut python = Command::new("python3");
        let identity = meeting.identity();
        python.args(["-c", code, identity.to_str().unwrap()]);
        python.args([&meeting.server.port().to_string(), how]);
        // Raw bytes without a size: the end is all that says it is whole.
        run(python, &content);
        if whole {
            let receipt = receipt(&meeting.server);
            assert!(meeting.server.stored(&receipt) == content);
        } else {
            let event = meeting.server.next_interrupted();
            let reason = event["reason"].as_str().unwrap();
            assert!(reason.contains("no close_notify"), "{reason}");
        }
    }
    assert_eq!(meeting.server.published().len(), 1);
}

#[test]
fn unfinished_handshakes_time_out_and_delay_no_client() {
    let meeting = Meeting::new(&["--handshake-timeout", "1s"]);
    let port = meeting.server.port();
    let hello = client_hello();
    let mut halves: Vec<TcpStream> = (1..=20)
        .map(|part| {
            let mut half = connect(port);
            half.write_all(&hello[..hello.len() * part / 21]).unwrap();
            half
        })
        .collect();
    // A slow client is not given more time: the server closes before its handshake is complete.
    let mut slow = connect(port);
    let is_cut = std::thread::spawn(move || {
        hello.chunks(1).any(|piece| {
            std::thread::sleep(Duration::from_millis(100));
            slow.write_all(piece).is_err()
        })
    });
    let sample = Sample::new("x", b"hello");
    meeting.client(&["send", sample.path(), &meeting.server.url("tls", "")]).succeeds();
    receipt(&meeting.server);
    for half in &mut halves {
        half.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = half.read_to_end(&mut Vec::new());
    }
    assert!(is_cut.join().unwrap());
    let reason = refusal(&meeting.server);
    assert!(reason.contains("not complete within 1s"), "{reason}");
    let answer = converse(&mut connect(port), b"ANYPORT/1 PUT good size=4\ngoodEND\n");
    assert!(answer.starts_with("ANYPORT/1 RECEIPT "), "{answer}");
    assert_eq!(receipt(&meeting.server)["path"], "good");
}

/// What openssl would say first, as our own client says it.
fn client_hello() -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tls://{}/", listener.local_addr().unwrap());
    let sample = Sample::new("x", b"hello");
    let mut client = start(&["send", sample.path(), &url, "--retry", "0"]);
    let mut hello = vec![0; 4096];
    let count = listener.accept().unwrap().0.read(&mut hello).unwrap();
    client.kill();
    hello.truncate(count);
    assert_eq!(hello[..3], [0x16, 3, 1]);
    hello
}

#[test]
fn noise_behind_a_client_hello_ends_one_connection() {
    let meeting = Meeting::new(&[]);
    for seed in 0..50 {
        let mut stream = connect(meeting.server.port());
        let mut hello = client_hello_header();
        hello.extend(noise(4096, seed));
        let _ = stream.write_all(&hello);
        let _ = stream.read_to_end(&mut Vec::new());
        // Reported when it has closed, or has timed out.
        drop(stream);
        let reason = refusal(&meeting.server);
        assert!(reason.starts_with("TLS handshake failed"), "{reason}");
    }
    meeting.server.takes_a_good_file();
}

fn client_hello_header() -> Vec<u8> {
    vec![0x16, 3, 1, 0x0f, 0xff, 1, 0, 0x0f, 0xfb, 3, 3]
}

#[test]
fn where_tls_is_required_other_clients_are_refused() {
    let meeting = Meeting::new(&["--tls", "required"]);
    let port = meeting.server.port();
    assert_eq!(meeting.server.listening()[0]["tls"], "required");
    let get = "GET /a%20b?c=d HTTP/1.1\r\nHost: files.example:99\r\n\r\n";
    let answer = converse(&mut connect(port), get.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"), "{answer}");
    assert!(answer.contains("\r\nLocation: https://files.example:99/a%20b?c=d\r\n"), "{answer}");
    let answer = converse(&mut connect(port), b"GET / HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    for raw in [&b"ANYPORT/1 PUT x size=5\nhelloEND\n"[..], b"hello"] {
        let answer = converse(&mut connect(port), raw);
        assert!(answer.starts_with("ANYPORT/1 ERROR not-supported TLS is required"), "{answer}");
    }
    let mut frames = connect(port);
    frames.write_all(&frame(9, b"anyport/1")).unwrap();
    let (code, reason) = read_close(&mut frames);
    assert_eq!((code, reason.as_str()), (Some(1008), "TLS is required: use wss"));
    let sample = Sample::new("x", b"hello");
    meeting.client(&["send", sample.path(), &meeting.server.url("tcp", "")]).exits(4);
    for scheme in ["tls", "wss", "frames+tls"] {
        let url = meeting.server.url(scheme, "");
        meeting.client(&["send", sample.path(), &url, "--on-exists", "rename"]).succeeds();
    }
    if let Some(mut curl) = peer("curl") {
        curl.args(["-sSkL", &format!("http://127.0.0.1:{port}/x")]);
        assert_eq!(run(curl, b"").1, "hello");
    }
    assert_eq!(meeting.server.published().iter().filter(|name| name.starts_with('x')).count(), 3);
}

#[test]
fn without_tls_a_client_gets_an_alert_whatever_other_listeners_do() {
    let server = Server::start_listening(
        &["any://127.0.0.1:0?tls=off", "any://127.0.0.1:0?tls=required"],
        &[],
    );
    assert!(server.listening()[0].get("fingerprint").is_none());
    let sample = Sample::new("x", b"hello");
    let url = |at: usize| format!("tls://{}/", server.addresses()[at]);
    anyport(&["send", "-k", sample.path(), &url(0)]).exits(7).says("HandshakeFailure");
    anyport(&["send", "-k", sample.path(), &url(1)]).succeeds();
    Server::start(&["--tls", "off"]).takes_a_good_file();
    // A server without TLS closes, or is no anyport server.
    let plain = Server::start(&["--only", "raw"]);
    let outcome = anyport(&["send", "-k", sample.path(), &plain.url("tls", ""), "--retry", "0"]);
    assert_ne!(outcome.code, Some(0));
}

#[test]
fn nothing_below_tls_1_2_is_spoken() {
    let meeting = Meeting::new(&[]);
    let address = meeting.server.addresses()[0].to_string();
    if let Some(mut sslscan) = peer("sslscan") {
        sslscan.args(["--no-colour", &address]);
        let (_, said, _) = run(sslscan, b"");
        for (version, spoken) in [
            ("SSLv2", "disabled"),
            ("SSLv3", "disabled"),
            ("TLSv1.0", "disabled"),
            ("TLSv1.1", "disabled"),
            ("TLSv1.2", "enabled"),
            ("TLSv1.3", "enabled"),
        ] {
            let line = said.lines().find(|line| {
                line.starts_with(version)
                    && (line.ends_with("enabled") || line.ends_with("disabled"))
            });
            assert!(line.is_some_and(|line| line.ends_with(spoken)), "{version}: {said}");
        }
        assert!(said.contains("Session renegotiation not supported"), "{said}");
        assert!(!said.contains("Compression enabled"), "{said}");
    }
    let Some(mut openssl) = peer("openssl") else { return };
    openssl.args(["s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", &address]);
    let (succeeded, ..) = run(openssl, b"");
    assert!(!succeeded);
}

#[test]
fn a_new_certificate_is_loaded_without_a_restart_and_an_invalid_one_is_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let certificate = old.sign("server.pem", "127.0.0.1", 2020, 2120);
    let server = Server::start(&["--tls-cert", certificate]);
    let sample = Sample::new("x", b"hello");
    let url = server.url("tls", "");
    let send = |authority: &Authority| {
        let ca = authority.file("ca.pem");
        anyport(&["send", sample.path(), &url, "--on-exists", "rename", "--cacert", ca])
    };
    send(&old).succeeds();
    let mut running = TlsPeer::connect(server.port());
    running.write(b"ANYPORT/1 TIME\n");
    running.receives("Local time is");
    fs::copy(new.sign("server.pem", "127.0.0.1", 2020, 2120), certificate).unwrap();
    server.signal("HUP");
    wait_until("the new certificate is used", || (send(&new).code == Some(0)).then_some(()));
    send(&old).exits(7);
    fs::write(certificate, "half a cert").unwrap();
    server.signal("HUP");
    server.says("not reloaded");
    server.says("no certificate found");
    send(&new).succeeds();
    // Earlier connections continue.
    running.write(b"ANYPORT/1 TIME\n");
    running.receives("Local time is");
}

/// What goes wrong with the files of a server is said before it listens, and names the file.
#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let certificate = authority.sign("server.pem", "localhost", 2020, 2120);
    let scratch = tempfile::tempdir().unwrap();
    let served = scratch.path().to_str().unwrap();
    let serve = |flags: &[&str]| {
        anyport(&[&["serve", served, "--bind", "127.0.0.1:0"], flags].concat()).exits(2)
    };
    serve(&["--tls-cert", "/nowhere"]).says("/nowhere: No such file");
    serve(&["--tls-cert", authority.file("ca.pem")]).says("ca.pem: no private key");
    serve(&["--tls-key", certificate]).says("--tls-cert");
    serve(&["--tls", "off", "--tls-cert", certificate]).says("cannot be combined with --tls-cert");
    serve(&["--tls-client-ca", "/nowhere"]).says("/nowhere: No such file");
    fs::set_permissions(certificate, fs::Permissions::from_mode(0o644)).unwrap();
    serve(&["--tls-cert", certificate]).says("chmod 600");
    let file = Path::new(served).join("file");
    fs::write(&file, "").unwrap();
    serve(&["--tls-dir", file.to_str().unwrap()]).says("file");
}

/// A name that a certificate cannot have, and a peer that hangs up.
#[test]
fn the_error_names_a_server_without_tls() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tls://{}/", listener.local_addr().unwrap());
    let sample = Sample::new("x", b"hello");
    let client = start(&["send", sample.path(), &url, "--retry", "0"]);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    client.outcome().exits(7).says("TLS handshake with");
    let client = start(&["send", sample.path(), &url, "--retry", "0"]);
    let (mut stream, _) = listener.accept().unwrap();
    let _ = stream.read(&mut [0; 4096]).unwrap();
    drop(stream);
    client.outcome().exits(7).says("does not speak TLS");
}

#[test]
fn an_idle_websocket_under_tls_needs_little_memory() {
    let meeting = Meeting::new(&[]);
    let join = |count: usize| -> Vec<TlsPeer> {
        let join = |_| {
            let mut secured = TlsPeer::connect(meeting.server.port());
            secured.write(upgrade("/echo", "").as_bytes());
            secured.receives("\r\n\r\n");
            // It has said something, and says nothing more.
            secured.write(&frame(TEXT, b"hello"));
            secured.receives("hello");
            secured
        };
        (0..count).map(join).collect()
    };
    let few = join(50);
    let before = meeting.server.memory();
    let many = join(600);
    let each = (meeting.server.memory() - before) / many.len() as u64;
    assert!(each < 20 * 1024, "{each} bytes each");
    drop((few, many));
}

#[test]
fn every_segmentation_of_tls_is_the_same_to_a_session() {
    let meeting = Meeting::new(&[]);
    let content = noise(100_000, 9);
    for step in [1, 2, 3, 5, 21, 22, 23, 1000, 16_383, 16_406, 40_000] {
        let mut secured = TlsPeer::connect(meeting.server.port());
        let mut wire = Vec::new();
        let put = format!("ANYPORT/1 PUT cut-{step} size={}\n", content.len());
        for plain in [put.as_bytes(), &content, b"END\n"] {
            secured.seal(plain, &mut wire);
        }
        // The ends of records are where it matters; a byte at a time for all of it would take a
        // while.
        let (head, tail) = wire.split_at(if step < 1000 { 700 } else { wire.len() });
        for piece in head.chunks(step) {
            secured.stream.write_all(piece).unwrap();
        }
        secured.stream.write_all(tail).unwrap();
        secured.receives("ANYPORT/1 RECEIPT ");
        assert!(meeting.server.stored(&receipt(&meeting.server)) == content, "{step}");
    }
}

/// It was interrupted and may return; a server that never answered has no TLS.
#[test]
fn a_server_that_closes_during_the_handshake_is_an_interruption() {
    for (said, exit, words) in
        [(&[][..], 7, "does not speak TLS"), (&[0x16, 3, 3, 0, 90, 2], 6, " lost after ")]
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // All of the ClientHello, or the end would be a reset.
            let mut header = [0; 5];
            stream.read_exact(&mut header).unwrap();
            let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
            stream.read_exact(&mut vec![0; length]).unwrap();
            stream.write_all(said).unwrap();
        });
        let sample = Sample::new("x", b"content");
        let url = format!("tls://{address}/");
        anyport(&["send", "-k", "--retry", "0", sample.path(), &url]).exits(exit).says(words);
        server.join().unwrap();
    }
}
