//! Incremental UTF-8 validation (RFC 6455 §8.1): an invalid byte is found when it arrives, not at
//! the end of the text.

/// The text is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotUtf8;

/// Carries at most three bytes of an incomplete character to the next piece.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Utf8 {
    carry: [u8; 4],
    carried: usize,
}

impl Utf8 {
    /// Validates the next piece.
    pub(super) fn push(&mut self, mut piece: &[u8]) -> Result<(), NotUtf8> {
        while self.carried > 0 {
            let [next, rest @ ..] = piece else { return Ok(()) };
            piece = rest;
            // At most three bytes are carried, so the fourth element is free.
            let Some(place) = self.carry.get_mut(self.carried) else { return Err(NotUtf8) };
            *place = *next;
            self.carried += 1;
            match std::str::from_utf8(&self.carry[..self.carried]) {
                Ok(_) => self.carried = 0,
                Err(error) if error.error_len().is_some() => return Err(NotUtf8),
                Err(_) => {}
            }
        }
        // simdutf8's fast check first; only text that fails it, or ends inside a character, is
        // checked again.
        if simdutf8::basic::from_utf8(piece).is_ok() {
            return Ok(());
        }
        match std::str::from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(NotUtf8),
            Err(error) => {
                let unfinished = &piece[error.valid_up_to()..];
                self.carry[..unfinished.len()].copy_from_slice(unfinished);
                self.carried = unfinished.len();
                Ok(())
            }
        }
    }

    /// Checks that no character is incomplete, and resets for the next text.
    pub(super) fn finish(&mut self) -> Result<(), NotUtf8> {
        if std::mem::take(&mut self.carried) == 0 { Ok(()) } else { Err(NotUtf8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyport_testkit::{every_cut, hex};

    fn check(pieces: &[&[u8]]) -> Result<(), NotUtf8> {
        let mut utf8 = Utf8::default();
        pieces.iter().try_for_each(|piece| utf8.push(piece))?;
        utf8.finish()
    }

    #[test]
    fn ut_1_valid_text_passes_in_every_segmentation() {
        every_cut("aé€𝄞\u{fffe}\u{10ffff}z".as_bytes(), |pieces| {
            assert_eq!(check(pieces), Ok(()))
        });
    }

    #[test]
    fn ut_3_invalid_text_is_refused_in_every_segmentation() {
        for bad in [
            "eda080", "c080", "c1bf", "e08080", "f0808080", "f4908080", "f5", "ff", "80", "61ce",
            "f09d84",
        ] {
            every_cut(&hex(bad), |pieces| assert_eq!(check(pieces), Err(NotUtf8), "{bad}"));
        }
    }

    #[test]
    fn ut_2_the_offending_byte_is_found_when_it_comes() {
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.push(b"\xf4"), Ok(()));
        assert_eq!(utf8.push(b"\x90"), Err(NotUtf8));
    }
}
