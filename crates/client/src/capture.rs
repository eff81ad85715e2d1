//! The packets of traced connections: from the capture of the kernel to the segments of a trace.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyport_net::capture::{self, Checksum, Match};
use anyport_trace::{PcapWriter, Recorder, tcp};

pub use anyport_net::capture::{CaptureError, MAX_SNAPLEN};

/// Hint for users without the capability that a capture needs.
pub const CAPTURE_HINT: &str =
    "run it as root, or permit it once: sudo setcap cap_net_raw+ep \"$(command -v anyport)\"";

/// Bytes of each packet that have the headers of IP and TCP with all options.
pub const HEADERS: u32 = 128;

/// Captures the packets of the connections of a trace.
///
/// Clones are the same capture.
#[derive(Debug, Clone)]
pub struct Capture(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None` once it has ended.
    capture: Mutex<Option<capture::Capture>>,
    flows: Arc<Flows>,
}

#[derive(Debug)]
struct Flows {
    flows: Mutex<tcp::Flows>,
    /// Notified when no connection is open.
    over: Condvar,
}

/// How long the last packets of a connection that was closed may take.
const GRACE: Duration = Duration::from_millis(200);

impl Capture {
    /// Begins a capture of `snaplen` bytes of each packet: their segments go to `recorder`, and the
    /// packets to `pcap`, if there is one.
    ///
    /// # Errors
    /// Capturing is not permitted, or the system cannot do it.
    pub fn start(
        recorder: &Recorder,
        snaplen: u32,
        pcap: Option<PcapWriter>,
    ) -> Result<Self, CaptureError> {
        let pcap = pcap.map(|pcap| pcap.with_names(capture::interface_name));
        let flows = Mutex::new(tcp::Flows::new(recorder, pcap));
        let flows = Arc::new(Flows { flows, over: Condvar::new() });
        let into = Arc::clone(&flows);
        let capture = capture::Capture::start(snaplen, move |packet| into.add(packet))?;
        Ok(Self(Arc::new(Shared { capture: Mutex::new(Some(capture)), flows })))
    }

    /// Connection `number` is being made to one of `servers`.
    pub(crate) fn dialing(&self, number: u32, servers: &[SocketAddr]) {
        self.change(|capture| capture.retain(|one| one.local_port.is_some()));
        self.0.flows.lock().dialing(number, servers);
        for server in servers {
            let ip = Some(server.ip()).filter(|ip| !ip.is_unspecified());
            self.change(|capture| {
                capture.include(Match { server: ip, port: server.port(), local_port: None })
            });
        }
    }

    /// The connection that was being made is `stream`.
    pub(crate) fn connected(&self, number: u32, stream: &TcpStream) {
        let (Ok(client), Ok(server)) = (stream.local_addr(), stream.peer_addr()) else { return };
        self.0.flows.lock().connected(number, client, server);
        let one = Match {
            server: Some(server.ip()),
            port: server.port(),
            local_port: Some(client.port()),
        };
        self.change(|capture| capture.include(one));
        self.change(|capture| capture.retain(|one| one.local_port.is_some()));
    }

    /// A filter that the kernel does not accept leaves the one before: packets are missing then,
    /// which the trace shows.
    fn change(&self, change: impl FnOnce(&capture::Capture) -> Result<(), CaptureError>) {
        if let Some(capture) = &*lock(&self.0.capture)
            && let Err(error) = change(capture)
        {
            tracing::debug!(%error, "the filter of the capture");
        }
    }

    /// Ends the capture, a short time after all connections ended.
    ///
    /// Returns how many packets went to the pcapng file.
    ///
    /// # Errors
    /// Writing that file failed.
    pub fn finish(&self) -> io::Result<u64> {
        let flows = &self.0.flows;
        let waited = flows.over.wait_timeout_while(flows.lock(), GRACE, |flows| !flows.is_over());
        drop(waited);
        let capture = lock(&self.0.capture).take();
        let lost = capture.as_ref().map_or(0, capture::Capture::lost);
        drop(capture);
        flows.lock().finish(lost)
    }
}

impl Flows {
    fn add(&self, packet: capture::Packet<'_>) {
        let capture::Packet { at, since_1970, interface, outgoing, bytes, length, checksum } =
            packet;
        let checksum = match checksum {
            Checksum::Unknown => anyport_trace::Checksum::Unknown,
            Checksum::Valid => anyport_trace::Checksum::Verified,
            Checksum::Pending => anyport_trace::Checksum::Offloaded,
        };
        let mut flows = self.lock();
        flows.add(tcp::Packet { at, since_1970, interface, outgoing, bytes, length, checksum });
        if flows.is_over() {
            self.over.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, tcp::Flows> {
        lock(&self.flows)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
