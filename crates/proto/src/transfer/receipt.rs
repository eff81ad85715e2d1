//! The receiver's answer after a file has arrived: what came, how fast, where it rests.
//!
//! A receipt is a number that people compare, so it says how it was come by: which protocol and
//! engine, what ended the file, whether the sender confirmed that it was whole. The same facts are
//! a JSON object, a line of raw TCP ([`crate::preface::Reply`]), and a line of the log
//! ([`Receipt::human_line`]).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::file_path::FilePath;
use super::tcp_seen::TcpSeen;
use super::units::{format_bytes, format_rate, format_resumed};
use super::words::{quoted, spelled};
use crate::one_line::one_line;
use crate::visible::make_visible;

/// What the receiver says of one file that it took whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Object", from = "Object")]
pub struct Receipt {
    /// What the sender spoke.
    pub protocol: Protocol,
    /// Which implementation received it.
    pub engine: Engine,
    /// Where it came from.
    pub peer: SocketAddr,
    /// Bytes of content.
    pub bytes: u64,
    /// How many of them were here from an earlier attempt, and did not travel again.
    pub resumed: u64,
    /// From the first to the last byte of content.
    pub seconds: f64,
    /// From the first byte until it was safe on the storage; none when the sink keeps nothing.
    pub durable_seconds: Option<f64>,
    /// How much of [`Receipt::seconds`] went into hashing; none where it was not looked at.
    pub hashing_seconds: Option<f64>,
    /// How much of it went into handing the bytes to the storage.
    pub storing_seconds: Option<f64>,
    /// Of the whole content; none when nothing was hashed.
    pub digest: Option<Digest>,
    /// What ended the file.
    pub end: EndKind,
    /// Whether the sender said that this is the whole file; a killed one looks like a finished one
    /// otherwise.
    pub confirmed: bool,
    /// The name that the sender asked for, only when it is not the one that was stored.
    pub name: Option<String>,
    /// Where it was stored; none when the sink keeps no file.
    pub path: Option<String>,
    /// Its bytes, percent-encoded, where `path` is not exactly that.
    pub path_raw: Option<String>,
    /// The congestion control that the receiving socket uses; the sender's own decides how fast it
    /// may send.
    pub congestion: Option<String>,
    /// What the receiver's TCP knew of the connection when the file ended.
    pub tcp: TcpSeen,
}

impl Receipt {
    /// Bytes per second of [`Receipt::seconds`], of those that travelled; none when no time passed
    /// that could be measured.
    pub fn rate(&self) -> Option<f64> {
        let rate = self.bytes.saturating_sub(self.resumed) as f64 / self.seconds;
        (self.seconds.is_finite() && self.seconds > 0.0 && rate.is_finite()).then_some(rate)
    }

    /// The path of the stored file; none where the sink keeps no file, or the receiver names
    /// something else.
    pub fn stored(&self) -> Option<FilePath> {
        FilePath::of_peer(self.path.as_deref()?, self.path_raw.as_deref()).ok()
    }

    /// The receipt as one JSON object that begins with `"event":"receipt"`, for a stream of events.
    pub fn event_json(&self) -> String {
        #[derive(Serialize)]
        struct Event<'a> {
            event: &'static str,
            #[serde(flatten)]
            receipt: &'a Receipt,
        }
        serde_json::to_string(&Event { event: "receipt", receipt: self })
            .expect("keys are strings and seconds are finite once rounded")
    }

    /// One line of at most `columns` columns, for people. [`Self::human_line`] has all of it.
    pub fn summary(&self, columns: usize) -> String {
        let outcome = if self.path.is_some() { self.outcome().in_words() } else { "not stored" };
        let received = self.bytes.saturating_sub(self.resumed);
        let is_resumed = self.resumed > 0 && self.end != EndKind::AlreadyHere;
        let mut what = match is_resumed {
            true => format!(" {outcome}: {}", format_resumed(self.bytes, received)),
            false => format!(" {outcome}: {}", format_bytes(self.bytes)),
        };
        if self.end != EndKind::AlreadyHere {
            what.push_str(&format!(" in {:.3} s", round_to_micros(self.seconds)));
        }
        if let Some(digest) = self.digest {
            what.push_str(&format!(", {}", digest.short()));
        }
        if !self.confirmed {
            what.push_str(", unconfirmed");
        }
        what.push_str(&format!(", {}, {}", self.protocol, self.peer));
        let details: Vec<String> = self.rate().map(format_rate).into_iter().collect();
        let stored = self.stored().map(|path| path.to_string()).or_else(|| self.path.clone());
        let name = stored.or_else(|| self.name.clone()).unwrap_or_else(|| "a file".to_owned());
        one_line(&make_visible(&name), &what, &details, columns)
    }

    /// One line of a log, for people.
    pub fn human_line(&self) -> String {
        let Self { protocol, engine, peer, bytes, end, .. } = self;
        let unit = if *bytes == 1 { "byte" } else { "bytes" };
        // Milliseconds say nothing of a small file on loopback.
        let seconds = match round_to_micros(self.seconds) {
            short if short < 0.1 => format!("{short:.6}"),
            long => format!("{long:.3}"),
        };
        let mut line = format!("{protocol}/{engine} {peer} {bytes} {unit} in {seconds} s");
        if self.resumed > 0 && self.end != EndKind::AlreadyHere {
            let received = self.bytes.saturating_sub(self.resumed);
            line.push_str(&format!(" ({received} now, resumed at {})", self.resumed));
        }
        if let Some(rate) = self.rate() {
            line.push_str(&format!(", {}", format_rate(rate)));
        }
        match &self.digest {
            Some(digest) => line.push_str(&format!(", {digest}")),
            None => line.push_str(", no digest"),
        }
        line.push_str(&format!(", end {end}"));
        if !self.confirmed {
            line.push_str(" (unconfirmed: the sender announced no size)");
        }
        match &self.path {
            Some(path) => {
                let stored = self.stored().map_or_else(|| path.clone(), |path| path.to_string());
                line.push_str(&format!(", {} as {stored}", self.outcome().in_words()));
            }
            None => line.push_str(", not stored"),
        }
        if let Some(name) = &self.name {
            line.push_str(&format!(" (asked for {})", quoted(name)));
        }
        if let Some(congestion) = &self.congestion {
            line.push_str(&format!(", {congestion}"));
        }
        line
    }
}

/// What a sender speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Nothing but bytes, or the preface and bytes.
    Raw,
    /// WebSocket with its opening handshake.
    Ws,
    /// WebSocket frames without an opening handshake.
    Frames,
    /// A request of HTTP/1.
    Http,
    /// One of HTTP/2.
    Http2,
}

spelled!(Protocol, "protocol":
    Raw = "raw", Ws = "ws", Frames = "frames", Http = "http", Http2 = "http2");

/// Which implementation of a protocol received a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The project's own.
    Own,
    /// A library, for comparison.
    Library,
}

spelled!(Engine, "engine": Own = "own", Library = "library");

/// What ended a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndKind {
    /// The announced size was reached.
    Size,
    /// A close of the protocol.
    Close,
    /// The end of the stream.
    Fin,
    /// Nothing had to come: the receiver has the file already.
    AlreadyHere,
}

spelled!(EndKind, "end":
    Size = "size", Close = "close", Fin = "fin", AlreadyHere = "already-here");

/// What became of a file, for people and in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its content was received and stored.
    Stored,
    /// The receiver had a file of the same size and exact time; no content was compared.
    SameTime,
    /// The receiver had a file of the same digest.
    SameDigest,
}

spelled!(Outcome, "outcome":
    Stored = "stored", SameTime = "same-time", SameDigest = "same-digest");

impl Outcome {
    /// The outcome in words.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::SameTime => "already there (same size and time)",
            Self::SameDigest => "already there (same digest)",
        }
    }
}

impl Receipt {
    /// What became of the file.
    pub fn outcome(&self) -> Outcome {
        match (self.end, self.digest) {
            (EndKind::AlreadyHere, None) => Outcome::SameTime,
            (EndKind::AlreadyHere, Some(_)) => Outcome::SameDigest,
            _ => Outcome::Stored,
        }
    }
}

/// Seconds as they are written: whole microseconds, and 0 for what was not measured (JSON has no
/// infinity).
pub(crate) fn round_to_micros(seconds: f64) -> f64 {
    if seconds.is_finite() && seconds > 0.0 { (seconds * MICROS).round() / MICROS } else { 0.0 }
}

/// The rate as it is written: whole bytes per second.
pub(crate) fn whole_rate(receipt: &Receipt) -> Option<u64> {
    receipt.rate().map(|rate| rate.round() as u64)
}

const MICROS: f64 = 1e6;

/// The receipt as a JSON object: the keys in this order, the rate written and never read.
#[derive(Serialize, Deserialize)]
struct Object {
    protocol: Protocol,
    engine: Engine,
    peer: SocketAddr,
    bytes: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    resumed: u64,
    seconds: f64,
    durable_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hashing_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storing_seconds: Option<f64>,
    #[serde(skip_deserializing)]
    rate: Option<u64>,
    digest: Option<Digest>,
    end: EndKind,
    #[serde(skip_deserializing)]
    outcome: Option<Outcome>,
    confirmed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_raw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    congestion: Option<String>,
    #[serde(default, skip_serializing_if = "TcpSeen::is_empty")]
    tcp: TcpSeen,
}

// serde asks by reference.
#[expect(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<Receipt> for Object {
    fn from(receipt: Receipt) -> Self {
        let (rate, outcome) = (whole_rate(&receipt), Some(receipt.outcome()));
        let Receipt { protocol, engine, peer, bytes, resumed, digest, end, .. } = receipt;
        let Receipt { confirmed, name, path, path_raw, congestion, tcp, .. } = receipt;
        Self {
            protocol,
            engine,
            peer,
            bytes,
            resumed,
            seconds: round_to_micros(receipt.seconds),
            durable_seconds: receipt.durable_seconds.map(round_to_micros),
            hashing_seconds: receipt.hashing_seconds.map(round_to_micros),
            storing_seconds: receipt.storing_seconds.map(round_to_micros),
            rate,
            digest,
            end,
            outcome,
            confirmed,
            name,
            path,
            path_raw,
            congestion,
            tcp,
        }
    }
}

impl From<Object> for Receipt {
    fn from(object: Object) -> Self {
        let Object { protocol, engine, peer, bytes, resumed, digest, end, .. } = object;
        let Object { confirmed, name, path, path_raw, congestion, tcp, .. } = object;
        Self {
            protocol,
            engine,
            peer,
            bytes,
            resumed,
            // Also on reading: serde_json may miss the nearest number by one unit in the last
            // place.
            seconds: round_to_micros(object.seconds),
            durable_seconds: object.durable_seconds.map(round_to_micros),
            hashing_seconds: object.hashing_seconds.map(round_to_micros),
            storing_seconds: object.storing_seconds.map(round_to_micros),
            digest,
            end,
            confirmed,
            name,
            path,
            path_raw,
            congestion,
            tcp,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::one_line::COLUMNS;

    fn whole() -> Receipt {
        Receipt {
            protocol: Protocol::Ws,
            engine: Engine::Own,
            peer: "127.0.0.1:40312".parse().unwrap(),
            bytes: 1_017_558_069,
            resumed: 0,
            seconds: 0.409,
            durable_seconds: Some(0.512),
            hashing_seconds: None,
            storing_seconds: None,
            digest: Some(Digest::blake3([0xab; 32])),
            end: EndKind::Close,
            confirmed: true,
            name: None,
            path: Some("photo.jpg".to_owned()),
            path_raw: None,
            congestion: Some("reno".to_owned()),
            tcp: TcpSeen { rtt_us: Some(35), retransmits: Some(0), ..TcpSeen::default() },
        }
    }

    fn discarded() -> Receipt {
        Receipt {
            protocol: Protocol::Raw,
            peer: "[::1]:5".parse().unwrap(),
            bytes: 1,
            seconds: 0.0,
            durable_seconds: None,
            digest: None,
            end: EndKind::Fin,
            confirmed: false,
            path: None,
            congestion: None,
            tcp: TcpSeen::default(),
            ..whole()
        }
    }

    /// Receipts with times as they are written.
    pub(crate) fn any_receipt() -> impl Strategy<Value = Receipt> {
        let seconds = || any::<u32>().prop_map(|micros| f64::from(micros) / 1e6);
        let kinds = (
            prop::sample::select(vec![
                Protocol::Raw,
                Protocol::Ws,
                Protocol::Frames,
                Protocol::Http,
                Protocol::Http2,
            ]),
            prop::sample::select(vec![Engine::Own, Engine::Library]),
            prop::sample::select(vec![
                EndKind::Size,
                EndKind::Close,
                EndKind::Fin,
                EndKind::AlreadyHere,
            ]),
        );
        let digest = any::<[u8; 32]>().prop_map(Digest::sha256);
        let perhaps = || prop::option::of(seconds());
        let times = (seconds(), perhaps(), perhaps(), perhaps());
        let text = || prop::option::of(any::<String>());
        let raw = || prop::option::of("[a-z]{0,3}(%[0-9A-F]{2}){1,3}");
        let texts = (text(), text(), raw(), text());
        let number = || prop::option::of(any::<u64>());
        let tcp = (number(), number(), number(), number(), number()).prop_map(
            |(rtt_us, rcv_rtt_us, retransmits, cwnd, delivery_rate)| TcpSeen {
                rtt_us,
                rcv_rtt_us,
                retransmits,
                cwnd,
                delivery_rate,
            },
        );
        (
            kinds,
            any::<SocketAddr>(),
            any::<(u64, u64)>(),
            times,
            prop::option::of(digest),
            any::<bool>(),
            (texts, tcp),
        )
            .prop_map(
                |(kinds, peer, (bytes, resumed), times, digest, confirmed, (texts, tcp))| {
                    let (protocol, engine, end) = kinds;
                    let (seconds, durable_seconds, hashing_seconds, storing_seconds) = times;
                    // Flow labels and scopes are not part of how an address is written.
                    let peer = SocketAddr::new(peer.ip(), peer.port());
                    let (name, path, path_raw, congestion) = texts;
                    Receipt {
                        protocol,
                        engine,
                        peer,
                        bytes,
                        resumed,
                        seconds,
                        durable_seconds,
                        hashing_seconds,
                        storing_seconds,
                        digest,
                        end,
                        confirmed,
                        name,
                        path,
                        path_raw,
                        congestion,
                        tcp,
                    }
                },
            )
    }

    #[test]
    fn the_object_has_exactly_its_keys_in_order() {
        let hex = "ab".repeat(32);
        assert_eq!(
            serde_json::to_string(&whole()).unwrap(),
            format!(
                r#"{{"protocol":"ws","engine":"own","peer":"127.0.0.1:40312","bytes":1017558069,"seconds":0.409,"durable_seconds":0.512,"rate":2487917039,"digest":"blake3:{hex}","end":"close","outcome":"stored","confirmed":true,"path":"photo.jpg","congestion":"reno","tcp":{{"rtt_us":35,"retransmits":0}}}}"#
            )
        );
    }

    #[test]
    fn what_is_absent_is_null_but_name_and_facts_of_the_socket_are_left_out() {
        assert_eq!(
            serde_json::to_string(&discarded()).unwrap(),
            r#"{"protocol":"raw","engine":"own","peer":"[::1]:5","bytes":1,"seconds":0.0,"durable_seconds":null,"rate":null,"digest":null,"end":"fin","outcome":"stored","confirmed":false,"path":null}"#
        );
    }

    #[test]
    fn the_event_comes_first() {
        let event = whole().event_json();
        let object = serde_json::to_string(&whole()).unwrap();
        assert_eq!(event, format!(r#"{{"event":"receipt",{}"#, object.strip_prefix('{').unwrap()));
        assert_eq!(serde_json::from_str::<Receipt>(&event).unwrap(), whole());
    }

    #[test]
    fn facts_of_a_later_version_are_passed_over() {
        let json = serde_json::to_string(&whole()).unwrap();
        let later = json.replace(r#""tcp":{"#, r#""colour":"red","tcp":{"ecn":1,"#);
        assert_ne!(json, later);
        assert_eq!(serde_json::from_str::<Receipt>(&later).unwrap(), whole());
    }

    #[test]
    fn seconds_are_written_in_whole_microseconds() {
        let receipt = Receipt { seconds: 0.123_456_789, durable_seconds: Some(1e-9), ..whole() };
        let json = serde_json::to_value(&receipt).unwrap();
        assert_eq!(json["seconds"], 0.123_457);
        assert_eq!(json["durable_seconds"], 0.0);
    }

    #[test]
    fn a_rate_needs_time_that_was_measured() {
        assert_eq!(Receipt { bytes: 10, seconds: 4.0, ..whole() }.rate(), Some(2.5));
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE / 4.0] {
            let receipt = Receipt { bytes: u64::MAX, seconds, ..whole() };
            assert_eq!(receipt.rate(), None, "{seconds}");
            assert!(receipt.event_json().contains(r#""rate":null"#));
        }
    }

    #[test]
    fn the_human_line_says_it_all() {
        let hex = "ab".repeat(32);
        assert_eq!(
            whole().human_line(),
            format!(
                "ws/own 127.0.0.1:40312 1017558069 bytes in 0.409 s, 2.49 GB/s, blake3:{hex}, end \
                close, stored as photo.jpg, reno"
            )
        );
    }

    #[test]
    fn a_summary_shortens_the_name_and_never_drops_the_peer() {
        let long = Some(format!("{}photo.jpg", "holiday/".repeat(9)));
        let whole_file = Receipt { path: long, ..whole() };
        let resumed = Receipt { resumed: 900_000_000, ..whole_file.clone() };
        let unconfirmed = Receipt { confirmed: false, ..whole_file };
        for (receipt, now, doubt) in
            [(resumed, " (118 MB now)", ""), (unconfirmed, "", ", unconfirmed")]
        {
            for peer in ["203.0.113.200:40312", "[2001:db8::7]:40312"] {
                let line =
                    Receipt { peer: peer.parse().unwrap(), ..receipt.clone() }.summary(COLUMNS);
                let what = format!("stored: 1.02 GB{now} in 0.409 s, blake3:abababab{doubt}");
                assert!(line.ends_with(&format!("/photo.jpg {what}, ws, {peer}")), "{line}");
                assert!(line.starts_with('…') && line.chars().count() <= 100, "{line}");
            }
        }
        let plain = whole().summary(COLUMNS);
        let what = "photo.jpg stored: 1.02 GB in 0.409 s, blake3:abababab, ws, 127.0.0.1:40312";
        assert_eq!(plain, format!("{what}, 2.49 GB/s"));
    }

    #[test]
    fn the_human_line_hides_neither_doubt_nor_loss() {
        assert_eq!(
            discarded().human_line(),
            "raw/own [::1]:5 1 byte in 0.000000 s, no digest, end fin (unconfirmed: the sender \
            announced no size), not stored"
        );
        let renamed = Receipt { name: Some("a\u{1b}.jpg".to_owned()), ..whole() };
        assert!(
            renamed
                .human_line()
                .ends_with(r#"stored as photo.jpg (asked for "a\u{1b}.jpg"), reno"#)
        );
    }

    #[test]
    fn a_bad_word_in_the_object_is_told() {
        let json = serde_json::to_string(&whole()).unwrap().replace("\"ws\"", "\"wss\"");
        let error = serde_json::from_str::<Receipt>(&json).unwrap_err().to_string();
        assert!(
            error.starts_with("unknown protocol \"wss\"; expected one of raw, ws, frames, http"),
            "{error}"
        );
    }

    #[test]
    fn engines_and_ends_read_back() {
        assert_eq!("library".parse(), Ok(Engine::Library));
        assert_eq!("fin".parse(), Ok(EndKind::Fin));
        let error = "reset".parse::<EndKind>().unwrap_err().to_string();
        assert_eq!(error, "unknown end \"reset\"; expected one of size, close, fin, already-here");
    }

    proptest! {
        #[test]
        fn a_receipt_survives_being_written_and_read(receipt in any_receipt()) {
            let json = serde_json::to_string(&receipt).unwrap();
            prop_assert_eq!(serde_json::from_str::<Receipt>(&json).unwrap(), receipt);
        }
    }
}
