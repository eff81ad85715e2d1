//! Zip archives: files without compression, with zip64 where sizes or counts need it. Sizes and
//! checksums follow the content, so nothing is read twice.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyport_proto::transfer::download::{Entry, EntryKind};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use zip::write::{FullFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Writes an archive, and hands over what is written after each call.
pub(super) struct Writer {
    /// `None` when the archive is complete.
    zip: Option<ZipWriter<StreamWriter<Output>>>,
    output: Output,
}

/// The bytes that were written and not handed over: those of one call.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns whether a path means the same to all programs: it is UTF-8, and has no backslash or
/// drive letter, with which Windows programs leave the directory that they extract to.
pub(super) fn is_portable(path: &[u8]) -> bool {
    let has_drive = |name: &str| name.as_bytes().get(1) == Some(&b':');
    std::str::from_utf8(path)
        .is_ok_and(|path| !path.contains('\\') && !path.split('/').any(has_drive))
}

impl Writer {
    pub(super) fn new() -> Self {
        let output = Output::default();
        Self { zip: Some(ZipWriter::new_stream(output.clone())), output }
    }

    /// Writes the head of an entry, whose name ends in a slash for a directory.
    pub(super) fn begin(
        &mut self,
        name: &[u8],
        entry: &Entry,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let Some(zip) = &mut self.zip else { return Ok(()) };
        let name = String::from_utf8_lossy(name);
        let options = FullFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .unix_permissions(entry.mode)
            .last_modified_time(local_time(entry.mtime.seconds))
            .large_file(entry.size.is_some_and(|size| size >= u64::from(u32::MAX)));
        // The exact time, as the one above is local and even.
        let options = match u32::try_from(entry.mtime.seconds) {
            Ok(seconds) => options.with_extended_timestamp(Some(seconds), None, None)?,
            Err(_) => options,
        };
        match entry.kind {
            EntryKind::Directory => zip.add_directory(name, options)?,
            EntryKind::File => zip.start_file(name, options)?,
        }
        self.drain(out);
        Ok(())
    }

    /// Writes content of the last file.
    pub(super) fn content(&mut self, content: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        if let Some(zip) = &mut self.zip {
            zip.write_all(content)?;
        }
        self.drain(out);
        Ok(())
    }

    /// Writes the list of entries, which ends the archive.
    pub(super) fn finish(&mut self, left_out: u64, out: &mut Vec<u8>) -> io::Result<()> {
        if let Some(mut zip) = self.zip.take() {
            if left_out > 0 {
                zip.set_comment(format!("{left_out} entries left out"))?;
            }
            zip.finish()?;
        }
        self.drain(out);
        Ok(())
    }

    fn drain(&self, out: &mut Vec<u8>) {
        out.append(&mut self.output.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Returns a time in this server's zone, as archives of programs without the exact time have it.
fn local_time(seconds: i64) -> DateTime {
    let found = Timestamp::from_second(seconds).ok().and_then(|time| {
        let time = time.to_zoned(TimeZone::system());
        let part = |value: i8| u8::try_from(value).ok();
        DateTime::from_date_and_time(
            u16::try_from(time.year()).ok()?,
            part(time.month())?,
            part(time.day())?,
            part(time.hour())?,
            part(time.minute())?,
            part(time.second())?,
        )
        .ok()
    });
    found.unwrap_or_default()
}

/// Memory of one entry beside its name, until the end of the archive.
pub(super) const ENTRY: usize = 512;
