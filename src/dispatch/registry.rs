//! Endpoints and API keys in memory, and the index that fan-out asks.
//!
//! The applier writes, everyone reads. Matching an event looks up, for its tenant, its exact type, each prefix of it, and
//! one pattern for each place of stars that the tenant's patterns use; it never walks all endpoints. Only the conditions
//! of what that finds are asked.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{conditions::Kept, fan_out::Asking, weight};
use crate::domain::{
    condition::{Subject, Verdict},
    endpoint::Endpoint,
    event::{EventType, Label},
    facts::Facts,
    id::EndpointId,
    record::{EventAccepted, KeyPut},
    subscription::{Pattern, Shape},
    time::Timestamp,
};

#[derive(Default)]
pub(super) struct Registry(RwLock<Table>);

#[derive(Default)]
struct Table {
    endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    deleted: HashSet<EndpointId>,
    wanted: HashMap<(Option<Label>, Pattern), Vec<EndpointId>>,
    /// The shapes of each tenant's patterns, and how many patterns there are of each.
    shapes: HashMap<Option<Label>, BTreeMap<Shape, usize>>,
    /// Those that endpoints have.
    conditions: HashMap<EndpointId, Arc<Kept>>,
    keys: HashMap<[u8; 32], Arc<KeyPut>>,
    /// When handshakes are to be tried.
    handshakes: BTreeSet<(Timestamp, EndpointId)>,
    /// The memory that each tenant's endpoints take.
    kept: HashMap<Option<Label>, usize>,
}

/// Whose endpoints an event may go to.
pub(super) struct Audience<'a> {
    pub event_type: &'a EventType,
    pub channel: Option<&'a Label>,
    pub tenant: Option<&'a Label>,
    /// What conditions are asked about.
    pub facts: Facts<'a>,
}

impl<'a> Audience<'a> {
    pub fn of(event: &'a EventAccepted) -> Self {
        Self {
            event_type: &event.event_type,
            channel: event.channel.as_ref(),
            tenant: event.tenant.as_ref(),
            facts: event.into(),
        }
    }
}

impl Registry {
    pub fn get(&self, id: EndpointId) -> Option<Arc<Endpoint>> {
        self.read().endpoints.get(&id).cloned()
    }

    pub fn is_deleted(&self, id: EndpointId) -> bool {
        self.read().deleted.contains(&id)
    }

    pub fn len(&self) -> usize {
        self.read().endpoints.len()
    }

    /// All of them, in the order of their creation.
    pub fn all(&self) -> Vec<Arc<Endpoint>> {
        self.read().endpoints.values().cloned().collect()
    }

    pub fn deleted(&self) -> Vec<EndpointId> {
        self.read().deleted.iter().copied().collect()
    }

    /// The endpoint, of those not passed over, whose handshake is to be tried first, and when.
    pub fn next_handshake(&self, passed_over: impl Fn(&Endpoint) -> bool) -> Option<(Timestamp, EndpointId)> {
        let table = self.read();
        let may_go = |id| {
            table
                .endpoints
                .get(id)
                .is_some_and(|endpoint| !passed_over(endpoint))
        };
        table.handshakes.iter().find(|(_, id)| may_go(id)).copied()
    }

    /// The memory that endpoints take: a tenant's, and all.
    pub fn kept(&self, tenant: &Option<Label>) -> (usize, usize) {
        let table = self.read();
        let held = table.kept.get(tenant).copied().unwrap_or_default();
        (held, table.kept.values().sum())
    }

    /// Takes these and forgets those that were deleted, all at once.
    pub fn change(&self, endpoints: Vec<Endpoint>, deleted: &[EndpointId]) {
        let mut table = self.write();
        endpoints.into_iter().for_each(|endpoint| table.put(endpoint));
        for id in deleted {
            table.forget(*id);
            table.deleted.insert(*id);
        }
    }

    /// Forgets every endpoint and takes these.
    pub fn replace(&self, endpoints: Vec<Endpoint>, deleted: HashSet<EndpointId>) {
        let mut table = Table {
            deleted,
            ..Table::default()
        };
        for endpoint in endpoints {
            table.put(endpoint);
        }
        let mut current = self.write();
        table.keys = std::mem::take(&mut current.keys);
        *current = table;
    }

    /// The endpoints that want an event, in the order of their creation, whatever their conditions cost.
    #[cfg(any(test, feature = "bench-parts"))]
    pub fn matching(&self, audience: &Audience<'_>) -> Vec<EndpointId> {
        let mut asking = self.asking(audience);
        let subject = Subject::new(audience.facts);
        while let super::fan_out::Asked::More = asking.ask(&subject, u64::MAX) {}
        asking.into_chosen()
    }

    /// The endpoints that may want an event, in the order of their creation, with the conditions to be asked.
    pub fn asking(&self, audience: &Audience<'_>) -> Asking {
        Asking::new(self.candidates(audience, |_| true))
    }

    /// The same for an operational event: only those whose pattern names what it begins with.
    pub fn asking_by_name(&self, audience: &Audience<'_>) -> Asking {
        Asking::new(self.candidates(audience, Pattern::is_specific))
    }

    /// What an endpoint's condition says of an event; `None` when it has no condition.
    pub fn verdict(&self, id: EndpointId, facts: Facts<'_>) -> Option<Verdict> {
        let kept = self.read().conditions.get(&id).cloned()?;
        Some(kept.judge(id, &Subject::new(facts)))
    }

    /// What the index finds, with the conditions to be asked.
    fn candidates(
        &self,
        audience: &Audience<'_>,
        counts: impl Fn(&Pattern) -> bool,
    ) -> Vec<(EndpointId, Option<Arc<Kept>>)> {
        let mut patterns = patterns_for(audience.event_type);
        let table = self.read();
        patterns.extend(table.starred_patterns_for(audience));
        patterns.retain(counts);
        let lists = patterns.into_iter().filter_map(|pattern| {
            // The key is owned by the map; a clone of a short text is the price of a plain HashMap.
            table.wanted.get(&(audience.tenant.cloned(), pattern))
        });
        let mut found: Vec<EndpointId> = lists.flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        found.retain(|id| {
            let channels = table
                .endpoints
                .get(id)
                .map_or(&[][..], |endpoint| &endpoint.spec.channels);
            channels.is_empty() || audience.channel.is_some_and(|channel| channels.contains(channel))
        });
        let with_condition = |id| (id, table.conditions.get(&id).cloned());
        found.into_iter().map(with_condition).collect()
    }

    pub fn set_keys(&self, keys: Vec<KeyPut>) {
        self.write().keys = keys.into_iter().map(|key| (key.hash, Arc::new(key))).collect();
    }

    /// The key that has this SHA-256, expired or not.
    pub fn key_by_hash(&self, hash: &[u8; 32]) -> Option<Arc<KeyPut>> {
        self.read().keys.get(hash).cloned()
    }

    pub fn keys(&self) -> Vec<Arc<KeyPut>> {
        let mut keys: Vec<_> = self.read().keys.values().cloned().collect();
        keys.sort_unstable_by_key(|key| key.id);
        keys
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Every pattern with a star before its last segment that matches a type, as far as any of the tenant's has its
    /// stars in these places.
    fn starred_patterns_for(&self, audience: &Audience<'_>) -> Vec<Pattern> {
        if self.shapes.is_empty() {
            return Vec::new();
        }
        let Some(shapes) = self.shapes.get(&audience.tenant.cloned()) else {
            return Vec::new();
        };
        let event_type = audience.event_type;
        let segments = event_type.as_str().split('.').count();
        let pattern = |shape: &Shape| shape.pattern_for(event_type, segments);
        shapes.keys().filter_map(pattern).collect()
    }

    fn put(&mut self, endpoint: Endpoint) {
        let old = self.conditions.get(&endpoint.id).cloned();
        self.forget(endpoint.id);
        for pattern in &endpoint.spec.events {
            let tenant = endpoint.spec.tenant.clone();
            if let Some(shape) = pattern.shape() {
                *self
                    .shapes
                    .entry(tenant.clone())
                    .or_default()
                    .entry(shape)
                    .or_default() += 1;
            }
            self.wanted
                .entry((tenant, pattern.clone()))
                .or_default()
                .push(endpoint.id);
        }
        *self.kept.entry(endpoint.spec.tenant.clone()).or_default() += weight::of_endpoint(&endpoint.spec);
        let due = endpoint.handshake_due();
        self.handshakes.extend(due.map(|due| (due, endpoint.id)));
        if let Some(source) = &endpoint.spec.condition {
            let kept = old.filter(|old| old.source() == source);
            let kept = kept.unwrap_or_else(|| Arc::new(Kept::new(source.clone())));
            self.conditions.insert(endpoint.id, kept);
        }
        self.endpoints.insert(endpoint.id, Arc::new(endpoint));
    }

    fn forget(&mut self, id: EndpointId) {
        let Some(old) = self.endpoints.remove(&id) else {
            return;
        };
        if let Some(kept) = self.kept.get_mut(&old.spec.tenant) {
            *kept -= weight::of_endpoint(&old.spec);
            if *kept == 0 {
                self.kept.remove(&old.spec.tenant);
            }
        }
        if let Some(due) = old.handshake_due() {
            self.handshakes.remove(&(due, id));
        }
        self.conditions.remove(&id);
        for pattern in &old.spec.events {
            let wanted = (old.spec.tenant.clone(), pattern.clone());
            if let Some(list) = self.wanted.get_mut(&wanted) {
                list.retain(|&other| other != id);
                if list.is_empty() {
                    self.wanted.remove(&wanted);
                }
            }
            if let Some(shape) = pattern.shape() {
                self.forget_shape(&old.spec.tenant, shape);
            }
        }
    }
}

impl Table {
    fn forget_shape(&mut self, tenant: &Option<Label>, shape: Shape) {
        let Some(shapes) = self.shapes.get_mut(tenant) else {
            return;
        };
        if let Some(count) = shapes.get_mut(&shape) {
            *count = count.saturating_sub(1);
        }
        shapes.retain(|_, count| *count > 0);
        if shapes.is_empty() {
            self.shapes.remove(tenant);
        }
    }
}

/// Every pattern that matches a type, but those with a star before the last segment: itself, one star in place of its last segment, two stars after each prefix.
fn patterns_for(event_type: &EventType) -> Vec<Pattern> {
    let text = event_type.as_str();
    let mut patterns = vec![Pattern::Everything, Pattern::Exact(event_type.clone())];
    let dots: Vec<usize> = text.match_indices('.').map(|(at, _)| at + 1).collect();
    patterns.extend(
        dots.last()
            .map(|&end| Pattern::OneSegment(text[..end].to_owned())),
    );
    patterns.extend(dots.iter().map(|&end| Pattern::Rest(text[..end].to_owned())));
    patterns
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::{collection::vec, option, prelude::*, sample::select};
    use serde_json::json;

    use super::*;
    use crate::domain::{
        condition::Condition,
        endpoint::{Notes, Standing, StateChange},
        subscription,
    };

    /// What an endpoint of the property test wants.
    #[derive(Clone, Debug)]
    struct Wants {
        tenant: Option<&'static str>,
        events: Vec<String>,
        channels: Vec<&'static str>,
        condition: Option<&'static str>,
    }

    const LABELS: [&str; 2] = ["a", "b"];
    const TYPE: &str = "[ab](\\.[ab]){0,3}";
    const PATTERN: &str = "([ab]|\\*)(\\.([ab]|\\*)){0,2}(\\.\\*{1,2})?|\\*{1,2}";
    const CONDITIONS: [&str; 5] = [
        "data.n > 1",
        "type.startsWith('a')",
        "channel == 'b'",
        "data.missing",
        "data == null",
    ];

    fn wants() -> impl Strategy<Value = Wants> {
        let tenant = option::of(select(LABELS.to_vec()));
        let channels = vec(select(LABELS.to_vec()), 0..2);
        let condition = option::weighted(0.4, select(CONDITIONS.to_vec()));
        (tenant, vec(PATTERN, 1..4), channels, condition).prop_map(|(tenant, events, channels, condition)| {
            Wants {
                tenant,
                events,
                channels,
                condition,
            }
        })
    }

    fn endpoint(id: u8, wants: &Wants) -> Endpoint {
        let mut document = json!({
            "url": "https://h.test/", "events": wants.events, "channels": wants.channels, "signatures": [],
        });
        if let Some(tenant) = wants.tenant {
            document["tenant"] = tenant.into();
        }
        if let Some(condition) = wants.condition {
            document["condition"] = condition.into();
        }
        Endpoint {
            id: EndpointId::from_bytes([id; 16]),
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
            standing: Standing::new(&StateChange::Pause, Timestamp::EPOCH),
            spec: serde_json::from_value(document).unwrap(),
            notes: Notes::default(),
        }
    }

    /// The endpoints that want an event, found by asking every one.
    fn scan(endpoints: &BTreeMap<u8, Wants>, audience: &Audience<'_>) -> Vec<EndpointId> {
        let subject = Subject::new(audience.facts);
        let wanted = |(id, wants): (&u8, &Wants)| {
            let spec = endpoint(*id, wants).spec;
            let by_pattern = subscription::judge(
                &spec.events,
                &spec.channels,
                audience.event_type,
                audience.channel,
            )
            .is_ok();
            let holds = |source| Condition::compile(source).unwrap().judge(&subject) == Verdict::Matched;
            let all =
                spec.tenant.as_ref() == audience.tenant && by_pattern && wants.condition.is_none_or(holds);
            all.then(|| EndpointId::from_bytes([*id; 16]))
        };
        endpoints.iter().filter_map(wanted).collect()
    }

    proptest! {
        #[test]
        fn the_index_finds_what_the_patterns_match(
            event_type in "[ab]{1,2}(\\.[ab]{1,2}){0,3}", pattern in "[ab]{1,2}(\\.[ab]{1,2}){0,3}(\\.\\*{1,2})?|\\*",
        ) {
            let event_type: EventType = event_type.parse().unwrap();
            let pattern: Pattern = pattern.parse().unwrap();
            prop_assert_eq!(pattern.matches(&event_type), patterns_for(&event_type).contains(&pattern));
        }

        /// Whatever was put, changed and removed before, the index answers what asking every endpoint answers.
        #[test]
        fn the_index_answers_what_a_scan_of_all_endpoints_answers(
            changes in vec((0_u8..24, option::weighted(0.85, wants())), 1..60),
            events in vec((TYPE, option::of(select(LABELS.to_vec())), option::of(select(LABELS.to_vec())), option::of(0..4)), 1..8),
        ) {
            let registry = Registry::default();
            let mut endpoints = BTreeMap::new();
            for (id, wanted) in changes {
                match wanted {
                    Some(wanted) => {
                        registry.change(vec![endpoint(id, &wanted)], &[]);
                        endpoints.insert(id, wanted);
                    }
                    None => {
                        registry.change(Vec::new(), &[EndpointId::from_bytes([id; 16])]);
                        endpoints.remove(&id);
                    }
                }
            }
            for (event_type, channel, tenant, n) in events {
                let event_type: EventType = event_type.parse().unwrap();
                let label = |text: &str| text.parse::<Label>().unwrap();
                let (channel, tenant) = (channel.map(label), tenant.map(label));
                let data = n.map(|n| Bytes::from(format!("{{\"n\": {n}}}")));
                let audience = Audience {
                    event_type: &event_type,
                    channel: channel.as_ref(),
                    tenant: tenant.as_ref(),
                    facts: Facts {
                        id: "e",
                        event_type: event_type.as_str(),
                        tenant: tenant.as_ref().map(Label::as_str),
                        channel: channel.as_ref().map(Label::as_str),
                        attributes: &BTreeMap::new(),
                        occurred_at: Timestamp::EPOCH,
                        data: data.as_ref(),
                    },
                };
                prop_assert_eq!(registry.matching(&audience), scan(&endpoints, &audience));
            }
        }
    }

    #[test]
    fn shapes_go_with_the_last_pattern_that_has_them() {
        let registry = Registry::default();
        let wants = |events: &[&str]| Wants {
            tenant: Some("a"),
            events: events.iter().map(ToString::to_string).collect(),
            channels: Vec::new(),
            condition: None,
        };
        let shapes = || registry.read().shapes.values().map(BTreeMap::len).sum::<usize>();
        registry.change(vec![endpoint(1, &wants(&["*.a", "*.b", "a.*.b"]))], &[]);
        registry.change(vec![endpoint(2, &wants(&["*.a", "a.*"]))], &[]);
        assert_eq!(shapes(), 2);
        registry.change(vec![endpoint(1, &wants(&["b"]))], &[]);
        assert_eq!(shapes(), 1);
        registry.change(Vec::new(), &[EndpointId::from_bytes([2; 16])]);
        assert_eq!(registry.read().shapes.len(), 0);
    }

    #[test]
    fn a_stored_condition_that_does_not_compile_matches_nothing_and_harms_nobody() {
        let registry = Registry::default();
        let wants = |condition| Wants {
            tenant: None,
            events: vec!["*".to_owned()],
            channels: Vec::new(),
            condition,
        };
        registry.change(vec![endpoint(1, &wants(Some("this is no CEL")))], &[]);
        registry.change(vec![endpoint(2, &wants(None))], &[]);
        let (event_type, attributes) = ("a".parse().unwrap(), BTreeMap::new());
        let facts = Facts {
            id: "e",
            event_type: "a",
            tenant: None,
            channel: None,
            attributes: &attributes,
            occurred_at: Timestamp::EPOCH,
            data: None,
        };
        let audience = Audience {
            event_type: &event_type,
            channel: None,
            tenant: None,
            facts,
        };
        assert_eq!(registry.matching(&audience), [EndpointId::from_bytes([2; 16])]);
        let verdict = registry.verdict(EndpointId::from_bytes([1; 16]), facts);
        assert!(matches!(verdict, Some(Verdict::Failed(failure)) if failure.as_str() == "invalid"));
        assert_eq!(registry.verdict(EndpointId::from_bytes([2; 16]), facts), None);
    }
}
