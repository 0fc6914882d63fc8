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
    assert_eq!(failed("{{ data }}", "1e999"), TransformError::Data);
    assert_eq!(rendered("\"{{ id }}\"", "1e999"), "\"evt_1\"");
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
