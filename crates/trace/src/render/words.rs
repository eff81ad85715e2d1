//! Numbers, times and limits in words.

use std::time::{Duration, UNIX_EPOCH};

use anyport_proto::visible::make_visible;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::diagnosis::{Diagnosis, Limit};
use crate::event::Time;

/// Milliseconds on the axis, in at most 9 characters below 11 days.
pub(super) fn milliseconds(at: Time) -> String {
    let ms = at.0.as_secs_f64() * 1e3;
    match ms {
        ..1e4 => format!("{ms:.3}"),
        ..1e6 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// A time with its unit and three digits.
pub(super) fn duration(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    let (value, unit) = match us {
        ..999.5 => (us, "µs"),
        ..999_500.0 => (us / 1e3, "ms"),
        _ => (us / 1e6, "s"),
    };
    let decimals = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    let number = format!("{value:.decimals$}");
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        &number
    };
    format!("{number} {unit}")
}

/// `1017558069` as `1,017,558,069`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with its unit, the unit in the plural unless it is one.
pub(super) fn count(number: u64, unit: &str) -> String {
    format!("{} {unit}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// When a trace began, as in `Fri, 15 Jan 2027 08:00:00 GMT`; empty if that is not known.
pub(super) fn date(began: f64) -> String {
    // `fmt_http_date` allows years up to 9999.
    let began = Duration::try_from_secs_f64(began).ok().filter(|began| began.as_secs() < 1 << 37);
    match began {
        Some(began) if !began.is_zero() => httpdate::fmt_http_date(UNIX_EPOCH + began),
        _ => String::new(),
    }
}

/// The diagnosis in sentences: how the command ended, the limit, its evidence, what to change.
pub(super) fn diagnosis_lines(diagnosis: &Diagnosis) -> Vec<String> {
    let share = diagnosis.share.map(|share| format!(", {:.0} % of the time", share * 100.0));
    let share = share.filter(|_| diagnosis.main != Limit::Unknown).unwrap_or_default();
    let ended = diagnosis.ended.map(|ended| format!("Did not complete: {ended}."));
    let mut lines: Vec<_> = ended.into_iter().collect();
    // Of a command that transferred nothing, its end is what matters.
    if lines.is_empty() || diagnosis.main != Limit::Unknown {
        lines.push(format!("Main limit: {}{share}.", diagnosis.limit()));
    }
    if !diagnosis.evidence.is_empty() {
        let evidence = make_visible(&diagnosis.evidence.join("; ")).into_owned();
        lines.push(format!("Evidence: {}.", evidence.trim_end_matches('.')));
    }
    if let Some(advice) = &diagnosis.advice {
        lines.push(make_visible(advice).into_owned());
    }
    lines
}

/// `text` with spaces behind it, or cut.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let missing = columns.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(missing))
}

/// Returns `text` in at most this number of columns, with an ellipsis for its middle.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let kept = columns.saturating_sub(1);
    let end = kept / 3;
    let tail: String = first(text.chars().rev(), end).chars().rev().collect();
    format!("{}…{tail}", first(text.chars(), kept - end))
}

/// The first characters that fit.
fn first(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    let fits = |character: &char| {
        used += character.width().unwrap_or(0);
        used <= columns
    };
    characters.take_while(fits).collect()
}

/// Parts of a text behind which a line may be broken: at spaces, and at commas of lists.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let ends = |(at, character): (usize, char)| {
            let next = rest.get(at + 1..)?.chars().next();
            let is_end = match character {
                ' ' => true,
                ',' => next.is_some_and(|next| next != ' ' && !next.is_ascii_digit()),
                _ => false,
            };
            is_end.then_some(at + 1)
        };
        let end = rest.char_indices().filter(|(_, c)| matches!(c, ' ' | ',')).find_map(ends);
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

/// Lines of at most `columns`, broken at spaces, and within a word that is longer; at least one.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in words(text) {
        let width = word.trim_end().width();
        if used > 0 && used + width > columns {
            lines.push(String::new());
            used = 0;
        }
        for character in word.chars() {
            let width = character.width().unwrap_or(0);
            if used + width > columns {
                if character == ' ' {
                    continue;
                }
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(character);
            }
            used += width;
        }
    }
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_groups_and_times_their_unit() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let times = [31, 1_000, 12_345, 480_000, 2_000_000, 90_000_000];
        let shown = times.map(|us| duration(Duration::from_micros(us)));
        assert_eq!(shown, ["31 µs", "1 ms", "12.3 ms", "480 ms", "2 s", "90 s"]);
        let axis = |ms| milliseconds(Time(Duration::from_micros(ms)));
        assert_eq!([31, 12_345_678, 4_000_000_000].map(axis), ["0.031", "12345.7", "4000000"]);
    }

    #[test]
    fn lines_are_broken_at_spaces_or_within_long_words() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(wrapped("{\"a\":1,\"b\":2} 12,345", 8), ["{\"a\":1,", "\"b\":2}", "12,345"]);
        assert_eq!(wrapped("가나다라", 4), ["가나", "다라"]);
        assert_eq!(padded("abcdef", 4), "ab…f");
        assert_eq!(cut("PUT /photos/2026/a-long-name-0012.jpg", 20), "PUT /photos/2…12.jpg");
        assert_eq!(padded("가나다라", 5), "가…  ");
    }
}
