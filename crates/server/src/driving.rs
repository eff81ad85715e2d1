//! Moves a connection between its drivers: the runtime first, then a bulk thread or a reactor
//! thread.

use std::io;
use std::sync::Arc;

use anyport_net::blocking;
use anyport_net::copy::{Next, Pumped, pump_blocking, pump_cooperative, write};
use anyport_net::linger;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::detect::First;
use crate::layers::Connection;
use crate::reactors::Reactors;
use crate::session::{Context, Detached};
use crate::shutdown::{STOPPED, Stop};
use crate::traces::Traces;

/// The resources that the drivers of all connections share.
#[derive(Clone)]
pub(crate) struct Drivers {
    /// One permit for each bulk thread.
    pub(crate) bulk_threads: Arc<Semaphore>,
    pub(crate) reactors: Reactors,
    pub(crate) stop: Stop,
    pub(crate) traces: Option<Arc<Traces>>,
}

/// Drives a connection until it has ended or is on a reactor thread. Returns it if a library owns
/// the stream from then on.
///
/// Cancel safe: no.
pub(crate) async fn run(
    mut stream: Arc<TcpStream>,
    mut connection: Connection,
    first: Option<First>,
    context: &Context,
    drivers: &Drivers,
) -> Option<(Arc<TcpStream>, Connection, Detached)> {
    let small = SMALL_BUFFER.min(context.config.bulk_buffer);
    let (mut size, mut bulk_after) = (small, BULK_AFTER);
    let mut pumped = match first {
        Some(first) => handle_first_input(&stream, &mut connection, first, context).await,
        None => Ok(None),
    };
    loop {
        if let Ok(None) = pumped {
            let mut buffer = connection.buffer(size);
            pumped = on_runtime(&stream, &mut buffer, &mut connection, bulk_after, &drivers.stop)
                .await
                .map(Some);
        }
        match pumped {
            Err(error) => {
                blocking::run(|| connection.broken(&error)).await;
                return None;
            }
            Ok(Some(Pumped::Became(detached))) => return Some((stream, connection, detached)),
            Ok(Some(Pumped::Interactive)) => {
                let socket = alone(stream).and_then(TcpStream::into_std);
                drivers.reactors.add(socket, connection);
                return None;
            }
            Ok(Some(Pumped::Bulk)) => match drivers.bulk_threads.clone().try_acquire_owned() {
                Ok(permit) => {
                    let left =
                        on_thread(stream, connection, context, permit, &drivers.stop).await?;
                    let why;
                    (stream, connection, why) = left;
                    context.link.lead_to(&stream);
                    (size, bulk_after) = (small, BULK_AFTER);
                    // Between two bulk transfers a connection waits on the runtime.
                    pumped = Ok(Some(why).filter(|why| !matches!(why, Pumped::Small)));
                }
                // Without a thread it stays on the runtime, with the buffer of a bulk transfer.
                Err(_) => {
                    (size, bulk_after) = (context.config.bulk_buffer, u64::MAX);
                    pumped = Ok(None);
                }
            },
            Ok(Some(Pumped::Finished | Pumped::Small) | None) => {
                close(stream).await;
                return None;
            }
        }
    }
}

/// Handles the input that was read before there was a session. Returns `None` if the session
/// continues on the runtime.
async fn handle_first_input(
    stream: &TcpStream,
    connection: &mut Connection,
    first: First,
    context: &Context,
) -> io::Result<Option<Pumped<Detached>>> {
    let First { mut prefix, first_byte, ended } = first;
    let mut out = Vec::new();
    let handle = || connection.handle_first_input(&mut prefix, first_byte, ended, &mut out);
    let next = blocking::run(handle).await;
    drop(prefix);
    if !out.is_empty() {
        // The reply to a prefix of a few KiB fits into the socket's empty send buffer.
        write(stream, &out, context.config.timeouts.idle).await?;
    }
    // A session that continues after the end has something to send first; its driver reads the
    // FIN again.
    Ok(match next {
        Next::Finish => Some(Pumped::Finished),
        Next::Become(detached) => Some(Pumped::Became(detached)),
        Next::Continue if connection.is_interactive() => Some(Pumped::Interactive),
        Next::Continue => None,
    })
}

/// Drives a connection on the runtime; an abort of the server ends it.
async fn on_runtime(
    stream: &TcpStream,
    buffer: &mut [u8],
    connection: &mut Connection,
    bulk_after: u64,
    stop: &Stop,
) -> io::Result<Pumped<Detached>> {
    let draining = stop.draining.cancelled();
    tokio::select! {
        biased;
        () = stop.aborted.cancelled() => Err(io::Error::other(STOPPED)),
        pumped = pump_cooperative(stream, buffer, connection, bulk_after, draining) => pumped,
    }
}

/// Drives a connection on a thread of its own, until it has ended or belongs elsewhere. Returns it
/// in the latter case.
async fn on_thread(
    stream: Arc<TcpStream>,
    mut connection: Connection,
    context: &Context,
    permit: OwnedSemaphorePermit,
    stop: &Stop,
) -> Option<(Arc<TcpStream>, Connection, Pumped<Detached>)> {
    let socket = alone(stream).and_then(TcpStream::into_std).and_then(|stream| {
        stream.set_nonblocking(false)?;
        Ok(Arc::new(stream))
    });
    let socket = match socket {
        Ok(socket) => socket,
        Err(error) => {
            blocking::run(|| connection.broken(&error)).await;
            return None;
        }
    };
    context.link.lead_to(&socket);
    let (registered, bulk_buffer) = (stop.register(socket.clone()), context.config.bulk_buffer);
    let thread = stop.tasks.spawn_blocking(move || {
        let _permit = permit;
        let mut buffer = connection.buffer(bulk_buffer);
        match pump_blocking(&socket, &mut buffer, &mut connection) {
            Ok(Pumped::Finished) => linger::close_blocking(&socket, &mut buffer),
            Ok(pumped) => {
                drop(registered);
                let socket = alone(socket).and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                });
                return Some((socket, connection, pumped));
            }
            Err(error) => connection.broken(&error),
        }
        None
    });
    let left = thread.await.unwrap_or_else(|error| {
        tracing::error!(%error, "internal error: a transfer thread panicked");
        None
    });
    let (socket, mut connection, pumped) = left?;
    match socket.and_then(TcpStream::from_std) {
        Ok(stream) => Some((Arc::new(stream), connection, pumped)),
        Err(error) => {
            blocking::run(|| connection.broken(&error)).await;
            None
        }
    }
}

/// Takes back a stream that is shared only with the link of its session.
fn alone<T>(stream: Arc<T>) -> io::Result<T> {
    Arc::into_inner(stream)
        .ok_or_else(|| io::Error::other("internal error: the socket is still in use"))
}

/// Closes a connection so that the peer can read the final response. Under TLS, close_notify is
/// with the kernel.
pub(crate) async fn close(stream: Arc<TcpStream>) {
    if let Ok(mut stream) = alone(stream) {
        linger::close(&mut stream).await;
    }
}

/// Bytes that a transfer must have moved before it gets a thread: below, changing threads costs
/// more than it saves.
const BULK_AFTER: u64 = 512 * 1024;

/// Buffer size of a connection that is not a bulk transfer yet.
const SMALL_BUFFER: usize = 64 * 1024;
