//! Which service a path means: of a WebSocket handshake a [`Route`], of a plain HTTP request a [`Resource`].

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

/// What the path of a plain HTTP request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    /// `/PATH` and `/files/PATH`: what is in the served directory, percent-encoded as it came. Empty for all of it; a slash at
    /// its end means a directory.
    Stored(&'a str),
    /// `/echo`.
    Echo,
    /// `/help`.
    Help,
    /// `/healthz`.
    Health,
    /// `/time`.
    Time,
    /// `/rooms/NAME`.
    Room(&'a str),
    /// `/pipe/NAME`.
    Pipe(&'a str),
}

/// The resource at `path`, which is without its query. A file that has the name of another resource is below `/files/`.
pub(crate) fn resource(path: &str) -> Resource<'_> {
    match path {
        "/echo" => return Resource::Echo,
        "/help" => return Resource::Help,
        "/healthz" => return Resource::Health,
        "/time" => return Resource::Time,
        "/files" => return Resource::Stored(""),
        _ => {}
    }
    let below = |prefix: &str| path.strip_prefix(prefix);
    if let Some(room) = below("/rooms/") {
        return Resource::Room(room);
    }
    if let Some(pipe) = below("/pipe/") {
        return Resource::Pipe(pipe);
    }
    Resource::Stored(below("/files/").or_else(|| below("/")).unwrap_or_default())
}

impl Resource<'_> {
    /// The methods that it takes, as `Allow` lists them.
    pub(crate) const fn methods(self) -> &'static str {
        match self {
            Self::Stored(_) => "GET, HEAD, PUT, POST, OPTIONS",
            Self::Echo => "POST, OPTIONS",
            Self::Help | Self::Health | Self::Time => "GET, HEAD, OPTIONS",
            Self::Room(_) | Self::Pipe(_) => "OPTIONS",
        }
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

    #[test]
    fn paths_name_resources_and_files_below_their_own_prefix() {
        for (path, expected) in [
            ("/", Resource::Stored("")),
            ("/files/", Resource::Stored("")),
            ("/files", Resource::Stored("")),
            ("/a/b%20c", Resource::Stored("a/b%20c")),
            ("/files/a/", Resource::Stored("a/")),
            ("/help", Resource::Help),
            ("/files/help", Resource::Stored("help")),
            ("/help/", Resource::Stored("help/")),
            ("/time", Resource::Time),
            ("/healthz", Resource::Health),
            ("/echo", Resource::Echo),
            ("/rooms/lobby", Resource::Room("lobby")),
            ("/pipe/x", Resource::Pipe("x")),
            ("/rooms", Resource::Stored("rooms")),
            // The target of a CONNECT.
            ("", Resource::Stored("")),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }
}
