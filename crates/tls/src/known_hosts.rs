//! The file of known hosts: a line for each server, as in ssh's file of this name.
//!
//! ```text
//! files.example:8331 sha256:5f3a…      self-signed, with this certificate
//! anyport.example:443 authority        signed by a trusted CA; a self-signed one is another server
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::Fingerprint;

/// The file.
#[derive(Debug, Clone)]
pub struct KnownHosts(PathBuf);

/// The remembered state of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Certificate(Fingerprint),
    Authority,
}

/// Why the file of known hosts cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KnownHostsError {
    /// The file cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        reason: String,
    },
    /// A line cannot be parsed.
    #[error("{}:{line}: expected HOST:PORT and a fingerprint \
        (or the word authority)", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
    },
}

impl KnownHosts {
    /// Uses the file at `path`, which need not exist.
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns all entries of a server.
    pub(crate) fn of(&self, place: &str) -> Result<Vec<Known>, KnownHostsError> {
        let text = match self.read() {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.error(&error)),
        };
        let mut known = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || KnownHostsError::Line { path: self.0.clone(), line: number + 1 };
            let (host, what) = line.split_once(' ').ok_or_else(wrong)?;
            let what = match what.trim() {
                AUTHORITY => Known::Authority,
                fingerprint => Known::Certificate(fingerprint.parse().map_err(|_| wrong())?),
            };
            if host.eq_ignore_ascii_case(place) {
                known.push(what);
            }
        }
        Ok(known)
    }

    /// Adds a line, unless it exists.
    pub(crate) fn add(&self, place: &str, what: Known) -> Result<(), KnownHostsError> {
        let add = || {
            if let Some(directory) = self.0.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            }
            let mut file =
                OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)?;
            // Another client may add the same server concurrently.
            flock(&file, FlockOperation::LockExclusive)?;
            if self.of(place).is_ok_and(|known| known.contains(&what)) {
                return Ok(());
            }
            // The last line may lack its line end if it was written by hand.
            let text = self.read()?;
            let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            let line = match what {
                Known::Certificate(fingerprint) => format!("{end}{place} {fingerprint}\n"),
                Known::Authority => format!("{end}{place} {AUTHORITY}\n"),
            };
            file.write_all(line.as_bytes())
        };
        add().map_err(|error: io::Error| self.error(&error))
    }

    fn read(&self) -> io::Result<String> {
        let mut text = String::new();
        File::open(&self.0)?.take(MAX_FILE).read_to_string(&mut text)?;
        Ok(text)
    }

    fn error(&self, error: &io::Error) -> KnownHostsError {
        KnownHostsError::File { path: self.0.clone(), reason: error.to_string() }
    }
}

const AUTHORITY: &str = "authority";

/// Maximum size of the file: some hundred thousand servers.
const MAX_FILE: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;

    use super::*;

    #[test]
    fn an_added_server_is_listed_once() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = KnownHosts::new(directory.path().join("new/known_hosts"));
        assert_eq!(hosts.of("a:1"), Ok(Vec::new()));
        let first = Known::Certificate(Fingerprint::of(&CertificateDer::from(vec![1])));
        for _ in 0..2 {
            hosts.add("a:1", first).unwrap();
        }
        hosts.add("[::1]:1", Known::Authority).unwrap();
        assert_eq!(hosts.of("A:1"), Ok(vec![first]));
        assert_eq!(hosts.of("[::1]:1"), Ok(vec![Known::Authority]));
        assert_eq!(hosts.of("a:2"), Ok(Vec::new()));
        assert_eq!(fs::read_to_string(hosts.path()).unwrap().lines().count(), 2);
        fs::write(hosts.path(), format!("b:1 {AUTHORITY}")).unwrap();
        hosts.add("a:1", first).unwrap();
        assert_eq!(
            (hosts.of("a:1"), hosts.of("b:1")),
            (Ok(vec![first]), Ok(vec![Known::Authority]))
        );
    }

    #[test]
    fn an_error_names_the_line_that_cannot_be_parsed() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = KnownHosts::new(directory.path().join("known_hosts"));
        fs::write(hosts.path(), "# mine\n\nother:1 authority\na:1 sha256:12\n").unwrap();
        let said = hosts.of("a:1").unwrap_err().to_string();
        assert!(said.contains("known_hosts:4: expected HOST:PORT"), "{said}");
    }
}
