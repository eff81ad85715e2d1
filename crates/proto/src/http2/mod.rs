//! What of HTTP/2 (RFC 9113) is ours: to see when a client leaves something unfinished. All else is
//! a library's business.

mod frames;

pub use frames::Frames;
