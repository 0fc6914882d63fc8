//! What an endpoint wants: patterns over event types, and channels.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::event::{EventType, Label, is_segment};

/// One pattern over event types.
///
/// `user.created` is that type, `user.*` has exactly one more segment, `user.**` has one or more, and `*` or `**`
/// alone is every type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pattern {
    Everything,
    Exact(EventType),
    /// The prefix with its closing dot; exactly one segment follows.
    OneSegment(String),
    /// The prefix with its closing dot; at least one segment follows.
    Rest(String),
}

/// Why a text is not a pattern.
#[derive(Debug, thiserror::Error)]
#[error("not an event type pattern; use a type such as user.created, or user.*, user.**, or * alone")]
pub struct InvalidPattern;

impl Pattern {
    pub fn matches(&self, event_type: &EventType) -> bool {
        let rest_after = |prefix: &String| event_type.as_str().strip_prefix(prefix.as_str());
        match self {
            Self::Everything => true,
            Self::Exact(wanted) => wanted == event_type,
            Self::OneSegment(prefix) => rest_after(prefix).is_some_and(|rest| !rest.contains('.')),
            Self::Rest(prefix) => rest_after(prefix).is_some(),
        }
    }

    /// Whether the pattern says more than "everything". Operational events go only to those who name them.
    pub const fn is_specific(&self) -> bool {
        !matches!(self, Self::Everything)
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "*" || text == "**" {
            return Ok(Self::Everything);
        }
        let too_long = text.len() > super::limits::EVENT_TYPE_BYTES;
        let prefix_of = |stars: &str| {
            let prefix = text.strip_suffix(stars)?;
            let segments = prefix.strip_suffix('.')?;
            segments.split('.').all(is_segment).then(|| prefix.to_owned())
        };
        if too_long {
            return Err(InvalidPattern);
        }
        if let Some(prefix) = prefix_of("**") {
            return Ok(Self::Rest(prefix));
        }
        if let Some(prefix) = prefix_of("*") {
            return Ok(Self::OneSegment(prefix));
        }
        EventType::try_from(text)
            .map(Self::Exact)
            .map_err(|_| InvalidPattern)
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Exact(event_type) => fmt::Display::fmt(event_type, f),
            Self::OneSegment(prefix) => write!(f, "{prefix}*"),
            Self::Rest(prefix) => write!(f, "{prefix}**"),
        }
    }
}

/// Why a subscription does not want an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwanted {
    /// No pattern matches its type.
    Type,
    /// Channels are named, and it has none.
    NoChannel,
    /// Channels are named, and its own is not among them.
    Channel(Label),
}

/// Judges an event of the subscription's own tenant: answers the pattern that matches its type, when its channel is
/// among the wanted ones or none are named.
///
/// # Errors
/// Why the event is not wanted.
pub fn judge<'a>(
    patterns: &'a [Pattern],
    channels: &[Label],
    event_type: &EventType,
    channel: Option<&Label>,
) -> Result<&'a Pattern, Unwanted> {
    let pattern = patterns
        .iter()
        .find(|pattern| pattern.matches(event_type))
        .ok_or(Unwanted::Type)?;
    match channel {
        _ if channels.is_empty() => Ok(pattern),
        None => Err(Unwanted::NoChannel),
        Some(channel) if channels.contains(channel) => Ok(pattern),
        Some(channel) => Err(Unwanted::Channel(channel.clone())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, event_type: &str) -> bool {
        pattern
            .parse::<Pattern>()
            .unwrap()
            .matches(&event_type.parse().unwrap())
    }

    #[test]
    fn stars_stand_for_one_segment_or_the_rest() {
        assert!(matches("user.created", "user.created") && !matches("user.created", "user.created.v2"));
        assert!(matches("user.*", "user.created") && !matches("user.*", "user.created.v2"));
        assert!(
            !matches("user.*", "user") && !matches("user.**", "user") && !matches("user.*", "users.created")
        );
        assert!(matches("user.**", "user.created") && matches("user.**", "user.created.v2"));
        assert!(matches("*", "a.b.c") && matches("**", "VIDEO_READY"));
    }

    #[test]
    fn stars_stand_only_at_the_end_after_a_dot() {
        for bad in [
            "", "a..b", "*.x", "a*", "a.*.b", "a.***", ".*", "a.", "user.* ", "**.*",
        ] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_wanted_has_a_reason() {
        let label = |text: &str| text.parse::<Label>().unwrap();
        let patterns = ["user.*", "order.paid"].map(|text| text.parse::<Pattern>().unwrap());
        let (a, b) = (label("a"), label("b"));
        let only_a = [a.clone()];
        let judged = |event_type: &str, channels: &[Label], channel| {
            judge(&patterns, channels, &event_type.parse().unwrap(), channel).map(ToString::to_string)
        };
        assert_eq!(judged("user.created", &[], Some(&a)), Ok("user.*".to_owned()));
        assert_eq!(
            judged("order.paid", &only_a, Some(&a)),
            Ok("order.paid".to_owned())
        );
        assert_eq!(judged("order.made", &[], None), Err(Unwanted::Type));
        assert_eq!(judged("user.x", &only_a, None), Err(Unwanted::NoChannel));
        assert_eq!(
            judged("user.x", &only_a, Some(&b)),
            Err(Unwanted::Channel(b.clone()))
        );
    }

    proptest! {
        #[test]
        fn a_pattern_reads_back_what_it_writes(text in "[a-z_]{1,4}(\\.[a-z_]{1,4}){0,3}(\\.\\*{1,2})?") {
            let pattern: Pattern = text.parse().unwrap();
            prop_assert_eq!(pattern.to_string(), text);
        }
    }
}
