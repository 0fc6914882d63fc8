use std::collections::BTreeMap;

use super::*;
use crate::domain::time::Timestamp;

fn render_bytes(source: &str, data: Option<&str>) -> Result<String, TransformError> {
    let data = data.map(|data| Bytes::copy_from_slice(data.as_bytes()));
    let attributes = BTreeMap::from([("source".to_owned(), "signup".to_owned())]);
    check(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let event = Facts {
        id: "evt_1",
        event_type: "user.created",
        tenant: None,
        channel: Some("eu"),
        attributes: &attributes,
        occurred_at: Timestamp::from_millis(1_614_265_330_120),
        data: data.as_ref(),
    };
    let rendered = render(source, &event)?;
    Ok(String::from_utf8(rendered.to_vec()).unwrap())
}

fn rendered(source: &str, data: &str) -> String {
    render_bytes(source, Some(data)).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn failed(source: &str, data: &str) -> TransformError {
    match render_bytes(source, Some(data)) {
        Err(error) => error,
        Ok(output) => panic!("{source} gave {} bytes", output.len()),
    }
}

const DATA: &str = r#"{"z": 1, "name": "A \"<&>'\" é", "n": 2, "rate": 1.5, "items": [{"sku": "a", "n": 2}, {"sku": "b", "n": 3}], "none": null, "yes": true}"#;

#[test]
fn a_template_sees_the_event_by_its_names() {
    for (source, output) in [
        (
            r#"{"id": "{{ id }}", "t": "{{ type }}", "at": "{{ occurred_at }}", "c": "{{ channel }}", "tenant": {{ tenant }}, "s": "{{ attributes.source }}"}"#,
            r#"{"id": "evt_1", "t": "user.created", "at": "2021-02-25T15:02:10.120Z", "c": "eu", "tenant": null, "s": "signup"}"#,
        ),
        (
            r#"{"name": {{ data.name|tojson }}}"#,
            r#"{"name": "A \"<&>'\" é"}"#,
        ),
        (
            "{{ data }}",
            r#"{"z":1,"name":"A \"<&>'\" é","n":2,"rate":1.5,"items":[{"sku":"a","n":2},{"sku":"b","n":3}],"none":null,"yes":true}"#,
        ),
        (
            "[{{ data.n * 3 + 1 }}, {{ data.rate }}, {{ data.none }}, {{ data.yes }}]",
            "[7, 1.5, null, true]",
        ),
        (
            "[{% for item in data['items'] %}{% if not loop.first %},{% endif %}\"{{ item.sku }}{{ loop.index }}\"{% endfor %}]",
            "[\"a1\",\"b2\"]",
        ),
        ("{{ data['items']|map(attribute='n')|sum }}", "5"),
        (
            "{{ data['items']|selectattr('n', 'gt', 2)|list|tojson }}",
            r#"[{"sku":"b","n":3}]"#,
        ),
        (
            "\"{{ data['items']|map(attribute='sku')|join('+') }}\"",
            "\"a+b\"",
        ),
        (
            "\"{{ 'a-b'|replace('-', '+')|upper }}{{ 1 ~ 'x' ~ 2 }}\"",
            "\"A+B1x2\"",
        ),
        ("{{ data.missing|default(7) }}", "7"),
        ("{{ (data.missing is defined)|tojson }}", "false"),
        ("{{ [1, 2] + [3] }}", "[1,2,3]"),
        ("{{ [1, 2, 3][1:] }}", "[2,3]"),
        ("{{ {'a': 1, 'b': [true, none]} }}", r#"{"a":1,"b":[true,null]}"#),
        (
            "{% macro quoted(text) %}\"{{ text }}\"{% endmacro %}[{{ quoted('a') }}, {{ quoted(type) }}]",
            "[\"a\", \"user.created\"]",
        ),
        (
            "{% set all %}{% for n in range(3) %}{{ n }}{% endfor %}{% endset %}\"{{ all }}\"",
            "\"012\"",
        ),
        ("{% with x = 1 %}{{ x if data.yes else 2 }}{% endwith %}", "1"),
    ] {
        assert_eq!(rendered(source, DATA), output, "{source}");
    }
    assert_eq!(render_bytes("{{ data }}", None).unwrap(), "null");
}

#[test]
fn what_does_not_compile_says_where_and_why() {
    for (source, line, what) in [
        ("{\n{% if %}", 2, "unexpected"),
        ("{{ dta.x }}", 1, "there is no dta here; use id, type, data"),
        (
            "\n\n{{ data.x|uper }}",
            3,
            "there is no filter uper here; there are abs",
        ),
        ("{{ data.x is odder }}", 1, "there is no test odder here"),
        ("{{ debug() }}", 1, "there is no debug here"),
        ("{{ namespace(a=1) }}", 1, "there is no namespace here"),
        ("{% include 'x' %}", 1, "no other templates"),
        ("{% extends 'x' %}", 1, "no other templates"),
        ("{% block a %}{% endblock %}", 1, "no other templates"),
        ("{% autoescape true %}{% endautoescape %}", 1, "tojson"),
        ("{{ range(*data) }}", 1, "cannot be spread"),
        ("{% set data.x = 1 %}", 1, "a name only"),
        ("{{ 'abc }}", 1, "unexpected end"),
    ] {
        match check(source) {
            Err(InvalidTransform::At { line: at, what: said }) => {
                assert_eq!(at, line, "{source}: {said}");
                assert!(said.contains(what), "{source}: {said}");
            }
            other => panic!("{source}: {other:?}"),
        }
    }
    assert_eq!(check(" \n"), Err(InvalidTransform::Empty));
    let long = "x".repeat(limits::TRANSFORM_BYTES + 1);
    assert!(matches!(check(&long), Err(InvalidTransform::TooLong { .. })));
}

#[test]
fn what_gives_no_body_says_why_and_shows_no_value() {
    let at = |line, what: &str| TransformError::At {
        line,
        what: what.to_owned(),
    };
    for (source, error) in [
        ("\n{{ data.missing }}", at(2, "a value that is not there")),
        ("{{ data.missing.more }}", at(1, "a value that is not there")),
        (
            "{% if data.missing %}1{% endif %}",
            at(1, "a value that is not there"),
        ),
        (
            "{{ data.name ~ data.missing }}",
            at(1, "a value that is not there"),
        ),
        ("{{ data.missing|tojson }}", at(1, "a value that is not there")),
        ("{{ 'ab' * 3 }}", at(1, meter::NO_NUMBER)),
        ("{{ [1] * 3 }}", at(1, meter::NO_NUMBER)),
        (
            "{{ data.name + 1 }}",
            at(1, "a value of the wrong kind, or recursion that is too deep"),
        ),
        (
            "{{ data.name() }}",
            at(1, "a value of the wrong kind, or recursion that is too deep"),
        ),
    ] {
        assert_eq!(failed(source, DATA), error, "{source}");
    }
    assert!(matches!(
        failed("{\"a\": {{ data.name }}}", DATA),
        TransformError::NotJson {
            line: 1,
            column: 7,
            ..
        }
    ));
    assert!(matches!(
        failed("{\"a\": 1", DATA),
        TransformError::NotJson {
            what: "it ends too early",
            ..
        }
    ));
    assert_eq!(failed("{{ data }}", "nope"), TransformError::Data);
    assert_eq!(rendered("\"{{ id }}\"", "nope"), "\"evt_1\"");
}

const ODD: &str = r#"{"price": 1.10, "whole": 18446744073709551616, "exp": 1e3, "zero": -0, "small": 0.000001, "huge": 1e400,
    "long": 12345678.123456789012345, "note": "cut \ud83d", "list": [1.50, 2, 19.9, "\ude00"], "prices": [19.9, 2, 1.50, 19.90],
    "rows": [{"n": 2.50}, {"n": 10}], "a": 1, "a": 2.0, "id": 7}"#;

#[test]
fn numbers_are_copied_as_they_were_written() {
    for (source, output) in [
        ("{{ data.price }}", "1.10"),
        (
            "[{{ data.whole }}, {{ data.exp }}, {{ data.zero }}, {{ data.small }}, {{ data.huge }}, {{ data.long }}]",
            "[18446744073709551616, 1e3, -0, 0.000001, 1e400, 12345678.123456789012345]",
        ),
        ("{{ data.price|tojson }}", "1.10"),
        (
            "\"{{ data.price }} {{ data.price ~ '€' }} {{ data.exp|string }}\"",
            "\"1.10 1.10€ 1e3\"",
        ),
        ("{{ data.list }}", r#"[1.50,2,19.9,"\ude00"]"#),
        (
            "{{ [data.price, {'a': data.whole}] }}",
            r#"[1.10,{"a":18446744073709551616}]"#,
        ),
        (
            "{{ {'n': data.note, 'p': data.price} }}",
            r#"{"n":"cut \ud83d","p":1.10}"#,
        ),
        ("{{ data['rows']|map(attribute='n')|list|tojson }}", "[2.50,10]"),
        ("{{ data.list[:2] + data.list[2:] }}", r#"[1.50,2,19.9,"\ude00"]"#),
        ("{{ data['rows']|first|tojson }}", r#"{"n":2.50}"#),
        ("{{ data.prices|sort }}", "[1.50,2,19.9,19.90]"),
        (
            "{{ [data.prices|max, data.prices|min, data.prices|unique|list|length] }}",
            "[19.90,1.50,3]",
        ),
        (
            "{{ data['rows']|sort(attribute='n', reverse=true)|list }}",
            r#"[{"n":10},{"n":2.50}]"#,
        ),
        ("\"{{ data.prices|join('/') }}\"", "\"19.9/2/1.50/19.90\""),
        (
            "{% for n in data.prices %}{{ ',' if not loop.first else '[' }}{{ n }}{% endfor %}]",
            "[19.9,2,1.50,19.90]",
        ),
        (
            "{% set p = data.price %}{% macro m(x) %}{{ x }}{% endmacro %}[{{ p }}, {{ m(p) }}, {{ data.none|default(p) }}]",
            "[1.10, 1.10, 1.10]",
        ),
        ("{{ dict(a=data.price) }}", r#"{"a":1.10}"#),
    ] {
        assert_eq!(rendered(source, ODD), output, "{source}");
    }
    let copied = rendered("{{ data }}", ODD);
    assert!(copied.starts_with(
        r#"{"price":1.10,"whole":18446744073709551616,"exp":1e3,"zero":-0,"small":0.000001,"huge":1e400,"#
    ));
    assert!(
        copied.ends_with(r#""rows":[{"n":2.50},{"n":10}],"a":2.0,"id":7}"#),
        "{copied}"
    );
}

#[test]
fn an_object_of_the_data_is_an_object_like_any_other() {
    const OBJECT: &str = r#"{"o": {"b": 1.0, "a": [1], "é": null, "b": 2}}"#;
    for (source, output) in [
        ("{{ data.o }}", r#"{"b":2,"a":[1],"é":null}"#),
        ("{{ data.o|list }}", r#"["b","a","é"]"#),
        ("{{ data.o|items|list }}", r#"[["b",2],["a",[1]],["é",null]]"#),
        ("{{ data.o|dictsort|list }}", r#"[["a",[1]],["b",2],["é",null]]"#),
        ("{{ data.o|reverse|list }}", r#"["é","a","b"]"#),
        ("{{ dict(data.o, c=3) }}", r#"{"b":2,"a":[1],"é":null,"c":3}"#),
        (
            "{% for k, v in data.o|items %}{{ '{' if loop.first else ',' }}{{ k|tojson }}:{{ v }}{% endfor %}}",
            r#"{"b":2,"a":[1],"é":null}"#,
        ),
        (
            "{{ [data.o is mapping, data.o|length, data.o|first, 'a' in data.o, 'z' in data.o, 1 in data.o] }}",
            r#"[true,3,"b",true,false,false]"#,
        ),
        (
            "{{ [data.o == {'é': none, 'a': [1.0], 'b': 2}, data.o == {'a': [1], 'b': 2}, data.o['b'], data.o.z|default(0)] }}",
            "[true,false,2,0]",
        ),
        ("{{ {1: 'x', true: data.o.b} }}", r#"{"1":"x","true":2}"#),
    ] {
        assert_eq!(rendered(source, OBJECT), output, "{source}");
    }
}

#[test]
fn numbers_calculate_and_compare_whatever_their_digits() {
    for (source, output) in [
        ("{{ data.price + 1 }}", "2.1"),
        ("{{ [data.price * 2, -data.price, data.exp // 3, data.exp % 7] }}", "[2.2,-1.1,333.0,6.0]"),
        ("{{ data['rows']|sum(attribute='n') }}", "12.5"),
        ("{{ [data.price|round, data.price|int, data.exp|float, data.price|abs] }}", "[1.0,1,1000.0,1.1]"),
        ("{{ [1, 2, 3][data.zero] }}", "1"),
        ("{{ [data.price == 1.1, data.price == 1.10, 1.1 == data.price, data.price < 1.2, data.price != 1.1] }}",
         "[true,true,true,true,false]"),
        ("{{ [data.whole == 18446744073709551616, data.whole > 18446744073709551615, data.huge > data.whole] }}",
         "[true,true,true]"),
        ("{{ [9007199254740993 == 9007199254740992.0, 9223372036854775807 == 9223372036854775808.0] }}", "[false,false]"),
        ("{{ [1.5 in data.list, 19.90 in data.list, [1.1] == [data.price], {'a': 1.1} == {'a': data.price}] }}".replace("data.list", "data.prices").as_str(),
         "[true,true,true,true]"),
        ("{{ [1 < data.price < 2, 2 < data.price < 3, [data.price] < [1.2], data.price not in [1.1]] }}", "[true,false,true,false]"),
        ("{{ data.prices|select('gt', 2)|list }}", "[19.9,19.90]"),
        ("{{ data['rows']|selectattr('n', 'eq', 2.5)|list|length }}", "1"),
        ("{{ [data.price is number, data.price is float, data.whole is integer, data.huge is float, data.price is string, data.note is string] }}",
         "[true,true,true,true,false,true]"),
        ("{{ [1 if data.price else 0, 1 if data.zero else 0, data.zero|bool] }}", "[1,0,false]"),
        ("{{ [data.exp is divisibleby 10, data.a == 2, data|length] }}", "[true,true,13]"),
        ("{{ [data.exp|string ~ 'x', data.price|upper] }}", r#"["1e3x","1.10"]"#),
    ] {
        assert_eq!(rendered(source, ODD), output, "{source}");
    }
}

#[test]
fn a_value_that_cannot_be_read_fails_only_what_reads_it() {
    for (source, output) in [
        ("{{ data.id }}", "7"),
        ("{{ data.note|tojson }}", r#""cut \ud83d""#),
        (
            "{{ [data.list|length, data.list[0], data.note is defined, 1 if data.note else 0] }}",
            "[4,1.50,true,1]",
        ),
        ("{{ data.list|reverse|last }}", "1.50"),
    ] {
        assert_eq!(rendered(source, ODD), output, "{source}");
    }
    let at = |what: &str| TransformError::At {
        line: 1,
        what: what.to_owned(),
    };
    for source in [
        "\"{{ data.note }}\"",
        "{{ data.note == 'x' }}",
        "{{ data.note ~ 'x' }}",
        "{{ data.note|upper|tojson }}",
        "{{ data.list|join }}",
        "{{ data.list|sort }}",
        "{{ 'x' in data.list }}",
        "{{ data.list == [1] }}",
        "{{ data[data.note] }}",
        "{{ data.note + 'x' }}",
        "{{ data.list|select('eq', 'x')|list }}",
        "{{ data.note|string|tojson }}",
    ] {
        assert_eq!(failed(source, ODD), at(values::HALF_TEXT), "{source}");
    }
    for source in [
        "{{ data.huge + 1 }}",
        "{{ data.huge|round }}",
        "{{ [data.huge]|sum }}",
        "{{ -data.huge }}",
        "{{ data.huge * 2 }}",
    ] {
        assert_eq!(failed(source, ODD), at(values::OUT_OF_RANGE), "{source}");
    }
}

proptest::proptest! {
    /// Any number comes out as it went in, wherever it stands.
    #[test]
    fn every_number_keeps_its_digits(digits in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?") {
        let data = format!("{{\"n\":{digits},\"list\":[{digits}]}}");
        proptest::prop_assert_eq!(rendered("{{ data }}", &data), data.clone());
        proptest::prop_assert_eq!(rendered("{{ data.n }}", &data), digits.clone());
        proptest::prop_assert_eq!(rendered("{{ data.list[0]|tojson }}", &data), digits);
    }
}

#[test]
fn a_template_that_runs_away_ends_with_its_budget() {
    let doubling = "{% set a = 'abcdefgh' %}".to_owned() + &"{% set a = a ~ a %}".repeat(60) + "{{ a }}";
    let captured = "{% set a = 'abcdefgh' %}".to_owned()
        + &"{% set a %}{{ a }}{{ a }}{% endset %}".repeat(60)
        + "{{ a }}";
    let lists = "{% set a = [1] %}".to_owned() + &"{% set a = [a, a] %}".repeat(60) + "{{ a }}";
    let added = "{% set a = [1] %}".to_owned() + &"{% set a = a + a %}".repeat(60) + "{{ a|length }}";
    let replaced =
        "{% set a = 'aaaaaaaa' %}".to_owned() + &"{% set a = a|replace('a', a) %}".repeat(20) + "{{ a }}";
    let joined =
        "{% set a = 'aaaaaaaa' %}".to_owned() + &"{% set a = a|list|join(a) %}".repeat(20) + "{{ a }}";
    let raw = format!(
        "{{% set a %}}{{% for n in range(100000) %}}{}{{% endfor %}}{{% endset %}}1",
        "x".repeat(8000)
    );
    let macros =
        "{% macro f(a, n) %}{{ f(a ~ a, n - 1) ~ f(a ~ a, n - 1) }}{% endmacro %}{{ f('abcdefgh', 100) }}";
    let wide = "{% macro f(n) %}{% if n %}{% for i in range(9) %}{{ f(n - 1) }}{% endfor %}{% endif %}{% endmacro %}{{ f(20) }}";
    let recursive = "{% for n in [data] recursive %}{{ loop([n, n]) ~ loop([n, n]) }}{% endfor %}";
    for source in [
        doubling.as_str(),
        &captured,
        &lists,
        &added,
        &replaced,
        &joined,
        &raw,
        wide,
        recursive,
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}1",
        "{% for a in range(1000) %}{% for b in range(1000) %}{{ a }}{% endfor %}{% endfor %}1",
        "{% for a in range(10000) %}{{ data|tojson|length }}{% endfor %}1",
        "{% for a in range(10000) %}{{ data == data }}{% endfor %}1",
        "{% for a in range(10000) %}{{ 1 in data }}{% endfor %}1",
        "{% for a in range(10000) %}{{ data|sort|first }}{% endfor %}1",
        "{{ range(100000)|map('string')|map('list')|list|length }}",
        "{{ 'x'|replace('', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')|list|join('y') * 1 if false else range(99999)|list|join(','|replace(',', id ~ id))|length ~ range(99999)|list|length }}",
    ] {
        let data = format!("[{}1]", "1,".repeat(999));
        let error = failed(source, &data);
        let shown: String = source.chars().take(120).collect();
        assert!(
            matches!(error, TransformError::Budget | TransformError::At { .. }),
            "{shown}: {error}"
        );
    }
    // Whichever bound it meets first.
    let error = failed(macros, DATA);
    assert!(
        matches!(error, TransformError::Budget | TransformError::At { .. }),
        "{error}"
    );
}

#[test]
fn output_is_bounded() {
    let source = "\"{% for a in range(1200) %}{{ data }}{% endfor %}\"";
    let data = format!("\"{}\"", "x".repeat(1000));
    let limit = limits::TRANSFORM_OUTPUT_BYTES;
    assert_eq!(failed(source, &data), TransformError::TooLarge { limit });
    assert_eq!(
        rendered("\"{% for a in range(1000) %}{{ data }}{% endfor %}\"", &data).len(),
        1_000_002
    );
}

#[test]
fn depth_is_bounded_before_anything_recurses() {
    let chain = |step: &str| format!("{{{{ 1{} }}}}", step.repeat(5000));
    let refused = [
        chain("+1"),
        chain("~1"),
        chain("|abs"),
        chain(".a"),
        chain("[0]"),
        chain(" is odd"),
        chain(" and 1"),
        chain(" if 1 else 1")[..16_000].to_owned() + " }}",
        format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(5000), "]".repeat(5000)),
        format!("{{{{ {}1 }}}}", "-".repeat(5000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(3000)),
        "{% if 1 %}".repeat(1000) + &"{% endif %}".repeat(500),
        "{% for a in [1] %}".repeat(800),
        "{% if 1 %}".to_owned() + &"{% elif 1 %}".repeat(1000) + "{% endif %}",
        "{% set a %}".repeat(1000),
        "{% filter upper %}".repeat(800),
    ];
    for source in refused {
        assert!(check(&source).is_err(), "{}", &source[..40]);
    }
}

#[test]
fn the_deepest_templates_fit_into_the_stack_of_a_thread() {
    fn deepest(source: impl Fn(usize) -> String) -> String {
        let accepted = (1..).map(source).take_while(|source| check(source).is_ok());
        accepted.last().unwrap()
    }
    let deep = "[".repeat(127) + &"]".repeat(127);
    let thread = std::thread::Builder::new().stack_size(1536 * 1024);
    let done = thread.spawn(move || {
        let sources = [
            deepest(|n| format!("{{{{ 1{} }}}}", "+1".repeat(n))),
            deepest(|n| format!("{{{{ {}1{} }}}}", "[".repeat(n), "]".repeat(n))),
            deepest(|n| "{% if 1 %}".repeat(n) + "1" + &"{% endif %}".repeat(n)),
            deepest(|n| "{% for a in [1] %}".repeat(n) + "1" + &"{% endfor %}".repeat(n)),
            "{{ data }}".to_owned(),
            "{{ (data == data)|tojson }}".to_owned(),
            "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}1{% endmacro %}{{ f(25) }}".to_owned(),
        ];
        sources.map(|source| render_bytes(&source, Some(&deep)).map_err(|error| format!("{source}: {error}")))
    });
    for rendered in done.unwrap().join().unwrap() {
        rendered.unwrap();
    }
}
