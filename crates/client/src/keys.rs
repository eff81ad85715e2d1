//! Mask keys and handshake keys from the kernel's random source, because they must be unpredictable
//! (RFC 6455 §10.3).

use anyport_proto::ws::KeySource;

/// Hands out mask keys, asking the kernel for many at a time.
#[derive(Debug)]
pub(crate) struct RandomKeys {
    pool: [u8; 4 * KEYS],
    used: usize,
}

/// Keys a system call.
const KEYS: usize = 64;

impl RandomKeys {
    pub(crate) const fn new() -> Self {
        // All used, so that the first key fills it.
        Self { pool: [0; 4 * KEYS], used: 4 * KEYS }
    }
}

impl KeySource for RandomKeys {
    fn next_key(&mut self) -> [u8; 4] {
        if self.used == self.pool.len() {
            getrandom::fill(&mut self.pool).expect("the kernel gives random bytes");
            self.used = 0;
        }
        let key = [0, 1, 2, 3].map(|i| self.pool[self.used + i]);
        self.used += 4;
        key
    }
}

/// Sixteen bytes for a Sec-WebSocket-Key.
pub(crate) fn handshake_key() -> [u8; 16] {
    let mut key = [0; 16];
    getrandom::fill(&mut key).expect("the kernel gives random bytes");
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn mk_5_keys_do_not_repeat_over_refills() {
        let mut keys = RandomKeys::new();
        let seen: HashSet<_> = (0..1000).map(|_| keys.next_key()).collect();
        assert!(seen.len() > 990, "{} of 1000 keys differ", seen.len());
    }

    /// One draw of the kernel's source for each connection, and nothing of it is kept.
    #[test]
    fn hs_11_handshake_keys_do_not_repeat() {
        let seen: HashSet<_> = (0..1000).map(|_| handshake_key()).collect();
        assert_eq!(seen.len(), 1000);
    }

    /// Two connections share no key, though each draws many at a time.
    #[test]
    fn mk_5_connections_draw_their_own_keys() {
        let mut sources = [RandomKeys::new(), RandomKeys::new()];
        let drawn = sources.each_mut().map(|keys| [(); 8].map(|()| keys.next_key()));
        assert_ne!(drawn[0], drawn[1]);
    }
}
