//! Dates in fields (RFC 9110 §5.6.7), as whole seconds since the epoch.

use std::time::{Duration, UNIX_EPOCH};

/// Formats `Sun, 06 Nov 1994 08:49:37 GMT`; `None` for a time that the form cannot express.
pub fn write(seconds: i64) -> Option<String> {
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds < YEAR_10_000)?;
    Some(httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds)))
}

/// Parses any of the three forms that a recipient must accept.
pub fn parse(text: &str) -> Option<i64> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// The form has four digits for the year.
const YEAR_10_000: u64 = 253_402_300_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_in_one_form_and_read_in_three() {
        let text = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(write(784_111_777).as_deref(), Some(text));
        for form in [text, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(form), Some(784_111_777), "{form}");
        }
        for none in ["", "yesterday", "Sun, 06 Nov 1994 08:49:37", "784111777"] {
            assert_eq!(parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_time_that_the_form_cannot_express_is_none() {
        assert_eq!(write(-1), None);
        assert_eq!(write(253_402_300_799).as_deref(), Some("Fri, 31 Dec 9999 23:59:59 GMT"));
        assert_eq!(write(253_402_300_800), None);
        assert_eq!(write(i64::MAX), None);
    }
}
