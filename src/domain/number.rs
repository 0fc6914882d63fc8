//! Whole numbers of documents, each refused with its range.
//!
//! A type alone would say "expected u16", which is neither the rule nor a word of the reader's.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserializer,
    de::{self, Visitor},
};

/// Reads a whole number from `LEAST` to `MOST`; for `deserialize_with`.
///
/// # Errors
/// Says the range.
pub fn whole<'de, const LEAST: u64, const MOST: u64, D: Deserializer<'de>, T: TryFrom<u64>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_u64(Within::<LEAST, MOST, T>(PhantomData))
}

/// As [`whole`], for a member that may be null. Give it `default` as well, for when it is left out.
///
/// # Errors
/// Says the range.
pub fn whole_or_none<'de, const LEAST: u64, const MOST: u64, D: Deserializer<'de>, T: TryFrom<u64>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_option(OrNone::<LEAST, MOST, T>(PhantomData))
}

struct Within<const LEAST: u64, const MOST: u64, T>(PhantomData<T>);

impl<const LEAST: u64, const MOST: u64, T: TryFrom<u64>> Visitor<'_> for Within<LEAST, MOST, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {LEAST} to {MOST}")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        let fits = (LEAST..=MOST).contains(&number);
        let read = fits.then(|| T::try_from(number).ok()).flatten();
        read.ok_or_else(|| out_of_range(LEAST, MOST))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(out_of_range(LEAST, MOST)),
        }
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<T, E> {
        Err(out_of_range(LEAST, MOST))
    }
}

fn out_of_range<E: de::Error>(least: u64, most: u64) -> E {
    E::custom(format_args!("use a whole number; the range is {least} to {most}"))
}

struct OrNone<const LEAST: u64, const MOST: u64, T>(PhantomData<T>);

impl<'de, const LEAST: u64, const MOST: u64, T: TryFrom<u64>> Visitor<'de> for OrNone<LEAST, MOST, T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {LEAST} to {MOST}")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        whole::<LEAST, MOST, D, T>(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Document {
        #[serde(deserialize_with = "whole::<1, 1000, _, _>")]
        count: u16,
        #[serde(default, deserialize_with = "whole_or_none::<0, 10, _, _>")]
        more: Option<u32>,
    }

    #[test]
    fn a_number_is_refused_with_its_range() {
        let read = |text: &str| serde_json::from_str::<Document>(text).map_err(|error| error.to_string());
        assert_eq!(
            read(r#"{"count":1000}"#),
            Ok(Document {
                count: 1000,
                more: None
            })
        );
        assert_eq!(
            read(r#"{"count":1,"more":null}"#),
            Ok(Document { count: 1, more: None })
        );
        assert_eq!(
            read(r#"{"count":1,"more":10}"#),
            Ok(Document {
                count: 1,
                more: Some(10)
            })
        );
        for count in [
            "0",
            "-1",
            "1001",
            "70000",
            "1e3",
            "1.5",
            "18446744073709551616",
            "\"5\"",
            "null",
        ] {
            let error = read(&format!(r#"{{"count":{count}}}"#)).unwrap_err();
            assert!(
                error.contains("1 to 1000") && !error.contains("u16"),
                "{count}: {error}"
            );
        }
        let error = read(r#"{"count":1,"more":11}"#).unwrap_err();
        assert!(error.contains("0 to 10"), "{error}");
    }
}
