//! Requests: which path is asked for, and the fields that all of them have.

use std::ffi::OsStr;

use anyport_proto::access::Token;
use anyport_proto::http1::BasePath;
use anyport_proto::rooms::ROOMS_PATH;
use anyport_proto::transfer::file_path::FilePath;
use http::header::{self, HeaderValue};
use http::{Method, Request, Uri, Version};

use super::content::Outgoing;
use crate::error::{Error, ErrorKind};
use crate::target::{Scope, Target};

/// The path that a file called `name` is sent to; `None` is one without a name, from standard
/// input.
///
/// What the user wrote is asked for as it stands, its query too, since another server than ours may
/// give it a meaning. The name goes behind a directory. Only where that would be one of our
/// server's own paths, `/help` or `/pipe/x`, it goes below `/files/`, where our server has all
/// files: a file that is called so must not become a gift to a pipe.
pub(crate) fn path_to(target: &Target, scope: &Scope, name: Option<&OsStr>) -> Destination {
    let (path, query) = split(&target.path);
    let Some(name) = name.filter(|_| scope.is_directory()) else {
        return Destination { path: target.path.clone(), is_moved: false };
    };
    let path = if path == "/files" { "/files/" } else { path };
    // A directory called `files` is below `/files/` too.
    let is_top = !path.starts_with("/files/");
    let path = format!("{path}{}", encoded(name));
    let is_moved = is_own(&path) || is_top && path.starts_with("/files/");
    let prefix = if is_moved { "/files" } else { "" };
    Destination { path: format!("{prefix}{path}{query}"), is_moved }
}

/// The path that a file is sent to.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) path: String,
    /// Whether it is not the path that URL and name form: only an anyport server treats them alike.
    pub(crate) is_moved: bool,
}

/// A server below a path of a proxy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Below {
    /// The path of the server.
    base: BasePath,
    /// What precedes the names of the server in paths as the user wrote them: the same, or `/files`
    /// behind it.
    names: BasePath,
}

impl Below {
    /// Returns the server at `base`, for a request to `path`; none if that is not below `base`.
    pub(crate) fn of(base: BasePath, path: &str) -> Option<Self> {
        let files = base.public("/files");
        let is_in = |directory: &str| path.strip_prefix(directory)?.strip_prefix('/').map(|_| ());
        is_in(base.as_str())?;
        let names = is_in(&files).and_then(|()| files.parse().ok()).unwrap_or_else(|| base.clone());
        Some(Self { base, names })
    }

    /// Returns what precedes the names of the server, without a slash at its beginning; `None` if
    /// nothing does.
    pub(crate) fn names(&self) -> Option<&str> {
        self.names.as_str().strip_prefix('/')
    }
}

/// Returns the path of something that an anyport server has listed.
pub(crate) fn path_of(below: &Below, name: &FilePath) -> String {
    let (base, name) = (below.base.as_str(), name.percent_encoded());
    let behind = below.names().and_then(|names| name.strip_prefix(names)?.strip_prefix('/'));
    format!("{base}/files/{}", behind.unwrap_or(&name))
}

/// The path of a directory's listing.
pub(crate) fn listing_of(target: &Target, below: &Below, directory: Option<&FilePath>) -> String {
    match directory {
        // As the user wrote it, where that is it.
        None if split(&target.path).0.ends_with('/') => target.path.clone(),
        None => "/files/".to_owned(),
        Some(directory) => format!("{}/", path_of(below, directory)),
    }
}

/// A path and what stands behind it, its question mark too.
fn split(path: &str) -> (&str, &str) {
    path.find('?').map_or((path, ""), |at| path.split_at(at))
}

/// Each component with all but letters, digits and `-._~` encoded; a slash at the end stays.
fn encoded(name: &OsStr) -> String {
    let encode = |component| percent_encoding::percent_encode(component, ENCODED).to_string();
    let components = name.as_encoded_bytes().split(|byte| *byte == b'/');
    components.map(encode).collect::<Vec<_>>().join("/")
}

/// Returns whether an anyport server treats `path` as something else than a file (docs/http.md).
fn is_own(path: &str) -> bool {
    OWN.contains(&path) || path.starts_with(ROOMS_PATH) || path.starts_with("/pipe/")
}

/// Returns a request for `path`, with the fields of every request.
///
/// # Errors
/// A path that cannot stand in a request.
pub(crate) fn request(
    target: &Target,
    version: Version,
    token: Option<&Token>,
    method: Method,
    path: &str,
) -> Result<Request<Outgoing>, Error> {
    let authority = authority(target);
    let no_request = |error: http::Error| {
        let (path, reason) = (path.to_owned(), error.to_string());
        Error::from(ErrorKind::BadPath { path, reason })
    };
    // Written by a person, a path may hold blanks and letters of any alphabet.
    let path: String = percent_encoding::utf8_percent_encode(path, UNSAFE).to_string();
    let request = Request::builder().method(method).version(version);
    let request = match version {
        Version::HTTP_2 => {
            let scheme = target.scheme_name();
            let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path);
            request.uri(uri.build().map_err(no_request)?)
        }
        _ => request.uri(path).header(header::HOST, authority),
    };
    let mut request = request
        .header(header::USER_AGENT, USER_AGENT)
        .body(Outgoing::Nothing)
        .map_err(no_request)?;
    if let Some(token) = token
        && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
    {
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

/// The host as servers compare it with their own name: without the default port (RFC 9110 §4.2.3).
pub(super) fn authority(target: &Target) -> String {
    let usual = if target.encrypted { ":443" } else { ":80" };
    let authority = target.authority();
    authority.strip_suffix(usual).map_or_else(|| authority.clone(), str::to_owned)
}

const USER_AGENT: &str = concat!("anyport/", env!("CARGO_PKG_VERSION"));

/// Paths of an anyport server that name no file.
const OWN: [&str; 6] = ["/echo", "/files", "/healthz", "/help", "/metrics", "/time"];

/// All but what RFC 3986 §2.3 calls unreserved.
const ENCODED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Characters that are invalid in a path (RFC 3986 §3.3); escapes are kept.
const UNSAFE: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

#[cfg(test)]
mod tests {
    use super::*;

    fn to(url: &str, name: Option<&str>) -> String {
        let target: Target = url.parse().unwrap();
        let scope = target.scope().unwrap();
        path_to(&target, &scope, name.map(OsStr::new)).path
    }

    #[test]
    fn a_file_is_sent_to_the_path_that_was_written() {
        for (url, name, path) in [
            ("http://h/", Some("a b.txt"), "/a%20b.txt"),
            ("http://h/", Some("photos/50%.jpg"), "/photos/50%25.jpg"),
            ("http://h/dav/", Some("x"), "/dav/x"),
            ("http://h/dav/?key=1", Some("x"), "/dav/x?key=1"),
            ("http://h/dav/x?key=1", Some("y"), "/dav/x?key=1"),
            ("http://h/files/x", Some("y"), "/files/x"),
            ("http://h/files", Some("x"), "/files/x"),
            ("http://h/", Some("empty/"), "/empty/"),
            ("http://h/", None, "/"),
            ("http://h/help", Some("y"), "/help"),
        ] {
            assert_eq!(to(url, name), path, "{url} {name:?}");
        }
    }

    #[test]
    fn a_name_is_never_one_of_the_servers_own_paths() {
        for name in ["help", "echo", "time", "healthz", "metrics", "rooms/x", "pipe/x", "files"] {
            assert_eq!(to("http://h/", Some(name)), format!("/files/{name}"));
            assert_eq!(to("http://h/d/", Some(name)), format!("/d/{name}"));
            assert_eq!(to("http://h/files/", Some(name)), format!("/files/{name}"));
        }
        assert_eq!(to("http://h/", Some("help/x")), "/help/x");
        assert_eq!(to("http://h/", Some("files/x")), "/files/files/x");
        assert_eq!(to("http://h/files/", Some("files/x")), "/files/files/x");
    }

    #[test]
    fn the_default_port_is_omitted() {
        for (url, expected) in [
            ("http://h/", "h"),
            ("https://[::1]/", "[::1]"),
            ("http://h:443/", "h:443"),
            ("https://h:8331/", "h:8331"),
        ] {
            assert_eq!(authority(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn a_token_is_shown_and_a_path_is_made_safe() {
        let target: Target = "https://h/".parse().unwrap();
        let token = Token::new("0123456789abcdef".to_owned());
        let path = "/a b/ü%20?x=1";
        let request = request(&target, Version::HTTP_2, Some(&token), Method::GET, path).unwrap();
        assert_eq!(request.uri().to_string(), "https://h/a%20b/%C3%BC%20?x=1");
        let shown = &request.headers()[header::AUTHORIZATION];
        assert!(shown.is_sensitive() && shown == "Bearer 0123456789abcdef");
    }
}
