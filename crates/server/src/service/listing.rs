//! Lists files: sorted, directory after directory, each entry looked at when its turn comes. What cannot be asked for is
//! left out, counted, and named to a client that wants to know.
//!
//! What a listing holds are names of the directories that it stands in, bounded for itself and, with all others of the server,
//! by the budget of what is buffered. Of a directory with more names it holds the first ones, and reads the directory again
//! when these are out. No descriptor is kept between two entries.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::SystemTime;

use anyport_proto::transfer::download::{Entry, EntryKind, LeftOut, LeftOutReason, List, ListEnd};
use anyport_proto::transfer::file_path::{FilePath, PathError};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_store::beneath::{self, Attributes, Kind};
use rustix::io::Errno;

use super::download::{cannot_open, stored_path};
use super::files::{Files, Source};
use crate::budget::Share;

/// A listing under way.
pub(crate) struct Listing {
    files: Arc<Files>,
    recursive: bool,
    /// Whether entries that are left out are named.
    names_left_out: bool,
    /// A directory whose entry was returned and whose content cannot be read.
    unreadable: Option<FilePath>,
    levels: Vec<Level>,
    /// The one entry of a listing of one file.
    single: Option<Entry>,
    /// Names held at the most.
    limit: usize,
    held: usize,
    share: Share,
    end: ListEnd,
}

/// What a listing returns.
pub(crate) enum Listed {
    Entry(Entry),
    LeftOut(LeftOut),
}

/// A directory that a listing stands in.
struct Level {
    path: Option<FilePath>,
    /// What is left of it, the next one last.
    names: Vec<Vec<u8>>,
    /// Bytes that its names took when they were read.
    bytes: usize,
    /// The last of them, where the directory holds more behind it.
    more_behind: Option<Vec<u8>>,
}

impl Files {
    /// Begins to list a directory, or one file. `limit` bounds the bytes of names that it holds, `share` counts them.
    ///
    /// # Errors
    /// A path that is no stored one, nothing there, or no memory for names. The refusal has been told to the observer.
    pub(crate) fn list(
        self: &Arc<Self>,
        source: Source,
        list: &List,
        limit: usize,
        share: Share,
    ) -> Result<Listing, Refusal> {
        self.try_list(list, limit, share).inspect_err(|refusal| {
            self.refused(&source, refusal);
        })
    }

    fn try_list(
        self: &Arc<Self>,
        list: &List,
        limit: usize,
        share: Share,
    ) -> Result<Listing, Refusal> {
        self.check_may_read()?;
        self.check_directory()?;
        let mut listing = Listing {
            files: self.clone(),
            recursive: list.recursive,
            names_left_out: list.left_out,
            unreadable: None,
            levels: Vec::new(),
            single: None,
            limit,
            held: 0,
            share,
            end: ListEnd::default(),
        };
        let Some(asked) = &list.path else {
            listing.enter(None, None)?;
            return Ok(listing);
        };
        let path = stored_path(asked, list.path_raw.as_deref())?;
        match beneath::look_at(self.directory.now().handle(), &path) {
            Ok(Kind::File(attributes)) => listing.single = Some(file_entry(path, attributes)),
            Ok(Kind::Directory(_)) => listing.enter(Some(path), None)?,
            Ok(Kind::Link | Kind::Special) => {
                return Err(cannot_open(&path, &Errno::NOENT.into()));
            }
            Err(error) => return Err(cannot_open(&path, &error.into())),
        }
        Ok(listing)
    }
}

impl Listing {
    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// The server has no memory for more names now. The listing ends there.
    pub(crate) fn next(&mut self) -> Result<Option<Listed>, Refusal> {
        if let Some(entry) = self.single.take() {
            return Ok(Some(self.list(entry)));
        }
        if let Some(path) = self.unreadable.take()
            && let Some(left_out) = self.leave_out(path.as_bytes(), LeftOutReason::Unreadable)
        {
            return Ok(Some(left_out));
        }
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.pop() else {
                self.turn_page()?;
                continue;
            };
            let place = level
                .path
                .as_ref()
                .map_or_else(Vec::new, |parent| [parent.as_bytes(), b"/"].concat());
            let place = [place, name].concat();
            let left_out = match FilePath::exact(&place) {
                Ok(path) => match beneath::look_at(self.files.directory.now().handle(), &path) {
                    Ok(Kind::File(attributes)) => {
                        return Ok(Some(self.list(file_entry(path, attributes))));
                    }
                    Ok(Kind::Directory(attributes)) => {
                        if self.recursive {
                            self.enter(Some(path.clone()), None)?;
                        }
                        return Ok(Some(self.list(directory_entry(path, attributes))));
                    }
                    Ok(Kind::Link) => LeftOutReason::Link,
                    Ok(Kind::Special) => LeftOutReason::Special,
                    // Removed since its name was read.
                    Err(Errno::NOENT) => continue,
                    Err(_) => LeftOutReason::Unreadable,
                },
                Err(PathError::TooDeep { .. } | PathError::TooLong { .. }) => LeftOutReason::Depth,
                Err(_) => LeftOutReason::Name,
            };
            if let Some(left_out) = self.leave_out(&place, left_out) {
                return Ok(Some(left_out));
            }
        }
        Ok(None)
    }

    /// What is said behind all entries.
    pub(crate) const fn end(&self) -> ListEnd {
        self.end
    }

    const fn list(&mut self, entry: Entry) -> Listed {
        self.end.entries += 1;
        Listed::Entry(entry)
    }

    /// Counts an entry that is left out; returns it if it is to be named.
    fn leave_out(&mut self, path: &[u8], reason: LeftOutReason) -> Option<Listed> {
        self.end.count(reason);
        self.names_left_out.then(|| Listed::LeftOut(LeftOut::new(path, reason)))
    }

    /// Reads names of a directory, those behind `after`. One that cannot be read is left out, unless it is the one asked
    /// for; one that is gone is empty.
    fn enter(&mut self, path: Option<FilePath>, after: Option<Vec<u8>>) -> Result<(), Refusal> {
        let directory = self.files.directory.now();
        let opened = beneath::names(directory.handle(), path.as_ref());
        let found = match (opened, &path) {
            (Ok(found), _) => found,
            (Err(error), Some(path)) if self.levels.is_empty() => {
                return Err(cannot_open(path, &error));
            }
            (Err(error), None) => {
                let message = format!("cannot read the directory: {error}");
                return Err(Refusal::new(RefusalCode::Storage, message));
            }
            (Err(error), Some(path)) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    self.unreadable = Some(path.clone());
                }
                return Ok(());
            }
        };
        let mut page = Page::new((self.limit - self.held.min(self.limit)) / 2, after);
        for name in found {
            let name = match (name, &path) {
                (Ok(name), _) => name,
                (Err(_), Some(path)) if !self.levels.is_empty() => {
                    // What was read of it is listed.
                    self.unreadable = Some(path.clone());
                    break;
                }
                (Err(error), _) => {
                    let message = format!("cannot read the directory: {error}");
                    return Err(Refusal::new(RefusalCode::Storage, message));
                }
            };
            page.take(name, &mut self.share)?;
        }
        let more_behind = page.names.peek().filter(|_| page.is_full).cloned();
        let mut names = page.names.into_sorted_vec();
        names.reverse();
        self.held += page.bytes;
        self.share.shrink_to(self.held);
        self.levels.push(Level { path, names, bytes: page.bytes, more_behind });
        Ok(())
    }

    /// Goes on behind the names of a directory that are out: with its next ones, or in the directory above.
    fn turn_page(&mut self) -> Result<(), Refusal> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        self.held -= level.bytes;
        self.share.shrink_to(self.held);
        match level.more_behind {
            Some(last) => self.enter(level.path, Some(last)),
            None => Ok(()),
        }
    }
}

/// The first names of a directory behind a certain one, as many as may be held.
struct Page {
    after: Option<Vec<u8>>,
    names: BinaryHeap<Vec<u8>>,
    bytes: usize,
    limit: usize,
    /// There are more.
    is_full: bool,
}

impl Page {
    fn new(limit: usize, after: Option<Vec<u8>>) -> Self {
        let limit = limit.max(SMALLEST_PAGE);
        Self { after, names: BinaryHeap::new(), bytes: 0, limit, is_full: false }
    }

    fn take(&mut self, name: Vec<u8>, share: &mut Share) -> Result<(), Refusal> {
        let is_out = self.after.as_ref().is_some_and(|after| name <= *after);
        if is_out || (self.is_full && self.names.peek().is_some_and(|last| name >= *last)) {
            return Ok(());
        }
        let size = name.len() + NAME_OVERHEAD;
        if self.bytes + size > self.limit {
            self.is_full = true;
        } else if !share.grow(size) {
            if self.bytes < SMALLEST_PAGE {
                let message = "memory limit for listings reached";
                return Err(Refusal::new(RefusalCode::Busy, message).with_hint("try again later"));
            }
            (self.limit, self.is_full) = (self.bytes, true);
        }
        self.bytes += size;
        self.names.push(name);
        while self.bytes > self.limit
            && let Some(last) = self.names.pop()
        {
            self.bytes -= last.len() + NAME_OVERHEAD;
        }
        Ok(())
    }
}

fn file_entry(name: FilePath, attributes: Attributes) -> Entry {
    let Attributes { size, mode, .. } = attributes;
    let mtime = attributes.mtime.announced(SystemTime::now());
    Entry { name, kind: EntryKind::File, size: Some(size), mtime, mode }
}

fn directory_entry(name: FilePath, attributes: Attributes) -> Entry {
    let Attributes { mode, .. } = attributes;
    let mtime = attributes.mtime.announced(SystemTime::now());
    Entry { name, kind: EntryKind::Directory, size: None, mtime, mode }
}

/// What a name takes beside its bytes: a `Vec` and what the allocator adds.
const NAME_OVERHEAD: usize = 48;

/// Bytes of names that are read at once at the least, so that a directory is not read anew for each name: some 300.
const SMALLEST_PAGE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use anyport_proto::transfer::receipt::{Engine, Protocol};

    use super::*;
    use crate::budget::Budget;
    use crate::config::Config;
    use crate::events::{Events, Quiet};

    /// The names in a tree of ten files in each of two directories, one inside the other.
    fn list(limit: usize, budget: u64, recursive: bool) -> Result<Vec<String>, Refusal> {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("a/b")).unwrap();
        for directory in ["a", "a/b"] {
            for number in 0..10 {
                std::fs::write(scratch.path().join(format!("{directory}/{number}")), b"x").unwrap();
            }
        }
        let files = Files::open(&Config::new(scratch.path()), Events::new(Quiet)).unwrap();
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let source = Source {
            protocol: Protocol::Raw,
            engine: Engine::Own,
            peer,
            link: crate::link::Link::new(),
            record: crate::events::Record::begin(peer, Arc::default()),
        };
        let budget = Arc::new(Budget::new(budget));
        let asked = List { path: Some("a".to_owned()), recursive, ..List::default() };
        let mut listing = Arc::new(files).list(
            source,
            &asked,
            limit,
            budget.share(crate::budget::tests::peer(1)),
        )?;
        let mut names = Vec::new();
        while let Some(listed) = listing.next()? {
            if let Listed::Entry(entry) = listed {
                names.push(entry.name.to_string());
            }
        }
        assert_eq!(listing.end().entries, names.len() as u64);
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
        let one = 11 * (1 + NAME_OVERHEAD) as u64;
        // An address alone may hold three fourths.
        assert!(list(1 << 20, one * 4 / 3, false).is_ok());
        assert_eq!(list(1 << 20, one, false).unwrap_err().code, RefusalCode::Busy);
        // The second directory is read while the first one's names are held.
        assert_eq!(list(1 << 20, one * 4 / 3, true).unwrap_err().code, RefusalCode::Busy);
    }

    #[test]
    fn a_directory_of_more_names_than_are_held_is_listed_page_by_page() {
        let name = |number: u32| format!("{number:0>200}").into_bytes();
        let all: Vec<Vec<u8>> = (0..2000).map(name).collect();
        let peer = std::net::IpAddr::from([127, 0, 0, 1]);
        for budget in [u64::MAX, 200_000] {
            let budget = Arc::new(Budget::new(budget));
            let (mut share, mut listed, mut pages) = (budget.share(peer), Vec::new(), 0);
            loop {
                let mut page = Page::new(120_000, listed.last().cloned());
                // In no order, as a disk gives them.
                for at in 0..all.len() {
                    page.take(all[at * 7 % all.len()].clone(), &mut share).unwrap();
                    assert!(page.bytes <= 120_000);
                }
                share.shrink_to(0);
                pages += 1;
                let is_full = page.is_full;
                listed.extend(page.names.into_sorted_vec());
                if !is_full {
                    break;
                }
            }
            assert_eq!(listed, all);
            assert!(pages > 4, "{pages}");
        }
    }
}
