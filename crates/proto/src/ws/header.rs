//! WebSocket frame headers (RFC 6455 §5.2).
//!
//! A header is 2 to 14 bytes. [`decode`] parses the start of the receive buffer without consuming
//! it, so the caller may append and call again. Violations are reported at the first byte that
//! shows them: a control frame that is too long at its second byte, a length in a longer form than
//! needed as soon as it is read.
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use super::{Opcode, Role, Violation};

/// Size of the longest header: two bytes, a 64-bit length, a mask key.
pub const MAX_HEADER: usize = 14;

/// The result of a parser: a value, or a request for more input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<T> {
    /// The value, and its size.
    Done {
        /// What was decoded.
        value: T,
        /// Bytes that belong to it.
        used: usize,
    },
    /// The input is valid but incomplete.
    NeedMore {
        /// Minimum size of the input for the next call.
        at_least: usize,
    },
}

/// A frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether this frame is the last of its message.
    pub fin: bool,
    /// RSV1: this frame begins a compressed message (RFC 7692 §7.2.3).
    pub compressed: bool,
    /// The kind of frame.
    pub opcode: Opcode,
    /// The mask key; `None` for frames of a server.
    pub key: Option<[u8; 4]>,
    /// Size of the payload that follows, at most 2^63 - 1.
    pub length: u64,
}

/// The meaning of RSV1 on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rsv1 {
    /// None: it must be 0.
    Reserved,
    /// The first frame of a compressed message has it: permessage-deflate was negotiated.
    Deflate,
}

/// Decodes the header of a frame that `receiver` receives.
///
/// # Errors
/// The rule that the sender violated. Control frames are checked here too, as their rules depend
/// only on the header.
pub fn decode(input: &[u8], receiver: Role, rsv1: Rsv1) -> Result<Decoded<Header>, Violation> {
    let [first, rest @ ..] = input else { return Ok(Decoded::NeedMore { at_least: 2 }) };
    let fin = first & 0x80 != 0;
    let reserved = (first >> 4) & 0b111;
    let begins_message = matches!(first & 0x0f, 1 | 2);
    // RFC 7692 §6.1: not on continuation frames, and not on control frames.
    let compressed = reserved == 0b100 && rsv1 == Rsv1::Deflate && begins_message;
    if reserved != 0 && !compressed {
        return Err(Violation::ReservedBits(reserved));
    }
    let opcode = Opcode::from_wire(*first)?;
    if opcode.is_control() && !fin {
        return Err(Violation::FragmentedControl(opcode));
    }

    let [second, rest @ ..] = rest else { return Ok(Decoded::NeedMore { at_least: 2 }) };
    let masked = second & 0x80 != 0;
    match receiver {
        Role::Server if !masked => return Err(Violation::NotMasked),
        Role::Client if masked => return Err(Violation::Masked),
        _ => {}
    }
    let short_length = second & 0x7f;
    if opcode.is_control() && short_length > 125 {
        return Err(Violation::ControlTooLong(opcode));
    }

    let key_bytes = if masked { 4 } else { 0 };
    let (length, rest, used) = match short_length {
        126 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<2>() else {
                return Ok(Decoded::NeedMore { at_least: 4 + key_bytes });
            };
            let length = u64::from(u16::from_be_bytes(*bytes));
            if length < 126 {
                return Err(Violation::LengthNotMinimal(length));
            }
            (length, rest, 4)
        }
        127 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<8>() else {
                return Ok(Decoded::NeedMore { at_least: 10 + key_bytes });
            };
            let length = u64::from_be_bytes(*bytes);
            if length > crate::limits::MAX_FRAME {
                return Err(Violation::LengthTopBit);
            }
            if length <= u64::from(u16::MAX) {
                return Err(Violation::LengthNotMinimal(length));
            }
            (length, rest, 10)
        }
        short => (u64::from(short), rest, 2),
    };
    if !masked {
        return Ok(Decoded::Done {
            value: Header { fin, compressed, opcode, key: None, length },
            used,
        });
    }
    let Some(key) = rest.first_chunk::<4>() else {
        return Ok(Decoded::NeedMore { at_least: used + 4 });
    };
    let value = Header { fin, compressed, opcode, key: Some(*key), length };
    Ok(Decoded::Done { value, used: used + 4 })
}

/// An encoded header; its length is in the shortest form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    bytes: [u8; MAX_HEADER],
    length: u8,
}

impl std::ops::Deref for Encoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// Returns the header size for a payload of `length` bytes.
pub const fn encoded_len(length: u64, masked: bool) -> usize {
    let key = if masked { 4 } else { 0 };
    match length {
        0..=125 => 2 + key,
        126..=0xffff => 4 + key,
        _ => 10 + key,
    }
}

/// Encodes `header`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "each cast stands in the branch that bounds it"
)]
pub fn encode(header: &Header) -> Encoded {
    let mut bytes = [0; MAX_HEADER];
    let mut length = 0_u8;
    let mut put = |part: &[u8]| {
        for (to, from) in bytes.iter_mut().skip(usize::from(length)).zip(part) {
            *to = *from;
        }
        length = length.saturating_add(part.len() as u8);
    };
    let mask_bit = if header.key.is_some() { 0x80 } else { 0 };
    let fin = if header.fin { 0x80 } else { 0 };
    let rsv1 = if header.compressed { 0x40 } else { 0 };
    put(&[fin | rsv1 | header.opcode as u8]);
    match header.length {
        short @ 0..=125 => put(&[mask_bit | short as u8]),
        medium @ 126..=0xffff => {
            put(&[mask_bit | 126]);
            put(&(medium as u16).to_be_bytes());
        }
        long => {
            put(&[mask_bit | 127]);
            put(&long.to_be_bytes());
        }
    }
    if let Some(key) = header.key {
        put(&key);
    }
    Encoded { bytes, length }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use anyport_testkit::hex;

    fn from_client(wire: &str) -> Result<Decoded<Header>, Violation> {
        decode(&hex(wire), Role::Server, Rsv1::Reserved)
    }

    #[test]
    fn fr_1_reserved_bits_are_refused_from_the_first_byte() {
        assert_eq!(from_client("c1"), Err(Violation::ReservedBits(0b100)));
        assert_eq!(from_client("a9"), Err(Violation::ReservedBits(0b010)));
        assert_eq!(from_client("90"), Err(Violation::ReservedBits(0b001)));
    }

    #[test]
    fn pd_4_rsv1_is_only_on_the_first_frame_of_a_data_message() {
        let deflate = |wire| decode(&hex(wire), Role::Server, Rsv1::Deflate);
        for (wire, compressed) in
            [("c1 80 00000000", true), ("42 80 00000000", true), ("81 80 00000000", false)]
        {
            let Ok(Decoded::Done { value, .. }) = deflate(wire) else { panic!("{wire}") };
            assert_eq!(value.compressed, compressed, "{wire}");
            assert_eq!(encode(&value)[..], hex(wire));
        }
        for first in ["c0", "40", "c8", "c9", "ca", "c3"] {
            assert_eq!(deflate(first), Err(Violation::ReservedBits(0b100)), "{first}");
        }
        for first in ["a1", "91", "e1", "d2", "f1"] {
            assert!(matches!(deflate(first), Err(Violation::ReservedBits(_))), "{first}");
        }
    }

    #[test]
    fn fr_2_reserved_opcodes_are_refused() {
        for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf_u8] {
            assert_eq!(
                decode(&[0x80 | opcode], Role::Server, Rsv1::Reserved),
                Err(Violation::ReservedOpcode(opcode))
            );
        }
    }

    #[test]
    fn fr_3_fragmented_control_frames_are_refused() {
        assert_eq!(from_client("09"), Err(Violation::FragmentedControl(Opcode::Ping)));
        assert_eq!(from_client("08"), Err(Violation::FragmentedControl(Opcode::Close)));
    }

    #[test]
    fn fr_4_long_control_frames_are_refused_from_two_bytes() {
        for (wire, opcode) in
            [("89fe", Opcode::Ping), ("8afe", Opcode::Pong), ("88ff", Opcode::Close)]
        {
            assert_eq!(from_client(wire), Err(Violation::ControlTooLong(opcode)));
        }
    }

    #[test]
    fn fr_6_and_7_lengths_are_minimal_and_63_bits() {
        assert_eq!(from_client("82 fe 007d"), Err(Violation::LengthNotMinimal(125)));
        assert_eq!(from_client("82 ff 000000000000ffff"), Err(Violation::LengthNotMinimal(65535)));
        assert_eq!(from_client("82 ff 8000000000000000"), Err(Violation::LengthTopBit));
    }

    #[test]
    fn mk_1_and_2_masks_go_one_way() {
        assert_eq!(from_client("8105"), Err(Violation::NotMasked));
        assert_eq!(from_client("8900"), Err(Violation::NotMasked));
        assert_eq!(decode(&hex("8185"), Role::Client, Rsv1::Reserved), Err(Violation::Masked));
    }

    #[test]
    fn fr_5_lengths_pass_whole_and_are_asked_for_byte_by_byte() {
        for length in
            [0, 1, 125, 126, 127, 65535, 65536, 1 << 31, (1 << 32) + 1, crate::limits::MAX_FRAME]
        {
            for key in [None, Some([1, 2, 3, 4])] {
                let header =
                    Header { fin: true, compressed: false, opcode: Opcode::Binary, key, length };
                let wire = encode(&header);
                let role = if key.is_some() { Role::Server } else { Role::Client };
                assert_eq!(wire.len(), encoded_len(length, key.is_some()));
                assert_eq!(
                    decode(&wire, role, Rsv1::Reserved),
                    Ok(Decoded::Done { value: header, used: wire.len() })
                );
                for cut in 0..wire.len() {
                    let Ok(Decoded::NeedMore { at_least }) =
                        decode(&wire[..cut], role, Rsv1::Reserved)
                    else {
                        panic!("{cut} of {} bytes decided", wire.len())
                    };
                    assert!(at_least > cut && at_least <= wire.len(), "{cut}: {at_least}");
                }
            }
        }
    }
}
