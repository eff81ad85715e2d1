//! The accept loop: awaits nothing but a permit and accept, so that no client can hold up another.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::connection::{self, Stages};
use crate::service::files::Files;
use crate::session::Context;

/// Accepts until draining.
pub(crate) async fn run(
    listener: TcpListener,
    config: Arc<Config>,
    files: Arc<Files>,
    permits: Arc<Semaphore>,
    stages: Stages,
) {
    let draining = stages.stop.draining.clone();
    loop {
        let next = async {
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = draining.cancelled() => return,
            next = next => next,
        };
        // The semaphore is never closed.
        let Ok(permit) = permit else { return };
        match accepted {
            Ok((stream, peer)) => {
                prepare(&stream, &config);
                let context = Context { config: config.clone(), files: files.clone(), peer };
                let connection = connection::serve(stream, context, stages.clone());
                stages.stop.tasks.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

fn prepare(stream: &TcpStream, config: &Config) {
    // Receipts and echoes are answers that somebody waits for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return };
    if let Err(error) = config.congestion.apply(stream, local, peer) {
        tracing::warn!(algorithm = %config.congestion, %error, "cannot set the congestion control");
    }
}

/// Out of descriptors or memory: waiting is all that helps. Anything else was the one connection's own trouble.
async fn pause_after(error: &io::Error) {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    if exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
        tracing::error!(%error, "cannot accept; waiting for connections to end");
        tokio::time::sleep(PAUSE).await;
    } else {
        tracing::debug!(%error, "a connection was gone before it was accepted");
    }
}

const PAUSE: Duration = Duration::from_millis(500);
