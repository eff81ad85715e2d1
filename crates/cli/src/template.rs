//! The output of `-w FORMAT` for each file, in curl's syntax: `%{bytes} in %{seconds} s\n`.

use std::str::FromStr;

use anyport_client::Sent;
use anyport_proto::visible::make_visible;

/// A format that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Fact(&'static str),
}

/// What can stand between `%{` and `}`.
const FACTS: &str = "\
    bytes resumed seconds durable_seconds rate digest path end outcome protocol peer \
    congestion rtt_us retransmits cwnd delivery_rate bottleneck";

impl FromStr for Template {
    type Err = String;

    fn from_str(format: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = format;
        while let Some(at) = rest.find(['%', '\\']) {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(named) = rest.strip_prefix("%{") {
                let (name, after) = named
                    .split_once('}')
                    .ok_or_else(|| format!("%{{{named} has no closing brace"))?;
                let fact = FACTS.split(' ').find(|fact| *fact == name).ok_or_else(|| {
                    format!("unknown %{{{name}}}; expected one of {}", FACTS.replace(' ', ", "))
                })?;
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Fact(fact));
                rest = after;
                continue;
            }
            let (meant, length) = match rest.as_bytes() {
                [b'%', b'%', ..] => ('%', 2),
                [b'\\', b'n', ..] => ('\n', 2),
                [b'\\', b't', ..] => ('\t', 2),
                [b'\\', b'r', ..] => ('\r', 2),
                [b'\\', b'\\', ..] => ('\\', 2),
                [other, ..] => (char::from(*other), 1),
                [] => break,
            };
            text.push(meant);
            rest = &rest[length..];
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Ok(Self(parts))
    }
}

impl Template {
    /// Returns the format with the properties of a file; unknown ones are empty.
    pub(crate) fn fill(&self, sent: &Sent) -> String {
        let mut line = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Fact(fact) => line.push_str(&make_visible(&known(fact, sent))),
            }
        }
        line
    }
}

fn known(fact: &str, sent: &Sent) -> String {
    let receipt = sent.receipt.as_ref();
    let text = |value: Option<String>| value.unwrap_or_default();
    let number = |value: Option<u64>| text(value.map(|value| value.to_string()));
    let seconds = |value: Option<f64>| text(value.map(|value| format!("{value:.6}")));
    match fact {
        "bytes" => sent.bytes.to_string(),
        "resumed" => number(receipt.map(|receipt| receipt.resumed)),
        "seconds" => seconds(receipt.map(|receipt| receipt.seconds)),
        "durable_seconds" => seconds(receipt.and_then(|receipt| receipt.durable_seconds)),
        "rate" => text(receipt.and_then(|r| r.rate()).map(|rate| format!("{rate:.0}"))),
        "digest" => {
            let theirs = receipt.and_then(|receipt| receipt.digest);
            text(theirs.or(sent.digest).map(|digest| digest.to_string()))
        }
        "path" => text(receipt.and_then(|receipt| receipt.path.clone())),
        "end" => text(receipt.map(|receipt| receipt.end.to_string())),
        "outcome" => text(receipt.map(|receipt| receipt.outcome().to_string())),
        "protocol" => text(receipt.map(|receipt| receipt.protocol.to_string())),
        "peer" => sent.peer.to_string(),
        "congestion" => sent.congestion.clone(),
        "rtt_us" => number(sent.tcp.rtt_us),
        "retransmits" => number(sent.tcp.retransmits),
        "cwnd" => number(sent.tcp.cwnd),
        "delivery_rate" => number(sent.tcp.delivery_rate),
        "bottleneck" => text(sent.bottleneck().map(str::to_owned)),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(format: &str) -> Vec<Part> {
        format.parse::<Template>().unwrap().0
    }

    #[test]
    fn a_format_is_text_and_facts() {
        let expected = [
            Part::Text("a%\t".to_owned()),
            Part::Fact("bytes"),
            Part::Text("\n100% \\x".to_owned()),
        ];
        assert_eq!(parts(r"a%%\t%{bytes}\n100% \x"), expected);
        assert_eq!(parts(""), [Part::Text(String::new())]);
    }

    #[test]
    fn a_mistake_is_named() {
        let error = "%{size}".parse::<Template>().unwrap_err();
        assert!(error.starts_with("unknown %{size}; expected one of bytes, "), "{error}");
        assert_eq!("%{bytes".parse::<Template>().unwrap_err(), "%{bytes has no closing brace");
    }
}
