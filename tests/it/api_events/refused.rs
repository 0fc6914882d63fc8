//! What is refused, and that it harms no other.

use super::*;

/// Documents that are refused: what they are, the status, and the field that the problem names (`""` for none).
fn bad_documents() -> Vec<(Vec<u8>, u16, &'static str)> {
    let nested = |depth: usize| {
        format!(
            r#"{{"type":"a","data":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    let with = |members: &str| format!(r#"{{"type":"a","data":1,{members}}}"#).into_bytes();
    let typed = |event_type: &str| format!(r#"{{"type":{event_type},"data":1}}"#).into_bytes();
    let long = "x".repeat(257);
    let mut documents: Vec<(Vec<u8>, u16, &'static str)> = vec![
        (b"".to_vec(), 400, ""),
        (b"   ".to_vec(), 400, ""),
        (br#"{"type":"a","data":{}"#.to_vec(), 400, ""),
        (br#"{"type":"a","data":NaN}"#.to_vec(), 400, ""),
        (br#"{"type":"a","data":1} x"#.to_vec(), 400, ""),
        (b"{\"type\":\"a\",\"data\":\"\xff\"}".to_vec(), 400, ""),
        (nested(1_000).into_bytes(), 400, ""),
        (nested(100_000).into_bytes(), 400, ""),
        ("[".repeat(200_000).into_bytes(), 400, ""),
        (br#"[{"type":"a","data":1}]"#.to_vec(), 422, ""),
        (b"7".to_vec(), 422, ""),
        (br#"{"data":1}"#.to_vec(), 422, "type"),
        (br#"{"type":null,"data":1}"#.to_vec(), 422, "type"),
        (br#"{"type":"a"}"#.to_vec(), 422, "data"),
        (br#"{"type":"a","type":"b","data":1}"#.to_vec(), 422, "type"),
        (br#"{"type":"a","data":1,"data":2}"#.to_vec(), 422, "data"),
        (with(r#""dta":1"#), 422, "dta"),
        (with(r#""tenant":"a\u001b[0m""#), 422, "tenant"),
        (with(r#""channel":"""#), 422, "channel"),
        (with(r#""ordering_key":7"#), 422, "ordering_key"),
        (with(r#""attributes":{"a":1}"#), 422, "attributes.a"),
        (with(r#""attributes":{"a":"1","a":"2"}"#), 422, "attributes"),
        (with(r#""occurred_at":"yesterday""#), 422, "occurred_at"),
        (with(r#""deliver_at":-5"#), 422, "deliver_at"),
        (with(r#""deliver_at":"-0001-01-01T00:00:00Z""#), 422, "deliver_at"),
        (with(r#""deliver_at":"9999-12-31T23:59:59Z""#), 422, "deliver_at"),
        (with(r#""deliver_at":"2999-01-01T00:00:00Z""#), 422, "deliver_at"),
        (with(r#""deliver_at":"2026-13-01T00:00:00Z""#), 422, "deliver_at"),
        (with(r#""expires_at":"2001-01-01T00:00:00Z""#), 422, "expires_at"),
        (with(r#""expires_at":{}"#), 422, "expires_at"),
        (
            with(r#""data_base64":"AA==","content_type":"a/b""#),
            422,
            "data_base64",
        ),
        (with(r#""content_type":"a/b""#), 422, "content_type"),
        (
            br#"{"type":"a","data_base64":"AA=="}"#.to_vec(),
            422,
            "content_type",
        ),
        (
            br#"{"type":"a","data_base64":"A","content_type":"a/b"}"#.to_vec(),
            422,
            "data_base64",
        ),
        (
            br#"{"type":"a","data_base64":"AA==","content_type":"a\r\nb"}"#.to_vec(),
            422,
            "content_type",
        ),
    ];
    for bad in [
        "\"\"",
        "\"a..b\"",
        "\"a b \"",
        "\" a b\"",
        "\"a?b\"",
        "\"a\\n\"",
        "\"\\u202ea\"",
        "\"a.*\"",
        "7",
        &format!("\"{long}\""),
    ] {
        documents.push((typed(bad), 422, "type"));
    }
    for bad in [
        "\"\"",
        "\"a.b\"",
        "\"a b\"",
        "\"é\"",
        "\"a\\u0000\"",
        "7",
        &format!("\"{long}\""),
    ] {
        documents.push((with(&format!(r#""id":{bad}"#)), 422, "id"));
    }
    documents
}

#[test]
fn a_bad_document_is_a_problem_that_names_the_field_and_harms_no_other() {
    let (_dir, server, sink) = started();
    let documents = bad_documents();
    for (document, status, field) in &documents {
        let shown = String::from_utf8_lossy(&document[..document.len().min(120)]).into_owned();
        let (got, fields) = server.enqueue(document).problem();
        let expected: &[&str] = if field.is_empty() { &[] } else { &[field] };
        assert_eq!(
            (got, fields),
            (*status, expected.iter().map(ToString::to_string).collect()),
            "{shown}"
        );
        assert_eq!(
            server.enqueue(br#"{"type":"good","data":{}}"#).status,
            202,
            "after {shown}"
        );
    }
    wait_for("the good ones", || {
        (sink.count() == documents.len()).then_some(())
    });
    assert_eq!(server.list("/v1/events").len(), documents.len());
}

/// A receiver acts on what the server tells of itself: nobody else may say it, by any way in.
#[test]
fn the_servers_own_event_types_are_refused_by_every_way_in() {
    let (_dir, server, _sink) = started();
    let heard = Sink::accepting();
    server.endpoint(&json!({"url": heard.url(), "events": ["endpoint.*", "server.*"]}));
    for name in [
        "endpoint.disabled",
        "endpoint.unverified",
        "endpoint.deliveries_expired",
        "endpoint.overdue",
        "endpoint.caught_up",
        "server.degraded",
        "server.recovered",
        "server.anything",
    ] {
        let document = json!({"type": name, "data": {"endpoint_id": "ep_forged"}});
        let refused = server.enqueue(document.to_string().as_bytes());
        assert_eq!(refused.problem(), (422, vec!["type".to_owned()]), "{name}");
        assert!(
            refused.text().contains("only the server sends"),
            "{}",
            refused.text()
        );
        let lines = format!("{document}\n{}\n", json!({"type": "fine", "data": 1}));
        let batch = server.request(
            "POST",
            "/v1/events",
            Some("application/x-ndjson"),
            lines.as_bytes(),
        );
        let batch = batch.json();
        assert_eq!(
            (&batch["rejected"], &batch["accepted"]),
            (&json!(1), &json!(1)),
            "{batch}"
        );
        let cloud = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": name});
        let refused = server.request(
            "POST",
            "/v1/events",
            Some("application/cloudevents+json"),
            cloud.to_string().as_bytes(),
        );
        assert_eq!(refused.problem(), (422, vec!["type".to_owned()]), "{name}");
        let binary = format!("ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: {name}\r\n");
        let refused = server.ask("POST", "/v1/events", &binary, b"");
        assert_eq!(refused.problem(), (422, vec!["type".to_owned()]), "{name}");
    }
    // Names like them are the sender's to choose: Zoom's own is among them.
    let free = ["endpoint.url_validation", "endpoint.created", "endpoint.ping"];
    for name in free {
        server.event(&json!({"type": name, "data": 1}));
    }
    wait_for("the others", || (heard.count() == free.len()).then_some(()));
}

#[test]
fn what_says_that_it_is_something_else_is_not_read_as_json() {
    let (_dir, server, _sink) = started();
    let event = br#"{"type":"a","data":1}"#;
    for headers in [
        "content-type: text/plain\r\n",
        "content-type: application/xml\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: application/cloudevents+avro\r\n",
        "content-type: application/json; charset=latin1\r\n",
        "content-type: application/json\r\ncontent-type: text/plain\r\n",
        "content-encoding: gzip\r\n",
    ] {
        let answer = server.ask("POST", "/v1/events", headers, event);
        assert_eq!(answer.problem().0, 415, "{headers}");
    }
    for headers in [
        "",
        "content-type: application/json\r\n",
        "content-type: Application/JSON; charset=\"UTF-8\"\r\n",
        "content-encoding: identity\r\n",
    ] {
        assert_eq!(
            server.ask("POST", "/v1/events", headers, event).status,
            202,
            "{headers}"
        );
    }
    assert_eq!(server.list("/v1/events").len(), 4);
}

#[test]
fn a_client_that_stops_half_way_stores_nothing_and_holds_up_nobody() {
    let (_dir, server, sink) = started();
    let connect = || UnixStream::connect(server.socket()).unwrap();
    let announced =
        |length: usize| format!("POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    let whole = event_text("half", "a", "1");
    let mut stopped: Vec<UnixStream> = (0..20).map(|_| connect()).collect();
    for stream in &mut stopped {
        let part = announced(whole.len()) + &whole[..whole.len() - 1];
        stream.write_all(part.as_bytes()).unwrap();
    }
    server.event(&json!({"type": "a", "data": 2}));
    // Those that end their side are told; those that go away are not waited for.
    let mut told = stopped.pop().unwrap();
    told.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    _ = told.read_to_string(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
        "{answer}"
    );
    drop(stopped);
    server.event(&json!({"type": "a", "data": 3}));
    wait_for("the others", || (sink.count() == 2).then_some(()));
    assert_eq!(server.list("/v1/events").len(), 2);
    assert_eq!(server.request("GET", "/v1/events/half", None, b"").status, 404);
    // The id is free.
    assert_eq!(server.enqueue(whole.as_bytes()).status, 202);
}

#[test]
fn what_a_client_sent_before_it_hung_up_is_stored_and_can_be_repeated() {
    let (_dir, server, sink) = started();
    for place in 0..20 {
        let body = event_text(&format!("gone-{place}"), "a", "1");
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        stream.write_all((head + &body).as_bytes()).unwrap();
    }
    wait_for("all of them", || {
        (server.list("/v1/events").len() == 20).then_some(())
    });
    for place in 0..20 {
        let id = format!("gone-{place}");
        let answer = server.enqueue(event_text(&id, "a", "1").as_bytes());
        assert_eq!(
            (answer.status, answer.json()),
            (
                200,
                json!({"id": id, "type": "a", "deliveries": 1, "duplicate": true})
            )
        );
    }
    wait_for("their deliveries", || (sink.count() == 20).then_some(()));
}
