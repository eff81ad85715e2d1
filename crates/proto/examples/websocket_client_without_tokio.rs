//! A WebSocket client on a blocking socket: one message, its echo, a clean close.
//!
//! ```text
//! $ anyport serve &
//! $ cargo run -p anyport-proto --example websocket_client_without_tokio -- \
//!       127.0.0.1:8331 /echo hello
//! hello
//! ```
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;

use anyport_proto::http1::{Pushed, ResponseHeadReader};
use anyport_proto::limits::Limits;
use anyport_proto::ws::handshake::{ClientTarget, Key, request, verify};
use anyport_proto::ws::{CloseCode, Event, KeySource, Kind, Receiver, Role, Sender};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [host, path, message] = &arguments[..] else {
        return Err("expected HOST:PORT PATH MESSAGE".into());
    };
    let limits = Limits::default();
    let mut stream = TcpStream::connect(host)?;
    let mut buffer = [0; 4096];

    // The opening handshake: the machine composes and checks, this function owns the socket.
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce)?;
    let key = Key::from_bytes(nonce);
    let target = ClientTarget { host, path, subprotocols: &[], fields: &[], deflate: false };
    stream.write_all(&request(&target, &key)?)?;
    let mut head_reader = ResponseHeadReader::new();
    let mut input = loop {
        let count = read(&mut stream, &mut buffer)?;
        if let Pushed::Done { head, used } = head_reader.push(&buffer[..count], &limits)? {
            verify(&head, &key, &target)?;
            // Bytes behind the head are frames.
            break buffer[used..count].to_vec();
        }
    };

    let mut receiver = Receiver::new(Role::Client, &limits);
    let mut sender = Sender::client(RandomKeys);
    let mut output = Vec::new();
    sender.message(Kind::Text, message.as_bytes(), &mut output)?;
    let mut echo = Vec::new();
    loop {
        let mut rest = &mut input[..];
        // The receiver unmasks in place and lends slices of `input`; it stores no payload.
        while let (used, Some(event)) = receiver.feed(rest)? {
            match event {
                Event::Data { data, end, .. } => {
                    echo.extend_from_slice(data);
                    if end {
                        println!("{}", String::from_utf8_lossy(&echo));
                        sender.close(Some(CloseCode::NORMAL), "", &mut output);
                    }
                }
                Event::Ping(payload) => sender.pong(payload, &mut output),
                Event::Pong(_) => {}
                Event::Close { .. } => return Ok(()),
            }
            rest = &mut std::mem::take(&mut rest)[used..];
        }
        stream.write_all(&output)?;
        output.clear();
        let count = read(&mut stream, &mut buffer)?;
        input = buffer[..count].to_vec();
    }
}

fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize, Box<dyn Error>> {
    match stream.read(buffer)? {
        0 => Err("the server closed the connection".into()),
        count => Ok(count),
    }
}

/// Masking keys, which must be unpredictable (RFC 6455 section 10.3).
struct RandomKeys;

impl KeySource for RandomKeys {
    fn next_key(&mut self) -> [u8; 4] {
        let mut key = [0; 4];
        getrandom::fill(&mut key).expect("the kernel has random bytes");
        key
    }
}
