//! The connections of a reactor: a slab of sockets, each with its session and what waits for its
//! peer.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};
use slab::Slab;

use super::queue::Queue;
use crate::copy::{Interest, Read, Session};
use crate::tcp_info::Delivery;
use crate::unix::is_closed_with_input;

/// The index of a connection in its reactor, valid until the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u32);

impl Key {
    /// The key of a connection that never arrived.
    pub(super) const NOWHERE: Self = Self(u32::MAX);

    pub(super) fn from_data(data: u64) -> Option<Self> {
        u32::try_from(data).ok().map(Self)
    }

    const fn data(self) -> epoll::EventData {
        epoll::EventData::new_u64(self.0 as u64)
    }

    /// Returns the key of a host that numbers its connections itself.
    pub const fn of(number: u32) -> Self {
        Self(number)
    }

    /// Returns the index: a small number, reused after the connection ends.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// All connections of a reactor.
#[derive(Debug)]
pub struct Wires<S> {
    poll: OwnedFd,
    slab: Slab<Wire<S>>,
    /// Connections that changed during the host's turn, whether output was queued before, and the
    /// error.
    pub(super) touched: Vec<(Key, bool, Option<io::Error>)>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Wire<S> {
    socket: TcpStream,
    pub(super) session: S,
    queue: Option<Box<Queue>>,
    /// When the idle timeout, or the timeout of unread output, expires.
    pub(super) deadline: Option<Instant>,
    /// Delivery statistics when the peer was last waited for.
    delivery: Option<Delivery>,
    pub(super) state: Phase,
    /// Until when nothing is read; then the session gets a timer event ([`Interest::wake`]).
    pub(super) wake: Option<Instant>,
    /// It reads while output is queued ([`Read::WhileProducing`]).
    reads_while_queued: bool,
    watched: EventFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// The peer sent FIN, and the session had something to send first.
    Ended,
    /// Sends the queue, then FIN. `by_host`: the host closes the connection.
    Finishing {
        by_host: bool,
    },
    /// FIN is sent; further input is discarded, because unread input would turn the close into a
    /// reset.
    Lingering {
        drained: u64,
    },
}

impl Phase {
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Self::Open)
    }

    pub(super) const fn is_lingering(self) -> bool {
        matches!(self, Self::Lingering { .. })
    }

    /// Counts discarded bytes.
    pub(super) const fn drained(&mut self, count: u64) -> u64 {
        match self {
            Self::Lingering { drained } => {
                *drained += count;
                *drained
            }
            _ => 0,
        }
    }
}

/// How much of a queue the kernel accepted.
pub(super) enum Flushed {
    All,
    Some,
    None,
}

impl<S: Session> Wires<S> {
    pub(super) const fn new(poll: OwnedFd) -> Self {
        Self { poll, slab: Slab::new(), touched: Vec::new() }
    }

    /// Returns the session of a connection.
    pub fn session(&mut self, key: Key) -> Option<&mut S> {
        self.get(key).map(|wire| &mut wire.session)
    }

    /// Returns the number of bytes that are queued for a peer.
    pub fn queued(&self, key: Key) -> usize {
        self.slab.get(key.index()).map_or(0, Wire::queued)
    }

    /// Sends what the socket accepts, after what is queued already; the rest is queued, shared with
    /// other owners of `bytes`.
    pub fn write(&mut self, key: Key, bytes: &Bytes) {
        self.write_sealed(key, bytes, false);
    }

    fn write_sealed(&mut self, key: Key, bytes: &Bytes, is_last: bool) {
        let Some(wire) = self.slab.get_mut(key.index()) else { return };
        if !wire.state.is_open() {
            return;
        }
        let waited = wire.queued() > 0;
        // A panic of one session must not affect the others.
        let sealed = catch_unwind(AssertUnwindSafe(|| wire.session.relay(bytes, is_last)));
        let sealed = sealed.unwrap_or_else(|_| Some(Err(io::Error::other("internal error"))));
        let written = match sealed {
            None => wire.write(bytes),
            Some(sealed) => sealed.and_then(|mut sealed| wire.write_vec(&mut sealed)),
        };
        match written {
            // The events to wait for have not changed.
            Ok(()) if wire.queued() == 0 || waited => {}
            Ok(()) => self.touched.push((key, waited, None)),
            Err(error) => self.touched.push((key, waited, Some(error))),
        }
    }

    /// Closes a connection after the queue and `last` are sent, for which there is a short timeout.
    pub fn finish(&mut self, key: Key, last: &Bytes) {
        self.write_sealed(key, last, true);
        if let Some(wire) = self.slab.get_mut(key.index()).filter(|wire| wire.state.is_open()) {
            wire.state = Phase::Finishing { by_host: true };
            self.touched.push((key, false, None));
        }
    }

    pub(super) const fn poll(&self) -> &OwnedFd {
        &self.poll
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut Wire<S>> {
        self.slab.get_mut(key.index())
    }

    pub(super) fn add(&mut self, socket: TcpStream, session: S) -> Result<Key, (S, io::Error)> {
        let entry = self.slab.vacant_entry();
        let Ok(index) = u32::try_from(entry.key()) else {
            return Err((session, io::ErrorKind::OutOfMemory.into()));
        };
        let (key, watched) = (Key(index), EventFlags::IN);
        if let Err(error) = epoll::add(&self.poll, &socket, key.data(), watched) {
            return Err((session, error.into()));
        }
        let (state, queue, deadline, delivery) = (Phase::Open, None, None, None);
        let (wake, reads_while_queued) = (None, false);
        entry.insert(Wire {
            socket,
            session,
            queue,
            deadline,
            delivery,
            state,
            wake,
            reads_while_queued,
            watched,
        });
        Ok(key)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<S> {
        // Closing the socket removes it from the epoll set.
        self.slab.try_remove(key.index()).map(|wire| wire.session)
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.slab.iter().filter_map(|(index, _)| u32::try_from(index).ok().map(Key)).collect()
    }

    /// Returns the connections whose deadline has passed.
    pub(super) fn late(&self, now: Instant) -> Vec<Key> {
        let late = |wire: &Wire<S>| wire.deadline.is_some_and(|deadline| deadline <= now);
        let late = self.slab.iter().filter(|(_, wire)| late(wire));
        late.filter_map(|(index, _)| u32::try_from(index).ok().map(Key)).collect()
    }

    /// Updates the events that the kernel reports for a connection.
    pub(super) fn watch(&mut self, key: Key) {
        let Some(wire) = self.slab.get_mut(key.index()) else { return };
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, wire.wants_input());
        wanted.set(EventFlags::OUT, wire.queued() > 0);
        self.watch_for(key, wanted);
    }

    /// Watches nothing until the session wants input: epoll would report a hang-up again and again.
    pub(super) fn ignore_hang_up(&mut self, key: Key) {
        self.watch_for(key, EventFlags::ONESHOT);
    }

    fn watch_for(&mut self, key: Key, wanted: EventFlags) {
        let Some(wire) = self.slab.get_mut(key.index()) else { return };
        if wanted == wire.watched {
            return;
        }
        wire.watched = wanted;
        if let Err(error) = epoll::modify(&self.poll, &wire.socket, key.data(), wanted) {
            tracing::error!(%error, "epoll");
        }
    }
}

impl<S: Session> Wire<S> {
    /// Stores what the session waits for, until its next event. Returns its idle timeout.
    pub(super) fn ask(&mut self) -> Duration {
        let Interest { read, idle, wake, .. } = self.session.interest();
        self.reads_while_queued = matches!(read, Read::WhileProducing);
        self.wake = wake;
        idle
    }

    /// Waits until `deadline` for the peer to read the queued output.
    pub(super) fn wait_for_reader(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
        self.delivery = Delivery::of(&self.socket).ok();
    }

    /// Returns whether the peer read from the socket buffers since it was last waited for: the
    /// socket becomes writable only when a third of its buffer is free.
    pub(super) fn has_slow_reader(&mut self) -> bool {
        let before = std::mem::replace(&mut self.delivery, Delivery::of(&self.socket).ok());
        before.zip(self.delivery).is_some_and(|(before, now)| now.has_advanced_since(&before))
    }

    pub(super) const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.bytes())
    }

    /// Returns whether the socket is to be read.
    pub(super) fn wants_input(&self) -> bool {
        self.state.is_lingering() || (self.wake.is_none() && self.takes_input())
    }

    /// Returns whether the session may handle input. While output is queued, only one that expects
    /// it may, and only up to a bound: else the answers to its input would fill the memory.
    pub(super) fn takes_input(&self) -> bool {
        let room = || self.reads_while_queued && self.queued() < MAX_QUEUED_WHILE_READING;
        self.state.is_open() && (self.queued() == 0 || room())
    }

    /// Sends now what can be sent now.
    fn write(&mut self, bytes: &Bytes) -> io::Result<()> {
        if let Some(queue) = &mut self.queue {
            queue.push(bytes.clone());
            return Ok(());
        }
        let sent = self.send(bytes)?;
        self.keep(bytes.slice(sent..));
        Ok(())
    }

    /// Sends replies, which are not shared; leaves the vector empty.
    pub(super) fn write_vec(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let sent = if self.queue.is_none() { self.send(bytes) } else { Ok(0) };
        let kept = sent.map(|sent| match bytes.len() - sent {
            // Copying a few bytes costs less than another vector for the next replies.
            0..COPIED => self.keep(Bytes::copy_from_slice(&bytes[sent..])),
            _ => self.keep(Bytes::from(std::mem::take(bytes)).slice(sent..)),
        });
        bytes.clear();
        kept
    }

    fn keep(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.queue.get_or_insert_default().push(bytes);
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while sent < bytes.len() {
            match send(&self.socket, &bytes[sent..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => sent += count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return self.discarded(error).map(|()| bytes.len()),
            }
        }
        Ok(sent)
    }

    pub(super) fn flush(&mut self) -> io::Result<Flushed> {
        let mut flushed = Flushed::None;
        while let Some(queue) = &mut self.queue {
            let slices = queue.slices();
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.socket, &slices, &mut SendAncillaryBuffer::default(), flags) {
                Ok(count) => {
                    queue.advance(count);
                    flushed = Flushed::Some;
                }
                Err(Errno::AGAIN) => return Ok(flushed),
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.queue = None;
                    return self.discarded(error).map(|()| Flushed::All);
                }
            }
            if queue.bytes() == 0 {
                self.queue = None;
            }
        }
        Ok(Flushed::All)
    }

    /// Discards output for a peer that has closed while its input is unread.
    fn discarded(&self, error: Errno) -> io::Result<()> {
        let error = error.into();
        if is_closed_with_input(&self.socket, &error) { Ok(()) } else { Err(error) }
    }

    pub(super) fn shut(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }
}

/// Maximum output queued for a peer that is still read from. Above it, replies to its own input
/// would only fill memory.
const MAX_QUEUED_WHILE_READING: usize = 2 * 1024 * 1024;

/// Replies below this size are copied into the queue.
const COPIED: usize = 16 * 1024;
