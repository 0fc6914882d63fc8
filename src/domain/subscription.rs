//! What an endpoint wants: patterns over event types, and channels.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    event::{EventType, Label, is_segment},
    limits,
};

/// One pattern over event types.
///
/// `user.created` is that type, `user.*` has exactly one more segment, `user.**` has one or more, and `*` or `**`
/// alone is every type. Elsewhere too a star stands for exactly one segment: `*.created`, `user.*.done`, `*.*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pattern {
    Everything,
    Exact(EventType),
    /// The prefix with its closing dot; exactly one segment follows.
    OneSegment(String),
    /// The prefix with its closing dot; at least one segment follows.
    Rest(String),
    /// One with a star before its last segment, as it is written.
    Starred(String),
}

/// Where a pattern has its stars: how many segments there are, which are stars, and whether more follow.
///
/// For a type and a shape there is one pattern that can match. An index of the shapes in use finds all that match a
/// type by a look for each.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    segments: usize,
    /// Bit n: segment n is a star.
    stars: u8,
    rest: bool,
}

const _: () = assert!(limits::PATTERN_SEGMENTS <= u8::BITS as usize);

/// Why a text is not a pattern.
#[derive(Debug, thiserror::Error)]
#[error(
    "not an event type pattern; use a type such as user.created, or stars for whole segments between dots: user.*, \
     *.created, user.*.done, user.** for all that begins so, or * alone for everything; a pattern with a star before its \
     last segment has at most {} segments",
    limits::PATTERN_SEGMENTS
)]
pub struct InvalidPattern;

const ONE: &str = "*";
const ALL: &str = "**";

impl Pattern {
    pub fn matches(&self, event_type: &EventType) -> bool {
        let rest_after = |prefix: &String| event_type.as_str().strip_prefix(prefix.as_str());
        match self {
            Self::Everything => true,
            Self::Exact(wanted) => wanted == event_type,
            Self::OneSegment(prefix) => rest_after(prefix).is_some_and(|rest| !rest.contains('.')),
            Self::Rest(prefix) => rest_after(prefix).is_some(),
            Self::Starred(text) => matches_starred(text, event_type.as_str()),
        }
    }

    /// Whether the pattern names what it begins with. Operational events go only to those who name them: neither
    /// "everything" nor a star in the first place does.
    pub fn is_specific(&self) -> bool {
        match self {
            Self::Everything => false,
            Self::Exact(_) | Self::OneSegment(_) | Self::Rest(_) => true,
            Self::Starred(text) => !text.starts_with(ONE),
        }
    }

    /// Where it has its stars, when that is before its last segment.
    pub fn shape(&self) -> Option<Shape> {
        let Self::Starred(text) = self else { return None };
        let (head, rest) = match text.strip_suffix(ALL).and_then(|head| head.strip_suffix('.')) {
            Some(head) => (head, true),
            None => (text.as_str(), false),
        };
        let (mut segments, mut stars) = (0, 0);
        for segment in head.split('.') {
            stars |= u8::from(segment == ONE).checked_shl(segments)?;
            segments += 1;
        }
        Some(Shape {
            segments: segments as usize,
            stars,
            rest,
        })
    }
}

impl Shape {
    /// The pattern of this shape that matches a type of so many segments.
    pub fn pattern_for(self, event_type: &EventType, segments: usize) -> Option<Pattern> {
        let fits = if self.rest {
            segments > self.segments
        } else {
            segments == self.segments
        };
        if !fits {
            return None;
        }
        let text = event_type.as_str();
        let mut pattern = String::with_capacity(text.len() + ALL.len());
        for (segment, place) in text.split('.').take(self.segments).zip(0..) {
            if place > 0 {
                pattern.push('.');
            }
            pattern.push_str(if self.stars & (1 << place) == 0 {
                segment
            } else {
                ONE
            });
        }
        if self.rest {
            pattern.push('.');
            pattern.push_str(ALL);
        }
        Some(Pattern::Starred(pattern))
    }
}

fn matches_starred(pattern: &str, event_type: &str) -> bool {
    let mut segments = event_type.split('.');
    for wanted in pattern.split('.') {
        match (wanted, segments.next()) {
            (_, None) => return false,
            (ALL, Some(_)) => return true,
            (ONE, Some(_)) => {}
            (wanted, Some(segment)) if wanted == segment => {}
            (_, Some(_)) => return false,
        }
    }
    segments.next().is_none()
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == ONE || text == ALL {
            return Ok(Self::Everything);
        }
        let too_long = text.len() > limits::EVENT_TYPE_BYTES;
        let prefix_of = |stars: &str| {
            let prefix = text.strip_suffix(stars)?;
            let segments = prefix.strip_suffix('.')?;
            segments.split('.').all(is_segment).then(|| prefix.to_owned())
        };
        if too_long {
            return Err(InvalidPattern);
        }
        if let Some(prefix) = prefix_of(ALL) {
            return Ok(Self::Rest(prefix));
        }
        if let Some(prefix) = prefix_of(ONE) {
            return Ok(Self::OneSegment(prefix));
        }
        if text.contains(ONE) {
            return starred(text);
        }
        EventType::try_from(text)
            .map(Self::Exact)
            .map_err(|_| InvalidPattern)
    }
}

/// Reads one with a star before its last segment.
fn starred(text: String) -> Result<Pattern, InvalidPattern> {
    let all_but_rest = text.strip_suffix(ALL).and_then(|head| head.strip_suffix('.'));
    let head = all_but_rest.unwrap_or(&text);
    let fits = |segment: &str| segment == ONE || is_segment(segment);
    if !head.split('.').all(fits) || head.split('.').count() > limits::PATTERN_SEGMENTS {
        return Err(InvalidPattern);
    }
    Ok(Pattern::Starred(text))
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
            Self::Starred(text) => f.write_str(text),
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
    fn a_star_stands_for_one_segment_anywhere() {
        assert!(matches("*.created", "user.created") && matches("*.created", "orders/x y.created"));
        assert!(!matches("*.created", "created") && !matches("*.created", "a.user.created"));
        assert!(matches("user.*.done", "user.import.done") && !matches("user.*.done", "user.done"));
        assert!(!matches("user.*.done", "user.a.b.done") && !matches("user.*.done", "user.import.done.x"));
        assert!(matches("*.*", "a.b") && !matches("*.*", "a") && !matches("*.*", "a.b.c"));
        assert!(matches("*.b.**", "a.b.c") && matches("*.b.**", "a.b.c.d") && !matches("*.b.**", "a.b"));
        assert!(matches("*.**", "a.b.c") && !matches("*.**", "a"));
        assert!(matches("orders/create", "orders/create") && !matches("orders/create", "orders.create"));
        assert!(matches("urn:x.*", "urn:x.y"));
    }

    #[test]
    fn stars_stand_for_whole_segments_and_two_only_at_the_end() {
        for bad in [
            "",
            "a..b",
            "a*",
            "*a.b",
            "orders/*",
            "a.b*.c",
            "a.***",
            ".*",
            "*.",
            "a.",
            "user.* ",
            " *.a",
            "**.*",
            "**.a",
            "a.**.b",
            "*.b.c.d.e.f.g.h.i",
            "*.b.c.d.e.f.g.h.i.**",
        ] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
        for long in ["*.b.c.d.e.f.g.h", "*.*.*.*.*.*.*.*.**", "a.b.c.d.e.f.g.h.i.*"] {
            assert!(long.parse::<Pattern>().is_ok(), "{long}");
        }
    }

    #[test]
    fn only_what_names_its_beginning_is_specific() {
        let specific = |text: &str| text.parse::<Pattern>().unwrap().is_specific();
        for named in ["endpoint.disabled", "endpoint.*", "endpoint.**", "endpoint.*.x"] {
            assert!(specific(named), "{named}");
        }
        for unnamed in ["*", "**", "*.disabled", "*.*", "*.**"] {
            assert!(!specific(unnamed), "{unnamed}");
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
        fn a_pattern_reads_back_what_it_writes(text in "([a-z_/]{1,4}|\\*)(\\.([a-z: ]{0,2}[a-z_]{1,2}|\\*)){0,3}(\\.\\*{1,2})?") {
            prop_assume!(!text.contains(". "));
            let pattern: Pattern = text.parse().unwrap();
            prop_assert_eq!(pattern.to_string(), text);
        }

        /// A shape gives a type's pattern exactly if that matches the type.
        #[test]
        fn the_pattern_of_a_shape_is_the_one_that_matches(
            pattern in "([ab]|\\*)(\\.([ab]|\\*)){0,3}(\\.\\*{1,2})?", event_type in "[ab](\\.[ab]){0,4}",
        ) {
            let (pattern, event_type): (Pattern, EventType) = (pattern.parse().unwrap(), event_type.parse().unwrap());
            let segments = event_type.as_str().split('.').count();
            if let Some(shape) = pattern.shape() {
                let found = shape.pattern_for(&event_type, segments);
                prop_assert_eq!(found == Some(pattern.clone()), pattern.matches(&event_type));
            }
        }
    }
}
