//! The tap of one connection: what an end writes and reads becomes events.

use std::sync::{Arc, Mutex, PoisonError};

use crate::decode::{Decoder, Output, Protocol, Records};
use crate::event::{Basis, Side, What};
use crate::recorder::Recorder;

/// The trace of one connection: its end gives it what it writes and reads.
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

    /// This end read these bytes, without TLS.
    pub fn received(&self, bytes: &[u8]) {
        self.decode(self.ours.other(), |streams, output| streams.plain.push(bytes, output));
    }

    /// Records that the kernel sent `bytes` bytes of a file (`sendfile`, `splice`).
    pub fn sent_by_kernel(&self, bytes: u64) {
        self.decode(self.ours, |streams, output| streams.plain.skip(bytes, output));
    }

    /// Records that the kernel moved `bytes` received bytes to a file.
    pub fn received_by_kernel(&self, bytes: u64) {
        self.decode(self.ours.other(), |streams, output| streams.plain.skip(bytes, output));
    }

    /// Records ciphertext of TLS in one direction, as it is on the socket.
    pub fn wire(&self, from: Side, bytes: &[u8]) {
        self.decode(from, |streams, output| streams.wire.push(bytes, output));
    }

    fn decode(&self, from: Side, decode: impl FnOnce(&mut Streams, &Output<'_>)) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let (recorder, now) = (&self.recorder, self.recorder.now());
        decode(&mut streams, &Output { recorder, connection: self.number, from, now });
    }
}
