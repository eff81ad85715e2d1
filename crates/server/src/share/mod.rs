//! Shares: links for people without a token, to one file or to a drop box.
//!
//! ```text
//!   /.anyport/s/ID/  ──hash of ID──► Shares::find ──► Share ──► a Grant for its file or directory
//!   .anyport-shares  ◄──replaced as a whole, fsynced──┘ (hashes only)
//! ```
//!
//! The id in the path is the secret. It is in the response to the request that creates the share,
//! and nowhere else.

mod drop_box;
mod id;
mod record;

pub(crate) use drop_box::{Limits, Slot};
pub(crate) use id::ShareId;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use anyport_proto::transfer::file_name::FileName;
use anyport_proto::transfer::file_path::FilePath;
use anyport_store::Store;

use crate::config::{SinkKind, Startup};
use crate::tokens::{TokenMark, User};
use drop_box::Usage;

/// The shares of a server.
pub(crate) struct Shares {
    store: Arc<Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shares: Vec<Arc<Share>>,
    /// Why the file is left as it is, so that no share is created.
    frozen: Option<String>,
}

/// A share: what its link leads to, who made it, and until when.
pub(crate) struct Share {
    hash: blake3::Hash,
    /// Its name among the shares, for people.
    pub(crate) name: FileName,
    /// The file, or the directory of the drop box.
    pub(crate) path: Arc<FilePath>,
    pub(crate) kind: Kind,
    /// `None` if the server required no tokens.
    pub(crate) maker: Option<Maker>,
    /// Seconds since the epoch.
    pub(crate) expires: i64,
    /// It was revoked, or has expired; kept so that its link is known to have ended.
    ended: AtomicBool,
    usage: Mutex<Usage>,
}

/// What a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File {
        /// The entity tag of the file for which the link was made.
        tag: String,
        /// Its digest, if it was computed.
        digest: Option<String>,
    },
    Drop(Limits),
}

/// The token that made a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Maker {
    pub(crate) user: User,
    pub(crate) mark: TokenMark,
}

/// A share that is to be created.
pub(crate) struct NewShare {
    pub(crate) kind: Kind,
    pub(crate) maker: Option<Maker>,
    pub(crate) expires: i64,
}

/// Why a share is not created or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShareError {
    /// There are [`MOST`] shares.
    #[error("the limit of {MOST} shares is reached")]
    TooMany,
    /// The state file stays as it is.
    #[error("{0}")]
    Frozen(String),
    /// The change is not on the disk.
    #[error("cannot save the shares: {0}")]
    NotSaved(#[from] std::io::Error),
}

impl Shares {
    /// Returns the shares of a served directory. A file that cannot be read is reported and kept;
    /// then there are none. None is created or revoked where the server must not write.
    pub(crate) fn open(store: Arc<Store>, startup: &Startup) -> Self {
        let mut state = match startup.sink {
            SinkKind::File => State::read(&store),
            SinkKind::Memory | SinkKind::Discard => State::default(),
        };
        if !startup.stores_files() {
            state.frozen.get_or_insert_with(|| NO_WRITING.to_owned());
        }
        Self { store, state: Mutex::new(state) }
    }

    /// Creates a share under the first free name like `name`. `make` returns its path, or `None`
    /// if that name is in use there.
    ///
    /// # Errors
    /// That of `make`, or a [`ShareError`].
    pub(crate) fn create<E: From<ShareError>>(
        &self,
        new: NewShare,
        name: &FileName,
        now: i64,
        mut make: impl FnMut(&FileName) -> Result<Option<FilePath>, E>,
    ) -> Result<(Arc<Share>, ShareId), E> {
        let mut state = self.lock();
        if let Some(reason) = &state.frozen {
            return Err(ShareError::Frozen(reason.clone()).into());
        }
        state.end_expired(now);
        if state.shares.len() >= MOST {
            let ended = state.shares.iter().position(|share| share.has_ended());
            state.shares.remove(ended.ok_or(ShareError::TooMany)?);
        }
        let id = ShareId::random().map_err(|error| ShareError::NotSaved(error.into()))?;
        let names = (1..).map(|number| name.numbered(number));
        let mut names = std::iter::once(name.clone()).chain(names).filter(|name| {
            !state.shares.iter().any(|share| share.name == *name && !share.has_ended())
        });
        let (name, path) = loop {
            // The names never end.
            let Some(name) = names.next() else { return Err(ShareError::TooMany.into()) };
            if let Some(path) = make(&name)? {
                break (name, Arc::new(path));
            }
        };
        drop(names);
        let NewShare { kind, maker, expires } = new;
        let (ended, usage) = (AtomicBool::new(false), Mutex::default());
        let hash = id.hash();
        let share = Arc::new(Share { hash, name, path, kind, maker, expires, ended, usage });
        state.shares.push(share.clone());
        if let Err(error) = self.save(&state) {
            state.shares.pop();
            return Err(ShareError::from(error).into());
        }
        Ok((share, id))
    }

    /// Returns the share with this id, also one that has ended. All are compared, and each
    /// comparison takes constant time (`blake3::Hash`).
    pub(crate) fn find(&self, id: &str, now: i64) -> Option<Arc<Share>> {
        let hash = ShareId::parse(id)?.hash();
        let mut found = None;
        let state = self.lock();
        state.end_expired(now);
        for share in &state.shares {
            if share.hash == hash {
                found = Some(share.clone());
            }
        }
        found
    }

    /// Returns those that have not ended, the newest last.
    pub(crate) fn all(&self, now: i64) -> Vec<Arc<Share>> {
        let state = self.lock();
        state.end_expired(now);
        state.shares.iter().filter(|share| !share.has_ended()).cloned().collect()
    }

    /// Ends a share: its link admits to no further request. Files in a drop box stay.
    ///
    /// # Errors
    /// The change is not on the disk, and the share has ended until the server restarts.
    pub(crate) fn revoke(&self, share: &Share) -> Result<(), ShareError> {
        let state = self.lock();
        share.ended.store(true, Ordering::Relaxed);
        match &state.frozen {
            Some(reason) => Err(ShareError::Frozen(reason.clone())),
            None => Ok(self.save(&state)?),
        }
    }

    /// Saves the usage of a drop box. What is not saved only counts until the server restarts.
    fn save_usage(&self) {
        if let Err(error) = self.save(&self.lock()) {
            tracing::warn!(%error, "cannot save the usage of a drop box");
        }
    }

    fn save(&self, state: &State) -> std::io::Result<()> {
        self.store.now().write_shares(record::written(&state.shares).as_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn read(store: &Store) -> Self {
        let content = store.now().read_shares(LONGEST).map_err(|error| error.to_string());
        let shares =
            content.and_then(|content| content.as_deref().map_or(Ok(Vec::new()), record::read));
        match shares {
            Ok(shares) => Self { shares, frozen: None },
            Err(reason) => {
                let file = anyport_proto::transfer::file_name::SHARES;
                tracing::error!(
                    "cannot read {file} in the served directory: {reason}; there are no shares \
                     until it is repaired or removed, and the server is restarted"
                );
                let frozen = Some(format!("the server cannot read its shares ({file})"));
                Self { shares: Vec::new(), frozen }
            }
        }
    }

    fn end_expired(&self, now: i64) {
        for share in self.shares.iter().filter(|share| share.expires <= now) {
            share.ended.store(true, Ordering::Relaxed);
        }
    }
}

impl Share {
    /// Returns whether it was revoked or has expired.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Returns the bytes and the number of files that a drop box has received.
    pub(crate) fn used(&self) -> (u64, u64) {
        let usage = self.usage();
        (usage.bytes, usage.files)
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A share, as the grant of a client that has its link.
#[derive(Clone)]
pub(crate) struct ShareLink {
    shares: Arc<Shares>,
    share: Arc<Share>,
}

impl ShareLink {
    pub(crate) const fn new(shares: Arc<Shares>, share: Arc<Share>) -> Self {
        Self { shares, share }
    }

    pub(crate) fn share(&self) -> &Share {
        &self.share
    }

    /// Returns a text that no other share has, also none of the same name.
    pub(crate) fn identity(&self) -> String {
        self.share.hash.to_hex().to_string()
    }
}

impl PartialEq for ShareLink {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.share, &other.share)
    }
}

impl Eq for ShareLink {}

impl fmt::Debug for ShareLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.share.fmt(f)
    }
}

/// Without the hash, which is of no use in a log.
impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shares({})", self.lock().shares.len())
    }
}

/// Returns the seconds since the epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Maximum number of shares, those that have ended included: all are compared with each id, and
/// written at each change.
pub(crate) const MOST: usize = 1024;

/// Maximum size of the state file: [`MOST`] shares, each with a path of 1024 bytes that JSON
/// escapes, and room for its other keys.
const LONGEST: usize = MOST * 8 * 1024;

/// Time until a share ends unless its maker states another one, in seconds.
pub(crate) const USUAL_LIFETIME: i64 = 7 * 24 * 60 * 60;

/// Maximum time until a share ends, in seconds: a year, as a forgotten link is open for
/// all who find it.
pub(crate) const LONGEST_LIFETIME: i64 = 366 * 24 * 60 * 60;

const NO_WRITING: &str = "this server writes no files, so links are neither made nor revoked";

#[cfg(test)]
mod tests;
