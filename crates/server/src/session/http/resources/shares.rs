//! `/.anyport/shares`: creates, lists and revokes shares, for clients with the right `share`
//! (docs/share.md).

use std::time::Instant;

use anyport_net::copy::Interest;
use anyport_proto::access::Rights;
use anyport_proto::http1::Framing;
use anyport_proto::transfer::file_name::FileName;
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use http::{Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::representation::etag;
use crate::access::Operation;
use crate::service::download::Located;
use crate::session::http::answer::{Answer, Asked, Length};
use crate::session::http::handler::{Event, Handler, Next, Opened, Request, refuse};
use crate::session::{Context, idle_reason};
use crate::share::{
    self, Kind, LONGEST_LIFETIME, Limits, NewShare, Share, ShareError, USUAL_LIFETIME,
};

pub(super) const fn methods(rights: Rights) -> &'static str {
    match rights.contains(Rights::SHARE) {
        true => "GET, HEAD, POST, DELETE, OPTIONS",
        false => "OPTIONS",
    }
}

/// Serves a request for the list of shares, or for one of them.
pub(super) fn open(request: &Request<'_>) -> Opened {
    opened(request).unwrap_or_else(Opened::Answer)
}

fn opened(request: &Request<'_>) -> Result<Opened, Answer> {
    let Request { context, head, framing, rest, asked } = *request;
    let right = context.grant.check_right(Operation::Share, None);
    right.map_err(|refusal| request.refuse(refusal.code.meaning().status, refusal))?;
    let wrong_method = |allowed: &str| {
        let reason = format!("{} is not allowed here; allowed: {allowed}", head.method);
        let refusal = Refusal::new(RefusalCode::NotSupported, reason);
        let answer = request.refuse(StatusCode::METHOD_NOT_ALLOWED, refusal);
        Err(answer.with(header::ALLOW, allowed))
    };
    match (&head.method, rest) {
        (&Method::GET | &Method::HEAD, "") => Ok(Opened::Answer(list(context))),
        (&Method::POST, "") => {
            if let Framing::Length(length) = framing
                && length > MOST_BYTES as u64
            {
                return Err(too_long(context, asked));
            }
            let (context, asked) = (context.clone(), asked.clone());
            let source = request.source();
            Ok(Opened::handler(Creation { context, asked, source, text: Vec::new() }))
        }
        (&Method::DELETE, name) if !name.is_empty() => Ok(Opened::Answer(revoke(request, name)?)),
        (_, "") => wrong_method("GET, HEAD, POST, OPTIONS"),
        _ => wrong_method("DELETE, OPTIONS"),
    }
}

fn list(context: &Context) -> Answer {
    let shares = context.shares.all(share::now());
    let shares = shares.iter().filter(|share| context.grant.manages(share));
    let shares: Vec<Value> = shares.map(|share| described(share)).collect();
    private(Answer::json(StatusCode::OK, json!({ "shares": shares }).to_string()))
}

fn revoke(request: &Request<'_>, name: &str) -> Result<Answer, Answer> {
    let Request { context, .. } = *request;
    let name = FileName::from_percent_encoded(name);
    let shares = context.shares.all(share::now());
    let found = name.ok().and_then(|name| {
        shares.iter().find(|share| share.name == name && context.grant.manages(share))
    });
    let Some(found) = found else {
        let refusal = Refusal::new(RefusalCode::NotFound, "there is no such share")
            .with_hint("GET /.anyport/shares lists those that you can revoke");
        return Err(request.refuse(StatusCode::NOT_FOUND, refusal));
    };
    context.shares.revoke(found).map_err(|error| {
        let refusal = refusal_of(&error);
        request.refuse(refusal.code.meaning().status, refusal)
    })?;
    Ok(private(Answer::head(StatusCode::NO_CONTENT, Length::None)))
}

/// A request that creates a share, while its content is received.
struct Creation {
    context: Context,
    asked: Asked,
    source: crate::service::files::Source,
    text: Vec<u8>,
}

/// The content of such a request.
struct Wanted {
    is_drop: bool,
    path: Option<FilePath>,
    name: Option<FileName>,
    lifetime: i64,
    limits: Limits,
}

/// Why a share was not created: the response and its status.
struct Failed(StatusCode, Refusal);

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.code.meaning().status, refusal)
    }
}

impl From<ShareError> for Failed {
    fn from(error: ShareError) -> Self {
        refusal_of(&error).into()
    }
}

impl Creation {
    fn finish(&self) -> Answer {
        match self.create() {
            Ok(answer) => private(answer),
            Err(Failed(status, refusal)) => refuse(&self.context, &self.asked, status, refusal),
        }
    }

    fn create(&self) -> Result<Answer, Failed> {
        let Self { context, source, .. } = self;
        let bad = |reason: String| {
            let refusal = Refusal::new(RefusalCode::BadRequest, reason);
            refusal.with_hint(r#"{"kind": "file", "path": "DIR/NAME", "expires": 604800}"#)
        };
        let json = serde_json::from_slice(&self.text).map_err(|error| bad(error.to_string()))?;
        let wanted = Wanted::parse(&json).map_err(bad)?;
        let Wanted { path, name, .. } = &wanted;
        let kind = if wanted.is_drop { Kind::Drop(wanted.limits) } else { self.file(path)? };
        let usual = match path {
            Some(path) if !wanted.is_drop => path.file_name(),
            _ => FileName::sanitize(DROP_BOX).map_err(|error| bad(error.to_string()))?,
        };
        let name = plain(name.clone().unwrap_or(usual));
        let now = share::now();
        let (maker, expires) = (context.grant.maker(), now.saturating_add(wanted.lifetime));
        let new = NewShare { kind: kind.clone(), maker, expires };
        let (share, id) = context.shares.create(new, &name, now, |name| -> Result<_, Failed> {
            if !wanted.is_drop {
                return Ok(path.clone());
            }
            let directory = match path {
                Some(above) => above.join(name),
                None => Ok(name.clone().into()),
            };
            let directory =
                directory.map_err(|error| Refusal::new(RefusalCode::BadName, error.to_string()))?;
            context.grant.check_share(&kind, &directory)?;
            let is_new = context.files.create_drop_box(source, &directory)?;
            Ok(is_new.then_some(directory))
        })?;
        let mut json = described(&share);
        json["url"] = context.config.base_path.public(&id.path()).into();
        let answer = Answer::json(StatusCode::CREATED, json!({ "share": json }).to_string());
        Ok(answer)
    }

    /// Returns what a link to a file is for: the file as it is now.
    fn file(&self, path: &Option<FilePath>) -> Result<Kind, Refusal> {
        let Self { context, source, .. } = self;
        let Some(path) = path else {
            let refusal = Refusal::new(RefusalCode::BadRequest, "path is missing");
            return Err(refusal.with_hint("a share of kind file needs the path of the file"));
        };
        let unknown = Kind::File { tag: String::new(), digest: None };
        context.grant.check_share(&unknown, path)?;
        match context.files.find(source.clone(), path.clone())? {
            Located::File(opened) => {
                let tag = etag(&opened.attributes);
                let digest = opened.digest_to_show().map(|digest| digest.to_string());
                Ok(Kind::File { tag, digest })
            }
            Located::Directory(path) => {
                let refusal = Refusal::new(RefusalCode::NotFound, format!("{path} is a directory"));
                Err(refusal.with_hint("share its files one by one, or send an archive of it"))
            }
        }
    }

    fn lost(&self, status: StatusCode, reason: impl Into<String>) -> Answer {
        let refusal = Refusal::new(RefusalCode::Interrupted, reason);
        Answer::refusal(refusal, self.asked.form).with_status(status)
    }
}

impl Wanted {
    /// Parses the content of a request; an error names the key.
    fn parse(json: &Value) -> Result<Self, String> {
        let json: &Map<String, Value> = json.as_object().ok_or("expected a JSON object")?;
        if let Some(unknown) = json.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("unknown key {unknown:?}; known: {}", KEYS.join(", ")));
        }
        let value = |key: &str| json.get(key).filter(|value| !value.is_null());
        let text = |key: &str| match value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(format!("{key} must be a string")),
        };
        let number = |key: &str, usual: u64, most: u64| match value(key).map(Value::as_u64) {
            None => Ok(usual),
            Some(Some(number)) if (1..=most).contains(&number) => Ok(number),
            Some(_) => Err(format!("{key} must be a number from 1 to {most}")),
        };
        let is_drop = match text("kind")? {
            Some("file") => false,
            Some("drop") => true,
            _ => return Err("kind must be file or drop".to_owned()),
        };
        let path = text("path")?.map(|path| path.trim_matches('/')).filter(|path| !path.is_empty());
        let path = path.map(|path| FilePath::of_peer(path, text("path_raw").ok().flatten()));
        let name = text("name")?.map(FileName::sanitize);
        let usual = Limits::default();
        let longest = LONGEST_LIFETIME.unsigned_abs();
        let lifetime = number("expires", USUAL_LIFETIME.unsigned_abs(), longest)?;
        let at_once = number("max_uploads", usual.at_once.into(), MOST_AT_ONCE)?;
        Ok(Self {
            is_drop,
            path: path.transpose().map_err(|error| error.to_string())?,
            name: name.transpose().map_err(|error| error.to_string())?,
            lifetime: i64::try_from(lifetime).unwrap_or(USUAL_LIFETIME),
            limits: Limits {
                bytes: number("max_bytes", usual.bytes, u64::MAX)?,
                files: number("max_files", usual.files, MOST_FILES)?,
                at_once: u32::try_from(at_once).unwrap_or(usual.at_once),
            },
        })
    }
}

impl Handler for Creation {
    fn interest(&self) -> Interest {
        Interest { may_block: true, ..Interest::input(self.context.config.timeouts.idle) }
    }

    fn handle(&mut self, event: Event<'_>, _: Instant, _: &mut Vec<u8>) -> Next {
        let answer = match event {
            Event::Content { piece, .. } if self.text.len() + piece.len() <= MOST_BYTES => {
                self.text.extend_from_slice(piece);
                return Next::Continue;
            }
            Event::Content { .. } => too_long(&self.context, &self.asked),
            Event::End => self.finish(),
            Event::Idle => {
                let reason = idle_reason(self.context.config.timeouts.idle);
                self.lost(StatusCode::REQUEST_TIMEOUT, reason)
            }
            Event::Incomplete(reason) => self.lost(StatusCode::BAD_REQUEST, reason),
            _ => return Next::Continue,
        };
        Next::Respond(answer)
    }
}

/// Describes a share, without its link.
fn described(share: &Share) -> Value {
    let mut json = json!({ "name": share.name.text(), "path": share.path.text() });
    if let Some(raw) = share.path.raw() {
        json["path_raw"] = raw.into();
    }
    json["expires"] = expiry(share).into();
    match &share.kind {
        Kind::File { digest, .. } => {
            json["kind"] = "file".into();
            json["digest"] = digest.clone().into();
        }
        Kind::Drop(Limits { bytes, files, at_once }) => {
            let (used_bytes, used_files) = share.used();
            let (unfinished_bytes, unfinished_files) = share.unfinished();
            json["kind"] = "drop".into();
            for (key, value) in [
                ("max_bytes", *bytes),
                ("max_files", *files),
                ("max_uploads", u64::from(*at_once)),
                ("used_bytes", used_bytes),
                ("used_files", used_files),
                ("unfinished_bytes", unfinished_bytes),
                ("unfinished_files", unfinished_files),
            ] {
                json[key] = value.into();
            }
        }
    }
    if let Some(maker) = &share.maker {
        json["user"] = (*maker.user).into();
    }
    json
}

/// Returns when a share ends (RFC 3339).
pub(super) fn expiry(share: &Share) -> Option<String> {
    Timestamp::from_second(share.expires).ok().map(|time| time.to_string())
}

/// Returns a name that fits a line of a list, and a command line without quotes.
fn plain(name: FileName) -> FileName {
    let fits = |c: char| c.is_alphanumeric() || "._-".contains(c);
    let chars = name.text().chars().map(|c| if fits(c) { c } else { '-' }).collect::<Vec<_>>();
    let text: String = chars.into_iter().take(LONGEST_NAME).collect();
    FileName::sanitize(&text).unwrap_or(name)
}

fn private(answer: Answer) -> Answer {
    answer.with(header::CACHE_CONTROL, "no-store")
}

fn refusal_of(error: &ShareError) -> Refusal {
    let (code, hint) = match error {
        ShareError::TooMany => (RefusalCode::NoSpace, "revoke some that are no longer needed"),
        ShareError::Frozen(_) => (RefusalCode::Storage, "the server's owner can change that"),
        ShareError::Busy => (RefusalCode::Busy, "ask that server, or stop it"),
        ShareError::NotSaved(_) => (RefusalCode::Storage, "try again later"),
    };
    Refusal::new(code, error.to_string()).with_hint(hint)
}

fn too_long(context: &Context, asked: &Asked) -> Answer {
    let reason = format!("the description of a share has more than {MOST_BYTES} bytes");
    let refusal = Refusal::new(RefusalCode::TooLarge, reason);
    refuse(context, asked, StatusCode::PAYLOAD_TOO_LARGE, refusal)
}

const KEYS: [&str; 8] =
    ["kind", "path", "path_raw", "name", "expires", "max_bytes", "max_files", "max_uploads"];

/// The name of a drop box unless its maker states another one.
const DROP_BOX: &str = "drop";

/// Maximum size of a request: a path of 1024 bytes that JSON escapes, twice.
const MOST_BYTES: usize = 16 * 1024;

/// Maximum characters of the name of a share.
const LONGEST_NAME: usize = 64;

/// Maximum number of files of a drop box: a claim of each unfinished one is in memory.
const MOST_FILES: u64 = 100_000;

/// Maximum number of concurrent uploads to a drop box: each holds a file open.
const MOST_AT_ONCE: u64 = 64;
