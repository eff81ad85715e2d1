//! Pages for browsers: their frame, their style, their words in each language, and error pages.
//!
//! Links in pages are relative, so they lead to the right place behind any proxy that forwards only
//! a subtree.

use anyport_page::VERSION;
use anyport_proto::access::host_of;
use anyport_proto::http1::{BasePath, RequestHead, language};
use anyport_proto::visible::make_lines_visible;
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
    pub(super) download: &'static str,
    pub(super) send: &'static str,
    pub(super) thanks: &'static str,
    pub(super) until: &'static str,
    hint: &'static str,
    token: &'static str,
    token_required: &'static str,
    needs_token: &'static str,
    wrong_token: &'static str,
    readable: &'static str,
    token_name: &'static str,
    sign_in: &'static str,
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
    download: "Download",
    send: "Send files",
    thanks: "Thank you, that is all.",
    until: "Available until",
    hint: "Hint",
    token: "Reload the page and enter the token as the password. The user name may stay empty.",
    token_required: "Token required",
    needs_token: "This server needs a token. Its owner can give you one.",
    wrong_token: "This token is not valid.",
    readable: "This connection is not encrypted: others on the network can read the token.",
    token_name: "Token",
    sign_in: "Continue",
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
    download: "내려받기",
    send: "파일 보내기",
    thanks: "고맙습니다. 모두 받았습니다.",
    until: "사용 기한",
    hint: "도움말",
    token: "페이지를 새로 고치고 암호에 토큰을 입력하세요. 사용자 이름은 비워 두어도 됩니다.",
    token_required: "토큰이 필요합니다",
    needs_token: "이 서버의 토큰을 입력하세요. 토큰은 서버 관리자에게 받을 수 있습니다.",
    wrong_token: "올바르지 않은 토큰입니다.",
    readable: "암호화되지 않은 연결이라 같은 네트워크의 다른 사람이 토큰을 볼 수 있습니다.",
    token_name: "토큰",
    sign_in: "계속",
    back: "파일 목록으로",
    again: "다시 시도",
};

/// The end of a page.
pub(super) const END: &str = "</main></body></html>\n";

/// The properties of a request that a page for its client depends on.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The language, one of [`LANGUAGES`].
    pub(super) language: &'static str,
    /// Number of directories in the path of the request.
    pub(super) depth: usize,
    /// The path is that of a directory.
    pub(super) is_directory: bool,
    /// The assets as a source of `Content-Security-Policy`; `None` if the request names no host
    /// that can be one. The page is then without them.
    pub(super) source: Option<String>,
    /// It is for the holder of a link, who has no way to the files.
    pub(super) is_of_share: bool,
}

/// What a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It becomes the page that a script shows.
    Page,
    /// It is only read.
    Document,
    /// It becomes the page of a drop box, which has nothing but uploads.
    DropBox,
}

impl Frame {
    /// The frame of a request that could not be parsed.
    pub(super) const DEFAULT: Self = Self {
        language: LANGUAGES[0],
        depth: 0,
        is_directory: false,
        source: None,
        is_of_share: false,
    };

    pub(super) fn of(head: &RequestHead, base_path: &BasePath) -> Self {
        Self {
            language: language::preferred(head, &LANGUAGES),
            depth: head.path().matches('/').count().saturating_sub(1),
            is_directory: head.path().ends_with('/'),
            source: source(head.host(), base_path),
            is_of_share: head.path().starts_with(SHARES),
        }
    }

    /// Returns whether the request names a valid host.
    pub(super) fn has_host(&self) -> bool {
        self.source.is_some()
    }

    /// Returns the beginning of a page, up to its content. Its icon is empty: browsers request
    /// `/favicon.ico` otherwise, and each visit would be refused once.
    pub(super) fn begin(&self, title: &str, purpose: Purpose) -> String {
        let (language, title) = (self.language, escaped(title));
        let mut text = format!(
            "<!DOCTYPE html>\n<html lang=\"{language}\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <link rel=\"icon\" href=\"data:,\"><title>{title}</title>"
        );
        if self.is_of_share {
            text += "<meta name=\"robots\" content=\"noindex\">";
        }
        if self.source.is_some() {
            let assets = format!("{}{}{}", root(self.depth), &ASSETS[1..], VERSION);
            text += &format!("<link rel=\"stylesheet\" href=\"{assets}/page.css\">");
            if purpose != Purpose::Document {
                text += &format!("<script type=\"module\" src=\"{assets}/app.js\"></script>");
            }
        }
        let data = if purpose == Purpose::DropBox { " data-drop" } else { "" };
        text + &format!("</head>\n<body><main{data}>\n")
    }

    /// Returns the fields of a page.
    pub(super) fn fields(&self) -> [(HeaderName, String); 5] {
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            (header::CONTENT_LANGUAGE, self.language.to_owned()),
            (header::VARY, "Accept, Accept-Language, User-Agent".to_owned()),
            (header::CONTENT_SECURITY_POLICY, self.policy()),
            // Without a referrer browsers send forms with the origin `null`.
            (header::REFERRER_POLICY, "same-origin".to_owned()),
        ]
    }

    /// Returns the policy of pages and of their assets, as a worker has the one of its script:
    /// scripts and styles are assets, and nothing of another host is loaded. Names are escaped, so
    /// it is a second defense.
    pub(super) fn policy(&self) -> String {
        let assets = self.source.as_ref().map_or_else(String::new, |source| {
            format!(
                "script-src {source} 'wasm-unsafe-eval'; style-src {source}; \
                 worker-src {source}; connect-src 'self'; "
            )
        });
        format!(
            "default-src 'none'; {assets}img-src 'self' data:; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
             trusted-types anyport"
        )
    }
}

/// Returns the assets as a source of a policy, for a client that used `authority`. A stored file is
/// of the same origin, so the source names their path; without a scheme, it fits behind a proxy
/// that ends TLS.
fn source(authority: &str, base_path: &BasePath) -> Option<String> {
    // An empty port is that of the scheme (RFC 3986 §3.2.3).
    let authority = authority.strip_suffix(':').unwrap_or(authority);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match host_of(authority) {
        _ if host.is_empty() => None,
        Some(Err(_)) => None,
        // A policy cannot name an IPv6 address, nor a label with an underscore (CSP3 §2.3.1).
        _ if !host.split('.').all(is_label) => Some("'self'".to_owned()),
        _ => Some(format!("{authority}{}", base_path.public(ASSETS))),
    }
}

/// The path that the links of shares begin with.
pub(super) const SHARES: &str = "/.anyport/s/";

/// The path of the assets.
pub(super) const ASSETS: &str = "/.anyport/page/";

/// Returns the page for an error, whose `text` may have a line that begins with `hint: `.
pub(super) fn of_error(frame: &Frame, status: StatusCode, text: &str) -> String {
    let language = frame.language;
    let depth = if frame.is_of_share { 0 } else { frame.depth };
    let words = words(language);
    let (reason, hint) = text.split_once("\nhint: ").unwrap_or((text, ""));
    // Results of several files, each perhaps with a hint, are lines.
    let is_list = hint.trim_end().contains('\n') || reason.trim_end().contains('\n');
    let (reason, hint) = if is_list { (text, "") } else { (reason, hint) };
    let element = if is_list { "pre" } else { "p" };
    let (code, name) = (status.as_str(), name_of(status, language));
    // The script shows a directory that does not exist as one, so a person stays in the page.
    let purpose = match status {
        StatusCode::NOT_FOUND if frame.is_directory && !frame.is_of_share => Purpose::Page,
        _ => Purpose::Document,
    };
    let mut page = frame.begin(&format!("{code} {name}"), purpose);
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

/// Returns the page that asks for a token, also if the entered one `is_wrong`. `is_readable`:
/// others on the network can read what is entered.
pub(super) fn of_sign_in(frame: &Frame, is_wrong: bool, is_readable: bool) -> String {
    let words = words(frame.language);
    let title = words.token_required;
    let note = |text: &str| format!("<p class=\"note\">{text}</p>\n");
    let mut page = frame.begin(title, Purpose::Page);
    page.push_str(&format!("<h1>{title}</h1>\n"));
    if is_readable {
        page.push_str(&note(words.readable));
    }
    let sentence = if is_wrong { words.wrong_token } else { words.needs_token };
    page.push_str(&format!(
        "<p>{sentence}</p>\n<form method=\"post\" action=\"{}.anyport/session\">\
         <label for=\"token\">{}</label><input id=\"token\" name=\"token\" type=\"password\" \
         autocomplete=\"current-password\" required autofocus><button>{}</button></form>\n",
        root(frame.depth),
        words.token_name,
        words.sign_in
    ));
    page + END
}

/// Returns the page for a form whose files a drop box has stored, as `results` say.
pub(super) fn of_thanks(frame: &Frame, results: &str) -> String {
    let words = words(frame.language);
    let (thanks, results) = (words.thanks, escaped(&make_lines_visible(results)));
    let begin = frame.begin(thanks, Purpose::Document);
    let link = format!("<p><a href=\"./\">{}</a></p>\n", words.send);
    format!("{begin}<h1>{thanks}</h1>\n<pre lang=\"en\">{results}</pre>\n{link}{END}")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(language: &'static str, depth: usize) -> Frame {
        Frame { language, depth, source: source("h:1", &BasePath::NONE), ..Frame::DEFAULT }
    }

    #[test]
    fn a_policy_names_the_assets_and_no_stored_file() {
        let base = "/share".parse().unwrap();
        for (authority, base, source) in [
            ("files.lan:8331", &BasePath::NONE, "files.lan:8331/.anyport/page/"),
            ("192.0.2.1", &base, "192.0.2.1/share/.anyport/page/"),
            ("my_nas:8331", &BasePath::NONE, "'self'"),
            ("[::1]:8331", &BasePath::NONE, "'self'"),
        ] {
            let policy =
                Frame { source: super::source(authority, base), ..frame("en", 0) }.policy();
            let directives = format!(
                "default-src 'none'; script-src {source} 'wasm-unsafe-eval'; style-src {source}; \
                 worker-src {source}; connect-src 'self'; "
            );
            assert!(policy.starts_with(&directives), "{policy}");
        }
    }

    /// A policy is a list with semicolons, commas and spaces, so none of these may come from a
    /// request.
    #[test]
    fn a_host_that_is_none_gets_a_page_without_a_script() {
        for authority in
            ["", ":1", "a b", "h;script-src *", "h,x", "*", "*.h", "h:x", "'self'", "h/"]
        {
            let frame = Frame { source: source(authority, &BasePath::NONE), ..frame("en", 0) };
            let policy = frame.policy();
            assert!(policy.starts_with("default-src 'none'; img-src "), "{authority}: {policy}");
            let page = frame.begin("t", Purpose::Page);
            assert!(!page.contains("<script") && !page.contains("stylesheet"), "{page}");
        }
    }

    #[test]
    fn an_error_page_is_escaped_and_leads_back_to_the_files() {
        let text = "no such file: <b>\nhint: use \"a\"\n";
        let page = of_error(&frame("en", 2), StatusCode::NOT_FOUND, text);
        for part in [
            "<p class=\"code\">404</p>\n<h1>Not Found</h1>",
            "<p lang=\"en\">no such file: &lt;b&gt;</p>",
            "<p class=\"note\">Hint: <span lang=\"en\">use &quot;a&quot;</span></p>",
            "<a href=\"../../\">Back to the files</a>",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        let text = "a: no space\nhint: x\nb: no space\nhint: y\nc stored: 3 B\n";
        let page = of_error(&frame("en", 2), StatusCode::CONFLICT, text);
        assert!(page.contains(&format!("<pre lang=\"en\">{}</pre>", text.trim_end())), "{page}");
        assert!(!page.contains("Hint"), "{page}");
        for (status, name) in [(409, "충돌"), (412, "조건이 맞지 않습니다")] {
            let page = of_error(&frame("ko", 2), StatusCode::from_u16(status).unwrap(), "a");
            assert!(page.contains(&format!("<h1>{name}</h1>")), "{page}");
        }
        let text = "no such file";
        let page = of_error(&frame("ko", 2), StatusCode::NOT_FOUND, text);
        assert!(page.contains("<html lang=\"ko\">") && page.contains("파일 목록으로"), "{page}");
    }
}
