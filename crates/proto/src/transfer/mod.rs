//! One transfer of one file, as said on the wire: offer, content, end, receipt (DESIGN section 6).
//!
//! ```text
//!   sender    ── offer ──►  ── content ──►  ── end ──►
//!   receiver  ◄── go (when the offer asks to resume)      ◄── receipt, or a refusal
//! ```
//!
//! What is said is the same on every protocol; how it is spelled differs: [`preface`] has the lines
//! of raw TCP, which a person can type, [`offer`] the JSON messages of the WebSocket subprotocol
//! `anyport.file.1`.

pub mod digest;
pub mod download;
pub mod file_name;
pub mod file_path;
pub mod file_time;
pub mod hasher;
mod line;
pub mod listing;
pub mod offer;
pub(crate) mod percent;
pub mod pipe;
pub mod preface;
pub mod receipt;
pub mod refusal;
pub mod tcp_seen;
pub mod units;
mod words;

pub use words::UnknownWord;
pub(crate) use words::quoted;
