//! The loop among the tasks of the runtime.

use std::io;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use super::gate::Waited;
use super::outgoing::{Outgoing, in_time, send_piece, write};
use super::{Flow, Input, Interest, Placement, Read, Step, Wait, sleep_cooperative, trim};
use crate::blocking;

/// Why the loop stopped without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pumped {
    /// The step finished.
    Finished,
    /// A bulk transfer has shown itself; go on with a blocking loop.
    Bulk,
    /// A conversation has begun; go on with a reactor.
    Conversation,
    /// A bulk transfer has ended, and the step waits for something else; go on among the tasks.
    Small,
}

/// Drives `session` on the runtime until it finishes, or until `bulk_after` bytes were moved for a
/// bulk transfer. Once `stopping` is ready the session is notified. [`Step`] has the calling order.
///
/// Cancel safe: no. Dropped in the middle, output may be half written; the connection must then be
/// closed.
///
/// # Errors
/// What reading or writing the socket returned, or `TimedOut` if the peer does not accept output;
/// the session has not been notified.
pub async fn pump(
    socket: &TcpStream,
    buffer: &mut [u8],
    session: &mut (impl Step + Send),
    bulk_after: u64,
    stopping: impl Future<Output = ()>,
) -> io::Result<Pumped> {
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
        let event = if produce {
            if std::mem::take(&mut produced) && matches!(read, Read::WhileProducing) {
                match socket.try_read(buffer) {
                    Ok(count @ 1..) => Event::Bytes(count),
                    _ => continue,
                }
            } else if let Some(wait) = wait {
                in_time(wait.cooperative(socket).await?)?;
                continue;
            } else {
                if let Some(at) = wake {
                    sleep_cooperative(at).await;
                }
                produced = true;
                match send(socket, buffer, session, &mut out, may_block, idle).await? {
                    Some(sent) => moved += sent,
                    None => {
                        write(socket, &out, session.interest().idle).await?;
                        return Ok(Pumped::Finished);
                    }
                }
                continue;
            }
        } else if place == Placement::Reactor {
            return Ok(Pumped::Conversation);
        } else {
            tokio::select! {
                biased;
                () = &mut stopping, if !notified => {
                    notified = true;
                    Event::Stopping
                }
                event = next(socket, buffer, idle, wake, wait) => event?,
            }
        };
        let input = match event {
            Event::AskAgain => continue,
            Event::Stopping => Input::Stopping,
            Event::Silence => Input::Silence,
            Event::Timer => Input::Timer(Instant::now()),
            Event::Bytes(0) => Input::EndOfStream,
            Event::Bytes(count) => {
                if !produce {
                    moved += count as u64;
                }
                let (bytes, _) = buffer.split_at_mut(count);
                Input::Bytes(bytes, Instant::now())
            }
        };
        let flow = if may_block {
            blocking::run(|| session.step(input, &mut out)).await
        } else {
            session.step(input, &mut out)
        };
        if flow == Flow::Finish {
            write(socket, &out, session.interest().idle).await?;
            return Ok(Pumped::Finished);
        }
    }
}

enum Event {
    AskAgain,
    Bytes(usize),
    Silence,
    Stopping,
    Timer,
}

/// Sends one piece of content and returns how many bytes were written, or `None` if the session
/// finished. The bytes that go before content are written with it; those without content are left
/// in `out`.
async fn send(
    socket: &TcpStream,
    buffer: &mut [u8],
    session: &mut (impl Step + Send),
    out: &mut Vec<u8>,
    may_block: bool,
    idle: Duration,
) -> io::Result<Option<u64>> {
    let outgoing = if may_block {
        blocking::run(|| session.outgoing(buffer, out)).await?
    } else {
        session.outgoing(buffer, out)?
    };
    // Under TLS all content is in `out`.
    let before = out.len() as u64;
    let sent = match outgoing {
        Outgoing::Nothing | Outgoing::Bytes(0) => return Ok(Some(before)),
        Outgoing::Finish => return Ok(None),
        Outgoing::Bytes(count) => {
            write(socket, out, idle).await?;
            write(socket, &buffer[..count], idle).await?;
            count as u64
        }
        Outgoing::File(piece) => {
            write(socket, out, idle).await?;
            let sent = send_piece(socket, buffer, &piece, idle).await?;
            session.sent(sent);
            sent
        }
    };
    trim(out);
    Ok(Some(before + sent))
}

/// Waits for the next event of a session that produces nothing.
///
/// Cancel safe: yes.
async fn next(
    socket: &TcpStream,
    buffer: &mut [u8],
    idle: Duration,
    wake: Option<Instant>,
    wait: Option<Wait>,
) -> io::Result<Event> {
    if let Some(wait) = wait {
        return Ok(match wait.cooperative(socket).await? {
            Waited::AskAgain => Event::AskAgain,
            Waited::Late => Event::Silence,
            Waited::Gone => Event::Bytes(0),
        });
    }
    if let Some(at) = wake {
        sleep_cooperative(at).await;
        return Ok(Event::Timer);
    }
    read(socket, buffer, idle).await
}

/// Cancel safe: yes; bytes are taken from the socket only in the call that gives them.
async fn read(socket: &TcpStream, buffer: &mut [u8], idle: Duration) -> io::Result<Event> {
    loop {
        match socket.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map(Event::Bytes),
        }
        let Ok(ready) = timeout(idle, socket.readable()).await else {
            return Ok(Event::Silence);
        };
        ready?;
    }
}

#[cfg(test)]
mod tests {
    use anyport_testkit::noise;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Notify;

    use super::*;

    /// Remembers what it was given, and replies to each input of bytes with `reply` bytes a byte.
    #[derive(Default)]
    struct Recorder {
        received: Vec<u8>,
        silences: usize,
        stops: usize,
        patience: Duration,
        reply: usize,
        /// Bytes that it handles at once; the others are set aside. 0: all.
        sip: usize,
        waiting: Vec<u8>,
        wake: Option<Instant>,
    }

    impl Recorder {
        /// The first wake-up is in the past when it is asked for, the others in the future.
        fn sip(&mut self, at: Instant) {
            let rest = self.waiting.split_off(self.sip.min(self.waiting.len()));
            self.received.append(&mut self.waiting);
            self.waiting = rest;
            let later = if self.wake.is_some() { Duration::from_millis(1) } else { Duration::ZERO };
            self.wake = (!self.waiting.is_empty()).then_some(at + later);
        }
    }

    impl Step for Recorder {
        fn interest(&self) -> Interest {
            let place = if self.sip > 0 { Placement::Thread } else { Placement::Runtime };
            Interest { wake: self.wake, place, ..Interest::input(self.patience) }
        }

        fn step(&mut self, input: Input<'_>, replies: &mut Vec<u8>) -> Flow {
            match input {
                Input::Bytes(bytes, at) if self.sip > 0 => {
                    self.waiting.extend_from_slice(bytes);
                    self.sip(at);
                }
                Input::Timer(at) => self.sip(at),
                Input::Bytes(bytes, _) => {
                    self.received.extend_from_slice(bytes);
                    bytes.iter().for_each(|byte| {
                        replies.resize(replies.len() + self.reply, *byte);
                    });
                }
                Input::Silence => self.silences += 1,
                Input::Stopping | Input::Unseen(..) => self.stops += 1,
                Input::EndOfStream => return Flow::Finish,
            }
            Flow::Continue
        }
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    /// A read that gives way, to silence or to the word that the program stops, has taken nothing from the socket.
    #[tokio::test]
    async fn io_4_reads_that_give_way_lose_nothing() {
        let (mut client, server) = pair().await;
        let sent = noise(20_000, 1);
        let stop = Notify::new();
        let mut step = Recorder { patience: Duration::from_micros(50), ..Recorder::default() };
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

    /// Replies are out before the next read, also to a peer that takes a byte at a time: none waits for more input.
    #[tokio::test]
    async fn io_5_each_reply_is_out_before_the_next_read() {
        let (mut client, server) = pair().await;
        let mut step =
            Recorder { patience: Duration::from_secs(60), reply: 3, ..Recorder::default() };
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

    /// More than the socket takes at once: the loop waits for the peer, reads nothing meanwhile, and loses nothing.
    #[tokio::test]
    async fn io_5_a_long_reply_is_written_whole_to_a_slow_reader() {
        let (mut client, server) = pair().await;
        let reply = 16 * 1024 * 1024;
        let mut step = Recorder { patience: Duration::from_secs(60), reply, ..Recorder::default() };
        let mut buffer = [0; 64];
        let asked = async {
            client.write_all(b"x").await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'x');
            // Read only after the first reply, so behind all of it comes the second.
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

    /// The peer stays silent behind its burst; on both loops.
    #[tokio::test]
    async fn input_that_is_set_aside_is_handled_in_silence() {
        for blocking in [false, true] {
            let (mut client, server) = pair().await;
            let patience = Duration::from_millis(300);
            let mut step = Recorder { patience, sip: 10, ..Recorder::default() };
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

    /// A peer that takes nothing is given up; what it holds is one reply.
    #[tokio::test]
    async fn bp_1_a_peer_that_reads_nothing_is_given_up() {
        let (mut client, server) = pair().await;
        let patience = Duration::from_millis(200);
        let mut step = Recorder { patience, reply: 64 * 1024 * 1024, ..Recorder::default() };
        client.write_all(b"x").await.unwrap();
        let pumped = pump(&server, &mut [0; 64], &mut step, u64::MAX, std::future::pending()).await;
        assert_eq!(pumped.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
