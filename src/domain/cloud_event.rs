//! CloudEvents 1.0: how the attributes of an event say what a CloudEvent has beside ours.
//!
//! An event's attributes called `source`, `subject` and `dataschema` are the CloudEvent's; others whose name is one that
//! CloudEvents allow ([`is_extension`]) are its extensions. What ours cannot hold as the CloudEvent had it is kept in the
//! attributes below, whose dash no name of a CloudEvent has, so that nothing that comes in can be taken for them. An event
//! that came in as a CloudEvent goes out as the same one.

use sha2::{Digest, Sha256};

use super::id::EventId;

/// The only version that is taken and written.
pub const VERSION: &str = "1.0";

pub const SOURCE: &str = "source";
pub const SUBJECT: &str = "subject";
pub const DATA_SCHEMA: &str = "dataschema";

/// The CloudEvent's `id`, when the event has another one.
pub const KEPT_ID: &str = "ce-id";
/// The CloudEvent's `time` as it was written, when it says more than milliseconds in UTC.
pub const KEPT_TIME: &str = "ce-time";
/// The media type of JSON data that is not plainly `application/json`.
pub const KEPT_CONTENT_TYPE: &str = "ce-datacontenttype";
/// There when the CloudEvent had no data; the event's is `null` then.
pub const NO_DATA: &str = "ce-nodata";

/// How all of these begin. An event that is no CloudEvent has no attribute of such a name.
pub const KEPT_PREFIX: &str = "ce-";

/// Names of a CloudEvent that are not extensions.
const RESERVED: [&str; 9] = [
    "specversion",
    "id",
    SOURCE,
    "type",
    "time",
    SUBJECT,
    DATA_SCHEMA,
    "datacontenttype",
    "data",
];

/// Whether an attribute of this name is an extension of a CloudEvent: one of its names, and none that means something else.
pub fn is_extension(name: &str) -> bool {
    is_attribute_name(name) && !RESERVED.contains(&name)
}

/// 1 to 20 lower-case letters and digits. CloudEvents 1.0.2 only advise against longer names, but there are libraries that
/// refuse an event that has one.
pub fn is_attribute_name(name: &str) -> bool {
    (1..=20).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether a media type says that the data is JSON: `*/json` or `*/*+json`.
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    let subtype = subtype.to_ascii_lowercase();
    subtype == "json" || subtype.ends_with("+json")
}

/// The id of an event whose own id cannot be ours, or is another source's too: `ce_` and the SHA-256 of source, a zero
/// byte and id, in hexadecimal. The same for every repeat.
pub fn derived_id(source: &str, id: &str) -> EventId {
    let digest = Sha256::new()
        .chain_update(source)
        .chain_update([0])
        .chain_update(id)
        .finalize();
    EventId::derived("ce_", &digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_have_plain_names_of_their_own() {
        for good in ["traceparent", "partitionkey", "x1", "twentycharacters7890"] {
            assert!(is_extension(good), "{good}");
        }
        for bad in [
            "",
            "Trace",
            "a-b",
            "a_b",
            "ce-id",
            "twentyonecharacters90",
            "é",
            "id",
            "source",
            "data",
            "specversion",
        ] {
            assert!(!is_extension(bad), "{bad}");
        }
        for kept in [KEPT_ID, KEPT_TIME, KEPT_CONTENT_TYPE, NO_DATA] {
            assert!(
                !is_attribute_name(kept) && kept.starts_with(KEPT_PREFIX),
                "{kept}"
            );
        }
    }

    #[test]
    fn json_is_told_by_its_media_type() {
        for json in [
            "application/json",
            "text/JSON; charset=utf-8",
            "application/vnd.x+json",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "json", "application/jsonl", "text/plain; a=/json"] {
            assert!(!is_json(other), "{other}");
        }
    }

    /// Computed with `printf '/a\0b.c' | sha256sum`.
    #[test]
    fn a_derived_id_is_the_same_for_ever_and_another_for_another_source() {
        let id = derived_id("/a", "b.c");
        assert_eq!(
            id.as_str(),
            "ce_fe9cbe3f68a9e0dd5523af3b6952d7e7306b49e63697f08d9aef18c00b6f8929"
        );
        assert_ne!(id, derived_id("/b", "b.c"));
        assert_ne!(derived_id("/a", "b"), derived_id("/", "ab"));
    }
}
