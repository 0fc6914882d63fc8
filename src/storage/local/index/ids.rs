//! Event ids and idempotency keys: each is the property of a tenant, or of none.
//!
//! Two tenants may use the same id for two events, and neither can tell: whoever asks within a tenant finds that
//! tenant's event or nothing. Events without a tenant are one more such space.
//!
//! Earlier versions had one space for all, and keyed rows by the id alone, as rows of no tenant still are. Such a row
//! of a tenant's event stays where it is: a look within the tenant goes on to it and asks the event whose it is. When
//! an event of no tenant wants the place, the row is moved to where it would lie today.

use sha2::{Digest, Sha256};

use super::{
    Store, StoreError,
    apply::Writer,
    keys::{self, Key},
    rows::{EventRow, IdempotencyRow},
};
use crate::{
    domain::{
        event::Label,
        id::{EventId, Lsn},
        reclaim::{EventFacts, IdempotencyClaim},
        record::EventAccepted,
    },
    runtime::hex,
};

/// How idempotency keys of tenants' API keys began that earlier versions stored as a hash of tenant and key. No
/// request can bring such a key: it has a space.
const HASHED: &str = "tenant ";

/// Where the row of an event's id may lie.
pub(super) fn id_places(tenant: Option<&Label>, id: &EventId) -> impl Iterator<Item = Key> {
    let earlier = tenant.map(|_| keys::event_id(None, id));
    std::iter::once(keys::event_id(tenant, id)).chain(earlier)
}

/// Where the row of an idempotency key, as a record has it, may lie.
pub(super) fn key_places(tenant: Option<&Label>, text: &str) -> impl Iterator<Item = Key> {
    let own = tenant.filter(|_| !text.starts_with(HASHED));
    let earlier = own.map(|_| keys::idempotency(None, text));
    std::iter::once(keys::idempotency(own, text)).chain(earlier)
}

/// An idempotency key as earlier versions stored that of a tenant's API key.
fn hashed(tenant: &Label, text: &str) -> String {
    let hash = Sha256::new()
        .chain_update((tenant.as_str().len() as u64).to_le_bytes())
        .chain_update(tenant.as_str())
        .chain_update(text)
        .finalize();
    format!("{HASHED}{}", hex::encode(&hash))
}

impl Store {
    /// The event that has an id within a tenant, or among those without one.
    ///
    /// # Errors
    /// When sled fails or a row is damaged; so for all that follow.
    pub fn event_of(
        &self,
        tenant: Option<&Label>,
        id: &EventId,
    ) -> Result<Option<(Lsn, EventRow)>, StoreError> {
        for place in id_places(tenant, id) {
            if let Some(found) = self.owned(self.row(&place)?, tenant)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Events that have an id, whosever they are, the one without a tenant first; at most `limit`.
    pub fn events_named(&self, id: &EventId, limit: usize) -> Result<Vec<(Lsn, EventRow)>, StoreError> {
        let mut lsns: Vec<Lsn> = self.row(&keys::event_id(None, id))?.into_iter().collect();
        for row in self.table.prefix(&keys::event_id_of_tenants(id)).take(limit) {
            let (key, row) = row?;
            lsns.push(super::draft::decode(&key, &row)?);
        }
        // What was moved since it was keyed by the id alone may stand there twice in a rebuilt store.
        let mut found: Vec<(Lsn, EventRow)> = Vec::new();
        for lsn in lsns {
            if found.len() < limit && !found.iter().any(|(known, _)| *known == lsn) {
                found.extend(self.event(lsn)?.map(|row| (lsn, row)));
            }
        }
        found.sort_by_key(|(_, row)| row.tenant.is_some());
        Ok(found)
    }

    /// What an idempotency key stands for within a tenant, or among requests without one, and the event.
    pub fn idempotency(
        &self,
        tenant: Option<&Label>,
        key: &str,
    ) -> Result<Option<(IdempotencyRow, EventRow)>, StoreError> {
        let hashed = tenant.map(|tenant| keys::idempotency(None, &hashed(tenant, key)));
        for place in key_places(tenant, key).chain(hashed) {
            let Some(row) = self.row::<IdempotencyRow>(&place)? else {
                continue;
            };
            if let Some((_, event)) = self.owned(Some(row.event), tenant)? {
                return Ok(Some((row, event)));
            }
        }
        Ok(None)
    }

    /// The event, if it is a tenant's, or if it has none and none is asked for.
    fn owned(
        &self,
        event: Option<Lsn>,
        tenant: Option<&Label>,
    ) -> Result<Option<(Lsn, EventRow)>, StoreError> {
        let Some(lsn) = event else { return Ok(None) };
        let row = self.event(lsn)?.filter(|row| row.tenant.as_ref() == tenant);
        Ok(row.map(|row| (lsn, row)))
    }

    /// Whether an idempotency key, as its record has it, stands for this event.
    pub fn stands_for(&self, tenant: Option<&Label>, key: &str, event: Lsn) -> Result<bool, StoreError> {
        Ok(self.claim(tenant, key, event)?.is_some())
    }

    /// An idempotency key, as its record has it, if it stands for this event.
    pub(super) fn claim(
        &self,
        tenant: Option<&Label>,
        key: &str,
        event: Lsn,
    ) -> Result<Option<IdempotencyClaim>, StoreError> {
        for place in key_places(tenant, key) {
            let row: Option<IdempotencyRow> = self.row(&place)?;
            if let Some(row) = row.filter(|row| row.event == event) {
                return Ok(Some(IdempotencyClaim {
                    key: key.to_owned(),
                    until: row.until,
                }));
            }
        }
        Ok(None)
    }
}

impl Writer<'_> {
    /// Gives a new event its id; answers whether it did. Idempotency lets no second one with an id through; one that is
    /// there all the same must not replace the first.
    pub(super) fn take_id(&mut self, lsn: Lsn, event: &EventAccepted) -> Result<bool, StoreError> {
        let place = keys::event_id(event.tenant.as_ref(), &event.id);
        let Some(first) = self.draft.get::<Lsn>(&place)? else {
            self.draft.put_new(place, &lsn)?;
            return Ok(true);
        };
        let holder: Option<EventRow> = self.draft.get(&keys::event(first))?;
        let Some(owner) = holder
            .and_then(|row| row.tenant)
            .filter(|_| event.tenant.is_none())
        else {
            tracing::error!(event.id = %event.id, lsn, first, "an event id stands twice in the journal");
            return Ok(false);
        };
        self.draft.put(keys::event_id(Some(&owner), &event.id), &first)?;
        self.draft.put(place, &lsn)?;
        Ok(true)
    }

    /// Has an idempotency key stand for a new event.
    pub(super) fn take_key(&mut self, lsn: Lsn, event: &EventAccepted) -> Result<(), StoreError> {
        let Some(text) = &event.idempotency_key else {
            return Ok(());
        };
        let tenant = event.tenant.as_ref();
        let mut places = key_places(tenant, text);
        let Some(place) = places.next() else { return Ok(()) };
        if tenant.is_none()
            && let Some(held) = self.draft.get::<IdempotencyRow>(&place)?
            && let Some(row) = self.draft.get::<EventRow>(&keys::event(held.event))?
            && let Some(owner) = row.tenant
        {
            self.draft.put(keys::idempotency(Some(&owner), text), &held)?;
        }
        let row = IdempotencyRow {
            event: lsn,
            until: event.idempotency_until,
        };
        self.draft.put(place, &row)
    }

    /// Has an event that is carried keep its id, and its idempotency key if it has one: each in the place that it has
    /// today, wherever an earlier version put it.
    pub(super) fn keep_names(&mut self, event: &EventFacts) -> Result<(), StoreError> {
        let tenant = event.tenant.as_ref();
        let claim = event.idempotency.as_ref();
        self.release(
            event.lsn,
            (tenant, &event.id),
            claim.map(|claim| claim.key.as_str()),
        )?;
        self.draft.put(keys::event_id(tenant, &event.id), &event.lsn)?;
        let Some(claim) = claim else { return Ok(()) };
        let row = IdempotencyRow {
            event: event.lsn,
            until: claim.until,
        };
        match key_places(tenant, &claim.key).next() {
            Some(place) => self.draft.put(place, &row),
            None => Ok(()),
        }
    }

    /// Takes away what stands for an event: its id within its tenant, and its idempotency key.
    pub(super) fn release(
        &mut self,
        event: Lsn,
        (tenant, id): (Option<&Label>, &EventId),
        idempotency_key: Option<&str>,
    ) -> Result<(), StoreError> {
        for place in id_places(tenant, id) {
            if self.draft.get::<Lsn>(&place)? == Some(event) {
                self.draft.remove(place);
            }
        }
        let places = idempotency_key.map(|text| key_places(tenant, text));
        for place in places.into_iter().flatten() {
            let found: Option<IdempotencyRow> = self.draft.get(&place)?;
            if found.is_some_and(|found| found.event == event) {
                self.draft.remove(place);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::{
        domain::{
            event::Payload,
            reclaim::{Carried, EventsForgotten, ForgottenEvent, Home},
            record::Record,
            time::Timestamp,
        },
        storage::local::index::{Placed, TableOptions, open::open_as_is, table::Change},
    };

    const JOURNAL: [u8; 16] = [7; 16];

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let options = TableOptions {
            cache_bytes: 1024 * 1024,
            buffer_bytes: 1024,
            indexes: crate::storage::local::index::Indexes::All,
        };
        let store = open_as_is(dir.path(), options).unwrap();
        (dir, store)
    }

    fn label(text: &str) -> Label {
        text.parse().unwrap()
    }

    fn apply(store: &Store, lsn: Lsn, record: Record) {
        let place = Default::default();
        store.apply(JOURNAL, &[Placed { lsn, place, record }]).unwrap();
    }

    fn accepted(id: &str, tenant: Option<&str>, key: &str) -> Record {
        let at = Timestamp::from_millis(1_000);
        Record::EventAccepted(EventAccepted {
            id: id.parse().unwrap(),
            event_type: "a".parse().unwrap(),
            tenant: tenant.map(label),
            channel: None,
            ordering_key: None,
            accepted_at: at,
            occurred_at: at,
            due: at,
            expires_at: None,
            attributes: BTreeMap::new(),
            content_hash: [0; 16],
            idempotency_key: Some(key.to_owned()),
            idempotency_until: at,
            fan_out: Vec::new(),
            notice_for: None,
            payload: Payload {
                content_type: None,
                bytes: Bytes::from_static(b"1"),
            },
        })
    }

    fn forgotten(event: Lsn, key: &str) -> Record {
        Record::EventsForgotten(EventsForgotten {
            events: vec![ForgottenEvent {
                event,
                idempotency_key: Some(key.to_owned()),
                added: Vec::new(),
                attempts: Vec::new(),
            }],
        })
    }

    /// Which event an id, and an idempotency key, stands for within a tenant.
    fn found(store: &Store, tenant: Option<&str>, id: &str, key: &str) -> (Option<Lsn>, Option<Lsn>) {
        let tenant = tenant.map(label);
        let event = store.event_of(tenant.as_ref(), &id.parse().unwrap()).unwrap();
        let row = store.idempotency(tenant.as_ref(), key).unwrap();
        (event.map(|(lsn, _)| lsn), row.map(|(row, _)| row.event))
    }

    fn named(store: &Store, id: &str) -> Vec<Lsn> {
        let events = store.events_named(&id.parse().unwrap(), 9).unwrap();
        events.into_iter().map(|(lsn, _)| lsn).collect()
    }

    #[test]
    fn an_id_and_a_key_stand_for_one_event_of_each_tenant_and_one_of_none() {
        let (_dir, store) = store();
        // A tenant, or an id, that begins as another one does is another one.
        let owners = [Some("a"), Some("ab"), None, Some("b")];
        for (owner, lsn) in owners.into_iter().zip(1..) {
            apply(&store, lsn, accepted("x", owner, "k"));
        }
        apply(&store, 5, accepted("xa", None, "ka"));
        for (owner, lsn) in owners.into_iter().zip(1..) {
            assert_eq!(
                found(&store, owner, "x", "k"),
                (Some(lsn), Some(lsn)),
                "{owner:?}"
            );
        }
        assert_eq!(found(&store, Some("c"), "x", "k"), (None, None));
        assert_eq!(found(&store, Some("a"), "xa", "ka"), (None, None));
        assert_eq!(named(&store, "x"), [3, 1, 2, 4]);
        assert_eq!(named(&store, "xa"), [5]);
        apply(&store, 6, forgotten(2, "k"));
        assert_eq!(found(&store, Some("ab"), "x", "k"), (None, None));
        assert_eq!(found(&store, None, "x", "k"), (Some(3), Some(3)));
        assert_eq!(named(&store, "x"), [3, 1, 4]);
    }

    /// Makes the rows of a tenant's event be those that an earlier version wrote: keyed by id and key alone.
    fn make_earlier(store: &Store, tenant: &str, id: &str, key: (&str, &str)) {
        let (tenant, id) = (label(tenant), id.parse().unwrap());
        let mut changes = std::collections::BTreeMap::new();
        let mut moved = |from: Key, to: Key| {
            let row = store.table.get(&from).unwrap().unwrap();
            changes.insert(to, Change::Put(row.as_slice().into()));
            changes.insert(from, Change::Gone);
        };
        moved(keys::event_id(Some(&tenant), &id), keys::event_id(None, &id));
        moved(
            keys::idempotency(Some(&tenant), key.0),
            keys::idempotency(None, key.1),
        );
        store.table.apply(changes).unwrap();
    }

    #[test]
    fn rows_of_an_earlier_version_are_found_within_their_tenant_alone() {
        let (_dir, store) = store();
        apply(&store, 1, accepted("x", Some("a"), "k"));
        make_earlier(&store, "a", "x", ("k", "k"));
        apply(&store, 2, accepted("y", Some("a"), "l"));
        make_earlier(&store, "a", "y", ("l", &hashed(&label("a"), "l")));
        for tenant in [None, Some("b")] {
            assert_eq!(found(&store, tenant, "x", "k"), (None, None), "{tenant:?}");
            assert_eq!(found(&store, tenant, "y", "l"), (None, None), "{tenant:?}");
        }
        assert_eq!(found(&store, Some("a"), "x", "k"), (Some(1), Some(1)));
        assert_eq!(found(&store, Some("a"), "y", "l"), (Some(2), Some(2)));
        assert_eq!((named(&store, "x"), named(&store, "y")), (vec![1], vec![2]));
        // Whoever comes now takes its own place, and the tenant keeps its event.
        apply(&store, 3, accepted("x", None, "k"));
        apply(&store, 4, accepted("x", Some("b"), "k"));
        for (owner, lsn) in [(Some("a"), 1), (None, 3), (Some("b"), 4)] {
            assert_eq!(
                found(&store, owner, "x", "k"),
                (Some(lsn), Some(lsn)),
                "{owner:?}"
            );
        }
        assert_eq!(named(&store, "x"), [3, 1, 4]);
        // What is forgotten goes from where it lies.
        apply(&store, 5, forgotten(1, "k"));
        apply(&store, 6, forgotten(2, &hashed(&label("a"), "l")));
        assert_eq!(found(&store, Some("a"), "x", "k"), (None, None));
        assert_eq!(found(&store, Some("a"), "y", "l"), (None, None));
        assert!(named(&store, "y").is_empty());
        assert_eq!(store.count(keys::IDEMPOTENCY).unwrap(), 2);
    }

    /// Every key of an id, or of an idempotency key.
    fn names(store: &Store) -> Vec<Vec<u8>> {
        let rows = store.dump().unwrap().into_iter();
        let names = rows.filter(|(key, _)| [keys::EVENT_ID, keys::IDEMPOTENCY].contains(&key[0]));
        names.map(|(key, _)| key.to_vec()).collect()
    }

    #[test]
    fn what_is_carried_keeps_its_names_in_the_places_of_today() {
        let (_dir, store) = store();
        apply(&store, 1, accepted("x", Some("a"), "k"));
        let today = names(&store);
        let carry = |lsn: Lsn| {
            let belongings = store.belongings(1).unwrap().unwrap();
            let state = store.state_of_event(1, &belongings, Some("k"), 0, false).unwrap();
            let carried = Carried {
                state,
                home: Home::None,
                configuration: false,
            };
            apply(&store, lsn, Record::Carried(carried));
        };
        make_earlier(&store, "a", "x", ("k", "k"));
        assert_eq!(names(&store), [b"\x21x".to_vec(), b"\x22k".to_vec()]);
        carry(2);
        assert_eq!(names(&store), today);
        // An event of another's that stands there by now is left alone.
        apply(&store, 3, accepted("x", None, "k"));
        carry(4);
        for (owner, lsn) in [(Some("a"), 1), (None, 3)] {
            assert_eq!(
                found(&store, owner, "x", "k"),
                (Some(lsn), Some(lsn)),
                "{owner:?}"
            );
        }
    }
}
