//! Text of a peer that a terminal shows: nothing in it may steer that terminal.

use std::borrow::Cow;

/// The text with each control character (C0, DEL, C1, the marks that change the direction of text, and those that end
/// a line) replaced by a visible one: by its picture where it has one (`␛` for ESC), else by `�`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unseen) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_unseen(c) { picture(c) } else { c }).collect())
}

fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Unicode's Control Pictures stand in the order of what they show.
fn picture(c: char) -> char {
    match u32::from(c) {
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or(char::REPLACEMENT_CHARACTER),
        0x7f => '\u{2421}',
        _ => char::REPLACEMENT_CHARACTER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_instead() {
        for (text, shown) in [
            ("plain, ü and 漢", "plain, ü and 漢"),
            ("\x1b[2Jgone", "␛[2Jgone"),
            ("a\nb\r\tc\0", "a␊b␍␉c␀"),
            ("del\x7f c1\u{9b}", "del␡ c1�"),
            ("\u{202e}txt.exe\u{2066}\u{2028}", "�txt.exe��"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }
}
