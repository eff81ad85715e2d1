//! Tokens in HTTP requests: in `Authorization` (RFC 9110 §11.6.2; RFC 6750 §2.1; RFC 7617 §2),
//! among the subprotocols of an opening handshake, where a page in a browser can set no field, and
//! in an HTML form; and the cookie of a page.

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

/// Returns the value of a cookie (RFC 6265 §4.2.1), from all fields: HTTP/2 splits them (RFC 9113
/// §8.2.3).
///
/// Returns `None` if the cookie is repeated, because another port of the host, or a domain above
/// it, has set one of them.
pub fn cookie<'a>(head: &'a RequestHead, name: &str) -> Option<&'a str> {
    let fields = head.fields.get_all(header::COOKIE).into_iter();
    // Other cookies of the host may have any bytes.
    let mut values = fields
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    std::str::from_utf8(value).ok()
}

/// Returns the text that a person entered as `token` in an HTML form
/// (`application/x-www-form-urlencoded`, WHATWG URL §5.1).
pub fn form_token(content: &str) -> Option<String> {
    let encoded = content.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    percent::decode(&encoded.replace('+', " ")).ok()
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

    #[test]
    fn a_cookie_counts_if_it_is_there_once() {
        let found = |fields: &str| cookie(&head(fields), "anyport-1").map(str::to_owned);
        let x = Some("x".to_owned());
        for fields in [
            "Cookie: anyport-1=x\r\n",
            "Cookie: a=b; anyport-1=x; c\r\n",
            "Cookie: a=b;anyport-1=x\r\n",
            "Cookie: a=b\r\nCookie: anyport-1=x\r\n",
            "Cookie: a=\u{e4}; anyport-1=x; xanyport-1=y; anyport-10=z\r\n",
        ] {
            assert_eq!(found(fields), x, "{fields}");
        }
        for fields in [
            "",
            "Cookie: anyport-1\r\n",
            "Cookie: a=anyport-1=x\r\n",
            "Cookie: ANYPORT-1=x\r\n",
            "Cookie: anyport-1=x; anyport-1=x\r\n",
            "Cookie: anyport-1=x\r\nCookie: anyport-1=y\r\n",
        ] {
            assert_eq!(found(fields), None, "{fields}");
        }
    }

    #[test]
    fn a_form_carries_what_was_entered() {
        for (content, entered) in [
            ("token=abc", Some("abc")),
            ("a=b&token=a%2Fb%3D+%2B", Some("a/b= +")),
            ("token=", Some("")),
            ("token", None),
            ("xtoken=abc", None),
            ("token=%zz", None),
            ("token=%ff", None),
        ] {
            assert_eq!(form_token(content).as_deref(), entered, "{content}");
        }
    }
}
