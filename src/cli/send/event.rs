//! An event as the API takes it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    cli::{failure::Usage, input::Source},
    domain::time::Timestamp,
};

/// The part of the answer that waiting needs.
#[derive(Deserialize)]
pub struct Accepted {
    pub id: String,
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(flatten)]
    data: Data,
}

/// The data's own bytes, as JSON or in base64.
#[derive(Debug, Serialize)]
enum Data {
    #[serde(rename = "data")]
    Json(Box<RawValue>),
    #[serde(rename = "data_base64")]
    Base64(String),
}

/// An event as it was written on a command line.
#[derive(Default)]
pub struct Written<'a> {
    pub kind: &'a str,
    /// JSON, `@FILE` or `-`; `{}` if left out.
    pub data: Option<&'a str>,
    pub id: Option<&'a str>,
    pub tenant: Option<&'a str>,
    pub channel: Option<&'a str>,
    pub ordering_key: Option<&'a str>,
    pub deliver_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub content_type: Option<&'a str>,
    pub attributes: &'a [(String, String)],
}

impl Written<'_> {
    /// The request's body.
    ///
    /// # Errors
    ///
    /// Data that cannot be read, or is not what it is said to be.
    pub fn body(&self) -> anyhow::Result<Vec<u8>> {
        let source = Source::of(self.data.unwrap_or("{}"));
        let bytes = match self.content_type.is_none_or(is_json) {
            true => source.document()?,
            false => source.read()?,
        };
        let event = Event {
            kind: self.kind,
            id: self.id,
            tenant: self.tenant,
            channel: self.channel,
            ordering_key: self.ordering_key,
            deliver_at: self.deliver_at,
            expires_at: self.expires_at,
            attributes: self
                .attributes
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
            content_type: self.content_type,
            data: data(&bytes, self.content_type)?,
        };
        Ok(serde_json::to_vec(&event)?)
    }
}

fn data(bytes: &[u8], content_type: Option<&str>) -> Result<Data, Usage> {
    if !content_type.is_none_or(is_json) {
        return Ok(Data::Base64(STANDARD.encode(bytes)));
    }
    let document = serde_json::from_slice(bytes).map_err(|error| {
        Usage(format!(
            "the data is not JSON ({error}); quote it for the shell, or say what it is with --content-type"
        ))
    })?;
    Ok(Data::Json(document))
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::send::Args;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn sent(words: &[&str]) -> String {
        let words = ["send"].into_iter().chain(words.iter().copied());
        let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
        String::from_utf8(line.args.written().body().unwrap()).unwrap()
    }

    #[test]
    fn json_is_sent_byte_for_byte() {
        let data = "{ \"b\" : 1.500, \"a\":12345678901234567890123, \"a\": \"\\u00e9\" }";
        assert_eq!(sent(&["t", data]), format!("{{\"type\":\"t\",\"data\":{data}}}"));
        assert_eq!(sent(&["t"]), "{\"type\":\"t\",\"data\":{}}");
    }

    #[test]
    fn other_data_is_sent_in_base64_with_what_it_is() {
        let text = sent(&["t", "plain {", "--content-type", "text/plain"]);
        assert_eq!(
            text,
            "{\"type\":\"t\",\"content_type\":\"text/plain\",\"data_base64\":\"cGxhaW4gew==\"}"
        );
        let json = sent(&[
            "t",
            "[1]",
            "--content-type",
            "application/geo+json; charset=utf-8",
        ]);
        assert!(json.contains("\"data\":[1]"), "{json}");
    }

    #[test]
    fn what_is_not_json_is_a_matter_of_usage() {
        for bad in ["{a:1}", "", "{} {}", "nul"] {
            assert!(data(bad.as_bytes(), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn flags_become_members() {
        let text = sent(&[
            "t",
            "1",
            "--id",
            "i",
            "--tenant",
            "n",
            "--channel",
            "c",
            "--ordering-key",
            "k",
            "--attribute",
            "a=b",
            "--deliver-at",
            "2026-11-21T06:30:00+01:00",
            "--expires-at",
            "2026-11-22T00:00:00Z",
        ]);
        assert_eq!(
            text,
            "{\"type\":\"t\",\"id\":\"i\",\"tenant\":\"n\",\"channel\":\"c\",\"ordering_key\":\"k\",\
             \"deliver_at\":\"2026-11-21T05:30:00.000Z\",\"expires_at\":\"2026-11-22T00:00:00.000Z\",\
             \"attributes\":{\"a\":\"b\"},\"data\":1}"
        );
    }
}
