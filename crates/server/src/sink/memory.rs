//! Memory, until the receipt is given: what keeping a file costs without any file system.

use std::io;

use crate::budget::Share;

/// Fresh memory is taken in blocks, so that growing never copies.
const BLOCK: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct MemorySink {
    share: Share,
    blocks: Vec<Box<[u8]>>,
    write_at: usize,
    read_at: usize,
    /// Where reading back ends.
    raw_len: usize,
}

impl MemorySink {
    pub(crate) const fn new(share: Share) -> Self {
        Self { share, blocks: Vec::new(), write_at: 0, read_at: 0, raw_len: 0 }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (block, offset) = (self.write_at / BLOCK, self.write_at % BLOCK);
            if block == self.blocks.len() {
                if !self.share.grow(BLOCK) {
                    return Err(full(self.share.limit()));
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

fn full(limit: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::StorageFull,
        format!(
            "memory limit reached: {limit} bytes for all files or those of this address (--max-memory)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::budget::tests::peer;
    use std::sync::Arc;

    #[test]
    fn the_limit_holds_and_is_given_back() {
        let budget = Arc::new(Budget::new(4 * BLOCK as u64));
        let mut one = MemorySink::new(budget.share(peer(1)));
        one.write(&vec![1; 2 * BLOCK]).unwrap();
        let mut two = MemorySink::new(budget.share(peer(2)));
        two.write(&vec![2; BLOCK]).unwrap();
        assert_eq!(two.write(&[3]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        drop(one);
        two.write(&[3]).unwrap();
    }

    #[test]
    fn what_was_written_is_read_back_while_it_is_rewritten() {
        let mut sink = MemorySink::new(Arc::new(Budget::new(u64::MAX)).share(peer(1)));
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
