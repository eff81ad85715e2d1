//! Files at paths that another user may have prepared, as in `/tmp`.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

/// Opens `path` with `options`, if no other user can have prepared it: links are not followed, and
/// in a directory where others may write, the file must belong to this user or to root and have one
/// name.
///
/// Never waits for the other end of a FIFO.
///
/// # Errors
/// The kernel's error, or why the file is not safe.
pub fn open_owned(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    check_owned(opened, is_shared(path))
}

/// Opens `name` in `directory` the same way; `flags` may create it.
///
/// # Errors
/// As [`open_owned`].
pub(crate) fn open_owned_at(
    directory: &File,
    name: &str,
    flags: OFlags,
    mode: Mode,
) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A file that this process creates is its own, whatever owner the file system shows.
    if flags.contains(OFlags::CREATE) {
        match openat(directory, name, flags | OFlags::EXCL, mode) {
            Err(Errno::EXIST) => {}
            created => return Ok(created?.into()),
        }
    }
    let opened = openat(directory, name, flags | OFlags::NONBLOCK | OFlags::NOCTTY, mode);
    let opened = opened.map(File::from).map_err(io::Error::from);
    check_owned(opened, is_writable_by_others(directory.metadata()))
}

/// Returns a file that was opened with `NOFOLLOW` and `NONBLOCK`, if it is safe in a directory that
/// is `shared` with other users; later operations on it wait.
fn check_owned(opened: io::Result<File>, shared: bool) -> io::Result<File> {
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == Errno::LOOP.raw_os_error() => {
            io::Error::other("it is a symbolic link")
        }
        _ => error,
    })?;
    // Only opening must not wait.
    let flags = rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(&file, flags)?;
    let metadata = file.metadata()?;
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
    if shared && metadata.is_file() && !(ours && metadata.nlink() == 1) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it belongs to another user, in a directory that other users can write to",
        ));
    }
    Ok(file)
}

/// Returns whether other users may create files in the directory of `path`.
pub fn is_shared(path: &Path) -> bool {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    is_writable_by_others(std::fs::metadata(folder))
}

/// Returns whether other users may create files in a directory.
fn is_writable_by_others(directory: io::Result<Metadata>) -> bool {
    // Without metadata the directory is not trusted.
    directory.map_or(true, |metadata| metadata.mode() & 0o022 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_are_refused_everywhere_and_second_names_in_shared_directories() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        std::fs::write(at("file"), b"x").unwrap();
        symlink("file", at("link")).unwrap();
        std::fs::hard_link(at("file"), at("second")).unwrap();
        let open = |name: &str| open_owned(OpenOptions::new().read(true), &at(name));
        let error = open("link").unwrap_err().to_string();
        assert_eq!(error, "it is a symbolic link");
        open("second").unwrap();
        std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o777)).unwrap();
        open("second").unwrap_err();
        std::fs::remove_file(at("file")).unwrap();
        open("second").unwrap();
    }
}
