//! Names of rooms and nicknames of members.
//!
//! Both appear in lines between words (`alice: hello`, `* bob joined`), so neither has blanks,
//! colons or invisible characters; and neither begins with a mark, so that no member's line looks
//! like a notice.

use std::fmt;
use std::str::FromStr;

use crate::limits::{MAX_NICKNAME, MAX_ROOM_NAME};
use crate::transfer::quoted;

/// The name of a room.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(String);

/// The nickname of a member in its room.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nickname(String);

/// Why a text is not the name of a room, or not a nickname.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It is empty.
    #[error("the {what} is empty")]
    Empty {
        /// The kind of name.
        what: &'static str,
    },
    /// It has too many characters.
    #[error("the {what} {} is longer than {most} characters", quoted(.name))]
    TooLong {
        /// The kind of name.
        what: &'static str,
        /// The name as received.
        name: String,
        /// Maximum number of characters.
        most: usize,
    },
    /// It begins with a mark.
    #[error("the {what} {} must begin with a letter or digit", quoted(.name))]
    BadStart {
        /// The kind of name.
        what: &'static str,
        /// The name as received.
        name: String,
    },
    /// It has an invalid character.
    #[error("{character:?} is not allowed in the {what} {}; allowed are \
        letters, digits and - _ .", quoted(.name))]
    BadCharacter {
        /// The kind of name.
        what: &'static str,
        /// The name as received.
        name: String,
        /// The first such character.
        character: char,
    },
}

impl NameError {
    /// Returns the name as received; `None` if it is empty.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Empty { .. } => None,
            Self::TooLong { name, .. }
            | Self::BadStart { name, .. }
            | Self::BadCharacter { name, .. } => Some(name),
        }
    }
}

impl RoomName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Nickname {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name with `-n` at its end, for a member whose nickname is in use.
    ///
    /// A long name is shortened.
    #[must_use]
    pub fn numbered(&self, n: u64) -> Self {
        let end = format!("-{n}");
        let kept = self.0.chars().take(MAX_NICKNAME.saturating_sub(end.len()));
        Self(kept.chain(end.chars()).collect())
    }

    /// Returns the name of a member without one: `guest-` and a character for each of the random
    /// bytes.
    #[must_use]
    pub fn guest(random: [u8; 4]) -> Self {
        let characters =
            random.map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        Self(["guest-", &String::from_iter(characters)].concat())
    }
}

impl FromStr for RoomName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        check("room", name, MAX_ROOM_NAME).map(Self)
    }
}

impl FromStr for Nickname {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        check("nickname", name, MAX_NICKNAME).map(Self)
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Nickname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Checks a name by the rules of room names.
pub(crate) fn check(what: &'static str, name: &str, most: usize) -> Result<String, NameError> {
    let bad = name.chars().find(|c| !is_letter_or_digit(*c) && !matches!(c, '-' | '_' | '.'));
    match name.chars().next() {
        None => Err(NameError::Empty { what }),
        // Characters of several bytes: count them up to the limit.
        Some(_) if name.chars().nth(most).is_some() => {
            Err(NameError::TooLong { what, name: name.to_owned(), most })
        }
        Some(first) => match bad {
            Some(character) => {
                Err(NameError::BadCharacter { what, name: name.to_owned(), character })
            }
            None if !is_letter_or_digit(first) => {
                Err(NameError::BadStart { what, name: name.to_owned() })
            }
            None => Ok(name.to_owned()),
        },
    }
}

/// Returns whether a character is a letter or digit. Unicode has four invisible fillers of Hangul
/// letters, with which two names would look the same.
fn is_letter_or_digit(character: char) -> bool {
    character.is_alphanumeric()
        && !matches!(character, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
}

/// Letters and digits that are not easily confused.
pub(super) const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

#[cfg(test)]
pub(in crate::rooms) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::rooms) fn any_room() -> impl Strategy<Value = RoomName> {
        "[a-zé0-9][a-z0-9äж_.-]{0,63}".prop_map(|name| name.parse().unwrap())
    }

    pub(in crate::rooms) fn any_nickname() -> impl Strategy<Value = Nickname> {
        "[A-Zж0-9][a-z0-9äж_.-]{0,31}".prop_map(|name| name.parse().unwrap())
    }

    #[test]
    fn a_name_is_letters_and_digits_of_any_script_and_three_marks() {
        for name in ["lobby", "a", "7", "größe.2_x-y", "лобби", "部屋", &"ж".repeat(64)] {
            assert_eq!(name.parse::<RoomName>().unwrap().as_str(), name);
        }
        assert_eq!("ж".repeat(32).parse::<Nickname>().unwrap().as_str(), "ж".repeat(32));
    }

    #[test]
    fn the_error_of_a_name_names_its_fault() {
        let refused = |name: &str| name.parse::<RoomName>().unwrap_err().to_string();
        assert_eq!(refused(""), "the room is empty");
        assert_eq!(refused("-a"), r#"the room "-a" must begin with a letter or digit"#);
        assert_eq!(
            refused("a b"),
            r#"' ' is not allowed in the room "a b"; allowed are letters, digits and - _ ."#
        );
        let long = "x".repeat(65);
        assert_eq!(
            refused(&long),
            format!("the room \"{}\"… is longer than 64 characters", "x".repeat(64))
        );
        let nickname = "y".repeat(33).parse::<Nickname>().unwrap_err().to_string();
        assert_eq!(
            nickname,
            format!("the nickname \"{}\" is longer than 32 characters", "y".repeat(33))
        );
    }

    #[test]
    fn line_ends_and_invisible_characters_are_invalid_in_names() {
        for character in
            [':', '*', '!', '/', '\n', '\r', '\u{1b}', '\u{202e}', '\u{200b}', '\u{3164}']
        {
            let name = format!("a{character}b");
            assert!(name.parse::<Nickname>().is_err(), "{name:?}");
            assert!(name.parse::<RoomName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_name_in_use_gets_a_number_and_stays_valid() {
        let alice: Nickname = "alice".parse().unwrap();
        assert_eq!(alice.numbered(2).as_str(), "alice-2");
        let long: Nickname = "ж".repeat(32).parse().unwrap();
        assert_eq!(long.numbered(10).as_str(), format!("{}-10", "ж".repeat(29)));
        assert_eq!(long.numbered(u64::MAX).as_str().parse(), Ok(long.numbered(u64::MAX)));
    }

    proptest! {
        #[test]
        fn a_guest_has_a_name_whatever_the_random_bytes(random: [u8; 4]) {
            let guest = Nickname::guest(random);
            prop_assert_eq!(guest.as_str().parse(), Ok(guest.clone()));
            prop_assert!(guest.as_str().starts_with("guest-"));
            prop_assert_eq!(guest.as_str().len(), 10);
        }

        #[test]
        fn a_name_is_visible_and_one_word(text: String) {
            if let Ok(name) = text.parse::<Nickname>() {
                prop_assert_eq!(super::super::make_visible(name.as_str()), name.as_str());
                prop_assert!(!name.as_str().contains(char::is_whitespace));
            }
        }
    }
}
