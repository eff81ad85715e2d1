//! `/.anyport/uploads/ID`: uploads that several requests continue, by tus 1.0 or the IETF draft.
//!
//! ```text
//!   POST, PUT  creates ──► 104 and 201 with Location ─┐
//!   HEAD       offset                                 ├──► /.anyport/uploads/ID
//!   PATCH      appends at the offset, and completes   │
//!   DELETE     removes                               ─┘
//! ```
//!
//! The request that completes the file publishes it. A completed upload is remembered for
//! clients that lost the last response.

mod answers;

use std::sync::Arc;

use anyport_proto::access::Rights;
use anyport_proto::http1::Framing;
use anyport_proto::resumable::ietf::{self, Fields, PROBLEM_JSON, Problem};
use anyport_proto::resumable::tus::{self, Checking, Checksum};
use anyport_proto::resumable::{Append, Creation, Dialect, Operation, ResumableError, on_resource};
use anyport_proto::transfer::digest::{Algorithm, Digest};
use anyport_proto::transfer::fields;
use anyport_proto::transfer::file_path;
use anyport_proto::transfer::offer::End;
use anyport_proto::transfer::receipt::EndKind;
use anyport_proto::transfer::receipt::Engine;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::StatusCode;
use http::header::{self, HeaderName};

use self::answers::{marked, with_all};
use super::receiving::{self, Purpose};
use super::upload::{Stated, answer_refusal, location_of, stated};
use crate::service::files::{Announced, Complete, Continued, Files, Upload, UploadId, Waiting};
use crate::session::Context;
use crate::session::http::answer::{Answer, Asked, Length};
use crate::session::http::handler::{Opened, Request};

pub(super) const fn methods(rights: Rights) -> &'static str {
    match rights.contains(Rights::WRITE) {
        true => "GET, HEAD, POST, PATCH, DELETE, OPTIONS",
        false => "OPTIONS",
    }
}

/// Returns the fields by which clients find out what is supported.
pub(super) fn announced(context: &Context) -> Fields {
    let files = &context.files;
    if !files.has_uploads() {
        return Vec::new();
    }
    let mut fields = tus::announced(files.max_size());
    fields.push((ietf::LIMIT, ietf::limits(files.max_size(), None)));
    let media = format!("{}, {}", tus::CONTENT, ietf::PARTIAL_UPLOAD);
    fields.push((HeaderName::from_static("accept-patch"), media));
    fields
}

/// Serves a request to an upload resource.
pub(super) fn open(request: &Request<'_>) -> Opened {
    continued(request).unwrap_or_else(Opened::Answer)
}

fn continued(request: &Request<'_>) -> Result<Opened, Answer> {
    let Request { context, head, framing, .. } = *request;
    let (dialect, operation) =
        on_resource(head, framing).map_err(|error| refuse_error(request, &error))?;
    let Some(id) = request.rest.strip_prefix(UPLOADS).and_then(UploadId::parse) else {
        let refusal = Refusal::new(RefusalCode::NotFound, "no such upload");
        return Err(request.refuse(StatusCode::NOT_FOUND, refusal));
    };
    let refuse_field = |error: fields::FieldError| {
        let refusal = Refusal::new(RefusalCode::BadRequest, error.to_string());
        request.refuse(StatusCode::BAD_REQUEST, refusal)
    };
    let digest = fields::offered_digest(head, false).map_err(refuse_field)?;
    let mut operation = operation;
    let mut from = None;
    if let Operation::Append(append) = &mut operation {
        from = Some(append.offset);
        let of_content = fields::content_digest(head).map_err(refuse_field)?;
        if let (None, Some(found)) = (&append.checksum, of_content) {
            append.checksum = Some(Checksum::sha256(*found.as_bytes()));
        }
    }
    let source = request.source();
    let begun = context.files.continued(source, &id, from);
    let resumable = Resumable::new(request, dialect, id, operation, digest);
    Ok(receiving::open(context, resumable, begun))
}

/// Creates an upload, and receives the content of the request, if it has some.
pub(super) fn create(request: &Request<'_>, dialect: Dialect, creation: Creation) -> Opened {
    created(request, dialect, creation).unwrap_or_else(Opened::Answer)
}

fn created(request: &Request<'_>, dialect: Dialect, creation: Creation) -> Result<Opened, Answer> {
    let Request { context, head, framing, asked, .. } = *request;
    if head.fields.contains_key(header::CONTENT_RANGE) {
        let reason = "Content-Range is not supported with a resumable upload";
        let refusal = Refusal::new(RefusalCode::BadRequest, reason);
        return Err(request.refuse(StatusCode::BAD_REQUEST, refusal));
    }
    let name = target(request, dialect, &creation)?;
    let digest = fields::offered_digest(head, creation.completes).map_err(|error| {
        let refusal = Refusal::new(RefusalCode::BadRequest, error.to_string());
        request.refuse(StatusCode::BAD_REQUEST, refusal)
    })?;
    let Creation { metadata, length, completes, checksum, .. } = creation;
    let Stated { offer, replaces, must_be_new } = stated(request, &name, length, digest)?;
    let source = request.source();
    let announced = Announced { digest, metadata };
    let created = context.files.create(&source, offer, &announced).map_err(|refusal| {
        let limits = match dialect {
            Dialect::Ietf(version) if refusal.code == RefusalCode::TooLarge => {
                version.limits(context.files.max_size(), None)
            }
            Dialect::Tus | Dialect::Ietf(_) => None,
        };
        marked(dialect, with_all(answer_refusal(refusal, must_be_new, asked.form), limits))
    })?;
    let is_whole = match dialect {
        Dialect::Tus => length == Some(0),
        Dialect::Ietf(_) => completes,
    };
    let operation = Operation::Append(Append { offset: 0, length, completes, checksum });
    let id = created.id.clone();
    let resumable = Resumable::new(request, dialect, id, operation, digest);
    let resumable = Resumable { creates: true, replaces, must_be_new, ..resumable };
    if framing.is_empty() && !is_whole {
        return Err(resumable.accepted(created.found, false));
    }
    let begun = context.files.continued(source, &created.id, Some(0));
    Ok(receiving::open(context, resumable, begun))
}

/// Returns the path to store under, percent-encoded: that of the URL, or the name that the client
/// states in a directory.
fn target(request: &Request<'_>, dialect: Dialect, creation: &Creation) -> Result<String, Answer> {
    let rest = request.rest;
    let is_directory = rest.is_empty() || rest.ends_with('/');
    let refuse = |reason: String, hint: &str| {
        let refusal = Refusal::new(RefusalCode::BadName, reason).with_hint(hint);
        Err(marked(dialect, request.refuse(StatusCode::BAD_REQUEST, refusal)))
    };
    match &creation.name {
        Some(name) if is_directory => Ok(format!("{rest}{}", file_path::encoded(name))),
        _ if !is_directory && dialect == Dialect::Tus => {
            refuse(format!("/{rest} is not a directory"), "tus: POST to /files/ or /files/DIR/")
        }
        None if is_directory && !rest.is_empty() => {
            refuse(format!("/{rest} is a directory"), "state the name of the file")
        }
        _ => Ok(rest.to_owned()),
    }
}

/// Refuses a request that is not a valid one of its dialect.
pub(super) fn refuse_error(request: &Request<'_>, error: &ResumableError) -> Answer {
    let code = match error {
        ResumableError::Field { .. } | ResumableError::Missing(_) => RefusalCode::BadRequest,
        _ => RefusalCode::NotSupported,
    };
    let refusal = Refusal::new(code, error.to_string());
    let mut answer = request.refuse(error.status(), refusal);
    if matches!(error, ResumableError::InconsistentLength { .. }) {
        let problem = ietf::problem(Problem::InconsistentLength, &error.to_string());
        answer = Answer::content(error.status(), PROBLEM_JSON, problem);
    }
    if matches!(error, ResumableError::TusVersion(_)) {
        answer = answer.with(tus::VERSIONS, tus::VERSION);
    }
    if matches!(error, ResumableError::Method(_)) {
        let allow = methods(request.context.grant.rights());
        answer = answer.with(header::ALLOW, allow);
    }
    let is_tus = request.head.fields.contains_key(tus::RESUMABLE);
    if is_tus { marked(Dialect::Tus, answer) } else { answer }
}

/// A request to an upload resource, or one that creates it.
struct Resumable {
    context: Context,
    asked: Asked,
    dialect: Dialect,
    id: UploadId,
    /// Scheme and authority of the upload's URL; empty where a path is enough.
    origin: String,
    operation: Operation,
    /// Announced length of the content.
    content: Option<u64>,
    /// Digest of the whole file.
    digest: Option<Digest>,
    /// Checksum of the content of this request.
    checking: Option<Checking>,
    /// Offset behind the content so far, and the size of the file.
    offset: u64,
    size: Option<u64>,
    creates: bool,
    replaces: bool,
    must_be_new: bool,
}

impl Purpose for Resumable {
    fn retry(&self, files: &Arc<Files>, waiting: Box<Waiting>) -> Result<Continued, Refusal> {
        files.retry_continued(waiting)
    }

    fn begin(&mut self, upload: Box<Upload>) -> Result<Box<Upload>, Answer> {
        match &self.operation {
            // The last content came without the end of its request, or before the server was
            // killed. A client of tus sends nothing more.
            Operation::Offset if self.dialect == Dialect::Tus && upload.is_whole() => {
                let size = upload.offset();
                self.paused(upload)?;
                Err(self.publish(size))
            }
            Operation::Offset => {
                let answer = self.state(upload.offset(), upload.size(), false);
                let metadata = upload.metadata().map(|text| (tus::METADATA, text.to_owned()));
                let answer = match self.dialect {
                    Dialect::Tus => with_all(answer, metadata),
                    Dialect::Ietf(_) => answer,
                };
                self.paused(upload)?;
                Err(answer)
            }
            Operation::Cancel => {
                upload.cancel();
                Err(self.marked(Answer::head(StatusCode::NO_CONTENT, Length::None)))
            }
            Operation::Append(append) => {
                let append = append.clone();
                self.begin_append(append, upload)
            }
        }
    }

    fn check(&mut self, piece: &[u8]) -> Result<(), Answer> {
        self.offset = self.offset.saturating_add(piece.len() as u64);
        if let Some(size) = self.size.filter(|size| self.offset > *size) {
            return Err(self.beyond(size));
        }
        if let Some(checking) = &mut self.checking {
            checking.update(piece);
        }
        Ok(())
    }

    fn may_splice(&self) -> bool {
        self.checking.is_none()
    }

    fn finish(&mut self, mut upload: Box<Upload>) -> Answer {
        let is_here = upload.is_here();
        if let Some(checking) = self.checking.take() {
            if !checking.matches() {
                let answer = self.checksum_differs();
                return self.paused(upload).err().unwrap_or(answer);
            }
            if let Err(refusal) = upload.verified() {
                return self.refusal(upload.abandon(refusal));
            }
        }
        let stored = upload.stored();
        let completes = match (self.dialect, &self.operation) {
            _ if is_here => true,
            (Dialect::Ietf(_), Operation::Append(append)) => append.completes,
            _ => upload.size() == Some(stored),
        };
        if !completes {
            return self.paused(upload).err().unwrap_or_else(|| self.accepted(stored, false));
        }
        if let Some(size) = upload.size().filter(|size| *size != stored && !is_here) {
            let answer = self.inconsistent(&format!("the content ends at byte {stored} of {size}"));
            return self.paused(upload).err().unwrap_or(answer);
        }
        if let Err(refusal) = upload.set_size(stored)
            && !is_here
        {
            let answer = self.refuse_unreported(&refusal);
            return self.paused(upload).err().unwrap_or(answer);
        }
        match upload.finish(EndKind::Size, &End { bytes: None, digest: self.digest }) {
            Ok(receipt) => self.completed(receipt),
            Err(refusal) => {
                let answer = self.refusal(refusal);
                match self.dialect {
                    // The file was received; that it is refused is not a fault of the upload.
                    Dialect::Ietf(version) => with_all(answer, [version.completeness(true)]),
                    Dialect::Tus => answer,
                }
            }
        }
    }

    fn complete(&self, complete: &Complete) -> Answer {
        let bytes = complete.bytes;
        let answer = match &self.operation {
            Operation::Offset => self.state(bytes, Some(bytes), true),
            Operation::Cancel => {
                self.context.files.forget(&self.context.grant, &self.id);
                self.marked(Answer::head(StatusCode::NO_CONTENT, Length::None))
            }
            Operation::Append(append) if append.offset != bytes => {
                return self.mismatch(append.offset, bytes, true);
            }
            Operation::Append(_) => {
                let has_content = self.content != Some(0);
                match self.dialect {
                    Dialect::Tus if !has_content => self.accepted(bytes, true),
                    Dialect::Ietf(version) if version.repeats && !has_content => {
                        let name = complete.path.as_ref().map(ToString::to_string);
                        let name = name.unwrap_or_else(|| "file".to_owned());
                        let text = format!("{name} stored: {bytes} bytes\n");
                        let answer = self.marked(Answer::text(StatusCode::OK, text));
                        with_all(answer, version.state(bytes, true))
                    }
                    Dialect::Tus | Dialect::Ietf(_) => {
                        return self.problem(Problem::Completed, "the upload is already complete");
                    }
                }
            }
        };
        match &complete.path {
            Some(path) => answer.with(header::CONTENT_LOCATION, location_of(path)),
            None => answer,
        }
    }

    fn refusal(&self, refusal: Refusal) -> Answer {
        let limits = self.limits().filter(|_| refusal.code == RefusalCode::TooLarge);
        let answer = answer_refusal(refusal, self.must_be_new, self.asked.form);
        self.marked(with_all(answer, limits))
    }

    fn interim(&self) -> Option<Fields> {
        let Dialect::Ietf(version) = self.dialect else { return None };
        self.creates.then(|| version.interim(&self.location(), self.limits()))
    }
}

impl Resumable {
    fn new(
        request: &Request<'_>,
        dialect: Dialect,
        id: UploadId,
        operation: Operation,
        digest: Option<Digest>,
    ) -> Self {
        Self {
            context: request.context.clone(),
            asked: request.asked.clone(),
            dialect,
            id,
            origin: match dialect {
                Dialect::Tus => answers::origin(request),
                Dialect::Ietf(_) => String::new(),
            },
            operation,
            content: match request.framing {
                Framing::None => Some(0),
                Framing::Length(length) => Some(length),
                Framing::Chunked => None,
            },
            digest,
            checking: None,
            offset: 0,
            size: None,
            creates: false,
            replaces: false,
            must_be_new: false,
        }
    }

    /// Publishes an upload whose `size` bytes are stored.
    fn publish(&mut self, size: u64) -> Answer {
        let source = self.context.source(self.asked.protocol, Engine::Own);
        match self.context.files.continued(source, &self.id, Some(size)) {
            Ok(Continued::Upload(mut upload)) => {
                upload.confirm_offset();
                self.finish(upload)
            }
            Ok(Continued::Complete(complete)) => self.complete(&complete),
            // Another request came in between, which publishes it.
            Ok(Continued::Waiting(_)) => self.state(size, Some(size), false),
            Err(refusal) => self.refusal(refusal),
        }
    }

    /// Ends the request, and keeps the upload for the next one.
    fn paused(&self, upload: Box<Upload>) -> Result<(), Answer> {
        upload.pause().map_err(|refusal| self.refuse_unreported(&refusal))
    }

    fn begin_append(
        &mut self,
        append: Append,
        mut upload: Box<Upload>,
    ) -> Result<Box<Upload>, Answer> {
        let offset = upload.offset();
        if upload.is_here() {
            return Err(self.finish(upload));
        }
        let algorithm = upload.algorithm();
        // Its key is not registered, and unknown ones are ignored (RFC 9530 §2).
        let is_known = |digest: &Digest| digest.algorithm() != Algorithm::Blake3;
        self.digest =
            self.digest.filter(|digest| digest.algorithm() == algorithm || is_known(digest));
        let refused = if let Some(size) = upload.size().filter(|size| append.offset > *size) {
            Some(self.beyond(size))
        } else if append.offset != offset {
            Some(self.mismatch(append.offset, offset, false))
        } else if let Some(Err(refusal)) = append.length.map(|length| upload.set_size(length)) {
            Some(self.inconsistent_or(&refusal))
        } else if let Some(size) = upload.size().filter(|size| {
            self.content.is_some_and(|content| offset.saturating_add(content) > *size)
        }) {
            Some(self.beyond(size))
        } else if self.digest.is_some_and(|digest| digest.algorithm() != algorithm) {
            let reason = "Repr-Digest must also be in the request that creates the upload";
            Some(self.refuse(StatusCode::BAD_REQUEST, RefusalCode::BadRequest, reason))
        } else if append.checksum.is_some() {
            upload.begin_unverified().err().map(|refusal| self.refuse_unreported(&refusal))
        } else {
            None
        };
        if let Some(answer) = refused {
            self.paused(upload)?;
            return Err(answer);
        }
        if append.offset == 0
            && !self.creates
            && let Err(refusal) = upload.begin_anew()
        {
            self.paused(upload)?;
            return Err(self.refuse_unreported(&refusal));
        }
        upload.confirm_offset();
        self.checking = append.checksum.map(Checksum::begin);
        (self.offset, self.size) = (offset, upload.size());
        Ok(upload)
    }
}

/// Where upload resources are below the reserved path.
const UPLOADS: &str = "uploads/";
