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
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use anyport_proto::transfer::file_name::{FileName, SHARES};
use anyport_proto::transfer::file_path::FilePath;
use anyport_store::{SharesFile, Store};

use crate::config::{SinkKind, Startup};
use crate::tokens::{TokenMark, User};
use drop_box::Usage;

/// The shares of a server.
pub(crate) struct Shares {
    store: Arc<Store>,
    /// Whether shares are kept, and whether the server may change them.
    keeps: bool,
    writes: bool,
    /// `None` until there is one and no other server has it. A change of shares holds this,
    /// also while the disk works; requests for links only need `state`.
    file: Mutex<Option<SharesFile>>,
    state: Mutex<State>,
    /// Usage changed since it was saved.
    has_new_usage: AtomicBool,
}

#[derive(Default)]
struct State {
    shares: Vec<Arc<Share>>,
    /// Why the file is left as it is, so that no share is created.
    frozen: Option<String>,
    /// When the file was looked for last.
    tried: Option<i64>,
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
    /// Another server has the state file.
    #[error("another server has the links of this directory, and only one at a time can")]
    Busy,
    /// The change is not on the disk.
    #[error("cannot save the shares: {0}")]
    NotSaved(#[from] std::io::Error),
}

impl Shares {
    /// Returns the shares of a served directory. There are none while another server has the file,
    /// or if it cannot be read: then it is kept. None is created or revoked where the server must
    /// not write.
    pub(crate) fn open(store: Arc<Store>, startup: &Startup) -> Self {
        let shares = Self {
            store,
            keeps: startup.sink == SinkKind::File,
            writes: startup.stores_files(),
            file: Mutex::default(),
            state: Mutex::default(),
            has_new_usage: AtomicBool::new(false),
        };
        if let Err(ShareError::Busy) = shares.load(&mut shares.lock_file(), false) {
            tracing::error!(
                "cannot use {SHARES} in the served directory: another server has it; there are no \
                 links here until that server ends"
            );
        }
        shares
    }

    /// Reads the shares, if this server does not have the file yet.
    fn load(&self, file: &mut Option<SharesFile>, create: bool) -> Result<(), ShareError> {
        if file.is_some() || !self.keeps {
            return Ok(());
        }
        if let Some(reason) = &self.lock().frozen {
            return Err(ShareError::Frozen(reason.clone()));
        }
        let opened = match self.store.now().open_shares(create) {
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ShareError::Busy),
            // It may succeed the next time.
            Err(error) if create => return Err(ShareError::NotSaved(error)),
            opened => opened,
        };
        let content = opened.and_then(|opened| {
            *file = opened;
            file.as_ref().map_or(Ok(Vec::new()), |file| file.read(LONGEST))
        });
        let shares = content.map_err(|error| error.to_string()).and_then(|content| {
            // It is created empty.
            if content.is_empty() { Ok(Vec::new()) } else { record::read(&content) }
        });
        let mut state = self.lock();
        match shares {
            Ok(shares) => state.shares = shares,
            Err(reason) => {
                *file = None;
                tracing::error!(
                    "cannot read {SHARES} in the served directory: {reason}; there are no shares \
                     until it is repaired or removed, and the server is restarted"
                );
                let reason = format!("the server cannot read its shares ({SHARES})");
                state.frozen = Some(reason.clone());
                return Err(ShareError::Frozen(reason));
            }
        }
        Ok(())
    }

    /// Takes over the file of a server that has ended; looks for it once a second.
    fn take_over(&self, now: i64) {
        let Ok(mut file) = self.file.try_lock() else { return };
        if file.is_some() || self.lock().tried.replace(now) == Some(now) {
            return;
        }
        if self.load(&mut file, false).is_ok() && file.is_some() {
            tracing::info!("the links of {SHARES} in the served directory are used from now on");
        }
    }

    /// Returns the file, which is created if there is none.
    fn writable<'a>(
        &self,
        file: &'a mut Option<SharesFile>,
    ) -> Result<&'a mut SharesFile, ShareError> {
        if !self.writes {
            return Err(ShareError::Frozen(NO_WRITING.to_owned()));
        }
        self.load(file, true)?;
        file.as_mut().ok_or_else(|| ShareError::Frozen(NO_WRITING.to_owned()))
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
        let mut file = self.lock_file();
        let file = self.writable(&mut file)?;
        let names_in_use: Vec<FileName> = {
            let mut state = self.lock();
            state.end_expired(now);
            if state.shares.len() >= MOST {
                let ended = state.shares.iter().position(|share| share.has_ended());
                state.shares.remove(ended.ok_or(ShareError::TooMany)?);
            }
            let open = state.shares.iter().filter(|share| !share.has_ended());
            open.map(|share| share.name.clone()).collect()
        };
        let id = ShareId::random().map_err(|error| ShareError::NotSaved(error.into()))?;
        let names = (1..).map(|number| name.numbered(number));
        let mut names =
            std::iter::once(name.clone()).chain(names).filter(|name| !names_in_use.contains(name));
        let (name, path) = loop {
            // The names never end.
            let Some(name) = names.next() else { return Err(ShareError::TooMany.into()) };
            if let Some(path) = make(&name)? {
                break (name, Arc::new(path));
            }
        };
        let NewShare { kind, maker, expires } = new;
        let (ended, usage) = (AtomicBool::new(false), Mutex::default());
        let hash = id.hash();
        let share = Arc::new(Share { hash, name, path, kind, maker, expires, ended, usage });
        self.lock().shares.push(share.clone());
        if let Err(error) = self.save(file) {
            self.lock().shares.retain(|other| !Arc::ptr_eq(other, &share));
            return Err(ShareError::from(error).into());
        }
        Ok((share, id))
    }

    /// Returns the share with this id, also one that has ended. All are compared, and each
    /// comparison takes constant time (`blake3::Hash`).
    pub(crate) fn find(&self, id: &str, now: i64) -> Option<Arc<Share>> {
        let hash = ShareId::parse(id)?.hash();
        let mut found = None;
        self.take_over(now);
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
        self.take_over(now);
        let state = self.lock();
        state.end_expired(now);
        state.shares.iter().filter(|share| !share.has_ended()).cloned().collect()
    }

    /// Ends a share: its link admits to no further request. Files in a drop box stay.
    ///
    /// # Errors
    /// The change is not on the disk, and the share has ended until the server restarts.
    pub(crate) fn revoke(&self, share: &Share) -> Result<(), ShareError> {
        share.ended.store(true, Ordering::Relaxed);
        let mut file = self.lock_file();
        Ok(self.save(self.writable(&mut file)?)?)
    }

    /// Saves the usage of a drop box, unless another upload that ended meanwhile has saved both.
    /// What is not saved only counts until the server restarts.
    fn save_usage(&self) {
        self.has_new_usage.store(true, Ordering::Release);
        let mut file = self.lock_file();
        if !self.has_new_usage.swap(false, Ordering::Acquire) {
            return;
        }
        if let Some(Err(error)) = file.as_mut().map(|file| self.save(file)) {
            tracing::warn!(%error, "cannot save the usage of a drop box");
        }
    }

    fn save(&self, file: &mut SharesFile) -> std::io::Result<()> {
        let shares = self.lock().shares.clone();
        file.replace(&self.store.now(), record::written(&shares).as_bytes())
    }

    fn lock_file(&self) -> MutexGuard<'_, Option<SharesFile>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
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

    /// Returns the bytes and the number of files that its unfinished uploads claim.
    pub(crate) fn unfinished(&self) -> (u64, u64) {
        self.usage().claimed()
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
