//! A file system in memory that does not distinguish names by case or Unicode normalization form,
//! over FUSE.
//!
//! It speaks the protocol of `/dev/fuse` itself (`linux/fuse.h`), as tests cannot rely on a kernel
//! with FAT or casefold.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::waiting::skip;

/// The mounted file system; unmounted when dropped.
#[derive(Debug)]
pub struct FoldingDisk(TempDir);

impl FoldingDisk {
    /// Mounts it; returns `None` and reports it where this process may not mount.
    pub fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let mounted = device.and_then(|device| {
            let mut mount = Command::new("mount");
            let options = "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other";
            mount.args(["-i", "-t", "fuse", "-o", options, "folding"]).arg(directory.path());
            let done = mount.stdin(Stdio::from(device.try_clone()?)).output()?;
            Ok(done.status.success().then_some(device))
        });
        let Ok(Some(device)) = mounted else {
            skip("cannot mount a FUSE file system that folds names");
            return None;
        };
        std::thread::spawn(move || Folding::new().serve(&device));
        Some(Self(directory))
    }

    /// Returns the directory on which it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for FoldingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[derive(Default)]
struct Node {
    mode: u32,
    data: Vec<u8>,
    /// By folded name: the stored name, and the index of the node.
    children: BTreeMap<String, (Vec<u8>, usize)>,
    seconds: u64,
    nanoseconds: u32,
}

/// Index 0 is not used: the node of a number has that index, and the root is 1.
struct Folding(Vec<Node>);

type Reply = Result<Vec<u8>, i32>;

const NOENT: i32 = 2;
const EXIST: i32 = 17;
const NOT_EMPTY: i32 = 39;
const NO_SUCH_CALL: i32 = 38;

const DIRECTORY: u32 = 0o040_000;

fn fold(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_lowercase().replace("e\u{301}", "\u{e9}")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The strings that end in a NUL byte.
fn strings(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split(|byte| *byte == 0).collect()
}

fn joined(words: &[u64], halves: &[u32]) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    bytes
}

impl Folding {
    fn new() -> Self {
        let root = Node { mode: DIRECTORY | 0o755, ..Node::default() };
        Self(vec![Node::default(), root])
    }

    fn serve(mut self, device: &File) {
        let mut buffer = vec![0; 1 << 20];
        // An error is the end of the mount.
        while let Ok(count) = (&*device).read(&mut buffer) {
            let (head, body) = buffer[..count].split_at(40);
            let (opcode, unique) = (u32_at(head, 4), &head[8..16]);
            let node = usize::try_from(u64_at(head, 16)).unwrap();
            let Some(reply) = self.answer(opcode, node, body) else { continue };
            let (error, payload) = match reply {
                Ok(payload) => (0, payload),
                Err(error) => (-error, Vec::new()),
            };
            let length = u32::try_from(16 + payload.len()).unwrap();
            let mut message = joined(&[], &[length, error.cast_unsigned()]);
            message.extend_from_slice(unique);
            message.extend_from_slice(&payload);
            let _ = (&*device).write_all(&message);
        }
    }

    fn answer(&mut self, opcode: u32, node: usize, body: &[u8]) -> Option<Reply> {
        Some(match opcode {
            // FORGET, BATCH_FORGET, INTERRUPT
            2 | 42 | 36 => return None,
            // LOOKUP
            1 => self.child(node, strings(body)[0]).map(|child| self.entry(child)),
            // GETATTR
            3 => Ok(self.attributes(node)),
            // SETATTR
            4 => {
                self.set(node, body);
                Ok(self.attributes(node))
            }
            // MKDIR
            9 => {
                let mode = DIRECTORY | u32_at(body, 0) & 0o777;
                self.create(node, strings(&body[8..])[0], mode).map(|made| self.entry(made))
            }
            // UNLINK, RMDIR
            10 | 11 => self.remove(node, strings(body)[0]),
            // RENAME, RENAME2
            12 => self.rename(node, usize_at(body, 0), &strings(&body[8..]), 0),
            45 => self.rename(node, usize_at(body, 0), &strings(&body[16..]), u32_at(body, 8)),
            // OPEN, OPENDIR
            14 | 27 => Ok(joined(&[0], &[0, 0])),
            // READ
            15 => {
                let data = &self.0[node].data;
                let begin = usize_at(body, 8).min(data.len());
                let end = (begin + u32_at(body, 16) as usize).min(data.len());
                Ok(data[begin..end].to_vec())
            }
            // WRITE
            16 => {
                let (at, content) = (usize_at(body, 8), &body[40..]);
                let content = &content[..u32_at(body, 16) as usize];
                let data = &mut self.0[node].data;
                data.resize(data.len().max(at + content.len()), 0);
                data[at..at + content.len()].copy_from_slice(content);
                self.touch(node);
                Ok(joined(&[], &[u32_at(body, 16), 0]))
            }
            // STATFS
            17 => Ok(joined(&[1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20], &[4096, 255, 4096, 0])
                .into_iter()
                .chain([0; 24])
                .collect()),
            // RELEASE, FSYNC, FLUSH, RELEASEDIR, FSYNCDIR, ACCESS, DESTROY
            18 | 20 | 25 | 29 | 30 | 34 | 38 => Ok(Vec::new()),
            // INIT: version 7.31, no optional feature
            26 => {
                let mut reply = joined(&[], &[7, 31, 0, 0, 0, 128 * 1024, 1]);
                reply.resize(64, 0);
                Ok(reply)
            }
            // READDIR
            28 => Ok(self.list(node, usize_at(body, 8), u32_at(body, 16) as usize)),
            // CREATE
            35 => self
                .create(node, strings(&body[16..])[0], 0o100_000 | u32_at(body, 4) & 0o777)
                .map(|made| [self.entry(made), joined(&[0], &[0, 0])].concat()),
            _ => Err(NO_SUCH_CALL),
        })
    }

    fn child(&self, node: usize, name: &[u8]) -> Result<usize, i32> {
        self.0[node].children.get(&fold(name)).map(|(_, child)| *child).ok_or(NOENT)
    }

    fn create(&mut self, node: usize, name: &[u8], mode: u32) -> Result<usize, i32> {
        if self.child(node, name).is_ok() {
            return Err(EXIST);
        }
        self.0.push(Node { mode, ..Node::default() });
        let made = self.0.len() - 1;
        self.touch(made);
        self.0[node].children.insert(fold(name), (name.to_vec(), made));
        Ok(made)
    }

    fn remove(&mut self, node: usize, name: &[u8]) -> Reply {
        let child = self.child(node, name)?;
        if !self.0[child].children.is_empty() {
            return Err(NOT_EMPTY);
        }
        self.0[node].children.remove(&fold(name));
        Ok(Vec::new())
    }

    fn rename(&mut self, from: usize, to: usize, names: &[&[u8]], flags: u32) -> Reply {
        let child = self.child(from, names[0])?;
        // RENAME_NOREPLACE
        if flags & 1 != 0 && self.child(to, names[1]).is_ok() {
            return Err(EXIST);
        }
        self.0[from].children.remove(&fold(names[0]));
        self.0[to].children.insert(fold(names[1]), (names[1].to_vec(), child));
        Ok(Vec::new())
    }

    fn touch(&mut self, node: usize) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        (self.0[node].seconds, self.0[node].nanoseconds) = (now.as_secs(), now.subsec_nanos());
    }

    fn set(&mut self, node: usize, body: &[u8]) {
        let valid = u32_at(body, 0);
        let changed = &mut self.0[node];
        if valid & 1 != 0 {
            changed.mode = changed.mode & !0o777 | u32_at(body, 68) & 0o777;
        }
        if valid & 8 != 0 {
            changed.data.resize(usize_at(body, 16), 0);
        }
        // FATTR_MTIME_NOW comes with FATTR_MTIME.
        if valid & 256 != 0 {
            self.touch(node);
        } else if valid & 32 != 0 {
            (changed.seconds, changed.nanoseconds) = (u64_at(body, 40), u32_at(body, 60));
        }
    }

    /// `struct fuse_attr`
    fn attribute(&self, number: usize) -> Vec<u8> {
        let node = &self.0[number];
        let (size, seconds) = (node.data.len() as u64, node.seconds);
        let words = [number as u64, size, size.div_ceil(512), seconds, seconds, seconds];
        let nanoseconds = node.nanoseconds;
        let halves = [nanoseconds, nanoseconds, nanoseconds, node.mode, 1, 0, 0, 0, 4096, 0];
        joined(&words, &halves)
    }

    fn attributes(&self, node: usize) -> Vec<u8> {
        [joined(&[0, 0], &[]), self.attribute(node)].concat()
    }

    /// `struct fuse_entry_out`, valid for no time
    fn entry(&self, node: usize) -> Vec<u8> {
        [joined(&[node as u64, 0, 0, 0, 0], &[]), self.attribute(node)].concat()
    }

    fn list(&self, node: usize, skip: usize, most: usize) -> Vec<u8> {
        let mut listed = Vec::new();
        let children = self.0[node].children.values();
        for (at, (name, child)) in children.enumerate().skip(skip) {
            let kind = self.0[*child].mode >> 12;
            let length = u32::try_from(name.len()).unwrap();
            let mut entry = joined(&[*child as u64, at as u64 + 1], &[length, kind]);
            entry.extend_from_slice(name);
            entry.resize(entry.len().next_multiple_of(8), 0);
            if listed.len() + entry.len() > most {
                break;
            }
            listed.extend(entry);
        }
        listed
    }
}

fn usize_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64_at(bytes, at)).unwrap()
}
