//! Who a server is: a private key, and the certificate that says whose it is.
//!
//! A server that was given none makes one at its first start and keeps it, so that its clients know
//! it again. Key and certificate are one file, which appears whole or not at all, and which nobody
//! else may read.

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

/// A key and the chain of certificates that goes with it.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(crate) key: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key that others can read is no secret.
    #[error("{}: other users may read this private key (mode {mode:o})", path.display())]
    Readable {
        /// The key's file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file that was to hold a private key holds none.
    #[error("{}: no private key found", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// No PEM, or not what belongs there.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key could not be made.
    #[error("cannot generate a key and a certificate: {0}")]
    Made(#[from] rcgen::Error),
}

impl Identity {
    /// Reads a certificate chain and its key, both PEM; they may be one file.
    ///
    /// # Errors
    /// Files that cannot be read, a key that others may read, no certificate or no key in them, or
    /// a key that is not the certificate's.
    pub fn read(chain: &Path, key: &Path) -> Result<Self, IdentityError> {
        let certificates = certificates(chain)?;
        let path = key.to_owned();
        let (mode, pem) = read(key)?;
        let key = PrivateKeyDer::from_pem_slice(&pem);
        // Before its permissions: a file with a certificate alone may be readable by all users.
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

    /// The identity that is kept in `directory`, made now if there is none. `true`: it is new.
    ///
    /// Several servers may ask at once: all get the same.
    ///
    /// # Errors
    /// As [`Self::read`], and a directory that cannot be made or written.
    pub fn kept_in(directory: &Path) -> Result<(Self, bool), IdentityError> {
        if let Some(identity) = Self::found_in(directory)? {
            return Ok((identity, false));
        }
        let path = directory.join(KEPT);
        let made = keep(directory, &path, &make()?.1)
            .map_err(|source| IdentityError::File { path: path.clone(), source })?;
        Ok((Self::read(&path, &path)?, made))
    }

    /// The identity that is kept in `directory`, if there is one.
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

    /// One that ends with the process.
    ///
    /// # Errors
    /// A key cannot be made.
    pub fn in_memory() -> Result<Self, IdentityError> {
        Ok(make()?.0)
    }

    /// What clients know it by.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether all of its certificates are valid now, as far as their dates say.
    ///
    /// # Errors
    /// What its clients will say of the first that is not.
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

/// The certificates of a PEM file; at least one.
///
/// # Errors
/// A file that cannot be read, or has none.
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

/// A PEM file and its permissions.
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

/// A key, and a certificate that it signs itself; and both as PEM.
fn make() -> Result<(Identity, String), IdentityError> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned()];
    // A name that is none (an empty one, one with an underscore) is left out.
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
    // A client whose clock is late shall not refuse it.
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

/// Publishes the file, unless somebody was quicker. Whether it is ours.
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

/// The file of an identity that made itself.
pub const KEPT: &str = "tls-identity.pem";

/// Those who know it by its fingerprint would have to be told of another.
const VALID: Duration = Duration::days(20 * 365);

/// The longest PEM file that is read: chains have a few KiB.
const MAX_PEM: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn is_made_once_and_kept_secret() {
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
    fn what_is_wrong_with_a_file_is_said_of_that_file() {
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
