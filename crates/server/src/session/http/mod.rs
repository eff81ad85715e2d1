//! HTTP in any version: what a request leads to, what takes its content, and what is answered. How all that is framed is the
//! business of `http1` and `http2`, and nothing here knows which of them asks.

mod access;
mod answer;
mod download;
pub(super) mod help;
mod listing;
mod pipe;
mod request;
mod room;
mod taker;
mod upload;

pub(super) use access::check;
pub(super) use answer::{Answer, Asked, Form, Head, Length, seconds as now};
pub(super) use listing::Page;
pub(super) use pipe::{Side, piped, taken};
pub(super) use request::{Expectation, Lead, lead, refuse, to_https};
pub(super) use room::events;
pub(super) use taker::Taker;
