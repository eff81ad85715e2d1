//! Settings that messages name: a limit that was reached, or what allows a request.
//!
//! A library knows its settings as fields; users know them as flags, keys of a file or parts of a
//! form. So a library writes a [`Setting`] into a text, and the program says once, with
//! [`name_settings`], how its users call them.

use std::fmt;
use std::sync::OnceLock;

/// A setting of server or client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting(&'static str);

/// Writes the name of a setting as the users of a program know it.
pub type Naming = fn(Setting, &mut fmt::Formatter<'_>) -> fmt::Result;

static NAMING: OnceLock<Naming> = OnceLock::new();

/// Sets how all messages of this process name settings.
///
/// The first call wins. Without one, a setting has the name of [`Setting::as_str`].
pub fn name_settings(naming: Naming) {
    NAMING.get_or_init(|| naming);
}

impl Setting {
    /// Returns its name, such as `max-size`.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMING.get() {
            Some(naming) => naming(*self, f),
            None => f.write_str(self.0),
        }
    }
}

macro_rules! settings {
    ($($setting:ident = $name:literal,)+) => {
        $(#[doc = concat!("`", $name, "`")] pub const $setting: Setting = Setting($name);)+

        /// All settings that a message names.
        pub const ALL: &[Setting] = &[$($setting),+];
    };
}

settings! {
    ALLOW = "allow", ALLOW_HOST = "allow-host", ALLOW_ORIGIN = "allow-origin", BINARY = "binary",
    BIND = "bind", CACERT = "cacert", CONGESTION = "congestion",
    CONNECT_TIMEOUT = "connect-timeout", DEFLATE = "deflate", ENGINE = "engine",
    HANDSHAKE_TIMEOUT = "handshake-timeout", IDLE_TIMEOUT = "idle-timeout",
    LIMIT_RATE = "limit-rate", MAX_BUFFERED = "max-buffered",
    MAX_CONNS = "max-conns", MAX_CONNS_PER_IP = "max-conns-per-ip", MAX_ENTRIES = "max-entries",
    MAX_MEMORY = "max-memory",
    MAX_PIPES = "max-pipes", MAX_RATE_PER_IP = "max-rate-per-ip", MAX_ROOMS = "max-rooms",
    MAX_SIZE = "max-size", MAX_UNCLASSIFIED = "max-unclassified", METRICS = "metrics",
    MIN_UPLOAD_RATE = "min-upload-rate", NO_RESUME = "no-resume", ON_EXISTS = "on-exists",
    ONLY = "only", OUTPUT = "output",
    PERMS = "perms", PIN = "pin", PLAIN = "plain",
    PROXY = "proxy", PROXY_PROTOCOL_FROM = "proxy-protocol-from", QUOTA = "quota",
    READ_ONLY = "read-only",
    ROOM_RATE = "room-rate", SINK = "sink", SLOW_READER = "slow-reader", TIMEOUT = "timeout",
    TLS = "tls", TOKEN_FILE = "token-file", TRUSTED_PROXY = "trusted-proxy",
    UPLOAD_ONLY = "upload-only",
}
