//! HTTP as a transport: files are PUT and GET requests over one connection.
//!
//! ```text
//!   send  files ─► upload (up to 16 at once) ─► connection ─► answer: receipt or refusal
//!         a long file ─► upload resource, if the server announces them ─► PATCH from its offset
//!   get   request, its range ─► connection ─► content
//!   ls    one listing for each directory, as JSON
//! ```
//!
//! `https://` offers `h2` and `http/1.1`; without TLS it is HTTP/1.1, as a client cannot know
//! whether a server accepts more. Over HTTP/2 each file is a stream, over HTTP/1.1 files follow
//! each other. hyper carries the requests; their tasks run on a runtime of two threads, and other
//! threads read files.

pub(crate) mod answer;
pub(crate) mod connection;
pub(crate) mod content;
mod io;
pub(crate) mod request;
pub(crate) mod resumable;

use std::io::Result;
use std::ops::Deref;

use tokio::runtime::{Builder, Runtime};

/// The runtime of the requests: one thread for the connection, one for its users. Its tasks end
/// with it, except for a read of standard input that may never return.
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
