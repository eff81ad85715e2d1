//! Health checks: each accept loop and each reactor thread must answer by itself, so a process
//! that exists but whose runtime hangs does not pass.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use anyport_net::copy::Gate;
use anyport_net::reactor::Waker;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

/// A probe, which the probed loop answers by sending.
pub(crate) type Probe = oneshot::Sender<()>;

/// The probes that an accept loop receives.
pub(crate) type Probes = mpsc::Receiver<Probe>;

/// The loops and threads to check.
#[derive(Debug, Default)]
pub(crate) struct Health {
    watch_accept_loop: Vec<(String, mpsc::Sender<Probe>)>,
    reactors: Vec<(Waker, Arc<AtomicU64>)>,
    /// The probe that runs, if one does.
    running: Mutex<Weak<Probed>>,
}

/// The result of probing all loops, once its gate is open.
#[derive(Debug, Default)]
pub(crate) struct Probed {
    pub(crate) gate: Arc<Gate>,
    unresponsive: OnceLock<String>,
}

impl Probed {
    /// Returns the name of a loop that did not answer.
    pub(crate) fn unresponsive(&self) -> Option<&str> {
        self.unresponsive.get().map(String::as_str)
    }
}

impl Health {
    /// Probes all loops, without blocking the caller, which is within the runtime. Concurrent
    /// requests share one probe, so their number costs the loops nothing.
    pub(crate) fn probe(self: Arc<Self>) -> Arc<Probed> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(probed) = running.upgrade().filter(|probed| !probed.gate.is_open()) {
            return probed;
        }
        let probed = Arc::<Probed>::default();
        *running = Arc::downgrade(&probed);
        drop(running);
        let found = probed.clone();
        tokio::spawn(async move {
            if let Some(unresponsive) = self.unresponsive(LIMIT).await {
                let _ = found.unresponsive.set(unresponsive);
            }
            found.gate.open();
        });
        probed
    }

    /// Registers a loop that accepts at `address`; returns its probes.
    pub(crate) fn watch_accept_loop(&mut self, address: String) -> Probes {
        let (ask, probes) = mpsc::channel(1);
        self.watch_accept_loop.push((address, ask));
        probes
    }

    /// Registers a reactor thread, which counts its turns.
    pub(crate) fn watch_reactor(&mut self, waker: Waker, turns: Arc<AtomicU64>) {
        self.reactors.push((waker, turns));
    }

    /// Probes all, and returns the name of the first that does not answer within `limit`.
    pub(crate) async fn unresponsive(&self, limit: Duration) -> Option<String> {
        for (address, ask) in &self.watch_accept_loop {
            let (probe, answer) = oneshot::channel();
            let asked = async { ask.send(probe).await.is_ok() && answer.await.is_ok() };
            if timeout(limit, asked).await != Ok(true) {
                return Some(format!("the accept loop of {address}"));
            }
        }
        for (number, (waker, turns)) in self.reactors.iter().enumerate() {
            let before = turns.load(Ordering::Relaxed);
            waker.wake();
            let turned = async {
                while turns.load(Ordering::Relaxed) == before {
                    sleep(LOOK).await;
                }
            };
            if timeout(limit, turned).await.is_err() {
                return Some(format!("reactor thread {number}"));
            }
        }
        None
    }
}

/// Answers probes while `waited_for` is not ready.
///
/// Cancel safe: as `waited_for` is.
pub(crate) async fn answer_probes<T>(
    probes: &mut Probes,
    waited_for: impl Future<Output = T>,
) -> T {
    let mut waited_for = std::pin::pin!(waited_for);
    loop {
        tokio::select! {
            biased;
            ready = &mut waited_for => return ready,
            Some(probe) = probes.recv() => {
                // The checker may have given up.
                let _ = probe.send(());
            }
        }
    }
}

/// Time in which each loop must answer a request for `/livez`: much longer than a loop of a busy
/// machine takes. A client may give up earlier.
const LIMIT: Duration = Duration::from_secs(10);

/// Interval of checks of a thread that was woken.
const LOOK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_loop_that_hangs_or_has_ended_is_reported() {
        let mut health = Health::default();
        let mut probes = health.watch_accept_loop("192.0.2.1:1".to_owned());
        let long = Duration::from_secs(20);
        let asked = tokio::select! {
            () = answer_probes(&mut probes, std::future::pending()) => unreachable!(),
            unresponsive = health.unresponsive(long) => unresponsive,
        };
        assert_eq!(asked, None);
        let hangs = Some("the accept loop of 192.0.2.1:1".to_owned());
        assert_eq!(health.unresponsive(LIMIT).await, hangs, "nobody listens to its probes");
        drop(probes);
        assert_eq!(health.unresponsive(long).await, hangs, "it has ended");
        let probed = Arc::new(health).probe();
        probed.gate.opened().await;
        assert_eq!(probed.unresponsive(), hangs.as_deref(), "nothing waits for the whole limit");
    }

    #[tokio::test]
    async fn concurrent_requests_share_one_probe() {
        let mut health = Health::default();
        let mut probes = health.watch_accept_loop("192.0.2.1:1".to_owned());
        let health = Arc::new(health);
        let first = health.clone().probe();
        let second = health.clone().probe();
        assert!(Arc::ptr_eq(&first, &second));
        probes.recv().await.unwrap().send(()).unwrap();
        first.gate.opened().await;
        assert!(probes.try_recv().is_err(), "one probe for both");
        assert!(!Arc::ptr_eq(&first, &health.probe()), "a later request has a new one");
    }
}
