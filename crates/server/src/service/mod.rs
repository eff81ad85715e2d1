//! What is done with the data. A service knows no protocol: sessions hand it content and take its
//! answers.

pub(crate) mod download;
pub(crate) mod echo;
pub(crate) mod files;
pub(crate) mod greet;
pub(crate) mod listing;
pub(crate) mod pipe;
pub(crate) mod rooms;
pub(crate) mod time;
