//! HTTP/2 frames (RFC 9113 §4.1), and their heads (HPACK, RFC 7541).

use anyport_proto::http2::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HAS_PRIORITY, HEADER, HEADERS,
    PADDED, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

use super::hpack::Hpack;
use super::output::{Output, Run};
use super::{MAX_ELEMENT, Step};
use crate::event::{Http2Frame, Side, What};

/// Maximum size of the fields of one head that are shown: compressed, they may be a thousand times
/// smaller.
const MAX_FIELDS: usize = MAX_ELEMENT;

/// Size of a field beside its text, as RFC 7541 §4.1 counts it: a byte on the wire may be an empty
/// field.
const FIELD: usize = 2 * size_of::<String>();

/// Maximum number of events that may still grow, one for each stream and kind of frame.
const MAX_RUNS: usize = 64;

/// The frames of one direction.
#[derive(Debug)]
pub(super) struct Http2 {
    /// Bytes of the client's preface that are missing.
    preface: usize,
    header: [u8; HEADER],
    filled: usize,
    /// Bytes of the payload that are missing.
    left: u64,
    frame: Frame,
    /// Payload that is decoded when it is complete.
    payload: Option<Vec<u8>>,
    /// The compressed head that has begun, and the event of its first frame.
    head: Vec<u8>,
    head_event: Option<usize>,
    /// `None` after a head that was not decoded: later ones depend on it.
    hpack: Option<Hpack>,
    runs: Vec<((u8, u8, u32), Growing)>,
}

/// An event of DATA or WINDOW_UPDATE frames.
#[derive(Debug, Default)]
struct Growing {
    run: Run,
    /// Sum of the increments.
    increment: u64,
    /// Bytes of payload that are still kept.
    keep: usize,
}

/// The header of the current frame.
#[derive(Debug, Default, Clone, Copy)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    event: Option<usize>,
}

impl Http2 {
    /// Returns the decoder behind the first line of the client's preface.
    pub(super) fn new(from: Side) -> Self {
        Self {
            preface: if from == Side::Client { PREFACE_END.len() } else { 0 },
            header: [0; HEADER],
            filled: 0,
            left: 0,
            frame: Frame::default(),
            payload: None,
            head: Vec::new(),
            head_event: None,
            hpack: Some(Hpack::new()),
            runs: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], output: &Output<'_>) -> Step {
        if self.preface > 0 {
            let at = PREFACE_END.len() - self.preface;
            if bytes.first() != PREFACE_END.get(at) {
                return Step::unknown(
                    output,
                    "the preface of HTTP/2 is incomplete",
                    &PREFACE_END[..at],
                );
            }
            self.preface -= 1;
            return Step::Used(1);
        }
        if self.left > 0 {
            let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let piece = bytes.get(..length).unwrap_or(bytes);
            if let Some(payload) = &mut self.payload {
                payload.extend_from_slice(piece);
            } else if self.frame.kind == DATA {
                self.keep(piece, output);
            }
            self.pass(length as u64, output);
            return Step::Used(length);
        }
        let wanted = HEADER - self.filled;
        let used = wanted.min(bytes.len());
        let filled = self.filled;
        for (place, byte) in self.header.iter_mut().skip(filled).zip(bytes) {
            *place = *byte;
        }
        self.filled += used;
        if self.filled < HEADER {
            return Step::Used(used);
        }
        self.filled = 0;
        self.begin(self.header, output).map_or(Step::Used(used), |kind| {
            let text = format!("no frame of HTTP/2: type {kind} in a head");
            Step::unknown(output, &text, self.header.get(..filled).unwrap_or_default())
        })
    }

    /// Counts content that the kernel moved; returns how many bytes it can be.
    pub(super) fn skip(&mut self, count: u64, output: &Output<'_>) -> u64 {
        let skipped = if self.payload.is_none() { self.left.min(count) } else { 0 };
        self.pass(skipped, output);
        skipped
    }

    fn pass(&mut self, count: u64, output: &Output<'_>) {
        self.left -= count;
        if self.left == 0
            && let Some(payload) = self.payload.take()
        {
            self.complete(&payload, output);
        }
    }

    /// Begins a frame. Returns its type if it may not be there, which also shows that these are no
    /// frames.
    fn begin(&mut self, header: [u8; HEADER], output: &Output<'_>) -> Option<u8> {
        let [high, middle, low, kind, flags, stream @ ..] = header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        if (self.head_event.is_some() || !self.head.is_empty()) && kind != CONTINUATION {
            return Some(kind);
        }
        self.left = u64::from(length);
        self.frame = Frame { kind, flags, stream, event: None };
        let frame = || Http2Frame {
            kind: name(kind),
            flags: flag_names(kind, flags),
            stream,
            length: u64::from(length),
            values: Vec::new(),
            payload: None,
            count: 1,
        };
        if kind == DATA {
            self.grow(u64::from(length), 0, frame, output);
            return None;
        }
        if kind == WINDOW_UPDATE && length == 4 {
            // Its event begins when its increment is known.
            self.payload = Some(Vec::new());
            return None;
        }
        self.end_runs(stream);
        self.frame.event = Some(output.event(What::Http2(frame())));
        let is_head = matches!(kind, HEADERS | CONTINUATION | PUSH_PROMISE);
        if is_head && self.head_event.is_none() {
            self.head_event = self.frame.event;
        }
        if is_head || matches!(kind, SETTINGS | RST_STREAM | GOAWAY | PRIORITY | PING) {
            if length as usize > MAX_ELEMENT {
                output.note("a frame of HTTP/2 above 64 KiB is not decoded");
                if is_head {
                    self.hpack = None;
                    self.end_head();
                }
            } else {
                self.payload = Some(Vec::new());
            }
        }
        if self.left == 0
            && let Some(payload) = self.payload.take()
        {
            self.complete(&payload, output);
        }
        None
    }

    /// Adds a frame to the event of equal ones of its stream.
    fn grow(
        &mut self,
        length: u64,
        increment: u64,
        frame: impl FnOnce() -> Http2Frame,
        output: &Output<'_>,
    ) {
        let Frame { kind, flags, stream, .. } = self.frame;
        let key = (kind, flags, stream);
        let growing = match self.runs.iter_mut().position(|(other, _)| *other == key) {
            Some(at) => &mut self.runs[at].1,
            None => {
                if self.runs.len() == MAX_RUNS {
                    self.runs.remove(0);
                }
                self.runs.push((key, Growing::default()));
                let Some((_, growing)) = self.runs.last_mut() else { return };
                growing
            }
        };
        if growing.run.is_open(output) {
            growing.increment += increment;
            let sum = growing.increment;
            growing.run.grow(output, |what| {
                if let What::Http2(frame) = what {
                    frame.count += 1;
                    frame.length = frame.length.saturating_add(length);
                    if let (true, Some(value)) = (increment > 0, frame.values.first_mut()) {
                        value.1 = sum.to_string();
                    }
                }
            });
        } else {
            let mut frame = frame();
            if kind == WINDOW_UPDATE {
                frame.values.push(("increment".to_owned(), increment.to_string()));
            }
            let run = Run::open(output, What::Http2(frame));
            *growing = Growing { run, increment, keep: output.payload() };
        }
    }

    fn keep(&mut self, piece: &[u8], output: &Output<'_>) {
        let Frame { kind, flags, stream, .. } = self.frame;
        let key = (kind, flags, stream);
        let Some((_, growing)) = self.runs.iter_mut().find(|(other, _)| *other == key) else {
            return;
        };
        // The event lasts until the last byte of its frames.
        let kept = piece.get(..growing.keep).unwrap_or(piece);
        growing.keep -= kept.len();
        growing.run.grow(output, |what| {
            if let (What::Http2(frame), false) = (what, kept.is_empty()) {
                frame.payload.get_or_insert_default().push_str(&kept.escape_ascii().to_string());
            }
        });
    }

    /// Ends the events of a stream that still grow, before an event of another kind.
    fn end_runs(&mut self, stream: u32) {
        if stream != 0 {
            self.runs.retain(|((_, _, other), _)| *other != stream);
        }
    }

    /// Decodes the payload of a frame.
    fn complete(&mut self, payload: &[u8], output: &Output<'_>) {
        let Frame { kind, flags, stream, event } = self.frame;
        let word = |at: usize| {
            let bytes = payload.get(at..).and_then(<[u8]>::first_chunk::<4>);
            bytes.map(|bytes| u32::from_be_bytes(*bytes))
        };
        let values = match kind {
            WINDOW_UPDATE => {
                let increment = u64::from(word(0).unwrap_or(0) & (u32::MAX >> 1));
                let length = payload.len() as u64;
                let frame = || Http2Frame {
                    kind: name(kind),
                    flags: flag_names(kind, flags),
                    stream,
                    length,
                    values: Vec::new(),
                    payload: None,
                    count: 1,
                };
                return self.grow(length, increment, frame, output);
            }
            HEADERS | CONTINUATION | PUSH_PROMISE => return self.head(payload, output),
            SETTINGS => settings(payload),
            RST_STREAM => vec![("error", error_name(word(0)))],
            GOAWAY => {
                let debug = payload.get(8..).unwrap_or_default();
                let shows = !output.recorder.is_of_server() || output.from == Side::Server;
                vec![
                    ("last-stream", word(0).unwrap_or(0).to_string()),
                    ("error", error_name(word(4))),
                    match debug.len() {
                        length if length > 0 && !shows => ("debug-bytes", length.to_string()),
                        _ => ("debug", String::from_utf8_lossy(debug).into()),
                    },
                ]
            }
            // The server repeats what the client chose.
            PING if output.recorder.is_of_server() => Vec::new(),
            PRIORITY => vec![("depends-on", word(0).unwrap_or(0).to_string())],
            _ => {
                let hex = payload.iter().map(|byte| format!("{byte:02x}")).collect();
                vec![("data", hex)]
            }
        };
        let values: Vec<_> =
            values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if let Some(event) = event {
            output.amend_text(event, |what| {
                if let What::Http2(frame) = what {
                    frame.values = values.into_iter().filter(|value| !value.1.is_empty()).collect();
                }
            });
        }
    }

    /// Adds a fragment of a head, and decodes the head with its last one.
    fn head(&mut self, payload: &[u8], output: &Output<'_>) {
        let Frame { kind, flags, .. } = self.frame;
        let mut fragment = payload;
        if kind != CONTINUATION && flags & PADDED != 0 {
            let (padding, rest) = fragment.split_first().unwrap_or((&0, &[]));
            let length = rest.len().saturating_sub(usize::from(*padding));
            fragment = rest.get(..length).unwrap_or_default();
        }
        let fixed = match kind {
            HEADERS if flags & HAS_PRIORITY != 0 => 5,
            PUSH_PROMISE => 4,
            _ => 0,
        };
        fragment = fragment.get(fixed..).unwrap_or_default();
        if self.head.len() + fragment.len() > MAX_ELEMENT {
            if self.hpack.take().is_some() {
                output.note("a head of HTTP/2 above 64 KiB is not decoded, nor any later one");
            }
        } else {
            self.head.extend_from_slice(fragment);
        }
        if flags & END_HEADERS == 0 {
            return;
        }
        let (head, event) = (std::mem::take(&mut self.head), self.head_event);
        self.end_head();
        let Some(hpack) = &mut self.hpack else { return };
        let (mut fields, mut size) = (Vec::new(), 0);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let decoded = hpack.decode(&head, |name, value| {
            size += name.len() + value.len() + FIELD;
            if size <= MAX_FIELDS {
                fields.push((text(name), text(value)));
            }
        });
        if decoded.is_none() || size > MAX_FIELDS {
            output.note("a head of HTTP/2 is malformed or too long; its fields are not all shown");
        }
        if decoded.is_none() {
            self.hpack = None;
        }
        output.syn_of(&fields);
        if let Some(event) = event {
            output.amend_text(event, |what| {
                if let What::Http2(frame) = what {
                    frame.values = fields;
                }
            });
        }
    }

    fn end_head(&mut self) {
        self.head = Vec::new();
        self.head_event = None;
    }
}

fn settings(payload: &[u8]) -> Vec<(&'static str, String)> {
    let setting = |bytes: &[u8; 6]| {
        let [high, low, value @ ..] = *bytes;
        let name = match u16::from_be_bytes([high, low]) {
            1 => "HEADER_TABLE_SIZE",
            2 => "ENABLE_PUSH",
            3 => "MAX_CONCURRENT_STREAMS",
            4 => "INITIAL_WINDOW_SIZE",
            5 => "MAX_FRAME_SIZE",
            6 => "MAX_HEADER_LIST_SIZE",
            8 => "ENABLE_CONNECT_PROTOCOL",
            9 => "NO_RFC7540_PRIORITIES",
            _ => "unknown",
        };
        (name, u32::from_be_bytes(value).to_string())
    };
    // A peer may repeat settings as often as a frame has room.
    payload.as_chunks::<6>().0.iter().take(MAX_SETTINGS).map(setting).collect()
}

const MAX_SETTINGS: usize = 32;

fn name(kind: u8) -> String {
    match FRAMES.get(usize::from(kind)) {
        Some(name) => (*name).to_owned(),
        None => format!("type {kind}"),
    }
}

fn flag_names(kind: u8, flags: u8) -> Vec<String> {
    let names: &[(u8, &str)] = match kind {
        DATA => &[(END_STREAM, "END_STREAM"), (PADDED, "PADDED")],
        HEADERS => &[
            (END_STREAM, "END_STREAM"),
            (END_HEADERS, "END_HEADERS"),
            (PADDED, "PADDED"),
            (HAS_PRIORITY, "PRIORITY"),
        ],
        SETTINGS | PING => &[(ACK, "ACK")],
        PUSH_PROMISE => &[(END_HEADERS, "END_HEADERS"), (PADDED, "PADDED")],
        CONTINUATION => &[(END_HEADERS, "END_HEADERS")],
        _ => &[],
    };
    names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| (*name).to_owned()).collect()
}

fn error_name(code: Option<u32>) -> String {
    let Some(code) = code else { return "missing".to_owned() };
    match usize::try_from(code).ok().and_then(|code| ERRORS.get(code)) {
        Some(name) => (*name).to_owned(),
        None => code.to_string(),
    }
}

/// The end of the client's preface (RFC 9113 §3.4), behind what looks like a head of HTTP/1.
const PREFACE_END: &[u8] = b"SM\r\n\r\n";

/// Types of frames by their number (RFC 9113 §6).
const FRAMES: [&str; 10] = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];

/// Error codes by their number (RFC 9113 §7).
const ERRORS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];
