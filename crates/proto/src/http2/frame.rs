//! Numbers in the headers of frames (RFC 9113 §4.1, §6).

/// Size of a frame header, in bytes.
pub const HEADER: usize = 9;

/// Type: content (§6.1).
pub const DATA: u8 = 0;
/// Type: a head, or its first part (§6.2).
pub const HEADERS: u8 = 1;
/// Type: priority of a stream, deprecated (§6.3).
pub const PRIORITY: u8 = 2;
/// Type: the end of a stream by an error (§6.4).
pub const RST_STREAM: u8 = 3;
/// Type: settings of the connection (§6.5).
pub const SETTINGS: u8 = 4;
/// Type: the head of a request that the server answers unasked (§6.6).
pub const PUSH_PROMISE: u8 = 5;
/// Type: a question whether the peer is there (§6.7).
pub const PING: u8 = 6;
/// Type: no further streams (§6.8).
pub const GOAWAY: u8 = 7;
/// Type: further bytes that the peer may send (§6.9).
pub const WINDOW_UPDATE: u8 = 8;
/// Type: a further part of a head (§6.10).
pub const CONTINUATION: u8 = 9;

/// Flag of SETTINGS and PING: an acknowledgement.
pub const ACK: u8 = 1;
/// Flag of DATA and HEADERS: the stream ends.
pub const END_STREAM: u8 = 1;
/// Flag of HEADERS, PUSH_PROMISE and CONTINUATION: the head ends with this frame.
pub const END_HEADERS: u8 = 4;
/// Flag of DATA, HEADERS and PUSH_PROMISE: the payload has padding.
pub const PADDED: u8 = 8;
/// Flag of HEADERS: the payload begins with a priority.
pub const HAS_PRIORITY: u8 = 0x20;
