//! Uploads over HTTP: as many concurrent files as the server permits, and another connection when
//! one is lost.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyport_proto::setting::{DEFLATE, ON_EXISTS, PERMS, PLAIN};
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::refusal::Retry;
use http::Method;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::offered::{Changed, Item, items};
use super::upload::{Hashed, Upload, WORTH_ASKING};
use super::{Failed, Observer, Options, Sent, retrying};
use crate::attempts::Attempts;
use crate::content::Source;
use crate::error::{Error, ErrorKind, Transferred, no_runtime};
use crate::http::Tasks;
use crate::http::answer::Answer;
use crate::http::connection::Connection;
use crate::http::content::Moved;
use crate::http::request::{path_to, request};
use crate::http::resumable::{Announced, Protocol, Resource};
use crate::target::{Scope, Target};
use crate::trace::failed;

/// Sends `sources` like [`crate::send()`]. Files in transit when the connection was lost resume if
/// the server announces resumable uploads; otherwise they start again.
pub(super) fn send(
    sources: &[Source],
    target: &Target,
    options: &Options,
    observer: &dyn Observer,
) -> Result<(), Error> {
    can_be_said(options)?;
    let (scope, mut failed) = (target.scope()?, Failed::default());
    let items = items(sources, &scope, options, observer, &mut failed)?;
    let mut sending = Sending {
        runtime: Tasks::start().map_err(no_runtime)?,
        scope,
        target: Arc::new(target.clone()),
        options: Arc::new(options.clone()),
        observer,
        left: (0..items.len()).collect(),
        items,
        of: sources.len(),
        changed: Changed::default(),
        hashed: HashMap::new(),
        resources: HashMap::new(),
        announced: None,
        unanswered: 0,
        failed,
        attempts: Attempts::new(
            options.retries,
            options.retry_max_time,
            options.connect.trace.as_ref(),
        ),
        connection: None,
    };
    sending.all()?;
    sending.failed.outcome(sources.len())
}

/// Refuses, before anything is sent, options that HTTP cannot express.
fn can_be_said(options: &Options) -> Result<(), Error> {
    Err(match options {
        Options { plain: true, .. } => ErrorKind::NoWords(PLAIN, None),
        Options { deflate: true, .. } => ErrorKind::NoWords(DEFLATE, None),
        Options { permissions: true, .. } => ErrorKind::NoWords(PERMS, None),
        Options { on_exists: Some(policy @ (OnExists::Rename | OnExists::Overwrite)), .. } => {
            ErrorKind::NoWords(ON_EXISTS, Some(policy.as_str()))
        }
        _ => return Ok(()),
    }
    .into())
}

struct Sending<'a> {
    runtime: Tasks,
    target: Arc<Target>,
    scope: Scope,
    options: Arc<Options>,
    observer: &'a dyn Observer,
    items: Vec<Item<'a>>,
    /// Number of files to send.
    of: usize,
    changed: Changed,
    /// Files to send, in order.
    left: VecDeque<usize>,
    /// Digests of files that are named before the files are sent.
    hashed: HashMap<usize, Hashed>,
    /// Upload resources, for the next attempt.
    resources: HashMap<usize, Arc<Mutex<Option<Resource>>>>,
    /// What the server announced on this connection; it is asked again on each, because a server
    /// that announces nothing would store the empty content of a creation.
    announced: Option<Announced>,
    /// Questions without an answer since the last one; too many, and the server is not asked again.
    unanswered: u32,
    failed: Failed,
    attempts: Attempts,
    connection: Option<Arc<Connection>>,
}

/// The outcome of one file, or of a task that ended.
type Ended = Result<(usize, Result<Sent, Error>), JoinError>;

impl Sending<'_> {
    fn all(&mut self) -> Result<(), Error> {
        while !self.left.is_empty() {
            let before = self.left.len();
            let stopped = self.round();
            if self.left.len() < before {
                self.attempts.reset();
            }
            let Err(error) = stopped else { continue };
            self.connection = None;
            self.attempts.again(error, &mut retrying(self.observer))?;
        }
        if let Some(connection) = self.connection.take().and_then(Arc::into_inner) {
            self.runtime.block_on(connection.close());
        }
        Ok(())
    }

    /// Sends the remaining files over one connection, until it accepts no more.
    fn round(&mut self) -> Result<(), Error> {
        // A server does not wait for the client's disk.
        if let Some(next) = self.left.front().copied() {
            self.hash_ahead(next)?;
        }
        // Until content is under way every attempt can be repeated.
        self.attempts.repeatable = true;
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.announced = None;
                Arc::new(Connection::open(&self.runtime, &self.target, &self.options.connect)?)
            }
        };
        self.attempts.connected();
        let handle = self.runtime.handle().clone();
        let mut underway = Underway::default();
        let over = handle.block_on(self.over(&connection, &mut underway));
        // Interrupted files start again in their turn; standard input can be read once only.
        let again = |index: &usize| self.items[*index].source.size().is_some();
        self.attempts.repeatable = underway.broken.iter().all(again);
        for index in underway.broken.into_iter().rev() {
            self.left.push_front(index);
        }
        let continues = over?;
        if let Some(error) = underway.stopped {
            return Err(error);
        }
        self.connection = continues.then_some(connection);
        Ok(())
    }

    /// Returns whether the connection accepts more requests. If a file fails for a reason that is
    /// not its own, the files under way are finished and no other starts: a file that arrived is
    /// not sent again.
    async fn over(
        &mut self,
        connection: &Arc<Connection>,
        underway: &mut Underway,
    ) -> Result<bool, Error> {
        let mut at_once = connection.at_once();
        let mut tick = tokio::time::interval(TICK);
        let mut any_ended = false;
        loop {
            // One upload at a time keeps the rate that all share.
            let most =
                if self.options.limit_rate.is_some() { 1 } else { *at_once.borrow_and_update() };
            while underway.stopped.is_none()
                && underway.moved.len() < most
                && let Some(next) = self.left.front().copied()
            {
                self.hash_ahead(next)?;
                if !self.is_ready(connection).await {
                    // Expected of a connection that has served; a new one that accepts nothing was
                    // lost.
                    if any_ended && underway.moved.is_empty() {
                        return Ok(false);
                    }
                    break;
                }
                if self.worth_asking(next) {
                    // The connection has served, whatever follows.
                    any_ended = true;
                    match self.ask_support(connection, next).await {
                        Ok(()) => continue,
                        Err(error) if underway.moved.is_empty() => return Err(error),
                        // Uploads under way report it.
                        Err(_) => break,
                    }
                }
                self.begin(connection, underway);
            }
            if underway.moved.is_empty() {
                let is_done = self.left.is_empty() || underway.stopped.is_some();
                return if is_done { Ok(true) } else { Err(connection.closed()) };
            }
            tokio::select! {
                Some(ended) = underway.tasks.join_next() => {
                    any_ended = true;
                    self.ended(ended, underway)?;
                }
                Ok(()) = at_once.changed() => {}
                _ = tick.tick() => {
                    let bytes = underway.bytes();
                    self.attempts.progressed(bytes);
                    self.observer.position(bytes);
                }
            }
        }
    }

    /// Returns whether the server is asked for resumable uploads before this file is sent.
    fn worth_asking(&self, index: usize) -> bool {
        let is_long = self.items[index].source.size().is_some_and(|size| size >= WORTH_ASKING);
        let is_known = self.announced.is_some() || self.unanswered > MOST_UNANSWERED;
        is_long && !is_known && self.options.resume
    }

    /// Asks the server for resumable uploads at the path of a file.
    async fn ask_support(&mut self, connection: &Connection, index: usize) -> Result<(), Error> {
        self.unanswered += 1;
        let path = path_to(&self.target, &self.scope, self.items[index].source.name()).path;
        let (version, token) = (connection.version(), connection.token(&self.target));
        let Ok(mut asking) = request(&self.target, version, token, Method::OPTIONS, &path) else {
            self.unanswered = u32::MAX;
            return Ok(());
        };
        Protocol::Ietf.add_version(&mut asking);
        let wait_limit = self.options.connect.timeout;
        let Ok(answered) = timeout(wait_limit, connection.ask(asking)).await else {
            let (sent, late) = (Transferred::SentOverHttp(0), io::ErrorKind::WouldBlock.into());
            return Err(Error::lost(connection.peer, sent, late));
        };
        let response = answered.map_err(|error| connection.failed(0, &error))?;
        let answer = Answer::read(response, wait_limit).await;
        if !answer.is_whole {
            connection.spend();
        }
        let is_usable = answer.status.is_success() && self.is_ready(connection).await;
        self.announced = Announced::of(&answer.fields).filter(|_| is_usable);
        self.unanswered = if self.announced.is_some() { 0 } else { u32::MAX };
        Ok(())
    }

    async fn is_ready(&self, connection: &Connection) -> bool {
        timeout(self.options.connect.connect_timeout, connection.is_ready()).await.unwrap_or(false)
    }

    /// Hashes a file whose request names its SHA-256: once, and before the connection waits for the
    /// request, which a server limits.
    fn hash_ahead(&mut self, index: usize) -> Result<(), Error> {
        // A pipe can be opened once.
        let is_regular = self.items[index].source.size().is_some();
        let is_wanted = self.options.digest == Algorithm::Sha256 && is_regular;
        if !is_wanted || self.hashed.contains_key(&index) {
            return Ok(());
        }
        match Hashed::of(self.items[index].source) {
            Ok(hashed) => {
                self.hashed.insert(index, hashed);
            }
            // The next attempt to open the file reports this error.
            Err(error) if error.consequence().one_file => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn begin(&mut self, connection: &Arc<Connection>, underway: &mut Underway) {
        let Some(index) = self.left.pop_front() else { return };
        let source = self.items[index].source.clone();
        self.observer.begins(&source);
        let moved = Moved::new();
        underway.moved.insert(index, moved.clone());
        let path = path_to(&self.target, &self.scope, source.name());
        let (target, options) = (self.target.clone(), self.options.clone());
        let (connection, hashed) = (connection.clone(), self.hashed.get(&index).cloned());
        let resource = self.resources.entry(index).or_default().clone();
        let fits = |announced: &Announced| {
            let is_fitting = |size| (WORTH_ASKING..=announced.largest).contains(&size);
            self.options.resume && source.size().is_some_and(is_fitting)
        };
        let protocol = self.announced.filter(fits).map(|announced| announced.protocol);
        let upload =
            Upload { connection, target, options, source, hashed, path, moved, protocol, resource };
        let handle = self.runtime.handle();
        underway.tasks.spawn_on(async move { (index, upload.run().await) }, handle);
    }

    fn ended(&mut self, ended: Ended, underway: &mut Underway) -> Result<(), Error> {
        let (index, outcome) = ended.map_err(|error| no_runtime(error.into()))?;
        let item = &self.items[index];
        let checked = outcome.and_then(|mut sent| {
            self.changed.check(item, &mut sent)?;
            Ok(sent)
        });
        let error = match checked {
            Ok(sent) => {
                underway.moved.remove(&index);
                self.hashed.remove(&index);
                self.resources.remove(&index);
                self.observer.sent(sent);
                self.observer.position(underway.bytes());
                return Ok(());
            }
            Err(error) => error,
        };
        underway.moved.remove(&index);
        if self.of > 1 && error.consequence().one_file {
            failed(self.options.connect.trace.as_ref(), &error);
            self.failed.add(error.origin());
            self.observer.failed(item.source, &error);
            return Ok(());
        }
        underway.stop(index, error);
        Ok(())
    }
}

/// Uploads under way.
#[derive(Default)]
struct Underway {
    tasks: JoinSet<(usize, Result<Sent, Error>)>,
    moved: BTreeMap<usize, Arc<Moved>>,
    /// Files that ended without arriving.
    broken: BTreeSet<usize>,
    /// Why no further upload starts.
    stopped: Option<Error>,
}

impl Underway {
    /// Records that `index` did not arrive. An error that a retry cannot fix is reported first.
    fn stop(&mut self, index: usize, error: Error) {
        self.broken.insert(index);
        let may_pass = |error: &Error| error.consequence().retry != Retry::Never;
        if self.stopped.as_ref().is_none_or(|first| may_pass(first) && !may_pass(&error)) {
            self.stopped = Some(error);
        }
    }

    /// Content bytes of all uploads under way.
    fn bytes(&self) -> u64 {
        self.moved.values().map(|moved| moved.bytes()).sum()
    }
}

/// Maximum number of questions in a row that a server leaves unanswered.
const MOST_UNANSWERED: u32 = 2;

/// Interval of progress reports.
const TICK: Duration = Duration::from_millis(100);
