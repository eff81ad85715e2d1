//! Opcodes (RFC 6455 §5.2, §11.8): three for data, three for control, ten reserved.

use super::Violation;

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Continues a message that an earlier frame began.
    Continuation = 0x0,
    /// Begins a message of UTF-8 text.
    Text = 0x1,
    /// Begins a message of bytes.
    Binary = 0x2,
    /// Begins the closing handshake, or completes it.
    Close = 0x8,
    /// Requests a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping; an unsolicited one is ignored.
    Pong = 0xa,
}

impl Opcode {
    /// Decodes the low four bits of a frame's first byte.
    ///
    /// # Errors
    /// [`Violation::ReservedOpcode`] for 3 to 7 and 11 to 15.
    pub const fn from_wire(bits: u8) -> Result<Self, Violation> {
        Ok(match bits & 0x0f {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            reserved => return Err(Violation::ReservedOpcode(reserved)),
        })
    }

    /// Returns whether frames with this opcode must be unfragmented and short (§5.5).
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// The content of a data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text, checked as it arrives.
    Text,
    /// Bytes.
    Binary,
}

impl Kind {
    /// Returns the opcode that begins a message of this kind.
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}
