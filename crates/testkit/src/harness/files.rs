//! Files to send, small file systems, and comparison of contents.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::waiting::skip;

/// A file in a directory of its own, removed when dropped.
#[derive(Debug)]
pub struct Sample {
    _scratch: TempDir,
    path: PathBuf,
}

impl Sample {
    /// Writes a file of this name and content.
    pub fn new(name: &str, content: &[u8]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(name);
        std::fs::write(&path, content).unwrap();
        Self { _scratch: scratch, path }
    }

    /// Creates a file of `size` zeros that take no space on the disk.
    pub fn sparse(name: &str, size: u64) -> Self {
        let sample = Self::new(name, b"");
        let file = std::fs::OpenOptions::new().write(true).open(&sample.path).unwrap();
        file.set_len(size).unwrap();
        sample
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// A file system in memory, unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts one of 2 MiB; returns `None` and reports it where this process may not mount.
    pub fn mount() -> Option<Self> {
        Self::mount_with("size=2m")
    }

    /// Mounts one of 2 MiB and 32 files.
    pub fn mount_with_few_inodes() -> Option<Self> {
        Self::mount_with("size=2m,nr_inodes=32")
    }

    /// Mounts one with these options of tmpfs.
    pub fn mount_with(options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory.path());
        if !mount.output().is_ok_and(|done| done.status.success()) {
            skip("cannot mount a small disk");
            return None;
        }
        Some(Self(directory))
    }

    /// Returns the directory on which it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Returns the digest of `content` as receipts write it.
pub fn blake3(content: &[u8]) -> String {
    format!("blake3:{}", blake3::hash(content).to_hex())
}

/// Compares two contents, and shows the place where they differ instead of megabytes of bytes.
///
/// # Panics
/// When they differ.
#[track_caller]
pub fn assert_same_bytes(found: &[u8], expected: &[u8]) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| bytes[at..bytes.len().min(at + 16)].to_vec();
    panic!(
        "{} bytes found, {} expected; they differ at {at}: {:02x?} instead of {:02x?}",
        found.len(),
        expected.len(),
        around(found),
        around(expected),
    );
}
