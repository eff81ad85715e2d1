//! Raw bytes until half-close are the file; also those that may yet prove to be bare frames (DESIGN section 5).
//!
//! A candidate is raw until proven. Up to `Limits::held_candidate` bytes are held in memory, then they go raw into the
//! sink. At proof what was held or stored is decoded from its first byte, in place.

use std::time::Instant;

use anyport_net::copy::{Flow, Input, Interest, Placement};
use anyport_proto::transfer::offer::{End, Offer};
use anyport_proto::transfer::preface::Reply;
use anyport_proto::transfer::receipt::{EndKind, Engine, Protocol};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::proof::{Evidence, Proof, Refutation, Standing};

use super::refusing::RAW_NOT_ACCEPTED;
use super::ws::Ws;
use super::{Context, Next, Session, idle_reason};
use crate::budget::Share;
use crate::counters::Class;
use crate::service::files::Upload;

pub(crate) struct Raw {
    context: Context,
    upload: Option<Upload>,
    candidate: Option<Candidate>,
}

struct Candidate {
    proof: Proof,
    /// Bytes that have not gone into the sink; all of them until the limit is reached, none afterwards.
    held: Vec<u8>,
    /// What they take of the server's budget.
    share: Share,
    /// When the first of them was read.
    since: Option<Instant>,
}

impl Raw {
    pub(super) const fn plain(context: Context) -> Self {
        Self { context, upload: None, candidate: None }
    }

    pub(super) fn candidate(context: Context) -> Self {
        let proof = Proof::new(&context.config.limits, context.files.largest_possible());
        let share = context.buffer_share();
        let candidate = Candidate { proof, held: Vec::new(), share, since: None };
        Self { context, upload: None, candidate: Some(candidate) }
    }

    pub(super) fn interest(&self) -> Interest {
        let awaits_silence =
            self.candidate.as_ref().is_some_and(|candidate| candidate.proof.awaits_silence());
        let idle = if awaits_silence {
            self.context.listener.detect_timeout
        } else {
            self.context.config.timeouts.idle
        };
        // Before the first byte there is no upload, and beginning one creates a file.
        let may_block = self.upload.as_ref().is_none_or(Upload::may_block);
        // A candidate is read, as it may prove to be frames.
        let upload = self.upload.as_ref().filter(|_| self.candidate.is_none());
        let read = upload.and_then(Upload::splice).into();
        Interest { read, may_block, place: Placement::Thread, ..Interest::input(idle) }
    }

    /// Whether no byte has come.
    pub(super) fn is_idle(&self) -> bool {
        let holds = |candidate: &Candidate| !candidate.held.is_empty();
        self.upload.is_none() && !self.candidate.as_ref().is_some_and(holds)
    }

    pub(super) fn broken(&mut self, reason: &str) {
        // What a candidate held is raw until proven, and a broken raw transfer keeps what came.
        let _ = self.settle_raw();
        if let Some(upload) = self.upload.take() {
            upload.interrupt(reason);
        }
    }

    pub(super) fn step(&mut self, input: Input<'_>, replies: &mut Vec<u8>) -> Next {
        let stepped = match input {
            Input::Bytes(bytes, at) => self.bytes(bytes, at, replies),
            Input::Unseen(count, at) => {
                if let Some(upload) = &mut self.upload {
                    upload.put(count, at);
                }
                Ok(Next::Flow(Flow::Continue))
            }
            Input::EndOfStream => self.end_of_stream(replies),
            Input::Silence => self.silence(replies),
            Input::Stopping | Input::Timer(_) => Ok(Next::Flow(Flow::Continue)),
        };
        stepped.unwrap_or_else(|refusal| {
            let refusal = match self.upload.take() {
                Some(upload) => upload.abandon(refusal),
                None => refusal,
            };
            replies.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
            Next::Flow(Flow::Finish)
        })
    }

    fn bytes(
        &mut self,
        bytes: &mut [u8],
        at: Instant,
        replies: &mut Vec<u8>,
    ) -> Result<Next, Refusal> {
        let Some(candidate) = &mut self.candidate else {
            self.store(bytes, at)?;
            return Ok(Next::Flow(Flow::Continue));
        };
        let since = *candidate.since.get_or_insert(at);
        match candidate.proof.feed(bytes) {
            Standing::Open => self.hold(bytes, since)?,
            Standing::Proven(evidence) => {
                let (mut ws, flow) = self.become_frames(evidence, since, replies)?;
                let flow = match flow {
                    Flow::Continue => ws.step(Input::Bytes(bytes, at), replies),
                    Flow::Finish => Flow::Finish,
                };
                return Ok(Next::Become(Session::Ws(Box::new(ws)), flow));
            }
            Standing::Refuted(refutation) => {
                self.settled(&refutation);
                self.settle_raw()?;
                self.store(bytes, at)?;
            }
        }
        Ok(Next::Flow(Flow::Continue))
    }

    fn end_of_stream(&mut self, replies: &mut Vec<u8>) -> Result<Next, Refusal> {
        if let Some(candidate) = &mut self.candidate {
            let standing = candidate.proof.end_of_stream();
            let since = candidate.since.unwrap_or_else(Instant::now);
            if let Standing::Proven(evidence) = standing {
                let (mut ws, flow) = self.become_frames(evidence, since, replies)?;
                if flow == Flow::Continue {
                    ws.step(Input::EndOfStream, replies);
                }
                return Ok(Next::Become(Session::Ws(Box::new(ws)), Flow::Finish));
            }
            if let Standing::Refuted(refutation) = standing {
                self.settled(&refutation);
            }
            self.settle_raw()?;
        }
        // No byte, no file: a port scan, a health check.
        if let Some(upload) = self.upload.take() {
            let reply = match upload.finish(EndKind::Fin, &End::default()) {
                Ok(receipt) => Reply::Receipt(receipt),
                Err(refusal) => Reply::Error(refusal),
            };
            replies.extend_from_slice(reply.to_line().as_bytes());
        }
        Ok(Next::Flow(Flow::Finish))
    }

    fn silence(&mut self, replies: &mut Vec<u8>) -> Result<Next, Refusal> {
        if let Some(candidate) = &mut self.candidate
            && let Standing::Proven(evidence) = candidate.proof.silence()
        {
            let since = candidate.since.unwrap_or_else(Instant::now);
            let (ws, flow) = self.become_frames(evidence, since, replies)?;
            return Ok(Next::Become(Session::Ws(Box::new(ws)), flow));
        }
        let reason = idle_reason(self.context.config.timeouts.idle);
        let hint = "raw bytes end with a half-close: use nc -N (BusyBox: nc), ncat --send-only or socat -u";
        let refusal = Refusal::new(RefusalCode::Interrupted, reason.clone()).with_hint(hint);
        replies.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
        self.broken(&reason);
        Ok(Next::Flow(Flow::Finish))
    }

    /// Holds an unproven candidate's bytes in memory, or stores them raw when they are too many.
    fn hold(&mut self, bytes: &[u8], since: Instant) -> Result<(), Refusal> {
        let limit = self.context.config.limits.held_candidate;
        let Some(candidate) = &mut self.candidate else { return Ok(()) };
        let stored_already = self.upload.is_some();
        if !stored_already
            && candidate.held.len() + bytes.len() <= limit
            && candidate.share.grow(bytes.len())
        {
            candidate.held.extend_from_slice(bytes);
            return Ok(());
        }
        let held = std::mem::take(&mut candidate.held);
        candidate.share.clear();
        self.store(&held, since)?;
        self.store(bytes, since)?;
        if !self.upload.as_ref().is_some_and(Upload::can_rewrite) {
            // What is gone cannot be decoded later, so it is raw.
            self.context.counters.settled(Class::Unproven);
            let reason = "bare frames not confirmed, and the storage backend cannot rewrite";
            tracing::debug!(peer = %self.context.peer, protocol = "raw", reason, "decided");
            self.candidate = None;
        }
        Ok(())
    }

    fn settled(&self, refutation: &Refutation) {
        self.context.record.decided("raw", refutation.to_string());
        self.context.counters.settled(match refutation {
            Refutation::Unfinished => Class::Unproven,
            _ => Class::Refuted,
        });
        tracing::debug!(peer = %self.context.peer, protocol = "raw", reason = %refutation, "decided");
    }

    /// The candidate is raw: stores what was held.
    fn settle_raw(&mut self) -> Result<(), Refusal> {
        let Some(candidate) = self.candidate.take() else { return Ok(()) };
        if !self.context.listener.allowed.raw {
            let reason = RAW_NOT_ACCEPTED;
            if self.upload.is_none() {
                self.context.files.refused("raw", self.context.peer, reason.to_owned());
            }
            return Err(Refusal::new(RefusalCode::NotSupported, reason));
        }
        match candidate.since {
            Some(since) => self.store(&candidate.held, since),
            None => Ok(()),
        }
    }

    fn store(&mut self, bytes: &[u8], at: Instant) -> Result<(), Refusal> {
        if bytes.is_empty() {
            return Ok(());
        }
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => {
                let source = self.context.source(Protocol::Raw, Engine::Own);
                self.upload.insert(self.context.files.begin(source, Offer::default())?)
            }
        };
        upload.write(bytes, at)
    }

    /// Proven: decodes what was held or stored, from the first byte on, in place.
    fn become_frames(
        &mut self,
        evidence: Evidence,
        since: Instant,
        replies: &mut Vec<u8>,
    ) -> Result<(Ws, Flow), Refusal> {
        self.context.counters.settled(Class::Proof);
        let reason = evidence.as_str();
        self.context.record.decided("frames", reason.to_owned());
        tracing::debug!(peer = %self.context.peer, protocol = "frames", reason, "decided");
        let mut held = self.candidate.take().map(|candidate| candidate.held).unwrap_or_default();
        let stored = self.upload.take();
        let announced = evidence == Evidence::Greeting;
        let Some(mut upload) = stored else {
            let mut ws = Ws::bare(self.context.clone(), announced);
            let flow = if held.is_empty() {
                Flow::Continue
            } else {
                ws.step(Input::Bytes(&mut held, since), replies)
            };
            return Ok((ws, flow));
        };
        upload.begin_rewrite();
        upload.set_protocol(Protocol::Frames);
        Ok(Ws::bare_from_stored(self.context.clone(), upload, since, replies))
    }
}
