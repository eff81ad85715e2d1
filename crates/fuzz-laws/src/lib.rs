//! The laws that the fuzz targets hold the parsers to: what must be true of any bytes whatever.
//!
//! The targets themselves (`fuzz/fuzz_targets`) are one line each; the corpora are replayed by the
//! ordinary tests of this crate, without a fuzzer. The first byte of an input often says how the
//! rest is cut.

#![forbid(unsafe_code)]

mod trace;

pub use trace::trace;

use anyport_proto::detect::{self, Allowed, Detection, detect_at_end, max_prefix};
use anyport_proto::form::{Event as FormEvent, FormReader};
use anyport_proto::http1::{BodyReader, Framing, HeadReader, Pushed, ResponseHeadReader};
use anyport_proto::limits::Limits;
use anyport_proto::live::Request as LiveRequest;
use anyport_proto::preface::{self, LineReader, Reply, Request};
use anyport_proto::rooms::{
    Command, Event as RoomEvent, EventId, Join, Line, Nickname, make_visible,
};
use anyport_proto::transfer::file_name::FileName;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::messages::{FileMessage, FileReply};
use anyport_proto::ws::candidate::{CandidateState, Confirmation};
use anyport_proto::ws::handshake::{ClientTarget, Key, OriginPolicy, Policy, accept, verify};
use anyport_proto::ws::header::{self, Decoded, MAX_HEADER, Rsv1};
use anyport_proto::ws::{DeflateParameters, Event, Kind, Receiver, Role, Sender, Violation};

/// Takes any bytes, and panics where they break the law.
pub type Law = fn(&[u8]);

/// Every target by its name, for the replay of corpora.
pub const TARGETS: [(&str, Law); 15] = [
    ("detect", detect),
    ("header", header),
    ("ws_server", ws_server),
    ("ws_client", ws_client),
    ("deflate", deflate),
    ("http_head", http_head),
    ("http_body", http_body),
    ("form", form),
    ("handshake", handshake),
    ("preface", preface),
    ("offer", offer),
    ("file_name", file_name),
    ("proof", proof),
    ("rooms", rooms),
    ("trace", trace),
];

/// Checks that segmentation never changes the result of detection, that a known result and its
/// reason never change, and that `max_prefix` bytes always decide.
pub fn detect(input: &[u8]) {
    let limits = Limits::default();
    let whole = detect_at_end(input, &limits);
    let mut known = None;
    let mut reason = None;
    for length in 0..=input.len().min(64) {
        let decided = detect::decide(&input[..length], &limits, Allowed::ALL, None);
        assert_eq!(decided.map(|now| *reason.get_or_insert(now)), decided, "after {length}");
        match (detect::detect(&input[..length], &limits), known) {
            (Detection::Known(protocol), None) => known = Some(protocol),
            (now, Some(protocol)) => assert_eq!(now, Detection::Known(protocol), "after {length}"),
            (Detection::NeedMore { at_least }, None) => assert!(at_least > length),
        }
    }
    if let Some(protocol) = known {
        assert_eq!(reason.map(|decision| decision.protocol), known);
        assert_eq!(whole, protocol);
    }
    if input.len() >= max_prefix(&limits) {
        assert!(matches!(detect::detect(input, &limits), Detection::Known(_)));
    }
}

/// Checks that a valid header is encoded as the same bytes, that an incomplete one requests more
/// than there is, and that longer input never changes a result.
pub fn header(input: &[u8]) {
    for role in [Role::Server, Role::Client] {
        for rsv1 in [Rsv1::Reserved, Rsv1::Deflate] {
            let mut answer = None;
            for length in 0..=input.len().min(MAX_HEADER + 1) {
                let decoded = header::decode(&input[..length], role, rsv1);
                if let Some(answer) = answer {
                    assert_eq!(decoded, answer, "{role:?}, {rsv1:?}, {length} bytes");
                    continue;
                }
                match decoded {
                    Ok(Decoded::NeedMore { at_least }) => assert!(at_least > length),
                    Ok(Decoded::Done { value, used }) => {
                        assert_eq!(header::encode(&value)[..], input[..used]);
                        answer = Some(decoded);
                    }
                    Err(_) => answer = Some(decoded),
                }
            }
        }
    }
}

/// Checks that a server's receiver returns the same events in every segmentation, and uses every
/// byte or fails permanently.
pub fn ws_server(input: &[u8]) {
    ws_law(Role::Server, input);
}

/// Checks the receiver of a client in the same way.
pub fn ws_client(input: &[u8]) {
    ws_law(Role::Client, input);
}

/// Checks that a head is the same in every segmentation, needs at most its limit, and never panics;
/// also that of a response.
pub fn http_head(input: &[u8]) {
    let limits = Limits::default();
    let (step, wire) = cut(input);
    let read = |step: usize| {
        let mut reader = HeadReader::new();
        let mut taken = 0;
        for piece in wire.chunks(step) {
            match reader.push(piece, &limits) {
                Ok(Pushed::NeedMore) => taken += piece.len(),
                Ok(Pushed::Done { head, used }) => {
                    assert_eq!(head.raw(), &wire[..taken + used]);
                    return Ok(Some(taken + used));
                }
                Err(error) => {
                    assert!(error.status().is_client_error() || error.status().is_server_error());
                    return Err(error.status());
                }
            }
            assert!(taken <= limits.head, "{taken} bytes without an end");
        }
        Ok(None)
    };
    let whole = read(wire.len().max(1));
    if let (Ok(cut), Ok(whole)) = (read(step), &whole) {
        assert_eq!(cut, *whole);
    }
    let _ = ResponseHeadReader::new().push(wire, &limits);
}

/// Checks that content and errors are the same in every segmentation, and that content is lent from
/// the input.
///
/// The second byte says how it is framed.
pub fn http_body(input: &[u8]) {
    let (step, wire) = cut(input);
    let [choice, wire @ ..] = wire else { return };
    let framing =
        if choice & 1 == 0 { Framing::Chunked } else { Framing::Length(u64::from(choice >> 1)) };
    let mut limits = Limits::default();
    limits.chunk_extensions = 16;
    let read = |step: usize| {
        let mut reader = BodyReader::new(framing);
        let (mut content, mut taken) = (Vec::new(), 0);
        for piece in wire.chunks(step) {
            let mut rest = piece;
            while !rest.is_empty() && !reader.is_done() {
                let read = match reader.read(rest, &limits) {
                    Ok(read) => read,
                    Err(error) => {
                        assert_eq!(reader.read(b"0", &limits), Err(error.clone()), "terminal");
                        return (content, Err(error));
                    }
                };
                assert!(read.used > 0 && read.content.len() <= read.used, "{read:?}");
                content.extend_from_slice(read.content);
                taken += read.used;
                rest = &rest[read.used..];
            }
        }
        (content, Ok((taken, reader.is_done())))
    };
    let (content, end) = read(wire.len().max(1));
    assert_eq!(read(step), (content.clone(), end.clone()));
    if let (Framing::Length(length), Ok((taken, done))) = (framing, end) {
        assert_eq!(content, wire[..taken]);
        assert_eq!(done, taken as u64 == length);
    }
}

/// Checks that the parts of a form and its errors are the same in every segmentation, and that no
/// content holds a delimiter.
pub fn form(input: &[u8]) {
    let (step, wire) = cut(input);
    let mut limits = Limits::default();
    (limits.parts, limits.part_head) = (3, 64);
    let read = |step: usize| {
        let mut reader = FormReader::new(b"x; boundary=b", &limits).expect("a valid boundary");
        let mut parts = Vec::new();
        for piece in wire.chunks(step) {
            let mut rest = piece;
            loop {
                let (used, event) = match reader.read(rest) {
                    Ok((used, event)) => (used, event),
                    Err(error) => {
                        assert_eq!(reader.read(b"x"), Err(error.clone()), "terminal");
                        return (parts, Err(error));
                    }
                };
                match event {
                    Some(FormEvent::Part(part)) => parts.push((part, Vec::new(), false)),
                    Some(FormEvent::Content(content)) => {
                        assert!(!content.is_empty());
                        let part = parts.last_mut().expect("content of a part");
                        part.1.extend_from_slice(content);
                    }
                    Some(FormEvent::PartEnd) => {
                        parts.last_mut().expect("the end of a part").2 = true;
                    }
                    None => {
                        assert_eq!(used, rest.len());
                        break;
                    }
                }
                rest = &rest[used..];
            }
        }
        (parts, reader.finish())
    };
    let (parts, end) = read(wire.len().max(1));
    for (_, content, _) in &parts {
        assert!(!content.windows(5).any(|bytes| bytes == b"\r\n--b"));
    }
    assert_eq!(read(step), (parts, end));
}

/// Checks that an accepted head has all that RFC 6455 §4.2.1 requires, and that no other field
/// changes the response.
pub fn handshake(input: &[u8]) {
    let limits = Limits::default();
    if let Ok(Pushed::Done { head, .. }) = HeadReader::new().push(input, &limits) {
        let policy = Policy {
            subprotocols: &["anyport.file.1"],
            origin: OriginPolicy::SameHost,
            deflate: true,
        };
        match accept(&head, &policy) {
            Ok(acceptance) => {
                assert!(head.is_websocket_upgrade());
                let mut reader = ResponseHeadReader::new();
                let response = reader.push(&acceptance.response, &limits);
                let Ok(Pushed::Done { head: response, .. }) = response else {
                    panic!("our own response is not read: {response:?}")
                };
                let key = head.fields.get("sec-websocket-key").map(|key| key.as_bytes());
                let key = key.and_then(Key::from_field).unwrap_or_else(|| panic!("no key"));
                let offered = acceptance.subprotocol.as_deref();
                let offered: Vec<&str> = offered.into_iter().collect();
                let target = ClientTarget {
                    host: "localhost",
                    path: "/",
                    subprotocols: &offered,
                    fields: &[],
                    deflate: acceptance.deflate.is_some(),
                };
                let verified = verify(&response, &key, &target).map(|verified| verified.deflate);
                assert_eq!(verified, Ok(acceptance.deflate));
            }
            Err(refusal) => assert!(refusal.response().starts_with(b"HTTP/1.1 4")),
        }
    }
}

/// Checks that a line is the same in every segmentation, and that a parsed line survives being
/// written and parsed again.
pub fn preface(input: &[u8]) {
    let (step, wire) = cut(input);
    let line = |step: usize| {
        let mut reader = LineReader::new(Limits::default().preface_line);
        for piece in wire.chunks(step) {
            match reader.push(piece) {
                Ok(pushed) => {
                    if let Some(line) = pushed.line {
                        return Some(line.into_owned());
                    }
                }
                Err(_) => return None,
            }
        }
        None
    };
    let whole = line(wire.len().max(1));
    assert_eq!(line(step), whole);
    let Some(line) = whole else { return };
    if let Ok(request) = preface::parse_request(&line) {
        let written = match &request {
            Request::Put(offer) => preface::put_line(offer),
            Request::Get(get) => preface::get_line(get),
            Request::List(list) => preface::list_line(list),
            Request::Join(join) => preface::join_line(join),
            Request::Give(give) => preface::give_line(give),
            Request::Take(take) => preface::take_line(take),
            Request::Echo => "ANYPORT/1 ECHO".to_owned(),
            Request::Other(verb) => format!("ANYPORT/1 {verb}"),
        };
        let again = preface::parse_request(written.trim_end_matches('\n').as_bytes());
        // Of two slashes at the end of a directory one is left, and so on.
        let ends_in_slash = matches!(&request, Request::List(list)
        if list.path.as_ref().is_some_and(|path| path.ends_with('/')));
        if !ends_in_slash {
            assert_eq!(again, Ok(request));
        }
    }
    let _ = preface::parse_end(&line);
    if let Ok(reply) = Reply::parse(&line) {
        assert!(Reply::parse(reply.to_line().trim_end_matches('\n').as_bytes()).is_ok());
    }
}

/// Checks that a parsed text survives being written and parsed again.
pub fn offer(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(message) = FileMessage::from_json(text) {
        assert_eq!(FileMessage::from_json(&message.to_json()), Ok(message));
    }
    if let Ok(reply) = FileReply::from_json(text) {
        assert!(FileReply::from_json(&reply.to_json()).is_ok());
    }
}

/// Checks that a name stays in its directory, is visible, and does not change when it is sanitized
/// again; a path too.
pub fn file_name(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let paths = [FilePath::sanitize(text), FilePath::parse_percent_encoded(text)];
    for path in paths.into_iter().flatten() {
        assert!(path.components().all(|name| !matches!(name, b"" | b"." | b"..")), "{path:?}");
        assert!(path.components().all(|name| !name.starts_with(b".anyport-")), "{path:?}");
        assert_eq!(FilePath::exact(path.as_bytes()).as_ref(), Ok(&path));
        assert_eq!(FilePath::of_peer(&path.text(), path.raw().as_deref()).as_ref(), Ok(&path));
        assert_eq!(FilePath::parse_percent_encoded(&path.percent_encoded()), Ok(path));
    }
    let made = [FileName::sanitize(text), FileName::from_percent_encoded(text)];
    for name in made.into_iter().flatten() {
        for name in [name.numbered(7), name] {
            let text = &*name.text();
            assert_eq!(text.as_bytes(), name.as_bytes());
            assert!(
                !text.is_empty() && text.len() <= 255 && text != "." && text != "..",
                "{text:?}"
            );
            assert!(!text.contains(['/', '\0', '\n', '\r', '\u{1b}', '\u{202e}']), "{text:?}");
            assert!(!text.starts_with(".anyport-"), "{text:?}");
            assert_eq!(FileName::sanitize(text).as_ref(), Ok(&name));
            assert_eq!(FileName::from_percent_encoded(&name.percent_encoded()), Ok(name.clone()));
        }
    }
}

/// Checks that parsed events survive being written and parsed again, and that every event is one
/// visible line.
pub fn rooms(input: &[u8]) {
    let limits = Limits::default();
    let is_one_line = |text: &str| {
        !text.contains(char::is_control) && !text.contains(['\u{2028}', '\u{2029}', '\u{202e}'])
    };
    if let Ok(Line::Command(Command::Say { text, .. })) =
        Command::from_line(input, limits.room_message)
    {
        assert!((1..=limits.room_message).contains(&text.len()));
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let visible = make_visible(text);
    assert!(is_one_line(&visible), "{visible:?}");
    assert_eq!(make_visible(&visible), visible);
    if let Ok(name) = text.parse::<Nickname>() {
        assert_eq!(make_visible(name.as_str()), name.as_str());
        assert_eq!(name.numbered(7).as_str().parse(), Ok(name.numbered(7)));
    }
    if let Ok(id) = text.parse::<EventId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(said) = Command::from_json(text, limits.room_message) {
        // Pictures of controls have three bytes, so that the limit may not hold the second time.
        let again = Command::from_json(&said.to_json(), usize::MAX).map(|said| said.to_json());
        assert_eq!(again.as_ref(), Ok(&said.to_json()));
    }
    if let Ok(request) = LiveRequest::from_json(text, limits.room_message) {
        let again = LiveRequest::from_json(&request.to_json(), usize::MAX);
        assert_eq!(again.map(|again| again.to_json()), Ok(request.to_json()));
    }
    if let Ok(event) = RoomEvent::from_json(text) {
        assert!(is_one_line(&event.to_text()), "{event:?}");
        assert!(is_one_line(&event.to_json()), "{event:?}");
        let again = RoomEvent::from_json(&event.to_json()).map(|event| event.to_json());
        assert_eq!(again, Ok(event.to_json()));
    }
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    if let Ok(join) = Join::from_target(path, query) {
        let target = join.to_target();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        assert_eq!(Join::from_target(path, Some(query)), Ok(join));
    }
}

/// Checks that a candidate has the same result in every segmentation, and that a result stays.
pub fn proof(input: &[u8]) {
    let (step, wire) = cut(input);
    let stands = |step: usize| {
        let mut proof = Confirmation::new(&Limits::default(), u64::MAX);
        let mut decided = None;
        for piece in wire.chunks(step) {
            let standing = proof.feed(piece);
            if let Some(decided) = decided {
                assert_eq!(standing, decided);
            } else if standing != CandidateState::Open {
                decided = Some(standing);
            }
        }
        proof.end_of_stream()
    };
    assert_eq!(stands(step), stands(wire.len().max(1)));
}

/// Pieces of one to 64 bytes, as the first byte says.
fn cut(input: &[u8]) -> (usize, &[u8]) {
    match input {
        [first, rest @ ..] => (usize::from(first % 64) + 1, rest),
        [] => (1, input),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

fn ws_law(role: Role, input: &[u8]) {
    let (step, wire) = cut(input);
    let receiver = || Receiver::new(role, &Limits::default());
    let whole = receive(receiver(), wire, wire.len().max(1));
    assert_eq!(receive(receiver(), wire, step), whole);
}

/// Checks that compressed frames of a server have the same result in every segmentation, within the
/// limit, and that the receiver inflates what the sender compressed.
pub fn deflate(input: &[u8]) {
    let [choice, input @ ..] = input else { return };
    let agreed = DeflateParameters {
        server_no_context_takeover: choice & 1 != 0,
        client_no_context_takeover: choice & 2 != 0,
        server_max_window_bits: Some(9 + (choice >> 2) % 7),
        client_max_window_bits: None,
    };
    let mut limits = Limits::default();
    limits.inflated_message = 64 * 1024;
    let receiver = || Receiver::new(Role::Client, &limits).with_deflate(&agreed);
    let (step, wire) = cut(input);
    let whole = receive(receiver(), wire, wire.len().max(1));
    assert_eq!(receive(receiver(), wire, step), whole);

    let mut sender = Sender::server().with_deflate(&agreed);
    let (mut wire, mut sent) = (Vec::new(), Vec::new());
    for message in input.chunks(input.len().div_ceil(3).max(1)) {
        assert!(sender.message(Kind::Binary, message, &mut wire).is_ok());
        sent.push(Seen::Message(Kind::Binary, message.to_vec()));
    }
    assert_eq!(receive(receiver(), &wire, step), (sent, None));
}

fn receive(mut receiver: Receiver, wire: &[u8], step: usize) -> (Vec<Seen>, Option<Violation>) {
    let (mut seen, mut message) = (Vec::new(), Vec::new());
    for piece in wire.chunks(step) {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            let used = match receiver.feed(rest) {
                Ok((used, None)) => {
                    assert_eq!(used, rest.len(), "bytes left and nothing told");
                    break;
                }
                Ok((used, Some(event))) => {
                    match event {
                        Event::Data { kind, data, end, .. } => {
                            message.extend_from_slice(data);
                            if end {
                                seen.push(Seen::Message(kind, std::mem::take(&mut message)));
                            }
                        }
                        Event::Ping(payload) => seen.push(Seen::Ping(payload.to_vec())),
                        Event::Pong(payload) => seen.push(Seen::Pong(payload.to_vec())),
                        Event::Close { code, reason } => {
                            seen.push(Seen::Close(
                                code.map(|code| code.value()),
                                reason.to_owned(),
                            ));
                        }
                    }
                    used
                }
                Err(violation) => {
                    assert_eq!(receiver.feed(&mut [0]), Err(violation), "a violation is terminal");
                    return (seen, Some(violation));
                }
            };
            rest = &mut std::mem::take(&mut rest)[used..];
        }
    }
    (seen, None)
}
