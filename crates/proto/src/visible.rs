//! Text of a peer on a terminal: characters that would move the cursor, reverse the text or end the
//! line are made visible.

use std::borrow::Cow;

/// Returns `text` with a visible character in place of each control: C0 with tab, DEL and C1, line
/// ends of Unicode, and the marks that change the direction of text.
pub fn make_visible(text: &str) -> Cow<'_, str> {
    if is_visible(text) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len());
    push_visible(&mut visible, text);
    Cow::Owned(visible)
}

/// Appends `text` as [`make_visible`] returns it.
pub fn push_visible(into: &mut String, text: &str) {
    if is_visible(text) {
        into.push_str(text);
    } else {
        into.extend(text.chars().map(|character| picture(character).unwrap_or(character)));
    }
}

/// Returns a text of several lines as [`make_visible`] returns each line.
pub fn make_lines_visible(text: &str) -> Cow<'_, str> {
    if text.split('\n').all(is_visible) {
        return Cow::Borrowed(text);
    }
    let shown = |character| if character == '\n' { None } else { picture(character) };
    Cow::Owned(text.chars().map(|character| shown(character).unwrap_or(character)).collect())
}

/// Returns serialized JSON with an escape in place of each character that a terminal would
/// interpret: DEL, C1, line ends of Unicode, and the marks that change the direction of text.
///
/// JSON allows them only in strings; serializers escape C0 themselves.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    let acts = |character: char| character >= '\u{7f}' && picture(character).is_some();
    if json.is_ascii() && !json.contains('\u{7f}') || !json.contains(acts) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 64);
    for character in json.chars() {
        if acts(character) {
            // All of them are in the basic multilingual plane.
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

fn is_visible(text: &str) -> bool {
    // PERF: without an early exit the compiler vectorizes the loop, and most messages are plain
    // ASCII.
    let plain = text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'));
    plain || text.chars().all(|character| picture(character).is_none())
}

/// Returns the visible form of a control character; `None` for any other character.
pub(crate) fn picture(character: char) -> Option<char> {
    match character {
        '\0'..='\u{1f}' => char::from_u32(PICTURES + u32::from(character)),
        '\u{7f}' => Some('\u{2421}'),
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => Some(char::REPLACEMENT_CHARACTER),
        _ => None,
    }
}

/// Unicode has pictures of C0 in the order of their codes.
const PICTURES: u32 = 0x2400;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn controls_are_made_visible_and_the_rest_stays() {
        for (text, visible) in [
            ("hello, wörld 🎉", "hello, wörld 🎉"),
            ("a\u{1b}[2Jb", "a␛[2Jb"),
            ("a\r\nb\tc\0", "a␍␊b␉c␀"),
            ("\u{7f}\u{9b}2J", "␡�2J"),
            ("\u{202e}evil\u{2066}\u{200f}\u{61c}", "�evil���"),
            ("a\u{2028}b\u{2029}c\u{85}d", "a�b�c�d"),
        ] {
            assert_eq!(make_visible(text), visible, "{text:?}");
        }
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(make_lines_visible("a\n\u{1b}b\r\n"), "a\n␛b␍\n");
        assert!(matches!(make_lines_visible("a\nb\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn plain_text_is_not_copied() {
        for text in ["", "plain ~", "größer", "🎉"] {
            assert!(matches!(make_visible(text), Cow::Borrowed(_)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn escaped_json_parses_the_same_and_controls_no_terminal(text: String, c in any::<char>()) {
            let text = format!("{text}{c}\u{9b}\u{202e}\u{2028}\u{7f}");
            let json = serde_json::to_string(&[&text]).unwrap();
            let escaped = escape_json(&json);
            prop_assert_eq!(make_visible(&escaped), escaped.as_ref());
            prop_assert_eq!(serde_json::from_str::<[String; 1]>(&escaped).unwrap(), [text]);
        }

        #[test]
        fn no_control_remains_and_the_result_is_stable(text: String, c in any::<char>()) {
            let text = format!("{text}{c}");
            let visible = make_visible(&text).into_owned();
            prop_assert!(!visible.contains(char::is_control));
            let marks = ['\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}', '\u{200e}'];
            prop_assert!(!visible.contains(marks));
            prop_assert_eq!(make_visible(&visible), visible.as_str());
            prop_assert_eq!(visible.chars().count(), text.chars().count());
            let mut pushed = "before ".to_owned();
            push_visible(&mut pushed, &text);
            prop_assert_eq!(pushed.strip_prefix("before "), Some(visible.as_str()));
        }
    }
}
