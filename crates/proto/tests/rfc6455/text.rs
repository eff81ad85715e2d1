//! Text is UTF-8 (RFC 6455 §8.1), checked as it arrives.

use anyport_proto::ws::{CloseCode, Fragment, Kind, Opcode, Violation};
use anyport_testkit::hex;

use crate::session::{Seen, control, frame, ping, receive, refuses, server, tells};

const GOOD: &str = "aé€𝄞\u{fffe}\u{ffff}\u{10ffff}\u{d7ff}\u{e000}";

/// A frame for each byte, so that every carry goes from frame to frame and every mask begins anew.
#[test]
fn ut_1_characters_are_carried_from_frame_to_frame() {
    let mut wire = frame(Kind::Text, Fragment::First, b"");
    for byte in GOOD.as_bytes() {
        wire.extend_from_slice(&frame(Kind::Text, Fragment::Middle, &[*byte]));
    }
    wire.extend_from_slice(&frame(Kind::Text, Fragment::Last, b""));
    tells(&wire, &[Seen::Message(Kind::Text, GOOD.as_bytes().to_vec())]);
}

#[test]
fn ut_1_nothing_is_carried_from_message_to_message() {
    let cut = frame(Kind::Text, Fragment::First, &"é".as_bytes()[..1]);
    let wire = [cut, frame(Kind::Text, Fragment::Last, b"")].concat();
    refuses(&wire, Violation::NotUtf8, CloseCode::INVALID_DATA);
    let first = frame(Kind::Text, Fragment::Whole, "é".as_bytes());
    let second = frame(Kind::Text, Fragment::Whole, &"é".as_bytes()[1..]);
    refuses(&[first, second].concat(), Violation::NotUtf8, CloseCode::INVALID_DATA);
}

#[test]
fn ut_2_invalid_text_is_refused_before_the_rest_arrives() {
    let wire = frame(Kind::Text, Fragment::Whole, b"good \xff and a long rest");
    let up_to_the_bad_byte = &wire[..6 + 6];
    assert_eq!(receive(server(), &[up_to_the_bad_byte]).violation, Some(Violation::NotUtf8));
    assert_eq!(receive(server(), &[&up_to_the_bad_byte[..11]]).violation, None);
}

/// Autobahn 6.4: also where the rest of the character is in a frame that never comes.
#[test]
fn ut_2_an_impossible_byte_is_refused_in_an_incomplete_character() {
    let first = frame(Kind::Text, Fragment::First, "κόσμε\u{f4}".as_bytes());
    let lead = frame(Kind::Text, Fragment::Middle, b"\xf4");
    let impossible = frame(Kind::Text, Fragment::Middle, b"\x90 and more");
    let up_to_it = &impossible[..6 + 1];
    assert_eq!(receive(server(), &[&first, &lead]).violation, None);
    let session = receive(server(), &[&first, &lead, up_to_it]);
    assert_eq!(session.violation, Some(Violation::NotUtf8));
}

#[test]
fn ut_3_surrogates_overlong_forms_and_codes_beyond_unicode_are_refused_with_1007() {
    for bad in [
        "eda080",
        "edbfbf",
        "eda080edb080",
        "c080",
        "c1bf",
        "e08080",
        "e09fbf",
        "f0808080",
        "f08fbfbf",
        "f4908080",
        "f5808080",
        "f8888080 80",
        "fc84808080 80",
        "fe",
        "ff",
        "80",
        "bf",
    ] {
        for fragment in [Fragment::Whole, Fragment::First] {
            let wire = frame(Kind::Text, fragment, &hex(bad));
            refuses(&wire, Violation::NotUtf8, CloseCode::INVALID_DATA);
        }
        // The same bytes are valid in a binary message.
        let wire = frame(Kind::Binary, Fragment::Whole, &hex(bad));
        tells(&wire, &[Seen::Message(Kind::Binary, hex(bad))]);
    }
    for good in ["efbfbe", "efbfbf", "f48fbfbf", "f09fbfbe", "ed9fbf", "ee8080", "00"] {
        let wire = frame(Kind::Text, Fragment::Whole, &hex(good));
        tells(&wire, &[Seen::Message(Kind::Text, hex(good))]);
    }
}

#[test]
fn ut_4_text_that_ends_inside_a_character_is_refused_with_1007() {
    let wire = frame(Kind::Text, Fragment::Whole, &"é".as_bytes()[..1]);
    refuses(&wire, Violation::NotUtf8, CloseCode::INVALID_DATA);
}

#[test]
fn ut_4_every_character_that_is_cut_at_fin_is_refused_with_1007() {
    for text in ["é", "€", "𝄞"] {
        for end in 1..text.len() {
            let wire = frame(Kind::Text, Fragment::Whole, &text.as_bytes()[..end]);
            refuses(&wire, Violation::NotUtf8, CloseCode::INVALID_DATA);
        }
    }
}

#[test]
fn ut_5_close_reasons_are_checked_too() {
    let close = |reason: &[u8]| control(Opcode::Close, &[b"\x03\xe8", reason].concat());
    for bad in ["ff", "eda080", "c3", "61 e282", "f0808080"] {
        let wire = close(&hex(bad));
        refuses(&wire, Violation::CloseReasonNotUtf8, CloseCode::INVALID_DATA);
    }
    let reason = GOOD.to_owned();
    tells(&close(GOOD.as_bytes()), &[Seen::Close(Some(CloseCode::NORMAL), reason)]);
}

#[test]
fn ut_6_characters_are_cut_anywhere_also_by_pings_and_fragments() {
    let text = "é€𝄞".as_bytes();
    for at in 0..=text.len() {
        let wire = [
            frame(Kind::Text, Fragment::First, &text[..at]),
            ping(b""),
            frame(Kind::Text, Fragment::Last, &text[at..]),
        ]
        .concat();
        tells(&wire, &[Seen::Ping(vec![]), Seen::Message(Kind::Text, text.to_vec())]);
    }
}
