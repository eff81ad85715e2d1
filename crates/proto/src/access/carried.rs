//! Tokens in HTTP requests: in `Authorization` (RFC 9110 §11.6.2; RFC 6750 §2.1; RFC 7617 §2), and
//! among the subprotocols of an opening handshake, where a page in a browser can set no field.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header;

use crate::http1::RequestHead;
use crate::transfer::offer::Token;
use crate::transfer::percent;

/// Prefix of the subprotocol with the percent-encoded token.
///
/// It is never selected.
pub const TOKEN_SUBPROTOCOL: &str = "anyport.token.";

/// A subprotocol without effect: browsers close if the server selects none of theirs, and some
/// services have no other.
pub const PLAIN_SUBPROTOCOL: &str = "anyport.1";

/// Returns the token in `Authorization`: the credentials of Bearer, or the password of Basic, or
/// its user if the password is empty.
///
/// Returns `None` without a token, and if the field is repeated.
pub fn authorization(head: &RequestHead) -> Option<Token> {
    let mut values = head.fields.get_all(header::AUTHORIZATION).into_iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Token::parse(credentials).ok();
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Token::parse(if password.is_empty() { user } else { password }).ok()
}

/// Returns the token among the offered subprotocols.
pub fn subprotocol_token(head: &RequestHead) -> Option<Token> {
    let encoded = head
        .field_tokens(header::SEC_WEBSOCKET_PROTOCOL)
        .find_map(|offered| offered.strip_prefix(TOKEN_SUBPROTOCOL))?;
    Token::parse(&percent::decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadReader, Pushed};
    use crate::limits::Limits;

    fn head(fields: &str) -> RequestHead {
        let wire = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        match HeadReader::new().push(wire.as_bytes(), &Limits::default()) {
            Ok(Pushed::Done { head, .. }) => head,
            other => panic!("{wire:?} gave {other:?}"),
        }
    }

    fn carried(value: &str) -> Option<String> {
        let token = authorization(&head(&format!("Authorization: {value}\r\n")));
        token.map(|token| token.expose().to_owned())
    }

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn bearer_and_basic_carry_a_token() {
        let found = Some(TOKEN.to_owned());
        assert_eq!(carried(&format!("Bearer {TOKEN}")), found);
        assert_eq!(carried(&format!("bearer  {TOKEN}")), found);
        for pair in [format!(":{TOKEN}"), format!("alice:{TOKEN}"), format!("{TOKEN}:")] {
            assert_eq!(carried(&format!("Basic {}", STANDARD.encode(&pair))), found, "{pair}");
        }
    }

    #[test]
    fn an_invalid_token_is_none() {
        for value in [
            "Bearer short",
            "Bearer",
            TOKEN,
            "Digest 0123456789abcdef",
            "Basic !!!!",
            "Basic MDEyMzQ1Njc4OWFiY2RlZg==",
            "Bearer 0123456789 abcdef",
        ] {
            assert_eq!(carried(value), None, "{value}");
        }
        let twice = format!("Authorization: Bearer {TOKEN}\r\n").repeat(2);
        assert_eq!(authorization(&head(&twice)), None);
    }

    #[test]
    fn a_page_sends_its_token_beside_its_subprotocol() {
        let offered = |value: &str| {
            subprotocol_token(&head(&format!("Sec-WebSocket-Protocol: {value}\r\n")))
                .map(|token| token.expose().to_owned())
        };
        let found = Some(TOKEN.to_owned());
        assert_eq!(offered(&format!("anyport.1, anyport.token.{TOKEN}")), found);
        let odd = offered("anyport.token.0123456789%2fabcd%3D");
        assert_eq!(odd.as_deref(), Some("0123456789/abcd="));
        assert_eq!(offered("anyport.1"), None);
        assert_eq!(offered("anyport.token.short"), None);
    }
}
