//! Handshakes that report what a server presents, whether the client trusts it or not.

use std::sync::{Arc, OnceLock};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion};

use super::verify::{Outcome, Verifier};
use super::{Client, NewServer, TrustedBy};
use crate::certificate::{self, Described};
use crate::machine::{ClientMachine, Machine};
use crate::untrusted::Untrusted;
use crate::{Fingerprint, TlsError};

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Version {
    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        }
    }

    const fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &TLS12,
            Self::Tls13 => &TLS13,
        }
    }
}

/// The certificate that a server presented, and the result of its verification.
#[derive(Debug, Clone, PartialEq)]
pub struct Presented {
    /// Fingerprint of the server's certificate.
    pub fingerprint: Fingerprint,
    /// Its content; `None` if it is no X.509 certificate.
    pub certificate: Option<Described>,
    /// Number of certificates that follow it.
    pub intermediates: usize,
    /// Why a connection would trust the server, or would not.
    ///
    /// A server that would be trusted on first use is [`TrustedBy::New`], and is not remembered.
    pub trust: Result<TrustedBy, Untrusted>,
}

/// Observes a handshake of [`Client::inspect`].
#[derive(Debug)]
pub struct Inspection {
    observer: Arc<Observer>,
    requested: Arc<Requested>,
}

impl Inspection {
    /// Returns what the server presented; `None` before its certificate.
    pub fn presented(&self) -> Option<&Presented> {
        self.observer.presented.get()
    }

    /// Returns whether the server requested a certificate of the client.
    pub fn requests_certificate(&self) -> bool {
        self.requested.asked.get().is_some()
    }
}

impl Client {
    /// Returns a connection that verifies the server as [`Client::connect`] does, but continues
    /// with one that is not trusted, and remembers nothing.
    ///
    /// Nothing secret may be sent over it.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn inspect(
        &self,
        host: &str,
        port: u16,
        alpn: &[&[u8]],
        new: NewServer,
        versions: &[Version],
    ) -> Result<(ClientMachine, Inspection), TlsError> {
        let (name, verifier) = self.verifier(host, port, new)?;
        let observer = Arc::new(Observer { verifier, presented: OnceLock::new() });
        let own = self.trust.identity.as_ref().map(|identity| identity.key.clone());
        let requested = Arc::new(Requested { own, asked: OnceLock::new() });
        let versions: Vec<_> = versions.iter().map(|version| version.supported()).collect();
        let config = Self::config(observer.clone(), Some(requested.clone()), alpn, &versions)?;
        Ok((Machine::client(&config, name)?, Inspection { observer, requested }))
    }
}

/// Accepts every certificate, and keeps the result of its verification.
#[derive(Debug)]
struct Observer {
    verifier: Verifier,
    presented: OnceLock<Presented>,
}

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let outcome =
            self.verifier.judge(end_entity, intermediates, server_name, ocsp_response, now);
        let presented = Presented {
            fingerprint: Fingerprint::of(end_entity),
            certificate: certificate::describe(end_entity),
            intermediates: intermediates.len(),
            trust: outcome.map(|outcome| self.trusted_by(outcome)),
        };
        let _ = self.presented.set(presented);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl Observer {
    fn trusted_by(&self, outcome: Outcome) -> TrustedBy {
        match outcome {
            Outcome::Authority { .. } => TrustedBy::Authority,
            Outcome::Pinned => TrustedBy::Pinned,
            Outcome::Known => TrustedBy::Known,
            Outcome::New(fingerprint) => {
                let file = self.verifier.trust.known_hosts.clone().unwrap_or_default();
                TrustedBy::New { fingerprint, file, error: None }
            }
            Outcome::Unchecked(fingerprint) => TrustedBy::Unchecked { fingerprint },
        }
    }
}

/// The client's certificate, and whether the server requested one.
#[derive(Debug)]
struct Requested {
    own: Option<Arc<CertifiedKey>>,
    asked: OnceLock<()>,
}

impl ResolvesClientCert for Requested {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let _ = self.asked.set(());
        self.own.clone()
    }

    fn has_certs(&self) -> bool {
        // Otherwise rustls need not ask.
        true
    }
}
