//! Erasing an event's payload before its time.
//!
//! The event stays listed, with when and by whom it was erased; what was to be delivered of it is cancelled, and it can
//! neither be replayed nor retried. A record says so and holds the event without its payload; from then on the event's
//! row points there. Then the payload's bytes are overwritten where they stand in the journal, so that they do not wait
//! for their segment to be reclaimed.
//!
//! Both are done when the request is answered. One that was cut off, or refused since a backup was being taken, is
//! repeated: it overwrites what is left. Copies that left the journal before are not reached: backups, what receivers
//! got and answered, and blocks that the file system or the device keeps of what was overwritten.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    audit,
    engine::{Engine, Shared},
    error::EngineError,
    view::EventView,
};
use crate::{
    domain::{
        audit::AuditEntry,
        delivery::Delivery,
        event::{Label, Payload},
        id::{EventId, Lsn},
    },
    storage::{Overwritten, StorageError, stored::EventFacts},
};

/// How long an attempt that is out may keep an erasure waiting, and between looks at it.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// What is said when the bytes could not be overwritten yet.
const OUT: EngineError = EngineError::NotNow(
    "the payload is not delivered any more, but an attempt with it is still out; repeat the request to have its bytes overwritten",
);
const COPIED: EngineError = EngineError::NotNow(
    "the payload is not delivered any more, but a backup is being taken; repeat the request when it is done",
);

const DAMAGED: EngineError = EngineError::NotNow(
    "the payload is not delivered any more, but bytes around it are damaged and where it stood is not known; stop the server and run posthaste check --repair",
);

/// How to erase.
#[derive(Clone, Debug)]
pub struct Erase {
    /// Cancel what is still to be delivered of it; else that refuses the request.
    pub cancel: bool,
    /// Who asks, for the record.
    pub by: String,
}

/// Events that are remembered as erased, the latest last. The lanes know of the cancelled deliveries of earlier ones.
const REMEMBERED: usize = 1024;

/// Events that are being erased, or were lately: no attempt of them is begun, whatever a lane has in memory.
#[derive(Default)]
pub(super) struct Erasures {
    /// Looked at before every attempt; mostly zero.
    count: AtomicUsize,
    events: Mutex<VecDeque<Lsn>>,
}

impl Erasures {
    pub fn has(&self, event: Lsn) -> bool {
        self.count.load(Ordering::SeqCst) > 0 && self.lock().contains(&event)
    }

    fn begin(&self, event: Lsn) {
        let mut events = self.lock();
        events.push_back(event);
        if events.len() > REMEMBERED {
            events.pop_front();
        }
        self.count.store(events.len(), Ordering::SeqCst);
    }

    fn end(&self, event: Lsn) {
        let mut events = self.lock();
        events.retain(|other| *other != event);
        self.count.store(events.len(), Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Lsn>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// The payload of an event, with its media type.
    ///
    /// # Errors
    /// `Erased` when it was; `NotNow` when it cannot be read; otherwise as [`Engine::event`].
    pub async fn payload(&self, id: &EventId, tenant: Option<&Label>) -> Result<Payload, EngineError> {
        let facts = self.0.find_event(id, tenant).await?;
        if facts.erased.is_some() {
            return Err(EngineError::Erased);
        }
        let event = self.0.whole_event(facts.sequence).await?;
        let event = event.map_err(|_| EngineError::NotNow("the event's record cannot be read"))?;
        Ok(event.payload)
    }

    /// Erases an event's payload. Its bytes are overwritten when it answers.
    ///
    /// # Errors
    /// `NotNow` while something is to be delivered of it and `cancel` is not set, while an attempt with it is out, or while
    /// a backup is taken; otherwise as [`Engine::event`].
    ///
    /// # Cancel safety
    /// What has begun goes on to its end.
    pub async fn erase_payload(
        &self,
        id: &EventId,
        tenant: Option<&Label>,
        erase: Erase,
    ) -> Result<EventView, EngineError> {
        let facts = self.0.find_event(id, tenant).await?;
        let shared = self.0.clone();
        let audited = audit::of_erasure(&shared, &facts, &erase);
        let erasing = async move { shared.erase(facts, &erase, audited).await };
        let erased = self.0.committing.spawn(erasing).await;
        erased.unwrap_or(Err(EngineError::Stopping))
    }
}

impl Shared {
    async fn erase(
        &self,
        before: EventFacts,
        erase: &Erase,
        audited: Option<Box<AuditEntry>>,
    ) -> Result<EventView, EngineError> {
        let event = before.sequence;
        let open = self.open_deliveries(event).await?;
        if before.erased.is_none() {
            if !open.is_empty() && !erase.cancel {
                return Err(EngineError::NotNow(
                    "the event is still to be delivered; wait, or repeat the request with ?cancel=true",
                ));
            }
            // From here on no attempt begins; those that have are waited for.
            self.erasures.begin(event);
            let written = self.write_erasure(event, erase, audited).await;
            if written.is_err() {
                self.erasures.end(event);
            }
            written?;
            tracing::info!(
                event.id = %before.id,
                tenant = before.tenant.as_ref().map(Label::as_str),
                actor = erase.by,
                deliveries.cancelled = open.len(),
                "an event's payload was erased"
            );
        }
        self.wait_for_attempts(&open).await?;
        match self.data.overwrite_payload(event).await? {
            Overwritten::Gone => {}
            Overwritten::NotNow => return Err(COPIED),
            Overwritten::NotFound => return Err(DAMAGED),
        }
        let after = self.find_event(&before.id, before.tenant.as_ref()).await?;
        self.event_shown(&after).await
    }

    /// Those that have not ended, or are out.
    async fn open_deliveries(&self, event: Lsn) -> Result<Vec<Delivery>, EngineError> {
        let all = self.data.deliveries_of(event).await?;
        let keys = all.into_iter().map(|(_, key)| key).collect();
        let found = self.data.deliveries(keys).await?;
        let found = found.into_iter().flatten().map(|found| found.delivery);
        let is_open =
            |delivery: &Delivery| !delivery.stage.is_final() || self.in_flight.contains(delivery.key);
        Ok(found.filter(is_open).collect())
    }

    async fn write_erasure(
        &self,
        event: Lsn,
        erase: &Erase,
        audited: Option<Box<AuditEntry>>,
    ) -> Result<(), EngineError> {
        let (at, by) = (self.clock.now(), erase.by.clone());
        let erased = self.data.erase_payload(event, at, by, audited);
        erased.await.map_err(|error| match error {
            StorageError::Damaged => {
                EngineError::NotNow("the event's record cannot be read; there is no payload to be had of it")
            }
            error => error.into(),
        })
    }

    /// Waits until none of these is out: an attempt that began before may be about to read the payload.
    async fn wait_for_attempts(&self, deliveries: &[Delivery]) -> Result<(), EngineError> {
        let is_out = || {
            deliveries
                .iter()
                .any(|delivery| self.in_flight.contains(delivery.key))
        };
        let ended = async {
            while is_out() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.map_err(|_| OUT)
    }
}
