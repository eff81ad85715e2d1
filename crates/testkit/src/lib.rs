//! Tools for tests only: wire bytes written as people read them, every way a network may cut a
//! stream, and a harness that runs the program (cargo feature `harness`).
//!
//! Imports no crate of the workspace, so that each of them can use it, and so that bytes which it
//! writes are checked against another implementation.

#![forbid(unsafe_code)]

#[cfg(feature = "harness")]
pub mod harness;

/// Bytes from hexadecimal digits; white space between them is for the reader.
///
/// # Panics
/// When `text` holds anything but pairs of hexadecimal digits and white space.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("hexadecimal digit"))
        .collect();
    assert!(digits.len().is_multiple_of(2), "odd number of hexadecimal digits in {text:?}");
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("one byte")).collect()
}

/// Calls `check` with `wire` cut in one-byte pieces, uncut, and cut in two at every place.
pub fn every_cut(wire: &[u8], mut check: impl FnMut(&[&[u8]])) {
    check(&[wire]);
    check(&wire.chunks(1).collect::<Vec<_>>());
    for at in 1..wire.len() {
        let (left, right) = wire.split_at(at);
        check(&[left, right]);
    }
}

/// `wire` cut at `places` (taken modulo its length; in any order, repeats allowed).
pub fn cut_at<'a>(wire: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut borders: Vec<usize> = places.iter().map(|place| place % (wire.len() + 1)).collect();
    borders.sort_unstable();
    borders.dedup();
    let mut pieces = Vec::new();
    let mut start = 0;
    for border in borders.into_iter().chain([wire.len()]) {
        pieces.push(&wire[start..border]);
        start = border;
    }
    pieces
}

/// `length` bytes that look random and are the same on every run for the same `seed`.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64*: more than random enough for payloads, and needs no dependency.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_what_people_write() {
        assert_eq!(hex("81 05 48656c6c6f"), b"\x81\x05Hello");
    }

    #[test]
    fn every_cut_loses_nothing() {
        let mut cuts = 0;
        every_cut(b"abcd", |pieces| {
            assert_eq!(pieces.concat(), b"abcd");
            cuts += 1;
        });
        assert_eq!(cuts, 5);
        assert_eq!(cut_at(b"abcd", &[3, 1, 9]).concat(), b"abcd");
    }

    #[test]
    fn noise_repeats_and_differs_by_seed() {
        assert_eq!(noise(100, 7), noise(100, 7));
        assert_ne!(noise(100, 7), noise(100, 8));
    }
}
