//! The end: what the store says must be what the journal says, and nothing may be missing.

use super::{driver::Driver, life::Life, model::Model, stage::Inner};
use crate::{
    domain::{
        delivery::{Counts, Delivery, Stage},
        endpoint::EndpointState,
    },
    storage::local::index::Store,
};

impl Inner {
    /// Holds the store against the model: every delivery, every count.
    pub fn compare(&mut self, store: &Store) {
        let mut wrong = Vec::new();
        let mut counts = Counts::default();
        for (key, known) in &self.model.deliveries {
            let Some(row) = store.delivery(*key).unwrap() else {
                wrong.push(format!("{key:?} is not in the store"));
                continue;
            };
            *counts.of(row.stage) += 1;
            if difference(&row, known).is_some() {
                wrong.push(format!("{key:?} is {row:?}, and should be {known:?}"));
            }
        }
        counts.attempts = self.model.attempts;
        let totals = store.totals().unwrap();
        if totals.deliveries != counts || totals.events != self.model.events.len() as u64 {
            wrong.push(format!(
                "the store counts {totals:?}, and should count {counts:?}"
            ));
        }
        for id in self.model.endpoints.keys() {
            let of = self.model.open.get(id).map_or(0, std::collections::HashSet::len) as u64;
            let tally = store.tally(*id).unwrap().deliveries.scheduled;
            if tally != of {
                wrong.push(format!(
                    "an endpoint has {of} deliveries open, and the store counts {tally}"
                ));
            }
        }
        wrong.extend(store.check().unwrap().faults);
        wrong.into_iter().for_each(|what| self.wrong(what));
    }

    /// Nothing that was answered with a 202 is missing.
    pub fn nothing_is_missing(&mut self, driver: &Driver) {
        let mut wrong = Vec::new();
        for (_, id, deliveries) in &driver.acked {
            let Some(lsn) = self.model.event_by_id(id.as_str()) else {
                wrong.push(format!("event {id} was acknowledged and is gone"));
                continue;
            };
            let found = self
                .model
                .deliveries
                .iter()
                .filter(|(key, known)| key.lsn == lsn && known.event == lsn)
                .count();
            if found as u64 != u64::from(*deliveries) {
                wrong.push(format!(
                    "event {id} has {found} deliveries in place of {deliveries}"
                ));
            }
        }
        wrong.into_iter().for_each(|what| self.wrong(what));
    }

    /// How everything stands when all has healed and the clock has run on.
    pub fn all_has_ended(&mut self, life: &Life) {
        let mut wrong = Vec::new();
        for (key, known) in &self.model.deliveries {
            let held = self
                .model
                .endpoints
                .get(&known.endpoint)
                .is_some_and(|at| at.state != EndpointState::Active && !at.deleted);
            match known.ended {
                Some("delivered") => {
                    let event = &self.model.events[&known.event];
                    if !self
                        .taken
                        .contains(&(known.endpoint, event.id.as_str().to_owned()))
                    {
                        wrong.push(format!("{key:?} is delivered, and nobody has it"));
                    }
                }
                Some("failed" | "expired" | "cancelled") => {}
                None if held => {}
                Some(_) | None => wrong.push(format!("{key:?} has not ended: {known:?}")),
            }
        }
        let Model {
            disablings,
            notices,
            notices_spared,
            endpoints,
            ..
        } = &self.model;
        let due = endpoints.values().filter(|known| known.notice_due).count() as u64;
        if *disablings != notices + notices_spared + due || due > 0 {
            wrong.push(format!(
                "{disablings} endpoints were disabled by a rule, {notices} notices given, {notices_spared} spared, \
                 {due} due"
            ));
        }
        wrong.into_iter().for_each(|what| self.wrong(what));
        if let Ok(store) = life.shared.storage.get() {
            self.compare(&store);
        }
    }
}

/// What a row says otherwise than the model.
fn difference(row: &Delivery, known: &super::model::Known) -> Option<&'static str> {
    let ended = row.stage.is_final().then(|| row.stage.as_str());
    let due = match row.stage {
        Stage::Scheduled { due } => due == known.due,
        Stage::Delivered | Stage::Failed | Stage::Expired | Stage::Cancelled => true,
    };
    if ended != known.ended {
        return Some("stage");
    }
    if !due {
        return Some("due");
    }
    if row.attempts != known.attempts || row.progress.spent != known.spent {
        return Some("attempts");
    }
    (row.expires_at != known.expires_at || row.endpoint != known.endpoint).then_some("rest")
}
