//! Amounts of bytes as people write them: `256KiB`, `64MiB`, `4096`.

use std::{fmt, str::FromStr};

use super::raw::{Raw, Setting, Wrong};

/// An amount of bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// Why a text is not an amount of bytes.
#[derive(Debug, thiserror::Error)]
#[error("not a size; write a whole number and a unit of B, KiB, MiB, GiB or TiB, such as 64MiB")]
pub struct InvalidSize;

const UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl ByteSize {
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// The amount as a length in memory; what does not fit becomes the greatest that does.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS
            .iter()
            .find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        let (unit, bytes) = whole.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = text[..digits].parse().map_err(|_| InvalidSize)?;
        let unit = &text[digits..];
        if unit.is_empty() {
            return Ok(Self(count));
        }
        let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(InvalidSize)?;
        count.checked_mul(*bytes).map(Self).ok_or(InvalidSize)
    }
}

impl Setting for ByteSize {
    const FORM: &'static str =
        "a size such as \"64MiB\" (units B, KiB, MiB, GiB, TiB), or a whole number of bytes";

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Integer(bytes) => u64::try_from(*bytes).map(Self).map_err(|_| Wrong::Form),
            Raw::Text(text) | Raw::Untyped(text) => text.parse().map_err(|_| Wrong::Form),
            _ => Err(Wrong::Form),
        }
    }

    fn write(&self) -> String {
        format!("\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_size_reads_back_what_it_writes(bytes: u64) {
            let size = ByteSize::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
    }

    #[test]
    fn sizes_are_written_in_the_largest_whole_unit() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (262_144, "256KiB"),
            (1 << 26, "64MiB"),
            (1 << 40, "1TiB"),
        ] {
            assert_eq!(ByteSize::from_bytes(bytes).to_string(), text);
        }
        assert_eq!("4096".parse::<ByteSize>().unwrap(), ByteSize::from_bytes(4096));
    }

    #[test]
    fn sizes_without_a_known_unit_are_refused() {
        for text in [
            "",
            "B",
            "-1",
            "1.5MiB",
            "1 MiB",
            "64MB",
            "64mib",
            "99999999999TiB",
            "é",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
