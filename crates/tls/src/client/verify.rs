//! Whether a server is whom we want to talk to. Every "no" has a name.

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

/// Judges one server.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) trust: Trust,
    pub(super) authorities: Authorities,
    pub(super) new: NewServer,
    /// What is known of it.
    pub(super) known: Vec<Known>,
    pub(super) place: String,
    /// Until the handshake is over it is a claim.
    pub(super) verdict: OnceLock<Verdict>,
}

/// Why it is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Vouched { new: bool },
    Pinned,
    Known,
    New(Fingerprint),
    Unchecked(Fingerprint),
}

impl Verifier {
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<Verdict, Untrusted> {
        let got = Fingerprint::of(certificate);
        if self.trust.insecure {
            return Ok(Verdict::Unchecked(got));
        }
        if !self.trust.pins.is_empty() {
            let pinned = self.trust.pins.contains(&got);
            return if pinned { Ok(Verdict::Pinned) } else { Err(Untrusted::NotPinned { got }) };
        }
        // What it was before counts more than its dates.
        if self.known.contains(&Known::Certificate(got)) {
            return Ok(Verdict::Known);
        }
        let vouched = match &self.authorities.verifier {
            Some(authorities) => authorities
                .verify_server_cert(certificate, chain, name, ocsp, now)
                .map_err(|error| Untrusted::of(error, got)),
            None => Err(Untrusted::UnknownAuthority { got }),
        };
        let Err(refused) = vouched else {
            return Ok(Verdict::Vouched { new: !self.known.contains(&Known::Authority) });
        };
        let may_sign = certificate::may_sign(certificate);
        // webpki accepts none that may sign others, and no name but those that are listed.
        if self.authorities.given.contains(certificate) {
            match certificate::vouches_for_itself(certificate, name, now) {
                Ok(()) => {
                    let of_system = self.trust.authorities.is_none();
                    let new = of_system && !self.known.contains(&Known::Authority);
                    return Ok(Verdict::Vouched { new });
                }
                Err(error) if may_sign => return Err(error),
                Err(_) => {}
            }
        }
        let is_stranger = may_sign || matches!(refused, Untrusted::UnknownAuthority { .. });
        if let Some(file) = self.trust.authorities.clone().filter(|_| is_stranger)
            && (signed_by_itself(certificate, chain, now).is_ok()
                || certificate::vouches_for_itself(certificate, name, now).is_ok())
        {
            return Err(Untrusted::NotOfFile { got, file });
        }
        if self.trust.authorities.is_some() || !is_stranger {
            return Err(match refused {
                Untrusted::Other(_) if may_sign => Untrusted::UnknownAuthority { got },
                refused => refused,
            });
        }
        // Whoever had a name before does not lose it by vouching for itself.
        if let Some(known) = self.known.first() {
            let known = match known {
                Known::Certificate(known) => Some(*known),
                Known::Authority => None,
            };
            let (place, file) = (self.place.clone(), self.trust.known_hosts.clone());
            return Err(Untrusted::Changed { got, known, place, file });
        }
        if may_sign {
            certificate::vouches_for_itself(certificate, name, now)?;
        } else {
            signed_by_itself(certificate, chain, now).map_err(|error| Untrusted::of(error, got))?;
            if self.new == NewServer::SameName {
                certificate::is_for(certificate, name)?;
            }
        }
        match self.trust.known_hosts {
            Some(_) => Ok(Verdict::New(got)),
            None => Err(Untrusted::SelfSigned { got }),
        }
    }
}

/// Whether a certificate vouches for itself, and is valid now.
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
            Ok(verdict) => {
                let _ = self.verdict.set(verdict);
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
