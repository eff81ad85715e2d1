//! What an event holds beyond its one line: fields, numbers, the bits of a header.

use super::labels::{is_cut, peer, relative_to, whole};
use super::model::Detail;
use super::words::grouped;
use crate::event::{Certificate, WebSocketFrame, What};
use crate::segment::{Checksum, Segment, Syn, TcpOption};

/// Fields of one head that are shown.
const FIELDS: usize = 24;

/// Cipher suites that are shown.
const SUITES: usize = 3;

/// Returns the details of an event; `is_first` returns whether a shape is seen for the first time.
pub(super) fn of(what: &What, is_first: &mut dyn FnMut(&str) -> bool) -> Vec<Detail> {
    let mut pairs = Pairs::default();
    match what {
        What::Connected { local, peer, congestion } => {
            pairs.add("client", local);
            pairs.add("server", peer);
            pairs.maybe("congestion control", congestion.as_deref());
        }
        What::Segment(segment) => {
            let has = |flag| segment.flags.iter().any(|other| other == flag);
            if has("SYN") || is_first("segment") {
                numbers(&mut pairs, segment);
            }
        }
        What::Syn(syn) => of_syn(&mut pairs, syn),
        What::TlsMessage(message) => {
            pairs.maybe("version", message.version.as_deref());
            pairs.maybe("SNI", message.server_name.as_deref());
            pairs.list("ALPN", &message.alpn);
            let suites = message.suites.get(..SUITES).unwrap_or(&message.suites);
            pairs.list("suites", suites);
            if let Some(more @ 1..) = message.suites.len().checked_sub(SUITES) {
                pairs.add("", &format!("and {more} more"));
            }
        }
        What::TlsDone { group, alpn, certificate, .. } => {
            pairs.maybe("key exchange", group.as_deref());
            pairs.maybe("ALPN", alpn.as_deref());
            if let Some(certificate) = certificate {
                of_certificate(&mut pairs, certificate);
            }
        }
        What::Head { start, fields } => {
            if is_cut(start) {
                pairs.add("first line", start);
            }
            for (name, value) in fields.iter().take(FIELDS) {
                pairs.add(name, value);
            }
            if let Some(more @ 1..) = fields.len().checked_sub(FIELDS) {
                pairs.add("…", &format!("{more} more"));
            }
        }
        What::WebSocketAccept { key, concatenation, sha1, expected, received, .. } => {
            pairs.add("1 key", key);
            pairs.add("2 + GUID", concatenation);
            pairs.add("3 SHA-1", sha1);
            pairs.add("4 Base64", expected);
            pairs.add("5 server", received);
        }
        What::Frame(frame) if is_first(&frame.opcode) => {
            return vec![Detail::Bits(header(frame))];
        }
        What::Http2(frame) if frame.values.len() > 1 && is_first(&frame.kind) => {
            // The label shows the others.
            let is_shown = |name: &str| [":method", ":path", ":status", ":scheme"].contains(&name);
            let is_hidden = |(name, value): &&(String, String)| !is_shown(name) || is_cut(value);
            let fields: Vec<_> = frame.values.iter().filter(is_hidden).collect();
            for (name, value) in fields.iter().take(FIELDS) {
                pairs.add(name, value);
            }
            if let Some(more @ 1..) = fields.len().checked_sub(FIELDS) {
                pairs.add("…", &format!("{more} more"));
            }
        }
        _ => {}
    }
    pairs.0
}

#[derive(Default)]
struct Pairs(Vec<Detail>);

impl Pairs {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push(Detail::Pair(peer(name), whole(value)));
    }

    fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.add(name, &values.join(", "));
        }
    }
}

fn of_certificate(pairs: &mut Pairs, certificate: &Certificate) {
    pairs.list("names", &certificate.names);
    pairs.add("fingerprint", &certificate.fingerprint);
    pairs.add("trust", &certificate.verification);
}

/// The absolute numbers, and the fields that are not in the label.
fn numbers(pairs: &mut Pairs, segment: &Segment) {
    let ack = segment.ack.map(|ack| format!(", ack {ack}")).unwrap_or_default();
    pairs.add("absolute", &format!("seq {}{ack}", segment.seq));
    window(pairs, segment);
    let options: Vec<_> = segment.options.iter().map(option).collect();
    pairs.list("options", &options);
    if let (Some(ack), Some(relative)) = (segment.ack, segment.relative_ack) {
        let place = |number| grouped(relative_to(ack, relative, number));
        let block = |(from, to): &(u32, u32)| format!("{} to {}", place(*from), place(*to));
        pairs.list("SACK, relative", &segment.sacked().iter().map(block).collect::<Vec<_>>());
    }
    let checksum = checksum(segment.checksum);
    pairs.add("checksum", &format!("{checksum}, TTL {}", segment.ttl));
}

fn window(pairs: &mut Pairs, segment: &Segment) {
    let field = grouped(u64::from(segment.window));
    match segment.window_bytes {
        Some(bytes) if bytes != u64::from(segment.window) => {
            pairs.add("window", &format!("{field} in the field, {} scaled", grouped(bytes)));
        }
        None if !segment.flags.iter().any(|flag| flag == "SYN") => {
            pairs.add("window", &format!("{field} in the field, its scale was not captured"));
        }
        _ => pairs.add("window", &format!("{field} bytes")),
    }
}

fn of_syn(pairs: &mut Pairs, syn: &Syn) {
    let segment = &syn.segment;
    pairs.add("source", &endpoint(&syn.source));
    pairs.add("destination", &endpoint(&syn.destination));
    let limit = if syn.ip_version == 6 { "hop limit" } else { "TTL" };
    let mut ip = format!("version {}, {limit} {}", syn.ip_version, syn.ttl);
    for flag in &syn.ip_flags {
        ip.push_str(", ");
        ip.push_str(flag);
    }
    pairs.add("IP", &ip);
    pairs.add("sequence", &segment.seq.to_string());
    pairs.add("flags", &segment.flags.join(" "));
    window(pairs, segment);
    pairs.add("checksum", checksum(segment.checksum));
    for each in &segment.options {
        pairs.add("option", &option(each));
    }
    pairs.add("bytes", &spaced(&syn.bytes));
}

/// Address and port; a server that reports a SYN to a client clears the addresses in it.
fn endpoint(address: &str) -> String {
    match address.strip_prefix("*:") {
        Some(port) => format!("port {port}; the server does not report the address"),
        None => address.to_owned(),
    }
}

const fn checksum(checksum: Checksum) -> &'static str {
    match checksum {
        Checksum::Verified => "right",
        Checksum::Offloaded => "left to the network card",
        Checksum::Wrong => "WRONG",
        Checksum::Unknown => "unknown",
    }
}

fn option(option: &TcpOption) -> String {
    match option {
        TcpOption::Mss(size) => format!("MSS {}", grouped(u64::from(*size))),
        TcpOption::WindowScale(shift) => {
            let factor = 1_u64.checked_shl(u32::from(*shift)).unwrap_or_default();
            format!("window scale {shift} (times {})", grouped(factor))
        }
        TcpOption::SackPermitted => "SACK permitted".to_owned(),
        TcpOption::Sack(blocks) => {
            let block = |(from, to): &(u32, u32)| format!("{from} to {to}");
            format!("SACK {}", blocks.iter().map(block).collect::<Vec<_>>().join(", "))
        }
        TcpOption::Timestamps(value, echo) => format!("timestamps {value}, echo {echo}"),
        TcpOption::Other(kind, data) => format!("kind {kind} {data}"),
    }
}

/// Hex in groups of two bytes.
fn spaced(hex: &str) -> String {
    let characters: Vec<_> = hex.chars().collect();
    characters.chunks(4).map(String::from_iter).collect::<Vec<_>>().join(" ")
}

/// The parts of a frame header: bytes in hex, bits, meaning (RFC 6455 §5.2).
fn header(frame: &WebSocketFrame) -> Vec<[String; 3]> {
    let byte = |index: usize| {
        let hex = frame.header.get(index * 2..index * 2 + 2)?;
        Some((hex.to_owned(), u8::from_str_radix(hex, 16).ok()?))
    };
    let (Some((first, one)), Some((second, two))) = (byte(0), byte(1)) else {
        return Vec::new();
    };
    let opcode = match frame.opcode.as_str() {
        "continuation" => "cont.".to_owned(),
        other => peer(other),
    };
    let mut parts = vec![
        [first, format!("{}", one >> 7), "FIN".to_owned()],
        [String::new(), format!("{:03b}", (one >> 4) & 7), "RSV".to_owned()],
        [String::new(), format!("{:04b}", one & 15), opcode],
        [second, format!("{}", two >> 7), "MASK".to_owned()],
        [String::new(), format!("{:07b}", two & 127), "length".to_owned()],
    ];
    let extended = match two & 127 {
        126 => 4..8,
        127 => 4..20,
        _ => 4..4,
    };
    let hex = frame.header.get(extended).unwrap_or_default();
    if let Ok(length) = u64::from_str_radix(hex, 16) {
        parts.push([hex.to_owned(), grouped(length), format!("in {} bytes", hex.len() / 2)]);
    }
    if let Some(mask) = &frame.mask {
        parts.push([peer(mask), "XOR".to_owned(), "mask key".to_owned()]);
    }
    parts
}
