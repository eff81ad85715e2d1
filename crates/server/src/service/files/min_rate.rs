//! The minimum rate of uploads.

use std::time::Duration;

use anyport_proto::setting::MIN_UPLOAD_RATE;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};

use super::Files;

impl Files {
    /// Checks the minimum rate of uploads, if there is one, for bytes received in a time.
    pub(crate) fn check_rate(&self, received: u64, elapsed: Duration) -> Result<(), Refusal> {
        let Some(min_rate) = self.min_rate else { return Ok(()) };
        if elapsed <= SLOW_START || received as f64 >= min_rate as f64 * elapsed.as_secs_f64() {
            return Ok(());
        }
        let seconds = elapsed.as_secs();
        let message = format!(
            "{received} bytes in {seconds} s are less than the server's minimum of {min_rate} \
             bytes per second ({MIN_UPLOAD_RATE})"
        );
        Err(Refusal::new(RefusalCode::Interrupted, message))
    }
}

/// Time after which the minimum rate of uploads holds: a slow start or a pause is no slow client.
const SLOW_START: Duration = Duration::from_secs(10);
