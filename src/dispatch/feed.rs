//! What storage tells the engine: the registry and the catalogue of event types follow it, the scheduler hears of
//! deliveries, the herald and the verifier of endpoints.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{document, engine::Shared, error::chain, scheduler::Signal};
use crate::{
    domain::{endpoint::Endpoint, id::EndpointId, outcome::Reason, time::Timestamp},
    storage::{Applied, Change, Configuration, Host, stored::StoredEndpoint},
    telemetry::metrics,
};

/// The engine, as storage sees it.
pub(super) struct Feed {
    pub shared: Arc<Shared>,
    pub signals: mpsc::Sender<Signal>,
}

impl Host for Feed {
    fn changed(&self, change: Change) {
        let shared = &self.shared;
        match change {
            Change::Suspended => self.say(Signal::Suspend),
            Change::Configured(configuration) => shared.configured(configuration),
            Change::Reset => {
                self.say(Signal::Begin);
                shared.herald.notify_one();
                shared.verifier.wake();
            }
            Change::Applied(applied) => self.applied(applied),
            Change::HeldExpired(ended) => shared.announce_expired(ended),
        }
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn ago(&self, span: Duration) -> Timestamp {
        self.shared.clock.ago(span)
    }

    fn over(&self, span: Duration) -> Timestamp {
        self.shared.clock.over(span)
    }

    fn inactive(&self) -> Vec<EndpointId> {
        let all = self.shared.registry.all().into_iter();
        all.filter(|endpoint| !endpoint.is_active())
            .map(|endpoint| endpoint.id)
            .collect()
    }
}

impl Feed {
    fn applied(&self, applied: Applied) {
        let shared = &self.shared;
        if let Some(keys) = applied.api_keys {
            shared.registry.set_keys(keys);
        }
        if !applied.event_types.is_empty() || !applied.undeclared.is_empty() {
            shared.refresh_event_types(applied.event_types, &applied.undeclared);
        }
        let notice_due = !applied.endpoints.is_empty() && shared.refresh(applied.endpoints);
        if notice_due {
            shared.herald.notify_one();
        }
        self.say(Signal::Applied(applied.effects));
    }

    /// The scheduler may be gone at the end; then nobody needs to know.
    fn say(&self, signal: Signal) {
        if let Err(mpsc::error::TrySendError::Full(signal)) = self.signals.try_send(signal) {
            _ = self.signals.blocking_send(signal);
        }
    }
}

impl Shared {
    /// Takes every endpoint, API key and event type, all at once: nobody sees half of them.
    fn configured(&self, configuration: Configuration) {
        let Configuration {
            endpoints,
            api_keys,
            event_types,
            newest,
        } = configuration;
        let (deleted, rows): (Vec<_>, Vec<_>) = endpoints
            .into_iter()
            .partition(|(_, row)| row.deleted_at.is_some());
        let endpoints = rows
            .iter()
            .filter_map(|(id, row)| self.unseal(*id, row))
            .collect();
        self.registry
            .replace(endpoints, deleted.into_iter().map(|(id, _)| id).collect());
        self.memory.keep(self.registry.kept(&None).1);
        self.registry.set_keys(api_keys);
        self.load_event_types(event_types);
        self.clock.raise(newest);
    }

    /// Takes endpoints as they are now, all at once: nobody sees half of what a request has changed. Answers whether a
    /// notice is due for one of them.
    fn refresh(&self, rows: Vec<(EndpointId, StoredEndpoint)>) -> bool {
        let (mut endpoints, mut deleted, mut notice_due) = (Vec::new(), Vec::new(), false);
        for (id, row) in rows {
            notice_due |= row.standing.notice_due;
            if row.deleted_at.is_some() {
                deleted.push(id);
            } else if let Some(endpoint) = self.unseal(id, &row) {
                self.say_if_disabled(&endpoint);
                endpoints.push(endpoint);
            }
        }
        self.registry.change(endpoints, &deleted);
        self.verifier.wake();
        self.memory.keep(self.registry.kept(&None).1);
        notice_due
    }

    fn unseal(&self, id: EndpointId, row: &StoredEndpoint) -> Option<Endpoint> {
        document::unseal(&self.sealer, id, row)
            .inspect_err(|error| {
                tracing::error!(endpoint.id = %id, error = %chain(error), "an endpoint cannot be read");
            })
            .ok()
    }

    fn say_if_disabled(&self, endpoint: &Endpoint) {
        let was = self
            .registry
            .get(endpoint.id)
            .is_some_and(|old| old.standing.disabled.is_some());
        if let (Some(reason), false) = (endpoint.standing.disabled, was) {
            metrics::endpoint_disabled(reason.why.as_str());
            tracing::warn!(
                endpoint.id = %endpoint.id,
                why = reason.why.as_str(),
                reason = reason.reason.map(Reason::as_str),
                status = reason.status,
                "endpoint disabled; its deliveries are held"
            );
        }
    }
}
