//! Our two ends: the input, read on a thread, and the output, written on another.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::error::{Error, ErrorKind};

/// The segmentation of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Pieces of at most this many bytes, as read.
    Reads(usize),
    /// Lines, without their ends. They are UTF-8.
    Lines,
}

/// Pieces of the input. After an error there are none.
pub(super) type Pieces = Receiver<Result<Vec<u8>, Error>>;

/// Reads until the end, or until the receiver of the pieces is dropped.
pub(super) fn read(input: impl Read + Send + 'static, cut: Cut) -> Pieces {
    let (sender, receiver) = channel(PIECES);
    std::thread::spawn(move || match cut {
        Cut::Reads(size) => reads(input, size, &sender),
        Cut::Lines => lines(input, &sender),
    });
    receiver
}

fn reads(mut input: impl Read, size: usize, to: &Sender<Result<Vec<u8>, Error>>) {
    let mut buffer = vec![0; size];
    loop {
        let piece = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => Ok(buffer[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(Error::from(ErrorKind::Input).because(error)),
        };
        let failed = piece.is_err();
        if to.blocking_send(piece).is_err() || failed {
            return;
        }
    }
}

fn lines(input: impl Read, to: &Sender<Result<Vec<u8>, Error>>) {
    let mut input = BufReader::new(input);
    for number in 1.. {
        let mut line = Vec::new();
        let read = input.by_ref().take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut line);
        let piece = match read {
            Ok(0) => return,
            Ok(_) if line.last() == Some(&b'\n') => {
                line.pop();
                Ok(line)
            }
            Ok(count) if count > LONGEST_LINE => {
                Err(ErrorKind::LongLine(number, LONGEST_LINE).into())
            }
            Ok(_) => Ok(line),
            Err(error) => Err(Error::from(ErrorKind::Input).because(error)),
        };
        let piece = piece.and_then(|line| match std::str::from_utf8(&line) {
            Ok(_) => Ok(line),
            Err(_) => Err(ErrorKind::NotText(number).into()),
        });
        let failed = piece.is_err();
        if to.blocking_send(piece).is_err() || failed {
            return;
        }
    }
}

/// The thread that writes the output. It ends at the end of the data, or when writing fails.
pub(super) struct Output {
    pub(super) pieces: Sender<Vec<u8>>,
    thread: JoinHandle<Result<(), Error>>,
}

impl Output {
    pub(super) fn start(mut output: impl Write + Send + 'static) -> Self {
        let (pieces, mut queue) = channel::<Vec<u8>>(PIECES);
        let thread = std::thread::spawn(move || {
            while let Some(piece) = queue.blocking_recv() {
                output.write_all(&piece).map_err(not_written)?;
                // Flushed now, because the next piece may take long.
                output.flush().map_err(not_written)?;
            }
            Ok(())
        });
        Self { pieces, thread }
    }

    /// Waits until all is written, or cannot be.
    pub(super) fn finish(self) -> Result<(), Error> {
        drop(self.pieces);
        self.thread.join().unwrap_or(Ok(()))
    }
}

fn not_written(cause: io::Error) -> Error {
    Error::output("write the output", cause)
}

/// Pieces that wait on their way, in each direction: with 64 KiB each as much as a pipe of the
/// kernel may hold.
const PIECES: usize = 16;

/// Bytes of a line that is to be a text message.
const LONGEST_LINE: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8], cut: Cut) -> Vec<Result<Vec<u8>, String>> {
        let mut pieces = read(io::Cursor::new(input.to_vec()), cut);
        let mut all = Vec::new();
        while let Some(piece) = pieces.blocking_recv() {
            all.push(piece.map_err(|error| error.to_string()));
        }
        all
    }

    fn good(texts: &[&str]) -> Vec<Result<Vec<u8>, String>> {
        texts.iter().map(|text| Ok(text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn lines_lose_their_ends_and_the_last_may_have_none() {
        assert_eq!(all(b"a\n\nb\r\nc", Cut::Lines), good(&["a", "", "b\r", "c"]));
        assert_eq!(all(b"", Cut::Lines), good(&[]));
    }

    #[test]
    fn a_line_that_is_no_text_ends_the_input() {
        let expected = vec![Ok(b"a".to_vec()), Err("input line 2 is not UTF-8".to_owned())];
        assert_eq!(all(b"a\n\xff\nb\n", Cut::Lines), expected);
    }

    #[test]
    fn a_line_has_a_longest_length() {
        let mut input = vec![b'x'; LONGEST_LINE];
        input.push(b'\n');
        assert_eq!(all(&input, Cut::Lines)[0].as_ref().unwrap().len(), LONGEST_LINE);
        input.insert(0, b'x');
        let error = "input line 1 is longer than 1048576 bytes".to_owned();
        assert_eq!(all(&input, Cut::Lines), [Err(error)]);
    }

    #[test]
    fn reads_are_as_they_come() {
        assert_eq!(all(b"abcde", Cut::Reads(2)), good(&["ab", "cd", "e"]));
    }
}
