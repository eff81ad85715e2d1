//! Gates: a session that waits for another session is woken by it, without polling.
//!
//! While a session waits at a gate, its loop neither reads nor sends: the peer's data stays in its
//! socket, which is backpressure. The loop checks from time to time that the peer is still there.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::Notify;

use super::Wait;
use crate::unix::is_unix;

/// A gate that one session opens and another waits for, in a task or on a thread.
#[derive(Debug, Default)]
pub struct Gate {
    is_open: Mutex<bool>,
    thread: Condvar,
    task: Notify,
}

impl Gate {
    /// Opens the gate, and wakes all that wait for it.
    pub fn open(&self) {
        *self.lock() = true;
        self.thread.notify_all();
        self.task.notify_waiters();
    }

    /// Closes the gate.
    pub fn close(&self) {
        *self.lock() = false;
    }

    /// Returns whether it is open.
    pub fn is_open(&self) -> bool {
        *self.lock()
    }

    /// Waits among the tasks.
    ///
    /// Cancel safe: yes.
    pub async fn opened(&self) {
        loop {
            let mut opened = std::pin::pin!(self.task.notified());
            // Registered before the check, so that an opening in between is noticed.
            opened.as_mut().enable();
            if self.is_open() {
                return;
            }
            opened.await;
        }
    }

    /// Waits on a thread, for at most `most`; returns whether it is open.
    fn wait(&self, most: Duration) -> bool {
        let waited = self.thread.wait_timeout_while(self.lock(), most, |open| !*open);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// Returns how long to wait before the peer is looked at; `None` once the wait is over.
    fn turn(&self) -> Option<Duration> {
        let left = match self.until {
            Some(until) => until.checked_duration_since(Instant::now())?,
            None => LOOK_UP,
        };
        (!left.is_zero()).then(|| left.min(LOOK_UP))
    }

    /// Waits on a thread for one turn.
    ///
    /// # Errors
    /// The peer reset the connection, or the server shut it.
    pub(super) fn blocking(&self, socket: &impl AsFd) -> io::Result<Waited> {
        let Some(turn) = self.turn() else { return Ok(Waited::Late) };
        let opened = self.gate.wait(turn);
        self.looked(opened, socket)
    }

    /// Like [`Wait::blocking`], on the runtime.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// As [`Self::blocking`].
    pub(super) async fn cooperative(&self, socket: &impl AsFd) -> io::Result<Waited> {
        let Some(turn) = self.turn() else { return Ok(Waited::Late) };
        let opened = tokio::time::timeout(turn, self.gate.opened()).await.is_ok();
        self.looked(opened, socket)
    }

    fn looked(&self, opened: bool, socket: &impl AsFd) -> io::Result<Waited> {
        let gone = !opened && is_gone(socket, self.gone_below)?;
        Ok(if gone { Waited::Gone } else { Waited::AskAgain })
    }
}

/// How one turn of a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// The gate opened, or it is time to ask the session again.
    AskAgain,
    /// The deadline passed.
    Late,
    /// The peer sent FIN, and is gone.
    Gone,
}

/// Returns whether the peer sent FIN behind fewer unread bytes than `gone_below`. They stay unread.
fn is_gone(socket: &impl AsFd, gone_below: u64) -> io::Result<bool> {
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let seen = polled[0].revents();
    // A Unix socket whose peer closed hangs up, and its input may still be unread.
    let reset = PollFlags::ERR | PollFlags::HUP;
    if seen.contains(PollFlags::ERR) || (seen.intersects(reset) && !is_unix(socket)) {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    if !seen.contains(PollFlags::RDHUP) {
        return Ok(false);
    }
    Ok(rustix::io::ioctl_fionread(socket)? < gone_below)
}

/// Interval of checks that the peer of a waiting session is there.
const LOOK_UP: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::sync::Arc;

    use super::super::{
        Event, Interest, Next, Placement, Produced, Pumped, Session, pump_blocking,
        pump_cooperative,
    };
    use super::*;

    /// Waits until its gate opens; records its input.
    struct Waiter {
        gate: Arc<Gate>,
        until: Option<Instant>,
        /// It is gone if FIN arrived with fewer bytes than these.
        expects: u64,
        /// Opens its gate when it is first asked for its interest, and has output from then on.
        opens_itself: bool,
        events: Vec<String>,
    }

    impl Waiter {
        fn new(until: Option<Instant>, expects: u64) -> Self {
            Self { gate: Arc::default(), until, expects, opens_itself: false, events: Vec::new() }
        }
    }

    impl Session for Waiter {
        type Successor = ();

        fn interest(&self) -> Interest {
            let wait =
                Wait { gate: self.gate.clone(), until: self.until, gone_below: self.expects };
            let wait = (!self.gate.is_open()).then_some(wait);
            let is_open = self.gate.is_open();
            if self.opens_itself {
                self.gate.open();
            }
            let produce = self.opens_itself && is_open;
            // It stays on its thread.
            let place = Placement::Thread;
            Interest { produce, wait, place, ..Interest::input(Duration::from_secs(20)) }
        }

        fn handle(&mut self, event: Event<'_>, _: Instant, _: &mut Vec<u8>) -> Next<()> {
            let finished = !matches!(event, Event::Bytes(..) | Event::Shutdown);
            self.events.push(match event {
                Event::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                other => format!("{other:?}"),
            });
            if finished { Next::Finish } else { Next::Continue }
        }

        fn produce(&mut self, _: &mut [u8], _: &mut Vec<u8>) -> io::Result<Produced<()>> {
            self.events.push("sent".to_owned());
            Ok(Produced::Next(Next::Finish))
        }
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// On both loops.
    fn on_both(waiter: impl Fn() -> Waiter, peer: impl Fn(TcpStream, &Gate) + Sync) -> [Waiter; 2] {
        let run = |blocking: bool| {
            let (client, server) = pair();
            let mut waiter = waiter();
            let gate = waiter.gate.clone();
            std::thread::scope(|scope| {
                scope.spawn(|| peer(client, &gate));
                let pumped = if blocking {
                    pump_blocking(&server, &mut [0; 64], &mut waiter)
                } else {
                    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
                    runtime.unwrap().block_on(async {
                        server.set_nonblocking(true).unwrap();
                        let server = tokio::net::TcpStream::from_std(server).unwrap();
                        let never = std::future::pending();
                        pump_cooperative(&server, &mut [0; 64], &mut waiter, u64::MAX, never).await
                    })
                };
                if let Err(error) = pumped.map(|pumped| assert_eq!(pumped, Pumped::Finished)) {
                    waiter.events.push(error.kind().to_string());
                }
            });
            waiter
        };
        [run(true), run(false)]
    }

    #[test]
    fn a_waiting_session_reads_nothing_until_its_gate_opens() {
        let waiters = on_both(
            || Waiter::new(None, 0),
            |mut client, gate| {
                client.write_all(b"early").unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                // Long enough for more than one check.
                std::thread::sleep(2 * LOOK_UP);
                gate.open();
            },
        );
        for waiter in waiters {
            assert_eq!(waiter.events, ["early", "EndOfStream"]);
        }
    }

    #[test]
    fn a_wait_ends_in_time_with_an_idle_event() {
        let until = || Some(Instant::now() + Duration::from_millis(20));
        let (hold, held) = std::sync::mpsc::channel();
        let waiters = on_both(|| Waiter::new(until(), 0), |client, _| hold.send(client).unwrap());
        for waiter in waiters {
            assert_eq!(waiter.events, ["Idle"]);
        }
        assert_eq!(held.try_iter().count(), 2);
    }

    #[test]
    fn a_peer_that_leaves_while_its_session_waits_is_noticed() {
        let leaves = |mut client: TcpStream, _: &Gate| client.write_all(b"four").unwrap();
        for waiter in on_both(|| Waiter::new(None, 5), leaves) {
            assert_eq!(waiter.events, ["EndOfStream"]);
        }
        let resets = |client: TcpStream, _: &Gate| {
            let socket = socket2::SockRef::from(&client);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        };
        for waiter in on_both(|| Waiter::new(None, 0), resets) {
            assert_eq!(waiter.events, ["connection reset"]);
        }
    }

    #[test]
    fn content_that_opens_the_gate_later_is_sent() {
        let waiter = || Waiter { opens_itself: true, ..Waiter::new(None, 0) };
        let (hold, held) = std::sync::mpsc::channel();
        for waiter in on_both(waiter, |client, _| hold.send(client).unwrap()) {
            assert_eq!(waiter.events, ["sent"]);
        }
        assert_eq!(held.try_iter().count(), 2);
    }

    #[test]
    fn a_gate_that_opens_between_check_and_wait_is_noticed() {
        let gate = Gate::default();
        std::thread::scope(|scope| {
            for _ in 0..1000 {
                gate.close();
                scope.spawn(|| gate.open());
                assert!(gate.wait(Duration::from_secs(20)));
            }
        });
    }
}
