//! Which service a path means.

use anyport_proto::rooms::{Join, ROOMS_PATH, TargetError};
use anyport_proto::transfer::file_path::{FilePath, PathError};

/// A service, as a path names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/` takes unnamed files and those that bring their names, `/files/NAME` a named one.
    Upload { path: Option<FilePath> },
    /// `/echo`.
    Echo,
    /// `/rooms/NAME`, and in the query who comes.
    Room(Join),
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("nothing is served at {0}; try /, /files/NAME, /echo or /rooms/NAME")]
    NotFound(String),
    #[error("the name in {path} cannot be used: {source}")]
    BadName { path: String, source: PathError },
    #[error(transparent)]
    BadRoom(#[from] TargetError),
}

/// The service at `path`; `query` is what stands behind its question mark.
pub(crate) fn route(path: &str, query: Option<&str>) -> Result<Route, RouteError> {
    if path.starts_with(ROOMS_PATH) {
        return Ok(Route::Room(Join::from_target(path, query)?));
    }
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
        assert_eq!(route("/", None), Ok(Route::Upload { path: None }));
        assert_eq!(route("/echo", None), Ok(Route::Echo));
        let path = FilePath::sanitize("my photo.jpg").unwrap();
        assert_eq!(route("/files/my%20photo.jpg", None), Ok(Route::Upload { path: Some(path) }));
        assert_eq!(route("/files/a/b/", None), Ok(Route::Upload { path: None }));
        assert!(matches!(route("/files/", None), Err(RouteError::BadName { .. })));
        assert!(matches!(route("/files/%2e%2e", None), Err(RouteError::BadName { .. })));
        let Ok(Route::Room(join)) = route("/rooms/lobby", Some("as=alice&self")) else { panic!() };
        assert_eq!((join.room.as_str(), join.own), ("lobby", true));
        assert!(matches!(route("/rooms/", None), Err(RouteError::BadRoom(_))));
        assert!(matches!(route("/other", None), Err(RouteError::NotFound(_))));
    }
}
