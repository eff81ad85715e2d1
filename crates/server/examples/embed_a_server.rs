//! A program that receives files: the server of anyport as a library.
//!
//! ```text
//! $ cargo run -p anyport-server --example embed_a_server -- 127.0.0.1:9000 inbox &
//! $ echo hello | curl -T - http://127.0.0.1:9000/greeting.txt
//! received: http/own 127.0.0.1:40042 …
//! ```
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::net::TcpListener;

use anyport_proto::transfer::receipt::Receipt;
use anyport_server::{Config, Interrupted, Observer, Refused, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, directory] = &arguments[..] else {
        return Err("expected ADDRESS DIRECTORY".into());
    };
    // The caller binds the sockets, so it knows their ports before the server runs.
    let listeners = vec![TcpListener::bind(address)?.into()];
    let server = Server::new(Config::new(directory), listeners, Printer)?;
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    // Ctrl-C drains: running transfers may finish, until the drain timeout of `Config`.
    server.run(interrupted, std::future::pending()).await;
    Ok(())
}

/// Gets the events of the server. Its methods run on the server's threads and must not block.
struct Printer;

impl Observer for Printer {
    fn receipt(&self, receipt: &Receipt) {
        println!("received: {}", receipt.human_line());
    }

    fn interrupted(&self, transfer: &Interrupted) {
        println!("interrupted after {} bytes: {}", transfer.bytes, transfer.reason);
    }

    fn refused(&self, peer: &Refused) {
        println!("refused {}: {}", peer.peer, peer.reason);
    }
}
