//! Services, which are independent of protocols: sessions pass them content and encode their
//! replies.

pub(crate) mod download;
pub(crate) mod echo;
pub(crate) mod files;
pub(crate) mod greet;
pub(crate) mod listing;
pub(crate) mod pipe;
pub(crate) mod rooms;
pub(crate) mod time;
