//! Rooms and pipes.

use std::time::Duration;

use anyport_console::values::{self, Choices};
use anyport_server::{Config, SlowReader};
use clap::Args;

/// Rooms and pipes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rooms and pipes")]
pub(crate) struct RoomsAndPipes {
    /// Maximum number of rooms
    ///
    /// A room that all members have left counts for one more minute.
    #[arg(long, value_name = "COUNT", default_value_t = 1024)]
    #[arg(value_parser = values::count)]
    pub(crate) max_rooms: usize,

    /// Messages per second of one room member (0: unlimited)
    ///
    /// A member may send as many in one burst; the server reads more slowly from a member that
    /// sends faster. All HTTP POST requests to one room (curl -d TEXT http://HOST:8331/rooms/NAME)
    /// together have the same limit.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    #[arg(value_parser = values::number(0..=u32::MAX))]
    pub(crate) room_rate: u32,

    /// Maximum size of a room message
    #[arg(long, value_name = "SIZE", value_parser = values::buffer, default_value = "64KiB")]
    pub(crate) room_message: usize,

    /// Events that a room keeps for members that join or rejoin
    ///
    /// At most 256 KiB of them.
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    #[arg(value_parser = values::number(0..=u32::MAX as usize))]
    pub(crate) room_history: usize,

    /// Maximum output queued for a room member that does not read
    #[arg(long, value_name = "SIZE", value_parser = values::buffer, default_value = "1MiB")]
    pub(crate) room_queue: usize,

    /// What to do if the queue of a room member is full
    #[arg(long, value_name = "POLICY", default_value = "drop")]
    #[arg(value_parser = values::choice(SLOW_READER))]
    pub(crate) slow_reader: SlowReader,

    /// Maximum number of pipes
    ///
    /// Waiting pipes count too.
    #[arg(long, value_name = "COUNT", default_value_t = 256)]
    #[arg(value_parser = values::count)]
    pub(crate) max_pipes: usize,

    /// Maximum time that sender and receivers of a pipe wait for each other
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    #[arg(value_parser = values::duration)]
    pub(crate) pipe_wait: Duration,
}

/// What to do with a room member that reads too slowly.
const SLOW_READER: Choices<SlowReader> = &[
    ("drop", SlowReader::Drop, "Drop events, and notify the member how many were dropped"),
    ("close", SlowReader::Close, "Close its connection"),
];

impl RoomsAndPipes {
    pub(crate) fn configure(&self, config: &mut Config) {
        config.rooms.rooms = self.max_rooms;
        config.rooms.rate = Some(self.room_rate).filter(|rate| *rate > 0);
        config.limits.room_message = self.room_message;
        config.rooms.history = self.room_history;
        config.rooms.queue = self.room_queue;
        config.rooms.slow_reader = self.slow_reader;
        config.pipes.pipes = self.max_pipes;
        config.pipes.wait = self.pipe_wait;
    }
}
