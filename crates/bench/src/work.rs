//! The file to send, and a place to store what arrives; both are gone after the bench.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use anyport_console::Exit;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::hasher::Hasher;
use tokio::signal::unix::{SignalKind, signal};

use super::child;
use super::flags::Bench;

/// The working directory of a benchmark.
#[derive(Debug)]
pub(super) struct Workplace {
    /// The file that is sent.
    pub(super) file: PathBuf,
    pub(super) size: u64,
    /// The file, as a person may want to read of it.
    pub(super) label: String,
    /// The directory of the receivers.
    pub(super) stored: PathBuf,
    /// Removed when dropped.
    _scratch: tempfile::TempDir,
}

impl Workplace {
    pub(super) fn new(flags: &Bench) -> Result<Self> {
        let size = match &flags.file {
            Some(file) => size_of(file)?,
            None => flags.size,
        };
        let parent = match &flags.disk {
            Some(disk) => disk.clone(),
            None => roomy_directory(size),
        };
        let scratch = tempfile::Builder::new()
            .prefix("anyport-bench-")
            .tempdir_in(&parent)
            .with_context(|| format!("cannot use the directory {}", parent.display()))?;
        remove_when_interrupted(scratch.path()).context("cannot handle signals")?;
        let stored = scratch.path().join("stored");
        std::fs::create_dir(&stored).context("cannot create the directory for stored files")?;
        let (file, label) = match &flags.file {
            Some(file) => (file.clone(), file.display().to_string()),
            None => {
                let file = scratch.path().join("random.bin");
                write_random(&file, size).context("cannot create the file to send")?;
                (file, format!("random content in {}", parent.display()))
            }
        };
        Ok(Self { file, size, label, stored, _scratch: scratch })
    }

    /// Removes stored files. Files that cannot be removed now are removed with the directory.
    pub(super) fn clear(&self) {
        for entry in std::fs::read_dir(&self.stored).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn size_of(file: &Path) -> Result<u64> {
    let metadata =
        std::fs::metadata(file).with_context(|| format!("cannot open {}", file.display()))?;
    match metadata.len() {
        _ if !metadata.is_file() => bail!("{} is not a regular file", file.display()),
        0 => bail!("{} is empty: nothing to measure", file.display()),
        size => Ok(size),
    }
}

/// A bench that is stopped leaves neither processes nor gigabytes in memory.
#[expect(
    clippy::exit,
    reason = "the main thread waits for a process or for a file system, not for signals"
)]
fn remove_when_interrupted(scratch: &Path) -> Result<()> {
    let scratch = scratch.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Registered before the thread runs, so that no signal is lost.
    let (mut interrupt, mut terminate, mut hang_up) = runtime.block_on(async {
        Ok::<_, std::io::Error>((
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ))
    })?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        child::end_all();
        let _ = std::fs::remove_dir_all(&scratch);
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(())
}

/// Memory-backed, so that no disk is measured by accident; the ordinary place where that is too
/// small for the file and a stored copy of it.
fn roomy_directory(size: u64) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let needed = size.saturating_mul(2).saturating_add(64 * 1024 * 1024);
    match rustix::fs::statvfs(memory) {
        Ok(stat) if stat.f_bavail.saturating_mul(stat.f_frsize) >= needed => memory.to_owned(),
        _ => std::env::temp_dir(),
    }
}

/// Bytes that no compression and no zero page can shorten.
fn write_random(path: &Path, size: u64) -> Result<()> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    // BLAKE3's extendable output is a fast stream of random bytes, and the crate is here already.
    let mut random = blake3::Hasher::new_keyed(&seed).finalize_xof();
    let mut file = File::create_new(path)?;
    let mut buffer = vec![0; 1024 * 1024];
    let mut left = size;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        random.fill(&mut buffer[..count]);
        file.write_all(&buffer[..count])?;
        left -= count as u64;
    }
    Ok(())
}

/// The BLAKE3 digest of a file, as receipts write it.
pub(super) fn digest_of(path: &Path) -> Result<String> {
    let mut hasher = Hasher::new(Algorithm::Blake3);
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let count = std::io::Read::read(&mut file, &mut buffer)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if count == 0 {
            return hasher.finish().map(|digest| digest.to_string()).context("a digest");
        }
        hasher.update(&buffer[..count]);
    }
}
