//! What a server reports about a listener to every client: its answer to `OPTIONS *` as JSON.
//!
//! ```text
//!   {"anyport":{"version":"0.3.0","service":"any","protocols":["raw","http"],
//!    "tls":"optional","token":false,"limits":{"max_size":null,"max_head":16384,
//!    "idle_timeout":60}}}
//! ```

use serde::{Deserialize, Serialize};

/// The report of one listener.
///
/// Readers ignore keys that they do not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Version of the server.
    pub version: String,
    /// The service of the listener: `any`, or the only one.
    pub service: String,
    /// The accepted protocols, as `serve --only` names them; under TLS those inside TLS.
    pub protocols: Vec<String>,
    /// Whether clients use TLS: `optional`, `required` or `off`.
    pub tls: String,
    /// Whether a token is required.
    pub token: bool,
    /// Limits of requests.
    pub limits: AboutLimits,
}

/// Limits that a client can know before it is admitted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AboutLimits {
    /// Maximum size of a file, in bytes; absent if there is none, or if a token is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// Maximum size of a request head, in bytes.
    pub max_head: Option<u64>,
    /// Idle time after which the server closes a connection, in seconds.
    pub idle_timeout: Option<u64>,
}

/// The object around the report, so that no JSON of another server is mistaken for it.
#[derive(Serialize, Deserialize)]
struct Enclosed<T> {
    anyport: T,
}

impl About {
    /// Returns the report as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&Enclosed { anyport: self }).expect("keys are strings")
    }

    /// Returns whether the listener accepts a protocol, by its name in [`About::protocols`].
    pub fn has(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|accepted| accepted == protocol)
    }

    /// Parses a report; `None` if the text is something else.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str::<Enclosed<Self>>(text).ok().map(|enclosed| enclosed.anyport)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_is_written_and_other_json_is_none() {
        let about = About {
            version: "1.2.3".to_owned(),
            service: "any".to_owned(),
            protocols: vec!["raw".to_owned(), "http".to_owned()],
            tls: "off".to_owned(),
            token: true,
            limits: AboutLimits { max_head: Some(16384), ..AboutLimits::default() },
        };
        let json = about.to_json();
        assert!(!json.contains("max_size"), "{json}");
        assert_eq!(About::from_json(&json), Some(about.clone()));
        let later = json.replace(r#""token""#, r#""new":{},"token""#);
        assert_eq!(About::from_json(&later), Some(about));
        for other in ["", "{}", "[]", r#"{"version":"1"}"#, r#"{"anyport":"1"}"#] {
            assert_eq!(About::from_json(other), None, "{other}");
        }
    }
}
