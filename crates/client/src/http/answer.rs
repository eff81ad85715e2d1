//! Responses of servers: receipts and refusals of anyport servers in JSON, and texts of others.

use std::time::Duration;

use anyport_proto::setting::ON_EXISTS;
use anyport_proto::transfer::messages::FileReply;
use anyport_proto::transfer::receipt::Receipt;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::error::{LIST_HINT, LONGEST_ANSWER, SHOWN, token_hint};

/// A response with its content, up to [`LONGEST_ANSWER`] bytes.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    text: String,
    /// Whether all content was read, so that the connection can be reused.
    pub(crate) is_whole: bool,
}

/// The outcome of a file.
pub(crate) enum UploadResult {
    /// It is stored. Only anyport servers send a receipt.
    Stored(Option<Box<Receipt>>),
    Refused(Refusal),
    /// The server redirects the request.
    Redirected {
        location: String,
    },
    /// A response that no anyport server sends.
    Unclear(String),
    /// The response about the outcome is incomplete.
    Cut,
}

impl Answer {
    /// Reads the content, within `timeout` and up to a limit, which is enough for an explanation.
    ///
    /// Cancel safe: no.
    pub(crate) async fn read(response: Response<Incoming>, wait_limit: Duration) -> Self {
        let (parts, mut content) = response.into_parts();
        let mut bytes = Vec::new();
        let read = async {
            while bytes.len() <= LONGEST_ANSWER {
                match content.frame().await {
                    None => return true,
                    Some(Err(_)) => return false,
                    Some(Ok(frame)) => {
                        if let Some(data) = frame.data_ref() {
                            bytes.extend_from_slice(data);
                        }
                    }
                }
            }
            false
        };
        let is_whole = tokio::time::timeout(wait_limit, read).await.unwrap_or(false);
        bytes.truncate(LONGEST_ANSWER);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Self { status: parts.status, fields: parts.headers, text, is_whole }
    }

    /// Returns the outcome of an uploaded file.
    pub(crate) fn upload_result(&self) -> UploadResult {
        let reply = self.is_json().then(|| FileReply::from_json(&self.text));
        match (self.status, reply) {
            (status, Some(Ok(FileReply::Receipt(receipt)))) if status.is_success() => {
                UploadResult::Stored(Some(Box::new(receipt)))
            }
            (status, Some(_)) if status.is_success() && !self.is_whole => UploadResult::Cut,
            // JSON without a valid receipt is that of a third-party server.
            (status, Some(_)) if status.is_success() && self.is_anyport() => {
                UploadResult::Unclear(self.first_line())
            }
            (status, _) if status.is_success() => UploadResult::Stored(None),
            (status, _) if status.is_redirection() => {
                UploadResult::Redirected { location: self.location() }
            }
            _ => UploadResult::Refused(self.refusal()),
        }
    }

    /// Returns the target of a redirect, shortened, in visible ASCII.
    pub(crate) fn location(&self) -> String {
        let location = self.fields.get(header::LOCATION).and_then(|value| value.to_str().ok());
        location.unwrap_or("(none)").chars().take(LONGEST_PLACE).collect()
    }

    /// Returns why a request was refused, in the words of the server.
    pub(crate) fn refusal(&self) -> Refusal {
        if self.is_json()
            && let Ok(FileReply::Error(mut refusal)) = FileReply::from_json(&self.text)
        {
            // HTTP requests cannot carry --on-exists, so the hint names a transport that can.
            let rename = format!("with {ON_EXISTS} rename");
            let replaced = |hint: String| hint.replace(&rename, &format!("over tcp:// {rename}"));
            refusal.hint = refusal.hint.map(replaced);
            return refusal;
        }
        let said = self.first_line();
        let colon = if said.is_empty() { "" } else { ": " };
        let message = format!("{}{colon}{said}", self.status);
        let refusal = Refusal::new(RefusalCode::of_status(self.status), message);
        let is_missing = said.starts_with("no such file or directory: ");
        match hint_for(self.status).or_else(|| is_missing.then(|| LIST_HINT.to_owned())) {
            Some(hint) => refusal.with_hint(hint),
            None => refusal,
        }
    }

    /// Returns whether the content begins like that of an anyport server about a file.
    fn is_anyport(&self) -> bool {
        ["{\"receipt\"", "{\"error\""].iter().any(|ours| self.text.starts_with(ours))
    }

    fn is_json(&self) -> bool {
        let media = self.fields.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
        let media = media.and_then(|media| media.split(';').next());
        media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
    }

    /// Returns the first line of text, shortened. A page has no useful line.
    fn first_line(&self) -> String {
        let text = self.text.trim_start();
        if text.starts_with('<') {
            return String::new();
        }
        let line = text.lines().next().unwrap_or_default();
        line.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
    }
}

fn hint_for(status: StatusCode) -> Option<String> {
    match status {
        StatusCode::UNAUTHORIZED => Some(token_hint()),
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            Some("check the URL: the server does not support this request there".to_owned())
        }
        _ => None,
    }
}

/// Maximum number of characters of a location in an error: more than a path may have.
const LONGEST_PLACE: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, media: &'static str, text: &str) -> Answer {
        let mut fields = HeaderMap::new();
        fields.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media));
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, fields, text: text.to_owned(), is_whole: true }
    }

    fn refusal(status: u16, media: &'static str, text: &str) -> Refusal {
        match answer(status, media, text).upload_result() {
            UploadResult::Refused(refusal) => refusal,
            _ => panic!("{status} is no refusal"),
        }
    }

    const JSON: &str = "application/json";

    #[test]
    fn refusals_of_anyport_servers_keep_their_words() {
        let said = r#"{"error":{"code":"exists","message":"a exists","hint":"rename"}}"#;
        let reported = refusal(409, JSON, said);
        assert_eq!(reported, Refusal::new(RefusalCode::Exists, "a exists").with_hint("rename"));
    }

    #[test]
    fn a_status_is_an_explanation_if_there_is_no_other() {
        for (status, media, text, code, message) in [
            (401, "text/html", "<html>x", RefusalCode::Unauthorized, "401 Unauthorized"),
            (
                413,
                "text/plain",
                "too\x1b big\nx",
                RefusalCode::TooLarge,
                "413 Payload Too Large: too big",
            ),
            (
                507,
                JSON,
                "{\"detail\":1}",
                RefusalCode::NoSpace,
                "507 Insufficient Storage: {\"detail\":1}",
            ),
            (503, "", "", RefusalCode::Busy, "503 Service Unavailable"),
            (500, "", "", RefusalCode::Storage, "500 Internal Server Error"),
            (422, "", "", RefusalCode::BadRequest, "422 Unprocessable Entity"),
        ] {
            let reported = refusal(status, media, text);
            assert_eq!((reported.code, reported.message.as_str()), (code, message));
        }
        assert!(refusal(401, "", "").hint.unwrap().contains("token-file"));
        assert_eq!(
            refusal(400, "", &"x".repeat(5000)).message.len(),
            "400 Bad Request: ".len() + SHOWN
        );
    }

    #[test]
    fn only_anyport_servers_send_a_receipt() {
        for (status, media, text) in
            [(201, "", ""), (204, "", ""), (200, JSON, "{\"ok\":true}"), (201, "text/html", "<a>")]
        {
            assert!(
                matches!(answer(status, media, text).upload_result(), UploadResult::Stored(None)),
                "{text}"
            );
        }
        let broken = answer(201, JSON, "{\"receipt\":{}}").upload_result();
        assert!(matches!(broken, UploadResult::Unclear(said) if said == "{\"receipt\":{}}"));
    }

    #[test]
    fn a_redirect_is_an_error_that_names_its_target() {
        let mut answer = answer(308, "text/plain", "");
        let target = |answer: &Answer| match answer.upload_result() {
            UploadResult::Redirected { location } => location,
            _ => panic!("no redirect"),
        };
        assert_eq!(target(&answer), "(none)");
        answer.fields.insert(header::LOCATION, header::HeaderValue::from_static("https://h/x"));
        assert_eq!(target(&answer), "https://h/x");
    }
}
