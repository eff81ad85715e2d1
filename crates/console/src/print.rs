//! Writing to standard output and standard error, so that no byte of a peer acts on a terminal.

use std::fmt::Display;
use std::io::{self, Write};

use anyport_net::waiting::Waiting;
use anyport_proto::one_line::reason;
use anyport_proto::visible::{escape_json, make_visible};

use crate::failure::Failure;

/// Prints `error: operation object: reason` and, on its own line, `hint: …`.
pub fn print_failure(failure: &Failure) {
    // Some libraries write errors of several lines.
    to_stderr(&format!("error: {}", reason(failure.error.as_ref())).replace('\n', " "));
    for other in &failure.others {
        to_stderr(&format!("error: {other}"));
    }
    if let Some(hint) = &failure.hint {
        to_stderr(&format!("hint: {hint}"));
    }
}

/// Writes a line to stderr, in which no character of a peer acts on a terminal.
///
/// One that cannot be written is lost.
pub fn to_stderr(line: &str) {
    // In one write, so that a rotation of the log cuts no line.
    let _ = Waiting(io::stderr().lock()).write_all(format!("{}\n", make_visible(line)).as_bytes());
}

/// Returns standard output without a buffer, locked for this thread.
///
/// All writes use it: the buffer of [`io::stdout`] loses track of the written bytes when a
/// non-blocking descriptor accepts only a part.
pub fn stdout() -> Waiting<io::StdoutLock<'static>> {
    Waiting(io::stdout().lock())
}

/// Writes a text to stdout unchanged.
///
/// Text of a peer in it must have been made visible.
pub fn write_stdout(text: &str) -> io::Result<()> {
    stdout().write_all(text.as_bytes())
}

/// Writes a line for people to stdout, in which no character of a peer acts on a terminal.
pub fn to_stdout(line: &str) -> io::Result<()> {
    write_stdout(&format!("{}\n", make_visible(line)))
}

/// Writes lines that the program composed itself, of which a peer's text may be a part: only line
/// feeds act on a terminal.
pub fn lines_to_stdout(lines: &str) -> io::Result<()> {
    let lines: Vec<_> = lines.lines().map(make_visible).collect();
    write_stdout(&format!("{}\n", lines.join("\n")))
}

/// Writes a line of JSON to stdout: a program reads the peer's text unchanged, and a terminal
/// interprets nothing.
pub fn json_to_stdout(event: &impl Display) -> io::Result<()> {
    write_stdout(&format!("{}\n", escape_json(&event.to_string())))
}
