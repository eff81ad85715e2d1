//! The files that a path on a command line stands for: every file below a directory, and its empty directories.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyport_proto::transfer::file_name::is_partial;

use crate::content::{OpenError, Source};

/// What is done with symbolic links below a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Links {
    /// They are left out.
    #[default]
    Skip,
    /// What they lead to is sent in their place.
    Follow,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of their names.
    pub sources: Vec<Source>,
    /// Symbolic links that were not followed.
    pub links: u64,
    /// What cannot be sent, and why.
    pub failed: Vec<OpenError>,
}

impl Found {
    /// Adds what `path` stands for: itself if it is no directory; else everything below it, each under its path from the
    /// directory's own name on. A directory without a name of its own (`.`, `..`, `/`) gives none to its content.
    ///
    /// An entry that cannot be sent does not stop the others. Partial files of anyport's are no entries.
    pub fn add(&mut self, path: &Path, links: Links) {
        if path == Path::new("-") || !path.is_dir() {
            match Source::new(path) {
                Ok(source) => self.sources.push(source),
                Err(error) => self.failed.push(error),
            }
            return;
        }
        let prefix = path.file_name().unwrap_or_default();
        let mut walker = Walker { links, found: self, above: HashSet::new() };
        if let Err(error) = walker.directory(path, prefix) {
            self.failed.push(error);
        }
    }
}

struct Walker<'a> {
    links: Links,
    found: &'a mut Found,
    /// The directories above, so that a link to one of them does not lead round for ever.
    above: HashSet<(u64, u64)>,
}

impl Walker<'_> {
    fn directory(&mut self, path: &Path, name: &OsStr) -> Result<(), OpenError> {
        let failed = |source| OpenError::Open { path: path.to_owned(), source };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        let identity = (metadata.dev(), metadata.ino());
        if !self.above.insert(identity) {
            return Err(OpenError::Loop { path: path.to_owned() });
        }
        let content = self.content(path, name).map_err(failed);
        self.above.remove(&identity);
        content
    }

    /// Everything in a directory. One that cannot be read to its end has sent what was read.
    fn content(&mut self, path: &Path, name: &OsStr) -> std::io::Result<()> {
        let (mut entries, mut unread) = (Vec::new(), Ok(()));
        for entry in std::fs::read_dir(path)? {
            match entry {
                Ok(entry) if is_partial(entry.file_name().as_encoded_bytes()) => {}
                Ok(entry) => entries.push(entry.file_name()),
                Err(error) => unread = Err(error),
            }
        }
        entries.sort();
        if entries.is_empty() && unread.is_ok() && !name.is_empty() {
            self.found
                .sources
                .push(Source::directory(path.to_owned(), joined(name, OsStr::new(""))));
        }
        for entry in entries {
            let name = if name.is_empty() { entry.clone() } else { joined(name, &entry) };
            if let Err(error) = self.entry(path.join(&entry), name) {
                self.found.failed.push(error);
            }
        }
        unread
    }

    fn entry(&mut self, path: PathBuf, name: OsString) -> Result<(), OpenError> {
        let metadata = match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() && self.links == Links::Skip => {
                self.found.links += 1;
                return Ok(());
            }
            Ok(metadata) if metadata.is_symlink() => std::fs::metadata(&path),
            metadata => metadata,
        };
        match metadata {
            Ok(metadata) if metadata.is_dir() => self.directory(&path, &name),
            Ok(metadata) if metadata.is_file() => {
                self.file(path, name, &metadata);
                Ok(())
            }
            Ok(_) => Err(OpenError::Special { path }),
            Err(source) => Err(OpenError::Open { path, source }),
        }
    }

    fn file(&mut self, path: PathBuf, name: OsString, metadata: &Metadata) {
        self.found.sources.push(Source::found(path, name, metadata));
    }
}

/// `name` in a directory; with an empty one, the directory itself with its slash.
fn joined(directory: &OsStr, name: &OsStr) -> OsString {
    let mut path = directory.to_owned();
    path.push("/");
    path.push(name);
    path
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
    fn a_directory_stands_for_what_is_below_it() {
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
        // A directory that is called nothing gives no name.
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
