//! What is held, disabled, paused, replayed, cancelled or deleted.

use super::*;

#[test]
fn several_errors_in_a_row_may_be_asked_for_before_disabling() {
    let (_dir, server) = started();
    let sink = answering(&[404, 200, 404, 404, 404]);
    let mut document = fast(&sink, 5);
    document["disable_after"] = json!(3);
    document["concurrency"] = json!(1);
    let endpoint = server.endpoint(&document);
    let first = server.event(&json!({"type": "a", "data": 1}));
    server.delivery_in(&first, "delivered");
    let second = server.event(&json!({"type": "a", "data": 2}));
    let held = server.delivery_in(&second, "held");
    assert_eq!(
        (&held["attempts"], &held["held_because"]),
        (&json!(3), &json!("disabled"))
    );
    assert_eq!(state(&server, &endpoint), "disabled");
    assert_eq!(sink.count(), 5);
}

#[test]
fn a_paused_endpoint_holds_its_deliveries_and_sends_them_in_order_when_it_is_enabled() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({"url": sink.url(), "concurrency": 1}));
    let path = format!("/v1/endpoints/{endpoint}");
    act(&server, &format!("{path}/pause"));
    let events: Vec<String> = (0..30)
        .map(|n| server.event(&json!({"type": "a", "data": n})))
        .collect();
    let held = server.list("/v1/deliveries?state=held");
    assert_eq!(
        columns(&held, &["held_because", "attempts"]),
        vec![vec![json!("paused"), json!(0)]; 30]
    );
    assert_eq!(sink.count(), 0);
    act(&server, &format!("{path}/enable"));
    wait_for("the release", || (sink.count() == 30).then_some(()));
    let order: Vec<String> = sink
        .received()
        .iter()
        .map(|got| got.event_id().to_owned())
        .collect();
    assert_eq!(order, events);
    // And what is held may be dropped instead.
    act(&server, &format!("{path}/pause"));
    let dropped = server.event(&json!({"type": "a", "data": 99}));
    act(&server, &format!("{path}/enable?discard=true"));
    server.delivery_in(&dropped, "cancelled");
    let sent = server.event(&json!({"type": "a", "data": 100}));
    server.delivery_in(&sent, "delivered");
    assert_eq!(sink.count(), 31);
}

#[test]
fn a_disabling_is_told_to_those_who_name_it_and_to_no_others() {
    let (_dir, server) = started();
    let (watcher, everyone, gone) = (Sink::accepting(), Sink::accepting(), answering(&[410]));
    server.endpoint(&json!({"url": watcher.url(), "events": ["endpoint.*"]}));
    server.endpoint(&json!({"url": everyone.url(), "events": ["*"]}));
    server.endpoint(&json!({"url": everyone.url(), "events": ["endpoint.*"], "tenant": "other"}));
    let endpoint = server.endpoint(&json!({"url": gone.url(), "events": ["a"], "name": "crm"}));
    let event = server.event(&json!({"type": "a", "data": 1}));
    wait_for("the news", || (watcher.count() == 1).then_some(()));
    let news: Value = serde_json::from_slice(&watcher.received()[0].body).unwrap();
    assert_eq!(news["type"], "endpoint.disabled");
    let data = &news["data"];
    assert_eq!(
        (
            &data["endpoint_id"],
            &data["name"],
            &data["state"],
            &data["disabled_reason"]["status"]
        ),
        (&json!(endpoint), &json!("crm"), &json!("disabled"), &json!(410))
    );
    let own = server.list(&format!("/v1/attempts?event={event}&endpoint={endpoint}"));
    assert_eq!(data["disabled_reason"]["attempt_id"], own[0]["id"]);
    // `everyone` got the event itself, and nothing of the news: its deliveries say so.
    let news = server.list("/v1/events?type=endpoint.disabled");
    assert_eq!(columns(&news, &["deliveries"]), [[json!(1)]]);
    wait_for("the event", || (everyone.count() == 1).then_some(()));
}

#[test]
fn an_event_that_matched_nothing_is_kept_and_can_be_replayed_to_a_later_endpoint() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let accepted = server.post("/v1/events", &json!({"type": "a", "data": {"n": 1}}));
    assert_eq!(
        (accepted.status, &accepted.json()["deliveries"]),
        (202, &json!(0))
    );
    let event = accepted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        columns(&server.list("/v1/events"), &["id", "deliveries"]),
        [[json!(event), json!(0)]]
    );
    assert_eq!(server.get("/v1/status")["events_unmatched"], 1);
    let replay = format!("/v1/events/{event}/replay");
    assert_eq!(server.post(&replay, &json!({})).problem().0, 409);
    let other = server.endpoint(&json!({"url": sink.url(), "events": ["b"], "tenant": "t"}));
    let later = server.endpoint(&json!({"url": sink.url(), "events": ["b"]}));
    assert_eq!(
        server.post(&replay, &json!({"endpoint": other})).problem(),
        (422, vec!["endpoint".to_owned()])
    );
    let unknown = json!({"endpoint": "ep_01h455vb4pex5vsknk084sn02q"});
    assert_eq!(server.post(&replay, &unknown).problem().0, 404);
    let answer = server.post(&replay, &json!({"endpoint": later}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(
        columns(answer.json()["data"].as_array().unwrap(), &["endpoint_id"]),
        [[json!(later)]]
    );
    server.delivery_in(&event, "delivered");
    // Again: to where it went before.
    act(&server, &replay);
    wait_for("the replay", || (sink.count() == 2).then_some(()));
    assert_eq!(server.list(&format!("/v1/events/{event}/deliveries")).len(), 2);
    assert!(sink.received().iter().all(|got| got.event_id() == event));
}

#[test]
fn a_delivery_can_be_cancelled_until_it_is_out() {
    let (_dir, server) = started();
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    server.endpoint(&json!({"url": url}));
    let later = server.event(&json!({"type": "a", "data": 1, "deliver_at": in_millis(3_600_000)}));
    let waiting = server.delivery_in(&later, "scheduled");
    let path = format!("/v1/deliveries/{}", waiting["id"].as_str().unwrap());
    assert_eq!(act(&server, &format!("{path}/cancel"))["state"], "cancelled");
    let again = server.post(&format!("{path}/cancel"), &json!({}));
    assert_eq!(again.problem().0, 409);
    assert_eq!(server.get(&path)["due"], Value::Null);
    let out = server.event(&json!({"type": "a", "data": 2}));
    let flying = server.delivery_in(&out, "in_flight");
    let path = format!("/v1/deliveries/{}", flying["id"].as_str().unwrap());
    for verb in ["cancel", "retry"] {
        assert_eq!(
            server.post(&format!("{path}/{verb}"), &json!({})).problem().0,
            409,
            "{verb}"
        );
    }
}

#[test]
fn deleting_an_endpoint_cancels_what_it_has_scheduled() {
    let (_dir, mut server) = started();
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({"url": sink.url()}));
    let done = server.event(&json!({"type": "a", "data": 0}));
    server.delivery_in(&done, "delivered");
    let at = in_millis(3_600_000);
    let events: Vec<String> = (0..5)
        .map(|n| server.event(&json!({"type": "a", "data": n, "deliver_at": at})))
        .collect();
    let answer = server.request("DELETE", &format!("/v1/endpoints/{endpoint}"), None, b"");
    assert_eq!(answer.status, 204);
    for again in [false, true] {
        if again {
            server.kill();
            server.restart();
        }
        for event in &events {
            let delivery = server.delivery_in(event, "cancelled");
            let retry = format!("/v1/deliveries/{}/retry", delivery["id"].as_str().unwrap());
            assert_eq!(server.post(&retry, &json!({})).problem().0, 410);
        }
        server.delivery_in(&done, "delivered");
    }
    assert_eq!(sink.count(), 1);
}
