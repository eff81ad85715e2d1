//! Messages → compressed payload (RFC 7692 §7.2.1).

use flate2::{Compress, Compression, FlushCompress};

use super::{LARGEST_WINDOW, TAIL};

/// Compresses one message after the other.
pub(in crate::ws) struct Deflater {
    /// Created at the first message.
    stream: Option<Compress>,
    window_bits: u8,
    takeover: bool,
    compressed: Vec<u8>,
}

impl Deflater {
    /// Returns a compressor. `window_bits`: 9 to 15; `None` is 15. `takeover`: a message may refer
    /// to earlier ones.
    pub(in crate::ws) fn new(window_bits: Option<u8>, takeover: bool) -> Self {
        let window_bits = window_bits.unwrap_or(LARGEST_WINDOW);
        Self { stream: None, window_bits, takeover, compressed: Vec::new() }
    }

    /// Returns the payload of the frame that carries `message`, valid until the next call.
    pub(in crate::ws) fn message(&mut self, message: &[u8]) -> &[u8] {
        let stream = self
            .stream
            .get_or_insert_with(|| Compress::new_with_window_bits(LEVEL, false, self.window_bits));
        if !self.takeover {
            stream.reset();
        }
        let out = &mut self.compressed;
        out.clear();
        let mut rest = message;
        loop {
            out.reserve(rest.len().clamp(LEAST_ROOM, MOST_ROOM));
            let before = stream.total_in();
            // Deflating fails only for a stream that ended, and this one never does.
            let _ = stream.compress_vec(rest, out, FlushCompress::Sync);
            let taken = usize::try_from(stream.total_in() - before).unwrap_or(rest.len());
            rest = rest.get(taken..).unwrap_or_default();
            // Free space in the output means that the flush is complete.
            if rest.is_empty() && out.len() < out.capacity() {
                break;
            }
        }
        out.strip_suffix(&TAIL).unwrap_or(out)
    }

    /// Releases the memory of a long message.
    pub(in crate::ws) fn trim(&mut self) {
        self.compressed.clear();
        self.compressed.shrink_to(KEPT);
    }
}

/// Fast: the CPU of the sender limits a transfer.
const LEVEL: Compression = Compression::fast();

/// Maximum output buffer that is kept for the next message.
const KEPT: usize = 64 * 1024;

/// Free space in the output of each call. More than the six bytes of a flush marker, so that none
/// is written twice.
const LEAST_ROOM: usize = 64;
const MOST_ROOM: usize = 64 * 1024;
