//! The one line that names an event, or several that repeat each other.

use std::collections::BTreeSet;

use anyport_proto::transfer::units::format_bytes;
use anyport_proto::visible::make_visible;

use super::words::{count, duration, grouped};
use crate::event::{Event, Http2Frame, TlsMessage, WebSocketFrame, What};
use crate::segment::{Mark, Segment};

/// Characters of a message of anyport: a receipt fits.
const MESSAGE: usize = 480;

/// Characters of another text of a peer.
const LONGEST: usize = 160;

/// Characters of a value of a peer in the table of a page; fields of 64 KiB are possible.
const WHOLE: usize = 2000;

/// Returns the label of one event.
pub(super) fn of_one(event: &Event) -> String {
    match &event.what {
        What::Resolved { host, addresses } => {
            let addresses = addresses.iter().map(|address| peer(address)).collect::<Vec<_>>();
            let took = event.took.map(|took| format!(" in {}", duration(took.0)));
            let (host, took) = (peer(host), took.unwrap_or_default());
            format!("{host} is {}{took}", addresses.join(", "))
        }
        What::Attempt { address } => format!("connecting to {}", peer(address)),
        What::AttemptFailed { address, reason } => format!("{}: {}", peer(address), peer(reason)),
        What::Connected { local, peer: server, .. } => {
            let took = event.took.map(|took| format!(" after {}", duration(took.0)));
            format!("connected{}: {} to {}", took.unwrap_or_default(), peer(local), peer(server))
        }
        What::Segment(segment) => of_segment(segment),
        What::Syn(_) => "the client's SYN as it arrived at the server".to_owned(),
        What::TlsMessage(message) => of_tls_message(message),
        What::TlsRecords { kind, count: number, bytes } => of_records(kind, *number, *bytes),
        What::TlsDone { version, suite, .. } => {
            let took = event.took.map(|took| format!(" after {}", duration(took.0)));
            let took = took.unwrap_or_default();
            format!("handshake complete{took}: {}, {}", peer(version), peer(suite))
        }
        What::Head { start, .. } => peer(start),
        What::WebSocketAccept { equal, .. } => {
            let result = if *equal { "is right" } else { "is WRONG" };
            format!("Sec-WebSocket-Accept {result}")
        }
        What::Frame(frame) => of_frame(frame),
        What::Http2(frame) => of_http2(frame),
        What::Line { text } => shortened(text, MESSAGE),
        What::Content { bytes, payload } => {
            format!("content, {}{}", format_bytes(*bytes), payload_of(payload.as_deref()))
        }
        What::Fin => "FIN: nothing more to send".to_owned(),
        What::Reset => "RST: the connection is aborted".to_owned(),
        What::Failed { text } => format!("failed: {}", shortened(text, MESSAGE)),
        What::Hashed { bytes } => format!("{} hashed{}", format_bytes(*bytes), took(event)),
        What::Stored { bytes, sync } => {
            let sync = sync.map(|sync| format!(", of which fsync took {}", duration(sync.0)));
            let (stored, sync) = (format_bytes(*bytes), sync.unwrap_or_default());
            format!("{stored} stored on this machine{}{sync}", took(event))
        }
        What::Gap { events } => {
            let during = event.took.map(|took| format!(" of {}", duration(took.0)));
            let (events, during) = (count(*events, "event"), during.unwrap_or_default());
            format!("{events}{during} left out: the trace has the first and the latest ones")
        }
        What::Note { text } => shortened(text, MESSAGE),
    }
}

/// Returns how long an event took, as the end of a phrase.
fn took(event: &Event) -> String {
    event.took.map(|took| format!(" in {}", duration(took.0))).unwrap_or_default()
}

/// Returns the label of several events of one key; there is at least one.
pub(super) fn of_several(group: &[&Event]) -> String {
    let Some(first) = group.first() else { return String::new() };
    let last = group.last().unwrap_or(first);
    let number = group.len() as u64;
    let sum = |of: fn(&What) -> u64| {
        group.iter().fold(0_u64, |sum, event| sum.saturating_add(of(&event.what)))
    };
    match (&first.what, &last.what) {
        (What::Content { .. }, _) => format!("content, {}", format_bytes(sum(bytes))),
        (What::TlsRecords { kind, .. }, _) => of_records(kind, sum(counted), sum(bytes)),
        (What::Segment(first), What::Segment(last)) => of_segments(first, last, number, sum(bytes)),
        (What::Frame(frame), _) => {
            let text = frame.text.as_ref().map(|text| format!(": {} …", shortened(text, 40)));
            let opcode = if frame.opcode == "continuation" { "binary" } else { &frame.opcode };
            let (bytes, text) = (format_bytes(sum(bytes)), text.unwrap_or_default());
            format!("{}, {bytes}{text}", count(sum(counted), &format!("{} frame", peer(opcode))))
        }
        (What::Http2(frame), _) => {
            let frames = count(sum(counted), &format!("{} frame", peer(&frame.kind)));
            let size = match sum(bytes) {
                total if frame.kind == "DATA" => format!(", {}", format_bytes(total)),
                _ => String::new(),
            };
            format!("{frames}{size}, {}", streams(group))
        }
        (What::Head { .. }, _) => several(number, "head", first, last),
        (What::Line { .. }, _) => several(number, "line", first, last),
        _ => several(number, "event", first, last),
    }
}

fn several(number: u64, unit: &str, first: &Event, last: &Event) -> String {
    let [first, last] = [first, last].map(|event| shortened(&of_one(event), 40));
    format!("{} more: {first} … {last}", count(number, unit))
}

fn streams(group: &[&Event]) -> String {
    let stream = |event: &&Event| match &event.what {
        What::Http2(frame) => Some(frame.stream),
        _ => None,
    };
    let streams: BTreeSet<_> = group.iter().filter_map(stream).collect();
    match (streams.first(), streams.last()) {
        (Some(0), Some(0)) => "connection".to_owned(),
        (Some(first), Some(last)) if first == last => format!("stream {first}"),
        (Some(first), Some(last)) => {
            format!("{} ({first} to {last})", count(streams.len() as u64, "stream"))
        }
        _ => String::new(),
    }
}

/// Bytes that an event stands for.
pub(super) const fn bytes(what: &What) -> u64 {
    match what {
        What::Content { bytes, .. } | What::TlsRecords { bytes, .. } => *bytes,
        What::Segment(segment) => segment.payload,
        // The length of a folded frame is that of all.
        What::Frame(frame) => frame.length,
        What::Http2(frame) => frame.length,
        _ => 0,
    }
}

/// How many units an event stands for.
const fn counted(what: &What) -> u64 {
    match what {
        What::TlsRecords { count, .. } => *count,
        What::Frame(frame) => frame.count,
        What::Http2(frame) => frame.count,
        _ => 1,
    }
}

fn of_segment(segment: &Segment) -> String {
    let flags = segment.flags.iter().map(|flag| peer(flag)).collect::<Vec<_>>().join(" ");
    let mut label = format!("{flags}  seq {}", grouped(segment.relative_seq));
    if let Some(ack) = segment.relative_ack {
        label.push_str(&format!(" ack {}", grouped(ack)));
    }
    let window = segment.window_bytes.unwrap_or_else(|| u64::from(segment.window));
    label.push_str(&format!(" win {}", grouped(window)));
    // The field counts in a unit that only the SYN names.
    if segment.window_bytes.is_none() && !segment.flags.iter().any(|flag| flag == "SYN") {
        label.push_str(" unscaled");
    }
    if segment.payload > 0 {
        label.push_str(&format!("  {}", count(segment.payload, "byte")));
    }
    if let Some((from, to)) = segment.sacked().first()
        && let (Some(ack), Some(relative)) = (segment.ack, segment.relative_ack)
    {
        let place = |number| grouped(relative_to(ack, relative, number));
        label.push_str(&format!(" sack {}-{}", place(*from), place(*to)));
    }
    let is_spurious = segment.marks.contains(&Mark::Spurious);
    for known in &segment.marks {
        if !(is_spurious && *known == Mark::Retransmission) {
            label.push_str(&format!("  [{}]", mark(*known)));
        }
    }
    label
}

/// Returns the relative number of `number`, which is near to the absolute one `ack`.
pub(super) fn relative_to(ack: u32, relative: u64, number: u32) -> u64 {
    relative.saturating_add_signed(number.wrapping_sub(ack).cast_signed().into())
}

fn of_segments(first: &Segment, last: &Segment, number: u64, bytes: u64) -> String {
    let kind = match first.mark() {
        Some(known) => mark(known),
        None if bytes > 0 => "segment",
        None => "ACK",
    };
    let many = match number {
        1 => format!("1 {kind}"),
        _ if kind == "out of order" => format!("{} {kind}", grouped(number)),
        _ => count(number, kind),
    };
    if bytes == 0 {
        let ack = last.relative_ack.map(|ack| format!(" up to byte {}", grouped(ack)));
        return format!("{many}{}", ack.unwrap_or_default());
    }
    let end = last.relative_seq.saturating_add(last.payload);
    let range = format!("seq {} to {}", grouped(first.relative_seq), grouped(end));
    format!("{many}, {}, {range}", format_bytes(bytes))
}

/// Returns the name of a mark, whose plural ends in s.
pub(super) const fn mark(mark: Mark) -> &'static str {
    match mark {
        Mark::Retransmission => "retransmission",
        Mark::Spurious => "spurious retransmission",
        Mark::OutOfOrder => "out of order",
        Mark::DuplicateAck => "duplicate ACK",
        Mark::DuplicateSack => "duplicate SACK",
        Mark::ZeroWindow => "zero window",
        Mark::Probe => "probe",
        Mark::WindowUpdate => "window update",
    }
}

fn of_tls_message(message: &TlsMessage) -> String {
    let mut label = format!("{}, {}", peer(&message.name), count(message.bytes, "byte"));
    if let Some(name) = &message.server_name {
        label.push_str(&format!(", for {}", peer(name)));
    }
    label
}

fn of_records(kind: &str, number: u64, bytes: u64) -> String {
    let kind = match kind {
        "application-data" => "encrypted record".to_owned(),
        "change-cipher-spec" => "ChangeCipherSpec record".to_owned(),
        other => format!("{} record", peer(other)),
    };
    format!("{}, {}", count(number, &kind), format_bytes(bytes))
}

fn of_frame(frame: &WebSocketFrame) -> String {
    let mut label = match frame.count {
        1 => format!("{} frame", peer(&frame.opcode)),
        many => count(many, &format!("{} frame", peer(&frame.opcode))),
    };
    label.push_str(&format!(", {}", format_bytes(frame.length)));
    if frame.compressed {
        label.push_str(" compressed");
    }
    if let Some(code) = frame.code {
        label.push_str(&format!(", code {code}"));
    }
    if let Some(text) = &frame.text {
        label.push_str(&format!(": {}", shortened(text, MESSAGE)));
    }
    label.push_str(&payload_of(frame.payload.as_deref()));
    label
}

fn of_http2(frame: &Http2Frame) -> String {
    let mut label = match frame.count {
        1 => peer(&frame.kind),
        many => count(many, &format!("{} frame", peer(&frame.kind))),
    };
    match frame.stream {
        0 if matches!(frame.kind.as_str(), "SETTINGS" | "PING" | "GOAWAY") => {}
        0 => label.push_str(" connection"),
        stream => label.push_str(&format!(" stream {stream}")),
    }
    if frame.length > 0 {
        label.push_str(&format!(", {}", format_bytes(frame.length)));
    }
    for flag in &frame.flags {
        label.push(' ');
        label.push_str(&peer(flag));
    }
    // A request, a status or an increment says more than its frame.
    let values = || frame.values.iter();
    let value = |name: &str| values().find(|(other, _)| other == name).map(|(_, value)| value);
    match (value(":method"), value(":path"), value(":status"), frame.values.as_slice()) {
        (Some(method), path, ..) => {
            let path = path.map(|path| peer(path)).unwrap_or_default();
            label.push_str(&format!(": {} {path}", peer(method)));
        }
        (_, _, Some(status), _) => label.push_str(&format!(": {}", peer(status))),
        (.., [(name, only)]) if name == "increment" => {
            let increment = only.parse().map_or_else(|_| peer(only), grouped);
            label.push_str(&format!(": +{increment} bytes"));
        }
        (.., [(name, only)]) => label.push_str(&format!(": {} {}", peer(name), peer(only))),
        _ => {}
    }
    label
}

/// The beginning of a payload; what follows it was not recorded, or has no room.
fn payload_of(payload: Option<&str>) -> String {
    let Some(payload) = payload else { return String::new() };
    let visible = make_visible(payload);
    match visible.char_indices().nth(LONGEST) {
        None => format!(": {visible}"),
        Some((end, _)) => format!(": {}…", visible.get(..end).unwrap_or_default()),
    }
}

/// Text of a peer: visible, and at most so long that one event is no page.
pub(super) fn peer(text: &str) -> String {
    shortened(text, LONGEST)
}

/// Text of a peer for where a reader asks for all of it.
pub(super) fn whole(text: &str) -> String {
    shortened(text, WHOLE)
}

/// Returns whether [`peer`] leaves out a part.
pub(super) fn is_cut(text: &str) -> bool {
    make_visible(text).chars().nth(LONGEST).is_some()
}

/// Visible text of at most `length` characters. An ellipsis stands for the middle: paths and
/// values differ most at their ends.
pub(super) fn shortened(text: &str, length: usize) -> String {
    let visible = make_visible(text);
    let characters = visible.chars().count();
    if characters <= length {
        return visible.into_owned();
    }
    let kept = length.saturating_sub(1);
    let end = kept / 3;
    let place = |index| visible.char_indices().nth(index).map_or(visible.len(), |(at, _)| at);
    let (head, tail) = (place(kept - end), place(characters - end));
    format!(
        "{}…{}",
        visible.get(..head).unwrap_or_default(),
        visible.get(tail..).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        assert_eq!(shortened("abcdefghijkl", 12), "abcdefghijkl");
        assert_eq!(shortened("abcdefghijklm", 10), "abcdef…klm");
        assert_eq!(shortened("가나다라마바사", 4), "가나…사");
        assert_eq!([0, 1, 2].map(|length| shortened("abc", length)), ["…", "…", "a…"]);
        let text = "x".repeat(LONGEST);
        assert!(!is_cut(&text) && is_cut(&format!("{text}x")));
    }
}
