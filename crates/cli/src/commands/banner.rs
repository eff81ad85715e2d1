//! The commands that `serve` prints for a first try. Each works as it is printed, once its words in
//! capitals are filled in.

use std::net::SocketAddr;
use std::path::Path;

use anyport_net::address::Address;
use anyport_net::resolve::ip_text;
use anyport_proto::access::Rights;
use anyport_proto::detect::Allowed;
use anyport_server::{ListenerConfig, Service, TlsMode};
use anyport_tls::server::Server;

/// The way to reach a listener.
struct Door {
    address: Address,
    /// The protocols that it accepts, also under TLS if there is TLS.
    allowed: Allowed,
    encrypted: bool,
}

/// Settings that the commands depend on, beside the listeners.
pub(super) struct Banner<'a> {
    pub(super) listening: &'a [(Address, ListenerConfig)],
    /// The rights that no client has.
    pub(super) withheld: Rights,
    /// Clients must show a token.
    pub(super) tokens: bool,
    /// TLS settings of the server.
    pub(super) tls: Option<&'a Server>,
    /// Under TLS a client must present a certificate.
    pub(super) client_certificate: bool,
}

impl Banner<'_> {
    /// The commands, and the URL for a browser, of the first listener that accepts each.
    pub(super) fn lines(&self) -> Vec<String> {
        let doors: Vec<Door> = self
            .listening
            .iter()
            .filter_map(|(address, config)| self.door(address, config))
            .collect();
        let first = |accepts: fn(Allowed) -> bool| doors.iter().find(|door| accepts(door.allowed));
        let uploads = !self.withheld.contains(Rights::WRITE);
        let nc = doors.iter().find(|door| door.allowed.raw && !door.encrypted);
        let nc = nc.filter(|_| uploads && !self.tokens).map(Door::nc);
        let curl = first(|allowed| allowed.http).map(|door| self.curl(door));
        let websocat = first(|allowed| allowed.ws).filter(|_| uploads);
        let websocat = websocat.and_then(|door| self.websocat(door));
        let anyport = first(|allowed| allowed.raw && allowed.detect)
            .map(|door| self.anyport(door, "tcp", "tls"))
            .or_else(|| first(|allowed| allowed.ws).map(|door| self.anyport(door, "ws", "wss")))
            .or_else(|| {
                first(|allowed| allowed.http).map(|door| self.anyport(door, "http", "https"))
            })
            .or_else(|| {
                let door = first(|allowed| allowed.frames).filter(|_| !self.tokens);
                door.map(|door| self.anyport(door, "frames", "frames+tls"))
            })
            .or_else(|| {
                let door = first(|allowed| allowed.raw).filter(|_| uploads);
                door.map(|door| self.anyport(door, PLAIN, PLAIN))
            });
        [nc, curl, websocat, anyport].into_iter().flatten().collect()
    }

    /// The URL to open in a browser.
    pub(super) fn browser(&self) -> Option<String> {
        if self.withheld.contains(Rights::READ) {
            return None;
        }
        let mut doors =
            self.listening.iter().filter_map(|(address, config)| self.door(address, config));
        let door = doors.find(|door| door.allowed.http && door.path().is_none())?;
        let scheme = if door.encrypted { "https" } else { "http" };
        Some(format!("{scheme}://{}/", door.authority()))
    }

    fn door(&self, address: &Address, config: &ListenerConfig) -> Option<Door> {
        if config.service != Service::Any {
            return None;
        }
        let mut allowed = config.allowed;
        let only_tls = allowed.is_only_tls();
        // On the way to another machine a token belongs under TLS.
        let exposed = self.tokens && !address.is_loopback();
        let wanted = only_tls || config.tls == TlsMode::Required || exposed;
        if only_tls {
            allowed = Allowed::ALL;
        }
        let address = address.clone();
        Some(Door { address, allowed, encrypted: wanted && speaks_tls(config) })
    }

    fn curl(&self, door: &Door) -> String {
        let token = if self.tokens { "-u :TOKEN " } else { "" };
        let url = door.url("http", "https", "");
        let tls = match self.tls.filter(|_| door.encrypted).and_then(Server::curl_options) {
            Some(options) => format!("{options}{}", self.own_certificate()),
            None => String::new(),
        };
        let upload = if self.withheld.contains(Rights::WRITE) { "" } else { "-T FILE " };
        format!("curl {}{tls}{token}{upload}{url}", door.socket())
    }

    /// websocat cannot pin a certificate nor present one, puts IPv6 addresses into SNI, and has no
    /// zones in its URLs.
    fn websocat(&self, door: &Door) -> Option<String> {
        if door.path().is_some() {
            return None;
        }
        let url = door.url("ws", "wss", "files/NAME");
        let works_under_tls = !self.tokens && !self.client_certificate && !url.contains('[');
        if door.encrypted && !works_under_tls || url.contains('%') {
            return None;
        }
        let insecure = if door.encrypted { "-k " } else { "" };
        let token = if self.tokens { "-H 'Authorization: Bearer TOKEN' " } else { "" };
        Some(format!("websocat {insecure}{token}-b -B 1048576 {url} < FILE"))
    }

    fn anyport(&self, door: &Door, scheme: &str, encrypted: &str) -> String {
        let socket = door.socket();
        if scheme == PLAIN {
            return format!("anyport send {socket}{PLAIN} FILE {}", door.url("tcp", "tls", ""));
        }
        let token = if self.tokens { "--token-file TOKENFILE " } else { "" };
        let tls = match self.tls.filter(|_| door.encrypted) {
            Some(tls) => format!("--pin {} {}", tls.fingerprint(), self.own_certificate()),
            None => String::new(),
        };
        if self.withheld.contains(Rights::WRITE) {
            return format!(
                "anyport get {socket}{tls}{token}{}",
                door.url(scheme, encrypted, "NAME")
            );
        }
        format!("anyport send {socket}{tls}{token}FILE {}", door.url(scheme, encrypted, ""))
    }

    const fn own_certificate(&self) -> &'static str {
        if self.client_certificate { "--cert CERTIFICATE --key KEY " } else { "" }
    }
}

impl Door {
    fn nc(&self) -> String {
        match &self.address {
            Address::Tcp(address) => format!("nc -N {} {} < FILE", host(*address), address.port()),
            Address::Unix(path) => format!("nc -N -U {} < FILE", quoted(path)),
        }
    }

    /// Returns the path of a Unix socket.
    fn path(&self) -> Option<&Path> {
        match &self.address {
            Address::Tcp(_) => None,
            Address::Unix(path) => Some(path),
        }
    }

    /// Returns the flag for a Unix socket, with a blank behind it.
    fn socket(&self) -> String {
        self.path().map(|path| format!("--unix-socket {} ", quoted(path))).unwrap_or_default()
    }

    fn url(&self, plain: &str, encrypted: &str, path: &str) -> String {
        let scheme = if self.encrypted { encrypted } else { plain };
        let url = format!("{scheme}://{}/{path}", self.authority());
        // Some shells expand brackets.
        if url.contains('[') { format!("'{url}'") } else { url }
    }

    /// `HOST:PORT` as a URL writes it.
    fn authority(&self) -> String {
        let Address::Tcp(address) = self.address else { return "localhost".to_owned() };
        let (host, port) = (host(address).replace('%', "%25"), address.port());
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// Returns the host to connect to: the unspecified address stands for every name and address of
/// this machine.
fn host(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { "HOST".to_owned() } else { ip_text(address) }
}

/// Returns a path as a word of a shell.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@:".contains(c);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

/// Raw bytes, where no listener looks at them.
const PLAIN: &str = "--plain";

/// Note for versions of nc without -N.
pub(super) const NC_NOTE: &str = "nc -N is for OpenBSD nc; leave out -N for BusyBox nc and ncat, \
    use -q 1 for netcat-traditional";

/// Returns whether a listener detects protocols and accepts TLS.
pub(super) fn speaks_tls(config: &ListenerConfig) -> bool {
    config.service == Service::Any && config.allowed.tls && config.tls != TlsMode::Off
}
