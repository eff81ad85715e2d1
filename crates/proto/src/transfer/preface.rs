//! The lines of raw TCP, which a person can type (DESIGN section 6).
//!
//! ```text
//!   sender    ANYPORT/1 PUT photo.jpg size=1048576 LF   content   END blake3:… LF
//!   receiver  ANYPORT/1 GO offset=0 LF (to resume)            ANYPORT/1 RECEIPT … LF
//!             or, at any time, ANYPORT/1 ERROR code message LF
//! ```
//!
//! Strict where a sender's mistake would damage a file (an unknown key of a request is refused),
//! lenient where a person types (runs of blanks, CR LF, names with bare UTF-8). A reply may have
//! keys that are not known yet.

use std::str::FromStr;

use super::digest::Digest;
pub use super::line::{LineReader, LineTooLong, Pushed};
use super::offer::{self, End, Offer, Token};
use super::percent;
use super::receipt::{Receipt, round_to_micros, whole_rate};
use super::refusal::{Refusal, RefusalCode};
use super::tcp_seen::TcpSeen;
use super::words::{quoted, spelled};

/// How every line but `END` begins, and how detection knows it.
pub const PREFACE: &[u8] = b"ANYPORT/1 ";

/// What a sender asks for by a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To take a file; the offer has a name.
    Put(Offer),
    /// Something else; its arguments are not read.
    Other(Verb),
}

/// The requests beside `PUT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Send a file.
    Get,
    /// Say which files are there.
    List,
    /// Send back what comes.
    Echo,
    /// Say what time it is.
    Time,
    /// Say a welcome.
    Greet,
    /// Enter a room.
    Join,
}

spelled!(Verb, "verb":
    Get = "GET", List = "LIST", Echo = "ECHO", Time = "TIME", Greet = "GREET", Join = "JOIN");

/// Reads a request: a whole line, the preface included, without its line feed.
pub fn parse_request(line: &[u8]) -> Result<Request, PrefaceError> {
    let (verb, arguments) = split_word(after_version(line)?);
    if verb == "PUT" {
        return parse_put(arguments).map(Request::Put);
    }
    match verb.parse() {
        Ok(verb) => Ok(Request::Other(verb)),
        Err(_) => Err(PrefaceError::UnknownVerb { verb: verb.to_owned(), known: KNOWN_VERBS }),
    }
}

/// The line that offers a file, line feed included.
///
/// A file without a name is offered as `-`, and the receiver makes one up; a file that is really
/// called `-` is written `%2D`.
pub fn put_line(offer: &Offer) -> String {
    let name = match offer.name.as_deref() {
        None | Some("") => UNNAMED.to_owned(),
        Some(UNNAMED) => "%2D".to_owned(),
        Some(name) => percent::encode_name(name),
    };
    let mut line = LineWriter::new(&format!("PUT {name}"));
    line.key("size", offer.size);
    line.key("digest", offer.digest);
    line.key("mtime", offer.mtime);
    line.key("mode", offer.mode.map(|mode| format!("{mode:o}")));
    line.key("id", offer.id.as_ref());
    if offer.resume {
        line.word("resume");
    }
    line.key("token", offer.token.as_ref().map(Token::expose));
    line.finish()
}

/// Reads what a sender says after the content: `END`, or `END` and a digest.
pub fn parse_end(line: &[u8]) -> Result<End, PrefaceError> {
    let text = as_text(line)?;
    let (word, rest) = split_word(text);
    if word != "END" {
        return Err(PrefaceError::NotAnEnd { found: text.to_owned() });
    }
    let (digest, rest) = split_word(rest);
    let (stray, _) = split_word(rest);
    if !stray.is_empty() {
        return Err(PrefaceError::StrayAfterEnd { word: stray.to_owned() });
    }
    if digest.is_empty() {
        return Ok(End::default());
    }
    match digest.parse() {
        Ok(digest) => Ok(End { bytes: None, digest: Some(digest) }),
        Err(_) => Err(bad_value("END line", "digest", digest, offer::DIGEST)),
    }
}

/// The line after the content, line feed included.
pub fn end_line(digest: Option<&Digest>) -> String {
    match digest {
        Some(digest) => format!("END {digest}\n"),
        None => "END\n".to_owned(),
    }
}

/// What a receiver says by a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The sender may send, beginning at this byte of the content.
    Go {
        /// Bytes that the receiver has already.
        offset: u64,
    },
    /// The file is here, whole.
    Receipt(Receipt),
    /// The file is not taken.
    Error(Refusal),
}

impl Reply {
    /// The reply as a line, line feed included.
    pub fn to_line(&self) -> String {
        match self {
            Self::Go { offset } => format!("{VERSION} GO offset={offset}\n"),
            Self::Receipt(receipt) => write_receipt(receipt),
            Self::Error(Refusal { code, message, hint }) => {
                let message = on_one_line(message);
                let hint = hint.as_deref().map(on_one_line);
                let hint = hint.map_or_else(String::new, |hint| format!("{HINT_OPEN}{hint})"));
                format!("{VERSION} ERROR {code} {message}{hint}\n")
            }
        }
    }

    /// Reads a reply: a whole line without its line feed.
    ///
    /// The line does not mark where a message ends: one that itself ends in `(hint: …)` reads as
    /// message and hint.
    pub fn parse(line: &[u8]) -> Result<Self, PrefaceError> {
        let (kind, rest) = split_word(after_version(line)?);
        match kind {
            "GO" => {
                let fields = Fields::new("GO line", rest);
                Ok(Self::Go { offset: fields.required("offset", offer::BYTES, parse_decimal)? })
            }
            "RECEIPT" => parse_receipt(&Fields::new("RECEIPT line", rest)).map(Self::Receipt),
            "ERROR" => parse_refusal(rest).map(Self::Error),
            _ => Err(PrefaceError::UnknownReply { word: kind.to_owned() }),
        }
    }
}

/// Why a line is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefaceError {
    /// The line is no text.
    #[error("the line is not UTF-8; write other bytes of a name as percent escapes")]
    NotUtf8,
    /// The line begins with something else.
    #[error("expected a line that begins with {VERSION}, not {}", quoted(.found))]
    NotAPreface {
        /// The first word of the line.
        found: String,
    },
    /// The line is of a version that is not spoken here.
    #[error("version {} is not spoken here; expected {VERSION}", quoted(.found))]
    WrongVersion {
        /// The first word of the line.
        found: String,
    },
    /// The verb is missing or none that is known.
    #[error("unknown verb {} in the preface; known are {known}", quoted(.verb))]
    UnknownVerb {
        /// The word as it came.
        verb: String,
        /// The verbs that would have been understood.
        known: &'static str,
    },
    /// `PUT` does not say which name the file shall have.
    #[error("PUT needs a name; expected {VERSION} PUT photo.jpg size=1024")]
    MissingName,
    /// A key that is not known might matter to the sender, so it is not passed over.
    #[error("unknown key {} in the preface; known are {KNOWN_KEYS}", quoted(.key))]
    UnknownKey {
        /// The key as it came.
        key: String,
    },
    /// A word that is no key, most often the second half of a name.
    #[error(
        "stray word {} in the preface; a space in a name is written %20, known keys are {KNOWN_KEYS}",
        quoted(.word)
    )]
    StrayWord {
        /// The word as it came.
        word: String,
    },
    /// Something follows the digest.
    #[error("stray word {} in the END line; expected END, or END and one digest", quoted(.word))]
    StrayAfterEnd {
        /// The word as it came.
        word: String,
    },
    /// A key is given twice.
    #[error("key {key} is given twice in the {line}")]
    DuplicateKey {
        /// Which line.
        line: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A key that needs a value has none.
    #[error("key {key} in the {line} needs a value: {key}= and {expected}")]
    MissingValue {
        /// Which line.
        line: &'static str,
        /// The key.
        key: &'static str,
        /// What the value would have to be.
        expected: &'static str,
    },
    /// A key that must be there is not.
    #[error("key {key} is missing in the {line}; expected {expected}")]
    MissingKey {
        /// Which line.
        line: &'static str,
        /// The key.
        key: &'static str,
        /// What its value would have to be.
        expected: &'static str,
    },
    /// A key has a value that it cannot have.
    #[error("bad value {} for {key} in the {line}; expected {expected}", quoted(.value))]
    BadValue {
        /// Which line.
        line: &'static str,
        /// The key.
        key: &'static str,
        /// The value as it came.
        value: String,
        /// What it would have to be.
        expected: &'static str,
    },
    /// The token cannot be read; what came instead may be a secret all the same.
    #[error("bad value for token in the preface; expected {}", offer::TOKEN)]
    BadToken,
    /// Something other than an end follows the content.
    #[error("expected END after the content, not {}", quoted(.found))]
    NotAnEnd {
        /// The line as it came.
        found: String,
    },
    /// The receiver answers with a word that is not known.
    #[error("unknown reply {}; known are GO, RECEIPT, ERROR", quoted(.word))]
    UnknownReply {
        /// The word as it came.
        word: String,
    },
    /// The receiver refuses for a reason that this version does not know.
    #[error("refused with the unknown code {}: {}", quoted(.code), quoted(.message))]
    UnknownRefusal {
        /// The code as it came.
        code: String,
        /// What the receiver says of it.
        message: String,
    },
}

/// What stands for the name of a file that has none, as it does for standard input on a command line.
const UNNAMED: &str = "-";

fn parse_put(arguments: &str) -> Result<Offer, PrefaceError> {
    let (name, mut rest) = split_word(arguments);
    // Whoever forgets the name would else store a file called `size=5`.
    let is_key = name.split_once('=').is_some_and(|(key, _)| VALUED_KEYS.contains(&key));
    if name.is_empty() || is_key {
        return Err(PrefaceError::MissingName);
    }
    let name = match name {
        UNNAMED => None,
        name => Some(percent::decode(name).map_err(|_| bad_value(PUT, "name", name, NAME))?),
    };
    let mut offer = Offer { name, ..Offer::default() };
    loop {
        let (word, after) = split_word(rest);
        if word.is_empty() {
            return Ok(offer);
        }
        read_key(&mut offer, word)?;
        rest = after;
    }
}

fn read_key(offer: &mut Offer, word: &str) -> Result<(), PrefaceError> {
    let (key, value) = match word.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (word, None),
    };
    match key {
        "size" => set(&mut offer.size, "size", value, offer::BYTES, parse_decimal),
        "digest" => set(&mut offer.digest, "digest", value, offer::ALGORITHM, parsed),
        "mtime" => set(&mut offer.mtime, "mtime", value, offer::MTIME, parse_signed),
        "mode" => set(&mut offer.mode, "mode", value, offer::MODE, offer::parse_mode),
        "id" => {
            set(&mut offer.id, "id", value, offer::ID, |id| offer::is_id(id).then(|| id.to_owned()))
        }
        "token" => {
            set(&mut offer.token, "token", value, offer::TOKEN, parse_token).map_err(|error| {
                match error {
                    PrefaceError::BadValue { .. } => PrefaceError::BadToken,
                    other => other,
                }
            })
        }
        "resume" => match value {
            Some(value) => Err(bad_value(PUT, "resume", value, "the word alone")),
            None if offer.resume => Err(PrefaceError::DuplicateKey { line: PUT, key: "resume" }),
            None => {
                offer.resume = true;
                Ok(())
            }
        },
        _ if value.is_some() => Err(PrefaceError::UnknownKey { key: key.to_owned() }),
        _ => Err(PrefaceError::StrayWord { word: word.to_owned() }),
    }
}

/// Reads the value of one key into its place in the offer.
fn set<T>(
    place: &mut Option<T>,
    key: &'static str,
    value: Option<&str>,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<(), PrefaceError> {
    if place.is_some() {
        return Err(PrefaceError::DuplicateKey { line: PUT, key });
    }
    let Some(value) = value else {
        return Err(PrefaceError::MissingValue { line: PUT, key, expected });
    };
    *place = Some(read(value).ok_or_else(|| bad_value(PUT, key, value, expected))?);
    Ok(())
}

fn write_receipt(receipt: &Receipt) -> String {
    let mut line = LineWriter::new("RECEIPT");
    line.key("protocol", Some(receipt.protocol));
    line.key("engine", Some(receipt.engine));
    line.key("peer", Some(receipt.peer));
    line.key("bytes", Some(receipt.bytes));
    line.key("seconds", Some(round_to_micros(receipt.seconds)));
    line.key("durable_seconds", receipt.durable_seconds.map(round_to_micros));
    line.key("rate", whole_rate(receipt));
    line.key("digest", receipt.digest);
    line.key("end", Some(receipt.end));
    line.key("confirmed", Some(receipt.confirmed));
    line.key("name", receipt.name.as_ref());
    line.key("path", receipt.path.as_ref());
    line.key("congestion", receipt.congestion.as_ref());
    for (key, value) in receipt.tcp.keys() {
        line.key(key, value);
    }
    line.finish()
}

fn parse_receipt(fields: &Fields<'_>) -> Result<Receipt, PrefaceError> {
    Ok(Receipt {
        protocol: fields.required("protocol", "raw, ws, frames or http", parsed)?,
        engine: fields.required("engine", "own or library", parsed)?,
        peer: fields.required("peer", "an address and a port", parsed)?,
        bytes: fields.required("bytes", offer::BYTES, parse_decimal)?,
        seconds: fields.required("seconds", SECONDS, parse_seconds)?,
        durable_seconds: fields.optional("durable_seconds", SECONDS, parse_seconds)?,
        digest: fields.optional("digest", offer::DIGEST, parsed)?,
        end: fields.required("end", "size, close or fin", parsed)?,
        confirmed: fields.required("confirmed", "true or false", parsed)?,
        name: fields
            .optional("name", "percent-encoded UTF-8", |text| percent::decode(text).ok())?,
        path: fields
            .optional("path", "percent-encoded UTF-8", |text| percent::decode(text).ok())?,
        congestion: fields
            .optional("congestion", "percent-encoded UTF-8", |text| percent::decode(text).ok())?,
        tcp: TcpSeen {
            rtt_us: fields.optional("rtt_us", NUMBER, parse_decimal)?,
            rcv_rtt_us: fields.optional("rcv_rtt_us", NUMBER, parse_decimal)?,
            retransmits: fields.optional("retransmits", NUMBER, parse_decimal)?,
            cwnd: fields.optional("cwnd", NUMBER, parse_decimal)?,
            delivery_rate: fields.optional("delivery_rate", NUMBER, parse_decimal)?,
        },
    })
}

fn parse_refusal(rest: &str) -> Result<Refusal, PrefaceError> {
    let (word, text) = split_word(rest);
    let Ok(code) = word.parse::<RefusalCode>() else {
        let (code, message) = (word.to_owned(), text.to_owned());
        return Err(PrefaceError::UnknownRefusal { code, message });
    };
    // From the end: a message may quote a peer, a hint is the server's own words.
    let parts = text.strip_suffix(')').and_then(|text| text.rsplit_once(HINT_OPEN));
    Ok(match parts {
        Some((message, hint)) => Refusal::new(code, message).with_hint(hint),
        None => Refusal::new(code, text),
    })
}

/// The keys of a reply. Those that nobody asks for are not looked at.
struct Fields<'a> {
    line: &'static str,
    text: &'a str,
}

impl<'a> Fields<'a> {
    fn new(line: &'static str, text: &'a str) -> Self {
        Self { line, text }
    }

    fn required<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, PrefaceError> {
        self.optional(key, expected, read)?.ok_or(PrefaceError::MissingKey {
            line: self.line,
            key,
            expected,
        })
    }

    fn optional<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, PrefaceError> {
        let mut values = self
            .text
            .split(BLANKS)
            .filter_map(|word| word.split_once('='))
            .filter(|(found, _)| *found == key)
            .map(|(_, value)| value);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(PrefaceError::DuplicateKey { line: self.line, key });
        }
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(bad_value(self.line, key, value, expected)),
        }
    }
}

/// Writes the words of a line.
struct LineWriter(String);

impl LineWriter {
    fn new(first: &str) -> Self {
        Self(format!("{VERSION} {first}"))
    }

    fn word(&mut self, word: &str) {
        self.0.push(' ');
        self.0.push_str(word);
    }

    fn key(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.word(&format!("{key}={}", percent::encode_value(&value.to_string())));
        }
    }

    fn finish(mut self) -> String {
        self.0.push('\n');
        self.0
    }
}

fn after_version(line: &[u8]) -> Result<&str, PrefaceError> {
    let (first, rest) = split_word(as_text(line)?);
    if first == VERSION {
        Ok(rest)
    } else if first.starts_with("ANYPORT/") {
        Err(PrefaceError::WrongVersion { found: first.to_owned() })
    } else {
        Err(PrefaceError::NotAPreface { found: first.to_owned() })
    }
}

fn as_text(line: &[u8]) -> Result<&str, PrefaceError> {
    std::str::from_utf8(line).map_err(|_| PrefaceError::NotUtf8)
}

/// The first word, and what follows the one blank behind it; empty at the end of the line.
fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(BLANKS);
    text.split_once(BLANKS).unwrap_or((text, ""))
}

/// A message is one line, and a client prints it: no control character may pass.
fn on_one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Digits alone; `u64::from_str` would also take a plus sign.
fn parse_decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn parse_signed(text: &str) -> Option<i64> {
    (!text.starts_with('+')).then(|| text.parse().ok())?
}

fn parse_seconds(text: &str) -> Option<f64> {
    text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && seconds.is_sign_positive())
}

fn parse_token(text: &str) -> Option<Token> {
    percent::decode(text).ok().filter(|token| !token.is_empty()).map(Token::new)
}

fn bad_value(
    line: &'static str,
    key: &'static str,
    value: &str,
    expected: &'static str,
) -> PrefaceError {
    PrefaceError::BadValue { line, key, value: value.to_owned(), expected }
}

/// [`PREFACE`] without its blank.
const VERSION: &str = "ANYPORT/1";
const BLANKS: [char; 2] = [' ', '\t'];
const HINT_OPEN: &str = " (hint: ";
const KNOWN_VERBS: &str = "PUT, GET, LIST, ECHO, TIME, GREET, JOIN";
const KNOWN_KEYS: &str = "size, digest, mtime, mode, id, resume, token";
const VALUED_KEYS: [&str; 6] = ["size", "digest", "mtime", "mode", "id", "token"];

/// What a request is called in messages.
const PUT: &str = "preface";
const NAME: &str = "percent-encoded UTF-8, a percent sign itself as %25";
const SECONDS: &str = "a number of seconds";

const NUMBER: &str = "a whole number";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transfer::digest::Algorithm;
    use crate::transfer::offer::tests::any_offer;
    use crate::transfer::receipt::tests::any_receipt;
    use crate::transfer::receipt::{EndKind, Engine, Protocol};

    fn refused(line: &str) -> String {
        parse_request(line.as_bytes()).unwrap_err().to_string()
    }

    fn put(line: &str) -> Offer {
        match parse_request(line.as_bytes()) {
            Ok(Request::Put(offer)) => offer,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_preface_begins_with_its_version() {
        assert_eq!(PREFACE, format!("{VERSION} ").as_bytes());
    }

    #[test]
    fn a_put_line_has_a_name_and_any_of_its_keys() {
        let offer = put(
            "ANYPORT/1 PUT a%20b%2fc.txt size=5 digest=sha256 mtime=-3 mode=0600 id=x_1 resume token=a%25",
        );
        assert_eq!(
            offer,
            Offer {
                name: Some("a b/c.txt".to_owned()),
                size: Some(5),
                digest: Some(Algorithm::Sha256),
                mtime: Some(-3),
                mode: Some(0o600),
                id: Some("x_1".to_owned()),
                resume: true,
                token: Some(Token::new("a%")),
            }
        );
    }

    #[test]
    fn what_a_person_types_is_taken_as_meant() {
        let offer = Offer { name: Some("größe=1".to_owned()), size: Some(5), ..Offer::default() };
        assert_eq!(put("ANYPORT/1  PUT\tgröße=1   size=5 "), offer);
        assert_eq!(put("ANYPORT/1 PUT resume").name.as_deref(), Some("resume"));
    }

    #[test]
    fn other_verbs_are_known_without_their_arguments() {
        for (line, verb) in [
            ("ANYPORT/1 GET name offset=K", Verb::Get),
            ("ANYPORT/1 LIST", Verb::List),
            ("ANYPORT/1 ECHO", Verb::Echo),
            ("ANYPORT/1 TIME", Verb::Time),
            ("ANYPORT/1 GREET", Verb::Greet),
            ("ANYPORT/1 JOIN room as nick", Verb::Join),
        ] {
            assert_eq!(parse_request(line.as_bytes()), Ok(Request::Other(verb)));
        }
        assert_eq!(KNOWN_VERBS, format!("PUT, {}", Verb::WORDS.join(", ")));
    }

    #[test]
    fn a_bad_request_is_told_which_word_is_wrong() {
        for (line, message) in [
            ("HELLO PUT x", r#"expected a line that begins with ANYPORT/1, not "HELLO""#),
            ("", r#"expected a line that begins with ANYPORT/1, not """#),
            ("ANYPORT/2 PUT x", r#"version "ANYPORT/2" is not spoken here; expected ANYPORT/1"#),
            (
                "ANYPORT/1 put x",
                r#"unknown verb "put" in the preface; known are PUT, GET, LIST, ECHO, TIME, GREET, JOIN"#,
            ),
            (
                "ANYPORT/1 ",
                r#"unknown verb "" in the preface; known are PUT, GET, LIST, ECHO, TIME, GREET, JOIN"#,
            ),
            ("ANYPORT/1 PUT", "PUT needs a name; expected ANYPORT/1 PUT photo.jpg size=1024"),
            (
                "ANYPORT/1 PUT size=5",
                "PUT needs a name; expected ANYPORT/1 PUT photo.jpg size=1024",
            ),
            (
                "ANYPORT/1 PUT x sise=5",
                r#"unknown key "sise" in the preface; known are size, digest, mtime, mode, id, resume, token"#,
            ),
            (
                "ANYPORT/1 PUT my file.txt",
                r#"stray word "file.txt" in the preface; a space in a name is written %20, known keys are size, digest, mtime, mode, id, resume, token"#,
            ),
            ("ANYPORT/1 PUT x size=1 size=1", "key size is given twice in the preface"),
            ("ANYPORT/1 PUT x resume resume", "key resume is given twice in the preface"),
            (
                "ANYPORT/1 PUT x size",
                "key size in the preface needs a value: size= and a number of bytes",
            ),
            (
                "ANYPORT/1 PUT x size=+5",
                r#"bad value "+5" for size in the preface; expected a number of bytes"#,
            ),
            (
                "ANYPORT/1 PUT x size=",
                r#"bad value "" for size in the preface; expected a number of bytes"#,
            ),
            (
                "ANYPORT/1 PUT x size=18446744073709551616",
                r#"bad value "18446744073709551616" for size in the preface; expected a number of bytes"#,
            ),
            (
                "ANYPORT/1 PUT x digest=md5",
                r#"bad value "md5" for digest in the preface; expected blake3, sha256 or none"#,
            ),
            (
                "ANYPORT/1 PUT x mtime=+1",
                r#"bad value "+1" for mtime in the preface; expected whole seconds since 1970"#,
            ),
            (
                "ANYPORT/1 PUT x mode=rw",
                r#"bad value "rw" for mode in the preface; expected permission bits in octal, such as 644"#,
            ),
            (
                "ANYPORT/1 PUT x id=a/b",
                r#"bad value "a/b" for id in the preface; expected 1 to 64 of A-Z a-z 0-9 _ -"#,
            ),
            (
                "ANYPORT/1 PUT x resume=1",
                r#"bad value "1" for resume in the preface; expected the word alone"#,
            ),
            (
                "ANYPORT/1 PUT 100%",
                r#"bad value "100%" for name in the preface; expected percent-encoded UTF-8, a percent sign itself as %25"#,
            ),
        ] {
            assert_eq!(refused(line), message);
        }
        assert_eq!(parse_request(b"ANYPORT/1 PUT \xff"), Err(PrefaceError::NotUtf8));
    }

    #[test]
    fn a_token_is_told_to_nobody() {
        for line in ["ANYPORT/1 PUT x token=s3cret%zz", "ANYPORT/1 PUT x token="] {
            let message = "bad value for token in the preface; expected a text that is not empty";
            assert_eq!(refused(line), message);
        }
        let message = refused("ANYPORT/1 PUT x token=s3cret token=s3cret");
        assert_eq!(message, "key token is given twice in the preface");
    }

    #[test]
    fn a_file_without_a_name_is_offered_as_a_dash() {
        for name in [None, Some(String::new())] {
            let line = put_line(&Offer { name, size: Some(1), ..Offer::default() });
            assert_eq!(line, "ANYPORT/1 PUT - size=1\n");
            let offer = Offer { size: Some(1), ..Offer::default() };
            assert_eq!(parse_request(line.trim_end().as_bytes()), Ok(Request::Put(offer)));
        }
        let dash = Offer { name: Some("-".to_owned()), ..Offer::default() };
        assert_eq!(put_line(&dash), "ANYPORT/1 PUT %2D\n");
        assert_eq!(parse_request(b"ANYPORT/1 PUT %2D"), Ok(Request::Put(dash)));
    }

    #[test]
    fn a_put_without_a_name_is_refused() {
        assert_eq!(parse_request(b"ANYPORT/1 PUT"), Err(PrefaceError::MissingName));
    }

    #[test]
    fn an_end_may_have_a_digest() {
        let digest = Digest::blake3([7; 32]);
        assert_eq!(end_line(None), "END\n");
        assert_eq!(end_line(Some(&digest)), format!("END {digest}\n"));
        assert_eq!(parse_end(b"END"), Ok(End::default()));
        let end = End { bytes: None, digest: Some(digest) };
        assert_eq!(parse_end(format!("END {digest}").as_bytes()), Ok(end));
    }

    #[test]
    fn a_bad_end_is_told_which_word_is_wrong() {
        for (line, message) in [
            ("ENDE", r#"expected END after the content, not "ENDE""#),
            ("\0\0", r#"expected END after the content, not "\0\0""#),
            (
                "END blake3:00",
                r#"bad value "blake3:00" for digest in the END line; expected blake3: or sha256: and 64 hexadecimal digits"#,
            ),
            ("END a b", r#"stray word "b" in the END line; expected END, or END and one digest"#),
        ] {
            assert_eq!(parse_end(line.as_bytes()).unwrap_err().to_string(), message);
        }
        assert_eq!(parse_end(b"END \xff"), Err(PrefaceError::NotUtf8));
    }

    fn receipt() -> Receipt {
        Receipt {
            protocol: Protocol::Raw,
            engine: Engine::Own,
            peer: "127.0.0.1:5".parse().unwrap(),
            bytes: 1000,
            seconds: 0.000_001,
            durable_seconds: Some(2.5),
            digest: Some(Digest::sha256([1; 32])),
            end: EndKind::Fin,
            confirmed: false,
            name: Some("a b".to_owned()),
            path: Some("/srv/größe 100%".to_owned()),
            congestion: Some("reno".to_owned()),
            tcp: TcpSeen { rtt_us: Some(35), cwnd: Some(10), ..TcpSeen::default() },
        }
    }

    #[test]
    fn replies_are_lines_as_documented() {
        let refusal = Refusal::new(RefusalCode::Exists, "a.txt\nexists (here)\u{1b}");
        let hinted = Refusal::new(RefusalCode::Busy, "8 are running").with_hint("try\nlater");
        let hex = "01".repeat(32);
        for (reply, line) in [
            (Reply::Go { offset: 64 }, "ANYPORT/1 GO offset=64\n".to_owned()),
            (
                Reply::Receipt(receipt()),
                format!(
                    "ANYPORT/1 RECEIPT protocol=raw engine=own peer=127.0.0.1:5 bytes=1000 seconds=0.000001 durable_seconds=2.5 rate=1000000000 digest=sha256:{hex} end=fin confirmed=false name=a%20b path=/srv/gr%C3%B6%C3%9Fe%20100%25 congestion=reno rtt_us=35 cwnd=10\n"
                ),
            ),
            (Reply::Error(refusal), "ANYPORT/1 ERROR exists a.txt exists (here) \n".to_owned()),
            (
                Reply::Error(hinted),
                "ANYPORT/1 ERROR busy 8 are running (hint: try later)\n".to_owned(),
            ),
        ] {
            assert_eq!(reply.to_line(), line);
        }
    }

    #[test]
    fn a_receipt_line_has_only_the_keys_that_are_present() {
        let bare = Receipt {
            seconds: 0.0,
            durable_seconds: None,
            digest: None,
            name: None,
            path: None,
            congestion: None,
            tcp: TcpSeen::default(),
            ..receipt()
        };
        assert_eq!(
            Reply::Receipt(bare).to_line(),
            "ANYPORT/1 RECEIPT protocol=raw engine=own peer=127.0.0.1:5 bytes=1000 seconds=0 end=fin confirmed=false\n"
        );
    }

    #[test]
    fn keys_of_a_later_version_in_a_reply_are_ignored() {
        let line = b"ANYPORT/1 GO colour=red offset=3 loud";
        assert_eq!(Reply::parse(line), Ok(Reply::Go { offset: 3 }));
    }

    #[test]
    fn a_bad_reply_is_told_which_word_is_wrong() {
        for (line, message) in [
            ("ANYPORT/2 GO", r#"version "ANYPORT/2" is not spoken here; expected ANYPORT/1"#),
            ("ANYPORT/1 WENT", r#"unknown reply "WENT"; known are GO, RECEIPT, ERROR"#),
            ("ANYPORT/1 GO", "key offset is missing in the GO line; expected a number of bytes"),
            ("ANYPORT/1 GO offset=1 offset=2", "key offset is given twice in the GO line"),
            (
                "ANYPORT/1 GO offset=x",
                r#"bad value "x" for offset in the GO line; expected a number of bytes"#,
            ),
            (
                "ANYPORT/1 RECEIPT protocol=tcp",
                r#"bad value "tcp" for protocol in the RECEIPT line; expected raw, ws, frames or http"#,
            ),
            (
                "ANYPORT/1 RECEIPT protocol=ws engine=own peer=[::1]:1 bytes=1 seconds=nan",
                r#"bad value "nan" for seconds in the RECEIPT line; expected a number of seconds"#,
            ),
            (
                "ANYPORT/1 ERROR quota disk quota used up",
                r#"refused with the unknown code "quota": "disk quota used up""#,
            ),
        ] {
            assert_eq!(Reply::parse(line.as_bytes()).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn an_offer_survives_being_written_and_read(offer in any_offer()) {
            let line = put_line(&offer);
            let text = line.strip_suffix('\n').unwrap();
            prop_assert!(text.is_ascii() && !text.contains('\n'), "{}", text);
            prop_assert!(text.as_bytes().starts_with(PREFACE));
            prop_assert_eq!(parse_request(text.as_bytes()), Ok(Request::Put(offer)));
        }

        #[test]
        fn a_receipt_survives_being_written_and_read(receipt in any_receipt()) {
            let line = Reply::Receipt(receipt.clone()).to_line();
            let text = line.strip_suffix('\n').unwrap();
            prop_assert!(text.is_ascii() && !text.contains('\n'), "{}", text);
            prop_assert_eq!(Reply::parse(text.as_bytes()), Ok(Reply::Receipt(receipt)));
        }

        #[test]
        fn a_refusal_survives_being_written_and_read(
            message in "[^\\pC(]*",
            hint in prop::option::of("[^\\pC(]*"),
            code in prop::sample::select(RefusalCode::WORDS),
        ) {
            let code = code.parse().unwrap();
            let reply = Reply::Error(Refusal { code, message, hint });
            let line = reply.to_line();
            prop_assert_eq!(Reply::parse(line.strip_suffix('\n').unwrap().as_bytes()), Ok(reply));
        }

        #[test]
        fn an_error_is_always_one_line(message: String, hint: Option<String>) {
            let line = Reply::Error(Refusal { code: RefusalCode::Storage, message, hint }).to_line();
            prop_assert_eq!(line.find(char::is_control), Some(line.len() - 1));
        }

        #[test]
        fn no_bytes_panic_the_parsers(
            head in prop::sample::select(vec!["", "ANYPORT/1 PUT ", "ANYPORT/1 ", "END ", "ANYPORT/1 RECEIPT "]),
            tail: Vec<u8>,
        ) {
            let line = [head.as_bytes(), &tail].concat();
            let _ = parse_request(&line);
            let _ = parse_end(&line);
            let _ = Reply::parse(&line);
        }
    }
}
