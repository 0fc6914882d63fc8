//! One id, or one idempotency key, is one event; and when an event may be sent.

use super::*;

fn keyed(server: &Server, key: &str, body: &[u8]) -> Answer {
    server.ask("POST", "/v1/events", &format!("idempotency-key: {key}\r\n"), body)
}

#[test]
fn an_id_or_key_answers_as_before_and_refuses_other_content_across_restarts() {
    let (_dir, mut server, sink) = started();
    let by_id = event_text("mine", "a", "1");
    let (by_key, other) = (br#"{"type":"a","data":1}"#, br#"{"type":"a","data":2}"#);
    assert_eq!(server.enqueue(by_id.as_bytes()).status, 202);
    let keyed_id = keyed(&server, "order-7", by_key).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    // A second endpoint: what was accepted before goes on having one delivery.
    server.endpoint(&json!({"url": sink.url()}));
    for ending in ["none", "stop", "kill", "power"] {
        match ending {
            "stop" => _ = server.stop(),
            "kill" => server.kill(),
            "power" => {
                server.kill();
                server.set_environment("POSTHASTE_BOOT_ID", "another");
            }
            _ => {}
        }
        if ending != "none" {
            server.restart();
        }
        let again = server.enqueue(by_id.as_bytes());
        assert_eq!(
            (again.status, again.json()),
            (
                200,
                json!({"id": "mine", "type": "a", "deliveries": 1, "duplicate": true})
            ),
            "{ending}"
        );
        let changed = event_text("mine", "a", "1 ");
        let spaced = server.enqueue(changed.as_bytes()).status;
        assert_eq!(spaced, 200, "spaces around data are not content");
        assert_eq!(
            server
                .enqueue(event_text("mine", "a", "2").as_bytes())
                .problem()
                .0,
            409,
            "{ending}"
        );
        let again = keyed(&server, "order-7", by_key);
        assert_eq!(
            (again.status, again.json()),
            (
                200,
                json!({"id": keyed_id, "type": "a", "deliveries": 1, "duplicate": true})
            ),
            "{ending}"
        );
        assert_eq!(keyed(&server, "order-7", other).problem().0, 409, "{ending}");
    }
    assert_eq!(server.list("/v1/events").len(), 2);
    assert_eq!(server.list("/v1/deliveries").len(), 2);
}

#[test]
fn an_idempotency_key_that_is_no_key_is_refused_by_name() {
    let (_dir, server, _sink) = started();
    let event = br#"{"type":"a","data":1}"#;
    let (long, full) = ("k".repeat(10_000), "k".repeat(256));
    for key in ["", "a b", &long, "\u{e9}"] {
        let (status, fields) = keyed(&server, key, event).problem();
        assert_eq!(
            (status, fields),
            (400, vec!["idempotency-key".to_owned()]),
            "{key}"
        );
    }
    let twice = server.ask(
        "POST",
        "/v1/events",
        "idempotency-key: a\r\nidempotency-key: a\r\n",
        event,
    );
    assert_eq!(twice.problem().0, 400);
    assert_eq!(keyed(&server, "a\0b", event).status, 400);
    let headers = "idempotency-key: a\r\ncontent-type: application/x-ndjson\r\n";
    assert_eq!(server.ask("POST", "/v1/events", headers, event).problem().0, 400);
    assert_eq!(keyed(&server, &full, event).status, 202);
    assert_eq!(server.list("/v1/events").len(), 1);
}

#[test]
fn what_was_accepted_can_be_asked_for_at_once() {
    let (_dir, server, _sink) = started();
    thread::scope(|scope| {
        for poster in 0..4 {
            let server = &server;
            scope.spawn(move || {
                for place in 0..100 {
                    let id = format!("p{poster}-{place}");
                    assert_eq!(server.enqueue(event_text(&id, "a", "1").as_bytes()).status, 202);
                    let asked = server
                        .request("GET", &format!("/v1/events/{id}"), None, b"")
                        .status;
                    let again = server.enqueue(event_text(&id, "a", "1").as_bytes()).status;
                    assert_eq!((asked, again), (200, 200), "{id}");
                }
            });
        }
    });
    assert_eq!(server.list("/v1/events").len(), 400);
}

#[test]
fn of_many_that_post_one_id_at_once_exactly_one_is_first() {
    let (_dir, server, sink) = started();
    let body = event_text("same", "a", "1");
    let statuses: Vec<u16> = thread::scope(|scope| {
        let posts: Vec<_> = (0..32)
            .map(|_| scope.spawn(|| server.enqueue(body.as_bytes()).status))
            .collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(202), count(200)), (1, 31), "{statuses:?}");
    server.delivery_in("same", "delivered");
    assert_eq!(sink.count(), 1);
}

#[test]
fn a_delayed_event_is_listed_and_not_sent_before_its_time() {
    let (_dir, server, sink) = started();
    let (hour, soon) = (in_millis(3_600_000), in_millis(1_200));
    let later = server.event(&json!({"type": "later", "data": 1, "deliver_at": hour}));
    let next = server.event(&json!({"type": "next", "data": 1, "deliver_at": soon}));
    let past = server.event(&json!({"type": "past", "data": 1, "deliver_at": "2001-01-01T00:00:00Z"}));
    server.delivery_in(&past, "delivered");
    server.delivery_in(&next, "delivered");
    let first = &server.attempts(&next)[0];
    assert!(
        millis(&first["started_at"]) >= millis(&json!(soon)),
        "{first} was early for {soon}"
    );
    let waiting = server.delivery_in(&later, "scheduled");
    assert_eq!(
        (millis(&waiting["due"]), &waiting["attempts"]),
        (millis(&json!(hour)), &json!(0))
    );
    assert_eq!(server.list("/v1/deliveries?state=scheduled").len(), 1);
    assert_eq!(sink.count(), 2);
}

#[test]
fn an_event_that_is_not_delivered_in_time_expires() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let sink = Sink::deciding(|_, _| crate::support::sink::answer(503, ""));
    server.endpoint(&json!({"url": sink.url(), "retry": {"delays": ["1h"]}}));
    let (early, late) = (in_millis(1_000), in_millis(2_000));
    let unordered = json!({"type": "a", "data": 1, "deliver_at": late, "expires_at": early});
    let (status, fields) = server.post("/v1/events", &unordered).problem();
    assert_eq!((status, fields), (422, vec!["expires_at".to_owned()]));
    let expires_at = in_millis(1_000);
    let event = server.event(&json!({"type": "a", "data": 1, "expires_at": expires_at}));
    let delivery = server.delivery_in(&event, "expired");
    assert_eq!(
        (&delivery["attempts"], &delivery["due"]),
        (&json!(1), &Value::Null)
    );
    assert!(millis(&delivery["settled_at"]) >= millis(&json!(expires_at)));
    assert_eq!(sink.count(), 1);
}
