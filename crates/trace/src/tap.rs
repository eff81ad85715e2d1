//! The tap of one connection: output and input of an end become events.

use std::io::IoSlice;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::decode::{Decoder, Output, Protocol, Records};
use crate::event::{Basis, Side, Time, What};
use crate::recorder::Recorder;

/// The trace of one connection, to which its end passes output and input.
///
/// Clones belong to the same connection. Content is counted and not looked at, so that a fast
/// transfer is not slowed down.
#[derive(Debug, Clone)]
pub struct Tap {
    recorder: Recorder,
    number: u32,
    ours: Side,
    streams: Arc<Mutex<Streams>>,
}

/// The decoders of a connection, above and below TLS.
#[derive(Debug)]
struct Streams {
    plain: Decoder,
    wire: Records,
}

impl Tap {
    /// Begins the trace of one connection; `ours` is the end that records.
    pub fn new(recorder: &Recorder, ours: Side, protocol: Protocol) -> Self {
        let (recorder, number) = (recorder.clone(), recorder.next_connection());
        let streams = Streams { plain: Decoder::new(protocol), wire: Records::default() };
        Self { recorder, number, ours, streams: Arc::new(Mutex::new(streams)) }
    }

    /// Returns the number of the connection, from 1.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Returns the recorder.
    pub const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Records that the client asks the server for its SYN.
    ///
    /// If none is reported, the trace says so.
    pub fn asks_for_syn(&self) {
        self.recorder.asks_for_syn(self.number);
    }

    /// Records an event of this connection that happens now.
    pub fn add(&self, from: Option<Side>, basis: Basis, what: What) {
        self.recorder.add(Some(self.number), from, basis, what);
    }

    /// This end wrote these bytes, without TLS.
    pub fn sent(&self, bytes: &[u8]) {
        self.decode(self.ours, |streams, output| streams.plain.push(bytes, output));
    }

    /// This end wrote the first `count` bytes of these slices, without TLS.
    pub fn sent_slices(&self, slices: &[IoSlice<'_>], count: usize) {
        let mut left = count;
        for slice in slices {
            let (here, _) = slice.split_at(left.min(slice.len()));
            self.sent(here);
            left -= here.len();
        }
    }

    /// This end read these bytes, without TLS.
    pub fn received(&self, bytes: &[u8]) {
        self.received_at(Instant::now(), bytes);
    }

    /// This end read these bytes at `at`, without TLS.
    pub fn received_at(&self, at: Instant, bytes: &[u8]) {
        let (from, at) = (self.ours.other(), self.recorder.time_of(at));
        self.decode_at(at, from, |streams, output| streams.plain.push(bytes, output));
    }

    /// Records that the kernel sent `bytes` bytes of a file (`sendfile`, `splice`).
    pub fn sent_by_kernel(&self, bytes: u64) {
        self.decode(self.ours, |streams, output| streams.plain.skip(bytes, output));
    }

    /// Records that the kernel moved `bytes` received bytes to a file.
    pub fn received_by_kernel(&self, bytes: u64) {
        self.decode(self.ours.other(), |streams, output| streams.plain.skip(bytes, output));
    }

    /// Counts all that the server sends from here on as content, whatever it looks like.
    ///
    /// The session of a server knows it; the decoder of a client can only recognize a refusal.
    pub fn sends_content(&self) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).plain.sends_content();
    }

    /// Records ciphertext of TLS in one direction, as it is on the socket.
    pub fn wire(&self, from: Side, bytes: &[u8]) {
        self.decode(from, |streams, output| streams.wire.push(bytes, output));
    }

    fn decode(&self, from: Side, decode: impl FnOnce(&mut Streams, &Output<'_>)) {
        self.decode_at(self.recorder.now(), from, decode);
    }

    fn decode_at(&self, now: Time, from: Side, decode: impl FnOnce(&mut Streams, &Output<'_>)) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let recorder = &self.recorder;
        decode(&mut streams, &Output { recorder, connection: self.number, from, now });
    }
}
