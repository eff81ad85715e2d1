//! Many small files over raw TCP, one behind the other: receipts are awaited while the next files
//! are on their way.
//!
//! A round trip for each would take longer than its bytes. Each file is read whole before it is
//! offered, so what is offered is what comes. The window is small enough that the receipts of all
//! files in it fit the kernel's buffers: so the server never waits for us to read while we wait for
//! it to.

use std::collections::VecDeque;

use anyport_proto::limits::MAX_DISCARDED;
use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::refusal::Retry;

use super::offered::Item;
use super::{Connection, Sent};
use crate::attempts::Attempts;
use crate::content::Source;
use crate::error::{Consequence, Error, ErrorKind};
use crate::measure::diagnosed;
use crate::spent::SoFar;

/// Maximum number of files without a receipt.
const WINDOW: usize = 96;

/// Bytes of their receipts, so that these fit the kernel's buffers.
const WINDOW_BYTES: usize = 56 * 1024;

/// Receipts that are awaited before more files are read, so that several travel together.
const STEP: usize = WINDOW / 2;

/// The state of a file, in the order of the files.
enum Waiting {
    /// It is on its way.
    Sent { bytes: u64, digest: Option<Digest>, grown: bool },
    /// It could not be read.
    Failed(Error),
}

impl Connection<'_> {
    /// Sends as many of `sources` as are small, if that is worth it: how many are done with, and
    /// what stopped it.
    pub(super) fn burst(
        &mut self,
        items: &[Item<'_>],
        attempts: &mut Attempts,
    ) -> Option<(usize, Result<(), Error>)> {
        // A server that does not know a key closes the connection, so the first name in bytes is
        // sent alone.
        let is_known = |item: &Item<'_>| self.raw_names.is_some() || item.name_raw().is_none();
        let small = items.iter().take_while(|item| is_small(item.source) && is_known(item)).count();
        if small < 2 || self.options.plain || self.options.limit_rate.is_some() {
            return None;
        }
        attempts.repeatable = true;
        match self.open() {
            Ok(open) => {
                // Over another protocol files follow one by one.
                open.transport().pipeline()?;
            }
            Err(error) => return Some((0, Err(error))),
        }
        attempts.connected();
        let (mut done, whole) = (0, SoFar::default());
        let connect = &self.options.connect;
        let measuring = self.open().ok()?.measure(connect, whole.clone());
        let stopped = self.pipeline(&items[..small], &mut done, &whole);
        if let (Some(open), true) = (&self.channel, done > 0) {
            // As one transfer, because the files share their round trips.
            let (bytes, spent) = whole.get();
            diagnosed(connect, &measuring.sent(open.socket(), bytes, &spent, None));
        }
        Some((done, stopped))
    }

    /// Adds bytes and times of what it sends to `whole`.
    fn pipeline(
        &mut self,
        items: &[Item<'_>],
        done: &mut usize,
        whole: &SoFar,
    ) -> Result<(), Error> {
        let mut unread = items.iter();
        let (mut waiting, mut expected) = (VecDeque::new(), 0);
        loop {
            while waiting.len() < WINDOW
                && expected < WINDOW_BYTES
                && let Some(item) = unread.next()
            {
                waiting.push_back(self.put(item, whole)?);
                expected += receipt_len(item);
            }
            self.raw()?.flush()?;
            if waiting.is_empty() {
                return Ok(());
            }
            for _ in 0..STEP {
                let Some(file) = waiting.pop_front() else { break };
                let item = &items[*done];
                self.settle(item, file)?;
                expected -= receipt_len(item);
                *done += 1;
            }
        }
    }

    /// Reads a file and appends it to the output.
    fn put(&mut self, item: &Item<'_>, whole: &SoFar) -> Result<Waiting, Error> {
        let source = item.source;
        self.observer.begins(source);
        let mut content = match source.open(self.options.digest) {
            Ok(content) => content,
            Err(error) => return Ok(Waiting::Failed(error.into())),
        };
        let offer = self.offer(item, &content);
        let Some(size) = content.size().filter(|size| *size <= MAX_DISCARDED) else {
            // It has grown since it was found.
            return Ok(Waiting::Failed(ErrorKind::Changed(source.path().to_owned()).into()));
        };
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        if let Err(error) = content.read_exact(&mut bytes) {
            return Ok(Waiting::Failed(error));
        }
        let digest = match content.digest() {
            Ok(digest) => digest,
            Err(error) => return Ok(Waiting::Failed(error)),
        };
        let spent = content.spent();
        whole.add(size, &spent);
        self.raw()?.queue(&offer, &bytes, digest.as_ref())?;
        Ok(Waiting::Sent { bytes: size, digest, grown: content.has_grown() })
    }

    /// Waits for the receipt of a file.
    fn settle(&mut self, item: &Item<'_>, file: Waiting) -> Result<(), Error> {
        let settled = match file {
            Waiting::Failed(error) => Err(error),
            Waiting::Sent { bytes, digest, grown } => match self.raw()?.receipt() {
                Ok(receipt) => {
                    let sent = self.open()?.sent(bytes, digest, Some(receipt));
                    sent.map(|sent| Sent { grown, ..sent })
                        .and_then(|mut sent| self.changed.check(item, &mut sent).map(|()| sent))
                }
                Err(error) => Err(error),
            },
        };
        match settled {
            Ok(sent) => self.reported(sent),
            Err(error) => match error.consequence() {
                Consequence { one_file: true, retry: Retry::Never, .. } => {
                    self.fail(item.source, &error);
                }
                _ => return Err(error),
            },
        }
        Ok(())
    }

    fn reported(&self, sent: Sent) {
        self.observer.position(sent.bytes);
        self.observer.sent(sent);
    }

    fn raw(&mut self) -> Result<&mut crate::channel::raw::RawChannel, Error> {
        let open = self.open()?;
        Ok(open.transport().pipeline().expect("looked at before the first file"))
    }
}

/// A receipt is at most so long: its path may be percent-encoded, and stand there three times.
fn receipt_len(item: &Item<'_>) -> usize {
    512 + 9 * item.path.as_ref().map_or(0, |path| path.as_bytes().len())
}

fn is_small(source: &Source) -> bool {
    source.size().is_some_and(|size| size <= MAX_DISCARDED)
}
