//! A file or a listing that a session sends, piece by piece; the session encodes the pieces.

use std::io;
use std::ops::Range;

use anyport_net::copy::Piece;
use anyport_proto::transfer::download::{Entry, FileEnd, LeftOut, ListEnd};
use anyport_proto::transfer::refusal::Refusal;

use crate::service::download::{Download, DownloadOutput};
use crate::service::listing::{Listed, Listing};

/// A file or a listing that is being sent.
pub(super) enum Sending {
    File(Download),
    /// All pieces were returned; the last ones may not be written yet.
    Ended(Download),
    List(Listing),
}

/// The next piece, which the session encodes.
pub(super) enum Output {
    /// This many bytes of the buffer; 0 if there is nothing to send yet.
    Content(usize),
    /// Content that the kernel can send from the file.
    Kernel(Piece),
    FileEnd(FileEnd),
    /// Entries, and the omissions between them.
    Listed(Vec<Entry>, Vec<LeftOut>),
    ListEnd(ListEnd),
    Refusal(Refusal),
}

impl Sending {
    /// Returns the next piece, and what remains to be sent after it; `None` when all pieces were
    /// returned and written.
    ///
    /// # Errors
    /// The file cannot be read further: the connection must be interrupted.
    pub(super) fn next(self, buffer: &mut [u8]) -> io::Result<Option<(Output, Option<Self>)>> {
        match self {
            Self::File(mut download) => match download.next(buffer) {
                Ok(DownloadOutput::Bytes(count)) => {
                    Ok(Some((Output::Content(count), Some(Self::File(download)))))
                }
                Ok(DownloadOutput::Kernel(piece)) => {
                    Ok(Some((Output::Kernel(piece), Some(Self::File(download)))))
                }
                Ok(DownloadOutput::End(end)) => {
                    Ok(Some((Output::FileEnd(end), Some(Self::Ended(download)))))
                }
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
                            return Ok(Some((Output::ListEnd(listing.end()), None)));
                        }
                        Ok(None) => break,
                        Err(refusal) => return Ok(Some((Output::Refusal(refusal), None))),
                    }
                }
                Ok(Some((Output::Listed(entries, left_out), Some(Self::List(listing)))))
            }
        }
    }

    /// Returns the same, with another range of the file behind the one that was sent.
    pub(super) fn with_range(self, bytes: Range<u64>) -> Self {
        match self {
            Self::File(mut download) | Self::Ended(mut download) => {
                download.next_range(bytes);
                Self::File(download)
            }
            Self::List(listing) => Self::List(listing),
        }
    }

    /// Records that `count` bytes of [`Output::Kernel`] were sent.
    pub(super) fn sent(&mut self, count: u64) {
        if let Self::File(download) = self {
            download.sent(count);
        }
    }

    /// Records that the connection was lost.
    pub(super) fn broken(self, reason: &str) {
        match self {
            Self::File(download) | Self::Ended(download) => download.broken(reason),
            Self::List(_) => {}
        }
    }
}

/// Number of entries in one piece: some kilobytes, at most one kilobyte each.
const ENTRIES_AT_ONCE: usize = 64;
