//! The probe of HTTP/2: its preface, and whether the frames of the answer keep the rules
//! (RFC 9113).

use anyport_proto::http2::frame::{
    ACK, CONTINUATION, DATA, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE,
};

use super::Answer;
use super::requests::{Request, understand_http};
use crate::target::Target;

/// The preface of HTTP/2 and an empty SETTINGS frame (§3.4).
pub(super) fn http2(_: &Target) -> Option<Request> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend_from_slice(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]);
    let mut request = Request::new("PRI * HTTP/2.0, then SETTINGS", bytes);
    // GOAWAY, last stream 0, NO_ERROR.
    request.farewell = vec![0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    Some(request)
}

/// Understands the frames of a server: SETTINGS, and those behind it until the acknowledgement of
/// ours. A SETTINGS frame alone could be an accident.
pub(super) fn understand_http2(
    target: &Target,
    request: &Request,
    bytes: &[u8],
    whole: bool,
) -> Option<Answer> {
    let Some((first, rest)) = split(bytes) else {
        return understand_http(target, request, bytes, whole);
    };
    if !first.is_preface() {
        return understand_http(target, request, bytes, whole);
    }
    let Some((payload, mut rest)) = rest.split_at_checked(first.length) else {
        let fault = whole.then(|| "its SETTINGS frame is incomplete".to_owned());
        return fault.map(|fault| Answer::Http2 { settings: Vec::new(), fault: Some(fault) });
    };
    let settings: Vec<_> = payload.as_chunks().0.iter().map(setting).collect();
    let answer = |fault| Answer::Http2 { settings: settings.clone(), fault };
    if let Some(fault) = settings.iter().find_map(|&(number, value)| forbidden(number, value)) {
        return Some(answer(Some(fault)));
    }
    loop {
        let Some((frame, behind)) = split(rest) else {
            let fault = (!rest.is_empty()).then(|| "a frame is incomplete".to_owned());
            return whole.then(|| answer(fault));
        };
        if let Some(fault) = frame.fault() {
            return Some(answer(Some(fault)));
        }
        if frame.is_last() {
            return Some(answer(None));
        }
        let Some(behind) = behind.get(frame.length..) else {
            return whole.then(|| answer(Some("a frame is incomplete".to_owned())));
        };
        rest = behind;
    }
}

/// The header of a frame (§4.1).
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Returns the header of the first frame, and what follows it; `None` if it is incomplete.
fn split(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let (&[a, b, c, kind, flags, d, e, f, g], rest) = bytes.split_first_chunk()?;
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    let stream = u32::from_be_bytes([d, e, f, g]) & (u32::MAX >> 1);
    Some((Frame { length, kind, flags, stream }, rest))
}

/// Returns whether a server sent its part of the preface: SETTINGS (§3.4).
pub(super) fn begins_with_settings(bytes: &[u8]) -> bool {
    split(bytes).is_some_and(|(first, _)| first.is_preface())
}

impl Frame {
    /// Returns whether it may be the first of a server.
    const fn is_preface(&self) -> bool {
        matches!(self, Self { kind: SETTINGS, flags: 0, stream: 0, .. })
            && self.length.is_multiple_of(SETTING)
            && self.length <= MAX_SETTINGS
    }

    /// Returns whether it shows that the server has understood the preface.
    const fn is_last(&self) -> bool {
        self.kind == GOAWAY || (self.kind == SETTINGS && self.flags & ACK != 0)
    }

    /// Returns the rule that the frame breaks. No stream is open, and ours were the default
    /// settings.
    fn fault(&self) -> Option<String> {
        let Self { length, kind, flags, stream } = *self;
        if length > MAX_FRAME {
            return Some(format!("a frame of {length} bytes, more than {MAX_FRAME} (§4.2)"));
        }
        let is_of_connection = matches!(kind, SETTINGS | PING | GOAWAY);
        if is_of_connection && stream != 0 {
            return Some(format!("a frame of the connection on stream {stream} (§5.1.1)"));
        }
        let is_of_length = match kind {
            SETTINGS if flags & ACK != 0 => length == 0,
            SETTINGS => length % SETTING == 0,
            PING => length == 8,
            GOAWAY => length >= 8,
            WINDOW_UPDATE => length == 4,
            PRIORITY => length == 5,
            _ => true,
        };
        if !is_of_length {
            return Some(format!("a frame of type {kind} with length {length} (§6)"));
        }
        let needs_stream =
            matches!(kind, DATA | HEADERS | RST_STREAM | PUSH_PROMISE | CONTINUATION);
        needs_stream
            .then(|| format!("a frame of type {kind} on stream {stream}, which is idle (§5.1)"))
    }
}

fn setting(bytes: &[u8; SETTING]) -> (u16, u32) {
    let [a, b, c, d, e, f] = *bytes;
    (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))
}

/// Returns why a server must not send this setting (§6.5.2).
fn forbidden(number: u16, value: u32) -> Option<String> {
    let (name, is_allowed) = match number {
        2 => ("ENABLE_PUSH", value == 0),
        4 => ("INITIAL_WINDOW_SIZE", value <= u32::MAX >> 1),
        5 => ("MAX_FRAME_SIZE", (1 << 14..1 << 24).contains(&value)),
        _ => return None,
    };
    (!is_allowed).then(|| format!("a server must not send {name}={value} (§6.5.2)"))
}

/// Size of one setting, in bytes.
const SETTING: usize = 6;

/// Maximum size of the settings of a server, in bytes: few exist.
const MAX_SETTINGS: usize = 60 * SETTING;

/// Maximum size of a frame under default settings, in bytes (§4.2).
const MAX_FRAME: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[0, high, low, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn understood(bytes: &[u8], whole: bool) -> Option<(usize, Option<String>)> {
        let target = "127.0.0.1:1".parse().unwrap();
        let request = http2(&target).unwrap();
        match understand_http2(&target, &request, bytes, whole) {
            Some(Answer::Http2 { settings, fault }) => Some((settings.len(), fault)),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn settings_and_their_acknowledgement_are_http2_in_every_segmentation() {
        let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
        let update = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]);
        let unknown = frame(0xfa, 0, 9, b"grease");
        let all = [settings.clone(), update, unknown, frame(SETTINGS, ACK, 0, &[])].concat();
        for count in 0..all.len() {
            assert_eq!(understood(&all[..count], false), None, "{count}");
        }
        assert_eq!(understood(&all, false), Some((1, None)));
        assert_eq!(understood(&settings, true), Some((1, None)), "a slow server");
        let leaves = [settings, frame(GOAWAY, 0, 0, &[0; 8])].concat();
        assert_eq!(understood(&leaves, false), Some((1, None)));
    }

    #[test]
    fn frames_that_break_a_rule_are_no_http2() {
        let settings = frame(SETTINGS, 0, 0, &[]);
        for (behind, words) in [
            (&b"garbage of another protocol"[..], "a frame of 6775154 bytes"),
            (b"short", "a frame is incomplete"),
            (&frame(DATA, 0, 1, b"x"), "a frame of type 0 on stream 1, which is idle"),
            (&frame(PING, 0, 0, b"x"), "a frame of type 6 with length 1"),
            (&frame(SETTINGS, ACK, 0, b"x"), "a frame of type 4 with length 1"),
            (&frame(SETTINGS, 0, 3, &[]), "a frame of the connection on stream 3"),
        ] {
            let (_, fault) = understood(&[&settings, behind].concat(), true).unwrap();
            assert!(fault.as_ref().is_some_and(|fault| fault.contains(words)), "{fault:?}");
        }
        for (number, value) in [(2, 1), (4, 1 << 31), (5, 16_383), (5, 1 << 24)] {
            let value = u32::to_be_bytes(value);
            let bytes = frame(SETTINGS, 0, 0, &[&[0, number], &value[..]].concat());
            let (_, fault) = understood(&bytes, false).unwrap();
            assert!(fault.is_some_and(|fault| fault.contains("must not send")), "{number}");
        }
        let (_, fault) = understood(&frame(SETTINGS, 0, 0, &[0; 12])[..15], true).unwrap();
        assert!(fault.is_some_and(|fault| fault.contains("SETTINGS frame is incomplete")));
    }

    #[test]
    fn the_number_of_settings_is_limited() {
        let settings = |count| frame(SETTINGS, 0, 0, &vec![0; count * SETTING]);
        assert_eq!(understood(&settings(60), true), Some((60, None)));
        assert_eq!(understood(&settings(61), true), None);
    }
}
