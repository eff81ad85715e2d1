//! A sender and a receiver on fastwebsockets, as small as they can be: what they tell is what `anyport serve --json` tells.
//!
//! ```text
//!   anyport-peer-fastwebsockets receive [FILE]
//!   anyport-peer-fastwebsockets send FILE ADDRESS FRAME_SIZE CONGESTION
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket};
use rustix::net::sockopt::set_tcp_congestion;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Done = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--version"] => println!("fastwebsockets 0.10"),
        ["receive"] => receive(None).await?,
        ["receive", path] => receive(Some(File::create(path)?)).await?,
        ["send", path, to, frame_size, congestion] => {
            send(File::open(path)?, to, frame_size.parse()?, congestion).await?;
        }
        _ => return Err("receive [FILE], or send FILE ADDRESS FRAME_SIZE CONGESTION".into()),
    }
    Ok(())
}

async fn receive(mut out: Option<File>) -> Done {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(r#"{{"event":"listening","addr":"{}"}}"#, listener.local_addr()?);
    let (mut stream, _) = listener.accept().await?;
    let head = head(&mut stream).await?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept(field(&head, "sec-websocket-key").ok_or("no key")?)
    );
    stream.write_all(answer.as_bytes()).await?;
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_max_message_size(LONGEST);
    let (mut bytes, mut first, mut last) = (0, None, None);
    let reason = loop {
        match socket.read_frame().await {
            Ok(frame) => match frame.opcode {
                OpCode::Binary | OpCode::Text | OpCode::Continuation => {
                    last = Some(Instant::now());
                    first = first.or(last);
                    bytes += frame.payload.len();
                    if let Some(out) = &mut out {
                        out.write_all(&frame.payload)?;
                    }
                }
                // The library answers it by itself.
                OpCode::Close => break None,
                OpCode::Ping | OpCode::Pong => {}
            },
            Err(error) => break Some(error.to_string()),
        }
    };
    let seconds = first.zip(last).map_or(0.0, |(first, last)| (last - first).as_secs_f64());
    match reason {
        None => println!(r#"{{"event":"receipt","bytes":{bytes},"seconds":{seconds}}}"#),
        Some(reason) => println!(r#"{{"event":"interrupted","reason":{reason:?}}}"#),
    }
    // The sender waits for the end of the stream. We are ended by whoever reads the receipt, as a server is.
    drop(socket);
    std::future::pending().await
}

async fn send(mut file: File, to: &str, frame_size: usize, congestion: &str) -> Done {
    let mut stream = TcpStream::connect(to).await?;
    set_tcp_congestion(&stream, congestion)?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {to}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let head = head(&mut stream).await?;
    if field(&head, "sec-websocket-accept") != Some(&accept(KEY)) {
        return Err(format!("no upgrade: {head}").into());
    }
    let mut socket = WebSocket::after_handshake(stream, Role::Client);
    let mut buffer = vec![0; frame_size];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        // Borrowed for change, so that it is masked where it lies.
        socket.write_frame(Frame::binary(Payload::BorrowedMut(&mut buffer[..count]))).await?;
    }
    socket.write_frame(Frame::close(1000, b"")).await?;
    while socket.read_frame().await.is_ok_and(|frame| frame.opcode != OpCode::Close) {}
    Ok(())
}

/// Up to the blank line, and not a byte of the frames behind it.
async fn head(stream: &mut TcpStream) -> Result<String, Box<dyn Error>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head)?)
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// RFC 6455 §4.2.2.
fn accept(key: &str) -> String {
    STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")))
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// No message of the bench is longer.
const LONGEST: usize = 1 << 30;
