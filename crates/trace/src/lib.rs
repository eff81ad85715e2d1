#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod codec;
mod diagnosis;
mod event;
mod explain;
mod recorder;
pub mod render;
mod sample;
mod segment;
mod tap;

pub use codec::{MAX_LINE, MAX_LINES, ReadError};
pub use diagnosis::{Diagnosis, Direction, Evidence, Limit, Remote, TcpTimes};
pub use event::{
    Basis, Certificate, Event, Http2Frame, LengthForm, Side, Time, TlsMessage, WebSocketFrame, What,
};
pub use recorder::{Header, Limits, Recorder, Trace};
pub use sample::Sample;
pub use segment::{Checksum, Mark, Segment, Syn, TcpOption};
pub use tap::{Protocol, Tap};
