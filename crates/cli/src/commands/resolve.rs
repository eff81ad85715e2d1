//! `anyport resolve`.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, anyhow};
use anyport_client::Target;
use anyport_console::{Exit, Failure, print_failure, reason, to_stderr, to_stdout};
use anyport_net::address::UNIX;
use anyport_net::resolve::{Family, Found, Port, Query, ResolveError, name_of, resolve};
use serde_json::{Value, json};

use crate::flags;
use crate::tips::{is_bare, is_port};

pub(crate) fn run(flags: &flags::Resolve) -> Result<Exit, Failure> {
    if let Some(name) = flags.names.iter().find(|name| name.contains("://")) {
        let host = name
            .parse::<Target>()
            .map_or_else(|_| "the host alone".to_owned(), |target| target.host);
        let error = anyhow!("{name} is a URL");
        return Err(Failure::new(Exit::Usage, error).with_hint(format!("write {host}")));
    }
    if let Some(name) = flags.names.iter().find(|name| name.starts_with(UNIX)) {
        let error = anyhow!("{name} is a Unix socket, which has no IP address");
        let hint = format!("see ls -l {}", &name[UNIX.len()..]);
        return Err(Failure::new(Exit::Usage, error).with_hint(hint));
    }
    if let [host, port] = flags.names.as_slice()
        && is_port(port)
        && is_bare(host)
    {
        to_stderr(&format!("note: {port} is resolved as a name; for a port write {host}:{port}"));
    }
    let mut exit = Exit::Done;
    for name in &flags.names {
        let asked =
            query(name, flags).and_then(|query| Ok((resolve(&query, flags.timeout)?, query)));
        match asked {
            Ok((found, query)) => {
                let answer = Answer { name, host: &query.host, lines: lines(&found, flags), found };
                answer.print(flags.json)?;
            }
            Err(error) => {
                exit = Exit::Unreachable;
                tell(name, error, flags.json)?;
            }
        }
    }
    Ok(exit)
}

fn query(name: &str, flags: &flags::Resolve) -> Result<Query, ResolveError> {
    let mut query = Query::parse(name)?;
    if let (Port::Number(0), Some(service)) = (&query.port, &flags.service) {
        query.port = service.clone();
    }
    query.family = match (flags.ipv4, flags.ipv6) {
        (true, _) => Family::V4,
        (_, true) => Family::V6,
        _ => Family::Any,
    };
    Ok(query)
}

/// An address and its names.
struct Line {
    address: SocketAddr,
    /// `None` if it was not requested.
    reverse: Option<Result<Option<String>, ResolveError>>,
}

fn lines(found: &Found, flags: &flags::Resolve) -> Vec<Line> {
    let line = |address: &SocketAddr| Line {
        address: *address,
        reverse: flags.reverse.then(|| name_of(address.ip(), flags.timeout)),
    };
    found.addresses.iter().map(line).collect()
}

struct Answer<'a> {
    /// As it was asked.
    name: &'a str,
    /// The host without a port.
    host: &'a str,
    lines: Vec<Line>,
    found: Found,
}

impl Answer<'_> {
    fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            return print(&self.event().to_string());
        }
        let canonical = self.found.canonical.as_deref().filter(|canonical| *canonical != self.host);
        let canonical =
            canonical.map(|name| format!(", canonical name {name}")).unwrap_or_default();
        print(&format!("{}{canonical}:", self.name))?;
        self.lines.iter().try_for_each(|line| print(&format!("  {}", line.words())))
    }

    fn event(&self) -> Value {
        let addresses: Vec<Value> = self.lines.iter().map(Line::json).collect();
        json!({ "name": self.name, "canonical": self.found.canonical, "addresses": addresses })
    }
}

impl Line {
    fn words(&self) -> String {
        let Self { address, reverse } = self;
        // The port was not requested.
        let shown = if address.port() == 0 { ip(address) } else { address.to_string() };
        let name = match reverse {
            None => return format!("{}  {shown}", family(address.ip())),
            Some(Ok(Some(name))) => name.clone(),
            Some(Ok(None)) => "has no name".to_owned(),
            Some(Err(error)) => format!("name not found: {}", reason(error)),
        };
        format!("{}  {shown:<24}  {name}", family(address.ip()))
    }

    fn json(&self) -> Value {
        let Self { address, reverse } = self;
        let mut line = json!({ "family": family(address.ip()), "address": ip(address) });
        if address.port() != 0 {
            line["port"] = json!(address.port());
        }
        match reverse {
            None => {}
            Some(Ok(name)) => line["reverse"] = json!(name),
            Some(Err(error)) => line["reverse_error"] = json!(reason(error)),
        }
        line
    }
}

const fn family(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

/// Without its port, and with the zone of an address that is good on one link alone.
fn ip(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        other => other.ip().to_string(),
    }
}

/// Reports a name that does not resolve; the others follow.
fn tell(name: &str, error: ResolveError, json: bool) -> Result<(), Failure> {
    if json {
        let event =
            json!({ "name": name, "error": { "code": error.code(), "message": reason(&error) } });
        return print(&event.to_string());
    }
    let hint = match error.code() {
        Some("EAI_NONAME") => {
            Some("check the spelling; write an IPv6 address with a port as [ADDRESS]:PORT")
        }
        Some("EAI_AGAIN") => {
            Some("check the network connection and the name servers in /etc/resolv.conf")
        }
        Some("EAI_SERVICE") => Some("use a port number or a service name of /etc/services"),
        _ => None,
    };
    let failure =
        Failure::new(Exit::Unreachable, anyhow!(error).context(format!("cannot resolve {name}")));
    print_failure(&Failure { hint: hint.map(str::to_owned), ..failure });
    Ok(())
}

/// Prints a line without control characters, because names come from the network.
fn print(line: &str) -> Result<(), Failure> {
    to_stdout(line).context("cannot write to stdout")?;
    Ok(())
}
