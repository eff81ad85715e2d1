//! `/.anyport/session`: what a page needs to know, and how a person signs in to it.
//!
//! ```text
//!   GET     what the client may do, and the commands that reach the server
//!   POST    a token, as JSON of a script or as a form: begins a session (`crate::access`)
//!   DELETE  ends the session
//! ```

use std::time::{Duration, Instant};

use anyport_net::copy::Interest;
use anyport_proto::access::{Rights, Token, form_token};
use anyport_proto::http1::{Framing, RequestHead};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::offer::OnExists;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_proto::visible::escape_json;
use http::uri::{PathAndQuery, Uri};
use http::{Method, StatusCode, Version, header};
use serde_json::{Value, json};

use super::commands::{Address, Commands, is_direct};
use crate::access::{Denied, Grant, Means};
use crate::session::due::Due;
use crate::session::http::access;
use crate::session::http::answer::{Answer, Asked, Form, Length};
use crate::session::http::cookie;
use crate::session::http::handler::{Event, Handler, Next, Opened, Request, refuse};
use crate::session::{Context, idle_reason};

pub(super) fn open(request: &Request<'_>) -> Opened {
    let Request { context, head, asked, .. } = *request;
    if request.has_content() {
        return SignIn::begin(request).map_or_else(Opened::Answer, Opened::handler);
    }
    if head.method == Method::DELETE {
        let checked = access::check_own_page(context, head, asked);
        return Opened::Answer(checked.map_or_else(|answer| answer, |()| end(context, head)));
    }
    // A person came here by the form, and reads pages.
    if asked.form == Form::Html {
        return Opened::Answer(see_other("/"));
    }
    let is_signed_in = access::session_token(context, head, false).is_some();
    Opened::Answer(describe(context, head, &context.grant, is_signed_in))
}

/// Ends the session of a cookie.
fn end(context: &Context, head: &RequestHead) -> Answer {
    if let Some(id) = cookie::id(context, head) {
        context.access.end_session(id);
    }
    let answer = Answer::head(StatusCode::NO_CONTENT, Length::None);
    answer.with(header::SET_COOKIE, cookie::end(context, head))
}

/// Returns what a client with this grant can do, and how.
fn describe(context: &Context, head: &RequestHead, grant: &Grant, is_signed_in: bool) -> Answer {
    let (config, rights) = (&context.config, grant.rights());
    let words = rights.to_string();
    let words: Vec<&str> = words.split(',').filter(|_| !rights.is_empty()).collect();
    let withheld = config.startup.withheld;
    let mode = match (withheld.contains(Rights::WRITE), withheld.contains(Rights::READ)) {
        (true, _) => "read-only",
        (_, true) => "upload-only",
        _ => "open",
    };
    // Behind a proxy its address and its certificate are those that matter.
    let tls = context.tls().filter(|_| is_direct(context) && context.listener.allowed.tls);
    let protocol = if head.version == Version::HTTP_2 { "h2" } else { "http/1.1" };
    let json = json!({
        "token_required": config.tokens.is_some(),
        "user": grant.user().map(|user| &**user),
        "rights": words,
        "scope": grant.scope().map(FilePath::text),
        "signed_in": is_signed_in,
        "encrypted": context.is_encrypted,
        "protocol": protocol,
        "tls_here": tls.is_some(),
        "fingerprint": tls.map(|tls| tls.fingerprint().to_string()),
        "max_size": Some(config.max_size).filter(|size| *size != u64::MAX),
        // The page states size and time of each file, so the default is an error.
        "renames": config.on_exists == Some(OnExists::Rename) || !grant.may_read(),
        "room": rights.contains(Rights::TALK),
        "address": Address::of(context, head).filled("http://{host}/"),
        "commands": Commands::of(context, head, grant.scope()).for_rights(rights),
        "mode": mode,
        "version": env!("CARGO_PKG_VERSION"),
    });
    // The host comes from the client.
    let json = escape_json(&json.to_string()).into_owned();
    Answer::json(StatusCode::OK, json).with(header::CACHE_CONTROL, "no-store")
}

/// Content with a token, which is received.
struct SignIn {
    context: Context,
    head: RequestHead,
    asked: Asked,
    is_form: bool,
    content: Vec<u8>,
    due: Due,
    idle: Duration,
}

impl SignIn {
    fn begin(request: &Request<'_>) -> Result<Self, Answer> {
        let Request { context, head, framing, asked, .. } = *request;
        // Otherwise a page of another origin could sign a person in with its own token.
        access::check_own_page(context, head, asked)?;
        let media = head.fields.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
        let media = media.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let is_form = media.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        if !is_form && !media.eq_ignore_ascii_case("application/json") {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(request.refuse(status, Refusal::new(RefusalCode::NotSupported, EXPECTED)));
        }
        // A script reads JSON whatever it accepts.
        let form = if is_form { asked.form } else { Form::Json };
        let (context, asked) = (context.clone(), Asked { form, ..asked.clone() });
        if matches!(framing, Framing::Length(length) if length > MAX_SIGN_IN as u64) {
            return Err(refuse(&context, &asked, StatusCode::PAYLOAD_TOO_LARGE, too_long()));
        }
        let timeouts = context.config.timeouts;
        let mut due = Due::new(timeouts.message);
        due.begin(Instant::now());
        let (content, head, idle) = (Vec::new(), head.clone(), timeouts.idle);
        Ok(Self { context, head, asked, is_form, content, due, idle })
    }

    /// Begins a session, and ends the one before it.
    fn finish(&self) -> Answer {
        let Self { context, head, asked, .. } = self;
        let Some(entered) = self.entered() else {
            let refusal = Refusal::new(RefusalCode::BadRequest, EXPECTED);
            return refuse(context, asked, StatusCode::BAD_REQUEST, refusal);
        };
        let token = Token::parse(entered.trim()).ok();
        let grant = match context.admit(asked.protocol.as_str(), token.as_ref()) {
            Ok(grant) => grant,
            Err(denied) => {
                // A text that is no token is a wrong one.
                let denied = if denied == Denied::Missing { Denied::Wrong } else { denied };
                return access::answer(context, head, denied, Means::Http, asked);
            }
        };
        if let Some(id) = cookie::id(context, head) {
            context.access.end_session(id);
        }
        let token = token.filter(|_| grant.user().is_some());
        let answer = match self.is_form {
            true => see_other(&self.back()),
            false => describe(context, head, &grant, token.is_some()),
        };
        match token {
            Some(token) => {
                let id = context.access.begin_session(&token);
                answer.with(header::SET_COOKIE, cookie::begin(context, head, &id))
            }
            None => answer,
        }
    }

    /// Returns the text that was entered; `None` if the content is malformed.
    fn entered(&self) -> Option<String> {
        if self.is_form {
            return form_token(std::str::from_utf8(&self.content).ok()?);
        }
        let value: Value = serde_json::from_slice(&self.content).ok()?;
        value.get("token")?.as_str().map(str::to_owned)
    }

    /// Returns the path of the page with the form, which is where a person wanted to go; `/` if it
    /// is unknown. Its browser knows it under the path of a proxy.
    fn back(&self) -> String {
        let referrer = self.head.fields.get(header::REFERER).and_then(|url| url.to_str().ok());
        let referrer = referrer.and_then(|url| url.parse::<Uri>().ok());
        let base = self.context.config.base_path.as_str();
        let path = referrer.as_ref().and_then(Uri::path_and_query).map(PathAndQuery::as_str);
        let path = path.and_then(|path| path.strip_prefix(base)).unwrap_or_default();
        // Two slashes begin the name of another host, and browsers read a backslash as one.
        let is_ours = path.starts_with('/') && !path[1..].starts_with(['/', '\\']);
        let is_page = is_ours && !path.starts_with("/.anyport/");
        if is_page { path.to_owned() } else { "/".to_owned() }
    }

    fn lost(&self, status: StatusCode, reason: impl Into<String>) -> Next {
        let refusal = Refusal::new(RefusalCode::Interrupted, reason);
        Next::Respond(Answer::refusal(refusal, self.asked.form).with_status(status))
    }
}

impl Handler for SignIn {
    fn interest(&self) -> Interest {
        Interest::input(self.due.idle_timeout(self.idle))
    }

    fn handle(&mut self, event: Event<'_>, at: Instant, _: &mut Vec<u8>) -> Next {
        let late = || self.due.reason("the token");
        match event {
            Event::Content { .. } | Event::End if self.due.is_late(at) => {
                self.lost(StatusCode::REQUEST_TIMEOUT, late())
            }
            Event::Content { piece, .. } => {
                if self.content.len() + piece.len() > MAX_SIGN_IN {
                    let status = StatusCode::PAYLOAD_TOO_LARGE;
                    return Next::Respond(refuse(&self.context, &self.asked, status, too_long()));
                }
                self.content.extend_from_slice(piece);
                Next::Continue
            }
            Event::End => Next::Respond(self.finish()),
            Event::Idle => {
                let is_late = self.due.is_late_when_idle(at);
                let reason = if is_late { late() } else { idle_reason(self.idle) };
                self.lost(StatusCode::REQUEST_TIMEOUT, reason)
            }
            Event::Incomplete(reason) => self.lost(StatusCode::BAD_REQUEST, reason),
            _ => Next::Continue,
        }
    }
}

/// Returns a redirect to a page, which a browser requests with GET.
fn see_other(path: &str) -> Answer {
    let answer = Answer::text(StatusCode::SEE_OTHER, "see the page\n");
    answer.with(header::LOCATION, path).with(header::CACHE_CONTROL, "no-store")
}

fn too_long() -> Refusal {
    Refusal::new(RefusalCode::TooLarge, format!("more than {MAX_SIGN_IN} bytes for a token"))
}

const EXPECTED: &str = r#"expected {"token":"TOKEN"} as JSON, or a form with the field token"#;

/// Maximum content with a token: the longest one with each character encoded as six bytes, and
/// more than the syntax around it.
const MAX_SIGN_IN: usize = 4096;
