//! The parts of an OpenAPI description that are read.

use serde_json::{Map, Value};

use super::{Unfit, bundle, event_type};
use crate::{
    dispatch::event_types::schema::keywords,
    domain::{limits, record::EventTypePut, time::Timestamp},
};

/// Methods of an operation, the most likely one first.
const METHODS: [&str; 8] = [
    "post", "put", "patch", "get", "delete", "options", "head", "trace",
];

/// References from one to the next before what is meant: more is a circle.
const HOPS: usize = 16;

/// A place in a description, and what is there.
#[derive(Copy, Clone)]
struct At<'a> {
    value: &'a Value,
    pointer: &'a str,
}

/// The webhooks of a description, by name.
pub fn webhooks(description: &Value) -> Result<Vec<(&str, &Value)>, Unfit> {
    let version = description.get("openapi").and_then(Value::as_str);
    if !version.is_some_and(|version| version.starts_with("3.1") || version.starts_with("3.2")) {
        return Err(Unfit::new(
            "/openapi",
            "is not 3.1: webhooks and JSON Schema came to OpenAPI with that; send a description of version 3.1",
        ));
    }
    let Some(webhooks) = description.get("webhooks").and_then(Value::as_object) else {
        return Err(Unfit::new(
            "/webhooks",
            "is missing or not an object; event types are read from there",
        ));
    };
    if webhooks.len() > limits::EVENT_TYPES {
        let most = limits::EVENT_TYPES;
        return Err(Unfit::new("/webhooks", format!("has more than {most} entries")));
    }
    Ok(webhooks
        .iter()
        .map(|(name, item)| (name.as_str(), item))
        .collect())
}

/// Where a webhook stands.
pub fn place(name: &str) -> String {
    format!("/webhooks/{}", keywords::escaped(name))
}

/// The declaration that a webhook makes.
pub fn declaration(
    description: &Value,
    name: &str,
    item: &Value,
    at: Timestamp,
) -> Result<EventTypePut, Unfit> {
    let event_type = event_type(name)?;
    let (item, item_place) = resolve(description, item, place(name))?;
    let Some((method, operation)) = METHODS
        .iter()
        .find_map(|method| Some((method, item.get(*method)?.as_object()?)))
    else {
        return Err(Unfit::new(
            item_place,
            "has no operation; describe the request under post",
        ));
    };
    let place = format!("{item_place}/{method}");
    let mut put = EventTypePut {
        event_type,
        at,
        description: text_of(operation).or_else(|| text_of(item.as_object()?)),
        schema: None,
        example: None,
        deprecated: operation
            .get("deprecated")
            .and_then(Value::as_bool)
            .unwrap_or(false),
    };
    if let Some(body) = operation.get("requestBody") {
        let (body, place) = resolve(description, body, format!("{place}/requestBody"))?;
        read_body(
            description,
            At {
                value: body,
                pointer: &place,
            },
            &mut put,
        )?;
    }
    Ok(put)
}

fn read_body(description: &Value, body: At<'_>, put: &mut EventTypePut) -> Result<(), Unfit> {
    let content = body.value.get("content").and_then(Value::as_object);
    let Some((kind, media)) = content.and_then(json_of) else {
        let rule =
            "has no JSON; only JSON can be held against a schema. Declare the type by itself, without one";
        return Err(Unfit::new(format!("{}/content", body.pointer), rule));
    };
    let place = format!("{}/content/{}", body.pointer, keywords::escaped(kind));
    let mut example = example_of(description, media, &place)?;
    if let Some(schema) = media.get("schema") {
        let place = format!("{place}/schema");
        example = example.or_else(|| schema.get("example").cloned()).or_else(|| {
            let examples = schema.get("examples")?.as_array()?;
            examples.first().cloned()
        });
        let (schema, is_data) = match bundle::data_of_envelope(description, schema) {
            Some(data) => (data, true),
            None => (vec![schema], false),
        };
        if is_data {
            example = example.and_then(|example| example.get("data").cloned());
        }
        put.schema = Some(bundle::bundle(description, &schema, &place)?);
    }
    put.example = example.map(|example| example.to_string());
    Ok(())
}

/// The media type that is JSON, the plain one first.
fn json_of(content: &Map<String, Value>) -> Option<(&str, &Value)> {
    let essence = |kind: &str| {
        kind.split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    };
    let plain = content
        .iter()
        .find(|(kind, _)| essence(kind) == "application/json");
    let other = || content.iter().find(|(kind, _)| essence(kind).ends_with("+json"));
    plain.or_else(other).map(|(kind, media)| (kind.as_str(), media))
}

fn example_of(description: &Value, media: &Value, place: &str) -> Result<Option<Value>, Unfit> {
    if let Some(example) = media.get("example") {
        return Ok(Some(example.clone()));
    }
    let Some((name, example)) = media
        .get("examples")
        .and_then(Value::as_object)
        .and_then(|examples| examples.iter().next())
    else {
        return Ok(None);
    };
    let place = format!("{place}/examples/{}", keywords::escaped(name));
    let (example, _) = resolve(description, example, place)?;
    Ok(example.get("value").cloned())
}

/// What is described, in its own words: up to the longest description, cut between words. Control characters become
/// spaces.
fn text_of(described: &Map<String, Value>) -> Option<String> {
    let text = ["description", "summary"]
        .iter()
        .find_map(|member| described.get(*member)?.as_str())?;
    let kept = |letter: char| crate::domain::event::is_unsafe(letter) && !matches!(letter, '\n' | '\t');
    let mut text = text.trim().replace(kept, " ");
    if text.len() > limits::DESCRIPTION_BYTES {
        let fits = limits::DESCRIPTION_BYTES - '…'.len_utf8();
        let end = (0..=fits)
            .rev()
            .find(|&end| text.is_char_boundary(end))
            .unwrap_or(0);
        let end = text[..end].rfind(char::is_whitespace).unwrap_or(end);
        text.truncate(end);
        text.push('…');
    }
    (!text.is_empty()).then_some(text)
}

/// Follows the `$ref` of something that is no schema: a path item, a request body, an example.
fn resolve<'a>(
    description: &'a Value,
    mut value: &'a Value,
    mut place: String,
) -> Result<(&'a Value, String), Unfit> {
    for _ in 0..HOPS {
        let Some(reference) = value.get("$ref") else {
            return Ok((value, place));
        };
        (value, place) = target(description, reference, &format!("{place}/$ref"))?;
    }
    Err(Unfit::new(
        place,
        "is at the end of too many references, or of a circle of them",
    ))
}

/// What a reference within a description names, and where that is.
pub fn target<'a>(
    description: &'a Value,
    reference: &Value,
    place: &str,
) -> Result<(&'a Value, String), Unfit> {
    let pointer = reference
        .as_str()
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(keywords::pointer_in);
    let Some(pointer) = pointer else {
        let rule = "leads out of the description, and nothing is fetched; put what it names into components";
        return Err(Unfit::new(place, rule));
    };
    match description.pointer(&pointer) {
        Some(value) => Ok((value, pointer)),
        None => Err(Unfit::new(place, "names nothing in the description")),
    }
}
