//! Recovering: a range of time once more for one endpoint: what failed there, and what it never got.
//!
//! A recovery goes through in portions, each a bounded scan and one group of records. Whoever asks for a portion at a
//! time is told where the next one begins, so that a long recovery shows its progress, can be stopped, and goes on
//! after a restart where it was; asking without a limit goes on as long as a request has time. A dry run counts and writes
//! nothing.

use serde::{Deserialize, Serialize};

use super::{
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
        queries::{DeliveryFilter, Endpoints, ListRange, MissingFilter, next_to},
        stored::{MissingEvent, StoredDelivery},
    },
};

/// Deliveries made due, or events looked at, by one group of records: a bounded batch for the store.
const AT_ONCE: usize = 500;

/// What a recovery is about.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Deliveries to the endpoint that have failed.
    #[default]
    Failed,
    /// Events that the endpoint wants and has no delivery of: it was created, or changed, after they were accepted.
    Missing,
    All,
}

/// Which range is to be recovered.
#[derive(Clone, Debug)]
pub struct RecoverRequest {
    /// Events accepted from this time on,
    pub since: Timestamp,
    /// and up to this one.
    pub until: Option<Timestamp>,
    /// Only failed deliveries whose last attempt was answered with this status.
    pub status: Option<u16>,
    pub what: What,
    pub dry_run: bool,
    /// Stop after about so many events or failed deliveries looked at.
    pub limit: Option<usize>,
    /// Where an earlier portion stopped.
    pub cursor: Option<String>,
}

/// What a recovery did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// Deliveries that are due again, or newly: `failed` and `missing` together.
    pub deliveries: u64,
    pub failed: u64,
    pub missing: u64,
    /// Nothing was written.
    pub dry_run: bool,
    /// Pass as `cursor` for the next portion; `None` at the end.
    pub next: Option<String>,
}

/// Where a recovery is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// In the list of failed deliveries, behind this key.
    Failed(Option<DeliveryKey>),
    /// Among the events, at this record; `None` before the first one of the range is looked for.
    Missing(Option<Lsn>),
    End,
}

impl Place {
    fn first(what: What) -> Self {
        match what {
            What::Failed | What::All => Self::Failed(None),
            What::Missing => Self::Missing(None),
        }
    }

    fn after_failed(what: What) -> Self {
        match what {
            What::All => Self::Missing(None),
            What::Failed | What::Missing => Self::End,
        }
    }

    /// Where a recovery of the endpoint `of` is.
    fn read(text: &str, of: EndpointId) -> Result<Self, EngineError> {
        let place = match text.split_at_checked(1) {
            Some(("f", key)) => failed_in(key, of).map(|key| Self::Failed(Some(key))),
            Some(("m", "")) => Some(Self::Missing(None)),
            Some(("m", lsn)) => lsn.parse().ok().map(|lsn| Self::Missing(Some(lsn))),
            _ => None,
        };
        place.ok_or_else(queries::bad_cursor)
    }

    fn cursor(&self, of: EndpointId) -> Option<String> {
        match self {
            Self::Failed(key) => key.map(|key| format!("f{of}-{}-{}", key.lsn, key.index)),
            Self::Missing(None) => Some("m".to_owned()),
            Self::Missing(Some(lsn)) => Some(format!("m{lsn}")),
            Self::End => None,
        }
    }
}

/// The failed delivery that a cursor names, if it is the endpoint's.
fn failed_in(text: &str, of: EndpointId) -> Option<DeliveryKey> {
    let mut parts = text.splitn(3, '-');
    let endpoint: EndpointId = parts.next()?.parse().ok()?;
    let key = DeliveryKey::new(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (endpoint == of).then_some(key)
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
            None => Place::first(request.what),
            Some(cursor) => Place::read(cursor, id)?,
        };
        let mut recovered = Recovered {
            dry_run: request.dry_run,
            ..Recovered::default()
        };
        let patience = Patience::begin();
        let mut left = request.limit.unwrap_or(usize::MAX);
        while place != Place::End && left > 0 {
            let portion = left.min(AT_ONCE);
            let (again, next) = match &place {
                Place::Failed(beyond) => {
                    let failed = shared.failed(request, id, *beyond, portion, &mut recovered);
                    failed.await?
                }
                Place::Missing(from) => {
                    let missing = shared.missing(request, &endpoint, *from, portion, &mut recovered);
                    missing.await?
                }
                Place::End => break,
            };
            if !request.dry_run {
                shared.carry_out(again).await?;
            }
            left -= portion;
            place = next;
            if patience.is_over().await {
                break;
            }
        }
        recovered.deliveries = recovered.failed + recovered.missing;
        recovered.next = place.cursor(id);
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
        if self.status.is_some() && self.what != What::Failed {
            return refuse(
                "status",
                "is of failed deliveries; leave it out, or recover what failed",
            );
        }
        if self.limit == Some(0) {
            return refuse("limit", "is 0; give at least 1, or leave it out");
        }
        Ok(())
    }
}

/// A portion of a recovery.
#[derive(Default)]
struct Again {
    retried: Option<DeliveriesRetried>,
    replayed: Vec<EventReplayed>,
}

impl Shared {
    async fn carry_out(&self, again: Again) -> Result<(), EngineError> {
        if let Some(retried) = again.retried {
            self.data.retry_deliveries(retried).await?;
        }
        self.data.replay_events(again.replayed).await?;
        Ok(())
    }

    /// A portion of the failed deliveries, as one change.
    async fn failed(
        &self,
        request: &RecoverRequest,
        id: EndpointId,
        beyond: Option<DeliveryKey>,
        portion: usize,
        recovered: &mut Recovered,
    ) -> Result<(Again, Place), EngineError> {
        let filter = DeliveryFilter {
            endpoints: Endpoints::Only([id].into()),
            stage: Some(StageKind::Failed),
            status: request.status,
            since: Some(request.since),
            until: request.until,
            ..DeliveryFilter::default()
        };
        let range = ListRange {
            beyond,
            ascending: true,
            limit: portion,
        };
        let page = self.data.list_deliveries(filter, range).await?;
        let can_be_sent = |found: &StoredDelivery| {
            let event = found.event.as_ref();
            event.is_none_or(|event| event.erased.is_none())
        };
        let due = page.rows.iter().filter(|found| can_be_sent(found));
        let due: Vec<DeliveryKey> = due.map(|found| found.delivery.key).collect();
        recovered.failed += due.len() as u64;
        let next = match page.next {
            None => Place::after_failed(request.what),
            next => Place::Failed(next),
        };
        let retried = (!due.is_empty()).then(|| DeliveriesRetried {
            keys: due,
            due: self.clock.now(),
        });
        let replayed = Vec::new();
        Ok((Again { retried, replayed }, next))
    }

    /// A portion of the events that the endpoint wants and has no delivery of, a record each.
    async fn missing(
        &self,
        request: &RecoverRequest,
        endpoint: &Endpoint,
        from: Option<Lsn>,
        portion: usize,
        recovered: &mut Recovered,
    ) -> Result<(Again, Place), EngineError> {
        let filter = MissingFilter {
            endpoint: endpoint.id,
            tenant: endpoint.spec.tenant.clone(),
            event_types: endpoint.spec.events.clone(),
            since: request.since,
            until: request.until,
        };
        let range = ListRange {
            beyond: from.and_then(|from| next_to(DeliveryKey::new(from, 0), false)),
            ascending: true,
            limit: portion,
        };
        let page = self.data.list_missing(filter, range).await?;
        let mut next = match page.next {
            None => Place::End,
            Some(beyond) => Place::Missing(Some(beyond.lsn + 1)),
        };
        let mut replayed = Vec::new();
        let last = page.rows.last().map(|missing| missing.sequence);
        for MissingEvent { sequence, event } in page.rows {
            if pass().await == Pace::Finish && Some(sequence) != last {
                next = Place::Missing(Some(sequence));
                break;
            }
            if let Some(due) = self.wanted_at(endpoint, &event) {
                replayed.push(EventReplayed {
                    event: sequence,
                    due,
                    fan_out: vec![endpoint.id],
                });
            }
        }
        recovered.missing += replayed.len() as u64;
        let retried = None;
        Ok((Again { retried, replayed }, next))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_from_its_cursor() {
        let [of, other] = [1, 2].map(|byte| EndpointId::from_bytes([byte; 16]));
        let places = [
            Place::Failed(Some(DeliveryKey::new(17, 2))),
            Place::Missing(None),
            Place::Missing(Some(77)),
        ];
        for place in &places {
            assert_eq!(Place::read(&place.cursor(of).unwrap(), of).unwrap(), *place);
        }
        assert!(Place::read(&places[0].cursor(of).unwrap(), other).is_err());
        assert_eq!(Place::End.cursor(of), None);
        for bad in ["", "x", "m-1", "f", "f00", "fzz", "é"] {
            assert!(Place::read(bad, of).is_err(), "{bad}");
        }
    }
}
