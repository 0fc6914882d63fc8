//! What the model knows of a delivery, in plain terms of its own.

use std::time::Duration;

use super::{DELAY, RETRIES};
use crate::domain::{
    id::{DeliveryKey, EndpointId},
    ordering::Strand,
    outcome::{Class, Outcome},
    time::Timestamp,
};

/// What the model knows of a delivery.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) endpoint: EndpointId,
    pub(super) ended: Option<&'static str>,
    pub(super) not_before: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) spent: u32,
    pub(super) all_suspect: bool,
    /// Some attempt of it was answered with a 2xx.
    pub(super) got_through: bool,
    /// What its event's ordering key makes of it.
    pub(super) key: Option<Strand>,
    /// When it took its place, and then its place in the journal.
    pub(super) rank: (Timestamp, DeliveryKey),
    /// It was tried since it took its place.
    pub(super) tried: bool,
}

impl Fact {
    pub(super) fn attempt_ended(&mut self, outcome: &Outcome, now: Timestamp) {
        self.tried = true;
        let reset = |fact: &mut Self| {
            fact.spent = 0;
            fact.all_suspect = true;
            fact.not_before = now;
        };
        match outcome.class {
            Class::Delivered => {
                self.got_through = true;
                self.ended = Some("delivered");
            }
            Class::EventError => self.ended = Some("failed"),
            Class::EndpointError => reset(self),
            Class::Ours => self.not_before = now.plus(Duration::from_millis(2500)),
            Class::Transient => {
                self.spent += 1;
                self.all_suspect &= outcome.suspect;
                let asked = if outcome.retry_after.is_some() {
                    Duration::from_secs(30)
                } else {
                    DELAY
                };
                match (self.spent > RETRIES, self.all_suspect) {
                    (false, _) => self.not_before = now.plus(asked),
                    (true, true) => reset(self),
                    (true, false) => self.ended = Some("failed"),
                }
            }
        }
        if let Some(expires) = self.expires_at {
            self.not_before = self.not_before.min(expires);
        }
    }
}
