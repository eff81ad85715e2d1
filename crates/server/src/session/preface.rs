//! Raw TCP with a preface: lines that a person can type, named files one after the other (DESIGN
//! section 6).
//!
//! ```text
//!   ANYPORT/1 PUT photo.jpg size=5␊ hello END␊      ──►  ANYPORT/1 RECEIPT …␊   next line
//!   ANYPORT/1 PUT notes.txt␊ content until FIN       ──►  ANYPORT/1 RECEIPT …␊
//!   ANYPORT/1 GET photo.jpg␊                         ──►  ANYPORT/1 FILE …␊ hello END …␊
//!   ANYPORT/1 LIST␊                                  ──►  ANYPORT/1 ENTRY …␊ … END …␊
//!   ANYPORT/1 PIPE key␊ content until FIN            ──►  ANYPORT/1 PIPED …␊
//!   ANYPORT/1 TAKE key␊                              ──►  the content, FIN
//!   ANYPORT/1 TIME␊                                  ──►  ANYPORT/1 TIME Local time is: …␊
//!   ANYPORT/1 GREET␊                                 ──►  ANYPORT/1 GREETING Welcome to anyport!␊
//!   ANYPORT/1 HELP␊                                  ──►  ANYPORT/1 HELP PUT NAME …␊
//! ```
//!
//! While a reply to GET or LIST is sent nothing is read. Input after the request waits.

use std::borrow::Cow;
use std::io;
use std::time::Instant;

use anyport_net::copy::{Event, Interest, Placement, Read, Session};
use anyport_proto::access::Token;
use anyport_proto::limits::MAX_DISCARDED;
use anyport_proto::preface::{self, LineReader, Reply, Request, Verb};
use anyport_proto::transfer::download::{Get, List};
use anyport_proto::transfer::offer::{End, Offer};
use anyport_proto::transfer::receipt::{EndKind, Engine, Protocol};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use super::due::Due;
use super::http::help;
use super::lines::Lines;
use super::pipe::Pipe;
use super::raw_echo::RawEcho;
use super::sending::{Output, Sending};
use super::{
    AnySession, Context, Next, Produced, ServerSession, Successor, early_end, idle_reason,
};
use crate::access::Means;
use crate::service::files::{Begun, Upload, Waiting};
use crate::service::time::now_line;

pub(crate) struct Preface {
    context: Context,
    line: LineReader,
    /// The deadline of a line that has begun.
    due: Due,
    phase: Phase,
    /// Input after a request that is being answered; at most the rest of one read.
    waiting: Vec<u8>,
    /// The client has sent a valid token, or needs none.
    admitted: bool,
}

enum Phase {
    /// Between files, or inside a preface line.
    Request,
    /// Content until its announced size, or until FIN.
    Content(Upload),
    /// An offer whose partial file is still locked by its sender's last connection.
    Waiting(Box<Waiting>),
    /// All content was received; its `END` line was not.
    End(Upload),
    /// Refused, but its content is short and being sent: it and its `END` line are discarded.
    Discarded { left: u64 },
    /// A response is being sent.
    Sending(Sending),
    /// Refused; the lingering close discards further input.
    Refused,
}

impl Preface {
    pub(super) fn new(context: Context) -> Self {
        let line = LineReader::new(context.config.limits.preface_line);
        let due = Due::new(context.config.timeouts.handshake);
        let admitted = context.config.tokens.is_none();
        Self { context, line, due, phase: Phase::Request, waiting: Vec::new(), admitted }
    }

    /// Returns whether it is between two files, and refuses the next one.
    fn stop(&self, replies: &mut Vec<u8>) -> bool {
        let between =
            matches!(self.phase, Phase::Request) && self.line.is_empty() && self.waiting.is_empty();
        if between {
            let refusal = super::stopping();
            replies.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
        }
        between || matches!(self.phase, Phase::Refused)
    }

    fn put(&mut self, count: u64, at: Instant) {
        match std::mem::replace(&mut self.phase, Phase::Refused) {
            Phase::Content(mut upload) => {
                upload.put(count, at);
                let whole = upload.left() == Some(0);
                self.phase = if whole { Phase::End(upload) } else { Phase::Content(upload) };
            }
            phase => self.phase = phase,
        }
    }

    fn broken(&mut self, reason: &str) {
        match std::mem::replace(&mut self.phase, Phase::Refused) {
            Phase::Content(upload) | Phase::End(upload) => upload.interrupt(reason),
            Phase::Sending(sending) => sending.broken(reason),
            Phase::Request | Phase::Waiting(_) | Phase::Discarded { .. } | Phase::Refused => {}
        }
    }

    /// Returns whether a reply is being sent, or input waits for one.
    fn is_sending(&self) -> bool {
        match &self.phase {
            Phase::Sending(_) => true,
            Phase::Waiting(waiting) => waiting.wait().is_none(),
            _ => !self.waiting.is_empty(),
        }
    }

    fn send(
        &mut self,
        sending: Sending,
        buffer: &mut [u8],
        replies: &mut Vec<u8>,
    ) -> io::Result<Produced> {
        let Some((say, rest)) = sending.next(buffer)? else {
            self.phase = Phase::Request;
            return Ok(Produced::Next(Next::Continue));
        };
        self.phase = rest.map_or(Phase::Request, Phase::Sending);
        let mut line = |reply: Reply| replies.extend_from_slice(reply.to_line().as_bytes());
        match say {
            Output::Content(count) => return Ok(Produced::Bytes(count)),
            Output::Kernel(piece) => return Ok(Produced::File(piece)),
            Output::FileEnd(end) => {
                replies.extend_from_slice(preface::end_line(end.digest.as_ref()).as_bytes());
            }
            Output::Listed(entries, left_out) => {
                entries.into_iter().for_each(|entry| line(Reply::Entry(entry)));
                left_out.into_iter().for_each(|entry| line(Reply::LeftOut(entry)));
            }
            Output::ListEnd(end) => line(Reply::ListEnd(end)),
            Output::Refusal(refusal) => line(Reply::Error(refusal)),
        }
        Ok(Produced::Next(Next::Continue))
    }

    fn bytes(
        &mut self,
        mut bytes: &[u8],
        at: Instant,
        replies: &mut Vec<u8>,
    ) -> Result<Next, Refusal> {
        loop {
            match std::mem::replace(&mut self.phase, Phase::Refused) {
                Phase::Content(mut upload) => {
                    let left = upload.left().unwrap_or(u64::MAX);
                    let wanted = usize::try_from(left).unwrap_or(usize::MAX);
                    let (content, rest) = bytes.split_at(wanted.min(bytes.len()));
                    bytes = rest;
                    if let Err(refusal) = upload.write(content, at) {
                        return Err(upload.abandon(refusal));
                    }
                    if upload.left() != Some(0) {
                        self.phase = Phase::Content(upload);
                        return Ok(Next::Continue);
                    }
                    self.phase = Phase::End(upload);
                }
                Phase::Request => {
                    self.phase = Phase::Request;
                    let Some(line) = self.take_line(&mut bytes, at)? else {
                        return Ok(Next::Continue);
                    };
                    if let Some(session) = self.request(&line, replies)? {
                        return Ok(Successor::session(session, bytes.to_vec()));
                    }
                }
                Phase::End(upload) => {
                    self.phase = Phase::End(upload);
                    let Some(line) = self.take_line(&mut bytes, at)? else {
                        return Ok(Next::Continue);
                    };
                    self.end(&line, replies)?;
                }
                Phase::Discarded { left } => {
                    let passed = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[passed..];
                    let left = left - passed as u64;
                    self.phase = Phase::Discarded { left };
                    if left > 0 {
                        return Ok(Next::Continue);
                    }
                    // The line does not matter: its file has been refused.
                    if self.take_line(&mut bytes, at)?.is_none() {
                        return Ok(Next::Continue);
                    }
                    self.phase = Phase::Request;
                }
                phase @ (Phase::Sending(_) | Phase::Waiting(_)) => {
                    self.phase = phase;
                    self.waiting.extend_from_slice(bytes);
                    return Ok(Next::Continue);
                }
                Phase::Refused => return Ok(Next::Finish),
            }
        }
    }

    /// Performs the request of a line. Returns the successor, if there is one.
    fn request(
        &mut self,
        line: &[u8],
        replies: &mut Vec<u8>,
    ) -> Result<Option<AnySession>, Refusal> {
        let parsed = preface::parse_line(line);
        if let Ok((_, token)) = &parsed {
            self.context.record.request();
            self.admit(token.as_ref())?;
        }
        match parsed.map(|(request, _)| request) {
            Ok(Request::Put(offer)) => self.begin(offer, replies)?,
            Ok(Request::Get(get)) => self.get(&get, replies),
            Ok(Request::List(list)) => self.list(&list, replies),
            Ok(Request::Echo) => {
                self.context.record.sends_content();
                let echo = RawEcho::new(self.context.config.timeouts.idle);
                return Ok(Some(AnySession::of(echo)));
            }
            Ok(Request::Join(join)) => {
                let lines = Lines::new(self.context.clone(), join);
                return Ok(Some(AnySession::of(lines)));
            }
            Ok(Request::Give(give)) => {
                let (pipes, participant) = (&self.context.pipes, self.context.participant());
                let sender = participant.and_then(|peer| pipes.give(peer, &give, None));
                let sender = sender.map_err(|refusal| self.refuse_line(refusal))?;
                let pipe = Pipe::give(self.context.clone(), sender, give.size);
                return Ok(Some(AnySession::of(pipe)));
            }
            Ok(Request::Take(take)) => {
                let (pipes, participant) = (&self.context.pipes, self.context.participant());
                let receiver = participant.and_then(|peer| pipes.take(peer, &take.key, None));
                let receiver = receiver.map_err(|refusal| self.refuse_line(refusal))?;
                let pipe = Pipe::take(self.context.clone(), receiver, take.head);
                return Ok(Some(AnySession::of(pipe)));
            }
            Ok(Request::Other(verb)) => {
                let reply = match verb {
                    Verb::Time => Reply::Time(now_line()),
                    Verb::Greet => Reply::Greeting(self.context.config.greeting.to_string()),
                    Verb::Help => Reply::Help(help::lines(self.context.grant.rights())),
                    Verb::Syn => Reply::Syn(self.context.reported_syn().to_string()),
                };
                replies.extend_from_slice(reply.to_line().as_bytes());
            }
            Err(error) => {
                let reason =
                    if self.admitted { error.to_string() } else { error.without_words(line) };
                let refusal = Refusal::new(RefusalCode::BadRequest, reason).with_hint(
                    "try ANYPORT/1 HELP, ANYPORT/1 PUT NAME size=BYTES, ANYPORT/1 GET \
                    NAME or ANYPORT/1 LIST",
                );
                return Err(self.refuse_line(refusal));
            }
        }
        Ok(None)
    }

    /// Begins to receive the file that a line offers.
    fn begin(&mut self, offer: Offer, replies: &mut Vec<u8>) -> Result<(), Refusal> {
        let Offer { resume, size, .. } = offer;
        let source = self.context.source(Protocol::Raw, Engine::Own);
        let begun = self.context.files.offered(source, offer);
        self.begun(begun, resume, size, replies)
    }

    /// Tries again what waited; only offers to resume do.
    fn retry(&mut self, waiting: Box<Waiting>, replies: &mut Vec<u8>) -> Result<Next, Refusal> {
        let begun = self.context.files.retry(waiting);
        self.begun(begun, true, None, replies).map(|()| Next::Continue)
    }

    fn begun(
        &mut self,
        begun: Result<Begun, Refusal>,
        resume: bool,
        size: Option<u64>,
        replies: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        self.phase = Phase::Refused;
        let upload = match begun {
            Ok(Begun::Upload(upload)) => *upload,
            Ok(Begun::Waiting(waiting)) => {
                self.phase = Phase::Waiting(waiting);
                return Ok(());
            }
            Err(refusal) => {
                // The sender waits, or its content can be discarded: the next file may succeed.
                self.phase = match size {
                    _ if resume => Phase::Request,
                    Some(left) if left <= MAX_DISCARDED => Phase::Discarded { left },
                    _ => return Err(refusal),
                };
                replies.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
                return Ok(());
            }
        };
        if resume && upload.is_here() {
            let receipt = upload.finish(EndKind::AlreadyHere, &End::default())?;
            replies.extend_from_slice(Reply::Receipt(receipt).to_line().as_bytes());
            self.phase = Phase::Request;
            return Ok(());
        }
        if resume {
            let go = Reply::Go { offset: upload.offset() };
            replies.extend_from_slice(go.to_line().as_bytes());
        }
        self.phase = Phase::Content(upload);
        Ok(())
    }

    /// Checks the token. A valid one is needed once on a connection, and a missing or wrong one
    /// ends it: unwanted content may follow.
    fn admit(&mut self, token: Option<&Token>) -> Result<(), Refusal> {
        if self.admitted {
            return Ok(());
        }
        self.context.grant = self.context.admit("raw", token).map_err(|denied| {
            self.phase = Phase::Refused;
            denied.refusal(Means::Line)
        })?;
        self.admitted = true;
        Ok(())
    }

    /// A question that cannot be answered ends nothing: the next line may.
    fn get(&mut self, get: &Get, replies: &mut Vec<u8>) {
        let source = self.context.source(Protocol::Raw, Engine::Own);
        let reply = match self.context.files.open_download(source, get) {
            Ok(download) => {
                let head = Reply::File(download.head().clone());
                self.phase = Phase::Sending(Sending::File(download));
                head
            }
            Err(refusal) => Reply::Error(refusal),
        };
        replies.extend_from_slice(reply.to_line().as_bytes());
    }

    fn list(&mut self, list: &List, replies: &mut Vec<u8>) {
        match self.context.list(self.context.source(Protocol::Raw, Engine::Own), list) {
            Ok(listing) => self.phase = Phase::Sending(Sending::List(listing)),
            Err(refusal) => replies.extend_from_slice(Reply::Error(refusal).to_line().as_bytes()),
        }
    }

    fn end(&mut self, line: &[u8], replies: &mut Vec<u8>) -> Result<(), Refusal> {
        let Phase::End(upload) = std::mem::replace(&mut self.phase, Phase::Request) else {
            return Ok(());
        };
        let end = match preface::parse_end(line) {
            Ok(end) => end,
            Err(error) => {
                // If the sender counted wrong, the line is content.
                let refusal = Refusal::new(RefusalCode::BadRequest, error.without_words(line))
                    .with_hint("send END or END blake3:HEX after the announced bytes");
                return Err(upload.abandon(refusal));
            }
        };
        // The next file may follow in any case, because its start is known.
        let reply = match upload.finish(EndKind::Size, &end) {
            Ok(receipt) => Reply::Receipt(receipt),
            Err(refusal) => Reply::Error(refusal),
        };
        replies.extend_from_slice(reply.to_line().as_bytes());
        Ok(())
    }

    fn end_of_stream(&mut self, replies: &mut Vec<u8>) -> Result<Next, Refusal> {
        // Earlier requests are answered first; then the end is repeated.
        if self.is_sending() {
            return Ok(Next::Continue);
        }
        match std::mem::replace(&mut self.phase, Phase::Refused) {
            Phase::Content(upload) if upload.left().is_none() => {
                let receipt = upload.finish(EndKind::Fin, &End::default())?;
                replies.extend_from_slice(Reply::Receipt(receipt).to_line().as_bytes());
            }
            Phase::Content(upload) | Phase::End(upload) => {
                let reason = match upload.left() {
                    Some(left) if left > 0 => early_end(left),
                    _ => "the stream ended before its END line".to_owned(),
                };
                upload.interrupt(reason.clone());
                return Err(Refusal::new(RefusalCode::Interrupted, reason));
            }
            Phase::Request if self.line.is_empty() => {}
            Phase::Request => {
                let refusal =
                    Refusal::new(RefusalCode::BadRequest, "the stream ended inside a line");
                return Err(self.refuse_line(refusal));
            }
            Phase::Discarded { .. } | Phase::Waiting(_) | Phase::Sending(_) | Phase::Refused => {}
        }
        Ok(Next::Finish)
    }

    fn silence(&mut self, replies: &mut Vec<u8>) -> Result<Next, Refusal> {
        // The other connection has not let go in time: this is the last attempt.
        match std::mem::replace(&mut self.phase, Phase::Refused) {
            Phase::Waiting(waiting) => return self.retry(waiting, replies),
            phase => self.phase = phase,
        }
        let reason = idle_reason(self.context.config.timeouts.idle);
        let refusal = Refusal::new(RefusalCode::Interrupted, reason.clone());
        replies.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
        self.broken(&reason);
        Ok(Next::Finish)
    }

    /// A line that is not whole in time. The client may have been stopped, so it may try again.
    fn late(&mut self) -> Refusal {
        let refusal = Refusal::new(RefusalCode::Interrupted, self.due.reason("a line"));
        self.due.end();
        match std::mem::replace(&mut self.phase, Phase::Refused) {
            Phase::Content(upload) | Phase::End(upload) => {
                upload.interrupt(&refusal.message);
                refusal
            }
            _ => self.refuse_line(refusal),
        }
    }

    /// The next whole line from the front of `bytes`, and `bytes` after it.
    fn take_line(&mut self, bytes: &mut &[u8], at: Instant) -> Result<Option<Vec<u8>>, Refusal> {
        let pushed = match self.line.push(bytes) {
            Ok(pushed) => pushed,
            Err(error) => {
                let refusal = Refusal::new(RefusalCode::BadRequest, error.to_string());
                return Err(match std::mem::replace(&mut self.phase, Phase::Refused) {
                    Phase::Content(upload) | Phase::End(upload) => upload.abandon(refusal),
                    Phase::Request
                    | Phase::Waiting(_)
                    | Phase::Discarded { .. }
                    | Phase::Sending(_)
                    | Phase::Refused => self.refuse_line(refusal),
                });
            }
        };
        *bytes = &bytes[pushed.used..];
        let line = pushed.line.map(Cow::into_owned);
        if line.is_some() {
            self.due.end();
        } else if !self.line.is_empty() {
            self.due.begin(at);
        }
        Ok(line)
    }

    /// Reports a refusal that no upload reports, because no transfer began.
    fn refuse_line(&mut self, refusal: Refusal) -> Refusal {
        self.phase = Phase::Refused;
        self.context.refused("raw", &refusal.message);
        refusal
    }
}

impl ServerSession for Preface {}

impl Session for Preface {
    type Successor = Successor;

    fn interest(&self) -> Interest {
        let (read, may_block) = match &self.phase {
            Phase::Content(upload) => (upload.splice().into(), upload.may_block()),
            Phase::End(upload) => (Read::Bytes, upload.may_block()),
            Phase::Refused => (Read::Bytes, false),
            // The end of a request line begins a file, or opens one.
            _ => (Read::Bytes, true),
        };
        // Before deciding what to produce: the gate may open in between.
        let wait = match &self.phase {
            Phase::Waiting(waiting) => waiting.wait(),
            _ => None,
        };
        let produce = wait.is_none() && self.is_sending();
        // Between two files a bulk thread would not notice a shutdown, and it is not for waiting.
        let is_between = matches!(self.phase, Phase::Request) && self.waiting.is_empty();
        let place =
            if is_between || wait.is_some() { Placement::Runtime } else { Placement::Thread };
        let idle = self.due.idle_timeout(self.context.config.timeouts.idle);
        Interest { read, produce, wait, may_block, place, ..Interest::input(idle) }
    }

    fn handle(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<u8>) -> Next {
        let handled = match event {
            Event::Bytes(_) if self.due.is_late(now) => Err(self.late()),
            Event::Idle if self.due.is_late_when_idle(now) => Err(self.late()),
            Event::Bytes(bytes) => self.bytes(bytes, now, out),
            Event::Spliced(count) => {
                self.put(count, now);
                Ok(Next::Continue)
            }
            Event::Sent(count) => {
                if let Phase::Sending(sending) = &mut self.phase {
                    sending.sent(count);
                }
                Ok(Next::Continue)
            }
            Event::EndOfStream => self.end_of_stream(out),
            Event::Idle => self.silence(out),
            Event::Shutdown if self.stop(out) => Ok(Next::Finish),
            Event::Lost(reason) => {
                self.broken(reason);
                Ok(Next::Continue)
            }
            Event::Shutdown | Event::Timer => Ok(Next::Continue),
        };
        handled.unwrap_or_else(|refusal| {
            out.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
            Next::Finish
        })
    }

    /// Returns the next piece of an answer. Once it is complete, handles the input that waited.
    fn produce(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<Produced> {
        match std::mem::replace(&mut self.phase, Phase::Refused) {
            Phase::Sending(sending) => self.send(sending, buffer, out),
            Phase::Waiting(waiting) => {
                let next = self.retry(waiting, out).unwrap_or_else(|refusal| {
                    out.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
                    Next::Finish
                });
                Ok(Produced::Next(next))
            }
            phase => {
                self.phase = phase;
                let mut waiting = std::mem::take(&mut self.waiting);
                // Read long ago, but the peer could not be late while nothing was read.
                Ok(Produced::Next(self.handle(Event::Bytes(&mut waiting), Instant::now(), out)))
            }
        }
    }
}
