//! `DELETE` (RFC 9110 §9.3.5), `MOVE` and `MKCOL` (RFC 4918 §9.9, §9.3) of stored files and
//! directories.

use anyport_proto::http1::conditional::{self, Evaluation, Validators};
use anyport_proto::http1::field_names::{DESTINATION, OVERWRITE};
use anyport_proto::transfer::file_path::FilePath;
use anyport_proto::transfer::refusal::{Refusal, RefusalCode};
use anyport_store::Attributes;
use http::StatusCode;
use http::header;
use http::uri::{Scheme, Uri};

use super::find;
use super::representation::{PRECONDITION_FAILED, etag, methods};
use super::upload::location_of;
use crate::service::files::{NotChanged, Obstacle};
use crate::session::http::answer::{Answer, Length};
use crate::session::http::handler::{Opened, Request};

/// Serves a request with one of these methods; `None` for any other.
pub(super) fn open(request: &Request<'_>) -> Option<Opened> {
    let answer = match request.head.method.as_str() {
        "DELETE" => delete(request),
        "MOVE" => rename(request),
        "MKCOL" => create_directory(request),
        _ => return None,
    };
    Some(Opened::Answer(answer.unwrap_or_else(|answer| answer)))
}

fn delete(request: &Request<'_>) -> Result<Answer, Answer> {
    let (path, is_directory) = path_of(request)?;
    let expected = check_conditions(request, &path)?;
    let (files, source) = (&request.context.files, request.source());
    let deleted = files.delete(&source, &path, is_directory, expected.as_ref());
    deleted.map_err(|error| refuse(request, error))?;
    Ok(Answer::head(StatusCode::NO_CONTENT, Length::None))
}

fn rename(request: &Request<'_>) -> Result<Answer, Answer> {
    let (from, from_directory) = path_of(request)?;
    let (to, to_directory) = destination(request)?;
    let overwrite = request.head.fields.get(OVERWRITE).map(|value| value.as_bytes());
    let replaces = match overwrite {
        // RFC 4918 §10.6 replaces by default; here nothing is ever replaced unasked.
        None | Some(b"F") => false,
        Some(b"T") => true,
        Some(_) => {
            let reason = "Overwrite is neither T nor F (RFC 4918 §10.6)";
            return Err(request.refuse(StatusCode::BAD_REQUEST, bad(reason)));
        }
    };
    let expected = check_conditions(request, &from)?;
    let files = &request.context.files;
    let is_directory = from_directory || to_directory;
    let renamed = files.rename(&request.source(), &from, &to, is_directory, replaces, expected);
    if renamed.map_err(|error| refuse(request, error))? {
        return Ok(Answer::head(StatusCode::NO_CONTENT, Length::None));
    }
    let answer = Answer::text(StatusCode::CREATED, format!("{from} renamed to {to}\n"));
    Ok(answer.with(header::LOCATION, location_of(&to)))
}

fn create_directory(request: &Request<'_>) -> Result<Answer, Answer> {
    let (path, _) = path_of(request)?;
    let created = request.context.files.create_directory(&request.source(), &path);
    created.map_err(|error| refuse(request, error))?;
    let answer = Answer::text(StatusCode::CREATED, format!("{path}/ created\n"));
    Ok(answer.with(header::LOCATION, format!("{}/", location_of(&path))))
}

/// Returns the path of a request, and whether it ends in a slash.
fn path_of(request: &Request<'_>) -> Result<(FilePath, bool), Answer> {
    let (name, is_directory) = match request.rest.strip_suffix('/') {
        Some(name) => (name, true),
        None => (request.rest, false),
    };
    if request.rest.is_empty() {
        let reason = "the served directory itself cannot be changed";
        let refusal = Refusal::new(RefusalCode::NotSupported, reason);
        return Err(request.refuse(StatusCode::FORBIDDEN, refusal));
    }
    let path = FilePath::parse_percent_encoded(name).map_err(|error| {
        let refusal = Refusal::new(RefusalCode::BadName, error.to_string());
        request.refuse(StatusCode::BAD_REQUEST, refusal)
    })?;
    Ok((path, is_directory))
}

/// Returns the path of the resource that `Destination` names (RFC 4918 §10.3), and whether it ends
/// in a slash.
fn destination(request: &Request<'_>) -> Result<(FilePath, bool), Answer> {
    let fields = &request.head.fields;
    let refuse =
        |status, code, reason: String| Err(request.refuse(status, Refusal::new(code, reason)));
    let malformed =
        |reason: &str| refuse(StatusCode::BAD_REQUEST, RefusalCode::BadRequest, reason.into());
    let mut values = fields.get_all(DESTINATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return malformed("MOVE needs one Destination (RFC 4918 §10.3)");
    };
    let uri: Option<Uri> = value.to_str().ok().and_then(|value| value.parse().ok());
    let Some(uri) = uri.filter(|uri| uri.query().is_none() && uri.path().starts_with('/')) else {
        return malformed("Destination is no URL or path without a query (RFC 4918 §10.3)");
    };
    if let (Some(authority), Some(scheme)) = (uri.authority(), uri.scheme()) {
        let port = if *scheme == Scheme::HTTPS { ":443" } else { ":80" };
        let plain = |host: &str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
        if plain(authority.as_str()) != plain(request.head.host()) {
            let reason = format!("Destination is on another server, {authority}");
            return refuse(StatusCode::BAD_GATEWAY, RefusalCode::NotSupported, reason);
        }
    }
    // As in a request, the prefix of a proxy may be there or not.
    let config = &request.context.config;
    let below = uri.path().strip_prefix(config.base_path.as_str());
    let path = below.filter(|path| path.starts_with('/')).unwrap_or_else(|| uri.path());
    let (resource, rest) = find(path, config);
    if !resource.is_of_files() {
        let reason = format!("{} is not the path of a file; use /files/NAME", uri.path());
        return refuse(StatusCode::FORBIDDEN, RefusalCode::NotSupported, reason);
    }
    FilePath::parse_percent_encoded(rest.strip_suffix('/').unwrap_or(rest))
        .map(|path| (path, rest.ends_with('/')))
        .or_else(|error| refuse(StatusCode::BAD_REQUEST, RefusalCode::BadName, error.to_string()))
}

/// Evaluates the preconditions for the file at the path of a request; returns the file that the
/// request is for, if it has any, as another one may be stored meanwhile.
fn check_conditions(request: &Request<'_>, path: &FilePath) -> Result<Option<Attributes>, Answer> {
    let Request { context, head, .. } = *request;
    let present = context.files.look_at(&context.grant, path);
    let tag = present.as_ref().map(etag);
    let validators = present.as_ref().zip(tag.as_deref());
    let validators = validators
        .map(|(attributes, etag)| Validators { etag, modified: attributes.mtime.seconds });
    match conditional::evaluate(head, validators.as_ref()) {
        Evaluation::Proceed => {
            let conditions = [header::IF_MATCH, header::IF_UNMODIFIED_SINCE];
            let is_conditional = conditions.iter().any(|name| head.fields.contains_key(name));
            Ok(present.filter(|_| is_conditional))
        }
        _ => {
            let refusal = Refusal::new(RefusalCode::Exists, PRECONDITION_FAILED);
            Err(request.refuse(StatusCode::PRECONDITION_FAILED, refusal))
        }
    }
}

/// Returns the response for a refusal, which has been reported.
fn refuse(request: &Request<'_>, error: NotChanged) -> Answer {
    let code = error.refusal.code;
    let answer = Answer::refusal(error.refusal, request.asked.form);
    match (error.why, &request.head.method) {
        (Obstacle::InUse, method) if method.as_str() == "MKCOL" => answer
            .with_status(StatusCode::METHOD_NOT_ALLOWED)
            .with(header::ALLOW, methods(request.context.grant.rights()).replace("MKCOL, ", "")),
        (Obstacle::InUse | Obstacle::Changed, _) => {
            answer.with_status(StatusCode::PRECONDITION_FAILED)
        }
        (Obstacle::NoParent, _) => answer.with_status(StatusCode::CONFLICT),
        (Obstacle::Other, _) if code == RefusalCode::Exists => {
            answer.with_status(StatusCode::CONFLICT)
        }
        (Obstacle::Other, _) => answer,
    }
}

fn bad(reason: &str) -> Refusal {
    Refusal::new(RefusalCode::BadRequest, reason)
}
