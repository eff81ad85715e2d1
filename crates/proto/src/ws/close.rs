//! Close frames (RFC 6455 §5.5.1, §7.4): a code, a reason, and the codes that may be sent.

use super::Violation;

/// A close code that may be sent: 1000 to 1003, 1007 to 1014, 3000 to 4999.
///
/// 1005, 1006 and 1015 are only for local use; they cannot be constructed, so they can never be
/// sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The peer goes away: a closed tab, a stopping server.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer violated the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// Text that is not UTF-8, or another mismatch of content and kind.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Data that contradicts its type.
    pub const INVALID_DATA: Self = Self(1007);
    /// A local policy forbids it; the reason names it.
    pub const POLICY: Self = Self(1008);
    /// A message is too long.
    pub const TOO_BIG: Self = Self(1009);
    /// The server is busy; the same may work later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// An internal error, such as a full disk.
    pub const INTERNAL: Self = Self(1011);

    /// Checks a code that was read from a frame or chosen by a program.
    ///
    /// # Errors
    /// [`Violation::CloseCode`] for codes that are reserved, unassigned or never sent (§7.4.2).
    pub const fn from_wire(code: u16) -> Result<Self, Violation> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Self(code)),
            _ => Err(Violation::CloseCode(code)),
        }
    }

    /// Returns the number.
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Decodes code and reason of a Close frame. Without payload returns `(None, "")`.
///
/// # Errors
/// One byte, a code that must not be sent, or a reason that is not UTF-8.
pub(super) fn decode(payload: &[u8]) -> Result<(Option<CloseCode>, &str), Violation> {
    match payload {
        [] => Ok((None, "")),
        [_] => Err(Violation::CloseOfOneByte),
        [high, low, reason @ ..] => {
            let code = CloseCode::from_wire(u16::from_be_bytes([*high, *low]))?;
            let reason = std::str::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
            Ok((Some(code), reason))
        }
    }
}

/// Encodes the payload of a Close frame: at most 125 bytes, the reason cut at a character boundary.
pub(super) fn encode(code: Option<CloseCode>, reason: &str) -> Vec<u8> {
    let Some(code) = code else { return Vec::new() };
    let mut payload = code.value().to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(MAX_REASON)]);
    payload
}

/// Maximum size of a reason: 125 bytes of control payload minus the code.
pub const MAX_REASON: usize = 123;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cl_2_codes_on_the_wire() {
        for good in [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
            4000, 4999,
        ] {
            assert_eq!(CloseCode::from_wire(good).unwrap().value(), good);
        }
        for bad in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert_eq!(CloseCode::from_wire(bad), Err(Violation::CloseCode(bad)));
        }
    }

    #[test]
    fn cl_1_payload_lengths() {
        assert_eq!(decode(&[]), Ok((None, "")));
        assert_eq!(decode(&[3]), Err(Violation::CloseOfOneByte));
        assert_eq!(decode(b"\x03\xe8bye"), Ok((Some(CloseCode::NORMAL), "bye")));
        assert_eq!(decode(b"\x03\xe8\xff"), Err(Violation::CloseReasonNotUtf8));
    }

    #[test]
    fn cl_9_reason_is_cut_on_a_character() {
        let reason = "é".repeat(100);
        let payload = encode(Some(CloseCode::NORMAL), &reason);
        assert_eq!(payload.len(), 2 + 122);
        assert_eq!(decode(&payload).unwrap().1, "é".repeat(61));
        assert_eq!(encode(None, "lost"), b"");
    }
}
