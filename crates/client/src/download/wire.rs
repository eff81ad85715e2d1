//! A connection that files come over, whichever protocol it speaks.

use std::fs::File;
use std::net::SocketAddr;

use anyport_net::dial::dial;
use anyport_net::pace::Pace;
use anyport_proto::transfer::download::{Entry, FileEnd, FileHead, Get, List};

use super::lines::Lines;
use super::messages::Messages;
use super::{GetError, GetOptions};
use crate::channel::ws::WsChannel;
use crate::error::SendError;
use crate::send::{Options, alpn, prepare, set_patience};
use crate::stream::Stream;
use crate::target::{Scheme, Target};

/// An open connection; one question after the other.
pub(super) struct Wire {
    pub(super) peer: SocketAddr,
    kind: Kind,
    pace: Option<Pace>,
}

enum Kind {
    Lines(Lines),
    Messages(Box<Messages>),
}

/// What is asked.
pub(super) enum Ask<'a> {
    Get(&'a Get),
    List(&'a List),
}

/// How a listing goes on.
pub(super) enum Listed {
    More,
    /// With so many entries, says the server.
    End(u64),
}

/// Takes content as it comes.
pub(super) trait Sink {
    fn take(&mut self, bytes: &[u8]) -> Result<(), GetError>;

    /// The file, and the place in it, that the next bytes may be put into without being looked at.
    fn place(&self) -> Option<(&File, u64)> {
        None
    }

    /// So many bytes were put there.
    fn put(&mut self, count: u64) {
        let _ = count;
    }
}

impl Wire {
    pub(super) fn open(target: &Target, options: &GetOptions) -> Result<Self, GetError> {
        let stream =
            dial(&target.host, target.port, options.connect_timeout).map_err(SendError::from)?;
        let socket = Options { congestion: options.congestion.clone(), ..Options::default() };
        let (peer, _) = prepare(&stream, &socket)?;
        // Handshakes are short; then the longer patience of a transfer holds.
        set_patience(&stream, options.connect_timeout);
        let patient = stream.try_clone();
        let stream = Stream::open(stream, peer, target, alpn(target), &options.encryption)?;
        let kind = match target.scheme {
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
                    return Err(GetError::NoSubprotocol { peer });
                }
                Kind::Messages(Box::new(Messages::new(parts, peer)))
            }
        };
        // Without a second handle the short patience stays, which is worse for a slow disk and no error.
        if let Ok(stream) = patient {
            set_patience(&stream, options.timeout);
        }
        Ok(Self { peer, kind, pace: options.limit_rate.map(Pace::new) })
    }

    pub(super) fn get(&mut self, get: &Get) -> Result<FileHead, GetError> {
        match &mut self.kind {
            Kind::Lines(lines) => lines.ask(&Ask::Get(get)).and_then(|()| lines.head()),
            Kind::Messages(messages) => messages.ask(&Ask::Get(get)).and_then(|()| messages.head()),
        }
    }

    /// All content of a file, `left` bytes.
    pub(super) fn content(&mut self, mut left: u64, sink: &mut dyn Sink) -> Result<(), GetError> {
        let whole = left;
        while left > 0 {
            // Little at a time, so that bytes come evenly.
            let most = self.pace.as_ref().map_or(usize::MAX, Pace::most);
            let came = match &mut self.kind {
                Kind::Lines(lines) => lines.content(left, most, sink),
                Kind::Messages(messages) => messages.content(left, sink),
            };
            let count = came.map_err(|error| match error {
                GetError::BrokenOff { peer, source, .. } => {
                    GetError::BrokenOff { peer, received: whole - left, source }
                }
                other => other,
            })?;
            left -= count;
            if let Some(pace) = &mut self.pace {
                pace.moved(count);
                std::thread::sleep(pace.pause());
            }
        }
        Ok(())
    }

    /// What is said behind the content of a file of `size` bytes.
    pub(super) fn file_end(&mut self, size: u64) -> Result<FileEnd, GetError> {
        let end = match &mut self.kind {
            Kind::Lines(lines) => lines.file_end(size),
            Kind::Messages(messages) => messages.file_end(),
        }?;
        if end.bytes != size {
            let answer = format!("the end of {} bytes, {size} were announced", end.bytes);
            return Err(GetError::Answer { peer: self.peer, answer });
        }
        Ok(end)
    }

    /// All entries of a listing, one by one.
    pub(super) fn list(
        &mut self,
        list: &List,
        each: &mut dyn FnMut(Entry) -> Result<(), GetError>,
    ) -> Result<u64, GetError> {
        let peer = self.peer;
        match &mut self.kind {
            Kind::Lines(lines) => lines.ask(&Ask::List(list))?,
            Kind::Messages(messages) => messages.ask(&Ask::List(list))?,
        }
        let (mut count, mut entries) = (0, Vec::new());
        loop {
            let listed = match &mut self.kind {
                Kind::Lines(lines) => lines.listed(&mut entries)?,
                Kind::Messages(messages) => messages.listed(&mut entries)?,
            };
            count += entries.len() as u64;
            if count > MOST_ENTRIES {
                return Err(GetError::TooMany { peer, limit: MOST_ENTRIES });
            }
            entries.drain(..).try_for_each(&mut *each)?;
            match listed {
                Listed::More => {}
                Listed::End(announced) if announced == count => return Ok(count),
                Listed::End(announced) => {
                    let answer = format!("the end of {announced} entries, {count} came");
                    return Err(GetError::Answer { peer, answer });
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
        }
    }
}

/// A server that lists without an end must not fill our memory.
const MOST_ENTRIES: u64 = 1_000_000;
