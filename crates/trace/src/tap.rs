//! The tap of one connection: what an end writes and reads becomes events.

use crate::event::{Basis, Side, What};
use crate::recorder::Recorder;

/// What the bytes of a connection are, under TLS if there is TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Lines of `ANYPORT/1`, and content between them; or content alone.
    Preface,
    /// HTTP/1.1, or HTTP/2 if it begins with the preface of RFC 9113 §3.4; a switch to WebSocket
    /// is followed.
    Http,
    /// WebSocket frames without a handshake.
    Frames,
}

/// The trace of one connection: its end gives it what it writes and reads.
///
/// Clones belong to the same connection. Content is counted and not looked at, so that a fast
/// transfer is not slowed down.
#[derive(Debug, Clone)]
pub struct Tap {
    recorder: Recorder,
    number: u32,
    ours: Side,
    _protocol: Protocol,
}

impl Tap {
    /// Begins the trace of one connection; `ours` is the end that records.
    pub fn new(recorder: &Recorder, ours: Side, protocol: Protocol) -> Self {
        let (recorder, number) = (recorder.clone(), recorder.next_connection());
        Self { recorder, number, ours, _protocol: protocol }
    }

    /// Returns the number of the connection, from 1.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Returns the recorder.
    pub const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Records an event of this connection that happens now.
    pub fn add(&self, from: Option<Side>, basis: Basis, what: What) {
        self.recorder.add(Some(self.number), from, basis, what);
    }

    /// This end wrote these bytes, without TLS.
    pub fn sent(&self, bytes: &[u8]) {
        self.sent_unseen(bytes.len() as u64);
    }

    /// This end read these bytes, without TLS.
    pub fn received(&self, bytes: &[u8]) {
        self.received_unseen(bytes.len() as u64);
    }

    /// The kernel sent so many bytes of a file (`sendfile`, `splice`).
    pub fn sent_unseen(&self, bytes: u64) {
        self.add(Some(self.ours), Basis::Observed, What::Content { bytes, payload: None });
    }

    /// The kernel moved so many received bytes to a file.
    pub fn received_unseen(&self, bytes: u64) {
        let from = Some(self.ours.other());
        self.add(from, Basis::Observed, What::Content { bytes, payload: None });
    }

    /// Ciphertext of TLS in one direction, as it is on the socket.
    pub fn wire(&self, _from: Side, _bytes: &[u8]) {}
}
