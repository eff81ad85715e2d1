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
            Place::File(path) => match self.look(path) {
                Err(GetError::Directory { .. }) => Some(path.clone()),
                Err(error) => return Err(error),
                Ok(_) => return self.list_one(path, each),
            },
        };
        let first = listing_of(&self.target, place.path().filter(|_| !place.is_directory()));
        let mut open = vec![self.listing(&first, directory.as_ref())?.into_iter()];
        let mut count = 0;
        while let Some(entries) = open.last_mut() {
            let Some(entry) = entries.next() else {
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
                open.push(self.listing(&path, Some(&name))?.into_iter());
            }
        }
        Ok(count)
    }

    /// A file is listed by the directory that it is in; only there all is said of it.
    fn list_one(&mut self, path: &FilePath, each: Each<'_>) -> Result<u64, GetError> {
        let parent = path.parent();
        let place = parent
            .as_ref()
            .map_or_else(|| "/files/".to_owned(), |parent| listing_of(&self.target, Some(parent)));
        let listed = self.listing(&place, parent.as_ref())?;
        match listed.into_iter().find(|entry| entry.name == *path) {
            Some(entry) => each(entry).map(|()| 1),
            None => Ok(0),
        }
    }

    /// What is in one directory.
    fn listing(
        &mut self,
        path: &str,
        directory: Option<&FilePath>,
    ) -> Result<Vec<Entry>, GetError> {
        let peer = self.peer();
        let response = self.ask(path, None, Some("application/json"))?;
        let none = |reason: String| GetError::NoListing { peer, path: path.to_owned(), reason };
        if response.status() != StatusCode::OK {
            return Err(match directory {
                Some(name) => self.refused(response, name),
                None => GetError::Refused { peer, refusal: self.read(response).refusal() },
            });
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
            None => Ok(entries),
        }
    }
}

/// Bytes of the listing of one directory: about a hundred thousand entries.
const LONGEST_LISTING: usize = 16 * 1024 * 1024;
