//! Range requests (RFC 9110 §14).
//!
//! A field of another unit, or a malformed one, is ignored, and for ranges that overlap, or too
//! many of them, the whole representation is sent, both as §14.2 allows.

use http::header;
use http_range_header::{RangeUnsatisfiableError, parse_range_header};

use super::head::RequestHead;

/// The range that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Several ranges, in the order of the request: first and last byte of each.
    Parts(Vec<(u64, u64)>),
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
        let text = text.trim_end_matches([' ', '\t']);
        if text.split(',').count() > MAX_RANGES {
            return Self::Whole;
        }
        let ranges = parse_range_header(text).and_then(|ranges| ranges.validate(size));
        match ranges.as_deref() {
            Ok([range]) => Self::Part { first: *range.start(), last: *range.end() },
            Ok(ranges) if ranges.len() > 1 => {
                let ranges = ranges.iter().map(|range| (*range.start(), *range.end()));
                let ranges: Vec<_> = ranges.collect();
                if overlap(&ranges) { Self::Whole } else { Self::Parts(ranges) }
            }
            Err(RangeUnsatisfiableError::Unsatisfiable) => Self::Unsatisfiable,
            // Malformed, overlapping, or a suffix of an empty representation, which has no range.
            _ => Self::Whole,
        }
    }
}

/// The part of a representation that a message has as its content (RFC 9110 §14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, below `size`.
    pub last: u64,
    /// Size of the whole representation.
    pub size: u64,
}

impl ContentRange {
    /// Parses `bytes FIRST-LAST/SIZE`.
    ///
    /// Returns `None` for another form, also for an unknown size (`*`).
    pub fn parse(text: &str) -> Option<Self> {
        let (bytes, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = bytes.split_once('-')?;
        let (first, last, size) = (number(first)?, number(last)?, number(size)?);
        (first <= last && last < size).then_some(Self { first, last, size })
    }

    /// Returns whether it is all of the representation from its first byte on.
    pub const fn is_rest(&self) -> bool {
        self.last + 1 == self.size
    }
}

/// Parses digits only.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Returns whether two of the ranges have a byte in common.
fn overlap(ranges: &[(u64, u64)]) -> bool {
    let mut ranges = ranges.to_vec();
    ranges.sort_unstable();
    ranges.windows(2).any(|pair| pair[1].0 <= pair[0].1)
}

/// Maximum number of ranges of one request: each has a head of its own, so that many small ones are
/// more than the whole.
const MAX_RANGES: usize = 16;

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
    fn ht_9_several_ranges_are_found_unless_they_overlap_or_are_too_many() {
        for (text, range) in [
            ("bytes=1-2,4-5", Range::Parts(vec![(1, 2), (4, 5)])),
            ("bytes=8-, 0-1", Range::Parts(vec![(8, 9), (0, 1)])),
            ("bytes=0-1,3-4,20-30", Range::Parts(vec![(0, 1), (3, 4)])),
            ("bytes=0-1,20-30", part(0, 1)),
            // An empty element of a list has no meaning (§5.6.1).
            ("bytes=,1-2", part(1, 2)),
            ("bytes=20-,30-", Range::Unsatisfiable),
            ("bytes=0-4,4-5", Range::Whole),
            ("bytes=0-,-1", Range::Whole),
        ] {
            assert_eq!(Range::parse(text, 10), range, "{text}");
        }
        let ranges = |count: u64| {
            let ranges: Vec<String> = (0..count).map(|n| format!("{}-{}", 2 * n, 2 * n)).collect();
            Range::parse(&format!("bytes={}", ranges.join(",")), 100)
        };
        assert!(matches!(ranges(16), Range::Parts(parts) if parts.len() == 16));
        assert_eq!(ranges(17), Range::Whole);
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
            "lines=1-2",
            "bytes 1-2",
            "bytes=1-2-3",
        ] {
            assert_eq!(Range::parse(text, 10), Range::Whole, "{text:?}");
        }
    }

    #[test]
    fn a_content_range_has_three_numbers_in_order() {
        let range = |first, last, size| Some(ContentRange { first, last, size });
        for (text, expected) in [
            ("bytes 0-4/5", range(0, 4, 5)),
            ("bytes 2-3/5", range(2, 3, 5)),
            ("bytes 0-18446744073709551614/18446744073709551615", range(0, u64::MAX - 1, u64::MAX)),
            ("bytes 0-4/*", None),
            ("bytes */5", None),
            ("bytes 3-2/5", None),
            ("bytes 0-5/5", None),
            ("bytes 0-18446744073709551615/18446744073709551616", None),
            ("bytes +0-4/5", None),
            ("bytes -4/5", None),
            ("lines 0-4/5", None),
            ("bytes=0-4/5", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::parse(text), expected, "{text}");
        }
        assert!(ContentRange::parse("bytes 2-4/5").unwrap().is_rest());
        assert!(!ContentRange::parse("bytes 2-3/5").unwrap().is_rest());
    }
}
