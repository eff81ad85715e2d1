//! The client of anyport: `target → dial → stream (TLS or not) → channel (raw · ws · frames · library) → send`, and `download` the other way.
//! `http` does both over requests.
//!
//! Sending is one blocking loop a channel: read from the file into a reused buffer, digest, mask, write. Between writes
//! the socket is asked, without waiting, whether the server has something to say, so that a refusal is heard early.

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
mod offered;
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
pub use error::{Blame, Error, ErrorKind, RESUME_HINT, Transferred};
pub use proxy::{Proxies, Proxy, ProxyError, ProxyUrlError, ProxyVariables};
pub use send::pipe::give;
pub use send::{Engine, Observer, Options, Sent, send};
pub use stream::Encryption;
pub use target::{DEFAULT_PORT, Place, Scheme, Target, TargetError};
pub use walk::{Found, Links};
