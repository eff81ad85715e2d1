//! A baseline for receivers: `recv` into one buffer; then discards, keeps or writes the data.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use anyport_console::{Fsync, SinkKind, to_stdout};
use serde_json::json;

use super::frames::{MAX_HEADER, header_len, read_header, unmask};
use crate::flags::BareReceive;

/// Receives from all clients, a thread each, until the benchmark ends it. Prints the same events as
/// `anyport serve --json`.
pub(crate) fn receive(flags: &BareReceive) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    let event = json!({ "event": "listening", "addr": listener.local_addr()?.to_string() });
    to_stdout(&event.to_string())?;
    std::thread::scope(|scope| {
        for number in 0.. {
            let (socket, _) = listener.accept().context("cannot accept")?;
            scope.spawn(move || {
                let event = match take(socket, flags, number) {
                    Ok(receipt) => receipt,
                    Err(error) => {
                        json!({ "event": "interrupted", "reason": format!("{error:#}") })
                    }
                };
                // Without a reader there is no bench.
                let _ = to_stdout(&event.to_string());
            });
        }
        Ok(())
    })
}

fn take(mut socket: TcpStream, flags: &BareReceive, number: u64) -> Result<serde_json::Value> {
    let name = format!("bare-{number}.bin");
    let mut rest = match flags.sink {
        SinkKind::Discard => Rest::Nowhere,
        SinkKind::Memory => Rest::Memory(Vec::new()),
        SinkKind::File => Rest::File(File::create_new(flags.directory.join(&name))?),
    };
    // Touched beforehand, like the buffers of the product.
    let mut buffer = vec![1; flags.buffer];
    let mut frames = Frames::default();
    let (mut bytes, mut first, mut last) = (0, None, Instant::now());
    loop {
        let count = socket.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        last = Instant::now();
        first.get_or_insert(last);
        let piece = &mut buffer[..count];
        bytes += if flags.frames {
            frames.take(piece, &mut rest)?
        } else {
            rest.keep(piece)?;
            count as u64
        };
    }
    if !frames.at_border() {
        bail!("connection closed inside a frame");
    }
    let first = first.unwrap_or(last);
    let seconds = last.duration_since(first).as_secs_f64();
    let stored = matches!(rest, Rest::File(_));
    if let (Rest::File(file), Fsync::File) = (&rest, flags.fsync) {
        file.sync_all()?;
        File::open(&flags.directory)?.sync_all()?;
    }
    Ok(json!({
        "event": "receipt", "bytes": bytes, "seconds": seconds,
        "durable_seconds": stored.then(|| first.elapsed().as_secs_f64()),
        "path": stored.then_some(name),
    }))
}

/// The destination of the data.
enum Rest {
    Nowhere,
    Memory(Vec<Box<[u8]>>),
    File(File),
}

impl Rest {
    fn keep(&mut self, piece: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Nowhere => {}
            // Separate pieces: growing one block would copy all of it from time to time.
            Self::Memory(pieces) => pieces.push(piece.into()),
            Self::File(file) => file.write_all(piece)?,
        }
        Ok(())
    }
}

/// The position within the frames after a read.
#[derive(Default)]
struct Frames {
    /// The beginning of an incomplete header.
    partial: [u8; MAX_HEADER],
    partial_len: usize,
    /// Remaining payload of the current frame.
    left: u64,
    key: [u8; 4],
}

impl Frames {
    /// Unmasks all payload of a piece in place, and returns its length.
    fn take(&mut self, mut piece: &mut [u8], rest: &mut Rest) -> Result<u64> {
        let mut bytes = 0;
        while !piece.is_empty() {
            if self.left == 0 {
                piece = self.header(piece)?;
                continue;
            }
            let count = piece.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let (payload, next) = piece.split_at_mut(count);
            self.key = unmask(payload, self.key);
            rest.keep(payload)?;
            self.left -= count as u64;
            bytes += count as u64;
            piece = next;
        }
        Ok(bytes)
    }

    /// Reads a header, or a part of it, from the front of a piece.
    fn header<'a>(&mut self, piece: &'a mut [u8]) -> Result<&'a mut [u8]> {
        let wanted = header_len(&self.partial[..self.partial_len]).unwrap_or(2);
        let count = piece.len().min(wanted - self.partial_len);
        let (header, next) = piece.split_at_mut(count);
        self.partial[self.partial_len..self.partial_len + count].copy_from_slice(header);
        self.partial_len += count;
        let partial = &self.partial[..self.partial_len];
        if header_len(partial) == Some(self.partial_len) {
            (self.left, self.key) = read_header(partial)?;
            self.partial_len = 0;
        }
        Ok(next)
    }

    const fn at_border(&self) -> bool {
        self.left == 0 && self.partial_len == 0
    }
}
