//! What a session sends of its own accord, one thing at a time: a file that was asked for, or a
//! listing.

use std::io;

use anyport_net::copy::Piece;
use anyport_proto::transfer::download::{Entry, FileEnd, LeftOut, ListEnd};
use anyport_proto::transfer::refusal::Refusal;

use crate::service::download::{Download, Next};
use crate::service::listing::{Listed, Listing};

/// A file or a listing on its way out.
pub(super) enum Sending {
    File(Download),
    /// Its end is said, and not yet written.
    Ended(Download),
    List(Listing),
}

/// What a session writes next. The protocol spells it.
pub(super) enum Say {
    /// So many bytes of the buffer; none where there is nothing to say yet.
    Content(usize),
    /// Content that nobody needs to look at.
    Unseen(Piece),
    FileEnd(FileEnd),
    /// Entries, and what was left out between them.
    Listed(Vec<Entry>, Vec<LeftOut>),
    ListEnd(ListEnd),
    Refusal(Refusal),
}

impl Sending {
    /// The next thing to say; `None` when all was said and written.
    ///
    /// # Errors
    /// The file cannot be sent on: the connection must break.
    pub(super) fn next(self, buffer: &mut [u8]) -> io::Result<Option<(Say, Option<Self>)>> {
        match self {
            Self::File(mut download) => match download.next(buffer) {
                Ok(Next::Bytes(count)) => {
                    Ok(Some((Say::Content(count), Some(Self::File(download)))))
                }
                Ok(Next::Unseen(piece)) => {
                    Ok(Some((Say::Unseen(piece), Some(Self::File(download)))))
                }
                Ok(Next::End(end)) => Ok(Some((Say::FileEnd(end), Some(Self::Ended(download))))),
                Err(error) => {
                    download.broken(&error.to_string());
                    Err(error)
                }
            },
            Self::Ended(download) => {
                download.finish();
                Ok(None)
            }
            Self::List(mut listing) => {
                let (mut entries, mut left_out) = (Vec::new(), Vec::new());
                while entries.len() + left_out.len() < ENTRIES_AT_ONCE {
                    match listing.next() {
                        Ok(Some(Listed::Entry(entry))) => entries.push(entry),
                        Ok(Some(Listed::LeftOut(entry))) => left_out.push(entry),
                        Ok(None) if entries.is_empty() && left_out.is_empty() => {
                            return Ok(Some((Say::ListEnd(listing.end()), None)));
                        }
                        Ok(None) => break,
                        Err(refusal) => return Ok(Some((Say::Refusal(refusal), None))),
                    }
                }
                Ok(Some((Say::Listed(entries, left_out), Some(Self::List(listing)))))
            }
        }
    }

    /// So many bytes of [`Say::Unseen`] are on their way.
    pub(super) fn sent(&mut self, count: u64) {
        if let Self::File(download) = self {
            download.sent(count);
        }
    }

    /// The connection broke.
    pub(super) fn broken(self, reason: &str) {
        match self {
            Self::File(download) | Self::Ended(download) => download.broken(reason),
            Self::List(_) => {}
        }
    }
}

/// Entries that are looked up and written together: some kilobytes, and one at the longest path
/// takes about one.
const ENTRIES_AT_ONCE: usize = 64;
