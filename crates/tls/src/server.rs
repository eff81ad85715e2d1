//! What a server presents, and what it demands.

use std::path::Path;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::identity::{Identity, IdentityError, certificates};
use crate::{ALPN_H2, ALPN_HTTP_1_1, Fingerprint, provider};

/// TLS as a server speaks it: versions 1.2 and 1.3.
#[derive(Debug, Clone)]
pub struct Server {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

impl Server {
    /// Presents `identity`; with `client_ca`, a PEM file, only clients are let in that one of its certificates vouches for.
    /// `h2`: HTTP/2 is spoken.
    ///
    /// # Errors
    /// A file that cannot be used.
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
        // One is as good as two to who comes back, and each is a write behind the handshake.
        config.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(config), fingerprint: identity.fingerprint() })
    }

    /// As rustls has it.
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// What clients know it by.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// Whatever name a client asks for.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}
