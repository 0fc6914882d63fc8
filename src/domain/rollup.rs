//! Rollups: how much happened in a minute or an hour, in all, in a tenant and at an endpoint.
//!
//! A [`Rollup`] is a few counts and a histogram. [`Sums`] adds up what records say of one interval; a storage adds them to
//! what it has. A record is counted by what it says itself, whatever is known of its delivery: that may be gone when the record
//! is read again. Adding is commutative but for one thing: in an interval only the first [`MOST_SERIES`] tenants and
//! endpoints, in the order of the records, have a rollup of their own.

use std::{collections::HashMap, hash::Hash};

use serde::{Deserialize, Serialize};

use super::{
    delivery::Stage,
    event::Label,
    id::EndpointId,
    operational,
    outcome::Class,
    record::{AttemptSettled, EventAccepted},
    time::Timestamp,
};

mod histogram;

pub use histogram::{BUCKETS, Histogram, bounds};

/// Tenants, and endpoints, that have a rollup of their own in one interval. What goes beyond is counted in all alone, so that
/// an interval takes a bounded space.
pub const MOST_SERIES: u32 = if cfg!(test) { 8 } else { 1000 };

/// How long a rollup's interval is. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    Minute,
    Hour,
}

impl Interval {
    pub const fn millis(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        }
    }

    /// The beginning of the interval that a time is in.
    pub const fn of(self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.as_millis() - at.as_millis() % self.millis())
    }

    /// The beginning of the interval after the one that begins at `at`.
    pub const fn after(self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.as_millis() + self.millis())
    }
}

/// What a rollup is of. Ordinals are persisted: append only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Series {
    All,
    /// Events of a tenant, and what became of them. The server's own events are left out: they go to endpoints without a
    /// tenant as well, which are not for the tenant to see.
    Tenant(Label),
    Endpoint(EndpointId),
}

/// One interval, as it is in all of its series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholeInterval {
    pub interval: Interval,
    /// When it begins.
    pub at: Timestamp,
    pub series: Vec<(Series, Rollup)>,
}

/// The places of counts in a rollup. Persisted: append only, of which 12 to 15 are free.
const ACCEPTED: usize = 0;
const ATTEMPTS: usize = 1;
const FAILED: usize = 6;
const TENANTS: usize = 8;
const ENDPOINTS: usize = 9;
const TENANTS_LEFT_OUT: usize = 10;
const ENDPOINTS_LEFT_OUT: usize = 11;
const DURATIONS: usize = 16;
const PLACES: usize = DURATIONS + BUCKETS;

/// How much happened in an interval. Persisted as the counts that are not zero, each with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u8, u32)>", into = "Vec<(u8, u32)>")]
pub struct Rollup([u32; PLACES]);

impl Default for Rollup {
    fn default() -> Self {
        Self([0; PLACES])
    }
}

impl From<Vec<(u8, u32)>> for Rollup {
    fn from(counts: Vec<(u8, u32)>) -> Self {
        let mut rollup = Self::default();
        for (place, count) in counts {
            if let Some(known) = rollup.0.get_mut(usize::from(place)) {
                *known = known.saturating_add(count);
            }
        }
        rollup
    }
}

impl From<Rollup> for Vec<(u8, u32)> {
    fn from(rollup: Rollup) -> Self {
        let counts = (0..).zip(rollup.0);
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

const fn class_place(class: Class) -> usize {
    ATTEMPTS
        + match class {
            Class::Delivered => 0,
            Class::Transient => 1,
            Class::EndpointError => 2,
            Class::EventError => 3,
            Class::Ours => 4,
        }
}

impl Rollup {
    /// Events that were accepted; of an endpoint, those that it is to get.
    pub const fn accepted(&self) -> u32 {
        self.0[ACCEPTED]
    }

    /// Attempts that ended with this outcome.
    pub const fn attempts(&self, outcome: Class) -> u32 {
        self.0[class_place(outcome)]
    }

    /// Deliveries that failed for good with one of these attempts.
    pub const fn failed(&self) -> u32 {
        self.0[FAILED]
    }

    /// How long the attempts took.
    pub fn durations(&self) -> Histogram<'_> {
        Histogram(&self.0[DURATIONS..])
    }

    /// How many tenants, and endpoints, have a rollup of their own in this interval; said by the rollup of all.
    pub const fn series(&self) -> (u32, u32) {
        (self.0[TENANTS], self.0[ENDPOINTS])
    }

    /// Whether there were more of this kind of series than have a rollup of their own; said by the rollup of all.
    pub const fn has_left_out(&self, series: &Series) -> bool {
        match series {
            Series::All => false,
            Series::Tenant(_) => self.0[TENANTS_LEFT_OUT] > 0,
            Series::Endpoint(_) => self.0[ENDPOINTS_LEFT_OUT] > 0,
        }
    }

    fn add_to(&mut self, place: usize, count: u32) {
        if let Some(known) = self.0.get_mut(place) {
            *known = known.saturating_add(count);
        }
    }

    /// Adds another one of the same series. How many have a rollup of their own is not added.
    pub fn add(&mut self, other: &Self) {
        for (place, count) in other.0.iter().enumerate() {
            if *count > 0 && place != TENANTS && place != ENDPOINTS {
                self.add_to(place, *count);
            }
        }
    }

    /// Bytes that it takes where it is persisted: a length, and the counts that are not zero.
    pub fn size(&self) -> usize {
        8 + 5 * self.0.iter().filter(|count| **count > 0).count()
    }

    /// Everything that it counts, but for histograms.
    fn weight(&self) -> u32 {
        let counts = self.0.iter().take(TENANTS);
        counts.fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Makes room for one more tenant, in the rollup of all; `false` when there is none, and then notes what is left out.
    pub fn admit_tenant(&mut self, of: &Self) -> bool {
        self.admit(of, TENANTS, TENANTS_LEFT_OUT)
    }

    /// The same for an endpoint.
    pub fn admit_endpoint(&mut self, of: &Self) -> bool {
        self.admit(of, ENDPOINTS, ENDPOINTS_LEFT_OUT)
    }

    fn admit(&mut self, of: &Self, place: usize, left_out: usize) -> bool {
        if self.0[place] < MOST_SERIES {
            self.0[place] += 1;
            return true;
        }
        self.add_to(left_out, of.weight());
        false
    }
}

/// Rollups of one kind of series, in the order in which they were first added to.
#[derive(Clone, Debug)]
pub struct Ordered<K>(HashMap<K, (usize, Rollup)>);

impl<K> Default for Ordered<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash> Ordered<K> {
    pub fn of(&mut self, key: &K) -> &mut Rollup {
        if !self.0.contains_key(key) {
            let place = self.0.len();
            self.0.insert(key.clone(), (place, Rollup::default()));
        }
        match self.0.get_mut(key) {
            Some((_, rollup)) => rollup,
            None => unreachable!("it was put there"),
        }
    }

    pub fn in_order(self) -> Vec<(K, Rollup)> {
        let mut all: Vec<_> = self.0.into_iter().collect();
        all.sort_unstable_by_key(|(_, (place, _))| *place);
        all.into_iter().map(|(key, (_, rollup))| (key, rollup)).collect()
    }
}

/// What is to be added to one interval.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub all: Rollup,
    pub tenants: Ordered<Label>,
    pub endpoints: Ordered<EndpointId>,
}

impl Sums {
    /// An event was accepted.
    pub fn event(&mut self, event: &EventAccepted) {
        self.all.add_to(ACCEPTED, 1);
        if let Some(tenant) = event.tenant.as_ref()
            && !operational::is_reserved(&event.event_type)
        {
            self.tenants.of(tenant).add_to(ACCEPTED, 1);
        }
        for endpoint in &event.fan_out {
            self.endpoints.of(endpoint).add_to(ACCEPTED, 1);
        }
    }

    /// An attempt ended. One that belongs to no delivery, a test, is not counted.
    pub fn attempt(&mut self, attempt: &AttemptSettled) {
        if attempt.delivery.is_none() {
            return;
        }
        let add = |rollup: &mut Rollup| {
            rollup.add_to(class_place(attempt.class), 1);
            rollup.add_to(DURATIONS + histogram::place(attempt.duration_millis.into()), 1);
            if attempt.stage == Stage::Failed {
                rollup.add_to(FAILED, 1);
            }
        };
        add(&mut self.all);
        if let Some(tenant) = attempt.tenant.as_ref()
            && !operational::is_reserved(&attempt.event_type)
        {
            add(self.tenants.of(tenant));
        }
        add(self.endpoints.of(&attempt.endpoint));
    }

    /// Adds a rollup of a series to it.
    pub fn add(&mut self, series: &Series, rollup: &Rollup) {
        match series {
            Series::All => self.all.add(rollup),
            Series::Tenant(tenant) => self.tenants.of(tenant).add(rollup),
            Series::Endpoint(endpoint) => self.endpoints.of(endpoint).add(rollup),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(number: u32) -> EndpointId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        EndpointId::from_bytes(bytes)
    }

    #[test]
    fn those_that_were_first_have_a_rollup_of_their_own_and_the_rest_is_noted() {
        let (mut all, mut one) = (Rollup::default(), Rollup::default());
        one.add_to(FAILED, 1);
        one.add_to(ACCEPTED, 2);
        let admitted = (0..MOST_SERIES + 2).filter(|_| all.admit_endpoint(&one));
        assert_eq!(admitted.count(), MOST_SERIES as usize);
        assert_eq!(all.series(), (0, MOST_SERIES));
        assert_eq!(all.0[ENDPOINTS_LEFT_OUT], 2 * 3);
        assert!(all.has_left_out(&Series::Endpoint(endpoint(1))));
        assert!(!all.has_left_out(&Series::Tenant("t".parse().unwrap())));
        // Of an hour's minutes what was left out adds up; which have rollups of their own is found anew.
        let mut hour = Rollup::default();
        hour.add(&all);
        hour.add(&all);
        assert_eq!((hour.series(), hour.0[ENDPOINTS_LEFT_OUT]), ((0, 0), 12));
    }

    #[test]
    fn series_come_in_the_order_in_which_they_were_first_met() {
        let mut sums = Sums::default();
        for number in [7, 3, 7, 9, 3, 1] {
            sums.endpoints.of(&endpoint(number)).add_to(FAILED, 1);
        }
        let order: Vec<EndpointId> = sums.endpoints.in_order().into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, [7, 3, 9, 1].map(endpoint));
    }

    #[test]
    fn a_rollup_is_kept_as_its_counts_that_are_not_zero() {
        let mut rollup = Rollup::default();
        rollup.add_to(ACCEPTED, 3);
        rollup.add_to(PLACES - 1, 4);
        let kept = Vec::from(rollup.clone());
        assert_eq!(kept, [(0, 3), (31, 4)]);
        assert_eq!(Rollup::from(kept), rollup);
        // Places of a later version are passed over.
        assert_eq!(Rollup::from(vec![(200, 1)]), Rollup::default());
    }
}
