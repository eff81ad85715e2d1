//! HTTP/2 (RFC 9113) frame by frame, from a client that shares no code with the workspace.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::server::Server;
use super::wire::connect;

/// A connection on which a test writes each frame.
#[derive(Debug)]
pub struct Http2Peer(
    /// The socket.
    pub TcpStream,
);

/// A received frame.
#[derive(Debug)]
pub struct Http2Frame {
    /// Frame type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream identifier.
    pub stream: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// Frame type DATA.
pub const DATA: u8 = 0;
/// Frame type HEADERS.
pub const HEADERS: u8 = 1;
/// Frame type RST_STREAM.
pub const RST_STREAM: u8 = 3;
/// Frame type SETTINGS.
pub const SETTINGS: u8 = 4;
/// Frame type PING.
pub const PING: u8 = 6;
/// Frame type GOAWAY.
pub const GOAWAY: u8 = 7;
/// Frame type WINDOW_UPDATE.
pub const WINDOW_UPDATE: u8 = 8;
/// Frame type CONTINUATION.
pub const CONTINUATION: u8 = 9;

/// Flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// Flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

/// Error code.
pub const PROTOCOL_ERROR: u32 = 1;
/// Error code.
pub const REFUSED_STREAM: u32 = 7;
/// Error code.
pub const CANCEL: u32 = 8;
/// Error code.
pub const ENHANCE_YOUR_CALM: u32 = 11;

impl Http2Peer {
    /// Connects, and exchanges preface and settings.
    pub fn open(server: &Server, settings: &[(u16, u32)]) -> Self {
        Self::over(connect(server.port()), settings)
    }

    /// Exchanges preface and settings over a connection.
    pub fn over(stream: TcpStream, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self(stream);
        peer.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let bytes =
            |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let settings: Vec<u8> = settings.iter().flat_map(bytes).collect();
        peer.send(SETTINGS, 0, 0, &settings);
        peer.until(SETTINGS, 0);
        peer.send(SETTINGS, 1, 0, b"");
        // The window of the connection; until then it is 64 KiB.
        peer.until(WINDOW_UPDATE, 0);
        peer
    }

    /// Sends a frame.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0.write_all(&frame(kind, flags, stream, payload)).unwrap();
    }

    /// Sends the head of a request that has content.
    pub fn put(&mut self, stream: u32, path: &str, length: Option<u64>) {
        let head = head("PUT", path, length);
        self.send(HEADERS, END_HEADERS, stream, &head);
    }

    /// Sends a request without content.
    pub fn get(&mut self, stream: u32, path: &str) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", path, None));
    }

    /// Cancels a stream.
    pub fn reset(&mut self, stream: u32) {
        self.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
    }

    /// Returns the next frame, none at the end of the connection; answers pings.
    pub fn next_frame(&mut self) -> Option<Http2Frame> {
        loop {
            let mut header = [0; 9];
            if self.0.read_exact(&mut header).is_err() {
                return None;
            }
            let [high, middle, low, kind, flags, stream @ ..] = header;
            let length = u32::from_be_bytes([0, high, middle, low]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).unwrap();
            if kind == PING && flags == 0 {
                let _ = self.0.write_all(&frame(PING, 1, 0, &payload));
                continue;
            }
            return Some(Http2Frame { kind, flags, stream: u32::from_be_bytes(stream), payload });
        }
    }

    /// Returns the next frame of that type and stream.
    #[track_caller]
    pub fn until(&mut self, kind: u8, stream: u32) -> Http2Frame {
        while let Some(frame) = self.next_frame() {
            if frame.kind == kind && frame.stream == stream {
                return frame;
            }
        }
        panic!("the connection ended before a frame {kind} of stream {stream}");
    }

    /// Waits for the heads of `count` responses.
    #[track_caller]
    pub fn heads(&mut self, count: usize) {
        for _ in 0..count {
            while self.next_frame().unwrap().kind != HEADERS {}
        }
    }

    /// Reads to the end of the connection; returns the last GOAWAY's error code.
    pub fn end(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(frame) = self.next_frame() {
            if frame.kind == GOAWAY {
                reason = Some(number(&frame.payload[4..8]));
            }
        }
        reason
    }
}

/// Reads a number of four bytes.
pub fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

/// Encodes a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Encodes a field as a literal with a new name, not indexed (RFC 7541 §6.2.2).
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// Encodes the field block of a request.
pub fn head(method: &str, path: &str, length: Option<u64>) -> Vec<u8> {
    let mut head = [
        field(":method", method),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", "a"),
    ]
    .concat();
    if let Some(length) = length {
        head.extend(field("content-length", &length.to_string()));
    }
    head
}
