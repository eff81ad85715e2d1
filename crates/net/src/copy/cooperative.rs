//! The loop among the tasks of the runtime.

use std::io;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::gate::{Waited, wait_cooperative};
use super::outgoing::{Sent, send_cooperative, write};
use super::{Flow, Input, Step, sleep_cooperative, trim};
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

/// Moves bytes between `socket` and `step` until it finishes, or until `bulk_after` bytes came or went for a bulk transfer. When
/// `stopping` is ready the step is told, once.
///
/// Cancel safe: no. Dropped in the middle, replies may be half written; the connection must then be closed.
///
/// # Errors
/// What reading or writing the socket said, or `TimedOut` when the peer does not take our replies; the step has not
/// been told.
pub async fn pump(
    socket: &TcpStream,
    buffer: &mut [u8],
    step: &mut (impl Step + Send),
    bulk_after: u64,
    stopping: impl Future<Output = ()>,
) -> io::Result<Pumped> {
    let mut stopping = std::pin::pin!(stopping);
    let mut told = false;
    let mut replies = Vec::new();
    let mut moved = 0_u64;
    loop {
        // Asked before: what opens a gate while it is found that nothing is to be sent may be something to send.
        let was_held = step.held().is_some();
        match send_cooperative(socket, buffer, &mut replies, step, &mut moved, bulk_after).await? {
            Sent::All(Flow::Continue) => {}
            Sent::All(Flow::Finish) => return Ok(Pumped::Finished),
            Sent::Bulk => return Ok(Pumped::Bulk),
        }
        if step.is_conversation() {
            return Ok(Pumped::Conversation);
        }
        let (patience, wake) = (step.patience(), step.wake());
        let was_held = was_held || step.held().is_some();
        let waiting = &mut *step;
        let next = async {
            match wait_cooperative(socket, waiting).await? {
                Waited::Free if was_held => return Ok(Read::Freed),
                Waited::Free => {}
                Waited::Late => return Ok(Read::Silence),
                Waited::Gone => return Ok(Read::Bytes(0)),
            }
            if let Some(at) = wake {
                sleep_cooperative(at).await;
                return Ok(Read::Timer);
            }
            read(socket, buffer, patience).await
        };
        let read = tokio::select! {
            biased;
            () = &mut stopping, if !told => {
                told = true;
                Read::Stopping
            }
            read = next => read?,
        };
        let input = match read {
            // Who waited may have something to send now.
            Read::Freed => continue,
            Read::Stopping => Input::Stopping,
            Read::Silence => Input::Silence,
            Read::Timer => Input::Timer(Instant::now()),
            Read::Bytes(0) => Input::EndOfStream,
            Read::Bytes(count) => {
                moved += count as u64;
                let (bytes, _) = buffer.split_at_mut(count);
                Input::Bytes(bytes, Instant::now())
            }
        };
        let flow = if step.may_block() {
            blocking::run(|| step.step(input, &mut replies)).await
        } else {
            step.step(input, &mut replies)
        };
        if !replies.is_empty() {
            // Asked anew: what was waited for may be here now, and its answer has all the time again.
            write(socket, &replies, step.patience()).await?;
            trim(&mut replies);
        }
        if flow == Flow::Finish {
            return Ok(Pumped::Finished);
        }
        if moved >= bulk_after && step.is_bulk() {
            return Ok(Pumped::Bulk);
        }
    }
}

enum Read {
    Freed,
    Bytes(usize),
    Silence,
    Stopping,
    Timer,
}

/// Cancel safe: yes; bytes are taken from the socket only in the call that gives them.
async fn read(socket: &TcpStream, buffer: &mut [u8], patience: Duration) -> io::Result<Read> {
    loop {
        match socket.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map(Read::Bytes),
        }
        let Ok(ready) = timeout(patience, socket.readable()).await else {
            return Ok(Read::Silence);
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
        fn patience(&self) -> Duration {
            self.patience
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

        fn may_block(&self) -> bool {
            false
        }

        fn is_bulk(&self) -> bool {
            self.sip > 0
        }

        fn wake(&self) -> Option<Instant> {
            self.wake
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
