//! Messages of a live connection (docs/live.md): listings, changes, running uploads, and one room,
//! over one WebSocket.
//!
//! ```text
//!   Request   what a client wants      {"list":{"path":"a/b","id":1}}
//!   Message   what the server sends    {"list":{"path":"a/b","id":1,"entries":[…],"more":false}}
//! ```
//!
//! Each message is an object with one key. Events of the room are [`crate::rooms::Event`].

mod message;
mod request;

pub use message::{Connection, Message, Progress};
pub use request::{Request, RequestError};
