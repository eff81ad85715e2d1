//! Which service a path means: of a WebSocket handshake a [`Route`], of a plain HTTP request a [`Resource`].

use anyport_proto::rooms::{Join, ROOMS_PATH, TargetError};
use anyport_proto::transfer::file_path::{FilePath, PathError};

use crate::config::FileAccess;

/// A service, as a path names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/` and directories take unnamed files and those that bring their names, `/NAME` and `/files/NAME` a named one.
    Upload {
        /// Percent-encoded, as it came.
        path: Option<String>,
    },
    /// `/echo`.
    Echo,
    /// `/rooms/NAME`, and in the query who comes.
    Room(Join),
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("no WebSocket service at {0}; try /NAME, /files/NAME, /echo or /rooms/NAME")]
    NotFound(String),
    #[error("invalid name in {path}: {source}")]
    BadName { path: String, source: PathError },
    #[error(transparent)]
    BadRoom(#[from] TargetError),
}

/// The service at `path`, by the rule of [`resource`]; `query` is what follows its question mark.
pub(crate) fn route(path: &str, query: Option<&str>) -> Result<Route, RouteError> {
    let name = match resource(path).without_metrics() {
        Resource::Echo => return Ok(Route::Echo),
        Resource::Room => return Ok(Route::Room(Join::from_target(path, query)?)),
        Resource::Stored(name) => name,
        Resource::Help
        | Resource::Health
        | Resource::Time
        | Resource::Metrics
        | Resource::Pipe(_) => return Err(RouteError::NotFound(path.to_owned())),
    };
    if name.is_empty() {
        return Ok(Route::Upload { path: None });
    }
    let file = name.trim_end_matches('/');
    FilePath::from_percent_encoded(file)
        .map_err(|source| RouteError::BadName { path: path.to_owned(), source })?;
    // In a directory each file brings its own name, from there on.
    Ok(Route::Upload { path: Some(file.to_owned()).filter(|_| !name.ends_with('/')) })
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
    /// `/metrics`, where they are wanted.
    Metrics,
    /// `/rooms/NAME`, and in the query who comes.
    Room,
    /// `/pipe/KEY`.
    Pipe(&'a str),
}

/// The resource at `path`, which is without its query. A file that has the name of another resource is below `/files/`.
pub(crate) fn resource(path: &str) -> Resource<'_> {
    match path {
        "/echo" => return Resource::Echo,
        "/help" => return Resource::Help,
        "/healthz" => return Resource::Health,
        "/time" => return Resource::Time,
        "/metrics" => return Resource::Metrics,
        "/files" => return Resource::Stored(""),
        _ => {}
    }
    let below = |prefix: &str| path.strip_prefix(prefix);
    if path.starts_with(ROOMS_PATH) {
        return Resource::Room;
    }
    if let Some(pipe) = below("/pipe/") {
        return Resource::Pipe(pipe);
    }
    Resource::Stored(below("/files/").or_else(|| below("/")).unwrap_or_default())
}

impl Resource<'_> {
    /// The same where nobody wants metrics: then a file may be called so.
    pub(crate) const fn without_metrics(self) -> Self {
        match self {
            Self::Metrics => Resource::Stored("metrics"),
            other => other,
        }
    }

    /// Returns the methods that it has where `access` is the access to files, as `Allow` lists them.
    pub(crate) const fn methods(self, access: FileAccess) -> &'static str {
        match self {
            Self::Stored(_) => match access {
                FileAccess::ReadWrite => "GET, HEAD, PUT, POST, OPTIONS",
                FileAccess::ReadOnly => "GET, HEAD, OPTIONS",
                FileAccess::UploadOnly => "PUT, POST, OPTIONS",
            },
            Self::Echo => "POST, OPTIONS",
            Self::Help | Self::Health | Self::Time | Self::Metrics => "GET, HEAD, OPTIONS",
            Self::Room => "GET, HEAD, POST, OPTIONS",
            // A head alone would take what is meant for somebody.
            Self::Pipe(_) => "GET, PUT, POST, OPTIONS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_services() {
        assert_eq!(route("/", None), Ok(Route::Upload { path: None }));
        assert_eq!(route("/echo", None), Ok(Route::Echo));
        let path = "my%20photo.jpg".to_owned();
        assert_eq!(route("/files/my%20photo.jpg", None), Ok(Route::Upload { path: Some(path) }));
        let path = "a/b".to_owned();
        assert_eq!(route("/a/b", None), Ok(Route::Upload { path: Some(path) }));
        for directory in ["/files", "/files/", "/a/b/", "/files/a/b/"] {
            assert_eq!(route(directory, None), Ok(Route::Upload { path: None }), "{directory}");
        }
        assert!(matches!(route("/files/%2e%2e", None), Err(RouteError::BadName { .. })));
        let Ok(Route::Room(join)) = route("/rooms/lobby", Some("as=alice&self")) else { panic!() };
        assert_eq!((join.room.as_str(), join.own), ("lobby", true));
        assert!(matches!(route("/rooms/", None), Err(RouteError::BadRoom(_))));
        for other in ["/help", "/healthz", "/time", "/pipe/x"] {
            assert!(matches!(route(other, None), Err(RouteError::NotFound(_))), "{other}");
        }
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
            ("/metrics", Resource::Metrics),
            ("/files/metrics", Resource::Stored("metrics")),
            ("/echo", Resource::Echo),
            ("/rooms/lobby", Resource::Room),
            ("/pipe/x", Resource::Pipe("x")),
            ("/rooms", Resource::Stored("rooms")),
            // The target of a CONNECT.
            ("", Resource::Stored("")),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }
}
