use super::*;

#[test]
fn what_is_asked_for_is_shown_without_the_values_in_its_query() {
    for (url, shown) in [
        ("https://h.test", "https://h.test/"),
        ("http://H.test:8080/a/b", "http://h.test:8080/a/b"),
        ("https://h.test/a?k=v", "https://h.test/a?k=***"),
        (
            "https://h.test/a?k=v&token=s=e&flag&=x",
            "https://h.test/a?k=***&token=***&***&=***",
        ),
        ("https://h.test/a?secret", "https://h.test/a?***"),
        ("https://h.test/a?", "https://h.test/a"),
    ] {
        let url: EndpointUrl = url.parse().unwrap();
        assert_eq!(url.without_query_values(), shown);
    }
}

fn parse(text: &str) -> Result<EndpointUrl, InvalidUrl> {
    EndpointUrl::try_from(text.to_owned())
}

#[test]
fn each_malformed_url_is_refused_by_its_rule() {
    let long_label = format!("http://{}.test/", "a".repeat(64));
    let long_host = format!("http://{}test/", "abcdefgh.".repeat(28));
    let long = format!("http://h.test/{}", "a".repeat(limits::URL_BYTES));
    let table = [
        (
            InvalidUrl::UserInfo,
            vec![
                "http://user:pw@h.test/",
                "http://h.test@127.0.0.1/",
                "http://a@b@c.test/",
                "http://@h.test/",
            ],
        ),
        (
            InvalidUrl::Backslash,
            vec![
                "http://h.test\\@127.0.0.1/",
                "http:\\\\h\\x",
                "http://h.test/a\\b",
            ],
        ),
        (
            InvalidUrl::Scheme,
            vec![
                "http:h",
                "https:/h",
                "file:///etc/passwd",
                "ftp://h.test/",
                "javascript:alert(1)",
                "unix:/run/x.sock",
                "http+unix://x/",
                "",
                "//h.test",
                "http://",
                "http:///h.test",
                "h.test",
                "http://?q",
            ],
        ),
        (
            InvalidUrl::Unprintable,
            vec![
                "http://h.te\tst/",
                "http://h.test/\n",
                " http://h.test/",
                "http://h.test/ ",
                "http://h.test/a b",
                "http://h.test/\u{202e}x",
                "http://h.test/\u{7f}",
                "http://h\u{0}.test/",
            ],
        ),
        (
            InvalidUrl::Port,
            vec!["http://h.test:0/", "http://h.test:65536/", "http://h.test:x/"],
        ),
        (
            InvalidUrl::Fragment,
            vec!["http://h.test/#part", "http://h.test#"],
        ),
        (
            InvalidUrl::Host,
            vec![
                &long_label,
                &long_host,
                "http://a..b/",
                "http://.h.test/",
                "http://h.test../",
                "http://[fe80::1%25eth0]/",
                "http://[::1/",
                "http://a%00b/",
                "http://a%2fb/",
                "http://1.2.3.4.5/",
            ],
        ),
        (InvalidUrl::TooLong, vec![&long]),
    ];
    for (error, texts) in table {
        for text in texts {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }
}

#[test]
fn every_spelling_of_an_inner_address_is_refused_without_resolving() {
    let spellings = [
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
        "http://LOCALHOST/",
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
        "http://169.254.169.254/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://metadata.google.internal/",
        "https://10.0.0.1:8443/x?y",
    ];
    for text in spellings {
        let url = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let refused = url.check_literal(&AddressRules::default(), false);
        assert!(matches!(refused, Err(UrlRefused::Address(_))), "{text}");
    }
}

#[test]
fn public_urls_are_allowed_and_https_can_be_required() {
    let rules = AddressRules::default();
    for text in [
        "http://example.com/",
        "https://93.184.216.34/x",
        "https://[2606:4700::1111]:8443/",
    ] {
        assert_eq!(
            parse(text).unwrap().check_literal(&rules, false),
            Ok(()),
            "{text}"
        );
    }
    let plain = parse("http://example.com/").unwrap();
    assert_eq!(plain.check_literal(&rules, true), Err(UrlRefused::NotHttps));
    assert_eq!(
        parse("HTTPS://example.com").unwrap().check_literal(&rules, true),
        Ok(())
    );
    assert_eq!(
        parse("http://127.0.0.1:9/")
            .unwrap()
            .check_literal(&AddressRules::dev(), false),
        Ok(())
    );
}

#[test]
fn the_text_stays_as_written_and_the_parsed_form_is_sent() {
    let url = parse("HTTP://Bücher.Example:80/a%0d%0aX:%20y/ü?q={\"a\"}&b=1").unwrap();
    assert_eq!(
        url.to_string(),
        "HTTP://Bücher.Example:80/a%0d%0aX:%20y/ü?q={\"a\"}&b=1"
    );
    assert_eq!(url.authority(), "xn--bcher-kva.example");
    assert_eq!(url.path_and_query(), "/a%0d%0aX:%20y/%C3%BC?q={%22a%22}&b=1");
    assert_eq!((url.port(), url.is_https()), (80, false));
    assert_eq!(parse("https://h.test").unwrap().path_and_query(), "/");
    assert_eq!(parse("https://h.test?q").unwrap().path_and_query(), "/?q");
}

#[test]
fn logs_and_debug_show_neither_path_nor_query() {
    let url = parse("https://h.test:8443/token/abc?key=def").unwrap();
    assert_eq!(url.redacted(), "https://h.test:8443");
    assert_eq!(format!("{url:?}"), "https://h.test:8443");
}

#[test]
fn a_pair_is_added_to_whatever_query_there_is() {
    for (text, wanted) in [
        ("https://h.test", "https://h.test/?a%20b=c%26d%2B%C3%A9"),
        ("http://h.test:81/x", "http://h.test:81/x?a%20b=c%26d%2B%C3%A9"),
        (
            "https://h.test/x?y=z",
            "https://h.test/x?y=z&a%20b=c%26d%2B%C3%A9",
        ),
    ] {
        let url = parse(text).unwrap().with_query("a b", "c&d+é");
        assert_eq!(url, parse(wanted).unwrap());
        let again = parse(wanted).unwrap();
        assert_eq!(
            (url.path_and_query(), url.port()),
            (again.path_and_query(), again.port())
        );
    }
}

#[test]
fn a_url_round_trips_as_a_string_and_a_bad_one_does_not_deserialise() {
    let url: EndpointUrl = serde_json::from_str("\"https://h.test/a?b\"").unwrap();
    assert_eq!(serde_json::to_string(&url).unwrap(), "\"https://h.test/a?b\"");
    assert!(serde_json::from_str::<EndpointUrl>("\"http:h\"").is_err());
}
