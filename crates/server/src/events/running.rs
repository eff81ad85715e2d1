//! The transfers that run and the connections that are open, beside the counters, which know only
//! what has ended.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyport_proto::live::Progress;
use anyport_proto::peer::Peer;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::receipt::Protocol;

use super::watched::Watched;

/// A running transfer, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transfer {
    /// Direction.
    pub direction: Direction,
    /// Protocol.
    pub protocol: Protocol,
    /// The client's address.
    pub peer: Peer,
    /// Name, if there is one; chosen by the peer.
    pub name: Option<String>,
    /// Size, if it is known.
    pub size: Option<u64>,
    /// Bytes transferred, with those of an earlier attempt.
    pub bytes: u64,
    /// Time since it began.
    pub elapsed: Duration,
}

/// The direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    In,
    /// To a peer.
    Out,
}

impl Direction {
    /// Returns the name in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// The running transfers and open connections of a server.
#[derive(Debug, Default)]
pub(crate) struct Running {
    state: Mutex<Lists>,
    pub(crate) watched: Watched,
}

#[derive(Debug, Default)]
struct Lists {
    next: u64,
    /// By age.
    transfers: BTreeMap<u64, Arc<Entry>>,
    open: BTreeMap<&'static str, usize>,
}

#[derive(Debug)]
struct Entry {
    transfer: Transfer,
    /// The path of an upload, if its sender named one.
    upload: Option<FilePath>,
    began: Instant,
    bytes: AtomicU64,
}

/// A running transfer, listed until this is dropped.
#[derive(Debug)]
pub(crate) struct Underway {
    running: Arc<Running>,
    id: u64,
    entry: Arc<Entry>,
}

impl Underway {
    /// Returns the time at which the transfer began.
    pub(crate) fn began(&self) -> Instant {
        self.entry.began
    }
}

/// An open connection, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    running: Arc<Running>,
    speaks: &'static str,
}

impl Running {
    /// Lists a transfer that begins; `upload` is the path of an upload.
    pub(crate) fn begin(
        self: &Arc<Self>,
        transfer: Transfer,
        upload: Option<FilePath>,
    ) -> Underway {
        let bytes = AtomicU64::new(transfer.bytes);
        let entry = Arc::new(Entry { transfer, upload, began: Instant::now(), bytes });
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.transfers.insert(id, entry.clone());
        drop(state);
        let underway = Underway { running: self.clone(), id, entry };
        underway.notify();
        underway
    }

    /// Returns the `most` oldest uploads into a directory (`None` is the top) whose path is
    /// `shown`, each with its name there, its bytes and its size.
    pub(crate) fn uploads_into(
        &self,
        directory: Option<&FilePath>,
        most: usize,
        shown: impl Fn(&FilePath) -> bool,
    ) -> Vec<Progress> {
        let state = self.lock();
        let into = state.transfers.values().filter_map(|entry| {
            let path = entry.upload.as_ref()?;
            let is_here = path.parent().as_ref() == directory && shown(path);
            let (bytes, size) = (entry.bytes.load(Ordering::Relaxed), entry.transfer.size);
            let name = || path.file_name().text().into_owned();
            is_here.then(|| Progress { name: name(), bytes, size })
        });
        into.take(most).collect()
    }

    /// Counts a connection that is not classified yet.
    pub(crate) fn open(self: &Arc<Self>) -> Open {
        self.lock().count(UNCLASSIFIED);
        Open { running: self.clone(), speaks: UNCLASSIFIED }
    }

    /// Returns the number of running transfers, and the `most` oldest.
    pub(crate) fn transfers(&self, most: usize) -> (usize, Vec<Transfer>) {
        let state = self.lock();
        let first = state.transfers.values().take(most).map(|entry| Transfer {
            bytes: entry.bytes.load(Ordering::Relaxed),
            elapsed: entry.began.elapsed(),
            ..entry.transfer.clone()
        });
        (state.transfers.len(), first.collect())
    }

    /// Returns the open connections by protocol; without zeros.
    pub(crate) fn connections(&self) -> Vec<(&'static str, usize)> {
        self.lock().open.iter().map(|(speaks, count)| (*speaks, *count)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    fn count(&mut self, speaks: &'static str) {
        *self.open.entry(speaks).or_default() += 1;
    }

    fn discount(&mut self, speaks: &'static str) {
        if let Some(count) = self.open.get_mut(speaks) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(speaks);
            }
        }
    }
}

impl Underway {
    /// Records how many bytes were transferred.
    pub(crate) fn at(&self, bytes: u64) {
        self.entry.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Notifies the watchers of the directory of an upload.
    fn notify(&self) {
        if let Some(upload) = &self.entry.upload {
            self.running.watched.upload(upload);
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.running.lock().transfers.remove(&self.id);
        self.notify();
    }
}

impl Open {
    /// Records the protocol.
    pub(crate) fn speaks(&mut self, what: &'static str) {
        let mut state = self.running.lock();
        state.discount(self.speaks);
        state.count(what);
        self.speaks = what;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.running.lock().discount(self.speaks);
    }
}

const UNCLASSIFIED: &str = "undecided";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_transfers_are_listed_by_age_until_they_end() {
        let running = Arc::<Running>::default();
        let begin = |name: &str| {
            running.begin(
                Transfer {
                    direction: Direction::In,
                    protocol: Protocol::Raw,
                    peer: "192.0.2.1:5000".parse().unwrap(),
                    name: Some(name.to_owned()),
                    size: Some(10),
                    bytes: 2,
                    elapsed: Duration::ZERO,
                },
                Some(FilePath::parse(name).unwrap()),
            )
        };
        let (first, second) = (begin("first"), begin("a/second"));
        second.at(7);
        let names = |most| {
            let (count, listed) = running.transfers(most);
            (count, listed.into_iter().map(|each| (each.name.unwrap(), each.bytes)).collect())
        };
        let both: Vec<(String, u64)> = vec![("first".to_owned(), 2), ("a/second".to_owned(), 7)];
        assert_eq!(names(10), (2, both.clone()));
        assert_eq!(names(1), (2, both[..1].to_vec()), "the list is bounded, the count is not");
        let into = |directory: Option<&str>, most| {
            let directory = directory.map(|text| FilePath::parse(text).unwrap());
            let uploads = running.uploads_into(directory.as_ref(), most, |_| true);
            uploads.into_iter().map(|each| (each.name, each.bytes)).collect::<Vec<_>>()
        };
        assert_eq!(into(None, 10), [("first".to_owned(), 2)]);
        assert_eq!(into(Some("a"), 10), [("second".to_owned(), 7)]);
        assert_eq!((into(Some("a"), 0), into(Some("b"), 10)), (vec![], vec![]));
        assert_eq!(running.uploads_into(None, 10, |_| false), []);
        drop(first);
        assert_eq!(names(10), (1, both[1..].to_vec()));
    }

    #[test]
    fn open_connections_are_counted_by_protocol() {
        let running = Arc::<Running>::default();
        let (mut one, other) = (running.open(), running.open());
        one.speaks("raw");
        assert_eq!(running.connections(), [("raw", 1), ("undecided", 1)]);
        drop((one, other));
        assert_eq!(running.connections(), []);
    }
}
