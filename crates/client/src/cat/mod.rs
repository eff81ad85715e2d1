//! Connects standard input and output to any server, concurrently in both directions.
//!
//! ```text
//!   input  ──► thread ──► pieces ──► one task, which ──► server
//!   output ◄── thread ◄── pieces ◄──     selects     ◄── server
//! ```
//!
//! The threads are there since files and terminals can only be read and written by waiting.

mod datagrams;
mod ends;
mod stream;

use std::io::{Read, Write};
use std::time::Duration;

use anyport_net::congestion::Congestion;
use anyport_proto::access::Token;

use crate::connect::ConnectOptions;
use crate::error::{Error, ErrorKind, no_runtime};
use crate::target::{Scheme, Target};

/// The options of `cat`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CatOptions {
    /// Over WebSocket: binary messages, each what one read gave.
    pub binary: bool,
    /// How long to wait for the server after the end of the input; `None`: until it closes.
    pub quit_after: Option<Duration>,
    /// Whether to end the sending direction at the end of the input.
    pub shutdown: bool,
    /// Whether to continue to send after the server's FIN, which may end only one direction.
    pub outlasts: bool,
    /// Options of the connection.
    pub connect: ConnectOptions,
    /// Token for a handshake.
    ///
    /// Bytes of raw TCP are the input's alone.
    pub token: Option<Token>,
}

impl Default for CatOptions {
    fn default() -> Self {
        Self {
            binary: false,
            quit_after: None,
            shutdown: true,
            outlasts: true,
            connect: ConnectOptions { congestion: Congestion::System, ..Default::default() },
            token: None,
        }
    }
}

/// Carries `input` to the server of `url`, and its data to `output`, until the server ends.
///
/// Returns the reason with which the server closed a WebSocket, such as a receipt.
///
/// # Errors
/// An error of the connection or of an output; the server's end is none.
pub fn cat(
    url: &str,
    options: &CatOptions,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
) -> Result<Option<String>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(no_runtime)?;
    runtime.block_on(async {
        match datagram_target(url)? {
            Some(target) if target.path != "/" => Err(ErrorKind::NoPath("udp", target).into()),
            Some(target) => datagrams::pipe(&target, options, input, output).await.map(|()| None),
            None => {
                let target = Target { token: options.token.clone(), ..url.parse()? };
                // Only a handshake carries a path, and over raw protocols the input would be stored
                // as a file.
                if matches!(target.scheme, Scheme::Tcp | Scheme::Frames) && target.path != "/" {
                    return Err(ErrorKind::NoPath(target.scheme_name(), target).into());
                }
                stream::pipe(&target, options, input, output).await
            }
        }
    })
}

/// Files do not travel by datagrams, so other commands do not know this scheme.
fn datagram_target(url: &str) -> Result<Option<Target>, Error> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if !scheme.eq_ignore_ascii_case("udp") {
        return Ok(None);
    }
    Ok(Some(format!("tcp://{rest}").parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_a_scheme_here() {
        let target = datagram_target("UDP://[::1]:9000").unwrap().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 9000));
        assert_eq!(datagram_target("ws://h:1/").unwrap(), None);
        assert!(datagram_target("udp://h:0").is_err());
    }
}
