//! What a listener that serves one thing does with the bytes of its connections.

use anyport_net::copy::{Flow, Input, Interest};

use super::greet::Greet;
use super::raw_echo::RawEcho;
use super::time_http::TimeHttp;

/// A session that nobody had to find out.
pub(crate) enum Single {
    Echo(RawEcho),
    Greet(Greet),
    Time(Box<TimeHttp>),
}

impl Single {
    pub(super) fn interest(&self) -> Interest {
        match self {
            Self::Echo(session) => session.interest(),
            Self::Greet(session) => session.interest(),
            Self::Time(session) => session.interest(),
        }
    }

    pub(super) fn step(&mut self, input: Input<'_>, replies: &mut Vec<u8>) -> Flow {
        match self {
            Self::Echo(_) => RawEcho::step(&input, replies),
            Self::Greet(session) => session.step(input),
            Self::Time(session) => session.step(input, replies),
        }
    }

    /// The server stops. None of them runs for longer than a read.
    pub(super) fn stop(&mut self, replies: &mut Vec<u8>) {
        match self {
            Self::Echo(_) => {}
            Self::Greet(session) => session.end(),
            Self::Time(_) => TimeHttp::stop(replies),
        }
    }

    /// The connection broke: what was said until then was said.
    pub(super) fn broken(&mut self) {
        if let Self::Greet(session) = self {
            session.end();
        }
    }
}
