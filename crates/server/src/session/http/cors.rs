//! Pages of other origins that the owner allows (CORS, Fetch §3.3): what they may send and read.
//!
//! Credentials of a browser are never allowed: a page sends its token in `Authorization`.

use anyport_proto::http1::RequestHead;
use anyport_proto::http1::field_names::{
    CONTENT_DIGEST, DESTINATION, MTIME, MTIME_NS, OVERWRITE, REPR_DIGEST, WANT_REPR_DIGEST,
};
use anyport_proto::resumable::FIELDS_OF_REQUESTS;
use anyport_proto::ws::handshake::Origin;
use http::Method;
use http::header::{self, HeaderName};

/// Returns the origin of the page that sends a request, if it is one of `allowed`.
pub(super) fn allowed_origin(head: &RequestHead, allowed: &[Origin]) -> Option<String> {
    let mut origins = head.fields.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
    let origin = origin.to_str().ok()?;
    let is_allowed = origin.parse().is_ok_and(|origin: Origin| allowed.contains(&origin));
    is_allowed.then(|| origin.to_owned())
}

/// Returns whether a browser asks if a page may send a request (Fetch §4.8). It sends no token.
pub(super) fn is_preflight(head: &RequestHead) -> bool {
    head.method == Method::OPTIONS
        && head.fields.contains_key(header::ORIGIN)
        && head.fields.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Returns the fields of the response to a preflight for a resource with these methods.
pub(super) fn preflight(head: &RequestHead, methods: &str) -> Vec<(HeaderName, String)> {
    let read: Vec<&str> = READ.iter().chain(&FIELDS_OF_REQUESTS).map(HeaderName::as_str).collect();
    let mut fields = vec![
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods.to_owned()),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, read.join(", ")),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE.to_owned()),
    ];
    let asks = HeaderName::from_static("access-control-request-private-network");
    if head.fields.get(asks).is_some_and(|value| value == "true") {
        let allows = HeaderName::from_static("access-control-allow-private-network");
        fields.push((allows, "true".to_owned()));
    }
    fields
}

/// Returns the value that lets a page read all `fields` of its response; `None` if it may anyway.
pub(super) fn exposed(fields: &[(HeaderName, String)]) -> Option<String> {
    let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    names.retain(|name| !SAFELISTED.contains(name));
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Fields of requests that the server reads, beside those that browsers always send or let every
/// page set (Fetch §2.2.2), and [`FIELDS_OF_REQUESTS`].
static READ: [HeaderName; 20] = [
    header::AUTHORIZATION,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::LAST_MODIFIED,
    header::RANGE,
    CONTENT_DIGEST,
    DESTINATION,
    MTIME,
    MTIME_NS,
    OVERWRITE,
    REPR_DIGEST,
    WANT_REPR_DIGEST,
    HeaderName::from_static("last-event-id"),
];

/// Fields of responses that every page may read (Fetch §2.2.2), and the date.
const SAFELISTED: [&str; 9] = [
    "access-control-allow-origin",
    "cache-control",
    "content-language",
    "content-length",
    "content-type",
    "date",
    "expires",
    "last-modified",
    "pragma",
];

/// Seconds for which a browser may keep the response to a preflight: a setting that changed applies
/// soon.
const MAX_AGE: &str = "600";

#[cfg(test)]
mod tests {
    use anyport_proto::resumable::UPLOAD_OFFSET;

    use super::*;

    #[test]
    fn a_page_may_read_each_field_that_it_could_not_read_anyway() {
        let field = |name: HeaderName| (name, String::new());
        let fields = [header::WWW_AUTHENTICATE, header::DATE, header::LOCATION, header::EXPIRES];
        let fields = fields.map(field);
        assert_eq!(exposed(&fields).as_deref(), Some("location, www-authenticate"));
        assert_eq!(exposed(&[]), None);
        assert!(!READ.contains(&UPLOAD_OFFSET) && FIELDS_OF_REQUESTS.contains(&UPLOAD_OFFSET));
    }
}
