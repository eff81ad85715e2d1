#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod aside;
mod async_stream;
mod attempts;
mod capture;
mod cat;
mod channel;
mod chat;
mod connect;
mod content;
mod download;
mod error;
mod http;
mod keys;
mod measure;
mod open_error;
mod probe;
mod proxy;
mod send;
mod shares;
mod spent;
mod stream;
mod syn;
mod target;
mod trace;
mod walk;

pub use capture::{CAPTURE_HINT, Capture, CaptureError, HEADERS, MAX_SNAPLEN};
pub use cat::{CatOptions, cat};
pub use chat::{ChatEvent, ChatOptions, Left, chat, room};
pub use connect::ConnectOptions;
pub use content::{OpenError, Source};
pub use download::pipe::{Taken, take, take_into};
pub use download::{Destination, GetOptions, Got, Listed, Progress, Received, get, get_into, list};
pub use error::{
    Error, ErrorKind, ErrorOrigin, LIST_HINT, RESUME_HINT, Transferred, congestion_hint,
};
pub use probe::{
    Answer, Found as ProbeResult, HttpAnswer, Outcome, PathReport, PrefaceAnswer, ProbeFinding,
    ProbeOptions, Probed, Reached, Resolved, TlsAnswer, WebSocketAnswer, probe, without_secrets,
};
pub use proxy::{Proxies, Proxy, ProxyError, ProxyUrlError, ProxyVariables};
pub use send::pipe::give;
pub use send::{Engine, Observer, Options, Sent, send};
pub use shares::Shares;
pub use stream::Encryption;
pub use target::{DEFAULT_PORT, Scheme, Scope, Target, TargetError};
pub use walk::{Found, Links};
