//! Receives files over all protocols: a name, a digest of the content, and a receipt at the end.

mod changes;
mod min_rate;
mod parts;
mod paths;
mod present;
mod resource;
mod upload;
mod waiting;

pub(crate) use anyport_store::Announced;
pub(crate) use changes::{NotChanged, Obstacle};
use parts::{Checked, Owner};
use paths::{is_directory, path_of};
pub(crate) use resource::{Continued, UploadId};
pub(crate) use upload::Upload;
use upload::{Here, Spent};
pub(crate) use waiting::{Begun, Complete, Waiting};
use waiting::{Identity, NotBegun};

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyport_proto::access::Rights;
use anyport_proto::peer::Peer;
use anyport_proto::setting::{MAX_ENTRIES, MAX_SIZE, ON_EXISTS, QUOTA};
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::Hasher;
use anyport_proto::transfer::offer::{Offer, OnExists};
use anyport_proto::transfer::receipt::{Engine, Protocol};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_store::{
    Attributes, Excess, Full, Impossible, Kind, Settings, Sink, Store, StoreError, Target,
    TransferKey, Usage, hashing, not_distinguished,
};
use tokio::sync::Semaphore;

use crate::access::{Grant, Operation};
use crate::address::counted_as;
use crate::budget::Budget;
use crate::config::{Config, Fsync, SinkKind};
use crate::events::{Direction, Events, Record, Transfer, Why};
use crate::link::Link;

/// The files service, shared by all connections of a server.
pub(crate) struct Files {
    pub(super) store: Arc<Store>,
    memory: Arc<Budget>,
    /// The connections that write to partial files that can be resumed.
    writers: Arc<Mutex<HashMap<TransferKey, Owner>>>,
    /// Permits for senders that wait for the end of their last connection.
    taking_over: Arc<Semaphore>,
    withheld: Rights,
    sink: SinkKind,
    pub(super) digest: Algorithm,
    max_size: u64,
    keep_partial: Duration,
    min_rate: Option<u64>,
    on_exists: Option<OnExists>,
    pub(super) events: Arc<Events>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("store", &self.store).finish_non_exhaustive()
    }
}

/// The client of a transfer and its connection.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) protocol: Protocol,
    pub(crate) engine: Engine,
    pub(crate) peer: Peer,
    /// What it may do; over HTTP each request of a connection has its own token.
    pub(crate) grant: Grant,
    /// Statistics of the socket, read when the file ends.
    pub(crate) link: Link,
    /// The log record of the connection.
    pub(crate) record: Arc<Record>,
}

impl Source {
    /// Returns the owner of a partial file that was begun without an id: the same token, or the
    /// same address (IPv6: the same /64), may resume it.
    fn owner(&self) -> String {
        match self.grant.user() {
            Some(user) => format!("token {user}"),
            None if let Some(link) = self.grant.link() => format!("share {}", link.identity()),
            None if self.peer.ip().is_none() => "address unix".to_owned(),
            None => format!("address {}", counted_as(self.peer)),
        }
    }

    /// Returns whether the client is gone. A half-close ends a WebSocket and nothing else: `nc -N`
    /// sends FIN after `GET x` and reads the file, so hashing for it continues until its socket
    /// sends a reset.
    pub(super) fn is_gone(&self) -> bool {
        self.link.is_gone(matches!(self.protocol, Protocol::Ws | Protocol::Frames))
    }

    /// Returns the same for a client that has content to send after an answer: over all protocols a
    /// FIN means that the content is never sent.
    fn is_gone_before_content(&self) -> bool {
        self.link.is_gone(true)
    }
}

impl Files {
    pub(crate) fn open(config: &Config, events: Arc<Events>) -> io::Result<Self> {
        let store = Arc::new(Store::open(&config.startup.directory, settings(config))?);
        if config.startup.stores_files() {
            // The operator gets the error at the start, and not the first client.
            for lack in store.now().probe()? {
                tracing::warn!("the file system of the served directory has {lack}");
            }
            if let Some(excess) = store.excess() {
                let excess = excess_text(excess);
                tracing::warn!("uploads are refused until files are removed: {excess}");
            }
        }
        Ok(Self {
            store,
            memory: Arc::new(Budget::new(config.max_memory)),
            writers: Arc::default(),
            withheld: config.startup.withheld,
            taking_over: Arc::new(Semaphore::new(waiting::TAKING_OVER)),
            sink: config.startup.sink,
            digest: config.digest,
            max_size: config.max_size,
            keep_partial: config.keep_partial,
            min_rate: config.min_upload_rate,
            on_exists: config.on_exists,
            events,
        })
    }

    /// Returns the same files with other settings. Both share the writers of partial files and the
    /// use of memory and quota.
    pub(crate) fn with(&self, config: &Config) -> Self {
        self.memory.set_limit(config.max_memory);
        Self {
            store: Arc::new(self.store.with(settings(config))),
            memory: self.memory.clone(),
            writers: self.writers.clone(),
            withheld: self.withheld,
            taking_over: self.taking_over.clone(),
            sink: self.sink,
            digest: config.digest,
            max_size: config.max_size,
            keep_partial: config.keep_partial,
            min_rate: config.min_upload_rate,
            on_exists: config.on_exists,
            events: self.events.clone(),
        }
    }

    /// Returns the store, which later settings share.
    pub(crate) fn shared_store(&self) -> Arc<Store> {
        self.store.clone()
    }

    /// Returns the size of the largest file that could be stored now; a header that announces more
    /// is not that of a file.
    pub(crate) fn largest_possible(&self) -> u64 {
        self.free_bytes().min(self.max_size).min(self.store.free_quota())
    }

    fn free_bytes(&self) -> u64 {
        match self.sink {
            // Without the free space the announced size is not bounded.
            SinkKind::File => self.store.now().free_bytes().unwrap_or(u64::MAX),
            SinkKind::Memory | SinkKind::Discard => u64::MAX,
        }
    }

    /// Opens the served directory again, if its path leads to another one.
    ///
    /// # Errors
    /// Nothing can be stored or found now.
    pub(crate) fn check_directory(&self) -> Result<(), Refusal> {
        let refuse = |error: io::Error| Refusal::new(RefusalCode::Storage, error.to_string());
        self.store.check().map_err(refuse)
    }

    /// Returns the version of a directory (see [`anyport_store::Directory::version`]); `None` if
    /// there is no such directory now.
    pub(crate) fn version(&self, path: Option<&FilePath>) -> Option<Attributes> {
        self.check_directory().ok()?;
        self.store.now().version(path).ok()
    }

    /// Removes partial files that were kept for long enough: those in the index, or all that are
    /// `there`.
    pub(crate) fn sweep(&self, there: bool) {
        let directory = self.store.now();
        match there {
            true if self.check_directory().is_ok() => directory.sweep(),
            true => {}
            false => directory.sweep_index(),
        }
    }

    fn try_begin(
        self: &Arc<Self>,
        source: Source,
        offer: Offer,
        identity: &Identity,
        waited: Option<&Waiting>,
    ) -> Result<Upload, NotBegun> {
        let shown = offer.name.as_ref().map(|name| format!("{name:?}"));
        source.grant.check_right(Operation::Upload, shown.as_deref())?;
        // The offset of an upload, and its removal, need no space and no free name.
        let is_inspected = matches!(identity, Identity::Upload(_, None));
        let is_directory = is_directory(&offer);
        let (path, is_changed) = path_of(&source, &offer)?;
        source.grant.check_named(Operation::Upload, path.as_ref(), shown.as_deref())?;
        if let Some(size) = offer.size.filter(|size| *size > self.max_size && !is_inspected) {
            let limit = self.max_size;
            let message = format!(
                "a file of {size} bytes exceeds the server's limit of {limit} bytes ({MAX_SIZE})"
            );
            return Err(Refusal::new(RefusalCode::TooLarge, message).into());
        }
        let mut on_exists = self.on_exists(&source.grant, path.as_ref(), &offer)?;
        let mut directories = 0;
        if self.sink == SinkKind::File {
            self.check_directory()?;
            if let Some(path) = path.as_ref().filter(|_| !is_inspected) {
                let target = self.check_target(path)?;
                directories = target.missing;
                // A directory has no other name to go to.
                if let Some(other) = target.stored_as
                    && (is_directory || on_exists != OnExists::Rename)
                {
                    let message = not_distinguished(&path.to_string(), &other);
                    let refusal = Refusal::new(RefusalCode::Exists, message);
                    return Err(refusal.with_hint(another_name()).into());
                }
            }
        }
        if is_changed && !is_directory && !is_inspected {
            on_exists = self.only_apart(path.as_ref(), &offer, on_exists)?;
        }
        if is_directory
            && self.sink == SinkKind::File
            && let Some(path) = &path
        {
            self.make(path, directories)?;
        }
        let algorithm = offer.digest.unwrap_or(self.digest);
        let here = if is_directory {
            Some(Here::Directory)
        } else {
            let here = match source.grant.may_read() {
                true => self.is_here(path.as_ref(), &offer, on_exists, algorithm),
                // The answer must not depend on the content of a stored file.
                false => self.is_free(path.as_ref(), on_exists).map(|()| None),
            };
            if is_inspected { here.unwrap_or_default() } else { here? }
        };
        let (mut held, mut begun_by_others) = (None, false);
        let mut key = identity.key().cloned();
        // Content that is compared at the end may be sent by several requests.
        let is_compared = here == Some(Here::SameSize) && *identity != Identity::Offer;
        let checked = Checked { source: &source, path: path.as_ref(), offer: &offer, algorithm };
        let mut sink = match self.sink {
            _ if here.is_some() && !is_compared => {
                if let Identity::New(key) = identity {
                    drop(self.created(checked, key)?);
                }
                Sink::Discard
            }
            SinkKind::File => {
                let part = self.part(checked, identity, waited)?;
                (held, begun_by_others) = (part.held, part.without_id);
                key = part.key.or(key);
                Sink::File(part.sink)
            }
            SinkKind::Memory => Sink::memory(self.memory.share(source.peer)),
            SinkKind::Discard => Sink::Discard,
        };
        let (hasher, resumed) = match sink {
            Sink::File(part) => {
                // A request without content needs no digest, and must not wait for one.
                let hasher = match is_inspected {
                    true => Ok(Hasher::new(algorithm)),
                    false => part.hasher(algorithm, || source.is_gone_before_content()),
                };
                let length = part.length();
                sink = Sink::File(part);
                match hasher {
                    Ok(hasher) => (hasher, length),
                    Err(error) => {
                        sink.keep(owner_of(&source));
                        return Err(storage_refusal("cannot read a partial file", &error).into());
                    }
                }
            }
            // Only the digest is requested.
            Sink::Discard if here == Some(Here::SameSize) && offer.resume => {
                (Hasher::new(algorithm), offer.size.unwrap_or_default())
            }
            Sink::Memory(_) | Sink::Discard => (Hasher::new(algorithm), 0),
        };
        let underway = self.events.running.begin(
            Transfer {
                direction: Direction::In,
                protocol: source.protocol,
                peer: source.peer,
                name: offer.name.clone(),
                size: offer.size,
                bytes: resumed,
                elapsed: Duration::ZERO,
            },
            path.clone().filter(|_| !is_inspected),
        );
        let mut upload = Upload {
            underway,
            hasher,
            files: self.clone(),
            source,
            path,
            offer,
            on_exists,
            begun_by_others,
            key,
            here,
            slot: None,
            sink: Some(sink),
            held,
            resumed,
            bytes: resumed,
            clock: None,
            spent: Spent::default(),
        };
        if is_inspected {
            return Ok(upload);
        }
        let claimed = self
            .check_space(&upload)
            .and_then(|()| Self::claim(&mut upload, directories))
            .map_err(|refusal| upload.source.without_numbers(refusal))
            .and_then(|()| Self::take_slot(&mut upload));
        match claimed {
            Ok(()) => Ok(upload),
            Err(refusal) => Err(upload.give_up(refusal).into()),
        }
    }

    /// Returns what happens if another file has the name.
    fn on_exists(
        &self,
        grant: &Grant,
        path: Option<&FilePath>,
        offer: &Offer,
    ) -> Result<OnExists, Refusal> {
        // The scope is one file, and another name would be outside.
        let is_whole_scope = path.is_some() && grant.scope() == path;
        if !grant.may_read() {
            // Any other policy would reveal whether the name, or the content, exists.
            return Ok(if is_whole_scope { OnExists::Error } else { OnExists::Rename });
        }
        // A client that can distinguish files of one name gets an error for another one; others
        // lose nothing.
        let identified = offer.size.is_some() && (offer.mtime.is_some() || offer.id.is_some());
        let default = if identified { OnExists::Error } else { OnExists::Rename };
        match (offer.exists, self.on_exists) {
            (Some(OnExists::Overwrite), Some(OnExists::Error | OnExists::Rename) | None) => {
                let name = offer.name.as_deref().unwrap_or("a file");
                let message = format!("cannot overwrite {name:?}: this server does not allow it");
                Err(Refusal::new(RefusalCode::NotSupported, message).with_hint(format!(
                    "only the server's owner can allow it (anyport serve {ON_EXISTS} overwrite); \
                     send another name"
                )))
            }
            (Some(OnExists::Rename), _) | (None, Some(OnExists::Rename)) if is_whole_scope => {
                Ok(OnExists::Error)
            }
            (None, None) if is_whole_scope => Ok(OnExists::Error),
            (Some(asked), _) => Ok(asked),
            (None, configured) => Ok(configured.unwrap_or(default)),
        }
    }

    /// Reports that an offer or a request was refused.
    pub(crate) fn refused(&self, source: &Source, refusal: &Refusal) {
        source.record.refused(&refusal.message);
        self.events.refused(Why::Request, source.protocol.as_str(), source.peer, &refusal.message);
    }

    fn check_space(&self, upload: &Upload) -> Result<(), Refusal> {
        let Some(left) = upload.left().filter(|_| self.sink == SinkKind::File && !upload.is_here())
        else {
            return Ok(());
        };
        let free = self.free_bytes();
        if left > free {
            let size = upload.bytes + left;
            let message = format!("a file of {size} bytes does not fit: {free} bytes are free");
            return Err(Refusal::new(RefusalCode::NoSpace, message));
        }
        Ok(())
    }

    /// Claims the space that the upload needs, as far as it is known.
    fn claim(upload: &mut Upload, directories: u64) -> Result<(), Refusal> {
        let Some(Sink::File(partial)) = &mut upload.sink else { return Ok(()) };
        let (size, owner) = (upload.offer.size, owner_of(&upload.source));
        partial.claim(size, directories, owner).map_err(|error| match error {
            StoreError::Full(full) => {
                let size = size.unwrap_or(upload.bytes);
                full_refusal(&format!("a file of {size} bytes does not fit"), full)
            }
            StoreError::Io(error) => storage_refusal("cannot stat a partial file", &error),
        })
    }

    /// Checks, before any content, that a file can be stored as `path`.
    fn check_target(&self, path: &FilePath) -> Result<Target, Refusal> {
        self.store.now().check_target(path).map_err(|impossible| match impossible {
            Impossible::NotADirectory(above, what) => {
                let message = format!("cannot store {path}: {above} is {what}");
                Refusal::new(RefusalCode::Exists, message).with_hint("send it under another name")
            }
            Impossible::StoredAs(above, other) => {
                let why = not_distinguished(&above, &other);
                let message = format!("cannot store {path}: {why}");
                Refusal::new(RefusalCode::Exists, message).with_hint("send it under another name")
            }
            Impossible::Elsewhere => {
                let message = format!(
                    "cannot store {path}: it is on another file system than the served directory"
                );
                Refusal::new(RefusalCode::Storage, message)
            }
            Impossible::Error(error) => storage_refusal(&format!("cannot store {path}"), &error),
        })
    }

    /// Creates the directory `path`, below `missing` others.
    fn make(&self, path: &FilePath, missing: u64) -> Result<(), Refusal> {
        self.store.now().create_directory(path, missing).map_err(|error| match error {
            StoreError::Full(full) => {
                full_refusal(&format!("the directory {path} does not fit"), full)
            }
            StoreError::Io(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let message = format!("cannot create the directory {path}: the name is in use");
                Refusal::new(RefusalCode::Exists, message)
            }
            StoreError::Io(error) => {
                storage_refusal(&format!("cannot create the directory {path}"), &error)
            }
        })
    }
}

/// Returns the hint for keeping both files.
fn another_name() -> String {
    format!("send it under another name, or with {ON_EXISTS} rename")
}

/// Returns why a server with `config` would refuse all uploads, if stored files exceed its quota.
/// Changes nothing.
///
/// # Errors
/// The directory cannot be opened.
pub(crate) fn quota_excess(config: &Config) -> io::Result<Option<String>> {
    let store = Store::inspect(&config.startup.directory, settings(config))?;
    Ok(store.excess().map(excess_text))
}

/// The store's settings.
fn settings(config: &Config) -> Settings {
    Settings {
        stores_files: config.startup.stores_files(),
        fsync: config.fsync == Fsync::File,
        keep_partial: config.keep_partial,
        max_partial: config.max_partial,
        max_partial_bytes: config.max_partial_bytes,
        exact_modes: config.perms,
        quota: config.quota.map(|bytes| Usage { bytes, entries: config.max_entries }),
    }
}

/// The limit of the quota that stored files exceed, in words.
fn excess_text(excess: Excess) -> String {
    match excess {
        Excess::Entries { limit } => {
            format!("more than {limit} files and directories ({MAX_ENTRIES})")
        }
        Excess::Bytes { used, limit } => format!("{used} of {limit} bytes are used ({QUOTA})"),
    }
}

/// Refuses `what` because of the quota.
fn full_refusal(what: &str, full: Full) -> Refusal {
    let message = match full {
        Full::Bytes { limit, free } => {
            format!("{what}: {free} of {limit} bytes are free ({QUOTA})")
        }
        Full::Entries { limit } => {
            format!("{what}: the limit of {limit} files and directories is reached ({MAX_ENTRIES})")
        }
    };
    Refusal::new(RefusalCode::NoSpace, message)
        .with_hint("remove some files on the server, then send it again")
}

/// The address that a partial file belongs to.
fn owner_of(source: &Source) -> IpAddr {
    counted_as(source.peer)
}

/// Refuses an upload because another file has the name; `present` is that file, where it was
/// compared with the offer.
fn exists(path: &FilePath, offer: &Offer, present: Option<Kind>) -> Refusal {
    let how = match present {
        Some(Kind::Directory(_)) => " and is a directory".to_owned(),
        Some(Kind::Link | Kind::Special) => " and is not a regular file".to_owned(),
        Some(Kind::File(Attributes { size, .. })) => match offer.size {
            Some(offered) if offered != size => format!(" with {size} bytes instead of {offered}"),
            Some(_) if offer.mtime.is_some() => {
                " with the same size and another modification time".to_owned()
            }
            _ => String::new(),
        },
        None => " with different content".to_owned(),
    };
    Refusal::new(RefusalCode::Exists, format!("{path} exists{how}")).with_hint(another_name())
}

/// Refuses `what` because of an error of the store; the sender reads the text.
fn storage_refusal(what: &str, error: &io::Error) -> Refusal {
    match error.kind() {
        _ if hashing::is_gone(error) => {
            Refusal::new(RefusalCode::Interrupted, format!("{what}: {error}"))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Refusal::new(RefusalCode::NoSpace, format!("{what}: {error}"))
                .with_hint("free some space on the server, then send it again")
        }
        _ => Refusal::new(RefusalCode::Storage, format!("{what}: {error}")),
    }
}
