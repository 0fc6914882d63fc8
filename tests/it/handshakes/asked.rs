//! Codes that people submit, and what is asked of whom.

use super::*;

/// A Ziggeo endpoint whose receiver was sent a code and echoes nothing that proves it.
fn waiting(server: &Server) -> (String, Sink, Seen) {
    // The code alone is no proof; and what a receiver answers must not show it to anyone.
    let (sink, seen) = ziggeo(|code, _| ok(&json!({ "validation_code": code }).to_string()));
    let id = server.endpoint(&json!({"url": sink.url(), "profile": "ziggeo"}));
    wait_for("a code that waits", || {
        let verification = &show(server, &id)["verification"];
        // The code is there before it is sent; it waits once the receiver has answered.
        (verification["tries_left"] == 5 && verification["last_attempt_at"].is_string()).then_some(())
    });
    (id, sink, seen)
}

fn code(seen: &Seen) -> u64 {
    seen.lock().unwrap().clone().unwrap().0
}

fn other_than(code: u64) -> String {
    (if code == 999_999 { 100_000 } else { code + 1 }).to_string()
}

#[test]
fn a_person_submits_the_code_and_what_was_held_is_delivered() {
    let (_dir, server) = started();
    let (id, _sink, seen) = waiting(&server);
    let pending = show(&server, &id);
    assert_eq!(
        (
            &pending["state"],
            &pending["verification"]["state"],
            &pending["verification"]["next_attempt_at"]
        ),
        (&json!("unverified"), &json!("pending"), &Value::Null)
    );
    let event = server.event(&json!({"type": "video.ready", "data": 1}));
    server.delivery_in(&event, "held");
    let wrong = verify(&server, &id, &json!({"code": other_than(code(&seen))}));
    assert_eq!(wrong.problem(), (422, vec!["code".to_owned()]));
    assert!(wrong.text().contains("4 tries are left"), "{}", wrong.text());
    let right = verify(&server, &id, &json!({"code": code(&seen)})).json();
    assert_eq!(
        (
            &right["state"],
            &right["verification"]["state"],
            &right["verification"]["tries_left"]
        ),
        (&json!("active"), &json!("verified"), &Value::Null)
    );
    server.delivery_in(&event, "delivered");
    let again = verify(&server, &id, &json!({"code": code(&seen)}));
    assert_eq!(again.problem().0, 409, "a code is good once");
}

#[test]
fn the_fifth_wrong_code_voids_it_and_a_new_one_can_be_had() {
    let (_dir, server) = started();
    let (id, _sink, seen) = waiting(&server);
    let first = code(&seen);
    for left in (0..5).rev() {
        let wrong = verify(&server, &id, &json!({"code": other_than(first)}));
        assert_eq!(wrong.problem(), (422, vec!["code".to_owned()]));
        let tries = show(&server, &id)["verification"]["tries_left"].clone();
        assert_eq!(tries, if left > 0 { json!(left) } else { Value::Null });
    }
    let void = show(&server, &id);
    assert_eq!(
        (
            &void["verification"]["state"],
            &void["verification"]["last_error"]["reason"]
        ),
        (&json!("failed"), &json!("code_void"))
    );
    let late = verify(&server, &id, &json!({"code": first.to_string()}));
    assert_eq!(late.problem().0, 409, "the right one comes too late");
    assert_eq!(show(&server, &id)["state"], "unverified");
    let anew = verify(&server, &id, &json!({})).json();
    assert_eq!(
        (
            &anew["verification"]["state"],
            &anew["verification"]["tries_left"]
        ),
        (&json!("pending"), &json!(5))
    );
    let second = code(&seen);
    let right = verify(&server, &id, &json!({"code": second.to_string()}));
    assert_eq!(right.json()["state"], "active", "{}", right.text());
}

#[test]
fn a_new_code_takes_the_place_of_the_one_before() {
    let (_dir, server) = started();
    let (id, _sink, seen) = waiting(&server);
    let first = code(&seen);
    let second = wait_for("another code", || {
        verify(&server, &id, &json!({}));
        Some(code(&seen)).filter(|second| *second != first)
    });
    let old = verify(&server, &id, &json!({ "code": first }));
    assert_eq!(old.problem().0, 422);
    assert_eq!(
        verify(&server, &id, &json!({ "code": second })).json()["state"],
        "active"
    );
}

#[test]
fn a_code_and_its_spent_tries_survive_a_crash() {
    let (_dir, mut server) = started();
    let (id, sink, seen) = waiting(&server);
    let event = server.event(&json!({"type": "a", "data": 1}));
    verify(&server, &id, &json!({"code": other_than(code(&seen))}));
    let sent = sink.count();
    server.kill();
    server.restart();
    let after = show(&server, &id);
    assert_eq!(
        (&after["state"], &after["verification"]["tries_left"]),
        (&json!("unverified"), &json!(4))
    );
    server.delivery_in(&event, "held");
    let right = verify(&server, &id, &json!({"code": code(&seen)}));
    assert_eq!(right.json()["state"], "active", "{}", right.text());
    server.delivery_in(&event, "delivered");
    assert_eq!(sink.count(), sent + 1, "the code was not sent again");
    server.kill();
    server.restart();
    assert_eq!(show(&server, &id)["verification"]["state"], "verified");
}

#[test]
fn the_code_is_shown_to_nobody() {
    let (dir, server) = started();
    let (id, _sink, seen) = waiting(&server);
    let code = code(&seen).to_string();
    verify(&server, &id, &json!({"code": other_than(code.parse().unwrap())}));
    let shown = [
        server.get(&format!("/v1/endpoints/{id}")),
        server.get("/v1/endpoints"),
        server.get(&format!("/v1/endpoints/{id}/secret")),
        server.get(&format!("/v1/endpoints/{id}/stats")),
        server.get(&format!("/v1/attempts?endpoint={id}")),
    ];
    let alone = |text: &str| {
        text.split(|letter: char| !letter.is_ascii_digit())
            .any(|part| part == code)
    };
    for document in &shown {
        // Times have digits of their own.
        let texts: Vec<String> = document.to_string().split(',').map(str::to_owned).collect();
        let telling = texts.iter().find(|text| !text.contains("_at\"") && alone(text));
        assert!(telling.is_none(), "{telling:?}");
    }
    let log = server.log();
    for line in log.lines() {
        let said = line.split_once(' ').map_or(line, |(_, said)| said);
        assert!(!alone(said), "{line}");
    }
    // Nor does it lie on the disk as it is: neither in the configuration nor in what the receiver answered.
    let journal = dir.path().join("data/journal");
    let sent = format!("validation_code\":{code}");
    for entry in std::fs::read_dir(journal).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(
            !text.contains(&sent) && !text.contains("validation_code"),
            "{text}"
        );
    }
    let attempts = server.list(&format!("/v1/attempts?endpoint={id}&order=asc"));
    let numbers: Vec<_> = attempts.iter().map(|attempt| attempt["number"].clone()).collect();
    assert_eq!(numbers, [json!(1), json!(2)]);
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt["event_type"] == "ziggeo_validation")
    );
}

#[test]
fn what_is_no_code_costs_no_try_and_is_refused_by_name() {
    let (_dir, server) = started();
    let (id, _sink, _seen) = waiting(&server);
    for (document, status, field) in [
        (json!({"code": ""}), 422, "code"),
        (json!({"code": "12345"}), 422, "code"),
        (json!({"code": "1234567"}), 422, "code"),
        (json!({"code": "12345x"}), 422, "code"),
        (json!({"code": " 12345"}), 422, "code"),
        (json!({"code": -12345}), 422, "code"),
        (json!({"code": 1.5}), 422, "code"),
        (json!({"code": ["123456"]}), 422, "code"),
        (json!({"code": true}), 422, "code"),
        (json!({"kode": "123456"}), 422, "kode"),
    ] {
        let problem = verify(&server, &id, &document).problem();
        assert_eq!(problem, (status, vec![field.to_owned()]), "{document}");
    }
    assert_eq!(show(&server, &id)["verification"]["tries_left"], 5);
    let plain = server.endpoint(&json!({"url": "http://127.0.0.1:9/"}));
    assert_eq!(verify(&server, &plain, &json!({})).problem().0, 409);
    assert!(show(&server, &plain).get("verification").is_none());
    let ping = server.endpoint(&json!({"url": "http://127.0.0.1:9/", "handshake": "ping"}));
    let refused = verify(&server, &ping, &json!({"code": "123456"}));
    assert_eq!(refused.problem(), (422, vec!["code".to_owned()]));
    let unknown = verify(&server, "ep_01h455vb4pex5vsknk084sn02q", &json!({}));
    assert_eq!(unknown.problem().0, 404);
    let handshake = json!({"url": "http://127.0.0.1:9/", "handshake": "sesame"});
    let refused = server.post("/v1/endpoints", &handshake).problem();
    assert_eq!(refused, (422, vec!["handshake".to_owned()]));
    server.request("DELETE", &format!("/v1/endpoints/{ping}"), None, b"");
    assert_eq!(verify(&server, &ping, &json!({})).problem().0, 410);
}

#[test]
fn the_command_line_verifies_and_says_by_its_exit_code_whether_it_is_done() {
    let (_dir, server) = started();
    let (_, _sink, seen) = waiting(&server);
    let (sink, told) = learning(|_| answer(500, "", ""), |_| ok(""));
    let (said, status) = server.cli(&[
        "endpoint",
        "add",
        &sink.url(),
        "--handshake",
        "ping",
        "--output",
        "json",
    ]);
    assert!(status.success(), "{said}");
    let id: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    let id = id["id"].as_str().unwrap();
    let (said, status) = server.cli(&["endpoint", "verify", id]);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("2xx"), "{said}");
    told.store(true, Ordering::SeqCst);
    let (said, status) = server.cli(&["endpoint", "verify", id]);
    assert!(status.success() && said.contains("active"), "{said}");
    // A code that waits.
    let ziggeo = server.list("/v1/endpoints?state=unverified")[0]["id"].clone();
    let ziggeo = ziggeo.as_str().unwrap();
    let (said, status) = server.cli(&["endpoint", "verify", ziggeo]);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("posthaste endpoint verify {ziggeo} CODE")),
        "{said}"
    );
    let (said, status) = server.cli(&["endpoint", "verify", ziggeo, &other_than(code(&seen))]);
    assert_eq!(status.code(), Some(1), "{said}");
    let (said, status) = server.cli(&["endpoint", "verify", ziggeo, &code(&seen).to_string()]);
    assert!(status.success(), "{said}");
}

#[test]
fn many_who_ask_at_once_are_all_answered() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let id = server.endpoint(&json!({"url": sink.url(), "handshake": "ping"}));
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let answer = verify(&server, &id, &json!({}));
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.json()["verification"]["state"], "verified");
            });
        }
    });
    assert!(
        sink.count() <= 41,
        "one at a time: who asks meanwhile waits for the one that is out"
    );
}

#[test]
fn an_endpoint_that_hangs_holds_up_no_other_handshake() {
    let (_dir, server) = started();
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    for _ in 0..10 {
        server.endpoint(&json!({"url": url, "handshake": "ping", "timeout": "300s"}));
    }
    let sink = Sink::accepting();
    let id = server.endpoint(&json!({"url": sink.url(), "handshake": "ping"}));
    in_state(&server, &id, "active");
}
