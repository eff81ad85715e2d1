//! The resources of plain HTTP, and the table of their paths.
//!
//! A new resource is a file beside this one, and its `mod` line and row here: no version of HTTP
//! knows which resources there are.

mod archive;
mod assets;
mod changes;
mod commands;
mod download;
mod echo;
mod form;
mod health;
pub(crate) mod help;
mod listing;
mod live;
mod metrics;
mod outbound;
mod pipe;
mod qr;
mod receiving;
mod representation;
mod resumable;
mod room;
mod session;
mod share;
mod shares;
mod stored;
mod time;
mod upload;

pub(crate) use live::LIVE;
pub(crate) use room::{HEARTBEAT, events, subscribe};

use anyport_proto::access::Rights;
use anyport_proto::resumable::ietf::Fields;

use crate::config::Config;
use crate::session::Context;
use crate::session::http::handler::{Opened, Request};
use crate::session::http::page;
use crate::session::route::{Route, RouteError};

/// A resource: its path, and its properties that do not depend on the request.
pub(crate) struct Resource {
    /// Its path; with a slash at the end, that of all below it.
    path: &'static str,
    /// The methods that it has for a client with these rights, as `Allow` lists them.
    pub(crate) methods: fn(Rights) -> &'static str,
    /// Serves a request that was checked.
    pub(super) open: fn(&Request<'_>) -> Opened,
    /// The WebSocket service at the same path.
    service: Option<OpenService>,
    /// Fields of the response to OPTIONS that announce what it supports.
    pub(super) announced: fn(&Context) -> Fields,
    /// Whether these settings have it. Otherwise a file may have its name.
    enabled: Option<fn(&Config) -> bool>,
    /// Its paths begin with the id of a share, which admits a client instead of a token.
    pub(super) is_link: bool,
    /// Served without a token.
    pub(crate) is_public: bool,
    /// Served without a token too, but with what the token permits if there is one.
    pub(super) is_token_optional: bool,
    /// Its response is short, and monitors need it, so it is served beyond the limits of streams.
    pub(crate) is_health: bool,
    /// Requests of other clients change or see its content, so pages of other origins may not embed
    /// it.
    pub(super) is_shared: bool,
    /// Its path with a placeholder, if the path itself is a secret.
    pub(super) shown_as: Option<&'static str>,
    /// A request of it may hold a file open.
    pub(crate) holds_file: bool,
}

impl Resource {
    /// Returns whether it is the server itself.
    pub(super) fn is_server_itself(&self) -> bool {
        self.path == SERVER_ITSELF
    }

    /// Returns whether a path of it is that of a stored file.
    pub(super) fn is_of_files(&self) -> bool {
        ["/", "/files/"].contains(&self.path)
    }
}

/// Finds a WebSocket service by the rest of the path, the path, and the query.
type OpenService = fn(&str, &str, Option<&str>) -> Result<Route, RouteError>;

/// The properties of a resource unless its row overrides them.
const PLAIN: Resource = Resource {
    path: "",
    methods: |_| "GET, HEAD, OPTIONS",
    open: help::open,
    service: None,
    announced: |_| Vec::new(),
    enabled: None,
    is_link: false,
    is_public: false,
    is_token_optional: false,
    is_health: false,
    is_shared: false,
    shown_as: None,
    holds_file: false,
};

const STORED: Resource = Resource {
    methods: representation::methods,
    open: stored::open,
    service: Some(stored::service),
    announced: resumable::announced,
    holds_file: true,
    ..PLAIN
};

const HEALTH: Resource = Resource { is_public: true, is_health: true, ..PLAIN };

/// The path of a request for the server itself (RFC 9110 §9.3.7), which every client may send.
const SERVER_ITSELF: &str = "*";

/// The first row that fits is the resource of a path. A file that has the name of another resource
/// is below `/files/`.
static RESOURCES: &[Resource] = &[
    Resource {
        path: "/echo",
        methods: |_| "POST, OPTIONS",
        open: echo::open,
        service: Some(|_, _, _| Ok(Route::Echo)),
        ..PLAIN
    },
    Resource {
        path: SERVER_ITSELF,
        announced: |context| match context.grant.rights().is_empty() {
            true => Vec::new(),
            false => resumable::announced(context),
        },
        service: None,
        is_token_optional: true,
        ..STORED
    },
    Resource { path: "/help", open: help::open, ..PLAIN },
    Resource { path: "/healthz", open: health::ready, ..HEALTH },
    Resource { path: "/livez", open: health::live, ..HEALTH },
    Resource { path: "/readyz", open: health::ready, ..HEALTH },
    Resource { path: "/time", open: time::open, ..PLAIN },
    Resource {
        path: "/metrics",
        open: metrics::open,
        enabled: Some(|config| config.metrics),
        ..PLAIN
    },
    Resource {
        path: "/rooms/",
        methods: |_| "GET, HEAD, POST, OPTIONS",
        open: room::open,
        service: Some(room::service),
        is_shared: true,
        ..PLAIN
    },
    Resource {
        path: "/pipe/",
        // HEAD would consume content that is meant for another receiver.
        methods: |_| "GET, PUT, POST, OPTIONS",
        open: pipe::open,
        is_shared: true,
        shown_as: Some("/pipe/KEY"),
        ..PLAIN
    },
    Resource { path: page::ASSETS, open: assets::open, is_public: true, ..PLAIN },
    Resource { path: "/.anyport/qr.svg", open: qr::open, is_public: true, ..PLAIN },
    Resource { path: LIVE, open: live::open, is_shared: true, ..PLAIN },
    Resource {
        path: "/.anyport/session",
        methods: |_| "GET, HEAD, POST, DELETE, OPTIONS",
        open: session::open,
        is_token_optional: true,
        ..PLAIN
    },
    Resource {
        path: "/.anyport/s/",
        methods: share::methods,
        open: share::open,
        announced: share::announced,
        is_link: true,
        shown_as: Some("/.anyport/s/ID/"),
        holds_file: true,
        ..PLAIN
    },
    Resource { path: "/.anyport/shares", methods: shares::methods, open: shares::open, ..PLAIN },
    Resource { path: "/.anyport/shares/", methods: shares::methods, open: shares::open, ..PLAIN },
    Resource {
        path: "/.anyport/",
        methods: resumable::methods,
        open: resumable::open,
        announced: resumable::announced,
        shown_as: Some("/.anyport/uploads/ID"),
        holds_file: true,
        ..PLAIN
    },
    Resource { path: "/files", ..STORED },
    Resource { path: "/files/", ..STORED },
    Resource { path: "/", ..STORED },
    // The target of a CONNECT has no path.
    Resource { path: "", ..STORED },
];

/// Returns the resource at `path`, which is without its query, and the rest of the path.
pub(crate) fn find<'a>(path: &'a str, config: &Config) -> (&'static Resource, &'a str) {
    first(path, |enabled| enabled(config))
}

/// Returns the WebSocket service at `path`; `query` is without its question mark.
pub(crate) fn service(path: &str, query: Option<&str>) -> Result<Route, RouteError> {
    let (resource, rest) = first(path, |_| false);
    let shown = resource.shown_as.unwrap_or(path);
    let not_found = || Err(RouteError::NotFound(shown.to_owned()));
    resource.service.map_or_else(not_found, |service| service(rest, path, query))
}

fn first(path: &str, allows: impl Fn(fn(&Config) -> bool) -> bool) -> (&'static Resource, &str) {
    let fits = |resource: &'static Resource| {
        let rest = path.strip_prefix(resource.path)?;
        let is_fit = (rest.is_empty() || resource.path.ends_with('/'))
            && resource.enabled.is_none_or(&allows);
        is_fit.then_some((resource, rest))
    };
    RESOURCES.iter().find_map(fits).unwrap_or((&RESOURCES[RESOURCES.len() - 1], ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_services() {
        assert_eq!(service("/", None), Ok(Route::Files { path: None }));
        assert_eq!(service("/echo", None), Ok(Route::Echo));
        let path = "my%20photo.jpg".to_owned();
        assert_eq!(service("/files/my%20photo.jpg", None), Ok(Route::Files { path: Some(path) }));
        let path = "a/b".to_owned();
        assert_eq!(service("/a/b", None), Ok(Route::Files { path: Some(path) }));
        let path = "metrics".to_owned();
        assert_eq!(service("/metrics", None), Ok(Route::Files { path: Some(path) }));
        for directory in ["/files", "/files/", "/a/b/", "/files/a/b/"] {
            assert_eq!(service(directory, None), Ok(Route::Files { path: None }), "{directory}");
        }
        assert!(matches!(service("/files/%2e%2e", None), Err(RouteError::BadName { .. })));
        let Ok(Route::Room(join)) = service("/rooms/lobby", Some("as=alice&self")) else {
            panic!()
        };
        assert_eq!((join.room.as_str(), join.own), ("lobby", true));
        assert!(matches!(service("/rooms/", None), Err(RouteError::BadRoom(_))));
        for other in ["/help", "/healthz", "/livez", "/readyz", "/time", "/pipe/x"] {
            assert!(matches!(service(other, None), Err(RouteError::NotFound(_))), "{other}");
        }
    }

    #[test]
    fn paths_name_resources_and_files_below_their_own_prefix() {
        let with_metrics = Config { metrics: true, ..Config::new(".") };
        for (path, expected, rest) in [
            ("/", "/", ""),
            ("/files/", "/files/", ""),
            ("/files", "/files", ""),
            ("/a/b%20c", "/", "a/b%20c"),
            ("/files/a/", "/files/", "a/"),
            ("/help", "/help", ""),
            ("/files/help", "/files/", "help"),
            ("/help/", "/", "help/"),
            ("/time", "/time", ""),
            ("/healthz", "/healthz", ""),
            ("/livez", "/livez", ""),
            ("/readyz", "/readyz", ""),
            ("/files/livez", "/files/", "livez"),
            ("/metrics", "/metrics", ""),
            ("/files/metrics", "/files/", "metrics"),
            ("/echo", "/echo", ""),
            ("/rooms/lobby", "/rooms/", "lobby"),
            ("/pipe/x", "/pipe/", "x"),
            ("/.anyport/live", "/.anyport/live", ""),
            ("/.anyport/uploads/0", "/.anyport/", "uploads/0"),
            ("/.anyport/session", "/.anyport/session", ""),
            ("/.anyport", "/", ".anyport"),
            ("/.anyport/s/x/y", "/.anyport/s/", "x/y"),
            ("/.anyport/shares", "/.anyport/shares", ""),
            ("/.anyport/shares/a", "/.anyport/shares/", "a"),
            ("/rooms", "/", "rooms"),
            ("", "", ""),
            ("example.com:443", "", ""),
        ] {
            let (resource, found) = find(path, &with_metrics);
            assert_eq!((resource.path, found), (expected, rest), "{path}");
        }
        let (resource, rest) = find("/metrics", &Config::new("."));
        assert_eq!((resource.path, rest), ("/", "metrics"));
    }
}
