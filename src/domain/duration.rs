//! Lengths of time as people write them: `5s`, `10m`, `2h`, `3d`, `250ms`, `1h30m`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A length of time in whole milliseconds, written with units, largest first.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

/// Why a text is not a length of time.
#[derive(Debug, thiserror::Error)]
#[error("not a duration; write a number and a unit of ms, s, m, h or d, such as 5s, 10m or 1h30m")]
pub struct InvalidSpan;

const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

impl Span {
    pub const ZERO: Self = Self(0);

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1000)
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, millis) in UNITS {
            let count = rest / millis;
            rest %= millis;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text;
        let mut total: u64 = 0;
        if rest.is_empty() {
            return Err(InvalidSpan);
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let letters = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
            let count: u64 = rest[..digits].parse().map_err(|_| InvalidSpan)?;
            let name = &rest[digits..digits + letters];
            let (_, millis) = UNITS.iter().find(|(unit, _)| *unit == name).ok_or(InvalidSpan)?;
            let part = count.checked_mul(*millis).ok_or(InvalidSpan)?;
            total = total.checked_add(part).ok_or(InvalidSpan)?;
            rest = &rest[digits + letters..];
        }
        Ok(Self(total))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(D::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_span_reads_back_what_it_writes(millis in 0..u64::MAX / 2) {
            let span = Span::from_millis(millis);
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
    }

    #[test]
    fn spans_without_a_known_unit_are_refused() {
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "1w",
            "5s5",
            "99999999999999999999d",
            "1.5s",
            "é",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!("1h30m".parse::<Span>().unwrap(), Span::from_secs(5400));
    }
}
