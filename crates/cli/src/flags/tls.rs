//! The flags about TLS: of a server, and of every client.

use std::path::PathBuf;

use anyport_console::values::{self, Choices};
use anyport_server::TlsMode;
use anyport_tls::Fingerprint;
use clap::Args;

/// Whether clients use TLS.
pub(super) const TLS_MODE: Choices<TlsMode> = &[
    ("optional", TlsMode::Optional, "Accept connections with and without TLS on the same port"),
    (
        "required",
        TlsMode::Required,
        "Require TLS: redirect plain HTTP to https, and refuse other clients with an error",
    ),
    ("off", TlsMode::Off, "Disable TLS"),
];

/// TLS of a server.
#[derive(Debug, Args)]
pub(crate) struct ServerTls {
    /// Accept, require or disable TLS, for every protocol
    #[arg(long, value_name = "MODE", default_value = "optional", help_heading = "TLS")]
    #[arg(value_parser = values::choice(TLS_MODE))]
    pub(crate) tls: TlsMode,

    /// Certificate chain [default: generated, self-signed]
    ///
    /// FILE is PEM. The default certificate is generated at the first start and kept in --tls-dir.
    /// Clients recognize it by its fingerprint (trust on first use).
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key [default: in the --tls-cert file]
    ///
    /// FILE is PEM; other users must not be able to read it.
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Require client certificates signed by a CA in FILE (PEM)
    ///
    /// Applies to connections under TLS; to refuse connections without TLS too, add --tls required.
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// Directory of the generated certificate and its key
    ///
    /// [default: $STATE_DIRECTORY, else $XDG_STATE_HOME/anyport, else ~/.local/state/anyport]
    #[arg(long, value_name = "DIR", help_heading = "TLS")]
    pub(crate) tls_dir: Option<PathBuf>,
}

/// Servers that a client trusts under TLS.
///
/// Without a flag: servers whose certificate a CA of this system signed; and a server with a
/// self-signed certificate on the first use, which is remembered and must not change (as with ssh).
#[derive(Debug, Args)]
pub(crate) struct ClientTls {
    /// Accept any certificate (insecure)
    ///
    /// Anyone on the network path can read and change the data. Without -k, --cacert and --pin, a
    /// server is trusted if a CA of this system signed its certificate; the fingerprint of a
    /// self-signed certificate is remembered on first use, and must be the same afterwards (as with
    /// ssh).
    #[arg(short = 'k', long, conflicts_with_all = ["pin", "cacert"], help_heading = "TLS")]
    pub(crate) insecure: bool,

    /// Trust only servers certified by a CA in FILE (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "pin", help_heading = "TLS")]
    pub(crate) cacert: Option<PathBuf>,

    /// Trust only the server with this certificate
    ///
    /// FINGERPRINT is the SHA-256 fingerprint that the server prints at its start. The name and the
    /// dates of the certificate are not checked. Repeatable.
    #[arg(long, value_name = "FINGERPRINT", help_heading = "TLS")]
    pub(crate) pin: Vec<Fingerprint>,

    /// File with the fingerprints of self-signed servers seen before
    ///
    /// [default: $XDG_CONFIG_HOME/anyport/known_hosts, else ~/.config/anyport/known_hosts]
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) known_hosts: Option<PathBuf>,

    /// Client certificate chain, PEM, for servers that require one
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) cert: Option<PathBuf>,

    /// Private key of --cert [default: in the --cert file]
    ///
    /// FILE is PEM; other users must not be able to read it.
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) key: Option<PathBuf>,
}
