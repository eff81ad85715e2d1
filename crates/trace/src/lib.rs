#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod codec;
mod decode;
mod diagnosis;
mod event;
mod explain;
mod kept;
mod pcap;
mod recorder;
mod redact;
pub mod render;
mod sample;
mod segment;
mod syn;
mod tap;
pub mod tcp;

pub use codec::{MAX_BYTES, MAX_LINE, MAX_LINES, ReadError, VERSION};
pub use decode::Protocol;
pub use diagnosis::{
    Arrived, Diagnosis, Direction, Ended, Evidence, Limit, Remote, TcpTimes, diagnosis,
};
pub use event::{
    Basis, Certificate, Event, Http2Frame, LengthForm, Side, Time, TlsMessage, WebSocketFrame, What,
};
pub use pcap::PcapWriter;
pub use recorder::{Header, Limits, Recorder, Trace, UnderWay};
pub use redact::{redact_command, redact_text};
pub use sample::Sample;
pub use segment::{Checksum, Mark, Segment, Syn, TcpOption};
pub use syn::{NotReported, ReportedSyn, SYN_FIELD};
pub use tap::Tap;
