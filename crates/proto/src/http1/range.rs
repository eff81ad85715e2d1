//! Range requests (RFC 9110 §14).
//!
//! One range of bytes is served. A field of another unit, or a malformed one, is ignored, and for
//! several ranges the whole representation is sent, both as §14.2 allows.

use super::head::RequestHead;
use http::header;

/// The range that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The whole representation.
    Whole,
    /// The bytes from `first` to `last`, both inclusive and within it.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// The representation has none of these bytes.
    Unsatisfiable,
}

impl Range {
    /// Returns the range that a request asks for, of a representation of `size` bytes.
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
            // All of a shorter representation; an empty one has no range.
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
    /// Not a number; also the comma of a second range.
    Malformed,
}

/// Parses one bound. A number that overflows is beyond every end.
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
    fn ht_9_a_range_beyond_the_end_cannot_be_satisfied() {
        for text in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(Range::parse(text, 10), Range::Unsatisfiable, "{text}");
        }
        assert_eq!(Range::parse("bytes=0-", 0), Range::Unsatisfiable);
        assert_eq!(Range::parse("bytes=-5", 0), Range::Whole);
    }

    #[test]
    fn ht_9_malformed_and_unsupported_ranges_are_ignored() {
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
