//! Transports of uploads: one module for each protocol, like the server's sessions.

pub(crate) mod handshake;
#[cfg(feature = "library-engine")]
pub(crate) mod library;
pub(crate) mod raw;
pub(crate) mod ws;

use anyport_proto::transfer::offer::Offer;
use anyport_proto::transfer::receipt::Receipt;

use self::raw::RawChannel;
use crate::content::Content;
use crate::error::Error;

/// A transport of uploads: a connection over which one file follows the other.
pub(crate) trait Transport {
    /// Sends a file and returns its receipt; `None` from a server that sends none.
    fn put(
        &mut self,
        offer: &Offer,
        content: &mut Content,
        progress: &dyn Fn(u64),
    ) -> Result<Option<Receipt>, Error>;

    /// Returns whether another file can follow.
    fn accepts_more(&self) -> bool;

    /// Returns whether the server reports the offset at which an interrupted file continues.
    fn can_resume(&self) -> bool;

    /// Returns the raw channel if files may follow each other without waiting for receipts.
    fn pipeline(&mut self) -> Option<&mut RawChannel> {
        None
    }

    /// Closes the connection, after which no file follows.
    fn close(self: Box<Self>) -> Result<(), Error>;
}

/// Bytes that the kernel sends by itself before the client checks for a reply.
const ZERO_COPY_PIECE: usize = 1024 * 1024;

/// The result of a write.
enum Written {
    All,
    /// The server replied or closed before everything was sent.
    UntilInterrupted,
}
