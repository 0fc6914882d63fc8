//! The same inputs in every run.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    domain::{
        delivery::{Progress, Stage, Trigger},
        endpoint::{Endpoint, EndpointSpec, Notes, Standing, StateChange},
        event::Payload,
        health::Health,
        id::{DeliveryKey, EndpointId, EventId, Lsn},
        outcome::{Class, Reason},
        record::{AttemptSettled, EventAccepted},
        time::Timestamp,
    },
    wire::signature::Scheme,
};

/// The time at which everything happens.
pub const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The endpoint that gets what is sent.
pub const RECEIVER: EndpointId = EndpointId::from_bytes([7; 16]);

/// An event's document as it comes in, with a payload of 256 bytes.
pub fn document() -> Bytes {
    let data = payload();
    let mut document = br#"{"type":"order.line.added","data":"#.to_vec();
    document.extend_from_slice(&data);
    document.extend_from_slice(br#","attributes":{"source":"/shop"}}"#);
    document.into()
}

/// JSON of 256 bytes.
pub fn payload() -> Bytes {
    let start = r#"{"order":1234567,"lines":[{"sku":"A-17","count":2},{"sku":"B-4","count":1}],"note":""#;
    let rest = 256 - start.len() - 2;
    format!("{start}{}\"}}", "x".repeat(rest)).into()
}

/// The event that a record accepted, to one endpoint.
pub fn accepted(lsn: Lsn) -> EventAccepted {
    let payload = Payload {
        content_type: None,
        bytes: payload(),
    };
    EventAccepted {
        id: EventId::generate(NOW, lsn.into()),
        event_type: "order.line.added".parse().unwrap_or_else(|_| unreachable!()),
        tenant: None,
        channel: None,
        ordering_key: None,
        accepted_at: NOW,
        occurred_at: NOW,
        due: NOW,
        expires_at: None,
        attributes: BTreeMap::from([("source".to_owned(), "/shop".to_owned())]),
        content_hash: Default::default(),
        idempotency_key: None,
        idempotency_until: NOW,
        fan_out: vec![RECEIVER],
        notice_for: None,
        payload,
    }
}

/// The verdict that the event's delivery was delivered.
pub fn delivered(event: Lsn) -> AttemptSettled {
    AttemptSettled {
        delivery: Some(DeliveryKey::new(event, 0)),
        endpoint: RECEIVER,
        event_id: EventId::generate(NOW, event.into()),
        event_type: "order.line.added".parse().unwrap_or_else(|_| unreachable!()),
        tenant: None,
        number: 1,
        trigger: Trigger::Initial,
        started_at: NOW,
        duration_millis: 3,
        class: Class::Delivered,
        reason: Reason::Status,
        status: Some(200),
        body_broken: false,
        remote: Some("127.0.0.1:9000".to_owned()),
        stage: Stage::Delivered,
        progress: Progress::default(),
        health: Health::default().delivered(NOW),
        disable: None,
        location: None,
        excerpt: Bytes::from_static(b"ok"),
        overrides_end: false,
        detail: Bytes::new(),
    }
}

/// The `place`th of many endpoints: the first three want the event, the others a type of their own, half by a pattern.
pub fn endpoint(place: u32) -> Endpoint {
    let events = match place {
        0 => "order.line.added".to_owned(),
        1 => "order.**".to_owned(),
        2 => "*".to_owned(),
        odd if odd % 2 == 1 => format!("customer{odd}.line.**"),
        even => format!("customer{even}.line.added"),
    };
    let secret = Scheme::Standard.generate([9; 32]);
    let document = serde_json::json!({
        "url": "https://receiver.test/hooks/orders?version=2", "events": [events], "headers": {"x-shop": "17"},
        "signatures": [{"scheme": "standard", "secret": secret.expose()}],
    });
    let mut id = [0; 16];
    id[..4].copy_from_slice(&place.to_be_bytes());
    Endpoint {
        id: EndpointId::from_bytes(id),
        created_at: NOW,
        updated_at: NOW,
        standing: Standing::new(&StateChange::Pause, NOW),
        spec: spec(document),
        notes: Notes::default(),
    }
}

#[allow(clippy::expect_used, reason = "a document of our own")]
fn spec(document: serde_json::Value) -> EndpointSpec {
    serde_json::from_value(document).expect("an endpoint's document")
}
