#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod diagnosis;
mod event;
mod recorder;
mod sample;
mod segment;
mod tap;

pub use diagnosis::{Diagnosis, Direction, Evidence, Limit, Remote, TcpTimes};
pub use event::{
    Basis, Certificate, Event, Http2Frame, LengthForm, Side, Time, TlsMessage, WebSocketFrame, What,
};
pub use recorder::{Header, Limits, Recorder, Trace};
pub use sample::Sample;
pub use segment::{Checksum, Mark, Segment, Syn, TcpOption};
pub use tap::{Protocol, Tap};
