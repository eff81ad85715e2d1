//! Messages to a service manager (sd_notify(3)): ready, status, watchdog, stopping. Without one
//! (`NOTIFY_SOCKET`) they have no effect.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyport_server::Overview;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// The service manager that started us, if one did.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    /// A failure is reported once.
    failed: AtomicBool,
}

impl Manager {
    /// We serve at `addresses`.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&[
            NotifyState::Ready,
            NotifyState::MainPid(std::process::id()),
            NotifyState::Status(status),
        ]);
    }

    /// Reports that settings are being reloaded, until [`Self::ready`].
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            // In one message: the manager matches the reload with the next ready message by its
            // time.
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "cannot read the clock"),
        }
    }

    pub(crate) fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// Reports that the server stops: after `delay`, at most `grace` and the time after it.
    pub(crate) fn stopping(&self, delay: Duration, grace: Duration, transfers: usize) {
        let microseconds = delay.saturating_add(grace).saturating_add(AFTER_THE_GRACE).as_micros();
        let microseconds = u32::try_from(microseconds).unwrap_or(u32::MAX);
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::Status(&stopping(delay, grace, transfers)),
            // Otherwise the manager would kill the running transfers.
            NotifyState::ExtendTimeoutUsec(microseconds),
        ]);
    }

    /// Notifies the watchdog twice in its interval (`WATCHDOG_USEC`), and only if each accept loop,
    /// each reactor thread and the runtime, on which this task runs, answered within that time.
    /// While draining the accept loops have ended, so only the runtime is checked.
    pub(crate) async fn watch(&self, overview: Overview, draining: CancellationToken) {
        let Some(period) = sd_notify::watchdog_enabled() else { return };
        let beat = (period / 2).max(SHORTEST_BEAT);
        loop {
            let missing = match draining.is_cancelled() {
                true => None,
                // A part that hangs must be missed before the manager's time is over.
                false => overview.unresponsive(beat / 2).await,
            };
            match missing {
                Some(missing) if !draining.is_cancelled() => {
                    tracing::error!(%missing, "thread does not respond; \
                        watchdog keep-alive not sent");
                }
                _ => self.tell(&[NotifyState::Watchdog]),
            }
            tokio::time::sleep(beat).await;
        }
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "cannot notify the service manager (NOTIFY_SOCKET)");
        }
    }
}

/// Between two lines on what we are at.
pub(crate) const STATUS_EVERY: Duration = Duration::from_secs(5);

/// A watchdog with a shorter time would cost more than it helps.
const SHORTEST_BEAT: Duration = Duration::from_millis(10);

/// Time after the grace period in which connections keep their partial files, and the process
/// exits.
const AFTER_THE_GRACE: Duration = Duration::from_secs(10);

/// Returns the message that the server drains, for people and the service manager.
pub(crate) fn stopping(delay: Duration, grace: Duration, transfers: usize) -> String {
    if !delay.is_zero() {
        return format!("stopping: not ready, accepting connections for {delay:?} (--drain-delay)");
    }
    if transfers == 0 {
        return "stopping".to_owned();
    }
    format!("stopping: waiting up to {grace:?} for running transfers")
}
