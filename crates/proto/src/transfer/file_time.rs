//! When a file was last modified, and whether that time identifies its content.

use std::time::{Duration, SystemTime};

/// The modification time of a file: whole seconds, and nanoseconds where the time can be trusted.
///
/// On the wire these are the keys `mtime` and `mtime_ns`. The owner of a file leaves the
/// nanoseconds out while the file is so young that another change could still get the same time;
/// the other side then compares by digest. git calls such files racily clean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileTime {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds of that second, 0 to 999 999 999.
    pub nanoseconds: Option<u32>,
}

impl FileTime {
    /// Returns a time with whole seconds, which identifies no content.
    pub const fn seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: None }
    }

    /// Returns an exact time.
    pub const fn exact(seconds: i64, nanoseconds: u32) -> Self {
        Self { seconds, nanoseconds: Some(nanoseconds) }
    }

    /// This time as its owner announces it at `now`: without nanoseconds while it is recent.
    #[must_use]
    pub fn announced(self, now: SystemTime) -> Self {
        if self.is_recent(now) { Self::seconds(self.seconds) } else { self }
    }

    /// Returns whether at `now` another change could still get the same time: it is less than
    /// [`GRANULARITY`] ago, or in the future.
    pub fn is_recent(self, now: SystemTime) -> bool {
        let Some(time) = self.to_system_time() else { return true };
        now.duration_since(time).map_or(true, |age| age < GRANULARITY)
    }

    /// Returns whether both are exact and the same, so that files of equal size count as equal.
    pub fn identifies(self, other: Self) -> bool {
        self.nanoseconds.is_some() && self == other
    }

    /// Returns whether both can be of one file, as far as both are known.
    pub fn may_equal(self, other: Self) -> bool {
        let nanoseconds = self.nanoseconds.zip(other.nanoseconds);
        self.seconds == other.seconds && nanoseconds.is_none_or(|(ours, theirs)| ours == theirs)
    }

    /// Returns the time for the file system, with 0 for unknown nanoseconds; `None` beyond its
    /// range.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::from_secs(self.seconds.unsigned_abs());
        let second = if self.seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        };
        second?.checked_add(Duration::from_nanos(self.nanoseconds.unwrap_or(0).into()))
    }
}

impl From<i64> for FileTime {
    fn from(seconds: i64) -> Self {
        Self::seconds(seconds)
    }
}

/// The coarsest resolution of a common file system: FAT stores times in steps of two seconds.
pub const GRANULARITY: Duration = Duration::from_secs(2);

/// Parses the value of `mtime_ns`: decimal digits, at most 999 999 999.
pub fn parse_nanoseconds(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?.filter(|nanoseconds| *nanoseconds < NANOSECONDS)
}

/// Returns `value` if it is a number of nanoseconds within a second.
pub(crate) fn nanoseconds(value: u64) -> Option<u32> {
    u32::try_from(value).ok().filter(|nanoseconds| *nanoseconds < NANOSECONDS)
}

/// In one second.
const NANOSECONDS: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, nanoseconds: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    }

    #[test]
    fn only_exact_times_identify_content() {
        let exact = FileTime::exact(5, 7);
        assert!(exact.identifies(FileTime::exact(5, 7)));
        assert!(!exact.identifies(FileTime::exact(5, 8)));
        assert!(!exact.identifies(FileTime::seconds(5)));
        assert!(!FileTime::seconds(5).identifies(FileTime::seconds(5)));
        assert!(exact.may_equal(FileTime::seconds(5)));
        assert!(!exact.may_equal(FileTime::exact(5, 8)));
    }

    #[test]
    fn a_recent_time_is_announced_without_nanoseconds() {
        let time = FileTime::exact(100, 5);
        assert_eq!(time.announced(at(102, 4)), FileTime::seconds(100));
        assert_eq!(time.announced(at(102, 5)), time);
        // A clock that runs ahead on the file's side makes it no older.
        assert_eq!(time.announced(at(50, 0)), FileTime::seconds(100));
    }

    #[test]
    fn times_before_the_epoch_keep_their_nanoseconds() {
        let time = FileTime::exact(-2, 250_000_000).to_system_time().unwrap();
        assert_eq!(SystemTime::UNIX_EPOCH.duration_since(time).unwrap().as_millis(), 1750);
    }

    #[test]
    fn nanoseconds_are_digits_below_a_second() {
        assert_eq!(parse_nanoseconds("999999999"), Some(999_999_999));
        for bad in ["", "1000000000", "+1", "-1", "1.0", "99999999999999"] {
            assert_eq!(parse_nanoseconds(bad), None, "{bad}");
        }
    }
}
