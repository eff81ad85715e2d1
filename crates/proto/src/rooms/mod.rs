//! Messages of rooms (docs/rooms.md): one meaning, encoded as plain lines, as JSON, and as a
//! preface or a URL.
//!
//! ```text
//!   Join    which room, as whom, from which event on      preface line · path and query of a URL
//!   Event   output for a member                           plain text · JSON of anyport.chat.1
//!   Command    what a member says                            a line · JSON of anyport.chat.1
//! ```
//!
//! Text of a peer is only written through [`make_visible`]: it is one line wherever it is shown,
//! and controls no terminal.

mod command;
mod event;
mod id;
pub(crate) mod join;
mod json;
mod message;
mod name;

pub use crate::visible::{make_visible, push_visible};
pub use command::{Command, CommandError, HELP, Line};
pub use event::{Event, Joined, Members};
pub use id::{BadEventId, Epoch, EventId};
pub use join::{Join, TargetError};
pub use message::{BadKey, Message, MessageKey, MessageView};
pub(crate) use name::check as check_name;
pub use name::{NameError, Nickname, RoomName};

/// The WebSocket subprotocol whose messages are [`Event`] and [`Command`] as JSON.
pub const SUBPROTOCOL: &str = "anyport.chat.1";

/// Prefix of rooms in the paths of URLs.
pub const ROOMS_PATH: &str = "/rooms/";
