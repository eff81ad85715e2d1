//! Content: counted, and not looked at.

use super::output::{Output, Run};
use crate::event::What;

/// The content of one direction.
#[derive(Debug, Default)]
pub(super) struct Content {
    run: Run,
    /// Bytes of payload that are still kept.
    keep: usize,
}

impl Content {
    /// Counts bytes, and keeps their beginning if payloads are kept.
    pub(super) fn count(&mut self, bytes: &[u8], output: &Output<'_>) {
        if bytes.is_empty() {
            return;
        }
        self.add(bytes.len() as u64, output);
        if self.keep > 0 {
            let kept = bytes.get(..self.keep).unwrap_or(bytes);
            self.keep -= kept.len();
            let text = kept.escape_ascii().to_string();
            self.run.grow(output, |what| {
                if let What::Content { payload, .. } = what {
                    payload.get_or_insert_default().push_str(&text);
                }
            });
        }
    }

    /// Counts bytes.
    pub(super) fn add(&mut self, count: u64, output: &Output<'_>) {
        if self.run.is_open(output) {
            self.run.grow(output, |what| {
                if let What::Content { bytes, .. } = what {
                    *bytes = bytes.saturating_add(count);
                }
            });
        } else {
            self.run = Run::open(output, What::Content { bytes: count, payload: None });
            self.keep = output.payload();
        }
    }

    /// Ends this content; the next byte belongs to another one.
    pub(super) const fn end(&mut self) {
        self.run.close();
    }
}
