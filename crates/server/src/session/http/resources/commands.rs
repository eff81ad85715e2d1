//! The commands that reach this server, with the address that the client used: for `/help`, the
//! listing and the page.

use anyport_proto::access::Rights;
use anyport_proto::http1::RequestHead;
use anyport_proto::peer::Peer;
use anyport_proto::transfer::file_path::FilePath;
use anyport_tls::server::Server;
use serde_json::{Map, Value};

use super::upload::location_of;
use crate::session::Context;

/// The address of the server as a client used it.
pub(super) struct Address<'a> {
    /// `name:port`, or a placeholder.
    host: &'a str,
    base_path: &'a str,
    is_https: bool,
}

impl<'a> Address<'a> {
    /// Returns the address in a URL with `host`, which may be empty.
    pub(super) const fn new(host: &'a str, base_path: &'a str, is_https: bool) -> Self {
        Self { host, base_path, is_https }
    }

    pub(super) fn of(context: &'a Context, head: &'a RequestHead) -> Self {
        Self::new(head.host(), context.config.base_path.as_str(), context.is_encrypted)
    }

    /// Fills in a line with `{host}` in URLs, `{name}`, `{port}`, and `{address}`, which has
    /// brackets where it must.
    pub(super) fn filled(&self, line: &str) -> String {
        let (name, port) = split(self.host);
        let host = if self.host.is_empty() { "HOST:PORT" } else { self.host };
        let address = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
        let s = if self.is_https { "s" } else { "" };
        line.replace("http://", &format!("http{s}://"))
            .replace("ws://", &format!("ws{s}://"))
            .replace("{host}/", &format!("{host}{}/", self.base_path))
            .replace("{host}", host)
            .replace("{name}", name)
            .replace("{port}", port)
            .replace("{address}", &address)
    }
}

/// Returns name and port: without brackets, and 80 if a URL omits the port.
fn split(host: &str) -> (&str, &str) {
    let (name, port) = match host.rsplit_once(':') {
        _ if host.is_empty() => ("HOST", "PORT"),
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, "80"),
    };
    (name.trim_matches(['[', ']']), port)
}

/// The commands for the files in a directory. Each works as it is shown, once its words in capitals
/// are filled in.
pub(super) struct Commands<'a> {
    context: &'a Context,
    address: Address<'a>,
    directory: Option<&'a FilePath>,
}

impl<'a> Commands<'a> {
    /// Returns those for `directory`; `None` is the top.
    pub(super) fn of(
        context: &'a Context,
        head: &'a RequestHead,
        directory: Option<&'a FilePath>,
    ) -> Self {
        Self { context, address: Address::of(context, head), directory }
    }

    /// Returns the command of curl that uploads a file.
    pub(super) fn curl(&self) -> String {
        self.curl_with("-T FILE ", "")
    }

    /// Returns the commands for a client with these rights, by the name of their program. Those
    /// that cannot work are left out.
    pub(super) fn for_rights(&self, rights: Rights) -> Map<String, Value> {
        let may_send = rights.contains(Rights::WRITE);
        let mut commands = Map::new();
        if !may_send && !rights.contains(Rights::READ) {
            return commands;
        }
        let curl = if may_send { self.curl() } else { self.curl_with("-O ", "NAME") };
        commands.insert("curl".to_owned(), curl.into());
        if may_send && let Some(nc) = self.nc() {
            commands.insert("nc".to_owned(), nc.into());
        }
        let anyport = self.anyport(may_send);
        commands.insert("anyport".to_owned(), anyport.into());
        commands
    }

    fn curl_with(&self, option: &str, name: &str) -> String {
        let tls = self.own_tls().and_then(Server::curl_options).unwrap_or_default();
        let token = if self.needs_token() { "-u :TOKEN " } else { "" };
        let below = match (self.directory, name) {
            (None, "") => "/".to_owned(),
            (None, name) => format!("/files/{name}"),
            (Some(directory), name) => format!("{}/{name}", location_of(directory)),
        };
        let url = self.address.filled("http://{host}");
        let url = quoted(format!("{url}{}{below}", self.address.base_path));
        format!("curl {tls}{token}{option}{url}")
    }

    /// Bare bytes have neither a token nor a directory, and only this port itself reads them.
    fn nc(&self) -> Option<String> {
        let is_read = self.reads_raw() && !self.context.is_encrypted && !self.needs_token();
        let works = is_read && self.directory.is_none();
        works.then(|| self.address.filled("nc -N {name} {port} < FILE"))
    }

    fn anyport(&self, may_send: bool) -> String {
        let pin = self.own_tls().map(|tls| format!("--pin {} ", tls.fingerprint()));
        let pin = pin.unwrap_or_default();
        let token = if self.needs_token() { "--token-file TOKENFILE " } else { "" };
        let url = self.address.filled(match (self.reads_raw(), self.context.is_encrypted) {
            (true, false) => "{host}",
            (true, true) => "tls://{host}",
            (false, _) => "http://{host}",
        });
        let directory = self.directory.map(|path| format!("{}/", path.percent_encoded()));
        let directory = directory.unwrap_or_default();
        let (command, file, name) =
            if may_send { ("send", "FILE ", "") } else { ("get", "", "NAME") };
        let url = quoted(format!("{url}{}/{directory}{name}", self.address.base_path));
        format!("anyport {command} {pin}{token}{file}{url}")
    }

    fn needs_token(&self) -> bool {
        self.context.config.tokens.is_some()
    }

    /// Returns whether clients of this port may use raw TCP, and the client's address is its own.
    fn reads_raw(&self) -> bool {
        let allowed = self.context.listener.allowed;
        allowed.raw && allowed.detect && is_direct(self.context)
    }

    /// Returns the TLS settings if the client uses TLS with this server itself.
    fn own_tls(&self) -> Option<&Server> {
        self.context.tls().filter(|_| self.context.is_encrypted && is_direct(self.context))
    }
}

/// Returns a URL as a word of a shell: some expand brackets.
fn quoted(url: String) -> String {
    if url.contains('[') { format!("'{url}'") } else { url }
}

/// Returns whether no proxy is known to be between the client and this port.
pub(super) fn is_direct(context: &Context) -> bool {
    matches!(context.peer, Peer::Socket(_)) && context.config.base_path.as_str().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_apart_as_programs_want_them() {
        assert_eq!(split("files.lan:8331"), ("files.lan", "8331"));
        assert_eq!(split("files.lan"), ("files.lan", "80"));
        assert_eq!(split("[::1]:8331"), ("::1", "8331"));
        assert_eq!(split("[::1]"), ("::1", "80"));
        assert_eq!(split(""), ("HOST", "PORT"));
    }
}
