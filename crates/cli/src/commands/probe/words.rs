//! Findings as lines for people.

use std::time::Duration;

use anyport_client::{
    Answer, HttpAnswer, Outcome, PathReport, ProbeFinding, ProbeOptions, Probed, Reached, Resolved,
    Target, TlsAnswer,
};
use anyport_net::address::Address;
use anyport_proto::about::About;
use anyport_proto::visible::make_visible;
use anyport_tls::client::{Presented, TrustedBy};
use anyport_tls::{Fingerprint, Untrusted};
use jiff::Timestamp;

/// The findings so far, where they change the words for the next one.
pub(super) struct Words<'a> {
    pub(super) target: &'a Target,
    pub(super) options: &'a ProbeOptions,
    pub(super) has_probes: bool,
    /// The certificate that was shown.
    pub(super) shown: Option<Fingerprint>,
}

impl Words<'_> {
    /// Returns the lines of one finding.
    pub(super) fn finding(&mut self, finding: &ProbeFinding<'_>) -> String {
        match finding {
            ProbeFinding::Resolved(resolved) => self::resolved(resolved, &self.target.host),
            ProbeFinding::Reached(reached) => self::reached(reached, self.options),
            ProbeFinding::Probed(probed) => {
                let before = if self.has_probes { "" } else { "\n" };
                self.has_probes = true;
                format!("{before}{}", self.probed(probed))
            }
            _ => String::new(),
        }
    }

    fn probed(&mut self, probed: &Probed) -> String {
        let Probed { name, inside_tls, sent, took, answer } = probed;
        let place = if *inside_tls { " inside TLS" } else { "" };
        let mut text = format!("sent{place}: {}\n", make_visible(sent));
        // The handshake, without the silence behind it for a greeting.
        let took = milliseconds(match answer {
            Answer::Tls(tls) => tls.took,
            _ => *took,
        });
        let lines = match answer {
            Answer::Other(bytes) if name.starts_with("tls") => {
                let line = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
                vec![format!("no TLS: it answers {}", quoted(line))]
            }
            Answer::Tls(tls) => {
                let mut lines = tls_lines(tls);
                let presented = tls.presented.as_ref();
                let fingerprint = presented.map(|presented| presented.fingerprint);
                if fingerprint.is_some_and(|shown| self.shown.replace(shown) != Some(shown)) {
                    lines.extend(presented.into_iter().flat_map(certificate_lines));
                }
                lines.extend(after_handshake(tls));
                lines
            }
            answer => answer_lines(answer),
        };
        for (number, line) in lines.into_iter().enumerate() {
            let took = if number == 0 { format!(" ({took})") } else { String::new() };
            text.push_str(&format!("  {}{took}\n", make_visible(&line)));
        }
        text
    }
}

fn resolved(resolved: &Resolved, host: &str) -> String {
    let Resolved { addresses, left_out, took } = resolved;
    let count = match addresses.len() {
        1 => "1 address".to_owned(),
        count => format!("{count} addresses"),
    };
    let more = match left_out {
        0 => String::new(),
        more => format!("; {more} more are not probed"),
    };
    format!("{host}: {count}, resolved in {}{more}\n", milliseconds(*took))
}

fn reached(reached: &Reached, options: &ProbeOptions) -> String {
    let Reached { address, outcome, connect, first_byte, path } = reached;
    let connected = connect.map(|took| format!("connected in {}; ", milliseconds(took)));
    let mut text = format!(
        "  {}  {}{}\n",
        address.text(),
        connected.unwrap_or_default(),
        outcome_words(address, outcome, options.connect_timeout)
    );
    if let Outcome::Speaks { greeting, .. } = outcome {
        let after = first_byte.map(|took| format!(" after {}", milliseconds(took)));
        text.push_str(&format!(
            "      it says{}: {}\n",
            after.unwrap_or_default(),
            quoted(greeting)
        ));
    }
    if let Some(path) = path {
        text.push_str(&path_words(path));
    }
    text
}

/// Returns what happened at an address, and what that means.
fn outcome_words(address: &Address, outcome: &Outcome, connect_timeout: Duration) -> String {
    match outcome {
        Outcome::Refused if address.ip().is_none() => {
            "connection refused: the program that made this socket has ended".to_owned()
        }
        Outcome::TimedOut if address.ip().is_none() => format!(
            "not accepted within {connect_timeout:?}: the program accepts no further connection"
        ),
        Outcome::Forbidden if address.ip().is_none() => {
            "permission denied: the socket, or its directory, is for other users".to_owned()
        }
        Outcome::NoFile => "no such file: no program has made this socket".to_owned(),
        Outcome::NotASocket => "not a socket: the path names another kind of file".to_owned(),
        Outcome::Silent => "the server waits for the client".to_owned(),
        Outcome::Speaks { name: Some(name), .. } => format!("the server speaks first: {name}"),
        Outcome::Speaks { name: None, .. } => {
            "the server speaks first, in an unknown protocol".to_owned()
        }
        Outcome::Closes => "closed by the server before any byte".to_owned(),
        Outcome::Resets => "reset by the server before any byte".to_owned(),
        Outcome::Refused => {
            "connection refused: no program listens on this port, or a firewall rejects".to_owned()
        }
        Outcome::TimedOut => format!(
            "no answer within {connect_timeout:?}: a firewall drops the packets, or the host is off"
        ),
        Outcome::NoRoute => "no route: this machine has no way to that network".to_owned(),
        Outcome::NoHost => {
            "host unreachable: it is off, or a firewall rejects the connection".to_owned()
        }
        Outcome::Forbidden => {
            "not permitted: a firewall or sandbox of this machine forbids it".to_owned()
        }
        Outcome::Failed(reason) => format!("cannot connect: {reason}"),
        _ => outcome.as_str().to_owned(),
    }
}

fn path_words(path: &PathReport) -> String {
    let PathReport { rtt_us, mtu, mss, congestion } = path;
    let rtt = rtt_us.map(|rtt| format!("RTT {}", milliseconds(Duration::from_micros(rtt))));
    let mtu = mtu.map(|mtu| format!("path MTU {mtu}"));
    let mss = mss.map(|mss| format!("MSS {mss}"));
    let congestion = congestion.as_ref().map(|name| format!("congestion control {name}"));
    let parts: Vec<_> = [rtt, mtu, mss, congestion].into_iter().flatten().collect();
    format!("      {}\n", parts.join(", "))
}

fn answer_lines(answer: &Answer) -> Vec<String> {
    let line = match answer {
        Answer::Http(answer) => return http_lines(answer),
        Answer::Tls(answer) => return tls_lines(answer),
        Answer::TlsVersionRefused => {
            "TLS, but not this version (alert protocol_version)".to_owned()
        }
        Answer::TlsRefused(reason) => format!("TLS, but the handshake failed: {reason}"),
        Answer::TlsAlert => "a TLS alert: the port expects TLS".to_owned(),
        Answer::Http2 { fault: Some(fault), .. } => {
            format!("the preface of HTTP/2, then it breaks the protocol: {fault}")
        }
        Answer::Http2 { settings, .. } => {
            let settings = settings.iter().map(|(number, value)| setting(*number, *value));
            let settings: Vec<_> = settings.collect();
            format!("HTTP/2, with {}", listed(&settings, "default settings"))
        }
        Answer::WebSocket(answer) => match (&answer.fault, &answer.subprotocol) {
            (Some(fault), _) => format!("WebSocket, but a wrong response: {fault}"),
            (None, Some(name)) => {
                format!("WebSocket, with the right Sec-WebSocket-Accept; subprotocol {name}")
            }
            (None, None) => "WebSocket, with the right Sec-WebSocket-Accept".to_owned(),
        },
        Answer::Preface(answer) => match answer.is_refused {
            true => format!("anyport's preface, which refuses: {}", answer.says),
            false => "anyport's preface".to_owned(),
        },
        Answer::Mqtt { code } => format!("MQTT: {}", mqtt_words(*code)),
        Answer::Known { name, bytes } => format!("{name}: {}", quoted(bytes)),
        Answer::Echo => "the same bytes: an echo server".to_owned(),
        Answer::Other(bytes) => format!("an unknown answer: {}", quoted(bytes)),
        Answer::Closed => "the server closed the connection without an answer".to_owned(),
        Answer::Reset => "the server reset the connection without an answer".to_owned(),
        Answer::Silent => "no answer".to_owned(),
        Answer::NotConnected(outcome) => {
            format!("no further connection: {}", outcome.as_str().replace('-', " "))
        }
        Answer::Failed(reason) => reason.clone(),
        _ => "an answer of another kind".to_owned(),
    };
    vec![line]
}

fn http_lines(answer: &HttpAnswer) -> Vec<String> {
    let HttpAnswer { version, status, reason, server, allow, location, says, about, fault } =
        answer;
    let mut lines = vec![format!("{version} {status} {reason}").trim_end().to_owned()];
    let server = server.as_ref().map(|server| format!("Server: {server}"));
    let allow = allow.as_ref().map(|allow| format!("Allow: {allow}"));
    let location = location.as_ref().map(|location| format!("Location: {location}"));
    let says = Some(says).filter(|says| !says.is_empty()).map(|says| format!("it says: {says}"));
    let fault = fault.as_ref().map(|fault| format!("malformed: {fault}"));
    lines.extend([server, allow, location, says, fault].into_iter().flatten());
    if let Some(about) = about {
        let limits = &about.limits;
        let size = limits.max_size.map(|size| format!("files of at most {size} bytes"));
        let head = limits.max_head.map(|head| format!("request heads of at most {head} bytes"));
        let idle = limits.idle_timeout.map(|idle| format!("idle timeout {idle} s"));
        let limits: Vec<_> = [size, head, idle].into_iter().flatten().collect();
        let token = if about.token { "required" } else { "not required" };
        let accepts = match about.service.as_str() {
            "any" => format!("accepts {}", accepted(about)),
            service => format!("is its {service} service"),
        };
        lines.push(format!(
            "anyport {} reports that it {accepts}; TLS {}; token {token}",
            about.version, about.tls
        ));
        lines.push(format!("limits: {}", listed(&limits, "none reported")));
    }
    lines
}

/// Returns the protocols that an anyport server reports, in words. No probe sends raw bytes or bare
/// frames: a server would store them.
pub(super) fn accepted(about: &About) -> String {
    let names = [
        ("raw", "raw bytes"),
        ("http", "HTTP"),
        ("ws", "WebSocket"),
        ("frames", "bare WebSocket frames"),
    ];
    let names = names.into_iter().filter(|(name, _)| about.has(name)).map(|(_, name)| name);
    let names: Vec<_> = names.collect();
    match names.as_slice() {
        [] => "none of the protocols".to_owned(),
        [one] => (*one).to_owned(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

fn tls_lines(answer: &TlsAnswer) -> Vec<String> {
    let TlsAnswer { version, suite, alpn, requests_certificate, .. } = answer;
    let suite = suite.as_ref().map(|suite| format!(", {suite}")).unwrap_or_default();
    let alpn = alpn.as_ref().map_or_else(|| "no ALPN".to_owned(), |name| format!("ALPN {name}"));
    let mut lines = vec![format!("{version}{suite}, {alpn}")];
    if *requests_certificate {
        lines.push("the server requests a certificate of the client (--cert FILE)".to_owned());
    }
    lines
}

fn after_handshake(answer: &TlsAnswer) -> Vec<String> {
    let fault = answer.fault.as_ref().map(|fault| format!("then the server ended TLS: {fault}"));
    let greeting = Some(&answer.greeting).filter(|greeting| !greeting.is_empty());
    let name = answer.protocol.unwrap_or("unknown protocol");
    let greeting =
        greeting.map(|greeting| format!("the server speaks first: {name}: {}", quoted(greeting)));
    fault.into_iter().chain(greeting).collect()
}

fn certificate_lines(presented: &Presented) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(certificate) = &presented.certificate {
        let more = match certificate.more_names {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = listed(&certificate.names, "no listed name");
        lines.push(format!(
            "certificate of {} from {}, for {names}{more}",
            certificate.subject, certificate.issuer
        ));
        let (from, until) = (day(certificate.not_before), day(certificate.not_after));
        lines.push(format!("valid from {from} to {until}"));
    }
    lines.push(format!("fingerprint {}", presented.fingerprint));
    lines.push(format!("verification: {}", trust_words(presented)));
    lines
}

/// Returns whether a connection would trust the server, and why.
pub(super) fn trust_words(presented: &Presented) -> String {
    match &presented.trust {
        Ok(TrustedBy::Authority) => "trusted: signed by a trusted CA".to_owned(),
        Ok(TrustedBy::Pinned) => "trusted: it is the pinned certificate".to_owned(),
        Ok(TrustedBy::Known) => "trusted: it is in the file of known hosts".to_owned(),
        Ok(TrustedBy::New { file, .. }) => format!(
            "self-signed, and new: a transfer would trust it on first use, and remember it in {}",
            file.display()
        ),
        Ok(_) => "not verified (-k)".to_owned(),
        Err(untrusted) => format!("NOT trusted: {untrusted}"),
    }
}

/// Returns the hint for a server that is not trusted.
pub(super) fn trust_hint(untrusted: &Untrusted, presented: &Presented) -> String {
    match untrusted {
        Untrusted::WrongName { .. } => {
            "use a name of the certificate, or --pin with its fingerprint".to_owned()
        }
        Untrusted::Changed { file: Some(file), place, .. } => format!(
            "if the server has a new certificate, remove the line of {place} from {}",
            file.display()
        ),
        _ => format!("if it is the right server: --pin {}", presented.fingerprint),
    }
}

/// Returns the meaning of a code of CONNACK (MQTT 3.1.1 §3.2.2.3).
pub(super) fn mqtt_words(code: u8) -> String {
    match code {
        0 => "the broker accepts clients without credentials".to_owned(),
        1 => "the broker does not accept version 3.1.1".to_owned(),
        2 => "the broker does not accept a client without a name".to_owned(),
        3 => "the broker is unavailable".to_owned(),
        4 | 5 => "the broker requires credentials".to_owned(),
        code => format!("the broker refuses with code {code}"),
    }
}

fn setting(number: u16, value: u32) -> String {
    let name = match number {
        1 => "HEADER_TABLE_SIZE",
        2 => "ENABLE_PUSH",
        3 => "MAX_CONCURRENT_STREAMS",
        4 => "INITIAL_WINDOW_SIZE",
        5 => "MAX_FRAME_SIZE",
        6 => "MAX_HEADER_LIST_SIZE",
        8 => "ENABLE_CONNECT_PROTOCOL",
        _ => return format!("setting {number}={value}"),
    };
    format!("{name}={value}")
}

fn listed(words: &[String], none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { words.join(", ") }
}

/// Returns bytes of a server in quotes, with an escape for each that is no printable ASCII.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let more = match bytes.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more bytes"),
    };
    format!("\"{}\"{more}", shown.escape_ascii())
}

fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    match milliseconds {
        few if few < 10.0 => format!("{few:.2} ms"),
        many => format!("{many:.0} ms"),
    }
}

fn day(seconds: i64) -> String {
    let at = Timestamp::from_second(seconds).map(|at| at.strftime("%Y-%m-%d").to_string());
    at.unwrap_or_else(|_| "an unknown date".to_owned())
}

/// Bytes of a server that are shown.
const SHOWN: usize = 120;
