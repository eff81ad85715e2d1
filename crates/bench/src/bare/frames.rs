//! Frames and masks (RFC 6455 §5.2, §5.3), as little of them as one kind of binary frame needs.

use anyhow::{Result, bail};

/// Bytes of a masked frame's longest header.
pub(super) const MAX_HEADER: usize = 14;

/// Writes the header of a masked binary frame, and returns its length.
pub(super) fn write_header(out: &mut [u8], length: usize, key: [u8; 4]) -> usize {
    out[0] = 0x82;
    let at = match length {
        short @ 0..=125 => {
            out[1] = 0x80 | short.to_le_bytes()[0];
            2
        }
        medium @ 126..=0xffff => {
            out[1] = 0x80 | 126;
            out[2..4].copy_from_slice(&(medium as u64).to_be_bytes()[6..]);
            4
        }
        long => {
            out[1] = 0x80 | 127;
            out[2..10].copy_from_slice(&(long as u64).to_be_bytes());
            10
        }
    };
    out[at..at + 4].copy_from_slice(&key);
    at + 4
}

/// Bytes of the header that begins so; `None` of less than two bytes.
pub(super) fn header_len(start: &[u8]) -> Option<usize> {
    Some(match start.get(1)? & 0x7f {
        126 => 8,
        127 => 14,
        _ => 6,
    })
}

/// Payload length and key of a whole header.
pub(super) fn read_header(header: &[u8]) -> Result<(u64, [u8; 4])> {
    if header[0] != 0x82 || header[1] & 0x80 == 0 {
        bail!("{:02x?} is not a masked binary frame header", &header[..2]);
    }
    let (length, key) = header[2..].split_at(header.len() - 6);
    let length = match length.len() {
        0 => u64::from(header[1] & 0x7f),
        _ => length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    Ok((length, [key[0], key[1], key[2], key[3]]))
}

/// Computes `to = from ^ key`; returns the key rotated for the next byte.
pub(super) fn mask_into(to: &mut [u8], from: &[u8], mut key: [u8; 4]) -> [u8; 4] {
    let word = u32::from_ne_bytes(key);
    let (to_words, to_tail) = to.as_chunks_mut::<4>();
    let (from_words, from_tail) = from.as_chunks::<4>();
    for (to, from) in to_words.iter_mut().zip(from_words) {
        *to = (u32::from_ne_bytes(*from) ^ word).to_ne_bytes();
    }
    for ((to, from), key) in to_tail.iter_mut().zip(from_tail).zip(key) {
        *to = from ^ key;
    }
    key.rotate_left(to_tail.len());
    key
}

/// Computes `data ^= key`; returns the key rotated for the next byte.
pub(super) fn unmask(data: &mut [u8], mut key: [u8; 4]) -> [u8; 4] {
    let word = u32::from_ne_bytes(key);
    let (words, tail) = data.as_chunks_mut::<4>();
    for bytes in words {
        *bytes = (u32::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
    key.rotate_left(tail.len());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyport_proto::ws::header::{Decoded, Rsv1, decode};
    use anyport_proto::ws::{Mask, Role};

    #[test]
    fn headers_are_those_of_the_product() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 33] {
            let mut out = [0; MAX_HEADER];
            let used = write_header(&mut out, length, [9, 8, 7, 6]);
            let Ok(Decoded::Done { value, used: decoded }) =
                decode(&out, Role::Server, Rsv1::Reserved)
            else {
                panic!("{length}: {out:?}")
            };
            assert_eq!((value.length, value.key), (length as u64, Some([9, 8, 7, 6])));
            assert_eq!((used, header_len(&out)), (decoded, Some(used)));
            assert_eq!(read_header(&out[..used]).unwrap(), (length as u64, [9, 8, 7, 6]));
        }
        assert!(read_header(&[0x81, 0x80, 1, 2, 3, 4]).is_err());
    }

    #[test]
    fn masks_are_those_of_the_product_in_any_segmentation() {
        let source = anyport_testkit::noise(1000, 5);
        let mut expected = source.clone();
        Mask::new([1, 2, 3, 4]).apply(&mut expected);
        for piece in [1, 3, 4, 7, 33, 1000] {
            let (mut masked, mut key) = (vec![0; source.len()], [1, 2, 3, 4]);
            for (to, from) in masked.chunks_mut(piece).zip(source.chunks(piece)) {
                key = mask_into(to, from, key);
            }
            assert_eq!(masked, expected, "pieces of {piece}");
            let mut key = [1, 2, 3, 4];
            masked.chunks_mut(piece).for_each(|part| key = unmask(part, key));
            assert_eq!(masked, source, "pieces of {piece}");
        }
    }
}
