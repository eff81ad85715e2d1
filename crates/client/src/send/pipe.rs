//! Sends a file through a pipe of the server (docs/pipe.md).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyport_net::waiting::Waiting;
use anyport_proto::peer::Peer;
use anyport_proto::pipe::{Give, Piped};
use anyport_proto::preface::{Reply, give_line, with_token};
use anyport_proto::transfer::refusal::RefusalCode;

use crate::connect::{ConnectOptions, Connection};
use crate::content::{OpenError, Source};
use crate::error::{Error, ErrorKind, LONGEST_ANSWER, Stopped, Transferred, cut};
use crate::measure::{Measuring, diagnosed};
use crate::spent::{SoFar, Spent};
use crate::stream::{BUFFER, Stream, ended};
use crate::target::Target;

/// Sends all of `source` to the receivers of `give`; determines its size.
///
/// # Errors
/// An error; no receiver considers the content complete.
pub fn give(
    target: &Target,
    give: &Give,
    source: &Source,
    options: &ConnectOptions,
    progress: &dyn Fn(u64),
) -> Result<(Peer, Piped), Error> {
    let (file, size) = open(source)?;
    let Connection { mut stream, peer, socket } = connect(target, options)?;
    let broken = |sent| move |error| Error::lost(peer, Transferred::Sent(sent), error);
    let line = give_line(&Give { size, ..give.clone() });
    let line = with_token(line, target.token.as_ref());
    if size.is_none() {
        // Without an announced size, FIN means that the content is complete.
        stream.resets_at_end().map_err(broken(0))?;
    }
    stream.write_all(line.as_bytes()).map_err(broken(0))?;
    // The wait for a receiver counts: it is the limit of a sender whose socket is full.
    let so_far = SoFar::default();
    let measured = so_far.clone();
    let measuring = Measuring::begin(&socket).sends(options, &socket, move || measured.get());
    let spent = Spent { is_stream: size.is_none(), ..Spent::default() };
    let mut giving = Giving { stream: &mut stream, source, left: size, sent: 0, spent, so_far };
    let written = giving.write(&file, progress);
    let (sent, spent) = (giving.sent, giving.spent);
    if let Err(Stopped::Local(error)) = written {
        let _ = stream.resets_at_end();
        return Err(error);
    }
    // If the write failed because the server refused, its reply says so.
    let answer = read_line(&mut stream);
    let line = match (answer, written) {
        (Ok(line), _) => line,
        (Err(_), Err(Stopped::Broken(error))) | (Err(error), _) => return Err(broken(sent)(error)),
    };
    match Reply::parse(&line) {
        Ok(Reply::Piped(piped)) if piped.bytes == sent => {
            diagnosed(options, &measuring.sent(&socket, sent, &spent, None));
            Ok((peer, piped))
        }
        Ok(Reply::Piped(piped)) => {
            Err(Error::at(peer, ErrorKind::BytesDiffer { ours: sent, theirs: piped.bytes }))
        }
        Ok(Reply::Error(refusal)) => {
            if refusal.code != RefusalCode::Interrupted {
                measuring.not_accepted();
            }
            Err(Error::at(peer, ErrorKind::Refused(refusal)))
        }
        Ok(_) | Err(_) => Err(Error::at(peer, ErrorKind::NoReceipt(cut(&line)))),
    }
}

/// Opens it; a regular file has a size.
fn open(source: &Source) -> Result<(File, Option<u64>), Error> {
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
    // Files of /proc and /sys have size 0 and content.
    let size = Some(metadata.len()).filter(|size| metadata.is_file() && *size > 0);
    Ok((file, size))
}

/// Connects to a pipe. Its server reads and sends nothing until the other side is there.
pub(crate) fn connect(target: &Target, options: &ConnectOptions) -> Result<Connection, Error> {
    let options = ConnectOptions { unacknowledged: None, ..options.clone() };
    let connection = crate::connect::connect(target, &options)?;
    // The server's own limit for the wait passes first, with a refusal that names it.
    connection.socket.end_handshake(options.timeout.saturating_add(SLACK));
    Ok(connection)
}

struct Giving<'a> {
    stream: &'a mut Stream,
    source: &'a Source,
    /// Bytes that were promised, if any were.
    left: Option<u64>,
    sent: u64,
    spent: Spent,
    /// Of a trace.
    so_far: SoFar,
}

impl Giving<'_> {
    fn write(&mut self, file: &File, progress: &dyn Fn(u64)) -> Result<(), Stopped> {
        let announced = self.left;
        let mut buffer = vec![0; BUFFER];
        while self.left != Some(0) {
            // Before the end, any reply is a refusal.
            if self.stream.has_something_to_say() {
                return Ok(());
            }
            let most = self.left.map_or(BUFFER, |left| usize::try_from(left).unwrap_or(BUFFER));
            let most = most.min(BUFFER);
            let began = Instant::now();
            self.spent.first.get_or_insert(began);
            let read = Waiting(file).read(&mut buffer[..most]);
            self.spent.reading += began.elapsed();
            let count = match read {
                Ok(count) => count,
                Err(source) => {
                    let path = self.source.path().to_owned();
                    return Err(Stopped::Local(Error::from(ErrorKind::Read(path)).because(source)));
                }
            };
            match (count, announced) {
                (0, None) => {
                    let finished = self.stream.ends_in_order().and_then(|()| self.stream.finish());
                    return finished.map_err(Stopped::Broken);
                }
                (0, Some(announced)) => {
                    let (path, read) = (self.source.path().to_owned(), self.sent);
                    return Err(Stopped::Local(ErrorKind::Shrank { path, announced, read }.into()));
                }
                _ => {}
            }
            self.stream.write_all(&buffer[..count]).map_err(Stopped::Broken)?;
            self.sent += count as u64;
            self.spent.last = Some(Instant::now());
            self.so_far.set(self.sent, self.spent);
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

const SLACK: Duration = Duration::from_secs(10);
