//! Memory, until the receipt is given: what keeping a file costs without any file system.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Fresh memory is taken in blocks, so that growing never copies.
const BLOCK: usize = 1024 * 1024;

/// What all memory sinks of a server may hold together.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    taken: AtomicU64,
}

impl MemoryBudget {
    pub(crate) const fn new(limit: u64) -> Self {
        Self { limit, taken: AtomicU64::new(0) }
    }

    fn take(&self, bytes: u64) -> io::Result<()> {
        let take = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(
            |_| {
                let limit = self.limit;
                io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!("the memory sinks hold their limit of {limit} bytes (--max-memory)"),
                )
            },
        )
    }
}

#[derive(Debug)]
pub(crate) struct MemorySink {
    budget: Arc<MemoryBudget>,
    blocks: Vec<Box<[u8]>>,
    write_at: usize,
    read_at: usize,
    /// Where reading back ends.
    raw_len: usize,
}

impl MemorySink {
    pub(crate) const fn new(budget: Arc<MemoryBudget>) -> Self {
        Self { budget, blocks: Vec::new(), write_at: 0, read_at: 0, raw_len: 0 }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (block, offset) = (self.write_at / BLOCK, self.write_at % BLOCK);
            if block == self.blocks.len() {
                self.budget.take(BLOCK as u64)?;
                self.blocks.push(vec![0; BLOCK].into_boxed_slice());
            }
            let count = bytes.len().min(BLOCK - offset);
            let (now, later) = bytes.split_at(count);
            self.blocks[block][offset..offset + count].copy_from_slice(now);
            self.write_at += count;
            bytes = later;
        }
        Ok(())
    }

    pub(super) const fn begin_rewrite(&mut self) {
        self.raw_len = self.write_at;
        self.read_at = 0;
        self.write_at = 0;
    }

    pub(super) fn read_back(&mut self, buffer: &mut [u8]) -> usize {
        let (block, offset) = (self.read_at / BLOCK, self.read_at % BLOCK);
        let count = buffer.len().min(BLOCK - offset).min(self.raw_len - self.read_at);
        if count > 0 {
            buffer[..count].copy_from_slice(&self.blocks[block][offset..offset + count]);
        }
        self.read_at += count;
        count
    }
}

impl Drop for MemorySink {
    fn drop(&mut self) {
        let held = self.blocks.len() * BLOCK;
        self.budget.taken.fetch_sub(held as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_shared_exact_and_given_back() {
        let budget = Arc::new(MemoryBudget::new(2 * BLOCK as u64));
        let mut one = MemorySink::new(budget.clone());
        one.write(&vec![1; BLOCK]).unwrap();
        let mut two = MemorySink::new(budget.clone());
        two.write(&vec![2; BLOCK]).unwrap();
        assert_eq!(two.write(&[3]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        drop(one);
        two.write(&[3]).unwrap();
        drop(two);
        assert_eq!(budget.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_was_written_is_read_back_while_it_is_rewritten() {
        let mut sink = MemorySink::new(Arc::new(MemoryBudget::new(u64::MAX)));
        let raw = anyport_testkit::noise(BLOCK + 1000, 1);
        sink.write(&raw).unwrap();
        sink.begin_rewrite();
        let mut seen = Vec::new();
        let mut buffer = vec![0; 70_000];
        loop {
            let count = sink.read_back(&mut buffer);
            if count == 0 {
                break;
            }
            seen.extend_from_slice(&buffer[..count]);
            sink.write(&buffer[..count / 2]).unwrap();
        }
        assert_eq!(seen, raw);
    }
}
