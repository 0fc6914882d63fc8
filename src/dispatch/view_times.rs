//! Times as people see them: the wall clock's, where records hold engine time. An event's `occurred_at` is its sender's.

use super::{
    clock::EngineClock,
    event_types::view::EventTypeView,
    view::{
        AttemptView, DeliveryView, DisabledView, EndpointView, EventView, PublicKeyView, VerificationView,
    },
};
use crate::domain::{record::KeyPut, signing::Retired, time::Timestamp};

/// What shows engine times.
pub(super) trait Times {
    /// Goes through all of them.
    fn each(&mut self, change: &dyn Fn(&mut Timestamp));
}

impl EngineClock {
    /// The same with its times as people see them.
    pub fn show<T: Times>(&self, mut view: T) -> T {
        view.each(&|time| *time = self.shown(*time));
        view
    }
}

impl<T: Times> Times for Option<T> {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        self.iter_mut().for_each(|view| view.each(change));
    }
}

impl<T: Times> Times for Vec<T> {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        self.iter_mut().for_each(|view| view.each(change));
    }
}

impl Times for Timestamp {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        change(self);
    }
}

impl Times for EventView {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        change(&mut self.accepted_at);
        self.deliver_at.each(change);
        self.expires_at.each(change);
        self.erased.iter_mut().for_each(|erased| change(&mut erased.at));
    }
}

impl Times for DeliveryView {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        change(&mut self.created_at);
        self.due.each(change);
        self.expires_at.each(change);
        self.settled_at.each(change);
        self.last_outcome.iter_mut().for_each(|last| change(&mut last.at));
    }
}

impl Times for AttemptView {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        change(&mut self.started_at);
        self.next_due.each(change);
    }
}

impl Times for DisabledView {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        change(&mut self.at);
    }
}

impl Times for VerificationView {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        self.last_attempt_at.each(change);
        self.verified_at.each(change);
        self.next_attempt_at.each(change);
    }
}

impl Times for EndpointView {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        change(&mut self.state_since);
        change(&mut self.created_at);
        change(&mut self.updated_at);
        self.disabled_reason.each(change);
        self.verification.each(change);
    }
}

impl Times for EventTypeView {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        change(&mut self.created_at);
        change(&mut self.updated_at);
    }
}

impl Times for PublicKeyView {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        self.until.each(change);
    }
}

impl Times for Retired {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        change(&mut self.until);
    }
}

impl Times for KeyPut {
    fn each(&mut self, change: &dyn Fn(&mut Timestamp)) {
        change(&mut self.created_at);
        self.expires_at.each(change);
    }
}
