//! Endpoints and keys: created, changed, shown.
//!
//! All that a request changes is saved at once; it is answered when the store, and with it fan-out and the scheduler, knows
//! of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    audit, document,
    edit::Edit,
    engine::{Engine, KeyView, Shared},
    error::{EngineError, chain},
    queries,
    view::{EndpointView, Listed, Page},
    weight,
};
use crate::{
    domain::{
        auth::Auth,
        condition::Condition,
        configuration::ConfigChange,
        delivery::Stage,
        endpoint::{DisableWhy, DisabledReason, Endpoint, EndpointSpec, EndpointState, Notes, StateChange},
        endpoint_url::EndpointUrl,
        event::Label,
        id::{DeliveryKey, EndpointId, KeyId},
        limits,
        proxy::ProxyChoice,
        record::{DeliveriesEnded, EndpointDeleted, KeyPut, KeyRevoked, Role},
        time::Timestamp,
        verification::Verification,
    },
    runtime::{hex, random},
    sender::{check_name, check_tls, tls_warnings},
    storage::schedule::{FRONT, Portion},
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
        let room = shared.room_for_endpoints(1)?;
        let spec = document::read(&shared.options.profiles, document)?;
        let one_at_a_time = shared.configuring.lock(spec.tenant.clone()).await;
        let edit = shared.to_create(spec)?;
        let (id, spec) = (edit.endpoint.id, &edit.endpoint.spec);
        shared.check_memory([(&spec.tenant, 0, weight::of_endpoint(spec))])?;
        let _held = shared
            .save((room, one_at_a_time), edit.into_changes(shared)?)
            .await?;
        let endpoint = shared.endpoint(id)?;
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
        let one_at_a_time = shared.configuring_of(id).await;
        shared.storage.get()?;
        let endpoint = shared.endpoint(id)?;
        let mut spec = document::patch(&shared.options.profiles, &endpoint.spec, &patch)?;
        let enabled = spec.enabled.take();
        let edit = shared.to_patch(&endpoint, spec, enabled)?;
        let weights = [&endpoint.spec, &edit.endpoint.spec].map(weight::of_endpoint);
        shared.check_memory([(&endpoint.spec.tenant, weights[0], weights[1])])?;
        let _held = shared.save(one_at_a_time, edit.into_changes(shared)?).await?;
        let changed = shared.endpoint(id)?;
        let mut view = shared.shown_endpoint(&changed);
        view.warnings = shared.warnings(&changed.spec);
        Ok(view)
    }

    /// Deletes an endpoint; what it still had scheduled is cancelled.
    pub async fn delete_endpoint(&self, id: EndpointId) -> Result<(), EngineError> {
        let shared = &self.0;
        let one_at_a_time = shared.configuring_of(id).await;
        shared.storage.get()?;
        let endpoint = shared.endpoint(id)?;
        let deleted = EndpointDeleted { id, at: self.now() };
        let mut changes = vec![ConfigChange::EndpointDeleted(deleted)];
        let before = Some(&*endpoint);
        changes.extend(audit::of_endpoint(shared, "endpoint.deleted", before, None));
        shared
            .save_and_clear(one_at_a_time, changes, vec![id])
            .await
            .map(drop)
    }

    /// Enables, disables or pauses. Disabling by hand gives the reason `manual`.
    pub async fn change_endpoint(
        &self,
        id: EndpointId,
        change: StateChange,
    ) -> Result<EndpointView, EngineError> {
        let shared = &self.0;
        let one_at_a_time = shared.configuring_of(id).await;
        shared.storage.get()?;
        let mut edit = Edit::of(&*shared.endpoint(id)?, self.now());
        let mut changes = Vec::new();
        match change {
            StateChange::Enable { discard } => {
                edit.enable(discard)?;
                if discard {
                    changes.extend(shared.to_discard(id).await?);
                }
            }
            other => edit.change(other),
        }
        changes.extend(edit.into_changes(shared)?);
        let _held = shared.save(one_at_a_time, changes).await?;
        Ok(shared.shown_endpoint(&*shared.endpoint(id)?))
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
        let one_at_a_time = shared.configuring.lock(None).await;
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
        let mut changes = vec![ConfigChange::KeyPut(put.clone())];
        changes.extend(audit::of_key(shared, "key.created", &put));
        let _held = shared.save(one_at_a_time, changes).await?;
        Ok((Arc::new(shared.clock.show(put)), key))
    }

    pub async fn revoke_key(&self, id: KeyId) -> Result<(), EngineError> {
        let shared = &self.0;
        let one_at_a_time = shared.configuring.lock(None).await;
        shared.storage.get()?;
        let keys = shared.registry.keys();
        let key = keys.iter().find(|key| key.id == id);
        let key = key.ok_or(EngineError::NotFound("key"))?;
        let mut changes = vec![ConfigChange::KeyRevoked(KeyRevoked { id, at: self.now() })];
        changes.extend(audit::of_key(shared, "key.revoked", key));
        shared.save(one_at_a_time, changes).await.map(drop)
    }
}

/// Why an endpoint without a secret is not sent to.
pub(super) const NO_SECRET: DisabledReason = DisabledReason {
    why: DisableWhy::NoSecret,
    reason: None,
    status: None,
};

pub(super) fn lacks_a_secret(spec: &EndpointSpec) -> bool {
    spec.signatures.iter().any(|signature| signature.secret.is_none())
}

/// Room for more endpoints, while they are created.
pub(super) struct Room {
    shared: Arc<Shared>,
    count: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shared.creating.fetch_sub(self.count, Ordering::Relaxed);
    }
}

impl Shared {
    /// Counts those that others are creating as well: there is no lock for all tenants.
    pub(super) fn room_for_endpoints(self: &Arc<Self>, count: usize) -> Result<Room, EngineError> {
        let others = self.creating.fetch_add(count, Ordering::Relaxed);
        let room = Room {
            shared: self.clone(),
            count,
        };
        let limit = self.options.max_endpoints;
        if count > 0 && self.registry.len() + others + count > limit {
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

    /// An endpoint to be created.
    ///
    /// # Errors
    /// `Invalid` names the member at fault.
    pub(super) fn to_create(&self, mut spec: EndpointSpec) -> Result<Edit, EngineError> {
        let now = self.clock.now();
        let initial = match spec.enabled.take() {
            None | Some(true) if lacks_a_secret(&spec) => StateChange::Disable(NO_SECRET),
            None | Some(true) if !spec.handshake.is_none() => StateChange::Unverify,
            None | Some(true) => StateChange::Enable { discard: false },
            Some(false) => StateChange::Pause,
        };
        self.check(&spec)?;
        let id = EndpointId::new(now, u128::from_le_bytes(random::secure()));
        let notes = Notes {
            verification: (!spec.handshake.is_none())
                .then(|| Verification::pending((initial == StateChange::Unverify).then_some(now))),
            ..Notes::default()
        };
        Ok(Edit::new(id, initial, spec, notes, now))
    }

    /// An endpoint with another configuration, and in the state that this, or the request by `enabled`, calls for.
    ///
    /// # Errors
    /// `Invalid` names the member at fault; `NotNow` when it may not be sent to.
    pub(super) fn to_patch(
        &self,
        endpoint: &Endpoint,
        spec: EndpointSpec,
        enabled: Option<bool>,
    ) -> Result<Edit, EngineError> {
        self.check(&spec)?;
        if spec.tenant != endpoint.spec.tenant {
            return Err(EngineError::Invalid {
                field: "tenant".to_owned(),
                rule: "cannot be changed; create another endpoint".to_owned(),
            });
        }
        let now = self.clock.now();
        let notes = endpoint
            .notes
            .kept(&endpoint.spec.signatures, &spec.signatures, now);
        let mut edit = Edit::of(endpoint, now);
        edit.save(spec, notes);
        edit.turn(enabled)?;
        Ok(edit)
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

    /// Whether there is memory for endpoints, each with its tenant, and what it takes now and afterwards.
    pub(super) fn check_memory<'a>(
        &self,
        weights: impl IntoIterator<Item = (&'a Option<Label>, usize, usize)>,
    ) -> Result<(), EngineError> {
        let mut tenants: BTreeMap<&Option<Label>, (usize, usize)> = BTreeMap::new();
        for (tenant, before, after) in weights {
            let sums = tenants.entry(tenant).or_default();
            *sums = (sums.0 + before, sums.1 + after);
        }
        let (mut gone, mut come) = (0, 0);
        for (tenant, (before, after)) in tenants {
            let (held, kept) = self.registry.kept(tenant);
            gone += before;
            let (held, kept) = (held.saturating_sub(before), (kept + come).saturating_sub(gone));
            // What makes endpoints smaller is always welcome.
            if after > before && !self.memory.may_keep(held, kept, after) {
                return Err(EngineError::TooMany {
                    what: "bytes for endpoints (half of limits.memory, shared by all tenants)",
                    limit: self.memory.to_keep(),
                });
            }
            come += after;
        }
        Ok(())
    }

    pub(super) fn shown_endpoint(&self, endpoint: &Endpoint) -> EndpointView {
        self.clock.show(document::show(endpoint))
    }

    /// The end of all that an endpoint has scheduled and that is not out, to be saved with its state. Of very many the first
    /// are ended here, portion by portion, while the endpoint holds them.
    async fn to_discard(self: &Arc<Self>, id: EndpointId) -> Result<Option<ConfigChange>, EngineError> {
        loop {
            let mut keys = self.resting_of(id, limits::DISCARDED_TOGETHER + 1).await?;
            let rest = keys.len() > limits::DISCARDED_TOGETHER;
            if rest {
                keys.truncate(END_AT_ONCE);
            }
            let (at, stage) = (self.clock.now(), Stage::Cancelled);
            let ended = DeliveriesEnded { keys, at, stage };
            if !rest {
                return Ok((!ended.keys.is_empty()).then_some(ConfigChange::DeliveriesEnded(ended)));
            }
            self.data.end_deliveries(ended).await?;
        }
    }

    /// At most so many of the deliveries that an endpoint has scheduled and that are not out, earliest first. Also what was
    /// accepted a moment ago.
    async fn resting_of(&self, id: EndpointId, limit: usize) -> Result<Vec<DeliveryKey>, EngineError> {
        let (mut found, mut from) = (Vec::new(), Some(FRONT));
        while let Some(at) = from
            && found.len() < limit
        {
            let portion = Portion {
                endpoint: id,
                from: at,
                limit,
            };
            let page = self.data.list_scheduled(portion).await?;
            let keys = page.entries.iter().map(|entry| entry.at.1);
            found.extend(keys.filter(|key| !self.in_flight.contains(*key)));
            from = page.next;
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Saves changes that delete endpoints, and cancels what these had scheduled. What is left of that by a failure, or by a
    /// crash, the herald sees to.
    pub(super) async fn save_and_clear<T: Send + 'static>(
        self: &Arc<Self>,
        held: T,
        changes: Vec<ConfigChange>,
        deleted: Vec<EndpointId>,
    ) -> Result<T, EngineError> {
        let shared = self.clone();
        self.to_its_end(async move {
            shared.commit_changes(changes).await?;
            for id in deleted {
                if let Err(error) = shared.cancel_scheduled(id).await {
                    tracing::warn!(endpoint.id = %id, error = %chain(&error), "a deleted endpoint's deliveries are cancelled later");
                    shared.herald.notify_one();
                }
            }
            Ok(held)
        })
        .await
    }

    /// Cancels everything that an endpoint has scheduled and that is not out, portion by portion.
    pub(super) async fn cancel_scheduled(&self, id: EndpointId) -> Result<(), EngineError> {
        loop {
            let keys = self.resting_of(id, END_AT_ONCE).await?;
            if keys.is_empty() {
                return Ok(());
            }
            let at = self.clock.now();
            let stage = Stage::Cancelled;
            let ended = DeliveriesEnded { keys, at, stage };
            self.data.end_deliveries(ended).await?;
        }
    }
}
