//! Points in time in documents.

use serde_json::Value;

/// A point in time as documents show it, in milliseconds since 1970.
pub fn millis(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("not a time: {time}"));
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// A point in time so many milliseconds from now, as documents take it.
pub fn in_millis(from_now: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_millis(from_now)).to_string()
}
