//! Access control: a client must send a known token, if the server has any, and must not be
//! guessing. Its [`Grant`] has the rights of the token.
//!
//! ```text
//!   cookie of the page ──Access::session_token──┐
//!   HTTP, WebSocket, preface ──the token that was shown──► Access::admit ──► grant, or why not
//!   bare bytes, bare frames ──nothing to show────────────────┘
//! ```
//!
//! An address that sent wrong tokens is refused for a while, whatever it sends then, so that
//! guessing during that time reveals nothing.

mod denied;
mod failures;
pub(crate) mod grant;
mod web_sessions;

pub(crate) use denied::{Denied, Means};
pub(crate) use grant::{Grant, Operation, Participant};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyport_proto::access::Token;
use anyport_proto::peer::Peer;

use crate::address::counted_as;
use crate::config::Config;
use crate::live::Live;
use crate::share::{self, Maker, Share, ShareLink, Shares};
use failures::Failures;
use web_sessions::WebSessions;

/// The failed attempts that a server remembers, and the sessions of its page.
#[derive(Debug)]
pub(crate) struct Access {
    /// The current settings: a token that was removed admits to no further request, also on a
    /// connection that was open before.
    config: Arc<Live<Config>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: Failures,
    sessions: WebSessions,
}

impl Access {
    pub(crate) fn new(config: Arc<Live<Config>>) -> Self {
        Self { config, state: Mutex::default() }
    }

    /// Admits `peer` if it sent a token of the server, or if that has none.
    pub(crate) fn admit(&self, peer: Peer, shown: Option<&Token>) -> Result<Grant, Denied> {
        let config = self.config.now();
        let Some(tokens) = &config.tokens else { return Ok(Grant::without_token(&config)) };
        let Some(shown) = shown else { return Err(Denied::Missing) };
        let (peer, now) = (counted_as(peer), Instant::now());
        let held_off = |state: &State| state.failures.held_off(peer, now);
        if let Some(wait) = held_off(&self.lock()) {
            return Err(Denied::Guessing(wait));
        }
        let Some(owner) = tokens.owner(shown) else {
            self.lock().failures.add(peer, now);
            return Err(Denied::Wrong);
        };
        Ok(Grant::of_token(owner).at(&config))
    }

    /// Returns the current settings, by which requests are admitted.
    pub(crate) fn settings(&self) -> Arc<Config> {
        self.config.now()
    }

    /// Begins a session of the page for a token that was admitted, and returns its id, which is a
    /// secret.
    pub(crate) fn begin_session(&self, token: &Token) -> String {
        self.lock().sessions.begin(token, Instant::now())
    }

    /// Returns the token of a session of the page, to be admitted like one that was shown. Ends the
    /// session if the token was removed, so that its cookie is not counted as a wrong guess.
    /// `is_use`: the person uses it.
    pub(crate) fn session_token(&self, id: &str, is_use: bool) -> Option<Token> {
        let config = self.config.now();
        let tokens = config.tokens.as_ref()?;
        let token = self.lock().sessions.token(id, Instant::now(), is_use)?;
        if tokens.owner(&token).is_none() {
            self.end_session(id);
            return None;
        }
        Some(token)
    }

    /// Ends a session of the page, if it exists.
    pub(crate) fn end_session(&self, id: &str) {
        self.lock().sessions.end(id);
    }

    /// Admits a client by the id of a share.
    ///
    /// Wrong ids are not counted: 256 bits cannot be guessed, and any page can make the browsers of
    /// its visitors request wrong ones, which would lock out their addresses.
    pub(crate) fn admit_by_link(&self, id: &str, shares: &Arc<Shares>) -> Result<Grant, Denied> {
        let config = self.config.now();
        let share = shares.find(id, share::now()).ok_or(Denied::NoLink)?;
        if share.has_ended() || !may_share(&config, &share) {
            return Err(Denied::EndedLink);
        }
        Ok(Grant::of_link(ShareLink::new(shares.clone(), share)).at(&config))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether the maker of a share may still make it. One that was made without a token lasts
/// until it ends by itself.
fn may_share(config: &Config, share: &Share) -> bool {
    let Some(Maker { user, mark }) = &share.maker else { return true };
    let owner = config.tokens.as_ref().and_then(|tokens| tokens.marked(user, *mark));
    owner.is_some_and(|owner| {
        // A right that is withheld from every client is reported to the client of the link.
        Grant::of_token(owner).check_share(&share.kind, &share.path).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use anyport_proto::access::{Rights, parse_list};

    use super::*;
    use crate::tokens::Tokens;

    #[test]
    fn only_the_guessing_address_is_refused() {
        let tokens = Tokens::new(parse_list("alice 0123456789abcdef").unwrap());
        let config = Config { tokens: Some(tokens), ..Config::new(".") };
        let right = Token::new("0123456789abcdef");
        let access = Access::new(Arc::new(Live::new(config)));
        let admit = |peer: &str, shown: Option<&Token>| access.admit(peer.parse().unwrap(), shown);
        assert_eq!(
            admit("192.0.2.1", Some(&right)).unwrap().user().map(|user| &**user),
            Some("alice")
        );
        for guess in 0..failures::MOST {
            let guess = Token::new(format!("{guess:016}"));
            assert_eq!(admit("192.0.2.1", Some(&guess)), Err(Denied::Wrong));
            assert_eq!(admit("192.0.2.1", None), Err(Denied::Missing));
        }
        assert!(matches!(admit("192.0.2.1", Some(&right)), Err(Denied::Guessing(_))));
        assert!(matches!(admit("::ffff:192.0.2.1", Some(&right)), Err(Denied::Guessing(_))));
        assert!(admit("192.0.2.2", Some(&right)).is_ok());
    }

    #[test]
    fn a_session_ends_with_its_token_and_is_no_guess() {
        let config = |lines: &str| Config {
            tokens: Some(Tokens::new(parse_list(lines).unwrap())),
            ..Config::new(".")
        };
        let live = Arc::new(Live::new(config("alice 0123456789abcdef")));
        let access = Access::new(live.clone());
        let id = access.begin_session(&Token::new("0123456789abcdef"));
        let token = access.session_token(&id, true).unwrap();
        assert!(access.admit("192.0.2.1".parse().unwrap(), Some(&token)).is_ok());
        live.replace(config("bob fedcba9876543210"));
        assert!(access.session_token(&id, true).is_none());
        live.replace(config("alice 0123456789abcdef"));
        assert!(access.session_token(&id, true).is_none());
        live.replace(Config::new("."));
        let id = access.begin_session(&Token::new("0123456789abcdef"));
        assert!(access.session_token(&id, true).is_none());
    }

    #[test]
    fn without_tokens_every_client_is_admitted_without_a_user() {
        let access = Access::new(Arc::new(Live::new(Config::new("."))));
        let peer = "192.0.2.1".parse().unwrap();
        for token in [None, Some(&Token::new("0123456789abcdef"))] {
            let grant = access.admit(peer, token).unwrap();
            assert_eq!((grant.user(), grant.rights()), (None, Rights::DEFAULT));
        }
    }
}
