//! The client of anyport.
//!
//! ```text
//!   target ─► connect: resolve, dial, proxy, TLS ─► channel (raw · ws · library) or http ─► send
//!                                                                                            download
//!                                                                                            chat, cat
//! ```
//!
//! Sending is one blocking loop for each channel: read from the file into a reused buffer, digest,
//! mask, write. Between writes the client checks without waiting whether the server has replied, so
//! that it notices a refusal early.

#![forbid(unsafe_code)]

mod aside;
mod attempts;
mod bottleneck;
mod cat;
mod channel;
mod chat;
mod connect;
mod content;
mod download;
mod error;
mod http;
mod keys;
mod proxy;
mod send;
mod stream;
mod target;
mod walk;

pub use bottleneck::Bottleneck;
pub use cat::{CatOptions, cat};
pub use chat::{ChatOptions, Left, Told, chat, room};
pub use connect::ConnectOptions;
pub use content::{OpenError, Source};
pub use download::pipe::{Taken, take, take_into};
pub use download::{Destination, GetOptions, Got, Listed, Progress, Received, get, get_into, list};
pub use error::{Blame, Error, ErrorKind, LIST_HINT, RESUME_HINT, Transferred};
pub use proxy::{Proxies, Proxy, ProxyError, ProxyUrlError, ProxyVariables};
pub use send::pipe::give;
pub use send::{Engine, Observer, Options, Sent, send};
pub use stream::Encryption;
pub use target::{DEFAULT_PORT, Place, Scheme, Target, TargetError};
pub use walk::{Found, Links};
