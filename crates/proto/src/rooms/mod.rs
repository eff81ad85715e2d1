//! What is said in rooms (docs/rooms.md): one meaning, spelled as plain lines, as JSON, and as a
//! preface or a URL.
//!
//! ```text
//!   Join    which room, as whom, from which event on      preface line · path and query of a URL
//!   Event   what a member is told                         plain text · JSON of anyport.chat.1
//!   Said    what a member says                            a line · JSON of anyport.chat.1
//! ```
//!
//! Nothing that a peer chose is written without [`make_visible`]: a text is one line wherever it is
//! shown, and moves no cursor.

mod event;
mod id;
pub(crate) mod join;
mod json;
mod message;
mod name;
mod said;

pub use crate::visible::{make_visible, push_visible};
pub use event::{Event, Joined, Members};
pub use id::{BadEventId, Epoch, EventId};
pub use join::{Join, TargetError};
pub use message::{BadKey, Message, MessageKey, MessageView};
pub(crate) use name::check as check_name;
pub use name::{NameError, Nickname, RoomName};
pub use said::{HELP, Line, Said, SaidError};

/// The WebSocket subprotocol whose messages are [`Event`] and [`Said`] as JSON.
pub const SUBPROTOCOL: &str = "anyport.chat.1";

/// Where rooms are in the paths of URLs.
pub const ROOMS_PATH: &str = "/rooms/";
