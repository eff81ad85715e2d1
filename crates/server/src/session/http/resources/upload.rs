//! `PUT` and `POST` of files: fields of a request become an offer, a receipt becomes a response.
//!
//! With `Content-Range` the content is the rest of a file whose beginning an earlier request sent,
//! as `curl -C OFFSET -T FILE` does (RFC 9110 §14.5).

use std::sync::Arc;

use anyport_proto::http1::conditional::{self, Evaluation, Validators};
use anyport_proto::http1::field_names::REPR_DIGEST;
use anyport_proto::http1::range::ContentRange;
use anyport_proto::http1::{Framing, RequestHead};
use anyport_proto::one_line::COLUMNS;
use anyport_proto::resumable::UPLOAD_OFFSET;
use anyport_proto::transfer::digest::Digest;
use anyport_proto::transfer::fields;
use anyport_proto::transfer::file_path::{self, FilePath};
use anyport_proto::transfer::messages::FileReply;
use anyport_proto::transfer::offer::{End, Offer, OnExists};
use anyport_proto::transfer::receipt::{EndKind, Receipt};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header::{self, HeaderName};
use http::{Method, StatusCode};

use super::receiving::{self, Purpose};
use super::representation::{PRECONDITION_FAILED, etag};
use crate::config::Config;
use crate::session::Context;
use crate::session::http::answer::{Answer, Asked, Form};
use crate::session::http::handler::{Opened, Request, refuse};

use crate::service::files::{Complete, Continued, Files, Upload, Waiting};

/// Begins to receive the file that a request announces.
pub(super) fn open(request: &Request<'_>) -> Opened {
    begin(request).unwrap_or_else(Opened::Answer)
}

fn begin(request: &Request<'_>) -> Result<Opened, Answer> {
    let Request { context, head, framing, asked, .. } = *request;
    let range = range_of(request)?;
    let size = match (range, framing) {
        (Some(range), _) => Some(range.size),
        (None, Framing::Length(length)) => Some(length),
        (None, Framing::None | Framing::Chunked) => None,
    };
    let from = range.map(|range| range.first).filter(|first| *first > 0);
    let digest = fields::offered_digest(head, from.is_none());
    let digest = digest.map_err(|error| request.refuse_offer(bad(error.to_string())))?;
    let Stated { mut offer, replaces, must_be_new } = stated(request, request.rest, size, digest)?;
    offer.resume = from.is_some();
    let source = request.source();
    let begun = match from {
        Some(from) => context.files.offered_from(source, offer, from),
        None => context.files.offered(source, offer),
    };
    let put = Put {
        context: context.clone(),
        asked: asked.clone(),
        from,
        end: End { bytes: None, digest },
        // The end is always explicit: a length is reached, or a last chunk was received.
        end_kind: if size.is_some() { EndKind::Size } else { EndKind::Close },
        replaces,
        must_be_new,
    };
    Ok(receiving::open(context, put, begun.map(Continued::from)))
}

/// A file that one request sends, or the rest of it.
struct Put {
    context: Context,
    asked: Asked,
    /// The offset that the request states.
    from: Option<u64>,
    /// Size and digest of the fields.
    end: End,
    end_kind: EndKind,
    /// It replaces another file.
    replaces: bool,
    /// Another file of its name is a failed precondition, not a conflict.
    must_be_new: bool,
}

impl Purpose for Put {
    fn retry(&self, files: &Arc<Files>, waiting: Box<Waiting>) -> Result<Continued, Refusal> {
        files.retry(waiting).map(Continued::from)
    }

    fn begin(&mut self, mut upload: Box<Upload>) -> Result<Box<Upload>, Answer> {
        let Some(from) = self.from else { return Ok(upload) };
        if upload.is_here() {
            return Err(self.finish(upload));
        }
        let offset = upload.offset();
        if from == offset {
            upload.confirm_offset();
            return Ok(upload);
        }
        if let Err(refusal) = upload.pause() {
            return Err(self.refusal(refusal));
        }
        let message =
            format!("the content begins at byte {from}, but {offset} bytes of the file are stored");
        let hint = match offset {
            0 => "send the whole file: curl -T FILE URL".to_owned(),
            _ => format!("continue there: curl -C {offset} -T FILE URL"),
        };
        let refusal = Refusal::new(RefusalCode::BadRequest, message).with_hint(hint);
        let answer = refuse(&self.context, &self.asked, StatusCode::CONFLICT, refusal);
        Err(answer.with(UPLOAD_OFFSET, offset.to_string()))
    }

    fn finish(&mut self, upload: Box<Upload>) -> Answer {
        match upload.finish(self.end_kind, &self.end) {
            Ok(receipt) => answer_receipt(receipt, self.replaces, self.asked.form),
            Err(refusal) => self.refusal(refusal),
        }
    }

    fn complete(&self, _: &Complete) -> Answer {
        self.refusal(Refusal::new(RefusalCode::Exists, "the upload is complete"))
    }

    fn refusal(&self, refusal: Refusal) -> Answer {
        answer_refusal(refusal, self.must_be_new, self.asked.form)
    }
}

/// Returns the range of the file that the content is; `None`: all of it.
fn range_of(request: &Request<'_>) -> Result<Option<ContentRange>, Answer> {
    let Some(value) = request.head.fields.get(header::CONTENT_RANGE) else { return Ok(None) };
    let text = value.to_str().unwrap_or("?");
    let is_once = request.head.fields.get_all(header::CONTENT_RANGE).iter().count() == 1;
    let refuse = |reason: String| {
        let (status, refusal) = bad(reason);
        Err(request.refuse(status, refusal.with_hint(CONTINUE_HINT)))
    };
    // RFC 9110 §14.5: a server that does not support a range must not store it as the whole.
    let Some(range) = ContentRange::parse(text).filter(|range| is_once && range.is_rest()) else {
        return refuse(format!(
            "Content-Range: {text} is not supported; expected bytes A-B/TOTAL up to the end of \
             the file"
        ));
    };
    match request.framing {
        Framing::Length(length) if range.first + length != range.size => {
            refuse(format!("the content has {length} bytes, not those of Content-Range: {text}"))
        }
        _ => Ok(Some(range)),
    }
}

/// The statements of a request about a file that it stores.
pub(super) struct Stated {
    pub(super) offer: Offer,
    /// It replaces another file.
    pub(super) replaces: bool,
    /// Another file of its name is a failed precondition, not a conflict.
    pub(super) must_be_new: bool,
}

/// Returns the offer in the fields of a request for the file `name`, percent-encoded.
pub(super) fn stated(
    request: &Request<'_>,
    name: &str,
    size: Option<u64>,
    digest: Option<Digest>,
) -> Result<Stated, Answer> {
    let Request { context, head, .. } = *request;
    let mut offer = offered(head, size, name).map_err(|refused| request.refuse_offer(refused))?;
    if let Some(digest) = &digest {
        offer.digest = Some(digest.algorithm());
    }
    let path = offer.name_raw.as_deref().map(FilePath::from_percent_encoded);
    let present =
        path.and_then(Result::ok).and_then(|path| context.files.look_at(&context.grant, &path));
    let tag = present.as_ref().map(etag);
    let validators = present.as_ref().zip(tag.as_deref());
    let validators = validators
        .map(|(attributes, etag)| Validators { etag, modified: attributes.mtime.seconds });
    if conditional::evaluate(head, validators.as_ref()) != Evaluation::Proceed {
        let refusal = Refusal::new(RefusalCode::Exists, PRECONDITION_FAILED);
        return Err(request.refuse(StatusCode::PRECONDITION_FAILED, refusal));
    }
    let must_be_new = head.has_token(header::IF_NONE_MATCH, "*");
    if must_be_new {
        offer.exists = Some(OnExists::Error);
    }
    let replaces = overwrites(&context.config) && present.is_some();
    Ok(Stated { offer, replaces, must_be_new })
}

pub(super) fn overwrites(config: &Config) -> bool {
    config.on_exists == Some(OnExists::Overwrite)
}

/// Why a request does not offer a file.
type NoOffer = (StatusCode, Refusal);

impl Request<'_> {
    fn refuse_offer(&self, (status, refusal): NoOffer) -> Answer {
        self.refuse(status, refusal)
    }
}

fn bad(reason: impl Into<String>) -> NoOffer {
    (StatusCode::BAD_REQUEST, Refusal::new(RefusalCode::BadRequest, reason))
}

fn unsupported(reason: String) -> NoOffer {
    let refusal = Refusal::new(RefusalCode::NotSupported, reason).with_hint(AS_IT_IS);
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal)
}

/// Returns the offer in the fields of a request.
fn offered(head: &RequestHead, size: Option<u64>, asked: &str) -> Result<Offer, NoOffer> {
    let text = |name: HeaderName| head.fields.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(coding) = head.content_codings().next() {
        return Err(unsupported(format!("content coding {coding} is not supported")));
    }
    let media = text(header::CONTENT_TYPE).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if head.method == Method::POST && FORMS.contains(&media.as_str()) {
        let (status, refusal) = unsupported(format!("form content ({media}) is not supported"));
        return Err((status, refusal.with_hint(FORM_HINT)));
    }
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

pub(super) fn answer_receipt(receipt: Receipt, replaces: bool, form: Form) -> Answer {
    let was_here = replaces || receipt.end == EndKind::AlreadyHere;
    let status = if was_here { StatusCode::OK } else { StatusCode::CREATED };
    let path = receipt.stored();
    let digest = receipt.digest.as_ref().and_then(fields::digest_value);
    let mut answer = match form {
        Form::Json => Answer::json(status, FileReply::Receipt(receipt).to_json()),
        Form::Text | Form::Html => Answer::text(status, format!("{}\n", receipt.summary(COLUMNS))),
    };
    if let Some(path) = path {
        answer = answer.with(header::LOCATION, location_of(&path));
    }
    match digest {
        Some(digest) => answer.with(REPR_DIGEST, digest),
        None => answer,
    }
}

/// Returns the path of a stored file over HTTP.
pub(super) fn location_of(path: &FilePath) -> String {
    format!("/files/{}", path.percent_encoded())
}

pub(super) fn answer_refusal(refusal: Refusal, must_be_new: bool, form: Form) -> Answer {
    let failed = must_be_new && refusal.code == RefusalCode::Exists;
    let answer = Answer::refusal(refusal, form);
    if failed { answer.with_status(StatusCode::PRECONDITION_FAILED) } else { answer }
}

/// The media types of forms, which `curl -d` and `-F` send too. Files are in forms of the second
/// one, which are sent to a directory.
const FORMS: [&str; 2] = ["application/x-www-form-urlencoded", "multipart/form-data"];

const FORM_HINT: &str = "send files to a directory: curl -F file=@FILE http://HOST:PORT/, or \
                         unchanged: curl -T FILE http://HOST:PORT/";

const AS_IT_IS: &str = "send the file unchanged: curl -T FILE http://HOST:PORT/";

const CONTINUE_HINT: &str = "send the whole file, or the rest of it: curl -C OFFSET -T FILE URL";
