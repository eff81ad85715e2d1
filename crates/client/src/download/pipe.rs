//! Receives content through a pipe of the server (docs/pipe.md).

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyport_proto::peer::Peer;
use anyport_proto::pipe::{PipeKey, Take};
use anyport_proto::preface::{Reply, take_line, with_token};
use anyport_proto::transfer::offer::OnExists;
use anyport_store::{LocalError, LocalFile, Published, check_replaceable};

use super::{not_written, stored};
use crate::connect::{ConnectOptions, Connection};
use crate::error::{Error, ErrorKind, Transferred, cut};
use crate::measure::{Measuring, diagnosed};
use crate::send::pipe::{connect, read_line};
use crate::spent::{Intake, Work};
use crate::stream::BUFFER;
use crate::target::Target;

/// The result of a receiver of a pipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// The server.
    pub peer: Peer,
    /// Path of the local file; `None` if it went to a writer.
    pub path: Option<PathBuf>,
    /// Bytes of it.
    pub bytes: u64,
    /// From its first line to its end.
    pub seconds: f64,
}

/// Receives into `path`, where the file is hidden until it is complete.
///
/// # Errors
/// An error; then nothing is kept.
pub fn take(
    target: &Target,
    key: &PipeKey,
    path: &Path,
    on_exists: OnExists,
    options: &ConnectOptions,
) -> Result<Taken, Error> {
    // Checked before, because the content of a pipe arrives once.
    if on_exists == OnExists::Error && path.symlink_metadata().is_ok() {
        return Err(LocalError::Exists(path.to_owned()).into());
    }
    if on_exists == OnExists::Overwrite {
        check_replaceable(path)?;
    }
    let mut file = LocalFile::fresh(path, None)?;
    match copy(target, key, options, &mut |bytes| Ok(file.write(bytes)?)) {
        Ok(taken) => {
            let began = Instant::now();
            let Published { path, syncing } = file.publish(None, None, on_exists)?;
            stored(options, began, taken.bytes, syncing);
            Ok(Taken { path: Some(path), ..taken })
        }
        Err(error) => {
            file.discard();
            Err(error)
        }
    }
}

/// Receives into `out`.
///
/// # Errors
/// An error; written output remains.
pub fn take_into(
    target: &Target,
    key: &PipeKey,
    out: &mut dyn Write,
    options: &ConnectOptions,
) -> Result<Taken, Error> {
    let taken = copy(target, key, options, &mut |bytes| out.write_all(bytes).map_err(not_written))?;
    out.flush().map_err(not_written)?;
    Ok(taken)
}

fn copy(
    target: &Target,
    key: &PipeKey,
    options: &ConnectOptions,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Taken, Error> {
    let Connection { mut stream, peer, socket } = connect(target, options)?;
    let broken = |received| move |error| Error::lost(peer, Transferred::Received(received), error);
    // A FIN would only end the sending direction: the server would wait for this client, and send
    // content to it in vain.
    stream.resets_at_end().map_err(broken(0))?;
    let line = take_line(&Take { key: key.clone(), head: true });
    let line = with_token(line, target.token.as_ref());
    stream.write_all(line.as_bytes()).map_err(broken(0))?;
    let line = read_line(&mut stream).map_err(broken(0))?;
    let size = match Reply::parse(&line) {
        Ok(Reply::Content { size }) => size,
        Ok(Reply::Error(refusal)) => return Err(Error::at(peer, ErrorKind::Refused(refusal))),
        Ok(_) | Err(_) => return Err(Error::at(peer, ErrorKind::Answer(cut(&line)))),
    };
    // The wait for the sender is no part of the transfer.
    socket.take_began();
    let intake = Intake::default();
    let measuring = Measuring::begin(&socket).receives(options, &socket, &intake, false);
    let (started, mut buffer, mut bytes) = (Instant::now(), vec![0; BUFFER], 0);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                let began = Instant::now();
                sink(&buffer[..count])?;
                bytes += count as u64;
                let (count, storing) = (count as u64, began.elapsed());
                intake.add(Work { bytes: count, storing, ..Work::default() });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(bytes)(error)),
        }
    }
    if size.is_some_and(|size| size != bytes) {
        return Err(broken(bytes)(io::ErrorKind::UnexpectedEof.into()));
    }
    stream.ends_in_order().map_err(broken(bytes))?;
    diagnosed(options, &measuring.received(&socket, started, intake.get(), false));
    Ok(Taken { peer, path: None, bytes, seconds: started.elapsed().as_secs_f64() })
}
