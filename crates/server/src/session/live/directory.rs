//! The directory that a live connection shows: its listing, its changes, and the uploads that are
//! received into it.

use std::time::{Duration, Instant, SystemTime};

use anyport_net::blocking;
use anyport_proto::live::{Message, Progress};
use anyport_proto::transfer::download::{Entry, List, ListEnd};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::receipt::{Engine, Protocol};
use anyport_proto::transfer::refusal::Refusal;
use anyport_store::Attributes;

use super::socket::Socket;
use crate::access::{Grant, Operation};
use crate::events::{Counts, Watch};
use crate::service::download::stored_path;
use crate::service::listing::{Listed, Listing};
use crate::session::Context;

/// The directory that a client watches.
pub(super) struct Directory {
    /// As the client named it.
    name: String,
    /// `None` for the top.
    path: Option<FilePath>,
    /// `None` above the scope of the client, where its listing does not change.
    watch: Option<Watch>,
    /// The counts of the watch that are handled.
    counts: Counts,
    /// Its version before it was listed; `None` if a change might not differ from it.
    version: Option<Attributes>,
    /// Running, with the client's number of the request.
    listing: Option<(Listing, Option<u64>)>,
    /// When it changed, unless the client was notified since.
    changed_at: Option<Instant>,
    notified_at: Option<Instant>,
    /// The uploads as the client knows them.
    shown: Vec<Progress>,
    /// When the next one may be sent.
    shows_at: Instant,
    /// Whether an upload began or ended since.
    has_new_uploads: bool,
}

impl Directory {
    /// Begins to list and to watch a directory, in place of another one or once more.
    ///
    /// # Errors
    /// The client may not list it, or it does not exist.
    pub(super) async fn open(
        context: &Context,
        list: List,
        id: Option<u64>,
        before: Option<Self>,
    ) -> Result<Self, Refusal> {
        let path = list.path.as_deref().map(|asked| stored_path(asked, list.path_raw.as_deref()));
        let path = path.transpose()?;
        // Watched first, so that no later change is missed.
        let mut watch = is_watched(&context.grant, path.as_ref())
            .then(|| context.events.running.watched.watch(path.clone()));
        let counts =
            watch.as_mut().map(|watch| *watch.counts.borrow_and_update()).unwrap_or_default();
        let (version, listing) = blocking::run(|| {
            let version = context.files.version(path.as_ref()).filter(is_settled);
            (version, context.list(context.source(Protocol::Ws, Engine::Own), &list))
        })
        .await;
        let name = list.path.unwrap_or_default();
        let notified_at = before.as_ref().and_then(|before| before.notified_at);
        // The client still shows the uploads of the last notification.
        let (shown, shows_at) = before
            .filter(|before| before.name == name)
            .map_or_else(|| (Vec::new(), Instant::now()), |before| (before.shown, before.shows_at));
        Ok(Self {
            name,
            path,
            has_new_uploads: watch.is_some(),
            watch,
            counts,
            version,
            listing: Some((listing?, id)),
            changed_at: None,
            notified_at,
            shown,
            shows_at,
        })
    }

    /// Ends the listing.
    pub(super) fn without_listing(self) -> Self {
        Self { listing: None, ..self }
    }

    /// Returns whether the client may still list it.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn check(&self, grant: &Grant) -> Result<(), Refusal> {
        grant.check(Operation::List, self.path.as_ref())
    }

    /// Waits for a change, or for an upload that begins or ends.
    ///
    /// Cancel safe: yes.
    pub(super) async fn changed(&mut self) {
        match &mut self.watch {
            // An error would mean that there is no sender, which the watch keeps.
            Some(watch) => drop(watch.counts.changed().await),
            None => std::future::pending().await,
        }
    }

    /// Looks for a change that this server did not make.
    pub(super) async fn look(&mut self, context: &Context, now: Instant) {
        if self.watch.is_none() || self.listing.is_some() || self.changed_at.is_some() {
            return;
        }
        let version = blocking::run(|| context.files.version(self.path.as_ref())).await;
        if version != self.version {
            self.changed_at = Some(now);
        }
        self.version = version;
    }

    /// Returns when there is something to append, if that is known.
    pub(super) fn wake(&self) -> Option<Instant> {
        [self.change_due(), self.uploads_due()].into_iter().flatten().min()
    }

    /// Appends what is due: entries of the listing, and after all of them changes and uploads.
    pub(super) async fn produce(&mut self, context: &Context, now: Instant, socket: &mut Socket) {
        self.update(now);
        // A change during an unfinished listing would make the client begin again, perhaps forever.
        if self.listing.is_some() && !self.list(socket).await {
            return;
        }
        if self.change_due().is_some_and(|due| due <= now) {
            socket.say(&Message::Changed { path: &self.name }.to_json());
            (self.changed_at, self.notified_at) = (None, Some(now));
        }
        if self.uploads_due().is_some_and(|due| due <= now) {
            let is_shown = |path: &FilePath| context.grant.shows(Some(path));
            let path = self.path.as_ref();
            let uploads = context.events.running.uploads_into(path, MOST_UPLOADS, is_shown);
            if uploads != self.shown {
                let message = Message::Transfers { path: &self.name, transfers: &uploads };
                socket.say(&message.to_json());
            }
            (self.shown, self.shows_at, self.has_new_uploads) =
                (uploads, now + UPLOADS_EVERY, false);
        }
    }

    /// Appends the next entries. Returns whether the listing is complete.
    async fn list(&mut self, socket: &mut Socket) -> bool {
        let Some((listing, id)) = &mut self.listing else { return true };
        let (mut entries, path, id) = (Vec::new(), &*self.name, *id);
        let part = blocking::run(|| next_part(listing, &mut entries)).await;
        let message = match &part {
            Ok(end) => Message::List { path, id, entries: &entries, end: *end },
            Err(refusal) => Message::Error { refusal, of: Some("list"), id, key: None },
        };
        socket.say(&message.to_json());
        let is_complete = !matches!(part, Ok(None));
        if is_complete {
            self.listing = None;
        }
        is_complete
    }

    fn update(&mut self, now: Instant) {
        let Some(watch) = &mut self.watch else { return };
        let counts = *watch.counts.borrow_and_update();
        if counts.changes != self.counts.changes {
            self.changed_at.get_or_insert(now);
        }
        self.has_new_uploads |= counts.uploads != self.counts.uploads;
        self.counts = counts;
    }

    fn change_due(&self) -> Option<Instant> {
        let due = self.changed_at? + SETTLES;
        Some(self.notified_at.map_or(due, |notified| due.max(notified + CHANGED_EVERY)))
    }

    fn uploads_due(&self) -> Option<Instant> {
        let is_due = self.has_new_uploads || !self.shown.is_empty();
        is_due.then_some(self.shows_at)
    }
}

/// Appends the next entries of a listing, within its limits. Returns the counts at its end.
fn next_part(listing: &mut Listing, entries: &mut Vec<Entry>) -> Result<Option<ListEnd>, Refusal> {
    let mut bytes = 0;
    while entries.len() < ENTRIES_AT_ONCE && bytes < NAMES_AT_ONCE {
        match listing.next()? {
            Some(Listed::Entry(entry)) => {
                bytes += entry.name.as_bytes().len();
                entries.push(entry);
            }
            Some(Listed::LeftOut(_)) => {}
            None => return Ok(Some(listing.end())),
        }
    }
    Ok(None)
}

/// Returns whether the listing of a directory shows more than the way to the scope of the client.
fn is_watched(grant: &Grant, path: Option<&FilePath>) -> bool {
    grant.scope().is_none_or(|scope| path.is_some_and(|path| path == scope || path.is_below(scope)))
}

/// Returns whether a later change has another time: the clock of a file system has ticks.
fn is_settled(version: &Attributes) -> bool {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = version.mtime.nanoseconds.unwrap_or_default();
    let mtime = Duration::new(version.mtime.seconds.try_into().unwrap_or_default(), nanoseconds);
    mtime + SETTLES / 2 < since_epoch
}

/// Maximum number of entries in one message.
const ENTRIES_AT_ONCE: usize = 500;

/// Bytes of names after which a message ends.
const NAMES_AT_ONCE: usize = 64 * 1024;

/// Maximum number of uploads that a client is shown: more than a page has rows for.
const MOST_UPLOADS: usize = 100;

/// Time from a change to its notification, in which further ones are merged with it. Longer than
/// the tick of a file system, so that the next listing has a time that later changes do not have.
const SETTLES: Duration = Duration::from_millis(20);

/// Minimum time between two notifications of changes.
const CHANGED_EVERY: Duration = Duration::from_secs(1);

/// Minimum time between two messages with the progress of uploads.
const UPLOADS_EVERY: Duration = Duration::from_millis(500);
