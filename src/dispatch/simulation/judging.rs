//! What must hold of a verdict: an attempt's end is fair to its delivery and to its endpoint.

use std::time::Duration;

use super::{super::engine::Shared, lane_facts::asked, model::Known, stage::Inner};
use crate::domain::{
    delivery::{Progress, Stage},
    endpoint::{DisableOn, DisableWhy, Endpoint},
    id::DeliveryKey,
    outcome::{Class, Reason, status_class},
    record::AttemptSettled,
    settle,
    time::Timestamp,
};

impl Inner {
    /// What the rules say of a verdict.
    pub fn may_judge(&mut self, shared: &Shared, key: DeliveryKey, record: &AttemptSettled, now: Timestamp) {
        let at = self.now();
        let Some(out) = self.out.remove(&key) else {
            self.wrong(format!("{key:?} is judged and was not out"));
            return;
        };
        self.unsettled.insert(key, record.endpoint);
        if out.trigger != record.trigger {
            self.wrong(format!("{key:?} is recorded with another trigger"));
        }
        let (Some(known), Some(endpoint)) = (
            self.model.deliveries.get(&key).cloned(),
            shared.registry.get(record.endpoint),
        ) else {
            return;
        };
        if record.number != known.attempts + 1 {
            self.wrong(format!("{key:?} counts its attempts wrong: {}", record.number));
        }
        if record.class == Class::Delivered {
            let id = record.event_id.as_str().to_owned();
            if !self.taken.contains(&(record.endpoint, id)) {
                self.wrong(format!("{key:?} is called delivered, and nobody has it"));
            }
        }
        let changed = self
            .model
            .endpoints
            .get(&record.endpoint)
            .is_none_or(|known| known.changed_at >= out.at);
        self.counts_errors(&endpoint, &known, record);
        if !changed && known.changed_at < out.at {
            self.is_fair(&endpoint, key, &known, record, now);
        }
        let facts = self.facts(record.endpoint);
        facts.learn(shared, &endpoint, record, (now, at));
    }

    fn counts_errors(&mut self, endpoint: &Endpoint, known: &Known, record: &AttemptSettled) {
        let forgiven = record.started_at < endpoint.standing.since;
        let counted = counts(endpoint, known, record);
        let facts = self.facts(record.endpoint);
        if record.class == Class::Delivered {
            facts.errors = 0;
        } else if counted && !forgiven {
            facts.errors += 1;
        }
    }

    /// Whether a verdict is what the endpoint's policy makes of it; nobody has changed the endpoint meanwhile.
    fn is_fair(
        &mut self,
        endpoint: &Endpoint,
        key: DeliveryKey,
        known: &Known,
        record: &AttemptSettled,
        now: Timestamp,
    ) {
        let policy = endpoint.spec.policy();
        let errors = self.facts(record.endpoint).errors;
        let counted = counts(endpoint, known, record);
        let must = counted && errors >= policy.disable_after;
        let (wants, why) = (record.disable.is_some(), record.disable.map(|reason| reason.why));
        if must && !wants {
            self.wrong(format!("{key:?} should disable its endpoint, and does not"));
        }
        if wants && !must && why != Some(DisableWhy::FailingFor) {
            self.wrong(format!("{key:?} disables its endpoint after {errors} errors"));
        }
        if why == Some(DisableWhy::FailingFor)
            && record.health.failing_for() < policy.failing_for.as_duration()
        {
            self.wrong(format!("{key:?} disables its endpoint before its time"));
        }
        let (earliest, latest) = match self.window(endpoint, known, record, now) {
            Ok(window) => window,
            Err(stage) => {
                if record.stage.as_str() != stage {
                    self.wrong(format!("{key:?} is {:?}, and should be {stage}", record.stage));
                }
                return;
            }
        };
        let capped = |time: Timestamp| known.expires_at.map_or(time, |expires| time.min(expires));
        match record.stage {
            Stage::Scheduled { due } if (capped(earliest)..=capped(latest)).contains(&due) => {}
            other => self.wrong(format!(
                "{key:?} is {other:?}, and should be due from {earliest} to {latest}"
            )),
        }
    }

    /// When a delivery should be tried again, or how it should end.
    fn window(
        &mut self,
        endpoint: &Endpoint,
        known: &Known,
        record: &AttemptSettled,
        now: Timestamp,
    ) -> Result<(Timestamp, Timestamp), &'static str> {
        let policy = endpoint.spec.policy();
        let after = |millis| now.plus(Duration::from_millis(millis));
        match record.class {
            Class::Delivered => Err("delivered"),
            Class::EventError => Err("failed"),
            Class::Ours => {
                let untouched = Progress {
                    spent: known.spent,
                    all_suspect: known.all_suspect,
                };
                if record.progress != untouched {
                    self.wrong(format!(
                        "trouble of our own spends an attempt of {:?}",
                        record.delivery
                    ));
                }
                let base = u64::try_from(settle::OURS_DELAY.as_millis()).unwrap_or_default();
                Ok((after(base / 2), after(base * 3 / 2)))
            }
            Class::Transient | Class::EndpointError => {
                if record.disable.is_some() {
                    return Ok((now, now));
                }
                let spent = known.spent + 1;
                let (Some(least), Some(most)) = (
                    policy.retry.delay_after(spent, 0.0),
                    policy.retry.delay_after(spent, 1.0),
                ) else {
                    return Err("failed");
                };
                let cap = now.plus(policy.retry_after_max.as_duration());
                let asked = asked(record, now).unwrap_or(now).min(cap);
                Ok((now.plus(least).max(asked), now.plus(most).max(asked)))
            }
        }
    }
}

/// Whether an attempt counts towards disabling under the endpoint's rule.
fn counts(endpoint: &Endpoint, known: &Known, record: &AttemptSettled) -> bool {
    let policy = endpoint.spec.policy();
    let suspect = match (record.reason, record.status) {
        (Reason::Fault(fault), _) => fault.class().1,
        (_, Some(status)) => status_class(status).1,
        (_, None) => false,
    };
    let exhausted = record.class == Class::Transient
        && known.spent + 1 > policy.retry.retries()
        && known.all_suspect
        && suspect;
    let about_endpoint = record.class == Class::EndpointError || exhausted;
    match policy.disable_on {
        DisableOn::Never => false,
        DisableOn::GoneOnly => {
            matches!(
                record.class,
                Class::EndpointError | Class::EventError | Class::Transient
            ) && (record.status == Some(410) || record.reason == Reason::DisableRequested)
        }
        DisableOn::EndpointErrors => about_endpoint,
        DisableOn::AnyNonTransient => about_endpoint || record.class == Class::EventError,
    }
}
