//! An endpoint as a request changes it: what it becomes, and the changes to be saved for that.
//!
//! Everything is decided here before anything is saved, so that a request that fails on its way has changed nothing, and
//! what it changes of one endpoint, or of many, can be saved at once.

use super::{
    audit, document,
    endpoints::{NO_SECRET, lacks_a_secret},
    engine::Shared,
    error::EngineError,
};
use crate::domain::{
    configuration::ConfigChange,
    endpoint::{Endpoint, EndpointSpec, EndpointState, Notes, Standing, StateChange},
    id::EndpointId,
    record::{EndpointChanged, EndpointPut},
    time::Timestamp,
    verification::Verification,
};

const UNPROVED: &str =
    "the endpoint has not proved itself by its handshake; POST /v1/endpoints/{id}/verify has it try";

/// An endpoint, and how a request changes it.
pub(super) struct Edit {
    /// As it was; none that is created.
    before: Option<Endpoint>,
    /// As it is after the request.
    pub endpoint: Endpoint,
    now: Timestamp,
    /// Its first state, of one that is created.
    initial: Option<StateChange>,
    is_put: bool,
    changed: Vec<StateChange>,
}

impl Edit {
    /// Of an endpoint that there is.
    pub fn of(endpoint: &Endpoint, now: Timestamp) -> Self {
        Self {
            before: Some(endpoint.clone()),
            endpoint: endpoint.clone(),
            now,
            initial: None,
            is_put: false,
            changed: Vec::new(),
        }
    }

    /// Of one that is created.
    pub fn new(
        id: EndpointId,
        initial: StateChange,
        spec: EndpointSpec,
        notes: Notes,
        now: Timestamp,
    ) -> Self {
        Self {
            before: None,
            endpoint: Endpoint {
                id,
                created_at: now,
                updated_at: now,
                standing: Standing::new(&initial, now),
                spec,
                notes,
            },
            now,
            initial: Some(initial),
            is_put: true,
            changed: Vec::new(),
        }
    }

    /// Gives it a configuration. What it has proved stays proved only as far as it holds for that; nothing goes to what is
    /// not proved.
    pub fn save(&mut self, spec: EndpointSpec, mut notes: Notes) {
        if !spec.keeps_proof_of(&self.endpoint.spec, &notes, self.now) {
            let state = self.endpoint.standing.state;
            let waits = matches!(state, EndpointState::Active | EndpointState::Unverified);
            notes.verification =
                (!spec.handshake.is_none()).then(|| Verification::pending(waits.then_some(self.now)));
        }
        if self.endpoint.is_active() && !notes.prove(spec.handshake) {
            self.change(StateChange::Unverify);
        }
        self.endpoint.spec = spec;
        self.note(notes);
    }

    pub fn note(&mut self, notes: Notes) {
        self.endpoint.notes = notes;
        self.is_put = true;
    }

    pub fn change(&mut self, change: StateChange) {
        self.endpoint.standing = Standing::new(&change, self.now);
        self.changed.push(change);
    }

    /// What follows for its state from what was saved, and from `enabled` if the request says that.
    ///
    /// # Errors
    /// `NotNow` when it may not be sent to.
    pub fn turn(&mut self, enabled: Option<bool>) -> Result<(), EngineError> {
        let lacks = lacks_a_secret(&self.endpoint.spec);
        let got_its_secret = self.endpoint.standing.disabled == Some(NO_SECRET) && !lacks;
        match (enabled, self.endpoint.standing.state) {
            (None, EndpointState::Disabled) if got_its_secret => self.resume()?,
            (None | Some(true), EndpointState::Active | EndpointState::Unverified) if lacks => {
                self.change(StateChange::Disable(NO_SECRET));
            }
            (None | Some(true), EndpointState::Unverified) if self.endpoint.is_proved() => {
                self.enable(false)?
            }
            (Some(true), EndpointState::Paused | EndpointState::Disabled) => self.resume()?,
            (Some(false), EndpointState::Active | EndpointState::Disabled | EndpointState::Unverified) => {
                self.change(StateChange::Pause);
            }
            (Some(true), EndpointState::Active | EndpointState::Unverified)
            | (Some(false), EndpointState::Paused)
            | (None, _) => {}
        }
        Ok(())
    }

    /// Makes it active, unless something keeps it from being sent to.
    ///
    /// # Errors
    /// `NotNow` says what.
    pub fn enable(&mut self, discard: bool) -> Result<(), EngineError> {
        if lacks_a_secret(&self.endpoint.spec) {
            return Err(EngineError::NotNow(
                "the endpoint's profile sends nothing unsigned, and it has no secret; set signatures[0].secret",
            ));
        }
        if !self.endpoint.is_proved() {
            return Err(EngineError::NotNow(UNPROVED));
        }
        self.change(StateChange::Enable { discard });
        Ok(())
    }

    /// Lets one that was held be sent to, or else prove itself, beginning now.
    ///
    /// # Errors
    /// `NotNow` when it has no secret.
    pub fn resume(&mut self) -> Result<(), EngineError> {
        if lacks_a_secret(&self.endpoint.spec) || self.endpoint.is_proved() {
            return self.enable(false);
        }
        let mut notes = self.endpoint.notes.clone();
        notes.verification = Some(Verification::pending(Some(self.now)));
        self.note(notes);
        self.change(StateChange::Unverify);
        Ok(())
    }

    /// What became of it, in a word.
    fn action(&self) -> &'static str {
        match (&self.before, self.is_put, self.changed.last()) {
            (None, ..) => "endpoint.created",
            (Some(_), false, Some(StateChange::Enable { .. })) => "endpoint.enabled",
            (Some(_), false, Some(StateChange::Pause)) => "endpoint.paused",
            (Some(_), false, Some(StateChange::Disable(_))) => "endpoint.disabled",
            (Some(_), false, Some(StateChange::Unverify | StateChange::Lapse)) => "endpoint.unverified",
            (Some(_), ..) => "endpoint.updated",
        }
    }

    /// What is to be saved.
    ///
    /// # Errors
    /// When it cannot be sealed.
    pub fn into_changes(self, shared: &Shared) -> Result<Vec<ConfigChange>, EngineError> {
        let audited = audit::of_endpoint(shared, self.action(), self.before.as_ref(), Some(&self.endpoint));
        let Endpoint { id, spec, notes, .. } = &self.endpoint;
        let (id, at) = (*id, self.now);
        let changed = |change| ConfigChange::EndpointChanged(EndpointChanged { id, at, change });
        let states = self.changed.iter().copied().map(changed);
        let put = if self.is_put {
            let sealed = document::seal(&shared.sealer, id, spec, notes)
                .map_err(|error| EngineError::Storage(Box::new(error)))?;
            // Its state rides along in case the record that created it is lost to damage.
            let initial = self.initial.unwrap_or_else(|| as_change(&self.endpoint.standing));
            Some(ConfigChange::EndpointPut(EndpointPut {
                id,
                at,
                initial,
                sealed,
            }))
        } else {
            None
        };
        // One that is created is there before it changes.
        Ok(match self.initial {
            Some(_) => put.into_iter().chain(states).chain(audited).collect(),
            None => states.chain(put).chain(audited).collect(),
        })
    }
}

/// The change that leads to a standing.
fn as_change(standing: &Standing) -> StateChange {
    match (standing.state, standing.disabled) {
        (EndpointState::Active, _) => StateChange::Enable { discard: false },
        (EndpointState::Disabled, Some(reason)) => StateChange::Disable(reason),
        (EndpointState::Paused | EndpointState::Disabled, _) => StateChange::Pause,
        (EndpointState::Unverified, _) => StateChange::Unverify,
    }
}
