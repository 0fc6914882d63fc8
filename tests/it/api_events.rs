//! Real input and bad input: what `POST /v1/events` takes, refuses and remembers.

mod erased;
mod once;
mod refused;

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
