//! HTTP in any version: what is checked of a request, which resource it names, and how that serves
//! it. `http1` and `http2` frame the content, and nothing here depends on which of them does.

mod access;
mod answer;
mod handler;
mod request;
mod resources;

pub(super) use access::check;
#[cfg(test)]
pub(super) use answer::Form;
pub(super) use answer::{Answer, Asked, Head, Length, seconds as now};
pub(super) use handler::{Event, Handler, Next, Opened, Produced, refuse};
pub(super) use request::{Expectation, open, to_https};
pub(super) use resources::{HEARTBEAT, events, find, help, service, subscribe};
