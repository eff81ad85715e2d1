//! What a port is, in one or two sentences, and the command that can use it.

use std::path::Path;

use anyport_client::{Outcome, ProbeResult, Reached, Scheme, Target};
use anyport_console::Exit;
use anyport_console::values::size_text;
use anyport_proto::about::About;
use anyport_proto::visible::make_visible;

use super::words::{accepted, mqtt_words, quoted, trust_hint};

/// The result of a probe.
pub(super) struct Conclusion {
    /// Words for programs: `anyport`, `http`, `http2`, `websocket`, `tls`, `mqtt`, or another
    /// protocol in words.
    pub(super) speaks: Vec<String>,
    /// The sentences.
    pub(super) says: String,
    pub(super) hint: Option<String>,
    pub(super) exit: Exit,
}

impl Conclusion {
    /// Draws the conclusion from all findings. `has_scheme`: the user named a protocol.
    pub(super) fn of(found: &ProbeResult, target: &Target, has_scheme: bool) -> Self {
        let Some(used) = &found.used else { return unreachable(found, target) };
        let address = used.text();
        let first = found.reached.iter().find(|reached| reached.address == *used);
        let (says, hint) = match first.map(|first| &first.outcome) {
            Some(Outcome::Speaks { name, greeting, .. }) => {
                return speaker(*name, greeting, target, &address);
            }
            Some(Outcome::Closes) => {
                return Self::lost(format!("{address} closes each connection before any byte."));
            }
            Some(Outcome::Resets) => {
                return Self::lost(format!("{address} resets each connection before any byte."));
            }
            _ => spoken(found, target, &address),
        };
        let speaks = speaks(found);
        let exit = if speaks.is_empty() { Exit::Failed } else { Exit::Done };
        let conclusion = Self { speaks, says, hint, exit };
        conclusion.for_scheme(found, target, has_scheme)
    }

    fn lost(says: String) -> Self {
        let hint = "the server or its proxy refuses this client, or has no backend: see \
                    its log and its list of allowed addresses";
        Self { speaks: Vec::new(), says, hint: Some(hint.to_owned()), exit: Exit::ConnectionLost }
    }

    /// Adds whether the server is trusted, and whether it speaks what the URL asks for.
    fn for_scheme(mut self, found: &ProbeResult, target: &Target, has_scheme: bool) -> Self {
        let other = |encrypted| Target { encrypted, ..target.clone() };
        if target.encrypted && found.tls.is_none() {
            match found.tls_error.as_ref().or(found.tls_fault.as_ref()) {
                Some(reason) => self.says.push_str(&format!(" TLS failed: {reason}.")),
                None => {
                    self.says.push_str(" It does not speak TLS.");
                    if self.exit == Exit::Done {
                        self.hint = Some(format!("use {}", other(false)));
                    }
                }
            }
            self.exit = Exit::Untrusted;
            return self;
        }
        let is_only_tls = self.speaks == ["tls"];
        let is_under_tls = target.encrypted || found.inside_tls || is_only_tls;
        let presented = found.tls.as_ref().filter(|_| is_under_tls);
        let presented = presented.and_then(|tls| tls.presented.as_ref());
        if let Some((presented, Err(untrusted))) = presented.map(|seen| (seen, &seen.trust)) {
            self.says.push_str(&format!(" Its certificate is not trusted: {untrusted}."));
            self.hint = Some(trust_hint(untrusted, presented));
            if target.encrypted {
                self.exit = Exit::Untrusted;
                return self;
            }
        }
        if self.exit != Exit::Done || !has_scheme {
            return self;
        }
        if found.needs_certificate {
            self.exit = Exit::Untrusted;
            return self;
        }
        if !target.encrypted && found.inside_tls {
            self.says.push_str(" It requires TLS.");
            self.hint = Some(format!("use {}", other(true)));
            self.exit = Exit::Failed;
            return self;
        }
        let speaks_it = match target.scheme {
            Scheme::Http => found.http.is_some() || found.http2,
            Scheme::Ws => found.websocket.as_ref().is_some_and(|answer| answer.fault.is_none()),
            _ => true,
        };
        if !speaks_it {
            let scheme = target.scheme_name();
            self.says.push_str(&format!(" It does not accept {scheme}:// at {}.", target.path));
            self.exit = Exit::Failed;
        }
        self
    }

    /// Returns the lines for people.
    pub(super) fn text(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("\nhint: {}", make_visible(hint)));
        format!("\n{}{}", make_visible(&self.says), hint.unwrap_or_default())
    }
}

/// The conclusion if no address accepts a connection.
fn unreachable(found: &ProbeResult, target: &Target) -> Conclusion {
    let has = |outcome: &Outcome| found.reached.iter().any(|reached| reached.outcome == *outcome);
    let place = target.address();
    let (says, hint) = if let Some(socket) = &target.socket {
        unconnected(&found.reached, &place, socket)
    } else if has(&Outcome::Refused) {
        let other = match target.port == anyport_client::DEFAULT_PORT {
            true => "start the server there (anyport serve DIR), or check the port".to_owned(),
            false => format!(
                "start the server, or check the port: anyport listens on {} by default",
                anyport_client::DEFAULT_PORT
            ),
        };
        (format!("Nothing listens on {place}: the connection is refused."), other)
    } else if has(&Outcome::TimedOut) {
        let hint = "check the address, and the firewalls of both machines and between them";
        (
            format!("{place} does not answer: a firewall drops the packets, or the host is off."),
            hint.to_owned(),
        )
    } else if has(&Outcome::NoRoute) {
        let hint = format!("check the network connection: ip route get {}", target.host);
        (format!("This machine has no route to {place}."), hint)
    } else if has(&Outcome::NoHost) {
        let hint = "check that the host is on, and its firewall";
        (
            format!("{place} is unreachable: the host is off, or a firewall rejects."),
            hint.to_owned(),
        )
    } else if has(&Outcome::Forbidden) {
        let hint = "check the firewall rules and the sandbox of this machine";
        (format!("This machine does not permit connections to {place}."), hint.to_owned())
    } else {
        (format!("{place} cannot be connected to."), "check the address".to_owned())
    };
    Conclusion { speaks: Vec::new(), says, hint: Some(hint), exit: Exit::Unreachable }
}

/// The sentence and the hint for a Unix socket that accepts no connection.
fn unconnected(reached: &[Reached], place: &str, socket: &Path) -> (String, String) {
    let path = socket.display();
    match reached.first().map(|reached| &reached.outcome) {
        Some(Outcome::Refused) => (
            format!("Nothing listens on {place}: the program that made the socket has ended."),
            format!("start the server again; with anyport: anyport serve DIR --bind {place}"),
        ),
        Some(Outcome::Forbidden) => (
            format!("This user may not connect to {place}."),
            format!(
                "connecting needs the permission to write to the socket, and to enter its \
                 directories: ls -l {path}"
            ),
        ),
        Some(Outcome::NoFile) => (
            format!("There is no file {path}."),
            "check the path; a server makes the socket when it starts".to_owned(),
        ),
        Some(Outcome::NotASocket) => {
            (format!("{path} is not a socket."), "check the path".to_owned())
        }
        Some(Outcome::TimedOut) => (
            format!("{place} accepts no further connection: its queue is full."),
            "check whether the server hangs, or is stopped".to_owned(),
        ),
        _ => (format!("{place} cannot be connected to."), "check the path".to_owned()),
    }
}

/// The conclusion about a server that speaks first.
fn speaker(
    name: Option<&'static str>,
    greeting: &[u8],
    target: &Target,
    address: &str,
) -> Conclusion {
    let says = match name {
        Some(name) => format!("{address} is {} {name} server.", article(name)),
        None => format!("{address} speaks first, in an unknown protocol: {}.", quoted(greeting)),
    };
    let speaks = name.into_iter().map(str::to_owned).collect();
    let exit = if name.is_some() { Exit::Done } else { Exit::Failed };
    Conclusion { speaks, says, hint: Some(by_hand(name, target)), exit }
}

fn by_hand(name: Option<&str>, target: &Target) -> String {
    let Target { host, port, .. } = target;
    let cat = url(target, "tcp", "");
    match name {
        Some("echo") => format!("use anyport cat {cat}"),
        Some("SSH") if target.socket.is_none() => format!("use ssh -p {port} {host}"),
        Some("FTP") if target.socket.is_none() => format!("use curl ftp://{}/", target.authority()),
        Some("rsync") if target.socket.is_none() => {
            format!("use rsync rsync://{}/", target.authority())
        }
        _ => format!("use anyport cat {cat} to type its commands"),
    }
}

/// Returns what a command needs to use the server: a URL, or the Unix socket with it.
fn url(target: &Target, scheme: &str, path: &str) -> String {
    match &target.socket {
        None => format!("{scheme}://{}{path}", target.authority()),
        Some(socket) if scheme == "tcp" => format!("unix:{}", socket.display()),
        Some(socket) => {
            format!("{scheme}://{}{path} --unix-socket {}", target.host, socket.display())
        }
    }
}

fn article(name: &str) -> &'static str {
    let vowels = ["A", "E", "F", "I", "L", "M", "N", "R", "S", "X"];
    // Abbreviations are read letter by letter.
    let is_abbreviation = name.chars().take(3).all(|letter| letter.is_ascii_uppercase());
    let is_vowel = name.starts_with(['A', 'E', 'I', 'O', 'a', 'e', 'i', 'o']);
    if is_vowel || (is_abbreviation && vowels.iter().any(|vowel| name.starts_with(vowel))) {
        "an"
    } else {
        "a"
    }
}

/// Returns what was spoken, for programs.
fn speaks(found: &ProbeResult) -> Vec<String> {
    let words = [
        (found.about.is_some() || found.preface.is_some(), "anyport"),
        (found.http.is_some(), "http"),
        (found.http2, "http2"),
        (found.websocket.is_some(), "websocket"),
        (found.tls.is_some(), "tls"),
        (found.mqtt.is_some(), "mqtt"),
    ];
    let words = words.into_iter().filter(|(is_spoken, _)| *is_spoken).map(|(_, word)| word);
    // No probe sends these: the server reports them.
    let about = found.about.as_ref().filter(|about| about.service == "any");
    let reported = ["raw", "frames"].into_iter().filter(|name| about.is_some_and(|a| a.has(name)));
    let inside = found.tls.as_ref().and_then(|tls| tls.protocol);
    words.chain(reported).chain(found.other).chain(inside).map(str::to_owned).collect()
}

/// Returns what the port is, and the command that can use it.
fn spoken(found: &ProbeResult, target: &Target, address: &str) -> (String, Option<String>) {
    let tls = found.inside_tls;
    let scheme = |plain: &'static str, encrypted: &'static str| if tls { encrypted } else { plain };
    if let Some(greeting) = found.tls.as_ref().filter(|tls| !tls.greeting.is_empty()) {
        let says = match greeting.protocol {
            Some(name) => format!("{address} is {} {name} server under TLS.", article(name)),
            None => {
                let said = quoted(&greeting.greeting);
                format!("{address} speaks first under TLS, in an unknown protocol: {said}.")
            }
        };
        let url = url(target, "tls", "");
        return (says, Some(format!("use anyport cat {url} to type its commands")));
    }
    if found.needs_certificate {
        let versions = found.versions.join(" and ");
        let fault = found.tls.as_ref().and_then(|tls| tls.fault.as_deref()).unwrap_or("closed");
        let says = format!(
            "{address} speaks {versions}, and requires a certificate of the client: {fault}."
        );
        return (says, Some("name one that it accepts with --cert FILE".to_owned()));
    }
    if let Some(about) = &found.about {
        return anyport(about, target, address, tls);
    }
    if let Some(answer) = &found.preface {
        let token = match answer.needs_token {
            true => "; a token is required",
            false => "",
        };
        let says = format!("{address} is an anyport server{token}.");
        let url = url(target, scheme("tcp", "tls"), "");
        return (says, Some(format!("use anyport send FILE {url}")));
    }
    if let Some(code) = found.mqtt {
        return (format!("{address} is an MQTT broker: {}.", mqtt_words(code)), None);
    }
    if let Some(name) = found.other {
        let says = format!("{address} is {} {name} server.", article(name));
        return (says, Some(by_hand(Some(name), target)));
    }
    let websocket = found.websocket.as_ref();
    if let Some(answer) = websocket.filter(|answer| answer.fault.is_none()) {
        let server = answer.server.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
        let says =
            format!("{address} is a WebSocket server{server} at {}{}.", target.path, over(tls));
        let url = url(target, scheme("ws", "wss"), &target.path);
        return (says, Some(format!("use anyport cat {url}")));
    }
    if found.http.is_some() || found.http2 {
        let server = found.http.as_ref().and_then(|answer| answer.server.as_deref());
        let server = server.map(|name| format!(" ({name})")).unwrap_or_default();
        let versions = match (found.http.is_some(), found.http2) {
            (true, true) => "HTTP/1.1 and HTTP/2",
            (true, false) => "HTTP/1.1",
            _ => "HTTP/2 only",
        };
        let says = format!("{address} is a web server{server}: {versions}{}.", over(tls));
        let url = url(target, scheme("http", "https"), &target.path);
        let browser = if target.socket.is_none() { ", or a browser" } else { "" };
        // Without TLS, neither anyport nor browsers begin with HTTP/2.
        let hint = match found.http.is_some() || tls {
            true => format!("use anyport get {url} -o FILE{browser}"),
            false => format!("use curl --http2-prior-knowledge {url}"),
        };
        return (says, Some(hint));
    }
    if let Some(versions) = found.tls.as_ref().map(|_| found.versions.join(" and ")) {
        let says =
            format!("{address} speaks {versions}, and inside it none of the probed protocols.");
        let url = url(target, "tls", "");
        return (says, Some(format!("use anyport cat {url} to type its commands")));
    }
    if let Some(reason) = &found.tls_fault {
        return (format!("{address} speaks TLS, but refuses the handshake: {reason}."), None);
    }
    if let Some(fault) = &found.http2_fault {
        let says = format!(
            "{address} answers the preface of HTTP/2 with SETTINGS, then breaks the protocol: \
             {fault}."
        );
        return (says, Some("see the log of the server".to_owned()));
    }
    if found.refuses_more.is_some() {
        let says = format!(
            "{address} accepted one connection and no other: a program such as nc -l without -k, \
             or one that ended."
        );
        let url = url(target, "tcp", "");
        return (says, Some(format!("start it again, and use anyport send --plain FILE {url}")));
    }
    if found.is_unknown {
        let says = format!("{address} answers in a protocol that probe does not know.");
        return (says, Some(by_hand(None, target)));
    }
    if found.is_silent {
        let says = format!(
            "{address} accepts connections, and answers nothing: it receives raw bytes as nc -l, \
             or speaks a protocol that probe does not know."
        );
        let url = url(target, "tcp", "");
        return (says, Some(format!("use anyport send --plain FILE {url}")));
    }
    let says = format!("{address} closes the connection after each request without an answer.");
    (
        says,
        Some("the server expects another protocol: see its documentation and its log".to_owned()),
    )
}

fn anyport(about: &About, target: &Target, address: &str, tls: bool) -> (String, Option<String>) {
    let version = &about.version;
    if about.service != "any" {
        let says = format!("{address} is the {} service of anyport {version}.", about.service);
        return (says, Some(format!("use curl {}", url(target, "http", "/"))));
    }
    let names = [("raw", "tcp"), ("http", "http"), ("ws", "ws"), ("frames", "frames")];
    let scheme = names.into_iter().find(|(name, _)| about.has(name)).map(|(_, scheme)| scheme);
    let under = match (about.tls.as_str(), tls) {
        ("off", _) => "without TLS",
        ("required", _) | (_, true) => "under TLS",
        _ => "with or without TLS",
    };
    let token = if about.token { "a token is required" } else { "no token is required" };
    let size = about.limits.max_size;
    let size = size.map(|size| format!("; files of at most {}", size_text(size)));
    let says = format!(
        "{address} is anyport {version}. It accepts {}, {under}; {token}{}.",
        accepted(about),
        size.unwrap_or_default()
    );
    let place = match (scheme.unwrap_or("tcp"), tls) {
        ("tcp", false) if target.socket.is_none() => target.authority(),
        (name, false) => url(target, name, ""),
        ("tcp", true) => url(target, "tls", ""),
        ("frames", true) => url(target, "frames+tls", ""),
        (name, true) => url(target, &format!("{name}s"), ""),
    };
    let token = if about.token { " --token-file FILE" } else { "" };
    (says, Some(format!("use anyport send FILE {place}{token}")))
}

fn over(tls: bool) -> &'static str {
    if tls { " under TLS" } else { "" }
}
