//! The directories that clients watch: their watchers are notified of changes by this server and
//! of uploads that begin and end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyport_proto::transfer::file_path::FilePath;
use tokio::sync::watch;

/// The directories that clients watch at this moment. The number of watchers bounds it.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<HashMap<Option<FilePath>, Weak<Sender>>>);

type Sender = watch::Sender<Counts>;

/// The counts of what happens in a directory, which its watchers compare with earlier ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Number of changes.
    pub(crate) changes: u64,
    /// Number of uploads that began or ended.
    pub(crate) uploads: u64,
}

/// A watcher of one directory.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Keeps the directory in the table.
    _sender: Arc<Sender>,
    pub(crate) counts: watch::Receiver<Counts>,
}

impl Watched {
    /// Watches a directory; `None` is the top.
    pub(crate) fn watch(&self, directory: Option<FilePath>) -> Watch {
        let mut watched = self.lock();
        watched.retain(|_, sender| sender.strong_count() > 0);
        let known = watched.get(&directory).and_then(Weak::upgrade);
        let sender = known.unwrap_or_else(|| {
            let sender = Arc::new(Sender::new(Counts::default()));
            watched.insert(directory, Arc::downgrade(&sender));
            sender
        });
        Watch { counts: sender.subscribe(), _sender: sender }
    }

    /// Notifies the watchers of a listing that shows the entry, or the directory of the entry,
    /// which may be new and has a new time.
    pub(crate) fn stored(&self, entry: &FilePath) {
        let watched = self.lock();
        if watched.is_empty() {
            return;
        }
        let parent = entry.parent();
        let above = parent.as_ref().map(FilePath::parent);
        for directory in [Some(parent), above].into_iter().flatten() {
            notify(watched.get(&directory), |counts| counts.changes += 1);
        }
    }

    /// Notifies the same watchers of an entry that is there no longer, or is another one, and those
    /// of directories in it.
    pub(crate) fn moved(&self, entry: &FilePath) {
        self.stored(entry);
        let watched = self.lock();
        let is_inside = |directory: &FilePath| directory == entry || directory.is_below(entry);
        let inside =
            watched.iter().filter(|(directory, _)| directory.as_ref().is_some_and(is_inside));
        inside.for_each(|(_, sender)| notify(Some(sender), |counts| counts.changes += 1));
    }

    /// Notifies the watchers of its directory that an upload began or ended.
    pub(super) fn upload(&self, path: &FilePath) {
        let watched = self.lock();
        if !watched.is_empty() {
            notify(watched.get(&path.parent()), |counts| counts.uploads += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<FilePath>, Weak<Sender>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn notify(sender: Option<&Weak<Sender>>, change: impl FnOnce(&mut Counts)) {
    if let Some(sender) = sender.and_then(Weak::upgrade) {
        sender.send_modify(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FilePath {
        FilePath::parse(text).unwrap()
    }

    #[test]
    fn watchers_are_notified_of_their_own_directory_and_of_no_other() {
        let watched = Watched::default();
        let [top, a, b, other] =
            [None, Some("a"), Some("a/b"), Some("c")].map(|text| watched.watch(text.map(path)));
        let changes = || [&top, &a, &b, &other].map(|watch| watch.counts.borrow().changes);
        watched.stored(&path("x"));
        assert_eq!(changes(), [1, 0, 0, 0]);
        watched.stored(&path("a/x"));
        assert_eq!(changes(), [2, 1, 0, 0], "the time of a changed in the listing of the top");
        watched.stored(&path("a/b/c/d/x"));
        assert_eq!(changes(), [2, 1, 0, 0]);
        watched.moved(&path("a"));
        assert_eq!(changes(), [3, 2, 1, 0], "a and a/b are gone");
        watched.upload(&path("a/b/x"));
        let uploads = [&top, &a, &b, &other].map(|watch| watch.counts.borrow().uploads);
        assert_eq!(uploads, [0, 0, 1, 0]);
    }

    #[test]
    fn the_table_has_only_directories_that_are_watched() {
        let watched = Watched::default();
        for number in 0..100 {
            drop(watched.watch(Some(path(&number.to_string()))));
        }
        let (first, second) = (watched.watch(None), watched.watch(None));
        assert_eq!(watched.lock().len(), 1);
        watched.stored(&path("x"));
        assert_eq!((first.counts.borrow().changes, second.counts.borrow().changes), (1, 1));
    }
}
