//! The bare sender: a loop of writes, plain bytes or masked frames.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use anyport_console::to_stdout;
use fastrand::Rng;
use serde_json::json;

use super::frames::{MAX_HEADER, mask_into, write_header};
use crate::flags::BareSend;

pub(crate) fn send(flags: &BareSend) -> Result<()> {
    let mut source = Source {
        file: flags.file.as_ref().map(File::open).transpose().context("cannot open the file")?,
        left: flags.size,
        buffer: noise(flags.buffer),
    };
    let mut socket = TcpStream::connect(flags.to).context("cannot connect")?;
    flags.congestion.apply(&socket, socket.local_addr()?, socket.peer_addr()?)?;
    socket.set_nodelay(true)?;
    if flags.handshake {
        handshake(&mut socket, flags)?;
    }
    let begin = Instant::now();
    match flags.frame_size {
        None => plain(&mut socket, &mut source)?,
        Some(frame_size) => framed(&mut socket, &mut source, frame_size)?,
    }
    if flags.handshake {
        // A Close frame with code 1000; a mask key of zeros leaves its payload unchanged.
        socket.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8])?;
    }
    socket.shutdown(Shutdown::Write)?;
    // A receiver that closes with unread bytes resets the connection, so a FIN confirms that it
    // has read all of them.
    let mut answer = [0; 4096];
    while socket.read(&mut answer).context("the receiver did not read all bytes")? > 0 {}
    let seconds = begin.elapsed().as_secs_f64();
    let sent = json!({ "event": "sent", "bytes": flags.size, "seconds": seconds });
    to_stdout(&sent.to_string()).context("cannot write to stdout")
}

fn plain(socket: &mut TcpStream, source: &mut Source) -> Result<()> {
    loop {
        let piece = source.next(usize::MAX)?;
        if piece.is_empty() {
            return Ok(());
        }
        socket.write_all(piece)?;
    }
}

/// Writes masked frames into one buffer, and sends the buffer when it is full.
fn framed(socket: &mut TcpStream, source: &mut Source, frame_size: usize) -> Result<()> {
    let mut random = Rng::with_seed(source.left);
    let mut out = vec![0; source.buffer.len() + MAX_HEADER];
    let (mut at, mut left, mut key) = (0, 0, [0; 4]);
    while source.left > 0 {
        if at + MAX_HEADER >= out.len() {
            socket.write_all(&out[..at])?;
            at = 0;
        }
        if left == 0 {
            left = frame_size.min(usize::try_from(source.left).unwrap_or(usize::MAX));
            key = random.u32(..).to_ne_bytes();
            at += write_header(&mut out[at..], left, key);
        }
        let piece = source.next(left.min(out.len() - at))?;
        key = mask_into(&mut out[at..at + piece.len()], piece, key);
        left -= piece.len();
        at += piece.len();
    }
    socket.write_all(&out[..at])?;
    Ok(())
}

/// The data to send: a file through one buffer, or the same buffer repeatedly.
struct Source {
    file: Option<File>,
    left: u64,
    buffer: Vec<u8>,
}

impl Source {
    fn next(&mut self, most: usize) -> Result<&[u8]> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let mut count = left.min(most).min(self.buffer.len());
        if let Some(file) = &mut self.file
            && count > 0
        {
            count = file.read(&mut self.buffer[..count])?;
            if count == 0 {
                bail!("the file ended {} bytes early", self.left);
            }
        }
        self.left -= count as u64;
        Ok(&self.buffer[..count])
    }
}

/// Sends the upgrade request, and reads a 101 response. It does not verify Sec-WebSocket-Accept,
/// whose cost would not be measurable.
fn handshake(socket: &mut TcpStream, flags: &BareSend) -> Result<()> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        flags.to
    );
    socket.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if socket.read(&mut byte)? == 0 || head.len() > 16 * 1024 {
            bail!("no response to the WebSocket handshake");
        }
        head.extend_from_slice(&byte);
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        return Ok(());
    }
    let line = String::from_utf8_lossy(&head);
    bail!("WebSocket handshake refused: {}", line.lines().next().unwrap_or_default())
}

/// Returns pseudorandom bytes, in pages that are already mapped.
fn noise(size: usize) -> Vec<u8> {
    let mut random = Rng::with_seed(size as u64);
    let mut noise = vec![0; size];
    random.fill(&mut noise);
    noise
}
