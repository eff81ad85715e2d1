//! CPU times: a figure of a server means little if its client was the bottleneck.

use std::time::Duration;

/// Returns the CPU time of this thread; in the benchmarks of echo and rooms it does all the work.
pub(super) fn of_this_thread() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Returns the CPU time of all threads of a process, to a hundredth of a second; `None` if there is
/// no such process.
pub(super) fn of_process(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in parentheses, and may have blanks and parentheses in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(USER_TIME).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    let a_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64(ticks as f64 / a_second as f64))
}

/// Fields between the name and the user time, which the system time follows (proc(5)).
const USER_TIME: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_of_this_thread_is_in_both_reports() {
        let (thread, process) = (of_this_thread(), of_process(std::process::id()).unwrap());
        let mut sum = 1_u64;
        while of_this_thread() - thread < Duration::from_millis(50) {
            sum = std::hint::black_box(sum.wrapping_mul(3));
        }
        // Ticks of a hundredth of a second, and this thread alone made at least four.
        let computed = of_process(std::process::id()).unwrap() - process;
        assert!(computed >= Duration::from_millis(20), "{computed:?}");
        assert_eq!(of_process(u32::MAX), None);
    }
}
