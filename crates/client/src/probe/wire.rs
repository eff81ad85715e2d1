//! A connection of a probe: with a time limit for all of it, in the clear or under TLS.
//!
//! Unlike a connection for transfers it continues with a server that is not trusted, because a
//! probe sends nothing secret.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyport_net::address::Address;
use anyport_net::unix;
use anyport_tls::{ClientMachine, TlsError};
use socket2::SockRef;

/// A connection until its time limit.
pub(super) struct Wire {
    socket: TcpStream,
    until: Instant,
    machine: Option<Box<ClientMachine>>,
    /// Decrypted input.
    plain: Vec<u8>,
    /// The first bytes that arrived, encrypted or not.
    pub(super) first: Vec<u8>,
    /// When they arrived.
    pub(super) first_at: Option<Instant>,
}

/// Why nothing more arrives.
#[derive(Debug)]
pub(super) enum End {
    /// The server closed the connection.
    Closed,
    /// It reset the connection.
    Reset,
    /// The time limit passed.
    Late,
    /// TLS failed.
    Tls(TlsError),
    /// Another error of the system.
    Failed(io::Error),
}

impl End {
    fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Late,
            _ => Self::Failed(error),
        }
    }
}

impl Wire {
    /// Connects within `connect_timeout`; everything after that has `limit`.
    pub(super) fn connect(
        address: &Address,
        connect_timeout: Duration,
        limit: Duration,
    ) -> io::Result<Self> {
        let socket = match address {
            Address::Tcp(address) => {
                let socket = TcpStream::connect_timeout(address, connect_timeout)?;
                let _ = socket.set_nodelay(true);
                socket
            }
            Address::Unix(path) => unix::connect(path, connect_timeout)?,
        };
        let until = Instant::now() + limit;
        Ok(Self {
            socket,
            until,
            machine: None,
            plain: Vec::new(),
            first: Vec::new(),
            first_at: None,
        })
    }

    pub(super) const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Shakes hands.
    pub(super) fn encrypt(&mut self, machine: ClientMachine) -> Result<&ClientMachine, End> {
        let mut machine = Box::new(machine);
        let (mut buffer, mut count) = (vec![0; READ], 0);
        let mut out = Vec::new();
        loop {
            let opened = machine.open(&mut buffer[..count], &mut self.plain, &mut out);
            // Includes the alert of a failed handshake.
            let written = self.write_all(&out);
            out.clear();
            opened.map_err(End::Tls)?;
            written?;
            if !machine.is_handshaking() {
                return Ok(self.machine.insert(machine));
            }
            count = self.receive(&mut buffer)?;
        }
    }

    /// Writes all of `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        let Some(machine) = &mut self.machine else { return self.write_all(bytes) };
        let mut out = Vec::new();
        machine.seal(bytes, &mut out).map_err(End::Tls)?;
        self.write_all(&out)
    }

    /// Appends the next input to `into`: at least one byte.
    pub(super) fn read(&mut self, into: &mut Vec<u8>) -> Result<(), End> {
        let mut buffer = [0; READ];
        loop {
            if !self.plain.is_empty() {
                into.append(&mut self.plain);
                return Ok(());
            }
            if self.machine.as_ref().is_some_and(|machine| machine.is_ended()) {
                return Err(End::Closed);
            }
            let count = self.receive(&mut buffer)?;
            let Some(machine) = &mut self.machine else {
                into.extend_from_slice(&buffer[..count]);
                return Ok(());
            };
            let mut out = Vec::new();
            let opened = machine.open(&mut buffer[..count], &mut self.plain, &mut out);
            // An alert, or a new key; its loss does not change the received data.
            let _ = self.write_all(&out);
            opened.map_err(End::Tls)?;
        }
    }

    /// Reads the first output of the server, within `limit`.
    pub(super) fn listen(&mut self, limit: Duration) -> (Vec<u8>, End) {
        self.until = self.until.min(Instant::now() + limit);
        let mut greeting = Vec::new();
        let end = loop {
            match self.read(&mut greeting) {
                Ok(()) if greeting.len() >= MAX_GREETING => break End::Late,
                // The rest follows soon.
                Ok(()) => self.until = self.until.min(Instant::now() + REST),
                Err(end) => break end,
            }
        };
        greeting.truncate(MAX_GREETING);
        (greeting, end)
    }

    /// Ends the connection by a reset instead of a FIN, which a receiver of raw bytes would take
    /// for the end of a file.
    pub(super) fn abandon(&self) {
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, End> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(End::Late);
            }
            self.socket.set_read_timeout(Some(left)).map_err(End::Failed)?;
            match self.socket.read(buffer) {
                Ok(0) => return Err(End::Closed),
                Ok(count) => {
                    self.first_at.get_or_insert_with(Instant::now);
                    let room = FIRST.saturating_sub(self.first.len()).min(count);
                    self.first.extend_from_slice(&buffer[..room]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(End::of(error)),
            }
        }
    }

    fn write_all(&self, bytes: &[u8]) -> Result<(), End> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(End::Late);
        }
        let limited = self.socket.set_write_timeout(Some(left));
        limited.and_then(|()| (&self.socket).write_all(bytes)).map_err(End::of)
    }
}

/// Time between two parts of a greeting.
const REST: Duration = Duration::from_millis(200);

/// Maximum number of bytes of a greeting that are read.
const MAX_GREETING: usize = 4 * 1024;

/// Size of one read.
const READ: usize = 16 * 1024;

/// Maximum number of first bytes that are kept.
const FIRST: usize = 256;
