//! Access control: tokens, in the operator's file and in requests, and their rights.
//!
//! ```text
//!   alice  Zx3…  read,write  /photos     a line of the file ──► Named
//!   Authorization: Bearer Zx3…           of any HTTP request ──► Token
//!   Authorization: Basic base64(:Zx3…)   browsers, curl -u
//!   Sec-WebSocket-Protocol: anyport.token.Zx3…, anyport.1     pages, which cannot set fields
//!   ANYPORT/1 PUT a.txt size=5 token=Zx3…                     preface
//! ```
//!
//! No error here and no `Debug` shows a token.

mod carried;
mod hosts;
mod list;
mod rights;

pub use carried::{
    PLAIN_SUBPROTOCOL, TOKEN_SUBPROTOCOL, authorization, cookie, form_token, subprotocol_token,
};
pub use hosts::{HostName, HostNameError, host_of};
pub use list::{ListError, Named, is_user_name, parse_list};
pub use rights::{Rights, RightsError};

pub use crate::transfer::offer::{Token, TokenError};
