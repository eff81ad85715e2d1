//! `/PATH` and `/files/PATH`: the served directory. An empty path is all of it; with a slash at its
//! end it is a directory.

use anyport_proto::resumable::creation;
use anyport_proto::transfer::file_path::FilePath;

use super::{changes, download, form, resumable, upload};
use crate::session::http::handler::{Opened, Request};
use crate::session::route::{Route, RouteError};

pub(super) fn open(request: &Request<'_>) -> Opened {
    if let Some(opened) = changes::open(request) {
        return opened;
    }
    if !request.has_content() {
        return download::open(request);
    }
    match creation(request.head, request.framing) {
        Ok(None) if form::is_form(request) => form::open(request),
        Ok(None) => upload::open(request),
        // Without a resource it is an ordinary upload.
        Ok(Some((_, creation))) if creation.completes && !request.context.files.has_uploads() => {
            upload::open(request)
        }
        Ok(Some((dialect, creation))) => resumable::create(request, dialect, creation),
        Err(error) => Opened::Answer(resumable::refuse_error(request, &error)),
    }
}

/// Returns the upload service for `name`, percent-encoded as it was received.
pub(super) fn service(name: &str, path: &str, _: Option<&str>) -> Result<Route, RouteError> {
    if name.is_empty() {
        return Ok(Route::Files { path: None });
    }
    let file = name.trim_end_matches('/');
    FilePath::from_percent_encoded(file)
        .map_err(|source| RouteError::BadName { path: path.to_owned(), source })?;
    // In a directory each file has a name of its own, relative to it.
    Ok(Route::Files { path: Some(file.to_owned()).filter(|_| !name.ends_with('/')) })
}
