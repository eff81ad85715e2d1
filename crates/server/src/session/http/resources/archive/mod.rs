//! `GET` of a directory with `?zip` or `?tar`: all files below it as one archive, which is made
//! while it is sent.
//!
//! With `name=NAME`, repeated, only these entries of the directory are in it.
//!
//! The files service lists and opens each entry, so what a client may not read is in no archive.

mod tar;
mod zip;

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::copy::{Interest, Placement};
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::download::{Entry, EntryKind, List};
use anyport_proto::transfer::file_path::{FilePath, PathError};
use anyport_proto::transfer::listing::Listed;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::{StatusCode, header};

use crate::access::Operation;
use crate::budget::Share;
use crate::service::download::{Download, DownloadOutput, Located};
use crate::service::files::{Files, Source};
use crate::service::listing::Listing;
use crate::session::http::answer::{Answer, Head, Length};
use crate::session::http::handler::{Event, Handler, Next, Opened, Produced, Request};

/// A format of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Zip,
    Tar,
}

impl Format {
    /// Returns the format that a query requests.
    pub(super) fn requested(query: Option<&str>) -> Option<Self> {
        query?.split('&').find_map(|part| match part.split('=').next() {
            Some("zip") => Some(Self::Zip),
            Some("tar") => Some(Self::Tar),
            _ => None,
        })
    }

    const fn media(self) -> &'static str {
        match self {
            Self::Zip => "application/zip",
            Self::Tar => "application/x-tar",
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::Tar => "tar",
        }
    }
}

/// The entries of a directory that an archive has: all, or those that a query names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Selection(Option<Vec<Chosen>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Chosen {
    path: Vec<u8>,
    is_found: bool,
}

impl Selection {
    /// Returns the selection of a query, which is encoded like a form: a plus sign is a space.
    fn of(query: Option<&str>, directory: Option<&FilePath>) -> Result<Self, PathError> {
        let names = query.into_iter().flat_map(|query| query.split('&'));
        let names = names.filter_map(|part| part.strip_prefix("name="));
        let chosen: Vec<Chosen> = names
            .map(|name| {
                let name = FilePath::parse_percent_encoded(&name.replace('+', "%20"))?;
                let path = match directory {
                    Some(directory) => [directory.as_bytes(), b"/", name.as_bytes()].concat(),
                    None => name.as_bytes().to_vec(),
                };
                Ok(Chosen { path, is_found: false })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self((!chosen.is_empty()).then_some(chosen)))
    }

    /// Returns whether the archive has the entry at `path`.
    fn has(&mut self, path: &[u8]) -> bool {
        let Some(chosen) = &mut self.0 else { return true };
        let is_within = |chosen: &Chosen| {
            path.strip_prefix(&chosen.path[..])
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        let found = chosen.iter_mut().find(|chosen| is_within(chosen));
        found.map(|chosen| chosen.is_found = true).is_some()
    }

    /// Returns the number of selected entries that the directory does not have.
    fn missing(&self) -> u64 {
        self.0.iter().flatten().filter(|chosen| !chosen.is_found).count() as u64
    }
}

/// Sends the directory at `path`, or all files, as an archive.
pub(super) fn open(request: &Request<'_>, path: Option<FilePath>, format: Format) -> Opened {
    let Request { context, asked, head, .. } = *request;
    let selection = match Selection::of(head.query(), path.as_ref()) {
        Ok(selection) => selection,
        Err(error) => {
            let refusal = Refusal::new(RefusalCode::BadName, error.to_string());
            return Opened::Answer(request.refuse(StatusCode::BAD_REQUEST, refusal));
        }
    };
    let head = head_of(path.as_ref(), format);
    if let Err(refusal) = context.grant.check(Operation::List, path.as_ref()) {
        return Opened::Answer(request.refuse(StatusCode::FORBIDDEN, refusal));
    }
    if asked.without_content {
        return Opened::Answer(head.into());
    }
    let list = List {
        path: path.as_ref().map(FilePath::text),
        path_raw: path.as_ref().and_then(FilePath::raw),
        recursive: true,
        ..List::default()
    };
    let source = request.source();
    let listing = match context.list(source.clone(), &list) {
        Ok(listing) => listing,
        Err(refusal) => return Opened::Answer(Answer::refusal(refusal, asked.form)),
    };
    let writer = match format {
        Format::Zip => Writer::Zip(Box::new(zip::Writer::new())),
        Format::Tar => Writer::Tar(tar::Writer::default()),
    };
    let skipped = path.as_ref().map_or(0, |path| path.as_bytes().len() + 1);
    Opened::handler(Archive {
        head: Some(head),
        files: context.files.clone(),
        source,
        listing,
        selection,
        top: name_of(path.as_ref()),
        skipped,
        writer,
        memory: context.buffer_share(),
        download: None,
        left_out: 0,
        is_complete: false,
        idle: context.config.timeouts.idle,
    })
}

/// Returns the name of the archive without its extension, and that of the one directory in it.
fn name_of(path: Option<&FilePath>) -> Vec<u8> {
    path.map_or_else(|| b"files".to_vec(), |path| path.file_name().as_bytes().to_vec())
}

fn head_of(path: Option<&FilePath>, format: Format) -> Head {
    let name = path.map_or_else(|| "files".to_owned(), |path| path.file_name().to_string());
    let name = format!("{name}.{}", format.extension());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " -._()".contains(c);
    // What all clients read (RFC 6266 §4.3), and the exact name in the form of RFC 8187.
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let exact = anyport_proto::transfer::file_path::encoded(&name);
    Answer::head(StatusCode::OK, Length::Unknown)
        .with(header::CONTENT_TYPE, format.media())
        .with(
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"),
        )
        .with(header::CACHE_CONTROL, "no-store")
        .head
}

/// An archive that is being sent.
struct Archive {
    head: Option<Head>,
    files: Arc<Files>,
    source: Source,
    listing: Listing,
    selection: Selection,
    /// The directory in the archive that all entries are in.
    top: Vec<u8>,
    /// Bytes of each path that this directory stands for.
    skipped: usize,
    writer: Writer,
    /// Memory for the list of entries at the end of a zip archive.
    memory: Share,
    /// The file that is being sent.
    download: Option<Download>,
    /// Entries that could not be opened, or have no name in the archive.
    left_out: u64,
    is_complete: bool,
    idle: Duration,
}

enum Writer {
    Zip(Box<zip::Writer>),
    Tar(tar::Writer),
}

impl Archive {
    /// Produces the next piece of the file that is being sent.
    fn content(
        &mut self,
        mut download: Download,
        buffer: &mut [u8],
        out: &mut Vec<u8>,
    ) -> io::Result<Produced> {
        let count = match download.next(buffer) {
            Ok(DownloadOutput::Bytes(count)) => Ok(count),
            // An archive has to look at the content, or has no length: the kernel cannot send it.
            Ok(DownloadOutput::Kernel(piece)) => {
                let most = usize::try_from(piece.count).unwrap_or(usize::MAX).min(buffer.len());
                match piece.file.read_at(&mut buffer[..most], piece.at) {
                    Ok(0) => Err(io::Error::other("the file was truncated during the transfer")),
                    read => read.inspect(|count| download.sent(*count as u64)),
                }
            }
            Ok(DownloadOutput::End(_)) => {
                download.finish();
                self.end_file(out);
                return Ok(Produced::Next(Next::Continue));
            }
            Err(error) => Err(error),
        };
        let count = match count {
            Ok(count) => count,
            // Complete, the archive would have a part of a file, or parts of two versions.
            Err(error) => {
                download.broken(&error.to_string());
                return Err(error);
            }
        };
        self.download = Some(download);
        match &mut self.writer {
            Writer::Zip(writer) => {
                writer.content(&buffer[..count], out)?;
                Ok(Produced::Next(Next::Continue))
            }
            Writer::Tar(writer) => {
                writer.content(count);
                Ok(Produced::Bytes(count))
            }
        }
    }

    fn end_file(&self, out: &mut Vec<u8>) {
        if let Writer::Tar(writer) = &self.writer {
            writer.end_file(out);
        }
    }

    /// Begins the next entry, or ends the archive.
    fn next_entry(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let listed = self.listing.next();
        match listed.map_err(|refusal| io::Error::other(refusal.message))? {
            Some(Listed::Entry(entry)) if !self.selection.has(entry.name.as_bytes()) => Ok(()),
            Some(Listed::Entry(entry)) => self.begin(entry, out),
            Some(Listed::LeftOut(_)) => Ok(()),
            None => {
                self.is_complete = true;
                let end = self.listing.end();
                let count = |left_out: Option<u64>| left_out.unwrap_or_default();
                // Those of a whole directory may be beside the selection.
                let of_directory = match self.selection {
                    Selection(None) => count(end.left_out) + count(end.links),
                    Selection(Some(_)) => self.selection.missing(),
                };
                let left_out = self.left_out + of_directory;
                if left_out > 0 {
                    let peer = self.source.peer;
                    tracing::info!(left_out, %peer, "archive without some entries");
                }
                match &mut self.writer {
                    Writer::Zip(writer) => writer.finish(left_out, out),
                    Writer::Tar(_) => {
                        tar::Writer::finish(out);
                        Ok(())
                    }
                }
            }
        }
    }

    fn begin(&mut self, mut entry: Entry, out: &mut Vec<u8>) -> io::Result<()> {
        let below = entry.name.as_bytes().get(self.skipped..).unwrap_or_default();
        let mut name = [&self.top[..], b"/", below].concat();
        if matches!(self.writer, Writer::Zip(_)) {
            if !zip::is_portable(&name) {
                self.left_out += 1;
                return Ok(());
            }
            if !self.memory.grow(name.len() + zip::ENTRY) {
                return Err(io::Error::other("memory limit for archives reached"));
            }
        }
        if entry.kind == EntryKind::Directory {
            name.push(b'/');
        } else {
            match self.files.find(self.source.clone(), entry.name.clone()) {
                Ok(Located::File(opened)) => {
                    let size = opened.attributes.size;
                    entry.size = Some(size);
                    entry.mtime = opened.attributes.mtime;
                    self.download = Some(opened.into_download(0..size, Algorithm::None));
                }
                // Removed or replaced since it was listed, or not readable.
                Ok(Located::Directory(_)) => {
                    self.left_out += 1;
                    return Ok(());
                }
                Err(refusal)
                    if refusal.code == RefusalCode::NotFound
                        || self.files.is_unreadable(&entry.name) =>
                {
                    self.left_out += 1;
                    return Ok(());
                }
                // The archive would look complete without it.
                Err(refusal) => return Err(io::Error::other(refusal.message)),
            }
        }
        match &mut self.writer {
            Writer::Zip(writer) => writer.begin(&name, &entry, out),
            Writer::Tar(writer) => writer.begin(&name, &entry, out),
        }
    }
}

impl Handler for Archive {
    fn interest(&self) -> Interest {
        let place = Placement::Thread;
        Interest { produce: true, may_block: true, place, ..Interest::input(self.idle) }
    }

    fn head(&mut self) -> Option<Head> {
        self.head.take()
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, _: &mut Vec<u8>) -> Next {
        if let Event::Lost(reason) = event
            && let Some(download) = self.download.take()
        {
            download.broken(reason);
        }
        Next::Continue
    }

    fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced> {
        if self.is_complete {
            return Ok(Produced::Next(Next::End));
        }
        match self.download.take() {
            Some(download) => self.content(download, buffer, out),
            None => {
                self.next_entry(out)?;
                Ok(Produced::Next(Next::Continue))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_has_the_named_entries_and_all_below_them() {
        let directory: FilePath = FilePath::parse("d").unwrap();
        let of = |query| Selection::of(Some(query), Some(&directory)).unwrap();
        let mut selection = of("zip&name=a+b&name=e%2Bf&name=gone");
        for (path, expected) in [
            ("d/a b", true),
            ("d/a b/c", true),
            ("d/a bc", false),
            ("d/a", false),
            ("d/e+f", true),
            ("a b", false),
            ("d/x/a b", false),
        ] {
            assert_eq!(selection.has(path.as_bytes()), expected, "{path}");
        }
        assert_eq!(selection.missing(), 1);
        let mut all = of("zip");
        assert!(all.has(b"d/anything") && all.missing() == 0);
        for wrong in ["zip&name=", "zip&name=..", "zip&name=%", "zip&name=/a"] {
            assert!(Selection::of(Some(wrong), None).is_err(), "{wrong}");
        }
    }
}
