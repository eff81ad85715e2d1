//! Field names that client and server use and the `http` crate does not have.

use http::HeaderName;

/// The modification time of a file: seconds since the epoch, as `stat -c %Y` prints them.
pub const MTIME: HeaderName = HeaderName::from_static("x-anyport-mtime");

/// The nanoseconds of that time, or of `Last-Modified` in answers: 0 to 999999999.
pub const MTIME_NS: HeaderName = HeaderName::from_static("x-anyport-mtime-ns");

/// The base path of a server behind a proxy, in its listings: names in them are below it.
pub const BASE_PATH: HeaderName = HeaderName::from_static("x-anyport-base-path");

/// The digest of a file (RFC 9530 §3).
pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The preferred algorithms of that digest in a response (RFC 9530 §4).
pub const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

/// The new URL or path of a file that is renamed (RFC 4918 §10.3).
pub const DESTINATION: HeaderName = HeaderName::from_static("destination");

/// Whether it may replace another one (RFC 4918 §10.6).
pub const OVERWRITE: HeaderName = HeaderName::from_static("overwrite");

/// The digest of the content of a message (RFC 9530 §2).
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
