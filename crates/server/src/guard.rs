//! What a connection holds until it ends, wherever it is.

use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::events::Open;
use crate::per_address::Admitted;
use crate::permits::Permit;
use crate::shutdown::Stop;

/// The permits and the registrations of one connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    _permit: Permit,
    _admitted: Admitted,
    open: Open,
    /// A server that stops waits for it.
    _running: TaskTrackerToken,
}

impl Guard {
    pub(crate) fn new(permit: Permit, admitted: Admitted, open: Open, stop: &Stop) -> Self {
        Self { _permit: permit, _admitted: admitted, open, _running: stop.tasks.token() }
    }

    /// What the connection speaks is known now.
    pub(crate) fn speaks(&mut self, what: &'static str) {
        self.open.speaks(what);
    }
}
