//! HTTP in any version: what a request leads to, what takes its content, and what is answered. How all that is framed is the
//! business of `http1` and `http2`, and nothing here knows which of them asks.

mod access;
mod answer;
mod download;
mod echo;
pub(super) mod help;
mod listing;
mod outbound;
mod pipe;
mod request;
mod resource;
mod room;
mod upload;

pub(super) use access::check;
#[cfg(test)]
pub(super) use answer::Form;
pub(super) use answer::{Answer, Asked, Head, Length, seconds as now};
pub(super) use request::{Expectation, Lead, lead, refuse, to_https};
pub(super) use resource::{Event, Next, Produced, Resource};
pub(super) use room::events;
