#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod certificate;
pub mod client;
mod fingerprint;
pub mod identity;
mod known_hosts;
mod machine;
pub mod server;
mod stream;
mod untrusted;

pub use certificate::{Described, names as certificate_names};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use known_hosts::{KnownHosts, KnownHostsError};
pub use machine::{ClientMachine, Machine, ServerMachine, Side};
/// The client's end in rustls, as a type parameter of streams.
pub use rustls::client::UnbufferedClientConnection as ClientSide;
/// The server's end in rustls, as a type parameter of streams.
pub use rustls::server::UnbufferedServerConnection as ServerSide;
pub use stream::{MaybeTls, Parts, Stream, handshake};
pub use untrusted::Untrusted;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// ALPN name of HTTP/2 (RFC 7301).
pub const ALPN_H2: &[u8] = b"h2";
/// ALPN name of HTTP/1.1, and with it WebSocket.
pub const ALPN_HTTP_1_1: &[u8] = b"http/1.1";

/// Why a TLS connection failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer violated the protocol, has no common parameters, or sent an alert.
    #[error("{}", words(.0))]
    Protocol(rustls::Error),
    /// The server is not trusted.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A handshake message in too many records.
    #[error("TLS handshake message is longer than {limit} bytes")]
    TooLong {
        /// Maximum size of its records.
        limit: usize,
    },
    /// The connection was closed before.
    #[error("the TLS connection is closed")]
    Closed,
}

impl TlsError {
    /// Returns whether the peer speaks TLS, but not the offered version.
    pub const fn refuses_version(&self) -> bool {
        use rustls::AlertDescription::ProtocolVersion;
        matches!(self, Self::Protocol(rustls::Error::AlertReceived(ProtocolVersion)))
    }

    /// Returns whether the peer probably does not speak TLS.
    pub const fn suggests_no_tls(&self) -> bool {
        use rustls::AlertDescription::HandshakeFailure;
        use rustls::Error::{AlertReceived, InvalidMessage};
        // A server with TLS disabled sends this alert, and without certificates there is no other
        // reason for it.
        matches!(self, Self::Protocol(InvalidMessage(_) | AlertReceived(HandshakeFailure)))
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Untrusted::in_error(&error).map_or(Self::Protocol(error), Self::Untrusted)
    }
}

impl From<TlsError> for std::io::Error {
    fn from(error: TlsError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Returns an error of rustls in words: rustls itself prints the names of many of its variants.
pub(crate) fn words(error: &rustls::Error) -> String {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(error) => {
            format!("invalid certificate: {}", certificate_words(error))
        }
        E::PeerIncompatible(error) => {
            format!("incompatible peer: {}", spaced(&format!("{error:?}")))
        }
        E::PeerMisbehaved(error) => {
            format!("the peer violated the TLS protocol: {}", spaced(&format!("{error:?}")))
        }
        E::InvalidMessage(error) => {
            format!("invalid TLS message from the peer: {}", spaced(&format!("{error:?}")))
        }
        error => error.to_string(),
    }
}

/// Returns an error about a certificate in words.
pub(crate) fn certificate_words(error: &rustls::CertificateError) -> String {
    match error {
        rustls::CertificateError::Other(rustls::OtherError(error)) => spaced(&error.to_string()),
        error => spaced(&error.to_string()),
    }
}

/// Returns `UnsupportedCertVersion` as words; other texts stay as they are.
fn spaced(name: &str) -> String {
    if !name.chars().all(char::is_alphanumeric) {
        return name.to_owned();
    }
    let mut text = String::new();
    let mut after_lower = false;
    for letter in name.chars() {
        if letter.is_uppercase() && after_lower {
            text.push(' ');
        }
        after_lower = !letter.is_uppercase();
        text.extend(letter.to_lowercase());
    }
    text
}

/// Error text for a stream without close_notify: the peer's data may be incomplete (RFC 8446 §6.1).
pub const TRUNCATED: &str = "TLS truncated: no close_notify";

/// Prefers AES-128 to AES-256: as safe for any realistic file, and a third faster
/// (docs/decisions/0011).
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let cipher_suites = vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ];
        Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
    });
    PROVIDER.clone()
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, Error, OtherError, PeerIncompatible};

    use super::*;

    #[test]
    fn errors_are_words_and_not_names_of_variants() {
        let other = OtherError(Arc::new(rustls::server::VerifierBuilderError::NoRootAnchors));
        for (error, words) in [
            (
                Error::InvalidCertificate(CertificateError::BadEncoding),
                "invalid certificate: bad encoding",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon),
                "incompatible peer: no kx groups in common",
            ),
        ] {
            assert_eq!(TlsError::from(error).to_string(), words);
        }
        let error = CertificateError::Other(other);
        assert!(!certificate_words(&error).contains("OtherError"), "{error}");
    }
}
