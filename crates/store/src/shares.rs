//! The file with the shares of a served directory, which is replaced as a whole.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use anyport_proto::transfer::file_name::SHARES;
use rustix::fs::{AtFlags, Mode, OFlags, renameat, unlinkat};

use crate::directory::Directory;
use crate::{disk, names};

impl Directory {
    /// Returns the content of the file, if there is one.
    ///
    /// # Errors
    /// The kernel's error, another user can have written it, or it has more than `most` bytes.
    pub fn read_shares(&self, most: usize) -> io::Result<Option<Vec<u8>>> {
        let opened = disk::open_owned_at(self.handle(), SHARES, OFlags::RDONLY, Mode::empty());
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut content = Vec::new();
        file.take(most as u64 + 1).read_to_end(&mut content)?;
        if content.len() > most {
            return Err(io::Error::other(format!("it has more than {most} bytes")));
        }
        Ok(Some(content))
    }

    /// Replaces the file, which only the user of the server may read; durable when it returns.
    ///
    /// # Errors
    /// The kernel's error: the file is as before.
    pub fn write_shares(&self, content: &[u8]) -> io::Result<()> {
        let name = names::random()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::from_raw_mode(0o600);
        let mut file = disk::open_owned_at(self.handle(), &name, flags, mode)?;
        let written = file.write_all(content).and_then(|()| disk::sync(file.as_fd()));
        let renamed = written
            .and_then(|_| Ok(renameat(self.handle(), name.as_str(), self.handle(), SHARES)?));
        if renamed.is_err() {
            let _ = unlinkat(self.handle(), name.as_str(), AtFlags::empty());
        }
        renamed.and_then(|()| disk::sync(self.handle()).map(drop))
    }
}
