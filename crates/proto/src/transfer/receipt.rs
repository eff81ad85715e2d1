//! The receiver's acknowledgement of a file: bytes, digest, times and stored path.
//!
//! A receipt is a number that people compare, so it has the conditions of its measurement: protocol
//! and implementation, what ended the file, whether the sender confirmed that it was complete.
//! [`Receipt::human_line`] is its line in a log.

use serde::{Deserialize, Deserializer, Serialize};

use super::codec::kind::{Boolean, Bytes, Count, Raw, Seconds, Text, round_to_micros, words};
use super::codec::{Group, Nullable, Optional, OrZero, Required, record};
use super::digest::Digest;
use super::file_path::FilePath;
use super::tcp_seen::TcpSeen;
use super::units::{format_bytes, format_rate, format_resumed};
use super::words::{quoted, word_enum};
use crate::one_line::one_line;
use crate::peer::Peer;
use crate::visible::make_visible;

/// The receiver's acknowledgement of a file that it has received completely.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Receipt {
    /// The sender's protocol.
    pub protocol: Protocol,
    /// The implementation that received it.
    pub engine: Engine,
    /// The sender's address.
    pub peer: Peer,
    /// Size of the content, in bytes.
    pub bytes: u64,
    /// Bytes of an earlier attempt, which were not sent again.
    #[serde(default)]
    pub resumed: u64,
    /// From the first to the last byte of content.
    #[serde(deserialize_with = "micros")]
    pub seconds: f64,
    /// From the first byte until the content was durable; `None` where nothing is stored.
    #[serde(default, deserialize_with = "optional_micros")]
    pub durable_seconds: Option<f64>,
    /// The part of [`Receipt::seconds`] that was spent on hashing; `None` where it was too short.
    #[serde(default, deserialize_with = "optional_micros")]
    pub hashing_seconds: Option<f64>,
    /// The part that was spent on storing.
    #[serde(default, deserialize_with = "optional_micros")]
    pub storing_seconds: Option<f64>,
    /// Digest of the whole content; `None` if none was computed.
    pub digest: Option<Digest>,
    /// The event that ended the file.
    pub end: EndKind,
    /// Whether the sender confirmed that this is the whole file; otherwise it may have been killed.
    pub confirmed: bool,
    /// The requested name, if the file was stored under another one.
    pub name: Option<String>,
    /// The path of the stored file; `None` where no file is stored.
    pub path: Option<String>,
    /// Its bytes, percent-encoded, where `path` is not exactly that.
    pub path_raw: Option<String>,
    /// The congestion control of the receiving socket; the sender's own limits the sender.
    pub congestion: Option<String>,
    /// TCP statistics of the receiver when the file ended.
    #[serde(default)]
    pub tcp: TcpSeen,
}

// JSON is read by serde, whose errors clients show.
record!(Receipt {
    protocol: Required<Protocol>,
    engine: Required<Engine>,
    peer: Required<Peer>,
    bytes: Required<Bytes>,
    resumed: OrZero<Bytes>,
    seconds: Required<Seconds>,
    durable_seconds: Nullable<Seconds>,
    hashing_seconds: Optional<Seconds>,
    storing_seconds: Optional<Seconds>,
    [rate: Nullable<Count> = whole_rate]
    digest: Nullable<Digest>,
    end: Required<EndKind>,
    [outcome: Required<Outcome> = Receipt::outcome]
    confirmed: Required<Boolean>,
    name: Optional<Text>,
    path: Nullable<Text>,
    path_raw: Optional<Raw>,
    congestion: Optional<Text>,
    tcp: Group<TcpSeen>,
});

impl Receipt {
    /// Bytes per second of [`Receipt::seconds`], of those that travelled; none when no time passed
    /// that could be measured.
    pub fn rate(&self) -> Option<f64> {
        let rate = self.bytes.saturating_sub(self.resumed) as f64 / self.seconds;
        (self.seconds.is_finite() && self.seconds > 0.0 && rate.is_finite()).then_some(rate)
    }

    /// Returns the path of the stored file; none where the sink keeps no file, or the receiver
    /// names something else.
    pub fn stored(&self) -> Option<FilePath> {
        FilePath::of_peer(self.path.as_deref()?, self.path_raw.as_deref()).ok()
    }

    /// Returns the receipt as one JSON object that begins with `"event":"receipt"`, for a stream of
    /// events.
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

    /// Returns one line of at most `columns` columns, for people.
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

    /// Returns one line of a log, for people.
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

/// The protocol of a sender.
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

word_enum!(Protocol, "protocol":
    Raw = "raw", Ws = "ws", Frames = "frames", Http = "http", Http2 = "http2");
words!(Protocol = "raw, ws, frames or http");

/// The implementation of WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The project's own.
    Own,
    /// A library, for comparison.
    Library,
}

word_enum!(Engine, "engine": Own = "own", Library = "library");
words!(Engine = "own or library");

/// The event that ended a file.
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

word_enum!(EndKind, "end":
    Size = "size", Close = "close", Fin = "fin", AlreadyHere = "already-here");
words!(EndKind = "size, close, fin or already-here");

/// The outcome of a transfer, for people and in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its content was received and stored.
    Stored,
    /// The receiver had a file of the same size and exact time; no content was compared.
    SameTime,
    /// The receiver had a file of the same digest.
    SameDigest,
}

word_enum!(Outcome, "outcome":
    Stored = "stored", SameTime = "same-time", SameDigest = "same-digest");
words!(Outcome = "a word");

impl Outcome {
    /// Returns the outcome in words.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::SameTime => "already there (same size and time)",
            Self::SameDigest => "already there (same digest)",
        }
    }
}

impl Receipt {
    /// Returns the outcome.
    pub fn outcome(&self) -> Outcome {
        match (self.end, self.digest) {
            (EndKind::AlreadyHere, None) => Outcome::SameTime,
            (EndKind::AlreadyHere, Some(_)) => Outcome::SameDigest,
            _ => Outcome::Stored,
        }
    }
}

/// Returns the rate in whole bytes per second.
fn whole_rate(receipt: &Receipt) -> Option<u64> {
    receipt.rate().map(|rate| rate.round() as u64)
}

fn micros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    // serde_json may miss the nearest number by one unit in the last place.
    f64::deserialize(deserializer).map(round_to_micros)
}

fn optional_micros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(round_to_micros))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::SocketAddr;

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
                    let peer = Peer::from(SocketAddr::new(peer.ip(), peer.port()));
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
    fn absent_values_are_null_except_name_and_socket_statistics() {
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
    fn keys_of_a_later_version_are_ignored() {
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
    fn the_human_line_has_all_properties() {
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
    fn the_error_of_an_object_names_the_word() {
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
