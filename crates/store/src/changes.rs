//! Removing, renaming and creating entries that clients name: never through a link, never outside
//! of the served directory.
//!
//! A running download keeps the file that it opened, and a running upload publishes its file as if
//! nothing had been there.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use anyport_proto::transfer::file_name::escaped;
use anyport_proto::transfer::file_path::FilePath;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, renameat, unlinkat,
};
use rustix::io::Errno;

use crate::beneath::{self, Attributes, Kind};
use crate::directory::Directory;
use crate::disk::{self, At, Way};
use crate::names::not_distinguished;
use crate::quota::Full;

/// The reason why nothing was changed.
#[derive(Debug)]
pub enum Unchanged {
    /// There is no file or directory of that path.
    NotFound,
    /// The directory that it would be in does not exist.
    NoParent,
    /// The directory is not empty.
    NotEmpty,
    /// Another entry has the name.
    Exists(Kind),
    /// Another entry is found under the name, which the file system does not distinguish from its
    /// own: both names in words.
    StoredAs(String),
    /// A directory cannot be moved into itself.
    IntoItself,
    /// It is a link, which would lead elsewhere from another place.
    Link,
    /// It is a directory, which must stay in its directory.
    Directory,
    /// It is not the file that was expected.
    Changed,
    /// The paths are on different file systems.
    Elsewhere,
    /// The quota is exhausted.
    Full(Full),
    /// The error of the file system.
    Error(io::Error),
}

impl From<io::Error> for Unchanged {
    fn from(error: io::Error) -> Self {
        Self::Error(error)
    }
}

impl From<Errno> for Unchanged {
    fn from(error: Errno) -> Self {
        Self::Error(error.into())
    }
}

impl From<Full> for Unchanged {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

/// The conditions of a rename.
#[derive(Debug, Clone, Copy, Default)]
pub struct Renaming {
    /// Another file may have the new name, and is replaced.
    pub replaces: bool,
    /// A directory must stay in its directory, because links in it would lead elsewhere.
    pub keeps_directories: bool,
    /// The file must be the one with these attributes.
    pub expected: Option<Attributes>,
}

/// An entry in its directory.
struct Place {
    /// `None` for the served directory itself.
    above: Option<File>,
    path: FilePath,
}

impl Place {
    fn at<'a>(&'a self, root: &'a File) -> At<'a> {
        let directory = self.above.as_ref().unwrap_or(root).as_fd();
        At { directory, name: self.path.as_ref() }
    }
}

impl Directory {
    /// Removes the file, the link to a file inside, or the empty directory `path`.
    ///
    /// # Errors
    /// The reason why it is still there.
    pub fn remove(
        &self,
        path: &FilePath,
        expected: Option<&Attributes>,
    ) -> Result<Kind, Unchanged> {
        let changing = self.change();
        let (place, kind, _) = self.entry(path)?;
        check_expected(&kind, expected)?;
        let at = place.at(self.handle());
        let flags = match kind {
            Kind::Directory(_) => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        let remove = || match unlinkat(at.directory, at.name, flags) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Unchanged::NotEmpty),
            Err(Errno::NOENT) => Err(Unchanged::NotFound),
            removed => Ok(removed?),
        };
        match self.quota() {
            Some(quota) => quota.remove(at, remove)?,
            None => remove()?,
        }
        drop(changing);
        self.sync_all(&[&place], path);
        Ok(kind)
    }

    /// Renames the file or directory `from` to `to`.
    ///
    /// Returns whether it replaced another file.
    ///
    /// # Errors
    /// The reason why nothing has changed.
    pub fn rename_entry(
        &self,
        from: &FilePath,
        to: &FilePath,
        conditions: &Renaming,
    ) -> Result<bool, Unchanged> {
        let Renaming { replaces, keeps_directories, expected } = conditions;
        let changing = self.change();
        let (source, kind, file) = self.entry(from)?;
        check_expected(&kind, expected.as_ref())?;
        if to == from || to.is_below(from) {
            return Err(Unchanged::IntoItself);
        }
        if FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::Symlink {
            return Err(Unchanged::Link);
        }
        let stays = from.parent() == to.parent();
        if *keeps_directories && !stays && matches!(kind, Kind::Directory(_)) {
            return Err(Unchanged::Directory);
        }
        let target = self.place(to)?.ok_or(Unchanged::NoParent)?;
        let (at, new) = (source.at(self.handle()), target.at(self.handle()));
        let is_respelled = match self.stored_as(target.above.as_ref(), to.file_name().as_bytes())? {
            None => false,
            Some(other) => {
                // The same entry gets another spelling of its name.
                let is_same = same_file(at.directory, new.directory)?
                    && other == escaped(from.file_name().as_bytes());
                if !is_same {
                    return Err(Unchanged::StoredAs(not_distinguished(&to.to_string(), &other)));
                }
                true
            }
        };
        let rename = || match renameat(at.directory, at.name, new.directory, new.name) {
            Ok(()) => Ok(()),
            Err(error) => Err(not_renamed(error)),
        };
        let present = beneath::present(self.handle(), to)?.filter(|_| !is_respelled);
        let replaced = match present {
            _ if is_respelled => {
                rename()?;
                // Some kernels and file systems see one file, and change nothing.
                match self.stored_as(target.above.as_ref(), to.file_name().as_bytes())? {
                    None => false,
                    Some(other) => {
                        let message = not_distinguished(&to.to_string(), &other);
                        return Err(Unchanged::StoredAs(message));
                    }
                }
            }
            // Two names of one file: a rename would change nothing.
            Some(Kind::File(_)) if *replaces && is_at(&file, new)? => {
                unlinkat(at.directory, at.name, AtFlags::empty())?;
                true
            }
            // Only a file is ever replaced, and only by one.
            Some(Kind::File(_)) if *replaces && !matches!(kind, Kind::Directory(_)) => {
                match self.quota() {
                    Some(quota) => quota.remove(new, rename)?,
                    None => rename()?,
                }
                true
            }
            Some(other) => return Err(Unchanged::Exists(other)),
            None => match disk::rename_no_replace(&file, at, new) {
                Ok(way) => {
                    if way == Way::Link {
                        unlink_source(&file, at, new, || {
                            unlinkat(at.directory, at.name, AtFlags::empty())
                        })?;
                    }
                    false
                }
                Err(Errno::EXIST) => {
                    let other = beneath::present(self.handle(), to)?;
                    return Err(Unchanged::Exists(other.unwrap_or(Kind::Special)));
                }
                Err(error) => return Err(not_renamed(error)),
            },
        };
        drop(changing);
        self.sync_all(&[&target, &source], to);
        Ok(replaced)
    }

    /// Creates the directory `path` in a directory that exists.
    ///
    /// # Errors
    /// The reason why it was not created.
    pub fn make_directory(&self, path: &FilePath) -> Result<(), Unchanged> {
        let place = self.place(path)?.ok_or(Unchanged::NoParent)?;
        if let Some(present) = beneath::present(self.handle(), path)? {
            return match self.stored_as(place.above.as_ref(), path.file_name().as_bytes())? {
                Some(other) => {
                    Err(Unchanged::StoredAs(not_distinguished(&path.to_string(), &other)))
                }
                None => Err(Unchanged::Exists(present)),
            };
        }
        let at = place.at(self.handle());
        let make = || -> Result<(), Unchanged> {
            Ok(mkdirat(at.directory, at.name, Mode::from_raw_mode(0o777))?)
        };
        match self.quota() {
            Some(quota) => quota.add_directory(make)?,
            None => make()?,
        }
        self.sync_all(&[&place], path);
        Ok(())
    }

    /// Opens the entry `path`, which clients can see: a link only if it leads to a file inside.
    fn entry(&self, path: &FilePath) -> Result<(Place, Kind, File), Unchanged> {
        let place = self.place(path)?.ok_or(Unchanged::NotFound)?;
        if self.stored_as(place.above.as_ref(), path.file_name().as_bytes())?.is_some() {
            return Err(Unchanged::NotFound);
        }
        let at = place.at(self.handle());
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(at.directory, at.name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(Unchanged::NotFound),
            opened => File::from(opened?),
        };
        let is_link = FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::Symlink;
        let kind = match beneath::look_at(self.handle(), path) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP) => {
                return Err(Unchanged::NotFound);
            }
            kind => kind?,
        };
        match kind {
            Kind::Link | Kind::Special => Err(Unchanged::NotFound),
            Kind::Directory(_) if is_link => Err(Unchanged::NotFound),
            kind => Ok((place, kind, file)),
        }
    }

    /// Opens the directory that `path` is in, without following links; `None` if it does not exist
    /// under exactly that path.
    fn place(&self, path: &FilePath) -> Result<Option<Place>, Unchanged> {
        let mut above: Option<File> = None;
        for name in path.parent().iter().flat_map(FilePath::components) {
            let at = above.as_ref().unwrap_or_else(|| self.handle());
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = match openat(at, name, flags, Mode::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                opened => opened?,
            };
            if self.stored_as(above.as_ref(), name)?.is_some() {
                return Ok(None);
            }
            above = Some(opened.into());
        }
        Ok(Some(Place { above, path: path.file_name().into() }))
    }

    /// Makes the change of `path` durable. It is visible already, so a failure is only logged.
    fn sync_all(&self, places: &[&Place], path: &FilePath) {
        if !self.fsyncs() {
            return;
        }
        for place in places {
            if let Err(error) = disk::sync(place.at(self.handle()).directory) {
                tracing::error!(%error, %path, "changed, but its directory cannot be synced");
            }
        }
    }
}

/// Checks that an entry is the expected file, as far as its attributes tell.
fn check_expected(kind: &Kind, expected: Option<&Attributes>) -> Result<(), Unchanged> {
    let Some(expected) = expected else { return Ok(()) };
    match kind {
        Kind::File(found)
            if (found.inode, found.size, found.mtime)
                == (expected.inode, expected.size, expected.mtime) =>
        {
            Ok(())
        }
        _ => Err(Unchanged::Changed),
    }
}

/// Returns the reason for an error of a rename. Some depend on the file system, which may fold
/// case, or on a change since the entries were examined.
fn not_renamed(error: Errno) -> Unchanged {
    match error {
        Errno::XDEV => Unchanged::Elsewhere,
        Errno::NOENT => Unchanged::NotFound,
        Errno::INVAL => Unchanged::IntoItself,
        Errno::ISDIR | Errno::NOTDIR | Errno::NOTEMPTY => Unchanged::Exists(Kind::Special),
        error => error.into(),
    }
}

/// Ends a rename by hard link: unlike a hidden name, the old one is never swept. If it stays, the
/// new one is removed again.
fn unlink_source(
    file: &File,
    from: At<'_>,
    to: At<'_>,
    unlink: impl FnOnce() -> Result<(), Errno>,
) -> io::Result<()> {
    if !is_at(file, from).unwrap_or(false) {
        return Ok(());
    }
    let Err(error) = unlink() else { return Ok(()) };
    if is_at(file, to)? {
        unlinkat(to.directory, to.name, AtFlags::empty())?;
    }
    Err(error.into())
}

/// Returns whether an open file has this name.
fn is_at(file: &File, at: At<'_>) -> io::Result<bool> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    same_file(file, openat(at.directory, at.name, flags, Mode::empty())?)
}

/// Returns whether two open files or directories are the same.
fn same_file(one: impl AsFd, other: impl AsFd) -> io::Result<bool> {
    let of = |Stat { st_dev, st_ino, .. }: Stat| (st_dev, st_ino);
    Ok(of(fstat(one)?) == of(fstat(other)?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::{Settings, Store, Usage};

    const NEVER: Renaming = Renaming { replaces: false, keeps_directories: false, expected: None };
    const REPLACING: Renaming = Renaming { replaces: true, ..NEVER };

    fn path(text: &str) -> FilePath {
        FilePath::parse(text).unwrap()
    }

    /// A store of `d/e/b`, `a` and links, beside which there is a secret.
    fn tree() -> (tempfile::TempDir, Store) {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("served");
        std::fs::create_dir_all(root.join("d/e")).unwrap();
        std::fs::create_dir(scratch.path().join("outside")).unwrap();
        std::fs::write(scratch.path().join("outside/secret"), b"secret").unwrap();
        std::fs::write(root.join("a"), vec![b'a'; 100_000]).unwrap();
        std::fs::write(root.join("d/e/b"), b"b").unwrap();
        symlink("a", root.join("inside")).unwrap();
        symlink("../outside", root.join("out")).unwrap();
        symlink("d", root.join("link")).unwrap();
        symlink("none", root.join("dangling")).unwrap();
        let quota = Some(Usage { bytes: 1 << 20, entries: 10 });
        let store = Store::open(&root, Settings { quota, ..Settings::default() }).unwrap();
        (scratch, store)
    }

    fn names(scratch: &tempfile::TempDir) -> Vec<String> {
        let entries = std::fs::read_dir(scratch.path().join("served")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_links_and_empty_directories_are_removed_and_free_the_quota() {
        let (scratch, store) = tree();
        let (directory, free) = (store.now(), store.free_quota());
        assert!(matches!(directory.remove(&path("d"), None), Err(Unchanged::NotEmpty)));
        assert!(matches!(directory.remove(&path("d/e/b"), None), Ok(Kind::File(_))));
        assert!(matches!(directory.remove(&path("d/e"), None), Ok(Kind::Directory(_))));
        assert!(matches!(directory.remove(&path("inside"), None), Ok(Kind::File(_))));
        assert!(scratch.path().join("served/a").exists(), "only the link");
        directory.remove(&path("a"), None).unwrap();
        assert_eq!(names(&scratch), ["d", "dangling", "link", "out"]);
        let freed = store.free_quota() - free;
        assert!((100_000..200_000).contains(&freed), "{freed}");
    }

    #[test]
    fn nothing_is_changed_through_links_or_outside() {
        let (scratch, store) = tree();
        let before = names(&scratch);
        let directory = store.now();
        for name in ["out", "out/secret", "link", "link/e/b", "dangling", "none", "a/b", "x/y"] {
            let removed = directory.remove(&path(name), None);
            assert!(matches!(removed, Err(Unchanged::NotFound)), "{name}: {removed:?}");
            let moved = directory.rename_entry(&path(name), &path("to"), &REPLACING);
            assert!(matches!(moved, Err(Unchanged::NotFound)), "{name}: {moved:?}");
        }
        for name in ["out/x", "link/x", "none/x", "a/x"] {
            let moved = directory.rename_entry(&path("a"), &path(name), &REPLACING);
            let is_refused = matches!(moved, Err(Unchanged::NoParent | Unchanged::IntoItself));
            assert!(is_refused, "{name}: {moved:?}");
            let made = directory.make_directory(&path(name));
            assert!(matches!(made, Err(Unchanged::NoParent)), "{name}: {made:?}");
        }
        for name in ["out", "link", "dangling"] {
            let moved = directory.rename_entry(&path("a"), &path(name), &REPLACING);
            assert!(matches!(moved, Err(Unchanged::Exists(Kind::Link))), "{name}: {moved:?}");
        }
        assert_eq!(names(&scratch), before);
        assert!(scratch.path().join("outside/secret").exists());
    }

    #[test]
    fn a_rename_replaces_a_file_only_on_request_and_a_directory_never() {
        let (scratch, store) = tree();
        let directory = store.now();
        let rename = |from: &str, to: &str, replaces| {
            directory.rename_entry(&path(from), &path(to), &Renaming { replaces, ..NEVER })
        };
        assert!(matches!(rename("a", "d/e/b", false), Err(Unchanged::Exists(Kind::File(_)))));
        assert!(matches!(rename("a", "d", true), Err(Unchanged::Exists(Kind::Directory(_)))));
        assert!(matches!(rename("d", "a", true), Err(Unchanged::Exists(Kind::File(_)))));
        assert!(matches!(rename("d", "d/e/d", true), Err(Unchanged::IntoItself)));
        assert!(matches!(rename("d", "d", true), Err(Unchanged::IntoItself)));
        for (to, replaces) in [("a", true), ("d/link", false), ("other", false)] {
            assert!(matches!(rename("inside", to, replaces), Err(Unchanged::Link)), "{to}");
        }
        assert_eq!(std::fs::read(scratch.path().join("served/a")).unwrap().len(), 100_000);
        assert!(!rename("d/e", "e", false).unwrap());
        let root = scratch.path().join("served");
        std::fs::hard_link(root.join("a"), root.join("again")).unwrap();
        assert!(rename("again", "a", true).unwrap());
        assert!(root.join("a").exists() && !root.join("again").exists());
        let free = store.free_quota();
        assert!(rename("e/b", "a", true).unwrap());
        assert!(store.free_quota() - free >= 90_000, "the replaced file is free");
        assert_eq!(std::fs::read(scratch.path().join("served/a")).unwrap(), b"b");
        assert_eq!(std::fs::read_dir(scratch.path().join("served/e")).unwrap().count(), 0);
    }

    #[test]
    fn a_rename_by_hard_link_leaves_one_name() {
        for (result, left) in [(Ok(()), "to"), (Err(Errno::PERM), "from")] {
            let scratch = tempfile::tempdir().unwrap();
            let root = File::open(scratch.path()).unwrap();
            std::fs::write(scratch.path().join("from"), "x").unwrap();
            std::fs::hard_link(scratch.path().join("from"), scratch.path().join("to")).unwrap();
            let file = File::open(scratch.path().join("from")).unwrap();
            let at = |name| At { directory: root.as_fd(), name };
            let (from, to) = (Path::new("from"), Path::new("to"));
            let ended = unlink_source(&file, at(from), at(to), || {
                result?;
                unlinkat(&root, from, AtFlags::empty())
            });
            assert_eq!(ended.is_ok(), result.is_ok());
            let names = std::fs::read_dir(scratch.path()).unwrap();
            let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, [left]);
            // Without the old name there is nothing to do.
            std::fs::remove_file(scratch.path().join(left)).unwrap();
            unlink_source(&file, at(from), at(to), || Err(Errno::PERM)).unwrap();
        }
    }

    #[test]
    fn a_directory_is_created_once_and_counts_in_the_quota() {
        let (_scratch, store) = tree();
        let directory = store.now();
        // Eight entries are there.
        directory.make_directory(&path("d/new")).unwrap();
        let again = directory.make_directory(&path("d/new"));
        assert!(matches!(again, Err(Unchanged::Exists(Kind::Directory(_)))), "{again:?}");
        directory.make_directory(&path("f")).unwrap();
        let full = directory.make_directory(&path("g"));
        assert!(matches!(full, Err(Unchanged::Full(Full::Entries { limit: 10 }))), "{full:?}");
        directory.remove(&path("f"), None).unwrap();
        directory.make_directory(&path("g")).unwrap();
    }

    #[test]
    fn of_many_renames_to_one_name_one_wins() {
        let (scratch, store) = tree();
        let directory: Arc<Directory> = store.now();
        for number in 0..20 {
            std::fs::write(scratch.path().join(format!("served/from-{number}")), b"x").unwrap();
        }
        let won = std::thread::scope(|scope| {
            let rename = |number: usize| {
                let directory = &directory;
                let from = path(&format!("from-{number}"));
                scope.spawn(move || directory.rename_entry(&from, &path("to"), &NEVER).is_ok())
            };
            let threads: Vec<_> = (0..20).map(rename).collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
        });
        assert_eq!(won, 1);
    }

    #[test]
    fn only_the_expected_file_is_removed_or_renamed() {
        let (scratch, store) = tree();
        let directory = store.now();
        let Ok(Kind::File(old)) = directory.look_at(&path("a")) else { panic!() };
        std::fs::write(scratch.path().join("served/new"), b"newer").unwrap();
        std::fs::rename(scratch.path().join("served/new"), scratch.path().join("served/a"))
            .unwrap();
        let removed = directory.remove(&path("a"), Some(&old));
        assert!(matches!(removed, Err(Unchanged::Changed)), "{removed:?}");
        let conditions = Renaming { expected: Some(old), ..NEVER };
        let renamed = directory.rename_entry(&path("a"), &path("b"), &conditions);
        assert!(matches!(renamed, Err(Unchanged::Changed)), "{renamed:?}");
        let Ok(Kind::File(new)) = directory.look_at(&path("a")) else { panic!() };
        directory.remove(&path("a"), Some(&new)).unwrap();
    }

    #[test]
    fn a_directory_that_has_grown_frees_no_more_than_was_counted_for_it() {
        let scratch = tempfile::tempdir().unwrap();
        for entry in 0..2000 {
            std::fs::write(scratch.path().join(format!("{entry:0200}")), b"").unwrap();
        }
        let stat = rustix::fs::stat(scratch.path()).unwrap();
        assert_eq!(crate::usage::usage_of(&stat, 4096), Usage { bytes: 4096, entries: 1 });
    }
}
