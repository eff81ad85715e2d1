//! The flags of `anyport trace`.

use std::path::PathBuf;

use anyport_client::{HEADERS, MAX_SNAPLEN};
use anyport_console::values;
use clap::{Args, Subcommand};

use super::{Cat, Chat, Get, Send};

/// Show a transfer on every layer, and what limited it
///
/// Runs the command and explains its connections: names and addresses, TCP, TLS, HTTP, WebSocket
/// and the lines of anyport, on one time axis, with the state of the connection that the kernel
/// reports. At the end it names what limited the transfer, and what to change. Flags of trace stand
/// before the command, and the exit code is that of the command.
///
/// The trace follows the output of the command on stdout; if that output is data (cat, chat, get -o
/// -), it is printed on stderr. Tokens, cookies, keys and passwords are redacted, except in --pcap
/// and --payload output.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Trace {
    /// Print events as JSON, one object per line
    ///
    /// The last line is the diagnosis. send and get print JSON too.
    #[arg(long, conflicts_with = "explain")]
    pub(crate) json: bool,

    /// Explain each event, with the section of its RFC
    #[arg(long)]
    pub(crate) explain: bool,

    /// Save the trace in FILE, for --read
    ///
    /// The format is that of --json. An existing FILE is replaced. It is readable by its owner
    /// alone, as all output files.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,

    /// Show the trace saved in FILE; run no command
    #[arg(long, value_name = "FILE")]
    pub(crate) read: Option<PathBuf>,

    /// Write a diagram of the trace as SVG to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Write the trace as a page to FILE, with a diagram
    ///
    /// The page is one file without links, for a browser.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write the packets of the connections to FILE, secrets included
    ///
    /// In the format pcapng, for Wireshark and tshark. It needs root or the capability CAP_NET_RAW,
    /// with which each trace also shows the TCP segments.
    #[arg(long, value_name = "FILE", conflicts_with = "read")]
    pub(crate) pcap: Option<PathBuf>,

    /// Capture SIZE bytes of each packet [default: all]
    #[arg(long, value_name = "SIZE", value_parser = snaplen, requires = "pcap")]
    pub(crate) snaplen: Option<u32>,

    /// Keep SIZE bytes of each payload, secrets included; at most 4KiB
    #[arg(long, value_name = "SIZE", default_value = "0", hide_default_value = true)]
    #[arg(value_parser = payload, conflicts_with = "read")]
    pub(crate) payload: usize,

    /// Keep COUNT events: of more, the first and the latest half
    ///
    /// One line in between says how many are left out, and of what time.
    #[arg(long, value_name = "COUNT", default_value = "20000", conflicts_with = "read")]
    #[arg(value_parser = values::number(1..=MAX_EVENTS))]
    pub(crate) events: usize,

    #[command(subcommand)]
    pub(crate) command: Option<Traced>,
}

/// The command that is traced.
#[derive(Debug, Subcommand)]
pub(crate) enum Traced {
    Send(Box<Send>),
    Get(Box<Get>),
    Chat(Box<Chat>),
    Cat(Box<Cat>),
}

fn snaplen(text: &str) -> Result<u32, String> {
    let bytes = values::bytes(text)?;
    let fits = u32::try_from(bytes).ok().filter(|bytes| (HEADERS..=MAX_SNAPLEN).contains(bytes));
    fits.ok_or_else(|| {
        format!("must be {HEADERS} bytes to {}", values::size_text(MAX_SNAPLEN.into()))
    })
}

fn payload(text: &str) -> Result<usize, String> {
    match values::bytes(text)? {
        more if more > MAX_PAYLOAD => Err("must be at most 4KiB".to_owned()),
        fits => usize::try_from(fits).map_err(|error| error.to_string()),
    }
}

/// Maximum bytes kept of one payload: the default number of events then needs at most 400 MB.
const MAX_PAYLOAD: u64 = 4096;

/// Maximum number of events: at most 1 GB without payloads.
const MAX_EVENTS: usize = 500_000;
