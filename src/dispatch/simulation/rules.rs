//! The rules: what must hold whenever an attempt begins, or time passes.

use std::time::Duration;

use super::{super::engine::Shared, lane_facts::LaneFacts, model::Known, stage::Inner};
use crate::{
    domain::{
        configuration::ConfigChange,
        delivery::Trigger,
        endpoint::{Endpoint, EndpointState, StateChange},
        id::{DeliveryKey, EndpointId},
        record::Record,
        time::Timestamp,
    },
    storage::schedule::DueDelivery,
};

/// Nothing that may be sent waits for longer, in milliseconds.
const LATE: u64 = 60_000;
/// A wall clock that is off by less is followed at once.
const NEAR: Duration = Duration::from_secs(121);
/// One that is off by more is not followed before it was left alone for so long, in milliseconds.
const CONFIRMED: u64 = 600_000;
/// 2026, in milliseconds: a wall clock before it is never followed back.
const LONG_AGO: u64 = 1_767_225_600_000;

impl Inner {
    /// Takes note of what a record that is applied now does to lanes.
    pub fn take_note(&mut self, record: &Record) {
        let now = self.now();
        match record {
            Record::AttemptSettled(attempt) => {
                if let Some(key) = attempt.delivery {
                    self.unsettled.remove(&key);
                }
            }
            Record::Configured(configured) => {
                configured
                    .changes
                    .iter()
                    .for_each(|change| self.take_note_of(change, now));
            }
            _ => {}
        }
    }

    fn take_note_of(&mut self, change: &ConfigChange, now: u64) {
        match change {
            ConfigChange::EndpointPut(put) => {
                if let Some(facts) = self.lanes.get_mut(&put.id) {
                    facts.saved();
                    facts.idle_since = None;
                }
            }
            ConfigChange::EndpointChanged(changed) => {
                if let (Some(facts), StateChange::Enable { .. }) =
                    (self.lanes.get_mut(&changed.id), changed.change)
                {
                    facts.changed(now);
                }
            }
            _ => {}
        }
    }

    /// Lanes without work may be dropped.
    pub fn lanes_may_be_gone(&mut self) {
        for (id, facts) in &mut self.lanes {
            let idle = self
                .model
                .open
                .get(id)
                .is_none_or(std::collections::HashSet::is_empty);
            let held = self
                .model
                .endpoints
                .get(id)
                .is_none_or(|known| known.deleted || known.state != EndpointState::Active);
            if idle || held {
                facts.may_be_gone();
            }
        }
    }

    pub fn facts(&mut self, id: EndpointId) -> &mut LaneFacts {
        let errors = self.model.endpoints.get(&id).map_or(0, |known| known.errors);
        self.lanes
            .entry(id)
            .or_insert_with(|| LaneFacts::new(errors, true))
    }

    fn out_to(&self, id: EndpointId) -> usize {
        self.out.values().filter(|out| out.endpoint == id).count()
    }

    /// What the rules say of an attempt that begins.
    pub fn may_begin(
        &mut self,
        shared: &Shared,
        endpoint: &Endpoint,
        row: &DueDelivery,
        trigger: Trigger,
        now: Timestamp,
    ) {
        let (key, at) = (row.delivery.key, self.now());
        if self.out.contains_key(&key) {
            self.wrong(format!("{key:?} is out twice at once"));
        }
        if self.unsettled.contains_key(&key) {
            self.wrong(format!(
                "{key:?} goes out before its last verdict is in the store"
            ));
        }
        let Some(known) = self.model.deliveries.get(&key).cloned() else {
            self.wrong(format!("{key:?} is nobody's delivery"));
            return;
        };
        // What a person changed at this very moment the lane may not have heard of.
        if known.changed_at != at {
            self.is_due(key, &known, row, endpoint, now);
        }
        self.is_let_out(shared, endpoint, key, at);
        self.is_its_turn(endpoint, key, &known, at);
        let out = self.out_to(endpoint.id);
        let concurrency = endpoint.spec.concurrency.unwrap_or(shared.options.concurrency);
        if out >= usize::from(concurrency) {
            self.wrong(format!("{key:?} goes beyond its endpoint's concurrency"));
        }
        if self.out.len() >= shared.options.max_in_flight {
            self.wrong(format!("{key:?} goes beyond what may be in flight"));
        }
        let facts = self.facts(endpoint.id);
        let objection = facts.breaker_objects(trigger, now, out);
        let token = facts.takes_token(endpoint.rate(), at);
        let quiet = now < facts.quiet_until && trigger != Trigger::Probe && facts.troubled && out > 0;
        facts.idle_since = None;
        if let Some(objection) = objection {
            self.wrong(format!("{key:?} {objection}"));
        }
        if !token {
            self.wrong(format!("{key:?} goes beyond its endpoint's rate"));
        }
        if quiet {
            self.wrong(format!(
                "{key:?} goes out beside another while trouble of our own lasts"
            ));
        }
    }

    fn is_due(
        &mut self,
        key: DeliveryKey,
        known: &Known,
        row: &DueDelivery,
        endpoint: &Endpoint,
        now: Timestamp,
    ) {
        if let Some(how) = known.ended {
            self.wrong(format!("{key:?} goes out although it is {how}"));
        }
        if now < known.due || row.due != known.due {
            let (due, row) = (known.due, row.due);
            self.wrong(format!(
                "{key:?} goes out at {now}, is due at {due}, by its row at {row}"
            ));
        }
        if known.expires_at.is_some_and(|at| at <= now) {
            self.wrong(format!("{key:?} goes out after it expired"));
        }
        let expected = match (known.tried, known.attempts, known.spent) {
            (false, 0, _) => known.created_at,
            _ => Timestamp::EPOCH,
        };
        if now < expected {
            self.wrong(format!("{key:?} goes out before it was created"));
        }
        if known.tried && known.spent > endpoint.spec.policy().retry.retries() {
            // Unless the policy was shortened since.
            let retries = endpoint.spec.policy().retry.retries();
            let spent = known.spent;
            self.say(&format!("{key:?} has spent {spent} of {retries}"));
        }
    }

    fn is_let_out(&mut self, shared: &Shared, endpoint: &Endpoint, key: DeliveryKey, at: u64) {
        let Some(known) = self.model.endpoints.get(&endpoint.id).cloned() else {
            self.wrong(format!("{key:?} goes to an endpoint that nobody created"));
            return;
        };
        if known.changed_at == at {
            return;
        }
        if known.deleted || known.state != EndpointState::Active {
            let state = known.state;
            self.wrong(format!("{key:?} goes to an endpoint that is {state:?}"));
        }
        if shared
            .registry
            .get(endpoint.id)
            .is_none_or(|now| *now != *endpoint)
        {
            self.wrong(format!("{key:?} goes by an old configuration"));
        }
    }

    /// What the endpoint's order has to say.
    fn is_its_turn(&mut self, endpoint: &Endpoint, key: DeliveryKey, known: &Known, at: u64) {
        let ordering = endpoint.spec.ordering;
        let Some(strand) = ordering.strand(known.key) else {
            return;
        };
        let mut wrong = Vec::new();
        let others = self.model.open.get(&endpoint.id).into_iter().flatten();
        for other in others.filter(|other| **other != key) {
            let Some(of_other) = self.model.deliveries.get(other) else {
                continue;
            };
            if ordering.strand(of_other.key) != Some(strand) || of_other.changed_at == at {
                continue;
            }
            let busy = self.out.contains_key(other) || self.unsettled.contains_key(other);
            // An order that was set a moment ago finds what is out as it is.
            if busy {
                wrong.push(format!("{key:?} goes out beside {other:?} of its strand"));
            }
            let passes = of_other.rank < known.rank && known.changed_at != at;
            let may_pass = !ordering.blocks() && (of_other.tried || known.tried);
            if passes && !may_pass {
                wrong.push(format!("{key:?} passes {other:?} of its strand"));
            }
        }
        wrong.sort();
        wrong.into_iter().for_each(|what| self.wrong(what));
    }

    /// What must hold at any time. `now` is engine time; `None` while the store is not there.
    pub fn tick(&mut self, shared: &Shared, ready: bool) {
        let (at, now) = (self.now(), shared.clock.now());
        self.time_runs(now, at);
        self.wall_is_followed(shared, now, at);
        if !ready {
            // What a store finds recorded when it is rebuilt may raise engine time.
            self.shown = None;
        }
        let ids: Vec<EndpointId> = self.model.open.keys().copied().collect();
        for id in ids {
            let waits = ready && self.could_send(shared, id, now);
            if !waits {
                if let Some(facts) = self.lanes.get_mut(&id) {
                    facts.idle_since = None;
                }
                continue;
            }
            let since = *self.facts(id).idle_since.get_or_insert(at);
            if at - since > LATE {
                let ordinal = self.model.ordinal(id);
                self.wrong(format!(
                    "e{ordinal} could be sent to for {} ms, and is not",
                    at - since
                ));
                self.facts(id).idle_since = None;
            }
        }
    }

    /// Engine time never runs back, and hardly slower than time.
    fn time_runs(&mut self, now: Timestamp, at: u64) {
        if let Some((shown, then)) = self.shown {
            let passed = at - then;
            let least = shown.plus(Duration::from_millis((passed - passed / 1900).saturating_sub(2)));
            if now < least {
                self.wrong(format!("engine time is {now}, {passed} ms after {shown}"));
            }
            let leaps = now > shown.plus(Duration::from_millis(passed) + NEAR);
            if leaps && at - self.wall_set_at < CONFIRMED {
                self.wrong(format!(
                    "engine time leaps to {now} from {shown}, {passed} ms before"
                ));
            }
        }
        self.shown = Some((now, at));
    }

    /// A wall clock that is left alone is followed in the end, unless it shows the time of a machine without a battery.
    fn wall_is_followed(&mut self, shared: &Shared, now: Timestamp, at: u64) {
        let (wall, shown) = (self.wall, shared.clock.shown(now));
        let off = wall.since(shown).max(shown.since(wall));
        let left_alone = at - self.wall_set_at > CONFIRMED + 2 * LATE;
        if left_alone && off > NEAR + Duration::from_millis(LATE) && wall.as_millis() > LONG_AGO {
            self.wrong(format!("the wall clock shows {wall}, and {shown} is believed"));
        }
    }

    /// Whether something of an endpoint is due and nothing stands in its way.
    fn could_send(&mut self, shared: &Shared, id: EndpointId, now: Timestamp) -> bool {
        let Some(endpoint) = shared.registry.get(id).filter(|endpoint| endpoint.is_active()) else {
            return false;
        };
        if !shared.slots.would_give(&endpoint) || self.unsettled.values().any(|endpoint| *endpoint == id) {
            return false;
        }
        let concurrency = endpoint.spec.concurrency.unwrap_or(shared.options.concurrency);
        let out = self.out_to(id);
        let facts = self.facts(id);
        if now < facts.quiet_until || out >= facts.allows(concurrency) {
            return false;
        }
        let open = self.model.open.get(&id).into_iter().flatten();
        let mut due = open.filter(|key| {
            self.model
                .deliveries
                .get(key)
                .is_some_and(|known| known.due <= now && !self.out.contains_key(key))
        });
        due.any(|key| self.is_free(&endpoint, *key))
    }

    /// Whether nothing of its strand holds a delivery up.
    fn is_free(&self, endpoint: &Endpoint, key: DeliveryKey) -> bool {
        let ordering = endpoint.spec.ordering;
        let Some(known) = self.model.deliveries.get(&key) else {
            return false;
        };
        let Some(strand) = ordering.strand(known.key) else {
            return true;
        };
        let mut others = self.model.open.get(&endpoint.id).into_iter().flatten();
        !others.any(|other| {
            let Some(of_other) = self.model.deliveries.get(other).filter(|_| *other != key) else {
                return false;
            };
            ordering.strand(of_other.key) == Some(strand)
                && (self.out.contains_key(other) || of_other.rank < known.rank)
        })
    }
}
