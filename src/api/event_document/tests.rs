//! Documents, good and bad.

use proptest::prelude::*;

use super::*;

fn event(text: &str) -> Result<NewEvent, Problem> {
    read(&Bytes::copy_from_slice(text.as_bytes()))
}

fn field(text: &str) -> String {
    let problem = event(text).unwrap_err();
    assert_eq!(problem.kind(), Kind::Invalid, "{text}: {}", problem.detail());
    problem
        .errors()
        .first()
        .unwrap_or_else(|| panic!("{text}: {}", problem.detail()))
        .field
        .clone()
}

#[test]
fn every_member_is_read() {
    let event = event(
        r#"{"type":"user.created","data":{"a":1},"id":"e-1","tenant":"t","channel":"c","ordering_key":"k",
            "occurred_at":"2026-11-21T05:30:00Z","deliver_at":"2026-11-21T06:30:00+01:00",
            "expires_at":"2026-11-22T00:00:00.5Z","attributes":{"x":"y"}}"#,
    )
    .unwrap();
    assert_eq!(event.event_type.as_str(), "user.created");
    assert_eq!(event.id.unwrap().as_str(), "e-1");
    let labels = [event.tenant, event.channel, event.ordering_key].map(|label| String::from(label.unwrap()));
    assert_eq!(labels, ["t", "c", "k"]);
    assert_eq!(event.occurred_at, event.deliver_at);
    assert_eq!(event.expires_at.unwrap().as_millis() % 1000, 500);
    assert_eq!(event.attributes["x"], "y");
    assert_eq!(
        event.payload,
        Payload {
            content_type: None,
            bytes: Bytes::from_static(br#"{"a":1}"#)
        }
    );
}

#[test]
fn data_is_kept_byte_for_byte() {
    for data in [
        r#"{"b": 1.0, "a":1e400,  "b":2}"#,
        r#""\ud800""#,
        r#""\u00e9é\/""#,
        "null",
        "-0",
        "123456789012345678901234567890.10",
        "[ ]",
    ] {
        let event = event(&format!("{{\"type\":\"a\" , \"data\" :  {data}  }}")).unwrap();
        assert_eq!(event.payload.bytes, data.as_bytes());
    }
}

#[test]
fn other_payloads_come_in_base64_with_their_type() {
    let read = event(r#"{"type":"a","data_base64":"AAH\/","content_type":"image/png"}"#).unwrap();
    assert_eq!(&read.payload.bytes[..], b"\x00\x01\xff");
    assert_eq!(read.payload.content_type.as_deref(), Some("image/png"));
    assert_eq!(
        field(r#"{"type":"a","data_base64":"AAH_","content_type":"a/b"}"#),
        "data_base64"
    );
    assert_eq!(field(r#"{"type":"a","data_base64":"AAH/"}"#), "content_type");
    assert_eq!(
        field(r#"{"type":"a","data_base64":"AAH/","content_type":"a/b\r\nX: y"}"#),
        "content_type"
    );
    assert_eq!(
        field(r#"{"type":"a","data_base64":"AAH/","content_type":"text"}"#),
        "content_type"
    );
    assert_eq!(
        field(r#"{"type":"a","data":1,"content_type":"a/b"}"#),
        "content_type"
    );
    assert_eq!(field(r#"{"type":"a","data":1,"data_base64":""}"#), "data_base64");
}

#[test]
fn a_member_at_fault_is_named() {
    assert_eq!(field(r#"{"data":1}"#), "type");
    assert_eq!(field(r#"{"type":"a"}"#), "data");
    assert_eq!(field(r#"{"type":"a?b","data":1}"#), "type");
    assert_eq!(field(r#"{"type":"a\u202e","data":1}"#), "type");
    assert_eq!(field(r#"{"type":"a","data":1,"id":"a.b"}"#), "id");
    assert_eq!(field(r#"{"type":"a","data":1,"tenant":""}"#), "tenant");
    assert_eq!(field(r#"{"type":"a","data":1,"datum":1}"#), "datum");
    assert_eq!(
        field(r#"{"type":"a","data":1,"attributes":{"x":1}}"#),
        "attributes.x"
    );
    assert_eq!(
        field(r#"{"type":"a","data":1,"attributes":{"x":"","x":""}}"#),
        "attributes"
    );
    for time in [
        "-5",
        "1764000000",
        "\"10000-01-01T00:00:00Z\"",
        "\"soon\"",
        "\"1969-12-31T23:59:59Z\"",
    ] {
        assert_eq!(
            field(&format!(r#"{{"type":"a","data":1,"deliver_at":{time}}}"#)),
            "deliver_at"
        );
    }
}

#[test]
fn a_member_that_is_there_twice_is_refused() {
    for (twice, name) in [
        (r#"{"type":"a","data":1,"data":2}"#, "data"),
        (r#"{"type":"a","type":"a","data":1}"#, "type"),
        (
            r#"{"type":"a","tenant":"t","data":1,"tenant":"t","x":1}"#,
            "tenant",
        ),
    ] {
        let problem = event(twice).unwrap_err();
        assert_eq!(problem.kind(), Kind::Invalid);
        assert_eq!(problem.errors()[0].field, name);
    }
}

#[test]
fn what_is_no_document_is_malformed() {
    let deep = format!(r#"{{"type":"a","data":{}"#, "[".repeat(100_000));
    for bad in [
        "",
        " ",
        "{",
        r#"{"type":"a","data":"#,
        r#"{"type":"a","data":NaN}"#,
        "{}{}",
        &deep,
    ] {
        assert_eq!(
            event(bad).unwrap_err().kind(),
            Kind::MalformedDocument,
            "{:.40}",
            bad
        );
    }
    let not_text = read(&Bytes::from_static(b"{\"type\":\"a\",\"data\":\"\xff\"}")).unwrap_err();
    assert!(not_text.detail().contains("UTF-8"), "{}", not_text.detail());
}

#[test]
fn data_may_be_as_deep_as_the_limit() {
    let nested = |depth: usize| {
        format!(
            r#"{{"type":"a","data":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    assert!(event(&nested(limits::JSON_DEPTH)).is_ok());
    assert!(event(&nested(limits::JSON_DEPTH + 1)).is_err());
}

#[test]
fn a_list_of_events_is_pointed_to_lines() {
    let problem = event(r#"[{"type":"a","data":1}]"#).unwrap_err();
    assert!(
        problem.detail().contains("application/x-ndjson"),
        "{}",
        problem.detail()
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,64}") {
        let _ = event(&text);
        let _ = event(&format!(r#"{{"type":"a","data":{text}}}"#));
    }
}
