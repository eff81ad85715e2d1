//! Events as in docs/rooms.md, and properties of all events.

use proptest::prelude::*;

use super::*;
use crate::rooms::id::tests::any_id;
use crate::rooms::make_visible;
use crate::rooms::name::tests::{any_nickname, any_room};
use crate::transfer::refusal::RefusalCode;

fn any_members() -> impl Strategy<Value = Members> {
    (prop::collection::vec(any_nickname(), 0..4), 0..3_u64)
        .prop_map(|(members, listeners)| Members { members, listeners })
}

fn any_message() -> impl Strategy<Value = Message> {
    let key = prop::option::of("[A-Za-z0-9_-]{1,64}");
    (any_id(), any_nickname(), any::<String>(), any::<String>(), key).prop_map(
        |(id, from, text, time, key)| {
            let key = key.map(|key| key.parse().unwrap());
            Message { id, from, text, time, key }
        },
    )
}

fn any_event() -> impl Strategy<Value = Event> {
    let refusal = (any::<String>(), any::<Option<String>>());
    prop_oneof![
        (any_room(), any_nickname(), any_members(), prop::option::of(any_id())).prop_map(
            |(room, nick, others, last)| Event::Joined(Joined { room, nick, others, last })
        ),
        any_message().prop_map(Event::Message),
        (any_id(), any_nickname(), any::<String>()).prop_map(|(id, nick, time)| Event::Join {
            id,
            nick,
            time
        }),
        (any_id(), any_nickname(), any::<String>()).prop_map(|(id, nick, time)| Event::Leave {
            id,
            nick,
            time
        }),
        any::<Option<u64>>().prop_map(|count| Event::Lost { count }),
        any_members().prop_map(Event::Members),
        refusal.prop_map(|(message, hint)| {
            Event::Error(Refusal { code: RefusalCode::TooLarge, message, hint })
        }),
    ]
}

/// Returns the event with each text as it is sent.
fn shown(event: Event) -> Event {
    let visible = |text: String| make_visible(&text).into_owned();
    match event {
        Event::Message(message) => Event::Message(Message {
            text: visible(message.text),
            time: visible(message.time),
            ..message
        }),
        Event::Join { id, nick, time } => Event::Join { id, nick, time: visible(time) },
        Event::Leave { id, nick, time } => Event::Leave { id, nick, time: visible(time) },
        Event::Error(Refusal { code, message, hint }) => {
            Event::Error(Refusal { code, message: visible(message), hint: hint.map(visible) })
        }
        event @ (Event::Joined(_) | Event::Lost { .. } | Event::Members(_)) => event,
    }
}

fn documented() -> [(&'static str, &'static str); 14] {
    [
        (
            r#"{"joined":{"room":"lobby","as":"alice","members":["bob"],"listeners":0,"last":"k3f9c2-40"}}"#,
            "* you are alice in lobby; here: bob",
        ),
        (
            r#"{"joined":{"room":"lobby","as":"alice","members":[],"listeners":0}}"#,
            "* you are alice in lobby; here: no other members",
        ),
        (
            r#"{"message":{"id":"k3f9c2-41","from":"bob","text":"hello","time":"2026-11-21T11:05:09.123Z"}}"#,
            "bob: hello",
        ),
        (
            r#"{"message":{"id":"k3f9c2-41","from":"bob","text":"say \"a\\b\"","time":"","key":"7"}}"#,
            r#"bob: say "a\b""#,
        ),
        (
            r#"{"join":{"id":"k3f9c2-42","nick":"carol","time":"2026-11-21T11:05:10.001Z"}}"#,
            "* carol joined",
        ),
        (
            r#"{"leave":{"id":"k3f9c2-43","nick":"bob","time":"2026-11-21T11:05:11.400Z"}}"#,
            "* bob left",
        ),
        (r#"{"lost":{"count":12}}"#, "* 12 events lost"),
        (r#"{"lost":{"count":1}}"#, "* 1 event lost"),
        (r#"{"lost":{}}"#, "* events lost"),
        (r#"{"members":{"members":["alice","carol"],"listeners":0}}"#, "* here: alice, carol"),
        (
            r#"{"members":{"members":["alice","bob"],"listeners":2}}"#,
            "* here: alice, bob and 2 listeners",
        ),
        (r#"{"members":{"members":[],"listeners":1}}"#, "* here: 1 listener"),
        (
            r#"{"error":{"code":"too-large","message":"the message is longer than 65536 bytes"}}"#,
            "! the message is longer than 65536 bytes",
        ),
        (
            r#"{"error":{"code":"busy","message":"too fast","hint":"wait"}}"#,
            "! too fast (hint: wait)",
        ),
    ]
}

#[test]
fn events_are_encoded_as_documented() {
    for (json, text) in documented() {
        let event = Event::from_json(json).unwrap();
        assert_eq!(event.to_json(), json);
        assert_eq!(event.to_text(), text);
    }
}

#[test]
fn unknown_keys_are_ignored() {
    let json = r#"{"lost":{"count":2,"why":"slow"}}"#;
    assert_eq!(Event::from_json(json), Ok(Event::Lost { count: Some(2) }));
}

#[test]
fn the_error_of_an_event_names_its_fault() {
    for (json, message) in [
        (
            r#"{"said":{}}"#,
            r#"unknown message "said"; expected one of joined, message, join, leave, lost, members, error"#,
        ),
        (
            r#"{"join":{"id":"41","nick":"a","time":""}}"#,
            r#"bad value "41" for "id" in "join"; expected an id such as k3f9c2-41"#,
        ),
        (
            r#"{"leave":{"id":"k3f9c2-1","time":""}}"#,
            r#""nick" is missing in "leave"; expected a nickname"#,
        ),
        (
            r#"{"members":{"members":["a","* b"],"listeners":0}}"#,
            r#"bad value […] for "members" in "members"; expected a list of nicknames"#,
        ),
    ] {
        assert_eq!(Event::from_json(json).unwrap_err().to_string(), message, "{json}");
    }
}

#[test]
fn a_message_cannot_look_like_a_notice_or_another_member() {
    let message = |text: &str| Message {
        id: "k3f9c2-41".parse().unwrap(),
        from: "mallory".parse().unwrap(),
        text: text.to_owned(),
        time: String::new(),
        key: None,
    };
    for (said, reported) in [
        ("hi\nalice: I resign", "mallory: hi␊alice: I resign"),
        ("\r* alice left", "mallory: ␍* alice left"),
        ("\u{1b}[2K\u{1b}[Galice: hi", "mallory: ␛[2K␛[Galice: hi"),
        ("a\u{2028}b\u{202e}c", "mallory: a�b�c"),
    ] {
        assert_eq!(Event::Message(message(said)).to_text(), reported);
    }
}

proptest! {
    #[test]
    fn an_event_is_read_as_it_is_written(event in any_event()) {
        let json = event.to_json();
        prop_assert!(serde_json::from_str::<Value>(&json).is_ok());
        prop_assert_eq!(Event::from_json(&json), Ok(shown(event)));
    }

    #[test]
    fn every_event_is_one_line_of_its_own_kind(event in any_event()) {
        let text = event.to_text();
        prop_assert!(!text.contains(char::is_control), "{:?}", text);
        let marks = ['\u{2028}', '\u{2029}', '\u{202e}'];
        prop_assert!(!text.contains(marks), "{:?}", text);
        match &event {
            Event::Message(Message { from, .. }) => {
                let name = format!("{from}: ");
                prop_assert!(text.starts_with(&name));
                prop_assert!(!text.starts_with(['*', '!']));
            }
            Event::Error(_) => prop_assert!(text.starts_with("! ")),
            _ => prop_assert!(text.starts_with("* ")),
        }
    }

    #[test]
    fn writers_append(event in any_event()) {
        let (mut json, mut text) = ("a".to_owned(), "b".to_owned());
        event.push_json(&mut json);
        event.push_text(&mut text);
        prop_assert_eq!(json, format!("a{}", event.to_json()));
        prop_assert_eq!(text, format!("b{}", event.to_text()));
    }
}
