//! One interface of each connection: a packet that passes a VLAN, a bridge or a bond is captured
//! on each of their interfaces.

use std::time::{Duration, Instant};

use super::Packet;
use crate::segment::Checksum;

/// A packet that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Owned {
    at: Instant,
    since_1970: Duration,
    interface: u32,
    outgoing: bool,
    bytes: Vec<u8>,
    length: u32,
    checksum: Checksum,
}

impl Owned {
    pub(crate) fn of(packet: Packet<'_>) -> Self {
        let Packet { at, since_1970, interface, outgoing, bytes, length, checksum } = packet;
        Self { at, since_1970, interface, outgoing, bytes: bytes.to_vec(), length, checksum }
    }

    pub(crate) fn borrow(&self) -> Packet<'_> {
        let Self { at, since_1970, interface, outgoing, ref bytes, length, checksum } = *self;
        Packet { at, since_1970, interface, outgoing, bytes, length, checksum }
    }
}

/// The interfaces of one connection.
///
/// The route's interface is that of the first packet sent. Received packets are those of the same
/// interface; where none arrives there (another route back), those of the last other one.
#[derive(Debug, Default)]
pub(crate) struct Interfaces {
    sends: Option<u32>,
    receives: Option<u32>,
    /// Packets received on other interfaces while that is not decided.
    held: Vec<Owned>,
}

/// Maximum number of packets that are held.
const MAX_HELD: usize = 64;

impl Interfaces {
    /// Returns the packets to use now, which are none if `packet` is a copy.
    pub(crate) fn accept(&mut self, packet: Packet<'_>) -> Vec<Owned> {
        let interface = packet.interface;
        if packet.outgoing {
            if *self.sends.get_or_insert(interface) != interface {
                return Vec::new();
            }
            let mut packets = self.decide();
            packets.push(Owned::of(packet));
            return packets;
        }
        if self.receives.is_none() && self.sends == Some(interface) {
            self.receives = Some(interface);
            self.held.clear();
        }
        match self.receives {
            Some(receives) if receives == interface => vec![Owned::of(packet)],
            Some(_) => Vec::new(),
            None => {
                self.held.push(Owned::of(packet));
                if self.held.len() > MAX_HELD { self.decide() } else { Vec::new() }
            }
        }
    }

    /// Chooses the interface of received packets, if there are some; returns its packets.
    fn decide(&mut self) -> Vec<Owned> {
        let mut held = std::mem::take(&mut self.held);
        let Some(last) = held.last() else { return held };
        let receives = *self.receives.insert(last.interface);
        held.retain(|packet| packet.interface == receives);
        held
    }
}
