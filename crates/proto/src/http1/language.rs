//! The language that a client prefers (RFC 9110 §12.5.4).

use http::header;

use super::head::RequestHead;
use super::preference::weighted;

/// Returns the one of `offered` that `Accept-Language` prefers, or the first where it prefers none.
///
/// Offers are primary tags such as `ko`; a range with a region, such as `ko-KR`, matches its
/// primary tag (lookup, RFC 4647 §3.4). At equal weight a named language precedes `*`, and an
/// earlier range a later one.
pub fn preferred<'a>(head: &RequestHead, offered: &[&'a str]) -> &'a str {
    let ranges: Vec<(&str, u16)> = weighted(head, header::ACCEPT_LANGUAGE).collect();
    let mut best: Option<((u16, bool), usize, &'a str)> = None;
    for offer in offered {
        let named = heaviest(&ranges, |range| is_of(range, offer));
        let any = || heaviest(&ranges, |range| range == "*");
        let Some((weight, at)) = named.or_else(any).filter(|(weight, _)| *weight > 0) else {
            continue;
        };
        let rank = (weight, named.is_some());
        if best.is_none_or(|(other, place, _)| rank > other || (rank == other && at < place)) {
            best = Some((rank, at, offer));
        }
    }
    best.map_or_else(|| offered.first().copied().unwrap_or_default(), |(.., offer)| offer)
}

/// Returns the greatest weight of the matching ranges, and the index of the first that has it.
fn heaviest(ranges: &[(&str, u16)], matches: impl Fn(&str) -> bool) -> Option<(u16, usize)> {
    let matching = ranges.iter().enumerate().filter(|(_, (range, _))| matches(range));
    matching.map(|(at, (_, weight))| (*weight, at)).max_by_key(|(weight, at)| (*weight, !at))
}

/// Returns whether a language range is the tag `offer`, or one of its regions.
fn is_of(range: &str, offer: &str) -> bool {
    let primary = range.split('-').next().unwrap_or_default();
    primary.eq_ignore_ascii_case(offer)
}

#[cfg(test)]
mod tests {
    use super::super::{HeadReader, Pushed};
    use super::*;
    use crate::limits::Limits;

    fn chosen(fields: &str) -> &'static str {
        let wire = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        match HeadReader::new().push(wire.as_bytes(), &Limits::default()) {
            Ok(Pushed::Done { head, .. }) => preferred(&head, &["en", "ko"]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_heaviest_language_is_chosen_and_the_first_without_a_preference() {
        assert_eq!(chosen(""), "en");
        for (value, expected) in [
            ("ko", "ko"),
            ("KO-kr", "ko"),
            ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", "ko"),
            ("en-US,en;q=0.9,ko;q=0.8", "en"),
            ("ko;q=0.8, en;q=0.9", "en"),
            ("de, ko;q=0.2", "ko"),
            ("de, fr", "en"),
            ("ko, en", "ko"),
            ("en, ko", "en"),
            ("*", "en"),
            ("ko, *", "ko"),
            ("*, ko", "ko"),
            ("*;q=0.5, ko;q=0.4", "en"),
            ("*;q=0.4, ko;q=0.5", "ko"),
            ("en;q=0, *", "ko"),
            ("ko;q=0, *", "en"),
            ("en;q=0, ko;q=0", "en"),
            ("ko;q=0", "en"),
            ("ko;q=nonsense", "en"),
            ("ko;q=1.5", "en"),
            ("korean", "en"),
            (",,;;q=,=-", "en"),
            ("", "en"),
        ] {
            assert_eq!(chosen(&format!("Accept-Language: {value}\r\n")), expected, "{value:?}");
        }
        assert_eq!(chosen("Accept-Language: de\r\nAccept-Language: ko;q=0.1\r\n"), "ko");
    }
}
