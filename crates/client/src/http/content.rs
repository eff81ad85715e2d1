//! The content of a request: a file that is read and hashed on a thread of its own, a few pieces
//! ahead of the connection.

use std::pin::Pin;
use std::sync::mpsc::{Receiver as Returned, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::content::Content;
use crate::error::Error;

/// The progress of a request: the bytes that its connection accepted, and when.
#[derive(Debug)]
pub(crate) struct Moved(Mutex<Far>);

#[derive(Debug)]
struct Far {
    bytes: u64,
    last: Instant,
    /// Whether the local source is waited for, and not the server.
    reading: bool,
}

impl Moved {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Far { bytes: 0, last: Instant::now(), reading: false })))
    }

    /// Returns the number of accepted bytes of content.
    pub(crate) fn bytes(&self) -> u64 {
        self.far().bytes
    }

    /// Returns when the server last accepted content; now, while there is none to accept.
    pub(crate) fn last(&self) -> Instant {
        let far = self.far();
        if far.reading { Instant::now() } else { far.last }
    }

    /// Counts from `offset`, which the server has already.
    pub(crate) fn resume_at(&self, offset: u64) {
        self.far().bytes = offset;
    }

    /// The request is on its way.
    pub(crate) fn begin(&self) {
        self.far().last = Instant::now();
    }

    pub(crate) fn add(&self, bytes: u64) {
        let mut far = self.far();
        (far.bytes, far.last) = (far.bytes + bytes, Instant::now());
    }

    fn reads(&self, reading: bool) {
        let mut far = self.far();
        (far.reading, far.last) = (reading, Instant::now());
    }

    fn far(&self) -> MutexGuard<'_, Far> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The content of a request.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Nothing,
    /// A small file, whole.
    Whole(Option<Bytes>, Arc<Moved>),
    Pieces(Pieces),
}

/// A file on its way.
#[derive(Debug)]
pub(crate) struct Pieces {
    came: mpsc::Receiver<Piece>,
    /// Remaining bytes, if known.
    left: Option<u64>,
    moved: Arc<Moved>,
    /// Dropped at the other end if the rest is not needed.
    wanted: oneshot::Receiver<()>,
    ended: bool,
}

#[derive(Debug)]
enum Piece {
    Some(Bytes),
    /// Nothing follows. Without it the file is not whole.
    End,
}

/// Content that stopped before its end. The reader has the reason.
#[derive(Debug, thiserror::Error)]
#[error("the upload was aborted")]
pub(crate) struct GivenUp;

/// Reads a file for its request.
pub(crate) struct Reader {
    content: Content,
    pieces: mpsc::Sender<Piece>,
    moved: Arc<Moved>,
    wanted: oneshot::Receiver<()>,
}

/// Dropping it cancels the rest of the content: its request ends in the middle, and its reader
/// stops even if the connection keeps the request.
#[derive(Debug)]
pub(crate) struct Want {
    _body: oneshot::Sender<()>,
    _reader: oneshot::Sender<()>,
}

/// The content of `content` as a body, its reader, and what both stop without.
pub(crate) fn streamed(content: Content, moved: Arc<Moved>) -> (Outgoing, Reader, Want) {
    let (pieces, came) = mpsc::channel(AHEAD);
    let ((body, wanted), (reader, read)) = (oneshot::channel(), oneshot::channel());
    let want = Want { _body: body, _reader: reader };
    let left = content.left();
    let body = Pieces { came, left, moved: moved.clone(), wanted, ended: false };
    (Outgoing::Pieces(body), Reader { content, pieces, moved, wanted: read }, want)
}

impl Reader {
    /// Reads until the end, or until the other end is dropped. Blocks. Returns the content, and
    /// whether its end was reached.
    pub(crate) fn read(self) -> (Content, Result<bool, Error>) {
        let Self { mut content, pieces, moved, mut wanted } = self;
        let runtime = Handle::current();
        // Returns whether it was accepted.
        let mut send = |piece| {
            runtime.block_on(async {
                tokio::select! {
                    sent = pieces.send(piece) => sent.is_ok(),
                    _ = &mut wanted => false,
                }
            })
        };
        let (give_back, used) = sync_channel(AHEAD + 2);
        let read = loop {
            let mut buffer = fresh(&used);
            moved.reads(true);
            let came = content.read(&mut buffer);
            moved.reads(false);
            match came {
                Ok(0) => {
                    send(Piece::End);
                    break Ok(true);
                }
                Ok(count) => {
                    let piece = Lent { buffer, count, give_back: give_back.clone() };
                    let piece = Piece::Some(Bytes::from_owner(piece));
                    if !send(piece) {
                        break Ok(false);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        (content, read)
    }
}

fn fresh(used: &Returned<Vec<u8>>) -> Vec<u8> {
    used.try_recv().unwrap_or_else(|_| vec![0; PIECE])
}

/// A buffer that returns when it was sent.
struct Lent {
    buffer: Vec<u8>,
    count: usize,
    give_back: SyncSender<Vec<u8>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.count]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // The reader may be done, or have enough of them.
        let _ = self.give_back.try_send(std::mem::take(&mut self.buffer));
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        match self.get_mut() {
            Self::Nothing => Poll::Ready(None),
            Self::Whole(content, moved) => {
                let content = content.take();
                moved.add(content.as_ref().map_or(0, |content| content.len() as u64));
                Poll::Ready(content.map(|content| Ok(Frame::data(content))))
            }
            Self::Pieces(pieces) => pieces.poll_next(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Whole(content, _) => content.as_ref().is_none_or(Bytes::is_empty),
            Self::Pieces(pieces) => pieces.ended || pieces.left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing => SizeHint::with_exact(0),
            Self::Whole(content, _) => {
                SizeHint::with_exact(content.as_ref().map_or(0, |content| content.len() as u64))
            }
            Self::Pieces(pieces) => {
                pieces.left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}

impl Pieces {
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if Pin::new(&mut self.wanted).poll(context).is_ready() {
            self.ended = true;
            return Poll::Ready(Some(Err(GivenUp)));
        }
        match self.came.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Piece::Some(piece))) => {
                self.moved.add(piece.len() as u64);
                self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Poll::Ready(Some(Piece::End)) => {
                self.ended = true;
                Poll::Ready(None)
            }
            // The reader failed; the sent part must not look complete.
            Poll::Ready(None) => Poll::Ready(Some(Err(GivenUp))),
        }
    }
}

/// Bytes of one piece.
const PIECE: usize = 128 * 1024;

/// Number of pieces that are read ahead of the connection.
const AHEAD: usize = 3;

#[cfg(test)]
mod tests {
    use anyport_proto::transfer::digest::Algorithm;
    use http_body_util::BodyExt;

    use super::*;
    use crate::content::Source;

    /// Returns how much of a file of `size` bytes is sent until its body ends or fails; `want` is
    /// dropped after `pieces` of it.
    async fn taken(size: u64, pieces: usize) -> (u64, bool) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        let source = Source::new(file.path()).unwrap();
        let content = source.open(Algorithm::None).unwrap();
        let (mut body, reader, want) = streamed(content, Moved::new());
        if size > 3 * PIECE as u64 {
            file.as_file().set_len(3 * PIECE as u64).unwrap();
        }
        let reading = tokio::task::spawn_blocking(|| reader.read());
        let (mut want, mut bytes, mut whole) = (Some(want), 0, true);
        for number in 0.. {
            if number == pieces {
                want = None;
            }
            if body.is_end_stream() {
                break;
            }
            match body.frame().await {
                None => break,
                Some(Ok(frame)) => bytes += frame.into_data().unwrap().len() as u64,
                Some(Err(GivenUp)) => {
                    whole = false;
                    break;
                }
            }
        }
        drop((body, want));
        let (_content, _) = reading.await.unwrap();
        (bytes, whole)
    }

    #[tokio::test]
    async fn content_is_complete_or_an_error() {
        let piece = PIECE as u64;
        for size in [0, 1, piece, 3 * piece] {
            assert_eq!(taken(size, usize::MAX).await, (size, true));
        }
        // It shrank, so the announced content is incomplete.
        assert_eq!(taken(5 * piece, usize::MAX).await, (3 * piece, false));
        // The rest is not needed.
        assert_eq!(taken(3 * piece, 2).await, (2 * piece, false));
        assert_eq!(taken(3 * piece, 0).await, (0, false));
    }
}
