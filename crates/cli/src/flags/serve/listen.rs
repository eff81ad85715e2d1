//! Parser of `--listen`: `SERVICE://ADDR?KEY=VALUE&…`, the keys set for this listener alone.

use std::str::FromStr;
use std::time::Duration;

use anyport_console::values::{self, Choices};
use anyport_net::address::UNIX;
use anyport_proto::detect::{Allowed, ProtocolName};
use anyport_server::{OnTimeout, Service, TlsMode};

use super::detection::ON_TIMEOUT;
use crate::flags::tls::TLS_MODE;

/// A parsed `--listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) service: Service,
    /// `HOST:PORT`, or one of them; or `unix:PATH`.
    pub(crate) address: String,
    /// Accepted protocols, if they differ from those of the server.
    pub(crate) allowed: Option<Allowed>,
    pub(crate) detect_timeout: Option<Duration>,
    pub(crate) on_timeout: Option<OnTimeout>,
    pub(crate) tls: Option<TlsMode>,
    /// The mode of a Unix socket.
    pub(crate) mode: Option<u32>,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (service, rest) = text.split_once("://").ok_or_else(|| {
            format!(
                "expected SERVICE://ADDR, such as any://127.0.0.1:8331; for files: --bind {text}"
            )
        })?;
        let service: Service = service
            .parse()
            .map_err(|error| format!("{error}; any accepts files over every protocol"))?;
        let (address, settings) = rest.split_once('?').unwrap_or((rest, ""));
        let is_path = address.starts_with(UNIX);
        let address = if is_path { address } else { address.strip_suffix('/').unwrap_or(address) };
        if address.is_empty() || (address.contains('/') && !is_path) {
            return Err(format!("expected ADDR between :// and ?, not {address:?}"));
        }
        let is_mode = is_path && settings.starts_with("mode=") && !settings.contains('&');
        if service != Service::Any && !settings.is_empty() && !is_mode {
            let service = service.as_str();
            return Err(format!("{service}:// has no settings; expected {service}://ADDR"));
        }
        let mut mode = None;
        let mut only = None;
        let mut detect = None;
        let mut detect_timeout = None;
        let mut on_timeout = None;
        let mut tls = None;
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
            let again = match key {
                "only" => only.replace(allow_only(value)?).is_some(),
                "detect" => detect.replace(one_of(key, value, ON_OFF)?).is_some(),
                "detect-timeout" => {
                    let parsed = values::duration(value);
                    let parsed = parsed.map_err(|error| format!("{key}={value}: {error}"))?;
                    detect_timeout.replace(parsed).is_some()
                }
                "tls" => tls.replace(one_of(key, value, TLS_MODE)?).is_some(),
                "mode" if is_path => mode.replace(octal(value)?).is_some(),
                "mode" => return Err(format!("mode is for {UNIX}PATH only")),
                "on-timeout" => on_timeout.replace(one_of(key, value, ON_TIMEOUT)?).is_some(),
                _ => return Err(format!("unknown key {key:?}; expected one of {KEYS}")),
            };
            if again {
                return Err(format!("{key} is set twice"));
            }
        }
        let allowed = match (detect, only) {
            (Some(false), Some(_)) => {
                return Err("detect=off cannot be combined with only=".to_owned());
            }
            (Some(false), None) => Some(Allowed::UNDETECTED),
            (Some(true), None) => Some(Allowed::ALL),
            (_, only) => only,
        };
        let address = address.to_owned();
        Ok(Self { service, address, allowed, detect_timeout, on_timeout, tls, mode })
    }
}

fn allow_only(names: &str) -> Result<Allowed, String> {
    let allow = |allowed: Allowed, name: &str| {
        name.parse()
            .map(|name: ProtocolName| allowed.allow(name))
            .map_err(|error| error.to_string())
    };
    names.split(',').try_fold(Allowed::NONE, allow)
}

/// Parses the mode of a Unix socket: to connect, a client needs the permission to write.
fn octal(text: &str) -> Result<u32, String> {
    let is_octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = Some(text).filter(|_| is_octal).and_then(|text| u32::from_str_radix(text, 8).ok());
    mode.filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("mode: expected octal permissions such as 0660, not {text:?}"))
}

/// Parses the value of a key that is one of several words.
fn one_of<T: Copy>(key: &str, word: &str, choices: Choices<T>) -> Result<T, String> {
    let chosen = choices.iter().find(|(known, ..)| *known == word);
    chosen.map(|(_, value, _)| *value).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(known, ..)| *known).collect();
        let (last, others) = words.split_last().map_or(("", &[][..]), |(last, rest)| (*last, rest));
        format!("{key}: expected {} or {last}, not {word:?}", others.join(", "))
    })
}

const ON_OFF: Choices<bool> = &[("on", true, ""), ("off", false, "")];

const KEYS: &str = "only, detect, detect-timeout, on-timeout, tls, mode";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_an_address_with_settings() {
        let plain = Listen {
            service: Service::Any,
            address: "[::1]:8331".to_owned(),
            allowed: None,
            detect_timeout: None,
            on_timeout: None,
            tls: None,
            mode: None,
        };
        assert_eq!("any://[::1]:8331".parse(), Ok(plain.clone()));
        assert_eq!("any://[::1]:8331/".parse(), Ok(plain.clone()));
        assert_eq!("any://[::1]:8331?".parse(), Ok(plain.clone()));
        let echo = Listen { service: Service::Echo, ..plain };
        assert_eq!("echo://[::1]:8331/".parse(), Ok(echo));
        let set: Listen =
            "any://localhost?only=raw,http&detect-timeout=500ms&on-timeout=greet".parse().unwrap();
        assert_eq!(set.address, "localhost");
        assert_eq!(set.allowed.unwrap().names().collect::<Vec<_>>(), ["raw", "http"]);
        assert_eq!(set.detect_timeout, Some(Duration::from_millis(500)));
        assert_eq!(set.on_timeout, Some(OnTimeout::Greet));
        let allowed = |text: &str| text.parse::<Listen>().unwrap().allowed;
        assert_eq!(allowed("any://:0?detect=off"), Some(Allowed::UNDETECTED));
        assert_eq!(allowed("any://:0?detect=on"), Some(Allowed::ALL));
        assert_eq!(allowed("any://:0?detect=on&only=tls"), allowed("any://:0?only=tls"));
        for text in ["any://unix:/run/a/b.sock?mode=0600", "echo://unix:/run/a/b.sock?mode=600"] {
            let unix: Listen = text.parse().unwrap();
            assert_eq!((&*unix.address, unix.mode), ("unix:/run/a/b.sock", Some(0o600)));
        }
    }

    #[test]
    fn the_error_of_an_invalid_listener_names_the_valid_values() {
        for (text, words) in [
            ("127.0.0.1:0", "expected SERVICE://ADDR"),
            (
                "ftp://h",
                r#"unknown service "ftp"; expected one of any, echo, greet, time, rfc868, daytime"#,
            ),
            ("echo://h?only=raw", "echo:// has no settings"),
            ("time://h?detect-timeout=1s", "time:// has no settings"),
            ("greet://", "expected ADDR"),
            ("any://h?tls=on", r#"tls: expected optional, required or off, not "on""#),
            ("any://h?on-timeout=raw", "on-timeout: expected wait or greet"),
            ("any://", "expected ADDR"),
            ("any://h/path", "expected ADDR"),
            (
                "any://h?color=red",
                r#"unknown key "color"; expected one of only, detect, detect-timeout, on-timeout, tls, mode"#,
            ),
            ("any://h?mode=0660", "mode is for unix:PATH only"),
            ("any://unix:s?mode=rw", "expected octal permissions such as 0660"),
            ("any://unix:s?mode=1777", "expected octal permissions such as 0660"),
            ("any://h?only=ftp", r#"unknown protocol "ftp"; expected one of raw"#),
            ("any://h?only=", r#"unknown protocol """#),
            ("any://h?only=raw&only=ws", "only is set twice"),
            ("any://h?detect=maybe", "detect: expected on or off"),
            ("any://h?detect=off&only=raw", "detect=off cannot be combined"),
            ("any://h?detect-timeout=3", "detect-timeout=3: missing unit"),
            ("any://h?detect-timeout", "expected a number with a unit"),
        ] {
            let error = text.parse::<Listen>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
