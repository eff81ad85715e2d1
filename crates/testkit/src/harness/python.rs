//! Python with PyPI `websockets`, as a third-party WebSocket client.

use std::path::PathBuf;

use super::process::{Outcome, Running, python_with};
use super::server::Server;

/// Runs a script against a server; returns `None` if PyPI `websockets` is not installed.
///
/// The script can call `connect(path)`, `noise(length)` for reproducible random bytes, and
/// `out(data)`, which writes the file that [`sent`] reads.
pub fn python_websockets(server: &Server, script: &str) -> Option<Outcome> {
    const PRELUDE: &str = r"
import json, random, sys
from websockets.sync.client import connect as dial

def connect(path, **more):
    return dial('ws://127.0.0.1:' + sys.argv[1] + path, max_size=None, proxy=None, **more)

def noise(length):
    return random.Random(length).randbytes(length)

def out(data):
    open(sys.argv[2], 'wb').write(data)
";
    let mut command = python_with("websockets.sync.client")?;
    command.args(["-c", &format!("{PRELUDE}{script}"), &server.port().to_string()]);
    command.arg(sent_path(server));
    Some(Running::start(command, None).outcome().succeeds())
}

/// Returns what the script passed to `out`.
pub fn sent(server: &Server) -> Vec<u8> {
    std::fs::read(sent_path(server)).unwrap()
}

fn sent_path(server: &Server) -> PathBuf {
    server.dir().with_file_name("sent")
}
