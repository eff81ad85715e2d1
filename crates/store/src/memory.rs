//! Storage in memory until the receipt is sent, for benchmarks: the cost of storing without a disk.

use std::fmt;
use std::io;

use anyport_proto::setting::MAX_MEMORY;

/// Size of the blocks that memory is allocated in, so that growing never copies.
const BLOCK: usize = 1024 * 1024;

/// A shared memory limit that the caller accounts for; dropped, it returns what it holds.
pub trait Reserve: Send + fmt::Debug {
    /// Takes `bytes` more; returns `false`, and takes nothing, where the limit does not allow it.
    fn grow(&mut self, bytes: usize) -> bool;
    /// Returns all but `bytes`.
    fn shrink_to(&mut self, bytes: usize);
    /// The limit, for error texts.
    fn limit(&self) -> u64;
}

/// Content in memory.
#[derive(Debug)]
pub struct Memory {
    reserve: Box<dyn Reserve>,
    blocks: Vec<Box<[u8]>>,
    write_at: usize,
    read_at: usize,
    /// Where [`Self::read_back`] ends.
    raw_len: usize,
}

impl Memory {
    pub(crate) fn new(reserve: impl Reserve + 'static) -> Self {
        let (reserve, blocks) = (Box::new(reserve), Vec::new());
        Self { reserve, blocks, write_at: 0, read_at: 0, raw_len: 0 }
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (block, offset) = (self.write_at / BLOCK, self.write_at % BLOCK);
            if block == self.blocks.len() {
                if !self.reserve.grow(BLOCK) {
                    return Err(full(self.reserve.limit()));
                }
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

    pub(crate) const fn begin_rewrite(&mut self) {
        self.raw_len = self.write_at;
        self.read_at = 0;
        self.write_at = 0;
    }

    pub(crate) fn read_back(&mut self, buffer: &mut [u8]) -> usize {
        let (block, offset) = (self.read_at / BLOCK, self.read_at % BLOCK);
        let count = buffer.len().min(BLOCK - offset).min(self.raw_len - self.read_at);
        if count > 0 {
            buffer[..count].copy_from_slice(&self.blocks[block][offset..offset + count]);
        }
        self.read_at += count;
        count
    }
}

fn full(limit: u64) -> io::Error {
    let message = format!(
        "memory limit reached: {limit} bytes for all files or those of this address ({MAX_MEMORY})"
    );
    io::Error::new(io::ErrorKind::StorageFull, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Limited;

    #[test]
    fn the_limit_holds_and_is_given_back() {
        let limited = Limited::new(3 * BLOCK);
        let mut one = Memory::new(limited.clone());
        one.write(&vec![1; 2 * BLOCK]).unwrap();
        let mut two = Memory::new(limited);
        two.write(&vec![2; BLOCK]).unwrap();
        assert_eq!(two.write(&[3]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        drop(one);
        two.write(&[3]).unwrap();
    }

    #[test]
    fn stored_content_is_read_back_while_it_is_rewritten() {
        let mut sink = Memory::new(Limited::new(usize::MAX));
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
