//! Fields by which proxies state the client of a request: `Forwarded` (RFC 7239), and
//! `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
//!
//! Each proxy appends the address that it received the request from, so the list is read from its
//! end: only what trusted proxies appended counts, and what precedes it may be forged.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{self, HeaderMap, HeaderName};

use super::head::is_authority;
use crate::peer::Peer;

/// The statements of trusted proxies about a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// The client, always [`Peer::Forwarded`]; `None` if the address is unknown.
    pub client: Option<Peer>,
    /// Whether the client uses TLS.
    pub is_https: Option<bool>,
    /// Host and port of the client's URL.
    pub host: Option<String>,
}

/// The addresses of a list, from the client's end to ours; `None`: unknown.
type Hops = Vec<Option<Peer>>;

impl Forwarding {
    /// Returns whether a request has any of the fields.
    pub fn is_stated(fields: &HeaderMap) -> bool {
        fields.contains_key(header::FORWARDED)
            || [FOR, PROTO, HOST].iter().any(|name| fields.contains_key(name))
    }

    /// Reads the fields of a request that came from a trusted proxy.
    ///
    /// The client is the last hop that is not trusted itself; an unknown hop ends the search, and
    /// the last known address counts. If a request has both kinds of fields, a value counts only
    /// if both state it: one of them may be the client's own.
    pub fn of(fields: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Self {
        let standard = fields.contains_key(header::FORWARDED);
        let other = [FOR, PROTO, HOST].iter().any(|name| fields.contains_key(name));
        match (standard, other) {
            (true, false) => Self::of_standard(fields, is_trusted),
            (false, _) => Self::of_other(fields, is_trusted),
            (true, true) => {
                let one = Self::of_standard(fields, &is_trusted);
                let other = Self::of_other(fields, &is_trusted);
                let ip = |client: &Option<Peer>| client.and_then(|client| client.ip());
                Self {
                    client: one.client.filter(|_| ip(&one.client) == ip(&other.client)),
                    is_https: one.is_https.filter(|_| one.is_https == other.is_https),
                    host: one.host.filter(|host| other.host.as_ref() == Some(host)),
                }
            }
        }
    }

    fn of_standard(fields: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Self {
        let lines = fields.get_all(header::FORWARDED).iter();
        let elements: Vec<Element> = lines
            .flat_map(|line| {
                let parsed = line.to_str().ok().and_then(elements);
                // Where a quote is open the elements behind it are unknown too.
                parsed.unwrap_or_else(|| vec![Element::default()])
            })
            .collect();
        let hops: Hops = elements.iter().map(|element| element.client).collect();
        let (client, at) = search(&hops, is_trusted);
        let element = at.and_then(|at| elements.into_iter().nth(at)).unwrap_or_default();
        Self { client, is_https: element.is_https, host: element.host }
    }

    fn of_other(fields: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Self {
        let hops: Hops = list(fields, &FOR).into_iter().map(node).collect();
        let (client, at) = search(&hops, is_trusted);
        // Counted from the end, as a proxy may replace the list of one field and append to another.
        let before_end = at.map_or(1, |at| hops.len() - at);
        let value = |name| {
            let values = list(fields, name);
            values.get(values.len().saturating_sub(before_end)).copied()
        };
        Self {
            client,
            is_https: value(&PROTO).and_then(is_https),
            host: value(&HOST).and_then(host),
        }
    }
}

/// Returns the client of a list, and the hop that a trusted proxy stated last.
fn search(hops: &Hops, is_trusted: impl Fn(IpAddr) -> bool) -> (Option<Peer>, Option<usize>) {
    let (mut client, mut at) = (None, None);
    for (index, hop) in hops.iter().enumerate().rev().take(MAX_HOPS) {
        at = Some(index);
        let Some(hop) = hop else { break };
        client = Some(*hop);
        if !hop.ip().is_some_and(&is_trusted) {
            break;
        }
    }
    (client, at)
}

/// Returns the comma-separated values of all fields of a name, in order.
fn list<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    // An invalid field is one unknown value, so that no value before it takes its place.
    let lines = fields.get_all(name).into_iter().map(|line| line.to_str().unwrap_or("unknown"));
    lines.flat_map(|line| line.split(',')).map(str::trim).collect()
}

/// An element of `Forwarded`; its default is an unknown hop.
#[derive(Debug, Default)]
struct Element {
    client: Option<Peer>,
    is_https: Option<bool>,
    host: Option<String>,
}

/// Parses a field of RFC 7239 §4; `None` if it breaks a rule.
fn elements(mut text: &str) -> Option<Vec<Element>> {
    let mut all = vec![Element::default()];
    let mut names: Vec<String> = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '\t']);
        // Empty elements and pairs are allowed.
        if !text.is_empty() && !text.starts_with([',', ';']) {
            let (name, rest) = text.split_once('=')?;
            let name = name.to_ascii_lowercase();
            let (value, rest) = value(rest)?;
            let is_token = !name.is_empty() && name.bytes().all(is_token_byte);
            if !is_token || names.contains(&name) {
                return None;
            }
            let element = all.last_mut()?;
            match name.as_str() {
                "for" => element.client = node(&value),
                "proto" => element.is_https = is_https(&value),
                "host" => element.host = host(&value),
                _ => {}
            }
            names.push(name);
            text = rest.trim_start_matches([' ', '\t']);
        }
        match text.split_at_checked(1) {
            None => return Some(all),
            Some((";", rest)) => text = rest,
            Some((",", rest)) => {
                text = rest;
                names.clear();
                all.push(Element::default());
            }
            Some(_) => return None,
        }
    }
}

/// Splits a token or a quoted string (RFC 9110 §5.6) off.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        return (!token.is_empty()).then_some((Cow::Borrowed(token), rest));
    };
    let mut unquoted = String::new();
    let mut chars = quoted.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((Cow::Owned(unquoted), &quoted[at + 1..])),
            (_, '\\') => unquoted.push(chars.next()?.1),
            (_, other) => unquoted.push(other),
        }
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Parses an address with or without a port (RFC 7239 §6); `None` for `unknown`, obfuscated
/// identifiers and anything else.
fn node(text: &str) -> Option<Peer> {
    let of = |ip: IpAddr, port| Some(Peer::Forwarded { ip: Some(ip.to_canonical()), port });
    if let Ok(ip) = text.parse() {
        return of(ip, None);
    }
    let (ip, rest) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (ip, rest) = bracketed.split_once(']')?;
            (IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?), rest)
        }
        None => {
            let (ip, rest) = text.split_at(text.find(':')?);
            (IpAddr::V4(ip.parse::<Ipv4Addr>().ok()?), rest)
        }
    };
    match rest.strip_prefix(':') {
        None if rest.is_empty() => of(ip, None),
        None => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            of(ip, Some(port.parse().ok()?))
        }
        // An obfuscated port.
        Some(port) => of(ip, None).filter(|_| port.starts_with('_')),
    }
}

fn is_https(scheme: &str) -> Option<bool> {
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

fn host(text: &str) -> Option<String> {
    is_authority(text).then(|| text.to_owned())
}

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Maximum number of proxies between client and server that are looked at.
pub const MAX_HOPS: usize = 32;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(field).collect()
    }

    /// Reads fields, with all of 10.0.0.0/8 trusted.
    fn read(lines: &[(&'static str, &str)]) -> Forwarding {
        let is_trusted = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10);
        Forwarding::of(&fields(lines), is_trusted)
    }

    fn client(lines: &[(&'static str, &str)]) -> String {
        read(lines).client.map_or_else(|| "unknown".to_owned(), |client| client.to_string())
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_not_trusted() {
        for (list, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1, 10.0.0.1", "192.0.2.1"),
            ("203.0.113.9, 192.0.2.1,10.0.0.2 , 10.0.0.1", "192.0.2.1"),
            ("127.0.0.1, 192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1:4711"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("10.0.0.7, 10.0.0.1", "10.0.0.7"),
            ("192.0.2.1, unknown", "unknown"),
            ("192.0.2.1, ", "unknown"),
            ("192.0.2.1, 10.0.0.1x", "unknown"),
            ("192.0.2.1, unknown, 10.0.0.1", "10.0.0.1"),
            ("192.0.2.1, _hidden, 10.0.0.1", "10.0.0.1"),
            ("unix:", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(client(&[("x-forwarded-for", list)]), expected, "{list}");
            let is_plain = !list.contains([':', '[']) && !list.is_empty() && !list.ends_with(' ');
            if is_plain {
                let elements: Vec<_> =
                    list.split(',').map(|node| format!("for={}", node.trim())).collect();
                let standard = elements.join(" , ");
                assert_eq!(client(&[("forwarded", &standard)]), expected, "{standard}");
            }
        }
        let lines = ["192.0.2.1", "10.0.0.1"].map(|line| ("x-forwarded-for", line));
        assert_eq!(client(&lines), "192.0.2.1", "fields are one list");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_says() {
        for (line, expected) in [
            (r#"For="[2001:db8:cafe::17]:4711""#, "[2001:db8:cafe::17]:4711"),
            (r#"for=192.0.2.60;proto=http;by=203.0.113.43"#, "192.0.2.60"),
            (r#"for="192.0.2.43:80""#, "192.0.2.43:80"),
            (r#"for="192.0.2.43:_port""#, "192.0.2.43"),
            (r#"for="192.0.2.4\3""#, "192.0.2.43"),
            (r#"for=192.0.2.43;by="a, for=203.0.113.9""#, "192.0.2.43"),
            (r#"by="\", for=203.0.113.9", for=192.0.2.43"#, "192.0.2.43"),
            (r#"for=192.0.2.43;;"#, "192.0.2.43"),
            (r#"proto=https"#, "unknown"),
            (r#"for=_gazonk"#, "unknown"),
            (r#"for="_SEVKISEK""#, "unknown"),
        ] {
            assert_eq!(client(&[("forwarded", line)]), expected, "{line}");
        }
    }

    /// What a client sent before the proxy appended its own element must not hide that element, or
    /// take its place.
    #[test]
    fn forged_fields_never_choose_the_client() {
        for forged in [
            r#"for="203.0.113.9"#,
            r#"for=203.0.113.9;x=""#,
            r#"for=203.0.113.9;x="\"#,
            r#"for=203.0.113.9;for=203.0.113.8"#,
            "for=203.0.113.9;",
            "for = 203.0.113.9",
            "for=203.0.113.9 x",
            "203.0.113.9",
            "=",
            ",,,",
        ] {
            for own in ["for=192.0.2.1", r#"for="[2001:db8::1]:5";proto=https"#] {
                let appended = format!("{forged}, {own}");
                for lines in [vec![appended.as_str()], vec![forged, own]] {
                    let lines: Vec<_> = lines.into_iter().map(|line| ("forwarded", line)).collect();
                    let found = client(&lines);
                    assert!(!found.contains("203.0.113"), "{lines:?}: {found}");
                }
            }
        }
        let many = "203.0.113.9, ".repeat(10_000) + "192.0.2.1";
        assert_eq!(client(&[("x-forwarded-for", &many)]), "192.0.2.1");
        let many = "10.0.0.9, ".repeat(10_000);
        let all = format!("203.0.113.9, {many}10.0.0.1");
        assert_eq!(client(&[("x-forwarded-for", &all)]), "10.0.0.9", "the search is bounded");
    }

    #[test]
    fn scheme_and_host_are_those_of_the_hop_of_the_client() {
        let stated = |lines: &[(&'static str, &str)]| {
            let Forwarding { is_https, host, .. } = read(lines);
            (is_https, host)
        };
        let one = (Some(true), Some("files.example:8443".to_owned()));
        let list = "for=203.0.113.9;proto=http;host=evil.example, \
            for=192.0.2.1;proto=https;host=\"files.example:8443\", \
            for=10.0.0.1;proto=http;host=inner";
        assert_eq!(stated(&[("forwarded", list)]), one);
        let lines = [
            ("x-forwarded-for", "203.0.113.9, 192.0.2.1, 10.0.0.1"),
            ("x-forwarded-proto", "http, HTTPS, http"),
            ("x-forwarded-host", "evil.example, files.example:8443, inner"),
        ];
        assert_eq!(stated(&lines), one);
        let lines = [
            ("x-forwarded-for", "192.0.2.1, 10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "files.example:8443"),
        ];
        assert_eq!(stated(&lines), one, "a single value is of the whole request");
        let lines = [("x-forwarded-proto", "gopher"), ("x-forwarded-host", "user@host")];
        assert_eq!(stated(&lines), (None, None));
        assert_eq!(stated(&[("x-forwarded-proto", "https")]), (Some(true), None));
    }

    #[test]
    fn of_both_kinds_of_fields_only_what_they_agree_on_counts() {
        let both = |standard: &str, list: &str| {
            read(&[
                ("forwarded", standard),
                ("x-forwarded-for", list),
                ("x-forwarded-proto", "https"),
            ])
        };
        let agreed = both("for=192.0.2.1;proto=https;host=a", "192.0.2.1");
        assert_eq!(agreed.client.unwrap().to_string(), "192.0.2.1");
        assert_eq!((agreed.is_https, agreed.host), (Some(true), None));
        let forged = both("for=203.0.113.9;proto=http", "192.0.2.1");
        assert_eq!(forged, Forwarding::default());
    }
}
