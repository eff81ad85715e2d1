//! Removes what browsers do not need from a script or a style sheet: indentation, and comments that
//! begin a line.

/// Returns the text without them. Lines stay lines, as a line end may end a statement.
///
/// A literal that spans lines would change, so scripts have none; the tests of the assets check it.
pub(crate) fn strip(text: &str) -> String {
    let mut stripped = String::with_capacity(text.len());
    let mut is_comment = false;
    for line in text.lines() {
        let mut rest = line.trim();
        loop {
            if is_comment {
                let Some((_, behind)) = rest.split_once("*/") else {
                    rest = "";
                    break;
                };
                (rest, is_comment) = (behind.trim_start(), false);
            }
            let Some(comment) = rest.strip_prefix("/*") else { break };
            (rest, is_comment) = (comment, true);
        }
        if !rest.is_empty() && !rest.starts_with("//") {
            stripped.push_str(rest);
            stripped.push('\n');
        }
    }
    stripped
}

#[cfg(test)]
mod tests {
    use super::strip;

    #[test]
    fn comments_that_begin_a_line_and_indentation_are_removed() {
        for (text, expected) in [
            ("// @ts-check\nlet a;\n\n  // b\n  a = 1; // c\n", "let a;\na = 1; // c\n"),
            ("/** a\n * b\n */\nf();\n", "f();\n"),
            ("/** @type {A} */ (b).c();\n", "(b).c();\n"),
            ("/* a */ /* b\n*/ c\n", "c\n"),
            ("a = '/*';\nb /* c */ = '//d';\n", "a = '/*';\nb /* c */ = '//d';\n"),
            ("a /= 2\n  / b\n", "a /= 2\n/ b\n"),
        ] {
            assert_eq!(strip(text), expected, "{text}");
        }
    }
}
