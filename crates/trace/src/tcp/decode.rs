//! Packets from their IP header on, decoded.

use std::net::{IpAddr, SocketAddr};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};

use crate::segment::{Checksum, Segment, Syn, TcpOption};

/// A segment with the addresses of its IP header. Its relative numbers are not set.
#[derive(Debug, Clone)]
pub(crate) struct Decoded {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) segment: Segment,
    ip: Ip,
}

/// What a trace shows of an IP header.
#[derive(Debug, Clone)]
struct Ip {
    version: u8,
    flags: Vec<String>,
}

/// Decodes a packet of `length` bytes, of which `bytes` is the beginning; `None` if it is not the
/// first fragment of a TCP segment, or if its headers are cut.
pub(crate) fn decode(bytes: &[u8], length: usize, known: Checksum) -> Option<Decoded> {
    let packet = LaxSlicedPacket::from_ip(bytes).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { return None };
    let (source, destination, headers, total, ttl, ip) = network(packet.net.as_ref()?)?;
    // The length is 0 in segments that are larger than the field (BIG TCP), and frames may be
    // padded behind it.
    let total = if total < headers { length } else { total };
    let behind_ip = total.checked_sub(headers)?;
    let mut segment = fields(tcp);
    segment.payload = behind_ip.saturating_sub(tcp.header_slice().len()) as u64;
    segment.ttl = ttl;
    let whole = bytes.get(headers..total);
    segment.checksum = checksum(source, destination, behind_ip, whole, tcp.checksum(), known);
    let source = SocketAddr::new(source, tcp.source_port());
    let destination = SocketAddr::new(destination, tcp.destination_port());
    Some(Decoded { source, destination, segment, ip })
}

type Network = (IpAddr, IpAddr, usize, usize, u8, Ip);

/// Returns addresses, length of all IP headers, length of the packet by its header, TTL, flags.
fn network(net: &LaxNetSlice<'_>) -> Option<Network> {
    let mut flags: Vec<String> = Vec::new();
    let mut flag = |name: &str, is_set: bool| flags.extend(is_set.then(|| name.to_owned()));
    let (source, destination, headers, total, ttl, version) = match net {
        LaxNetSlice::Ipv4(ip) => {
            let (header, extensions) = (ip.header(), ip.extensions());
            flag("DF", header.dont_fragment());
            flag("MF", header.more_fragments());
            let ecn = header.ecn().value();
            flag(ECN[usize::from(ecn)], ecn > 0);
            let auth = extensions.auth.map_or(0, |auth| auth.slice().len());
            let headers = header.slice().len() + auth;
            let (source, destination) = (header.source_addr(), header.destination_addr());
            (source.into(), destination.into(), headers, header.total_len().into(), header.ttl(), 4)
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            let ecn = header.ecn().value();
            flag(ECN[usize::from(ecn)], ecn > 0);
            let headers = IPV6_HEADER + ip.extensions().slice().len();
            let payload = usize::from(header.payload_length());
            let total = if payload == 0 { 0 } else { IPV6_HEADER + payload };
            let (source, destination) = (header.source_addr(), header.destination_addr());
            (source.into(), destination.into(), headers, total, header.hop_limit(), 6)
        }
        LaxNetSlice::Arp(_) => return None,
    };
    Some((source, destination, headers, total, ttl, Ip { version, flags }))
}

const IPV6_HEADER: usize = 40;
/// Names of the ECN field's values (RFC 3168 §5).
const ECN: [&str; 4] = ["Not-ECT", "ECT(1)", "ECT(0)", "CE"];

fn fields(tcp: &TcpSlice<'_>) -> Segment {
    let flags = [
        ("SYN", tcp.syn()),
        ("FIN", tcp.fin()),
        ("RST", tcp.rst()),
        ("PSH", tcp.psh()),
        ("ACK", tcp.ack()),
        ("URG", tcp.urg()),
        ("ECE", tcp.ece()),
        ("CWR", tcp.cwr()),
        ("AE", tcp.ns()),
    ];
    let set = flags.into_iter().filter(|(_, is_set)| *is_set);
    Segment {
        flags: set.map(|(name, _)| name.to_owned()).collect(),
        seq: tcp.sequence_number(),
        ack: tcp.ack().then(|| tcp.acknowledgment_number()),
        window: tcp.window_size(),
        options: options(tcp.options()),
        ..Segment::default()
    }
}

/// Parses options; etherparse stops at the first one that it does not know.
fn options(mut bytes: &[u8]) -> Vec<TcpOption> {
    let mut options = Vec::new();
    while let [kind, rest @ ..] = bytes {
        match kind {
            0 => break,
            1 => {
                bytes = rest;
                continue;
            }
            _ => {}
        }
        let Some(data) = rest.first().and_then(|length| bytes.get(2..usize::from(*length))) else {
            break;
        };
        options.push(option(*kind, data));
        bytes = &bytes[2 + data.len()..];
    }
    options
}

fn option(kind: u8, data: &[u8]) -> TcpOption {
    let word = |at: usize| data[at..].first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
    match (kind, data) {
        (2, [high, low]) => TcpOption::Mss(u16::from_be_bytes([*high, *low])),
        (3, [scale]) => TcpOption::WindowScale(*scale),
        (4, []) => TcpOption::SackPermitted,
        (5, _) if !data.is_empty() && data.len().is_multiple_of(8) => {
            let blocks = (0..data.len()).step_by(8);
            TcpOption::Sack(blocks.map(|at| (word(at), word(at + 4))).collect())
        }
        (8, _) if data.len() == 8 => TcpOption::Timestamps(word(0), word(4)),
        _ => TcpOption::Other(kind, hex(data)),
    }
}

/// Compares the checksum with that of the `whole` segment, if it was captured.
fn checksum(
    source: IpAddr,
    destination: IpAddr,
    length: usize,
    whole: Option<&[u8]>,
    sent: u16,
    known: Checksum,
) -> Checksum {
    if known != Checksum::Unknown {
        return known;
    }
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut pseudo = [octets(source), octets(destination)].concat();
    pseudo.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    pseudo.extend([0, etherparse::IpNumber::TCP.0]);
    let pseudo = sum(0, &pseudo);
    if sent == pseudo {
        // The kernel leaves the sum of the pseudo header to the card, or omits it (loopback).
        return Checksum::Offloaded;
    }
    match whole {
        Some(whole) if sum(pseudo, whole) == u16::MAX => Checksum::Verified,
        Some(_) => Checksum::Wrong,
        None => Checksum::Unknown,
    }
}

/// Adds words in one's complement (RFC 1071).
fn sum(start: u16, bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| match word {
        [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
        word => u64::from(word[0]) << 8,
    });
    let mut sum = words.sum::<u64>() + u64::from(start);
    while let high @ 1.. = sum >> 16 {
        sum = (sum & 0xffff) + high;
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

impl Syn {
    /// Decodes the headers of a SYN, as `TCP_SAVED_SYN` returns them; `None` if they are cut, or
    /// are no SYN.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let decoded = decode(bytes, bytes.len(), Checksum::Unknown)?;
        let Decoded { source, destination, mut segment, ip } = decoded;
        // A server reports no addresses, without which the checksum is that of nothing.
        let is_hidden = source.ip().is_unspecified() && destination.ip().is_unspecified();
        if is_hidden {
            segment.checksum = Checksum::Unknown;
        }
        let shown = |address: SocketAddr| match is_hidden {
            true => format!("*:{}", address.port()),
            false => address.to_string(),
        };
        let is_syn = segment.flags.iter().any(|flag| flag == "SYN");
        segment.window_bytes = Some(segment.window.into());
        is_syn.then(|| Self {
            ip_version: ip.version,
            ttl: segment.ttl,
            source: shown(source),
            destination: shown(destination),
            ip_flags: ip.flags,
            segment,
            bytes: hex(bytes),
        })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    fn ipv4(payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 63)
            .tcp(40_000, 80, 0xffff_fff0, 501)
            .ack(7)
            .psh()
            .options_raw(&[1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6])
            .unwrap();
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    #[test]
    fn a_whole_segment_is_verified_a_cut_one_is_not_and_a_changed_one_is_wrong() {
        let mut packet = ipv4(b"hello");
        let decoded = decode(&packet, packet.len(), Checksum::Unknown).unwrap();
        assert_eq!(decoded.source, "192.0.2.1:40000".parse().unwrap());
        assert_eq!(decoded.destination, "192.0.2.2:80".parse().unwrap());
        let segment = decoded.segment;
        assert_eq!(segment.flags, ["PSH", "ACK"]);
        assert_eq!((segment.seq, segment.ack, segment.window), (0xffff_fff0, Some(7), 501));
        assert_eq!((segment.payload, segment.ttl), (5, 63));
        assert_eq!(segment.options, [TcpOption::Timestamps(5, 6)]);
        assert_eq!(segment.checksum, Checksum::Verified);
        let cut = decode(&packet[..53], packet.len(), Checksum::Unknown).unwrap().segment;
        assert_eq!((cut.payload, cut.checksum), (5, Checksum::Unknown));
        let known = decode(&packet[..53], packet.len(), Checksum::Offloaded).unwrap().segment;
        assert_eq!(known.checksum, Checksum::Offloaded);
        assert!(decode(&packet[..45], packet.len(), Checksum::Unknown).is_none(), "cut options");
        // A short Ethernet frame is padded.
        let padded = [&packet[..], &[0; 9]].concat();
        let padded = decode(&padded, padded.len(), Checksum::Unknown).unwrap().segment;
        assert_eq!((padded.payload, padded.checksum), (5, Checksum::Verified));
        *packet.last_mut().unwrap() ^= 1;
        let wrong = decode(&packet, packet.len(), Checksum::Unknown).unwrap().segment;
        assert_eq!(wrong.checksum, Checksum::Wrong);
    }

    #[test]
    fn a_checksum_that_the_kernel_left_to_the_card_is_offloaded() {
        let mut packet = ipv4(b"hello");
        let length = u32::try_from(packet.len() - 20).unwrap();
        let pseudo = [&packet[12..20], &length.to_be_bytes(), &[0, 6]].concat();
        packet[36..38].copy_from_slice(&sum(0, &pseudo).to_be_bytes());
        let decoded = decode(&packet, packet.len(), Checksum::Unknown).unwrap();
        assert_eq!(decoded.segment.checksum, Checksum::Offloaded);
    }

    #[test]
    fn extension_headers_of_ipv6_are_skipped() {
        let builder = PacketBuilder::ipv6([1; 16], [2; 16], 9).tcp(1, 2, 3, 4).syn();
        let mut packet = Vec::new();
        builder.write(&mut packet, &[]).unwrap();
        let options = [6, 0, 1, 4, 0, 0, 0, 0];
        packet.splice(40..40, options);
        packet[6] = 60;
        packet[5] += 8;
        let decoded = decode(&packet, packet.len(), Checksum::Unknown).unwrap();
        assert_eq!(decoded.segment.flags, ["SYN"]);
        assert_eq!((decoded.segment.payload, decoded.segment.ttl), (0, 9));
        assert_eq!(decoded.segment.checksum, Checksum::Verified);
    }

    #[test]
    fn a_syn_is_decoded_field_by_field() {
        let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7, 34, 2, 0, 0];
        let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .tcp(40_000, 80, 5, 64_240)
            .syn()
            .options_raw(&options)
            .unwrap();
        let mut packet = Vec::new();
        builder.write(&mut packet, &[]).unwrap();
        let syn = Syn::decode(&packet).unwrap();
        assert_eq!((syn.ip_version, syn.ttl), (4, 64));
        assert_eq!((&*syn.source, &*syn.destination), ("192.0.2.1:40000", "192.0.2.2:80"));
        assert_eq!(syn.ip_flags, ["DF"]);
        let expected = [
            TcpOption::Mss(1460),
            TcpOption::SackPermitted,
            TcpOption::Timestamps(1, 0),
            TcpOption::WindowScale(7),
            TcpOption::Other(34, String::new()),
        ];
        assert_eq!(syn.segment.options, expected);
        assert_eq!(syn.segment.window_bytes, Some(64_240));
        assert_eq!(syn.bytes.len(), 2 * packet.len());
        assert_eq!(Syn::decode(&ipv4(b"")), None, "no SYN");
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            change in proptest::collection::vec((0_usize..80, any::<u8>()), 0..6),
        ) {
            let mut packet = ipv4(&bytes);
            for (at, value) in change {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = value;
                }
            }
            for bytes in [&bytes, &packet] {
                let _ = decode(bytes, bytes.len(), Checksum::Unknown);
                let _ = Syn::decode(bytes);
            }
        }
    }
}
