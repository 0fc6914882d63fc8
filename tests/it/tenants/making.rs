//! What a key of one tenant makes is the tenant's: events by every way in, endpoints, idempotency keys.

use super::*;

const LINES: &str = "content-type: application/x-ndjson\r\n";
const STRUCTURED: &str = "content-type: application/cloudevents+json\r\n";
const LIST: &str = "content-type: application/cloudevents-batch+json\r\n";

fn cloud_event(id: &str) -> Value {
    json!({"specversion": "1.0", "type": "user.created", "source": "/shop", "id": id, "data": 1})
}

#[test]
fn events_become_the_tenants_by_every_way_in() {
    let world = World::new();
    let key = world.key("sender");
    let binary = "content-type: application/json\r\nce-specversion: 1.0\r\nce-type: user.created\r\n\
                  ce-source: /shop\r\nce-id: binary\r\n";
    let own = [
        ("one", "", EVENT.to_owned()),
        (
            "said",
            "",
            r#"{"type":"user.created","data":1,"tenant":"acme"}"#.to_owned(),
        ),
        (
            "null",
            "",
            r#"{"type":"user.created","data":1,"tenant":null}"#.to_owned(),
        ),
        ("lines", LINES, format!("{EVENT}\n{EVENT}\n")),
        ("structured", STRUCTURED, cloud_event("structured").to_string()),
        ("binary", binary, "1".to_owned()),
        (
            "list",
            LIST,
            json!([cloud_event("l1"), cloud_event("l2")]).to_string(),
        ),
    ];
    let before = world.server.list("/v1/events?tenant=acme").len();
    let all = world.server.list("/v1/events").len();
    for (way, headers, body) in &own {
        let answer = world.post(&key, "/v1/events", headers, body);
        assert_eq!(answer.status, 202, "{way}: {}", answer.text());
        let answer = answer.json();
        let deliveries = answer
            .get("deliveries")
            .unwrap_or(&answer["results"][0]["deliveries"]);
        assert_eq!(deliveries, 1, "{way}: {answer}");
    }
    let own = world.server.list("/v1/events?tenant=acme");
    assert_eq!(own.len() - before, 9);
    assert_eq!(world.server.list("/v1/events").len() - all, 9);
    for event in &own {
        for delivery in world.server.list(&format!(
            "/v1/events/{}/deliveries",
            event["id"].as_str().unwrap()
        )) {
            assert_eq!(delivery["endpoint_id"], world.own.endpoint.as_str());
        }
    }
    let said = world.post(
        &key,
        "/v1/events?tenant=acme",
        STRUCTURED,
        &cloud_event("said").to_string(),
    );
    assert_eq!(said.status, 202, "{}", said.text());
}

#[test]
fn events_of_another_tenant_are_refused_by_name_each_for_itself() {
    let world = World::new();
    let key = world.key("sender");
    let count = world.server.list("/v1/events").len();
    let other = r#"{"type":"user.created","data":1,"tenant":"globex"}"#;
    let refused = (403, vec!["tenant".to_owned()]);
    assert_eq!(world.post(&key, "/v1/events", "", other).problem(), refused);
    let structured = cloud_event("x").to_string();
    let path = "/v1/events?tenant=globex";
    assert_eq!(world.post(&key, path, STRUCTURED, &structured).problem(), refused);
    assert_eq!(
        world.post(&key, path, LIST, &format!("[{structured}]")).problem(),
        refused
    );
    // The query says nothing of other events.
    let plain = world.post(&key, "/v1/events?tenant=acme", "", EVENT);
    assert_eq!(plain.problem(), (400, vec!["tenant".to_owned()]));
    assert_eq!(world.server.list("/v1/events").len(), count);
    let lines = world
        .post(&key, "/v1/events", LINES, &format!("{EVENT}\n{other}\n{EVENT}\n"))
        .json();
    assert_eq!(
        (&lines["accepted"], &lines["rejected"]),
        (&json!(2), &json!(1)),
        "{lines}"
    );
    assert_eq!(
        lines["results"][1]["problem"]["errors"][0]["field"], "tenant",
        "{lines}"
    );
    assert_eq!(lines["results"][1]["problem"]["status"], 403);
    let none = world.post(&key, "/v1/events", LINES, &format!("{other}\n{other}\n"));
    assert_eq!(none.problem().0, 400);
    assert_eq!(world.server.list("/v1/events").len(), count + 2);
}

#[test]
fn endpoints_are_made_in_the_tenant_and_stay_there() {
    let world = World::new();
    let key = world.key("manager");
    let create = |tenant: Value| {
        let mut document = json!({"url": world.sink.url(), "name": "new"});
        if tenant != json!("absent") {
            document["tenant"] = tenant;
        }
        world.ask(&key, "POST", "/v1/endpoints", &document.to_string())
    };
    for tenant in [json!("absent"), json!("acme"), Value::Null] {
        let answer = create(tenant);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.json()["tenant"], "acme");
    }
    assert_eq!(
        create(json!("globex")).problem(),
        (403, vec!["tenant".to_owned()])
    );
    assert_eq!(create(json!("")).problem(), (422, vec!["tenant".to_owned()]));
    assert_eq!(world.server.list("/v1/endpoints?tenant=globex").len(), 1);
    for tenant in [json!("globex"), Value::Null] {
        let path = world.own.path("/v1/endpoints/{id}");
        let moved = world.ask(&key, "PATCH", &path, &json!({"tenant": tenant}).to_string());
        assert_eq!(moved.problem(), (422, vec!["tenant".to_owned()]));
    }
    let admin = world.key("admin");
    let preview = world.own.path("/v1/endpoints/{id}/preview");
    let foreign = r#"{"type":"user.created","data":1,"tenant":"globex"}"#;
    let refused = world.ask(&admin, "POST", &preview, foreign).problem();
    assert_eq!(refused, (422, vec!["tenant".to_owned()]));
}

#[test]
fn idempotency_keys_and_event_ids_are_a_tenants_own() {
    let world = World::new();
    let own = world.key("sender");
    let (_, foreign) = new_key(
        &world.server,
        &json!({"role": "sender", "name": "ci", "tenant": "globex"}),
    );
    let (_, free) = new_key(&world.server, &json!({"role": "sender", "name": "ci"}));
    let once = |key: &str, body: &str| world.post(key, "/v1/events", "idempotency-key: order-1\r\n", body);
    let first = once(&own, EVENT);
    assert_eq!(first.status, 202);
    let id = first.json()["id"].clone();
    for other in [&foreign, &free] {
        let answer = once(other, r#"{"type":"other","data":2}"#);
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_ne!(answer.json()["id"], id);
    }
    let again = once(&own, EVENT);
    assert_eq!((again.status, &again.json()["id"]), (200, &id));
    assert_eq!(once(&own, r#"{"type":"other","data":2}"#).problem().0, 409);
    // It is the event's tenant that counts, not the key's: whoever may send for the tenant repeats the request.
    let for_acme = r#"{"type":"user.created","data":{"id":1},"tenant":"acme"}"#;
    let again = once(&free, for_acme);
    assert_eq!((again.status, &again.json()["id"]), (200, &id));

    let with_id = |key: &str, data: &str| {
        let body = format!(r#"{{"type":"user.created","id":"u-1","data":"{data}"}}"#);
        world.post(key, "/v1/events", "", &body)
    };
    // Nobody can take an id from another, nor tell by any answer whether another has it.
    for (key, data) in [(&foreign, "globex"), (&own, "acme"), (&free, "none")] {
        let (new, repeated) = (with_id(key, data), with_id(key, data));
        assert_eq!(
            (new.status, repeated.status),
            (202, 200),
            "{data}: {}",
            new.text()
        );
        assert_eq!(with_id(key, "other").problem().0, 409, "{data}");
    }
    for (tenant, key) in [("acme", &own), ("globex", &foreign)] {
        let (_, viewer) = new_key(
            &world.server,
            &json!({"role": "viewer", "name": "ci", "tenant": tenant}),
        );
        let shown = world.ask(&viewer, "GET", "/v1/events/u-1", "").json();
        assert_eq!(
            (&shown["tenant"], &shown["data"]),
            (&json!(tenant), &json!(tenant))
        );
        assert_eq!(with_id(key, tenant).status, 200);
    }
}
