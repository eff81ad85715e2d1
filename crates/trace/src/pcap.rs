//! Packets as a pcapng file, which Wireshark and tshark read.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use crate::segment::Checksum;

/// A captured packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// When the kernel sent or received it.
    pub at: Instant,
    /// Time since 1970 at the same instant.
    pub since_1970: Duration,
    /// The index of its interface.
    pub interface: u32,
    /// Whether this machine sent it.
    pub outgoing: bool,
    /// Its beginning, from the IP header.
    pub bytes: &'a [u8],
    /// Bytes of the whole packet.
    pub length: u32,
    /// The state of the checksum of TCP, as the kernel reports it.
    pub checksum: Checksum,
}

/// Writes packets to a pcapng file.
pub struct PcapWriter {
    writer: PcapNgWriter<BufWriter<Box<dyn Write + Send>>>,
    snaplen: u32,
    /// Indices of interfaces, in the order of their blocks.
    interfaces: Vec<u32>,
    packets: u64,
    name_of: Box<dyn Fn(u32) -> Option<String> + Send>,
}

impl PcapWriter {
    /// Begins a file with `command` as its comment, in which secrets are redacted.
    ///
    /// # Errors
    /// Those of writing.
    pub fn new(into: Box<dyn Write + Send>, command: &str, snaplen: u32) -> io::Result<Self> {
        let version = concat!("anyport ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![
                SectionHeaderOption::Comment(command.to_owned().into()),
                SectionHeaderOption::UserApplication(version.into()),
            ],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(BufWriter::new(into), section);
        let (interfaces, name_of) = (Vec::new(), Box::new(|_| None));
        Ok(Self { writer: writer.map_err(reason)?, snaplen, interfaces, packets: 0, name_of })
    }

    /// Names interfaces by their index.
    #[must_use]
    pub fn with_names(mut self, name_of: impl Fn(u32) -> Option<String> + Send + 'static) -> Self {
        self.name_of = Box::new(name_of);
        self
    }

    /// Adds a packet.
    pub(crate) fn write(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let known = self.interfaces.iter().position(|index| *index == packet.interface);
        let interface = if let Some(known) = known {
            known
        } else {
            self.add_interface(packet.interface)?;
            self.interfaces.len() - 1
        };
        let direction = if packet.outgoing { OUTBOUND } else { INBOUND };
        let block = EnhancedPacketBlock {
            interface_id: u32::try_from(interface).map_err(io::Error::other)?,
            timestamp: packet.since_1970,
            original_len: packet.length,
            data: Cow::Borrowed(packet.bytes),
            options: vec![EnhancedPacketOption::Flags(direction)],
        };
        self.packets += 1;
        self.writer.write_pcapng_block(block).map_err(reason).map(drop)
    }

    fn add_interface(&mut self, index: u32) -> io::Result<()> {
        let mut options = vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)];
        if let Some(name) = (self.name_of)(index) {
            options.push(InterfaceDescriptionOption::IfName(name.into()));
        }
        let block =
            InterfaceDescriptionBlock { linktype: DataLink::RAW, snaplen: self.snaplen, options };
        self.interfaces.push(index);
        self.writer.write_pcapng_block(block).map_err(reason).map(drop)
    }

    /// Ends the file. Returns how many packets it has.
    pub(crate) fn finish(self) -> io::Result<u64> {
        self.writer.into_inner().flush()?;
        Ok(self.packets)
    }
}

/// Bits of epb_flags.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// if_tsresol: 10^-9 s, which is the unit of `pcap_file`.
const NANOSECONDS: u8 = 9;

fn reason(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        error => io::Error::other(error),
    }
}

impl fmt::Debug for PcapWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PcapWriter({} packets)", self.packets)
    }
}
