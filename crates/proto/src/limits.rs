//! Every size that a peer can influence, with its default and the reason for it.
//!
//! Durations live with those who own clocks (`anyport_server::Timeouts`); counts of connections
//! too.

/// Sizes beyond which a peer is refused. Plain data; `Limits::default()` is what the server uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request line; a longer first line is raw bytes, not HTTP. 8 KiB, as nginx takes.
    pub request_line: usize,
    /// Bytes of an HTTP head, request line and fields and the empty line. 16 KiB: cookies of a
    /// browser fit.
    pub head: usize,
    /// Fields of an HTTP head. 100, as hyper and Go take.
    pub fields: usize,
    /// Bytes of all chunk extensions of one content (RFC 9112 §7.1.1), which mean nothing here. 4
    /// KiB: nobody uses them, so more than a few are an attempt to keep us busy.
    pub chunk_extensions: usize,
    /// Bytes of a preface line or an `END` line, line feed included. A name of 255 bytes
    /// percent-encoded takes 765.
    pub preface_line: usize,
    /// Bytes of a text message that carries an offer or an end over WebSocket.
    pub offer: usize,
    /// Bytes of a candidate for bare frames that are held in memory before they go raw into the
    /// part file.
    pub held_candidate: usize,
    /// Payload bytes of one frame. Payload is streamed, so this bounds nothing in memory: files
    /// have no limit.
    pub frame: u64,
    /// Payload bytes of one message, summed over its fragments. Streamed too, unless a service
    /// assembles it.
    pub message: u64,
    /// Bytes that one compressed message inflates to. Streamed as well: nothing is allocated for
    /// them.
    pub inflated_message: u64,
    /// Bytes of one message that the echo service takes and gives back, inclusive; inflated, if it
    /// came compressed.
    pub echo_message: u64,
    /// Bytes of one message in a room, inclusive. 64 KiB: a page or two of text, and what a member
    /// that does not read is owed stays a number of messages.
    pub room_message: usize,
    /// Bytes of names that one listing holds: those of the directories that it stands in. A quarter
    /// of a million files of usual names in one directory.
    pub listed_names: usize,
    /// Bytes of one message on the library engine, which assembles each message before it hands it
    /// over.
    pub library_message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: 8 * 1024,
            head: 16 * 1024,
            fields: 100,
            chunk_extensions: 4 * 1024,
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
    /// Bytes of the JSON that says a message: JSON may spell a byte of text with six (`\u001b`), as
    /// Python does with all that is not ASCII; and there are the key and what is around.
    pub fn said_json(&self) -> usize {
        self.room_message.saturating_mul(6).saturating_add(256)
    }
}

/// Bytes of a refused file's content that the receiver passes over, so that the connection takes
/// the next file. A sender waits for no permission where a file is no longer than this.
pub const MAX_PASSED_OVER: u64 = 64 * 1024;

/// The longest payload that a frame can announce: the most significant bit must be 0 (RFC 6455
/// §5.2).
pub const MAX_FRAME: u64 = (1 << 63) - 1;

/// Components of a path that a peer names, or that a listing goes down. Trees of people are
/// shallower, and each level is a directory that a listing keeps open.
pub const MAX_PATH_COMPONENTS: usize = 32;

/// Bytes of a path that a peer names, its separators included. Percent-encoded, each may take three
/// in a preface line.
pub const MAX_PATH_LEN: usize = 1024;

/// Characters of the name of a room. It stands in URLs and in lines that people read.
pub const MAX_ROOM_NAME: usize = 64;

/// Characters of a nickname. It stands before each message.
pub const MAX_NICKNAME: usize = 32;

/// Characters of the key of a message: a UUID, and room for a prefix.
pub const MAX_MESSAGE_KEY: usize = 64;

/// Characters of the key of a pipe: it stands in URLs, and who knows it gets the content, so there
/// is room for one that nobody guesses.
pub const MAX_PIPE_KEY: usize = 128;

/// Tokens of one server: all of them are compared with each that is shown.
pub const MAX_TOKENS: usize = 1024;

/// Receivers of one pipe.
pub const MAX_PIPE_RECEIVERS: usize = 64;
