//! `PUT` and `POST` of files: fields of a request become an offer, a receipt becomes a response.

use std::time::{Duration, Instant};

use anyport_net::copy::{Interest, Placement};
use anyport_proto::http1::conditional::{self, Evaluation, Validators};
use anyport_proto::http1::field_names::REPR_DIGEST;
use anyport_proto::http1::{Framing, RequestHead};
use anyport_proto::one_line::COLUMNS;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::fields;
use anyport_proto::transfer::file_path::{self, FilePath};
use anyport_proto::transfer::messages::FileReply;
use anyport_proto::transfer::offer::{End, Offer, OnExists};
use anyport_proto::transfer::receipt::{EndKind, Engine, Receipt};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header::{self, HeaderName};
use http::{Method, StatusCode};

use super::representation::{PRECONDITION_FAILED, etag};
use crate::session::http::answer::{Answer, Form};
use crate::session::http::handler::{Event, Handler, Next, Opened, Request};

use crate::service::files::Upload;
use crate::session::idle_reason;

/// A file that is received.
struct Receiving {
    /// `None` at the end.
    upload: Option<Upload>,
    /// Size and digest of the fields.
    end: End,
    end_kind: EndKind,
    /// It replaces another file.
    replaces: bool,
    /// Another file of its name is a failed precondition, not a conflict.
    must_be_new: bool,
    form: Form,
    idle: Duration,
}

/// Begins to receive the file that a request announces.
pub(super) fn open(request: &Request<'_>) -> Opened {
    begin(request).map_or_else(Opened::Answer, Opened::handler)
}

fn begin(request: &Request<'_>) -> Result<Receiving, Answer> {
    let Request { context, head, framing, rest, asked } = *request;
    let refuse = |(status, refusal)| request.refuse(status, refusal);
    let mut offer = offered(head, framing, rest).map_err(refuse)?;
    let sha256 = fields::offered_digest(head).map_err(|error| refuse(bad(error.to_string())))?;
    if sha256.is_some() {
        offer.digest = Some(Algorithm::Sha256);
    }
    let path = offer.name_raw.as_deref().map(FilePath::from_percent_encoded);
    let present = path.and_then(Result::ok).and_then(|path| context.files.look_at(&path));
    let tag = present.as_ref().map(etag);
    let validators = present.as_ref().zip(tag.as_deref());
    let validators = validators
        .map(|(attributes, etag)| Validators { etag, modified: attributes.mtime.seconds });
    if conditional::evaluate(head, validators.as_ref()) != Evaluation::Proceed {
        let refusal = Refusal::new(RefusalCode::Exists, PRECONDITION_FAILED);
        return Err(refuse((StatusCode::PRECONDITION_FAILED, refusal)));
    }
    let must_be_new = head.has_token(header::IF_NONE_MATCH, "*");
    if must_be_new {
        offer.exists = Some(OnExists::Error);
    }
    let overwrites = context.config.on_exists == Some(OnExists::Overwrite);
    let source = context.source(asked.protocol, Engine::Own);
    // The end is always explicit: a length is reached, or a last chunk was received.
    let end_kind = if offer.size.is_some() { EndKind::Size } else { EndKind::Close };
    match context.files.begin(source, offer) {
        Ok(upload) => Ok(Receiving {
            upload: Some(upload),
            end: End { bytes: None, digest: sha256 },
            end_kind,
            replaces: overwrites && present.is_some(),
            must_be_new,
            form: asked.form,
            idle: context.config.timeouts.idle,
        }),
        Err(refusal) => Err(answer_refusal(refusal, must_be_new, asked.form)),
    }
}

impl Receiving {
    fn finish(&mut self) -> Option<Answer> {
        let upload = self.upload.take()?;
        Some(match upload.finish(self.end_kind, &self.end) {
            Ok(receipt) => answer_receipt(receipt, self.replaces, self.form),
            Err(refusal) => answer_refusal(refusal, self.must_be_new, self.form),
        })
    }

    fn write(&mut self, piece: &[u8], at: Instant) -> Option<Answer> {
        let refusal = self.upload.as_mut()?.write(piece, at).err()?;
        let refusal = self.upload.take()?.abandon(refusal);
        Some(answer_refusal(refusal, self.must_be_new, self.form))
    }

    fn interrupt(&mut self, status: StatusCode, reason: &str) -> Option<Answer> {
        self.upload.take()?.interrupt(reason);
        let refusal = Refusal::new(RefusalCode::Interrupted, reason);
        Some(Answer::refusal(refusal, self.form).with_status(status))
    }
}

impl Handler for Receiving {
    fn interest(&self) -> Interest {
        let upload = self.upload.as_ref();
        Interest {
            read: upload.and_then(Upload::splice).into(),
            may_block: upload.is_some_and(Upload::may_block),
            place: Placement::Thread,
            ..Interest::input(self.idle)
        }
    }

    fn handle(&mut self, event: Event<'_>, at: Instant, _: &mut Vec<u8>) -> Next {
        let answer = match event {
            Event::Content { piece, .. } => self.write(piece, at),
            Event::Spliced(count) => {
                if let Some(upload) = &mut self.upload {
                    upload.put(count, at);
                }
                None
            }
            Event::End => self.finish(),
            Event::Idle => self.interrupt(StatusCode::REQUEST_TIMEOUT, &idle_reason(self.idle)),
            Event::Incomplete(reason) | Event::Lost(reason) => {
                self.interrupt(StatusCode::BAD_REQUEST, reason)
            }
            Event::Sent(_) | Event::Shutdown => None,
        };
        answer.map_or(Next::Continue, Next::Respond)
    }

    fn reports(&self) -> bool {
        true
    }
}

/// Why a request does not offer a file.
type NoOffer = (StatusCode, Refusal);

fn bad(reason: impl Into<String>) -> NoOffer {
    (StatusCode::BAD_REQUEST, Refusal::new(RefusalCode::BadRequest, reason))
}

fn unsupported(reason: String) -> NoOffer {
    let refusal = Refusal::new(RefusalCode::NotSupported, reason).with_hint(AS_IT_IS);
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal)
}

/// Returns the offer in the fields of a request.
fn offered(head: &RequestHead, framing: Framing, asked: &str) -> Result<Offer, NoOffer> {
    let text = |name: HeaderName| head.fields.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(range) = text(header::CONTENT_RANGE) {
        // RFC 9110 §14.5: a server without partial uploads must not store a part as the whole.
        let (status, refusal) =
            bad(format!("partial uploads (Content-Range: {range}) are not supported"));
        return Err((
            status,
            refusal
                .with_hint("send the whole file, or use anyport send over tcp://, which resumes"),
        ));
    }
    if let Some(coding) = head.content_codings().next() {
        return Err(unsupported(format!("content coding {coding} is not supported")));
    }
    let media = text(header::CONTENT_TYPE).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if head.method == Method::POST && FORMS.contains(&media.as_str()) {
        return Err(unsupported(format!("form content ({media}) is not supported")));
    }
    let size = match framing {
        Framing::Length(length) => Some(length),
        Framing::None | Framing::Chunked => None,
    };
    let name_raw = name(asked, size)?;
    // The text is shown; the bytes of the path are stored.
    let name = name_raw.as_deref().and_then(|name| file_path::decoded(name).ok());
    let mtime = fields::offered_time(&head.fields).map_err(|error| bad(error.to_string()))?;
    Ok(Offer { name, name_raw, size, mtime, ..Offer::default() })
}

/// Returns the name in a path as it was received, `None` if the server chooses one. A slash at the
/// end and no content create a directory.
fn name(asked: &str, size: Option<u64>) -> Result<Option<String>, NoOffer> {
    if asked.is_empty() {
        return Ok(None);
    }
    let (file, is_directory) = match asked.strip_suffix('/') {
        Some(directory) => (directory, true),
        None => (asked, false),
    };
    let bad_name =
        |reason: String| (StatusCode::BAD_REQUEST, Refusal::new(RefusalCode::BadName, reason));
    let path = FilePath::from_percent_encoded(file).map_err(|error| bad_name(error.to_string()))?;
    match (is_directory, size) {
        (false, _) | (true, Some(0)) => Ok(Some(asked.to_owned())),
        (true, _) => {
            let (status, refusal) = bad_name(format!("{path}/ is a directory"));
            Err((status, refusal.with_hint("append the name of the file")))
        }
    }
}

fn answer_receipt(receipt: Receipt, replaces: bool, form: Form) -> Answer {
    let was_here = replaces || receipt.end == EndKind::AlreadyHere;
    let status = if was_here { StatusCode::OK } else { StatusCode::CREATED };
    let path = receipt.stored();
    let digest = receipt.digest.as_ref().and_then(fields::digest_value);
    let mut answer = match form {
        Form::Json => Answer::json(status, FileReply::Receipt(receipt).to_json()),
        Form::Text | Form::Html => Answer::text(status, format!("{}\n", receipt.summary(COLUMNS))),
    };
    if let Some(path) = path {
        answer = answer.with(header::LOCATION, format!("/files/{}", path.percent_encoded()));
    }
    match digest {
        Some(digest) => answer.with(REPR_DIGEST, digest),
        None => answer,
    }
}

fn answer_refusal(refusal: Refusal, must_be_new: bool, form: Form) -> Answer {
    let failed = must_be_new && refusal.code == RefusalCode::Exists;
    let answer = Answer::refusal(refusal, form);
    if failed { answer.with_status(StatusCode::PRECONDITION_FAILED) } else { answer }
}

/// The media types of forms, which `curl -d` and `-F` send too.
const FORMS: [&str; 2] = ["application/x-www-form-urlencoded", "multipart/form-data"];

const AS_IT_IS: &str = "send the file unchanged: curl -T FILE http://HOST:PORT/";
