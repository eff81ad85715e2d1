//! Responses of upload resources, in both dialects.

use anyport_proto::http1::{BasePath, date};
use anyport_proto::resumable::ietf::{self, PROBLEM_JSON, Problem};
use anyport_proto::resumable::{Dialect, Operation, UPLOAD_LENGTH, UPLOAD_OFFSET, tus};
use anyport_proto::transfer::receipt::Receipt;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::StatusCode;
use http::header::{self, HeaderName};

use super::{Resumable, UPLOADS};
use crate::session::http::answer::{Answer, Length, SharePath, seconds};
use crate::session::http::handler::{Request, refuse};
use crate::session::http::resources::upload::{answer_receipt, location_of};

impl Resumable {
    pub(super) fn marked(&self, answer: Answer) -> Answer {
        marked(self.dialect, answer)
    }

    pub(super) fn location(&self) -> String {
        let share = self.asked.share.as_ref().map(SharePath::as_str).unwrap_or_default();
        format!("{}{share}/.anyport/{UPLOADS}{}", self.origin, self.id)
    }

    pub(super) fn lifetime(&self) -> u64 {
        self.context.files.keeps_uploads().as_secs()
    }

    /// Returns the limits of the upload, where the version has them.
    pub(super) fn limits(&self) -> Option<(HeaderName, String)> {
        let Dialect::Ietf(version) = self.dialect else { return None };
        version.limits(self.context.files.max_size(), Some(self.lifetime()))
    }

    /// Adds when the upload expires.
    pub(super) fn with_lifetime(&self, answer: Answer) -> Answer {
        let expires = || {
            let lifetime = i64::try_from(self.lifetime()).unwrap_or(i64::MAX);
            date::write(seconds().saturating_add(lifetime)).map(|date| (tus::EXPIRES, date))
        };
        with_all(answer, self.limits().or_else(expires))
    }

    /// Returns the answer to a request for the offset.
    pub(super) fn state(&self, offset: u64, size: Option<u64>, is_complete: bool) -> Answer {
        let answer = match self.dialect {
            Dialect::Tus => {
                let length = match size {
                    Some(size) => (UPLOAD_LENGTH, size.to_string()),
                    None => (tus::DEFER_LENGTH, "1".to_owned()),
                };
                let answer = Answer::head(StatusCode::OK, Length::Known(0));
                with_all(answer, [(UPLOAD_OFFSET, offset.to_string()), length])
            }
            Dialect::Ietf(version) => {
                let answer = Answer::head(StatusCode::NO_CONTENT, Length::None);
                let answer = with_all(answer, version.state(offset, is_complete));
                with_all(answer, version.size(size))
            }
        };
        // A completed upload is remembered for a shorter time.
        self.marked(if is_complete { answer } else { self.with_lifetime(answer) })
    }

    /// Returns the response to content.
    pub(super) fn accepted(&self, offset: u64, is_complete: bool) -> Answer {
        let no_content = || Answer::head(StatusCode::NO_CONTENT, Length::None);
        let empty = |status| Answer::head(status, Length::Known(0));
        let answer = match self.dialect {
            Dialect::Tus if self.creates => empty(StatusCode::CREATED),
            Dialect::Ietf(_) if self.creates => empty(StatusCode::CREATED),
            Dialect::Ietf(version) if version.appended == StatusCode::CREATED => {
                empty(StatusCode::CREATED)
            }
            Dialect::Tus | Dialect::Ietf(_) => no_content(),
        };
        let answer = match self.dialect {
            Dialect::Tus => answer.with(UPLOAD_OFFSET, offset.to_string()),
            Dialect::Ietf(version) => with_all(answer, version.state(offset, false)),
        };
        let answer =
            if self.creates { answer.with(header::LOCATION, self.location()) } else { answer };
        self.marked(if is_complete { answer } else { self.with_lifetime(answer) })
    }

    /// Returns the response to a request that completed the file.
    pub(super) fn completed(&self, receipt: Receipt) -> Answer {
        let (bytes, path) = (receipt.bytes, receipt.stored());
        let answer = match self.dialect {
            Dialect::Tus if matches!(self.operation, Operation::Offset) => {
                self.state(bytes, Some(bytes), true)
            }
            Dialect::Tus => self.accepted(bytes, true),
            Dialect::Ietf(version) => {
                let mut answer = answer_receipt(receipt, self.replaces, self.asked.form);
                if self.creates && version.keeps_location {
                    answer.head.fields.retain(|(name, _)| *name != header::LOCATION);
                    answer = answer.with(header::LOCATION, self.location());
                }
                self.marked(with_all(answer, version.state(bytes, true)))
            }
        };
        match path {
            Some(path) => answer.with(header::CONTENT_LOCATION, location_of(&path)),
            None => answer,
        }
    }

    pub(super) fn refuse(
        &self,
        status: StatusCode,
        code: RefusalCode,
        reason: impl Into<String>,
    ) -> Answer {
        let refusal = Refusal::new(code, reason);
        self.marked(refuse(&self.context, &self.asked, status, refusal))
    }

    /// Refuses the request for a reason of the files service that was not reported.
    pub(super) fn refuse_unreported(&self, refusal: &Refusal) -> Answer {
        let status = refusal.code.meaning().status;
        self.marked(refuse(&self.context, &self.asked, status, refusal.clone()))
    }

    pub(super) fn mismatch(&self, provided: u64, expected: u64, is_complete: bool) -> Answer {
        let reason = format!("the request appends at byte {provided}, the offset is {expected}");
        let answer = self.refuse(StatusCode::CONFLICT, RefusalCode::BadRequest, &reason);
        match self.dialect {
            Dialect::Ietf(version) => {
                let content = ietf::mismatching_offset(&reason, expected, provided);
                let answer = self.as_problem(answer, content);
                with_all(answer, version.state(expected, is_complete))
            }
            Dialect::Tus => answer.with(UPLOAD_OFFSET, expected.to_string()),
        }
    }

    pub(super) fn beyond(&self, size: u64) -> Answer {
        let reason = format!("the content goes beyond the {size} bytes of the upload");
        self.refuse(StatusCode::BAD_REQUEST, RefusalCode::SizeMismatch, reason)
    }

    pub(super) fn inconsistent(&self, reason: &str) -> Answer {
        self.problem(Problem::InconsistentLength, reason)
    }

    pub(super) fn inconsistent_or(&self, refusal: &Refusal) -> Answer {
        match refusal.code {
            RefusalCode::BadRequest => self.inconsistent(&refusal.message),
            _ => self.refuse_unreported(refusal),
        }
    }

    pub(super) fn problem(&self, kind: Problem, reason: &str) -> Answer {
        let answer = self.refuse(StatusCode::BAD_REQUEST, RefusalCode::SizeMismatch, reason);
        self.as_problem(answer, ietf::problem(kind, reason))
    }

    /// Returns a refusal as a problem (RFC 9457), where the version has these.
    pub(super) fn as_problem(&self, answer: Answer, content: String) -> Answer {
        match self.dialect {
            Dialect::Ietf(version) if version.has_problems => {
                let status = answer.head.status;
                self.marked(Answer::content(status, PROBLEM_JSON, content))
            }
            Dialect::Tus | Dialect::Ietf(_) => answer,
        }
    }

    pub(super) fn checksum_differs(&self) -> Answer {
        let status = match self.dialect {
            Dialect::Tus => StatusCode::from_u16(tus::CHECKSUM_MISMATCH),
            Dialect::Ietf(_) => Ok(StatusCode::UNPROCESSABLE_ENTITY),
        };
        let status = status.unwrap_or(StatusCode::BAD_REQUEST);
        let reason = "the content differs from its checksum, and was discarded";
        self.refuse(status, RefusalCode::DigestMismatch, reason)
    }
}

/// Returns the scheme and authority that the client used; empty if it named no host, or if a proxy
/// that is not trusted forwarded the request, as its client may use another scheme.
///
/// aiotus needs them: it appends a location that is a path to the path of the directory.
pub(super) fn origin(request: &Request<'_>) -> String {
    let Request { context, head, .. } = request;
    if let Some(origin) = head.forwarded_origin() {
        return origin;
    }
    let is_forwarded = FORWARDED.iter().any(|field| head.fields.contains_key(*field));
    match (head.host(), context.is_encrypted) {
        ("", _) => String::new(),
        _ if is_forwarded || context.config.base_path != BasePath::NONE => String::new(),
        (host, true) => format!("https://{host}"),
        (host, false) => format!("http://{host}"),
    }
}

/// Fields that proxies add. A client that forges one gets a path.
const FORWARDED: [&str; 5] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// Adds the fields that all responses of a dialect have.
pub(super) fn marked(dialect: Dialect, answer: Answer) -> Answer {
    let answer = answer.with(header::CACHE_CONTROL, "no-store");
    match dialect {
        Dialect::Tus => answer.with(tus::RESUMABLE, tus::VERSION),
        Dialect::Ietf(_) => answer,
    }
}

/// Adds fields to a response.
pub(super) fn with_all(
    answer: Answer,
    fields: impl IntoIterator<Item = (HeaderName, String)>,
) -> Answer {
    fields.into_iter().fold(answer, |answer, (name, value)| answer.with(name, value))
}
