//! Pages for browsers: their frame, their style, their words in each language, and error pages.
//!
//! Links in pages are relative, so they lead to the right place behind any proxy that forwards only
//! a subtree.

use std::sync::LazyLock;

use anyport_proto::transfer::digest::Algorithm;
use anyport_proto::transfer::fields::digest_value;
use anyport_proto::transfer::hasher::Hasher;
use http::StatusCode;
use http::header::{self, HeaderName};

/// The languages of pages; the first is the default.
pub(super) const LANGUAGES: [&str; 2] = ["en", "ko"];

/// The words of a page in one language.
pub(super) struct Words {
    pub(super) files: &'static str,
    pub(super) up: &'static str,
    pub(super) name: &'static str,
    pub(super) size: &'static str,
    pub(super) modified: &'static str,
    pub(super) bytes: &'static str,
    pub(super) empty: &'static str,
    pub(super) choose: &'static str,
    pub(super) upload: &'static str,
    pub(super) more: &'static str,
    hint: &'static str,
    token: &'static str,
    back: &'static str,
    again: &'static str,
}

/// Returns the words of one of [`LANGUAGES`].
pub(super) fn words(language: &str) -> &'static Words {
    if language == "ko" { &KOREAN } else { &ENGLISH }
}

static ENGLISH: Words = Words {
    files: "Files",
    up: "Up",
    name: "Name",
    size: "Size",
    modified: "Modified",
    bytes: "bytes",
    empty: "No files yet.",
    choose: "Files to upload",
    upload: "Upload",
    more: "Other ways to send and receive files",
    hint: "Hint",
    token: "Reload the page and enter the token as the password. The user name may stay empty.",
    back: "Back to the files",
    again: "Try again",
};

static KOREAN: Words = Words {
    files: "파일",
    up: "위로",
    name: "이름",
    size: "크기",
    modified: "수정 시각",
    bytes: "바이트",
    empty: "아직 파일이 없습니다.",
    choose: "올릴 파일",
    upload: "올리기",
    more: "파일을 주고받는 다른 방법",
    hint: "도움말",
    token: "페이지를 새로 고치고 암호에 토큰을 입력하세요. 사용자 이름은 비워 두어도 됩니다.",
    back: "파일 목록으로",
    again: "다시 시도",
};

/// The end of a page.
pub(super) const END: &str = "</main></body></html>\n";

/// Returns the beginning of a page, up to its content. Its icon is empty: browsers request
/// `/favicon.ico` otherwise, and each visit would be refused once.
pub(super) fn begin(language: &str, title: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"{language}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"icon\" href=\"data:,\"><title>{title}</title><style>{STYLE}</style></head>\n\
         <body><main>\n"
    )
}

/// Returns the fields of a page.
pub(super) fn fields(language: &str, has_form: bool) -> [(HeaderName, String); 4] {
    [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_LANGUAGE, language.to_owned()),
        (header::VARY, "Accept, Accept-Language, User-Agent".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy(has_form)),
    ]
}

/// Returns the policy of a page: nothing runs, and nothing is loaded. Names are escaped, so it is a
/// second defense.
fn policy(has_form: bool) -> String {
    static HASH: LazyLock<String> = LazyLock::new(|| {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(STYLE.as_bytes());
        let value = hasher.finish().as_ref().and_then(digest_value).unwrap_or_default();
        value.split(':').nth(1).unwrap_or_default().to_owned()
    });
    let form = if has_form { "'self'" } else { "'none'" };
    format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; form-action {form}; \
         base-uri 'none'; frame-ancestors 'none'",
        *HASH
    )
}

/// Returns the page for an error, whose `text` may have a line that begins with `hint: `.
pub(super) fn of_error(
    language: &'static str,
    depth: usize,
    status: StatusCode,
    text: &str,
) -> String {
    let words = words(language);
    let (reason, hint) = text.split_once("\nhint: ").unwrap_or((text, ""));
    // Results of several files, each perhaps with a hint, are lines.
    let is_list = hint.trim_end().contains('\n') || reason.trim_end().contains('\n');
    let (reason, hint) = if is_list { (text, "") } else { (reason, hint) };
    let element = if is_list { "pre" } else { "p" };
    let (code, name) = (status.as_str(), name_of(status, language));
    let mut page = begin(language, &format!("{code} {name}"));
    page.push_str(&format!(
        "<p class=\"code\">{code}</p>\n<h1>{name}</h1>\n<{element} lang=\"en\">{}</{element}>\n",
        escaped(reason.trim_end())
    ));
    if status == StatusCode::UNAUTHORIZED {
        // The dialog of the browser was cancelled; the hint is for programs.
        page.push_str(&format!("<p class=\"note\">{}</p>\n", words.token));
    } else if !hint.is_empty() {
        let hint = escaped(hint.trim_end());
        page.push_str(&format!(
            "<p class=\"note\">{}: <span lang=\"en\">{hint}</span></p>\n",
            words.hint
        ));
    }
    let label = if depth == 0 { words.again } else { words.back };
    page.push_str(&format!("<p><a href=\"{}\">{label}</a></p>\n", root(depth)));
    page + END
}

/// Returns the relative link from a path with `depth` directories to the top.
pub(super) fn root(depth: usize) -> String {
    if depth == 0 { "./".to_owned() } else { "../".repeat(depth) }
}

/// Returns the name of a status: the standard's one in English.
fn name_of(status: StatusCode, language: &str) -> &'static str {
    let korean = match status.as_u16() {
        _ if language != "ko" => None,
        400 => Some("잘못된 요청"),
        401 => Some("토큰이 필요합니다"),
        403 => Some("허용되지 않습니다"),
        404 => Some("찾을 수 없습니다"),
        405 => Some("지원하지 않는 메서드"),
        409 => Some("충돌"),
        412 => Some("조건이 맞지 않습니다"),
        413 => Some("너무 큽니다"),
        421 => Some("이 서버의 이름이 아닙니다"),
        500 => Some("서버 오류"),
        503 => Some("서버가 바쁩니다"),
        507 => Some("저장 공간이 부족합니다"),
        _ => None,
    };
    korean.or_else(|| status.canonical_reason()).unwrap_or("Error")
}

/// Escapes text for elements and quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

const STYLE: &str = include_str!("page.css");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_style_and_nothing_that_runs() {
        let policy = policy(false);
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        let hash = policy.split("sha256-").nth(1).unwrap().split('\'').next().unwrap();
        assert_eq!(hash.len(), 44, "base64 of 32 bytes: {policy}");
        assert!(!STYLE.contains('<') && !policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn an_error_page_is_escaped_and_leads_back_to_the_files() {
        let text = "no such file: <b>\nhint: use \"a\"\n";
        let page = of_error("en", 2, StatusCode::NOT_FOUND, text);
        for part in [
            "<p class=\"code\">404</p>\n<h1>Not Found</h1>",
            "<p lang=\"en\">no such file: &lt;b&gt;</p>",
            "<p class=\"note\">Hint: <span lang=\"en\">use &quot;a&quot;</span></p>",
            "<a href=\"../../\">Back to the files</a>",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        let text = "a: no space\nhint: x\nb: no space\nhint: y\nc stored: 3 B\n";
        let page = of_error("en", 2, StatusCode::CONFLICT, text);
        assert!(page.contains(&format!("<pre lang=\"en\">{}</pre>", text.trim_end())), "{page}");
        assert!(!page.contains("Hint"), "{page}");
        for (status, name) in [(409, "충돌"), (412, "조건이 맞지 않습니다")] {
            let page = of_error("ko", 2, StatusCode::from_u16(status).unwrap(), "a");
            assert!(page.contains(&format!("<h1>{name}</h1>")), "{page}");
        }
        let text = "no such file";
        let page = of_error("ko", 2, StatusCode::NOT_FOUND, text);
        assert!(page.contains("<html lang=\"ko\">") && page.contains("파일 목록으로"), "{page}");
    }
}
