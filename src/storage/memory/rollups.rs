//! Rollups: everything that they count is still there, so that they are made when they are asked for.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{MemoryStorage, state::State};
use crate::{
    domain::{
        rollup::{Rollup, Series, Sums},
        time::Timestamp,
    },
    storage::{
        StorageError,
        rollups::{RollupQuery, Rollups, RollupsRead},
    },
};

#[async_trait]
impl Rollups for MemoryStorage {
    async fn rollups(&self, query: RollupQuery) -> Result<Option<RollupsRead>, StorageError> {
        self.read(|state| Some(state.rollups(&query))).await
    }
}

impl State {
    fn rollups(&self, query: &RollupQuery) -> RollupsRead {
        let mut sums: BTreeMap<Timestamp, Sums> = BTreeMap::new();
        for event in self.events.values() {
            let at = query.interval.of(event.accepted.accepted_at);
            sums.entry(at).or_default().event(&event.accepted);
        }
        for attempt in self.attempts.values() {
            let at = query.interval.of(attempt.ended_at());
            sums.entry(at).or_default().attempt(attempt);
        }
        let first = query.interval.of(query.since);
        let wanted = sums
            .into_iter()
            .filter(|(at, _)| (first..=query.until).contains(at));
        let own = wanted.map(|(at, mut sums)| {
            let own = match &query.series {
                Series::All => sums.all,
                Series::Tenant(tenant) => sums.tenants.of(tenant).clone(),
                Series::Endpoint(endpoint) => sums.endpoints.of(endpoint).clone(),
            };
            (at, own)
        });
        RollupsRead {
            intervals: own.filter(|(_, rollup)| *rollup != Rollup::default()).collect(),
            left_out: false,
        }
    }
}
