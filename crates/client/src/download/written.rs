//! A download to a writer, over as many connections as needed.

use std::io::Write;
use std::time::{Duration, Instant};

use anyport_proto::transfer::download::FileEnd;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::Hasher;

use super::file::{RemoteFile, Sink};
use super::not_written;
use super::wire::Wire;
use super::{GetOptions, Progress, files};
use crate::attempts::Attempts;
use crate::error::{Error, ErrorKind};
use crate::measure::{Measuring, diagnosed};
use crate::spent::{Intake, Work};
use crate::target::{Scope, Target};

pub(super) struct Written<'a> {
    pub(super) out: &'a mut dyn Write,
    /// Of all that was written.
    pub(super) hasher: Hasher,
    pub(super) bytes: u64,
    /// The description on the first connection.
    pub(super) head: Option<RemoteFile>,
}

impl Written<'_> {
    /// Receives the missing content. Returns the connection, the description of the file, its end,
    /// and the seconds until its last byte.
    pub(super) fn attempt(
        &mut self,
        target: &Target,
        name: &FilePath,
        options: &GetOptions,
        started: Instant,
        attempts: &mut Attempts,
        tell: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(Wire, RemoteFile, FileEnd, f64), Error> {
        attempts.repeatable = true;
        let mut wire = Wire::open(target, options)?;
        attempts.connected();
        let offset = self.bytes;
        let changed = || Error::from(ErrorKind::ChangedThere(name.to_string()));
        let asked = match &self.head {
            None => RemoteFile::named(name.clone()),
            Some(first) => {
                let scope = Scope::File(name.clone());
                let listing = files(&mut wire, target, options, &scope)?;
                let found = listing.files.into_iter().find(|now| now.agrees(first));
                found.ok_or_else(changed)?
            }
        };
        let measuring = wire.socket().map(Measuring::begin);
        let (head, begins) = wire.get(&asked, offset, options.digest)?;
        let (first, intake) = (Instant::now(), Intake::default());
        let measuring = measuring
            .zip(wire.socket())
            .map(|(measuring, socket)| measuring.receives(&options.connect, socket, &intake, true));
        if !head.agrees(&asked) || head.size.is_some_and(|size| size < offset) {
            return Err(changed());
        }
        // A server without ranges sends the beginning again, which is discarded. Without a time or
        // a tag it may be another beginning.
        if begins < offset && head.tag.is_none() {
            return Err(changed());
        }
        if self.head.is_none() {
            tell(Progress::Expect(head.size.unwrap_or_default()));
            tell(Progress::Begins(&head.name));
            self.head = Some(head.clone());
        }
        let left = head.size.map(|size| size - begins);
        let rest = Counted { written: self, attempts, tell, intake: intake.clone() };
        let came = wire.content(left, &mut Behind { skip: offset - begins, rest })?;
        self.out.flush().map_err(not_written)?;
        let seconds = started.elapsed().as_secs_f64();
        let end = wire.file_end(begins + came)?;
        if let (Some(measuring), Some(socket)) = (measuring, wire.socket()) {
            diagnosed(&options.connect, &measuring.received(socket, first, intake.get(), true));
        }
        Ok((wire, head, end, seconds))
    }
}

/// Content of which the first bytes were written already.
struct Behind<'a, 'b> {
    skip: u64,
    rest: Counted<'a, 'b>,
}

impl Sink for Behind<'_, '_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let here = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= here as u64;
        self.rest.intake.add(Work { bytes: here as u64, ..Work::default() });
        if here == bytes.len() { Ok(()) } else { self.rest.take(&bytes[here..]) }
    }

    fn paused(&mut self, pausing: Duration) {
        self.rest.intake.add(Work { pausing, ..Work::default() });
    }
}

/// A writer that reports progress.
struct Counted<'a, 'b> {
    written: &'a mut Written<'b>,
    attempts: &'a Attempts,
    tell: &'a mut dyn FnMut(Progress<'_>),
    intake: Intake,
}

impl Sink for Counted<'_, '_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Written { out, hasher, bytes: count, .. } = &mut *self.written;
        let began = Instant::now();
        out.write_all(bytes).map_err(not_written)?;
        let wrote = Instant::now();
        hasher.update(bytes);
        let (storing, hashing) = (wrote - began, wrote.elapsed());
        let bytes = bytes.len() as u64;
        self.intake.add(Work { bytes, hashing, storing, ..Work::default() });
        *count += bytes;
        self.attempts.progressed(*count);
        (self.tell)(Progress::Bytes(bytes));
        Ok(())
    }
}
