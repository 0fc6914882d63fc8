use super::*;

const FULL: &str = r#"{"type":"oauth2","token_url":"https://id.test/token?tenant=hunter1","client_id":"us","client_secret":"hunter2","scopes":["a.b","c"],"audience":"https://h.test/","client_auth":"body"}"#;

fn read(text: &str) -> Result<Auth, serde_json::Error> {
    serde_json::from_str(text)
}

/// Where a document is wrong.
fn place(member: &str, value: serde_json::Value) -> String {
    let mut document: serde_json::Value = serde_json::from_str(FULL).unwrap();
    document[member] = value;
    serde_path_to_error::deserialize::<_, Auth>(document)
        .unwrap_err()
        .path()
        .to_string()
}

#[test]
fn credentials_become_the_authorization_header() {
    let basic = read(r#"{"type":"basic","username":"Aladdin","password":"open sesame"}"#).unwrap();
    assert_eq!(
        basic.authorization().unwrap(),
        "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    );
    let bearer = read(r#"{"type":"bearer","token":"abc"}"#).unwrap();
    assert_eq!(bearer.authorization().unwrap(), "Bearer abc");
    assert_eq!(
        serde_json::to_string(&bearer).unwrap(),
        r#"{"type":"bearer","token":"abc"}"#
    );
    assert_eq!(
        (format!("{basic:?}").as_str(), format!("{bearer:?}").as_str()),
        ("basic", "bearer")
    );
    assert_eq!(read(FULL).unwrap().authorization(), None);
}

#[test]
fn credentials_that_a_header_cannot_carry_are_refused() {
    let basic = |user: &str, password: &str| Auth::basic(user.to_owned(), password.to_owned());
    assert_eq!(basic("a:b", "c"), Err(InvalidAuth::Username));
    assert_eq!(basic("a\n", "c"), Err(InvalidAuth::Username));
    assert_eq!(basic("a", "c\r"), Err(InvalidAuth::Password));
    assert!(basic("ü", "a:b c").is_ok());
    for token in ["", "a b", "a\n", "é"] {
        assert_eq!(
            Auth::bearer(token.to_owned()),
            Err(InvalidAuth::Token),
            "{token:?}"
        );
    }
    assert_eq!(Auth::bearer("x".repeat(9000)), Err(InvalidAuth::TooLong));
    assert_eq!(basic("u", &"x".repeat(7000)), Err(InvalidAuth::TooLong));
    assert!(read(r#"{"type":"basic","username":"a:b","password":""}"#).is_err());
    assert!(read(r#"{"type":"digest"}"#).is_err());
}

#[test]
fn client_credentials_read_back_as_they_were_written() {
    let full = read(FULL).unwrap();
    assert_eq!(serde_json::to_string(&full).unwrap(), FULL);
    let least = r#"{"type":"oauth2","token_url":"https://id.test/","client_id":"us","client_secret":"s"}"#;
    let least = read(least).unwrap();
    let credentials = least.oauth2().unwrap();
    assert_eq!(
        (credentials.client_auth, credentials.scopes.len()),
        (ClientAuth::Basic, 0)
    );
    assert_eq!(read(&serde_json::to_string(&least).unwrap()).unwrap(), least);
}

#[test]
fn debug_shows_neither_the_secret_nor_the_query() {
    let full = read(FULL).unwrap();
    let shown = format!(
        "{full:?} {:?} {:?}",
        full.oauth2(),
        full.oauth2().unwrap().client_secret
    );
    assert!(shown.contains("id.test") && !shown.contains("hunter"), "{shown}");
}

#[test]
fn what_is_wrong_with_a_member_is_said_of_that_member() {
    use serde_json::json;
    let many = vec!["a"; limits::SCOPES + 1];
    for (member, value, at) in [
        ("token_url", json!("ftp://id.test/"), "token_url"),
        ("token_url", json!("https://u:p@id.test/"), "token_url"),
        ("client_id", json!(""), "client_id"),
        ("client_id", json!("\n"), "client_id"),
        ("client_secret", json!("é"), "client_secret"),
        ("client_secret", json!("x".repeat(1025)), "client_secret"),
        ("scopes", json!(["a b"]), "scopes[0]"),
        ("scopes", json!("a"), "scopes"),
        ("scopes", json!(many), "."),
        ("audience", json!("a\u{7}"), "audience"),
        ("client_auth", json!("jwt"), "client_auth"),
        ("type", json!("oauth1"), "type"),
        ("grant", json!("password"), "grant"),
        ("username", json!("u"), "."),
        ("client_secret", json!(null), "."),
    ] {
        assert_eq!(place(member, value.clone()), at, "{member} {value}");
    }
}

#[test]
fn members_of_another_type_and_missing_ones_are_named() {
    for (text, named) in [
        (r#"{"type":"bearer","token":"t","username":"u"}"#, "`username`"),
        (r#"{"type":"basic","username":"u"}"#, "`password`"),
        (
            r#"{"type":"oauth2","token_url":"https://id.test/"}"#,
            "`client_id`",
        ),
        (r#"{"token":"t"}"#, "`type`"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}
