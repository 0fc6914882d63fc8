//! What went wrong once, each as its smallest case, with the cause in a line.

use std::{fs, thread, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    server::{Server, wait_for},
    sink::{Sink, answer},
};

const LINES: usize = 250;

fn batch(round: usize, numbers: impl Iterator<Item = usize>) -> Vec<u8> {
    let lines = numbers.map(|number| {
        let line = json!({"type": "a", "data": number, "id": format!("event-{round}-{number}")});
        format!("{line}\n")
    });
    lines.collect::<String>().into_bytes()
}

/// Each held ids that the other waited for.
#[test]
fn two_batches_with_the_same_ids_in_another_order_are_both_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    for round in 0..5 {
        let send = |body: Vec<u8>| {
            let server = &server;
            move || {
                server
                    .request("POST", "/v1/events", Some("application/x-ndjson"), &body)
                    .json()
            }
        };
        let (there, back): (Value, Value) = thread::scope(|scope| {
            let there = scope.spawn(send(batch(round, 0..LINES)));
            let back = scope.spawn(send(batch(round, (0..LINES).rev())));
            (there.join().unwrap(), back.join().unwrap())
        });
        let count = |answer: &Value, name: &str| answer[name].as_u64().unwrap();
        assert_eq!(count(&there, "accepted") + count(&back, "accepted"), LINES as u64);
        for answer in [there, back] {
            assert_eq!(
                count(&answer, "accepted") + count(&answer, "duplicates"),
                LINES as u64
            );
        }
    }
}

/// What was out was passed over by the deletion, and its verdict made it due again.
#[test]
fn a_delivery_that_is_out_while_its_endpoint_is_deleted_ends_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let sink = Sink::deciding(|_, _| {
        thread::sleep(Duration::from_millis(300));
        answer(500, "")
    });
    let endpoint = server.endpoint(&json!({"url": sink.url()}));
    let event = server.event(&json!({"type": "a", "data": 1}));
    wait_for("the attempt", || (sink.count() == 1).then_some(()));
    let deleted = server.request("DELETE", &format!("/v1/endpoints/{endpoint}"), None, b"");
    assert_eq!(deleted.status, 204);
    let delivery = wait_for("the end of the attempt", || {
        let mut deliveries = server.list(&format!("/v1/events/{event}/deliveries"));
        deliveries.pop().filter(|delivery| delivery["attempts"] == 1)
    });
    assert_eq!(delivery["state"], "cancelled", "{delivery}");
}

/// The first damaged configuration record ended the start, and a rebuild took its endpoint for a deleted one.
#[test]
fn a_damaged_configuration_record_neither_stops_the_boot_nor_cancels_anything() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let segments = [("POSTHASTE_STORAGE__SEGMENT_BYTES", "1MiB")];
    let mut server = Server::start_with(&data, &["--no-listen"], &segments);
    let sink = Sink::accepting();
    let lost = server.endpoint(&json!({"url": "http://127.0.0.1:9/", "enabled": false}));
    let kept = server.endpoint(&json!({"url": sink.url()}));
    let event = server.event(&json!({"type": "a", "data": 1}));
    wait_for("the delivery", || (sink.count() == 1).then_some(()));
    server.stop();

    fs::remove_dir_all(data.join("store")).unwrap();
    let segment = data.join("journal/0000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    // Behind the segment's header and the record's: in the body of the first record, the first endpoint's.
    bytes[64 + 24 + 40] ^= 1;
    fs::write(&segment, bytes).unwrap();

    server.restart();
    let endpoints: Vec<Value> = server
        .list("/v1/endpoints")
        .iter()
        .map(|row| row["id"].clone())
        .collect();
    assert_eq!(endpoints, [json!(kept)]);
    let deliveries = server.list(&format!("/v1/events/{event}/deliveries"));
    let of_lost = deliveries
        .iter()
        .find(|delivery| delivery["endpoint_id"] == json!(lost))
        .unwrap();
    assert_eq!(of_lost["state"], "held", "{of_lost}");
    server.event(&json!({"type": "a", "data": 2}));
    wait_for("a delivery after the damage", || {
        (sink.count() >= 2).then_some(())
    });
    assert!(
        !server.get("/v1/status")["warnings"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}
