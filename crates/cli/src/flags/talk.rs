//! The flags of the commands that people and programs talk with: `anyport chat` and `cat`.

use std::time::Duration;

use anyport_console::values;
use anyport_proto::rooms::Nickname;
use clap::Args;

use super::Connect;
use crate::access::Credential;

/// Chat in a room
///
/// On a terminal, type lines; messages of other members appear above the input. /who lists the
/// members, /help the commands, Ctrl-D leaves. Otherwise each line of standard input is sent as a
/// message, unchanged; received messages go to stdout and notices to stderr, and at the end of the
/// input the client leaves once the room has confirmed all messages.
///
/// If the connection is lost, the client reconnects, receives the messages that it missed and
/// resends those that are not confirmed: without gaps and duplicates, as long as the room still
/// keeps the missed events.
#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// Room: HOST:PORT/rooms/NAME, over tcp://, ws://, tls:// or wss://
    ///
    /// HOST:PORT without a scheme is tcp://.
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) credential: Credential,

    /// Your name in the room [default: guest- and 4 random characters]
    ///
    /// If the name is taken, the room appends a number, as in NAME-2.
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) nick: Option<Nickname>,

    /// Earlier events to show [default: all that are kept]
    #[arg(long, value_name = "COUNT")]
    #[arg(value_parser = values::number(0..=u32::MAX))]
    pub(crate) history: Option<u32>,

    /// Give up after COUNT failed reconnects in a row
    ///
    /// The count restarts when an event has been received. 0 disables reconnecting. If the first
    /// connection fails, as with connection refused, it is not retried.
    #[arg(long, value_name = "COUNT", default_value_t = 10, help_heading = "Connection")]
    #[arg(value_parser = values::number(0..=u32::MAX))]
    pub(crate) retry: u32,

    /// Maximum total time spent retrying
    #[arg(long, value_name = "DURATION", default_value = "10m", help_heading = "Connection")]
    #[arg(value_parser = values::duration)]
    pub(crate) retry_max_time: Duration,

    #[command(flatten)]
    pub(crate) connect: Connect,

    /// Print events as JSON on stdout, your messages included
    ///
    /// One object per line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Connect stdin and stdout to a TCP, WebSocket or UDP server
///
/// Like nc and websocat: sends its input to the server and prints the server's data on stdout, in
/// both directions concurrently. At the end of the input it ends its side of the connection (a TCP
/// FIN, or a WebSocket Close with code 1000), and receives until the server closes too. If the
/// server ends its side first, the rest of the input is still sent, unless it is typed on a
/// terminal.
///
/// Over WebSocket each line of the input is a text message, and a received text message is printed
/// with a line end unless it has one; with --binary, messages are bytes and nothing is added. Over
/// UDP each read of up to 16 KiB is a datagram, and the command never ends without -q.
#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// Server: tcp://HOST:PORT, ws://HOST:PORT/PATH or udp://HOST:PORT
    ///
    /// Also frames://HOST:PORT; under TLS tls://, wss:// and frames+tls://.
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) credential: Credential,

    /// Send binary messages over WebSocket, one per read
    ///
    /// Received messages are printed without an added line end.
    #[arg(long, short)]
    pub(crate) binary: bool,

    /// Exit this long after the end of the input; -q 1 is 1 s, as in nc
    ///
    /// Of all durations, only this one may lack a unit. [default: when the server closes]
    #[arg(long, short = 'q', value_name = "DURATION", value_parser = values::wait)]
    pub(crate) quit_after: Option<Duration>,

    /// Keep the sending side open after the end of the input
    ///
    /// The server then receives neither FIN nor a Close frame.
    #[arg(long)]
    pub(crate) no_shutdown: bool,

    #[command(flatten)]
    pub(crate) connect: Connect,
}
