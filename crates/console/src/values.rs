//! Values as people write them on a command line: `64KiB`, `1GB`, `10s`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use jiff::SignedDuration;

/// Returns a parser of whole numbers within `range`.
pub fn number<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("expected a whole number".to_owned());
        }
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("expected a number from {} to {}", range.start(), range.end()))
    }
}

/// Parses a count of at least one.
pub fn count(text: &str) -> Result<usize, String> {
    number(1..=u32::MAX as usize)(text)
}

/// A table of the values of a setting: the word for one, and its help.
pub type Choices<T> = &'static [(&'static str, T, &'static str)];

/// Returns a parser of one of `choices`.
///
/// A choice without help is not shown.
pub fn choice<T>(choices: Choices<T>) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let shown = choices
        .iter()
        .map(|(word, _, help)| PossibleValue::new(*word).help(*help).hide(help.is_empty()));
    PossibleValuesParser::new(shown).try_map(|word| {
        let chosen = choices.iter().find(|(known, ..)| *known == word);
        chosen.map(|(_, value, _)| *value).ok_or("unknown value")
    })
}

/// Returns the word for one of `choices`.
pub fn word<T: PartialEq>(choices: Choices<T>, value: T) -> &'static str {
    choices.iter().find(|(_, known, _)| *known == value).map_or("", |(word, ..)| word)
}

/// Bytes: a number, or a number with kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers
/// of 1024).
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if is_fraction(number, unit) {
        return Err("expected a whole number, such as 1500MB in place of 1.5GB".to_owned());
    }
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err("expected a size such as 65536, 64KiB, 1MB or 2GiB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number of bytes".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "must be less than 2^64 bytes".to_owned())
}

/// Returns whether the number has a decimal fraction, as in `1.5G` or `.5G`.
fn is_fraction(digits: &str, rest: &str) -> bool {
    let mut rest = rest.chars();
    rest.next().is_some_and(|point| matches!(point, '.' | ','))
        && (!digits.is_empty() || rest.next().is_some_and(|digit| digit.is_ascii_digit()))
}

/// Bytes, and at least one.
pub fn some_bytes(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        0 => Err("must be greater than zero".to_owned()),
        some => Ok(some),
    }
}

/// Bytes per second, more than zero.
///
/// Refuses bits: their `b` is lower case, as in `10Mb`.
pub fn rate(text: &str) -> Result<u64, String> {
    if let Some((bits, shown)) = bits(text) {
        let bytes = size_text(bits.div_ceil(8));
        return Err(format!(
            "the unit is bytes per second, not bits: write {bytes} for {shown}bit/s"
        ));
    }
    match some_bytes(text) {
        Err(error) if error.starts_with("expected") && !error.contains("whole") => {
            Err("expected bytes per second, such as 65536, 1MB or 2MiB".to_owned())
        }
        parsed => parsed,
    }
}

/// Returns the bits that `10Mb`, `10Mbit`, `10Mbps` and `10Mbit/s` name, and the number with its
/// prefix (`10 M`); none for other units.
fn bits(text: &str) -> Option<(u64, String)> {
    let unit = ["bits/s", "bit/s", "bits", "bit", "bps", "b/s", "b"];
    let number = unit.iter().find_map(|unit| text.strip_suffix(unit))?;
    let bits = bytes(number).ok().filter(|bits| *bits > 0)?;
    let (digits, prefix) = number.split_at(number.find(|c: char| !c.is_ascii_digit())?);
    Some((bits, format!("{digits} {}", prefix.trim())))
}

/// Returns `bytes` as a SIZE or RATE that parses to exactly this number, with the largest unit.
pub fn size_text(bytes: u64) -> String {
    let units = [
        ("TiB", 1 << 40),
        ("TB", 1_000_000_000_000),
        ("GiB", 1 << 30),
        ("GB", 1_000_000_000),
        ("MiB", 1 << 20),
        ("MB", 1_000_000),
        ("KiB", 1 << 10),
        ("kB", 1000),
    ];
    let unit = units.iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    unit.map_or_else(|| bytes.to_string(), |(name, size)| format!("{}{name}", bytes / size))
}

/// Bytes that fit a buffer and are not none.
pub fn buffer(text: &str) -> Result<usize, String> {
    const LARGEST: u64 = 1 << 30;
    match some_bytes(text)? {
        more if more > LARGEST => Err("must be at most 1GiB".to_owned()),
        fits => usize::try_from(fits).map_err(|error| error.to_string()),
    }
}

/// Parses a duration of more than zero: `500ms`, `3s`, `1m30s`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    match any_duration(text)? {
        Duration::ZERO => Err("must be greater than zero".to_owned()),
        duration => Ok(duration),
    }
}

fn any_duration(text: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("missing unit (ms, s, m, h or d): write {text}s for seconds"));
    }
    let wrong = || "expected a number with a unit (ms, s, m, h or d), such as 10s".to_owned();
    let (days, rest) = match text.split_once('d') {
        Some((days, rest)) if days.bytes().all(|byte| byte.is_ascii_digit()) => {
            (days.parse::<u64>().map_err(|_| wrong())?, rest)
        }
        _ => (0, text),
    };
    let rest = match rest {
        "" if !text.is_empty() => SignedDuration::ZERO,
        rest => rest.parse().map_err(|_| wrong())?,
    };
    let days = days.checked_mul(24 * 60 * 60).map(Duration::from_secs).ok_or_else(wrong)?;
    let rest = Duration::try_from(rest).map_err(|_| "must not be negative".to_owned())?;
    days.checked_add(rest).ok_or_else(wrong)
}

/// Parses a duration that may be zero: `0`, `0s`, `3` (seconds, as in nc), `500ms`.
pub fn wait(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => any_duration(text),
    }
}

/// Parses the name at the beginning of a line of a token file.
pub fn user_name(text: &str) -> Result<String, String> {
    if anyport_proto::access::is_user_name(text) {
        return Ok(text.to_owned());
    }
    Err("expected 1 to 15 characters: letters, digits, . _ -".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        for (text, expected) in [
            ("1017558069", 1_017_558_069),
            ("64KiB", 65536),
            ("64 KiB", 65536),
            ("1MB", 1_000_000),
            ("2g", 2_000_000_000),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "KiB", "1x", "-1", "99999999999TiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(buffer("0").is_err());
        assert!(buffer("2GiB").is_err());
    }

    #[test]
    fn numbers_name_their_range() {
        assert_eq!(number(1..=64_u8)("64"), Ok(64));
        for (text, error) in [
            ("many", "expected a whole number"),
            ("-1", "expected a whole number"),
            ("0", "expected a number from 1 to 64"),
            ("99999", "expected a number from 1 to 64"),
        ] {
            assert_eq!(number(1..=64_u8)(text), Err(error.to_owned()), "{text}");
        }
        assert_eq!(rate("0"), Err("must be greater than zero".to_owned()));
    }

    #[test]
    fn a_rate_is_in_bytes_and_bits_are_refused_with_the_bytes_to_write() {
        for (text, words) in [
            ("10Mb", "write 1250kB for 10 Mbit/s"),
            ("10 Mb", "write 1250kB for 10 Mbit/s"),
            ("10mb", "write 1250kB for 10 mbit/s"),
            ("10kb", "write 1250 for 10 kbit/s"),
            ("10Mbit", "write 1250kB for 10 Mbit/s"),
            ("10Mbps", "write 1250kB for 10 Mbit/s"),
            ("10Mbit/s", "write 1250kB for 10 Mbit/s"),
            ("1Gbit", "write 125MB for 1 Gbit/s"),
        ] {
            let error = format!("the unit is bytes per second, not bits: {words}");
            assert_eq!(rate(text), Err(error), "{text}");
        }
        for (text, expected) in [("500KB", 500_000), ("10mB", 10_000_000), ("1m", 1_000_000)] {
            assert_eq!(rate(text), Ok(expected), "{text}");
        }
        assert_eq!(bytes("10mb"), Ok(10_000_000), "a size has no bits");
        for text in ["b", "Mb", "fastb"] {
            assert!(rate(text).unwrap_err().starts_with("expected"), "{text}");
        }
    }

    #[test]
    fn a_size_is_written_as_it_is_read() {
        for text in ["1TiB", "64KiB", "1500MB", "1250kB", "999", "3GB", "18446744073709551615"] {
            assert_eq!(size_text(bytes(text).unwrap()), text);
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("1d12h"), Ok(Duration::from_secs(36 * 3600)));
        assert!(duration("60").unwrap_err().ends_with("write 60s for seconds"));
        assert!(duration("0d").is_err() && duration("99999999999999999999d").is_err());
        assert_eq!(wait("0"), Ok(Duration::ZERO));
        assert_eq!(wait("3"), Ok(Duration::from_secs(3)));
        assert_eq!(wait("0s"), Ok(Duration::ZERO));
        assert_eq!(wait("20ms"), Ok(Duration::from_millis(20)));
        assert!(wait("-1").is_err() && wait("soon").is_err());
        for text in ["0s", "-1s", "3", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
