//! Hashes stored content. The only place that does: it notices a client that is gone, and a digest that is known already
//! belongs here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::hasher::Hasher;

/// Returns the digest of the first `size` bytes of `file`, for a client that `is_gone` looks at.
///
/// # Errors
/// A file that cannot be read or is shorter, or a client that is gone ([`is_gone`]).
pub(super) fn digest(
    file: &File,
    size: u64,
    algorithm: Algorithm,
    is_gone: impl Fn() -> bool,
) -> io::Result<Option<Digest>> {
    let mut hasher = Hasher::new(algorithm);
    hash(file, &mut hasher, size, is_gone)?;
    Ok(hasher.finish())
}

/// Hashes `file` from where `hasher` stands up to the byte `until`, for a client that `is_gone` tells of.
///
/// # Errors
/// As [`digest`].
pub(super) fn hash(
    file: &File,
    hasher: &mut Hasher,
    until: u64,
    is_gone: impl Fn() -> bool,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    while hasher.wants_content() && hasher.bytes() < until {
        if is_gone() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the client disconnected",
            ));
        }
        let left = usize::try_from(until - hasher.bytes()).unwrap_or(usize::MAX);
        buffer.resize(left.min(PIECE), 0);
        match file.read_at(&mut buffer, hasher.bytes()) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, SHORTER)),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether hashing ended because of a client that is gone.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionAborted
}

/// Bytes read and hashed between two looks at the connection: about a tenth of a millisecond.
const PIECE: usize = 256 * 1024;

/// Reason where a stored file ends before its size.
pub(super) const SHORTER: &str = "the file was truncated while it was read";
