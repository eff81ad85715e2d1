//! TLS settings of a server.

use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::identity::{Identity, IdentityError, certificates};
use crate::{ALPN_H2, ALPN_HTTP_1_1, Fingerprint, provider};

/// TLS settings of a server, for versions 1.2 and 1.3.
#[derive(Debug, Clone)]
pub struct Server {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
    public_key: Option<[u8; 32]>,
    names: Arc<[String]>,
}

impl Server {
    /// Returns settings that present `identity`.
    ///
    /// With `client_ca`, a PEM file, clients need a certificate that one of its CAs signed. `h2`:
    /// offers HTTP/2.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn new(
        identity: &Identity,
        client_ca: Option<&Path>,
        h2: bool,
    ) -> Result<Self, IdentityError> {
        let provider = provider();
        let unusable =
            |path: &Path, reason: String| IdentityError::Content { path: path.to_owned(), reason };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .map_err(|error| unusable(Path::new("TLS"), error.to_string()))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| unusable(path, error.to_string()))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| unusable(path, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Always(identity.key.clone())));
        config.alpn_protocols = match h2 {
            true => vec![ALPN_H2.to_vec(), ALPN_HTTP_1_1.to_vec()],
            false => vec![ALPN_HTTP_1_1.to_vec()],
        };
        // One ticket is enough for a returning client, and each one is a write after the handshake.
        config.send_tls13_tickets = 1;
        let certificate = identity.key.cert.first();
        let parsed = certificate.and_then(|der| x509_parser::parse_x509_certificate(der).ok());
        let parsed = parsed.map(|(_, parsed)| parsed);
        let public_key =
            parsed.as_ref().map(|parsed| Sha256::digest(parsed.public_key().raw).into());
        let (config, fingerprint) = (Arc::new(config), identity.fingerprint());
        let names = parsed.as_ref().map(dns_names).unwrap_or_default().into();
        Ok(Self { config, fingerprint, public_key, names })
    }

    /// Returns the configuration for rustls.
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Returns the fingerprint by which clients recognize it.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns the options with which curl accepts the server's key and no other, with a blank
    /// behind them.
    pub fn curl_options(&self) -> Option<String> {
        // curl compares the pinned key even where -k disables other verification.
        let digest = BASE64.encode(&self.public_key?);
        Some(format!("-k --pinnedpubkey sha256//{digest} "))
    }

    /// Returns the DNS names of the certificate; one may begin with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let dns_name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns_name).collect()
}

/// Presents one certificate, whatever name a client requests.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}
