//! The permits and registrations of a connection.

use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::events::Open;
use crate::per_address::Admitted;
use crate::permits::Permit;
use crate::shutdown::Stop;

/// The permits and registrations of one connection; dropping it returns them.
#[derive(Debug)]
pub(crate) struct Guard {
    _permit: Permit,
    admitted: Admitted,
    open: Open,
    /// A stopping server waits for it.
    _running: TaskTrackerToken,
}

impl Guard {
    pub(crate) fn new(permit: Permit, admitted: Admitted, open: Open, stop: &Stop) -> Self {
        Self { _permit: permit, admitted, open, _running: stop.tasks.token() }
    }

    /// Counts the connection for the address of its client instead of its proxy.
    pub(crate) fn admit(&mut self, admitted: Admitted) {
        self.admitted = admitted;
    }

    /// Records the protocol of the connection.
    pub(crate) fn speaks(&mut self, what: &'static str) {
        self.open.speaks(what);
    }
}
