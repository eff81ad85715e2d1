//! Raw TCP: the preface, content, an `END` line and a receipt line; or only the content.

use std::io::{self, Read, Write};

use anyport_proto::access::Token;
use anyport_proto::peer::Peer;
use anyport_proto::preface::{Reply, end_line, put_line, with_token};
use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::offer::Offer;
use anyport_proto::transfer::receipt::Receipt;

use super::{Transport, Written, ZERO_COPY_PIECE};
use crate::content::Content;
use crate::error::{Error, ErrorKind, LONGEST_ANSWER, Stopped, Transferred, cut};
use crate::stream::{BUFFER, Stream, ended};
use crate::syn::ask_for_syn;

pub(crate) struct RawChannel {
    stream: Stream,
    peer: Peer,
    plain: bool,
    /// Sent in each line, so that the first one has it.
    token: Option<Token>,
    half_closed: bool,
    buffer: Vec<u8>,
    /// Files to be written.
    queued: Vec<u8>,
    /// Bytes behind the last reply.
    unread: Vec<u8>,
}

impl Transport for RawChannel {
    fn put(
        &mut self,
        offer: &Offer,
        content: &mut Content,
        progress: &dyn Fn(u64),
    ) -> Result<Option<Receipt>, Error> {
        if offer.resume
            && let Some(receipt) = self.ask(offer, content)?
        {
            return Ok(Some(receipt));
        }
        let written = match self.write(offer, content, progress) {
            Err(Stopped::Local(error)) => {
                // To a server that was promised no size, a FIN would mean the end of the file; a
                // reset does not.
                let _ = self.stream.resets_at_end();
                return Err(error);
            }
            Err(Stopped::Broken(error)) => Err(error),
            Ok(complete) => Ok(complete),
        };
        // If the write failed because the server refused, its reply says so.
        let answer = self.answer();
        let broken = |source| Error::lost(self.peer, Transferred::Sent(content.bytes()), source);
        match (written, answer) {
            (_, Ok(Some(line))) => self.understand(&line),
            (Err(error), _) => Err(broken(error)),
            // A third-party server does not reply to plain bytes, and closes.
            (Ok(Written::All), Ok(None)) if self.plain => Ok(None),
            (Ok(_), Ok(None)) => Err(broken(ended())),
            (Ok(_), Err(error)) => Err(broken(error)),
        }
    }

    /// A half-close ends the connection for files.
    fn accepts_more(&self) -> bool {
        !self.half_closed
    }

    fn can_resume(&self) -> bool {
        !self.plain
    }

    fn pipeline(&mut self) -> Option<&mut RawChannel> {
        (!self.plain).then_some(self)
    }

    fn close(mut self: Box<Self>) -> Result<(), Error> {
        if !self.plain && !self.half_closed {
            ask_for_syn(&mut self.stream, self.token.as_ref());
        }
        // All receipts were checked, so the outcome does not matter.
        let _ = self.stream.finish();
        Ok(())
    }
}

impl RawChannel {
    pub(crate) fn new(stream: Stream, peer: Peer, plain: bool, token: Option<Token>) -> Self {
        Self {
            stream,
            peer,
            plain,
            token,
            half_closed: false,
            buffer: vec![0; BUFFER],
            queued: Vec::new(),
            unread: Vec::new(),
        }
    }

    fn line(&self, offer: &Offer) -> String {
        with_token(put_line(offer), self.token.as_ref())
    }

    /// Appends a whole file to the queue, and writes the queue if it is long enough.
    pub(crate) fn queue(
        &mut self,
        offer: &Offer,
        content: &[u8],
        digest: Option<&Digest>,
    ) -> Result<(), Error> {
        self.queued.extend_from_slice(self.line(offer).as_bytes());
        self.queued.extend_from_slice(content);
        self.queued.extend_from_slice(end_line(digest).as_bytes());
        if self.queued.len() < BUFFER { Ok(()) } else { self.flush() }
    }

    /// Writes the queue.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        let written = self.stream.write_all(&self.queued);
        self.queued.clear();
        written.map_err(|error| {
            // The server's refusal explains it better.
            match self.receipt() {
                Err(said) if matches!(said.kind(), ErrorKind::Refused(_)) => said,
                _ => Error::lost(self.peer, Transferred::Sent(0), error),
            }
        })
    }

    /// Reads the next receipt.
    pub(crate) fn receipt(&mut self) -> Result<Receipt, Error> {
        let peer = self.peer;
        let broken = |source| Error::lost(peer, Transferred::Sent(0), source);
        match self.answer() {
            Ok(Some(line)) => {
                let receipt = self.understand(&line)?;
                receipt.ok_or_else(|| Error::at(peer, ErrorKind::NoReceipt(cut(&line))))
            }
            Ok(None) => Err(broken(ended())),
            Err(error) => Err(broken(error)),
        }
    }

    /// Offers the content and waits for its offset. Returns the receipt of a file that the server
    /// has.
    fn ask(&mut self, offer: &Offer, content: &mut Content) -> Result<Option<Receipt>, Error> {
        let peer = self.peer;
        let broken = |source| Error::lost(peer, Transferred::Sent(0), source);
        let written = self.stream.write_all(self.line(offer).as_bytes());
        // A server that closed may have sent its reason.
        let line = match (self.answer(), written) {
            (Ok(Some(line)), _) => line,
            (_, Err(error)) | (Err(error), _) => return Err(broken(error)),
            (Ok(None), Ok(())) => return Err(broken(ended())),
        };
        match Reply::parse(&line) {
            Ok(Reply::Go { offset }) => content.resume_at(offset).map(|()| None),
            _ => self.understand(&line),
        }
    }

    fn write(
        &mut self,
        offer: &Offer,
        content: &mut Content,
        progress: &dyn Fn(u64),
    ) -> Result<Written, Stopped> {
        if !self.plain && !offer.resume {
            self.stream.write_all(self.line(offer).as_bytes())?;
        }
        loop {
            let zero_copy = match self.stream.plain() {
                Some(socket) => content.send_by_kernel(socket, ZERO_COPY_PIECE)?,
                None => None,
            };
            let count = match zero_copy {
                Some(sent) => {
                    if let Some(traced) = self.stream.traced() {
                        traced.sent_by_kernel(sent as u64);
                    }
                    sent
                }
                None => {
                    let count = content.read(&mut self.buffer).map_err(Stopped::Local)?;
                    self.stream.write_all(&self.buffer[..count])?;
                    count
                }
            };
            if count == 0 {
                break;
            }
            progress(content.bytes());
            if self.stream.has_something_to_say() {
                // A reply before the end is a refusal.
                return Ok(Written::UntilInterrupted);
            }
        }
        if self.plain || content.size().is_none() {
            self.half_closed = true;
            self.stream.finish()?;
        } else {
            self.stream.write_all(
                end_line(content.digest().map_err(Stopped::Local)?.as_ref()).as_bytes(),
            )?;
        }
        Ok(Written::All)
    }

    /// Returns the next line, or `None` when the stream ended between lines. A line of the protocol
    /// that ends with the stream is a lost connection, as its last value may be cut.
    fn answer(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.unread.iter().position(|byte| *byte == b'\n') {
                let rest = self.unread.split_off(at + 1);
                let mut line = std::mem::replace(&mut self.unread, rest);
                line.pop();
                return Ok(Some(line));
            }
            if self.unread.len() > LONGEST_ANSWER {
                return Ok(Some(std::mem::take(&mut self.unread)));
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) if self.unread.is_empty() => return Ok(None),
                Ok(0) if begins_a_reply(&self.unread) => return Err(ended()),
                Ok(0) => return Ok(Some(std::mem::take(&mut self.unread))),
                Ok(count) => self.unread.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn understand(&self, line: &[u8]) -> Result<Option<Receipt>, Error> {
        let peer = self.peer;
        match Reply::parse(line) {
            Ok(Reply::Receipt(receipt)) => Ok(Some(receipt)),
            Ok(Reply::Error(refusal)) => Err(Error::at(peer, ErrorKind::Refused(refusal))),
            Ok(_) | Err(_) => Err(Error::at(peer, ErrorKind::NoReceipt(cut(line)))),
        }
    }
}

/// Returns whether the bytes may begin a line of the protocol.
fn begins_a_reply(bytes: &[u8]) -> bool {
    let count = bytes.len().min(REPLY.len());
    bytes[..count] == REPLY.as_bytes()[..count]
}

/// The beginning of every line of the protocol.
const REPLY: &str = "ANYPORT/1 ";
