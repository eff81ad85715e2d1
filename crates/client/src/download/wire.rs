//! A connection that files come over, whichever protocol it speaks.

use std::net::SocketAddr;

use anyport_net::pace::Pace;
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::download::{FileEnd, Get, List, ListEnd};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::hasher::Hasher;
use anyport_proto::transfer::listing::Listed;
use anyport_proto::transfer::refusal::RefusalCode;

use super::GetOptions;
use super::file::{Ask, Facts, MOST_ENTRIES, Sink};
use super::http::HttpWire;
use super::lines::Lines;
use super::messages::Messages;
use crate::channel::ws::WsChannel;
use crate::connect::{Connection, connect};
use crate::error::{Error, ErrorKind, Transferred};
use crate::target::{Place, Scheme, Target};

/// An open connection; one question after the other.
pub(super) struct Wire {
    pub(super) peer: SocketAddr,
    kind: Kind,
    pace: Option<Pace>,
}

enum Kind {
    Lines(Lines),
    Messages(Box<Messages>),
    Http(Box<HttpWire>),
}

impl Wire {
    pub(super) fn open(target: &Target, options: &GetOptions) -> Result<Self, Error> {
        let pace = options.limit_rate.map(Pace::new);
        if target.scheme == Scheme::Http {
            let http = HttpWire::open(target, options)?;
            return Ok(Self { peer: http.peer(), kind: Kind::Http(Box::new(http)), pace });
        }
        let Connection { stream, peer, socket } = connect(target, &options.connect)?;
        let kind = match target.scheme {
            Scheme::Http => return Err(ErrorKind::NoChannel.into()),
            Scheme::Tcp => Kind::Lines(Lines::new(stream, peer, target.token.clone())),
            Scheme::Frames => {
                let parts = WsChannel::bare(stream, peer).into_parts();
                Kind::Messages(Box::new(Messages::new(parts, peer)))
            }
            Scheme::Ws => {
                // What is wanted is asked for in messages; the path is the one of the service.
                let service = Target { path: "/".to_owned(), ..target.clone() };
                let parts = WsChannel::handshake(stream, peer, &service, false)?.into_parts();
                if !parts.announced {
                    return Err(Error::at(peer, ErrorKind::NoFiles));
                }
                Kind::Messages(Box::new(Messages::new(parts, peer)))
            }
        };
        socket.end_handshake(options.connect.timeout);
        Ok(Self { peer, kind, pace })
    }

    /// Asks for a file from `offset` on, and for its digest. Gives what it is, and where its content begins: that may be at 0
    /// over HTTP, where a server need not know ranges.
    pub(super) fn get(
        &mut self,
        asked: &Facts,
        offset: u64,
        digest: Algorithm,
    ) -> Result<(Facts, u64), Error> {
        let peer = self.peer;
        let unexpected = |facts: &Facts, offset| {
            let size = facts.size.map_or_else(String::new, |size| format!(" of {size}"));
            let answer = format!("{} from byte {offset}{size}", facts.name);
            Error::at(peer, ErrorKind::Answer(answer))
        };
        let (name, name_raw) = (asked.name.text(), asked.name.raw());
        let get = Get { name, name_raw, offset, digest: Some(digest), token: None };
        let (facts, begins) = match &mut self.kind {
            Kind::Lines(lines) => {
                let head = lines.ask(&Ask::Get(&get)).and_then(|()| lines.head())?;
                (head.clone().into(), head.offset)
            }
            Kind::Messages(messages) => {
                let head = messages.ask(&Ask::Get(&get)).and_then(|()| messages.head())?;
                (head.clone().into(), head.offset)
            }
            Kind::Http(http) => http.get(asked, offset)?,
        };
        let anew = begins == 0 && matches!(self.kind, Kind::Http(_));
        let is_asked = facts.name == asked.name && (begins == offset || anew);
        if !is_asked || facts.size.is_some_and(|size| begins > size) {
            return Err(unexpected(&facts, begins));
        }
        Ok((facts, begins))
    }

    /// What a target that names one file is; none where that is asked of its listing.
    pub(super) fn look(&mut self, asked: &Place) -> Result<Option<Facts>, Error> {
        match (&mut self.kind, asked) {
            (Kind::Http(http), Place::File(name)) => http.look(name).map(Some),
            _ => Ok(None),
        }
    }

    /// All content of a file, `left` bytes if that is known; how many there were.
    pub(super) fn content(&mut self, left: Option<u64>, sink: &mut dyn Sink) -> Result<u64, Error> {
        let Some(whole) = left else { return self.content_to_its_end(sink) };
        let mut left = whole;
        while left > 0 {
            // Little at a time, so that bytes come evenly.
            let most = self.pace.as_ref().map_or(usize::MAX, Pace::most);
            let came = match &mut self.kind {
                Kind::Lines(lines) => lines.content(left, most, sink),
                Kind::Messages(messages) => messages.content(left, sink),
                Kind::Http(http) => match http.content(&mut AtMost { sink, left, peer: self.peer })
                {
                    Ok(None) => Err(Error::lost(
                        self.peer,
                        Transferred::Received(0),
                        crate::stream::ended(),
                    )),
                    came => came.map(Option::unwrap_or_default),
                },
            };
            let count = came.map_err(|error| after(whole - left, error))?;
            left -= count;
            if let Some(pace) = &mut self.pace {
                pace.moved(count);
                std::thread::sleep(pace.pause());
            }
        }
        Ok(whole)
    }

    /// The same where only its end tells how long it is.
    fn content_to_its_end(&mut self, sink: &mut dyn Sink) -> Result<u64, Error> {
        let Kind::Http(http) = &mut self.kind else { return Ok(0) };
        let mut bytes = 0;
        while let Some(count) = http.content(sink).map_err(|error| after(bytes, error))? {
            bytes += count;
            if let Some(pace) = &mut self.pace {
                pace.moved(count);
                std::thread::sleep(pace.pause());
            }
        }
        Ok(bytes)
    }

    /// What is said behind the content of a file of `size` bytes.
    pub(super) fn file_end(&mut self, size: u64) -> Result<FileEnd, Error> {
        let end = match &mut self.kind {
            Kind::Lines(lines) => lines.file_end(size),
            Kind::Messages(messages) => messages.file_end(),
            // The length was compared; a digest is not said.
            Kind::Http(_) => Ok(FileEnd { bytes: size, digest: None }),
        }?;
        if end.bytes != size {
            let answer = format!("END after {} bytes instead of {size}", end.bytes);
            return Err(Error::at(self.peer, ErrorKind::Answer(answer)));
        }
        Ok(end)
    }

    /// The digest of a file of `size` bytes on the server; `None` where it is another version by now,
    /// or the server says none.
    pub(super) fn digest(
        &mut self,
        file: &Facts,
        size: u64,
        algorithm: Algorithm,
    ) -> Result<Option<Digest>, Error> {
        // Behind the last byte only the end with its digest follows. HTTP has no such question, so
        // there the content is received and hashed.
        let over_http = matches!(self.kind, Kind::Http(_));
        let (head, begins) = self.get(file, if over_http { 0 } else { size }, algorithm)?;
        let left = head.size.unwrap_or(size).saturating_sub(begins);
        let mut content = Hashed(Hasher::new(algorithm));
        self.content(Some(left), &mut content)?;
        let end = self.file_end(begins + left)?;
        let digest = if over_http { content.0.finish() } else { end.digest };
        Ok(digest.filter(|_| head.agrees(file)))
    }

    /// Lists all entries, one by one, and what was left out; returns the counts.
    pub(super) fn list(
        &mut self,
        target: &Target,
        options: &GetOptions,
        place: &Place,
        recursive: bool,
        each: &mut dyn FnMut(Listed) -> Result<(), Error>,
    ) -> Result<ListEnd, Error> {
        let path = place.path();
        let mut list = List {
            path: path.map(FilePath::text),
            path_raw: path.and_then(FilePath::raw),
            recursive,
            left_out: true,
            token: None,
        };
        if let Kind::Http(http) = &mut self.kind {
            return http.list(place, recursive, each);
        }
        match self.list_once(&list, each) {
            // A server of an earlier version does not know the word, and closes the connection.
            Err(error) if error.is_refused(RefusalCode::BadRequest) => {
                *self = Self::open(target, options)?;
                list.left_out = false;
                self.list_once(&list, each)
            }
            listed => listed,
        }
    }

    fn list_once(
        &mut self,
        list: &List,
        each: &mut dyn FnMut(Listed) -> Result<(), Error>,
    ) -> Result<ListEnd, Error> {
        let peer = self.peer;
        match &mut self.kind {
            Kind::Lines(lines) => lines.ask(&Ask::List(list))?,
            Kind::Messages(messages) => messages.ask(&Ask::List(list))?,
            Kind::Http(_) => return Ok(ListEnd::default()),
        }
        let (mut count, mut entries, mut listed) = (0, 0, Vec::new());
        loop {
            let end = match &mut self.kind {
                Kind::Lines(lines) => lines.listed(&mut listed)?,
                Kind::Messages(messages) => messages.listed(&mut listed)?,
                Kind::Http(_) => return Ok(ListEnd::default()),
            };
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

    /// Says goodbye.
    pub(super) fn close(self) {
        match self.kind {
            // The end between two lines is the orderly one.
            Kind::Lines(mut lines) => lines.close(),
            Kind::Messages(messages) => messages.close(),
            Kind::Http(http) => http.close(),
        }
    }
}

/// A break, with what came before it.
fn after(received: u64, error: Error) -> Error {
    error.moved(|moved| match moved {
        Transferred::Received(_) => Transferred::Received(received),
        other => other,
    })
}

/// Content that is hashed and not kept.
struct Hashed(Hasher);

impl Sink for Hashed {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.update(bytes);
        Ok(())
    }
}

/// Content that was announced, and not a byte more.
struct AtMost<'a> {
    sink: &'a mut dyn Sink,
    left: u64,
    peer: SocketAddr,
}

impl Sink for AtMost<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() as u64 > self.left {
            let answer = "more content than was announced".to_owned();
            return Err(Error::at(self.peer, ErrorKind::Answer(answer)));
        }
        self.sink.take(bytes)
    }
}

/// Bytes that the entries of one listing take, while their files are received one by one: a million of usual names.
pub(super) const MOST_LISTED_BYTES: usize = 192 * 1024 * 1024;
