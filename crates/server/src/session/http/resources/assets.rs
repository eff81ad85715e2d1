//! Scripts and the style sheet of pages, at `/.anyport/page/VERSION/FILE`.

use anyport_page::VERSION;
use anyport_proto::http1::coding::accepts;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use bytes::Bytes;
use http::{StatusCode, header};

use crate::session::http::answer::Answer;
use crate::session::http::handler::{Opened, Request};

/// Sends an asset of this version, compressed if the client accepts that.
pub(super) fn open(request: &Request<'_>) -> Opened {
    let Request { head, rest, asked, .. } = *request;
    let (version, name) = rest.split_once('/').unwrap_or_default();
    let Some(asset) = anyport_page::find(name).filter(|_| version == VERSION) else {
        let refusal = Refusal::new(RefusalCode::NotFound, "not a file of this page")
            .with_hint("reload the page: the server may have been upgraded");
        // After an upgrade back it exists again.
        let answer = Answer::refusal(refusal, asked.form);
        return Opened::Answer(answer.with(header::CACHE_CONTROL, "no-store"));
    };
    let (content, coding) = match accepts(head, "gzip") {
        true => (asset.gzip, Some("gzip")),
        false => (asset.content, None),
    };
    let answer = Answer::content(StatusCode::OK, asset.media, Bytes::from_static(content))
        .with(header::CACHE_CONTROL, "public, max-age=31536000, immutable")
        .with(header::VARY, "Accept-Encoding")
        .with(header::CONTENT_SECURITY_POLICY, asked.page.policy());
    Opened::Answer(match coding {
        Some(coding) => answer.with(header::CONTENT_ENCODING, coding),
        None => answer,
    })
}
