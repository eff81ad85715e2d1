//! JSON texts, appended to a buffer: a message is encoded once for each form, and copied nowhere.

use std::fmt::{Display, Write};

use crate::visible::picture;

/// Appends `text` in quotes, made visible: after that JSON must escape only two characters.
pub(super) fn push_string(into: &mut String, text: &str) {
    into.push('"');
    let mut plain = 0;
    for (at, character) in text.char_indices() {
        let escaped = matches!(character, '"' | '\\');
        let shown = picture(character);
        if escaped || shown.is_some() {
            into.push_str(&text[plain..at]);
            plain = at + character.len_utf8();
            if escaped {
                into.push('\\');
            }
            into.push(shown.unwrap_or(character));
        }
    }
    into.push_str(&text[plain..]);
    into.push('"');
}

/// Appends `"key":"value"` for a value without quotes and control characters.
pub(super) fn push_plain(into: &mut String, key: &str, value: impl Display) {
    write!(into, "\"{key}\":\"{value}\"").expect("a String takes all");
}

/// Appends a list of values without quotes and control characters.
pub(super) fn push_list(into: &mut String, values: impl IntoIterator<Item = impl Display>) {
    into.push('[');
    for (at, value) in values.into_iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        write!(into, "{comma}\"{value}\"").expect("a String takes all");
    }
    into.push(']');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rooms::make_visible;

    proptest! {
        #[test]
        fn a_string_is_read_as_it_was_made_visible(text: String, c in any::<char>()) {
            let text = format!("{text}{c}\"\\");
            let mut json = String::new();
            push_string(&mut json, &text);
            let read: String = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(make_visible(&text), read.as_str());
        }
    }
}
