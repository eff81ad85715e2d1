//! Streams of HTTP/2: from their first frame to their last one.

use std::collections::BTreeMap;

use super::labels::peer;
use crate::event::{Side, Time, What};
use crate::recorder::Trace;

/// One stream.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) from: Time,
    pub(super) to: Time,
    /// Bytes of DATA frames with the content: those of the client if the request sends some.
    pub(super) bytes: u64,
    /// Method and path, if they are known.
    pub(super) label: String,
    /// The status of the response, or the error.
    pub(super) status: String,
}

/// Returns the streams of all connections by the time of their first frame; stream 0 is none.
pub(super) fn streams(trace: &Trace) -> Vec<Stream> {
    let mut all: BTreeMap<(Option<u32>, u32), Stream> = BTreeMap::new();
    for event in &trace.events {
        let What::Http2(frame) = &event.what else { continue };
        if frame.stream == 0 {
            continue;
        }
        let key = (event.connection, frame.stream);
        let stream = all.entry(key).or_insert_with(|| Stream {
            id: frame.stream,
            from: event.at,
            to: event.at,
            bytes: 0,
            label: String::new(),
            status: String::new(),
        });
        let took = event.took.unwrap_or_default();
        stream.to = stream.to.max(Time(event.at.0.saturating_add(took.0)));
        match frame.kind.as_str() {
            "DATA" if is_content(stream, event.from) => {
                stream.bytes = stream.bytes.saturating_add(frame.length);
            }
            "RST_STREAM" => stream.status = "reset".to_owned(),
            "HEADERS" => {
                let find = |name| frame.values.iter().find(|(other, _)| other == name);
                let value = |name| find(name).map(|(_, value)| peer(value));
                if let (Some(Side::Client), Some(method)) = (event.from, value(":method")) {
                    let path = value(":path").unwrap_or_default();
                    stream.label = format!("{method} {path}");
                }
                if let Some(status) = value(":status") {
                    stream.status = status;
                }
            }
            _ => {}
        }
    }
    let mut streams: Vec<_> = all.into_values().collect();
    streams.sort_by_key(|stream| stream.from);
    streams
}

/// Whether DATA of this end are the content that the stream is for: a response to an upload has
/// some too.
fn is_content(stream: &Stream, from: Option<Side>) -> bool {
    let is_upload = ["PUT ", "POST ", "PATCH "].iter().any(|way| stream.label.starts_with(way));
    stream.label.is_empty() || is_upload == (from == Some(Side::Client))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::examples;

    #[test]
    fn a_stream_counts_the_content_and_not_the_report_about_it() {
        let streams = streams(&examples::http2());
        // Six frames of the client; the response has 140 bytes.
        assert_eq!((streams[0].id, streams[0].bytes), (1, 6 * 16_384));
    }
}
