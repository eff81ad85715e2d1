//! Hashes stored content: the only place that does, so no client is waited for that is gone.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::hasher::Hasher;

/// Returns the digest of the first `size` bytes of `file`; `None` for [`Algorithm::None`].
///
/// # Errors
/// As [`hash`].
pub fn digest(
    file: &File,
    size: u64,
    algorithm: Algorithm,
    is_gone: impl Fn() -> bool,
) -> io::Result<Option<Digest>> {
    let mut hasher = Hasher::new(algorithm);
    hash(file, &mut hasher, size, is_gone)?;
    Ok(hasher.finish())
}

/// Hashes `file` from the position of `hasher` to the byte `until`. `is_gone` returns whether the
/// client that waits for the digest has disconnected.
///
/// # Errors
/// The file cannot be read or is shorter, or the client is gone ([`is_gone`]).
pub fn hash(
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
        let count = read_at(file, &mut buffer, hasher.bytes())?;
        hasher.update(&buffer[..count]);
    }
    Ok(())
}

/// Reads content at `at` into `buffer`, at least one byte.
///
/// # Errors
/// The file cannot be read, or ends there.
pub fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Ok(0) => {
                let message = "the file was truncated while it was read";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Returns whether hashing ended because the client is gone.
pub fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionAborted
}

/// Bytes that are hashed between two checks of the connection: about a tenth of a millisecond.
const PIECE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashing_ends_whatever_the_algorithm_and_the_length() {
        let scratch = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(scratch.path(), b"content").unwrap();
        let hash = |size, algorithm| digest(scratch.as_file(), size, algorithm, || false);
        assert_eq!(hash(7, Algorithm::None).unwrap(), None);
        assert!(hash(7, Algorithm::Sha256).unwrap().is_some());
        assert_eq!(hash(8, Algorithm::Blake3).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let gone = digest(scratch.as_file(), 7, Algorithm::Blake3, || true).unwrap_err();
        assert!(is_gone(&gone));
    }
}
