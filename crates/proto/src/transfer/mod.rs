//! One transfer of one file: offer, content, end, receipt.
//!
//! ```text
//!   sender    ── offer ──►  ── content ──►  ── end ──►
//!   receiver  ◄── go (when the offer asks to resume)      ◄── receipt, or a refusal
//! ```
//!
//! The data is the same on every protocol, its encoding differs: [`crate::preface`] has the lines
//! of raw TCP, which a person can type, [`messages`] the JSON messages of the WebSocket subprotocol
//! `anyport.file.1`.

pub mod digest;
pub mod digest_field;
pub mod download;
pub mod file_name;
pub mod file_path;
pub mod file_time;
pub mod hasher;
pub(crate) mod json;
pub mod listing;
pub mod messages;
pub mod offer;
pub(crate) mod percent;
pub mod receipt;
pub mod refusal;
pub mod tcp_seen;
pub mod units;
pub(crate) mod values;
mod words;

pub use json::MessageError;
pub use words::UnknownWord;
pub(crate) use words::{quoted, spelled};
