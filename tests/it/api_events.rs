//! Real input and bad input: what `POST /v1/events` takes, refuses and remembers.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    thread,
};

use serde_json::{Value, json};

use crate::support::{
    server::{Answer, Server, in_millis, millis, raw, wait_for},
    sink::Sink,
};

const PAYLOAD_LIMIT: usize = 256 * 1024;

/// Documents of the shapes that video, telephony and meeting systems send, with everything in them that a second
/// writing would change: escapes, order, number forms, spaces, doubled members.
const DOCUMENTS: [(&str, &str); 5] = [
    (
        "call.ringing",
        r#"{"coreUUID":"5a3b8c8e-2f55-4d7e-9d1c-0c5b7f6a1e10","dialplan":null,"type":"ringing","data":"043xxxxxx","flags":"0","startedAtEpoch":"1581838555122651"}"#,
    ),
    (
        "video_ready",
        r#"{ "video" : {"token":"f0b1","title":"Re-recorded \u00e9t\u00e9 – été & co","duration":12.50,"approved":null,"tags":["demo",[],[null,{}]],"streams":[{"token":"s1"},{"token":"s2"}]} }"#,
    ),
    (
        "meeting.started",
        r#"{"account_id":"AAAAAABBBB","object":{"id":"1234567890","topic":"My \/ Meeting","type":8,"start_time":"2021-07-13T21:44:51Z","size":1e400,"count":12345678901234567890123}}"#,
    ),
    (
        "VIDEO_READY",
        r#"{"z":1,"a":2,"name":"Launch film","duration":184.2000,"tags":["news","launch"],"tags":"twice","half":"\ud83d"}"#,
    ),
    (
        "video.published",
        r#"{"MediaId":4711,"Title":"Quarterly <update> \u0026 review","Portal":"demo","":false,"PublishedBy":"manager@example.com"}"#,
    ),
];

const OCCURRED: &str = "2022-03-01T12:00:00.000Z";

fn event_text(id: &str, event_type: &str, data: &str) -> String {
    format!(r#"{{"id":"{id}","type":"{event_type}","occurred_at":"{OCCURRED}","data":{data}}}"#)
}

/// A server and a receiver that takes everything.
fn started() -> (tempfile::TempDir, Server, Sink) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let sink = Sink::accepting();
    server.endpoint(&json!({"url": sink.url()}));
    (dir, server, sink)
}

fn assert_arrived(sink: &Sink, ids: &[String]) {
    wait_for("every document", || (sink.count() == ids.len()).then_some(()));
    for (id, (event_type, data)) in ids.iter().zip(DOCUMENTS) {
        let received = sink.received();
        let got = received.iter().find(|got| got.event_id() == id).unwrap();
        let expected = format!(r#"{{"type":"{event_type}","timestamp":"{OCCURRED}","data":{data}}}"#);
        assert_eq!(String::from_utf8_lossy(&got.body), expected);
        assert_eq!(got.headers["content-type"], "application/json");
    }
}

#[test]
fn documents_of_real_systems_arrive_byte_for_byte_one_by_one() {
    let (_dir, server, sink) = started();
    let ids: Vec<String> = (0..DOCUMENTS.len()).map(|place| format!("one-{place}")).collect();
    for (id, (event_type, data)) in ids.iter().zip(DOCUMENTS) {
        let answer = server.enqueue(event_text(id, event_type, data).as_bytes());
        assert_eq!(
            (answer.status, answer.json()),
            (
                202,
                json!({"id": id, "type": event_type, "deliveries": 1, "duplicate": false})
            )
        );
    }
    assert_arrived(&sink, &ids);
    let shown = server.request("GET", "/v1/events/one-2", None, b"");
    assert!(shown.text().contains(DOCUMENTS[2].1), "{}", shown.text());
}

#[test]
fn documents_of_real_systems_arrive_byte_for_byte_as_one_batch() {
    let (_dir, server, sink) = started();
    let ids: Vec<String> = (0..DOCUMENTS.len())
        .map(|place| format!("batch-{place}"))
        .collect();
    let lines: Vec<String> = ids
        .iter()
        .zip(DOCUMENTS)
        .map(|(id, (event_type, data))| event_text(id, event_type, data))
        .collect();
    let batch = lines.join("\n");
    let send = || {
        server.request(
            "POST",
            "/v1/events",
            Some("application/x-ndjson"),
            batch.as_bytes(),
        )
    };
    let answer = send();
    assert_eq!(answer.status, 202);
    let result = |place: usize, duplicate: bool| json!({"id": ids[place], "type": DOCUMENTS[place].0, "deliveries": 1, "duplicate": duplicate});
    let results = |duplicate: bool| {
        (0..ids.len())
            .map(|place| result(place, duplicate))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        answer.json(),
        json!({"accepted": 5, "duplicates": 0, "rejected": 0, "results": results(false)})
    );
    assert_arrived(&sink, &ids);
    assert_eq!(
        send().json(),
        json!({"accepted": 0, "duplicates": 5, "rejected": 0, "results": results(true)})
    );
}

#[test]
fn a_batch_with_bad_lines_is_answered_line_by_line_in_order() {
    let (_dir, server, sink) = started();
    let long = "x".repeat(PAYLOAD_LIMIT);
    let batch = format!(
        "{}\n\n{{\"type\":\"a\"}}\nnot json\n{}\n{{\"type\":\"a\",\"data\":\"{long}\"}}\n{}",
        event_text("first", "a", "1"),
        event_text("second", "a", "2"),
        event_text("first", "a", "3"),
    );
    let send = |body: &[u8]| server.request("POST", "/v1/events", Some("application/x-ndjson"), body);
    let answer = send(batch.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(
        (&answer["accepted"], &answer["duplicates"], &answer["rejected"]),
        (&json!(2), &json!(0), &json!(4)),
        "{answer}"
    );
    let line = |result: &Value| match result["id"].as_str() {
        Some(id) => id.to_owned(),
        None => result["problem"]["status"].to_string(),
    };
    let lines: Vec<String> = answer["results"].as_array().unwrap().iter().map(line).collect();
    assert_eq!(lines, ["first", "422", "400", "second", "413", "409"]);
    assert_eq!(answer["results"][1]["problem"]["errors"][0]["field"], "data");
    wait_for("the good lines", || (sink.count() == 2).then_some(()));
    let nothing = send(b"{}\n[]\n");
    assert_eq!(nothing.problem().0, 400);
    assert_eq!(nothing.json()["rejected"], 2);
    assert_eq!(server.list("/v1/events").len(), 2);
}

#[test]
fn what_is_not_json_arrives_as_it_was_under_its_own_media_type() {
    let (_dir, server, sink) = started();
    let event = json!({"type": "image", "content_type": "image/png", "data_base64": "iVBORwD/"});
    let id = server.event(&event);
    wait_for("the delivery", || (sink.count() == 1).then_some(()));
    let got = &sink.received()[0];
    assert_eq!(
        (&got.body[..], got.headers["content-type"].as_str()),
        (&b"\x89PNG\0\xff"[..], "image/png")
    );
    let shown = server.get(&format!("/v1/events/{id}"));
    assert_eq!(
        (&shown["data_base64"], &shown["content_type"]),
        (&json!("iVBORwD/"), &json!("image/png"))
    );
    assert_eq!(shown.get("data"), None);
}

/// An event of exactly `length` bytes.
fn padded(length: usize) -> Vec<u8> {
    let frame = r#"{"type":"a","data":""}"#;
    let (head, tail) = frame.split_at(frame.len() - 2);
    format!("{head}{}{tail}", "x".repeat(length - frame.len())).into_bytes()
}

/// Sends an event in pieces, without saying how long it is.
fn chunked(server: &Server, body: &[u8]) -> Answer {
    let mut bytes =
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for piece in body.chunks(10_000) {
        bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        bytes.extend(piece);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    raw(&server.socket(), &bytes).unwrap()
}

#[test]
fn a_document_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let (_dir, server, sink) = started();
    assert_eq!(server.enqueue(&padded(PAYLOAD_LIMIT)).status, 202);
    assert_eq!(chunked(&server, &padded(PAYLOAD_LIMIT)).status, 202);
    for answer in [
        server.enqueue(&padded(PAYLOAD_LIMIT + 1)),
        chunked(&server, &padded(PAYLOAD_LIMIT + 1)),
    ] {
        assert_eq!(answer.problem().0, 413);
        assert!(answer.json()["detail"].as_str().unwrap().contains("262144"));
    }
    wait_for("the two that fit", || (sink.count() == 2).then_some(()));
    assert_eq!(server.list("/v1/events").len(), 2);
}

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
        "\"a b\"",
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

#[test]
fn data_is_taken_as_deep_as_the_limit_and_with_members_doubled() {
    let (_dir, server, sink) = started();
    let depth = posthaste::domain::limits::JSON_DEPTH;
    let data = [
        format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
        r#"{"a":{"b":1,"b":2},"a":3}"#.to_owned(),
        format!("\"{}\"", "[{".repeat(1000)),
    ];
    for (place, data) in data.iter().enumerate() {
        let id = format!("deep-{place}");
        assert_eq!(server.enqueue(event_text(&id, "a", data).as_bytes()).status, 202);
        wait_for("the delivery", || (sink.count() > place).then_some(()));
        let body = sink.received()[place].body.clone();
        assert!(
            String::from_utf8(body)
                .unwrap()
                .ends_with(&format!("\"data\":{data}}}"))
        );
    }
    let deeper = format!(
        r#"{{"type":"a","data":{}{}}}"#,
        "[".repeat(depth + 1),
        "]".repeat(depth + 1)
    );
    assert_eq!(server.enqueue(deeper.as_bytes()).problem().0, 400);
}

#[test]
fn what_says_that_it_is_something_else_is_not_read_as_json() {
    let (_dir, server, _sink) = started();
    let event = br#"{"type":"a","data":1}"#;
    for headers in [
        "content-type: text/plain\r\n",
        "content-type: application/xml\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: application/cloudevents+json\r\n",
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
    for ending in ["none", "stop", "kill"] {
        match ending {
            "stop" => _ = server.stop(),
            "kill" => server.kill(),
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
