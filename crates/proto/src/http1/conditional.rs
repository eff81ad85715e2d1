//! Conditional requests (RFC 9110 §13).

use http::header::{self, HeaderName};
use http::{HeaderMap, Method};

use super::date;
use super::head::RequestHead;

/// The validators of a representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validators<'a> {
    /// Strong entity tag, with its quotes.
    pub etag: &'a str,
    /// Time of the last modification, in seconds since the epoch.
    pub modified: i64,
}

/// The result of the preconditions of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluation {
    /// Perform the request.
    Proceed,
    /// 304: the client has this representation.
    NotModified,
    /// 412: the representation is not the one that the client expects.
    Failed,
}

/// Evaluates the preconditions in the order of §13.2.2. `current` is `None` if there is no
/// representation.
pub fn evaluate(head: &RequestHead, current: Option<&Validators<'_>>) -> Evaluation {
    let fields = &head.fields;
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    let changed_since = |name: HeaderName| {
        let (date, current) = (sole_date(fields, name)?, current?);
        Some(current.modified > date)
    };
    if fields.contains_key(header::IF_MATCH) {
        if !lists(fields, header::IF_MATCH, current, Comparison::Strong) {
            return Evaluation::Failed;
        }
    } else if changed_since(header::IF_UNMODIFIED_SINCE) == Some(true) {
        return Evaluation::Failed;
    }
    if fields.contains_key(header::IF_NONE_MATCH) {
        return match lists(fields, header::IF_NONE_MATCH, current, Comparison::Weak) {
            true if reads => Evaluation::NotModified,
            true => Evaluation::Failed,
            false => Evaluation::Proceed,
        };
    }
    if reads && changed_since(header::IF_MODIFIED_SINCE) == Some(false) {
        return Evaluation::NotModified;
    }
    Evaluation::Proceed
}

/// Returns whether a `Range` field applies: there is no `If-Range`, or it matches the
/// representation `now` (§13.1.5).
pub fn range_counts(head: &RequestHead, current: &Validators<'_>, now: i64) -> bool {
    let mut values = head.fields.get_all(header::IF_RANGE).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return true,
        (Some(value), None) => value.as_bytes(),
        (Some(_), Some(_)) => return false,
    };
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return value == current.etag.as_bytes();
    }
    // A date is a strong validator only if no second change can have the same one (§8.8.2.2).
    let date = std::str::from_utf8(value).ok().and_then(date::parse);
    date == Some(current.modified) && current.modified < now
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// Strong comparison: both tags are strong and equal (§8.8.3.2).
    Strong,
    /// Weak comparison: the tags are equal except for being weak.
    Weak,
}

/// Returns whether the fields of that name have `*` or a matching tag. A malformed tag ends its
/// field.
fn lists(
    fields: &HeaderMap,
    name: HeaderName,
    current: Option<&Validators<'_>>,
    comparison: Comparison,
) -> bool {
    let Some(current) = current else { return false };
    let opaque = current.etag.as_bytes();
    let mut values = fields.get_all(name).iter().map(|value| value.as_bytes());
    values.any(|value| {
        value == b"*"
            || Tags(value)
                .any(|tag| tag.opaque == opaque && (comparison == Comparison::Weak || !tag.is_weak))
    })
}

struct Tag<'a> {
    is_weak: bool,
    /// The tag with its quotes.
    opaque: &'a [u8],
}

/// The entity tags of a comma-separated list; a tag may contain commas.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let start = self.0.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let text = self.0.get(start..)?;
        let (is_weak, quoted) =
            text.strip_prefix(b"W/").map_or((false, text), |quoted| (true, quoted));
        let inside = quoted.strip_prefix(b"\"")?;
        let length = inside.iter().position(|byte| *byte == b'"')?;
        let (opaque, rest) = quoted.split_at(length + 2);
        self.0 = rest;
        Some(Tag { is_weak, opaque })
    }
}

/// Returns a date if the field is present once and valid; invalid ones are ignored (§13.1.3,
/// §13.1.4).
fn sole_date(fields: &HeaderMap, name: HeaderName) -> Option<i64> {
    let mut values = fields.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    date::parse(value.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::{HeadReader, Pushed};
    use super::Evaluation::{Failed, NotModified, Proceed};
    use super::*;
    use crate::limits::Limits;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const CURRENT: Validators<'_> = Validators { etag: "\"a,b\"", modified: 784_111_777 };

    fn head(method: &str, fields: &str) -> RequestHead {
        let wire = format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        match HeadReader::new().push(wire.as_bytes(), &Limits::default()) {
            Ok(Pushed::Done { head, .. }) => head,
            other => panic!("{other:?}"),
        }
    }

    fn field(name: &str, value: &str) -> String {
        format!("{name}: {value}\r\n")
    }

    #[test]
    fn ht_8_tags_are_compared_strongly_and_weakly() {
        for (value, strong, weak) in [
            ("*", true, true),
            ("\"a,b\"", true, true),
            ("W/\"a,b\"", false, true),
            ("\"x\", \"a,b\"", true, true),
            (",, W/\"x\",\t\"a,b\" ,", true, true),
            ("\"a\"", false, false),
            ("a,b", false, false),
            ("\"a,b", false, false),
            ("\"x\" y, \"a,b\"", false, false),
            ("", false, false),
        ] {
            let fields = field("If-Match", value);
            let expected = if strong { Proceed } else { Failed };
            assert_eq!(evaluate(&head("GET", &fields), Some(&CURRENT)), expected, "{fields}");
            let fields = field("If-None-Match", value);
            let (read, changed) = if weak { (NotModified, Failed) } else { (Proceed, Proceed) };
            assert_eq!(evaluate(&head("HEAD", &fields), Some(&CURRENT)), read, "{fields}");
            assert_eq!(evaluate(&head("PUT", &fields), Some(&CURRENT)), changed, "{fields}");
        }
        let twice = field("If-None-Match", "\"x\"") + &field("If-None-Match", "\"a,b\"");
        assert_eq!(evaluate(&head("GET", &twice), Some(&CURRENT)), NotModified);
    }

    #[test]
    fn ht_8_nothing_matches_without_a_representation() {
        for (fields, expected) in [
            (field("If-Match", "*"), Failed),
            (field("If-Match", "\"a,b\""), Failed),
            (field("If-None-Match", "*"), Proceed),
            (field("If-Unmodified-Since", BEFORE), Proceed),
        ] {
            assert_eq!(evaluate(&head("PUT", &fields), None), expected, "{fields}");
        }
    }

    #[test]
    fn ht_8_dates_count_where_no_tag_does() {
        for (name, value, expected) in [
            ("If-Modified-Since", BEFORE, Proceed),
            ("If-Modified-Since", THEN, NotModified),
            ("If-Modified-Since", AFTER, NotModified),
            ("If-Modified-Since", "yesterday", Proceed),
            ("If-Unmodified-Since", BEFORE, Failed),
            ("If-Unmodified-Since", THEN, Proceed),
            ("If-Unmodified-Since", "tomorrow", Proceed),
        ] {
            let fields = field(name, value);
            assert_eq!(evaluate(&head("GET", &fields), Some(&CURRENT)), expected, "{fields}");
        }
        // §13.1.3: no effect for other methods.
        let since = field("If-Modified-Since", AFTER);
        assert_eq!(evaluate(&head("PUT", &since), Some(&CURRENT)), Proceed);
    }

    /// §13.2.2.
    #[test]
    fn ht_8_fields_are_evaluated_in_order() {
        let unmodified = field("If-Unmodified-Since", BEFORE);
        let good = field("If-Match", "\"a,b\"") + &unmodified;
        assert_eq!(evaluate(&head("GET", &good), Some(&CURRENT)), Proceed);
        let since = field("If-None-Match", "\"x\"") + &field("If-Modified-Since", AFTER);
        assert_eq!(evaluate(&head("GET", &since), Some(&CURRENT)), Proceed);
        let both = field("If-Match", "\"x\"") + &field("If-None-Match", "\"a,b\"");
        assert_eq!(evaluate(&head("GET", &both), Some(&CURRENT)), Failed);
        let both = field("If-Match", "\"a,b\"") + &field("If-None-Match", "\"a,b\"");
        assert_eq!(evaluate(&head("GET", &both), Some(&CURRENT)), NotModified);
    }

    #[test]
    fn ht_9_a_range_applies_to_its_representation_only() {
        let now = CURRENT.modified + 1;
        let counts = |fields: &str, now| range_counts(&head("GET", fields), &CURRENT, now);
        assert!(counts("", now));
        for (value, expected) in [
            ("\"a,b\"", true),
            ("W/\"a,b\"", false),
            ("\"x\"", false),
            (THEN, true),
            (BEFORE, false),
            (AFTER, false),
            ("nonsense", false),
        ] {
            assert_eq!(counts(&field("If-Range", value), now), expected, "{value}");
        }
        // It may change again in the same second.
        assert!(!counts(&field("If-Range", THEN), CURRENT.modified));
        assert!(!counts(&field("If-Range", "\"a,b\"").repeat(2), now));
    }
}
