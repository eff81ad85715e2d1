//! The driver for tasks of the runtime.

use std::io;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use super::gate::Waited;
use super::outgoing::{in_time, send_piece, write, write_content};
use super::{
    Event, Interest, Next, Placement, Produced, Read, Session, Wait, sleep_cooperative, trim,
};
use crate::blocking;

/// Why the loop stopped without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pumped<S> {
    /// The session finished.
    Finished,
    /// The connection continues as another session.
    Became(S),
    /// The connection is a bulk transfer, and belongs in a blocking loop.
    Bulk,
    /// The connection is interactive, and belongs in a reactor.
    Interactive,
    /// A bulk transfer has ended, and the session waits for something else: it belongs in a task.
    Small,
}

/// Drives `session` on the runtime until it finishes, or until `bulk_after` bytes were moved for a
/// bulk transfer.
///
/// Once `stopping` is ready the session is notified. [`Session`] has the calling order.
///
/// Cancel safe: no. If it is dropped, output may be partly written; the connection must then be
/// closed.
///
/// # Errors
/// The error of reading or writing the socket, or `TimedOut` if the peer does not read; the session
/// has not been notified.
pub async fn pump<S: Session + Send>(
    socket: &TcpStream,
    buffer: &mut [u8],
    session: &mut S,
    bulk_after: u64,
    stopping: impl Future<Output = ()>,
) -> io::Result<Pumped<S::Successor>> {
    let mut stopping = std::pin::pin!(stopping);
    let mut notified = false;
    let mut out = Vec::new();
    let mut moved = 0_u64;
    let mut produced = false;
    loop {
        // Neither a peer that accepts everything immediately nor one that always has input makes
        // this task wait, and the other tasks of its thread would not run.
        consume_budget().await;
        let interest = session.interest();
        write(socket, &out, interest.idle).await?;
        trim(&mut out);
        if moved >= bulk_after && interest.place == Placement::Thread {
            return Ok(Pumped::Bulk);
        }
        let Interest { read, produce, idle, wake, wait, may_block, place } = interest;
        let next = if produce {
            if std::mem::take(&mut produced) && matches!(read, Read::WhileProducing) {
                let Ok(count @ 1..) = socket.try_read(buffer) else { continue };
                let event = Event::Bytes(buffer.split_at_mut(count).0);
                handle(session, event, &mut out, may_block).await
            } else if let Some(wait) = wait {
                in_time(wait.cooperative(socket).await?)?;
                continue;
            } else {
                if let Some(at) = wake {
                    sleep_cooperative(at).await;
                }
                produced = true;
                let (next, sent) = send(socket, buffer, session, &mut out, may_block, idle).await?;
                moved += sent;
                next
            }
        } else if place == Placement::Reactor {
            return Ok(Pumped::Interactive);
        } else {
            let event = tokio::select! {
                biased;
                () = &mut stopping, if !notified => {
                    notified = true;
                    Some(Event::Shutdown)
                }
                event = event(socket, buffer, idle, wake, wait) => event?,
            };
            let Some(event) = event else { continue };
            if let Event::Bytes(bytes) = &event {
                moved += bytes.len() as u64;
            }
            handle(session, event, &mut out, may_block).await
        };
        let pumped = match next {
            Next::Continue => continue,
            Next::Finish => Pumped::Finished,
            Next::Become(successor) => Pumped::Became(successor),
        };
        write(socket, &out, session.interest().idle).await?;
        return Ok(pumped);
    }
}

async fn handle<S: Session + Send>(
    session: &mut S,
    event: Event<'_>,
    out: &mut Vec<u8>,
    may_block: bool,
) -> Next<S::Successor> {
    let now = Instant::now();
    if may_block {
        blocking::run(|| session.handle(event, now, out)).await
    } else {
        session.handle(event, now, out)
    }
}

/// Sends one piece of content and returns how many bytes were written for it. The bytes that go
/// before content are written with it; those without content are left in `out`.
async fn send<S: Session + Send>(
    socket: &TcpStream,
    buffer: &mut [u8],
    session: &mut S,
    out: &mut Vec<u8>,
    may_block: bool,
    idle: Duration,
) -> io::Result<(Next<S::Successor>, u64)> {
    let produced = if may_block {
        blocking::run(|| session.produce(buffer, out)).await?
    } else {
        session.produce(buffer, out)?
    };
    // Under TLS it has the content too.
    let before = out.len() as u64;
    let (bytes, piece) = match produced {
        Produced::Next(next) => return Ok((next, before)),
        Produced::Bytes(count) => (&buffer[..count], None),
        Produced::File(piece) => (&buffer[..0], Some(piece)),
    };
    write_content(socket, out, idle).await?;
    trim(out);
    write_content(socket, bytes, idle).await?;
    let Some(piece) = piece else { return Ok((Next::Continue, before + bytes.len() as u64)) };
    let sent = send_piece(socket, buffer, &piece, idle).await?;
    Ok((session.handle(Event::Sent(sent), Instant::now(), out), before + sent))
}

/// Waits for the next event of a session that produces nothing; `None` if the session is to be
/// asked again.
///
/// Cancel safe: yes; bytes are removed from the socket only in the call that returns them.
async fn event<'b>(
    socket: &TcpStream,
    buffer: &'b mut [u8],
    idle: Duration,
    wake: Option<Instant>,
    wait: Option<Wait>,
) -> io::Result<Option<Event<'b>>> {
    if let Some(wait) = wait {
        return Ok(match wait.cooperative(socket).await? {
            Waited::AskAgain => None,
            Waited::Late => Some(Event::Idle),
            Waited::Gone => Some(Event::EndOfStream),
        });
    }
    if let Some(at) = wake {
        sleep_cooperative(at).await;
        return Ok(Some(Event::Timer));
    }
    Ok(Some(match read(socket, buffer, idle).await? {
        Some(0) => Event::EndOfStream,
        Some(count) => Event::Bytes(buffer.split_at_mut(count).0),
        None => Event::Idle,
    }))
}

/// Reads some bytes; returns `None` if none arrived within `idle`.
///
/// Cancel safe: yes.
async fn read(socket: &TcpStream, buffer: &mut [u8], idle: Duration) -> io::Result<Option<usize>> {
    loop {
        match socket.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map(Some),
        }
        let Ok(ready) = timeout(idle, socket.readable()).await else { return Ok(None) };
        ready?;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyport_testkit::noise;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Notify;

    use super::*;

    /// Records its input, and replies `reply` bytes to each input byte.
    #[derive(Default)]
    struct Recorder {
        received: Vec<u8>,
        silences: usize,
        stops: usize,
        idle_timeout: Duration,
        reply: usize,
        /// Number of bytes that it handles in one call; it sets the others aside. 0: all.
        sip: usize,
        waiting: Vec<u8>,
        wake: Option<Instant>,
    }

    impl Recorder {
        /// Requests a wake-up; the first one is in the past, the others in the future.
        fn sip(&mut self, at: Instant) {
            let rest = self.waiting.split_off(self.sip.min(self.waiting.len()));
            self.received.append(&mut self.waiting);
            self.waiting = rest;
            let later = if self.wake.is_some() { Duration::from_millis(1) } else { Duration::ZERO };
            self.wake = (!self.waiting.is_empty()).then_some(at + later);
        }
    }

    impl Session for Recorder {
        type Successor = ();

        fn interest(&self) -> Interest {
            let place = if self.sip > 0 { Placement::Thread } else { Placement::Runtime };
            Interest { wake: self.wake, place, ..Interest::input(self.idle_timeout) }
        }

        fn handle(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<u8>) -> Next<()> {
            match event {
                Event::Bytes(bytes) if self.sip > 0 => {
                    self.waiting.extend_from_slice(bytes);
                    self.sip(now);
                }
                Event::Timer => self.sip(now),
                Event::Bytes(bytes) => {
                    self.received.extend_from_slice(bytes);
                    bytes.iter().for_each(|byte| out.resize(out.len() + self.reply, *byte));
                }
                Event::Idle => self.silences += 1,
                Event::Shutdown => self.stops += 1,
                Event::EndOfStream => return Next::Finish,
                other => panic!("{other:?}"),
            }
            Next::Continue
        }
    }

    /// Echoes, and counts the calls of `interest` between two other calls.
    #[derive(Default)]
    struct Asked {
        asked: Cell<usize>,
        calls: usize,
        left: usize,
    }

    impl Asked {
        fn called(&mut self) {
            assert_eq!(self.asked.replace(0), 1, "call {}", self.calls);
            self.calls += 1;
        }
    }

    impl Session for Asked {
        type Successor = ();

        fn interest(&self) -> Interest {
            self.asked.set(self.asked.get() + 1);
            let (produce, place) = (self.left > 0, Placement::Thread);
            Interest { produce, place, ..Interest::input(Duration::from_secs(20)) }
        }

        fn handle(&mut self, event: Event<'_>, _: Instant, out: &mut Vec<u8>) -> Next<()> {
            self.called();
            match event {
                Event::Bytes(bytes) => out.extend_from_slice(bytes),
                Event::EndOfStream => return Next::Become(()),
                other => panic!("{other:?}"),
            }
            self.left = 3;
            Next::Continue
        }

        fn produce(&mut self, buffer: &mut [u8], _: &mut Vec<u8>) -> io::Result<Produced<()>> {
            self.called();
            self.left -= 1;
            buffer[0] = b'p';
            Ok(Produced::Bytes(1))
        }
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    /// A read that is cancelled by the idle timeout or by a shutdown removes nothing from the
    /// socket.
    #[tokio::test]
    async fn io_4_cancelled_reads_lose_nothing() {
        let (mut client, server) = pair().await;
        let sent = noise(20_000, 1);
        let stop = Notify::new();
        let mut step = Recorder { idle_timeout: Duration::from_micros(50), ..Recorder::default() };
        let mut buffer = [0; 7];
        let send = async {
            for (number, piece) in sent.chunks(100).enumerate() {
                client.write_all(piece).await.unwrap();
                if number == 50 {
                    stop.notify_one();
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            client.shutdown().await.unwrap();
        };
        let receive = pump(&server, &mut buffer, &mut step, u64::MAX, stop.notified());
        let (pumped, ()) = tokio::join!(receive, send);
        assert_eq!(pumped.unwrap(), Pumped::Finished);
        assert!(step.received == sent);
        assert_eq!(step.stops, 1);
        assert!(step.silences > 0, "the test has tried nothing");
    }

    /// Replies are written before the next read, also to a peer that reads a byte at a time: none
    /// waits for more input.
    #[tokio::test]
    async fn io_5_each_reply_is_out_before_the_next_read() {
        let (mut client, server) = pair().await;
        let mut step =
            Recorder { idle_timeout: Duration::from_secs(60), reply: 3, ..Recorder::default() };
        let mut buffer = [0; 64];
        let asked = async {
            for byte in 0..100 {
                client.write_u8(byte).await.unwrap();
                for _ in 0..3 {
                    assert_eq!(client.read_u8().await.unwrap(), byte);
                }
            }
            client.shutdown().await.unwrap();
        };
        let replied = pump(&server, &mut buffer, &mut step, u64::MAX, std::future::pending());
        let (pumped, ()) = tokio::join!(replied, asked);
        assert_eq!(pumped.unwrap(), Pumped::Finished);
    }

    /// More than the socket buffers hold: the loop waits for the peer, reads nothing meanwhile, and
    /// loses nothing.
    #[tokio::test]
    async fn io_5_a_long_reply_is_written_whole_to_a_slow_reader() {
        let (mut client, server) = pair().await;
        let reply = 16 * 1024 * 1024;
        let mut step =
            Recorder { idle_timeout: Duration::from_secs(60), reply, ..Recorder::default() };
        let mut buffer = [0; 64];
        let asked = async {
            client.write_all(b"x").await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'x');
            // Sent after the first reply, so the second one follows all of it.
            client.write_all(b"y").await.unwrap();
            let mut replies = vec![0; 2 * reply - 1];
            client.read_exact(&mut replies).await.unwrap();
            assert!(replies[..reply - 1].iter().all(|byte| *byte == b'x'));
            assert!(replies[reply - 1..].iter().all(|byte| *byte == b'y'));
            client.shutdown().await.unwrap();
        };
        let replied = pump(&server, &mut buffer, &mut step, u64::MAX, std::future::pending());
        let (pumped, ()) = tokio::join!(replied, asked);
        assert_eq!(pumped.unwrap(), Pumped::Finished);
    }

    /// The peer is silent after its burst; on both loops.
    #[tokio::test]
    async fn input_that_is_set_aside_is_handled_without_new_input() {
        for blocking in [false, true] {
            let (mut client, server) = pair().await;
            let idle_timeout = Duration::from_millis(300);
            let mut step = Recorder { idle_timeout, sip: 10, ..Recorder::default() };
            client.write_all(&[7; 95]).await.unwrap();
            client.shutdown().await.unwrap();
            let pumped = if blocking {
                let server = server.into_std().unwrap();
                server.set_nonblocking(false).unwrap();
                crate::copy::pump_blocking(&server, &mut [0; 64], &mut step)
            } else {
                let never = std::future::pending();
                pump(&server, &mut [0; 64], &mut step, u64::MAX, never).await
            };
            assert_eq!(pumped.unwrap(), Pumped::Finished);
            assert_eq!((step.received.len(), step.waiting.len()), (95, 0), "{blocking}");
        }
    }

    /// On both loops.
    #[tokio::test]
    async fn a_session_is_asked_once_before_each_call() {
        for blocking in [false, true] {
            let (mut client, server) = pair().await;
            let mut session = Asked::default();
            let client = tokio::spawn(async move {
                for _ in 0..20 {
                    client.write_all(b"x").await.unwrap();
                    let mut answer = [0; 4];
                    client.read_exact(&mut answer).await.unwrap();
                    assert_eq!(&answer, b"xppp");
                }
                client.shutdown().await.unwrap();
                client
            });
            let pumped = if blocking {
                let server = server.into_std().unwrap();
                server.set_nonblocking(false).unwrap();
                let run = move || {
                    let pumped = crate::copy::pump_blocking(&server, &mut [0; 64], &mut session);
                    (pumped, session)
                };
                let (pumped, ended) = tokio::task::spawn_blocking(run).await.unwrap();
                session = ended;
                pumped
            } else {
                let never = std::future::pending();
                pump(&server, &mut [0; 64], &mut session, u64::MAX, never).await
            };
            assert_eq!(pumped.unwrap(), Pumped::Became(()));
            assert_eq!(session.calls, 20 * 4 + 1);
            client.await.unwrap();
        }
    }

    /// A peer that reads nothing is disconnected; it costs one reply of memory.
    #[tokio::test]
    async fn bp_1_a_peer_that_reads_nothing_is_disconnected() {
        let (mut client, server) = pair().await;
        let idle_timeout = Duration::from_millis(200);
        let mut step = Recorder { idle_timeout, reply: 64 * 1024 * 1024, ..Recorder::default() };
        client.write_all(b"x").await.unwrap();
        let pumped = pump(&server, &mut [0; 64], &mut step, u64::MAX, std::future::pending()).await;
        assert_eq!(pumped.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
