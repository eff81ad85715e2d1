//! Failures of a command.

use anyport_client::{ConnectOptions, DEFAULT_PORT, Error, ErrorKind, LIST_HINT, Target};

use crate::exit::Exit;

/// The failure of a command: what to print, and how to exit.
#[derive(Debug)]
pub struct Failure {
    /// The error.
    pub error: anyhow::Error,
    /// Further errors of the same command.
    pub others: Vec<String>,
    /// Hint: a command or flag to try.
    pub hint: Option<String>,
    /// The exit code of the process.
    pub exit: Exit,
}

impl Failure {
    /// Returns a failure without a hint.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), others: Vec::new(), hint: None, exit }
    }

    /// Adds what the error cannot know of its target: the host as the user typed it, the proxy, and
    /// a hint that contains the URL (another scheme, port or path).
    pub fn at(mut self, target: &Target, connect: &ConnectOptions) -> Self {
        let refused = |cause: &(dyn std::error::Error + 'static)| {
            let error = cause.downcast_ref::<std::io::Error>();
            error.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        };
        let text = format!("{:#}", self.error);
        // On every protocol, a server that requires TLS reports it with these words.
        if !target.encrypted && text.contains("TLS is required") {
            let encrypted = Target { encrypted: true, ..target.clone() };
            self.hint = Some(format!("use {encrypted}"));
        }
        if target.path.contains(['*', '[']) && text.contains("no such file or directory") {
            self.hint = Some(PATTERN_HINT.to_owned());
        }
        let is_top = target.path.trim_matches('/').is_empty();
        if text.ends_with("exists and is a directory") && !is_top && !target.path.ends_with('/') {
            self.hint = Some(format!("end the URL with / to store it in the directory: {target}/"));
        }
        if self.hint.as_deref() == Some(LIST_HINT) {
            let top = Target { path: "/".to_owned(), ..target.clone() };
            self.hint = Some(format!("{LIST_HINT} {top}"));
        }
        if let Ok(Some(proxy)) = connect.proxies.of(target) {
            let error = self.error.downcast_ref::<Error>();
            if !error.is_some_and(|error| matches!(error.kind(), ErrorKind::Proxy { .. })) {
                let address = target.address();
                self.error = self.error.context(format!("{address} through proxy {proxy}"));
            }
            return self;
        }
        if self.error.chain().any(refused)
            && let Some(port) = target.web_port()
        {
            let scheme = target.scheme_name();
            let with_default_port = Target { port: DEFAULT_PORT, ..target.clone() };
            self.hint = Some(format!(
                "{scheme}:// uses port {port}, but anyport listens on {DEFAULT_PORT} by \
                default: try {with_default_port}"
            ));
        }
        if text.contains(&format!(":{}", target.port)) && !text.contains(&target.host) {
            self.error = self.error.context(target.host.clone());
        }
        self
    }

    /// Returns the failure with a hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Hint for a path that does not exist and looks like a pattern of a shell.
const PATTERN_HINT: &str =
    "a server does not expand patterns; get the directory (DIR/) or list it with anyport ls";

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}
