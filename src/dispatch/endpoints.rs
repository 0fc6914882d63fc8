//! Endpoints and keys: created, changed, shown.
//!
//! A change is one record; it is answered when the store, and with it fan-out and the scheduler, knows of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    document,
    engine::{Engine, KeyView, Shared},
    error::EngineError,
    queries,
    view::{EndpointView, Listed, Page},
    weight,
};
use crate::{
    domain::{
        auth::Auth,
        condition::Condition,
        endpoint::{
            DisableWhy, DisabledReason, Endpoint, EndpointSpec, EndpointState, Notes, Standing, StateChange,
        },
        endpoint_url::EndpointUrl,
        event::Label,
        id::{EndpointId, KeyId},
        proxy::ProxyChoice,
        record::{
            DeliveriesEnded, EndpointChanged, EndpointDeleted, EndpointPut, KeyPut, KeyRevoked, Record, Role,
        },
        time::Timestamp,
        verification::Verification,
    },
    runtime::{hex, random},
    sender::{check_name, check_tls, tls_warnings},
    wire::transform,
};

/// Deliveries ended by one record: a bounded batch for the store.
const END_AT_ONCE: usize = 1000;

impl Engine {
    /// Creates an endpoint. Answers it with its `signatures`, secrets included, shown this once.
    ///
    /// # Errors
    /// `Invalid` names the member at fault.
    pub async fn create_endpoint(
        &self,
        document: Map<String, Value>,
    ) -> Result<(EndpointView, Vec<Value>), EngineError> {
        let shared = &self.0;
        shared.storage.get()?;
        let _room = shared.room_for_an_endpoint()?;
        let mut spec = document::read(&shared.options.profiles, document)?;
        let _one_at_a_time = shared.configuring.lock(spec.tenant.clone()).await;
        let initial = match spec.enabled.take() {
            None | Some(true) if lacks_a_secret(&spec) => StateChange::Disable(NO_SECRET),
            None | Some(true) if !spec.handshake.is_none() => StateChange::Unverify,
            None | Some(true) => StateChange::Enable { discard: false },
            Some(false) => StateChange::Pause,
        };
        shared.check(&spec)?;
        shared.check_memory(0, &spec)?;
        let id = EndpointId::new(self.now(), u128::from_le_bytes(random::secure()));
        let notes = Notes {
            verification: (!spec.handshake.is_none())
                .then(|| Verification::pending((initial == StateChange::Unverify).then(|| self.now()))),
            ..Notes::default()
        };
        let endpoint = shared.put(id, initial, &spec, &notes).await?;
        let mut view = shared.shown_endpoint(&endpoint);
        view.warnings = shared.warnings(&endpoint.spec);
        Ok((view, document::secrets(&endpoint.spec)))
    }

    /// Changes an endpoint's configuration by a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    /// `Invalid` names the member at fault.
    pub async fn patch_endpoint(&self, id: EndpointId, patch: Value) -> Result<EndpointView, EngineError> {
        let shared = &self.0;
        let _one_at_a_time = shared.configuring_of(id).await;
        shared.storage.get()?;
        let endpoint = shared.endpoint(id)?;
        let mut spec = document::patch(&shared.options.profiles, &endpoint.spec, &patch)?;
        let enabled = spec.enabled.take();
        shared.check(&spec)?;
        if spec.tenant != endpoint.spec.tenant {
            return Err(EngineError::Invalid {
                field: "tenant".to_owned(),
                rule: "cannot be changed; create another endpoint".to_owned(),
            });
        }
        shared.check_memory(weight::of_endpoint(&endpoint.spec), &spec)?;
        let notes = endpoint
            .notes
            .kept(&endpoint.spec.signatures, &spec.signatures, self.now());
        let changed = shared.save(&endpoint, &spec, &notes).await?;
        let got_its_secret = endpoint.standing.disabled == Some(NO_SECRET) && !lacks_a_secret(&spec);
        let turned = match (enabled, changed.standing.state) {
            (None, EndpointState::Disabled) if got_its_secret => Some(shared.resume(&changed).await?),
            (None | Some(true), EndpointState::Active | EndpointState::Unverified)
                if lacks_a_secret(&spec) =>
            {
                Some(shared.change(id, StateChange::Disable(NO_SECRET)).await?)
            }
            (None | Some(true), EndpointState::Unverified) if changed.is_proved() => {
                Some(shared.enable(&changed, false).await?)
            }
            (Some(true), EndpointState::Paused | EndpointState::Disabled) => {
                Some(shared.resume(&changed).await?)
            }
            (Some(false), EndpointState::Active | EndpointState::Disabled | EndpointState::Unverified) => {
                Some(shared.change(id, StateChange::Pause).await?)
            }
            (Some(true), EndpointState::Active | EndpointState::Unverified)
            | (Some(false), EndpointState::Paused)
            | (None, _) => None,
        };
        let mut view = turned.unwrap_or_else(|| shared.shown_endpoint(&changed));
        view.warnings = shared.warnings(&changed.spec);
        Ok(view)
    }

    /// Deletes an endpoint; what it still had scheduled is cancelled.
    pub async fn delete_endpoint(&self, id: EndpointId) -> Result<(), EngineError> {
        let shared = &self.0;
        let _one_at_a_time = shared.configuring_of(id).await;
        shared.storage.get()?;
        shared.endpoint(id)?;
        let deleted = EndpointDeleted { id, at: self.now() };
        shared.write_and_apply(&Record::EndpointDeleted(deleted)).await?;
        shared.cancel_scheduled(id).await
    }

    /// Enables, disables or pauses. Disabling by hand gives the reason `manual`.
    pub async fn change_endpoint(
        &self,
        id: EndpointId,
        change: StateChange,
    ) -> Result<EndpointView, EngineError> {
        let shared = &self.0;
        let _one_at_a_time = shared.configuring_of(id).await;
        shared.storage.get()?;
        let endpoint = shared.endpoint(id)?;
        match change {
            StateChange::Enable { discard } => shared.enable(&endpoint, discard).await,
            other => shared.change(id, other).await,
        }
    }

    pub async fn endpoint(&self, id: EndpointId) -> Result<EndpointView, EngineError> {
        Ok(self.0.shown_endpoint(&*self.0.endpoint(id)?))
    }

    pub async fn endpoints(
        &self,
        tenant: Option<&str>,
        state: Option<EndpointState>,
        page: &Page,
    ) -> Result<Listed<EndpointView>, EngineError> {
        let beyond: Option<EndpointId> = match &page.cursor {
            None => None,
            Some(cursor) => Some(cursor.parse().map_err(|_| super::queries::bad_cursor())?),
        };
        let mut all = self.0.registry.all();
        if !page.ascending {
            all.reverse();
        }
        let of_tenant = |endpoint: &&Arc<Endpoint>| {
            tenant.is_none_or(|tenant| {
                endpoint
                    .spec
                    .tenant
                    .as_ref()
                    .is_some_and(|label| label.as_str() == tenant)
            })
        };
        let after = |endpoint: &&Arc<Endpoint>| {
            beyond.is_none_or(|beyond| {
                if page.ascending {
                    endpoint.id > beyond
                } else {
                    endpoint.id < beyond
                }
            })
        };
        let rows: Vec<_> = all
            .iter()
            .filter(of_tenant)
            .filter(|endpoint| state.is_none_or(|state| state == endpoint.standing.state))
            .filter(after)
            .take(page.limit + 1)
            .collect();
        let cursor = |endpoint: &&Arc<Endpoint>| endpoint.id.to_string();
        Ok(queries::filled(rows, page.limit, cursor, |endpoint| {
            Some(self.0.shown_endpoint(endpoint))
        }))
    }

    /// The key that has this SHA-256, when it is neither revoked nor expired.
    pub fn key_by_hash(&self, hash: &[u8; 32]) -> Option<Arc<KeyView>> {
        let key = self.0.registry.key_by_hash(hash)?;
        // By the time that has passed: a wall clock that jumps locks nobody out.
        let lives = |end: Timestamp| self.0.clock.elapsed_since(key.created_at) < end.since(key.created_at);
        key.expires_at.is_none_or(lives).then_some(key)
    }

    pub fn keys(&self) -> Vec<Arc<KeyView>> {
        let keys = self.0.registry.keys().into_iter();
        keys.map(|key| Arc::new(self.0.clock.show(KeyPut::clone(&key))))
            .collect()
    }

    /// Stores the hash of a new key; answers the key itself, which is shown once.
    pub async fn create_key(
        &self,
        name: String,
        role: Role,
        tenant: Option<Label>,
        expires_at: Option<Timestamp>,
    ) -> Result<(Arc<KeyView>, String), EngineError> {
        let shared = &self.0;
        let _one_at_a_time = shared.configuring.lock(None).await;
        shared.storage.get()?;
        let key = format!("ph_{}", hex::encode(&random::secure::<32>()));
        let now = self.now();
        let put = KeyPut {
            id: KeyId::new(now, u128::from_le_bytes(random::secure())),
            name,
            role,
            tenant,
            created_at: now,
            expires_at,
            hash: Sha256::digest(key.as_bytes()).into(),
        };
        shared.write_and_apply(&Record::KeyPut(put.clone())).await?;
        Ok((Arc::new(shared.clock.show(put)), key))
    }

    pub async fn revoke_key(&self, id: KeyId) -> Result<(), EngineError> {
        let shared = &self.0;
        let _one_at_a_time = shared.configuring.lock(None).await;
        shared.storage.get()?;
        if !self.keys().iter().any(|key| key.id == id) {
            return Err(EngineError::NotFound("key"));
        }
        shared
            .write_and_apply(&Record::KeyRevoked(KeyRevoked { id, at: self.now() }))
            .await?;
        Ok(())
    }
}

/// Why an endpoint without a secret is not sent to.
pub(super) const NO_SECRET: DisabledReason = DisabledReason {
    why: DisableWhy::NoSecret,
    reason: None,
    status: None,
};

const UNPROVED: &str =
    "the endpoint has not proved itself by its handshake; POST /v1/endpoints/{id}/verify has it try";

pub(super) fn lacks_a_secret(spec: &EndpointSpec) -> bool {
    spec.signatures.iter().any(|signature| signature.secret.is_none())
}

/// The change that leads to a standing.
pub(super) fn as_change(standing: &Standing) -> StateChange {
    match (standing.state, standing.disabled) {
        (EndpointState::Active, _) => StateChange::Enable { discard: false },
        (EndpointState::Disabled, Some(reason)) => StateChange::Disable(reason),
        (EndpointState::Paused | EndpointState::Disabled, _) => StateChange::Pause,
        (EndpointState::Unverified, _) => StateChange::Unverify,
    }
}

/// Room for one more endpoint, while it is created.
struct Room<'a>(&'a AtomicUsize);

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Counts those that others are creating as well: there is no lock for all tenants.
    fn room_for_an_endpoint(&self) -> Result<Room<'_>, EngineError> {
        let others = self.creating.fetch_add(1, Ordering::Relaxed);
        let room = Room(&self.creating);
        let limit = self.options.max_endpoints;
        if self.registry.len() + others >= limit {
            let what = "endpoints";
            return Err(EngineError::TooMany { what, limit });
        }
        Ok(room)
    }

    /// The endpoint, or why there is none.
    pub(super) fn endpoint(&self, id: EndpointId) -> Result<Arc<Endpoint>, EngineError> {
        match self.registry.get(id) {
            Some(endpoint) => Ok(endpoint),
            None if self.registry.is_deleted(id) => Err(EngineError::Gone),
            None => Err(EngineError::NotFound("endpoint")),
        }
    }

    pub(super) fn check(&self, spec: &EndpointSpec) -> Result<(), EngineError> {
        spec.check()?;
        let invalid = |field: &str, error: &dyn std::error::Error| EngineError::Invalid {
            field: field.to_owned(),
            rule: error.to_string(),
        };
        if let Some(source) = &spec.condition {
            Condition::compile(source)
                .and_then(|condition| condition.check())
                .map_err(|error| invalid("condition", &error))?;
        }
        if let Some(source) = &spec.transform {
            transform::check(source).map_err(|error| invalid("transform", &error))?;
        }
        let literal = |field: &str, url: &EndpointUrl, require_https: bool| {
            url.check_literal(&self.options.rules, require_https)
                .map_err(|error| EngineError::Invalid {
                    field: field.to_owned(),
                    rule: super::error::chain(&error),
                })?;
            check_name(url).map_err(|error| invalid(field, &error))
        };
        let require_https = self.options.require_https;
        literal("url", &spec.url, require_https)?;
        if let Some(credentials) = spec.auth.as_ref().and_then(Auth::oauth2) {
            literal("auth.token_url", &credentials.token_url, require_https)?;
        }
        if let Some(ProxyChoice::Through(proxy)) = &spec.proxy {
            literal("proxy", proxy.url(), false)?;
        }
        let tls = spec.tls.as_ref().map_or(Ok(()), check_tls);
        tls.map_err(|invalid| EngineError::Invalid {
            field: invalid.field.to_owned(),
            rule: invalid.rule.to_owned(),
        })
    }

    /// What a person who saves this should know, though it is allowed.
    pub(super) fn warnings(&self, spec: &EndpointSpec) -> Vec<String> {
        let tls = spec.tls.as_ref().filter(|_| spec.url.is_https());
        tls.map(|tls| tls_warnings(tls, &spec.url, self.clock.wall()))
            .unwrap_or_default()
    }

    /// Whether there is memory for an endpoint that took `before` until now.
    fn check_memory(&self, before: usize, spec: &EndpointSpec) -> Result<(), EngineError> {
        let after = weight::of_endpoint(spec);
        let (held, kept) = self.registry.kept(&spec.tenant);
        let (held, kept) = (held.saturating_sub(before), kept.saturating_sub(before));
        // What makes an endpoint smaller is always welcome.
        if after <= before || self.memory.may_keep(held, kept, after) {
            return Ok(());
        }
        Err(EngineError::TooMany {
            what: "bytes for endpoints (half of limits.memory, shared by all tenants)",
            limit: self.memory.to_keep(),
        })
    }

    /// Saves an endpoint that there is. Its state rides along in case the record that created it is lost to damage.
    ///
    /// What it has proved stays proved only as far as it holds for what is saved.
    pub(super) async fn save(
        &self,
        endpoint: &Endpoint,
        spec: &EndpointSpec,
        notes: &Notes,
    ) -> Result<Arc<Endpoint>, EngineError> {
        let (now, mut notes) = (self.clock.now(), notes.clone());
        if !spec.keeps_proof_of(&endpoint.spec, &notes, now) {
            let state = endpoint.standing.state;
            let waits = matches!(state, EndpointState::Active | EndpointState::Unverified);
            notes.verification =
                (!spec.handshake.is_none()).then(|| Verification::pending(waits.then_some(now)));
        }
        let mut standing = endpoint.standing;
        if endpoint.is_active() && !notes.prove(spec.handshake) {
            // First: nothing may go to what is not proved, not even for a moment.
            self.change(endpoint.id, StateChange::Unverify).await?;
            standing = self.endpoint(endpoint.id)?.standing;
        }
        self.put(endpoint.id, as_change(&standing), spec, &notes).await
    }

    pub(super) async fn put(
        &self,
        id: EndpointId,
        initial: StateChange,
        spec: &EndpointSpec,
        notes: &Notes,
    ) -> Result<Arc<Endpoint>, EngineError> {
        let sealed = document::seal(&self.sealer, id, spec, notes)
            .map_err(|error| EngineError::Storage(Box::new(error)))?;
        let put = EndpointPut {
            id,
            at: self.clock.now(),
            initial,
            sealed,
        };
        self.write_and_apply(&Record::EndpointPut(put)).await?;
        self.endpoint(id)
    }

    /// Makes an endpoint active, unless something keeps it from being sent to; with `discard`, what is held is cancelled
    /// first.
    pub(super) async fn enable(
        &self,
        endpoint: &Endpoint,
        discard: bool,
    ) -> Result<EndpointView, EngineError> {
        if lacks_a_secret(&endpoint.spec) {
            return Err(EngineError::NotNow(
                "the endpoint's profile sends nothing unsigned, and it has no secret; set signatures[0].secret",
            ));
        }
        if !endpoint.is_proved() {
            return Err(EngineError::NotNow(UNPROVED));
        }
        if discard {
            // Also what was accepted a moment ago.
            self.storage.caught_up_with(self.journal.last_lsn()).await?;
            self.cancel_scheduled(endpoint.id).await?;
        }
        self.change(endpoint.id, StateChange::Enable { discard }).await
    }

    /// Lets an endpoint that was held be sent to, or else prove itself, beginning now.
    pub(super) async fn resume(&self, endpoint: &Endpoint) -> Result<EndpointView, EngineError> {
        if lacks_a_secret(&endpoint.spec) || endpoint.is_proved() {
            return self.enable(endpoint, false).await;
        }
        let mut notes = endpoint.notes.clone();
        notes.verification = Some(Verification::pending(Some(self.clock.now())));
        self.put(endpoint.id, as_change(&endpoint.standing), &endpoint.spec, &notes)
            .await?;
        self.change(endpoint.id, StateChange::Unverify).await
    }

    pub(super) async fn change(
        &self,
        id: EndpointId,
        change: StateChange,
    ) -> Result<EndpointView, EngineError> {
        let changed = EndpointChanged {
            id,
            at: self.clock.now(),
            change,
        };
        self.write_and_apply(&Record::EndpointChanged(changed)).await?;
        Ok(self.shown_endpoint(&*self.endpoint(id)?))
    }

    pub(super) fn shown_endpoint(&self, endpoint: &Endpoint) -> EndpointView {
        self.clock.show(document::show(endpoint))
    }

    /// Cancels everything that an endpoint has scheduled and that is not out, portion by portion.
    pub(super) async fn cancel_scheduled(&self, id: EndpointId) -> Result<(), EngineError> {
        loop {
            let store = self.storage.get()?;
            let keys = store
                .scheduled(id, END_AT_ONCE, |key| self.in_flight.contains(key))
                .map_err(|error| self.storage.failure(error))?;
            if keys.is_empty() {
                return Ok(());
            }
            let at = self.clock.now();
            let stage = crate::domain::delivery::Stage::Cancelled;
            self.write_and_apply(&Record::DeliveriesEnded(DeliveriesEnded { keys, at, stage }))
                .await?;
        }
    }
}
