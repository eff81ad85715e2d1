//! Verification of a server certificate. Each refusal has its own error.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::{Authorities, NewServer, Trust};
use crate::known_hosts::Known;
use crate::untrusted::Untrusted;
use crate::{Fingerprint, certificate, provider};

/// Verifies one server.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) trust: Trust,
    pub(super) authorities: Authorities,
    pub(super) new: NewServer,
    /// The known hosts entries of the server.
    pub(super) known: Vec<Known>,
    pub(super) place: String,
    /// The result; until the handshake is complete, the server has not proved that it has the key.
    pub(super) outcome: OnceLock<Outcome>,
}

/// Why the server is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Authority { new: bool },
    Pinned,
    Known,
    New(Fingerprint),
    Unchecked(Fingerprint),
}

impl Verifier {
    pub(super) fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<Outcome, Untrusted> {
        let got = Fingerprint::of(certificate);
        if self.trust.insecure {
            return Ok(Outcome::Unchecked(got));
        }
        if !self.trust.pins.is_empty() {
            let pinned = self.trust.pins.contains(&got);
            return if pinned { Ok(Outcome::Pinned) } else { Err(Untrusted::NotPinned { got }) };
        }
        // A known certificate is accepted whatever its dates.
        if self.known.contains(&Known::Certificate(got)) {
            return Ok(Outcome::Known);
        }
        let signed = match &self.authorities.verifier {
            Some(authorities) => authorities
                .verify_server_cert(certificate, chain, name, ocsp, now)
                .map_err(|error| Untrusted::of(error, got)),
            None => Err(Untrusted::UnknownAuthority { got }),
        };
        let Err(refused) = signed else {
            return Ok(Outcome::Authority { new: !self.known.contains(&Known::Authority) });
        };
        let may_sign = certificate::may_sign(certificate);
        // webpki accepts no certificate that may sign others, and only names in the list.
        if self.authorities.given.contains(certificate) {
            match certificate::check_self_signed(certificate, name, now) {
                Ok(()) => {
                    let of_system = self.trust.authorities.is_none();
                    let new = of_system && !self.known.contains(&Known::Authority);
                    return Ok(Outcome::Authority { new });
                }
                Err(error) if may_sign => return Err(error),
                Err(_) => {}
            }
        }
        let is_stranger = may_sign || matches!(refused, Untrusted::UnknownAuthority { .. });
        if let Some(file) = self.trust.authorities.clone().filter(|_| is_stranger)
            && (signed_by_itself(certificate, chain, now).is_ok()
                || certificate::check_self_signed(certificate, name, now).is_ok())
        {
            return Err(Untrusted::NotOfFile { got, file });
        }
        if self.trust.authorities.is_some() || !is_stranger {
            return Err(match refused {
                Untrusted::Other(_) if may_sign => Untrusted::UnknownAuthority { got },
                refused => refused,
            });
        }
        // A server that was trusted another way must not become self-signed.
        if let Some(known) = self.known.first() {
            let known = match known {
                Known::Certificate(known) => Some(*known),
                Known::Authority => None,
            };
            let (place, file) = (self.place.clone(), self.trust.known_hosts.clone());
            return Err(Untrusted::Changed { got, known, place, file });
        }
        if may_sign {
            certificate::check_self_signed(certificate, name, now)?;
        } else {
            signed_by_itself(certificate, chain, now).map_err(|error| Untrusted::of(error, got))?;
            if self.new == NewServer::SameName {
                certificate::is_for(certificate, name)?;
            }
        }
        match self.trust.known_hosts {
            Some(_) => Ok(Outcome::New(got)),
            None => Err(Untrusted::SelfSigned { got }),
        }
    }
}

/// Checks that a certificate is self-signed and valid now.
fn signed_by_itself(
    certificate: &CertificateDer<'_>,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone().into_owned())?;
    let parsed = ParsedCertificate::try_from(certificate)?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, chain, now, algorithms)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.judge(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(outcome) => {
                let _ = self.outcome.set(outcome);
                Ok(ServerCertVerified::assertion())
            }
            Err(untrusted) => {
                let other = OtherError(Arc::new(untrusted));
                Err(Error::InvalidCertificate(CertificateError::Other(other)))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
