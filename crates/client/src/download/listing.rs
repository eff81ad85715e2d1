//! Listings over HTTP: one for each directory, as an anyport server sends them to clients that
//! accept JSON. Subdirectories are requested in turn.
//!
//! Each entry is delivered when it has been read, so a listing of any length needs little memory.
//! Only a recursive listing keeps the subdirectories, because the next request waits for the end of
//! the response; they are listed after the files.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};

use anyport_proto::http1::field_names::BASE_PATH;
use anyport_proto::transfer::download::{Entry, EntryKind, LeftOut, LeftOutReason, ListEnd};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::listing::{Listed, read_listing};
use anyport_proto::transfer::refusal::RefusalCode;
use bytes::{Buf, Bytes};
use http::{StatusCode, header};
use hyper::body::Incoming;

use super::file::MOST_ENTRIES;
use super::http::{HttpWire, Reading};
use super::transport::Each;
use crate::error::{Error, ErrorKind};
use crate::http::request::{Below, listing_of};
use crate::target::Scope;

impl HttpWire {
    /// Lists all entries of a place, a directory before its content.
    pub(super) fn list_all(
        &mut self,
        scope: &Scope,
        recursive: bool,
        each: Each<'_>,
    ) -> Result<ListEnd, Error> {
        let mut end = ListEnd::default();
        let directory = match scope {
            Scope::Top => None,
            Scope::Directory(path) => Some(path.clone()),
            Scope::File(path) => match self.entry(path)? {
                Some(entry) if entry.kind == EntryKind::File => {
                    end.entries = 1;
                    return each(Listed::Entry(entry)).map(|()| end);
                }
                // Its own listing reports that it is no directory or missing.
                Some(_) | None => Some(path.clone()),
            },
        };
        let first =
            listing_of(&self.target, &self.below, scope.path().filter(|_| !scope.is_directory()));
        let (peer, mut reported, mut entries, mut held) = (self.peer(), 0, 0, 0);
        let mut each = |listed: Listed| {
            reported += 1;
            entries += u64::from(matches!(listed, Listed::Entry(_)));
            if reported > MOST_ENTRIES {
                return Err(Error::at(peer, ErrorKind::TooMany(MOST_ENTRIES)));
            }
            each(listed)
        };
        if !recursive {
            self.listing(&first, directory.as_ref(), &mut end, &mut each)?;
            return Ok(ListEnd { entries, ..end });
        }
        let directories =
            self.directories(&first, directory.as_ref(), &mut held, &mut end, &mut each)?;
        let mut open = vec![directories.into_iter()];
        while let Some(directories) = open.last_mut() {
            let Some(directory) = directories.next() else {
                open.pop();
                continue;
            };
            held -= size(&directory);
            let name = directory.name.clone();
            each(Listed::Entry(directory))?;
            let path = listing_of(&self.target, &self.below, Some(&name));
            // Each path is one name longer than its parent's, and paths have a limit, so this ends.
            match self.directories(&path, Some(&name), &mut held, &mut end, &mut each) {
                Ok(directories) => open.push(directories.into_iter()),
                // One directory that cannot be read does not stop the others.
                Err(error)
                    if error.is_refused(RefusalCode::NotFound)
                        || error.is_refused(RefusalCode::Storage) =>
                {
                    let reason = LeftOutReason::Unreadable;
                    end.count(reason);
                    each(Listed::LeftOut(LeftOut::new(name.as_bytes(), reason)))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ListEnd { entries, ..end })
    }

    /// Returns the entry of a file in the listing of its directory. Requesting the file itself
    /// would start a download, or receive from a pipe.
    fn entry(&mut self, path: &FilePath) -> Result<Option<Entry>, Error> {
        let parent = path.parent();
        let scope = parent.as_ref().map_or_else(
            || "/files/".to_owned(),
            |parent| listing_of(&self.target, &self.below, Some(parent)),
        );
        match self.entry_in(&scope, path) {
            // Below a proxy, whose path is a part of the URL.
            Err(error) if error.is_refused(RefusalCode::NotFound) && parent.is_some() => {
                let written = self.target.path.split('?').next().unwrap_or_default();
                let above = written.rfind('/').map_or("/", |at| &written[..=at]).to_owned();
                self.entry_in(&above, path)
            }
            found => found,
        }
    }

    /// Returns the entry of a file in the listing at `scope`.
    fn entry_in(&mut self, scope: &str, path: &FilePath) -> Result<Option<Entry>, Error> {
        let parent = path.parent();
        let (mut found, mut end) = (None, ListEnd::default());
        self.listing(scope, parent.as_ref(), &mut end, &mut |listed| {
            if let Listed::Entry(entry) = listed
                && entry.name == *path
            {
                found = Some(entry);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Delivers the content of one directory, except for its subdirectories, which are returned and
    /// added to `held`.
    fn directories(
        &mut self,
        path: &str,
        directory: Option<&FilePath>,
        held: &mut usize,
        end: &mut ListEnd,
        each: Each<'_>,
    ) -> Result<Vec<Entry>, Error> {
        let (peer, mut directories) = (self.peer(), Vec::new());
        self.listing(path, directory, end, &mut |listed| {
            let directory = match listed {
                Listed::Entry(entry) if entry.kind == EntryKind::Directory => entry,
                listed => return each(listed),
            };
            *held += size(&directory);
            if *held > MOST_HELD {
                let limit = MOST_HELD >> 20;
                let reason = format!("its directories and those of its parents exceed {limit} MiB");
                return Err(Error::at(
                    peer,
                    ErrorKind::NoListing { path: path.to_owned(), reason },
                ));
            }
            directories.push(directory);
            Ok(())
        })?;
        Ok(directories)
    }

    /// Delivers the entries of one directory as they arrive, and adds omitted ones to the counts.
    fn listing(
        &mut self,
        path: &str,
        directory: Option<&FilePath>,
        end: &mut ListEnd,
        each: Each<'_>,
    ) -> Result<(), Error> {
        let peer = self.peer();
        let response = self.ask(path, None, Some("application/json"))?;
        let none = |reason: String| {
            Error::at(peer, ErrorKind::NoListing { path: path.to_owned(), reason })
        };
        if response.status() != StatusCode::OK {
            return Err(self.refused(response, directory));
        }
        let media = response.headers().get(header::CONTENT_TYPE).and_then(|m| m.to_str().ok());
        let media: String = media.unwrap_or("of unknown type").chars().take(100).collect();
        let media_type = media.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(none(format!("the response is {media}, not JSON")));
        }
        // The first listing has the path as the user wrote it.
        if self.below.names().is_none() {
            let base = response.headers().get(BASE_PATH).and_then(|base| base.to_str().ok());
            let base = base.and_then(|base| base.parse().ok());
            self.below = base.and_then(|base| Below::of(base, path)).unwrap_or_default();
        }
        let server = self.below.clone();
        let (in_part, failed) = (Cell::new(0), RefCell::new(None));
        let (content, piece) = (response.into_body(), Bytes::new());
        let json = Arriving {
            reading: self.reading(),
            content,
            piece,
            in_part: &in_part,
            failed: &failed,
        };
        let read = read_listing(json, &mut |listed| {
            in_part.set(0);
            let passed_on = match renamed(&server, listed) {
                // Entries outside the requested directory are refused.
                Listed::Entry(entry) if entry.name.parent().as_ref() != directory => {
                    let answer = format!("{} in the listing of {path}", entry.name);
                    Err(Error::at(peer, ErrorKind::Answer(answer)))
                }
                listed => each(listed),
            };
            passed_on.map_err(|error| failed.replace(Some(error))).is_ok()
        });
        let counted = match (failed.take(), read) {
            (None, Ok(counted)) => counted,
            (failed, read) => {
                // The rest of the response has not arrived.
                self.hang_up();
                let reason = read.err().map_or_else(String::new, |error| error.to_string());
                return Err(failed.unwrap_or_else(|| none(reason)));
            }
        };
        let add = |count: &mut Option<u64>, more: Option<u64>| {
            *count = count.map_or(more, |count| Some(count.saturating_add(more.unwrap_or(0))));
        };
        if let Some(counted) = counted {
            add(&mut end.left_out, counted.left_out);
            add(&mut end.links, counted.links);
        }
        Ok(())
    }
}

/// Returns an entry with its path in URLs. A name that is too long with it stays as it is, and is
/// refused.
fn renamed(server: &Below, listed: Listed) -> Listed {
    let Some(above) = server.names() else { return listed };
    match listed {
        Listed::Entry(mut entry) => {
            let path = [above.as_bytes(), entry.name.as_bytes()].join(&b'/');
            entry.name = FilePath::exact(&path).unwrap_or(entry.name);
            Listed::Entry(entry)
        }
        Listed::LeftOut(LeftOut { name_raw, reason }) => {
            Listed::LeftOut(LeftOut { name_raw: format!("{above}/{name_raw}"), reason })
        }
    }
}

/// Returns the memory of a kept entry.
fn size(entry: &Entry) -> usize {
    size_of::<Entry>() + entry.name.as_bytes().len()
}

/// A listing that arrives.
struct Arriving<'a> {
    reading: Reading<'a>,
    content: Incoming,
    piece: Bytes,
    /// Bytes since the last entry.
    in_part: &'a Cell<usize>,
    /// Why reading failed.
    failed: &'a RefCell<Option<Error>>,
}

impl Read for Arriving<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            match self.reading.next(&mut self.content) {
                Ok(Some(piece)) => self.piece = piece,
                Ok(None) => return Ok(0),
                Err(error) => {
                    self.failed.replace(Some(error));
                    return Err(io::ErrorKind::Other.into());
                }
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.in_part.set(self.in_part.get() + count);
        if self.in_part.get() > LONGEST_PART {
            return Err(io::Error::other(format!(
                "an entry of it is longer than {LONGEST_PART} bytes"
            )));
        }
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Memory for the subdirectories of nested directories: 80,000 with the longest names.
const MOST_HELD: usize = 32 * 1024 * 1024;

/// Maximum size of one entry of a listing, and of the text between two. A path of 1024 bytes,
/// percent-encoded and in JSON, takes 7 KiB.
const LONGEST_PART: usize = 64 * 1024;
