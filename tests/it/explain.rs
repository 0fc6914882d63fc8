//! Explaining, previewing, replaying and recovering.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    server::{Server, in_millis, wait_for},
    sink::{Sink, answer},
};

fn started() -> (TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    (dir, server)
}

fn explained(server: &Server, event: &str, endpoint: &str) -> Value {
    let answer = server.get(&format!("/v1/events/{event}/explain?endpoint={endpoint}"));
    assert_eq!(answer["data"].as_array().unwrap().len(), 1, "{answer}");
    answer["data"][0].clone()
}

fn says(value: &Value, words: &str) {
    let text = value.as_str().unwrap_or_default();
    assert!(text.contains(words), "{text:?} does not say {words:?}");
}

#[test]
fn an_explanation_says_of_every_endpoint_of_the_tenant_whether_and_why() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let at = |more: Value| {
        let mut document = json!({"url": sink.url()});
        document
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        server.endpoint(&document)
    };
    let exact = at(json!({"events": ["order.paid", "user.*"], "name": "exact"}));
    let other = at(json!({"events": ["user.*"]}));
    let channel = at(json!({"channels": ["eu"]}));
    let foreign = at(json!({"tenant": "t"}));
    let event = server.event(&json!({"type": "order.paid", "channel": "us", "data": 1}));
    server.delivery_in(&event, "delivered");
    let late = at(json!({}));

    let all = server.get(&format!("/v1/events/{event}/explain?order=asc"));
    let ids: Vec<&str> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["endpoint_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [&exact, &other, &channel, &late]);
    assert!(!ids.contains(&foreign.as_str()));
    let row = explained(&server, &event, &foreign);
    assert_eq!((&row["matched"], &row["rule"]), (&json!(false), &json!("tenant")));
    says(&row["why"], "of no tenant, the endpoint of the tenant t");
    assert_eq!(all["event"]["id"], event.as_str());

    let row = explained(&server, &event, &exact);
    assert_eq!(
        (&row["matched"], &row["rule"], &row["name"]),
        (&json!(true), &json!("events"), &json!("exact"))
    );
    says(&row["why"], "order.paid matches");
    says(&row["deliveries"][0]["why"], "delivered by attempt 1");
    says(
        &row["deliveries"][0]["attempts_made"][0]["rule"],
        "status 200 is delivered",
    );

    let row = explained(&server, &event, &other);
    assert_eq!((&row["matched"], &row["rule"]), (&json!(false), &json!("events")));
    says(&row["why"], "none of its patterns");
    let row = explained(&server, &event, &channel);
    assert_eq!(
        (&row["matched"], &row["rule"]),
        (&json!(false), &json!("channels"))
    );
    says(&row["why"], "us");
    let row = explained(&server, &event, &late);
    assert_eq!(row["matched"], json!(true));
    says(&row["why"], "created after the event");
    assert_eq!(row["deliveries"], json!([]));

    let first = server.get(&format!("/v1/events/{event}/explain?order=asc&limit=3"));
    let cursor = first["next"].as_str().unwrap();
    let rest = server.get(&format!(
        "/v1/events/{event}/explain?order=asc&limit=3&cursor={cursor}"
    ));
    assert_eq!(
        (rest["data"][0]["endpoint_id"].as_str(), &rest["next"]),
        (Some(late.as_str()), &Value::Null)
    );
}

#[test]
fn an_explanation_says_what_a_delivery_waits_for_and_which_rule_judged_it() {
    let (_dir, server) = started();
    let sink = Sink::deciding(|request, _| match request.path.as_str() {
        "/gone" => answer(410, ""),
        "/busy" => answer(503, ""),
        _ => answer(404, ""),
    });
    let at = |path: &str, more: Value| {
        let mut document = json!({"url": format!("{}{path}", sink.url().trim_end_matches('/'))});
        document
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        server.endpoint(&document)
    };
    let gone = at("/gone", json!({}));
    let busy = at("/busy", json!({"retry": {"retries": 3, "delay": "1h"}}));
    let treated = at("/else", json!({"treat_as": {"404": "event_error"}}));
    let event = server.event(&json!({"type": "a", "data": 1}));
    let settled = |endpoint: &str, words: &str| {
        wait_for(words, || {
            let row = explained(&server, &event, endpoint);
            row["deliveries"][0]["why"]
                .as_str()
                .unwrap()
                .contains(words)
                .then_some(row)
        })
    };
    let row = settled(
        &gone,
        "held: the endpoint is disabled (endpoint_error, status 410)",
    );
    says(
        &row["deliveries"][0]["attempts_made"][0]["rule"],
        "status 410 is endpoint_error",
    );
    let row = settled(&busy, "the next attempt is due at ");
    says(&row["deliveries"][0]["why"], "after: status 503 is transient");
    let row = settled(&treated, "failed after 1 attempts");
    says(
        &row["deliveries"][0]["attempts_made"][0]["rule"],
        "by the endpoint's treat_as; the table says endpoint_error",
    );

    server.request("DELETE", &format!("/v1/endpoints/{gone}"), None, b"");
    let row = explained(&server, &event, &gone);
    assert_eq!((&row["state"], &row["matched"]), (&Value::Null, &json!(false)));
    says(&row["why"], "deleted");
    assert_eq!(
        server
            .request("GET", "/v1/events/evt_none/explain", None, b"")
            .status,
        404
    );
}

#[test]
fn a_preview_is_the_request_that_is_then_sent() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({
        "url": format!("{}x?y=1", sink.url()), "profile": "github", "headers": {"x-own": "mine"},
        "auth": {"type": "bearer", "token": "t0ken"}, "signatures": [{"scheme": "github", "secret": "a shared secret"}],
    }));
    let document = json!({"type": "push", "id": "one", "data": {"n": 1.50}});
    let answer = server.post(&format!("/v1/endpoints/{endpoint}/preview"), &document);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let preview = answer.json();
    assert_eq!(preview["matched"], json!(true));
    assert_eq!(sink.count(), 0, "nothing is sent");
    server.event(&document);
    let received = wait_for("the request", || sink.received().pop());
    assert_eq!(preview["body"].as_str().unwrap().as_bytes(), received.body);
    for name in [
        "x-hub-signature-256",
        "x-github-event",
        "x-github-delivery",
        "x-own",
        "authorization",
        "user-agent",
        "accept",
    ] {
        let shown = preview["headers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|field| field[0] == name);
        assert_eq!(shown.unwrap()[1], received.headers[name].as_str(), "{name}");
    }
    let whole =
        String::from_utf8(STANDARD.decode(preview["http_base64"].as_str().unwrap()).unwrap()).unwrap();
    assert!(whole.starts_with("POST /x?y=1 HTTP/1.1\r\n"), "{whole}");
    assert!(
        whole.ends_with(&format!("\r\n\r\n{}", preview["body"].as_str().unwrap())),
        "{whole}"
    );

    let refused = server.post(
        &format!("/v1/endpoints/{endpoint}/preview"),
        &json!({"type": "a..b"}),
    );
    assert_eq!(refused.problem(), (422, vec!["type".to_owned()]));
    let foreign = json!({"type": "a", "data": 1, "tenant": "t"});
    let refused = server.post(&format!("/v1/endpoints/{endpoint}/preview"), &foreign);
    assert_eq!(refused.problem(), (422, vec!["tenant".to_owned()]));
}

#[test]
fn an_event_is_replayed_to_an_endpoint_created_later_with_the_same_id() {
    let (_dir, server) = started();
    let event = server.event(&json!({"type": "a", "data": 1}));
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({"url": sink.url()}));
    let answer = server.post(
        &format!("/v1/events/{event}/replay"),
        &json!({"endpoint": endpoint}),
    );
    assert_eq!(answer.status, 202);
    server.delivery_in(&event, "delivered");
    assert_eq!(sink.received()[0].event_id(), event);
    assert_eq!(server.attempts(&event)[0]["trigger"], "replay");
}

#[test]
fn a_range_is_recovered_in_portions_and_a_dry_run_writes_nothing() {
    let (_dir, server) = started();
    let since = in_millis(-1_000);
    let sink = Sink::deciding(|_, before| answer(if before < 3 { 422 } else { 200 }, ""));
    let first = server.endpoint(&json!({"url": sink.url(), "events": ["a"], "concurrency": 1}));
    let events: Vec<String> = (0..3)
        .map(|n| server.event(&json!({"type": "a", "data": n})))
        .collect();
    for event in &events {
        server.delivery_in(event, "failed");
    }
    server.event(&json!({"type": "b", "data": 9}));
    server.event(&json!({"type": "a", "tenant": "t", "data": 9}));
    let late = Sink::accepting();
    let second = server.endpoint(&json!({"url": late.url(), "events": ["a"]}));
    let recover = |endpoint: &str, document: Value| {
        let answer = server.post(&format!("/v1/endpoints/{endpoint}/recover"), &document);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };

    let dry = recover(&second, json!({"since": since, "what": "all", "dry_run": true}));
    assert_eq!(
        (&dry["failed"], &dry["missing"], &dry["dry_run"]),
        (&json!(0), &json!(3), &json!(true))
    );
    assert_eq!(late.count(), 0);
    let (mut cursor, mut missing) = (Value::Null, 0);
    for portion in 0.. {
        let mut document = json!({"since": since, "what": "missing", "limit": 1});
        if portion > 0 {
            document["cursor"] = cursor.clone();
        }
        let done = recover(&second, document);
        assert!(done["deliveries"].as_u64().unwrap() <= 1);
        missing += done["missing"].as_u64().unwrap();
        cursor = done["next"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(missing, 3);
    wait_for("what was missing", || (late.count() == 3).then_some(()));
    let again = recover(&second, json!({"since": since, "what": "all"}));
    assert_eq!(again["deliveries"], 0, "nothing is sent twice by asking twice");

    let failed = recover(&first, json!({"since": since, "what": "all"}));
    assert_eq!((&failed["failed"], &failed["missing"]), (&json!(3), &json!(0)));
    wait_for("what had failed", || (sink.count() == 6).then_some(()));
    let later = recover(&first, json!({"since": in_millis(60_000), "what": "all"}));
    assert_eq!(later["deliveries"], 0);

    for (document, field) in [
        (json!({"since": since, "limit": 0}), "limit"),
        (
            json!({"since": since, "what": "missing", "status": 500}),
            "status",
        ),
        (json!({"since": since, "until": in_millis(-60_000)}), "until"),
        (json!({"since": since, "what": "some"}), "what"),
    ] {
        let refused = server.post(&format!("/v1/endpoints/{first}/recover"), &document);
        assert_eq!(refused.problem(), (422, vec![field.to_owned()]), "{document}");
    }
}

#[test]
fn recoveries_at_once_deliver_once_and_keep_an_event_s_own_times() {
    let (_dir, server) = started();
    let since = in_millis(-1_000);
    for n in 0..50 {
        server.event(&json!({"type": "a", "id": format!("n{n}"), "data": n}));
    }
    server.event(&json!({"type": "a", "id": "later", "data": 1, "deliver_at": in_millis(3_600_000)}));
    let expiry = in_millis(300);
    server.event(&json!({"type": "a", "id": "gone", "data": 1, "expires_at": expiry}));
    wait_for("the event to expire", || (in_millis(-50) > expiry).then_some(()));
    let endpoint = server.endpoint(&json!({"url": "https://h.test/", "enabled": false}));
    let body = json!({"since": since, "what": "missing"});
    let counted: u64 = std::thread::scope(|scope| {
        let ask = || {
            server
                .post(&format!("/v1/endpoints/{endpoint}/recover"), &body)
                .json()["missing"]
                .as_u64()
                .unwrap()
        };
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).sum()
    });
    assert!(counted == 51, "{counted}");
    assert_eq!(server.list("/v1/events/n7/deliveries").len(), 1);
    let delayed = &server.list("/v1/events/later/deliveries")[0];
    assert!(
        delayed["due"].as_str().unwrap() > in_millis(3_000_000).as_str(),
        "{delayed}"
    );
}
