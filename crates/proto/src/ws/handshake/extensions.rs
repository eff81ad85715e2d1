//! `Sec-WebSocket-Extensions` (RFC 6455 §9.1), and the one supported extension: permessage-deflate
//! (RFC 7692 §7.1).
//!
//! A field with invalid grammar fails the handshake, as §9.1 requires. A valid but unknown offer is
//! ignored by the server; as a response it is refused by the client.

use http::header::{self, HeaderMap};

use crate::ws::DeflateParameters;
use crate::ws::deflate::SMALLEST_WINDOW;

/// The offer of a client: `client_max_window_bits` without a value means that it accepts a smaller
/// window (§7.1.2.2).
pub(super) const OFFER: &str = "permessage-deflate; client_max_window_bits";

const NAME: &str = "permessage-deflate";

/// The field does not follow its grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// An element of the field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extension<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, Option<&'a str>)>,
}

/// Returns the elements of all such fields, in order. Linear in their length.
pub(super) fn parse(fields: &HeaderMap) -> Result<Vec<Extension<'_>>, Malformed> {
    let mut extensions = Vec::new();
    for value in fields.get_all(header::SEC_WEBSOCKET_EXTENSIONS) {
        let value = value.to_str().map_err(|_| Malformed)?;
        // A quoted value contains no comma and no semicolon, because it must be a token once
        // unquoted.
        for element in value.split(',').map(trim) {
            // A list may have empty elements (RFC 9110 §5.6.1.2).
            if !element.is_empty() {
                extensions.push(extension(element)?);
            }
        }
    }
    Ok(extensions)
}

fn extension(element: &str) -> Result<Extension<'_>, Malformed> {
    let mut parts = element.split(';').map(trim);
    let name = parts.next().filter(|name| is_token(name)).ok_or(Malformed)?;
    let parameters = parts
        .map(|part| match part.split_once('=').map(|(name, value)| (trim(name), trim(value))) {
            None if is_token(part) => Ok((part, None)),
            Some((name, value)) if is_token(name) => {
                let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                let value = quoted.unwrap_or(value);
                if is_token(value) { Ok((name, Some(value))) } else { Err(Malformed) }
            }
            _ => Err(Malformed),
        })
        .collect::<Result<_, _>>()?;
    Ok(Extension { name, parameters })
}

/// Returns the parameters of the first acceptable offer (RFC 7692 §5.1).
pub(super) fn choose(extensions: &[Extension<'_>]) -> Option<DeflateParameters> {
    extensions.iter().filter(|extension| extension.name == NAME).find_map(|extension| {
        let offer = Parameters::read(extension).ok()?;
        // A window that zlib would silently make larger is declined.
        if offer.server_max_window_bits.is_some_and(|bits| bits < SMALLEST_WINDOW) {
            return None;
        }
        Some(DeflateParameters {
            server_no_context_takeover: offer.server_no_context_takeover,
            client_no_context_takeover: offer.client_no_context_takeover,
            server_max_window_bits: offer.server_max_window_bits,
            // Every window of a client can be inflated; 8 is not requested from a client that uses
            // zlib.
            client_max_window_bits: offer
                .client_max_window_bits
                .flatten()
                .filter(|bits| *bits >= SMALLEST_WINDOW),
        })
    })
}

/// Returns the response field of the server.
pub(super) fn answer(agreed: &DeflateParameters) -> String {
    let mut text = NAME.to_owned();
    if agreed.server_no_context_takeover {
        text.push_str("; server_no_context_takeover");
    }
    if agreed.client_no_context_takeover {
        text.push_str("; client_no_context_takeover");
    }
    if let Some(bits) = agreed.server_max_window_bits {
        text.push_str(&format!("; server_max_window_bits={bits}"));
    }
    if let Some(bits) = agreed.client_max_window_bits {
        text.push_str(&format!("; client_max_window_bits={bits}"));
    }
    text
}

/// Parses a server's response to [`OFFER`]; `offered` is false without an offer.
pub(super) fn agreed(
    extensions: &[Extension<'_>],
    offered: bool,
) -> Result<Option<DeflateParameters>, Disagreement> {
    let extension = match extensions {
        [] => return Ok(None),
        [one] => one,
        [_, _, ..] => return Err(Disagreement::Many),
    };
    if !offered || extension.name != NAME {
        return Err(Disagreement::NotOffered);
    }
    let answer = Parameters::read(extension).map_err(|Unknown| Disagreement::Parameters)?;
    if answer.client_max_window_bits == Some(None) {
        return Err(Disagreement::Parameters);
    }
    Ok(Some(DeflateParameters {
        server_no_context_takeover: answer.server_no_context_takeover,
        client_no_context_takeover: answer.client_no_context_takeover,
        server_max_window_bits: answer.server_max_window_bits,
        client_max_window_bits: answer.client_max_window_bits.flatten(),
    }))
}

/// Why a response is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disagreement {
    /// An extension that was not offered.
    NotOffered,
    /// More than the offered extension.
    Many,
    /// permessage-deflate with unknown, repeated or out-of-range parameters.
    Parameters,
}

/// The parameters of an offer or a response.
#[derive(Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// The inner `None` is a parameter without a value, which only an offer may have.
    client_max_window_bits: Option<Option<u8>>,
}

/// A parameter, or a value, that permessage-deflate does not define; or a repeated one (RFC 7692
/// §7.1).
struct Unknown;

impl Parameters {
    fn read(extension: &Extension<'_>) -> Result<Self, Unknown> {
        let mut read = Self::default();
        for (name, value) in &extension.parameters {
            let repeated = match (*name, *value) {
                ("server_no_context_takeover", None) => {
                    std::mem::replace(&mut read.server_no_context_takeover, true)
                }
                ("client_no_context_takeover", None) => {
                    std::mem::replace(&mut read.client_no_context_takeover, true)
                }
                ("server_max_window_bits", Some(value)) => {
                    read.server_max_window_bits.replace(window_bits(value)?).is_some()
                }
                ("client_max_window_bits", value) => {
                    let bits = value.map(window_bits).transpose()?;
                    read.client_max_window_bits.replace(bits).is_some()
                }
                _ => return Err(Unknown),
            };
            if repeated {
                return Err(Unknown);
            }
        }
        Ok(read)
    }
}

/// Parses 8 to 15, without a leading zero.
fn window_bits(value: &str) -> Result<u8, Unknown> {
    (8..=15).find(|bits: &u8| bits.to_string() == value).ok_or(Unknown)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Returns whether the text is a token (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn fields(values: &[&str]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            fields.append(header::SEC_WEBSOCKET_EXTENSIONS, value);
        }
        fields
    }

    /// Returns the server's response to offers.
    fn chosen(values: &[&str]) -> Option<String> {
        choose(&parse(&fields(values)).unwrap()).map(|agreed| answer(&agreed))
    }

    fn taken(value: &str) -> Result<Option<DeflateParameters>, Disagreement> {
        agreed(&parse(&fields(&[value])).unwrap(), true)
    }

    #[test]
    fn pd_1_an_acceptable_offer_is_selected() {
        for (offer, expected) in [
            ("permessage-deflate", "permessage-deflate"),
            ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
            (
                "permessage-deflate;client_max_window_bits=10",
                "permessage-deflate; client_max_window_bits=10",
            ),
            ("permessage-deflate; client_max_window_bits=8", "permessage-deflate"),
            (
                "permessage-deflate ;\tserver_max_window_bits=\"9\" ; client_no_context_takeover",
                "permessage-deflate; client_no_context_takeover; server_max_window_bits=9",
            ),
            (
                "permessage-deflate; server_no_context_takeover; server_max_window_bits = 15",
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=15",
            ),
            ("x-webkit-deflate-frame, , permessage-deflate", "permessage-deflate"),
        ] {
            assert_eq!(chosen(&[offer]).as_deref(), Some(expected), "{offer}");
        }
        // The first acceptable one, over all fields.
        let fallbacks = [
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=12, permessage-deflate",
        ];
        assert_eq!(chosen(&fallbacks).unwrap(), "permessage-deflate; server_max_window_bits=12");
    }

    #[test]
    fn pd_1_unknown_offers_are_declined() {
        for parameters in [
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=09",
            "server_max_window_bits=+9",
            "server_max_window_bits=9a",
            "server_max_window_bits=99999999999999999999",
            "client_max_window_bits=0",
            "client_max_window_bits=010",
            "server_max_window_bits=9; server_max_window_bits=9",
            "client_max_window_bits; client_max_window_bits=9",
            "server_no_context_takeover; server_no_context_takeover",
            "window=9",
            "Server_Max_Window_Bits=9",
        ] {
            let offer = format!("permessage-deflate; {parameters}");
            assert_eq!(chosen(&[&offer]), None, "{offer}");
            assert_eq!(taken(&offer), Err(Disagreement::Parameters), "{offer}");
        }
        assert_eq!(chosen(&["permessage-bzip2", "deflate"]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn pd_3_a_window_of_256_bytes_is_declined_as_a_server() {
        assert_eq!(chosen(&["permessage-deflate; server_max_window_bits=8"]), None);
        // The client accepts it, and complies by not compressing.
        let agreed = taken("permessage-deflate; client_max_window_bits=8").unwrap().unwrap();
        assert_eq!(agreed.client_max_window_bits, Some(8));
    }

    #[test]
    fn hs_6_responses_are_accepted_only_if_offered() {
        let answer = "permessage-deflate; server_max_window_bits=8; client_max_window_bits=9";
        let expected = DeflateParameters {
            server_max_window_bits: Some(8),
            client_max_window_bits: Some(9),
            ..DeflateParameters::default()
        };
        assert_eq!(taken(answer), Ok(Some(expected)));
        assert_eq!(
            agreed(&parse(&fields(&[answer])).unwrap(), false),
            Err(Disagreement::NotOffered)
        );
        assert_eq!(taken("permessage-bzip2"), Err(Disagreement::NotOffered));
        assert_eq!(taken("permessage-deflate, permessage-deflate"), Err(Disagreement::Many));
        assert_eq!(
            taken("permessage-deflate; client_max_window_bits"),
            Err(Disagreement::Parameters)
        );
        assert_eq!(agreed(&[], true), Ok(None));
    }

    #[test]
    fn pd_1_invalid_grammar_is_malformed() {
        for value in [
            "permessage deflate",
            "permessage-deflate;",
            "permessage-deflate;;x",
            ";x",
            "a; =9",
            "a; b=",
            "a; b=\"\"",
            "a; b=\"9",
            "a; b=9\"",
            "a; b=\"9,10\"",
            "a; b=\"9;10\"",
            "a; b=\"\\9\"",
            "a; b=c=d",
            "a; b=(c)",
            "ü",
        ] {
            assert_eq!(parse(&fields(&[value])), Err(Malformed), "{value}");
        }
        assert_eq!(parse(&fields(&["", " , ,"])), Ok(vec![]));
    }

    proptest! {
        /// For any offer, the response is one that the client accepts, or there is none; and
        /// nothing panics.
        #[test]
        fn pd_2_no_offer_panics_and_each_answer_is_within_the_rules(
            values in prop::collection::vec("(permessage-deflate|[a-z]{1,3})(; \
                ?(server|client)_(max_window_bits(=\"?[0-9]{1,3}\"?)?|no_context_takeover)){0,4}\
                |[ -~]{0,20}", 0..4),
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            if let Ok(extensions) = parse(&fields(&values))
                && let Some(chosen) = choose(&extensions)
            {
                prop_assert_eq!(taken(&answer(&chosen)), Ok(Some(chosen)));
                let bits = chosen.server_max_window_bits;
                prop_assert!(bits.is_none_or(|bits| (9..=15).contains(&bits)));
            }
        }
    }
}
