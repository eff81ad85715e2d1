//! The HTTP/1 probe: a request line (RFC 9112 §3).
//!
//! ```text
//!   method SP target SP HTTP/1.0 or HTTP/1.1, CR LF
//! ```
//!
//! A bare LF ends the line too: that is malformed HTTP, which the head parser refuses with 400, not
//! a file. Any other invalid byte rules the request line out immediately, so a text such as `GET me
//! a coffee` is raw.

use super::Probe;

/// Probes for a line of at most `limit` bytes, line end included.
///
/// A longer one that begins as a browser's is a request, which the head parser refuses: a page of
/// any origin can send it, and must not store it as a file. Any other longer line is no request.
pub(super) fn probe(prefix: &[u8], limit: usize) -> Probe {
    let within = prefix.get(..limit).unwrap_or(prefix);
    match probe_line(within) {
        Probe::NeedMore { .. } if within.len() == limit => {
            let is_request = METHODS.iter().any(|method| {
                within.strip_prefix(method.as_bytes()).is_some_and(|rest| rest.starts_with(b" /"))
            });
            if is_request { Probe::Yes } else { Probe::No }
        }
        answer => answer,
    }
}

/// The methods that a page can send without asking first (Fetch, CORS-safelisted), and those that
/// it can send once it was allowed to.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

fn probe_line(line: &[u8]) -> Probe {
    let more = Probe::NeedMore { at_least: line.len() + 1 };
    let method = line.iter().take(LONGEST_METHOD + 1).take_while(|byte| is_token_byte(**byte));
    let method = method.count();
    if method > LONGEST_METHOD {
        return Probe::No;
    }
    let Some((&end, rest)) = line.get(method..).and_then(<[u8]>::split_first) else { return more };
    if method == 0 || end != b' ' {
        return Probe::No;
    }
    let target = rest.iter().take_while(|byte| is_target_byte(**byte)).count();
    let Some((&end, rest)) = rest.get(target..).and_then(<[u8]>::split_first) else { return more };
    if target == 0 || end != b' ' {
        return Probe::No;
    }
    match rest.iter().zip(VERSION).position(|(byte, expected)| *byte != expected) {
        Some(_) => Probe::No,
        None => probe_line_end(rest.get(VERSION.len()..).unwrap_or_default(), more),
    }
}

/// Probes the end of the line; `rest` begins with the minor version.
fn probe_line_end(rest: &[u8], more: Probe) -> Probe {
    match rest {
        [] | [b'0' | b'1'] | [b'0' | b'1', b'\r'] => more,
        [b'0' | b'1', b'\n', ..] | [b'0' | b'1', b'\r', b'\n', ..] => Probe::Yes,
        _ => Probe::No,
    }
}

/// Returns whether a byte may be in a token (RFC 9110 §5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns whether servers accept a byte in a request target. Bytes above ASCII are invalid in a
/// URI, but some clients send them.
fn is_target_byte(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

const VERSION: [u8; 7] = *b"HTTP/1.";

/// Longest method: the longest registered one, `UPDATEREDIRECTREF`, has 17 bytes; a longer first
/// word is text.
const LONGEST_METHOD: usize = 32;
