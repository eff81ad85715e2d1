//! An address of this server as a QR code, at `/.anyport/qr.svg?path=PATH`.

use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::{StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use qrcodegen::{QrCode, QrCodeEcc};

use crate::session::http::answer::Answer;
use crate::session::http::handler::{Opened, Request};

/// Sends the QR code of the address that the client used, of `path` if the query has one.
pub(super) fn open(request: &Request<'_>) -> Opened {
    let Request { context, head, .. } = *request;
    let refuse = |reason: &str| {
        let refusal = Refusal::new(RefusalCode::BadRequest, reason);
        Opened::Answer(request.refuse(StatusCode::BAD_REQUEST, refusal))
    };
    let Some(path) = path_of(head.query()) else {
        return refuse("the query is not path=PATH with a path that begins with a slash");
    };
    if !request.asked.page.has_host() {
        return refuse("the request names no valid host");
    }
    let scheme = if context.is_encrypted { "https" } else { "http" };
    let path = context.config.base_path.public(&path);
    let address = format!("{scheme}://{}{path}", head.host());
    let Some(content) = svg(&address) else {
        return refuse(&format!("the address is longer than {MAX_ADDRESS} bytes"));
    };
    // The path may contain the secret of a share.
    let answer = Answer::content(StatusCode::OK, "image/svg+xml", content)
        .with(header::CACHE_CONTROL, "no-store")
        .with(header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'");
    Opened::Answer(answer)
}

/// Returns the path that a query names, encoded for a URL; the top without one. The query is
/// encoded like a form.
fn path_of(query: Option<&str>) -> Option<String> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Some("/".to_owned()) };
    let value = query.strip_prefix("path=")?.replace('+', "%20");
    let path = percent_decode_str(&value).decode_utf8().ok()?;
    path.starts_with('/').then(|| utf8_percent_encode(&path, NOT_IN_URLS).to_string())
}

/// Returns the QR code of a text as an image with the margin that readers need (ISO/IEC 18004); a
/// text that is too long has none.
fn svg(text: &str) -> Option<String> {
    let code = (text.len() <= MAX_ADDRESS).then(|| QrCode::encode_text(text, QrCodeEcc::Medium))?;
    let (code, mut dark) = (code.ok()?, String::new());
    for y in 0..code.size() {
        let mut x = 0;
        while x < code.size() {
            let begin = x;
            while code.get_module(x, y) {
                x += 1;
            }
            match x - begin {
                0 => x += 1,
                width => dark += &format!("M{} {}.5h{width}", begin + MARGIN, y + MARGIN),
            }
        }
    }
    let side = code.size() + 2 * MARGIN;
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" \
         shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/>\
         <path stroke=\"#000\" d=\"{dark}\"/></svg>\n"
    ))
}

/// Modules of light margin on each side.
const MARGIN: i32 = 4;

/// Maximum bytes of an address: a code of 500 bytes has 89 modules, which phones still read from a
/// screen. It bounds the work of a request without a token too.
const MAX_ADDRESS: usize = 500;

/// What a URL does not have as it is (RFC 3986 §2).
const NOT_IN_URLS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
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

    #[test]
    fn a_query_names_a_path_of_this_server_or_nothing() {
        for (query, path) in [
            (None, Some("/")),
            (Some(""), Some("/")),
            (Some("path=/files/x"), Some("/files/x")),
            (Some("path=%2Ffiles%2Fa%2520b+c%0A"), Some("/files/a%20b%20c%0A")),
            (Some("path=/%ed%8c%8c"), Some("/%ED%8C%8C")),
            (Some("path=//other.example/"), Some("//other.example/")),
            (Some("path=files"), None),
            (Some("path=http://other.example/"), None),
            (Some("path=/%ff"), None),
            (Some("x=/"), None),
        ] {
            assert_eq!(path_of(query).as_deref(), path, "{query:?}");
        }
    }

    #[test]
    fn a_code_has_its_margin_and_a_bounded_size() {
        let image = svg("http://127.0.0.1:8331/").unwrap();
        assert!(image.contains("viewBox=\"0 0 33 33\"") && image.contains("M4 4.5h7M"), "{image}");
        assert!(svg(&"a".repeat(MAX_ADDRESS)).unwrap().len() < 25_000);
        assert_eq!(svg(&"a".repeat(MAX_ADDRESS + 1)), None);
    }
}
