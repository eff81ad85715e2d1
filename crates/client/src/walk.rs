//! What a directory on a command line stands for: every file below it, and the directories that hold none.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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

/// What was found, and what was not taken.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of their names.
    pub sources: Vec<Source>,
    /// Links, sockets, devices and the like.
    pub skipped: Vec<PathBuf>,
}

/// `path` itself if it is no directory; else everything below it, each under its path from the directory's own name on. A
/// directory without a name of its own (`.`, `..`, `/`) gives none to what it holds.
///
/// # Errors
/// Something cannot be looked at.
pub fn walk(path: &Path, links: Links) -> Result<Found, OpenError> {
    let mut found = Found::default();
    if path == Path::new("-") || !path.is_dir() {
        found.sources.push(Source::new(path)?);
        return Ok(found);
    }
    let prefix = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut walker = Walker { links, found, above: HashSet::new() };
    walker.directory(path, &prefix.unwrap_or_default())?;
    Ok(walker.found)
}

struct Walker {
    links: Links,
    found: Found,
    /// The directories that we are in, so that a link to one of them does not lead round for ever.
    above: HashSet<(u64, u64)>,
}

impl Walker {
    fn directory(&mut self, path: &Path, name: &str) -> Result<(), OpenError> {
        let failed = |source| OpenError::Open { path: path.to_owned(), source };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        let identity = (metadata.dev(), metadata.ino());
        if !self.above.insert(identity) {
            self.found.skipped.push(path.to_owned());
            return Ok(());
        }
        let mut entries: Vec<_> =
            std::fs::read_dir(path).and_then(Iterator::collect).map_err(failed)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        if entries.is_empty() && !name.is_empty() {
            self.found.sources.push(Source::directory(path.to_owned(), format!("{name}/")));
        }
        for entry in entries {
            let own = entry.file_name().to_string_lossy().into_owned();
            let name = if name.is_empty() { own } else { format!("{name}/{own}") };
            self.entry(entry.path(), name)?;
        }
        self.above.remove(&identity);
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, name: String) -> Result<(), OpenError> {
        let looked = match self.links {
            Links::Skip => std::fs::symlink_metadata(&path),
            Links::Follow => std::fs::metadata(&path),
        };
        match looked {
            Ok(metadata) if metadata.is_dir() => self.directory(&path, &name),
            Ok(metadata) if metadata.is_file() => {
                self.file(path, name, &metadata);
                Ok(())
            }
            // A link that leads nowhere is nothing to send either.
            Ok(_) => self.skip(path),
            Err(_) if path.is_symlink() => self.skip(path),
            Err(source) => Err(OpenError::Open { path, source }),
        }
    }

    fn file(&mut self, path: PathBuf, name: String, metadata: &Metadata) {
        self.found.sources.push(Source::found(path, name, metadata));
    }

    fn skip(&mut self, path: PathBuf) -> Result<(), OpenError> {
        self.found.skipped.push(path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(found: &Found) -> Vec<&str> {
        found.sources.iter().filter_map(Source::name).collect()
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
        let found = walk(&top, Links::Skip).unwrap();
        let expected = ["photos/a.jpg", "photos/b/deep/x", "photos/empty/", "photos/z.jpg"];
        assert_eq!(names(&found), expected);
        assert_eq!(found.skipped, [top.join("b/round"), top.join("link"), top.join("lost")]);
        let followed = walk(&top, Links::Follow).unwrap();
        assert_eq!(names(&followed)[3], "photos/link");
        assert_eq!(followed.skipped, [top.join("b/round"), top.join("lost")]);
        // A directory that is called nothing gives no name.
        let dotted = walk(&top.join("b/.."), Links::Skip).unwrap();
        assert_eq!(names(&dotted), ["a.jpg", "b/deep/x", "empty/", "z.jpg"]);
    }

    #[test]
    fn a_file_stands_for_itself() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = walk(file.path(), Links::Skip).unwrap();
        assert_eq!(names(&found), [file.path().file_name().unwrap().to_str().unwrap()]);
        assert_eq!(walk(Path::new("-"), Links::Skip).unwrap().sources.len(), 1);
        assert!(walk(Path::new("/nowhere/at/all"), Links::Skip).is_err());
    }
}
