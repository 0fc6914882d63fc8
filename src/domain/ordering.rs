//! In which order one endpoint's deliveries go out, beyond earliest due first.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, value::MapAccessDeserializer},
};
use sha2::{Digest, Sha256};

use super::event::Label;

/// What keeps its order.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing: several at once, earliest due first.
    #[default]
    None,
    /// Events with the same `ordering_key`: one of them in flight at a time.
    Key,
    /// Everything: one in flight at a time.
    Strict,
}

impl Mode {
    pub const NAMES: [&str; 3] = ["none", "key", "strict"];
}

/// What happens to those behind a delivery that waits for its retry.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// They wait too, until it is delivered or has ended.
    #[default]
    Block,
    /// They pass it.
    Skip,
}

impl OnFailure {
    pub const NAMES: [&str; 2] = ["block", "skip"];
}

/// An endpoint's `ordering`: a mode alone, or an object. It is kept in the form it was given in.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Ordering {
    Mode(Mode),
    Full(Full),
}

/// The long form of [`Ordering`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Full {
    pub mode: Mode,
    #[serde(default)]
    pub on_failure: OnFailure,
}

impl Default for Ordering {
    fn default() -> Self {
        Self::Mode(Mode::None)
    }
}

impl Ordering {
    pub const fn mode(self) -> Mode {
        match self {
            Self::Mode(mode) | Self::Full(Full { mode, .. }) => mode,
        }
    }

    pub const fn on_failure(self) -> OnFailure {
        match self {
            Self::Mode(_) => OnFailure::Block,
            Self::Full(Full { on_failure, .. }) => on_failure,
        }
    }

    /// Whether a delivery that waits for its retry holds up those behind it.
    pub const fn blocks(self) -> bool {
        matches!(self.on_failure(), OnFailure::Block)
    }

    /// Whether anything keeps its order.
    pub const fn is_some(self) -> bool {
        !matches!(self.mode(), Mode::None)
    }

    /// The strand of a delivery whose event has this key's strand; `None` when it is in order with nothing.
    pub const fn strand(self, key: Option<Strand>) -> Option<Strand> {
        match self.mode() {
            Mode::None => None,
            Mode::Key => key,
            Mode::Strict => Some(Strand::WHOLE),
        }
    }
}

impl<'de> Deserialize<'de> for Ordering {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> de::Visitor<'de> for Form {
            type Value = Ordering;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"none\", \"key\", \"strict\", or an object with mode and on_failure")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ordering, E> {
                Mode::deserialize(de::value::StrDeserializer::new(text)).map(Ordering::Mode)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Ordering, A::Error> {
                Full::deserialize(MapAccessDeserializer::new(map)).map(Ordering::Full)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

/// Deliveries of one endpoint that keep their order among each other. Persisted: how it is made from a key must not
/// change.
///
/// Two keys may fall on one strand, by a chance of one in 2^64; then they wait for each other, and nothing is lost.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Strand(u64);

impl Strand {
    /// All of an endpoint's deliveries.
    pub const WHOLE: Self = Self(0);

    /// The strand of an ordering key: the head of its SHA-256.
    pub fn of_key(key: &Label) -> Self {
        let digest = Sha256::digest(key.as_str().as_bytes());
        Self(
            digest
                .iter()
                .take(8)
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(document: Value) -> Result<Ordering, String> {
        serde_json::from_value(document).map_err(|error| error.to_string())
    }

    #[test]
    fn both_forms_are_read_and_kept_as_they_came() {
        let forms = [
            (json!("none"), Mode::None, OnFailure::Block),
            (json!("key"), Mode::Key, OnFailure::Block),
            (json!("strict"), Mode::Strict, OnFailure::Block),
            (
                json!({"mode": "strict", "on_failure": "block"}),
                Mode::Strict,
                OnFailure::Block,
            ),
            (
                json!({"mode": "key", "on_failure": "skip"}),
                Mode::Key,
                OnFailure::Skip,
            ),
        ];
        for (document, mode, on_failure) in forms {
            let ordering = read(document.clone()).unwrap();
            assert_eq!((ordering.mode(), ordering.on_failure()), (mode, on_failure));
            assert_eq!(serde_json::to_value(ordering).unwrap(), document);
        }
        assert_eq!(
            read(json!({"mode": "key"})).unwrap().on_failure(),
            OnFailure::Block
        );
    }

    #[test]
    fn what_is_neither_is_refused_with_what_would_do() {
        for (document, says) in [
            (
                json!("fifo"),
                "unknown variant `fifo`, expected one of `none`, `key`, `strict`",
            ),
            (json!(1), "\"strict\""),
            (json!({"on_failure": "skip"}), "missing field `mode`"),
            (json!({"mode": "key", "on_failure": "stop"}), "`block` or `skip`"),
            (
                json!({"mode": "key", "on_error": "skip"}),
                "unknown field `on_error`",
            ),
        ] {
            let refused = read(document.clone()).unwrap_err();
            assert!(refused.contains(says), "{document}: {refused}");
        }
    }

    #[test]
    fn a_keys_strand_is_what_it_was_when_it_was_first_written_down() {
        let strand = Strand::of_key(&"order-7".parse().unwrap());
        assert_eq!(strand, Strand(PINNED));
        assert_ne!(strand, Strand::of_key(&"order-8".parse().unwrap()));
    }

    /// `printf order-7 | sha256sum`, the first eight bytes.
    const PINNED: u64 = 0xdf8c_f802_27ec_3237;
}
