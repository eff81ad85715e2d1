//! The preface protocol: lines, and content between them by its announced size (docs/transfer.md,
//! docs/pipe.md); or content alone.

use anyport_proto::preface::{PREFACE, Reply, Request, Verb, parse_end, parse_request};

use super::content::Content;
use super::output::Output;
use super::{MAX_ELEMENT, Shared, Step};
use crate::event::{Side, Time, What};

/// The lines of one direction.
#[derive(Debug)]
pub(super) struct Lines {
    from: Side,
    state: State,
    line: Line,
    content: Content,
    /// No byte was sent.
    is_new: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// A line that begins with the preface; anything else is content.
    Line,
    /// Content of this many bytes; whether an `END` line follows.
    Content { left: u64, end: bool },
    /// The line after content.
    End,
    /// An offer of this size that waits for the offset from which to send.
    Waiting { size: Option<u64> },
}

/// What lines of one direction say about the other.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The offset of a `GO` line.
    offset: Option<u64>,
    /// Requests and their final replies.
    asked: u64,
    answered: u64,
}

/// Bytes of a line that is not complete.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    began: Time,
}

impl Lines {
    pub(super) fn new(from: Side) -> Self {
        let (line, content) = (Line::default(), Content::default());
        Self { from, state: State::Line, line, content, is_new: true }
    }

    pub(super) fn push(&mut self, bytes: &[u8], shared: &mut Shared, output: &Output<'_>) -> Step {
        self.resolve(shared);
        self.is_new = false;
        match self.state {
            State::Content { left, .. } => {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let content = bytes.get(..length).unwrap_or(bytes);
                self.content.count(content, output);
                self.pass(length as u64);
                Step::Used(length)
            }
            State::Line | State::End | State::Waiting { .. } => self.read(bytes, shared, output),
        }
    }

    /// Counts content that the kernel moved; returns how many bytes it can be.
    pub(super) fn skip(&mut self, count: u64, shared: &mut Shared, output: &Output<'_>) -> u64 {
        self.resolve(shared);
        if std::mem::take(&mut self.is_new) {
            // Plain bytes, without a line before them.
            self.state = State::Content { left: u64::MAX, end: false };
        }
        let State::Content { left, .. } = self.state else { return 0 };
        let skipped = left.min(count);
        if skipped > 0 {
            self.content.add(skipped, output);
            self.pass(skipped);
        }
        skipped
    }

    /// Decides what an offer sends, once its reply was received.
    fn resolve(&mut self, shared: &mut Shared) {
        let State::Waiting { size } = self.state else { return };
        let answer = shared.reply.get_or_insert_default();
        self.state = match answer.offset.take() {
            Some(offset) => content(size.map(|size| size.saturating_sub(offset))),
            None if answer.answered >= answer.asked => State::Line,
            // It does not wait.
            None => content(size),
        };
    }

    fn pass(&mut self, count: u64) {
        if let State::Content { left, end } = &mut self.state {
            // Without an announced size nothing but FIN ends it.
            if *left != u64::MAX {
                *left = left.saturating_sub(count);
            }
            if *left == 0 {
                self.content.end();
                self.state = if *end { State::End } else { State::Line };
            }
        }
    }

    fn read(&mut self, bytes: &[u8], shared: &mut Shared, output: &Output<'_>) -> Step {
        let after_content = matches!(self.state, State::End);
        let answer = shared.reply.get_or_insert_default();
        // Replies to earlier requests come first, and the last one may be refused.
        let only_content = shared.only_content && answer.answered + 1 >= answer.asked;
        let expected: &[u8] = match self.from {
            _ if after_content => b"END",
            Side::Server if only_content => b"ANYPORT/1 ERROR ",
            _ => PREFACE,
        };
        let line = &mut self.line;
        if line.bytes.is_empty() {
            line.began = output.now;
        }
        // The end of the line, in the part of it that may still be buffered.
        let room = MAX_ELEMENT - line.bytes.len();
        let window = bytes.get(..room).unwrap_or(bytes);
        let end = window.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(window.len(), |end| end + 1);
        line.bytes.extend_from_slice(window.get(..used).unwrap_or_default());
        let differs = line.bytes.iter().zip(expected).any(|(byte, expected)| byte != expected);
        if differs || end.is_some() && line.bytes.len() < expected.len() {
            return self.not_a_line(used, after_content, output);
        }
        if end.is_none() {
            if line.bytes.len() == MAX_ELEMENT {
                return self.not_a_line(used, true, output);
            }
            return Step::Used(used);
        }
        let Line { bytes: complete, began } = std::mem::take(line);
        let complete = complete.as_slice();
        let line = complete.strip_suffix(b"\n").unwrap_or(complete);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_of_server = output.recorder.is_of_server();
        if is_of_server && after_content && self.from == Side::Client && parse_end(line).is_err() {
            // The sender counted wrong: these are bytes of its content.
            self.content.count(complete, output);
            self.state = State::Content { left: u64::MAX, end: false };
            return Step::Used(used);
        }
        output.event_since(began, What::Line { text: String::from_utf8_lossy(line).into_owned() });
        report_syn(line, self.from, output);
        let becomes_content = match (after_content, self.from) {
            (true, from) => {
                self.state = State::Line;
                if from == Side::Server {
                    shared.reply.get_or_insert_default().answered += 1;
                }
                false
            }
            (false, Side::Client) => self.request(line, shared, is_of_server),
            (false, Side::Server) => self.reply(line, shared),
        };
        if becomes_content {
            // All input of this call that is left goes to the next layer.
            self.state = State::Content { left: u64::MAX, end: false };
        }
        Step::Used(used)
    }

    /// Counts bytes that are no line, from the first one on.
    fn not_a_line(&self, used: usize, remark: bool, output: &Output<'_>) -> Step {
        // The current input is counted by the next layer.
        let bytes = &self.line.bytes;
        let earlier = bytes.get(..bytes.len() - used).unwrap_or_default();
        if remark {
            return Step::unknown(output, "not a line of the preface protocol", earlier);
        }
        Step::content(output, earlier)
    }

    /// Reads a request; returns whether all that its sender sends then is content.
    fn request(&mut self, line: &[u8], shared: &mut Shared, is_of_server: bool) -> bool {
        self.state = State::Line;
        let answer = shared.reply.get_or_insert_default();
        answer.asked += 1;
        match parse_request(line) {
            Ok(Request::Put(offer)) if offer.resume => {
                answer.offset = None;
                self.state = State::Waiting { size: offer.size };
            }
            Ok(Request::Put(offer)) => self.state = content(offer.size),
            // What is more than the announced size is ignored.
            Ok(Request::Give(_)) => return true,
            Ok(Request::Take(take)) => {
                shared.only_content = !take.head;
                return true;
            }
            Ok(Request::Echo) => {
                shared.only_content = true;
                return true;
            }
            Ok(Request::Join(_)) => return true,
            Ok(Request::Get(_) | Request::List(_) | Request::Other(_)) => {}
            // The reply of the server names the error, and the server ignores all that follows.
            Err(_) => return is_of_server,
        }
        self.pass(0);
        false
    }

    /// Reads a reply; returns whether all that follows is content.
    fn reply(&mut self, line: &[u8], shared: &mut Shared) -> bool {
        self.state = State::Line;
        shared.only_content = false;
        let answer = shared.reply.get_or_insert_default();
        match Reply::parse(line) {
            Ok(Reply::Go { offset }) => answer.offset = Some(offset),
            Ok(Reply::File(head)) => {
                self.state = content(Some(head.size - head.offset.min(head.size)))
            }
            Ok(Reply::Content { .. } | Reply::Joined { .. }) => return true,
            Ok(Reply::Entry(_) | Reply::LeftOut(_)) => {}
            // A refusal with an unknown code is one too.
            Ok(_) | Err(_) => answer.answered += 1,
        }
        self.pass(0);
        false
    }
}

/// Records the SYN that a server reports, or that the client asks for it.
fn report_syn(line: &[u8], from: Side, output: &Output<'_>) {
    match from {
        Side::Client if matches!(parse_request(line), Ok(Request::Other(Verb::Syn))) => {
            output.recorder.asks_for_syn(output.connection);
        }
        Side::Server => {
            if let Ok(Reply::Syn(word)) = Reply::parse(line) {
                output.syn(word.parse());
            }
        }
        Side::Client => {}
    }
}

const fn content(size: Option<u64>) -> State {
    match size {
        Some(left) => State::Content { left, end: true },
        None => State::Content { left: u64::MAX, end: false },
    }
}
