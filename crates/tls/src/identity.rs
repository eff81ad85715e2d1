//! The identity of a server or client: a private key and its certificate.
//!
//! A server without one generates it at its first start and stores it, so that its clients
//! recognize it. Key and certificate are one file, which appears complete or not at all, and which
//! only its owner can read.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use crate::certificate::in_date;
use crate::{Fingerprint, Untrusted, provider};

/// A private key and its certificate chain.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(crate) key: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Other users can read the private key.
    #[error("{}: other users may read this private key (mode {mode:o})", path.display())]
    Readable {
        /// The file of the key.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file has no private key.
    #[error("{}: no private key found", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The file is not PEM, or has other content than expected.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A key could not be generated.
    #[error("cannot generate a key and a certificate: {0}")]
    Made(#[from] rcgen::Error),
}

impl Identity {
    /// Reads a certificate chain and its key, both PEM; they may be one file.
    ///
    /// # Errors
    /// A file cannot be read, other users can read the key, there is no certificate or no key, or
    /// the key does not belong to the certificate.
    pub fn read(chain: &Path, key: &Path) -> Result<Self, IdentityError> {
        let certificates = certificates(chain)?;
        let path = key.to_owned();
        let (mode, pem) = read(key)?;
        let key = PrivateKeyDer::from_pem_slice(&pem);
        // Checked before the permissions: other users may read a file that has only a certificate.
        if matches!(key, Err(pem::Error::NoItemsFound)) {
            return Err(IdentityError::NoKey { path });
        }
        if mode & 0o077 != 0 {
            return Err(IdentityError::Readable { path, mode: mode & 0o777 });
        }
        let content = |reason: String| IdentityError::Content { path: path.clone(), reason };
        let key = key.map_err(|error| content(format!("no private key found: {error}")))?;
        Self::new(certificates, key).map_err(content)
    }

    /// Returns the identity stored in `directory`; generates it if there is none. `true`: it is
    /// new.
    ///
    /// Concurrent callers get the same identity.
    ///
    /// # Errors
    /// As [`Self::read`]; the directory cannot be created or written.
    pub fn kept_in(directory: &Path) -> Result<(Self, bool), IdentityError> {
        if let Some(identity) = Self::found_in(directory)? {
            return Ok((identity, false));
        }
        let path = directory.join(KEPT);
        let made = keep(directory, &path, &make()?.1)
            .map_err(|source| IdentityError::File { path: path.clone(), source })?;
        Ok((Self::read(&path, &path)?, made))
    }

    /// Returns the identity stored in `directory`, if there is one.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn found_in(directory: &Path) -> Result<Option<Self>, IdentityError> {
        let path = directory.join(KEPT);
        match fs::symlink_metadata(&path) {
            Ok(_) => Self::read(&path, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(IdentityError::File { path, source }),
        }
    }

    /// Generates an identity that is not stored.
    ///
    /// # Errors
    /// A key cannot be generated.
    pub fn in_memory() -> Result<Self, IdentityError> {
        Ok(make()?.0)
    }

    /// Returns the fingerprint by which clients recognize it.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Checks that all of its certificates are valid now, according to their dates.
    ///
    /// # Errors
    /// The error that clients will report for the first certificate that is not.
    pub fn in_date(&self) -> Result<(), Untrusted> {
        let now = UnixTime::now();
        self.key.cert.iter().try_for_each(|certificate| in_date(certificate, now))
    }

    fn new(
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, String> {
        let first = certificates.first().ok_or("no certificate")?;
        let fingerprint = Fingerprint::of(first);
        let key = CertifiedKey::from_der(certificates, key, &provider()).map_err(|error| {
            format!("cannot use the key and the certificate: {}", crate::words(&error))
        })?;
        Ok(Self { key: Arc::new(key), fingerprint })
    }
}

/// Reads the certificates of a PEM file; at least one.
///
/// # Errors
/// The file cannot be read, or has no certificate.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let content = |reason| IdentityError::Content { path: path.to_owned(), reason };
    let (_, pem) = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| content(format!("no certificate found: {error}")))?;
    if certificates.is_empty() {
        return Err(content(
            "no certificate found: no line -----BEGIN CERTIFICATE-----".to_owned(),
        ));
    }
    Ok(certificates)
}

/// Reads a PEM file and its permissions.
fn read(path: &Path) -> Result<(u32, Vec<u8>), IdentityError> {
    let read = || {
        let mut file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        let mut pem = Vec::new();
        (&mut file).take(MAX_PEM).read_to_end(&mut pem)?;
        Ok((mode, pem))
    };
    read().map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

/// Generates a key and a self-signed certificate; also returns both as PEM.
fn make() -> Result<(Identity, String), IdentityError> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned()];
    // A hostname that is not a DNS name (an empty one, one with an underscore) is omitted.
    if host != "localhost" && rustls::pki_types::DnsName::try_from(host.as_str()).is_ok() {
        names.push(host);
    }
    let mut params = CertificateParams::new(names)?;
    for address in [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])] {
        params.subject_alt_names.push(rcgen::SanType::IpAddress(address));
    }
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "anyport");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = OffsetDateTime::now_utc();
    // For clients whose clock is slow.
    params.not_before = now - Duration::days(1);
    params.not_after = now + VALID;
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let pem = format!("{}{}", key.serialize_pem(), certificate.pem());
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(str::to_owned);
    let identity = der.and_then(|der| Identity::new(vec![certificate.der().clone()], der));
    let path = PathBuf::from(KEPT);
    Ok((identity.map_err(|reason| IdentityError::Content { path, reason })?, pem))
}

/// Publishes the file, unless another process was faster. Returns whether it did.
fn keep(directory: &Path, path: &Path, pem: &str) -> io::Result<bool> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Mode 0600 from the start.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(pem.as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            File::open(directory)?.sync_all()?;
            Ok(true)
        }
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// Name of the file of a generated identity.
pub const KEPT: &str = "tls-identity.pem";

/// Validity of a generated certificate; clients with its fingerprint would have to accept a new
/// one.
const VALID: Duration = Duration::days(20 * 365);

/// Maximum size of a PEM file; chains have a few KiB.
const MAX_PEM: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_identity_is_generated_once_and_kept_secret() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("not/there/yet");
        let (first, new) = Identity::kept_in(&place).unwrap();
        assert!(new);
        let (again, new) = Identity::kept_in(&place).unwrap();
        assert!(!new);
        assert_eq!(first.fingerprint(), again.fingerprint());
        assert_eq!(mode(&place.join(KEPT)), 0o600);
        assert_eq!(mode(&place), 0o700);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn many_first_starts_at_once_agree() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let identities: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| Identity::kept_in(place).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let first = identities[0].0.fingerprint();
        assert!(identities.iter().all(|(identity, _)| identity.fingerprint() == first));
        assert_eq!(identities.iter().filter(|(_, new)| *new).count(), 1);
    }

    #[test]
    fn an_error_names_the_file_that_it_is_about() {
        let directory = tempfile::tempdir().unwrap();
        let (chain, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
        let said = || Identity::read(&chain, &key).unwrap_err().to_string();
        assert!(said().contains("chain.pem: No such file"), "{}", said());
        let (_, pem) = make().unwrap();
        let (_, other) = make().unwrap();
        fs::write(&chain, "hello").unwrap();
        assert!(said().contains("chain.pem: no certificate"), "{}", said());
        fs::write(&chain, &pem).unwrap();
        fs::write(&key, &pem).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(said().contains("(mode 640)"), "{}", said());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Identity::read(&chain, &key).is_ok());
        fs::write(&key, "hello").unwrap();
        assert!(said().contains("key.pem: no private key"), "{}", said());
        fs::write(&key, other).unwrap();
        assert!(said().contains("key.pem: cannot use the key"), "{}", said());
    }
}
