//! HTTP/2 (RFC 9113): hyper does frames and flow control, `http` serves requests as for HTTP/1.1.
//!
//! ```text
//!   socket ──► Watched ──► hyper ──┬─ stream ──► Serving ──► http::Handler
//!                │                 ├─ stream ──► …            each is a task with its own handler
//!                └──► Watch ◄──────┴─ …
//! ```
//!
//! hyper reads complete frames and has no timeout but a ping, which a slow client answers only when
//! it has read everything before it. So [`io`] observes unfinished input, [`flow`] the progress of
//! each response, and [`watch`] ends stalled ones.

mod body;
mod content;
mod flow;
mod io;
mod progress;
mod serving;
mod stream;
mod watch;

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;

use anyport_net::pace::Pace;
use anyport_proto::http1::RequestHead;
use anyport_proto::one_line;
use anyport_proto::setting::MAX_BUFFERED;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use self::flow::{AHEAD, FLOW, Flow, SMALL_PIECE};
use self::io::Watched;
use self::watch::{Held, Open, Overdue, Watch};
use super::Context;
use super::http::find;
use crate::budget::Budget;
use crate::events::Tally;
use crate::shutdown::{STOPPED, Stop};

/// The state that the streams of a connection share.
pub(super) struct Connection {
    context: Context,
    stop: Stop,
    watch: Arc<Watch>,
    /// Budget of response data that is read ahead of the client.
    ahead: Arc<Budget>,
}

impl Connection {
    /// Reserves the shared memory and files that a stream needs.
    ///
    /// # Errors
    /// A limit is reached.
    fn admit(&self, context: &Context, open: &mut Open, head: &RequestHead) -> Result<(), Refusal> {
        let (resource, _) = find(head.path(), &context.config);
        if resource.is_health {
            return Ok(());
        }
        let busy = |message: String| Err(Refusal::new(RefusalCode::Busy, message));
        let mut memory = context.buffered.share(context.peer);
        if !memory.grow(SMALL_PIECE) {
            return busy(format!("memory limit for responses reached ({MAX_BUFFERED})"));
        }
        // A connection bears one file; those of further streams are counted on their own.
        let is_further = self.watch.streams() > 1 && resource.holds_file;
        let mut file = context.stream_files.share(context.peer);
        if is_further && !file.grow(1) {
            return busy("limit of open files for HTTP/2 streams reached (ulimit -n)".to_owned());
        }
        open.held = Some(Held { _memory: memory, _file: file });
        Ok(())
    }

    /// Returns why a stream ended: for `reason`, unless the server aborts all.
    fn why<'a>(&self, reason: &'a str) -> &'a str {
        if self.stop.is_aborted() { STOPPED } else { reason }
    }

    /// Records a failed connection, and reports a fault of the peer as a refusal.
    fn failed(&self, error: &hyper::Error) {
        let context = &self.context;
        context.record.broken(&one_line::reason(error));
        let fault = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        if let Some(fault) = fault.filter(|fault| fault.is_library()) {
            context.refused(PROTOCOL, format!("{fault} (RFC 9113 §5.4.1)"));
        }
    }

    /// Discards content for a while: after a reset some clients do not read the response.
    fn discard(&self, mut incoming: Incoming) {
        if incoming.is_end_stream() {
            return;
        }
        self.stop.tasks.spawn(tokio::time::timeout(LINGER, async move {
            let mut left = MAX_DISCARDED;
            while let Some(Ok(frame)) = incoming.frame().await
                && left > 0
            {
                let count = frame.data_ref().map_or(0, |data| data.len() as u64);
                left = left.saturating_sub(count);
            }
        }));
    }
}

/// Serves one connection, from the preface on, until it ends.
///
/// Cancel safe: no; dropped, its transfers are interrupted.
pub(crate) async fn serve<Io>(io: Io, context: Context, stop: &Stop)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (peer, timeouts) = (context.peer, context.config.timeouts);
    let watch = Arc::new(Watch::new(timeouts.handshake, timeouts.idle, context.link.clone()));
    let pace = context.config.limit_rate.map(Pace::new);
    let tally = Tally::new(context.record.clone());
    let io = TokioIo::new(Watched::new(io, watch.clone(), pace, tally));
    // Kept as long as the connection is open.
    let mut window = context.buffered.share(peer);
    let has_window = window.grow_if_plenty(CONNECTION_WINDOW as usize);
    let ahead = Arc::new(Budget::new(AHEAD));
    let connection =
        Arc::new(Connection { context, stop: stop.clone(), watch: watch.clone(), ahead });
    let builder = builder(&connection, has_window);
    let answer = service_fn(|request| {
        let connection = connection.clone();
        async move { Ok::<_, Infallible>(stream::answer(connection, request).await) }
    });
    let mut served = std::pin::pin!(builder.serve_connection(io, answer));
    let mut leaving = false;
    loop {
        tokio::select! {
            biased;
            // The streams are dropped with it, and report that they were interrupted.
            () = stop.aborted.cancelled() => return,
            () = stop.draining.cancelled(), if !leaving => {
                leaving = true;
                served.as_mut().graceful_shutdown();
            }
            () = watch.left(GOODBYE), if leaving => return,
            overdue = watch.overdue() => {
                if let Some(reason) = overdue.reason(&timeouts) {
                    connection.context.refused(PROTOCOL, reason);
                }
                // A flooding client gets no graceful close.
                if !matches!(overdue, Overdue::GivenUp(_)) {
                    if !leaving {
                        served.as_mut().graceful_shutdown();
                    }
                    let _ = tokio::time::timeout(GOODBYE, served.as_mut()).await;
                }
                return;
            }
            served = served.as_mut() => {
                if let Err(error) = served {
                    connection.failed(&error);
                }
                return;
            }
        }
    }
}

fn builder(connection: &Arc<Connection>, has_window: bool) -> http2::Builder<Tasks> {
    let config = &connection.context.config;
    let (stream, all) = match has_window {
        true => (STREAM_WINDOW, CONNECTION_WINDOW),
        false => (SMALL_WINDOW, SMALL_WINDOW),
    };
    let mut builder = http2::Builder::new(Tasks(connection.clone()));
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(u32::try_from(config.limits.head).unwrap_or(u32::MAX))
        .max_frame_size(MAX_FRAME)
        .initial_stream_window_size(stream)
        .initial_connection_window_size(all)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS);
    builder
}

/// The tasks of streams, which a stopping server waits for. Each ends when its response is stalled,
/// which resets its stream.
#[derive(Clone)]
struct Tasks(Arc<Connection>);

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let Connection { context, stop, watch, ahead } = &*self.0;
        let buffered = context.buffered.clone();
        let flow = Flow::new(watch.clone(), context.peer, ahead.clone(), buffered);
        let progress = flow.progress().clone();
        let tracking = watch.track(progress.clone());
        stop.tasks.spawn(FLOW.scope(Arc::new(flow), async move {
            let _tracking = tracking;
            tokio::select! {
                biased;
                () = progress.cancelled() => {}
                _ = future => {}
            }
        }));
    }
}

/// Maximum unread content of one stream. As much as a link of 10 Gbit/s delivers in a millisecond.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// Maximum unread content of all streams of a connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Both windows when half of the shared memory is in use: the minimum of every connection.
const SMALL_WINDOW: u32 = 256 * 1024;

/// Bytes of a response that h2 holds at most before it asks for no more; [`flow`] bounds them
/// further.
const SEND_BUFFER: usize = 128 * 1024;

/// Maximum size of a frame: fewer headers than with the usual 16 KiB, and still at most one read.
const MAX_FRAME: u32 = 64 * 1024;

/// Streams that were reset before we looked at them; beyond it the connection ends with
/// ENHANCE_YOUR_CALM (CVE-2023-44487).
const PENDING_RESETS: usize = 20;

/// Streams that we reset since they broke a rule; beyond it the connection ends in the same way.
const LOCAL_RESETS: usize = 100;

/// Maximum content of a refused request that is discarded before its stream is reset.
const MAX_DISCARDED: u64 = 32 * 1024 * 1024;
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// As events name it.
const PROTOCOL: &str = "http2";

/// Time for a client to read the final response if nothing is in progress.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(1);
