//! permessage-deflate (RFC 7692) from a client that shares no code with the workspace.

use std::io::Write;
use std::net::TcpStream;

use flate2::{Compress, Compression, FlushCompress};

use super::wire::{connect, read_head, upgrade};

/// RSV1 and FIN in the first byte of a frame.
pub const COMPRESSED: u8 = 0xc0;

/// The field of an opening handshake that offers the extension.
pub const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

/// Opens a WebSocket on which both sides agreed on compression.
pub fn compressing(port: u16, path: &str) -> TcpStream {
    let mut stream = connect(port);
    stream.write_all(upgrade(path, OFFER).as_bytes()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.contains("\nSec-WebSocket-Extensions: permessage-deflate\r\n"), "{head}");
    stream
}

/// Returns the compressed payload of at least `zeros` zeros.
pub fn bomb(zeros: u64) -> Vec<u8> {
    let mut deflate = Compress::new(Compression::best(), false);
    let mut payload = Vec::new();
    let block = vec![0; 1024 * 1024];
    for _ in 0..zeros.div_ceil(block.len() as u64) {
        payload.reserve(8 * 1024);
        deflate.compress_vec(&block, &mut payload, FlushCompress::None).unwrap();
    }
    payload.reserve(64 * 1024);
    deflate.compress_vec(&[], &mut payload, FlushCompress::Sync).unwrap();
    payload.truncate(payload.len() - 4);
    payload
}

/// Returns the compressed payload of a message.
pub fn deflated(content: &[u8]) -> Vec<u8> {
    let mut deflate = Compress::new(Compression::best(), false);
    let mut payload = Vec::with_capacity(content.len() + 64);
    deflate.compress_vec(content, &mut payload, FlushCompress::Sync).unwrap();
    payload.truncate(payload.len() - 4);
    payload
}
