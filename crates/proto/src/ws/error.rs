//! Protocol violations, and their close codes.

use super::{CloseCode, Opcode};

/// A rule of RFC 6455 or 7692 that the peer violated.
///
/// Terminal: the rest of the stream cannot be interpreted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// RSV bits without an extension that gives them a meaning on this frame.
    #[error("reserved bits {0:#05b} are set without a negotiated extension")]
    ReservedBits(u8),
    /// Opcode 3 to 7 or 11 to 15.
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// A control frame with FIN 0.
    #[error("a {0:?} frame is fragmented")]
    FragmentedControl(Opcode),
    /// A control frame with more than 125 bytes of payload, decided from its first two bytes.
    #[error("a {0:?} frame announces more than 125 bytes")]
    ControlTooLong(Opcode),
    /// A server received an unmasked frame.
    #[error("a client's frame is not masked")]
    NotMasked,
    /// A client received a masked frame.
    #[error("a server's frame is masked")]
    Masked,
    /// A length in more bytes than it needs.
    #[error("length {0} is not in its shortest form")]
    LengthNotMinimal(u64),
    /// A 64-bit length with its most significant bit set.
    #[error("the top bit of a 64-bit length is set")]
    LengthTopBit,
    /// A continuation frame with no message to continue.
    #[error("a continuation frame without a message to continue")]
    ContinuationWithoutStart,
    /// A new message before the last one ended.
    #[error("a {0:?} frame inside a fragmented message")]
    MessageInsideMessage(Opcode),
    /// A frame above the limit, decided from its header.
    #[error("a frame of {announced} bytes exceeds the limit of {limit}")]
    FrameTooLong {
        /// Length in the header.
        announced: u64,
        /// The limit.
        limit: u64,
    },
    /// A message above the limit, summed over its fragments, decided from the header that exceeds
    /// it.
    #[error("a message of at least {announced} bytes exceeds the limit of {limit}")]
    MessageTooLong {
        /// The sum so far, this frame included.
        announced: u64,
        /// The limit.
        limit: u64,
    },
    /// A compressed message above the limit, counted as it is inflated.
    #[error("a compressed message inflates to more than the limit of {limit} bytes")]
    InflatedTooLong {
        /// The limit.
        limit: u64,
    },
    /// Compressed payload that cannot be inflated, or that ends inside a block.
    #[error("compressed payload is not whole DEFLATE blocks")]
    NotDeflate,
    /// Text that is not UTF-8.
    #[error("text is not valid UTF-8")]
    NotUtf8,
    /// A Close frame with one byte of payload.
    #[error("a Close frame has one byte of payload")]
    CloseOfOneByte,
    /// A close code that must not be sent.
    #[error("close code {0} is not allowed")]
    CloseCode(u16),
    /// A close reason that is not UTF-8.
    #[error("a close reason is not valid UTF-8")]
    CloseReasonNotUtf8,
}

impl Violation {
    /// Returns the close code to send (§7.4.1).
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::FrameTooLong { .. }
            | Self::MessageTooLong { .. }
            | Self::InflatedTooLong { .. } => CloseCode::TOO_BIG,
            Self::NotDeflate | Self::NotUtf8 | Self::CloseReasonNotUtf8 => CloseCode::INVALID_DATA,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// Returns the section of the rule.
    pub const fn section(&self) -> &'static str {
        match self {
            Self::ReservedBits(_)
            | Self::ReservedOpcode(_)
            | Self::LengthNotMinimal(_)
            | Self::LengthTopBit => "RFC 6455 §5.2",
            Self::FragmentedControl(_) | Self::ControlTooLong(_) => "RFC 6455 §5.5",
            Self::NotMasked | Self::Masked => "RFC 6455 §5.1",
            Self::ContinuationWithoutStart | Self::MessageInsideMessage(_) => "RFC 6455 §5.4",
            Self::FrameTooLong { .. }
            | Self::MessageTooLong { .. }
            | Self::InflatedTooLong { .. } => "RFC 6455 §10.4",
            Self::NotDeflate => "RFC 7692 §7.2.2",
            Self::NotUtf8 => "RFC 6455 §8.1",
            Self::CloseOfOneByte | Self::CloseReasonNotUtf8 => "RFC 6455 §5.5.1",
            Self::CloseCode(_) => "RFC 6455 §7.4",
        }
    }
}
