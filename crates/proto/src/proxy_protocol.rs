//! Headers of the PROXY protocol (haproxy, `doc/proxy-protocol.txt`, version 2.2), by which a proxy
//! states the address of its client.
//!
//! ```text
//!   v1   PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 CR LF      at most 107 bytes (section 2.1)
//!   v2   signature, command, family, length (16 bytes); addresses; TLVs      (section 2.2)
//! ```
//!
//! TLVs are skipped, also a checksum (PP2_TYPE_CRC32C): TCP has one.

use std::net::IpAddr;

use ppp::{v1, v2};

use crate::peer::Peer;
use crate::visible::make_visible;

/// A complete header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Size of the header; the client's input follows it.
    pub len: usize,
    /// The client of the connection.
    pub client: ProxyClient,
}

/// The client that a header states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyClient {
    /// A client of the proxy, always [`Peer::Forwarded`].
    Forwarded(Peer),
    /// A client of the proxy whose address the proxy does not state (`UNKNOWN`, `UNSPEC`).
    Unknown,
    /// The proxy itself, usually for a health check (`LOCAL`).
    Proxy,
}

/// Why input is not a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// The input begins with something else.
    #[error("no PROXY protocol header")]
    Missing,
    /// The header is longer than accepted.
    #[error("PROXY protocol header of more than {limit} bytes")]
    TooLong {
        /// Its limit.
        limit: usize,
    },
    /// The header breaks a rule.
    #[error("invalid PROXY protocol header: {0}")]
    Invalid(String),
}

impl ProxyHeader {
    /// Parses the header that `input` begins with.
    ///
    /// Returns `None` if it is incomplete, which also means that all of `input` belongs to it.
    ///
    /// # Errors
    /// No header can begin like `input`.
    pub fn parse(input: &[u8]) -> Result<Option<Self>, ProxyHeaderError> {
        let begins_with = |opening: &[u8]| {
            let len = opening.len().min(input.len());
            input.get(..len) == opening.get(..len)
        };
        if begins_with(V1_OPENING) {
            parse_v1(input)
        } else if begins_with(V2_SIGNATURE) {
            parse_v2(input)
        } else {
            Err(ProxyHeaderError::Missing)
        }
    }
}

fn parse_v1(input: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let Some(line) = input.iter().take(MAX_V1).position(|byte| *byte == b'\n') else {
        let too_long = ProxyHeaderError::TooLong { limit: MAX_V1 };
        return if input.len() < MAX_V1 { Ok(None) } else { Err(too_long) };
    };
    let len = line + 1;
    let client = v1_client(input.get(..len).unwrap_or_default())?;
    Ok(Some(ProxyHeader { len, client }))
}

/// Returns the client that a v1 line, with its line end, states.
fn v1_client(line: &[u8]) -> Result<ProxyClient, ProxyHeaderError> {
    // A receiver must ignore the rest of such a line, which the crate parses.
    let rest = line.strip_prefix(V1_UNKNOWN).filter(|rest| matches!(rest, [b' ' | b'\r', ..]));
    if rest.is_some_and(|rest| rest.ends_with(b"\r\n")) {
        return Ok(ProxyClient::Unknown);
    }
    let header = v1::Header::try_from(line).ok().filter(|header| header.header.len() == line.len());
    let invalid = || {
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        ProxyHeaderError::Invalid(make_visible(&text).into_owned())
    };
    Ok(match header.ok_or_else(invalid)?.addresses {
        v1::Addresses::Tcp4(ends) => forwarded(ends.source_address.into(), ends.source_port),
        v1::Addresses::Tcp6(ends) => forwarded(ends.source_address.into(), ends.source_port),
        v1::Addresses::Unknown => ProxyClient::Unknown,
    })
}

fn parse_v2(input: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let Some(fixed) = input.first_chunk::<V2_FIXED>() else { return Ok(None) };
    let len = V2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if len > MAX_HEADER {
        return Err(ProxyHeaderError::TooLong { limit: MAX_HEADER });
    }
    let Some(header) = input.get(..len) else { return Ok(None) };
    if fixed[12] == V2_LOCAL {
        // A receiver must ignore its family and addresses, which the crate parses.
        return Ok(Some(ProxyHeader { len, client: ProxyClient::Proxy }));
    }
    let header = v2::Header::try_from(header).map_err(|_| {
        let [.., command, family, _, _] = fixed;
        let text = format!("version and command {command:#04x}, family {family:#04x}, {len} bytes");
        ProxyHeaderError::Invalid(text)
    })?;
    let is_stream = header.protocol == v2::Protocol::Stream;
    let client = match header.addresses {
        // A datagram has no connection, so the addresses are not those of this one.
        _ if !is_stream => ProxyClient::Unknown,
        v2::Addresses::Unspecified => ProxyClient::Unknown,
        v2::Addresses::IPv4(ends) => forwarded(ends.source_address.into(), ends.source_port),
        v2::Addresses::IPv6(ends) => forwarded(ends.source_address.into(), ends.source_port),
        v2::Addresses::Unix(_) => ProxyClient::Forwarded(Peer::Forwarded { ip: None, port: None }),
    };
    Ok(Some(ProxyHeader { len, client }))
}

fn forwarded(ip: IpAddr, port: u16) -> ProxyClient {
    ProxyClient::Forwarded(Peer::Forwarded { ip: Some(ip.to_canonical()), port: Some(port) })
}

/// Maximum size of a v1 header, line end included.
pub(crate) const MAX_V1: usize = 107;

/// Maximum size of a header: addresses of Unix sockets and several TLVs need less; the limit of
/// nginx.
pub const MAX_HEADER: usize = 4096;

const V1_OPENING: &[u8] = b"PROXY ";

const V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN";

pub(crate) const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Size of the part of a v2 header whose last bytes are the size of the rest.
const V2_FIXED: usize = 16;

/// Version 2 and the command LOCAL.
const V2_LOCAL: u8 = 0x20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MORE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    fn v2(command: u8, family: u8, addresses: &[u8], tlvs: &[u8]) -> Vec<u8> {
        let len = u16::try_from(addresses.len() + tlvs.len()).unwrap();
        let fixed = [V2_SIGNATURE, &[command, family], &len.to_be_bytes()].concat();
        [&fixed, addresses, tlvs].concat()
    }

    fn ip(text: &str, port: u16) -> ProxyClient {
        ProxyClient::Forwarded(Peer::Forwarded { ip: text.parse().ok(), port: Some(port) })
    }

    const INET: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb];

    /// TLVs of a balancer: a name, a checksum, and one that is cut.
    const TLVS: &[u8] = b"\x02\0\x01a\x03\0\x04\0\0\0\0\xe0\xff\xff";

    fn headers() -> Vec<(Vec<u8>, ProxyClient)> {
        let inet6: Vec<u8> =
            [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0, 5, 0, 6]].concat();
        let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1], &[0; 16], &[0, 5, 0, 6]].concat();
        let unix = ProxyClient::Forwarded(Peer::Forwarded { ip: None, port: None });
        let v1 = |line: &str| format!("{line}\r\n").into_bytes();
        let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        vec![
            (v1("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443"), ip("192.0.2.1", 56324)),
            (v1("PROXY TCP6 2001:db8::1 ::1 5 6"), ip("2001:db8::1", 5)),
            (v1("PROXY TCP6 ::ffff:192.0.2.1 ::1 5 6"), ip("192.0.2.1", 5)),
            (v1(&format!("PROXY TCP6 {all} {all} 65535 65535")), ip(all, 65535)),
            (v1("PROXY UNKNOWN"), ProxyClient::Unknown),
            (v1(&format!("PROXY UNKNOWN {all} {all} 65535 65535")), ProxyClient::Unknown),
            (v1("PROXY UNKNOWN 1 2 3 4 5 6 7 8"), ProxyClient::Unknown),
            (v2(0x21, 0x11, INET, b""), ip("192.0.2.1", 56324)),
            (v2(0x21, 0x11, INET, TLVS), ip("192.0.2.1", 56324)),
            (v2(0x21, 0x21, &inet6, TLVS), ip("2001:db8::1", 5)),
            (v2(0x21, 0x21, &mapped, b""), ip("192.0.2.1", 5)),
            (v2(0x21, 0x31, &[b'/'; 216], TLVS), unix),
            (v2(0x21, 0x00, b"", TLVS), ProxyClient::Unknown),
            (v2(0x21, 0x12, INET, b""), ProxyClient::Unknown),
            (v2(0x20, 0x00, b"", b""), ProxyClient::Proxy),
            (v2(0x20, 0x11, b"", TLVS), ProxyClient::Proxy),
            (v2(0x20, 0x11, INET, b""), ProxyClient::Proxy),
            (v2(0x21, 0x11, INET, &[4; MAX_HEADER - 28]), ip("192.0.2.1", 56324)),
        ]
    }

    #[test]
    fn a_header_states_the_client_for_every_segmentation() {
        for (header, client) in headers() {
            let input = [&header, MORE].concat();
            for cut in 0..header.len() {
                assert_eq!(ProxyHeader::parse(&input[..cut]), Ok(None), "{cut} of {header:?}");
            }
            let parsed = ProxyHeader { len: header.len(), client };
            for end in header.len()..input.len() {
                assert_eq!(ProxyHeader::parse(&input[..end]), Ok(Some(parsed)), "{header:?}");
            }
        }
    }

    #[test]
    fn only_one_header_is_interpreted() {
        for (header, client) in headers() {
            let parsed = ProxyHeader { len: header.len(), client };
            assert_eq!(ProxyHeader::parse(&header.repeat(2)), Ok(Some(parsed)));
        }
    }

    #[test]
    fn input_without_a_valid_header_is_an_error() {
        use ProxyHeaderError::Missing;
        for input in [MORE, b"PROXIES", b"proxy TCP4", b"\r\n\r\ntext", b"\x16\x03\x01"] {
            assert_eq!(ProxyHeader::parse(input), Err(Missing), "{input:?}");
        }
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 96]].concat();
        assert_eq!(ProxyHeader::parse(&long[..106]), Ok(None));
        assert_eq!(ProxyHeader::parse(&long), Err(ProxyHeaderError::TooLong { limit: MAX_V1 }));
        let long = v2(0x21, 0x11, INET, &[4; MAX_HEADER - 27]);
        let too_long = ProxyHeaderError::TooLong { limit: MAX_HEADER };
        assert_eq!(ProxyHeader::parse(&long[..15]), Ok(None));
        assert_eq!(ProxyHeader::parse(&long[..16]), Err(too_long), "it is not waited for");
        for invalid in [
            &b"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n"[..],
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r443\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 5\r\n",
            b"PROXY TCP4 192.0.2.256 192.0.2.2 56324 443\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n",
            b"PROXY TCP4 ::1 ::1 56324 443\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.2 56324 443\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 56324 443\r\n",
            b"PROXY UNKNOWNS\r\n",
            b"PROXY UNKNOWN\n",
            b"PROXY \r\n",
            b"PROXY \xff\r\n",
            &v2(0x11, 0x11, INET, b""),
            &v2(0x22, 0x11, INET, b""),
            &v2(0x21, 0x41, INET, b""),
            &v2(0x21, 0x13, INET, b""),
            &v2(0x21, 0x11, &INET[1..], b""),
            &v2(0x21, 0x21, INET, b""),
            &v2(0x21, 0x31, &[0; 215], b""),
        ] {
            let error = ProxyHeader::parse(invalid);
            assert!(matches!(error, Err(ProxyHeaderError::Invalid(_))), "{invalid:?}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_received_the_result_does_not_depend_on_the_rest(
            opening in prop::sample::select(
                vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", V2_SIGNATURE],
            ),
            rest in prop::collection::vec(any::<u8>(), 0..300),
            cut in 0_usize..300,
        ) {
            let input = [opening, &rest].concat();
            let cut = cut.min(input.len());
            let early = ProxyHeader::parse(&input[..cut]);
            if early != Ok(None) {
                prop_assert_eq!(early, ProxyHeader::parse(&input));
            }
        }
    }
}
