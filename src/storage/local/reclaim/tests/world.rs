//! A journal, a store that follows it, and what may happen to them.

use std::{collections::BTreeSet, ops::ControlFlow, path::Path, time::Duration};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    super::{Again, Bench, Reclaimer, Retention, Trouble, begin},
    expected::{self, Expected},
};
use crate::{
    dispatch::History,
    domain::{
        audit::AuditEntry,
        delivery::{Delivery, Progress, Stage, Trigger},
        event::Payload,
        health::Health,
        id::{AuditId, DeliveryKey, EndpointId, Lsn},
        outcome::{Class, Reason},
        record::{AttemptSettled, EventAccepted, Place, Record},
        time::Timestamp,
    },
    runtime::hex,
    storage::local::codec,
    storage::local::index::{
        Placed, Row, Store, keys,
        open::{self, Trust},
        query::Window,
        rows::EventRow,
    },
    storage::local::journal::{self, Draft, Follower, Journal},
};

pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub const WINDOW: Duration = Duration::from_secs(400);
const ZERO: (Timestamp, DeliveryKey) = (Timestamp::EPOCH, DeliveryKey::MIN);

pub struct World {
    pub dir: TempDir,
    pub journal: Journal,
    pub store: Store,
    follower: Follower,
    pub now: Timestamp,
    pub tick: Instant,
    pub retention: Retention,
    pub reclaimer: Reclaimer,
    pub inactive: Vec<EndpointId>,
    /// What of the store's memory was written out while nothing was accepted, and at other times.
    pub folds: Folds,
    history: History,
    events: u64,
    buffer_bytes: u64,
    /// Endpoints that were deleted, whose ids nobody gets again.
    pub deleted: BTreeSet<EndpointId>,
    /// What was written, as rollups should have it.
    pub expected: Expected,
}

#[derive(Copy, Clone, Debug, Default)]
pub struct Folds {
    pub under_pause: u64,
    pub otherwise: u64,
}

pub fn endpoint(number: u8) -> EndpointId {
    EndpointId::from_bytes([number; 16])
}

fn journal_options(dir: &Path) -> journal::Options {
    journal::Options {
        segment_bytes: 3000,
        min_free_bytes: 0,
        ..journal::Options::new(dir.join("journal"))
    }
}

/// In memory, where there is such a place: nothing here is about what a disk keeps.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn open_store(dir: &Path, journal: &Journal, buffer_bytes: u64) -> Store {
    let opened = open::open(&open::Options {
        data: dir.to_owned(),
        table: crate::storage::local::index::TableOptions {
            cache_bytes: 1024 * 1024,
            buffer_bytes,
            indexes: crate::storage::local::index::Indexes::All,
        },
        journal: journal.uuid(),
        last_lsn: journal.last_lsn(),
        first_lsn: journal.first_lsn(),
        trust: Trust::Yes,
        check_bytes: 0,
    });
    opened.unwrap().store
}

impl World {
    pub fn new(retention: Retention) -> Self {
        Self::with_buffer(retention, 16 * 1024)
    }

    /// With a store that gathers so much before it writes anything out.
    pub fn with_buffer(retention: Retention, buffer_bytes: u64) -> Self {
        let dir = folder();
        let (journal, _) = Journal::open(journal_options(dir.path())).unwrap();
        let store = open_store(dir.path(), &journal, buffer_bytes);
        Self {
            follower: journal.follow(0),
            reclaimer: Reclaimer::new(retention, WINDOW),
            dir,
            journal,
            store,
            now: START,
            tick: Instant::now(),
            retention,
            inactive: Vec::new(),
            folds: Folds::default(),
            history: History::default(),
            events: 0,
            buffer_bytes,
            deleted: BTreeSet::new(),
            expected: Expected::default(),
        }
    }

    /// Appends and applies; answers the first sequence number.
    pub fn append(&mut self, records: &[Record]) -> Lsn {
        let encode = |record| codec::encode(record).unwrap();
        let first = self.append_drafts(records.iter().map(encode).collect());
        expected::note(&mut self.expected, records);
        first
    }

    /// The same for what is encoded already.
    pub fn append_drafts(&mut self, drafts: Vec<Draft>) -> Lsn {
        let first = self.journal.pause().unwrap().append(drafts).unwrap().first;
        catch_up(&mut self.follower, &self.journal, &self.store, 1000).unwrap();
        first
    }

    /// One piece of reclaim.
    pub fn step(&mut self) -> Again {
        let Self {
            journal,
            store,
            follower,
            folds,
            ..
        } = self;
        let inactive = || self.inactive.clone();
        let before = store.folded();
        let mut under_pause = 0;
        let again = self.reclaimer.step(&mut Bench {
            journal,
            store,
            now: self.now,
            ago: &|span| self.history.ago(self.now, span),
            keys_over: self.history.ago(self.now, WINDOW).plus(WINDOW),
            tick: self.tick,
            inactive: &inactive,
            catch_up: &mut || {
                let before = store.folded();
                let caught_up = catch_up(follower, journal, store, 1000);
                if journal.is_paused() {
                    under_pause += store.folded() - before;
                }
                caught_up
            },
        });
        folds.under_pause += under_pause;
        folds.otherwise += store.folded() - before - under_pause;
        again.unwrap()
    }

    /// Time goes by, and reclaim does what there is to do.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.tick += time + Duration::from_secs(700);
        for _ in 0..100_000 {
            if let Again::In(_) = self.step() {
                return;
            }
        }
        panic!("reclaim finds no end");
    }

    /// The clock jumps forward.
    pub fn leap(&mut self, by: Duration) {
        let from = self.now;
        self.now = self.now.plus(by);
        self.history.skip(from, self.now);
    }

    /// The process dies, without its journal or store coming to harm.
    pub fn restart(&mut self) {
        let spare = folder();
        let (other, _) = Journal::open(journal_options(spare.path())).unwrap();
        let aside = open_store(spare.path(), &other, self.buffer_bytes);
        self.follower = other.follow(0);
        drop(std::mem::replace(&mut self.store, aside));
        drop(std::mem::replace(&mut self.journal, other));
        let (journal, recovery) = Journal::open(journal_options(self.dir.path())).unwrap();
        assert!(!recovery.is_damaged(), "{recovery}");
        self.store = open_store(self.dir.path(), &journal, self.buffer_bytes);
        begin(&journal, &self.store).unwrap();
        self.follower = journal.follow(self.store.applied().unwrap().lsn);
        self.journal = journal;
        self.reclaimer = Reclaimer::new(self.retention, WINDOW);
        catch_up(&mut self.follower, &self.journal, &self.store, 1000).unwrap();
    }

    /// A store that is made from what is left of the journal, in batches of this size.
    pub fn rebuilt(&self, batch: usize) -> Vec<Row> {
        let dir = folder();
        let store = open_store(dir.path(), &self.journal, self.buffer_bytes);
        begin(&self.journal, &store).unwrap();
        let mut follower = self.journal.follow(store.applied().unwrap().lsn);
        catch_up(&mut follower, &self.journal, &store, batch).unwrap();
        store.dump().unwrap()
    }

    /// Everything that must be so at any time.
    pub fn check(&self, batch: usize) {
        let report = self.store.check().unwrap();
        assert!(report.is_clean(), "{:?}", report.faults);
        let (live, rebuilt) = (self.store.dump().unwrap(), self.rebuilt(batch));
        if live != rebuilt {
            let lacks = |rows: &[Row], other: &[Row]| -> Vec<String> {
                let lacking = rows.iter().filter(|row| !other.contains(row));
                let text = |row: &Row| format!("{} = {}", hex::encode(&row.0), hex::encode(&row.1));
                lacking.map(text).take(8).collect()
            };
            panic!(
                "first lsn {}, last {}, floor {:?}\nmissing: {:#?}\nunexpected: {:#?}",
                self.journal.first_lsn(),
                self.journal.last_lsn(),
                self.store.floor(),
                lacks(&live, &rebuilt),
                lacks(&rebuilt, &live)
            );
        }
        for (lsn, row) in self.all_events() {
            let event = self
                .event(&row)
                .unwrap_or_else(|| panic!("event {lsn} cannot be read"));
            assert_eq!(event.id, row.id);
            assert_eq!(event.payload.bytes, payload(row.id.as_str()));
        }
    }

    pub fn event(&self, row: &EventRow) -> Option<EventAccepted> {
        let entry = self.journal.read(codec::location(row.place)).ok()?;
        codec::event(codec::decode(&entry).ok()?)
    }

    pub fn all_events(&self) -> Vec<(Lsn, EventRow)> {
        self.store.events_from(0, usize::MAX).unwrap()
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        let window = Window {
            prefix: vec![keys::DELIVERY],
            beyond: None,
            ascending: true,
            limit: usize::MAX,
            looks: usize::MAX,
        };
        let rows = self.store.window::<Delivery>(&window, |_, _| true).unwrap();
        rows.found.into_iter().map(|(_, delivery)| delivery).collect()
    }

    /// How many schedule entries an endpoint has.
    pub fn scheduled(&self, endpoint: EndpointId) -> usize {
        let mut count = 0;
        let walk = self.store.walk(endpoint, ZERO, usize::MAX, |_, _| {
            count += 1;
            ControlFlow::Continue(())
        });
        walk.unwrap();
        count
    }

    /// Each id is used three times, by two tenants and without one.
    pub fn new_event(&mut self, fan_out: &[EndpointId]) -> EventAccepted {
        self.events += 1;
        let tenants = [None, Some("a"), Some("b")];
        let tenant = tenants[(self.events % 3) as usize];
        let id = format!("event-{}", self.events / 3);
        EventAccepted {
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            ..accepted(&id, self.now, fan_out)
        }
    }

    /// Accepts an event and delivers it to all.
    pub fn delivered(&mut self, fan_out: &[EndpointId]) -> Lsn {
        let event = self.new_event(fan_out);
        let lsn = self.append(&[Record::EventAccepted(event)]);
        for index in 0..fan_out.len() {
            let key = DeliveryKey::new(lsn, u32::try_from(index).unwrap());
            self.settle(key, Stage::Delivered);
        }
        lsn
    }

    pub fn settle(&mut self, key: DeliveryKey, stage: Stage) -> Lsn {
        let delivery = self.store.delivery(key).unwrap().unwrap();
        let record = attempt(&delivery, self.now, stage);
        self.append(&[Record::AttemptSettled(record)])
    }
}

/// Applies what is published, in batches.
fn catch_up(follower: &mut Follower, journal: &Journal, store: &Store, batch: usize) -> Result<(), Trouble> {
    loop {
        let entries = follower.try_next(batch, usize::MAX)?;
        if entries.is_empty() {
            return Ok(());
        }
        let placed: Vec<Placed> = entries
            .iter()
            .map(|entry| Placed {
                lsn: entry.lsn,
                place: Place {
                    segment: entry.location.segment,
                    offset: entry.location.offset,
                    len: entry.location.len,
                },
                record: codec::decode(entry).unwrap(),
            })
            .collect();
        store.apply(journal.uuid(), &placed)?;
    }
}

/// What an event carries, so that a wrong one is known.
fn payload(id: &str) -> Bytes {
    Bytes::from(format!(
        "{{\"event\": \"{id}\", \"filler\": \"{}\"}}",
        "x".repeat(id.len() * 20)
    ))
}

pub fn accepted(id: &str, at: Timestamp, fan_out: &[EndpointId]) -> EventAccepted {
    EventAccepted {
        id: id.parse().unwrap(),
        event_type: "user.created".parse().unwrap(),
        tenant: None,
        channel: None,
        ordering_key: None,
        accepted_at: at,
        occurred_at: at,
        due: at,
        expires_at: None,
        attributes: [("of".to_owned(), id.to_owned())].into(),
        content_hash: [9; 16],
        idempotency_key: None,
        idempotency_until: at.plus(WINDOW),
        fan_out: fan_out.to_vec(),
        notice_for: None,
        payload: Payload {
            content_type: None,
            bytes: payload(id),
        },
    }
}

pub fn audited(at: Timestamp, random: u128) -> AuditEntry {
    AuditEntry {
        id: AuditId::new(at, random),
        at,
        actor: "key_1".to_owned(),
        action: "key.created".to_owned(),
        target: "key_2".to_owned(),
        tenant: None,
        before: None,
        after: Some("{}".to_owned()),
        from: "tcp".to_owned(),
        reason: Some("a test".to_owned()),
    }
}

pub fn attempt(delivery: &Delivery, at: Timestamp, stage: Stage) -> AttemptSettled {
    AttemptSettled {
        delivery: Some(delivery.key),
        endpoint: delivery.endpoint,
        event_id: "an-event".parse().unwrap(),
        event_type: "user.created".parse().unwrap(),
        tenant: None,
        number: delivery.attempts + 1,
        trigger: Trigger::Initial,
        started_at: at,
        duration_millis: 3,
        class: Class::Transient,
        reason: Reason::Status,
        status: Some(503),
        body_broken: false,
        remote: None,
        stage,
        progress: Progress {
            spent: delivery.progress.spent + 1,
            all_suspect: false,
        },
        health: Health {
            failures: u32::from(stage != Stage::Delivered),
            ..Health::default()
        },
        disable: None,
        location: None,
        excerpt: Bytes::from_static(b"an answer"),
        overrides_end: false,
        detail: Bytes::new(),
    }
}
