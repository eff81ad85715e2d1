//! Raw bytes: a file that ends with a FIN, or a candidate for bare frames (docs/PROTOCOLS.md).
//!
//! A candidate counts as raw until it is confirmed. Up to `Limits::held_candidate` bytes are
//! buffered in memory; if there are more, all are stored as raw bytes. When the candidate is
//! confirmed, the session decodes the buffered or stored bytes in place, from the first one.

use std::time::Instant;

use anyport_net::copy::{Event, Interest, Placement, Session};
use anyport_proto::preface::Reply;
use anyport_proto::transfer::offer::{End, Offer};
use anyport_proto::transfer::receipt::{EndKind, Engine, Protocol};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::ws::candidate::{CandidateState, Confirmation, Contradiction, Evidence};

use super::refusing::not_accepted;
use super::ws::Ws;
use super::{AnySession, Context, Next, ServerSession, Successor, idle_reason};
use crate::budget::Share;
use crate::events::Class;
use crate::service::files::Upload;

pub(crate) struct Raw {
    context: Context,
    upload: Option<Upload>,
    candidate: Option<Candidate>,
}

struct Candidate {
    confirmation: Confirmation,
    /// Bytes that are not in the sink yet; all of them until the limit is reached, none afterwards.
    buffered: Vec<u8>,
    /// Share of the server's memory budget for these bytes.
    share: Share,
    /// Time at which the first byte was read.
    since: Option<Instant>,
}

impl Raw {
    pub(super) const fn plain(context: Context) -> Self {
        Self { context, upload: None, candidate: None }
    }

    pub(super) fn candidate(context: Context) -> Self {
        let confirmation =
            Confirmation::new(&context.config.limits, context.files.largest_possible());
        let share = context.buffer_share();
        let candidate = Candidate { confirmation, buffered: Vec::new(), share, since: None };
        Self { context, upload: None, candidate: Some(candidate) }
    }

    /// Returns whether no byte has arrived.
    fn is_idle(&self) -> bool {
        let holds = |candidate: &Candidate| !candidate.buffered.is_empty();
        self.upload.is_none() && !self.candidate.as_ref().is_some_and(holds)
    }

    fn broken(&mut self, reason: &str) {
        // An unconfirmed candidate is raw. An interrupted raw transfer keeps its content, unless
        // the listener does not accept raw.
        let settled = self.settle_raw();
        let Some(upload) = self.upload.take() else { return };
        match settled {
            Ok(()) => upload.interrupt(reason),
            Err(refusal) => drop(upload.abandon(refusal)),
        }
    }

    fn bytes(&mut self, bytes: &[u8], at: Instant, replies: &mut Vec<u8>) -> Result<Next, Refusal> {
        let Some(candidate) = &mut self.candidate else {
            self.store(bytes, at)?;
            return Ok(Next::Continue);
        };
        let since = *candidate.since.get_or_insert(at);
        match candidate.confirmation.feed(bytes) {
            CandidateState::Open => self.buffer_or_store(bytes, since)?,
            CandidateState::Confirmed(evidence) => {
                return Ok(self.become_frames(evidence, since, bytes.to_vec(), replies));
            }
            CandidateState::RuledOut(contradiction) => {
                self.record_ruled_out(&contradiction);
                self.settle_raw()?;
                self.store(bytes, at)?;
            }
        }
        Ok(Next::Continue)
    }

    fn end_of_stream(&mut self, replies: &mut Vec<u8>) -> Result<Next, Refusal> {
        if let Some(candidate) = &mut self.candidate {
            let state = candidate.confirmation.end_of_stream();
            let since = candidate.since.unwrap_or_else(Instant::now);
            if let CandidateState::Confirmed(evidence) = state {
                return Ok(self.become_frames(evidence, since, Vec::new(), replies));
            }
            if let CandidateState::RuledOut(contradiction) = state {
                self.record_ruled_out(&contradiction);
            }
            self.settle_raw()?;
        }
        // A connection without input (port scan, health check) stores no file.
        if let Some(upload) = self.upload.take() {
            let reply = match upload.finish(EndKind::Fin, &End::default()) {
                Ok(receipt) => Reply::Receipt(receipt),
                Err(refusal) => Reply::Error(refusal),
            };
            replies.extend_from_slice(reply.to_line().as_bytes());
        }
        Ok(Next::Finish)
    }

    /// Handles the idle timeout: confirms a candidate, or interrupts the transfer.
    fn idle(&mut self, replies: &mut Vec<u8>) -> Result<Next, Refusal> {
        if let Some(candidate) = &mut self.candidate
            && let CandidateState::Confirmed(evidence) = candidate.confirmation.idle()
        {
            let since = candidate.since.unwrap_or_else(Instant::now);
            return Ok(self.become_frames(evidence, since, Vec::new(), replies));
        }
        let reason = idle_reason(self.context.config.timeouts.idle);
        let hint = "raw bytes end with a half-close: nc -N, nc of BusyBox, ncat or socat -t 5";
        let refusal = Refusal::new(RefusalCode::Interrupted, reason.clone()).with_hint(hint);
        replies.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
        self.broken(&reason);
        Ok(Next::Finish)
    }

    /// Buffers an unconfirmed candidate's bytes, or stores them raw if they are too many.
    fn buffer_or_store(&mut self, bytes: &[u8], since: Instant) -> Result<(), Refusal> {
        let limit = self.context.config.limits.held_candidate;
        let Some(candidate) = &mut self.candidate else { return Ok(()) };
        let stored_already = self.upload.is_some();
        if !stored_already
            && candidate.buffered.len() + bytes.len() <= limit
            && candidate.share.grow(bytes.len())
        {
            candidate.buffered.extend_from_slice(bytes);
            return Ok(());
        }
        let buffered = std::mem::take(&mut candidate.buffered);
        candidate.share.clear();
        self.store(&buffered, since)?;
        self.store(bytes, since)?;
        if !self.upload.as_ref().is_some_and(Upload::can_rewrite) {
            // Bytes that cannot be read back cannot be decoded later, so they are raw.
            self.context.events.counters.candidate_decided(Class::Unconfirmed);
            let reason = "bare frames not confirmed, and the storage backend cannot rewrite";
            self.context.record.decided("raw", reason.to_owned());
            tracing::debug!(peer = %self.context.peer, protocol = "raw", reason, "decided");
            self.settle_raw()?;
        }
        Ok(())
    }

    /// Records that the candidate was ruled out or not confirmed.
    fn record_ruled_out(&self, contradiction: &Contradiction) {
        self.context.record.decided("raw", contradiction.to_string());
        self.context.events.counters.candidate_decided(match contradiction {
            Contradiction::Unfinished => Class::Unconfirmed,
            _ => Class::RuledOut,
        });
        let peer = self.context.peer;
        tracing::debug!(%peer, protocol = "raw", reason = %contradiction, "decided");
    }

    /// Ends the candidate as raw bytes, and stores what it buffered.
    fn settle_raw(&mut self) -> Result<(), Refusal> {
        let Some(candidate) = self.candidate.take() else { return Ok(()) };
        if !self.context.listener.allowed.raw {
            let reason = not_accepted(self.context.listener.allowed);
            if self.upload.is_none() {
                self.context.refused("raw", &reason);
            }
            return Err(Refusal::new(RefusalCode::NotSupported, reason));
        }
        match candidate.since {
            Some(since) => self.store(&candidate.buffered, since),
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

    /// Decodes a confirmed candidate's buffered or stored bytes, from the first one on, in place.
    /// `rest` is the input after them.
    fn become_frames(
        &mut self,
        evidence: Evidence,
        since: Instant,
        rest: Vec<u8>,
        replies: &mut Vec<u8>,
    ) -> Next {
        self.context.events.counters.candidate_decided(Class::Confirmed);
        let reason = evidence.as_str();
        let announced = evidence == Evidence::Greeting;
        self.context.record.is_frames(announced, reason.to_owned());
        tracing::debug!(peer = %self.context.peer, protocol = "frames", reason, "decided");
        let mut buffered =
            self.candidate.take().map(|candidate| candidate.buffered).unwrap_or_default();
        let mut ws = Ws::bare(self.context.clone(), announced);
        let next = match self.upload.take() {
            Some(mut stored) => {
                stored.begin_rewrite();
                stored.set_protocol(Protocol::Frames);
                ws.decode_stored(stored, since, replies)
            }
            None if buffered.is_empty() => Next::Continue,
            None => ws.handle(Event::Bytes(&mut buffered), since, replies),
        };
        match next {
            Next::Continue => Successor::session(AnySession::of(ws), rest),
            next => next,
        }
    }
}

impl ServerSession for Raw {}

impl Session for Raw {
    type Successor = Successor;

    fn interest(&self) -> Interest {
        let needs_idle_timer = self
            .candidate
            .as_ref()
            .is_some_and(|candidate| candidate.confirmation.needs_idle_timer());
        let idle = if needs_idle_timer {
            self.context.listener.detect_timeout
        } else {
            self.context.config.timeouts.idle
        };
        // Without an upload, the first byte creates a file, which may block.
        let may_block = self.upload.as_ref().is_none_or(Upload::may_block);
        // The bytes of a candidate must not be spliced, because they may be frames.
        let upload = self.upload.as_ref().filter(|_| self.candidate.is_none());
        let read = upload.and_then(Upload::splice).into();
        Interest { read, may_block, place: Placement::Thread, ..Interest::input(idle) }
    }

    fn handle(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<u8>) -> Next {
        let handled = match event {
            Event::Bytes(bytes) => self.bytes(bytes, now, out),
            Event::Spliced(count) => {
                if let Some(upload) = &mut self.upload {
                    upload.put(count, now);
                }
                Ok(Next::Continue)
            }
            Event::EndOfStream => self.end_of_stream(out),
            Event::Idle => self.idle(out),
            Event::Shutdown if self.is_idle() => Ok(Next::Finish),
            Event::Lost(reason) => {
                self.broken(reason);
                Ok(Next::Continue)
            }
            Event::Shutdown | Event::Timer | Event::Sent(_) => Ok(Next::Continue),
        };
        handled.unwrap_or_else(|refusal| {
            let refusal = match self.upload.take() {
                Some(upload) => upload.abandon(refusal),
                None => refusal,
            };
            out.extend_from_slice(Reply::Error(refusal).to_line().as_bytes());
            Next::Finish
        })
    }
}
