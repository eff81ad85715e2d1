//! The SYN of a traced connection of lines, which an anyport server reports on request.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use anyport_proto::access::Token;
use anyport_proto::preface::{Reply, help_line, syn_line, with_token};

use crate::stream::{Stream, ended};

/// Asks for the SYN of a traced connection after its last request; the trace sees the reply.
///
/// An earlier version would refuse the request, and log that. So a server is asked only if it names
/// the request among those that it knows.
pub(crate) fn ask_for_syn(stream: &mut Stream, token: Option<&Token>) {
    let Some(traced) = stream.traced() else { return };
    traced.asks_for_syn();
    let until = Instant::now() + TIMEOUT;
    let mut ask = |line: String| ask(stream, &with_token(line, token), until);
    if ask(help_line()).is_ok_and(|reply| names_syn(&reply)) {
        // The outcome does not matter: the trace says if there is none.
        let _ = ask(syn_line());
    }
}

/// Sends a line and returns the reply, which is one too.
fn ask(stream: &mut Stream, line: &str, until: Instant) -> io::Result<Vec<u8>> {
    stream.write_all(line.as_bytes())?;
    let (mut reply, mut piece) = (Vec::new(), [0; 1024]);
    while reply.last() != Some(&b'\n') {
        // A server may send it byte by byte.
        let left = until.saturating_duration_since(Instant::now());
        if reply.len() > LONGEST || left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.socket().set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => return Err(ended()),
            count => reply.extend_from_slice(&piece[..count]),
        }
    }
    reply.pop();
    Ok(reply)
}

fn names_syn(reply: &[u8]) -> bool {
    let is_between = |line: &str| line.split(['|', ';']).any(|request| request.trim() == "SYN");
    matches!(Reply::parse(reply), Ok(Reply::Help(line)) if is_between(&line))
}

/// How long a traced connection waits for its SYN, after all files.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum size of a reply.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_names_the_request_is_asked() {
        for (reply, expected) in [
            ("ANYPORT/1 HELP PUT NAME | ECHO | SYN | HELP; each after ANYPORT/1", true),
            ("ANYPORT/1 HELP PUT NAME | ECHO | HELP; each after ANYPORT/1", false),
            ("ANYPORT/1 HELP PUT NAME SYN | ECHO", false),
            ("ANYPORT/1 ERROR bad-request | SYN |", false),
            ("220 | SYN | ready", false),
        ] {
            assert_eq!(names_syn(reply.as_bytes()), expected, "{reply}");
        }
    }
}
