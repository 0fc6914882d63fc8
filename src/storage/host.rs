//! Whom storage tells what has changed, and asks what it cannot know.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{schedule::Entry, stored::StoredEndpoint};
use crate::domain::{
    event::EventType,
    id::{DeliveryKey, EndpointId},
    record::{EventTypePut, KeyPut},
    time::Timestamp,
};

/// The engine, as storage sees it.
pub trait Host: Send + Sync {
    /// Takes note of a change. It is called on a thread that may wait.
    ///
    /// Changes come in the order in which they took effect, one at a time. A write that promises to be shown by later reads
    /// (of [`ConfigurationStore`](super::ConfigurationStore), and of [`Deliveries`](super::Deliveries) but for notices) has told
    /// of its change when it answers. Changes by other writes come soon after. Storage that may have lost some of these tells
    /// everything anew: [`Change::Configured`] and [`Change::Reset`]. After a [`Change::Suspended`] nothing else comes before
    /// those two.
    fn changed(&self, change: Change);

    /// The present engine time.
    fn now(&self) -> Timestamp;

    /// The engine time since which so much time has passed.
    fn ago(&self, span: Duration) -> Timestamp;

    /// What was to end so long after its time is over when its time is not after this.
    fn over(&self, span: Duration) -> Timestamp;

    /// The endpoints that may not be sent to now.
    fn inactive(&self) -> Vec<EndpointId>;
}

/// What has changed.
#[derive(Debug)]
pub enum Change {
    /// Nothing can be read for now.
    Suspended,
    /// The whole configuration, and nothing else is configured. Comes before each [`Change::Reset`], and before the first one
    /// also as soon as it is known, so that events can be matched while nothing else can be read.
    Configured(Configuration),
    /// Everything can be read, for the first time or again. What was known of deliveries is to be forgotten and read anew.
    Reset,
    /// Some writes took effect.
    Applied(Applied),
    /// Deliveries that were held for too long have ended: how many of each endpoint.
    HeldExpired(BTreeMap<EndpointId, u64>),
}

/// All endpoints, deleted ones too, all API keys and all declared event types.
#[derive(Debug, Default)]
pub struct Configuration {
    pub endpoints: Vec<(EndpointId, StoredEndpoint)>,
    pub api_keys: Vec<KeyPut>,
    pub event_types: Vec<DeclaredType>,
    /// The newest time that anything stored records, as far as that is known.
    pub newest: Timestamp,
}

/// A declared event type, and since when it is.
#[derive(Clone, Debug)]
pub struct DeclaredType {
    pub created_at: Timestamp,
    pub declaration: EventTypePut,
}

/// What some writes changed.
#[derive(Debug, Default)]
pub struct Applied {
    /// Endpoints as they are now.
    pub endpoints: Vec<(EndpointId, StoredEndpoint)>,
    /// All API keys, if any of them changed.
    pub api_keys: Option<Vec<KeyPut>>,
    /// Event types as they are now.
    pub event_types: Vec<DeclaredType>,
    /// Event types that are not declared any more.
    pub undeclared: Vec<EventType>,
    /// Changes of deliveries and endpoints, in order.
    pub effects: Vec<Effect>,
}

/// What a write changed of a delivery or an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A delivery is scheduled.
    Due { endpoint: EndpointId, entry: Entry },
    /// The outcome of a delivery's attempt is stored; `number` counts its attempts from one.
    Settled {
        endpoint: EndpointId,
        key: DeliveryKey,
        number: u32,
    },
    /// A delivery ended, or was moved, without an attempt.
    Moved { endpoint: EndpointId, key: DeliveryKey },
    /// An endpoint was created, changed, or deleted.
    Endpoint(EndpointId),
}

/// What writes changed, for whoever keeps part of the state in memory. Storage makes an [`Applied`] of it.
#[derive(Debug, Default)]
pub struct Changes {
    /// Of deliveries and endpoints, in order.
    pub effects: Vec<Effect>,
    /// API keys were created or revoked.
    pub api_keys: bool,
    /// Event types that were declared, or whose declaration was deleted.
    pub event_types: BTreeSet<EventType>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty() && !self.api_keys && self.event_types.is_empty()
    }

    /// Whether anything of the configuration changed.
    pub fn configure(&self) -> bool {
        let is_endpoint = |effect: &Effect| matches!(effect, Effect::Endpoint(_));
        self.api_keys || !self.event_types.is_empty() || self.effects.iter().any(is_endpoint)
    }
}
