//! `--log-file`: the file for stdout and stderr. Both are redirected as descriptors, so that all
//! output goes there, also of a panic, and a rotation is one system call for each: a line is in the
//! old file or in the new one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use anyport_console::Failure;
use rustix::stdio;

/// A file that is only appended to.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
    /// Whether a failed reopening was reported.
    reported: AtomicBool,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let file = open(&path)
            .with_context(|| format!("cannot open the log file {}", path.display()))
            .map_err(|error| {
                Failure::from(error).with_hint("its directory must exist and be writable")
            })?;
        Ok(Self { path, file: Mutex::new(file), reported: AtomicBool::new(false) })
    }

    pub(super) fn take_stdout(&self) -> Result<(), Failure> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(stdio::dup2_stdout(&*file).context("cannot redirect stdout to the log file")?)
    }

    pub(super) fn take_stderr(&self) -> Result<(), Failure> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(stdio::dup2_stderr(&*file).context("cannot redirect stderr to the log file")?)
    }

    /// Reopens it after a rotation has renamed it. If that fails, the old one stays.
    pub(crate) fn reopen(&self) {
        let new = open(&self.path).and_then(|new| {
            stdio::dup2_stdout(&new)?;
            stdio::dup2_stderr(&new)?;
            Ok(new)
        });
        match new {
            Ok(new) => {
                *self.file.lock().unwrap_or_else(PoisonError::into_inner) = new;
                self.reported.store(false, Ordering::Relaxed);
            }
            // Checked each second, and reported before.
            Err(_) if self.reported.swap(true, Ordering::Relaxed) => {}
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "cannot reopen the log file; \
                    the old one stays in use");
            }
        }
    }

    /// Opens it anew where its path leads elsewhere by now, or nowhere.
    pub(crate) fn follow(&self) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(ours) = file.metadata() else { return };
        drop(file);
        let there = std::fs::metadata(&self.path);
        let moved = match there {
            Ok(there) => (there.dev(), there.ino()) != (ours.dev(), ours.ino()),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if moved {
            self.reopen();
        }
    }
}

/// The descriptor of standard output or standard error, if `path` is a name of it.
pub(super) fn standard_stream(path: &Path) -> Option<u32> {
    let name = path.to_str()?;
    let number = match name {
        "/dev/stdout" => 1,
        "/dev/stderr" => 2,
        _ => {
            let number = ["/dev/fd/", "/proc/self/fd/"].iter().find_map(|it| name.strip_prefix(it));
            number?.parse().ok()?
        }
    };
    (1..=2).contains(&number).then_some(number)
}

fn open(path: &Path) -> io::Result<File> {
    // A socket cannot be opened by its name in /proc, and a file that is opened again would be
    // written from its start.
    match standard_stream(path) {
        Some(1) => return Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        Some(2) => return Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
        _ => {}
    }
    anyport_store::disk::open_owned(OpenOptions::new().append(true).create(true).mode(0o640), path)
}
