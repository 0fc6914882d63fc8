//! Who gets an event: by subscription, or by hand.

use super::*;

#[test]
fn channels_tenants_and_patterns_decide_who_gets_an_event() {
    let (_dir, server) = started();
    let add = |document: Value| {
        let mut document = document;
        document["url"] = json!("http://127.0.0.1:9/");
        document["enabled"] = json!(false);
        server.endpoint(&document)
    };
    let all = add(json!({}));
    let user = add(json!({"events": ["user.*"]}));
    let deep = add(json!({"events": ["user.**"]}));
    let europe = add(json!({"channels": ["eu", "uk"]}));
    let acme = add(json!({"tenant": "acme"}));
    let acme_user = add(json!({"tenant": "acme", "events": ["user.created", "order.*"]}));
    let names = [
        (&all, "all"),
        (&user, "user"),
        (&deep, "deep"),
        (&europe, "europe"),
        (&acme, "acme"),
        (&acme_user, "acme_user"),
    ];
    let got_by = |event: Value| {
        let id = server.event(&event);
        let deliveries = server.list(&format!("/v1/events/{id}/deliveries?state=held&order=asc"));
        let name = |delivery: &Value| {
            names
                .iter()
                .find(|(id, _)| delivery["endpoint_id"] == **id)
                .unwrap()
                .1
        };
        let mut got: Vec<&str> = deliveries.iter().map(name).collect();
        got.sort_unstable();
        got
    };
    assert_eq!(
        got_by(json!({"type": "user.created", "data": 1})),
        ["all", "deep", "user"]
    );
    assert_eq!(
        got_by(json!({"type": "user.email.changed", "data": 1})),
        ["all", "deep"]
    );
    assert_eq!(got_by(json!({"type": "userx.created", "data": 1})), ["all"]);
    assert_eq!(
        got_by(json!({"type": "x", "data": 1, "channel": "eu"})),
        ["all", "europe"]
    );
    assert_eq!(got_by(json!({"type": "x", "data": 1, "channel": "us"})), ["all"]);
    assert_eq!(
        got_by(json!({"type": "user.created", "data": 1, "tenant": "acme"})),
        ["acme", "acme_user"]
    );
    assert_eq!(
        got_by(json!({"type": "x", "data": 1, "tenant": "acme"})),
        ["acme"]
    );
    assert_eq!(
        got_by(json!({"type": "x", "data": 1, "tenant": "other"})),
        Vec::<&str>::new()
    );
    let of_acme = server.list("/v1/events?tenant=acme");
    assert_eq!(columns(&of_acme, &["tenant"]), vec![vec![json!("acme")]; 2]);
    assert_eq!(server.list("/v1/endpoints?tenant=acme").len(), 2);
}

#[test]
fn a_test_event_goes_out_at_once_whatever_the_endpoints_state_and_changes_nothing() {
    let (_dir, server) = started();
    let sink = answering(&[200, 410, 500, 200]);
    let endpoint = server.endpoint(&json!({"url": sink.url(), "enabled": false}));
    let path = format!("/v1/endpoints/{endpoint}");
    let answer = server.post(
        &format!("{path}/test"),
        &json!({"type": "video.ready", "data": {"a": 1}}),
    );
    let attempt = answer.json();
    assert_eq!(
        columns(
            std::slice::from_ref(&attempt),
            &[
                "trigger",
                "outcome",
                "status",
                "number",
                "delivery_id",
                "event_type"
            ]
        ),
        [[
            json!("test"),
            json!("delivered"),
            json!(200),
            json!(1),
            Value::Null,
            json!("video.ready")
        ]]
    );
    assert_eq!(attempt["response_excerpt"], "ok");
    let got: Value = serde_json::from_slice(&sink.received()[0].body).unwrap();
    assert_eq!(
        (&got["type"], &got["data"]),
        (&json!("video.ready"), &json!({"a": 1}))
    );
    for status in [410, 500] {
        let attempt = act(&server, &format!("{path}/test"));
        assert_eq!(
            (&attempt["status"], &attempt["event_type"]),
            (&json!(status), &json!("endpoint.test"))
        );
    }
    assert_eq!(state(&server, &endpoint), "paused");
    assert_eq!(server.list("/v1/attempts").len(), 3);
    assert_eq!(
        (
            server.list("/v1/events").len(),
            server.list("/v1/deliveries").len()
        ),
        (0, 0)
    );
    let (status, fields) = server
        .post(&format!("{path}/test"), &json!({"type": "é"}))
        .problem();
    assert_eq!((status, fields), (422, vec!["type".to_owned()]));
}
