//! The opening handshake of WebSocket, for every use of it.

use std::io::{Read, Write};

use anyport_proto::http1::{Pushed, ResponseHeadReader};
use anyport_proto::limits::Limits;
use anyport_proto::peer::Peer;
use anyport_proto::ws::handshake::{ClientTarget, Key, ResponseError, Verified, request, verify};
use anyport_trace::SYN_FIELD;

use crate::error::{Error, ErrorKind, LONGEST_ANSWER};
use crate::keys::handshake_key;
use crate::stream::{Stream, ended};
use crate::target::Target;

/// An accepted handshake.
pub(crate) struct Upgraded {
    pub(crate) verified: Verified,
    /// Bytes behind the response.
    pub(crate) early: Vec<u8>,
}

/// Requests a WebSocket at the target's path with these subprotocols.
pub(crate) fn upgrade(
    stream: &mut Stream,
    peer: Peer,
    target: &Target,
    subprotocols: &[&str],
    deflate: bool,
) -> Result<Upgraded, Error> {
    let key = Key::from_bytes(handshake_key());
    let authority = target.authority();
    let host = authority.as_str();
    let bearer = target.token.as_ref().map(|token| format!("Bearer {}", token.expose()));
    let bearer = bearer.as_deref().map(|value| ("Authorization", value));
    let syn = stream.traced().map(|_| (SYN_FIELD, "?1"));
    let fields: Vec<_> = bearer.into_iter().chain(syn).collect();
    let asked = ClientTarget { host, path: &target.path, subprotocols, fields: &fields, deflate };
    let request =
        request(&asked, &key).map_err(|error| Error::from(ErrorKind::Request).because(error))?;
    let broken = |source| Error::in_handshake(peer, "WebSocket", source);
    stream.write_all(&request).map_err(broken)?;

    let limits = Limits::default();
    let mut reader = ResponseHeadReader::new();
    let mut piece = [0; 4096];
    let (head, early) = loop {
        let count = stream.read(&mut piece).map_err(broken)?;
        if count == 0 {
            return Err(broken(ended()));
        }
        match reader.push(&piece[..count], &limits) {
            Ok(Pushed::NeedMore) => {}
            Ok(Pushed::Done { head, used }) => break (head, piece[used..count].to_vec()),
            Err(source) => return Err(Error::at(peer, ErrorKind::NotHttp).because(source)),
        }
    };
    match verify(&head, &key, &asked) {
        Ok(verified) => Ok(Upgraded { verified, early }),
        Err(answer) => {
            let body = match answer {
                ResponseError::Status { .. } => explanation(stream, early, head.content_length()),
                _ => String::new(),
            };
            Err(Error::at(peer, ErrorKind::Handshake(answer, body)))
        }
    }
}

/// Reads the body of a refusal as far as it arrives.
fn explanation(stream: &mut Stream, mut body: Vec<u8>, length: Option<u64>) -> String {
    let longest = LONGEST_ANSWER as u64;
    let left = length.unwrap_or(longest).min(longest).saturating_sub(body.len() as u64);
    // An incomplete explanation suffices.
    let _ = stream.take(left).read_to_end(&mut body);
    String::from_utf8_lossy(&body).into_owned()
}
