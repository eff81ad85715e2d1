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
    /// It is not the one that was asked for.
    #[error("certificate {got} does not match the pinned one")]
    NotPinned {
        /// What it showed.
        got: Fingerprint,
    },
    /// It is not the one that it was before.
    #[error(
        "certificate changed: it is {got}, it was {}; the connection may be intercepted",
        known.map_or_else(|| "signed by a trusted CA".to_owned(), |known| known.to_string())
    )]
    Changed {
        /// What it showed.
        got: Fingerprint,
        /// What it showed before; `None`: an authority vouched for it.
        known: Option<Fingerprint>,
        /// The line's host and port.
        place: String,
        /// The file of known hosts.
        file: Option<PathBuf>,
    },
    /// The certificate is self-signed, and cannot be remembered.
    #[error("certificate {got} is self-signed")]
    SelfSigned {
        /// What it showed.
        got: Fingerprint,
    },
    /// The certificate is self-signed, and only the CAs of a file are trusted.
    #[error("certificate {got} is self-signed and not signed by a CA in {}", file.display())]
    NotOfFile {
        /// What it showed.
        got: Fingerprint,
        /// The file of `--cacert`.
        file: PathBuf,
    },
    /// Nobody who is trusted vouches for it.
    #[error("certificate {got} is signed by a CA that is not trusted")]
    UnknownAuthority {
        /// What it showed.
        got: Fingerprint,
    },
    /// It is an authority's, and somebody else vouches for that.
    #[error("certificate {got} is a CA certificate, not a server certificate")]
    MaySign {
        /// What it showed.
        got: Fingerprint,
    },
    /// It was valid once.
    #[error("certificate expired on {}", day(*on))]
    Expired {
        /// Seconds since 1970, where they are known.
        on: Option<u64>,
    },
    /// It will be valid.
    #[error("certificate is not valid before {}", day(*from))]
    NotYetValid {
        /// Seconds since 1970, where they are known.
        from: Option<u64>,
    },
    /// It is somebody else's.
    #[error("certificate is not valid for {name}{}", listed(presented))]
    WrongName {
        /// Whom we wanted.
        name: String,
        /// Whose it is.
        presented: Vec<String>,
    },
    /// What we dial has no name that could stand in a certificate.
    #[error("{host:?} is neither a host name nor an IP address")]
    NoName {
        /// As written.
        host: String,
    },
    /// The file of known hosts cannot be used.
    #[error(transparent)]
    KnownHosts(KnownHostsError),
    /// Anything else.
    #[error("certificate cannot be used: {0}")]
    Other(String),
}

impl Untrusted {
    /// What can be done about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NotPinned { got } | Self::MaySign { got } => {
                format!("if this is the right server, use --pin {got}")
            }
            Self::Changed { place, file: Some(file), .. } => format!(
                "ask the server's operator; if the change is intended, remove the \
                line of {place} from {}",
                file.display()
            ),
            Self::Changed { .. } => "ask the server's operator".to_owned(),
            Self::SelfSigned { got } => {
                format!(
                    "compare it with the fingerprint that the server printed at its start, \
                    then use --pin {got}"
                )
            }
            Self::NotOfFile { got, .. } => format!("use --pin {got}, or leave out --cacert"),
            Self::UnknownAuthority { .. } => "trust that CA with --cacert FILE".to_owned(),
            Self::Expired { .. } | Self::NotYetValid { .. } => {
                "check the clock of this machine; if it is right, the server \
                needs a new certificate"
                    .to_owned()
            }
            Self::WrongName { presented, .. } if !presented.is_empty() => {
                "use one of these names, or --pin FINGERPRINT, which the server \
                printed at its start"
                    .to_owned()
            }
            Self::WrongName { .. } | Self::NoName { .. } | Self::KnownHosts(_) | Self::Other(_) => {
                "use --pin FINGERPRINT to check the certificate alone".to_owned()
            }
        }
    }

    /// What the verifier said, where it is in an error of rustls.
    pub(crate) fn in_error(error: &Error) -> Option<Self> {
        let Error::InvalidCertificate(CertificateError::Other(OtherError(other))) = error else {
            return None;
        };
        other.downcast_ref::<Self>().cloned()
    }

    /// What an authority's verifier says, in our words.
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
    // rustls has them as DnsName("files.example") and IpAddress(127.0.0.1).
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    let names: Vec<_> = names.iter().map(plain).collect();
    if names.is_empty() { String::new() } else { format!("; it is valid for {}", names.join(", ")) }
}
