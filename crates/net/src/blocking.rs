//! A bounded pool for work that may wait for a disk.
//!
//! `block_in_place` hands the other tasks of a worker to another thread. A runtime that has no
//! thread left cannot do that, and stops; so at most [`THREADS`] such calls run concurrently, and
//! the others wait as tasks, which costs no thread.

use tokio::sync::Semaphore;
use tokio::task::block_in_place;

/// Calls that may wait for a disk concurrently.
///
/// More than a disk's queue serves, and few enough that a disk that does not answer leaves threads
/// for sessions without one.
pub const THREADS: usize = 64;

static POOL: Semaphore = Semaphore::const_new(THREADS);

/// Runs `work` on this thread, which may block, once the pool has a free permit.
///
/// Cancel safe: yes; dropped before there is a place, `work` has not begun.
pub async fn run<T>(work: impl FnOnce() -> T) -> T {
    // The semaphore is never closed.
    let _permit = POOL.acquire().await.ok();
    block_in_place(work)
}

/// Returns the number of blocking threads that a runtime needs, for this pool and for `others`.
pub const fn threads(others: usize) -> usize {
    THREADS.saturating_add(others).saturating_add(SPARE)
}

/// For name resolution, reloads, and destructors of connections.
const SPARE: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_disk_that_does_not_answer_leaves_threads_for_other_tasks() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(threads(0))
            .enable_all()
            .build()
            .unwrap();
        let (answer, disk) = std::sync::mpsc::channel::<()>();
        let disk = Arc::new(std::sync::Mutex::new(disk));
        let waiting = Arc::new(AtomicUsize::new(0));
        runtime.block_on(async {
            let tasks: Vec<_> = (0..4 * THREADS)
                .map(|_| {
                    let (disk, waiting) = (disk.clone(), waiting.clone());
                    tokio::spawn(run(move || {
                        waiting.fetch_add(1, Ordering::SeqCst);
                        let _ = disk.lock().map(|disk| disk.recv());
                    }))
                })
                .collect();
            while waiting.load(Ordering::SeqCst) < THREADS {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::spawn(async {}).await.unwrap();
            assert_eq!(waiting.load(Ordering::SeqCst), THREADS);
            drop(answer);
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
}
