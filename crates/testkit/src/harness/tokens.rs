//! Servers that require a token.

use std::os::unix::fs::PermissionsExt;

use super::files::Sample;
use super::server::Server;
use super::wire::{connect, converse};

/// Alice's token.
pub const ALICE: &str = "alices-token-0123456789_-";
/// Bob's token, with characters that some fields encode.
pub const BOB: &str = "bobs/token=0123456789%+";

/// Writes a token file that only its owner can read.
pub fn token_file(lines: &str) -> Sample {
    let file = Sample::new("tokens", lines.as_bytes());
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).unwrap();
    file
}

/// Writes a token file with the tokens of Alice and Bob.
pub fn both() -> Sample {
    token_file(&format!("# who may come in\nalice {ALICE}\n\nbob {BOB}\n"))
}

/// Starts a server that requires one of these two tokens.
pub fn guarded(flags: &[&str]) -> (Server, Sample) {
    let file = both();
    let server = Server::start(&[&["--token-file", file.path()], flags].concat());
    (server, file)
}

/// Sends one request, and returns everything that the server sends.
pub fn ask(server: &Server, request: &str) -> String {
    converse(&mut connect(server.port()), request.as_bytes())
}
