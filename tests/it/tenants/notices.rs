//! Operational events go to endpoints without a tenant as well: what becomes of them there is not the tenant's to see.

use super::*;
use crate::support::sink::answer;

#[test]
fn a_notice_to_the_operator_is_hidden_from_the_tenant() {
    let world = World::new();
    let gone = Sink::deciding(|_, _| answer(410, ""));
    let watching = |tenant: Option<&str>| json!({"url": world.sink.url(), "name": "watch", "events": ["endpoint.*"], "tenant": tenant});
    let own_watch = world.server.endpoint(&watching(Some("acme")));
    let operators = world.server.endpoint(&watching(None));
    world
        .server
        .endpoint(&json!({"url": gone.url(), "events": ["b"], "tenant": "acme"}));
    world
        .server
        .event(&json!({"type": "b", "data": 1, "tenant": "acme"}));
    let notice = wait_for("the notice", || {
        world.server.list("/v1/events?type=endpoint.disabled").pop()
    });
    let notice = notice["id"].as_str().unwrap().to_owned();
    let delivered = |state: &str| {
        let all = world.server.list(&format!("/v1/events/{notice}/deliveries"));
        let all: Vec<_> = all
            .into_iter()
            .filter(|delivery| delivery["state"] == state)
            .collect();
        (all.len() == 2).then_some(all)
    };
    let all = wait_for("both deliveries", || delivered("delivered"));
    let hidden = all
        .iter()
        .find(|delivery| delivery["endpoint_id"] == operators.as_str())
        .unwrap();
    let hidden = hidden["id"].as_str().unwrap();
    let key = world.key("admin");
    let only_own = || {
        for path in [
            format!("/v1/events/{notice}/deliveries"),
            format!("/v1/deliveries?event={notice}"),
            format!("/v1/attempts?event={notice}"),
            "/v1/attempts?type=endpoint.disabled".to_owned(),
            format!("/v1/events/{notice}/explain"),
        ] {
            let rows = world.list(&key, &path);
            let own = rows
                .iter()
                .filter(|row| row["endpoint_id"] == own_watch.as_str())
                .count();
            let others = rows.iter().any(|row| row["endpoint_id"] == operators.as_str());
            assert!(own >= 1 && !others, "{path}: {rows:?}");
            assert!(!json!(rows).to_string().contains(&operators), "{path}: {rows:?}");
        }
        for list in ["/v1/deliveries", "/v1/attempts"] {
            let rows = json!(world.list(&key, list)).to_string();
            assert!(
                rows.contains(&own_watch) && !rows.contains(&operators),
                "{list}: {rows}"
            );
        }
        let unknown = Things::unknown().path("/v1/deliveries/{id}");
        for (method, end) in [("GET", ""), ("POST", "/retry"), ("POST", "/cancel")] {
            let text = |path: &str| world.ask(&key, method, &format!("{path}{end}"), "").text();
            assert_eq!(
                text(&format!("/v1/deliveries/{hidden}")),
                text(&unknown),
                "{method} {end}"
            );
        }
    };
    only_own();
    let attempt = format!("/v1/attempts?delivery={hidden}");
    assert_eq!(world.ask(&key, "GET", &attempt, "").problem().0, 404);
    let replayed = world.ask(&key, "POST", &format!("/v1/events/{notice}/replay"), "");
    assert_eq!(replayed.status, 202, "{}", replayed.text());
    let replayed = replayed.json();
    assert_eq!(replayed["data"].as_array().unwrap().len(), 1, "{replayed}");
    assert_eq!(replayed["data"][0]["endpoint_id"], own_watch.as_str());
    // Nor after the operator's endpoint is gone, when nothing says any more whose it was.
    let path = format!("/v1/endpoints/{operators}");
    assert_eq!(world.server.request("DELETE", &path, None, b"").status, 204);
    only_own();
}
