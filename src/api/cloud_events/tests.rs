//! CloudEvents, good and bad.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const CORE: &str = r#""specversion":"1.0","id":"e-1","source":"/shop","type":"user.created""#;

fn read(members: &str) -> Result<NewEvent, Problem> {
    let document = Bytes::from(format!("{{{members}}}"));
    structured::read(&document, &Labels::default())
}

fn with(members: &str) -> Result<NewEvent, Problem> {
    read(&format!("{CORE},{members}"))
}

fn field(read: Result<NewEvent, Problem>) -> String {
    let problem = read.unwrap_err();
    assert_eq!(problem.kind(), Kind::Invalid, "{}", problem.detail());
    problem.errors()[0].field.clone()
}

fn attributes(event: &NewEvent) -> Vec<(&str, &str)> {
    let pairs = event.attributes.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn headers(fields: &[(&str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn binary(fields: &[(&str, &[u8])], body: &'static [u8]) -> Result<NewEvent, Problem> {
    let core: [(&str, &[u8]); 4] = [
        ("ce-specversion", b"1.0"),
        ("ce-id", b"e-1"),
        ("ce-source", b"/shop"),
        ("ce-type", b"user.created"),
    ];
    let all = [&core[..], fields].concat();
    binary::read(&headers(&all), Bytes::from_static(body), &Labels::default())
}

#[test]
fn everything_a_cloud_event_has_is_kept() {
    let event = with(
        r#""time":"2018-04-05T17:31:00.123456+02:00","subject":"a b","dataschema":"https://h.test/s","dataref":null,
           "traceparent":"00-1","sampled":true,"sequence":-7,"datacontenttype":"application/vnd.a+json","data": {"a": 1.0} "#,
    )
    .unwrap();
    assert_eq!(event.id.as_ref().unwrap().as_str(), "e-1");
    assert_eq!(event.event_type.as_str(), "user.created");
    assert_eq!(event.occurred_at.unwrap().to_string(), "2018-04-05T15:31:00.123Z");
    assert_eq!(
        attributes(&event),
        [
            ("ce-datacontenttype", "application/vnd.a+json"),
            ("ce-time", "2018-04-05T17:31:00.123456+02:00"),
            ("dataschema", "https://h.test/s"),
            ("sampled", "true"),
            ("sequence", "-7"),
            ("source", "/shop"),
            ("subject", "a b"),
            ("traceparent", "00-1"),
        ]
    );
    assert_eq!(&event.payload.bytes[..], b"{\"a\": 1.0}");
    assert_eq!(event.payload.content_type, None);
}

#[test]
fn data_comes_as_json_as_text_or_in_base64() {
    let data = |members| {
        let payload = with(members).unwrap().payload;
        (
            payload.content_type,
            String::from_utf8_lossy(&payload.bytes).into_owned(),
        )
    };
    let typed = |content_type: &str, text: &str| (Some(content_type.to_owned()), text.to_owned());
    assert_eq!(data(r#""data":"text""#), (None, "\"text\"".to_owned()));
    assert_eq!(data(r#""data":null"#), (None, "null".to_owned()));
    assert_eq!(
        data(r#""datacontenttype":"text/xml","data":"<a b=\"c\"/>""#),
        typed("text/xml", "<a b=\"c\"/>")
    );
    assert_eq!(
        data(r#""data_base64":"aGk=","datacontenttype":"text/plain""#),
        typed("text/plain", "hi")
    );
    assert_eq!(
        data(r#""data_base64":"aGk=""#),
        typed("application/octet-stream", "hi")
    );
    assert_eq!(
        data(r#""data_base64":"WzFd","datacontenttype":"application/json""#),
        (None, "[1]".to_owned())
    );
}

#[test]
fn no_data_is_told_from_data_that_is_null() {
    let marked = |members: &str| read(members).unwrap().attributes.contains_key(ce::NO_DATA);
    assert!(marked(CORE));
    assert!(!marked(&format!("{CORE},\"data\":null")));
    assert!(binary(&[], b"").unwrap().attributes.contains_key(ce::NO_DATA));
}

#[test]
fn what_is_wrong_is_named() {
    assert_eq!(field(read(r#""id":"1","source":"/","type":"a""#)), "specversion");
    assert_eq!(
        field(read(r#""specversion":"0.3","id":"1","source":"/","type":"a""#)),
        "specversion"
    );
    assert_eq!(
        field(read(r#""specversion":"1.0","source":"/","type":"a""#)),
        "id"
    );
    assert_eq!(
        field(read(r#""specversion":"1.0","id":"","source":"/","type":"a""#)),
        "id"
    );
    assert_eq!(
        field(read(r#""specversion":"1.0","id":5,"source":"/","type":"a""#)),
        "id"
    );
    assert_eq!(
        field(read(r#""specversion":"1.0","id":"1","source":null,"type":"a""#)),
        "source"
    );
    assert_eq!(
        field(read(r#""specversion":"1.0","id":"1","source":"/","type":"a%b""#)),
        "type"
    );
    let bad = [
        (r#""time":"yesterday""#, "time"),
        (r#""time":"2026-02-30T00:00:00Z""#, "time"),
        (r#""time":"2026-11-21 05:30Z""#, "time"),
        (r#""subject":"""#, "subject"),
        (r#""traceParent":"x""#, "traceParent"),
        (r#""a_b":"x""#, "a_b"),
        (r#""x":{}"#, "x"),
        (r#""x":1.5"#, "x"),
        (r#""x":2147483648"#, "x"),
        (r#""x":"a\u0000""#, "x"),
        (r#""x":"\ud800""#, "x"),
        (r#""id":"again""#, "id"),
        (r#""partitionkey":"""#, "partitionkey"),
        (r#""data":1,"data_base64":"""#, "data_base64"),
        (r#""data_base64":"?""#, "data_base64"),
        (
            r#""data_base64":"aGk=","datacontenttype":"application/json""#,
            "data_base64",
        ),
        (r#""data":1,"datacontenttype":"text/plain""#, "data"),
        (r#""data":1,"datacontenttype":"text""#, "datacontenttype"),
    ];
    for (members, name) in bad {
        assert_eq!(field(with(members)), name, "{members}");
    }
    assert_eq!(field(with(&format!("\"x\":\"{}\"", "x".repeat(1025)))), "x");
    let many: Vec<String> = (0..70).map(|number| format!("\"x{number}\":\"\"")).collect();
    assert!(with(&many.join(",")).unwrap_err().detail().contains("too many"));
    assert_eq!(read("").unwrap_err().errors()[0].field, "specversion");
    let list = structured::read(&Bytes::from_static(b"[]"), &Labels::default());
    assert_eq!(list.unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn an_id_that_ours_cannot_be_is_derived_and_kept() {
    let event = |id: &str, source: &str| {
        read(&format!(
            r#""specversion":"1.0","id":"{id}","source":"{source}","type":"a""#
        ))
        .unwrap()
    };
    let dotted = event("a.b", "/x");
    assert_eq!(dotted.attributes[ce::KEPT_ID], "a.b");
    assert_eq!(dotted.id, event("a.b", "/x").id);
    assert_ne!(dotted.id, event("a.b", "/y").id);
    assert!(dotted.id.unwrap().as_str().starts_with("ce_"));
    assert_eq!(event("long enough", "/x").attributes[ce::KEPT_ID], "long enough");
}

#[test]
fn the_partition_key_orders_unless_the_query_says_otherwise() {
    let key = |query: &str| {
        let labels = Labels::take(Params::of(&format!("/v1/events?{query}").parse().unwrap())).unwrap();
        let document = Bytes::from(format!("{{{CORE},\"partitionkey\":\"p\"}}"));
        let event = structured::read(&document, &labels).unwrap();
        assert_eq!(event.attributes["partitionkey"], "p");
        (
            event.ordering_key.map(String::from),
            event.tenant.map(String::from),
        )
    };
    assert_eq!(key(""), (Some("p".to_owned()), None));
    assert_eq!(
        key("ordering_key=q&tenant=t"),
        (Some("q".to_owned()), Some("t".to_owned()))
    );
    let unknown = Labels::take(Params::of(&"/v1/events?id=1".parse().unwrap()));
    assert_eq!(unknown.unwrap_err().errors()[0].field, "id");
}

#[test]
fn a_binary_event_is_read_from_its_headers() {
    let event = binary(
        &[
            ("ce-time", b"2018-04-05T17:31:00Z"),
            ("ce-subject", b"Euro%20%E2%82%ac%20%F0%9F%98%80"),
            ("Ce-Quoted", br#""a \"b\" \\ c""#),
            ("ce-plain", b"100% of it"),
            ("content-type", b"application/json; charset=utf-8"),
            ("x-other", b"left alone"),
        ],
        b" {\"a\": 1.0}\n",
    )
    .unwrap();
    assert_eq!(
        attributes(&event),
        [
            ("ce-datacontenttype", "application/json; charset=utf-8"),
            ("ce-time", "2018-04-05T17:31:00Z"),
            ("plain", "100% of it"),
            ("quoted", "a \"b\" \\ c"),
            ("source", "/shop"),
            ("subject", "Euro € 😀"),
        ]
    );
    assert_eq!(event.payload.content_type, None);
    assert_eq!(&event.payload.bytes[..], b" {\"a\": 1.0}\n");
    let image = binary(&[("content-type", b"image/png")], b"\x89PNG")
        .unwrap()
        .payload;
    assert_eq!(image.content_type.as_deref(), Some("image/png"));
    let untyped = binary(&[], b"x").unwrap().payload;
    assert_eq!(untyped.content_type.as_deref(), Some("application/octet-stream"));
}

#[test]
fn a_header_at_fault_is_named() {
    let bad: [(&str, &[u8]); 8] = [
        ("ce-type", b"twice"),
        ("ce-datacontenttype", b"text/plain"),
        ("ce-data", b"x"),
        ("ce-a-b", b"x"),
        ("ce-x", b"%C0%A0"),
        ("ce-x", b"\xff"),
        ("ce-x", b"a%0d%0ab"),
        ("ce-time", b"soon"),
    ];
    for (name, value) in bad {
        assert_eq!(field(binary(&[(name, value)], b"x")), name, "{value:?}");
    }
    let json: &[(&str, &[u8])] = &[("content-type", b"application/json")];
    assert_eq!(binary(json, b"{").unwrap_err().kind(), Kind::MalformedDocument);
    let deep: &'static [u8] = Vec::leak(b"[".repeat(100_000));
    assert_eq!(binary(json, deep).unwrap_err().kind(), Kind::MalformedDocument);
    let twice: &[(&str, &[u8])] = &[("content-type", b"a/b"), ("content-type", b"a/b")];
    assert_eq!(
        binary(twice, b"x").unwrap_err().kind(),
        Kind::UnsupportedMediaType
    );
    let old = binary::read(
        &headers(&[("ce-specversion", b"0.3")]),
        Bytes::new(),
        &Labels::default(),
    );
    assert_eq!(field(old), "ce-specversion");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(members in "\\PC{0,64}", value in prop::collection::vec(any::<u8>(), 0..32)) {
        let _ = read(&members);
        let _ = with(&format!("\"x\":{members}"));
        let _ = with(&format!("\"time\":\"{members}\""));
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut fields = HeaderMap::new();
            fields.insert("ce-specversion", value.clone());
            fields.insert("ce-x", value);
            let _ = binary::read(&fields, Bytes::new(), &Labels::default());
        }
    }
}
