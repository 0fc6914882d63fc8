//! What a record that is about to be deleted means.

use crate::{
    domain::{
        configuration::ConfigChange,
        id::{AuditId, EndpointId, Lsn},
        reclaim::{Home, State},
        record::{EventAccepted, Record},
        rollup::Interval,
        time::Timestamp,
    },
    runtime::codec::CodecError,
    storage::local::codec,
    storage::local::index::Mention,
    storage::local::journal::Entry,
};

/// An event that stands in a record.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub event: Lsn,
    pub idempotency_key: Option<String>,
    /// Until when that is remembered.
    pub until: Timestamp,
}

impl Standing {
    pub fn of(event: Lsn, accepted: &EventAccepted) -> Self {
        Self {
            event,
            idempotency_key: accepted.idempotency_key.clone(),
            until: accepted.idempotency_until,
        }
    }
}

/// A record, as far as it matters.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub event: Option<Standing>,
    /// The configuration that it is about.
    pub mentions: Vec<Mention>,
    /// Entries of the audit log that stand in it.
    pub audited: Vec<AuditId>,
    /// Endpoints that are deleted once it is applied.
    pub deleted: Vec<EndpointId>,
    /// When its event was accepted, if the deliveries are due from then on.
    pub accepted_at: Option<Timestamp>,
    /// Minutes, and hours, that it added to, or carries the rollups of.
    pub rolled: Vec<(Interval, Timestamp)>,
}

impl Reading {
    /// # Errors
    /// When the record does not decode.
    pub fn of(entry: &Entry) -> Result<Self, CodecError> {
        let record = codec::decode(entry)?;
        let mut reading = Self::default();
        for fact in record.endpoint_facts() {
            reading.mentions.push(Mention::Endpoint(fact.endpoint()));
        }
        match &record {
            Record::EventAccepted(event) => {
                reading.event = Some(Standing::of(entry.lsn, event));
                reading.rolls(Interval::Minute, event.accepted_at);
                reading.accepted_at = (event.due <= event.accepted_at).then_some(event.accepted_at);
            }
            Record::PayloadErased(erased) => reading.event = Some(Standing::of(erased.lsn, &erased.event)),
            Record::Configured(configured) => {
                configured
                    .changes
                    .iter()
                    .for_each(|change| reading.changed(change));
            }
            Record::Carried(carried) => {
                if let Home::Event { lsn, event } = &carried.home {
                    reading.event = Some(Standing::of(*lsn, event));
                }
                for part in &carried.state {
                    match part {
                        State::Rollups(whole) => reading.rolls(whole.interval, whole.at),
                        part if carried.configuration => reading.carried(part),
                        _ => {}
                    }
                }
            }
            Record::AttemptSettled(attempt) => reading.rolls(Interval::Minute, attempt.ended_at()),
            Record::DeliveriesRetried(_)
            | Record::DeliveriesEnded(_)
            | Record::EventReplayed(_)
            | Record::EventsForgotten(_)
            | Record::AttemptsForgotten(_)
            | Record::IdempotencyForgotten(_)
            | Record::FloorRaised(_)
            | Record::EndpointsForgotten(_)
            | Record::AuditForgotten(_)
            | Record::RollupsFolded(_) => {}
        }
        Ok(reading)
    }

    /// It adds to an interval. By now a minute may have been folded into its hour.
    fn rolls(&mut self, interval: Interval, at: Timestamp) {
        for interval in [interval, Interval::Hour] {
            self.rolled.push((interval, interval.of(at)));
        }
    }

    fn changed(&mut self, change: &ConfigChange) {
        match change {
            ConfigChange::EndpointDeleted(deleted) => self.deleted.push(deleted.id),
            ConfigChange::KeyPut(key) => self.mentions.push(Mention::ApiKey(key.id)),
            ConfigChange::EventTypePut(put) => self.mentions.push(Mention::EventType(put.event_type.clone())),
            ConfigChange::Audited(entry) => self.audited.push(entry.id),
            ConfigChange::EndpointPut(_)
            | ConfigChange::EndpointChanged(_)
            | ConfigChange::KeyRevoked(_)
            | ConfigChange::EventTypeDeleted(_)
            | ConfigChange::DeliveriesEnded(_) => {}
        }
    }

    fn carried(&mut self, part: &State) {
        match part {
            State::Endpoint(facts) => {
                self.mentions.push(Mention::Endpoint(facts.id));
                self.deleted.extend(facts.deleted_at.map(|_| facts.id));
            }
            State::ApiKey(key) => self.mentions.push(Mention::ApiKey(key.id)),
            State::EventType(declared) => self.mentions.push(Mention::EventType(declared.name.clone())),
            State::Event(_)
            | State::Delivery(_)
            | State::Attempt(_)
            | State::Tally(_)
            | State::Totals(_)
            | State::Forgotten(_)
            | State::Rollups(_)
            | State::Row(_) => {}
        }
    }
}
