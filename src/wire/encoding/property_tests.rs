//! Decode what was encoded, with parsers of others, and compare.

use proptest::prelude::*;
use quick_xml::{Reader, XmlVersion, escape::resolve_predefined_entity, events::Event};
use serde_json::{Map, Value};

use super::{form, tokens::Tokens, xml};

/// Any JSON, with names and texts that are hard on an encoding.
fn json() -> impl Strategy<Value = Value> {
    let text = || {
        prop_oneof![
            "[a-z]{0,4}",
            "[\\[\\]&=<>\"'%+; \r\n\t\u{0}\u{1b}\u{fffe}é😀x:_.-]{0,6}",
            any::<String>(),
        ]
    };
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A value's path from the root, and its text.
type Leaf = (Vec<String>, String);

/// What a form can say of a document.
fn leaves(value: &Value, path: &[String], found: &mut Vec<Leaf>) {
    let below = |name: String| [path, &[name]].concat();
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                leaves(value, &below(name.clone()), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (place, item) in items.iter().enumerate() {
                leaves(item, &below(place.to_string()), found);
            }
        }
        other => found.push((path.to_vec(), scalar(other))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// Names in brackets, as they were before they were percent-encoded.
fn unbracketed(name: &str) -> Vec<String> {
    let (first, rest) = name.split_once('[').unwrap_or((name, ""));
    let inner = rest.strip_suffix(']').unwrap_or_default();
    let more = if rest.is_empty() {
        Vec::new()
    } else {
        inner.split("][").collect()
    };
    [first].into_iter().chain(more).map(decoded).collect()
}

fn decoded(text: &str) -> String {
    let mut pairs = url::form_urlencoded::parse(text.as_bytes());
    pairs
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}

/// An element: its member's name, its text, the elements in it.
#[derive(Debug, Default, PartialEq)]
struct Element {
    name: String,
    text: String,
    inner: Vec<Element>,
}

/// What XML can say of a document.
fn element(name: &str, value: &Value) -> Element {
    let inner = match value {
        Value::Object(members) => members.iter().map(|(name, value)| element(name, value)).collect(),
        Value::Array(items) => items.iter().map(|item| element("item", item)).collect(),
        _ => Vec::new(),
    };
    Element {
        name: allowed(name),
        text: allowed(&scalar(value)),
        inner,
    }
}

fn allowed(text: &str) -> String {
    let letter = |letter: char| match letter {
        '\t' | '\n' | '\r' => letter,
        other if xml::is_allowed(other) => other,
        _ => '\u{fffd}',
    };
    text.chars().map(letter).collect()
}

/// The name and text of an `entry` are told from those of a member called so by the attribute.
fn parsed(text: &str) -> Element {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = true;
    let mut open = vec![Element::default()];
    loop {
        match reader.read_event().unwrap() {
            Event::Decl(_) => {}
            Event::Start(start) => open.push(named(&start)),
            Event::Empty(start) => {
                let empty = named(&start);
                open.last_mut().unwrap().inner.push(empty);
            }
            Event::Text(text) => open.last_mut().unwrap().text += &text.xml10_content(),
            Event::GeneralRef(reference) => {
                let letter = match reference.resolve_char_ref().unwrap() {
                    Some(letter) => letter.to_string(),
                    None => resolve_predefined_entity(&reference).unwrap().to_owned(),
                };
                open.last_mut().unwrap().text += &letter;
            }
            Event::End(_) => {
                let ended = open.pop().unwrap();
                open.last_mut().unwrap().inner.push(ended);
            }
            Event::Eof => {
                assert_eq!(open.len(), 1);
                let mut document = open.pop().unwrap().inner;
                assert_eq!(document.len(), 1);
                return document.pop().unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

fn named(start: &quick_xml::events::BytesStart<'_>) -> Element {
    let tag = start.name().as_ref().to_owned();
    let attribute = start.try_get_attribute("name").unwrap();
    Element {
        name: attribute.map_or(tag, |value| {
            value
                .normalized_value(XmlVersion::Implicit1_0)
                .unwrap()
                .into_owned()
        }),
        ..Element::default()
    }
}

proptest! {
    #[test]
    fn a_form_says_every_value_and_where_it_stands(document in json()) {
        let written = form::write(Tokens::of(document.to_string().as_bytes()).unwrap(), 1024 * 1024).unwrap();
        let mut expected = Vec::new();
        match &document {
            Value::Object(members) if members.is_empty() => {}
            Value::Object(_) => leaves(&document, &[], &mut expected),
            other => leaves(other, &["data".to_owned()], &mut expected),
        }
        let pairs = written.split('&').filter(|pair| !pair.is_empty());
        let found: Vec<Leaf> = pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap();
                (unbracketed(name), decoded(value))
            })
            .collect();
        prop_assert_eq!(&found, &expected, "{}", written);
        prop_assert_eq!(url::form_urlencoded::parse(written.as_bytes()).count(), expected.len());
    }

    #[test]
    fn xml_is_well_formed_and_says_every_value(document in json()) {
        let written = xml::write(Tokens::of(document.to_string().as_bytes()).unwrap(), 1024 * 1024).unwrap();
        prop_assert_eq!(parsed(&written), element("event", &document), "{}", written);
    }
}
