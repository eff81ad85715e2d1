//! The tokens of a server, as something that they can be compared with and that does not give them
//! away.

use std::fmt;
use std::sync::Arc;

use anyport_proto::access::{Named, Token};

/// The owner of a token.
pub(crate) type User = Arc<str>;

/// Tokens, and who has them. Only keyed hashes are kept.
#[derive(Clone)]
pub struct Tokens {
    /// Drawn anew for each process, so that what is kept is good for nothing elsewhere.
    key: [u8; 32],
    users: Arc<[(blake3::Hash, User)]>,
}

impl Tokens {
    /// Whoever shows one of these comes in.
    ///
    /// # Panics
    /// Never where the system has a random source; without one there is no key, and no server to
    /// speak of.
    pub fn new(list: Vec<Named>) -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system has a random source");
        let keyed = |named: Named| (hash(&key, &named.token), named.name.into());
        Self { key, users: list.into_iter().map(keyed).collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether nobody comes in.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Who has the token. Each is compared, and each comparison takes the same time wherever it
    /// fails (`blake3::Hash`).
    pub(crate) fn owner(&self, shown: &Token) -> Option<User> {
        let shown = hash(&self.key, shown);
        let mut owner = None;
        for (hash, user) in self.users.iter() {
            if *hash == shown {
                owner = Some(user);
            }
        }
        owner.cloned()
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
        let owner = |token: &str| tokens.owner(&Token::new(token));
        assert_eq!(owner("0123456789abcdef").as_deref(), Some("alice"));
        assert_eq!(owner("fedcba9876543210").as_deref(), Some("line-2"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF"] {
            assert_eq!(owner(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{tokens:?}"), "Tokens(2)");
    }
}
