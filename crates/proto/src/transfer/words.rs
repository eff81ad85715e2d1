//! Enums that are encoded as one word, and quoting of a peer's words in messages.

/// A word that is none of those known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {}; expected one of {}", quoted(.word), .known.join(", "))]
pub struct UnknownWord {
    /// The kind of word that was expected, such as "digest algorithm".
    pub what: &'static str,
    /// The word as it came.
    pub word: String,
    /// Every word that would have been understood.
    pub known: &'static [&'static str],
}

/// Gives an enum `as_str`, `Display`, `FromStr` and serde, all with the same spelling.
macro_rules! word_enum {
    ($type:ident, $what:literal: $($variant:ident = $word:literal),+ $(,)?) => {
        impl $type {
            pub(crate) const WORDS: &'static [&'static str] = &[$($word),+];

            /// Returns its word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::transfer::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::transfer::UnknownWord {
                        what: $what,
                        word: word.to_owned(),
                        known: Self::WORDS,
                    }),
                }
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use word_enum;

/// `text` as it may stand in a message: in quotes, control characters escaped, never long. A token
/// in the wrong place is not repeated.
pub(crate) fn quoted(text: &str) -> String {
    if text.get(..TOKEN.len()).is_some_and(|start| start.eq_ignore_ascii_case(TOKEN)) {
        return format!("\"{TOKEN}…\"");
    }
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

/// How a word begins that carries a token.
const TOKEN: &str = "token=";

/// Enough to recognise what was sent; the rest would only push the advice off the screen.
const MAX_QUOTED_CHARS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_an_unknown_word_names_the_known_ones() {
        let error = UnknownWord { what: "verb", word: "PTU".to_owned(), known: &["PUT", "GET"] };
        assert_eq!(error.to_string(), r#"unknown verb "PTU"; expected one of PUT, GET"#);
    }

    #[test]
    fn quoted_words_are_short_and_cannot_write_to_a_terminal() {
        assert_eq!(quoted("a\u{1b}[2J\u{202e}b"), r#""a\u{1b}[2J\u{202e}b""#);
        assert_eq!(quoted(&"ä".repeat(65)), format!("\"{}\"…", "ä".repeat(64)));
        assert_eq!(quoted(&"ä".repeat(64)), format!("\"{}\"", "ä".repeat(64)));
    }

    #[test]
    fn a_token_is_never_quoted() {
        for word in ["token=s3cret", "Token=s3cret", "TOKEN=", "token=s3cret size=5"] {
            assert_eq!(quoted(word), r#""token=…""#);
        }
        assert_eq!(quoted("token"), r#""token""#);
        assert_eq!(quoted("tökens"), r#""tökens""#);
    }
}
