#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod about;
pub mod access;
pub mod counted;
pub mod detect;
pub mod form;
pub mod http1;
pub mod http2;
pub mod limits;
pub mod live;
pub mod one_line;
pub mod peer;
pub mod pipe;
pub mod preface;
pub mod proxy_protocol;
pub mod resumable;
pub mod rooms;
pub mod setting;
pub mod transfer;
pub mod visible;
pub mod ws;
