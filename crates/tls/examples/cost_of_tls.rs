//! Measures the cost of sending a file under TLS, compared with bare loops with the same cipher, in
//! turn.
//!
//! ```text
//! floor ANYPORT FILE [ROUNDS]
//! ```
//!
//! - `plain`: the file through a buffer into a socket, and out of it again.
//! - `cipher`: the same with AES-128-GCM in records of 16 KiB, in place, at both ends: no TLS can
//!   be faster but in the kernel.
//! - `rustls`: the same through rustls' buffered connections.
//! - `anyport`: `ANYPORT send --plain tls://` to `ANYPORT serve --sink discard`, each a process of
//!   its own.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "an example that measures")]

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Instant;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::pki_types::PrivateKeyDer;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

fn main() {
    let mut arguments = env::args().skip(1);
    let anyport = arguments.next().expect("ANYPORT");
    let file = arguments.next().expect("FILE");
    let rounds: usize = arguments.next().map_or(7, |rounds| rounds.parse().unwrap());
    let server = Running::start(&anyport);
    let arms: [(&str, &dyn Fn()); 4] = [
        ("plain", &|| bare(&file, send_plain, receive_plain)),
        ("cipher", &|| bare(&file, send_sealed, receive_sealed)),
        ("rustls", &|| bare(&file, send_by_rustls, receive_by_rustls)),
        ("anyport", &|| send_by_anyport(&anyport, &file, server.address)),
    ];
    let mut seconds = [const { Vec::new() }; 4];
    for round in 0..=rounds {
        for (arm, seconds) in arms.iter().zip(&mut seconds) {
            let begun = Instant::now();
            arm.1();
            // The first one warms up.
            if round > 0 {
                seconds.push(begun.elapsed().as_secs_f64());
            }
        }
    }
    for ((name, _), arm) in arms.iter().zip(&seconds) {
        let ratios = |over: usize| arm.iter().zip(&seconds[over]).map(|(a, b)| a / b).collect();
        let (plain, rustls): (Vec<f64>, Vec<f64>) = (ratios(0), ratios(2));
        println!(
            "{name:8} {:.3} s, {} of plain, {} of rustls",
            spread(arm.clone()).1,
            shown(plain),
            shown(rustls)
        );
    }
}

fn shown(ratios: Vec<f64>) -> String {
    let (least, median, most) = spread(ratios);
    format!("{median:.2} [{least:.2} to {most:.2}]")
}

fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}

/// Runs both ends in this process, on a thread each.
fn bare(file: &str, send: fn(File, TcpStream), receive: fn(TcpStream)) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = thread::spawn(move || receive(listener.accept().unwrap().0));
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    socket2::SockRef::from(&stream).set_tcp_congestion(b"bbr").unwrap();
    send(File::open(file).unwrap(), stream);
    receiver.join().unwrap();
}

fn send_plain(mut file: File, mut stream: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    while let count @ 1.. = file.read(&mut buffer).unwrap() {
        stream.write_all(&buffer[..count]).unwrap();
    }
}

fn receive_plain(mut stream: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    while stream.read(&mut buffer).unwrap() > 0 {}
}

fn key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap())
}

/// Returns the nonce of a record (RFC 8446 §5.3).
fn nonce(record: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&record.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn send_sealed(mut file: File, mut stream: TcpStream) {
    let (key, mut record) = (key(), 0);
    let mut buffer = vec![0; BUFFER];
    let mut tags = vec![0; BUFFER / RECORD * TAG];
    while let count @ 1.. = file.read(&mut buffer).unwrap() {
        let mut end = 0;
        for plain in buffer[..count].chunks_mut(RECORD) {
            let tag = key.seal_in_place_separate_tag(nonce(record), Aad::empty(), plain).unwrap();
            tags[end..end + TAG].copy_from_slice(tag.as_ref());
            end += TAG;
            record += 1;
        }
        stream.write_all(&tags[..end]).unwrap();
        stream.write_all(&buffer[..count]).unwrap();
    }
}

/// Decrypts any input, without checking it: the cost is the same.
fn receive_sealed(mut stream: TcpStream) {
    let (key, mut record) = (key(), 0);
    let mut buffer = vec![0; BUFFER];
    while let count @ 1.. = stream.read(&mut buffer).unwrap() {
        for sealed in buffer[..count].chunks_mut(RECORD + TAG) {
            let _ = key.open_in_place(nonce(record), Aad::empty(), sealed);
            record += 1;
        }
    }
}

fn send_by_rustls(mut file: File, mut stream: TcpStream) {
    let mut tls =
        ClientConnection::new(CONFIGS.0.clone(), "localhost".try_into().unwrap()).unwrap();
    let mut tls = rustls::Stream::new(&mut tls, &mut stream);
    let mut buffer = vec![0; BUFFER];
    while let count @ 1.. = file.read(&mut buffer).unwrap() {
        tls.write_all(&buffer[..count]).unwrap();
    }
    tls.conn.send_close_notify();
    tls.conn.write_tls(tls.sock).unwrap();
    // Reads the server's last output too: closing with unread input would be a reset.
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

fn receive_by_rustls(mut stream: TcpStream) {
    let mut tls = ServerConnection::new(CONFIGS.1.clone()).unwrap();
    let mut tls = rustls::Stream::new(&mut tls, &mut stream);
    let mut buffer = vec![0; BUFFER];
    while tls.read(&mut buffer).unwrap() > 0 {}
}

/// TLS settings of both ends, with the cipher of the other measurements.
static CONFIGS: LazyLock<(Arc<ClientConfig>, Arc<ServerConfig>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..default_provider()
    });
    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    (Arc::new(client), Arc::new(server))
});

/// A server process, which ends with this one.
struct Running {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Running {
    fn start(anyport: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(anyport)
            .args(["serve", "--bind", "127.0.0.1:0", "--sink", "discard", "--digest", "none"])
            .args(["--json", "--tls-dir"])
            .args([directory.path(), directory.path()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        // Its receipts must be read, or it would block.
        thread::spawn(move || said.read_to_end(&mut Vec::new()));
        let at = line.find("127.0.0.1:").expect("an address");
        let address: String = line[at..].chars().take_while(|c| *c != '"').collect();
        Self { child, address: address.parse().unwrap(), _directory: directory }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send_by_anyport(anyport: &str, file: &str, server: SocketAddr) {
    let sent = Command::new(anyport)
        .args(["send", "--plain", "--insecure", "--digest", "none", "--congestion", "bbr", file])
        .arg(format!("tls://{server}/"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(sent.unwrap().success());
}

/// Size of one read and one write.
const BUFFER: usize = 256 * 1024;

/// Plaintext of a record.
const RECORD: usize = 16 * 1024;

/// Overhead of AES-GCM.
const TAG: usize = 16;
