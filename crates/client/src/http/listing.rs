//! Listings: one a directory, as our server gives them to who accepts JSON. What is in directories is asked for in turn.

use anyport_proto::transfer::download::{
    Entry, EntryKind, LeftOut, LeftOutReason, ListEnd, WholeListing,
};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::refusal::RefusalCode;
use http::{StatusCode, header};

use super::request::listing_of;
use super::wire::HttpWire;
use crate::download::{GetError, Listed, MOST_ENTRIES};
use crate::target::Place;

/// Takes what is listed, one by one.
type Each<'a> = &'a mut dyn FnMut(Listed) -> Result<(), GetError>;

impl HttpWire {
    /// All entries of a listing, a directory before what is in it.
    pub(crate) fn list(
        &mut self,
        place: &Place,
        recursive: bool,
        each: Each<'_>,
    ) -> Result<ListEnd, GetError> {
        let mut end = ListEnd::default();
        let directory = match place {
            Place::Top => None,
            Place::Directory(path) => Some(path.clone()),
            Place::File(path) => match self.entry(path)? {
                Some(entry) if entry.kind == EntryKind::File => {
                    end.entries = 1;
                    return each(Listed::Entry(entry)).map(|()| end);
                }
                // Its own listing says that it is none, or is not there.
                Some(_) | None => Some(path.clone()),
            },
        };
        let first = listing_of(&self.target, place.path().filter(|_| !place.is_directory()));
        let (listing, mut held) = self.listing(&first, directory.as_ref())?;
        let entries = left_out(listing, &mut end, each)?;
        let mut open = vec![(entries.into_iter(), held)];
        while let Some((entries, bytes)) = open.last_mut() {
            let Some(entry) = entries.next() else {
                held -= *bytes;
                open.pop();
                continue;
            };
            end.entries += 1;
            if end.entries > MOST_ENTRIES {
                return Err(GetError::TooMany { peer: self.peer(), limit: MOST_ENTRIES });
            }
            // Each is one name longer than the one that it is in, and names have a limit; so this ends.
            let below = recursive && entry.kind == EntryKind::Directory;
            let name = entry.name.clone();
            each(Listed::Entry(entry))?;
            if below {
                let path = listing_of(&self.target, Some(&name));
                let (listing, bytes) = match self.listing(&path, Some(&name)) {
                    Ok(listing) => listing,
                    // One directory that cannot be read does not stop the others.
                    Err(GetError::Refused { refusal, .. })
                        if matches!(refusal.code, RefusalCode::NotFound | RefusalCode::Storage) =>
                    {
                        let reason = LeftOutReason::Unreadable;
                        end.count(reason);
                        each(Listed::LeftOut(LeftOut::new(name.as_bytes(), reason)))?;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let entries = left_out(listing, &mut end, each)?;
                held += bytes;
                if held > MOST_HELD {
                    let reason =
                        format!("with its parent listings it exceeds {} MiB", MOST_HELD >> 20);
                    return Err(GetError::NoListing { peer: self.peer(), path, reason });
                }
                open.push((entries.into_iter(), bytes));
            }
        }
        Ok(end)
    }

    /// What the directory says that it is in. It is not asked for itself: that would begin a download, or take from a pipe.
    fn entry(&mut self, path: &FilePath) -> Result<Option<Entry>, GetError> {
        let parent = path.parent();
        let place = parent
            .as_ref()
            .map_or_else(|| "/files/".to_owned(), |parent| listing_of(&self.target, Some(parent)));
        let (listed, _) = self.listing(&place, parent.as_ref())?;
        Ok(listed.entries.into_iter().find(|entry| entry.name == *path))
    }

    /// What is in one directory, and in how many bytes that was said.
    fn listing(
        &mut self,
        path: &str,
        directory: Option<&FilePath>,
    ) -> Result<(WholeListing, usize), GetError> {
        let peer = self.peer();
        let response = self.ask(path, None, Some("application/json"))?;
        let none = |reason: String| GetError::NoListing { peer, path: path.to_owned(), reason };
        if response.status() != StatusCode::OK {
            return Err(self.refused(response, directory));
        }
        let media = response.headers().get(header::CONTENT_TYPE).and_then(|m| m.to_str().ok());
        let media: String = media.unwrap_or("of unknown type").chars().take(100).collect();
        if !media.starts_with("application/json") {
            return Err(none(format!("the response is {media}, not JSON")));
        }
        let Some(bytes) = self.read_all(response, MOST_HELD)? else {
            return Err(none(format!("the response is longer than {} MiB", MOST_HELD >> 20)));
        };
        let listing = WholeListing::from_json(&String::from_utf8_lossy(&bytes))
            .map_err(|error| none(error.to_string()))?;
        // Whatever a server lists, it stays in what was asked for.
        match listing.entries.iter().find(|entry| entry.name.parent().as_ref() != directory) {
            Some(entry) => {
                let answer = format!("{} in the listing of {path}", entry.name);
                Err(GetError::Answer { peer, answer })
            }
            None => Ok((listing, bytes.len())),
        }
    }
}

/// Passes on what a listing left out, and adds it to the counts; returns its entries.
fn left_out(
    listing: WholeListing,
    end: &mut ListEnd,
    each: Each<'_>,
) -> Result<Vec<Entry>, GetError> {
    let add = |count: &mut Option<u64>, more: Option<u64>| {
        *count = count.map_or(more, |count| Some(count.saturating_add(more.unwrap_or(0))));
    };
    if let Some(counted) = listing.end {
        add(&mut end.left_out, counted.left_out);
        add(&mut end.links, counted.links);
    }
    listing.left_out.into_iter().map(Listed::LeftOut).try_for_each(each)?;
    Ok(listing.entries)
}

/// Bytes of the listing of one directory, and of directories within each other that are held at once: 80,000 entries with
/// the longest names.
const MOST_HELD: usize = 32 * 1024 * 1024;
