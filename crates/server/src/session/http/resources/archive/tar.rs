//! Tar archives: names of any bytes, also long ones, and sizes as GNU tar writes them.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyport_proto::transfer::download::{Entry, EntryKind};

/// Writes the parts of an archive that are no content.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Bytes of the content of the last file.
    written: u64,
}

impl Writer {
    /// Writes the head of an entry, whose name ends in a slash for a directory.
    pub(super) fn begin(
        &mut self,
        name: &[u8],
        entry: &Entry,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.written = 0;
        let mut head = tar::Header::new_gnu();
        head.set_entry_type(match entry.kind {
            EntryKind::File => tar::EntryType::Regular,
            EntryKind::Directory => tar::EntryType::Directory,
        });
        head.set_size(entry.size.unwrap_or_default());
        head.set_mode(entry.mode);
        head.set_mtime(u64::try_from(entry.mtime.seconds).unwrap_or_default());
        head.set_uid(0);
        head.set_gid(0);
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_data(&mut head, Path::new(OsStr::from_bytes(name)), io::empty())?;
        out.append(builder.get_mut());
        Ok(())
    }

    /// Records content that is sent.
    pub(super) const fn content(&mut self, count: usize) {
        self.written += count as u64;
    }

    /// Fills the last block of a file.
    pub(super) fn end_file(&self, out: &mut Vec<u8>) {
        let padding = self.written.next_multiple_of(BLOCK as u64) - self.written;
        out.resize(out.len() + usize::try_from(padding).unwrap_or_default(), 0);
    }

    /// Writes the end of the archive, two empty blocks.
    pub(super) fn finish(out: &mut Vec<u8>) {
        out.resize(out.len() + 2 * BLOCK, 0);
    }
}

/// Size of a block.
const BLOCK: usize = 512;
