//! Every metric: its name, kind, unit and help, and the labels it has.
//!
//! Names end in their unit (`_seconds`, `_bytes`) or, for counters, `_total`.

use metrics::Unit;

/// What a metric is.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Copy, Clone, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub help: &'static str,
}

/// The state that a delivery, or an endpoint, is in.
pub const STATE: &str = "state";
/// The class of an attempt's outcome.
pub const OUTCOME: &str = "outcome";
/// The stated reason of an outcome, a refusal or a disabling.
pub const REASON: &str = "reason";

/// What is the matter.
pub const TROUBLE_KIND: &str = "trouble";

/// Every trouble that supervision finds.
pub const TROUBLES: [&str; 5] = [
    "scheduler_stuck",
    "store_stuck",
    "journal_stuck",
    "disk_full",
    "journal_unreadable",
];
/// Deliveries end in these states.
pub const SETTLED_STATES: [&str; 4] = ["delivered", "failed", "expired", "cancelled"];
/// Endpoints are in these states.
pub const ENDPOINT_STATES: [&str; 4] = ["active", "paused", "disabled", "unverified"];

/// Attempts: from a receiver in the same rack to the longest limit, with bounds at the default limits (5, 15
/// s).
const ATTEMPT_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0, 600.0,
];
/// Lag: what should be milliseconds, up to what an outage makes of it.
const LAG_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0,
    86_400.0,
];

macro_rules! metrics_table {
    ($($id:ident = $name:literal, $kind:expr, $unit:ident, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $id: Metric = Metric { name: $name, kind: $kind, unit: Unit::$unit, help: $help };
        )+

        /// Every metric there is.
        pub const ALL: &[Metric] = &[$($id),+];
    };
}

metrics_table! {
    EVENTS_ACCEPTED = "posthaste_events_accepted_total", Kind::Counter, Count,
        "Events that were accepted and are durable.";
    EVENTS_DUPLICATE = "posthaste_events_duplicate_total", Kind::Counter, Count,
        "Events that were answered with the result of an earlier one.";
    EVENTS_DEPRECATED = "posthaste_events_deprecated_total", Kind::Counter, Count,
        "Accepted events whose type is declared as deprecated.";
    EVENTS_REJECTED = "posthaste_events_rejected_total", Kind::Counter, Count,
        "Events that were refused, by reason.";
    CONDITIONS_FAILED = "posthaste_conditions_failed_total", Kind::Counter, Count,
        "Conditions that said neither yes nor no of an event, which counts as no match, by reason.";
    DELIVERIES_SETTLED = "posthaste_deliveries_settled_total", Kind::Counter, Count,
        "Deliveries that reached a final state, by state.";
    ATTEMPTS = "posthaste_attempts_total", Kind::Counter, Count,
        "Attempts that were settled, by outcome and reason.";
    ATTEMPT_DURATION = "posthaste_attempt_duration_seconds", Kind::Histogram(ATTEMPT_BUCKETS), Seconds,
        "Time from looking up the name to the end of the answer.";
    DELIVERY_LAG = "posthaste_delivery_lag_seconds", Kind::Histogram(LAG_BUCKETS), Seconds,
        "Time from accepting an event, or from its deliver_at, to a delivery's first attempt.";
    DELIVERIES_IN_FLIGHT = "posthaste_deliveries_in_flight", Kind::Gauge, Count,
        "Attempts under way.";
    ENDPOINTS = "posthaste_endpoints", Kind::Gauge, Count,
        "Endpoints, by state.";
    ENDPOINTS_DISABLED = "posthaste_endpoints_disabled_total", Kind::Counter, Count,
        "Endpoints that were disabled, by reason.";
    JOURNAL_GROUPS = "posthaste_journal_groups_total", Kind::Counter, Count,
        "Groups of records that were committed together.";
    JOURNAL_RECORDS = "posthaste_journal_records_total", Kind::Counter, Count,
        "Records that were committed.";
    JOURNAL_BYTES = "posthaste_journal_bytes_total", Kind::Counter, Bytes,
        "Bytes that were appended to the journal.";
    JOURNAL_SYNC = "posthaste_journal_last_sync_seconds", Kind::Gauge, Seconds,
        "Time that the last sync of a group to the disk took.";
    JOURNAL_DAMAGED = "posthaste_journal_damaged_ranges_total", Kind::Counter, Count,
        "Damaged ranges met in the journal; run posthaste check.";
    DAMAGED_EVENTS = "posthaste_damaged_events_total", Kind::Counter, Count,
        "Events that were to be read and whose records are damaged; run posthaste check.";
    DAMAGED_ATTEMPTS = "posthaste_damaged_attempts_total", Kind::Counter, Count,
        "Attempts that were to be listed and whose records are damaged; run posthaste check.";
    JOURNAL_LAST_LSN = "posthaste_journal_last_lsn", Kind::Gauge, Count,
        "Sequence number of the journal's last record.";
    JOURNAL_FIRST_LSN = "posthaste_journal_first_lsn", Kind::Gauge, Count,
        "Sequence number at which the journal begins; what was below has been reclaimed.";
    JOURNAL_SIZE = "posthaste_journal_size_bytes", Kind::Gauge, Bytes,
        "Bytes of the journal's segments.";
    JOURNAL_RECLAIMED_SEGMENTS = "posthaste_journal_reclaimed_segments_total", Kind::Counter, Count,
        "Segments that were deleted because nothing in them was needed any more.";
    JOURNAL_RECLAIMED_BYTES = "posthaste_journal_reclaimed_bytes_total", Kind::Counter, Bytes,
        "Bytes of those segments.";
    JOURNAL_PAUSE_LONGEST = "posthaste_journal_longest_pause_seconds", Kind::Gauge, Seconds,
        "The longest that acceptance has stood still while old events were carried forward.";
    EVENTS_FORGOTTEN = "posthaste_events_forgotten_total", Kind::Counter, Count,
        "Settled events that went because they were past their time, or for want of space.";
    EVENTS_CARRIED = "posthaste_events_carried_total", Kind::Counter, Count,
        "Events that still waited, carried forward from segments that were deleted.";
    HELD_EXPIRED = "posthaste_held_deliveries_expired_total", Kind::Counter, Count,
        "Held deliveries that ended as expired: held for too long, or too much of it.";
    STORE_APPLIED_LSN = "posthaste_store_applied_lsn", Kind::Gauge, Count,
        "Sequence number of the last record that the store holds.";
    JOURNAL_BUSY = "posthaste_journal_busy_seconds", Kind::Gauge, Seconds,
        "Time for which the journal has been writing or syncing its present group.";
    TROUBLE = "posthaste_trouble", Kind::Gauge, Count,
        "1 while this is the matter, by trouble; /readyz says 503 then.";
    OVERDUE = "posthaste_delivery_overdue_seconds", Kind::Gauge, Seconds,
        "Time for which the longest waiting delivery of an active endpoint has been due.";
    ENDPOINTS_OVERDUE = "posthaste_endpoints_overdue", Kind::Gauge, Count,
        "Active endpoints with deliveries due for longer than delivery.overdue_after.";
    LANES_FULL = "posthaste_endpoints_saturated", Kind::Gauge, Count,
        "Endpoints with as many attempts out as may be, and more due.";
    CLOCK_SUSPICIOUS = "posthaste_clock_suspicious", Kind::Gauge, Count,
        "1 while the wall clock has jumped and is not followed: its new time is not confirmed yet.";
    CLOCK_OFFSET = "posthaste_clock_offset_seconds", Kind::Gauge, Seconds,
        "How far a suspicious wall clock is ahead of the expected time; negative when behind, 0 when it is believed.";
    STORE_REWRITES = "posthaste_store_rewrites_total", Kind::Counter, Count,
        "Times that the store was written afresh to free space.";
    LOG_LINES_LOST = "posthaste_log_lines_lost_total", Kind::Counter, Count,
        "Log lines that were lost because stderr did not take them, or not soon enough.";
    STORE_REBUILDS = "posthaste_store_rebuilds_total", Kind::Counter, Count,
        "Rebuilds of the store from the journal.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_their_unit_and_counters_their_kind() {
        for metric in ALL {
            assert!(metric.name.starts_with("posthaste_"), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{}",
                metric.name
            );
            let timed = metric.unit == Unit::Seconds;
            assert_eq!(metric.name.ends_with("_seconds"), timed, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn buckets_rise() {
        for metric in ALL {
            if let Kind::Histogram(buckets) = metric.kind {
                assert!(buckets.is_sorted_by(|a, b| a < b), "{}", metric.name);
            }
        }
    }
}
