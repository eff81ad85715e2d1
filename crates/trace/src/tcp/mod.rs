//! Captured packets: segments of each connection, decoded, with marks.
//!
//! ```text
//!   packet ─► pending (client's port not known yet) ─► flow: one interface ─► track ─► event
//!                                                              └► pcapng
//! ```

mod decode;
mod interfaces;
mod track;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyport_proto::counted::counted;

use crate::diagnosis::Arrived;
use crate::event::{Basis, Event, Side, What};
pub use crate::pcap::Packet;
use crate::pcap::PcapWriter;
use crate::recorder::Recorder;
use crate::segment::{Mark, Segment};
use decode::decode;
use interfaces::{Interfaces, Owned};
use track::Track;

/// The connections of a capture: their packets become events of the trace, and a pcapng file.
#[derive(Debug)]
pub struct Flows {
    recorder: Recorder,
    pcap: Option<PcapWriter>,
    error: Option<io::Error>,
    /// The connection that is being made, and the addresses of its server.
    dialing: Option<(u32, Vec<SocketAddr>)>,
    /// Its packets, and those of others to the same server.
    pending: Vec<Owned>,
    /// Bytes of them.
    pending_bytes: usize,
    flows: Vec<Flow>,
    /// Packets that were not kept.
    lost: u64,
}

/// One connection.
#[derive(Debug)]
struct Flow {
    number: u32,
    client: SocketAddr,
    server: SocketAddr,
    interfaces: Interfaces,
    track: Track,
    segments: [u64; 2],
    payload: [u64; 2],
    /// Of the client, and of the server.
    marks: [[u64; MARKS.len()]; 2],
}

/// The marks that are counted, with their names for one and for several.
const MARKS: [(Mark, [&str; 2]); 8] = [
    (Mark::Retransmission, ["retransmission", "retransmissions"]),
    (Mark::Spurious, ["of them spurious"; 2]),
    (Mark::OutOfOrder, ["out of order"; 2]),
    (Mark::DuplicateAck, ["duplicate acknowledgement", "duplicate acknowledgements"]),
    (
        Mark::DuplicateSack,
        ["report of bytes that arrived twice", "reports of bytes that arrived twice"],
    ),
    (Mark::ZeroWindow, ["window of 0", "windows of 0"]),
    (Mark::Probe, ["probe", "probes"]),
    (Mark::WindowUpdate, ["window update", "window updates"]),
];

/// Maximum number of packets that wait until the client's port is known.
const MAX_PENDING: usize = 4096;
/// Maximum memory of them.
const MAX_PENDING_BYTES: usize = 4 << 20;
/// Maximum number of connections that are tracked; the first ones end.
const MAX_FLOWS: usize = 64;

impl Flows {
    /// Begins with no connection.
    ///
    /// All packets of connections go to `pcap`, too.
    #[must_use]
    pub fn new(recorder: &Recorder, pcap: Option<PcapWriter>) -> Self {
        Self {
            recorder: recorder.clone(),
            pcap,
            error: None,
            dialing: None,
            pending: Vec::new(),
            pending_bytes: 0,
            flows: Vec::new(),
            lost: 0,
        }
    }

    /// Records that connection `number` is being made to one of these addresses.
    ///
    /// The unspecified address is any.
    pub fn dialing(&mut self, number: u32, servers: &[SocketAddr]) {
        self.recorder.captures();
        self.failed();
        self.dialing = Some((number, servers.iter().copied().map(canonical).collect()));
    }

    /// Records the addresses of the connection that was being made.
    ///
    /// Packets of other attempts and of other programs are discarded.
    pub fn connected(&mut self, number: u32, client: SocketAddr, server: SocketAddr) {
        self.dialing = None;
        self.begin(number, canonical(client), canonical(server));
        for packet in self.take_pending() {
            self.add(packet.borrow());
        }
    }

    /// The connection that was being made failed: all connections to its server that began
    /// meanwhile were attempts. Those of other programs have nothing but headers in the trace, and
    /// no payload in the pcapng file.
    fn failed(&mut self) {
        let Some((number, ..)) = self.dialing.take() else { return };
        let before = self.flows.len();
        for packet in self.take_pending() {
            let packet = packet.borrow();
            let decoded = decode(packet.bytes, packet.length as usize, packet.checksum);
            let Some(decoded) = decoded else { continue };
            if is_syn(&decoded.segment) && self.flow(decoded.source, decoded.destination).is_none()
            {
                self.begin(number, decoded.source, decoded.destination);
            }
            if decoded.segment.payload == 0 {
                self.add(packet);
            }
        }
        // What follows is not of this command.
        for flow in self.flows.split_off(before.min(self.flows.len())) {
            self.ended(&flow, self.lost == 0);
        }
    }

    /// Adds a packet of any connection.
    pub fn add(&mut self, packet: Packet<'_>) {
        let Some(decoded) = decode(packet.bytes, packet.length as usize, packet.checksum) else {
            return;
        };
        let Some(index) = self.flow(decoded.source, decoded.destination) else {
            self.wait(packet, decoded.source, decoded.destination);
            return;
        };
        for packet in self.flows[index].interfaces.accept(packet) {
            let packet = packet.borrow();
            if let Some(pcap) = &mut self.pcap
                && let Err(error) = pcap.write(&packet)
            {
                (self.pcap, self.error) = (None, Some(error));
            }
            let Some(decoded) = decode(packet.bytes, packet.length as usize, packet.checksum)
            else {
                continue;
            };
            let flow = &mut self.flows[index];
            let from = if decoded.source == flow.client { Side::Client } else { Side::Server };
            let at = self.recorder.time_of(packet.at);
            let what = What::Segment(flow.add(at.0, from, decoded.segment));
            let (connection, from, basis) = (Some(flow.number), Some(from), Basis::Observed);
            self.recorder.segment(Event { at, took: None, connection, from, basis, what });
        }
    }

    /// Keeps a packet that may be of the connection that is being made.
    fn wait(&mut self, packet: Packet<'_>, source: SocketAddr, destination: SocketAddr) {
        let Some((_, servers)) = &self.dialing else { return };
        let is_server = |end: SocketAddr| servers.iter().any(|server| is_same(*server, end));
        if !is_server(source) && !is_server(destination) {
            return;
        }
        let is_full = self.pending.len() >= MAX_PENDING
            || self.pending_bytes + packet.bytes.len() > MAX_PENDING_BYTES;
        if is_full {
            self.lost += 1;
            return;
        }
        self.pending_bytes += packet.bytes.len();
        self.pending.push(Owned::of(packet));
    }

    /// Returns whether nothing follows on any connection.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.dialing.is_none() && self.flows.iter().all(|flow| flow.track.is_over())
    }

    /// Ends the capture, of which the kernel lost `lost` packets.
    ///
    /// Returns how many packets went to the pcapng file.
    ///
    /// # Errors
    /// Writing that file failed.
    pub fn finish(&mut self, lost: u64) -> io::Result<u64> {
        self.failed();
        let lost = self.lost + lost;
        if lost > 0 {
            self.note(
                None,
                format!("{} not captured: they arrived too fast", counted(lost, "packet")),
            );
        }
        for flow in std::mem::take(&mut self.flows) {
            self.ended(&flow, lost == 0);
        }
        match self.error.take() {
            Some(error) => Err(error),
            None => self.pcap.take().map_or(Ok(0), PcapWriter::finish),
        }
    }

    fn note(&self, connection: Option<u32>, text: String) {
        let (at, basis) = (self.recorder.now(), Basis::Observed);
        let what = What::Note { text };
        self.recorder.segment(Event { at, took: None, connection, from: None, basis, what });
    }

    /// `is_whole`: whether no packet was lost. Else, and without segments of the other end, the
    /// capture shows nothing of what arrived, and the kernel's counts are used.
    fn ended(&self, flow: &Flow, is_whole: bool) {
        if is_whole && flow.segments[1] > 0 {
            self.recorder.arrived(flow.arrived());
        }
        self.note(Some(flow.number), flow.summary());
    }

    fn begin(&mut self, number: u32, client: SocketAddr, server: SocketAddr) {
        if self.flows.len() == MAX_FLOWS {
            let flow = self.flows.remove(0);
            self.ended(&flow, self.lost == 0);
        }
        self.flows.push(Flow {
            number,
            client,
            server,
            interfaces: Interfaces::default(),
            track: Track::default(),
            segments: [0; 2],
            payload: [0; 2],
            marks: [[0; MARKS.len()]; 2],
        });
    }

    fn flow(&self, source: SocketAddr, destination: SocketAddr) -> Option<usize> {
        let ends = [source, destination];
        self.flows.iter().rposition(|flow| {
            ends == [flow.client, flow.server] || ends == [flow.server, flow.client]
        })
    }

    fn take_pending(&mut self) -> Vec<Owned> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.pending)
    }
}

impl Flow {
    fn add(&mut self, at: Duration, from: Side, mut segment: Segment) -> Segment {
        self.track.add(at, from, &mut segment);
        let side = usize::from(from == Side::Server);
        self.segments[side] += 1;
        self.payload[side] += segment.payload;
        for (count, (mark, _)) in self.marks[side].iter_mut().zip(MARKS) {
            *count += u64::from(segment.marks.contains(&mark));
        }
        segment
    }

    /// What shows a receiver whether segments were lost or late.
    fn arrived(&self) -> Arrived {
        let of = |marks: [u64; MARKS.len()], mark| {
            MARKS.iter().zip(marks).find(|((other, _), _)| *other == mark).map_or(0, |(_, n)| n)
        };
        let [client, server] = self.marks;
        let (again, twice) = (of(server, Mark::Retransmission), of(client, Mark::DuplicateSack));
        Arrived { again, twice }
    }

    /// All segments, also those of which the trace has no event.
    fn summary(&self) -> String {
        let [client, server] = self.segments;
        if client + server == 0 {
            return "no packet of this connection was captured (its addresses may be translated)"
                .into();
        }
        let [sent, received] = self.payload;
        let [ours, theirs] = self.marks;
        let both = ours.iter().zip(theirs).map(|(one, other)| one + other);
        let marks = MARKS.iter().zip(both).filter(|(_, count)| *count > 0);
        let name = |names: [&'static str; 2], count: u64| names[usize::from(count != 1)];
        let marks = marks.map(|((_, names), count)| format!(", {count} {}", name(*names, count)));
        let marks: String = marks.collect();
        format!(
            "captured {} of the client with {}, {server} of the server with {}{marks}",
            counted(client, "segment"),
            counted(sent, "byte"),
            counted(received, "byte"),
        )
    }
}

fn is_syn(segment: &Segment) -> bool {
    segment.ack.is_none() && segment.flags.iter().any(|flag| flag == "SYN")
}

/// Returns whether `end` has the address of `server`; the unspecified one is any.
fn is_same(server: SocketAddr, end: SocketAddr) -> bool {
    server.port() == end.port() && (server.ip().is_unspecified() || server.ip() == end.ip())
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests;
