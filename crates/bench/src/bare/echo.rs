//! A baseline for echo: one thread and epoll, no protocol. The additional time of an echo server is
//! its own cost.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use anyport_console::to_stdout;
use rustix::event::epoll;
use serde_json::json;

/// Echoes for all clients until the benchmark ends it.
pub(crate) fn echo() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot poll")?;
    let new = epoll::EventData::new_u64(NEW);
    epoll::add(&poll, &listener, new, epoll::EventFlags::IN)?;
    let event = json!({ "event": "listening", "addr": listener.local_addr()?.to_string() });
    to_stdout(&event.to_string())?;
    let (mut peers, mut next) = (HashMap::new(), NEW + 1);
    let mut buffer = vec![0; 64 * 1024];
    let mut ready = Vec::with_capacity(1024);
    loop {
        ready.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut ready), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot poll"),
        }
        for event in &ready {
            let who = event.data.u64();
            if who == NEW {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let data = epoll::EventData::new_u64(next);
                    epoll::add(&poll, &stream, data, epoll::EventFlags::IN)?;
                    peers.insert(next, Peer { stream, owed: Vec::new() });
                    next += 1;
                }
            } else if let Some(peer) = peers.get_mut(&who)
                && !peer.turn(&poll, who, &mut buffer)
            {
                peers.remove(&who);
            }
        }
    }
}

struct Peer {
    stream: TcpStream,
    /// Input that was not written back yet. Nothing more is read until it is.
    owed: Vec<u8>,
}

impl Peer {
    /// False when it is gone.
    fn turn(&mut self, poll: &OwnedFd, who: u64, buffer: &mut [u8]) -> bool {
        let owes = !self.owed.is_empty();
        let done = if owes {
            let owed = std::mem::take(&mut self.owed);
            self.give(&owed)
        } else {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(count) => self.give(&buffer[..count]),
                Err(error) => {
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
                }
            }
        };
        let owed = !self.owed.is_empty();
        if done && owes != owed {
            let wanted = if owed { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            let data = epoll::EventData::new_u64(who);
            return epoll::modify(poll, &self.stream, data, wanted).is_ok();
        }
        done
    }

    fn give(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write(bytes) {
            Ok(count) => self.owed.extend_from_slice(&bytes[count..]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.owed.extend_from_slice(bytes);
            }
            Err(_) => return false,
        }
        true
    }
}

/// Epoll data of the listening socket.
const NEW: u64 = 0;
