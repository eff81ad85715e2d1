//! Tokens on the command line: from files and the environment, and never an argument, which all
//! users can read.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use anyport_client::{Scheme, Scope, Target, TargetError};
use anyport_console::{Exit, Failure, to_stderr};
use anyport_net::address::Address;
use anyport_net::resolve::{split_port, without_zone};
use anyport_proto::access::{HostName, Named, Rights, Token, parse_list};
use anyport_server::{Config, ListenerConfig, OnTimeout, Service, Tokens};
use clap::Args;

use crate::setting::Restart;

/// Clients that may connect, and their requests.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct Access {
    /// Refuse uploads; never write to DIR
    ///
    /// No client has the rights write and delete, whatever its token says. DIR need not be
    /// writable. The server refuses uploads with 403 over HTTP and with the error
    /// not-supported over the other protocols. Rooms, pipes and echo store nothing and are not
    /// affected.
    #[arg(long, conflicts_with = "upload_only", add = Restart::Always)]
    pub(crate) read_only: bool,

    /// Refuse downloads and listings; never replace a file
    ///
    /// No client has the rights read and delete, whatever its token says. If the name is taken, the
    /// server renames the upload, whatever the client or --on-exists requests, and never reports
    /// the file as already stored. An interrupted upload is resumed only for a client that sends an
    /// upload id, as anyport send does except over HTTP.
    #[arg(long, add = Restart::Always)]
    pub(crate) upload_only: bool,

    /// Grant RIGHTS to all clients, in addition to read, write and talk
    ///
    /// RIGHTS is a list of words, such as delete,admin. read: list and download files. write:
    /// upload files, create directories. delete: delete files and empty directories; with write
    /// rename them. talk: use rooms and pipes. share: make links for people without a token, as
    /// anyport share does. admin: read /metrics (--metrics allows it too). With --token-file, the
    /// lines of FILE have the rights instead.
    #[arg(long, value_name = "RIGHTS")]
    pub(crate) allow: Option<Rights>,

    /// Require a token listed in FILE (see anyport token)
    ///
    /// Each line of FILE is TOKEN, or NAME TOKEN RIGHTS /PATH, where RIGHTS and /PATH may be left
    /// out (the file of a client has HOST TOKEN instead); # begins a comment. RIGHTS are those of
    /// --allow, separated by commas [default: read,write,talk]. With /PATH, the rest of the line,
    /// the rights on files are for that file or directory alone; names stay those of the whole DIR.
    /// Clients send a token over HTTP and WebSocket as password (curl -u :TOKEN) or as
    /// Authorization: Bearer TOKEN, in a preface line as token=TOKEN, and from anyport with
    /// --token-file or ANYPORT_TOKEN. Raw bytes (nc) and WebSocket frames without a handshake
    /// (frames://) cannot carry one and are refused. The health checks /livez, /readyz and /healthz
    /// need none.
    ///
    /// Addresses that other machines can reach need no --open then; --open does not disable tokens.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Accept HTTP requests for the host name HOST; repeatable
    ///
    /// The server refuses requests for other names with 421, which protects against DNS rebinding.
    /// Always accepted are IP addresses, names without a dot, localhost, names that end in
    /// .localhost, .local, .lan or .home.arpa, the name of this machine, and the names in the TLS
    /// certificate. With --token-file, the name is not checked: the token protects.
    #[arg(long, value_name = "HOST")]
    pub(crate) allow_host: Vec<HostName>,

    /// Expose Prometheus metrics at /metrics
    ///
    /// Every client that may connect can read them; with --token-file, they require a token with
    /// the right admin.
    #[arg(long)]
    pub(crate) metrics: bool,
}

impl Access {
    /// Applies the flags to `config`, and reads the token file, again at each reload.
    ///
    /// # Errors
    /// The file cannot be read, is open to others, or is no list of tokens.
    pub(crate) fn configure(&self, config: &mut Config) -> Result<(), Failure> {
        config.startup.withheld = self.withheld();
        config.open_rights = self.open_rights()?;
        config.tokens = match &self.token_file {
            Some(path) => Some(Tokens::new(read_server_file(path)?)),
            None => None,
        };
        config.allowed_hosts.clone_from(&self.allow_host);
        config.metrics = self.metrics;
        Ok(())
    }

    /// Returns the rights that no client has.
    pub(crate) const fn withheld(&self) -> Rights {
        match (self.read_only, self.upload_only) {
            (true, _) => Rights::WRITE.with(Rights::DELETE),
            (false, true) => Rights::READ.with(Rights::DELETE),
            (false, false) => Rights::NONE,
        }
    }

    /// Returns the rights of clients if no token is required.
    fn open_rights(&self) -> Result<Rights, Failure> {
        let usage = |error: anyhow::Error, hint: &str| {
            Err(Failure::new(Exit::Usage, error).with_hint(hint))
        };
        let allowed = self.allow.unwrap_or_default();
        if self.allow.is_some() && self.token_file.is_some() {
            return usage(
                anyhow!("--allow has no effect with --token-file: each client has a token"),
                "write the rights into the lines of the file: NAME TOKEN RIGHTS",
            );
        }
        let refused = allowed.within(self.withheld());
        if !refused.is_empty() {
            let flag = if self.read_only { "--read-only" } else { "--upload-only" };
            return usage(anyhow!("--allow {refused} contradicts {flag}"), "leave out one of them");
        }
        // Without tokens, --metrics is for every client.
        let metrics = if self.metrics { Rights::ADMIN } else { Rights::NONE };
        Ok(Rights::DEFAULT.with(allowed).with(metrics).without(self.withheld()))
    }

    /// Returns what a client without a token may do with files, in words; empty if that is
    /// nothing, or if each client has a token.
    pub(crate) fn open_words(&self) -> String {
        let rights = self.open_rights().unwrap_or_default();
        let words = [
            (Rights::WRITE, "upload"),
            (Rights::READ, "list and download"),
            (Rights::DELETE, "delete"),
        ];
        let words = words.into_iter().filter(|(right, _)| rights.contains(*right));
        let words: Vec<_> = words.map(|(_, word)| word).collect();
        words.join(", ")
    }

    /// Checks that the addresses of `service` may be public, and that clients can send a required
    /// token there.
    pub(crate) fn check(
        &self,
        addresses: &[Address],
        open: bool,
        listener: &ListenerConfig,
    ) -> Result<(), Failure> {
        let usage = |error: anyhow::Error, hint: String| {
            Err(Failure::new(Exit::Usage, error).with_hint(hint))
        };
        let service = listener.service;
        let wide = addresses.iter().find(|address| !address.is_loopback()).filter(|_| !open);
        if self.token_file.is_none() {
            let Some(wide) = wide else { return Ok(()) };
            let (may, tokens) = match service {
                Service::Any => {
                    ("upload into DIR".to_owned(), ", or --token-file FILE to require a token")
                }
                other => (format!("use {}", other.as_str()), ""),
            };
            return usage(
                anyhow!("{wide} is reachable from other machines"),
                format!("add --open to let every client {may}{tokens}"),
            );
        }
        if service != Service::Any {
            let Some(wide) = wide else { return Ok(()) };
            let service = service.as_str();
            return usage(
                anyhow!(
                    "{service}:// cannot require a token, and {wide} is \
                    reachable from other machines"
                ),
                format!("add --open to let every client use {service}, or listen on 127.0.0.1"),
            );
        }
        if !listener.allowed.detect {
            let error =
                anyhow!("--no-detect cannot require a token: the server does not parse its input");
            return usage(error, "leave out --no-detect or --token-file".to_owned());
        }
        if listener.on_timeout == OnTimeout::Greet {
            let error = anyhow!(
                "--on-timeout greet cannot require a token: it serves clients that send nothing"
            );
            return usage(error, "leave out --on-timeout greet or --token-file".to_owned());
        }
        Ok(())
    }
}

/// The token of a client.
#[derive(Debug, Args)]
pub(crate) struct Credential {
    /// Read the token from FILE [default: the variable ANYPORT_TOKEN]
    ///
    /// Each line of FILE, and the value of ANYPORT_TOKEN, is TOKEN or HOST TOKEN. HOST is the host
    /// of the URL, or HOST:PORT for one port alone; the token is sent to no other host. A token
    /// without a host in ANYPORT_TOKEN is sent to this machine only (localhost, 127.0.0.1, ::1).
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub(crate) token_file: Option<PathBuf>,
}

impl Credential {
    /// Parses the URL of a target, and finds the token for it.
    pub(crate) fn target(&self, url: &str, hint: &str) -> Result<Target, Failure> {
        let mut target: Target = url.parse().map_err(|error| bad_target(error, hint))?;
        target.token = self.token(&target)?;
        if self.token_file.is_some() && target.scheme == Scheme::Frames {
            let error = anyhow!("frames:// cannot carry a token: it has no handshake");
            return Err(Failure::new(Exit::Usage, error).with_hint("use ws:// or tcp://"));
        }
        Ok(target)
    }

    /// Returns the token for the handshake of `cat`, which sends nothing else beside its input.
    pub(crate) fn handshake_token(&self, url: &str) -> Result<Option<Token>, Failure> {
        // An invalid URL is reported by cat.
        let target = url.parse::<Target>().ok().filter(|target| target.scheme == Scheme::Ws);
        match target {
            Some(target) => self.token(&target),
            None if self.token_file.is_some() => {
                let error = anyhow!("cat sends a token in the handshake of ws:// and wss:// only");
                Err(Failure::new(Exit::Usage, error)
                    .with_hint("write the token into the input: ANYPORT/1 ECHO token=TOKEN"))
            }
            None => Ok(None),
        }
    }

    fn token(&self, target: &Target) -> Result<Option<Token>, Failure> {
        match &self.token_file {
            Some(path) => from_file(path, target).map(Some),
            None => from_environment(target),
        }
    }
}

/// A token of a client, and the host that it is for.
struct Bound {
    host: Option<String>,
    token: Token,
}

impl Bound {
    fn is_for(&self, target: &Target) -> bool {
        let Some(host) = &self.host else { return false };
        let (host, port) = split_port(host);
        host.eq_ignore_ascii_case(&target.host)
            && port.is_none_or(|port| port.parse() == Ok(target.port))
    }
}

/// Parses lines of `TOKEN` or `HOST TOKEN`. Errors quote no input, since it may be the token.
fn parse_bound(text: &str) -> Result<Vec<Bound>, anyhow::Error> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<_> = line.split_whitespace().take(3).collect();
        let (host, token) = match words.as_slice() {
            [token] => (None, token),
            [host, token] => (Some((*host).to_owned()), token),
            _ => {
                bail!(
                    "line {number}: expected TOKEN or HOST TOKEN, with a comment \
                    on a line of its own"
                )
            }
        };
        let token = Token::parse(token).with_context(|| format!("line {number}"))?;
        found.push(Bound { host, token });
    }
    Ok(found)
}

/// Returns the token for `target`: the one with its host, else the only one without a host.
fn from_file(path: &Path, target: &Target) -> Result<Token, Failure> {
    let (mut bound, shown) = (read_and_parse(path, parse_bound, CLIENT_HINT)?, path.display());
    if let Some(at) = bound.iter().position(|bound| bound.is_for(target)) {
        return Ok(bound.swap_remove(at).token);
    }
    let hosts: Vec<_> = bound.iter().filter_map(|bound| bound.host.clone()).collect();
    // A word that could be a token is not shown: its line may have the words in the wrong order.
    let may_be_shown = hosts.iter().all(|host| Token::parse(host).is_err());
    let mut for_any = bound.into_iter().filter(|bound| bound.host.is_none());
    match (for_any.next(), for_any.next()) {
        (Some(only), None) => Ok(only.token),
        (first, _) => {
            let address = target.address();
            let error = match hosts.as_slice() {
                [] if first.is_none() => anyhow!("{shown} has no token"),
                [] => anyhow!("{shown} has several tokens without a host"),
                hosts if may_be_shown => {
                    anyhow!("{shown} has no token for {address}, only for: {}", hosts.join(", "))
                }
                _ => anyhow!("{shown} has no token for {address}, only for other hosts"),
            };
            Err(Failure::new(Exit::Usage, error).with_hint(
                "a client's token file has TOKEN or HOST TOKEN per line; \
                 leave out the name from anyport token --name",
            ))
        }
    }
}

/// Returns the token for `target` from the environment. A token without a host is for this machine
/// only, because the variable is set for every command, whatever its target.
fn from_environment(target: &Target) -> Result<Option<Token>, Failure> {
    let Some(value) = std::env::var_os(ENVIRONMENT).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let mut bound = parse_bound(&value.to_string_lossy()).map_err(|error| {
        Failure::new(Exit::Usage, error.context(format!("cannot use {ENVIRONMENT}"))).with_hint(
            "its value is HOST TOKEN, or TOKEN alone, which is sent to this machine only",
        )
    })?;
    if let Some(at) = bound.iter().position(|bound| bound.is_for(target)) {
        return Ok(Some(bound.swap_remove(at).token));
    }
    let mut for_any = bound.into_iter().filter(|bound| bound.host.is_none());
    let for_any = match (for_any.next(), for_any.next()) {
        (None, _) => return Ok(None),
        (Some(only), None) => only,
        (Some(_), Some(_)) => {
            let error = anyhow!("{ENVIRONMENT} has several tokens without a host");
            return Err(Failure::new(Exit::Usage, error)
                .with_hint("put the host before each token: HOST TOKEN, one per line"));
        }
    };
    let address = without_zone(&target.host).parse::<IpAddr>();
    let is_here = match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => target.host.eq_ignore_ascii_case("localhost"),
    };
    if !is_here {
        to_stderr(&format!(
            "warning: the token in {ENVIRONMENT} has no host and is not sent to {host}; \
             to send it use {ENVIRONMENT}='{host} TOKEN'",
            host = target.host
        ));
    }
    Ok(Some(for_any.token).filter(|_| is_here))
}

/// Returns what the path of `target` names.
pub(crate) fn scope(target: &Target) -> Result<Scope, Failure> {
    target
        .scope()
        .map_err(|error| Failure { hint: error.hint(), ..Failure::new(Exit::Usage, error) })
}

/// Returns the failure for an invalid URL, with a hint.
pub(crate) fn bad_target(error: TargetError, hint: &str) -> Failure {
    let hint = error.hint().unwrap_or_else(|| hint.to_owned());
    Failure::new(Exit::Usage, error).with_hint(hint)
}

/// Reads the token file of a server.
fn read_server_file(path: &Path) -> Result<Vec<Named>, Failure> {
    let parse = |text: &str| parse_list(text).map_err(anyhow::Error::from);
    let hint = "each line is TOKEN, or NAME TOKEN [RIGHTS] [/PATH]; anyport token prints a token";
    read_and_parse(path, parse, hint).map_err(|failure| match path.exists() {
        true => failure,
        false => {
            let path = path.display();
            failure.with_hint(format!("create it: (umask 077; anyport token > {path})"))
        }
    })
}

/// Returns what `parse` reads from a file of tokens, which other users must be able neither to read
/// nor to change.
fn read_and_parse<T>(
    path: &Path,
    parse: impl Fn(&str) -> Result<T, anyhow::Error>,
    hint: &str,
) -> Result<T, Failure> {
    let shown = path.display();
    let failed = |error: anyhow::Error| {
        Failure::new(Exit::Usage, error.context(format!("cannot use the token file {shown}")))
    };
    let file = File::open(path).map_err(|error| failed(error.into()))?;
    let metadata = file.metadata().map_err(|error| failed(error.into()))?;
    // The group may read it: services read root's files that way, also systemd credentials.
    let open_to = metadata.mode() & 0o027;
    if metadata.is_file() && open_to != 0 {
        let error =
            anyhow!("other users can read or change it (mode {:03o})", metadata.mode() & 0o777);
        return Err(failed(error).with_hint(format!("chmod 600 {shown}")));
    }
    let mut text = String::new();
    let most = LONGEST_FILE + 1;
    let read = file.take(most).read_to_string(&mut text).map_err(|error| failed(error.into()))?;
    if read as u64 == most {
        return Err(failed(anyhow!("it is longer than {LONGEST_FILE} bytes")));
    }
    parse(&text).map_err(|error| failed(error).with_hint(hint))
}

/// Generates a token: 32 random bytes in base64url (RFC 4648 §5), which needs no escaping in URLs,
/// headers or shells.
pub(crate) fn generate() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("cannot generate a token: {error}"))?;
    Ok(base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes))
}

/// Variable with a client's token. Other users cannot read it, unlike arguments.
const ENVIRONMENT: &str = "ANYPORT_TOKEN";

const CLIENT_HINT: &str = "each line is HOST TOKEN, or TOKEN alone for every host";

/// Maximum size of a token file in bytes: enough for the maximum number of tokens with comments.
const LONGEST_FILE: u64 = 1024 * 1024;
