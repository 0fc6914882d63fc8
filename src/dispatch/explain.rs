//! Explaining: for an event and every endpoint of its tenant, what became of it and why.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    engine::{Engine, Shared},
    error::EngineError,
    lists::Patience,
    queries::{self, Filling},
    view::{AttemptView, DeliveryView, EventView, Page},
};
use crate::{
    domain::{
        condition::Verdict,
        delivery::{Delivery, Stage},
        endpoint::{Endpoint, EndpointState},
        event::Label,
        id::{DeliveryKey, EndpointId, EventId},
        outcome,
        record::EventAccepted,
        subscription::{self, Unwanted},
    },
    runtime::work_pool::pass,
    storage::{
        queries::{AttemptFilter, ListRange},
        stored::{EventDetails, EventFacts, StoredAttempt, StoredDelivery},
    },
};

/// Attempts of a delivery read by one call.
const ATTEMPTS_AT_ONCE: usize = 100;

/// What became of an event, endpoint by endpoint.
#[derive(Debug, Serialize)]
pub struct Explanation {
    pub event: EventView,
    /// The endpoints of the event's tenant, newest first unless asked otherwise, and those deleted since that it went to.
    pub data: Vec<EndpointExplained>,
    /// Pass as `cursor` for the endpoints after these; `None` at the end. A page is short when conditions take long.
    pub next: Option<String>,
}

/// One endpoint and the event.
#[derive(Debug, Serialize)]
pub struct EndpointExplained {
    pub endpoint_id: EndpointId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `None` once it is deleted.
    pub state: Option<EndpointState>,
    /// Whether its subscription, as it is now, wants the event.
    pub matched: bool,
    /// The member of the endpoint that decided: `tenant`, `events`, `channels` or `condition`; `None` once it is deleted.
    pub rule: Option<&'static str>,
    /// The same in words, and what follows from it.
    pub why: String,
    pub deliveries: Vec<DeliveryExplained>,
}

/// One delivery of the event.
#[derive(Debug, Serialize)]
pub struct DeliveryExplained {
    #[serde(flatten)]
    pub delivery: DeliveryView,
    /// What it waits for, or how it ended.
    pub why: String,
    /// Oldest first.
    pub attempts_made: Vec<AttemptExplained>,
}

/// One attempt, and the rule that judged it.
#[derive(Debug, Serialize)]
pub struct AttemptExplained {
    #[serde(flatten)]
    pub attempt: AttemptView,
    pub rule: String,
}

impl Engine {
    /// What became of an event at the endpoints of its tenant, or at one of them; with `tenant`, of the event that this
    /// tenant has, and at no other's endpoints.
    ///
    /// # Errors
    /// `NotFound` when there is no such event; `Ambiguous` when several tenants have one.
    pub async fn explain(
        &self,
        id: &EventId,
        only: Option<EndpointId>,
        tenant: Option<&Label>,
        page: &Page,
    ) -> Result<Explanation, EngineError> {
        let shared = &self.0;
        let facts = shared.find_event(id, tenant).await?;
        let event = shared.whole_event(facts.sequence).await?;
        let mut deliveries: BTreeMap<EndpointId, Vec<DeliveryKey>> = BTreeMap::new();
        for (endpoint, key) in shared.data.deliveries_of(facts.sequence).await? {
            deliveries.entry(endpoint).or_default().push(key);
        }
        let mut ids: Vec<EndpointId> = deliveries.keys().copied().collect();
        let of_tenant = shared.registry.all();
        ids.extend(
            of_tenant
                .iter()
                .filter(|e| e.spec.tenant == facts.tenant)
                .map(|e| e.id),
        );
        // Who asks for one endpoint is told of it, whosever it is.
        ids.extend(only.filter(|id| shared.registry.get(*id).is_some()));
        ids.retain(|id| only.is_none_or(|only| only == *id));
        ids.retain(|id| tenant.is_none_or(|tenant| shared.goes_to_own(tenant, *id, &facts.event_type)));
        ids.sort_unstable();
        ids.dedup();
        let chosen = queries::page_after(ids, page)?;
        let details = event.as_ref().map(EventDetails::of).map_err(|why| *why);
        let case = Case {
            shared,
            view: shared.event_view(&facts, &details, None),
            event: event.ok(),
            facts,
        };
        let patience = Patience::begin();
        let (mut data, mut next) = (Vec::with_capacity(chosen.data.len()), chosen.next);
        let (last, mut filling) = (chosen.data.last().copied(), Filling::default());
        for id in chosen.data {
            let keys = deliveries.remove(&id).unwrap_or_default();
            let explained = case.endpoint(id, keys).await?;
            let is_full = filling.is_full_with(&explained);
            data.push(explained);
            if (patience.is_over().await || is_full) && Some(id) != last {
                next = Some(id.to_string());
                break;
            }
        }
        Ok(Explanation {
            event: case.view,
            data,
            next,
        })
    }
}

/// An event that is explained.
struct Case<'a> {
    shared: &'a Shared,
    /// `None` when its record is damaged.
    event: Option<EventAccepted>,
    view: EventView,
    facts: EventFacts,
}

impl Case<'_> {
    async fn endpoint(
        &self,
        id: EndpointId,
        keys: Vec<DeliveryKey>,
    ) -> Result<EndpointExplained, EngineError> {
        let endpoint = self.shared.registry.get(id);
        let endpoint = endpoint.as_deref();
        let deliveries = match keys.is_empty() {
            true => Vec::new(),
            false => self.shared.data.deliveries(keys).await?,
        };
        let deliveries: Vec<StoredDelivery> = deliveries.into_iter().flatten().collect();
        let (matched, rule, why) = self.subscription(endpoint, !deliveries.is_empty());
        let mut explained = Vec::with_capacity(deliveries.len());
        for delivery in &deliveries {
            explained.push(self.delivery(endpoint, delivery).await?);
        }
        Ok(EndpointExplained {
            endpoint_id: id,
            name: endpoint.and_then(|endpoint| endpoint.spec.name.clone()),
            state: endpoint.map(|endpoint| endpoint.standing.state),
            matched,
            rule,
            why,
            deliveries: explained,
        })
    }

    fn subscription(&self, endpoint: Option<&Endpoint>, sent: bool) -> (bool, Option<&'static str>, String) {
        let Some(endpoint) = endpoint else {
            return (false, None, "the endpoint has been deleted".to_owned());
        };
        if endpoint.spec.tenant != self.view.tenant {
            return (false, Some("tenant"), self.of_another_tenant(endpoint));
        }
        let event_type = &self.view.event_type;
        let channel = self.event.as_ref().and_then(|event| event.channel.as_ref());
        match subscription::judge(
            &endpoint.spec.events,
            &endpoint.spec.channels,
            event_type,
            channel,
        ) {
            Ok(pattern) => {
                let mut wanted = format!("the pattern {pattern} matches {event_type}");
                match self.condition(endpoint) {
                    None => {}
                    Some(Verdict::Matched) => wanted.push_str(", and the condition holds"),
                    Some(other) => return (false, Some("condition"), explain_condition(&other, sent)),
                }
                let why = match sent {
                    true => wanted,
                    false if self.shared.clock.shown(endpoint.created_at) > self.view.accepted_at => {
                        format!(
                            "{wanted}, but the endpoint was created after the event was accepted; replay the event to it"
                        )
                    }
                    false => format!(
                        "{wanted}, but it did not when the event was accepted: the endpoint was changed since; replay the event to it"
                    ),
                };
                (true, Some("events"), why)
            }
            Err(unwanted) => {
                let (rule, why) = explain_unwanted(unwanted, event_type.as_str());
                (false, Some(rule), format!("{why}{}", since(sent)))
            }
        }
    }

    /// What the endpoint's condition says; `None` when it has none, or the event's record is damaged.
    fn condition(&self, endpoint: &Endpoint) -> Option<Verdict> {
        self.shared
            .registry
            .verdict(endpoint.id, self.event.as_ref()?.into())
    }

    fn of_another_tenant(&self, endpoint: &Endpoint) -> String {
        let name = |tenant: Option<&Label>| {
            tenant.map_or_else(
                || "of no tenant".to_owned(),
                |tenant| format!("of the tenant {tenant}"),
            )
        };
        format!(
            "the event is {}, the endpoint {}",
            name(self.view.tenant.as_ref()),
            name(endpoint.spec.tenant.as_ref())
        )
    }

    async fn delivery(
        &self,
        endpoint: Option<&Endpoint>,
        found: &StoredDelivery,
    ) -> Result<DeliveryExplained, EngineError> {
        let attempts = self.attempts_of(found.delivery.key).await?;
        let explained = |attempt: &StoredAttempt| {
            let facts = &attempt.facts;
            AttemptExplained {
                // The explanation stands in the rule.
                attempt: AttemptView {
                    explanation: None,
                    ..self.shared.attempt_shown(attempt, true)
                },
                rule: outcome::rule(facts.class, facts.reason, facts.status),
            }
        };
        let attempts_made = attempts.iter().map(explained).collect();
        let view = self.shared.delivery_view(&StoredDelivery {
            delivery: found.delivery,
            event: Some(self.facts.clone()),
        });
        let why = self.waits_for(endpoint, &found.delivery, &view).await?;
        Ok(DeliveryExplained {
            delivery: view,
            why,
            attempts_made,
        })
    }

    /// All attempts of a delivery, oldest first.
    async fn attempts_of(&self, delivery: DeliveryKey) -> Result<Vec<StoredAttempt>, EngineError> {
        let mut range = ListRange {
            beyond: None,
            ascending: true,
            limit: ATTEMPTS_AT_ONCE,
        };
        let mut found = Vec::new();
        loop {
            let filter = AttemptFilter {
                delivery: Some(delivery),
                ..AttemptFilter::default()
            };
            let page = self.shared.data.list_attempts(filter, range).await?;
            found.extend(page.rows);
            match page.next {
                None => return Ok(found),
                beyond => range.beyond = beyond,
            }
            pass().await;
        }
    }

    /// What a delivery waits for, or how it ended.
    async fn waits_for(
        &self,
        endpoint: Option<&Endpoint>,
        delivery: &Delivery,
        view: &DeliveryView,
    ) -> Result<String, EngineError> {
        let last = || {
            delivery.last.map_or_else(
                || "no attempt was made".to_owned(),
                |last| outcome::rule(last.class, last.reason, last.status),
            )
        };
        Ok(match delivery.stage {
            Stage::Delivered => format!("delivered by attempt {}", delivery.attempts),
            Stage::Failed => format!(
                "failed after {} attempts; the last: {}",
                delivery.attempts,
                last()
            ),
            Stage::Expired => "expired before it could be delivered".to_owned(),
            Stage::Cancelled => {
                let cancelled = "cancelled by a person, with its endpoint, or with the event's payload";
                match delivery.last {
                    Some(_) => format!("{cancelled}; its last attempt: {}", last()),
                    None => cancelled.to_owned(),
                }
            }
            Stage::Scheduled { .. } if view.state == "in_flight" => "an attempt is out".to_owned(),
            Stage::Scheduled { due } => match (endpoint, view.held_because) {
                (Some(endpoint), Some(_)) => held(endpoint),
                (_, _) if due > self.shared.clock.now() => {
                    let after = delivery
                        .last
                        .map(|_| format!(", after: {}", last()))
                        .unwrap_or_default();
                    format!(
                        "the next attempt is due at {}{after}",
                        self.shared.clock.shown(due)
                    )
                }
                (_, _) => self.due_now(delivery).await?,
            },
        })
    }

    async fn due_now(&self, delivery: &Delivery) -> Result<String, EngineError> {
        let tallies = self.shared.data.tallies(vec![delivery.endpoint]).await?;
        let failures = tallies.first().map_or(0, |tally| tally.health.failures);
        Ok(if failures >= self.shared.options.breaker_after {
            format!(
                "due; the endpoint failed {failures} times in a row, so one probe at a time goes out and the others wait"
            )
        } else {
            "due; waits for its turn: the endpoint's concurrency, rate and order decide when".to_owned()
        })
    }
}

fn held(endpoint: &Endpoint) -> String {
    let state = endpoint.standing.state.as_str();
    match endpoint.standing.disabled {
        None => format!("held: the endpoint is {state}"),
        Some(disabled) => {
            let status = disabled
                .status
                .map(|status| format!(", status {status}"))
                .unwrap_or_default();
            format!(
                "held: the endpoint is {state} ({}{status})",
                disabled.why.as_str()
            )
        }
    }
}

const fn since(sent: bool) -> &'static str {
    if sent {
        "; it did when the event was accepted, or was replayed to it"
    } else {
        ""
    }
}

fn explain_condition(verdict: &Verdict, sent: bool) -> String {
    let why = match verdict {
        Verdict::Matched => return "the condition holds".to_owned(),
        Verdict::NotMatched => "the condition does not hold".to_owned(),
        Verdict::Failed(failure) => format!("the condition failed, which counts as no match: {failure}"),
    };
    format!("{why}{}", since(sent))
}

fn explain_unwanted(unwanted: Unwanted, event_type: &str) -> (&'static str, String) {
    match unwanted {
        Unwanted::Type => ("events", format!("none of its patterns matches {event_type}")),
        Unwanted::NoChannel => (
            "channels",
            "it wants certain channels, and the event has none".to_owned(),
        ),
        Unwanted::Channel(channel) => (
            "channels",
            format!("the channel {channel} is not among those it wants"),
        ),
    }
}
