//! Waits for conditions, and reports what a machine lacks.

use std::time::{Duration, Instant};

/// Maximum time for anything a test waits for. Long enough for a loaded machine; only a broken
/// program takes that long.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Calls `ask` until it returns a value, for conditions that no event reports: a file that grows, a
/// process that ends.
///
/// # Panics
/// When `ask` returns nothing within [`DEADLINE`].
#[track_caller]
pub fn wait_until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_within(DEADLINE, what, ask)
}

/// Does the same within `limit`, for a program that is busy for longer.
///
/// # Panics
/// When `ask` returns nothing within `limit`.
#[track_caller]
pub fn wait_within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Reports why a test checks nothing on this machine.
///
/// # Panics
/// When the environment variable `CI` is set: there each test must check something.
#[expect(clippy::print_stdout, reason = "shown with --nocapture")]
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI lacks something: {why}");
    println!("skipped: {why}");
}

/// Returns whether this machine has the loopback address of IPv6.
pub fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}
