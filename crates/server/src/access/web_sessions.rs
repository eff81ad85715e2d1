//! Sessions of the page in a browser: its cookie stands for a token that a person entered once.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyport_proto::access::Token;

/// The sessions of a server. Only hashes of their ids are stored.
#[derive(Default)]
pub(super) struct WebSessions {
    by_hash: HashMap<blake3::Hash, WebSession>,
}

struct WebSession {
    token: Token,
    used: Instant,
}

impl WebSessions {
    /// Begins a session for `token`, and returns its id: a random one, so that no other page can
    /// have chosen it.
    ///
    /// # Panics
    /// The system has no random source.
    pub(super) fn begin(&mut self, token: &Token, now: Instant) -> String {
        let mut id = [0; blake3::OUT_LEN];
        getrandom::fill(&mut id).expect("the system has a random source");
        self.make_place(now);
        self.by_hash.insert(blake3::hash(&id), WebSession { token: token.clone(), used: now });
        blake3::Hash::from_bytes(id).to_hex().to_string()
    }

    /// Returns the token of a session, which is used at `now` if `is_use`; `None` if there is none.
    pub(super) fn token(&mut self, id: &str, now: Instant, is_use: bool) -> Option<Token> {
        let session = self.by_hash.get_mut(&hash(id)?)?;
        if now.duration_since(session.used) >= IDLE {
            self.end(id);
            return None;
        }
        if is_use {
            session.used = now;
        }
        Some(session.token.clone())
    }

    /// Ends a session, if it exists.
    pub(super) fn end(&mut self, id: &str) {
        hash(id).and_then(|hash| self.by_hash.remove(&hash));
    }

    /// Removes expired sessions; if there are still too many, of the token that has most of them
    /// the one that was not used for longest, so that no token ends the sessions of another.
    fn make_place(&mut self, now: Instant) {
        if self.by_hash.len() < MOST {
            return;
        }
        self.by_hash.retain(|_, session| now.duration_since(session.used) < IDLE);
        if self.by_hash.len() < MOST {
            return;
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for session in self.by_hash.values() {
            *counts.entry(session.token.expose()).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let has_most = |session: &WebSession| counts.get(session.token.expose()) == Some(&most);
        let sessions = self.by_hash.iter().filter(|(_, session)| has_most(session));
        let oldest = sessions.min_by_key(|(_, session)| session.used).map(|(hash, _)| *hash);
        oldest.and_then(|oldest| self.by_hash.remove(&oldest));
    }
}

impl fmt::Debug for WebSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebSessions({})", self.by_hash.len())
    }
}

/// Returns the hash of an id, if the text can be one.
fn hash(id: &str) -> Option<blake3::Hash> {
    Some(blake3::hash(blake3::Hash::from_hex(id).ok()?.as_bytes()))
}

/// Time without a request after which a session ends: a page that was left open over lunch works,
/// and one from yesterday asks for the token again.
pub(super) const IDLE: Duration = Duration::from_secs(12 * 60 * 60);

/// Maximum number of sessions, as of tokens; each needs less than 1 KiB.
pub(super) const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn token(number: usize) -> Token {
        Token::new(format!("{number:016}"))
    }

    fn found(sessions: &mut WebSessions, id: &str, now: Instant) -> Option<String> {
        sessions.token(id, now, true).map(|token| token.expose().to_owned())
    }

    #[test]
    fn a_session_stands_for_its_token_until_it_ends() {
        let (mut sessions, now) = (WebSessions::default(), Instant::now());
        let (id, other) = (sessions.begin(&token(1), now), sessions.begin(&token(1), now));
        assert_ne!(id, other);
        assert_eq!(id.len(), 64);
        assert_eq!(found(&mut sessions, &id, now), Some(token(1).expose().to_owned()));
        for wrong in ["", "0", &id[1..], &format!("{id}0"), &"0".repeat(64), &"\u{e4}".repeat(32)] {
            assert_eq!(found(&mut sessions, wrong, now), None, "{wrong}");
        }
        sessions.end(&id);
        assert_eq!(found(&mut sessions, &id, now), None);
        assert!(found(&mut sessions, &other, now).is_some());
        let shown = format!("{sessions:?}");
        assert_eq!(shown, "WebSessions(1)");
    }

    #[test]
    fn a_session_ends_twelve_hours_after_its_last_request() {
        let (mut sessions, now) = (WebSessions::default(), Instant::now());
        let id = sessions.begin(&token(1), now);
        let (mut at, most) = (now, IDLE - SECOND);
        for _ in 0..3 {
            at += most;
            assert!(found(&mut sessions, &id, at).is_some());
        }
        // A page that is open and looks at nothing does not use it.
        assert!(sessions.token(&id, at + most, false).is_some());
        assert_eq!(found(&mut sessions, &id, at + IDLE), None);
        assert_eq!(found(&mut sessions, &id, at), None);
    }

    #[test]
    fn sessions_are_bounded_and_no_token_ends_those_of_another() {
        let (mut sessions, now) = (WebSessions::default(), Instant::now());
        let at = |number: usize| now + SECOND * u32::try_from(number).unwrap();
        let first = sessions.begin(&token(0), now);
        let flood: Vec<_> =
            (1..MOST + 2).map(|number| sessions.begin(&token(1), at(number))).collect();
        assert_eq!(sessions.by_hash.len(), MOST);
        assert!(found(&mut sessions, &first, at(MOST)).is_some());
        for (id, expected) in [(&flood[0], false), (&flood[1], false), (&flood[2], true)] {
            assert_eq!(found(&mut sessions, id, at(MOST)).is_some(), expected);
        }
        // Expired ones make room first.
        let late = at(2 * MOST) + IDLE;
        let last = sessions.begin(&token(1), late);
        assert_eq!(sessions.by_hash.len(), 1);
        assert!(found(&mut sessions, &last, late).is_some());
    }
}
