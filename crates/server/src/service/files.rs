//! Receives files: a name, a digest while the bytes come, one receipt at the end, whatever carried them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyport_net::copy::Unseen;
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::file_name::FileName;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::Hasher;
use anyport_proto::transfer::offer::{End, Offer, OnExists};
use anyport_proto::transfer::receipt::{EndKind, Engine, Protocol, Receipt};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::transfer::tcp_seen::TcpSeen;

use crate::budget::Budget;
use crate::config::{Config, SinkKind};
use crate::link::Link;
use crate::observe::{Interrupted, Observer, Refused};
use crate::sink::{AnySink, Directory, FileSink, PartKey, Present, memory_sink};

/// Where files land, shared by all connections of a server.
pub(crate) struct Files {
    pub(super) directory: Arc<Directory>,
    memory: Arc<Budget>,
    /// Whose connection writes to a part that can be gone on with.
    writers: Mutex<HashMap<PartKey, Link>>,
    sink: SinkKind,
    pub(super) digest: Algorithm,
    max_size: u64,
    on_exists: Option<OnExists>,
    pub(super) observer: Arc<dyn Observer>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Who sends a file, and over what.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) protocol: Protocol,
    pub(crate) engine: Engine,
    pub(crate) peer: SocketAddr,
    /// The way to the socket, asked when the file ends.
    pub(crate) link: Link,
}

impl Files {
    pub(crate) fn open(config: &Config, observer: Arc<dyn Observer>) -> io::Result<Self> {
        let directory =
            Arc::new(Directory::open(&config.directory, config.fsync, config.keep_parts)?);
        if config.sink == SinkKind::File {
            // Whoever starts the server should hear that it cannot write, and not its first sender.
            drop(directory.create_part()?);
        }
        Ok(Self {
            directory,
            memory: Arc::new(Budget::new(config.max_memory)),
            writers: Mutex::default(),
            sink: config.sink,
            digest: config.digest,
            max_size: config.max_size,
            on_exists: config.on_exists,
            observer,
        })
    }

    /// Bytes of the largest file that could be taken now; a header that announces more is no header of a file.
    pub(crate) fn largest_possible(&self) -> u64 {
        let free = match self.sink {
            // Free space that cannot be asked does not bound what may be announced.
            SinkKind::File => self.directory.free_bytes().unwrap_or(u64::MAX),
            SinkKind::Memory | SinkKind::Discard => u64::MAX,
        };
        free.min(self.max_size)
    }

    /// Begins to receive a file. What the offer says is checked here, before any content.
    ///
    /// # Errors
    /// A name that cannot be made safe, a size above the limit or the free space, a directory that cannot be written.
    /// The refusal has been told to the observer.
    pub(crate) fn begin(self: &Arc<Self>, source: Source, offer: Offer) -> Result<Upload, Refusal> {
        let (protocol, peer) = (source.protocol.as_str(), source.peer);
        self.try_begin(source, offer).inspect_err(|refusal| {
            self.refused(protocol, peer, refusal.message.clone());
        })
    }

    fn try_begin(self: &Arc<Self>, source: Source, offer: Offer) -> Result<Upload, Refusal> {
        let is_directory =
            offer.size == Some(0) && offer.name.as_ref().is_some_and(|name| name.ends_with('/'));
        let path = match &offer.name {
            Some(asked) => {
                Some(FilePath::sanitize(without_slash(asked, is_directory)).map_err(|error| {
                    Refusal::new(RefusalCode::BadName, format!("cannot store {asked:?}: {error}"))
                })?)
            }
            None => None,
        };
        if let Some(size) = offer.size.filter(|size| *size > self.max_size) {
            let limit = self.max_size;
            let message =
                format!("a file of {size} bytes exceeds the limit of {limit} (--max-size)");
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        let on_exists = self.on_exists(&offer)?;
        if is_directory
            && self.sink == SinkKind::File
            && let Some(path) = &path
        {
            let cannot =
                |error| storage_refusal(&format!("cannot make the directory {path}"), &error);
            self.directory.make(path).map_err(cannot)?;
        }
        let here = is_directory || self.is_here(path.as_ref(), &offer, on_exists)?;
        let algorithm = offer.digest.unwrap_or(self.digest);
        let mut held = None;
        let sink = match self.sink {
            _ if here => AnySink::Discard,
            SinkKind::File => {
                let (part, writing) = self.part(&source, path.as_ref(), &offer, algorithm)?;
                held = writing;
                AnySink::File(part)
            }
            SinkKind::Memory => memory_sink(self.memory.share()),
            SinkKind::Discard => AnySink::Discard,
        };
        let (hasher, resumed) = match &sink {
            AnySink::File(sink) => {
                let cannot = |error| storage_refusal("cannot read a part file", &error);
                (sink.hasher(algorithm).map_err(cannot)?, sink.length())
            }
            AnySink::Memory(_) | AnySink::Discard => (Hasher::new(algorithm), 0),
        };
        let upload = Upload {
            hasher,
            files: self.clone(),
            source,
            path,
            offer,
            on_exists,
            here,
            sink: Some(sink),
            held,
            resumed,
            bytes: resumed,
            clock: None,
        };
        match self.check_space(&upload) {
            Ok(()) => Ok(upload),
            Err(refusal) => Err(upload.give_up(refusal)),
        }
    }

    /// What happens if another file has the name.
    fn on_exists(&self, offer: &Offer) -> Result<OnExists, Refusal> {
        // Who can tell files of one name apart wants to hear of another one; all others want to lose nothing.
        let identified = offer.size.is_some() && (offer.mtime.is_some() || offer.id.is_some());
        let default = if identified { OnExists::Error } else { OnExists::Rename };
        match (offer.exists, self.on_exists) {
            (Some(OnExists::Overwrite), Some(OnExists::Error | OnExists::Rename) | None) => {
                let message = "this server overwrites no files";
                Err(Refusal::new(RefusalCode::NotSupported, message)
                    .with_hint("send under another name, or serve with --on-exists overwrite"))
            }
            (Some(asked), _) => Ok(asked),
            (None, configured) => Ok(configured.unwrap_or(default)),
        }
    }

    /// Whether the offered file is here already. Another one of its name is refused now, before any content, if it is to
    /// be refused at all.
    fn is_here(
        &self,
        path: Option<&FilePath>,
        offer: &Offer,
        on_exists: OnExists,
    ) -> Result<bool, Refusal> {
        let Some(path) = path.filter(|_| self.sink == SinkKind::File) else { return Ok(false) };
        if on_exists == OnExists::Rename {
            return Ok(false);
        }
        let present = self.directory.present(path);
        let Some(present) =
            present.map_err(|error| storage_refusal(&format!("cannot look at {path}"), &error))?
        else {
            return Ok(false);
        };
        if present.is_file && Some(present.size) == offer.size && Some(present.mtime) == offer.mtime
        {
            return Ok(true);
        }
        match on_exists {
            OnExists::Error => Err(exists(path, Some(present))),
            OnExists::Overwrite if !present.is_file => Err(exists(path, Some(present))),
            OnExists::Overwrite | OnExists::Rename => Ok(false),
        }
    }

    /// What an earlier attempt left of the offered file, or an empty part.
    fn part(
        self: &Arc<Self>,
        source: &Source,
        path: Option<&FilePath>,
        offer: &Offer,
        algorithm: Algorithm,
    ) -> Result<(FileSink, Option<Writing>), Refusal> {
        let cannot = |error| storage_refusal("cannot create a file", &error);
        if let Some(path) = path.filter(|path| self.directory.is_elsewhere(path)) {
            let message = format!("{path} lies in another file system than the served directory");
            return Err(Refusal::new(RefusalCode::Storage, message));
        }
        let fresh = || Ok((self.directory.create_part().map_err(cannot)?, None));
        // To go on with a small file costs more than to send it again.
        let worth = offer.resume || offer.size.is_some_and(|size| size >= WORTH_RESUMING);
        let Some(path) = path.filter(|_| worth) else { return fresh() };
        let without_id = PartKey::without_id(offer, path, algorithm);
        let key = match (PartKey::of(offer, path, algorithm), without_id) {
            // Begun by somebody who gave no id: the end digest will tell whether it is the same.
            (Some(key), Some(other))
                if !self.directory.has_part(&key) && self.directory.has_part(&other) =>
            {
                other
            }
            (Some(key), _) | (None, Some(key)) => key,
            (None, None) => return fresh(),
        };
        let mut part = self.directory.open_part(&key, offer.resume).map_err(cannot)?;
        if part.is_none() && offer.resume && offer.id.is_some() {
            part = self.take_over(&key).map_err(cannot)?;
            if part.is_none() {
                let message = format!("{path} is being sent over another connection");
                return Err(Refusal::new(RefusalCode::Busy, message).with_hint("try again later"));
            }
        }
        // Two senders that cannot be told apart: nobody can go on with the second one's.
        let Some(mut part) = part else { return fresh() };
        if offer.size.is_some_and(|size| part.length() > size) {
            // Nothing of ours writes more than was announced.
            let message = "the part of this file is longer than the file";
            return Err(Refusal::new(RefusalCode::Storage, message));
        }
        part.describe(path, offer);
        let link = source.link.clone();
        self.writers().insert(key.clone(), link.clone());
        Ok((part, Some(Writing { files: self.clone(), key, link })))
    }

    /// The part of a sender that is back: its last connection broke, and we have not noticed yet.
    fn take_over(&self, key: &PartKey) -> io::Result<Option<FileSink>> {
        let Some(link) = self.writers().get(key).cloned() else { return Ok(None) };
        link.shut();
        let deadline = Instant::now() + TAKE_OVER;
        loop {
            if let Some(part) = self.directory.open_part(key, true)? {
                return Ok(Some(part));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn writers(&self) -> std::sync::MutexGuard<'_, HashMap<PartKey, Link>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a peer that was refused before a transfer began.
    pub(crate) fn refused(&self, protocol: &'static str, peer: SocketAddr, reason: String) {
        tracing::debug!(%peer, protocol, reason, "refused");
        self.observer.refused(&Refused { protocol, peer, reason });
    }

    fn check_space(&self, upload: &Upload) -> Result<(), Refusal> {
        let Some(left) = upload.left().filter(|_| self.sink == SinkKind::File && !upload.here)
        else {
            return Ok(());
        };
        let free = self.largest_possible();
        if left > free {
            let size = upload.bytes + left;
            let message = format!("a file of {size} bytes does not fit: {free} bytes are free");
            return Err(Refusal::new(RefusalCode::NoSpace, message));
        }
        Ok(())
    }
}

/// A connection's right to a part.
struct Writing {
    files: Arc<Files>,
    key: PartKey,
    link: Link,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut writers = self.files.writers();
        // Somebody may have taken over.
        if writers.get(&self.key).is_some_and(|link| link.is(&self.link)) {
            writers.remove(&self.key);
        }
    }
}

/// One file on its way in. Ends by [`Self::finish`] or [`Self::interrupt`]; dropped without either, it counts as
/// interrupted by the server itself.
pub(crate) struct Upload {
    files: Arc<Files>,
    source: Source,
    path: Option<FilePath>,
    offer: Offer,
    on_exists: OnExists,
    /// Nothing needs to come: what comes all the same is not kept.
    here: bool,
    /// Taken when the upload ends.
    sink: Option<AnySink>,
    /// Its part is ours until then.
    #[expect(dead_code, reason = "held until it is dropped, after the sink")]
    held: Option<Writing>,
    hasher: Hasher,
    /// Bytes that were here before.
    resumed: u64,
    /// Bytes that are here.
    bytes: u64,
    clock: Option<Clock>,
}

/// From the first content byte, as it was read, to the last, as it was stored.
#[derive(Debug, Clone, Copy)]
struct Clock {
    first: Instant,
    last: Instant,
}

impl Upload {
    /// Content bytes still to come, if the sender announced how many there are.
    pub(crate) fn left(&self) -> Option<u64> {
        self.offer.size.map(|size| size.saturating_sub(self.bytes))
    }

    /// Whether the sender announced a size.
    pub(crate) const fn is_sized(&self) -> bool {
        self.offer.size.is_some()
    }

    /// The byte of the content that the sender may begin with.
    pub(crate) const fn offset(&self) -> u64 {
        self.resumed
    }

    /// Whether the file is here already, so that a sender who waits can be given its receipt.
    pub(crate) const fn is_here(&self) -> bool {
        self.here
    }

    pub(crate) fn may_block(&self) -> bool {
        self.sink.as_ref().is_some_and(AnySink::may_block)
    }

    pub(crate) fn can_rewrite(&self) -> bool {
        self.sink.as_ref().is_some_and(AnySink::can_rewrite)
    }

    /// Another protocol than was thought carries this file.
    pub(crate) const fn set_protocol(&mut self, protocol: Protocol) {
        self.source.protocol = protocol;
    }

    /// Takes content that was read at `read_at`.
    ///
    /// # Errors
    /// More than was announced or allowed, or a sink that takes no more; then the upload must be interrupted.
    pub(crate) fn write(&mut self, content: &[u8], read_at: Instant) -> Result<(), Refusal> {
        // No byte, no clock: it starts with the first one.
        if content.is_empty() {
            return Ok(());
        }
        let bytes = self.bytes.saturating_add(content.len() as u64);
        if let Some(size) = self.offer.size
            && bytes > size
        {
            let message = format!("more than the announced {size} bytes came");
            return Err(Refusal::new(RefusalCode::SizeMismatch, message));
        }
        if bytes > self.files.max_size {
            let limit = self.files.max_size;
            let message = format!("more than the limit of {limit} bytes came (--max-size)");
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        self.store(content)?;
        self.bytes = bytes;
        let last = Instant::now();
        self.clock.get_or_insert(Clock { first: read_at, last }).last = last;
        Ok(())
    }

    /// Where the next bytes may be put without being looked at: only if nobody asked for a digest, and never more than
    /// may come, so that one byte too many is met by [`Self::write`].
    pub(crate) fn unseen(&self) -> Option<Unseen<'_>> {
        if self.hasher.wants_content() {
            return None;
        }
        let (file, at) = self.sink.as_ref()?.next_place()?;
        let allowed = self.files.max_size.saturating_sub(self.bytes);
        let most = self.left().unwrap_or(u64::MAX).min(allowed);
        (most > 0).then_some(Unseen { file, at, most })
    }

    /// So many bytes were put where [`Self::unseen`] said.
    pub(crate) fn put(&mut self, count: u64, at: Instant) {
        if count == 0 {
            return;
        }
        if let Some(sink) = &mut self.sink {
            sink.put(count);
        }
        self.bytes += count;
        self.clock.get_or_insert(Clock { first: at, last: at }).last = at;
    }

    /// Turns back to the start: what was stored raw is about to be decoded in place, by [`Self::read_back`] and
    /// [`Self::write`]. The clock goes on.
    pub(crate) fn begin_rewrite(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.begin_rewrite();
        }
        self.hasher = Hasher::new(self.hasher.algorithm());
        self.bytes = 0;
        self.resumed = 0;
    }

    /// The next bytes as they were stored before [`Self::begin_rewrite`]; 0 at their end.
    ///
    /// # Errors
    /// What the file system said.
    pub(crate) fn read_back(&mut self, buffer: &mut [u8]) -> Result<usize, Refusal> {
        let Some(sink) = &mut self.sink else { return Ok(0) };
        sink.read_back(buffer).map_err(|error| storage_refusal("cannot read a part file", &error))
    }

    /// Checks what the sender said of the end, makes the file durable and visible, and gives the receipt.
    ///
    /// # Errors
    /// Size or digest differ from what was announced, or storing failed: nothing was published, and the interruption
    /// has been told.
    pub(crate) fn finish(mut self, kind: EndKind, end: &End) -> Result<Receipt, Refusal> {
        let ended = Instant::now();
        // Before the disk is waited for: what TCP measured is of the transfer.
        let (congestion, tcp) = self.source.link.seen();
        if self.here {
            return Ok(self.finish_here());
        }
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new(Algorithm::None));
        let digest = hasher.finish();
        if let Err(refusal) = self.check_end(end, digest.as_ref()) {
            return Err(self.abandon(refusal));
        }
        // An upload ends once, and until then it has its sink.
        let Some(sink) = self.sink.take() else {
            return Err(Refusal::new(RefusalCode::Storage, "the upload has ended already"));
        };
        let path = self.path.clone().unwrap_or_else(|| unnamed(self.source.protocol).into());
        let stored = match sink.finish(&path, &self.offer, self.on_exists) {
            Ok(stored) => stored,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(self.abandon(exists(&path, None)));
            }
            Err(error) => {
                let refusal = storage_refusal(&format!("cannot store {path}"), &error);
                return Err(self.abandon(refusal));
            }
        };
        let seconds = self.clock.map_or(Duration::ZERO, |clock| clock.last - clock.first);
        // Without the time that the sender took to say that this was the end.
        let durable_seconds = seconds + ended.elapsed();
        let path = stored.path.map(|path| path.as_str().to_owned());
        let durable = path.is_some() && self.files.directory.is_durable();
        let receipt = Receipt {
            protocol: self.source.protocol,
            engine: self.source.engine,
            peer: self.source.peer,
            bytes: self.bytes,
            resumed: self.resumed,
            seconds: in_microseconds(seconds),
            durable_seconds: durable.then(|| in_microseconds(durable_seconds)),
            digest,
            end: kind,
            confirmed: is_confirmed(kind, self.source.engine),
            name: self.offer.name.take().filter(|asked| path.as_ref().is_some_and(|p| p != asked)),
            path,
            congestion,
            tcp,
        };
        self.files.observer.receipt(&receipt);
        Ok(receipt)
    }

    /// The receipt of a file that was here already: nothing was compared but what the offer says.
    fn finish_here(&mut self) -> Receipt {
        self.sink = None;
        let receipt = Receipt {
            protocol: self.source.protocol,
            engine: self.source.engine,
            peer: self.source.peer,
            bytes: self.offer.size.unwrap_or_default(),
            resumed: self.offer.size.unwrap_or_default(),
            seconds: 0.0,
            durable_seconds: None,
            digest: None,
            end: EndKind::AlreadyHere,
            confirmed: true,
            name: None,
            path: self.path.as_ref().map(|path| path.as_str().to_owned()),
            congestion: None,
            tcp: TcpSeen::default(),
        };
        self.files.observer.receipt(&receipt);
        receipt
    }

    /// Ends an upload that will not be whole: nothing is published, the part is kept.
    pub(crate) fn interrupt(mut self, reason: impl Into<String>) {
        let part = self.sink.take().and_then(AnySink::keep_part);
        self.tell_interrupted(reason.into(), part);
    }

    /// Ends an upload for `refusal`, and gives that back. What came is kept if the upload could go on from it, and kept
    /// apart, for a person to look at, if it is not what was sent.
    pub(crate) fn abandon(mut self, refusal: Refusal) -> Refusal {
        let sink = self.sink.take();
        let part = match refusal.code {
            RefusalCode::DigestMismatch => sink.and_then(AnySink::keep_apart),
            RefusalCode::NoSpace | RefusalCode::Storage => sink.and_then(AnySink::keep_part),
            _ => None,
        };
        self.tell_interrupted(refusal.message.clone(), part);
        refusal
    }

    /// Ends an upload that was refused before it took anything: what an earlier attempt left stays.
    fn give_up(mut self, refusal: Refusal) -> Refusal {
        if let Some(sink) = self.sink.take().filter(|_| self.resumed > 0) {
            sink.keep_part();
        }
        refusal
    }

    fn check_end(&self, end: &End, digest: Option<&Digest>) -> Result<(), Refusal> {
        let differs = |announced: &u64| *announced != self.bytes;
        if let Some(announced) = [self.offer.size, end.bytes].into_iter().flatten().find(differs) {
            let came = self.bytes;
            let message = format!("the sender announced {announced} bytes, {came} came");
            return Err(Refusal::new(RefusalCode::SizeMismatch, message));
        }
        match (&end.digest, digest) {
            (Some(theirs), Some(ours)) if theirs.algorithm() != ours.algorithm() => {
                let message = format!("the end names {theirs}, but {} was asked", ours.algorithm());
                Err(Refusal::new(RefusalCode::BadRequest, message))
            }
            (Some(theirs), Some(ours)) if theirs != ours => {
                let message = format!("the sender's digest is {theirs}, what came has {ours}");
                Err(Refusal::new(RefusalCode::DigestMismatch, message).with_hint(
                    "the file changed while it was sent, or was damaged on the way; send it again",
                ))
            }
            (Some(theirs), None) => {
                let message = format!("the end names {theirs}, but no digest was computed (none)");
                Err(Refusal::new(RefusalCode::BadRequest, message))
            }
            _ => Ok(()),
        }
    }

    fn store(&mut self, content: &[u8]) -> Result<(), Refusal> {
        if let Some(sink) = &mut self.sink {
            sink.write(content).map_err(|error| {
                storage_refusal(&format!("cannot write at byte {}", self.bytes), &error)
            })?;
        }
        self.hasher.update(content);
        let checkpoints = self.hasher.take_checkpoints();
        if let Some(sink) = self.sink.as_mut().filter(|_| !checkpoints.is_empty()) {
            sink.save(&checkpoints);
        }
        Ok(())
    }

    fn tell_interrupted(&self, reason: String, part: Option<String>) {
        self.files.observer.interrupted(&Interrupted {
            protocol: self.source.protocol,
            engine: self.source.engine,
            peer: self.source.peer,
            bytes: self.bytes,
            name: self.offer.name.clone(),
            reason,
            part,
        });
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Still there: neither finished nor interrupted, so the server itself gave up.
        if let Some(sink) = self.sink.take() {
            let part = sink.keep_part();
            self.tell_interrupted("the server gave the transfer up".to_owned(), part);
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

/// Whether the end of a file was told, and not only seen. A FIN may be a killed sender's, and the library hides from us
/// whether a Close came inside a message.
fn is_confirmed(kind: EndKind, engine: Engine) -> bool {
    match kind {
        EndKind::Size | EndKind::AlreadyHere => true,
        EndKind::Close => engine == Engine::Own,
        EndKind::Fin => false,
    }
}

/// As precise as receipts are written, so that everybody computes the same rate from them.
fn in_microseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

/// The name of a directory as that of a file would be written.
fn without_slash(name: &str, is_directory: bool) -> &str {
    if is_directory { name.trim_end_matches('/') } else { name }
}

/// Another file has the name.
fn exists(path: &FilePath, present: Option<Present>) -> Refusal {
    let what = match present {
        Some(Present { is_file: false, .. }) => "exists, and is no file".to_owned(),
        Some(Present { size, .. }) => format!("exists, with {size} bytes or another time"),
        None => "exists by now".to_owned(),
    };
    Refusal::new(RefusalCode::Exists, format!("{path} {what}"))
        .with_hint("send under another name, or with --on-exists rename")
}

/// What went wrong on our disk, in words that reach the sender.
fn storage_refusal(what: &str, error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Refusal::new(RefusalCode::NoSpace, format!("{what}: {error}"))
                .with_hint("free some space on the server, then send it again")
        }
        _ => Refusal::new(RefusalCode::Storage, format!("{what}: {error}")),
    }
}

/// `<UTC yyyymmdd-hhmmss>-<protocol>-<4 characters>.bin`
fn unnamed(protocol: Protocol) -> FileName {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0; 4];
    // Without randomness the names may repeat; then a number is appended, as for every name.
    let _ = getrandom::fill(&mut random);
    let tail: String =
        random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let name = format!("{now}-{protocol}-{tail}.bin");
    FileName::sanitize(&name).expect("digits, letters, dashes and a dot are a safe name")
}

/// Bytes from which on a file whose sender does not ask to go on keeps a part that another attempt can go on with.
const WORTH_RESUMING: u64 = 1024 * 1024;

/// What a connection gets to let go of its part, once its sender has come back over another one.
const TAKE_OVER: Duration = Duration::from_secs(2);
