//! Measures full TLS handshakes per second, of a running server and of a bare tokio-rustls accept
//! loop, with the same client, in turn.
//!
//! ```text
//! handshakes HOST:PORT [ROUNDS] [SECONDS]
//! ```
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "an example that measures")]

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyport_tls::client::{Client, NewServer, Trust};
use anyport_tls::identity::Identity;
use anyport_tls::server::Server;
use tokio_rustls::TlsAcceptor;

fn main() {
    let mut arguments = env::args().skip(1);
    let server: SocketAddr = arguments.next().expect("HOST:PORT").parse().unwrap();
    let rounds: usize = arguments.next().map_or(5, |rounds| rounds.parse().unwrap());
    let seconds: u64 = arguments.next().map_or(2, |seconds| seconds.parse().unwrap());
    let bare = start_bare();
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let of_bare = rate(bare, Duration::from_secs(seconds));
        let of_server = rate(server, Duration::from_secs(seconds));
        ratios.push(of_server / of_bare);
        println!("round {round}: bare {of_bare:.0}/s, server {of_server:.0}/s");
    }
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
    println!("server over bare: median {:.2} [{least:.2}-{most:.2}]", ratios[ratios.len() / 2]);
}

/// Starts a bare tokio-rustls server, with as many threads as the other server has.
fn start_bare() -> SocketAddr {
    let identity = Identity::in_memory().unwrap();
    let acceptor = TlsAcceptor::from(Server::new(&identity, None, false).unwrap().config().clone());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    use tokio::io::AsyncReadExt;
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        // Until the client disconnects.
                        let _ = stream.read(&mut [0; 1024]).await;
                    }
                });
            }
        });
    });
    address
}

fn rate(server: SocketAddr, time: Duration) -> f64 {
    let client = Arc::new(Client::new(Trust { insecure: true, ..Trust::default() }).unwrap());
    let done = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let threads: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (client, done) = (client.clone(), done.clone());
            thread::spawn(move || {
                while begun.elapsed() < time {
                    shake(server, &client);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

fn shake(server: SocketAddr, client: &Client) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    let (host, new) = (server.ip().to_string(), NewServer::AnyName);
    let (mut machine, _) = client.connect(&host, server.port(), &[], new).unwrap();
    let (mut plain, mut out, mut wire, mut count) = (Vec::new(), Vec::new(), [0; 8192], 0);
    loop {
        machine.open(&mut wire[..count], &mut plain, &mut out).unwrap();
        stream.write_all(&out).unwrap();
        out.clear();
        if !machine.is_handshaking() {
            return;
        }
        count = stream.read(&mut wire).unwrap();
        assert!(count > 0, "the server hung up");
    }
}

/// Number of concurrent handshakes.
const CLIENTS: usize = 4;
