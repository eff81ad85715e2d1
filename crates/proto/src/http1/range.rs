//! Which bytes of a representation are asked for (RFC 9110 §14).
//!
//! One range of bytes is served. A field of another unit, or one that is malformed, is as if it
//! were not there, and for several ranges the whole representation is sent, both as §14.2 allows.

use super::head::RequestHead;
use http::header;

/// What a request asks of a representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// All of it.
    Whole,
    /// The bytes from `first` to `last`, both inclusive and within it.
    Part {
        /// The bound of the first byte.
        first: u64,
        /// The bound of the last one.
        last: u64,
    },
    /// None of it has the asked places.
    Unsatisfiable,
}

impl Range {
    /// What the `Range` field of a request asks of a representation of `size` bytes.
    pub fn of(head: &RequestHead, size: u64) -> Self {
        let mut fields = head.fields.get_all(header::RANGE).iter();
        match (fields.next(), fields.next()) {
            (Some(field), None) => {
                field.to_str().map_or(Self::Whole, |text| Self::parse(text, size))
            }
            _ => Self::Whole,
        }
    }

    fn parse(text: &str, size: u64) -> Self {
        let Some((unit, set)) = text.split_once('=') else { return Self::Whole };
        let Some((first, last)) = set.trim_matches([' ', '\t']).split_once('-') else {
            return Self::Whole;
        };
        if !unit.eq_ignore_ascii_case("bytes") {
            return Self::Whole;
        }
        match (bound(first), bound(last)) {
            (Bound::At(first), Bound::Empty) => within(first, u64::MAX, size),
            (Bound::At(first), Bound::At(last)) if first <= last => within(first, last, size),
            (Bound::Empty, Bound::At(0)) => Self::Unsatisfiable,
            // Of a representation that is shorter, all of it; of an empty one there is no part to
            // name.
            (Bound::Empty, Bound::At(_)) if size == 0 => Self::Whole,
            (Bound::Empty, Bound::At(suffix)) => {
                within(size.saturating_sub(suffix), u64::MAX, size)
            }
            _ => Self::Whole,
        }
    }
}

enum Bound {
    Empty,
    At(u64),
    /// No number; a comma of a second range, too.
    Malformed,
}

/// A bound beyond what can be counted is beyond every end.
fn bound(text: &str) -> Bound {
    match text {
        "" => Bound::Empty,
        _ if !text.bytes().all(|byte| byte.is_ascii_digit()) => Bound::Malformed,
        _ => Bound::At(text.parse().unwrap_or(u64::MAX)),
    }
}

fn within(first: u64, last: u64, size: u64) -> Range {
    match size.checked_sub(1) {
        Some(end) if first <= end => Range::Part { first, last: last.min(end) },
        _ => Range::Unsatisfiable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: u64, last: u64) -> Range {
        Range::Part { first, last }
    }

    #[test]
    fn ht_9_one_range_of_bytes_is_found() {
        for (text, range) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-4", part(2, 4)),
            ("bytes=2-", part(2, 9)),
            ("BYTES=2-99", part(2, 9)),
            ("bytes=9-9", part(9, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-99", part(0, 9)),
            ("bytes= 1-2 ", part(1, 2)),
            ("bytes=1-99999999999999999999999", part(1, 9)),
            ("bytes=-99999999999999999999999", part(0, 9)),
        ] {
            assert_eq!(Range::parse(text, 10), range, "{text}");
        }
    }

    #[test]
    fn ht_9_what_lies_beyond_cannot_be_satisfied() {
        for text in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(Range::parse(text, 10), Range::Unsatisfiable, "{text}");
        }
        assert_eq!(Range::parse("bytes=0-", 0), Range::Unsatisfiable);
        assert_eq!(Range::parse("bytes=-5", 0), Range::Whole);
    }

    #[test]
    fn ht_9_what_is_malformed_or_not_served_is_the_whole() {
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=4-2",
            "bytes=+1-2",
            "bytes=1 -2",
            "bytes=1-2,4-5",
            "bytes=0-,-1",
            "bytes=,1-2",
            "lines=1-2",
            "bytes 1-2",
            "bytes=1-2-3",
        ] {
            assert_eq!(Range::parse(text, 10), Range::Whole, "{text:?}");
        }
    }
}
