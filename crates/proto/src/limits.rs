//! Every size that a peer can influence, with its default and the reason for it.
//!
//! Durations are defined beside the clocks (`anyport_server::Timeouts`); counts of connections too.

/// Sizes beyond which a peer is refused.
///
/// `Limits::default()` is what the server uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum size of a request line; a longer first line is raw bytes. 8 KiB, as in nginx.
    pub request_line: usize,
    /// Maximum size of an HTTP head: request line, fields, empty line. 16 KiB: enough for the
    /// cookies of a browser.
    pub head: usize,
    /// Maximum number of fields of an HTTP head. 100, as in hyper and Go.
    pub fields: usize,
    /// Maximum size of all chunk extensions of one content (RFC 9112 §7.1.1), which have no meaning
    /// here. 4 KiB: they are practically unused, so more is an attempt to waste CPU time.
    pub chunk_extensions: usize,
    /// Maximum number of parts of a form (`multipart/form-data`), as in Go: each file has a receipt
    /// in the response, which is in memory.
    pub parts: usize,
    /// Maximum size of the head of such a part, and of all bytes outside of parts.
    ///
    /// A path of 1024 bytes needs 3 KiB when percent-encoded.
    pub part_head: usize,
    /// Maximum size of a preface line or an `END` line, line feed included.
    ///
    /// A name of 255 bytes needs 765 when percent-encoded.
    pub preface_line: usize,
    /// Maximum size of a text message with an offer or an end, over WebSocket.
    pub offer: usize,
    /// Maximum bytes of a candidate for bare frames in memory; beyond it they go raw into the
    /// partial file.
    pub held_candidate: usize,
    /// Maximum payload of one frame.
    ///
    /// Payload is streamed, so this bounds no memory: files have no limit.
    pub frame: u64,
    /// Maximum payload of one message, summed over its fragments.
    ///
    /// Streamed too, unless a service assembles it.
    pub message: u64,
    /// Maximum size of an inflated message.
    ///
    /// Streamed too, so nothing is allocated for it.
    pub inflated_message: u64,
    /// Maximum size of a message that the echo service returns, inclusive; inflated, if it was
    /// compressed.
    pub echo_message: u64,
    /// Maximum size of a message in a room, inclusive. 64 KiB: a page or two of text, so the queue
    /// of a slow member holds several messages.
    pub room_message: usize,
    /// Maximum size of the names in memory for one listing: those of the directories on its current
    /// path.
    ///
    /// Enough for a quarter of a million files of usual names in one directory.
    pub listed_names: usize,
    /// Maximum size of a message with the library implementation, which assembles each message
    /// first.
    pub library_message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: 8 * 1024,
            head: 16 * 1024,
            fields: 100,
            chunk_extensions: 4 * 1024,
            parts: 1000,
            part_head: 4 * 1024,
            preface_line: 4 * 1024,
            offer: 16 * 1024,
            held_candidate: 1024 * 1024,
            frame: MAX_FRAME,
            message: u64::MAX,
            inflated_message: u64::MAX,
            echo_message: 16 * 1024 * 1024,
            room_message: 64 * 1024,
            listed_names: 16 * 1024 * 1024,
            library_message: 64 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// Returns the maximum size of a message as JSON: JSON may encode a byte of text as six
    /// (`\u001b`), as Python does for everything that is not ASCII; plus the key and the syntax
    /// around.
    pub fn said_json(&self) -> usize {
        self.room_message.saturating_mul(6).saturating_add(256)
    }
}

/// Maximum size of a refused file's content that the receiver discards, so that the connection can
/// carry the next file.
///
/// A sender of a file up to this size does not wait for permission.
pub const MAX_DISCARDED: u64 = 64 * 1024;

/// Maximum payload that a frame can announce: the most significant bit must be 0 (RFC 6455 §5.2).
pub const MAX_FRAME: u64 = (1 << 63) - 1;

/// Maximum number of components of a path, also within a listing.
///
/// Usual trees have fewer levels, and a listing keeps a directory open for each level.
pub const MAX_PATH_COMPONENTS: usize = 32;

/// Maximum size of a path, separators included.
///
/// Percent-encoded, each byte may need three in a preface line.
pub const MAX_PATH_LEN: usize = 1024;

/// Maximum characters of a room name.
///
/// It is part of URLs and of lines for people.
pub const MAX_ROOM_NAME: usize = 64;

/// Maximum characters of a nickname.
///
/// It precedes each message.
pub const MAX_NICKNAME: usize = 32;

/// Maximum characters of a message key: a UUID, and room for a prefix.
pub const MAX_MESSAGE_KEY: usize = 64;

/// Maximum characters of a pipe key.
///
/// It is part of URLs, and gives access to the content, so there is room for one that cannot be
/// guessed.
pub const MAX_PIPE_KEY: usize = 128;

/// Maximum number of tokens of one server: all are compared with each that a client sends.
pub const MAX_TOKENS: usize = 1024;

/// Maximum number of receivers of one pipe.
pub const MAX_PIPE_RECEIVERS: usize = 64;
