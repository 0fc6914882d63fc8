//! Idempotency between the journal and the index.
//!
//! Whether an id was used before is a question to the index, but an event is in the index only some milliseconds after
//! it is durable. A claim bridges the gap: it is held from before the question is asked until the index has
//! applied the event, so that of two callers with the same id exactly one is first.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    domain::{
        event::{ContentHash, Label},
        id::{EventId, Lsn},
    },
    storage::{Claimed, KnownEvent},
};

/// What is reserved, within a tenant or among events without one: an event id or an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    EventId(Option<Label>, EventId),
    IdempotencyKey(Option<Label>, String),
}

impl Claim {
    pub const fn kind(&self) -> Claimed {
        match self {
            Self::EventId(..) => Claimed::EventId,
            Self::IdempotencyKey(..) => Claimed::IdempotencyKey,
        }
    }
}

#[derive(Default)]
pub struct Claims(Mutex<Held>);

#[derive(Default)]
struct Held {
    claims: HashMap<Claim, Holder>,
    /// Durable and not yet applied, in the order of the journal.
    durable: VecDeque<(Lsn, Vec<Claim>)>,
    /// The index has everything up to this.
    applied: Lsn,
}

#[derive(Clone)]
struct Holder {
    hash: ContentHash,
    /// `None` while the first caller's answer is open.
    answer: Option<KnownEvent>,
    changed: Arc<Notify>,
}

/// What became of a try to reserve.
pub enum Reserve {
    /// The caller is first.
    First,
    /// Another is first and was answered so.
    Known(KnownEvent),
    /// Used before with other content.
    Different(Claimed),
    /// Another caller's answer is open: wait for it, then try again.
    Wait(Arc<Notify>),
}

impl Claims {
    /// Reserves all claims or none.
    pub fn reserve(&self, claims: &[Claim], hash: ContentHash) -> Reserve {
        let mut held = self.lock();
        for claim in claims {
            match held.claims.get(claim) {
                None => {}
                // The first may yet be refused, which frees the claim for other content.
                Some(holder @ Holder { answer: None, .. }) => return Reserve::Wait(holder.changed.clone()),
                Some(holder) if holder.hash != hash => return Reserve::Different(claim.kind()),
                Some(Holder {
                    answer: Some(answer), ..
                }) => return Reserve::Known(answer.clone()),
            }
        }
        let changed = Arc::new(Notify::new());
        for claim in claims {
            held.claims.insert(
                claim.clone(),
                Holder {
                    hash,
                    answer: None,
                    changed: changed.clone(),
                },
            );
        }
        Reserve::First
    }

    /// The event is durable as `lsn`: later callers get its answer, until the store can give it.
    pub fn answer(&self, claims: Vec<Claim>, lsn: Lsn, answer: &KnownEvent) {
        let mut held = self.lock();
        let is_applied = lsn <= held.applied;
        for claim in &claims {
            if let Some(holder) = held.claims.get_mut(claim) {
                holder.answer = Some(answer.clone());
                holder.changed.notify_waiters();
            }
            // Nothing may be applied for long after it, and then nobody would take the claim away.
            if is_applied {
                held.claims.remove(claim);
            }
        }
        if !is_applied {
            held.durable.push_back((lsn, claims));
        }
    }

    /// The answer of the event that holds a claim, or who is told when it is there.
    pub fn held(&self, claim: &Claim) -> Option<Result<KnownEvent, Arc<Notify>>> {
        let held = self.lock();
        let holder = held.claims.get(claim)?;
        Some(holder.answer.clone().ok_or_else(|| holder.changed.clone()))
    }

    /// The event was not accepted: the claims are free again.
    pub fn give_up(&self, claims: &[Claim]) {
        let mut held = self.lock();
        for claim in claims {
            if let Some(holder) = held.claims.remove(claim) {
                holder.changed.notify_waiters();
            }
        }
    }

    /// The store has applied everything up to `lsn`.
    pub fn applied(&self, lsn: Lsn) {
        let mut held = self.lock();
        held.applied = held.applied.max(lsn);
        // Answers come in nearly, not wholly, in journal order, so the few behind a later one wait a little longer.
        while held.durable.front().is_some_and(|(first, _)| *first <= lsn) {
            for claim in held
                .durable
                .pop_front()
                .map(|(_, claims)| claims)
                .unwrap_or_default()
            {
                held.claims.remove(&claim);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted() -> KnownEvent {
        KnownEvent {
            sequence: 5,
            id: "a".parse().unwrap(),
            event_type: "x".parse().unwrap(),
            content_hash: [1; 16],
            deliveries: 1,
        }
    }

    #[test]
    fn the_first_caller_wins_and_the_next_gets_its_answer() {
        let reserved = Claims::default();
        let claims = vec![
            Claim::EventId(None, "a".parse().unwrap()),
            Claim::IdempotencyKey(None, "k".into()),
        ];
        assert!(matches!(reserved.reserve(&claims, [1; 16]), Reserve::First));
        assert!(matches!(
            reserved.reserve(&claims[1..], [1; 16]),
            Reserve::Wait(_)
        ));
        assert!(matches!(reserved.reserve(&claims, [2; 16]), Reserve::Wait(_)));
        reserved.answer(claims.clone(), 5, &accepted());
        assert!(matches!(
            reserved.reserve(&claims, [2; 16]),
            Reserve::Different(_)
        ));
        assert!(matches!(reserved.reserve(&claims, [1; 16]), Reserve::Known(_)));
        reserved.applied(4);
        assert!(matches!(reserved.reserve(&claims, [1; 16]), Reserve::Known(_)));
        reserved.applied(5);
        assert!(matches!(reserved.reserve(&claims, [1; 16]), Reserve::First));
        reserved.give_up(&claims);
        assert!(matches!(reserved.reserve(&claims, [2; 16]), Reserve::First));
    }

    #[test]
    fn an_answer_that_comes_when_the_index_has_the_event_holds_nothing() {
        let reserved = Claims::default();
        let claims = vec![Claim::EventId(None, "a".parse().unwrap())];
        assert!(matches!(reserved.reserve(&claims, [1; 16]), Reserve::First));
        reserved.applied(5);
        reserved.answer(claims.clone(), 5, &accepted());
        assert!(matches!(reserved.reserve(&claims, [2; 16]), Reserve::First));
    }

    #[test]
    fn the_claims_of_two_tenants_are_two() {
        let reserved = Claims::default();
        let tenants = [None, Some("a"), Some("b")];
        for (tenant, hash) in tenants.into_iter().zip(0..) {
            let tenant: Option<Label> = tenant.map(|tenant| tenant.parse().unwrap());
            let claims = [
                Claim::EventId(tenant.clone(), "x".parse().unwrap()),
                Claim::IdempotencyKey(tenant, "x".into()),
            ];
            assert!(matches!(reserved.reserve(&claims, [hash; 16]), Reserve::First));
        }
    }
}
