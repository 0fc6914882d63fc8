//! What the report of `check` says of a record.

use serde_json::Value;

/// Whether the report names the event, or the number of its record.
pub fn names(report: &Value, lsn: u64, id: &str) -> bool {
    let journal = &report["journal"];
    let unfinished = journal.get("unfinished").into_iter();
    let ranges = journal["damaged"].as_array().unwrap().iter().chain(unfinished);
    let mut ranges = ranges.filter(|range| {
        let within = range["first_lsn"].as_u64() <= Some(lsn) && Some(lsn) <= range["last_lsn"].as_u64();
        let records = range["records"].as_array().unwrap();
        (range["first_lsn"].is_u64() && within) || records.iter().any(|record| record["event_id"] == id)
    });
    // Of an end that is gone nothing tells when the store is damaged too.
    ranges.next().is_some() || !journal["unusable"].as_array().unwrap().is_empty() || beyond(journal, lsn)
}

/// Whether the record lies behind all that the journal holds.
fn beyond(journal: &Value, lsn: u64) -> bool {
    let last = journal["last_lsn"].as_u64().unwrap_or_default();
    lsn > last
}
