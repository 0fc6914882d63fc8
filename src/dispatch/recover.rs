//! Recovering: a range of time once more for one endpoint: deliveries that failed, deliveries that were delivered, events
//! that it never got.
//!
//! A recovery goes along the events in the order of their acceptance, in portions, each a bounded read and a few records.
//! Whoever asks for a portion at a time is told where the next one begins, so that a long recovery shows its progress, can
//! be stopped, and goes on after a restart where it was; asking without a limit goes on as long as a request has time. A dry
//! run counts and writes nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    audit,
    engine::{Engine, Shared},
    error::EngineError,
    lists::Patience,
    queries,
};
use crate::{
    domain::{
        condition::Verdict,
        delivery::StageKind,
        endpoint::Endpoint,
        id::{DeliveryKey, EndpointId, Lsn},
        record::{DeliveriesRetried, EventAccepted, EventReplayed},
        subscription,
        time::Timestamp,
    },
    runtime::work_pool::{Pace, pass},
    storage::{
        DeliveryChange,
        queries::{ByEventFilter, ListRange, MissingFilter, next_to},
        stored::{MissingEvent, StoredDelivery},
    },
};

/// Events and deliveries that one portion finds at the most: a bounded batch for the store.
const AT_ONCE: usize = 500;

/// What a recovery is about.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Deliveries to the endpoint that have failed.
    #[default]
    Failed,
    /// Events that were delivered to the endpoint: one delivery of each.
    Delivered,
    /// Events that the endpoint wants and has no delivery of: it was created, or changed, after they were accepted.
    Missing,
    /// All that the endpoint lacks: `Failed` and `Missing`. What it has is sent again only when that is asked for.
    All,
}

impl What {
    /// In which stage the deliveries are that it begins anew.
    const fn stage(self) -> Option<StageKind> {
        match self {
            Self::Failed | Self::All => Some(StageKind::Failed),
            Self::Delivered => Some(StageKind::Delivered),
            Self::Missing => None,
        }
    }

    const fn has_missing(self) -> bool {
        matches!(self, Self::Missing | Self::All)
    }
}

/// Which range is to be recovered.
#[derive(Clone, Debug)]
pub struct RecoverRequest {
    /// Events accepted from this time on,
    pub since: Timestamp,
    /// and up to this one.
    pub until: Option<Timestamp>,
    /// Only deliveries whose last attempt was answered with this status.
    pub status: Option<u16>,
    pub what: What,
    pub dry_run: bool,
    /// Stop after about so many events and deliveries found.
    pub limit: Option<usize>,
    /// Where an earlier portion stopped.
    pub cursor: Option<String>,
}

/// What a recovery did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// Deliveries that are due again, or newly: `failed`, `delivered` and `missing` together.
    pub deliveries: u64,
    pub failed: u64,
    pub delivered: u64,
    pub missing: u64,
    /// Nothing was written.
    pub dry_run: bool,
    /// Pass as `cursor` for the next portion; `None` at the end.
    pub next: Option<String>,
}

/// Where a recovery is.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    /// All events before this one were looked at.
    from: Lsn,
    /// When the last delivery was made due.
    due: Timestamp,
}

impl Place {
    /// Where a recovery of the endpoint `of` is.
    fn read(text: &str, of: EndpointId) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let endpoint: EndpointId = parts.next()?.parse().ok()?;
        let (from, due) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let due = Timestamp::from_millis(due);
        (endpoint == of).then_some(Self { from, due })
    }

    fn cursor(self, of: EndpointId) -> String {
        format!("{of}-{}-{}", self.from, self.due.as_millis())
    }
}

impl Engine {
    /// Makes due what `request` names. Held endpoints get their deliveries when they are enabled.
    ///
    /// # Errors
    /// `Invalid` names the member at fault.
    pub async fn recover_endpoint(
        &self,
        id: EndpointId,
        request: &RecoverRequest,
    ) -> Result<Recovered, EngineError> {
        request.check()?;
        let shared = &self.0;
        let asked = request;
        let request = &RecoverRequest {
            since: shared.clock.past(request.since),
            until: request.until.map(|until| shared.clock.past(until)),
            ..request.clone()
        };
        // Between the look at what there is and the record of what is to be, no other recovery of the endpoint may come:
        // each would add what the other adds.
        let _one_at_a_time = shared.recovering.lock(id).await;
        let endpoint = shared.endpoint(id)?;
        let mut place = match &request.cursor {
            None => Place::default(),
            Some(cursor) => Place::read(cursor, id).ok_or_else(queries::bad_cursor)?,
        };
        let mut recovered = Recovered {
            dry_run: request.dry_run,
            ..Recovered::default()
        };
        let begun = audit::of_recovery(shared, &endpoint);
        let patience = Patience::begin();
        let mut left = request.limit.unwrap_or(usize::MAX);
        let next = loop {
            let portion = left.min(AT_ONCE);
            let (found, next) = shared
                .recoverable(request, &endpoint, place.from, portion)
                .await?;
            recovered.count(&found, request.what);
            if !request.dry_run && !found.is_empty() {
                let so_far = |begun| audit::recovered_so_far(begun, asked, &recovered);
                let audited = begun.as_deref().map(so_far);
                let (changes, due) = begin_anew(id, found, self.now(), place.due);
                shared.change_deliveries(audited, changes).await?;
                place.due = due;
            }
            left -= portion;
            let Some(from) = next else { break None };
            place.from = from;
            if left == 0 || patience.is_over().await {
                break Some(place);
            }
        };
        recovered.next = next.map(|place| place.cursor(id));
        Ok(recovered)
    }
}

impl RecoverRequest {
    fn check(&self) -> Result<(), EngineError> {
        let refuse = |field: &str, rule: &str| {
            Err(EngineError::Invalid {
                field: field.to_owned(),
                rule: rule.to_owned(),
            })
        };
        if self.until.is_some_and(|until| until < self.since) {
            return refuse("until", "is before since; give a later time, or leave it out");
        }
        if self.status.is_some() && self.what.has_missing() {
            return refuse(
                "status",
                "is of deliveries; leave it out, or recover what failed or was delivered",
            );
        }
        if self.limit == Some(0) {
            return refuse("limit", "is 0; give at least 1, or leave it out");
        }
        Ok(())
    }
}

impl Recovered {
    fn count(&mut self, found: &[Found], what: What) {
        for found in found {
            let counted = match (found, what) {
                (Found::Missing { .. }, _) => &mut self.missing,
                (Found::Ended(_), What::Delivered) => &mut self.delivered,
                (Found::Ended(_), _) => &mut self.failed,
            };
            *counted += 1;
            self.deliveries += 1;
        }
    }
}

/// Something to be sent.
enum Found {
    /// This delivery, once more.
    Ended(DeliveryKey),
    /// This event, when it is due: now, or when it was delayed to.
    Missing { event: Lsn, due: Timestamp },
}

/// Found in a portion, in the order of the events, and from which event on the next one goes, if there is more.
type Portion<T> = (Vec<T>, Option<Lsn>);

impl Shared {
    async fn recoverable(
        &self,
        request: &RecoverRequest,
        endpoint: &Endpoint,
        from: Lsn,
        portion: usize,
    ) -> Result<Portion<Found>, EngineError> {
        let (ended, mut next) = match request.what.stage() {
            Some(stage) => self.ended(request, endpoint.id, stage, from, portion).await?,
            None => (Vec::new(), None),
        };
        let mut found: Vec<(Lsn, Found)> = Vec::new();
        if request.what.has_missing() {
            let (missing, stopped) = self.missing(request, endpoint, from, next, portion).await?;
            next = stopped.or(next);
            found.extend(
                missing
                    .into_iter()
                    .map(|(event, due)| (event, Found::Missing { event, due })),
            );
        }
        found.extend(ended.into_iter().map(|(event, key)| (event, Found::Ended(key))));
        found.retain(|(event, _)| next.is_none_or(|next| *event < next));
        // Stable: the deliveries of one event are in order.
        found.sort_by_key(|(event, _)| *event);
        Ok((found.into_iter().map(|(_, found)| found).collect(), next))
    }

    /// Deliveries that have ended and can be sent again: of those that were delivered the first of each event.
    async fn ended(
        &self,
        request: &RecoverRequest,
        endpoint: EndpointId,
        stage: StageKind,
        from: Lsn,
        portion: usize,
    ) -> Result<Portion<(Lsn, DeliveryKey)>, EngineError> {
        let filter = ByEventFilter {
            endpoint,
            stage,
            status: request.status,
            since: request.since,
            until: request.until,
        };
        let page = self.data.list_by_event(filter, from, portion).await?;
        let can_be_sent = |found: &StoredDelivery| {
            let event = found.event.as_ref();
            event.is_some_and(|event| event.erased.is_none())
        };
        let rows = page.rows.into_iter().filter(can_be_sent);
        let mut ended: Vec<_> = rows
            .map(|found| (found.delivery.event, found.delivery.key))
            .collect();
        if stage == StageKind::Delivered {
            ended.dedup_by_key(|(event, _)| *event);
        }
        Ok((ended, page.next))
    }

    /// Events that the endpoint wants and has no delivery of, up to `before`, and when each is due.
    async fn missing(
        &self,
        request: &RecoverRequest,
        endpoint: &Endpoint,
        from: Lsn,
        before: Option<Lsn>,
        portion: usize,
    ) -> Result<Portion<(Lsn, Timestamp)>, EngineError> {
        let filter = MissingFilter {
            endpoint: endpoint.id,
            tenant: endpoint.spec.tenant.clone(),
            event_types: endpoint.spec.events.clone(),
            since: request.since,
            until: request.until,
        };
        let range = ListRange {
            beyond: next_to(DeliveryKey::new(from, 0), false),
            ascending: true,
            limit: portion,
        };
        let page = self.data.list_missing(filter, range).await?;
        let mut next = page.next.map(|beyond| beyond.lsn + 1);
        let mut missing = Vec::new();
        for MissingEvent { sequence, event } in page.rows {
            if before.is_some_and(|before| sequence >= before) {
                break;
            }
            if let Some(due) = self.wanted_at(endpoint, &event) {
                missing.push((sequence, due));
            }
            if pass().await == Pace::Finish {
                next = Some(sequence + 1);
                break;
            }
        }
        // The earlier of the two ends the portion.
        let next = [next, before].into_iter().flatten().min();
        Ok((missing, next))
    }

    /// When an event is due at an endpoint that wants it, as its subscription is now: now, or when it was delayed to. One that
    /// has expired is not wanted any more.
    fn wanted_at(&self, endpoint: &Endpoint, event: &EventAccepted) -> Option<Timestamp> {
        let spec = &endpoint.spec;
        let channel = event.channel.as_ref();
        let pattern = subscription::judge(&spec.events, &spec.channels, &event.event_type, channel);
        // Operational events go only to those who name them.
        let subscribed = pattern.is_ok_and(|pattern| event.notice_for.is_none() || pattern.is_specific());
        let verdict = || self.registry.verdict(endpoint.id, event.into());
        let now = self.clock.now();
        let wanted = subscribed
            && event.expires_at.is_none_or(|at| at > now)
            && verdict().is_none_or(|verdict| verdict == Verdict::Matched);
        wanted.then(|| event.due.max(now))
    }
}

/// The unit of dues.
const TICK: Duration = Duration::from_millis(1);

/// Gives out when deliveries are due. A schedule is by due time and then by the deliveries' keys, so that one whose key is
/// smaller than that of the one before it is due a millisecond later.
struct Dues {
    at: Timestamp,
    last: DeliveryKey,
}

impl Dues {
    fn next(&mut self, key: DeliveryKey) -> Timestamp {
        if key < self.last {
            self.at = self.at.plus(TICK);
        }
        self.last = key;
        self.at
    }
}

/// The keys of deliveries that are made of events now are larger than all there are.
const TO_COME: DeliveryKey = DeliveryKey::new(Lsn::MAX, 0);

/// Makes all of this due, in this order: now, and later than what was made due by `after`. Also when the last is due.
fn begin_anew(
    endpoint: EndpointId,
    found: Vec<Found>,
    now: Timestamp,
    after: Timestamp,
) -> (Vec<DeliveryChange>, Timestamp) {
    let mut dues = Dues {
        at: now.max(after.plus(TICK)),
        last: DeliveryKey::MIN,
    };
    let mut changes: Vec<DeliveryChange> = Vec::new();
    for found in found {
        match found {
            Found::Ended(key) => {
                let due = dues.next(key);
                match changes.last_mut() {
                    Some(DeliveryChange::Retried(retried)) if retried.due == due => retried.keys.push(key),
                    _ => changes.push(DeliveryChange::Retried(DeliveriesRetried {
                        keys: vec![key],
                        due,
                    })),
                }
            }
            Found::Missing { event, due } => changes.push(DeliveryChange::Replayed(EventReplayed {
                event,
                due: due.max(dues.next(TO_COME)),
                fan_out: vec![endpoint],
            })),
        }
    }
    (changes, dues.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_from_its_cursor_and_is_one_endpoint_s() {
        let [of, other] = [1, 2].map(|byte| EndpointId::from_bytes([byte; 16]));
        let place = Place {
            from: 77,
            due: Timestamp::from_millis(1_795_240_800_123),
        };
        assert_eq!(Place::read(&place.cursor(of), of), Some(place));
        assert_eq!(Place::read(&place.cursor(of), other), None);
        for text in ["", "x17", "m", &format!("{of}-1"), &format!("{of}-1-x")] {
            assert_eq!(Place::read(text, of), None, "{text}");
        }
    }

    #[test]
    fn what_begins_anew_is_due_in_the_order_of_the_events() {
        let endpoint = EndpointId::from_bytes([1; 16]);
        let [first, second, third] = [7, 8, 9].map(Timestamp::from_millis);
        let ended = |lsn| Found::Ended(DeliveryKey::new(lsn, 0));
        let missing = |event, due| Found::Missing { event, due };
        // A replay's delivery (20) of an event before the one that 9 is of; a missing event, and one that is delayed.
        let found = vec![
            ended(3),
            ended(20),
            ended(9),
            missing(10, first),
            missing(11, third),
            ended(12),
        ];
        let retried = |lsns: &[Lsn], due| {
            let keys = lsns.iter().map(|lsn| DeliveryKey::new(*lsn, 0)).collect();
            DeliveryChange::Retried(DeliveriesRetried { keys, due })
        };
        let replayed = |event, due| {
            DeliveryChange::Replayed(EventReplayed {
                event,
                due,
                fan_out: vec![endpoint],
            })
        };
        let (changes, last) = begin_anew(endpoint, found, first, Timestamp::default());
        assert_eq!(
            changes,
            [
                retried(&[3, 20], first),
                retried(&[9], second),
                replayed(10, second),
                replayed(11, third),
                retried(&[12], third),
            ]
        );
        assert_eq!(last, third);
        let (changes, last) = begin_anew(endpoint, vec![ended(3)], first, second);
        assert_eq!((changes, last), (vec![retried(&[3], third)], third));
    }
}
