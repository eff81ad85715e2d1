//! `/.anyport/s/ID/`: the link of a share (docs/share.md). The client has a grant for the shared
//! file or drop box alone, so the handlers of stored files serve it.

use anyport_proto::access::Rights;
use anyport_proto::resumable::ietf::Fields;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::transfer::units::format_bytes;
use http::{Method, StatusCode, header};
use serde_json::json;

use super::listing::{local_time, shown};
use super::representation::etag;
use super::{download, resumable, shares, stored};
use crate::service::download::{Located, Opened as OpenedFile};
use crate::session::Context;
use crate::session::http::answer::{Answer, Form, SharePath, VARY};
use crate::session::http::handler::{Opened, Request};
use crate::session::http::page::{self, Purpose, escaped};
use crate::share::{Kind, Limits, Share};

pub(super) const fn methods(rights: Rights) -> &'static str {
    match rights.contains(Rights::WRITE) {
        true => "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS",
        false => "GET, HEAD, OPTIONS",
    }
}

pub(super) fn announced(context: &Context) -> Fields {
    match context.grant.drop_box() {
        Some(_) => resumable::announced(context),
        None => Vec::new(),
    }
}

/// Serves a request to a share.
pub(super) fn open(request: &Request<'_>) -> Opened {
    opened(request).unwrap_or_else(Opened::Answer)
}

fn opened(request: &Request<'_>) -> Result<Opened, Answer> {
    let Request { context, head, framing, rest, asked } = *request;
    // Relative links of the page need the slash.
    let Some((_, rest)) = rest.split_once('/') else {
        let place = asked.share.as_ref().map(|share| format!("{}/", share.as_str()));
        let answer = Answer::text(StatusCode::FOUND, "append a slash\n");
        return Err(answer.with(header::LOCATION, place.unwrap_or_default()));
    };
    let request = &Request { context, head, framing, rest, asked };
    let Some(link) = context.grant.link() else { return Err(not_here(request)) };
    let share = link.share();
    match &share.kind {
        Kind::File { tag, digest } => file(request, share, tag, digest.as_deref()),
        Kind::Drop(limits) => drop_box(request, share, limits),
    }
}

/// Sends the page of a file, or the file, as long as it is the one that was shared.
fn file(
    request: &Request<'_>,
    share: &Share,
    tag: &str,
    digest: Option<&str>,
) -> Result<Opened, Answer> {
    let Request { context, head, rest, asked, .. } = *request;
    if ![Method::GET, Method::HEAD].contains(&head.method) {
        let allow = methods(context.grant.rights());
        let reason = format!("{} is not allowed for this link; allowed: {allow}", head.method);
        let refusal = Refusal::new(RefusalCode::NotSupported, reason);
        let answer = request.refuse(StatusCode::METHOD_NOT_ALLOWED, refusal);
        return Err(answer.with(header::ALLOW, allow));
    }
    let name = FilePath::parse_percent_encoded(rest);
    if !rest.is_empty() && !name.is_ok_and(|name| name == share.path.file_name().into()) {
        return Err(not_here(request));
    }
    let opened = match context.files.find(request.source(), (*share.path).clone()) {
        Ok(Located::File(opened)) if etag(&opened.attributes) == tag => opened,
        // The text does not depend on the path.
        Err(refusal) if refusal.code == RefusalCode::NotSupported => {
            return Err(Answer::refusal(refusal, asked.form));
        }
        _ => {
            let reason = "the file was changed or removed after this link was made";
            let refusal = Refusal::new(RefusalCode::NotFound, reason)
                .with_hint("ask the person who sent you the link for another one");
            return Err(request.refuse(StatusCode::GONE, refusal));
        }
    };
    if rest.is_empty() {
        return Ok(Opened::Answer(describe(request, share, &opened, digest)));
    }
    Ok(download::file(head, opened, asked, context.config.timeouts.idle))
}

/// Receives files for a drop box, and continues its uploads. It has nothing to show but its form.
fn drop_box(request: &Request<'_>, share: &Share, limits: &Limits) -> Result<Opened, Answer> {
    let Request { context, head, framing, rest, asked } = *request;
    // As below the root of the server, this name is no file.
    if let Some(rest) = rest.strip_prefix(".anyport/") {
        return Ok(resumable::open(&Request { context, head, framing, rest, asked }));
    }
    match head.method {
        Method::PUT | Method::POST => Ok(stored::open(request)),
        Method::GET | Method::HEAD if rest.is_empty() => Err(invite(request, share, limits)),
        Method::GET | Method::HEAD => Err(not_here(request)),
        _ => {
            let allow = "GET, HEAD, PUT, POST, OPTIONS";
            let reason = format!("{} is not allowed for this link; allowed: {allow}", head.method);
            let refusal = Refusal::new(RefusalCode::NotSupported, reason);
            let answer = request.refuse(StatusCode::METHOD_NOT_ALLOWED, refusal);
            Err(answer.with(header::ALLOW, allow))
        }
    }
}

/// Describes a drop box: a page with a form, or for programs text or JSON.
fn invite(request: &Request<'_>, share: &Share, limits: &Limits) -> Answer {
    let Request { context, asked, .. } = *request;
    match asked.form {
        Form::Json => {
            let json = json!({ "share": {
                "kind": "drop", "expires": shares::expiry(share),
                "max_bytes": limits.bytes.min(context.files.max_size()), "max_files": limits.files,
            } });
            Answer::json(StatusCode::OK, json.to_string()).with(header::VARY, VARY)
        }
        Form::Text => {
            let text = format!("curl -T FILE {}/\n", address(request));
            Answer::text(StatusCode::OK, text).with(header::VARY, VARY)
        }
        Form::Html => {
            let words = page::words(asked.page.language);
            let mut text = asked.page.begin(words.send, Purpose::DropBox);
            text.push_str(&format!(
                "<h1>{}</h1>\n<form method=\"post\" enctype=\"multipart/form-data\" \
                 action=\"./\"><input type=\"file\" name=\"file\" multiple required \
                 aria-label=\"{}\"><button>{}</button></form>\n<p class=\"note\">{} {}</p>\n",
                words.send,
                words.choose,
                words.upload,
                words.until,
                local_time(share.expires)
            ));
            Answer::page(StatusCode::OK, &asked.page, text + page::END)
        }
    }
}

/// Returns the address of a link as the client wrote it, without the slash at its end.
fn address(request: &Request<'_>) -> String {
    let Request { context, head, asked, .. } = request;
    let scheme = if context.is_encrypted { "https" } else { "http" };
    let host = if head.host().is_empty() { "HOST:PORT" } else { head.host() };
    let path = asked.share.as_ref().map(SharePath::as_str).unwrap_or_default();
    format!("{scheme}://{host}{}", context.config.base_path.public(path))
}

/// Describes a shared file: a page, or for programs text or JSON.
fn describe(
    request: &Request<'_>,
    share: &Share,
    opened: &OpenedFile,
    digest: Option<&str>,
) -> Answer {
    let asked = request.asked;
    let (name, attributes) = (share.path.file_name(), &opened.attributes);
    let (link, size) = (name.percent_encoded(), attributes.size);
    match asked.form {
        Form::Json => {
            let json = json!({ "share": {
                "kind": "file", "name": name.text(), "size": size,
                "mtime": attributes.mtime.seconds,
                "digest": digest, "url": link, "expires": shares::expiry(share),
            } });
            Answer::json(StatusCode::OK, json.to_string()).with(header::VARY, VARY)
        }
        Form::Text => {
            let address = address(request);
            let digest = digest.map(|digest| format!(", {digest}")).unwrap_or_default();
            let (name, size) = (shown(name.as_bytes()), format_bytes(size));
            let text = format!("{name}: {size}{digest}\ncurl -O {address}/{link}\n");
            Answer::text(StatusCode::OK, text).with(header::VARY, VARY)
        }
        Form::Html => {
            let words = page::words(asked.page.language);
            let (title, time) = (shown(name.as_bytes()), local_time(attributes.mtime.seconds));
            let shown = escaped(&title);
            let mut rows = vec![
                (words.size, format!("{} ({size} {})", format_bytes(size), words.bytes)),
                (words.modified, time),
            ];
            let digest = digest.and_then(|digest| digest.split_once(':'));
            if let Some((algorithm, hex)) = digest {
                rows.push((algorithm, hex.to_owned()));
            }
            rows.push((words.until, local_time(share.expires)));
            let row = |(name, value): (&str, String)| {
                format!("<tr><th>{name}</th><td>{}</td></tr>\n", escaped(&value))
            };
            let rows: String = rows.into_iter().map(row).collect();
            let mut text = asked.page.begin(&title, Purpose::Document);
            text.push_str(&format!(
                "<h1><bdi>{shown}</bdi></h1>\n<table><tbody>\n{rows}</tbody></table>\n\
                 <p><a href=\"{link}\" download>{}</a></p>\n",
                words.download
            ));
            Answer::page(StatusCode::OK, &asked.page, text + page::END)
        }
    }
}

fn not_here(request: &Request<'_>) -> Answer {
    let refusal = Refusal::new(RefusalCode::NotFound, "this link leads to nothing of that name");
    request.refuse(StatusCode::NOT_FOUND, refusal)
}
