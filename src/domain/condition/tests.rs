use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::domain::{facts::Facts, time::Timestamp};

fn compile(source: &str) -> Condition {
    Condition::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn judge_bytes(source: &str, data: Option<&str>) -> Verdict {
    let data = data.map(|data| Bytes::copy_from_slice(data.as_bytes()));
    let attributes = BTreeMap::from([("source".to_owned(), "signup".to_owned())]);
    compile(source).judge(&Subject::new(Facts {
        id: "evt_1",
        event_type: "user.created",
        tenant: None,
        channel: Some("eu"),
        attributes: &attributes,
        occurred_at: Timestamp::from_millis(1_614_265_330_120),
        data: data.as_ref(),
    }))
}

fn judge(source: &str, data: &str) -> Verdict {
    judge_bytes(source, Some(data))
}

const DATA: &str = r#"{"amount": 150, "rate": 1.5, "tags": ["news", "a"], "user": {"country": "DE", "mail": "ada@h.test"}, "big": 18446744073709551615}"#;

#[test]
fn an_expression_sees_the_event_by_its_names() {
    for source in [
        "id == 'evt_1'",
        "type == 'user.created' && type.startsWith('user.')",
        "tenant == null && channel in ['eu', 'us']",
        "attributes.source == 'signup' && !has(attributes.other)",
        "occurred_at == '2021-02-25T15:02:10.120Z' && occurred_at < '2022'",
        "\"news\" in data.tags",
        "data.amount > 100 && data['user'].country == 'DE'",
        "data.rate == 1.5 && data.amount == 150.0 && data.big > 9223372036854775807u",
        "data.tags.exists(tag, tag == 'a') && data.tags.all(tag, size(tag) < 5)",
        "data.tags.filter(tag, tag != 'a') == ['news'] && data.tags.map(tag, tag + '!')[1] == 'a!'",
        "data.tags.exists_one(tag, tag.contains('ew')) && type(data.amount) == int",
        "has(data.user.mail) ? data.user.mail.matches('^[a-z]+@h\\\\.test$') : false",
        "data.tags.map(data, data).size() == 2",
    ] {
        assert_eq!(judge(source, DATA), Verdict::Matched, "{source}");
        let negated = format!("!({source})");
        assert_eq!(judge(&negated, DATA), Verdict::NotMatched, "{negated}");
    }
}

#[test]
fn what_does_not_compile_says_where_and_why() {
    for (source, place, what) in [
        ("1 +", (1, 4), "ends too early"),
        (
            "type == 'a' &&\n  dta.x > 1",
            (2, 3),
            "there is no dta here; use id, type, data",
        ),
        ("f(1)", (1, 2), "there is no function f here"),
        ("data.x.matches('(')", (1, 16), "unclosed group"),
        ("data.x.matches(data.y)", (1, 20), "must be a literal"),
        ("data.?x == 1", (1, 5), "unsupported syntax"),
        ("acme.User{name: 'a'} == 1", (1, 10), "structures"),
        ("@meter == 1", (1, 1), "'@'"),
        ("'abc", (1, 1), "token"),
    ] {
        match Condition::compile(source) {
            Err(InvalidCondition::At {
                line,
                column,
                what: said,
            }) => {
                assert_eq!((line, column), place, "{source}: {said}");
                assert!(said.contains(what), "{source}: {said}");
            }
            other => panic!("{source}: {other:?}"),
        }
    }
    assert_eq!(Condition::compile(" ").unwrap_err(), InvalidCondition::Empty);
    let long = format!("type == '{}'", "a".repeat(limits::CONDITION_BYTES));
    assert!(matches!(
        Condition::compile(&long),
        Err(InvalidCondition::TooLong { .. })
    ));
}

#[test]
fn what_says_neither_yes_nor_no_is_a_failure_that_shows_no_value() {
    for (source, why) in [
        ("data.amount", "it is an int, not true or false"),
        ("tenant", "it is null, not true or false"),
        ("data.missing == 1", "there is no member missing"),
        ("data.user > 1", "> does not take map and int"),
        (
            "data.amount + data.user.mail == 1",
            "add does not take int and string",
        ),
        ("data.amount && true", "&& does not take int and bool"),
        ("data.tags[7] == 'a'", "an index out of bounds"),
        ("data.amount / 0 == 1", "division by zero"),
        ("data.amount * 9223372036854775807 == 1", "a number out of range"),
        ("int(data.user.mail) == 1", "int does not take this value"),
        ("data.amount.matches('1')", "matches does not take int and string"),
    ] {
        match judge(source, DATA) {
            Verdict::Failed(failure) => assert_eq!(failure.to_string(), why, "{source}"),
            other => panic!("{source}: {other:?}"),
        }
    }
    assert_eq!(
        judge("data.missing == 1 || data.amount == 150", DATA),
        Verdict::Matched
    );
}

#[test]
fn data_that_is_not_json_is_null() {
    assert_eq!(judge_bytes("data == null", None), Verdict::Matched);
    assert_eq!(judge("data == null", "nope"), Verdict::Failed(Failure::Data));
    assert_eq!(judge("type == 'user.created'", "nope"), Verdict::Matched);
}

#[test]
fn half_a_surrogate_pair_fails_only_the_expression_that_reads_it() {
    let data = r#"{"id": 7, "note": "cut \ud83d", "tags": ["\ude00", "a"], "\ud83d": 1}"#;
    for source in [
        "data.id == 7",
        "has(data.note) && size(data) == 4 && data.tags.size() == 2",
        "'a' in data.tags && data.tags.exists(tag, tag == 'a')",
        "type(data.note) == string",
        "data.id == 7 || data.note == 'x'",
        "data != {'id': 8} && data.tags != ['x', 'b'] && data != data.tags",
        "[data.note, data.id][1] == 7",
    ] {
        assert_eq!(judge(source, data), Verdict::Matched, "{source}");
    }
    for source in [
        "data.note == 'cut'",
        "data.note != 'cut'",
        "data.note < 'x'",
        "data.note.startsWith('cut')",
        "'a'.contains(data.note)",
        "data.note.matches('cut')",
        "matches(data.note, 'cut')",
        "size(data.note) > 1",
        "data.note + 'x' == 'x'",
        "'x' + data.note == 'x'",
        "'x' in data.tags",
        "data.note in ['x']",
        "data == data",
        "data.note.all(a, true)",
        "data.tags == [data.note, 'a']",
        "{data.note: 1} == {}",
        "string(data.note) == 'x'",
    ] {
        assert_eq!(
            judge(source, data),
            Verdict::Failed(Failure::Evaluation(values::HALF_TEXT.to_owned())),
            "{source}"
        );
    }
}

#[test]
fn a_number_beyond_a_double_compares_and_fails_only_where_it_is_calculated_with() {
    let data = r#"{"id": 7, "n": 1e400, "list": [1e400, 1]}"#;
    for source in [
        "data.id == 7",
        "data.n > 5 && data.n != 1 && data.n == data.list[0] && data == data",
        "1 in data.list && data.n in data.list && type(data.n) == double",
        "double('inf') > data.n && -data.id < data.n",
    ] {
        assert_eq!(judge(source, data), Verdict::Matched, "{source}");
    }
    for source in [
        "data.n + 1.0 > 1.0",
        "1.0 + data.n > 1.0",
        "-data.n < 1.0",
        "int(data.n) == 1",
        "data.n * data.n > 1.0",
    ] {
        assert_eq!(
            judge(source, data),
            Verdict::Failed(Failure::Evaluation(values::OUT_OF_RANGE.to_owned())),
            "{source}"
        );
    }
}

#[test]
fn numbers_compare_by_their_exact_value() {
    let data = r#"{"i": 9007199254740993, "d": 9007199254740993.0, "p": 1.10, "z": -0, "zero": 0.0,
        "max": 9223372036854775807, "u": 18446744073709551615, "u1": 18446744073709551616,
        "u2": 18446744073709551617, "low": -9223372036854775809, "long": 0.1234567890123456789,
        "list": [18446744073709551617, {"n": 1e2}], "e": 1e99999999999999999999, "tiny": 1e-400}"#;
    for (source, verdict) in [
        ("9007199254740993 == 9007199254740992.0", false),
        ("9007199254740993 > 9007199254740992.0", true),
        ("9007199254740993 == 9007199254740993.0", true),
        ("data.i == 9007199254740992.0", false),
        ("data.i == data.d && data.d == 9007199254740993.0", true),
        ("data.d == 9007199254740992.0", false),
        ("data.max == 9223372036854775808.0", false),
        (
            "data.max < 9223372036854775808.0 && data.max < 9223372036854775808u",
            true,
        ),
        ("data.u == 18446744073709551616.0", false),
        (
            "data.u1 == 18446744073709551616.0 && data.u1 != data.u2 && data.u < data.u1",
            true,
        ),
        (
            "data.u1 < data.u2 && data.u2 > data.u1 && data.u1 <= data.u1",
            true,
        ),
        (
            "data.low < -9223372036854775808 && data.low == -9223372036854775809.0",
            true,
        ),
        ("data.p == 1.1 && data.p == 1.10 && data.p < 1.11", true),
        ("data.z == 0 && data.z == data.zero && data.z == 0u", true),
        ("data.long == 0.1234567890123456789", true),
        ("data.long == 0.1234567890123456788", false),
        ("data.u2 in data.list && {'n': 100} in data.list", true),
        ("data.u1 in data.list", false),
        ("data.list == [data.u2, {'n': 100}]", true),
        ("data.list == [data.u1, {'n': 100}]", false),
        ("data.e > data.u2 && data.tiny > 0 && data.tiny < 1", true),
        (
            "data.p + 1.0 == 2.1 && data.u1 / 2.0 == 9223372036854775808.0",
            true,
        ),
        (
            "double('NaN') == data.p || double('NaN') == data.u1 || double('NaN') == data.i",
            false,
        ),
        ("string(data.u) == '18446744073709551615'", true),
    ] {
        let expected = if verdict {
            Verdict::Matched
        } else {
            Verdict::NotMatched
        };
        assert_eq!(judge(source, data), expected, "{source}");
    }
}

#[test]
fn a_document_of_odd_numbers_is_paid_for_by_its_digits() {
    let long = format!("[{}]", vec!["9".repeat(1000); 200].join(","));
    assert_eq!(judge("data.all(x, x == data[0])", &long), Verdict::Matched);
    let spent = Verdict::Failed(Failure::Budget);
    assert_eq!(judge("data.all(x, data.all(y, x == y && y == x))", &long), spent);
    let doubled = r#"{"a": 1, "a": 2, "b": {"a": 1, "a": 3}}"#;
    assert_eq!(
        judge("data.a == 2 && data.b.a == 3 && size(data) == 2", doubled),
        Verdict::Matched
    );
}

/// Digits 0 and 1 without a period, so that an automaton meets new states all the way.
fn irregular(length: usize) -> String {
    let mut state = 12_345_u32;
    let mut digit = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if state >> 31 == 1 { '1' } else { '0' }
    };
    (0..length).map(|_| digit()).collect()
}

/// A source that calls `.map(a, …)` again and again on what it has.
fn again(first: &str, step: &str, times: usize) -> String {
    format!("{first}{}.size() > 0", format!(".map(a, {step})").repeat(times))
}

#[test]
fn an_expression_that_runs_away_ends_with_its_budget() {
    let thousand = format!("[{}1]", "1,".repeat(999));
    let long = format!("\"{}\"", irregular(200_000));
    let nested = format!("{}true{}", "data.all(x, ".repeat(8), ")".repeat(8));
    for (source, data) in [
        (nested, &thousand),
        (
            "data.exists(x, data.exists(y, data.exists(z, z.no == 1)))".to_owned(),
            &thousand,
        ),
        (again("['abcdefghabcdefgh']", "a + a", 25), &thousand),
        (again("[[1, 2, 3]]", "a + a", 25), &thousand),
        (again("[1]", "[a, a]", 25), &thousand),
        (again("[1]", "{'a': a, 'b': a}", 25), &thousand),
        ("data.map(x, data.map(y, data)).size() > 0".to_owned(), &thousand),
        (
            "[1, 2, 3].exists(x, data.matches('[01]*1[01]{60}x'))".to_owned(),
            &long,
        ),
        (format!("{}.all(x, !data.contains('2'))", thousand), &long),
        (format!("{}.all(x, data.matches('[01]+'))", thousand), &long),
    ] {
        assert_eq!(judge(&source, data), Verdict::Failed(Failure::Budget), "{source}");
    }
    // An error can be absorbed, a spent budget cannot.
    assert_eq!(
        judge("data.all(x, data.all(y, data.all(z, true))) || true", &thousand),
        Verdict::Failed(Failure::Budget)
    );
}

#[test]
fn a_list_of_eight_thousand_is_within_the_budget() {
    let items: Vec<String> = (0..8000)
        .map(|n| format!("{{\"sku\": \"sku-{n}\", \"n\": {n}}}"))
        .collect();
    let data = format!("{{\"items\": [{}]}}", items.join(","));
    let source = "data.items.exists(item, item.sku == 'sku-7999' && item.n > 1)";
    assert_eq!(judge(source, &data), Verdict::Matched);
}

#[test]
fn depth_and_patterns_are_bounded() {
    let refused = [
        format!("1{} == 1", " + 1".repeat(60)),
        format!("{}true{}", "(".repeat(60), ")".repeat(60)),
        format!("{}1{} == 1", "[".repeat(60), "]".repeat(60)),
        format!("{}true", "true ? 1 : ".repeat(60)),
        format!("data{} == 1", ".a".repeat(60)),
        format!("data{} == 1", "[0]".repeat(1300)),
        "(".repeat(4000),
        "{1:".repeat(1300),
        "data.matches('(a{1000}){1000}')".to_owned(),
        format!("data.matches('{}')", "(".repeat(100) + &")".repeat(100)),
        "data.matches('a') || ".repeat(5) + "true",
    ];
    for source in refused {
        assert!(Condition::compile(&source).is_err(), "{source}");
    }
}

/// The deepest of a family of sources that compiles.
fn deepest(source: impl Fn(usize) -> String) -> String {
    let accepted = (1..)
        .map(source)
        .take_while(|source| Condition::compile(source).is_ok());
    accepted.last().unwrap()
}

#[test]
fn the_deepest_expressions_fit_into_the_stack_of_a_thread() {
    let deep = "[".repeat(127) + &"]".repeat(127);
    let thread = std::thread::Builder::new().stack_size(1536 * 1024);
    let judged = thread.spawn(move || {
        let sources = [
            deepest(|n| format!("1{} > 0", " + 1".repeat(n))),
            deepest(|n| format!("{}true{}", "[1].all(x, ".repeat(n), ")".repeat(n))),
            deepest(|n| format!("{}1{} != 2", "[".repeat(n), "]".repeat(n))),
            deepest(|n| format!("{}true", "true ? true : ".repeat(n))),
            deepest(|n| format!("{}true{}", "!(".repeat(n * 2), ")".repeat(n * 2))),
            "data == data && [data].map(x, [x]) != [data] && data in [data]".to_owned(),
        ];
        sources.map(|source| judge(&source, &deep))
    });
    for verdict in judged.unwrap().join().unwrap() {
        assert_eq!(verdict, Verdict::Matched);
    }
}

#[test]
fn classes_of_a_pattern_are_those_of_ascii() {
    for (source, text, verdict) in [
        (r"data.matches(r'^\w+$')", "abc_1", Verdict::Matched),
        (r"data.matches(r'^\w+$')", "é", Verdict::NotMatched),
        (r"data.matches(r'^[^\d]$')", "é", Verdict::Matched),
        (r"data.matches(r'^.$')", "é", Verdict::Matched),
        (r"data.matches(r'\bnews\b')", "the news, é", Verdict::Matched),
        (r"data.matches(r'^\p{Lu}')", "Éa", Verdict::Matched),
        (r"data.matches(r'(?i)^STRASSE$')", "strasse", Verdict::Matched),
        (
            r"matches(data, '^[\\w.+-]+@[\\w-]+\\.[a-z]+$')",
            "a.b@h-1.test",
            Verdict::Matched,
        ),
    ] {
        let data = serde_json::Value::from(text).to_string();
        assert_eq!(judge(source, &data), verdict, "{source} {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is written, compiling and judging come to an end, and the same text is judged alike.
    #[test]
    fn any_text_is_refused_or_judged(source in "[a-z0-9 .,()\\[\\]{}:?&|!=<>+*'\"%/-]{0,40}", data in "[0-9a-z\\[\\]{}:,\" ]{0,20}") {
        if let Ok(condition) = Condition::compile(&source) {
            let bytes = Bytes::from(data);
            let attributes = BTreeMap::new();
            let subject = Subject::new(Facts {
                id: "e", event_type: "t", tenant: None, channel: None, attributes: &attributes,
                occurred_at: Timestamp::EPOCH, data: Some(&bytes),
            });
            prop_assert_eq!(condition.judge(&subject), condition.judge(&subject));
        }
    }

    #[test]
    fn comparisons_say_what_numbers_say(left in any::<i64>(), right in any::<i64>()) {
        let data = format!("{{\"l\": {left}, \"r\": {right}}}");
        let expected = if left < right { Verdict::Matched } else { Verdict::NotMatched };
        prop_assert_eq!(judge("data.l < data.r", &data), expected);
    }
}

#[test]
fn what_is_neither_true_nor_false_for_any_event_is_no_condition() {
    for source in ["1 + 1", "'a'", "type", "size(type)", "[1, 2].map(x, x)"] {
        assert!(
            matches!(compile(source).check(), Err(InvalidCondition::NotBool(_))),
            "{source}"
        );
    }
    for source in [
        "true",
        "type == 'a'",
        "data.flag",
        "size(data.list) > 0",
        "has(data.a) && data.a",
    ] {
        assert_eq!(compile(source).check(), Ok(()), "{source}");
    }
}
