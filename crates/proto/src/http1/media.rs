//! Media types: those that a client prefers (RFC 9110 §12.5.1), and those of file names.

use http::header;

use super::head::RequestHead;
use super::preference::weighted;

/// Returns the one of `offered` that `Accept` names with the highest weight, and the first of equal
/// ones; `None` if it names none.
///
/// Wildcards do not count: they accept a type without preferring it.
pub fn preferred<'a>(head: &RequestHead, offered: &[&'a str]) -> Option<&'a str> {
    let mut best: Option<(u16, &'a str)> = None;
    for (name, weight) in weighted(head, header::ACCEPT) {
        let is_offered = |offer: &&&str| offer.eq_ignore_ascii_case(name);
        if let Some(offer) = offered.iter().find(is_offered)
            && weight > best.map_or(0, |(weight, _)| weight)
        {
            best = Some((weight, offer));
        }
    }
    best.map(|(_, offer)| offer)
}

/// Returns the media type of a file by the ending of its name: types that browsers display and
/// types that are often served.
///
/// A file's sender chooses its name, so no type here makes a browser execute the content.
pub fn of_name(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    let found = BY_ENDING.iter().find(|(endings, _)| endings.contains(&ending.as_str()));
    found.map_or(UNKNOWN, |(_, media)| media)
}

/// Media type of unknown content.
pub const UNKNOWN: &str = "application/octet-stream";

/// Endings in lower case, and their types. Text is assumed to be UTF-8.
const BY_ENDING: [(&[&str], &str); 29] = [
    (
        &["txt", "text", "log", "md", "conf", "ini", "toml", "yaml", "yml"],
        "text/plain; charset=utf-8",
    ),
    (&["rs", "c", "h", "cpp", "hpp", "py", "sh", "go", "java"], "text/plain; charset=utf-8"),
    (&["csv"], "text/csv; charset=utf-8"),
    (&["html", "htm"], "text/html; charset=utf-8"),
    // A page of this origin must not execute or apply a stored file: with `nosniff` browsers take
    // scripts and style sheets by these types only.
    (&["css", "js", "mjs"], "text/plain; charset=utf-8"),
    (&["json"], "application/json"),
    (&["xml"], "application/xml"),
    (&["xhtml"], "application/xhtml+xml"),
    (&["svg"], "image/svg+xml"),
    (&["png"], "image/png"),
    (&["jpg", "jpeg"], "image/jpeg"),
    (&["gif"], "image/gif"),
    (&["webp"], "image/webp"),
    (&["avif"], "image/avif"),
    (&["ico"], "image/vnd.microsoft.icon"),
    (&["mp3"], "audio/mpeg"),
    (&["ogg", "opus"], "audio/ogg"),
    (&["flac"], "audio/flac"),
    (&["wav"], "audio/wav"),
    (&["mp4", "m4v"], "video/mp4"),
    (&["webm"], "video/webm"),
    (&["pdf"], "application/pdf"),
    (&["zip"], "application/zip"),
    (&["gz", "tgz"], "application/gzip"),
    (&["xz"], "application/x-xz"),
    (&["zst"], "application/zstd"),
    (&["tar"], "application/x-tar"),
    (&["wasm"], "application/wasm"),
    (&["woff2"], "font/woff2"),
];

#[cfg(test)]
mod tests {
    use super::super::{HeadReader, Pushed};
    use super::*;
    use crate::limits::Limits;

    fn chosen(accept: &str) -> Option<&'static str> {
        let wire = format!("GET / HTTP/1.1\r\nHost: a\r\n{accept}\r\n");
        match HeadReader::new().push(wire.as_bytes(), &Limits::default()) {
            Ok(Pushed::Done { head, .. }) => {
                preferred(&head, &["text/html", "application/json", "text/plain"])
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_heaviest_named_type_is_chosen() {
        for (accept, expected) in [
            ("", None),
            ("Accept: */*\r\n", None),
            ("Accept: application/json\r\n", Some("application/json")),
            ("Accept: Application/JSON; charset=utf-8, */*\r\n", Some("application/json")),
            (
                "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n",
                Some("text/html"),
            ),
            ("Accept: text/html;q=0.1, application/json;q=0.9\r\n", Some("application/json")),
            ("Accept: text/html;q=0.5\r\nAccept: text/plain;q=0.6\r\n", Some("text/plain")),
            ("Accept: application/json;q=0\r\n", None),
            ("Accept: application/json;q=nan, text/plain;q=0.001\r\n", Some("text/plain")),
            ("Accept: text/html, application/json\r\n", Some("text/html")),
        ] {
            assert_eq!(chosen(accept), expected, "{accept}");
        }
    }

    #[test]
    fn a_name_says_what_a_file_may_be() {
        assert_eq!(of_name("a.TXT"), "text/plain; charset=utf-8");
        assert_eq!(of_name("archive.tar.gz"), "application/gzip");
        for name in ["a.js", "a.mjs", "a.css"] {
            assert_eq!(of_name(name), "text/plain; charset=utf-8", "{name}");
        }
        for name in ["Makefile", "a.", "", ".bin", "a.html.part"] {
            assert_eq!(of_name(name), UNKNOWN, "{name:?}");
        }
    }
}
