//! A connection for downloads, over any transport.
//!
//! | level | checks | implementations |
//! |---|---|---|
//! | [`Wire`] | that the reply is what was requested; limits the rate | one |
//! | [`Transport`] | | HTTP, and every dialogue |
//! | `Dialogue` | the protocol | `Lines` (tcp), `Messages` (ws, frames): replies follow requests |

use std::time::Instant;

use anyport_net::pace::Pace;
use anyport_proto::peer::Peer;
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::download::{FileEnd, ListEnd};
use anyport_proto::transfer::hasher::Hasher;
use anyport_proto::transfer::refusal::RefusalCode;

use super::GetOptions;
use super::file::{RemoteFile, Sink};
use super::http::HttpWire;
use super::lines::Lines;
use super::messages::Messages;
use super::transport::{Each, Transport};
use crate::channel::ws::Parts;
use crate::connect::{Connection, Socket, connect};
use crate::error::{Error, ErrorKind, Transferred};
use crate::target::{Scheme, Scope, Target};

/// An open connection; one request after the other.
pub(super) struct Wire {
    pub(super) peer: Peer,
    transport: Box<dyn Transport>,
    pace: Option<Pace>,
    /// Where the transport has none of its own.
    socket: Option<Socket>,
}

impl Wire {
    pub(super) fn open(target: &Target, options: &GetOptions) -> Result<Self, Error> {
        let pace = options.limit_rate.map(Pace::new);
        if target.scheme == Scheme::Http {
            let http = HttpWire::open(target, options)?;
            let peer = http.peer();
            return Ok(Self { peer, transport: Box::new(http), pace, socket: None });
        }
        let Connection { stream, peer, socket } = connect(target, &options.connect)?;
        let transport: Box<dyn Transport> = match target.scheme {
            // Opened above: it connects by itself.
            Scheme::Http => return Err(ErrorKind::NoChannel.into()),
            Scheme::Tcp => Box::new(Lines::new(stream, peer, target.token.clone())),
            Scheme::Frames => Box::new(Messages::new(Parts::bare(stream), peer)),
            Scheme::Ws => {
                // Messages name the file; the path is that of the service.
                let service = Target { path: "/".to_owned(), ..target.clone() };
                let parts = Parts::handshake(stream, peer, &service, false)?;
                if !parts.announced {
                    return Err(Error::at(peer, ErrorKind::NoFiles));
                }
                Box::new(Messages::new(parts, peer))
            }
        };
        socket.end_handshake(options.connect.timeout);
        Ok(Self { peer, transport, pace, socket: Some(socket) })
    }

    /// Returns the socket, while it is connected.
    pub(super) fn socket(&self) -> Option<&Socket> {
        self.socket.as_ref().or_else(|| self.transport.socket())
    }

    /// Requests a file from `offset` on, and its digest. Returns its description and where its
    /// content begins, which over HTTP may be 0.
    pub(super) fn get(
        &mut self,
        asked: &RemoteFile,
        offset: u64,
        digest: Algorithm,
    ) -> Result<(RemoteFile, u64), Error> {
        let peer = self.peer;
        let unexpected = |remote: &RemoteFile, offset| {
            let size = remote.size.map_or_else(String::new, |size| format!(" of {size}"));
            let answer = format!("{} from byte {offset}{size}", remote.name);
            Error::at(peer, ErrorKind::Answer(answer))
        };
        let (remote, begins) = self.transport.get(asked, offset, digest)?;
        let anew = begins == 0 && self.transport.is_http();
        let is_asked = remote.name == asked.name && (begins == offset || anew);
        if !is_asked || remote.size.is_some_and(|size| begins > size) {
            return Err(unexpected(&remote, begins));
        }
        Ok((remote, begins))
    }

    /// Returns the description of a target that names one file, unless its listing has them.
    pub(super) fn look(&mut self, asked: &Scope) -> Result<Option<RemoteFile>, Error> {
        let Scope::File(name) = asked else { return Ok(None) };
        self.transport.look(name)
    }

    /// Passes all content of a file to `sink`, `left` bytes if that is known. Returns its length.
    pub(super) fn content(&mut self, left: Option<u64>, sink: &mut dyn Sink) -> Result<u64, Error> {
        let mut bytes = 0;
        while left != Some(bytes) {
            // Small pieces, so that the rate is even.
            let most = self.pace.as_ref().map_or(usize::MAX, Pace::most);
            let left = left.map(|left| left - bytes);
            let came = self.transport.content(left, most, sink);
            let Some(count) = came.map_err(|error| after(bytes, error))? else {
                if left.is_none() {
                    break;
                }
                let received = Transferred::Received(bytes);
                return Err(Error::lost(self.peer, received, crate::stream::ended()));
            };
            bytes += count;
            if let Some(pace) = &mut self.pace {
                pace.moved(count);
                let began = Instant::now();
                std::thread::sleep(pace.pause());
                sink.paused(began.elapsed());
            }
        }
        Ok(bytes)
    }

    /// Reads what follows the content of a file of `size` bytes.
    pub(super) fn file_end(&mut self, size: u64) -> Result<FileEnd, Error> {
        let end = self.transport.file_end(size)?;
        if end.bytes != size {
            let answer = format!("END after {} bytes instead of {size}", end.bytes);
            return Err(Error::at(self.peer, ErrorKind::Answer(answer)));
        }
        Ok(end)
    }

    /// Returns the digest of a file of `size` bytes on the server; `None` if it is another version,
    /// or the server names none.
    pub(super) fn digest(
        &mut self,
        file: &RemoteFile,
        size: u64,
        algorithm: Algorithm,
    ) -> Result<Option<Digest>, Error> {
        // Behind the last byte only the digest follows. HTTP has no such request, so the content is
        // received and hashed.
        let over_http = self.transport.is_http();
        let (head, begins) = self.get(file, if over_http { 0 } else { size }, algorithm)?;
        let left = head.size.unwrap_or(size).saturating_sub(begins);
        let mut content = Hashed(Hasher::new(algorithm));
        self.content(Some(left), &mut content)?;
        let end = self.file_end(begins + left)?;
        let digest = if over_http { content.0.finish() } else { end.digest };
        Ok(digest.filter(|_| head.agrees(file)))
    }

    /// Delivers all entries and omissions, one by one; returns the counts.
    pub(super) fn list(
        &mut self,
        target: &Target,
        options: &GetOptions,
        scope: &Scope,
        recursive: bool,
        each: Each<'_>,
    ) -> Result<ListEnd, Error> {
        match self.transport.list(scope, recursive, true, each) {
            // A server of an earlier version does not know `left_out`, and closes the connection.
            Err(error)
                if error.is_refused(RefusalCode::BadRequest) && !self.transport.is_http() =>
            {
                *self = Self::open(target, options)?;
                self.transport.list(scope, recursive, false, each)
            }
            listed => listed,
        }
    }

    /// Closes the connection.
    pub(super) fn close(self) {
        self.transport.close();
    }
}

/// Adds what had been received to a lost connection.
fn after(received: u64, error: Error) -> Error {
    error.moved(|moved| match moved {
        Transferred::Received(_) => Transferred::Received(received),
        other => other,
    })
}

/// Content that is hashed and not stored.
struct Hashed(Hasher);

impl Sink for Hashed {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.update(bytes);
        Ok(())
    }
}

/// Maximum memory of the entries of one listing while files are received: a million usual names.
pub(super) const MOST_LISTED_BYTES: usize = 192 * 1024 * 1024;
