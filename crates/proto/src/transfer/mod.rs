//! One transfer of one file: offer, content, end, receipt.
//!
//! ```text
//!   sender    ── offer ──►  ── content ──►  ── end ──►
//!   receiver  ◄── go (when the offer asks to resume)      ◄── receipt, or a refusal
//! ```
//!
//! The model is one set of types: [`offer`], [`receipt`], [`refusal`], [`download`]. Three codecs
//! write and read them: [`crate::preface`] the lines of raw TCP, which a person can type,
//! [`messages`] and [`listing`] JSON, [`fields`] the fields of HTTP.

pub(crate) mod codec;
pub mod digest;
pub mod download;
pub mod file_name;
pub mod file_path;
pub mod file_time;
pub mod hasher;
pub mod listing;
pub mod messages;
pub mod offer;
pub(crate) mod percent;
pub mod receipt;
pub mod refusal;
pub mod tcp_seen;
pub mod units;
mod words;

pub use codec::{fields, json::MessageError};
pub use words::UnknownWord;
pub(crate) use words::{quoted, word_enum};
