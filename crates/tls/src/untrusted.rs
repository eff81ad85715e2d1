//! Reasons for not trusting a server.

use std::path::PathBuf;

use rustls::{CertificateError, Error, OtherError};
use time::OffsetDateTime;

use crate::known_hosts::KnownHostsError;
use crate::{Fingerprint, certificate_words, words};

/// Why a server is not trusted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// The certificate is not the pinned one.
    #[error("certificate {got} does not match the pinned one")]
    NotPinned {
        /// Fingerprint of its certificate.
        got: Fingerprint,
    },
    /// The certificate is not the one that was remembered.
    #[error(
        "certificate changed: it is {got}, it was {}; the connection may be intercepted",
        known.map_or_else(|| "signed by a trusted CA".to_owned(), |known| known.to_string())
    )]
    Changed {
        /// Fingerprint of its certificate.
        got: Fingerprint,
        /// The remembered fingerprint; `None`: a CA had signed it.
        known: Option<Fingerprint>,
        /// Host and port of the line.
        place: String,
        /// The file of known hosts.
        file: Option<PathBuf>,
    },
    /// The certificate is self-signed, and cannot be remembered.
    #[error("certificate {got} is self-signed")]
    SelfSigned {
        /// Fingerprint of its certificate.
        got: Fingerprint,
    },
    /// The certificate is self-signed, and only the CAs of a file are trusted.
    #[error("certificate {got} is self-signed and not signed by a CA in {}", file.display())]
    NotOfFile {
        /// Fingerprint of its certificate.
        got: Fingerprint,
        /// The file of `--cacert`.
        file: PathBuf,
    },
    /// No trusted CA signed the certificate.
    #[error("certificate {got} is signed by a CA that is not trusted")]
    UnknownAuthority {
        /// Fingerprint of its certificate.
        got: Fingerprint,
    },
    /// The certificate is a CA's own, and is signed by another CA.
    #[error("certificate {got} is a CA certificate, not a server certificate")]
    MaySign {
        /// Fingerprint of its certificate.
        got: Fingerprint,
    },
    /// The certificate has expired.
    #[error("certificate expired on {}", day(*on))]
    Expired {
        /// Seconds since 1970, if known.
        on: Option<u64>,
    },
    /// The certificate is not valid yet.
    #[error("certificate is not valid before {}", day(*from))]
    NotYetValid {
        /// Seconds since 1970, if known.
        from: Option<u64>,
    },
    /// The certificate is for another name.
    #[error("certificate is not valid for {name}{}", listed(presented))]
    WrongName {
        /// The requested name.
        name: String,
        /// The names in the certificate.
        presented: Vec<String>,
    },
    /// The host has no name that a certificate could contain.
    #[error("{host:?} is neither a host name nor an IP address")]
    NoName {
        /// The host as given.
        host: String,
    },
    /// The file of known hosts cannot be used.
    #[error(transparent)]
    KnownHosts(KnownHostsError),
    /// Another error.
    #[error("certificate cannot be used: {0}")]
    Other(String),
}

impl Untrusted {
    /// Returns the error of the verifier inside an error of rustls.
    pub(crate) fn in_error(error: &Error) -> Option<Self> {
        let Error::InvalidCertificate(CertificateError::Other(OtherError(other))) = error else {
            return None;
        };
        other.downcast_ref::<Self>().cloned()
    }

    /// Converts the error of the verifier of a CA.
    pub(crate) fn of(error: Error, got: Fingerprint) -> Self {
        let Error::InvalidCertificate(error) = error else { return Self::Other(words(&error)) };
        match error {
            CertificateError::Expired => Self::Expired { on: None },
            CertificateError::ExpiredContext { not_after, .. } => {
                Self::Expired { on: Some(not_after.as_secs()) }
            }
            CertificateError::NotValidYet => Self::NotYetValid { from: None },
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotYetValid { from: Some(not_before.as_secs()) }
            }
            CertificateError::NotValidForName => {
                Self::WrongName { name: "this host".to_owned(), presented: Vec::new() }
            }
            CertificateError::NotValidForNameContext { expected, presented } => {
                Self::WrongName { name: expected.to_str().into_owned(), presented }
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::UnknownAuthority { got }
            }
            other => Self::Other(certificate_words(&other)),
        }
    }
}

fn day(seconds: Option<u64>) -> String {
    let at = seconds.and_then(|seconds| i64::try_from(seconds).ok());
    match at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()) {
        Some(at) => {
            let (hour, minute, second) = at.to_hms();
            format!("{} {hour:02}:{minute:02}:{second:02} UTC", at.date())
        }
        None => "an unknown date".to_owned(),
    }
}

fn listed(names: &[String]) -> String {
    // rustls prints names as DnsName("files.example") and IpAddress(127.0.0.1).
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    let names: Vec<_> = names.iter().map(plain).collect();
    if names.is_empty() { String::new() } else { format!("; it is valid for {}", names.join(", ")) }
}
