//! Says which files are there: sorted, directory after directory, each entry looked at when its turn comes.
//!
//! What a listing holds are the names of the directories that it stands in, bounded for itself and, with all others of
//! the server, by the budget of what is buffered. No descriptor is kept between two entries.

use std::sync::Arc;
use std::time::SystemTime;

use anyport_proto::transfer::download::{Entry, EntryKind, List};
use anyport_proto::transfer::file_name::FileName;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use super::download::{cannot_open, stored_path};
use super::files::{Files, Source};
use crate::budget::Share;
use crate::sink::beneath::{self, Facts, Looked};

/// A listing under way.
pub(crate) struct Listing {
    files: Arc<Files>,
    recursive: bool,
    levels: Vec<Level>,
    /// The one entry of a listing of one file.
    single: Option<Entry>,
    /// Names held at the most.
    limit: usize,
    held: usize,
    share: Share,
    entries: u64,
}

/// A directory that a listing stands in.
struct Level {
    path: Option<FilePath>,
    /// What is left of it, the next one last.
    names: Vec<FileName>,
    /// Bytes that all its names take.
    bytes: usize,
}

impl Files {
    /// Begins to list a directory, or one file. `limit` bounds the bytes of names that it holds, `share` counts them.
    ///
    /// # Errors
    /// A path that is no stored one, nothing there, or too many names. The refusal has been told to the observer.
    pub(crate) fn list(
        self: &Arc<Self>,
        source: Source,
        list: &List,
        limit: usize,
        share: Share,
    ) -> Result<Listing, Refusal> {
        self.try_list(list, limit, share).inspect_err(|refusal| {
            self.refused(source.protocol.as_str(), source.peer, refusal.message.clone());
        })
    }

    fn try_list(
        self: &Arc<Self>,
        list: &List,
        limit: usize,
        share: Share,
    ) -> Result<Listing, Refusal> {
        self.check_may_read()?;
        let mut listing = Listing {
            files: self.clone(),
            recursive: list.recursive,
            levels: Vec::new(),
            single: None,
            limit,
            held: 0,
            share,
            entries: 0,
        };
        let Some(asked) = &list.path else {
            listing.enter(None)?;
            return Ok(listing);
        };
        let path = stored_path(asked)?;
        match beneath::look_at(self.directory.handle(), &path) {
            Some(Looked::File(facts)) => listing.single = Some(file_entry(path, facts)),
            Some(Looked::Directory(_)) => listing.enter(Some(path))?,
            None => {
                let none = std::io::Error::from(rustix::io::Errno::NOENT);
                return Err(cannot_open(&path, &none));
            }
        }
        Ok(listing)
    }
}

impl Listing {
    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// A directory holds more names than may be held. The listing ends there.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Refusal> {
        if let Some(entry) = self.single.take() {
            self.entries += 1;
            return Ok(Some(entry));
        }
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.pop() else {
                self.leave();
                continue;
            };
            let path = match &level.path {
                Some(parent) => parent.join(&name),
                None => Ok(name.into()),
            };
            // What is too deep or too long cannot be asked for either.
            let Ok(path) = path else { continue };
            let entry = match beneath::look_at(self.files.directory.handle(), &path) {
                Some(Looked::File(facts)) => file_entry(path, facts),
                Some(Looked::Directory(facts)) => {
                    if self.recursive {
                        self.enter(Some(path.clone()))?;
                    }
                    directory_entry(path, facts)
                }
                None => continue,
            };
            self.entries += 1;
            return Ok(Some(entry));
        }
        Ok(None)
    }

    /// Entries given so far.
    pub(crate) const fn entries(&self) -> u64 {
        self.entries
    }

    /// Reads the names of a directory. One that cannot be read, or is gone, is empty, unless it is the one asked for.
    fn enter(&mut self, path: Option<FilePath>) -> Result<(), Refusal> {
        let opened = beneath::names(self.files.directory.handle(), path.as_ref());
        let found = match (opened, &path) {
            (Ok(found), _) => found,
            (Err(error), Some(path)) if self.levels.is_empty() => {
                return Err(cannot_open(path, &error));
            }
            (Err(error), None) => {
                let message = format!("cannot read the directory: {error}");
                return Err(Refusal::new(RefusalCode::Storage, message));
            }
            (Err(_), Some(_)) => return Ok(()),
        };
        let (mut names, mut bytes) = (Vec::new(), 0);
        for name in found {
            let more = name.as_str().len() + NAME_OVERHEAD;
            if self.held + bytes + more > self.limit {
                return Err(too_many(path.as_ref(), self.limit));
            }
            if !self.share.grow(more) {
                let message = "the server holds as many names of other listings as it may";
                return Err(Refusal::new(RefusalCode::Busy, message).with_hint("try again later"));
            }
            bytes += more;
            names.push(name);
        }
        names.sort_unstable_by(|one, other| other.cmp(one));
        self.held += bytes;
        self.levels.push(Level { path, names, bytes });
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(level) = self.levels.pop() {
            self.held -= level.bytes;
            self.share.shrink_to(self.held);
        }
    }
}

fn too_many(path: Option<&FilePath>, limit: usize) -> Refusal {
    let place = path.map_or_else(|| "the served directory".to_owned(), ToString::to_string);
    let message = format!("the names in {place} take more than {limit} bytes");
    Refusal::new(RefusalCode::TooLarge, message).with_hint("LIST a directory that holds fewer")
}

fn file_entry(name: FilePath, facts: Facts) -> Entry {
    let Facts { size, mode, .. } = facts;
    let mtime = facts.mtime.announced(SystemTime::now());
    Entry { name, kind: EntryKind::File, size: Some(size), mtime, mode }
}

fn directory_entry(name: FilePath, facts: Facts) -> Entry {
    let Facts { mode, .. } = facts;
    let mtime = facts.mtime.announced(SystemTime::now());
    Entry { name, kind: EntryKind::Directory, size: None, mtime, mode }
}

/// What a name takes beside its letters: a `String` and what the allocator adds.
const NAME_OVERHEAD: usize = 48;

#[cfg(test)]
mod tests {
    use anyport_proto::transfer::receipt::{Engine, Protocol, Receipt};

    use super::*;
    use crate::budget::Budget;
    use crate::config::Config;
    use crate::observe::{Interrupted, Observer, Refused};

    struct Quiet;

    impl Observer for Quiet {
        fn receipt(&self, _: &Receipt) {}
        fn interrupted(&self, _: &Interrupted) {}
        fn refused(&self, _: &Refused) {}
    }

    /// The names in a tree of ten files in each of two directories, one inside the other.
    fn list(limit: usize, budget: u64, recursive: bool) -> Result<Vec<String>, Refusal> {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("a/b")).unwrap();
        for directory in ["a", "a/b"] {
            for number in 0..10 {
                std::fs::write(scratch.path().join(format!("{directory}/{number}")), b"x").unwrap();
            }
        }
        let files =
            Files::open(&Config::new(scratch.path()), Arc::new(Quiet), Arc::default()).unwrap();
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let source = Source {
            protocol: Protocol::Raw,
            engine: Engine::Own,
            peer,
            link: crate::link::Link::new(),
            record: crate::record::Record::begin(peer, Arc::default()),
        };
        let budget = Arc::new(Budget::new(budget));
        let asked = List { path: Some("a".to_owned()), recursive, token: None };
        let mut listing = Arc::new(files).list(
            source,
            &asked,
            limit,
            budget.share(crate::budget::tests::peer(1)),
        )?;
        let mut names = Vec::new();
        while let Some(entry) = listing.next()? {
            names.push(entry.name.to_string());
        }
        assert_eq!(listing.entries(), names.len() as u64);
        assert_eq!(listing.held, 0);
        Ok(names)
    }

    #[test]
    fn a_directory_stands_before_what_is_in_it_and_all_is_sorted() {
        let names = list(1 << 20, 1 << 20, true).unwrap();
        assert_eq!((names.len(), names[9].as_str(), names[10].as_str()), (21, "a/9", "a/b"));
        assert_eq!((names[11].as_str(), names[20].as_str()), ("a/b/0", "a/b/9"));
        assert!(names.is_sorted());
        assert_eq!(list(1 << 20, 1 << 20, false).unwrap().len(), 11);
    }

    #[test]
    fn what_a_listing_holds_is_bounded_for_itself_and_for_all() {
        let one = 11 * (1 + NAME_OVERHEAD);
        assert!(list(one, 1 << 20, false).is_ok());
        assert_eq!(list(one - 1, 1 << 20, false).unwrap_err().code, RefusalCode::TooLarge);
        // The second directory is read while the first one's names are held.
        assert_eq!(list(one, 1 << 20, true).unwrap_err().code, RefusalCode::TooLarge);
        assert_eq!(list(1 << 20, one as u64 - 1, false).unwrap_err().code, RefusalCode::Busy);
    }
}
