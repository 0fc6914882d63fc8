//! Events: accepted facts, immutable.

use std::{collections::BTreeMap, fmt, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{id::EventId, limits, text, time::Timestamp};

/// An event's dotted name, such as `user.created` or `orders/create`: 1 to 256 bytes of segments of `[A-Za-z0-9_/:-]`,
/// with spaces inside a segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventType(String);

/// Why a text is not an event type.
#[derive(Debug, thiserror::Error)]
#[error(
    "not an event type; use dot-separated segments of A-Z a-z 0-9 _ - / : and spaces inside, at most 256 bytes, such as \
     user.created or orders/create"
)]
pub struct InvalidEventType;

impl EventType {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EventType {
    type Error = InvalidEventType;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = text.len() <= limits::EVENT_TYPE_BYTES;
        if fits && text.split('.').all(is_segment) {
            Ok(Self(text))
        } else {
            Err(InvalidEventType)
        }
    }
}

impl FromStr for EventType {
    type Err = InvalidEventType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<EventType> for String {
    fn from(event_type: EventType) -> Self {
        event_type.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text may stand between two dots of an event type.
pub(super) fn is_segment(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/: ".contains(&byte);
    !text.is_empty() && text.bytes().all(fits) && !text.starts_with(' ') && !text.ends_with(' ')
}

/// A short text that names something of the sender's: a tenant, a channel, an ordering key.
///
/// 1 to 256 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

/// Why a text is not a label.
#[derive(Debug, thiserror::Error)]
#[error("not a label; use 1 to 256 bytes of text without control characters")]
pub struct InvalidLabel;

impl Label {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Label {
    type Error = InvalidLabel;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=limits::LABEL_BYTES).contains(&text.len());
        if fits && !text.chars().any(is_unsafe) {
            Ok(Self(text))
        } else {
            Err(InvalidLabel)
        }
    }
}

impl FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Control characters, and those that turn the direction of text in a log or on a page.
pub fn is_unsafe(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// What an event carries, exactly as it was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// `None` for JSON; otherwise the media type of `bytes`.
    pub content_type: Option<String>,
    pub bytes: Bytes,
}

/// An event as it is handed over, checked, and not yet accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    pub id: Option<EventId>,
    pub event_type: EventType,
    pub tenant: Option<Label>,
    pub channel: Option<Label>,
    pub ordering_key: Option<Label>,
    pub occurred_at: Option<Timestamp>,
    pub deliver_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub attributes: BTreeMap<String, String>,
    pub payload: Payload,
}

/// Sixteen bytes that tell two contents apart: the head of a SHA-256.
pub type ContentHash = [u8; 16];

/// Why an event cannot be accepted as it is; `field` is the member to change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct InvalidEvent {
    pub field: &'static str,
    pub rule: &'static str,
}

impl NewEvent {
    /// Checks what depends on the present time and on several members at once.
    ///
    /// # Errors
    /// Names the member and the rule it breaks.
    pub fn check(&self, now: Timestamp) -> Result<(), InvalidEvent> {
        let refuse = |field, rule| Err(InvalidEvent { field, rule });
        if self
            .deliver_at
            .is_some_and(|at| at > now.plus(limits::DELIVER_AHEAD))
        {
            return refuse(
                "deliver_at",
                "is more than 366 days ahead; choose an earlier time",
            );
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return refuse("expires_at", "has passed; choose a time to come, or leave it out");
        }
        if let (Some(deliver), Some(expire)) = (self.deliver_at, self.expires_at)
            && expire <= deliver
        {
            return refuse("expires_at", "is not after deliver_at; choose a later time");
        }
        let labels = [
            ("tenant", &self.tenant),
            ("channel", &self.channel),
            ("ordering_key", &self.ordering_key),
        ];
        for (field, label) in labels {
            if let Some(Err(rule)) = label.as_ref().map(|label| text::check_seen(label.as_str())) {
                return refuse(field, rule);
            }
        }
        if self.attributes.len() > limits::ATTRIBUTES {
            return refuse("attributes", "has more than 64 entries");
        }
        let fits = |text: &String, most| text.len() <= most && !text.chars().any(is_unsafe);
        if !self.attributes.iter().all(|(name, value)| {
            !name.is_empty() && fits(name, limits::LABEL_BYTES) && fits(value, limits::ATTRIBUTE_BYTES)
        }) {
            return refuse(
                "attributes",
                "has a name over 256 bytes or empty, a value over 1024, or one with control characters",
            );
        }
        Ok(())
    }

    /// What makes two events with one id the same event: everything but the id.
    pub fn content_hash(&self) -> ContentHash {
        let mut hash = Sha256::new();
        let mut put = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        put(self.event_type.as_str().as_bytes());
        for label in [&self.tenant, &self.channel, &self.ordering_key] {
            put(label.as_ref().map_or("", Label::as_str).as_bytes());
        }
        for time in [self.occurred_at, self.deliver_at, self.expires_at] {
            put(&time.map_or([0; 8], |time| time.as_millis().to_le_bytes()));
        }
        for (name, value) in &self.attributes {
            put(name.as_bytes());
            put(value.as_bytes());
        }
        put(self
            .payload
            .content_type
            .as_deref()
            .unwrap_or_default()
            .as_bytes());
        put(&self.payload.bytes);
        let digest = hash.finalize();
        let mut head = [0; 16];
        head.copy_from_slice(&digest[..16]);
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> NewEvent {
        NewEvent {
            id: None,
            event_type: "user.created".parse().unwrap(),
            tenant: None,
            channel: None,
            ordering_key: None,
            occurred_at: None,
            deliver_at: None,
            expires_at: None,
            attributes: BTreeMap::new(),
            payload: Payload {
                content_type: None,
                bytes: Bytes::from_static(b"{}"),
            },
        }
    }

    #[test]
    fn event_types_are_dotted_segments() {
        for good in [
            "VIDEO_READY",
            "endpoint.url_validation",
            "user.created",
            "a-b.c_d.9",
            "orders/create",
            "/ACCOUNT_CLOSED",
            "urn:example:user.created",
            "Report available.v 2",
            "http://example.com/x",
        ] {
            assert!(good.parse::<EventType>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            ".a",
            "a.",
            " a",
            "a ",
            "a. b",
            "a .b",
            " ",
            "a\tb",
            "a\n",
            "a\u{a0}b",
            "é",
            "a?b",
            "a%20b",
            "a\\b",
            "a.*",
            "\u{202e}a",
            &"x".repeat(257),
        ] {
            assert!(bad.parse::<EventType>().is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_hold_no_control_characters() {
        assert!("kunde-1 é".parse::<Label>().is_ok());
        for bad in ["", "a\u{1b}[0m", "a\u{202e}", "a\0", &"x".repeat(257)] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
    }

    /// Stored events may have such labels; new ones are refused.
    #[test]
    fn labels_that_look_alike_are_refused_by_name() {
        let field = |change: fn(&mut NewEvent)| {
            let mut event = event();
            change(&mut event);
            event.check(Timestamp::EPOCH).err().map(|error| error.field)
        };
        assert_eq!(field(|event| event.tenant = Some("a b".parse().unwrap())), None);
        assert_eq!(
            field(|event| event.tenant = Some("a ".parse().unwrap())),
            Some("tenant")
        );
        assert_eq!(
            field(|event| event.channel = Some("\u{a0}a".parse().unwrap())),
            Some("channel")
        );
        assert_eq!(
            field(|event| event.ordering_key = Some("a\u{200b}".parse().unwrap())),
            Some("ordering_key")
        );
    }

    #[test]
    fn the_hash_sees_every_member_but_the_id() {
        let base = event().content_hash();
        let with = |change: fn(&mut NewEvent)| {
            let mut changed = event();
            change(&mut changed);
            changed.content_hash()
        };
        assert_eq!(base, with(|event| event.id = Some("x".parse().unwrap())));
        let changes: [fn(&mut NewEvent); 6] = [
            |event| event.event_type = "user.deleted".parse().unwrap(),
            |event| event.tenant = Some("a".parse().unwrap()),
            |event| event.channel = Some("a".parse().unwrap()),
            |event| event.occurred_at = Some(Timestamp::from_millis(1)),
            |event| event.payload.bytes = Bytes::from_static(b"{ }"),
            |event| _ = event.attributes.insert("a".into(), "b".into()),
        ];
        for change in changes {
            assert_ne!(base, with(change));
        }
    }

    #[test]
    fn times_that_cannot_hold_are_refused_by_name() {
        let now = Timestamp::from_millis(1_000_000);
        let field = |deliver: Option<u64>, expire: Option<u64>| {
            let mut event = event();
            event.deliver_at = deliver.map(Timestamp::from_millis);
            event.expires_at = expire.map(Timestamp::from_millis);
            event.check(now).err().map(|error| error.field)
        };
        assert_eq!(field(None, None), None);
        assert_eq!(field(Some(5), None), None);
        assert_eq!(field(Some(u64::MAX), None), Some("deliver_at"));
        assert_eq!(field(None, Some(1_000_000)), Some("expires_at"));
        assert_eq!(field(Some(3_000_000), Some(2_000_000)), Some("expires_at"));
    }
}
