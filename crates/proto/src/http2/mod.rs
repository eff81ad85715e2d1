//! The part of HTTP/2 (RFC 9113) that is implemented here: noticing what a client leaves
//! unfinished. A library does everything else.

pub mod frame;
mod frames;

pub use frames::Frames;
