//! Lines that a person reads at a glance: never wider than a page, whatever names a peer chooses.

use std::error::Error;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns of such a line on a terminal.
pub const COLUMNS: usize = 100;

/// Returns `name`, all of `what`, and those of `details` that fit into `columns`, the most
/// important first.
///
/// A name that is too long keeps its end, which distinguishes files. A longer line is possible only
/// if `what` leaves less than `SHORTEST_NAME`, as with a full IPv6 address.
pub fn one_line(name: &str, what: &str, details: &[String], columns: usize) -> String {
    let reserved = name.width().min(WHOLE_NAME);
    let (mut used, mut rest) = (what.width(), what.to_owned());
    for detail in details {
        let width = SEPARATOR.len() + detail.width();
        if reserved + used + width <= columns {
            used += width;
            rest.push_str(SEPARATOR);
            rest.push_str(detail);
        }
    }
    end_of(name, columns.saturating_sub(used).max(SHORTEST_NAME)) + &rest
}

/// Returns an error and its causes in one line.
pub fn reason(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let reason = cause.to_string();
        // Some errors, such as those of h2, state their cause themselves.
        if !line.ends_with(&reason) {
            line.push_str(": ");
            line.push_str(&reason);
        }
        source = cause.source();
    }
    line
}

/// Returns the end of `name`, after an ellipsis if it is shortened.
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

/// Columns up to which a name is not shortened; details are omitted first.
const WHOLE_NAME: usize = 32;

/// Columns that are reserved for the name.
const SHORTEST_NAME: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_never_wider_than_a_page() {
        let details: Vec<String> = (0..5).map(|number| format!("detail {number}")).collect();
        for name in ["x", &"ü".repeat(200), &"漢".repeat(200), &"a/".repeat(200)] {
            for what in [" stored: 3.00 MB in 0.028 s", " w"] {
                let line = one_line(name, what, &details, COLUMNS);
                assert!(line.width() <= COLUMNS, "{} columns: {line}", line.width());
                assert!(line.contains("detail 0"), "{line}");
            }
        }
        let long = vec!["d".repeat(60), "e".repeat(60), "f".to_owned()];
        assert_eq!(one_line("x", "", &long, COLUMNS), format!("x, {}, f", long[0]));
    }

    #[test]
    fn a_long_name_keeps_its_end() {
        let line = one_line(&format!("{}/photo.jpg", "d".repeat(200)), " stored", &[], COLUMNS);
        assert!(line.starts_with("…ddd") && line.ends_with("ddd/photo.jpg stored"), "{line}");
        assert_eq!(line.width(), COLUMNS);
    }
}
