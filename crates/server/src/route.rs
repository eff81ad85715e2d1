//! Which service a path means.

use anyport_proto::transfer::file_path::{FilePath, PathError};

/// A service, as a path names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/` takes unnamed files and those that bring their names, `/files/NAME` a named one.
    Upload { path: Option<FilePath> },
    /// `/echo`.
    Echo,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("nothing is served at {0}; try /, /files/NAME or /echo")]
    NotFound(String),
    #[error("the name in {path} cannot be used: {source}")]
    BadName { path: String, source: PathError },
}

/// The service at `path`, which is without its query.
pub(crate) fn route(path: &str) -> Result<Route, RouteError> {
    if let Some(name) = path.strip_prefix("/files/") {
        let file = FilePath::from_percent_encoded(name.trim_end_matches('/'))
            .map_err(|source| RouteError::BadName { path: path.to_owned(), source })?;
        // A directory: each file brings its own name, from there on.
        return Ok(Route::Upload { path: Some(file).filter(|_| !name.ends_with('/')) });
    }
    match path {
        "/" => Ok(Route::Upload { path: None }),
        "/echo" => Ok(Route::Echo),
        _ => Err(RouteError::NotFound(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_services() {
        assert_eq!(route("/"), Ok(Route::Upload { path: None }));
        assert_eq!(route("/echo"), Ok(Route::Echo));
        let path = FilePath::sanitize("my photo.jpg").unwrap();
        assert_eq!(route("/files/my%20photo.jpg"), Ok(Route::Upload { path: Some(path) }));
        assert_eq!(route("/files/a/b/"), Ok(Route::Upload { path: None }));
        assert!(matches!(route("/files/"), Err(RouteError::BadName { .. })));
        assert!(matches!(route("/files/%2e%2e"), Err(RouteError::BadName { .. })));
        assert!(matches!(route("/other"), Err(RouteError::NotFound(_))));
    }
}
