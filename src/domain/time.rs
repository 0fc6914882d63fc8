//! Points in time: milliseconds since the Unix epoch, written as RFC 3339 UTC.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A wall-clock instant in whole milliseconds since 1970-01-01T00:00:00Z.
///
/// Text form: RFC 3339 in UTC with milliseconds, `2026-11-21T05:30:00.000Z`. Binary form: the number.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// Why a text is not a timestamp.
#[derive(Debug, thiserror::Error)]
#[error("not an RFC 3339 time between 1970 and 9999, such as 2026-11-21T05:30:00Z")]
pub struct InvalidTimestamp;

/// 9999-12-30T00:00:00Z; the last days of that year have no form in every zone.
const LATEST_MILLIS: u64 = 253_402_128_000_000;

impl Timestamp {
    pub const EPOCH: Self = Self(0);

    /// An instant from milliseconds since the epoch; what lies past the year 9999 becomes its last day.
    pub const fn from_millis(millis: u64) -> Self {
        Self(if millis > LATEST_MILLIS {
            LATEST_MILLIS
        } else {
            millis
        })
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This instant and `by` later, saturating.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self::from_millis(
            self.0
                .saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// This instant and `by` earlier, saturating at the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).map_err(|_| fmt::Error)?;
        let instant = jiff::Timestamp::from_millisecond(millis).map_err(|_| fmt::Error)?;
        write!(f, "{instant:.3}")
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| InvalidTimestamp)?;
        let millis = u64::try_from(instant.as_millisecond()).map_err(|_| InvalidTimestamp)?;
        if millis > LATEST_MILLIS {
            return Err(InvalidTimestamp);
        }
        Ok(Self(millis))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(D::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self::from_millis)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_back_what_it_writes() {
        for millis in [0, 1, 1_614_265_330_000, 253_402_128_000_000] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
        }
        assert_eq!(
            Timestamp::from_millis(1_614_265_330_120).to_string(),
            "2021-02-25T15:02:10.120Z"
        );
    }

    #[test]
    fn other_zones_become_utc_and_nonsense_is_refused() {
        let time: Timestamp = "2021-02-25T16:02:10+01:00".parse().unwrap();
        assert_eq!(time.to_string(), "2021-02-25T15:02:10.000Z");
        for text in [
            "",
            "yesterday",
            "-000001-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2021-02-30T00:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
