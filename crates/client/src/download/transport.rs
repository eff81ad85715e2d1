//! The interface of a protocol as a transport of downloads.

use anyport_proto::peer::Peer;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::download::{FileEnd, FileHead, Get, List, ListEnd};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::listing::Listed;

use super::file::{MOST_ENTRIES, RemoteFile, Sink};
use crate::connect::Socket;
use crate::error::{Error, ErrorKind};
use crate::target::Scope;

/// Receives the entries of a listing, one by one.
pub(super) type Each<'a> = &'a mut dyn FnMut(Listed) -> Result<(), Error>;

/// A transport of downloads: a connection over which one request follows the other.
pub(super) trait Transport {
    /// Requests a file from `offset` on. Returns its description, and where its content begins:
    /// over HTTP that may be 0, as a server need not know ranges.
    fn get(
        &mut self,
        asked: &RemoteFile,
        offset: u64,
        digest: Algorithm,
    ) -> Result<(RemoteFile, u64), Error>;

    /// Passes a piece of content to `sink`, at most `left` bytes and about `most`. Returns its
    /// length; `None` at the end of the content.
    fn content(
        &mut self,
        left: Option<u64>,
        most: usize,
        sink: &mut dyn Sink,
    ) -> Result<Option<u64>, Error>;

    /// Reads what follows the content of a file of `size` bytes.
    fn file_end(&mut self, size: u64) -> Result<FileEnd, Error>;

    /// Lists the entries of a place. `left_out`: name the entries that are left out too.
    fn list(
        &mut self,
        scope: &Scope,
        recursive: bool,
        left_out: bool,
        each: Each<'_>,
    ) -> Result<ListEnd, Error>;

    /// Returns the description of a file if a request for it is worth a listing.
    fn look(&mut self, _name: &FilePath) -> Result<Option<RemoteFile>, Error> {
        Ok(None)
    }

    /// Returns whether the server names no digests, and may send a file from its beginning.
    fn is_http(&self) -> bool {
        false
    }

    /// Returns the socket of a transport that connects by itself.
    fn socket(&self) -> Option<&Socket> {
        None
    }

    /// Closes the connection; all replies are here.
    fn close(self: Box<Self>);
}

/// A request.
pub(super) enum Ask<'a> {
    Get(&'a Get),
    List(&'a List),
}

/// A protocol of anyport whose replies follow the requests in order. Each is a [`Transport`].
pub(super) trait Dialogue {
    fn peer(&self) -> Peer;

    fn ask(&mut self, ask: &Ask<'_>) -> Result<(), Error>;

    fn head(&mut self) -> Result<FileHead, Error>;

    /// Passes one read's worth of content to `sink`, at most `left` and about `most` bytes.
    fn piece(&mut self, left: u64, most: usize, sink: &mut dyn Sink) -> Result<u64, Error>;

    fn end(&mut self, bytes: u64) -> Result<FileEnd, Error>;

    /// Reads the next piece of a listing; returns its end.
    fn listed(&mut self, listed: &mut Vec<Listed>) -> Result<Option<ListEnd>, Error>;

    /// Ends the requests. All replies have arrived, so its outcome does not matter.
    fn leave(&mut self);
}

impl<D: Dialogue> Transport for D {
    fn get(
        &mut self,
        asked: &RemoteFile,
        offset: u64,
        digest: Algorithm,
    ) -> Result<(RemoteFile, u64), Error> {
        let (name, name_raw) = (asked.name.text(), asked.name.raw());
        let get = Get { name, name_raw, offset, digest: Some(digest), token: None };
        self.ask(&Ask::Get(&get))?;
        let head = self.head()?;
        Ok((head.clone().into(), head.offset))
    }

    fn content(
        &mut self,
        left: Option<u64>,
        most: usize,
        sink: &mut dyn Sink,
    ) -> Result<Option<u64>, Error> {
        left.map(|left| self.piece(left, most, sink)).transpose()
    }

    fn file_end(&mut self, size: u64) -> Result<FileEnd, Error> {
        self.end(size)
    }

    fn list(
        &mut self,
        scope: &Scope,
        recursive: bool,
        left_out: bool,
        each: Each<'_>,
    ) -> Result<ListEnd, Error> {
        let (peer, path) = (self.peer(), scope.path());
        let path_raw = path.and_then(FilePath::raw);
        let path = path.map(FilePath::text);
        self.ask(&Ask::List(&List { path, path_raw, recursive, left_out, token: None }))?;
        let (mut count, mut entries, mut listed) = (0, 0, Vec::new());
        loop {
            let end = self.listed(&mut listed)?;
            count += listed.len() as u64;
            if count > MOST_ENTRIES {
                return Err(Error::at(peer, ErrorKind::TooMany(MOST_ENTRIES)));
            }
            entries += listed.iter().filter(|l| matches!(l, Listed::Entry(_))).count() as u64;
            listed.drain(..).try_for_each(&mut *each)?;
            match end {
                None => {}
                Some(end) if end.entries == entries => return Ok(end),
                Some(end) => {
                    let answer = format!("END with {} entries instead of {entries}", end.entries);
                    return Err(Error::at(peer, ErrorKind::Answer(answer)));
                }
            }
        }
    }

    fn close(mut self: Box<Self>) {
        self.leave();
    }
}
