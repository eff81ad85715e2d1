//! Secrets and control characters of peers, removed from every text of a trace.
//!
//! [`Secrets::clean`] is called by the recorder for each event, and again for all of them when the
//! trace ends, so no decoder can forget it.

use std::borrow::Cow;

use anyport_proto::visible::make_visible;

use crate::event::What;

/// What replaces a secret.
const REDACTED: &str = "[redacted]";

/// Maximum number of secrets that are remembered, to find them in later texts without a mark.
const MAX_SECRETS: usize = 64;

/// Shortest secret that is looked for in any text. A shorter one is removed only where its mark
/// is: it may be a usual word.
const SHORTEST: usize = 4;

/// Maximum size of a text in a trace: that of a decoded element, so a receipt is whole. All texts
/// together are bounded by the recorder, and renderings show far less.
const MAX_TEXT: usize = 64 * 1024;

/// The secrets of a trace that were seen or given so far.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Remembers a secret.
    pub(crate) fn add(&mut self, secret: &str) {
        let is_known = || self.0.iter().any(|known| known == secret);
        if secret.len() >= SHORTEST
            && self.0.len() < MAX_SECRETS
            && secret != REDACTED
            && !is_known()
        {
            self.0.push(secret.to_owned());
        }
    }

    /// Removes secrets from an event, and makes its control characters visible. Payload stays: it
    /// was asked for.
    pub(crate) fn clean(&mut self, what: &mut What) {
        if let What::Head { start, fields: pairs } = what {
            self.after_connect(start);
            self.clean_fields(pairs);
        }
        if let What::Http2(frame) = what {
            self.clean_fields(&mut frame.values);
        }
        each_text(what, &mut |text| self.clean_text(text));
    }

    /// Removes secrets from a text, and cuts it.
    pub(crate) fn clean_text(&mut self, text: &mut String) {
        self.after_marks(text);
        self.user_information(text);
        self.after_verb(text);
        for secret in &self.0 {
            remove_word(text, secret);
        }
        if let Cow::Owned(visible) = make_visible(text) {
            *text = visible;
        }
        if text.contains(is_invisible) {
            *text = text.replace(is_invisible, "\u{fffd}");
        }
        if text.len() > MAX_TEXT {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            text.push('…');
            // What was cut is counted no more.
            text.shrink_to_fit();
        }
    }

    fn clean_fields(&mut self, fields: &mut [(String, String)]) {
        for (name, value) in fields {
            if [":authority", "host"].iter().any(|host| name.trim().eq_ignore_ascii_case(host)) {
                self.before_host(value, 0);
            }
            if is_secret_field(name) {
                // `Bearer TOKEN`, `name=VALUE; …`
                let words = value.split([' ', ';', ',', '=']).filter(|word| word.len() > 8);
                words.for_each(|word| self.add(word));
                REDACTED.clone_into(value);
            }
        }
    }

    /// Replaces what follows each mark, up to the next character that cannot belong to it, in one
    /// pass: a peer chooses how many there are.
    fn after_marks(&mut self, text: &mut String) {
        let (mut cleaned, mut copied, mut at) = (String::new(), 0, 0);
        while let Some(here @ [first, second, ..]) = text.as_bytes().get(at..) {
            if !is_start(*first, *second) {
                at += 1;
                continue;
            }
            let begins = |mark: &&Mark| {
                let begin = here.get(..mark.before.len());
                begin.is_some_and(|begin| begin.eq_ignore_ascii_case(mark.before.as_bytes()))
            };
            let Some(mark) = MARKS.iter().find(begins) else {
                at += 1;
                continue;
            };
            let begin = at + mark.before.len();
            let rest = text.get(begin..).unwrap_or_default();
            let length = rest.find(mark.ends).unwrap_or(rest.len());
            let secret = rest.get(..length).unwrap_or_default();
            at = begin + length;
            // `Basic realm="x"` and the like ask for a secret.
            let asks = secret.ends_with('=') && text.as_bytes().get(at) == Some(&b'"');
            if secret.is_empty() || secret == REDACTED || asks {
                continue;
            }
            self.add(secret);
            cleaned.push_str(text.get(copied..begin).unwrap_or_default());
            cleaned.push_str(REDACTED);
            copied = at;
        }
        if copied > 0 {
            cleaned.push_str(text.get(copied..).unwrap_or_default());
            *text = cleaned;
        }
    }

    /// Replaces what precedes the host in URLs (RFC 3986 §3.2.1): a password, or a token.
    fn user_information(&mut self, text: &mut String) {
        let (mut cleaned, mut copied) = (String::new(), 0);
        for (at, _) in text.match_indices("//") {
            let begin = at + "//".len();
            if begin < copied {
                continue;
            }
            let rest = text.get(begin..).unwrap_or_default();
            let ends =
                |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '<' | '>');
            let authority = rest.get(..rest.find(ends).unwrap_or(rest.len())).unwrap_or_default();
            let Some(length) = authority.rfind('@') else { continue };
            let user = authority.get(..length).unwrap_or_default();
            self.add_user(user);
            cleaned.push_str(text.get(copied..begin).unwrap_or_default());
            cleaned.push_str(REDACTED);
            copied = begin + length;
        }
        if copied > 0 {
            cleaned.push_str(text.get(copied..).unwrap_or_default());
            *text = cleaned;
        }
    }

    /// Replaces what precedes the host in the request line of `CONNECT`, which has no URL.
    fn after_connect(&mut self, start: &mut String) {
        let method = "CONNECT ";
        if start.starts_with(method) {
            self.before_host(start, method.len());
        }
    }

    /// Replaces user information in `text`, whose host follows it, from `begin` on.
    fn before_host(&mut self, text: &mut String, begin: usize) {
        if let Some(end) = text.rfind('@').filter(|end| *end >= begin) {
            self.add_user(text.get(begin..end).unwrap_or_default());
            text.replace_range(begin..end, REDACTED);
        }
    }

    /// Remembers the password of user information, or all of it.
    fn add_user(&mut self, user: &str) {
        self.add(user.split_once(':').map_or(user, |(_, password)| password));
    }

    /// Replaces the key in a `PIPE` or `TAKE` line, also one with several blanks.
    fn after_verb(&mut self, text: &mut String) {
        for verb in ["PIPE", "TAKE"] {
            let Some(at) = text.find("ANYPORT/1") else { return };
            let blank = [' ', '\t'];
            let line = text.get(at + "ANYPORT/1".len()..).unwrap_or_default();
            let Some(arguments) = line.trim_start_matches(blank).strip_prefix(verb) else {
                continue;
            };
            let rest = arguments.trim_start_matches(blank);
            if rest.len() == arguments.len() {
                continue;
            }
            let begin = text.len() - rest.len();
            let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let key = rest.get(..length).unwrap_or_default().to_owned();
            if key != REDACTED && !key.is_empty() {
                self.add(&key);
                text.replace_range(begin..begin + length, REDACTED);
            }
        }
    }
}

/// Returns a text, such as a URL or an error, without the secrets that are marked as such in it.
#[must_use]
pub fn redact_text(text: &str) -> String {
    let mut text = text.to_owned();
    Secrets::default().clean_text(&mut text);
    text
}

/// Returns a command line without the values of flags and URLs that are secret.
#[must_use]
pub fn redact_command<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> String {
    let (mut secrets, mut line, mut is_secret) = (Secrets::default(), String::new(), false);
    for argument in arguments {
        let mut argument = argument.as_ref().to_owned();
        if is_secret {
            secrets.add(&argument);
            REDACTED.clone_into(&mut argument);
        }
        is_secret = SECRET_FLAGS.contains(&argument.as_str());
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&argument);
    }
    secrets.clean_text(&mut line);
    line
}

const SECRET_FLAGS: [&str; 2] = ["--pipe", "--token"];

/// The text before a secret, and the characters that end it.
struct Mark {
    before: &'static str,
    ends: fn(char) -> bool,
}

const MARKS: &[Mark] = &[
    Mark { before: "token=\"", ends: |c| c == '"' },
    Mark { before: "token=", ends: ends_value },
    Mark { before: "api_key=", ends: ends_value },
    Mark { before: "apikey=", ends: ends_value },
    Mark { before: "api-key=", ends: ends_value },
    Mark { before: "secret=", ends: ends_value },
    Mark { before: "password=", ends: ends_value },
    Mark { before: "passwd=", ends: ends_value },
    Mark { before: "auth=", ends: ends_value },
    Mark { before: "session=", ends: ends_value },
    Mark { before: "sessionid=", ends: ends_value },
    Mark { before: "signature=", ends: ends_value },
    Mark { before: "?key=", ends: ends_value },
    Mark { before: "&key=", ends: ends_value },
    Mark { before: "\"token\":\"", ends: |c| c == '"' },
    Mark { before: "\"token\": \"", ends: |c| c == '"' },
    Mark { before: "anyport.token.", ends: ends_value },
    Mark { before: "/pipe/", ends: ends_segment },
    Mark { before: "--pipe=", ends: ends_value },
    Mark { before: "--pipe ", ends: ends_value },
    Mark { before: "--token=", ends: ends_value },
    Mark { before: ".anyport/s/", ends: ends_segment },
    // They are enough to continue the upload.
    Mark { before: ".anyport/uploads/", ends: ends_segment },
    Mark { before: " id=", ends: ends_value },
    Mark { before: "\"id\":\"", ends: |c| c == '"' },
    Mark { before: "bearer ", ends: ends_value },
    Mark { before: "basic ", ends: ends_value },
];

/// The first two bytes of all marks, in both cases, a bit for each pair: a peer chooses the length
/// of a text, and comparing each place of it with each mark takes 100 ns for a byte.
static STARTS: [u64; 1024] = {
    let (mut starts, mut number) = ([0; 1024], 0);
    while number < MARKS.len() {
        let begin = MARKS[number].before.as_bytes();
        let firsts = [begin[0].to_ascii_lowercase(), begin[0].to_ascii_uppercase()];
        let seconds = [begin[1].to_ascii_lowercase(), begin[1].to_ascii_uppercase()];
        let mut cases = 0;
        while cases < 4 {
            let (word, bit) = pair(firsts[cases / 2], seconds[cases % 2]);
            starts[word] |= 1 << bit;
            cases += 1;
        }
        number += 1;
    }
    starts
};

/// Returns the place of a pair of bytes in [`STARTS`].
const fn pair(first: u8, second: u8) -> (usize, u32) {
    let number = u16::from_be_bytes([first, second]);
    ((number / 64) as usize, (number % 64) as u32)
}

fn is_start(first: u8, second: u8) -> bool {
    let (word, bit) = pair(first, second);
    STARTS.get(word).is_some_and(|pairs| pairs >> bit & 1 == 1)
}

fn ends_value(character: char) -> bool {
    character.is_whitespace() || matches!(character, '&' | '"' | '\'' | ',' | ';' | ')' | '#')
}

fn ends_segment(character: char) -> bool {
    ends_value(character) || matches!(character, '/' | '?')
}

/// Returns whether a character has no width and no effect on its neighbours, so that it only hides
/// a difference; the one that joins emoji has an effect.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{200b}'
            | '\u{200c}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Returns whether the value of a field admits its sender.
fn is_secret_field(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    let name = name.as_str();
    let is_word = |word: &str| matches!(word, "auth" | "key" | "apikey");
    // A line without a name may be part of any field. The key of a WebSocket is no secret (RFC 6455
    // §10.3), and these of CORS have names.
    let is_public = name.starts_with("sec-websocket-") || name.starts_with("access-control-");
    name.is_empty()
        || !is_public
            && (SECRET_WORDS.iter().any(|word| name.contains(word))
                || name.split(['-', '_', '.']).any(is_word))
}

/// Parts of the names of fields that are secret.
const SECRET_WORDS: [&str; 10] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "passwd",
    "session",
    "signature",
    "credential",
    "api-key",
];

/// Replaces `secret` where it is not a part of a longer word.
fn remove_word(text: &mut String, secret: &str) {
    let is_part = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
    let (mut cleaned, mut copied) = (String::new(), 0);
    for (at, _) in text.match_indices(secret) {
        let end = at + secret.len();
        let (before, after) = text.split_at(at);
        let after = after.get(secret.len()..).unwrap_or_default();
        if !is_part(before.chars().next_back()) && !is_part(after.chars().next()) {
            cleaned.push_str(text.get(copied..at).unwrap_or_default());
            cleaned.push_str(REDACTED);
            copied = end;
        }
    }
    if copied > 0 {
        cleaned.push_str(text.get(copied..).unwrap_or_default());
        *text = cleaned;
    }
}

/// Calls `change` with each text of an event but payload. Without a wildcard: a new event must
/// decide.
fn each_text(what: &mut What, change: &mut dyn FnMut(&mut String)) {
    let mut all = |texts: Vec<&mut String>| texts.into_iter().for_each(&mut *change);
    match what {
        What::Resolved { host, addresses } => {
            all(std::iter::once(host).chain(addresses).collect());
        }
        What::Attempt { address } => all(vec![address]),
        What::AttemptFailed { address, reason } => all(vec![address, reason]),
        What::Connected { local, peer, congestion } => {
            all([local, peer].into_iter().chain(congestion).collect());
        }
        What::TlsMessage(message) => {
            let texts = message.alpn.iter_mut().chain(&mut message.suites);
            all(texts.chain(&mut message.server_name).collect());
        }
        What::TlsDone { version, suite, group, alpn, certificate } => {
            let mut texts: Vec<_> = [version, suite].into_iter().chain(group).chain(alpn).collect();
            if let Some(certificate) = certificate {
                texts.extend(&mut certificate.names);
                texts.extend([&mut certificate.fingerprint, &mut certificate.verification]);
            }
            all(texts);
        }
        What::Head { start, fields } => {
            let fields = fields.iter_mut().flat_map(|(name, value)| [name, value]);
            all(std::iter::once(start).chain(fields).collect());
        }
        What::WebSocketAccept { key, concatenation, received, .. } => {
            all(vec![key, concatenation, received]);
        }
        What::Frame(frame) => all(frame.text.iter_mut().collect()),
        What::Http2(frame) => {
            all(frame.values.iter_mut().flat_map(|(name, value)| [name, value]).collect());
        }
        What::Line { text } | What::Failed { text } | What::Note { text } => all(vec![text]),
        // Numbers, and words of the decoders.
        What::Segment(_)
        | What::Syn(_)
        | What::TlsRecords { .. }
        | What::Content { .. }
        | What::Hashed { .. }
        | What::Stored { .. }
        | What::Gap { .. }
        | What::Fin
        | What::Reset => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Basis, Side};
    use crate::{Limits, Protocol, Recorder, Tap};

    /// Returns the trace of what a client sends and receives, as JSON.
    fn traced(protocol: Protocol, sent: &[u8], received: &[u8], later: What) -> String {
        let recorder = Recorder::new(Limits::default());
        let tap = Tap::new(&recorder, Side::Client, protocol);
        sent.chunks(7).for_each(|piece| tap.sent(piece));
        received.chunks(7).for_each(|piece| tap.received(piece));
        tap.add(None, Basis::Observed, later);
        serde_json::to_string(&recorder.finish().events).unwrap()
    }

    fn frame(text: &str) -> Vec<u8> {
        let mut frame = vec![0x81, 0xfe, 0, text.len() as u8, 0, 0, 0, 0];
        if text.len() < 126 {
            frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        }
        frame.extend_from_slice(text.as_bytes());
        frame
    }

    fn http2(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut head = Vec::new();
        for (name, value) in fields {
            // A literal with incremental indexing, then the same field by its index.
            head.extend([0x40, name.len() as u8]);
            head.extend_from_slice(name.as_bytes());
            head.push(value.len() as u8);
            head.extend_from_slice(value.as_bytes());
            head.push(0x80 | 62);
        }
        let mut wire = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        wire.extend_from_slice(&(head.len() as u32).to_be_bytes()[1..]);
        wire.extend([1, 5, 0, 0, 0, 1]);
        wire.extend(head);
        wire
    }

    const SECRET: &str = "Zx3-s3cr3t_Value9";

    #[test]
    fn no_secret_of_any_protocol_is_in_a_trace() {
        let head = |start: &str, field: &str| format!("{start} HTTP/1.1\r\n{field}\r\n\r\n");
        let requests = [
            head("GET /", &format!("Authorization: Bearer {SECRET}")),
            head("GET /", &format!("authorization:Basic {SECRET}")),
            head("GET /", &format!("Proxy-Authorization: Basic {SECRET}")),
            head("GET /", &format!("Cookie: a=b; anyport={SECRET}")),
            head("GET /", &format!("Cookie : a={SECRET}")),
            head("GET /", &format!("Cookie:\r\n a={SECRET}")),
            head("GET /", &format!("X: y\r\n{SECRET}")),
            head("GET /", &format!("X: y\rCookie: a={SECRET}")),
            format!("GET / HTTP/1.1\r\n a={SECRET}\r\n\r\n"),
            head("GET /", &format!("X-Password: {SECRET}")),
            head("GET /", &format!("X-Auth-Key: {SECRET}")),
            head("GET /", &format!("X-Session-Id: {SECRET}")),
            head("GET /", &format!("X-Amz-Signature: {SECRET}")),
            head("GET /", &format!("Referer: http://user:{SECRET}@h/")),
            head("GET /", &format!("Host: user:{SECRET}@h")),
            head(&format!("GET http://{SECRET}@h/"), "Host: h"),
            head(&format!("CONNECT user:{SECRET}@h:80"), "Host: h"),
            head(&format!("GET /x?session={SECRET}"), "Host: h"),
            head("GET /", &format!("X-Auth-Token: {SECRET}")),
            head("GET /", &format!("Sec-WebSocket-Protocol: anyport.token.{SECRET}, anyport.1")),
            head("GET /", &format!("Referer: http://h/.anyport/s/{SECRET}/")),
            head(&format!("GET /pipe/{SECRET}?n=2"), "Host: h"),
            head(&format!("GET /base/pipe/{SECRET}"), "Host: h"),
            head(&format!("GET /.anyport/s/{SECRET}/a.jpg"), "Host: h"),
            head(&format!("GET /x?a=b&token={SECRET}&c=d"), "Host: h"),
            head(&format!("GET /x?TOKEN={SECRET}"), "Host: h"),
            head(&format!("GET /x?access_token={SECRET}"), "Host: h"),
            head(&format!("GET /x?api_key={SECRET}&password={SECRET}"), "Host: h"),
            head(&format!("GET /x?a=b&key={SECRET}"), "Host: h"),
            head("GET /", &format!("X: token=\"{SECRET}\"")),
            head(&format!("PATCH /.anyport/uploads/{SECRET}"), "Host: h"),
        ];
        let responses = [
            head("HTTP/1.1 200", &format!("Set-Cookie: anyport={SECRET}; Secure")),
            head("HTTP/1.1 302", &format!("Location: /.anyport/s/{SECRET}/")),
            head("HTTP/1.1 302", &format!("location: /x?token={SECRET}")),
        ];
        let lines = [
            format!("ANYPORT/1 PUT a size=0 token={SECRET}\n"),
            format!("ANYPORT/1 PIPE {SECRET} size=0\n"),
            format!("ANYPORT/1  PIPE\t {SECRET}\n"),
            format!("ANYPORT/1 TAKE {SECRET} head\n"),
            format!("ANYPORT/1 LIST token={SECRET}\n"),
            format!("ANYPORT/1 PUT a size=0 id={SECRET} resume\n"),
        ];
        let messages = [
            format!(r#"{{"offer":{{"name":"a","token":"{SECRET}"}}}}"#),
            format!(r#"{{"get":{{"name":"a","token":"{SECRET}"}}}}"#),
            format!(r#"{{"offer":{{"name":"a","id":"{SECRET}","resume":true}}}}"#),
        ];
        let heads2: [&[(&str, &str)]; 9] = [
            &[("authorization", SECRET)],
            &[("cookie", SECRET)],
            &[("set-cookie", SECRET)],
            &[("proxy-authorization", SECRET)],
            &[("x-session-id", SECRET)],
            &[(":authority", "user:Zx3-s3cr3t_Value9@h")],
            &[(" cookie", SECRET)],
            &[(":path", "/pipe/Zx3-s3cr3t_Value9")],
            &[(":path", "/.anyport/s/Zx3-s3cr3t_Value9/?token=Zx3-s3cr3t_Value9")],
        ];
        let mut cases: Vec<(Protocol, Vec<u8>, Vec<u8>)> = Vec::new();
        cases.extend(requests.map(|text| (Protocol::Http, text.into(), Vec::new())));
        cases.extend(responses.map(|text| (Protocol::Http, Vec::new(), text.into())));
        cases.extend(lines.map(|text| (Protocol::Preface, text.into(), Vec::new())));
        cases.extend(messages.map(|text| (Protocol::Frames, frame(&text), Vec::new())));
        cases.extend(heads2.map(|fields| (Protocol::Http, http2(fields), Vec::new())));
        for (protocol, sent, received) in cases {
            // An error that quotes the secret without any mark, before and after it was seen.
            let later = What::Failed { text: format!("pipe \"{SECRET}\" is in use") };
            let text = sent.escape_ascii().to_string() + &received.escape_ascii().to_string();
            let json = traced(protocol, &sent, &received, later);
            assert!(json.contains(REDACTED), "{text}: {json}");
            assert!(!json.contains(SECRET), "{text}: {json}");
            assert!(json.contains("is in use"), "{text}: {json}");
        }
    }

    #[test]
    fn a_secret_is_removed_from_events_before_it_was_known() {
        let recorder = Recorder::new(Limits::default());
        let note = |text: &str| {
            recorder.add(None, None, Basis::Observed, What::Note { text: text.to_owned() });
        };
        note(&format!("the key is {SECRET}"));
        recorder.secret(SECRET);
        let json = serde_json::to_string(&recorder.finish().events).unwrap();
        assert!(!json.contains(SECRET), "{json}");
    }

    #[test]
    fn a_command_line_has_no_secret() {
        let command = |line: &str| redact_command(line.split(' '));
        for line in [
            "anyport send a h --pipe Zx3-s3cr3t_Value9",
            "anyport get h --pipe=Zx3-s3cr3t_Value9 -o -",
            "anyport get http://h/.anyport/s/Zx3-s3cr3t_Value9/ --pin x",
            "anyport get http://h/pipe/Zx3-s3cr3t_Value9",
            "anyport get http://h/a?token=Zx3-s3cr3t_Value9",
        ] {
            let shown = command(line);
            assert!(!shown.contains(SECRET) && shown.contains(REDACTED), "{shown}");
        }
        assert_eq!(
            command("anyport send --token-file tokens a h"),
            "anyport send --token-file tokens a h"
        );
        assert_eq!(command("anyport get h --pipe k -o -"), "anyport get h --pipe [redacted] -o -");
    }

    #[test]
    fn usual_texts_stay_as_they_are() {
        let error = redact_text("\".anyport\" is not allowed in the path \".anyport/s/Zx3-_9/\"");
        assert!(!error.contains("Zx3"), "{error}");
        for text in [
            "ANYPORT/1 PUT pipe size=5 digest=blake3",
            "GET /pipes/a?b=c HTTP/1.1",
            "token file tokens: not found",
            r#"{"offer":{"name":"token","size":5}}"#,
            "END blake3:00",
            "Basic realm=\"x\"",
            "größe ✓",
        ] {
            assert_eq!(redact_text(text), text);
        }
    }

    #[test]
    fn a_text_is_cut_and_cleaned_in_one_pass() {
        let text = "token=abc,".repeat(100_000);
        let cleaned = redact_text(&text);
        assert!(cleaned.len() <= MAX_TEXT + '…'.len_utf8() && cleaned.ends_with('…'));
        assert!(!cleaned.contains("abc"));
    }

    #[test]
    fn control_characters_of_a_peer_are_visible() {
        let later = What::Note { text: String::new() };
        let json = traced(Protocol::Preface, b"ANYPORT/1 PUT a\x1b[2J\n", b"", later);
        assert!(json.contains("a␛[2J"), "{json}");
        assert_eq!(redact_text("EVIL\u{200b}\u{202e}x 👨\u{200d}👩"), "EVIL��x 👨\u{200d}👩");
    }

    /// Of places that are no mark, few are compared with all marks, whatever a peer sends.
    #[test]
    fn a_mark_is_looked_for_where_its_first_two_bytes_are() {
        for mark in MARKS {
            let begin = mark.before.as_bytes();
            assert!(is_start(begin[0], begin[1]), "{}", mark.before);
            assert!(is_start(begin[0].to_ascii_uppercase(), begin[1]), "{}", mark.before);
        }
        let pairs = (0..=u16::MAX).map(u16::to_be_bytes);
        let count = pairs.filter(|[first, second]| is_start(*first, *second)).count();
        assert!(count <= 4 * MARKS.len(), "{count}");
        assert!(!is_start(b'a', b'a') && !is_start(b'p', b'p'));
    }
}
