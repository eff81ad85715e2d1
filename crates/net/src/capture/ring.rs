//! The ring of a packet socket: memory into which the kernel copies packets (packet(7), and
//! TPACKET_V3 in the kernel's Documentation/networking/packet_mmap.rst).
//!
//! A socket without a ring charges each segment of 64 KiB as a whole against its receive buffer,
//! also if only its headers are copied, and loses most packets of a fast transfer.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libc::{c_int, sockaddr_ll, tpacket_block_desc, tpacket_hdr_v1, tpacket_req3, tpacket3_hdr};
use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

/// Bytes of one block, which the kernel hands over as a whole. A packet fits.
pub(crate) const BLOCK: usize = 256 * 1024;
/// After this time the kernel hands over a block that is not full.
const RETIRE: Duration = Duration::from_millis(10);
/// Not used by version 3, but it must divide a block.
const FRAME: usize = 2048;

/// A packet in a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    /// Bytes from the IP header.
    pub(crate) bytes: &'a [u8],
    /// How many there were before the packet was cut.
    pub(crate) length: u32,
    /// Time since 1970.
    pub(crate) time: Duration,
    /// Bits of `TP_STATUS_`.
    pub(crate) status: u32,
    /// The type of the interface, as `ARPHRD_LOOPBACK`.
    pub(crate) hardware: u16,
    /// `PACKET_HOST`, `PACKET_OUTGOING`, ….
    pub(crate) kind: u8,
    /// The index of the interface.
    pub(crate) interface: u32,
}

/// The memory that a socket shares with the kernel.
#[derive(Debug)]
pub(crate) struct Ring {
    memory: NonNull<u8>,
    blocks: usize,
    /// The block that the kernel fills next.
    next: usize,
}

#[expect(unsafe_code, reason = "a pointer makes a type not Send")]
// SAFETY: no other value of this process has the memory, and no thread an affinity to it.
unsafe impl Send for Ring {}

/// Opens a socket that receives the packets of all interfaces that pass `filter`, with its ring.
pub(crate) fn open(filter: &[SockFilter], blocks: usize) -> io::Result<(Socket, Ring)> {
    // Protocol 0 receives nothing before the filter is in place and the socket is bound.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    socket.attach_filter(filter)?;
    let version = libc::tpacket_versions::TPACKET_V3 as u32;
    set(&socket, libc::PACKET_VERSION, &version.to_ne_bytes())?;
    let mut request = [0; size_of::<tpacket_req3>()];
    for (at, value) in [
        (offset_of!(tpacket_req3, tp_block_size), BLOCK),
        (offset_of!(tpacket_req3, tp_block_nr), blocks),
        (offset_of!(tpacket_req3, tp_frame_size), FRAME),
        (offset_of!(tpacket_req3, tp_frame_nr), blocks * (BLOCK / FRAME)),
        (offset_of!(tpacket_req3, tp_retire_blk_tov), RETIRE.subsec_millis() as usize),
    ] {
        let value = u32::try_from(value).map_err(io::Error::other)?;
        request[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    set(&socket, libc::PACKET_RX_RING, &request)?;
    let ring = Ring { memory: map(socket.as_fd(), blocks * BLOCK)?, blocks, next: 0 };
    socket.bind(&all_interfaces()?)?;
    Ok((socket, ring))
}

/// Returns how many packets the kernel lost since the last call, as the ring was full.
pub(crate) fn lost(socket: &Socket) -> u64 {
    let mut statistics = [0; size_of::<libc::tpacket_stats_v3>()];
    let mut length = libc::socklen_t::try_from(statistics.len()).unwrap_or_default();
    #[expect(unsafe_code, reason = "no crate asks for PACKET_STATISTICS")]
    // SAFETY: the descriptor is borrowed and so open; the kernel writes at most `length` bytes, all
    // of them in `statistics`, whose content may be any; both outlive the call.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            statistics.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let lost =
        (asked == 0).then(|| word(&statistics, offset_of!(libc::tpacket_stats_v3, tp_drops)));
    lost.flatten().unwrap_or_default().into()
}

impl Ring {
    /// Gives the packets of the next block to `each`; returns whether there was a block.
    pub(crate) fn read(&mut self, each: impl FnMut(Raw<'_>)) -> bool {
        let start = self.memory.as_ptr().wrapping_add(self.next * BLOCK);
        #[expect(unsafe_code, reason = "the kernel changes the state of a block")]
        // SAFETY: the word is in the mapping, as `next` is less than `blocks`, and aligned, as
        // blocks begin with a page; it outlives the borrow of `self`; the kernel writes it
        // atomically.
        let status = unsafe { AtomicU32::from_ptr(start.wrapping_add(STATUS).cast()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return false;
        }
        let (content, length) = (start.wrapping_add(CONTENT), BLOCK - CONTENT);
        #[expect(unsafe_code, reason = "the block is in memory that the kernel filled")]
        // SAFETY: these bytes are in the mapping, initialized, and until the store below the kernel
        // changes none of them: the block belongs to this process.
        let block = unsafe { std::slice::from_raw_parts(content, length) };
        packets(block).for_each(each);
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.blocks;
        true
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "the mapping is not that of a crate")]
        // SAFETY: this is the whole mapping of `map`, and all borrows of it have ended.
        unsafe {
            libc::munmap(self.memory.as_ptr().cast(), self.blocks * BLOCK);
        }
    }
}

const HEADER: usize = offset_of!(tpacket_block_desc, hdr);
/// The place of a block's state.
const STATUS: usize = HEADER + offset_of!(tpacket_hdr_v1, block_status);
/// Bytes of a block from here on change with its state only.
const CONTENT: usize = HEADER + offset_of!(tpacket_hdr_v1, num_pkts);

/// Returns the packets of a block, of which `block` is the part from [`CONTENT`] on.
pub(super) fn packets(block: &[u8]) -> impl Iterator<Item = Raw<'_>> {
    let field = |at: usize| word(block, HEADER + at - CONTENT);
    let mut left = field(offset_of!(tpacket_hdr_v1, num_pkts)).unwrap_or_default();
    let first = field(offset_of!(tpacket_hdr_v1, offset_to_first_pkt));
    let mut at = first.and_then(|first| (first as usize).checked_sub(CONTENT));
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let packet = block.get(at?..)?;
        let next = word(packet, offset_of!(tpacket3_hdr, tp_next_offset))?;
        at = at.filter(|_| next > 0).and_then(|at| at.checked_add(next as usize));
        one(packet)
    })
}

fn one(packet: &[u8]) -> Option<Raw<'_>> {
    let start = usize::from(half(packet, offset_of!(tpacket3_hdr, tp_net))?);
    let kept = word(packet, offset_of!(tpacket3_hdr, tp_snaplen))? as usize;
    let seconds = word(packet, offset_of!(tpacket3_hdr, tp_sec))?;
    let nanoseconds = word(packet, offset_of!(tpacket3_hdr, tp_nsec))?;
    let link = packet.get(size_of::<tpacket3_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT)..)?;
    Some(Raw {
        bytes: packet.get(start..start.checked_add(kept)?)?,
        length: word(packet, offset_of!(tpacket3_hdr, tp_len))?,
        time: Duration::new(seconds.into(), nanoseconds.min(999_999_999)),
        status: word(packet, offset_of!(tpacket3_hdr, tp_status))?,
        hardware: half(link, offset_of!(sockaddr_ll, sll_hatype))?,
        kind: *link.get(offset_of!(sockaddr_ll, sll_pkttype))?,
        interface: word(link, offset_of!(sockaddr_ll, sll_ifindex))?,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// Sets an option of packet sockets.
fn set(socket: &Socket, name: c_int, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "no crate sets options of packet sockets")]
    // SAFETY: the descriptor is borrowed and so open; the kernel reads `length` bytes of `value`,
    // which outlives the call.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, name, value.as_ptr().cast(), length)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Maps the ring of `socket`.
fn map(socket: BorrowedFd<'_>, length: usize) -> io::Result<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    #[expect(unsafe_code, reason = "a mapping that the kernel changes has no safe form")]
    // SAFETY: the kernel chooses an address that is free, so no memory of this process changes.
    let memory = unsafe {
        libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, socket.as_raw_fd(), 0)
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(memory.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))
}

/// The address of packet sockets that means all protocols and interfaces.
fn all_interfaces() -> io::Result<SockAddr> {
    let length = libc::socklen_t::try_from(size_of::<sockaddr_ll>()).map_err(io::Error::other)?;
    let mut storage = SockAddrStorage::zeroed();
    #[expect(unsafe_code, reason = "socket2 has no constructor for these addresses")]
    // SAFETY: `sockaddr_ll` is one of the address types of this platform.
    let address = unsafe { storage.view_as::<sockaddr_ll>() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?.to_be();
    #[expect(unsafe_code, reason = "socket2 has no constructor for these addresses")]
    // SAFETY: family and length are those of the address that the storage has.
    let address = unsafe { SockAddr::new(storage, length) };
    Ok(address)
}
