//! Resumable uploads: the two protocols that a server may announce, their fields, and the upload
//! resource of a file.
//!
//! The IETF's is draft-ietf-httpbis-resumable-upload, interop version 8; the other one is tus 1.0
//! with the extension *creation*.

use std::ffi::OsStr;

use anyport_proto::resumable::ietf::{COMPLETE, LIMIT, PARTIAL_UPLOAD, VERSION};
use anyport_proto::resumable::{UPLOAD_LENGTH, UPLOAD_OFFSET, tus};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};

use super::content::Outgoing;
use super::request::authority;
use crate::content::Identity;
use crate::target::{Scheme, Target};

/// A protocol for resumable uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Ietf,
    Tus,
}

/// What a server announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) protocol: Protocol,
    /// Maximum content of one request, in bytes.
    pub(crate) largest: u64,
}

impl Announced {
    /// Returns what the response to an `OPTIONS` request announces. The IETF's protocol has
    /// precedence: its final response is that of a PUT, with a receipt.
    pub(crate) fn of(fields: &HeaderMap) -> Option<Self> {
        let has = |name: &HeaderName, element: &str| {
            tokens(fields, name).any(|one| one.eq_ignore_ascii_case(element))
        };
        let same_version = fields.get(&VERSION).is_none_or(|version| version == INTEROP_VERSION);
        let accepts = fields.contains_key(&LIMIT) || has(&ACCEPT_PATCH, PARTIAL_UPLOAD);
        if accepts && same_version {
            let largest = tokens(fields, &LIMIT).find_map(|one| one.strip_prefix(LARGEST_APPEND));
            let largest = largest.map_or(u64::MAX, |largest| largest.parse().unwrap_or(0));
            return Some(Self { protocol: Protocol::Ietf, largest });
        }
        let is_tus = has(&tus::VERSIONS, tus::VERSION) || has(&tus::RESUMABLE, tus::VERSION);
        let creates = is_tus && has(&TUS_EXTENSION, "creation");
        creates.then_some(Self { protocol: Protocol::Tus, largest: u64::MAX })
    }
}

impl Protocol {
    /// Adds the field that states the version of the protocol, which every request has.
    pub(crate) fn add_version(self, request: &mut Request<Outgoing>) {
        let (name, version) = match self {
            Self::Ietf => (VERSION, INTEROP_VERSION),
            Self::Tus => (tus::RESUMABLE, tus::VERSION),
        };
        request.headers_mut().insert(name, HeaderValue::from_static(version));
    }

    /// Returns the method that creates an upload resource.
    pub(crate) const fn creates_with(self) -> Method {
        match self {
            Self::Ietf => Method::PUT,
            Self::Tus => Method::POST,
        }
    }

    /// Adds the fields that create an upload resource.
    pub(crate) fn add_creation(
        self,
        request: &mut Request<Outgoing>,
        size: u64,
        name: Option<&OsStr>,
    ) {
        self.add_version(request);
        let fields = request.headers_mut();
        fields.insert(header::CONTENT_LENGTH, 0.into());
        fields.insert(UPLOAD_LENGTH, size.into());
        match self {
            Self::Ietf => {
                fields.insert(COMPLETE, HeaderValue::from_static("?0"));
            }
            Self::Tus => {
                let name = name.map(|name| STANDARD.encode(name.as_encoded_bytes()));
                let metadata = name.map(|name| HeaderValue::try_from(format!("filename {name}")));
                if let Some(Ok(metadata)) = metadata {
                    fields.insert(TUS_METADATA, metadata);
                }
            }
        }
    }

    /// Adds the fields that append `length` bytes of a file at `offset`, the last ones if the
    /// request `completes` it.
    pub(crate) fn add_append(
        self,
        request: &mut Request<Outgoing>,
        offset: u64,
        length: u64,
        completes: bool,
    ) {
        self.add_version(request);
        let fields = request.headers_mut();
        let media = match self {
            Self::Ietf => PARTIAL_UPLOAD,
            Self::Tus => "application/offset+octet-stream",
        };
        if self == Self::Ietf {
            let complete = if completes { "?1" } else { "?0" };
            fields.insert(COMPLETE, HeaderValue::from_static(complete));
        }
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        fields.insert(header::CONTENT_LENGTH, length.into());
        fields.insert(UPLOAD_OFFSET, offset.into());
    }
}

/// The upload resource of a file.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) protocol: Protocol,
    /// Its path, with the query.
    pub(crate) path: String,
    /// The file that it was created for.
    pub(crate) identity: Option<Identity>,
    /// Whether content was sent to it.
    pub(crate) is_begun: bool,
}

impl Resource {
    /// Returns whether the same command continues the upload from another process: an anyport
    /// server finds it by path, size and time, others only by the path of the resource.
    pub(crate) fn is_found_again(&self) -> bool {
        self.path.contains(UPLOADS)
    }
}

/// Returns the offset in the fields of a response.
pub(crate) fn offset(fields: &HeaderMap) -> Option<u64> {
    let text = fields.get(&UPLOAD_OFFSET)?.to_str().ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Returns whether the fields of a response state that an upload is complete.
pub(crate) fn is_complete(fields: &HeaderMap) -> Option<bool> {
    match fields.get(&COMPLETE)?.as_bytes() {
        b"?1" => Some(true),
        b"?0" => Some(false),
        _ => None,
    }
}

/// Returns the path of a `Location` in the response to a request for `path`; `None` if it is at
/// another origin (RFC 6454), which must receive neither content nor token.
pub(crate) fn path_of_location(target: &Target, path: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let is_absolute = location.split_once("://").is_some_and(|(scheme, _)| {
        scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    if is_absolute || location.starts_with("//") {
        let scheme = if is_absolute { "" } else { target.scheme_name() };
        let colon = if is_absolute { "" } else { ":" };
        let other: Target = format!("{scheme}{colon}{location}").parse().ok()?;
        let is_same = other.scheme == Scheme::Http
            && other.encrypted == target.encrypted
            && authority(&other).eq_ignore_ascii_case(&authority(target));
        return is_same.then_some(other.path);
    }
    let path = path.split('?').next().unwrap_or_default();
    Some(match location.bytes().next() {
        Some(b'/') => location.to_owned(),
        Some(b'?') => format!("{path}{location}"),
        _ => format!("{}{location}", &path[..=path.rfind('/').unwrap_or(0)]),
    })
}

/// Returns the elements of a list of tokens, or of a dictionary without strings.
fn tokens<'f>(fields: &'f HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'f str> {
    let values = fields.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Where an anyport server has its upload resources.
const UPLOADS: &str = "/.anyport/uploads/";

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const LARGEST_APPEND: &str = "max-append-size=";

/// The interop version of the draft that the client implements.
const INTEROP_VERSION: &str = "8";

const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_METADATA: HeaderName = HeaderName::from_static("upload-metadata");

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(fields: &[(&'static str, &'static str)]) -> Option<(Protocol, u64)> {
        let name = HeaderName::from_static;
        let fields = fields.iter().map(|(key, value)| (name(key), HeaderValue::from_static(value)));
        Announced::of(&fields.collect()).map(|announced| (announced.protocol, announced.largest))
    }

    #[test]
    fn a_protocol_is_used_only_if_the_server_announces_it() {
        let tus = [("tus-version", "1.0.0,0.2.2"), ("tus-extension", "creation,expiration")];
        let limit = ("upload-limit", "max-size=5000, max-age=86400");
        let patch = ("accept-patch", "text/plain, application/partial-upload");
        let ietf = Some((Protocol::Ietf, u64::MAX));
        for (fields, expected) in [
            (&[][..], None),
            (&[("allow", "GET, PUT, PATCH")], None),
            (&[("accept-patch", "*/*")], None),
            (&[limit], ietf),
            (&[patch], ietf),
            (&[patch, ("upload-draft-interop-version", "8")], ietf),
            (&[patch, ("upload-draft-interop-version", "6")], None),
            (&[("upload-limit", "max-append-size=999")], Some((Protocol::Ietf, 999))),
            (&tus, Some((Protocol::Tus, u64::MAX))),
            (&tus[..1], None),
            (&[("tus-version", "2.0.0"), tus[1]], None),
            (&[tus[0], tus[1], limit], ietf),
        ] {
            assert_eq!(announced(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_location_is_followed_at_the_same_origin_only() {
        let path = |url: &str, location: &str| {
            path_of_location(&url.parse().unwrap(), "/files/x.bin?key=1", location)
        };
        for (url, location, expected) in [
            ("http://h/", "/uploads/1?a=b", Some("/uploads/1?a=b")),
            ("http://h/", "1", Some("/files/1")),
            ("http://h/", "?id=1", Some("/files/x.bin?id=1")),
            ("http://h/", "http://h/1", Some("/1")),
            ("http://h/", "http://H:80/1#x", Some("/1")),
            ("http://h/", "//h/1", Some("/1")),
            ("http://h/", "/1?back=http://other/", Some("/1?back=http://other/")),
            ("https://h:8331/", "HTTPS://h:8331/1", Some("/1")),
            ("https://[::1]:8331/", "https://[::1]:8331/1", Some("/1")),
            ("https://h/", "http://h/1", None),
            ("https://h/", "https://h:8331/1", None),
            ("https://h/", "https://h@other/1", None),
            ("https://h/", "https://other/1", None),
            ("https://h/", "//other/1", None),
            ("http://h/", "ftp://h/1", None),
            ("http://h/", "tcp://h/1", None),
        ] {
            assert_eq!(path(url, location).as_deref(), expected, "{url} {location}");
        }
    }

    #[test]
    fn an_offset_is_digits() {
        let read = |value: &'static str| {
            offset(&HeaderMap::from_iter([(UPLOAD_OFFSET, HeaderValue::from_static(value))]))
        };
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("9007199254740993"), Some(9_007_199_254_740_993));
        for value in ["", "-1", "+1", "1.0", "0x1", "99999999999999999999"] {
            assert_eq!(read(value), None, "{value:?}");
        }
    }
}
