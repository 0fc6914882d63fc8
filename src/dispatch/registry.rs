//! Endpoints and API keys in memory, and the index that fan-out asks.
//!
//! The applier writes, everyone reads. Matching an event looks up, for its tenant, its exact type and each prefix of
//! it; it never walks all endpoints.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::domain::{
    endpoint::Endpoint,
    event::{EventType, Label},
    id::EndpointId,
    record::KeyPut,
    subscription::Pattern,
    time::Timestamp,
};

#[derive(Default)]
pub(super) struct Registry(RwLock<Table>);

#[derive(Default)]
struct Table {
    endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    deleted: HashSet<EndpointId>,
    wanted: HashMap<(Option<Label>, Pattern), Vec<EndpointId>>,
    keys: HashMap<[u8; 32], Arc<KeyPut>>,
    /// When handshakes are to be tried.
    handshakes: BTreeSet<(Timestamp, EndpointId)>,
}

/// Whose endpoints an event may go to.
pub(super) struct Audience<'a> {
    pub event_type: &'a EventType,
    pub channel: Option<&'a Label>,
    pub tenant: Option<&'a Label>,
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
    pub fn next_handshake(
        &self,
        passed_over: impl Fn(EndpointId) -> bool,
    ) -> Option<(Timestamp, EndpointId)> {
        let table = self.read();
        table.handshakes.iter().find(|(_, id)| !passed_over(*id)).copied()
    }

    pub fn put(&self, endpoint: Endpoint) {
        self.write().put(endpoint);
    }

    pub fn remove(&self, id: EndpointId) {
        let mut table = self.write();
        table.forget(id);
        table.deleted.insert(id);
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

    /// The endpoints that want an event, in the order of their creation.
    pub fn matching(&self, audience: &Audience<'_>) -> Vec<EndpointId> {
        self.candidates(audience, &patterns_for(audience.event_type))
    }

    /// The endpoints that want an operational event: only those that name it more closely than "everything".
    pub fn matching_by_name(&self, audience: &Audience<'_>) -> Vec<EndpointId> {
        let mut patterns = patterns_for(audience.event_type);
        patterns.retain(Pattern::is_specific);
        self.candidates(audience, &patterns)
    }

    fn candidates(&self, audience: &Audience<'_>, patterns: &[Pattern]) -> Vec<EndpointId> {
        let table = self.read();
        let lists = patterns.iter().filter_map(|pattern| {
            // The key is owned by the map; a clone of a short text is the price of a plain HashMap.
            table.wanted.get(&(audience.tenant.cloned(), pattern.clone()))
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
        found
    }

    pub fn set_keys(&self, keys: Vec<KeyPut>) {
        self.write().keys = keys.into_iter().map(|key| (key.hash, Arc::new(key))).collect();
    }

    pub fn key_by_hash(&self, hash: &[u8; 32], now: Timestamp) -> Option<Arc<KeyPut>> {
        let key = self.read().keys.get(hash).cloned()?;
        key.expires_at.is_none_or(|at| at > now).then_some(key)
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
    fn put(&mut self, endpoint: Endpoint) {
        self.forget(endpoint.id);
        for pattern in &endpoint.spec.events {
            let wanted = (endpoint.spec.tenant.clone(), pattern.clone());
            self.wanted.entry(wanted).or_default().push(endpoint.id);
        }
        let due = endpoint.handshake_due();
        self.handshakes.extend(due.map(|due| (due, endpoint.id)));
        self.endpoints.insert(endpoint.id, Arc::new(endpoint));
    }

    fn forget(&mut self, id: EndpointId) {
        let Some(old) = self.endpoints.remove(&id) else {
            return;
        };
        if let Some(due) = old.handshake_due() {
            self.handshakes.remove(&(due, id));
        }
        for pattern in &old.spec.events {
            let wanted = (old.spec.tenant.clone(), pattern.clone());
            if let Some(list) = self.wanted.get_mut(&wanted) {
                list.retain(|&other| other != id);
                if list.is_empty() {
                    self.wanted.remove(&wanted);
                }
            }
        }
    }
}

/// Every pattern that matches a type: itself, one star in place of its last segment, two stars after each prefix.
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_index_finds_what_the_patterns_match(
            event_type in "[ab]{1,2}(\\.[ab]{1,2}){0,3}", pattern in "[ab]{1,2}(\\.[ab]{1,2}){0,3}(\\.\\*{1,2})?|\\*",
        ) {
            let event_type: EventType = event_type.parse().unwrap();
            let pattern: Pattern = pattern.parse().unwrap();
            prop_assert_eq!(pattern.matches(&event_type), patterns_for(&event_type).contains(&pattern));
        }
    }
}
