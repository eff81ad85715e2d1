//! The client role of the Autobahn suite, on `anyport_proto` and a blocking socket: no runtime, no
//! message is assembled before it is known to be within the limit. Also an answer to "how do I
//! write a client on the sans-IO machine?".
//!
//! ```text
//! wstest -m fuzzingserver -s spec.json &
//! cargo run --release --package anyport-client --example autobahn_client -- 127.0.0.1:9001
//! ```
#![expect(clippy::print_stdout, reason = "an example prints for its user")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyport_proto::http1::{Pushed, ResponseHeadReader};
use anyport_proto::limits::Limits;
use anyport_proto::ws::handshake::{ClientTarget, Key, request, verify};
use anyport_proto::ws::{CloseCode, Event, KeySource, Kind, Receiver, Role, Sender};

/// The name in the suite's report.
const AGENT: &str = "anyport";

fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let mut count = None;
    Session::open(&server, "/getCaseCount")?.run(|_, message| {
        count = std::str::from_utf8(message).ok().and_then(|text| text.parse().ok());
        None
    })?;
    let count: u32 = count.ok_or("the server did not say how many cases there are")?;
    for case in 1..=count {
        let path = format!("/runCase?case={case}&agent={AGENT}");
        // A case may end in any way; the report judges it.
        let _ = Session::open(&server, &path)?.run(|_, message| Some(message.to_vec()));
    }
    Session::open(&server, &format!("/updateReports?agent={AGENT}"))?.run(|_, _| None)?;
    println!("{count} cases run as {AGENT}");
    Ok(())
}

struct Session {
    stream: TcpStream,
    receiver: Receiver,
    sender: Sender,
    /// Input after the head of the response.
    early: Vec<u8>,
}

impl Session {
    fn open(server: &str, path: &str) -> Result<Self, Box<dyn Error>> {
        let mut stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let key = Key::from_bytes(random);
        let target =
            ClientTarget { host: server, path, subprotocols: &[], fields: &[], deflate: true };
        stream.write_all(&request(&target, &key)?)?;
        let limits = Limits::default();
        let mut reader = ResponseHeadReader::new();
        let mut piece = [0; 4096];
        loop {
            let count = stream.read(&mut piece)?;
            if count == 0 {
                return Err("the server closed in the handshake".into());
            }
            if let Pushed::Done { head, used } = reader.push(&piece[..count], &limits)? {
                let verified = verify(&head, &key, &target)?;
                let mut receiver =
                    Receiver::new(Role::Client, &limits).with_message_limit(limits.echo_message);
                let mut sender = Sender::client(Random);
                if let Some(agreed) = &verified.deflate {
                    receiver = receiver.with_deflate(agreed);
                    sender = sender.with_deflate(agreed);
                }
                let early = piece[used..count].to_vec();
                return Ok(Self { stream, receiver, sender, early });
            }
        }
    }

    /// Gives each message to `answer` and sends what comes back, until the server closes.
    fn run(
        mut self,
        mut answer: impl FnMut(Kind, &[u8]) -> Option<Vec<u8>>,
    ) -> Result<(), Box<dyn Error>> {
        let mut message = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut bytes = std::mem::take(&mut self.early);
        loop {
            let mut replies = Vec::new();
            let mut rest = &mut bytes[..];
            while !self.sender.close_sent() {
                let used = match self.receiver.feed(rest) {
                    Ok((_, None)) => break,
                    Ok((used, Some(event))) => {
                        match event {
                            Event::Data { kind, data, end, .. } => {
                                message.extend_from_slice(data);
                                if end
                                    && let Some(reply) = answer(kind, &std::mem::take(&mut message))
                                {
                                    self.sender.message(kind, &reply, &mut replies)?;
                                }
                            }
                            Event::Ping(payload) => self.sender.pong(payload, &mut replies),
                            Event::Close { code, .. } => {
                                self.sender.close(code, "", &mut replies);
                            }
                            Event::Pong(_) => {}
                        }
                        used
                    }
                    Err(violation) => {
                        let code: CloseCode = violation.close_code();
                        self.sender.close(Some(code), &violation.to_string(), &mut replies);
                        0
                    }
                };
                rest = &mut std::mem::take(&mut rest)[used..];
            }
            self.stream.write_all(&replies)?;
            if self.sender.close_sent() {
                // The server closes TCP first (RFC 6455 §7.1.1); what it still sends is not for us.
                // A reset instead of a FIN changes nothing any more.
                let _ = self.stream.shutdown(Shutdown::Write);
                while self.stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
                return Ok(());
            }
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Err("the server closed without a Close".into());
            }
            bytes.clear();
            bytes.extend_from_slice(&buffer[..count]);
        }
    }
}

/// Mask keys from the kernel's random source.
struct Random;

impl KeySource for Random {
    fn next_key(&mut self) -> [u8; 4] {
        let mut key = [0; 4];
        getrandom::fill(&mut key).expect("the kernel gives random bytes");
        key
    }
}
