//! The flags of the commands that people and programs talk with: `anyport chat` and `cat`.

use std::time::Duration;

use anyport_proto::rooms::Nickname;
use clap::Args;

use super::ClientTls;
use crate::access::Credential;
use crate::values;

/// Talk in a room, over raw TCP or WebSocket.
///
/// On a terminal, type lines; what others say appears above. /who asks who is here, /help what there is to type, Ctrl-D
/// leaves. In a pipe each line of standard input is a message, as it stands; messages go to stdout and notices to stderr,
/// and at the end of the input it leaves when the room has confirmed all of them.
///
/// After a break it is back by itself, hears what it missed and says again what nobody has confirmed: no gap, and no
/// duplicate. Exit codes: 0 left, 2 usage, 3 unreachable, 4 refused, 6 broken off for good, 7 TLS failed or the server is not trusted, 130 left by Ctrl-C.
#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// The room: HOST:PORT/rooms/NAME, tcp://, ws://, tls:// or wss://HOST:PORT/rooms/NAME
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) credential: Credential,

    /// Your name in the room [default: guest- and four characters]
    #[arg(long = "as", value_name = "NICK")]
    pub(crate) nick: Option<Nickname>,

    /// Begin with at most so many of the last events [default: all that the room keeps]
    #[arg(long, value_name = "COUNT")]
    pub(crate) history: Option<u32>,

    /// How often in a row a broken connection is replaced without hearing anything
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub(crate) retry: u32,

    /// How long that may go on
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = values::duration)]
    pub(crate) retry_max_time: Duration,

    /// How long one address, or a handshake, may take to answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(crate) connect_timeout: Duration,

    #[command(flatten)]
    pub(crate) tls: ClientTls,

    /// Events as one JSON object a line on stdout, your own messages among them
    #[arg(long)]
    pub(crate) json: bool,
}

/// Connect standard input and output to any server: what nc and websocat do.
///
/// Input goes to the server and what comes goes to stdout, both at once. At the end of the input the server is told
/// (FIN, or Close 1000), and what it still says is waited for until it closes too. The other way round, after the server's
/// FIN the rest of the input is sent, unless it is typed on a terminal. Over WebSocket each line of the input is
/// a text message, and each text message that comes gets a line end unless it has one; with --binary they are the bytes as they are read. Over UDP
/// each read of up to 16 KiB is a datagram.
///
/// Exit codes: 0 the server ended in order, 1 failed, 2 usage, 3 unreachable, 4 refused or closed with another code than
/// 1000, 6 broken off, 7 TLS failed or the server is not trusted.
#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// tcp://HOST:PORT, ws://HOST:PORT/PATH, frames://HOST:PORT or udp://HOST:PORT; under TLS tls://, wss:// and frames+tls://
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) credential: Credential,

    /// Over WebSocket: binary messages, each what one read gave; nothing is added to what comes
    #[arg(long, short)]
    pub(crate) binary: bool,

    /// After the end of the input wait so long for the server, then leave [default: until it closes]
    #[arg(long, short = 'q', value_name = "DURATION", value_parser = values::wait)]
    pub(crate) quit_after: Option<Duration>,

    /// Do not tell the server that the input has ended
    #[arg(long)]
    pub(crate) no_shutdown: bool,

    /// How long one address, or a handshake, may take to answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(crate) connect_timeout: Duration,

    #[command(flatten)]
    pub(crate) tls: ClientTls,
}
