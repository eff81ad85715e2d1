//! Findings as JSON, one object per line.

use anyport_client::{
    Answer, HttpAnswer, Outcome, ProbeFinding, ProbeResult, Probed, Reached, TlsAnswer,
};
use anyport_net::address::Address;
use anyport_net::resolve::address_text;
use serde_json::{Value, json};

use super::conclusion::Conclusion;
use super::words::trust_words;

/// Returns the object of one finding.
pub(super) fn finding(finding: &ProbeFinding<'_>) -> Value {
    match finding {
        ProbeFinding::Resolved(resolved) => {
            let addresses: Vec<_> = resolved.addresses.iter().map(|a| address_text(*a)).collect();
            json!({
                "event": "resolved", "addresses": addresses, "left_out": resolved.left_out,
                "seconds": resolved.took.as_secs_f64(),
            })
        }
        ProbeFinding::Reached(reached) => self::reached(reached),
        ProbeFinding::Probed(probed) => self::probed(probed),
        _ => json!({ "event": "other" }),
    }
}

fn reached(reached: &Reached) -> Value {
    let Reached { address, outcome, connect, first_byte, path } = reached;
    let mut event = json!({
        "event": "address", "address": address.text(), "outcome": outcome.as_str(),
    });
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            event[key] = value;
        }
    };
    set("connect_seconds", connect.map(|took| json!(took.as_secs_f64())));
    set("first_byte_seconds", first_byte.map(|took| json!(took.as_secs_f64())));
    match outcome {
        Outcome::Speaks { name, greeting, closes } => {
            set("protocol", Some(json!(name)));
            set("greeting", Some(json!(greeting.escape_ascii().to_string())));
            set("closes", Some(json!(closes)));
        }
        Outcome::Failed(reason) => set("error", Some(json!(reason))),
        _ => {}
    }
    if let Some(path) = path {
        set("rtt_us", Some(json!(path.rtt_us)));
        set("path_mtu", Some(json!(path.mtu)));
        set("mss", Some(json!(path.mss)));
        set("congestion", Some(json!(path.congestion)));
    }
    event
}

fn probed(probed: &Probed) -> Value {
    let Probed { name, inside_tls, sent, took, answer } = probed;
    let mut event = json!({
        "event": "probe", "probe": name, "inside_tls": inside_tls, "sent": sent,
        "seconds": took.as_secs_f64(),
    });
    let (word, details) = details(answer);
    event["answer"] = json!(word);
    if let (Some(event), Value::Object(details)) = (event.as_object_mut(), details) {
        event.extend(details);
    }
    event
}

/// Returns the word for an answer, and its own keys.
fn details(answer: &Answer) -> (&'static str, Value) {
    match answer {
        Answer::Http(answer) => ("http", http(answer)),
        Answer::Tls(answer) => ("tls", tls(answer)),
        Answer::TlsRefused(reason) => ("tls-refused", json!({ "error": reason })),
        Answer::TlsVersionRefused => ("tls-version-refused", Value::Null),
        Answer::TlsAlert => ("tls-alert", Value::Null),
        Answer::Http2 { settings, fault } => {
            let settings =
                settings.iter().map(|(number, value)| (number.to_string(), json!(value)));
            let settings = settings.collect::<serde_json::Map<_, _>>();
            ("http2", json!({ "settings": settings, "error": fault }))
        }
        Answer::WebSocket(answer) => (
            "websocket",
            json!({
                "accept_is_right": answer.fault.is_none(), "error": answer.fault,
                "subprotocol": answer.subprotocol, "server": answer.server,
            }),
        ),
        Answer::Preface(answer) => (
            "preface",
            json!({ "refused": answer.is_refused, "token": answer.needs_token,
                "text": answer.says }),
        ),
        Answer::Mqtt { code } => ("mqtt", json!({ "code": code })),
        Answer::Known { name, bytes } => {
            ("other", json!({ "protocol": name, "bytes": bytes.escape_ascii().to_string() }))
        }
        Answer::Echo => ("echo", Value::Null),
        Answer::Other(bytes) => ("unknown", json!({ "bytes": bytes.escape_ascii().to_string() })),
        Answer::Closed => ("closed", Value::Null),
        Answer::Reset => ("reset", Value::Null),
        Answer::Silent => ("none", Value::Null),
        Answer::NotConnected(outcome) => ("not-connected", json!({ "outcome": outcome.as_str() })),
        Answer::Failed(reason) => ("failed", json!({ "error": reason })),
        _ => ("unknown", Value::Null),
    }
}

fn http(answer: &HttpAnswer) -> Value {
    let HttpAnswer { version, status, server, allow, location, says, about, fault, .. } = answer;
    json!({
        "version": version, "status": status, "server": server, "allow": allow,
        "location": location, "text": says, "anyport": about, "error": fault,
    })
}

fn tls(answer: &TlsAnswer) -> Value {
    let TlsAnswer { version, suite, alpn, presented, requests_certificate, took, .. } = answer;
    let mut event = json!({
        "version": version, "suite": suite, "alpn": alpn, "handshake_seconds": took.as_secs_f64(),
        "requests_certificate": requests_certificate, "error": answer.fault,
    });
    if !answer.greeting.is_empty() {
        event["protocol"] = json!(answer.protocol);
        event["greeting"] = json!(answer.greeting.escape_ascii().to_string());
    }
    let Some(presented) = presented else { return event };
    event["fingerprint"] = json!(presented.fingerprint.to_string());
    event["trusted"] = json!(presented.trust.is_ok());
    event["verification"] = json!(trust_words(presented));
    if let Some(certificate) = &presented.certificate {
        event["certificate"] = json!({
            "subject": certificate.subject, "issuer": certificate.issuer,
            "names": certificate.names, "more_names": certificate.more_names,
            "not_before": certificate.not_before, "not_after": certificate.not_after,
            "intermediates": presented.intermediates,
        });
    }
    event
}

/// Returns the last object.
pub(super) fn result(found: &ProbeResult, conclusion: &Conclusion) -> Value {
    json!({
        "event": "result", "address": found.used.as_ref().map(Address::text),
        "speaks": conclusion.speaks,
        "inside_tls": found.inside_tls, "tls_versions": found.versions, "anyport": found.about,
        "text": conclusion.says, "hint": conclusion.hint, "exit": conclusion.exit as u8,
    })
}

/// Returns the last object if the name does not resolve.
pub(super) fn unresolved(error: &str, hint: Option<&str>, exit: u8) -> Value {
    json!({
        "event": "result", "address": null, "speaks": [], "text": error, "hint": hint, "exit": exit,
    })
}
