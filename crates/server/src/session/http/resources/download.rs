//! `GET` and `HEAD` of stored files, complete or in part, and of directories as listings or
//! archives.

use std::time::{Duration, SystemTime};

use anyport_proto::http1::conditional::{self, Evaluation, Validators};
use anyport_proto::http1::field_names::{BASE_PATH, REPR_DIGEST};
use anyport_proto::http1::range::Range;
use anyport_proto::http1::{BasePath, RequestHead, media};
use anyport_proto::setting::METRICS;
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::download::List;
use anyport_proto::transfer::fields::{
    anyport_digest_value, content_range, of_time, wanted_digests,
};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::receipt::Engine;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header::{self, HeaderName};
use http::{Method, StatusCode};

use super::archive::{self, Format};
use super::listing::{Page, Place};
use super::outbound::{Outbound, Parts};
use crate::access::Operation;
use crate::session::http::answer::{Answer, Asked, Form, Head, Length, seconds};
use crate::session::http::handler::{Opened, Request};

use super::representation::{PRECONDITION_FAILED, etag, runs_in_a_browser};
use super::upload::location_of;
use crate::service::download::{Located, Opened as OpenedFile};
use crate::session::sending::Sending;

/// Sends the file or the listing at the path of a request.
pub(super) fn open(request: &Request<'_>) -> Opened {
    let Request { context, head, rest: path_text, asked, .. } = *request;
    let archive = Format::requested(head.query());
    let directory = |path| match archive {
        Some(format) => archive::open(request, path, format),
        None => list(request, path),
    };
    if path_text.is_empty() {
        return directory(None);
    }
    let name = path_text.strip_suffix('/').unwrap_or(path_text);
    let path = match FilePath::parse_percent_encoded(name) {
        Ok(path) => path,
        Err(error) => {
            let refusal = Refusal::new(RefusalCode::BadName, error.to_string());
            return Opened::Answer(request.refuse(StatusCode::BAD_REQUEST, refusal));
        }
    };
    // Who may not list gets the same page, whether the directory exists or not.
    let may_list = || context.grant.check(Operation::List, Some(&path)).is_ok();
    if name != path_text && archive.is_none() && !may_list() {
        return list(request, Some(path));
    }
    let source = request.source();
    match context.files.find(source, path.clone()) {
        Ok(Located::File(opened)) if name == path_text => {
            file(head, opened, asked, context.config.timeouts.idle)
        }
        Ok(Located::File(_)) => {
            let refusal = Refusal::new(RefusalCode::NotFound, format!("{path} is a file"))
                .with_hint("leave out the slash at the end");
            Opened::Answer(request.refuse(StatusCode::NOT_FOUND, refusal))
        }
        Ok(Located::Directory(path)) if name != path_text || archive.is_some() => {
            directory(Some(path))
        }
        Ok(Located::Directory(path)) => {
            let to = format!("{}/", location_of(&path));
            let public = context.config.base_path.public(&to);
            let text = format!("{path} is a directory: {public}\n");
            let answer = Answer::text(StatusCode::FOUND, text);
            Opened::Answer(answer.with(header::LOCATION, to))
        }
        Err(refusal) if head.path() == "/metrics" && refusal.code == RefusalCode::NotFound => {
            let reason =
                format!("/metrics is disabled; the server's owner can enable it with {METRICS}");
            let refusal = Refusal::new(RefusalCode::NotFound, reason);
            Opened::Answer(Answer::refusal(refusal, asked.form))
        }
        Err(refusal) => Opened::Answer(Answer::refusal(refusal, asked.form)),
    }
}

pub(super) fn file(
    head: &RequestHead,
    opened: OpenedFile,
    asked: &Asked,
    idle: Duration,
) -> Opened {
    let (attributes, now) = (opened.attributes, seconds());
    let tag = etag(&attributes);
    let validators = Validators { etag: &tag, modified: attributes.mtime.seconds };
    let mut fields =
        vec![(header::ETAG, tag.clone()), (header::CACHE_CONTROL, REVALIDATE.to_owned())];
    fields.extend(of_time(attributes.mtime, SystemTime::now()));
    let whole = |status, length| {
        let answer = Answer::head(status, length);
        fields.iter().fold(answer, |answer, (name, value)| answer.with(name.clone(), value))
    };
    match conditional::evaluate(head, Some(&validators)) {
        Evaluation::Proceed => {}
        Evaluation::NotModified => {
            return Opened::Answer(whole(StatusCode::NOT_MODIFIED, Length::None));
        }
        Evaluation::Failed => {
            let refusal = Refusal::new(RefusalCode::Exists, PRECONDITION_FAILED);
            let answer = Answer::refusal(refusal, asked.form);
            let answer = answer.with_status(StatusCode::PRECONDITION_FAILED);
            return Opened::Answer(answer.with(header::ETAG, tag));
        }
    }
    // It is that of the whole file also where a range is sent. A read error breaks the content.
    let wanted = wanted_digests(head);
    if let Ok(Some(digest)) = opened.digest(wanted.as_deref()) {
        fields.push((REPR_DIGEST, anyport_digest_value(&digest)));
    }
    let media = media::of_name(&opened.name.text());
    fields.push((header::CONTENT_TYPE, media.to_owned()));
    fields.push((header::ACCEPT_RANGES, "bytes".to_owned()));
    if runs_in_a_browser(media) {
        fields.push((header::CONTENT_SECURITY_POLICY, SANDBOX.to_owned()));
    }
    let size = attributes.size;
    if head.method == Method::HEAD {
        let head = Head { status: StatusCode::OK, fields, length: Length::Known(size) };
        return Opened::Answer(head.into());
    }
    let counts = conditional::range_counts(head, &validators, now);
    let range = if counts { Range::of(head, size) } else { Range::Whole };
    let mut parts = None;
    let (status, bytes) = match range {
        Range::Whole => (StatusCode::OK, 0..size),
        Range::Parts(ranges) => {
            let ranges = ranges.into_iter().map(|(first, last)| first..last + 1).collect();
            match Parts::new(media, size, ranges) {
                Some((several, first, length)) => {
                    fields.retain(|(name, _)| *name != header::CONTENT_TYPE);
                    fields.push((header::CONTENT_TYPE, several.media()));
                    parts = Some((several, length));
                    (StatusCode::PARTIAL_CONTENT, first)
                }
                None => (StatusCode::OK, 0..size),
            }
        }
        Range::Part { first, last } => {
            fields.push((header::CONTENT_RANGE, content_range(first, last, size)));
            (StatusCode::PARTIAL_CONTENT, first..last + 1)
        }
        Range::Unsatisfiable => {
            let reason = format!("the requested range is outside the file of {size} bytes\n");
            let answer = Answer::text(StatusCode::RANGE_NOT_SATISFIABLE, reason);
            return Opened::Answer(answer.with(header::CONTENT_RANGE, format!("bytes */{size}")));
        }
    };
    let length = parts.as_ref().map_or(bytes.end - bytes.start, |(_, length)| *length);
    let head = Head { status, fields, length: Length::Known(length) };
    // Without a digest the content is not read, so the kernel may send it.
    let sending = Sending::File(opened.into_download(bytes, Algorithm::None));
    let outbound = Outbound::new(head, sending, None, idle);
    match parts {
        Some((parts, _)) => Opened::handler(outbound.with_parts(parts)),
        None => Opened::handler(outbound),
    }
}

fn list(request: &Request<'_>, path: Option<FilePath>) -> Opened {
    let Request { context, asked, .. } = *request;
    if let Err(refusal) = context.grant.check(Operation::List, path.as_ref()) {
        let is_page = asked.form == Form::Html;
        let page = is_page.then(|| Place::of(request, path).without_list()).flatten();
        if let Some(page) = page {
            return Opened::Answer(page);
        }
        return Opened::Answer(request.refuse(StatusCode::FORBIDDEN, refusal));
    }
    if asked.without_content {
        // The directory exists; its entries are of no use to the client.
        return Opened::Answer(
            listing_head(&Page::new(asked.form, Place::of(request, path)), asked).into(),
        );
    }
    let list = List {
        path: path.as_ref().map(FilePath::text),
        path_raw: path.as_ref().and_then(FilePath::raw),
        left_out: asked.form == Form::Json,
        ..List::default()
    };
    let listing = match context.list(context.source(asked.protocol, Engine::Own), &list) {
        Ok(listing) => listing,
        Err(refusal) => {
            // Not the request is too large, but the listing for this server's memory.
            let too_large = refusal.code == RefusalCode::TooLarge;
            let answer = Answer::refusal(refusal, asked.form);
            return Opened::Answer(if too_large {
                answer.with_status(StatusCode::INTERNAL_SERVER_ERROR)
            } else {
                answer
            });
        }
    };
    let page = Page::new(asked.form, Place::of(request, path));
    let (head, idle) = (listing_head(&page, asked), context.config.timeouts.idle);
    Opened::handler(Outbound::new(head, Sending::List(listing), Some(page), idle))
}

fn listing_head(page: &Page, asked: &Asked) -> Head {
    let cache = (header::CACHE_CONTROL, REVALIDATE.to_owned());
    // A client of JSON has names, not links.
    let has_base = asked.form == Form::Json && asked.base_path != BasePath::NONE;
    let base = has_base.then(|| (BASE_PATH, asked.base_path.to_string()));
    let fields: Vec<(HeaderName, String)> =
        page.fields().into_iter().chain([cache]).chain(base).collect();
    Head { status: StatusCode::OK, fields, length: Length::Unknown }
}

/// Content is shown, but without scripts, forms and an origin.
const SANDBOX: &str = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// A cache must revalidate: a file may be replaced at any time.
const REVALIDATE: &str = "no-cache";
