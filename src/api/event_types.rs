//! `/v1/event-types`: what types of events there are, and what their data looks like.

use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, RawPathParams, State},
    http::{HeaderMap, StatusCode, request::Parts},
    routing::{MethodRouter, get},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    body,
    document::{Answer, Document},
    json::{self, Shape},
    media,
    meter::Meter,
    params::{NoParams, Params},
    problem::{Kind, Problem},
    router::Api,
};
use crate::{
    dispatch::{
        event_types::view::{EventTypeView, Imported, NewEventType},
        view::Listed,
    },
    domain::{event::EventType, limits},
};

/// What one event type takes.
pub fn routes() -> MethodRouter<Api> {
    get(show).put(put).delete(remove)
}

/// The event type that a path names. `import` is a type like any other, although its path is another route's as
/// well, which has no parameter.
pub struct Name(EventType);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(Kind::InvalidId, "the event type in the path is not UTF-8"))?;
        let name = params.iter().next().map_or("import", |(_, name)| name);
        let read = name.parse::<EventType>();
        read.map(Self)
            .map_err(|error| Problem::of_field(Kind::InvalidId, "type", error.to_string()))
    }
}

impl Shape for NewEventType {
    const REQUIRED: &'static [&'static str] = &[];
}

pub async fn list(State(api): State<Api>, mut params: Params) -> Answer<Json<Listed<EventTypeView>>> {
    let page = params.take_page()?;
    params.finish()?;
    Ok(Json(api.engine.event_types(&page)?))
}

async fn show(State(api): State<Api>, Name(name): Name, _: NoParams) -> Answer<Json<EventTypeView>> {
    Ok(Json(api.engine.event_type(&name)?))
}

/// 201 when the type was not declared before.
async fn put(
    State(api): State<Api>,
    Name(name): Name,
    _: NoParams,
    Document(new, _): Document<NewEventType>,
) -> Answer<(StatusCode, Json<EventTypeView>)> {
    if new.event_type.as_ref().is_some_and(|other| *other != name) {
        return Err(Problem::of_field(
            Kind::Invalid,
            "type",
            "is another type than the path names; leave it out",
        ));
    }
    let (declared, is_new) = api.engine.put_event_type(name, new).await?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(declared)))
}

async fn remove(State(api): State<Api>, Name(name): Name, _: NoParams) -> Answer<StatusCode> {
    api.engine.delete_event_type(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    openapi: Map<String, Value>,
    #[serde(default)]
    dry_run: bool,
}

impl Shape for Import {
    const REQUIRED: &'static [&'static str] = &["openapi"];
}

/// A description may be larger than other documents are.
pub async fn import(
    State(api): State<Api>,
    _: NoParams,
    meter: Meter,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Imported>> {
    media::json(&headers)?;
    let most = limits::IMPORT_BYTES.max(api.limits.payload);
    let bytes = body::read_whole(&meter, &headers, body, most).await?;
    let (import, _) = json::read_strictly::<Import>(&bytes)?;
    Ok(Json(
        api.engine
            .import_event_types(import.openapi.into(), import.dry_run)
            .await?,
    ))
}
