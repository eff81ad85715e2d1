//! The digest of a stored file, kept in an extended attribute so that the file is not read again.
//!
//! ```text
//!   user.anyport.digest = 1 SIZE SECONDS NANOSECONDS INODE blake3:HEX
//! ```
//!
//! It only serves to recognize a file that is offered again; it never counts as verification. The
//! change time is not part of it: setting the attribute and renaming the file change that.

use std::fs::File;
use std::time::SystemTime;

use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::file_time::FileTime;
use rustix::fs::{Stat, XattrFlags, fgetxattr, fsetxattr, fstat};

/// Stores the digest of `file` beside it, once its modification time is set. Where the file system
/// has no such attributes, or the file is so recent that a later change could get the same time,
/// the digest is computed again when it is needed.
pub(crate) fn remember(file: &File, digest: &Digest) {
    let Ok(stat) = fstat(file) else { return };
    if mtime(&stat).is_recent(SystemTime::now()) {
        return;
    }
    let value = format!("{}{digest}", prefix(&stat));
    let _ = fsetxattr(file, ATTRIBUTE, value.as_bytes(), XattrFlags::empty());
}

/// Returns the digest that was stored beside `file`, if the file is unchanged since.
pub(crate) fn recall(file: &File, algorithm: Algorithm) -> Option<Digest> {
    let mut value = [0; LONGEST];
    let count = fgetxattr(file, ATTRIBUTE, &mut value).ok()?;
    let text = std::str::from_utf8(value.get(..count)?).ok()?;
    let digest: Digest = text.strip_prefix(&prefix(&fstat(file).ok()?))?.parse().ok()?;
    (digest.algorithm() == algorithm).then_some(digest)
}

/// The exact modification time in `stat`.
pub(crate) fn mtime(stat: &Stat) -> FileTime {
    FileTime::exact(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

/// What must be unchanged for a stored digest to hold.
fn prefix(stat: &Stat) -> String {
    let Stat { st_size, st_mtime, st_mtime_nsec, st_ino, .. } = stat;
    format!("{VERSION} {st_size} {st_mtime} {st_mtime_nsec} {st_ino} ")
}

const ATTRIBUTE: &str = "user.anyport.digest";

/// The form of the value.
const VERSION: u32 = 1;

/// Bytes of the longest value: four numbers of 20 digits, and a digest.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyport_proto::transfer::hasher::Hasher;

    use super::*;

    fn digest(content: &[u8]) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Blake3);
        hasher.update(content);
        hasher.finish().unwrap()
    }

    #[test]
    fn a_stored_digest_holds_until_the_file_changes() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x");
        std::fs::write(&path, b"content").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let digest = digest(b"content");
        // Another change could still get the same time.
        remember(&file, &digest);
        assert_eq!(recall(&file, Algorithm::Blake3), None);
        let old = SystemTime::now() - Duration::from_secs(60);
        file.set_modified(old).unwrap();
        remember(&file, &digest);
        if fgetxattr(&file, ATTRIBUTE, &mut [0; LONGEST]).is_err() {
            return; // no extended attributes here
        }
        std::fs::rename(&path, scratch.path().join("y")).unwrap();
        assert_eq!(recall(&file, Algorithm::Blake3), Some(digest));
        assert_eq!(recall(&file, Algorithm::Sha256), None);
        file.set_modified(old + Duration::from_nanos(10_000_000)).unwrap();
        assert_eq!(recall(&file, Algorithm::Blake3), None);
        // A copy takes the attribute along, and not the inode.
        file.set_modified(old).unwrap();
        let copy = File::create(scratch.path().join("copy")).unwrap();
        std::io::copy(&mut &file, &mut &copy).unwrap();
        let mut value = [0; LONGEST];
        let count = fgetxattr(&file, ATTRIBUTE, &mut value).unwrap();
        fsetxattr(&copy, ATTRIBUTE, &value[..count], XattrFlags::empty()).unwrap();
        copy.set_modified(old).unwrap();
        assert_eq!(recall(&copy, Algorithm::Blake3), None);
    }
}
