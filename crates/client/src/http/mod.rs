//! HTTP: files are requests, PUT and GET, over one connection.
//!
//! ```text
//!   send   files ──► upload (up to 16 at once) ──► connection ──► answer: receipt or refusal
//!   get    download::Wire ──► GET, its range ──► connection ──► content
//!   ls     a listing a directory, as JSON
//! ```
//!
//! `https://` says `h2` and `http/1.1` and takes what the server chooses; in the clear it is HTTP/1.1, as nobody can know that a
//! server takes more. Over HTTP/2 each file is a stream of its own, over HTTP/1.1 one follows the other. hyper carries the
//! requests; their tasks run on a runtime of two threads, and files are read on others.

pub(crate) mod answer;
pub(crate) mod connection;
pub(crate) mod content;
mod io;
pub(crate) mod request;

use std::io::Result;
use std::ops::Deref;

use tokio::runtime::{Builder, Runtime};

/// Where requests run: one thread for the connection, one for what is done with it. What runs in it ends with it, but for a
/// read of standard input that may never return.
pub(crate) struct Tasks(Option<Runtime>);

impl Tasks {
    pub(crate) fn start() -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).thread_name("http").enable_all().build().map(Some).map(Self)
    }
}

impl Deref for Tasks {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("taken when it is dropped alone")
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
