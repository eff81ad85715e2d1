//! Hashes a file on a thread of its own, while it is sent.
//!
//! When a transfer resumes in the middle, the digest still covers the beginning, which is not read
//! for sending. So that content is sent immediately, the whole file is hashed in parallel; the sent
//! part is in the page cache for the second reader.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::hasher::Hasher;

/// A digest that is being computed. Dropping it stops the computation.
pub(crate) struct Aside {
    given_up: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Option<Digest>>>>,
}

impl Aside {
    /// Begins to hash the first `size` bytes of `file`.
    pub(crate) fn start(file: File, size: u64, algorithm: Algorithm) -> io::Result<Self> {
        let given_up = Arc::new(AtomicBool::new(false));
        let stop = given_up.clone();
        let hash = move || hash(&file, size, algorithm, &stop);
        let thread = std::thread::Builder::new().name("digest".to_owned()).spawn(hash)?;
        Ok(Self { given_up, thread: Some(thread) })
    }

    /// Waits until it is complete, for at most `timeout`; returns whether it is.
    pub(crate) fn is_made(&self, wait_limit: Duration) -> bool {
        let deadline = Instant::now() + wait_limit;
        let made = || self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        while !made() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        made()
    }

    /// Waits for it.
    pub(crate) fn finish(mut self) -> io::Result<Option<Digest>> {
        let Some(thread) = self.thread.take() else { return Ok(None) };
        thread.join().unwrap_or_else(|_| {
            Err(io::Error::other("internal error: the hashing thread panicked"))
        })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

fn hash(
    file: &File,
    size: u64,
    algorithm: Algorithm,
    given_up: &AtomicBool,
) -> io::Result<Option<Digest>> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; BUFFER];
    while hasher.bytes() < size && !given_up.load(Ordering::Relaxed) {
        let left = usize::try_from(size - hasher.bytes()).unwrap_or(usize::MAX);
        let (piece, _) = buffer.split_at_mut(left.min(BUFFER));
        file.read_exact_at(piece, hasher.bytes())?;
        hasher.update(piece);
    }
    Ok(hasher.finish())
}

/// Size of one read.
const BUFFER: usize = 256 * 1024;
