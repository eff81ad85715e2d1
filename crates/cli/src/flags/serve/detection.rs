//! Detection of protocols.

use std::time::Duration;

use anyport_console::values::{self, Choices};
use anyport_proto::detect::{Allowed, ProtocolName};
use anyport_server::{Config, Greeting, ListenerConfig, OnTimeout};
use clap::Args;

/// Detection of protocols.
#[derive(Debug, Args)]
#[command(next_help_heading = "Detection")]
pub(crate) struct Detection {
    /// Accept only these: raw,http,ws,frames,tls (as ws,tls)
    ///
    /// tls alone accepts every protocol, but only under TLS; in a list, it accepts the listed
    /// protocols under TLS too. raw stores whatever is not recognized as an accepted protocol:
    /// with raw alone, requests of HTTP and TLS are stored as raw bytes and get no answer.
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',')]
    pub(crate) only: Vec<ProtocolName>,

    /// Disable detection; treat all input as raw bytes
    #[arg(long, conflicts_with = "only")]
    pub(crate) no_detect: bool,

    /// Time after which an unclassified client is treated as raw TCP
    ///
    /// The time begins with its first byte. With --on-timeout greet it begins with the connection,
    /// for a client that sends nothing.
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    #[arg(value_parser = values::duration)]
    pub(crate) detect_timeout: Duration,

    /// What to do if a client sends nothing within --detect-timeout
    #[arg(long, value_name = "POLICY", default_value = "wait")]
    #[arg(value_parser = values::choice(ON_TIMEOUT))]
    pub(crate) on_timeout: OnTimeout,

    /// Line that greet:// sends [default: Welcome to anyport!]
    ///
    /// Also the answer to ANYPORT/1 GREET and to clients greeted by --on-timeout greet.
    #[arg(long, value_name = "TEXT")]
    pub(crate) greeting: Option<Greeting>,
}

/// What to do if a client sends nothing.
pub(super) const ON_TIMEOUT: Choices<OnTimeout> = &[
    ("wait", OnTimeout::Wait, "Wait for its first byte, until --idle-timeout"),
    (
        "greet",
        OnTimeout::Greet,
        "Send --greeting, then serve it as greet:// does: nothing is stored",
    ),
];

impl Detection {
    pub(crate) fn configure(&self, config: &mut Config) {
        if let Some(greeting) = &self.greeting {
            config.greeting.clone_from(greeting);
        }
    }

    /// Sets what each listener may set for itself.
    pub(crate) fn configure_listener(&self, config: &mut ListenerConfig) {
        config.detect_timeout = self.detect_timeout;
        config.on_timeout = self.on_timeout;
        config.allowed = match self.only.as_slice() {
            _ if self.no_detect => Allowed::UNDETECTED,
            [] => Allowed::ALL,
            only => only.iter().fold(Allowed::NONE, |allowed, name| allowed.allow(*name)),
        };
    }
}
