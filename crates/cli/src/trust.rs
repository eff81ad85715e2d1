//! Keys, certificates and whom to trust: from flags, and from where such things are kept.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::anyhow;
use anyport_client::{Encryption, Target};
use anyport_console::{Exit, Failure, to_stderr};
use anyport_server::TlsMode;
use anyport_tls::client::{Client, Trust, TrustedBy};
use anyport_tls::identity::{Identity, IdentityError, KEPT as KEPT_AS};
use anyport_tls::server::Server;
use rustix::fs::Access;

use crate::flags::{ClientTls, ServerTls};

/// Returns the TLS settings of a server; `None`: no TLS.
///
/// # Errors
/// Files that are named and cannot be used.
pub(crate) fn server(flags: &ServerTls) -> Result<Option<Server>, Failure> {
    if flags.tls_key.is_some() && flags.tls_cert.is_none() {
        return Err(without_chain("--tls-key", "--tls-cert"));
    }
    if flags.tls == TlsMode::Off {
        return match [&flags.tls_cert, &flags.tls_client_ca].into_iter().flatten().next() {
            None => Ok(None),
            Some(_) => Err(Failure::new(
                Exit::Usage,
                anyhow!("--tls off cannot be combined with --tls-cert or --tls-client-ca"),
            )
            .with_hint("leave out one of them")),
        };
    }
    let identity = match &flags.tls_cert {
        Some(chain) => {
            let key = flags.tls_key.as_deref().unwrap_or(chain);
            let identity = Identity::read(chain, key);
            let identity = identity.map_err(|error| unusable(error, &named(flags)))?;
            warn_of_dates(&identity, chain);
            identity
        }
        None => own_identity(flags)?,
    };
    let server = Server::new(&identity, flags.tls_client_ca.as_deref(), true);
    server.map(Some).map_err(|error| unusable(error, &named(flags)))
}

/// The failure for a private key whose certificate chain no layer names.
fn without_chain(key: &str, chain: &str) -> Failure {
    let failure = Failure::new(Exit::Usage, anyhow!("{key} needs {chain}"));
    failure.with_hint(format!("name the certificate chain with {chain} FILE"))
}

/// Warns about dates. It serves nevertheless: clients that know it go by its fingerprint.
fn warn_of_dates(identity: &Identity, file: &Path) {
    if let Err(untrusted) = identity.in_date() {
        to_stderr(&format!(
            "warning: {}: {untrusted}; clients that have not pinned it will reject it",
            file.display()
        ));
    }
}

/// Returns the directory of a generated identity, and whether the user chose it.
fn tls_directory(flags: &ServerTls) -> (Option<PathBuf>, bool) {
    match &flags.tls_dir {
        Some(directory) => (Some(directory.clone()), true),
        None => (state_directory(), false),
    }
}

/// The identity that made itself, now or at an earlier start.
fn own_identity(flags: &ServerTls) -> Result<Identity, Failure> {
    let unusable = |error| unusable(error, &named(flags));
    let (directory, is_chosen) = tls_directory(flags);
    let kept = match directory {
        Some(directory) => Identity::kept_in(&directory).map(|(identity, _)| {
            warn_of_dates(&identity, &directory.join(KEPT_AS));
            identity
        }),
        None => for_this_run(),
    };
    match kept {
        Ok(identity) => {
            KEPT.store(true, Ordering::Relaxed);
            Ok(identity)
        }
        // A server with a stored identity must not get another one because a reload cannot read it.
        Err(error @ IdentityError::File { .. }) if !is_chosen && !KEPT.load(Ordering::Relaxed) => {
            // Without a choice of the user, a failure to store does not prevent serving.
            if FOR_THIS_RUN.get().is_some() {
                return for_this_run().map_err(unusable);
            }
            to_stderr(&format!(
                "warning: {error}; the TLS key is not stored, so clients will see a \
                changed certificate \
                 after a restart (--tls-dir DIR stores it)"
            ));
            for_this_run().map_err(unusable)
        }
        Err(error) => Err(unusable(error)),
    }
}

/// The identity that nothing keeps; a reload finds the same one, as clients know it already.
fn for_this_run() -> Result<Identity, IdentityError> {
    if let Some(identity) = FOR_THIS_RUN.get() {
        return Ok(identity.clone());
    }
    let identity = Identity::in_memory()?;
    Ok(FOR_THIS_RUN.get_or_init(|| identity).clone())
}

/// This process has used an identity that is kept.
static KEPT: AtomicBool = AtomicBool::new(false);

static FOR_THIS_RUN: OnceLock<Identity> = OnceLock::new();

/// Checks that the named files, and those that a start would use, can be used. Generates no
/// identity.
///
/// # Errors
/// As [`server`].
pub(crate) fn check(flags: &ServerTls) -> Result<(), Failure> {
    if flags.tls == TlsMode::Off || flags.tls_cert.is_some() || flags.tls_key.is_some() {
        return server(flags).map(drop);
    }
    let unusable = |error| unusable(error, &named(flags));
    let identity = match found(flags)? {
        Some(identity) => identity,
        None => Identity::in_memory().map_err(unusable)?,
    };
    Server::new(&identity, flags.tls_client_ca.as_deref(), false).map(drop).map_err(unusable)
}

/// The identity that an earlier start has kept.
fn found(flags: &ServerTls) -> Result<Option<Identity>, Failure> {
    let (Some(directory), is_chosen) = tls_directory(flags) else { return Ok(None) };
    let found = Identity::found_in(&directory).and_then(|found| match &found {
        None if directory.is_dir() => {
            let access = rustix::fs::access(&directory, Access::WRITE_OK | Access::EXEC_OK);
            let path = directory.clone();
            access
                .map(|()| None)
                .map_err(|error| IdentityError::File { path, source: error.into() })
        }
        _ => Ok(found),
    });
    match found {
        // As at a start, a default that fails does not prevent serving.
        Err(error @ IdentityError::File { .. }) if !is_chosen => {
            to_stderr(&format!("warning: {error}; the TLS key would not be stored"));
            Ok(None)
        }
        Err(error) => Err(unusable(error, &named(flags))),
        Ok(found) => {
            if let Some(identity) = &found {
                warn_of_dates(identity, &directory.join(KEPT_AS));
            }
            Ok(found)
        }
    }
}

/// Flags and the files that they name; the first two are those of a certificate and its key.
type Named<'a> = [(&'static str, Option<&'a Path>); 4];

fn named(flags: &ServerTls) -> Named<'_> {
    [
        ("--tls-cert", flags.tls_cert.as_deref()),
        ("--tls-key", flags.tls_key.as_deref()),
        ("--tls-client-ca", flags.tls_client_ca.as_deref()),
        ("--tls-dir", flags.tls_dir.as_deref()),
    ]
}

/// The error for a file that cannot be used, with the flag of `named` that names it.
fn unusable(error: IdentityError, named: &Named<'_>) -> Failure {
    let (path, hint) = match &error {
        IdentityError::File { path, .. } | IdentityError::Content { path, .. } => {
            (path.as_path(), None)
        }
        IdentityError::Readable { path, .. } => {
            (path.as_path(), Some(format!("chmod 600 {}", path.display())))
        }
        IdentityError::NoKey { path } => (path.as_path(), Some(format!("{} FILE", named[1].0))),
        _ => (Path::new(""), None),
    };
    let names = |file: &Option<&Path>| file.is_some_and(|file| path.starts_with(file));
    let flag = named.iter().find(|(_, file)| names(file)).map(|(flag, _)| *flag);
    let error = match flag {
        Some(flag) => anyhow!(error).context(format!("cannot use {flag}")),
        None => anyhow!(error),
    };
    Failure { hint, ..Failure::new(Exit::Usage, error) }
}

/// Returns the servers that a client trusts, of which it connects to `targets`.
///
/// # Errors
/// Named files that cannot be used, and flags that would protect nothing.
pub(crate) fn client(flags: &ClientTls, targets: &[Target]) -> Result<Encryption, Failure> {
    check_effect(flags, targets)?;
    if flags.key.is_some() && flags.cert.is_none() {
        return Err(without_chain("--key", "--cert"));
    }
    let named = [
        ("--cert", flags.cert.as_deref()),
        ("--key", flags.key.as_deref()),
        ("--cacert", flags.cacert.as_deref()),
        ("--known-hosts", flags.known_hosts.as_deref()),
    ];
    let unusable = |error| unusable(error, &named);
    let identity = flags.cert.as_deref().map(|chain| {
        Identity::read(chain, flags.key.as_deref().unwrap_or(chain)).map_err(unusable)
    });
    let trust = Trust {
        pins: flags.pin.clone(),
        authorities: flags.cacert.clone(),
        known_hosts: flags.known_hosts.clone().or_else(|| in_config("known_hosts")),
        insecure: flags.insecure,
        identity: identity.transpose()?,
    };
    Ok(Encryption::new(Client::new(trust).map_err(unusable)?, tell))
}

/// Refuses flags that promise protection if a target is not under TLS: no certificate is checked
/// or sent there.
fn check_effect(flags: &ClientTls, targets: &[Target]) -> Result<(), Failure> {
    let Some(target) = targets.iter().find(|target| !target.encrypted) else { return Ok(()) };
    let given = [
        ("--pin", !flags.pin.is_empty()),
        ("--cacert", flags.cacert.is_some()),
        ("--cert", flags.cert.is_some()),
    ];
    if let Some((flag, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
        let encrypted = Target { encrypted: true, ..target.clone() };
        let error = anyhow!("{flag} has no effect on {}: no TLS", target.address());
        return Err(Failure::new(Exit::Usage, error).with_hint(format!("use {encrypted}")));
    }
    if flags.insecure {
        to_stderr(&format!("warning: -k has no effect on {}: no TLS", target.address()));
    }
    Ok(())
}

/// Prints what the user should know about a server without a trusted CA.
fn tell(target: &Target, met: &TrustedBy) {
    let authority = target.address();
    match met {
        TrustedBy::New { fingerprint, file, error: None } => to_stderr(&format!(
            "trusting {authority} on first use: certificate {fingerprint} is stored in {}",
            file.display()
        )),
        TrustedBy::New { fingerprint, error: Some(error), .. } => to_stderr(&format!(
            "warning: trusting {authority} on first use, certificate {fingerprint}; it \
            cannot be stored: {error}"
        )),
        TrustedBy::Unchecked { fingerprint } => to_stderr(&format!(
            "warning: certificate of {authority} not verified (-k): the connection \
            can be intercepted; \
             fingerprint {fingerprint}"
        )),
        _ => {}
    }
}

fn state_directory() -> Option<PathBuf> {
    // systemd passes a list if a unit has several.
    let of_service = env::var_os("STATE_DIRECTORY").filter(|value| !value.is_empty());
    if let Some(directories) = of_service {
        return env::split_paths(&directories).next();
    }
    base("XDG_STATE_HOME", ".local/state").map(|base| base.join("anyport"))
}

fn in_config(name: &str) -> Option<PathBuf> {
    base("XDG_CONFIG_HOME", ".config").map(|base| base.join("anyport").join(name))
}

/// A base directory (XDG Base Directory Specification): relative ones do not count.
fn base(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| {
        env::var_os(name).map(PathBuf::from).filter(|directory| directory.is_absolute())
    };
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}
