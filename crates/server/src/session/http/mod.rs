//! HTTP in any version: checks a request, finds its resource, and opens that. `http1` and `http2`
//! frame the content; nothing here depends on the version.

mod access;
mod answer;
mod cookie;
mod cors;
mod forwarded;
mod handler;
mod page;
mod request;
mod resources;

pub(super) use access::{Admission, check as check_access, check_host};
#[cfg(test)]
pub(super) use answer::Form;
pub(super) use answer::{Answer, Asked, Head, Length, asks_for_syn, seconds as now};
pub(super) use forwarded::{Client, client};
pub(super) use handler::{Event, Handler, Next, Opened, Produced, refuse};
pub(super) use request::{Expectation, open, to_https};
pub(super) use resources::{HEARTBEAT, LIVE, events, find, help, service, subscribe};
