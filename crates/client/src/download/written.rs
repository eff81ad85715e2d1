//! One file on its way to a writer, over as many connections as it takes.

use std::io::Write;
use std::time::Instant;

use anyport_proto::transfer::download::{Entry, FileEnd, FileHead};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::Hasher;

use super::wire::{Sink, Wire};
use super::{GetError, GetOptions, Progress, check_head, files, question};
use crate::attempts::Attempts;
use crate::target::{Place, Target};

pub(super) struct Written<'a> {
    pub(super) out: &'a mut dyn Write,
    /// Of all that was written.
    pub(super) hasher: Hasher,
    pub(super) bytes: u64,
    /// What the first connection was promised.
    pub(super) head: Option<FileHead>,
}

impl Written<'_> {
    /// Receives what is missing. Gives the connection, what the file is, how it ended, and the seconds until its last byte.
    pub(super) fn attempt(
        &mut self,
        target: &Target,
        name: &FilePath,
        options: &GetOptions,
        started: Instant,
        attempts: &mut Attempts,
        tell: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(Wire, FileHead, FileEnd, f64), GetError> {
        let mut wire = Wire::open(target, options)?;
        (attempts.connected, attempts.repeatable) = (true, true);
        let offset = self.bytes;
        if let Some(first) = &self.head {
            let asked = Place::File(name.clone());
            let unchanged =
                |entry: &Entry| (entry.size, entry.mtime) == (Some(first.size), first.mtime);
            if !files(&mut wire, &asked)?.iter().any(unchanged) {
                return Err(GetError::Changed { name: name.to_string() });
            }
        }
        let head = wire.get(&question(name, offset, options))?;
        check_head(&wire, &head, name, offset)?;
        if self.head.is_none() {
            tell(Progress::Expect(head.size));
            self.head = Some(head.clone());
        }
        wire.content(head.size - offset, &mut Counted { written: self, attempts, tell })?;
        self.out.flush().map_err(GetError::Output)?;
        let seconds = started.elapsed().as_secs_f64();
        let end = wire.file_end(head.size)?;
        Ok((wire, head, end, seconds))
    }
}

/// The same, telling how it goes.
struct Counted<'a, 'b> {
    written: &'a mut Written<'b>,
    attempts: &'a Attempts,
    tell: &'a mut dyn FnMut(Progress<'_>),
}

impl Sink for Counted<'_, '_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), GetError> {
        let Written { out, hasher, bytes: count, .. } = &mut *self.written;
        out.write_all(bytes).map_err(GetError::Output)?;
        hasher.update(bytes);
        *count += bytes.len() as u64;
        self.attempts.brought(*count);
        (self.tell)(Progress::Bytes(bytes.len() as u64));
        Ok(())
    }
}
