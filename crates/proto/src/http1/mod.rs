//! HTTP/1.1 heads without sockets (RFC 9112): opening heads read under strict rules, and short plain answers.
//!
//! Heads are where smuggling lives: two readers that disagree on where a line or the content ends. So nothing lenient
//! is taken, no bare line feed, no folded field, no second `Content-Length`; what is refused says by which rule.
//!
//! ```text
//!   bytes ──► HeadReader (a request) or ResponseHeadReader ──► Pushed::Done { head, used }
//!               └ scan: each byte looked at once            the bytes from `used` on are frames or content
//! ```

mod fields;
pub mod head;
pub mod response;
mod scan;

pub use head::{HeadError, HeadReader, Pushed, RequestHead};
pub use response::{ResponseHead, ResponseHeadReader, plain_response};
