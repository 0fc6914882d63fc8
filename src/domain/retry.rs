//! When to try again: a list of delays, a fixed delay, or an exponential one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{duration::Span, limits, number};

/// The delays between one delivery's attempts. At least one attempt is always made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RetryDocument", into = "RetryDocument")]
pub enum RetryPolicy {
    Delays(Vec<Span>),
    Fixed {
        retries: u32,
        delay: Span,
    },
    Exponential {
        base: Span,
        factor: u32,
        max: Span,
        retries: u32,
    },
}

/// Why a retry policy is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRetry {
    #[error("give either delays, or retries and delay, or base, factor, max and retries")]
    Shape,
    #[error("has too many retries; the range is 0 to 1000")]
    Retries,
    #[error("has a delay out of range; the range is 100ms to 30d")]
    Delay,
    #[error("factor is out of range; the range is 1 to 10")]
    Factor,
    #[error("max is less than base")]
    Max,
}

/// The JSON form: which members are there says which kind it is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delays: Option<Vec<Span>>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "number::whole_or_none::<0, RETRIES, _, _>"
    )]
    retries: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<Span>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "number::whole_or_none::<1, 10, _, _>"
    )]
    factor: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<Span>,
}

const RETRIES: u64 = limits::RETRIES as u64;

/// Below this a retry is a storm.
const SHORTEST: Span = Span::from_millis(100);
/// How far a jittered delay strays from its mean, to either side.
const JITTER: f64 = 0.2;

impl Default for RetryPolicy {
    /// The ten attempts over four days that Standard Webhooks recommends: 0, 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h,
    /// 20 h, 24 h.
    fn default() -> Self {
        const SECS: [u64; 9] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
        Self::Delays(SECS.map(Span::from_secs).to_vec())
    }
}

impl RetryPolicy {
    /// How many attempts may follow the first.
    pub fn retries(&self) -> u32 {
        match self {
            Self::Delays(delays) => u32::try_from(delays.len()).unwrap_or(u32::MAX),
            Self::Fixed { retries, .. } | Self::Exponential { retries, .. } => *retries,
        }
    }

    /// The delay after the attempt that spent the budget to `spent` (1 after the first), or `None` when it is
    /// exhausted. `random` lies in 0..1; a fixed policy ignores it.
    pub fn delay_after(&self, spent: u32, random: f64) -> Option<Duration> {
        (spent <= self.retries()).then(|| self.pace(spent, random))
    }

    /// The same delay without a limit to the count: past the end the last delay repeats. For probes.
    pub fn pace(&self, count: u32, random: f64) -> Duration {
        let nth = count.saturating_sub(1);
        match self {
            Self::Delays(delays) => {
                let last = delays.len().saturating_sub(1);
                let place = usize::try_from(nth).unwrap_or(last).min(last);
                jitter(delays.get(place).copied().unwrap_or(Span::from_secs(5)), random)
            }
            Self::Fixed { delay, .. } => delay.as_duration(),
            Self::Exponential {
                base, factor, max, ..
            } => {
                let grown = u64::from(*factor)
                    .saturating_pow(nth)
                    .saturating_mul(base.as_millis());
                jitter(Span::from_millis(grown.min(max.as_millis())), random)
            }
        }
    }
}

fn jitter(mean: Span, random: f64) -> Duration {
    mean.as_duration()
        .mul_f64(1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0))
}

fn checked(delay: Span) -> Result<Span, InvalidRetry> {
    let fits = delay >= SHORTEST && delay.as_duration() <= limits::RETRY_DELAY;
    if fits { Ok(delay) } else { Err(InvalidRetry::Delay) }
}

impl TryFrom<RetryDocument> for RetryPolicy {
    type Error = InvalidRetry;

    fn try_from(document: RetryDocument) -> Result<Self, Self::Error> {
        let RetryDocument {
            delays,
            retries,
            delay,
            base,
            factor,
            max,
        } = document;
        let count = |retries: u32| {
            (retries <= limits::RETRIES)
                .then_some(retries)
                .ok_or(InvalidRetry::Retries)
        };
        match (delays, retries, delay, base, factor, max) {
            (Some(delays), None, None, None, None, None) => {
                count(u32::try_from(delays.len()).unwrap_or(u32::MAX))?;
                delays
                    .into_iter()
                    .map(checked)
                    .collect::<Result<_, _>>()
                    .map(Self::Delays)
            }
            (None, Some(retries), Some(delay), None, None, None) => Ok(Self::Fixed {
                retries: count(retries)?,
                delay: checked(delay)?,
            }),
            (None, Some(retries), None, Some(base), Some(factor), Some(max)) => {
                if !(1..=10).contains(&factor) {
                    return Err(InvalidRetry::Factor);
                }
                let (base, max) = (checked(base)?, checked(max)?);
                if max < base {
                    return Err(InvalidRetry::Max);
                }
                Ok(Self::Exponential {
                    base,
                    factor,
                    max,
                    retries: count(retries)?,
                })
            }
            _ => Err(InvalidRetry::Shape),
        }
    }
}

impl From<RetryPolicy> for RetryDocument {
    fn from(policy: RetryPolicy) -> Self {
        let empty = Self {
            delays: None,
            retries: None,
            delay: None,
            base: None,
            factor: None,
            max: None,
        };
        match policy {
            RetryPolicy::Delays(delays) => Self {
                delays: Some(delays),
                ..empty
            },
            RetryPolicy::Fixed { retries, delay } => Self {
                retries: Some(retries),
                delay: Some(delay),
                ..empty
            },
            RetryPolicy::Exponential {
                base,
                factor,
                max,
                retries,
            } => Self {
                base: Some(base),
                factor: Some(factor),
                max: Some(max),
                retries: Some(retries),
                ..empty
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(json: &str) -> Result<RetryPolicy, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_makes_ten_attempts() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay_after(1, 0.5), Some(Duration::from_secs(5)));
        assert_eq!(policy.delay_after(9, 0.5), Some(Duration::from_secs(86_400)));
        assert_eq!(policy.delay_after(10, 0.5), None);
    }

    #[test]
    fn each_shape_reads_back_and_no_other_does() {
        for json in [
            r#"{"delays":["5s","5m"]}"#,
            r#"{"delays":[]}"#,
            r#"{"retries":3,"delay":"5s"}"#,
            r#"{"retries":5,"base":"1s","factor":2,"max":"1h"}"#,
        ] {
            let read = policy(json).unwrap();
            assert_eq!(policy(&serde_json::to_string(&read).unwrap()).unwrap(), read);
        }
        for json in [
            "{}",
            r#"{"delays":["0s"]}"#,
            r#"{"retries":-1,"delay":"5s"}"#,
            r#"{"retries":1000000000,"delay":"5s"}"#,
            r#"{"retries":3,"delay":"0s"}"#,
            r#"{"retries":3}"#,
            r#"{"delays":["5s"],"retries":1}"#,
            r#"{"retries":5,"base":"1s","factor":0,"max":"1h"}"#,
            r#"{"retries":5,"base":"1h","factor":2,"max":"1s"}"#,
            r#"{"delays":["5s"],"jitter":1}"#,
        ] {
            assert!(policy(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn jitter_strays_at_most_a_fifth(spent in 1..10u32, random in 0.0..1.0f64) {
            let policy = RetryPolicy::default();
            let mean = policy.delay_after(spent, 0.5).unwrap();
            let delay = policy.delay_after(spent, random).unwrap();
            prop_assert!(delay >= mean.mul_f64(0.799) && delay <= mean.mul_f64(1.201));
        }

        #[test]
        fn growth_stays_within_its_maximum(spent in 1..1000u32, random in 0.0..1.0f64) {
            let policy = policy(r#"{"retries":1000,"base":"1s","factor":10,"max":"1h"}"#).unwrap();
            prop_assert!(policy.delay_after(spent, random).unwrap() <= Duration::from_secs(4321));
        }
    }
}
