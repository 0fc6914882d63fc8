//! Points in time: milliseconds since the Unix epoch, written as RFC 3339 UTC.

use std::{fmt, str::FromStr, time::Duration};

use jiff::{SignedDuration, civil::DateTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A wall-clock instant in whole milliseconds since 1970-01-01T00:00:00Z.
///
/// Text form: RFC 3339 in UTC with milliseconds, `2026-11-21T05:30:00.000Z`. Binary form: the number.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// Why a text is not a timestamp.
#[derive(Debug, thiserror::Error)]
#[error(
    "not an RFC 3339 time between 1970 and 9999 with an offset of at most 23:59, such as 2026-11-21T05:30:00Z or \
     2026-11-21T06:30:00+01:00"
)]
pub struct InvalidTimestamp;

/// 9999-12-31T23:59:59.999Z, which people write for "never".
const LATEST_MILLIS: u64 = 253_402_300_799_999;

/// The first hour of an offset that RFC 3339 does not have.
const HOURS: u64 = 24;

/// The calendar's beginning, from which [`Timestamp`] counts.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

impl Timestamp {
    pub const EPOCH: Self = Self(0);

    /// An instant from milliseconds since the epoch; what lies past the year 9999 becomes its last millisecond.
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
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(instant) => write!(f, "{instant:.3}"),
            // jiff's instants end two days before the year does, so that each has a form in every zone.
            Err(_) => {
                let date = EPOCH.checked_add(SignedDuration::from_millis(millis));
                write!(f, "{:.3}Z", date.map_err(|_| fmt::Error)?)
            }
        }
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (date, offset) = offset_of(text).ok_or(InvalidTimestamp)?;
        let millis = match text.parse::<jiff::Timestamp>() {
            Ok(instant) => instant.as_millisecond(),
            Err(_) => late(date, offset).ok_or(InvalidTimestamp)?,
        };
        match u64::try_from(millis) {
            Ok(millis) if millis <= LATEST_MILLIS => Ok(Self(millis)),
            _ => Err(InvalidTimestamp),
        }
    }
}

/// A time's date and clock, and its offset in minutes; nothing when RFC 3339 does not have such an offset. jiff takes
/// some beyond a day.
fn offset_of(text: &str) -> Option<(&str, i64)> {
    if let Some(date) = text.strip_suffix(['Z', 'z']) {
        return Some((date, 0));
    }
    // A sign before the clock is the date's.
    let clock = text.find(['T', 't', ' '])?;
    let sign = clock + text.get(clock..)?.find(['+', '-'])?;
    let (date, offset) = text.split_at_checked(sign)?;
    let (hours, minutes) = match offset.get(1..)?.split_once(':') {
        Some((hours, minutes)) => (hours, minutes),
        None => offset.get(1..)?.split_at_checked(2)?,
    };
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true if digits.is_empty() => Some(0),
        true => digits.parse::<u64>().ok(),
        false => None,
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours >= HOURS || minutes >= 60 {
        return None;
    }
    let minutes = i64::try_from(hours * 60 + minutes).ok()?;
    Some((
        date,
        if offset.starts_with('-') {
            -minutes
        } else {
            minutes
        },
    ))
}

/// Milliseconds since the epoch of a time in the last two days of the year 9999, which jiff's instants do not reach.
fn late(date: &str, offset: i64) -> Option<i64> {
    let date: DateTime = date.parse().ok()?;
    if date.year() != 9999 {
        return None;
    }
    let since = date.duration_since(EPOCH).as_millis();
    i64::try_from(since).ok()?.checked_sub(offset * 60_000)
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
        for millis in [
            0,
            1,
            1_614_265_330_000,
            253_402_128_000_000,
            LATEST_MILLIS - 1,
            LATEST_MILLIS,
        ] {
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
            "2021-02-25T16:02:10+24:00",
            "2021-02-25T16:02:10-24:00",
            "2021-02-25T16:02:10+01:60",
            "2021-02-25T16:02:10+2400",
            "2021-02-25T16:02:10 00:00",
            "2021-02-25T16:02:10",
            "2021-02-25",
            "9999-12-31T23:59:59-00:01",
            "9999-12-32T00:00:00Z",
            "10000-01-01T00:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    /// People write the year's last second for "never".
    #[test]
    fn the_last_days_of_the_last_year_are_times_like_any_other() {
        for (text, shown) in [
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999Z"),
            ("9999-12-31T23:59:59+01:00", "9999-12-31T22:59:59.000Z"),
            ("9999-12-31t20:00:00-03:30", "9999-12-31T23:30:00.000Z"),
            ("9999-12-30T22:00:00Z", "9999-12-30T22:00:00.000Z"),
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.to_string(), shown, "{text}");
        }
        let last = Timestamp::from_millis(u64::MAX);
        assert_eq!(last.to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(last.plus(Duration::from_secs(1)), last);
    }

    #[test]
    fn offsets_up_to_a_day_are_read() {
        for text in [
            "2021-02-25T15:02:10+00:00",
            "2021-02-25T15:02:10-00:00",
            "2021-02-25T15:02:10z",
            "2021-02-25 15:02:10Z",
            "2021-02-25T20:47:10+05:45",
            "2021-02-26T14:01:10+22:59",
            "2021-02-26T15:01:10+23:59",
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.to_string(), "2021-02-25T15:02:10.000Z", "{text}");
        }
    }
}
