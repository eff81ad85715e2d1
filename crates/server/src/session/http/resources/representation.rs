//! Validators and media types of stored files, for requests of both directions.

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
