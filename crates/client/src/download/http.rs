//! Downloads over HTTP: a file is the response to a GET request, its rest a range (RFC 9110 §14).

use std::io;
use std::time::Duration;

use anyport_proto::http1::date;
use anyport_proto::peer::Peer;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::download::{FileEnd, ListEnd};
use anyport_proto::transfer::fields::{size_of_rest, time_of};
use anyport_proto::transfer::file_path::FilePath;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::GetOptions;
use super::file::{RemoteFile, Sink};
use super::transport::{Each, Transport};
use crate::connect::{ConnectOptions, Socket};
use crate::error::{Error, ErrorKind, Transferred, no_runtime};
use crate::http::Tasks;
use crate::http::answer::Answer;
use crate::http::connection::Connection;
use crate::http::request::{Below, path_of, request};
use crate::target::{Scope, Target};

/// One request after the other, over another connection when a server accepts no more over this
/// one.
pub(super) struct HttpWire {
    runtime: Tasks,
    pub(super) target: Target,
    options: ConnectOptions,
    connection: Option<Connection>,
    answer: Option<Answered>,
    peer: Peer,
    /// Where the server is below a proxy, once a listing has said it.
    pub(super) below: Below,
}

/// A file whose content has begun.
struct Answered {
    remote: RemoteFile,
    offset: u64,
    /// `None` if no content is missing.
    content: Option<Incoming>,
}

/// The rest of a partial file.
pub(super) struct Rest<'a> {
    offset: u64,
    /// The version: an entity tag, or a date.
    tag: &'a str,
}

impl Transport for HttpWire {
    /// The content has begun then, and [`Self::get`] continues there.
    fn look(&mut self, name: &FilePath) -> Result<Option<RemoteFile>, Error> {
        let path = self.target.path.clone();
        let response = self.ask(&path, None, None)?;
        let answered = self.answered(response, name, 0)?;
        let remote = answered.remote.clone();
        self.answer = Some(answered);
        Ok(Some(remote))
    }

    fn get(
        &mut self,
        asked: &RemoteFile,
        offset: u64,
        _: Algorithm,
    ) -> Result<(RemoteFile, u64), Error> {
        let name = &asked.name;
        if let Some(answer) = &self.answer
            && answer.remote.name == *name
            && answer.offset == offset
        {
            return Ok((answer.remote.clone(), offset));
        }
        // There is no range behind the last byte.
        if offset > 0 && asked.size == Some(offset) {
            self.drop_answer();
            self.answer = Some(Answered { remote: asked.clone(), offset, content: None });
            return Ok((asked.clone(), offset));
        }
        let path = match self.target.scope()? {
            Scope::File(file) if file == *name => self.target.path.clone(),
            _ => path_of(&self.below, name),
        };
        let of_listing = asked.mtime.and_then(|mtime| date::write(mtime.seconds));
        let tag = asked.tag.as_deref().or(of_listing.as_deref());
        // Without a validator, two versions could be joined.
        let rest = tag.filter(|_| offset > 0).map(|tag| Rest { offset, tag });
        let response = self.ask(&path, rest, None)?;
        let answered = self.answered(response, name, offset)?;
        let (remote, offset) = (answered.remote.clone(), answered.offset);
        self.answer = Some(answered);
        Ok((remote, offset))
    }

    fn content(
        &mut self,
        left: Option<u64>,
        _: usize,
        sink: &mut dyn Sink,
    ) -> Result<Option<u64>, Error> {
        let Some(Answered { content: Some(content), .. }) = &mut self.answer else {
            return Ok(None);
        };
        let reading = Reading {
            runtime: &self.runtime,
            connection: self.connection.as_ref(),
            peer: self.peer,
            wait_limit: self.options.timeout,
        };
        let Some(piece) = reading.next(content)? else { return Ok(None) };
        if left.is_some_and(|left| piece.len() as u64 > left) {
            let answer = "more content than was announced".to_owned();
            return Err(Error::at(self.peer, ErrorKind::Answer(answer)));
        }
        sink.take(&piece)?;
        Ok(Some(piece.len() as u64))
    }

    /// The length was compared; HTTP names no digest.
    fn file_end(&mut self, size: u64) -> Result<FileEnd, Error> {
        Ok(FileEnd { bytes: size, digest: None })
    }

    fn list(
        &mut self,
        scope: &Scope,
        recursive: bool,
        _: bool,
        each: Each<'_>,
    ) -> Result<ListEnd, Error> {
        self.list_all(scope, recursive, each)
    }

    fn is_http(&self) -> bool {
        true
    }

    fn socket(&self) -> Option<&Socket> {
        self.connection.as_ref().map(|connection| &connection.socket)
    }

    fn close(mut self: Box<Self>) {
        self.drop_answer();
        if let Some(connection) = self.connection.take() {
            self.runtime.block_on(connection.close());
        }
    }
}

impl HttpWire {
    pub(super) fn open(target: &Target, options: &GetOptions) -> Result<Self, Error> {
        let runtime = Tasks::start().map_err(no_runtime)?;
        let connection = Connection::open(&runtime, target, &options.connect)?;
        let (peer, connection) = (connection.peer, Some(connection));
        let (target, options) = (target.clone(), options.connect.clone());
        Ok(Self {
            runtime,
            target,
            options,
            connection,
            answer: None,
            peer,
            below: Below::default(),
        })
    }

    pub(super) const fn peer(&self) -> Peer {
        self.peer
    }
    /// Requests `path` in the form `accept`; returns the response with its content.
    pub(super) fn ask(
        &mut self,
        path: &str,
        rest: Option<Rest<'_>>,
        accept: Option<&'static str>,
    ) -> Result<Response<Incoming>, Error> {
        self.drop_answer();
        let connection = match self.connection.take() {
            Some(connection) if self.runtime.block_on(self.is_ready(&connection)) => connection,
            _ => Connection::open(&self.runtime, &self.target, &self.options)?,
        };
        let (version, token) = (connection.version(), connection.token(&self.target));
        let mut asking = request(&self.target, version, token, Method::GET, path)?;
        let fields = asking.headers_mut();
        // Sizes and ranges are those of the file itself.
        fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        fields.insert(header::ACCEPT, HeaderValue::from_static(accept.unwrap_or("*/*")));
        if let Some(Rest { offset, tag }) = rest
            && let Ok(tag) = HeaderValue::from_str(tag)
            && let Ok(range) = HeaderValue::try_from(format!("bytes={offset}-"))
        {
            fields.insert(header::RANGE, range);
            fields.insert(header::IF_RANGE, tag);
        }
        let wait_limit = self.options.timeout;
        let answered =
            self.runtime.block_on(async { timeout(wait_limit, connection.ask(asking)).await });
        let late =
            |_| Error::lost(self.peer, Transferred::Received(0), io::ErrorKind::WouldBlock.into());
        let response = answered.map_err(late)?.map_err(|error| connection.failed(0, &error));
        self.connection = Some(connection);
        response.map_err(in_content)
    }

    /// Reads a short response.
    pub(super) fn read(&mut self, response: Response<Incoming>) -> Answer {
        let answer = self.runtime.block_on(Answer::read(response, self.options.timeout));
        if !answer.is_whole {
            self.connection = None;
        }
        answer
    }

    /// Returns a reader of the content that arrives.
    pub(super) fn reading(&self) -> Reading<'_> {
        Reading {
            runtime: &self.runtime,
            connection: self.connection.as_ref(),
            peer: self.peer,
            wait_limit: self.options.timeout,
        }
    }

    /// Drops the connection, and with it the rest of the response.
    pub(super) fn hang_up(&mut self) {
        self.connection = None;
    }

    async fn is_ready(&self, connection: &Connection) -> bool {
        timeout(self.options.connect_timeout, connection.is_ready()).await.unwrap_or(false)
    }

    /// Drops a response. Over HTTP/1.1 its rest would delay the next one, so the connection is
    /// dropped.
    fn drop_answer(&mut self) {
        let Some(Answered { content: Some(content), .. }) = self.answer.take() else { return };
        let two = self.connection.as_ref().is_some_and(|c| c.version() == Version::HTTP_2);
        if !two && !content.is_end_stream() {
            self.connection = None;
        }
    }

    /// Parses the response about the file `name`, requested from `offset` on.
    fn answered(
        &mut self,
        response: Response<Incoming>,
        name: &FilePath,
        offset: u64,
    ) -> Result<Answered, Error> {
        let (status, peer) = (response.status(), self.peer);
        let unclear = |answer: String| Err(Error::at(peer, ErrorKind::Answer(answer)));
        let offset = match status {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => offset,
            // The tag is the same, but the length is not.
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => {
                return Err(Error::from(ErrorKind::ChangedThere(name.to_string())));
            }
            _ => return Err(self.refused(response, Some(name))),
        };
        // A content coding is a property of the stored file (.tgz: x-gzip), so it is stored as
        // sent.
        let fields = response.headers();
        let size = if status == StatusCode::PARTIAL_CONTENT {
            let range = text(fields, header::CONTENT_RANGE).unwrap_or_default();
            match size_of_rest(range, offset) {
                Some(size) => Some(size),
                None => {
                    return unclear(format!(
                        "Content-Range {range:?} for a request from byte {offset}"
                    ));
                }
            }
        } else {
            response.body().size_hint().exact()
        };
        let modified = text(fields, header::LAST_MODIFIED);
        let strong = text(fields, header::ETAG).filter(|tag| tag.starts_with('"'));
        let remote = RemoteFile {
            name: name.clone(),
            size,
            mtime: time_of(fields),
            mode: None,
            tag: strong.or(modified).map(str::to_owned),
        };
        Ok(Answered { remote, offset, content: Some(response.into_body()) })
    }

    /// Returns why there is no file: a directory, a redirect or a refusal.
    pub(super) fn refused(
        &mut self,
        response: Response<Incoming>,
        name: Option<&FilePath>,
    ) -> Error {
        let peer = self.peer;
        let answer = self.read(response);
        if !answer.status.is_redirection() {
            return Error::at(peer, ErrorKind::Refused(answer.refusal()));
        }
        let location = answer.location();
        if let Some(name) = name.filter(|_| self.is_directory(&location)) {
            return Error::from(ErrorKind::Directory(name.to_string()));
        }
        let status = answer.status.to_string();
        Error::at(peer, ErrorKind::Elsewhere { status, location })
    }

    /// Returns whether a redirect means that the path is a directory of the same server.
    fn is_directory(&self, location: &str) -> bool {
        let own = if location.starts_with('/') && !location.starts_with("//") {
            let path = location.split('#').next().unwrap_or_default().to_owned();
            Ok(Target { path, ..self.target.clone() })
        } else {
            location.parse::<Target>()
        };
        let Ok(own) = own else { return false };
        // A server does not know the zone of its address.
        let origin = |target: &Target| {
            (target.scheme, target.encrypted, target.authority().to_ascii_lowercase())
        };
        match (self.target.scope(), own.scope()) {
            (Ok(Scope::File(asked)), Ok(Scope::Directory(there))) => {
                origin(&self.target) == origin(&own) && asked == there
            }
            _ => false,
        }
    }
}

/// Content that arrives.
pub(super) struct Reading<'a> {
    runtime: &'a Runtime,
    connection: Option<&'a Connection>,
    peer: Peer,
    /// Maximum time without content.
    wait_limit: Duration,
}

impl Reading<'_> {
    /// Returns the next piece; `None` at the end.
    pub(super) fn next(&self, content: &mut Incoming) -> Result<Option<Bytes>, Error> {
        let broken = |source| Error::lost(self.peer, Transferred::Received(0), source);
        loop {
            let frame = async { timeout(self.wait_limit, content.frame()).await };
            let Ok(frame) = self.runtime.block_on(frame) else {
                return Err(broken(io::ErrorKind::WouldBlock.into()));
            };
            let is_two = self.connection.is_some_and(|one| one.version() == Version::HTTP_2);
            match frame {
                Some(Ok(frame)) => {
                    // Trailers and empty pieces have no content.
                    if let Some(piece) = frame.into_data().ok().filter(|piece| !piece.is_empty()) {
                        return Ok(Some(piece));
                    }
                }
                Some(Err(error)) => {
                    let reported = |one: &Connection| in_content(one.failed(0, &error));
                    let unknown = || broken(io::Error::other(error.to_string()));
                    return Err(self.connection.map_or_else(unknown, reported));
                }
                // A stream that is reset without an error has not ended (RFC 9113 §8.1).
                None if is_two && !content.is_end_stream() => {
                    return Err(broken(io::Error::other("the server reset the stream")));
                }
                None => return Ok(None),
            }
        }
    }
}

/// Received content is kept, so a lost download is another error than a lost upload.
fn in_content(error: Error) -> Error {
    error.moved(|moved| match moved {
        Transferred::SentOverHttp(bytes) => Transferred::Received(bytes),
        other => other,
    })
}

fn text(fields: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    fields.get(name)?.to_str().ok()
}
