use super::*;

fn one(name: &str, value: &str) -> Result<CustomHeaders, InvalidHeader> {
    CustomHeaders::new([(name.to_owned(), value.to_owned())])
}

#[test]
fn headers_that_frame_the_request_or_are_ours_are_refused_by_name() {
    for name in [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Proxy-Authorization",
        "proxy-x",
        "Expect",
        "HTTP2-Settings",
        "webhook-id",
        "Webhook-Anything",
    ] {
        assert_eq!(
            one(name, "x"),
            Err(InvalidHeader::Refused(name.to_owned())),
            "{name}"
        );
    }
    for name in ["", "a b", "a:b", "é", "a\n", "(x)", "a/b"] {
        assert_eq!(one(name, "x"), Err(InvalidHeader::Name), "{name:?}");
    }
    for name in [
        "X-Token",
        "Content-Type",
        "User-Agent",
        "Authorization",
        "Hostname",
        "Ten",
        "x_y.z~",
    ] {
        assert!(one(name, "x").is_ok(), "{name}");
    }
}

#[test]
fn values_that_could_break_a_line_or_a_receiver_are_refused() {
    for value in [
        "a\rb", "a\nb", "a\0b", "a\x7fb", "é", " a", "a ", "a\tb", "\u{202e}",
    ] {
        assert_eq!(
            one("x-a", value),
            Err(InvalidHeader::Value("x-a".to_owned())),
            "{value:?}"
        );
    }
    for value in ["", "a b", "Bearer abc==", "!~"] {
        assert!(one("x-a", value).is_ok(), "{value:?}");
    }
    let long = "x".repeat(limits::HEADER_VALUE_BYTES + 1);
    assert_eq!(one("x-a", &long), Err(InvalidHeader::TooLong("x-a".to_owned())));
    assert!(one("x-a", &long[1..]).is_ok());
}

#[test]
fn there_are_at_most_64_and_no_name_twice() {
    let many = |count: usize| CustomHeaders::new((0..count).map(|i| (format!("x-{i}"), String::new())));
    assert_eq!(many(64).unwrap().len(), 64);
    assert_eq!(many(65), Err(InvalidHeader::TooMany));
    let twice = CustomHeaders::new([
        ("X-A".to_owned(), "1".to_owned()),
        ("x-a".to_owned(), "2".to_owned()),
    ]);
    assert_eq!(twice, Err(InvalidHeader::Twice("x-a".to_owned())));
}

#[test]
fn headers_are_an_object_in_their_order_and_debug_hides_the_values() {
    let text = r#"{"X-B":"secret","X-A":"2"}"#;
    let headers: CustomHeaders = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&headers).unwrap(), text);
    assert_eq!(format!("{headers:?}"), r#"{"X-B", "X-A"}"#);
    assert!(serde_json::from_str::<CustomHeaders>(r#"{"Host":"x"}"#).is_err());
    assert!(serde_json::from_str::<CustomHeaders>(r#"{"X-A":"1","X-A":"2"}"#).is_err());
    let bytes = bincode::serialize(&headers).unwrap();
    assert_eq!(bincode::deserialize::<CustomHeaders>(&bytes).unwrap(), headers);
}
