//! The server's side of the control socket.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use anyport_console::{Exit, Failure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::{LONGEST_REQUEST, directories, has_generated_name, is_safe, may_control};
use crate::daemon::status::{Order, ServerHandle};

/// A control socket, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Control {
    /// Binds `asked`, or the default path for a server that listens on `port`. Returns `None` if
    /// none is wanted, or if the default cannot be created.
    pub(crate) fn bind(asked: Option<&Path>, port: u16) -> Result<Option<Self>, Failure> {
        match asked {
            Some(path) if path == Path::new("none") => Ok(None),
            Some(path) => Self::bind_at(path).map(Some).map_err(|error| {
                let error =
                    error.context(format!("cannot create the control socket {}", path.display()));
                Failure::new(Exit::Failed, error)
                    .with_hint("use another --control PATH, or --control none")
            }),
            None => Ok(Self::bind_somewhere(port)),
        }
    }

    fn bind_somewhere(port: u16) -> Option<Self> {
        for directory in directories() {
            if !directory.is_dir() && DirBuilder::new().mode(0o700).create(&directory).is_err() {
                continue;
            }
            if !is_safe(&directory) {
                tracing::warn!(path = %directory.display(), "directory not used for the control \
                    socket: other users can write to it");
                continue;
            }
            remove_dead(&directory);
            // Another server may have the port on another address.
            let names = [format!("{port}.sock"), format!("{port}-{}.sock", std::process::id())];
            for name in names {
                match Self::bind_at(&directory.join(name)) {
                    Ok(control) => return Some(control),
                    Err(error) => {
                        tracing::debug!(
                            error = format!("{error:#}"),
                            "cannot create the control socket"
                        );
                    }
                }
            }
        }
        tracing::warn!("no control socket: no suitable directory (--control)");
        None
    }

    fn bind_at(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        match path.symlink_metadata() {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(anyhow!("the path exists and is not a socket"));
            }
            Ok(_) if UnixStream::connect(&path).is_ok() => {
                return Err(anyhow!("another server uses this path"));
            }
            _ => {}
        }
        // Under its name it is there only when it listens, so that one which does not answer is a
        // dead one.
        let new = path.with_added_extension(format!("new-{}", std::process::id()));
        let listener = UnixListener::bind(&new).context("cannot bind")?;
        let made = (|| {
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            std::fs::rename(&new, &path)?;
            path.symlink_metadata()
        })();
        match made {
            Ok(made) => Ok(Self { listener, path, inode: made.ino() }),
            Err(error) => {
                let _ = std::fs::remove_file(&new);
                Err(error.into())
            }
        }
    }

    /// Returns a task that answers until the process ends. It does not own the path, so dropping
    /// this value removes that, even if the runtime never drops the task.
    ///
    /// # Errors
    /// The kernel's error.
    pub(crate) fn serve(
        &self,
        handle: Arc<ServerHandle>,
    ) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        Ok(Self::accept(listener, handle))
    }

    async fn accept(listener: tokio::net::UnixListener, handle: Arc<ServerHandle>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let handle = handle.clone();
                    tokio::spawn(async move {
                        if let Ok(Err(error)) = timeout(TIMEOUT, answer(stream, &handle)).await {
                            tracing::debug!(%error, "control connection failed");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the control socket");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Another one may be at this path now.
        if self.path.symlink_metadata().is_ok_and(|there| there.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Servers that were killed leave theirs behind.
fn remove_dead(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_socket = path.symlink_metadata().is_ok_and(|there| there.file_type().is_socket());
        if !is_socket || !has_generated_name(&path) {
            continue;
        }
        if let Err(error) = UnixStream::connect(&path)
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            let _ = std::fs::remove_file(&path);
        }
    }
}

async fn answer(mut stream: tokio::net::UnixStream, handle: &ServerHandle) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    let (reading, _) = stream.split();
    let mut request = String::new();
    BufReader::new(reading.take(LONGEST_REQUEST)).read_line(&mut request).await?;
    // Read nevertheless: closing with unread input could lose the reply.
    if !may_control(user) {
        tracing::warn!(user, "control request of another user refused");
        return say(
            &mut stream,
            &refusal("only root and the user of the server may use the control socket"),
        )
        .await;
    }
    let now = match request.trim_end() {
        "status" => return say(&mut stream, &handle.status()).await,
        "reload" => {
            let (outcome, reloaded) = oneshot::channel();
            handle.order(Order::Reload(outcome)).await;
            let outcome =
                reloaded.await.unwrap_or_else(|_| Err("the server is stopping".to_owned()));
            let ok = outcome.is_ok();
            let (Ok(line) | Err(line)) = outcome;
            return say(&mut stream, &json!({ "event": "reloaded", "ok": ok, "line": line })).await;
        }
        "stop" => false,
        "stop now" => true,
        other => {
            let reason =
                format!("unknown request {other:?}; expected status, reload, stop or stop now");
            return say(&mut stream, &refusal(&reason)).await;
        }
    };
    say(&mut stream, &json!({ "event": "stopping", "pid": std::process::id() })).await?;
    // The kernel closes it when the process has exited, for which `stop --wait` waits. Closing it
    // with this task would be too early: the control socket may still be there.
    std::mem::forget(stream.into_std()?);
    handle.order(Order::Stop { now }).await;
    Ok(())
}

async fn say(stream: &mut tokio::net::UnixStream, answer: &Value) -> io::Result<()> {
    stream.write_all(format!("{answer}\n").as_bytes()).await
}

fn refusal(reason: &str) -> Value {
    json!({ "event": "error", "reason": reason })
}

/// Maximum number of connections; further ones wait.
const AT_ONCE: usize = 16;

/// Maximum time for a request and its reply, including reading a configuration.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after accept failed, most likely for want of descriptors.
const PAUSE: Duration = Duration::from_millis(500);
