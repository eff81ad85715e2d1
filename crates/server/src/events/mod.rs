//! What happens on a server: counted, logged, and reported to the observer.
//!
//! ```text
//!   session, service ──► Events ──► counters ──► metrics, summary
//!                          ├──► observer: receipts, interruptions, refusals (at a limited rate)
//!                          └──► running: transfers and connections at this moment; watched: the
//!                               directories whose watchers are notified
//!   layers ──► Tally ──► Record ──► access log, one line at the end of a connection
//! ```

mod counters;
mod histogram;
pub(crate) mod metrics;
mod observer;
mod record;
mod refusals;
mod requests;
mod running;
mod timed;
mod watched;

pub use counters::{Class, Counters, Decided, Dropped, SilentEnd, Snapshot};
pub use observer::{Answered, Change, Changed, Interrupted, Observer, Refused, Sent, Why};
pub(crate) use record::{Record, Tally};
pub(crate) use refusals::REPORT_EVERY;
pub use running::{Direction, Transfer};
pub(crate) use running::{Open, Running, Underway};
pub(crate) use timed::Timed;
pub(crate) use watched::{Counts, Watch};

use std::sync::Arc;
use std::time::Instant;

use anyport_proto::peer::Peer;
use anyport_proto::setting::TRUSTED_PROXY;
use anyport_proto::transfer::receipt::Receipt;
use anyport_proto::visible::make_visible;

use refusals::Refusals;

/// The events of a server: each is counted, and the observer is notified.
pub(crate) struct Events {
    pub(crate) counters: Arc<Counters>,
    pub(crate) running: Arc<Running>,
    refusals: Refusals,
    /// Limits the reports of ignored fields.
    ignored: Refusals,
    observer: Box<dyn Observer>,
}

impl Events {
    pub(crate) fn new(observer: impl Observer) -> Arc<Self> {
        Arc::new(Self {
            counters: Arc::default(),
            running: Arc::default(),
            refusals: Refusals::default(),
            ignored: Refusals::default(),
            observer: Box::new(observer),
        })
    }

    /// Reports that a file was received completely and stored.
    pub(crate) fn received(&self, receipt: &Receipt) {
        self.counters.received(receipt);
        self.observer.receipt(receipt);
        if let Some(path) = receipt.stored() {
            self.running.watched.stored(&path);
        }
    }

    /// Reports that an upload was interrupted.
    pub(crate) fn interrupted(&self, transfer: &Interrupted) {
        self.counters.interrupted();
        self.observer.interrupted(transfer);
    }

    /// Reports that a file was sent, completely or in part.
    pub(crate) fn sent(&self, file: &Sent) {
        self.counters.sent(file);
        self.observer.sent(file);
    }

    /// Reports that a client changed an entry.
    pub(crate) fn changed(&self, changed: &Changed) {
        let watched = &self.running.watched;
        watched.moved(&changed.name);
        if let Change::Renamed(to) = &changed.change {
            watched.moved(to);
        }
        self.observer.changed(changed);
    }

    /// Reports that `peer` was refused before a transfer began, if the rate limit allows.
    pub(crate) fn refused(
        &self,
        why: Why,
        protocol: &'static str,
        peer: Peer,
        reason: impl AsRef<str>,
    ) {
        self.counters.refused(why);
        if self.refusals.report(why, peer, Instant::now()) {
            // The journal shows its fields unescaped.
            let reason = make_visible(reason.as_ref()).into_owned();
            tracing::debug!(%peer, protocol, reason, "refused");
            self.observer.refused(&Refused { protocol, peer, reason, why });
        }
    }

    /// Counts a request whose forwarding fields are ignored, as no trusted proxy sent it.
    pub(crate) fn forwarding_ignored(&self, peer: Peer) {
        self.counters.forwarding_ignored();
        // At the rate of such refusals: one a second for each address.
        if self.ignored.report(Why::TooFast, peer, Instant::now()) {
            tracing::debug!(%peer, "ignored Forwarded or X-Forwarded-*: no {TRUSTED_PROXY}");
        }
    }

    /// Reports how many refusals the rate limit suppressed since the last call.
    pub(crate) fn report_suppressed(&self) {
        match self.refusals.take_suppressed() {
            0 => {}
            count => self.observer.suppressed(count),
        }
    }

    /// Reports a line that a peer sent after a greeting.
    pub(crate) fn answered(&self, answer: &Answered) {
        self.observer.answered(answer);
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("counters", &self.counters).finish_non_exhaustive()
    }
}

/// An observer that ignores everything.
#[cfg(test)]
pub(crate) struct Quiet;

#[cfg(test)]
impl Observer for Quiet {
    fn receipt(&self, _: &Receipt) {}
    fn interrupted(&self, _: &Interrupted) {}
    fn refused(&self, _: &Refused) {}
}
