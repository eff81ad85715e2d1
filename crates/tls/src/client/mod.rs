//! TLS as a client speaks it, and whom it trusts.

mod verify;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use self::verify::{Verdict, Verifier};
use crate::identity::{Identity, IdentityError, certificates};
use crate::known_hosts::{self, KnownHosts};
use crate::machine::{ClientMachine, Machine};
use crate::untrusted::Untrusted;
use crate::{Fingerprint, TlsError, provider};

/// Whom a client trusts. By default those that an authority of this system vouches for, and those
/// it has met before; and whoever vouches for itself, at the first meeting.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Servers with one of these certificates and no others, whatever their names and dates.
    pub pins: Vec<Fingerprint>,
    /// Servers that one of the certificates in this PEM file vouches for, and no others.
    pub authorities: Option<PathBuf>,
    /// Where servers that vouch for themselves are remembered. `None`: they are refused.
    pub known_hosts: Option<PathBuf>,
    /// Everybody: whoever is on the way can read and change all.
    pub insecure: bool,
    /// Who the client is, for servers that ask.
    pub identity: Option<Identity>,
}

/// What the certificate of a self-signed server must say when it is seen for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewServer {
    /// Any name: the server is known by its fingerprint alone, as an ssh server is.
    AnyName,
    /// The name of the host that was asked for, as browsers demand it.
    SameName,
}

/// Makes connections.
#[derive(Debug)]
pub struct Client {
    trust: Trust,
    /// Those of the file, or of the system where there are any.
    authorities: OnceLock<Authorities>,
    known_hosts: Option<KnownHosts>,
}

impl Client {
    /// Reads the files of `trust`.
    ///
    /// # Errors
    /// Authorities that cannot be read, or are none.
    pub fn new(trust: Trust) -> Result<Self, IdentityError> {
        let authorities = OnceLock::new();
        if let Some(path) = &trust.authorities {
            let unusable = |reason: String| IdentityError::Content { path: path.clone(), reason };
            let mut roots = RootCertStore::empty();
            let given = certificates(path)?;
            for certificate in &given {
                roots.add(certificate.clone()).map_err(|error| unusable(error.to_string()))?;
            }
            let verifier = vouching(roots).map_err(|error| unusable(error.to_string()))?;
            let _ = authorities.set(Authorities { verifier: Some(verifier), given: given.into() });
        }
        let known_hosts = trust.known_hosts.clone().map(KnownHosts::new);
        Ok(Self { trust, authorities, known_hosts })
    }

    /// A connection to `host` at `port`, which has a ClientHello to send; `alpn`: what will be
    /// spoken (RFC 7301).
    ///
    /// # Errors
    /// A file of known hosts that cannot be read; a host that is neither a name nor an address.
    pub fn connect(
        &self,
        host: &str,
        port: u16,
        alpn: &[&[u8]],
        new: NewServer,
    ) -> Result<(ClientMachine, Meeting), TlsError> {
        // A zone means nothing to the server (RFC 6874 §4), but tells two of them apart here.
        let name = if host.contains(':') { host.split('%').next().unwrap_or(host) } else { host };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsError::from(Untrusted::NoName { host: host.to_owned() }))?;
        let place = place(host, port);
        let known = match &self.known_hosts {
            // A pin and authorities of one's own say all there is to say.
            Some(_) if self.trust.insecure || self.is_told() => Vec::new(),
            Some(known) => known.of(&place).map_err(Untrusted::KnownHosts)?,
            None => Vec::new(),
        };
        let verifier = Arc::new(Verifier {
            trust: self.trust.clone(),
            authorities: self.authorities(),
            known,
            place,
            new,
            verdict: OnceLock::new(),
        });
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut config = match &self.trust.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let always = rustls::sign::SingleCertAndKey::from(identity.key.clone());
                builder.with_client_cert_resolver(Arc::new(always))
            }
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        // Each meeting is judged anew.
        config.resumption = Resumption::disabled();
        let machine = Machine::client(&Arc::new(config), name)?;
        Ok((machine, Meeting { verifier, known_hosts: self.known_hosts.clone() }))
    }

    /// Whether it was said whom to trust.
    const fn is_told(&self) -> bool {
        !self.trust.pins.is_empty() || self.trust.authorities.is_some()
    }

    fn authorities(&self) -> Authorities {
        // Reading those of the system takes a while, and a client with a pin does not need them.
        if self.trust.insecure || !self.trust.pins.is_empty() {
            return Authorities::default();
        }
        let of_system = || {
            let mut roots = RootCertStore::empty();
            let given = rustls_native_certs::load_native_certs().certs;
            // Some of them may be older than the rules, and a small system may have none.
            roots.add_parsable_certificates(given.iter().cloned());
            Authorities { verifier: vouching(roots).ok(), given: given.into() }
        };
        self.authorities.get_or_init(of_system).clone()
    }
}

/// The certificates that are trusted: of a file, or of the system.
#[derive(Debug, Clone, Default)]
struct Authorities {
    verifier: Option<Arc<dyn ServerCertVerifier>>,
    /// One of them may be a server's own.
    given: Arc<[CertificateDer<'static>]>,
}

/// Looks whether one of `roots` vouches for a server.
fn vouching(roots: RootCertStore) -> Result<Arc<dyn ServerCertVerifier>, VerifierBuilderError> {
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    Ok(builder.build()?)
}

/// How a server was found to be whom we want to talk to.
#[derive(Debug)]
pub struct Meeting {
    verifier: Arc<Verifier>,
    known_hosts: Option<KnownHosts>,
}

/// Why a server is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Met {
    /// An authority vouches for it.
    Vouched,
    /// It was said to be this one.
    Pinned,
    /// It is the one that it was before.
    Known,
    /// It was never met before, and is known from now on.
    New {
        /// What it is known by.
        fingerprint: Fingerprint,
        /// Where that is kept.
        file: PathBuf,
        /// Why it is not kept, if it is not.
        error: Option<String>,
    },
    /// Nobody looked.
    Unchecked {
        /// What it showed.
        fingerprint: Fingerprint,
    },
}

impl Meeting {
    /// To be called when the handshake is over, and the server has proven that it has its key.
    /// Remembers who it is. `None`: there was no certificate to look at.
    pub fn conclude(self) -> Option<Met> {
        let verdict = self.verifier.verdict.get()?;
        let keep = |what: known_hosts::Known| {
            let known = self.known_hosts.as_ref()?;
            Some((known.path().to_owned(), known.add(&self.verifier.place, what).err()))
        };
        Some(match *verdict {
            Verdict::Vouched { new } => {
                // It has a name that will not be taken from it; whether that was written changes
                // nothing now.
                if new {
                    let _ = keep(known_hosts::Known::Authority);
                }
                Met::Vouched
            }
            Verdict::Pinned => Met::Pinned,
            Verdict::Known => Met::Known,
            Verdict::New(fingerprint) => {
                let (file, error) = keep(known_hosts::Known::Certificate(fingerprint))?;
                Met::New { fingerprint, file, error: error.map(|error| error.to_string()) }
            }
            Verdict::Unchecked(fingerprint) => Met::Unchecked { fingerprint },
        })
    }
}

/// As a server stands in the file of known hosts.
fn place(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
