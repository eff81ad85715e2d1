//! Lists files: sorted, each directory before its content. Entries that cannot be requested are
//! left out, counted, and named to a client that asks for that.
//!
//! A listing keeps the remaining names of each directory that it is listing in memory, within its
//! own limit and a shared one. If a directory has more names, it keeps the first ones in sorted
//! order, and reads the directory again for the rest. It keeps no descriptor open between entries.

use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use anyport_proto::transfer::download::{Entry, EntryKind, LeftOut, LeftOutReason, ListEnd};
use anyport_proto::transfer::file_path::{FilePath, PathError};
use anyport_proto::transfer::listing::Listed;
use rustix::io::Errno;

use crate::beneath::{self, Attributes, Kind};
use crate::memory::Reserve;
use crate::store::Store;

/// A running listing.
#[derive(Debug)]
pub struct Listing {
    store: Arc<Store>,
    /// The file or directory that alone is shown, with the directories above it.
    scope: Option<FilePath>,
    recursive: bool,
    /// Whether entries that are left out are named.
    names_left_out: bool,
    /// A directory whose content cannot be read; the next call reports it.
    unreadable: Option<FilePath>,
    levels: Vec<Level>,
    /// The one entry of a listing of one file.
    single: Option<Entry>,
    /// Maximum size of the names that it holds, in bytes.
    limit: usize,
    held: usize,
    reserve: Box<dyn Reserve>,
    end: ListEnd,
}

/// The reason why a listing ends early.
#[derive(Debug)]
pub enum ListError {
    /// The shared memory limit is reached.
    NoMemory,
    /// The requested entry cannot be opened.
    Open(FilePath, io::Error),
    /// A directory cannot be read.
    Read(io::Error),
}

/// A directory whose content is being listed.
#[derive(Debug)]
struct Level {
    path: Option<FilePath>,
    /// The remaining names, the next one last.
    names: Vec<Vec<u8>>,
    /// Size of its names when they were read, in bytes.
    bytes: usize,
    /// The last name of this page, if the directory has further names.
    continue_after: Option<Vec<u8>>,
}

impl Listing {
    /// Begins to list a directory, the whole store without a `path`, or one file.
    ///
    /// With a `scope` it lists only that file or directory, and the directories above it: no other
    /// entry is looked at or counted.
    ///
    /// It keeps at most `limit` bytes of names in memory, which it reserves with `reserve`.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn begin(
        store: Arc<Store>,
        path: Option<FilePath>,
        scope: Option<FilePath>,
        recursive: bool,
        names_left_out: bool,
        limit: usize,
        reserve: impl Reserve + 'static,
    ) -> Result<Self, ListError> {
        let mut listing = Self {
            store,
            scope,
            recursive,
            names_left_out,
            unreadable: None,
            levels: Vec::new(),
            single: None,
            limit,
            held: 0,
            reserve: Box::new(reserve),
            end: ListEnd::default(),
        };
        let Some(path) = path else {
            listing.enter(None, None)?;
            return Ok(listing);
        };
        match beneath::look_at(listing.store.now().handle(), &path) {
            Ok(Kind::File(attributes)) => listing.single = Some(file_entry(path, attributes)),
            Ok(Kind::Directory(_)) => listing.enter(Some(path), None)?,
            Ok(Kind::Link | Kind::Special) => {
                return Err(ListError::Open(path, Errno::NOENT.into()));
            }
            Err(error) => return Err(ListError::Open(path, error.into())),
        }
        Ok(listing)
    }

    /// Returns the next entry; `None` at the end.
    ///
    /// # Errors
    /// [`ListError`]; the listing ends there.
    pub fn next_entry(&mut self) -> Result<Option<Listed>, ListError> {
        if let Some(entry) = self.single.take() {
            return Ok(Some(self.list(entry)));
        }
        loop {
            // A directory that entering or turning a page found unreadable.
            if let Some(path) = self.unreadable.take()
                && let Some(left_out) = self.leave_out(path.as_bytes(), LeftOutReason::Unreadable)
            {
                return Ok(Some(left_out));
            }
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(name) = level.names.pop() else {
                self.turn_page()?;
                continue;
            };
            let above = level
                .path
                .as_ref()
                .map_or_else(Vec::new, |parent| [parent.as_bytes(), b"/"].concat());
            let path = [above, name].concat();
            if !self.is_shown(&path) {
                continue;
            }
            let left_out = match FilePath::exact(&path) {
                Ok(path) => match beneath::look_at(self.store.now().handle(), &path) {
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
            if let Some(left_out) = self.leave_out(&path, left_out) {
                return Ok(Some(left_out));
            }
        }
    }

    /// Returns the counts for the end of the listing.
    pub const fn end(&self) -> ListEnd {
        self.end
    }

    /// Returns whether an entry is in the scope, or above it.
    fn is_shown(&self, path: &[u8]) -> bool {
        let Some(scope) = &self.scope else { return true };
        let is_within = |path: &[u8], directory: &[u8]| {
            path.strip_prefix(directory)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        is_within(path, scope.as_bytes()) || is_within(scope.as_bytes(), path)
    }

    const fn list(&mut self, entry: Entry) -> Listed {
        self.end.entries += 1;
        Listed::Entry(entry)
    }

    /// Counts an entry that is left out; returns it if such entries are named.
    fn leave_out(&mut self, path: &[u8], reason: LeftOutReason) -> Option<Listed> {
        self.end.count(reason);
        self.names_left_out.then(|| Listed::LeftOut(LeftOut::new(path, reason)))
    }

    /// Reads the names of a directory after `after`. A directory that cannot be read is left out,
    /// unless it is the requested one; one that was removed is empty.
    fn enter(&mut self, path: Option<FilePath>, after: Option<Vec<u8>>) -> Result<(), ListError> {
        let directory = self.store.now();
        let opened = beneath::names(directory.handle(), path.as_ref());
        let found = match (opened, &path) {
            (Ok(found), _) => found,
            (Err(error), Some(path)) if self.levels.is_empty() => {
                return Err(ListError::Open(path.clone(), error));
            }
            (Err(error), None) => return Err(ListError::Read(error)),
            (Err(error), Some(path)) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.unreadable = Some(path.clone());
                }
                return Ok(());
            }
        };
        // Half of the rest, so that directories below this one can keep names too.
        let mut page = Page::new((self.limit - self.held.min(self.limit)) / 2, after);
        for name in found {
            let name = match (name, &path) {
                (Ok(name), _) => name,
                (Err(_), Some(path)) if !self.levels.is_empty() => {
                    // The names that were read are listed.
                    self.unreadable = Some(path.clone());
                    break;
                }
                (Err(error), _) => return Err(ListError::Read(error)),
            };
            page.take(name, &mut *self.reserve)?;
        }
        let continue_after = page.names.peek().filter(|_| page.is_full).cloned();
        let mut names = page.names.into_sorted_vec();
        names.reverse();
        self.held += page.bytes;
        self.reserve.shrink_to(self.held);
        self.levels.push(Level { path, names, bytes: page.bytes, continue_after });
        Ok(())
    }

    /// Continues after the last name of a directory: with its next names, or in the directory
    /// above.
    fn turn_page(&mut self) -> Result<(), ListError> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        self.held -= level.bytes;
        self.reserve.shrink_to(self.held);
        match level.continue_after {
            Some(last) => self.enter(level.path, Some(last)),
            None => Ok(()),
        }
    }
}

/// The first names of a directory after `after` in sorted order, within a size limit.
struct Page {
    after: Option<Vec<u8>>,
    names: BinaryHeap<Vec<u8>>,
    bytes: usize,
    limit: usize,
    /// Whether the directory has further names.
    is_full: bool,
}

impl Page {
    fn new(limit: usize, after: Option<Vec<u8>>) -> Self {
        let limit = limit.max(SMALLEST_PAGE);
        Self { after, names: BinaryHeap::new(), bytes: 0, limit, is_full: false }
    }

    fn take(&mut self, name: Vec<u8>, reserve: &mut dyn Reserve) -> Result<(), ListError> {
        let is_listed = self.after.as_ref().is_some_and(|after| name <= *after);
        if is_listed || (self.is_full && self.names.peek().is_some_and(|last| name >= *last)) {
            return Ok(());
        }
        let size = name.len() + NAME_OVERHEAD;
        if self.bytes + size > self.limit {
            self.is_full = true;
        } else if !reserve.grow(size) {
            if self.bytes < SMALLEST_PAGE {
                return Err(ListError::NoMemory);
            }
            // No more shared memory: the page is complete at its present size.
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

/// Memory for a name in addition to its bytes: a `Vec` and the overhead of the allocator.
const NAME_OVERHEAD: usize = 48;

/// Minimum size of a page in bytes, about 300 names, so that a directory is not read for each name.
const SMALLEST_PAGE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::tests::Limited;

    /// The names in a tree of ten files in each of two directories, one inside the other.
    fn list(limit: usize, budget: usize, recursive: bool) -> Result<Vec<String>, ListError> {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("a/b")).unwrap();
        for directory in ["a", "a/b"] {
            for number in 0..10 {
                std::fs::write(scratch.path().join(format!("{directory}/{number}")), b"x").unwrap();
            }
        }
        let store = Arc::new(Store::open(scratch.path(), Settings::default()).unwrap());
        let path = FilePath::parse("a").ok();
        let mut listing =
            Listing::begin(store, path, None, recursive, false, limit, Limited::new(budget))?;
        let mut names = Vec::new();
        while let Some(listed) = listing.next_entry()? {
            if let Listed::Entry(entry) = listed {
                names.push(entry.name.to_string());
            }
        }
        assert_eq!(listing.end().entries, names.len() as u64);
        assert_eq!(listing.held, 0);
        Ok(names)
    }

    #[test]
    fn a_directory_precedes_its_content_and_all_is_sorted() {
        let names = list(1 << 20, 1 << 20, true).unwrap();
        assert_eq!((names.len(), names[9].as_str(), names[10].as_str()), (21, "a/9", "a/b"));
        assert_eq!((names[11].as_str(), names[20].as_str()), ("a/b/0", "a/b/9"));
        assert!(names.is_sorted());
        assert_eq!(list(1 << 20, 1 << 20, false).unwrap().len(), 11);
    }

    #[test]
    fn memory_of_a_listing_is_bounded_for_itself_and_for_all() {
        let one = 11 * (1 + NAME_OVERHEAD);
        assert!(list(1 << 20, one, false).is_ok());
        assert!(matches!(list(1 << 20, one - 1, false), Err(ListError::NoMemory)));
        // The second directory is read while the first one's names are held.
        assert!(matches!(list(1 << 20, one, true), Err(ListError::NoMemory)));
    }

    #[test]
    fn a_directory_of_more_names_than_are_held_is_listed_page_by_page() {
        let name = |number: u32| format!("{number:0>200}").into_bytes();
        let all: Vec<Vec<u8>> = (0..2000).map(name).collect();
        for budget in [usize::MAX, 100_000] {
            let (mut share, mut listed, mut pages) = (Limited::new(budget), Vec::new(), 0);
            loop {
                let mut page = Page::new(120_000, listed.last().cloned());
                // Unsorted, as a file system returns them.
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
