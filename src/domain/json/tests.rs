use proptest::prelude::*;

use super::*;

/// Writes a document back, each piece as it was handed over.
struct Write;

impl<'a> Build<'a> for Write {
    type Value = String;
    type List = Vec<String>;
    type Object = Vec<String>;

    fn null(&self) -> String {
        "null".to_owned()
    }

    fn boolean(&self, value: bool) -> String {
        value.to_string()
    }

    fn number(&self, digits: &'a str) -> String {
        digits.to_owned()
    }

    fn text(&self, text: Cow<'a, str>) -> String {
        serde_json::to_string(&text).unwrap()
    }

    fn half_text(&self, written: &'a str) -> String {
        written.to_owned()
    }

    fn item(&self, list: &mut Vec<String>, item: String) {
        list.push(item);
    }

    fn list(&self, list: Vec<String>) -> String {
        format!("[{}]", list.join(","))
    }

    fn member(&self, object: &mut Vec<String>, name: Cow<'a, str>, value: String) {
        object.push(format!("{}:{value}", serde_json::to_string(&name).unwrap()));
    }

    fn object(&self, object: Vec<String>) -> String {
        format!("{{{}}}", object.join(","))
    }
}

fn written(json: &str) -> Option<String> {
    read(json.as_bytes(), &Write)
}

#[test]
fn digits_names_and_halves_of_a_pair_are_handed_over_as_they_are() {
    for (json, same) in [
        (
            " {\"b\" : 1.10,\n\"a\":[1e400, -0,{ },\"x\" ,[ ]]} ",
            r#"{"b":1.10,"a":[1e400,-0,{},"x",[]]}"#,
        ),
        (
            r#"{"a":18446744073709551616,"a":2}"#,
            r#"{"a":18446744073709551616,"a":2}"#,
        ),
        (r#""\ud83d""#, r#""\ud83d""#),
        (r#""\ud83d\ude00\u00e9\n\/""#, "\"😀é\\n/\""),
        (r#""\ud83d\u0041""#, r#""\ud83d\u0041""#),
        (r#"{"\ud83d":null}"#, "{\"\u{fffd}\":null}"),
        ("true", "true"),
    ] {
        assert_eq!(written(json).as_deref(), Some(same), "{json}");
    }
}

#[test]
fn what_is_not_json_is_not_read() {
    for bad in [
        "",
        " ",
        "nul",
        "[1,]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":1,}",
        "{a:1}",
        "01",
        "1.",
        "-",
        "+1",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u+123\"",
        "\"\n\"",
        "\"a",
        "\"\\",
        "\"\\u12",
        "1 1",
        "[",
        "]",
        "{\"a\":1]",
        "\u{feff}1",
    ] {
        assert_eq!(written(bad), None, "{bad:?}");
    }
    assert!(read(b"\"\xff\"", &Write).is_none());
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(written(&deep(limits::JSON_DEPTH)).is_some());
    assert!(written(&deep(limits::JSON_DEPTH + 1)).is_none());
    assert!(written(&"[".repeat(200_000)).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// The same texts are JSON to it as to serde_json.
    #[test]
    fn it_takes_what_serde_takes(text in "[\\[\\]{}:,\" 0-9a-fnulrtse.+\\\\-]{0,24}") {
        let json = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        prop_assert_eq!(written(&text).is_some(), json, "{}", text);
    }

    #[test]
    fn it_reads_what_serde_writes(text in any::<String>(), numbers in any::<Vec<i64>>()) {
        let json = serde_json::json!({"text": text, "numbers": numbers, "nested": [{"a": null}, true, []]});
        let read: serde_json::Value = serde_json::from_str(&written(&json.to_string()).unwrap()).unwrap();
        prop_assert_eq!(read, json);
    }
}
