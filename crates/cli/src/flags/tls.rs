//! The flags about TLS: of a server, and of every client.

use std::path::PathBuf;

use anyport_server::TlsMode;
use anyport_tls::Fingerprint;
use clap::{Args, ValueEnum};

/// Whether clients speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tls {
    /// As they like: on the same port, found by their first bytes
    Optional,
    /// All of them; plain HTTP is sent to https, and all else is told
    Required,
    /// None of them
    Off,
}

impl From<Tls> for TlsMode {
    fn from(tls: Tls) -> Self {
        match tls {
            Tls::Optional => Self::Optional,
            Tls::Required => Self::Required,
            Tls::Off => Self::Off,
        }
    }
}

/// How a server speaks TLS.
#[derive(Debug, Args)]
pub(crate) struct ServerTls {
    /// Whether clients speak TLS, which every protocol may be under: optional, required or off
    #[arg(long, value_name = "MODE", default_value = "optional", help_heading = "TLS")]
    pub(crate) tls: Tls,

    /// Certificate chain in PEM [default: one that makes itself at the first start, and that clients know again by its fingerprint]
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Its private key in PEM, which nobody else may read [default: in the file of --tls-cert]
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "TLS")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Let only those in under TLS that present a certificate which one of these authorities (PEM) has signed
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// Where the certificate and key that made themselves are kept [default: $STATE_DIRECTORY, else $XDG_STATE_HOME/anyport, else ~/.local/state/anyport]
    #[arg(long, value_name = "DIR", help_heading = "TLS")]
    pub(crate) tls_dir: Option<PathBuf>,
}

/// Whom a client trusts under TLS.
///
/// Without a flag: servers that an authority of this system vouches for; and one that vouches for itself at the first
/// meeting, which is remembered, and has to be the same at the next (as with ssh).
#[derive(Debug, Args)]
pub(crate) struct ClientTls {
    /// Trust the server with this certificate and no other, whatever its name and dates: its SHA-256 fingerprint, as the server prints it; repeatable
    #[arg(long, value_name = "SHA256", help_heading = "TLS")]
    pub(crate) pin: Vec<Fingerprint>,

    /// Trust servers that one of these authorities (PEM) vouches for, and no others
    #[arg(long, value_name = "FILE", conflicts_with = "pin", help_heading = "TLS")]
    pub(crate) cacert: Option<PathBuf>,

    /// Trust everybody: whoever is on the way can read and change all
    #[arg(short = 'k', long, conflicts_with_all = ["pin", "cacert"], help_heading = "TLS")]
    pub(crate) insecure: bool,

    /// File of the servers that vouch for themselves and were met before [default: $XDG_CONFIG_HOME/anyport/known_hosts, else ~/.config/anyport/known_hosts]
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) known_hosts: Option<PathBuf>,

    /// Our own certificate chain in PEM, for servers that ask for one
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) cert: Option<PathBuf>,

    /// Its private key in PEM, which nobody else may read [default: in the file of --cert]
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "TLS")]
    pub(crate) key: Option<PathBuf>,
}
