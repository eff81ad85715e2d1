//! A line that a person reads at a glance: never wider than a page, whatever a peer calls its files.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns of such a line.
pub const COLUMNS: usize = 100;

/// `name`, `what` and as many of `details` as fit into [`COLUMNS`], the most important first. A name that is too long keeps
/// its end, which tells files apart.
pub fn one_line(name: &str, what: &str, details: &[String]) -> String {
    let mut kept = details.len();
    loop {
        let details = &details[..kept];
        let width = |text: &String| SEPARATOR.len() + text.width();
        let rest = what.width() + details.iter().map(width).sum::<usize>();
        let room = COLUMNS.saturating_sub(rest);
        if room >= SHORTEST_NAME.min(name.width()) || kept == 0 {
            let mut line = end_of(name, room.max(SHORTEST_NAME));
            line.push_str(what);
            for detail in details {
                line.push_str(SEPARATOR);
                line.push_str(detail);
            }
            return line;
        }
        kept -= 1;
    }
}

/// The end of `name`, behind an ellipsis if that is not all of it.
fn end_of(name: &str, columns: usize) -> String {
    if name.width() <= columns {
        return name.to_owned();
    }
    let mut width = 1;
    let fits = |character: &char| {
        width += character.width().unwrap_or(0);
        width <= columns
    };
    let kept: usize = name.chars().rev().take_while(fits).map(char::len_utf8).sum();
    format!("…{}", &name[name.len() - kept..])
}

const SEPARATOR: &str = ", ";

/// Columns that a name keeps, if it is not shorter.
const SHORTEST_NAME: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_never_wider_than_a_page() {
        let details: Vec<String> = (0..5).map(|number| format!("detail {number}")).collect();
        for name in ["x", &"ü".repeat(200), &"漢".repeat(200), &"a/".repeat(200)] {
            for what in [" stored: 3.00 MB in 0.028 s", " w"] {
                let line = one_line(name, what, &details);
                assert!(line.width() <= COLUMNS, "{} columns: {line}", line.width());
                assert!(line.ends_with("detail 4"), "{line}");
            }
        }
        let long = vec!["d".repeat(60), "e".repeat(60)];
        assert_eq!(one_line("x", "", &long), format!("x, {}", long[0]));
    }

    #[test]
    fn a_long_name_keeps_its_end() {
        let line = one_line(&format!("{}/photo.jpg", "d".repeat(200)), " stored", &[]);
        assert!(line.starts_with("…ddd") && line.ends_with("ddd/photo.jpg stored"), "{line}");
        assert_eq!(line.width(), COLUMNS);
    }
}
