//! Downloads over raw TCP: requests and replies are lines, with content between them. Content
//! without a digest is written to the file by the kernel.

use std::io::{self, Read, Write};
use std::num::NonZeroU64;

use anyport_net::copy::{Received, Source, Splice};
use anyport_proto::access::Token;
use anyport_proto::peer::Peer;
use anyport_proto::preface::{Reply, get_line, list_line, parse_end, with_token};
use anyport_proto::transfer::download::{FileEnd, FileHead, ListEnd};
use anyport_proto::transfer::listing::Listed;

use super::file::Sink;
use super::transport::{Ask, Dialogue};
use crate::error::{Error, ErrorKind, LONGEST_ANSWER, Transferred, cut};
use crate::stream::{BUFFER, Stream, ended};
use crate::syn::ask_for_syn;

pub(super) struct Lines {
    stream: Stream,
    source: Source,
    peer: Peer,
    token: Option<Token>,
    buffer: Vec<u8>,
    /// Input that is not parsed yet.
    start: usize,
    end: usize,
}

impl Dialogue for Lines {
    fn peer(&self) -> Peer {
        self.peer
    }

    fn ask(&mut self, ask: &Ask<'_>) -> Result<(), Error> {
        let line = match ask {
            Ask::Get(get) => get_line(get),
            Ask::List(list) => list_line(list),
        };
        let line = with_token(line, self.token.as_ref());
        self.stream.write_all(line.as_bytes()).map_err(|error| self.broken(error))
    }

    fn head(&mut self) -> Result<FileHead, Error> {
        let line = self.line()?;
        match Reply::parse(&line) {
            Ok(Reply::File(head)) => Ok(head),
            reply => Err(self.unexpected(reply.ok(), &line)),
        }
    }

    fn piece(&mut self, left: u64, most: usize, sink: &mut dyn Sink) -> Result<u64, Error> {
        let left = left.min(most as u64);
        if self.start == self.end {
            let splice = sink.splice_target().zip(NonZeroU64::new(left));
            let splice = splice.map(|((file, at), limit)| Splice { file: file.clone(), at, limit });
            (self.start, self.end) = (0, 0);
            match self.read(splice.as_ref())? {
                Received::Spliced(count) => {
                    sink.put(count);
                    return Ok(count);
                }
                Received::Bytes(count) => self.end = count,
                Received::Fin => return Err(self.broken(ended())),
            }
        }
        let count = usize::try_from(left).unwrap_or(most).min(self.end - self.start);
        sink.take(&self.buffer[self.start..self.start + count])?;
        self.start += count;
        Ok(count as u64)
    }

    fn end(&mut self, bytes: u64) -> Result<FileEnd, Error> {
        let line = self.line()?;
        match parse_end(&line) {
            Ok(end) => Ok(FileEnd { bytes, digest: end.digest }),
            Err(_) => Err(self.unexpected(Reply::parse(&line).ok(), &line)),
        }
    }

    fn listed(&mut self, listed: &mut Vec<Listed>) -> Result<Option<ListEnd>, Error> {
        let line = self.line()?;
        match Reply::parse(&line) {
            Ok(Reply::Entry(entry)) => {
                listed.push(Listed::Entry(entry));
                Ok(None)
            }
            Ok(Reply::LeftOut(left_out)) => {
                listed.push(Listed::LeftOut(left_out));
                Ok(None)
            }
            Ok(Reply::ListEnd(end)) => Ok(Some(end)),
            reply => Err(self.unexpected(reply.ok(), &line)),
        }
    }

    fn leave(&mut self) {
        ask_for_syn(&mut self.stream, self.token.as_ref());
        // An end between two lines is a clean one.
        let _ = self.stream.finish();
    }
}

impl Lines {
    pub(super) fn new(stream: Stream, peer: Peer, token: Option<Token>) -> Self {
        let (source, buffer) = (Source::default(), vec![0; BUFFER]);
        Self { stream, source, peer, token, buffer, start: 0, end: 0 }
    }

    fn unexpected(&self, reply: Option<Reply>, line: &[u8]) -> Error {
        let peer = self.peer;
        match reply {
            Some(Reply::Error(refusal)) => Error::at(peer, ErrorKind::Refused(refusal)),
            _ => Error::at(peer, ErrorKind::Answer(cut(line))),
        }
    }

    /// Returns the next line, without its line feed.
    fn line(&mut self) -> Result<Vec<u8>, Error> {
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = unread.iter().position(|byte| *byte == b'\n') {
                let line = unread[..at].to_vec();
                self.start += at + 1;
                return Ok(line);
            }
            if unread.len() >= LONGEST_ANSWER {
                let line = unread.to_vec();
                return Err(self.unexpected(None, &line));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.fill()?;
        }
    }

    /// Reads at least one more byte.
    fn fill(&mut self) -> Result<(), Error> {
        match self.read(None)? {
            Received::Bytes(count) => {
                self.end += count;
                Ok(())
            }
            Received::Spliced(_) | Received::Fin => Err(self.broken(ended())),
        }
    }

    fn read(&mut self, splice: Option<&Splice>) -> Result<Received, Error> {
        loop {
            let room = &mut self.buffer[self.end..];
            let came = match self.stream.plain() {
                Some(socket) => {
                    let came = self.source.next(socket, room, splice);
                    if let Some(traced) = self.stream.traced() {
                        match &came {
                            Ok(Received::Spliced(count)) => traced.received_by_kernel(*count),
                            Ok(Received::Bytes(count)) => traced.read(Ok(&room[..*count])),
                            Ok(Received::Fin) => traced.read(Ok(&[])),
                            Err(error) => traced.read(Err(error)),
                        }
                    }
                    came
                }
                None => self.stream.read(room).map(|count| match count {
                    0 => Received::Fin,
                    count => Received::Bytes(count),
                }),
            };
            match came {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                came => return came.map_err(|error| self.broken(error)),
            }
        }
    }

    fn broken(&self, error: io::Error) -> Error {
        Error::lost(self.peer, Transferred::Received(0), error)
    }
}
