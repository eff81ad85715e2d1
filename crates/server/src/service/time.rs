//! The local time: as a line for people, and in the formats of RFC 867 and RFC 868.

use jiff::{Timestamp, Zoned};

/// Returns "Local time is: 2026-11-21 12:05:09 +01:00", without a line end.
pub(crate) fn now_line() -> String {
    line_of(&Zoned::now())
}

/// Returns the time in words (RFC 867): one line of ASCII, its line end included.
pub(crate) fn daytime() -> String {
    daytime_of(&Zoned::now())
}

/// Returns the seconds since 1900 in UTC, as four bytes (RFC 868).
pub(crate) fn rfc868() -> [u8; 4] {
    rfc868_of(Timestamp::now())
}

fn line_of(now: &Zoned) -> String {
    now.strftime("Local time is: %Y-%m-%d %H:%M:%S %:z").to_string()
}

/// Formats as the RFC recommends, but with an offset, because short names of zones are ambiguous.
fn daytime_of(now: &Zoned) -> String {
    now.strftime("%A, %B %-d, %Y %H:%M:%S %:z\r\n").to_string()
}

/// Returns 32 bits, which last until 2036-02-07 06:28:15 UTC. Then they wrap to 0, as those of NTP
/// do (RFC 5905 §6): a reader that chooses the time nearest to its own is right before and after
/// that moment.
fn rfc868_of(now: Timestamp) -> [u8; 4] {
    let seconds = (now.as_second() + SECONDS_FROM_1900_TO_1970).rem_euclid(1 << 32);
    (seconds as u32).to_be_bytes()
}

/// RFC 868: "the time 2,208,988,800 corresponds to 00:00 1 Jan 1970 GMT".
const SECONDS_FROM_1900_TO_1970: i64 = 2_208_988_800;

#[cfg(test)]
mod tests {
    use super::*;

    fn zoned(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn rfc_868_counts_from_1900_and_again_from_2036() {
        for (time, count) in [
            // Examples of the RFC.
            ("1970-01-01T00:00:00Z", 2_208_988_800_u32),
            ("1976-01-01T00:00:00Z", 2_398_291_200),
            ("1983-05-01T00:00:00Z", 2_629_584_000),
            ("1900-01-01T00:00:00Z", 0),
            ("2036-02-07T06:28:15Z", u32::MAX),
            ("2036-02-07T06:28:16Z", 0),
            ("2036-02-07T06:28:17Z", 1),
            ("1899-12-31T23:59:59Z", u32::MAX),
        ] {
            let bytes = rfc868_of(time.parse().unwrap());
            assert_eq!(u32::from_be_bytes(bytes), count, "{time}");
        }
    }

    #[test]
    fn rfc_867_is_one_line_of_ascii() {
        let line = daytime_of(&zoned("2026-11-01T09:05:09+01:00[Europe/Berlin]"));
        assert_eq!(line, "Sunday, November 1, 2026 09:05:09 +01:00\r\n");
    }

    #[test]
    fn the_time_has_its_offset_also_if_negative_or_zero() {
        for (time, line) in [
            ("2026-07-01T12:00:00+02:00[Europe/Berlin]", "2026-07-01 12:00:00 +02:00"),
            ("2026-07-01T12:00:00-02:30[America/St_Johns]", "2026-07-01 12:00:00 -02:30"),
            ("2026-07-01T12:00:00+00:00[UTC]", "2026-07-01 12:00:00 +00:00"),
        ] {
            assert_eq!(line_of(&zoned(time)), format!("Local time is: {line}"));
        }
    }
}
