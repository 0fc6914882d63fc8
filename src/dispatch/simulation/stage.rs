//! Where the simulation stands in for the receivers, and watches: the scheduler and the sender's seam call it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    super::engine::Shared,
    lane_facts::LaneFacts,
    log::Log,
    model::Model,
    receivers::{Manner, Plan, Receivers},
};
use crate::{
    domain::{
        delivery::Trigger,
        endpoint::Endpoint,
        id::{DeliveryKey, EndpointId, Lsn},
        outcome::{Observation, RetryAfter},
        record::{AttemptSettled, Record},
        time::Timestamp,
    },
    sender::{Exchange, Unreached},
    storage::schedule::DueDelivery,
    wire::request::OutboundRequest,
};

/// Rules broken that are told; the first says most.
const MOST_WRONG: usize = 5;

/// Where a receiver is that cannot be reached.
fn on_a_network_of_its_own(endpoint: EndpointId) -> Unreached {
    let mut octets = *endpoint.as_bytes();
    octets.reverse();
    // Global addresses (RFC 4291, section 2.4).
    octets[0] = 0x20 | octets[0] & 0x1f;
    Unreached::Address(IpAddr::from(octets))
}

/// Stays while processes come and go.
pub(in crate::dispatch) struct Stage(Mutex<Inner>);

pub(super) struct Inner {
    pub log: Log,
    /// What the journal holds.
    pub records: Vec<Record>,
    /// Event ids in it.
    pub ids: HashMap<String, Lsn>,
    /// What of it the store has applied, in the model's terms.
    pub model: Model,
    pub applied: Lsn,
    pub out: BTreeMap<DeliveryKey, Out>,
    /// Judged, the verdict not yet applied.
    pub unsettled: BTreeMap<DeliveryKey, EndpointId>,
    pub lanes: BTreeMap<EndpointId, LaneFacts>,
    pub receivers: Receivers,
    /// Who has which event.
    pub taken: HashSet<(EndpointId, String)>,
    pub wrong: Vec<String>,
    /// Milliseconds before this life, and when it began.
    base: u64,
    born: Option<Instant>,
    /// The newest engine time seen in this life, and when.
    pub shown: Option<(Timestamp, u64)>,
    pub wall: Timestamp,
    /// When somebody set the wall clock, or a process began to look at it.
    pub wall_set_at: u64,
    pub begun: u64,
    reads: Reads,
}

/// How what lanes read comes.
struct Reads {
    rng: fastrand::Rng,
    most_millis: u64,
    failures: u8,
}

pub(super) struct Out {
    pub endpoint: EndpointId,
    pub trigger: Trigger,
    /// When it began, in the simulation's own time.
    pub at: u64,
}

impl Stage {
    pub(super) fn new(seed: u64, log: Log) -> Self {
        Self(Mutex::new(Inner {
            log,
            records: Vec::new(),
            ids: HashMap::new(),
            model: Model::default(),
            applied: 0,
            out: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            lanes: BTreeMap::new(),
            receivers: Receivers::new(seed),
            taken: HashSet::new(),
            wrong: Vec::new(),
            base: 0,
            born: None,
            shown: None,
            wall: Timestamp::EPOCH,
            wall_set_at: 0,
            begun: 0,
            reads: Reads {
                rng: fastrand::Rng::with_seed(!seed),
                most_millis: 0,
                failures: 0,
            },
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn say(&self, text: &str) {
        self.lock().say(text);
    }

    /// An attempt is begun.
    pub(in crate::dispatch) fn begins(
        &self,
        shared: &Shared,
        endpoint: &Endpoint,
        row: &DueDelivery,
        trigger: Trigger,
        now: Timestamp,
    ) {
        let mut inner = self.lock();
        let (key, ordinal) = (row.delivery.key, inner.model.ordinal(endpoint.id));
        inner.say(&format!(
            "begin {}.{} e{ordinal} {} due {} at {}",
            key.lsn,
            key.index,
            trigger.as_str(),
            row.due.as_millis(),
            now.as_millis()
        ));
        inner.may_begin(shared, endpoint, row, trigger, now);
        inner.begun += 1;
        let at = inner.now();
        inner.out.insert(
            key,
            Out {
                endpoint: endpoint.id,
                trigger,
                at,
            },
        );
    }

    /// An attempt was judged at `now`, and its record is on its way.
    pub(in crate::dispatch) fn judged(&self, shared: &Shared, record: &AttemptSettled, now: Timestamp) {
        let mut inner = self.lock();
        let Some(key) = record.delivery else {
            return;
        };
        let ordinal = inner.model.ordinal(record.endpoint);
        let disables = if record.disable.is_some() { " disables" } else { "" };
        inner.say(&format!(
            "judge {}.{} e{ordinal} #{} {} {} {:?} {:?}{disables}",
            key.lsn,
            key.index,
            record.number,
            record.class.as_str(),
            record.reason.as_str(),
            record.status,
            record.stage,
        ));
        inner.may_judge(shared, key, &in_engine_time(shared, record), now);
    }

    /// A delivery is found expired.
    pub(in crate::dispatch) fn expires(&self, row: &DueDelivery, now: Timestamp) {
        let mut inner = self.lock();
        let key = row.delivery.key;
        inner.say(&format!("expire {}.{}", key.lsn, key.index));
        if row.delivery.expires_at.is_none_or(|at| at > now) {
            inner.wrong(format!("{key:?} is ended as expired too early"));
        }
        if inner.out.contains_key(&key) {
            inner.wrong(format!("{key:?} is ended as expired while it is out"));
        }
    }

    /// Answers a request in the receiver's place.
    pub(in crate::dispatch) async fn exchange(
        &self,
        endpoint: &Endpoint,
        request: &OutboundRequest,
        total: Duration,
    ) -> Exchange {
        let plan = self.lock().plan(endpoint, request, total);
        tokio::time::sleep(plan.after).await;
        let asked = match plan.observation {
            Observation::Response {
                retry_after: Some(RetryAfter::Delay(delay)),
                ..
            } => format!("after {}", delay.as_millis()),
            Observation::Response {
                retry_after: Some(RetryAfter::At(at)),
                ..
            } => format!("at {}", at.as_millis()),
            Observation::Response { .. } | Observation::Fault(_) => String::new(),
        };
        Exchange {
            observation: plan.observation,
            excerpt: Bytes::from(asked),
            unreached: Some(on_a_network_of_its_own(endpoint.id)),
            duration: plan.after,
            ..Exchange::nothing()
        }
    }

    /// How long a read may be on its way, and how many of a hundred fail.
    pub(super) fn set_reads(&self, most_millis: u64, failures: u8) {
        let mut inner = self.lock();
        inner.reads.most_millis = most_millis;
        inner.reads.failures = failures;
    }

    /// What is read comes at once, some steps later, or some time later.
    pub(in crate::dispatch) async fn delays_a_read(&self) {
        let (steps, millis) = {
            let reads = &mut self.lock().reads;
            let millis = reads.rng.u64(..=reads.most_millis);
            (reads.rng.u8(..4), if reads.rng.bool() { millis } else { 0 })
        };
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }

    pub(in crate::dispatch) fn fails_a_read(&self) -> bool {
        let mut inner = self.lock();
        let fails = inner.reads.rng.u8(..100) < inner.reads.failures;
        if fails {
            inner.say("a read fails");
        }
        fails
    }

    pub(super) fn wall_is_set(&self) {
        let mut inner = self.lock();
        inner.wall_set_at = inner.now();
    }

    pub(super) fn set_manner(&self, endpoint: EndpointId, manner: Manner) {
        self.lock().receivers.set(endpoint, manner);
    }

    /// A process begins, over a journal that ends with this record.
    pub(super) fn born(&self, last_lsn: Lsn) {
        let mut inner = self.lock();
        inner.born = Some(Instant::now());
        inner.wall_set_at = inner.now();
        inner.say(&format!("born over {last_lsn}"));
        let last = usize::try_from(last_lsn).unwrap_or(usize::MAX);
        if last > inner.records.len() {
            inner.wrong(format!("the journal holds {last_lsn} records that nobody wrote"));
        }
        inner.records.truncate(last);
        inner.ids.retain(|_, lsn| *lsn <= last_lsn);
    }

    /// Time stands still from now on, until the next life.
    pub(super) fn stands_still(&self) {
        let mut inner = self.lock();
        inner.base = inner.now();
        inner.born = None;
    }

    /// The process is gone, and what it knew.
    pub(super) fn died(&self, how: &str) {
        let mut inner = self.lock();
        inner.say(&format!("died: {how}"));
        inner.out.clear();
        inner.unsettled.clear();
        inner.lanes.clear();
        inner.shown = None;
        inner.model = Model::default();
        inner.applied = 0;
    }

    /// The store has caught up, for the first time or again: lanes with nothing out have begun anew, with their breakers and buckets.
    pub(super) fn store_is_ready(&self) {
        let mut inner = self.lock();
        inner.say("the store is ready");
        for facts in inner.lanes.values_mut() {
            facts.may_be_gone();
            facts.saved();
        }
    }

    /// The journal holds one record more.
    pub(super) fn published(&self, lsn: Lsn, record: Record) {
        let mut inner = self.lock();
        if let Record::EventAccepted(event) = &record {
            inner.ids.insert(event.id.as_str().to_owned(), lsn);
        }
        let line = format!("record {lsn} {}", name_of(&record));
        inner.say(&line);
        if lsn != inner.records.len() as u64 + 1 {
            let expected = inner.records.len() + 1;
            inner.wrong(format!("record {lsn} comes where {expected} should"));
        }
        inner.records.push(record);
    }

    /// The store has applied everything up to this record.
    pub(super) fn applied(&self, lsn: Lsn) {
        self.lock().apply_up_to(lsn);
    }
}

impl Inner {
    /// Milliseconds since the simulation began.
    pub fn now(&self) -> u64 {
        let lived = self.born.map_or(Duration::ZERO, |born| born.elapsed());
        self.base + u64::try_from(lived.as_millis()).unwrap_or(u64::MAX)
    }

    pub fn say(&mut self, text: &str) {
        let now = self.now();
        self.log.line(now, text);
    }

    pub fn wrong(&mut self, what: String) {
        self.say(&format!("WRONG {what}"));
        self.log.mark();
        if self.wrong.len() < MOST_WRONG {
            self.wrong.push(what);
        }
    }

    pub fn apply_up_to(&mut self, lsn: Lsn) {
        let now = self.now();
        while self.applied < lsn {
            let Some(record) = self
                .records
                .get(usize::try_from(self.applied).unwrap_or(usize::MAX))
            else {
                self.wrong(format!(
                    "record {} is applied before it is published",
                    self.applied + 1
                ));
                return;
            };
            let record = record.clone();
            self.applied += 1;
            self.model.apply(self.applied, &record, now);
            self.take_note(&record);
        }
        for what in std::mem::take(&mut self.model.wrong) {
            self.wrong(what);
        }
        self.lanes_may_be_gone();
    }

    fn plan(&mut self, endpoint: &Endpoint, request: &OutboundRequest, total: Duration) -> Plan {
        let wall = self.wall;
        let plan = self.receivers.plan(endpoint.id, total, wall);
        let ordinal = self.model.ordinal(endpoint.id);
        let id = request
            .headers
            .get("webhook-id")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let lsn = self.ids.get(&id).copied().unwrap_or_default();
        self.say(&format!(
            "asked e{ordinal} event {lsn} answers {:?} after {:?}",
            plan.observation, plan.after
        ));
        if plan.taken {
            self.taken.insert((endpoint.id, id));
        }
        plan
    }
}

/// A receiver that asks for a time asks in the wall clock's.
fn in_engine_time(shared: &Shared, record: &AttemptSettled) -> AttemptSettled {
    let text = std::str::from_utf8(&record.excerpt).unwrap_or_default();
    let at = text.strip_prefix("at ").and_then(|millis| millis.parse().ok());
    let at = at.map(|millis| shared.clock.to_come(Timestamp::from_millis(millis)));
    AttemptSettled {
        excerpt: at.map_or_else(
            || record.excerpt.clone(),
            |at| Bytes::from(format!("at {}", at.as_millis())),
        ),
        ..record.clone()
    }
}

const fn name_of(record: &Record) -> &'static str {
    match record {
        Record::EventAccepted(_) => "accepted",
        Record::AttemptSettled(_) => "settled",
        Record::Configured(_) => "configured",
        Record::DeliveriesRetried(_) => "retried",
        Record::DeliveriesEnded(_) => "ended",
        Record::EventReplayed(_) => "replayed",
        Record::PayloadErased(_) => "erased",
        Record::Carried(_)
        | Record::EventsForgotten(_)
        | Record::AttemptsForgotten(_)
        | Record::IdempotencyForgotten(_)
        | Record::FloorRaised(_)
        | Record::EndpointsForgotten(_)
        | Record::AuditForgotten(_)
        | Record::RollupsFolded(_) => "reclaim",
    }
}
