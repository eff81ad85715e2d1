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
//! While an answer to GET or LIST goes out nothing is read. What came behind the question waits.

use std::borrow::Cow;
use std::io;
use std::time::Instant;

use anyport_net::copy::{Event, Interest, Placement, Read, Session};
use anyport_proto::access::Token;
use anyport_proto::limits::MAX_PASSED_OVER;
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
use super::sending::{Say, Sending};
use super::{AnySession, Context, Next, Produced, Successor, early_end, idle_reason};
use crate::access::Means;
use crate::service::files::{Begun, Upload, Waiting};
use crate::service::time::now_line;

pub(crate) struct Preface {
    context: Context,
    line: LineReader,
    /// When a line that has begun must be whole.
    due: Due,
    state: State,
    /// What came behind a question that is being answered: the rest of one read at most.
    waiting: Vec<u8>,
    /// It has shown a token, or needs none.
    admitted: bool,
}

enum State {
    /// Between files, or inside a preface line.
    Request,
    /// Content until its announced size, or until FIN.
    Content(Upload),
    /// An offer whose partial file the last connection of its sender still holds.
    Waiting(Box<Waiting>),
    /// All content is here; its `END` line is not.
    End(Upload),
    /// Refused, but its content is on its way and short; then comes its `END` line.
    PassedOver { left: u64 },
    /// An answer goes out.
    Sending(Sending),
    /// Refused; what still comes is drained by the lingering close.
    Refused,
}

impl Preface {
    pub(super) fn new(context: Context) -> Self {
        let line = LineReader::new(context.config.limits.preface_line);
        let due = Due::new(context.config.timeouts.handshake);
        let admitted = context.config.tokens.is_none();
        Self { context, line, due, state: State::Request, waiting: Vec::new(), admitted }
    }

    /// Whether it stands between two files; the peer, who may be about to send another, is told.
    fn stop(&self, replies: &mut Vec<u8>) -> bool {
        let between =
            matches!(self.state, State::Request) && self.line.is_empty() && self.waiting.is_empty();
        if between {
            let refusal = super::stopping();
            replies.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
        }
        between || matches!(self.state, State::Refused)
    }

    fn put(&mut self, count: u64, at: Instant) {
        match std::mem::replace(&mut self.state, State::Refused) {
            State::Content(mut upload) => {
                upload.put(count, at);
                let whole = upload.left() == Some(0);
                self.state = if whole { State::End(upload) } else { State::Content(upload) };
            }
            state => self.state = state,
        }
    }

    fn broken(&mut self, reason: &str) {
        match std::mem::replace(&mut self.state, State::Refused) {
            State::Content(upload) | State::End(upload) => upload.interrupt(reason),
            State::Sending(sending) => sending.broken(reason),
            State::Request | State::Waiting(_) | State::PassedOver { .. } | State::Refused => {}
        }
    }

    /// Whether an answer goes out, or something waits behind one.
    fn is_sending(&self) -> bool {
        match &self.state {
            State::Sending(_) => true,
            State::Waiting(waiting) => waiting.wait().is_none(),
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
            self.state = State::Request;
            return Ok(Produced::Next(Next::Continue));
        };
        self.state = rest.map_or(State::Request, State::Sending);
        let mut line = |reply: Reply| replies.extend_from_slice(reply.to_line().as_bytes());
        match say {
            Say::Content(count) => return Ok(Produced::Bytes(count)),
            Say::Unseen(piece) => return Ok(Produced::File(piece)),
            Say::FileEnd(end) => {
                replies.extend_from_slice(preface::end_line(end.digest.as_ref()).as_bytes());
            }
            Say::Listed(entries, left_out) => {
                entries.into_iter().for_each(|entry| line(Reply::Entry(entry)));
                left_out.into_iter().for_each(|entry| line(Reply::LeftOut(entry)));
            }
            Say::ListEnd(end) => line(Reply::ListEnd(end)),
            Say::Refusal(refusal) => line(Reply::Error(refusal)),
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
            match std::mem::replace(&mut self.state, State::Refused) {
                State::Content(mut upload) => {
                    let wanted = upload
                        .left()
                        .map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
                    let (content, rest) = bytes.split_at(wanted.min(bytes.len()));
                    bytes = rest;
                    if let Err(refusal) = upload.write(content, at) {
                        return Err(upload.abandon(refusal));
                    }
                    if upload.left() != Some(0) {
                        self.state = State::Content(upload);
                        return Ok(Next::Continue);
                    }
                    self.state = State::End(upload);
                }
                State::Request => {
                    self.state = State::Request;
                    let Some(line) = self.take_line(&mut bytes, at)? else {
                        return Ok(Next::Continue);
                    };
                    if let Some(session) = self.request(&line, replies)? {
                        return Ok(Successor::session(session, bytes.to_vec()));
                    }
                }
                State::End(upload) => {
                    self.state = State::End(upload);
                    let Some(line) = self.take_line(&mut bytes, at)? else {
                        return Ok(Next::Continue);
                    };
                    self.end(&line, replies)?;
                }
                State::PassedOver { left } => {
                    let passed = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[passed..];
                    let left = left - passed as u64;
                    self.state = State::PassedOver { left };
                    if left > 0 {
                        return Ok(Next::Continue);
                    }
                    // Whatever it says: its file has been refused.
                    if self.take_line(&mut bytes, at)?.is_none() {
                        return Ok(Next::Continue);
                    }
                    self.state = State::Request;
                }
                state @ (State::Sending(_) | State::Waiting(_)) => {
                    self.state = state;
                    self.waiting.extend_from_slice(bytes);
                    return Ok(Next::Continue);
                }
                State::Refused => return Ok(Next::Finish),
            }
        }
    }

    /// Does what a line asks for. Returns the session that takes over, if one does.
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
                let echo = RawEcho::new(self.context.config.timeouts.idle);
                return Ok(Some(AnySession::Echo(Box::new(echo))));
            }
            Ok(Request::Join(join)) => {
                let lines = Lines::new(self.context.clone(), join);
                return Ok(Some(AnySession::Lines(Box::new(lines))));
            }
            Ok(Request::Give(give)) => {
                let sender = self.context.pipes.give(self.context.peer.ip(), &give, None);
                let sender = sender.map_err(|refusal| self.refuse_line(refusal))?;
                let pipe = Pipe::give(self.context.clone(), sender, give.size);
                return Ok(Some(AnySession::Pipe(Box::new(pipe))));
            }
            Ok(Request::Take(take)) => {
                let receiver = self.context.pipes.take(self.context.peer.ip(), &take.key, None);
                let receiver = receiver.map_err(|refusal| self.refuse_line(refusal))?;
                let pipe = Pipe::take(self.context.clone(), receiver, take.head);
                return Ok(Some(AnySession::Pipe(Box::new(pipe))));
            }
            Ok(Request::Other(verb)) => {
                let reply = match verb {
                    Verb::Time => Reply::Time(now_line()),
                    Verb::Greet => Reply::Greeting(self.context.config.greeting.to_string()),
                    Verb::Help => Reply::Help(help::lines(self.context.config.startup.file_access)),
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
        self.state = State::Refused;
        let upload = match begun {
            Ok(Begun::Upload(upload)) => *upload,
            Ok(Begun::Waiting(waiting)) => {
                self.state = State::Waiting(waiting);
                return Ok(());
            }
            Err(refusal) => {
                // The sender waits, or what it sends can be passed over: the next file may fare
                // better.
                self.state = match size {
                    _ if resume => State::Request,
                    Some(left) if left <= MAX_PASSED_OVER => State::PassedOver { left },
                    _ => return Err(refusal),
                };
                replies.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
                return Ok(());
            }
        };
        if resume && upload.is_here() {
            let receipt = upload.finish(EndKind::AlreadyHere, &End::default())?;
            replies.extend_from_slice(Reply::Receipt(receipt).to_line().as_bytes());
            self.state = State::Request;
            return Ok(());
        }
        if resume {
            let go = Reply::Go { offset: upload.offset() };
            replies.extend_from_slice(go.to_line().as_bytes());
        }
        self.state = State::Content(upload);
        Ok(())
    }

    /// Once on a connection is enough, and wrong or missing once too: content may follow that
    /// nobody wants to read.
    fn admit(&mut self, token: Option<&Token>) -> Result<(), Refusal> {
        if self.admitted {
            return Ok(());
        }
        self.context.admit("raw", token).map_err(|denied| {
            self.state = State::Refused;
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
                self.state = State::Sending(Sending::File(download));
                head
            }
            Err(refusal) => Reply::Error(refusal),
        };
        replies.extend_from_slice(reply.to_line().as_bytes());
    }

    fn list(&mut self, list: &List, replies: &mut Vec<u8>) {
        match self.context.list(self.context.source(Protocol::Raw, Engine::Own), list) {
            Ok(listing) => self.state = State::Sending(Sending::List(listing)),
            Err(refusal) => replies.extend_from_slice(Reply::Error(refusal).to_line().as_bytes()),
        }
    }

    fn end(&mut self, line: &[u8], replies: &mut Vec<u8>) -> Result<(), Refusal> {
        let State::End(upload) = std::mem::replace(&mut self.state, State::Request) else {
            return Ok(());
        };
        let end = match preface::parse_end(line) {
            Ok(end) => end,
            Err(error) => {
                let reason =
                    if self.admitted { error.to_string() } else { error.without_words(line) };
                let refusal = Refusal::new(RefusalCode::BadRequest, reason)
                    .with_hint("send END or END blake3:HEX after the announced bytes");
                return Err(upload.abandon(refusal));
            }
        };
        // Whatever becomes of this file, the next one may follow: it is clear where it begins.
        let reply = match upload.finish(EndKind::Size, &end) {
            Ok(receipt) => Reply::Receipt(receipt),
            Err(refusal) => Reply::Error(refusal),
        };
        replies.extend_from_slice(reply.to_line().as_bytes());
        Ok(())
    }

    fn end_of_stream(&mut self, replies: &mut Vec<u8>) -> Result<Next, Refusal> {
        // What was asked before is answered first; then the end is met again.
        if self.is_sending() {
            return Ok(Next::Continue);
        }
        match std::mem::replace(&mut self.state, State::Refused) {
            State::Content(upload) if upload.left().is_none() => {
                let receipt = upload.finish(EndKind::Fin, &End::default())?;
                replies.extend_from_slice(Reply::Receipt(receipt).to_line().as_bytes());
            }
            State::Content(upload) | State::End(upload) => {
                let reason = match upload.left() {
                    Some(left) if left > 0 => early_end(left),
                    _ => "the stream ended before its END line".to_owned(),
                };
                upload.interrupt(reason.clone());
                return Err(Refusal::new(RefusalCode::Interrupted, reason));
            }
            State::Request if self.line.is_empty() => {}
            State::Request => {
                let refusal =
                    Refusal::new(RefusalCode::BadRequest, "the stream ended inside a line");
                return Err(self.refuse_line(refusal));
            }
            State::PassedOver { .. } | State::Waiting(_) | State::Sending(_) | State::Refused => {}
        }
        Ok(Next::Finish)
    }

    fn silence(&mut self, replies: &mut Vec<u8>) -> Result<Next, Refusal> {
        // The other connection has not let go in time: this is the last attempt.
        match std::mem::replace(&mut self.state, State::Refused) {
            State::Waiting(waiting) => return self.retry(waiting, replies),
            state => self.state = state,
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
        match std::mem::replace(&mut self.state, State::Refused) {
            State::Content(upload) | State::End(upload) => {
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
                return Err(match std::mem::replace(&mut self.state, State::Refused) {
                    State::Content(upload) | State::End(upload) => upload.abandon(refusal),
                    State::Request
                    | State::Waiting(_)
                    | State::PassedOver { .. }
                    | State::Sending(_)
                    | State::Refused => self.refuse_line(refusal),
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

    /// No transfer began, so no upload tells of this.
    fn refuse_line(&mut self, refusal: Refusal) -> Refusal {
        self.state = State::Refused;
        self.context.refused("raw", &refusal.message);
        refusal
    }
}

impl Session for Preface {
    type Successor = Successor;

    fn interest(&self) -> Interest {
        let (read, may_block) = match &self.state {
            State::Content(upload) => (upload.splice().into(), upload.may_block()),
            State::End(upload) => (Read::Bytes, upload.may_block()),
            State::Refused => (Read::Bytes, false),
            // The end of a request line begins a file, or opens one.
            _ => (Read::Bytes, true),
        };
        // Before it is known what is to be sent: the gate may open in between.
        let wait = match &self.state {
            State::Waiting(waiting) => waiting.wait(),
            _ => None,
        };
        let produce = wait.is_none() && self.is_sending();
        // Between two files a thread would not notice that the server drains, and it is not for
        // waiting.
        let is_between = matches!(self.state, State::Request) && self.waiting.is_empty();
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
                if let State::Sending(sending) = &mut self.state {
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
        match std::mem::replace(&mut self.state, State::Refused) {
            State::Sending(sending) => self.send(sending, buffer, out),
            State::Waiting(waiting) => {
                let next = self.retry(waiting, out).unwrap_or_else(|refusal| {
                    out.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
                    Next::Finish
                });
                Ok(Produced::Next(next))
            }
            state => {
                self.state = state;
                let mut waiting = std::mem::take(&mut self.waiting);
                // Read long ago, but the peer could not be late while nothing was read.
                Ok(Produced::Next(self.handle(Event::Bytes(&mut waiting), Instant::now(), out)))
            }
        }
    }
}
