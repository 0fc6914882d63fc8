//! `/v1/events`: enqueue, and look at what was accepted.

use std::str::FromStr;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Deserialize;

use super::{
    auth::{Principal, Scope},
    batch::{self, BatchLimits},
    body,
    cloud_events::{self, Labels},
    document::{All, Answer, Id, OptionalDocument, all},
    event_document,
    json::Shape,
    media::{self, Enqueue},
    meter::Meter,
    params::Params,
    problem::{Kind, Problem},
    router::Api,
};
use crate::{
    dispatch::{
        engine::Engine,
        erase::Erase,
        explain::Explanation,
        view::{DeliveryFilter, DeliveryView, EventFilter, EventView, Listed},
    },
    domain::{
        event::Label,
        id::{EndpointId, EventId},
        limits,
    },
    telemetry::metrics,
};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

pub async fn enqueue(
    State(api): State<Api>,
    scope: Scope,
    params: Params,
    meter: Meter,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let read = media::enqueue(&headers).and_then(|how| Ok((how, labels(how, params, &scope)?)));
    match read {
        Ok((Enqueue::Batch, _)) => enqueue_batch(&api, &headers, body, &scope).await,
        Ok((Enqueue::CloudEvents, labels)) => enqueue_cloud_events(&api, &headers, body, &labels).await,
        Ok((how, labels)) => {
            counted(enqueue_one(&api, (&headers, body), (how, &labels), &scope, &meter).await)
        }
        Err(problem) => counted(Err(problem)),
    }
}

/// What the query says of CloudEvents; other events say it themselves.
fn labels(how: Enqueue, params: Params, scope: &Scope) -> Answer<Labels> {
    match how {
        Enqueue::CloudEvent | Enqueue::CloudEvents | Enqueue::BinaryCloudEvent => {
            let mut labels = Labels::take(params)?;
            scope.claim(&mut labels.tenant)?;
            Ok(labels)
        }
        Enqueue::One | Enqueue::Batch => params.finish().map(|()| Labels::default()),
    }
}

/// Counts a refused event. The lines of a batch are counted each for itself.
fn counted<T>(answer: Answer<T>) -> Answer<T> {
    answer.inspect_err(|problem| metrics::event_rejected(problem.kind().slug()))
}

async fn enqueue_one(
    api: &Api,
    (headers, body): (&HeaderMap, Body),
    (how, labels): (Enqueue, &Labels),
    scope: &Scope,
    meter: &Meter,
) -> Answer<Response> {
    let key = idempotency_key(headers)?;
    let bytes = body::read_whole(meter, headers, body, api.limits.payload).await?;
    let accepted = match how {
        Enqueue::CloudEvent => {
            let event = cloud_events::structured::read(&bytes, labels)?;
            api.engine.accept_cloud_event(event, key).await?
        }
        Enqueue::BinaryCloudEvent => {
            let event = cloud_events::binary::read(headers, bytes, labels)?;
            api.engine.accept_cloud_event(event, key).await?
        }
        Enqueue::One | Enqueue::Batch | Enqueue::CloudEvents => {
            let event = scope.claim_event(event_document::read(&bytes)?)?;
            api.engine.accept(event, key).await?
        }
    };
    let status = if accepted.duplicate {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(accepted)).into_response())
}

async fn enqueue_batch(api: &Api, headers: &HeaderMap, body: Body, scope: &Scope) -> Answer<Response> {
    let limits = batch_limits(api, headers)?;
    let (engine, budget) = (&api.engine, Engine::request_budget());
    let accept = |events| engine.accept_all(events, &budget);
    let read = |line: &Bytes| event_document::read(line).and_then(|event| scope.claim_event(event));
    let summary = batch::run(body, limits, read, accept).await?;
    Ok((StatusCode::ACCEPTED, Json(summary.into_members())).into_response())
}

async fn enqueue_cloud_events(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
    labels: &Labels,
) -> Answer<Response> {
    let limits = batch_limits(api, headers)?;
    let (engine, budget) = (&api.engine, Engine::request_budget());
    let accept = |events| engine.accept_cloud_events(events, &budget);
    let read = |element: &Bytes| cloud_events::structured::read(element, labels);
    let summary = batch::run_list(body, limits, read, accept).await?;
    Ok((StatusCode::ACCEPTED, Json(summary.into_members())).into_response())
}

/// What one batch may be, once its headers have been looked at.
fn batch_limits(api: &Api, headers: &HeaderMap) -> Answer<BatchLimits> {
    if idempotency_key(headers)?.is_some() {
        return Err(Problem::of_field(
            Kind::BadRequest,
            IDEMPOTENCY_KEY,
            "is for one event; give each event of a batch its own id instead",
        ));
    }
    let limits = BatchLimits {
        lines: api.limits.batch_lines,
        bytes: api.limits.batch_bytes,
        line_bytes: api.limits.payload,
    };
    body::refuse_announced(headers, limits.bytes)?;
    Ok(limits)
}

fn idempotency_key(headers: &HeaderMap) -> Answer<Option<String>> {
    let refuse = |rule: &str| Err(Problem::of_field(Kind::BadRequest, IDEMPOTENCY_KEY, rule));
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return refuse("is there twice; give it once");
    }
    let fits = (1..=limits::IDEMPOTENCY_KEY_BYTES).contains(&value.len());
    match value.to_str() {
        Ok(text) if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(text.to_owned())),
        _ => refuse("use 1 to 256 visible ASCII characters"),
    }
}

/// An attribute that events are asked for by, `name=value`.
struct Attribute(String, String);

impl FromStr for Attribute {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self(name.to_owned(), value.to_owned())),
            _ => Err("use name=value, escaped as in attribute=order%3D17"),
        }
    }
}

pub async fn list(State(api): State<Api>, mut params: Params) -> Answer<Json<Listed<EventView>>> {
    let page = params.take_page()?;
    let attributes: Vec<Attribute> = params.take_all("attribute", limits::ATTRIBUTES)?;
    let filter = EventFilter {
        event_type: params.take("type")?,
        tenant: params.take("tenant")?,
        attributes: attributes
            .into_iter()
            .map(|Attribute(name, value)| (name, value))
            .collect(),
        idempotency_key: params.take("idempotency_key")?,
        since: params.take("since")?,
        until: params.take("until")?,
    };
    params.finish()?;
    Ok(Json(api.engine.events(&filter, &page).await?))
}

pub async fn show(
    State(api): State<Api>,
    Id(id): Id<EventId>,
    mut params: Params,
) -> Answer<Json<EventView>> {
    let tenant: Option<Label> = params.take("tenant")?;
    params.finish()?;
    Ok(Json(api.engine.event(&id, tenant.as_ref()).await?))
}

pub async fn deliveries(
    State(api): State<Api>,
    Id(id): Id<EventId>,
    mut params: Params,
) -> Answer<Json<Listed<DeliveryView>>> {
    let page = params.take_page()?;
    let tenant = params.take("tenant")?;
    let state = params.take_word("state", &super::deliveries::STATES)?;
    params.finish()?;
    let filter = DeliveryFilter {
        event: Some(id),
        tenant,
        state,
        ..DeliveryFilter::default()
    };
    Ok(Json(api.engine.deliveries(&filter, &page).await?))
}

/// What became of the event, endpoint by endpoint.
pub async fn explain(
    State(api): State<Api>,
    Id(id): Id<EventId>,
    mut params: Params,
) -> Answer<Json<Explanation>> {
    let page = params.take_page()?;
    let endpoint = params.take("endpoint")?;
    let tenant: Option<Label> = params.take("tenant")?;
    params.finish()?;
    let explained = api.engine.explain(&id, endpoint, tenant.as_ref(), &page);
    Ok(Json(explained.await?))
}

/// The payload alone, as it was handed over.
pub async fn payload(State(api): State<Api>, Id(id): Id<EventId>, mut params: Params) -> Answer<Response> {
    let tenant: Option<Label> = params.take("tenant")?;
    params.finish()?;
    let payload = api.engine.payload(&id, tenant.as_ref()).await?;
    let kind = payload.content_type.as_deref().unwrap_or("application/json");
    let kind = HeaderValue::from_str(kind)
        .map_err(|_| Problem::new(Kind::Internal, "the payload's media type is no header's value"))?;
    let headers = [
        (header::CONTENT_TYPE, kind),
        // Whatever it says it is: it is for programs, never a page of ours.
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment"),
        ),
    ];
    Ok((headers, payload.bytes).into_response())
}

/// Erases the payload, before its time.
pub async fn erase(
    State(api): State<Api>,
    Id(id): Id<EventId>,
    Extension(principal): Extension<Principal>,
    mut params: Params,
) -> Answer<Json<EventView>> {
    let tenant: Option<Label> = params.take("tenant")?;
    let cancel = params.take_word("cancel", &[("true", true), ("false", false)])?;
    params.finish()?;
    let erase = Erase {
        cancel: cancel.unwrap_or(false),
        by: principal.name(),
    };
    Ok(Json(api.engine.erase_payload(&id, tenant.as_ref(), erase).await?))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    endpoint: Option<EndpointId>,
}

impl Shape for Replay {
    const REQUIRED: &'static [&'static str] = &[];
}

pub async fn replay(
    State(api): State<Api>,
    Id(id): Id<EventId>,
    scope: Scope,
    mut params: Params,
    OptionalDocument(replay): OptionalDocument<Replay>,
) -> Answer<(StatusCode, Json<All<DeliveryView>>)> {
    let tenant: Option<Label> = params.take("tenant")?;
    params.finish()?;
    if let Some(endpoint) = replay.endpoint {
        scope.check_endpoint(&api.engine, endpoint).await?;
    }
    let event = (&id, tenant.as_ref());
    let replayed = api.engine.replay_event(event, replay.endpoint, scope.tenant());
    Ok((StatusCode::ACCEPTED, all(replayed.await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&[u8]]) -> Answer<Option<String>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                IDEMPOTENCY_KEY,
                axum::http::HeaderValue::from_bytes(value).unwrap(),
            );
        }
        idempotency_key(&headers)
    }

    #[test]
    fn an_idempotency_key_is_short_and_visible() {
        assert_eq!(key(&[]).unwrap(), None);
        assert_eq!(key(&[b"order-1/a.b"]).unwrap().as_deref(), Some("order-1/a.b"));
        assert!(key(&[&[b'x'; 256]]).is_ok());
        let long = [b'x'; 10_000];
        for bad in [&b""[..], b"a b", "é".as_bytes(), &long, &long[..257], b"a\tb"] {
            let problem = key(&[bad]).unwrap_err();
            assert_eq!(
                (problem.status().as_u16(), problem.errors()[0].field.as_str()),
                (400, IDEMPOTENCY_KEY)
            );
        }
        assert!(key(&[b"a", b"a"]).is_err());
    }
}
