//! Marks: the properties by which lists of events are filtered, as numbers.
//!
//! A mark is the hash of what a filter names: an event type, a tenant, an attribute with its value, an idempotency key. The
//! index has a key of 17 bytes for each mark of each event, however long the text is. Two texts may have one mark, also on
//! purpose, since the hash has no secret: whoever reads the index compares the text afterwards.
//!
//! Marks are persisted: the hash and the ordinals below never change.

use crate::domain::{
    event::{EventType, Label},
    record::EventAccepted,
};

const TYPE: u8 = 0;
const TENANT: u8 = 1;
const ATTRIBUTE: u8 = 2;
const IDEMPOTENCY_KEY: u8 = 3;

pub fn of_type(event_type: &EventType) -> u64 {
    hash(TYPE, &[event_type.as_str()])
}

pub fn of_tenant(tenant: &Label) -> u64 {
    hash(TENANT, &[tenant.as_str()])
}

pub fn of_attribute(name: &str, value: &str) -> u64 {
    hash(ATTRIBUTE, &[name, value])
}

pub fn of_idempotency_key(text: &str) -> u64 {
    hash(IDEMPOTENCY_KEY, &[text])
}

/// The marks that the row of an event keeps, so that their index can be taken back without its record.
pub(super) fn kept(event: &EventAccepted) -> Vec<u64> {
    let attributes = event.attributes.iter();
    let mut marks: Vec<u64> = attributes
        .map(|(name, value)| of_attribute(name, value))
        .collect();
    marks.extend(event.idempotency_key.as_deref().map(of_idempotency_key));
    marks.sort_unstable();
    marks.dedup();
    marks
}

/// FNV-1a of 64 bits, and MurmurHash3's final mix, since FNV leaves the first bits of short texts alike.
fn hash(kind: u8, texts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    add(kind);
    for text in texts {
        text.bytes().for_each(&mut add);
        // Stands in no text of UTF-8.
        add(0xff);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_what_they_were() {
        assert_eq!(of_type(&"user.created".parse().unwrap()), 0x8d6b_7424_79a2_49f4);
        assert_eq!(of_attribute("order", "17"), 0x8569_a3dc_7364_95e0);
    }

    #[test]
    fn what_is_named_differs_from_what_looks_like_it() {
        let tenant: Label = "user.created".parse().unwrap();
        assert_ne!(of_type(&"user.created".parse().unwrap()), of_tenant(&tenant));
        assert_ne!(of_attribute("a", "bc"), of_attribute("ab", "c"));
        assert_ne!(of_attribute("a", "b"), of_idempotency_key("ab"));
    }
}
