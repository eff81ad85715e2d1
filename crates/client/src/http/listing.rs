//! Listings: one a directory, as our server gives them to who accepts JSON. What is in directories is asked for in turn.

use anyport_proto::transfer::download::{Entry, EntryKind};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::FileReply;
use http::{StatusCode, header};

use super::request::listing_of;
use super::wire::HttpWire;
use crate::download::{GetError, MOST_ENTRIES};
use crate::target::Place;

/// Takes what is listed, one by one.
type Each<'a> = &'a mut dyn FnMut(Entry) -> Result<(), GetError>;

impl HttpWire {
    /// All entries of a listing, a directory before what is in it.
    pub(crate) fn list(
        &mut self,
        place: &Place,
        recursive: bool,
        each: Each<'_>,
    ) -> Result<u64, GetError> {
        let directory = match place {
            Place::Top => None,
            Place::Directory(path) => Some(path.clone()),
            Place::File(path) => match self.entry(path)? {
                Some(entry) if entry.kind == EntryKind::File => return each(entry).map(|()| 1),
                // Its own listing says that it is none, or is not there.
                Some(_) | None => Some(path.clone()),
            },
        };
        let first = listing_of(&self.target, place.path().filter(|_| !place.is_directory()));
        let (entries, mut held) = self.listing(&first, directory.as_ref())?;
        let mut open = vec![(entries.into_iter(), held)];
        let mut count = 0;
        while let Some((entries, bytes)) = open.last_mut() {
            let Some(entry) = entries.next() else {
                held -= *bytes;
                open.pop();
                continue;
            };
            count += 1;
            if count > MOST_ENTRIES {
                return Err(GetError::TooMany { peer: self.peer(), limit: MOST_ENTRIES });
            }
            // Each is one name longer than the one that it is in, and names have a limit; so this ends.
            let below = recursive && entry.kind == EntryKind::Directory;
            let name = entry.name.clone();
            each(entry)?;
            if below {
                let path = listing_of(&self.target, Some(&name));
                let (entries, bytes) = self.listing(&path, Some(&name))?;
                held += bytes;
                if held > MOST_HELD {
                    let reason =
                        format!("with those above it is longer than {} MiB", MOST_HELD >> 20);
                    return Err(GetError::NoListing { peer: self.peer(), path, reason });
                }
                open.push((entries.into_iter(), bytes));
            }
        }
        Ok(count)
    }

    /// What the directory says that it is in. It is not asked for itself: that would begin a download, or take from a pipe.
    fn entry(&mut self, path: &FilePath) -> Result<Option<Entry>, GetError> {
        let parent = path.parent();
        let place = parent
            .as_ref()
            .map_or_else(|| "/files/".to_owned(), |parent| listing_of(&self.target, Some(parent)));
        let (listed, _) = self.listing(&place, parent.as_ref())?;
        Ok(listed.into_iter().find(|entry| entry.name == *path))
    }

    /// What is in one directory, and in how many bytes that was said.
    fn listing(
        &mut self,
        path: &str,
        directory: Option<&FilePath>,
    ) -> Result<(Vec<Entry>, usize), GetError> {
        let peer = self.peer();
        let response = self.ask(path, None, Some("application/json"))?;
        let none = |reason: String| GetError::NoListing { peer, path: path.to_owned(), reason };
        if response.status() != StatusCode::OK {
            return Err(self.refused(response, directory));
        }
        let media = response.headers().get(header::CONTENT_TYPE).and_then(|m| m.to_str().ok());
        let media: String = media.unwrap_or("of no type").chars().take(100).collect();
        if !media.starts_with("application/json") {
            return Err(none(format!("it is {media} and not JSON")));
        }
        let Some(bytes) = self.read_all(response, LONGEST_LISTING)? else {
            return Err(none(format!("it is longer than {} MiB", LONGEST_LISTING >> 20)));
        };
        let entries = match FileReply::from_json(&String::from_utf8_lossy(&bytes)) {
            Ok(FileReply::Entries(entries)) => entries,
            Ok(_) => return Err(none("it is a message of another kind".to_owned())),
            Err(error) => return Err(none(error.to_string())),
        };
        // Whatever a server lists, it stays in what was asked for.
        match entries.iter().find(|entry| entry.name.parent().as_ref() != directory) {
            Some(entry) => {
                let answer = format!("{} in the listing {path}", entry.name);
                Err(GetError::Answer { peer, answer })
            }
            None => Ok((entries, bytes.len())),
        }
    }
}

/// Bytes of the listing of one directory: about two hundred thousand entries with the longest names.
const LONGEST_LISTING: usize = 64 * 1024 * 1024;

/// Bytes of listings, of directories within each other, that are held at once.
const MOST_HELD: usize = 2 * LONGEST_LISTING;
