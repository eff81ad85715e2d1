//! Gives a file to those who take it through a pipe of the server (docs/pipe.md).

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use anyport_net::congestion::Congestion;
use anyport_net::dial::dial;
use anyport_net::waiting::Waiting;
use anyport_proto::transfer::pipe::{Give, Piped};
use anyport_proto::transfer::preface::{Reply, give_line, with_token};

use super::{UNKNOWN_PEER, alpn, set_patience};
use crate::channel::{BUFFER, LONGEST_ANSWER, ended};
use crate::content::{OpenError, Source};
use crate::error::SendError;
use crate::stream::{Encryption, Stream};
use crate::target::Target;

/// How to give and to take.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PipeOptions {
    /// Congestion control of our socket.
    pub congestion: Congestion,
    /// Whom to trust under TLS.
    pub encryption: Encryption,
    /// How long one address may take to answer.
    pub connect_timeout: Duration,
    /// How long the server may neither take bytes nor answer, the wait for the other side included.
    pub timeout: Duration,
}

impl Default for PipeOptions {
    fn default() -> Self {
        let (connect_timeout, timeout) = (Duration::from_secs(10), Duration::from_secs(300));
        let encryption = Encryption::default();
        Self { congestion: Congestion::Auto, encryption, connect_timeout, timeout }
    }
}

/// Gives all of `source` to as many as `give` says; its size is found here.
///
/// # Errors
/// What went wrong; no receiver takes what came for all of it.
pub fn give(
    target: &Target,
    give: &Give,
    source: &Source,
    options: &PipeOptions,
    progress: &dyn Fn(u64),
) -> Result<(SocketAddr, Piped), SendError> {
    let (file, size) = open(source)?;
    let (mut stream, peer) = connect(target, options)?;
    let broken = |sent| move |error| SendError::broken_off(peer, sent, error);
    let line = give_line(&Give { size, ..give.clone() });
    let line = with_token(line, target.token.as_ref());
    if size.is_none() {
        // Where no size is promised our FIN says that this was all.
        stream.resets_at_end().map_err(broken(0))?;
    }
    stream.write_all(line.as_bytes()).map_err(broken(0))?;
    let mut giving = Giving { stream: &mut stream, source, left: size, sent: 0 };
    let written = giving.write(&file, progress);
    let sent = giving.sent;
    if let Err(Stopped::Here(error)) = written {
        let _ = stream.resets_at_end();
        return Err(error);
    }
    // A write that failed may have failed because the server said no: its word is worth more than ours.
    let answer = read_line(&mut stream);
    let line = match (answer, written) {
        (Ok(line), _) => line,
        (Err(_), Err(Stopped::Broken(error))) | (Err(error), _) => return Err(broken(sent)(error)),
    };
    match Reply::parse(&line) {
        Ok(Reply::Piped(piped)) if piped.bytes == sent => Ok((peer, piped)),
        Ok(Reply::Piped(piped)) => {
            Err(SendError::BytesDiffer { peer, ours: sent, theirs: piped.bytes })
        }
        Ok(Reply::Error(refusal)) => Err(SendError::Refused { peer, refusal }),
        Ok(_) | Err(_) => Err(SendError::Answer { peer, answer: cut(&line) }),
    }
}

/// Opens it; a regular file has a size.
fn open(source: &Source) -> Result<(File, Option<u64>), SendError> {
    let path = source.path();
    let failed = |source| OpenError::Open { path: path.to_owned(), source };
    if source.name().is_none() {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
        return Ok((File::from(stdin), None));
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(OpenError::Directory { path: path.to_owned() }.into());
    }
    // Files of /proc and /sys say they are empty, and are not.
    let size = Some(metadata.len()).filter(|size| metadata.is_file() && *size > 0);
    Ok((file, size))
}

/// A connection on which long silence is no fault: while the other side is not there the server reads nothing.
pub(crate) fn connect(
    target: &Target,
    options: &PipeOptions,
) -> Result<(Stream, SocketAddr), SendError> {
    let stream = dial(&target.host, target.port, options.connect_timeout)?;
    let no_peer = |source| SendError::BrokenOff { peer: UNKNOWN_PEER, sent: 0, source };
    let peer = stream.peer_addr().map_err(no_peer)?;
    let local = stream.local_addr().map_err(no_peer)?;
    let name = || options.congestion.to_string();
    let applied = options.congestion.apply(&stream, local, peer);
    applied.map_err(|source| SendError::Congestion { name: name(), source })?;
    // The server's word about a wait that was too long comes before ours.
    set_patience(&stream, options.timeout.saturating_add(SLACK));
    let stream = Stream::open(stream, peer, target, alpn(target), &options.encryption)?;
    Ok((stream, peer))
}

struct Giving<'a> {
    stream: &'a mut Stream,
    source: &'a Source,
    /// Bytes that were promised, if any were.
    left: Option<u64>,
    sent: u64,
}

enum Stopped {
    Here(SendError),
    Broken(io::Error),
}

impl Giving<'_> {
    fn write(&mut self, file: &File, progress: &dyn Fn(u64)) -> Result<(), Stopped> {
        let announced = self.left;
        let mut buffer = vec![0; BUFFER];
        while self.left != Some(0) {
            // That is a refusal: before the end there is nothing else to say.
            if self.stream.has_something_to_say() {
                return Ok(());
            }
            let most = self.left.map_or(BUFFER, |left| usize::try_from(left).unwrap_or(BUFFER));
            let most = most.min(BUFFER);
            let count = match Waiting(file).read(&mut buffer[..most]) {
                Ok(count) => count,
                Err(source) => {
                    let path = self.source.path().to_owned();
                    return Err(Stopped::Here(SendError::Read { path, source }));
                }
            };
            match (count, announced) {
                (0, None) => {
                    let finished = self.stream.ends_in_order().and_then(|()| self.stream.finish());
                    return finished.map_err(Stopped::Broken);
                }
                (0, Some(announced)) => {
                    let (path, read) = (self.source.path().to_owned(), self.sent);
                    return Err(Stopped::Here(SendError::Shrank { path, announced, read }));
                }
                _ => {}
            }
            self.stream.write_all(&buffer[..count]).map_err(Stopped::Broken)?;
            self.sent += count as u64;
            self.left = self.left.map(|left| left - count as u64);
            progress(self.sent);
        }
        Ok(())
    }
}

/// The next line, without its line feed, and not a byte behind it.
pub(crate) fn read_line(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LONGEST_ANSWER {
        match stream.read(&mut byte) {
            Ok(0) => return Err(ended()),
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(line)
}

/// What a server said instead of what was expected.
pub(crate) fn cut(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().take(200).collect()
}

const SLACK: Duration = Duration::from_secs(10);
