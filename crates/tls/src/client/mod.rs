//! TLS settings of a client, and the servers that it trusts.

mod inspect;
mod verify;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

pub use self::inspect::{Inspection, Presented, Version};
use self::verify::{Outcome, Verifier};
use crate::identity::{Identity, IdentityError, certificates};
use crate::known_hosts::{self, KnownHosts};
use crate::machine::{ClientMachine, Machine};
use crate::untrusted::Untrusted;
use crate::{Fingerprint, TlsError, provider};

/// The servers that a client trusts.
///
/// By default: those with a certificate of a CA of this system, those in the file of known hosts,
/// and self-signed ones on first use.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Only servers with one of these certificates, whatever their names and dates.
    pub pins: Vec<Fingerprint>,
    /// Only servers with a certificate of one of the CAs in this PEM file.
    pub authorities: Option<PathBuf>,
    /// File in which self-signed servers are remembered.
    ///
    /// `None`: they are refused.
    pub known_hosts: Option<PathBuf>,
    /// Trusts every server: the connection can be intercepted.
    pub insecure: bool,
    /// The client's own identity, for servers that request one.
    pub identity: Option<Identity>,
}

/// Required name in the certificate of a self-signed server on first use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewServer {
    /// Any name: the server is recognized only by its fingerprint, like an ssh server.
    AnyName,
    /// The requested host name, as browsers require.
    SameName,
}

/// TLS settings of a client, with which it connects.
#[derive(Debug)]
pub struct Client {
    trust: Trust,
    /// Loaded at the first use.
    authorities: OnceLock<Authorities>,
    known_hosts: Option<KnownHosts>,
}

impl Client {
    /// Reads the files of `trust`.
    ///
    /// # Errors
    /// The CA certificates cannot be read, or there are none.
    pub fn new(trust: Trust) -> Result<Self, IdentityError> {
        let authorities = OnceLock::new();
        if let Some(path) = &trust.authorities {
            let unusable = |reason: String| IdentityError::Content { path: path.clone(), reason };
            let mut roots = RootCertStore::empty();
            let given = certificates(path)?;
            for certificate in &given {
                roots.add(certificate.clone()).map_err(|error| unusable(error.to_string()))?;
            }
            let verifier = verifier_for(roots).map_err(|error| unusable(error.to_string()))?;
            let _ = authorities.set(Authorities { verifier: Some(verifier), given: given.into() });
        }
        let known_hosts = trust.known_hosts.clone().map(KnownHosts::new);
        Ok(Self { trust, authorities, known_hosts })
    }

    /// Returns a connection to `host` at `port`, which has a ClientHello to send. `alpn`: the
    /// protocols to offer (RFC 7301).
    ///
    /// # Errors
    /// The file of known hosts cannot be read; `host` is neither a name nor an address.
    pub fn connect(
        &self,
        host: &str,
        port: u16,
        alpn: &[&[u8]],
        new: NewServer,
    ) -> Result<(ClientMachine, Verification), TlsError> {
        let (name, verifier) = self.verifier(host, port, new)?;
        let verifier = Arc::new(verifier);
        let identity = self.trust.identity.as_ref().map(|identity| identity.key.clone());
        let always = rustls::sign::SingleCertAndKey::from;
        let identity = identity.map(|key| Arc::new(always(key)) as Arc<dyn ResolvesClientCert>);
        let config = Self::config(verifier.clone(), identity, alpn, rustls::DEFAULT_VERSIONS)?;
        let machine = Machine::client(&config, name)?;
        Ok((machine, Verification { verifier, known_hosts: self.known_hosts.clone() }))
    }

    /// Returns the name of a server for its certificate, and its verifier.
    fn verifier(
        &self,
        host: &str,
        port: u16,
        new: NewServer,
    ) -> Result<(ServerName<'static>, Verifier), TlsError> {
        // A server does not know the client's zones (RFC 6874 §4), but here they are different
        // hosts.
        let name = if host.contains(':') { host.split('%').next().unwrap_or(host) } else { host };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsError::from(Untrusted::NoName { host: host.to_owned() }))?;
        let place = place(host, port);
        let known = match &self.known_hosts {
            // Pins and CAs of the user replace the known hosts.
            Some(_) if self.trust.insecure || self.is_explicit() => Vec::new(),
            Some(known) => known.of(&place).map_err(Untrusted::KnownHosts)?,
            None => Vec::new(),
        };
        let verifier = Verifier {
            trust: self.trust.clone(),
            authorities: self.authorities(),
            known,
            place,
            new,
            outcome: OnceLock::new(),
        };
        Ok((name, verifier))
    }

    /// Returns the settings of one connection.
    fn config(
        verifier: Arc<dyn ServerCertVerifier>,
        identity: Option<Arc<dyn ResolvesClientCert>>,
        alpn: &[&[u8]],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(identity),
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        // Each connection verifies the server again.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// Returns whether the user named the servers to trust.
    const fn is_explicit(&self) -> bool {
        !self.trust.pins.is_empty() || self.trust.authorities.is_some()
    }

    fn authorities(&self) -> Authorities {
        // Reading the CAs of the system takes a while, and a client with a pin does not need them.
        if self.trust.insecure || !self.trust.pins.is_empty() {
            return Authorities::default();
        }
        let of_system = || {
            let mut roots = RootCertStore::empty();
            let given = rustls_native_certs::load_native_certs().certs;
            // Unparsable ones are skipped: some are older than the rules, and a small system may
            // have none.
            roots.add_parsable_certificates(given.iter().cloned());
            Authorities { verifier: verifier_for(roots).ok(), given: given.into() }
        };
        self.authorities.get_or_init(of_system).clone()
    }
}

/// The CA certificates of a file, or of the system.
#[derive(Debug, Clone, Default)]
struct Authorities {
    verifier: Option<Arc<dyn ServerCertVerifier>>,
    /// Includes a server's own certificate, if the file has it.
    given: Arc<[CertificateDer<'static>]>,
}

/// Returns a verifier for certificates that one of `roots` signed.
fn verifier_for(roots: RootCertStore) -> Result<Arc<dyn ServerCertVerifier>, VerifierBuilderError> {
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    Ok(builder.build()?)
}

/// The verification of a server during its handshake.
#[derive(Debug)]
pub struct Verification {
    verifier: Arc<Verifier>,
    known_hosts: Option<KnownHosts>,
}

/// Why a server is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustedBy {
    /// A trusted CA signed its certificate.
    Authority,
    /// Its certificate is pinned.
    Pinned,
    /// It is in the file of known hosts.
    Known,
    /// It was trusted on first use, and is remembered from now on.
    New {
        /// Fingerprint of its certificate.
        fingerprint: Fingerprint,
        /// The file of known hosts.
        file: PathBuf,
        /// Why it could not be remembered; `None` if it was.
        error: Option<String>,
    },
    /// Its certificate was not verified.
    Unchecked {
        /// Fingerprint of its certificate.
        fingerprint: Fingerprint,
    },
}

impl Verification {
    /// Returns why the server is trusted, and remembers it if it is new.
    ///
    /// Call it after the handshake, in which the server proves that it has the key. Returns `None`
    /// without a certificate.
    pub fn conclude(self) -> Option<TrustedBy> {
        let outcome = self.verifier.outcome.get()?;
        let keep = |what: known_hosts::Known| {
            let known = self.known_hosts.as_ref()?;
            Some((known.path().to_owned(), known.add(&self.verifier.place, what).err()))
        };
        Some(match *outcome {
            Outcome::Authority { new } => {
                // It is trusted by its CA in any case; failing to store that changes nothing now.
                if new {
                    let _ = keep(known_hosts::Known::Authority);
                }
                TrustedBy::Authority
            }
            Outcome::Pinned => TrustedBy::Pinned,
            Outcome::Known => TrustedBy::Known,
            Outcome::New(fingerprint) => {
                let (file, error) = keep(known_hosts::Known::Certificate(fingerprint))?;
                TrustedBy::New { fingerprint, file, error: error.map(|error| error.to_string()) }
            }
            Outcome::Unchecked(fingerprint) => TrustedBy::Unchecked { fingerprint },
        })
    }
}

/// Returns the host and port as written in the file of known hosts.
fn place(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
