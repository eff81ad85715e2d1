//! A file with the number of the process that serves. That it is there means nothing: a crash
//! leaves it behind, and the number may be another's by then. What means something is its lock,
//! which ends with the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use anyport_console::Failure;

/// Locked until it is dropped; then it is removed.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Creates or locks the file at `path`.
    pub(super) fn take(path: &Path) -> Result<Self, Failure> {
        // The working directory may change.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let shown = path.display();
        loop {
            let mut file = open(&path)
                .with_context(|| format!("cannot open the pid file {shown}"))
                .map_err(|error| {
                    Failure::from(error).with_hint("its directory must exist and be writable")
                })?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(&path, &mut file)),
                Err(TryLockError::Error(error)) => {
                    return Err(anyhow!(error).context(format!("cannot lock {shown}")).into());
                }
            }
            // Its owner may have removed it between our opening and our lock.
            if !is_at(&file, &path) {
                continue;
            }
            let number = format!("{}\n", std::process::id());
            let written = file.set_len(0).and_then(|()| file.write_all(number.as_bytes()));
            written.with_context(|| format!("cannot write the pid file {shown}"))?;
            return Ok(Self { path, file });
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another file may be at this path now.
        if is_at(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o644);
    let file = anyport_store::disk::open_owned(options, path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// Returns whether `path` is this file.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (Ok(here), Ok(there)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    identity(here) == identity(there)
}

/// Another process has it.
fn held(path: &Path, file: &mut File) -> Failure {
    let mut number = String::new();
    // Content that is no number is not shown.
    let read = file.take(LONGEST_NUMBER).read_to_string(&mut number).ok();
    let number = read.and_then(|_| number.trim().parse::<u32>().ok());
    let who = number.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    let error = anyhow!("{who} is already running and holds {}", path.display());
    Failure::from(error).with_hint("stop it with anyport stop, or use another --pid-file")
}

const LONGEST_NUMBER: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_a_stale_one_is_no_obstacle() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("pid");
        std::fs::write(&path, "999999999999\n").unwrap();
        let first = PidFile::take(&path).unwrap();
        let ours = std::process::id();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{ours}\n"));
        let error = PidFile::take(&path).unwrap_err().error.to_string();
        let words = format!("process {ours} is already running and holds {}", path.display());
        assert_eq!(error, words);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{ours}\n"), "left alone");
        drop(first);
        assert!(!path.exists());
        drop(PidFile::take(&path).unwrap());
    }

    #[test]
    fn files_of_other_processes_are_left_in_place() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("pid");
        let first = PidFile::take(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = PidFile::take(&path).unwrap();
        drop(first);
        assert!(path.exists(), "it is the second one's");
        drop(second);
        assert!(!path.exists());
    }
}
