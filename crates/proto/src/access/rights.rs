//! Rights: what the holder of a token may do, and clients of a server without tokens.

use std::fmt;
use std::str::FromStr;

/// A set of rights, written as `read,write`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rights(u8);

/// Why a text is not a list of rights.
///
/// It does not show the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected rights separated by commas: {ALL}", ALL = Rights::ALL)]
pub struct RightsError;

impl Rights {
    /// No right: files, rooms and pipes cannot be used.
    pub const NONE: Self = Self(0);
    /// List and download files.
    pub const READ: Self = Self(1);
    /// Upload files, and create directories.
    pub const WRITE: Self = Self(1 << 1);
    /// Delete files and empty directories; with [`Self::WRITE`] rename them.
    pub const DELETE: Self = Self(1 << 2);
    /// Use rooms and pipes.
    pub const TALK: Self = Self(1 << 3);
    /// Share files with people who have no token.
    pub const SHARE: Self = Self(1 << 4);
    /// Read the metrics.
    pub const ADMIN: Self = Self(1 << 5);

    /// All rights.
    pub const ALL: Self = Self((1 << WORDS.len()) - 1);
    /// The rights of a token whose line names none, and of clients of a server without tokens.
    pub const DEFAULT: Self = Self::READ.with(Self::WRITE).with(Self::TALK);

    /// Returns the rights of both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the rights that are in both sets.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the rights without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns whether all rights of `other` are in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether there is no right in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The words, in the order of their bits.
const WORDS: [&str; 6] = ["read", "write", "delete", "talk", "share", "admin"];

impl FromStr for Rights {
    type Err = RightsError;

    fn from_str(text: &str) -> Result<Self, RightsError> {
        let bit = |word| WORDS.iter().position(|known| *known == word).ok_or(RightsError);
        text.split(',').try_fold(Self::NONE, |rights, word| Ok(rights.with(Self(1 << bit(word)?))))
    }
}

/// Writes the words, separated by commas; `none` for an empty set.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let held = WORDS.iter().enumerate().filter(|(bit, _)| self.contains(Self(1 << bit)));
        f.write_str(&held.map(|(_, word)| *word).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_one_right_and_a_list_is_their_union() {
        let mut all = Rights::NONE;
        for word in WORDS {
            let right: Rights = word.parse().unwrap();
            assert!(!all.contains(right));
            assert_eq!(right.to_string(), word);
            all = all.with(right);
        }
        assert_eq!(all, Rights::ALL);
        assert_eq!("talk,read,write".parse(), Ok(Rights::DEFAULT));
        assert_eq!(Rights::DEFAULT.to_string(), "read,write,talk");
        assert_eq!(Rights::ALL.to_string().parse(), Ok(Rights::ALL));
        assert_eq!(Rights::NONE.to_string(), "none");
        for wrong in ["", "reads", "read,", "Read", "read write", "none"] {
            assert_eq!(wrong.parse::<Rights>(), Err(RightsError), "{wrong:?}");
        }
        let shown = RightsError.to_string();
        let expected = "expected rights separated by commas: read,write,delete,talk,share,admin";
        assert_eq!(shown, expected);
    }

    #[test]
    fn sets_are_united_limited_and_reduced() {
        let (read, write) = (Rights::READ, Rights::WRITE);
        assert!(read.with(write).contains(write) && !read.contains(write));
        assert_eq!(Rights::DEFAULT.within(Rights::ALL.without(write)), read.with(Rights::TALK));
        assert!(read.within(write).is_empty() && read.contains(Rights::NONE));
    }
}
