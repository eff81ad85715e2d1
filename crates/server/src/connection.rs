//! The life of one connection. The only file that knows the order of the stages:
//!
//! ```text
//!   accept ──► detect ──► session ──► (library engine | a thread of its own) ──► lingering close
//! ```

use std::io;
use std::sync::Arc;
use std::time::Instant;

use anyport_net::copy::{Flow, Input, Pumped, Step, pump_blocking, pump_cooperative};
use anyport_net::linger;
use anyport_proto::detect::Verdict;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::detect::{self, Detected};
use crate::session::{Context, Session, library};
use crate::shutdown::Stop;

/// What a connection needs beside its session.
#[derive(Clone)]
pub(crate) struct Stages {
    /// One permit a bulk transfer on a thread of its own.
    pub(crate) lanes: Arc<Semaphore>,
    pub(crate) stop: Stop,
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(mut stream: TcpStream, context: Context, stages: Stages) {
    let peer = context.peer;
    let started = Instant::now();
    // While stopping, a connection that has not said what it wants is not waited for.
    let detected = tokio::select! {
        biased;
        () = stages.stop.draining.cancelled() => return,
        detected = detect::read(&mut stream, &context.config) => detected,
    };
    let detected = match detected {
        Ok(Some(detected)) => detected,
        Ok(None) => {
            tracing::debug!(%peer, elapsed = ?started.elapsed(), "closed without a byte");
            return;
        }
        Err(error) => {
            tracing::debug!(%peer, %error, "broken before the protocol was known");
            return;
        }
    };
    let verdict = detected.verdict;
    let prefix = detected.prefix.len();
    tracing::debug!(%peer, protocol = %verdict, prefix, elapsed = ?started.elapsed(), "detected");
    let aborted = stages.stop.aborted.clone();
    // Not biased: an abort comes once, after the grace period.
    tokio::select! {
        () = aborted.cancelled() => tracing::warn!(%peer, protocol = %verdict, "aborted"),
        () = run(stream, detected, verdict, context, stages) => {}
    }
    tracing::debug!(%peer, protocol = %verdict, elapsed = ?started.elapsed(), "connection ended");
}

async fn run(
    stream: TcpStream,
    detected: Detected,
    verdict: Verdict,
    context: Context,
    stages: Stages,
) {
    let mut session = Session::new(verdict, context.clone());
    match converse(stream, &mut session, detected, &context).await {
        Ok(Conversation::Ended(mut stream)) => match session.take_upgrade() {
            Some(upgrade) => library::serve(stream, upgrade, context).await,
            None => linger::close(&mut stream).await,
        },
        Ok(Conversation::Bulk(stream)) => bulk(stream, session, context, stages).await,
        Err(error) => broken(&mut session, &context, &error),
    }
}

/// How the first part of a connection ended.
enum Conversation {
    Ended(TcpStream),
    /// A bulk transfer runs, for which a thread of its own pays.
    Bulk(TcpStream),
}

/// The session among the tasks of the runtime, from the prefix on.
async fn converse(
    mut stream: TcpStream,
    session: &mut Session,
    detected: Detected,
    context: &Context,
) -> io::Result<Conversation> {
    let Detected { mut prefix, first_byte, ended, .. } = detected;
    let mut replies = Vec::new();
    let mut flow = tokio::task::block_in_place(|| {
        session.step(Input::Bytes(&mut prefix, first_byte), &mut replies)
    });
    if flow == Flow::Continue && ended {
        flow = tokio::task::block_in_place(|| session.step(Input::EndOfStream, &mut replies));
    }
    drop(prefix);
    if !replies.is_empty() {
        stream.write_all(&replies).await?;
    }
    if flow == Flow::Finish || ended {
        return Ok(Conversation::Ended(stream));
    }
    let mut buffer = vec![0; SMALL_BUFFER.min(context.config.bulk_buffer)];
    match pump_cooperative(&mut stream, &mut buffer, session, BULK_AFTER).await? {
        Pumped::Finished => Ok(Conversation::Ended(stream)),
        Pumped::Bulk => Ok(Conversation::Bulk(stream)),
    }
}

/// The rest of a bulk transfer: on a thread of its own while there is one, else among the tasks.
async fn bulk(mut stream: TcpStream, mut session: Session, context: Context, stages: Stages) {
    if let Ok(permit) = stages.lanes.clone().try_acquire_owned() {
        return lane(stream, session, context, stages, permit).await;
    }
    let mut buffer = vec![0; context.config.bulk_buffer];
    match pump_cooperative(&mut stream, &mut buffer, &mut session, u64::MAX).await {
        Ok(_) => linger::close(&mut stream).await,
        Err(error) => broken(&mut session, &context, &error),
    }
}

async fn lane(
    stream: TcpStream,
    mut session: Session,
    context: Context,
    stages: Stages,
    permit: OwnedSemaphorePermit,
) {
    let blocking = stream.into_std().and_then(|stream| {
        stream.set_nonblocking(false)?;
        Ok(Arc::new(stream))
    });
    let socket = match blocking {
        Ok(socket) => socket,
        Err(error) => return broken(&mut session, &context, &error),
    };
    let registered = stages.stop.register(socket.clone());
    let thread = tokio::task::spawn_blocking(move || {
        let _held = (registered, permit);
        let mut buffer = vec![0; context.config.bulk_buffer];
        match pump_blocking(&socket, &mut buffer, &mut session) {
            Ok(()) => linger::close_blocking(&socket, &mut buffer),
            Err(error) => broken(&mut session, &context, &error),
        }
    });
    if let Err(error) = thread.await {
        tracing::error!(%error, "a transfer's thread panicked");
    }
}

fn broken(session: &mut Session, context: &Context, error: &io::Error) {
    tracing::debug!(peer = %context.peer, %error, "connection broken");
    session.broken(&format!("the connection broke: {error}"));
}

/// Bytes that a transfer must have brought before it gets a thread of its own: below, the hop costs more than it saves.
const BULK_AFTER: u64 = 512 * 1024;

/// The buffer of a connection that has not shown a bulk transfer.
const SMALL_BUFFER: usize = 64 * 1024;
