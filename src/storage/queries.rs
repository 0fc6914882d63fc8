//! What lists are asked for: filters, pages, and cursors.

use std::{collections::BTreeSet, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::domain::{
    delivery::StageKind,
    event::{EventType, Label},
    id::{DeliveryKey, EndpointId, Lsn},
    outcome::Class,
    subscription::Pattern,
    time::Timestamp,
};

/// Which events are wanted. Every member that is given narrows the list.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    pub event_type: Option<Pattern>,
    pub tenant: Option<Label>,
    /// Names and values; an event has to have all of them.
    pub attributes: Vec<(String, String)>,
    pub idempotency_key: Option<String>,
    /// When they were accepted; both ends belong to it.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl EventFilter {
    pub fn is_type(&self, event_type: &EventType) -> bool {
        let wanted = self.event_type.as_ref();
        wanted.is_none_or(|wanted| wanted.matches(event_type))
    }
}

/// Some endpoints, by what is known of them. One that is deleted, or whose configuration is damaged, is known to nobody.
#[derive(Clone, Debug, Default)]
pub enum Endpoints {
    #[default]
    All,
    Only(BTreeSet<EndpointId>),
    Except(BTreeSet<EndpointId>),
}

impl Endpoints {
    pub fn has(&self, endpoint: EndpointId) -> bool {
        match self {
            Self::All => true,
            Self::Only(some) => some.contains(&endpoint),
            Self::Except(others) => !others.contains(&endpoint),
        }
    }
}

/// Which deliveries are wanted.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    pub event: Option<Lsn>,
    pub endpoints: Endpoints,
    pub stage: Option<StageKind>,
    /// Only these.
    pub among: Option<BTreeSet<DeliveryKey>>,
    /// When they were created.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Which attempts are wanted.
#[derive(Clone, Debug, Default)]
pub struct AttemptFilter {
    pub event: Option<Lsn>,
    pub delivery: Option<DeliveryKey>,
    pub endpoints: Endpoints,
    pub outcome: Option<Class>,
    pub event_type: Option<Pattern>,
    pub tenant: Option<Label>,
    pub status: Option<u16>,
    /// When they were begun.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Which list a cursor is of. Ordinals are persisted in cursors: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum List {
    Events,
    Deliveries,
    Attempts,
}

impl List {
    const fn ordinal(self) -> u8 {
        match self {
            Self::Events => 1,
            Self::Deliveries => 2,
            Self::Attempts => 3,
        }
    }

    const fn from_ordinal(ordinal: u8) -> Option<Self> {
        match ordinal {
            1 => Some(Self::Events),
            2 => Some(Self::Deliveries),
            3 => Some(Self::Attempts),
            _ => None,
        }
    }
}

/// Where a page begins: beyond a position, onward or back. Its text says nothing to those who pass it on.
///
/// | bytes | |
/// |---|---|
/// | 1 | version: 1 |
/// | 1 | the list |
/// | 1 | 0: onward, 1: back |
/// | 8 | sequence number, big endian |
/// | 4 | index, big endian |
/// | 4 | CRC32C of what stands before, big endian |
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub list: List,
    pub back: bool,
    /// The page does not have what stands here.
    pub beyond: DeliveryKey,
}

/// A text that no list answered with.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not one that this list answered with; leave it out to begin anew")]
pub struct InvalidCursor;

const CURSOR_VERSION: u8 = 1;
const CURSOR_BYTES: usize = 19;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![CURSOR_VERSION, self.list.ordinal(), u8::from(self.back)];
        bytes.extend(self.beyond.lsn.to_be_bytes());
        bytes.extend(self.beyond.index.to_be_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let bytes: [u8; CURSOR_BYTES] = bytes.try_into().map_err(|_| InvalidCursor)?;
        let (said, sum) = bytes.split_at(CURSOR_BYTES - 4);
        if sum != crc32c::crc32c(said).to_be_bytes() {
            return Err(InvalidCursor);
        }
        let &[CURSOR_VERSION, list, back @ (0 | 1), ref place @ ..] = said else {
            return Err(InvalidCursor);
        };
        let (lsn, index) = place.split_first_chunk().ok_or(InvalidCursor)?;
        let index: [u8; 4] = index.try_into().map_err(|_| InvalidCursor)?;
        Ok(Self {
            list: List::from_ordinal(list).ok_or(InvalidCursor)?,
            back: back == 1,
            beyond: DeliveryKey::new(u64::from_be_bytes(*lsn), u32::from_be_bytes(index)),
        })
    }
}

/// The position before or after one, in the order of the journal.
pub fn next_to(at: DeliveryKey, ascending: bool) -> Option<DeliveryKey> {
    let DeliveryKey { lsn, index } = at;
    if ascending {
        match index.checked_add(1) {
            Some(index) => Some(DeliveryKey::new(lsn, index)),
            None => Some(DeliveryKey::new(lsn.checked_add(1)?, 0)),
        }
    } else {
        match index.checked_sub(1) {
            Some(index) => Some(DeliveryKey::new(lsn, index)),
            None => Some(DeliveryKey::new(lsn.checked_sub(1)?, u32::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(
            lsn in any::<u64>(), index in any::<u32>(), back in any::<bool>(), list in 1..=3_u8,
        ) {
            let cursor = Cursor {
                list: List::from_ordinal(list).unwrap(),
                back,
                beyond: DeliveryKey::new(lsn, index),
            };
            let text = cursor.to_string();
            prop_assert_eq!(text.parse(), Ok(cursor));
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        }

        #[test]
        fn a_cursor_that_was_changed_is_refused(place in 0..26_usize, byte in any::<u8>()) {
            let cursor = Cursor { list: List::Events, back: false, beyond: DeliveryKey::new(77, 3) };
            let mut text = cursor.to_string().into_bytes();
            prop_assume!(text[place] != byte);
            text[place] = byte;
            let text = String::from_utf8_lossy(&text).into_owned();
            prop_assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor));
        }

        #[test]
        fn positions_follow_each_other(lsn in 1..u64::MAX, index in any::<u32>()) {
            let at = DeliveryKey::new(lsn, index);
            let next = next_to(at, true).unwrap();
            prop_assert!(next > at);
            prop_assert_eq!(next_to(next, false), Some(at));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "x", "2000000000000001", "AQEA", "%%%%"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
