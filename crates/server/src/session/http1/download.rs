//! `GET` and `HEAD` of what is stored: files whole or in part, and directories as listings.

use std::io;

use anyport_net::copy::Outgoing;
use anyport_proto::http1::conditional::{self, Validators, Verdict};
use anyport_proto::http1::range::Range;
use anyport_proto::http1::{RequestHead, date, media};
use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::download::List;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::receipt::{Engine, Protocol};
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::header::{self, HeaderName};
use http::{Method, StatusCode};

use super::State;
use super::answer::{Answer, Exchange, Length, seconds, write_head};
use super::listing::Page;
use super::request::{Lead, refuse};
use super::upload::PRECONDITION_FAILED;
use crate::service::download::{Facts, Opened, Place};
use crate::session::Context;
use crate::session::sending::{Say, Sending};

/// A file or a listing on its way out, behind the head of its answer.
pub(super) struct Outbound {
    pub(super) exchange: Exchange,
    pub(super) sending: Sending,
    /// How a listing is written.
    pub(super) page: Option<Page>,
}

/// Answers for what is stored as `asked`, percent-encoded as it came.
pub(super) fn lead(
    context: &Context,
    head: &RequestHead,
    asked: &str,
    exchange: &mut Exchange,
    replies: &mut Vec<u8>,
) -> Lead {
    if asked.is_empty() {
        return list(context, None, exchange, replies);
    }
    let name = asked.strip_suffix('/').unwrap_or(asked);
    let path = match FilePath::parse_percent_encoded(name) {
        Ok(path) => path,
        Err(error) => {
            let refusal = Refusal::new(RefusalCode::BadName, error.to_string());
            return Lead::Answer(refuse(context, exchange.form, StatusCode::BAD_REQUEST, refusal));
        }
    };
    let source = context.source(Protocol::Http, Engine::Own);
    match context.files.find(source, path.as_str()) {
        Ok(Place::File(opened)) if name == asked => file(head, opened, exchange, replies),
        Ok(Place::File(_)) => {
            let refusal = Refusal::new(RefusalCode::NotFound, format!("{path} is a file"))
                .with_hint("ask for it without the slash");
            Lead::Answer(refuse(context, exchange.form, StatusCode::NOT_FOUND, refusal))
        }
        Ok(Place::Directory(path)) if name != asked => list(context, Some(path), exchange, replies),
        Ok(Place::Directory(path)) => {
            let to = format!("/files/{}/", path.percent_encoded());
            let answer = Answer::text(StatusCode::FOUND, format!("{path} is a directory: {to}\n"));
            Lead::Answer(answer.with(header::LOCATION, to))
        }
        Err(refusal) => Lead::Answer(Answer::refusal(refusal, exchange.form)),
    }
}

fn file(head: &RequestHead, opened: Opened, exchange: &Exchange, replies: &mut Vec<u8>) -> Lead {
    let (facts, now) = (opened.facts, seconds());
    let tag = etag(&facts);
    let validators = Validators { etag: &tag, modified: facts.mtime };
    let mut fields =
        vec![(header::ETAG, tag.clone()), (header::CACHE_CONTROL, REVALIDATE.to_owned())];
    // RFC 9110 §8.8.2.1: never in the future.
    if let Some(date) = date::write(facts.mtime).filter(|_| facts.mtime <= now) {
        fields.push((header::LAST_MODIFIED, date));
    }
    let whole = |status, length| {
        let answer = Answer::head(status, length);
        fields.iter().fold(answer, |answer, (name, value)| answer.with(name.clone(), value))
    };
    match conditional::evaluate(head, Some(&validators)) {
        Verdict::Proceed => {}
        Verdict::NotModified => {
            return Lead::Answer(whole(StatusCode::NOT_MODIFIED, Length::None));
        }
        Verdict::Failed => {
            let refusal = Refusal::new(RefusalCode::Exists, PRECONDITION_FAILED);
            let answer = Answer::refusal(refusal, exchange.form);
            let answer = answer.with_status(StatusCode::PRECONDITION_FAILED);
            return Lead::Answer(answer.with(header::ETAG, tag));
        }
    }
    let media = media::of_name(opened.name.as_str());
    fields.push((header::CONTENT_TYPE, media.to_owned()));
    fields.push((header::ACCEPT_RANGES, "bytes".to_owned()));
    if runs_in_a_browser(media) {
        fields.push((header::CONTENT_SECURITY_POLICY, SANDBOX.to_owned()));
    }
    let size = facts.size;
    if head.method == Method::HEAD {
        let answer = Answer::head(StatusCode::OK, Length::Known(size));
        return Lead::Answer(fields.into_iter().fold(answer, |answer, (n, v)| answer.with(n, v)));
    }
    let counts = conditional::range_counts(head, &validators, now);
    let range = if counts { Range::of(head, size) } else { Range::Whole };
    let (status, bytes) = match range {
        Range::Whole => (StatusCode::OK, 0..size),
        Range::Part { first, last } => {
            fields.push((header::CONTENT_RANGE, format!("bytes {first}-{last}/{size}")));
            (StatusCode::PARTIAL_CONTENT, first..last + 1)
        }
        Range::Unsatisfiable => {
            let reason =
                format!("the file has {size} bytes, and none of those that were asked for\n");
            let answer = Answer::text(StatusCode::RANGE_NOT_SATISFIABLE, reason);
            return Lead::Answer(answer.with(header::CONTENT_RANGE, format!("bytes */{size}")));
        }
    };
    write_head(status, &fields, Length::Known(bytes.end - bytes.start), exchange, replies);
    // Nobody looks at the content, so the kernel sends it.
    Lead::Send(Sending::File(opened.send(bytes, Algorithm::None)), None)
}

fn list(
    context: &Context,
    path: Option<FilePath>,
    exchange: &mut Exchange,
    replies: &mut Vec<u8>,
) -> Lead {
    let asked = path.as_ref().map(|path| path.as_str().to_owned());
    let list = List { path: asked, ..List::default() };
    let listing = match context.list(context.source(Protocol::Http, Engine::Own), &list) {
        Ok(listing) => listing,
        Err(refusal) => {
            // Nothing that was sent is too large: it is we who cannot hold it.
            let too_large = refusal.code == RefusalCode::TooLarge;
            let answer = Answer::refusal(refusal, exchange.form);
            return Lead::Answer(if too_large {
                answer.with_status(StatusCode::INTERNAL_SERVER_ERROR)
            } else {
                answer
            });
        }
    };
    let length = exchange.unknown_length();
    let page = Page::new(exchange.form, path, length);
    let fields = [(header::CACHE_CONTROL, REVALIDATE.to_owned())];
    let fields: Vec<(HeaderName, String)> = page.fields().into_iter().chain(fields).collect();
    if exchange.without_content() {
        let answer = Answer::head(StatusCode::OK, length);
        return Lead::Answer(fields.into_iter().fold(answer, |answer, (n, v)| answer.with(n, v)));
    }
    write_head(StatusCode::OK, &fields, length, exchange, replies);
    page.open(replies);
    Lead::Send(Sending::List(listing), Some(page))
}

impl Outbound {
    /// The next piece. `state` becomes what follows it.
    pub(super) fn next(
        self: Box<Self>,
        buffer: &mut [u8],
        replies: &mut Vec<u8>,
        state: &mut State,
    ) -> io::Result<Outgoing> {
        let Self { exchange, sending, mut page } = *self;
        let Some((say, rest)) = sending.next(buffer)? else {
            *state = State::after(&exchange);
            return Ok(Outgoing::Bytes(0));
        };
        let outgoing = match (say, &mut page) {
            (Say::Content(count), _) => Outgoing::Bytes(count),
            (Say::Unseen(piece), _) => Outgoing::File(piece),
            (Say::Entries(entries), Some(page)) => {
                page.entries(&entries, replies);
                Outgoing::Bytes(0)
            }
            (Say::ListEnd(_), Some(page)) => {
                page.close(replies);
                Outgoing::Bytes(0)
            }
            // Its head said that all is well, so only a break can say that it is not.
            (Say::Refusal(Refusal { message, .. }), _) => return Err(io::Error::other(message)),
            (Say::FileEnd(_) | Say::Entries(_) | Say::ListEnd(_), _) => Outgoing::Bytes(0),
        };
        *state = match rest {
            Some(sending) => State::Sending(Box::new(Self { exchange, sending, page })),
            None => State::after(&exchange),
        };
        Ok(outgoing)
    }

    pub(super) fn sent(&mut self, count: u64) {
        self.sending.sent(count);
    }

    pub(super) fn broken(self, reason: &str) {
        self.sending.broken(reason);
    }
}

/// Another one for every state of a file: what is stored anew is another inode, and what is changed in place has another
/// time.
pub(super) fn etag(facts: &Facts) -> String {
    let Facts { size, mtime, mtime_nanoseconds, inode, .. } = facts;
    format!("\"{inode:x}-{size:x}-{mtime:x}.{mtime_nanoseconds:x}\"")
}

/// Whether a browser would run scripts in it, as if they were ours.
pub(super) fn runs_in_a_browser(media: &str) -> bool {
    ["html", "xml", "pdf"].iter().any(|word| media.contains(word))
}

/// Shown, but without scripts, forms and an origin.
const SANDBOX: &str = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// Kept, but never used without asking: a file may be replaced at any time.
const REVALIDATE: &str = "no-cache";
