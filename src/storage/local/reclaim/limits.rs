//! Every fixed bound of reclaim, each with its why. What an operator may set is in [`Retention`](super::Retention).

use std::time::Duration;

/// Between looks at what is past its time, at the most; also an eighth of the retention.
pub(super) const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// The same, at the least.
pub(super) const SHORTEST_LOOK: Duration = Duration::from_millis(250);
/// How long a look that found nothing worth its while is not repeated, at first: what waits may be delivered any moment.
pub(super) const FIRST_PATIENCE: Duration = Duration::from_secs(1);
/// How often as long as between looks a search that found nothing worth its while is not repeated, at the most: ten
/// minutes, as a rule.
pub(super) const LONGEST_PATIENCE: u32 = 10;
/// Segments that may be taken together, so that one full of old events that still wait does not hold up those behind
/// it. More would be read for nothing.
pub(super) const SEGMENTS_AHEAD: usize = 16;
/// Bytes of segments past which no more are taken together: what a deletion costs beside them is then little.
pub(super) const MOVED_BYTES: u64 = 8 * 1024 * 1024;
/// Records of a segment looked at in one piece of work: some ten milliseconds.
pub(in crate::storage::local) const RECORDS_AT_ONCE: usize = 256;
/// Bytes of records looked at in one piece of work.
pub(super) const RECORD_BYTES_AT_ONCE: usize = 8 * 1024 * 1024;
/// How often what came while the store's memory was written out is applied before a pause. The first time covers the backlog,
/// the second what came in the time of one writing; where records come faster than they are written out, the pause waits.
pub(super) const PREPARATIONS: usize = 3;
/// Bytes carried under one pause, and in one record but for an event's own: written and synced in milliseconds.
pub(super) const CARRIED_BYTES: usize = 1024 * 1024;
/// Events looked at in one piece of work when those are sought that no readable record of a segment names.
pub(super) const EVENTS_AT_ONCE: usize = 1024;
/// Such searches in one reclaim: the second finds nothing but by a defect.
pub(super) const SEARCHES: usize = 3;
/// Attempts forgotten by one record: a bounded batch for the store.
pub(super) const ATTEMPTS_AT_ONCE: usize = 2000;
/// Entries of the audit log looked at, and forgotten, in one piece of work.
pub(super) const AUDIT_AT_ONCE: usize = 500;
/// Intervals looked up in one piece of work when their rollups are carried.
pub(super) const INTERVALS_AT_ONCE: usize = 500;
/// Rollups folded by one record, but for the rest of their minute.
pub(super) const ROLLUPS_AT_ONCE: usize = 1000;
/// Idempotency keys looked at in one piece of work.
pub(super) const KEYS_AT_ONCE: usize = 1000;
/// Between rounds through all idempotency keys, at the most: few outlive their window by more than a part of it.
pub(super) const LONGEST_KEYS_ROUND: Duration = Duration::from_secs(3600);
/// Schedule entries of held endpoints looked at in one piece of work.
pub(super) const HELD_AT_ONCE: usize = 1024;
/// Held deliveries ended by one record: a bounded batch for the store.
pub(super) const EXPIRED_AT_ONCE: usize = 500;
/// Rest after each schedule entry of a round through what is held: the thread has other work to do.
pub(super) const HELD_REST: Duration = Duration::from_micros(100);
/// Parts that the sequence numbers are divided into when the oldest held bytes are sought.
pub(super) const HELD_PARTS: u64 = 4096;
/// How long a deleted endpoint is remembered at least: attempts that were out, and requests under way, are long over.
pub(super) const DELETED_FOR: Duration = Duration::from_secs(3600);
/// Deleted endpoints that a floor tells of: it is one record.
pub(super) const DELETED_TOLD: usize = 50_000;
/// About what a delivery's rows take, in bytes, when what would be carried is estimated.
pub(super) const DELIVERY_BYTES: usize = 300;
/// About what a rollup takes.
pub(super) const ROLLUP_BYTES: usize = 60;
/// About what an endpoint's counts take.
pub(super) const TALLY_BYTES: usize = 160;
