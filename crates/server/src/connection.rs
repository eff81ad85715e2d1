//! The life of one connection. The only file that knows the order of the stages:
//!
//! ```text
//!   accept ──► detect ──► session ──► (library engine | a thread of its own) ──► lingering close
//!          └─► direct ──► session ──►  where the listener serves one thing, or detection ends in a greeting
//! ```

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_net::copy::{
    Flow, Input, Outgoing, Pumped, Step, Unseen, pump_blocking, pump_cooperative, write,
};
use anyport_net::linger;
use anyport_net::pace::Pace;
use anyport_proto::detect::Decision;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::block_in_place;

use crate::config::Service;
use crate::detect::{self, Beginning, First};
use crate::direct;
use crate::session::{Context, Session, Upgrade, library};
use crate::shutdown::Stop;
use crate::undecided::Place;

/// What a connection needs beside its session.
#[derive(Clone)]
pub(crate) struct Stages {
    /// One permit a bulk transfer on a thread of its own.
    pub(crate) lanes: Arc<Semaphore>,
    pub(crate) stop: Stop,
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(
    mut stream: TcpStream,
    mut place: Place,
    context: Context,
    stages: Stages,
) {
    let peer = context.peer;
    let started = Instant::now();
    // While stopping, a connection that has not said what it wants is not waited for.
    let detected = tokio::select! {
        biased;
        () = stages.stop.draining.cancelled() => return,
        detected = detect::read(&mut stream, &context.config, &context.listener, &mut place) => detected,
    };
    let detected = match detected {
        Ok(Beginning::Decided(detected)) => detected,
        Ok(Beginning::Silent(end)) => {
            context.counters.silent(end);
            tracing::debug!(%peer, end = end.as_str(), elapsed = ?started.elapsed(), "ended without a byte");
            return;
        }
        Ok(Beginning::ToGreet) => {
            tracing::debug!(%peer, elapsed = ?started.elapsed(), "silent until the deadline: greeted");
            return direct::serve(stream, Some(place), Service::Greet, context, stages).await;
        }
        Err(error) => {
            tracing::debug!(%peer, %error, "broken before the protocol was known");
            return;
        }
    };
    drop(place);
    context.counters.decided(&detected.decision);
    let Decision { verdict: protocol, reason } = detected.decision;
    let prefix = detected.first.prefix.len();
    tracing::debug!(%peer, %protocol, %reason, prefix, elapsed = ?started.elapsed(), "detected");
    // Beginning a session may ask the file system how much is free.
    let session = block_in_place(|| Session::new(protocol, context.clone()));
    converse_to_end(stream, session, Some(detected.first), context, stages).await;
    tracing::debug!(%peer, %protocol, elapsed = ?started.elapsed(), "connection ended");
}

/// A session from the bytes that came before it, if any did, to the end of its connection.
pub(crate) async fn converse_to_end(
    stream: TcpStream,
    session: Session,
    first: Option<First>,
    context: Context,
    stages: Stages,
) {
    let stream = Arc::new(stream);
    context.link.lead_to(&stream);
    let pace = context.config.limit_rate.map(Pace::new);
    let mut session = Supervised { session, stop: stages.stop.clone(), pace };
    match converse(&stream, &mut session, first, &context).await {
        Ok(Pumped::Finished) => match session.session.take_upgrade() {
            Some(upgrade) => library(stream, upgrade, context, &stages.stop).await,
            None => close_shared(stream).await,
        },
        Ok(Pumped::Bulk) => bulk(stream, session, context, stages).await,
        Err(error) => session.broken(&error),
    }
}

/// The session among the tasks of the runtime, from the prefix on.
async fn converse(
    stream: &TcpStream,
    session: &mut Supervised,
    first: Option<First>,
    context: &Context,
) -> io::Result<Pumped> {
    if let Some(first) = first
        && begin(stream, session, first, context).await? == Flow::Finish
    {
        return Ok(Pumped::Finished);
    }
    let mut buffer = session.buffer(SMALL_BUFFER.min(context.config.bulk_buffer));
    pump(stream, &mut buffer, session, BULK_AFTER).await
}

/// The first step, with what came before there was a session.
async fn begin(
    stream: &TcpStream,
    session: &mut Supervised,
    first: First,
    context: &Context,
) -> io::Result<Flow> {
    let First { mut prefix, first_byte, ended } = first;
    let mut replies = Vec::new();
    let flow = block_in_place(|| {
        match session.step(Input::Bytes(&mut prefix, first_byte), &mut replies) {
            Flow::Continue if ended => session.step(Input::EndOfStream, &mut replies),
            flow => flow,
        }
    });
    drop(prefix);
    if !replies.is_empty() {
        // What answers a prefix of a few KiB fits the socket's empty send buffer.
        write(stream, &replies, context.config.timeouts.idle).await?;
    }
    // A session that goes on after the end has something to send first; it is told again when that is done.
    Ok(flow)
}

/// The cooperative loop, until the session finishes or the server gives up what still runs.
async fn pump(
    stream: &TcpStream,
    buffer: &mut [u8],
    session: &mut Supervised,
    bulk_after: u64,
) -> io::Result<Pumped> {
    let stop = session.stop.clone();
    tokio::select! {
        biased;
        () = stop.aborted.cancelled() => Err(io::Error::other(STOPPED)),
        pumped = pump_cooperative(stream, buffer, session, bulk_after, stop.draining.cancelled()) => pumped,
    }
}

/// The rest of a bulk transfer: on a thread of its own while there is one, else among the tasks.
async fn bulk(stream: Arc<TcpStream>, mut session: Supervised, context: Context, stages: Stages) {
    if let Ok(permit) = stages.lanes.clone().try_acquire_owned() {
        return lane(stream, session, context, permit).await;
    }
    let mut buffer = session.buffer(context.config.bulk_buffer);
    match pump(&stream, &mut buffer, &mut session, u64::MAX).await {
        Ok(_) => close_shared(stream).await,
        Err(error) => session.broken(&error),
    }
}

async fn lane(
    stream: Arc<TcpStream>,
    mut session: Supervised,
    context: Context,
    permit: OwnedSemaphorePermit,
) {
    let blocking = alone(stream).and_then(TcpStream::into_std).and_then(|stream| {
        stream.set_nonblocking(false)?;
        Ok(Arc::new(stream))
    });
    let socket = match blocking {
        Ok(socket) => socket,
        Err(error) => return session.broken(&error),
    };
    context.link.lead_to(&socket);
    let stop = session.stop.clone();
    let registered = stop.register(socket.clone());
    let thread = stop.tasks.spawn_blocking(move || {
        let _held = (registered, permit);
        let mut buffer = session.buffer(context.config.bulk_buffer);
        match pump_blocking(&socket, &mut buffer, &mut session) {
            Ok(()) => linger::close_blocking(&socket, &mut buffer),
            Err(error) => session.broken(&error),
        }
    });
    if let Err(error) = thread.await {
        tracing::error!(%error, "a transfer's thread panicked");
    }
}

async fn library(stream: Arc<TcpStream>, upgrade: Upgrade, context: Context, stop: &Stop) {
    let peer = context.peer;
    // The library takes the stream for itself, so a second handle is asked.
    let asked = stream.as_fd().try_clone_to_owned().map(Arc::new);
    let Ok(stream) = alone(stream) else { return };
    if let Ok(asked) = &asked {
        context.link.lead_to(asked);
    }
    tokio::select! {
        biased;
        // The transfer that is dropped with it says that it was given up.
        () = stop.aborted.cancelled() => tracing::debug!(%peer, "aborted"),
        () = library::serve(stream, upgrade, context) => {}
    }
}

/// The stream of a connection, which only sessions' links share, and those do not keep it.
fn alone(stream: Arc<TcpStream>) -> io::Result<TcpStream> {
    Arc::into_inner(stream).ok_or_else(|| io::Error::other("the socket is in use elsewhere"))
}

async fn close_shared(stream: Arc<TcpStream>) {
    if let Ok(stream) = alone(stream) {
        close(stream).await;
    }
}

/// So that the peer reads our last words.
pub(crate) async fn close(mut stream: TcpStream) {
    linger::close(&mut stream).await;
}

/// A session that hears when the server stops, and keeps to a rate. An abort shuts its socket, which must not look like
/// the sender's FIN.
struct Supervised {
    session: Session,
    stop: Stop,
    /// What it may move each second, both ways together; `None` costs nothing.
    pace: Option<Pace>,
}

impl Supervised {
    /// A loop's buffer: at a low rate a small one, so that bytes go evenly.
    fn buffer(&self, wanted: usize) -> Vec<u8> {
        let most = self.pace.as_ref().map_or(usize::MAX, Pace::most);
        vec![0; wanted.min(most)]
    }

    fn moved(&mut self, count: u64) {
        if let Some(pace) = &mut self.pace {
            pace.moved(count);
        }
    }

    fn broken(&mut self, error: &io::Error) {
        let reason = if self.stop.aborted.is_cancelled() {
            STOPPED.to_owned()
        } else {
            format!("the connection broke: {error}")
        };
        // What was held in memory goes to the disk as a part.
        block_in_place(|| self.session.broken(&reason));
    }
}

impl Step for Supervised {
    fn patience(&self) -> Duration {
        self.session.patience()
    }

    fn step(&mut self, input: Input<'_>, replies: &mut Vec<u8>) -> Flow {
        if self.stop.aborted.is_cancelled() {
            self.session.broken(STOPPED);
            return Flow::Finish;
        }
        match &input {
            Input::Bytes(bytes, _) => self.moved(bytes.len() as u64),
            Input::Unseen(count, _) => self.moved(*count),
            Input::EndOfStream | Input::Silence | Input::Stopping => {}
        }
        match self.session.step(input, replies) {
            // Between two files is a good place to stop.
            Flow::Continue if self.stop.draining.is_cancelled() => {
                self.session.step(Input::Stopping, replies)
            }
            flow => flow,
        }
    }

    fn is_sending(&self) -> bool {
        // A stop is met where an answer ends, too.
        self.session.is_sending() || self.stop.draining.is_cancelled()
    }

    fn outgoing(&mut self, buffer: &mut [u8], replies: &mut Vec<u8>) -> io::Result<Outgoing> {
        if self.stop.aborted.is_cancelled() {
            return Err(io::Error::other(STOPPED));
        }
        match self.session.outgoing(buffer, replies)? {
            Outgoing::Nothing if self.stop.draining.is_cancelled() => {
                match self.session.step(Input::Stopping, replies) {
                    Flow::Continue => Ok(Outgoing::Nothing),
                    Flow::Finish => Ok(Outgoing::Finish),
                }
            }
            Outgoing::Bytes(count) => {
                self.moved(count as u64);
                Ok(Outgoing::Bytes(count))
            }
            Outgoing::File(mut piece) => {
                if let Some(pace) = &self.pace {
                    piece.count = piece.count.min(pace.most() as u64);
                }
                Ok(Outgoing::File(piece))
            }
            outgoing => Ok(outgoing),
        }
    }

    fn hears_while_sending(&self) -> bool {
        self.session.hears_while_sending()
    }

    fn sent(&mut self, count: u64) {
        self.moved(count);
        self.session.sent(count);
    }

    fn unseen(&self) -> Option<Unseen<'_>> {
        let unseen = self.session.unseen()?;
        let most = self.pace.as_ref().map_or(u64::MAX, |pace| pace.most() as u64);
        Some(Unseen { most: unseen.most.min(most), ..unseen })
    }

    fn pause(&self) -> Duration {
        match &self.pace {
            // An abort is not kept waiting.
            Some(pace) if !self.stop.aborted.is_cancelled() => pace.pause(),
            _ => Duration::ZERO,
        }
    }

    fn may_block(&self) -> bool {
        self.session.may_block()
    }

    fn is_bulk(&self) -> bool {
        self.session.is_bulk()
    }
}

const STOPPED: &str = "the server stopped";

/// Bytes that a transfer must have brought before it gets a thread of its own: below, the hop costs more than it saves.
const BULK_AFTER: u64 = 512 * 1024;

/// The buffer of a connection that has not shown a bulk transfer.
const SMALL_BUFFER: usize = 64 * 1024;
