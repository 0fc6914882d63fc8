//! What an endpoint has proved is about the receiver, the credentials and the secret of then.

use super::*;

fn patch(server: &Server, id: &str, document: &Value) -> Answer {
    let kind = Some("application/merge-patch+json");
    let path = format!("/v1/endpoints/{id}");
    server.request("PATCH", &path, kind, document.to_string().as_bytes())
}

fn act(server: &Server, id: &str, verb: &str) -> Answer {
    server.post(&format!("/v1/endpoints/{id}/{verb}"), &json!({}))
}

#[test]
fn another_url_credential_or_secret_has_to_be_proved_again_and_other_members_have_not() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    // Takes pings only once it is told to, so that what happens before can be seen.
    let (other, told) = learning(|_| answer(401, "", ""), |_| ok(""));
    let id = server.endpoint(&json!({
        "url": sink.url(), "handshake": "ping", "auth": {"type": "bearer", "token": "one"},
    }));
    in_state(&server, &id, "active");
    let pings = |sink: &Sink| {
        sink.received()
            .iter()
            .filter(|got| body(got)["type"] == "endpoint.ping")
            .count()
    };
    assert_eq!(pings(&sink), 1);
    for same in [
        json!({"name": "n", "timeout": "5s", "headers": {"X-A": "1"}, "metadata": {"a": "b"}}),
        json!({"url": sink.url(), "auth": {"type": "bearer", "token": "***"}}),
        json!({"signatures": [{"scheme": "standard", "secret": "***"}], "events": ["a", "b"]}),
    ] {
        let patched = patch(&server, &id, &same);
        assert_eq!(patched.json()["state"], "active", "{}", patched.text());
    }
    let changes = [
        json!({"auth": {"type": "bearer", "token": "two"}}),
        json!({"auth": null}),
        json!({"signatures": [{"scheme": "standard", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}]}),
        json!({"url": format!("{}elsewhere", sink.url())}),
    ];
    for (changed, expected) in changes.iter().zip(2..) {
        let patched = patch(&server, &id, changed);
        assert_eq!(patched.status, 200, "{}", patched.text());
        wait_for("another ping", || (pings(&sink) == expected).then_some(()));
        in_state(&server, &id, "active");
    }
    let moved = patch(&server, &id, &json!({"url": other.url()}));
    assert_eq!(
        (
            &moved.json()["state"],
            &moved.json()["verification"]["verified_at"]
        ),
        (&json!("unverified"), &Value::Null)
    );
    verification_in(&server, &id, "failed");
    let event = server.event(&json!({"type": "a", "data": 1}));
    server.delivery_in(&event, "held");
    // Back to where it was is another change, and has to be proved as well.
    told.store(true, Ordering::SeqCst);
    assert_eq!(verify(&server, &id, &json!({})).json()["state"], "active");
    server.delivery_in(&event, "delivered");
    let news = server.list("/v1/events?type=endpoint.unverified");
    assert!(news.is_empty(), "who changes it knows: {news:?}");
}

#[test]
fn a_handshake_can_be_asked_for_later_and_be_given_up() {
    let (_dir, server) = started();
    let (sink, _told) = learning(|_| answer(401, "", ""), |_| ok(""));
    let id = server.endpoint(&json!({"url": sink.url()}));
    assert_eq!(show(&server, &id)["state"], "active");
    let asked = patch(&server, &id, &json!({"handshake": "ping"}));
    assert_eq!(asked.json()["state"], "unverified", "{}", asked.text());
    verification_in(&server, &id, "failed");
    let enabling = patch(&server, &id, &json!({"enabled": true}));
    assert_eq!(enabling.json()["state"], "unverified", "{}", enabling.text());
    let given_up = patch(&server, &id, &json!({"handshake": "none"}));
    assert_eq!(
        (&given_up.json()["state"], given_up.json().get("verification")),
        (&json!("active"), None)
    );
}

#[test]
fn what_a_person_holds_stays_held_when_it_is_proved_and_is_enabled_only_then() {
    let (_dir, server) = started();
    let (sink, told) = learning(|_| answer(401, "", ""), |_| ok(""));
    let document = json!({"url": sink.url(), "handshake": "ping", "enabled": false});
    let id = server.endpoint(&document);
    assert_eq!(show(&server, &id)["state"], "paused");
    let refused = act(&server, &id, "enable");
    assert_eq!(refused.problem().0, 409);
    assert!(refused.text().contains("/verify"), "{}", refused.text());
    assert_eq!(sink.count(), 0, "nobody has asked yet");
    told.store(true, Ordering::SeqCst);
    let verified = verify(&server, &id, &json!({})).json();
    assert_eq!(
        (&verified["state"], &verified["verification"]["state"]),
        (&json!("paused"), &json!("verified"))
    );
    assert_eq!(act(&server, &id, "enable").json()["state"], "active");
    assert_eq!(act(&server, &id, "disable").json()["state"], "disabled");
    patch(&server, &id, &json!({"url": format!("{}x", sink.url())}));
    assert_eq!(act(&server, &id, "enable").problem().0, 409);
    verify(&server, &id, &json!({}));
    assert_eq!(act(&server, &id, "enable").json()["state"], "active");
}

#[test]
fn a_patch_that_enables_has_an_endpoint_prove_itself_first() {
    let (_dir, server) = started();
    let (sink, told) = learning(|_| answer(401, "", ""), |_| ok(""));
    let document = json!({"url": sink.url(), "handshake": "ping", "enabled": false});
    let id = server.endpoint(&document);
    let enabled = patch(&server, &id, &json!({"enabled": true}));
    assert_eq!(enabled.json()["state"], "unverified", "{}", enabled.text());
    verification_in(&server, &id, "failed");
    assert_eq!(sink.count(), 1);
    let paused = patch(&server, &id, &json!({"enabled": false}));
    assert_eq!(paused.json()["state"], "paused", "{}", paused.text());
    told.store(true, Ordering::SeqCst);
    patch(&server, &id, &json!({"enabled": true}));
    in_state(&server, &id, "active");
}

#[test]
fn a_rotated_secret_has_to_be_proved_unless_the_old_one_still_signs() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let id = server.endpoint(&json!({"url": sink.url(), "handshake": "ping"}));
    in_state(&server, &id, "active");
    let rotate = |grace: &str| {
        let path = format!("/v1/endpoints/{id}/secret/rotate");
        let rotated = server.post(&path, &json!({ "grace": grace }));
        assert_eq!(rotated.status, 200, "{}", rotated.text());
    };
    rotate("24h");
    assert_eq!(show(&server, &id)["state"], "active");
    assert_eq!(sink.count(), 1, "both secrets sign");
    rotate("0s");
    wait_for("another ping", || (sink.count() == 2).then_some(()));
    in_state(&server, &id, "active");
    let zoom = Sink::deciding(|got, _| ok(&zoom_proof(got, "the first one")));
    let signatures = json!([{"scheme": "zoom", "secret": "the first one"}]);
    let id = server.endpoint(&json!({"url": zoom.url(), "profile": "zoom", "signatures": signatures}));
    in_state(&server, &id, "active");
    let path = format!("/v1/endpoints/{id}/secret/rotate");
    assert_eq!(
        server.post(&path, &json!({"secret": "the second one"})).status,
        200
    );
    // The receiver knows the old secret alone, and zoom's requests carry one signature at a time.
    let failed = verification_in(&server, &id, "failed");
    assert_eq!(failed["state"], "unverified");
}

#[test]
fn a_proof_of_what_has_changed_meanwhile_counts_for_nothing() {
    let (_dir, server) = started();
    let gate = crate::support::gate::Gate::default();
    let waits = gate.clone();
    let slow = Sink::deciding(move |_, _| {
        waits.pass();
        ok("")
    });
    let (other, told) = learning(|_| answer(401, "", ""), |_| ok(""));
    let id = server.endpoint(&json!({"url": slow.url(), "handshake": "ping", "timeout": "300s"}));
    wait_for("the ping", || (slow.count() == 1).then_some(()));
    let moved = patch(&server, &id, &json!({"url": other.url()}));
    assert_eq!(moved.json()["state"], "unverified");
    gate.open();
    verification_in(&server, &id, "failed");
    assert_eq!(show(&server, &id)["state"], "unverified");
    assert_eq!((slow.count(), other.count()), (1, 1));
    told.store(true, Ordering::SeqCst);
    assert_eq!(verify(&server, &id, &json!({})).json()["state"], "active");
}

#[test]
fn an_endpoint_without_its_secret_proves_itself_once_it_has_one() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let id = server.endpoint(&json!({"url": sink.url(), "profile": "flowplayer", "handshake": "ping"}));
    let waiting = show(&server, &id);
    assert_eq!(
        (&waiting["state"], &waiting["disabled_reason"]["why"]),
        (&json!("disabled"), &json!("no_secret"))
    );
    assert_eq!(sink.count(), 0);
    patch(
        &server,
        &id,
        &json!({"signatures": [{"scheme": "flowplayer", "secret": "its-secret-key"}]}),
    );
    in_state(&server, &id, "active");
    assert_eq!(body(&sink.received()[0])["event_type"], "endpoint.ping");
}
