//! Which packets the kernel copies: a program of classic BPF (socket(7), SO_ATTACH_FILTER).
//!
//! ```text
//!   protocol ─┬ IPv4: TCP, first fragment ─► a block for each match and direction ─► accept
//!             ├ IPv6: TCP ─► likewise;  extension headers ─► the address alone ─► accept
//!             └ other ─► discard
//! ```

use std::net::IpAddr;

use socket2::SockFilter;

/// Packets of connections to one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The address of the server; `None` is any.
    pub server: Option<IpAddr>,
    /// The port of the server.
    pub port: u16,
    /// The port of the client, once it is known.
    pub local_port: Option<u16>,
}

/// Maximum number of matches of one program; the first ones are left out, which are the oldest.
///
/// The kernel accepts 4096 instructions, and a match has at most 48.
pub(crate) const MAX_MATCHES: usize = 64;

/// Returns the program that accepts `snaplen` bytes of the packets of `matches`.
pub(crate) fn program(matches: &[Match], snaplen: u32) -> Vec<SockFilter> {
    let code = instructions(matches, snaplen);
    code.into_iter().map(|Op { code, yes, no, k }| SockFilter::new(code, yes, no, k)).collect()
}

/// An instruction: its code, how many to skip if a comparison is true or false, its operand.
#[derive(Debug, Clone, Copy)]
struct Op {
    code: u16,
    yes: u8,
    no: u8,
    k: u32,
}

const fn op(code: u16, k: u32) -> Op {
    Op { code, yes: 0, no: 0, k }
}

/// Goes to the next instruction if the accumulator is `k`, and skips `no` ones if it is not.
const fn equal(k: u32, no: u8) -> Op {
    Op { code: JEQ, yes: 0, no, k }
}

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// Loads the half word behind the IPv4 header, whose length is in X.
const LOAD_HALF_BEHIND: u16 = 0x48;
/// X = length of the IPv4 header.
const LENGTH_OF_IPV4: u16 = 0xb1;
const JUMP: u16 = 0x05;
const JEQ: u16 = 0x15;
const JSET: u16 = 0x45;
const RETURN: u16 = 0x06;
const DISCARD: Op = op(RETURN, 0);

/// The place where the kernel shows the EtherType: SKF_AD_OFF + SKF_AD_PROTOCOL.
const ETHER_TYPE: u32 = libc::SKF_AD_OFF.wrapping_add(libc::SKF_AD_PROTOCOL).cast_unsigned();
const TCP: u32 = libc::IPPROTO_TCP.cast_unsigned();

fn instructions(matches: &[Match], snaplen: u32) -> Vec<Op> {
    let matches = &matches[matches.len().saturating_sub(MAX_MATCHES)..];
    let accept = op(RETURN, snaplen);
    let mut ipv4 = vec![
        op(LOAD_BYTE, 9),
        Op { code: JEQ, yes: 1, no: 0, k: TCP },
        DISCARD,
        op(LOAD_HALF, 6),
        Op { code: JSET, yes: 0, no: 1, k: 0x1fff },
        DISCARD,
        op(LENGTH_OF_IPV4, 0),
    ];
    let (mut extended, mut ipv6) = (Vec::new(), Vec::new());
    for one in matches {
        // Segments to the server, then those from it: offsets of its address and of both ports.
        for to_server in [true, false] {
            let (server_port, local_port) = if to_server { (2, 0) } else { (0, 2) };
            let ports = [Some((server_port, one.port)), one.local_port.map(|p| (local_port, p))];
            let ports = |load: u16, base: u32| -> Vec<[Op; 2]> {
                let known = ports.iter().flatten();
                known.map(|&(at, port)| [op(load, base + at), equal(port.into(), 0)]).collect()
            };
            let words = |address: &[u8], base: u32| -> Vec<[Op; 2]> {
                let words = address.chunks_exact(4).zip((base..).step_by(4));
                words
                    .map(|(word, at)| {
                        let word = word.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
                        [op(LOAD_WORD, at), equal(word, 0)]
                    })
                    .collect()
            };
            let server = one.server.map(|address| address.to_canonical());
            if let None | Some(IpAddr::V4(_)) = server {
                let mut tests = ports(LOAD_HALF_BEHIND, 0);
                if let Some(IpAddr::V4(address)) = server {
                    tests.extend(words(&address.octets(), if to_server { 16 } else { 12 }));
                }
                block(&mut ipv4, tests, accept);
            }
            if let None | Some(IpAddr::V6(_)) = server {
                let mut tests = ports(LOAD_HALF, 40);
                if let Some(IpAddr::V6(address)) = server {
                    let address = words(&address.octets(), if to_server { 24 } else { 8 });
                    block(&mut extended, address.clone(), accept);
                    tests.extend(address);
                }
                block(&mut ipv6, tests, accept);
            }
        }
    }
    for section in [&mut ipv4, &mut extended, &mut ipv6] {
        section.push(DISCARD);
    }
    let far = |sections: &[&Vec<Op>], between: usize| {
        let length: usize = sections.iter().map(|section| section.len()).sum();
        op(JUMP, u32::try_from(length + between).unwrap_or(u32::MAX))
    };
    let to_ipv6 = [op(LOAD_BYTE, 6), equal(TCP, 1), far(&[&extended], 0)];
    let start = [
        op(LOAD_HALF, ETHER_TYPE),
        equal(libc::ETH_P_IP.cast_unsigned(), 1),
        far(&[], 3),
        equal(libc::ETH_P_IPV6.cast_unsigned(), 1),
        far(&[&ipv4], 1),
        DISCARD,
    ];
    [&start[..], &ipv4, &to_ipv6, &extended, &ipv6].concat()
}

/// Adds a block: all tests, then `accept`. A test that fails skips the rest of the block.
fn block(program: &mut Vec<Op>, tests: Vec<[Op; 2]>, accept: Op) {
    let count = tests.len();
    for (index, [load, mut test]) in tests.into_iter().enumerate() {
        // At most 6 tests of 2 instructions each.
        test.no = u8::try_from((count - index - 1) * 2 + 1).unwrap_or(u8::MAX);
        program.extend([load, test]);
    }
    program.push(accept);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `program` over a packet, as the kernel does.
    fn run(program: &[Op], ether_type: u16, packet: &[u8]) -> u32 {
        let (mut a, mut x, mut at) = (0_u32, 0_usize, 0);
        let load = |at: usize, bytes: usize| {
            packet
                .get(at..at + bytes)
                .map(|bytes| bytes.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)))
        };
        loop {
            let op = program[at];
            at += 1;
            let k = op.k as usize;
            let loaded = match op.code {
                LOAD_HALF if op.k == ETHER_TYPE => Some(ether_type.into()),
                LOAD_WORD => load(k, 4),
                LOAD_HALF => load(k, 2),
                LOAD_BYTE => load(k, 1),
                LOAD_HALF_BEHIND => load(x + k, 2),
                LENGTH_OF_IPV4 => {
                    let Some(byte) = load(k, 1) else { return 0 };
                    x = 4 * (byte as usize & 0xf);
                    continue;
                }
                JUMP => {
                    at += k;
                    continue;
                }
                JEQ | JSET => {
                    let yes = if op.code == JEQ { a == op.k } else { a & op.k != 0 };
                    at += usize::from(if yes { op.yes } else { op.no });
                    continue;
                }
                RETURN => return op.k,
                other => panic!("{other:#x}"),
            };
            // A load beyond the packet ends the program with 0.
            let Some(loaded) = loaded else { return 0 };
            a = loaded;
        }
    }

    fn ipv4(from: ([u8; 4], u16), to: ([u8; 4], u16), options: usize) -> Vec<u8> {
        let mut packet = vec![0; 20 + options];
        packet[0] = 0x45 + u8::try_from(options / 4).unwrap();
        packet[9] = 6;
        packet[12..16].copy_from_slice(&from.0);
        packet[16..20].copy_from_slice(&to.0);
        packet.extend(from.1.to_be_bytes());
        packet.extend(to.1.to_be_bytes());
        packet.extend([0; 16]);
        packet
    }

    fn ipv6(from: (IpAddr, u16), to: (IpAddr, u16), next: u8) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 20, next, 64];
        for address in [from.0, to.0] {
            let IpAddr::V6(address) = address else { panic!("IPv4") };
            packet.extend(address.octets());
        }
        packet.extend(from.1.to_be_bytes());
        packet.extend(to.1.to_be_bytes());
        packet.extend([0; 16]);
        packet
    }

    #[test]
    fn only_packets_of_the_server_and_its_port_are_accepted_in_both_directions() {
        let (server, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let one = Match { server: Some(server.into()), port: 80, local_port: None };
        let program = instructions(&[one], 128);
        for options in [0, 40] {
            for (from, to, accepted) in [
                ((other, 5000), (server, 80), 128),
                ((server, 80), (other, 5000), 128),
                ((server, 5000), (other, 80), 0),
                ((other, 80), (server, 5000), 0),
                ((other, 5000), (other, 80), 0),
            ] {
                assert_eq!(run(&program, 0x800, &ipv4(from, to, options)), accepted);
            }
        }
        let mut fragment = ipv4((other, 5000), (server, 80), 0);
        fragment[7] = 1;
        assert_eq!(run(&program, 0x800, &fragment), 0);
        let mut datagram = ipv4((other, 5000), (server, 80), 0);
        datagram[9] = 17;
        assert_eq!(run(&program, 0x800, &datagram), 0);
        assert_eq!(run(&program, 0x806, &ipv4((other, 5000), (server, 80), 0)), 0);
        assert_eq!(run(&program, 0x800, &[0x45, 0]), 0);
    }

    #[test]
    fn ipv6_is_accepted_also_with_extension_headers() {
        let server: IpAddr = "2001:db8::1".parse().unwrap();
        let other: IpAddr = "2001:db8::2".parse().unwrap();
        let one = Match { server: Some(server), port: 80, local_port: Some(5000) };
        let v4 = Match { server: Some([192, 0, 2, 1].into()), port: 80, local_port: None };
        let program = instructions(&[v4, one], 96);
        for (from, to, next, accepted) in [
            ((other, 5000), (server, 80), 6, 96),
            ((server, 80), (other, 5000), 6, 96),
            ((server, 80), (other, 5001), 6, 0),
            ((server, 81), (other, 5000), 6, 0),
            ((server, 1), (other, 2), 60, 96),
            ((other, 1), (server, 2), 0, 96),
            ((other, 80), (other, 5000), 60, 0),
        ] {
            assert_eq!(run(&program, 0x86dd, &ipv6(from, to, next)), accepted, "{from:?} {next}");
        }
    }

    #[test]
    fn without_matches_nothing_is_accepted_and_without_an_address_the_port_decides() {
        let packet = ipv4(([127, 0, 0, 1], 5000), ([127, 0, 0, 1], 80), 0);
        assert_eq!(run(&instructions(&[], 9), 0x800, &packet), 0);
        let any = Match { server: None, port: 80, local_port: None };
        assert_eq!(run(&instructions(&[any], 9), 0x800, &packet), 9);
        let local = Match { local_port: Some(5001), ..any };
        assert_eq!(run(&instructions(&[local], 9), 0x800, &packet), 0);
        assert_eq!(run(&instructions(&[local, any], 9), 0x800, &packet), 9);
    }

    #[test]
    fn the_longest_program_is_one_that_the_kernel_accepts() {
        let address = "2001:db8::1".parse().unwrap();
        let one = Match { server: Some(address), port: 80, local_port: Some(1) };
        assert!(instructions(&[one; 2 * MAX_MATCHES], 1).len() <= 4096);
        let any = Match { server: None, ..one };
        assert!(instructions(&[any; 2 * MAX_MATCHES], 1).len() <= 4096);
    }
}
