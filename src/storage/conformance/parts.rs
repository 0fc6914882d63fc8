//! Events, attempts and configuration for rules.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    domain::{
        audit::AuditEntry,
        configuration::ConfigChange,
        delivery::{Delivery, Progress, Stage, Trigger},
        endpoint::StateChange,
        event::{Label, Payload},
        health::Health,
        id::{AuditId, EndpointId, KeyId},
        outcome::{Class, Reason},
        record::{
            AttemptSettled, EndpointChanged, EndpointDeleted, EndpointPut, EventAccepted, EventTypePut,
            KeyPut, Role,
        },
        time::Timestamp,
    },
    storage::AcceptEvent,
};

pub(super) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Idempotency keys are remembered until then.
pub(super) const REMEMBERED: Timestamp = Timestamp::from_millis(1_700_000_900_000);
/// When everything is due.
pub(super) const FAR: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// So many seconds after the start.
pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + seconds * 1000)
}

pub(super) const fn endpoint(number: u8) -> EndpointId {
    EndpointId::from_bytes([number; 16])
}

pub(super) fn label(text: &str) -> Label {
    text.parse().unwrap()
}

/// An event to these endpoints, whose content depends on its name alone.
pub(super) fn event(name: &str, to: &[u8]) -> EventAccepted {
    let mut content_hash = [0; 16];
    content_hash
        .iter_mut()
        .zip(name.bytes())
        .for_each(|(to, from)| *to = from);
    EventAccepted {
        id: name.parse().unwrap(),
        event_type: "order.paid".parse().unwrap(),
        tenant: None,
        channel: None,
        ordering_key: None,
        accepted_at: START,
        occurred_at: START,
        due: START,
        expires_at: None,
        attributes: BTreeMap::new(),
        content_hash,
        idempotency_key: None,
        idempotency_until: REMEMBERED,
        fan_out: to.iter().copied().map(endpoint).collect(),
        notice_for: None,
        payload: Payload {
            content_type: None,
            bytes: Bytes::from(format!("{{\"name\":\"{name}\"}}")),
        },
    }
}

/// The same with other content.
pub(super) fn different(event: EventAccepted) -> EventAccepted {
    EventAccepted {
        content_hash: [255; 16],
        ..event
    }
}

/// An event that comes with its id.
pub(super) const fn named(event: EventAccepted) -> AcceptEvent {
    AcceptEvent {
        event,
        has_own_id: true,
    }
}

/// One whose id was made up for it.
pub(super) const fn unnamed(event: EventAccepted) -> AcceptEvent {
    AcceptEvent {
        event,
        has_own_id: false,
    }
}

/// An attempt of a delivery, begun a second after the start, after which the delivery is in this stage.
pub(super) fn attempt(delivery: &Delivery, stage: Stage) -> AttemptSettled {
    let delivered = stage == Stage::Delivered;
    AttemptSettled {
        delivery: Some(delivery.key),
        endpoint: delivery.endpoint,
        event_id: "e".parse().unwrap(),
        event_type: "order.paid".parse().unwrap(),
        tenant: None,
        number: delivery.attempts + 1,
        trigger: Trigger::Initial,
        started_at: at(1),
        duration_millis: 20,
        class: if delivered {
            Class::Delivered
        } else {
            Class::Transient
        },
        reason: Reason::Status,
        status: Some(if delivered { 200 } else { 503 }),
        body_broken: false,
        remote: None,
        stage,
        progress: Progress {
            spent: delivery.progress.spent + 1,
            all_suspect: false,
        },
        health: Health {
            failures: u32::from(!delivered),
            ..Health::default()
        },
        disable: None,
        location: None,
        excerpt: Bytes::new(),
        overrides_end: false,
        detail: Bytes::new(),
    }
}

/// An attempt of no delivery.
pub(super) fn test_of(endpoint: EndpointId) -> AttemptSettled {
    let delivery = Delivery::accepted(
        crate::domain::id::DeliveryKey::MIN,
        &event("test", &[]),
        endpoint,
        START,
    );
    AttemptSettled {
        delivery: None,
        trigger: Trigger::Test,
        ..attempt(&delivery, Stage::Failed)
    }
}

pub(super) fn put(number: u8) -> ConfigChange {
    put_sealed(number, &[number; 40])
}

pub(super) fn put_sealed(number: u8, sealed: &[u8]) -> ConfigChange {
    ConfigChange::EndpointPut(EndpointPut {
        id: endpoint(number),
        at: START,
        initial: StateChange::Enable { discard: false },
        sealed: sealed.to_vec(),
    })
}

/// A person changes an endpoint's state so many seconds after the start.
pub(super) fn change(number: u8, seconds: u64, change: StateChange) -> ConfigChange {
    ConfigChange::EndpointChanged(EndpointChanged {
        id: endpoint(number),
        at: at(seconds),
        change,
    })
}

pub(super) fn delete(number: u8) -> ConfigChange {
    ConfigChange::EndpointDeleted(EndpointDeleted {
        id: endpoint(number),
        at: at(1),
    })
}

pub(super) fn key(number: u8) -> KeyPut {
    KeyPut {
        id: KeyId::from_bytes([number; 16]),
        name: format!("key {number}"),
        role: Role::Sender,
        tenant: Some(label("acme")),
        created_at: START,
        expires_at: None,
        hash: [number; 32],
    }
}

/// A declaration so many seconds after the start.
pub(super) fn declaration(name: &str, seconds: u64) -> EventTypePut {
    EventTypePut {
        event_type: name.parse().unwrap(),
        at: at(seconds),
        description: Some(format!("declared after {seconds} s")),
        schema: None,
        example: None,
        deprecated: false,
    }
}

/// An entry of the audit log of so many seconds after the start.
pub(super) fn audited(seconds: u64) -> AuditEntry {
    AuditEntry {
        id: AuditId::new(at(seconds), u128::from(seconds)),
        at: at(seconds),
        actor: "key_1".to_owned(),
        action: "endpoint.updated".to_owned(),
        target: endpoint(1).to_string(),
        tenant: None,
        before: Some("{\"name\":\"a\"}".to_owned()),
        after: None,
        from: "unix".to_owned(),
        reason: None,
    }
}
