//! The heart: what an attempt's outcome does to its delivery and to its endpoint.
//!
//! [`settle`] is pure and total. The dispatcher calls it once for each attempt, writes the verdict to the journal
//! as it stands, and the store applies it as it stands; nothing is decided twice.

use std::time::Duration;

use super::{
    delivery::{Progress, Stage},
    duration::Span,
    endpoint::{DisableOn, DisableWhy, DisabledReason},
    health::Health,
    outcome::{Class, Outcome, Reason, RetryAfter},
    retry::RetryPolicy,
    time::Timestamp,
};

/// What an endpoint has to say about failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub retry: RetryPolicy,
    pub disable_on: DisableOn,
    /// How many counted errors in a row disable.
    pub disable_after: u32,
    /// Nothing but failures for this long disables.
    pub failing_for: Span,
    /// The longest `Retry-After` that is obeyed.
    pub retry_after_max: Span,
}

/// What to write down after an attempt.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub stage: Stage,
    pub progress: Progress,
    pub health: Health,
    /// Set when this attempt disables its endpoint.
    pub disable: Option<DisabledReason>,
}

/// How long to wait after trouble of our own: long enough not to spin, short enough not to be late.
pub const OURS_DELAY: Duration = Duration::from_secs(5);

/// Judges one attempt that ended at `now`. `random` lies in 0..1.
pub fn settle(
    progress: Progress,
    health: Health,
    outcome: &Outcome,
    policy: &Policy,
    now: Timestamp,
    random: f64,
) -> Verdict {
    match outcome.class {
        Class::Delivered => {
            let progress = Progress {
                spent: progress.spent.saturating_add(1),
                all_suspect: false,
            };
            Verdict {
                stage: Stage::Delivered,
                progress,
                health: health.delivered(now),
                disable: None,
            }
        }
        Class::Ours => {
            let due = now.plus(OURS_DELAY.mul_f64(0.5 + random.clamp(0.0, 1.0)));
            Verdict {
                stage: Stage::Scheduled { due },
                progress,
                health,
                disable: None,
            }
        }
        Class::Transient | Class::EndpointError | Class::EventError => {
            failed(progress, health, outcome, policy, now, random)
        }
    }
}

fn failed(
    progress: Progress,
    health: Health,
    outcome: &Outcome,
    policy: &Policy,
    now: Timestamp,
    random: f64,
) -> Verdict {
    let progress = Progress {
        spent: progress.spent.saturating_add(1),
        all_suspect: progress.all_suspect && outcome.suspect,
    };
    let delay = policy.retry.delay_after(progress.spent, random);
    let exhausted_suspect = delay.is_none() && progress.all_suspect;
    let about_the_event = matches!(outcome.class, Class::EventError);
    // An event whose record is damaged here was never sent: nobody's fault but the disk's.
    let never_sent = about_the_event && matches!(outcome.reason, Reason::Fault(_));
    let counts = !never_sent && counts(policy.disable_on, outcome, exhausted_suspect);
    let blames_endpoint = counts || !about_the_event;
    let health = match (blames_endpoint, never_sent) {
        (true, _) => health.failed(now, counts),
        (false, false) => Health {
            last_failure_at: Some(now),
            ..health
        },
        (false, true) => health,
    };
    let disable = if blames_endpoint {
        disabling(policy, &health, outcome, counts, exhausted_suspect)
    } else {
        None
    };

    let stage = match (about_the_event, disable, delay) {
        (true, _, _) => Stage::Failed,
        (false, Some(_), _) => Stage::Scheduled { due: now },
        (false, None, Some(delay)) => Stage::Scheduled {
            due: now.plus(delay).max(earliest(outcome, policy, now)),
        },
        (false, None, None) => Stage::Failed,
    };
    let held = disable.is_some() && !about_the_event;
    // A delivery that is held because its own attempt disabled the endpoint starts afresh when it is released.
    let progress = if held { Progress::default() } else { progress };
    Verdict {
        stage,
        progress,
        health,
        disable,
    }
}

/// The instant before which the receiver asked not to be tried.
pub fn earliest(outcome: &Outcome, policy: &Policy, now: Timestamp) -> Timestamp {
    let asked = match outcome.retry_after {
        None => return now,
        Some(RetryAfter::Delay(delay)) => now.plus(delay.as_duration()),
        Some(RetryAfter::At(at)) => at,
    };
    asked.min(now.plus(policy.retry_after_max.as_duration()))
}

/// Whether a failure counts towards disabling under the endpoint's rule.
fn counts(rule: DisableOn, outcome: &Outcome, exhausted_suspect: bool) -> bool {
    let endpoint_error = exhausted_suspect || matches!(outcome.class, Class::EndpointError);
    match rule {
        DisableOn::Never => false,
        DisableOn::GoneOnly => outcome.status == Some(410) || outcome.reason == Reason::DisableRequested,
        DisableOn::EndpointErrors => endpoint_error,
        DisableOn::AnyNonTransient => endpoint_error || matches!(outcome.class, Class::EventError),
    }
}

fn disabling(
    policy: &Policy,
    health: &Health,
    outcome: &Outcome,
    counts: bool,
    exhausted_suspect: bool,
) -> Option<DisabledReason> {
    let why = if counts && health.errors >= policy.disable_after {
        match (outcome.class, exhausted_suspect) {
            (Class::EventError, _) => DisableWhy::EventError,
            (_, true) => DisableWhy::SuspectExhausted,
            (_, false) => DisableWhy::EndpointError,
        }
    } else if policy.disable_on != DisableOn::Never
        && health.failing_for() >= policy.failing_for.as_duration()
    {
        DisableWhy::FailingFor
    } else {
        return None;
    };
    Some(DisabledReason {
        why,
        reason: Some(outcome.reason),
        status: outcome.status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::{Fault, Observation, classify};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn policy() -> Policy {
        Policy {
            retry: RetryPolicy::Fixed {
                retries: 3,
                delay: Span::from_secs(5),
            },
            disable_on: DisableOn::EndpointErrors,
            disable_after: 1,
            failing_for: Span::from_secs(5 * 86_400),
            retry_after_max: Span::from_secs(86_400),
        }
    }

    fn status(status: u16) -> Outcome {
        answered(status, None)
    }

    fn answered(status: u16, retry_after: Option<RetryAfter>) -> Outcome {
        let seen = Observation::Response {
            status,
            directive: None,
            retry_after,
            body_broken: false,
        };
        classify(seen, &Default::default())
    }

    fn fault(fault: Fault) -> Outcome {
        classify(Observation::Fault(fault), &Default::default())
    }

    fn judge(progress: Progress, outcome: &Outcome, policy: &Policy) -> Verdict {
        settle(progress, Health::default(), outcome, policy, NOW, 0.5)
    }

    #[test]
    fn a_transient_failure_is_retried_until_the_policy_is_spent() {
        let mut progress = Progress::default();
        for _ in 0..3 {
            let verdict = judge(progress, &status(500), &policy());
            assert_eq!(
                verdict.stage,
                Stage::Scheduled {
                    due: NOW.plus(Duration::from_secs(5))
                }
            );
            progress = verdict.progress;
        }
        let verdict = judge(progress, &status(500), &policy());
        assert_eq!((verdict.stage, verdict.disable), (Stage::Failed, None));
    }

    #[test]
    fn retry_after_is_a_lower_bound_with_a_cap() {
        let due = |after: u64| {
            let outcome = answered(503, Some(RetryAfter::Delay(Span::from_secs(after))));
            judge(Progress::default(), &outcome, &policy())
                .stage
                .due()
                .unwrap()
                .since(NOW)
                .as_secs()
        };
        assert_eq!((due(1), due(60), due(1_000_000)), (5, 60, 86_400));
        let past = answered(503, Some(RetryAfter::At(Timestamp::EPOCH)));
        assert_eq!(
            judge(Progress::default(), &past, &policy())
                .stage
                .due()
                .unwrap()
                .since(NOW)
                .as_secs(),
            5
        );
    }

    #[test]
    fn an_endpoint_error_disables_and_holds_its_delivery_with_a_fresh_budget() {
        let verdict = judge(
            Progress {
                spent: 2,
                all_suspect: false,
            },
            &status(410),
            &policy(),
        );
        assert_eq!(verdict.stage, Stage::Scheduled { due: NOW });
        assert_eq!(verdict.progress, Progress::default());
        let disabled = verdict.disable.unwrap();
        assert_eq!(
            (disabled.why, disabled.status),
            (DisableWhy::EndpointError, Some(410))
        );
    }

    #[test]
    fn an_event_error_fails_the_delivery_and_spares_the_endpoint() {
        let verdict = judge(Progress::default(), &status(422), &policy());
        assert_eq!((verdict.stage, verdict.disable), (Stage::Failed, None));
        let strict = Policy {
            disable_on: DisableOn::AnyNonTransient,
            ..policy()
        };
        let verdict = judge(Progress::default(), &status(422), &strict);
        assert_eq!(verdict.stage, Stage::Failed);
        assert_eq!(verdict.disable.unwrap().why, DisableWhy::EventError);
    }

    #[test]
    fn suspect_failures_become_an_endpoint_error_when_there_was_nothing_else() {
        let mut progress = Progress::default();
        for _ in 0..3 {
            let verdict = judge(progress, &fault(Fault::TlsExpired), &policy());
            assert_eq!(verdict.disable, None);
            progress = verdict.progress;
        }
        let verdict = judge(progress, &fault(Fault::TlsExpired), &policy());
        assert_eq!(verdict.disable.unwrap().why, DisableWhy::SuspectExhausted);
        assert!(!verdict.stage.is_final());

        let mixed = Progress {
            all_suspect: false,
            ..progress
        };
        let verdict = judge(mixed, &fault(Fault::TlsExpired), &policy());
        assert_eq!((verdict.stage, verdict.disable), (Stage::Failed, None));
    }

    #[test]
    fn trouble_of_our_own_spends_nothing_and_blames_nobody() {
        let verdict = judge(Progress::default(), &fault(Fault::Descriptors), &policy());
        assert_eq!(
            (verdict.progress, verdict.health),
            (Progress::default(), Health::default())
        );
        assert!(verdict.stage.due().unwrap() > NOW);
    }

    #[test]
    fn several_errors_in_a_row_may_be_asked_for() {
        let patient = Policy {
            disable_after: 2,
            ..policy()
        };
        let first = judge(Progress::default(), &status(404), &patient);
        assert_eq!(first.disable, None);
        assert_eq!(
            first.stage,
            Stage::Scheduled {
                due: NOW.plus(Duration::from_secs(5))
            }
        );
        let second = settle(first.progress, first.health, &status(404), &patient, NOW, 0.5);
        assert!(second.disable.is_some());
    }

    #[test]
    fn event_errors_and_our_own_damage_say_nothing_about_the_endpoint() {
        let failing = Health {
            failures: 9,
            failing_millis: 6 * 86_400_000,
            ..Health::default()
        };
        let verdict = settle(Progress::default(), failing, &status(422), &policy(), NOW, 0.5);
        let noted = Health {
            last_failure_at: Some(NOW),
            ..failing
        };
        assert_eq!((verdict.disable, verdict.health), (None, noted));
        let strict = Policy {
            disable_on: DisableOn::AnyNonTransient,
            ..policy()
        };
        let damaged = Outcome {
            class: Class::EventError,
            ..fault(Fault::Disk)
        };
        let verdict = settle(
            Progress::default(),
            Health::default(),
            &damaged,
            &strict,
            NOW,
            0.5,
        );
        assert_eq!(
            (verdict.stage, verdict.disable, verdict.health),
            (Stage::Failed, None, Health::default())
        );
    }

    #[test]
    fn days_of_nothing_but_failures_disable_unless_the_rule_is_never() {
        let health = Health {
            failures: 9,
            failing_millis: 5 * 86_400_000,
            last_failure_at: Some(NOW),
            ..Health::default()
        };
        let judge =
            |policy: &Policy| settle(Progress::default(), health, &status(500), policy, NOW, 0.5).disable;
        assert_eq!(judge(&policy()).unwrap().why, DisableWhy::FailingFor);
        assert_eq!(
            judge(&Policy {
                disable_on: DisableOn::Never,
                ..policy()
            }),
            None
        );
    }
}
