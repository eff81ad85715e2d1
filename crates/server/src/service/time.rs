//! The time here, for people and for the lab's time client.

/// `Local time is: Sat Nov 21 11:05:09 2026 UTC (2026-11-21T11:05:09+00:00)`, without a line end.
pub(crate) fn now_line() -> String {
    let now = jiff::Zoned::now();
    now.strftime("Local time is: %a %b %e %H:%M:%S %Y %Z (%Y-%m-%dT%H:%M:%S%:z)").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_told_for_people_and_with_its_offset() {
        let line = now_line();
        let (words, stamp) = line.strip_suffix(')').and_then(|line| line.split_once(" (")).unwrap();
        assert!(words.starts_with("Local time is: "), "{line}");
        let told: jiff::Timestamp = stamp.parse().unwrap();
        assert!(jiff::Timestamp::now().duration_since(told).as_secs().abs() < 60, "{line}");
    }
}
