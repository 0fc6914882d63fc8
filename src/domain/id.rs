//! Identifiers.
//!
//! Every identifier of ours is a prefix, an underscore and a UUIDv7 (RFC 9562) in 26 characters of lowercase
//! Crockford base32, the form that the TypeID specification 0.3 gives: sortable by time, without a dot.
//!
//! An event's id may also be the sender's own. A delivery and an attempt have no random id: theirs says where in
//! the journal they come from, so that no index is needed to find them. The 74 bits that UUIDv7 leaves free hold
//! the log sequence number (50 bits) and the position within that record (24 bits).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

use super::time::Timestamp;

/// A log sequence number: the place of a record in the journal's order. The first is 1.
pub type Lsn = u64;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_LEN: usize = 26;
const LSN_BITS: u32 = 50;
const INDEX_BITS: u32 = 24;

/// Why a text is not an identifier of the expected kind.
#[derive(Debug, thiserror::Error)]
#[error("not an id of this kind; expected {0} and 26 characters of 0-9 and a-z")]
pub struct InvalidId(&'static str);

fn encode(uuid: Uuid) -> String {
    let bits = uuid.as_u128();
    (0..TEXT_LEN)
        .rev()
        .map(|place| ALPHABET[((bits >> (place * 5)) & 31) as usize] as char)
        .collect()
}

fn decode(text: &str) -> Option<Uuid> {
    if text.len() != TEXT_LEN || text.as_bytes()[0] > b'7' {
        return None;
    }
    let mut bits: u128 = 0;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|&letter| letter == byte)?;
        bits = (bits << 5) | digit as u128;
    }
    Some(Uuid::from_u128(bits))
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// A new id; `random` fills what the time leaves free.
            pub fn new(now: Timestamp, random: u128) -> Self {
                let bytes = (random.to_be_bytes()[6..16]).try_into().unwrap_or([0; 10]);
                Self(uuid::Builder::from_unix_timestamp_millis(now.as_millis(), &bytes).into_uuid())
            }

            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix($prefix).and_then(decode).map(Self).ok_or(InvalidId($prefix))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.as_bytes().serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self::from_bytes)
                }
            }
        }
    };
}

uuid_id!(
    /// Names an endpoint: `ep_…`.
    EndpointId, "ep_"
);
uuid_id!(
    /// Names an API key: `key_…`. Not the key itself.
    KeyId, "key_"
);
uuid_id!(
    /// Names an entry of the audit log: `aud_…`.
    AuditId, "aud_"
);
uuid_id!(
    /// The form of an event id that the server gives: `evt_…`.
    GeneratedEventId, "evt_"
);

/// Where a delivery was created: the record's place in the journal, and the delivery's place in that record.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryKey {
    pub lsn: Lsn,
    pub index: u32,
}

impl DeliveryKey {
    pub const MIN: Self = Self { lsn: 0, index: 0 };

    pub const fn new(lsn: Lsn, index: u32) -> Self {
        Self { lsn, index }
    }
}

macro_rules! placed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name {
            pub created_at: Timestamp,
            pub key: DeliveryKey,
        }

        impl $name {
            pub const fn new(created_at: Timestamp, key: DeliveryKey) -> Self {
                Self { created_at, key }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, encode(placed_uuid(self.created_at, self.key)))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let uuid = text.strip_prefix($prefix).and_then(decode).ok_or(InvalidId($prefix))?;
                let (created_at, key) = placed_parts(uuid);
                Ok(Self { created_at, key })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

placed_id!(
    /// Names a delivery: `dlv_…`.
    DeliveryId, "dlv_"
);
placed_id!(
    /// Names an attempt: `att_…`; its key is the place of the record that settled it.
    AttemptId, "att_"
);

fn placed_uuid(created_at: Timestamp, key: DeliveryKey) -> Uuid {
    let free = (u128::from(key.lsn) << INDEX_BITS) | u128::from(key.index);
    let low_bits = 62;
    let rand_a = (free >> low_bits) & 0xfff;
    let rand_b = free & ((1 << low_bits) - 1);
    let millis = u128::from(created_at.as_millis()) & 0xffff_ffff_ffff;
    Uuid::from_u128((millis << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b)
}

fn placed_parts(uuid: Uuid) -> (Timestamp, DeliveryKey) {
    let bits = uuid.as_u128();
    let free = (((bits >> 64) & 0xfff) << 62) | (bits & ((1 << 62) - 1));
    let lsn = (free >> INDEX_BITS) & ((1 << LSN_BITS) - 1);
    let index = free & ((1 << INDEX_BITS) - 1);
    (
        Timestamp::from_millis((bits >> 80) as u64),
        DeliveryKey::new(lsn as u64, index as u32),
    )
}

/// An event's id: the sender's own, or `evt_…` when the server gave it.
///
/// 1 to 256 characters of visible ASCII without a dot: it is signed as `{id}.{timestamp}.{body}` and sent as a
/// header, so neither a dot nor white space can be part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventId(String);

/// Why a text is not an event id.
#[derive(Debug, thiserror::Error)]
#[error("not an event id; use 1 to 256 visible ASCII characters without a dot")]
pub struct InvalidEventId;

impl EventId {
    pub const MAX_LEN: usize = 256;

    pub fn generate(now: Timestamp, random: u128) -> Self {
        Self(GeneratedEventId::new(now, random).to_string())
    }

    /// A prefix and bytes in lower-case hexadecimal. The prefix has no dot, and both together at most
    /// [`Self::MAX_LEN`] characters.
    pub(super) fn derived(prefix: &'static str, bytes: &[u8]) -> Self {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
        Self(prefix.to_owned() + &hex.collect::<String>())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EventId {
    type Error = InvalidEventId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        let clean = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
        if fits && clean {
            Ok(Self(text))
        } else {
            Err(InvalidEventId)
        }
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> Self {
        id.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_read_back_what_they_write(millis in 0..253_402_128_000_000u64, random: u128) {
            let id = EndpointId::new(Timestamp::from_millis(millis), random);
            prop_assert_eq!(id.to_string().parse::<EndpointId>().unwrap(), id);
        }

        #[test]
        fn a_delivery_id_says_where_it_was_created(
            millis in 0..253_402_128_000_000u64, lsn in 0..1u64 << 50, index in 0..1u32 << 24,
        ) {
            let id = DeliveryId::new(Timestamp::from_millis(millis), DeliveryKey::new(lsn, index));
            prop_assert_eq!(id.to_string().parse::<DeliveryId>().unwrap(), id);
        }

        #[test]
        fn text_order_is_time_order_then_journal_order(
            a in 0..1u64 << 40, b in 0..1u64 << 40, lsn_a in 1..1u64 << 50, lsn_b in 1..1u64 << 50,
        ) {
            let first = DeliveryId::new(Timestamp::from_millis(a), DeliveryKey::new(lsn_a, 0));
            let second = DeliveryId::new(Timestamp::from_millis(b), DeliveryKey::new(lsn_b, 0));
            prop_assert_eq!((a, lsn_a).cmp(&(b, lsn_b)), first.to_string().cmp(&second.to_string()));
        }
    }

    #[test]
    fn ids_are_version_7_and_of_one_kind() {
        let id = EndpointId::new(Timestamp::from_millis(1_614_265_330_000), 7);
        assert_eq!(Uuid::from_bytes(*id.as_bytes()).get_version_num(), 7);
        let placed = placed_uuid(Timestamp::from_millis(5), DeliveryKey::new(9, 3));
        assert_eq!(placed.get_version_num(), 7);
        assert_eq!(placed.get_variant(), uuid::Variant::RFC4122);
        let text = id.to_string();
        assert!(text.replace("ep_", "key_").parse::<EndpointId>().is_err());
        for bad in [
            "ep_",
            "../../x",
            "%00",
            "ep_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            &text[..28],
            &text.to_uppercase(),
        ] {
            assert!(bad.parse::<EndpointId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_id_has_no_dot_and_no_space() {
        for bad in ["", "a.b", "a b", "é", "a\n", &"x".repeat(257)] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
        assert!("msg_p5jXN8AQM9LWM0D4loKWxJek".parse::<EventId>().is_ok());
    }
}
