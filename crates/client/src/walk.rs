//! The files that a path on a command line names: every file below a directory, and its empty
//! directories.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyport_proto::transfer::file_name;
use walkdir::{DirEntry, WalkDir};

use crate::content::{OpenError, Source};

/// Treatment of symbolic links below a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Links {
    /// Skip them.
    #[default]
    Skip,
    /// Send their targets.
    Follow,
}

/// The result of a walk.
#[derive(Debug, Default)]
pub struct Found {
    /// Files and empty directories, in the order of their names.
    pub sources: Vec<Source>,
    /// Number of symbolic links that were skipped.
    pub links: u64,
    /// Entries that cannot be sent.
    pub failed: Vec<OpenError>,
}

impl Found {
    /// Adds a file, or everything below a directory, each named from the directory's name on.
    ///
    /// A directory without a name (`.`, `..`, `/`) gives none to its content.
    ///
    /// An entry that cannot be sent does not stop the others. Partial files of anyport are skipped.
    pub fn add(&mut self, path: &Path, links: Links) {
        if path == Path::new("-") || !path.is_dir() {
            match Source::new(path) {
                Ok(source) => self.sources.push(source),
                Err(error) => self.failed.push(error),
            }
            return;
        }
        let prefix = path.file_name().unwrap_or_default();
        let walk = WalkDir::new(path).follow_links(links == Links::Follow).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(|entry| !is_partial(entry)) {
            let added =
                entry.map_err(unreadable).and_then(|entry| self.entry(&entry, path, prefix));
            self.failed.extend(added.err());
        }
    }

    fn entry(&mut self, entry: &DirEntry, top: &Path, prefix: &OsStr) -> Result<(), OpenError> {
        let path = entry.path();
        let mut name = PathBuf::from(prefix);
        if entry.depth() > 0 {
            name.push(path.strip_prefix(top).unwrap_or(path));
        }
        let mut name = name.into_os_string();
        let kind = entry.file_type();
        if kind.is_symlink() {
            self.links += 1;
        } else if kind.is_file() {
            let metadata = entry.metadata().map_err(unreadable)?;
            self.sources.push(Source::found(path.to_owned(), name, &metadata));
        } else if !kind.is_dir() {
            return Err(OpenError::Special { path: path.to_owned() });
        } else if !name.is_empty() && is_empty(path) {
            name.push("/");
            self.sources.push(Source::directory(path.to_owned(), name));
        }
        Ok(())
    }
}

/// Returns whether a directory contains nothing that is sent. An unreadable one is reported by the
/// walk.
fn is_empty(directory: &Path) -> bool {
    let is_part = |name: OsString| file_name::is_partial(name.as_encoded_bytes());
    std::fs::read_dir(directory).is_ok_and(|mut entries| {
        entries.all(|entry| entry.is_ok_and(|entry| is_part(entry.file_name())))
    })
}

/// Returns whether an entry below the top is a partial file of anyport.
fn is_partial(entry: &DirEntry) -> bool {
    entry.depth() > 0 && file_name::is_partial(entry.file_name().as_encoded_bytes())
}

fn unreadable(error: walkdir::Error) -> OpenError {
    let path = error.path().unwrap_or_else(|| Path::new("")).to_owned();
    match error.into_io_error() {
        Some(source) => OpenError::Open { path, source },
        None => OpenError::Loop { path },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(found: &Found) -> Vec<&str> {
        found.sources.iter().filter_map(|source| source.name()?.to_str()).collect()
    }

    fn walk(path: &Path, links: Links) -> Found {
        let mut found = Found::default();
        found.add(path, links);
        found
    }

    fn failed(found: &Found) -> Vec<PathBuf> {
        found.failed.iter().map(|error| error.path().to_owned()).collect()
    }

    #[test]
    fn a_directory_means_its_content() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().join("photos");
        std::fs::create_dir_all(top.join("b/deep")).unwrap();
        std::fs::create_dir(top.join("empty")).unwrap();
        for file in ["z.jpg", "b/deep/x", "a.jpg"] {
            std::fs::write(top.join(file), file).unwrap();
        }
        symlink("a.jpg", top.join("link")).unwrap();
        symlink("..", top.join("b/round")).unwrap();
        symlink("nowhere", top.join("lost")).unwrap();
        let found = walk(&top, Links::Skip);
        let expected = ["photos/a.jpg", "photos/b/deep/x", "photos/empty/", "photos/z.jpg"];
        assert_eq!(names(&found), expected);
        assert_eq!((found.links, failed(&found)), (3, vec![]));
        let followed = walk(&top, Links::Follow);
        assert_eq!(names(&followed)[3], "photos/link");
        assert_eq!(
            (followed.links, failed(&followed)),
            (0, vec![top.join("b/round"), top.join("lost")])
        );
        // A directory without a name adds none.
        let dotted = walk(&top.join("b/.."), Links::Skip);
        assert_eq!(names(&dotted), ["a.jpg", "b/deep/x", "empty/", "z.jpg"]);
    }

    #[test]
    fn an_entry_that_cannot_be_sent_does_not_stop_the_others() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().join("d");
        std::fs::create_dir(&top).unwrap();
        std::fs::write(top.join("a"), b"a").unwrap();
        std::fs::write(top.join("z"), b"z").unwrap();
        std::fs::write(top.join(".anyport-0123abcd.part"), b"part").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
        let found = walk(&top, Links::Skip);
        assert_eq!(names(&found), ["d/a", "d/z"]);
        assert_eq!(failed(&found), [top.join("socket")]);
    }

    #[test]
    fn a_file_stands_for_itself() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = walk(file.path(), Links::Skip);
        assert_eq!(names(&found), [file.path().file_name().unwrap().to_str().unwrap()]);
        assert_eq!(walk(Path::new("-"), Links::Skip).sources.len(), 1);
        let nowhere = Path::new("/nowhere/at/all");
        assert_eq!(failed(&walk(nowhere, Links::Skip)), [nowhere]);
    }
}
