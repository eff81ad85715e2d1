//! The tokens of a server and their rights, in a form that can be compared and does not reveal
//! the tokens.

use std::fmt;
use std::sync::Arc;

use anyport_proto::access::{Named, Rights, Token};
use anyport_proto::transfer::file_path::FilePath;

/// Name of the owner of a token.
pub(crate) type User = Arc<str>;

/// A token as it is recorded for what outlives the process, so that a new token of the same owner
/// is another one. It is too short to confirm a guessed token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenMark(pub(crate) u32);

impl TokenMark {
    fn of(token: &Token) -> Self {
        let key = blake3::derive_key("anyport 2026-11 mark of a token", token.expose().as_bytes());
        Self(u32::from_le_bytes([key[0], key[1], key[2], key[3]]))
    }
}

/// The owner of a token, and what the token permits.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) user: User,
    pub(crate) mark: TokenMark,
    pub(crate) rights: Rights,
    /// The file or directory that the rights on files are for; `None` for all.
    pub(crate) scope: Option<Arc<FilePath>>,
}

impl Owner {
    pub(crate) fn of(named: Named) -> Self {
        let mark = TokenMark::of(&named.token);
        let (user, scope) = (named.name.into(), named.scope.map(Arc::new));
        Self { user, mark, rights: named.rights, scope }
    }
}

/// Tokens, their owners, and what they permit.
///
/// Only keyed hashes are stored.
#[derive(Clone)]
pub struct Tokens {
    /// Random for each process, so that the hashes are useless elsewhere.
    key: [u8; 32],
    owners: Arc<[(blake3::Hash, Owner)]>,
}

impl Tokens {
    /// Returns tokens, each of which admits its owner.
    ///
    /// # Panics
    /// The system has no random source.
    pub fn new(list: Vec<Named>) -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system has a random source");
        let keyed = |named: Named| (hash(&key, &named.token), Owner::of(named));
        Self { key, owners: list.into_iter().map(keyed).collect() }
    }

    /// Returns the number of tokens.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Returns whether there is no token, so that no client is admitted.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Returns the owner of a token. All are compared, and each comparison takes constant time
    /// (`blake3::Hash`).
    pub(crate) fn owner(&self, shown: &Token) -> Option<Owner> {
        let shown = hash(&self.key, shown);
        let mut found = None;
        for (hash, owner) in self.owners.iter() {
            if *hash == shown {
                found = Some(owner);
            }
        }
        found.cloned()
    }

    /// Returns the owner of the token that has this mark and this name.
    pub(crate) fn marked(&self, user: &str, mark: TokenMark) -> Option<Owner> {
        let is_it = |owner: &&Owner| *owner.user == *user && owner.mark == mark;
        self.owners.iter().map(|(_, owner)| owner).find(is_it).cloned()
    }
}

fn hash(key: &[u8; 32], token: &Token) -> blake3::Hash {
    blake3::keyed_hash(key, token.expose().as_bytes())
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use anyport_proto::access::parse_list;

    use super::*;

    #[test]
    fn each_token_has_its_owner_and_none_is_shown() {
        let list = parse_list("alice 0123456789abcdef\nfedcba9876543210").unwrap();
        let tokens = Tokens::new(list);
        let owner = |token: &str| tokens.owner(&Token::new(token)).map(|owner| owner.user);
        assert_eq!(owner("0123456789abcdef").as_deref(), Some("alice"));
        assert_eq!(owner("fedcba9876543210").as_deref(), Some("line-2"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF"] {
            assert_eq!(owner(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{tokens:?}"), "Tokens(2)");
    }
}
