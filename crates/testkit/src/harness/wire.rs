//! TCP connections and WebSocket frames (RFC 6455) of a peer that shares no code with the
//! workspace.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpStream};

use super::waiting::{DEADLINE, wait_until};

/// The sample key of RFC 6455 §1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The response to [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Opcode.
pub const CONTINUATION: u8 = 0;
/// Opcode.
pub const TEXT: u8 = 1;
/// Opcode.
pub const BINARY: u8 = 2;
/// Opcode.
pub const CLOSE: u8 = 8;
/// Opcode.
pub const PING: u8 = 9;
/// Opcode.
pub const PONG: u8 = 10;

/// Connects to a port of 127.0.0.1, with [`DEADLINE`] for each operation.
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Connects from another address of this machine, which the standard library cannot choose.
pub fn connect_from(source: &str, port: u16) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let source: SocketAddr = format!("{source}:0").parse().unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Resets a connection: closing a socket with unread bytes sends RST (RFC 2525 §2.17), so the
/// server must have sent some.
pub fn reset(stream: TcpStream) {
    let mut byte = [0];
    assert_eq!(stream.peek(&mut byte).unwrap(), 1);
    drop(stream);
}

/// Waits until the peer, a process of this machine, has read everything that was written to an IPv4
/// connection: its receive queue (`rx_queue` of `/proc/net/tcp`) is empty.
pub fn wait_until_read(stream: &TcpStream) {
    let [ours, theirs] = [stream.local_addr(), stream.peer_addr()].map(|address| {
        let SocketAddr::V4(address) = address.unwrap() else { panic!("no IPv4: {stream:?}") };
        kernel_notation(address)
    });
    let addresses = format!(" {theirs} {ours} ");
    wait_until("a peer that reads everything", || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let socket = sockets.lines().find(|line| line.contains(&addresses))?;
        let queues = socket.split_whitespace().nth(4).unwrap();
        queues.ends_with(":00000000").then_some(())
    });
}

/// Returns an address as `/proc/net/tcp` writes it.
fn kernel_notation(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

/// Sends `bytes`, shuts down writing, and reads to the end.
pub fn converse(stream: &mut TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_text(stream)
}

/// Reads until the server closes.
pub fn read_text(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads a line, and returns it without its line feed.
pub fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte).unwrap();
        line.extend_from_slice(&byte);
    }
    line.pop();
    String::from_utf8(line).unwrap()
}

/// Encodes a masked frame, the last of its message.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(0x80 | opcode, payload)
}

/// Encodes a masked frame that is not the last of its message.
pub fn fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(opcode, payload)
}

/// Encodes a masked frame with any first byte.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = masked_header(first, payload.len() as u64);
    let key: [u8; 4] = wire[wire.len() - 4..].try_into().unwrap();
    wire.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    wire
}

/// Encodes the header of a masked frame, with its key.
pub fn masked_header(first: u8, length: u64) -> Vec<u8> {
    let mut wire = header(first, 0x80, length);
    // A key for each frame, and never zeros, which would hide a missing mask.
    wire.extend_from_slice(&[0xa5, first, length.to_le_bytes()[0] | 1, 0x3c]);
    wire
}

/// Encodes a frame that is not masked, as only servers may send it.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
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

/// Encodes a Close frame.
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// Returns the head of an opening handshake, with further fields (each ends in CR LF).
pub fn upgrade(path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
}

/// Connects, and completes the opening handshake.
pub fn websocket(port: u16, path: &str) -> TcpStream {
    websocket_with(port, path, "")
}

/// Connects with the subprotocol `anyport.file.1`.
pub fn announced(port: u16) -> TcpStream {
    websocket_with(port, "/", "Sec-WebSocket-Protocol: anyport.file.1\r\n")
}

/// Connects with further fields in the opening handshake.
pub fn websocket_with(port: u16, path: &str, fields: &str) -> TcpStream {
    let mut stream = connect(port);
    stream.write_all(upgrade(path, fields).as_bytes()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains(ACCEPT), "{head}");
    stream
}

/// Reads a response's head, and no byte of its content.
pub fn read_head(stream: &mut TcpStream) -> String {
    let mut head = String::new();
    loop {
        let line = read_line(stream);
        head.push_str(&format!("{line}\n"));
        if line == "\r" {
            return head;
        }
    }
}

/// Reads a frame of the server; returns opcode and payload.
pub fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
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

/// Reads the server's Close; returns code and reason.
pub fn read_close(stream: &mut TcpStream) -> (Option<u16>, String) {
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
