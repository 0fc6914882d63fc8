//! From the socket to the receiver, with the real server.

use serde_json::json;

use crate::support::{
    server::{Server, wait_for},
    sink::{Sink, answer},
};

#[test]
fn an_event_is_delivered_signed_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({"url": sink.url(), "events": ["user.*"]}));
    let event = server.event(&json!({"type": "user.created", "data": {"a": 1}}));
    server.event(&json!({"type": "other", "data": {}}));
    wait_for("the delivery", || (sink.count() == 1).then_some(()));
    let got = &sink.received()[0];
    assert_eq!(got.event_id(), event);
    assert!(got.headers["webhook-signature"].starts_with("v1,"));
    let delivery = wait_for("its record", || {
        let deliveries = server.list(&format!("/v1/events/{event}/deliveries"));
        deliveries
            .into_iter()
            .find(|delivery| delivery["state"] == "delivered")
    });
    assert_eq!(
        (&delivery["endpoint_id"], &delivery["attempts"]),
        (&json!(endpoint), &json!(1))
    );
}

#[test]
fn a_gone_endpoint_is_disabled_its_events_held_and_released_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let open = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = open.clone();
    let sink = Sink::deciding(move |_, _| {
        let status = if told.load(std::sync::atomic::Ordering::SeqCst) {
            200
        } else {
            410
        };
        answer(status, "")
    });
    let endpoint = server.endpoint(&json!({"url": sink.url(), "concurrency": 1}));
    let mut events = vec![server.event(&json!({"type": "a", "data": 0}))];
    let path = format!("/v1/endpoints/{endpoint}");
    wait_for("the disabling", || {
        (server.get(&path)["state"] == "disabled").then_some(())
    });
    assert_eq!(server.get(&path)["disabled_reason"]["status"], 410);
    events.extend((1..5).map(|count| server.event(&json!({"type": "a", "data": count}))));
    assert_eq!(server.list("/v1/deliveries?state=held").len(), 5);
    assert_eq!(sink.count(), 1);
    open.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(server.post(&format!("{path}/enable"), &json!({})).status, 200);
    wait_for("the release", || (sink.count() == 6).then_some(()));
    let released: Vec<String> = sink.received()[1..]
        .iter()
        .map(|got| got.event_id().to_owned())
        .collect();
    assert_eq!(released.len(), 5);
    assert!(events.iter().all(|event| released.contains(event)));
    assert_eq!(released[1..], events[1..], "held events go out in order");
}

/// The applier took records for applied that were synced but not yet handed to it, now and then.
#[test]
fn what_was_just_accepted_is_there_while_other_events_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..100_000 {
                    if done.load(std::sync::atomic::Ordering::SeqCst) {
                        break;
                    }
                    server.event(&json!({"type": "noise", "data": number}));
                }
            });
        }
        let missing = (0..1000).find(|number| {
            let document = json!({"type": "a", "data": number});
            let answer = server.post("/v1/events", &document);
            let event = answer.json()["id"].as_str().unwrap().to_owned();
            let read = server.request("GET", &format!("/v1/events/{event}"), None, b"");
            read.status != 200
        });
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(missing, None, "accepted, and not found");
    });
}
