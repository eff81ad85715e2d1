//! HTTP/1.1 without sockets (RFC 9112): heads and content read under strict rules, and short plain
//! answers.
//!
//! Framing is where smuggling lives: two readers that disagree on where a line or the content ends.
//! So nothing lenient is taken, no bare line feed, no folded field, no second `Content-Length`;
//! what is refused says by which rule.
//!
//! ```text
//!   bytes ──► HeadReader (a request) or ResponseHeadReader ──► Pushed::Done { head, used }
//!               └ scan: reads each byte once           the bytes from `used` on are content
//!   bytes ──► BodyReader, by the head's Framing ──► Piece { content, used }, until it is done
//! ```
//!
//! The rest is what a server reads from fields: preconditions, ranges, dates, media types,
//! languages.

pub mod body;
pub mod conditional;
pub mod date;
mod error;
pub mod field_names;
mod fields;
pub mod head;
pub mod language;
pub mod media;
mod plain;
mod preference;
pub mod range;
pub mod response;
mod scan;

pub use body::{BodyError, BodyReader, Framing, Piece};
pub use error::HeadError;
pub use head::{HeadReader, RequestHead};
pub(crate) use plain::is_field;
pub use plain::plain_response;
pub use response::{ResponseHead, ResponseHeadReader};
pub use scan::Pushed;
