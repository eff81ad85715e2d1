//! Masking (RFC 6455 §5.3): payload XOR a key of four bytes that repeats.
//!
//! A [`Mask`] is the key together with its phase, so that payload may arrive in pieces of any
//! length: after each piece the key is rotated, and the next piece begins with the right byte.

/// A source of mask keys.
///
/// A client needs an unpredictable one (§10.3).
pub trait KeySource: Send {
    /// Returns a fresh key for one frame.
    fn next_key(&mut self) -> [u8; 4];
}

/// A mask key and its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    /// Rotated, so that its first byte masks the next byte of payload.
    key: [u8; 4],
}

impl Mask {
    /// Returns the mask at the start of a frame.
    pub const fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Masks or unmasks the next piece of the payload in place.
    // PERF: a plain loop over 32-byte blocks, which the compiler vectorizes.
    pub fn apply(&mut self, data: &mut [u8]) {
        let word = u32::from_ne_bytes(self.key);
        let (blocks, tail) = data.as_chunks_mut::<32>();
        for block in blocks {
            for bytes in block.as_chunks_mut::<4>().0 {
                *bytes = (u32::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
            }
        }
        for (byte, key) in tail.iter_mut().zip(self.key.into_iter().cycle()) {
            *byte ^= key;
        }
        self.key.rotate_left(tail.len() % 4);
    }

    /// Skips `count` bytes of payload.
    pub const fn skip(&mut self, count: u64) {
        // The remainder of a division by four: at most three.
        let [a, b, c, d] = self.key;
        self.key = match count % 4 {
            0 => [a, b, c, d],
            1 => [b, c, d, a],
            2 => [c, d, a, b],
            _ => [d, a, b, c],
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The oracle: §5.3 literally.
    fn naive(data: &mut [u8], key: [u8; 4], offset: usize) {
        for (i, byte) in data.iter_mut().enumerate() {
            *byte ^= key[(offset + i) % 4];
        }
    }

    #[test]
    fn mk_4_rfc_6455_section_5_7_example() {
        let mut data = *b"\x7f\x9f\x4d\x51\x58";
        Mask::new([0x37, 0xfa, 0x21, 0x3d]).apply(&mut data);
        assert_eq!(&data, b"Hello");
    }

    /// Miri is a thousand times slower: all lengths of a tail and up to two blocks, at fewer
    /// positions.
    const STEP: usize = if cfg!(miri) { 23 } else { 1 };

    #[test]
    fn mk_4_equals_the_naive_mask_for_all_lengths_starts_and_phases() {
        let longest = if cfg!(miri) { 70 } else { 300 };
        let source = anyport_testkit::noise(longest + 64, 1);
        for key in [[0x12, 0x34, 0x56, 0x78], [0; 4], [0xff; 4], [0x80, 0, 0, 0x01]] {
            for length in 0..=longest {
                // Unaligned starts in one buffer, with the phase of a frame.
                for start in (0..64).step_by(STEP) {
                    let mut fast = source.clone();
                    let mut slow = source.clone();
                    let mut mask = Mask::new(key);
                    mask.skip(start as u64);
                    mask.apply(&mut fast[start..start + length]);
                    naive(&mut slow[start..start + length], key, start);
                    assert_eq!(fast, slow, "key {key:?}, length {length}, start {start}");
                    let mut expected = Mask::new(key);
                    expected.skip((start + length) as u64);
                    assert_eq!(mask, expected, "phase after length {length}");
                }
            }
        }
    }

    #[test]
    fn mk_4_equals_the_naive_mask_for_a_mebibyte() {
        let length = if cfg!(miri) { 1 << 10 } else { 1 << 20 };
        for (seed, start) in [(1, 0), (2, 1), (3, 3), (4, 7)] {
            let key = [0x9e, 0x37, 0x79, 0xb9];
            let mut fast = anyport_testkit::noise(start + length + 5, seed);
            let mut slow = fast.clone();
            Mask::new(key).apply(&mut fast[start..]);
            naive(&mut slow[start..], key, 0);
            assert!(fast == slow, "start {start}");
        }
    }

    #[test]
    fn mk_4_a_phase_counts_beyond_32_bits() {
        let mut mask = Mask::new([1, 2, 3, 4]);
        mask.skip((1 << 32) + 1);
        let mut data = [0; 4];
        mask.apply(&mut data);
        assert_eq!(data, [2, 3, 4, 1]);
        mask.skip(u64::MAX);
        mask.apply(&mut data);
        assert_eq!(data, [2 ^ 1, 3 ^ 2, 4 ^ 3, 1 ^ 4]);
    }

    #[test]
    fn mk_3_the_phase_is_carried_over_any_segmentation() {
        let source = anyport_testkit::noise(1_000, 2);
        let mut whole = source.clone();
        Mask::new([1, 2, 3, 4]).apply(&mut whole);
        for piece in (1..70).step_by(STEP) {
            let mut cut = source.clone();
            let mut mask = Mask::new([1, 2, 3, 4]);
            cut.chunks_mut(piece).for_each(|part| mask.apply(part));
            assert_eq!(cut, whole, "pieces of {piece}");
        }
    }

    #[test]
    fn mk_6_nothing_outside_the_payload_is_touched() {
        let mut data = [0_u8; 100];
        Mask::new([0xff; 4]).apply(&mut data[20..77]);
        assert!(data[..20].iter().chain(&data[77..]).all(|byte| *byte == 0));
        assert!(data[20..77].iter().all(|byte| *byte == 0xff));
    }
}
