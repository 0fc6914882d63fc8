//! How far an endpoint's handshake has come: tried, proved, to be repeated, or given up. Pure.
//!
//! A first proof that fails for a passing reason is tried again by itself on a short schedule; a wrong answer is
//! final until a person asks again. A proof that has to be repeated is not lost to one failure, of whatever kind: it
//! is tried again over some hours before the endpoint stops being sent to. Trouble of our own spends nothing.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::{handshake::Handshake, limits, time::Timestamp};

/// What is known of an endpoint's proof.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerificationState {
    /// Not proved yet: under way, to be tried again, or waiting for a person to submit a code.
    Pending,
    Verified,
    /// Given up until a person asks again.
    Failed,
}

impl VerificationState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Failed => "failed",
        }
    }
}

/// An endpoint's proof. Persisted with its configuration, sealed: members may be added with a default, none may
/// change its meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    pub state: VerificationState,
    /// Tries that have failed in a row.
    #[serde(default)]
    pub failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Shortfall>,
    /// When it is tried without anyone asking; `None` when only a person can go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// The code that was sent, until it is submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Requests a minute that the receiver has granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_per_minute: Option<u32>,
}

/// Why a try proved nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfall {
    /// For programs: the reason of an attempt, or of an answer that proves nothing.
    pub reason: String,
    /// The answer's status, when there was one.
    pub status: Option<u16>,
    /// For people: what is wrong, and what would be right.
    pub detail: String,
}

/// What one try brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    Proved {
        allowed_per_minute: Option<u32>,
    },
    /// The receiver took a code that a person has to submit.
    AwaitsCode,
    Failed(Shortfall, Blame),
}

/// What a failed try is about.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Our own trouble.
    Ours,
    /// It may work later.
    Passing,
    /// The answer is wrong.
    Lasting,
}

/// What became of a submitted code.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    Right,
    /// And how many more may be tried; none left voids the code.
    Wrong {
        tries_left: u8,
    },
    /// No code waits to be submitted.
    NoCode,
}

/// Six digits that were sent to a receiver, to come back from it. Never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    digits: String,
    pub tries_left: u8,
}

impl Code {
    /// A code out of random numbers: the first of them that is one of 900,000, all alike.
    pub fn from_random(numbers: impl IntoIterator<Item = u32>) -> Option<Self> {
        // The largest multiple of 900,000 that fits: what lies above would make low codes likelier.
        const FAIR: u32 = u32::MAX - u32::MAX % 900_000;
        let number = numbers.into_iter().find(|number| *number < FAIR)?;
        Some(Self {
            digits: (100_000 + number % 900_000).to_string(),
            tries_left: limits::CODE_TRIES,
        })
    }

    /// The digits, for the request that sends them.
    pub fn expose(&self) -> &str {
        &self.digits
    }

    /// Compares in constant time.
    pub fn is(&self, digits: &str) -> bool {
        self.digits.as_bytes().ct_eq(digits.as_bytes()).into()
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code")
            .field("tries_left", &self.tries_left)
            .finish_non_exhaustive()
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        self.digits.zeroize();
    }
}

impl Verification {
    /// Nothing proved yet; tried first at `next_at`, or when a person asks.
    pub const fn pending(next_at: Option<Timestamp>) -> Self {
        Self {
            state: VerificationState::Pending,
            failures: 0,
            last_attempt_at: None,
            verified_at: None,
            last_error: None,
            next_at,
            code: None,
            allowed_per_minute: None,
        }
    }

    pub const fn is_proved(&self) -> bool {
        matches!(self.state, VerificationState::Verified)
    }

    /// A person asks: what failed before no longer counts, unless a proof is being repeated.
    #[must_use]
    pub fn asked(mut self) -> Self {
        if !self.is_proved() {
            self.failures = 0;
        }
        self
    }

    /// After a try that ended at `now`. `random` lies in 0..1.
    #[must_use]
    pub fn after(mut self, tried: Tried, handshake: Handshake, now: Timestamp, random: f64) -> Self {
        self.last_attempt_at = Some(now);
        match tried {
            Tried::Proved { allowed_per_minute } => {
                self.prove(handshake, now);
                self.allowed_per_minute = allowed_per_minute;
            }
            Tried::AwaitsCode => {
                self.failures = 0;
                self.last_error = None;
                self.next_at = None;
                if !self.is_proved() {
                    self.state = VerificationState::Pending;
                }
            }
            Tried::Failed(error, blame) => {
                self.last_error = Some(error);
                self.code = None;
                self.fail(blame, handshake, now, random);
            }
        }
        self
    }

    /// Takes a code from a person. A wrong one costs a try, and the last of them the code.
    pub fn submit(&mut self, digits: &str, handshake: Handshake, now: Timestamp) -> Submitted {
        let Some(code) = &mut self.code else {
            return Submitted::NoCode;
        };
        if code.is(digits) {
            self.prove(handshake, now);
            return Submitted::Right;
        }
        code.tries_left = code.tries_left.saturating_sub(1);
        let tries_left = code.tries_left;
        if tries_left == 0 {
            self.code = None;
            self.last_error = Some(Shortfall {
                reason: "code_void".to_owned(),
                status: None,
                detail: "too many wrong codes were submitted; verify again for a new one".to_owned(),
            });
            if !self.is_proved() {
                self.state = VerificationState::Failed;
            }
        }
        Submitted::Wrong { tries_left }
    }

    fn prove(&mut self, handshake: Handshake, now: Timestamp) {
        self.state = VerificationState::Verified;
        self.failures = 0;
        self.verified_at = Some(now);
        self.last_error = None;
        self.next_at = handshake.repeated_every().map(|every| now.plus(every));
        self.code = None;
    }

    fn fail(&mut self, blame: Blame, handshake: Handshake, now: Timestamp, random: f64) {
        let repeats = self.is_proved() && handshake.repeated_every().is_some();
        let delays: &[Duration] = match (self.is_proved(), blame) {
            // Asked for by a person although it was proved for good: the proof stands.
            (true, _) if !repeats => {
                self.next_at = None;
                return;
            }
            (_, Blame::Ours) => {
                self.next_at = Some(now.plus(limits::HANDSHAKE_OURS_PAUSE));
                return;
            }
            (true, Blame::Passing | Blame::Lasting) => &limits::REPEATED_HANDSHAKE_DELAYS,
            (false, Blame::Passing) => &limits::FIRST_HANDSHAKE_DELAYS,
            (false, Blame::Lasting) => &[],
        };
        let delay = usize::try_from(self.failures)
            .ok()
            .and_then(|nth| delays.get(nth));
        self.failures = self.failures.saturating_add(1);
        match delay {
            Some(delay) => self.next_at = Some(now.plus(delay.mul_f64(0.8 + 0.4 * random))),
            None => {
                self.state = VerificationState::Failed;
                self.next_at = None;
            }
        }
    }
}

#[cfg(test)]
#[path = "verification_tests.rs"]
mod tests;
