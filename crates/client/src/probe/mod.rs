//! The protocol of a port, and why a connection to it fails.
//!
//! ```text
//!   resolve ─► connect to all addresses ─► silent for 500 ms ─► greeting? ─► done: it speaks first
//!                                               │ silence
//!                                               ▼ the first address that is connected
//!       OPTIONS * ─► TLS 1.3, 1.2 ─► OPTIONS *, HTTP/2, WebSocket, preface, MQTT: in the clear,
//!                                    or inside TLS if the port has nothing else
//! ```
//!
//! Each probe is a row of [`TABLE`] with a connection of its own. No probe sends a token or a
//! cookie, or waits longer than its time limit, or reads more than [`MAX_ANSWER`].

mod http2;
mod known;
mod reach;
mod report;
mod requests;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyport_net::address::Address;
use anyport_net::dial::DialError;
use anyport_net::resolve::{Family, NO_ADDRESS, Port, Query, ResolveError, resolve};
use anyport_tls::client::Version;
use anyport_tls::{ALPN_H2, ALPN_HTTP_1_1};
use anyport_trace::redact_text;

pub use self::report::{
    Answer, Found, HttpAnswer, Outcome, PathReport, PrefaceAnswer, ProbeFinding, Probed, Reached,
    Resolved, TlsAnswer, WebSocketAnswer,
};
use self::requests::{Request, Understand};
use self::wire::{End, Wire};
use crate::error::Error;
use crate::stream::Encryption;
use crate::target::{Scheme, Target};

/// Options of a probe.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProbeOptions {
    /// Servers that a connection would trust.
    pub encryption: Encryption,
    /// Maximum time to resolve the name, and to connect to one address.
    pub connect_timeout: Duration,
    /// Maximum time of one probe.
    pub timeout: Duration,
    /// Time in which a server that speaks first has to begin.
    pub greeting_timeout: Duration,
    /// Whether to send CONNECT of MQTT to every port, instead of its own two.
    pub mqtt: bool,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            encryption: Encryption::default(),
            connect_timeout: Duration::from_secs(5),
            // Three round trips of a slow path; a port that answers nothing costs this three times.
            timeout: Duration::from_secs(3),
            // Enough for a server that need not look up its client.
            greeting_timeout: Duration::from_millis(500),
            mqtt: false,
        }
    }
}

/// Returns the target as it is probed: without its query, and without a path that admits its
/// holder, because a probe continues with a server that is not trusted.
pub fn without_secrets(target: &Target) -> Target {
    let path = encoded(target.path.split('?').next().unwrap_or("/"));
    let is_secret = redact_text(&path) != path || SECRETS.iter().any(|place| path.contains(place));
    let path = if is_secret { "/".to_owned() } else { path };
    Target { path, token: None, ..target.clone() }
}

/// Returns a path that is one word of a request, whatever the user typed.
fn encoded(path: &str) -> String {
    let encode = |byte: u8| match byte {
        b'!'..=b'~' if !br#""<>\^`{|}"#.contains(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    path.bytes().map(encode).collect()
}

/// Probes `target`: reports each finding to `observe`, and returns all together.
///
/// # Errors
/// The name does not resolve. A server that cannot be reached is a finding.
pub fn probe(
    target: &Target,
    options: &ProbeOptions,
    observe: &mut dyn FnMut(ProbeFinding<'_>),
) -> Result<Found, Error> {
    let target = &without_secrets(target);
    let addresses = match &target.socket {
        Some(path) => vec![Address::Unix(path.clone())],
        None => resolved(target, options, observe)?,
    };
    let reached = reach::all(&addresses, options);
    reached.iter().for_each(|reached| observe(ProbeFinding::Reached(reached)));
    let first = reached.iter().find(|reached| reached.outcome.is_connected());
    let used = first.map(|first| first.address.clone());
    let silent = first.filter(|first| matches!(first.outcome, Outcome::Silent));
    let mut probing = Probing { target, options, observe, found: Found::default() };
    if let Some(silent) = silent {
        probing.run(&silent.address);
    }
    Ok(Found { used, reached, ..probing.found })
}

/// Resolves the host of the target, and reports its addresses.
fn resolved(
    target: &Target,
    options: &ProbeOptions,
    observe: &mut dyn FnMut(ProbeFinding<'_>),
) -> Result<Vec<Address>, Error> {
    let started = Instant::now();
    let port = Port::Number(target.port);
    let query = Query { host: target.host.clone(), port, family: Family::Any };
    let unresolved = |source| Error::from(DialError::Resolve { host: target.host.clone(), source });
    let mut addresses = resolve(&query, options.connect_timeout).map_err(unresolved)?.addresses;
    if addresses.is_empty() {
        let none = io::Error::new(io::ErrorKind::NotFound, NO_ADDRESS);
        return Err(unresolved(ResolveError::Failed(none)));
    }
    let left_out = leave_out(&mut addresses);
    observe(ProbeFinding::Resolved(&Resolved {
        addresses: addresses.clone(),
        left_out,
        took: started.elapsed(),
    }));
    Ok(addresses.into_iter().map(Address::Tcp).collect())
}

/// Leaves out addresses beyond the limit; returns their number.
fn leave_out(addresses: &mut Vec<SocketAddr>) -> usize {
    let left_out = addresses.len().saturating_sub(MAX_ADDRESSES);
    addresses.truncate(MAX_ADDRESSES);
    left_out
}

/// A row of the table: one probe.
struct Probe {
    name: &'static str,
    /// Whether it is sent, by the earlier answers.
    when: fn(&Probing<'_>) -> bool,
    does: Does,
}

enum Does {
    /// A TLS handshake with one version.
    Handshake(Version),
    /// A request, over the transport on which the port seems to speak, with the ALPN of TLS.
    Ask {
        send: fn(&Target) -> Option<Request>,
        understand: Understand,
        over: Over,
        alpn: &'static [&'static [u8]],
    },
}

/// The transport of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Plaintext,
    /// TLS if that is the only way to the port's protocol.
    Found,
}

/// The probes in their order. A row may depend on the answers to earlier ones.
const TABLE: &[Probe] = &[
    Probe {
        name: "mqtt",
        when: |probing| probing.target.port == MQTT_PORT,
        does: ask(requests::mqtt, requests::understand_mqtt, Over::Plaintext, &[]),
    },
    Probe {
        name: "http",
        when: |probing| !probing.target.encrypted,
        does: ask(requests::options, requests::understand_http, Over::Plaintext, &[]),
    },
    Probe { name: "tls-1.3", when: |_| true, does: Does::Handshake(Version::Tls13) },
    Probe {
        name: "tls-1.2",
        when: |probing| !probing.found.is_without_tls,
        does: Does::Handshake(Version::Tls12),
    },
    Probe {
        name: "http",
        when: |probing| probing.is_inside_tls() || probing.target.encrypted,
        does: ask(requests::options, requests::understand_http, Over::Found, &[ALPN_HTTP_1_1]),
    },
    Probe {
        name: "path",
        when: |probing| probing.found.http.is_some(),
        does: ask(
            requests::options_of_path,
            requests::understand_http,
            Over::Found,
            &[ALPN_HTTP_1_1],
        ),
    },
    Probe {
        name: "http2",
        when: |probing| match probing.is_inside_tls() {
            true => probing.found.selects_h2(),
            false => probing.may_speak("http"),
        },
        does: ask(http2::http2, http2::understand_http2, Over::Found, &[ALPN_H2]),
    },
    Probe {
        name: "websocket",
        when: |probing| probing.may_speak("ws"),
        does: ask(
            requests::websocket,
            requests::understand_websocket,
            Over::Found,
            &[ALPN_HTTP_1_1],
        ),
    },
    Probe {
        name: "preface",
        when: |probing| probing.may_have_preface(),
        does: ask(requests::preface, requests::understand_preface, Over::Found, &[]),
    },
    Probe {
        name: "mqtt",
        when: |probing| match probing.target.port {
            MQTT_TLS_PORT => true,
            port => probing.options.mqtt && (port != MQTT_PORT || probing.is_inside_tls()),
        },
        does: ask(requests::mqtt, requests::understand_mqtt, Over::Found, &[]),
    },
];

const fn ask(
    send: fn(&Target) -> Option<Request>,
    understand: Understand,
    over: Over,
    alpn: &'static [&'static [u8]],
) -> Does {
    Does::Ask { send, understand, over, alpn }
}

struct Probing<'a> {
    target: &'a Target,
    options: &'a ProbeOptions,
    observe: &'a mut dyn FnMut(ProbeFinding<'_>),
    found: Found,
}

impl Probing<'_> {
    fn run(&mut self, address: &Address) {
        for row in TABLE {
            if self.found.is_final() {
                return;
            }
            if !(row.when)(self) {
                continue;
            }
            let started = Instant::now();
            let (sent, inside_tls, answer) = match &row.does {
                Does::Handshake(version) => (
                    format!("ClientHello of {}", version.as_str()),
                    false,
                    self.shake(address, *version),
                ),
                Does::Ask { send, understand, over, alpn } => {
                    let Some(request) = send(self.target) else { continue };
                    let inside_tls = *over == Over::Found && self.is_inside_tls();
                    let alpn = inside_tls.then_some(*alpn);
                    let answer = self.ask(address, &request, *understand, alpn);
                    (request.text, inside_tls, answer)
                }
            };
            let took = started.elapsed();
            self.found.learn(row.name, inside_tls, &answer);
            let probed = Probed { name: row.name, inside_tls, sent, took, answer };
            (self.observe)(ProbeFinding::Probed(&probed));
        }
    }

    /// Returns whether the port's protocol is inside TLS: it was asked for, or the answer in the
    /// clear only points there.
    fn is_inside_tls(&self) -> bool {
        self.found.tls.is_some() && (self.target.encrypted || !self.found.is_plain_usable)
    }

    /// Returns whether further requests of the web make sense. An anyport server reports it, and
    /// some others answer only GET.
    fn may_speak(&self, protocol: &str) -> bool {
        match &self.found.about {
            Some(about) => about.service == "any" && about.has(protocol),
            None => {
                let is_asked = matches!(self.target.scheme, Scheme::Http | Scheme::Ws);
                is_asked || self.found.http.is_some() || !self.found.is_silent
            }
        }
    }

    /// An HTTP server of others has no preface.
    fn may_have_preface(&self) -> bool {
        match (&self.found.about, &self.found.http) {
            (Some(about), _) => about.has("raw") && !about.token,
            (None, http) => http.as_ref().is_none_or(|http| http.may_be_anyport()),
        }
    }

    fn connect(&self, address: &Address) -> Result<Wire, Answer> {
        let ProbeOptions { connect_timeout, timeout, .. } = *self.options;
        let connected = Wire::connect(address, connect_timeout, timeout);
        connected.map_err(|error| Answer::NotConnected(Outcome::of(address, &error)))
    }

    fn shake(&self, address: &Address, version: Version) -> Answer {
        let encryption = &self.options.encryption;
        let alpn: &[&[u8]] = &[ALPN_H2, ALPN_HTTP_1_1];
        let (machine, inspection) = match encryption.inspect(self.target, alpn, &[version]) {
            Ok(begun) => begun,
            Err(error) => return Answer::Failed(error.to_string()),
        };
        let mut wire = match self.connect(address) {
            Ok(wire) => wire,
            Err(failed) => return failed,
        };
        let started = Instant::now();
        let (suite, alpn) = match wire.encrypt(machine) {
            Ok(machine) => (
                machine.agreed().map(|(_, suite)| format!("{:?}", suite.suite())),
                machine.alpn().map(|name| String::from_utf8_lossy(name).into_owned()),
            ),
            Err(end) => return self.failed_handshake(&wire, end),
        };
        let took = started.elapsed();
        // A mail server under TLS speaks first, and TLS 1.3 refuses a client after its handshake.
        let (mut greeting, end) = match self.found.tls {
            None => wire.listen(self.options.greeting_timeout),
            Some(_) => (Vec::new(), End::Late),
        };
        // HTTP/2 has no greeting, but a server may send its settings before the client.
        if alpn.as_deref().is_some_and(|name| name.as_bytes() == ALPN_H2)
            && http2::begins_with_settings(&greeting)
        {
            greeting.clear();
        }
        Answer::Tls(Box::new(TlsAnswer {
            version: version.as_str(),
            suite,
            alpn,
            presented: inspection.presented().cloned(),
            requests_certificate: inspection.requests_certificate(),
            took,
            protocol: known::greeting(&greeting),
            greeting,
            fault: match end {
                End::Tls(error) => Some(error.to_string()),
                _ => None,
            },
        }))
    }

    fn failed_handshake(&self, wire: &Wire, end: End) -> Answer {
        let first = wire.first.clone();
        match end {
            End::Tls(error) if error.refuses_version() => Answer::TlsVersionRefused,
            End::Tls(error) if is_tls(&first) => Answer::TlsRefused(error.to_string()),
            _ if !first.is_empty() && !is_tls(&first) => match known::answer(&first) {
                Some(name) => Answer::Known { name, bytes: first },
                None => Answer::Other(first),
            },
            end => ended(wire, end),
        }
    }

    /// Sends a request over a connection of its own, and reads until the answer is understood.
    fn ask(
        &self,
        address: &Address,
        request: &Request,
        understand: Understand,
        alpn: Option<&[&[u8]]>,
    ) -> Answer {
        let mut wire = match self.connect(address) {
            Ok(wire) => wire,
            Err(failed) => return failed,
        };
        if let Some(alpn) = alpn {
            let versions = [Version::Tls13, Version::Tls12];
            let (machine, _) = match self.options.encryption.inspect(self.target, alpn, &versions) {
                Ok(begun) => begun,
                Err(error) => return Answer::Failed(error.to_string()),
            };
            if let Err(end) = wire.encrypt(machine) {
                return self.failed_handshake(&wire, end);
            }
        }
        // A server that closes may have sent its reason.
        let written = wire.write(&request.bytes);
        let mut bytes = Vec::new();
        let end = loop {
            let read = wire.read(&mut bytes);
            let whole = read.is_err() || bytes.len() > MAX_ANSWER;
            if !bytes.is_empty()
                && let Some(answer) = understand(self.target, request, &bytes, whole)
            {
                let _ = wire.write(&request.farewell);
                return answer;
            }
            if let Some(name) = known::answer(&bytes) {
                bytes.truncate(MAX_SHOWN);
                return Answer::Known { name, bytes };
            }
            if bytes == request.bytes {
                return Answer::Echo;
            }
            match read {
                Err(end) => break Some(end),
                Ok(()) if whole => break None,
                Ok(()) => {}
            }
        };
        match end {
            _ if !bytes.is_empty() => {
                bytes.truncate(MAX_SHOWN);
                if is_tls(&bytes) { Answer::TlsAlert } else { Answer::Other(bytes) }
            }
            Some(end) => ended(&wire, written.err().unwrap_or(end)),
            None => Answer::Silent,
        }
    }
}

fn ended(wire: &Wire, end: End) -> Answer {
    match end {
        End::Closed => Answer::Closed,
        End::Reset => Answer::Reset,
        End::Late => {
            wire.abandon();
            Answer::Silent
        }
        End::Tls(error) => Answer::TlsRefused(error.to_string()),
        End::Failed(error) => Answer::Failed(error.to_string()),
    }
}

/// Returns whether bytes begin a record of TLS: an alert, or a handshake message.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 3, 0..=4, ..])
}

/// Paths below which a name is a secret, behind any base path.
const SECRETS: [&str; 3] = ["/pipe/", "/.anyport/s/", "/.anyport/uploads/"];

/// Ports of MQTT, in the clear and under TLS.
const MQTT_PORT: u16 = 1883;
const MQTT_TLS_PORT: u16 = 8883;

/// Maximum number of addresses of a name that are connected to.
const MAX_ADDRESSES: usize = 16;

/// Maximum number of bytes of one answer.
const MAX_ANSWER: usize = 64 * 1024;

/// Maximum number of bytes of an unknown answer that are kept to be shown.
const MAX_SHOWN: usize = 256;

/// Maximum number of characters of a field or a line of an answer that are kept.
const SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_a_secret_and_a_query_are_left_out() {
        for (url, path) in [
            ("https://h/a/b?token=secret", "/a/b"),
            ("ws://h/?q", "/"),
            ("https://h/.anyport/s/abcdefghijklmnop/", "/"),
            ("https://h/base/.anyport/uploads/abc", "/"),
            ("http://h/pipe/key", "/"),
            ("http://h/rooms/lobby", "/rooms/lobby"),
            ("http://h/a\r\nX: y", "/a%0D%0AX:%20y"),
            ("http://h/\u{e9}%20<", "/%C3%A9%20%3C"),
        ] {
            assert_eq!(without_secrets(&url.parse().unwrap()).path, path, "{url}");
        }
    }

    #[test]
    fn addresses_beyond_the_limit_are_left_out() {
        let mut addresses: Vec<_> =
            (1..=20).map(|n| SocketAddr::from(([192, 0, 2, n], 1))).collect();
        assert_eq!(leave_out(&mut addresses), 20 - MAX_ADDRESSES);
        assert_eq!(addresses.len(), MAX_ADDRESSES);
        assert_eq!(leave_out(&mut addresses), 0);
    }
}
