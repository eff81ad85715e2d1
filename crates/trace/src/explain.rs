//! Explanations of events, with the sections of their standards.

use std::fmt;

use crate::event::{Http2Frame, TlsMessage, WebSocketFrame, What};
use crate::segment::{Mark, Segment};

/// The first line that a client of HTTP/2 sends.
pub(crate) const PREFACE: &str = "PRI * HTTP/2.0";

/// One sentence or two about a kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Explanation {
    pub(crate) text: &'static str,
    /// The section of an RFC, or a page of the documentation.
    pub(crate) reference: &'static str,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.reference)
    }
}

const fn says(reference: &'static str, text: &'static str) -> Explanation {
    Explanation { text, reference }
}

/// The curve of the round-trip time.
pub(crate) const ROUND_TRIP: Explanation = says(
    "RFC 6298 §2",
    "The time from a segment to its ACK, smoothed. It grows while a queue on the path fills. A \
     segment whose ACK takes much longer counts as lost and is sent again.",
);

/// The curve of the congestion window.
pub(crate) const CONGESTION_WINDOW: Explanation = says(
    "RFC 5681 §3.1",
    "How many segments the sender may have on the way. It doubles in each round trip up to the \
     slow-start threshold (ssthresh), then grows slowly, and shrinks after a loss.",
);

/// The curve of the receive window of the other end.
pub(crate) const PEER_WINDOW: Explanation = says(
    "RFC 9293 §3.8.6",
    "The receive window of the other end: how many more bytes its buffer has room for. At 0 the \
     sender must stop until the program there reads.",
);

/// The curve of the receive space of this end, in a download.
pub(crate) const RECEIVE_SPACE: Explanation = says(
    "RFC 9293 §3.8.6",
    "What this machine's kernel plans to receive in one round trip. It grows while the program \
     reads as fast as data arrives, and the window that the other end may fill grows with it.",
);

/// The curve of received bytes that the program has not read.
pub(crate) const UNREAD: Explanation = says(
    "RFC 9293 §3.8.6",
    "Bytes that this machine's kernel has received and the program has not read. While they grow, \
     this end is slower than the network, and the receive window that it advertises shrinks.",
);

/// The curve of acknowledged bytes per second.
pub(crate) const SENDING_RATE: Explanation = says(
    "RFC 9293 §3.4, RFC 5681 §3.1",
    "Bytes per second that the other end acknowledged. In each round trip they are at most the \
     smaller one of the congestion window and the other end's receive window.",
);

/// The curve of received bytes per second.
pub(crate) const RECEIVING_RATE: Explanation = says(
    "RFC 9293 §3.4",
    "Bytes per second that arrived here in order. A gap means that the sender had nothing to \
     send, or that a lost segment kept those behind it from being counted.",
);

/// Returns the explanation of an event.
pub(crate) fn explain(what: &What) -> Explanation {
    match what {
        What::Resolved { .. } => says(
            "RFC 8305 §4",
            "The resolver turned the name into addresses. The client tries them in this order and \
             does not wait for one to fail before it tries the next.",
        ),
        What::Attempt { .. } => says(
            "RFC 9293 §3.5",
            "The client's kernel sends a SYN: it asks for a connection and names the sequence \
             number from which it counts its bytes.",
        ),
        What::AttemptFailed { .. } => says(
            "RFC 9293 §3.5.2",
            "Refused: the host answered with RST, as no program listens on that port. Timed out: \
             nothing answered, as behind a firewall.",
        ),
        What::Connected { .. } => says(
            "RFC 9293 §3.5",
            "SYN, SYN ACK and ACK are the three-way handshake: after one round trip each end knows \
             that the other one receives, and where it begins to count.",
        ),
        What::Segment(segment) => explain_segment(segment),
        What::Syn(_) => says(
            "RFC 9293 §3.1",
            "This is the header of the SYN as it arrived at the server: options that differ from \
             those the client sent, or a smaller TTL, show what a router on the path changed.",
        ),
        What::TlsMessage(message) => explain_tls_message(message),
        What::TlsRecords { kind, .. } => explain_records(kind),
        What::TlsDone { .. } => says(
            "RFC 8446 §4.4",
            "Both ends have the same keys, and the server has proven that it owns the certificate. \
             TLS 1.3 needs one round trip for it, TLS 1.2 two.",
        ),
        What::Head { start, .. } => explain_head(start),
        What::WebSocketAccept { .. } => says(
            "RFC 6455 §4.2.2",
            "The server appends a fixed GUID to the client's key and answers with the Base64 of \
             the SHA-1: only a server that speaks WebSocket does that. It is no secret and no \
             password.",
        ),
        What::Frame(frame) => explain_frame(frame),
        What::Http2(frame) => explain_http2(frame),
        What::Line { text } => explain_line(text),
        What::Content { .. } => says(
            "RFC 9293 §3.4",
            "The content itself. TCP knows no messages: it numbers bytes, and the receiver puts \
             them in order, however they were split into segments.",
        ),
        What::Fin => says(
            "RFC 9293 §3.6",
            "FIN: this end has nothing more to send. Each direction is closed on its own, so the \
             other end may still send; with the ACK of each FIN these are four steps.",
        ),
        What::Reset => says(
            "RFC 9293 §3.5.2",
            "RST: the connection ends immediately for both ends, and bytes on their way are lost.",
        ),
        What::Failed { .. } => says(
            "docs/faults.md",
            "The command or the connection ended here. What is retried and what is kept depends on \
             the kind of error.",
        ),
        What::Hashed { .. } => says(
            "docs/RESUME.md",
            "Content of an earlier attempt was hashed together with the rest, so the digest is \
             that of the whole file.",
        ),
        What::Stored { .. } => says(
            "fsync(2)",
            "The file got its name, and fsync waited until the disk has it: after a crash of this \
             machine it is still whole.",
        ),
        What::Gap { .. } => says(
            "docs/trace.md",
            "The trace keeps the first half and the latest half of its events; --events keeps \
             more.",
        ),
        What::Note { .. } => {
            says("docs/trace.md", "A remark about the trace itself: what it lacks, and why.")
        }
    }
}

fn explain_segment(segment: &Segment) -> Explanation {
    let has = |flag| segment.flags.iter().any(|other| other == flag);
    match segment.mark() {
        Some(Mark::Retransmission) => {
            return says(
                "RFC 6298 §5, RFC 5681 §3.2",
                "These bytes were sent before: no ACK came in time, or three duplicate ACKs named \
                 a gap, so the sender takes the first segment for lost.",
            );
        }
        Some(Mark::Spurious) => {
            return says(
                "RFC 3522, RFC 8985 §3",
                "The receiver had acknowledged these bytes before: they were late or their ACK \
                 was, but not lost. The sender reduced its rate without need.",
            );
        }
        Some(Mark::OutOfOrder) => {
            return says(
                "RFC 9293 §3.10.7.4, RFC 7323 §3",
                "This segment was sent before others that arrived first, as its timestamp or the \
                 short time shows: the path changed their order. The receiver had to keep those \
                 until this one came.",
            );
        }
        Some(Mark::DuplicateAck) => {
            return says(
                "RFC 5681 §2",
                "The receiver repeats the number of the byte that it waits for: something arrived, \
                 but not that byte. Three of them make the sender repeat it.",
            );
        }
        Some(Mark::DuplicateSack) => {
            return says(
                "RFC 2883 §4",
                "The first block of SACK names bytes that arrived twice: what the sender repeated \
                 was not lost, but late.",
            );
        }
        Some(Mark::ZeroWindow) => {
            return says(
                "RFC 9293 §3.8.6.1",
                "The window is 0: the receiver's buffer is full, as its program reads slower than \
                 the data arrives. The sender must stop.",
            );
        }
        Some(Mark::Probe) => {
            return says(
                "RFC 9293 §3.8.4, §3.8.6.1",
                "A probe with nothing new in it: it asks whether the other end is still there, or \
                 whether its window is open again.",
            );
        }
        Some(Mark::WindowUpdate) => {
            return says(
                "RFC 9293 §3.8.6",
                "Nothing new is acknowledged: the receiver reports that its buffer has room again.",
            );
        }
        None => {}
    }
    if has("RST") {
        return explain(&What::Reset);
    }
    match (has("SYN"), has("ACK")) {
        (true, false) => says(
            "RFC 9293 §3.5, RFC 7323 §2",
            "SYN: the client asks for a connection. Its sequence number is random; its options say \
             how large segments may be, and by how much later windows are multiplied.",
        ),
        (true, true) => says(
            "RFC 9293 §3.5",
            "SYN ACK: the server agrees, names its own first sequence number and acknowledges the \
             client's, plus one as SYN counts as a byte.",
        ),
        _ if has("FIN") => explain(&What::Fin),
        _ if segment.payload > 0 => says(
            "RFC 9293 §3.4, §3.8.6",
            "seq is the number of the first byte in it, ack that of the byte that is expected \
             next from the other end, window how many bytes that end may send.",
        ),
        _ => {
            says("RFC 9293 §3.4", "An ACK without data: all bytes before this number have arrived.")
        }
    }
}

fn explain_tls_message(message: &TlsMessage) -> Explanation {
    match message.name.as_str() {
        "ClientHello" => says(
            "RFC 8446 §4.1.2",
            "ClientHello is not encrypted: everyone on the path reads the name of the server (SNI) \
             and the protocols that the client offers (ALPN).",
        ),
        "ServerHello" if message.version.as_deref() == Some("TLSv1.3") => says(
            "RFC 8446 §4.1.3",
            "ServerHello selects version and suite and completes the key exchange: everything \
             after it is encrypted.",
        ),
        "ServerHello" => says(
            "RFC 5246 §7.4.1.3",
            "ServerHello selects version and suite. Up to TLS 1.2 the certificate follows in the \
             clear, and encryption begins with ChangeCipherSpec.",
        ),
        _ => says("RFC 8446 §4", "A message of the handshake that is not encrypted."),
    }
}

fn explain_records(kind: &str) -> Explanation {
    match kind {
        "handshake" => says(
            "RFC 8446 §4, §5.1",
            "Records of the handshake: only their sizes can be seen when they are encrypted, not \
             the messages in them.",
        ),
        "alert" => says(
            "RFC 8446 §6",
            "An alert: an error, or close_notify, which shows that the data ends here and the \
             connection was not cut.",
        ),
        "change-cipher-spec" => says(
            "RFC 8446 appendix D.4",
            "In TLS 1.2 the records that follow are encrypted. In TLS 1.3 it means nothing and is \
             sent so that old middleboxes take the connection for TLS 1.2.",
        ),
        _ => says(
            "RFC 8446 §5.2",
            "Encrypted records of at most 16 KiB each. An observer sees only their sizes; in \
             TLS 1.3 messages of the handshake look the same.",
        ),
    }
}

fn explain_head(start: &str) -> Explanation {
    match start.strip_prefix("HTTP/") {
        None if start == PREFACE => says(
            "RFC 9113 §3.4",
            "The client begins with 24 fixed bytes that an HTTP/1.1 server refuses, so no server \
             mistakes HTTP/2 for another protocol.",
        ),
        None => says(
            "RFC 9112 §3",
            "A request: method, target and version in the first line, then fields, then an empty \
             line. A PUT has content behind it, a GET has none.",
        ),
        Some(status) if status.contains(" 101") => says(
            "RFC 9110 §15.2.2",
            "101: the server changes the protocol. From here on the same connection carries the \
             protocol that Upgrade names, in both directions.",
        ),
        Some(status) if status.contains(" 100") => says(
            "RFC 9110 §10.1.1",
            "100 Continue: the server has read the head and wants the content, so a refused upload \
             costs no transfer.",
        ),
        Some(_) => says(
            "RFC 9112 §4",
            "A response: the status code is the result (2xx success, 4xx fault of the client, \
             5xx fault of the server). The content of a download follows it.",
        ),
    }
}

fn explain_line(text: &str) -> Explanation {
    let mut words = text.split_whitespace().filter(|word| *word != "ANYPORT/1");
    let text = match words.next().unwrap_or_default() {
        "LIST" => "The client asks for the entry of a file, or for the entries of a directory.",
        "ENTRY" => "One file or directory of the list: its name, its kind, its size and its times.",
        "END" if words.any(|word| word.starts_with("entries=")) => {
            "The list is complete, and has this number of entries."
        }
        "PUT" => {
            "The client announces a file that it sends: its name, and its properties as keys. \
             With a size or a line END the server knows whether the content is complete."
        }
        "GET" => "The client asks for a file; with an offset, for the rest of it.",
        "GO" => {
            "The server accepts the file from this offset on: the bytes before it are already \
             stored, from an interrupted attempt."
        }
        "FILE" => {
            "The server announces the file that it sends: its size, its times and the offset of \
             the first byte that follows."
        }
        "END" => {
            "The sender ends the content and states its digest: with another digest, the receiver \
             does not keep the file."
        }
        "RECEIPT" => {
            "The server has received and stored the file: its size, the time, the digest that it \
             computed, and where the file is."
        }
        "ERROR" => "The server refuses: a word for programs, and a text with the reason.",
        _ => "A line of the preface protocol of anyport: a request, or the reply to one.",
    };
    says("docs/transfer.md", text)
}

fn explain_frame(frame: &WebSocketFrame) -> Explanation {
    match frame.opcode.as_str() {
        "close" => says(
            "RFC 6455 §5.5.1",
            "Close has a code for the reason, and the other end answers with one: then both know \
             that no message was lost. TCP closes after that.",
        ),
        "ping" => says(
            "RFC 6455 §5.5.2",
            "Ping asks whether the other end is alive, and keeps middleboxes from forgetting an \
             idle connection.",
        ),
        "pong" => says("RFC 6455 §5.5.3", "Pong answers a ping with the same payload."),
        "continuation" => says(
            "RFC 6455 §5.4",
            "A message may be split into several frames: the first names its type, the others \
             continue it, and the last one has FIN.",
        ),
        _ if frame.mask.is_some() => says(
            "RFC 6455 §5.2, §5.3",
            "A client XORs the payload with four random bytes, the mask key, so that no web page \
             can make it send bytes that a proxy takes for a request. The length is in 1, 3 or 9 \
             bytes.",
        ),
        _ => says(
            "RFC 6455 §5.2",
            "A message with its type and length; a server does not mask. FIN marks the last frame \
             of a message.",
        ),
    }
}

fn explain_http2(frame: &Http2Frame) -> Explanation {
    match frame.kind.as_str() {
        "DATA" => says(
            "RFC 9113 §6.1",
            "Content of one stream. Frames of several streams take turns on the one connection, \
             each at most as long as the receiver allows.",
        ),
        "HEADERS" => says(
            "RFC 9113 §6.2, RFC 7541",
            "A request or a response opens or answers a stream. Its fields are compressed with \
             tables that both ends keep (HPACK). END_STREAM means that no content follows.",
        ),
        "PRIORITY" => says("RFC 9113 §6.3", "A hint about the order of streams; deprecated."),
        "RST_STREAM" => says(
            "RFC 9113 §6.4",
            "This stream ends with an error; the connection and its other streams continue.",
        ),
        "SETTINGS" => says(
            "RFC 9113 §6.5",
            "Each end announces its limits: streams at a time, size of frames, window of a new \
             stream. The other end confirms with ACK.",
        ),
        "PUSH_PROMISE" => {
            says("RFC 9113 §6.6", "The server announces a response without a request.")
        }
        "PING" => says("RFC 9113 §6.7", "PING measures the round trip, or keeps it alive."),
        "GOAWAY" => says(
            "RFC 9113 §6.8",
            "No new streams: the connection closes when those up to the named one have ended.",
        ),
        "WINDOW_UPDATE" => says(
            "RFC 9113 §5.2, §6.9",
            "Flow control above TCP: the receiver allows that many more bytes, on one stream or, \
             with stream 0, on the connection.",
        ),
        "CONTINUATION" => says("RFC 9113 §6.10", "The rest of a block of fields."),
        _ => says("RFC 9113 §5.5", "A frame of an unknown type, which a receiver ignores."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The compiler finds a variant without an explanation; kinds within a variant are texts.
    #[test]
    fn kinds_of_one_event_have_explanations_of_their_own() {
        let text = |what: &What| explain(what).text;
        let segment = |flags: &[&str], marks: &[Mark], payload| {
            let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
            let marks = marks.to_vec();
            text(&What::Segment(Segment { flags, marks, payload, ..Segment::default() }))
        };
        let marks = [
            Mark::Retransmission,
            Mark::Spurious,
            Mark::OutOfOrder,
            Mark::DuplicateAck,
            Mark::DuplicateSack,
            Mark::ZeroWindow,
            Mark::Probe,
            Mark::WindowUpdate,
        ];
        let mut all: Vec<_> = marks.map(|mark| segment(&["ACK"], &[mark], 0)).into();
        all.extend([
            segment(&["SYN"], &[], 0),
            segment(&["SYN", "ACK"], &[], 0),
            segment(&["ACK"], &[], 0),
            segment(&["PSH", "ACK"], &[], 1),
            segment(&["FIN", "ACK"], &[], 0),
            segment(&["RST"], &[], 0),
        ]);
        let kinds = "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY \
                     WINDOW_UPDATE CONTINUATION other";
        all.extend(kinds.split(' ').map(|kind| explain_http2(&frame(kind)).text));
        let heads =
            [PREFACE, "GET / HTTP/1.1", "HTTP/1.1 101 S", "HTTP/1.1 100 C", "HTTP/1.1 200 OK"];
        all.extend(heads.map(|start| explain_head(start).text));
        let lines = ["PUT a", "GET a", "GO offset=0", "FILE name=a", "END blake3:0", "RECEIPT a"];
        let more = ["ERROR a", "LIST a", "ENTRY name=a", "END entries=1", "HELP"];
        let line = |text| explain_line(&format!("ANYPORT/1 {text}")).text;
        all.extend(lines.into_iter().chain(more).map(line));
        let records = ["handshake", "alert", "change-cipher-spec", "application-data"];
        all.extend(records.map(|kind| explain_records(kind).text));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|text| text.ends_with('.')));
    }

    fn frame(kind: &str) -> Http2Frame {
        let json = format!(r#"{{"kind":"{kind}","flags":[],"stream":1,"length":1}}"#);
        serde_json::from_str(&json).unwrap()
    }
}
