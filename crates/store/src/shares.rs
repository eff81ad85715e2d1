//! The file with the shares of a served directory, which is replaced as a whole.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use anyport_proto::transfer::file_name::SHARES;
use rustix::fs::{AtFlags, Mode, OFlags, renameat, unlinkat};

use crate::directory::Directory;
use crate::disk::{self, Lock};
use crate::hidden::is_named;
use crate::names;

/// The file, locked: no other server reads or replaces it until this is dropped.
#[derive(Debug)]
pub struct SharesFile {
    file: File,
}

impl Directory {
    /// Opens and locks the file; `None` if there is none, unless it is created, empty.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while another server has it, the kernel's error, or another
    /// user can have written it.
    pub fn open_shares(&self, create: bool) -> io::Result<Option<SharesFile>> {
        let flags = if create { OFlags::RDONLY | OFlags::CREATE } else { OFlags::RDONLY };
        let mode = Mode::from_raw_mode(0o600);
        let file = match disk::open_owned_at(self.handle(), SHARES, flags, mode) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        // The server that has it may have replaced it before the lock.
        if disk::lock(&file) == Lock::Held || !is_named(self.handle(), SHARES, &file)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Some(SharesFile { file }))
    }
}

impl SharesFile {
    /// Returns the content, which nothing has read before.
    ///
    /// # Errors
    /// The kernel's error, or it has more than `most` bytes.
    pub fn read(&self, most: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        (&self.file).take(most as u64 + 1).read_to_end(&mut content)?;
        if content.len() > most {
            return Err(io::Error::other(format!("it has more than {most} bytes")));
        }
        Ok(content)
    }

    /// Replaces the file, which only the user of the server may read; durable when it returns.
    ///
    /// # Errors
    /// The kernel's error: the file is as before.
    pub fn replace(&mut self, directory: &Directory, content: &[u8]) -> io::Result<()> {
        let name = names::random()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::from_raw_mode(0o600);
        let mut file = disk::open_owned_at(directory.handle(), &name, flags, mode)?;
        // Before it has the name by which others open it.
        disk::lock(&file);
        let written = file.write_all(content).and_then(|()| disk::sync(file.as_fd()));
        let (from, into) = (directory.handle(), directory.handle());
        let renamed = written.and_then(|_| Ok(renameat(from, name.as_str(), into, SHARES)?));
        if renamed.is_err() {
            let _ = unlinkat(directory.handle(), name.as_str(), AtFlags::empty());
            return renamed;
        }
        self.file = file;
        disk::sync(directory.handle()).map(drop)
    }
}
