//! How the file descriptors that the system allows are shared out.
//!
//! All that may be open at once has to fit: connections of both listeners, attempts under way, connections kept for
//! later attempts, and files. Where the limit is too low for what is configured, each gets less, in the same proportion.

use crate::config::Config;

/// Files, listeners and what the runtimes need: some 80, with room to spare.
const FILES: u64 = 128;
/// An attempt that looks up a name asks two servers for two kinds of addresses, each over a socket. After that it has
/// one socket.
const PER_ATTEMPT: u64 = 4;
/// Connections to receivers that are kept for later attempts.
const KEPT: usize = 256;
/// However low the limit is.
const LEAST: u64 = 8;

/// How many of each there may be.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Connections on each listener.
    pub connections: usize,
    /// Attempts under way.
    pub attempts: usize,
    /// Connections kept for later attempts.
    pub kept: usize,
}

impl Shares {
    /// What is configured, or as much of it as the limit allows; that is logged.
    pub fn of(config: &Config, limit: u64) -> Self {
        let wanted = Self {
            connections: config.api.max_connections as usize,
            attempts: config.delivery.max_in_flight as usize,
            kept: KEPT,
        };
        let shares = wanted.within(limit);
        if shares != wanted {
            tracing::warn!(
                limit,
                needed = wanted.needs() + FILES,
                connections = shares.connections,
                attempts = shares.attempts,
                "the limit on file descriptors is too low for api.max_connections and delivery.max_in_flight; \
                 fewer are served at once; raise the limit (LimitNOFILE=, ulimit -Hn)"
            );
        }
        shares
    }

    fn needs(self) -> u64 {
        2 * self.connections as u64 + PER_ATTEMPT * self.attempts as u64 + self.kept as u64
    }

    fn within(self, limit: u64) -> Self {
        let (needed, left) = (self.needs(), limit.saturating_sub(FILES));
        if needed <= left {
            return self;
        }
        let share = |wanted: usize| {
            let share = u128::from(left) * wanted as u128 / u128::from(needed);
            (share as usize).max(LEAST as usize).min(wanted)
        };
        Self {
            connections: share(self.connections),
            attempts: share(self.attempts),
            kept: share(self.kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Shares = Shares {
        connections: 1024,
        attempts: 512,
        kept: 256,
    };

    #[test]
    fn everything_fits_below_the_limit_or_is_as_configured() {
        assert_eq!(WANTED.within(u64::MAX), WANTED);
        assert_eq!(WANTED.within(WANTED.needs() + FILES), WANTED);
        for limit in [512, 1024, 2048, 4096] {
            let shares = WANTED.within(limit);
            assert!(shares.needs() + FILES <= limit, "{limit}: {shares:?}");
            assert!(shares.attempts >= LEAST as usize && shares.connections > shares.attempts);
        }
        let least = WANTED.within(0);
        assert_eq!((least.connections, least.attempts, least.kept), (8, 8, 8));
    }

    #[test]
    fn no_share_is_more_than_what_is_configured() {
        let few = Shares {
            connections: 2,
            attempts: 1,
            kept: KEPT,
        };
        let shares = few.within(0);
        assert_eq!((shares.connections, shares.attempts), (2, 1));
    }
}
