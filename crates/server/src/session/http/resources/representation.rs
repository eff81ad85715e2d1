//! Validators, media types and methods of stored files, for requests of both directions.

use anyport_proto::access::Rights;
use anyport_store::Attributes;

/// Returns the entity tag of a file, which differs for each state of it: a file that is stored
/// again is another inode, and one that is changed in place has another time.
pub(super) fn etag(attributes: &Attributes) -> String {
    let Attributes { size, mtime, inode, .. } = attributes;
    let (seconds, nanoseconds) = (mtime.seconds, mtime.nanoseconds.unwrap_or(0));
    format!("\"{inode:x}-{size:x}-{seconds:x}.{nanoseconds:x}\"")
}

/// Returns whether a browser would run scripts in it as if they were from this server.
pub(super) fn runs_in_a_browser(media: &str) -> bool {
    ["html", "xml", "pdf"].iter().any(|word| media.contains(word))
}

/// Why a conditional request is refused.
pub(super) const PRECONDITION_FAILED: &str = "precondition failed for the stored file";

/// Returns the methods that a client with these rights has, as `Allow` lists them.
pub(super) const fn methods(rights: Rights) -> &'static str {
    let (reads, writes) = (rights.contains(Rights::READ), rights.contains(Rights::WRITE));
    match (reads, writes, rights.contains(Rights::DELETE)) {
        (true, true, true) => "GET, HEAD, PUT, POST, DELETE, MOVE, MKCOL, OPTIONS",
        (true, true, false) => "GET, HEAD, PUT, POST, MKCOL, OPTIONS",
        (true, false, true) => "GET, HEAD, DELETE, OPTIONS",
        (true, false, false) => "GET, HEAD, OPTIONS",
        (false, true, true) => "PUT, POST, DELETE, MOVE, MKCOL, OPTIONS",
        (false, true, false) => "PUT, POST, MKCOL, OPTIONS",
        (false, false, true) => "DELETE, OPTIONS",
        (false, false, false) => "OPTIONS",
    }
}
