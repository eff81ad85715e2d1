//! Bytes as a peer writes them that shares no code with this workspace.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::harness::DEADLINE;

/// RFC 6455 §1.3: the sample key, and the answer to it.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends, half-closes, and reads all that comes back.
pub(crate) fn converse(stream: &mut TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_text(stream)
}

/// All that comes until the server closes.
pub(crate) fn read_text(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The next line, without its line feed.
pub(crate) fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte).unwrap();
        line.extend_from_slice(&byte);
    }
    line.pop();
    String::from_utf8(line).unwrap()
}

/// A masked frame, the last of its message.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(0x80 | opcode, payload)
}

/// A masked frame with more of its message to come.
pub(crate) fn fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(opcode, payload)
}

/// A masked frame with any first byte.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = masked_header(first, payload.len() as u64);
    let key: [u8; 4] = wire[wire.len() - 4..].try_into().unwrap();
    wire.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    wire
}

/// The header of a masked frame, its key included.
pub(crate) fn masked_header(first: u8, length: u64) -> Vec<u8> {
    let mut wire = header(first, 0x80, length);
    // Each its own key, and never zeros, which would hide a forgotten mask.
    wire.extend_from_slice(&[0xa5, first, length.to_le_bytes()[0] | 1, 0x3c]);
    wire
}

/// A frame that is not masked, as only servers may send it.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    [header(first, 0, payload.len() as u64), payload.to_vec()].concat()
}

fn header(first: u8, mask: u8, length: u64) -> Vec<u8> {
    let mut wire = vec![first];
    match length {
        0..=125 => wire.push(mask | u8::try_from(length).unwrap()),
        126..=65535 => {
            wire.push(mask | 126);
            wire.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            wire.push(mask | 127);
            wire.extend_from_slice(&length.to_be_bytes());
        }
    }
    wire
}

pub(crate) fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// The head of an opening handshake, with further fields (each ends in CR LF).
pub(crate) fn upgrade(path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
}

/// A connection after its opening handshake.
pub(crate) fn websocket(port: u16, path: &str) -> TcpStream {
    websocket_with(port, path, "")
}

/// One that speaks `anyport.file.1`.
pub(crate) fn announced(port: u16) -> TcpStream {
    websocket_with(port, "/", "Sec-WebSocket-Protocol: anyport.file.1\r\n")
}

pub(crate) fn websocket_with(port: u16, path: &str, fields: &str) -> TcpStream {
    let mut stream = connect(port);
    stream.write_all(upgrade(path, fields).as_bytes()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains(ACCEPT), "{head}");
    stream
}

/// A response's head and not a byte more.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let mut head = String::new();
    loop {
        let line = read_line(stream);
        head.push_str(&format!("{line}\n"));
        if line == "\r" {
            return head;
        }
    }
}

/// The next frame of the server: opcode and payload.
pub(crate) fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let [first, second] = read_array(stream);
    assert_eq!(first & 0xf0, 0x80, "fragmented, or reserved bits: {first:02x}");
    assert_eq!(second & 0x80, 0, "masked: {second:02x}");
    let length = match second {
        126 => u64::from(u16::from_be_bytes(read_array(stream))),
        127 => u64::from_be_bytes(read_array(stream)),
        short => u64::from(short),
    };
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).unwrap();
    (first & 0x0f, payload)
}

/// The server's Close: code and reason.
pub(crate) fn read_close(stream: &mut TcpStream) -> (Option<u16>, String) {
    let (opcode, payload) = read_frame(stream);
    assert_eq!(opcode, CLOSE, "{payload:02x?}");
    match payload.split_at_checked(2) {
        Some((code, reason)) => (
            Some(u16::from_be_bytes(code.try_into().unwrap())),
            String::from_utf8(reason.to_vec()).unwrap(),
        ),
        None => (None, String::new()),
    }
}

fn read_array<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}
