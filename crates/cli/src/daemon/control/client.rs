//! Client of the control socket, for `anyport status`, `reload` and `stop`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use anyport_console::{Exit, Failure};
use serde_json::Value;

use super::{LONGEST_ANSWER, directories, has_generated_name, is_safe};

/// A connection to the control socket of a running server.
pub(crate) struct Server {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Server {
    /// Connects to the server at `control`, or to the only running one.
    pub(crate) fn find(control: Option<&Path>) -> Result<Self, Failure> {
        let mut found = Self::all(control)?;
        match found.pop() {
            Some(server) if found.is_empty() => Ok(server),
            last => {
                found.extend(last);
                let paths = found.iter().map(|one| format!("--control {}", one.path.display()));
                let hint = format!("use one of: {}", paths.collect::<Vec<_>>().join(", "));
                let error = anyhow!("{} servers are running", found.len());
                Err(Failure::new(Exit::Usage, error).with_hint(hint))
            }
        }
    }

    /// Connects to the server at `control`, or to all running ones, at least one.
    pub(crate) fn all(control: Option<&Path>) -> Result<Vec<Self>, Failure> {
        if let Some(path) = control {
            return Self::connect(path).map(|server| vec![server]).map_err(|error| {
                let error =
                    anyhow!(error).context(format!("no server answers at {}", path.display()));
                Failure::new(Exit::Unreachable, error)
                    .with_hint("anyport status without --control shows the running servers")
            });
        }
        let mut found = Vec::new();
        let mut denied = None;
        for path in candidates() {
            match Self::connect(&path) {
                Ok(server) => found.push(server),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    denied = Some(path)
                }
                // A server that was killed left its socket behind.
                Err(_) => {}
            }
        }
        if found.is_empty() {
            let error = anyhow!("no running server found");
            let hint = match denied {
                Some(path) => format!("{} belongs to another user; try as root", path.display()),
                None => "a server started with --control PATH is found only with --control PATH"
                    .to_owned(),
            };
            return Err(Failure::new(Exit::Unreachable, error).with_hint(hint));
        }
        Ok(found)
    }

    /// Returns the path of the control socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream: BufReader::new(stream), path: path.to_owned() })
    }

    /// Returns its address and directory, ` (127.0.0.1:8331, /srv/files)`, and its process ID; an
    /// empty text and `null` if it does not reply. Each connection accepts one request, so this
    /// uses another one.
    pub(crate) fn address_and_pid(&self) -> (String, Value) {
        let status = Self::connect(&self.path).map_err(|error| Failure::from(anyhow!(error)));
        let Ok(status) = status.and_then(|mut server| server.ask("status")) else {
            return (String::new(), Value::Null);
        };
        let address = status["listening"][0]["addr"].as_str().unwrap_or("no address");
        let directory = status["directory"].as_str().unwrap_or_default();
        (format!(" ({address}, {directory})"), status["pid"].clone())
    }

    /// Sends a request, and returns the reply.
    pub(crate) fn ask(&mut self, request: &str) -> Result<Value, Failure> {
        let shown = self.path.display().to_string();
        let mut answer = String::new();
        self.stream
            .get_mut()
            .write_all(format!("{request}\n").as_bytes())
            .and_then(|()| (&mut self.stream).take(LONGEST_ANSWER).read_line(&mut answer))
            .with_context(|| format!("no reply from the server at {shown}"))?;
        if !answer.ends_with('\n') && (answer.len() as u64) < LONGEST_ANSWER {
            let reply = if answer.is_empty() { "without a reply" } else { "within its reply" };
            return Err(anyhow!("the server at {shown} closed the connection {reply}").into());
        }
        let answer: Value = serde_json::from_str(&answer)
            .with_context(|| format!("invalid reply from the server at {shown}"))?;
        match answer["reason"].as_str().filter(|_| answer["event"] == "error") {
            Some(reason) => Err(Failure::new(Exit::Refused, anyhow!("{reason}"))),
            None => Ok(answer),
        }
    }

    /// Waits until the server process has exited.
    pub(crate) fn wait(mut self) -> Result<(), Failure> {
        let stream = self.stream.get_mut();
        stream.set_read_timeout(None).context("cannot wait for the server to exit")?;
        match stream.read(&mut [0; 16]) {
            // A FIN or a reset: the process has exited.
            Ok(0) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Ok(_) => Err(anyhow!("unexpected data from the server").into()),
            Err(error) => Err(anyhow!(error).context("cannot wait for the server to exit").into()),
        }
    }
}

/// Returns the paths that are named like control sockets of servers.
fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in directories().into_iter().filter(|directory| is_safe(directory)) {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        let paths = entries.flatten().map(|entry| entry.path());
        found.extend(paths.filter(|path| has_generated_name(path)));
    }
    found.sort();
    found.dedup();
    found
}

/// Maximum time for a reply.
const TIMEOUT: Duration = Duration::from_secs(40);
