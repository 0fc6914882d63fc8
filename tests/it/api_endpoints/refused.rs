//! What is refused: addresses, headers, and members out of range.

use super::*;

#[test]
fn urls_that_lead_inside_or_mislead_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_guarded(&dir.path().join("data"), &["--no-listen"], &[]);
    let (label, host) = (
        format!("http://{}.test/", "a".repeat(64)),
        format!("http://{}test/", "a.".repeat(127)),
    );
    let long = format!("http://h.test/{}", "a".repeat(2048));
    let loopback = [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://①②⑦.⓪.⓪.①/",
        "http://%31%32%37.0.0.1/",
        "http://127.0.0.1./",
        "http://localhost/",
        "http://localhost./",
        "http://x.localhost/",
        "http://LOCALHOST:8080/",
    ];
    let six = [
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b:1::]/",
        "http://[2002:7f00:1::]/",
        "http://[2001::]/",
        "http://[fec0::1]/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fd00:ec2::254]/",
        "http://[100::1]/",
        "http://[2001:db8::1]/",
        "http://[3fff::1]/",
        "http://[5f00::1]/",
        "http://[fc00::1]/",
        "http://[ff02::1]/",
    ];
    let four = [
        "http://169.254.169.254/",
        "http://100.100.100.200/",
        "http://metadata.google.internal/",
        "http://0.0.0.0/",
        "http://10.1.2.3/",
        "http://172.16.0.1/",
        "http://192.0.0.1/",
        "http://192.0.2.1/",
        "http://192.88.99.1/",
        "http://192.168.0.1/",
        "http://198.18.0.1/",
        "http://198.51.100.1/",
        "http://203.0.113.1/",
        "http://224.0.0.1/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
    ];
    let misleading = [
        "http://user:pw@h.test/",
        "http://h.test@127.0.0.1/",
        "http://a@b@c.test/",
        "http://h.test\\@127.0.0.1/",
        "http:\\\\h\\x",
        "http:h",
        "https:/h",
        "http://h.test/\ta",
        "http://h.te\nst/",
        " http://h.test/",
        "http://h.test/ ",
        "file:///etc/passwd",
        "ftp://h.test/",
        "javascript:alert(1)",
        "unix:/run/x",
        "http+unix://x/",
        "http://h.test:0/",
        "http://h.test:65536/",
        "http://h.test/#a",
        "",
        "//h.test/",
        "http://",
        "http://a..b/",
        "https://-a.test/",
        "https://a$b.test/",
        &label,
        &host,
        &long,
    ];
    for url in [&loopback[..], &six, &four, &misleading].concat() {
        refused(&server, &json!({"url": url}), "url");
    }
    assert_eq!(server.list("/v1/endpoints").len(), 0);
    let auth =
        json!({"type": "oauth2", "token_url": "https://a$b.test/", "client_id": "c", "client_secret": "s"});
    refused(
        &server,
        &json!({"url": "http://h.test/", "auth": auth}),
        "auth.token_url",
    );
    refused(
        &server,
        &json!({"url": "http://h.test/", "proxy": format!("{}:1", label.trim_end_matches('/'))}),
        "proxy",
    );
    for url in [
        "http://h.test/%0d%0aX:",
        "https://93.184.216.34/",
        "HTTP://H.test:8080/a?b=c",
        "http://[2606:4700::1111]/",
        "http://my_service:8080/",
        "https://_a.my_service_.test/",
        "http://-a.test/",
    ] {
        let answer = create(&server, &json!({"url": url}));
        assert_eq!((answer.status, &answer.json()["url"]), (201, &json!(url)));
    }
}

#[test]
fn https_can_be_demanded_and_networks_allowed_and_denied() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_guarded(
        &dir.path().join("data"),
        &["--no-listen"],
        &[
            ("POSTHASTE_DELIVERY__REQUIRE_HTTPS", "true"),
            ("POSTHASTE_DELIVERY__ALLOW_NETWORKS", "10.0.0.0/8"),
            ("POSTHASTE_DELIVERY__DENY_NETWORKS", "93.184.216.0/24"),
        ],
    );
    refused(&server, &json!({"url": "http://h.test/"}), "url");
    refused(&server, &json!({"url": "https://93.184.216.34/"}), "url");
    refused(&server, &json!({"url": "https://192.168.0.1/"}), "url");
    server.endpoint(&json!({"url": "https://10.2.3.4/"}));
    server.endpoint(&json!({"url": "https://h.test/"}));
}

#[test]
fn our_own_listener_is_no_receiver_even_in_development() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(&dir.path().join("data"), &["--listen", "127.0.0.1:0"], &[]);
    let address = crate::api_tcp::address(&server);
    refused(
        &server,
        &json!({"url": format!("http://{address}/v1/events")}),
        "url",
    );
    server.endpoint(&json!({"url": "http://127.0.0.1:9/"}));
}

#[test]
fn headers_that_break_framing_or_lines_are_refused_by_name() {
    let (_dir, server) = started();
    let with = |headers: Value| json!({"url": "http://127.0.0.1:9/", "headers": headers});
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Proxy-Authorization",
        "Proxy-x",
        "Expect",
        "HTTP2-Settings",
        "webhook-id",
        "Webhook-Anything",
        "",
        "a b",
        "a:b",
        "é",
        "a\r\nb",
    ] {
        let mut headers = serde_json::Map::new();
        headers.insert(name.to_owned(), json!("v"));
        let answer = create(&server, &with(Value::Object(headers)));
        let (status, fields) = answer.problem();
        assert_eq!(status, 422, "{name}");
        assert!(
            fields.iter().all(|field| field.starts_with("headers")) && fields.len() == 1,
            "{name}: {fields:?}"
        );
    }
    let long = "v".repeat(64 * 1024);
    for value in [
        "k7\r\nb", "k7\nb", "k7\0", "k7\u{7f}", "ék7", " k7", "k7 ", "k7\tb", &long,
    ] {
        let answer = create(&server, &with(json!({"X-A": value})));
        assert_eq!(answer.problem().0, 422, "{value:.9}");
        let rule = answer.json()["errors"][0]["rule"].as_str().unwrap().to_owned();
        assert!(
            rule.contains("X-A") && !rule.contains("k7") && !rule.contains("vvv"),
            "{rule}"
        );
    }
    let many = |count: usize| -> Value {
        (0..count)
            .map(|place| (format!("X-{place}"), json!("v")))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    for (count, status) in [(64, 201), (65, 422), (1_000, 422)] {
        assert_eq!(create(&server, &with(many(count))).status, status, "{count}");
    }
    refused(&server, &with(json!({"X-A": "1", "x-a": "2"})), "headers");
    refused(
        &server,
        &json!({"url": "http://127.0.0.1:9/", "auth": {"type": "bearer", "token": "a b"}}),
        "auth",
    );
    refused(
        &server,
        &json!({"url": "http://127.0.0.1:9/", "auth": {"type": "basic", "username": "a:b", "password": "c"}}),
        "auth",
    );
}

#[test]
fn members_out_of_range_are_refused_by_name_with_the_range() {
    let (_dir, server) = started();
    let with = |name: &str, value: Value| {
        let mut document = json!({"url": "http://127.0.0.1:9/"});
        document[name] = value;
        document
    };
    for retry in [
        json!({"retries": -1, "delay": "5s"}),
        json!({"retries": 1_000_000_000, "delay": "5s"}),
        json!({"retries": 1001, "delay": "5s"}),
        json!({"retries": 3, "delay": "0s"}),
        json!({"retries": 3, "delay": "31d"}),
        json!({"retries": 3}),
        json!({"delays": ["5s", "0s"]}),
        json!({"delays": ["soon"]}),
        json!({"delays": ["5s"], "retries": 1}),
        json!({"base": "1s", "factor": 0, "max": "1h", "retries": 3}),
        json!({"base": "1h", "factor": 2, "max": "1s", "retries": 3}),
        json!({}),
        json!([]),
    ] {
        let answer = create(&server, &with("retry", retry.clone()));
        let (status, fields) = answer.problem();
        assert_eq!(status, 422, "{retry}");
        assert!(
            fields.len() == 1 && fields[0].starts_with("retry"),
            "{retry}: {}",
            answer.text()
        );
    }
    let long = "x".repeat(1025);
    for (name, value, field) in [
        ("timeout", json!("0s"), "timeout"),
        ("timeout", json!("301s"), "timeout"),
        ("timeout", json!(5), "timeout"),
        ("concurrency", json!(0), "concurrency"),
        ("concurrency", json!(1025), "concurrency"),
        ("rate", json!({"per_second": 0}), "rate.per_second"),
        ("rate", json!({"per_second": 1, "burst": 0}), "rate.burst"),
        ("disable_after", json!(0), "disable_after"),
        ("failing_for", json!("1s"), "failing_for"),
        ("disable_on", json!("sometimes"), "disable_on"),
        ("treat_as", json!({"99": "transient"}), "treat_as"),
        ("treat_as", json!({"404": "nice"}), "treat_as.404"),
        ("events", json!([]), "events"),
        ("events", json!(["a", "b..c"]), "events[1]"),
        ("events", json!("a"), "events"),
        ("channels", json!([""]), "channels[0]"),
        ("name", json!("a\u{1b}[0m"), "name"),
        ("name", json!(long), "name"),
        ("metadata", json!({"a": 1}), "metadata.a"),
        ("profile", json!("acme"), "profile"),
        ("signatures", json!([{"scheme": "md5"}]), "signatures[0].scheme"),
        (
            "signatures",
            json!([{"scheme": "standard", "secret": "short"}]),
            "signatures[0].secret",
        ),
        ("unknown", json!(1), "unknown"),
    ] {
        refused(&server, &with(name, value), field);
    }
    let (status, fields) = create(&server, &json!({"name": "n"})).problem();
    assert_eq!((status, fields), (422, vec!["url".to_owned()]));
    let twice = br#"{"url":"http://127.0.0.1:9/","url":"http://127.0.0.1:8/"}"#;
    let answer = server.request("POST", "/v1/endpoints", Some("application/json"), twice);
    assert_eq!(answer.problem().0, 422);
    assert!(answer.text().contains("url"), "{}", answer.text());
    assert_eq!(
        server
            .request("POST", "/v1/endpoints", Some("text/plain"), b"{}")
            .problem()
            .0,
        415
    );
    assert_eq!(
        server.request("POST", "/v1/endpoints", None, b"").problem().0,
        400
    );
    assert_eq!(server.list("/v1/endpoints").len(), 0);
}
