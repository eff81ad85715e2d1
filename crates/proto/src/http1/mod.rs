//! HTTP/1.1 without sockets (RFC 9112): strict parsing of heads and content, and short plain
//! responses.
//!
//! Request smuggling works by framing: two readers disagree on the end of a line or of the content.
//! So parsing is never lenient: no bare line feed, no folded field, no second `Content-Length`. An
//! error names the violated rule.
//!
//! ```text
//!   bytes ──► HeadReader (a request) or ResponseHeadReader ──► Pushed::Done { head, used }
//!               └ scan: reads each byte once           the bytes from `used` on are content
//!   bytes ──► BodyReader, by the head's Framing ──► Piece { content, used }, until it is done
//! ```
//!
//! The other modules parse fields: preconditions, ranges, dates, media types, codings, languages.

mod base_path;
pub mod body;
pub mod coding;
pub mod conditional;
pub mod date;
mod error;
pub mod field_names;
mod fields;
pub mod forwarded;
pub mod head;
pub mod language;
pub mod media;
mod plain;
mod preference;
pub mod range;
pub mod response;
mod scan;

pub use base_path::{BasePath, BasePathError};
pub use body::{BodyError, BodyReader, Framing, Piece};
pub use error::HeadError;
pub use head::{HeadReader, RequestHead};
pub(crate) use plain::is_field;
pub use plain::plain_response;
pub use response::{ResponseHead, ResponseHeadReader};
pub use scan::Pushed;
