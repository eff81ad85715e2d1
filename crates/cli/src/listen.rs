//! Addresses of listeners, as users write them, and their sockets.
//!
//! ```text
//!   --bind 127.0.0.1:8331                                the same as --listen any://127.0.0.1:8331
//!   --listen any://127.0.0.1:9000?only=raw,http&detect-timeout=1s
//!   --listen echo://127.0.0.1:9000
//!   --bind unix:/run/anyport.sock                        a Unix socket
//!            SERVICE://ADDR?what is set for this listener alone
//! ```

use std::borrow::Cow;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use anyport_client::DEFAULT_PORT;
use anyport_console::{Exit, Failure};
use anyport_net::address::{Address, UNIX};
use anyport_net::listen::{self, ListenError, Listening as Socket};
use anyport_net::resolve::{address_text, is_address, split_port};
use anyport_net::unix::{self, SocketFile};
use anyport_proto::detect::{Allowed, ProtocolName};
use anyport_server::{Listener, ListenerConfig, Service, TlsMode};

use crate::daemon::inherited::{self, Inherited};
use crate::flags;

/// All that a server listens on.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) origins: Origins,
    /// Removes the Unix sockets when it is dropped.
    pub(crate) files: Vec<SocketFile>,
}

/// The sources of listeners.
#[derive(Debug)]
pub(crate) struct Origins {
    /// For each the number of its group; none where it is inherited.
    pub(crate) groups: Vec<Option<usize>>,
    pub(crate) inherited: Vec<Address>,
    /// The bound addresses, with their services: both stay.
    pub(crate) bound: Vec<(Address, Service)>,
}

/// Listens on all addresses of `--bind` and `--listen`, beside inherited sockets; by default on
/// both loopback addresses. Must be called before any thread exists.
pub(crate) fn listen(flags: &flags::Serve) -> Result<Listening, Failure> {
    let (inherited, mut listeners) = take_inherited(flags)?;
    let mut groups = vec![None; listeners.len()];
    let mut files = Vec::new();
    for (number, (group, addresses)) in resolved(flags, &inherited)?.into_iter().enumerate() {
        let Group { flag, config, mode, .. } = group;
        let sockets = bind(&addresses, config.service, mode, &mut files).map_err(|error| {
            let hint = match &error {
                ListenError::Bind { address: Address::Tcp(address), source } => {
                    let by_port = flag == BIND && flags.listening.bind.is_empty();
                    bind_hint(&flag, by_port, *address, source)
                }
                ListenError::Bind { address: Address::Unix(path), source } => {
                    path_hint(&flag, path, source)
                }
                _ => None,
            };
            Failure { hint, ..Failure::new(Exit::Failed, error) }
        })?;
        for (socket, datagrams) in sockets {
            listeners.push(Listener { socket, datagrams, config: config.clone() });
            groups.push(Some(number));
        }
    }
    let address = |listener: &Listener| {
        let address = listener.socket.address().ok()?;
        Some((address, listener.config.service))
    };
    let bound = listeners.iter().filter_map(address).collect();
    Ok(Listening { listeners, origins: Origins { groups, inherited, bound }, files })
}

/// Returns inherited sockets and their addresses. The name of a socket selects its service, else
/// the flags.
fn take_inherited(flags: &flags::Serve) -> Result<(Vec<Address>, Vec<Listener>), Failure> {
    let take = |Inherited { service, address, socket, datagrams }| {
        let mut config = common(flags);
        config.service = service;
        flags.access.check(std::slice::from_ref(&address), flags.listening.open, &config)?;
        Ok((address, Listener { socket, datagrams, config }))
    };
    inherited::take()?.into_iter().map(take).collect()
}

/// Checks, as far as possible without listening, that the addresses can be used beside inherited
/// ones.
pub(crate) fn check(flags: &flags::Serve, inherited: &[Address]) -> Result<(), Failure> {
    resolved(flags, inherited).map(|_| ())
}

/// Checks that bound listeners may continue with these flags: a reload must not remove what permits
/// a public listener.
pub(crate) fn check_bound(
    flags: &flags::Serve,
    bound: &[(Address, Service)],
    configs: &[ListenerConfig],
) -> Result<(), Failure> {
    let mut both = bound.iter().zip(configs);
    both.try_for_each(|((address, _), config)| {
        flags.access.check(std::slice::from_ref(address), flags.listening.open, config)
    })
}

/// Every group, with the addresses that its names stand for.
fn resolved(
    flags: &flags::Serve,
    inherited: &[Address],
) -> Result<Vec<(Group, Vec<Address>)>, Failure> {
    let mut resolved: Vec<(Group, Vec<Address>)> = Vec::new();
    let has_port =
        |address: &String| path_of(address).is_some() || address_and_port(address).1.is_some();
    if let Some(port) = flags.listening.port
        && !flags.listening.bind.is_empty()
        && flags.listening.bind.iter().all(has_port)
    {
        let error = anyhow!("--port {port} has no effect: every --bind has a port of its own");
        return Err(Failure::new(Exit::Usage, error).with_hint("leave out one of them"));
    }
    flags.listening.bind.iter().try_for_each(|address| check_written(address))?;
    for group in groups(flags, !inherited.is_empty()) {
        let ListenerConfig { allowed, tls, .. } = group.config;
        if tls == TlsMode::Off && allowed == Allowed::NONE.allow(ProtocolName::Tls) {
            let error = anyhow!("--only tls cannot be combined with --tls off");
            return Err(Failure::new(Exit::Usage, error).with_hint("leave out --tls off"));
        }
        let mut addresses = Vec::new();
        for wanted in &group.wanted {
            let new: Vec<Address> = match path_of(wanted) {
                Some(path) => vec![Address::Unix(absolute(&group.flag, path)?)],
                None => {
                    check_address(&group.flag, wanted)?;
                    let new = listen::resolve(wanted).map_err(|error| {
                        let hint = format!("write {}HOST:PORT", group.flag);
                        Failure::new(Exit::Failed, error).with_hint(hint)
                    })?;
                    new.into_iter().map(Address::Tcp).collect()
                }
            };
            let earlier = resolved.iter().flat_map(|(_, earlier)| earlier).chain(&addresses);
            check_new(&new, inherited.iter().chain(earlier))?;
            addresses.extend(new);
        }
        flags.access.check(&addresses, flags.listening.open, &group.config)?;
        resolved.push((group, addresses));
    }
    Ok(resolved)
}

/// Returns the path of an address that is a Unix socket.
fn path_of(address: &str) -> Option<&Path> {
    address.strip_prefix(UNIX).map(Path::new)
}

/// Returns the absolute path of a Unix socket, which must fit into an address.
fn absolute(flag: &str, path: &Path) -> Result<PathBuf, Failure> {
    let absolute = unix::check(path).and_then(|()| std::path::absolute(path));
    absolute.and_then(|path| unix::check(&path).map(|()| path)).map_err(|error| {
        let error = anyhow!("{flag}{UNIX}{}: {error}", path.display());
        let failure = Failure::new(Exit::Usage, error);
        failure.with_hint(format!("use a path such as {flag}{UNIX}/run/anyport/anyport.sock"))
    })
}

/// Refuses an address of `--bind` that no resolver would explain.
fn check_written(address: &str) -> Result<(), Failure> {
    if path_of(address).is_some() {
        return Ok(());
    }
    if address.starts_with('/') {
        let error = anyhow!("--bind {address}: neither HOST:PORT nor an IPv6 address");
        let hint = format!("for a Unix socket: --bind {UNIX}{address}");
        return Err(Failure::new(Exit::Usage, error).with_hint(hint));
    }
    if let Some((scheme, rest)) = address.split_once("://") {
        let error = anyhow!("--bind {address}: --bind takes no scheme");
        let hint = match scheme.parse::<Service>() {
            Ok(_) => format!("use --listen {address}"),
            Err(_) => {
                format!("use --bind {}, which accepts every protocol", rest.trim_end_matches('/'))
            }
        };
        return Err(Failure::new(Exit::Usage, error).with_hint(hint));
    }
    if let Some(port) =
        address.strip_prefix('*').filter(|rest| rest.is_empty() || rest.starts_with(':'))
    {
        let error = anyhow!("--bind {address}: * is not an address");
        let hint = format!("for all IPv4 addresses: --bind 0.0.0.0{port}");
        return Err(Failure::new(Exit::Usage, error).with_hint(hint));
    }
    check_address("--bind ", address)
}

/// Refuses a text that is neither an address nor a name with a port, before the resolver fails.
fn check_address(flag: &str, address: &str) -> Result<(), Failure> {
    let (host, port) = address_and_port(address);
    if host.is_some_and(|host| host.contains(':') && !is_address(&host)) {
        let error = anyhow!("{flag}{address}: neither HOST:PORT nor an IPv6 address");
        let hint = "write an IPv6 address with a port as [ADDRESS]:PORT";
        return Err(Failure::new(Exit::Usage, error).with_hint(hint));
    }
    if let Some(port) = port.filter(|port| port.parse::<u16>().is_err()) {
        let error = anyhow!("{flag}{address}: {port:?} is not a port, a number from 0 to 65535");
        return Err(Failure::new(Exit::Usage, error).with_hint(format!("write {flag}HOST:PORT")));
    }
    Ok(())
}

/// Binds each address: for streams, and for datagrams if the service has them; then the Unix
/// sockets, whose files are added to `files`.
fn bind(
    addresses: &[Address],
    service: Service,
    mode: Option<u32>,
    files: &mut Vec<SocketFile>,
) -> Result<Vec<(Socket, Option<UdpSocket>)>, ListenError> {
    let tcp: Vec<SocketAddr> = addresses.iter().filter_map(Address::ip).collect();
    let mut bound: Vec<(Socket, Option<UdpSocket>)> = match service.serves_udp() {
        _ if tcp.is_empty() => Vec::new(),
        true => {
            let pairs = listen::listen_with_datagrams(&tcp)?;
            pairs.into_iter().map(|(socket, beside)| (Socket::Tcp(socket), Some(beside))).collect()
        }
        false => {
            let sockets = listen::listen(&tcp)?;
            sockets.into_iter().map(|socket| (Socket::Tcp(socket), None)).collect()
        }
    };
    for address in addresses {
        let Address::Unix(path) = address else { continue };
        let listened = unix::listen(path, mode.unwrap_or(unix::MODE));
        let (socket, file) =
            listened.map_err(|source| ListenError::Bind { address: address.clone(), source })?;
        bound.push((Socket::Unix(socket), None));
        files.push(file);
    }
    Ok(bound)
}

/// Addresses with one port for all that ask for port 0, and with the same settings.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// `HOST:PORT`, of which the host may be a name, or `unix:PATH`.
    pub(crate) wanted: Vec<String>,
    /// The mode of a Unix socket.
    pub(crate) mode: Option<u32>,
    /// The flag before such an address.
    pub(crate) flag: String,
    pub(crate) config: ListenerConfig,
}

/// Returns the settings that the flags have for every listener.
pub(crate) fn common(flags: &flags::Serve) -> ListenerConfig {
    let mut common = ListenerConfig::default();
    flags.detection.configure_listener(&mut common);
    common.tls = flags.tls.tls;
    common
}

/// Returns the listeners of the flags. `are_some`: there are other listeners.
pub(crate) fn groups(flags: &flags::Serve, are_some: bool) -> Vec<Group> {
    let common = common(flags);
    let port = flags.listening.port.unwrap_or_else(|| default_port(Service::Any));
    let by_default =
        flags.listening.listen.is_empty() && !are_some || flags.listening.port.is_some();
    let bind = match flags.listening.bind.as_slice() {
        [] if by_default => on_default_addresses(&port.to_string()),
        bind => bind.iter().flat_map(|address| with_port(address, port)).collect(),
    };
    let bind = Group { wanted: bind, mode: None, flag: BIND.to_owned(), config: common.clone() };
    let listen = flags.listening.listen.iter().map(|listen| {
        let mut config = common.clone();
        config.allowed = listen.allowed.unwrap_or(config.allowed);
        config.detect_timeout = listen.detect_timeout.unwrap_or(config.detect_timeout);
        config.on_timeout = listen.on_timeout.unwrap_or(config.on_timeout);
        config.tls = listen.tls.unwrap_or(config.tls);
        config.service = listen.service;
        let flag = format!("--listen {}://", listen.service.as_str());
        let wanted = with_port(&listen.address, default_port(listen.service));
        Group { wanted, mode: listen.mode, flag, config }
    });
    let all = std::iter::once(bind).chain(listen);
    all.filter(|group| !group.wanted.is_empty()).collect()
}

/// Refuses duplicates, which would be reported as another program's listener. Each port 0 is
/// another one.
fn check_new<'a>(
    addresses: &[Address],
    mut earlier: impl Iterator<Item = &'a Address>,
) -> Result<(), Failure> {
    let is_one = |address: &Address| address.ip().is_none_or(|address| address.port() != 0);
    match earlier.find(|address| is_one(address) && addresses.contains(address)) {
        Some(address) => {
            Err(Failure::new(Exit::Usage, anyhow!("{} is given twice", address.text()))
                .with_hint("give each address once, in --bind or in --listen"))
        }
        None => Ok(()),
    }
}

/// `by_port`: the address has its port from `--port`.
fn bind_hint(flag: &str, by_port: bool, address: SocketAddr, error: &io::Error) -> Option<String> {
    let free = |port| {
        let mut address = address;
        address.set_port(port);
        format!("{flag}{}", address_text(address))
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let port = address.port().checked_add(1).unwrap_or(DEFAULT_PORT);
            let other = if by_port { format!("--port {port}") } else { free(port) };
            Some(format!(
                "is anyport already running (anyport status)? or choose another port: {other}"
            ))
        }
        io::ErrorKind::PermissionDenied => Some(format!(
            "ports below 1024 need root or CAP_NET_BIND_SERVICE; try {}",
            free(DEFAULT_PORT)
        )),
        _ => None,
    }
}

/// Returns the hint for a Unix socket that could not be created.
fn path_hint(flag: &str, path: &Path, error: &io::Error) -> Option<String> {
    let directory = path.parent().unwrap_or_else(|| Path::new("/")).display();
    match error.kind() {
        io::ErrorKind::AddrInUse => Some(format!(
            "is anyport already running (anyport status)? or choose another path: {flag}{UNIX}{}2",
            path.display()
        )),
        io::ErrorKind::AlreadyExists => {
            Some(format!("choose another path, or move {} away", path.display()))
        }
        io::ErrorKind::NotFound => Some(format!("create the directory: mkdir -p {directory}")),
        io::ErrorKind::PermissionDenied => {
            Some(format!("the server needs write permission in {directory}"))
        }
        _ => None,
    }
}

/// The addresses that a person means by one: `HOST` alone gets `default` for its port, `PORT` or
/// `:PORT` alone the default addresses.
fn with_port(written: &str, default: u16) -> Vec<String> {
    if path_of(written).is_some() {
        return vec![written.to_owned()];
    }
    match address_and_port(written) {
        (None, port) => on_default_addresses(port.unwrap_or_default()),
        // Unchanged: the resolver reports its error.
        (Some(_), Some(_)) => vec![written.to_owned()],
        (Some(host), None) if host.contains(':') => {
            vec![format!("[{}]:{default}", host.replace('%', "%25"))]
        }
        (Some(host), None) => vec![format!("{host}:{default}")],
    }
}

/// The host and the port of an address as it was written, at least one of them.
fn address_and_port(written: &str) -> (Option<Cow<'_, str>>, Option<&str>) {
    if written.bytes().all(|byte| byte.is_ascii_digit()) {
        return (None, Some(written));
    }
    let (host, port) = split_port(written);
    (Some(host).filter(|host| !host.is_empty()), port)
}

fn on_default_addresses(port: &str) -> Vec<String> {
    DEFAULT_HOSTS.map(|host| format!("{host}:{port}")).to_vec()
}

/// The port of an address that names none: the old services have theirs since 1983.
const fn default_port(service: Service) -> u16 {
    match service {
        Service::Echo => 7,
        Service::Daytime => 13,
        Service::Rfc868 => 37,
        Service::Greet => 9001,
        Service::Time => 8080,
        _ => DEFAULT_PORT,
    }
}

/// Prefix of the addresses that share all settings.
pub(crate) const BIND: &str = "--bind ";

/// Default addresses, which only this machine can reach.
const DEFAULT_HOSTS: [&str; 2] = ["127.0.0.1", "[::1]"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_default_port() {
        for (written, meant) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("localhost", "localhost:8331"),
            (":9000", "127.0.0.1:9000 [::1]:9000"),
            ("9000", "127.0.0.1:9000 [::1]:9000"),
            ("::1", "[::1]:8331"),
            ("[::1]", "[::1]:8331"),
            ("[::1]:80", "[::1]:80"),
            ("fe80::1%lo", "[fe80::1%25lo]:8331"),
            ("[fe80::1%25lo]", "[fe80::1%25lo]:8331"),
            ("[fe80::1%lo]:80", "[fe80::1%lo]:80"),
        ] {
            assert_eq!(with_port(written, 8331).join(" "), meant);
        }
        for (service, port) in [("echo", 7), ("daytime", 13), ("rfc868", 37), ("greet", 9001)] {
            assert_eq!(default_port(service.parse().unwrap()), port);
        }
    }
}
