//! Which indexes answer a filter.
//!
//! Deliveries and attempts are indexed by endpoint, and by stage or outcome below it: lists of several endpoints, or of all in
//! one stage, merge what each has. What filters say besides is told by the rows: see `matches`.

use super::{
    Indexes, Store, StoreError, keys,
    listing::{Plan, Set},
    marks,
    rows::EventRow,
};
use crate::{
    domain::{
        delivery::{Delivery, StageKind},
        event::EventType,
        id::{DeliveryKey, EndpointId, Lsn},
        outcome::Class,
        subscription::Pattern,
    },
    storage::queries::{AttemptFilter, DeliveryFilter, Endpoints, EventFilter},
};

/// Prefixes that are merged at the most: each is held open. A pattern that more types match looks through all events.
const MOST_TYPES: usize = 1024;

impl Store {
    /// # Errors
    /// When sled fails or a row is damaged; so for all that follow.
    pub fn plan_events(&self, filter: &EventFilter) -> Result<Plan, StoreError> {
        let mut plan = Plan {
            sets: Vec::new(),
            since: filter.since,
            until: filter.until,
        };
        if self.indexes != Indexes::All {
            return Ok(plan);
        }
        let mut marks: Vec<u64> = Vec::new();
        marks.extend(filter.tenant.as_ref().map(marks::of_tenant));
        let attributes = filter.attributes.iter();
        marks.extend(attributes.map(|(name, value)| marks::of_attribute(name, value)));
        marks.extend(filter.idempotency_key.as_deref().map(marks::of_idempotency_key));
        plan.sets.extend(
            marks
                .into_iter()
                .map(|mark| Set::Keys(vec![keys::marked_with(mark)])),
        );
        if let Some(pattern) = &filter.event_type
            && let Some(types) = self.types_matching(pattern)?
        {
            let prefixes = types.iter().map(|name| keys::marked_with(marks::of_type(name)));
            plan.sets.push(Set::Keys(prefixes.collect()));
        }
        Ok(plan)
    }

    /// The types of events that a pattern matches; nothing where they are too many.
    fn types_matching(&self, pattern: &Pattern) -> Result<Option<Vec<EventType>>, StoreError> {
        let prefix = match pattern {
            Pattern::Everything => return Ok(None),
            Pattern::Exact(event_type) => return Ok(Some(vec![event_type.clone()])),
            Pattern::OneSegment(prefix) | Pattern::Rest(prefix) => prefix.as_str(),
            Pattern::Starred(text) => text.split('*').next().unwrap_or_default(),
        };
        let mut found = Vec::new();
        for entry in self.table.prefix(&keys::types_beginning(prefix)) {
            let event_type = keys::event_type_in(&entry?.0);
            found.extend(event_type.filter(|event_type| pattern.matches(event_type)));
            if found.len() > MOST_TYPES {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    pub fn plan_deliveries(&self, filter: &DeliveryFilter) -> Result<Plan, StoreError> {
        let mut sets = Vec::new();
        if let Some(among) = &filter.among {
            sets.push(Set::Known(among.iter().copied().collect()));
        }
        if let Some(event) = filter.event {
            let all = vec![keys::deliveries_of(event), keys::added_to(event)];
            sets.push(Set::Keys(all));
        }
        let stages: Vec<StageKind> = match filter.stage {
            Some(stage) => vec![stage],
            None => StageKind::ALL.to_vec(),
        };
        let is_indexed = stages.iter().all(|stage| self.indexes.has_stage(*stage));
        let is_narrowed = !matches!(filter.endpoints, Endpoints::All) || filter.stage.is_some();
        if sets.is_empty() && is_narrowed && is_indexed {
            let endpoints = self.endpoints_of(keys::STAGED, &filter.endpoints)?;
            let each = endpoints.iter().flat_map(|endpoint| {
                let stages = stages.iter();
                stages.map(|stage| keys::staged_of(*endpoint, *stage))
            });
            sets.push(Set::Keys(each.collect()));
        }
        Ok(Plan {
            sets,
            since: filter.since,
            until: filter.until,
        })
    }

    pub fn plan_attempts(&self, filter: &AttemptFilter) -> Result<Plan, StoreError> {
        let mut sets = Vec::new();
        if let Some(delivery) = filter.delivery {
            sets.push(Set::Known(self.attempts_of_delivery(delivery)?));
        }
        // The rows do not tell their event: its set has to.
        if let Some(event) = filter.event {
            sets.push(self.attempts_of_event(event)?);
        }
        if sets.is_empty()
            && self.indexes == Indexes::All
            && (!matches!(filter.endpoints, Endpoints::All) || filter.outcome.is_some())
        {
            let classes: Vec<Class> = filter.outcome.map_or(Class::ALL.to_vec(), |class| vec![class]);
            let endpoints = self.endpoints_of(keys::JUDGED, &filter.endpoints)?;
            let each = endpoints.iter().flat_map(|endpoint| {
                let classes = classes.iter();
                classes.map(|class| keys::judged_of(*endpoint, *class))
            });
            sets.push(Set::Keys(each.collect()));
        }
        Ok(Plan {
            sets,
            since: filter.since,
            until: filter.until,
        })
    }

    /// A delivery names its newest attempt, and each the one before it.
    fn attempts_of_delivery(&self, key: DeliveryKey) -> Result<Vec<DeliveryKey>, StoreError> {
        let delivery = self.delivery(key)?;
        let mut next = delivery.and_then(|delivery| delivery.last).map(|last| last.lsn);
        let mut found = Vec::new();
        while let Some(lsn) = next.take() {
            if let Some(row) = self.attempt(lsn)? {
                found.push(DeliveryKey::new(lsn, 0));
                next = row.previous;
            }
        }
        found.reverse();
        Ok(found)
    }

    fn attempts_of_event(&self, event: Lsn) -> Result<Set, StoreError> {
        let mut deliveries: Vec<DeliveryKey> = Vec::new();
        for entry in self.table.prefix(&keys::added_to(event)) {
            deliveries.push(keys::delivery_in(&entry?.0));
        }
        if self.indexes == Indexes::All {
            let mut records: Vec<Lsn> = deliveries.iter().map(|key| key.lsn).collect();
            records.push(event);
            records.sort_unstable();
            records.dedup();
            return Ok(Set::Keys(records.into_iter().map(keys::tried_of).collect()));
        }
        for entry in self.table.prefix(&keys::deliveries_of(event)) {
            deliveries.push(keys::delivery_in(&entry?.0));
        }
        let mut found = Vec::new();
        for key in deliveries {
            found.extend(self.attempts_of_delivery(key)?);
        }
        found.sort_unstable();
        Ok(Set::Known(found))
    }

    /// The endpoints of which an index by endpoint has something: one look for each.
    fn endpoints_of(&self, kind: u8, wanted: &Endpoints) -> Result<Vec<EndpointId>, StoreError> {
        if let Endpoints::Only(some) = wanted {
            return Ok(some.iter().copied().collect());
        }
        let (mut found, mut from) = (Vec::new(), keys::of_kind(kind).to_vec());
        let end = keys::after(&keys::of_kind(kind));
        loop {
            let next = self.table.range(&from, Some(&end)).next().transpose()?;
            let Some(endpoint) = next.and_then(|(key, _)| keys::endpoint_in(&key)) else {
                return Ok(found);
            };
            if wanted.has(endpoint) {
                found.push(endpoint);
            }
            from = keys::after(&keys::of_endpoint(kind, endpoint));
        }
    }
}

impl EventFilter {
    /// Whether a row has all that a filter names.
    pub fn matches(&self, row: &EventRow) -> bool {
        let marks = |mark: u64| row.marks.contains(&mark);
        let attributes = || self.attributes.iter();
        self.is_type(&row.event_type)
            && self
                .tenant
                .as_ref()
                .is_none_or(|tenant| row.tenant.as_ref() == Some(tenant))
            && self.since.is_none_or(|since| row.accepted_at >= since)
            && self.until.is_none_or(|until| row.accepted_at <= until)
            && attributes().all(|(name, value)| marks(marks::of_attribute(name, value)))
            && self
                .idempotency_key
                .as_deref()
                .is_none_or(|key| marks(marks::of_idempotency_key(key)))
    }
}

impl DeliveryFilter {
    /// Whether a row has all that a filter names but for what the delivery's event tells.
    pub fn matches(&self, row: &Delivery) -> bool {
        self.event.is_none_or(|event| event == row.event)
            && self.endpoints.has(row.endpoint)
            && self.stage.is_none_or(|stage| stage == row.stage.kind())
            && self.among.as_ref().is_none_or(|among| among.contains(&row.key))
            && !self.except.contains(&row.key)
            && self
                .status
                .is_none_or(|status| row.last.and_then(|last| last.status) == Some(status))
            && self.since.is_none_or(|since| row.created_at >= since)
            && self.until.is_none_or(|until| row.created_at <= until)
    }
}
