//! Many small files over raw TCP, one behind the other: receipts are awaited while the next files are on their way.
//!
//! A round trip for each would take longer than its bytes. Each file is read whole before it is offered, so what is offered
//! is what comes. The window is small enough that the receipts of all files in it fit the kernel's buffers: so the server
//! never waits for us to read while we wait for it to.

use std::collections::VecDeque;

use anyport_proto::limits::MAX_PASSED_OVER;
use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::refusal::Retry;

use super::{Connection, Sent};
use crate::attempts::Attempts;
use crate::content::Source;
use crate::error::{Consequence, SendError};

/// Files whose receipts have not come.
const WINDOW: usize = 96;

/// Bytes of their receipts, so that these fit the kernel's buffers.
const WINDOW_BYTES: usize = 56 * 1024;

/// Receipts that are awaited before more files are read, so that several travel together.
const STEP: usize = WINDOW / 2;

/// What becomes of a file, in the order of the files.
enum Waiting {
    /// It is on its way.
    Sent { bytes: u64, digest: Option<Digest>, grown: bool },
    /// It could not be read.
    Failed(SendError),
}

impl Connection<'_> {
    /// Sends as many of `sources` as are small, if that is worth it: how many are done with, and what stopped it.
    pub(super) fn burst(
        &mut self,
        sources: &[Source],
        attempts: &mut Attempts,
    ) -> Option<(usize, Result<(), SendError>)> {
        let small = sources.iter().take_while(|source| is_small(source)).count();
        if small < 2 || self.options.plain || self.options.limit_rate.is_some() {
            return None;
        }
        attempts.repeatable = true;
        match self.open() {
            Ok(open) => {
                // Over another protocol files follow one by one.
                open.pipeline()?;
            }
            Err(error) => return Some((0, Err(error))),
        }
        let mut done = 0;
        let stopped = self.pipeline(&sources[..small], &mut done);
        Some((done, stopped))
    }

    fn pipeline(&mut self, sources: &[Source], done: &mut usize) -> Result<(), SendError> {
        let mut unread = sources.iter();
        let (mut waiting, mut expected) = (VecDeque::new(), 0);
        loop {
            while waiting.len() < WINDOW
                && expected < WINDOW_BYTES
                && let Some(source) = unread.next()
            {
                waiting.push_back(self.put(source)?);
                expected += receipt_len(source);
            }
            self.raw()?.flush()?;
            if waiting.is_empty() {
                return Ok(());
            }
            for _ in 0..STEP {
                let Some(file) = waiting.pop_front() else { break };
                let source = &sources[*done];
                self.settle(source, file)?;
                expected -= receipt_len(source);
                *done += 1;
            }
        }
    }

    /// Reads a file and puts it behind what is on its way.
    fn put(&mut self, source: &Source) -> Result<Waiting, SendError> {
        let mut content = match source.open(self.options.digest) {
            Ok(content) => content,
            Err(error) => return Ok(Waiting::Failed(error.into())),
        };
        let offer = self.offer(source, &content);
        let Some(size) = content.size().filter(|size| *size <= MAX_PASSED_OVER) else {
            // It has grown since it was found.
            return Ok(Waiting::Failed(SendError::Changed { path: source.path().to_owned() }));
        };
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        if let Err(error) = content.read_exact(&mut bytes) {
            return Ok(Waiting::Failed(error));
        }
        let digest = match content.digest() {
            Ok(digest) => digest,
            Err(error) => return Ok(Waiting::Failed(error)),
        };
        self.raw()?.put(&offer, &bytes, digest.as_ref())?;
        Ok(Waiting::Sent { bytes: size, digest, grown: content.has_grown() })
    }

    /// Waits for the receipt of a file.
    fn settle(&mut self, source: &Source, file: Waiting) -> Result<(), SendError> {
        let settled = match file {
            Waiting::Failed(error) => Err(error),
            Waiting::Sent { bytes, digest, grown } => match self.raw()?.receipt() {
                Ok(receipt) => self
                    .open()?
                    .sent(bytes, digest, Some(receipt))
                    .map(|sent| Sent { grown, ..sent }),
                Err(error) => Err(error),
            },
        };
        match settled {
            Ok(sent) => self.told(sent),
            Err(error) => match error.consequence() {
                Consequence { one_file: true, retry: Retry::Never, .. } => {
                    self.fail(source, &error);
                }
                _ => return Err(error),
            },
        }
        Ok(())
    }

    fn told(&self, sent: Sent) {
        self.observer.position(sent.bytes);
        self.observer.sent(sent);
    }

    fn raw(&mut self) -> Result<&mut crate::channel::raw::RawChannel, SendError> {
        let open = self.open()?;
        Ok(open.pipeline().expect("looked at before the first file"))
    }
}

/// A receipt is at most so long: its path may be percent-encoded, and stand there twice.
fn receipt_len(source: &Source) -> usize {
    512 + 6 * source.name().map_or(0, str::len)
}

fn is_small(source: &Source) -> bool {
    source.size().is_some_and(|size| size <= MAX_PASSED_OVER)
}
