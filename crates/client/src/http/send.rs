//! Files on their way over one connection, as many at once as it takes, and another connection where it breaks off.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyport_proto::transfer::offer::OnExists;
use tokio::task::{JoinError, JoinSet};

use super::Tasks;
use super::connection::Connection;
use super::content::Moved;
use super::request::path_to;
use super::upload::Upload;
use crate::attempts::Attempts;
use crate::content::Source;
use crate::error::{Blame, SendError};
use crate::send::{Failed, Observer, Options, Sent};
use crate::target::{Place, Target};

/// Sends `sources`, as [`crate::send()`] says. Files that were on their way when the connection broke begin anew.
pub(crate) fn send(
    sources: &[Source],
    target: &Target,
    options: &Options,
    observer: &dyn Observer,
) -> Result<(), SendError> {
    can_be_said(options)?;
    let mut sending = Sending {
        runtime: Tasks::start().map_err(SendError::Runtime)?,
        place: target.place()?,
        target: Arc::new(target.clone()),
        options: Arc::new(options.clone()),
        observer,
        sources,
        left: (0..sources.len()).collect(),
        failed: Failed::default(),
        attempts: Attempts::new(options.retries, options.retry_max_time),
        connection: None,
    };
    sending.all()?;
    sending.failed.outcome(sources.len())
}

/// What HTTP has no words for is told before anything is sent.
fn can_be_said(options: &Options) -> Result<(), SendError> {
    let what = match options {
        Options { plain: true, .. } => "--plain",
        Options { deflate: true, .. } => "--deflate",
        Options { permissions: true, .. } => "--perms",
        Options { on_exists: Some(OnExists::Rename), .. } => "--on-exists rename",
        Options { on_exists: Some(OnExists::Overwrite), .. } => "--on-exists overwrite",
        _ => return Ok(()),
    };
    Err(SendError::NoWords { what })
}

struct Sending<'a> {
    runtime: Tasks,
    target: Arc<Target>,
    place: Place,
    options: Arc<Options>,
    observer: &'a dyn Observer,
    sources: &'a [Source],
    /// Files that are not done with, in order.
    left: VecDeque<usize>,
    failed: Failed,
    attempts: Attempts,
    connection: Option<Arc<Connection>>,
}

/// One file came to an end, or the task that sent it was ended.
type Ended = Result<(usize, Result<Sent, SendError>), JoinError>;

impl Sending<'_> {
    fn all(&mut self) -> Result<(), SendError> {
        let mut broken = None;
        while !self.left.is_empty() {
            let before = self.left.len();
            let stopped = self.round();
            if self.left.len() < before {
                self.attempts.begin_anew();
                broken = None;
            }
            let Err(error) = stopped else { continue };
            self.connection = None;
            let Some(delay) = self.attempts.delay(error.may_pass()) else {
                // That nobody answers any more is less than that a transfer broke off.
                let unreachable = error.blame() == Blame::Unreachable;
                return Err(broken.filter(|_| unreachable).unwrap_or(error));
            };
            self.observer.retrying(&error, delay);
            std::thread::sleep(delay);
            if error.blame() == Blame::BrokenOff {
                broken = Some(error);
            }
        }
        if let Some(connection) = self.connection.take().and_then(Arc::into_inner) {
            self.runtime.block_on(connection.close());
        }
        Ok(())
    }

    /// Sends what is left over one connection, until it takes no more.
    fn round(&mut self) -> Result<(), SendError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Arc::new(Connection::open(&self.runtime, &self.target, &self.options)?),
        };
        self.attempts.connected = true;
        let handle = self.runtime.handle().clone();
        let mut underway = Underway::default();
        let stopped = handle.block_on(self.over(&connection, &mut underway));
        // What was on its way begins anew, in its turn; standard input comes once.
        let again = |index: &usize| self.sources[*index].size().is_some();
        self.attempts.repeatable = underway.moved.keys().all(again);
        underway.tasks.abort_all();
        for index in underway.moved.into_keys().rev() {
            self.left.push_front(index);
        }
        let goes_on = stopped?;
        self.connection = goes_on.then_some(connection);
        Ok(())
    }

    /// Whether the connection takes more.
    async fn over(
        &mut self,
        connection: &Arc<Connection>,
        underway: &mut Underway,
    ) -> Result<bool, SendError> {
        let mut at_once = connection.at_once();
        let mut tick = tokio::time::interval(TICK);
        let mut any_ended = false;
        loop {
            // A rate is for all of them together, and is kept by one.
            let most =
                if self.options.limit_rate.is_some() { 1 } else { *at_once.borrow_and_update() };
            while underway.moved.len() < most && !self.left.is_empty() {
                if !connection.is_ready().await {
                    // It was to be expected of one that has served; a new one that takes nothing has broken off.
                    if any_ended && underway.moved.is_empty() {
                        return Ok(false);
                    }
                    break;
                }
                self.begin(connection, underway);
            }
            if underway.moved.is_empty() {
                return if self.left.is_empty() { Ok(true) } else { Err(closed(connection)) };
            }
            tokio::select! {
                Some(ended) = underway.tasks.join_next() => {
                    any_ended = true;
                    self.ended(ended, underway)?;
                }
                Ok(()) = at_once.changed() => {}
                _ = tick.tick() => {
                    let bytes = underway.bytes();
                    self.attempts.brought(bytes);
                    self.observer.position(bytes);
                }
            }
        }
    }

    fn begin(&mut self, connection: &Arc<Connection>, underway: &mut Underway) {
        let Some(index) = self.left.pop_front() else { return };
        let source = self.sources[index].clone();
        let moved = Moved::new();
        underway.moved.insert(index, moved.clone());
        let path = path_to(&self.target, &self.place, source.name());
        let (target, options) = (self.target.clone(), self.options.clone());
        let connection = connection.clone();
        let upload = Upload { connection, target, options, source, path, moved };
        let handle = self.runtime.handle();
        underway.tasks.spawn_on(async move { (index, upload.run().await) }, handle);
    }

    fn ended(&mut self, ended: Ended, underway: &mut Underway) -> Result<(), SendError> {
        let (index, outcome) = ended.map_err(|error| SendError::Runtime(error.into()))?;
        let error = match outcome {
            Ok(sent) => {
                underway.moved.remove(&index);
                self.observer.sent(sent);
                self.observer.position(underway.bytes());
                return Ok(());
            }
            Err(error) => error,
        };
        if self.sources.len() > 1 && error.is_of_one_file() {
            underway.moved.remove(&index);
            let source = &self.sources[index];
            self.failed.add(error.blame());
            self.observer.failed(source, &error);
            return Ok(());
        }
        Err(error)
    }
}

/// Files that are on their way.
#[derive(Default)]
struct Underway {
    tasks: JoinSet<(usize, Result<Sent, SendError>)>,
    moved: BTreeMap<usize, Arc<Moved>>,
}

impl Underway {
    /// Of all of them.
    fn bytes(&self) -> u64 {
        self.moved.values().map(|moved| moved.bytes()).sum()
    }
}

/// A connection that takes nothing, though nothing was sent over it.
fn closed(connection: &Connection) -> SendError {
    let (peer, source) = (connection.peer, crate::channel::ended());
    SendError::Interrupted { peer, sent: 0, source }
}

/// How often it is told how far it is.
const TICK: Duration = Duration::from_millis(100);
