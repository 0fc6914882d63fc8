//! CloudEvents: what comes in as one goes out as the same one, and no two are taken for each other.

use serde_json::{Value, json};

use crate::support::{
    server::{Answer, Server, wait_for},
    sink::{Received, Sink},
};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// A server with an endpoint for each envelope, whose receivers take everything.
fn started() -> (tempfile::TempDir, Server, Sink, Sink) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let (structured, binary) = (Sink::accepting(), Sink::accepting());
    server.endpoint(&json!({"url": structured.url(), "profile": "cloudevents", "handshake": "none"}));
    server.endpoint(&json!({"url": binary.url(), "envelope": "cloudevents-binary"}));
    (dir, server, structured, binary)
}

fn enqueue(server: &Server, document: &Value) -> Answer {
    server.request(
        "POST",
        "/v1/events",
        Some(STRUCTURED),
        document.to_string().as_bytes(),
    )
}

/// The request that came of an event.
fn got(sink: &Sink, event: &str) -> Received {
    wait_for("the request", || {
        sink.received().into_iter().find(|got| got.event_id() == event)
    })
}

fn id(answer: &Answer) -> String {
    assert!([200, 202].contains(&answer.status), "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_cloud_event_goes_out_as_the_one_that_came_in() {
    let (_dir, server, structured, binary) = started();
    let data = r#"{"b": 1.0, "a":1e400,"a":"\ud800"}"#;
    let attributes = json!({
        "specversion": "1.0", "id": "A.234 é", "source": "https://example.com/shop?x=1", "type": "com.example.someevent",
        "time": "2018-04-05T17:31:00.123456+02:00", "subject": "Euro € 😀", "dataschema": "https://example.com/schema",
        "traceparent": "00-1", "partitionkey": "p", "datacontenttype": "application/vnd.example+json",
    });
    let head = attributes.to_string();
    let document = format!("{},\"data\":{data}}}", head.trim_end_matches('}'));
    let answer = server.request(
        "POST",
        "/v1/events?channel=c",
        Some(STRUCTURED),
        document.as_bytes(),
    );
    let event = id(&answer);
    assert_eq!((answer.status, event.starts_with("ce_")), (202, true));

    let whole = got(&structured, &event);
    assert_eq!(
        whole.headers["content-type"],
        "application/cloudevents+json; charset=utf-8"
    );
    let text = String::from_utf8(whole.body).unwrap();
    let (sent, rest) = text.split_once(",\"data\":").unwrap();
    assert_eq!(rest, format!("{data}}}"));
    assert_eq!(
        serde_json::from_str::<Value>(&format!("{sent}}}")).unwrap(),
        attributes
    );

    let parts = got(&binary, &event);
    assert_eq!(String::from_utf8(parts.body).unwrap(), data);
    assert_eq!(parts.headers["content-type"], "application/vnd.example+json");
    let header = |name: &str| parts.headers[&format!("ce-{name}")].clone();
    assert_eq!(header("id"), "A.234%20%C3%A9");
    assert_eq!(header("subject"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
    for name in [
        "specversion",
        "source",
        "type",
        "time",
        "dataschema",
        "traceparent",
        "partitionkey",
    ] {
        assert_eq!(header(name), attributes[name].as_str().unwrap());
    }
    let theirs = parts.headers.keys().filter(|name| name.starts_with("ce-"));
    assert_eq!(theirs.count(), 9);

    // Its data is no number that the test's own parser knows.
    let shown = server
        .request("GET", &format!("/v1/events/{event}"), None, b"")
        .text();
    let said = r#""channel":"c","ordering_key":"p","accepted_at":"#;
    assert!(shown.contains(said), "{shown}");
    assert!(
        shown.contains(r#""occurred_at":"2018-04-05T15:31:00.123Z""#),
        "{shown}"
    );
}

#[test]
fn a_binary_cloud_event_comes_in_with_any_body() {
    let (_dir, server, structured, binary) = started();
    let headers = "ce-specversion: 1.0\r\nce-id: 7\r\nce-source: /s\r\nce-type: image.made\r\n\
                   ce-subject: a%20b\r\ncontent-type: image/png\r\n";
    let answer = server.ask("POST", "/v1/events", headers, b"\x89PNG");
    assert_eq!((answer.status, id(&answer).as_str()), (202, "7"));
    let sent: Value = serde_json::from_slice(&got(&structured, "7").body).unwrap();
    assert_eq!(
        (&sent["data_base64"], &sent["datacontenttype"], &sent["subject"]),
        (&json!("iVBORw=="), &json!("image/png"), &json!("a b"))
    );
    let parts = got(&binary, "7");
    assert_eq!(
        (&parts.body[..], &parts.headers["content-type"][..]),
        (&b"\x89PNG"[..], "image/png")
    );

    let none = server.ask(
        "POST",
        "/v1/events",
        &headers.replace("ce-id: 7", "ce-id: 8"),
        b"",
    );
    assert_eq!(none.status, 202);
    let sent: Value = serde_json::from_slice(&got(&structured, "8").body).unwrap();
    assert!(
        sent.get("data").is_none() && sent.get("datacontenttype").is_none(),
        "{sent}"
    );
    let parts = got(&binary, "8");
    assert!(parts.body.is_empty() && !parts.headers.contains_key("content-type"));

    let wrong = headers.replace("ce-specversion: 1.0", "ce-specversion: 0.3");
    let problem = server.ask("POST", "/v1/events", &wrong, b"").problem();
    assert_eq!(problem, (422, vec!["ce-specversion".to_owned()]));
    let unknown = server.ask("POST", "/v1/events?tenamt=a", headers, b"").problem();
    assert_eq!(unknown, (400, vec!["tenamt".to_owned()]));
}

#[test]
fn an_event_of_ours_goes_out_with_the_configured_source() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("POSTHASTE_DELIVERY__CLOUDEVENTS_SOURCE", "urn:example:shop")];
    let server = Server::start_with(&dir.path().join("data"), &["--no-listen"], &environment);
    let sink = Sink::accepting();
    let own = json!({"ce-id": "mine", "x-own": "1"});
    server.endpoint(&json!({"url": sink.url(), "envelope": "cloudevents-binary", "headers": own}));
    let event =
        server.event(&json!({"type": "a", "data": {}, "attributes": {"tracestate": "x", "Not One": "y"}}));
    let received = got(&sink, &event);
    let header = |name: &str| received.headers.get(name).map(String::as_str);
    assert_eq!(header("ce-source"), Some("urn:example:shop"));
    assert_eq!(
        header("ce-id"),
        Some(event.as_str()),
        "a header of the endpoint's own gives way"
    );
    assert_eq!((header("ce-tracestate"), header("x-own")), (Some("x"), Some("1")));
    assert!(received.headers["webhook-signature"].starts_with("v1,"));
}

#[test]
fn two_sources_with_one_id_are_two_events_and_repeats_are_known() {
    let (_dir, mut server, structured, _binary) = started();
    let document = |source: &str, data: u32| json!({"specversion": "1.0", "id": "order-1", "source": source, "type": "order.paid", "data": data});
    let first = id(&enqueue(&server, &document("/a", 1)));
    let second = id(&enqueue(&server, &document("/b", 1)));
    assert_eq!(first, "order-1");
    assert!(second.starts_with("ce_"), "{second}");
    let sent: Value = serde_json::from_slice(&got(&structured, &second).body).unwrap();
    assert_eq!((&sent["id"], &sent["source"]), (&json!("order-1"), &json!("/b")));
    for ending in ["none", "stop", "kill"] {
        match ending {
            "stop" => _ = server.stop(),
            "kill" => server.kill(),
            _ => {}
        }
        if ending != "none" {
            server.restart();
        }
        for (source, event) in [("/a", &first), ("/b", &second)] {
            let again = enqueue(&server, &document(source, 1));
            assert_eq!(
                (again.status, &again.json()["id"], &again.json()["duplicate"]),
                (200, &json!(event), &json!(true)),
                "{ending}"
            );
            assert_eq!(
                enqueue(&server, &document(source, 2)).problem().0,
                409,
                "{source} {ending}"
            );
        }
    }
    // An event of ours that took the id first is of no source.
    let ours = server.event(&json!({"id": "ours", "type": "a", "data": 1}));
    let mut theirs = document("/a", 1);
    theirs["id"] = json!(ours);
    assert!(id(&enqueue(&server, &theirs)).starts_with("ce_"));
}

#[test]
fn sources_that_meet_at_the_same_moment_are_told_apart() {
    let (_dir, server, _structured, _binary) = started();
    let send = |source: usize| {
        let document =
            json!({"specversion": "1.0", "id": "same", "source": format!("/{source}"), "type": "a"});
        id(&enqueue(&server, &document))
    };
    let together: Vec<String> = std::thread::scope(|scope| {
        let sending: Vec<_> = (0..8).map(|source| scope.spawn(move || send(source))).collect();
        sending.into_iter().map(|sent| sent.join().unwrap()).collect()
    });
    let distinct: std::collections::BTreeSet<_> = together.iter().collect();
    assert_eq!(distinct.len(), 8, "{together:?}");
    assert_eq!((0..8).map(send).collect::<Vec<_>>(), together);
}

#[test]
fn an_idempotency_key_and_the_id_both_hold_for_one_cloud_event() {
    let (_dir, server, _structured, _binary) = started();
    let document = json!({"specversion": "1.0", "id": "1", "source": "/a", "type": "a"}).to_string();
    let headers = format!("content-type: {STRUCTURED}\r\nidempotency-key: k\r\n");
    let send = |document: &str| server.ask("POST", "/v1/events", &headers, document.as_bytes());
    assert_eq!((send(&document).status, send(&document).status), (202, 200));
    assert_eq!(send(&document.replace("/a", "/b")).problem().0, 409);
}

#[test]
fn a_batch_answers_each_event_in_order_with_pointers() {
    let (_dir, server, structured, _binary) = started();
    let event = |id: &str, source: &str| json!({"specversion": "1.0", "id": id, "source": source, "type": "a", "data": {"from": source}});
    let mut wrong = event("x", "/a");
    wrong["time"] = json!("soon");
    let mut old = event("y", "/a");
    old["specversion"] = json!("0.3");
    let batch = json!([
        event("1", "/a"),
        wrong,
        event("1", "/b"),
        event("1", "/a"),
        5,
        old,
        event("2", "/a")
    ]);
    let send = |body: &str| server.request("POST", "/v1/events?tenant=t", Some(BATCH), body.as_bytes());
    // No endpoint is of this tenant: nobody gets them.
    let answer = send(&batch.to_string());
    assert_eq!(answer.status, 202, "{}", answer.text());
    let answer = answer.json();
    let counts = ["accepted", "duplicates", "rejected"].map(|name| answer[name].as_u64().unwrap());
    assert_eq!(counts, [3, 1, 3]);
    let results = answer["results"].as_array().unwrap();
    let problem = |place: usize| {
        (
            &results[place]["problem"]["status"],
            &results[place]["problem"]["pointer"],
        )
    };
    assert_eq!(problem(1), (&json!(422), &json!("/1/time")));
    assert_eq!(problem(4), (&json!(422), &json!("/4")));
    assert_eq!(problem(5), (&json!(422), &json!("/5/specversion")));
    assert_eq!((&results[0]["id"], &results[3]["id"]), (&json!("1"), &json!("1")));
    assert_eq!(results[3]["duplicate"], true);
    assert!(
        results[2]["id"].as_str().unwrap().starts_with("ce_"),
        "{}",
        results[2]
    );
    assert_eq!(results[6]["id"], "2");
    assert_eq!(server.get("/v1/events/1")["tenant"], "t");

    assert_eq!(
        (send("[]").status, send("[]").json()["accepted"].clone()),
        (202, json!(0))
    );
    for (body, status) in [("{}", 400), ("[", 400), ("[5]", 400), ("", 400)] {
        assert_eq!(send(body).problem().0, status, "{body}");
    }
    assert_eq!(structured.count(), 0);
}

#[test]
fn a_batch_of_many_events_is_taken_whole() {
    let (_dir, server, _structured, _binary) = started();
    let events: Vec<Value> = (0..1000)
        .map(|number| json!({"specversion": "1.0", "id": format!("n-{number}"), "source": "/a", "type": "a", "data": "[,]"}))
        .collect();
    let batch = Value::from(events).to_string();
    let send = || {
        server
            .request("POST", "/v1/events", Some(BATCH), batch.as_bytes())
            .json()
    };
    assert_eq!(send()["accepted"], 1000);
    assert_eq!(send()["duplicates"], 1000);
}

#[test]
fn cloud_events_are_sent_from_the_command_line() {
    let (dir, server, structured, _binary) = started();
    let document = json!({"specversion": "1.0", "id": "cli", "source": "/a", "type": "a", "data": 1});
    let one = dir.path().join("one.json");
    let many = dir.path().join("many.json");
    std::fs::write(&one, document.to_string()).unwrap();
    std::fs::write(&many, json!([document, 5]).to_string()).unwrap();
    let (one, many) = (format!("@{}", one.display()), format!("@{}", many.display()));
    let (said, status) = server.cli(&["send", &one, "--content-type", STRUCTURED, "--wait"]);
    assert!(status.success() && said.contains("delivered"), "{said}");
    assert_eq!(got(&structured, "cli").headers["webhook-id"], "cli");
    let (said, status) = server.cli(&["send", &many, "--content-type", BATCH]);
    assert_eq!(status.code(), Some(1));
    assert!(
        said.contains("0 accepted, 1 duplicates, 1 rejected") && said.contains("event 2: "),
        "{said}"
    );
    let (said, status) = server.cli(&["send", "a", &one, "--content-type", STRUCTURED]);
    assert_eq!(status.code(), Some(2), "{said}");
    let url = format!("{}x", structured.url());
    let words = [
        "endpoint",
        "add",
        &url,
        "--envelope",
        "bare",
        "--encoding",
        "xml",
        "--output",
        "json",
    ];
    let (said, status) = server.cli(&words);
    assert!(
        status.success() && said.contains("\"encoding\":\"xml\""),
        "{said}"
    );
}
