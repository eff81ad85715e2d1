//! One upload.

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::copy::Splice;
use anyport_proto::setting::MAX_SIZE;
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::Hasher;
use anyport_proto::transfer::offer::{End, Offer, OnExists};
use anyport_proto::transfer::receipt::{EndKind, Engine, Protocol, Receipt};
use anyport_proto::transfer::refusal::{Keeps, Refusal, RefusalCode};
use anyport_proto::transfer::tcp_seen::TcpSeen;
use anyport_store::{Sink, StoreError, TransferKey};

use super::parts::Writing;
use super::paths::unnamed;
use super::{Files, Source, another_name, exists, full_refusal, owner_of, storage_refusal};
use crate::events::{Interrupted, Underway};
use crate::share::Slot;
use crate::traces::Waits;

/// An upload. It ends by [`Self::finish`] or [`Self::interrupt`]; dropped without either, it counts
/// as interrupted by the server.
pub(crate) struct Upload {
    pub(super) files: Arc<Files>,
    pub(super) source: Source,
    pub(super) path: Option<FilePath>,
    pub(super) offer: Offer,
    pub(super) on_exists: OnExists,
    /// Whether its beginning may be another sender's: it was found without an id.
    pub(super) begun_by_others: bool,
    /// The key of an upload that requests continue by an id.
    pub(super) key: Option<TransferKey>,
    /// The entry that is stored under its path already; content that is received is then not kept.
    pub(super) here: Option<Here>,
    /// Its place among the uploads of a drop box.
    pub(super) slot: Option<Slot>,
    /// Moved out when the upload ends.
    pub(super) sink: Option<Sink>,
    /// The right to write to its partial file.
    pub(super) held: Option<Writing>,
    pub(super) hasher: Hasher,
    /// Bytes of an earlier attempt.
    pub(super) resumed: u64,
    /// Bytes that are stored.
    pub(super) bytes: u64,
    /// Its entry in the list of running transfers.
    pub(super) underway: Underway,
    pub(super) clock: Option<Clock>,
    pub(super) spent: Spent,
}

/// The entry that is stored under the path of an upload before its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    /// The requested directory.
    Directory,
    /// A file of the same size and exact time: it counts as the same one.
    SameTime,
    /// A file of the same size, whose digest decides at the end.
    SameSize,
}

/// The times when the first byte of content was read and the last one stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    first: Instant,
    last: Instant,
    /// Measurements of a trace at these times.
    waits: [Waits; 2],
}

impl Clock {
    /// Returns the clock of an upload at a byte that was read or stored at these times.
    fn at(clock: Option<Self>, first: Instant, last: Instant, waits: Waits) -> Self {
        let begun = Self { first, last, waits: [waits; 2] };
        clock.map_or(begun, |Self { first, waits: [before, _], .. }| Self {
            first,
            last,
            waits: [before, waits],
        })
    }
}

impl Spent {
    /// Returns the seconds, if they are long enough for a receipt.
    fn reported(self, spent: Duration) -> Option<f64> {
        (self.hashing + self.storing >= WORTH_REPORTING).then(|| in_microseconds(spent))
    }
}

/// The time of an upload that the server spent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    hashing: Duration,
    storing: Duration,
}

impl Upload {
    /// Returns the remaining bytes of content, if the sender announced a size.
    pub(crate) fn left(&self) -> Option<u64> {
        self.offer.size.map(|size| size.saturating_sub(self.bytes))
    }

    /// Returns whether the sender announced a size.
    pub(crate) const fn is_sized(&self) -> bool {
        self.offer.size.is_some()
    }

    /// Returns the offset from which the sender may continue.
    pub(crate) fn offset(&self) -> u64 {
        // A request that continues an upload has nothing to send where the file is stored.
        match self.offer.size {
            Some(size) if self.key.is_some() && self.is_here() => size,
            _ => self.resumed,
        }
    }

    /// Returns the size that the sender announced.
    pub(crate) const fn size(&self) -> Option<u64> {
        self.offer.size
    }

    /// Returns whether all content is stored, but not published.
    pub(crate) fn is_whole(&self) -> bool {
        !self.is_here() && self.offer.size == Some(self.bytes)
    }

    /// Returns whether the file is stored already, so that no content is needed for a receipt.
    pub(crate) const fn is_here(&self) -> bool {
        matches!(self.here, Some(Here::Directory | Here::SameTime))
    }

    pub(crate) fn may_block(&self) -> bool {
        // At the end the stored file may be hashed.
        self.here == Some(Here::SameSize) || self.sink.as_ref().is_some_and(Sink::may_block)
    }

    pub(crate) fn can_rewrite(&self) -> bool {
        self.sink.as_ref().is_some_and(Sink::can_rewrite)
    }

    /// Sets the protocol, where detection first chose another one.
    pub(crate) const fn set_protocol(&mut self, protocol: Protocol) {
        self.source.protocol = protocol;
    }

    /// Stores content that was read at `read_at`.
    ///
    /// # Errors
    /// More than was announced or allowed, or the error of the store; then the upload must be
    /// interrupted.
    pub(crate) fn write(&mut self, content: &[u8], read_at: Instant) -> Result<(), Refusal> {
        // The clock starts with the first byte.
        if content.is_empty() {
            return Ok(());
        }
        let bytes = self.bytes.saturating_add(content.len() as u64);
        if let Some(size) = self.offer.size
            && bytes > size
        {
            let message = format!("received more than the announced {size} bytes");
            return Err(Refusal::new(RefusalCode::SizeMismatch, message));
        }
        if bytes > self.files.max_size {
            let limit = self.files.max_size;
            let message =
                format!("received more than the server's limit of {limit} bytes ({MAX_SIZE})");
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        self.check_rate(read_at)?;
        if let Some(slot) = &mut self.slot {
            slot.grow_to(bytes)?;
        }
        self.store(content).map_err(|refusal| self.source.without_numbers(refusal))?;
        self.bytes = bytes;
        self.underway.at(bytes);
        let last = Instant::now();
        // Of several files in one read, each would count the time of those before it.
        let began = self.is_sized().then(|| self.underway.began());
        let first = began.map_or(read_at, |began| began.max(read_at));
        self.clock = Some(Clock::at(self.clock, first, last, self.source.record.waits()));
        Ok(())
    }

    /// Returns where the next bytes may be spliced: only without a digest, and never more than may
    /// be received, so that one byte too many reaches [`Self::write`].
    pub(crate) fn splice(&self) -> Option<Splice> {
        // One that is too slow is refused by the next write.
        if self.hasher.wants_content() || self.check_rate(Instant::now()).is_err() {
            return None;
        }
        let (file, at, limit) = self.sink.as_ref()?.splice_target()?;
        let of_box = self.slot.as_ref().map_or(u64::MAX, |slot| slot.left(self.bytes));
        let allowed = self.files.max_size.saturating_sub(self.bytes).min(limit).min(of_box);
        let most = self.left().unwrap_or(u64::MAX).min(allowed);
        NonZeroU64::new(most).map(|limit| Splice { file: file.clone(), at, limit })
    }

    /// Records that `count` bytes were spliced.
    pub(crate) fn put(&mut self, count: u64, at: Instant) {
        if count == 0 {
            return;
        }
        if let Some(sink) = &mut self.sink {
            sink.spliced(count);
        }
        self.bytes += count;
        self.underway.at(self.bytes);
        self.clock = Some(Clock::at(self.clock, at, at, self.source.record.waits()));
    }

    /// Returns to the start: content that was stored raw is decoded in place, by
    /// [`Self::read_back`] and [`Self::write`]. The clock continues.
    pub(crate) fn begin_rewrite(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.begin_rewrite();
        }
        self.hasher = Hasher::new(self.hasher.algorithm());
        self.bytes = 0;
        self.resumed = 0;
    }

    /// Reads the next bytes that were stored before [`Self::begin_rewrite`]; returns 0 at their
    /// end.
    ///
    /// # Errors
    /// The error of the store.
    pub(crate) fn read_back(&mut self, buffer: &mut [u8]) -> Result<usize, Refusal> {
        let Some(sink) = &mut self.sink else { return Ok(0) };
        sink.read_back(buffer)
            .map_err(|error| storage_refusal("cannot read a partial file", &error))
    }

    /// Checks the size and the digest, makes the file durable and visible, and returns the receipt.
    ///
    /// # Errors
    /// Size or digest differ from those announced, or storing failed: nothing was published, and
    /// the interruption was reported.
    pub(crate) fn finish(mut self, kind: EndKind, end: &End) -> Result<Receipt, Refusal> {
        let ended = Instant::now();
        let expected = match &self.sink {
            Some(Sink::File(partial)) => partial.announced().digest,
            _ => None,
        };
        let end = &End { digest: end.digest.or(expected), ..end.clone() };
        // Before waiting for the disk, so that the statistics are those of the transfer.
        let (congestion, tcp) = self.source.link.seen();
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new(Algorithm::None));
        let digest = hasher.finish();
        if self.is_here() && self.bytes == 0 {
            return Ok(self.finish_here(kind, None));
        }
        // Where only the digest was requested, `END` has it.
        let digest = if self.wants_only_digest() { end.digest } else { digest };
        if let Err(refusal) = self.check_end(end, digest.as_ref()) {
            return Err(self.abandon(refusal));
        }
        if self.here.is_some()
            && let Some(path) = self.path.clone()
        {
            // Without a digest the size and time of the offer decide.
            let is_same = match &digest {
                Some(digest) => self.files.is_stored(&path, digest, self.offer.mtime, &self.source),
                None => Ok(self.here == Some(Here::SameTime)),
            };
            return match is_same {
                Ok(true) => Ok(self.finish_here(EndKind::AlreadyHere, digest)),
                Ok(false) if self.on_exists == OnExists::Overwrite => {
                    let message = format!("{path} has different content than the sender's file");
                    let refusal = Refusal::new(RefusalCode::DigestMismatch, message);
                    Err(self.abandon(refusal.with_hint("send it again without resume")))
                }
                Ok(false) => {
                    let refusal = exists(&path, &self.offer, None);
                    Err(self.abandon(refusal))
                }
                Err(error) => {
                    let refusal = storage_refusal(&format!("cannot read {path}"), &error);
                    Err(self.abandon(refusal))
                }
            };
        }
        // An upload ends once, and until then it has its sink.
        let Some(sink) = &mut self.sink else {
            return Err(Refusal::new(RefusalCode::Storage, "the upload has already ended"));
        };
        let path = self.path.clone().unwrap_or_else(|| unnamed(self.source.protocol).into());
        let stored = match sink.finish(&path, &self.offer, self.on_exists, digest.as_ref()) {
            Ok(stored) => stored,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let refusal = match error.get_ref() {
                    Some(why) => {
                        let message = format!("cannot store {path}: {why}");
                        Refusal::new(RefusalCode::Exists, message).with_hint(another_name())
                    }
                    None => exists(&path, &self.offer, None),
                };
                return Err(self.abandon(refusal));
            }
            Err(error) => {
                let refusal = storage_refusal(&format!("cannot store {path}"), &error);
                return Err(self.abandon(refusal));
            }
        };
        self.sink = None;
        if let Some(slot) = self.slot.take() {
            slot.stored(self.bytes);
        }
        let seconds = self.clock.map_or(Duration::ZERO, |clock| clock.last - clock.first);
        // Without the time between the last byte and the end that the sender announced.
        let durable_seconds = seconds + ended.elapsed();
        let durable = stored.path.is_some() && stored.is_durable;
        Ok(self.report(Receipt {
            seconds: in_microseconds(seconds),
            durable_seconds: durable.then(|| in_microseconds(durable_seconds)),
            hashing_seconds: self.spent.reported(self.spent.hashing),
            storing_seconds: self.spent.reported(self.spent.storing),
            congestion,
            tcp,
            ..self.receipt(stored.path.as_ref(), digest, kind)
        }))
    }

    /// Returns the receipt of a file that is stored as `path`, without times and socket statistics.
    fn receipt(&self, path: Option<&FilePath>, digest: Option<Digest>, end: EndKind) -> Receipt {
        let Source { protocol, engine, peer, .. } = self.source;
        Receipt {
            protocol,
            engine,
            peer,
            bytes: self.bytes,
            resumed: self.resumed,
            seconds: 0.0,
            durable_seconds: None,
            hashing_seconds: None,
            storing_seconds: None,
            digest,
            end,
            confirmed: is_confirmed(end, engine),
            name: path.and_then(|path| self.asked_instead_of(path)),
            path_raw: path.and_then(FilePath::raw),
            path: path.map(FilePath::text),
            congestion: None,
            tcp: TcpSeen::default(),
        }
    }

    /// Returns whether the sender was asked for the digest of a file that may be stored already,
    /// and not for its content.
    const fn wants_only_digest(&self) -> bool {
        matches!((&self.here, &self.sink), (Some(Here::SameSize), Some(Sink::Discard)))
            && self.resumed > 0
    }

    fn report(&self, receipt: Receipt) -> Receipt {
        if let (Some(key), Some(path)) = (&self.key, receipt.stored()) {
            let directory = self.files.store.now();
            directory.complete_upload(key, &path, receipt.bytes);
        }
        self.source.record.file();
        if let Some(traced) = self.source.record.traced() {
            let waits = self.clock.map(|Clock { waits: [before, after], .. }| after.since(before));
            traced.receipt(&receipt, waits.unwrap_or_default());
        }
        self.files.events.received(&receipt);
        self.source.without_stored_name(receipt, &self.offer)
    }

    /// Returns the requested name, if it is not `stored`.
    fn asked_instead_of(&self, stored: &FilePath) -> Option<String> {
        let Offer { name, name_raw, .. } = &self.offer;
        let name = name.as_deref()?;
        let is_stored = match name_raw {
            Some(raw) => {
                let raw = FilePath::parse_percent_encoded(raw.trim_end_matches('/'));
                raw.is_ok_and(|asked| asked == *stored)
            }
            None => name.trim_end_matches('/').as_bytes() == stored.as_bytes(),
        };
        (!is_stored).then(|| name.to_owned())
    }

    /// Returns the receipt of a file that was stored already, or of a directory.
    fn finish_here(&mut self, kind: EndKind, digest: Option<Digest>) -> Receipt {
        self.sink = None;
        let bytes = self.offer.size.unwrap_or_default();
        let end = if self.here == Some(Here::Directory) { kind } else { EndKind::AlreadyHere };
        let receipt = self.receipt(self.path.as_ref(), digest, end);
        self.report(Receipt { bytes, resumed: bytes, confirmed: true, ..receipt })
    }

    /// Ends an incomplete upload: nothing is published, and the partial file is kept.
    pub(crate) fn interrupt(self, reason: impl Into<String>) {
        self.interrupt_by_sender(reason.into(), "");
    }

    /// Ends an upload as [`Self::interrupt`]. The words of the sender may be any text: they help
    /// the operator, and no trace contains them.
    pub(crate) fn interrupt_by_sender(mut self, reason: String, words: &str) {
        self.slot = None;
        let part = self.sink.take().and_then(|sink| sink.keep(owner_of(&self.source)));
        self.report_interrupted(reason, words, false, part);
    }

    /// Ends an upload for `refusal`, and returns that. The content is kept if the upload can be
    /// resumed, and kept apart, for a person, if it differs from the sender's.
    pub(crate) fn abandon(mut self, refusal: Refusal) -> Refusal {
        self.slot = None;
        let sink = self.sink.take();
        let part = match refusal.code.meaning().keeps {
            Keeps::Apart => sink.and_then(|sink| sink.keep_apart(owner_of(&self.source))),
            Keeps::Partial => {
                let sink = sink.filter(Sink::can_be_resumed);
                sink.and_then(|sink| sink.keep(owner_of(&self.source)))
            }
            Keeps::Nothing => None,
        };
        self.report_interrupted(refusal.message.clone(), "", true, part);
        self.source.without_directory(refusal)
    }

    /// Ends an upload that was refused before any content; that of an earlier attempt remains.
    pub(super) fn give_up(mut self, refusal: Refusal) -> Refusal {
        if let Some(sink) = self.sink.take().filter(|_| self.resumed > 0) {
            sink.keep(owner_of(&self.source));
        }
        refusal
    }

    fn check_end(&self, end: &End, digest: Option<&Digest>) -> Result<(), Refusal> {
        let differs = |announced: &u64| *announced != self.bytes;
        if let Some(announced) = [self.offer.size, end.bytes].into_iter().flatten().find(differs) {
            let came = self.bytes;
            let message = format!("the sender announced {announced} bytes, but sent {came}");
            return Err(Refusal::new(RefusalCode::SizeMismatch, message));
        }
        if self.wants_only_digest() && end.digest.is_none() {
            let message = "a file of this name and size exists, and the sender's END has no \
                           digest to compare";
            return Err(Refusal::new(RefusalCode::DigestMismatch, message)
                .with_hint("send END with the digest of the whole file"));
        }
        if self.begun_by_others && self.resumed > 0 && end.digest.is_none() {
            let message = "the partial file of another sender was resumed, and END has no \
                           digest to verify it";
            return Err(Refusal::new(RefusalCode::DigestMismatch, message)
                .with_hint("send END with the digest of the whole file"));
        }
        match (&end.digest, digest) {
            (Some(theirs), Some(ours)) if theirs.algorithm() != ours.algorithm() => {
                let message =
                    format!("END has the digest {theirs}, but {} was requested", ours.algorithm());
                Err(Refusal::new(RefusalCode::BadRequest, message))
            }
            (Some(theirs), Some(ours)) if theirs != ours => {
                let message = format!(
                    "digest differs: the sender's is {theirs}, the received content has {ours}"
                );
                Err(Refusal::new(RefusalCode::DigestMismatch, message).with_hint(
                    "the file changed during the transfer or was corrupted; send it again",
                ))
            }
            (Some(theirs), None) => {
                let message =
                    format!("END has the digest {theirs}, but no digest was requested (none)");
                Err(Refusal::new(RefusalCode::BadRequest, message))
            }
            _ => Ok(()),
        }
    }

    fn check_rate(&self, now: Instant) -> Result<(), Refusal> {
        let elapsed = now.saturating_duration_since(self.underway.began());
        self.files.check_rate(self.bytes.saturating_sub(self.resumed), elapsed)
    }

    fn store(&mut self, content: &[u8]) -> Result<(), Refusal> {
        let began = Instant::now();
        if let Some(sink) = &mut self.sink {
            sink.write(content).map_err(|error| match error {
                StoreError::Full(full) => {
                    full_refusal(&format!("no space for more than {} bytes", self.bytes), full)
                }
                StoreError::Io(error) => {
                    storage_refusal(&format!("cannot write at byte {}", self.bytes), &error)
                }
            })?;
        }
        let stored = Instant::now();
        self.spent.storing += stored - began;
        if self.hasher.wants_content() {
            self.hasher.update(content);
            self.spent.hashing += stored.elapsed();
        }
        let checkpoints = self.hasher.take_checkpoints();
        if let Some(sink) = self.sink.as_mut().filter(|_| !checkpoints.is_empty()) {
            sink.save(&checkpoints);
        }
        Ok(())
    }

    fn report_interrupted(
        &self,
        mut reason: String,
        words: &str,
        refused: bool,
        part: Option<String>,
    ) {
        self.source.record.refused(&reason);
        if !words.is_empty() {
            // Escaped; a Close frame has at most 123 bytes of them.
            reason = format!("{reason}: {words:?}");
        }
        self.files.events.interrupted(&Interrupted {
            protocol: self.source.protocol,
            engine: self.source.engine,
            peer: self.source.peer,
            bytes: self.bytes,
            name: self.offer.name.clone(),
            reason,
            refused,
            part,
        });
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.slot = None;
        // Neither finished nor interrupted: the server gave up.
        if let Some(sink) = self.sink.take() {
            let part = sink.keep(owner_of(&self.source));
            self.report_interrupted("the server aborted the transfer".to_owned(), "", false, part);
        }
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("source", &self.source)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// Returns whether the sender confirmed the end of the file. A FIN may be a killed sender's, and
/// the WebSocket library does not report whether a Close was received inside a message.
fn is_confirmed(kind: EndKind, engine: Engine) -> bool {
    match kind {
        EndKind::Size | EndKind::AlreadyHere => true,
        EndKind::Close => engine == Engine::Own,
        EndKind::Fin => false,
    }
}

/// Rounds to the precision of receipts, so that all readers compute the same rate.
fn in_microseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

/// Minimum time of hashing and storing that a receipt reports.
const WORTH_REPORTING: Duration = Duration::from_millis(10);
