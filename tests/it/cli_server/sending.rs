//! Events sent from the command line.

use super::*;

#[test]
fn an_event_is_sent_from_an_argument_a_file_and_stdin() {
    let (dir, server) = started();
    let sink = Sink::accepting();
    server.endpoint(&json!({"url": sink.url()}));
    let file = dir.path().join("event.json");
    std::fs::write(&file, "{\"from\": \"file\"}\n").unwrap();
    let at_file = format!("@{}", file.display());
    let shown = printed(&server, &["send", "a", "{\"from\": 1.50}", "--id", "first"]);
    assert_eq!(
        [
            detail(&shown, "id"),
            detail(&shown, "type"),
            detail(&shown, "deliveries"),
            detail(&shown, "duplicate")
        ],
        ["first", "a", "1", "false"]
    );
    assert_eq!(
        document(&server, &["send", "a", "{\"from\": 1.50}", "--id", "first"])["duplicate"],
        true
    );
    printed(&server, &["send", "a", &at_file, "--wait"]);
    let piped = run_with(
        &server,
        &["send", "a", "-", "--wait", "--output", "json"],
        b"[\"stdin\"]",
    );
    assert!(piped.status.success(), "{}", text(&piped.stderr));
    let lines: Vec<Value> = text(&piped.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["deliveries"], &lines[1]["state"]),
        (&json!(1), &json!("delivered"))
    );
    let plain = ["send", "a", "plain", "--content-type", "text/plain", "--wait"];
    assert!(printed(&server, &plain).contains("delivered  dlv_"));
    server.delivery_in("first", "delivered");
    let mut bodies: Vec<String> = sink.received().iter().map(|got| text(&got.body)).collect();
    bodies.sort();
    assert_eq!(bodies[0], "plain");
    for (body, data) in bodies[1..]
        .iter()
        .zip(["[\"stdin\"]", "{\"from\": \"file\"}", "{\"from\": 1.50}"])
    {
        assert!(
            bodies
                .iter()
                .any(|body| body.ends_with(&format!("\"data\":{data}}}"))),
            "{data}: {body}"
        );
    }
    assert_eq!(failed(&server, &["send", "a", "{not json"]).0, Some(2));
    let (code, told) = failed(&server, &["send", "a", "1", "--id", "first"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("(409)"), "{told}");
}

#[test]
fn waiting_fails_when_a_delivery_does() {
    let (_dir, server) = started();
    let sink = Sink::deciding(|_, _| answer(422, ""));
    let endpoint = server.endpoint(&json!({"url": sink.url()}));
    let output = run(&server, &["send", "a", "1", "--wait"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains(&format!("to {endpoint}  after 1 attempt\n")),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(text(&output.stderr), "posthaste: 1 of 1 were not delivered\n");
    printed(&server, &["endpoint", "pause", &endpoint]);
    let output = run(&server, &["send", "a", "1", "--wait", "--wait-timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "posthaste: after 300ms 1 deliveries have not ended (1 of them held); they go on\n"
    );
}

#[test]
fn a_batch_is_sent_from_a_file_and_stdin_and_tells_its_bad_lines() {
    let (dir, server) = started();
    let file = dir.path().join("events.ndjson");
    std::fs::write(
        &file,
        "{\"type\":\"a\",\"data\":1}\n{\"type\":\"a\",\"data\":2}\n",
    )
    .unwrap();
    let at_file = format!("@{}", file.display());
    assert_eq!(
        printed(&server, &["send", "--batch", &at_file]),
        "2 accepted (2 matched no endpoint), 0 duplicates, 0 rejected\n"
    );
    let output = run_with(
        &server,
        &["send", "--batch"],
        b"{\"type\":\"a\",\"data\":1}\n{\"type\":\"a\"}\nx\n",
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "1 accepted (1 matched no endpoint), 0 duplicates, 2 rejected\n"
    );
    let told = text(&output.stderr);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("line 2: data: is missing"), "{told}");
    assert!(lines[1].starts_with("line 3: not JSON"), "{told}");
    assert_eq!(lines[2], "posthaste: 2 of 3 lines were rejected");
    assert_eq!(printed(&server, &["event", "list"]).lines().count(), 4);
}

/// Lines of an NDJSON batch, each an event with an id of its own.
fn lines(count: usize) -> String {
    (0..count)
        .map(|number| format!("{{\"type\":\"a\",\"data\":{number},\"id\":\"e{number}\"}}\n"))
        .collect()
}

fn started_with(environment: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(&dir.path().join("data"), &["--no-listen"], environment);
    (dir, server)
}

#[test]
fn a_batch_of_any_size_is_sent_whole() {
    let (_dir, server) = started();
    let output = run_with(&server, &["send", "--batch"], lines(12_345).as_bytes());
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (
            Some(0),
            "12345 accepted (12345 matched no endpoint), 0 duplicates, 0 rejected\n".to_owned()
        ),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(server.get("/v1/status")["events"], 12_345);
}

#[test]
fn a_batch_is_cut_smaller_where_the_server_takes_less() {
    for limit in [
        ("POSTHASTE_LIMITS__BATCH_LINES", "7"),
        ("POSTHASTE_LIMITS__BATCH_BYTES", "4KiB"),
    ] {
        let (_dir, server) = started_with(&[limit, ("POSTHASTE_LIMITS__PAYLOAD", "1KiB")]);
        let output = run_with(&server, &["send", "--batch"], lines(300).as_bytes());
        assert_eq!(
            output.status.code(),
            Some(0),
            "{limit:?}: {}",
            text(&output.stderr)
        );
        assert_eq!(server.get("/v1/status")["events"], 300, "{limit:?}");
    }
}

#[test]
fn a_list_of_cloud_events_that_is_taken_in_part_is_no_success() {
    let (dir, server) = started_with(&[("POSTHASTE_LIMITS__BATCH_LINES", "3")]);
    let event = |number: u32| json!({"specversion": "1.0", "type": "a", "source": "/s", "id": format!("c{number}"), "data": 1});
    let file = dir.path().join("list.json");
    std::fs::write(&file, json!((0..5).map(event).collect::<Vec<_>>()).to_string()).unwrap();
    let at_file = format!("@{}", file.display());
    let (code, told) = failed(
        &server,
        &[
            "send",
            &at_file,
            "--content-type",
            "application/cloudevents-batch+json",
        ],
    );
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("stopped at event 4, ") && told.contains("3 accepted"),
        "{told}"
    );
}
