//! Proactive negotiation (RFC 9110 §12): elements of `Accept` fields with their weights.

use http::HeaderName;

use super::head::RequestHead;

/// Returns the elements of the fields of that name with their weights in thousandths, in order.
///
/// An element whose weight is malformed weighs nothing, so it selects nothing.
pub(super) fn weighted(head: &RequestHead, name: HeaderName) -> impl Iterator<Item = (&str, u16)> {
    head.field_tokens(name).map(|element| {
        let mut parts = element.split(';').map(|part| part.trim_matches([' ', '\t']));
        let name = parts.next().unwrap_or_default();
        (name, parts.find_map(weight).unwrap_or(FULL_WEIGHT))
    })
}

/// Weight of an element without one.
pub(super) const FULL_WEIGHT: u16 = 1000;

/// Parses `q=VALUE`; `None` for another parameter.
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    name.eq_ignore_ascii_case("q").then(|| thousandths(value).unwrap_or(0))
}

/// Parses a qvalue: 0 to 1 with at most three decimals (RFC 9110 §12.4.2).
fn thousandths(value: &str) -> Option<u16> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match (whole, decimals) {
        ("0", decimals) => Some(decimals),
        ("1", 0) => Some(FULL_WEIGHT),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_0_to_1_with_three_decimals() {
        for (value, expected) in [
            ("0", Some(0)),
            ("0.", Some(0)),
            ("0.5", Some(500)),
            ("0.05", Some(50)),
            ("0.123", Some(123)),
            ("1", Some(1000)),
            ("1.000", Some(1000)),
            ("1.001", None),
            ("0.1234", None),
            ("2", None),
            ("", None),
            (".5", None),
            ("-0", None),
            ("0.+5", None),
            ("inf", None),
            ("1e0", None),
        ] {
            assert_eq!(thousandths(value), expected, "{value:?}");
        }
    }
}
