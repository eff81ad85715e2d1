//! One file as an upload resource of the server: created once, and after a lost connection
//! continued at its offset.

use std::sync::PoisonError;
use std::time::Instant;

use anyport_proto::http1::field_names::{MTIME_NS, REPR_DIGEST};
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::fields::anyport_digest_value;
use anyport_proto::transfer::receipt::Outcome;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use tokio::time::timeout;

use super::Sent;
use super::upload::{JSON, Read, Settled, Upload, blocking, read, reported};
use crate::content::Content;
use crate::error::{Error, ErrorKind, Transferred};
use crate::http::answer::{Answer, UploadResult};
use crate::http::content::Outgoing;
use crate::http::resumable::{Protocol, Resource, is_complete, offset, path_of_location};
use crate::measure::Measuring;
use crate::spent::Spent;

/// An upload resource, and what it has of the file.
struct Found {
    resource: Resource,
    offset: u64,
    is_complete: bool,
    /// Whether the content before the offset is that of an upload of another command.
    is_adopted: bool,
}

impl Upload {
    /// Sends a file of `size` bytes so that it can be continued.
    pub(super) async fn resume(
        &self,
        protocol: Protocol,
        content: Content,
        size: u64,
    ) -> Result<Sent, Error> {
        let found = match self.continued(&content).await? {
            // The response was lost. An anyport server has a receipt for a file that it has.
            Some(found) if found.is_complete && found.resource.is_found_again() => {
                match self.created(protocol, &content, size).await {
                    Ok(again) if again.offset == size => again,
                    _ => found,
                }
            }
            Some(found) => found,
            None => self.created(protocol, &content, size).await?,
        };
        if found.offset > size {
            let reason = format!("Upload-Offset {} is beyond the size, {size}", found.offset);
            return Err(self.cannot(reason));
        }
        let is_found_again = found.resource.is_found_again() && self.adopts();
        let sent = if found.offset == size {
            self.complete(found, content, size).await
        } else {
            self.append(found, content, size).await
        };
        // No other attempt could complete it.
        if sent.as_ref().is_err_and(|error| error.is_refused(RefusalCode::Exists)) {
            self.cancel().await;
        }
        sent.map_err(|error| {
            error.moved(|moved| match moved {
                Transferred::SentOverHttp(bytes) if is_found_again => {
                    Transferred::SentToResume(bytes)
                }
                moved => moved,
            })
        })
    }

    /// Returns the upload resource of an earlier attempt, if the server still has it.
    async fn continued(&self, content: &Content) -> Result<Option<Found>, Error> {
        let kept = self.resource.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(resource) = kept else { return Ok(None) };
        if resource.identity.as_ref() != content.identity() {
            return Err(ErrorKind::Changed(self.source.path().to_owned()).into());
        }
        if !resource.is_begun && !self.adopts() {
            return Ok(Some(Found { resource, offset: 0, is_complete: false, is_adopted: false }));
        }
        let mut asking = self.request(Method::HEAD, &resource.path)?;
        resource.protocol.add_version(&mut asking);
        let answer = self.ask(asking).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                self.keep(None);
                Ok(None)
            }
            status if status.is_success() => match offset(&answer.fields) {
                Some(offset) => {
                    let is_complete = is_complete(&answer.fields) == Some(true);
                    let is_adopted = !resource.is_begun && offset > 0;
                    Ok(Some(Found { resource, offset, is_complete, is_adopted }))
                }
                None => Err(self.cannot(format!("{status} without an Upload-Offset"))),
            },
            _ => Err(self.refused(&answer)),
        }
    }

    /// Creates an upload resource. An anyport server reports how much of the file it has from an
    /// earlier attempt.
    async fn created(
        &self,
        protocol: Protocol,
        content: &Content,
        size: u64,
    ) -> Result<Found, Error> {
        let path = match protocol {
            Protocol::Ietf => &self.path.path,
            // The server chooses names in a collection; the file's is metadata.
            Protocol::Tus => &self.target.path,
        };
        let mut asking = self.request(protocol.creates_with(), path)?;
        if protocol == Protocol::Ietf {
            self.describe(&mut asking, content, None);
            // Otherwise a file of the same size and time counts as the same.
            if self.options.checksum {
                asking.headers_mut().remove(MTIME_NS);
            }
        }
        protocol.add_creation(&mut asking, size, self.source.name());
        let answer = self.ask(asking).await?;
        if !answer.status.is_success() {
            return Err(self.refused(&answer));
        }
        let location = answer.fields.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let Some(location) = location else {
            return Err(self.cannot(format!("{} without a Location", answer.status)));
        };
        let Some(place) = path_of_location(&self.target, path, location) else {
            let reason = format!("its Location is another server's: {}", answer.location());
            return Err(self.cannot(reason));
        };
        // A server that stored the empty content.
        if place == *path {
            return Err(self.cannot(format!("{} with the Location of the file", answer.status)));
        }
        let identity = content.identity().cloned();
        let resource = Resource { protocol, path: place, identity, is_begun: false };
        self.keep(Some(resource.clone()));
        let offset = offset(&answer.fields).filter(|_| self.adopts()).unwrap_or(0);
        Ok(Found { resource, offset, is_complete: false, is_adopted: offset > 0 })
    }

    /// Returns whether the server may continue an upload of another command. Without its time the
    /// file may be another one of the same size, and without a digest that would not be noticed.
    fn adopts(&self) -> bool {
        self.options.times && self.options.digest != Algorithm::None
    }

    /// Sends the rest of the file.
    async fn append(&self, found: Found, mut content: Content, size: u64) -> Result<Sent, Error> {
        let Found { mut resource, offset: from, is_adopted, .. } = found;
        let sha256 = self.hashed.as_ref().and_then(|hashed| hashed.sha256);
        let request = self.appending(&resource, from, size - from, !is_adopted, sha256)?;
        resource.is_begun = true;
        self.keep(Some(resource.clone()));
        self.moved.resume_at(from);
        let content = blocking(move || content.resume_at(from).map(|()| content)).await?;
        let mut settled = self.exchange(request, content, None).await?;
        self.check_state(&settled.answer, size, is_adopted)?;
        if !is_adopted || !settled.answer.status.is_success() {
            return self.finish(settled);
        }
        let digest = settled.read.as_ref().and_then(|read| read.digest);
        let request = self.appending(&resource, size, 0, true, digest)?;
        settled.answer = self.ask(request).await?;
        self.check_state(&settled.answer, size, false)?;
        let elapsed = settled.began.elapsed();
        let mut sent = self.finish(settled)?;
        if let Some(receipt) = &mut sent.receipt {
            // The server reports its last request, which had no content.
            (receipt.resumed, receipt.seconds) = (from, elapsed.as_secs_f64());
        }
        Ok(sent)
    }

    /// Checks that an append was accepted as far as it concerns the upload; whether the file was
    /// stored is another question.
    fn check_state(&self, answer: &Answer, size: u64, is_partial: bool) -> Result<(), Error> {
        let Answer { status, fields, .. } = answer;
        let now = offset(fields);
        let is_gone = matches!(*status, StatusCode::NOT_FOUND | StatusCode::GONE);
        let is_elsewhere = *status == StatusCode::CONFLICT && now.is_some();
        let is_behind =
            now.is_some_and(|now| now < size) || is_complete(fields) == Some(false) && !is_partial;
        if is_gone {
            self.keep(None);
        }
        // The next attempt asks for the offset.
        if is_gone || is_elsewhere || status.is_success() && is_behind {
            let at = now.map(|now| format!(", the upload is at {now} of {size} bytes"));
            let message = format!("{status}{}", at.unwrap_or_default());
            let refusal = Refusal::new(RefusalCode::Interrupted, message);
            return Err(Error::at(self.connection.peer, ErrorKind::Refused(refusal)));
        }
        Ok(())
    }

    /// Completes an upload whose content the server has, and asks for its receipt.
    async fn complete(&self, found: Found, mut content: Content, size: u64) -> Result<Sent, Error> {
        let Found { resource, is_complete, .. } = found;
        self.moved.resume_at(size);
        let (measuring, began) = (Measuring::begin(&self.connection.socket), Instant::now());
        let without_receipt = || reported(&self.connection, size, None, None);
        if resource.protocol == Protocol::Tus {
            return Ok(without_receipt());
        }
        let sha256 = self.hashed.as_ref().and_then(|hashed| hashed.sha256);
        let request = self.appending(&resource, size, 0, true, sha256)?;
        let answer = self.ask(request).await?;
        // The response was lost, and there is no other.
        if is_complete && answer.status.is_client_error() {
            return Ok(without_receipt());
        }
        let is_same_time = matches!(answer.upload_result(), UploadResult::Stored(Some(receipt))
            if receipt.outcome() == Outcome::SameTime);
        let read = if is_same_time {
            // Nothing was compared.
            Read { bytes: size, digest: None, spent: Spent::default(), grown: false }
        } else {
            blocking(move || content.resume_at(size).and_then(|()| read(&mut content))).await?
        };
        self.finish(Settled { answer, read: Some(read), sent: size, measuring, began })
    }

    /// Returns a request that appends `length` bytes at `offset`, the last ones if it `completes`.
    /// A server checks the digest of the file before it publishes it.
    fn appending(
        &self,
        resource: &Resource,
        offset: u64,
        length: u64,
        completes: bool,
        digest: Option<Digest>,
    ) -> Result<Request<Outgoing>, Error> {
        let mut request = self.request(Method::PATCH, &resource.path)?;
        let fields = request.headers_mut();
        fields.insert(header::ACCEPT, JSON);
        if let Some(Ok(digest)) =
            digest.map(|digest| HeaderValue::try_from(anyport_digest_value(&digest)))
        {
            fields.insert(REPR_DIGEST, digest);
        }
        resource.protocol.add_append(&mut request, offset, length, completes);
        Ok(request)
    }

    /// Removes the upload from the server, if that answers soon.
    async fn cancel(&self) {
        let kept = self.resource.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(resource) = kept else { return };
        let Ok(mut request) = self.request(Method::DELETE, &resource.path) else { return };
        resource.protocol.add_version(&mut request);
        let _ = timeout(self.options.connect.connect_timeout, self.ask(request)).await;
    }

    /// Keeps the upload resource for the next attempt.
    fn keep(&self, resource: Option<Resource>) {
        *self.resource.lock().unwrap_or_else(PoisonError::into_inner) = resource;
    }

    fn cannot(&self, reason: String) -> Error {
        Error::at(self.connection.peer, ErrorKind::NoResource(reason))
    }

    fn refused(&self, answer: &Answer) -> Error {
        let kind = match answer.upload_result() {
            UploadResult::Redirected { location } => {
                ErrorKind::Elsewhere { status: answer.status.to_string(), location }
            }
            _ => ErrorKind::Refused(answer.refusal()),
        };
        Error::at(self.connection.peer, kind)
    }
}
