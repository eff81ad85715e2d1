//! The shares of an anyport server, over its HTTP resource (docs/share.md).

use std::io;

use anyport_proto::http1::BasePath;
use anyport_proto::http1::field_names::BASE_PATH;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::connect::ConnectOptions;
use crate::error::{Error, ErrorKind, Transferred, no_runtime};
use crate::http::Tasks;
use crate::http::answer::Answer;
use crate::http::connection::Connection;
use crate::http::content::{Moved, Outgoing};
use crate::http::request::request;
use crate::target::{Scheme, Scope, Target};

/// A server whose shares are created, listed and revoked.
pub struct Shares {
    runtime: Tasks,
    connection: Connection,
    target: Target,
    options: ConnectOptions,
    base: BasePath,
}

impl std::fmt::Debug for Shares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shares").field("target", &self.target.to_string()).finish_non_exhaustive()
    }
}

impl Shares {
    /// Connects to the server of `target`, over HTTP whatever its scheme.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn open(target: &Target, options: &ConnectOptions) -> Result<Self, Error> {
        let target = Target { scheme: Scheme::Http, ..target.clone() };
        let runtime = Tasks::start().map_err(no_runtime)?;
        let connection = Connection::open(&runtime, &target, options)?;
        let (options, base) = (options.clone(), BasePath::NONE);
        let mut shares = Self { runtime, connection, target, options, base };
        shares.base = shares.base_path()?;
        Ok(shares)
    }

    /// Returns the file or directory of the target, as the server names it.
    ///
    /// # Errors
    /// The path of the target is not one of a stored file.
    pub fn scope(&self) -> Result<Scope, Error> {
        let path = self.target.path.strip_prefix(self.base.as_str()).unwrap_or(&self.target.path);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Target { path, ..self.target.clone() }.scope()?)
    }

    /// Creates a share that `wanted` describes; returns its description, both as JSON.
    ///
    /// # Errors
    /// The server refuses, or the connection is lost.
    pub fn create(&mut self, wanted: String) -> Result<String, Error> {
        self.call(Method::POST, "", Some(wanted))
    }

    /// Returns the shares that this client may revoke, as JSON.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn list(&mut self) -> Result<String, Error> {
        self.call(Method::GET, "", None)
    }

    /// Revokes the share `name`.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn revoke(&mut self, name: &str) -> Result<(), Error> {
        let all = percent_encoding::NON_ALPHANUMERIC;
        let name = percent_encoding::utf8_percent_encode(name, all);
        self.call(Method::DELETE, &format!("/{name}"), None).map(drop)
    }

    /// Returns the URL of a path, that of a proxy included.
    pub fn url(&self, path: &str) -> String {
        Target { path: path.to_owned(), ..self.target.clone() }.to_string()
    }

    /// Returns the URL of the server.
    pub fn root(&self) -> String {
        self.url(&self.base.public("/"))
    }

    /// Returns the path of a proxy that precedes those of the server, which its listings name.
    fn base_path(&mut self) -> Result<BasePath, Error> {
        let written = self.target.path.split('?').next().unwrap_or_default();
        let directory = written.rfind('/').map_or("/", |at| &written[..=at]).to_owned();
        let response = self.ask(Method::HEAD, &directory, None)?;
        let base = response.headers().get(BASE_PATH).and_then(|base| base.to_str().ok());
        Ok(base.and_then(|base| base.parse().ok()).unwrap_or(BasePath::NONE))
    }

    fn call(
        &mut self,
        method: Method,
        rest: &str,
        content: Option<String>,
    ) -> Result<String, Error> {
        let path = format!("{}/.anyport/shares{rest}", self.base);
        let response = self.ask(method, &path, content)?;
        let peer = self.connection.peer;
        if !response.status().is_success() {
            let answer = self.runtime.block_on(Answer::read(response, self.options.timeout));
            return Err(Error::at(peer, ErrorKind::Refused(answer.refusal())));
        }
        let content = Limited::new(response.into_body(), LONGEST_LIST).collect();
        let read = self.runtime.block_on(async { timeout(self.options.timeout, content).await });
        let lost = |error: io::Error| Error::lost(peer, Transferred::Received(0), error);
        match read {
            Ok(Ok(content)) => Ok(String::from_utf8_lossy(&content.to_bytes()).into_owned()),
            Ok(Err(error)) => Err(lost(io::Error::other(error.to_string()))),
            Err(_) => Err(lost(io::ErrorKind::WouldBlock.into())),
        }
    }

    fn ask(
        &mut self,
        method: Method,
        path: &str,
        content: Option<String>,
    ) -> Result<Response<Incoming>, Error> {
        let ready = async { timeout(self.options.timeout, self.connection.is_ready()).await };
        if !self.runtime.block_on(ready).unwrap_or(false) {
            self.connection = Connection::open(&self.runtime, &self.target, &self.options)?;
        }
        let (version, token) = (self.connection.version(), self.connection.token(&self.target));
        let mut asking = request(&self.target, version, token, method, path)?;
        let json = HeaderValue::from_static("application/json");
        asking.headers_mut().insert(header::ACCEPT, json.clone());
        if let Some(content) = content {
            asking.headers_mut().insert(header::CONTENT_TYPE, json);
            *asking.body_mut() = Outgoing::Whole(Some(Bytes::from(content)), Moved::new());
        }
        let answered = self
            .runtime
            .block_on(async { timeout(self.options.timeout, self.connection.ask(asking)).await });
        let late = |_| {
            let peer = self.connection.peer;
            Error::lost(peer, Transferred::Received(0), io::ErrorKind::WouldBlock.into())
        };
        answered.map_err(late)?.map_err(|error| self.connection.failed(0, &error))
    }
}

/// Maximum size of a list of shares: a thousand of them, each with a path of 1024 bytes that JSON
/// escapes.
const LONGEST_LIST: usize = 8 * 1024 * 1024;
