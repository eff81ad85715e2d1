//! Sizes and rates for people: decimal units, three digits.

/// Returns `1017558069` as `1.02 GB`; below 1000 the exact count, as `999 B`.
pub fn format_bytes(bytes: u64) -> String {
    scaled(bytes as f64)
}

/// Returns the size of a file, and how much of it was transferred now if not all: `200 MB (137 MB
/// now)`.
pub fn format_resumed(size: u64, now: u64) -> String {
    match now == size {
        true => format_bytes(size),
        false => format!("{} ({} now)", format_bytes(size), format_bytes(now)),
    }
}

/// Bytes per second as `2.49 GB/s`; `unknown rate` for what is no rate (negative, infinite, not a
/// number).
pub fn format_rate(bytes_per_second: f64) -> String {
    if bytes_per_second.is_finite() && bytes_per_second >= 0.0 {
        format!("{}/s", scaled(bytes_per_second))
    } else {
        "unknown rate".to_owned()
    }
}

fn scaled(bytes: f64) -> String {
    let mut value = bytes;
    let mut unit = 0;
    // 999.5 and not 1000: else 999.9 kB, rounded to three digits, would read "1000 kB".
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_a_decimal_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_996, "10.0 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (1_017_558_069, "1.02 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(format_bytes(bytes), text);
        }
    }

    #[test]
    fn rates_are_sizes_per_second() {
        assert_eq!(format_rate(2_487_916_794.6), "2.49 GB/s");
        assert_eq!(format_rate(0.4), "0 B/s");
        assert_eq!(format_rate(999.7), "1.00 kB/s");
        assert_eq!(format_rate(f64::NAN), "unknown rate");
        assert_eq!(format_rate(f64::INFINITY), "unknown rate");
    }
}
