//! A token bucket: at most so many attempts begun in a second, after a burst.
//!
//! Our own, since its time must be tokio's, which tests pause, and its state must fit an idle lane.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::endpoint::Rate;

#[derive(Debug)]
pub(super) struct Bucket {
    rate: Option<Rate>,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub fn new(rate: Option<Rate>, now: Instant) -> Self {
        Self {
            rate,
            tokens: rate.map_or(0.0, |rate| f64::from(rate.burst)),
            at: now,
        }
    }

    /// Takes a new rate over; what is in the bucket stays.
    pub fn set(&mut self, rate: Option<Rate>, now: Instant) {
        if self.rate != rate {
            let had = self.rate.is_some();
            self.refill(now);
            let tokens = self.tokens;
            *self = Self::new(rate, now);
            if had && rate.is_some() {
                self.tokens = tokens.min(self.tokens);
            }
        }
    }

    /// Takes a token, or says how long until there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let Some(rate) = self.rate else {
            return Ok(());
        };
        self.refill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // A whole millisecond more, so that rounding does not wake too early for ever.
        Err(Duration::from_secs_f64((1.0 - self.tokens) / rate.per_second) + Duration::from_millis(1))
    }

    /// How long until the bucket is as good as new; zero without a rate.
    pub fn full_in(&mut self, now: Instant) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        self.refill(now);
        Duration::from_secs_f64((f64::from(rate.burst) - self.tokens).max(0.0) / rate.per_second)
    }

    fn refill(&mut self, now: Instant) {
        if let Some(rate) = self.rate {
            let passed = now.saturating_duration_since(self.at).as_secs_f64();
            self.tokens = (self.tokens + passed * rate.per_second).min(f64::from(rate.burst));
        }
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(
            Some(Rate {
                per_second: 10.0,
                burst: 2,
            }),
            start,
        );
        assert!(bucket.take(start).is_ok() && bucket.take(start).is_ok());
        let wait = bucket.take(start).unwrap_err();
        assert!(wait >= Duration::from_millis(100) && wait < Duration::from_millis(105));
        assert!(bucket.take(start + wait).is_ok());
        assert!(bucket.take(start + wait).is_err());
        assert!(bucket.full_in(start + wait) > Duration::from_millis(150));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_there_is_no_wait() {
        let now = Instant::now();
        let mut bucket = Bucket::new(None, now);
        assert!((0..10_000).all(|_| bucket.take(now).is_ok()));
        assert_eq!(bucket.full_in(now), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_rate_gives_no_second_burst() {
        let now = Instant::now();
        let mut bucket = Bucket::new(
            Some(Rate {
                per_second: 1.0,
                burst: 5,
            }),
            now,
        );
        while bucket.take(now).is_ok() {}
        bucket.set(
            Some(Rate {
                per_second: 2.0,
                burst: 5,
            }),
            now,
        );
        assert!(bucket.take(now).is_err());
    }
}
